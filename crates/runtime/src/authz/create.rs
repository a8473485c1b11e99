//! What a call asks for: as a container's spec where a spec can say it, by name otherwise.

use std::fmt::Write as _;

use palisade_harden::{Asking, ENGINE_CAPABILITIES, EngineFacts, is_ambiguous_profile};
use palisade_policy::{Allowance, EngineMode, Policy, PublishedPorts, Restarts};
use serde_json::{Value, json};

use super::tree::Tree;
use crate::install::NAME;
use crate::oci::is_socket;

/// Labels of a container that are looked at.
const LABELS_MAX: usize = 1024;
/// Types of file systems that a volume of the driver `local` may have: of files elsewhere.
const VOLUME_TYPES: [&str; 8] = ["", "none", "bind", "tmpfs", "nfs", "nfs4", "cifs", "smb3"];

/// Most restarts after a failure where they are bounded (CIS Docker 1.6, 5.15).
const RESTARTS_MAX: f64 = 5.0;
/// First port of the host that a program needs no privilege for.
const UNPRIVILEGED_PORT: u16 = 1024;

/// A body that is not as Docker's API has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadBody(pub(super) String);

/// What a call asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// What no exception of the policy allows.
    pub(super) always: Vec<String>,
    /// What no spec shows.
    pub(super) by_name: Vec<Asking>,
    privileged: bool,
    capabilities: Vec<String>,
    host_namespaces: Vec<&'static str>,
    mounts: Vec<Value>,
    devices: Vec<Value>,
    sysctls: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn ask(&mut self, control: &'static str, what: &str, allowance: Allowance) {
        self.by_name.push(Asking { control, what: what.to_string(), allowance });
    }

    pub(super) fn host_namespace(&mut self, kind: &'static str) {
        self.host_namespaces.push(kind);
    }

    /// `POST /containers/create`.
    pub(super) fn of_create(
        body: &Tree,
        runtimes: &[String],
        policy: &Policy,
        engine: &mut EngineFacts,
    ) -> Result<Self, BadBody> {
        engine.image = body.get("Image")?.text()?.map(str::to_string);
        let labels = body.get("Labels")?.pairs()?;
        engine.labels = labels
            .into_iter()
            .take(LABELS_MAX)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut asked = Self::default();
        // Docker still takes the host's part beside the rest, from before API 1.15.
        for host in [body.get("HostConfig")?, body] {
            asked.host_config(host, runtimes)?;
            asked.published(host, policy)?;
            asked.restarts(host, policy)?;
        }
        Ok(asked)
    }

    fn host_config(&mut self, host: &Tree, runtimes: &[String]) -> Result<(), BadBody> {
        let text = |name: &str| Ok(host.get(name)?.text()?.unwrap_or_default());
        let runtime = text("Runtime")?;
        if !runtime.is_empty() && runtime != NAME && !runtimes.iter().any(|known| known == runtime)
        {
            let shown: String = runtime.chars().take(64).collect();
            self.always.push(format!(
                "another OCI runtime was asked for (`{shown}`) [runtime]: leave --runtime out, or \
                 name it to the plugin (palisade authz --allow-runtime {shown})"
            ));
        }
        self.privileged |= host.get("Privileged")?.truth()?.unwrap_or(false);
        for name in host.get("CapAdd")?.texts()? {
            let name = name.to_ascii_uppercase();
            self.capabilities.push(match name.strip_prefix("CAP_") {
                Some(short) => short.to_string(),
                None => name,
            });
        }
        for (field, kind) in [
            ("NetworkMode", "network"),
            ("PidMode", "pid"),
            ("IpcMode", "ipc"),
            ("UTSMode", "uts"),
            ("CgroupnsMode", "cgroup"),
        ] {
            if text(field)? == "host" {
                if kind == "cgroup" {
                    // By itself the spec does not tell it from a default.
                    let what = "the container would share the host's cgroup namespace";
                    self.ask("namespaces", what, Allowance::HostNamespace("cgroup"));
                } else {
                    self.host_namespaces.push(kind);
                }
            }
        }
        if text("UsernsMode")? == "host" {
            let what = "the container would leave the engine's user namespace";
            self.ask("namespaces", what, Allowance::Privileged);
        }
        if !text("CgroupParent")?.is_empty() {
            let what = "the container would leave the engine's control group";
            self.ask("limits", what, Allowance::Limits);
        }
        for bind in host.get("Binds")?.texts()? {
            self.bind(bind);
        }
        for mount in host.get("Mounts")?.list()? {
            self.mount(mount)?;
        }
        for device in host.get("Devices")?.list()? {
            let path = device.get("PathOnHost")?.text()?.unwrap_or_default();
            self.devices.push(json!({ "path": path }));
        }
        if !host.get("DeviceCgroupRules")?.texts()?.is_empty() {
            let what = "rights to devices of the host were asked for";
            self.ask("devices", what, Allowance::Device("/dev/*".into()));
        }
        if !host.get("DeviceRequests")?.list()?.is_empty() {
            let what = "devices of the host were asked for by their driver (--gpus)";
            self.ask("devices", what, Allowance::Device("/dev/nvidia*".into()));
        }
        for (name, value) in host.get("Sysctls")?.pairs()? {
            self.sysctls.push((name.to_string(), value.to_string()));
        }
        for (name, value) in host.get("Annotations")?.pairs()? {
            // Docker's containers are no kubelet's.
            if name.starts_with("io.kubernetes.") {
                let shown: String = name.chars().take(80).collect();
                let what = format!("an annotation of Kubernetes was asked for (`{shown}`)");
                self.ask("annotations", &what, Allowance::Annotation(shown));
            }
            self.annotations.push((name.to_string(), value.to_string()));
        }
        self.security(host)
    }

    /// Ports of the host: no runtime sees them.
    fn published(&mut self, host: &Tree, policy: &Policy) -> Result<(), BadBody> {
        let allowed = policy.engines.published_ports;
        if allowed == PublishedPorts::Any || policy.engines.mode == EngineMode::Report {
            return Ok(());
        }
        let mut refused = Vec::new();
        if host.get("PublishAllPorts")?.truth()?.unwrap_or(false) {
            refused.push("every port of the image (--publish-all)".to_string());
        }
        for (port, bindings) in host.get("PortBindings")?.entries()? {
            for binding in bindings.list()? {
                let text = |name: &str| Ok(binding.get(name)?.text()?.unwrap_or_default());
                let (address, number) = (text("HostIp")?, text("HostPort")?);
                if allowed == PublishedPorts::None || !is_modest(address, number) {
                    let shown = format!("{address}:{number}:{port}");
                    refused.push(shown.chars().take(64).collect());
                }
            }
        }
        self.refuse_ports(&refused, allowed);
        Ok(())
    }

    fn refuse_ports(&mut self, refused: &[String], allowed: PublishedPorts) {
        let Some(first) = refused.first() else { return };
        let (rule, fix) = match allowed {
            PublishedPorts::None => ("none", "publish no port"),
            _ => (
                "addressed",
                "name an address of the host and a port from 1024 on (-p 127.0.0.1:8080:80)",
            ),
        };
        self.always.push(format!(
            "a port of the host was asked for (`{first}`) [published_ports]: {fix}, or have the \
             policy say more than `engines.published_ports: {rule}`"
        ));
    }

    /// How often the engine starts it again: no runtime sees it.
    fn restarts(&mut self, host: &Tree, policy: &Policy) -> Result<(), BadBody> {
        if policy.engines.restarts == Restarts::Any || policy.engines.mode == EngineMode::Report {
            return Ok(());
        }
        let asked = host.get("RestartPolicy")?;
        let name = asked.get("Name")?.text()?.unwrap_or_default();
        let most = asked.get("MaximumRetryCount")?.number()?.unwrap_or(0.0);
        // Zero is no bound.
        let is_bounded = match name {
            "" | "no" => true,
            "on-failure" => most > 0.0 && most <= RESTARTS_MAX,
            _ => false,
        };
        if !is_bounded {
            let shown: String = name.chars().take(32).collect();
            self.always.push(format!(
                "restarts without end were asked for (`{shown}`) [restarts]: use --restart \
                 on-failure:5 or less, or have the policy say `engines.restarts: any`"
            ));
        }
        Ok(())
    }

    /// The same of a service's tasks, which are started again unless it is said otherwise.
    fn service_restarts(&mut self, asked: &Tree, policy: &Policy) -> Result<(), BadBody> {
        if policy.engines.restarts == Restarts::Any || policy.engines.mode == EngineMode::Report {
            return Ok(());
        }
        let condition = asked.get("Condition")?.text()?.unwrap_or_default();
        let most = asked.get("MaxAttempts")?.number()?.unwrap_or(0.0);
        let is_bounded = match condition {
            "none" => true,
            "on-failure" => (1.0..=RESTARTS_MAX).contains(&most),
            _ => false,
        };
        if !is_bounded {
            let shown: String = condition.chars().take(32).collect();
            self.always.push(format!(
                "restarts of a service without end were asked for (`{shown}`) [restarts]: use \
                 --restart-condition none, or on-failure with --restart-max-attempts 5 or less, or \
                 have the policy say `engines.restarts: any`"
            ));
        }
        Ok(())
    }

    fn security(&mut self, host: &Tree) -> Result<(), BadBody> {
        for option in host.get("SecurityOpt")?.texts()? {
            // Docker takes `name=value` and the older `name:value`.
            let (name, value) =
                option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
            let value = match value.trim() {
                other if name == "apparmor" && is_ambiguous_profile(other) => "unconfined",
                value => value,
            };
            match (name, value) {
                ("seccomp", "unconfined") => {
                    let what = "a container without a system-call filter was asked for";
                    self.ask("seccomp", what, Allowance::Seccomp);
                }
                // Which profiles there are the runtime sees.
                ("apparmor", "unconfined") | ("label", "disable") => {
                    let what = "AppArmor or SELinux would not confine the container";
                    self.ask("security_module", what, Allowance::SecurityModule);
                }
                ("systempaths", "unconfined") => self.unmasked(),
                ("no-new-privileges", "false") => {
                    let what = "setuid files that have an effect were asked for";
                    self.ask("no_new_privileges", what, Allowance::NewPrivileges);
                }
                _ => {}
            }
        }
        // What clients make of `systempaths=unconfined`: lists that are there and empty.
        for field in ["MaskedPaths", "ReadonlyPaths"] {
            if matches!(host.get(field)?, Tree::List(list) if list.is_empty()) {
                self.unmasked();
            }
        }
        if host.get("OomKillDisable")?.truth()? == Some(true) {
            let what = "the kernel could not kill the container when memory is short";
            self.ask("limits", what, Allowance::Limits);
        }
        if host.get("OomScoreAdj")?.number()?.is_some_and(|score| score < 0.0) {
            let what = "the kernel would kill others first when memory is short";
            self.ask("limits", what, Allowance::Limits);
        }
        Ok(())
    }

    fn unmasked(&mut self) {
        let what = "paths of the kernel that engines hide were asked for";
        if !self.by_name.iter().any(|asking| asking.allowance == Allowance::UnmaskedPaths) {
            self.ask("mask_paths", what, Allowance::UnmaskedPaths);
        }
    }

    /// `SOURCE:TARGET[:OPTIONS]`; a source that is no path names a volume.
    fn bind(&mut self, text: &str) {
        let mut parts = text.split(':');
        let (source, target) = (parts.next().unwrap_or_default(), parts.next());
        if !source.starts_with('/') {
            return;
        }
        let mut options = vec!["rbind".to_string()];
        options.extend(parts.flat_map(|part| part.split(',')).map(str::to_string));
        let target = target.unwrap_or(source);
        self.push_mount(source, target, &options);
    }

    fn push_mount(&mut self, source: &str, target: &str, options: &[String]) {
        self.mounts.push(json!({
            "type": "bind", "source": source, "destination": target, "options": options,
        }));
    }

    /// One entry of `Mounts`.
    fn mount(&mut self, mount: &Tree) -> Result<(), BadBody> {
        let text = |name: &str| Ok(mount.get(name)?.text()?.unwrap_or_default());
        match text("Type")? {
            "bind" | "npipe" => {
                let mut options = vec!["rbind".to_string()];
                if mount.get("ReadOnly")?.truth()?.unwrap_or(false) {
                    options.push("ro".into());
                }
                let spread = mount.at(&["BindOptions", "Propagation"])?.text()?;
                options.extend(spread.map(str::to_string));
                self.push_mount(text("Source")?, text("Target")?, &options);
                Ok(())
            }
            "volume" => {
                let driver = mount.at(&["VolumeOptions", "DriverConfig"])?;
                self.volume(driver, "Name", "Options")
            }
            _ => Ok(()),
        }
    }

    /// A volume with options of its driver: `local` mounts what they say, wherever it is.
    pub(super) fn volume(
        &mut self,
        body: &Tree,
        driver: &str,
        options: &str,
    ) -> Result<(), BadBody> {
        let driver = body.get(driver)?.text()?.unwrap_or_default();
        let options = body.get(options)?.pairs()?;
        if !matches!(driver, "" | "local") || options.is_empty() {
            return Ok(());
        }
        let option = |name: &str| {
            options.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value)
        };
        let (kind, device, flags) = (option("type"), option("device"), option("o"));
        let flags: Vec<String> = flags.split(',').map(str::to_string).collect();
        if !VOLUME_TYPES.contains(&kind) && !device.starts_with("/dev/") {
            let mut what = String::from("a volume of type `");
            let _ = write!(what, "{}`", kind.chars().take(32).collect::<String>());
            let word = Allowance::Mount(format!("/{}", device.trim_start_matches('/')));
            self.ask("mounts", &what, word);
            return Ok(());
        }
        let is_remote = matches!(kind, "nfs" | "nfs4" | "cifs" | "smb3" | "tmpfs");
        if device.starts_with('/') && !is_remote {
            self.push_mount(device, "/volume", &flags);
        }
        Ok(())
    }

    /// `POST /services/create` and `…/update`.
    pub(super) fn of_service(
        body: &Tree,
        policy: &Policy,
        engine: &mut EngineFacts,
    ) -> Result<Self, BadBody> {
        let mut asked = Self::default();
        // A service's ports are those of every node, at every address.
        let allowed = policy.engines.published_ports;
        let ports = body.at(&["EndpointSpec", "Ports"])?.list()?;
        if allowed != PublishedPorts::Any
            && policy.engines.mode == EngineMode::Enforce
            && !ports.is_empty()
        {
            asked.refuse_ports(&["of a service".to_string()], allowed);
        }
        let task = body.get("TaskTemplate")?;
        asked.service_restarts(task.get("RestartPolicy")?, policy)?;
        engine.name = body.get("Name")?.text()?.map(str::to_string);
        engine.image = task.at(&["ContainerSpec", "Image"])?.text()?.map(str::to_string);
        let runtime = task.get("Runtime")?.text()?.unwrap_or_default();
        if *task.get("PluginSpec")? != Tree::Null || !matches!(runtime, "" | "container") {
            let what = "a plugin of the engine runs with whatever rights it wants";
            asked.ask("plugins", what, Allowance::Privileged);
        }
        for mount in task.at(&["ContainerSpec", "Mounts"])?.list()? {
            asked.mount(mount)?;
        }
        for network in task.get("Networks")?.list()? {
            if network.get("Target")?.text()? == Some("host") {
                asked.host_namespaces.push("network");
            }
        }
        Ok(asked)
    }

    /// `POST /containers/ID/update`: limits that would be above the policy's.
    pub(super) fn of_update(body: &Tree, policy: &Policy) -> Result<Self, BadBody> {
        let mut asked = Self::default();
        asked.restarts(body, policy)?;
        let limits = &policy.containers.limits;
        for (field, most, zero_is_none) in [
            ("Memory", limits.memory_bytes, false),
            // Both together, so that what is above memory is swap; -1 is as much as there is.
            ("MemorySwap", limits.memory_bytes, false),
            ("PidsLimit", limits.pids.map(u64::from), true),
            ("NanoCpus", limits.cpu_millis.map(|millis| u64::from(millis) * 1_000_000), false),
        ] {
            let (Some(most), Some(wanted)) = (most, body.get(field)?.number()?) else { continue };
            // Zero is no change, but for the number of processes.
            if wanted > most as f64 || wanted < 0.0 || (zero_is_none && wanted == 0.0) {
                let what = format!("`{field}` would be above the policy's {most}");
                asked.ask("limits", &what, Allowance::Limits);
            }
        }
        if let Some(millis) = limits.cpu_millis {
            // Zero is no change.
            let number = |name: &str| Ok(body.get(name)?.number()?.filter(|n| *n != 0.0));
            let what = match (number("CpuQuota")?, number("CpuPeriod")?) {
                (None, None) => None,
                (Some(quota), Some(period)) => {
                    let most = f64::from(millis) / 1000.0 * period;
                    let is_above = quota < 0.0 || period < 0.0 || quota > most;
                    is_above.then(|| format!("`CpuQuota` would be above the policy's {most}"))
                }
                // Nobody here knows of the other one that it would be held against.
                _ => Some("of `CpuQuota` and `CpuPeriod` one would be changed alone".into()),
            };
            if let Some(what) = what {
                asked.ask("limits", &what, Allowance::Limits);
            }
        }
        Ok(asked)
    }

    /// Looks up where sources of mounts lead.
    pub(super) fn resolve(&self, engine: &mut EngineFacts) {
        let sources = self.mounts.iter().filter_map(|mount| mount.get("source")?.as_str());
        engine.sources = sources
            .filter_map(|source| {
                let real = std::fs::canonicalize(source).ok()?;
                Some((source.to_string(), real.to_str()?.to_string()))
            })
            .collect();
        let is_socket = |(_, real): &(&String, &String)| is_socket(real);
        engine.sockets =
            engine.sources.iter().filter(is_socket).map(|(named, _)| named.clone()).collect();
    }

    /// A spec that asks for the same.
    pub(super) fn spec(&self) -> Value {
        let kinds = ["mount", "pid", "ipc", "uts", "network", "cgroup"];
        let own = kinds.iter().filter(|kind| !self.host_namespaces.contains(*kind));
        let namespaces: Vec<Value> = own.map(|kind| json!({ "type": kind })).collect();
        let mut bounding: Vec<String> =
            ENGINE_CAPABILITIES.iter().map(ToString::to_string).collect();
        let mut rules = vec![json!({"allow": false, "access": "rwm"})];
        let all = self.capabilities.iter().any(|name| name == "ALL");
        if self.privileged || all {
            let all = ["CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_NET_ADMIN"];
            bounding.extend(all.map(str::to_string));
        }
        if self.privileged {
            rules.push(json!({"allow": true, "access": "rwm"}));
        }
        let named = self.capabilities.iter().filter(|name| *name != "ALL");
        bounding.extend(named.map(|name| format!("CAP_{name}")));
        let sysctls: serde_json::Map<String, Value> =
            self.sysctls.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let annotations: serde_json::Map<String, Value> =
            self.annotations.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "annotations": annotations,
            // Who the program runs as is the image's; the runtime sees it.
            "process": {"user": {"uid": 1, "gid": 1}, "capabilities": {"bounding": bounding}},
            "root": {"path": "rootfs"},
            "mounts": self.mounts,
            "linux": {
                "namespaces": namespaces,
                "devices": self.devices,
                "sysctl": sysctls,
                "resources": {"devices": rules},
            },
        })
    }
}

/// Whether a port is published at an address that is named, and is not one that only root opens.
/// Without a number the engine takes a high one.
fn is_modest(address: &str, number: &str) -> bool {
    let is_named = match address.parse::<std::net::IpAddr>() {
        // `::ffff:0.0.0.0` is every address as well.
        Ok(address) => !address.to_canonical().is_unspecified(),
        Err(_) => false,
    };
    // A range begins with its lowest.
    let lowest = number.split('-').next().unwrap_or_default();
    is_named && (number.is_empty() || lowest.parse().is_ok_and(|n: u16| n >= UNPRIVILEGED_PORT))
}
