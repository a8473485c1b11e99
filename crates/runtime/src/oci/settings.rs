//! Which policy holds, and which runtime it is handed over to.

use std::path::{Path, PathBuf};

use palisade_base::Explain;
use serde::{Deserialize, Serialize};

/// Where they are, unless told otherwise.
pub const SETTINGS_PATH: &str = "/etc/palisade/runtime.json";
/// The data folder, unless told otherwise.
const DATA: &str = "/var/lib/palisade";
/// Bytes of the file that are read.
const SETTINGS_BYTES_MAX: u64 = 64 << 10;

/// Where an OCI runtime is looked for, best first.
const CANDIDATES: [&str; 6] = [
    "/usr/local/sbin/runc",
    "/usr/local/bin/runc",
    "/usr/sbin/runc",
    "/usr/bin/runc",
    "/usr/local/bin/crun",
    "/usr/bin/crun",
];

/// Settings of `palisade-runtime`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A built-in policy's name, or a file.
    pub policy: String,
    /// The runtime to hand over to; else runC or crun of the usual places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<PathBuf>,
    /// Where it is written down how containers were confined.
    pub state: PathBuf,
    /// What responses ordered to hold: images in quarantine.
    pub standing: PathBuf,
    /// What was decided about images' signatures: a folder within the data folder.
    pub decisions: PathBuf,
    /// The program that verifies an image about which nothing is decided; else `palisade`
    /// beside this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: "baseline".into(),
            runtime: None,
            state: "/run/palisade/engines".into(),
            standing: Path::new(DATA).join(palisade_policy::standing::FILE),
            decisions: Path::new(DATA).join(palisade_policy::decisions::FOLDER),
            verifier: None,
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("read settings `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("settings `{}` are not valid", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

impl Explain for SettingsError {
    fn hint(&self) -> Option<String> {
        Some(r#"write {"policy": "baseline"}, or what `palisade runtime --help` says"#.into())
    }
}

impl Settings {
    /// Reads the file; without one the defaults hold.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let read = |source| SettingsError::Read { path: path.to_path_buf(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && path == Path::new(SETTINGS_PATH) =>
            {
                return Ok(Self::default());
            }
            Err(error) => return Err(read(error)),
        };
        let bytes =
            palisade_base::read_bounded(file, "settings", SETTINGS_BYTES_MAX).map_err(read)?;
        serde_json::from_slice(&bytes)
            .map_err(|source| SettingsError::Invalid { path: path.to_path_buf(), source })
    }
}

/// The runtime to hand over to: one of the name by which we were called, `wanted`, or the first
/// candidate that is not `own`.
///
/// Who calls `runc` or `crun` (through a link to us) has containers that the one of them made,
/// and that the other does not know.
pub(super) fn find_runtime(
    called: &str,
    wanted: Option<&Path>,
    own: &Path,
) -> Result<PathBuf, String> {
    // The whole program and the small one beside it are the same.
    let siblings = ["palisade", "palisade-runtime"].map(|name| own.with_file_name(name));
    let is_own = |path: &Path| {
        std::fs::canonicalize(path).is_ok_and(|real| real == own || siblings.contains(&real))
    };
    let is_named = |path: &Path| path.file_name().is_some_and(|name| name == called);
    if matches!(called, "runc" | "crun") && !wanted.is_some_and(is_named) {
        let named = CANDIDATES.into_iter().map(Path::new).filter(|path| is_named(path));
        if let Some(path) = named.into_iter().find(|path| path.is_file() && !is_own(path)) {
            return Ok(path.to_path_buf());
        }
    }
    if let Some(path) = wanted {
        if is_own(path) {
            let path = path.display();
            return Err(format!("palisade: the runtime `{path}` is palisade itself"));
        }
        if !path.is_file() {
            let path = path.display();
            return Err(format!("palisade: there is no OCI runtime at `{path}`"));
        }
        return Ok(path.to_path_buf());
    }
    let mut candidates = CANDIDATES.into_iter().map(PathBuf::from);
    candidates.find(|path| path.is_file() && !is_own(path)).ok_or_else(|| {
        "palisade: neither runc nor crun is installed (apt install runc)".to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.json");
        assert!(matches!(Settings::read(&path), Err(SettingsError::Read { .. })));
        std::fs::write(&path, r#"{"policy": "restricted", "runtime": "/x/runc"}"#).unwrap();
        let settings = Settings::read(&path).unwrap();
        assert_eq!(
            (settings.policy.as_str(), settings.runtime),
            ("restricted", Some("/x/runc".into()))
        );
        assert_eq!(settings.state, Settings::default().state);
        std::fs::write(&path, r#"{"polcy": "restricted"}"#).unwrap();
        assert!(matches!(Settings::read(&path), Err(SettingsError::Invalid { .. })));
    }

    #[test]
    fn it_never_hands_over_to_itself() {
        let own = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let shim = folder.path().join("runc");
        std::os::unix::fs::symlink(&own, &shim).unwrap();
        assert!(
            find_runtime("palisade-runtime", Some(&shim), &own).unwrap_err().contains("itself")
        );
        assert!(find_runtime("palisade-runtime", Some(&folder.path().join("none")), &own).is_err());
        assert_eq!(find_runtime("palisade-runtime", Some(&own), &shim).unwrap(), own);
        // By the name of a runtime it is that one, when it is there.
        for name in ["runc", "crun"] {
            if let Some(path) =
                CANDIDATES.iter().find(|path| path.ends_with(name) && Path::new(path).is_file())
            {
                assert_eq!(find_runtime(name, Some(&own), &shim), Ok(path.into()));
            }
        }
    }
}
