//! The state of a live system before the first event: what `/proc` says.
//!
//! Processes come and go while they are read; one that vanishes is skipped and counted.
//! File contents are bounded, and nothing below `/proc/<pid>/root` is followed here.

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use palisade_base::read_bounded;

use super::fd::{Ends, FDS_MAX, Fd, FdKind, Transport};
use super::thread::{Thread, flag};
use super::users::INTERFACES_MAX;
use super::{Interfaces, Machine, State};

/// Processes that a scan reads.
pub const PROCESSES_MAX: usize = 65_536;

/// Threads of one process that a scan reads.
const THREADS_MAX: usize = 16_384;

/// Bytes of arguments and of environment that are kept, as the probes keep them.
const ARGS_BYTES_MAX: u64 = 4096;

/// Bytes of a status file.
const STATUS_BYTES_MAX: u64 = 64 << 10;

/// Bytes of a socket table.
const SOCKETS_BYTES_MAX: u64 = 16 << 20;

/// What a scan read and what it could not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Processes read.
    pub n_processes: u64,
    /// Other threads read.
    pub n_threads: u64,
    /// Descriptors read.
    pub n_fds: u64,
    /// Processes that were gone or could not be read.
    pub n_skipped: u64,
}

/// Reads all processes below `proc` into `state`.
pub fn proc_scan(state: &mut State, proc: &Path) -> std::io::Result<ScanReport> {
    let mut report = ScanReport::default();
    state.machine = read_machine(proc);
    state.interfaces = read_interfaces(proc);
    let sockets = Sockets::read(&proc.join("1"));
    for entry in std::fs::read_dir(proc)?.flatten().take(PROCESSES_MAX) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok()) else {
            continue;
        };
        let Some((thread, fds)) = read_process(proc, pid, &sockets, &state.machine) else {
            report.n_skipped += 1;
            continue;
        };
        report.n_processes += 1;
        report.n_fds += fds.len() as u64;
        let siblings = read_siblings(proc, &thread);
        state.add_initial_thread(thread);
        for (number, fd) in fds {
            state.add_initial_fd(pid, number, fd);
        }
        for sibling in siblings {
            report.n_threads += 1;
            state.add_initial_thread(sibling);
        }
    }
    state.finish_initial();
    Ok(report)
}

/// Reads one thread that appeared without an event.
pub(crate) fn scan_thread(proc: &Path, tid: i64) -> Option<(Thread, Vec<(i64, Fd)>)> {
    let sockets = Sockets::read(&proc.join(tid.to_string()));
    read_process(proc, tid, &sockets, &read_machine(proc))
}

/// A look at a process: just enough to tell whether it is the one that is known.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) comm: Vec<u8>,
    /// Empty for kernel threads.
    pub(super) exe: Vec<u8>,
    /// When it began, since boot and since the epoch.
    pub(super) start_boottime_ns: u64,
    pub(super) started_ns: u64,
}

/// Looks at a process; `None` when it has ended.
pub(super) fn look(proc: &Path, pid: i64, machine: &Machine) -> Option<Seen> {
    let folder = proc.join(pid.to_string());
    let stat = read(&folder.join("stat"), STATUS_BYTES_MAX)?;
    let begin = stat.iter().position(|byte| *byte == b'(')? + 1;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    // A process that has ended and waits for its parent is over.
    if matches!(stat.get(end + 2), Some(b'Z' | b'X')) {
        return None;
    }
    let mut thread = Thread::default();
    read_stat(&stat, &mut thread, machine);
    Some(Seen {
        comm: stat.get(begin..end)?.to_vec(),
        exe: link(&folder.join("exe")).unwrap_or_default(),
        start_boottime_ns: thread.started_ns.saturating_sub(machine.boot_ns),
        started_ns: thread.started_ns,
    })
}

/// The numbers of the threads of a process.
pub(super) fn tasks(proc: &Path, pid: i64) -> std::collections::BTreeSet<i64> {
    let folder = proc.join(pid.to_string()).join("task");
    let tasks = std::fs::read_dir(folder).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).take(THREADS_MAX).collect()
}

/// The descriptors of a process.
pub(super) fn read_fds_of(proc: &Path, pid: i64) -> Vec<(i64, Fd)> {
    let folder = proc.join(pid.to_string());
    read_fds(&folder, &Sockets::read(&folder))
}

