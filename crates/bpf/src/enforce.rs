//! Acting on processes of containers by what rules say, in the kernel.
//!
//! An [`Enforcer`] holds the tables that selectors of rules ([`palisade_rules::selector`]) are
//! turned into, and the set of cgroups in which they are in force. A [`Sensor`] that is loaded
//! with [`Enforcer::tables`] kills from its probes, at the moment when the record is made: what
//! that still prevents, [`effect`] says. Programs of the enforcer's own refuse calls before they
//! happen ([`Refusals`]); which selectors they can decide, [`decides`] says.
//!
//! Nothing is done to a process outside of the guarded cgroups and those below them. The root
//! cgroup cannot be guarded, nor one in which this process or the host's first one is; these two
//! are spared in any case. Dropping the enforcer ends all of it.
//!
//! What is done is counted, and reported as [`Decision`]s.
//!
//! [`Sensor`]: crate::Sensor
#![expect(unsafe_code, reason = "asks the kernel to wait for programs that still run")]

mod effect;
mod error;
mod hooks;
mod means;
mod place;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use libbpf_rs::{Link, MapCore as _, MapFlags, Object, ObjectBuilder};
use palisade_rules::selector::Selector;

pub use effect::{Effect, effect};
pub use error::EnforceError;
pub use means::{Undecided, decides, lsm_is_active, misses};
pub use tables::{EVENT_ATOMS_MAX, EVENT_CHECKS_MAX, EVENT_TERMS_MAX, PLANS_MAX, TEXTS_MAX};

use crate::libbpf_log;
use crate::ring::{self, Ring};
use hooks::{CGROUP_PROGRAMS, call_events, programs};
use place::Place;
use tables::Tables;

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/enforce.bpf.o")));

/// Rules in force together (64 × `RULE_WORDS` of `probes/decide.h`).
pub const RULES_MAX: usize = 256;
/// Cgroups guarded together.
pub const GUARDS_MAX: usize = 4096;
/// Different depths at which guarded cgroups lie.
pub const LEVELS_MAX: usize = 6;
/// `DECISION_RING_BYTES`.
const RING_BYTES: usize = 262_144;
/// Decisions handed out by one call of [`Enforcer::poll`].
const POLL_MAX: usize = 1024;
/// The tables that the sensor's probes share.
const SHARED: [&str; 6] = [
    "enforce_control",
    "enforce_guards",
    "enforce_plans",
    "enforce_texts",
    "enforce_counters",
    "enforce_decisions",
];

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// The call is refused.
    Deny = 1,
    /// The process is killed.
    Kill = 2,
}

/// A rule in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnforcedRule {
    /// The caller's number for it, which decisions bear. One number may stand for several
    /// entries, such as one for each means.
    pub number: u32,
    /// When it holds.
    pub selector: Selector,
    /// What is done then.
    pub action: Action,
    /// Decide and report, but do not act.
    pub dry_run: bool,
}

/// The rules in force. If several hold for an event, the first that acts is taken; those that
/// only report come last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// At most [`RULES_MAX`].
    pub rules: Vec<EnforcedRule>,
}

impl Plan {
    /// Whether the tables can hold it, without loading anything.
    pub fn check(&self) -> Result<(), EnforceError> {
        Tables::new(self).map(drop)
    }
}

/// By which means something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Means {
    /// SIGKILL from a probe.
    KernelKill,
    /// A program on the cgroup refused.
    Cgroup,
    /// A program in the security framework refused.
    Lsm,
}

/// Which programs that refuse calls are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// On guarded cgroups: connections and binding of IP sockets.
    pub cgroup: bool,
    /// In the security framework, if [`lsm_is_active`] and the kernel is 5.15 or later: at the
    /// hooks that calls of the plan come by, and at no others.
    pub lsm: bool,
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The call was refused.
    Denied,
    /// SIGKILL was sent.
    Killed,
    /// Nothing was done: the rule is only tried.
    Would,
    /// The kernel did not let the signal be sent.
    Failed,
}

