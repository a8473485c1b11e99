//! The program that engines call: by its name or as a command of another, its one own flag, and
//! what it says when it hands nothing over.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use super::{Handover, SETTINGS_PATH, take};

/// Names by which the program is an OCI runtime.
const NAMES: [&str; 3] = ["palisade-runtime", "runc", "crun"];
/// The one flag of our own; engines can give it (`runtimeArgs`).
const CONFIG_FLAG: &str = "--palisade-config";
/// Exit code when the runtime to hand over to cannot be started.
const NOT_STARTED: u8 = 3;

/// The name and arguments of an OCI runtime, when the program was called as one.
pub fn called_as(all: &[OsString]) -> Option<(&str, &[OsString])> {
    let (program, rest) = all.split_first()?;
    let name = Path::new(program).file_name()?.to_str()?;
    if NAMES.contains(&name) {
        return Some((name, rest));
    }
    let (command, rest) = rest.split_first()?;
    let is_help = |word: &OsString| word == "--help" || word == "-h";
    (command == "runtime" && !rest.is_empty() && !is_help(&rest[0])).then_some((NAMES[0], rest))
}

/// Confines what is asked for and becomes the distribution's runtime. Returns only when
/// nothing is started, with the exit code.
pub fn hand_over(called: &str, arguments: &[OsString], settings: Option<&Path>) -> u8 {
    let (flag, arguments) = split_config(arguments);
    let settings = flag.as_deref().or(settings).unwrap_or(Path::new(SETTINGS_PATH));
    let own = std::env::current_exe().and_then(std::fs::canonicalize).unwrap_or_default();
    let (message, code) = match take(called, arguments, settings, &own) {
        Handover::Refused { message, code } => (message, code),
        Handover::Exec { program, arguments } => {
            let error = std::process::Command::new(&program).args(arguments).exec();
            (format!("palisade: start `{}`: {error}", program.display()), NOT_STARTED)
        }
    };
    let _ = writeln!(std::io::stderr(), "{message}");
    code
}

/// Our own flag, and the rest.
fn split_config(arguments: &[OsString]) -> (Option<PathBuf>, &[OsString]) {
    match arguments {
        [flag, file, rest @ ..] if flag == CONFIG_FLAG => (Some(file.into()), rest),
        [first, rest @ ..] => {
            let file = first.to_str().and_then(|text| text.strip_prefix(CONFIG_FLAG));
            match file.and_then(|text| text.strip_prefix('=')) {
                Some(file) => (Some(PathBuf::from(OsStr::new(file))), rest),
                None => (None, arguments),
            }
        }
        [] => (None, arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_runtime_by_name_or_by_command() {
        let check = |line: &str, expected: Option<&str>| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found = called_as(&words).map(|(_, rest)| {
                let words: Vec<_> = rest.iter().map(|word| word.to_str().unwrap()).collect();
                words.join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{line}");
        };
        check("/usr/bin/palisade-runtime --root /r state x", Some("--root /r state x"));
        check("runc --version", Some("--version"));
        check("palisade runtime create x", Some("create x"));
        check("palisade runtime --help", None);
        check("palisade runtime", None);
        check("palisade scan runtime", None);
    }

    #[test]
    fn our_own_flag_is_taken_out() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let (given, same) =
            (words("--palisade-config /c state x"), words("--palisade-config=/c state x"));
        for line in [given, same] {
            let (file, rest) = split_config(&line);
            assert_eq!((file, rest), (Some("/c".into()), &words("state x")[..]));
        }
        assert_eq!(split_config(&words("state x")), (None, &words("state x")[..]));
    }
}
