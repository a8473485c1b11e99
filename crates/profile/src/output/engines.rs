//! Kubernetes, OCI and Palisade's own policy. Docker and Podman take the filter as it is.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{plain_name, writable_folders};
use crate::record::Record;
use crate::tailor::Tailored;

/// Size of each temporary file system that is proposed.
const TMPFS_SIZE: &str = "64Mi";

fn capabilities(record: &Record) -> Vec<&str> {
    record.capabilities.iter().map(|capability| capability.name.as_str()).collect()
}

/// The parts of an OCI runtime configuration that the record decides.
pub fn oci(record: &Record, tailored: &Tailored) -> Value {
    let names: Vec<String> =
        capabilities(record).iter().map(|name| format!("CAP_{name}")).collect();
    let mounts: Vec<Value> = writable_folders(record)
        .into_iter()
        .map(|folder| {
            json!({
                "destination": folder, "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "nodev", "noexec", "mode=1777", "size=64m"],
            })
        })
        .collect();
    let mut process = json!({"noNewPrivileges": true});
    if record.capabilities_known {
        process["capabilities"] =
            json!({"bounding": names, "effective": names, "permitted": names});
    }
    json!({
        "process": process,
        "root": {"readonly": true},
        "mounts": mounts,
        "linux": {"seccomp": tailored.section},
    })
}

/// The part of a pod's manifest that uses the filter. The file lies on each node, below the
/// kubelet's folder `seccomp`.
pub fn kubernetes(record: &Record) -> String {
    let name = plain_name(&record.name);
    let mut out = String::new();
    let _ =
        writeln!(out, "# The filter: /var/lib/kubelet/seccomp/profiles/{name}.json on each node.");
    let _ = writeln!(out, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:");
    let _ = writeln!(out, "  securityContext:\n    seccompProfile:\n      type: Localhost");
    let _ = writeln!(out, "      localhostProfile: profiles/{name}.json");
    let _ = writeln!(out, "  containers:\n    - name: {name}\n      image: IMAGE # fill in");
    let _ = writeln!(out, "      securityContext:\n        allowPrivilegeEscalation: false");
    let _ = writeln!(out, "        readOnlyRootFilesystem: true");
    let _ = writeln!(out, "        capabilities:\n          drop: [ALL]");
    let added = capabilities(record);
    if !added.is_empty() {
        let _ = writeln!(out, "          add: [{}]", added.join(", "));
    }
    let folders = writable_folders(record);
    if !folders.is_empty() {
        let _ = writeln!(out, "      volumeMounts:");
        for (at, folder) in folders.iter().enumerate() {
            let _ =
                writeln!(out, "        - {{ name: writable-{at}, mountPath: {} }}", quoted(folder));
        }
        let _ = writeln!(out, "  volumes:");
        for at in 0..folders.len() {
            let _ = writeln!(out, "    - {{ name: writable-{at}, emptyDir: {{}} }}");
        }
    }
    out
}

/// A policy for `palisade run --policy`, beside the filter in the file `seccomp_file`.
pub fn policy(record: &Record, seccomp_file: &str) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "version: 1\nname: {}", plain_name(&record.name));
    let _ = writeln!(out, "containers:\n  seccomp: {}", quoted(seccomp_file));
    if record.capabilities_known {
        let _ = writeln!(out, "  capabilities: [{}]", capabilities(record).join(", "));
    } else {
        let _ = writeln!(
            out,
            "  # The kernel of the recording does not tell which capabilities are used."
        );
    }
    let _ = writeln!(out, "  no_new_privileges: true\n  read_only_root: true");
    let folders = writable_folders(record);
    if !folders.is_empty() {
        let _ = writeln!(out, "  tmpfs:");
        for folder in &folders {
            let _ = writeln!(out, "    - {{ path: {}, size: {TMPFS_SIZE} }}", quoted(folder));
        }
    }
    let is_local = |endpoint: &crate::record::Endpoint| {
        endpoint
            .address
            .as_deref()
            .and_then(|address| address.parse::<std::net::IpAddr>().ok())
            .is_none_or(|address| address.is_loopback())
    };
    let network = &record.network;
    let needs = network.bound.iter().chain(&network.connected).any(|end| !is_local(end));
    let _ = writeln!(out, "  network: {}", if needs { "host" } else { "none" });
    for (word, ends) in [("listens at", &network.bound), ("connects to", &network.connected)] {
        for end in ends {
            let _ = writeln!(out, "  # {word} {end}");
        }
    }
    out
}

/// A text as a YAML string, which a JSON string is.
fn quoted(text: &str) -> String {
    Value::String(text.into()).to_string()
}