/// What was done about one event.
///
/// A kill's record comes from the sensor as well, with the same thread and, within a
/// millisecond, the same time. A refused call's comes when it has failed, if its event is of
/// interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The rule's number.
    pub rule: u32,
    /// By which means.
    pub means: Means,
    /// What came of it.
    pub outcome: Outcome,
    /// Type of the event (`PLS_EVENT_` of `probes/events.h`).
    pub event: u16,
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The guarded cgroup.
    pub cgroup_id: u64,
    /// The thread.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// When the process began, in nanoseconds of the boot clock.
    pub start_boottime_ns: u64,
    /// The thread's name.
    pub comm: String,
    /// What was refused: a path, or an address of 4 or 16 bytes and a port of two, most
    /// significant byte first. Empty for a kill, whose record tells more.
    pub object: Vec<u8>,
}

/// How often a rule was in force since it was loaded or replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls refused.
    pub n_denied: u64,
    /// Signals sent.
    pub n_killed: u64,
    /// Times that it would have acted.
    pub n_would: u64,
    /// Signals that the kernel did not let be sent.
    pub n_failed: u64,
    /// Decisions that found the ring full.
    pub n_unsent: u64,
}

/// The tables, as [`Options::enforcement`](crate::Options) takes them.
#[derive(Debug, Clone)]
pub struct SharedTables(Arc<Vec<(&'static str, OwnedFd)>>);

impl SharedTables {
    /// The map of this name, if it is shared.
    pub(crate) fn fd(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, fd)| fd.as_fd())
    }
}

/// A guarded cgroup.
#[derive(Debug, Clone)]
struct Guarded {
    level: u32,
    except: BTreeSet<u32>,
}

/// Tables of rules in force, and where they are.
pub struct Enforcer {
    /// Of each guarded cgroup. Order of the fields is order of the drop: hooks first.
    links: BTreeMap<u64, Vec<Link>>,
    /// Of each program in the security framework.
    hooks: BTreeMap<&'static str, Link>,
    refusals: Refusals,
    /// The maps, and the programs that the first plan needed.
    object: Object,
    loaded: BTreeSet<&'static str>,
    /// Programs that later plans needed, by name, with the same maps. Each is loaded once.
    later: Vec<(BTreeSet<&'static str>, Object)>,
    decisions: Ring,
    shared: SharedTables,
    generation: u8,
    /// The number of the rule of each slot.
    rules: Vec<u32>,
    guarded: BTreeMap<u64, Guarded>,
}

impl std::fmt::Debug for Enforcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enforcer")
            .field("rules", &self.rules)
            .field("guarded", &self.guarded)
            .finish_non_exhaustive()
    }
}

impl Enforcer {
    /// Loads the tables for `plan`, without programs that refuse. Nothing is guarded yet.
    pub fn load(plan: &Plan) -> Result<Self, EnforceError> {
        Self::with_refusals(plan, Refusals::default())
    }

    /// Loads the tables for `plan` and programs that refuse, which act on rules with
    /// [`Action::Deny`]. Nothing is guarded yet.
    pub fn with_refusals(plan: &Plan, refusals: Refusals) -> Result<Self, EnforceError> {
        let tables = Tables::new(plan)?;
        check_lsm(refusals)?;
        let loaded = programs(plan, refusals);
        let object = load_object(&loaded, &[])?;
        let mut fds = Vec::new();
        for name in SHARED {
            let fd = map(&object, name)?.as_fd().try_clone_to_owned();
            fds.push((name, fd.map_err(EnforceError::Ring)?));
        }
        let ring = map(&object, "enforce_decisions")?;
        let decisions = Ring::open(ring.as_fd(), RING_BYTES).map_err(EnforceError::Ring)?;
        let mut enforcer = Self {
            links: BTreeMap::new(),
            hooks: BTreeMap::new(),
            refusals,
            decisions,
            shared: SharedTables(Arc::new(fds)),
            generation: 0,
            rules: Vec::new(),
            guarded: BTreeMap::new(),
            object,
            later: Vec::new(),
            loaded,
        };
        enforcer.put_in_force(&tables)?;
        let wanted = enforcer.loaded.clone();
        enforcer.take_hooks(&wanted)?;
        Ok(enforcer)
    }

