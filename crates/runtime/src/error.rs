//! What can fail, and what to do about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_base::Explain;
use palisade_harden::{Refusal, ResolveUserError};
use palisade_sys::cgroup::CgroupError;
use palisade_sys::mount::MountError;

/// A container that could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The caller is not root.
    #[error("running containers needs root")]
    NotRoot,
    /// Something that only root can do.
    #[error("only root can {what}")]
    NeedsRoot {
        /// What.
        what: std::borrow::Cow<'static, str>,
        /// What to do instead.
        hint: &'static str,
    },
    /// An ordinary user without a range of ids.
    #[error("no range of ids for a container")]
    NoRange(#[source] crate::NoRange),
    /// Judgement on the image or the policy's controls.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The image names no command and the caller gave none.
    #[error("the image names no command to run")]
    NoCommand,
    /// The image's user does not exist in it.
    #[error(transparent)]
    User(#[from] ResolveUserError),
    /// A container name or id that is not allowed or in use.
    #[error("container name `{name}` {problem}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The ledger of id ranges.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// The layers of the image.
    #[error("prepare the layers of the image")]
    Layer(#[from] LayerError),
    /// The root file system.
    #[error("assemble the root file system")]
    Mount(#[from] MountError),
    /// Ids cannot be mapped on the file system that holds the image.
    #[error("the file system of `{}` cannot map ids", .0.display())]
    NoIdMapping(PathBuf),
    /// The container's root, an ordinary id here, could not walk to its root file system.
    #[error("folder `{}` cannot be searched by other users", .0.display())]
    Unreachable(PathBuf),
    /// The OCI runtime.
    #[error(transparent)]
    Runc(#[from] RuncError),
    /// The program of the container could not be started.
    #[error("start `{command}` in the container: {message}")]
    Command {
        /// Its first word.
        command: String,
        /// What the OCI runtime said.
        message: String,
        /// What about the program it was.
        fault: crate::StartFault,
        /// What to do about it.
        hint: String,
    },
    /// The seccomp profile denies calls that the OCI runtime makes to start the program.
    #[error("start `{command}` under the seccomp profile `{}`: {message}", .profile.display())]
    Filter {
        /// Its first word.
        command: String,
        /// The profile's file.
        profile: PathBuf,
        /// What the OCI runtime said, or how it ended.
        message: String,
        /// The calls.
        denied: Vec<&'static str>,
    },
    /// A limit of the policy cannot be held.
    #[error(
        "the policy limits {limit}, and this machine has no control group controller `{controller}`"
    )]
    Controller {
        /// What is limited: `memory`.
        limit: &'static str,
        /// The controller.
        controller: &'static str,
    },
    /// Programs that are not the image's could not be kept out.
    #[error("guard the container's programs")]
    Drift(#[from] crate::DriftError),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The network.
    #[error(transparent)]
    Network(#[from] crate::network::NetworkError),
    /// AppArmor.
    #[error(transparent)]
    AppArmor(#[from] crate::apparmor::AppArmorError),
    /// SELinux.
    #[error(transparent)]
    Selinux(#[from] crate::selinux::SelinuxError),
    /// A signal arrived before the container ran.
    #[error("interrupted by signal {0} before the container started")]
    Interrupted(i32),
    /// A file of ours.
    #[error("{action} `{}`", .path.display())]
    Io {
        /// `create`, `read`, `write`, `lock`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<crate::start::NotStarted> for RunError {
    fn from(it: crate::start::NotStarted) -> Self {
        let crate::start::NotStarted { command, message, fault, hint } = it;
        Self::Command { command, message, fault, hint }
    }
}

impl RunError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

impl Explain for RunError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NotRoot => "run it as root with all capabilities, or as an ordinary user",
                Self::NeedsRoot { hint, .. } => hint,
                Self::NoRange(error) => return error.hint(),
                Self::Refused(refusal) => return refusal.hint(),
                Self::NoCommand => "name one: palisade run IMAGE -- COMMAND",
                Self::User(error) => return error.hint(),
                Self::Name { .. } => "choose another name, or remove that container",
                Self::Ids(error) => return error.hint(),
                Self::Layer(error) => return error.hint(),
                Self::Mount(error) => return error.hint(),
                Self::NoIdMapping(_) => {
                    "keep /var/lib/palisade on ext4, xfs or btrfs with Linux 5.19 or later, or \
                     set `user_namespace: host` in the policy"
                }
                Self::Unreachable(folder) => {
                    return Some(format!(
                        "keep state elsewhere (--run-dir), or run: chmod o+x {}",
                        folder.display()
                    ));
                }
                Self::Runc(error) => return error.hint(),
                Self::Command { hint, .. } => return Some(hint.clone()),
                Self::Filter { profile, denied, .. } => {
                    return Some(format!(
                        "the profile denies {}, which the OCI runtime may call under it to start \
                         the program: allow them; palisade profile verify {} IMAGE names what else \
                         is missing",
                        denied.join(", "),
                        profile.display()
                    ));
                }
                Self::Controller { controller, .. } => {
                    return Some(format!(
                        "enable it (cgroup_enable={controller} on the kernel's command line; with \
                         version 2 also in the root's cgroup.subtree_control), or take the limit \
                         out of the policy"
                    ));
                }
                Self::Drift(_) => {
                    "the kernel needs fanotify with permission events \
                     (CONFIG_FANOTIFY_ACCESS_PERMISSIONS); or run it without --deny-drift"
                }
                Self::Cgroup(error) => return error.hint(),
                Self::Network(error) => return error.hint(),
                Self::AppArmor(error) => return error.hint(),
                Self::Selinux(error) => return error.hint(),
                Self::Interrupted(_) => return None,
                Self::Io { source, .. } => match source.kind() {
                    std::io::ErrorKind::StorageFull => "free space on the device",
                    _ => return None,
                },
            }
            .into(),
        )
    }
}

/// A failure of the OCI runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuncError {
    /// No such program.
    #[error("no OCI runtime found ({})", .looked.join(", "))]
    Missing {
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// Its version could not be read.
    #[error("`{}` does not say a version that is known", .0.display())]
    UnknownVersion(PathBuf),
    /// Its version is too old for what a container needs.
    #[error("`{}` is version {found}, at least {needed} is needed", .path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The oldest that works.
        needed: &'static str,
    },
    /// It failed.
    #[error("{program} {operation} failed: {message}")]
    Failed {
        /// Its name: `runc`.
        program: String,
        /// `create`, `start`, `delete`.
        operation: &'static str,
        /// What it said.
        message: String,
    },
    /// It did not end in time.
    #[error("{program} {operation} did not end within {} s", .after.as_secs())]
    Late {
        /// Its name.
        program: String,
        /// `create`, `start`, `delete`.
        operation: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// It could not be started or waited for.
    #[error("run {program} {operation}")]
    Io {
        /// Its name.
        program: String,
        /// `create`, `start`, `delete`.
        operation: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for RuncError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Missing { .. } => "install it: apt install runc",
                Self::UnknownVersion(_) => "install the distribution's: apt install runc",
                Self::TooOld { .. } => "update it: apt install --only-upgrade runc",
                Self::Failed { message, .. } if message.contains("hybrid") => {
                    "this runtime refuses cgroup v1 and v2 together; use runc"
                }
                Self::Failed { .. } | Self::Io { .. } => return None,
                Self::Late { .. } => "look for a hanging disk or a stopped process, then try again",
            }
            .into(),
        )
    }
}

/// A range of ids that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// All ranges have been handed out.
    #[error("all {n_ranges} ranges of ids have been handed out")]
    Exhausted {
        /// How many there were.
        n_ranges: u64,
    },
    /// The ledger is damaged; guessing could hand a range out twice.
    #[error("the ledger of id ranges `{}` is damaged", .0.display())]
    Damaged(PathBuf),
    /// A list of ids that belong to others cannot be read.
    #[error("read `{}`, which says whose ids are taken", .path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The ledger could not be read, locked or written.
    #[error("{action} the ledger of id ranges `{}`", .path.display())]
    Io {
        /// `read`, `lock`, `write`.
        action: &'static str,
        /// The ledger.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for IdsError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Exhausted { .. } => {
                    "remove the ledger when no file of an old container is left on this machine"
                }
                Self::Damaged(_) => {
                    "restore it from a backup, or remove it when no container of Palisade's has \
                     left files behind"
                }
                Self::List { .. } => {
                    "mend it: a container could otherwise be given a user's ids; it may be absent, \
                     and has at most 1 MiB"
                }
                Self::Io { .. } => return None,
            }
            .into(),
        )
    }
}

