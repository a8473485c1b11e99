//! Names of containers: no two of one run folder have the same at a time.
//!
//! A name is written into the container's bundle, under a lock, before anything is made of the
//! container: who comes later sees it, long before there is a record. It goes with the bundle,
//! whoever removes that.

use std::collections::BTreeSet;

use crate::error::RunError;
use crate::lock::Lock;
use crate::record::Record;
use crate::{RunRequest, Runtime};

/// Characters of a container's name.
const NAME_CHARS_MAX: usize = 64;
/// Bytes of the file with a name that are read.
const NAME_BYTES_MAX: u64 = 4096;
/// File of a bundle with the container's name.
const FILE: &str = "name";
/// How many digits of its id a made-up name has, unless that is another's.
const DIGITS: usize = 4;

/// The names of a run folder's containers.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    runtime: &'a Runtime,
    /// Names are given to nobody else while this is held.
    _lock: Option<Lock>,
}

impl Runtime {
    /// The names as they are now, for a look that changes nothing.
    pub(crate) fn names_now(&self) -> Names<'_> {
        Names { runtime: self, _lock: None }
    }

    /// Waits until nobody else chooses a name.
    pub(crate) fn names(&self) -> Result<Names<'_>, RunError> {
        let path = self.paths.names_lock();
        let lock = Lock::exclusive(&path, crate::create::LOCK_DEADLINE)
            .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::TimedOut.into()))
            .map_err(RunError::io("lock", &path))?;
        Ok(Names { runtime: self, _lock: Some(lock) })
    }
}

impl Names<'_> {
    /// The name that `request` asks for if it is free, or one made from the image and the id.
    pub(crate) fn choose(&self, request: &RunRequest<'_>, id: &str) -> Result<String, RunError> {
        let ids = self.runtime.known_ids();
        let taken: BTreeSet<String> = ids.iter().filter_map(|id| self.of(id)).collect();
        let Some(name) = &request.name else { return Ok(made_up(&request.reference, id, &taken)) };
        let bad = |problem| RunError::Name { name: name.chars().take(80).collect(), problem };
        let starts_well = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if !starts_well || name.len() > NAME_CHARS_MAX || !name.chars().all(is_name_char) {
            return Err(bad("is not made of letters, digits, `-`, `_` and `.`"));
        }
        if taken.contains(name) { Err(bad("is in use")) } else { Ok(name.clone()) }
    }

    /// Gives `name` to the container `id`, whose bundle is there.
    pub(crate) fn give(&self, name: &str, id: &str) -> Result<(), RunError> {
        let path = self.runtime.paths.bundle(id).join(FILE);
        crate::create::write_new(&path, name.as_bytes(), 0o600)
            .map_err(RunError::io("write", &path))
    }

    /// The name of a container; of one whose bundle has none, that of its record.
    fn of(&self, id: &str) -> Option<String> {
        let paths = &self.runtime.paths;
        let of_bundle = std::fs::File::open(paths.bundle(id).join(FILE))
            .and_then(|file| palisade_base::read_bounded(file, "name", NAME_BYTES_MAX));
        match of_bundle {
            Ok(name) if !name.is_empty() => Some(String::from_utf8_lossy(&name).into_owned()),
            _ => Some(Record::read(&paths.record(id)).ok()?.container.name),
        }
    }
}

/// `NAME-0123`: the end of the image's name, and as many digits of the container's id as nobody
/// else has behind it.
fn made_up(reference: &str, id: &str, taken: &BTreeSet<String>) -> String {
    let stem = reference.rsplit('/').next().unwrap_or("");
    let stem = stem.split([':', '@']).next().unwrap_or("");
    let stem: String = stem.chars().filter(|c| is_name_char(*c)).collect();
    let stem = stem.trim_start_matches(['-', '_', '.']);
    let stem = if stem.is_empty() { "container" } else { stem };
    let with = |n_digits: usize| {
        let digits = id.get(..n_digits).unwrap_or(id);
        let n_chars = NAME_CHARS_MAX.saturating_sub(n_digits + 1);
        // Of one byte each.
        format!("{}-{digits}", stem.get(..n_chars).unwrap_or(stem))
    };
    let mut all = (DIGITS..NAME_CHARS_MAX - 1).map(with);
    all.find(|name| !taken.contains(name)).unwrap_or_else(|| id.to_string())
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_name_is_nobody_elses() {
        let id = "0123456789abcdef".repeat(4);
        let check = |reference: &str, taken: &[&str], expected: &str| {
            let taken = taken.iter().map(ToString::to_string).collect();
            assert_eq!(made_up(reference, &id, &taken), expected, "{reference} {taken:?}");
        };
        check("docker.io/library/busybox:1.36", &[], "busybox-0123");
        check("busybox@sha256:00", &["busybox"], "busybox-0123");
        check("busybox", &["busybox-0123"], "busybox-01234");
        check("busybox", &["busybox-0123", "busybox-01234"], "busybox-012345");
        check("", &[], "container-0123");
        check("a/.-_", &["container-0123"], "container-01234");
        check("\u{e4}b", &[], "b-0123");
        let (long, four) = ("x".repeat(100), "x".repeat(59) + "-0123");
        check(&long, &[], &four);
        check(&long, &[&four], &("x".repeat(58) + "-01234"));
    }
}
