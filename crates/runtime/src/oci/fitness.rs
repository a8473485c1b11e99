//! Whether the runtime that is handed over to is fit.

use std::path::Path;

use super::why;
use crate::error::RuncError;
use crate::runc::Runc;

/// Folder of what runtimes said of their versions, in the one that says how containers were
/// confined.
const FOLDER: &str = "runtimes";

/// What is known to be wrong with the runtime at `program`, or why it must not be used. Runtimes
/// other than runC and crun are believed.
pub(super) fn check(program: &Path, state: &Path) -> Result<Vec<String>, String> {
    let folder = state.join(FOLDER);
    // Without it they are asked again.
    let _ = std::fs::create_dir_all(&folder);
    match Runc::find_known(Some(program), &folder) {
        Ok(runc) => Ok(runc.warnings()),
        Err(RuncError::UnknownVersion(_)) => Ok(Vec::new()),
        Err(error) => Err(why(&error)),
    }
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
        // One that failed is asked again.
        say("runc version 1.0.3'; kill -9 $$; echo '");
        for _ in 0..2 {
            assert_eq!(check(&program, &state), Ok(Vec::new()));
        }
        assert_eq!(n_asked(), 7);
        assert!(check(&folder.path().join("none"), &state).is_err());
    }
}
