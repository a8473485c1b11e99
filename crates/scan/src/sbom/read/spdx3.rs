//! SPDX 3.0 as JSON-LD, in the form of the official context.

use std::collections::{HashMap, HashSet};

use palisade_base::Digest;
use palisade_model::Distribution;
use palisade_model::package::Subject;
use serde_json::Value;

use super::gather::Gatherer;
use super::identity::Stated;
use super::shape::{Problem, quote};
use super::spdx::Info;
use super::{Document, Problems, ReadSbomError, items, text};

/// Reads a document.
pub(super) fn read(document: &Value, name: &str) -> Result<Document, ReadSbomError> {
    let version = check(document)?;
    let mut gatherer = Gatherer::new(name);
    let elements: Vec<&Value> = items(document, "@graph").collect();
    let by_id: HashMap<&str, &Value> =
        elements.iter().map(|element| (text(element, "spdxId"), *element)).collect();
    let packages = || elements.iter().filter(|e| text(e, "type") == "software_Package");
    let roots: HashSet<&str> = elements
        .iter()
        .filter(|e| matches!(text(e, "type"), "software_Sbom" | "SpdxDocument"))
        .flat_map(|e| items(e, "rootElement").filter_map(Value::as_str))
        .collect();
    let mut licences: HashMap<&str, Vec<String>> = HashMap::new();
    let mut concluded: HashMap<&str, Vec<String>> = HashMap::new();
    let mut containers: HashMap<&str, &str> = HashMap::new();
    for relation in elements.iter().filter(|e| text(e, "type") == "Relationship") {
        let from = text(relation, "from");
        for to in items(relation, "to").filter_map(Value::as_str) {
            match text(relation, "relationshipType") {
                "contains" => {
                    containers.entry(to).or_insert(from);
                }
                kind @ ("hasDeclaredLicense" | "hasConcludedLicense") => {
                    let known = by_id.get(to).map(|element| licence(element)).unwrap_or_default();
                    if !known.is_empty() {
                        let is_declared = kind == "hasDeclaredLicense";
                        let list = if is_declared { &mut licences } else { &mut concluded };
                        list.entry(from).or_default().push(known.to_string());
                    }
                }
                _ => {}
            }
        }
    }
    // What somebody concluded counts where the package states nothing.
    for (package, found) in concluded {
        licences.entry(package).or_insert(found);
    }
    let mut owners: HashMap<&str, String> = HashMap::new();
    for package in packages() {
        let id = text(package, "spdxId");
        let purl = purl(package);
        let purpose = text(package, "software_primaryPurpose");
        let is_root = roots.contains(id) || purpose == "container";
        if is_root && purl.is_empty() {
            if gatherer.subject.is_none() {
                gatherer.subject = Some(subject(package));
            }
        } else if purpose == "operatingSystem" && purl.is_empty() {
            gatherer.distribution = gatherer.distribution.take().or_else(|| system(package));
        } else {
            let info = Info::parse(text(package, "software_sourceInfo"));
            let stated = Stated {
                name: text(package, "name"),
                version: text(package, "software_packageVersion"),
                purl,
                licences: licences.remove(id).unwrap_or_default(),
                evidence: info.evidence,
                source: info.source,
                is_declared: info.is_declared,
                ..Stated::default()
            };
            let owner = containers.get(id).and_then(|container| owners.get(container)).cloned();
            if let Some(own) = gatherer.add(stated, owner.as_deref())? {
                owners.insert(id, own);
            }
        }
    }
    for annotation in elements.iter().filter(|e| text(e, "type") == "Annotation") {
        if let Some(gap) = text(annotation, "statement").strip_prefix("not examined: ") {
            let (path, reason) = gap.split_once(": ").unwrap_or((gap, "not examined"));
            gatherer.gap(path, reason);
        }
    }
    Ok(gatherer.finish(format!("SPDX {version}")))
}

/// Holds the document against what the model makes mandatory; gives its version.
fn check(document: &Value) -> Result<String, ReadSbomError> {
    let version = items(document, "@graph")
        .find(|element| text(element, "type") == "CreationInfo")
        .map(|info| text(info, "specVersion"))
        .unwrap_or_default();
    let format = format!("SPDX {}", if version.is_empty() { "3.0" } else { version });
    if !version.is_empty() && !version.starts_with("3.0") {
        return Err(ReadSbomError::Version { standard: "SPDX", version: quote(version) });
    }
    let mut problems = Vec::new();
    let mut add = |pointer: String, message: &str| {
        if problems.len() < super::PROBLEMS_MAX {
            problems.push(Problem { pointer, message: message.to_string() });
        }
    };
    if !document.get("@context").is_some_and(|context| {
        context.as_str().is_some_and(|url| url.starts_with("https://spdx.org/rdf/3.0"))
    }) {
        add("/@context".into(), "expected the context of SPDX 3.0");
    }
    if !document.get("@graph").is_some_and(Value::is_array) {
        add("/@graph".into(), "expected a list of elements");
    }
    if version.is_empty() {
        add("/@graph".into(), "there is no `CreationInfo` with a `specVersion`");
    }
    let mut seen = HashSet::new();
    for (index, element) in items(document, "@graph").enumerate() {
        let at = || format!("/@graph/{index}");
        let kind = text(element, "type");
        if kind.is_empty() {
            add(at(), "`type` is missing or no text");
        }
        if kind.starts_with("software_") || matches!(kind, "Relationship" | "SpdxDocument") {
            let id = text(element, "spdxId");
            if id.is_empty() {
                add(at(), "`spdxId` is missing or no text");
            } else if !seen.insert(id) {
                add(at(), "its `spdxId` stands twice");
            }
            if element.get("creationInfo").is_none() {
                add(at(), "`creationInfo` is missing");
            }
        }
        if kind == "Relationship" {
            for field in ["from", "relationshipType"] {
                if text(element, field).is_empty() {
                    add(at(), &format!("`{field}` is missing or no text"));
                }
            }
            if items(element, "to").next().is_none() {
                add(at(), "`to` is missing or empty");
            }
        }
    }
    if problems.is_empty() {
        Ok(version.to_string())
    } else {
        Err(ReadSbomError::Invalid { format, problems: Problems(problems) })
    }
}

fn purl(package: &Value) -> &str {
    let own = text(package, "software_packageUrl");
    if !own.is_empty() {
        return own;
    }
    let identifiers = items(package, "externalIdentifier");
    identifiers
        .filter(|id| text(id, "externalIdentifierType") == "packageUrl")
        .map(|id| text(id, "identifier"))
        .next()
        .unwrap_or_default()
}

fn licence(element: &Value) -> &str {
    let fields = ["simplelicensing_licenseExpression", "simplelicensing_licenseText", "name"];
    fields.into_iter().map(|field| text(element, field)).find(|t| !t.is_empty()).unwrap_or_default()
}

fn subject(package: &Value) -> Subject {
    let platform = text(package, "summary");
    Subject {
        name: text(package, "name").chars().take(1024).collect(),
        digest: text(package, "software_packageVersion").parse::<Digest>().ok(),
        platform: Some(platform.to_string()).filter(|text| text.starts_with("linux/")),
    }
}

fn system(package: &Value) -> Option<Distribution> {
    let id = text(package, "name").to_ascii_lowercase();
    let version = text(package, "software_packageVersion");
    let summary = text(package, "summary");
    (!id.is_empty()).then(|| Distribution {
        name: if summary.is_empty() {
            format!("{id} {version}").trim_end().to_string()
        } else {
            summary.to_string()
        },
        version_id: version.to_string(),
        codename: String::new(),
        id,
    })
}
