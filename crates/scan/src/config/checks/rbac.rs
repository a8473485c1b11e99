//! Checks of roles and bindings.
//!
//! A role is judged by what it allows, whoever it is bound to: a file rarely holds both. Roles
//! of the system itself (`system:`, those with the bootstrapping label) are not judged.

use palisade_base::yaml::{Node, Place};
use palisade_model::Severity;

use super::super::kubernetes::Object;
use super::super::tree::Look;
use super::{Check, Facts, Judge, RBAC_GOOD_PRACTICES, Sink, shown};

macro_rules! check {
    ($name:literal, $id:literal, $title:literal, $why:literal, $fix:literal, $judge:expr) => {
        Check {
            name: $name,
            id: $id,
            title: $title,
            why: $why,
            fix: $fix,
            references: &[RBAC_GOOD_PRACTICES],
            judge: Judge::Object($judge),
        }
    };
}

pub(super) const CHECKS: &[Check] = &[
    check!(
        "cluster-admin-bound",
        "RBAC-001",
        "cluster-admin is bound to somebody outside the system",
        "cluster-admin may do everything, on every node.",
        "bind a role with the rights that are needed",
        |object, _, sink| {
            if !is_binding(object)
                || object.node.at("roleRef").text_of("name") != Some("cluster-admin")
            {
                return;
            }
            for subject in object.node.get("subjects").items() {
                let name = subject.text_of("name").unwrap_or_default();
                if !name.starts_with("system:") {
                    let kind = subject.text_of("kind").unwrap_or("subject");
                    let message = format!("binds cluster-admin to {} {}", shown(kind), shown(name));
                    sink.add(subject.place, message);
                }
            }
        }
    ),
    check!(
        "wildcard-rule",
        "RBAC-002",
        "a role allows every verb or every resource",
        "It allows also what will be added tomorrow.",
        "name verbs and resources",
        |object, _, sink| for rule in rules(object) {
            for (key, what) in [
                ("verbs", "every verb"),
                ("resources", "every resource"),
                ("apiGroups", "every API group"),
            ] {
                let Some(item) = rule.node.get(key).items().iter().find(|i| i.text() == Some("*"))
                else {
                    continue;
                };
                // Every resource of every group is said once, as resources.
                if key != "apiGroups" || !rule.has("resources", "*") {
                    sink.add(item.place, format!("allows {what}"));
                }
            }
        }
    ),
    check!(
        "reads-secrets",
        "RBAC-003",
        "a role may read secrets",
        "Secrets hold the tokens of other service accounts, and so their rights.",
        "name the secrets (`resourceNames`) and allow `get` alone, or mount them",
        |object, _, sink| for rule in rules(object) {
            let reads = rule.allows(&["get", "list", "watch"], "", &["secrets"]);
            if reads && !rule.names_resources() {
                if is_cluster_role(object) {
                    sink.add(rule.place(), "may read every secret of the cluster");
                } else {
                    sink.add_as(
                        Severity::High,
                        rule.place(),
                        "may read every secret of its namespace",
                    );
                }
            }
        }
    ),
    check!(
        "escalates",
        "RBAC-004",
        "a role may give itself more rights",
        "Who may bind or escalate roles or impersonate others has all of their rights.",
        "remove the verbs `bind`, `escalate` and `impersonate`",
        |object, _, sink| for rule in rules(object) {
            let roles = ["roles", "clusterroles"];
            let people = ["users", "groups", "serviceaccounts", "userextras", "uids"];
            for (verb, resources) in
                [("bind", &roles[..]), ("escalate", &roles), ("impersonate", &people)]
            {
                // `*` is `wildcard-rule`'s, which is reported once.
                if rule.says_verb(verb) && (rule.says_any(resources) || rule.has("resources", "*"))
                {
                    sink.add(rule.place(), format!("may {verb}"));
                }
            }
            let binds = ["rolebindings", "clusterrolebindings"];
            if rule.allows(&["create", "update", "patch"], "rbac.authorization.k8s.io", &binds)
                && rule.says_any(&binds)
            {
                sink.add_as(Severity::High, rule.place(), "may bind roles to others");
            }
        }
    ),
    check!(
        "creates-workloads",
        "RBAC-005",
        "a role may start workloads or enter containers",
        "A new pod can use every secret, volume and service account of the namespace.",
        "leave deployments to a controller; allow reading",
        |object, _, sink| for rule in rules(object) {
            let change = ["create", "update", "patch"];
            let all = [
                (
                    &["pods/exec", "pods/attach", "pods/ephemeralcontainers", "pods/portforward"][..],
                    "",
                    "may enter containers",
                ),
                (&["pods", "replicationcontrollers"], "", "may create pods"),
                (
                    &["deployments", "daemonsets", "statefulsets", "replicasets"],
                    "apps",
                    "may create workloads",
                ),
                (&["jobs", "cronjobs"], "batch", "may create workloads"),
            ];
            for (resources, group, message) in all {
                // Since 1.35 `get` is enough no longer, before it opened a stream as well.
                let enters =
                    message == "may enter containers" && rule.allows(&["get"], group, resources);
                if (enters || rule.allows(&change, group, resources)) && rule.says_any(resources) {
                    sink.add(rule.place(), message);
                }
            }
        }
    ),
    check!(
        "reaches-nodes",
        "RBAC-006",
        "a role reaches nodes, certificates, tokens or volumes",
        "Each of these is a way around the API server's own checks.",
        "remove the rule",
        |object, _, sink| for rule in rules(object) {
            let change = ["create", "update", "patch"];
            let all: [(&[&str], &str, &[&str], &str); 4] = [
                (&["get", "create"], "", &["nodes/proxy"], "may talk to kubelets"),
                (
                    &["update", "patch", "approve"],
                    "certificates.k8s.io",
                    &["certificatesigningrequests/approval", "signers"],
                    "may approve certificates",
                ),
                (
                    &["create"],
                    "",
                    &["serviceaccounts/token"],
                    "may create tokens of service accounts",
                ),
                (&change, "", &["persistentvolumes"], "may create persistent volumes"),
            ];
            for (verbs, group, resources, message) in all {
                if rule.allows(verbs, group, resources) && rule.says_any(resources) {
                    sink.add(rule.place(), message);
                }
            }
        }
    ),
    check!(
        "changes-admission",
        "RBAC-007",
        "a role may change admission webhooks or policies",
        "Whoever changes them sees every object, or lets every object pass.",
        "remove the rule",
        |object, _, sink| for rule in rules(object) {
            let resources = [
                "mutatingwebhookconfigurations",
                "validatingwebhookconfigurations",
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
                "mutatingadmissionpolicies",
                "mutatingadmissionpolicybindings",
            ];
            let change = ["create", "update", "patch", "delete", "deletecollection"];
            let allows = rule.allows(&change, "admissionregistration.k8s.io", &resources);
            if allows && rule.says_any(&resources) {
                sink.add(rule.place(), "may change admission webhooks or policies");
            }
        }
    ),
    check!(
        "everybody-bound",
        "RBAC-008",
        "a role is bound to everybody",
        "`system:anonymous` and `system:unauthenticated` are the whole network; `system:authenticated` is every account, of every service.",
        "bind it to named users, groups or service accounts",
        everybody_bound
    ),
];

