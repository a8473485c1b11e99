//! A container that runs already, of any engine; and what both kinds of subjects need.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use palisade_model::{Container, Engine};
use palisade_probe::listen::Transport;
use palisade_probe::{Dial, Event, Executed, Here, Pulse, Subject};
use palisade_respond::Target;
use palisade_sys::namespace::NetworkNamespace;
use palisade_sys::{Group, Hierarchies, ProcessHandle};

use super::Interruption;
use super::events::Sensor;
use super::keeper::{self, Keeper};
use crate::commands::Context;
use crate::commands::container::first_of;
use crate::commands::respond::by_hand::container;
use crate::exit::{Exit, Failure, OrExit as _};

/// Bytes of one table of sockets.
const TABLE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of output that are kept.
const OUTPUT_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of a log that are shown.
const LOG_BYTES: u64 = 2048;
/// How long a command in the container may take.
const EXECUTE_DEADLINE: Duration = Duration::from_secs(20);
/// How often a command is looked after.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How a command ended.
pub(super) struct Finished {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `command` to its end, or kills it after `deadline`.
pub(super) fn finished(mut command: Command, deadline: Duration) -> Result<Finished, String> {
    // Files, not pipes: what a container leaves behind must not keep us waiting.
    let file = || tempfile::tempfile().map_err(|error| error.to_string());
    let (stdout, stderr) = (file()?, file()?);
    let clone = |file: &std::fs::File| file.try_clone().map_err(|error| error.to_string());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(clone(&stdout)?)
        .stderr(clone(&stderr)?)
        .spawn()
        .map_err(|error| error.to_string())?;
    let end = Instant::now() + deadline;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                let _gone = child.kill();
                let _ended = child.wait();
                return Err(format!("it did not end within {} s", deadline.as_secs()));
            }
            None => std::thread::sleep(POLL_INTERVAL),
        }
    };
    let text = |mut file: std::fs::File| {
        let mut bytes = Vec::new();
        let _as_far_as_it_goes = file.seek(SeekFrom::Start(0));
        let _as_far_as_it_goes = file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Finished { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) })
}

/// How a container is whose first process is `init`.
pub(super) fn pulse(
    container: &Container,
    hierarchies: &Hierarchies,
    init: &ProcessHandle,
) -> Pulse {
    let target = Target::resolve(container, hierarchies).ok();
    let group = target.as_ref().map(Target::group);
    Pulse {
        is_running: init.wait_ended(Duration::ZERO).is_ok_and(|ended| !ended),
        n_out_of_memory: group.and_then(Group::n_oom_kills).unwrap_or(0),
        cpu: group.and_then(Group::cpu_time),
    }
}

/// The tables of sockets of a process's network namespace. None when it has ended: its number
/// may be another's by now.
pub(super) fn tables(init: &ProcessHandle) -> Vec<(Transport, String)> {
    let pid = init.pid();
    let files = [
        (Transport::Tcp, "tcp"),
        (Transport::Tcp, "tcp6"),
        (Transport::Udp, "udp"),
        (Transport::Udp, "udp6"),
    ];
    let found: Vec<(Transport, String)> = files
        .into_iter()
        .filter_map(|(transport, name)| {
            let file = std::fs::File::open(format!("/proc/{pid}/net/{name}")).ok()?;
            let bytes = palisade_base::read_bounded(file, "sockets", TABLE_BYTES_MAX).ok()?;
            Some((transport, String::from_utf8_lossy(&bytes).into_owned()))
        })
        .collect();
    if init.wait_ended(Duration::ZERO).unwrap_or(true) { Vec::new() } else { found }
}

/// The end of a file.
pub(super) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines: Vec<String> =
        lines.map(|line| palisade_base::text::printable(line).into_owned()).collect();
    lines.join("\n").trim().to_string()
}

/// A container that runs.
pub(super) struct Running<'a> {
    interruption: &'a Interruption,
    container: Container,
    init: ProcessHandle,
    network: NetworkNamespace,
    address: Option<IpAddr>,
    hierarchies: Hierarchies,
    program: std::path::PathBuf,
    folders: [std::path::PathBuf; 2],
    sensor: Sensor,
    /// Takes the folder away should this process be killed.
    _keeper: Keeper,
    /// The sensor's folder, which goes with it.
    _folder: tempfile::TempDir,
}

