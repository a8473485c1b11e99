//! Compose files → containers (Compose specification, `05-services.md` and after).
//!
//! Anchors and merge keys are resolved by the reader; `extends` and `${…}` here. Services of
//! every profile are judged: a profile is a choice of the day. Override files are judged by
//! themselves, since which files are combined is said on a command line.

mod resolve;

use palisade_base::yaml::{Node, Place, Problem};

use super::settings::{
    Container, Limit, Mount, Placed, Platform, Port, Profile, SeLinux, Setting, Sysctl, User,
    Variable, VariableValue, capability,
};
use super::tree::Look;

pub use resolve::{EXTENDS_MAX, NODES_MAX, Variables, parse_variables};

/// Services of one file; those beyond are a problem.
pub const SERVICES_MAX: usize = 5_000;

/// What a Compose file gives.
#[derive(Debug, Default)]
pub struct Read {
    /// The services, as containers.
    pub containers: Vec<Container>,
    /// What is wrong, or could not be followed.
    pub problems: Vec<Problem>,
}

/// Reads the services of `document`. `load` gives the text of another file by its path as
/// written (`extends.file`), or says why it cannot; `variables` are those of `.env`.
pub fn read(
    document: &Node,
    variables: &Variables,
    load: &dyn Fn(&str) -> Result<String, String>,
) -> Read {
    let mut resolver = resolve::Resolver::new(variables, load);
    let services = resolver.services(document);
    let containers = services.iter().map(|(name, place, node)| service(name, *place, node));
    Read { containers: containers.collect(), problems: resolver.problems }
}

fn placed(node: Option<&Node>) -> Option<Placed<String>> {
    node.and_then(|node| Some(Placed::new(node.text()?.to_string(), node.place)))
}

fn truth(node: Option<&Node>) -> Setting<bool> {
    Setting::from_placed(node.and_then(|node| Some(Placed::new(node.truth()?, node.place))))
}

fn is_host(node: Option<&Node>) -> Setting<bool> {
    let known = node.and_then(|node| Some(Placed::new(node.text()? == "host", node.place)));
    Setting::from_placed(known).or_default(false)
}

fn service(name: &str, place: Place, node: &Node) -> Container {
    let mut out = Container::new(Platform::Compose, &format!("service {name}"), place);
    out.builds_image = node.get("build").is_some();
    out.image = Setting::from_placed(placed(node.get("image")));
    out.privileged = truth(node.get("privileged")).or_default(false);
    if let Some(user) = placed(node.get("user")).filter(|user| !user.value.contains('$')) {
        let name = user.value.split(':').next().unwrap_or_default().to_string();
        out.user = Setting::Known(User { name }, user.place);
    }
    let capabilities = |key: &str| {
        let items = node.get(key).items().iter();
        items
            .filter_map(|item| Some(Placed::new(capability(item.text()?), item.place)))
            .collect::<Vec<_>>()
    };
    out.capabilities_added = capabilities("cap_add");
    out.capabilities_dropped = capabilities("cap_drop");
    out.no_new_privileges = Setting::Default(false);
    out.seccomp = Setting::Default(Profile::RuntimeDefault);
    for option in node.get("security_opt").items() {
        let placed = option.text().map(|text| Placed::new(text.to_string(), option.place));
        if let Some(option) = placed {
            security_option(&mut out, &option);
        }
    }
    out.read_only_root = truth(node.get("read_only")).or_default(false);
    out.host_pid = is_host(node.get("pid"));
    out.host_ipc = is_host(node.get("ipc"));
    out.host_network = is_host(node.get("network_mode"));
    out.host_uts = is_host(node.get("uts"));
    out.host_user = is_host(node.get("userns_mode"));
    out.host_cgroup = is_host(node.get("cgroup"));
    out.mounts = node.get("volumes").items().iter().filter_map(mount).collect();
    let devices = node.get("devices").items().iter();
    out.devices = devices
        .filter_map(|device| {
            let path = device.text().or(device.text_of("source"))?;
            Some(Placed::new(path.to_string(), device.place))
        })
        .collect();
    let deploy = node.at("deploy.resources");
    out.memory_limit = limit(&[node.get("mem_limit"), deploy.at("limits.memory")]);
    out.cpu_limit = limit(&[
        node.get("cpus"),
        deploy.at("limits.cpus"),
        deploy.at("reservations.cpus"),
        node.get("cpu_quota"),
        node.get("cpu_shares"),
    ]);
    out.pids_limit = limit(&[node.get("pids_limit"), deploy.at("limits.pids")]);
    out.ports = node.get("ports").items().iter().filter_map(port).collect();
    out.sysctls = pairs(node.get("sysctls"))
        .into_iter()
        .map(|(name, value, place)| {
            let value = value.unwrap_or_default();
            Placed::new(Sysctl { name, value }, place)
        })
        .collect();
    out.env = pairs(node.get("environment"))
        .into_iter()
        .map(|(name, value, place)| {
            // A name alone takes its value from the shell that starts the project.
            let value = value.map_or(VariableValue::Elsewhere, VariableValue::Literal);
            Placed::new(Variable { name, value }, place)
        })
        .collect();
    out
}

