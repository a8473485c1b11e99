//! The whole state in parts, so that a recording can begin anywhere.
//!
//! What a `.scap` process list holds is what Falco's libraries need; a state has more (who
//! started an orphan, the role of a socket, which container was found), and a replay that
//! is to show what a live one showed needs all of it. [`Part::code`] describes each part
//! once for both directions; a restored state is used as it is, without
//! [`State::finish_initial`].
//!
//! Not kept are counters of what was refused and the kernel's answers that wait to be
//! asked for again: neither is visible in a field.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use palisade_base::Timestamp;
use palisade_model::Process;

use super::fd::FDS_MAX;
use super::lineage::Grave;
use super::thread::{CpuTimes, Group};
use super::users::INTERFACES_MAX;
use super::{
    CONTAINERS_MAX, Ends, Fd, FdKind, Machine, RECENT_EXITS_MAX, Role, State, Text, Thread,
    Transport, User,
};
use crate::codec::Codec;
use crate::identity::{DETAILS_MAX, Facts, Mount};

/// Threads of a process that a part may name.
const MEMBERS_MAX: usize = super::THREADS_MAX;

/// What stands at the beginning of a section: the machine, and where its events were.
#[derive(Debug, Clone, Default)]
pub(crate) struct Header {
    /// Name and version of the program that wrote it.
    pub(crate) writer: String,
    /// Answers from outside are recorded; otherwise containers follow from the control
    /// groups' paths, as in captures of others.
    pub(crate) is_observed: bool,
    pub(crate) hostname: String,
    pub(crate) boot_ns: u64,
    /// Events before this section, which numbers go on from.
    pub(crate) n_events: u64,
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    /// Work that waits for the next record.
    pub(crate) pending_exit: Option<i64>,
    pub(crate) pending_close: Option<(i64, i64)>,
}

/// A part of a state.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Header(Box<Header>),
    /// A container; `is_described`: a capture described it. The number is the writer's to
    /// give, and never given to another container.
    Container {
        number: u64,
        facts: Arc<Facts>,
        is_described: bool,
    },
    Thread(Box<Thread>),
    Fds {
        tid: i64,
        fds: Vec<(i64, Fd)>,
    },
    Process {
        pid: i64,
        group: Group,
    },
    User {
        container: Text,
        uid: u32,
        user: User,
    },
    Group {
        container: Text,
        gid: u32,
        name: Text,
    },
    Ipv4(Ipv4Addr, Ipv4Addr),
    Ipv6(Ipv6Addr),
    Grave {
        pid: i64,
        grave: Box<Grave>,
    },
    Exit {
        tid: i64,
        ptid: i64,
        time_ns: u64,
    },
}

impl Part {
    /// Its number in files.
    pub(crate) fn tag(&self) -> u8 {
        match self {
            Self::Header(_) => 0x81,
            Self::Container { .. } => 0x82,
            Self::Thread(_) => 0x83,
            Self::Fds { .. } => 0x84,
            Self::Process { .. } => 0x85,
            Self::User { .. } => 0x86,
            Self::Group { .. } => 0x87,
            Self::Ipv4(..) => 0x88,
            Self::Ipv6(_) => 0x89,
            Self::Grave { .. } => 0x8a,
            Self::Exit { .. } => 0x8b,
        }
    }

    /// An empty part of that number, to be read into.
    pub(crate) fn of_tag(tag: u8) -> Option<Self> {
        let nothing = || Text::from(&[][..]);
        Some(match tag {
            0x81 => Self::Header(Box::default()),
            0x82 => {
                Self::Container { number: 0, facts: Arc::new(Facts::host()), is_described: false }
            }
            0x83 => Self::Thread(Box::default()),
            0x84 => Self::Fds { tid: 0, fds: Vec::new() },
            0x85 => Self::Process { pid: 0, group: Group::default() },
            0x86 => Self::User {
                container: nothing(),
                uid: 0,
                user: User { name: nothing(), home: nothing(), shell: nothing() },
            },
            0x87 => Self::Group { container: nothing(), gid: 0, name: nothing() },
            0x88 => Self::Ipv4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
            0x89 => Self::Ipv6(Ipv6Addr::UNSPECIFIED),
            0x8a => Self::Grave { pid: 0, grave: Box::new(Grave::nobody()) },
            0x8b => Self::Exit { tid: 0, ptid: 0, time_ns: 0 },
            _ => return None,
        })
    }

