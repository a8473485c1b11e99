//! Threads: what is known of each, from `/proc`, from a capture's process list and from
//! the events since.

use std::sync::Arc;

use super::fd::{FdTable, Text};
use crate::identity::Facts;
use crate::text;

/// Clone flags of the scap format that the state looks at, and its own marks beside them.
pub(crate) mod flag {
    pub(crate) const FILES: u32 = 1;
    pub(crate) const NEWPID: u32 = 1 << 6;
    pub(crate) const PARENT: u32 = 1 << 8;
    pub(crate) const THREAD: u32 = 1 << 13;
    pub(crate) const INVERTED: u32 = 1 << 16;
    pub(crate) const NAME_CHANGED: u32 = 1 << 17;
    pub(crate) const CLOSED: u32 = 1 << 18;
    pub(crate) const ACTIVE: u32 = 1 << 19;
    pub(crate) const NEWUSER: u32 = 1 << 20;
    pub(crate) const PIPE_SOURCE: u32 = 1 << 21;
    pub(crate) const PIPE_DEST: u32 = 1 << 22;
    pub(crate) const VFORK: u32 = 1 << 27;
    pub(crate) const IN_PIDNS: u32 = 1 << 29;
    pub(crate) const MAIN: u32 = 1 << 30;
}

/// Processor times in user mode and in the kernel, as two statistics said one after the
/// other.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTimes {
    /// The earlier ones.
    pub before: [u64; 2],
    /// The later ones.
    pub now: [u64; 2],
}

/// No user, group or login.
pub const NO_ID: u32 = u32::MAX;

/// A thread. Times are nanoseconds since the epoch, memory is in KiB.
#[derive(Debug, Clone)]
pub struct Thread {
    /// Thread id on the host.
    pub tid: i64,
    /// Process id (thread group) on the host; -1 when unknown.
    pub pid: i64,
    /// Parent's thread on the host, as Falco keeps it: 0 when the parent is gone.
    pub ptid: i64,
    /// Parent when it was cloned; kept when the parent exits.
    pub origin: i64,
    /// Who adopts its children, as the kernel said at its exit.
    pub reaper: i64,
    /// Session.
    pub sid: i64,
    /// Process group in its own namespace.
    pub vpgid: i64,
    /// Process group on the host.
    pub pgid: i64,
    /// Thread id in its own namespace.
    pub vtid: i64,
    /// Process id in its own namespace.
    pub vpid: i64,
    /// Clone flags and the marks in [`flag`].
    pub flags: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// User at login.
    pub loginuid: u32,
    /// Controlling terminal.
    pub tty: u32,
    /// Limit of descriptors.
    pub fd_limit: i64,
    /// Virtual, resident and swapped memory.
    pub memory_kib: [u32; 3],
    /// Major and minor page faults.
    pub faults: [u64; 2],
    /// Processor times of the last two statistics that a capture has of it.
    pub cpu_times: Option<Box<CpuTimes>>,
    /// When it was cloned; 0 when that was not seen.
    pub cloned_ns: u64,
    /// When it last executed a program; 0 when that was not seen.
    pub executed_ns: u64,
    /// When it started by `/proc`; 0 when that was not asked.
    pub started_ns: u64,
    /// Start of its process namespace.
    pub pidns_start_ns: u64,
    /// Inheritable capabilities.
    pub cap_inheritable: u64,
    /// Permitted capabilities.
    pub cap_permitted: u64,
    /// Effective capabilities.
    pub cap_effective: u64,
    /// Inode of the program.
    pub exe_ino: u64,
    /// Change time of that inode.
    pub exe_ctime_ns: u64,
    /// Modification time of the program.
    pub exe_mtime_ns: u64,
    /// Clone time less change time of the program's inode.
    pub exe_ctime_to_clone_ns: u64,
    /// Change time of the program's inode less the namespace's start.
    pub exe_ctime_to_pidns_ns: u64,
    /// The user may write the program.
    pub exe_writable: bool,
    /// The program lies in the upper layer of an overlay.
    pub exe_upper_layer: bool,
    /// The program lies in a lower layer of an overlay.
    pub exe_lower_layer: bool,
    /// The program is an anonymous file in memory.
    pub exe_from_memfd: bool,
    /// Name.
    pub comm: Text,
    /// First argument.
    pub exe: Text,
    /// Path of the program.
    pub exe_path: Text,
    /// Arguments after the first, separated by NULs.
    pub args: Text,
    /// Name and arguments, joined by blanks.
    pub cmdline: Text,
    /// Environment, separated by NULs; the main thread's counts.
    pub env: Text,
    /// Working folder with a slash at its end; the main thread's counts.
    pub cwd: Text,
    /// Root folder.
    pub root: Text,
    /// Control groups as `subsystem=path`, separated by NULs.
    pub cgroups: Text,
    /// Its cgroup v2 id, from live records; 0 when unknown.
    pub cgroup_id: u64,
    /// The container's id as rules see it; empty on the host.
    pub container_id: Text,
    /// The container, when something is known of it.
    pub container: Option<Arc<Facts>>,
    /// Descriptors; the main thread's count unless the thread has its own.
    pub fds: FdTable,
    /// Threads whose parent it is or was.
    pub children: Vec<i64>,
    /// Start of the thread group's leader since boot, from live records; identifies the
    /// process when its number is reused.
    pub start_boottime_ns: u64,
    /// Last enter event that was delivered.
    pub(crate) last_enter: Option<u16>,
    /// Its bytes, until the next exit event.
    pub(crate) last_enter_bytes: Option<Box<[u8]>>,
    /// Whether they belong to the exit event at hand.
    pub(crate) last_enter_valid: bool,
    /// Descriptor of the last event.
    pub(crate) last_fd: i64,
}

