//! Amazon ECS task definitions → containers.
//!
//! The form is that of `register-task-definition` and of what `describe-task-definition`
//! prints. Fargate gives every task a virtual machine of its own: what is then shared with
//! "the host" is shared with nobody else, but the settings are judged all the same.

use palisade_base::yaml::Node;

use super::settings::{
    Container, Limit, Mount, Placed, Platform, Port, Profile, SeLinux, Setting, Sysctl, User,
    Variable, VariableValue, capability,
};
use super::tree::Look;

/// Containers of one task definition; ECS itself allows ten.
pub const CONTAINERS_MAX: usize = 1_000;

/// The containers of a task definition.
pub fn containers(document: &Node) -> Vec<Container> {
    let task = document.get("taskDefinition").unwrap_or(document);
    let family = task.text_of("family").unwrap_or("task");
    let nodes = task.get("containerDefinitions").items().iter().take(CONTAINERS_MAX);
    nodes.map(|node| container(task, &format!("task {family}"), node)).collect()
}

fn truth(node: Option<&Node>) -> Setting<bool> {
    Setting::from_placed(node.and_then(|node| Some(Placed::new(node.truth()?, node.place))))
}

fn is_word(node: Option<&Node>, word: &str) -> Setting<bool> {
    let known = node.and_then(|node| Some(Placed::new(node.text()? == word, node.place)));
    Setting::from_placed(known).or_default(false)
}

fn limit(node: Option<&Node>) -> Setting<Limit> {
    let known = node.and_then(|node| {
        let text = node.text()?.to_string();
        let limit = if text == "0" { Limit::None } else { Limit::AtMost(text) };
        Some(Placed::new(limit, node.place))
    });
    Setting::from_placed(known)
}

fn container(task: &Node, resource: &str, node: &Node) -> Container {
    let mut out = Container::new(Platform::Ecs, resource, node.place);
    out.shared_place = task.place;
    out.name = node.text_of("name").map(str::to_string);
    let text = |key: &str| {
        Setting::from_placed(
            node.get(key).and_then(|n| Some(Placed::new(n.text()?.to_string(), n.place))),
        )
    };
    out.image = text("image");
    out.privileged = truth(node.get("privileged")).or_default(false);
    if let Setting::Known(user, place) = text("user") {
        let name = user.split(':').next().unwrap_or_default().to_string();
        out.user = Setting::Known(User { name }, place);
    }
    out.read_only_root = truth(node.get("readonlyRootFilesystem")).or_default(false);
    let is_fargate =
        task.get("requiresCompatibilities").items().iter().any(|i| i.text() == Some("FARGATE"));
    out.host_network = is_word(task.get("networkMode"), "host");
    out.host_pid = is_word(task.get("pidMode"), "host");
    out.host_ipc = is_word(task.get("ipcMode"), "host");
    let linux = node.get("linuxParameters");
    let list = |path: &str| {
        let items = linux.at(path).items().iter();
        items
            .filter_map(|item| Some(Placed::new(capability(item.text()?), item.place)))
            .collect::<Vec<_>>()
    };
    out.capabilities_added = list("capabilities.add");
    out.capabilities_dropped = list("capabilities.drop");
    out.no_new_privileges = Setting::Default(false);
    for option in node.get("dockerSecurityOptions").items() {
        security_option(&mut out, option);
    }
    let devices = linux.get("devices").items().iter();
    out.devices = devices
        .filter_map(|device| Some(Placed::new(device.text_of("hostPath")?.into(), device.place)))
        .collect();
    out.mounts = mounts(task, node);
    // On Fargate the task has a size, and so a limit.
    let of_task = |key: &str| if is_fargate { limit(task.get(key)) } else { Setting::Unset };
    out.memory_limit = limit(node.get("memory")).or(of_task("memory")).or_default(Limit::None);
    out.cpu_limit = limit(node.get("cpu")).or(of_task("cpu")).or_default(Limit::None);
    out.ports = ports(task, node);
    let sysctls = node.get("systemControls").items().iter();
    out.sysctls = sysctls
        .filter_map(|item| {
            let name = item.text_of("namespace")?.to_string();
            let value = item.text_of("value").unwrap_or_default().to_string();
            Some(Placed::new(Sysctl { name, value }, item.place))
        })
        .collect();
    out.env = variables(node);
    out
}

fn security_option(out: &mut Container, option: &Node) {
    let text = option.text().unwrap_or_default();
    match text.split_once([':', '=']) {
        Some(("apparmor", "unconfined")) => {
            out.apparmor = Setting::Known(Profile::Unconfined, option.place);
        }
        Some(("label", "disable")) => {
            let selinux = SeLinux { disabled: true, ..SeLinux::default() };
            out.selinux = Setting::Known(selinux, option.place);
        }
        Some(("no-new-privileges", value)) => {
            out.no_new_privileges = Setting::Known(value == "true", option.place);
        }
        None if text == "no-new-privileges" => {
            out.no_new_privileges = Setting::Known(true, option.place);
        }
        _ => {}
    }
}

fn mounts(task: &Node, node: &Node) -> Vec<Placed<Mount>> {
    let volumes = task.get("volumes").items();
    let mut found = Vec::new();
    for mount in node.get("mountPoints").items() {
        let wanted = mount.text_of("sourceVolume");
        let volume = volumes.iter().find(|v| wanted.is_some() && v.text_of("name") == wanted);
        let path = volume.and_then(|volume| volume.at("host.sourcePath"));
        found.push(Placed::new(
            Mount {
                host_path: path.text().map(str::to_string),
                target: mount.text_of("containerPath").unwrap_or_default().to_string(),
                read_only: mount.get("readOnly").truth() == Some(true),
                propagation: None,
            },
            path.map_or(mount.place, |path| path.place),
        ));
    }
    found
}

/// In the modes `host` and `awsvpc` a port is not published: it is the container's own.
fn ports(task: &Node, node: &Node) -> Vec<Placed<Port>> {
    if matches!(task.text_of("networkMode"), Some("host" | "awsvpc")) {
        return Vec::new();
    }
    let mappings = node.get("portMappings").items().iter();
    mappings
        .map(|mapping| {
            let read = |key: &str| {
                mapping.get(key).number().and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
            };
            let port = Port {
                host_ip: String::new(),
                host_port: read("hostPort"),
                container_port: read("containerPort"),
                is_published: true,
            };
            Placed::new(port, mapping.place)
        })
        .collect()
}

fn variables(node: &Node) -> Vec<Placed<Variable>> {
    let literal = |item: &Node| {
        let name = item.text_of("name")?.to_string();
        let value = item.get("value");
        let place = value.map_or(item.place, |value| value.place);
        let value = VariableValue::Literal(value.text().unwrap_or_default().to_string());
        Some(Placed::new(Variable { name, value }, place))
    };
    node.get("environment").items().iter().filter_map(literal).collect()
}
