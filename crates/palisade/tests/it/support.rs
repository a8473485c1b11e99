//! Running the binary in a clean environment, with a deadline, and looking at what it left.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// No command of a test takes longer; one that does is killed and fails its test.
pub(crate) const DEADLINE: Duration = Duration::from_mins(5);

/// An address at which nobody listens, and which nobody else is given; a program that is told to
/// may listen there.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) host: String,
    _socket: OwnedFd,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        // Two sockets that both allow it may have one address, as long as only one listens.
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address: SocketAddr = getsockname(&socket).unwrap().try_into().unwrap();
        Self { host: address.to_string(), _socket: socket }
    }
}

/// Writes a script that can be started, by another process: one that this process wrote could not
/// be while a child that another test has just forked holds its descriptor.
pub(crate) fn write_script(path: &Path, text: &str) {
    let mut shell = Command::new("sh")
        .args(["-c", r#"cat >"$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

/// The program with nothing of the caller's settings.
pub(crate) fn palisade(folder: &Path) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_palisade")), folder)
}

/// As [`palisade`], for a copy of the program.
pub(crate) fn program(path: &Path, folder: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", folder)
        .env("PALISADE_DATA_DIR", folder.join("data"))
        .env("PALISADE_RUN_DIR", folder.join("run"))
        .current_dir(folder);
    command
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code, or minus the number of the signal that ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails the test unless the program ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless this is an error as the documentation promises: the code, nothing
    /// on stdout, on stderr one `error:` with `what` in its chain, and a `hint:` at the end.
    #[track_caller]
    pub(crate) fn expect_error(&self, code: i32, what: &str) {
        let shown = format!("stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "{shown}");
        self.expect_error_with_output(code, what);
    }

    /// As [`Ended::expect_error`], of a command that may have printed something before.
    #[track_caller]
    pub(crate) fn expect_error_with_output(&self, code: i32, what: &str) {
        let shown = format!("stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.code, code, "{shown}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        let starts = |prefix: &str| lines.iter().filter(|l| l.starts_with(prefix)).count();
        assert_eq!(starts("error: "), 1, "{shown}");
        assert_eq!(starts("hint: "), 1, "{shown}");
        assert!(lines.last().is_some_and(|line| line.starts_with("hint: ")), "{shown}");
        assert!(self.stderr.contains(what), "`{what}` is not in {shown}");
        assert!(!self.stderr.contains("panicked"), "{shown}");
    }
}

/// Runs the program with `args` in `folder`.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Ended {
    let mut command = palisade(folder);
    command.args(args);
    finish(command)
}

/// Runs `command` to its end, with nothing on its standard input.
pub(crate) fn finish(command: Command) -> Ended {
    Running::start(command, b"").wait(DEADLINE)
}

/// The text of an [`Output`].
pub(crate) fn ended(output: &Output) -> Ended {
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A program on its way; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    // Files, not pipes: what a container leaves behind must not keep a test waiting.
    stdout: File,
    stderr: File,
}

impl Running {
    /// Starts `command` with `input` on its standard input.
    pub(crate) fn start(mut command: Command, input: &[u8]) -> Self {
        let file = || tempfile::tempfile().unwrap();
        let (stdin, stdout, stderr) = (file(), file(), file());
        (&stdin).write_all(input).unwrap();
        (&stdin).rewind().unwrap();
        command
            .stdin(Stdio::from(stdin))
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap());
        Self { child: command.spawn().unwrap(), stdout, stderr }
    }

    /// Sends a signal to the program alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on stdout so far.
    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has printed on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; after `deadline` the test fails.
    #[track_caller]
    pub(crate) fn wait(mut self, deadline: Duration) -> Ended {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let code = status.code().or_else(|| status.signal().map(|n| -n)).unwrap_or(-1);
                return Ended { code, stdout: self.stdout(), stderr: self.stderr() };
            }
            assert!(
                Instant::now() < end,
                "still running after {deadline:?}\nstdout: {}\nstderr: {}",
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(file: &File) -> String {
    use std::os::unix::fs::FileExt as _;
    // Read by offset: the child shares this file's position.
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    let n = file.read_at(&mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}

/// Waits until `condition` gives something; after `deadline` the test fails.
#[track_caller]
pub(crate) fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {deadline:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every path below `folder` with size and kind, sorted: two equal listings mean that
/// nothing was written, not even in part.
pub(crate) fn listing(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.into()];
    while let Some(at) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&at) else { continue };
        for entry in entries.flatten() {
            let metadata = entry.path().symlink_metadata().unwrap();
            let path = entry.path();
            if metadata.is_dir() && is_only_cache(&path) {
                continue;
            }
            if metadata.is_dir() {
                lines.push(format!("{}/", path.display()));
                folders.push(path);
            } else {
                // A pipe would be waited for.
                let is_read = metadata.is_file() || metadata.is_symlink();
                let digest = is_read
                    .then(|| std::fs::read(&path).ok())
                    .flatten()
                    .map_or_else(|| "-".into(), |bytes| palisade_base::Digest::of(&bytes).short());
                lines.push(format!("{} {} {digest}", path.display(), metadata.len()));
            }
        }
    }
    lines.sort();
    lines
}

/// Whether a data folder holds nothing but what may be kept from run to run.
fn is_only_cache(path: &Path) -> bool {
    let mut entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    path.ends_with("data")
        && entries
            .all(|entry| ["cache", "inventories"].iter().any(|name| entry.file_name() == *name))
}

/// Mounts, files of this machine, whose line names `path`.
pub(crate) fn mounts_of(path: &Path) -> Vec<String> {
    let mut text = String::new();
    File::open("/proc/self/mountinfo").unwrap().read_to_string(&mut text).unwrap();
    let path = path.to_string_lossy();
    text.lines().filter(|line| line.contains(&*path)).map(str::to_string).collect()
}
