//! CycloneDX 1.6 and 1.7 (ECMA-424), JSON.

use std::collections::BTreeMap;

use palisade_model::finding::ScanReport;
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vulnerabilities: Vec<serde_json::Value>,
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

/// An edition of the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// 1.6.
    V1_6,
    /// 1.7.
    V1_7,
}

/// Renders `inventory` as CycloneDX 1.6.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(inventory: &Inventory, info: &DocumentInfo) -> Result<String, serde_json::Error> {
    render_as(Edition::V1_6, inventory, None, info)
}

/// Renders `inventory` as `edition`, with the vulnerabilities of `report`.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render_as(
    edition: Edition,
    inventory: &Inventory,
    report: Option<&ScanReport>,
    info: &DocumentInfo,
) -> Result<String, serde_json::Error> {
    let components = components(inventory);
    let references = components.iter().filter_map(|component| component.bom_ref.clone()).collect();
    let whole = inventory.gaps.is_empty();
    let (schema, spec_version) = match edition {
        Edition::V1_6 => ("http://cyclonedx.org/schema/bom-1.6.schema.json", "1.6"),
        Edition::V1_7 => ("http://cyclonedx.org/schema/bom-1.7.schema.json", "1.7"),
    };
    let mut dependencies = vec![Dependency { reference: ROOT.to_string(), depends_on: references }];
    dependencies.extend(dependencies_of_packages(inventory));
    let bom = Bom {
        schema,
        format: "CycloneDX",
        spec_version,
        serial_number: format!("urn:uuid:{}", info.uuid),
        version: 1,
        metadata: metadata(inventory, report, info),
        components,
        dependencies,
        compositions: vec![Composition {
            aggregate: if whole { "complete" } else { "incomplete" },
            assemblies: vec![ROOT.to_string()],
        }],
        vulnerabilities: report.map(vulnerabilities).unwrap_or_default(),
    };
    let mut text = serde_json::to_string_pretty(&bom)?;
    text.push('\n');
    Ok(text)
}

/// What the packages of distributions say that they need, as far as it is installed.
fn dependencies_of_packages(inventory: &Inventory) -> Vec<Dependency> {
    let graph = crate::minimality::Graph::of(inventory);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let names: Vec<String> =
        inventory.packages.iter().map(|package| reference(package, &mut seen)).collect();
    let needs = |index: usize| {
        let mut needs: Vec<String> =
            graph.needs_of(index).filter_map(|need| names.get(need).cloned()).collect();
        needs.sort();
        needs.dedup();
        needs
    };
    names
        .iter()
        .enumerate()
        .map(|(index, name)| Dependency { reference: name.clone(), depends_on: needs(index) })
        .filter(|dependency| !dependency.depends_on.is_empty())
        .collect()
}

/// One entry for each identifier, with the packages that have it. What was set aside is an
/// entry of its own.
fn vulnerabilities(report: &ScanReport) -> Vec<serde_json::Value> {
    use palisade_model::Finding;
    use palisade_model::finding::Vulnerability;
    use palisade_model::judgement::Suppressed;
    type Entry<'a> = (Vec<&'a Vulnerability>, Option<&'a Suppressed>);
    let mut entries: BTreeMap<(&str, bool), Entry<'_>> = BTreeMap::new();
    let active = report.findings.iter().map(|finding| (finding, None));
    let suppressed = report.suppressed.iter().map(|s| (&s.finding, Some(s)));
    for (finding, suppressed) in active.chain(suppressed) {
        if let Finding::Vulnerability(v) = finding {
            let entry = entries.entry((&v.id, suppressed.is_some())).or_default();
            entry.0.push(v);
            entry.1 = suppressed;
        }
    }
    entries.values().filter_map(|(found, suppressed)| entry(found, *suppressed)).collect()
}

fn entry(
    found: &[&palisade_model::finding::Vulnerability],
    suppressed: Option<&palisade_model::judgement::Suppressed>,
) -> Option<serde_json::Value> {
    use palisade_model::Severity;
    use serde_json::json;
    let first = found.first()?;
    let worst = found.iter().map(|v| v.severity).max().unwrap_or_default();
    let severity = match worst {
        Severity::Negligible => "info",
        other => other.as_str(),
    };
    let mut out = json!({
        "id": first.id,
        "source": { "name": first.feed },
        "ratings": [{ "severity": severity }],
    });
    let aliases: Vec<_> = first
        .aliases
        .iter()
        .map(|id| json!({ "id": id, "source": { "name": first.feed } }))
        .collect();
    if !aliases.is_empty() {
        out["references"] = json!(aliases);
    }
    if !first.title.is_empty() {
        out["description"] = json!(first.title);
    }
    let fixes: Vec<String> = found
        .iter()
        .filter_map(|v| Some(format!("{}: {}", v.package, v.fixed.as_deref()?)))
        .collect();
    if !fixes.is_empty() {
        out["recommendation"] = json!(format!("upgrade {}", fixes.join(", ")));
    }
    if let Some(url) = crate::report::item::url_of(&first.id) {
        out["advisories"] = json!([{ "url": url }]);
    }
    if let Some(suppressed) = suppressed {
        out["analysis"] = json!({
            "response": ["will_not_fix"],
            "detail": format!("set aside by {}: {}", suppressed.by.as_str(), suppressed.reason),
        });
    }
    let affects = found.iter().map(|v| {
        json!({
            "ref": reference_base(&v.purl, &v.package, &v.installed),
            "versions": [{ "version": v.installed, "status": "affected" }],
        })
    });
    out["affects"] = json!(affects.collect::<Vec<_>>());
    let mut properties = Vec::new();
    if found.iter().any(|v| v.known_exploited) {
        properties.push(json!({ "name": "palisade:known-exploited", "value": "true" }));
    }
    if let Some(epss) = found.iter().filter_map(|v| v.epss).reduce(f64::max) {
        properties.push(json!({ "name": "palisade:epss", "value": format!("{epss:.5}") }));
    }
    // Whether the code is there is no analysis: nobody has decided that it does not matter.
    for v in found {
        if let Some(check) = &v.symbols {
            let value = format!("{} {}: {}", v.package, check.program, check.sentence());
            let name = format!("palisade:symbols:{}", check.answer.as_str());
            properties.push(json!({ "name": name, "value": value }));
        }
    }
    if !properties.is_empty() {
        out["properties"] = json!(properties);
    }
    Some(out)
}

fn metadata<'a>(
    inventory: &'a Inventory,
    report: Option<&ScanReport>,
    info: &DocumentInfo,
) -> Metadata<'a> {
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
    let advisories = report.map(|report| Property {
        name: "palisade:advisories",
        value: crate::report::item::advisories_of(report),
    });
    Metadata {
        timestamp: info.seconds(),
        tools: Tools { components: vec![tool] },
        component: image,
        properties: advisories.into_iter().chain(gaps).collect(),
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
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
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
fn reference(package: &Package, seen: &mut BTreeMap<String, u32>) -> String {
    let base = reference_base(&package.purl, &package.name, &package.version);
    let n = seen.entry(base.clone()).or_default();
    *n += 1;
    match *n {
        1 => base,
        n => format!("{base}#{n}"),
    }
}

/// A name that no package URL can hold is its own reference.
fn reference_base(purl: &str, name: &str, version: &str) -> String {
    if purl.is_empty() { format!("package:{name}@{version}") } else { purl.to_string() }
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
    if let Some(path) = &package.licences_recognised_in {
        properties.push(Property { name: "palisade:licences:recognised-in", value: path.clone() });
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
