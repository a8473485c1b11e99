//! The sensor sees what happens, and says it in the format's words.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use palisade_bpf::record;

use super::*;

const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[test]
fn an_exec_is_seen_with_arguments_parent_and_paths() {
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link-to-true");
    std::os::unix::fs::symlink("/bin/true", &link).unwrap();
    let mut sensor = load(&["execve", "clone", "procexit"], &Options::default());
    let before =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
            as u64;
    let mut command = Command::new(&link);
    command
        .args(["one", "two words", ""])
        .env_clear()
        .env("PALISADE_TEST", "42")
        .current_dir(folder.path());
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let events = collect(&mut sensor, |e| e.kind == PROCEXIT && e.tgid == pid);

    let exec = events.iter().find(|e| e.kind == EXECVE && e.tgid == pid).expect("an exec");
    assert_eq!(exec.params.len(), 31);
    assert_eq!(exec.int(0), 0);
    assert_eq!(exec.text(1), link.to_str().unwrap());
    assert_eq!(exec.params[2], b"one\0two words\0\0");
    assert_eq!((exec.int(3), exec.int(4)), (pid.into(), pid.into()));
    assert_eq!(exec.int(5), i64::from(std::process::id()));
    assert_eq!(exec.text(6), folder.path().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(exec.text(13), "link-to-true");
    assert!(
        exec.text(14).split(' ').any(|cgroup| cgroup.starts_with("unified=/")),
        "{}",
        exec.text(14)
    );
    assert_eq!(exec.params[15], b"PALISADE_TEST=42\0");
    assert_eq!(exec.text(27), "/usr/bin/true");
    assert_eq!(exec.text(30), link.to_str().unwrap());
    assert_eq!((exec.tgid, exec.ppid, exec.uid), (pid, std::process::id(), 0));
    let own = std::fs::metadata("/bin/true").unwrap();
    assert_eq!(exec.int(23), std::os::unix::fs::MetadataExt::ino(&own) as i64);
    let mtime =
        own.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    assert_eq!(exec.int(25), mtime);

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
        as u64;
    assert!((before..now).contains(&exec.time_ns), "{before} {} {now}", exec.time_ns);
    let fork = events.iter().find(|e| e.kind == CLONE && e.tgid == pid).expect("a fork");
    assert!(fork.time_ns < exec.time_ns);
    assert_eq!((fork.tid, fork.ppid), (u64::from(pid), std::process::id()));
    assert_eq!(fork.start_boottime_ns, exec.start_boottime_ns);
    assert_eq!((fork.params.len(), fork.int(0)), (21, 0));
    // Other processes of the machine may have gone on since.
    let exit = events.iter().find(|e| e.kind == PROCEXIT && e.tgid == pid).expect("an exit");
    assert_eq!((exit.int(0), exit.int(1), exit.int(2)), (0, 0, 0));
}

#[test]
fn a_failed_exec_tells_why_and_what() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["execve"], &Options::default());
    let error = Command::new("/nonexistent/palisade")
        .arg("argument")
        .env_clear()
        .env("A", "b")
        .spawn()
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    let exec = find(&mut sensor, |e| e.kind == EXECVE && e.text(1) == "/nonexistent/palisade");
    assert_eq!(exec.int(0), i64::from(-libc::ENOENT));
    assert_eq!(exec.text(2), "argument");
    assert_eq!(exec.text(15), "A=b");
    assert_eq!(exec.text(30), "/nonexistent/palisade");
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["procexit"], &Options::default());
    let mut check = |script: &str, code: i64, signal: i64| {
        let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let exit = find(&mut sensor, |e| e.kind == PROCEXIT && e.tid == u64::from(pid));
        assert_eq!((exit.int(1), exit.int(2)), (code, signal), "{script}");
    };
    check("exit 3", 3, 0);
    check("kill -KILL $$", 0, libc::SIGKILL.into());
}

