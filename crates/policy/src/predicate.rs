//! What is asked of attestations of known kinds, in words of their own: who built an image and
//! from what (SLSA provenance), how old a scan is and how bad its worst finding, which bill of
//! materials there is, what a VEX document says.
//!
//! Each question is answered from the predicate alone. What it does not say, or says in a form
//! that nobody here knows, answers nothing in the affirmative.

use palisade_base::{Severity as Level, Timestamp};
use palisade_model::Severity;
use serde_json::Value;

use crate::check::note;
use crate::code::Code;
use crate::document::{Policy, matches};
use crate::key::text;
use crate::read::Reader;
use crate::table::{Choice, Default as Preset, Key, Kind, TextRule};
use crate::trust::{RequiredAttestation, attestation, texts};

/// Longest age of a scan, in hours.
const HOURS_MAX: u64 = 24 * 366;
/// Findings of one scan, materials of one build.
const VALUES_MAX: usize = 1_000_000;
/// How far a clock may be ahead, in nanoseconds.
const AHEAD_MAX: u64 = 300_000_000_000;

/// Statuses of OpenVEX.
const STATUSES: [&str; 4] = ["not_affected", "affected", "fixed", "under_investigation"];

/// Beginnings of the types of one kind.
type Family = &'static [&'static str];

const PROVENANCE: Family = &["https://slsa.dev/provenance/"];
const SCANS: Family =
    &["https://cosign.sigstore.dev/attestation/vuln/", "https://in-toto.io/attestation/vulns/"];
const BILLS: Family = &["https://cyclonedx.org/bom", "https://spdx.dev/Document"];
const VEX: Family = &["https://openvex.dev/ns"];

/// The questions that a policy asks of one attestation, with the kind that answers them.
fn asked(wanted: &RequiredAttestation) -> Vec<(&'static str, Family)> {
    let questions = [
        ("builder", !wanted.builder.is_empty(), PROVENANCE),
        ("build_type", !wanted.build_type.is_empty(), PROVENANCE),
        ("source", !wanted.source.is_empty(), PROVENANCE),
        ("materials", !wanted.materials.is_empty(), PROVENANCE),
        ("scan_hours_max", wanted.scan_hours_max.is_some(), SCANS),
        ("severity_max", wanted.severity_max.is_some(), SCANS),
        ("sbom", !wanted.sbom.is_empty(), BILLS),
        ("vex_statuses", !wanted.vex_statuses.is_empty(), VEX),
    ];
    questions
        .into_iter()
        .filter(|(_, is_asked, _)| *is_asked)
        .map(|(key, _, of)| (key, of))
        .collect()
}

/// What an attestation lacks of what its kind is asked, at `now`.
pub(crate) fn unmet(
    wanted: &RequiredAttestation,
    predicate_type: &str,
    predicate: &Value,
    now: Timestamp,
) -> Vec<String> {
    let mut lacks = Vec::new();
    for (key, family) in asked(wanted) {
        if !family.iter().any(|it| predicate_type.starts_with(it)) {
            lacks.push(format!("`{key}`: a `{predicate_type:.80}` does not say it"));
            continue;
        }
        let answer = match key {
            "builder" => one(key, &wanted.builder, builder(predicate)),
            "build_type" => one(key, &wanted.build_type, build_type(predicate)),
            "source" => one(key, &wanted.source, source(predicate)),
            "materials" => materials(&wanted.materials, predicate),
            "scan_hours_max" => scan_age(wanted.scan_hours_max, predicate, now),
            "severity_max" => severity(wanted.severity_max, predicate),
            "sbom" => one_of(key, &wanted.sbom, bill(predicate)),
            _ => vex(&wanted.vex_statuses, predicate),
        };
        lacks.extend(answer);
    }
    lacks
}

fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

fn word<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    at(value, path)?.as_str().filter(|text| !text.is_empty())
}

