//! Loading the probes and reading their records.

mod error;
mod handlers;
mod object;
mod opens;
mod setup;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libbpf_rs::{Link, MapCore as _, MapFlags, MapType, Object};

pub use error::{LoadError, PollError};
pub use handlers::{HandlerLoader, Handlers};
pub use object::Refusal;
pub(crate) use setup::programs as programs_of;
pub(crate) use setup::{CALLS_MAX, compat_numbers};

use crate::enforce::SharedTables;
use crate::interest::{Class, Environment, Interest, OpenFilter};
use crate::loss::ClassCounts;
use crate::record::{RECORD_BYTES_MAX, Record};
use crate::ring::{self, Promise, Ring};

/// Where the kernel describes its types (`kernel/bpf/sysfs_btf.c`).
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
/// Cgroups in a [`CgroupFilter`] (`cgroups_listed` in `probes/record.h`).
pub const CGROUPS_MAX: usize = 4096;
/// Records handed out by one call of [`Sensor::poll`], so that its caller gets to its other work.
const POLL_RECORDS_MAX: usize = 8192;
/// The program that calls the handlers.
pub(crate) const DISPATCHER: &str = "dispatch";
/// The difference of the clocks moves when someone sets the time; it is read again this often.
const CLOCK_REFRESH: Duration = Duration::from_secs(1);

/// Which cgroups (of the v2 hierarchy, by [`Record::cgroup_id`]) are watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CgroupFilter {
    /// All.
    #[default]
    All,
    /// All but these.
    AllBut(Vec<u64>),
    /// Only these.
    Only(Vec<u64>),
}

/// How to load.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of the ring for everything but the life of processes, in bytes: a power of two of at
    /// least a page.
    pub bulk_ring_bytes: u32,
    /// Size of the ring for fork, exec and exit.
    pub priority_ring_bytes: u32,
    /// Leave out tasks in the host's pid namespace whose mounts are the host's or those of this
    /// process.
    pub only_containers: bool,
    /// Leave out tasks by cgroup.
    pub cgroups: CgroupFilter,
    /// Leave out this process, so that reading events does not make events.
    pub exclude_self: bool,
    /// The window of wake-ups. While records come, the reader looks for them once a window and no
    /// record wakes it, so that one waits no longer than the window; after a silence, the first
    /// record wakes at once.
    pub wake_after: Duration,
    /// The tables of an [`Enforcer`](crate::enforce::Enforcer), by which the probes then kill; see
    /// there. Without them the probes hold no code for it.
    pub enforcement: Option<SharedTables>,
    /// The running kernel's type information, to which the probes are fitted; [`BTF_PATH`] but on
    /// hosts that keep it elsewhere.
    pub btf: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bulk_ring_bytes: 8 << 20,
            priority_ring_bytes: 2 << 20,
            only_containers: false,
            cgroups: CgroupFilter::All,
            exclude_self: true,
            wake_after: Duration::from_micros(500),
            enforcement: None,
            btf: BTF_PATH.into(),
        }
    }
}

/// A hook that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookInfo {
    /// Where: `tp_btf/sched_process_exec`.
    pub hook: String,
    /// The program at it.
    pub program: &'static str,
    /// The events that it serves.
    pub events: Vec<&'static str>,
}

/// How full a ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingDepth {
    /// `priority` (fork, exec, exit) or `bulk`.
    pub name: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes of records that wait to be read.
    pub used_bytes: u64,
    /// When the oldest of them happened, nanoseconds since the epoch.
    pub oldest_ns: Option<u64>,
}

/// Loaded probes. Dropping it takes them out of the kernel.
pub struct Sensor {
    /// Order of the fields is order of the drop: hooks first.
    links: Vec<Link>,
    /// The programs at the hooks, and the maps.
    object: Object,
    handlers: Option<Handlers>,
    options: Options,
    hooks: Vec<HookInfo>,
    /// What the kernel refused of the programs at hooks.
    refusals: Vec<Refusal>,
    priority: Ring,
    bulk: Ring,
    buffer: Vec<u8>,
    n_malformed: u64,
    boot_to_real_ns: u64,
    clock_read_at: Instant,
    last_record_at: Option<Instant>,
    promise: Promise,
}