#[test]
fn an_open_has_the_path_of_the_file_it_opened() {
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("real")).unwrap();
    std::fs::write(root.join("real/file-opened"), "x").unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    let resolved = root.join("real/file-opened");
    let mut sensor = load(&["openat"], &seeing_itself());

    // By a link and `..`.
    let asked = root.join("link/../link/file-opened");
    drop(std::fs::File::open(&asked).unwrap());
    let open = find(&mut sensor, |e| e.text(2) == resolved.to_str().unwrap());
    assert_eq!((open.kind, open.int(1)), (OPENAT, i64::from(libc::AT_FDCWD)));
    assert!(open.int(0) >= 0);
    assert_eq!(open.int(3) & 0xff, 1, "read only");
    assert_eq!(open.raw_path.as_deref(), Some(asked.to_str().unwrap().as_bytes()));
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&resolved).unwrap());
    assert_eq!(open.int(6), inode as i64);

    // Plainly: nothing is said twice.
    drop(std::fs::File::open(&resolved).unwrap());
    let open = find(&mut sensor, |e| e.text(2) == resolved.to_str().unwrap());
    assert_eq!(open.raw_path, None);

    // Relative to a descriptor, creating.
    let handle = std::fs::File::open(root.join("link")).unwrap();
    let through = format!("/proc/self/fd/{}/file-made", handle.as_raw_fd());
    drop(std::fs::File::create(&through).unwrap());
    let open = find(&mut sensor, |e| e.text(2).ends_with("/real/file-made"));
    assert_eq!(open.text(2), root.join("real/file-made").to_str().unwrap());
    assert_eq!(open.int(3) & 0x1, 0, "write only");
    assert_ne!(open.int(3) & 0x4, 0, "asked to create");
    assert_ne!(open.int(3) & 0x4000, 0, "and did");
    assert_eq!(open.int(4), 0o666);

    // A failure has the caller's text.
    let missing = root.join("link/missing");
    std::fs::File::open(&missing).unwrap_err();
    let open = find(&mut sensor, |e| e.text(2) == missing.to_str().unwrap());
    assert_eq!(open.int(0), i64::from(-libc::ENOENT));
}

#[test]
fn a_path_too_deep_to_walk_is_marked() {
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut deep = folder.path().canonicalize().unwrap();
    (0..70).for_each(|_| deep.push("d"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("deep-file"), "").unwrap();
    let mut sensor = load(&["openat"], &seeing_itself());
    drop(std::fs::File::open(deep.join("deep-file")).unwrap());
    let open = find(&mut sensor, |e| e.text(2).ends_with("/deep-file"));
    assert_ne!(open.flags & record::FLAG_TRUNCATED, 0);
    assert!(open.text(2).starts_with("/d/d/"), "{}", open.text(2));
    assert_eq!(open.raw_path.as_deref(), deep.join("deep-file").to_str().map(str::as_bytes));
    assert!(sensor.losses().of(palisade_bpf::Class::Open).n_truncated >= 1);
}

/// Family, address and port of an IPv4 parameter from `at`.
fn ip4(param: &[u8], at: usize) -> (u8, [u8; 4], u16) {
    let port = u16::from_le_bytes([param[at + 4], param[at + 5]]);
    (param[0], param[at..at + 4].try_into().unwrap(), port)
}

#[test]
fn connections_have_both_ends_and_failures_their_errno() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["connect"], &seeing_itself());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let connect = find(&mut sensor, |e| {
        e.kind == CONNECT && e.params[3].len() == 7 && ip4(&e.params[3], 1).2 == port
    });
    assert_eq!(connect.int(0), 0);
    assert_eq!(
        ip4(&connect.params[1], 1),
        (AF_INET, [127, 0, 0, 1], stream.local_addr().unwrap().port())
    );
    assert_eq!(ip4(&connect.params[1], 7), (AF_INET, [127, 0, 0, 1], port));
    assert_eq!(connect.int(2), i64::from(stream.as_raw_fd()));

    drop(listener);
    TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    let connect = find(&mut sensor, |e| e.int(0) == i64::from(-libc::ECONNREFUSED));
    assert!(connect.params[1].is_empty());
    assert_eq!(ip4(&connect.params[3], 1), (AF_INET, [127, 0, 0, 1], port));

    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _stream = TcpStream::connect(("::1", port)).unwrap();
    let connect = find(&mut sensor, |e| e.params[3].first() == Some(&AF_INET6));
    assert_eq!(connect.params[1].len(), 1 + 18 + 18);
    assert_eq!(connect.params[1][19..37], connect.params[3][1..19]);
    assert_eq!(connect.params[3][17..19], port.to_le_bytes());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let _stream = UnixStream::connect(&path).unwrap();
    let text = [path.to_str().unwrap().as_bytes(), &[0]].concat();
    let connect = find(&mut sensor, |e| {
        e.params[3].first() == Some(&AF_UNIX) && e.params[3].ends_with(&text)
    });
    assert_eq!(connect.params[1][0], AF_UNIX);
    assert_eq!(connect.params[1][17..], text);
}

