//! Kubernetes manifests → objects, and the containers of their pods.
//!
//! Every kind that has a pod template is a workload, those of other makers included
//! (DeploymentConfig, Rollout, Knative's Service): what makes one is the template, not the
//! name of the kind. Lists are taken apart. Nothing is asked of a cluster: what another file
//! holds is not known here, and checks say so.

use palisade_base::yaml::{Node, Place};

use super::settings::{
    Container, Limit, Mount, Placed, Platform, Port, Profile, Role, SeLinux, Setting, Sysctl, User,
    Variable, VariableValue, capability,
};
use super::tree::Look;

/// Objects of one input; what is beyond is not examined.
pub const OBJECTS_MAX: usize = 20_000;
/// Lists within lists.
const LIST_DEPTH_MAX: usize = 4;

/// One object of a manifest.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    /// Index of the file it stands in.
    pub file: usize,
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `Deployment`.
    pub kind: &'a str,
    /// Its name, or the beginning of the one it will be given.
    pub name: &'a str,
    /// Its namespace, where it is written.
    pub namespace: Option<Placed<&'a str>>,
    /// Where it begins.
    pub place: Place,
    /// The whole of it.
    pub node: &'a Node,
    /// Its pod's metadata and specification, if it makes pods.
    pub pod: Option<(Option<&'a Node>, &'a Node)>,
}

impl Object<'_> {
    /// The name by which reports call it.
    pub fn shown(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// The group of its API: `apps`, empty for the core.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// Its namespace, `default` where none is written.
    pub fn namespace_or_default(&self) -> &str {
        self.namespace.as_ref().map_or("default", |namespace| namespace.value)
    }
}

/// Whether a document is a Kubernetes object.
pub fn is_object(node: &Node) -> bool {
    node.text_of("apiVersion").is_some() && node.text_of("kind").is_some()
}

/// The objects of `document`, those within lists included; `false` when there are too many.
pub fn objects<'a>(document: &'a Node, file: usize, found: &mut Vec<Object<'a>>) -> bool {
    collect(document, file, LIST_DEPTH_MAX, found)
}

fn collect<'a>(node: &'a Node, file: usize, depth: usize, found: &mut Vec<Object<'a>>) -> bool {
    let (Some(api_version), Some(kind)) = (node.text_of("apiVersion"), node.text_of("kind")) else {
        return true;
    };
    if kind.ends_with("List") && node.get("items").is_some() {
        if depth == 0 {
            return false;
        }
        let items = node.get("items").items();
        // All of them: one that is too deep does not hide the others.
        let mut all = true;
        for item in items {
            all &= collect(item, file, depth - 1, found);
        }
        return all;
    }
    if found.len() >= OBJECTS_MAX {
        return false;
    }
    let metadata = node.get("metadata");
    let name = metadata.get("name").or(metadata.get("generateName")).text().unwrap_or("unnamed");
    let namespace =
        metadata.get("namespace").and_then(|node| Some(Placed::new(node.text()?, node.place)));
    let pod = pod_of(node, kind);
    found.push(Object { file, api_version, kind, name, namespace, place: node.place, node, pod });
    true
}

fn pod_of<'a>(node: &'a Node, kind: &str) -> Option<(Option<&'a Node>, &'a Node)> {
    if kind == "Pod" {
        return Some((node.get("metadata"), node.get("spec")?));
    }
    let templates = ["spec.template", "spec.jobTemplate.spec.template", "template"];
    templates.into_iter().find_map(|path| {
        let template = node.at(path)?;
        let spec = template.get("spec")?;
        spec.get("containers")?;
        Some((template.get("metadata"), spec))
    })
}

/// The containers of an object, with their roles.
pub fn containers(object: &Object<'_>) -> Vec<Container> {
    let Some((metadata, spec)) = object.pod else { return Vec::new() };
    let main = if matches!(object.kind, "Job" | "CronJob") { Role::Job } else { Role::Main };
    let lists = [
        ("containers", main),
        ("initContainers", Role::Init),
        ("ephemeralContainers", Role::Ephemeral),
    ];
    let mut found = Vec::new();
    for (list, role) in lists {
        for node in spec.get(list).items() {
            let mut container = container(object, metadata, spec, node);
            // A sidecar is an init container that stays (Kubernetes 1.29).
            let stays = role == Role::Init && node.text_of("restartPolicy") == Some("Always");
            container.role = if stays { main } else { role };
            found.push(container);
        }
    }
    found
}

