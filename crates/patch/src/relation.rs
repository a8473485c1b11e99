//! Relations between packages: `a (>= 1) | b:any, c` (`deb-control(5)`), and apk's
//! `a>=1 so:b.so.2 !c`, and those of RPM.

use std::cmp::Ordering;

use palisade_model::PackageKind;
use palisade_packages::version;

/// Relations of one field that are kept.
const RELATIONS_MAX: usize = 1_000;

/// One name with a bound on its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Whose order of versions counts.
    pub(crate) kind: PackageKind,
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
    Some(Choice { kind: PackageKind::Dpkg, name, bound })
}

impl Choice {
    /// Whether a version is within the bound. Versions that cannot be compared are not.
    pub(crate) fn admits(&self, version: &str) -> bool {
        let Some((operator, bound)) = &self.bound else { return true };
        let strict = self.kind != PackageKind::Dpkg;
        if operator.contains('~') && self.kind == PackageKind::Apk {
            return is_within(version, bound);
        }
        let Some(order) = self.order(version, bound) else { return false };
        match operator.as_str() {
            "<" if strict => order == Ordering::Less,
            ">" if strict => order == Ordering::Greater,
            "<<" => order == Ordering::Less,
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => false,
        }
    }

    fn order(&self, version: &str, bound: &str) -> Option<Ordering> {
        let (mut version, mut bound) = (version, bound);
        // Of RPM's versions a release counts where both have one (`rpmdsCompare`).
        if self.kind == PackageKind::Rpm && !(version.contains('-') && bound.contains('-')) {
            version = version.split('-').next().unwrap_or_default();
            bound = bound.split('-').next().unwrap_or_default();
        }
        version::compare(self.kind, version, bound)
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
                    // What RPM provides without a version is of any.
                    (Some(_), None) => self.kind == PackageKind::Rpm,
                }
        })
    }
}

/// One relation of RPM. Nothing for those that are judged elsewhere: paths, features of rpm itself,
/// and conditions in brackets, all of which rpm checks before it changes anything.
pub(crate) fn rpm_choice(name: &str, operator: &str, version: &str) -> Option<Choice> {
    if name.is_empty() || name.starts_with(['/', '(']) || name.starts_with("rpmlib(") {
        return None;
    }
    let has_bound = !operator.is_empty() && !version.is_empty();
    let bound = has_bound.then(|| (operator.to_string(), version.to_string()));
    Some(Choice { kind: PackageKind::Rpm, name: name.to_string(), bound })
}

/// apk's `~`: a version that begins with the bound, whole parts of it.
fn is_within(version: &str, bound: &str) -> bool {
    version.strip_prefix(bound).is_some_and(|rest| {
        !rest.starts_with(|c: char| c.is_ascii_alphanumeric()) || bound.is_empty()
    })
}

/// What apk's words need, and what they do not bear (`!`). Tags of repositories are left out.
pub(crate) fn apk_relations(field: &str) -> (Vec<Relation>, Vec<Relation>) {
    let (mut needs, mut breaks) = (Vec::new(), Vec::new());
    for word in field.split_whitespace().take(RELATIONS_MAX) {
        let (list, word) = match word.strip_prefix('!') {
            Some(word) => (&mut breaks, word),
            None => (&mut needs, word),
        };
        let word = word.split('@').next().unwrap_or_default();
        let end = word.find(['<', '>', '=', '~']).unwrap_or(word.len());
        let (name, rest) = word.split_at_checked(end).unwrap_or((word, ""));
        if name.is_empty() {
            continue;
        }
        let at = rest.find(|c: char| !"<>=~".contains(c));
        let bound = at.and_then(|at| rest.split_at_checked(at));
        let bound = bound.map(|(operator, version)| (operator.into(), version.into()));
        list.push(vec![Choice { kind: PackageKind::Apk, name: name.to_string(), bound }]);
    }
    (needs, breaks)
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

    #[test]
    fn bounds_of_rpm_hold() {
        let check = |operator: &str, bound: &str, version: &str, expected: bool| {
            let choice = rpm_choice("a", operator, bound).unwrap();
            assert_eq!(
                choice.is_met_by("a", version, &[]),
                expected,
                "{operator} {bound} {version}"
            );
        };
        check("", "", "1-1", true);
        check("=", "1.0", "1.0-7.el9", true);
        check("=", "1.0-6.el9", "1.0-7.el9", false);
        check("<", "1.0", "1.0-7", false);
        check(">", "1.0", "1.0-7", false);
        check(">=", "1:1.0", "2.0-1", false);
        check("<=", "2.0-1", "2.0", true);
        let provides = vec![vec![rpm_choice("virtual", "", "").unwrap()]];
        assert!(rpm_choice("virtual", ">=", "9").unwrap().is_met_by("a", "1", &provides));
        for name in ["", "/bin/sh", "(a if b)", "rpmlib(PayloadIsZstd)"] {
            assert_eq!(rpm_choice(name, "", ""), None, "{name}");
        }
    }

    #[test]
    fn bounds_of_apk_hold() {
        let check = |word: &str, version: &str, expected: bool| {
            let (needs, _) = apk_relations(word);
            assert_eq!(needs[0][0].is_met_by("a", version, &[]), expected, "{word} {version}");
        };
        check("a", "1", true);
        check("a<2", "2", false);
        check("a<=2", "2", true);
        check("a>2", "2-r1", true);
        check("a=1.0-r0", "1.0-r1", false);
        check("a~1.2", "1.2.3-r0", true);
        check("a~1.2", "1.20-r0", false);
        check("a@edge>1", "2", true);
        let (needs, breaks) = apk_relations("so:x.so.1 !b<2 /bin/sh =");
        assert_eq!((needs.len(), breaks.len()), (2, 1));
        let provides = apk_relations("so:x.so.1=1.0").0;
        assert!(needs[0][0].is_met_by("lib", "9", &provides));
    }
}
