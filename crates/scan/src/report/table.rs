//! The report for a terminal: grouped by the upgrade that fixes, worst first, and a summary
//! line that is there even when nothing was found and that says what was not looked at.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use palisade_model::finding::{ScanReport, Vulnerability};
use palisade_model::judgement::{GateVerdict, Suppressed, SuppressedBy};
use palisade_model::minimality::Certainty;
use palisade_model::symbols::SymbolAnswer;
use palisade_model::{Finding, PackageKind, Severity};

use super::{item, printable};
use crate::ignore::danger_name;
use crate::licences::verdict_name;

/// How the table is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableOptions {
    /// Whether to colour.
    pub colour: bool,
    /// Findings below this severity are hidden and counted. Those known to be exploited
    /// are always shown.
    pub severity_min: Severity,
    /// Whether to name every vulnerability instead of the first few of each upgrade.
    pub all: bool,
}

/// Vulnerabilities named under one upgrade; `all` names the rest.
const NAMED_MAX: usize = 3;
/// Rows of one section; `all` shows the rest.
const ROWS_MAX: usize = 25;
/// Titles are cut here.
const TITLE_CHARS_MAX: usize = 72;

/// Renders `report`.
pub fn render(report: &ScanReport, options: TableOptions) -> String {
    let mut table = Table { out: String::new(), options, n_hidden: 0 };
    table.heading(report);
    table.vulnerabilities(report);
    table.malware(report);
    table.secrets(report);
    table.files(report);
    table.configuration(report);
    table.licences(report);
    table.other(report);
    table.suppressed(report);
    table.minimality(report);
    table.gaps(report);
    table.gate(report);
    table.summary(report);
    table.out
}

struct Table {
    out: String,
    options: TableOptions,
    /// Findings hidden by the severity threshold.
    n_hidden: u64,
}

/// The vulnerabilities that one upgrade fixes, or that no upgrade does.
pub(super) struct Upgrade<'a> {
    pub(super) name: &'a str,
    pub(super) installed: BTreeSet<&'a str>,
    pub(super) fixed: Option<&'a str>,
    pub(super) packages: BTreeSet<&'a str>,
    pub(super) members: BTreeMap<&'a str, &'a Vulnerability>,
}

impl Upgrade<'_> {
    pub(super) fn rank(&self) -> (bool, Severity, usize) {
        let exploited = self.members.values().any(|v| v.known_exploited);
        let worst = self.members.values().map(|v| v.severity).max().unwrap_or_default();
        (exploited, worst, self.members.len())
    }
}

/// The vulnerabilities of a report.
pub(super) fn vulnerabilities(report: &ScanReport) -> impl Iterator<Item = &Vulnerability> {
    report.findings.iter().filter_map(|finding| match finding {
        Finding::Vulnerability(v) => Some(v),
        _ => None,
    })
}

fn kind_of(purl: &str) -> Option<PackageKind> {
    let kind = purl.strip_prefix("pkg:")?.split('/').next()?;
    PackageKind::ALL.into_iter().find(|candidate| candidate.purl_type() == kind)
}

/// Groups by source package (or package) and by whether a fix exists; the upgrade is to the
/// highest fixed version, which fixes the others as well.
pub(super) fn upgrades<'a>(found: impl Iterator<Item = &'a Vulnerability>) -> Vec<Upgrade<'a>> {
    let mut groups: BTreeMap<(&str, &str, bool), Upgrade<'a>> = BTreeMap::new();
    for v in found {
        let name = v.source.as_deref().unwrap_or(&v.package);
        let kind = v.purl.split('/').next().unwrap_or_default();
        let group = groups.entry((kind, name, v.fixed.is_some())).or_insert_with(|| Upgrade {
            name,
            installed: BTreeSet::new(),
            fixed: None,
            packages: BTreeSet::new(),
            members: BTreeMap::new(),
        });
        group.installed.insert(&v.installed);
        group.packages.insert(&v.package);
        group.members.entry(&v.id).or_insert(v);
        let compare = kind_of(&v.purl).and_then(palisade_packages::version::order);
        group.fixed = match (group.fixed, v.fixed.as_deref()) {
            (Some(a), Some(b)) => {
                let less = compare.and_then(|c| c(a, b)).unwrap_or_else(|| a.cmp(b));
                Some(if less == Ordering::Less { b } else { a })
            }
            (a, b) => a.or(b),
        };
    }
    let mut upgrades: Vec<Upgrade<'a>> = groups.into_values().collect();
    upgrades.sort_by(|a, b| {
        let with_fix = b.fixed.is_some().cmp(&a.fixed.is_some());
        with_fix.then_with(|| b.rank().cmp(&a.rank())).then_with(|| a.name.cmp(b.name))
    });
    upgrades
}

