//! `palisade explain`: what an identifier that a report or an alert names is about. Offline.

use std::fmt::Write as _;

use palisade_agent::incident::techniques;
use palisade_agent::report::technique;
use palisade_base::suggest;
use palisade_model::Finding;
use palisade_model::finding::{FileDanger, ScanReport};
use palisade_rules::{LoadOptions, RuleSet};
use palisade_scan::config::{self, checks};
use palisade_scan::db::{Advisory, Database, RangeEnd, ReadDatabaseError};
use palisade_scan::ignore::danger_name;
use palisade_scan::malware;
use palisade_scan::report::{item, printable};
use palisade_scan::secrets::detectors::DETECTORS;
use serde::Serialize;

use super::Context;
use super::scan::read_report;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::tsv;

/// Names of the database that are compared with one that is not known.
const NEAR_IDS_MAX: usize = 2_000;
/// Names that are shown instead.
const NEAR_SHOWN_MAX: usize = 5;
/// Packages of one advisory that are shown.
const AFFECTED_MAX: usize = 200;

/// What is known of an identifier.
#[derive(Debug, Default, Serialize)]
struct Explanation {
    schema: &'static str,
    /// `advisory`, `check`, `secret`, `file`, `malware`, `rule`,
    /// `technique`.
    kind: &'static str,
    id: String,
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    severity: String,
    /// More about it: name and value.
    facts: Vec<(String, String)>,
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    affected: Vec<Affected>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<InImage>,
    references: Vec<String>,
}

/// A package that an advisory concerns.
#[derive(Debug, Serialize)]
struct Affected {
    ecosystem: String,
    package: String,
    versions: Vec<String>,
    fixed: Option<String>,
    severity: String,
    feed: String,
}

/// A scanned image that has it.
#[derive(Debug, Serialize)]
struct InImage {
    image: String,
    time: String,
    places: Vec<String>,
    is_set_aside: bool,
}

impl Explanation {
    fn new(kind: &'static str, id: &str, title: &str) -> Self {
        Self {
            schema: "palisade.dev/explanation/v1",
            kind,
            id: id.to_string(),
            title: title.to_string(),
            ..Self::default()
        }
    }

    fn fact(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.facts.push((name.to_string(), value));
        }
    }
}