    /// The tables, for [`Options::enforcement`](crate::Options).
    pub fn tables(&self) -> SharedTables {
        self.shared.clone()
    }

    /// Puts the rules in force in the cgroup whose folder is `cgroup` and in all below it, but
    /// for those numbered in `except`. Returns the cgroup's id.
    ///
    /// A cgroup that is guarded already gets the new exceptions. The root cgroup, and cgroups
    /// that hold this process or the host's first one, are refused.
    pub fn guard(&mut self, cgroup: &Path, except: &BTreeSet<u32>) -> Result<u64, EnforceError> {
        let place = Place::of(cgroup)?;
        if self.guarded.len() >= GUARDS_MAX && !self.guarded.contains_key(&place.id) {
            let n = self.guarded.len() + 1;
            return Err(EnforceError::TooMany { what: "cgroups", n, max: GUARDS_MAX });
        }
        let mut levels: BTreeSet<u32> = self.guarded.values().map(|guard| guard.level).collect();
        levels.insert(place.level);
        if levels.len() > LEVELS_MAX {
            return Err(EnforceError::TooManyLevels);
        }
        if self.refusals.cgroup && !self.links.contains_key(&place.id) {
            let fd = place.folder.as_raw_fd();
            let links: Result<Vec<Link>, _> =
                CGROUP_PROGRAMS.iter().map(|name| self.attach(name, Some(fd))).collect();
            self.links.insert(place.id, links?);
        }
        let guard = Guarded { level: place.level, except: except.clone() };
        let masks = [rules_mask(&self.rules, &guard), rules_mask(&self.rules, &guard)];
        self.update("enforce_guards", &place.id.to_ne_bytes(), &masks.concat())?;
        self.guarded.insert(place.id, guard);
        self.control()?;
        Ok(place.id)
    }

    /// Ends enforcement in a cgroup; one that is not guarded is no error.
    pub fn unguard(&mut self, cgroup_id: u64) {
        for link in self.links.remove(&cgroup_id).into_iter().flatten() {
            // Linux 5.8 cannot detach a link; there the drop ends it.
            let _late = link.detach();
        }
        if self.guarded.remove(&cgroup_id).is_some()
            && let Ok(map) = map(&self.object, "enforce_guards")
        {
            // The only failure left is that the key is absent, which is what was wanted.
            let _absent = map.delete(&cgroup_id.to_ne_bytes());
        }
        // A level too many costs a look, and nothing else.
        let _kept = self.control();
    }