impl Table {
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.options.colour { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    fn severity(&self, severity: Severity) -> String {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        let style = match severity {
            Severity::Critical => colour(AnsiColor::Red).bold(),
            Severity::High => colour(AnsiColor::Red),
            Severity::Medium => colour(AnsiColor::Yellow),
            Severity::Low | Severity::Negligible => colour(AnsiColor::Cyan),
            Severity::Unknown => Style::new().dimmed(),
        };
        self.paint(style, &format!("{severity:<10}"))
    }

    fn section(&mut self, title: &str) {
        let title = self.paint(Style::new().bold(), title);
        self.out.push('\n');
        self.line(&title);
    }

    fn heading(&mut self, report: &ScanReport) {
        let subject = &report.inventory.subject;
        let name = self.paint(Style::new().bold(), &printable(&subject.name));
        let digest = subject.digest.map(|d| format!("  {d}")).unwrap_or_default();
        let platform = subject.platform.as_deref().map(printable).unwrap_or_default();
        self.line(&format!("{name}{digest}  {platform}"));
        let system = match &report.inventory.distribution {
            Some(distribution) => printable(&distribution.name).into_owned(),
            None => "no distribution recognised".to_string(),
        };
        let (packages, files) = (report.inventory.packages.len(), report.inventory.n_files);
        self.line(&format!("{system}, {packages} packages, {files} files"));
    }

    /// Whether a finding is shown; counts it when not.
    fn shows(&mut self, severity: Severity, always: bool) -> bool {
        let shown = always || severity >= self.options.severity_min;
        self.n_hidden += u64::from(!shown);
        shown
    }

    fn rows(&mut self, title: &str, rows: &[String]) {
        if rows.is_empty() {
            return;
        }
        let n = rows.len();
        self.section(title);
        let shown = if self.options.all { n } else { n.min(ROWS_MAX) };
        rows.iter().take(shown).for_each(|row| self.line(row));
        if shown < n {
            self.line(&format!("  … and {} more", n - shown));
        }
    }

    fn vulnerabilities(&mut self, report: &ScanReport) {
        let mut shown = Vec::new();
        for finding in &report.findings {
            if let Finding::Vulnerability(v) = finding
                && self.shows(v.severity, v.known_exploited)
            {
                shown.push(v);
            }
        }
        if report.database.is_none() {
            self.section("Vulnerabilities");
            self.line("  not looked for: there is no advisory database");
            return;
        }
        let upgrades = upgrades(shown.iter().copied());
        let mut rows = Vec::new();
        for upgrade in &upgrades {
            rows.push(self.upgrade(upgrade));
        }
        let n = shown.iter().map(|v| (&v.package, &v.id)).collect::<BTreeSet<_>>().len();
        let n_upgrades = upgrades.iter().filter(|upgrade| upgrade.fixed.is_some()).count();
        let noun = if n_upgrades == 1 { "upgrade" } else { "upgrades" };
        let title = format!("Vulnerabilities ({n}), by the {n_upgrades} {noun} that fix them");
        self.rows(&title, &rows);
    }

    fn upgrade(&self, upgrade: &Upgrade<'_>) -> String {
        let mut row = String::new();
        let installed = match upgrade.installed.first() {
            Some(only) if upgrade.installed.len() == 1 => printable(only).into_owned(),
            _ => format!("{} versions", upgrade.installed.len()),
        };
        let step = match upgrade.fixed {
            Some(fixed) => format!("{installed} → {}", printable(fixed)),
            None => format!("{installed}, no fixed version known"),
        };
        let name = self.paint(Style::new().bold(), &printable(upgrade.name));
        let _ = write!(row, "  {name}  {step}  ({})", counts(upgrade.members.values().copied()));
        let several = upgrade.packages.len() > 1 || !upgrade.packages.contains(upgrade.name);
        if several {
            let names: Vec<&str> = upgrade.packages.iter().take(NAMED_MAX).copied().collect();
            let more = upgrade.packages.len() - names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = write!(row, "\n      installed as {}{more}", printable(&names.join(", ")));
        }
        let mut members: Vec<&&Vulnerability> = upgrade.members.values().collect();
        members.sort_by_key(|v| {
            (std::cmp::Reverse((v.known_exploited, v.severity)), std::cmp::Reverse(v.id.as_str()))
        });
        let n_named = if self.options.all { members.len() } else { NAMED_MAX };
        for v in members.iter().take(n_named) {
            let mark = if v.known_exploited {
                self.paint(AnsiColor::Red.on_default().bold(), "exploited  ")
            } else {
                String::new()
            };
            let mut said = if v.status.is_affected() {
                String::new()
            } else {
                format!("[{}] ", v.status.as_str())
            };
            let code = item::code_mark(v);
            if !code.is_empty() {
                let _ = write!(said, "[{code}] ");
            }
            let title = cut(&format!("{said}{}", printable(&v.title)));
            let (id, severity) = (printable(&v.id), self.severity(v.severity));
            let _ = write!(row, "\n      {severity} {id:<17} {mark}{title}");
            row.truncate(row.trim_end().len());
        }
        if members.len() > n_named {
            let _ = write!(row, "\n      … and {} more", members.len() - n_named);
        }
        row
    }

    fn secrets(&mut self, report: &ScanReport) {
        let mut rows = Vec::new();
        for finding in &report.findings {
            if let Finding::Secret(s) = finding
                && self.shows(s.severity, false)
            {
                let severity = self.severity(s.severity);
                let place = format!("{}:{}", printable(&s.path), s.line);
                let (title, value) = (printable(&s.title), printable(&s.redacted));
                rows.push(format!("  {severity} {place}  {title}  {value}"));
            }
        }
        self.rows(&format!("Secrets ({})", rows.len()), &rows);
    }

    fn malware(&mut self, report: &ScanReport) {
        let mut rows = Vec::new();
        for finding in &report.findings {
            if let Finding::Malware(m) = finding
                && self.shows(m.severity, false)
            {
                let owner = m.package.as_ref().map(|p| format!(", package {}", printable(p)));
                rows.push(format!(
                    "  {} {}  {}  {} ({}{})",
                    self.severity(m.severity),
                    printable(&m.path),
                    printable(&m.rule),
                    printable(&m.title),
                    printable(&m.detail),
                    owner.unwrap_or_default()
                ));
            }
        }
        self.rows(&format!("Malware ({})", rows.len()), &rows);
    }

    fn licences(&mut self, report: &ScanReport) {
        let mut rows = Vec::new();
        for finding in &report.findings {
            if let Finding::Licence(l) = finding
                && self.shows(l.severity, false)
            {
                let licence =
                    if l.licence.is_empty() { "none stated".into() } else { printable(&l.licence) };
                rows.push(format!(
                    "  {} {:<8} {} {}  {}\n             {}",
                    self.severity(l.severity),
                    verdict_name(l.verdict),
                    printable(&l.package),
                    printable(&l.version),
                    licence,
                    printable(&l.reason)
                ));
            }
        }
        self.rows(&format!("Licences ({})", rows.len()), &rows);
    }

    fn files(&mut self, report: &ScanReport) {
        let mut rows = Vec::new();
        for finding in &report.findings {
            if let Finding::File(f) = finding
                && self.shows(f.severity, false)
            {
                let owner = match &f.package {
                    Some(package) => format!("package {}", printable(package)),
                    None => "of no package".to_string(),
                };
                rows.push(format!(
                    "  {} {:<14} {}  {}, {owner}",
                    self.severity(f.severity),
                    danger_name(f.danger),
                    printable(&f.path),
                    printable(&f.detail)
                ));
            }
        }
        self.rows(&format!("Dangerous files ({})", rows.len()), &rows);
    }

    fn configuration(&mut self, report: &ScanReport) {
        let mut rows = Vec::new();
        for finding in &report.findings {
            if let Finding::Configuration(c) = finding
                && self.shows(c.severity, false)
            {
                let severity = self.severity(c.severity);
                let (title, fix) = (printable(&c.title), printable(&c.fix));
                rows.push(format!("  {severity} {title}\n             {fix}"));
            }
        }
        self.rows(&format!("Configuration ({})", rows.len()), &rows);
    }

    fn gaps(&mut self, report: &ScanReport) {
        let gaps = report.gaps().iter();
        let mut rows: Vec<String> = gaps
            .map(|gap| format!("  {}: {}", printable(&gap.path), printable(&gap.reason)))
            .collect();
        for u in &report.coverage.unmatched {
            let (ecosystem, reason) = (printable(&u.ecosystem), &u.reason);
            rows.push(format!("  {} packages of {ecosystem}: {reason}", u.n_packages));
        }
        let incomparable = item::incomparable(report).into_iter();
        rows.extend(incomparable.map(|sentence| format!("  {}", printable(&sentence))));
        self.rows(&format!("Not examined ({})", rows.len()), &rows);
    }

    fn other(&mut self, report: &ScanReport) {
        let known = ["vulnerability", "malware", "secret", "file", "configuration", "licence"];
        let mut rows = Vec::new();
        for finding in &report.findings {
            let item = item::describe(finding);
            if !known.contains(&item.kind) && self.shows(item.severity, false) {
                let severity = self.severity(item.severity);
                let (place, message) = (item.place(), item.message);
                rows.push(format!("  {severity} {}  {}", printable(&place), printable(&message)));
            }
        }
        self.rows(&format!("Other findings ({})", rows.len()), &rows);
    }

    /// What was set aside is shown when every row is asked for; its number always is.
    fn suppressed(&mut self, report: &ScanReport) {
        if !self.options.all {
            return;
        }
        let row = |s: &palisade_model::Suppressed| {
            let item = item::describe(&s.finding);
            let until = s.expires.map(|time| {
                format!(", until {}", time.rfc3339().chars().take(10).collect::<String>())
            });
            format!(
                "  {}  {}  {}: {}{}",
                printable(&item.rule),
                printable(&item.path),
                s.by.as_str(),
                printable(&s.reason),
                until.unwrap_or_default()
            )
        };
        let rows: Vec<String> = report.suppressed.iter().map(row).collect();
        self.rows(&format!("Set aside ({})", report.n_ignored), &rows);
    }

    fn gate(&mut self, report: &ScanReport) {
        let Some(gate) = &report.gate else { return };
        self.section(&format!("Gate: {}", gate.verdict.as_str()));
        for rule in &gate.rules {
            let (word, colour) = match rule.verdict {
                GateVerdict::Passed => ("passed", AnsiColor::Green),
                GateVerdict::Refused => ("refused", AnsiColor::Red),
                GateVerdict::NotEvaluated => ("no answer", AnsiColor::Yellow),
            };
            let style = Style::new().fg_color(Some(colour.into()));
            let word = self.paint(style, &format!("{word:<10}"));
            self.line(&format!("  {word} {}", rule.demand));
            for reason in &rule.reasons {
                self.line(&format!("             {}", printable(reason)));
            }
        }
        for note in gate.notes() {
            self.line(&format!("  but        {}", printable(note)));
        }
        if let Some(baseline) = &gate.baseline {
            let day: String = baseline.time.rfc3339().chars().take(10).collect();
            self.line(&format!(
                "  against {} of {day}: {} new, {} known, {} gone",
                printable(&baseline.subject),
                baseline.n_new,
                baseline.n_known,
                baseline.n_gone
            ));
        }
    }

    fn minimality(&mut self, report: &ScanReport) {
        let Some(m) = &report.minimality else { return };
        self.section(&format!("Minimality: attack surface {} of 100", m.score));
        if let Some(base) = &m.base {
            let how = match base.certainty {
                Certainty::Guess => "a guess",
                Certainty::Stated => "as the image says",
                Certainty::Proven => "proven",
            };
            let (name, evidence) = (printable(&base.name), printable(&base.evidence));
            self.line(&format!("  base       {name} ({how}: {evidence})"));
        } else {
            self.line("  base       not recognised");
        }
        for one in &m.lifecycles {
            let name = format!("{} {}", printable(&one.product), printable(&one.release));
            let text = if one.is_over {
                let text = format!("got its last fixes on {}", one.end);
                self.paint(AnsiColor::Red.on_default(), &text)
            } else {
                format!("gets fixes until {} ({} days)", one.end, one.days_left)
            };
            self.line(&format!("  support    {name} {text}"));
        }
        if !m.lifecycles_unknown.is_empty() {
            let names = m.lifecycles_unknown.join(", ");
            self.line(&format!("  support    not known: {}", printable(&names)));
        }
        for part in m.parts.iter().filter(|part| part.n > 0) {
            let examples = match part.examples.join(", ") {
                text if text.is_empty() => String::new(),
                text => format!("  {}", printable(&text)),
            };
            let points = format!("{:>2}/{:<2}", part.points, part.points_max);
            self.line(&format!("  {points}      {} {}{examples}", part.n, part.name));
        }
        let need = &m.need;
        self.line(&format!(
            "  needed     {} of the distribution's {} packages, as far as dependencies tell",
            need.n_needed,
            need.n_needed + need.n_unneeded
        ));
        for doubt in &need.doubts {
            self.line(&format!("             but {}", printable(doubt)));
        }
        for p in &m.proposals {
            self.line(&format!(
                "  perhaps    {}: {} packages, {} vulnerabilities, {} points less by estimate",
                printable(&p.base),
                p.n_packages_less,
                p.n_vulnerabilities_less,
                p.points_less
            ));
            self.line(&format!(
                "             {}; check: {}",
                printable(&p.why),
                printable(&p.check)
            ));
        }
    }

    fn summary(&mut self, report: &ScanReport) {
        let text = summary(report, self.n_hidden);
        self.out.push('\n');
        let bold = self.paint(Style::new().bold(), "Summary:");
        self.line(&format!("{bold} {text}"));
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= TITLE_CHARS_MAX {
        return text.to_string();
    }
    text.chars().take(TITLE_CHARS_MAX - 1).chain(['…']).collect()
}

/// `1 exploited, 2 high, 3 unknown`
pub(super) fn counts<'a>(found: impl Iterator<Item = &'a Vulnerability>) -> String {
    let mut by_severity: BTreeMap<Severity, u64> = BTreeMap::new();
    let mut n_exploited = 0_u64;
    for v in found {
        *by_severity.entry(v.severity).or_default() += 1;
        n_exploited += u64::from(v.known_exploited);
    }
    let mut parts: Vec<String> = Vec::new();
    if n_exploited > 0 {
        parts.push(format!("{n_exploited} exploited"));
    }
    parts.extend(by_severity.iter().rev().map(|(severity, n)| match severity {
        Severity::Unknown => format!("{n} unrated"),
        _ => format!("{n} {severity}"),
    }));
    parts.join(", ")
}

/// One line that says what was found, what was not shown and what was not looked at.
/// `n_hidden` findings are in the report and not on the screen.
pub fn summary(report: &ScanReport, n_hidden: u64) -> String {
    let mut vulnerabilities = Vec::new();
    let mut n = [0_u64; 6];
    for finding in &report.findings {
        match finding {
            Finding::Vulnerability(v) => vulnerabilities.push(v),
            Finding::Secret(_) => n[0] += 1,
            Finding::File(_) => n[1] += 1,
            Finding::Configuration(_) => n[2] += 1,
            Finding::Malware(_) => n[3] += 1,
            Finding::Licence(_) => n[4] += 1,
            _ => n[5] += 1,
        }
    }
    let plural = |n: u64, one: &str, many: &str| {
        format!(
            "{} {}",
            if n == 0 { "no".to_string() } else { n.to_string() },
            if n == 1 { one } else { many }
        )
    };
    let mut parts = Vec::new();
    parts.push(match (&report.database, vulnerabilities.len() as u64) {
        (None, _) => "vulnerabilities not looked for".to_string(),
        (Some(_), 0) => "no known vulnerability".to_string(),
        (Some(_), n) => {
            let counted = counts(vulnerabilities.iter().copied());
            format!("{} ({counted})", plural(n, "vulnerability", "vulnerabilities"))
        }
    });
    if report.coverage.is_of_document {
        parts.push("only a bill of materials was read".to_string());
    } else {
        parts.push(plural(n[0], "secret", "secrets"));
        parts.push(plural(n[1], "dangerous file", "dangerous files"));
        parts.push(plural(n[2], "weak setting", "weak settings"));
    }
    if n[3] > 0 || report.coverage.n_files_malware > 0 {
        parts.push(plural(n[3], "sign of malware", "signs of malware"));
    }
    if n[4] > 0 || report.coverage.n_licences_judged > 0 {
        parts.push(plural(n[4], "licence to look at", "licences to look at"));
    }
    if n[5] > 0 {
        parts.push(plural(n[5], "other finding", "other findings"));
    }
    let mut text = parts.join(", ");
    let mut asides = Vec::new();
    let coverage = &report.coverage;
    let n_unmatched: u64 = coverage.unmatched.iter().map(|u| u.n_packages).sum();
    let n_code = |answer: SymbolAnswer| {
        let is_it = |v: &&&Vulnerability| v.symbols.as_ref().is_some_and(|s| s.answer == answer);
        vulnerabilities.iter().filter(is_it).count() as u64
    };
    let mut aside = |n: u64, what: &str| {
        if n > 0 {
            asides.push(format!("{n} {what}"));
        }
    };
    if report.database.is_some() {
        aside(coverage.n_packages_matched, "packages judged");
    }
    aside(n_code(SymbolAnswer::Present), "with vulnerable code present");
    aside(n_code(SymbolAnswer::Absent), "with vulnerable code absent");
    aside(n_code(SymbolAnswer::Unknown), "with vulnerable code not looked for");
    aside(coverage.n_files_searched, "files searched");
    aside(coverage.n_files_malware, "examined for malware");
    aside(coverage.n_files_malware_skipped, "not examined for malware (size, time, depth)");
    aside(coverage.n_secrets_allowed, "secrets allowed by the policy");
    aside(n_hidden, "hidden below the severity asked for");
    let of_vex = |s: &&Suppressed| s.by == SuppressedBy::Vex;
    let n_vex = report.suppressed.iter().filter(of_vex).count() as u64;
    aside(report.n_ignored.saturating_sub(n_vex), "ignored by entries");
    aside(n_vex, "set aside by VEX");
    aside(coverage.n_ignores_expired, "ignore entries expired");
    aside(coverage.n_harmless, "of headers and manuals left out");
    aside(coverage.n_packages_folded, "language packages counted as the distribution's");
    aside(coverage.n_packages_development, "packages for development left out");
    aside(coverage.n_distribution_owned, "left to the distribution's packages");
    aside(coverage.n_overruled, "denied by the distribution's own feed");
    aside(coverage.n_incomparable, "advisories not comparable with what is installed");
    aside(coverage.n_dropped, "beyond the bounds dropped");
    aside(n_unmatched, "packages not judged");
    aside(
        report.gaps().len() as u64,
        if report.gaps().len() == 1 { "part not examined" } else { "parts not examined" },
    );
    aside(coverage.n_files_large, "files too large to search");
    if let Some(database) = &report.database {
        asides.push(item::advisories(database, report.time));
    }
    if !asides.is_empty() {
        let _ = write!(text, "; {}", asides.join(", "));
    }
    text
}
