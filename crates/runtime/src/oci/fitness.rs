//! Whether the runtime that is handed over to is fit, asked once for each of its versions.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use palisade_base::Digest;
use serde::{Deserialize, Serialize};

use super::why;
use crate::error::RuncError;
use crate::runc::Runc;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Folder of the answers, in the one that says how containers were confined.
const FOLDER: &str = "runtimes";

/// What a runtime of a certain file was found to be.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// The file as it was then: device, inode, length, change in nanoseconds.
    file: (u64, u64, u64, i128),
    /// Why it cannot be used.
    refusal: Option<String>,
    /// What is known to be wrong with it.
    warnings: Vec<String>,
}

/// What is known to be wrong with the runtime at `program`, or why it must not be used.
///
/// Starting it to ask for its version takes longer than all else that is done here, so the answer
/// is kept in `state` as long as the file is the same. Runtimes other than runC and crun are
/// believed.
pub(super) fn check(program: &Path, state: &Path) -> Result<Vec<String>, String> {
    let meta = std::fs::metadata(program)
        .map_err(|error| format!("palisade: read `{}`: {error}", program.display()))?;
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    let file = (meta.dev(), meta.ino(), meta.len(), changed);
    let name = Digest::of(program.as_os_str().as_encoded_bytes()).hex();
    let path = state.join(FOLDER).join(name);
    let answer = match read(&path) {
        Some(answer) if answer.file == file => answer,
        _ => {
            let answer = ask(program, file);
            // What cannot be kept is asked again.
            if let Ok(text) = serde_json::to_vec(&answer) {
                let _ = std::fs::create_dir_all(state.join(FOLDER));
                let _ = palisade_base::fs::write_unnamed(&path, &text, 0o600, None);
            }
            answer
        }
    };
    answer.refusal.map_or(Ok(answer.warnings), Err)
}

fn read(path: &Path) -> Option<Answer> {
    let file = std::fs::File::open(path).ok()?;
    let bytes = palisade_base::read_bounded(file, "answer", ANSWER_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn ask(program: &Path, file: (u64, u64, u64, i128)) -> Answer {
    let (refusal, warnings) = match Runc::find_among(&[program.to_path_buf()]) {
        Ok(runc) => (None, runc.warnings()),
        Err(RuncError::UnknownVersion(_)) => (None, Vec::new()),
        Err(error) => (Some(why(&error)), Vec::new()),
    };
    Answer { file, refusal, warnings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runc::write_script;

    #[test]
    fn a_runtime_is_asked_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let program = folder.path().join("runc");
        let asked = folder.path().join("asked");
        let say = |version: &str| {
            let next = folder.path().join("next");
            write_script(&next, &format!("echo x >> {}\necho '{version}'", asked.display()));
            std::fs::rename(&next, &program).unwrap();
        };
        let n_asked = || std::fs::read_to_string(&asked).unwrap_or_default().lines().count();
        say("runc version 1.4.0");
        for _ in 0..3 {
            assert_eq!(check(&program, &state), Ok(Vec::new()));
        }
        assert_eq!(n_asked(), 1);
        say("runc version 1.1.12");
        assert!(check(&program, &state).unwrap()[0].contains("CVE-2025-31133"));
        say("runc version 1.0.3");
        for _ in 0..2 {
            let refusal = check(&program, &state).unwrap_err();
            assert!(refusal.contains("at least 1.1.0 is needed"), "{refusal}");
        }
        assert_eq!(n_asked(), 3);
        say("kata-runtime  : 3.2.0");
        assert_eq!(check(&program, &state), Ok(Vec::new()));
        // A torn answer is asked for again.
        for entry in std::fs::read_dir(state.join(FOLDER)).unwrap() {
            std::fs::write(entry.unwrap().path(), "{").unwrap();
        }
        assert_eq!(check(&program, &state), Ok(Vec::new()));
        assert_eq!(n_asked(), 5);
        assert!(check(&folder.path().join("none"), &state).is_err());
    }
}
