//! One HTML file: no resource from elsewhere, readable without script, printable.
//!
//! A content security policy allows the page's own style and script by their digests and
//! nothing else, so that even a mistake in the escaping (which askama does) runs nothing. The
//! script sorts tables and filters rows; without it they are sorted worst first.

use askama::Template;
use base64::Engine as _;
use palisade_base::Digest;
use palisade_model::finding::{ScanReport, Vulnerability};
use palisade_model::judgement::GateVerdict;
use palisade_model::minimality::Certainty;
use palisade_model::symbols::SymbolCheck;
use palisade_model::{Finding, Severity};

use super::item::{self, Item};
use super::printable;
use super::table::{self, upgrades};

/// Rows of one table; the rest is a number.
pub const ROWS_MAX: usize = 5_000;

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    style: &'static str,
    style_digest: String,
    script: &'static str,
    script_digest: String,
    version: &'a str,
    name: String,
    digest: String,
    platform: String,
    system: String,
    time: String,
    database: String,
    summary: String,
    figures: Vec<(String, String, &'static str)>,
    gate: Option<GateView>,
    upgrades: Vec<UpgradeView>,
    vulnerabilities: Rows<VulnerabilityView>,
    sections: Vec<(String, Rows<ItemView>)>,
    suppressed: Rows<SuppressedView>,
    n_suppressed: u64,
    blind_spots: Rows<String>,
    minimality: Option<MinimalityView>,
    packages: Rows<PackageView>,
}

/// Rows with the number of those that had no room.
struct Rows<T> {
    shown: Vec<T>,
    n_more: usize,
}

impl<T> Rows<T> {
    fn of(rows: impl Iterator<Item = T>) -> Self {
        let mut rows = rows;
        let shown: Vec<T> = rows.by_ref().take(ROWS_MAX).collect();
        Self { shown, n_more: rows.count() }
    }

    fn n(&self) -> usize {
        self.shown.len() + self.n_more
    }
}

struct GateView {
    class: &'static str,
    verdict: &'static str,
    rules: Vec<(&'static str, &'static str, String, String)>,
    baseline: String,
}

