//! What is known of the machine's processes, and how events change it.
//!
//! One owner holds everything; nothing is locked. Each table has a maximum, and what does
//! not fit is counted. The rules by which events change the state are those of Falco's
//! libraries, because rules compare the result; where these libraries keep less than an
//! alert needs (the ancestors of an orphan), the state keeps more beside it.

mod apply;
pub(crate) mod apply_file;
mod apply_process;
pub(crate) mod apply_socket;
pub mod fd;
mod lineage;
mod observe;
pub mod proc_scan;
pub mod resync;
mod snapshot;
pub(crate) mod thread;
pub mod users;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub use fd::{Ends, Fd, FdKind, FdTable, Role, Text, Transport};
pub use observe::{OBSERVATIONS_MAX, Observation};
pub use palisade_base::text::Address;
pub(crate) use snapshot::{Header, Part, code_thread};
pub use thread::{NO_ID, Thread};
use users::ContainerAccounts;
pub use users::{Accounts, Interfaces, User};

use crate::identity::{Facts, Resolver};
use fd::NumberMap;
use lineage::Graveyard;
use thread::{Group, flag};

/// Threads that are kept.
pub const THREADS_MAX: usize = 262_144;

/// Descriptions of containers that are kept from a capture.
pub const CONTAINERS_MAX: usize = 16_384;

/// Control groups whose container is remembered; beyond it they are looked at anew.
pub const IDENTITIES_MAX: usize = 4096;

/// Exits that are remembered, so that the late return of a clone does not bring a dead
/// child back.
const RECENT_EXITS_MAX: usize = 8192;

/// How long an exit is remembered.
const RECENT_EXIT_NS: u64 = 2_000_000_000;

/// Links of an ancestry that are followed.
pub const ANCESTORS_MAX: usize = 128;

/// Facts of the machine on which the events happened.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Its name.
    pub hostname: String,
    /// When it booted, nanoseconds since the epoch.
    pub boot_ns: u64,
}

/// What was dropped or could not be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Threads that did not fit into the table.
    pub n_threads_refused: u64,
    /// Threads removed to make room.
    pub n_threads_evicted: u64,
    /// Threads of which only the number became known.
    pub n_threads_unknown: u64,
    /// Threads that were looked up in `/proc`.
    pub n_threads_scanned: u64,
    /// Descriptors that did not fit into their process's table.
    pub n_fds_refused: u64,
    /// Descriptions of containers that did not fit or could not be read.
    pub n_containers_refused: u64,
    /// Tables of descriptors that were read again after a loss.
    pub n_fd_tables_reread: u64,
}

/// How the state follows a live system; absent for captures.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) resolver: Resolver,
    /// Look-ups in `/proc` that are still allowed in this second, and when it ends.
    pub(crate) lookups_left: u32,
    pub(crate) lookups_until_ns: u64,
}

/// What one event did and which descriptor it is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Touched {
    /// The descriptor, if it is known.
    pub(crate) fd: Option<i64>,
    /// Whether the event gave it another name.
    pub(crate) name_changed: bool,
}

