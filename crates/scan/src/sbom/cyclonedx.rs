//! CycloneDX 1.6 (ECMA-424), JSON.

use std::collections::BTreeMap;

use palisade_model::package::PackageState;
use palisade_model::{Inventory, Package, PackageKind};
use serde::Serialize;

use super::DocumentInfo;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    #[serde(rename = "bomFormat")]
    format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency>,
    compositions: Vec<Composition>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: String,
    tools: Tools<'a>,
    component: Component<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: Vec<Component<'a>>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    bom_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<LicenceChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
    /// Parts: packages of languages in a distribution's package.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct LicenceChoice<'a> {
    license: LicenceName<'a>,
}

#[derive(Serialize)]
struct LicenceName<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Evidence<'a> {
    occurrences: Vec<Occurrence<'a>>,
}

#[derive(Serialize)]
struct Occurrence<'a> {
    location: &'a str,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
}

#[derive(Serialize)]
struct Composition {
    aggregate: &'static str,
    assemblies: Vec<String>,
}

/// The image itself in the graph of dependencies.
const ROOT: &str = "image";

/// Renders `inventory`.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(inventory: &Inventory, info: &DocumentInfo) -> Result<String, serde_json::Error> {
    let components = components(inventory);
    let references = components.iter().filter_map(|component| component.bom_ref.clone()).collect();
    let whole = inventory.gaps.is_empty();
    let bom = Bom {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        format: "CycloneDX",
        spec_version: "1.6",
        serial_number: format!("urn:uuid:{}", info.uuid),
        version: 1,
        metadata: metadata(inventory, info),
        components,
        dependencies: vec![Dependency { reference: ROOT.to_string(), depends_on: references }],
        compositions: vec![Composition {
            aggregate: if whole { "complete" } else { "incomplete" },
            assemblies: vec![ROOT.to_string()],
        }],
    };
    let mut text = serde_json::to_string_pretty(&bom)?;
    text.push('\n');
    Ok(text)
}

fn metadata<'a>(inventory: &'a Inventory, info: &DocumentInfo) -> Metadata<'a> {
    let subject = &inventory.subject;
    let tool = Component {
        kind: "application",
        name: "palisade",
        version: Some(info.tool_version.clone()),
        ..Component::default()
    };
    let image = Component {
        kind: "container",
        bom_ref: Some(ROOT.to_string()),
        name: &subject.name,
        version: subject.digest.map(|digest| digest.to_string()),
        properties: subject.platform.iter().map(property("palisade:platform")).collect(),
        ..Component::default()
    };
    let gaps = inventory.gaps.iter().map(|gap| Property {
        name: "palisade:gap",
        value: format!("{}: {}", gap.path, gap.reason),
    });
    Metadata {
        timestamp: info.seconds(),
        tools: Tools { components: vec![tool] },
        component: image,
        properties: gaps.collect(),
    }
}

/// The operating system, then the packages, each with its parts.
fn components(inventory: &Inventory) -> Vec<Component<'_>> {
    let system = inventory.distribution.as_ref().map(|distribution| Component {
        kind: "operating-system",
        bom_ref: Some("operating-system".into()),
        name: &distribution.id,
        version: Some(distribution.version_id.clone()).filter(|version| !version.is_empty()),
        description: Some(&distribution.name),
        ..Component::default()
    });
    let mut parts: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for part in &inventory.parts {
        parts.entry(part.owner.as_deref().unwrap_or_default()).or_default().push(part);
    }
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut component = |package| component(package, reference(package, &mut seen));
    let mut all: Vec<Component<'_>> = system.into_iter().collect();
    for package in &inventory.packages {
        let mut whole = component(package);
        let parts = parts.remove(package.purl.as_str()).unwrap_or_default();
        whole.components = parts.into_iter().map(&mut component).collect();
        all.push(whole);
    }
    all
}

/// References are unique; two installations of one package differ by a number.
fn reference<'a>(package: &'a Package, seen: &mut BTreeMap<&'a str, u32>) -> String {
    let n = seen.entry(&package.purl).or_default();
    *n += 1;
    match *n {
        1 => package.purl.clone(),
        n => format!("{}#{n}", package.purl),
    }
}

fn property(name: &'static str) -> impl Fn(&String) -> Property {
    move |value| Property { name, value: value.clone() }
}

fn component(package: &Package, reference: String) -> Component<'_> {
    let mut properties = Vec::new();
    if let Some(source) = &package.source {
        properties.push(Property { name: "palisade:source:name", value: source.name.clone() });
        properties
            .push(Property { name: "palisade:source:version", value: source.version.clone() });
    }
    if package.state == PackageState::Declared {
        properties.push(Property { name: "palisade:state", value: "declared".into() });
    }
    if let Some(module) = &package.module {
        properties.push(Property { name: "palisade:rpm:module", value: module.clone() });
    }
    if let Some(layer) = package.layer {
        properties.push(Property { name: "palisade:layer:diff-id", value: layer.to_string() });
    }
    let (group, name) = match package.name.split_once(':') {
        Some((group, name)) if package.kind == PackageKind::Maven => (Some(group), name),
        _ => (None, package.name.as_str()),
    };
    let licenses = package.licences.iter().filter(|name| !name.is_empty());
    Component {
        kind: "library",
        bom_ref: Some(reference),
        publisher: package.maintainer.as_deref(),
        group,
        name,
        version: Some(package.version.clone()).filter(|version| !version.is_empty()),
        licenses: licenses.map(|name| LicenceChoice { license: LicenceName { name } }).collect(),
        purl: Some(package.purl.as_str()).filter(|purl| !purl.is_empty()),
        evidence: Some(Evidence { occurrences: vec![Occurrence { location: &package.evidence }] }),
        properties,
        ..Component::default()
    }
}
