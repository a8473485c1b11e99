//! The gate before programs, on mounts that the test makes in a namespace of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_sys::fanotify::{ExecGate, ForeignMounts, MountError, Request};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A shell in a root and a mount namespace of its own, which runs the lines it is given and
/// says how each ended.
struct Guest {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Guest {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let script = format!(
            "mount --make-rprivate / && mount -t tmpfs guest {root} && cd {root} && \
             mkdir usr tmp old proc && mount -t proc proc proc && mount --bind /usr usr && \
             ln -s usr/bin bin && ln -s usr/lib lib && ln -s usr/lib64 lib64 && \
             cp /usr/bin/true tmp/own && \
             pivot_root . old && umount -l /old && \
             exec /bin/sh -c 'echo ready; while read -r line; do eval \"$line\"; echo $?; done'"
        );
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-ec", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut guest = Self { child, stdin, stdout, _folder: folder };
        assert_eq!(guest.line(), "ready");
        guest
    }

    fn begin(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn next(gate: &Arc<ExecGate>) -> Request {
    let end = Instant::now() + DEADLINE;
    let mut requests = Vec::new();
    while requests.is_empty() {
        assert!(Instant::now() < end, "nobody asked");
        if gate.wait(Duration::from_millis(50)).unwrap() {
            gate.take(&mut requests).unwrap();
        }
    }
    requests.remove(0)
}

/// Answers until the guest says how its line ended.
fn run(
    guest: &mut Guest,
    gate: &Arc<ExecGate>,
    line: &str,
    allow: fn(&str) -> bool,
) -> (String, Vec<String>) {
    guest.begin(line);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(guest.line()).unwrap());
        let mut asked = Vec::new();
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < end, "{line}: {asked:?}");
            if let Ok(result) = receiver.try_recv() {
                return (result, asked);
            }
            if !gate.wait(Duration::from_millis(5)).unwrap() {
                continue;
            }
            let mut requests = Vec::new();
            gate.take(&mut requests).unwrap();
            for request in requests {
                let path = request.path().unwrap().display().to_string();
                let done = if allow(&path) { request.allow() } else { request.deny() };
                done.unwrap();
                asked.push(path);
            }
        }
    })
}

#[test]
fn programs_of_a_foreign_mount_namespace_wait_for_the_answer() {
    if !crate::is_root() {
        return;
    }
    let mut guest = Guest::start();
    let gate = ExecGate::open().unwrap();
    let mounts = ForeignMounts::of(guest.child.id()).unwrap();
    let mut points = Vec::new();
    for mount in mounts.executable() {
        gate.mark(&mount).unwrap();
        points.push(mount.point().display().to_string());
    }
    points.sort();
    assert_eq!(points, ["/", "/usr"]);
    assert_eq!(mounts.unasked().count(), 0);

    let (result, asked) = run(&mut guest, &gate, "/usr/bin/true", |_| true);
    assert_eq!(result, "0");
    assert_eq!(asked[0], "/usr/bin/true");
    // The loader of the program is asked for as well.
    assert!(asked.len() == 1 || asked[1].contains("/ld-linux"), "{asked:?}");
    let (result, asked) = run(&mut guest, &gate, "/tmp/own", |path| path != "/tmp/own");
    assert_eq!((result.as_str(), asked.as_slice()), ("126", &["/tmp/own".to_string()][..]));

    // The same file seen through the host's own mount asks nobody.
    assert!(Command::new("/usr/bin/true").status().unwrap().success());
    let mut requests = Vec::new();
    gate.take(&mut requests).unwrap();
    assert!(requests.is_empty());

    // What is dropped passes, and so does what waits when the gate is given up.
    guest.begin("/usr/bin/true");
    drop(next(&gate));
    let (result, _) = run(&mut guest, &gate, ":", |_| true);
    assert_eq!((result, guest.line()), ("0".into(), "0".into()));
    guest.begin("/tmp/own");
    let request = next(&gate);
    assert_eq!(request.path().unwrap().to_str(), Some("/tmp/own"));
    assert!(request.pid() > 1 && request.mount_id().unwrap() > 0);
    assert!(request.is_named(std::path::Path::new("/tmp/own")).unwrap());
    assert!(!request.is_named(std::path::Path::new("/usr/bin/env")).unwrap());
    assert!(request.is_named(std::path::Path::new("/tmp/none")).is_err());
    let mut start = [0; 4];
    request.read_start(&mut start).unwrap();
    assert_eq!(&start, b"\x7fELF");
    gate.abandon().unwrap();
    assert_eq!(guest.line(), "0");
    assert!(request.deny().is_err() && !gate.is_open());
    guest.begin("/tmp/own");
    assert_eq!(guest.line(), "0");
    assert!(gate.mark(&mounts.executable().next().unwrap()).is_err());
}

#[test]
fn a_copy_of_the_hosts_mounts_is_not_entered_yet() {
    if !crate::is_root() {
        return;
    }
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", "echo; read -r _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let error = ForeignMounts::of(child.id()).unwrap_err();
    assert!(matches!(error, MountError::NotEntered(_)), "{error}");
    drop(child.stdin.take());
    child.wait().unwrap();
    // Where the first process may be looked at, it is the host; else it is refused as well.
    assert!(ForeignMounts::of(1).is_err());
}
