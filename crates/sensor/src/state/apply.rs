//! How one event changes the state: the frame around the parsers of `apply_*`.

use super::thread::{Thread, flag};
use super::{Fd, FdKind, Live, Observation, State, Touched};
use crate::record::{Record, Trailer};
use crate::schema::Traits;
use crate::schema::number::{
    ACCEPT_5_X, ACCEPT4_6_X, ASYNCEVENT_E, BIND_X, BPF_2_X, CHDIR_X, CLONE_20_X, CLONE3_X,
    CLOSE_RANGE_X, CLOSE_X, CONNECT_E, CONNECT_X, CONTAINER_JSON_2_E, COPY_FILE_RANGE_X, CREAT_E,
    CREAT_X, DUP_1_X, DUP2_X, DUP3_X, EPOLL_CREATE_X, EPOLL_CREATE1_X, EVENTFD_X, EVENTFD2_X,
    EXECVE_19_E, EXECVE_19_X, EXECVEAT_E, EXECVEAT_X, FCHDIR_X, FCHMOD_X, FCHMODAT_X, FCHOWN_X,
    FCHOWNAT_X, FCNTL_X, FINIT_MODULE_X, FLOCK_X, FORK_20_X, FSCONFIG_X, FSTAT_X, GETCWD_X,
    GETDENTS_X, GETDENTS64_X, GETSOCKOPT_X, GROUP_ADDED_E, GROUP_DELETED_E, INOTIFY_INIT_X,
    INOTIFY_INIT1_X, IO_URING_ENTER_X, IO_URING_REGISTER_X, IO_URING_SETUP_X, IOCTL_3_X, LISTEN_X,
    LLSEEK_X, LSEEK_X, MEMFD_CREATE_X, MKDIRAT_X, MKNODAT_X, MMAP_X, MMAP2_X, NEWFSTATAT_X,
    OPEN_BY_HANDLE_AT_X, OPEN_E, OPEN_X, OPENAT_2_E, OPENAT_2_X, OPENAT2_E, OPENAT2_X,
    PIDFD_GETFD_X, PIDFD_OPEN_X, PIPE_X, PIPE2_X, PLUGINEVENT_E, PREAD_X, PREADV_X, PROCEXIT_1_E,
    PWRITE_X, PWRITEV_X, READ_X, READV_X, RECV_X, RECVFROM_X, RECVMMSG_X, RECVMSG_X,
    SCHEDSWITCH_6_E, SEND_X, SENDFILE_X, SENDMMSG_X, SENDMSG_X, SENDTO_X, SETNS_X, SETSOCKOPT_X,
    SHUTDOWN_X, SIGNALFD_X, SIGNALFD4_X, SOCKET_X, SOCKETPAIR_X, SPLICE_X, SYMLINKAT_X,
    TIMERFD_CREATE_X, UNLINKAT_2_X, USER_ADDED_E, USER_DELETED_E, USERFAULTFD_X, VFORK_20_X,
    WRITE_X, WRITEV_X,
};

/// Look-ups of unknown threads in `/proc` in one second of a live system.
const LOOKUPS_PER_SECOND: u32 = 200;

impl State {
    /// Applies a record and says which descriptor it is about.
    pub(crate) fn apply(&mut self, record: &Record<'_>) -> Touched {
        self.finish_previous(record.time_ns);
        self.described = None;
        let mut touched = self.begin(record);
        let before = touched.fd.and_then(|fd| self.fd(record.tid, fd)).map(|fd| fd.name.clone());
        let begun_with = touched.fd;
        self.parse(record, &mut touched);
        if let Some(fd) = touched.fd {
            let now = self.fd(record.tid, fd).and_then(|fd| fd.name.clone());
            // A descriptor that the event made had no name before.
            let before = if begun_with == Some(fd) { before.flatten() } else { None };
            let duplicate = is_duplicate(record.number());
            touched.name_changed = !duplicate && now != before;
        }
        if !record.info.is_enter()
            && let Some(thread) = self.threads.get_mut(&record.tid)
            && thread.last_enter_bytes.take().is_some()
        {
            thread.last_enter_valid = false;
        }
        touched
    }

