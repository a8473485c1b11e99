//! SARIF 2.1.0 (OASIS), as code hosting services read it.
//!
//! One rule for each vulnerability, detector, danger and check; one result for each finding.
//! Paths are relative to the image's root.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use palisade_model::Severity;
use palisade_model::finding::ScanReport;
use palisade_model::judgement::Suppressed;
use serde_json::{Value, json};

use super::item::{self, Item};
use crate::config::CheckReport;

/// Renders `report`; `version` is the product's.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(report: &ScanReport, version: &str) -> Result<String, serde_json::Error> {
    let active = report.findings.iter().map(|finding| (item::describe(finding), None));
    let suppressed = report.suppressed.iter().map(|s| (item::describe(&s.finding), Some(s)));
    let items: Vec<(Item, Option<&Suppressed>)> = active.chain(suppressed).collect();
    document(&items, &invocation(report), &properties(report), version)
}

/// Renders findings of files that were checked; `properties` say what they were.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render_checks(
    report: &CheckReport,
    properties: &Value,
    version: &str,
) -> Result<String, serde_json::Error> {
    let items: Vec<(Item, Option<&Suppressed>)> =
        report.findings.iter().map(|finding| (item::describe(finding), None)).collect();
    let spots = report.gaps.iter().map(|gap| format!("{}: {}", gap.path, gap.reason));
    let invocation = json!({
        "executionSuccessful": true,
        "toolExecutionNotifications": notifications(spots),
    });
    document(&items, &invocation, properties, version)
}

fn document(
    items: &[(Item, Option<&Suppressed>)],
    invocation: &Value,
    properties: &Value,
    version: &str,
) -> Result<String, serde_json::Error> {
    let mut rules: BTreeMap<&str, Value> = BTreeMap::new();
    for (item, _) in items {
        rules.entry(&item.rule).or_insert_with(|| rule(item));
    }
    let index_of: BTreeMap<&str, usize> =
        rules.keys().enumerate().map(|(index, id)| (*id, index)).collect();
    let results: Vec<Value> = items
        .iter()
        .map(|(item, suppressed)| {
            let index = index_of.get(item.rule.as_str()).copied().unwrap_or_default();
            result(item, index, *suppressed)
        })
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "Palisade",
                "version": version,
                "informationUri": "https://github.com/palisade-sec/palisade",
                "rules": rules.values().collect::<Vec<_>>(),
            }},
            "invocations": [invocation],
            "results": results,
            "properties": properties,
        }],
    });
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

fn rule(item: &Item) -> Value {
    let mut rule = json!({
        "id": item.rule,
        "shortDescription": { "text": item.title },
        "help": { "text": item.help },
        "properties": {
            "security-severity": score(item.severity),
            "tags": ["security", item.kind],
        },
    });
    if let Some(url) = &item.url {
        rule["helpUri"] = json!(url);
    }
    rule
}

/// A finding that was set aside is a result that says so: viewers hide it, and count it.
fn result(item: &Item, rule_index: usize, suppressed: Option<&Suppressed>) -> Value {
    let mut location = json!({ "artifactLocation": { "uri": uri(&item.path) } });
    if let Some(line) = item.line {
        location["region"] = json!({ "startLine": line });
        if let Some(column) = item.column {
            location["region"]["startColumn"] = json!(column);
        }
    }
    let mut result = json!({
        "ruleId": item.rule,
        "ruleIndex": rule_index,
        "level": level(item.severity),
        "message": { "text": item.message },
        "locations": [{ "physicalLocation": location }],
        "partialFingerprints": {
            "palisade/v1": palisade_base::Digest::of(item.identity.as_bytes()).hex(),
        },
    });
    if let Some(suppressed) = suppressed {
        result["suppressions"] = json!([{
            "kind": "external",
            "status": "accepted",
            "justification": format!("{}: {}", suppressed.by.as_str(), suppressed.reason),
        }]);
    }
    result
}

/// What could not be examined, as notifications of the tool.
fn invocation(report: &ScanReport) -> Value {
    json!({
        "executionSuccessful": true,
        "endTimeUtc": report.time.rfc3339(),
        "toolExecutionNotifications": notifications(item::blind_spots(report)),
    })
}

fn notifications(spots: impl IntoIterator<Item = String>) -> Vec<Value> {
    let notification = |spot: String| json!({ "level": "warning", "message": { "text": format!("not examined: {spot}") } });
    spots.into_iter().map(notification).collect()
}

fn properties(report: &ScanReport) -> Value {
    let mut properties =
        json!({ "subject": report.inventory.subject, "suppressed": report.n_ignored });
    properties["advisories"] = json!(item::advisories_of(report));
    if let Some(database) = &report.database {
        properties["database"] = json!(database);
    }
    if let Some(gate) = &report.gate {
        properties["gate"] = json!(gate);
    }
    properties
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium | Severity::Unknown => "warning",
        Severity::Low | Severity::Negligible => "note",
    }
}

/// GitHub sorts by this number, with CVSS's bounds.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium | Severity::Unknown => "5.0",
        Severity::Low => "3.0",
        Severity::Negligible => "1.0",
    }
}

/// A relative reference (RFC 3986): bytes that may not stand in a path are percent-encoded.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.trim_start_matches('/').bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/@+:,=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    // A colon in the first segment would read as a scheme, which package URLs are.
    if out.is_empty() { ".".into() } else { out }
}
