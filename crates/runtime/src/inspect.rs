//! What a running container of any engine may do, read from the kernel; what that exposes; and
//! the change of the policy that closes it.
//!
//! [`Inspection::of`] reads `/proc` and the control groups and believes nothing that an engine
//! says. [`exposures`] is pure.

mod exposures;
mod mounts;

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use palisade_sys::capability::{ProcessPrivileges, parse_status};
use palisade_sys::{Hierarchies, facts};
use serde::Serialize;

pub use exposures::{Exposure, Held, Level, exposures};
pub use mounts::{Mount, parse_mountinfo};

/// Bytes of a file below `/proc` that are read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Devices that are listed.
pub const DEVICES_MAX: usize = 1024;
/// Entries of `/dev` that are looked at.
const ENTRIES_MAX: usize = 16_384;
/// Further processes that are named.
pub const OTHERS_MAX: usize = 32;
/// Processes of the container that are looked at.
const PROCESSES_MAX: usize = 4096;

/// The kinds of namespaces, by their file below `/proc/PID/ns` and their usual name.
const NAMESPACES: [(&str, &str); 8] = [
    ("mnt", "mount"),
    ("pid", "pid"),
    ("net", "network"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("user", "user"),
    ("time", "time"),
];

/// A container that cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("read `{}`", path.display())]
pub struct InspectError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl palisade_base::Explain for InspectError {
    fn hint(&self) -> Option<String> {
        Some("run as root; the container must still be running".into())
    }
}

/// Capabilities by set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Capabilities {
    /// What the program has.
    pub effective: Vec<&'static str>,
    /// What it may take.
    pub permitted: Vec<&'static str>,
    /// What a program may gain by being started.
    pub bounding: Vec<&'static str>,
    /// What programs inherit from files that carry it.
    pub inheritable: Vec<&'static str>,
    /// What programs inherit without.
    pub ambient: Vec<&'static str>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// `mount`, `pid`, …
    pub kind: &'static str,
    /// The namespace's number.
    pub id: u64,
    /// Whether it is the one of this program, the host's.
    pub host: bool,
}

/// Users and the ids that they are outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Users {
    /// The program's user id as the host knows it.
    pub uid: u32,
    /// As the container knows it.
    pub uid_inside: Option<u32>,
    /// Ranges: first inside, first outside, how many.
    pub uid_map: Vec<(u32, u32, u32)>,
}

impl Users {
    /// Whether root of the container is root of the host.
    pub fn root_is_root(&self) -> bool {
        self.uid_map
            .iter()
            .any(|(inside, outside, count)| *inside == 0 && *outside == 0 && *count > 0)
    }
}

/// A device that programs of the container find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Where, inside.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    /// Its numbers.
    pub major: u32,
    /// Its numbers.
    pub minor: u32,
}

/// Limits; absent is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Limits {
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Size of a core file; absent is none at all.
    pub core_bytes: Option<u64>,
}

/// A further process that may do more than the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stronger {
    /// Its id on the host.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// What it has that the first process lacks.
    pub more: Vec<String>,
}

/// What a container may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Inspection {
    /// The first process, on the host.
    pub pid: u32,
    /// Who it runs as.
    pub users: Users,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Whether setuid files and file capabilities gain nothing.
    pub no_new_privileges: bool,
    /// `none`, `strict`, `filter`.
    pub seccomp: &'static str,
    /// How many filters stand before a call.
    pub n_seccomp_filters: u32,
    /// The label of AppArmor, SELinux or another security module.
    pub security_label: Option<String>,
    /// Whether this kernel runs AppArmor or SELinux at all.
    pub mandatory: bool,
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
    /// Whether the root file system is read-only.
    pub read_only_root: bool,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Kernel paths that engines hide and that are not hidden.
    pub unmasked: Vec<String>,
    /// Kernel settings that could be written.
    pub writable_kernel: Vec<String>,
    /// Devices besides the harmless ones.
    pub devices: Vec<Device>,
    /// What may be done with which devices, where the kernel tells (control groups version 1).
    pub device_rules: Option<Vec<String>>,
    /// Limits.
    pub limits: Limits,
    /// Processes of the container that may do more than its first.
    pub stronger: Vec<Stronger>,
    /// What could not be read.
    pub unknown: Vec<String>,
}

