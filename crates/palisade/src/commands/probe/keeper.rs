//! What a killed probe leaves, and who takes it away.
//!
//! A program that is ended by SIGKILL cleans nothing up. So each probe has a keeper beside it: a
//! process of its own that waits until the probe has gone, whatever the reason, and then removes
//! the probe's container and folders. Where both were killed, the next probe does it.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use palisade_base::tree::remove_tree;
use palisade_runtime::{IdSpace, Runc, Runtime, RuntimePaths};
use palisade_sys::process::start_ticks;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// Where probes have their folders, and how these begin.
const FOLDERS: &str = "/var/tmp";
const PREFIX: &str = "palisade-probe-";
/// Who a folder belongs to.
const OWNER_FILE: &str = "owner.json";
/// Bytes of that file.
const OWNER_BYTES_MAX: u64 = 4096;
/// Folders of killed probes that one probe looks at.
const FOLDERS_MAX: usize = 1000;
/// How long what a killed probe had started may still be at work.
const CLEAR_DEADLINE: Duration = Duration::from_secs(30);
/// Between two attempts to remove what is still at work.
const CLEAR_INTERVAL: Duration = Duration::from_millis(100);

/// The probe that a folder belongs to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    pid: u32,
    /// When it began, in clock ticks since boot: process ids come again.
    start_ticks: u64,
    /// The name of its container; empty when it probes one that ran already.
    name: String,
}

impl Owner {
    fn read(folder: &Path) -> Option<Self> {
        let file = std::fs::File::open(folder.join(OWNER_FILE)).ok()?;
        let bytes = palisade_base::read_bounded(file, "owner", OWNER_BYTES_MAX).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|owner: &Self| is_name(&owner.name))
    }

    fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// Whether `name` is one that a probe makes: it becomes part of a path.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The folder of volatile state of the probe whose container is `name`.
pub(super) fn run_folder(name: &str) -> PathBuf {
    Path::new("/run").join(format!("palisade-{name}"))
}

/// Makes the folder of a probe, and takes away what killed ones left.
pub(super) fn folder(name: &str) -> Result<tempfile::TempDir, Failure> {
    sweep();
    let folder = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(FOLDERS)
        .context("make the probe's folder")?;
    let pid = std::process::id();
    let start_ticks = start_ticks(pid).unwrap_or(0);
    let owner = Owner { pid, start_ticks, name: name.to_string() };
    let text = serde_json::to_vec(&owner).context("write the probe's owner")?;
    std::fs::write(folder.path().join(OWNER_FILE), text).context("write the probe's owner")?;
    Ok(folder)
}

/// A process that outlives the probe.
pub(super) struct Keeper(Child);

impl Keeper {
    /// Starts `program` as the keeper of `folder`.
    pub(super) fn start(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let child = Command::new(program)
            .args(["--quiet", "probe", "--keep"])
            .arg(folder)
            // A pipe whose other end the kernel closes when this process ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What interrupts the probe at its terminal does not end the keeper.
            .process_group(0)
            .spawn()
            .context("start the probe's keeper")?;
        Ok(Self(child))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

/// Carries out `palisade probe --keep FOLDER`: waits for the end of the probe that started this,
/// then clears its folder.
pub(super) fn keep(folder: &Path) -> Exit {
    let mut input = std::io::stdin().lock();
    let mut buffer = [0; 64];
    while input.read(&mut buffer).is_ok_and(|n| n > 0) {}
    if is_ours(folder) {
        clear(folder);
    }
    Exit::Clean
}

/// Clears the folders of probes that are no more.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(FOLDERS) else { return };
    for entry in entries.flatten().take(FOLDERS_MAX) {
        let path = entry.path();
        if !is_ours(&path) {
            continue;
        }
        if Owner::read(&path).is_some_and(|owner| !owner.is_alive()) {
            clear(&path);
        }
    }
}

/// Whether it is the folder of a probe. Anybody may make one of that name in `/var/tmp`, but not
/// one of root's.
fn is_ours(path: &Path) -> bool {
    let is_named = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PREFIX));
    is_named
        && path.parent() == Some(Path::new(FOLDERS))
        && path.symlink_metadata().is_ok_and(|metadata| {
            metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw()
        })
}

/// Removes the container of the probe whose folder this is, and its folders.
fn clear(folder: &Path) {
    let Some(owner) = Owner::read(folder) else { return };
    if !owner.name.is_empty() {
        let run = run_folder(&owner.name);
        let end = Instant::now() + CLEAR_DEADLINE;
        // What the killed probe had started may still be starting the container.
        while !is_cleared(folder, &run) && Instant::now() < end {
            std::thread::sleep(CLEAR_INTERVAL);
        }
        let _left = remove_tree(&run);
    }
    let _left = remove_tree(folder);
}

/// Removes the containers that are there; whether none was left.
fn is_cleared(folder: &Path, run: &Path) -> bool {
    let data = folder.join("data");
    if !run.exists() {
        return true;
    }
    let paths = RuntimePaths { state: run.to_path_buf(), data, ..RuntimePaths::default() };
    let runtime = Runc::find()
        .ok()
        .and_then(|runc| Runtime::open(paths, runc, IdSpace::of_this_machine()).ok());
    let Some(runtime) = runtime else { return true };
    for found in runtime.list() {
        let _left = runtime.remove(&found.record.container.id, true);
    }
    runtime.collect_garbage();
    is_empty(&runtime.paths().records()) && is_empty(&runtime.paths().bundles())
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_probe_made_is_taken_for_a_probes() {
        for path in ["/var/tmp/palisade-probe-", "/tmp/palisade-probe-x", "/var/tmp/other", "/"] {
            assert!(!is_ours(Path::new(path)), "{path}");
        }
        for (name, expected) in
            [("probe-18af", true), ("", true), ("../../etc", false), ("a/b", false), ("A", false)]
        {
            assert_eq!(is_name(name), expected, "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{}", r#"{"pid":1,"start_ticks":1,"name":"../x"}"#] {
            std::fs::write(folder.path().join(OWNER_FILE), text).unwrap();
            assert!(Owner::read(folder.path()).is_none(), "{text}");
        }
        let pid = std::process::id();
        let ticks = start_ticks(pid).unwrap();
        for (start_ticks, expected) in [(ticks, true), (ticks + 1, false)] {
            let owner = Owner { pid, start_ticks, name: "probe-1".into() };
            assert_eq!(owner.is_alive(), expected);
        }
    }
}
