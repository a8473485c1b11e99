//! Tiles of a Merkle tree and of its entries (C2SP tlog-tiles).
//!
//! A tile of level `L` and index `N` holds the hashes of the nodes `(8L, 256N .. 256N + 256)`.
//! The right-most tile of a level may be partial: it then has its width in its name, and a log
//! may remove it once the full tile exists.

use std::collections::HashMap;

use crate::merkle::{Hash, NodeSource};

/// Hashes, or entries, in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Levels of nodes within a tile.
const TILE_HEIGHT: u32 = 8;
/// Highest level of tiles: eight levels of 256 are a tree of 2^64 leaves.
pub const TILE_LEVEL_MAX: u8 = 7;
/// Largest entry, in bytes: its length is written in two.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// Largest tile of entries, in bytes.
pub const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (ENTRY_BYTES_MAX + 2);
/// Largest tile of hashes, in bytes.
pub const TILE_BYTES_MAX: usize = TILE_WIDTH as usize * 32;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of this level, 0 to [`TILE_LEVEL_MAX`].
    Level(u8),
    /// The entries themselves.
    Entries,
}

/// Which tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileCoordinate {
    /// What it holds.
    pub kind: TileKind,
    /// Its place in its level.
    pub index: u64,
    /// How many hashes or entries it holds, 1 to 256.
    pub width: u16,
}

/// A tile that is not what it must be.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// The tile cannot be read.
    #[error("read `{path}`")]
    Read {
        /// Its path in the log.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tile has not the size that its name says.
    #[error("`{path}` has {found} bytes instead of {expected}")]
    WrongSize {
        /// Its path in the log.
        path: String,
        /// What the name says.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// A tile of entries ends within an entry, or after too few or too many.
    #[error("`{path}` does not hold {expected} whole entries")]
    BadEntries {
        /// Its path in the log.
        path: String,
        /// What the name says.
        expected: u16,
    },
    /// The tree does not reach so far.
    #[error("the tree of {size} leaves has no node {index} of level {level}")]
    OutsideTree {
        /// Level of the node.
        level: u32,
        /// Index of the node.
        index: u64,
        /// The tree's size.
        size: u64,
    },
}

impl palisade_base::Explain for TileError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => {
                Some("check that the log is reachable and that nothing was removed from it".into())
            }
            Self::WrongSize { .. } | Self::BadEntries { .. } => {
                Some("the log's storage is damaged there; restore the tile from a copy".into())
            }
            Self::OutsideTree { .. } => None,
        }
    }
}

impl TileCoordinate {
    /// The tile of `kind` that holds place `position` of its level in a tree of `size` leaves,
    /// as wide as that tree makes it; `None` when the tree does not reach there.
    pub fn at(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let level = match kind {
            TileKind::Level(level) => u32::from(level),
            TileKind::Entries => 0,
        };
        let nodes = size.checked_shr(level * TILE_HEIGHT).unwrap_or(0);
        let width = nodes.checked_sub(index.checked_mul(TILE_WIDTH)?)?.min(TILE_WIDTH);
        (width > 0).then_some(Self { kind, index, width: width as u16 })
    }

    /// Whether the tile can no longer grow.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// The same tile when it is full.
    #[must_use]
    pub fn full(self) -> Self {
        Self { width: TILE_WIDTH as u16, ..self }
    }

    /// The path below the log's prefix: `tile/0/x001/x234/067.p/8`.
    pub fn path(&self) -> String {
        use std::fmt::Write as _;
        let mut path = match self.kind {
            TileKind::Level(level) => format!("tile/{level}"),
            TileKind::Entries => "tile/entries".to_string(),
        };
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            let mark = if place == 0 { "" } else { "x" };
            let _ = write!(path, "/{mark}{group:03}");
        }
        if !self.is_full() {
            let _ = write!(path, ".p/{}", self.width);
        }
        path
    }

    /// Reads a path as [`Self::path`] writes it, and no other form.
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("tile/")?;
        let (kind, rest) = rest.split_once('/')?;
        let kind = if kind == "entries" {
            TileKind::Entries
        } else {
            TileKind::Level(kind.parse().ok().filter(|level| *level <= TILE_LEVEL_MAX)?)
        };
        let (place, width) = match rest.split_once(".p/") {
            Some((place, width)) => (place, width.parse().ok()?),
            None => (rest, TILE_WIDTH as u16),
        };
        let mut index: u64 = 0;
        for group in place.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Self { kind, index, width };
        // One tile has one name: whatever else reads as the same numbers is refused here.
        (u64::from(width) <= TILE_WIDTH && width > 0 && tile.path() == path).then_some(tile)
    }

    /// Checks the size of a tile of hashes and splits it.
    pub fn hashes(&self, bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
        let expected = usize::from(self.width) * 32;
        if bytes.len() != expected {
            return Err(TileError::WrongSize { path: self.path(), expected, found: bytes.len() });
        }
        Ok(bytes.chunks_exact(32).filter_map(Hash::from_slice).collect())
    }

    /// Splits a tile of entries.
    pub fn entries<'a>(&self, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, TileError> {
        let bad = || TileError::BadEntries { path: self.path(), expected: self.width };
        let mut rest = bytes;
        let mut entries = Vec::with_capacity(usize::from(self.width));
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, after) = after.split_at_checked(length).ok_or_else(bad)?;
            if entries.len() == usize::from(self.width) {
                return Err(bad());
            }
            entries.push(entry);
            rest = after;
        }
        if !rest.is_empty() || entries.len() != usize::from(self.width) {
            return Err(bad());
        }
        Ok(entries)
    }
}