    /// The ids of the guarded cgroups.
    pub fn guarded(&self) -> impl Iterator<Item = u64> + '_ {
        self.guarded.keys().copied()
    }

    /// Replaces the rules at one stroke: every event is judged by the old ones or by the new
    /// ones. Counters begin anew. On an error the old ones stay in force.
    pub fn replace(&mut self, plan: &Plan) -> Result<(), EnforceError> {
        self.prepare(plan, self.refusals)?;
        self.put_in_force(&Tables::new(plan)?)?;
        self.let_hooks_go(plan);
        Ok(())
    }

    /// Loads and attaches the programs that `plan` needs beyond those at work; the rules in
    /// force stay what they are until [`Self::replace`].
    ///
    /// Where programs on cgroups come to it, [`Self::guard`] puts them on those that are
    /// guarded already.
    pub fn prepare(&mut self, plan: &Plan, refusals: Refusals) -> Result<(), EnforceError> {
        Tables::new(plan)?;
        check_lsm(refusals)?;
        let wanted = programs(plan, refusals);
        let known = std::iter::once(&self.loaded).chain(self.later.iter().map(|(names, _)| names));
        let known: BTreeSet<&'static str> = known.flatten().copied().collect();
        let missing: BTreeSet<&'static str> = wanted.difference(&known).copied().collect();
        if !missing.is_empty() {
            let object = load_object(&missing, &self.maps()?)?;
            self.later.push((missing, object));
        }
        self.take_hooks(&wanted)?;
        self.refusals = refusals;
        Ok(())
    }

    /// Attaches those of `wanted` that sit in the security framework and are not there yet.
    fn take_hooks(&mut self, wanted: &BTreeSet<&'static str>) -> Result<(), EnforceError> {
        let is_hook = |name: &&&'static str| !CGROUP_PROGRAMS.contains(*name);
        for name in wanted.iter().filter(is_hook) {
            if !self.hooks.contains_key(name) {
                let link = self.attach(name, None)?;
                self.hooks.insert(name, link);
            }
        }
        Ok(())
    }

    /// Takes programs off that `plan`, which is in force, does not need.
    fn let_hooks_go(&mut self, plan: &Plan) {
        let wanted = programs(plan, self.refusals);
        self.hooks.retain(|name, _| wanted.contains(name));
        if !self.refusals.cgroup {
            for link in std::mem::take(&mut self.links).into_values().flatten() {
                let _late = link.detach(); // as in `unguard`
            }
        }
    }

    /// Attaches a program to a cgroup, or to its place in the security framework.
    fn attach(&self, name: &'static str, cgroup: Option<RawFd>) -> Result<Link, EnforceError> {
        // Every object has the name, and one of them has loaded it.
        let later = self.later.iter().map(|(names, object)| (names, object));
        let (_, object) = std::iter::once((&self.loaded, &self.object))
            .chain(later)
            .find(|(names, _)| names.contains(name))
            .ok_or(EnforceError::Object { part: name })?;
        let program = object
            .progs_mut()
            .find(|program| program.name() == OsStr::new(name))
            .ok_or(EnforceError::Object { part: name })?;
        let link = match cgroup {
            Some(cgroup) => program.attach_cgroup(cgroup),
            None => program.attach_lsm(),
        };
        link.map_err(|source| EnforceError::Attach { program: name, source })
    }

    /// The maps that all programs share.
    fn maps(&self) -> Result<Vec<(String, OwnedFd)>, EnforceError> {
        let maps = self.object.maps().filter(|map| !is_read_only(map.name()));
        let fds = maps.map(|map| {
            let fd = map.as_fd().try_clone_to_owned().map_err(EnforceError::Ring)?;
            Ok((map.name().to_string_lossy().into_owned(), fd))
        });
        fds.collect()
    }

    /// Hands decisions to `f`; returns how many.
    pub fn poll(&mut self, f: &mut dyn FnMut(Decision)) -> usize {
        let boot_to_real_ns = ring::boot_to_real_ns();
        for n in 0..POLL_MAX {
            let Some(bytes) = self.decisions.peek() else { return n };
            let decision = Decision::from_bytes(bytes, boot_to_real_ns);
            self.decisions.advance();
            if let Some(decision) = decision {
                f(decision);
            }
        }
        POLL_MAX
    }

    /// The descriptor that is readable when there are decisions.
    pub fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.shared.fd("enforce_decisions")
    }

    /// Calls that were let through unjudged because too many were judged at once.
    pub fn n_undecided(&self) -> u64 {
        let map = map(&self.object, "undecided").ok();
        let value = map.and_then(|map| map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).ok()?);
        value.and_then(|bytes| Some(u64::from_ne_bytes(*bytes.first_chunk()?))).unwrap_or(0)
    }

    /// The counters of each rule's number; entries of one number are summed.
    pub fn counts(&self) -> BTreeMap<u32, Counts> {
        let mut all: BTreeMap<u32, Counts> = BTreeMap::new();
        let Ok(map) = map(&self.object, "enforce_counters") else { return all };
        for (slot, rule) in self.rules.iter().enumerate() {
            let counts = all.entry(*rule).or_default();
            let key = counter_key(self.generation, slot);
            if let Ok(Some(values)) = map.lookup_percpu(&key, MapFlags::ANY) {
                for bytes in &values {
                    counts.add_bytes(bytes);
                }
            }
        }
        all
    }

    fn update(&self, name: &'static str, key: &[u8], value: &[u8]) -> Result<(), EnforceError> {
        map(&self.object, name)?
            .update(key, value, MapFlags::ANY)
            .map_err(|source| EnforceError::Map { map: name, source })
    }

    /// Writes `struct control`.
    fn control(&self) -> Result<(), EnforceError> {
        let levels: BTreeSet<u32> = self.guarded.values().map(|guard| guard.level).collect();
        let mut words = vec![u32::from(self.generation)];
        words.extend(levels);
        words.resize(1 + LEVELS_MAX, 0);
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        self.update("enforce_control", &0_u32.to_ne_bytes(), &bytes)
    }

    /// Fills the tables that are not in force, and then puts them in force.
    fn put_in_force(&mut self, tables: &Tables) -> Result<(), EnforceError> {
        let old = self.generation;
        let new = 1 - old;
        self.clear(new)?;
        for (slot, plan) in (0_u8..).zip(&tables.plans) {
            for (text, mask) in &plan.texts {
                let value: Vec<u8> = mask.iter().copied().flat_map(u64::to_ne_bytes).collect();
                self.update("enforce_texts", &text.key(new, slot), &value)?;
            }
            let key = u32::from(new) << 16 | u32::from(plan.event);
            self.update("enforce_plans", &key.to_ne_bytes(), &plan.bytes(slot))?;
        }
        for (id, guard) in &self.guarded {
            let (ours, theirs) = (rules_mask(&self.rules, guard), rules_mask(&tables.rules, guard));
            let masks = if new == 0 { [theirs, ours] } else { [ours, theirs] };
            self.update("enforce_guards", &id.to_ne_bytes(), &masks.concat())?;
        }
        self.generation = new;
        if let Err(error) = self.control() {
            self.generation = old;
            return Err(error);
        }
        self.rules.clone_from(&tables.rules);
        // Programs that began by the old tables must end before those may be touched.
        wait_for_programs();
        Ok(())
    }

    /// Empties the tables of a generation that is not in force.
    fn clear(&self, generation: u8) -> Result<(), EnforceError> {
        for (name, is_of_it) in [
            (
                "enforce_plans",
                (|key, generation| is_plan_of(key, generation)) as fn(&[u8], u8) -> bool,
            ),
            ("enforce_texts", |key, generation| key.get(4) == Some(&generation)),
        ] {
            let map = map(&self.object, name)?;
            let keys: Vec<Vec<u8>> = map.keys().filter(|key| is_of_it(key, generation)).collect();
            for key in keys {
                map.delete(&key).map_err(|source| EnforceError::Map { map: name, source })?;
            }
        }
        let counters = map(&self.object, "enforce_counters")?;
        let n_cpus = libbpf_rs::num_possible_cpus()
            .map_err(|source| EnforceError::Map { map: "enforce_counters", source })?;
        let zeroes = vec![vec![0_u8; Counts::FIELDS * 8]; n_cpus];
        for slot in 0..RULES_MAX {
            counters
                .update_percpu(&counter_key(generation, slot), &zeroes, MapFlags::ANY)
                .map_err(|source| EnforceError::Map { map: "enforce_counters", source })?;
        }
        Ok(())
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        // A sensor may hold the tables longer; without guards they do nothing.
        let ids: Vec<u64> = self.guarded().collect();
        for id in ids {
            self.unguard(id);
        }
    }
}

