//! What holds until it is taken back, in the one file that starts of containers read.

use std::fs::File;
use std::path::{Path, PathBuf};

use palisade_base::Timestamp;
use palisade_policy::playbook::Act;
use palisade_policy::standing::{self, Entry, Standing, StandingError};

use super::Performed;
use crate::execute::chain;
use crate::order::Order;

/// The standing orders of a data folder.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// Those in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join(standing::FILE) }
    }

    /// What holds.
    ///
    /// # Errors
    ///
    /// The file is damaged or cannot be read.
    pub fn read(&self) -> Result<Standing, StandingError> {
        Standing::read(&self.path)
    }

    /// Changes what holds, one process at a time; whether `change` changed something.
    fn change(
        &self,
        change: impl FnOnce(&mut Standing) -> Result<bool, StandingError>,
    ) -> Result<bool, StandingError> {
        let io = |source| StandingError::Io { action: "lock", path: self.path.clone(), source };
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.with_extension("lock"))
            .map_err(io)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| io(error.into()))?;
        let mut standing = Standing::read(&self.path)?;
        let changed = change(&mut standing)?;
        if changed {
            standing.write(&self.path)?;
        }
        Ok(changed)
    }

    /// Does what is an entry of the file; `None` for every other act.
    pub(super) fn perform(&self, act: &Act, order: &Order) -> Option<Performed> {
        fn entry<T>(what: T, order: &Order) -> Entry<T> {
            Entry {
                what,
                since: Timestamp::now(),
                owner: order.owner.clone(),
                reason: order.reason.clone(),
            }
        }
        let id = order.container.as_ref().map(|container| container.id.clone());
        let (changed, what) = match act {
            Act::QuarantineImage { digest: Some(digest) } => (
                self.change(|s| standing::add(&mut s.images, entry(*digest, order))),
                "no container starts from it",
            ),
            Act::ReleaseImage { digest: Some(digest) } => (
                self.change(|s| Ok(standing::remove(&mut s.images, digest))),
                "containers start from it again",
            ),
            Act::BlockExecutable { sha256 } => (
                self.change(|s| standing::add(&mut s.executables, entry(*sha256, order))),
                "no container starts it while `watch` runs with --respond on or --enforce on",
            ),
            Act::UnblockExecutable { sha256 } => (
                self.change(|s| Ok(standing::remove(&mut s.executables, sha256))),
                "containers start it again",
            ),
            Act::Protect => {
                let id = id?;
                (
                    self.change(|s| standing::add(&mut s.protected, entry(id, order))),
                    "`palisade stop` refuses it",
                )
            }
            Act::Unprotect => {
                let id = id?;
                (
                    self.change(|s| Ok(standing::remove(&mut s.protected, &id))),
                    "`palisade stop` takes it again",
                )
            }
            _ => return None,
        };
        Some(match changed {
            Ok(true) => Performed::done(what),
            Ok(false) => Performed::unchanged("it was so already"),
            Err(error) => Performed::failed(chain(&error)),
        })
    }
}
