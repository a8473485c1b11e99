//! Which of an image's entries a container sees: paths, whiteouts and opaque folders.
//!
//! Layers are taken from the top down, so that an entry is known to be hidden when it is
//! met. Pure: it sees paths and kinds, no bytes.
//!
//! Specification: OCI image-spec `layer.md`, "Whiteouts": a whiteout hides what lower
//! layers have, never what its own layer has.

use std::collections::HashMap;

use crate::Limits;

/// A path made relative to the root, without `.` and empty components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NormalPath {
    pub(crate) bytes: Vec<u8>,
    /// It began with a slash.
    pub(crate) absolute: bool,
}

/// A path that names nothing inside the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathError {
    /// The root itself.
    Empty,
    /// It has a `..` component.
    Parent,
    /// A NUL byte, or longer or deeper than the limits.
    Unusable,
}

/// Normalises a path of an archive.
pub(crate) fn normalise(raw: &[u8], limits: &Limits) -> Result<NormalPath, PathError> {
    if raw.len() > limits.path_bytes_max || raw.contains(&0) {
        return Err(PathError::Unusable);
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut depth = 0;
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(PathError::Parent),
            _ => {}
        }
        depth += 1;
        // NAME_MAX of every file system that holds images.
        if depth > limits.path_depth_max || part.len() > 255 {
            return Err(PathError::Unusable);
        }
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(part);
    }
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    Ok(NormalPath { bytes, absolute: raw.starts_with(b"/") })
}

/// Folder and name of a normalised path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Whether a symbolic link at `path` climbs above the root, read word by word.
pub(crate) fn climbs_above_root(path: &[u8], target: &[u8]) -> bool {
    let mut depth = 0_i64;
    if !target.starts_with(b"/") {
        depth = path.split(|byte| *byte == b'/').count() as i64 - 1;
    }
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

/// What the name of an entry means for the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Marker {
    /// An ordinary entry.
    None,
    /// `.wh.NAME`: the path that it hides.
    Whiteout(Vec<u8>),
    /// `.wh..wh..opq`: the folder whose lower contents it hides.
    Opaque(Vec<u8>),
    /// Other names of AUFS's own bookkeeping; engines pass over them.
    Metadata,
    /// A whiteout of nothing, of `.` or of `..`.
    Bad,
}

impl Marker {
    pub(crate) fn of(path: &[u8]) -> Self {
        if path.starts_with(b".wh..wh.") && path != b".wh..wh..opq" {
            return Self::Metadata;
        }
        let (folder, name) = split(path);
        match name.strip_prefix(b".wh.") {
            None => Self::None,
            Some(b".wh..opq") => Self::Opaque(folder.to_vec()),
            Some(hidden) if hidden.starts_with(b".wh.") => Self::Metadata,
            Some(b"" | b"." | b"..") => Self::Bad,
            Some(hidden) if folder.is_empty() => Self::Whiteout(hidden.to_vec()),
            Some(hidden) => Self::Whiteout([folder, b"/", hidden].concat()),
        }
    }
}

const FOLDER: u8 = 1;
const NON_FOLDER: u8 = 2;
const WHITEOUT: u8 = 4;
const OPAQUE: u8 = 8;
/// A folder that has entries below it but none of its own.
const IMPLICIT: u8 = 16;

/// Whether lower layers show through at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The entry is the one that a container sees.
    Visible,
    /// An upper layer hides it.
    Hidden,
    /// Hidden by a folder that has no entry of its own.
    UnderImplicitFolder,
}

/// A conflict between entries of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clash {
    None,
    Duplicate,
    BelowNonFolder,
}

/// What the layers seen so far say about the ones below.
#[derive(Debug, Default)]
pub(crate) struct Squash {
    upper: HashMap<Vec<u8>, u8>,
    current: HashMap<Vec<u8>, u8>,
    /// Whether something above the last folder asked for hides all in it.
    last_folder: Option<(Vec<u8>, bool)>,
}

/// The proper ancestors of `path`, the root (empty) first.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    std::iter::once(0).chain(slashes).map(|at| &path[..at])
}

