//! GitLab's report of container scanning, schema 15.2.
//!
//! The schema knows vulnerabilities of packages alone. What else was found, what was set aside
//! and what was not examined are messages of the scan, so that nothing is lost silently.

use palisade_model::finding::{ScanReport, Vulnerability};
use palisade_model::judgement::GateVerdict;
use palisade_model::{Finding, Severity};
use serde_json::{Value, json};

use super::item;

/// The version of the schema.
pub const SCHEMA: &str = "15.2.1";
/// Messages of one kind; the rest is a number.
const MESSAGES_MAX: usize = 100;
/// Bounds of the schema, in characters.
const NAME_CHARS_MAX: usize = 255;
const SOLUTION_CHARS_MAX: usize = 7_000;
const DESCRIPTION_CHARS_MAX: usize = 1 << 20;

/// Renders `report`; `version` is the product's.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(report: &ScanReport, version: &str) -> Result<String, serde_json::Error> {
    let found = report.findings.iter().filter_map(|finding| match finding {
        Finding::Vulnerability(v) => Some(vulnerability(report, v)),
        _ => None,
    });
    let tool = json!({
        "id": "palisade",
        "name": "Palisade",
        "url": "https://github.com/palisade-sec/palisade",
        "vendor": { "name": "Palisade" },
        "version": version,
    });
    let time = time(report);
    let document = json!({
        "version": SCHEMA,
        "schema": format!(
            "https://gitlab.com/gitlab-org/security-products/security-report-schemas/-/raw/v{SCHEMA}/dist/container-scanning-report-format.json"
        ),
        "scan": {
            "analyzer": tool,
            "scanner": tool,
            "type": "container_scanning",
            // A scan that looked for nothing must not read as one that found nothing.
            "status": if report.database.is_some() { "success" } else { "failure" },
            "start_time": time,
            "end_time": time,
            "messages": messages(report),
        },
        "vulnerabilities": found.collect::<Vec<_>>(),
    });
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

/// The schema wants UTC without a zone.
fn time(report: &ScanReport) -> String {
    report.time.rfc3339().chars().take(19).collect()
}

fn vulnerability(report: &ScanReport, v: &Vulnerability) -> Value {
    let name = if v.title.is_empty() { &v.id } else { &v.title };
    let description = item::describe(&Finding::Vulnerability(v.clone())).message;
    let mut identifiers = vec![identifier(&v.id)];
    identifiers.extend(v.aliases.iter().map(|alias| identifier(alias)));
    let links = std::iter::once(&v.id).chain(&v.aliases).filter_map(|id| item::url_of(id));
    let mut out = json!({
        "id": id(report, v),
        "name": cut(name, NAME_CHARS_MAX),
        "description": cut(&description, DESCRIPTION_CHARS_MAX),
        "severity": severity(v.severity),
        "identifiers": identifiers,
        "links": links.map(|url| json!({ "url": url })).collect::<Vec<_>>(),
        "location": {
            "dependency": { "package": { "name": v.package }, "version": v.installed },
            "operating_system": operating_system(report),
            "image": image(&report.inventory.subject.name),
        },
    });
    if let Some(fixed) = &v.fixed {
        let upgrade = format!("Upgrade {} from {} to {fixed}", v.package, v.installed);
        out["solution"] = json!(cut(&upgrade, SOLUTION_CHARS_MAX));
    }
    out
}

/// A UUID that the same finding has in every scan of the same image.
fn id(report: &ScanReport, v: &Vulnerability) -> String {
    let seed = format!("{} {} {}", image(&report.inventory.subject.name), v.id, v.purl);
    crate::sbom::uuid(seed.as_bytes())
}

fn identifier(id: &str) -> Value {
    let family = id.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let family = if family.is_empty() { "advisory" } else { &family };
    let mut out = json!({ "type": family, "name": id, "value": id });
    if let Some(url) = item::url_of(id) {
        out["url"] = json!(url);
    }
    out
}

fn operating_system(report: &ScanReport) -> String {
    match &report.inventory.distribution {
        Some(found) if found.version_id.is_empty() => found.id.clone(),
        Some(found) => format!("{} {}", found.id, found.version_id),
        None => "unknown".into(),
    }
}

/// The schema wants a colon in the name.
fn image(name: &str) -> String {
    if name.contains(':') { name.to_string() } else { format!("{name}:latest") }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "Critical",
        Severity::High => "High",
        Severity::Medium => "Medium",
        Severity::Low => "Low",
        Severity::Negligible => "Info",
        Severity::Unknown => "Unknown",
    }
}

fn cut(text: &str, n_max: usize) -> String {
    text.chars().take(n_max).collect()
}

fn messages(report: &ScanReport) -> Vec<Value> {
    let message = |level: &str, value: String| json!({ "level": level, "value": value });
    let mut messages = vec![message("info", item::advisories_of(report))];
    if report.n_ignored > 0 {
        let text = format!("{} findings were set aside, each with a reason", report.n_ignored);
        messages.push(message("info", text));
        let reasons = report.suppressed.iter().take(MESSAGES_MAX).map(|suppressed| {
            let item = item::describe(&suppressed.finding);
            let by = suppressed.by.as_str();
            message("info", format!("set aside by {by}: {}: {}", item.rule, suppressed.reason))
        });
        messages.extend(reasons);
    }
    let is_other = |finding: &&Finding| !matches!(finding, Finding::Vulnerability(_));
    let n_other = report.findings.iter().filter(is_other).count();
    if n_other > 0 {
        let text = "findings of other kinds (secrets, files, settings) are not part of this form";
        messages.push(message("warn", format!("{n_other} {text}")));
    }
    let spots = item::blind_spots(report);
    let n_spots = spots.len();
    let named = spots.into_iter().take(MESSAGES_MAX);
    messages.extend(named.map(|spot| message("warn", format!("not examined: {spot}"))));
    if n_spots > MESSAGES_MAX {
        messages.push(message("warn", format!("{} more not examined", n_spots - MESSAGES_MAX)));
    }
    if let Some(gate) = &report.gate {
        let level = if gate.verdict == GateVerdict::Passed { "info" } else { "warn" };
        messages.push(message(level, format!("gate: {}", gate.verdict.as_str())));
        let reasons = gate.reasons(gate.verdict).take(MESSAGES_MAX);
        messages.extend(reasons.map(|reason| message(level, format!("gate: {reason}"))));
    }
    messages
}
