//! A cgroup is cut off, alone, and back on.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use palisade_bpf::isolate::{self, IsolateError, Isolation};

use super::*;

fn command(name: &str, arguments: &[&str]) -> bool {
    Command::new(name).args(arguments).status().unwrap().success()
}

/// Whether a TCP connection to `port` of this host can be made from the cgroup, and whether from
/// outside it.
fn reach(cgroup: &TestCgroup, port: u16) -> (bool, bool) {
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let outside = Command::new("bash")
        .args(["-c", &script])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success();
    (cgroup.run(&script), outside)
}

#[test]
fn a_cgroup_is_cut_off_and_nothing_else() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("isolate");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(reach(&cgroup, port), (true, true));
    assert!(!isolate::is_isolated(&cgroup.0).unwrap());

    let isolation = Isolation::begin(&cgroup.0).unwrap();
    assert!(isolate::is_isolated(&cgroup.0).unwrap());
    assert!(!isolate::is_isolated(&cgroup2()).unwrap());
    assert_eq!(reach(&cgroup, port), (false, true));
    assert!(isolation.denied().n_socket >= 1, "{:?}", isolation.denied());
    let denied = isolation.release().unwrap();
    assert!(denied.n_socket >= 1);

    assert_eq!(reach(&cgroup, port), (true, true));
    assert!(!isolate::is_isolated(&cgroup.0).unwrap());
}

#[test]
fn a_connection_that_stood_before_goes_dumb() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("standing");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec 3<>/dev/tcp/127.0.0.1/{port}; echo first >&3; read; echo second >&3; sleep 100",
        cgroup.0.display()
    );
    let mut child =
        Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut text = [0; 64];
    let n = stream.read(&mut text).unwrap();
    assert_eq!(&text[..n], b"first\n");
    let isolation = Isolation::begin(&cgroup.0).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let start = Instant::now();
    while isolation.denied().n_egress == 0 {
        assert!(start.elapsed() < SOON, "{:?}", isolation.denied());
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.read(&mut text).unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_pinned_isolation_outlives_its_maker() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("pinned");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // A bpffs of its own: the host's may be in use.
    let mount = tempfile::tempdir().unwrap();
    assert!(command("mount", &["-t", "bpf", "none", mount.path().to_str().unwrap()]));
    let root = mount.path().join("palisade");
    let id = format!("test-{}", std::process::id());
    let mut isolation = Isolation::begin(&cgroup.0).unwrap();
    let pinned = isolation.pin(&root, &id).unwrap();
    assert_eq!(pinned.folder, root.join(&id));
    // As if the process had been killed: nothing of the value is left but the pins.
    drop(isolation);

    assert!(isolate::is_isolated(&cgroup.0).unwrap());
    assert_eq!(reach(&cgroup, port), (false, true));
    assert!(isolate::pinned(&root, &id).unwrap().unwrap().n_socket >= 1);
    assert_eq!(isolate::list_pinned(&root).unwrap(), std::slice::from_ref(&id));
    let denied = isolate::release_pinned(&root, &id).unwrap().unwrap();
    assert!(denied.n_socket >= 1);

    assert_eq!(reach(&cgroup, port), (true, true));
    assert!(!isolate::is_isolated(&cgroup.0).unwrap());
    assert_eq!(isolate::pinned(&root, &id).unwrap(), None);
    assert_eq!(isolate::release_pinned(&root, &id).unwrap(), None);
    std::fs::remove_dir(&root).unwrap();
    assert!(!pinned.mounted_bpffs);
    assert!(command("umount", &[mount.path().to_str().unwrap()]));
}

#[test]
fn the_root_cgroup_is_refused() {
    let Some(_alone) = root() else { return };
    let error = Isolation::begin(&cgroup2()).unwrap_err();
    assert!(matches!(error, IsolateError::RootCgroup { .. }), "{error}");
}
