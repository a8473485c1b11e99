//! The right edge of a tree: its partial tiles, which are all that appending needs.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::folder::Folder;
use crate::merkle::{self, Hash};
use crate::tile::{
    TILE_LEVEL_MAX, TILE_WIDTH, TileCoordinate, TileKind, TileSource as _, TiledTree, encode_entry,
};

use super::{WriteError, io_error};

/// The partial tiles of a tree.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    size: u64,
    /// The hashes of each level's partial tile, fewer than 256.
    levels: Vec<Vec<Hash>>,
    /// The partial tile of entries.
    entries: Vec<u8>,
}

/// The root of the first `size` leaves of the tree of `checkpoint`.
pub(super) fn root_at(folder: &Folder, whole: &Checkpoint, size: u64) -> Result<Hash, WriteError> {
    Ok(merkle::root_at(&mut TiledTree::new(folder, whole.size), size)?)
}

impl Edge {
    /// Reads the edge of the tree of `checkpoint`, and checks that it makes its root.
    pub(super) fn load(folder: &Folder, checkpoint: &Checkpoint) -> Result<Self, WriteError> {
        let size = checkpoint.size;
        let mut levels = Vec::new();
        for level in 0..=TILE_LEVEL_MAX {
            let nodes = size >> (8 * u32::from(level));
            let tile = TileCoordinate::at(TileKind::Level(level), nodes / TILE_WIDTH, size);
            levels.push(match tile {
                Some(tile) => tile.hashes(&folder.tile(&tile)?)?,
                None => Vec::new(),
            });
        }
        let mut this = Self { size, levels, entries: Vec::new() };
        let found = this.root();
        if found != checkpoint.root {
            return Err(WriteError::Damaged { size, expected: checkpoint.root, found });
        }
        if let Some(tile) = TileCoordinate::at(TileKind::Entries, size / TILE_WIDTH, size) {
            this.entries = folder.tile(&tile)?;
            let entries = tile.entries(&this.entries)?;
            let leaves = this.levels.first().map_or(&[][..], Vec::as_slice);
            if !entries.iter().map(|entry| Hash::of_leaf(entry)).eq(leaves.iter().copied()) {
                return Err(WriteError::EntriesDamaged);
            }
        }
        Ok(this)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root.
    pub(super) fn root(&self) -> Hash {
        let mut root = None;
        for hashes in &self.levels {
            // The perfect subtrees within a tile, the smallest and right-most first.
            let mut end = hashes.len();
            while end > 0 {
                let start = end & (end - 1);
                let subtree = perfect_root(&hashes[start..end]);
                root = Some(root.map_or(subtree, |right| Hash::of_node(&subtree, &right)));
                end = start;
            }
        }
        root.unwrap_or_else(Hash::empty_tree)
    }

    /// Appends `entries`, none longer than an entry may be. Returns the tiles that are new.
    pub(super) fn append<T: AsRef<[u8]>>(
        &mut self,
        entries: &[T],
    ) -> Vec<(TileCoordinate, Vec<u8>)> {
        let mut tiles = Vec::new();
        let mut changed = [false; TILE_LEVEL_MAX as usize + 1];
        for entry in entries {
            let entry = entry.as_ref();
            let fits = encode_entry(&mut self.entries, entry);
            debug_assert!(fits, "the writer checks the length");
            self.push(0, Hash::of_leaf(entry), &mut tiles, &mut changed);
            self.size += 1;
            if self.size.is_multiple_of(TILE_WIDTH) {
                let index = self.size / TILE_WIDTH - 1;
                let tile = TileCoordinate { kind: TileKind::Entries, index, width: 256 };
                tiles.push((tile, std::mem::take(&mut self.entries)));
            }
        }
        for (level, hashes) in self.levels.iter().enumerate() {
            let kind = TileKind::Level(level as u8);
            let index = self.size >> (8 * (level + 1)).min(63);
            if !hashes.is_empty() && changed[level] {
                let tile = TileCoordinate { kind, index, width: hashes.len() as u16 };
                tiles.push((tile, hashes.iter().flat_map(|hash| hash.0).collect()));
            }
        }
        if !self.entries.is_empty() {
            let kind = TileKind::Entries;
            let width = (self.size % TILE_WIDTH) as u16;
            let tile = TileCoordinate { kind, index: self.size / TILE_WIDTH, width };
            tiles.push((tile, self.entries.clone()));
        }
        tiles
    }

    /// Appends a node of tile level `level`. `self.size` does not count its leaves yet.
    fn push(
        &mut self,
        level: usize,
        hash: Hash,
        tiles: &mut Vec<(TileCoordinate, Vec<u8>)>,
        changed: &mut [bool],
    ) {
        let (Some(hashes), Some(mark)) = (self.levels.get_mut(level), changed.get_mut(level))
        else {
            return;
        };
        hashes.push(hash);
        *mark = true;
        if hashes.len() as u64 == TILE_WIDTH {
            let full = std::mem::take(hashes);
            let index = self.size >> (8 * (level + 1)).min(63);
            let tile = TileCoordinate { kind: TileKind::Level(level as u8), index, width: 256 };
            tiles.push((tile, full.iter().flat_map(|hash| hash.0).collect()));
            self.push(level + 1, perfect_root(&full), tiles, changed);
        }
    }

    /// Removes what a batch left that no checkpoint covers: wider tiles, full ones, later ones.
    pub(super) fn remove_torn(&self, path: &Path) -> Result<(), WriteError> {
        let levels = (0..=TILE_LEVEL_MAX).map(TileKind::Level);
        for kind in levels.chain([TileKind::Entries]) {
            let level = if let TileKind::Level(level) = kind { u32::from(level) } else { 0 };
            let nodes = self.size >> (8 * level);
            let (first, width) = (nodes / TILE_WIDTH, nodes % TILE_WIDTH);
            // Batches leave no gaps, so the first index with nothing is the last to look at.
            for index in first.. {
                let tile = TileCoordinate { kind, index, width: 256 };
                let kept = if index == first { width } else { 0 };
                if !remove_tile(path, &tile, kept)? && index > first {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Removes the full tile and the partial ones wider than `kept`; whether there was any.
fn remove_tile(path: &Path, tile: &TileCoordinate, kept: u64) -> Result<bool, WriteError> {
    let full = path.join(tile.path());
    let mut found = match std::fs::remove_file(&full) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(io_error("remove", &full)(error)),
    };
    let folder = path.join(format!("{}.p", tile.path()));
    let partial = match std::fs::read_dir(&folder) {
        Ok(partial) => partial,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(io_error("list", &folder)(error)),
    };
    for entry in partial {
        let entry = entry.map_err(io_error("list", &folder))?;
        found = true;
        let width = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
        if width.is_none_or(|width| width > kept) {
            std::fs::remove_file(entry.path()).map_err(io_error("remove", &entry.path()))?;
        }
    }
    Ok(found)
}

/// The root over a power of two of hashes, at least one.
fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut nodes = hashes.to_vec();
    while nodes.len() > 1 {
        nodes = nodes.chunks_exact(2).map(|pair| Hash::of_node(&pair[0], &pair[1])).collect();
    }
    nodes.first().copied().unwrap_or_else(Hash::empty_tree)
}
