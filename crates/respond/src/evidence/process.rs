//! What `/proc` says of each process of the container.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, DigestReader};
use serde::Serialize;

use super::sockets::Owner;
use super::{Collector, memory, open, redact};
use crate::bundle::WriteError;

/// Most descriptors listed of one process.
pub(super) const DESCRIPTORS_MAX: usize = 4096;
/// Largest kernel text stored of one process, in bytes.
const TEXT_BYTES_MAX: u64 = 8 << 20;
/// Largest environment or command line stored, in bytes.
const ARGUMENTS_BYTES_MAX: u64 = 2 << 20;

/// One line of the process tree.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TreeEntry {
    pub(super) pid: u32,
    ppid: u32,
    /// Process ids from the host's namespace to its own.
    pids: Vec<u32>,
    name: String,
    state: String,
    uid: String,
    /// Ticks after boot (`proc_pid_stat(5)`, field 22).
    start_ticks: u64,
    exe: String,
    command: Vec<String>,
}

/// Where a process's links lead.
#[derive(Debug, Clone, Serialize)]
struct Links {
    exe: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe_sha256: Option<Digest>,
    cwd: String,
    root: String,
    namespaces: BTreeMap<String, String>,
    descriptors: Vec<Descriptor>,
}

#[derive(Debug, Clone, Serialize)]
struct Descriptor {
    fd: u32,
    target: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    info: String,
}

fn link_text(path: &Path) -> io::Result<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let target = std::fs::read_link(path)?;
    Ok(super::upper::printable(target.as_os_str().as_bytes()))
}

fn text(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, bytes_max), &mut bytes)?;
    Ok(bytes)
}

/// The process tree, taken before everything else because it changes first.
pub(super) fn tree(collector: &mut Collector<'_>, pids: &[u32]) -> Vec<TreeEntry> {
    let mut tree = Vec::new();
    for pid in pids {
        match tree_entry(*pid) {
            Ok(entry) => tree.push(entry),
            Err(error) => collector.gap_io(&format!("/proc/{pid}"), &error),
        }
    }
    tree
}

fn tree_entry(pid: u32) -> io::Result<TreeEntry> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let status = String::from_utf8_lossy(&text(&proc.join("status"), TEXT_BYTES_MAX)?).into_owned();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map_or_else(String::new, |value| value.trim().to_string())
    };
    let stat = String::from_utf8_lossy(&text(&proc.join("stat"), TEXT_BYTES_MAX)?).into_owned();
    // The name in parentheses may hold blanks and parentheses; fields count after the last.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let start_ticks = after.split_whitespace().nth(19).and_then(|t| t.parse().ok()).unwrap_or(0);
    Ok(TreeEntry {
        pid,
        ppid: field("PPid").parse().unwrap_or(0),
        pids: field("NSpid").split_whitespace().filter_map(|p| p.parse().ok()).collect(),
        name: field("Name"),
        state: field("State"),
        uid: field("Uid").split_whitespace().nth(1).unwrap_or("").to_string(),
        start_ticks,
        exe: link_text(&proc.join("exe")).unwrap_or_default(),
        command: redact::command_line(&text(&proc.join("cmdline"), ARGUMENTS_BYTES_MAX)?),
    })
}

/// Everything about one process.
pub(super) fn collect(collector: &mut Collector<'_>, pid: u32) -> Result<(), WriteError> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let name = |file: &str| format!("processes/{pid}/{file}");
    for file in [
        "stat",
        "status",
        "limits",
        "io",
        "cgroup",
        "maps",
        "mountinfo",
        "wchan",
        "stack",
        "loginuid",
    ] {
        collector.copy(&name(file), &proc.join(file), TEXT_BYTES_MAX)?;
    }
    arguments(collector, pid, &proc)?;
    let links = links(collector, pid, &proc);
    collector.add_json(&name("links.json"), &proc.display().to_string(), None, &links)?;
    nameless_files(collector, &proc, &links)?;
    Ok(())
}

fn arguments(collector: &mut Collector<'_>, pid: u32, proc: &Path) -> Result<(), WriteError> {
    let source = proc.join("cmdline");
    match text(&source, ARGUMENTS_BYTES_MAX) {
        Ok(bytes) if collector.options.environment_raw => {
            let name = format!("processes/{pid}/cmdline");
            collector.writer.add(&name, &source.display().to_string(), None, &bytes)?;
        }
        Ok(bytes) => collector.add_json(
            &format!("processes/{pid}/cmdline.json"),
            &source.display().to_string(),
            Some("secrets redacted"),
            &redact::command_line(&bytes),
        )?,
        Err(error) => collector.gap_io(&source.display().to_string(), &error),
    }
    let source = proc.join("environ");
    match text(&source, ARGUMENTS_BYTES_MAX) {
        Ok(bytes) => {
            let name = format!("processes/{pid}/environ");
            let source = source.display().to_string();
            if collector.options.environment_raw {
                collector.writer.add(&name, &source, None, &bytes)?;
            } else {
                let redacted = redact::environment(&bytes);
                let note = Some("secrets redacted");
                collector.writer.add(&name, &source, note, redacted.as_bytes())?;
            }
        }
        Err(error) => collector.gap_io(&source.display().to_string(), &error),
    }
    Ok(())
}

