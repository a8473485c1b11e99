//! SELinux on this machine: whether the kernel runs it, and which labels a container gets.
//!
//! No policy is made or loaded here: labels are of the machine's own.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use palisade_base::Explain;
use palisade_harden::selinux::{Labels, files_of, of_container};
use palisade_policy::Selinux;

/// The kernel's interface (`security/selinux/selinuxfs.c`).
const FOLDER: &str = "/sys/fs/selinux";
/// The label of this process.
const OWN: &str = "/proc/self/attr/current";
/// Where a file's label is.
const ATTRIBUTE: &str = "security.selinux";

/// A container that SELinux does not confine as the policy wants.
#[derive(Debug, thiserror::Error)]
pub enum SelinuxError {
    /// The kernel runs without it, or without a policy.
    #[error("the policy names the SELinux label `{0}`, and this machine runs without SELinux")]
    Inactive(String),
    /// The machine's policy does not have it.
    #[error("this machine's SELinux policy does not know the label `{0}`")]
    Unknown(String),
    /// The kernel could not be asked, or a file not be labelled.
    #[error("{action} `{}`", .path.display())]
    Io {
        /// `ask`, `label`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for SelinuxError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Inactive(_) => {
                "start the kernel with security=selinux and a policy, or set `containers.selinux: \
                 auto` in the policy"
            }
            Self::Unknown(_) => {
                "load the module that has it (semodule --install), or set `containers.selinux: \
                 auto` in the policy"
            }
            Self::Io { .. } => return None,
        };
        Some(text.into())
    }
}

/// Whether this machine's kernel runs SELinux with a policy.
pub fn is_active() -> bool {
    // Until a policy is loaded everything has the kernel's own label.
    Path::new(FOLDER).join("enforce").exists()
        && std::fs::read_to_string(OWN)
            .is_ok_and(|label| label.trim_end_matches(['\0', '\n']) != "kernel")
}

/// Whether the machine's policy knows `label`.
fn is_known(label: &str) -> Result<bool, SelinuxError> {
    let path = Path::new(FOLDER).join("context");
    let asked = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(label.as_bytes()));
    match asked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(false),
        Err(source) => Err(SelinuxError::Io { action: "ask", path, source }),
    }
}

/// The labels of the container `id`, and what is to be said of them.
pub(crate) fn labels(
    wanted: &Selinux,
    id: &str,
) -> Result<(Option<Labels>, Option<String>), SelinuxError> {
    let wanted = match wanted {
        Selinux::None => return Ok((None, None)),
        Selinux::Auto => None,
        Selinux::Label(label) => Some(label),
    };
    match (wanted, is_active()) {
        (None, false) => Ok((None, None)),
        (Some(label), false) => Err(SelinuxError::Inactive(label.clone())),
        (None, true) => {
            for labels in of_container(id) {
                if is_known(&labels.process)? {
                    return with_known_files(labels);
                }
            }
            let what = "this machine's SELinux policy does not know container_t, so the container \
                        runs without a label: install container-selinux";
            Ok((None, Some(what.into())))
        }
        (Some(label), true) if is_known(label)? => {
            with_known_files(Labels { process: label.clone(), files: Some(files_of(label)) })
        }
        (Some(label), true) => Err(SelinuxError::Unknown(label.clone())),
    }
}

/// Files keep their labels where the machine's policy has none for them.
fn with_known_files(labels: Labels) -> Result<(Option<Labels>, Option<String>), SelinuxError> {
    let Some(files) = &labels.files else { return Ok((Some(labels), None)) };
    if is_known(files)? {
        return Ok((Some(labels), None));
    }
    let what = format!(
        "this machine's SELinux policy does not know the label `{files}`, so the container's files \
         keep theirs"
    );
    Ok((Some(Labels { files: None, ..labels }), Some(what)))
}

/// Gives `path` a label, where its file system keeps labels.
pub(crate) fn set(path: &Path, label: &str) -> Result<(), SelinuxError> {
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::lsetxattr(path, ATTRIBUTE, label.as_bytes(), flags) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => {
            let path = path.to_path_buf();
            Err(SelinuxError::Io { action: "label", path, source: errno.into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_refused_where_there_is_no_selinux() {
        if is_active() {
            eprintln!("skipped: this kernel runs SELinux");
            return;
        }
        let label = "system_u:system_r:web_t:s0";
        let error = labels(&Selinux::Label(label.into()), "a").unwrap_err();
        assert!(matches!(&error, SelinuxError::Inactive(named) if named == label), "{error}");
        assert!(error.hint().unwrap().contains("containers.selinux: auto"));
        for without in [Selinux::Auto, Selinux::None] {
            assert_eq!(labels(&without, "a").unwrap(), (None, None));
        }
    }
}
