//! Control groups that were delegated to a user (kernel `cgroup-v2.rst`, "Delegation").
//!
//! Version 2 alone: the group in which the caller is, or one above it, belongs to the user with
//! its `cgroup.procs` and `cgroup.subtree_control`. Groups of version 1 cannot be delegated safely.

use std::path::{Path, PathBuf};

use palisade_sys::{Hierarchies, Layout};

/// Groups above one that are looked at.
const DEPTH_MAX: usize = 32;
/// Bytes of a group's file that are read.
const GROUP_BYTES_MAX: u64 = 4 << 20;
/// Controllers that containers use.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "pids", "io"];
/// What has a group pass controllers on.
const PASSED_ON: &str = "cgroup.subtree_control";

/// Where the kernel says in which groups a process is.
pub(crate) const OWN: &str = "/proc/self/cgroup";

/// A group of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delegation {
    /// Its path in the hierarchy, with `/` first.
    pub(crate) path: String,
    /// Where it is.
    folder: PathBuf,
}

/// What containers get of a user's groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Groups {
    /// The controllers; `None` where no group can be used.
    pub(crate) controllers: Option<Vec<String>>,
    /// What could not be had though it was delegated, and why.
    pub(crate) failures: Vec<String>,
}

impl Delegation {
    /// The topmost group of the user's that the caller is in or below.
    ///
    /// # Errors
    ///
    /// The kernel does not say in which group the caller is.
    pub(crate) fn find(hierarchies: &Hierarchies) -> std::io::Result<Option<Self>> {
        if hierarchies.layout() != Layout::V2 {
            return Ok(None);
        }
        let own = std::fs::read_to_string(OWN)?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::"));
        Ok(hierarchies.unified().zip(own).and_then(|(mount, own)| Self::topmost(mount, own)))
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

    /// Makes the group above the containers' and has it pass controllers on. The caller leaves
    /// the delegated group when it is alone in it, because only an empty one can pass
    /// controllers on.
    pub(crate) fn prepare(&self) -> Groups {
        let mut failures = Vec::new();
        let controllers = self.prepare_into(&mut failures);
        let controllers = controllers.map_err(|(what, path, error)| {
            let path = path.display();
            failures.push(format!("{what} `{path}` of the delegated control group: {error}"));
        });
        Groups { controllers: controllers.ok(), failures }
    }

    fn prepare_into(&self, failures: &mut Vec<String>) -> Result<Vec<String>, Failed> {
        let pid = std::process::id().to_string();
        if words(&self.folder.join("cgroup.procs"))?.iter().eq([&pid]) {
            let aside = self.folder.join("palisade-command");
            make(&aside)?;
            let procs = aside.join("cgroup.procs");
            std::fs::write(&procs, &pid).map_err(|error| ("write", procs, error))?;
        }
        let parent = self.folder.join("palisade");
        pass_on(&self.folder, failures)?;
        make(&parent)?;
        pass_on(&parent, failures)?;
        words(&parent.join(PASSED_ON))
    }

    /// What [`Self::prepare`] would give, without changing anything.
    pub(crate) fn look(&self) -> Groups {
        let read = |file: &str| words(&self.folder.join(file));
        let controllers = || {
            let (has, passed, members) =
                (read("cgroup.controllers")?, read(PASSED_ON)?, read("cgroup.procs")?);
            // One in which somebody else is cannot pass on what it does not pass on yet.
            let is_free = members.iter().all(|pid| *pid == std::process::id().to_string());
            let has = has.into_iter().filter(|it| CONTROLLERS.contains(&it.as_str()));
            Ok(has.filter(|it| is_free || passed.contains(it)).collect())
        };
        controllers().map_or_else(
            |(what, path, error): Failed| Groups {
                controllers: None,
                failures: vec![format!("{what} `{}`: {error}", path.display())],
            },
            |found| Groups { controllers: Some(found), failures: Vec::new() },
        )
    }

    /// The path of the group above the containers'.
    pub(crate) fn parent(&self) -> String {
        format!("{}/palisade", self.path)
    }
}

/// What was done to which file, and why it failed.
type Failed = (&'static str, PathBuf, std::io::Error);

fn make(folder: &Path) -> Result<(), Failed> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(("make", folder.to_path_buf(), error))
        }
        _ => Ok(()),
    }
}

/// The words of a group's file.
fn words(path: &Path) -> Result<Vec<String>, Failed> {
    let bytes = std::fs::File::open(path)
        .and_then(|file| palisade_base::read_bounded(file, "control group", GROUP_BYTES_MAX))
        .map_err(|error| ("read", path.to_path_buf(), error))?;
    Ok(String::from_utf8_lossy(&bytes).split_whitespace().map(str::to_string).collect())
}

/// Passes on to the groups below what this one has of use; what cannot be is a failure.
fn pass_on(folder: &Path, failures: &mut Vec<String>) -> Result<(), Failed> {
    let to = folder.join(PASSED_ON);
    let (has, passed) = (words(&folder.join("cgroup.controllers"))?, words(&to)?);
    let missing =
        has.iter().filter(|it| CONTROLLERS.contains(&it.as_str()) && !passed.contains(it));
    for controller in missing {
        if let Err(error) = std::fs::write(&to, format!("+{controller}")) {
            // A group with processes passes nothing on.
            let hint = if error.kind() == std::io::ErrorKind::ResourceBusy {
                "; other processes are in the group: give the command a scope of its own \
                 (systemd-run --user --scope -p Delegate=yes palisade run …)"
            } else {
                ""
            };
            failures.push(format!(
                "pass the controller `{controller}` on by `{}`: {error}{hint}",
                to.display()
            ));
        }
    }
    Ok(())
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

    #[test]
    fn a_look_changes_nothing_and_failures_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        let delegation = Delegation { path: "/x".into(), folder: folder.path().into() };
        assert!(delegation.look().failures[0].contains("cgroup.controllers"));
        assert!(delegation.prepare().failures[0].contains("cgroup.procs"));
        let own = std::process::id();
        write("cgroup.controllers", "cpuset cpu io memory pids\n");
        write("cgroup.procs", &format!("{own}\n"));
        write(PASSED_ON, "pids\n");
        let strings = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect());
        let expect = |expected: Option<Vec<String>>| {
            assert_eq!(delegation.look(), Groups { controllers: expected, failures: Vec::new() });
        };
        expect(strings(&["cpu", "io", "memory", "pids"]));
        write("cgroup.procs", &format!("{own}\n1\n"));
        expect(strings(&["pids"]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(std::fs::read_to_string(folder.path().join(PASSED_ON)).unwrap(), "pids\n");
        // A file that can be read, and not written by anybody.
        std::fs::remove_file(folder.path().join(PASSED_ON)).unwrap();
        std::os::unix::fs::symlink("/proc/version", folder.path().join(PASSED_ON)).unwrap();
        std::fs::write(folder.path().join("cgroup.controllers"), "pids\n").unwrap();
        let failures = delegation.prepare().failures;
        let expected = format!("pass the controller `pids` on by `{}", folder.path().display());
        assert!(failures.iter().any(|it| it.starts_with(&expected)), "{failures:?}");
    }
}
