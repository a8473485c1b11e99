//! Checks of Kubernetes objects other than the settings of containers.

use std::collections::HashSet;

use palisade_base::yaml::Node;

use super::super::kubernetes::Object;
use super::super::tree::Look;
use super::{Check, Facts, Judge, POD_SECURITY, RBAC_GOOD_PRACTICES, Sink, shown};

const NETWORK_POLICIES: &str =
    "https://kubernetes.io/docs/concepts/services-networking/network-policies/";
const SERVICE_ACCOUNTS: &str =
    "https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/";
/// The annotation by which somebody says that a Service is meant to be reached from outside.
pub(super) const ALLOW_EXTERNAL: &str = "palisade.dev/allow-external";

macro_rules! check {
    ($name:literal, $id:literal, $title:literal, $why:literal, $fix:literal, $references:expr, $judge:expr) => {
        Check {
            name: $name,
            id: $id,
            title: $title,
            why: $why,
            fix: $fix,
            references: $references,
            judge: Judge::Object($judge),
        }
    };
}

pub(super) const CHECKS: &[Check] = &[
    check!(
        "service-account-token",
        "K8S-001",
        "a service account's token is mounted without need",
        "The token is a password of the cluster; whoever breaks into the container has it.",
        "set `automountServiceAccountToken: false` in the pod or the service account",
        &[SERVICE_ACCOUNTS, RBAC_GOOD_PRACTICES],
        token_mounted
    ),
    check!(
        "default-service-account",
        "K8S-002",
        "the default service account is used",
        "What is granted to it is granted to every pod of the namespace.",
        "create a service account for the workload",
        &[SERVICE_ACCOUNTS],
        default_account
    ),
    check!(
        "default-namespace",
        "K8S-003",
        "the workload is in a namespace that is not its own",
        "Rights, quotas and network policies are given to namespaces; `default` and the system's have those of everybody.",
        "create a namespace for the workload",
        &["https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/"],
        |object, _, sink| {
            if object.pod.is_none() {
                return;
            }
            let namespace = object.namespace_or_default();
            if matches!(namespace, "default" | "kube-system" | "kube-public" | "kube-node-lease") {
                let place = object.namespace.as_ref().map_or(object.place, |n| n.place);
                sink.add(place, format!("is in the namespace {namespace}"));
            }
        }
    ),
    check!(
        "no-network-policy",
        "K8S-004",
        "the namespace does not deny traffic by default",
        "Without a policy every pod of the cluster may talk to every other.",
        "add a NetworkPolicy with an empty `podSelector` and `policyTypes: [Ingress, Egress]`",
        &[NETWORK_POLICIES],
        |object, facts, sink| {
            let is_namespace = object.kind == "Namespace" && object.group().is_empty();
            if is_namespace && !facts.cluster.denying.contains(object.name) {
                sink.add(object.place, "has no policy that denies traffic by default");
            }
        }
    ),
    check!(
        "service-exposed",
        "K8S-005",
        "a Service is reachable from outside the cluster",
        "It has a port on every node, or an address of its own on the internet.",
        "use ClusterIP behind an Ingress, or say that it is meant: annotation `palisade.dev/allow-external` with the reason",
        &["https://kubernetes.io/docs/concepts/services-networking/service/"],
        service_exposed
    ),
    check!(
        "ingress-unsafe",
        "K8S-006",
        "an Ingress has no TLS, or configuration by annotation",
        "Traffic can be read on the way; a snippet runs in the controller, which can read every secret it serves.",
        "add `spec.tls`; remove snippet annotations",
        &["https://kubernetes.io/docs/concepts/services-networking/ingress/#tls"],
        ingress_unsafe
    ),
    check!(
        "no-pod-security",
        "K8S-008",
        "the namespace enforces no pod security level",
        "Nothing keeps a privileged pod out.",
        "label it: `pod-security.kubernetes.io/enforce: restricted` (or baseline)",
        &["https://kubernetes.io/docs/concepts/security/pod-security-admission/", POD_SECURITY],
        |object, _, sink| {
            if object.kind != "Namespace" || !object.group().is_empty() {
                return;
            }
            let label = object.node.at("metadata.labels").get("pod-security.kubernetes.io/enforce");
            match label.text() {
                Some("baseline" | "restricted") => {}
                Some(level) => {
                    let place = label.map_or(object.place, |node| node.place);
                    sink.add(place, format!("enforces the pod security level {}", shown(level)));
                }
                None => sink.add(object.place, "enforces no pod security level"),
            }
        }
    ),
    check!(
        "removed-api",
        "K8S-010",
        "an API version is used that was removed or is deprecated",
        "The object is refused by a newer cluster, and with it whatever it protects.",
        "use the version that replaces it",
        &["https://kubernetes.io/docs/reference/using-api/deprecation-guide/"],
        |object, _, sink| {
            if let Some((since, instead)) = removed(object.api_version, object.kind) {
                let place = object.node.get("apiVersion").map_or(object.place, |node| node.place);
                let api = shown(object.api_version);
                sink.add(
                    place,
                    format!("{api} is not served since Kubernetes {since}; use {instead}"),
                );
            }
        }
    ),
];

