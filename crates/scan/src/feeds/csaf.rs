//! CSAF 2.0 documents (OASIS): Red Hat's VEX files and SUSE's, one document for a CVE or for an
//! advisory, alone, in a folder or in an archive.
//!
//! A product is a component on a platform; the platform's CPE says which release it is, the
//! component's package URL which package. Extended update streams and layered products are
//! left out and counted: an image does not show whether it is entitled to them.
//!
//! Fixed: below the version of the component. Affected: every version, with what the remediation
//! says of the publisher's intention. A component of the architecture `src` is a source package,
//! kept under [`source_name`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use palisade_base::Timestamp;
use palisade_model::Severity;
use palisade_packages::version;
use serde::Deserialize;

use super::errata::Nevra;
use super::{ImportFeedError, documents, one_line, rating};
use crate::db::{Advisory, DatabaseBuilder, Range, RangeEnd, Status};

/// Branches and relationships within one another beyond this depth are not followed.
const DEPTH_MAX: u8 = 16;
/// Products of one document beyond this number are left out and counted.
const PRODUCTS_MAX: usize = 500_000;

/// The name under which statements about a source package of RPM are kept: binary packages that
/// it builds are looked up by their own name and by this one.
pub fn source_name(name: &str) -> String {
    format!("src:{name}")
}

#[derive(Deserialize)]
struct Csaf {
    document: Document,
    #[serde(default)]
    product_tree: ProductTree,
    #[serde(default)]
    vulnerabilities: Vec<Vulnerability>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    title: String,
    #[serde(default)]
    aggregate_severity: Option<Text>,
    tracking: Tracking,
}

#[derive(Deserialize)]
struct Text {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Tracking {
    id: String,
    #[serde(default)]
    current_release_date: Option<String>,
}

#[derive(Deserialize, Default)]
struct ProductTree {
    #[serde(default)]
    branches: Vec<Branch>,
    #[serde(default)]
    full_product_names: Vec<Product>,
    #[serde(default)]
    relationships: Vec<Relationship>,
}

#[derive(Deserialize)]
struct Branch {
    #[serde(default)]
    branches: Vec<Branch>,
    #[serde(default)]
    product: Option<Product>,
}

#[derive(Deserialize)]
struct Product {
    #[serde(rename = "product_id")]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "product_identification_helper")]
    helper: Helper,
}

#[derive(Deserialize, Default)]
struct Helper {
    #[serde(default)]
    cpe: Option<String>,
    #[serde(default)]
    purl: Option<String>,
}

#[derive(Deserialize)]
struct Relationship {
    product_reference: String,
    relates_to_product_reference: String,
    full_product_name: Product,
}

#[derive(Deserialize)]
struct Vulnerability {
    #[serde(default)]
    cve: Option<String>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    product_status: ProductStatus,
    #[serde(default)]
    scores: Vec<Score>,
    #[serde(default)]
    threats: Vec<Note>,
    #[serde(default)]
    remediations: Vec<Note>,
}

#[derive(Deserialize, Default)]
struct ProductStatus {
    #[serde(default)]
    fixed: Vec<String>,
    /// SUSE says `recommended` for the versions that have the fix.
    #[serde(default)]
    recommended: Vec<String>,
    #[serde(default)]
    known_affected: Vec<String>,
    #[serde(default)]
    known_not_affected: Vec<String>,
    #[serde(default)]
    under_investigation: Vec<String>,
}

#[derive(Deserialize)]
struct Score {
    #[serde(default, rename = "cvss_v2")]
    two: Option<Vector>,
    #[serde(default, rename = "cvss_v3")]
    three: Option<Vector>,
    #[serde(default, rename = "cvss_v4")]
    four: Option<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    #[serde(default)]
    vector_string: String,
}

#[derive(Deserialize)]
struct Note {
    #[serde(default)]
    category: String,
    #[serde(default)]
    details: String,
    #[serde(default)]
    product_ids: Vec<String>,
}

/// Imports every document at `path` under the feed's name: `redhat-vex`, `suse-csaf`.
pub fn import(
    builder: &mut DatabaseBuilder,
    path: &Path,
    feed: &str,
) -> Result<(), ImportFeedError> {
    builder.feed(feed);
    let mut n_documents = 0_u64;
    documents::each(path, &mut |_, bytes| {
        let Some(bytes) = bytes else {
            builder.feed(feed).skip("document larger than the bound");
            return Ok(());
        };
        if let Ok(csaf) = serde_json::from_slice::<Csaf>(bytes) {
            n_documents += 1;
            add(builder, &csaf, feed)
        } else {
            builder.feed(feed).skip("malformed document");
            Ok(())
        }
    })?;
    if n_documents == 0 { Err(ImportFeedError::Empty(path.to_path_buf())) } else { Ok(()) }
}

/// A package on a release of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Component {
    ecosystem: String,
    package: String,
    module: Option<String>,
    version: Option<String>,
    is_source: bool,
}

