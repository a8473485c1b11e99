//! Ignore entries: findings that somebody decided to live with, for a while, for a reason.
//!
//! ```yaml
//! ignore:
//!   - id: CVE-2024-6387        # or an alias, a detector, a secret's fingerprint, a rule or
//!                              # hash of malware, a licence, a danger, a check
//!                              # or `unknown-version`: what may mean a package without one
//!     package: openssh-server  # optional: package, source package or path
//!     reason: sshd is not started in this image
//!     expires: 2026-12-31
//! ```
//!
//! A reason and an expiry are mandatory: an exception without an end is a policy, and
//! belongs there. An entry that has expired hides nothing and is counted.

use std::collections::HashMap;

use palisade_base::yaml::{self, Dialect, Node, Place, Value};
use palisade_base::{Diagnostic, Diagnostics, Location, Severity as Level, Timestamp};
use palisade_model::Finding;
use palisade_model::finding::{FileDanger, Vulnerability};
use palisade_model::judgement::{Suppressed, SuppressedBy};
use palisade_model::package::Subject;

use crate::db::Status;

/// An ignore file beyond this many bytes is refused.
pub const BYTES_MAX: usize = 1 << 20;
/// Entries beyond this number are refused.
pub const ENTRIES_MAX: usize = 10_000;

/// Hidden findings beyond this number are counted and not kept.
pub const SUPPRESSED_MAX: usize = 10_000;

/// A file that is right is 3 deep and has 9 values for an entry; the rest is room for the
/// diagnostics to be about entries.
const DIALECT: Dialect =
    Dialect { name: "an ignore file", document: "list", depth_max: 8, n_nodes_max: 200_000 };

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// Identifier or alias, detector, fingerprint, rule, hash, licence, danger (`setuid`) or
    /// check.
    pub id: String,
    /// Package, source package, path or resource to which it is confined.
    pub package: Option<String>,
    /// Why it is acceptable.
    pub reason: String,
    /// From when on it is not; a statement of a VEX document has no such time.
    pub expires: Option<Timestamp>,
    /// What it is a part of.
    pub by: SuppressedBy,
    /// Products to which a statement of a VEX document is confined; empty for all.
    pub products: Vec<crate::vex::Product>,
}

/// What applying ignore entries did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// Findings hidden.
    pub n_ignored: u64,
    /// Those findings, at most [`SUPPRESSED_MAX`].
    pub suppressed: Vec<Suppressed>,
    /// Entries that would have hidden something but have expired.
    pub n_expired: u64,
}

impl Ignore {
    fn concerns(&self, finding: &Finding, subject: Option<&Subject>) -> bool {
        if !self.products.is_empty() {
            let Finding::Vulnerability(v) = finding else { return false };
            let meant = |product: &crate::vex::Product| product.is_meant(&v.purl, subject);
            if !self.products.iter().any(meant) {
                return false;
            }
        }
        let is = |text: &str| text.eq_ignore_ascii_case(&self.id);
        let (named, place) = match finding {
            Finding::Vulnerability(v) => {
                let place = [Some(v.package.as_str()), v.source.as_deref()];
                let is_unknown = is_of_unknown_version(v) && is(UNKNOWN_VERSION);
                (is_unknown || is(&v.id) || v.aliases.iter().any(|alias| is(alias)), place)
            }
            Finding::Secret(s) => {
                (is(&s.detector) || is(&s.fingerprint), [Some(s.path.as_str()), None])
            }
            Finding::Malware(m) => {
                let named = is(&m.rule) || m.sha256.as_deref().is_some_and(is);
                (named, [Some(m.path.as_str()), m.package.as_deref()])
            }
            Finding::Licence(l) => (is(&l.licence), [Some(l.package.as_str()), None]),
            Finding::File(f) => {
                (is(danger_name(f.danger)), [Some(f.path.as_str()), f.package.as_deref()])
            }
            Finding::Configuration(c) => {
                let file = c.location.as_ref().map(|at| at.file.as_str());
                (is(&c.check) || c.id.as_deref().is_some_and(is), [file, c.resource.as_deref()])
            }
            _ => return false,
        };
        named && self.package.as_ref().is_none_or(|p| place.contains(&Some(p.as_str())))
    }
}

/// What may mean a package that states no version, as one: no advisory of it can be compared.
const UNKNOWN_VERSION: &str = "unknown-version";

/// Whether this may be a vulnerability of a package that states no version. One that every
/// version has is a finding like any other.
fn is_of_unknown_version(vulnerability: &Vulnerability) -> bool {
    vulnerability.installed.is_empty() && vulnerability.status == Status::UnderInvestigation
}