fn account(pod: &Node) -> &str {
    pod.text_of("serviceAccountName").or(pod.text_of("serviceAccount")).unwrap_or("default")
}

/// Whether the pod or its service account says that no token is mounted.
fn mounts_token(object: &Object<'_>, pod: &Node, facts: &Facts<'_>) -> bool {
    if let Some(said) = pod.get("automountServiceAccountToken").truth() {
        return said;
    }
    !facts.cluster.tokenless.contains(&(object.namespace_or_default(), account(pod)))
}

/// Whether a role is bound to the pod's service account among the inputs: then it has a use
/// for its token.
fn has_role(object: &Object<'_>, pod: &Node, facts: &Facts<'_>) -> bool {
    facts.cluster.bound.contains(&(object.namespace_or_default(), account(pod)))
}

/// What objects say of each other: gathered once, so that many objects cost no more than
/// their number.
#[derive(Debug, Default)]
pub struct Cluster<'a> {
    /// Service accounts, by namespace and name, to which a role is bound.
    bound: HashSet<(&'a str, &'a str)>,
    /// Service accounts whose token is not mounted.
    tokenless: HashSet<(&'a str, &'a str)>,
    /// Namespaces that deny traffic by default.
    denying: HashSet<&'a str>,
}

impl<'a> Cluster<'a> {
    /// Gathers what `objects` say.
    pub fn of(objects: &'a [Object<'a>]) -> Self {
        let mut out = Self::default();
        for object in objects {
            let namespace = object.namespace_or_default();
            if object.kind.ends_with("RoleBinding") {
                for subject in object.node.get("subjects").items() {
                    if subject.text_of("kind") == Some("ServiceAccount") {
                        let of = subject.text_of("namespace").unwrap_or(namespace);
                        out.bound.insert((of, subject.text_of("name").unwrap_or_default()));
                    }
                }
            } else if object.kind == "ServiceAccount" {
                let mounts = object.node.get("automountServiceAccountToken").truth();
                if mounts == Some(false) {
                    out.tokenless.insert((namespace, object.name));
                }
            } else if denies_by_default(object.node) {
                out.denying.insert(namespace);
            }
        }
        out
    }
}

fn token_mounted(object: &Object<'_>, facts: &Facts<'_>, sink: &mut Sink) {
    let Some((_, pod)) = object.pod else { return };
    if mounts_token(object, pod, facts) && !has_role(object, pod, facts) {
        let place = pod.get("automountServiceAccountToken").map_or(pod.place, |node| node.place);
        let name = shown(account(pod));
        sink.add(
            place,
            format!(
                "mounts the token of the service account {name}, which no role is bound to here"
            ),
        );
    }
}

fn default_account(object: &Object<'_>, facts: &Facts<'_>, sink: &mut Sink) {
    if let Some((_, pod)) = object.pod
        && account(pod) == "default"
        && mounts_token(object, pod, facts)
    {
        sink.add(pod.place, "uses the default service account, with its token");
    }
    if object.kind.ends_with("RoleBinding") {
        for subject in object.node.get("subjects").items() {
            let is_default = subject.text_of("kind") == Some("ServiceAccount")
                && subject.text_of("name") == Some("default");
            if is_default {
                sink.add(subject.place, "gives a role to a default service account");
            }
        }
    }
}

/// Whether a NetworkPolicy selects every pod and lets nothing in.
fn denies_by_default(policy: &Node) -> bool {
    if policy.text_of("kind") != Some("NetworkPolicy") {
        return false;
    }
    let spec = policy.get("spec");
    let selector = spec.get("podSelector");
    let selects_all = selector.get("matchLabels").entries().is_empty()
        && selector.get("matchExpressions").items().is_empty();
    let types = spec.get("policyTypes").items();
    // Without `policyTypes` a policy concerns what comes in.
    let concerns_ingress = types.is_empty() || types.iter().any(|t| t.text() == Some("Ingress"));
    // An empty rule allows everything.
    let allows_all =
        spec.get("ingress").items().iter().any(|rule| {
            rule.get("from").items().is_empty() && rule.get("ports").items().is_empty()
        });
    selects_all && concerns_ingress && !allows_all
}