    /// Writes or reads the part.
    pub(crate) fn code<C: Codec>(&mut self, codec: &mut C) -> Option<()> {
        match self {
            Self::Header(header) => code_header(codec, header),
            Self::Container { number, facts, is_described } => {
                codec.uint(number)?;
                codec.bool(is_described)?;
                code_facts(codec, facts)
            }
            Self::Thread(thread) => code_thread(codec, thread),
            Self::Fds { tid, fds } => {
                codec.int(tid)?;
                code_list(codec, fds, FDS_MAX, code_fd_entry)
            }
            Self::Process { pid, group } => {
                codec.int(pid)?;
                code_list(codec, &mut group.threads, MEMBERS_MAX, C::int)?;
                codec.uint(&mut group.n_alive)?;
                codec.bool(&mut group.is_reaper)
            }
            Self::User { container, uid, user } => {
                codec.text(container)?;
                codec.u32(uid)?;
                codec.text(&mut user.name)?;
                codec.text(&mut user.home)?;
                codec.text(&mut user.shell)
            }
            Self::Group { container, gid, name } => {
                codec.text(container)?;
                codec.u32(gid)?;
                codec.text(name)
            }
            Self::Ipv4(address, mask) => {
                code_ipv4(codec, address)?;
                code_ipv4(codec, mask)
            }
            Self::Ipv6(address) => code_ipv6(codec, address),
            Self::Grave { pid, grave } => {
                codec.int(pid)?;
                code_grave(codec, grave)
            }
            Self::Exit { tid, ptid, time_ns } => {
                codec.int(tid)?;
                codec.int(ptid)?;
                codec.uint(time_ns)
            }
        }
    }
}

/// A count, then the entries. While reading, entries are made one at a time, so that a
/// count that lies allocates nothing.
fn code_list<C: Codec, T: Default>(
    codec: &mut C,
    list: &mut Vec<T>,
    n_max: usize,
    code: fn(&mut C, &mut T) -> Option<()>,
) -> Option<()> {
    let mut n = list.len() as u64;
    codec.uint(&mut n)?;
    if !codec.is_reading() {
        return list.iter_mut().try_for_each(|entry| code(codec, entry));
    }
    if n > n_max as u64 {
        return None;
    }
    list.clear();
    for _ in 0..n {
        let mut entry = T::default();
        code(codec, &mut entry)?;
        list.push(entry);
    }
    Some(())
}

fn code_header<C: Codec>(codec: &mut C, header: &mut Header) -> Option<()> {
    codec.string(&mut header.writer)?;
    codec.bool(&mut header.is_observed)?;
    codec.string(&mut header.hostname)?;
    codec.uint(&mut header.boot_ns)?;
    codec.uint(&mut header.n_events)?;
    codec.uint(&mut header.first_ns)?;
    codec.uint(&mut header.last_ns)?;
    let mut has_exit = header.pending_exit.is_some();
    codec.bool(&mut has_exit)?;
    if has_exit {
        codec.int(header.pending_exit.get_or_insert(0))?;
    }
    let mut has_close = header.pending_close.is_some();
    codec.bool(&mut has_close)?;
    if has_close {
        let (tid, fd) = header.pending_close.get_or_insert((0, 0));
        codec.int(tid)?;
        codec.int(fd)?;
    }
    Some(())
}

fn code_facts<C: Codec>(codec: &mut C, facts: &mut Arc<Facts>) -> Option<()> {
    let mut own = Facts::clone(facts);
    // The record of the container has the form that it has everywhere else.
    let mut json = if codec.is_reading() {
        String::new()
    } else {
        serde_json::to_string(&*own.container).ok()?
    };
    codec.string(&mut json)?;
    if codec.is_reading() {
        own.container = Arc::new(serde_json::from_str(&json).ok()?);
    }
    for text in [
        &mut own.id,
        &mut own.full_id,
        &mut own.type_name,
        &mut own.image,
        &mut own.image_id,
        &mut own.image_repository,
        &mut own.image_tag,
        &mut own.image_digest,
        &mut own.ip,
        &mut own.user,
        &mut own.cni_json,
        &mut own.pod_sandbox_id,
    ] {
        codec.string(text)?;
    }
    for flag in [&mut own.privileged, &mut own.host_pid, &mut own.host_network, &mut own.host_ipc] {
        codec.bool(flag)?;
    }
    code_list(codec, &mut own.mounts, DETAILS_MAX, |codec, mount: &mut Mount| {
        codec.string(&mut mount.source)?;
        codec.string(&mut mount.dest)?;
        codec.string(&mut mount.mode)?;
        codec.bool(&mut mount.writable)?;
        codec.string(&mut mount.propagation)
    })?;
    for labels in [&mut own.labels, &mut own.pod_labels] {
        code_list(codec, labels, DETAILS_MAX, |codec, (key, value): &mut (String, String)| {
            codec.string(key)?;
            codec.string(value)
        })?;
    }
    if codec.is_reading() {
        *facts = Arc::new(own);
    }
    Some(())
}