impl Counts {
    const FIELDS: usize = 5;

    /// Adds one processor's `struct decision_counters`.
    fn add_bytes(&mut self, bytes: &[u8]) {
        let fields = [
            &mut self.n_denied,
            &mut self.n_killed,
            &mut self.n_would,
            &mut self.n_failed,
            &mut self.n_unsent,
        ];
        for (field, chunk) in fields.into_iter().zip(bytes.as_chunks::<8>().0) {
            *field += u64::from_ne_bytes(*chunk);
        }
    }
}

impl Decision {
    /// Reads `struct decision`; nothing if the bytes are none.
    fn from_bytes(bytes: &[u8], boot_to_real_ns: u64) -> Option<Self> {
        let u64_at =
            |at: usize| bytes.get(at..)?.first_chunk::<8>().map(|b| u64::from_ne_bytes(*b));
        let u32_at =
            |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b));
        let comm = bytes.get(48..64)?;
        let object = bytes.get(64..)?;
        let n_object = usize::try_from(u32_at(44)?).ok()?.min(object.len());
        Some(Self {
            time_ns: u64_at(0)?.saturating_add(boot_to_real_ns),
            cgroup_id: u64_at(8)?,
            start_boottime_ns: u64_at(16)?,
            tid: u32_at(24)?,
            tgid: u32_at(28)?,
            rule: u32_at(32)?,
            event: bytes.get(40..)?.first_chunk::<2>().map(|b| u16::from_ne_bytes(*b))?,
            means: match bytes.get(42)? {
                1 => Means::KernelKill,
                2 => Means::Cgroup,
                3 => Means::Lsm,
                _ => return None,
            },
            outcome: match bytes.get(43)? {
                1 => Outcome::Denied,
                2 => Outcome::Killed,
                3 => Outcome::Would,
                4 => Outcome::Failed,
                _ => return None,
            },
            comm: String::from_utf8_lossy(comm.split(|byte| *byte == 0).next()?).into_owned(),
            object: object.get(..n_object)?.to_vec(),
        })
    }
}

