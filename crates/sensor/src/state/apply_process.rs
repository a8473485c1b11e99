//! Events that make, change and end processes.

use std::sync::Arc;

use super::thread::{NO_ID, Thread, flag};
use super::{State, Touched};
use crate::identity::Facts;
use crate::names::ALL_CAPABILITIES;
use crate::record::{NOT_AVAILABLE, Record};
use crate::schema::number::{
    ASYNCEVENT_E, BRK_4_X, CAPSET_X, CHROOT_X, CONTAINER_E, CONTAINER_JSON_2_E, CONTAINER_JSON_E,
    EXECVE_19_E, GETRLIMIT_X, GROUP_ADDED_E, GROUP_DELETED_E, MMAP_X, MMAP2_X, MUNMAP_X, PRCTL_X,
    PRLIMIT_X, PROCINFO_E, SCHEDSWITCH_6_E, SETGID_X, SETNS_X, SETREGID_X, SETRESGID_X,
    SETRESUID_X, SETREUID_X, SETRLIMIT_X, SETSID_X, SETUID_X, UNSHARE_X, USER_ADDED_E,
    USER_DELETED_E, VFORK_20_X,
};
use crate::text::join_path;

/// A thread whose clone was seen this long ago is not the one being cloned.
const CLONE_STALE_NS: u64 = 2_000_000_000;

/// Flags of `execveat` in the scap format.
const AT_EMPTY_PATH: u32 = 1;

impl State {
    pub(crate) fn on_clone(&mut self, record: &Record<'_>) {
        match record.result() {
            Some(0) => self.on_clone_in_child(record),
            Some(child) if child > 0 => self.on_clone_in_parent(record, child),
            _ => {}
        }
        if record.result().is_some_and(|result| result >= 0) {
            self.identify(record.tid, record.time_ns);
        }
    }

    /// The clone's return in the parent. It is enough for an ordinary child; one in
    /// another process namespace, or one that a vfork may already have ended, waits for
    /// its own event.
    fn on_clone_in_parent(&mut self, record: &Record<'_>, child_tid: i64) {
        let parent_tid = record.tid;
        self.ensure_thread(parent_tid, record.time_ns);
        let valid = self.complete_caller(record);
        let Some(parent) = self.threads.get(&parent_tid) else { return };
        let flags = record.param(15).u32().unwrap_or(0);
        let waits = flags & (flag::IN_PIDNS | flag::NEWPID | flag::PARENT) != 0
            || parent_tid != parent.vtid
            || flags & flag::VFORK != 0
            || record.number() == VFORK_20_X;
        if waits || self.exited_recently(child_tid, parent_tid, record.time_ns) {
            return;
        }
        if let Some(known) = self.threads.get(&child_tid) {
            if known.flags & flag::INVERTED != 0 {
                return;
            }
            self.remove_thread(child_tid);
        }
        let Some(parent) = self.threads.get(&parent_tid) else { return };
        let mut child = Thread { tid: child_tid, flags, ..Thread::default() };
        if flags & flag::THREAD == 0 {
            if valid {
                self.share(parent, &mut child);
            }
            child.pid = child_tid;
            child.ptid = parent.tid;
        } else {
            child.pid = parent.pid;
            child.ptid = parent.ptid;
            child.flags |= flag::FILES;
            child.executed_ns = parent.executed_ns;
        }
        child.origin = if flags & flag::THREAD == 0 { parent.pid } else { parent.origin };
        child.vtid = child.tid;
        child.vpid = child.pid;
        if valid {
            child.inherit(parent);
            child.container.clone_from(&parent.container);
            child.container_id = Arc::clone(&parent.container_id);
        }
        child.cgroup_id = parent.cgroup_id;
        read_clone(record, &mut child);
        child.pidns_start_ns = self.machine.boot_ns;
        if !valid {
            self.tell_caller(parent_tid, &child);
        }
        self.add_thread(child, true);
    }

