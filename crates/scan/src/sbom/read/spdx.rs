//! SPDX 2.2 and 2.3 in JSON.

use std::collections::{HashMap, HashSet};

use palisade_base::Digest;
use palisade_model::Distribution;
use palisade_model::package::Subject;
use serde_json::Value;

use super::super::spdx::{RECOGNISED, STATED};
use super::gather::Gatherer;
use super::identity::Stated;
use super::shape::{Problem, quote};
use super::{Document, Problems, ReadSbomError, items, text};

/// Reads a document.
pub(super) fn read(document: &Value, name: &str) -> Result<Document, ReadSbomError> {
    let version = check(document)?;
    let mut gatherer = Gatherer::new(name);
    let subjects = subjects(document);
    for package in items(document, "packages") {
        if subjects.contains(text(package, "SPDXID")) && gatherer.subject.is_none() {
            gatherer.subject = Some(Subject {
                name: text(package, "name").chars().take(1024).collect(),
                digest: text(package, "versionInfo").parse::<Digest>().ok(),
                platform: None,
            });
        }
    }
    // What contains a package: our own documents say so of the parts of a package.
    let mut containers: HashMap<&str, &str> = HashMap::new();
    for relation in items(document, "relationships") {
        if text(relation, "relationshipType") == "CONTAINS" {
            let (from, to) =
                (text(relation, "spdxElementId"), text(relation, "relatedSpdxElement"));
            containers.entry(to).or_insert(from);
        }
    }
    let mut owners: HashMap<&str, String> = HashMap::new();
    for package in items(document, "packages") {
        let id = text(package, "SPDXID");
        let purl = purl(package);
        let purpose = text(package, "primaryPackagePurpose").replace('-', "_");
        if purpose == "OPERATING_SYSTEM" && purl.is_empty() {
            gatherer.distribution = gatherer.distribution.take().or_else(|| system(package));
        } else if (subjects.contains(id) || matches!(&*purpose, "CONTAINER" | "FILE"))
            && purl.is_empty()
        {
            // What the document is about is no package in itself.
        } else {
            let owner = containers.get(id).and_then(|container| owners.get(container)).cloned();
            if let Some(own) = gatherer.add(stated(package, purl), owner.as_deref())? {
                owners.insert(id, own);
            }
        }
    }
    for annotation in items(document, "annotations") {
        if let Some(gap) = text(annotation, "comment").strip_prefix("not examined: ") {
            let (path, reason) = gap.split_once(": ").unwrap_or((gap, "not examined"));
            gatherer.gap(path, reason);
        }
    }
    Ok(gatherer.finish(version.to_string()))
}

/// Holds the document against what the specification makes mandatory; gives its version.
fn check(document: &Value) -> Result<&str, ReadSbomError> {
    let version = text(document, "spdxVersion");
    let short = match version {
        "SPDX-2.2" => "SPDX 2.2",
        "SPDX-2.3" => "SPDX 2.3",
        _ => {
            return Err(ReadSbomError::Version { standard: "SPDX", version: quote(version) });
        }
    };
    let mut problems = Problems(Vec::new());
    let mut need = |value: &Value, at: &str, fields: &[&str]| {
        for field in fields {
            if problems.0.len() < super::PROBLEMS_MAX && text(value, field).is_empty() {
                let message = format!("`{field}` is missing or no text");
                problems.0.push(Problem { pointer: at.to_string(), message });
            }
        }
    };
    need(document, "", &["SPDXID", "name", "dataLicense", "documentNamespace"]);
    let nothing = Value::Null;
    need(document.get("creationInfo").unwrap_or(&nothing), "/creationInfo", &["created"]);
    let lists = ["packages", "relationships", "files", "annotations"];
    for (index, package) in items(document, "packages").enumerate() {
        need(package, &format!("/packages/{index}"), &["SPDXID", "name", "downloadLocation"]);
    }
    for (index, relation) in items(document, "relationships").enumerate() {
        let fields = ["spdxElementId", "relationshipType", "relatedSpdxElement"];
        need(relation, &format!("/relationships/{index}"), &fields);
    }
    for list in lists {
        if document.get(list).is_some_and(|value| !value.is_array()) {
            let message = "expected a list".to_string();
            problems.0.push(Problem { pointer: format!("/{list}"), message });
        }
    }
    let mut seen = HashSet::new();
    for (index, package) in items(document, "packages").enumerate() {
        let id = text(package, "SPDXID");
        let pointer = || format!("/packages/{index}/SPDXID");
        let form = id.strip_prefix("SPDXRef-").is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        });
        if problems.0.len() >= super::PROBLEMS_MAX {
            break;
        }
        if !id.is_empty() && !form {
            let message = format!("`{}` is not of the form SPDXRef-…", quote(id));
            problems.0.push(Problem { pointer: pointer(), message });
        } else if !id.is_empty() && !seen.insert(id) {
            let message = format!("`{}` stands twice", quote(id));
            problems.0.push(Problem { pointer: pointer(), message });
        }
    }
    if problems.0.is_empty() {
        Ok(short)
    } else {
        Err(ReadSbomError::Invalid { format: short.into(), problems })
    }
}

