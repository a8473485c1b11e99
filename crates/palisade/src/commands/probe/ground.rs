//! A container of the probe's own.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_base::tree::remove_tree;
use palisade_image::{LayerSource, NewImage, PackOptions, Platform, write_layout};
use palisade_model::{Container, Target};
use palisade_probe::listen::Transport;
use palisade_probe::{Dial, Event, Executed, Here, Pulse, Subject};
use palisade_sys::namespace::NetworkNamespace;
use palisade_sys::{Hierarchies, ProcessHandle};
use serde_json::json;

use super::Interruption;
use super::events::Sensor;
use super::keeper::{self, Keeper};
use super::running::{finished, pulse, tables, tail};
use crate::cli;
use crate::commands::Context;
use crate::exit::{Exit, Failure, OrExit as _};

/// An address beside loopback, of the range for tests of networks (RFC 2544), so that a server
/// takes the probe for somebody from outside.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The address from which the probe comes to it.
const VISITOR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// How long a command in the container may take.
const EXECUTE_DEADLINE: Duration = Duration::from_secs(20);
/// How long it may take to start and to stop.
const START_DEADLINE: Duration = Duration::from_mins(5);

/// The container as it is now.
struct Current {
    id: String,
    init: ProcessHandle,
    container: Container,
    network: NetworkNamespace,
    has_outside: bool,
    log: Option<PathBuf>,
}

/// The place of a probe.
pub(super) struct Ground<'a> {
    args: &'a cli::Probe,
    interruption: &'a Interruption,
    program: PathBuf,
    /// Goes last: everything is in it.
    folder: tempfile::TempDir,
    /// Takes everything away should this process be killed.
    _keeper: Keeper,
    run: PathBuf,
    name: String,
    target: String,
    policy: String,
    hierarchies: Hierarchies,
    sensor: Option<Sensor>,
    current: RefCell<Option<Current>>,
}

impl<'a> Ground<'a> {
    /// Starts the watch and the container.
    pub(super) fn new(
        context: &Context<'_>,
        args: &'a cli::Probe,
        interruption: &'a Interruption,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().context("find this program")?;
        let hierarchies = Hierarchies::detect().or_exit(Exit::Incomplete)?;
        let name = format!("probe-{:x}", Timestamp::now().as_nanos());
        let folder = keeper::folder(&name)?;
        let keeper = Keeper::start(&program, folder.path())?;
        let run = keeper::run_folder(&name);
        let target = image(context, args, folder.path())?;
        let policy = policy(args, folder.path())?;
        if context.load_policy(&policy)?.policy.containers.network == palisade_policy::Network::Host
        {
            return Err(on_the_host());
        }
        let mut ground = Self {
            args,
            interruption,
            program,
            folder,
            _keeper: keeper,
            run,
            name,
            target,
            policy,
            hierarchies,
            sensor: None,
            current: RefCell::new(None),
        };
        std::fs::create_dir_all(ground.data()).context("make the probe's folder")?;
        context.lend_database(&ground.data()).context("lend the advisory database")?;
        let chosen = format!("container.name={}", ground.name);
        let name = ground.name.clone();
        let belongs = move |alert: &serde_json::Value| {
            alert.pointer("/container/name").and_then(|v| v.as_str()) == Some(name.as_str())
        };
        context.terminal.progress("starting the sensor");
        let sensor = Sensor::start(ground.command(), ground.folder.path(), &chosen, belongs)?;
        ground.sensor = Some(sensor);
        context.terminal.progress("starting the container");
        ground.start()?;
        Ok(ground)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--data-dir").arg(self.data()).arg("--run-dir").arg(&self.run);
        command.arg("--quiet").stdin(Stdio::null());
        command
    }