/// A written truth value.
fn truth(node: Option<&Node>) -> Setting<bool> {
    let known = node.and_then(|node| Some(Placed::new(node.truth()?, node.place)));
    Setting::from_placed(known)
}

fn number(node: Option<&Node>) -> Setting<u64> {
    let known =
        node.and_then(|node| Some(Placed::new(u64::try_from(node.number()?).ok()?, node.place)));
    Setting::from_placed(known)
}

fn container(object: &Object<'_>, metadata: Option<&Node>, pod: &Node, node: &Node) -> Container {
    let mut out = Container::new(Platform::Kubernetes, &object.shown(), node.place);
    out.shared_place = pod.place;
    let name = node.text_of("name").unwrap_or_default();
    out.name = Some(name.to_string());
    let (own, shared) = (node.get("securityContext"), pod.get("securityContext"));
    out.image = Setting::from_placed(placed_text(node.get("image")));
    out.privileged = truth(own.get("privileged")).or_default(false);
    let user = number(own.get("runAsUser")).or(number(shared.get("runAsUser")));
    out.user = match user {
        Setting::Known(uid, place) => Setting::Known(User { name: uid.to_string() }, place),
        _ => Setting::Unset,
    };
    out.run_as_non_root =
        truth(own.get("runAsNonRoot")).or(truth(shared.get("runAsNonRoot"))).or_default(false);
    out.group = number(own.get("runAsGroup")).or(number(shared.get("runAsGroup")));
    out.groups = groups(shared);
    out.capabilities_added = capabilities(own.at("capabilities.add"));
    out.capabilities_dropped = capabilities(own.at("capabilities.drop"));
    out.no_new_privileges = match truth(own.get("allowPrivilegeEscalation")) {
        Setting::Known(allowed, place) => Setting::Known(!allowed, place),
        _ => Setting::Default(false),
    };
    out.seccomp = seccomp(own).or(seccomp(shared)).or(annotated_seccomp(metadata, name));
    out.apparmor = apparmor(own).or(apparmor(shared)).or(annotated_apparmor(metadata, name));
    out.selinux = selinux(own.get("seLinuxOptions")).or(selinux(shared.get("seLinuxOptions")));
    out.read_only_root = truth(own.get("readOnlyRootFilesystem")).or_default(false);
    out.host_pid = truth(pod.get("hostPID")).or_default(false);
    out.host_ipc = truth(pod.get("hostIPC")).or_default(false);
    out.host_network = truth(pod.get("hostNetwork")).or_default(false);
    out.host_user = match truth(pod.get("hostUsers")) {
        Setting::Known(host, place) => Setting::Known(host, place),
        _ => Setting::Default(true),
    };
    out.host_process = truth(own.at("windowsOptions.hostProcess"))
        .or(truth(shared.at("windowsOptions.hostProcess")))
        .or_default(false);
    out.mounts = mounts(pod, node);
    out.volume_kinds = volume_kinds(pod);
    out.probe_hosts = probe_hosts(node);
    out.memory_limit = limit(node, &["limits"], "memory");
    out.cpu_limit = limit(node, &["limits", "requests"], "cpu");
    out.ports = ports(node);
    out.sysctls = sysctls(shared);
    out.proc_unmasked = match placed_text(own.get("procMount")) {
        Some(Placed { value, place }) => Setting::Known(value == "Unmasked", place),
        None => Setting::Default(false),
    };
    out.env = variables(node);
    out.liveness = probe(node, &["livenessProbe"]);
    out.readiness = probe(node, &["readinessProbe"]);
    if pod.at("os.name").text() == Some("windows") {
        without_linux(&mut out);
    }
    out
}

/// Settings that Windows does not have are not missing there.
fn without_linux(out: &mut Container) {
    out.is_windows = true;
    out.no_new_privileges = Setting::Unset;
    out.read_only_root = Setting::Unset;
    out.host_user = Setting::Unset;
    out.proc_unmasked = Setting::Unset;
    out.seccomp = Setting::Default(Profile::RuntimeDefault);
}

