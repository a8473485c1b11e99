//! VEX documents: what somebody who knows says of vulnerabilities that a scan would report.
//!
//! OpenVEX 0.2, CSAF 2.0 (profile VEX) and CycloneDX are read. A statement that a product is not
//! affected or fixed sets the finding aside; the others say nothing that a scan does not. A
//! product is a package URL: of a package, or of the image (`pkg:oci/…`) with its packages as
//! subcomponents. What a URL leaves out (version, qualifiers, namespace's case) is not asked for.
//!
//! Statements become [`Ignore`] entries, so that they are applied in every form alike. What is not
//! understood (a status that the kind does not have, a product that is no package URL) sets
//! nothing aside and is counted. Of OpenVEX's statements about one thing the last counts.

mod openvex;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use palisade_base::Explain;
use palisade_model::judgement::SuppressedBy;
use palisade_model::package::Subject;
use palisade_packages::purl::PackageUrl;
use serde::Deserialize;
use serde_json::Value;

use crate::ignore::Ignore;

/// A document beyond this many bytes is refused.
pub const BYTES_MAX: u64 = 64 << 20;
/// Statements of one document beyond this number, counted for each product, are refused.
pub const STATEMENTS_MAX: usize = 1_000_000;

/// Why a document is not used.
#[derive(Debug, thiserror::Error)]
pub enum ReadVexError {
    /// No JSON.
    #[error("not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON of another kind.
    #[error("neither OpenVEX nor CSAF nor CycloneDX")]
    Unknown,
    /// The kind's shape is broken.
    #[error("not a valid {kind} document")]
    Malformed {
        /// The kind.
        kind: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Too many statements.
    #[error("more than {STATEMENTS_MAX} statements")]
    TooMany,
    /// Statements about one vulnerability that take each other back, beyond what is compared.
    #[error("too many statements about one vulnerability, the later against the earlier")]
    TooManyOfOne,
}

impl Explain for ReadVexError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::TooMany | Self::TooManyOfOne => "split the document".into(),
            _ => "give a document of OpenVEX 0.2, CSAF 2.0 or CycloneDX 1.4 to 1.7 in JSON".into(),
        })
    }
}

/// A product to which a statement is confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The package, or the image.
    pub url: PackageUrl,
    /// Packages within the image; empty for all of them.
    pub subcomponents: Vec<PackageUrl>,
    /// Parts of it of which the document later said something else.
    pub except: Vec<Arc<Product>>,
}

impl Product {
    fn of(text: &str, subcomponents: Vec<PackageUrl>) -> Option<Self> {
        Some(Self { url: PackageUrl::parse(text).ok()?, subcomponents, except: Vec::new() })
    }

    fn is_image(&self) -> bool {
        matches!(self.url.kind.as_str(), "oci" | "docker")
    }

    /// Whether the package with the URL `purl` in `subject` is meant.
    pub fn is_meant(&self, purl: &str, subject: Option<&Subject>) -> bool {
        PackageUrl::parse(purl).is_ok_and(|package| self.means(&package, subject))
    }

    fn means(&self, package: &PackageUrl, subject: Option<&Subject>) -> bool {
        let is_meant = if self.is_image() {
            let among = |wanted: &PackageUrl| covers(wanted, package);
            subject.is_some_and(|subject| names_image(&self.url, subject))
                && (self.subcomponents.is_empty() || self.subcomponents.iter().any(among))
        } else {
            covers(&self.url, package)
        };
        is_meant && !self.except.iter().any(|except| except.means(package, subject))
    }
}

/// Whether everything that `wanted` states is true of `found`.
fn covers(wanted: &PackageUrl, found: &PackageUrl) -> bool {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let stated = wanted.qualifiers.iter().filter(|(key, _)| !is_place(key));
    wanted.kind == found.kind
        && same(&wanted.name, &found.name)
        && (wanted.namespace.is_empty() || same(&wanted.namespace, &found.namespace))
        && (wanted.version.is_empty() || wanted.version == found.version)
        && stated.into_iter().all(|(key, value)| found.qualifier(key) == Some(value))
}

/// Qualifiers that say where a package is to be had, not which it is.
fn is_place(key: &str) -> bool {
    matches!(key, "repository_url" | "download_url" | "vcs_url" | "checksum" | "file_name")
}

/// Whether a URL names the image that was examined: by its digest, or by its name alone.
fn names_image(url: &PackageUrl, subject: &Subject) -> bool {
    if url.version.starts_with("sha256:") {
        return subject.digest.is_some_and(|digest| digest.to_string() == url.version);
    }
    let (image, tag) = name_and_tag(&subject.name);
    image.eq_ignore_ascii_case(&url.name)
        && (url.version.is_empty() || tag == Some(url.version.as_str()))
}

