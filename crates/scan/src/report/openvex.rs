//! What the scan says of each vulnerability, as a document of OpenVEX 0.2
//! (github.com/openvex/spec), for whoever looks at the same image with another program.
//!
//! Only what was shown or stated by somebody is `not_affected`: the functions that the advisories
//! name are in no program of the image that has the package (`vulnerable_code_not_present`), or a
//! VEX document said so. An entry of an ignore file or of the policy decides to live with a
//! vulnerability, which does not make it go away: it is `affected`, and the decision is the
//! action. One package can be in several programs; a statement is about all of them.
//!
//! Where nothing was found the document has no statement, which the schema of OpenVEX does not
//! foresee and its tools read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use palisade_base::Digest;
use palisade_model::Finding;
use palisade_model::finding::{ScanReport, Vulnerability, VulnerabilityStatus};
use palisade_model::judgement::{Suppressed, SuppressedBy};
use palisade_model::package::Subject;
use palisade_packages::purl::PackageUrl;
use serde_json::{Value, json};

use super::printable;
use crate::sbom::DocumentInfo;

/// The context that makes a document one of OpenVEX 0.2.
const CONTEXT: &str = "https://openvex.dev/ns/v0.2.0";

/// So many things that were not examined are named, the others counted.
const SPOTS_MAX: usize = 20;

/// What is said of one vulnerability of one package.
#[derive(Debug, Default)]
struct About<'a> {
    found: Vec<&'a Vulnerability>,
    set_aside: Vec<(&'a Vulnerability, &'a Suppressed)>,
}

