//! What runtimes said of their versions, each asked once for each state of its file.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use palisade_base::Digest;
use serde::{Deserialize, Serialize};

use crate::error::RuncError;

/// Bytes of an answer that are kept, and of a file that are read.
const SAID_BYTES_MAX: usize = 16 << 10;
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What the runtime of a certain file said.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// The file as it was then: device, inode, length, change in nanoseconds.
    file: (u64, u64, u64, i128),
    /// What it said.
    said: String,
}

/// What the runtime at `program` says of its version: what is remembered in `folder`, or what
/// `ask` finds now.
pub(super) fn said(
    program: &Path,
    folder: &Path,
    ask: impl FnOnce() -> Result<String, RuncError>,
) -> Result<String, RuncError> {
    let Ok(meta) = std::fs::metadata(program) else { return ask() };
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    let file = (meta.dev(), meta.ino(), meta.len(), changed);
    let path = folder.join(Digest::of(program.as_os_str().as_encoded_bytes()).hex());
    if let Some(answer) = read(&path).filter(|answer| answer.file == file) {
        return Ok(answer.said);
    }
    let said = ask()?;
    // What cannot be kept is asked again.
    if said.len() <= SAID_BYTES_MAX
        && let Ok(text) = serde_json::to_vec(&Answer { file, said: said.clone() })
    {
        let _ = palisade_base::fs::write_unnamed(&path, &text, 0o600, None);
    }
    Ok(said)
}

fn read(path: &Path) -> Option<Answer> {
    let file = std::fs::File::open(path).ok()?;
    let bytes = palisade_base::read_bounded(file, "answer", FILE_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}