/// What Pod Security Standards, restricted, let every pod use; host paths are judged as mounts.
const VOLUME_KINDS: [&str; 10] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "hostPath",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volume_kinds(pod: &Node) -> Vec<Placed<String>> {
    let mut found = Vec::new();
    for (key, _) in pod.get("volumes").items().iter().flat_map(Look::entries) {
        if key.text != "name" && !VOLUME_KINDS.contains(&key.text.as_str()) {
            found.push(Placed::new(key.text.clone(), key.place));
        }
    }
    found
}

fn probe_hosts(container: &Node) -> Vec<Placed<String>> {
    let handlers = [
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle.postStart",
        "lifecycle.preStop",
    ];
    let mut found = Vec::new();
    for handler in handlers {
        for action in ["httpGet", "tcpSocket"] {
            let host = container.at(handler).get(action).get("host");
            // 127.0.0.1 too: it is the kubelet that connects, and so the node's loopback.
            found.extend(placed_text(host).filter(|host| !host.value.is_empty()));
        }
    }
    found
}

fn placed_text(node: Option<&Node>) -> Option<Placed<String>> {
    node.and_then(|node| Some(Placed::new(node.text()?.to_string(), node.place)))
}

fn groups(shared: Option<&Node>) -> Vec<Placed<u64>> {
    let listed = shared.get("supplementalGroups").items().iter();
    listed
        .chain(shared.get("fsGroup"))
        .filter_map(|node| Some(Placed::new(u64::try_from(node.number()?).ok()?, node.place)))
        .collect()
}

fn capabilities(list: Option<&Node>) -> Vec<Placed<String>> {
    let items = list.items().iter();
    items.filter_map(|node| Some(Placed::new(capability(node.text()?), node.place))).collect()
}

fn profile(kind: &Node, file: Option<&str>) -> Option<Placed<Profile>> {
    let profile = match kind.text()? {
        "Unconfined" => Profile::Unconfined,
        "RuntimeDefault" => Profile::RuntimeDefault,
        _ => Profile::Custom(file.unwrap_or_default().to_string()),
    };
    Some(Placed::new(profile, kind.place))
}

fn seccomp(context: Option<&Node>) -> Setting<Profile> {
    let own = context.get("seccompProfile");
    let file = own.get("localhostProfile").text();
    Setting::from_placed(own.get("type").and_then(|kind| profile(kind, file)))
}

fn apparmor(context: Option<&Node>) -> Setting<Profile> {
    let own = context.get("appArmorProfile");
    let file = own.get("localhostProfile").text();
    Setting::from_placed(own.get("type").and_then(|kind| profile(kind, file)))
}

/// The annotations before Kubernetes 1.19.
fn annotated_seccomp(metadata: Option<&Node>, name: &str) -> Setting<Profile> {
    let annotations = metadata.get("annotations");
    let own = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
    let node =
        annotations.get(&own).or(annotations.get("seccomp.security.alpha.kubernetes.io/pod"));
    annotated(node)
}

/// The annotations before Kubernetes 1.30.
fn annotated_apparmor(metadata: Option<&Node>, name: &str) -> Setting<Profile> {
    let own = format!("container.apparmor.security.beta.kubernetes.io/{name}");
    annotated(metadata.get("annotations").get(&own))
}

fn annotated(node: Option<&Node>) -> Setting<Profile> {
    let known = node.and_then(|node| {
        let profile = match node.text()? {
            "unconfined" => Profile::Unconfined,
            "runtime/default" | "docker/default" => Profile::RuntimeDefault,
            other => Profile::Custom(other.trim_start_matches("localhost/").to_string()),
        };
        Some(Placed::new(profile, node.place))
    });
    Setting::from_placed(known)
}

fn selinux(options: Option<&Node>) -> Setting<SeLinux> {
    let type_node = options.get("type");
    let chosen = type_node.or(options.get("user")).or(options.get("role"));
    // Options without any of the three say nothing, and do not replace those of the pod.
    let Some(chosen) = chosen else { return Setting::Unset };
    let has_user_or_role = options.get("user").is_some() || options.get("role").is_some();
    let type_name = type_node.text().map(str::to_string);
    Setting::Known(SeLinux { disabled: false, type_name, has_user_or_role }, chosen.place)
}

