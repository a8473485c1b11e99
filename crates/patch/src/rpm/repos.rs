//! The repositories of an image of RPM: `.repo` files of dnf, yum and zypper (`dnf.conf(5)`,
//! "Repo Options"), and their variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use palisade_packages::os_release;

use crate::installed::Installed;
use crate::{Files, PatchError};

/// Repositories of one image.
const REPOSITORIES_MAX: usize = 1_000;
/// Lines of one file.
const LINES_MAX: usize = 100_000;
/// Values of variables that are put in while one text is filled.
const FILLED_MAX: usize = 100;
/// Bytes of a text that is filled.
const FILLED_BYTES_MAX: usize = 8 << 10;
/// Steps while a pattern is compared.
const STEPS_MAX: usize = 100_000;

const FOLDERS: [&str; 3] = ["etc/yum.repos.d/", "etc/distro.repos.d/", "etc/zypp/repos.d/"];
const VARIABLES: [&str; 3] = ["etc/dnf/vars/", "etc/yum/vars/", "etc/zypp/vars.d/"];
const MAIN: [&str; 2] = ["etc/dnf/dnf.conf", "etc/yum.conf"];

/// Which of several repositories counts, when none says (`dnf.conf(5)`).
const PRIORITY: u32 = 99;

/// One repository that is enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpmSource {
    /// File of the image that names it.
    pub file: String,
    /// `baseos`.
    pub id: String,
    /// Its addresses, without a slash at the end, in their order.
    pub addresses: Vec<String>,
    /// Where a list of its mirrors is, where there is no address: the setting and its value.
    pub list: Option<(&'static str, String)>,
    /// Addresses of its keys.
    pub keys: Vec<String>,
    /// Whether its index must be signed (`repo_gpgcheck`).
    pub is_index_signed: bool,
    /// Whether its packages must be signed each (`gpgcheck`); so it is unless the image says other.
    pub are_packages_signed: bool,
    /// Whether its packages may replace those of modules (`module_hotfixes`).
    pub has_hotfixes: bool,
    /// The lowest number counts.
    pub priority: u32,
    /// Patterns of packages that are not taken from it.
    pub excluded: Vec<String>,
    /// Patterns of the only packages that are; none for all.
    pub included: Vec<String>,
}

/// Sections of a file with their settings.
fn sections(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut all: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut last: Option<String> = None;
    for line in text.lines().take(LINES_MAX) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        // A value goes on where a line is indented.
        if line.starts_with([' ', '\t'])
            && let (Some(key), Some((_, settings))) = (&last, all.last_mut())
        {
            let value = settings.entry(key.clone()).or_default();
            value.push(' ');
            value.push_str(trimmed);
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            all.push((name.trim().to_string(), BTreeMap::new()));
            last = None;
        } else if let (Some((key, value)), Some((_, settings))) =
            (trimmed.split_once('='), all.last_mut())
        {
            let key = key.trim().to_ascii_lowercase();
            settings.insert(key.clone(), value.trim().to_string());
            last = Some(key);
        }
    }
    all
}

/// States of modules: `etc/dnf/modules.d`, by the module's name the stream and the state.
pub(crate) fn module_states(files: &Files) -> BTreeMap<String, (String, String)> {
    let mut states = BTreeMap::new();
    for (path, _) in files.below("etc/dnf/modules.d/") {
        let text = String::from_utf8_lossy(files.content(path).unwrap_or_default());
        for (name, settings) in sections(&text) {
            let get = |key: &str| settings.get(key).cloned().unwrap_or_default();
            states.insert(name, (get("stream"), get("state").to_ascii_lowercase()));
        }
    }
    states
}

fn is_on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "yes" | "true" | "on")
}

/// Whether a check is switched off: by a plain word alone, for what cannot be read must not.
fn is_off(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "0" | "no" | "false" | "off")
}