/// A layer that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Reading or unpacking the image.
    #[error("unpack layer {diff_id}")]
    Extract {
        /// The layer.
        diff_id: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The image has no layer, or more than an overlay takes.
    #[error("the image has {0} layers; between 1 and {max} are possible", max = palisade_sys::mount::OVERLAY_LOWERS_MAX)]
    Count(usize),
    /// The folder may not become a container's root.
    #[error("`{}` cannot be a container's root file system: {problem}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        problem: &'static str,
    },
    /// A file of the store.
    #[error("{action} `{}`", .path.display())]
    Io {
        /// `create`, `lock`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for LayerError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Extract { hint, .. } => hint.clone(),
            Self::Count(0) => Some("give an image with at least one layer".into()),
            Self::Count(_) => Some("squash the image's layers".into()),
            Self::Folder { .. } => Some("name a folder that holds a root file system".into()),
            Self::Io { .. } => None,
        }
    }
}

/// An operation on a container that exists.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// No container has that id or name.
    #[error("no container `{name}`")]
    NotFound {
        /// As given.
        name: String,
        /// A similar name that exists.
        nearest: Option<String>,
    },
    /// Several ids begin so.
    #[error("`{0}` names several containers")]
    Ambiguous(String),
    /// It does not run.
    #[error("container `{0}` does not run")]
    NotRunning(String),
    /// The program could not be started in it.
    #[error("start `{command}` in the container: {message}")]
    Command {
        /// Its first word.
        command: String,
        /// What the OCI runtime said.
        message: String,
        /// What about the program it was.
        fault: crate::StartFault,
        /// What to do about it.
        hint: String,
    },
    /// It runs, and removal was not forced.
    #[error("container `{0}` runs")]
    Running(String),
    /// Its record cannot be read.
    #[error("the record of container `{0}` is damaged")]
    Damaged(String),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The OCI runtime.
    #[error(transparent)]
    Runc(#[from] RuncError),
    /// A file of ours.
    #[error("{action} `{}`", .path.display())]
    Io {
        /// `read`, `write`, `remove`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<crate::start::NotStarted> for ManageError {
    fn from(it: crate::start::NotStarted) -> Self {
        let crate::start::NotStarted { command, message, fault, hint } = it;
        Self::Command { command, message, fault, hint }
    }
}

impl Explain for ManageError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::NotFound { .. } | Self::NotRunning(_) => {
                "list what runs with `palisade ps`".into()
            }
            Self::Ambiguous(_) => "give more characters of the id".into(),
            Self::Command { hint, .. } => hint.clone(),
            Self::Running(_) => "stop it first, or add --force".into(),
            Self::Damaged(name) => format!("remove it: palisade rm --force {name}"),
            Self::Cgroup(error) => return error.hint(),
            Self::Runc(error) => return error.hint(),
            Self::Io { .. } => return None,
        })
    }
}