fn service_exposed(object: &Object<'_>, _: &Facts<'_>, sink: &mut Sink) {
    let is_allowed = object
        .node
        .at("metadata.annotations")
        .text_of(ALLOW_EXTERNAL)
        .is_some_and(|reason| !reason.trim().is_empty());
    // Knative has a kind of this name.
    if object.kind != "Service" || !object.group().is_empty() || is_allowed {
        return;
    }
    let spec = object.node.get("spec");
    if let Some(node) = spec.get("type") {
        let kind = node.text().unwrap_or_default();
        if matches!(kind, "LoadBalancer" | "NodePort") {
            sink.add(node.place, format!("is reachable from outside the cluster ({kind})"));
        }
    }
    if let Some(node) = spec.get("externalIPs").filter(|node| !node.items().is_empty()) {
        sink.add(node.place, "is reachable from outside the cluster (externalIPs)");
    }
}

fn ingress_unsafe(object: &Object<'_>, _: &Facts<'_>, sink: &mut Sink) {
    if object.kind != "Ingress" {
        return;
    }
    if object.node.at("spec.tls").items().is_empty() {
        sink.add(object.place, "has no TLS");
    }
    for (key, _) in object.node.at("metadata.annotations").entries() {
        if key.text.contains("nginx.") && key.text.ends_with("-snippet") {
            sink.add(key.place, format!("configures the controller by {}", shown(&key.text)));
        }
    }
}

/// API versions that are no longer served: since when, and what replaces them.
fn removed(api_version: &str, kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match (api_version, kind) {
        ("extensions/v1beta1", "Ingress")
        | ("networking.k8s.io/v1beta1", "Ingress" | "IngressClass") => {
            ("1.22", "networking.k8s.io/v1")
        }
        ("extensions/v1beta1", "NetworkPolicy") => ("1.16", "networking.k8s.io/v1"),
        ("extensions/v1beta1" | "policy/v1beta1", "PodSecurityPolicy") => {
            ("1.25", "Pod Security Admission")
        }
        ("extensions/v1beta1" | "apps/v1beta1" | "apps/v1beta2", _) => ("1.16", "apps/v1"),
        ("rbac.authorization.k8s.io/v1beta1", _) => ("1.22", "rbac.authorization.k8s.io/v1"),
        (
            "admissionregistration.k8s.io/v1beta1",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => ("1.22", "admissionregistration.k8s.io/v1"),
        ("apiextensions.k8s.io/v1beta1", _) => ("1.22", "apiextensions.k8s.io/v1"),
        ("apiregistration.k8s.io/v1beta1", _) => ("1.22", "apiregistration.k8s.io/v1"),
        ("certificates.k8s.io/v1beta1", _) => ("1.22", "certificates.k8s.io/v1"),
        ("coordination.k8s.io/v1beta1", "Lease") => ("1.22", "coordination.k8s.io/v1"),
        ("scheduling.k8s.io/v1beta1", _) => ("1.22", "scheduling.k8s.io/v1"),
        ("storage.k8s.io/v1beta1", "CSIStorageCapacity") => ("1.27", "storage.k8s.io/v1"),
        (
            "storage.k8s.io/v1beta1",
            "CSIDriver" | "CSINode" | "StorageClass" | "VolumeAttachment",
        ) => ("1.22", "storage.k8s.io/v1"),
        ("batch/v1beta1", "CronJob") => ("1.25", "batch/v1"),
        ("discovery.k8s.io/v1beta1", _) => ("1.25", "discovery.k8s.io/v1"),
        ("events.k8s.io/v1beta1", _) => ("1.25", "events.k8s.io/v1"),
        ("policy/v1beta1", "PodDisruptionBudget") => ("1.25", "policy/v1"),
        ("node.k8s.io/v1beta1", _) => ("1.25", "node.k8s.io/v1"),
        ("autoscaling/v2beta1", _) => ("1.25", "autoscaling/v2"),
        ("autoscaling/v2beta2", _) => ("1.26", "autoscaling/v2"),
        ("flowcontrol.apiserver.k8s.io/v1beta1", _) => ("1.26", "flowcontrol.apiserver.k8s.io/v1"),
        ("flowcontrol.apiserver.k8s.io/v1beta2", _) => ("1.29", "flowcontrol.apiserver.k8s.io/v1"),
        ("flowcontrol.apiserver.k8s.io/v1beta3", _) => ("1.32", "flowcontrol.apiserver.k8s.io/v1"),
        _ => return None,
    })
}