impl Squash {
    /// Whether an upper layer hides `path`.
    pub(crate) fn sight(&mut self, path: &[u8]) -> Sight {
        let (folder, _) = split(path);
        let folder_hidden = match &self.last_folder {
            Some((last, hidden)) if last == folder => *hidden,
            _ => {
                let covers = |at: &[u8]| {
                    self.upper.get(at).is_some_and(|f| f & (NON_FOLDER | WHITEOUT | OPAQUE) != 0)
                };
                let hidden = ancestors(path).any(covers);
                self.last_folder = Some((folder.to_vec(), hidden));
                hidden
            }
        };
        if folder_hidden {
            return Sight::Hidden;
        }
        match self.upper.get(path) {
            Some(flags) if flags & IMPLICIT != 0 && flags & (WHITEOUT | NON_FOLDER) == 0 => {
                Sight::UnderImplicitFolder
            }
            Some(flags) if flags & (FOLDER | NON_FOLDER | WHITEOUT) != 0 => Sight::Hidden,
            _ => Sight::Visible,
        }
    }

    /// Whether the current layer has `path` itself.
    pub(crate) fn current_has(&self, path: &[u8]) -> bool {
        self.current.get(path).is_some_and(|flags| flags & NON_FOLDER != 0)
    }

    /// Notes a visible entry of the current layer, and tells what it clashes with.
    pub(crate) fn add(&mut self, path: Vec<u8>, is_folder: bool) -> Clash {
        let mut clash = Clash::None;
        for at in ancestors(&path).skip(1) {
            match self.current.get_mut(at) {
                Some(flags) if *flags & NON_FOLDER != 0 => clash = Clash::BelowNonFolder,
                Some(flags) if *flags & FOLDER != 0 => {}
                Some(flags) => *flags |= FOLDER | IMPLICIT,
                None => {
                    self.current.insert(at.to_vec(), FOLDER | IMPLICIT);
                }
            }
        }
        let flags = self.current.entry(path).or_default();
        if clash == Clash::None {
            if *flags & NON_FOLDER != 0 {
                clash = Clash::Duplicate;
            } else if *flags & FOLDER != 0 && !is_folder {
                clash = Clash::BelowNonFolder;
            }
        }
        *flags = (*flags & !IMPLICIT) | if is_folder { FOLDER } else { NON_FOLDER };
        clash
    }

    /// Notes a whiteout of the current layer.
    pub(crate) fn whiteout(&mut self, path: Vec<u8>) {
        *self.current.entry(path).or_default() |= WHITEOUT;
    }

    /// Notes an opaque folder of the current layer.
    pub(crate) fn opaque(&mut self, folder: Vec<u8>) {
        *self.current.entry(folder).or_default() |= OPAQUE;
    }

