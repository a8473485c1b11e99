//! Where a container's output goes: to the caller, and into a file from which whoever asks later
//! can read it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

/// Bytes of output that are kept.
pub const KEPT_BYTES_MAX: u64 = 16 << 20;
/// Older output is given up in pieces of this size.
const STEP_BYTES: u64 = 1 << 20;

/// The newest output of a container. What is older is taken out of the file as a hole, so that
/// places in it stay what they are for who reads on.
#[derive(Debug)]
pub(crate) struct Kept(Mutex<Open>);

#[derive(Debug)]
struct Open {
    /// `None`: it could not be written, and what is in it stays.
    file: Option<File>,
    bytes: u64,
    first: u64,
}

impl Kept {
    /// Makes the file, for nobody else to read.
    pub(crate) fn create(path: &Path) -> io::Result<Arc<Self>> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = File::options().create_new(true).append(true).mode(0o600).open(path)?;
        Ok(Arc::new(Self(Mutex::new(Open { file: Some(file), bytes: 0, first: 0 }))))
    }

    fn add(&self, chunk: &[u8]) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = open.add(chunk) {
            tracing::warn!("the container's output is not kept any longer: {error}");
            open.file = None;
        }
    }
}

impl Open {
    fn add(&mut self, chunk: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(chunk)?;
        self.bytes += chunk.len() as u64;
        if self.bytes - self.first <= KEPT_BYTES_MAX + STEP_BYTES {
            return Ok(());
        }
        let first = (self.bytes - KEPT_BYTES_MAX) / STEP_BYTES * STEP_BYTES;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&*file, flags, self.first, first - self.first).is_ok() {
            self.first = first;
        } else {
            // A file system without holes.
            file.set_len(0)?;
            (self.bytes, self.first) = (0, 0);
        }
        Ok(())
    }
}

/// What takes a stream. A writer that fails must not stop the container, so the rest is counted.
pub(crate) struct Sink {
    to: Box<dyn Write + Send>,
    kept: Option<Arc<Kept>>,
    is_writable: bool,
    n_lost: u64,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl Sink {
    pub(crate) fn new(to: Box<dyn Write + Send>, kept: Option<Arc<Kept>>) -> Self {
        Self { to, kept, is_writable: true, n_lost: 0 }
    }

    /// Takes a chunk while the writer takes any.
    pub(crate) fn take(&mut self, chunk: &[u8]) {
        if let Some(kept) = &self.kept {
            kept.add(chunk);
        }
        if self.is_writable && self.to.write_all(chunk).and_then(|()| self.to.flush()).is_err() {
            self.is_writable = false;
        }
        if !self.is_writable {
            self.n_lost += chunk.len() as u64;
        }
    }

    /// Bytes that the writer did not take.
    pub(crate) fn n_lost(&self) -> u64 {
        self.n_lost
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_the_caller_does_not_take_is_counted_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output.log");
        let kept = Kept::create(&path).unwrap();
        let mut sinks = [
            Sink::new(Box::new(Full), Some(Arc::clone(&kept))),
            Sink::new(Box::new(io::sink()), Some(kept)),
        ];
        for (sink, chunk) in sinks.iter_mut().zip(["one\n", "two\n"]) {
            sink.take(chunk.as_bytes());
        }
        assert_eq!(sinks.map(|sink| sink.n_lost()), [4, 0]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // Two containers do not write into one.
        assert!(Kept::create(&path).is_err());
    }

    #[test]
    fn only_the_newest_output_takes_space() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = folder.path().join("output.log");
        let kept = Kept::create(&path).unwrap();
        let chunk: Vec<u8> =
            (0..64 << 10).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
        let n = 3 * KEPT_BYTES_MAX / chunk.len() as u64;
        for _ in 0..n {
            kept.add(&chunk);
        }
        kept.add(b"last\n");
        let found = std::fs::metadata(&path).unwrap();
        assert!(found.blocks() * 512 <= KEPT_BYTES_MAX + 2 * STEP_BYTES, "{}", found.blocks());
        let all = std::fs::read(&path).unwrap();
        assert!(all.ends_with(b"last\n"));
        // Places stay what they were, where the file system has holes.
        let at = usize::try_from(KEPT_BYTES_MAX).unwrap();
        assert_eq!(&all[all.len() - 5 - at..][..chunk.len()], &chunk[..]);
    }
}