fn read(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    read_bounded(File::open(path).ok()?, "proc file", bytes_max).ok()
}

fn read_prefix(path: &Path, bytes_max: u64) -> Vec<u8> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // A longer one is cut, as the probes cut it.
        let _ = file.take(bytes_max).read_to_end(&mut bytes);
    }
    bytes
}

fn link(path: &Path) -> Option<Vec<u8>> {
    std::fs::read_link(path).ok().map(|target| target.into_os_string().into_vec())
}

/// The machine's name and boot time.
pub fn read_machine(proc: &Path) -> Machine {
    let name = read(&proc.join("sys/kernel/hostname"), STATUS_BYTES_MAX).unwrap_or_default();
    let stat = read_prefix(&proc.join("stat"), STATUS_BYTES_MAX);
    let stat = String::from_utf8_lossy(&stat);
    let boot =
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    Machine {
        hostname: String::from_utf8_lossy(name.trim_ascii()).into_owned(),
        boot_ns: boot.unwrap_or(0).saturating_mul(1_000_000_000),
    }
}

fn read_process(
    proc: &Path,
    tid: i64,
    sockets: &Sockets,
    machine: &Machine,
) -> Option<(Thread, Vec<(i64, Fd)>)> {
    let folder = proc.join(tid.to_string());
    let status = read(&folder.join("status"), STATUS_BYTES_MAX)?;
    let mut thread = Thread { tid, ..Thread::default() };
    read_status(&status, &mut thread);
    if thread.pid < 0 {
        return None;
    }
    read_stat(&read(&folder.join("stat"), STATUS_BYTES_MAX)?, &mut thread, machine);
    let arguments = read_prefix(&folder.join("cmdline"), ARGS_BYTES_MAX);
    let mut parts = arguments.splitn(2, |byte| *byte == 0);
    thread.exe = parts.next().unwrap_or(b"").into();
    if thread.exe.is_empty() {
        thread.exe = thread.comm.clone(); // a kernel thread
    }
    let rest = parts.next().unwrap_or(b"");
    thread.set_args(rest.strip_suffix(b"\0").unwrap_or(rest));
    let env = read_prefix(&folder.join("environ"), ARGS_BYTES_MAX);
    thread.env = env.strip_suffix(b"\0").unwrap_or(&env).into();
    if let Some(path) = link(&folder.join("exe")) {
        thread.set_exe_path(&path);
        thread.exe_from_memfd = path.starts_with(b"/memfd:");
    }
    if let Some(mut cwd) = link(&folder.join("cwd")) {
        if cwd.last() != Some(&b'/') {
            cwd.push(b'/');
        }
        thread.cwd = cwd.into();
    }
    if let Some(root) = link(&folder.join("root")) {
        thread.root = root.into();
    }
    if let Ok(program) = std::fs::metadata(folder.join("exe")) {
        thread.exe_ino = program.ino();
        thread.exe_ctime_ns = nanoseconds(program.ctime(), program.ctime_nsec());
        thread.exe_mtime_ns = nanoseconds(program.mtime(), program.mtime_nsec());
    }
    thread.cgroups = read_cgroups(&folder).into();
    let login = read(&folder.join("loginuid"), STATUS_BYTES_MAX).unwrap_or_default();
    if let Ok(uid) = String::from_utf8_lossy(login.trim_ascii()).parse() {
        thread.loginuid = uid;
    }
    thread.pidns_start_ns = machine.boot_ns;
    thread.flags |= flag::ACTIVE;
    Some((thread, read_fds(&folder, sockets)))
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    let whole = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000);
    whole.saturating_add(u64::try_from(nanoseconds).unwrap_or(0))
}

