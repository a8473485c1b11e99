//! The OCI runtime: which one, whether it is fit, and calling it.

mod remembered;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use palisade_sys::ProcessHandle;

use crate::error::RuncError;

/// Where an OCI runtime is looked for, best first.
const CANDIDATES: [&str; 6] = [
    "/usr/local/sbin/runc",
    "/usr/local/bin/runc",
    "/usr/sbin/runc",
    "/usr/bin/runc",
    "/usr/local/bin/crun",
    "/usr/bin/crun",
];

/// Search path of the runtime itself; the caller's environment does not reach it.
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// How long the OCI runtime may take for one operation.
pub(crate) const RUNC_DEADLINE: Duration = Duration::from_mins(1);

/// Bytes of its log that are read.
const LOG_BYTES_MAX: u64 = 256 << 10;
/// Characters of its messages that are shown.
const MESSAGE_CHARS_MAX: usize = 600;

/// Oldest runC that knows `defaultErrnoRet`, without which unknown system calls would
/// answer with the wrong error.
const RUNC_OLDEST: (u32, u32, u32) = (1, 1, 0);
/// Oldest crun that is tested for.
const CRUN_OLDEST: (u32, u32, u32) = (1, 8, 0);

/// A version as the runtime states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuncVersion {
    /// Its name: `runc` or `crun`.
    pub name: String,
    /// Numbers.
    pub numbers: (u32, u32, u32),
    /// The whole text, with the distribution's suffix: `1.1.5+ds1-1+deb12u1`.
    pub text: String,
    /// Whether crun can start virtual machines: `+LIBKRUN` among its features.
    pub krun: bool,
}

impl RuncVersion {
    /// Reads the output of `--version`.
    pub fn parse(output: &str) -> Option<Self> {
        let first = output.lines().next()?;
        let (name, version) = first.split_once(" version ")?;
        // Debian's package version stands in the commit line.
        let commit = output.lines().find_map(|line| line.strip_prefix("commit: "));
        let text = match commit {
            Some(commit) if commit.starts_with(version) => commit,
            _ => version,
        };
        let mut numbers = version
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse::<u32>().unwrap_or(0));
        let numbers = (numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0));
        let krun = output.split_whitespace().any(|word| word == "+LIBKRUN");
        let (name, text) = (name.trim().to_string(), text.trim().to_string());
        Some(Self { name, numbers, text, krun })
    }

    /// Known escapes that this version is open to, as far as its number tells.
    ///
    /// Distributions fix without changing the number; Debian 12's `deb12u` revisions hold
    /// the fix of CVE-2024-21626. Those that are older than the oldest version that is used at
    /// all are left out (crun's CVE-2019-18837 and CVE-2022-27650).
    pub fn known_vulnerabilities(&self) -> Vec<&'static str> {
        match self.name.as_str() {
            "runc" => self.holes_of_runc(),
            "crun" => self.holes_of_crun(),
            _ => Vec::new(),
        }
    }

    fn holes_of_runc(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        let patched_21626 = self.text.contains("+deb12u") || self.text.contains("ubuntu");
        if self.numbers < (1, 1, 12) && !patched_21626 {
            found.push("CVE-2024-21626");
        }
        let fixed_2025 = match self.numbers {
            (1, 2, patch) => patch >= 8,
            (1, 3, patch) => patch >= 3,
            numbers => numbers >= (1, 4, 0),
        };
        if !fixed_2025 {
            found.extend(["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"]);
        }
        found
    }

    /// crun opens nothing below `/proc` once it has changed its root, and is not open to runC's
    /// three of 2025.
    fn holes_of_crun(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        if self.krun && self.numbers < (1, 20, 0) {
            found.push("CVE-2025-24965");
        }
        // `crun exec --user 1` is taken for 0; engines give the process as a file.
        if self.numbers >= (1, 19, 0) && self.numbers < (1, 27, 0) {
            found.push("CVE-2026-30892");
        }
        // Through a link in place of `/dev/console` or `/dev/null`, where `/dev` is the image's.
        if self.numbers <= (1, 29, 1) {
            found.extend(["CVE-2026-88264", "CVE-2026-88265"]);
        }
        found
    }
}

/// An OCI runtime that is fit to be used.
#[derive(Debug, Clone)]
pub struct Runc {
    path: PathBuf,
    version: RuncVersion,
}

