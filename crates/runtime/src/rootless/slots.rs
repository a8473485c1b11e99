//! Who of a user's containers has which 65,536 of the user's ids.
//!
//! A user's range is small: most have the ids of one container. Unlike root's, ranges come back
//! when their container is gone (nothing that it wrote is left), and the last resort is to share
//! one with another container of the same user, which is said.

use std::path::PathBuf;
use std::time::Duration;

use palisade_harden::IdRange;
use serde::{Deserialize, Serialize};

use crate::error::IdsError;
use crate::ids::{IDS_PER_CONTAINER, sweep};
use crate::lock::Lock;

/// Bytes of the ledger that are read.
const LEDGER_BYTES_MAX: u64 = 4 << 20;
/// How long another process may hold the ledger.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// A container's share of the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its number, from 0.
    pub(crate) number: u32,
    /// Containers that have the same ids.
    pub(crate) n_others: usize,
}

impl Slot {
    /// Its ids, as the user's namespace numbers them: the user's own is 0.
    pub(crate) fn ids(self) -> IdRange {
        IdRange { first: 1 + self.number * IDS_PER_CONTAINER, count: IDS_PER_CONTAINER }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Holder {
    container: String,
    slot: u32,
}

/// The ledger of one user.
#[derive(Debug)]
pub(crate) struct Slots {
    path: PathBuf,
    n_slots: u32,
}

impl Slots {
    /// The ledger at `path`, whose folder exists, for `n_ids` ids.
    pub(crate) fn new(path: PathBuf, n_ids: u32) -> Self {
        Self { path, n_slots: n_ids / IDS_PER_CONTAINER }
    }

    /// Gives `container` the first slot that no container has of which `exists` is true; without
    /// one, that which the fewest have. `None` when there is no slot at all.
    pub(crate) fn take(
        &self,
        container: &str,
        exists: impl Fn(&str) -> bool,
    ) -> Result<Option<Slot>, IdsError> {
        let io = |action| {
            let path = self.path.clone();
            move |source| IdsError::Io { action, path, source }
        };
        let _lock = Lock::exclusive(&self.path.with_extension("lock"), LOCK_DEADLINE)
            .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::TimedOut.into()))
            .map_err(io("lock"))?;
        let mut holders = self.holders()?;
        holders.retain(|holder| exists(&holder.container) && holder.container != container);
        let Some(slot) = self.choose(&holders) else { return Ok(None) };
        holders.push(Holder { container: container.to_string(), slot: slot.number });
        let text = serde_json::to_vec(&holders).map_err(|e| io("write")(e.into()))?;
        sweep(self.path.parent());
        palisade_base::fs::write_atomic(&self.path, &text, 0o600).map_err(io("write"))?;
        Ok(Some(slot))
    }

    /// What the next container would get, for explanations.
    pub(crate) fn next(&self, exists: impl Fn(&str) -> bool) -> Result<Option<Slot>, IdsError> {
        let mut holders = self.holders()?;
        holders.retain(|holder| exists(&holder.container));
        Ok(self.choose(&holders))
    }

    fn choose(&self, holders: &[Holder]) -> Option<Slot> {
        let n_holders = |slot: u32| holders.iter().filter(|it| it.slot == slot).count();
        let slots = (0..self.n_slots).map(|number| Slot { number, n_others: n_holders(number) });
        slots.min_by_key(|slot| (slot.n_others, slot.number))
    }

    fn holders(&self) -> Result<Vec<Holder>, IdsError> {
        let io = |source| IdsError::Io { action: "read", path: self.path.clone(), source };
        match std::fs::File::open(&self.path) {
            Ok(file) => {
                let bytes =
                    palisade_base::read_bounded(file, "ledger", LEDGER_BYTES_MAX).map_err(io)?;
                serde_json::from_slice(&bytes).map_err(|_| IdsError::Damaged(self.path.clone()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(io(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_living_container_has_its_own_as_long_as_there_are_any() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::new(folder.path().join("slots.json"), 2 * IDS_PER_CONTAINER + 5);
        let take = |name: &str, living: &[&str]| {
            let slot = slots.take(name, |it| living.contains(&it)).unwrap().unwrap();
            (slot.ids().first, slot.n_others)
        };
        std::fs::write(folder.path().join(".tmpAbCdEf"), "[").unwrap();
        assert_eq!(take("a", &[]), (1, 0));
        assert!(!folder.path().join(".tmpAbCdEf").exists(), "what a killed process left");
        assert_eq!(take("b", &["a"]), (65_537, 0));
        assert_eq!(take("c", &["a", "b"]), (1, 1));
        assert_eq!(take("d", &["a", "b", "c"]), (65_537, 1));
        // b and d are gone.
        assert_eq!(take("e", &["a", "c"]), (65_537, 0));
        let next = slots.next(|it| it == "e").unwrap().unwrap();
        assert_eq!((next.number, next.n_others), (0, 0));
        // Too small for any.
        let none = Slots::new(folder.path().join("none.json"), IDS_PER_CONTAINER - 1);
        assert_eq!(none.take("a", |_| true).unwrap(), None);
        std::fs::write(folder.path().join("slots.json"), "{").unwrap();
        assert!(matches!(slots.take("f", |_| true), Err(IdsError::Damaged(_))));
    }
}
