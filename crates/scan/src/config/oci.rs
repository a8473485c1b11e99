//! OCI runtime specifications, and what engines say of a container → containers.
//!
//! A specification says everything: what is not there is not there. Of an engine's answer the
//! part `HostConfig` is what the user asked for.

use palisade_base::yaml::{Node, Place};

use super::compose::{security_option, short_mount};
use super::settings::{
    Container, Limit, Mount, Placed, Platform, Port, Profile, Role, SeLinux, Setting, Sysctl, User,
    Variable, VariableValue, capability,
};
use super::tree::Look;

/// Containers of one answer of an engine.
pub const CONTAINERS_MAX: usize = 10_000;

fn truth(node: Option<&Node>) -> Setting<bool> {
    Setting::from_placed(node.and_then(|node| Some(Placed::new(node.truth()?, node.place))))
}

fn environment(list: Option<&Node>) -> Vec<Placed<Variable>> {
    let items = list.items().iter();
    items
        .filter_map(|item| {
            let (name, value) = item.text()?.split_once('=')?;
            let value = VariableValue::Literal(value.to_string());
            Some(Placed::new(Variable { name: name.to_string(), value }, item.place))
        })
        .collect()
}

/// A limit of which 0 and less mean none.
fn limit(node: Option<&Node>) -> Setting<Limit> {
    let known = node.and_then(|node| {
        let number = node.number()?;
        let limit = if number <= 0 { Limit::None } else { Limit::AtMost(number.to_string()) };
        Some(Placed::new(limit, node.place))
    });
    Setting::from_placed(known).or_default(Limit::None)
}

/// The container of a runtime specification (`config.json`).
pub fn from_spec(document: &Node) -> Container {
    let process = document.get("process");
    let linux = document.get("linux");
    let place = process.map_or(document.place, |process| process.place);
    let mut out = Container::new(Platform::OciSpec, "container", place);
    out.shared_place = linux.map_or(document.place, |linux| linux.place);
    let uid = process.at("user.uid");
    out.user = match uid.and_then(|node| Some((node.number()?, node.place))) {
        Some((uid, place)) => Setting::Known(User { name: uid.to_string() }, place),
        None => Setting::Default(User { name: "0".into() }),
    };
    let groups = process.at("user.additionalGids").items().iter();
    out.groups = groups
        .filter_map(|node| Some(Placed::new(u64::try_from(node.number()?).ok()?, node.place)))
        .collect();
    out.no_new_privileges = truth(process.get("noNewPrivileges")).or_default(false);
    out.read_only_root = truth(document.at("root.readonly")).or_default(false);
    spec_capabilities(&mut out, process.get("capabilities"));
    out.seccomp = match linux.get("seccomp") {
        Some(node) => Setting::Known(Profile::Custom("of the specification".into()), node.place),
        None => Setting::Default(Profile::Unconfined),
    };
    if let Some(node) = process.get("apparmorProfile").filter(|n| n.text() == Some("unconfined")) {
        out.apparmor = Setting::Known(Profile::Unconfined, node.place);
    }
    spec_namespaces(&mut out, linux);
    out.mounts = spec_mounts(document);
    let devices = linux.get("devices").items().iter();
    out.devices = devices
        .filter_map(|device| {
            let path = device.text_of("path")?;
            // What every container gets.
            let usual = [
                "/dev/null",
                "/dev/zero",
                "/dev/full",
                "/dev/random",
                "/dev/urandom",
                "/dev/tty",
                "/dev/console",
                "/dev/ptmx",
            ];
            (!usual.contains(&path)).then(|| Placed::new(path.to_string(), device.place))
        })
        .collect();
    let resources = linux.get("resources");
    out.memory_limit = limit(resources.at("memory.limit"));
    out.cpu_limit = limit(resources.at("cpu.quota").or(resources.at("cpu.shares")));
    out.pids_limit = limit(resources.at("pids.limit"));
    let sysctls = linux.get("sysctl").entries().iter();
    out.sysctls = sysctls
        .map(|(key, value)| {
            let value = value.text().unwrap_or_default().to_string();
            Placed::new(Sysctl { name: key.text.clone(), value }, key.place)
        })
        .collect();
    let masks_kcore =
        linux.get("maskedPaths").items().iter().any(|p| p.text() == Some("/proc/kcore"));
    let masked_place = linux.get("maskedPaths").map_or(out.shared_place, |node| node.place);
    out.proc_unmasked = Setting::Known(!masks_kcore, masked_place);
    out.env = environment(process.get("env"));
    // Everything allowed to every device, and nothing filtered: what `--privileged` gives.
    let every_device = resources.get("devices").items().iter().find(|rule| {
        rule.get("allow").truth() == Some(true)
            && rule.text_of("access") == Some("rwm")
            && matches!(rule.text_of("type"), None | Some("a"))
            && rule.get("major").is_none()
    });
    if let Some(rule) = every_device.filter(|_| linux.get("seccomp").is_none()) {
        out.privileged = Setting::Known(true, rule.place);
    }
    out
}

