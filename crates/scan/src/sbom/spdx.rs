//! SPDX 2.3 (ISO/IEC 5962), JSON.

use std::collections::HashMap;

use palisade_model::finding::ScanReport;
use palisade_model::package::PackageState;
use palisade_model::{Distribution, Finding, Inventory, Package};
use serde_json::{Value, json};

use super::DocumentInfo;
use crate::report::item;

const NO_ASSERTION: &str = "NOASSERTION";
/// Begins the remark about licences, whose names follow a colon.
pub(super) const STATED: &str = "stated by the package";
/// As [`STATED`]; the path follows.
pub(super) const RECOGNISED: &str = "recognised in the text of ";

/// Renders `inventory`.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(inventory: &Inventory, info: &DocumentInfo) -> Result<String, serde_json::Error> {
    finish(&document(inventory, info))
}

/// Renders the inventory of `report`, each package with the advisories that concern it, which
/// is all that the format has a place for.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render_report(
    report: &ScanReport,
    info: &DocumentInfo,
) -> Result<String, serde_json::Error> {
    let mut document = document(&report.inventory, info);
    document["creationInfo"]["comment"] = json!(item::advisories_of(report));
    let mut by_purl: HashMap<&str, Vec<String>> = HashMap::new();
    for finding in &report.findings {
        if let Finding::Vulnerability(v) = finding
            && let Some(url) = item::url_of(&v.id)
        {
            let urls = by_purl.entry(&v.purl).or_default();
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    let packages = document.get_mut("packages").and_then(Value::as_array_mut);
    for package in packages.into_iter().flatten() {
        let Some(references) = package.get_mut("externalRefs").and_then(Value::as_array_mut) else {
            continue;
        };
        let purl = references.first().and_then(|first| first.get("referenceLocator"));
        let urls = purl.and_then(Value::as_str).and_then(|purl| by_purl.get(purl)).cloned();
        for url in urls.unwrap_or_default() {
            references.push(json!({
                "referenceCategory": "SECURITY",
                "referenceType": "advisory",
                "referenceLocator": url,
            }));
        }
    }
    if report.n_ignored > 0 {
        let remark = format!("{} findings were set aside", report.n_ignored);
        document["comment"] = json!(remark);
    }
    finish(&document)
}

fn finish(document: &Value) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    Ok(text)
}

fn document(inventory: &Inventory, info: &DocumentInfo) -> Value {
    let subject = &inventory.subject;
    let version = subject.digest.map_or_else(|| NO_ASSERTION.to_string(), |d| d.to_string());
    let mut packages = vec![json!({
        "SPDXID": "SPDXRef-Image",
        "name": subject.name,
        "versionInfo": version,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
    })];
    let mut relationships = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")];
    if let Some(distribution) = &inventory.distribution {
        packages.push(operating_system(distribution));
        relationships.push(relation("SPDXRef-Image", "CONTAINS", "SPDXRef-OperatingSystem"));
    }
    let mut ids: HashMap<&str, String> = HashMap::new();
    for (index, package) in inventory.packages.iter().chain(&inventory.parts).enumerate() {
        let id = format!("SPDXRef-Package-{}", index + 1);
        packages.push(describe(package, &id));
        let owner = package.owner.as_deref().and_then(|owner| ids.get(owner));
        let container = owner.map_or("SPDXRef-Image", String::as_str);
        relationships.push(relation(container, "CONTAINS", &id));
        ids.entry(&package.purl).or_insert(id);
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("https://palisade.dev/spdx/{}", info.uuid),
        "creationInfo": {
            "created": info.seconds(),
            "creators": [format!("Tool: palisade-{}", info.tool_version)],
        },
        "packages": packages,
        "relationships": relationships,
    });
    if !inventory.gaps.is_empty() {
        let gaps = inventory.gaps.iter().map(|gap| {
            json!({
                "annotationDate": info.seconds(),
                "annotationType": "OTHER",
                "annotator": format!("Tool: palisade-{}", info.tool_version),
                "comment": format!("not examined: {}: {}", gap.path, gap.reason),
            })
        });
        document["annotations"] = gaps.collect();
    }
    document
}

fn operating_system(distribution: &Distribution) -> Value {
    let version = match distribution.version_id.as_str() {
        "" => NO_ASSERTION,
        version => version,
    };
    json!({
        "SPDXID": "SPDXRef-OperatingSystem",
        "name": distribution.id,
        "versionInfo": version,
        "summary": distribution.name,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "OPERATING_SYSTEM",
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
    })
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn describe(package: &Package, id: &str) -> Value {
    let mut out = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
    });
    // A name that no package URL can hold has none.
    if !package.purl.is_empty() {
        out["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl,
        }]);
    }
    // Licence names of package managers are no SPDX expressions, so they are a remark.
    if !package.licences.is_empty() {
        let by = match &package.licences_recognised_in {
            Some(path) => format!("{RECOGNISED}{path}"),
            None => STATED.to_string(),
        };
        out["licenseComments"] = json!(format!("{by}: {}", package.licences.join(", ")));
    }
    if let Some(maintainer) = &package.maintainer {
        out["supplier"] =
            json!(format!("Organization: {}", maintainer.replace('<', "(").replace('>', ")")));
    }
    let info = source_info(package);
    if !info.is_empty() {
        out["sourceInfo"] = json!(info);
    }
    out
}

/// Where a package comes from, in words: SPDX has no field for each.
fn source_info(package: &Package) -> String {
    let mut parts = Vec::new();
    if let Some(source) = &package.source {
        parts.push(format!("built from {} {}", source.name, source.version));
    }
    let evidence = &package.evidence;
    parts.push(match package.state {
        PackageState::Declared => format!("named by {evidence}, not found installed"),
        PackageState::Installed => format!("found by {evidence}"),
    });
    parts.join("; ")
}
