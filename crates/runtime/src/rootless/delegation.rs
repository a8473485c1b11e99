//! Control groups that were delegated to a user (kernel `cgroup-v2.rst`, "Delegation").
//!
//! Version 2 alone: the group in which the caller is, or one above it, belongs to the user with
//! its `cgroup.procs` and `cgroup.subtree_control`. Groups of version 1 cannot be delegated safely.

use std::path::{Path, PathBuf};

use palisade_sys::{Hierarchies, Layout};

/// Groups above one that are looked at.
const DEPTH_MAX: usize = 32;

/// A group of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delegation {
    /// Its path in the hierarchy, with `/` first.
    pub(crate) path: String,
    /// Where it is.
    folder: PathBuf,
}

impl Delegation {
    /// The topmost group of the user's that the caller is in or below.
    pub(crate) fn find(hierarchies: &Hierarchies) -> Option<Self> {
        if hierarchies.layout() != Layout::V2 {
            return None;
        }
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        Self::topmost(hierarchies.unified()?, own)
    }

    fn topmost(mount: &Path, own: &str) -> Option<Self> {
        let mut found = None;
        for group in Path::new(own).ancestors().take(DEPTH_MAX) {
            let path = group.to_str().filter(|path| *path != "/")?.to_string();
            let folder = mount.join(path.trim_start_matches('/'));
            let is_ours = ["", "cgroup.procs", "cgroup.subtree_control"].iter().all(|file| {
                let access = rustix::fs::Access::WRITE_OK;
                rustix::fs::access(folder.join(file), access).is_ok()
            });
            if !is_ours {
                break;
            }
            found = Some(Self { path, folder });
            if group.parent() == Some(Path::new("/")) {
                break;
            }
        }
        found
    }

    /// Makes the group above the containers' and has it pass controllers on; returns those that
    /// containers get. The caller leaves the delegated group when it is alone in it, because only
    /// an empty one can pass controllers on.
    pub(crate) fn prepare(&self) -> std::io::Result<Vec<String>> {
        let pid = std::process::id().to_string();
        let members = std::fs::read_to_string(self.folder.join("cgroup.procs"))?;
        if members.split_whitespace().eq([pid.as_str()]) {
            let aside = self.folder.join("palisade-command");
            make(&aside)?;
            std::fs::write(aside.join("cgroup.procs"), &pid)?;
        }
        let parent = self.folder.join("palisade");
        pass_on(&self.folder);
        make(&parent)?;
        pass_on(&parent);
        let passed = std::fs::read_to_string(parent.join("cgroup.subtree_control"))?;
        Ok(passed.split_whitespace().map(str::to_string).collect())
    }

    /// The path of the group above the containers'.
    pub(crate) fn parent(&self) -> String {
        format!("{}/palisade", self.path)
    }
}

fn make(folder: &Path) -> std::io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Passes on to the groups below what this one has; what cannot be is seen later.
fn pass_on(folder: &Path) {
    for controller in ["memory", "cpu", "pids", "io"] {
        let _ = std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_group_of_the_users_is_found() {
        // Files stand for the kernel's; what is missing is not the user's.
        let folder = tempfile::tempdir().unwrap();
        let make = |group: &str, files: bool| {
            let at = folder.path().join(group);
            std::fs::create_dir_all(&at).unwrap();
            for file in ["cgroup.procs", "cgroup.subtree_control"].iter().filter(|_| files) {
                std::fs::write(at.join(file), "").unwrap();
            }
        };
        make("a", false);
        make("a/b", true);
        make("a/b/c", true);
        make("a/x/d", false);
        let check = |own: &str, expected: Option<&str>| {
            let found = Delegation::topmost(folder.path(), own);
            assert_eq!(found.map(|it| it.parent()).as_deref(), expected, "{own}");
        };
        check("/a/b/c", Some("/a/b/palisade"));
        check("/a/b", Some("/a/b/palisade"));
        check("/a/x/d", None);
        check("/a", None);
        check("/", None);
    }
}
