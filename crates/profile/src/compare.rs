//! What one record has that another has not.

use std::collections::BTreeSet;

use crate::record::Record;

/// What is only in the one, and only in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of what: `calls`, `files written`, …
    pub what: &'static str,
    /// Only in the first.
    pub removed: Vec<String>,
    /// Only in the second.
    pub added: Vec<String>,
}

/// Compares two records; parts that are equal are left out.
pub fn difference(old: &Record, new: &Record) -> Vec<Difference> {
    type Part = (&'static str, fn(&Record) -> BTreeSet<String>);
    let parts: [Part; 9] = [
        ("calls", |r| r.calls.keys().cloned().collect()),
        ("arguments", |r| {
            let places = r.arguments.iter().flat_map(|(call, places)| {
                places.iter().map(move |(place, values)| (call, place, values))
            });
            places
                .flat_map(|(call, place, values)| {
                    values.iter().map(move |value| format!("{call} argument {place} = {value:#x}"))
                })
                .collect()
        }),
        ("refused calls", |r| r.refused.clone()),
        ("capabilities", |r| r.capabilities.iter().map(|c| c.name.clone()).collect()),
        ("files written", |r| r.files.written.clone()),
        ("files changed", |r| r.files.changed.clone()),
        ("programs", |r| r.files.executed.clone()),
        ("addresses bound", |r| r.network.bound.iter().map(ToString::to_string).collect()),
        ("addresses connected to", |r| {
            r.network.connected.iter().map(ToString::to_string).collect()
        }),
    ];
    let compared = parts.into_iter().map(|(what, part)| {
        let (old, new) = (part(old), part(new));
        Difference {
            what,
            removed: old.difference(&new).cloned().collect(),
            added: new.difference(&old).cloned().collect(),
        }
    });
    compared.filter(|part| !part.removed.is_empty() || !part.added.is_empty()).collect()
}

impl std::fmt::Display for crate::record::Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Some(address) if address.contains(':') => write!(f, "[{address}]:{}", self.port),
            Some(address) => write!(f, "{address}:{}", self.port),
            None => write!(f, "family {}", self.family),
        }
    }
}
