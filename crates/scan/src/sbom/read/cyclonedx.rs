//! CycloneDX 1.2 to 1.7 in JSON.

use std::sync::LazyLock;

use palisade_base::Digest;
use palisade_model::Distribution;
use palisade_model::package::Subject;
use serde_json::Value;

use super::gather::Gatherer;
use super::identity::Stated;
use super::shape::{Problem, Structure, quote};
use super::{Document, Problems, ReadSbomError, items, text};

pub(super) static STRUCTURE: LazyLock<Option<Structure>> =
    LazyLock::new(|| Structure::parse(include_str!("cyclonedx.shape")));

const VERSIONS: [&str; 6] = ["1.2", "1.3", "1.4", "1.5", "1.6", "1.7"];

/// Reads a document.
pub(super) fn read(bom: &Value, name: &str) -> Result<Document, ReadSbomError> {
    let version = check(bom)?;
    let mut gatherer = Gatherer::new(name);
    let subject = bom.get("metadata").and_then(|metadata| metadata.get("component"));
    if let Some(component) = subject {
        gatherer.subject = Some(subject_of(component));
    }
    // Trivy names the operating system beside the packages, Syft in the subject's properties.
    for component in items(bom, "components") {
        take(component, None, &mut gatherer)?;
    }
    // What the subject consists of is in it, too.
    for component in subject.into_iter().flat_map(|subject| items(subject, "components")) {
        take(component, None, &mut gatherer)?;
    }
    for property in
        bom.get("metadata").into_iter().flat_map(|metadata| items(metadata, "properties"))
    {
        if text(property, "name") == "palisade:gap" {
            let (path, reason) = text(property, "value").split_once(": ").unwrap_or_default();
            gatherer.gap(path, reason);
        }
    }
    let subject_ref = subject.map(|subject| text(subject, "bom-ref")).unwrap_or_default();
    let is_partial = items(bom, "compositions").any(|composition| {
        let aggregate = text(composition, "aggregate");
        let of_subject = items(composition, "assemblies").any(|a| a.as_str() == Some(subject_ref));
        aggregate.starts_with("incomplete") && of_subject
    });
    let has_gap = gatherer.has_gap();
    if is_partial && !has_gap {
        gatherer.gap("/", "the document says that it is incomplete");
    }
    Ok(gatherer.finish(format!("CycloneDX {version}")))
}

/// Holds the document against the standard; gives its version.
fn check(bom: &Value) -> Result<&str, ReadSbomError> {
    let version = text(bom, "specVersion");
    let format = format!("CycloneDX {version}");
    let invalid = |pointer: &str, message: String| ReadSbomError::Invalid {
        format: format.trim_end().to_string(),
        problems: Problems(vec![Problem { pointer: pointer.into(), message }]),
    };
    if text(bom, "bomFormat") != "CycloneDX" {
        let found = bom.get("bomFormat").and_then(Value::as_str).map(quote);
        let message = match found {
            Some(found) => format!("`{found}` is not `CycloneDX`"),
            None => "expected the text `CycloneDX`".to_string(),
        };
        return Err(invalid("/bomFormat", message));
    }
    if version.is_empty() {
        return Err(invalid("/specVersion", "expected the version of the standard".into()));
    }
    if !VERSIONS.contains(&version) {
        return Err(ReadSbomError::Version { standard: "CycloneDX", version: quote(version) });
    }
    let mut problems = match &*STRUCTURE {
        Some(structure) => structure.check("bom", bom),
        None => Vec::new(),
    };
    if version != "1.7" {
        mixed_licences(bom, &mut String::new(), &mut problems);
    }
    problems.truncate(super::PROBLEMS_MAX);
    if problems.is_empty() {
        Ok(version)
    } else {
        Err(ReadSbomError::Invalid { format, problems: Problems(problems) })
    }
}

/// Before 1.7 a list of licences was either licences or one expression.
fn mixed_licences(value: &Value, at: &mut String, problems: &mut Vec<Problem>) {
    if problems.len() >= super::PROBLEMS_MAX {
        return;
    }
    let before = at.len();
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                at.push('/');
                at.push_str(name);
                if name == "licenses"
                    && let Some(list) = value.as_array()
                    && list.len() > 1
                    && list.iter().any(|choice| choice.get("expression").is_some())
                {
                    problems.push(Problem {
                        pointer: at.clone(),
                        message: "before version 1.7 an expression stands alone".into(),
                    });
                }
                mixed_licences(value, at, problems);
                at.truncate(before);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                at.push('/');
                at.push_str(&index.to_string());
                mixed_licences(value, at, problems);
                at.truncate(before);
            }
        }
        _ => {}
    }
}

