//! Licences of packages, judged by a policy.
//!
//! What a package states is brought into the form of SPDX expressions where it can be
//! ([`names`]): distributions and languages have names of their own. An expression is then
//! evaluated: of alternatives (`OR`) the best counts, of demands (`AND`) the worst. Several
//! statements of one package are demands. What cannot be read is unknown, never allowed.

pub mod names;

use std::collections::HashMap;

use palisade_base::Timestamp;
use palisade_model::finding::{LicenceFinding, LicenceVerdict};
use palisade_model::judgement::{Suppressed, SuppressedBy};
use palisade_model::{Finding, Package, Severity};
use spdx::expression::{ExprNode, Operator};
use spdx::{Expression, LicenseItem};

/// Findings beyond this number are dropped.
pub const FINDINGS_MAX: usize = 20_000;
/// Findings that an exception allows are listed up to this number, and counted.
pub const SUPPRESSED_MAX: usize = crate::ignore::SUPPRESSED_MAX;
/// Statements beyond this many bytes are not parsed.
const STATEMENT_BYTES_MAX: usize = 4_096;

/// What licences packages may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LicencePolicy {
    /// Licences that are allowed; none but these where any are named. `*` is any text.
    pub allow: Vec<String>,
    /// Licences that are denied.
    pub deny: Vec<String>,
    /// Licences that a person should look at.
    pub review: Vec<String>,
    /// What is said of packages whose licence is not known.
    pub unknown: Unknown,
    /// Packages that may have them all the same.
    pub exceptions: Vec<Exception>,
}

/// What is said of packages whose licence is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// They are listed as unknown.
    #[default]
    Report,
    /// They are counted.
    Count,
    /// They are denied.
    Deny,
}

/// A package that may have a licence that others may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Name of the package; `*` is any text.
    pub package: String,
    /// The licence; whichever it has without.
    pub licence: Option<String>,
    /// Why it may.
    pub reason: String,
    /// From when on it no longer holds.
    pub expires: Option<Timestamp>,
}

/// What judging all packages gave.
#[derive(Debug, Default)]
pub struct Judged {
    /// What is not simply allowed.
    pub findings: Vec<LicenceFinding>,
    /// What an exception allows, with its reason; at most [`SUPPRESSED_MAX`].
    pub suppressed: Vec<Suppressed>,
    /// Packages that an exception allows.
    pub n_excepted: u64,
    /// Packages with a licence that could be judged.
    pub n_judged: u64,
    /// Packages without.
    pub n_unknown: u64,
}

/// The word for a verdict in reports.
pub fn verdict_name(verdict: LicenceVerdict) -> &'static str {
    match verdict {
        LicenceVerdict::Denied => "denied",
        LicenceVerdict::Review => "review",
        _ => "unknown",
    }
}

/// The order is by badness.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Allowed,
    Review(String),
    Unknown(String),
    Denied(String),
}

/// Judges the licences of `packages`.
pub fn judge(packages: &[Package], policy: &LicencePolicy, now: Timestamp) -> Judged {
    let mut judged = Judged::default();
    let mut known: HashMap<&[String], (String, Standing)> = HashMap::new();
    for package in packages {
        let (licence, standing) = known
            .entry(package.licences.as_slice())
            .or_insert_with(|| standing_of(&package.licences, policy));
        if matches!(standing, Standing::Unknown(_)) {
            judged.n_unknown += 1;
        } else {
            judged.n_judged += 1;
        }
        let (verdict, severity, reason) = match standing {
            Standing::Allowed => continue,
            Standing::Review(why) => (LicenceVerdict::Review, Severity::Low, why),
            Standing::Denied(why) => (LicenceVerdict::Denied, Severity::High, why),
            Standing::Unknown(why) => match policy.unknown {
                Unknown::Count => continue,
                Unknown::Report => (LicenceVerdict::Unknown, Severity::Unknown, why),
                Unknown::Deny => (LicenceVerdict::Denied, Severity::High, why),
            },
        };
        let mut finding = LicenceFinding {
            package: package.name.clone(),
            purl: package.purl.clone(),
            version: package.version.clone(),
            licence: licence.clone(),
            verdict,
            reason: reason.clone(),
            severity,
        };
        match exception(policy, package, licence, now) {
            Excepted::By(entry) => {
                judged.n_excepted += 1;
                if judged.suppressed.len() < SUPPRESSED_MAX {
                    judged.suppressed.push(Suppressed {
                        finding: Finding::Licence(finding),
                        by: SuppressedBy::Policy,
                        reason: entry.reason.clone(),
                        expires: entry.expires,
                    });
                }
                continue;
            }
            Excepted::Expired => finding.reason.push_str("; its exception has expired"),
            Excepted::No => {}
        }
        if judged.findings.len() < FINDINGS_MAX {
            judged.findings.push(finding);
        }
    }
    judged
}

enum Excepted<'p> {
    By(&'p Exception),
    Expired,
    No,
}

