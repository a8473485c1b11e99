//! From an image and a policy to a container that waits to be started.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_harden::apparmor::Profile;
use palisade_harden::selinux::Labels;
use palisade_harden::{
    Base, Change, Facts, Hardened, ImageDefaults, ImageFacts, Refusal, base_spec, harden,
};
use palisade_model::{Container, Engine, ImageIdentity};
use palisade_policy::{Limits, Network, SecurityModule, Selinux, UserMode};
use palisade_sys::ProcessHandle;
use palisade_sys::namespace::in_private_mounts;
use palisade_sys::signals::SignalPipe;
use serde_json::{Value, json};

use crate::apparmor::{self, AppArmorError};
use crate::error::{RunError, RuncError};
use crate::io::{Pumps, Stdio, Wired};
use crate::lock::Lock;
use crate::network::usermode::{Kind, SLIRP_DNS, UserNetwork};
use crate::network::{Lease, Wanted, bridge};
use crate::output::Kept;
use crate::paths::make_folder;
use crate::record::{LogFile, Record, RunState};
use crate::rootfs::{Plan, prepare_mount_points, user_of};
use crate::share::Share;
use crate::{RunRequest, Runtime, selinux, start};

/// How long garbage collection in another process may hold creation up.
pub(crate) const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a command's arguments and variables together; the kernel takes about 2 MiB.
const ARGUMENTS_BYTES_MAX: usize = 1 << 20;

/// Bytes of the machine's `resolv.conf` that are read.
const RESOLV_BYTES_MAX: u64 = 64 << 10;
/// Where names are resolved.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved says whom it asks.
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// A container that waits to be started.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) record: Record,
    pub(crate) init: ProcessHandle,
    pub(crate) hardened: Hardened,
    pub(crate) pumps: Pumps,
    /// Folders of the image's layers, top first.
    pub(crate) layers: Vec<PathBuf>,
}

/// Removes what was made of a container, unless told that it may live.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    runtime: &'a Runtime,
    id: String,
    armed: bool,
    /// Says to others that this process takes care of the container.
    _owner: Lock,
}

impl Guard<'_> {
    /// Lets the container outlive this process.
    pub(crate) fn disarm(mut self) {
        self.armed = false;
    }

    /// Removes everything and says what could not be removed.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.armed = false;
        self.runtime.collect(&self.id).failures
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.armed {
            for failure in self.runtime.collect(&self.id).failures {
                tracing::warn!(container = %self.id, "left behind: {failure}");
            }
        }
    }
}

/// Signals that arrived while the container was being made.
pub(crate) fn check_interrupt(signals: Option<&SignalPipe>) -> Result<(), RunError> {
    match signals.map(SignalPipe::take) {
        Some(Ok(Some(signal))) if signal != libc_user_signal() => {
            Err(RunError::Interrupted(signal))
        }
        _ => Ok(()),
    }
}

/// `SIGUSR1` is for the program, not for us.
fn libc_user_signal() -> i32 {
    rustix::process::Signal::USR1.as_raw()
}

