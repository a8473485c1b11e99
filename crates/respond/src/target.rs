//! The one control group that a plan may touch.
//!
//! A [`Target`] exists only when the group is certain to be the container's own: its path
//! names the container's id, it is no root and no parent of other containers, and this
//! process is not inside. Whatever cannot be shown to be so is refused.

use palisade_base::Explain;
use palisade_model::Container;
use palisade_sys::cgroup::{CgroupError, Group, Hierarchies};

/// Characters of an id that a path must at least show.
const ID_CHARS_MIN: usize = 8;
/// Ids as engines shorten them.
const ID_CHARS_SHORT: usize = 12;

/// Why a container is not acted upon.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Neither a path nor a living first process is known.
    #[error("control group of container `{0}` is not known")]
    Unknown(String),
    /// The path does not show that it belongs to the container.
    #[error("control group `{path}` does not name container `{id}`")]
    NotItsOwn {
        /// The group.
        path: String,
        /// The container.
        id: String,
    },
    /// Nothing of it exists any more.
    #[error("container `{0}` has ended")]
    Ended(String),
    /// The group is a root, or holds this process.
    #[error("container `{id}` is not acted upon")]
    Refused {
        /// The container.
        id: String,
        /// Why.
        source: CgroupError,
    },
}

impl Explain for TargetError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Ended(_) => return None,
            Self::Unknown(_) | Self::NotItsOwn { .. } => {
                "use a control group whose path ends in the container's id, as engines do by default"
                    .into()
            }
            Self::Refused { source, .. } => return source.hint(),
        })
    }
}

/// A container and its own control group.
#[derive(Debug, Clone)]
pub struct Target {
    container: Container,
    group: Group,
}

impl Target {
    /// Finds the control group of `container` and checks that it is its own.
    pub fn resolve(container: &Container, hierarchies: &Hierarchies) -> Result<Self, TargetError> {
        let id = container.id.clone();
        let refused = |source| TargetError::Refused { id: id.clone(), source };
        let group = match (&container.cgroup, container.init_pid) {
            (Some(path), _) => hierarchies.group(path).map_err(refused)?,
            // A number may have been reused by now; the check of the path below finds out.
            (None, Some(pid)) => match hierarchies.of_process(pid) {
                Ok(group) => group,
                Err(CgroupError::Io { .. }) => return Err(TargetError::Ended(id)),
                Err(error) => return Err(refused(error)),
            },
            (None, None) => return Err(TargetError::Unknown(id)),
        };
        if !names_container(group.path(), container) {
            return Err(TargetError::NotItsOwn { path: group.path().to_string(), id });
        }
        if !group.exists() {
            return Err(TargetError::Ended(id));
        }
        // The machine's first process and ourselves are never part of a container of ours. Asked
        // of them: what a container can make many of must not keep a response from it.
        for pid in [1, std::process::id()] {
            if group.holds(pid).map_err(refused)? {
                return Err(refused(CgroupError::HoldsCaller(group.path().to_string())));
            }
        }
        Ok(Self { container: container.clone(), group })
    }

    /// The container.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Its control group.
    pub fn group(&self) -> &Group {
        &self.group
    }
}

/// Whether the last or the last but one part of `path` names the container.
///
/// The last but one, because Podman, LXC and systemd containers have groups of their own
/// below the container's.
fn names_container(path: &str, container: &Container) -> bool {
    let id = container.id.as_str();
    if id.len() < ID_CHARS_MIN && id != container.name {
        return false;
    }
    let long_enough = id.len() >= ID_CHARS_MIN;
    let short = id.get(..ID_CHARS_SHORT).unwrap_or(id);
    path.rsplit('/').take(2).any(|part| if long_enough { part.contains(short) } else { part == id })
}

#[cfg(test)]
mod tests {
    use palisade_model::Engine;

    use super::*;

    fn container(id: &str) -> Container {
        Container {
            id: id.into(),
            name: "web".into(),
            engine: Engine::Docker,
            image: None,
            policy: None,
            pod: None,
            cgroup: None,
            init_pid: None,
        }
    }

    const ID: &str = "4f2a9c7be01d4f2a9c7be01d4f2a9c7be01d4f2a9c7be01d4f2a9c7be01d0000";

    #[test]
    fn only_paths_that_name_the_container_are_its_own() {
        for (path, expected) in [
            (format!("/palisade/{ID}"), true),
            (format!("/system.slice/docker-{ID}.scope"), true),
            (format!("/machine.slice/libpod-{ID}.scope/container"), true),
            (format!("/docker/{ID}"), true),
            (format!("/docker/{ID}/init/deeper/still"), false),
            ("/docker".into(), false),
            ("/system.slice".into(), false),
            ("/user.slice/user-0.slice/session-1.scope".into(), false),
        ] {
            assert_eq!(names_container(&path, &container(ID)), expected, "{path}");
        }
        assert!(!names_container("/a/b", &container("a")), "a short id proves nothing");
        assert!(!names_container("/", &container("")), "no id");
    }

    #[test]
    fn roots_and_strangers_are_refused() {
        let Ok(hierarchies) = Hierarchies::detect() else {
            eprintln!("skipped: no control group hierarchy is mounted");
            return;
        };
        let check = |id: &str, cgroup: Option<&str>, pid: Option<u32>| {
            let mut container = container(id);
            container.cgroup = cgroup.map(Into::into);
            container.init_pid = pid;
            Target::resolve(&container, &hierarchies).unwrap_err()
        };
        assert!(matches!(check(ID, Some("/"), None), TargetError::Refused { .. }));
        assert!(matches!(check(ID, Some(""), None), TargetError::Refused { .. }));
        let up = format!("/../{ID}");
        assert!(matches!(check(ID, Some(&up), None), TargetError::Refused { .. }));
        assert!(matches!(check(ID, Some("/docker"), None), TargetError::NotItsOwn { .. }));
        assert!(matches!(check(ID, None, None), TargetError::Unknown(_)));
        let own = check(ID, None, Some(std::process::id()));
        assert!(
            matches!(own, TargetError::NotItsOwn { .. } | TargetError::Refused { .. }),
            "{own:?}"
        );
        let gone = format!("/palisade/{ID}");
        assert!(matches!(check(ID, Some(&gone), None), TargetError::Ended(_)));
    }
}