/// A bounding set as what it adds to, and drops from, what engines give.
fn spec_capabilities(out: &mut Container, capabilities: Option<&Node>) {
    let Some(bounding) = capabilities.get("bounding") else {
        let place = capabilities.map_or(out.place, |node| node.place);
        out.capabilities_dropped = vec![Placed::new("ALL".into(), place)];
        return;
    };
    let listed: Vec<Placed<String>> = bounding
        .items()
        .iter()
        .filter_map(|item| Some(Placed::new(capability(item.text()?), item.place)))
        .collect();
    let defaults = super::checks::default_capabilities();
    let has = |name: &str| listed.iter().any(|c| c.value == name);
    let missing: Vec<&&str> = defaults.iter().filter(|name| !has(name)).collect();
    let n_kept = defaults.len() - missing.len();
    // A set that was built up from nothing holds few of the fourteen.
    out.capabilities_dropped = if n_kept <= 2 {
        vec![Placed::new("ALL".into(), bounding.place)]
    } else {
        missing.iter().map(|name| Placed::new((**name).to_string(), bounding.place)).collect()
    };
    out.capabilities_added = if n_kept <= 2 {
        listed
    } else {
        listed.into_iter().filter(|c| !defaults.contains(&c.value.as_str())).collect()
    };
}

fn spec_namespaces(out: &mut Container, linux: Option<&Node>) {
    let place = linux.get("namespaces").map_or(out.shared_place, |node| node.place);
    let has = |kind: &str| {
        linux.get("namespaces").items().iter().any(|n| n.text_of("type") == Some(kind))
    };
    let missing = |kind: &str| Setting::Known(!has(kind), place);
    out.host_pid = missing("pid");
    out.host_ipc = missing("ipc");
    out.host_network = missing("network");
    out.host_uts = missing("uts");
}

fn spec_mounts(document: &Node) -> Vec<Placed<Mount>> {
    let mounts = document.get("mounts").items().iter();
    mounts
        .filter_map(|mount| {
            let options: Vec<&str> =
                mount.get("options").items().iter().filter_map(Look::text).collect();
            let is_bind = options.iter().any(|o| matches!(*o, "bind" | "rbind"));
            let source = mount.get("source");
            let path = source.text().filter(|path| is_bind && path.starts_with('/'));
            let propagation = options.iter().find(|o| matches!(**o, "shared" | "rshared"));
            Some(Placed::new(
                Mount {
                    host_path: path.filter(|path| !is_of_the_engine(path)).map(str::to_string),
                    target: mount.text_of("destination")?.to_string(),
                    read_only: options.contains(&"ro"),
                    propagation: propagation.map(|text| (*text).to_string()),
                },
                source.map_or(mount.place, |source| source.place),
            ))
        })
        .collect()
}

/// Files that an engine makes for each container: hosts, resolv.conf, secrets, volumes.
fn is_of_the_engine(path: &str) -> bool {
    let folders = [
        "/var/lib/docker/containers/",
        "/var/lib/docker/volumes/",
        "/var/lib/containers/storage/",
        "/run/containers/storage/",
        "/var/lib/kubelet/pods/",
        "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/",
        "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/",
    ];
    folders.iter().any(|folder| path.starts_with(folder))
}

/// The containers of what `docker inspect` or `podman inspect` print.
pub fn from_engine(document: &Node) -> Vec<Container> {
    let all = if document.get("HostConfig").is_some() {
        std::slice::from_ref(document)
    } else {
        document.items()
    };
    let inspected = all.iter().filter(|node| node.get("HostConfig").is_some());
    inspected.take(CONTAINERS_MAX).map(engine_container).collect()
}

