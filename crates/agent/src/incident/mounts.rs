//! What of the host, and of other containers, is mounted into a container.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use palisade_model::incident::{Neighbour, SharedMount};

/// Bytes of a mount table that are read.
const TABLE_BYTES_MAX: u64 = 4 << 20;
/// Mounts of a table that are read.
const MOUNTS_MAX: usize = 10_000;

/// File systems that every container has of its own, or that hold no files of anybody.
const OWN_KINDS: [&str; 9] =
    ["proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay", "devtmpfs", "nsfs"];

/// Files that engines write for each container.
const OF_ENGINES: [&str; 4] =
    ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"];

/// One line of `/proc/PID/mountinfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountEntry {
    /// `major:minor` of the file system.
    pub device: String,
    /// The folder or file of the file system that is mounted.
    pub root: String,
    /// Where, as its process sees it.
    pub path: String,
    /// Its type: `ext4`.
    pub kind: String,
    /// Whether it can be written to through this mount.
    pub writable: bool,
}

impl MountEntry {
    /// What two containers must have in common to share it; `None` for what is everybody's own.
    pub(super) fn key(&self) -> Option<(String, String)> {
        let is_own = OWN_KINDS.contains(&self.kind.as_str())
            || self.path == "/"
            || OF_ENGINES.contains(&self.path.as_str());
        (!is_own).then(|| (self.device.clone(), self.root.clone()))
    }
}

/// The mount table of process `pid`; `proc` is `/proc`.
pub(super) fn of_process(proc: &Path, pid: u32) -> io::Result<Vec<MountEntry>> {
    read(&proc.join(pid.to_string()).join("mountinfo"))
}

/// The mount table of the host: that of the machine's first process, or our own where that is
/// kept from us.
pub(super) fn of_host(proc: &Path) -> io::Result<Vec<MountEntry>> {
    of_process(proc, 1).or_else(|_| read(&proc.join("self/mountinfo")))
}

fn read(path: &Path) -> io::Result<Vec<MountEntry>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TABLE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(parse).take(MOUNTS_MAX).collect())
}

fn parse(line: &str) -> Option<MountEntry> {
    let (before, after) = line.split_once(" - ")?;
    let mut words = before.split(' ').skip(2);
    let device = words.next()?.to_string();
    let (root, path) = (unescape(words.next()?), unescape(words.next()?));
    let options = words.next()?;
    Some(MountEntry {
        device,
        root,
        path,
        kind: after.split(' ').next()?.to_string(),
        writable: options.split(',').any(|option| option == "rw"),
    })
}

/// `\040` is a blank, as fs/proc_namespace.c writes it.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_string();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        if let Some(byte) = octal {
            out.push(byte);
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Those of `own` that are the host's, or that others have as well (`with`).
pub(super) fn shared(
    own: &[MountEntry],
    host: &[MountEntry],
    with: &BTreeMap<(String, String), Vec<Neighbour>>,
) -> Vec<SharedMount> {
    let mut found: Vec<SharedMount> = Vec::new();
    for mount in own {
        let Some(key) = mount.key() else { continue };
        let others = with.get(&key).cloned().unwrap_or_default();
        let source = source(mount, host);
        if others.is_empty() && source.is_none() {
            continue;
        }
        let source = source.unwrap_or_else(|| format!("{}:{}", mount.kind, mount.root));
        found.push(SharedMount {
            path: mount.path.clone(),
            source,
            writable: mount.writable,
            with: others,
        });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    found
}

/// The path on the host of what `mount` shows. A memory file system is the host's only if the
/// host has it mounted; so are all others.
fn source(mount: &MountEntry, host: &[MountEntry]) -> Option<String> {
    let shows = |entry: &&MountEntry| {
        entry.device == mount.device
            && entry.kind == mount.kind
            && Path::new(&mount.root).starts_with(&entry.root)
    };
    let entry = host.iter().filter(shows).max_by_key(|entry| entry.root.len())?;
    let rest = Path::new(&mount.root).strip_prefix(&entry.root).ok()?;
    let path = Path::new(&entry.path).join(rest);
    // `join` with an empty rest leaves a slash behind.
    let text = path.to_string_lossy();
    Some(if text.len() > 1 { text.trim_end_matches('/').to_string() } else { text.into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Vec<MountEntry> {
        text.lines().filter_map(parse).collect()
    }

    #[test]
    fn lines_are_read_or_passed_over() {
        let line =
            r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!(
            (mount.device.as_str(), mount.root.as_str(), mount.path.as_str(), mount.writable),
            ("98:0", "/mnt1", "/mnt 2", true)
        );
        for line in ["", "a b c", "1 2 3:4 / /", "1 2 3:4 / / rw -", " - "] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(unescape(r"a\04"), r"a\04");
        assert_eq!(unescape(r"\134x"), r"\x");
    }

    #[test]
    fn what_is_the_hosts_or_others_is_told_from_what_is_its_own() {
        let host = table(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
             2 1 8:2 / /srv rw - ext4 /dev/sda2 rw\n\
             3 1 0:30 / /run rw - tmpfs tmpfs rw\n",
        );
        let own = table(
            "9 8 0:50 / / ro - overlay overlay rw\n\
             10 9 8:2 /data /var/lib/data rw - ext4 /dev/sda2 rw\n\
             11 9 8:1 /var/lib/docker/containers/a/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n\
             12 9 0:30 /docker.sock /run/docker.sock rw - tmpfs tmpfs rw\n\
             13 9 0:60 / /dev/shm rw - tmpfs shm rw\n\
             14 9 0:61 / /cache ro - tmpfs shm rw\n\
             15 9 0:5 / /proc rw - proc proc rw\n",
        );
        let other = Neighbour { id: "b".into(), name: "b".into(), by: "/cache".into() };
        let with = BTreeMap::from([(("0:61".to_string(), "/".to_string()), vec![other])]);
        let found = shared(&own, &host, &with);
        let rows: Vec<(&str, &str, bool, usize)> = found
            .iter()
            .map(|m| (m.path.as_str(), m.source.as_str(), m.writable, m.with.len()))
            .collect();
        let expected = [
            ("/cache", "tmpfs:/", false, 1),
            ("/run/docker.sock", "/run/docker.sock", true, 0),
            ("/var/lib/data", "/srv/data", true, 0),
        ];
        assert_eq!(rows, expected);
    }
}
