//! May an image with these findings run?
//!
//! Each demand of the gate is answered by itself: met, refused, or not answerable. A demand
//! about vulnerabilities can only be answered where the database could judge the image's
//! packages and compare their versions with the advisories that would count, and where nothing
//! that was found had to be dropped; else the answer is [`GateVerdict::NotEvaluated`], which callers must treat as a failure, never
//! as a pass. What a demand leaves out by design (files over a bound, vulnerabilities that no
//! feed rates) is in its notes.

mod baseline;

use std::collections::BTreeMap;

use palisade_base::Timestamp;
use palisade_model::finding::{FeedTime, Incomparable, LicenceVerdict, ScanReport, Vulnerability};
use palisade_model::judgement::{GateResult, GateRule, GateVerdict};
use palisade_model::package::PackageKind;
use palisade_model::{Finding, Severity};
use palisade_policy::Gate;

pub use baseline::Known;

use crate::ecosystem;
use crate::minimality::Lifecycles;

/// What the gate says, for those who need no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateDecision {
    /// Nothing that the policy forbids was found, and everything was looked at.
    Pass,
    /// The policy forbids this.
    Refuse {
        /// Why, one sentence each; never empty.
        reasons: Vec<String>,
    },
    /// The question could not be answered.
    NotEvaluated {
        /// Why, one sentence each; never empty.
        why: Vec<String>,
    },
}

impl From<&GateResult> for GateDecision {
    fn from(result: &GateResult) -> Self {
        let mut reasons: Vec<String> = Vec::new();
        for reason in result.reasons(result.verdict) {
            // Demands share what stands in their way.
            if !reasons.iter().any(|known| known == reason) {
                reasons.push(reason.to_string());
            }
        }
        match result.verdict {
            GateVerdict::Passed => Self::Pass,
            GateVerdict::Refused => Self::Refuse { reasons },
            GateVerdict::NotEvaluated => Self::NotEvaluated { why: reasons },
        }
    }
}

/// A key may be younger than this machine's clock says by this much.
const CLOCK_SKEW_SECONDS_MAX: u64 = 86_400;
/// The ecosystem of programs outside packages. They have no feed, whatever the database: a demand
/// that nobody could ever meet would shut out every image with a program built from source. They
/// are listed as not judged, and noted.
const OUTSIDE: &str = PackageKind::Binary.purl_type();
/// Identifiers named in one reason; the rest is a number.
const NAMED_MAX: usize = 5;

/// Judges `report` by `gate`.
pub fn evaluate(report: &ScanReport, gate: &Gate, now: Timestamp) -> GateDecision {
    GateDecision::from(&judge(report, gate, None, now))
}

