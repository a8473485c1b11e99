//! A log as a folder: the names of C2SP tlog-tiles below one prefix, which are as well the
//! keys of an object store.

use std::io;
use std::path::{Path, PathBuf};

use palisade_base::Root;

use crate::tile::{
    BUNDLE_BYTES_MAX, TILE_BYTES_MAX, TileCoordinate, TileError, TileKind, TileSource, cut,
};

/// The name of the published checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

/// Reads a log's folder. No link leads out of it.
#[derive(Debug)]
pub struct Folder {
    root: Root,
}

impl Folder {
    /// Opens the folder at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: Root::open(path)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The published checkpoint.
    pub fn checkpoint(&self) -> io::Result<Vec<u8>> {
        self.root.read(Path::new(CHECKPOINT), crate::note::NOTE_BYTES_MAX as u64)
    }

    fn read(&self, tile: &TileCoordinate) -> io::Result<Vec<u8>> {
        let limit = match tile.kind {
            TileKind::Level(_) => TILE_BYTES_MAX,
            TileKind::Entries => BUNDLE_BYTES_MAX,
        };
        self.root.read(&PathBuf::from(tile.path()), limit as u64)
    }
}

impl TileSource for Folder {
    /// The tile's own file, or else the full tile's, cut: a log removes partial tiles when they
    /// are full.
    fn tile(&self, tile: &TileCoordinate) -> Result<Vec<u8>, TileError> {
        let failed =
            |source: io::Error| TileError::Read { path: tile.path(), source: Box::new(source) };
        match self.read(tile) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !tile.is_full() => {
                let full = self.read(&tile.full()).map_err(|_| failed(error))?;
                cut(tile, &full)
            }
            read => read.map_err(failed),
        }
    }
}