impl std::fmt::Debug for Sensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sensor").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl Sensor {
    /// Loads and attaches the probes that serve `interest`.
    ///
    /// What the kernel refuses is left out: see [`Self::refusals`]. An error means that nothing
    /// can be seen.
    pub fn load(interest: &Interest, options: &Options) -> Result<Self, LoadError> {
        setup::check(options)?;
        let mut wanted = setup::programs(interest);
        wanted.retain(|program, _| !program.starts_with("call_"));
        // The dispatcher as well, for calls that are asked for later.
        wanted.entry(DISPATCHER).or_default();
        if options.enforcement.is_some() {
            wanted.extend(setup::JUDGES.map(|(_, judge)| (judge, Vec::new())));
        }
        let (object, mut refusals) = object::load(interest, options, &wanted, &BTreeMap::new())?;
        if let Some(at) = refusals.iter().position(|one| setup::is_judge(one.program)) {
            // Rules that were to prevent would not: that is no partial success.
            return Err(refusals.swap_remove(at).error);
        }
        setup::fill_judges(&object, options)?;
        setup::fill_shared(&object, options)?;
        opens::set_environment(&object, interest.environment)?;
        let priority = setup::open_ring(&object, "ring_priority", options.priority_ring_bytes)?;
        let bulk = setup::open_ring(&object, "ring_bulk", options.bulk_ring_bytes)?;
        let promise = setup::open_promise(&object)?;
        let now = Instant::now();
        let mut sensor = Self {
            links: Vec::new(),
            object,
            handlers: None,
            options: options.clone(),
            hooks: Vec::new(),
            refusals,
            priority,
            bulk,
            buffer: Vec::with_capacity(RECORD_BYTES_MAX),
            n_malformed: 0,
            boot_to_real_ns: ring::boot_to_real_ns(),
            clock_read_at: now,
            last_record_at: None,
            promise,
        };
        // The dispatcher goes last: nothing is seen before everything can be.
        let handlers = sensor.loader()?.load(interest)?;
        for program in ["on_fork", "on_exec", "on_exit"] {
            if let Some(events) = wanted.remove(program) {
                sensor.take_hook(program, events);
            }
        }
        sensor.switch(handlers)?;
        if sensor.hooks.is_empty()
            && let Some(first) = sensor.refusals.drain(..).next()
        {
            return Err(first.error);
        }
        Ok(sensor)
    }

    /// Attaches the program at a hook; a refusal is noted.
    fn take_hook(&mut self, program: &'static str, events: Vec<&'static str>) {
        if self.refusals.iter().any(|refusal| refusal.program == program) {
            return;
        }
        match setup::attach(&self.object, program) {
            Ok((link, hook)) => {
                self.links.push(link);
                self.hooks.push(HookInfo { hook, program, events });
            }
            Err(error) => self.refusals.push(Refusal { program, events, error }),
        }
    }

    /// What loads further handlers, to be used on another thread if need be: a load takes part
    /// of a second.
    pub fn loader(&self) -> Result<HandlerLoader, LoadError> {
        Ok(HandlerLoader::new(object::shared_maps(&self.object)?, &self.options))
    }

    /// Puts `handlers` to work in the place of those that are, which are handed back: to drop
    /// them takes a moment.
    ///
    /// Every call goes through one handler, the old or the new one. Records of the old ones may
    /// still be in the rings.
    pub fn switch(&mut self, handlers: Handlers) -> Result<Option<Handlers>, LoadError> {
        handlers::switch(&self.object, self.handlers.as_ref(), &handlers)?;
        let events = handlers.served();
        match self.hooks.iter_mut().find(|hook| hook.program == DISPATCHER) {
            Some(hook) => hook.events = events,
            None if handlers.object.is_some() => self.take_hook(DISPATCHER, events),
            None => {}
        }
        Ok(self.handlers.replace(handlers))
    }

    /// The programs that this kernel refuses; the events of each are not seen.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter().chain(self.handlers.iter().flat_map(|handlers| &handlers.refusals))
    }

    /// Hands records to `f` in the order of time, at least one if there is any before `timeout`
    /// ends. Returns how many; the order holds among the records that are in the rings together.
    pub fn poll(
        &mut self,
        timeout: Duration,
        f: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, PollError> {
        let start = Instant::now();
        loop {
            let n = self.drain(f);
            let now = Instant::now();
            if n > 0 {
                self.last_record_at = Some(now);
                // Half a window before the last look that follows below: what is sent until then
                // is in the ring by that look.
                let window_ns = u64::from(setup::window_ns(&self.options));
                self.promise.set(ring::boot_ns() + window_ns + window_ns / 2);
                return Ok(n);
            }
            let left = timeout.saturating_sub(now - start);
            if left.is_zero() {
                return Ok(0);
            }
            // So long as the last record is younger than two windows, one may have followed that
            // woke nobody: look again after a window. After that, the next record wakes.
            let window = self.options.wake_after;
            let alert = self.last_record_at.is_some_and(|at| now - at < 2 * window);
            let sleep = if alert { left.min(window) } else { left };
            let [priority, bulk] =
                [map(&self.object, "ring_priority"), map(&self.object, "ring_bulk")];
            let (Some(priority), Some(bulk)) = (priority, bulk) else {
                return Ok(0);
            };
            ring::wait([priority.as_fd(), bulk.as_fd()], sleep)?;
        }
    }

    fn drain(&mut self, f: &mut dyn FnMut(Record<'_>)) -> usize {
        if self.clock_read_at.elapsed() > CLOCK_REFRESH {
            self.boot_to_real_ns = ring::boot_to_real_ns();
            self.clock_read_at = Instant::now();
        }
        for n in 0..POLL_RECORDS_MAX {
            // The bulk ring first: whatever it shows, the exec or fork before it has been sent
            // by then, so the look at the priority ring that follows cannot miss it. The other
            // way round, an exec between the two looks would come after its own opens.
            let bulk = time_of(self.bulk.peek());
            let priority = time_of(self.priority.peek_committed());
            let next = match (priority, bulk) {
                (None, None) => return n,
                (Some(_), None) => &mut self.priority,
                (Some(p), Some(b)) if p <= b => &mut self.priority,
                (None | Some(_), Some(_)) => &mut self.bulk,
            };
            self.buffer.clear();
            if let Some(bytes) = next.peek() {
                self.buffer.extend_from_slice(bytes);
            }
            next.advance();
            if let Some(time) = self.buffer.first_chunk_mut::<8>() {
                *time =
                    u64::from_le_bytes(*time).saturating_add(self.boot_to_real_ns).to_le_bytes();
            }
            match Record::from_bytes(&self.buffer) {
                Ok(record) => f(record),
                Err(_counted) => self.n_malformed += 1,
            }
        }
        POLL_RECORDS_MAX
    }

    /// What was sent and lost since the load.
    pub fn losses(&self) -> ClassCounts {
        let mut counts = ClassCounts { n_malformed: self.n_malformed, ..ClassCounts::default() };
        let Some(map) = map(&self.object, "counters") else {
            return counts;
        };
        for class in Class::ALL {
            let key = (class as u32).to_ne_bytes();
            if let Ok(Some(values)) = map.lookup_percpu(&key, MapFlags::ANY) {
                for bytes in &values {
                    counts.classes[class as usize].add_bytes(bytes);
                }
            }
        }
        counts
    }

    /// Whether some program that is at work delivers the event `name`.
    pub fn delivers(&self, name: &str) -> bool {
        self.hooks.iter().any(|hook| hook.events.contains(&name))
    }

    /// As [`Self::refusals`], of a sensor that has served its purpose.
    pub(crate) fn into_refusals(self) -> Vec<Refusal> {
        let Self { refusals, handlers, .. } = self;
        refusals.into_iter().chain(handlers.into_iter().flat_map(|h| h.refusals)).collect()
    }

    /// How full the rings are.
    pub fn rings(&self) -> [RingDepth; 2] {
        let depth = |name, ring: &Ring| RingDepth {
            name,
            bytes: ring.bytes(),
            used_bytes: ring.used_bytes(),
            oldest_ns: time_of(ring.look()).map(|time| time.saturating_add(self.boot_to_real_ns)),
        };
        [depth("priority", &self.priority), depth("bulk", &self.bulk)]
    }

    /// The time of now as records have it, nanoseconds since the epoch.
    pub fn now_ns(&self) -> u64 {
        ring::boot_ns().saturating_add(self.boot_to_real_ns)
    }

    /// The hooks that are taken.
    pub fn attached(&self) -> &[HookInfo] {
        &self.hooks
    }

    /// Kernel memory of the maps, rings included, in bytes, as the kernel accounts for it.
    ///
    /// Linux 5.11 to 6.3 account for a ring as if it held nothing; its size is known here.
    pub fn kernel_memory_bytes(&self) -> u64 {
        let bytes = |map: libbpf_rs::Map<'_>| {
            let accounted = memlock_bytes(map.as_fd());
            let is_ring = map.map_type() == MapType::RingBuf;
            if is_ring { accounted.max(map.max_entries().into()) } else { accounted }
        };
        let own = self.handlers.iter().flat_map(|handlers| &handlers.object).flat_map(Object::maps);
        let own = own.filter(|map| map.name().to_str().is_none_or(|name| !object::is_shared(name)));
        self.object.maps().chain(own).map(bytes).sum()
    }

    /// Filters opens by `filter` from here on. While the table changes, every open crosses. False
    /// if the table made for the handlers at work is too small for it: then every open crosses.
    pub fn filter_opens(&self, filter: &OpenFilter) -> Result<bool, LoadError> {
        match self.handlers.as_ref().and_then(|handlers| handlers.object.as_ref()) {
            Some(object) => opens::fill(object, filter),
            // No call is asked for, an open neither.
            None => Ok(true),
        }
    }

    /// Sends whose environment with an exec, from here on.
    pub fn send_environment(&self, whose: Environment) -> Result<(), LoadError> {
        opens::set_environment(&self.object, whose)
    }

    /// Puts the cgroup `id` on the list of [`CgroupFilter::AllBut`] or [`CgroupFilter::Only`].
    pub fn list_cgroup(&self, id: u64) -> Result<(), LoadError> {
        setup::update(&self.object, "cgroups_listed", &id.to_ne_bytes(), &[1])
    }

    /// Takes the cgroup `id` from the list; one that is not on it is no error.
    pub fn unlist_cgroup(&self, id: u64) {
        if let Some(map) = map(&self.object, "cgroups_listed") {
            // The only failure left is that the key is absent, which is what was wanted.
            let _absent = map.delete(&id.to_ne_bytes());
        }
    }
}

/// The map `name` of the object.
fn map<'a>(object: &'a Object, name: &str) -> Option<libbpf_rs::Map<'a>> {
    object.maps().find(|map| map.name() == OsStr::new(name))
}

fn time_of(bytes: Option<&[u8]>) -> Option<u64> {
    // A record too short for a time is malformed; it goes first, to be counted and done with.
    bytes.map(|bytes| bytes.first_chunk::<8>().map_or(0, |time| u64::from_le_bytes(*time)))
}

fn memlock_bytes(fd: BorrowedFd<'_>) -> u64 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
        .unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
