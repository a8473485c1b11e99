//! `config.json` and process files: read with bounds, replaced whole.
//!
//! runC reads JSON as Go does, which takes `Process` for `process` and lets the last of both
//! win. A key that is known in another case is refused, as is one that is there twice, so that
//! nothing can be said to a runtime that was not seen here.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use palisade_base::Explain;
use palisade_base::json::Unique;
use serde_json::Value;

/// Bytes of a `config.json` or process file that are read.
pub const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// A file of an engine that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be read or written.
    #[error("{action} `{}`", path.display())]
    Io {
        /// `read`, `replace`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is a link, a folder or something else.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// It is no JSON.
    #[error("`{}` is not JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A key is there twice: runtimes take the first, the last, or both.
    #[error("`{}` says something twice", path.display())]
    RepeatedKey {
        /// The file.
        path: PathBuf,
        /// Which key, and where.
        #[source]
        source: serde_json::Error,
    },
    /// A key whose case differs from the specification's.
    #[error("`{}` has the key `{key}`, which runtimes take for `{known}`", path.display())]
    AmbiguousKey {
        /// The file.
        path: PathBuf,
        /// As written.
        key: String,
        /// As the specification has it.
        known: &'static str,
    },
}

impl Explain for DocumentError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Io { .. } | Self::NotAFile(_) => "the engine must write it before the call",
                Self::RepeatedKey { .. } => "write each key of an object once",
                Self::Json { .. } => "it must follow the OCI runtime specification",
                Self::AmbiguousKey { .. } => "write keys as the OCI runtime specification does",
            }
            .into(),
        )
    }
}

/// Keys of the OCI runtime specification that decide about confinement.
const KEYS: [&str; 93] = [
    "ociVersion",
    "process",
    "root",
    "hostname",
    "domainname",
    "mounts",
    "hooks",
    "annotations",
    "linux",
    "vm",
    "terminal",
    "consoleSize",
    "user",
    "uid",
    "gid",
    "umask",
    "additionalGids",
    "username",
    "args",
    "commandLine",
    "env",
    "cwd",
    "capabilities",
    "bounding",
    "effective",
    "inheritable",
    "permitted",
    "ambient",
    "rlimits",
    "noNewPrivileges",
    "apparmorProfile",
    "oomScoreAdj",
    "scheduler",
    "selinuxLabel",
    "ioPriority",
    "execCPUAffinity",
    "path",
    "readonly",
    "destination",
    "type",
    "source",
    "options",
    "uidMappings",
    "gidMappings",
    "containerID",
    "hostID",
    "size",
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
    "sysctl",
    "resources",
    "cgroupsPath",
    "namespaces",
    "devices",
    "seccomp",
    "rootfsPropagation",
    "maskedPaths",
    "readonlyPaths",
    "mountLabel",
    "intelRdt",
    "personality",
    "timeOffsets",
    "netDevices",
    "memoryPolicy",
    "allow",
    "access",
    "major",
    "minor",
    "memory",
    "limit",
    "swap",
    "reservation",
    "cpu",
    "quota",
    "period",
    "pids",
    "defaultAction",
    "syscalls",
    "architectures",
    "listenerPath",
    "names",
    "action",
    "flags",
    "policy",
    "nice",
    "class",
    "disableOOMKiller",
    "unified",
    "domain",
];

/// Objects whose keys are chosen by people.
const FREE: [&str; 5] = ["annotations", "sysctl", "unified", "env", "timeOffsets"];

/// A JSON file of an engine.
#[derive(Debug, Clone)]
pub struct Document {
    path: PathBuf,
    mode: u32,
    owner: (u32, u32),
    /// What it says.
    pub value: Value,
}