/// Everything of a thread but its descriptors.
pub(crate) fn code_thread<C: Codec>(codec: &mut C, thread: &mut Thread) -> Option<()> {
    for id in [
        &mut thread.tid,
        &mut thread.pid,
        &mut thread.ptid,
        &mut thread.origin,
        &mut thread.reaper,
        &mut thread.sid,
        &mut thread.vpgid,
        &mut thread.pgid,
        &mut thread.vtid,
        &mut thread.vpid,
        &mut thread.fd_limit,
        &mut thread.last_fd,
    ] {
        codec.int(id)?;
    }
    let [size, resident, swap] = &mut thread.memory_kib;
    for number in [
        &mut thread.flags,
        &mut thread.uid,
        &mut thread.gid,
        &mut thread.loginuid,
        &mut thread.tty,
        size,
        resident,
        swap,
    ] {
        codec.u32(number)?;
    }
    let [major, minor] = &mut thread.faults;
    for number in [
        major,
        minor,
        &mut thread.cloned_ns,
        &mut thread.executed_ns,
        &mut thread.started_ns,
        &mut thread.pidns_start_ns,
        &mut thread.cap_inheritable,
        &mut thread.cap_permitted,
        &mut thread.cap_effective,
        &mut thread.exe_ino,
        &mut thread.exe_ctime_ns,
        &mut thread.exe_mtime_ns,
        &mut thread.exe_ctime_to_clone_ns,
        &mut thread.exe_ctime_to_pidns_ns,
        &mut thread.cgroup_id,
        &mut thread.start_boottime_ns,
    ] {
        codec.uint(number)?;
    }
    for flag in [
        &mut thread.exe_writable,
        &mut thread.exe_upper_layer,
        &mut thread.exe_lower_layer,
        &mut thread.exe_from_memfd,
        &mut thread.last_enter_valid,
    ] {
        codec.bool(flag)?;
    }
    for text in [
        &mut thread.comm,
        &mut thread.exe,
        &mut thread.exe_path,
        &mut thread.args,
        &mut thread.cmdline,
        &mut thread.env,
        &mut thread.cwd,
        &mut thread.root,
        &mut thread.cgroups,
        &mut thread.container_id,
    ] {
        codec.text(text)?;
    }
    codec.container(&mut thread.container)?;
    code_list(codec, &mut thread.children, MEMBERS_MAX, C::int)?;
    // One more than the type, so that 0 is none.
    let mut enter = thread.last_enter.map_or(0, |enter| u32::from(enter) + 1);
    codec.u32(&mut enter)?;
    thread.last_enter = match enter.checked_sub(1) {
        Some(enter) => Some(u16::try_from(enter).ok()?),
        None => None,
    };
    let mut bytes = thread.last_enter_bytes.take().map(|bytes| Text::from(&*bytes));
    codec.optional_text(&mut bytes)?;
    thread.last_enter_bytes = bytes.map(|bytes| (*bytes).into());
    code_cpu_times(codec, &mut thread.cpu_times)
}

/// Few threads have them: only old captures hold statistics.
fn code_cpu_times<C: Codec>(codec: &mut C, times: &mut Option<Box<CpuTimes>>) -> Option<()> {
    let mut is_there = times.is_some();
    codec.bool(&mut is_there)?;
    if !is_there {
        *times = None;
        return Some(());
    }
    let CpuTimes { before, now } = &mut **times.get_or_insert_default();
    for time in before.iter_mut().chain(now) {
        codec.uint(time)?;
    }
    Some(())
}

fn code_ipv4<C: Codec>(codec: &mut C, address: &mut Ipv4Addr) -> Option<()> {
    let mut bits = address.to_bits();
    codec.u32(&mut bits)?;
    *address = Ipv4Addr::from_bits(bits);
    Some(())
}

fn code_ipv6<C: Codec>(codec: &mut C, address: &mut Ipv6Addr) -> Option<()> {
    let bits = address.to_bits();
    let (mut high, mut low) = ((bits >> 64) as u64, bits as u64);
    codec.uint(&mut high)?;
    codec.uint(&mut low)?;
    *address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    Some(())
}