/// The document, with a final newline.
///
/// # Errors
///
/// None in practice: it is plain data.
pub fn render(report: &ScanReport, info: &DocumentInfo) -> Result<String, serde_json::Error> {
    let mut all: BTreeMap<(&str, &str), About<'_>> = BTreeMap::new();
    for finding in &report.findings {
        if let Finding::Vulnerability(v) = finding {
            all.entry((&v.id, &v.purl)).or_default().found.push(v);
        }
    }
    for suppressed in &report.suppressed {
        if let Finding::Vulnerability(v) = &suppressed.finding {
            all.entry((&v.id, &v.purl)).or_default().set_aside.push((v, suppressed));
        }
    }
    let image = image(&report.inventory.subject);
    let statements: Vec<Value> =
        all.values().filter_map(|about| statement(about, image.as_deref())).collect();
    let document = json!({
        "@context": CONTEXT,
        "@id": format!("urn:uuid:{}", info.uuid),
        "author": "Palisade",
        "role": "image scanner",
        "timestamp": info.seconds(),
        "version": 1,
        "tooling": tooling(report, &info.tool_version),
        "statements": statements,
    });
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

/// The tool, how old its advisories are, and what it did not examine: there is no other place for it, and who reads that a
/// vulnerability is not named here must know.
fn tooling(report: &ScanReport, version: &str) -> String {
    let spots = super::item::blind_spots(report);
    let mut text = format!("palisade/{version}; {}", super::item::advisories_of(report));
    for spot in spots.iter().take(SPOTS_MAX) {
        text.push_str("; not examined: ");
        text.push_str(&printable(spot));
    }
    if spots.len() > SPOTS_MAX {
        let _ = write!(text, "; {} more not examined", spots.len() - SPOTS_MAX);
    }
    text
}

fn statement(about: &About<'_>, image: Option<&str>) -> Option<Value> {
    let set_aside = about.set_aside.iter().map(|(v, _)| *v);
    let first = about.found.iter().copied().chain(set_aside).next()?;
    let mut statement = json!({
        "vulnerability": {"name": clean(&first.id)},
        "products": [product(&first.purl, image)],
    });
    if !first.aliases.is_empty() {
        let aliases: Vec<String> = first.aliases.iter().map(|alias| clean(alias)).collect();
        statement["vulnerability"]["aliases"] = json!(aliases);
    }
    for (key, value) in verdict(about) {
        statement[key] = json!(value);
    }
    Some(statement)
}

/// Status and what goes with it.
fn verdict(about: &About<'_>) -> Vec<(&'static str, String)> {
    let status = |status: &str| ("status", status.to_string());
    // What a VEX document set aside says nothing against the rest.
    let by_vex = about.set_aside.iter().find(|(_, s)| s.by == SuppressedBy::Vex);
    let decided = about.set_aside.iter().find(|(_, s)| s.by != SuppressedBy::Vex);
    let rest = || about.found.iter().copied().chain(decided.iter().map(|(v, _)| *v));
    if let (Some((_, suppressed)), None) = (by_vex, rest().next()) {
        return vec![status("not_affected"), ("impact_statement", clean(&suppressed.reason))];
    }
    if rest().all(Vulnerability::is_absent) {
        let programs: Vec<&str> =
            rest().filter_map(|v| v.symbols.as_ref()).map(|check| check.program.as_str()).collect();
        let what = "the functions that the advisories name are not in";
        return vec![
            status("not_affected"),
            ("justification", "vulnerable_code_not_present".to_string()),
            ("impact_statement", clean(&format!("{what} {}", programs.join(", ")))),
        ];
    }
    let found = about.found.iter().find(|v| !v.is_absent());
    match (found, decided) {
        (Some(v), _) if v.status == VulnerabilityStatus::UnderInvestigation => {
            vec![status("under_investigation")]
        }
        (Some(v), _) => vec![status("affected"), ("action_statement", action(v))],
        (None, Some((_, suppressed))) => {
            vec![status("affected"), ("action_statement", decision(suppressed))]
        }
        (None, None) => vec![status("affected"), ("action_statement", "unknown".to_string())],
    }
}

fn action(v: &Vulnerability) -> String {
    let name = v.source.as_deref().unwrap_or(&v.package);
    match &v.fixed {
        Some(fixed) => clean(&format!("upgrade {name} from {} to {fixed}", v.installed)),
        None if v.status == VulnerabilityStatus::Affected => "no fix is known".to_string(),
        None => format!("no fix is known: {}", v.status.as_str()),
    }
}

fn decision(suppressed: &Suppressed) -> String {
    let until = suppressed.expires.map(|time| format!(" until {time}")).unwrap_or_default();
    clean(&format!("accepted by the {}{until}: {}", suppressed.by.as_str(), suppressed.reason))
}

fn clean(text: &str) -> String {
    printable(text).into_owned()
}

/// The image with the package in it; the package alone where the image has no digest.
fn product(purl: &str, image: Option<&str>) -> Value {
    let purl = clean(purl);
    match image {
        Some(image) => json!({"@id": image, "subcomponents": [{"@id": purl}]}),
        None => json!({"@id": purl}),
    }
}

/// `pkg:oci/shop@sha256%3A…`, where what was examined is an image.
fn image(subject: &Subject) -> Option<String> {
    let digest: Digest = subject.digest?;
    let name = crate::vex::image_name(&subject.name).to_ascii_lowercase();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = if name.is_empty() || !name.chars().all(is_plain) { "image" } else { name.as_str() };
    let url =
        PackageUrl::parse(&format!("pkg:oci/{name}@{}", digest.to_string().replace(':', "%3A")));
    url.ok().map(|url| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::full;
    use palisade_base::Timestamp;
    use palisade_model::symbols::{SymbolAnswer, SymbolCheck};

    fn vulnerability(id: &str, program: &str, answer: SymbolAnswer) -> Vulnerability {
        Vulnerability {
            id: id.into(),
            package: "golang.org/x/net".into(),
            purl: "pkg:golang/golang.org/x/net@v0.1.0".into(),
            installed: "v0.1.0".into(),
            fixed: Some("v0.2.0".into()),
            symbols: Some(SymbolCheck {
                answer,
                program: program.into(),
                n_named: 1,
                present: Vec::new(),
                reason: None,
            }),
            ..Vulnerability::default()
        }
    }

    fn report(findings: Vec<Vulnerability>, suppressed: Vec<Suppressed>) -> ScanReport {
        let mut report = full();
        report.findings = findings.into_iter().map(Finding::Vulnerability).collect();
        report.suppressed = suppressed;
        report.inventory.subject.digest = Some(Digest::of(b"x"));
        report.inventory.subject.name = "registry:registry.example/team/shop:1".into();
        report
    }

    fn document(report: &ScanReport) -> (Value, String) {
        let info = DocumentInfo::derived(b"x", Timestamp::from_nanos(1), "1");
        let text = render(report, &info).unwrap();
        (serde_json::from_str(&text).unwrap(), text)
    }

    fn set_aside(id: &str, by: SuppressedBy, answer: SymbolAnswer) -> Suppressed {
        let finding = Finding::Vulnerability(vulnerability(id, "/a", answer));
        let expires = (by == SuppressedBy::Ignore).then_some(Timestamp::from_nanos(1));
        Suppressed { finding, by, reason: "because".into(), expires }
    }

    #[test]
    fn only_what_was_shown_or_stated_is_not_affected() {
        use SymbolAnswer::{Absent, Present, Unknown};

        let check = |findings: &[SymbolAnswer], by: Option<SuppressedBy>, expected: &str| {
            let of = |answer: &SymbolAnswer| vulnerability("CVE-2024-0001", "/a", *answer);
            let set_aside = by.map(|by| set_aside("CVE-2024-0001", by, SymbolAnswer::Unknown));
            let report = report(findings.iter().map(of).collect(), set_aside.into_iter().collect());
            let (document, _) = document(&report);
            let [statement] = &document["statements"].as_array().unwrap()[..] else { panic!() };
            assert_eq!(statement["status"], expected, "{statement}");
            let is_justified = statement.get("justification").is_some();
            assert_eq!(is_justified, expected == "not_affected" && by.is_none(), "{statement}");
            assert_eq!(statement.get("action_statement").is_some(), expected == "affected");
        };
        check(&[Absent], None, "not_affected");
        check(&[Absent, Absent], None, "not_affected");
        check(&[Absent, Present], None, "affected");
        check(&[Absent, Unknown], None, "affected");
        check(&[Unknown], None, "affected");
        check(&[], Some(SuppressedBy::Vex), "not_affected");
        check(&[], Some(SuppressedBy::Ignore), "affected");
        check(&[Absent], Some(SuppressedBy::Ignore), "affected");
    }

    #[test]
    fn what_is_said_is_read_back_for_the_same_image() {
        let absent = vulnerability("CVE-2024-0001", "/a", SymbolAnswer::Absent);
        let present = vulnerability("CVE-2024-0002", "/a", SymbolAnswer::Present);
        let vex = set_aside("CVE-2024-0003", SuppressedBy::Vex, SymbolAnswer::Unknown);
        let report = report(vec![absent, present], vec![vex]);
        let (_, text) = document(&report);
        let ignores = crate::vex::read(text.as_bytes()).unwrap().statements;
        let of = |id: &str| Finding::Vulnerability(vulnerability(id, "/a", SymbolAnswer::Unknown));
        let mut findings: Vec<Finding> =
            ["CVE-2024-0001", "CVE-2024-0002", "CVE-2024-0003"].map(of).to_vec();
        let subject = Some(&report.inventory.subject);
        crate::ignore::apply(&mut findings, &ignores, Timestamp::from_nanos(2), subject);
        assert_eq!(findings, [of("CVE-2024-0002")]);
        // It says nothing of another image.
        let mut other = report.inventory.subject.clone();
        other.digest = Some(Digest::of(b"y"));
        let mut findings = vec![of("CVE-2024-0001")];
        crate::ignore::apply(&mut findings, &ignores, Timestamp::from_nanos(2), Some(&other));
        assert_eq!(findings.len(), 1);
    }
}
