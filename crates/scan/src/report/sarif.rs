//! SARIF 2.1.0 (OASIS), as code hosting services read it.
//!
//! One rule for each vulnerability, detector, danger and check; one result for each finding.
//! Paths are relative to the image's root.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use palisade_model::finding::ScanReport;
use palisade_model::{Finding, Severity};
use serde_json::{Value, json};

use crate::ignore::danger_name;
use crate::licences::verdict_name;

/// Renders `report`; `version` is the product's.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(report: &ScanReport, version: &str) -> Result<String, serde_json::Error> {
    let mut rules: BTreeMap<String, Value> = BTreeMap::new();
    let mut results = Vec::new();
    for finding in &report.findings {
        let item = describe(finding);
        rules.entry(item.rule.clone()).or_insert_with(|| {
            json!({
                "id": item.rule,
                "shortDescription": { "text": item.title },
                "help": { "text": item.help },
                "properties": {
                    "security-severity": score(finding.severity()),
                    "tags": ["security", item.tag],
                },
            })
        });
        results.push((item, finding.severity()));
    }
    let index_of = |rule: &str| rules.keys().position(|id| id == rule).unwrap_or_default();
    let results: Vec<Value> = results
        .iter()
        .map(|(item, severity)| {
            let mut location = json!({ "artifactLocation": { "uri": uri(&item.path) } });
            if let Some(line) = item.line {
                location["region"] = json!({ "startLine": line });
            }
            json!({
                "ruleId": item.rule,
                "ruleIndex": index_of(&item.rule),
                "level": level(*severity),
                "message": { "text": item.message },
                "locations": [{ "physicalLocation": location }],
                "partialFingerprints": {
                    "palisade/v1": palisade_base::Digest::of(item.identity.as_bytes()).hex(),
                },
            })
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
            "results": results,
            "properties": { "subject": report.inventory.subject },
        }],
    });
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

struct Item {
    rule: String,
    title: String,
    help: String,
    tag: &'static str,
    message: String,
    path: String,
    line: Option<u64>,
    /// What makes the finding the same in the next scan: no line, no version.
    identity: String,
}

fn describe(finding: &Finding) -> Item {
    match finding {
        Finding::Vulnerability(v) => {
            let name = format!("{} {}", v.package, v.installed);
            let fix = match &v.fixed {
                Some(fixed) => format!("upgrade to {fixed}"),
                None => "no fixed version is known".into(),
            };
            let title = if v.title.is_empty() { v.id.clone() } else { v.title.clone() };
            Item {
                rule: v.id.clone(),
                message: format!("{name}: {title}; {fix}"),
                title,
                help: format!("{} in {}: {fix}", v.id, v.package),
                tag: "vulnerability",
                path: v.purl.clone(),
                line: None,
                identity: format!("{} {}", v.id, v.package),
            }
        }
        Finding::Secret(s) => Item {
            rule: s.detector.clone(),
            title: s.title.clone(),
            help: "remove it from the image, and revoke it: every copy of the image has it".into(),
            tag: "secret",
            message: format!("{}: {}", s.title, s.redacted),
            path: s.path.clone(),
            line: Some(s.line.max(1)),
            identity: format!("{} {} {}", s.detector, s.path, s.redacted),
        },
        Finding::File(f) => Item {
            rule: danger_name(f.danger).to_string(),
            title: danger_name(f.danger).to_string(),
            help: "remove the file or its privilege if the program does not need it".into(),
            tag: "file",
            message: format!("{}: {}", danger_name(f.danger), f.detail),
            path: f.path.clone(),
            line: None,
            identity: format!("{} {}", danger_name(f.danger), f.path),
        },
        Finding::Configuration(c) => Item {
            rule: c.check.clone(),
            title: c.title.clone(),
            help: c.fix.clone(),
            tag: "configuration",
            message: format!("{}; {}", c.title, c.fix),
            path: "config.json".into(),
            line: None,
            identity: c.check.clone(),
        },
        Finding::Malware(m) => Item {
            rule: m.rule.clone(),
            title: m.title.clone(),
            help: "find out how it came into the image, and build the image anew without it".into(),
            tag: "malware",
            message: format!("{}: {}", m.title, m.detail),
            path: m.path.clone(),
            line: None,
            identity: format!("{} {}", m.rule, m.path),
        },
        Finding::Licence(l) => Item {
            rule: format!("licence-{}", verdict_name(l.verdict)),
            title: format!("licence {}", verdict_name(l.verdict)),
            help: "replace the package, or add an exception with a reason to the policy".into(),
            tag: "licence",
            message: format!("{} {}: {}; {}", l.package, l.version, l.licence, l.reason),
            path: l.purl.clone(),
            line: None,
            identity: format!("{} {}", l.package, l.licence),
        },
        _ => Item {
            rule: "other".into(),
            title: "other finding".into(),
            help: "see the JSON report".into(),
            tag: "other",
            message: "a finding of a kind that this format does not know".into(),
            path: "config.json".into(),
            line: None,
            identity: "other".into(),
        },
    }
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