#[cfg(test)]
impl Runc {
    /// One for tests in which none is called.
    pub(crate) fn uncalled() -> Self {
        let version = RuncVersion::parse("runc version 1.4.0").unwrap();
        Self { path: "/nonexistent/runc".into(), version }
    }
}

impl Runc {
    /// Finds one in the usual places.
    pub fn find() -> Result<Self, RuncError> {
        Self::find_among(&CANDIDATES.map(PathBuf::from))
    }

    /// Takes the first of `candidates` that exists; it must be fit.
    pub fn find_among(candidates: &[PathBuf]) -> Result<Self, RuncError> {
        let path = first_of(candidates)?;
        let said = ask(path)?;
        Self::fit(path, &said)
    }

    /// The same for `program`, or for one in the usual places. What each says of its version is
    /// remembered in `folder` as long as its file stays the same: to start it takes longer than
    /// most of what is done besides.
    pub fn find_known(program: Option<&Path>, folder: &Path) -> Result<Self, RuncError> {
        let candidates = match program {
            Some(program) => vec![program.to_path_buf()],
            None => CANDIDATES.map(PathBuf::from).to_vec(),
        };
        let path = first_of(&candidates)?;
        let said = remembered::said(path, folder, || ask(path))?;
        Self::fit(path, &said)
    }

    /// The one at `path`, which `said` this of its version, if that is fit.
    fn fit(path: &Path, said: &str) -> Result<Self, RuncError> {
        let path = path.to_path_buf();
        let version =
            RuncVersion::parse(said).ok_or_else(|| RuncError::UnknownVersion(path.clone()))?;
        let (oldest, needed) = match version.name.as_str() {
            "crun" => (CRUN_OLDEST, "1.8"),
            _ => (RUNC_OLDEST, "1.1.0"),
        };
        if version.numbers < oldest {
            return Err(RuncError::TooOld { path, found: version.text, needed });
        }
        Ok(Self { path, version })
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version.
    pub fn version(&self) -> &RuncVersion {
        &self.version
    }

    /// What the user should know about it, each with a remedy.
    pub fn warnings(&self) -> Vec<String> {
        let found = self.version.known_vulnerabilities();
        if found.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "{name} {} is open to {} unless the distribution fixed them in place; update it: apt \
             install --only-upgrade {name}",
            self.version.text,
            found.join(", "),
            name = self.version.name,
        )]
    }

    /// Starts an operation whose messages go to `log`.
    pub(crate) fn call(&self, state: &Path, log: &Path) -> Command {
        let mut call = command(&self.path);
        call.arg("--root").arg(state).arg("--log").arg(log).args(["--log-format", "json"]);
        call.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        call
    }

    /// Runs `call` to its end; a failure carries what the log says.
    pub(crate) fn finish(
        &self,
        mut call: Command,
        operation: &'static str,
        log: &Path,
    ) -> Result<(), RuncError> {
        // Killed in the middle, we must not leave it making what nobody would remove.
        palisade_sys::process::die_with_caller(&mut call);
        let child = call.spawn().map_err(|source| self.io(operation, source))?;
        drop(call);
        if self.wait(child, operation)? {
            return Ok(());
        }
        let message = last_error(log).unwrap_or_else(|| "it gave no reason".into());
        Err(RuncError::Failed { program: self.version.name.clone(), operation, message })
    }

    fn wait(&self, mut child: Child, operation: &'static str) -> Result<bool, RuncError> {
        let io = |source| self.io(operation, source);
        let handle = ProcessHandle::open(child.id()).map_err(io)?;
        if !handle.wait_ended(RUNC_DEADLINE).map_err(io)? {
            let _ = child.kill();
            let _ = child.wait();
            let program = self.version.name.clone();
            return Err(RuncError::Late { program, operation, after: RUNC_DEADLINE });
        }
        Ok(child.wait().map_err(io)?.success())
    }

    pub(crate) fn io(&self, operation: &'static str, source: std::io::Error) -> RuncError {
        RuncError::Io { program: self.version.name.clone(), operation, source }
    }
}

fn first_of(candidates: &[PathBuf]) -> Result<&Path, RuncError> {
    let found = candidates.iter().find(|path| path.is_file());
    found.map(PathBuf::as_path).ok_or_else(|| {
        let looked = candidates.iter().map(|path| path.display().to_string()).collect();
        RuncError::Missing { looked }
    })
}