/// An option of `--security-opt`, as Docker and Podman read it.
pub(super) fn security_option(out: &mut Container, option: &Placed<String>) {
    let place = option.place;
    let text = option.value.as_str();
    let (name, value) = text.split_once([':', '=']).unwrap_or((text, ""));
    let profile = |value: &str| match value {
        "unconfined" => Profile::Unconfined,
        "builtin" | "" => Profile::RuntimeDefault,
        other => Profile::Custom(other.to_string()),
    };
    match (name, value) {
        ("no-new-privileges", _) => {
            out.no_new_privileges = Setting::Known(value != "false", place);
        }
        ("seccomp", _) => out.seccomp = Setting::Known(profile(value), place),
        ("apparmor", _) => out.apparmor = Setting::Known(profile(value), place),
        ("systempaths" | "unmask", "unconfined" | "ALL") => {
            out.proc_unmasked = Setting::Known(true, place);
        }
        ("label", _) => {
            let (key, rest) = value.split_once(':').unwrap_or((value, ""));
            let mut selinux = out.selinux.effective().cloned().unwrap_or_default();
            match key {
                "disable" => selinux.disabled = true,
                "type" => selinux.type_name = Some(rest.to_string()),
                "user" | "role" => selinux.has_user_or_role = true,
                _ => return,
            }
            out.selinux = Setting::Known(SeLinux { ..selinux }, place);
        }
        _ => {}
    }
}

fn limit(places: &[Option<&Node>]) -> Setting<Limit> {
    let found = places.iter().flatten().find_map(|node| {
        let text = node.text()?.to_string();
        let is_none = matches!(text.as_str(), "0" | "-1" | "0b" | "0m");
        let limit = if is_none { Limit::None } else { Limit::AtMost(text) };
        Some(Placed::new(limit, node.place))
    });
    Setting::from_placed(found).or_default(Limit::None)
}

/// `name: value` or `- name=value`, with where each stands.
fn pairs(node: Option<&Node>) -> Vec<(String, Option<String>, Place)> {
    let of_list = node.items().iter().filter_map(|item| {
        let text = item.text()?;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (text, None),
        };
        Some((name.to_string(), value, item.place))
    });
    let of_map = node.entries().iter().map(|(key, value)| {
        let text = value.text().map(str::to_string);
        (key.text.clone(), text, if value.is_null() { key.place } else { value.place })
    });
    of_list.chain(of_map).collect()
}

/// Both forms of a volume.
fn mount(node: &Node) -> Option<Placed<Mount>> {
    if let Some(text) = node.text() {
        return Some(Placed::new(short_mount(text), node.place));
    }
    let source = node.get("source");
    let is_bind = node.text_of("type") == Some("bind");
    let host_path = source.text().filter(|path| is_bind && path.starts_with('/'));
    Some(Placed::new(
        Mount {
            host_path: host_path.map(str::to_string),
            target: node.text_of("target")?.to_string(),
            read_only: node.get("read_only").truth() == Some(true),
            propagation: node.at("bind.propagation").text().map(str::to_string),
        },
        source.map_or(node.place, |source| source.place),
    ))
}

/// `SOURCE:TARGET[:MODE]`, as `-v` has it too.
pub(super) fn short_mount(text: &str) -> Mount {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, mode, ..] => (source, target, mode),
        [] => ("", "", ""),
    };
    let options: Vec<&str> = mode.split(',').collect();
    let propagation =
        options.iter().find(|option| option.ends_with("shared") || option.ends_with("slave"));
    Mount {
        host_path: source.starts_with('/').then(|| source.to_string()),
        target: target.to_string(),
        read_only: options.contains(&"ro"),
        propagation: propagation.map(|text| (*text).to_string()),
    }
}

fn port(node: &Node) -> Option<Placed<Port>> {
    let first = |text: &str| text.split('-').next().and_then(|number| number.parse().ok());
    if let Some(text) = node.text() {
        let text = text.split('/').next().unwrap_or_default();
        let (rest, inside) = text.rsplit_once(':').unwrap_or(("", text));
        // What is left is an address, a port, or both; an IPv6 address is in brackets.
        let (host_ip, host) = match rest.rsplit_once(':') {
            Some((ip, port)) if !port.ends_with(']') => (ip, port),
            _ if rest.contains('.') || rest.ends_with(']') => (rest, ""),
            _ => ("", rest),
        };
        return Some(Placed::new(
            Port {
                host_ip: host_ip.trim_matches(['[', ']']).to_string(),
                host_port: first(host),
                container_port: first(inside),
                is_published: true,
            },
            node.place,
        ));
    }
    node.get("target")?;
    let text = |key: &str| node.text_of(key).unwrap_or_default();
    Some(Placed::new(
        Port {
            host_ip: text("host_ip").to_string(),
            host_port: first(text("published")),
            container_port: first(text("target")),
            is_published: true,
        },
        node.place,
    ))
}