impl Default for Thread {
    fn default() -> Self {
        let nothing: Text = Arc::from(&[][..]);
        let text = || Arc::clone(&nothing);
        Self {
            tid: -1,
            pid: -1,
            ptid: -1,
            origin: -1,
            reaper: -1,
            sid: -1,
            vpgid: -1,
            pgid: -1,
            vtid: -1,
            vpid: -1,
            flags: flag::NAME_CHANGED,
            uid: NO_ID,
            gid: NO_ID,
            loginuid: NO_ID,
            tty: 0,
            fd_limit: -1,
            memory_kib: [0; 3],
            faults: [0; 2],
            cpu_times: None,
            cloned_ns: 0,
            executed_ns: 0,
            started_ns: 0,
            pidns_start_ns: 0,
            cap_inheritable: 0,
            cap_permitted: 0,
            cap_effective: 0,
            exe_ino: 0,
            exe_ctime_ns: 0,
            exe_mtime_ns: 0,
            exe_ctime_to_clone_ns: 0,
            exe_ctime_to_pidns_ns: 0,
            exe_writable: false,
            exe_upper_layer: false,
            exe_lower_layer: false,
            exe_from_memfd: false,
            comm: text(),
            exe: text(),
            exe_path: text(),
            args: text(),
            cmdline: text(),
            env: text(),
            cwd: text(),
            root: text(),
            cgroups: text(),
            cgroup_id: 0,
            container_id: text(),
            container: None,
            fds: FdTable::default(),
            children: Vec::new(),
            start_boottime_ns: 0,
            last_enter: None,
            last_enter_bytes: None,
            last_enter_valid: false,
            last_fd: 0,
        }
    }
}

impl Thread {
    /// Stands for a thread of which only the number is known.
    pub fn unknown(tid: i64) -> Self {
        let not_available: Text = Arc::from(crate::record::NOT_AVAILABLE);
        Self {
            tid,
            comm: Arc::clone(&not_available),
            cmdline: Arc::clone(&not_available),
            exe: not_available,
            ..Self::default()
        }
    }

    /// Whether it is the main thread of its process.
    pub fn is_main(&self) -> bool {
        self.tid == self.pid || self.flags & flag::MAIN != 0
    }

    /// Whether it lives in a process namespace of its own.
    pub fn is_in_pidns(&self) -> bool {
        self.flags & flag::IN_PIDNS != 0 || (self.tid != self.vtid && self.vtid >= 0)
    }

    /// Whether too little is known of it to place it in the tree.
    pub fn is_invalid(&self) -> bool {
        self.tid < 0 || self.pid < 0 || self.ptid < 0
    }

    /// Whether it has exited and is kept for its other threads.
    pub fn is_dead(&self) -> bool {
        self.flags & flag::CLOSED != 0
    }

    /// Replaces the arguments and what follows from them; the name must be set before.
    pub fn set_args(&mut self, args: &[u8]) {
        self.args = args.into();
        let mut cmdline = Vec::with_capacity(self.comm.len() + 1 + args.len());
        cmdline.extend_from_slice(&self.comm);
        if !self.args.is_empty() {
            cmdline.push(b' ');
            text::push_joined(args, &mut cmdline);
        }
        self.cmdline = cmdline.into();
    }