/// Of `registry:docker.io/library/nginx:1.27` the last part names it, without tag and digest.
fn name_and_tag(name: &str) -> (&str, Option<&str>) {
    let name = name.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    let mut parts = last.split(':').filter(|part| !part.is_empty());
    let known = ["oci", "archive", "registry", "docker", "podman", "containerd"];
    let first = parts.next().unwrap_or_default();
    let image = if known.contains(&first) { parts.next().unwrap_or_default() } else { first };
    (image, parts.next())
}

/// The name by which a package URL has an image.
pub(crate) fn image_name(subject: &str) -> &str {
    name_and_tag(subject).0
}

/// What a document says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// Statements that set something aside.
    pub statements: Vec<Ignore>,
    /// Statements about a product that set nothing aside because they are not understood, and
    /// those that take something back and are understood in part, by reason.
    pub not_understood: BTreeMap<String, u64>,
}

/// Reasons beyond this number are one.
const REASONS_MAX: usize = 16;
/// Characters of a document's words in a reason.
const WORD_CHARS_MAX: usize = 40;
const NO_ID: &str = "no identifier of a vulnerability";
const NO_PRODUCT: &str = "no product";
const NO_URL: &str = "a product without a package URL that can be read";
const NO_PART: &str = "a subcomponent without a package URL that can be read";

impl Document {
    fn miss(&mut self, reason: &str) {
        let is_room =
            self.not_understood.len() < REASONS_MAX || self.not_understood.contains_key(reason);
        let reason = if is_room { reason } else { "other reasons" };
        *self.not_understood.entry(reason.to_string()).or_default() += 1;
    }

    fn miss_status(&mut self, status: &str) {
        let word: String = crate::feeds::one_line(status).chars().take(WORD_CHARS_MAX).collect();
        self.miss(&format!("status `{word}`"));
    }
}

/// Reads a document of any kind.
pub fn read(bytes: &[u8]) -> Result<Document, ReadVexError> {
    let value: Value = serde_json::from_slice(bytes).map_err(ReadVexError::NotJson)?;
    let has = |key: &str| value.get(key).is_some();
    let document = if has("statements") {
        openvex::read(value)
    } else if has("product_tree") || value.pointer("/document/category").is_some() {
        csaf(&value)
    } else if has("bomFormat") {
        cyclonedx(value)
    } else {
        Err(ReadVexError::Unknown)
    }?;
    let n: usize = document.statements.iter().map(|entry| entry.products.len().max(1)).sum();
    if n > STATEMENTS_MAX { Err(ReadVexError::TooMany) } else { Ok(document) }
}

fn shape<T: for<'de> Deserialize<'de>>(
    value: Value,
    kind: &'static str,
) -> Result<T, ReadVexError> {
    serde_json::from_value(value).map_err(|source| ReadVexError::Malformed { kind, source })
}

fn entry(id: &str, reason: String, products: Vec<Product>) -> Ignore {
    let (id, by) = (id.to_string(), SuppressedBy::Vex);
    Ignore { id, package: None, reason, expires: None, by, products }
}

fn reason(status: &str, parts: &[Option<&str>]) -> String {
    let said: Vec<&str> = parts.iter().flatten().copied().filter(|part| !part.is_empty()).collect();
    let said = said.join(": ").replace('_', " ");
    let text = if said.is_empty() { status.replace('_', " ") } else { said };
    crate::feeds::one_line(&text)
}

fn csaf(value: &Value) -> Result<Document, ReadVexError> {
    let kind = "CSAF";
    let mut urls: HashMap<String, String> = HashMap::new();
    collect_csaf(value.get("product_tree").unwrap_or(&Value::Null), &mut urls, 0);
    let relations = value.pointer("/product_tree/relationships").and_then(Value::as_array);
    let mut parts_of: HashMap<String, (String, String)> = HashMap::new();
    for relation in relations.into_iter().flatten() {
        let text = |pointer: &str| relation.pointer(pointer).and_then(Value::as_str);
        let names = (
            text("/full_product_name/product_id"),
            text("/product_reference"),
            text("/relates_to_product_reference"),
        );
        if let (Some(id), Some(part), Some(whole)) = names {
            parts_of.insert(id.into(), (part.into(), whole.into()));
        }
    }
    let product = |id: &str| -> Option<Product> {
        if let Some(url) = urls.get(id) {
            return Product::of(url, Vec::new());
        }
        let (part, whole) = parts_of.get(id)?;
        let part = urls.get(part)?;
        match urls.get(whole).map(|url| (url, url.starts_with("pkg:oci/"))) {
            Some((whole, true)) => Product::of(whole, vec![PackageUrl::parse(part).ok()?]),
            _ => Product::of(part, Vec::new()),
        }
    };
    let list: Vec<Value> = match value.get("vulnerabilities") {
        Some(list) => shape(list.clone(), kind)?,
        None => Vec::new(),
    };
    let mut found = Document::default();
    for vulnerability in &list {
        let id = vulnerability.get("cve").and_then(Value::as_str);
        for status in ["known_not_affected", "fixed", "first_fixed", "recommended"] {
            let pointer = format!("/product_status/{status}");
            let ids = vulnerability.pointer(&pointer).and_then(Value::as_array);
            for product_id in ids.into_iter().flatten().filter_map(Value::as_str) {
                let Some(id) = id else {
                    found.miss(NO_ID);
                    continue;
                };
                let Some(product) = product(product_id) else {
                    found.miss(NO_URL);
                    continue;
                };
                let said = csaf_reason(vulnerability, product_id);
                let words = if status == "known_not_affected" { "not affected" } else { "fixed" };
                found.statements.push(entry(id, reason(words, &[said]), vec![product]));
            }
        }
    }
    Ok(found)
}

