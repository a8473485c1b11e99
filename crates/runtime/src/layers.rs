//! The store of unpacked layers: each once on disk, shared by every container.
//!
//! A layer gets its name, the digest of its content, only when all of it has been
//! unpacked and verified, so whatever stands in the store is whole. Files keep the
//! image's owners; a container sees them through an id-mapped mount.

use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_base::Explain as _;
use palisade_image::{
    EXTRACT_PREFIX, ExtractError, ExtractOptions, ExtractReport, Image, extract_layer,
};
use palisade_model::Target;
use palisade_sys::mount::OVERLAY_LOWERS_MAX;

use crate::error::LayerError;

/// Age at which a half-unpacked layer cannot belong to a process that still works.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);
/// Bytes of a layer's notes that are read.
const NOTES_BYTES_MAX: u64 = 64 << 10;

/// Layers of one image, ready to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Their folders, top first.
    pub folders: Vec<PathBuf>,
    /// What of the layers could not be unpacked, for people.
    pub warnings: Vec<String>,
}

/// Unpacked layers below one folder.
#[derive(Debug)]
pub struct LayerStore {
    folder: PathBuf,
    options: ExtractOptions,
}

impl LayerStore {
    /// The store at `folder`, which exists.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, options: ExtractOptions::default() }
    }

    /// The same with layers that are unpacked otherwise; the folder is for these alone.
    #[must_use]
    pub fn with_options(self, options: ExtractOptions) -> Self {
        Self { options, ..self }
    }

    /// The layers of `image`, unpacking those that are missing.
    pub fn prepare(&self, image: &Image) -> Result<Prepared, LayerError> {
        if let Target::Folder(path) = &image.target {
            return Ok(Prepared { folders: vec![checked_folder(path)?], warnings: Vec::new() });
        }
        if matches!(image.target, Target::Host) {
            let problem = "it is this machine's own";
            return Err(LayerError::Folder { path: "/".into(), problem });
        }
        let n = image.layers.len();
        if n == 0 || n > OVERLAY_LOWERS_MAX {
            return Err(LayerError::Count(n));
        }
        let mut prepared = Prepared { folders: Vec::with_capacity(n), warnings: Vec::new() };
        for (i, layer) in image.layers.iter().enumerate() {
            let place = self.layer(image, i, &layer.diff_id.hex())?;
            for note in read_notes(&place) {
                let diff_id = layer.diff_id.short();
                prepared.warnings.push(format!("layer {diff_id} was unpacked without {note}"));
            }
            prepared.folders.push(place);
        }
        prepared.folders.reverse();
        Ok(prepared)
    }

    fn layer(&self, image: &Image, index: usize, name: &str) -> Result<PathBuf, LayerError> {
        let place = self.folder.join(name);
        if place.is_dir() {
            return Ok(place);
        }
        match extract_layer(image, index, &place, &self.options) {
            Ok(report) => {
                write_notes(&place, &report)?;
                Ok(place)
            }
            // Another process unpacked the same content meanwhile.
            Err(ExtractError::Exists(_)) => Ok(place),
            Err(error) => Err(LayerError::Extract {
                diff_id: name.to_string(),
                hint: error.hint(),
                source: Box::new(error),
            }),
        }
    }

    /// Removes half-unpacked layers that a killed process left; returns how many.
    pub(crate) fn sweep(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return 0;
        };
        let mut n = 0;
        for entry in entries.flatten() {
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LEFTOVER_AGE));
            let ours = entry.file_name().to_string_lossy().starts_with(EXTRACT_PREFIX);
            if ours && old && std::fs::remove_dir_all(entry.path()).is_ok() {
                n += 1;
            }
        }
        n
    }
}

/// What a layer lost when it was unpacked stays known as long as the layer.
fn notes_path(place: &Path) -> PathBuf {
    place.with_extension("notes.json")
}

fn write_notes(place: &Path, report: &ExtractReport) -> Result<(), LayerError> {
    let mut notes = Vec::new();
    if report.n_devices_refused > 0 {
        notes.push(format!("{} device nodes", report.n_devices_refused));
    }
    if let Some(first) = report.gaps.first() {
        let n = report.gaps.len();
        notes.push(format!("{n} entries, the first `{}`: {}", first.path, first.reason));
    }
    if notes.is_empty() {
        return Ok(());
    }
    let path = notes_path(place);
    let io = |source| LayerError::Io { action: "write", path: path.clone(), source };
    let bytes = serde_json::to_vec(&notes).map_err(|error| io(error.into()))?;
    palisade_base::fs::write_atomic(&path, &bytes, 0o600).map_err(io)
}

fn read_notes(place: &Path) -> Vec<String> {
    let Ok(file) = std::fs::File::open(notes_path(place)) else {
        return Vec::new();
    };
    palisade_base::read_bounded(file, "notes", NOTES_BYTES_MAX)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_else(|| vec!["something: its notes cannot be read".into()])
}

/// A folder that may serve as a root file system: absolute, real, and not the machine's.
fn checked_folder(path: &Path) -> Result<PathBuf, LayerError> {
    let bad = |problem| LayerError::Folder { path: path.to_path_buf(), problem };
    let real = std::fs::canonicalize(path).map_err(|source| LayerError::Io {
        action: "open",
        path: path.to_path_buf(),
        source,
    })?;
    if !real.is_dir() {
        return Err(bad("it is not a folder"));
    }
    if real == Path::new("/") {
        return Err(bad("it is this machine's own"));
    }
    Ok(real)
}