/// What products stand for.
struct Products<'a> {
    named: HashMap<&'a str, &'a Product>,
    related: HashMap<&'a str, (&'a str, &'a str)>,
}

impl<'a> Products<'a> {
    fn of(tree: &'a ProductTree) -> Self {
        let mut named = HashMap::new();
        let mut open: Vec<(&Branch, u8)> = tree.branches.iter().map(|b| (b, 0)).collect();
        while let Some((branch, depth)) = open.pop() {
            if let Some(product) = &branch.product {
                named.insert(product.id.as_str(), product);
            }
            if depth < DEPTH_MAX {
                open.extend(branch.branches.iter().map(|branch| (branch, depth + 1)));
            }
        }
        named.extend(tree.full_product_names.iter().map(|p| (p.id.as_str(), p)));
        let related = tree.relationships.iter().map(|r| {
            let parts = (r.product_reference.as_str(), r.relates_to_product_reference.as_str());
            (r.full_product_name.id.as_str(), parts)
        });
        Self { named, related: related.collect() }
    }

    /// The products of which `id` is put together, innermost last.
    fn parts(&self, id: &'a str) -> Vec<&'a Product> {
        let mut parts = Vec::new();
        let mut open = vec![(id, 0_u8)];
        while let Some((id, depth)) = open.pop() {
            if let Some(product) = self.named.get(id) {
                parts.push(*product);
            } else if let Some((component, platform)) = self.related.get(id)
                && depth < DEPTH_MAX
            {
                open.push((component, depth + 1));
                open.push((platform, depth + 1));
            }
        }
        parts
    }

    /// The package and the release, or why there is none.
    fn component(&self, id: &'a str) -> Result<Component, &'static str> {
        let parts = self.parts(id);
        let mut ecosystem = Err("product without a platform");
        let (mut module, mut found) = (None, None);
        for part in parts {
            let helper = &part.helper;
            if let Some(cpe) = &helper.cpe {
                let named = ecosystem_of(cpe).or_else(|| suse_release(&part.name));
                ecosystem = named.ok_or("platform that is not covered");
            } else if let Some(name) = suse_release(&part.name) {
                ecosystem = Ok(name);
            }
            match helper.purl.as_deref().map(Purl::parse) {
                Some(Some(purl)) if purl.kind == "rpmmod" => module = purl.module_of_itself(),
                Some(Some(purl)) if purl.kind == "rpm" => found = Some(purl),
                Some(Some(_)) => return Err("product that is no package of the distribution"),
                // SUSE's older documents name a build and nothing else.
                None if helper.cpe.is_none() && found.is_none() => {
                    found = Nevra::parse(&part.name).map(|build| Purl {
                        kind: "rpm",
                        name: build.name.to_string(),
                        version: Some(build.version()),
                        qualifiers: if build.arch == "src" { "arch=src" } else { "" },
                    });
                }
                Some(None) | None => {}
            }
        }
        let purl = found.ok_or("product without a package")?;
        if purl.name.is_empty() {
            return Err("product without a package");
        }
        let is_source = purl.qualifier("arch").as_deref() == Some("src");
        let version = purl.version.as_ref().filter(|v| !v.is_empty()).map(|version| {
            match purl.qualifier("epoch").filter(|epoch| epoch != "0") {
                Some(epoch) if !version.contains(':') => format!("{epoch}:{version}"),
                _ => version.clone(),
            }
        });
        let labelled = purl.qualifier("rpmmod").map(|label| stream_of(&label));
        Ok(Component {
            ecosystem: ecosystem?,
            module: module.or(labelled).filter(|module| module.contains(':')),
            version,
            is_source,
            package: purl.name.clone(),
        })
    }
}

/// `NAME:STREAM` of a label `NAME:STREAM:VERSION:CONTEXT`.
fn stream_of(label: &str) -> String {
    label.split(':').take(2).collect::<Vec<_>>().join(":")
}

/// The parts of a package URL that count here.
struct Purl<'a> {
    kind: &'a str,
    name: String,
    version: Option<String>,
    qualifiers: &'a str,
}

impl<'a> Purl<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("pkg:")?;
        let (rest, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
        let (path, version) = match rest.rsplit_once('@') {
            Some((path, version)) => (path, Some(decode(version))),
            None => (rest, None),
        };
        let (kind, names) = path.split_once('/')?;
        let name = decode(names.rsplit('/').next()?);
        Some(Self { kind, name, version, qualifiers })
    }