/// The flag or the impact that a document gives for a product.
fn csaf_reason<'a>(vulnerability: &'a Value, product: &str) -> Option<&'a str> {
    let among = |note: &&Value| {
        let ids = note.get("product_ids").and_then(Value::as_array);
        ids.is_none_or(|ids| ids.iter().any(|id| id.as_str() == Some(product)))
    };
    let find = |list: &str, text: &str| {
        let notes = vulnerability.get(list)?.as_array()?;
        notes.iter().find(among)?.get(text)?.as_str()
    };
    find("flags", "label").or_else(|| find("threats", "details"))
}

/// Nesting of branches beyond this depth is not followed.
const DEPTH_MAX: u8 = 32;

fn collect_csaf(value: &Value, urls: &mut HashMap<String, String>, depth: u8) {
    if depth > DEPTH_MAX {
        return;
    }
    let mut add = |product: &Value| {
        let id = product.get("product_id").and_then(Value::as_str);
        let url = product.pointer("/product_identification_helper/purl").and_then(Value::as_str);
        if let (Some(id), Some(url)) = (id, url) {
            urls.insert(id.to_string(), url.to_string());
        }
    };
    value.get("product").iter().for_each(|product| add(product));
    let names = value.get("full_product_names").and_then(Value::as_array);
    names.into_iter().flatten().for_each(add);
    for branch in value.get("branches").and_then(Value::as_array).into_iter().flatten() {
        collect_csaf(branch, urls, depth + 1);
    }
}

#[derive(Deserialize)]
struct CycloneDx {
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    components: Vec<Value>,
    #[serde(default)]
    vulnerabilities: Vec<CycloneVulnerability>,
}

#[derive(Deserialize)]
struct CycloneVulnerability {
    #[serde(default)]
    id: String,
    #[serde(default)]
    analysis: Analysis,
    #[serde(default)]
    affects: Vec<Affects>,
}

#[derive(Deserialize, Default)]
struct Analysis {
    #[serde(default)]
    state: String,
    #[serde(default)]
    justification: Option<String>,
    #[serde(default)]
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Affects {
    #[serde(rename = "ref")]
    reference: String,
}

fn cyclonedx(value: Value) -> Result<Document, ReadVexError> {
    let document: CycloneDx = shape(value, "CycloneDX")?;
    let mut urls: HashMap<&str, &str> = HashMap::new();
    for component in document.components.iter().chain(document.metadata.get("component")) {
        let text = |key: &str| component.get(key).and_then(Value::as_str);
        if let (Some(reference), Some(url)) = (text("bom-ref"), text("purl")) {
            urls.insert(reference, url);
        }
    }
    let mut found = Document::default();
    for vulnerability in &document.vulnerabilities {
        let analysis = &vulnerability.analysis;
        match analysis.state.as_str() {
            "not_affected" | "false_positive" | "resolved" | "resolved_with_pedigree" => {}
            "" | "exploitable" | "in_triage" => continue,
            other => {
                found.miss_status(other);
                continue;
            }
        }
        if vulnerability.id.is_empty() {
            found.miss(NO_ID);
            continue;
        }
        if vulnerability.affects.is_empty() {
            found.miss(NO_PRODUCT);
        }
        let said = [analysis.justification.as_deref(), analysis.detail.as_deref()];
        for affects in &vulnerability.affects {
            // A reference into another document ends with `#` and the component's own name.
            let reference = affects.reference.as_str();
            let own = reference.split_once('#').map_or(reference, |(_, own)| own);
            let decoded = crate::feeds::csaf::decode(own);
            let url = urls.get(reference).copied().unwrap_or(&decoded);
            if let Some(product) = Product::of(url, Vec::new()) {
                let reason = reason(&analysis.state, &said);
                found.statements.push(entry(&vulnerability.id, reason, vec![product]));
            } else {
                found.miss(NO_URL);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