fn list(value: &str) -> Vec<String> {
    let words = value.split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// The variables of an image: `releasever`, `basearch`, `arch`, and those of its files.
pub(crate) fn variables(files: &Files, installed: &[Installed]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |key: &str, value: String| all.insert(key.to_string(), value);
    if let Some(version) = release(files, installed) {
        let (major, minor) = version.split_once('.').unwrap_or((&version, ""));
        put("releasever_major", major.to_string());
        put("releasever_minor", minor.to_string());
        put("releasever", version.clone());
    }
    let arch = architecture(installed);
    let base = match arch.as_str() {
        "i386" | "i486" | "i586" | "i686" | "athlon" | "geode" => "i386",
        "x86_64_v2" | "x86_64_v3" | "x86_64_v4" | "amd64" | "ia32e" => "x86_64",
        "armv7hl" | "armv7hnl" | "armv8hl" => "armhfp",
        other => other,
    };
    put("basearch", base.to_string());
    put("arch", arch.clone());
    for (path, _) in VARIABLES.iter().flat_map(|folder| files.below(folder)) {
        let Some(name) = path.rsplit('/').next() else { continue };
        let text = String::from_utf8_lossy(files.content(path).unwrap_or_default());
        if let Some(line) = text.lines().next() {
            all.insert(name.to_string(), line.trim().to_string());
        }
    }
    all
}

/// The architecture of an image: that of most of its packages.
pub(crate) fn architecture(installed: &[Installed]) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let own = installed.iter().filter(|one| !matches!(&*one.architecture, "" | "noarch"));
    for one in own {
        *counts.entry(&one.architecture).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, n)| *n);
    most.map_or_else(|| "noarch".to_string(), |(name, _)| name.to_string())
}

/// As dnf finds it: what the release's package provides, else its version.
fn release(files: &Files, installed: &[Installed]) -> Option<String> {
    let plain = |version: &str| {
        let version = version.split_once(':').map_or(version, |(_, rest)| rest);
        version.split('-').next().unwrap_or_default().to_string()
    };
    let provides = |name: &str| {
        let all =
            installed.iter().flat_map(|one| one.provides.iter().flatten().map(move |it| (one, it)));
        let mut named = all.filter(|(_, it)| it.name == name);
        named.next().map(|(one, it)| match &it.bound {
            Some((_, version)) if name.ends_with("(releasever)") => plain(version),
            _ => plain(&one.version),
        })
    };
    provides("system-release(releasever)")
        .or_else(|| provides("system-release"))
        .or_else(|| provides("distribution-release"))
        .or_else(|| {
            let paths = ["etc/os-release", "usr/lib/os-release"];
            let bytes = paths.iter().find_map(|path| files.content(path))?;
            os_release::parse(bytes).map(|it| it.version_id)
        })
        .filter(|version| !version.is_empty())
}

/// Puts the values of variables (`$name`, `${name}`) into a text.
pub(crate) fn fill(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    for _ in 0..FILLED_MAX {
        let Some((before, after)) = rest.split_once('$') else {
            return Ok(out + rest);
        };
        out += before;
        let in_braces = after.strip_prefix('{').and_then(|it| it.split_once('}'));
        let (name, more) = in_braces.unwrap_or_else(|| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        });
        // zypper's variables are of any case.
        let value = variables.get(name).or_else(|| variables.get(&name.to_ascii_lowercase()));
        out += value.ok_or_else(|| format!("the variable `${name}` has no value in the image"))?;
        if out.len() > FILLED_BYTES_MAX {
            return Err(format!("its variables make more than {FILLED_BYTES_MAX} bytes of a text"));
        }
        rest = more;
    }
    Err(format!("`{text}` has more than {FILLED_MAX} variables"))
}

/// The enabled repositories of an image, and what of its configuration cannot be read.
/// `own` are addresses that the caller has for repositories, by their ids.
pub(crate) fn sources(
    files: &Files,
    installed: &[Installed],
    own: &BTreeMap<String, String>,
) -> Result<(Vec<RpmSource>, Vec<String>), PatchError> {
    let variables = variables(files, installed);
    let mut main = BTreeMap::new();
    for path in MAIN {
        let text = String::from_utf8_lossy(files.content(path).unwrap_or_default());
        let found = sections(&text).into_iter().find(|(name, _)| name == "main");
        main.extend(found.map(|(_, settings)| settings).unwrap_or_default());
    }
    let (mut all, mut problems) = (Vec::<RpmSource>::new(), Vec::new());
    let mut ids = BTreeSet::new();
    for (path, _) in FOLDERS.iter().flat_map(|folder| files.below(folder)) {
        if Path::new(path).extension().is_none_or(|it| it != "repo") {
            continue;
        }
        let text = String::from_utf8_lossy(files.content(path).unwrap_or_default());
        let (found, bad) = read_with(&text, path, &main, &variables, own);
        problems.extend(bad);
        for source in found {
            // By its id a package is held against its repository's keys and settings, so there is
            // one of each, as there is for dnf.
            if ids.insert(source.id.clone()) {
                all.push(source);
            } else {
                problems.push(format!("{path}: [{}]: there is another of this id", source.id));
            }
        }
        if all.len() > REPOSITORIES_MAX {
            let why = format!("more than {REPOSITORIES_MAX} repositories");
            return Err(PatchError::document(path, why));
        }
    }
    Ok((all, problems))
}

