//! SPDX 2.3 (ISO/IEC 5962), JSON.

use std::collections::HashMap;

use palisade_model::package::PackageState;
use palisade_model::{Inventory, Package};
use serde_json::{Value, json};

use super::DocumentInfo;

const NO_ASSERTION: &str = "NOASSERTION";

/// Renders `inventory`.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(inventory: &Inventory, info: &DocumentInfo) -> Result<String, serde_json::Error> {
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
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
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
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl,
        }],
    });
    // Licence names of package managers are no SPDX expressions, so they are a remark.
    if !package.licences.is_empty() {
        out["licenseComments"] =
            json!(format!("stated by the package: {}", package.licences.join(", ")));
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
    if package.state == PackageState::Declared {
        parts.push(format!("named by {}, not found installed", package.evidence));
    }
    parts.join("; ")
}
