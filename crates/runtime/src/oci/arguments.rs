//! The command line of an OCI runtime, as far as it must be understood: runC's
//! (`github.com/urfave/cli`: one or two dashes, `=` or a space) and crun's.

use std::ffi::OsString;
use std::path::PathBuf;

/// Global flags that are followed by a value.
const GLOBAL_VALUES: [&str; 6] =
    ["log", "log-format", "root", "criu", "rootless", "cgroup-manager"];

/// Flags of commands that are followed by a value.
const COMMAND_VALUES: [&str; 35] = [
    "bundle",
    "b",
    "console-socket",
    "pid-file",
    "preserve-fds",
    "config",
    "f",
    "process",
    "p",
    "cwd",
    "env",
    "e",
    "user",
    "u",
    "additional-gids",
    "g",
    "process-label",
    "apparmor",
    "cap",
    "c",
    "cgroup",
    "image-path",
    "work-path",
    "parent-path",
    "manage-cgroups-mode",
    "empty-ns",
    "lsm-profile",
    "lsm-mount-context",
    "network-lock-method",
    "page-server",
    "status-fd",
    "regex",
    "interval",
    "format",
    "resources",
];

/// Letters of `exec` that are followed by a value, and those that may stand before them in one
/// word: crun takes `-tu0` and `-a PROFILE`, which runC has not.
const EXEC_LETTERS: [char; 6] = ['a', 'c', 'e', 'g', 'p', 'u'];
const EXEC_SWITCHES: [char; 2] = ['d', 't'];

/// Commands that start something.
const STARTING: [&str; 4] = ["create", "run", "restore", "exec"];

/// One call, as far as it must be understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invocation {
    /// `--log`.
    pub log: Option<PathBuf>,
    /// Whether `--log-format` is `json`.
    pub log_json: bool,
    /// `--root`: where the runtime keeps its state.
    pub root: Option<PathBuf>,
    /// `create`, `exec`, …
    pub command: Option<String>,
    /// How many arguments stand before that word.
    pub before_command: usize,
    /// `--bundle`.
    pub bundle: Option<PathBuf>,
    /// `--process` of `exec`.
    pub process: Option<PathBuf>,
    /// `--user` of `exec`.
    pub user: Option<String>,
    /// `--cap` of `exec`.
    pub capabilities: Vec<String>,
    /// `--additional-gids` of `exec`.
    pub groups: Vec<String>,
    /// `--apparmor` of `exec`.
    pub apparmor: Option<String>,
    /// `--process-label` of `exec`.
    pub label: Option<String>,
    /// `--cgroup` of `exec`.
    pub cgroups: Vec<String>,
    /// The container.
    pub id: Option<String>,
    /// Everything, to be shown.
    words: Vec<String>,
}

impl Invocation {
    /// Whether a word that starts something stands where it was not taken for the command,
    /// so that this parser and the runtime's may differ about what is asked.
    pub fn is_doubtful(&self) -> bool {
        // `palisade-runtime --new-flag value create …`: `value` would be the command.
        const KNOWN: [&str; 17] = [
            "start",
            "delete",
            "kill",
            "state",
            "list",
            "ps",
            "pause",
            "resume",
            "update",
            "events",
            "checkpoint",
            "spec",
            "features",
            "help",
            "version",
            "mount",
            "unmount",
        ];
        let known = self
            .command
            .as_deref()
            .is_none_or(|command| KNOWN.contains(&command) || STARTING.contains(&command));
        !known && self.words.iter().any(|word| STARTING.contains(&word.as_str()))
    }

    /// Takes the value of a flag of the command.
    fn set(&mut self, name: &str, value: String) {
        match name {
            "bundle" | "b" => self.bundle = Some(value.into()),
            "process" | "p" => self.process = Some(value.into()),
            "user" | "u" => self.user = Some(value),
            "cap" | "c" => self.capabilities.push(value),
            "additional-gids" | "g" => self.groups.push(value),
            "apparmor" | "a" => self.apparmor = Some(value),
            "process-label" => self.label = Some(value),
            "cgroup" => self.cgroups.push(value),
            _ => {}
        }
    }

    /// The call, shortened.
    pub(crate) fn shown(&self) -> String {
        self.words.join(" ").chars().take(200).collect()
    }
}