fn subject_of(component: &Value) -> Subject {
    let version = text(component, "version");
    Subject {
        name: quote_name(text(component, "name")),
        digest: version.parse::<Digest>().ok(),
        platform: property(component, &["palisade:platform"]).map(str::to_string),
    }
}

fn quote_name(text: &str) -> String {
    crate::report::printable(text).chars().take(1024).collect()
}

fn property<'v>(component: &'v Value, names: &[&str]) -> Option<&'v str> {
    let found = |wanted: &&str| {
        items(component, "properties")
            .find(|property| text(property, "name") == *wanted)
            .map(|property| text(property, "value"))
            .filter(|value| !value.is_empty())
    };
    names.iter().find_map(found)
}

/// Kinds of components that are no packages.
const NO_PACKAGES: [&str; 8] = [
    "file",
    "container",
    "platform",
    "device",
    "device-driver",
    "firmware",
    "data",
    "cryptographic-asset",
];

fn take(
    component: &Value,
    owner: Option<&str>,
    gatherer: &mut Gatherer<'_>,
) -> Result<(), ReadSbomError> {
    let kind = text(component, "type");
    let purl = text(component, "purl");
    let mut own = None;
    if kind == "operating-system" {
        if gatherer.distribution.is_none() {
            gatherer.distribution = operating_system(component);
        }
    } else if text(component, "scope") == "excluded" {
        gatherer.n_excluded += 1;
    } else if !(NO_PACKAGES.contains(&kind) && purl.is_empty()) {
        own = gatherer.add(stated(component), owner)?;
    }
    for part in items(component, "components") {
        take(part, own.as_deref().or(owner), gatherer)?;
    }
    Ok(())
}

fn operating_system(component: &Value) -> Option<Distribution> {
    let id = text(component, "name").to_ascii_lowercase();
    if id.is_empty() {
        return None;
    }
    let id = property(component, &["syft:distro:id"]).map_or(id, str::to_string);
    let version = text(component, "version");
    let version = property(component, &["syft:distro:versionID"]).unwrap_or(version);
    let description = text(component, "description");
    Some(Distribution {
        name: match description {
            "" => format!("{id} {version}").trim_end().to_string(),
            text => quote_name(text),
        },
        version_id: version.to_string(),
        codename: property(
            component,
            &["palisade:distribution:codename", "syft:distro:versionCodename"],
        )
        .unwrap_or_default()
        .to_string(),
        id,
    })
}

fn stated(component: &Value) -> Stated<'_> {
    let licences = items(component, "licenses").filter_map(|choice| {
        let licence = choice.get("license");
        let field = |field| licence.map(|licence| text(licence, field)).filter(|t| !t.is_empty());
        let expression = || Some(text(choice, "expression")).filter(|text| !text.is_empty());
        field("id").or_else(|| field("name")).or_else(expression).map(str::to_string)
    });
    let supplier = component.get("supplier").map(|supplier| text(supplier, "name"));
    let maintainer = [text(component, "publisher"), supplier.unwrap_or_default()]
        .into_iter()
        .find(|text| !text.is_empty());
    let occurrence = component.get("evidence").and_then(|e| items(e, "occurrences").next());
    let occurrence = occurrence.map(|occurrence| text(occurrence, "location"));
    let path = || property(component, &["aquasecurity:trivy:FilePath", "syft:location:0:path"]);
    let source = property(
        component,
        &["palisade:source:name", "aquasecurity:trivy:SrcName", "syft:metadata:source"],
    );
    let source_version = source_version(component);
    Stated {
        group: text(component, "group"),
        name: text(component, "name"),
        version: text(component, "version"),
        purl: text(component, "purl"),
        licences: licences.collect(),
        maintainer,
        evidence: occurrence.filter(|text| !text.is_empty()).or_else(path),
        source: source.map(|name| (name, source_version)),
        is_declared: property(component, &["palisade:state"]) == Some("declared"),
        layer: property(
            component,
            &[
                "palisade:layer:diff-id",
                "aquasecurity:trivy:LayerDiffID",
                "syft:location:0:layerID",
            ],
        ),
        module: property(component, &["palisade:rpm:module", "aquasecurity:trivy:Modularitylabel"]),
    }
}

/// Trivy writes the source's version, release and epoch apart: then the package's own stands
/// for it unless the source has only a version.
fn source_version(component: &Value) -> &str {
    let whole = property(component, &["palisade:source:version", "syft:metadata:sourceVersion"]);
    if let Some(version) = whole {
        return version;
    }
    let has_more =
        property(component, &["aquasecurity:trivy:SrcRelease", "aquasecurity:trivy:SrcEpoch"]);
    match has_more {
        Some(_) => "",
        None => property(component, &["aquasecurity:trivy:SrcVersion"]).unwrap_or_default(),
    }
}