impl Runtime {
    /// Makes the container of `request` up to the point where only its program has to be
    /// started. Whatever fails, nothing is left: the guard sees to it.
    pub(crate) fn create<'a>(
        &'a self,
        request: &RunRequest<'_>,
        stdio: Stdio,
        signals: Option<&SignalPipe>,
    ) -> Result<(Created, Guard<'a>), RunError> {
        (request.admit)(request.image)?;
        check_interrupt(signals)?;
        if self.rootless.is_none() {
            self.check_controllers(&request.policy.containers.limits)?;
        }
        let is_connected = request.policy.containers.network == Network::Bridge;
        let usermode = (self.rootless.is_some() && is_connected)
            .then(|| UserNetwork::find(&wanted_network(request)))
            .transpose()?;
        let id = random_id()?;
        let (guard, name) = self.reserve(request, &id, true)?;
        let share = self.share(request, &id, true)?;
        let prepared = share.store.prepare(request.image)?;
        share.warnings.iter().chain(&prepared.warnings).for_each(|text| (request.warn)(text));
        check_interrupt(signals)?;
        let bundle = self.paths.bundle(&id);
        let written = self.paths.written(&id);
        let stage = self.stage(&prepared.folders)?;
        let (labels, unlabelled) = self.labels(request, &id)?;
        let plan = Plan {
            bundle: &bundle,
            written: &written,
            layers: &prepared.folders,
            folder: request.image.folder(),
            ids: share.ids,
            nosuid: request.policy.containers.no_new_privileges,
            rootless: stage.as_deref().map(|stage| (share.outer(0), stage)),
            label: labels.as_ref().and_then(|labels| labels.files.as_deref()),
        };
        let lease = self.reserve_network(request, &id, &name)?;
        let files = stage.as_deref().unwrap_or(&bundle);
        let groups = self.groups(true);
        groups.failures.iter().for_each(|text| (request.warn)(text));
        if let Some(text) = &unlabelled {
            (request.warn)(text);
        }
        let making = Making {
            runtime: self,
            request,
            id: &id,
            name,
            share: &share,
            controllers: groups.controllers,
            files,
            lease,
            usermode,
            labels: labels.as_ref(),
        };
        let mut created = in_private_mounts(|| making.make(&plan, stdio, signals))
            .map_err(RunError::io("make a mount namespace for", &bundle))??;
        if created.record.run.network.is_some() && self.rootless.is_none() {
            created.hardened.warnings.extend(bridge::warnings());
        }
        Ok((created, guard))
    }

    /// What SELinux is to take the container and its files for, and what is to be said of that.
    fn labels(
        &self,
        request: &RunRequest<'_>,
        id: &str,
    ) -> Result<(Option<Labels>, Option<String>), RunError> {
        let wanted = &request.policy.containers.selinux;
        let (labels, said) = selinux::labels(wanted, id)?;
        if self.rootless.is_none() || labels.is_none() {
            return Ok((labels, said));
        }
        if matches!(wanted, Selinux::Label(_)) {
            let hint = "set `containers.selinux: auto` in the policy";
            return Err(RunError::NeedsRoot { what: "label containers for SELinux".into(), hint });
        }
        let what = "only root's containers are labelled for SELinux: this one has the label of who \
                    runs it";
        Ok((None, Some(what.into())))
    }

    /// Refuses limits that nothing on this machine would hold: the OCI runtime notices only when
    /// half of the container is there.
    fn check_controllers(&self, limits: &Limits) -> Result<(), RunError> {
        let present = self.hierarchies.controllers()?;
        let wanted = [
            (limits.memory_bytes.is_some(), "memory", "memory"),
            (limits.cpu_millis.is_some(), "processor time", "cpu"),
            (limits.pids.is_some(), "processes", "pids"),
            (limits.io_bytes_per_second.is_some(), "reading and writing", "io"),
        ];
        for (is_wanted, limit, controller) in wanted {
            // Version 1 calls the last one by another name.
            let is_it =
                |name: &String| name == controller || (controller == "io" && name == "blkio");
            if is_wanted && !present.iter().any(is_it) {
                return Err(RunError::Controller { limit, controller });
            }
        }
        Ok(())
    }

    /// Takes an address on the bridge, where the policy gives the container one.
    fn reserve_network(
        &self,
        request: &RunRequest<'_>,
        id: &str,
        name: &str,
    ) -> Result<Option<Lease>, RunError> {
        if request.policy.containers.network != Network::Bridge {
            return Ok(None);
        }
        if self.rootless.is_some() {
            return Ok(None);
        }
        Ok(Some(bridge::reserve(&self.paths.network(), id, name, &wanted_network(request))?))
    }

    /// What hardening would change in the container of `request`, without running it or
    /// judging its image. Layers are unpacked, because the image's user is looked up in
    /// them; nothing else is left.
    pub fn explain(&self, request: &RunRequest<'_>) -> Result<Vec<Change>, RunError> {
        let id = random_id()?;
        let (guard, name) = self.reserve(request, &id, false)?;
        let share = self.share(request, &id, false)?;
        let prepared = share.store.prepare(request.image)?;
        let bundle = self.paths.bundle(&id);
        let written = self.paths.written(&id);
        let layers = &prepared.folders;
        // Nothing runs here, so nothing has to belong to the range.
        let stage = self.stage(layers)?;
        let rootless = stage.as_deref().map(|stage| (share.outer(0), stage));
        let (labels, _) = self.labels(request, &id)?;
        let plan = Plan {
            bundle: &bundle,
            written: &written,
            layers,
            folder: request.image.folder(),
            ids: None,
            nosuid: true,
            rootless,
            label: None,
        };
        let files = stage.as_deref().unwrap_or(&bundle);
        let groups = self.groups(false);
        groups.failures.iter().for_each(|text| (request.warn)(text));
        let making = Making {
            runtime: self,
            request,
            id: &id,
            name,
            share: &share,
            controllers: groups.controllers,
            files,
            lease: None,
            usermode: None,
            labels: labels.as_ref(),
        };
        let (hardened, _) = in_private_mounts(|| making.spec(&plan.assemble()?))
            .map_err(RunError::io("make a mount namespace for", &bundle))??;
        drop(guard);
        Ok(hardened.changes)
    }

    /// Makes the container's folders, takes the owner's lock, and the container's name if
    /// `takes_name`; otherwise that is the one which it would get.
    fn reserve(
        &self,
        request: &RunRequest<'_>,
        id: &str,
        takes_name: bool,
    ) -> Result<(Guard<'_>, String), RunError> {
        let (guard, name) = {
            let _shared = self.shared_lock()?;
            let names = if takes_name { self.names()? } else { self.names_now() };
            let name = names.choose(request, id)?;
            let bundle = self.paths.bundle(id);
            make_folder(&bundle, 0o700)?;
            let path = bundle.join("owner.lock");
            let owner = Lock::exclusive(&path, Duration::ZERO)
                .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::ResourceBusy.into()))
                .map_err(RunError::io("lock", &path))?;
            let guard = Guard { runtime: self, id: id.to_string(), armed: true, _owner: owner };
            if takes_name {
                names.give(&name, id)?;
            }
            (guard, name)
        };
        make_folder(&self.paths.written(id), 0o700)?;
        Ok((guard, name))
    }

    /// Held while something is made that garbage collection would remove.
    fn shared_lock(&self) -> Result<Lock, RunError> {
        let path = self.paths.lock();
        Lock::shared(&path, LOCK_DEADLINE)
            .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::TimedOut.into()))
            .map_err(RunError::io("lock", &path))
    }
}