    fn qualifier(&self, name: &str) -> Option<String> {
        let pairs = self.qualifiers.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decode(value))
    }

    /// `pkg:rpmmod/redhat/nodejs@20:8090020231109151128:a75119d5` is `nodejs:20`.
    fn module_of_itself(&self) -> Option<String> {
        let version = self.version.as_deref().unwrap_or_default();
        let stream = version.split(':').next()?;
        Some(format!("{}:{stream}", self.name)).filter(|_| !stream.is_empty())
    }
}

/// Percent-decoding (ECMA-427); what is no UTF-8 stays as it is.
pub(crate) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_string();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        let digits = rest.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) if *first == b'%' => {
                out.push(value);
                bytes = rest.get(2..).unwrap_or_default();
            }
            _ => out.push(*first),
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_string())
}

/// The release of a platform's CPE (URI or formatted string): `cpe:/o:redhat:enterprise_linux:9`
/// and its repositories are `Red Hat:9`; streams with an entitlement of their own are none.
fn ecosystem_of(cpe: &str) -> Option<String> {
    let text = cpe.strip_prefix("cpe:2.3:").or_else(|| cpe.strip_prefix("cpe:/"))?;
    let mut fields = text.split(':');
    let (_, vendor, product) = (fields.next()?, fields.next()?, fields.next()?);
    let version = fields.next().filter(|v| !matches!(*v, "" | "*" | "-"))?;
    let update = fields.next().unwrap_or_default();
    let major = version.split('.').next()?;
    match (vendor, product) {
        ("redhat", "enterprise_linux") => Some(format!("Red Hat:{major}")),
        ("suse", product)
            if matches!(product, "sles" | "sle_server" | "suse_linux_enterprise_server")
                || product.starts_with("sle-module-") =>
        {
            let pack = update.trim_start_matches("sp").trim_start_matches("SP");
            Some(match pack {
                "" | "*" | "-" => format!("SUSE:{version}"),
                pack => format!("SUSE:{major}.{pack}"),
            })
        }
        ("opensuse", "leap") => Some(format!("openSUSE:{version}")),
        ("opensuse", "tumbleweed") => Some("openSUSE:tumbleweed".to_string()),
        _ => None,
    }
}