/// `Name`, ids and capabilities of `/proc/<pid>/status`, see proc(5).
fn read_status(status: &[u8], thread: &mut Thread) {
    for line in status.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[colon + 1..].trim_ascii();
        let text = String::from_utf8_lossy(value);
        let nth = |index: usize| text.split_ascii_whitespace().nth(index);
        let number = |index| nth(index).and_then(|word| word.parse::<i64>().ok());
        let last = || text.split_ascii_whitespace().next_back().and_then(|word| word.parse().ok());
        let bits = || u64::from_str_radix(&text, 16).unwrap_or(0);
        match &line[..colon] {
            b"Name" => thread.comm = value.into(),
            b"Tgid" => thread.pid = number(0).unwrap_or(-1),
            b"PPid" => thread.ptid = number(0).unwrap_or(-1),
            // Effective ids come second.
            b"Uid" => thread.uid = nth(1).and_then(|word| word.parse().ok()).unwrap_or(thread.uid),
            b"Gid" => thread.gid = nth(1).and_then(|word| word.parse().ok()).unwrap_or(thread.gid),
            b"NStgid" => thread.vpid = last().unwrap_or(-1),
            b"NSpid" => thread.vtid = last().unwrap_or(-1),
            b"NSpgid" => thread.vpgid = last().unwrap_or(-1),
            b"NSsid" => thread.sid = last().unwrap_or(-1),
            b"CapInh" => thread.cap_inheritable = bits(),
            b"CapPrm" => thread.cap_permitted = bits(),
            b"CapEff" => thread.cap_effective = bits(),
            b"VmSize" => thread.memory_kib[0] = number(0).unwrap_or(0) as u32,
            b"VmRSS" => thread.memory_kib[1] = number(0).unwrap_or(0) as u32,
            b"VmSwap" => thread.memory_kib[2] = number(0).unwrap_or(0) as u32,
            _ => {}
        }
    }
    thread.origin = thread.ptid;
    if thread.vpid != thread.pid {
        thread.flags |= flag::IN_PIDNS;
    }
}

/// Terminal, groups, faults and start time of `/proc/<pid>/stat`, see proc(5).
fn read_stat(stat: &[u8], thread: &mut Thread, machine: &Machine) {
    /// `USER_HZ`, which is 100 on every architecture that Linux runs on today.
    const TICK_NS: u64 = 10_000_000;
    // The name in parentheses may hold blanks and parentheses.
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { return };
    let text = String::from_utf8_lossy(&stat[end + 1..]);
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    // The first field after the name is the third of the manual page.
    let field = |number: usize| fields.get(number - 3).and_then(|word| word.parse::<i64>().ok());
    thread.pgid = field(5).unwrap_or(-1);
    thread.tty = u32::try_from(field(7).unwrap_or(0)).unwrap_or(0);
    thread.faults = [12, 10].map(|number| field(number).unwrap_or(0).cast_unsigned());
    let ticks = u64::try_from(field(22).unwrap_or(0)).unwrap_or(0);
    thread.started_ns = machine.boot_ns.saturating_add(ticks.saturating_mul(TICK_NS));
}

/// Control groups as records have them: `subsystem=path` separated by NULs.
fn read_cgroups(folder: &Path) -> Vec<u8> {
    let text = read(&folder.join("cgroup"), STATUS_BYTES_MAX).unwrap_or_default();
    let mut out = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        for controller in controllers.split(|byte| *byte == b',') {
            if !out.is_empty() {
                out.push(0);
            }
            out.extend_from_slice(controller.strip_prefix(b"name=").unwrap_or(controller));
            out.push(b'=');
            out.extend_from_slice(path);
        }
    }
    out
}

fn read_siblings(proc: &Path, main: &Thread) -> Vec<Thread> {
    let folder = proc.join(main.pid.to_string()).join("task");
    let Ok(tasks) = std::fs::read_dir(folder) else { return Vec::new() };
    tasks
        .flatten()
        .take(THREADS_MAX)
        .filter_map(|task| task.file_name().to_str()?.parse::<i64>().ok())
        .filter(|tid| *tid != main.tid)
        .map(|tid| Thread {
            tid,
            vtid: if main.vpid == main.pid { tid } else { -1 },
            flags: main.flags | flag::FILES | flag::THREAD,
            fds: super::FdTable::default(),
            children: Vec::new(),
            ..main.clone()
        })
        .collect()
}

fn read_fds(folder: &Path, sockets: &Sockets) -> Vec<(i64, Fd)> {
    let Ok(entries) = std::fs::read_dir(folder.join("fd")) else { return Vec::new() };
    entries
        .flatten()
        .take(FDS_MAX)
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = link(&entry.path())?;
            Some((number, describe_fd(&entry.path(), &target, sockets)))
        })
        .collect()
}

