//! Flag, environment, project file, user file, default: the same for every flag.
//!
//! The command tree is the only list of settings. Each flag `--long` of a command `c`
//! is read from the environment as `PALISADE_C_LONG` (a global one as `PALISADE_LONG`),
//! and from configuration files as key `long` of the section `c` (or of the top level).
//! Keys that name no flag are errors, with a suggestion.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use palisade_base::yaml::{self, Dialect, Node, Place, Value};
use palisade_base::{Diagnostic, Location, Severity, suggest};

/// A configuration file beyond this size is refused.
const CONFIG_BYTES_MAX: u64 = 256 * 1024;

/// Sections nest as commands do; each flag is a key and a value.
const DIALECT: Dialect = Dialect {
    name: "a configuration file",
    document: "configuration",
    depth_max: 8,
    n_nodes_max: 10_000,
};

/// Values from configuration files by `(section, key)`; the section of global flags is empty.
#[derive(Debug, Default)]
pub(crate) struct Configured {
    values: BTreeMap<(String, String), String>,
}

/// The configuration files that are read, least important first.
pub(crate) fn config_files(home: Option<&Path>, xdg: Option<&Path>) -> Vec<PathBuf> {
    let user = xdg.map(Path::to_path_buf).or_else(|| home.map(|home| home.join(".config")));
    let mut files = vec![PathBuf::from("/etc/palisade/config.yaml")];
    files.extend(user.map(|folder| folder.join("palisade/config.yaml")));
    files.push(PathBuf::from("palisade.yaml"));
    files
}

/// Gives every flag of `command` its environment variable and its configured value.
pub(crate) fn layer(command: Command, configured: &Configured) -> Command {
    layer_tree(command, "", configured, &|_| true)
}

/// The same for those of its subcommands that `arguments` may mean, which is quicker.
pub(crate) fn layer_named(
    command: Command,
    configured: &Configured,
    arguments: &[OsString],
) -> Command {
    let is_named = |name: &str| arguments.iter().any(|argument| argument == name);
    layer_tree(command, "", configured, &is_named)
}

/// Layers a command and those of its own subcommands that are `wanted`; the section is the path:
/// `respond.show`.
fn layer_tree(
    command: Command,
    section: &str,
    configured: &Configured,
    wanted: &dyn Fn(&str) -> bool,
) -> Command {
    let mut command = layer_args(command, section, configured);
    let names = command.get_subcommands().map(|sub| sub.get_name().to_string());
    let names: Vec<String> = names.filter(|name| wanted(name)).collect();
    for name in names {
        let section = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        command =
            command.mut_subcommand(&name, |sub| layer_tree(sub, &section, configured, wanted));
    }
    command
}

fn layer_args(command: Command, section: &str, configured: &Configured) -> Command {
    command.mut_args(|arg| {
        let Some(key) = key_of(&arg) else { return arg };
        let prefix = section.replace('.', "_").to_uppercase();
        let separator = if prefix.is_empty() { "" } else { "_" };
        let arg = if arg.get_env().is_some() {
            arg
        } else {
            arg.env(format!("PALISADE_{prefix}{separator}{}", key.to_uppercase()))
                .hide_env_values(true)
        };
        match configured.values.get(&(section.to_string(), key)) {
            Some(value) => arg.default_value(value.clone()).hide_default_value(true),
            None => arg,
        }
    })
}

/// The configuration key of a flag; positional arguments, help and version have none.
fn key_of(arg: &Arg) -> Option<String> {
    let settable = matches!(
        arg.get_action(),
        ArgAction::Set | ArgAction::Append | ArgAction::SetTrue | ArgAction::Count
    );
    let long = arg.get_long()?;
    (settable && !matches!(long, "help" | "version")).then(|| long.replace('-', "_"))
}

/// All keys that exist, by section.
fn known_keys(command: &Command) -> BTreeMap<String, Vec<String>> {
    fn collect(command: &Command, section: &str, keys: &mut BTreeMap<String, Vec<String>>) {
        keys.insert(section.to_string(), command.get_arguments().filter_map(key_of).collect());
        for sub in command.get_subcommands() {
            let name = match section {
                "" => sub.get_name().to_string(),
                _ => format!("{section}.{}", sub.get_name()),
            };
            collect(sub, &name, keys);
        }
    }
    let mut keys = BTreeMap::new();
    collect(command, "", &mut keys);
    keys
}

