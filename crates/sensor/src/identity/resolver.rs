//! From a control group to a container, remembered.
//!
//! The answer is found at the first event of a control group and kept by its id, so that
//! it outlives the container's files. A container of which no engine knows anything yet is
//! asked for again after a short while.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Facts;
use super::cgroup::{CgroupMatch, match_cgroup};
use super::engines::{Lookup, look_up};
use crate::state::fd::NumberMap;

/// Control groups that are remembered.
pub(super) const CACHE_MAX: usize = 16_384;

/// How long a control group of the host is believed to be one.
const HOST_NS: u64 = 10_000_000_000;

/// How long nothing is asked after an engine did not know its container: engines write
/// their files before they start it, so the wait is for those that write late.
const RETRY_NS: u64 = 250_000_000;

/// Id of the root of the version 2 tree: its inode (kernel/cgroup/cgroup.c).
const ROOT_GROUP: u64 = 1;

/// Folders of the control group tree that are visited to find an id.
const FOLDERS_MAX: usize = 8192;

/// How `containers/storage` may keep layers.
const STORAGE_DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];

/// Where the host keeps what the sensor reads. Tests point it at fixtures.
#[derive(Debug, Clone)]
pub struct HostPaths {
    /// `/proc`.
    pub proc: PathBuf,
    /// Mount points of the cgroup v2 tree, best first.
    pub cgroup_trees: Vec<PathBuf>,
    /// The host's `passwd(5)`.
    pub passwd: PathBuf,
    /// The host's `group(5)`.
    pub group: PathBuf,
    /// Records of `palisade run`.
    pub palisade_containers: PathBuf,
    /// State folders of runC and of the engines that use it.
    pub runc_states: Vec<PathBuf>,
    /// Docker's containers.
    pub docker_containers: PathBuf,
    /// Lists of `containers/storage`.
    pub podman_lists: Vec<PathBuf>,
    /// containerd's running tasks.
    pub containerd_tasks: PathBuf,
    /// CRI-O's bundles.
    pub crio_bundles: Vec<PathBuf>,
}

impl Default for HostPaths {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl HostPaths {
    /// Where a store of Podman's or CRI-O's lists its containers: in a folder named after the
    /// driver of its layers, those that outlive a restart of the machine and those that do not.
    pub fn podman_lists_of(store: &Path) -> Vec<PathBuf> {
        let folders = STORAGE_DRIVERS.map(|driver| store.join(format!("{driver}-containers")));
        let lists = ["containers.json", "volatile-containers.json"];
        folders.iter().flat_map(|folder| lists.map(|list| folder.join(list))).collect()
    }

    /// The usual places under `root`: `/`, or where the host is mounted.
    pub fn under(root: &Path) -> Self {
        Self {
            proc: root.join("proc"),
            cgroup_trees: vec![root.join("sys/fs/cgroup/unified"), root.join("sys/fs/cgroup")],
            passwd: root.join("etc/passwd"),
            group: root.join("etc/group"),
            palisade_containers: root.join("run/palisade/containers"),
            runc_states: vec![
                root.join("run/runc"),
                root.join("run/palisade/runc"),
                root.join("run/docker/runtime-runc/moby"),
                root.join("run/containerd/runc/default"),
                root.join("run/containerd/runc/k8s.io"),
            ],
            docker_containers: root.join("var/lib/docker/containers"),
            podman_lists: Self::podman_lists_of(&root.join("var/lib/containers/storage")),
            containerd_tasks: root.join("run/containerd/io.containerd.runtime.v2.task"),
            crio_bundles: vec![
                root.join("run/containers/storage/overlay-containers"),
                root.join("var/lib/containers/storage/overlay-containers"),
            ],
        }
    }
}

/// What the resolver did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResolverCounters {
    /// Answers from memory.
    pub n_cached: u64,
    /// Containers found in an engine's files.
    pub n_found: u64,
    /// Containers of which no engine knew anything.
    pub n_unknown: u64,
    /// Files of engines that could not be read.
    pub n_unreadable: u64,
    /// Remembered answers that were given up for new ones.
    pub n_evicted: u64,
}

#[derive(Debug, Clone)]
enum Memory {
    Container(Arc<Facts>),
    /// Only the id is known; ask again after this time.
    Bare(Arc<Facts>, u64),
    /// No container until this time.
    Host(u64),
    /// Nothing said which paths it has; not asked again before this time, unless a record
    /// brings them.
    Nameless(u64),
}

/// Where the paths that decided came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The record: they are those of the task's last exec.
    Record,
    /// The folder that has the group's id as its inode.
    Folder,
    /// `/proc`: where the task is by now.
    Proc,
}

/// What a task's control groups were found to be.
struct Asked {
    paths: Vec<String>,
    /// Those of them that containers have.
    matches: Vec<CgroupMatch>,
    origin: Origin,
    /// Whether the paths are those of the group's id, or there is no id to be mistaken about.
    is_named: bool,
}