fn exception<'p>(
    policy: &'p LicencePolicy,
    package: &Package,
    licence: &str,
    now: Timestamp,
) -> Excepted<'p> {
    let mut answer = Excepted::No;
    for entry in &policy.exceptions {
        let about = matches(&entry.package, &package.name)
            && entry.licence.as_ref().is_none_or(|wanted| {
                matches(wanted, licence) || licence.split_whitespace().any(|id| matches(wanted, id))
            });
        if about && entry.expires.is_none_or(|expires| expires > now) {
            return Excepted::By(entry);
        }
        if about {
            answer = Excepted::Expired;
        }
    }
    answer
}

/// What the package states as one expression, and how it stands.
fn standing_of(statements: &[String], policy: &LicencePolicy) -> (String, Standing) {
    if statements.is_empty() {
        return (String::new(), Standing::Unknown("the package states no licence".into()));
    }
    let mut worst = Standing::Allowed;
    let mut texts = Vec::with_capacity(statements.len());
    for statement in statements {
        let (text, standing) = statement_standing(statement, policy);
        worst = worst.max(standing);
        texts.push(text);
    }
    texts.dedup();
    let is_compound = |text: &String| text.contains(" OR ") && statements.len() > 1;
    let parts: Vec<String> = texts
        .iter()
        .map(|text| if is_compound(text) { format!("({text})") } else { text.clone() })
        .collect();
    (parts.join(" AND "), worst)
}

fn statement_standing(statement: &str, policy: &LicencePolicy) -> (String, Standing) {
    let shown: String = statement.chars().take(120).collect();
    if statement.len() > STATEMENT_BYTES_MAX {
        return (shown, Standing::Unknown("the licence is a text, not a name".into()));
    }
    let expression = names::expression(statement);
    if let Ok(parsed) = Expression::parse_mode(&expression, spdx::ParseMode::LAX) {
        let standing = evaluate(&parsed, policy);
        return (expression, standing);
    }
    // A policy may name what SPDX does not.
    let is_named =
        [&policy.deny, &policy.review, &policy.allow].iter().any(|list| names_any(list, &shown));
    let standing = if is_named {
        leaf(&shown, policy)
    } else {
        Standing::Unknown(format!("`{shown}` is no name of SPDX"))
    };
    (shown, standing)
}

fn names_any(list: &[String], name: &str) -> bool {
    list.iter().any(|entry| matches(entry, name))
}

/// The expression stands in postfix form.
fn evaluate(expression: &Expression, policy: &LicencePolicy) -> Standing {
    let mut stack: Vec<Standing> = Vec::new();
    for node in expression.iter() {
        match node {
            ExprNode::Req(required) => {
                let name = match &required.req.license {
                    // LAX accepts names without their ending.
                    LicenseItem::Spdx { id, or_later } => {
                        let is_plain =
                            !id.name.ends_with("-only") && !id.name.ends_with("-or-later");
                        let more = if *or_later && is_plain { "+" } else { "" };
                        format!("{}{more}", id.name)
                    }
                    LicenseItem::Other(other) => other.to_string(),
                };
                let standing = if name.starts_with("LicenseRef-unknown") {
                    Standing::Unknown("the licence has no name".into())
                } else {
                    leaf(&name, policy)
                };
                stack.push(standing);
            }
            ExprNode::Op(operator) => {
                let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else {
                    return Standing::Unknown("the expression is incomplete".into());
                };
                stack.push(match operator {
                    Operator::And => left.max(right),
                    Operator::Or => left.min(right),
                });
            }
        }
    }
    stack.pop().unwrap_or_else(|| Standing::Unknown("the expression is empty".into()))
}

fn leaf(name: &str, policy: &LicencePolicy) -> Standing {
    let listed = |list: &[String]| list.iter().find(|entry| matches(entry, name)).cloned();
    if let Some(entry) = listed(&policy.deny) {
        return Standing::Denied(format!("the policy denies {}", quoted(&entry, name)));
    }
    if let Some(entry) = listed(&policy.review) {
        return Standing::Review(format!("the policy wants a look at {}", quoted(&entry, name)));
    }
    if policy.allow.is_empty() || listed(&policy.allow).is_some() {
        return Standing::Allowed;
    }
    Standing::Denied(format!("`{name}` is not among the licences that the policy allows"))
}

fn quoted(entry: &str, name: &str) -> String {
    if entry == name { format!("`{name}`") } else { format!("`{name}` (by `{entry}`)") }
}

