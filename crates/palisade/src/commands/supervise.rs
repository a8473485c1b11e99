//! Detached containers that somebody must watch over: a process of ours that runs them in the
//! foreground, behind the command that was given.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::{Context, logs, run};
use crate::exit::{Exit, Failure};

/// Bytes of what the process says that are passed on.
const SAID_BYTES_MAX: u64 = 1 << 20;

/// Leaves the terminal of the command that was given: its end is not the container's.
pub(super) fn leave_terminal() {
    // Refused only to who leads a group already, which has no part in the terminal's either.
    let _ = rustix::process::setsid();
}

/// Starts the same command as a process of its own, and returns when its container runs. What the
/// process says is in a file beside the container's output.
pub(super) fn start(context: &Context<'_>, name: Option<&str>) -> Result<Exit, Failure> {
    let name = name.map_or_else(|| format!("container-{}", std::process::id()), str::to_string);
    let path = logs::path(&run::paths(context), &format!("{name}.supervisor"));
    let shown = || format!("open log `{}`", path.display());
    let folder = path.parent().unwrap_or(std::path::Path::new("/"));
    logs::make_folder(folder).with_context(shown)?;
    let said = logs::open_to_append(&path);
    let said = said.with_context(shown)?;
    let begin = said.metadata().with_context(shown)?.len();
    let mut child = Command::new("/proc/self/exe")
        .arg("--supervised")
        .arg(&path)
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said)
        .spawn()
        .context("start the process that watches over the container")?;
    let mut id = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut first = BufReader::new(stdout.take(SAID_BYTES_MAX));
        first.read_line(&mut id).context("wait for the container")?;
    }
    let mut said = Vec::new();
    if let Ok(mut file) = std::fs::File::open(&path) {
        use std::io::Seek as _;
        file.seek(std::io::SeekFrom::Start(begin)).with_context(shown)?;
        file.take(SAID_BYTES_MAX).read_to_end(&mut said).with_context(shown)?;
    }
    context.terminal.error(&String::from_utf8_lossy(&said));
    if id.trim().is_empty() {
        let status = child.wait().context("wait for the container")?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        // It has said what is wrong.
        return Err(Failure::program(code.filter(|code| *code > 0).unwrap_or(3)));
    }
    context.terminal.result(&id)?;
    Ok(Exit::Clean)
}