/// `SUSE Linux Enterprise Server 15 SP5`, a module of it, or `openSUSE Leap 15.5`.
pub(crate) fn suse_release(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("openSUSE Leap ") {
        return Some(format!("openSUSE:{}", rest.split_whitespace().next()?));
    }
    if name.starts_with("openSUSE Tumbleweed") {
        return Some("openSUSE:tumbleweed".to_string());
    }
    let rest = name.strip_prefix("SUSE Linux Enterprise ")?;
    let version = match rest.strip_prefix("Server ") {
        Some(version) => version,
        None => rest.strip_prefix("Module for ")?.split_once(|c: char| c.is_ascii_digit())?.1,
    };
    // The digit at which a module's name was split belongs to the version.
    let start = rest.len() - version.len();
    let start = if rest.starts_with("Server ") { start } else { start - 1 };
    let mut words = rest.get(start..)?.split_whitespace();
    let major = words.next().filter(|w| w.bytes().all(|b| b.is_ascii_digit()))?;
    match words.next() {
        None => Some(format!("SUSE:{major}")),
        Some(word) => {
            // Long-term support has an entitlement of its own.
            let pack = word.strip_prefix("SP").filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?;
            words.next().is_none().then(|| format!("SUSE:{major}.{pack}"))
        }
    }
}

fn add(builder: &mut DatabaseBuilder, csaf: &Csaf, feed: &str) -> Result<(), ImportFeedError> {
    let time = csaf.document.tracking.current_release_date.as_deref();
    if let Some(time) = time.and_then(|text| text.parse::<Timestamp>().ok()) {
        builder.note_time(feed, time);
    }
    let products = Products::of(&csaf.product_tree);
    if products.named.len() + products.related.len() > PRODUCTS_MAX {
        builder.feed(feed).skip("document with too many products");
        return Ok(());
    }
    for vulnerability in &csaf.vulnerabilities {
        add_vulnerability(builder, csaf, vulnerability, &products, feed)?;
    }
    Ok(())
}

