//! Loading the probes and reading their records.

mod error;
mod setup;

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libbpf_rs::{Link, MapCore as _, MapFlags, MapType, Object, ObjectBuilder};

pub use error::{LoadError, PollError};
pub(crate) use setup::programs as programs_of;

use crate::enforce::SharedTables;
use crate::interest::{Class, Interest};
use crate::libbpf_log;
use crate::loss::ClassCounts;
use crate::record::{RECORD_BYTES_MAX, Record};
use crate::ring::{self, Ring};

/// The compiled probes, aligned as libbpf's reader of ELF files wants them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/sensor.bpf.o")));

/// Where the kernel describes its types (`kernel/bpf/sysfs_btf.c`).
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
/// Prefixes in an [`OpenFilter`]; with more of them, every open crosses (`open_prefixes` in
/// `probes/files.h`).
pub const PREFIXES_MAX: usize = 4096;
/// Cgroups in a [`CgroupFilter`] (`cgroups_listed` in `probes/record.h`).
pub const CGROUPS_MAX: usize = 4096;
/// Records handed out by one call of [`Sensor::poll`], so that its caller gets to its other work.
const POLL_RECORDS_MAX: usize = 8192;
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
    /// The window of wake-ups. Under load, one wake-up per window is sent instead of one per
    /// record, and a record waits no longer than the window; after a silence, the first record
    /// wakes at once.
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

/// Loaded probes. Dropping it takes them out of the kernel.
pub struct Sensor {
    /// Order of the fields is order of the drop: hooks first.
    _links: Vec<Link>,
    object: Object,
    hooks: Vec<HookInfo>,
    priority: Ring,
    bulk: Ring,
    buffer: Vec<u8>,
    n_malformed: u64,
    boot_to_real_ns: u64,
    clock_read_at: Instant,
    last_record_at: Option<Instant>,
    wake_after: Duration,
}

impl std::fmt::Debug for Sensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sensor").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl Sensor {
    /// Loads and attaches the probes that serve `interest`.
    pub fn load(interest: &Interest, options: &Options) -> Result<Self, LoadError> {
        let object = load_object(interest, options, None)?;
        setup::fill(&object, interest, options)?;
        let priority = setup::open_ring(&object, "ring_priority", options.priority_ring_bytes)?;
        let bulk = setup::open_ring(&object, "ring_bulk", options.bulk_ring_bytes)?;
        // The dispatcher goes last: nothing is seen before everything can be.
        let (links, hooks) = setup::attach(&object, &setup::programs(interest))?;
        let now = Instant::now();
        Ok(Self {
            _links: links,
            object,
            hooks,
            priority,
            bulk,
            buffer: Vec::with_capacity(RECORD_BYTES_MAX),
            n_malformed: 0,
            boot_to_real_ns: ring::boot_to_real_ns(),
            clock_read_at: now,
            last_record_at: None,
            wake_after: options.wake_after,
        })
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
                return Ok(n);
            }
            let left = timeout.saturating_sub(now - start);
            if left.is_zero() {
                return Ok(0);
            }
            // The probes send one wake-up per window. So long as the last record is younger than
            // two windows, a silent record may follow it: look again soon. After that, the next
            // record wakes.
            let alert = self.last_record_at.is_some_and(|at| now - at < 2 * self.wake_after);
            let sleep = if alert { left.min(self.wake_after) } else { left };
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
        self.object.maps().map(bytes).sum()
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

/// Loads the programs that `interest` needs, or of these only the one named `alone`.
fn load_object(
    interest: &Interest,
    options: &Options,
    alone: Option<&str>,
) -> Result<Object, LoadError> {
    setup::check(options)?;
    let (result, log) = libbpf_log::capture(|| -> Result<Object, LoadError> {
        let mut builder = ObjectBuilder::default();
        let mut object = builder
            .name("palisade")
            .and_then(|builder| {
                if options.btf.as_os_str() == BTF_PATH {
                    // libbpf looks there by itself, and keeps what it has read.
                    return Ok(builder);
                }
                builder.btf_custom_path(&options.btf)
            })
            .and_then(|builder| builder.open_memory(&OBJECT.0))
            .map_err(|source| LoadError::Verifier { log: String::new(), source })?;
        setup::configure(&mut object, interest, options, alone)?;
        object.load().map_err(|source| LoadError::Verifier { log: String::new(), source })
    });
    result.map_err(|error| setup::classify(error, log))
}

/// Loads one program alone and, if it sits at a hook itself, attaches it for a moment.
pub(crate) fn load_alone(
    program: &'static str,
    interest: &Interest,
    options: &Options,
) -> Result<(), LoadError> {
    let object = load_object(interest, options, Some(program))?;
    setup::attach(&object, &[(program, Vec::new())].into()).map(drop)
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
