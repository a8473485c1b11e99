//! What a walk over an image shows of its attack surface and of what its programs load.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use palisade_image::{FileEntry, FileKind, ImageConfig};

use super::elf::{Linkage, linkage};

/// Programs whose linkage is kept.
const PROGRAMS_MAX: usize = 20_000;
/// Links that are kept.
const LINKS_MAX: usize = 100_000;
/// Names of one class that are kept.
const NAMES_MAX: usize = 10_000;
/// Largest program that is read, in bytes.
const PROGRAM_BYTES_MAX: u64 = 64 << 20;
/// Where programs are looked for when the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Folders of `PATH` that are looked into.
const FOLDERS_MAX: usize = 64;

/// What a program can do for an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    Shell,
    PackageManager,
    Compiler,
    Interpreter,
    NetworkTool,
}

/// Names of programs by class; a `*` at the end stands for a version.
const NAMES: [(Class, &[&str]); 5] = [
    (
        Class::Shell,
        &[
            "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "rbash",
            "busybox",
        ],
    ),
    (
        Class::PackageManager,
        &[
            "apt", "apt-get", "aptitude", "dpkg", "apk", "rpm", "yum", "dnf", "dnf5", "microdnf",
            "tdnf", "zypper", "pacman", "pip", "pip3", "pip3.*", "pipx", "uv", "npm", "yarn",
            "pnpm", "gem", "bundle", "composer", "conda", "snap",
        ],
    ),
    (
        Class::Compiler,
        &[
            "gcc", "gcc-*", "cc", "g++", "g++-*", "c++", "clang", "clang-*", "tcc", "go", "rustc",
            "cargo", "javac", "make", "gmake", "cmake", "ld", "as", "gdb", "strace",
        ],
    ),
    (
        Class::Interpreter,
        &[
            "python",
            "python2",
            "python2.*",
            "python3",
            "python3.*",
            "perl",
            "perl5*",
            "ruby",
            "ruby3.*",
            "node",
            "nodejs",
            "deno",
            "bun",
            "php",
            "php8.*",
            "php7.*",
            "lua",
            "lua5.*",
            "java",
            "tclsh",
            "gawk",
            "awk",
            "mawk",
        ],
    ),
    (
        Class::NetworkTool,
        &[
            "curl",
            "wget",
            "nc",
            "nc.openbsd",
            "nc.traditional",
            "ncat",
            "netcat",
            "nmap",
            "socat",
            "ssh",
            "scp",
            "sftp",
            "telnet",
            "ftp",
            "tftp",
            "rsync",
            "dig",
            "nslookup",
            "host",
            "tcpdump",
            "tshark",
            "iptables",
            "nft",
            "ip",
            "git",
        ],
    ),
];

/// A program or library outside the distribution's folders, or one that the image starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Without leading slash.
    pub(crate) path: String,
    /// What it loads; empty for a script.
    pub(crate) linkage: Linkage,
    /// The interpreter in a script's first line, with its first argument.
    pub(crate) script: Option<String>,
}

/// Sees every file of an image once.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    pub(crate) n_bytes: u64,
    pub(crate) names: BTreeMap<Class, BTreeSet<String>>,
    pub(crate) privileged: BTreeSet<String>,
    pub(crate) programs: Vec<Program>,
    /// Symbolic links: path to target as written.
    pub(crate) links: BTreeMap<String, String>,
    /// Where what the image starts may be, in the order in which it is looked for.
    pub(crate) candidates: Vec<String>,
    /// Those that are there.
    pub(crate) started: BTreeSet<String>,
    /// What had no room.
    pub(crate) n_more: u64,
}

impl Observer {
    /// An observer of an image with this configuration.
    pub(crate) fn new(config: &ImageConfig) -> Self {
        let first = config.entrypoint.first().or_else(|| config.cmd.first());
        let candidates = first.map(|word| candidates(word, config)).unwrap_or_default();
        Self { candidates, ..Self::default() }
    }

