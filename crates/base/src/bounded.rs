//! Readers that stop at a stated size.
//!
//! Every byte that comes from an image, a feed or a process passes one of these:
//! an input that is larger than its bound is an error that names the bound, never
//! an allocation of the attacker's choosing.

use std::io::{self, Read};

/// An input was larger than the bound that the caller stated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is larger than the limit of {limit} bytes")]
pub struct LimitExceeded {
    /// What was being read, for the message: `layer`, `manifest`.
    pub what: &'static str,
    /// The bound, in bytes.
    pub limit: u64,
}

impl From<LimitExceeded> for io::Error {
    fn from(error: LimitExceeded) -> Self {
        Self::new(io::ErrorKind::FileTooLarge, error)
    }
}

impl LimitExceeded {
    /// Finds this error inside an [`io::Error`] that passed through other readers.
    pub fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

/// A reader that fails, rather than ends, when its source holds more than `limit` bytes.
///
/// `Read::take` ends silently at its limit, which makes a truncated input look whole.
#[derive(Debug)]
pub struct Bounded<R> {
    inner: R,
    what: &'static str,
    limit: u64,
    n_read: u64,
}

impl<R: Read> Bounded<R> {
    /// Bounds `inner` to `limit` bytes; `what` names the input in the error.
    pub fn new(inner: R, what: &'static str, limit: u64) -> Self {
        Self { inner, what, limit, n_read: 0 }
    }

    /// Bytes delivered so far.
    pub fn n_read(&self) -> u64 {
        self.n_read
    }

    /// Gives the source back.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.limit - self.n_read;
        if room == 0 {
            // At the bound: the input is acceptable only if it ends here.
            let mut probe = [0_u8; 1];
            return match self.inner.read(&mut probe)? {
                0 => Ok(0),
                _ => Err(LimitExceeded { what: self.what, limit: self.limit }.into()),
            };
        }
        let wanted = usize::try_from(room).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.inner.read(&mut buffer[..wanted])?;
        self.n_read += n as u64;
        Ok(n)
    }
}

/// Reads `reader` to its end into memory, or fails at `limit` bytes.
pub fn read_bounded(reader: impl Read, what: &'static str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Bounded::new(reader, what, limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_of_exactly_the_limit_is_whole() {
        assert_eq!(read_bounded(&b"abcd"[..], "test", 4).unwrap(), b"abcd");
    }

    #[test]
    fn one_byte_more_is_an_error_that_names_the_limit() {
        let error = read_bounded(&b"abcde"[..], "test", 4).unwrap_err();
        assert_eq!(LimitExceeded::find(&error), Some(&LimitExceeded { what: "test", limit: 4 }));
        assert_eq!(error.to_string(), "test is larger than the limit of 4 bytes");
    }

    #[test]
    fn endless_input_stops() {
        assert!(read_bounded(io::repeat(0), "zeros", 1 << 16).is_err());
    }
}
