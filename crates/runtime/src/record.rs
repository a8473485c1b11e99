//! The record of a container: what the sensor and other commands know of it.

use std::path::{Path, PathBuf};

use palisade_base::{Digest, Timestamp};
use palisade_harden::IdRange;
use palisade_model::Container;
use serde::{Deserialize, Serialize};

use crate::network::Lease;

/// Bytes of a record that are read.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// A container's record: the model's container, and how it is run besides.
///
/// Its JSON is readable as a [`Container`] alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What everybody wants to know.
    #[serde(flatten)]
    pub container: Container,
    /// What running it needs.
    pub run: RunState,
}

/// How a container is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// When it was made.
    pub created: Timestamp,
    /// What it runs.
    pub command: Vec<String>,
    /// Its own range of host ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdRange>,
    /// Whether its root is the ordinary user who runs it, and only its other ids are of `ids`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root_is_user: bool,
    /// User inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// Digest of the policy that confined it.
    pub policy_digest: Digest,
    /// When its first process started, in ticks since boot; with the process id it
    /// says later whether that process still is the one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_start_ticks: Option<u64>,
    /// The signal by which its image asks to be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<i32>,
    /// Its address on the bridge and its published ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Lease>,
    /// Whether it outlives the command that started it.
    pub detached: bool,
    /// Where its output goes, if that is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogFile>,
}

/// A file that takes a container's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Its path.
    pub path: PathBuf,
    /// Where this container's output begins, in bytes: an earlier one of the same name has
    /// written what is before.
    pub offset: u64,
    /// What the process says that watches over it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<PathBuf>,
}

impl Record {
    /// Reads a record.
    pub(crate) fn read(path: &Path) -> std::io::Result<Self> {
        let bytes =
            palisade_base::read_bounded(std::fs::File::open(path)?, "record", RECORD_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(std::io::Error::from)
    }

    /// Writes a record whole or not at all. What a killed writer leaves lies in `bundle`,
    /// which is removed with the container.
    pub(crate) fn write(&self, path: &Path, bundle: &Path) -> std::io::Result<()> {
        use std::io::Write as _;
        let bytes = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        // Made with mode 0600. The folder does not survive a reboot, so no `fsync`.
        let mut file = tempfile::NamedTempFile::new_in(bundle)?;
        file.write_all(&bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Whether its first process still runs.
    pub fn is_alive(&self) -> bool {
        match (self.container.init_pid, self.run.init_start_ticks) {
            (Some(pid), Some(ticks)) => palisade_sys::process::start_ticks(pid) == Some(ticks),
            _ => false,
        }
    }
}