/// The state.
#[derive(Debug)]
pub struct State {
    pub(crate) threads: NumberMap<i64, Thread>,
    pub(crate) groups: NumberMap<i64, Group>,
    /// Users and groups.
    pub accounts: Accounts,
    /// Addresses of the machine.
    pub interfaces: Interfaces,
    /// The machine.
    pub machine: Machine,
    pub(crate) containers: HashMap<Text, Arc<Facts>>,
    pub(crate) host: Arc<Facts>,
    /// Control groups of which a capture's threads were asked already, and the container
    /// that each belongs to.
    identities: HashMap<Text, Text>,
    /// The container that the event at hand describes.
    pub(crate) described: Option<Arc<Facts>>,
    pub(crate) graveyard: Graveyard,
    pub(crate) live: Option<Live>,
    /// What a recorder or a replay has to do with answers from outside.
    outside: observe::Outside,
    counters: Counters,
    recent_exits: VecDeque<(i64, i64, u64)>,
    recent_exit_keys: HashSet<(i64, i64)>,
    /// Listening ports seen while the initial state was read.
    server_ports: HashSet<u16>,
    /// Work that waits until the event at hand has been looked at.
    pending_exit: Option<i64>,
    pending_close: Option<(i64, i64)>,
    threads_max: usize,
    /// A verification under way.
    resync: Option<resync::Resync>,
    /// Processes whose descriptors are to be read again when they are next heard of.
    fds_unknown: HashSet<i64>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// An empty state, for a capture.
    pub fn new() -> Self {
        Self {
            threads: NumberMap::default(),
            groups: NumberMap::default(),
            accounts: Accounts::default(),
            interfaces: Interfaces::default(),
            machine: Machine::default(),
            containers: HashMap::new(),
            host: Arc::new(Facts::host()),
            identities: HashMap::new(),
            described: None,
            graveyard: Graveyard::default(),
            live: None,
            outside: observe::Outside::default(),
            counters: Counters::default(),
            recent_exits: VecDeque::new(),
            recent_exit_keys: HashSet::new(),
            server_ports: HashSet::new(),
            pending_exit: None,
            pending_close: None,
            threads_max: THREADS_MAX,
            resync: None,
            fds_unknown: HashSet::new(),
        }
    }

    /// Limits the thread table to fewer than [`THREADS_MAX`].
    #[must_use]
    pub fn with_threads_max(mut self, threads_max: usize) -> Self {
        self.threads_max = threads_max.clamp(1, THREADS_MAX);
        self
    }

    /// What was dropped or could not be kept.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the container resolver of a live state did.
    pub fn resolver_counters(&self) -> Option<crate::identity::ResolverCounters> {
        self.live.as_ref().map(|live| live.resolver.counters())
    }

    /// Every thread.
    pub fn threads(&self) -> impl Iterator<Item = &Thread> {
        self.threads.values()
    }

    /// The container of a thread; none for the host.
    pub fn container_of(&self, thread: &Thread) -> Option<Arc<palisade_model::Container>> {
        let facts = self.facts_of(thread)?;
        (!facts.is_host()).then(|| Arc::clone(&facts.container))
    }

    /// Entries of the resolver's memory of control groups, its bound, and how many it gave up.
    pub fn identity_table(&self) -> Option<(usize, usize, u64)> {
        self.live.as_ref().map(|live| live.resolver.table())
    }

    /// Number of threads in the table.
    pub fn n_threads(&self) -> usize {
        self.threads.len()
    }

    /// A thread by its number on the host.
    pub fn thread(&self, tid: i64) -> Option<&Thread> {
        self.threads.get(&tid)
    }

    /// The main thread of a thread's process.
    pub fn main_of<'s>(&'s self, thread: &'s Thread) -> Option<&'s Thread> {
        if thread.is_main() {
            return Some(thread);
        }
        let first = self.groups.get(&thread.pid)?.threads.first()?;
        self.threads.get(first).filter(|first| first.is_main())
    }

    pub(crate) fn main_tid(&self, tid: i64) -> Option<i64> {
        self.main_of(self.threads.get(&tid)?).map(|main| main.tid)
    }

    /// The process `distance` links up: 0 is the thread's own process, 1 its parent.
    pub fn ancestor<'s>(&'s self, thread: &'s Thread, distance: usize) -> Option<&'s Thread> {
        let mut current = self.main_of(thread)?;
        for _ in 0..distance.min(ANCESTORS_MAX) {
            current = self.main_of(self.threads.get(&current.ptid)?)?;
        }
        (distance <= ANCESTORS_MAX).then_some(current)
    }

    /// The threads that are a thread's parent, its parent's parent and so on.
    pub fn parents<'s>(&'s self, thread: &'s Thread) -> impl Iterator<Item = &'s Thread> {
        let first = self.threads.get(&thread.ptid);
        std::iter::successors(first, |current| {
            if current.ptid == current.tid { None } else { self.threads.get(&current.ptid) }
        })
        .take(ANCESTORS_MAX)
    }

    /// The descriptors of a thread's process.
    pub fn fds_of<'s>(&'s self, thread: &'s Thread) -> Option<&'s FdTable> {
        if thread.flags & flag::FILES == 0 {
            return Some(&thread.fds);
        }
        self.main_of(thread).map(|main| &main.fds)
    }