/// Reads those of `files` that exist; a later file overrides an earlier one. The command tree is
/// made where there is one to be held against it: that takes milliseconds.
pub(crate) fn read(
    tree: impl Fn() -> Command,
    files: &[PathBuf],
) -> Result<Configured, Vec<Diagnostic>> {
    let keys = LazyCell::new(|| known_keys(&tree()));
    let mut configured = Configured::default();
    let mut problems = Vec::new();
    for path in files {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                problems.push(whole_file(path, format!("cannot be read: {error}")));
                continue;
            }
        };
        if let Some(reason) = distrusted(&file) {
            let help = "make it root's own, or remove it".to_string();
            let message = format!("{reason}, and this program runs as root");
            problems.push(problem(path, 1, 1, message, Some(help)));
            continue;
        }
        match palisade_base::read_bounded(file, "configuration file", CONFIG_BYTES_MAX)
            .map(String::from_utf8)
        {
            Ok(Ok(text)) => parse(path, &text, &keys, &mut configured, &mut problems),
            Ok(Err(_)) => problems.push(whole_file(path, "is not UTF-8".into())),
            Err(error) => problems.push(whole_file(path, error.to_string())),
        }
    }
    if problems.is_empty() { Ok(configured) } else { Err(problems) }
}

/// Why a program that runs as root must not obey the file, if so: whoever may write it could
/// name a program to run.
fn distrusted(file: &std::fs::File) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt as _;
    let runs_as_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let metadata = file.metadata().ok()?;
    match metadata.uid() {
        _ if !runs_as_root => None,
        0 if metadata.mode() & 0o022 != 0 => Some("others than root may write it"),
        0 => None,
        _ => Some("it does not belong to root"),
    }
}

fn whole_file(path: &Path, message: String) -> Diagnostic {
    problem(path, 1, 1, message, None)
}

fn problem(
    path: &Path,
    line: usize,
    column: usize,
    message: String,
    help: Option<String>,
) -> Diagnostic {
    Diagnostic {
        code: "config",
        severity: Severity::Error,
        location: Location { file: path.display().to_string(), line, column },
        message,
        help,
    }
}

fn parse(
    path: &Path,
    text: &str,
    keys: &BTreeMap<String, Vec<String>>,
    configured: &mut Configured,
    problems: &mut Vec<Diagnostic>,
) {
    let (root, found) = yaml::parse(text, DIALECT);
    let file = path.display().to_string();
    problems.extend(
        found.into_iter().map(|found| Diagnostic { code: "config", ..found.diagnostic(&file) }),
    );
    if let Some(root) = root {
        section(path, &root, "", keys, configured, problems);
    }
}

fn section(
    path: &Path,
    node: &Node,
    name: &str,
    keys: &BTreeMap<String, Vec<String>>,
    configured: &mut Configured,
    problems: &mut Vec<Diagnostic>,
) {
    let Value::Map(mapping) = &node.value else {
        let Place { line, column } = node.place;
        problems.push(problem(path, line, column, "expected a mapping of keys".into(), None));
        return;
    };
    let known = keys.get(name).map(Vec::as_slice).unwrap_or_default();
    for (key, value) in mapping {
        let word = key.text.as_str();
        let inner = if name.is_empty() { word.to_string() } else { format!("{name}.{word}") };
        if known.iter().any(|key| key == word) {
            if let Some(text) = scalar(value) {
                configured.values.insert((name.to_string(), word.to_string()), text);
            } else {
                let Place { line, column } = value.place;
                let message = format!("`{inner}` must be a single value");
                problems.push(problem(path, line, column, message, None));
            }
        } else if keys.contains_key(&inner) {
            section(path, value, &inner, keys, configured, problems);
        } else {
            let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
            let sections = keys.keys().filter_map(|key| key.strip_prefix(prefix.as_str()));
            let candidates = known.iter().map(String::as_str).chain(sections);
            let help = suggest::nearest(word, candidates.filter(|c| !c.is_empty()))
                .map(|near| format!("did you mean `{near}`?"));
            let Place { line, column } = key.place;
            let message = format!("unknown key `{}`", yaml::cut(&inner));
            problems.push(problem(path, line, column, message, help));
        }
    }
}

