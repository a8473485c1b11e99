//! Evidence of a container, in order of volatility, into one bundle.
//!
//! The container should stand frozen meanwhile; the manifest says whether it did. What is
//! read is not changed: nothing is stopped by ptrace, access times are left alone where
//! the file system lets us, no code runs in the container, and no link of the container
//! is followed on the host. Every bound is an option with a default, and whatever is left
//! out is listed as a gap.

mod host;
mod memory;
mod open;
mod process;
pub mod redact;
mod sockets;
mod upper;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade_base::{Digest, Explain};
use palisade_model::Incident;
use palisade_model::wire::{Envelope, schema};
use palisade_sys::cgroup::CgroupError;
use serde::Serialize;

use crate::age::Recipient;
use crate::bundle::{BundleWriter, CaseFacts, Manifest, Signer, Stamper, WriteError};
use crate::target::Target;

/// The upper layer of the overlay mounted as `/`, from a process's `mountinfo`.
pub(crate) fn upper_of(mountinfo: &str) -> Option<String> {
    upper::upper_of_mountinfo(mountinfo)
}

/// Most processes described one by one.
pub const PROCESSES_MAX: usize = 4096;
/// Most attachments of a request.
pub const ATTACHMENTS_MAX: usize = 1000;

/// What is collected, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceOptions {
    /// Whether each process's memory is stored. It holds keys and passwords.
    pub memory: bool,
    /// Whether environments and command lines keep their secrets.
    pub environment_raw: bool,
    /// Memory stored of one process, in bytes.
    pub memory_bytes_max: u64,
    /// Content stored of one file, in bytes.
    pub file_bytes_max: u64,
    /// Content stored of the upper layer in all, in bytes.
    pub upper_bytes_max: u64,
    /// Largest file that is hashed, in bytes.
    pub hash_bytes_max: u64,
    /// Size at which the bundle ends early, in bytes.
    pub bundle_bytes_max: u64,
}

impl Default for EvidenceOptions {
    fn default() -> Self {
        Self {
            memory: false,
            environment_raw: false,
            memory_bytes_max: 1 << 30,
            file_bytes_max: 64 << 20,
            upper_bytes_max: 512 << 20,
            hash_bytes_max: 1 << 30,
            bundle_bytes_max: 4 << 30,
        }
    }
}

/// A document that the caller adds: recent alerts, the scan of the image.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// File name below `context/`, of letters, digits, `.`, `-` and `_`.
    pub name: String,
    /// Where it comes from.
    pub source: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What to collect.
pub struct Request<'a> {
    /// The container.
    pub target: &'a Target,
    /// What the manifest says about the case.
    pub case: CaseFacts,
    /// The incident so far.
    pub incident: Option<&'a Incident>,
    /// The container's OCI configuration on the host.
    pub config: Option<&'a Path>,
    /// The overlay's upper layer, where the caller knows it; else the mount table tells.
    pub upper: Option<&'a Path>,
    /// Documents to add.
    pub attachments: &'a [Attachment],
    /// How much.
    pub options: EvidenceOptions,
    /// When to end, with what is there by then.
    pub deadline: Duration,
    /// To whom the bundle is encrypted while it is written; to nobody where there are none.
    pub recipients: &'a [Recipient],
    /// Has the Merkle root stamped by an authority of time.
    pub stamper: Option<Stamper<'a>>,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("case", &self.case).finish_non_exhaustive()
    }
}

/// Why no bundle came about. Anything less is a gap inside the bundle.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The bundle could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The container's processes could not be listed.
    #[error("list the processes of container `{id}`")]
    Processes {
        /// The container.
        id: String,
        /// Why.
        source: CgroupError,
    },
}

impl Explain for EvidenceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Write(error) => error.hint(),
            Self::Processes { source, .. } => source.hint(),
        }
    }
}

/// What a collection gave.
#[derive(Debug)]
pub struct Summary {
    /// The bundle.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Processes described.
    pub n_processes: usize,
    /// Size of the bundle in bytes.
    pub n_bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// Collects the evidence of `request` into the bundle `path`.
pub fn collect(
    path: &Path,
    request: &Request<'_>,
    signer: Option<Signer<'_>>,
) -> Result<Summary, EvidenceError> {
    let started = Instant::now();
    let group = request.target.group();
    let members = group.members().map_err(|source| EvidenceError::Processes {
        id: request.target.container().id.clone(),
        source,
    })?;
    let mut pids = members.pids;
    let writer = BundleWriter::create_sealed(path, request.case.clone(), request.recipients)?;
    let mut collector = Collector {
        writer,
        target: request.target,
        options: request.options,
        end: started + request.deadline,
        socket_owners: BTreeMap::new(),
        exe_digests: BTreeMap::new(),
        nameless: BTreeSet::new(),
        upper_bytes: 0,
        n_late: 0,
    };
    if let Some((what, limit)) = members.beyond {
        let reason = format!("more than {limit} {what}: what is beyond was not looked at");
        collector.gap("process tree", &reason);
    }
    if pids.len() > PROCESSES_MAX {
        let reason = format!("{} processes were not described", pids.len() - PROCESSES_MAX);
        collector.gap("process tree", &reason);
        pids.truncate(PROCESSES_MAX);
    }
    collector.container(request, &pids)?;
    // Only if it was frozen throughout may the manifest say so.
    let frozen = group.is_frozen().unwrap_or(false);
    collector.writer.case_mut().frozen &= frozen;
    if collector.n_late > 0 {
        let reason = format!("{} parts were left out at the deadline", collector.n_late);
        collector.gap("collection", &reason);
    }
    let n_bytes = collector.writer.n_bytes();
    let manifest = collector.writer.finish_stamped(signer, request.stamper)?;
    let duration = started.elapsed();
    Ok(Summary { path: path.to_path_buf(), manifest, n_processes: pids.len(), n_bytes, duration })
}

struct Collector<'r> {
    writer: BundleWriter,
    target: &'r Target,
    options: EvidenceOptions,
    end: Instant,
    socket_owners: sockets::Owners,
    exe_digests: BTreeMap<(u64, u64), Option<Digest>>,
    nameless: BTreeSet<(u64, u64)>,
    upper_bytes: u64,
    n_late: u64,
}