fn links(collector: &mut Collector<'_>, pid: u32, proc: &Path) -> Links {
    let mut read = |name: &str| {
        let path = proc.join(name);
        link_text(&path).unwrap_or_else(|error| {
            collector.gap_io(&path.display().to_string(), &error);
            String::new()
        })
    };
    let (exe, cwd, root) = (read("exe"), read("cwd"), read("root"));
    let mut namespaces = BTreeMap::new();
    for entry in std::fs::read_dir(proc.join("ns")).into_iter().flatten().flatten() {
        if let Ok(target) = link_text(&entry.path()) {
            namespaces.insert(entry.file_name().to_string_lossy().into_owned(), target);
        }
    }
    let exe_sha256 = digest_of_exe(collector, proc);
    let descriptors = descriptors(collector, pid, proc);
    Links { exe, exe_sha256, cwd, root, namespaces, descriptors }
}

fn descriptors(collector: &mut Collector<'_>, pid: u32, proc: &Path) -> Vec<Descriptor> {
    let folder = proc.join("fd");
    let mut numbers: Vec<u32> = match std::fs::read_dir(&folder) {
        Ok(entries) => {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        }
        Err(error) => {
            collector.gap_io(&folder.display().to_string(), &error);
            return Vec::new();
        }
    };
    numbers.sort_unstable();
    if numbers.len() > DESCRIPTORS_MAX {
        let reason = format!("{} descriptors were not listed", numbers.len() - DESCRIPTORS_MAX);
        collector.gap(&folder.display().to_string(), &reason);
        numbers.truncate(DESCRIPTORS_MAX);
    }
    let mut found = Vec::with_capacity(numbers.len());
    for fd in numbers {
        let Ok(target) = link_text(&folder.join(fd.to_string())) else {
            continue;
        };
        let inode = target.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']'));
        if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
            collector.socket_owners.entry(inode).or_default().push(Owner { pid, fd });
        }
        let info = text(&proc.join(format!("fdinfo/{fd}")), 4096).unwrap_or_default();
        let info = String::from_utf8_lossy(&info).into_owned();
        found.push(Descriptor { fd, target, info });
    }
    found
}

/// Digest of the running executable; computed once for each file.
fn digest_of_exe(collector: &mut Collector<'_>, proc: &Path) -> Option<Digest> {
    let link = proc.join("exe");
    let held = match open::regular(&link) {
        Ok(held) => held?,
        Err(error) => {
            collector.gap_io(&link.display().to_string(), &error);
            return None;
        }
    };
    if let Some(known) = collector.exe_digests.get(&held.key()) {
        return *known;
    }
    let key = held.key();
    let bound = collector.options.hash_bytes_max;
    let mut reader = DigestReader::new(io::Read::take(held.file, bound));
    let digest = match io::copy(&mut reader, &mut io::sink()) {
        Ok(n) if n < bound => Some(reader.finish().0),
        Ok(_) => {
            collector.gap(&link.display().to_string(), "too large to be hashed");
            None
        }
        Err(error) => {
            collector.gap_io(&link.display().to_string(), &error);
            None
        }
    };
    collector.exe_digests.insert(key, digest);
    digest
}

/// Copies what no name leads to any more: the executable, mapped files and open files
/// that were deleted or never had a name (memfd). Once the process ends they are gone.
fn nameless_files(
    collector: &mut Collector<'_>,
    proc: &Path,
    links: &Links,
) -> Result<(), WriteError> {
    collector.copy_nameless(&proc.join("exe"), "executable")?;
    let maps = text(&proc.join("maps"), TEXT_BYTES_MAX).unwrap_or_default();
    for range in memory::parse_maps(&String::from_utf8_lossy(&maps)) {
        if range.inode != 0 && range.name.ends_with(" (deleted)") {
            let name = format!("map_files/{:x}-{:x}", range.start, range.end);
            collector.copy_nameless(&proc.join(name), &range.name)?;
        }
    }
    for descriptor in &links.descriptors {
        let target = &descriptor.target;
        if target.starts_with('/') && target.ends_with(" (deleted)") {
            collector.copy_nameless(&proc.join(format!("fd/{}", descriptor.fd)), target)?;
        }
    }
    Ok(())
}

/// The readable, writable, private memory of one process.
pub(super) fn memory(collector: &mut Collector<'_>, pid: u32) -> Result<(), WriteError> {
    let path = PathBuf::from(format!("/proc/{pid}/mem"));
    let source = path.display().to_string();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => {
            collector.gap_io(&source, &error);
            return Ok(());
        }
    };
    let maps = text(&path.with_file_name("maps"), TEXT_BYTES_MAX).unwrap_or_default();
    let ranges: Vec<memory::Range> = memory::parse_maps(&String::from_utf8_lossy(&maps))
        .into_iter()
        .filter(memory::Range::is_private_data)
        .collect();
    let mut reader = memory::RangeReader::new(&file, ranges);
    let bound = collector.options.memory_bytes_max;
    let name = format!("memory/{pid}.ranges");
    collector.writer.stream(&name, &source, None, &mut reader, bound)?;
    if reader.n_failed() > 0 {
        let reason = format!("{} ranges could not be read whole", reader.n_failed());
        collector.gap(&source, &reason);
    }
    collector.add_json(&format!("memory/{pid}.json"), &source, None, &reader.stored)
}