    /// Does what had to wait until the previous event had been looked at.
    fn finish_previous(&mut self, now_ns: u64) {
        if let Some(tid) = self.pending_exit.take() {
            let ptid = self.threads.get(&tid).map_or(-1, |thread| thread.ptid);
            self.remember_exit(tid, ptid, now_ns);
            self.bury(tid, now_ns);
            self.remove_thread(tid);
        }
        if let Some((tid, fd)) = self.pending_close.take()
            && let Some(fds) = self.fds_mut(tid)
        {
            fds.remove(fd);
        }
    }

    pub(crate) fn exit_after_event(&mut self, tid: i64) {
        self.pending_exit = Some(tid);
    }

    pub(crate) fn close_after_event(&mut self, tid: i64, fd: i64) {
        self.pending_close = Some((tid, fd));
    }

    /// Finds the thread and the descriptor of an event, and whether the enter event that
    /// is kept belongs to it.
    fn begin(&mut self, record: &Record<'_>) -> Touched {
        let number = record.number();
        let nothing = Touched::default();
        let is_own = matches!(
            number,
            CONTAINER_JSON_2_E
                | USER_ADDED_E
                | USER_DELETED_E
                | GROUP_ADDED_E
                | GROUP_DELETED_E
                | PLUGINEVENT_E
                | ASYNCEVENT_E
        );
        if is_own || record.info.traits.any(Traits::SKIPS_STATE) {
            return nothing;
        }
        let is_clone = matches!(number, CLONE_20_X | CLONE3_X | FORK_20_X | VFORK_20_X);
        let may_look_up = !is_clone && number != SCHEDSWITCH_6_E && number != PROCEXIT_1_E;
        if may_look_up {
            self.ensure_thread(record.tid, record.time_ns);
        }
        self.note_trailer(record);
        if !self.fds_unknown.is_empty() {
            self.reread_fds(record.tid, record.time_ns);
        }
        if number == SCHEDSWITCH_6_E {
            return nothing;
        }
        let Some(thread) = self.threads.get_mut(&record.tid) else { return nothing };
        if may_look_up {
            thread.flags |= flag::ACTIVE;
        }
        let uses_fd = record.info.traits.any(Traits::USES_FD);
        if record.info.is_enter() {
            thread.last_fd = -1;
            thread.last_enter = Some(number);
            if uses_fd {
                thread.last_fd = record.param(enter_fd_index(number)).i64().unwrap_or(-1);
            }
        } else {
            let expected = thread.last_enter.map(|enter| enter + 1);
            let by_execveat = number == EXECVE_19_X && thread.last_enter == Some(EXECVEAT_E);
            if by_execveat || expected == Some(number) {
                thread.last_enter_valid = true;
            } else {
                thread.last_enter_valid = false;
                thread.last_fd = -1;
            }
            if !uses_fd {
                return nothing;
            }
            if thread.last_fd == -1
                && let Some(fd) = exit_fd_index(number).and_then(|index| record.param(index).i64())
            {
                thread.last_fd = fd;
            }
        }
        let fd = thread.last_fd;
        self.describe_fd(record, fd);
        Touched {
            fd: uses_fd.then_some(fd).filter(|fd| self.fd(record.tid, *fd).is_some()),
            ..nothing
        }
    }

    /// Corrects the entry of an event's descriptor by what the kernel says that it is: the open
    /// that made it may have been held back, and the number may have stood for something else
    /// before.
    fn describe_fd(&mut self, record: &Record<'_>, fd: i64) {
        let Some(flags) = record.trailer.map(|trailer| trailer.flags) else { return };
        if flags & Trailer::FD_NO_SOCKET == 0 || fd < 0 {
            return;
        }
        let known = self.fd(record.tid, fd);
        let kind = match flags & Trailer::FD_FOLDER {
            0 => FdKind::File,
            _ => FdKind::Directory,
        };
        match record.fd_path {
            Some(path) if known.is_none_or(|entry| entry.kind != kind || entry.name() != path) => {
                let mut entry = Fd::of(kind);
                entry.set_name(path);
                // A table that is full counts it.
                let _refused = self.add_fd(record.tid, fd, entry);
            }
            None if known
                .is_some_and(|entry| entry.kind.is_ip() || entry.kind == FdKind::UnixSocket) =>
            {
                if let Some(fds) = self.fds_mut(record.tid) {
                    fds.remove(fd);
                }
            }
            _ => {}
        }
    }

