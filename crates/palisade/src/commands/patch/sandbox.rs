//! Maintainer scripts, and the image's own rpm, in a container of the image: no network, a user
//! namespace, the built-in policy `baseline` with the capabilities that such scripts need.

use std::collections::BTreeSet;
use std::io::{self, Seek as _, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use palisade_image::Image;
use palisade_patch::{Files, Step, Transaction};
use palisade_policy::{Network, Policy, Seccomp, UserMode, UserNamespace};
use palisade_runtime::{ExecRequest, Input, Output, RunRequest, Runtime, Stdio};
use palisade_sys::process::Exit as Ended;

use super::super::{Context, run};
use super::capture;
use super::plan::safe;
use crate::exit::{Exit, Failure, OrExit as _};

/// How long one script, or rpm with all packages, may take.
const SCRIPT_TIME_MAX: Duration = Duration::from_mins(10);
/// The end of a script's output that a failure shows, in bytes.
const OUTPUT_BYTES_MAX: usize = 2 << 10;
/// The end of rpm's output that is looked at, in bytes.
const RPM_OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Processes of all scripts at a time.
const PIDS_MAX: u32 = 1_024;
/// Where packages lie that rpm upgrades.
const RPM_PLACE: &str = ".palisade-patch";
/// What rpm says of a script that fails, and ends well all the same where it is one of those after
/// the files (`rpmScriptRun`).
const RPM_FAILED: &str = "scriptlet failed";

/// Capabilities of dpkg's scripts: owners, modes and accounts, nothing of the kernel.
const CAPABILITIES: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP", "SETGID", "SETUID"];

fn policy() -> Result<Policy, Failure> {
    let lost = || Failure::message(Exit::Incomplete, "the built-in policy `baseline` is not there");
    let mut policy = Policy::builtin("baseline").ok_or_else(lost)?.policy;
    let containers = &mut policy.containers;
    containers.user = UserMode::Image;
    containers.user_namespace = UserNamespace::Private;
    containers.capabilities.retain(|one| CAPABILITIES.contains(&one.as_str()));
    containers.read_only_root = false;
    containers.no_new_privileges = true;
    containers.seccomp = Seccomp::Default;
    containers.network = Network::None;
    containers.limits.pids = Some(PIDS_MAX);
    Ok(policy)
}

/// The last bytes of an output, shared with who reads them, and how many are kept.
#[derive(Clone)]
struct Tail(Arc<Mutex<Vec<u8>>>, usize);

impl Default for Tail {
    fn default() -> Self {
        Self(Arc::default(), OUTPUT_BYTES_MAX)
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(bytes);
        let n_more = tail.len().saturating_sub(self.1);
        tail.drain(..n_more);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tail {
    fn text(&self) -> String {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail).into_owned();
        let lines: Vec<String> = text.lines().map(safe).filter(|line| !line.is_empty()).collect();
        lines.join("; ")
    }
}

/// A container of an image; removed with its owner.
struct Container<'a> {
    runtime: &'a Runtime,
    id: String,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.runtime.remove(&self.id, true);
    }
}

/// Executes scripts in a container of `image`, whose files are `files`, one after the other, and
/// writes what they changed as a layer at `layer`; gives the paths of that.
pub(super) fn execute(
    context: &Context<'_>,
    image: Image,
    files: &Files,
    steps: &[Step],
    layer: &Path,
) -> Result<BTreeSet<String>, Failure> {
    if !palisade_sys::facts::is_privileged() {
        return Err(Failure::message(Exit::Incomplete, "scripts are executed by root alone")
            .with_hint("run as root, or give --skip-scripts instead of --allow-scripts"));
    }
    // The scripts of one build are all of one package manager.
    let place = steps.first().map_or(RPM_PLACE, |step| step.folder);
    within(context, image, files, place, layer, &|container| {
        for step in steps {
            context.terminal.progress(&format!("executing {}", safe(&step.name())));
            container.place(step)?;
            container.step(step)?;
        }
        Ok(())
    })
}