    pub(crate) fn fds_mut(&mut self, tid: i64) -> Option<&mut FdTable> {
        let thread = self.threads.get(&tid)?;
        let owner = if thread.flags & flag::FILES == 0 { tid } else { self.main_tid(tid)? };
        self.threads.get_mut(&owner).map(|owner| &mut owner.fds)
    }

    pub(crate) fn fd(&self, tid: i64, fd: i64) -> Option<&Fd> {
        self.fds_of(self.threads.get(&tid)?)?.get(fd)
    }

    /// Puts a descriptor into a thread's process and makes it the event's.
    pub(crate) fn add_fd(&mut self, tid: i64, fd: i64, entry: Fd) -> Option<i64> {
        let inserted = self.fds_mut(tid)?.insert(fd, entry);
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.last_fd = fd;
        }
        if !inserted {
            self.counters.n_fds_refused += 1;
            return None;
        }
        Some(fd)
    }

    /// The working folder of a thread's process.
    pub fn cwd_of<'s>(&'s self, thread: &'s Thread) -> &'s [u8] {
        self.main_of(thread).map_or(b"./", |main| &main.cwd)
    }

    /// The environment of a thread's process.
    pub fn env_of<'s>(&'s self, thread: &'s Thread) -> &'s Thread {
        self.main_of(thread).unwrap_or(thread)
    }

    /// What rules may ask of a thread's container. On the host these are the host's
    /// facts; a container of which only the id is known has none.
    pub fn facts_of<'s>(&'s self, thread: &'s Thread) -> Option<&'s Arc<Facts>> {
        if let Some(facts) = &thread.container {
            return Some(facts);
        }
        if thread.container_id.is_empty() {
            return Some(&self.host);
        }
        self.containers.get(&thread.container_id)
    }

    /// Remembers a container that a capture describes.
    pub(crate) fn add_container(&mut self, facts: Facts) -> Option<Arc<Facts>> {
        let id: Text = facts.id.as_bytes().into();
        if self.containers.len() >= CONTAINERS_MAX && !self.containers.contains_key(&id) {
            self.counters.n_containers_refused += 1;
            return None;
        }
        let facts = Arc::new(facts);
        self.containers.insert(id, Arc::clone(&facts));
        Some(facts)
    }

    /// The containers that are known: those a capture described, or those of the threads.
    pub fn known_containers(&self) -> Vec<Arc<Facts>> {
        let mut known: Vec<_> = self.containers.values().cloned().collect();
        let mut seen: HashSet<String> = known.iter().map(|facts| facts.id.clone()).collect();
        for facts in self.threads.values().filter_map(|thread| thread.container.as_ref()) {
            if seen.insert(facts.id.clone()) {
                known.push(Arc::clone(facts));
            }
        }
        known
    }

    /// The containers of the threads, with one process of each.
    pub fn running_containers(&self) -> Vec<(Arc<Facts>, u32)> {
        let mut seen: HashSet<&str> = HashSet::new();
        let mut found = Vec::new();
        for thread in self.threads.values().filter(|thread| !thread.is_dead()) {
            let Some(facts) = thread.container.as_ref().filter(|facts| !facts.is_host()) else {
                continue;
            };
            if let Ok(pid) = u32::try_from(thread.pid)
                && seen.insert(&facts.full_id)
            {
                found.push((Arc::clone(facts), pid));
            }
        }
        found
    }

    pub(crate) fn count_bad_container(&mut self) {
        self.counters.n_containers_refused += 1;
    }

    pub(crate) fn remove_container(&mut self, id: &[u8]) {
        self.containers.remove(id);
    }

    /// Puts a thread into the table; false when it does not fit.
    pub(crate) fn add_thread(&mut self, thread: Thread, link: bool) -> bool {
        let tid = thread.tid;
        if self.threads.len() >= self.threads_max && !self.threads.contains_key(&tid) {
            self.evict();
            if self.threads.len() >= self.threads_max {
                self.counters.n_threads_refused += 1;
                return false;
            }
        }
        // A thread with this number may be left from a missed exit; its group forgets it.
        if self.threads.contains_key(&tid) && link {
            self.forget_member(tid);
        }
        self.threads.insert(tid, thread);
        if link {
            self.link(tid);
        }
        true
    }

    fn forget_member(&mut self, tid: i64) {
        let Some(pid) = self.threads.get(&tid).map(|thread| thread.pid) else { return };
        if let Some(group) = self.groups.get_mut(&pid) {
            let before = group.threads.len();
            group.threads.retain(|member| *member != tid);
            group.n_alive = group.n_alive.saturating_sub((before - group.threads.len()) as u64);
            if group.threads.is_empty() {
                self.groups.remove(&pid);
            }
        }
    }

    /// Removes threads of which nothing is known and those that are dead, to make room.
    fn evict(&mut self) {
        let before = self.threads.len();
        let doomed: Vec<i64> = self
            .threads
            .values()
            .filter(|thread| thread.is_invalid() || thread.is_dead() || self.is_gone(thread))
            .map(|thread| thread.tid)
            .collect();
        for tid in doomed {
            self.remove_thread(tid);
        }
        self.counters.n_threads_evicted += (before - self.threads.len()) as u64;
    }

    fn is_gone(&self, thread: &Thread) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| !live.resolver.paths().proc.join(thread.tid.to_string()).exists())
    }

    /// Places a thread into its process and under its parent.
    pub(crate) fn link(&mut self, tid: i64) {
        let Some(thread) = self.threads.get(&tid) else { return };
        if thread.is_invalid() {
            return;
        }
        let (pid, ptid, vpid, is_main) = (thread.pid, thread.ptid, thread.vpid, thread.is_main());
        let group = self
            .groups
            .entry(pid)
            .or_insert_with(|| Group { is_reaper: pid == 1 || vpid == 1, ..Group::default() });
        if group.threads.contains(&tid) {
            return;
        }
        if is_main {
            group.threads.insert(0, tid);
        } else {
            group.threads.push(tid);
        }
        group.n_alive += 1;
        if pid == 1 {
            return;
        }
        let has_parent =
            ptid != tid && self.threads.get(&ptid).is_some_and(|parent| !parent.is_invalid());
        if has_parent {
            if let Some(parent) = self.threads.get_mut(&ptid) {
                parent.children.push(tid);
            }
        } else if let Some(thread) = self.threads.get_mut(&tid) {
            thread.ptid = 0;
        }
    }

    fn is_linked(&self, thread: &Thread) -> bool {
        self.groups.get(&thread.pid).is_some_and(|group| group.threads.contains(&thread.tid))
    }

    pub(crate) fn mark_dead(&mut self, tid: i64) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let was_dead = thread.is_dead();
        thread.flags |= flag::CLOSED;
        let pid = thread.pid;
        if !was_dead && let Some(group) = self.groups.get_mut(&pid) {
            group.n_alive = group.n_alive.saturating_sub(1);
        }
    }

    /// Removes a thread; its children pass to their reaper, and a main thread stays until
    /// the last of its process is gone.
    pub(crate) fn remove_thread(&mut self, tid: i64) {
        self.fds_unknown.remove(&tid);
        let Some(thread) = self.threads.get(&tid) else { return };
        if thread.is_invalid() || !self.is_linked(thread) {
            self.threads.remove(&tid);
            return;
        }
        let (pid, is_main) = (thread.pid, thread.is_main());
        self.mark_dead(tid);
        self.pass_children(tid);
        let n_alive = self.groups.get(&pid).map_or(0, |group| group.n_alive);
        if n_alive == 0 {
            self.groups.remove(&pid);
            self.threads.remove(&pid);
        }
        if !is_main {
            self.threads.remove(&tid);
            if let Some(group) = self.groups.get_mut(&pid) {
                group.threads.retain(|member| *member != tid);
            }
        }
    }

    fn pass_children(&mut self, tid: i64) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let (children, told) = (std::mem::take(&mut thread.children), thread.reaper);
        if children.is_empty() {
            return;
        }
        let told = Some(told).filter(|reaper| {
            *reaper > 0
                && *reaper != tid
                && self.threads.get(reaper).is_some_and(|reaper| !reaper.is_invalid())
        });
        let reaper = told.or_else(|| self.find_reaper(tid));
        if let Some(reaper) = reaper {
            let own_pid = self.threads.get(&tid).map(|thread| thread.pid);
            let reaper_pid = self.threads.get(&reaper).map(|thread| thread.pid);
            if own_pid != reaper_pid
                && let Some(group) = reaper_pid.and_then(|pid| self.groups.get_mut(&pid))
            {
                group.is_reaper = true;
            }
        }
        for child in children {
            if let Some(child) = self.threads.get_mut(&child)
                && child.ptid == tid
            {
                child.ptid = reaper.unwrap_or(0);
                let child = child.tid;
                if let Some(reaper) = reaper.and_then(|reaper| self.threads.get_mut(&reaper)) {
                    reaper.children.push(child);
                }
            }
        }
    }

    /// Another living thread of the process, or a living one of the nearest ancestor that
    /// adopts orphans, in the same process namespace.
    fn find_reaper(&self, tid: i64) -> Option<i64> {
        let thread = self.threads.get(&tid)?;
        let living = |group: &Group| {
            group.threads.iter().copied().find(|member| {
                *member != tid && self.threads.get(member).is_some_and(|member| !member.is_dead())
            })
        };
        if let Some(sibling) = self.groups.get(&thread.pid).and_then(living) {
            return Some(sibling);
        }
        for parent in self.parents(thread) {
            if parent.is_in_pidns() != thread.is_in_pidns() {
                return None;
            }
            let group = self.groups.get(&parent.pid).filter(|group| group.is_reaper);
            if let Some(reaper) = group.and_then(living) {
                return Some(reaper);
            }
        }
        None
    }

    fn remember_exit(&mut self, tid: i64, ptid: i64, time_ns: u64) {
        if self.recent_exits.len() >= RECENT_EXITS_MAX
            && let Some((tid, ptid, _)) = self.recent_exits.pop_front()
        {
            self.recent_exit_keys.remove(&(tid, ptid));
        }
        self.recent_exits.push_back((tid, ptid, time_ns));
        self.recent_exit_keys.insert((tid, ptid));
    }

    pub(crate) fn exited_recently(&self, tid: i64, ptid: i64, time_ns: u64) -> bool {
        self.recent_exit_keys.contains(&(tid, ptid))
            && self.recent_exits.iter().rev().any(|(exited, parent, at)| {
                (*exited, *parent) == (tid, ptid) && time_ns >= *at && time_ns - at < RECENT_EXIT_NS
            })
    }

    /// To be called when the initial threads and descriptors are all there: places them
    /// and finds out which ends of their connections they are.
    pub fn finish_initial(&mut self) {
        let tids: Vec<i64> = self.threads.keys().copied().collect();
        for tid in &tids {
            self.link(*tid);
        }
        let ports = std::mem::take(&mut self.server_ports);
        for thread in self.threads.values_mut() {
            if thread.fds.is_empty() {
                continue;
            }
            thread.fds.for_each_mut(|_, fd| {
                if fd.kind != FdKind::Ipv4Socket {
                    return;
                }
                if ports.contains(&fd.ends.source_port) {
                    fd.ends.swap();
                    fd.set_name(fd::format_ends(&fd.ends).as_bytes());
                    fd.role = Role::Server;
                } else {
                    fd.role = Role::Client;
                }
            });
        }
        for tid in tids {
            self.identify(tid, 0);
            self.learn_accounts(tid);
        }
    }

    /// Adds a thread of the initial state.
    pub fn add_initial_thread(&mut self, thread: Thread) -> bool {
        let tid = thread.tid;
        self.add_thread(thread, false) && self.threads.contains_key(&tid)
    }

    /// Adds a descriptor of the initial state.
    pub fn add_initial_fd(&mut self, tid: i64, number: i64, mut fd: Fd) {
        match fd.kind {
            FdKind::Ipv4Socket => {
                fd.connected |= fd.transport == Transport::Tcp;
                apply_socket::infer_local(&self.interfaces, &mut fd);
                fd.set_name(fd::format_ends(&fd.ends).as_bytes());
            }
            FdKind::Ipv6Socket => {
                fd.connected |= fd.transport == Transport::Tcp;
                fd.set_name(fd::format_ends(&fd.ends).as_bytes());
            }
            FdKind::Ipv4Server | FdKind::Ipv6Server => {
                self.server_ports.insert(fd.ends.dest_port);
                let name = format!("{}:{}", Address(fd.ends.dest), fd.ends.dest_port);
                fd.set_name(name.as_bytes());
            }
            FdKind::UnixSocket => {
                fd.role = if fd.name.is_none() { Role::Client } else { Role::Server };
            }
            _ => {}
        }
        let inserted =
            self.threads.get_mut(&tid).is_some_and(|thread| thread.fds.insert(number, fd));
        if !inserted {
            self.counters.n_fds_refused += 1;
        }
    }

    /// Finds the container of a thread: in a live system by its control group and the
    /// engines' files, in a capture by its control group's path alone.
    pub(crate) fn identify(&mut self, tid: i64, now_ns: u64) {
        if self.is_given() {
            self.find_given(tid);
            return;
        }
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        if let Some(live) = &mut self.live {
            let facts =
                live.resolver.resolve(thread.cgroup_id, &thread.cgroups, thread.pid, now_ns);
            // The same answer in other memory is no news, and a recording is not to learn of
            // it as of another container.
            if !observe::is_same(thread.container.as_ref(), facts.as_ref()) {
                self.note(|| Observation::Container { tid, facts: facts.clone() });
                self.set_container(tid, facts);
            }
            return;
        }
        if let Some(known) = self.identities.get(&thread.cgroups) {
            thread.container_id = Arc::clone(known);
            return;
        }
        let mut paths = thread::cgroup_entries(&thread.cgroups);
        let found = paths.find_map(|(_, path)| {
            crate::identity::match_cgroup(std::str::from_utf8(path).ok()?)
                .filter(|found| found.certain)
        });
        let id: Text = found.as_ref().map_or("", |found| found.short_id()).as_bytes().into();
        if self.identities.len() >= IDENTITIES_MAX {
            self.identities.clear();
        }
        self.identities.insert(Arc::clone(&thread.cgroups), Arc::clone(&id));
        thread.container_id = id;
    }

    fn set_container(&mut self, tid: i64, facts: Option<Arc<Facts>>) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let id = facts.as_ref().map_or(&b""[..], |facts| facts.id.as_bytes());
        if *thread.container_id != *id {
            thread.container_id = id.into();
        }
        thread.container = facts;
    }

    /// Reads the accounts of a container when a program starts in it and they are not known
    /// yet. The program may have ended by now, so its ancestors in the container are tried
    /// as well.
    pub(crate) fn learn_accounts(&mut self, tid: i64) {
        let Some(live) = &self.live else { return };
        let Some(thread) = self.threads.get(&tid) else { return };
        let container = Arc::clone(&thread.container_id);
        if container.is_empty() || self.accounts.knows(&container) {
            return;
        }
        let proc = &live.resolver.paths().proc;
        let inside = self.parents(thread).take_while(|parent| parent.container_id == container);
        let pids = std::iter::once(thread.pid).chain(inside.map(|parent| parent.pid));
        let found = { pids }.find_map(|pid| ContainerAccounts::read(proc, pid));
        if let Some(found) = found {
            found.add_to(&mut self.accounts, &container);
            self.note(|| Observation::Accounts { container });
        }
    }

    /// Whether an address is the machine's own, seen from a thread.
    pub(crate) fn is_local(&self, thread: &Thread, address: std::net::IpAddr) -> bool {
        if thread.container_id.is_empty() {
            return self.interfaces.holds(address);
        }
        if address.is_ipv6() {
            return false;
        }
        let of_container = self.facts_of(thread).map_or("", |facts| facts.ip.as_str());
        if of_container.is_empty() {
            return self.containers.values().any(|facts| facts.ip.parse() == Ok(address));
        }
        of_container.parse() == Ok(address) || self.interfaces.holds(address)
    }
}