    fn start(&self) -> Result<(), Failure> {
        let mut command = self.command();
        command.args(["run", "--detach", "--name", &self.name, "--policy", &self.policy]);
        for key in &self.args.key {
            command.arg("--key").arg(key);
        }
        for value in &self.args.env {
            command.arg("--env").arg(value);
        }
        if let Some(program) = &self.args.entrypoint {
            command.arg("--entrypoint").arg(program);
        }
        command.arg(&self.target);
        if !self.args.command.is_empty() {
            command.arg("--").args(&self.args.command);
        }
        // Otherwise a killed probe's container would come up when the keeper has looked already.
        palisade_sys::process::die_with_caller(&mut command);
        let done = finished(command, START_DEADLINE).map_err(|why| {
            Failure::message(Exit::Incomplete, format!("start the probe's container: {why}"))
        })?;
        let id = done.stdout.trim().to_string();
        if done.code != 0 || id.is_empty() {
            let said = done.stderr.trim().trim_start_matches("error: ");
            let message = format!("the probe's container does not start: {said}");
            let exit = if done.code == 1 { Exit::Refused } else { Exit::Incomplete };
            return Err(Failure::message(exit, message));
        }
        let path = self.run.join("containers").join(format!("{id}.json"));
        let text = std::fs::read(&path)
            .with_context(|| format!("read the container's record `{}`", path.display()))?;
        let record: palisade_runtime::Record =
            serde_json::from_slice(&text).context("read the container's record")?;
        let container = record.container;
        // What is acted upon later is what was made here, and nothing else.
        if container.id != id {
            return Err(Failure::message(Exit::Incomplete, "the record is of another container"));
        }
        let pid = container.init_pid.unwrap_or(0);
        let gone =
            || super::ended(&self.printed(record.run.log.as_ref().map(|log| log.path.as_path())));
        let init = ProcessHandle::open(pid).map_err(|_| gone())?;
        let network = NetworkNamespace::of_process(pid).map_err(|_| gone())?;
        if network.is_own().context("look at the container's network")? {
            return Err(on_the_host());
        }
        let has_outside = network.enter(add_outside).unwrap_or(false);
        let log = record.run.log.map(|log| log.path);
        *self.current.borrow_mut() =
            Some(Current { id, init, container, network, has_outside, log });
        Ok(())
    }

    fn printed(&self, log: Option<&Path>) -> String {
        let usual = self.data().join("logs").join(format!("{}.log", self.name));
        tail(log.unwrap_or(&usual))
    }

    fn stop(&self) -> Result<(), String> {
        if self.current.borrow_mut().take().is_none() {
            return Ok(());
        }
        let mut command = self.command();
        command.args(["stop", "--grace", "0", &self.name]);
        let done = finished(command, START_DEADLINE)?;
        if done.code == 0 { Ok(()) } else { Err(done.stderr.trim().to_string()) }
    }
}

fn on_the_host() -> Failure {
    let message =
        "the policy gives the container this machine's network: the probe would reach its servers";
    Failure::message(Exit::Usage, message).with_hint("probe it under a policy with `network: none`")
}

/// Gives the loopback device two addresses more, of which what connects to one comes from the
/// other; whether it has them. Servers trust who comes from their own address, too.
fn add_outside() -> bool {
    let script = format!(
        "address add {OUTSIDE}/32 dev lo\naddress add {VISITOR}/32 dev lo\n\
         route replace local {OUTSIDE} dev lo table local proto kernel scope host src {VISITOR}\n"
    );
    let ip = || -> std::io::Result<bool> {
        let mut child = Command::new("ip")
            .args(["-batch", "-"])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
        Ok(child.wait()?.success() && written.is_some_and(|written| written.is_ok()))
    };
    ip().unwrap_or(false)
}

/// What `run` takes as image. A folder becomes one.
fn image(context: &Context<'_>, args: &cli::Probe, folder: &Path) -> Result<String, Failure> {
    let target: Target = args.target().parse().or_exit(Exit::Usage)?;
    let Target::Folder(root) = target else { return Ok(args.target().to_string()) };
    if args.command.is_empty() && args.entrypoint.is_none() {
        return Err(Failure::message(Exit::Usage, "a folder does not say which program it is for")
            .with_hint("palisade probe dir:ROOT -- /usr/bin/program --argument"));
    }
    context.terminal.progress("packing the folder");
    let image = NewImage {
        tag: Some("probe".into()),
        platform: Platform::of_this_machine(),
        created: Timestamp::now(),
        config: json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}),
        history: Vec::new(),
        layers: vec![LayerSource::Folder { path: root, options: PackOptions::default() }],
        annotations: std::collections::BTreeMap::new(),
    };
    let layout = folder.join("image");
    write_layout(&layout, &image).or_exit(Exit::Incomplete)?;
    Ok(format!("oci:{}:probe", layout.display()))
}