fn code_ip<C: Codec>(codec: &mut C, address: &mut IpAddr) -> Option<()> {
    let mut is_ipv6 = address.is_ipv6();
    codec.bool(&mut is_ipv6)?;
    if is_ipv6 {
        let mut own = match address {
            IpAddr::V6(own) => *own,
            IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
        };
        code_ipv6(codec, &mut own)?;
        *address = IpAddr::V6(own);
    } else {
        let mut own = match address {
            IpAddr::V4(own) => *own,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        code_ipv4(codec, &mut own)?;
        *address = IpAddr::V4(own);
    }
    Some(())
}

/// Flags of a descriptor in files.
mod fd_flag {
    pub(super) const CONNECTED: u8 = 1;
    pub(super) const UPPER_LAYER: u8 = 1 << 1;
    pub(super) const LOWER_LAYER: u8 = 1 << 2;
    pub(super) const CLIENT: u8 = 1 << 3;
    pub(super) const SERVER: u8 = 1 << 4;
    /// Addresses follow.
    pub(super) const ENDS: u8 = 1 << 5;
    /// Kernel addresses of a unix socket's ends follow.
    pub(super) const UNIX: u8 = 1 << 6;
}

pub(crate) fn code_fd_entry<C: Codec>(codec: &mut C, entry: &mut (i64, Fd)) -> Option<()> {
    use fd_flag::{CLIENT, CONNECTED, ENDS, LOWER_LAYER, SERVER, UNIX, UPPER_LAYER};
    let (number, fd) = entry;
    codec.int(number)?;
    let mut kind = fd.kind.number();
    codec.u8(&mut kind)?;
    fd.kind = FdKind::from_number(kind)?;
    let mut transport = fd.transport.number();
    codec.u8(&mut transport)?;
    fd.transport = Transport::from_number(transport);
    let mut flags = 0;
    for (flag, is_set) in [
        (CONNECTED, fd.connected),
        (UPPER_LAYER, fd.upper_layer),
        (LOWER_LAYER, fd.lower_layer),
        (CLIENT, fd.role == Role::Client),
        (SERVER, fd.role == Role::Server),
        (ENDS, fd.ends != Ends::default()),
        (UNIX, fd.unix_ends != (0, 0)),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    codec.u8(&mut flags)?;
    let is_set = |flag| flags & flag != 0;
    fd.connected = is_set(CONNECTED);
    fd.upper_layer = is_set(UPPER_LAYER);
    fd.lower_layer = is_set(LOWER_LAYER);
    fd.role = match (is_set(CLIENT), is_set(SERVER)) {
        (true, false) => Role::Client,
        (false, true) => Role::Server,
        _ => Role::None,
    };
    codec.u32(&mut fd.open_flags)?;
    codec.u32(&mut fd.dev)?;
    codec.uint(&mut fd.ino)?;
    codec.int(&mut fd.pid)?;
    codec.optional_text(&mut fd.name)?;
    codec.optional_text(&mut fd.raw_name)?;
    if is_set(ENDS) {
        code_ip(codec, &mut fd.ends.source)?;
        code_ip(codec, &mut fd.ends.dest)?;
        for port in [&mut fd.ends.source_port, &mut fd.ends.dest_port] {
            let mut wide = u32::from(*port);
            codec.u32(&mut wide)?;
            *port = u16::try_from(wide).ok()?;
        }
    }
    if is_set(UNIX) {
        codec.uint(&mut fd.unix_ends.0)?;
        codec.uint(&mut fd.unix_ends.1)?;
    }
    Some(())
}

fn code_grave<C: Codec>(codec: &mut C, grave: &mut Grave) -> Option<()> {
    codec.int(&mut grave.origin)?;
    codec.container(&mut grave.container)?;
    codec.uint(&mut grave.exited_ns)?;
    let Process { pid, vpid, ppid, start, name, exe, cmdline, cwd, uid } = &mut grave.process;
    for number in [pid, ppid, uid] {
        codec.u32(number)?;
    }
    let mut virtual_pid = vpid.map_or(0, |vpid| u64::from(vpid) + 1);
    codec.uint(&mut virtual_pid)?;
    *vpid = match virtual_pid.checked_sub(1) {
        Some(vpid) => Some(u32::try_from(vpid).ok()?),
        None => None,
    };
    let mut start_ns = start.as_nanos();
    codec.uint(&mut start_ns)?;
    *start = Timestamp::from_nanos(start_ns);
    for text in [name, exe, cmdline, cwd] {
        codec.string(text)?;
    }
    Some(())
}

impl State {
    /// The header of a section that begins with this state. The caller adds what the
    /// engine knows.
    pub(crate) fn header(&self) -> Header {
        Header {
            is_observed: self.live.is_some() || self.is_given(),
            hostname: self.machine.hostname.clone(),
            boot_ns: self.machine.boot_ns,
            pending_exit: self.pending_exit,
            pending_close: self.pending_close,
            ..Header::default()
        }
    }

    /// Hands out every part but the header; containers come before what refers to them.
    pub(crate) fn each_part(&self, write: &mut dyn FnMut(Part)) {
        let mut seen = HashSet::new();
        let mut introduce = |facts: &Arc<Facts>, is_described, write: &mut dyn FnMut(Part)| {
            if seen.insert(Arc::as_ptr(facts)) {
                write(Part::Container { number: 0, facts: Arc::clone(facts), is_described });
            }
        };
        for facts in self.containers.values() {
            introduce(facts, true, write);
        }
        for facts in self.threads.values().filter_map(|thread| thread.container.as_ref()) {
            introduce(facts, false, write);
        }
        for facts in self.graveyard.iter().filter_map(|(_, grave)| grave.container.as_ref()) {
            introduce(facts, false, write);
        }
        for (address, mask) in &self.interfaces.ipv4 {
            write(Part::Ipv4(*address, *mask));
        }
        for address in &self.interfaces.ipv6 {
            write(Part::Ipv6(*address));
        }
        for (container, uid, user) in self.accounts.users() {
            let (container, user) = (Arc::clone(container), user.clone());
            write(Part::User { container, uid, user });
        }
        for (container, gid, name) in self.accounts.groups() {
            let (container, name) = (Arc::clone(container), Arc::clone(name));
            write(Part::Group { container, gid, name });
        }
        for thread in self.threads.values() {
            write(Part::Thread(Box::new(thread.clone())));
            if !thread.fds.is_empty() {
                let fds = thread.fds.iter().map(|(number, fd)| (number, fd.clone())).collect();
                write(Part::Fds { tid: thread.tid, fds });
            }
        }
        for (pid, group) in &self.groups {
            write(Part::Process { pid: *pid, group: group.clone() });
        }
        for (pid, grave) in self.graveyard.iter() {
            write(Part::Grave { pid, grave: Box::new(grave.clone()) });
        }
        for (tid, ptid, time_ns) in &self.recent_exits {
            write(Part::Exit { tid: *tid, ptid: *ptid, time_ns: *time_ns });
        }
    }

    /// Puts a part back. Tables keep their bounds: what does not fit is counted as always.
    pub(crate) fn restore(&mut self, part: Part) {
        match part {
            Part::Header(header) => {
                self.machine = Machine { hostname: header.hostname, boot_ns: header.boot_ns };
                self.pending_exit = header.pending_exit;
                self.pending_close = header.pending_close;
                if header.is_observed {
                    self.expect_observations();
                }
            }
            Part::Container { facts, is_described, .. } => {
                if is_described && self.containers.len() < CONTAINERS_MAX {
                    self.containers.insert(facts.id.as_bytes().into(), facts);
                }
            }
            Part::Thread(thread) => {
                self.add_initial_thread(*thread);
            }
            Part::Fds { tid, fds } => {
                let Some(thread) = self.threads.get_mut(&tid) else { return };
                for (number, fd) in fds {
                    thread.fds.insert(number, fd);
                }
            }
            Part::Process { pid, group } => {
                if self.groups.len() < self.threads_max {
                    self.groups.insert(pid, group);
                }
            }
            Part::User { container, uid, user } => {
                self.accounts.add_user(&container, uid, &user.name, &user.home, &user.shell);
            }
            Part::Group { container, gid, name } => {
                self.accounts.add_group(&container, gid, &name);
            }
            Part::Ipv4(address, mask) => {
                if self.interfaces.ipv4.len() < INTERFACES_MAX {
                    self.interfaces.ipv4.push((address, mask));
                }
            }
            Part::Ipv6(address) => {
                if self.interfaces.ipv6.len() < INTERFACES_MAX {
                    self.interfaces.ipv6.push(address);
                }
            }
            Part::Grave { pid, grave } => self.graveyard.restore(pid, *grave),
            Part::Exit { tid, ptid, time_ns } => {
                if self.recent_exits.len() < RECENT_EXITS_MAX {
                    self.remember_exit(tid, ptid, time_ns);
                }
            }
        }
    }
}
