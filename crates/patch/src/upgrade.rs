//! Which upgrades go together.
//!
//! Only packages that are installed are upgraded, and nothing is added or removed: an upgrade
//! that needs more is not made, and the reason is kept.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use palisade_packages::version;

use crate::installed::Installed;
use crate::relation::{Choice, Relation};
use crate::{Available, Repository};

/// Name and architecture.
pub(crate) type Key = (String, String);

/// An upgrade that was chosen.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) file: Available,
    pub(crate) needed_by: Option<String>,
}

/// What goes together.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    pub(crate) chosen: BTreeMap<Key, Chosen>,
    pub(crate) blocked: BTreeMap<Key, String>,
}

struct Resolver<'a> {
    installed: BTreeMap<Key, &'a Installed>,
    /// Who has, or would have with its newest version, a name or what is provided by it: large
    /// images are asked for tens of thousands of relations in each round.
    providers: HashMap<&'a str, BTreeSet<Key>>,
    repository: &'a Repository,
    resolution: Resolution,
}

/// What one round found.
enum Step {
    Choose(Key, String),
    Block(Key, String),
    Done,
}

/// Chooses `wanted` and what it needs.
pub(crate) fn resolve(
    installed: &[Installed],
    repository: &Repository,
    wanted: &BTreeSet<Key>,
    refused: &BTreeMap<Key, String>,
) -> Resolution {
    let by_key = installed.iter().map(|one| ((one.name.clone(), one.architecture.clone()), one));
    let mut providers: HashMap<&str, BTreeSet<Key>> = HashMap::new();
    for one in installed {
        let key = (one.name.clone(), one.architecture.clone());
        let newest = repository.newest(&one.name, &one.architecture);
        let provides = one.provides.iter().chain(newest.into_iter().flat_map(|it| &it.provides));
        let names = provides.flatten().map(|choice| choice.name.as_str());
        for name in names.chain([one.name.as_str()]) {
            providers.entry(name).or_default().insert(key.clone());
        }
    }
    let mut resolver = Resolver {
        installed: by_key.collect(),
        providers,
        repository,
        resolution: Resolution::default(),
    };
    for (key, one) in &resolver.installed {
        if one.is_held {
            let why = "the package is on hold".to_string();
            resolver.resolution.blocked.insert(key.clone(), why);
        } else if let Some(why) = refused.get(key) {
            resolver.resolution.blocked.insert(key.clone(), why.clone());
        }
    }
    for key in wanted {
        if !resolver.resolution.blocked.contains_key(key)
            && let Some(file) = resolver.candidate(key)
        {
            let chosen = Chosen { file: file.clone(), needed_by: None };
            resolver.resolution.chosen.insert(key.clone(), chosen);
        }
    }
    // Each round chooses or blocks a package for good, so that there is an end.
    for _ in 0..=2 * installed.len() {
        match resolver.step() {
            Step::Done => return resolver.resolution,
            Step::Choose(key, by) => {
                if let Some(file) = resolver.candidate(&key) {
                    let chosen = Chosen { file: file.clone(), needed_by: Some(by) };
                    resolver.resolution.chosen.insert(key, chosen);
                }
            }
            Step::Block(key, why) => {
                resolver.resolution.chosen.remove(&key);
                // What it alone needed is not upgraded for nothing.
                resolver.resolution.chosen.retain(|_, one| one.needed_by.as_ref() != Some(&key.0));
                resolver.resolution.blocked.insert(key, why);
            }
        }
    }
    resolver.resolution.chosen.clear();
    resolver.resolution
}

