//! The engine on this machine's `/proc`, fed with records as the probes send them.

use palisade_model::Outcome;
use palisade_sensor::Engine;
use palisade_sensor::identity::HostPaths;
use palisade_sensor::record::{RecordBuilder, Trailer};

fn record(builder: &RecordBuilder, number: u16, tid: u32, ppid: u32, cgroup_id: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.build(&mut bytes, number, 5_000_000_000, i64::from(tid)).unwrap();
    let trailer = Trailer { cgroup_id, tgid: tid, ppid, uid: 1000, ..Trailer::default() };
    bytes.extend(trailer.encode());
    bytes
}

/// An exec with its 31 parameters.
fn exec(path: &[u8], comm: &[u8], tid: u32, ppid: u32, cgroups: &[u8]) -> RecordBuilder {
    let mut builder = RecordBuilder::new();
    builder.push_i64(0).push_text(path).push(b"-c\0id\0");
    builder.push_i64(i64::from(tid)).push_i64(i64::from(tid)).push_i64(i64::from(ppid));
    builder.push_text(b"/").push_u64(1024).push_u64(0).push_u64(0);
    builder.push_u32(0).push_u32(0).push_u32(0).push_text(comm).push(cgroups);
    builder.push(b"PATH=/bin\0").push_u32(0).push_i64(i64::from(tid)).push_u32(u32::MAX);
    builder.push_u32(2).push_u64(0).push_u64(0).push_u64(0);
    builder.push_u64(9).push_u64(1).push_u64(1).push_u32(1000).push_text(path);
    builder.push_i64(i64::from(tid)).push_u32(1000).push_text(path);
    builder
}

fn paths_with_container(host: &std::path::Path) -> HostPaths {
    let folder = host.join("run/palisade/containers");
    std::fs::create_dir_all(&folder).unwrap();
    let json = r#"{"id":"web-1","name":"web","engine":"palisade","image":{"reference":"demo:1"}}"#;
    std::fs::write(folder.join("web-1.json"), json).unwrap();
    HostPaths { proc: "/proc".into(), ..HostPaths::under(host) }
}

#[test]
fn a_container_is_known_at_its_first_exec_and_after_its_parents_exit() {
    let host = tempfile::tempdir().unwrap();
    let (mut engine, report) = Engine::live(paths_with_container(host.path())).unwrap();
    assert!(report.n_processes > 0);
    let (init, shell) = (4_100_001, 4_100_002);
    let cgroups = b"memory=/palisade/web-1\0";
    let bytes = record(&exec(b"/bin/init", b"init", init, 1, cgroups), 293, init, 1, 77);
    let event = engine.feed(&bytes).unwrap().unwrap();
    assert_eq!(event.type_name(), "execve");
    assert_eq!(event.outcome(), Outcome::Succeeded);
    assert_eq!(event.container().unwrap().name, "web");
    assert!(event.ancestors().is_empty(), "its parent is outside the container");

    let bytes = record(&exec(b"/bin/sh", b"sh", shell, init, cgroups), 293, shell, init, 77);
    let event = engine.feed(&bytes).unwrap().unwrap();
    let process = event.process().unwrap();
    assert_eq!((process.pid, process.ppid, process.uid), (shell, init, 1000));
    assert_eq!((process.name.as_str(), process.cmdline.as_str()), ("sh", "sh -c id"));
    assert_eq!(event.ancestors()[0].name, "init");

    // The parent exits; the shell is still known to come from it.
    let mut exit = RecordBuilder::new();
    exit.push_i64(0).push_i64(0).push(&[0]).push(&[0]).push_i64(1);
    let bytes = record(&exit, 186, init, 1, 77);
    engine.feed(&bytes).unwrap();
    let mut open = RecordBuilder::new();
    open.push_i64(-13).push_i64(-100).push_text(b"/etc/shadow").push_u32(1).push_u32(0);
    let bytes = record(&open, 307, shell, init, 77);
    let event = engine.feed(&bytes).unwrap().unwrap();
    assert_eq!(event.outcome(), Outcome::Failed { errno: 13 });
    assert_eq!(event.ancestors()[0].name, "init");
    assert_eq!(event.container().unwrap().id, "web-1");
}

/// A record about a descriptor whose trailer says what it is.
fn described(builder: &RecordBuilder, number: u16, tid: u32, flags: u16, path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.build(&mut bytes, number, 5_000_000_000, i64::from(tid)).unwrap();
    let trailer = Trailer { tgid: tid, ppid: 1, flags, ..Trailer::default() };
    bytes.extend(trailer.encode());
    bytes.extend(path);
    bytes
}