/// What the runtime at `path` says of its version.
fn ask(path: &Path) -> Result<String, RuncError> {
    let output = command(path).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|source| RuncError::Io {
        program: path.display().to_string(),
        operation: "--version",
        source,
    })?;
    // What was killed, say, has said nothing that is to be remembered.
    if !output.status.success() {
        return Err(RuncError::UnknownVersion(path.to_path_buf()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command that inherits nothing from the caller's environment and terminal group: a
/// Ctrl-C reaches the caller alone, who decides what becomes of the container.
fn command(path: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(path);
    command.env_clear();
    if let Some((name, value)) = PATH.split_once('=') {
        command.env(name, value);
    }
    command.process_group(0);
    command
}

/// The last error in a JSON log of the OCI runtime.
fn last_error(log: &Path) -> Option<String> {
    let file = std::fs::File::open(log).ok()?;
    let bytes = palisade_base::read_bounded(file, "log", LOG_BYTES_MAX).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|entry| entry.get("level").and_then(|level| level.as_str()) == Some("error"))
        .filter_map(|entry| entry.get("msg").and_then(|msg| msg.as_str()).map(str::to_string))
        .next_back()
        .map(|message| message.chars().take(MESSAGE_CHARS_MAX).collect())
}

/// Writes a program of the shell's. Another process writes it: while this one had it open, a
/// child of another test could inherit it, and what is open for writing is not executed.
#[cfg(test)]
pub(crate) fn write_script(path: &Path, script: &str) {
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", write, "sh", script]).arg(path);
    assert!(shell.status().unwrap().success());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_their_holes() {
        let debian =
            RuncVersion::parse("runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\n").unwrap();
        assert_eq!(debian.numbers, (1, 1, 5));
        assert_eq!(debian.text, "1.1.5+ds1-1+deb12u1");
        assert!(!debian.known_vulnerabilities().contains(&"CVE-2024-21626"));
        let check = |text: &str, n: usize| {
            let version = RuncVersion::parse(&format!("runc version {text}\n")).unwrap();
            assert_eq!(version.known_vulnerabilities().len(), n, "{text}");
        };
        check("1.1.11", 4);
        check("1.1.12", 3);
        check("1.2.8", 0);
        check("1.3.2", 3);
        check("1.3.3", 0);
        check("1.4.0", 0);
        let check = |text: &str, expected: &[&str]| {
            let version = RuncVersion::parse(&format!("crun version {text}\n")).unwrap();
            assert_eq!(version.known_vulnerabilities(), expected, "{text}");
        };
        let console = ["CVE-2026-88264", "CVE-2026-88265"];
        check("1.8.1", &console);
        check("1.18\n+SYSTEMD +LIBKRUN +YAJL", &["CVE-2025-24965", console[0], console[1]]);
        check("1.20\n+SYSTEMD +LIBKRUN +YAJL", &["CVE-2026-30892", console[0], console[1]]);
        check("1.26.1", &["CVE-2026-30892", console[0], console[1]]);
        check("1.27", &console);
        check("1.29.1", &console);
        check("1.30", &[]);
        assert_eq!(RuncVersion::parse("crun version 1.8.1\n").unwrap().numbers, (1, 8, 1));
        assert_eq!(RuncVersion::parse("bash: no such thing"), None);
        assert_eq!(RuncVersion::parse(""), None);
    }

    #[test]
    fn a_missing_or_old_runtime_is_a_typed_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runc");
        let candidates = [path.clone()];
        assert!(matches!(Runc::find_among(&candidates), Err(RuncError::Missing { .. })));
        for (says, expected) in
            [("runc version 1.0.3", "at least 1.1.0"), ("hello", "does not say a version")]
        {
            write_script(&path, &format!("echo '{says}'"));
            let error = Runc::find_among(&candidates).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn the_last_error_of_a_log_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(last_error(&log), None);
        let text = "{\"level\":\"error\",\"msg\":\"one\"}\nrubbish\n{\"level\":\"error\",\"msg\":\"two\"}\n{\"level\":\"info\",\"msg\":\"x\"}\n";
        std::fs::write(&log, text).unwrap();
        assert_eq!(last_error(&log).as_deref(), Some("two"));
    }
}