impl Collector<'_> {
    /// All parts, most volatile first.
    fn container(&mut self, request: &Request<'_>, pids: &[u32]) -> Result<(), WriteError> {
        let tree = process::tree(self, pids);
        self.add_json("processes/tree.json", "/proc", Some("secrets redacted"), &tree)?;
        for pid in pids {
            if self.is_late() {
                self.n_late += 1;
                continue;
            }
            process::collect(self, *pid)?;
        }
        if self.options.memory {
            for pid in pids {
                if self.is_late() {
                    self.n_late += 1;
                    continue;
                }
                process::memory(self, *pid)?;
            }
        } else {
            self.gap("process memory", "not asked for");
        }
        host::sockets(self, pids)?;
        host::control_groups(self)?;
        let found = host::mounts(self, pids)?;
        self.context(request)?;
        host::host(self)?;
        match request.upper.map(Path::to_path_buf).or(found) {
            Some(folder) => upper::collect(self, &folder)?,
            None => self.gap("overlay upper layer", "the root file system is no overlay"),
        }
        Ok(())
    }

    /// The container's record and configuration, the incident, and what the caller adds.
    fn context(&mut self, request: &Request<'_>) -> Result<(), WriteError> {
        self.add_json("container/container.json", "palisade", None, self.target.container())?;
        match request.config {
            Some(config) => self.copy("container/config.json", config, 16 << 20)?,
            None => self.gap("container configuration", "its path is not known"),
        }
        if let Some(incident) = request.incident {
            let envelope = Envelope::new(schema::INCIDENT, incident);
            self.add_json("context/incident.json", "palisade", None, &envelope)?;
        }
        let n_extra = request.attachments.len().saturating_sub(ATTACHMENTS_MAX);
        if n_extra > 0 {
            self.gap("attachments", &format!("{n_extra} were left out"));
        }
        for (i, attachment) in request.attachments.iter().take(ATTACHMENTS_MAX).enumerate() {
            let safe = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            let name = &attachment.name;
            let name = if name.bytes().all(safe) && (1..=60).contains(&name.len()) {
                format!("context/{i:03}-{name}")
            } else {
                format!("context/{i:03}")
            };
            self.writer.add(&name, &attachment.source, None, &attachment.bytes)?;
        }
        Ok(())
    }

    /// Whether time or room is used up.
    fn is_late(&self) -> bool {
        Instant::now() >= self.end || self.writer.n_bytes() >= self.options.bundle_bytes_max
    }

    fn gap(&mut self, source: &str, reason: &str) {
        self.writer.gap(source, reason, None);
    }

    fn gap_io(&mut self, source: &str, error: &io::Error) {
        self.writer.gap_io(source, error);
    }

    /// Copies a kernel or host file; one that cannot be read is a gap.
    fn copy(&mut self, name: &str, path: &Path, bytes_max: u64) -> Result<(), WriteError> {
        let source = path.display().to_string();
        match File::open(path) {
            Ok(mut file) => self.writer.stream(name, &source, None, &mut file, bytes_max).map(drop),
            Err(error) => {
                self.gap_io(&source, &error);
                Ok(())
            }
        }
    }

    /// Stores the file behind `link` if no name leads to it, each file once.
    fn copy_nameless(&mut self, link: &Path, what: &str) -> Result<(), WriteError> {
        let source = link.display().to_string();
        let mut held = match open::regular(link) {
            Ok(Some(held)) if held.is_nameless() => held,
            Ok(_) => return Ok(()),
            Err(error) => {
                self.gap_io(&source, &error);
                return Ok(());
            }
        };
        if !self.nameless.insert(held.key()) {
            return Ok(());
        }
        let name = format!("nameless/{:04}", self.nameless.len() - 1);
        let bound = self.options.file_bytes_max;
        self.writer.stream(&name, &source, Some(what), &mut held.file, bound).map(drop)
    }

    fn add_json(
        &mut self,
        name: &str,
        source: &str,
        note: Option<&str>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), WriteError> {
        let bytes = serde_json::to_vec_pretty(value).map_err(WriteError::Manifest)?;
        self.writer.add(name, source, note, &bytes).map(drop)
    }
}

/// Reads a kernel or host file of at most `bytes_max` bytes.
fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    palisade_base::read_bounded(File::open(path)?, "evidence source", bytes_max)
}
