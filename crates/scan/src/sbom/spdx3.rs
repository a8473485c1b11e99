//! SPDX 3.0.1 as JSON-LD.

use std::collections::{BTreeMap, HashMap};

use palisade_model::finding::ScanReport;
use palisade_model::package::PackageState;
use palisade_model::{Distribution, Finding, Inventory, Package};
use serde_json::{Value, json};

use super::DocumentInfo;
use crate::report::item;

/// The node with who made the document and when.
const CREATION: &str = "_:creation";

/// Renders `inventory`, with the vulnerabilities of `report`.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(
    inventory: &Inventory,
    report: Option<&ScanReport>,
    info: &DocumentInfo,
) -> Result<String, serde_json::Error> {
    let mut graph =
        Graph { base: format!("https://palisade.dev/spdx/{}#", info.uuid), elements: vec![] };
    graph.head(inventory, report, info);
    let packages = graph.packages(inventory);
    if let Some(report) = report {
        graph.vulnerabilities(report, &packages);
        if report.n_ignored > 0 {
            let remark = format!("{} findings were set aside", report.n_ignored);
            graph.annotation("Suppressed", "document", &remark);
        }
    }
    for (index, gap) in inventory.gaps.iter().enumerate() {
        let remark = format!("not examined: {}: {}", gap.path, gap.reason);
        graph.annotation(&format!("Gap-{}", index + 1), "Image", &remark);
    }
    graph.finish(inventory, report.is_some())
}

struct Graph {
    base: String,
    elements: Vec<Value>,
}