/// The policy that was named, or `restricted` without what it demands of images: a probe asks
/// how the program behaves, and `run` and `promote` ask who has signed it.
fn policy(args: &cli::Probe, folder: &Path) -> Result<String, Failure> {
    if let Some(policy) = &args.policy {
        return Ok(policy.clone());
    }
    let text = without_images(palisade_policy::builtin::text("restricted").unwrap_or_default());
    let path = folder.join("restricted.yaml");
    std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))?;
    Ok(path.display().to_string())
}

/// A policy's text with its section `images` saying only that nothing is verified.
fn without_images(text: &str) -> String {
    let mut out = String::new();
    let mut is_inside = false;
    for line in text.lines() {
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            is_inside = line.starts_with("images:");
            if is_inside {
                out.push_str("images:\n  verify: off\n");
            }
        }
        if !is_inside {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

impl Dial for Ground<'_> {
    fn dial(&self, to: SocketAddr, deadline: Duration) -> std::io::Result<TcpStream> {
        let current = self.current.borrow();
        let Some(current) = current.as_ref() else {
            return Err(std::io::ErrorKind::NotConnected.into());
        };
        current.network.enter(|| Here.dial(to, deadline))?
    }
}

impl Subject for Ground<'_> {
    fn pulse(&self) -> Pulse {
        let current = self.current.borrow();
        let Some(current) = current.as_ref() else {
            return Pulse { is_running: false, n_out_of_memory: 0, cpu: None };
        };
        pulse(&current.container, &self.hierarchies, &current.init)
    }

    fn events(&self) -> Vec<Event> {
        self.sensor.as_ref().map(Sensor::events).unwrap_or_default()
    }

    fn tables(&self) -> Vec<(Transport, String)> {
        self.current.borrow().as_ref().map(|current| tables(&current.init)).unwrap_or_default()
    }

    fn address(&self) -> Option<IpAddr> {
        self.current.borrow().as_ref().filter(|current| current.has_outside).map(|_| OUTSIDE.into())
    }

    fn restart(&self) -> Result<(), String> {
        self.stop()?;
        self.start().map_err(|failure| failure.brief())
    }

    fn execute(&self, script: &str) -> Result<Executed, String> {
        let id = self.current.borrow().as_ref().map(|current| current.id.clone());
        let mut command = self.command();
        command.arg("exec").arg(id.ok_or("it does not run")?);
        command.args(["--", "/bin/sh", "-c", script]);
        let done = finished(command, EXECUTE_DEADLINE)?;
        Ok(Executed { code: done.code, output: done.stderr })
    }

    fn is_interrupted(&self) -> bool {
        self.interruption.has_come()
    }

    fn log(&self) -> String {
        let current = self.current.borrow();
        self.printed(current.as_ref().and_then(|current| current.log.as_deref()))
    }
}

impl Drop for Ground<'_> {
    fn drop(&mut self) {
        let _left = self.stop();
        self.sensor = None;
        let _left = remove_tree(&self.run);
        // What the container wrote is as deep as it liked: `TempDir` would recurse.
        let _left = remove_tree(self.folder.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restricted_without_its_demands_is_a_policy_and_confines_as_much() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        let text = without_images(palisade_policy::builtin::text("restricted").unwrap());
        std::fs::write(&path, text).unwrap();
        let ours = palisade_policy::Policy::load_file(&path).unwrap().policy;
        let theirs = palisade_policy::Policy::builtin("restricted").unwrap().policy;
        assert_eq!(format!("{:?}", ours.containers), format!("{:?}", theirs.containers));
        assert_ne!(format!("{:?}", ours.images), format!("{:?}", theirs.images));
    }
}
