//! Where state is kept.
//!
//! | place | content | lives |
//! |---|---|---|
//! | `state/containers/ID.json` | record, read by the sensor | while the container exists |
//! | `state/bundles/ID/` | spec, owner's lock, mount points | while the container exists |
//! | `/run/palisade/network/ID.json` | address and published ports of any run folder's container | while the container exists |
//! | `state/runc/` | the OCI runtime's own state | while the container exists |
//! | `state/runtimes/` | what OCI runtimes say of their versions | until their files change |
//! | `data/containers/ID/` | what the container wrote | while the container exists |
//! | `data/layers/HEX/` | unpacked layers, shared | until removed |
//! | `data/layers-of-IDS/HEX/` | the same, of an ordinary user's ids | until removed |
//! | `data/ids/ledger.json` | the ledger of id ranges | for ever |
//! | `data/ids/ledger.aside` | which of those set aside are left | until the machine ends |
//! | `/var/lib/palisade/ranges/ID` | which container of any data folder has the range | while the container exists |

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::RunError;
use crate::network::Place;

/// Roots of everything that running containers leaves on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimePaths {
    /// Volatile state, gone after a reboot: `/run/palisade`.
    pub state: PathBuf,
    /// Lasting data: `/var/lib/palisade`.
    pub data: PathBuf,
    /// Control group above those of the containers: `/palisade`.
    pub cgroup_parent: String,
    /// Leases of addresses on bridges, one folder for the machine: `/run/palisade/network`.
    pub leases: PathBuf,
}

impl Default for RuntimePaths {
    fn default() -> Self {
        Self {
            state: "/run/palisade".into(),
            data: "/var/lib/palisade".into(),
            cgroup_parent: "/palisade".into(),
            leases: "/run/palisade/network".into(),
        }
    }
}

impl RuntimePaths {
    /// Folder of records.
    pub fn records(&self) -> PathBuf {
        self.state.join("containers")
    }

    /// A container's record.
    pub fn record(&self, id: &str) -> PathBuf {
        self.records().join(format!("{id}.json"))
    }

    /// Folder of bundles.
    pub fn bundles(&self) -> PathBuf {
        self.state.join("bundles")
    }

    /// A container's bundle.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.bundles().join(id)
    }

    /// Where it is kept who has which address on the bridges.
    pub fn network(&self) -> Place {
        Place { leases: self.leases.clone(), bundles: self.bundles() }
    }

    /// State folder of the OCI runtime.
    pub fn runc_state(&self) -> PathBuf {
        self.state.join("runc")
    }

    /// What OCI runtimes say of their versions.
    pub fn runtimes(&self) -> PathBuf {
        self.state.join("runtimes")
    }

    /// Folder of what containers wrote.
    pub fn writes(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// What one container wrote: `upper` and `work` of its overlay.
    pub fn written(&self, id: &str) -> PathBuf {
        self.writes().join(id)
    }

    /// Folder of unpacked layers.
    pub fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    /// Folder of unpacked layers whose files belong to those ids of the machine that `ids` names.
    pub(crate) fn layers_of(&self, ids: &str) -> PathBuf {
        self.data.join(format!("layers-of-{ids}"))
    }

    /// The ledger of id ranges.
    pub fn ledger(&self) -> PathBuf {
        self.data.join("ids").join("ledger.json")
    }

    /// The ledger of an ordinary user's ids.
    pub fn slots(&self) -> PathBuf {
        self.data.join("ids").join("slots.json")
    }

    /// Folders of unpacked layers: one for each set of ids to which files can belong.
    pub(crate) fn all_layers(&self) -> Vec<PathBuf> {
        let is_one = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name == "layers" || name.starts_with("layers-"))
        };
        let entries = std::fs::read_dir(&self.data).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(is_one).collect()
    }

    /// The lock that creation shares and garbage collection has alone.
    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// Held while a container's name is chosen.
    pub(crate) fn names_lock(&self) -> PathBuf {
        self.state.join("names.lock")
    }

    /// A container's control group, relative to each hierarchy.
    pub fn cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup_parent)
    }

    /// Makes the folders.
    ///
    /// The way to a bundle can be searched by everyone, because the container's root (an
    /// ordinary id here) must walk it; nothing in it can be listed or read.
    pub(crate) fn prepare(&self) -> Result<(), RunError> {
        self.make()?;
        make_folder(&self.layers(), 0o700)?;
        let bundles = self.bundles();
        for folder in bundles.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
            let metadata = std::fs::metadata(folder).map_err(RunError::io("examine", folder))?;
            if metadata.permissions().mode() & 0o001 == 0 {
                return Err(RunError::Unreachable(folder.to_path_buf()));
            }
        }
        Ok(())
    }

    /// Makes the folders, whoever may walk to them.
    pub(crate) fn make(&self) -> Result<(), RunError> {
        for (folder, mode) in [
            (&self.state, 0o711),
            (&self.bundles(), 0o711),
            (&self.records(), 0o700),
            (&self.runc_state(), 0o700),
            (&self.runtimes(), 0o700),
            (&self.data, 0o700),
            (&self.writes(), 0o700),
            (&self.data.join("ids"), 0o700),
        ] {
            make_folder(folder, mode)?;
        }
        Ok(())
    }
}

/// Makes `folder` and those above it; `folder` itself gets `mode` if it is new.
pub(crate) fn make_folder(folder: &Path, mode: u32) -> Result<(), RunError> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)))
        .map_err(RunError::io("create", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_that_the_container_could_not_reach_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let paths = RuntimePaths { state: at("s"), data: at("d"), ..RuntimePaths::default() };
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(
            matches!(paths.prepare(), Err(RunError::Unreachable(path)) if path == folder.path())
        );
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        paths.prepare().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&paths.state), mode(&paths.data)), (0o711, 0o700));
        assert_eq!(paths.cgroup("x"), "/palisade/x");
    }
}