fn add_vulnerability(
    builder: &mut DatabaseBuilder,
    csaf: &Csaf,
    vulnerability: &Vulnerability,
    products: &Products<'_>,
    feed: &str,
) -> Result<(), ImportFeedError> {
    let document = &csaf.document;
    let id = vulnerability.cve.as_deref().unwrap_or(&document.tracking.id);
    let said = if vulnerability.title.is_empty() { &document.title } else { &vulnerability.title };
    let notice = Some(document.tracking.id.clone()).filter(|own| own != id);
    let vectors = vulnerability
        .scores
        .iter()
        .flat_map(|score| [&score.two, &score.three, &score.four].into_iter().flatten());
    let worst = rating::worst(vectors.map(|vector| vector.vector_string.as_str()));
    let aggregate = document.aggregate_severity.as_ref().and_then(|s| rating::word(&s.text));
    let base = Advisory {
        // A notice's name is no name of the vulnerability: see `Advisory::fixes`.
        id: notice.clone().unwrap_or_else(|| id.to_string()),
        fixes: notice.iter().map(|_| id.to_string()).collect(),
        title: one_line(said),
        severity: impact_of_all(vulnerability)
            .or(aggregate)
            .or(worst.map(|w| w.2))
            .unwrap_or_default(),
        cvss: worst.map(|w| w.0.to_string()),
        feed: feed.to_string(),
        ..Advisory::default()
    };
    let impacts = impacts(vulnerability);
    // One answer for a package, whatever its architectures and minor releases.
    let mut fixed: BTreeMap<(String, String, Option<String>), (String, Severity)> = BTreeMap::new();
    let status = &vulnerability.product_status;
    for product in status.fixed.iter().chain(&status.recommended) {
        match products.component(product) {
            Err(reason) => builder.feed(feed).skip(reason),
            Ok(Component { is_source: true, .. }) => {}
            Ok(Component { version: None, .. }) => builder.feed(feed).skip("fix without a version"),
            Ok(Component { ecosystem, package, module, version: Some(version), .. }) => {
                let severity = impacts.get(product.as_str()).copied().unwrap_or(base.severity);
                let entry = fixed.entry((ecosystem, package, module));
                // The first version with the fix; later minor releases have later builds.
                entry
                    .and_modify(|(known, _)| {
                        if version::rpm::compare(&version, known)
                            .is_some_and(std::cmp::Ordering::is_lt)
                        {
                            known.clone_from(&version);
                        }
                    })
                    .or_insert((version, severity));
            }
        }
    }
    for ((ecosystem, package, module), (version, severity)) in fixed {
        builder.mark_whole(&ecosystem);
        let ranges = vec![Range { introduced: None, end: RangeEnd::Fixed(version) }];
        let advisory = Advisory { severity, ranges, module, ..base.clone() };
        builder.add(&ecosystem, &package, advisory)?;
    }
    let intentions = intentions(vulnerability);
    let open = status.known_affected.iter().map(|product| {
        (product, intentions.get(product.as_str()).copied().unwrap_or(Status::Affected))
    });
    let unclear = status.under_investigation.iter();
    let open = open.chain(unclear.map(|product| (product, Status::UnderInvestigation)));
    let mut seen = BTreeSet::new();
    for (product, intention) in open {
        match products.component(product) {
            Err(reason) => builder.feed(feed).skip(reason),
            Ok(Component { version: Some(_), .. }) => {
                // A single build that is affected is below the fixed one.
                builder.feed(feed).skip("affected build, covered by the fixed version");
            }
            Ok(component) if !seen.insert(component.clone()) => {}
            Ok(Component { ecosystem, package, module, is_source, .. }) => {
                builder.mark_whole(&ecosystem);
                let severity = impacts.get(product.as_str()).copied().unwrap_or(base.severity);
                let ranges = vec![Range { introduced: None, end: RangeEnd::Open }];
                let status = intention;
                let advisory = Advisory { severity, ranges, status, module, ..base.clone() };
                let name = if is_source { source_name(&package) } else { package };
                builder.add(&ecosystem, &name, advisory)?;
            }
        }
    }
    for _ in &status.known_not_affected {
        builder.feed(feed).skip("not affected");
    }
    Ok(())
}

/// The rating of a vulnerability whatever the product, as SUSE gives it: a notice as a whole has
/// that of its worst.
fn impact_of_all(vulnerability: &Vulnerability) -> Option<Severity> {
    let is_of_all = |threat: &&Note| threat.category == "impact" && threat.product_ids.is_empty();
    vulnerability.threats.iter().filter(is_of_all).find_map(|threat| rating::word(&threat.details))
}

/// The rating of products in the publisher's words.
fn impacts(vulnerability: &Vulnerability) -> HashMap<&str, Severity> {
    let impacts = vulnerability.threats.iter().filter(|threat| threat.category == "impact");
    impacts
        .filter_map(|threat| rating::word(&threat.details).map(|word| (threat, word)))
        .flat_map(|(threat, word)| threat.product_ids.iter().map(move |id| (id.as_str(), word)))
        .collect()
}

/// What the publisher intends for products that are affected.
fn intentions(vulnerability: &Vulnerability) -> HashMap<&str, Status> {
    let mut found = HashMap::new();
    for remediation in &vulnerability.remediations {
        let details = remediation.details.to_ascii_lowercase();
        let status = match remediation.category.as_str() {
            "no_fix_planned" if details.contains("out of support") => Status::EndOfLife,
            "no_fix_planned" => Status::WillNotFix,
            "none_available" if details.contains("deferred") => Status::FixDeferred,
            "none_available" if details.contains("will not fix") => Status::WillNotFix,
            "none_available" if details.contains("out of support") => Status::EndOfLife,
            "none_available" if details.contains("investigation") => Status::UnderInvestigation,
            _ => continue,
        };
        found.extend(remediation.product_ids.iter().map(|id| (id.as_str(), status)));
    }
    found
}

#[cfg(test)]
mod tests;