/// A single value as it was written, but for the spellings of truth values that YAML has and
/// flags do not.
fn scalar(node: &Node) -> Option<String> {
    let Value::Scalar { text, plain } = &node.value else { return None };
    match text.as_str() {
        _ if node.is_null() => None,
        "True" | "TRUE" if *plain => Some("true".into()),
        "False" | "FALSE" if *plain => Some("false".into()),
        text => Some(text.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Command {
        Command::new("palisade").arg(Arg::new("color").long("color").global(true)).subcommand(
            Command::new("scan")
                .arg(Arg::new("format").long("format"))
                .arg(Arg::new("db").long("db")),
        )
    }

    fn read_text(text: &str) -> Result<Configured, Vec<Diagnostic>> {
        let mut file = tempfile_in_target();
        std::io::Write::write_all(&mut file.1, text.as_bytes()).unwrap();
        let result = read(tree, std::slice::from_ref(&file.0));
        std::fs::remove_file(&file.0).unwrap();
        result
    }

    fn tempfile_in_target() -> (PathBuf, std::fs::File) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("palisade-config-{}-{number}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        (path, file)
    }

    #[test]
    fn a_configured_value_is_a_default_and_a_flag_wins() {
        let configured = read_text("scan:\n  format: json\n").unwrap();
        let parse = |args: &[&str]| {
            let matches = layer(tree(), &configured).try_get_matches_from(args).unwrap();
            let scan = matches.subcommand_matches("scan").unwrap();
            scan.get_one::<String>("format").cloned()
        };
        assert_eq!(parse(&["palisade", "scan"]).as_deref(), Some("json"));
        assert_eq!(parse(&["palisade", "scan", "--format", "html"]).as_deref(), Some("html"));
    }

    #[test]
    fn what_arguments_do_not_name_is_left_alone() {
        let named = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            let command = layer_named(tree(), &Configured::default(), &arguments);
            let scan = command.find_subcommand("scan").unwrap();
            scan.get_arguments().any(|arg| arg.get_env().is_some())
        };
        assert!(named(&["palisade", "--color", "never", "scan", "x"]));
        assert!(named(&["palisade", "help", "scan"]));
        assert!(!named(&["palisade", "--help"]));
    }

    mod root {
        use super::*;

        #[test]
        fn a_strangers_file_does_not_steer_root() {
            use std::os::unix::fs::{PermissionsExt as _, chown};
            let (path, _) = tempfile_in_target();
            if chown(&path, Some(65_534), None).is_err() {
                eprintln!("skipped: only root can give a file away");
                return;
            }
            let refused = || read(tree, std::slice::from_ref(&path)).is_err();
            assert!(refused());
            chown(&path, Some(0), None).unwrap();
            assert!(!refused());
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
            assert!(refused());
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn every_flag_has_a_variable() {
        let command = layer(tree(), &Configured::default());
        let scan = command.find_subcommand("scan").unwrap();
        let format = scan.get_arguments().find(|arg| arg.get_id() == "format").unwrap();
        assert_eq!(format.get_env().unwrap(), "PALISADE_SCAN_FORMAT");
        let color = command.get_arguments().find(|arg| arg.get_id() == "color").unwrap();
        assert_eq!(color.get_env().unwrap(), "PALISADE_COLOR");
    }

    #[test]
    fn all_unknown_keys_are_reported_with_a_suggestion() {
        let problems = read_text("colour: never\nscan:\n  fromat: json\n  db: [a]\n").unwrap_err();
        let shown: Vec<(usize, usize, &str, Option<&str>)> = problems
            .iter()
            .map(|p| (p.location.line, p.location.column, p.message.as_str(), p.help.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                (1, 1, "unknown key `colour`", Some("did you mean `color`?")),
                (3, 3, "unknown key `scan.fromat`", Some("did you mean `format`?")),
                (4, 7, "`scan.db` must be a single value", None),
            ]
        );
    }

    #[test]
    fn text_that_is_no_configuration_is_a_problem_and_not_a_crash() {
        let check = |text: &str, line: usize, message: &str| {
            let problems = read_text(text).unwrap_err();
            let found = (problems[0].location.line, problems[0].message.as_str());
            assert_eq!(found, (line, message));
            assert_eq!((problems.len(), problems[0].code), (1, "config"));
        };
        let not_text = "a key that is not text has no meaning in a configuration file";
        check(&format!("{}a", "? ".repeat(60_000)), 1, not_text);
        check(&"[".repeat(100), 1, "nested deeper than 8");
        check(&"[".repeat(200_000), 1, "not YAML: recursion limit exceeded");
        check("color: a\ncolor: b\n", 2, "key `color` stands here twice");
        let second = "a second document has no meaning in a configuration file";
        check("color: a\n---\ncolor: b\n", 2, second);
        check("scan:\n", 1, "expected a mapping of keys");
        check("color:\n", 1, "`color` must be a single value");
    }

    #[test]
    fn values_are_what_was_written() {
        let check = |written: &str, expected: &str| {
            let configured = read_text(&format!("color: {written}\n")).unwrap();
            assert_eq!(configured.values[&(String::new(), "color".into())], expected);
        };
        check("1.10", "1.10");
        check("'null'", "null");
        check("True", "true");
        check("'True'", "True");
        check("never # always", "never");
        assert!(read_text("# nothing\n").unwrap().values.is_empty());
    }
}
