//! Relations between packages (`deb-control(5)`): `a (>= 1) | b:any, c`.

use std::cmp::Ordering;

use palisade_packages::version::dpkg;

/// Relations of one field that are kept.
const RELATIONS_MAX: usize = 1_000;

/// One name with a bound on its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) name: String,
    pub(crate) bound: Option<(String, String)>,
}

/// Choices, of which one suffices.
pub(crate) type Relation = Vec<Choice>;

/// The relations of a field.
pub(crate) fn relations(field: &str) -> Vec<Relation> {
    let groups = field.split(',').map(|group| group.split('|').filter_map(choice).collect());
    groups.filter(|group: &Relation| !group.is_empty()).take(RELATIONS_MAX).collect()
}

fn choice(text: &str) -> Option<Choice> {
    let text = text.trim();
    let end = text.find([' ', '(', '[', '<', ':']).unwrap_or(text.len());
    let name = text.get(..end)?.to_string();
    if name.is_empty() {
        return None;
    }
    let bound = text.split_once('(').and_then(|(_, rest)| {
        let inner = rest.split(')').next()?.trim();
        let at = inner.find(|c: char| !"<>=".contains(c))?;
        let (operator, version) = inner.split_at_checked(at)?;
        Some((operator.to_string(), version.trim().to_string()))
    });
    Some(Choice { name, bound })
}

impl Choice {
    /// Whether a version is within the bound. Versions that cannot be compared are not.
    pub(crate) fn admits(&self, version: &str) -> bool {
        let Some((operator, bound)) = &self.bound else { return true };
        let Some(order) = dpkg::compare(version, bound) else { return false };
        match operator.as_str() {
            "<<" => order == Ordering::Less,
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => false,
        }
    }

    /// Whether a package, or a virtual one with the version that it provides, is meant.
    pub(crate) fn is_met_by(&self, name: &str, version: &str, provides: &[Relation]) -> bool {
        if self.name == name {
            return self.admits(version);
        }
        provides.iter().flatten().any(|provided| {
            provided.name == self.name
                && match (&self.bound, &provided.bound) {
                    (None, _) => true,
                    (Some(_), Some((_, version))) => self.admits(version),
                    (Some(_), None) => false,
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold() {
        let check = |field: &str, version: &str, expected: bool| {
            let relation = relations(field);
            assert_eq!(relation[0][0].is_met_by("a", version, &[]), expected, "{field} {version}");
        };
        check("a", "1", true);
        check("a:any (>= 1.0) [amd64]", "1.1", true);
        check("a (>= 1.0)", "0.9", false);
        check("a (= 1.0-1)", "1.0-1", true);
        check("a (<< 2)", "2", false);
        check("a(>>2)", "3", true);
        check("a (?? 2)", "3", false);
        let virtual_one = relations("mail (= 2)");
        let wants = &relations("mail (>= 1) | x")[0];
        assert!(wants[0].is_met_by("postfix", "3", &virtual_one));
        assert_eq!(relations(", ,|").len(), 0);
        assert_eq!(relations(&"a,".repeat(2_000)).len(), RELATIONS_MAX);
    }
}
