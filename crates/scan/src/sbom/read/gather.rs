//! Packages of a document on their way into an inventory.

use palisade_model::package::{Gap, Subject};
use palisade_model::{Distribution, Inventory, Package};
use palisade_packages::PACKAGES_MAX;

use super::identity::{self, Stated, Unknown};
use super::shape::quote;
use super::{Document, ReadSbomError, Unmatching};

/// Gaps of one document that are kept.
const GAPS_MAX: usize = 10_000;

/// What was gathered so far.
#[derive(Debug)]
pub(super) struct Gatherer<'n> {
    /// Stands for the document where it names no evidence.
    name: &'n str,
    packages: Vec<Package>,
    parts: Vec<Package>,
    /// What a component says that is the operating system.
    pub distribution: Option<Distribution>,
    /// What package URLs say.
    named_distribution: Option<Distribution>,
    pub subject: Option<Subject>,
    gaps: Vec<Gap>,
    unmatched: Unmatching,
    pub n_excluded: u64,
}

impl<'n> Gatherer<'n> {
    pub(crate) fn new(name: &'n str) -> Self {
        Self {
            name,
            packages: Vec::new(),
            parts: Vec::new(),
            distribution: None,
            named_distribution: None,
            subject: None,
            gaps: Vec::new(),
            unmatched: Unmatching::default(),
            n_excluded: 0,
        }
    }

    pub(crate) fn gap(&mut self, path: &str, reason: &str) {
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(Gap { path: quote(path), reason: quote(reason) });
        }
    }

    pub(crate) fn has_gap(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// Takes a package, as a part of `owner` where there is one. Gives its package URL, where
    /// it is of a distribution and so can own others.
    pub(crate) fn add(
        &mut self,
        stated: Stated<'_>,
        owner: Option<&str>,
    ) -> Result<Option<String>, ReadSbomError> {
        let name = stated.name.to_string();
        let (mut package, distribution) = match identity::package(stated, self.name) {
            Ok(found) => found,
            Err(Unknown::NoUrl) => {
                self.unmatched.count("unknown", "the document gives no package URL for them");
                return Ok(None);
            }
            Err(Unknown::BadUrl(why)) => {
                self.gap(&name, &format!("its package URL cannot be read: {why}"));
                return Ok(None);
            }
            Err(Unknown::Kind(kind)) => {
                self.unmatched.count(&kind, "nothing is known of packages of this type");
                return Ok(None);
            }
        };
        if self.packages.len() + self.parts.len() >= PACKAGES_MAX {
            return Err(ReadSbomError::TooManyPackages(PACKAGES_MAX));
        }
        if self.named_distribution.is_none() {
            self.named_distribution = distribution;
        }
        let is_of_distribution = package.kind.is_of_distribution();
        if let Some(owner) = owner.filter(|_| !is_of_distribution) {
            package.owner = Some(owner.to_string());
            self.parts.push(package);
            return Ok(None);
        }
        let purl = is_of_distribution.then(|| package.purl.clone());
        self.packages.push(package);
        Ok(purl)
    }

    pub(crate) fn finish(self, format: String) -> Document {
        let key = |package: &Package| {
            (package.kind, package.name.clone(), package.version.clone(), package.purl.clone())
        };
        let mut packages = self.packages;
        packages.sort_by_cached_key(key);
        let mut parts = self.parts;
        parts.sort_by_cached_key(key);
        let named = self.named_distribution;
        // A component may leave out the version that package URLs have.
        let distribution = match (self.distribution, named) {
            (Some(stated), Some(named))
                if stated.version_id.is_empty()
                    && stated.codename.is_empty()
                    && stated.id == named.id =>
            {
                Some(named)
            }
            (stated, named) => stated.or(named),
        };
        let mut subject = self.subject.unwrap_or_else(|| Subject {
            name: String::new(),
            digest: None,
            platform: None,
        });
        if subject.name.is_empty() {
            subject.name = self.name.to_string();
        }
        Document {
            format,
            inventory: Inventory {
                subject,
                distribution,
                packages,
                parts,
                programs: Vec::new(),
                n_files: 0,
                gaps: self.gaps,
            },
            unmatched: self.unmatched.finish(),
            n_excluded: self.n_excluded,
        }
    }
}