/// The name of a danger in reports and ignore files.
pub fn danger_name(danger: FileDanger) -> &'static str {
    match danger {
        FileDanger::Setuid => "setuid",
        FileDanger::Setgid => "setgid",
        FileDanger::Capabilities => "capabilities",
        FileDanger::WorldWritable => "world-writable",
        FileDanger::PrivateKey => "private-key",
        FileDanger::DuplicateRoot => "duplicate-root",
        FileDanger::Device => "device",
        FileDanger::EmptyPassword => "empty-password",
        FileDanger::HiddenProgram => "hidden-program",
        FileDanger::Preload => "preload",
        FileDanger::Persistence => "persistence",
        FileDanger::AuthorizedKeys => "authorized-keys",
        FileDanger::Sudoers => "sudoers",
        _ => "dangerous-file",
    }
}

/// Names under which an entry can mean a finding, in lower case.
fn names_of(finding: &Finding) -> Vec<String> {
    let mut names: Vec<String> = match finding {
        Finding::Vulnerability(v) => {
            let unknown = is_of_unknown_version(v).then(|| UNKNOWN_VERSION.to_string());
            std::iter::once(&v.id).chain(&v.aliases).cloned().chain(unknown).collect()
        }
        Finding::Secret(s) => vec![s.detector.clone(), s.fingerprint.clone()],
        Finding::Malware(m) => std::iter::once(&m.rule).chain(&m.sha256).cloned().collect(),
        Finding::Licence(l) => vec![l.licence.clone()],
        Finding::File(f) => vec![danger_name(f.danger).to_string()],
        Finding::Configuration(c) => std::iter::once(&c.check).chain(&c.id).cloned().collect(),
        _ => Vec::new(),
    };
    for name in &mut names {
        name.make_ascii_lowercase();
    }
    names
}

/// Removes from `findings` what an entry of `ignores` that is still valid at `now` names.
/// `subject` is what was examined: statements of VEX documents may be confined to it.
pub fn apply(
    findings: &mut Vec<Finding>,
    ignores: &[Ignore],
    now: Timestamp,
    subject: Option<&Subject>,
) -> Applied {
    // VEX documents have tens of thousands of statements.
    let mut by_id: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, entry) in ignores.iter().enumerate() {
        by_id.entry(entry.id.to_ascii_lowercase()).or_default().push(index);
    }
    let before = findings.len();
    let mut expired_used = vec![false; ignores.len()];
    let mut suppressed = Vec::new();
    findings.retain(|finding| {
        let mut valid = None;
        let mut named: Vec<usize> = names_of(finding)
            .iter()
            .filter_map(|name| by_id.get(name))
            .flatten()
            .copied()
            .collect();
        named.sort_unstable();
        let entries = named.into_iter().filter_map(|index| Some((index, ignores.get(index)?)));
        for (index, entry) in entries.filter(|(_, entry)| entry.concerns(finding, subject)) {
            if entry.expires.is_none_or(|expires| expires > now) {
                valid = valid.or(Some(entry));
            } else {
                expired_used[index] = true;
            }
        }
        if let Some(entry) = valid
            && suppressed.len() < SUPPRESSED_MAX
        {
            suppressed.push(Suppressed {
                finding: finding.clone(),
                by: entry.by,
                reason: entry.reason.clone(),
                expires: entry.expires,
            });
        }
        valid.is_none()
    });
    Applied {
        n_ignored: (before - findings.len()) as u64,
        suppressed,
        n_expired: expired_used.iter().filter(|used| **used).count() as u64,
    }
}

/// Reads an ignore file; `file` names it in diagnostics. All problems are reported at once,
/// and a file with one is not used in part.
pub fn parse(text: &str, file: &str) -> Result<Vec<Ignore>, Diagnostics> {
    let mut reader = Reader { file, problems: Diagnostics::default() };
    if text.len() > BYTES_MAX {
        reader.problem(
            "too-large",
            Place::START,
            "the file is larger than 1 MiB",
            "split or shorten it",
        );
        return Err(reader.problems);
    }
    let (root, problems) = yaml::parse(text, DIALECT);
    reader.problems.0.extend(problems.into_iter().map(|problem| problem.diagnostic(file)));
    let entries = root.map(|root| reader.root(&root)).unwrap_or_default();
    if reader.problems.0.is_empty() { Ok(entries) } else { Err(reader.problems) }
}

struct Reader<'a> {
    file: &'a str,
    problems: Diagnostics,
}

const KEYS: [&str; 4] = ["id", "package", "reason", "expires"];