impl<'a> Resolver<'a> {
    /// A newer version of an installed package.
    fn candidate(&self, key: &Key) -> Option<&'a Available> {
        let one = self.installed.get(key)?;
        let newest = self.repository.newest(&key.0, &key.1)?;
        let is_newer = version::compare(self.repository.kind, &newest.version, &one.version)
            == Some(Ordering::Greater);
        is_newer.then_some(newest)
    }

    /// The installed packages that may meet a choice.
    fn providers(&self, choice: &Choice) -> impl Iterator<Item = (&Key, &Installed)> {
        let keys = self.providers.get(choice.name.as_str()).into_iter().flatten();
        keys.filter_map(|key| Some((key, *self.installed.get(key)?)))
    }

    /// Whether a choice holds once everything chosen is there.
    fn holds(&self, choice: &Choice) -> bool {
        self.providers(choice).any(|(key, one)| match self.resolution.chosen.get(key) {
            Some(new) => choice.is_met_by(&key.0, &new.file.version, &new.file.provides),
            None => choice.is_met_by(&key.0, &one.version, &one.provides),
        })
    }

    fn held_before(&self, relation: &Relation) -> bool {
        let met = |choice: &Choice| {
            self.providers(choice)
                .any(|(_, one)| choice.is_met_by(&one.name, &one.version, &one.provides))
        };
        relation.iter().any(met)
    }

    /// An installed package whose newer version would satisfy the relation.
    fn remedy(&self, relation: &Relation) -> Option<Key> {
        let fits = |key: &Key| {
            !self.resolution.chosen.contains_key(key)
                && !self.resolution.blocked.contains_key(key)
                && self.candidate(key).is_some_and(|new| {
                    relation
                        .iter()
                        .any(|choice| choice.is_met_by(&key.0, &new.version, &new.provides))
                })
        };
        let keys = relation.iter().flat_map(|choice| self.providers(choice).map(|(key, _)| key));
        keys.collect::<BTreeSet<&Key>>().into_iter().find(|key| fits(key)).cloned()
    }

    fn can_choose(&self, key: &Key) -> bool {
        !self.resolution.chosen.contains_key(key)
            && !self.resolution.blocked.contains_key(key)
            && self.candidate(key).is_some()
    }

    fn step(&self) -> Step {
        for (key, new) in &self.resolution.chosen {
            for relation in &new.file.depends {
                if relation.iter().any(|choice| self.holds(choice)) {
                    continue;
                }
                return match self.remedy(relation) {
                    Some(other) => Step::Choose(other, key.0.clone()),
                    None => Step::Block(
                        key.clone(),
                        format!(
                            "{} needs {}, which is not installed",
                            new.file.version,
                            text(relation)
                        ),
                    ),
                };
            }
            if let Some(step) = self.broken_by(key, &new.file) {
                return step;
            }
        }
        for (key, one) in &self.installed {
            if self.resolution.chosen.contains_key(key) {
                continue;
            }
            if let Some(step) = self.left_behind(key, one) {
                return step;
            }
        }
        Step::Done
    }

    /// What is installed and a new package does not bear.
    fn broken_by(&self, key: &Key, new: &Available) -> Option<Step> {
        for choice in new.breaks.iter().flatten() {
            for (other, one) in &self.installed {
                if other.0 == key.0 || other.0 != choice.name {
                    continue;
                }
                let version =
                    self.resolution.chosen.get(other).map_or(&one.version, |c| &c.file.version);
                if !choice.admits(version) {
                    continue;
                }
                return Some(if self.can_choose(other) {
                    Step::Choose(other.clone(), key.0.clone())
                } else {
                    Step::Block(
                        key.clone(),
                        format!("{} breaks {} {version}", new.version, other.0),
                    )
                });
            }
        }
        None
    }

    /// What is not upgraded and needs, or does not bear, an upgrade.
    fn left_behind(&self, key: &Key, one: &Installed) -> Option<Step> {
        for relation in &one.depends {
            if relation.iter().any(|choice| self.holds(choice)) || !self.held_before(relation) {
                continue;
            }
            // What met it until now, by its own name or by one that it provides.
            let met = |choice: &Choice, key: &Key, one: &Installed| {
                choice.is_met_by(&key.0, &one.version, &one.provides)
            };
            let mut before = relation.iter().flat_map(|choice| {
                let all = self.providers(choice);
                all.filter(move |(key, one)| met(choice, key, one)).map(|(key, _)| key)
            });
            let Some(cause) = before.find(|key| self.resolution.chosen.contains_key(key)) else {
                continue;
            };
            return Some(self.together(
                key,
                cause,
                format!("{} needs {} and cannot be upgraded with it", key.0, text(relation)),
            ));
        }
        for choice in one.breaks.iter().flatten() {
            let hit = self.resolution.chosen.iter().find(|(new, chosen)| {
                new.0 == choice.name && new.0 != key.0 && choice.admits(&chosen.file.version)
            });
            if let Some((cause, _)) = hit {
                return Some(self.together(
                    key,
                    cause,
                    format!("{} breaks it and cannot be upgraded with it", key.0),
                ));
            }
        }
        None
    }

    fn together(&self, key: &Key, cause: &Key, why: String) -> Step {
        if self.can_choose(key) {
            Step::Choose(key.clone(), cause.0.clone())
        } else {
            Step::Block(cause.clone(), why)
        }
    }
}

fn text(relation: &Relation) -> String {
    let one = |choice: &Choice| match &choice.bound {
        Some((operator, version)) => format!("{} ({operator} {version})", choice.name),
        None => choice.name.clone(),
    };
    let all: Vec<String> = relation.iter().map(one).collect();
    all.join(" or ")
}
