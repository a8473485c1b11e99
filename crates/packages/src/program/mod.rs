//! Programs: what was built into them. Go and Rust (cargo-auditable) record the modules that a
//! program is made of; of well-known programs the version is in their strings.
//!
//! No path gives a program away, so every executable ELF file is looked at, once, as it
//! streams by. Up to [`WHOLE_BYTES_MAX`] it is held whole; a larger one is searched window by
//! window for what can be found so: Go's record in its present form, and version strings.

mod go;
mod known;
mod rust;
pub mod symbols;

use std::io::{self, Read};

use palisade_base::Digest;

use crate::Sink;
use crate::catalog::{CatalogFile, FilePath};

/// Bytes of a file's beginning that tell whether it is a program.
pub const HEAD_BYTES: usize = 4;
/// Largest program that is held whole, in bytes.
pub const WHOLE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a larger program that are held at a time.
const WINDOW_BYTES: usize = 4 << 20;
/// Bytes of a window that are seen again in the next: as long as what may be found, a Go record
/// with some thousand modules.
const OVERLAP_BYTES: usize = 1 << 20;
/// The buffer is given back when it has grown beyond this, in bytes.
const KEPT_BYTES_MAX: usize = 8 << 20;
const ELF_MAGIC: &[u8] = b"\x7fELF";
const ANY_EXECUTE: u32 = 0o111;

/// Whether packages are looked for in the file, if it is a program.
pub(crate) fn wants(path: &FilePath<'_>, mode: u32) -> bool {
    mode & ANY_EXECUTE != 0 || known::by_name(path.name).next().is_some()
}

/// Whether a file that begins with `head` is a program.
pub(crate) fn is_program(head: &[u8]) -> bool {
    head.starts_with(ELF_MAGIC)
}

/// Finds the packages of a program and adds them to `sink`.
pub(crate) fn examine(
    path: &str,
    layer: Option<Digest>,
    size: u64,
    head: &[u8],
    rest: &mut dyn Read,
    buffer: &mut Vec<u8>,
    sink: &mut Sink,
) -> io::Result<()> {
    buffer.clear();
    let outcome = if size <= WHOLE_BYTES_MAX {
        buffer.reserve(size as usize);
        buffer.extend_from_slice(head);
        // One byte more than is expected tells a size that lies.
        let read = rest.take(WHOLE_BYTES_MAX + 1).read_to_end(buffer);
        read.map(|_| whole(&CatalogFile { path, bytes: buffer, layer }, sink))
    } else {
        windows(path, layer, head, rest, buffer, sink)
    };
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
    }
    outcome
}

/// As [`examine`], of a program that is in memory.
pub(crate) fn whole(file: &CatalogFile<'_>, sink: &mut Sink) {
    match go::build_info(file.bytes) {
        Some(info) => {
            info.add(file, sink);
            sink.program(symbols::of_go(file.path, file.bytes, &info.origin()));
        }
        None => rust::audit(file, sink),
    }
    for program in known::by_name(crate::catalog::file_name(file.path)) {
        if let Some(version) = program.version(file.bytes) {
            program.add(&version, file, sink);
        }
    }
}

fn windows(
    path: &str,
    layer: Option<Digest>,
    head: &[u8],
    rest: &mut dyn Read,
    window: &mut Vec<u8>,
    sink: &mut Sink,
) -> io::Result<()> {
    let file = CatalogFile { path, bytes: &[], layer };
    let mut programs: Vec<&known::Program> =
        known::by_name(crate::catalog::file_name(path)).collect();
    let mut is_go_known = false;
    window.extend_from_slice(head);
    loop {
        let room = WINDOW_BYTES.saturating_sub(window.len());
        let n_read = rest.take(room as u64).read_to_end(window)?;
        if !is_go_known && let Some(info) = go::inline_build_info(window) {
            info.add(&file, sink);
            let doubt = "the program is too large to be held whole";
            sink.program(symbols::unknown(path, palisade_model::PackageKind::Go, doubt));
            is_go_known = true;
        }
        programs.retain(|program| {
            let version = program.version(window);
            version.inspect(|version| program.add(version, &file, sink)).is_none()
        });
        if n_read < room || (is_go_known && programs.is_empty()) {
            return Ok(());
        }
        let seen = window.len().saturating_sub(OVERLAP_BYTES);
        window.drain(..seen);
    }
}