    /// Ends the current layer: what it hides holds from now on.
    pub(crate) fn end_layer(&mut self) {
        self.last_folder = None;
        if self.upper.is_empty() {
            self.upper = std::mem::take(&mut self.current);
            return;
        }
        for (path, flags) in self.current.drain() {
            let upper = self.upper.entry(path).or_insert(0);
            let implicit = *upper == 0 && flags & IMPLICIT != 0;
            *upper |= flags & !IMPLICIT;
            if implicit {
                *upper |= IMPLICIT;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_paths() {
        let limits = Limits { path_bytes_max: 300, path_depth_max: 3, ..Limits::default() };
        let check = |raw: &str, expected: Result<&str, PathError>| {
            let found = normalise(raw.as_bytes(), &limits);
            let found = found.map(|path| String::from_utf8(path.bytes).unwrap());
            assert_eq!(found, expected.map(str::to_string), "{raw:?}");
        };
        check("./etc//passwd", Ok("etc/passwd"));
        check("/etc/./passwd/", Ok("etc/passwd"));
        check("./", Err(PathError::Empty));
        check("", Err(PathError::Empty));
        check("a/../b", Err(PathError::Parent));
        check("..", Err(PathError::Parent));
        check("..a/b..", Ok("..a/b.."));
        check("a\0b", Err(PathError::Unusable));
        check("a/b/c", Ok("a/b/c"));
        check("a/b/c/d", Err(PathError::Unusable));
        check(&"a".repeat(256), Err(PathError::Unusable));
        check(&"a/".repeat(200), Err(PathError::Unusable));
    }

    #[test]
    fn reads_markers() {
        let check = |path: &str, expected: Marker| {
            assert_eq!(Marker::of(path.as_bytes()), expected, "{path}");
        };
        check("etc/passwd", Marker::None);
        check("etc/a.wh.b", Marker::None);
        check("etc/.wh.passwd", Marker::Whiteout(b"etc/passwd".to_vec()));
        check(".wh.etc", Marker::Whiteout(b"etc".to_vec()));
        check("etc/.wh..wh..opq", Marker::Opaque(b"etc".to_vec()));
        check(".wh..wh..opq", Marker::Opaque(b"".to_vec()));
        check(".wh..wh.plnk/12", Marker::Metadata);
        check("etc/.wh..wh.aufs", Marker::Metadata);
        check("etc/.wh.", Marker::Bad);
        check("etc/.wh...", Marker::Bad);
        check("etc/.wh..", Marker::Bad);
    }

    #[test]
    fn links_that_climb() {
        let check = |path: &str, target: &str, expected| {
            assert_eq!(climbs_above_root(path.as_bytes(), target.as_bytes()), expected);
        };
        check("bin", "usr/bin", false);
        check("usr/bin/vi", "../../etc/alternatives/vi", false);
        check("usr/bin/vi", "../../../etc", true);
        check("vi", "/etc/../../x", true);
        check("vi", "/etc/../x", false);
    }

    /// Layers from the top down; a leading `-` is a whiteout, `!` an opaque folder, a
    /// trailing `/` a folder.
    fn visible(layers: &[&[&str]]) -> Vec<String> {
        let mut squash = Squash::default();
        let mut seen = Vec::new();
        for layer in layers {
            for entry in *layer {
                if let Some(path) = entry.strip_prefix('-') {
                    squash.whiteout(path.into());
                } else if let Some(path) = entry.strip_prefix('!') {
                    squash.opaque(path.into());
                } else {
                    let path = entry.trim_end_matches('/');
                    if squash.sight(path.as_bytes()) == Sight::Visible {
                        squash.add(path.into(), entry.ends_with('/'));
                        seen.push(path.to_string());
                    }
                }
            }
            squash.end_layer();
        }
        seen
    }

    #[test]
    fn upper_layers_hide_lower_ones() {
        let check = |layers: &[&[&str]], expected: &[&str]| assert_eq!(visible(layers), expected);
        check(&[&["a"], &["a", "b"]], &["a", "b"]);
        check(&[&["-a"], &["a", "b"]], &["b"]);
        check(&[&["-d"], &["d/", "d/x", "dd"]], &["dd"]);
        check(&[&["!d", "d/new"], &["d/old", "e"]], &["d/new", "e"]);
        check(&[&["!"], &["a", "d/x"]], &[]);
        // A whiteout does not hide what its own layer brings.
        check(&[&["-a", "a"], &["a"]], &["a"]);
        check(&[&["a", "-a"], &["a"]], &["a"]);
        // A file replaces a folder and all in it; a folder replaces a file.
        check(&[&["d"], &["d/", "d/x"]], &["d"]);
        check(&[&["d/", "d/x"], &["d"]], &["d", "d/x"]);
        // Folders merge.
        check(&[&["d/", "d/x"], &["d/", "d/y"]], &["d", "d/x", "d/y"]);
        // A middle layer's whiteout holds for the lowest one only.
        check(&[&["d/x"], &["-d"], &["d/", "d/x", "d/y"]], &["d/x"]);
    }

    #[test]
    fn clashes_within_a_layer() {
        let mut squash = Squash::default();
        assert_eq!(squash.add(b"a".to_vec(), false), Clash::None);
        assert_eq!(squash.add(b"a".to_vec(), false), Clash::Duplicate);
        assert_eq!(squash.add(b"a/b".to_vec(), false), Clash::BelowNonFolder);
        assert_eq!(squash.add(b"d".to_vec(), true), Clash::None);
        assert_eq!(squash.add(b"d".to_vec(), true), Clash::None);
        assert_eq!(squash.add(b"d/x/y".to_vec(), false), Clash::None);
        assert_eq!(squash.add(b"d/x".to_vec(), false), Clash::BelowNonFolder);
        squash.end_layer();
        assert_eq!(squash.sight(b"d/x"), Sight::Hidden);
    }
}