#[test]
fn calls_of_every_kind_arrive() {
    let Some(_alone) = root() else { return };
    let names = ["unlink", "memfd_create", "pidfd_open", "clone"];
    let mut sensor = load(&names, &seeing_itself());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("to-unlink");
    std::fs::write(&path, "").unwrap();
    std::fs::remove_file(&path).unwrap();
    let unlink = find(&mut sensor, |e| e.kind == UNLINK && e.text(1) == path.to_str().unwrap());
    assert_eq!(unlink.int(0), 0);

    // SAFETY: makes a descriptor, which is closed below.
    let fd = unsafe { libc::memfd_create(c"palisade-memfd".as_ptr(), libc::MFD_CLOEXEC) };
    let memfd = find(&mut sensor, |e| e.kind == MEMFD_CREATE && e.text(1) == "palisade-memfd");
    assert_eq!((memfd.int(0), memfd.int(2)), (fd.into(), 1));
    // SAFETY: the descriptor is this test's.
    unsafe { libc::close(fd) };

    // SAFETY: a call with numbers only.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    let generic = find(&mut sensor, |e| e.kind == GENERIC && e.tgid == std::process::id());
    assert_eq!((generic.int(0), generic.int(1)), (347, libc::SYS_pidfd_open));
    // SAFETY: the descriptor is this test's.
    unsafe { libc::close(pidfd as i32) };

    let thread = std::thread::spawn(|| ());
    let clone = find(&mut sensor, |e| e.kind == CLONE && e.tgid == std::process::id());
    assert_ne!(clone.tid, u64::from(clone.tgid));
    assert_eq!((clone.int(15) & 8192, clone.int(3) as u64), (8192, clone.tid));
    thread.join().unwrap();
}

#[test]
fn a_memfd_that_is_executed_is_named() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["execve"], &Options::default());
    // SAFETY: makes a descriptor, which lives until the test ends.
    let fd = unsafe { libc::memfd_create(c"evil".as_ptr(), 0) };
    let path = format!("/proc/self/fd/{fd}");
    std::fs::write(&path, std::fs::read("/bin/true").unwrap()).unwrap();
    let mut child = Command::new(&path).spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let exec = find(&mut sensor, |e| e.kind == EXECVE && e.tgid == pid);
    assert_eq!(exec.int(19) & 4, 4, "from memfd");
    assert_eq!(exec.text(27), "memfd:evil");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_32_bit_entry_is_no_way_round() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["dup"], &seeing_itself());
    let mut result: i64 = 41; // dup, in the table of 32-bit calls
    // SAFETY: asks to duplicate a descriptor that does not exist. Register rbx is kept, as the
    // compiler demands.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {fd:e}", "int 0x80", "pop rbx",
            fd = in(reg) 0x7ff0_1234_u32,
            inout("rax") result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result as i32 == -libc::ENOSYS {
        say("skipped: this kernel has no 32-bit calls");
        return;
    }
    let dup = find(&mut sensor, |e| {
        e.kind == DUP && e.params[1].starts_with(&0x7ff0_1234_u32.to_le_bytes())
    });
    assert_eq!(dup.int(0), i64::from(-libc::EBADF));
    assert_ne!(dup.flags & record::FLAG_COMPAT, 0);
}

#[test]
fn everything_loads_at_once_and_leaves_again() {
    let Some(_alone) = root() else { return };
    let sensor = Sensor::load(&Interest::all(), &Options::default()).unwrap();
    let hooks: Vec<&str> = sensor.attached().iter().map(|hook| hook.program).collect();
    assert_eq!(hooks, ["on_fork", "on_exec", "on_exit", "dispatch"]);
    assert!(sensor.kernel_memory_bytes() >= 10 << 20);
    drop(sensor);
    let sensor = load(&["procexit"], &Options::default());
    assert_eq!(sensor.attached().len(), 1);
    assert_eq!(sensor.attached()[0].hook, "tp_btf/sched_process_exit");
}