fn is_rbac(object: &Object<'_>) -> bool {
    matches!(object.group(), "rbac.authorization.k8s.io" | "authorization.openshift.io")
}

fn is_binding(object: &Object<'_>) -> bool {
    is_rbac(object) && matches!(object.kind, "RoleBinding" | "ClusterRoleBinding")
}

fn is_cluster_role(object: &Object<'_>) -> bool {
    object.kind == "ClusterRole"
}

fn is_of_the_system(object: &Object<'_>) -> bool {
    let label = "kubernetes.io/bootstrapping";
    object.name.starts_with("system:")
        || object.node.at("metadata.labels").text_of(label) == Some("rbac-defaults")
}

/// A rule of a role.
struct Rule<'a> {
    node: &'a Node,
}

fn rules<'a>(object: &Object<'a>) -> Vec<Rule<'a>> {
    let is_role = is_rbac(object) && matches!(object.kind, "Role" | "ClusterRole");
    if !is_role || is_of_the_system(object) {
        return Vec::new();
    }
    object.node.get("rules").items().iter().map(|node| Rule { node }).collect()
}

impl Rule<'_> {
    fn place(&self) -> Place {
        self.node.place
    }

    fn has(&self, key: &str, word: &str) -> bool {
        self.node.get(key).items().iter().any(|item| item.text() == Some(word))
    }

    fn names_resources(&self) -> bool {
        !self.node.get("resourceNames").items().is_empty()
    }

    fn says_verb(&self, verb: &str) -> bool {
        self.has("verbs", verb)
    }

    /// Whether one of the resources is named, not only meant by `*`.
    fn says_any(&self, resources: &[&str]) -> bool {
        resources.iter().any(|resource| self.has("resources", resource))
    }

    fn allows(&self, verbs: &[&str], group: &str, resources: &[&str]) -> bool {
        let any = |key: &str, words: &[&str]| {
            self.has(key, "*") || words.iter().any(|word| self.has(key, word))
        };
        any("verbs", verbs) && any("apiGroups", &[group]) && any("resources", resources)
    }
}

fn everybody_bound(object: &Object<'_>, _: &Facts<'_>, sink: &mut Sink) {
    if !is_binding(object) || is_of_the_system(object) {
        return;
    }
    let role = object.node.at("roleRef").text_of("name").unwrap_or_default();
    let is_default = [
        "system:basic-user",
        "system:discovery",
        "system:public-info-viewer",
        "system:service-account-issuer-discovery",
    ]
    .contains(&role);
    for subject in object.node.get("subjects").items() {
        let name = subject.text_of("name").unwrap_or_default();
        let is_everybody =
            matches!(name, "system:anonymous" | "system:unauthenticated" | "system:authenticated");
        if is_everybody && !is_default {
            sink.add(subject.place, format!("binds the role {} to {name}", shown(role)));
        }
    }
}