/// Finds and remembers containers.
#[derive(Debug)]
pub struct Resolver {
    paths: HostPaths,
    by_cgroup: NumberMap<u64, Memory>,
    by_path: HashMap<Box<[u8]>, Memory>,
    counters: ResolverCounters,
}

impl Resolver {
    /// A resolver that reads below `paths`.
    pub fn new(paths: HostPaths) -> Self {
        Self {
            paths,
            by_cgroup: NumberMap::default(),
            by_path: HashMap::new(),
            counters: ResolverCounters::default(),
        }
    }

    /// Where it reads.
    pub fn paths(&self) -> &HostPaths {
        &self.paths
    }

    /// Entries of the memory of control groups, its bound, and how many answers were given up.
    pub(crate) fn table(&self) -> (usize, usize, u64) {
        (self.by_cgroup.len(), CACHE_MAX, self.counters.n_evicted)
    }

    /// What it did so far.
    pub fn counters(&self) -> ResolverCounters {
        self.counters
    }

    /// The container of a task, `None` on the host.
    ///
    /// `cgroup_id` is the task's cgroup v2 id (0 when unknown), `cgroups` its paths as
    /// `subsystem=path` separated by NULs (empty when unknown), `pid` where to look the
    /// paths up otherwise, `now_ns` the event's time.
    pub fn resolve(
        &mut self,
        cgroup_id: u64,
        cgroups: &[u8],
        pid: i64,
        now_ns: u64,
    ) -> Option<Arc<Facts>> {
        // The root group is the host's alone, or, where containers are placed by version 1
        // hierarchies, everybody's: it says nothing about one task.
        let cgroup_id = if cgroup_id == ROOT_GROUP { 0 } else { cgroup_id };
        let remembered =
            if cgroup_id == 0 { self.by_path.get(cgroups) } else { self.by_cgroup.get(&cgroup_id) };
        match remembered {
            Some(Memory::Container(facts)) => {
                self.counters.n_cached += 1;
                return Some(Arc::clone(facts));
            }
            Some(Memory::Bare(facts, until)) if now_ns < *until => {
                self.counters.n_cached += 1;
                return Some(Arc::clone(facts));
            }
            Some(Memory::Host(until)) if now_ns < *until => {
                self.counters.n_cached += 1;
                return None;
            }
            Some(Memory::Nameless(until)) if now_ns < *until && cgroups.is_empty() => {
                self.counters.n_cached += 1;
                return None;
            }
            _ => {}
        }
        let (memory, origin) = self.look_up(cgroup_id, cgroups, pid, now_ns);
        let answer = match &memory {
            Memory::Container(facts) | Memory::Bare(facts, _) => Some(Arc::clone(facts)),
            Memory::Host(_) | Memory::Nameless(_) => None,
        };
        let is_container = answer.is_some();
        match origin {
            // The task is elsewhere than its record says, so that says nothing of others.
            Origin::Proc if is_container && !cgroups.is_empty() => {}
            // A group that several containers share is no key to one of them.
            Origin::Record
                if answer.as_ref().is_some_and(|facts| !is_own_group(&facts.id, cgroups)) =>
            {
                self.remember(0, cgroups, memory);
            }
            _ => self.remember(cgroup_id, cgroups, memory),
        }
        answer
    }

    fn look_up(
        &mut self,
        cgroup_id: u64,
        cgroups: &[u8],
        pid: i64,
        now_ns: u64,
    ) -> (Memory, Origin) {
        let nameless = Memory::Nameless(now_ns.saturating_add(RETRY_NS));
        let Some(asked) = self.cgroup_paths(cgroup_id, cgroups, pid) else {
            return (nameless, Origin::Record);
        };
        let memory = match self.judge(&asked.paths, &asked.matches, now_ns) {
            // The paths are not those of the id: they say nothing of who else has it.
            Memory::Host(_) if !asked.is_named => nameless,
            memory => memory,
        };
        (memory, asked.origin)
    }

    /// What the engines say of a task with these paths.
    fn judge(&mut self, paths: &[String], matches: &[CgroupMatch], now_ns: u64) -> Memory {
        let mut bare = None;
        for found in matches {
            match look_up(&self.paths, found) {
                Lookup::Found(mut facts) => {
                    self.counters.n_found += 1;
                    if facts.container.cgroup.is_none() {
                        let mut container = palisade_model::Container::clone(&facts.container);
                        container.cgroup =
                            paths.iter().find(|path| path.contains(&found.id)).cloned();
                        facts.container = container.into();
                    }
                    return Memory::Container(Arc::new(*facts));
                }
                Lookup::Unreadable => self.counters.n_unreadable += 1,
                Lookup::Unknown => {}
            }
            if found.certain && bare.is_none() {
                bare = Some(found);
            }
        }
        let Some(found) = bare else { return Memory::Host(now_ns.saturating_add(HOST_NS)) };
        self.counters.n_unknown += 1;
        let facts = Facts::of(palisade_model::Container {
            id: found.id.clone(),
            name: found.id.clone(),
            engine: found.engine,
            image: None,
            policy: None,
            pod: None,
            cgroup: paths.iter().find(|path| path.contains(&found.id)).cloned(),
            init_pid: None,
        });
        Memory::Bare(Arc::new(facts), now_ns.saturating_add(RETRY_NS))
    }

