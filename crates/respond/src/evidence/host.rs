//! The container's limits and mounts, and what matters of the host around it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::sockets::{self, Socket};
use super::{Collector, read, upper};
use crate::bundle::WriteError;

/// Largest file of a control group or of the host's facts, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Most files read of one control group folder.
const GROUP_FILES_MAX: usize = 256;

/// Host facts that an investigator asks for first.
const HOST_FILES: [&str; 14] = [
    "/proc/version",
    "/proc/cmdline",
    "/proc/modules",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/mounts",
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/tainted",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/sys/kernel/security/lsm",
    "/sys/kernel/security/lockdown",
    "/etc/os-release",
];

/// Sockets of each network namespace in which a process of the container lives.
pub(super) fn sockets(collector: &mut Collector<'_>, pids: &[u32]) -> Result<(), WriteError> {
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    let mut namespaces: BTreeMap<PathBuf, u32> = BTreeMap::new();
    for pid in pids {
        if let Ok(namespace) = std::fs::read_link(format!("/proc/{pid}/ns/net")) {
            namespaces.entry(namespace).or_insert(*pid);
        }
    }
    for (i, (namespace, pid)) in namespaces.iter().enumerate() {
        // In the host's namespace only the container's own sockets are evidence.
        let is_host = own.as_ref() == Some(namespace);
        let mut all: Vec<Socket> = Vec::new();
        for protocol in ["tcp", "tcp6", "udp", "udp6", "unix"] {
            let path = PathBuf::from(format!("/proc/{pid}/net/{protocol}"));
            match read(&path, 64 * TEXT_BYTES_MAX) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    let found = sockets::parse(protocol, &text, &collector.socket_owners);
                    all.extend(found.into_iter().filter(|socket| !is_host || socket.has_owner()));
                }
                Err(error) => collector.gap_io(&path.display().to_string(), &error),
            }
        }
        let source = format!("/proc/{pid}/net ({})", namespace.display());
        let note = is_host.then_some("host network: only sockets that the container holds");
        collector.add_json(&format!("network/{i}-sockets.json"), &source, note, &all)?;
        if !is_host {
            for table in ["route", "arp", "dev"] {
                let path = PathBuf::from(format!("/proc/{pid}/net/{table}"));
                collector.copy(&format!("network/{i}-{table}"), &path, TEXT_BYTES_MAX)?;
            }
        }
    }
    Ok(())
}

/// Every readable file of the container's control groups, in one document.
pub(super) fn control_groups(collector: &mut Collector<'_>) -> Result<(), WriteError> {
    let folders: Vec<PathBuf> =
        collector.target.group().folders().into_iter().map(Path::to_path_buf).collect();
    let mut facts: BTreeMap<String, String> = BTreeMap::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten().take(GROUP_FILES_MAX) {
            if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            // Files that trigger something are write only and refuse to be read.
            if let Ok(bytes) = read(&entry.path(), TEXT_BYTES_MAX) {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                facts.insert(entry.path().display().to_string(), text);
            }
        }
    }
    let source = collector.target.group().path().to_string();
    collector.add_json("container/cgroup.json", &source, None, &facts)
}

/// Mount table of the container, and from it the overlay's upper layer.
pub(super) fn mounts(
    collector: &mut Collector<'_>,
    pids: &[u32],
) -> Result<Option<PathBuf>, WriteError> {
    for pid in pids {
        let path = PathBuf::from(format!("/proc/{pid}/mountinfo"));
        let Ok(bytes) = read(&path, TEXT_BYTES_MAX) else {
            continue;
        };
        let source = path.display().to_string();
        collector.writer.add("container/mountinfo", &source, None, &bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        return Ok(upper::upper_of_mountinfo(&text).map(PathBuf::from));
    }
    collector.gap("container mount table", "no process of the container could be asked");
    Ok(None)
}

/// Kernel, modules, security modules and settings that attacks change.
pub(super) fn host(collector: &mut Collector<'_>) -> Result<(), WriteError> {
    for path in HOST_FILES {
        let name = format!("host/{}", path.trim_start_matches('/').replace('/', "-"));
        // Absent ones (no Yama, no lockdown) are facts, and listed as gaps.
        collector.copy(&name, Path::new(path), TEXT_BYTES_MAX)?;
    }
    collector.gap("memory of the host", "not collected: the kernel offers no safe way to read it");
    Ok(())
}