/// What stays the same while one container is made.
struct Making<'a> {
    runtime: &'a Runtime,
    request: &'a RunRequest<'a>,
    id: &'a str,
    name: String,
    share: &'a Share,
    /// What an ordinary user's control groups hold.
    controllers: Option<Vec<String>>,
    /// Where files for the container are put.
    files: &'a Path,
    lease: Option<Lease>,
    /// What connects an ordinary user's container.
    usermode: Option<UserNetwork>,
    /// What SELinux takes it and its files for.
    labels: Option<&'a Labels>,
}

/// What the container of `request` gets of the bridge.
fn wanted_network(request: &RunRequest<'_>) -> Wanted {
    Wanted {
        published: request.published.clone(),
        bytes_per_second: request.policy.containers.limits.network_bytes_per_second,
        network: request.network.clone(),
    }
}

impl Making<'_> {
    /// Runs in the mount namespace that the container is made from.
    fn make(
        &self,
        plan: &Plan<'_>,
        stdio: Stdio,
        signals: Option<&SignalPipe>,
    ) -> Result<Created, RunError> {
        let rootfs = plan.assemble()?;
        let (mut hardened, profile) = self.spec(&rootfs)?;
        prepare_mount_points(&rootfs, &hardened.spec)?;
        let paths = &self.runtime.paths;
        let config = plan.bundle.join("config.json");
        let bytes = serde_json::to_vec_pretty(&hardened.spec)
            .map_err(|error| RunError::io("write", &config)(error.into()))?;
        write_new(&config, &bytes, 0o600).map_err(RunError::io("write", &config))?;
        // Before the first process: the sensor knows the container at its first exec.
        let mut record = self.record(&hardened);
        let kept = self.keep_output(plan.written)?;
        if let Some((_, path)) = &kept {
            record.run.log = Some(LogFile { path: path.clone(), offset: 0, supervisor: None });
        }
        let kept = kept.map(|(kept, _)| kept);
        let record_path = paths.record(self.id);
        record.write(&record_path, plan.bundle).map_err(RunError::io("write", &record_path))?;
        check_interrupt(signals)?;

        if let Some(profile) = profile {
            apparmor::load(&profile, plan.bundle)?;
        }
        let host = |id: u32| self.share.outer(id);
        let wired = if self.request.terminal {
            stdio.wire_terminal(paths, kept)
        } else {
            stdio.wire(host(record.run.uid), host(record.run.gid), kept.as_ref())
        };
        let wired = wired.map_err(RunError::io("make the streams of", plan.bundle))?;
        let (init, pumps) = self.runc_create(plan.bundle, wired, &hardened.spec)?;
        record.container.init_pid = Some(init.pid());
        record.run.init_start_ticks = palisade_sys::process::start_ticks(init.pid());
        record.write(&record_path, plan.bundle).map_err(RunError::io("write", &record_path))?;
        if let Some(usermode) = &self.usermode {
            let wanted = wanted_network(self.request);
            record.run.network = Some(usermode.attach(plan.bundle, init.pid(), &wanted)?);
            record.write(&record_path, plan.bundle).map_err(RunError::io("write", &record_path))?;
            hardened.warnings.extend(wanted.bytes_per_second.map(|_| {
                "`limits.network` limits what the container sends, and not what it receives: that \
                 needs a bridge, and root"
                    .into()
            }));
        }
        if let Some(lease) = &self.lease {
            let wanted = wanted_network(self.request);
            bridge::attach(&paths.network(), self.id, init.pid(), lease, &wanted)?;
        }
        check_interrupt(signals)?;
        // For whoever looks into them later, from outside of these mounts.
        let layers = match plan.folder {
            Some(folder) => vec![folder.handle()],
            None => plan.layers.to_vec(),
        };
        Ok(Created { record, init, hardened, pumps, layers })
    }

    /// The hardened spec, and the AppArmor profile that it names.
    fn spec(&self, rootfs: &Path) -> Result<(Hardened, Option<Profile>), RunError> {
        let request = self.request;
        let config = &request.image.config;
        let user_text = match (&request.policy.containers.user, config.user.as_str()) {
            // Nothing to look up: the policy replaces it anyway.
            (UserMode::Fallback(_), "" | "0" | "root") => "0",
            (_, user) => user,
        };
        let facts = Facts {
            image: ImageFacts {
                user: user_of(rootfs, user_text)?,
                volumes: config.volumes.clone(),
            },
            machine: self.runtime.machine(),
            seccomp_document: request.seccomp_document.clone(),
        };
        let image = ImageDefaults {
            env: config.env.clone(),
            entrypoint: if request.clear_entrypoint {
                Vec::new()
            } else {
                config.entrypoint.clone()
            },
            cmd: config.cmd.clone(),
            working_dir: config.working_dir.clone(),
        };
        let rootfs_text = rootfs.to_string_lossy();
        let base = Base {
            image: &image,
            command: &request.command,
            env: &request.env,
            working_dir: request.working_dir.as_deref(),
            rootfs: &rootfs_text,
            hostname: self.id.get(..12).unwrap_or(self.id),
            cgroups_path: &self.runtime.paths.cgroup(self.id),
        };
        let mut spec = base_spec(&base).ok_or(RunError::NoCommand)?;
        if request.terminal
            && let Some(process) = spec.get_mut("process")
        {
            give_terminal(process);
        }
        self.add_files(&mut spec)?;
        let size: usize = ["/process/args", "/process/env"]
            .iter()
            .filter_map(|path| spec.pointer(path))
            .map(|list| list.to_string().len())
            .sum();
        if size > ARGUMENTS_BYTES_MAX {
            let reason = palisade_harden::RefusalReason {
                control: "command",
                message: format!(
                    "arguments and variables are longer than {ARGUMENTS_BYTES_MAX} bytes"
                ),
                fix: "pass long values in a file".into(),
            };
            return Err(Refusal { reasons: vec![reason] }.into());
        }
        let mut hardened = harden(spec, &request.policy.containers, &facts, self.share.ids)?;
        if let Some(fit) = self.runtime.fit(request, self.share, self.controllers.clone()) {
            hardened = fit.fit(hardened)?;
        }
        if let Some(labels) = self.labels {
            let (spec, changes) =
                palisade_harden::selinux::apply(hardened.spec, labels).map_err(Refusal::from)?;
            hardened.spec = spec;
            hardened.changes.extend(changes);
        }
        self.security_module(hardened)
    }

    /// Has AppArmor hold what the spec says, where the policy wants it and the kernel has it.
    fn security_module(
        &self,
        mut hardened: Hardened,
    ) -> Result<(Hardened, Option<Profile>), RunError> {
        let policy = self.request.policy;
        let required = match policy.containers.security_module {
            SecurityModule::Off => return Ok((hardened, None)),
            SecurityModule::Auto => false,
            SecurityModule::Required => true,
        };
        if !apparmor::is_active() {
            return if required {
                Err(AppArmorError::Inactive.into())
            } else {
                Ok((hardened, None))
            };
        }
        if self.runtime.rootless.is_some() {
            let hint = "set `containers.security_module: auto` in the policy";
            if required {
                return Err(RunError::NeedsRoot { what: "load AppArmor profiles".into(), hint });
            }
            let what = "only root can load AppArmor profiles, so the container runs without one";
            hardened.warnings.push(what.into());
            return Ok((hardened, None));
        }
        if apparmor::parser().is_none() {
            if required {
                return Err(AppArmorError::NoParser.into());
            }
            let what = "this machine has AppArmor but no apparmor_parser, so the container runs \
                        without a profile: apt install apparmor";
            hardened.warnings.push(what.into());
            return Ok((hardened, None));
        }
        let profile = palisade_harden::apparmor::profile(&hardened.spec, &policy.name)
            .map_err(Refusal::from)?;
        let (spec, changes) =
            palisade_harden::apparmor::apply(hardened.spec, &profile).map_err(Refusal::from)?;
        hardened.spec = spec;
        hardened.changes.extend(changes);
        Ok((hardened, Some(profile)))
    }

    /// Gives the container the few files that programs expect of every machine.
    fn add_files(&self, spec: &mut Value) -> Result<(), RunError> {
        let hostname = self.id.get(..12).unwrap_or(self.id);
        let mut hosts = format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost\n");
        if let Some(lease) = &self.lease {
            // Servers listen at the address that their own name has.
            let address = lease.address;
            hosts =
                format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {hostname}\n");
        }
        let mut files = vec![("hosts", hosts), ("hostname", format!("{hostname}\n"))];
        // A machine without one resolves no names, and its containers neither.
        let resolv_conf = match self.request.policy.containers.network {
            Network::None => None,
            Network::Host => resolv_conf(RESOLV_CONF)?,
            Network::Bridge if self.usermode.as_ref().is_some_and(|it| it.kind == Kind::Slirp) => {
                Some(format!("nameserver {SLIRP_DNS}\n"))
            }
            Network::Bridge => resolv_conf(RESOLV_CONF)?.and_then(|text| {
                Some(bridge::resolv_conf(&text, resolv_conf(RESOLVED_CONF).ok()?.as_deref()))?
            }),
        };
        files.extend(resolv_conf.map(|text| ("resolv.conf", text)));
        for (name, text) in files {
            let source = self.files.join(name);
            write_new(&source, text.as_bytes(), 0o644).map_err(RunError::io("write", &source))?;
            if let Some(label) = self.labels.and_then(|labels| labels.files.as_deref()) {
                selinux::set(&source, label)?;
            }
            let mount = json!({
                "destination": format!("/etc/{name}"), "type": "bind", "source": source,
                "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
            });
            if let Some(mounts) = spec.pointer_mut("/mounts").and_then(Value::as_array_mut) {
                mounts.push(mount);
            }
        }
        Ok(())
    }

    fn record(&self, hardened: &Hardened) -> Record {
        let number = |path: &str| {
            let value = hardened.spec.pointer(path).and_then(Value::as_u64);
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0)
        };
        let args = hardened.spec.pointer("/process/args").and_then(Value::as_array);
        let command =
            args.into_iter().flatten().filter_map(|arg| arg.as_str().map(str::to_string)).collect();
        let request = self.request;
        Record {
            container: Container {
                id: self.id.to_string(),
                name: self.name.clone(),
                engine: Engine::Palisade,
                image: Some(ImageIdentity {
                    reference: request.reference.clone(),
                    digest: request.image.manifest_digest.or(request.image.config_digest),
                }),
                policy: Some(request.policy.name.clone()),
                pod: None,
                cgroup: hardened
                    .spec
                    .pointer("/linux/cgroupsPath")
                    .and_then(Value::as_str)
                    .map(str::to_string),
                init_pid: None,
            },
            run: RunState {
                created: Timestamp::now(),
                command,
                ids: self.share.ids,
                root_is_user: self.share.root_is_user,
                uid: number("/process/user/uid"),
                gid: number("/process/user/gid"),
                policy_digest: request.policy.digest,
                init_start_ticks: None,
                stop_signal: request
                    .image
                    .config
                    .stop_signal
                    .as_deref()
                    .and_then(palisade_sys::signals::parse),
                network: self.lease.clone(),
                detached: request.detach,
                log: request.log.clone(),
            },
        }
    }

    /// Keeps the output of a container in the foreground as long as that is there; what is detached
    /// has a file of the caller's.
    fn keep_output(&self, written: &Path) -> Result<Option<(Arc<Kept>, PathBuf)>, RunError> {
        if self.request.detach || self.request.log.is_some() {
            return Ok(None);
        }
        let path = written.join("output.log");
        let kept = Kept::create(&path).map_err(RunError::io("create", &path))?;
        Ok(Some((kept, path)))
    }

    /// Has the OCI runtime make the container; its first process waits for the start.
    fn runc_create(
        &self,
        bundle: &Path,
        wired: Wired,
        spec: &Value,
    ) -> Result<(ProcessHandle, Pumps), RunError> {
        let runtime = self.runtime;
        let Wired { stdin, stdout, stderr, mut pumps, console } = wired;
        let (log, pid_file) = (bundle.join("runc.log"), bundle.join("init.pid"));
        let _shared = runtime.shared_lock()?;
        let mut call = runtime.runc.call(&runtime.paths.runc_state(), &log);
        call.arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file);
        if let Some(console) = &console {
            call.arg("--console-socket").arg(console.path());
        }
        call.arg(self.id).stdin(stdin).stdout(stdout).stderr(stderr);
        let result = runtime.runc.finish(call, "create", &log);
        if let Err(error) = result {
            // Not waited for: what the runtime left half-made may hold the streams until
            // the guard kills it.
            drop(pumps);
            return Err(match &error {
                RuncError::Failed { message, .. } => {
                    start::failure(self.request, spec, message).unwrap_or_else(|| error.into())
                }
                _ => error.into(),
            });
        }
        let text = std::fs::read_to_string(&pid_file).map_err(RunError::io("read", &pid_file))?;
        let pid: u32 = text
            .trim()
            .parse()
            .map_err(|_| std::io::ErrorKind::InvalidData.into())
            .map_err(RunError::io("read", &pid_file))?;
        let init = ProcessHandle::open(pid).map_err(RunError::io("open process of", &pid_file))?;
        pumps.connect(console).map_err(RunError::io("connect the terminal of", bundle))?;
        pumps.begin(pid).map_err(RunError::io("carry the output of", bundle))?;
        Ok((init, pumps))
    }
}

