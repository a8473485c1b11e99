//! File locks that end with their process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// A lock held until it is dropped, or its process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

impl Lock {
    /// Waits at most `deadline` for the lock; `None` when somebody kept it that long.
    pub(crate) fn exclusive(path: &Path, deadline: Duration) -> io::Result<Option<Self>> {
        Self::acquire(path, deadline, File::try_lock)
    }

    /// The same for a lock that several may share.
    pub(crate) fn shared(path: &Path, deadline: Duration) -> io::Result<Option<Self>> {
        Self::acquire(path, deadline, File::try_lock_shared)
    }

    fn acquire(
        path: &Path,
        deadline: Duration,
        lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> io::Result<Option<Self>> {
        let file = open(path)?;
        let start = Instant::now();
        loop {
            match lock(&file) {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(TryLockError::WouldBlock) if start.elapsed() >= deadline => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::shared(&path, Duration::ZERO).unwrap();
        let second = Lock::shared(&path, Duration::ZERO).unwrap();
        assert!(first.is_some() && second.is_some());
        assert!(Lock::exclusive(&path, Duration::from_millis(5)).unwrap().is_none());
        drop((first, second));
        assert!(Lock::exclusive(&path, Duration::ZERO).unwrap().is_some());
    }
}
