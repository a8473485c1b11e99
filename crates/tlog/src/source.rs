//! Where a log is followed: a folder, or a server.

use std::io;
use std::path::Path;
use std::time::Duration;

use palisade_http::{ClientOptions, TlsError};

use crate::folder::Folder;
use crate::note::NOTE_BYTES_MAX;
use crate::tile::{
    BUNDLE_BYTES_MAX, TILE_BYTES_MAX, TileCoordinate, TileError, TileKind, TileSource, cut,
};

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder.
    #[error("open the log `{path}`")]
    Folder {
        /// Which one.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The client cannot be made.
    #[error("make a client for `{0}`")]
    Client(String, #[source] TlsError),
    /// The server did not answer.
    #[error("ask `{url}`")]
    Http {
        /// What was asked.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The server answered something else.
    #[error("`{url}` answered {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The answer's status.
        status: u16,
    },
}

impl palisade_base::Explain for SourceError {
    fn hint(&self) -> Option<String> {
        Some(
            "name the log by its folder, or by the URL below which `checkpoint` and `tile/` are"
                .into(),
        )
    }
}

/// A log on a server.
#[derive(Debug)]
pub struct Remote {
    base: String,
    agent: ureq::Agent,
}

/// Makes the client with which logs are read and witnesses asked: no answer takes longer than
/// `total`.
pub fn client(options: &ClientOptions<'_>, total: Duration) -> Result<ureq::Agent, TlsError> {
    palisade_http::client(&ClientOptions {
        timeout_total: Some(total),
        timeout_idle: Some(total.min(Duration::from_secs(30))),
        ..options.clone()
    })
}

impl Remote {
    fn get(&self, path: &str, limit: usize) -> Result<Vec<u8>, SourceError> {
        let url = format!("{}/{path}", self.base);
        let http = |source| SourceError::Http { url: url.clone(), source: Box::new(source) };
        let mut answer = self.agent.get(&url).call().map_err(http)?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(SourceError::Status { url, status });
        }
        answer.body_mut().with_config().limit(limit as u64).read_to_vec().map_err(http)
    }
}

/// A log that is read.
#[derive(Debug)]
pub enum Source {
    /// In a folder.
    Folder(Folder),
    /// On a server.
    Remote(Remote),
}

impl Source {
    /// The log at `place`: `http://…`, `https://…`, or a folder.
    pub fn open(place: &str, options: &ClientOptions<'_>) -> Result<Self, SourceError> {
        if place.starts_with("http://") || place.starts_with("https://") {
            let agent = client(options, Duration::from_mins(2))
                .map_err(|error| SourceError::Client(place.to_string(), error))?;
            return Ok(Self::Remote(Remote { base: place.trim_end_matches('/').into(), agent }));
        }
        Folder::open(Path::new(place))
            .map(Self::Folder)
            .map_err(|source| SourceError::Folder { path: place.to_string(), source })
    }

    /// The signed checkpoint.
    pub fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Folder(folder) => folder.checkpoint().map_err(|source| SourceError::Folder {
                path: folder.path().join("checkpoint").display().to_string(),
                source,
            }),
            Self::Remote(remote) => remote.get("checkpoint", NOTE_BYTES_MAX),
        }
    }
}

impl TileSource for Source {
    fn tile(&self, tile: &TileCoordinate) -> Result<Vec<u8>, TileError> {
        let remote = match self {
            Self::Folder(folder) => return folder.tile(tile),
            Self::Remote(remote) => remote,
        };
        let failed =
            |source: SourceError| TileError::Read { path: tile.path(), source: Box::new(source) };
        let limit = match tile.kind {
            TileKind::Level(_) => TILE_BYTES_MAX,
            TileKind::Entries => BUNDLE_BYTES_MAX,
        };
        match remote.get(&tile.path(), limit) {
            Err(SourceError::Status { status: 404, .. }) if !tile.is_full() => {
                cut(tile, &remote.get(&tile.full().path(), limit).map_err(failed)?)
            }
            read => read.map_err(failed),
        }
    }
}