fn read(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::File::open(path)
        .and_then(|file| palisade_base::read_bounded(file, "state of a process", FILE_BYTES_MAX))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Inspection {
    /// Looks at the container whose first process is `pid`.
    pub fn of(pid: u32) -> Result<Self, InspectError> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let file = |name: &str| {
            let path = folder.join(name);
            read(&path).map_err(|source| InspectError { path, source })
        };
        let privileges = parse_status(&file("status")?);
        let mut out = Self {
            pid,
            users: users(&privileges, &file("uid_map")?),
            capabilities: capabilities(&privileges),
            no_new_privileges: privileges.no_new_privileges,
            seccomp: match privileges.seccomp_mode {
                0 => "none",
                1 => "strict",
                _ => "filter",
            },
            n_seccomp_filters: privileges.n_seccomp_filters,
            security_label: file("attr/current")
                .ok()
                .map(|label| label.trim_end_matches(['\n', '\0']).to_string())
                .filter(|label| !label.is_empty()),
            mandatory: facts::kernel().security_modules.is_some_and(|list| {
                list.iter().any(|name| name == "apparmor" || name == "selinux")
            }),
            ..Self::default()
        };
        out.namespaces(&folder);
        let host = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
        out.mounts = mounts::of(&file("mountinfo")?, &host);
        out.read_only_root =
            out.mounts.iter().any(|mount| mount.destination == "/" && !mount.writable);
        out.kernel_paths();
        out.find_devices(&folder.join("root"));
        out.find_limits(&file("limits").unwrap_or_default());
        out.find_stronger(&privileges);
        Ok(out)
    }

    /// Whether the namespace of this kind is the host's; unknown is no.
    pub fn shares(&self, kind: &str) -> bool {
        self.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.host)
    }

    fn namespaces(&mut self, folder: &Path) {
        for (file, kind) in NAMESPACES {
            let id = |folder: &Path| {
                std::fs::metadata(folder.join("ns").join(file)).map(|metadata| metadata.ino())
            };
            match id(folder) {
                Ok(theirs) => {
                    let host = id(Path::new("/proc/self")).is_ok_and(|ours| ours == theirs);
                    self.namespaces.push(Namespace { kind, id: theirs, host });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => self.unknown.push(format!("{kind} namespace: {error}")),
            }
        }
    }

    /// Kernel paths that nothing covers, and settings that are writable.
    fn kernel_paths(&mut self) {
        let covers = |path: &str, wanted: &dyn Fn(&Mount) -> bool| {
            self.mounts.iter().rev().any(|mount| {
                let at = mount.destination.as_str();
                let is_in =
                    path == at || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
                at.len() > "/sys/".len() && is_in && wanted(mount)
            })
        };
        let is_there = |path: &str| Path::new(path).exists();
        let hidden =
            |path: &str| covers(path, &|mount| !matches!(mount.kind.as_str(), "proc" | "sysfs"));
        self.unmasked = palisade_harden::MASKED_PATHS
            .into_iter()
            .filter(|path| is_there(path) && !hidden(path))
            .map(str::to_string)
            .collect();
        let is_mounted = |kind: &str| {
            self.mounts.iter().any(|mount| {
                mount.kind == kind
                    && mount.writable
                    && matches!(mount.destination.as_str(), "/proc" | "/sys")
            })
        };
        let mut writable = Vec::new();
        if is_mounted("proc") {
            writable.extend(
                ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"]
                    .into_iter()
                    .filter(|path| is_there(path) && !covers(path, &|mount| !mount.writable)),
            );
        }
        if is_mounted("sysfs") {
            writable.push("/sys");
        }
        let cgroup =
            |mount: &&Mount| mount.writable && matches!(mount.kind.as_str(), "cgroup" | "cgroup2");
        self.writable_kernel = writable.into_iter().map(str::to_string).collect();
        self.writable_kernel
            .extend(self.mounts.iter().filter(cgroup).map(|mount| mount.destination.clone()));
    }

    /// Device nodes below `/dev`, as the container sees it.
    fn find_devices(&mut self, root: &Path) {
        let top = root.join("dev");
        if !std::fs::symlink_metadata(&top).is_ok_and(|metadata| metadata.is_dir()) {
            return;
        }
        let mut folders = vec![(top, "/dev".to_string(), 0)];
        let mut n_seen = 0;
        while let Some((folder, inside, depth)) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                n_seen += 1;
                if n_seen > ENTRIES_MAX || self.devices.len() >= DEVICES_MAX {
                    self.unknown.push("more devices than are listed".into());
                    return;
                }
                let path = entry.path();
                let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
                let inside = format!("{inside}/{}", entry.file_name().to_string_lossy());
                let kind = metadata.file_type();
                if kind.is_dir() && depth < 2 && !matches!(inside.as_str(), "/dev/pts" | "/dev/shm")
                {
                    folders.push((path, inside, depth + 1));
                } else if kind.is_char_device() || kind.is_block_device() {
                    let number = metadata.rdev();
                    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
                    let kind = if kind.is_block_device() { 'b' } else { 'c' };
                    let (text, major_i) = (kind.to_string(), i64::from(major));
                    if !palisade_harden::is_harmless_device(&text, major_i, minor.into()) {
                        self.devices.push(Device { path: inside, kind, major, minor });
                    }
                }
            }
        }
        self.devices.sort_by(|a, b| a.path.cmp(&b.path));
    }

    fn find_limits(&mut self, text: &str) {
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.get(name.len()..)?.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let group = Hierarchies::detect().and_then(|all| all.of_process(self.pid));
        self.limits.open_files = row("Max open files");
        self.limits.core_bytes = row("Max core file size");
        match group {
            Ok(group) => {
                let limits = group.limits();
                self.limits.memory_bytes = limits.memory_bytes;
                self.limits.pids = limits.pids;
                self.limits.cpu_millis = limits.cpu_millis;
                let list = group.controller("devices").map(|folder| folder.join("devices.list"));
                self.device_rules = list
                    .and_then(|path| read(&path).ok())
                    .map(|text| text.lines().map(str::to_string).take(DEVICES_MAX).collect());
            }
            Err(error) => self.unknown.push(format!("limits: {error}")),
        }
    }

    /// Processes of the same control groups that may do more than the first.
    fn find_stronger(&mut self, first: &ProcessPrivileges) {
        let group = Hierarchies::detect().and_then(|all| all.of_process(self.pid));
        let Ok(pids) = group.and_then(|group| group.processes()) else { return };
        for pid in pids.into_iter().filter(|pid| *pid != self.pid).take(PROCESSES_MAX) {
            let Ok(status) = read(Path::new(&format!("/proc/{pid}/status"))) else { continue };
            let theirs = parse_status(&status);
            let mut more: Vec<String> = theirs
                .effective
                .names()
                .filter(|name| !first.bounding.has(name))
                .map(|name| format!("capability {name}"))
                .collect();
            if first.no_new_privileges && !theirs.no_new_privileges {
                more.push("may gain privileges".into());
            }
            if first.seccomp_mode != 0 && theirs.seccomp_mode == 0 {
                more.push("no system-call filter".into());
            }
            if !more.is_empty() && self.stronger.len() < OTHERS_MAX {
                let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
                let name = name.unwrap_or_default().trim().to_string();
                self.stronger.push(Stronger { pid, name, more });
            }
        }
    }
}

fn users(privileges: &ProcessPrivileges, map: &str) -> Users {
    let numbers = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse::<u32>().ok());
        Some((words.next()??, words.next()??, words.next()??))
    };
    let uid_map: Vec<_> = map.lines().take(340).filter_map(numbers).collect();
    let uid = privileges.uids[1];
    let uid_inside = uid_map.iter().find_map(|(inside, outside, count)| {
        let offset = uid.checked_sub(*outside).filter(|offset| offset < count)?;
        inside.checked_add(offset)
    });
    Users { uid, uid_inside, uid_map }
}

fn capabilities(privileges: &ProcessPrivileges) -> Capabilities {
    Capabilities {
        effective: privileges.effective.names().collect(),
        permitted: privileges.permitted.names().collect(),
        bounding: privileges.bounding.names().collect(),
        inheritable: privileges.inheritable.names().collect(),
        ambient: privileges.ambient.names().collect(),
    }
}

#[cfg(test)]
mod tests;
