//! What differs between two databases, without reading what they share.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::format::{self, Sha256};
use super::record::{Advisory, Cursor};
use super::{Database, ReadDatabaseError};

/// What differs between two databases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// (Ecosystem, package) pairs about which the two say different things, sorted.
    pub packages: Vec<(String, String)>,
    /// Identifiers that CISA has come to list as exploited, sorted.
    pub exploited: Vec<String>,
}

impl Changes {
    /// Whether nothing differs that findings depend on.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.exploited.is_empty()
    }
}

/// Keys with the digest of what they stand for.
type Pairs = BTreeMap<Vec<u8>, Sha256>;

impl Database {
    /// What this database says differently from `older`: packages with new, changed or withdrawn
    /// advisories, and what has come to be exploited. Scores of EPSS are not compared.
    ///
    /// Blocks that both have are not read, so the cost is that of the difference.
    pub fn changed_since(&self, older: &Self) -> Result<Changes, ReadDatabaseError> {
        if self.digest() == older.digest() {
            return Ok(Changes::default());
        }
        let feeds_differ = self.feed_names != older.feed_names;
        let (theirs, ours) = (older.block_digests()?, self.block_digests()?);
        // Other names behind the indexes change what equal bytes mean.
        let none = HashSet::new();
        let (known, ours) = if feeds_differ { (&none, &none) } else { (&theirs, &ours) };
        let new = self.pairs_outside(known, feeds_differ)?;
        let old = older.pairs_outside(ours, feeds_differ)?;
        let mut packages = BTreeSet::new();
        let mut changes = Changes::default();
        let differing = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        for key in differing.map(|(key, _)| key).chain(gone) {
            let mut parts = key.split(|byte| *byte == 0);
            let mut text = || parts.next().map(|part| String::from_utf8_lossy(part).into_owned());
            match (key.first(), text(), text(), text()) {
                (Some(b'a'), _, Some(ecosystem), Some(package)) => {
                    packages.insert((ecosystem, package));
                }
                (Some(b'k'), _, Some(id), _) if !old.contains_key(key) => {
                    changes.exploited.push(id);
                }
                _ => {}
            }
        }
        changes.packages = packages.into_iter().collect();
        changes.exploited.sort();
        Ok(changes)
    }

    pub(super) fn block_digests(&self) -> Result<HashSet<Sha256>, ReadDatabaseError> {
        let digest = |index| {
            let block = self.directory.block(index);
            block.map(|b| b.digest).map_err(|_| self.damaged("its directory makes no sense"))
        };
        (0..self.directory.len()).map(digest).collect()
    }

    /// The packages and exploited identifiers in blocks that are not among `known`.
    fn pairs_outside(
        &self,
        known: &HashSet<Sha256>,
        by_name: bool,
    ) -> Result<Pairs, ReadDatabaseError> {
        let mut pairs = Pairs::new();
        for index in 0..self.directory.len() {
            let nonsense = |_| self.damaged("its directory makes no sense");
            if known.contains(&self.directory.block(index).map_err(nonsense)?.digest) {
                continue;
            }
            let block = self.block(index)?;
            let mut cursor = Cursor(&block);
            let nonsense = |_| self.damaged("a block makes no sense");
            while !cursor.is_empty() {
                let key = cursor.bytes().map_err(nonsense)?;
                let value = cursor.bytes().map_err(nonsense)?;
                let digest = match key.first() {
                    Some(b'a') if by_name => self.digest_by_name(value)?,
                    Some(b'a' | b'k') => format::sha256(value),
                    _ => continue,
                };
                pairs.insert(key.to_vec(), digest);
            }
        }
        Ok(pairs)
    }

    /// The digest of a list of advisories that does not depend on the order of feeds.
    fn digest_by_name(&self, value: &[u8]) -> Result<Sha256, ReadDatabaseError> {
        let nonsense = |_| self.damaged("a record makes no sense");
        let mut cursor = Cursor(value);
        let mut bytes = Vec::new();
        for _ in 0..cursor.count().map_err(nonsense)? {
            let advisory = Advisory::decode(&mut cursor, &self.feed_names).map_err(nonsense)?;
            advisory.encode(0, &mut bytes);
            super::record::put_text(&mut bytes, &advisory.feed);
        }
        Ok(format::sha256(&bytes))
    }
}