    /// Looks at an entry.
    pub(crate) fn see(&mut self, entry: &FileEntry) {
        match entry.kind {
            FileKind::Regular | FileKind::HardLink => {
                self.n_bytes = self.n_bytes.saturating_add(entry.size);
                let is_privileged = entry.mode & 0o4000 != 0
                    || entry.mode & 0o2010 == 0o2010
                    || entry.capability().is_some();
                if is_privileged && self.privileged.len() < NAMES_MAX {
                    self.privileged.insert(entry.absolute());
                }
                self.name(entry);
                self.start(entry);
            }
            FileKind::Symlink => {
                self.name(entry);
                self.start(entry);
                if let Some(target) = &entry.link {
                    if self.links.len() < LINKS_MAX {
                        self.links.insert(entry.path.clone(), target.clone());
                    } else {
                        self.n_more += 1;
                    }
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, entry: &FileEntry) {
        if self.candidates.contains(&entry.path) {
            self.started.insert(entry.path.clone());
        }
    }

    fn name(&mut self, entry: &FileEntry) {
        let Some((folder, name)) = entry.path.rsplit_once('/') else { return };
        if !matches!(folder.rsplit('/').next(), Some("bin" | "sbin")) {
            return;
        }
        for class in NAMES.iter().filter(|(_, names)| names.iter().any(|n| is_named(n, name))) {
            let names = self.names.entry(class.0).or_default();
            if names.len() < NAMES_MAX {
                names.insert(name.to_string());
            }
        }
    }

    /// Whether the content of an entry is worth reading whole.
    pub(crate) fn wants(&self, entry: &FileEntry) -> bool {
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        let may_run = entry.mode & 0o111 != 0 || name.contains(".so");
        entry.kind == FileKind::Regular
            && may_run
            && (4..=PROGRAM_BYTES_MAX).contains(&entry.size)
            && self.programs.len() < PROGRAMS_MAX
            && (!is_of_system(&entry.path) || self.candidates.contains(&entry.path))
    }

    /// Reads a wanted file and gives its bytes back for others to read.
    pub(crate) fn read(
        &mut self,
        entry: &FileEntry,
        content: &mut dyn Read,
    ) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        content.take(PROGRAM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.starts_with(b"\x7fELF") {
            if let Some(linkage) = linkage(&bytes) {
                self.programs.push(Program { path: entry.path.clone(), linkage, script: None });
            }
        } else if let Some(script) = script(&bytes) {
            let linkage = Linkage::default();
            self.programs.push(Program { path: entry.path.clone(), linkage, script: Some(script) });
        }
        Ok(bytes)
    }

    /// Follows the links at `path`; at most ten, which is more than honest images have.
    pub(crate) fn resolve(&self, path: &str) -> String {
        let mut path = path.trim_start_matches('/').to_string();
        for _ in 0..10 {
            let Some(next) = self.step(&path) else { break };
            path = next;
        }
        path
    }

    /// One link along the path, the folders' links included.
    fn step(&self, path: &str) -> Option<String> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let (head, rest) = path.split_at_checked(end)?;
            if let Some(target) = self.links.get(head) {
                let folder = head.rsplit_once('/').map_or("", |(folder, _)| folder);
                let base = if target.starts_with('/') { "" } else { folder };
                return Some(join(base, &format!("{target}{rest}")));
            }
        }
        None
    }
}

/// `text` from `base`, without `.` and `..`, without leading slash.
fn join(base: &str, text: &str) -> String {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where the program `word` of a command is looked for.
fn candidates(word: &str, config: &ImageConfig) -> Vec<String> {
    if word.starts_with('/') {
        return vec![join("", word)];
    }
    if word.contains('/') {
        return vec![join(&config.working_dir, word)];
    }
    let path = config.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    let folders = path.unwrap_or(PATH).split(':').filter(|folder| folder.starts_with('/'));
    folders.take(FOLDERS_MAX).map(|folder| join(folder, word)).collect()
}

/// Whether `name` is `pattern`, in which a `*` at the end stands for a version.
fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => name.strip_prefix(stem).is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        }),
        None => pattern == name,
    }
}

/// Folders whose files a distribution's packages own as a rule.
fn is_of_system(path: &str) -> bool {
    let folders = [
        "usr/bin/",
        "usr/sbin/",
        "bin/",
        "sbin/",
        "usr/lib/",
        "usr/lib32/",
        "usr/lib64/",
        "usr/libexec/",
        "usr/share/",
        "lib/",
        "lib32/",
        "lib64/",
        "etc/",
        "var/",
    ];
    folders.iter().any(|folder| path.starts_with(folder))
}

/// `#!/usr/bin/env python3` is `python3`, `#!/bin/sh -e` is `/bin/sh`.
fn script(bytes: &[u8]) -> Option<String> {
    let line = bytes.strip_prefix(b"#!")?;
    let line = line
        .split(|byte| *byte == b'\n')
        .next()?
        .get(..256)
        .unwrap_or_else(|| line.split(|byte| *byte == b'\n').next().unwrap_or_default());
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace().filter(|word| *word != "-S");
    let first = words.next()?;
    let is_env = first.rsplit('/').next() == Some("env");
    let chosen = if is_env { words.next()? } else { first };
    Some(chosen.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_versions() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(is_named(pattern, name), expected, "{pattern} {name}");
        };
        check("python3.*", "python3.11", true);
        check("python3.*", "python3.11-config", false);
        check("gcc-*", "gcc-12", true);
        check("sh", "sh", true);
        check("sh", "ssh", false);
        check("perl5*", "perl5", false);
    }

    #[test]
    fn first_lines_of_scripts() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(script(text.as_bytes()).as_deref(), expected, "{text}");
        };
        check("#!/bin/sh -e\nx", Some("/bin/sh"));
        check("#!/usr/bin/env python3", Some("python3"));
        check("#! /usr/bin/env -S node --x\n", Some("node"));
        check("#!", None);
        check("x", None);
        assert!(script(&[b"#!".as_slice(), &[b'a'; 9_000]].concat()).unwrap().len() <= 256);
    }

    #[test]
    fn links_are_followed_and_circles_end() {
        let mut observer = Observer::default();
        let links = [
            ("bin", "usr/bin"),
            ("usr/bin/sh", "dash"),
            ("usr/local/bin/python", "python3"),
            ("usr/local/bin/python3", "/usr/local/bin/python3.11"),
            ("a", "b"),
            ("b", "a"),
            ("up", "../../../etc"),
        ];
        for (path, target) in links {
            observer.links.insert(path.into(), target.into());
        }
        assert_eq!(observer.resolve("/bin/sh"), "usr/bin/dash");
        assert_eq!(observer.resolve("/usr/local/bin/python"), "usr/local/bin/python3.11");
        assert_eq!(observer.resolve("up/passwd"), "etc/passwd");
        observer.resolve("a");
    }

    #[test]
    fn commands_are_looked_for_where_the_image_says() {
        let config = ImageConfig {
            env: vec!["PATH=/opt/x/bin:relative:/bin".into()],
            working_dir: "/app".into(),
            ..ImageConfig::default()
        };
        assert_eq!(candidates("run", &config), ["opt/x/bin/run", "bin/run"]);
        assert_eq!(candidates("./run", &config), ["app/run"]);
        assert_eq!(candidates("/srv/../run", &config), ["run"]);
        assert_eq!(candidates("run", &ImageConfig::default()).len(), 6);
    }
}