fn describe_fd(path: &Path, target: &[u8], sockets: &Sockets) -> Fd {
    if let Some(inode) = inode_in(target, b"socket:[") {
        return sockets.by_inode.get(&inode).cloned().unwrap_or_else(|| {
            let mut fd = Fd::of(FdKind::Unsupported);
            fd.ino = inode;
            fd
        });
    }
    let kind = match target {
        _ if target.starts_with(b"pipe:[") => FdKind::Pipe,
        b"anon_inode:[eventfd]" => FdKind::Event,
        b"anon_inode:[signalfd]" => FdKind::Signal,
        b"anon_inode:[eventpoll]" => FdKind::EventPoll,
        b"anon_inode:inotify" => FdKind::Inotify,
        b"anon_inode:[timerfd]" => FdKind::Timer,
        b"anon_inode:[userfaultfd]" => FdKind::UserFault,
        b"anon_inode:[io_uring]" => FdKind::IoUring,
        b"anon_inode:[pidfd]" => FdKind::PidFd,
        _ if target.starts_with(b"anon_inode:bpf") => FdKind::Bpf,
        _ if target.starts_with(b"/memfd:") => FdKind::Memory,
        _ if target.first() == Some(&b'/') => {
            // The link is followed by the kernel to the open file itself.
            let is_folder = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
            if is_folder { FdKind::Directory } else { FdKind::File }
        }
        _ => FdKind::Unsupported,
    };
    let mut fd = Fd::of(kind);
    fd.ino = inode_in(target, b"pipe:[").unwrap_or(0);
    let name = match kind {
        FdKind::Pipe => b"",
        FdKind::Memory => super::thread::strip_deleted(&target[b"/memfd:".len()..]),
        _ => target,
    };
    fd.set_name(name);
    fd
}

fn inode_in(target: &[u8], prefix: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(prefix)?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Sockets of one network namespace by inode.
#[derive(Debug, Default)]
struct Sockets {
    by_inode: HashMap<u64, Fd>,
}

impl Sockets {
    fn read(folder: &Path) -> Self {
        let mut sockets = Self::default();
        let net = folder.join("net");
        for (file, transport, is_ipv6) in [
            ("tcp", Transport::Tcp, false),
            ("udp", Transport::Udp, false),
            ("raw", Transport::Raw, false),
            ("tcp6", Transport::Tcp, true),
            ("udp6", Transport::Udp, true),
            ("raw6", Transport::Raw, true),
        ] {
            let text = read_prefix(&net.join(file), SOCKETS_BYTES_MAX);
            sockets.read_inet(&String::from_utf8_lossy(&text), transport, is_ipv6);
        }
        sockets.read_unix(&read_prefix(&net.join("unix"), SOCKETS_BYTES_MAX));
        sockets
    }

    fn read_inet(&mut self, text: &str, transport: Transport, is_ipv6: bool) {
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (Some(local), Some(remote), Some(inode)) =
                (words.get(1), words.get(2), words.get(9))
            else {
                continue;
            };
            let (Some(local), Some(remote)) = (parse_end(local), parse_end(remote)) else {
                continue;
            };
            let Some(inode) = inode.parse().ok().filter(|inode| *inode != 0) else { continue };
            let is_listening = remote.1 == 0;
            let kind = match (is_ipv6 && local.0.is_ipv6(), is_listening) {
                (false, false) => FdKind::Ipv4Socket,
                (false, true) => FdKind::Ipv4Server,
                (true, false) => FdKind::Ipv6Socket,
                (true, true) => FdKind::Ipv6Server,
            };
            let mut fd = Fd::of(kind);
            fd.transport = transport;
            fd.ino = inode;
            fd.ends = if is_listening {
                Ends { dest: local.0, dest_port: local.1, ..Ends::default() }
            } else {
                Ends { source: local.0, source_port: local.1, dest: remote.0, dest_port: remote.1 }
            };
            self.by_inode.insert(inode, fd);
        }
    }

    fn read_unix(&mut self, text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n').skip(1) {
            // Num RefCount Protocol Flags Type St Inode Path; the inode is padded.
            let mut rest = line;
            for _ in 0..6 {
                rest = rest.trim_ascii_start();
                let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
                rest = &rest[end..];
            }
            let mut tail = rest.trim_ascii_start().splitn(2, |byte| *byte == b' ');
            let inode = tail.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            let Some(inode) = inode else { continue };
            let mut fd = Fd::of(FdKind::UnixSocket);
            fd.ino = inode;
            fd.set_name(tail.next().unwrap_or(b""));
            self.by_inode.insert(inode, fd);
        }
    }
}