    /// The paths of a task's control groups, and those of them that containers have: from
    /// the record; if that names no container, from the folder that has the id as its inode;
    /// last from `/proc`, which may show the task elsewhere by now. `None`: none of them
    /// says anything.
    ///
    /// The record's paths may be older than its id, because a task that is moved keeps what
    /// its last exec said; so an id is never taken for the host's on their word alone.
    fn cgroup_paths(&self, cgroup_id: u64, cgroups: &[u8], pid: i64) -> Option<Asked> {
        let matches = |paths: &[String]| -> Vec<CgroupMatch> {
            paths.iter().filter_map(|path| match_cgroup(path)).collect()
        };
        // Some shapes (`/a/b`) are those of containers and of the host's own groups.
        let is_certain = |found: &[CgroupMatch]| found.iter().any(|found| found.certain);
        let mut paths: Vec<String> = crate::state::thread::cgroup_entries(cgroups)
            .map(|(_, path)| String::from_utf8_lossy(path).into_owned())
            .collect();
        let mut found = matches(&paths);
        let mut is_named = cgroup_id == 0;
        let mut origin = Origin::Record;
        if !is_certain(&found) && cgroup_id != 0 {
            let folder = self.paths.cgroup_trees.iter().find_map(|tree| folder_of(tree, cgroup_id));
            is_named = folder.is_some();
            paths.extend(folder);
            found = matches(&paths);
            origin = Origin::Folder;
        }
        if !is_certain(&found) && (!is_named || paths.iter().all(|path| path == "/")) {
            paths.extend(proc_cgroups(&self.paths.proc, pid));
            found = matches(&paths);
            origin = Origin::Proc;
        }
        let is_known = !paths.is_empty();
        paths.retain(|path| path != "/");
        paths.dedup();
        is_known.then_some(Asked { paths, matches: found, origin, is_named })
    }

    fn remember(&mut self, cgroup_id: u64, cgroups: &[u8], memory: Memory) {
        if cgroup_id != 0 {
            if self.by_cgroup.len() >= CACHE_MAX {
                self.counters.n_evicted += evict(&mut self.by_cgroup);
            }
            self.by_cgroup.insert(cgroup_id, memory);
        } else if crate::state::thread::cgroup_entries(cgroups).any(|(_, path)| path != b"/") {
            // Paths that are all roots are everybody's, and no key to one answer.
            if self.by_path.len() >= CACHE_MAX {
                self.counters.n_evicted += evict(&mut self.by_path);
            }
            self.by_path.insert(cgroups.into(), memory);
        }
    }
}

/// Makes room: first what says nothing, then, if everything is a container, the half that
/// the map happens to list first (the map is far larger than a host's containers).
fn evict<K: Eq + std::hash::Hash, S: std::hash::BuildHasher>(
    map: &mut HashMap<K, Memory, S>,
) -> u64 {
    let before = map.len();
    map.retain(|_, memory| matches!(memory, Memory::Container(_)));
    if map.len() > before / 2 {
        let mut n_kept = 0;
        map.retain(|_, _| {
            n_kept += 1;
            n_kept <= before / 2
        });
    }
    (before - map.len()) as u64
}

/// Whether the container's version 2 group is its own, as far as `cgroups` says.
fn is_own_group(id: &str, cgroups: &[u8]) -> bool {
    crate::state::thread::cgroup_entries(cgroups)
        .find(|(subsystem, _)| *subsystem == b"unified")
        .is_none_or(|(_, path)| String::from_utf8_lossy(path).contains(id))
}

fn proc_cgroups(proc: &Path, pid: i64) -> Vec<String> {
    const BYTES_MAX: u64 = 64 << 10;
    if pid <= 0 {
        return Vec::new();
    }
    let Ok(file) = File::open(proc.join(pid.to_string()).join("cgroup")) else {
        return Vec::new();
    };
    let text = palisade_base::read_bounded(file, "cgroup list", BYTES_MAX).unwrap_or_default();
    // hierarchy-ID:controller-list:cgroup-path, see cgroups(7).
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(str::to_string).collect()
}

/// Finds the folder below `tree` whose inode is `id`, and gives its path from there.
fn folder_of(tree: &Path, id: u64) -> Option<String> {
    let mut pending = vec![tree.to_path_buf()];
    let mut n_visited = 0;
    while let Some(folder) = pending.pop() {
        n_visited += 1;
        if n_visited > FOLDERS_MAX {
            return None;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            if entry.metadata().is_ok_and(|metadata| metadata.ino() == id) {
                let relative = path.strip_prefix(tree).ok()?;
                return Some(format!("/{}", relative.display()));
            }
            pending.push(path);
        }
    }
    None
}