    /// Takes from a live record's trailer what no parameter says.
    fn note_trailer(&mut self, record: &Record<'_>) {
        let Some(trailer) = record.trailer else { return };
        let Some(thread) = self.threads.get_mut(&record.tid) else { return };
        let moved = thread.cgroup_id != trailer.cgroup_id;
        thread.cgroup_id = trailer.cgroup_id;
        thread.start_boottime_ns = trailer.start_boottime_ns;
        if thread.uid == super::NO_ID {
            thread.uid = trailer.uid;
        }
        if thread.pid < 0 {
            // An unknown thread: the trailer at least places it.
            thread.pid = i64::from(trailer.tgid);
            thread.ptid = i64::from(trailer.ppid);
            thread.origin = thread.ptid;
            self.link(record.tid);
        }
        if moved {
            self.identify(record.tid, record.time_ns);
        }
    }

    /// Makes sure that there is an entry for a thread: from `/proc` in a live system, else
    /// one that holds its number alone.
    pub(crate) fn ensure_thread(&mut self, tid: i64, now_ns: u64) {
        if self.threads.contains_key(&tid) {
            return;
        }
        let scanned = if self.is_given() {
            self.given_thread(tid)
        } else {
            self.allow_lookup(now_ns).and_then(|proc| super::proc_scan::scan_thread(&proc, tid))
        };
        if let Some((thread, fds)) = scanned {
            self.counters.n_threads_scanned += 1;
            self.note(|| Observation::Thread {
                thread: Box::new(thread.clone()),
                fds: fds.clone(),
            });
            if self.add_thread(thread, true) {
                for (number, fd) in fds {
                    self.add_initial_fd(tid, number, fd);
                }
                self.identify(tid, now_ns);
            }
            return;
        }
        self.counters.n_threads_unknown += 1;
        self.add_thread(Thread::unknown(tid), true);
    }

    pub(super) fn allow_lookup(&mut self, now_ns: u64) -> Option<std::path::PathBuf> {
        let Live { resolver, lookups_left, lookups_until_ns } = self.live.as_mut()?;
        if now_ns >= *lookups_until_ns {
            *lookups_left = LOOKUPS_PER_SECOND;
            *lookups_until_ns = now_ns.saturating_add(1_000_000_000);
        }
        *lookups_left = lookups_left.checked_sub(1)?;
        Some(resolver.paths().proc.clone())
    }

    /// Keeps an enter event for its exit.
    fn keep_enter(&mut self, record: &Record<'_>) {
        if let Some(thread) = self.threads.get_mut(&record.tid) {
            thread.last_enter_bytes = Some(record.bytes().into());
            thread.last_enter_valid = true;
        }
    }

    /// The enter event that belongs to the exit event at hand.
    pub(crate) fn enter_of(&self, record: &Record<'_>) -> Option<Box<[u8]>> {
        let thread = self.threads.get(&record.tid)?;
        let bytes = thread.last_enter_bytes.as_ref().filter(|_| thread.last_enter_valid)?;
        let enter = Record::decode(bytes).ok()?.number();
        let by_execveat = record.number() == EXECVE_19_X && enter == EXECVEAT_E;
        (by_execveat || enter + 1 == record.number()).then(|| bytes.clone())
    }

    fn parse(&mut self, record: &Record<'_>, touched: &mut Touched) {
        match record.number() {
            OPEN_E | CREAT_E | OPENAT_2_E | OPENAT2_E | EXECVE_19_E => {
                if !record.param(0).is_empty() {
                    self.keep_enter(record);
                }
            }
            EXECVEAT_E | CONNECT_E => self.keep_enter(record),
            CLONE_20_X | CLONE3_X | FORK_20_X | VFORK_20_X => self.on_clone(record),
            EXECVE_19_X | EXECVEAT_X => self.on_exec(record, touched),
            PROCEXIT_1_E => self.on_exit(record),
            READ_X | READV_X | PREAD_X | PREADV_X | RECV_X | RECVFROM_X | RECVMSG_X
            | RECVMMSG_X => self.on_read(record, touched),
            WRITE_X | WRITEV_X | PWRITE_X | PWRITEV_X | SEND_X | SENDTO_X | SENDMSG_X
            | SENDMMSG_X => self.on_write(record, touched),
            SOCKET_X => self.on_socket(record, touched),
            BIND_X => self.on_bind(record, touched),
            CONNECT_X => self.on_connect(record, touched),
            ACCEPT_5_X | ACCEPT4_6_X => self.on_accept(record, touched),
            SOCKETPAIR_X => self.on_socketpair(record, touched),
            OPEN_X | CREAT_X | OPENAT_2_X | OPENAT2_X | OPEN_BY_HANDLE_AT_X => {
                self.on_open(record, touched);
            }
            CLOSE_X => self.on_close(record, *touched),
            CLOSE_RANGE_X => self.on_close_range(record),
            DUP_1_X | DUP2_X | DUP3_X => self.on_dup(record, touched),
            FCNTL_X => self.on_fcntl(record, touched),
            PIPE_X | PIPE2_X => self.on_pipe(record, touched),
            CHDIR_X | GETCWD_X => self.on_chdir(record),
            FCHDIR_X => self.on_fchdir(record, *touched),
            MEMFD_CREATE_X => self.on_memfd(record, touched),
            PIDFD_OPEN_X => self.on_pidfd_open(record, touched),
            PIDFD_GETFD_X => self.on_pidfd_getfd(record, touched),
            number => match special_fd(number) {
                Some(kind) => self.on_special_fd(record, kind, touched),
                None => self.parse_credentials(record),
            },
        }
    }