/// A file of the machine's that says where names are resolved.
fn resolv_conf(path: &str) -> Result<Option<String>, RunError> {
    let path = Path::new(path);
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    let bytes = palisade_base::read_bounded(file, "resolv.conf", RESOLV_BYTES_MAX)
        .map_err(RunError::io("read", path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Asks for a terminal of the process's own, and says of what kind it is, as engines do.
pub(crate) fn give_terminal(process: &mut Value) {
    let Some(process) = process.as_object_mut() else { return };
    process.insert("terminal".into(), json!(true));
    let env = process.entry("env").or_insert_with(|| json!([]));
    if let Some(env) = env.as_array_mut() {
        let is_set = |it: &Value| it.as_str().is_some_and(|it| it.starts_with("TERM="));
        if !env.iter().any(is_set) {
            env.push(json!("TERM=xterm"));
        }
    }
}

/// Writes a file of a bundle. Nobody reads it before it is whole and nobody after a
/// crash, so it is neither renamed nor synchronised.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(path)?.write_all(bytes)
}

/// 256 random bits as 64 hex digits, the form that every engine's identifiers have.
fn random_id() -> Result<String, RunError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 32];
    std::fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(RunError::io("read", source))?;
    Ok(palisade_base::Digest::from_bytes(bytes).hex())
}