/// `0100007F:1F90`: each 32-bit word of the address in host order.
fn parse_end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match address.len() {
        8 => Some((IpAddr::V4(Ipv4Addr::from(word(0)?)), port)),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index)?);
            }
            let address = Ipv6Addr::from(bytes);
            let mapped = address.to_ipv4_mapped().map(IpAddr::V4);
            Some((mapped.unwrap_or(IpAddr::V6(address)), port))
        }
        _ => None,
    }
}

/// The addresses of the machine from the kernel's tables (`fib_trie` lists each IPv4
/// address as a `/32 host LOCAL` leaf).
fn read_interfaces(proc: &Path) -> Interfaces {
    let mut interfaces = Interfaces::default();
    let trie = read_prefix(&proc.join("net/fib_trie"), SOCKETS_BYTES_MAX);
    let mut leaf = None;
    for line in String::from_utf8_lossy(&trie).lines() {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = leaf
        {
            let entry = (address, Ipv4Addr::BROADCAST);
            if interfaces.ipv4.len() < INTERFACES_MAX && !interfaces.ipv4.contains(&entry) {
                interfaces.ipv4.push(entry);
            }
        }
    }
    let table = read_prefix(&proc.join("net/if_inet6"), SOCKETS_BYTES_MAX);
    for line in String::from_utf8_lossy(&table).lines().take(INTERFACES_MAX) {
        let digits = line.split_ascii_whitespace().next().unwrap_or("");
        if let Ok(bits) = u128::from_str_radix(digits, 16) {
            interfaces.ipv6.push(Ipv6Addr::from_bits(bits));
        }
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn this_process_is_found_with_its_descriptors() {
        let mut state = State::new();
        let report = proc_scan(&mut state, Path::new("/proc")).unwrap();
        assert!(report.n_processes > 0 && report.n_fds > 0, "{report:?}");
        let own = state.thread(i64::from(std::process::id())).unwrap();
        assert!(own.is_main());
        let exe = std::env::current_exe().unwrap();
        assert_eq!(&*own.exe_path, exe.as_os_str().as_bytes());
        assert!(own.started_ns > state.machine.boot_ns);
        assert!(state.parents(own).count() > 0);
        assert!(state.fds_of(own).unwrap().get(0).is_some());
    }

    #[test]
    fn socket_tables_are_read() {
        let mut sockets = Sockets::default();
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n   1: 0100007F:1F90 0200000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 78 1\n";
        sockets.read_inet(table, Transport::Tcp, false);
        let server = &sockets.by_inode[&77];
        assert_eq!((server.kind, server.ends.dest_port), (FdKind::Ipv4Server, 8080));
        assert_eq!(
            super::super::fd::format_ends(&sockets.by_inode[&78].ends),
            "127.0.0.1:8080->10.0.0.2:80"
        );
        sockets.read_unix(b"Num       RefCount Protocol Flags    Type St Inode Path\n0000000000000000: 00000002 00000000 00010000 0001 01 20500 /run/x.sock\n0000000000000000: 00000003 00000000 00000000 0001 03   205\n");
        assert_eq!(sockets.by_inode[&20500].name(), b"/run/x.sock");
        assert!(sockets.by_inode[&205].name.is_none());
    }

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let mut thread = Thread::default();
        let machine = Machine { boot_ns: 1_000_000_000, ..Machine::default() };
        let stat = b"7 (a) b) S 1 5 7 34816 7 4194560 10 0 3 0 1 1 0 0 20 0 1 0 250 1 1";
        read_stat(stat, &mut thread, &machine);
        assert_eq!((thread.pgid, thread.tty), (5, 34816));
        assert_eq!(thread.faults, [3, 10]);
        assert_eq!(thread.started_ns, 3_500_000_000);
    }
}