fn one(key: &str, pattern: &str, found: Option<&str>) -> Option<String> {
    match found {
        Some(text) if matches(pattern, text) => None,
        Some(text) => Some(format!("`{key}`: it is `{text:.120}`")),
        None => Some(format!("`{key}`: it does not say it")),
    }
}

fn one_of(key: &str, patterns: &[String], found: Option<String>) -> Option<String> {
    match found {
        Some(text) if patterns.iter().any(|it| matches(it, &text)) => None,
        Some(text) => Some(format!("`{key}`: it is `{text:.120}`")),
        None => Some(format!("`{key}`: it does not say it")),
    }
}

/// SLSA 1.0 and later have it under `runDetails`, the versions before at the top.
fn builder(predicate: &Value) -> Option<&str> {
    word(predicate, &["runDetails", "builder", "id"])
        .or_else(|| word(predicate, &["builder", "id"]))
}

fn build_type(predicate: &Value) -> Option<&str> {
    word(predicate, &["buildDefinition", "buildType"]).or_else(|| word(predicate, &["buildType"]))
}

/// Where the sources came from: what the build was told, else the first thing it resolved.
fn source(predicate: &Value) -> Option<&str> {
    if let Some(definition) = predicate.get("buildDefinition") {
        let told = |path: &[&str]| word(definition, path);
        return told(&["externalParameters", "workflow", "repository"])
            .or_else(|| told(&["externalParameters", "source", "uri"]))
            .or_else(|| told(&["externalParameters", "source"]))
            .or_else(|| word(definition.get("resolvedDependencies")?.get(0)?, &["uri"]));
    }
    word(predicate, &["invocation", "configSource", "uri"])
}

/// Everything that went in must be of one of the patterns, and named by its digest.
fn materials(patterns: &[String], predicate: &Value) -> Option<String> {
    let list = at(predicate, &["buildDefinition", "resolvedDependencies"])
        .or_else(|| predicate.get("materials"))
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty() && list.len() <= VALUES_MAX);
    let Some(list) = list else { return Some("`materials`: it names none".into()) };
    for material in list {
        let uri = word(material, &["uri"]).unwrap_or_default();
        if !patterns.iter().any(|it| matches(it, uri)) {
            return Some(format!("`materials`: `{uri:.120}` is one of them"));
        }
        let digest = material.get("digest").and_then(Value::as_object);
        if digest.is_none_or(|it| it.values().all(|it| it.as_str().is_none_or(str::is_empty))) {
            return Some(format!("`materials`: `{uri:.120}` has no digest"));
        }
    }
    None
}

fn scan_age(hours: Option<u64>, predicate: &Value, now: Timestamp) -> Option<String> {
    let hours = hours?;
    let text = word(predicate, &["metadata", "scanFinishedOn"]);
    let Some(finished) = text.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return Some("`scan_hours_max`: it does not say when the scan ended".into());
    };
    let shown = finished.rfc3339();
    if finished.as_nanos() > now.as_nanos().saturating_add(AHEAD_MAX) {
        return Some(format!("`scan_hours_max`: the scan ended in the future, at {shown}"));
    }
    let age = now.since(finished).as_secs();
    (age > hours.saturating_mul(3600))
        .then(|| format!("`scan_hours_max`: the scan ended {} hours ago, at {shown}", age / 3600))
}

/// The last moment at which what the predicate says is still young enough, where that is asked.
pub(crate) fn until(wanted: &RequiredAttestation, predicate: &Value) -> Option<Timestamp> {
    let hours = wanted.scan_hours_max?;
    let finished: Timestamp = word(predicate, &["metadata", "scanFinishedOn"])?.parse().ok()?;
    let nanos = hours.saturating_mul(3600).saturating_add(1).saturating_mul(1_000_000_000);
    Some(Timestamp::from_nanos(finished.as_nanos().saturating_add(nanos).saturating_sub(1)))
}