impl Reader<'_> {
    fn problem(
        &mut self,
        code: &'static str,
        Place { line, column }: Place,
        message: &str,
        help: &str,
    ) {
        self.problems.0.push(Diagnostic {
            code,
            severity: Level::Error,
            location: Location { file: self.file.to_string(), line, column },
            message: message.to_string(),
            help: Some(help.to_string()),
        });
    }

    fn root(&mut self, root: &Node) -> Vec<Ignore> {
        let mut entries = Vec::new();
        let Value::Map(map) = &root.value else {
            self.problem(
                "wrong-type",
                root.place,
                "expected a mapping with the key `ignore`",
                "write `ignore:` and a list below it",
            );
            return entries;
        };
        for (key, value) in map {
            if key.text != "ignore" {
                let message = format!("unknown key `{}`", yaml::cut(&key.text));
                self.problem("unknown-key", key.place, &message, "the only key is `ignore`");
                continue;
            }
            let Value::List(items) = &value.value else {
                self.problem(
                    "wrong-type",
                    value.place,
                    "expected a list",
                    "write one `- id: …` for each exception",
                );
                continue;
            };
            if items.len() > ENTRIES_MAX {
                self.problem(
                    "too-large",
                    value.place,
                    "more than 10000 entries",
                    "change the policy instead",
                );
                continue;
            }
            entries.extend(items.iter().filter_map(|item| self.entry(item)));
        }
        entries
    }

    fn entry(&mut self, item: &Node) -> Option<Ignore> {
        let Value::Map(map) = &item.value else {
            self.problem(
                "wrong-type",
                item.place,
                "expected a mapping",
                "an entry has id, reason, expires and perhaps package",
            );
            return None;
        };
        let mut values: [Option<String>; 4] = Default::default();
        let mut expires_at = item.place;
        for (key, value) in map {
            let name = key.text.as_str();
            let Some(index) = KEYS.iter().position(|known| *known == name) else {
                let near = palisade_base::suggest::nearest(name, KEYS);
                let help = near.map_or_else(
                    || "known keys: id, package, reason, expires".to_string(),
                    |near| format!("did you mean `{near}`?"),
                );
                let message = format!("unknown key `{}`", yaml::cut(name));
                self.problem("unknown-key", key.place, &message, &help);
                continue;
            };
            match text(value).filter(|text| !text.trim().is_empty()) {
                Some(text) => values[index] = Some(text),
                None => self.problem(
                    "wrong-type",
                    value.place,
                    &format!("`{name}` must be text"),
                    "write a word or a sentence",
                ),
            }
            if name == "expires" {
                expires_at = value.place;
            }
        }
        let [id, package, reason, expires] = values;
        let has = [&id, &Some(String::new()), &reason, &expires];
        let missing = KEYS.iter().zip(has).filter(|(_, value)| value.is_none());
        for (name, _) in missing.collect::<Vec<_>>() {
            self.problem(
                "missing-key",
                item.place,
                &format!("the entry has no `{name}`"),
                &format!("add `{name}: …`"),
            );
        }
        let expires = expires.and_then(|text| {
            let time = expiry(&text);
            if time.is_none() {
                self.problem(
                    "bad-value",
                    expires_at,
                    &format!("`{}` is not a date", yaml::cut(&text)),
                    "write a date such as 2026-12-31",
                );
            }
            time
        });
        let (by, products) = (SuppressedBy::Ignore, Vec::new());
        let expires = Some(expires?);
        Some(Ignore { id: id?, package, reason: reason?, expires, by, products })
    }
}

/// A date (valid until its end in UTC) or an RFC 3339 time.
fn expiry(text: &str) -> Option<Timestamp> {
    let whole_day = || format!("{text}T23:59:59Z").parse().ok();
    if text.len() == 10 { whole_day() } else { text.parse().ok() }
}