    /// Fills in a caller of which only the number was known; whether it was known.
    fn complete_caller(&mut self, record: &Record<'_>) -> bool {
        let Some(caller) = self.threads.get_mut(&record.tid) else { return false };
        if !caller.is_invalid() {
            return true;
        }
        caller.pid = record.param(4).i64().unwrap_or(-1);
        caller.ptid = record.param(5).i64().unwrap_or(-1);
        (caller.vtid, caller.vpid) = virtual_ids(record, record.tid);
        self.link(record.tid);
        false
    }

    fn tell_caller(&mut self, tid: i64, child: &Thread) {
        if let Some(caller) = self.threads.get_mut(&tid) {
            caller.exe = Arc::clone(&child.exe);
            caller.comm = Arc::clone(&child.comm);
            caller.set_args(&child.args);
        }
    }

    /// What a new process has of its parent beside the program.
    fn share(&self, parent: &Thread, child: &mut Thread) {
        if let Some(fds) = self.fds_of(parent) {
            child.fds = fds.clone();
        }
        let main = self.main_of(parent);
        child.cwd = main.map_or_else(|| b"./"[..].into(), |main| Arc::clone(&main.cwd));
        child.env = Arc::clone(&parent.env);
    }

    /// The clone's return in the child.
    fn on_clone_in_child(&mut self, record: &Record<'_>) {
        let tid = record.tid;
        if let Some(known) = self.threads.get(&tid).filter(|known| known.cloned_ns != 0) {
            if record.time_ns.saturating_sub(known.cloned_ns) < CLONE_STALE_NS {
                return;
            }
            self.remove_thread(tid);
        }
        let mut child = Thread {
            tid,
            pid: record.param(4).i64().unwrap_or(-1),
            ptid: record.param(5).i64().unwrap_or(-1),
            flags: record.param(15).u32().unwrap_or(0) | flag::INVERTED,
            ..Thread::default()
        };
        (child.vtid, child.vpid) = virtual_ids(record, tid);
        let is_leader = child.flags & flag::THREAD == 0;
        // A thread's data are its leader's, a process's its parent's.
        let model_tid = if is_leader { child.ptid } else { child.pid };
        if !is_leader {
            child.flags |= flag::FILES;
        }
        self.ensure_thread(model_tid, record.time_ns);
        let Some(model) = self.threads.get(&model_tid) else { return };
        let valid = !model.is_invalid();
        child.origin = if is_leader { model.pid } else { model.origin };
        if valid {
            child.inherit(model);
            child.cgroup_id = model.cgroup_id;
            child.container.clone_from(&model.container);
            child.container_id = Arc::clone(&model.container_id);
            if is_leader {
                self.share(model, &mut child);
            } else {
                child.executed_ns = model.executed_ns;
            }
        }
        read_clone(record, &mut child);
        if !valid && !is_leader {
            self.complete_leader(model_tid, &child);
        }
        if child.flags & (flag::IN_PIDNS | flag::NEWPID) != 0 || child.tid != child.vtid {
            if let Some(start) = record.param(20).u64() {
                child.pidns_start_ns = start.saturating_add(self.machine.boot_ns);
            }
        } else {
            child.pidns_start_ns = self.machine.boot_ns;
        }
        if let Some(trailer) = record.trailer {
            child.cgroup_id = trailer.cgroup_id;
            child.start_boottime_ns = trailer.start_boottime_ns;
        }
        self.add_thread(child, true);
    }

    fn complete_leader(&mut self, tid: i64, child: &Thread) {
        if let Some(leader) = self.threads.get_mut(&tid) {
            leader.pid = child.pid;
            leader.ptid = child.ptid;
            leader.origin = child.ptid;
            leader.vpid = child.vpid;
            leader.vtid = child.vpid;
        }
        self.link(tid);
        self.tell_caller(tid, child);
    }