/// Carries out `palisade explain`.
pub(crate) fn explain(context: &Context<'_>, args: &cli::Explain) -> Result<Exit, Failure> {
    let id = args.id.trim();
    let rules = builtin_rules();
    let path = context.database(args.db.as_ref());
    let database = super::db::open_trusted(context, &path)?.database();
    if database.is_none() && args.db.is_some() {
        return Err(ReadDatabaseError::Missing(path)).or_exit(Exit::Incomplete);
    }
    let reports: Vec<ScanReport> =
        args.report.iter().map(|path| read_report(path)).collect::<Result<_, _>>()?;
    let mut found: Vec<Explanation> = Vec::new();
    found.extend(of_technique(id, &rules));
    found.extend(of_rule(id, &rules));
    found.extend(of_checks(id));
    found.extend(of_detector(id));
    found.extend(of_danger(id));
    found.extend(of_malware(id));
    if let Some(database) = &database {
        found.extend(of_advisory(id, database).or_exit(Exit::Incomplete)?);
    }
    if found.is_empty() {
        found.extend(of_reports(id, &reports));
    }
    if found.is_empty() {
        return Err(unknown(context, id, &rules, database.as_ref()));
    }
    for explanation in &mut found {
        explanation.images = images(&explanation.id, &reports);
    }
    let text = match args.format {
        ListFormat::Json => {
            let mut text = String::new();
            for explanation in &found {
                let json =
                    serde_json::to_string_pretty(explanation).map_err(anyhow::Error::from)?;
                text.push_str(&json);
                text.push('\n');
            }
            text
        }
        ListFormat::Tsv => tsv(&found.iter().flat_map(rows).collect::<Vec<_>>()),
        ListFormat::Table => {
            let blocks: Vec<String> =
                found.iter().map(|one| show(context, one, &reports)).collect();
            blocks.join("\n")
        }
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn builtin_rules() -> RuleSet {
    let sources = palisade_agent::BUILTIN_RULES;
    RuleSet::load(&sources, &[&palisade_sensor::SyscallSchema], &LoadOptions::default()).0
}

fn of_technique(id: &str, rules: &RuleSet) -> Option<Explanation> {
    let id = id.to_uppercase();
    let (name, tactic) = technique(&id)?;
    let mut out = Explanation::new("technique", &id, name);
    out.fact("tactic", tactic);
    let tagged: Vec<&str> = rules
        .rules()
        .iter()
        .filter(|rule| techniques(&rule.tags).any(|tag| tag == id))
        .map(|rule| rule.name.as_str())
        .collect();
    out.fact("built-in rules", tagged.join(", "));
    out.references.push(format!("https://attack.mitre.org/techniques/{}/", id.replace('.', "/")));
    Some(out)
}

fn of_rule(id: &str, rules: &RuleSet) -> Option<Explanation> {
    let rule = rules.rules().iter().find(|rule| rule.name.eq_ignore_ascii_case(id))?;
    let mut out = Explanation::new("rule", &rule.name, rule.description.trim());
    out.severity = format!("{:?}", rule.priority).to_lowercase();
    out.fact("condition", rule.condition_text.split_whitespace().collect::<Vec<_>>().join(" "));
    let named: Vec<String> = techniques(&rule.tags)
        .map(|tag| match technique(tag) {
            Some((name, _)) => format!("{tag} {name}"),
            None => tag.to_string(),
        })
        .collect();
    out.fact("techniques", named.join(", "));
    out.fact("more", format!("palisade rules explain '{}'", rule.name));
    Some(out)
}

/// By name, or by number in the catalogue, which several checks may share.
fn of_checks(id: &str) -> Vec<Explanation> {
    checks::all()
        .filter(|check| check.is_called(id))
        .map(|check| {
            let row = check.row();
            let mut out = Explanation::new("check", check.name, check.title);
            out.severity = row.severity.to_string();
            out.fact("catalogue", check.id);
            out.fact("why", check.why);
            let controls: Vec<String> =
                row.controls().iter().map(|c| format!("{} {}", c.framework, c.id)).collect();
            out.fact("controls", controls.join(", "));
            out.fix = check.fix.to_string();
            out.references.extend(check.references.iter().map(ToString::to_string));
            out
        })
        .collect()
}

fn of_detector(id: &str) -> Option<Explanation> {
    let detector = DETECTORS.iter().find(|one| one.id.eq_ignore_ascii_case(id))?;
    let mut out = Explanation::new("secret", detector.id, detector.title);
    out.severity = detector.severity.to_string();
    out.fact("looked for near", detector.keywords.join(", "));
    out.fix = "remove it from the image, and revoke it: every copy of the image has it".into();
    Some(out)
}

/// A rule of malware that comes with the program.
fn of_malware(id: &str) -> Option<Explanation> {
    let rule =
        malware::builtin_rules().into_iter().find(|rule| rule.name.eq_ignore_ascii_case(id))?;
    let mut out = Explanation::new("malware", &rule.name, &rule.title);
    out.severity = rule.severity.to_string();
    out.fix = "find out how it came into the image, and build the image anew without it".into();
    Some(out)
}

const DANGERS: [(FileDanger, &str, &str); 13] = [
    (
        FileDanger::Setuid,
        "runs with its owner's rights, whoever starts it",
        "remove the file, or its bit: chmod u-s",
    ),
    (
        FileDanger::Setgid,
        "runs with its group's rights, whoever starts it",
        "remove the file, or its bit: chmod g-s",
    ),
    (
        FileDanger::Capabilities,
        "carries capabilities, which whoever starts it gets",
        "remove them: setcap -r",
    ),
    (
        FileDanger::WorldWritable,
        "everybody in the container may change it",
        "take the right away: chmod o-w",
    ),
    (
        FileDanger::PrivateKey,
        "holds private keys, which every copy of the image has",
        "pass keys when the container starts, and revoke this one",
    ),
    (
        FileDanger::DuplicateRoot,
        "makes a second user root under another name",
        "remove the user from /etc/passwd",
    ),
    (
        FileDanger::Device,
        "is a device node, which no image needs",
        "remove it; runtimes make the devices that a container may use",
    ),
    (
        FileDanger::EmptyPassword,
        "lets anybody become the user without a password",
        "lock the account: passwd -l",
    ),
    (
        FileDanger::HiddenProgram,
        "is a program where no package puts one: hidden, or in a folder for temporary files",
        "find out who put it there; build the image anew without it",
    ),
    (
        FileDanger::Preload,
        "is a library that the loader puts into every program (/etc/ld.so.preload)",
        "find out who put it there; build the image anew without it",
    ),
    (
        FileDanger::Persistence,
        "runs, at times or at the start, what no package installed",
        "remove the job or the service if you do not know it",
    ),
    (
        FileDanger::AuthorizedKeys,
        "names keys that may log in",
        "remove the file; nobody logs in to a container",
    ),
    (FileDanger::Sudoers, "gives rights without a password", "remove the entry, and sudo with it"),
];

fn of_danger(id: &str) -> Option<Explanation> {
    let (danger, title, fix) =
        DANGERS.iter().find(|(danger, ..)| danger_name(*danger).eq_ignore_ascii_case(id))?;
    let mut out = Explanation::new("file", danger_name(*danger), title);
    out.fix = (*fix).to_string();
    Some(out)
}

/// The identifier as feeds write it: in capitals, or with a small tail as GitHub's.
pub(super) fn spellings(id: &str) -> Vec<String> {
    let mut spellings = vec![id.to_string(), id.to_uppercase()];
    if let Some((family, rest)) = id.split_once('-') {
        spellings.push(format!("{}-{}", family.to_uppercase(), rest.to_lowercase()));
        if family.eq_ignore_ascii_case("openSUSE") {
            spellings.push(format!("openSUSE-{}", rest.to_uppercase()));
        }
    }
    spellings.dedup();
    spellings
}

fn of_advisory(id: &str, database: &Database) -> Result<Option<Explanation>, ReadDatabaseError> {
    for spelling in spellings(id) {
        let packages = database.packages_of(&spelling)?;
        if packages.is_empty() {
            continue;
        }
        let mut advisories: Vec<(String, String, Advisory)> = Vec::new();
        for (ecosystem, package) in &packages {
            for advisory in database.advisories(ecosystem, package)? {
                if advisory.id == spelling || advisory.aliases.contains(&spelling) {
                    advisories.push((ecosystem.clone(), package.clone(), advisory));
                }
            }
        }
        return advisory(&spelling, &advisories, database).map(Some);
    }
    Ok(None)
}

fn advisory(
    id: &str,
    advisories: &[(String, String, Advisory)],
    database: &Database,
) -> Result<Explanation, ReadDatabaseError> {
    let title = advisories.iter().map(|(.., a)| a.title.as_str()).max_by_key(|title| title.len());
    let mut out = Explanation::new("advisory", id, title.unwrap_or_default());
    let worst = advisories.iter().map(|(.., a)| a.severity).max().unwrap_or_default();
    out.severity = worst.to_string();
    let mut ids: Vec<&str> = advisories
        .iter()
        .flat_map(|(.., a)| std::iter::once(&a.id).chain(&a.aliases))
        .map(String::as_str)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let others: Vec<&str> = ids.iter().copied().filter(|other| *other != id).collect();
    out.fact("also", others.join(", "));
    let mut is_exploited = false;
    let mut score: Option<f64> = None;
    for id in &ids {
        is_exploited |= database.is_exploited(id)?;
        score = score.into_iter().chain(database.epss(id)?).reduce(f64::max);
    }
    if is_exploited {
        out.fact("exploited", "yes, by CISA's list");
    }
    if let Some(score) = score {
        out.fact("EPSS", format!("{:.2} % within 30 days", score * 100.0));
    }
    if advisories.len() > AFFECTED_MAX {
        out.fact("not shown", format!("{} more packages", advisories.len() - AFFECTED_MAX));
    }
    out.affected = advisories.iter().take(AFFECTED_MAX).map(affected).collect();
    let fixes: Vec<String> = out
        .affected
        .iter()
        .filter_map(|one| {
            Some(format!("{} {} to {}", one.ecosystem, one.package, one.fixed.as_ref()?))
        })
        .take(5)
        .collect();
    out.fix = if fixes.is_empty() {
        "no fixed version is known".into()
    } else {
        format!("upgrade {}", fixes.join("; "))
    };
    out.references = ids.iter().filter_map(|id| item::url_of(id)).collect();
    Ok(out)
}

fn affected((ecosystem, package, advisory): &(String, String, Advisory)) -> Affected {
    let mut versions: Vec<String> = advisory
        .ranges
        .iter()
        .map(|range| {
            let from = range.introduced.as_ref().map(|first| format!("{first} ≤ "));
            let until = match &range.end {
                RangeEnd::Open => String::new(),
                RangeEnd::Fixed(end) => format!(" < {end}"),
                RangeEnd::LastAffected(end) => format!(" ≤ {end}"),
            };
            match (from, until.as_str()) {
                (None, "") => "all versions".to_string(),
                (from, until) => format!("{}version{until}", from.unwrap_or_default()),
            }
        })
        .collect();
    match advisory.versions.len() {
        0 => {}
        1..=8 => versions.push(advisory.versions.join(", ")),
        n => versions.push(format!("{n} single versions")),
    }
    Affected {
        ecosystem: ecosystem.clone(),
        package: package.clone(),
        versions,
        fixed: advisory.ranges.iter().rev().find_map(|range| match &range.end {
            RangeEnd::Fixed(end) => Some(end.clone()),
            _ => None,
        }),
        severity: advisory.severity.to_string(),
        feed: advisory.feed.clone(),
    }
}

/// What a report says of an identifier that nothing here knows: another release wrote it, or
/// another database.
fn of_reports(id: &str, reports: &[ScanReport]) -> Option<Explanation> {
    let finding =
        reports.iter().flat_map(all_findings).map(|(finding, _)| finding).find(|finding| {
            let named = item::describe(finding).rule.eq_ignore_ascii_case(id);
            named || aliases(finding).iter().any(|alias| alias.eq_ignore_ascii_case(id))
        })?;
    let item = item::describe(finding);
    let mut out = Explanation::new(item.kind, &item.rule, &item.title);
    out.severity = item.severity.to_string();
    out.fix = item.help;
    out.references.extend(item.url);
    Some(out)
}

fn all_findings(report: &ScanReport) -> impl Iterator<Item = (&Finding, bool)> {
    let suppressed = report.suppressed.iter().map(|suppressed| (&suppressed.finding, true));
    report.findings.iter().map(|finding| (finding, false)).chain(suppressed)
}

fn aliases(finding: &Finding) -> &[String] {
    match finding {
        Finding::Vulnerability(v) => &v.aliases,
        _ => &[],
    }
}

fn images(id: &str, reports: &[ScanReport]) -> Vec<InImage> {
    let mut found = Vec::new();
    for report in reports {
        for is_set_aside in [false, true] {
            let places: Vec<String> = all_findings(report)
                .filter(|(finding, aside)| {
                    let named = item::describe(finding).rule.eq_ignore_ascii_case(id);
                    let other = aliases(finding).iter().any(|alias| alias.eq_ignore_ascii_case(id));
                    *aside == is_set_aside && (named || other)
                })
                .map(|(finding, _)| match finding {
                    Finding::Vulnerability(v) => format!("{} {}", v.package, v.installed),
                    other => item::describe(other).place(),
                })
                .collect();
            if !places.is_empty() {
                found.push(InImage {
                    image: report.inventory.subject.name.clone(),
                    time: report.time.rfc3339(),
                    places,
                    is_set_aside,
                });
            }
        }
    }
    found
}

fn rows(explanation: &Explanation) -> Vec<Vec<String>> {
    let row = |name: &str, value: &str| {
        vec![explanation.kind.to_string(), explanation.id.clone(), name.into(), value.into()]
    };
    let mut rows = vec![row("title", &explanation.title)];
    if !explanation.severity.is_empty() {
        rows.push(row("severity", &explanation.severity));
    }
    rows.extend(explanation.facts.iter().map(|(name, value)| row(name, value)));
    rows.extend(explanation.affected.iter().map(|one| {
        let versions = one.versions.join("; ");
        row("affected", &format!("{} {} {versions}", one.ecosystem, one.package))
    }));
    if !explanation.fix.is_empty() {
        rows.push(row("fix", &explanation.fix));
    }
    rows.extend(explanation.images.iter().map(|one| row("image", &one.image)));
    rows.extend(explanation.references.iter().map(|url| row("reference", url)));
    rows
}

/// Ranges and places that one block shows.
const LINES_MAX: usize = 20;

fn show(context: &Context<'_>, one: &Explanation, reports: &[ScanReport]) -> String {
    let bold = anstyle::Style::new().bold();
    let kind = match one.kind {
        "advisory" => "vulnerability",
        "file" => "dangerous file",
        "technique" => "ATT&CK technique",
        other => other,
    };
    let severity =
        if one.severity.is_empty() { String::new() } else { format!(", {}", one.severity) };
    let id = context.terminal.paint(bold, &printable(&one.id));
    let mut out = format!("{id}  {kind}{severity}\n");
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name:<12} {}", printable(value));
        }
    };
    line("what", &one.title);
    one.facts.iter().for_each(|(name, value)| line(name, value));
    for affected in one.affected.iter().take(LINES_MAX) {
        let fixed = affected.fixed.as_deref().map(|fixed| format!(", fixed in {fixed}"));
        let versions = affected.versions.join("; ");
        let text = format!(
            "{} {}: {versions}{}",
            affected.ecosystem,
            affected.package,
            fixed.unwrap_or_default()
        );
        line("affected", &text);
    }
    if one.affected.len() > LINES_MAX {
        line("affected", &format!("and {} more packages", one.affected.len() - LINES_MAX));
    }
    line("fix", &one.fix);
    for image in &one.images {
        let aside = if image.is_set_aside { ", set aside" } else { "" };
        let places: Vec<&str> = image.places.iter().take(LINES_MAX).map(String::as_str).collect();
        let more = image.places.len().saturating_sub(LINES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let day: String = image.time.chars().take(10).collect();
        line("found in", &format!("{} on {day}{aside}: {}{more}", image.image, places.join(", ")));
    }
    if one.images.is_empty() && !reports.is_empty() {
        line("found in", "none of the reports that were given");
    }
    one.references.iter().for_each(|url| line("see", url));
    out
}