impl Document {
    /// Reads `path`.
    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        let io = |source| DocumentError::Io { action: "read", path: path.to_path_buf(), source };
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(DocumentError::NotAFile(path.to_path_buf()));
            }
            Err(error) => return Err(io(error)),
        };
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(DocumentError::NotAFile(path.to_path_buf()));
        }
        let bytes =
            palisade_base::read_bounded(file, "configuration", DOCUMENT_BYTES_MAX).map_err(io)?;
        let Unique(value) = serde_json::from_slice(&bytes).map_err(|source| {
            let path = path.to_path_buf();
            // Whatever is JSON is taken, but for a key that is there twice.
            if source.is_data() {
                DocumentError::RepeatedKey { path, source }
            } else {
                DocumentError::Json { path, source }
            }
        })?;
        if let Some((key, known)) = ambiguous(&value) {
            return Err(DocumentError::AmbiguousKey { path: path.to_path_buf(), key, known });
        }
        Ok(Self {
            path: path.to_path_buf(),
            mode: metadata.mode() & 0o777,
            owner: (metadata.uid(), metadata.gid()),
            value,
        })
    }

    /// Puts `value` in place of a file that a person keeps: it is there at every moment, the old
    /// one or the new, and on disk. Killed meanwhile, we leave a temporary file beside it.
    pub fn rewrite(&self, value: &Value) -> Result<(), DocumentError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|source| DocumentError::Json { path: self.path.clone(), source })?;
        let io = |source| DocumentError::Io { action: "replace", path: self.path.clone(), source };
        palisade_base::fs::write_atomic(&self.path, &bytes, self.mode).map_err(io)?;
        // Only root can give a file away; who cannot owns it already.
        let (uid, gid) = self.owner;
        let _ = std::os::unix::fs::lchown(&self.path, Some(uid), Some(gid));
        Ok(())
    }

    /// Puts `value` in its place: the runtime reads the old file or the new one.
    ///
    /// Through a file without a name, because an engine may kill us here and removes what it
    /// knows of alone: process files lie in `/tmp`, where a temporary file of ours would stay.
    /// Killed at the worst moment there is no configuration, and without one nothing starts.
    ///
    /// Not synchronised to disk: after a crash of the machine nothing of the container is left.
    pub fn replace(&self, value: &Value) -> Result<(), DocumentError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|source| DocumentError::Json { path: self.path.clone(), source })?;
        palisade_base::fs::write_unnamed(&self.path, &bytes, self.mode, Some(self.owner)).map_err(
            |source| DocumentError::Io { action: "replace", path: self.path.clone(), source },
        )
    }
}

/// A key that Go's JSON reader takes for one of the specification's.
fn ambiguous(value: &Value) -> Option<(String, &'static str)> {
    match value {
        Value::Array(list) => list.iter().find_map(ambiguous),
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            if KEYS.contains(&key.as_str()) {
                return if FREE.contains(&key.as_str()) { None } else { ambiguous(value) };
            }
            let folded = fold(key);
            match KEYS.into_iter().find(|known| known.to_ascii_lowercase() == folded) {
                Some(known) => Some((key.chars().take(80).collect(), known)),
                None if FREE.contains(&key.as_str()) => None,
                None => ambiguous(value),
            }
        }),
        _ => None,
    }
}

/// Lower case as Go folds keys: the long s and the sign for kelvin are letters as well.
fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    #[test]
    fn a_document_is_replaced_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, r#"{"z":1,"a":{"unknown":[1,2]}}"#).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let document = Document::read(&path).unwrap();
        document.replace(&json!({"z": 2})).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), r#"{"z":2}"#);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        Document::read(&path).unwrap().rewrite(&json!({"z": 3})).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), r#"{"z":3}"#);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_plain_bounded_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("real"), "{}").unwrap();
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        assert!(matches!(Document::read(&at("link")), Err(DocumentError::NotAFile(_))));
        assert!(matches!(Document::read(folder.path()), Err(DocumentError::NotAFile(_))));
        assert!(matches!(Document::read(&at("absent")), Err(DocumentError::Io { .. })));
        let large = std::fs::File::create(at("large")).unwrap();
        large.set_len(DOCUMENT_BYTES_MAX + 1).unwrap();
        assert!(matches!(Document::read(&at("large")), Err(DocumentError::Io { .. })));
        std::fs::write(at("deep"), "[".repeat(100_000)).unwrap();
        assert!(matches!(Document::read(&at("deep")), Err(DocumentError::Json { .. })));
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in [
            r#"{"process":{"user":{"uid":5}},"process":{}}"#,
            r#"{"process":{"noNewPrivileges":false,"noNewPrivileges":true}}"#,
            r#"{"mounts":[{"source":"/","\u0073ource":"/srv"}]}"#,
            r#"{"annotations":{"k":"a","k":"b"}}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            let read = Document::read(&path);
            assert!(matches!(read, Err(DocumentError::RepeatedKey { .. })), "{text}: {read:?}");
        }
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Document::read(&path), Err(DocumentError::Json { .. })));
    }

    #[test]
    fn keys_that_go_takes_for_others_are_refused() {
        let check = |value: Value, expected: Option<&str>| {
            assert_eq!(ambiguous(&value).map(|(_, known)| known), expected, "{value}");
        };
        check(json!({"process": {"noNewPrivileges": true}}), None);
        check(json!({"process": {}, "Process": {}}), Some("process"));
        check(json!({"process": {"NoNewPrivileges": false}}), Some("noNewPrivileges"));
        check(json!({"linux": {"ma\u{17f}kedPaths": []}}), Some("maskedPaths"));
        check(json!({"mount\u{17f}": []}), Some("mounts"));
        check(json!({"linux": {"reſources": {}}}), Some("resources"));
        check(json!({"mounts": [{"Source": "/"}]}), Some("source"));
        check(json!({"annotations": {"Process": "x"}, "linux": {"sysctl": {"Net": "1"}}}), None);
        check(json!({"future": {"Knob": 1, "Path": 2}}), Some("path"));
    }
}