    pub(crate) fn on_exec(&mut self, record: &Record<'_>, touched: &mut Touched) {
        if record.result().is_none_or(|result| result < 0) {
            return;
        }
        let enter = self.enter_of(record);
        let tid = record.tid;
        self.revive(tid);
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        thread.exe = record.param(1).text().into();
        thread.executed_ns = record.time_ns;
        let comm = record.param(13);
        thread.comm = if comm.is_empty() { Arc::clone(&thread.exe) } else { comm.text().into() };
        thread.set_args(record.param(2).list());
        thread.pid = record.param(4).i64().unwrap_or(thread.pid);
        if thread.is_invalid() {
            thread.ptid = record.param(5).i64().unwrap_or(-1);
            thread.origin = thread.ptid;
            if thread.flags & flag::IN_PIDNS == 0 {
                thread.vtid = thread.tid;
                thread.vpid = thread.pid;
            }
            self.link(tid);
        }
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        read_resources(record, thread);
        if !record.param(15).is_empty() {
            thread.env = record.param(15).list().into();
        }
        if let Some(tty) = record.param(16).u32() {
            thread.tty = tty;
        }
        if record.param(27).is_empty() {
            self.exec_path_of_enter(record, enter.as_deref(), touched);
        } else {
            thread.set_exe_path(record.param(27).text());
        }
        if let Some(thread) = self.threads.get_mut(&tid) {
            read_program(record, thread);
        }
        self.note_cwd(record);
        self.learn_accounts(tid);
        if let Some(fds) = self.fds_mut(tid) {
            fds.retain(|_, fd| !fd.closes_on_exec());
        }
        if let Some(thread) = self.threads.get_mut(&tid) {
            let kept = flag::PIPE_SOURCE | flag::PIPE_DEST | flag::MAIN | flag::INVERTED;
            thread.flags = thread.flags & kept | flag::ACTIVE | flag::NAME_CHANGED;
        }
        self.remove_siblings(tid);
        self.identify(tid, record.time_ns);
    }

    /// A main thread that had exited lives again when another of its threads executes.
    fn revive(&mut self, tid: i64) {
        let Some(thread) = self.threads.get_mut(&tid).filter(|thread| thread.is_dead()) else {
            return;
        };
        thread.flags &= !flag::CLOSED;
        let pid = thread.pid;
        if let Some(group) = self.groups.get_mut(&pid) {
            group.n_alive += 1;
        }
    }

    /// Live records say the working folder; captures of Falco's leave it empty.
    fn note_cwd(&mut self, record: &Record<'_>) {
        let cwd = record.param(6).text();
        if record.trailer.is_some() && cwd.first() == Some(&b'/') {
            self.change_cwd(record.tid, cwd);
        }
    }

    fn remove_siblings(&mut self, tid: i64) {
        let Some(pid) = self.threads.get(&tid).map(|thread| thread.pid) else { return };
        let Some(group) = self.groups.get(&pid).filter(|group| group.n_alive > 1) else { return };
        for member in group.threads.clone() {
            let is_main = self.threads.get(&member).is_none_or(Thread::is_main);
            if member != tid && !is_main {
                self.remove_thread(member);
            }
        }
    }

    /// The program's path from the arguments of the call, when the kernel did not say it.
    fn exec_path_of_enter(
        &mut self,
        record: &Record<'_>,
        enter: Option<&[u8]>,
        touched: &mut Touched,
    ) {
        let Some(enter) = enter.and_then(|bytes| Record::decode(bytes).ok()) else { return };
        let Some(thread) = self.threads.get(&record.tid) else { return };
        let path = if enter.number() == EXECVE_19_E {
            let name = enter.param(0).text();
            if name == NOT_AVAILABLE { name.to_vec() } else { join_path(self.cwd_of(thread), name) }
        } else {
            let dirfd = enter.param(0).i64().unwrap_or(-1);
            let name = enter.param(1).text();
            let flags = enter.param(2).u32().unwrap_or(0);
            let folder = self.folder_of(record.tid, name, dirfd);
            if &*folder != b"." && &*folder != super::apply_file::UNKNOWN_FOLDER {
                touched.fd = self.fd(record.tid, dirfd).map(|_| dirfd);
            }
            let empty = flags & AT_EMPTY_PATH != 0;
            if (!empty && name == NOT_AVAILABLE) || &*folder == super::apply_file::UNKNOWN_FOLDER {
                NOT_AVAILABLE.to_vec()
            } else if empty {
                join_path(b"", &folder)
            } else {
                join_path(&folder, name)
            }
        };
        if let Some(thread) = self.threads.get_mut(&record.tid) {
            thread.set_exe_path(&path);
        }
    }

