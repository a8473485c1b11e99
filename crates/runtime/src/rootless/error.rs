//! Why an ordinary user cannot run containers here, or not with a range of ids.

use std::path::{Path, PathBuf};

use palisade_base::Explain;

use crate::RunError;
use crate::ids::IDS_PER_CONTAINER;

/// An ordinary user's namespace could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// A folder of the user's.
    #[error("prepare the user's folders")]
    Folder(#[source] Box<RunError>),
    /// A folder that others can write.
    #[error("`{}` belongs to somebody else, or others may write to it", .0.display())]
    NotOwn(PathBuf),
    /// The user has no such folder.
    #[error("{0} is not set, so there is no place for {1}")]
    NoFolder(&'static str, &'static str),
    /// The kernel makes no user namespace for this user.
    #[error("the kernel makes no user namespace for this user")]
    Refused(#[source] std::io::Error),
    /// The namespace could not be entered.
    #[error("enter the user's namespace")]
    Enter(#[source] std::io::Error),
    /// A file of the user's.
    #[error("{action} `{}`", .path.display())]
    Io {
        /// `read`, `write`, `lock`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl RootlessError {
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

impl Explain for RootlessError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Folder(error) => return error.hint(),
            Self::NotOwn(folder) => format!("chmod go-w {}, or name another", folder.display()),
            Self::NoFolder(variable, _) => format!(
                "log in as the user (machinectl shell USER@, ssh), or name folders of the user's: \
                 {variable}=…, --run-dir, --data-dir"
            ),
            Self::Refused(_) => {
                let facts = palisade_sys::namespace::user_namespace_facts();
                match (facts.n_max, facts.unprivileged, facts.apparmor_restricted) {
                    (Some(0), ..) => "allow some: sysctl user.max_user_namespaces=15000".into(),
                    (_, Some(false), _) => {
                        "allow them: sysctl kernel.unprivileged_userns_clone=1; or run as root"
                            .into()
                    }
                    (_, _, Some(true)) => {
                        "AppArmor restricts them: give the program a profile that allows \
                         `userns`, or run as root"
                            .into()
                    }
                    _ => "run as root".into(),
                }
            }
            Self::Enter(_) => "stop what of this user's runs, then try again".into(),
            Self::Io { .. } => return None,
        })
    }
}

/// Why the user's namespace has the user's own id alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRange {
    /// The files do not give the user the ids of one container.
    #[error("{}", few(user, missing))]
    Few {
        /// The user.
        user: String,
        /// The files, each with how many of its ids can be used.
        missing: Vec<(&'static str, u64)>,
        /// Where a range would begin that is nobody's.
        free: u32,
    },
    /// A program is missing.
    #[error("`{0}` is not installed, without which a user's range of ids cannot be used")]
    Program(&'static str),
    /// A program did not do it.
    #[error("{program}: {reason}")]
    Refused {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
        /// What it said.
        reason: String,
    },
    /// The namespace was made before there was a range.
    #[error("containers of this user run that were started before the user had a range of ids")]
    Earlier,
}

impl Explain for NoRange {
    fn hint(&self) -> Option<String> {
        let without = "set `containers.rootless.ids: single` in the policy to run images whose \
                       program is root with the user's own id alone";
        Some(match self {
            Self::Few { user, missing, free } => {
                let files: Vec<&str> = missing.iter().map(|(file, _)| *file).collect();
                let line = range_line(user, *free);
                format!(
                    "have root add the line `{line}` to {}; or {without}",
                    files.join(" and to ")
                )
            }
            Self::Program(_) => format!("apt install uidmap; or {without}"),
            Self::Refused { reason, .. } if reason.contains("not allowed") => format!(
                "take what `subid` in /etc/nsswitch.conf names out, if it is not `files`: ranges \
                 are then not those of /etc/subuid and /etc/subgid; or {without}"
            ),
            Self::Refused { .. } => {
                format!(
                    "see that the programs are setuid (apt install --reinstall uidmap); or \
                     {without}"
                )
            }
            Self::Earlier => format!("stop them (palisade stop --all); or {without}"),
        })
    }
}

/// The line that gives `user` the ids of one container more, from `first` on.
pub(crate) fn range_line(user: &str, first: u32) -> String {
    format!("{user}:{first}:{IDS_PER_CONTAINER}")
}

fn few(user: &str, missing: &[(&'static str, u64)]) -> String {
    let one = |(file, count): &(&str, u64)| match count {
        0 => format!("`{file}` gives user `{user}` no ids"),
        n => format!(
            "`{file}` gives user `{user}` {n} ids that can be used, and a container has \
             {IDS_PER_CONTAINER}"
        ),
    };
    missing.iter().map(one).collect::<Vec<_>>().join(", and ")
}
