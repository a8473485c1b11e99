//! Packages of one build, and the rounds in which it is settled which of them are taken.

use std::collections::BTreeMap;

use palisade_model::finding::Vulnerability;

use crate::deb::DEB_BYTES_MAX;
use crate::plan::Upgrade;
use crate::repository::fetch_proved;
use crate::upgrade::Key;
use crate::{Fetch, Files, PatchError, Plan, Repository};

/// Packages of one build together, in bytes.
const FETCHED_BYTES_MAX: u64 = 4 << 30;

/// Packages by their addresses.
pub(crate) struct Fetched<'a> {
    fetch: &'a dyn Fetch,
    packages: BTreeMap<String, Vec<u8>>,
    n_bytes: u64,
}

impl<'a> Fetched<'a> {
    pub(crate) fn new(fetch: &'a dyn Fetch) -> Self {
        Self { fetch, packages: BTreeMap::new(), n_bytes: 0 }
    }

    /// Fetches a package, once, and proves its size, and its digest where the index has one.
    pub(crate) fn get(&mut self, upgrade: &Upgrade) -> Result<(), PatchError> {
        let file = &upgrade.package_file;
        let address = &file.address;
        if self.packages.contains_key(address) {
            return Ok(());
        }
        let too_much = |what, limit| PatchError::TooMuch { what, limit };
        if file.size > DEB_BYTES_MAX {
            return Err(too_much("bytes in one package", DEB_BYTES_MAX));
        }
        self.n_bytes += file.size;
        if self.n_bytes > FETCHED_BYTES_MAX {
            return Err(too_much("bytes of upgrades", FETCHED_BYTES_MAX));
        }
        let bytes = fetch_proved(self.fetch, address, file.size, file.digest)?;
        self.packages.insert(address.clone(), bytes);
        Ok(())
    }

    /// What was fetched.
    pub(crate) fn bytes(&self, upgrade: &Upgrade) -> &[u8] {
        let found = self.packages.get(&upgrade.package_file.address);
        found.map(Vec::as_slice).unwrap_or_default()
    }
}

pub(crate) fn key(upgrade: &Upgrade) -> Key {
    (upgrade.package.clone(), upgrade.installed_architecture.clone())
}

/// What each upgrade of a plan would execute.
pub(crate) type Executed = BTreeMap<Key, Vec<String>>;

/// Plans until every upgrade of the plan can be made. `check` says why one cannot, else what it
/// would execute. Each round refuses one more package at least, so that there is an end.
pub(crate) fn settle(
    files: &Files,
    found: &[Vulnerability],
    repository: &Repository,
    mut check: impl FnMut(&Upgrade, &Plan) -> Result<Result<Vec<String>, String>, PatchError>,
) -> Result<(Plan, Executed), PatchError> {
    let mut refused: BTreeMap<Key, String> = BTreeMap::new();
    loop {
        let plan = Plan::without(files, found, repository, &refused);
        let (mut executed, n_refused) = (BTreeMap::new(), refused.len());
        for upgrade in &plan.upgrades {
            match check(upgrade, &plan)? {
                Ok(all) => {
                    executed.insert(key(upgrade), all);
                }
                Err(why) => {
                    refused.insert(key(upgrade), why);
                }
            }
        }
        if refused.len() == n_refused {
            return Ok((plan, executed));
        }
    }
}