    pub(crate) fn on_exit(&mut self, record: &Record<'_>) {
        let tid = record.tid;
        if !self.threads.contains_key(&tid) {
            return;
        }
        self.mark_dead(tid);
        self.exit_after_event(tid);
        if let Some(thread) = self.threads.get_mut(&tid)
            && !thread.children.is_empty()
        {
            thread.reaper = record.param(4).i64().unwrap_or(-1);
        }
    }

    /// Events that change credentials, limits, memory and what the sensor itself reports.
    pub(crate) fn parse_credentials(&mut self, record: &Record<'_>) {
        let succeeded = record.result() == Some(0);
        let not_failed = record.result().is_some_and(|result| result >= 0);
        match record.number() {
            SETRESUID_X | SETREUID_X if succeeded => self.set_uid(record, 2),
            SETUID_X if succeeded => self.set_uid(record, 1),
            SETRESGID_X | SETREGID_X if succeeded => self.set_gid(record, 2),
            SETGID_X if succeeded => self.set_gid(record, 1),
            SETSID_X if not_failed => {
                if let (Some(thread), Some(sid)) =
                    (self.threads.get_mut(&record.tid), record.result())
                {
                    thread.sid = sid;
                }
            }
            CAPSET_X if not_failed => {
                if let Some(thread) = self.threads.get_mut(&record.tid) {
                    thread.cap_inheritable = record.param(1).u64().unwrap_or(0);
                    thread.cap_permitted = record.param(2).u64().unwrap_or(0);
                    thread.cap_effective = record.param(3).u64().unwrap_or(0);
                }
            }
            UNSHARE_X if not_failed => self.enter_userns(record, 1),
            SETNS_X if not_failed => self.enter_userns(record, 2),
            CHROOT_X if succeeded => self.on_chroot(record),
            PRCTL_X if not_failed => self.on_prctl(record),
            GETRLIMIT_X | SETRLIMIT_X if not_failed => self.on_rlimit(record, record.tid, 3, 1),
            PRLIMIT_X if succeeded => {
                let tid = record.param(5).i64().unwrap_or(-1);
                self.on_rlimit(record, if tid == 0 { record.tid } else { tid }, 6, 1);
            }
            SCHEDSWITCH_6_E => self.on_switch(record),
            PROCINFO_E => self.on_statistics(record),
            BRK_4_X | MMAP_X | MMAP2_X | MUNMAP_X => self.on_memory(record),
            USER_ADDED_E | USER_DELETED_E | GROUP_ADDED_E | GROUP_DELETED_E => {
                self.on_account(record);
            }
            CONTAINER_E | CONTAINER_JSON_E | CONTAINER_JSON_2_E | ASYNCEVENT_E => {
                self.on_container(record);
            }
            _ => {}
        }
    }

    fn set_uid(&mut self, record: &Record<'_>, index: usize) {
        if let (Some(thread), Some(uid)) =
            (self.threads.get_mut(&record.tid), record.param(index).u32())
        {
            thread.uid = uid;
        }
    }

    fn set_gid(&mut self, record: &Record<'_>, index: usize) {
        if let (Some(thread), Some(gid)) =
            (self.threads.get_mut(&record.tid), record.param(index).u32())
        {
            thread.gid = gid;
        }
    }

    /// Whoever enters a user namespace has all capabilities there.
    fn enter_userns(&mut self, record: &Record<'_>, index: usize) {
        if record.param(index).u32().unwrap_or(0) & flag::NEWUSER == 0 {
            return;
        }
        if let Some(thread) = self.threads.get_mut(&record.tid) {
            thread.cap_inheritable = ALL_CAPABILITIES;
            thread.cap_permitted = ALL_CAPABILITIES;
            thread.cap_effective = ALL_CAPABILITIES;
        }
    }