fn severity(limit: Option<Severity>, predicate: &Value) -> Option<String> {
    let limit = limit?;
    let result = at(predicate, &["scanner", "result"]);
    let Some(found) = result.and_then(severities) else {
        return Some("`severity_max`: its result is in no form that is known here".into());
    };
    // What nobody rated may be anything.
    let worst = found.into_iter().max_by_key(|(_, it)| rank(*it))?;
    let shown = format!("{:?}", worst.1).to_lowercase();
    (rank(worst.1) > rank(limit)).then(|| format!("`severity_max`: `{:.60}` is {shown}", worst.0))
}

fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Negligible => 0,
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
        Severity::Unknown => 5,
    }
}

fn named(text: &str) -> Severity {
    match text.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" | "important" | "error" => Severity::High,
        "medium" | "moderate" => Severity::Medium,
        "low" => Severity::Low,
        "negligible" | "none" | "info" | "informational" => Severity::Negligible,
        _ => Severity::Unknown,
    }
}

/// CVSS 3.1, chapter 5.
fn scored(score: f64) -> Severity {
    match score {
        score if score.is_nan() || !(0.0..=10.0).contains(&score) => Severity::Unknown,
        score if score >= 9.0 => Severity::Critical,
        score if score >= 7.0 => Severity::High,
        score if score >= 4.0 => Severity::Medium,
        score if score > 0.0 => Severity::Low,
        _ => Severity::Negligible,
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

type Findings = Vec<(String, Severity)>;

/// The findings of a scan: of Trivy, Grype, in SARIF, of in-toto's own form, or a plain list
/// `vulnerabilities` with `id` and `severity`.
fn severities(result: &Value) -> Option<Findings> {
    fn list<'v>(value: &'v Value, name: &str) -> Option<&'v Vec<Value>> {
        value.get(name)?.as_array().filter(|list| list.len() <= VALUES_MAX)
    }
    let by_name = |item: &Value, id: &[&str], severity: &[&str]| {
        let id = word(item, id).unwrap_or("a finding").to_string();
        (id, word(item, severity).map_or(Severity::Unknown, named))
    };
    if let Some(items) = result.as_array().filter(|list| list.len() <= VALUES_MAX) {
        return items.iter().map(in_toto).collect();
    }
    if result.get("SchemaVersion").is_some() && result.get("ArtifactName").is_some() {
        let mut all = Findings::new();
        // Trivy leaves out what is empty.
        for target in list(result, "Results").into_iter().flatten() {
            for it in list(target, "Vulnerabilities").into_iter().flatten() {
                all.push(by_name(it, &["VulnerabilityID"], &["Severity"]));
            }
        }
        return Some(all);
    }
    if let Some(items) = list(result, "matches") {
        let of = |it: &Value| by_name(it, &["vulnerability", "id"], &["vulnerability", "severity"]);
        return Some(items.iter().map(of).collect());
    }
    if let Some(runs) = list(result, "runs") {
        return sarif(runs);
    }
    let items = list(result, "vulnerabilities")?;
    Some(items.iter().map(|it| by_name(it, &["id"], &["severity"])).collect())
}

/// An element of in-toto's predicate `vulns`: `{id, severity: [{method, score}]}`. The worst
/// of several ratings counts.
fn in_toto(item: &Value) -> Option<(String, Severity)> {
    let id = word(item, &["id"])?.to_string();
    let ratings = item.get("severity")?.as_array()?;
    let rated = ratings.iter().map(|it| {
        let score = it.get("score")?;
        Some(number(score).map_or_else(|| score.as_str().map_or(Severity::Unknown, named), scored))
    });
    let rated: Option<Vec<_>> = rated.collect();
    let worst = rated?.into_iter().max_by_key(|it| rank(*it));
    Some((id, worst.unwrap_or(Severity::Unknown)))
}

