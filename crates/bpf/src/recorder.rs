//! Records what the processes of containers do, for profiles made from it.
//!
//! The programs of `probes/recorder.bpf.c` note in tables what is new and send nothing; a call that
//! was seen before costs them a look into a table. [`Recorder::read`] reads the tables. A process is
//! followed with its children from its next exec on ([`Recorder::follow_children`]), with all of
//! its pid namespace ([`Recorder::follow_namespace`]), or of its control group
//! ([`Recorder::follow_group`]).
//!
//! What this does not see: calls through the 32-bit interface are named, not recorded; addresses of
//! `sendmsg` and `sendmmsg` are not read; paths are cut at 255 bytes, and said to be.

mod read;

use std::ffi::OsStr;
use std::path::PathBuf;

use libbpf_rs::{Link, MapCore as _, MapFlags, Object, ObjectBuilder};

pub use read::{Address, AddressKind, CapabilityUse, NotedPath, Observed, PathKind, Site};

use crate::libbpf_log;
use crate::load::{BTF_PATH, LoadError};

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/recorder.bpf.o")));

/// Numbers of calls that are recorded: 0 to this, exclusive. `CALLS_MAX` of `probes/call.h`.
pub const CALLS_MAX: usize = 1024;
/// Targets that can be told apart; half of `SLOTS_MAX` of `probes/recorder.bpf.c`.
pub const TARGETS_MAX: u32 = 64;
/// Followed from the next exec on; as in `probes/recorder.bpf.c`.
const PENDING: u32 = 0x8000_0000;
/// The programs without which nothing is recorded.
const PROGRAMS: [&str; 4] = ["record_end", "record_fork", "record_exit", "record_enter"];
/// The one that newer kernels have a hook for.
const CAPABILITY: &str = "record_capability";
/// Maps of the headers that these programs do not use.
const UNUSED: [&str; 8] = [
    "handlers",
    "handlers_compat",
    "counters",
    "ring_priority",
    "ring_bulk",
    "cgroups_listed",
    "escaped",
    "cgroups_sent",
];

/// What a call is noted for at its end. The order is that of `enum kind` in the C source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The result is a descriptor; its file is noted if it can be written to.
    Open,
    /// The argument at this place is a path that the call changes.
    Path(u8),
    /// The same, below the folder whose descriptor is the argument before it.
    PathAt(u8),
    /// Executes a program.
    Exec,
    /// Gives a socket an address of this side.
    Bind,
    /// Gives it the address of the other side.
    Connect,
    /// The fifth argument may be the address of the other side.
    Send,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Path(_) => 2,
            Self::PathAt(_) => 3,
            Self::Exec => 4,
            Self::Bind => 5,
            Self::Connect => 6,
            Self::Send => 7,
        }
    }

    const fn argument(self) -> u8 {
        match self {
            Self::Path(at) | Self::PathAt(at) => at,
            _ => 0,
        }
    }
}

/// What is to be noted of which call, by this machine's numbers.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What calls are noted for at their end.
    pub kinds: Vec<(u32, Kind)>,
    /// Arguments whose values are noted: places from 0 to 5.
    pub watched: Vec<(u32, [Option<u8>; 2])>,
    /// With this, each place in the code that makes another call is noted, and each that makes one
    /// whose arguments are watched.
    pub allowed: Option<Vec<u32>>,
}

/// The hierarchy of control groups whose ids are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// Version 2's.
    Unified = 1,
    /// Version 1's that counts processes.
    Pids = 2,
}

/// Programs that record. Dropping it takes them out of the kernel.
pub struct Recorder {
    /// Order of the fields is order of the drop: hooks first.
    links: Vec<Link>,
    object: Object,
    sees_capabilities: bool,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("sees_capabilities", &self.sees_capabilities)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Loads the programs and takes their hooks; nothing is followed yet.
    pub fn load(plan: &Plan) -> Result<Self, LoadError> {
        let path = PathBuf::from(BTF_PATH);
        if !path.exists() {
            return Err(LoadError::NoBtf { path });
        }
        // A kernel without the hook of capabilities refuses the whole object for it.
        match Self::load_with(plan, true) {
            Err(LoadError::Verifier { .. } | LoadError::Attach { program: CAPABILITY, .. }) => {
                Self::load_with(plan, false)
            }
            result => result,
        }
    }

    fn load_with(plan: &Plan, sees_capabilities: bool) -> Result<Self, LoadError> {
        let (result, log) = libbpf_log::capture(|| {
            let mut open = ObjectBuilder::default().name("palisade_rec")?.open_memory(&OBJECT.0)?;
            for mut program in open.progs_mut() {
                let name = program.name().to_os_string();
                let is_wanted = PROGRAMS.iter().any(|wanted| name == *wanted)
                    || (sees_capabilities && name == CAPABILITY);
                program.set_autoload(is_wanted);
            }
            for mut map in open.maps_mut() {
                let name = map.name().to_os_string();
                if UNUSED.iter().any(|unused| name == *unused) {
                    map.set_autocreate(false)?;
                }
                if let (Some(table), Some(value)) = (table(&name, plan), map.initial_value_mut()) {
                    let n = value.len().min(table.len());
                    value[..n].copy_from_slice(&table[..n]);
                }
            }
            open.load()
        });
        let object = result.map_err(|source| match source.kind() {
            libbpf_rs::ErrorKind::PermissionDenied if log.is_empty() => {
                LoadError::NoPermission(source)
            }
            _ => LoadError::Verifier { log, source },
        })?;
        let mut recorder = Self { links: Vec::new(), object, sees_capabilities };
        let capability = sees_capabilities.then_some(CAPABILITY);
        for name in PROGRAMS.into_iter().chain(capability) {
            let link = recorder
                .object
                .progs_mut()
                .find(|program| program.name() == OsStr::new(name))
                .ok_or(LoadError::Object { part: name })?
                .attach_trace()
                .map_err(|source| LoadError::Attach { program: name, source })?;
            recorder.links.push(link);
        }
        Ok(recorder)
    }