fn check_lsm(refusals: Refusals) -> Result<(), EnforceError> {
    if refusals.lsm && !lsm_is_active().map_err(EnforceError::LsmList)? {
        return Err(EnforceError::NoLsm);
    }
    Ok(())
}

fn is_read_only(name: &OsStr) -> bool {
    name.to_string_lossy().contains(".rodata")
}

/// Loads `programs`, with `maps` in the place of new ones.
fn load_object(
    programs: &BTreeSet<&'static str>,
    maps: &[(String, OwnedFd)],
) -> Result<Object, EnforceError> {
    let (result, log) = libbpf_log::capture(|| {
        let mut builder = ObjectBuilder::default();
        let mut object =
            builder.name("palisade_enf").and_then(|builder| builder.open_memory(&OBJECT.0))?;
        for mut program in object.progs_mut() {
            let name = program.name().to_str().unwrap_or_default();
            let load = programs.contains(name);
            program.set_autoload(load);
        }
        for mut map in object.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            match name.as_str() {
                ".rodata.agent" => map.set_initial_value(&std::process::id().to_ne_bytes())?,
                ".rodata.call_events" => map.set_initial_value(&call_events())?,
                _ => {
                    if let Some((_, fd)) = maps.iter().find(|(known, _)| *known == name) {
                        map.reuse_fd(fd.as_fd())?;
                    }
                }
            }
        }
        object.load()
    });
    result.map_err(|source| EnforceError::Load { log, source })
}

fn map<'a>(object: &'a Object, name: &'static str) -> Result<libbpf_rs::Map<'a>, EnforceError> {
    object
        .maps()
        .find(|map| map.name() == OsStr::new(name))
        .ok_or(EnforceError::Object { part: name })
}

fn is_plan_of(key: &[u8], generation: u8) -> bool {
    key.first_chunk::<4>()
        .is_some_and(|key| u32::from_ne_bytes(*key) >> 16 == u32::from(generation))
}

fn counter_key(generation: u8, slot: usize) -> [u8; 4] {
    (u32::from(generation) * RULES_MAX as u32 + slot as u32).to_ne_bytes()
}

/// A bit for each slot whose rule is in force in a cgroup (`rules` of `struct guard`).
fn rules_mask(rules: &[u32], guard: &Guarded) -> Vec<u8> {
    let mut words = [0_u64; RULES_MAX / 64];
    for (slot, _) in rules.iter().enumerate().filter(|(_, rule)| !guard.except.contains(rule)) {
        if let Some(word) = words.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
        }
    }
    words.into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// Waits until every program that runs now has ended.
fn wait_for_programs() {
    // Without arguments to memory, and global: waits for a grace period of RCU, under which
    // programs run (`kernel/sched/membarrier.c`).
    // SAFETY: takes three numbers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, 1, 0, 0) };
    if result != 0 {
        // Kernels with processors that are never disturbed refuse; programs take microseconds.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