    /// Number of arguments.
    pub fn n_args(&self) -> usize {
        if self.args.is_empty() { 0 } else { self.args.split(|byte| *byte == 0).count() }
    }

    /// Sets the program's path without the kernel's mark of a deleted file.
    pub fn set_exe_path(&mut self, path: &[u8]) {
        self.exe_path = strip_deleted(path).into();
    }

    /// The value of an environment variable, without blanks around it.
    pub fn env_value(&self, name: &[u8]) -> Option<&[u8]> {
        self.env.split(|byte| *byte == 0).find_map(|variable| {
            let value = variable.strip_prefix(name)?.strip_prefix(b"=")?;
            (!value.is_empty()).then(|| value.trim_ascii())
        })
    }

    /// The path of the control group of one subsystem.
    pub fn cgroup(&self, subsystem: &[u8]) -> Option<&[u8]> {
        cgroup_entries(&self.cgroups).find(|(name, _)| *name == subsystem).map(|(_, path)| path)
    }

    /// What a new process has of its parent: the program and its credentials.
    pub(crate) fn inherit(&mut self, from: &Self) {
        self.exe_path = Arc::clone(&from.exe_path);
        self.exe_writable = from.exe_writable;
        self.exe_upper_layer = from.exe_upper_layer;
        self.exe_lower_layer = from.exe_lower_layer;
        self.exe_from_memfd = from.exe_from_memfd;
        self.root = Arc::clone(&from.root);
        self.sid = from.sid;
        self.vpgid = from.vpgid;
        self.pgid = from.pgid;
        self.tty = from.tty;
        self.loginuid = from.loginuid;
        self.cap_permitted = from.cap_permitted;
        self.cap_inheritable = from.cap_inheritable;
        self.cap_effective = from.cap_effective;
        self.exe_ino = from.exe_ino;
        self.exe_ctime_ns = from.exe_ctime_ns;
        self.exe_mtime_ns = from.exe_mtime_ns;
        self.exe_ctime_to_clone_ns = from.exe_ctime_to_clone_ns;
    }
}

pub(crate) fn strip_deleted(path: &[u8]) -> &[u8] {
    const MARK: &[u8] = b" (deleted)";
    match path.strip_suffix(MARK) {
        Some(path) if !path.is_empty() => path,
        _ => path,
    }
}

/// Subsystem and path of each control group; old and kernel names are made one.
pub(crate) fn cgroup_entries(cgroups: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    cgroups.split(|byte| *byte == 0).filter_map(|entry| {
        let equals = entry.iter().position(|byte| *byte == b'=')?;
        let name = &entry[..equals];
        let name = name.strip_suffix(b"_cgroup").unwrap_or(name);
        let name = match name {
            b"perf" => &b"perf_event"[..],
            b"mem" => b"memory",
            b"io" => b"blkio",
            name => name,
        };
        Some((name, &entry[equals + 1..]))
    })
}

/// The threads of one process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    /// Thread ids, the main thread first.
    pub(crate) threads: Vec<i64>,
    /// Those of them that have not exited.
    pub(crate) n_alive: u64,
    /// Adopts orphans: an init process or a child subreaper.
    pub(crate) is_reaper: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_follows_the_arguments() {
        let mut thread = Thread { comm: Arc::from(&b"sh"[..]), ..Thread::default() };
        thread.set_args(b"-c\0echo hi");
        assert_eq!(&*thread.cmdline, b"sh -c echo hi");
        assert_eq!(thread.n_args(), 2);
        thread.set_args(b"");
        assert_eq!((&*thread.cmdline, thread.n_args()), (&b"sh"[..], 0));
    }

    #[test]
    fn environment_variables_are_found() {
        let thread = Thread {
            env: Arc::from(&b"HOME=/root\0PATHX=1\0PATH= /bin "[..]),
            ..Thread::default()
        };
        assert_eq!(thread.env_value(b"PATH"), Some(&b"/bin"[..]));
        assert_eq!(thread.env_value(b"HOM"), None);
    }

    #[test]
    fn control_groups_have_one_name() {
        let entries: Vec<_> = cgroup_entries(b"mem_cgroup=/a\0io=/b\0cpuset=/\0bad").collect();
        assert_eq!(entries, [(&b"memory"[..], &b"/a"[..]), (b"blkio", b"/b"), (b"cpuset", b"/")]);
    }
}