/// SARIF: results name rules, which have a score.
fn sarif(runs: &[Value]) -> Option<Findings> {
    let mut all = Findings::new();
    for run in runs {
        let rules = at(run, &["tool", "driver", "rules"]).and_then(Value::as_array);
        let rated: std::collections::HashMap<&str, Severity> = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| {
                let score = at(rule, &["properties", "security-severity"]).and_then(number);
                Some((word(rule, &["id"])?, score.map_or(Severity::Unknown, scored)))
            })
            .collect();
        for result in run.get("results")?.as_array()? {
            let id = word(result, &["ruleId"]).unwrap_or_default();
            let severity = rated.get(id).copied().unwrap_or(Severity::Unknown);
            all.push((id.to_string(), severity));
        }
        if all.len() > VALUES_MAX {
            return None;
        }
    }
    Some(all)
}

/// `cyclonedx-1.5`, `spdx-2.3`. Older cosign wraps an SPDX document into a text.
fn bill(predicate: &Value) -> Option<String> {
    let wrapped = predicate.get("Data").map(|data| match data.as_str() {
        Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        None => data.clone(),
    });
    let bill = wrapped.as_ref().unwrap_or(predicate);
    if word(bill, &["bomFormat"]) == Some("CycloneDX") {
        return Some(format!("cyclonedx-{}", word(bill, &["specVersion"])?));
    }
    if let Some(version) = word(bill, &["spdxVersion"]) {
        return Some(version.to_ascii_lowercase());
    }
    // SPDX 3 is a graph whose context names the version.
    let context = word(bill, &["@context"])?;
    let version = context.strip_prefix("https://spdx.org/rdf/")?.split('/').next()?;
    Some(format!("spdx-{version}"))
}

fn vex(statuses: &[String], predicate: &Value) -> Option<String> {
    let list = predicate.get("statements").and_then(Value::as_array);
    let Some(list) = list.filter(|it| !it.is_empty() && it.len() <= VALUES_MAX) else {
        return Some("`vex_statuses`: it has no statements".into());
    };
    let bad = list.iter().find(|it| {
        word(it, &["status"]).is_none_or(|status| !statuses.iter().any(|wanted| wanted == status))
    })?;
    let name = word(bad, &["vulnerability", "name"]).or_else(|| word(bad, &["vulnerability"]));
    let status = word(bad, &["status"]).unwrap_or("without a status");
    Some(format!("`vex_statuses`: `{:.60}` is {status:.40}", name.unwrap_or("a vulnerability")))
}

/// Adds the problems of questions that the kind of predicate cannot answer.
pub(crate) fn check(reader: &mut Reader, i: usize, item: &RequiredAttestation) {
    for (key, family) in asked(item) {
        let literal = item.predicate.split('*').next().unwrap_or_default();
        let is_pattern = literal.len() < item.predicate.len();
        let answers = family
            .iter()
            .any(|it| literal.starts_with(it) || is_pattern && it.starts_with(literal));
        if !answers {
            let path = format!("images.attestations[{i}].{key}");
            let what = format!("a `{:.80}` does not say it", item.predicate);
            let help = format!("`{key}` is asked of `{}…`", family.join("…`, `"));
            note(reader, Code::Conflict, Level::Error, &path, &what, &help);
        }
    }
    for status in item.vex_statuses.iter().filter(|it| !STATUSES.contains(&it.as_str())) {
        let path = format!("images.attestations[{i}].vex_statuses");
        let what = format!("`{status:.40}` is no status of OpenVEX");
        let help = format!("use {}", STATUSES.join(", "));
        note(reader, Code::BadValue, Level::Error, &path, &what, &help);
    }
}

fn limit(policy: &mut Policy, severity: Option<Severity>) {
    attestation(policy, |item| item.severity_max = severity);
}

const SEVERITY_MAX: &[Choice] = &[
    Choice { name: "any", meaning: "it is not asked", set: |p| limit(p, None) },
    Choice {
        name: "negligible",
        meaning: "nothing above negligible",
        set: |p| limit(p, Some(Severity::Negligible)),
    },
    Choice { name: "low", meaning: "nothing above low", set: |p| limit(p, Some(Severity::Low)) },
    Choice {
        name: "medium",
        meaning: "nothing above medium",
        set: |p| limit(p, Some(Severity::Medium)),
    },
    Choice {
        name: "high",
        meaning: "nothing that is critical",
        set: |p| limit(p, Some(Severity::High)),
    },
];