    fn on_special_fd(&mut self, record: &Record<'_>, kind: FdKind, touched: &mut Touched) {
        let Some(fd) = record.result().filter(|fd| *fd >= 0) else { return };
        let mut entry = Fd::of(kind);
        entry.open_flags = match record.number() {
            INOTIFY_INIT1_X | SIGNALFD4_X | EVENTFD2_X => {
                record.param(1).u16().map_or(0, u32::from)
            }
            TIMERFD_CREATE_X => record.param(2).u8().map_or(0, u32::from),
            EPOLL_CREATE1_X if record.param(1).u32().unwrap_or(0) & 1 != 0 => super::fd::O_CLOEXEC,
            _ => 0,
        };
        touched.fd = self.add_fd(record.tid, fd, entry);
    }
}

/// Events that make a descriptor of another's kind and name.
fn is_duplicate(number: u16) -> bool {
    matches!(number, DUP_1_X | DUP2_X | DUP3_X | FCNTL_X | PIDFD_GETFD_X)
}

fn special_fd(number: u16) -> Option<FdKind> {
    Some(match number {
        EVENTFD_X | EVENTFD2_X => FdKind::Event,
        SIGNALFD_X | SIGNALFD4_X => FdKind::Signal,
        TIMERFD_CREATE_X => FdKind::Timer,
        INOTIFY_INIT_X | INOTIFY_INIT1_X => FdKind::Inotify,
        BPF_2_X => FdKind::Bpf,
        USERFAULTFD_X => FdKind::UserFault,
        IO_URING_SETUP_X => FdKind::IoUring,
        EPOLL_CREATE_X | EPOLL_CREATE1_X => FdKind::EventPoll,
        _ => return None,
    })
}

/// Parameter with the descriptor in the enter events that are delivered.
fn enter_fd_index(number: u16) -> usize {
    match number + 1 {
        MMAP_X | MMAP2_X => 4,
        SPLICE_X => 1,
        _ => 0,
    }
}

/// Parameter with the descriptor in exit events that use one.
pub(crate) fn exit_fd_index(number: u16) -> Option<usize> {
    Some(match number {
        SETNS_X | LISTEN_X | SHUTDOWN_X | FCHDIR_X | LSEEK_X | LLSEEK_X | IOCTL_3_X | FSTAT_X
        | CLOSE_X | GETDENTS_X | GETDENTS64_X | FLOCK_X | COPY_FILE_RANGE_X | FCNTL_X | DUP_1_X
        | DUP2_X | DUP3_X | NEWFSTATAT_X | FCHOWNAT_X | FCHMODAT_X | MKDIRAT_X | UNLINKAT_2_X
        | MKNODAT_X | SENDMMSG_X | RECVMMSG_X | IO_URING_REGISTER_X | IO_URING_ENTER_X
        | SETSOCKOPT_X | GETSOCKOPT_X | FSCONFIG_X | FINIT_MODULE_X | FCHMOD_X | FCHOWN_X => 1,
        READ_X | PREAD_X | BIND_X | WRITE_X | PWRITE_X | RECV_X | SEND_X | SENDTO_X | SENDMSG_X
        | SENDFILE_X | SPLICE_X | WRITEV_X | PWRITEV_X | CONNECT_X | SYMLINKAT_X => 2,
        RECVFROM_X | READV_X | PREADV_X => 3,
        RECVMSG_X => 5,
        MMAP_X | MMAP2_X => 8,
        _ => return None,
    })
}