    /// Whether the kernel has a hook at the check of capabilities (6.14).
    pub fn sees_capabilities(&self) -> bool {
        self.sees_capabilities
    }

    /// Follows the children of process `pid` as `target`, each from its next exec on.
    pub fn follow_children(&self, target: u32, pid: u32) -> Result<(), LoadError> {
        self.follow("tasks", pid, target | PENDING)
    }

    /// Follows process `pid` and its children as `target`, from now on.
    pub fn follow_process(&self, target: u32, pid: u32) -> Result<(), LoadError> {
        self.follow("tasks", pid, target)
    }

    /// No longer follows process `pid`; its children stay followed.
    pub fn leave(&self, pid: u32) {
        if let Some(map) = self.map("tasks") {
            // It may have ended.
            let _gone = map.delete(&pid.to_ne_bytes());
        }
    }

    /// Follows every process of the pid namespace whose inode number is `inode` as `target`.
    pub fn follow_namespace(&self, target: u32, inode: u32) -> Result<(), LoadError> {
        self.follow("namespaces", inode, target)?;
        let one = 1_u32.to_ne_bytes();
        self.update(".data.any_namespace", &0_u32.to_ne_bytes(), &one)
    }

    /// Follows every process of the control group whose folder has the inode number `inode` as
    /// `target`, from now on, without the groups below it. All groups of a recorder are of one
    /// hierarchy, the unified one or that of `pids`: their numbers are not each other's.
    pub fn follow_group(
        &self,
        target: u32,
        hierarchy: Hierarchy,
        inode: u64,
    ) -> Result<(), LoadError> {
        if target >= TARGETS_MAX {
            return Err(LoadError::TooManyTargets(target));
        }
        self.update("groups", &inode.to_ne_bytes(), &target.to_ne_bytes())?;
        let code = hierarchy as u32;
        self.update(".data.any_group", &0_u32.to_ne_bytes(), &code.to_ne_bytes())
    }

    /// Processes that are followed now, but for those of namespaces and groups which make no child.
    pub fn followed(&self) -> Vec<u32> {
        let Some(map) = self.map("tasks") else { return Vec::new() };
        map.keys().filter_map(|key| Some(u32::from_ne_bytes(*key.first_chunk()?))).collect()
    }

    fn follow(&self, map: &'static str, key: u32, target: u32) -> Result<(), LoadError> {
        if target & !PENDING >= TARGETS_MAX {
            return Err(LoadError::TooManyTargets(target & !PENDING));
        }
        self.update(map, &key.to_ne_bytes(), &target.to_ne_bytes())
    }

    fn update(&self, name: &'static str, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let map = self.map(name).ok_or(LoadError::Object { part: name })?;
        map.update(key, value, MapFlags::ANY).map_err(|source| LoadError::Map { map: name, source })
    }

    fn map(&self, name: &str) -> Option<libbpf_rs::Map<'_>> {
        self.object.maps().find(|map| map.name() == OsStr::new(name))
    }
}

/// The content of the table that the map `name` is, if it is one.
fn table(name: &OsStr, plan: &Plan) -> Option<Vec<u8>> {
    let mut out = vec![0; CALLS_MAX];
    let mut set = |number: u32, value: u8| {
        if let Some(slot) = out.get_mut(number as usize) {
            *slot = value;
        }
    };
    let nibble = |place: Option<u8>| place.filter(|place| *place < 6).map_or(0, |place| place + 1);
    match name.to_str()? {
        ".rodata.kinds" => plan.kinds.iter().for_each(|(number, kind)| set(*number, kind.code())),
        ".rodata.path_argument" => {
            plan.kinds.iter().for_each(|(number, kind)| set(*number, kind.argument()));
        }
        ".rodata.watched" => plan
            .watched
            .iter()
            .for_each(|(number, [a, b])| set(*number, nibble(*a) | nibble(*b) << 4)),
        ".rodata.allowed" => plan.allowed.iter().flatten().for_each(|number| set(*number, 1)),
        ".rodata.checking" => return Some(u32::from(plan.allowed.is_some()).to_ne_bytes().into()),
        _ => return None,
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_what_the_plan_says() {
        let plan = Plan {
            kinds: vec![(2, Kind::Open), (258, Kind::PathAt(1)), (u32::MAX, Kind::Exec)],
            watched: vec![(41, [Some(0), Some(1)]), (16, [Some(1), None]), (3, [Some(9), None])],
            allowed: Some(vec![0, 1023, 1024]),
        };
        let at = |name: &str, number: usize| table(OsStr::new(name), &plan).unwrap()[number];
        assert_eq!(at(".rodata.kinds", 2), 1);
        assert_eq!((at(".rodata.kinds", 258), at(".rodata.path_argument", 258)), (3, 1));
        assert_eq!(at(".rodata.watched", 41), 0x21);
        assert_eq!(at(".rodata.watched", 16), 0x02);
        assert_eq!(at(".rodata.watched", 3), 0);
        assert_eq!((at(".rodata.allowed", 1023), at(".rodata.allowed", 5)), (1, 0));
        assert_eq!(table(OsStr::new(".rodata.checking"), &plan).unwrap(), 1_u32.to_ne_bytes());
        assert_eq!(table(OsStr::new("paths"), &plan), None);
    }
}
