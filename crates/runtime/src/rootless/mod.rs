//! Containers of an ordinary user: the user's own user namespace, in which the user is root and the
//! ranges of `/etc/subuid` and `/etc/subgid` are further ids (ADR 32).
//!
//! Everything of a user's happens in one namespace: a command goes into the one in which the user's
//! other commands and containers are, or makes it. Within it the same code runs as for root. A
//! container has a namespace of its own below, in which the user is nobody.
//!
//! Nothing here has a privilege that the user has not: ids are mapped by the distribution's
//! `newuidmap` and `newgidmap`.

pub(crate) mod delegation;
mod error;
mod maps;
mod slots;
mod subids;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use palisade_sys::userns::{NewUserNamespace, UserNamespace, n_mapped};
use palisade_sys::{facts, process};
use serde::{Deserialize, Serialize};

use crate::RuntimePaths;
use crate::lock::Lock;
use crate::paths::make_folder;
use crate::record::Record;

pub use error::{NoRange, RootlessError};
pub use maps::IdMaps;
pub(crate) use slots::{Slot, Slots};
pub use subids::SubIds;

/// How long another command may be at work on the user's namespace.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a file that says who is in the namespace.
const HOLDERS_BYTES_MAX: u64 = 1 << 20;
/// Processes that are remembered as being in the namespace.
const HOLDERS_MAX: usize = 4096;
/// Where `newuidmap` and `newgidmap` are looked for.
const PLACES: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

/// An ordinary user's place, once the process is in it.
#[derive(Debug, Clone)]
pub struct Rootless {
    /// The user, as the machine numbers it.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
    /// Ids besides the user's own; as the namespace numbers them, they begin with 1.
    pub n_ids: u32,
    /// What the machine calls them.
    pub maps: IdMaps,
    /// Why there are none, where there are none.
    pub no_range: Option<NoRange>,
}

/// A process, told from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    ticks: u64,
}

impl Holder {
    fn is_alive(self) -> bool {
        process::start_ticks(self.pid) == Some(self.ticks)
    }
}

impl Rootless {
    /// Goes into the user's namespace, or makes it. The process must have one thread.
    ///
    /// # Errors
    ///
    /// The caller is root, the folders are another's, or the kernel allows no user namespaces.
    pub fn enter(paths: &RuntimePaths) -> Result<Self, RootlessError> {
        let (uid, gid) = facts::user();
        for folder in [&paths.state, &paths.data] {
            make_folder(folder, 0o700).map_err(|error| RootlessError::Folder(Box::new(error)))?;
            own_alone(folder, uid)?;
        }
        let path = paths.state.join("userns.lock");
        let _alone = Lock::exclusive(&path, LOCK_DEADLINE)
            .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::TimedOut.into()))
            .map_err(RootlessError::io("lock", &path))?;
        let holders_path = paths.state.join("userns.json");
        let mut holders: Vec<Holder> = read_bounded(&holders_path)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        holders.retain(|holder| holder.is_alive());
        holders.truncate(HOLDERS_MAX - 1);
        let no_range = match existing(&holders, paths) {
            Some(namespace) => {
                namespace.enter().map_err(RootlessError::Enter)?;
                None
            }
            None => make(uid)?,
        };
        let pid = std::process::id();
        let ticks = process::start_ticks(pid).unwrap_or(0);
        holders.push(Holder { pid, ticks });
        let text = serde_json::to_vec(&holders).unwrap_or_default();
        crate::ids::sweep(Some(&paths.state));
        palisade_base::fs::write_atomic(&holders_path, &text, 0o600)
            .map_err(RootlessError::io("write", &holders_path))?;
        let n_ids =
            n_mapped().map_err(RootlessError::io("read", Path::new("/proc/self/uid_map")))?.max(1)
                - 1;
        let no_range = match (n_ids, no_range) {
            (0, None) => Some(NoRange::Earlier),
            (0, some) => some,
            _ => None,
        };
        Ok(Self { uid, gid, n_ids, maps: IdMaps::of_own()?, no_range })
    }
}

/// The namespace of the user's other commands and containers.
fn existing(holders: &[Holder], paths: &RuntimePaths) -> Option<UserNamespace> {
    let own = UserNamespace::of_process(std::process::id()).ok()?;
    let of_command = |holder: &Holder| {
        let namespace = UserNamespace::of_process(holder.pid).ok()?;
        // The process may have ended meanwhile, and its number be another's.
        (holder.is_alive() && !namespace.is(&own).ok()?).then_some(namespace)
    };
    if let Some(found) = holders.iter().find_map(of_command) {
        return Some(found);
    }
    containers(paths).into_iter().find_map(|holder| {
        let mut namespace = of_command(&holder)?;
        // A container's own is below the user's; the user's is right below ours.
        loop {
            let above = namespace.parent().ok()?;
            if above.is(&own).ok()? {
                return Some(namespace);
            }
            namespace = above;
        }
    })
}

/// First processes of the user's containers: of records, and of what the OCI runtime knows, for a
/// command that was killed before it had written its record.
fn containers(paths: &RuntimePaths) -> Vec<Holder> {
    let entries = |folder: PathBuf| {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
    };
    let of_record = |path: PathBuf| {
        let record = Record::read(&path).ok()?;
        Some(Holder { pid: record.container.init_pid?, ticks: record.run.init_start_ticks? })
    };
    let records = entries(paths.records()).filter_map(of_record);
    let states = entries(paths.runc_state()).filter_map(|path| runc_init(&path));
    records.chain(states).filter(|holder| holder.is_alive()).take(HOLDERS_MAX).collect()
}