/// Whether `name` is what `pattern` says, in any case, with `*` for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_model::PackageKind;

    fn package(name: &str, licences: &[&str]) -> Package {
        Package {
            licences: licences.iter().map(ToString::to_string).collect(),
            ..Package::new(PackageKind::Dpkg, name, "1", "/x")
        }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

    fn verdict(policy: &LicencePolicy, licences: &[&str]) -> String {
        let judged = judge(&[package("p", licences)], policy, NOW);
        judged.findings.first().map_or("allowed".into(), |f| {
            format!("{} {}: {}", verdict_name(f.verdict), f.licence, f.reason)
        })
    }

    #[test]
    fn expressions_are_evaluated_not_compared() {
        let policy = LicencePolicy {
            deny: list(&["AGPL-*", "GPL-3.0-only"]),
            review: list(&["GPL-2.0-or-later"]),
            allow: list(&["MIT", "BSD-*", "Apache-2.0", "GPL-*"]),
            ..LicencePolicy::default()
        };
        let check = |licences: &[&str], expected: &str| {
            let found = verdict(&policy, licences);
            assert!(found.starts_with(expected), "{licences:?}: {found}");
        };
        check(&["MIT"], "allowed");
        check(&["mit"], "allowed");
        check(&["MIT AND BSD-3-Clause"], "allowed");
        check(
            &["MIT AND AGPL-3.0-only"],
            "denied MIT AND AGPL-3.0-only: the policy denies `AGPL-3.0-only` (by `AGPL-*`)",
        );
        // Of alternatives the best counts.
        check(&["MIT OR AGPL-3.0-only"], "allowed");
        check(&["(MIT OR AGPL-3.0-only) AND GPL-3.0-only"], "denied");
        check(&["GPL-2.0-or-later"], "review");
        check(&["GPL-2.0-or-later WITH Classpath-exception-2.0"], "review");
        check(&["ISC"], "denied ISC: `ISC` is not among");
        // Several statements are demands.
        check(&["MIT", "AGPL-3.0-or-later"], "denied MIT AND AGPL-3.0-or-later");
        check(&["MIT", "ISC OR Apache-2.0"], "allowed");
        // The distribution's names.
        check(&["Expat"], "allowed");
        check(&["GPL-2+"], "review GPL-2.0-or-later");
        check(&["GPL-2+ or Expat"], "allowed");
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let policy = LicencePolicy { deny: list(&["AGPL-*"]), ..LicencePolicy::default() };
        assert!(verdict(&policy, &[]).starts_with("unknown : the package states no licence"));
        assert!(verdict(&policy, &["See LICENSE for what holds"]).starts_with("unknown"));
        assert!(verdict(&policy, &["MIT", "who knows what this is"]).starts_with("unknown"));
        // Denied outweighs unknown.
        assert!(verdict(&policy, &["AGPL-3.0-only", "who knows"]).starts_with("denied"));
        let deny = LicencePolicy { unknown: Unknown::Deny, ..policy.clone() };
        assert!(verdict(&deny, &[]).starts_with("denied"));
        let count = LicencePolicy { unknown: Unknown::Count, ..policy };
        let judged = judge(&[package("p", &[])], &count, NOW);
        assert_eq!((judged.findings.len(), judged.n_unknown, judged.n_judged), (0, 1, 0));
        let long = "x ".repeat(STATEMENT_BYTES_MAX);
        assert!(verdict(&deny, &[&long]).starts_with("denied"));
    }

    #[test]
    fn exceptions_hold_until_they_expire() {
        let at = |nanos| Some(Timestamp::from_nanos(nanos));
        let with = |expires| LicencePolicy {
            deny: list(&["GPL-*"]),
            exceptions: vec![Exception {
                package: "gho*".into(),
                licence: Some("GPL-3.0-only".into()),
                reason: "run as a program of its own".into(),
                expires,
            }],
            ..LicencePolicy::default()
        };
        let reasons = |policy: &LicencePolicy, name: &str, licence: &str| -> Vec<String> {
            let judged = judge(&[package(name, &[licence])], policy, NOW);
            judged.findings.into_iter().map(|f| f.reason).collect()
        };
        assert!(reasons(&with(None), "ghost", "GPL-3.0-only").is_empty());
        // What is allowed all the same is there, with the reason.
        let judged = judge(&[package("ghost", &["GPL-3.0-only"])], &with(None), NOW);
        assert_eq!((judged.suppressed.len(), judged.n_excepted), (1, 1));
        let set_aside = &judged.suppressed[0];
        assert_eq!(
            (set_aside.by, set_aside.reason.as_str()),
            (SuppressedBy::Policy, "run as a program of its own")
        );
        assert!(
            matches!(&set_aside.finding, Finding::Licence(l) if l.verdict == LicenceVerdict::Denied)
        );
        assert!(reasons(&with(at(NOW.as_nanos() + 1)), "ghost", "GPL-3.0-only").is_empty());
        assert_eq!(reasons(&with(None), "other", "GPL-3.0-only").len(), 1);
        assert_eq!(reasons(&with(None), "ghost", "GPL-2.0-only").len(), 1);
        let expired = reasons(&with(at(1)), "ghost", "GPL-3.0-only");
        assert!(expired[0].ends_with("its exception has expired"), "{expired:?}");
    }

    #[test]
    fn patterns_have_stars() {
        for (pattern, name, expected) in [
            ("MIT", "mit", true),
            ("MIT", "MIT-0", false),
            ("BSD-*", "BSD-3-Clause", true),
            ("*-only", "GPL-2.0-only", true),
            ("GPL-*-only", "GPL-2.0-only", true),
            ("GPL-*-only", "GPL-2.0-or-later", false),
            ("*", "", true),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "axcxb", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