/// The elements that the document is about.
fn subjects(document: &Value) -> HashSet<&str> {
    let described = items(document, "documentDescribes").filter_map(Value::as_str);
    let related = items(document, "relationships").filter_map(|relation| {
        let (from, to) = (text(relation, "spdxElementId"), text(relation, "relatedSpdxElement"));
        match text(relation, "relationshipType") {
            "DESCRIBES" => Some(to),
            "DESCRIBED_BY" => Some(from),
            _ => None,
        }
    });
    described.chain(related).collect()
}

fn purl(package: &Value) -> &str {
    let reference = items(package, "externalRefs").find(|reference| {
        let kind = text(reference, "referenceType");
        kind == "purl" || kind.ends_with("/purl")
    });
    reference.map(|reference| text(reference, "referenceLocator")).unwrap_or_default()
}

fn system(package: &Value) -> Option<Distribution> {
    let id = text(package, "name").to_ascii_lowercase();
    let version = Some(text(package, "versionInfo")).filter(|text| *text != "NOASSERTION");
    let version = version.unwrap_or_default();
    let summary = [text(package, "summary"), text(package, "description")];
    let shown = summary.into_iter().find(|text| !text.is_empty());
    (!id.is_empty()).then(|| Distribution {
        name: shown.map_or_else(|| format!("{id} {version}").trim_end().to_string(), Into::into),
        version_id: version.to_string(),
        codename: String::new(),
        id,
    })
}

fn stated<'v>(package: &'v Value, purl: &'v str) -> Stated<'v> {
    let is_said = |text: &&str| !matches!(*text, "" | "NOASSERTION" | "NONE");
    let licence = [text(package, "licenseDeclared"), text(package, "licenseConcluded")];
    let mut licences: Vec<String> =
        licence.into_iter().find(is_said).map(str::to_string).into_iter().collect();
    // Our own documents keep what the package manager says as a remark.
    let remark = text(package, "licenseComments");
    let remark = remark.rsplit_once(": ").filter(|_| licences.is_empty());
    let recognised = remark.and_then(|(by, _)| by.strip_prefix(RECOGNISED));
    if let Some((by, names)) = remark
        && (by == STATED || recognised.is_some())
    {
        licences = names.split(", ").map(str::to_string).collect();
    }
    let supplier = text(package, "supplier");
    let supplier =
        ["Organization: ", "Person: "].iter().find_map(|kind| supplier.strip_prefix(kind));
    let info = Info::parse(text(package, "sourceInfo"));
    Stated {
        name: text(package, "name"),
        version: text(package, "versionInfo"),
        purl,
        licences,
        licences_recognised_in: recognised,
        maintainer: supplier,
        evidence: info.evidence,
        source: info.source,
        is_declared: info.is_declared,
        ..Stated::default()
    }
}

/// What our own documents say of the origin of a package, in words.
#[derive(Debug, Default)]
pub(super) struct Info<'v> {
    pub source: Option<(&'v str, &'v str)>,
    pub evidence: Option<&'v str>,
    pub is_declared: bool,
}

impl<'v> Info<'v> {
    pub(super) fn parse(text: &'v str) -> Self {
        let mut info = Self::default();
        for part in text.split("; ") {
            if let Some(source) = part.strip_prefix("built from ") {
                // Syft says `built package from: NAME VERSION`, without a word for the version.
                info.source = source.split_once(' ');
            } else if let Some(source) = part.strip_prefix("built package from: ") {
                info.source = Some(source.split_once(' ').unwrap_or((source, "")));
            } else if let Some(path) = part.strip_prefix("found by ") {
                info.evidence = Some(path);
            } else if let Some(rest) = part.strip_prefix("named by ") {
                info.evidence = Some(rest.strip_suffix(", not found installed").unwrap_or(rest));
                info.is_declared = true;
            }
        }
        info
    }
}