fn unknown(
    context: &Context<'_>,
    id: &str,
    rules: &RuleSet,
    database: Option<&Database>,
) -> Failure {
    let shown: String = printable(id).chars().take(80).collect();
    let near = near(id, rules, database);
    let failure = Failure::message(Exit::Incomplete, format!("nothing is known of `{shown}`"));
    let no_database = if database.is_none() {
        let path = context.database(None);
        format!("; there is no advisory database at {}", path.display())
    } else {
        String::new()
    };
    if near.is_empty() {
        failure.with_hint(format!(
            "name a CVE or advisory, a check, a detector, a rule or a technique{no_database}"
        ))
    } else {
        failure.with_hint(format!("near: {}{no_database}", near.join(", ")))
    }
}

/// Known names that are like `id`: by spelling, then those that contain it.
fn near(id: &str, rules: &RuleSet, database: Option<&Database>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    names.extend(config::check_names().map(str::to_string));
    names.extend(DETECTORS.iter().map(|detector| detector.id.to_string()));
    names.extend(malware::builtin_rules().into_iter().map(|rule| rule.name));
    names.extend(DANGERS.iter().map(|(danger, ..)| danger_name(*danger).to_string()));
    names.extend(rules.rules().iter().map(|rule| rule.name.clone()));
    if let Some(database) = database {
        // A slip is seldom at the beginning.
        for spelling in spellings(id) {
            let n = spelling.chars().count();
            let prefix: String = spelling.chars().take(n.saturating_sub(3)).collect();
            if prefix.len() >= 4 {
                names.extend(database.ids_from(&prefix, NEAR_IDS_MAX).unwrap_or_default());
            }
        }
    }
    let mut near: Vec<String> = Vec::new();
    while near.len() < NEAR_SHOWN_MAX {
        let left = names.iter().map(String::as_str).filter(|name| !near.iter().any(|n| n == name));
        match suggest::nearest(id, left) {
            Some(name) => near.push(name.to_string()),
            None => break,
        }
    }
    let lower = id.to_lowercase();
    for name in names {
        if near.len() >= NEAR_SHOWN_MAX {
            break;
        }
        if lower.len() >= 3 && name.to_lowercase().contains(&lower) && !near.contains(&name) {
            near.push(name);
        }
    }
    near
}