#[test]
fn what_the_kernel_says_of_a_descriptor_counts() {
    use palisade_sensor::state::FdKind;
    const FLAGS: u16 = Trailer::FD_NO_SOCKET | Trailer::FD_PATH | 8;
    let host = tempfile::tempdir().unwrap();
    let (mut engine, _) = Engine::live(paths_with_container(host.path())).unwrap();
    let tid = 4_100_009;
    let bytes = record(&exec(b"/bin/sh", b"sh", tid, 1, b""), 293, tid, 1, 0);
    engine.feed(&bytes).unwrap();
    let mut socket = RecordBuilder::new();
    socket.push_i64(5).push_u32(2).push_u32(1).push_u32(0).push_u32(0);
    let socket = described(&socket, 19, tid, 0, b"");
    let dup = |new: i64, flags, path: &[u8]| {
        let mut builder = RecordBuilder::new();
        builder.push_i64(new).push_i64(5);
        described(&builder, 367, tid, flags, path)
    };
    let mut check = |bytes: &[u8], expected: Option<(FdKind, &str)>| {
        engine.feed(&socket).unwrap();
        let event = engine.feed(bytes).unwrap().unwrap();
        assert_eq!(event.type_name(), "dup");
        let found = event.fd().map(|fd| (fd.kind, String::from_utf8_lossy(fd.name()).into_owned()));
        assert_eq!(found, expected.map(|(kind, name)| (kind, name.to_owned())));
    };
    // The number was a socket's, which was closed; then a file's, whose open was held back.
    check(&dup(0, FLAGS, b"/etc/motd\0"), Some((FdKind::File, "/etc/motd")));
    check(&dup(1, FLAGS | Trailer::FD_FOLDER, b"/etc\0"), Some((FdKind::Directory, "/etc")));
    check(&dup(2, Trailer::FD_NO_SOCKET, b""), None);
    check(&dup(3, 0, b""), Some((FdKind::Ipv4Socket, "")));
}

#[test]
fn bytes_that_are_no_record_are_counted() {
    let host = tempfile::tempdir().unwrap();
    let (mut engine, _) = Engine::live(paths_with_container(host.path())).unwrap();
    assert!(engine.feed(b"nonsense").is_err());
    assert_eq!(engine.counters().n_malformed, 1);
}

#[test]
fn the_thread_table_is_bounded() {
    use palisade_sensor::Record;
    use palisade_sensor::state::State;
    let mut engine = Engine::new(State::new().with_threads_max(10));
    let mut bytes = Vec::new();
    for tid in 1..100 {
        RecordBuilder::new().push_i64(0).push_i64(3).build(&mut bytes, 5, 1, tid).unwrap();
        engine.take(Record::decode(&bytes).unwrap());
    }
    let counters = engine.state().counters();
    assert!(engine.state().n_threads() <= 10);
    assert!(counters.n_threads_evicted > 0, "{counters:?}");
}

/// With the real probes: decoder and probes agree on a running kernel.
mod root {
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use palisade_bpf::{CgroupFilter, Interest, Options, Sensor};
    use palisade_sensor::identity::HostPaths;
    use palisade_sensor::{Engine, Field};

    use crate::recording::text;

    /// A cgroup of its own, removed in the end.
    struct Group(PathBuf);

    impl Group {
        fn new() -> Self {
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
            let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let mount = fields.find(|field| field[2] == "cgroup2").expect("a cgroup2 mount");
            let name = format!("palisade-test-live-{}", std::process::id());
            let path = PathBuf::from(mount[1]).join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            // A task that has just ended can hold it for a moment.
            let end = Instant::now() + Duration::from_secs(5);
            while std::fs::remove_dir(&self.0).is_err() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn real_processes_become_events() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: loading probes needs root");
            return;
        }
        // All that others do on this machine at the same time might be more than fits.
        let group = Group::new();
        let cgroups = CgroupFilter::Only(vec![std::fs::metadata(&group.0).unwrap().ino()]);
        let options = Options { cgroups, ..Options::default() };
        let mut sensor = Sensor::load(&Interest::all(), &options).unwrap();
        let (mut engine, _) = Engine::live(HostPaths::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret-of-the-test");
        std::fs::write(&secret, "x").unwrap();
        let script = format!("cat {}; cat /absent-of-the-test; true", secret.display());
        let enter = format!("echo $$ >{}/cgroup.procs; exec /bin/sh -c \"$0\"", group.0.display());
        let status = Command::new("/bin/sh").args(["-c", &enter, &script]).output().unwrap().status;
        assert!(status.success());
        let open = format!("openat cat sh {} SUCCESS", secret.display());
        let has =
            |seen: &[String], expected: &str| seen.iter().any(|line| line.starts_with(expected));
        let (mut seen, mut n_bad) = (Vec::new(), 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !has(&seen, &open) && Instant::now() < deadline {
            sensor
                .poll(Duration::from_millis(100), &mut |record| {
                    let Ok(event) = engine.feed(record.bytes()) else {
                        n_bad += 1;
                        return;
                    };
                    let Some(event) = event else { return };
                    let line = format!(
                        "{} {} {} {} {}",
                        text(&event, Field::EvtType),
                        text(&event, Field::ProcName),
                        text(&event, Field::ProcPname),
                        text(&event, Field::FdName),
                        text(&event, Field::EvtRes),
                    );
                    let is_ours = line.contains("of-the-test")
                        || text(&event, Field::ProcCmdline).contains("of-the-test");
                    let wanted = line.starts_with("execve") || line.starts_with("open");
                    if is_ours && wanted && !line.contains("/lib") && !line.contains("/etc/ld") {
                        seen.push(line);
                    }
                })
                .unwrap();
        }
        println!("{seen:#?} {:?} {n_bad} malformed", engine.counters());
        assert_eq!(n_bad, 0);
        for expected in ["execve sh ", "execve cat sh ", &open] {
            assert!(has(&seen, expected), "{expected}: {seen:#?}");
        }
    }
}
