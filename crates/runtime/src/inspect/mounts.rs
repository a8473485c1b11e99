//! Mounts of a container, and what of the host each of them is (`proc_pid_mountinfo(5)`).

use palisade_harden::{host_path_exposes, is_engine_file, is_engine_root};
use serde::Serialize;

/// Mounts that are read.
const MOUNTS_MAX: usize = 16_384;

/// Devices that every container has; where `mknod` is not possible the OCI runtime binds the
/// host's, and it covers files that are to be hidden with the first.
const HARMLESS_DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Files that engines give to every container.
const ENGINE_FILES: [&str; 4] =
    ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"];

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Mount {
    /// Where, inside.
    pub destination: String,
    /// Type of the file system.
    pub kind: String,
    /// Options of this mount.
    pub options: Vec<String>,
    /// Whether it can be written to.
    pub writable: bool,
    /// What of the host it shows; absent: a file system of the container's own.
    pub host: Option<String>,
    /// Whether mounts below it spread to the host.
    pub spreads: bool,
    /// Whether the engine gives it to every container.
    pub engine: bool,
}

/// A line of `mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    device: String,
    root: String,
    at: String,
    options: Vec<String>,
    super_options: Vec<String>,
    kind: String,
    shared: Option<u32>,
}

/// Undoes `\040` and its like.
fn unescape(text: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) if *byte == b'\\' => {
                out.push(code);
                at += 4;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads `/proc/PID/mountinfo`; lines that are not of its form are left out.
pub fn parse_mountinfo(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(2);
        let (device, root, at) = (front.next()?, front.next()?, front.next()?);
        let options = front.next()?.split(',').map(str::to_string).collect();
        let shared = front.find_map(|field| field.strip_prefix("shared:")?.parse().ok());
        let mut back = back.split(' ');
        let kind = back.next()?.to_string();
        let super_options = back.nth(1).unwrap_or_default().split(',').map(str::to_string);
        Some(Line {
            device: device.to_string(),
            root: unescape(root),
            at: unescape(at),
            options,
            super_options: super_options.collect(),
            kind,
            shared,
        })
    };
    text.lines().take(MOUNTS_MAX).filter_map(line).collect()
}

/// `rest` behind `path`.
fn below(path: &str, rest: &str) -> String {
    match (path.trim_end_matches('/'), rest.trim_start_matches('/')) {
        ("", "") => "/".to_string(),
        (path, "") => path.to_string(),
        (path, rest) => format!("{path}/{rest}"),
    }
}

/// Where of the host the root of `line` lies.
fn on_host(line: &Line, host: &[Line]) -> Option<String> {
    let inside = |known: &&Line| {
        let root = known.root.trim_end_matches('/');
        let rest = line.root.strip_prefix(root)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| (root.len(), below(&known.at, rest)))
    };
    // The root file system of a container is one mount of its own, whatever it is made of.
    if line.at == "/" && line.root == "/" && line.kind == "overlay" {
        return None;
    }
    let same = host.iter().filter(|known| known.device == line.device);
    let best = same.filter_map(|known| inside(&known)).max_by_key(|(length, _)| *length);
    best.map(|(_, path)| path)
}

/// Whether `host` is the file `name` of a bundle of `palisade run`: `bundles/ID/NAME` in whatever
/// folder it runs in.
fn is_own_file(host: &str, name: &str) -> bool {
    let mut parts = host.rsplit('/');
    let is_named = parts.next() == Some(name);
    let is_id = |id: &str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_named && parts.next().is_some_and(is_id) && parts.next() == Some("bundles")
}

/// Whether the engine has put `host` there, and not who asked for a mount at the same place: a
/// container of the host's root has that at `/` as well.
fn is_engines(at: &str, host: &str, writable: bool) -> bool {
    if at == "/" {
        return is_engine_root(host) || host_path_exposes(host, writable).is_none();
    }
    let name = at.rsplit('/').next().unwrap_or_default();
    is_own_file(host, name) || is_engine_file(host, name, writable)
}

/// The mounts of a container, by its `mountinfo` and the host's.
pub(super) fn of(container: &str, host: &str) -> Vec<Mount> {
    let host = parse_mountinfo(host);
    let groups: Vec<u32> = host.iter().filter_map(|line| line.shared).collect();
    let mount = |line: Line| {
        let is_kernel =
            matches!(line.kind.as_str(), "proc" | "sysfs" | "cgroup" | "cgroup2" | "mqueue");
        let found = if is_kernel { None } else { on_host(&line, &host) };
        let is_dev =
            found.as_deref().is_some_and(|path| path == "/dev" || path.starts_with("/dev/"))
                && line.at.starts_with("/dev");
        // Where it lies matters not: null is null at `/proc/kcore` as well.
        let is_harmless = found.as_deref().is_some_and(|path| HARMLESS_DEVICES.contains(&path));
        let read_only = |options: &[String]| options.iter().any(|option| option == "ro");
        let writable = !read_only(&line.options) && !read_only(&line.super_options);
        let is_usual = line.at == "/" || ENGINE_FILES.contains(&line.at.as_str());
        let is_engines =
            is_usual && found.as_deref().is_none_or(|host| is_engines(&line.at, host, writable));
        Mount {
            writable,
            spreads: line.shared.is_some_and(|group| groups.contains(&group)),
            engine: is_engines || is_harmless || (is_dev && line.kind != "devtmpfs"),
            host: found,
            destination: line.at,
            kind: line.kind,
            options: line.options,
        }
    };
    parse_mountinfo(container).into_iter().map(mount).collect()
}