/// The first process of a container, as the OCI runtime knows it in its folder `state`.
fn runc_init(state: &Path) -> Option<Holder> {
    // runC's, and crun's.
    let files = [
        ("state.json", "init_process_pid", "init_process_start"),
        ("status", "pid", "process-start-time"),
    ];
    files.iter().find_map(|(file, pid, start)| {
        let bytes = read_bounded(&state.join(file))?;
        let state: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        let number = |key: &str| state.get(key).and_then(serde_json::Value::as_u64);
        let pid = u32::try_from(number(pid)?).ok()?;
        Some(Holder { pid, ticks: number(start)? })
    })
}

/// The living first process of a container without a record, by the OCI runtime's `state`, with
/// when it started.
pub(crate) fn init_of_state(state: &Path) -> Option<(u32, u64)> {
    let holder = runc_init(state).filter(|holder| holder.is_alive())?;
    Some((holder.pid, holder.ticks))
}

fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    let file = std::fs::File::open(path).ok()?;
    palisade_base::read_bounded(file, "state", HOLDERS_BYTES_MAX).ok()
}

/// A folder in which somebody else can put things is no place for what is trusted later.
fn own_alone(folder: &Path, uid: u32) -> Result<(), RootlessError> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(folder).map_err(RootlessError::io("examine", folder))?;
    if metadata.uid() == uid && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(RootlessError::NotOwn(folder.to_path_buf()))
    }
}

/// Makes the user's namespace and goes into it; says why it has no range, if it has none.
fn make(uid: u32) -> Result<Option<NoRange>, RootlessError> {
    let new = NewUserNamespace::make().map_err(RootlessError::Refused)?;
    let missing = match SubIds::of_user(uid).and_then(|ids| map(&new, &ids)) {
        Ok(()) => None,
        Err(missing) => {
            // Half of a mapping cannot be mended: the other program may have failed.
            let new = NewUserNamespace::make().map_err(RootlessError::Refused)?;
            new.map_caller().map_err(RootlessError::Refused)?;
            new.enter().map_err(RootlessError::Enter)?;
            return Ok(Some(missing));
        }
    };
    new.enter().map_err(RootlessError::Enter)?;
    Ok(missing)
}

/// Has the distribution's programs map the user's ids.
fn map(new: &NewUserNamespace, ids: &SubIds) -> Result<(), NoRange> {
    let (uid, gid) = facts::user();
    for (name, own, ranges) in [("newuidmap", uid, &ids.users), ("newgidmap", gid, &ids.groups)] {
        let places = PLACES.iter().map(|folder| Path::new(folder).join(name));
        let program = places.clone().find(|path| path.is_file());
        let Some(program) = program else { return Err(NoRange::Program(name)) };
        let mut arguments = vec![new.pid().to_string(), "0".into(), own.to_string(), "1".into()];
        let mut inner = 1_u32;
        for range in ranges {
            let count = range.end - range.start;
            arguments.extend([inner, range.start, count].map(|number| number.to_string()));
            inner = inner.saturating_add(count);
        }
        let output = Command::new(&program)
            .args(&arguments)
            .env_clear()
            .stdin(std::process::Stdio::null())
            .output()
            .map_err(|error| NoRange::Refused { program: name, reason: error.to_string() })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let reason = said.split_whitespace().collect::<Vec<_>>().join(" ");
            let reason = reason.chars().take(300).collect();
            return Err(NoRange::Refused { program: name, reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_others_are_no_place_for_state() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (uid, _) = facts::user();
        let check = |mode: u32, uid: u32, expected: bool| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.path(), mode).unwrap();
            assert_eq!(own_alone(folder.path(), uid).is_ok(), expected);
        };
        check(0o700, uid, true);
        check(0o711, uid, true);
        check(0o770, uid, false);
        check(0o702, uid, false);
        check(0o700, uid + 1, false);
    }

    #[test]
    fn a_process_is_told_from_a_later_one() {
        let pid = std::process::id();
        let ticks = process::start_ticks(pid).unwrap();
        assert!(Holder { pid, ticks }.is_alive());
        assert!(!Holder { pid, ticks: ticks + 1 }.is_alive());
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state.json");
        let check = |text: String, expected: Option<u32>| {
            std::fs::write(&state, &text).unwrap();
            let expected = expected.map(|pid| (pid, ticks));
            assert_eq!(init_of_state(folder.path()), expected, "{text}");
        };
        let text = |pid: u64, ticks: u64| {
            format!(r#"{{"init_process_pid":{pid},"init_process_start":{ticks}}}"#)
        };
        check(text(pid.into(), ticks), Some(pid));
        check(text(pid.into(), ticks + 1), None);
        check(text(1 << 40, ticks), None);
        check("{".into(), None);
        check("[]".into(), None);
        // crun's form, in a file of its own.
        std::fs::remove_file(&state).unwrap();
        let text = format!(r#"{{"pid":{pid},"process-start-time":{ticks}}}"#);
        std::fs::write(folder.path().join("status"), text).unwrap();
        assert_eq!(init_of_state(folder.path()), Some((pid, ticks)));
    }
}