    fn on_chroot(&mut self, record: &Record<'_>) {
        let Some(thread) = self.threads.get(&record.tid) else { return };
        let path = record.param(1).text();
        let root = if path.first() == Some(&b'/') {
            path.to_vec()
        } else {
            join_path(self.cwd_of(thread), path)
        };
        if let Some(thread) = self.threads.get_mut(&record.tid) {
            thread.root = root.into();
        }
        self.identify(record.tid, record.time_ns);
    }

    /// A process may declare itself the reaper of its orphaned descendants.
    fn on_prctl(&mut self, record: &Record<'_>) {
        const SET_CHILD_SUBREAPER: u32 = 36;
        const GET_CHILD_SUBREAPER: u32 = 37;
        let option = record.param(1).u32();
        if !matches!(option, Some(SET_CHILD_SUBREAPER | GET_CHILD_SUBREAPER)) {
            return;
        }
        let Some(thread) = self.threads.get(&record.tid).filter(|thread| !thread.is_invalid())
        else {
            return;
        };
        if let Some(group) = self.groups.get_mut(&thread.pid) {
            group.is_reaper = record.param(3).i64().is_some_and(|value| value != 0);
        }
    }

    fn on_rlimit(&mut self, record: &Record<'_>, tid: i64, resource: usize, value: usize) {
        const NOFILE: u8 = 7;
        if record.param(resource).u8() != Some(NOFILE) {
            return;
        }
        let Some(limit) = record.param(value).i64().filter(|limit| *limit != -1) else { return };
        if let Some(main) = self.main_tid(tid)
            && let Some(main) = self.threads.get_mut(&main)
        {
            main.fd_limit = limit;
        }
    }

    fn on_switch(&mut self, record: &Record<'_>) {
        let Some(swap) = record.param(5).u32() else { return };
        let Some(thread) = self.threads.get_mut(&record.tid) else { return };
        thread.faults = [1, 2].map(|index| record.param(index).u64().unwrap_or(0));
        if let Some(main) = self.main_tid(record.tid)
            && let Some(main) = self.threads.get_mut(&main)
        {
            let size = record.param(3).u32().unwrap_or(0);
            main.memory_kib = [size, record.param(4).u32().unwrap_or(0), swap];
        }
    }

    fn on_statistics(&mut self, record: &Record<'_>) {
        if let Some(thread) = self.threads.get_mut(&record.tid) {
            let times = thread.cpu_times.get_or_insert_default();
            times.before = times.now;
            times.now = [0, 1].map(|index| record.param(index).u64().unwrap_or(0));
        }
    }

    fn on_memory(&mut self, record: &Record<'_>) {
        let Some(thread) = self.threads.get_mut(&record.tid) else { return };
        if let Some(size) = record.param(1).u32() {
            thread.memory_kib[0] = size;
        }
        if let (Some(resident), Some(swap)) = (record.param(2).u32(), record.param(3).u32()) {
            thread.memory_kib[1] = resident;
            thread.memory_kib[2] = swap;
        }
    }

    fn on_account(&mut self, record: &Record<'_>) {
        let id = record.param(0).u32().unwrap_or(NO_ID);
        match record.number() {
            USER_ADDED_E => self.accounts.add_user(
                record.param(5).text_or_empty(),
                id,
                record.param(2).text(),
                record.param(3).text(),
                record.param(4).text(),
            ),
            USER_DELETED_E => self.accounts.remove_user(record.param(5).text_or_empty(), id),
            GROUP_ADDED_E => {
                let container = record.param(2).text_or_empty();
                self.accounts.add_group(container, id, record.param(1).text());
            }
            _ => self.accounts.remove_group(record.param(2).text_or_empty(), id),
        }
    }

    /// Descriptions of containers inside captures.
    fn on_container(&mut self, record: &Record<'_>) {
        let json = match record.number() {
            CONTAINER_JSON_E | CONTAINER_JSON_2_E => record.param(0).text(),
            ASYNCEVENT_E => {
                let removes = record.param(1).text() == b"container_removed";
                if !removes && record.param(1).text() != b"container" {
                    return;
                }
                let json = crate::record::until_nul(record.param(2).bytes);
                if removes {
                    if let Some(facts) = Facts::from_capture_json(json) {
                        self.remove_container(facts.id.as_bytes());
                        self.described = Some(Arc::new(facts));
                    }
                    return;
                }
                json
            }
            _ => return,
        };
        match Facts::from_capture_json(json) {
            Some(facts) => self.described = self.add_container(facts),
            None => self.count_bad_container(),
        }
    }
}