/// Has the image's rpm carry out a transaction in a container of `image`, whose files are `files`,
/// and writes what it changed as a layer at `layer`; gives the paths of that.
pub(super) fn upgrade(
    context: &Context<'_>,
    image: Image,
    files: &Files,
    transaction: &Transaction,
    layer: &Path,
) -> Result<BTreeSet<String>, Failure> {
    if !palisade_sys::facts::is_privileged() {
        let text = "the image's rpm is executed, in a container, by root alone";
        return Err(Failure::message(Exit::Incomplete, text)
            .with_hint("run as root; `patch plan` needs no root"));
    }
    within(context, image, files, RPM_PLACE, layer, &|container| {
        for (name, bytes) in &transaction.packages {
            container.put(name, bytes)?;
        }
        context.terminal.progress("executing the image's rpm");
        container.rpm(transaction)
    })
}

/// Does `work` in a container of `image`, and writes what that changed, without what is at
/// `place`, as a layer; gives the paths of it.
fn within(
    context: &Context<'_>,
    mut image: Image,
    files: &Files,
    place: &str,
    layer: &Path,
    work: &dyn Fn(&Container<'_>) -> Result<(), Failure>,
) -> Result<BTreeSet<String>, Failure> {
    // What the image's own program is does not matter, nor what it wants mounted.
    image.config.user = String::new();
    image.config.volumes.clear();
    let runtime = run::open(context, None)?;
    let policy = policy()?;
    let wait = "while :; do sleep 1000; done";
    let request = RunRequest {
        image: &image,
        reference: "patch-build".into(),
        name: None,
        command: ["/bin/sh", "-c", wait].map(str::to_string).to_vec(),
        clear_entrypoint: true,
        env: Vec::new(),
        working_dir: Some("/".into()),
        policy: &policy,
        seccomp_document: None,
        published: Vec::new(),
        network: None,
        admit: &|_| Ok(()),
        deny_drift: false,
        terminal: false,
        detach: true,
        log: None,
        forward_signals: false,
        stop_grace: Duration::ZERO,
        warn: &|_| {},
        started: &|_, _| {},
    };
    let outcome = runtime.run(&request, Stdio::default()).or_exit(Exit::Incomplete)?;
    let id = outcome.record.container.id.clone();
    let container = Container { runtime: &runtime, id };
    let upper = runtime.paths().written(&container.id).join("upper");
    let before = capture::before(&upper).context("read what the container wrote")?;
    work(&container)?;
    // Whatever a script left running must not write while it is read.
    runtime.kill(&container.id).or_exit(Exit::Incomplete)?;
    refuse_open_triggers(&upper, files)?;
    let first = outcome.record.run.ids.map_or(0, |ids| ids.first);
    let captured = capture::capture(&upper, &before, files, first, place, layer);
    Ok(captured.context("take what was changed in the container")?)
}

/// A trigger that a script activates by itself would be carried out by the next dpkg.
fn refuse_open_triggers(upper: &Path, files: &Files) -> Result<(), Failure> {
    const PATH: &str = "var/lib/dpkg/triggers/Unincorp";
    let root = palisade_base::Root::open(upper).context("read what the container wrote")?;
    let text = root.read(Path::new(PATH), 1 << 20).unwrap_or_default();
    if text.is_empty() || files.content(PATH).is_some_and(|old| old == text) {
        return Ok(());
    }
    let what = String::from_utf8_lossy(&text).lines().map(safe).collect::<Vec<_>>().join(", ");
    Err(Failure::message(Exit::Refused, format!("a script activates triggers: {what}"))
        .with_hint("upgrade this image with its own package manager, or give --skip-scripts"))
}

impl Container<'_> {
    /// Puts a script where it is executed.
    fn place(&self, step: &Step) -> Result<(), Failure> {
        let mut file = tempfile::tempfile().context("write a script")?;
        file.write_all(&step.content).context("write a script")?;
        file.rewind().context("write a script")?;
        let folder = format!("/{}", step.folder);
        let path = format!("{folder}/{}", step.script);
        let line = "umask 022; rm -rf \"$1\" && mkdir -p \"$1\" && cat >\"$2\" && chmod 755 \"$2\"";
        let command = ["/bin/sh", "-c", line, "sh", &folder, &path];
        let tail = Tail::default();
        let ended = self.exec(&command.map(str::to_string), &[], Input::File(file), &tail)?;
        if ended == Ended::Code(0) {
            return Ok(());
        }
        let text = format!("the image cannot execute {}: {}", safe(&step.name()), tail.text());
        Err(Failure::message(Exit::Refused, text)
            .with_hint("scripts need /bin/sh, cat, chmod, mkdir and rm in the image"))
    }

    /// Puts a package where rpm finds it.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut file = tempfile::tempfile().context("write a package")?;
        file.write_all(bytes).context("write a package")?;
        file.rewind().context("write a package")?;
        let line = "umask 022; mkdir -p \"$1\" && cat >\"$1/$2\"";
        let command = ["/bin/sh", "-c", line, "sh", &format!("/{RPM_PLACE}"), name];
        let tail = Tail::default();
        let ended = self.exec(&command.map(str::to_string), &[], Input::File(file), &tail)?;
        if ended == Ended::Code(0) {
            return Ok(());
        }
        let text = format!("the image cannot take a package: {}", tail.text());
        Err(Failure::message(Exit::Refused, text)
            .with_hint("rpm is executed with /bin/sh, cat and mkdir of the image"))
    }

    fn rpm(&self, transaction: &Transaction) -> Result<(), Failure> {
        let env = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C",
        ];
        let tail = Tail(Arc::default(), RPM_OUTPUT_BYTES_MAX);
        let command = transaction.arguments(&format!("/{RPM_PLACE}"));
        let ended = self.exec(&command, &env.map(str::to_string), Input::Null, &tail)?;
        let output = tail.text();
        let how = match ended {
            Ended::Code(0) if !output.contains(RPM_FAILED) => return Ok(()),
            Ended::Code(0) => "has a script that fails".to_string(),
            Ended::Code(code) => format!("ends with exit code {code}"),
            Ended::Signal(signal) => format!("is ended by signal {signal}"),
        };
        let n_more = output.chars().count().saturating_sub(OUTPUT_BYTES_MAX);
        let output: String = output.chars().skip(n_more).collect();
        let text = format!("the image's rpm {how}; its last output: {output}");
        Err(Failure::message(Exit::Refused, text).with_hint("nothing is written"))
    }

    fn step(&self, step: &Step) -> Result<(), Failure> {
        let mut command = vec![format!("/{}/{}", step.folder, step.script)];
        command.extend(step.args.iter().cloned());
        let tail = Tail::default();
        let ended = self.exec(&command, &step.env, Input::Null, &tail)?;
        let how = match ended {
            Ended::Code(0) => return Ok(()),
            Ended::Code(code) => format!("ends with exit code {code}"),
            Ended::Signal(signal) => format!("is ended by signal {signal}"),
        };
        let output = match tail.text() {
            text if text.is_empty() => "it printed nothing".to_string(),
            text => format!("its last output: {text}"),
        };
        let name = safe(&step.name());
        Err(Failure::message(Exit::Refused, format!("{name} {how}; {output}"))
            .with_hint("nothing is written; --skip-scripts leaves the scripts out"))
    }

    /// Executes a command; one that takes too long is ended with its container.
    fn exec(
        &self,
        command: &[String],
        env: &[String],
        stdin: Input,
        tail: &Tail,
    ) -> Result<Ended, Failure> {
        let request = ExecRequest {
            command: command.to_vec(),
            env: env.to_vec(),
            working_dir: Some("/".into()),
            terminal: false,
            forward_signals: false,
        };
        let output = || Output::Writer(Box::new(tail.clone()));
        let stdio = Stdio { stdin, stdout: output(), stderr: output() };
        let (done, watched) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if watched.recv_timeout(SCRIPT_TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let _ = self.runtime.kill(&self.id);
                }
            });
            let ended = self.runtime.exec(&self.id, &request, stdio);
            drop(done);
            ended.or_exit(Exit::Incomplete)
        })
    }
}
