//! Replacing the database: one updater at a time, readers undisturbed, the old file usable
//! until the new one is whole and proved.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use palisade_base::Explain;

use super::{Database, ReadDatabaseError, Trusts};

/// Why the database could not be replaced. The old one stays.
#[derive(Debug, thiserror::Error)]
pub enum UpdateDatabaseError {
    /// Another update is under way.
    #[error("another update of `{path}` is under way{}", by(*process))]
    Busy {
        /// The database.
        path: PathBuf,
        /// The process that updates it, if it said so.
        process: Option<u32>,
    },
    /// The lock could not be taken.
    #[error("lock `{path}`")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The new file could not be written.
    #[error("write advisory database `{path}`")]
    Write {
        /// The database.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The new database is not usable.
    #[error("the new database is not used")]
    Refused(#[from] ReadDatabaseError),
    /// The new database is older than the one that is there.
    #[error("the new database is of {new}, the one that is there of {old}")]
    Older {
        /// Time of the new one's newest data.
        new: palisade_base::Timestamp,
        /// Time of the old one's.
        old: palisade_base::Timestamp,
    },
}

fn by(process: Option<u32>) -> String {
    process.map(|id| format!(" by process {id}")).unwrap_or_default()
}

impl Explain for UpdateDatabaseError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Busy { .. } => {
                "wait for it to end; scans go on with the database that is there".into()
            }
            Self::Lock { .. } => "check the permissions of the folder".into(),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free space; the database that was there is still used".into()
            }
            Self::Write { .. } => {
                "check free space and permissions of the folder; the database that was there is \
                 still used"
                    .into()
            }
            Self::Refused(ReadDatabaseError::Version { .. }) => {
                "get a database of this release, or update Palisade; the one that was there is \
                 still used"
                    .into()
            }
            Self::Refused(
                error
                @ (ReadDatabaseError::NotSigned(_) | ReadDatabaseError::WrongSignature { .. }),
            ) => return error.hint(),
            Self::Refused(_) => {
                "get the file again from where it comes from; the database that was there is \
                 still used"
                    .into()
            }
            Self::Older { .. } => {
                "an old database would hide what became known since; --force takes it all the same"
                    .into()
            }
        })
    }
}

/// The right to replace a database; held until dropped, and gone with its process.
#[derive(Debug)]
pub struct UpdateLock {
    path: PathBuf,
    _file: File,
}

impl UpdateLock {
    /// Takes the lock of the database at `path`, or says who has it.
    pub fn take(path: &Path) -> Result<Self, UpdateDatabaseError> {
        let mut name = path.as_os_str().to_os_string();
        name.push(".lock");
        let lock_path = PathBuf::from(name);
        let error = |source| UpdateDatabaseError::Lock { path: lock_path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = (&file).take(16).read_to_string(&mut text);
                let process = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(UpdateDatabaseError::Busy { path: path.to_path_buf(), process });
            }
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        // Who it is helps the next one; a full disk must not keep the lock from being taken.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { path: path.to_path_buf(), _file: file })
    }

    /// What it is the lock of.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `bytes` in the database's place, if they are a whole database that `is_trusted`
    /// (where given) vouches for and that is not older than the one that is there. Errors name
    /// `origin`, where they come from.
    pub fn replace(
        &self,
        bytes: &[u8],
        origin: &Path,
        is_trusted: Option<Trusts<'_>>,
        force: bool,
    ) -> Result<Database, UpdateDatabaseError> {
        let error = |source| UpdateDatabaseError::Write { path: self.path.clone(), source };
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(error)?;
        file.write_all(bytes).map_err(error)?;
        let refused = |error: ReadDatabaseError| error.of(origin);
        let new = Database::open(file.path()).map_err(refused)?;
        if let Some(is_trusted) = is_trusted {
            new.require_signature(is_trusted).map_err(refused)?;
        }
        new.verify().map_err(refused)?;
        if let (false, Ok(old)) = (force, Database::open(&self.path)) {
            let (new, old) = (new.info().built, old.info().built);
            if new < old {
                return Err(UpdateDatabaseError::Older { new, old });
            }
        }
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(error)?;
        file.as_file().sync_all().map_err(error)?;
        file.persist(&self.path).map_err(|failed| error(failed.error))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(error)?;
        Ok(Database::open(&self.path)?)
    }
}