fn virtual_ids(record: &Record<'_>, tid: i64) -> (i64, i64) {
    match record.param(19).i64() {
        Some(vpid) => (record.param(18).i64().unwrap_or(tid), vpid),
        None => (tid, -1),
    }
}

/// The parameters that the returns of a clone in parent and child share.
fn read_clone(record: &Record<'_>, child: &mut Thread) {
    child.exe = record.param(1).text().into();
    let comm = record.param(13);
    child.comm = if comm.is_empty() { Arc::clone(&child.exe) } else { comm.text().into() };
    child.set_args(record.param(2).list());
    read_resources(record, child);
    child.uid = record.param(16).u32().unwrap_or(NO_ID);
    child.gid = record.param(17).u32().unwrap_or(NO_ID);
    child.cloned_ns = record.time_ns;
}

/// Limits, memory and control groups, which clone and exec have at the same places.
fn read_resources(record: &Record<'_>, thread: &mut Thread) {
    if let Some(limit) = record.param(7).i64() {
        thread.fd_limit = limit;
    }
    if let Some(swap) = record.param(12).u32() {
        thread.faults = [8, 9].map(|index| record.param(index).u64().unwrap_or(0));
        let [size, resident] = [10, 11].map(|index| record.param(index).u32().unwrap_or(0));
        thread.memory_kib = [size, resident, swap];
    }
    let cgroups = record.param(14);
    if !cgroups.is_empty() && *thread.cgroups != *cgroups.list() {
        thread.cgroups = cgroups.list().into();
    }
}

/// What an exec says of the program and the credentials.
fn read_program(record: &Record<'_>, thread: &mut Thread) {
    const WRITABLE: u32 = 1;
    const UPPER_LAYER: u32 = 1 << 1;
    const FROM_MEMFD: u32 = 1 << 2;
    const LOWER_LAYER: u32 = 1 << 3;
    if let Some(vpgid) = record.param(17).i64() {
        thread.vpgid = vpgid;
    }
    if let Some(loginuid) = record.param(18).u32() {
        thread.loginuid = loginuid;
    }
    if let Some(flags) = record.param(19).u32() {
        thread.exe_writable = flags & WRITABLE != 0;
        thread.exe_upper_layer = flags & UPPER_LAYER != 0;
        thread.exe_from_memfd = flags & FROM_MEMFD != 0;
        thread.exe_lower_layer = flags & LOWER_LAYER != 0;
    }
    if let Some(effective) = record.param(22).u64() {
        thread.cap_inheritable = record.param(20).u64().unwrap_or(0);
        thread.cap_permitted = record.param(21).u64().unwrap_or(0);
        thread.cap_effective = effective;
    }
    if let Some(mtime) = record.param(25).u64() {
        thread.exe_ino = record.param(23).u64().unwrap_or(0);
        thread.exe_ctime_ns = record.param(24).u64().unwrap_or(0);
        thread.exe_mtime_ns = mtime;
        if thread.cloned_ns != 0 {
            // Wraps when the file is younger than the process, as Falco's value does.
            thread.exe_ctime_to_clone_ns = thread.cloned_ns.wrapping_sub(thread.exe_ctime_ns);
        }
        if thread.pidns_start_ns != 0 && thread.exe_ctime_ns > thread.pidns_start_ns {
            thread.exe_ctime_to_pidns_ns = thread.exe_ctime_ns - thread.pidns_start_ns;
        }
    }
    if let Some(uid) = record.param(26).u32() {
        thread.uid = uid;
    }
    thread.pgid = record.param(28).i64().unwrap_or(-1);
    if let Some(gid) = record.param(29).u32() {
        thread.gid = gid;
    }
}