/// The keys, in the order in which they are written and explained.
pub(crate) const KEYS: &[Key] = &[
    text(
        "images.attestations[].builder",
        TextRule::Sentence,
        |p, text| attestation(p, |item| item.builder = text),
        Preset::Value(""),
        "SLSA provenance of any version: who built it (`builder.id`); `*` stands for any text.",
        "\"https://ci.example/builders/*\"",
    ),
    text(
        "images.attestations[].build_type",
        TextRule::Sentence,
        |p, text| attestation(p, |item| item.build_type = text),
        Preset::Value(""),
        "SLSA provenance: how it was built (`buildType`); `*` stands for any text.",
        "\"https://ci.example/workflow/v1\"",
    ),
    text(
        "images.attestations[].source",
        TextRule::Sentence,
        |p, text| attestation(p, |item| item.source = text),
        Preset::Value(""),
        "SLSA provenance: where the sources came from: the repository of the build's parameters \
         or, where they name none, the first resolved dependency (version 1); \
         `invocation.configSource.uri` (0.2); `*` stands for any text.",
        "\"git+https://git.example/shop@*\"",
    ),
    texts(
        "images.attestations[].materials",
        TextRule::Sentence,
        |p, texts| attestation(p, |item| item.materials = texts),
        "SLSA provenance: everything that went in (`resolvedDependencies`, `materials`) has an \
         address of this list, and a digest; `*` stands for any text.",
        "[\"git+https://git.example/*\", \"pkg:docker/*\"]",
    ),
    Key {
        path: "images.attestations[].scan_hours_max",
        kind: Kind::Integer {
            min: 1,
            max: HOURS_MAX,
            optional: true,
            set: |p, n| attestation(p, |item| item.scan_hours_max = n),
        },
        default: Preset::Value("none"),
        doc: "A scan for vulnerabilities: how many hours ago it may have ended.",
        example: "168",
    },
    Key {
        path: "images.attestations[].severity_max",
        kind: Kind::Choice(SEVERITY_MAX),
        default: Preset::Value("any"),
        doc: "A scan for vulnerabilities: the worst that it may have found, in the results of \
              Trivy and Grype, in SARIF, and in in-toto's own form. What nobody rated counts as \
              the worst.",
        example: "medium",
    },
    texts(
        "images.attestations[].sbom",
        TextRule::Sentence,
        |p, texts| attestation(p, |item| item.sbom = texts),
        "A bill of materials: its format and version are one of these, as in `cyclonedx-1.5` and \
         `spdx-2.3`; `*` stands for any text.",
        "[\"cyclonedx-1.*\", spdx-2.3]",
    ),
    texts(
        "images.attestations[].vex_statuses",
        TextRule::Sentence,
        |p, texts| attestation(p, |item| item.vex_statuses = texts),
        "A VEX document: every statement has one of these statuses.",
        "[not_affected, fixed]",
    ),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const V1: &str = "https://slsa.dev/provenance/v1";
    const V02: &str = "https://slsa.dev/provenance/v0.2";
    const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

    fn wanted(text: &str) -> RequiredAttestation {
        let text = format!(
            "version: 1\nname: p\nimages:\n  keys: [a.pub]\n  attestations:\n    - {{predicate: \"*\", {text}}}\n"
        );
        let parsed = crate::parse(&text, "p", std::path::Path::new("")).unwrap();
        parsed.policy.images.attestations[0].clone()
    }

    #[track_caller]
    fn check(asked: &str, kind: &str, predicate: &Value, expected: Result<(), &str>) {
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        let found = unmet(&wanted(asked), kind, predicate, now);
        match expected {
            Ok(()) => assert!(found.is_empty(), "{asked}: {found:?}"),
            Err(why) => assert!(found.join("; ").contains(why), "{asked}: {found:?} not {why}"),
        }
    }

    #[test]
    fn provenance_of_every_version_says_who_and_from_what() {
        let v1 = json!({
            "buildDefinition": {
                "buildType": "https://ci.example/v1",
                "externalParameters": {"workflow": {"repository": "https://git.example/shop"}},
                "resolvedDependencies": [
                    {"uri": "git+https://git.example/shop@refs/heads/main", "digest": {"gitCommit": "ab"}},
                    {"uri": "pkg:docker/base@1", "digest": {"sha256": "cd"}},
                ],
            },
            "runDetails": {"builder": {"id": "https://ci.example/builders/a"}},
        });
        let v02 = json!({
            "builder": {"id": "https://ci.example/builders/a"},
            "buildType": "https://ci.example/v0",
            "invocation": {"configSource": {"uri": "git+https://git.example/shop"}},
            "materials": [{"uri": "git+https://git.example/shop", "digest": {"sha1": "ab"}}],
        });
        let builder = "builder: \"https://ci.example/builders/*\"";
        check(builder, V1, &v1, Ok(()));
        check(builder, V02, &v02, Ok(()));
        check("builder: \"https://evil.example\"", V1, &v1, Err("`builder`: it is `https://ci"));
        check(builder, V1, &json!({}), Err("does not say it"));
        check(builder, V1, &json!({"runDetails": {"builder": {"id": 7}}}), Err("does not say it"));
        check(builder, VULN, &v1, Err("does not say it"));
        check("build_type: \"https://ci.example/v1\"", V1, &v1, Ok(()));
        check("build_type: \"https://ci.example/v1\"", V02, &v02, Err("v0"));
        check("source: \"https://git.example/*\"", V1, &v1, Ok(()));
        check("source: \"git+https://git.example/*\"", V02, &v02, Ok(()));
        check("source: \"git+https://git.example/evil\"", V02, &v02, Err("it is `git+https"));
        let mut first = v1.clone();
        first["buildDefinition"]["externalParameters"] = json!({});
        check("source: \"git+https://git.example/shop@*\"", V1, &first, Ok(()));
        let all = "materials: [\"git+https://git.example/*\", \"pkg:docker/*\"]";
        check(all, V1, &v1, Ok(()));
        check(all, V02, &v02, Ok(()));
        check("materials: [\"git+*\"]", V1, &v1, Err("`pkg:docker/base@1` is one of them"));
        let mut bare = v1.clone();
        bare["buildDefinition"]["resolvedDependencies"][1]["digest"] = json!({});
        check(all, V1, &bare, Err("has no digest"));
        bare["buildDefinition"]["resolvedDependencies"] = json!([]);
        check(all, V1, &bare, Err("names none"));
    }

    #[test]
    fn a_scan_is_of_an_age_and_found_nothing_worse() {
        let scan = |finished: &str, result: &Value| {
            json!({"scanner": {"uri": "pkg:x", "result": result},
                "metadata": {"scanStartedOn": finished, "scanFinishedOn": finished}})
        };
        let nothing = json!({"vulnerabilities": []});
        let age = |finished: &str, expected| {
            check("scan_hours_max: 24", VULN, &scan(finished, &nothing), expected);
        };
        age("2026-11-28T11:00:00Z", Ok(()));
        age("2026-11-27T14:00:00+02:00", Ok(()));
        age("2026-11-27T10:00:00Z", Err("26 hours ago"));
        age("2026-11-28T12:04:00Z", Ok(()));
        age("2026-11-28T12:06:00Z", Err("in the future"));
        age("yesterday", Err("does not say when"));
        check("scan_hours_max: 24", VULN, &json!({}), Err("does not say when"));
        let worst = |limit: &str, result: &Value, expected| {
            let asked = format!("severity_max: {limit}");
            check(&asked, VULN, &scan("2026-11-28T11:00:00Z", result), expected);
        };
        let trivy = |severity: &str| {
            json!({"SchemaVersion": 2, "ArtifactName": "x", "Results": [{"Target": "t"},
                {"Vulnerabilities": [{"VulnerabilityID": "CVE-1", "Severity": "LOW"},
                    {"VulnerabilityID": "CVE-2", "Severity": severity}]}]})
        };
        worst("medium", &trivy("MEDIUM"), Ok(()));
        worst("medium", &trivy("HIGH"), Err("`CVE-2` is high"));
        worst("high", &trivy("CRITICAL"), Err("`CVE-2` is critical"));
        worst("high", &trivy("UNKNOWN"), Err("`CVE-2` is unknown"));
        worst("negligible", &json!({"SchemaVersion": 2, "ArtifactName": "x"}), Ok(()));
        let grype = json!({"matches": [{"vulnerability": {"id": "CVE-3", "severity": "High"}}]});
        worst("high", &grype, Ok(()));
        worst("low", &grype, Err("`CVE-3` is high"));
        let sarif = |score: &str| {
            json!({"runs": [{"tool": {"driver": {"rules": [{"id": "CVE-4",
                "properties": {"security-severity": score}}]}}, "results": [{"ruleId": "CVE-4"}]}]})
        };
        worst("medium", &sarif("6.9"), Ok(()));
        worst("medium", &sarif("7.0"), Err("`CVE-4` is high"));
        worst("high", &sarif("11"), Err("is unknown"));
        let vulns = |score: &Value| json!([{"id": "CVE-5", "severity": [{"method": "nvd", "score": score}]}]);
        worst("medium", &vulns(&json!("5.0")), Ok(()));
        worst("medium", &vulns(&json!("MEDIUM")), Ok(()));
        worst("medium", &vulns(&json!(9.8)), Err("`CVE-5` is critical"));
        worst("high", &json!([{"id": "CVE-6", "severity": []}]), Err("`CVE-6` is unknown"));
        for bad in [json!({}), json!(null), json!("clean"), json!([7]), json!({"runs": [{}]})] {
            worst("high", &bad, Err("in no form that is known"));
        }
    }

    #[test]
    fn bills_and_vex_documents_are_of_a_form_and_status() {
        let bill = |asked: &str, predicate: &Value, expected| {
            check(&format!("sbom: [{asked}]"), "https://spdx.dev/Document", predicate, expected);
        };
        let cyclonedx = json!({"bomFormat": "CycloneDX", "specVersion": "1.5"});
        bill("\"cyclonedx-1.*\"", &cyclonedx, Ok(()));
        bill("spdx-2.3", &cyclonedx, Err("it is `cyclonedx-1.5`"));
        bill("spdx-2.3", &json!({"spdxVersion": "SPDX-2.3"}), Ok(()));
        bill("spdx-2.3", &json!({"Data": "{\"spdxVersion\": \"SPDX-2.3\"}"}), Ok(()));
        bill("spdx-2.3", &json!({"Data": "SPDXVersion: SPDX-2.3"}), Err("does not say it"));
        let graph = json!({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"});
        bill("\"spdx-3.*\"", &graph, Ok(()));
        bill("\"*\"", &json!({}), Err("does not say it"));
        let vex = |statements: &Value, expected| {
            let predicate = json!({"statements": statements});
            let asked = "vex_statuses: [not_affected, fixed]";
            check(asked, "https://openvex.dev/ns/v0.2.0", &predicate, expected);
        };
        vex(&json!([{"vulnerability": {"name": "CVE-1"}, "status": "fixed"}]), Ok(()));
        vex(
            &json!([{"vulnerability": {"name": "CVE-1"}, "status": "affected"}]),
            Err("`CVE-1` is affected"),
        );
        vex(&json!([{"vulnerability": "CVE-2"}]), Err("`CVE-2` is without a status"));
        vex(&json!([]), Err("has no statements"));
    }
}