/// Appends an entry in the form of tiles of entries; `false` when it is too long.
#[must_use]
pub fn encode_entry(out: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(entry);
    true
}

/// Where tiles are read: a folder, a server.
pub trait TileSource {
    /// The bytes of a tile of exactly this width. A source that only has a wider one cuts it.
    fn tile(&self, tile: &TileCoordinate) -> Result<Vec<u8>, TileError>;
}

impl<S: TileSource + ?Sized> TileSource for &S {
    fn tile(&self, tile: &TileCoordinate) -> Result<Vec<u8>, TileError> {
        (**self).tile(tile)
    }
}

/// Cuts the full tile `bytes` to the width of `tile`.
pub fn cut(tile: &TileCoordinate, bytes: &[u8]) -> Result<Vec<u8>, TileError> {
    match tile.kind {
        TileKind::Level(_) => {
            tile.full().hashes(bytes)?;
            Ok(bytes[..usize::from(tile.width) * 32].to_vec())
        }
        TileKind::Entries => {
            let entries = tile.full().entries(bytes)?;
            let length: usize =
                entries.iter().take(usize::from(tile.width)).map(|entry| entry.len() + 2).sum();
            Ok(bytes[..length].to_vec())
        }
    }
}

/// The tree of `size` leaves in `source`, as a source of nodes. Each tile is read once.
pub struct TiledTree<S> {
    source: S,
    size: u64,
    tiles: HashMap<(u8, u64), Vec<Hash>>,
}

impl<S: TileSource> TiledTree<S> {
    /// The tree of the first `size` leaves.
    pub fn new(source: S, size: u64) -> Self {
        Self { source, size, tiles: HashMap::new() }
    }
}

impl<S: TileSource> NodeSource for TiledTree<S> {
    type Error = TileError;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, TileError> {
        let outside = || TileError::OutsideTree { level, index, size: self.size };
        let tile_level = u8::try_from(level / TILE_HEIGHT).map_err(|_| outside())?;
        if tile_level > TILE_LEVEL_MAX {
            return Err(outside());
        }
        let height = level % TILE_HEIGHT;
        let first = index.checked_shl(height).filter(|at| at >> height == index);
        let first = first.ok_or_else(outside)?;
        let tile_index = first / TILE_WIDTH;
        let tile = TileCoordinate::at(TileKind::Level(tile_level), tile_index, self.size)
            .ok_or_else(outside)?;
        let start = (first % TILE_WIDTH) as usize;
        let end = start + (1 << height);
        if end > usize::from(tile.width) {
            return Err(outside());
        }
        let hashes = match self.tiles.entry((tile_level, tile_index)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(tile.hashes(&self.source.tile(&tile)?)?)
            }
        };
        let mut nodes = hashes[start..end].to_vec();
        while nodes.len() > 1 {
            nodes = nodes.chunks_exact(2).map(|pair| Hash::of_node(&pair[0], &pair[1])).collect();
        }
        Ok(nodes[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |kind, index, width| TileCoordinate { kind, index, width };
        let cases = [
            (tile(TileKind::Level(0), 0, 256), "tile/0/000"),
            (tile(TileKind::Level(3), 1_234_067, 256), "tile/3/x001/x234/067"),
            (tile(TileKind::Level(1), 273, 8), "tile/1/273.p/8"),
            (tile(TileKind::Entries, 1000, 1), "tile/entries/x001/000.p/1"),
            (tile(TileKind::Level(0), u64::MAX, 256), "tile/0/x018/x446/x744/x073/x709/x551/615"),
        ];
        for (tile, path) in cases {
            assert_eq!(tile.path(), path);
            assert_eq!(TileCoordinate::parse(path), Some(tile));
        }
    }

    #[test]
    fn other_names_of_a_tile_are_refused() {
        for path in [
            "tile/0/0",
            "tile/00/000",
            "tile/+0/000",
            "tile/8/000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/08",
            "tile/0/000.p/+8",
            "tile/0/000/",
            "tile/0/../000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
            "/tile/0/000",
        ] {
            assert_eq!(TileCoordinate::parse(path), None, "{path}");
        }
    }

    #[test]
    fn widths_follow_the_size_of_the_tree() {
        let width = |kind, index, size| TileCoordinate::at(kind, index, size).map(|t| t.width);
        assert_eq!(width(TileKind::Level(0), 0, 0), None);
        assert_eq!(width(TileKind::Level(0), 0, 255), Some(255));
        assert_eq!(width(TileKind::Level(1), 0, 255), None);
        assert_eq!(width(TileKind::Level(1), 0, 70_000), Some(256));
        assert_eq!(width(TileKind::Level(1), 1, 70_000), Some(17));
        assert_eq!(width(TileKind::Entries, 273, 70_000), Some(112));
        assert_eq!(width(TileKind::Level(7), u64::MAX, u64::MAX), None);
    }

    #[test]
    fn tiles_of_entries_are_read_whole_or_not_at_all() {
        let mut bytes = Vec::new();
        assert!(encode_entry(&mut bytes, b"one") && encode_entry(&mut bytes, b""));
        assert!(!encode_entry(&mut Vec::new(), &vec![0; ENTRY_BYTES_MAX + 1]));
        let tile = |width| TileCoordinate { kind: TileKind::Entries, index: 0, width };
        assert_eq!(tile(2).entries(&bytes).unwrap(), [&b"one"[..], b""]);
        assert!(tile(1).entries(&bytes).is_err());
        assert!(tile(3).entries(&bytes).is_err());
        for length in 0..bytes.len() {
            assert!(tile(2).entries(&bytes[..length]).is_err(), "{length}");
        }
    }
}