/// Reads the arguments of a call, without the program's own name.
pub fn parse(arguments: &[OsString]) -> Invocation {
    let words: Vec<String> = arguments.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let mut out = Invocation { words: words.clone(), ..Invocation::default() };
    let n_words = words.len();
    let mut rest = words.into_iter();
    while let Some(word) = rest.next() {
        let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            if out.command.is_none() {
                out.command = Some(word);
                out.before_command = n_words.saturating_sub(rest.len() + 1);
                continue;
            }
            // The first word that is no flag ends the flags.
            out.id = Some(word);
            break;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() {
            // `--` ends the flags.
            if out.command.is_some() {
                out.id = rest.next();
                break;
            }
            continue;
        }
        let (name, mut value) = match flag.split_once('=') {
            Some((name, value)) => (name.to_string(), Some(value.to_string())),
            None => (flag.to_string(), None),
        };
        let values: &[&str] = if out.command.is_none() { &GLOBAL_VALUES } else { &COMMAND_VALUES };
        let is_exec = out.command.as_deref() == Some("exec");
        if is_exec
            && !word.starts_with("--")
            && !values.contains(&name.as_str())
            && let Some((letter, attached)) = letter_of(flag)
        {
            let value = if attached.is_empty() { rest.next() } else { Some(attached.to_string()) };
            if let Some(value) = value {
                out.set(&letter.to_string(), value);
            }
            continue;
        }
        if value.is_none() && values.contains(&name.as_str()) {
            value = rest.next();
        }
        let Some(value) = value else { continue };
        match (out.command.is_some(), name.as_str()) {
            (false, "log") => out.log = Some(value.into()),
            (false, "log-format") => out.log_json = value == "json",
            (false, "root") => out.root = Some(value.into()),
            (false, _) => {}
            (true, name) => out.set(name, value),
        }
    }
    out
}

/// A letter with a value in a word of letters, and what stands behind it.
fn letter_of(flag: &str) -> Option<(char, &str)> {
    let at = flag.find(|letter| !EXEC_SWITCHES.contains(&letter))?;
    let letter = flag[at..].chars().next().filter(|letter| EXEC_LETTERS.contains(letter))?;
    Some((letter, &flag[at + letter.len_utf8()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Invocation {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn calls_of_real_engines_are_understood() {
        // containerd's shim under Docker.
        let call = of("--root /r --log /l/log.json --log-format json create --bundle /b \
                       --pid-file /b/init.pid 0123");
        assert_eq!((call.command.as_deref(), call.id.as_deref()), (Some("create"), Some("0123")));
        assert_eq!(call.bundle, Some("/b".into()));
        assert_eq!(
            (call.root, call.log, call.log_json),
            (Some("/r".into()), Some("/l/log.json".into()), true)
        );
        let call = of("--root /r --log /l --log-format json exec --process /tmp/p --detach \
                       --pid-file /x 0123");
        assert_eq!((call.process, call.id), (Some("/tmp/p".into()), Some("0123".into())));
        // conmon under Podman.
        let call = of("--log-format=json --log=/l create --bundle /b --pid-file /p \
                       --console-socket /s --no-new-keyring 45");
        assert_eq!((call.bundle, call.id), (Some("/b".into()), Some("45".into())));
        // BuildKit.
        let call = of("--log /l --log-format json run --bundle /b --no-new-keyring --keep x7");
        assert_eq!((call.command.as_deref(), call.id.as_deref()), (Some("run"), Some("x7")));
        // By hand.
        let call = of("exec -u 0:0 -cap CAP_SYS_ADMIN -t web sh -c create");
        assert_eq!((call.user.as_deref(), call.id.as_deref()), (Some("0:0"), Some("web")));
        assert_eq!(call.capabilities, ["CAP_SYS_ADMIN"]);
        assert!(!call.is_doubtful());
        for line in [
            "exec -tu0 -a p -g 5 --cgroup=x --process-label l -detach web sh -u 1",
            "exec -t -u 0 --apparmor p -g5 --cgroup x --process-label=l -d web sh",
        ] {
            let call = of(line);
            assert_eq!((call.user.as_deref(), call.apparmor.as_deref()), (Some("0"), Some("p")));
            assert_eq!((call.label.as_deref(), call.id.as_deref()), (Some("l"), Some("web")));
            assert_eq!((call.groups, call.cgroups), (vec!["5".to_string()], vec!["x".to_string()]));
        }
        assert_eq!((call.before_command, of("--root /r exec x y").before_command), (0, 2));
        assert_eq!(of("--version").command, None);
        assert_eq!(of("delete --force 01").id.as_deref(), Some("01"));
    }

    #[test]
    fn what_a_newer_runtime_may_understand_otherwise_is_doubtful() {
        assert!(of("--new-flag value create --bundle /b 01").is_doubtful());
        assert!(!of("--new-flag kill 01 KILL").is_doubtful());
        assert!(!of("kill create KILL").is_doubtful());
    }
}