impl<'a> Running<'a> {
    /// The container that `name` names, watched.
    pub(super) fn new(
        context: &Context<'_>,
        name: &str,
        interruption: &'a Interruption,
    ) -> Result<Self, Failure> {
        let container = container(context, name)?;
        let hierarchies = Hierarchies::detect().or_exit(Exit::Incomplete)?;
        let target = Target::resolve(&container, &hierarchies).or_exit(Exit::Incomplete)?;
        let pids = target.group().processes().or_exit(Exit::Incomplete)?;
        let started = |pid: &u32| Some((*pid, palisade_sys::process::start_ticks(*pid)?));
        let processes: Vec<(u32, u64)> = pids.iter().filter_map(started).collect();
        let pid = first_of(container.init_pid, &processes).ok_or_else(|| {
            Failure::message(Exit::Incomplete, format!("container `{name}` has no process"))
                .with_hint("it must be running")
        })?;
        let init = ProcessHandle::open(pid).context("look at the container's first process")?;
        let network = NetworkNamespace::of_process(pid).context("open the container's network")?;
        if network.is_own().context("look at the container's network")? {
            let message = format!(
                "container `{name}` has this machine's network: the probe would reach its servers"
            );
            return Err(Failure::message(Exit::Refused, message)
                .with_hint("probe its image, in a container of the probe's own"));
        }
        let address = network.enter(own_address).ok().flatten();
        let folder = keeper::folder("")?;
        let program = std::env::current_exe().context("find this program")?;
        let keeper = Keeper::start(&program, folder.path())?;
        let mut command = Command::new(&program);
        // Two watches cannot have one control socket, so this one has a folder of its own, with
        // the record by which it knows the container.
        let run = folder.path().join("run");
        let record = Path::new("containers").join(format!("{}.json", container.id));
        std::fs::create_dir_all(run.join("containers")).context("make the probe's folder")?;
        let theirs = context.global.run_dir.join(&record);
        if container.engine == Engine::Palisade {
            std::fs::copy(&theirs, run.join(&record))
                .with_context(|| format!("copy the container's record `{}`", theirs.display()))?;
        }
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.arg("--run-dir").arg(&run).arg("--quiet");
        let id = container.id.clone();
        let short: String = id.chars().take(12).collect();
        let belongs = move |alert: &serde_json::Value| {
            alert.pointer("/container/id").and_then(|v| v.as_str()) == Some(id.as_str())
        };
        context.terminal.progress("starting the sensor");
        let chosen = format!("container.id startswith {short}");
        let sensor = Sensor::start(command, folder.path(), &chosen, belongs)?;
        let folders = [context.global.data_dir.clone(), context.global.run_dir.clone()];
        Ok(Self {
            interruption,
            container,
            init,
            network,
            address,
            hierarchies,
            program,
            folders,
            sensor,
            _keeper: keeper,
            _folder: folder,
        })
    }
}

/// The address that this namespace would use towards the outside. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

impl Dial for Running<'_> {
    fn dial(&self, to: SocketAddr, deadline: Duration) -> std::io::Result<TcpStream> {
        self.network.enter(|| Here.dial(to, deadline))?
    }
}

impl Subject for Running<'_> {
    fn pulse(&self) -> Pulse {
        pulse(&self.container, &self.hierarchies, &self.init)
    }

    fn events(&self) -> Vec<Event> {
        self.sensor.events()
    }

    fn tables(&self) -> Vec<(Transport, String)> {
        tables(&self.init)
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn restart(&self) -> Result<(), String> {
        Err("it is not the probe's own".into())
    }

    fn execute(&self, script: &str) -> Result<Executed, String> {
        let id = &self.container.id;
        let mut command = match self.container.engine {
            Engine::Palisade => {
                let mut command = Command::new(&self.program);
                let [data, run] = &self.folders;
                command.arg("--data-dir").arg(data).arg("--run-dir").arg(run).arg("--quiet");
                command.args(["exec", id, "--"]);
                command
            }
            Engine::Docker | Engine::Podman => {
                let is_docker = self.container.engine == Engine::Docker;
                let mut command = Command::new(if is_docker { "docker" } else { "podman" });
                command.args(["exec", id]);
                command
            }
            // Entering its namespaces by hand would leave its filter and capabilities out.
            _ => return Err("its engine has no command that runs another program in it".into()),
        };
        command.args(["/bin/sh", "-c", script]);
        let done = finished(command, EXECUTE_DEADLINE)?;
        Ok(Executed { code: done.code, output: done.stderr })
    }

    fn is_interrupted(&self) -> bool {
        self.interruption.has_come()
    }

    fn log(&self) -> String {
        String::new()
    }
}
