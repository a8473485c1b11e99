//! The store of unpacked layers: each once on disk, shared by every container.
//!
//! A layer gets its name, the digest of its content, only when all of it has been
//! unpacked and verified, so whatever stands in the store is whole. Files keep the
//! image's owners; a container sees them through an id-mapped mount.

use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_base::tree::remove_tree;
use palisade_base::{Explain as _, Root};
use palisade_image::{
    EXTRACT_PREFIX, ExtractError, ExtractOptions, ExtractReport, Image, extract_layer_noting,
};
use palisade_sys::mount::OVERLAY_LOWERS_MAX;

use crate::error::LayerError;

/// Age at which a half-unpacked layer cannot belong to a process that still works.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);
/// What keeps a folder from being a container's root.
const MACHINES: &str = "it is this machine's own";
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
        if let Some(folder) = image.folder() {
            return Ok(Prepared { folders: vec![checked(folder)?], warnings: Vec::new() });
        }
        if image.is_folder() {
            return Err(LayerError::Folder { path: "/".into(), problem: MACHINES });
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
        // A layer that has its name is taken as it is, by others at once: the notes come first.
        let note = |report: &ExtractReport| write_notes(&place, report);
        match extract_layer_noting(image, index, &place, &self.options, &note) {
            // Or another process unpacked the same content meanwhile.
            Ok(_) | Err(ExtractError::Exists(_)) => Ok(place),
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
            let name = entry.file_name();
            let is_layer = name.to_string_lossy().starts_with(EXTRACT_PREFIX);
            // Or the notes of one, half written.
            let ours = is_layer || name.to_string_lossy().starts_with(".tmp");
            if ours && old && remove_tree(&entry.path()).is_ok() {
                n += usize::from(is_layer);
            }
        }
        n
    }
}

/// What a layer lost when it was unpacked stays known as long as the layer.
fn notes_path(place: &Path) -> PathBuf {
    place.with_extension("notes.json")
}