impl Graph {
    fn id(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    fn add(&mut self, kind: &str, name: &str, fields: Value) {
        let mut element = json!({
            "type": kind,
            "spdxId": self.id(name),
            "creationInfo": CREATION,
        });
        if let (Value::Object(element), Value::Object(fields)) = (&mut element, fields) {
            element.extend(fields);
        }
        self.elements.push(element);
    }

    fn relate(&mut self, name: &str, from: &str, kind: &str, to: &[String], completeness: &str) {
        // The model asks for at least one end.
        if to.is_empty() {
            return;
        }
        let fields = json!({
            "from": self.id(from),
            "relationshipType": kind,
            "to": to,
            "completeness": completeness,
        });
        self.add("Relationship", name, fields);
    }

    fn annotation(&mut self, name: &str, subject: &str, statement: &str) {
        let fields = json!({
            "annotationType": "other",
            "subject": self.id(subject),
            "statement": statement,
        });
        self.add("Annotation", name, fields);
    }

    fn head(&mut self, inventory: &Inventory, report: Option<&ScanReport>, info: &DocumentInfo) {
        let tool = format!("palisade-{}", info.tool_version);
        let mut creation = json!({
            "type": "CreationInfo",
            "@id": CREATION,
            "specVersion": "3.0.1",
            "created": info.seconds(),
            "createdBy": [self.id("Agent")],
            "createdUsing": [self.id("Tool")],
        });
        if let Some(report) = report {
            creation["comment"] = json!(item::advisories_of(report));
        }
        self.elements.push(creation);
        self.add("SoftwareAgent", "Agent", json!({ "name": tool }));
        self.add("Tool", "Tool", json!({ "name": tool }));
        let mut image = json!({
            "name": inventory.subject.name,
            "software_primaryPurpose": "container",
        });
        if let Some(digest) = inventory.subject.digest {
            image["software_packageVersion"] = json!(digest.to_string());
        }
        if let Some(platform) = &inventory.subject.platform {
            image["summary"] = json!(platform);
        }
        self.add("software_Package", "Image", image);
        if let Some(distribution) = &inventory.distribution {
            self.operating_system(distribution);
        }
    }

    fn operating_system(&mut self, distribution: &Distribution) {
        let mut fields = json!({
            "name": distribution.id,
            "summary": distribution.name,
            "software_primaryPurpose": "operatingSystem",
        });
        if !distribution.version_id.is_empty() {
            fields["software_packageVersion"] = json!(distribution.version_id);
        }
        self.add("software_Package", "OperatingSystem", fields);
    }

    /// Adds the packages and what contains them; gives their names by package URL.
    fn packages<'i>(&mut self, inventory: &'i Inventory) -> HashMap<&'i str, String> {
        let mut names: HashMap<&str, String> = HashMap::new();
        let mut contained: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut licences: BTreeMap<&str, String> = BTreeMap::new();
        if inventory.distribution.is_some() {
            let system = self.id("OperatingSystem");
            contained.entry("Image".into()).or_default().push(system);
        }
        for (index, package) in inventory.packages.iter().chain(&inventory.parts).enumerate() {
            let name = format!("Package-{}", index + 1);
            self.package(&name, package);
            let owner = package.owner.as_deref().and_then(|owner| names.get(owner));
            let container = owner.cloned().unwrap_or_else(|| "Image".into());
            contained.entry(container).or_default().push(self.id(&name));
            let mut declared = Vec::new();
            for licence in package.licences.iter().filter(|licence| !licence.is_empty()) {
                let n = licences.len() + 1;
                let known = licences.entry(licence).or_insert_with(|| format!("Licence-{n}"));
                declared.push(self.id(known));
            }
            // Several statements of one package are all meant, which one relation for each says.
            for (n, licence) in declared.into_iter().enumerate() {
                let relation = format!("Declares-{}-{}", index + 1, n + 1);
                let kind = match package.licences_recognised_in {
                    Some(_) => "hasConcludedLicense",
                    None => "hasDeclaredLicense",
                };
                self.relate(&relation, &name, kind, &[licence], "noAssertion");
            }
            names.entry(&package.purl).or_insert(name);
        }
        for (licence, name) in licences {
            // Package managers' names of licences are no SPDX expressions: they are texts.
            let fields = json!({ "name": licence, "simplelicensing_licenseText": licence });
            self.add("simplelicensing_SimpleLicensingText", &name, fields);
        }
        let whole = if inventory.gaps.is_empty() { "complete" } else { "incomplete" };
        for (container, members) in contained {
            self.relate(&format!("Contains-{container}"), &container, "contains", &members, whole);
        }
        names
    }

    fn package(&mut self, name: &str, package: &Package) {
        let mut fields = json!({ "name": package.name });
        if !package.version.is_empty() {
            fields["software_packageVersion"] = json!(package.version);
        }
        if !package.purl.is_empty() {
            fields["software_packageUrl"] = json!(package.purl);
        }
        let mut parts = Vec::new();
        if let Some(source) = &package.source {
            parts.push(format!("built from {} {}", source.name, source.version));
        }
        let evidence = &package.evidence;
        parts.push(match package.state {
            PackageState::Declared => format!("named by {evidence}, not found installed"),
            PackageState::Installed => format!("found by {evidence}"),
        });
        fields["software_sourceInfo"] = json!(parts.join("; "));
        self.add("software_Package", name, fields);
    }

    fn vulnerabilities(&mut self, report: &ScanReport, packages: &HashMap<&str, String>) {
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        let mut links: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for finding in &report.findings {
            let Finding::Vulnerability(v) = finding else { continue };
            let Some(package) = packages.get(v.purl.as_str()) else { continue };
            if !names.contains_key(v.id.as_str()) {
                let name = format!("Vulnerability-{}", names.len() + 1);
                names.insert(&v.id, name.clone());
                self.add("security_Vulnerability", &name, vulnerability(v));
            }
            if let Some(name) = names.get(v.id.as_str()) {
                let id = self.id(name);
                let known = links.entry(package).or_default();
                if !known.contains(&id) {
                    known.push(id);
                }
            }
        }
        for (package, found) in links {
            let name = format!("Vulnerable-{package}");
            self.relate(&name, package, "hasAssociatedVulnerability", &found, "noAssertion");
        }
    }

    fn finish(
        mut self,
        inventory: &Inventory,
        has_vulnerabilities: bool,
    ) -> Result<String, serde_json::Error> {
        let mut profiles = vec!["core", "software", "simpleLicensing"];
        if has_vulnerabilities {
            profiles.push("security");
        }
        let all: Vec<Value> =
            self.elements.iter().filter_map(|element| element.get("spdxId").cloned()).collect();
        let sbom = json!({
            "name": inventory.subject.name,
            "software_sbomType": ["analyzed"],
            "rootElement": [self.id("Image")],
            "element": all,
            "profileConformance": profiles,
        });
        self.add("software_Sbom", "Sbom", sbom);
        let document = json!({
            "name": inventory.subject.name,
            "rootElement": [self.id("Sbom")],
            "profileConformance": profiles,
        });
        self.add("SpdxDocument", "document", document);
        let whole = json!({
            "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
            "@graph": self.elements,
        });
        let mut text = serde_json::to_string_pretty(&whole)?;
        text.push('\n');
        Ok(text)
    }
}

fn vulnerability(v: &palisade_model::finding::Vulnerability) -> Value {
    let identifier = |id: &str| {
        let kind = if id.starts_with("CVE-") { "cve" } else { "securityOther" };
        let mut out = json!({
            "type": "ExternalIdentifier",
            "externalIdentifierType": kind,
            "identifier": id,
        });
        if let Some(url) = item::url_of(id) {
            out["identifierLocator"] = json!([url]);
        }
        out
    };
    let identifiers = std::iter::once(&v.id).chain(&v.aliases).map(|id| identifier(id));
    let mut fields = json!({
        "name": v.id,
        "externalIdentifier": identifiers.collect::<Vec<_>>(),
    });
    if !v.title.is_empty() {
        fields["summary"] = json!(v.title);
    }
    fields
}