#[test]
fn cgroups_and_environments_come_when_they_say_something() {
    use palisade_bpf::Environment;
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("brief");
    let mut sensor = load(&["execve", "clone", "procexit"], &Options::default());
    // Cgroups and environment of the execs of `/bin/true` with each of these words.
    let check = |sensor: &mut Sensor, script: &str, expected: &[(&str, bool, bool)]| {
        assert!(cgroup.run(script), "{script}");
        let is_last = |e: &Event| e.kind == EXECVE && e.text(2) == expected.last().unwrap().0;
        let events = collect(sensor, is_last);
        for (word, cgroups, environment) in expected {
            let exec = events.iter().find(|e| e.kind == EXECVE && e.text(2) == *word).unwrap();
            let text = exec.text(14);
            assert_eq!(text.contains("unified=/palisade-test-brief"), *cgroups, "{word}: {text}");
            assert!(*cgroups || text.is_empty(), "{word}: {text}");
            assert_eq!(exec.text(15).contains("PATH="), *environment, "{word}");
        }
    };
    // The shell moves after its own exec: its children say where they are, and it does later.
    let moved = [("first", true, true), ("second", true, true)];
    check(&mut sensor, "/bin/true first; /bin/true second; :", &moved);
    let settled = [("third", false, true), ("fourth", false, true)];
    check(&mut sensor, "exec bash -c '/bin/true third; /bin/true fourth; :'", &settled);
    sensor.send_environment(Environment::Contained).unwrap();
    check(&mut sensor, "exec /bin/true host", &[("host", true, false)]);
    check(&mut sensor, "exec unshare -m /bin/true inside", &[("inside", false, true)]);
    sensor.send_environment(Environment::None).unwrap();
    check(&mut sensor, "exec unshare -m /bin/true nobody", &[("nobody", false, false)]);
}

#[test]
fn only_what_makes_memory_executable_is_told() {
    const MPROTECT: u16 = 329;
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["mprotect"], &seeing_itself());
    // SAFETY: a page of this test's own, which nothing else knows.
    let page = unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(page, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(page, 4096, libc::PROT_READ), 0);
        assert_eq!(libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC), 0);
        libc::munmap(page, 4096);
        page as u64
    };
    let events = collect(&mut sensor, |e| e.kind == MPROTECT && e.int(1) as u64 == page);
    let own: Vec<_> = events.iter().filter(|e| e.int(1) as u64 == page).collect();
    assert_eq!(own.len(), 1);
    assert_eq!((own[0].int(0), own[0].int(2), own[0].int(3)), (0, 4096, 5));
}

#[test]
fn a_received_message_has_its_sender_and_its_data() {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;
    const RECVMSG: u16 = 53;
    let Some(_alone) = root() else { return };
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sensor = load(&["recvmsg"], &seeing_itself());
    sender.send_to(b"palisade", receiver.local_addr().unwrap()).unwrap();
    let mut buffer = [0_u8; 64];
    // SAFETY: the structures live until the call returns, and it writes within their bounds.
    let n = unsafe {
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        let mut vector =
            libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = size_of_val(&address) as u32;
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        libc::recvmsg(receiver.as_raw_fd(), &raw mut message, 0)
    };
    assert_eq!(n, 8);
    let own = std::process::id();
    let event = find(&mut sensor, |e| e.kind == RECVMSG && e.tgid == own);
    assert_eq!((event.int(0), event.int(1)), (8, 8));
    assert_eq!(event.params[2], b"palisade");
    assert_eq!(event.int(5), i64::from(receiver.as_raw_fd()));
    // Address family, then both ends: the sender first.
    let port = |at: usize| u16::from_le_bytes([event.params[3][at], event.params[3][at + 1]]);
    let ports = (sender.local_addr().unwrap().port(), receiver.local_addr().unwrap().port());
    assert_eq!((port(5), port(11)), ports);
}