fn write_notes(place: &Path, report: &ExtractReport) -> std::io::Result<()> {
    let mut notes = Vec::new();
    if report.n_devices_refused > 0 {
        notes.push(format!("{} device nodes", report.n_devices_refused));
    }
    if let Some(first) = report.gaps.first() {
        let n = report.gaps.len();
        notes.push(format!("{n} entries, the first `{}`: {}", first.path, first.reason));
    }
    let path = notes_path(place);
    if notes.is_empty() {
        // Of one who was killed before the layer had its name, by whose options it lost something.
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    palisade_base::fs::write_atomic(&path, &serde_json::to_vec(&notes)?, 0o600)
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

/// The name of an open folder that may serve as a root file system: not the machine's. Whether it
/// still has that name is to be asked of whoever uses it ([`same`]).
fn checked(folder: &Root) -> Result<PathBuf, LayerError> {
    let io = |source| LayerError::Io { action: "open", path: folder.path().into(), source };
    let machine = Root::open(Path::new("/")).and_then(|root| root.identity()).map_err(io)?;
    if folder.identity().map_err(io)? == machine {
        return Err(LayerError::Folder { path: folder.path().into(), problem: MACHINES });
    }
    std::fs::read_link(folder.handle()).map_err(io)
}

/// Opens what has the name `path`, in the mount namespace in which it is to be mounted, and sees
/// that it is the folder that was judged.
pub(crate) fn same(path: &Path, judged: &Root) -> Result<Root, LayerError> {
    let io = |source| LayerError::Io { action: "open", path: path.into(), source };
    let now = Root::open(path).map_err(io)?;
    if now.identity().map_err(io)? == judged.identity().map_err(io)? {
        return Ok(now);
    }
    let problem = "another folder has taken its place since it was judged";
    Err(LayerError::Folder { path: path.into(), problem })
}

#[cfg(test)]
mod tests {
    use palisade_image::{LayerSource, NewImage, Platform, write_layout};

    use super::*;

    /// A layer of `entries`: a name and the kind that its header says.
    fn image_of(folder: &Path, entries: &[(&str, u8)]) -> Image {
        let tar = folder.join("layer.tar");
        let mut bytes = Vec::new();
        for (name, kind) in entries {
            let mut header = [0_u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            for (at, text) in [
                (100, "0000755\0"),
                (108, "0000000\0"),
                (116, "0000000\0"),
                (124, "00000000000\0"),
                (136, "00000000000\0"),
                (257, "ustar\x0000"),
                (329, "0000001\0"),
                (337, "0000003\0"),
            ] {
                header[at..at + text.len()].copy_from_slice(text.as_bytes());
            }
            header[148..156].copy_from_slice(b"        ");
            header[156] = *kind;
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            bytes.extend(header);
        }
        bytes.extend([0; 1024]);
        std::fs::write(&tar, bytes).unwrap();
        let layout = folder.join("layout");
        let image = NewImage {
            tag: Some("latest".into()),
            platform: Platform::of_this_machine(),
            created: palisade_base::Timestamp::from_nanos(0),
            config: serde_json::json!({}),
            history: Vec::new(),
            layers: vec![LayerSource::Tar(tar)],
            annotations: std::collections::BTreeMap::new(),
        };
        write_layout(&layout, &image).unwrap();
        let target = palisade_model::Target::Layout { folder: layout, selector: None };
        Image::open(&target, &palisade_image::OpenOptions::default()).unwrap()
    }

    /// Whoever meets a layer that has its name learns what it lost.
    #[test]
    fn no_layer_has_its_name_before_its_notes_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let image = image_of(folder.path(), &[("a", b'5'), ("a/null", b'3')]);
        let layers = folder.path().join("layers");
        std::fs::create_dir(&layers).unwrap();
        let ownership = palisade_image::Ownership::Ignore;
        let options = ExtractOptions { ownership, sync: false, ..ExtractOptions::default() };
        let store = LayerStore::new(layers.clone()).with_options(options);
        let place = layers.join(image.layers[0].diff_id.hex());
        // The notes cannot be written: a folder has their name.
        std::fs::create_dir(notes_path(&place)).unwrap();
        let error = store.prepare(&image).unwrap_err();
        assert!(matches!(error, LayerError::Extract { .. }), "{error}");
        assert!(!place.exists());
        std::fs::remove_dir(notes_path(&place)).unwrap();
        for _ in 0..2 {
            let prepared = store.prepare(&image).unwrap();
            assert_eq!(prepared.folders, [place.as_path()]);
            assert_eq!(prepared.warnings.len(), 2, "{prepared:?}");
            assert!(prepared.warnings[0].contains("1 device nodes"), "{prepared:?}");
        }
        assert_eq!(std::fs::read_dir(&layers).unwrap().count(), 2, "nothing temporary is left");
    }

    #[test]
    fn only_what_is_old_and_half_made_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".palisade-layer-old", ".palisade-layer-new", "layer"] {
            std::fs::create_dir_all(at(name).join("a/b")).unwrap();
        }
        std::fs::write(at(".tmpOld"), "").unwrap();
        std::fs::write(at(".tmpNew"), "").unwrap();
        let old = std::time::SystemTime::now() - 2 * LEFTOVER_AGE;
        for name in [".palisade-layer-old", ".tmpOld", "layer"] {
            std::fs::File::open(at(name)).unwrap().set_modified(old).unwrap();
        }
        assert_eq!(LayerStore::new(folder.path().into()).sweep(), 1);
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".palisade-layer-new", ".tmpNew", "layer"]);
    }

    #[test]
    fn what_was_noted_of_a_layer_that_never_was_is_not_said_of_one_that_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("layer");
        std::fs::write(notes_path(&place), r#"["1 device nodes"]"#).unwrap();
        write_notes(&place, &ExtractReport::default()).unwrap();
        assert!(read_notes(&place).is_empty());
        write_notes(&place, &ExtractReport::default()).unwrap();
    }

    #[test]
    fn what_has_a_folders_name_may_be_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::create_dir(&one).unwrap();
        let judged = Root::open(&one).unwrap();
        let path = checked(&judged).unwrap();
        assert_eq!(same(&path, &judged).unwrap().identity().unwrap(), judged.identity().unwrap());
        std::fs::rename(&one, &two).unwrap();
        assert!(matches!(same(&path, &judged), Err(LayerError::Io { .. })));
        std::fs::create_dir(&one).unwrap();
        assert!(matches!(same(&path, &judged), Err(LayerError::Folder { .. })));
        std::fs::remove_dir(&one).unwrap();
        std::os::unix::fs::symlink(&two, &one).unwrap();
        assert!(same(&path, &judged).is_ok(), "by another name the same");
        let machine = Root::open(Path::new("/usr/..")).unwrap();
        assert!(matches!(checked(&machine), Err(LayerError::Folder { .. })));
    }
}