fn engine_container(node: &Node) -> Container {
    let host = node.get("HostConfig");
    let config = node.get("Config");
    let name = node.text_of("Name").unwrap_or("unnamed").trim_start_matches('/');
    let place = host.map_or(node.place, |host| host.place);
    let mut out = Container::new(Platform::Engine, &format!("container {name}"), place);
    out.role = Role::Main;
    out.privileged = truth(host.get("Privileged")).or_default(false);
    let user = config.get("User");
    let user_name = user.text().unwrap_or_default().split(':').next().unwrap_or_default();
    let user_place = user.map_or(config.map_or(place, |config| config.place), |user| user.place);
    let user_name = if user_name.is_empty() { "root" } else { user_name };
    out.user = Setting::Known(User { name: user_name.to_string() }, user_place);
    let capabilities = |key: &str| {
        let items = host.get(key).items().iter();
        items
            .filter_map(|item| Some(Placed::new(capability(item.text()?), item.place)))
            .collect::<Vec<_>>()
    };
    out.capabilities_added = capabilities("CapAdd");
    out.capabilities_dropped = capabilities("CapDrop");
    out.no_new_privileges = Setting::Default(false);
    out.seccomp = Setting::Default(Profile::RuntimeDefault);
    for option in host.get("SecurityOpt").items() {
        if let Some(text) = option.text() {
            security_option(&mut out, &Placed::new(text.to_string(), option.place));
        }
    }
    out.read_only_root = truth(host.get("ReadonlyRootfs")).or_default(false);
    let is_host = |key: &str| {
        let known =
            host.get(key).and_then(|node| Some(Placed::new(node.text()? == "host", node.place)));
        Setting::from_placed(known).or_default(false)
    };
    out.host_pid = is_host("PidMode");
    out.host_ipc = is_host("IpcMode");
    out.host_network = is_host("NetworkMode");
    out.host_uts = is_host("UTSMode");
    out.host_user = is_host("UsernsMode");
    out.host_cgroup = is_host("CgroupnsMode");
    let binds = host.get("Binds").items().iter();
    out.mounts = binds
        .filter_map(|bind| Some(Placed::new(short_mount(bind.text()?), bind.place)))
        .chain(host.get("Mounts").items().iter().filter_map(engine_mount))
        .collect();
    let devices = host.get("Devices").items().iter();
    out.devices = devices
        .filter_map(|d| Some(Placed::new(d.text_of("PathOnHost")?.to_string(), d.place)))
        .collect();
    out.memory_limit = limit(host.get("Memory"));
    let cpu = ["NanoCpus", "CpuQuota", "CpuShares"];
    let set = cpu.iter().find_map(|key| host.get(key).filter(|n| n.number() > Some(0)));
    out.cpu_limit = limit(set);
    out.pids_limit = limit(host.get("PidsLimit"));
    out.ports = engine_ports(host);
    let sysctls = host.get("Sysctls").entries().iter();
    out.sysctls = sysctls
        .map(|(key, value)| {
            let value = value.text().unwrap_or_default().to_string();
            Placed::new(Sysctl { name: key.text.clone(), value }, key.place)
        })
        .collect();
    // An empty list is `systempaths=unconfined`; none at all is an engine that does not say.
    if let Some(masked) = host.get("MaskedPaths").filter(|node| node.items().is_empty()) {
        out.proc_unmasked = Setting::Known(true, masked.place);
    }
    if let Some(selinux) = node.get("ProcessLabel").filter(|n| n.text() == Some("disable")) {
        let disabled = SeLinux { disabled: true, ..SeLinux::default() };
        out.selinux = Setting::Known(disabled, selinux.place);
    }
    out.env = environment(config.get("Env"));
    out
}

fn engine_mount(node: &Node) -> Option<Placed<Mount>> {
    let source = node.get("Source").filter(|_| node.text_of("Type") == Some("bind"))?;
    Some(Placed::new(
        Mount {
            host_path: source.text().map(str::to_string),
            target: node.text_of("Target").unwrap_or_default().to_string(),
            read_only: node.get("ReadOnly").truth() == Some(true),
            propagation: node.at("BindOptions.Propagation").text().map(str::to_string),
        },
        source.place,
    ))
}

/// `PortBindings`: `"80/tcp": [{"HostIp": "", "HostPort": "8080"}]`.
fn engine_ports(host: Option<&Node>) -> Vec<Placed<Port>> {
    let mut found = Vec::new();
    for (inside, bindings) in host.get("PortBindings").entries() {
        let container_port = inside.text.split('/').next().and_then(|n| n.parse().ok());
        for binding in bindings.items() {
            let host_port = binding.text_of("HostPort").and_then(|n| n.parse().ok());
            let port = Port {
                host_ip: binding.text_of("HostIp").unwrap_or_default().to_string(),
                host_port: host_port.filter(|n| *n != 0),
                container_port,
                is_published: true,
            };
            let place: Place = binding.place;
            found.push(Placed::new(port, place));
        }
    }
    found
}