/// The text of a single value, as it was written: a package called `1.10` is that.
fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_model::Severity;
    use palisade_model::finding::Misconfiguration;

    #[test]
    fn reads_entries() {
        let text = "ignore:\n  - id: CVE-2024-1\n    package: openssl\n    reason: unreachable\n    expires: 2026-12-31\n";
        let entries = parse(text, "i.yaml").unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].package.as_deref(), Some("openssl"));
        assert_eq!(entries[0].expires.unwrap().rfc3339(), "2026-12-31T23:59:59.000000000Z");
    }

    #[test]
    fn every_problem_is_reported_at_its_place() {
        let text = "ignore:\n  - id: CVE-1\n    reson: x\n  - reason: y\n    expires: soon\n    id: [1]\nextra: 1\n";
        let problems = parse(text, "i.yaml").unwrap_err();
        let shown: Vec<String> = problems
            .0
            .iter()
            .map(|d| format!("{} {}:{} {}", d.code, d.location.line, d.location.column, d.message))
            .collect();
        assert_eq!(
            shown,
            [
                "unknown-key 3:5 unknown key `reson`",
                "missing-key 2:5 the entry has no `reason`",
                "missing-key 2:5 the entry has no `expires`",
                "wrong-type 6:9 `id` must be text",
                "missing-key 4:5 the entry has no `id`",
                "bad-value 5:14 `soon` is not a date",
                "unknown-key 7:1 unknown key `extra`",
            ]
        );
        for bad in
            ["a", "ignore: x", "- a", "a: [", &"[".repeat(50_000), &"x".repeat(BYTES_MAX + 1)]
        {
            assert!(parse(bad, "i").is_err(), "{}", &bad[..bad.len().min(20)]);
        }
    }

    #[test]
    fn nesting_of_any_kind_is_a_problem_and_not_a_crash() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/regressions/fuzz_ignore");
        let found = std::fs::read_to_string(format!("{folder}/nested-keys")).unwrap();
        for text in [&found, &"- ".repeat(BYTES_MAX / 4), &"{? ".repeat(BYTES_MAX / 4)] {
            let problems = parse(text, "i").unwrap_err().0;
            assert_eq!(problems.len(), 1);
        }
    }

    #[test]
    fn a_repeated_key_is_a_problem_at_its_place() {
        let text = "ignore:\n  - id: a\n    id: b\n    reason: r\n    expires: 2026-12-31\n";
        let problems = parse(text, "i").unwrap_err().0;
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].code, problems[0].location.line), ("duplicate-key", 3));
    }

    #[test]
    fn values_are_what_was_written() {
        let text = "ignore:\n- id: 1.10\n  reason: &r 12\n  expires: '2026-12-31'\n";
        let entries = parse(text, "i").unwrap();
        assert_eq!((entries[0].id.as_str(), entries[0].reason.as_str()), ("1.10", "12"));
        assert!(parse("ignore:\n- id: ~\n  reason: r\n  expires: 2026-12-31\n", "i").is_err());
        assert!(parse("", "i").unwrap().is_empty());
    }

    #[test]
    fn entries_are_bounded() {
        let entry = "- {id: a, package: b, reason: c, expires: 2026-12-31}\n";
        let text = |n: usize| format!("ignore:\n{}", entry.repeat(n));
        assert_eq!(parse(&text(ENTRIES_MAX), "i").unwrap().len(), ENTRIES_MAX);
        let problems = parse(&text(ENTRIES_MAX + 1), "i").unwrap_err().0;
        assert_eq!(problems[0].message, "more than 10000 entries");
    }

    #[test]
    fn one_entry_is_about_all_that_may_mean_a_package_without_a_version() {
        let of = |id: &str, package: &str, installed: &str, status| {
            Finding::Vulnerability(Vulnerability {
                id: id.into(),
                package: package.into(),
                installed: installed.into(),
                status,
                ..Vulnerability::default()
            })
        };
        let open = Status::UnderInvestigation;
        let mut findings = vec![
            of("CVE-1", "shop", "", open),
            of("CVE-2", "shop", "", open),
            of("CVE-3", "other", "", open),
            of("CVE-4", "shop", "1", open),
            // Every version has it, whichever it is.
            of("CVE-5", "shop", "", Status::Affected),
        ];
        let text =
            "ignore:\n- {id: unknown-version, package: shop, reason: r, expires: 2026-12-31}\n";
        let entries = parse(text, "i").unwrap();
        let applied = apply(&mut findings, &entries, Timestamp::from_nanos(1), None);
        assert_eq!(applied.n_ignored, 2);
        let left: Vec<String> = findings.iter().flat_map(names_of).collect();
        assert_eq!(left, ["cve-3", "unknown-version", "cve-4", "cve-5"]);
    }

    #[test]
    fn an_expired_entry_hides_nothing_and_is_counted() {
        let check = |id: &str| {
            Finding::Configuration(Misconfiguration {
                check: id.into(),
                title: String::new(),
                fix: String::new(),
                severity: Severity::Low,
                ..Misconfiguration::default()
            })
        };
        let entry = |id: &str, expires| Ignore {
            id: id.into(),
            package: None,
            reason: "r".into(),
            expires: Some(Timestamp::from_nanos(expires)),
            by: SuppressedBy::Ignore,
            products: vec![],
        };
        let mut findings = vec![check("a"), check("b"), check("c")];
        let ignores = [entry("a", 200), entry("b", 50), entry("z", 50)];
        let applied = apply(&mut findings, &ignores, Timestamp::from_nanos(100), None);
        assert_eq!((applied.n_ignored, applied.n_expired), (1, 1));
        assert_eq!(applied.suppressed.len(), 1);
        assert_eq!(applied.suppressed[0].reason, "r");
        assert_eq!(findings, [check("b"), check("c")]);
    }
}
