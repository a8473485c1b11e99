//! OpenShift SecurityContextConstraints → what they allow, as a container's settings.
//!
//! A constraint sets nothing itself: a finding says that a pod admitted by it may have the
//! setting. What it forces (dropped capabilities, a read-only root) counts as set.

use palisade_base::yaml::Node;

use super::kubernetes::Object;
use super::settings::{
    Container, Mount, Placed, Platform, Port, Profile, Role, SeLinux, Setting, User, capability,
};
use super::tree::Look;

/// Whether an object is one.
pub fn is_constraint(object: &Object<'_>) -> bool {
    object.kind == "SecurityContextConstraints"
}

fn truth(node: Option<&Node>) -> Setting<bool> {
    Setting::from_placed(node.and_then(|node| Some(Placed::new(node.truth()?, node.place))))
}

fn has_word<'n>(list: Option<&'n Node>, words: &[&str]) -> Option<&'n Node> {
    list.items().iter().find(|item| item.text().is_some_and(|text| words.contains(&text)))
}

/// What the constraint allows.
pub fn container(object: &Object<'_>) -> Container {
    let node = object.node;
    let mut out = Container::new(Platform::Scc, &object.shown(), object.place);
    out.role = Role::Allowed;
    out.privileged = truth(node.get("allowPrivilegedContainer"));
    out.host_pid = truth(node.get("allowHostPID"));
    out.host_ipc = truth(node.get("allowHostIPC"));
    out.host_network = truth(node.get("allowHostNetwork"));
    out.read_only_root = truth(node.get("readOnlyRootFilesystem")).or_default(false);
    out.no_new_privileges = match truth(node.get("allowPrivilegeEscalation")) {
        Setting::Known(allowed, place) => Setting::Known(!allowed, place),
        // OpenShift allows it where nothing is said.
        _ => Setting::Default(false),
    };
    if let Some((true, place)) = truth(node.get("allowHostPorts")).known().map(|(v, p)| (*v, p)) {
        let port = Port { host_port: Some(0), ..Port::default() };
        out.ports.push(Placed::new(port, place));
    }
    let volumes = node.get("volumes");
    let host_path = node
        .get("allowHostDirVolumePlugin")
        .filter(|allow| allow.truth() == Some(true))
        .or_else(|| has_word(volumes, &["hostPath", "*"]));
    if let Some(found) = host_path {
        let mount = Mount { host_path: Some("/".into()), target: "/".into(), ..Mount::default() };
        out.mounts.push(Placed::new(mount, found.place));
    }
    let list = |keys: &[&str]| {
        let items = keys.iter().flat_map(|key| node.get(key).items());
        items
            .filter_map(|item| {
                let name = capability(item.text()?);
                let name = if name == "*" { "ALL".to_string() } else { name };
                Some(Placed::new(name, item.place))
            })
            .collect::<Vec<_>>()
    };
    out.capabilities_added = list(&["allowedCapabilities", "defaultAddCapabilities"]);
    out.capabilities_dropped = list(&["requiredDropCapabilities"]);
    if let Some(kind) = node.at("runAsUser.type").filter(|kind| kind.text() == Some("RunAsAny")) {
        out.user = Setting::Known(User { name: "root".into() }, kind.place);
    }
    if let Some(kind) = node.at("seLinuxContext.type").filter(|k| k.text() == Some("RunAsAny")) {
        let type_name = Some("of the pod's choice".to_string());
        let selinux = SeLinux { type_name, ..SeLinux::default() };
        out.selinux = Setting::Known(selinux, kind.place);
    }
    if let Some(found) = has_word(node.get("seccompProfiles"), &["*", "unconfined"]) {
        out.seccomp = Setting::Known(Profile::Unconfined, found.place);
    }
    out
}