struct UpgradeView {
    name: String,
    installed: String,
    fixed: String,
    packages: String,
    class: &'static str,
    rank: usize,
    counts: String,
    members: Vec<(&'static str, String, String, String)>,
}

struct VulnerabilityView {
    severity: &'static str,
    rank: usize,
    id: String,
    url: String,
    package: String,
    installed: String,
    fixed: String,
    epss: String,
    is_exploited: bool,
    title: String,
    /// `code absent`, and what that means; empty where nothing was asked.
    code: &'static str,
    code_detail: String,
}

struct ItemView {
    severity: &'static str,
    rank: usize,
    rule: String,
    place: String,
    message: String,
    help: String,
}

struct SuppressedView {
    rule: String,
    place: String,
    by: &'static str,
    reason: String,
    until: String,
}

struct PackageView {
    kind: String,
    name: String,
    version: String,
    licences: String,
    evidence: String,
}

struct MinimalityView {
    score: u32,
    parts: Vec<(String, u64, u32, u32, String)>,
    base: String,
    lifecycles: Vec<(String, String, String, &'static str)>,
    lifecycles_as_of: String,
    unknown: String,
    need: String,
    unneeded: String,
    doubts: Vec<String>,
    proposals: Vec<(String, String, String, String)>,
}

/// Renders `report`; `version` is the product's.
///
/// # Errors
///
/// None in practice.
pub fn render(report: &ScanReport, version: &str) -> Result<String, askama::Error> {
    let subject = &report.inventory.subject;
    let system = report.inventory.distribution.as_ref();
    Page {
        style: STYLE,
        style_digest: digest(STYLE),
        script: SCRIPT,
        script_digest: digest(SCRIPT),
        version,
        name: clean(&subject.name),
        digest: subject.digest.map(|digest| digest.to_string()).unwrap_or_default(),
        platform: clean(subject.platform.as_deref().unwrap_or_default()),
        system: system.map_or("no distribution recognised".into(), |found| clean(&found.name)),
        time: minute(&report.time.rfc3339()),
        database: match &report.database {
            Some(database) => format!(
                "{} {}",
                database.n_records,
                clean(&item::advisories(database, report.time))
            ),
            None => "no advisory database: vulnerabilities were not looked for".into(),
        },
        summary: clean(&table::summary(report, 0)),
        figures: figures(report),
        gate: gate(report),
        upgrades: upgrades(table::vulnerabilities(report)).iter().map(upgrade).collect(),
        vulnerabilities: Rows::of(table::vulnerabilities(report).map(vulnerability)),
        sections: sections(report),
        suppressed: Rows::of(report.suppressed.iter().map(|suppressed| {
            let item = item::describe(&suppressed.finding);
            SuppressedView {
                place: clean(&item.place()),
                rule: clean(&item.rule),
                by: suppressed.by.as_str(),
                reason: clean(&suppressed.reason),
                until: suppressed.expires.map(|time| day(&time.rfc3339())).unwrap_or_default(),
            }
        })),
        n_suppressed: report.n_ignored,
        blind_spots: Rows::of(item::blind_spots(report).into_iter().map(|spot| clean(&spot))),
        minimality: minimality(report),
        packages: Rows::of(report.inventory.packages.iter().map(|package| PackageView {
            kind: package.kind.to_string(),
            name: clean(&package.name),
            version: clean(&package.version),
            licences: clean(&package.licences.join(", ")),
            evidence: clean(&package.evidence),
        })),
    }
    .render()
}

/// What a content security policy wants: the SHA-256 in base64.
fn digest(text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest.as_bytes())
}

fn clean(text: &str) -> String {
    printable(text).into_owned()
}

fn day(time: &str) -> String {
    time.chars().take(10).collect()
}

fn minute(time: &str) -> String {
    format!("{} UTC", time.chars().take(16).collect::<String>().replace('T', " "))
}

/// The place of a severity in the order, the worst first.
fn rank(severity: Severity) -> usize {
    Severity::ALL.iter().position(|one| *one == severity).unwrap_or_default()
}

fn figures(report: &ScanReport) -> Vec<(String, String, &'static str)> {
    let found: Vec<&Vulnerability> = table::vulnerabilities(report).collect();
    let mut figures = Vec::new();
    let mut add = |n: usize, label: &str, class| {
        if n > 0 {
            figures.push((n.to_string(), label.to_string(), class));
        }
    };
    let is_exploited = found.iter().filter(|v| v.known_exploited).count();
    add(is_exploited, "exploited", "critical");
    for severity in Severity::ALL {
        let n = found.iter().filter(|v| v.severity == severity).count();
        let label = if severity == Severity::Unknown { "unrated" } else { severity.as_str() };
        add(n, label, severity.as_str());
    }
    if report.database.is_none() {
        figures.push(("?".into(), "vulnerabilities".into(), "unknown"));
    } else if found.is_empty() {
        figures.push(("0".into(), "vulnerabilities".into(), "passed"));
    }
    let n_of = |is: fn(&Finding) -> bool| report.findings.iter().filter(|f| is(f)).count();
    let n_malware = n_of(|f| matches!(f, Finding::Malware(_)));
    if n_malware > 0 {
        figures.push((n_malware.to_string(), "signs of malware".into(), "critical"));
    }
    figures.push((
        n_of(|f| matches!(f, Finding::Secret(_))).to_string(),
        "secrets".into(),
        "plain",
    ));
    figures.push((report.inventory.packages.len().to_string(), "packages".into(), "plain"));
    figures
}

fn gate(report: &ScanReport) -> Option<GateView> {
    let gate = report.gate.as_ref()?;
    let class = |verdict| match verdict {
        GateVerdict::Passed => "passed",
        GateVerdict::Refused => "refused",
        GateVerdict::NotEvaluated => "undecided",
    };
    Some(GateView {
        class: class(gate.verdict),
        verdict: gate.verdict.as_str(),
        rules: gate
            .rules
            .iter()
            .map(|rule| {
                let all: Vec<&str> =
                    rule.reasons.iter().chain(&rule.notes).map(String::as_str).collect();
                let reasons = clean(&all.join("; "));
                (class(rule.verdict), rule.verdict.as_str(), rule.demand.clone(), reasons)
            })
            .collect(),
        baseline: gate
            .baseline
            .as_ref()
            .map(|b| {
                let (subject, day) = (clean(&b.subject), day(&b.time.rfc3339()));
                let (new, known, gone) = (b.n_new, b.n_known, b.n_gone);
                format!("against {subject} of {day}: {new} new, {known} known, {gone} gone")
            })
            .unwrap_or_default(),
    })
}

fn upgrade(upgrade: &table::Upgrade<'_>) -> UpgradeView {
    let join = |set: &std::collections::BTreeSet<&str>| {
        clean(&set.iter().copied().collect::<Vec<_>>().join(", "))
    };
    let (_, worst, _) = upgrade.rank();
    let mut members: Vec<&&Vulnerability> = upgrade.members.values().collect();
    members.sort_by_key(|v| std::cmp::Reverse((v.known_exploited, v.severity)));
    UpgradeView {
        name: clean(upgrade.name),
        installed: join(&upgrade.installed),
        fixed: upgrade.fixed.map_or("no fixed version is known".into(), clean),
        packages: join(&upgrade.packages),
        class: worst.as_str(),
        rank: rank(worst),
        counts: table::counts(upgrade.members.values().copied()),
        members: members
            .iter()
            .take(ROWS_MAX)
            .map(|v| {
                let exploited = if v.known_exploited { "exploited" } else { "" };
                (v.severity.as_str(), clean(&v.id), exploited.to_string(), clean(&v.title))
            })
            .collect(),
    }
}

fn vulnerability(v: &Vulnerability) -> VulnerabilityView {
    VulnerabilityView {
        severity: v.severity.as_str(),
        rank: rank(v.severity),
        id: clean(&v.id),
        url: item::url_of(&v.id).unwrap_or_default(),
        package: clean(&v.package),
        installed: clean(&v.installed),
        fixed: clean(v.fixed.as_deref().unwrap_or_default()),
        epss: v.epss.map(|score| format!("{:.1} %", score * 100.0)).unwrap_or_default(),
        is_exploited: v.known_exploited,
        title: clean(&v.title),
        code: item::code_mark(v),
        code_detail: clean(&v.symbols.as_ref().map(SymbolCheck::sentence).unwrap_or_default()),
    }
}

fn sections(report: &ScanReport) -> Vec<(String, Rows<ItemView>)> {
    let items: Vec<Item> = report.findings.iter().map(item::describe).collect();
    let mut kinds: Vec<(&str, String)> = vec![
        ("secret", "Secrets".into()),
        ("file", "Dangerous files".into()),
        ("configuration", "Configuration".into()),
    ];
    // Nobody has to ask for these: an empty section says that somebody did.
    let coverage = &report.coverage;
    if coverage.n_files_malware > 0 || items.iter().any(|item| item.kind == "malware") {
        kinds.insert(0, ("malware", "Malware".into()));
    }
    let n_licences = coverage.n_licences_judged + coverage.n_licences_unknown;
    if n_licences > 0 || items.iter().any(|item| item.kind == "licence") {
        kinds.push(("licence", "Licences".into()));
    }
    for item in &items {
        if item.kind != "vulnerability" && kinds.iter().all(|(kind, _)| *kind != item.kind) {
            let mut title = item.kind.replace('-', " ");
            title.get_mut(..1).map(str::make_ascii_uppercase);
            kinds.push((item.kind, title));
        }
    }
    let view = |item: &Item| ItemView {
        severity: item.severity.as_str(),
        rank: rank(item.severity),
        rule: clean(&item.rule),
        place: clean(&item.place()),
        message: clean(&item.message),
        help: clean(&item.help),
    };
    kinds
        .into_iter()
        .map(|(kind, title)| {
            (title, Rows::of(items.iter().filter(|item| item.kind == kind).map(view)))
        })
        .collect()
}

fn minimality(report: &ScanReport) -> Option<MinimalityView> {
    let m = report.minimality.as_ref()?;
    let base = m.base.as_ref().map_or("not recognised".to_string(), |base| {
        let how = match base.certainty {
            Certainty::Guess => "a guess",
            Certainty::Stated => "as the image says",
            Certainty::Proven => "proven",
        };
        format!("{} ({how}: {})", base.name, base.evidence)
    });
    Some(MinimalityView {
        score: m.score,
        parts: m
            .parts
            .iter()
            .map(|p| (p.name.clone(), p.n, p.points, p.points_max, clean(&p.examples.join(", "))))
            .collect(),
        base: clean(&base),
        lifecycles: m
            .lifecycles
            .iter()
            .map(|one| {
                let class = if one.is_over {
                    "refused"
                } else if one.days_left < 180 {
                    "undecided"
                } else {
                    "passed"
                };
                let name = format!("{} {}", one.product, one.release);
                (clean(&name), one.end.clone(), format!("{} days", one.days_left), class)
            })
            .collect(),
        lifecycles_as_of: m.lifecycles_as_of.clone(),
        unknown: clean(&m.lifecycles_unknown.join(", ")),
        need: format!(
            "{} packages of the distribution are needed as far as dependencies tell, {} are not",
            m.need.n_needed, m.need.n_unneeded
        ),
        unneeded: clean(&m.need.unneeded.join(", ")),
        doubts: m.need.doubts.iter().map(|doubt| clean(doubt)).collect(),
        proposals: m
            .proposals
            .iter()
            .map(|p| {
                let gain = format!(
                    "{} packages, {} vulnerabilities, {} points less",
                    p.n_packages_less, p.n_vulnerabilities_less, p.points_less
                );
                (clean(&p.base), gain, clean(&p.why), clean(&p.check))
            })
            .collect(),
    })
}
