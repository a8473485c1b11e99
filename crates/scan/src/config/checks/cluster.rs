//! Checks of the control plane and of kubelets, where their configuration stands in a
//! manifest: static pods of kubeadm, KubeletConfiguration, audit policies.
//!
//! What a managed control plane does cannot be seen in a manifest, and is not judged.

use palisade_base::yaml::Place;

use super::super::kubernetes::Object;
use super::super::tree::Look;
use super::{Check, Facts, Judge, Sink, shown};

const CONTROL_PLANE: &str =
    "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/";
const KUBELET: &str = "https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/";
const AUDIT: &str = "https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/";
const ENCRYPTION: &str = "https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/";

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
        "api-server-open",
        "CLU-001",
        "the API server lets anybody in",
        "Whoever reaches its port has the cluster.",
        "set `--anonymous-auth=false` and `--authorization-mode=Node,RBAC`",
        &[CONTROL_PLANE],
        |object, _, sink| for program in programs(object, "kube-apiserver") {
            match program.flag("anonymous-auth") {
                Some((value, place)) if value != "false" => {
                    sink.add(place, "allows anonymous requests");
                }
                None => sink.add(program.place, "allows anonymous requests (the default)"),
                _ => {}
            }
            match program.flag("authorization-mode") {
                Some((value, place)) if value.split(',').any(|mode| mode == "AlwaysAllow") => {
                    sink.add(place, "allows every request");
                }
                None => sink.add(program.place, "allows every request (the default)"),
                _ => {}
            }
        }
    ),
    check!(
        "audit-log-off",
        "CLU-002",
        "the API server keeps no audit log",
        "Nobody can say afterwards what an intruder did.",
        "set `--audit-policy-file` and `--audit-log-path` (or a webhook)",
        &[AUDIT],
        |object, _, sink| {
            for program in programs(object, "kube-apiserver") {
                let writes = ["audit-log-path", "audit-webhook-config-file"];
                if !writes.iter().any(|flag| program.flag(flag).is_some()) {
                    sink.add(program.place, "writes no audit log");
                }
                if program.flag("audit-policy-file").is_none() {
                    sink.add(program.place, "has no audit policy");
                }
            }
            if object.group() == "audit.k8s.io" && object.kind == "Policy" {
                let rules = object.node.get("rules").items();
                if rules.iter().all(|rule| rule.text_of("level") == Some("None")) {
                    sink.add(object.place, "records nothing");
                }
            }
        }
    ),
    check!(
        "secrets-not-encrypted",
        "CLU-003",
        "secrets are not encrypted at rest",
        "A copy of etcd, or of a disk, is every secret of the cluster.",
        "set `--encryption-provider-config` with a key of a key management service",
        &[ENCRYPTION],
        |object, _, sink| {
            for program in programs(object, "kube-apiserver") {
                if program.flag("encryption-provider-config").is_none() {
                    sink.add(program.place, "does not encrypt secrets at rest");
                }
            }
            if object.kind == "EncryptionConfiguration" {
                for resource in object.node.get("resources").items() {
                    let covers = resource
                        .get("resources")
                        .items()
                        .iter()
                        .any(|name| matches!(name.text(), Some("secrets" | "*." | "*.*")));
                    let first = resource.get("providers").items().first();
                    if let Some(first) = first.filter(|first| {
                        covers && first.entries().iter().any(|(k, _)| k.text == "identity")
                    }) {
                        sink.add(
                            first.place,
                            "writes secrets in plain text (`identity` comes first)",
                        );
                    }
                }
            }
        }
    ),
    check!(
        "kubelet-open",
        "CLU-004",
        "a kubelet lets anybody in, or speaks weak TLS",
        "Whoever reaches a kubelet can run commands in every container of its node.",
        "set `authentication.anonymous.enabled: false`, `authorization.mode: Webhook`, `readOnlyPort: 0`, `tlsMinVersion: VersionTLS12`",
        &[KUBELET],
        kubelet_open
    ),
    check!(
        "etcd-open",
        "CLU-005",
        "etcd does not ask for certificates",
        "etcd has no rights of its own: whoever reaches it reads and writes the whole cluster.",
        "set `--client-cert-auth=true`, `--cert-file`, `--key-file`, and the same for peers",
        &["https://etcd.io/docs/latest/op-guide/security/"],
        |object, _, sink| for program in programs(object, "etcd") {
            for flag in ["client-cert-auth", "peer-client-cert-auth"] {
                match program.flag(flag) {
                    Some((value, place)) if value != "true" && !value.is_empty() => {
                        sink.add(
                            place,
                            format!("does not ask for certificates (--{flag}={})", shown(&value)),
                        );
                    }
                    None => sink
                        .add(program.place, format!("does not ask for certificates (no --{flag})")),
                    _ => {}
                }
            }
            for flag in ["cert-file", "key-file"] {
                if program.flag(flag).is_none() {
                    sink.add(program.place, format!("does not speak TLS (no --{flag})"));
                }
            }
        }
    ),
];

/// A program of the control plane with its flags.
struct Program {
    place: Place,
    arguments: Vec<(String, Place)>,
}

impl Program {
    /// A flag's value and place; the empty text for one without a value.
    fn flag(&self, name: &str) -> Option<(String, Place)> {
        self.arguments.iter().enumerate().find_map(|(index, (text, place))| {
            let rest = text.trim_start_matches('-').strip_prefix(name)?;
            match rest.strip_prefix('=') {
                Some(value) => Some((value.to_string(), *place)),
                None if rest.is_empty() => {
                    let next =
                        self.arguments.get(index + 1).filter(|(next, _)| !next.starts_with('-'));
                    Some((next.map_or(String::new(), |(next, _)| next.clone()), *place))
                }
                None => None,
            }
        })
    }
}

/// The containers of `object` that start `name`.
fn programs(object: &Object<'_>, name: &str) -> Vec<Program> {
    let Some((_, pod)) = object.pod else { return Vec::new() };
    let mut found = Vec::new();
    for container in pod.get("containers").items() {
        let words: Vec<(String, Place)> = ["command", "args"]
            .iter()
            .flat_map(|key| container.get(key).items())
            .filter_map(|item| Some((item.text()?.to_string(), item.place)))
            .collect();
        let starts = words.first().is_some_and(|(word, _)| word.rsplit('/').next() == Some(name));
        if starts {
            found.push(Program { place: container.place, arguments: words });
        }
    }
    found
}

fn kubelet_open(object: &Object<'_>, _: &Facts<'_>, sink: &mut Sink) {
    if object.kind != "KubeletConfiguration" {
        return;
    }
    let at = |path: &str| object.node.at(path);
    if let Some(node) = at("authentication.anonymous.enabled").filter(|n| n.truth() == Some(true)) {
        sink.add(node.place, "allows anonymous requests");
    }
    if let Some(node) = at("authorization.mode").filter(|n| n.text() == Some("AlwaysAllow")) {
        sink.add(node.place, "allows every request");
    }
    if let Some(node) = at("readOnlyPort").filter(|n| n.number() != Some(0)) {
        sink.add(node.place, "answers on a port without authentication");
    }
    let weak = ["VersionTLS10", "VersionTLS11"];
    if let Some(node) = at("tlsMinVersion").filter(|n| weak.contains(&n.text().unwrap_or_default()))
    {
        sink.add(node.place, "speaks weak TLS");
    }
}