/// Judges `report` by each demand of `gate`. A refusal outweighs what could not be answered:
/// what was found is enough.
///
/// With `known`, only what is not in that earlier report counts.
///
/// A severity threshold never counts vulnerabilities of unknown severity, because feeds that
/// rate nothing would refuse every image; they are in the report all the same. Nor does the
/// demand for no secrets count those of low severity: samples, test data, wrong checksums.
pub fn judge(
    report: &ScanReport,
    gate: &Gate,
    known: Option<&Known>,
    now: Timestamp,
) -> GateResult {
    let is_new = |finding: &Finding| known.is_none_or(|known| !known.has(finding));
    let findings: Vec<&Finding> = report.findings.iter().filter(|f| is_new(f)).collect();
    let judge =
        Judge { report, gate, now, new: if known.is_some() { "new " } else { "" }, findings };
    let rules: Vec<GateRule> = [
        judge.severity(),
        judge.epss(),
        judge.known_exploited(),
        judge.secrets(),
        judge.malware(),
        judge.licences(),
        judge.other(),
        judge.end_of_life(),
        judge.database_age(),
        judge.database_key_age(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let any = |verdict| rules.iter().any(|rule| rule.verdict == verdict);
    let verdict = if any(GateVerdict::Refused) {
        GateVerdict::Refused
    } else if any(GateVerdict::NotEvaluated) {
        GateVerdict::NotEvaluated
    } else {
        GateVerdict::Passed
    };
    GateResult { verdict, rules, baseline: known.map(|known| known.compare(report)) }
}

struct Judge<'a> {
    report: &'a ScanReport,
    gate: &'a Gate,
    now: Timestamp,
    /// `new ` where there is a baseline.
    new: &'static str,
    /// The findings that count.
    findings: Vec<&'a Finding>,
}

/// The answer to one demand: what refuses it, and what stands in the way of an answer.
fn rule(name: &str, demand: String, refusals: Vec<String>, obstacles: Vec<String>) -> GateRule {
    noted(name, demand, refusals, obstacles, Vec::new())
}

/// As [`rule`], with what the answer leaves out by design.
fn noted(
    name: &str,
    demand: String,
    refusals: Vec<String>,
    obstacles: Vec<String>,
    notes: Vec<String>,
) -> GateRule {
    let (verdict, reasons) = if !refusals.is_empty() {
        (GateVerdict::Refused, refusals)
    } else if !obstacles.is_empty() {
        (GateVerdict::NotEvaluated, obstacles)
    } else {
        (GateVerdict::Passed, Vec::new())
    };
    GateRule { rule: name.to_string(), demand, verdict, reasons, notes }
}

impl<'a> Judge<'a> {
    fn vulnerabilities(&self) -> impl Iterator<Item = &'a Vulnerability> {
        self.findings.iter().filter_map(|finding| match finding {
            Finding::Vulnerability(v) => Some(v),
            _ => None,
        })
    }

    fn ids(&self, counts: impl Fn(&Vulnerability) -> bool) -> Vec<&'a str> {
        let is_left = |v: &&Vulnerability| !(self.gate.skip_absent_symbols && v.is_absent());
        let counted = self.vulnerabilities().filter(is_left).filter(|v| counts(v));
        counted.map(|v| v.id.as_str()).collect()
    }

    fn with_code(&self) -> &'static str {
        if self.gate.skip_absent_symbols { ", unless its code is known to be absent" } else { "" }
    }

    fn with_fix(&self) -> &'static str {
        if self.gate.fixed_only { " with a fixed version" } else { "" }
    }

    fn severity(&self) -> Option<GateRule> {
        let threshold = self.gate.severity?;
        let bad = |s: Severity| s >= threshold && (s != Severity::Unknown || threshold == s);
        let fixable = |v: &Vulnerability| !self.gate.fixed_only || v.fixed.is_some();
        let ids = self.ids(|v| bad(v.severity) && fixable(v));
        let what = format!("rated {threshold} or worse{}", self.with_fix());
        let refusals = sentence(&ids, self.new, &what).into_iter().collect();
        let demand = format!("no {}vulnerability {what}{}", self.new, self.with_code());
        let mut notes = self.vulnerability_notes();
        let unrated = self.ids(|v| v.severity == Severity::Unknown && fixable(v));
        if threshold != Severity::Unknown && !unrated.is_empty() {
            let noun = if unrated.len() == 1 { "vulnerability" } else { "vulnerabilities" };
            let n = unrated.len();
            notes.push(format!("{n} {}{noun} that no feed rates did not count", self.new));
        }
        let mut obstacles = self.vulnerability_obstacles();
        let counts =
            |one: &Incomparable| bad(one.severity) && (!self.gate.fixed_only || one.has_fix);
        self.add_incomparable(counts, &mut obstacles, &mut notes);
        Some(noted("severity", demand, refusals, obstacles, notes))
    }

    fn epss(&self) -> Option<GateRule> {
        let ppm = self.gate.epss_ppm?;
        let percent = f64::from(ppm) / 10_000.0;
        let fixable = |v: &Vulnerability| !self.gate.fixed_only || v.fixed.is_some();
        let bad = |v: &Vulnerability| v.epss.is_some_and(|epss| epss * 1e6 >= f64::from(ppm));
        let ids = self.ids(|v| bad(v) && fixable(v));
        let what = format!("with an EPSS of {percent} % or more{}", self.with_fix());
        let refusals = sentence(&ids, self.new, &what).into_iter().collect();
        let mut obstacles = self.vulnerability_obstacles();
        obstacles.extend(self.lacks_feed(crate::feeds::epss::FEED, "EPSS scores"));
        let demand = format!("no {}vulnerability {what}{}", self.new, self.with_code());
        let mut notes = self.vulnerability_notes();
        let counts = |one: &Incomparable| {
            one.epss.is_some_and(|epss| epss * 1e6 >= f64::from(ppm))
                && (!self.gate.fixed_only || one.has_fix)
        };
        self.add_incomparable(counts, &mut obstacles, &mut notes);
        Some(noted("epss_percent", demand, refusals, obstacles, notes))
    }

    fn known_exploited(&self) -> Option<GateRule> {
        if !self.gate.known_exploited {
            return None;
        }
        let what = "known to be exploited";
        let ids = self.ids(|v| v.known_exploited);
        let refusals = sentence(&ids, self.new, what).into_iter().collect();
        let mut obstacles = self.vulnerability_obstacles();
        obstacles
            .extend(self.lacks_feed(crate::feeds::kev::FEED, "list of exploited vulnerabilities"));
        let demand = format!("no {}vulnerability {what}{}", self.new, self.with_code());
        let mut notes = self.vulnerability_notes();
        self.add_incomparable(|one| one.known_exploited, &mut obstacles, &mut notes);
        Some(noted("known_exploited", demand, refusals, obstacles, notes))
    }

    fn secrets(&self) -> Option<GateRule> {
        if !self.gate.secrets {
            return None;
        }
        let is_secret =
            |f: &&&Finding| matches!(f, Finding::Secret(s) if s.severity > Severity::Low);
        let n = self.findings.iter().filter(is_secret).count();
        let noun = if n == 1 { "secret" } else { "secrets" };
        let refusals =
            if n > 0 { vec![format!("{n} {}{noun} in the image", self.new)] } else { Vec::new() };
        let mut obstacles = self.gaps();
        if self.report.coverage.is_of_document {
            obstacles.push("a bill of materials shows no secrets".into());
        } else if self.report.coverage.n_files_searched == 0 && self.report.inventory.n_files > 0 {
            obstacles.push("no file was searched for secrets".into());
        }
        let coverage = &self.report.coverage;
        obstacles.extend(dropped(coverage.dropped.secrets, "secrets"));
        let notes = unseen(coverage.n_files_large, "were too large to search for secrets");
        let demand = format!("no {}secret in the image", self.new);
        Some(noted("secrets", demand, refusals, obstacles, notes.into_iter().collect()))
    }

    fn malware(&self) -> Option<GateRule> {
        if !self.gate.malware {
            return None;
        }
        let is_malware =
            |f: &&&Finding| matches!(f, Finding::Malware(m) if m.severity > Severity::Low);
        let n = self.findings.iter().filter(is_malware).count();
        let noun = if n == 1 { "sign" } else { "signs" };
        let text = || format!("{n} {}{noun} of malware in the image", self.new);
        let refusals = (n > 0).then(text).into_iter().collect();
        let mut obstacles = self.gaps();
        if self.report.coverage.is_of_document {
            obstacles.push("a bill of materials shows no malware".into());
        } else if self.report.coverage.n_files_malware == 0 && self.report.inventory.n_files > 0 {
            obstacles.push("no file was examined for malware".into());
        }
        let coverage = &self.report.coverage;
        obstacles.extend(dropped(coverage.dropped.malware, "signs of malware"));
        let n_skipped = coverage.n_files_malware_skipped;
        let notes = unseen(n_skipped, "were not examined for malware (size, time, depth)");
        let demand = format!("no {}sign of malware in the image", self.new);
        Some(noted("malware", demand, refusals, obstacles, notes.into_iter().collect()))
    }

    fn licences(&self) -> Option<GateRule> {
        if !self.gate.licences {
            return None;
        }
        let is_denied =
            |f: &&&Finding| matches!(f, Finding::Licence(l) if l.verdict == LicenceVerdict::Denied);
        let n = self.findings.iter().filter(is_denied).count();
        let noun = if n == 1 { "package" } else { "packages" };
        let text = || format!("{n} {}{noun} under licences that the policy denies", self.new);
        let refusals = (n > 0).then(text).into_iter().collect();
        let mut obstacles = self.gaps();
        let coverage = &self.report.coverage;
        let n_judged = coverage.n_licences_judged + coverage.n_licences_unknown;
        if n_judged == 0 && !self.report.inventory.packages.is_empty() {
            obstacles.push("no licence was judged: the policy has no `scan.licences`".into());
        }
        let demand = format!("no {}package under a licence that the policy denies", self.new);
        Some(rule("licences", demand, refusals, obstacles))
    }

    fn other(&self) -> Option<GateRule> {
        let threshold = self.gate.other_severity?;
        let others = self.findings.iter().filter(|finding| {
            !matches!(finding, Finding::Vulnerability(_) | Finding::Secret(_))
                && finding.severity() >= threshold
        });
        let mut names: Vec<String> =
            others.map(|finding| crate::report::item::describe(finding).rule).collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        let what = format!("rated {threshold} or worse");
        let refusals = if n > 0 {
            let noun = if n == 1 { "other finding" } else { "other findings" };
            vec![format!("{n} {}{noun} {what}: {}", self.new, some_of(&names))]
        } else {
            Vec::new()
        };
        let mut obstacles = self.gaps();
        if self.report.coverage.is_of_document {
            obstacles.push("a bill of materials shows neither files nor settings".into());
        }
        let kinds = self.report.coverage.dropped;
        obstacles.extend(dropped(kinds.files, "dangerous files"));
        obstacles.extend(dropped(kinds.malware, "signs of malware"));
        let demand = format!(
            "no {}dangerous file, malware, licence, weak setting or the like {what}",
            self.new
        );
        Some(rule("other_severity", demand, refusals, obstacles))
    }

    fn end_of_life(&self) -> Option<GateRule> {
        if !self.gate.end_of_life {
            return None;
        }
        let dates = &self.gate.end_of_life_dates;
        let table = Lifecycles::builtin().with(dates);
        let found = table.of_inventory(&self.report.inventory, self.now);
        let over = found.known.iter().filter(|one| one.is_over);
        let refusals = over
            .map(|one| format!("{} {} got its last fixes on {}", one.product, one.release, one.end))
            .collect();
        let mut obstacles = Vec::new();
        if self.report.inventory.distribution.is_none() {
            obstacles.push("the image does not say which distribution it is".into());
        }
        obstacles.extend(found.unknown.iter().map(|name| {
            format!(
                "the end of `{name}` is not known; say it in `images.gate.end_of_life_dates` of \
                 the policy"
            )
        }));
        let demand = "no distribution or run-time that gets no fixes any more".to_string();
        Some(rule("end_of_life", demand, refusals, obstacles))
    }

    fn database_age(&self) -> Option<GateRule> {
        let days_max = self.gate.database_age_days_max?;
        let (mut refusals, mut obstacles) = (Vec::new(), self.vulnerability_obstacles());
        if let Some(database) = &self.report.database {
            // Lists that other demands rest on age as well.
            let lists = [
                (self.gate.known_exploited, crate::feeds::kev::FEED),
                (self.gate.epss_ppm.is_some(), crate::feeds::epss::FEED),
            ];
            let is_asked = |feed: &&FeedTime| lists.contains(&(true, feed.name.as_str()));
            let asked = database.times.iter().filter(is_asked);
            for FeedTime { name, time, .. } in database.oldest.iter().chain(asked) {
                match time.map(|time| self.now.since(time).as_secs() / 86_400) {
                    None => obstacles.push(format!("how old the feed {name} is is not known")),
                    Some(days) if days > u64::from(days_max) => refusals.push(format!(
                        "the feed {name} is {days} days old, the policy allows {days_max}"
                    )),
                    Some(_) => {}
                }
            }
            let days = self.now.since(database.built).as_secs() / 86_400;
            if database.oldest.is_none() && days > u64::from(days_max) {
                refusals.push(format!(
                    "the newest advisory is {days} days old, the policy allows {days_max}"
                ));
            }
        }
        let demand = format!("advisories not older than {days_max} days");
        Some(rule("database_age_days_max", demand, refusals, obstacles))
    }

    fn database_key_age(&self) -> Option<GateRule> {
        let days_max = self.gate.database_key_age_days_max?;
        let (mut refusals, mut obstacles) = (Vec::new(), self.vulnerability_obstacles());
        match self.report.database.as_ref().map(|database| database.key_created) {
            // Without a database the obstacles say so.
            None => {}
            Some(None) => obstacles.push(
                "the database is not proved by a key whose file states when it was made; name \
                 one of `palisade db generate-key` with `--db-key`"
                    .into(),
            ),
            Some(Some(created)) => {
                let days = self.now.since(created).as_secs() / 86_400;
                if days > u64::from(days_max) {
                    refusals.push(format!(
                        "the key that signed the advisory database is {days} days old, the \
                         policy allows {days_max}"
                    ));
                } else if created.since(self.now).as_secs() > CLOCK_SKEW_SECONDS_MAX {
                    obstacles.push(format!(
                        "the key that signed the advisory database says that it is of {created}, \
                         which is yet to come"
                    ));
                }
            }
        }
        let demand = format!("advisories signed by a key not older than {days_max} days");
        Some(rule("database_key_age_days_max", demand, refusals, obstacles))
    }

    /// Why a demand about vulnerabilities that found nothing to refuse cannot be met.
    fn vulnerability_obstacles(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.report.database.is_none() {
            why.push(
                "there is no advisory database, so vulnerabilities were not looked for".into(),
            );
        }
        let coverage = &self.report.coverage;
        let unmatched = coverage.unmatched.iter().filter(|u| u.ecosystem != OUTSIDE);
        why.extend(unmatched.filter(|_| self.report.database.is_some()).map(|u| {
            format!(
                "{} packages of {} could not be judged: {}",
                u.n_packages, u.ecosystem, u.reason
            )
        }));
        why.extend(self.no_packages());
        why.extend(dropped(coverage.dropped.vulnerabilities, "vulnerabilities"));
        why.extend(self.gaps());
        why
    }

    /// An image that says which distribution it is, and of which no package was found: they are
    /// kept in a way that is not read, or somebody removed what says that they are there.
    fn no_packages(&self) -> Option<String> {
        let inventory = &self.report.inventory;
        let distribution = inventory.distribution.as_ref()?;
        let has_any = inventory.packages.iter().any(|package| package.kind.is_of_distribution());
        (!has_any && self.report.database.is_some()).then(|| {
            format!("no package of {} was found, so none could be judged", distribution.name)
        })
    }

    /// Advisories that may mean what is installed, and would meet the demand, stand in the way;
    /// the others are noted. A package whose version is not known is one obstacle, however many
    /// advisories there are of it. Those that were not kept could be the worst.
    fn add_incomparable(
        &self,
        counts: impl Fn(&Incomparable) -> bool,
        obstacles: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) {
        let coverage = &self.report.coverage;
        let n_kept = coverage.incomparable.len() as u64;
        let n_unnamed = coverage.n_incomparable.saturating_sub(n_kept);
        let (counted, others): (Vec<&Incomparable>, Vec<&Incomparable>) =
            coverage.incomparable.iter().partition(|one| counts(one));
        let (unknown, odd): (Vec<&Incomparable>, Vec<&Incomparable>) =
            counted.into_iter().partition(|one| one.installed.is_empty());
        let mut of_package: BTreeMap<&str, u64> = BTreeMap::new();
        for one in unknown {
            *of_package.entry(&one.package).or_default() += 1;
        }
        let advisories = |n: u64| if n == 1 { "advisory" } else { "advisories" };
        let named = |(package, n): (&&str, &u64)| format!("{package} ({n} {})", advisories(*n));
        let packages: Vec<String> = of_package.iter().map(named).collect();
        if !packages.is_empty() {
            let noun = if packages.len() == 1 { "package" } else { "packages" };
            let (n, names) = (packages.len(), some_of(&packages));
            obstacles.push(format!("{n} {noun} could not be judged, of unknown version: {names}"));
        }
        let n = odd.len() as u64 + n_unnamed;
        if n > 0 {
            let named =
                |one: &&Incomparable| format!("{} {} ({})", one.package, one.installed, one.id);
            let mut names: Vec<String> = odd.iter().map(named).collect();
            names.sort_unstable();
            names.dedup();
            let of =
                if names.is_empty() { String::new() } else { format!(": {}", some_of(&names)) };
            let what = "could not be compared with what is installed";
            obstacles.push(format!("{n} {} {what}{of}", advisories(n)));
        }
        let n = others.len() as u64;
        if n > 0 {
            let what = "that could not be compared with what is installed would not count";
            notes.push(format!("{n} {} {what}", advisories(n)));
        }
    }

    /// What every answer about vulnerabilities leaves out.
    fn vulnerability_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let outside = self.report.coverage.unmatched.iter().filter(|u| u.ecosystem == OUTSIDE);
        let n: u64 = outside.map(|u| u.n_packages).sum();
        if n > 0 {
            let noun = if n == 1 { "program" } else { "programs" };
            notes.push(format!("{n} {noun} outside packages could not be judged"));
        }
        if let Some(database) = &self.report.database {
            // What it knows of other ecosystems makes no difference.
            let there = ecosystem::of_inventory(&self.report.inventory);
            let partial = there.iter().filter(|name| database.partial.contains(name));
            notes.extend(partial.map(|name| {
                format!(
                    "the advisory database does not know all of {name}: `palisade db status` says \
                     why"
                )
            }));
        }
        notes
    }

    fn gaps(&self) -> Vec<String> {
        let n = self.report.gaps().len();
        let text = || format!("{n} parts of the image could not be examined");
        (n > 0).then(text).into_iter().collect()
    }

    /// A database without the feed cannot tell, however many advisories it has.
    fn lacks_feed(&self, feed: &str, what: &str) -> Option<String> {
        let database = self.report.database.as_ref()?;
        let has = database.feeds.iter().any(|known| known == feed);
        (!has).then(|| format!("the advisory database has no {what}"))
    }
}

/// What was found beyond a bound and not kept could be the worst.
fn dropped(n: u64, what: &str) -> Option<String> {
    (n > 0).then(|| format!("{n} {what} beyond the bound were dropped"))
}

fn unseen(n: u64, what: &str) -> Option<String> {
    (n > 0).then(|| format!("{n} files {what}"))
}

fn sentence(ids: &[&str], new: &str, what: &str) -> Option<String> {
    let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.sort_unstable();
    ids.dedup();
    let n = ids.len();
    let noun = if n == 1 { "vulnerability" } else { "vulnerabilities" };
    (n > 0).then(|| format!("{n} {new}{noun} {what}: {}", some_of(&ids)))
}

/// The first few of `names`, and how many more there are.
fn some_of(names: &[String]) -> String {
    let named = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => named,
        n => format!("{named} and {n} more"),
    }
}

#[cfg(test)]
mod tests;