/// Reads the text of a `.repo` file without any variables: the enabled repositories, and what
/// cannot be read.
pub fn read_repos(text: &str) -> (Vec<RpmSource>, Vec<String>) {
    let none = BTreeMap::new();
    read_with(text, "repo", &BTreeMap::new(), &none, &none)
}

fn read_with(
    text: &str,
    path: &str,
    main: &BTreeMap<String, String>,
    variables: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> (Vec<RpmSource>, Vec<String>) {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (id, settings) in sections(text) {
        let get = |key: &str| settings.get(key).or_else(|| main.get(key)).map(String::as_str);
        if id == "main" || get("enabled").is_some_and(|value| !is_on(value)) {
            continue;
        }
        let filled = |key: &str| -> Result<Vec<String>, String> {
            let words = list(settings.get(key).map(String::as_str).unwrap_or_default());
            words.iter().map(|word| fill(word, variables)).collect()
        };
        let read = || -> Result<RpmSource, String> {
            let id = fill(&id, variables)?;
            let mut addresses = match own.get(&id) {
                Some(address) => vec![fill(address, variables)?],
                None => filled("baseurl")?,
            };
            for address in &mut addresses {
                *address = address.trim_end_matches('/').to_string();
            }
            let mut lists = ["metalink", "mirrorlist"].into_iter();
            let named = lists.find(|key| settings.get(*key).is_some_and(|it| !it.is_empty()));
            let list_of = match named.filter(|_| addresses.is_empty()) {
                Some(key) => Some((key, filled(key)?.join(" "))),
                None => None,
            };
            if addresses.is_empty() && list_of.is_none() {
                return Err("it has no baseurl".to_string());
            }
            let words = |keys: &[&str]| -> Vec<String> {
                let both = keys.iter().flat_map(|key| [settings.get(*key), main.get(*key)]);
                both.flatten().flat_map(|value| list(value)).collect()
            };
            let priority = get("priority").and_then(|it| it.parse().ok()).unwrap_or(PRIORITY);
            Ok(RpmSource {
                file: path.to_string(),
                id,
                addresses,
                list: list_of,
                keys: filled("gpgkey")?,
                is_index_signed: get("repo_gpgcheck").is_some_and(|it| !is_off(it)),
                are_packages_signed: !get("gpgcheck").is_some_and(is_off),
                has_hotfixes: get("module_hotfixes").is_some_and(is_on),
                priority,
                excluded: words(&["excludepkgs", "exclude"]),
                included: words(&["includepkgs"]),
            })
        };
        match read() {
            Ok(source) => all.push(source),
            Err(why) => problems.push(format!("{path}: [{id}]: {why}")),
        }
    }
    (all, problems)
}

/// Whether a pattern (`*`, `?`, `[abc]`) means a text. A pattern that takes too many steps means
/// none.
pub(crate) fn is_match(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut back) = (0, 0, None);
    for _ in 0..STEPS_MAX {
        let Some(&c) = text.get(t) else {
            return pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'));
        };
        let step = match pattern.get(p) {
            Some('*') => {
                (back, p) = (Some((p + 1, t)), p + 1);
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(pattern.get(p..).unwrap_or_default(), c),
            Some(other) if *other == c => Some(1),
            _ => None,
        };
        match (step, back) {
            (Some(n), _) => (p, t) = (p + n, t + 1),
            (None, Some((after, at))) => (p, t, back) = (after, at + 1, Some((after, at + 1))),
            (None, None) => return false,
        }
    }
    false
}

/// The characters of a class, if it has `c`.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
    let inner = pattern.get(1..end)?;
    let (is_other, inner) = match inner.split_first() {
        Some(('!' | '^', rest)) => (true, rest),
        _ => (false, inner),
    };
    let is_range = |it: &[char]| matches!(it, [a, '-', b] if (*a..=*b).contains(&c));
    let has = inner.contains(&c) || inner.windows(3).any(is_range);
    (has != is_other).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_read() {
        let text = "[main]\nenabled=1\n[a]\nname = A\nbaseurl=https://a.example/$x/os/,\n  https://b.example/${x}\n\
                    gpgkey=file:///etc/pki/a\n  file:///etc/pki/b\nrepo_gpgcheck=True\npriority=10\n\
                    # c\n[off]\nenabled=0\nbaseurl=x\n[lists]\nmetalink=https://m.example/?r=$x\nmirrorlist=y\n\
                    [none]\nname=n\n[odd]\nbaseurl=$unknown\n";
        let vars = BTreeMap::from([("x".to_string(), "9".to_string())]);
        let main = BTreeMap::from([("excludepkgs".to_string(), "kernel* vim".to_string())]);
        let own = BTreeMap::new();
        let (all, problems) = read_with(text, "f", &main, &vars, &own);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].addresses, ["https://a.example/9/os", "https://b.example/9"]);
        assert_eq!(all[0].keys, ["file:///etc/pki/a", "file:///etc/pki/b"]);
        assert_eq!((all[0].priority, all[0].is_index_signed), (10, true));
        assert_eq!(all[0].excluded, ["kernel*", "vim"]);
        assert_eq!(all[1].list, Some(("metalink", "https://m.example/?r=9".to_string())));
        assert_eq!(
            problems,
            [
                "f: [none]: it has no baseurl",
                "f: [odd]: the variable `$unknown` has no value in the image"
            ]
        );
        let own = BTreeMap::from([("lists".to_string(), "file:///m/$x".to_string())]);
        let (all, _) = read_with(text, "f", &main, &vars, &own);
        assert_eq!(
            (all[1].addresses.as_slice(), &all[1].list),
            (&["file:///m/9".to_string()][..], &None)
        );
        assert!(fill(&"$x".repeat(FILLED_MAX + 1), &vars).is_err());
        let long = BTreeMap::from([("x".to_string(), "9".repeat(FILLED_BYTES_MAX / 2 + 1))]);
        assert!(fill("$x", &long).is_ok() && fill("$x$x", &long).is_err());
    }

    #[test]
    fn a_check_is_off_by_a_plain_word_alone() {
        let check = |line: &str, expected: (bool, bool)| {
            let (all, _) = read_repos(&format!("[a]\nbaseurl=https://a.example\n{line}\n"));
            assert_eq!((all[0].are_packages_signed, all[0].is_index_signed), expected, "{line}");
        };
        check("", (true, false));
        for off in ["0", "no", "False", "OFF"] {
            check(&format!("gpgcheck={off}\nrepo_gpgcheck={off}"), (false, false));
        }
        for on in ["1", "yes", "enabled", "0 # so", "-1", "", "nope"] {
            check(&format!("gpgcheck={on}\nrepo_gpgcheck={on}"), (true, true));
        }
    }

    #[test]
    fn of_two_repositories_with_one_id_the_first_counts() {
        let mut files = Files::default();
        files.put(
            "etc/yum.repos.d/a.repo",
            Some(b"[x]\nbaseurl=https://a.example\ngpgcheck=0\n".to_vec()),
        );
        files.put(
            "etc/yum.repos.d/b.repo",
            Some(b"[x]\nbaseurl=https://b.example\n[y]\nbaseurl=https://c.example\n".to_vec()),
        );
        let (all, problems) = sources(&files, &[], &BTreeMap::new()).unwrap();
        let found: Vec<(&str, &str)> =
            all.iter().map(|one| (&*one.id, &*one.addresses[0])).collect();
        assert_eq!(found, [("x", "https://a.example"), ("y", "https://c.example")]);
        assert_eq!(problems, ["etc/yum.repos.d/b.repo: [x]: there is another of this id"]);
    }

    #[test]
    fn patterns_mean_names() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(is_match(pattern, text), expected, "{pattern} {text}");
        };
        check("kernel*", "kernel-core", true);
        check("*-devel", "a-devel", true);
        check("*-devel", "a-devel-b", false);
        check("a?c", "abc", true);
        check("a[bx]c", "abc", true);
        check("a[!b]c", "abc", false);
        check("a[0-9]", "a7", true);
        check("a[", "a[", false);
        check("", "", true);
        check("*", "", true);
        check(&"*a".repeat(2_000), &"a".repeat(10_000), true);
        check(&("*a".repeat(500) + "b"), &"a".repeat(10_000), false);
    }
}