fn mounts(pod: &Node, container: &Node) -> Vec<Placed<Mount>> {
    let volumes = pod.get("volumes").items();
    let mut found = Vec::new();
    for mount in container.get("volumeMounts").items() {
        let wanted = mount.text_of("name");
        let volume = volumes.iter().find(|v| wanted.is_some() && v.text_of("name") == wanted);
        let path = volume.and_then(|volume| volume.at("hostPath.path"));
        let propagation = mount.get("mountPropagation");
        // The path is what is judged; the mount is where propagation stands.
        let place = path.or(propagation).map_or(mount.place, |node| node.place);
        found.push(Placed::new(
            Mount {
                host_path: path.text().map(str::to_string),
                target: mount.text_of("mountPath").unwrap_or_default().to_string(),
                read_only: mount.get("readOnly").truth() == Some(true),
                propagation: propagation.text().map(str::to_string),
            },
            place,
        ));
    }
    // A host path that nobody mounts yet is still one that somebody may.
    for volume in volumes {
        let name = volume.text_of("name");
        let mounted = |list: &str| {
            let containers = pod.get(list).items().iter();
            let mut mounts = containers.flat_map(|other| other.get("volumeMounts").items());
            mounts.any(|mount| mount.text_of("name") == name)
        };
        let is_mounted =
            || ["containers", "initContainers", "ephemeralContainers"].into_iter().any(mounted);
        if let Some(path) = volume.at("hostPath.path").filter(|_| !is_mounted()) {
            let host_path = path.text().map(str::to_string);
            found.push(Placed::new(Mount { host_path, ..Mount::default() }, path.place));
        }
    }
    found
}

fn limit(container: &Node, sections: &[&str], resource: &str) -> Setting<Limit> {
    let found = sections.iter().find_map(|section| {
        let node = container.get("resources").get(section).get(resource)?;
        let text = node.text()?.to_string();
        let limit = if text == "0" { Limit::None } else { Limit::AtMost(text) };
        Some(Placed::new(limit, node.place))
    });
    Setting::from_placed(found).or_default(Limit::None)
}

fn ports(container: &Node) -> Vec<Placed<Port>> {
    let mut found = Vec::new();
    for node in container.get("ports").items() {
        let read = |key: &str| {
            node.get(key).and_then(|n| Some((u16::try_from(n.number()?).ok()?, n.place)))
        };
        let Some((host_port, place)) = read("hostPort").filter(|(port, _)| *port != 0) else {
            continue;
        };
        let port = Port {
            host_ip: node.text_of("hostIP").unwrap_or_default().to_string(),
            host_port: Some(host_port),
            container_port: read("containerPort").map(|(port, _)| port),
            is_published: false,
        };
        found.push(Placed::new(port, place));
    }
    found
}

fn sysctls(shared: Option<&Node>) -> Vec<Placed<Sysctl>> {
    let listed = shared.get("sysctls").items().iter();
    let read = |node: &Node| {
        let name = node.text_of("name")?.replace('/', ".");
        let value = node.text_of("value").unwrap_or_default().to_string();
        Some(Placed::new(Sysctl { name, value }, node.place))
    };
    listed.filter_map(read).collect()
}

fn variables(container: &Node) -> Vec<Placed<Variable>> {
    let mut found = Vec::new();
    for node in container.get("env").items() {
        let Some(name) = node.text_of("name") else { continue };
        let secret = node.at("valueFrom.secretKeyRef.name");
        let (value, place) = match (node.get("value"), secret) {
            (Some(value), _) => {
                (VariableValue::Literal(value.text().unwrap_or_default().into()), value.place)
            }
            (None, Some(secret)) => {
                (VariableValue::Secret(secret.text().unwrap_or_default().into()), secret.place)
            }
            (None, None) => (VariableValue::Elsewhere, node.place),
        };
        found.push(Placed::new(Variable { name: name.to_string(), value }, place));
    }
    for node in container.get("envFrom").items() {
        if let Some(secret) = node.at("secretRef.name") {
            let value = VariableValue::Secret(secret.text().unwrap_or_default().into());
            found.push(Placed::new(Variable { name: "*".into(), value }, secret.place));
        }
    }
    found
}

fn probe(container: &Node, names: &[&str]) -> Setting<bool> {
    let found = names.iter().find_map(|name| container.get(name));
    match found {
        Some(node) => Setting::Known(true, node.place),
        None => Setting::Default(false),
    }
}