#[test]
fn keys_are_told_with_their_texts() {
    const KEYCTL: u16 = 453;
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["keyctl"], &seeing_itself());
    let own = std::process::id();
    let number = |value: i64| [&[0][..], &value.to_le_bytes()].concat();
    let text = |value: &std::ffi::CStr| [&[1][..], value.to_bytes_with_nul()].concat();
    let (kind, what) = (c"user", c"palisade-test-no-such-key");
    let (search, read, session) = (10, 11, -3);
    let mut check = |arguments: [i64; 5], error: i32, expected: [Vec<u8>; 4]| {
        let [operation, a, b, c, d] = arguments;
        // SAFETY: texts outlive the call, and no operation here changes a key.
        let result = unsafe { libc::syscall(libc::SYS_keyctl, operation, a, b, c, d) };
        assert_eq!(result, -1);
        let event = find(&mut sensor, |e| {
            e.kind == KEYCTL && e.tgid == own && e.int(1) == operation & 0xffff_ffff
        });
        assert_eq!(event.int(0), i64::from(-error), "{operation}");
        assert_eq!(event.params[2..], expected, "{operation}");
    };
    check(
        [search, session, kind.as_ptr() as i64, what.as_ptr() as i64, 0],
        libc::ENOKEY,
        [number(session), text(kind), text(what), number(0)],
    );
    check(
        [search, session, 1, what.as_ptr() as i64, 0],
        libc::EFAULT,
        [number(session), vec![], text(what), number(0)],
    );
    // What an operation does not take says nothing.
    check(
        [read, 0x7fff_fff0, 1, 0, 77],
        libc::ENOKEY,
        [number(0x7fff_fff0), number(1), number(0), number(0)],
    );
    check([-7, 1, 2, 3, 4], libc::EOPNOTSUPP, [number(0), number(0), number(0), number(0)]);
}

#[test]
fn quotas_are_told_in_the_formats_words() {
    const QUOTACTL: u16 = 191;
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["quotactl", "quotactl_fd"], &seeing_itself());
    let own = std::process::id();
    let special = c"/palisade-test-no-such-device";
    let file = c"/palisade-test-quota-file";
    // struct if_dqblk: limits, use and times, then which of them are valid: limits and time of blocks.
    let mut block: Vec<u8> = (1..=8_u64).flat_map(u64::to_le_bytes).collect();
    block.extend((1_u32 | 16).to_le_bytes());
    // struct if_dqinfo: both graces, flags, all valid.
    let info =
        [&9_u64.to_le_bytes()[..], &10_u64.to_le_bytes(), &[1, 0, 0, 0, 7, 0, 0, 0]].concat();
    let mut check = |command: u32, id: u32, address: *const u8, expected: [i64; 16]| {
        // SAFETY: the structures are as large as the kernel's, and there is no such device.
        let result =
            unsafe { libc::syscall(libc::SYS_quotactl, command, special.as_ptr(), id, address) };
        assert_eq!(result, -1);
        let event = find(&mut sensor, |e| e.kind == QUOTACTL && e.tgid == own);
        assert!(event.int(0) < 0, "{}", event.int(0));
        assert_eq!(event.text(1).as_bytes(), special.to_bytes());
        let found: Vec<i64> = (2..18)
            .map(|i| if i == 2 { event.params[2].len() as i64 } else { event.int(i) })
            .collect();
        assert_eq!(found, expected, "{command:x}");
    };
    // Q_SETQUOTA for a group, Q_SETINFO, Q_QUOTAON with the file and vfsv1, Q_GETQUOTA that failed.
    check(0x8000_0801, 1000, block.as_ptr(), [0, 1, 2, 0, 0, 0, 7, 0, 0, 0, 0, 1, 64, 2, 1000, 1]);
    check(0x8000_0600, 0, info.as_ptr(), [0, 0, 0, 0, 0, 0, 0, 0, 9, 10, 2, 1, 16, 1, 0, 1]);
    let bytes = file.to_bytes_with_nul().len() as i64;
    check(
        0x8000_0200,
        4,
        file.as_ptr().cast(),
        [bytes, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 8],
    );
    check(0x8000_0700, 5, block.as_ptr(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 32, 1, 5, 1]);
    // By a descriptor, the call is told by its number.
    // SAFETY: -1 is no descriptor.
    unsafe { libc::syscall(libc::SYS_quotactl_fd, -1, 0x8000_0801_u32, 0, 0) };
    let event = find(&mut sensor, |e| e.kind == 1 && e.tgid == own && e.int(0) == 353);
    assert_eq!(event.int(1), libc::SYS_quotactl_fd);
}
