//! OpenVEX: statements in the order of their times (specification 0.2, "Updating Statements with
//! Inherited Data"); of what is said of one vulnerability and one product the last counts.
//!
//! `affected` and `under_investigation` take back what was said before, as far as they reach: of the
//! vulnerability under every name that the document has for it, of the product or of the part of
//! it that they name. One of which something cannot be read takes back all that it may be about
//! and is counted, for a finding that is shown is looked at, and one that is hidden is not.
//!
//! What is said of a package by itself takes back nothing that is said of it in an image: whether
//! its code matters there is what the statement about the image answers.

use std::collections::HashMap;
use std::sync::Arc;

use palisade_base::Timestamp;
use palisade_packages::purl::PackageUrl;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Document, NO_ID, NO_PART, NO_PRODUCT, NO_URL, Product, ReadVexError, covers, entry, is_place,
    reason, shape,
};

/// Parts of one statement's product that later statements take back; with more it is taken back
/// as a whole.
const EXCEPT_MAX: usize = 64;
/// Products that are compared with earlier ones, over a whole document.
const COMPARISONS_MAX: usize = 100_000_000;

#[derive(Deserialize)]
struct OpenVex {
    statements: Vec<OpenStatement>,
    #[serde(default)]
    timestamp: Value,
}

#[derive(Deserialize)]
struct OpenStatement {
    vulnerability: Value,
    #[serde(default)]
    products: Vec<Value>,
    status: String,
    #[serde(default)]
    justification: Option<String>,
    #[serde(default)]
    impact_statement: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
}

impl OpenStatement {
    fn sets_aside(&self) -> bool {
        matches!(self.status.as_str(), "not_affected" | "fixed")
    }

    /// Every name that it gives the vulnerability.
    fn names(&self) -> Vec<&str> {
        let of = |key: &&str| self.vulnerability.get(key).and_then(Value::as_str);
        let aliases = self.vulnerability.get("aliases").and_then(Value::as_array);
        let aliases = aliases.into_iter().flatten().filter_map(Value::as_str);
        let all = ["name", "@id"].iter().filter_map(of).chain(self.vulnerability.as_str());
        all.chain(aliases).filter(|name| !name.is_empty()).collect()
    }
}

/// The identifiers of a product or component, the package URL first: text, `@id`, `purl`.
fn ids(value: &Value) -> Vec<&str> {
    let purl = value.pointer("/identifiers/purl").and_then(Value::as_str);
    let id = value.get("@id").and_then(Value::as_str);
    purl.into_iter().chain(id).chain(value.as_str()).collect()
}

/// Which of a product's parts a statement is about.
enum Parts {
    /// These; all where it names none.
    Read(Vec<PackageUrl>),
    /// These, and others that cannot be read.
    Some(Vec<PackageUrl>, usize),
}

fn parts(product: &Value) -> Parts {
    let stated = product.get("subcomponents").and_then(Value::as_array);
    let stated = stated.map(Vec::as_slice).unwrap_or_default();
    let read = |part: &Value| PackageUrl::parse(ids(part).first()?).ok();
    let parts: Vec<PackageUrl> = stated.iter().filter_map(read).collect();
    match stated.len() - parts.len() {
        0 => Parts::Read(parts),
        n_unread => Parts::Some(parts, n_unread),
    }
}

/// Names that stand together in one statement are one vulnerability's in all of them.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, usize>,
    /// Of each number one that stands for it, or itself.
    parents: Vec<usize>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        let next = self.parents.len();
        let number = *self.numbers.entry(name.to_ascii_lowercase()).or_insert(next);
        if number == next {
            self.parents.push(number);
        }
        number
    }

    fn root(&mut self, mut at: usize) -> usize {
        while let Some(&parent) = self.parents.get(at).filter(|parent| **parent != at) {
            // Halves the way for who comes after.
            let above = self.parents.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.parents.get_mut(at) {
                *slot = above;
            }
            at = above;
        }
        at
    }

    fn join(&mut self, names: &[&str]) {
        let Some((first, others)) = names.split_first() else { return };
        let first = self.number(first);
        for name in others {
            let (into, from) = (self.root(first), self.number(name));
            let from = self.root(from);
            if let Some(slot) = self.parents.get_mut(from) {
                *slot = into;
            }
        }
    }

    /// The vulnerability that these names mean.
    fn vulnerability(&mut self, names: &[&str]) -> Option<usize> {
        let number = self.number(names.first()?);
        Some(self.root(number))
    }
}

/// What one statement sets aside of one product.
struct Claim {
    names: Arc<[String]>,
    /// The product's identifiers as they are written.
    ids: Vec<String>,
    product: Product,
    reason: String,
}

/// What a statement takes back.
enum Back {
    /// Everything.
    All,
    /// What is said of a product that is called by one of these.
    Called(Vec<String>),
    /// What is said of this, or of a part of it.
    Product(Arc<Product>),
}

/// How much of an earlier product a later one is about.
#[derive(PartialEq)]
enum Reach {
    Nothing,
    Part,
    Whole,
}

/// What holds so far.
#[derive(Default)]
struct Claims {
    /// In the order in which they were made; what was taken back is gone.
    all: Vec<Option<Claim>>,
    of_vulnerability: HashMap<usize, Vec<usize>>,
    n_compared: usize,
}

impl Claims {
    fn make(&mut self, vulnerability: usize, claim: Claim) {
        self.of_vulnerability.entry(vulnerability).or_default().push(self.all.len());
        self.all.push(Some(claim));
    }

    fn has_any(&self, vulnerability: usize) -> bool {
        self.of_vulnerability.get(&vulnerability).is_some_and(|live| !live.is_empty())
    }

    /// Takes back what was said of `vulnerability`; whether there was any.
    fn take_back(&mut self, vulnerability: usize, back: &Back) -> Result<bool, ReadVexError> {
        let Self { all, of_vulnerability, n_compared } = self;
        let Some(live) = of_vulnerability.get_mut(&vulnerability) else { return Ok(false) };
        let mut is_any = false;
        live.retain(|index| {
            let Some(slot) = all.get_mut(*index) else { return false };
            let Some(claim) = slot else { return false };
            let reach = match back {
                Back::All => Reach::Whole,
                Back::Called(ids) if ids.iter().any(|id| claim.ids.contains(id)) => Reach::Whole,
                Back::Called(_) => Reach::Nothing,
                Back::Product(later) => {
                    *n_compared = n_compared.saturating_add(n_comparisons(later, &claim.product));
                    // Beyond it nothing is compared, and the document is refused.
                    let is_compared = *n_compared <= COMPARISONS_MAX;
                    if is_compared { reach(later, &claim.product) } else { Reach::Nothing }
                }
            };
            is_any |= reach != Reach::Nothing;
            match (reach, back) {
                (Reach::Nothing, _) => return true,
                (Reach::Part, Back::Product(later)) if claim.product.except.len() < EXCEPT_MAX => {
                    claim.product.except.push(Arc::clone(later));
                    return true;
                }
                _ => {}
            }
            *slot = None;
            false
        });
        if *n_compared > COMPARISONS_MAX { Err(ReadVexError::TooManyOfOne) } else { Ok(is_any) }
    }
}

fn n_comparisons(later: &Product, earlier: &Product) -> usize {
    let n_parts = later.subcomponents.len().saturating_mul(earlier.subcomponents.len().max(1));
    n_parts.saturating_add(1)
}

fn reach(later: &Product, earlier: &Product) -> Reach {
    let (url, earlier_url) = (&later.url, &earlier.url);
    let (is_met, is_whole) = match (later.is_image(), earlier.is_image()) {
        (false, true) => (false, false),
        (false, false) => (overlap(url, earlier_url), covers(url, earlier_url)),
        // The package in that image alone.
        (true, false) => {
            let is_meant = |part: &PackageUrl| overlap(part, earlier_url);
            (later.subcomponents.is_empty() || later.subcomponents.iter().any(is_meant), false)
        }
        (true, true) => {
            let (parts, earlier_parts) = (&later.subcomponents, &earlier.subcomponents);
            let meets = |part: &PackageUrl| earlier_parts.iter().any(|it| overlap(part, it));
            let is_met = parts.is_empty() || earlier_parts.is_empty() || parts.iter().any(meets);
            let is_within = |part: &PackageUrl| parts.iter().any(|it| covers(it, part));
            let has_all = parts.is_empty()
                || (!earlier_parts.is_empty() && earlier_parts.iter().all(is_within));
            let (may_be, is) = same_image(url, earlier_url);
            (is_met && may_be, has_all && is)
        }
    };
    match (is_met, is_whole) {
        (false, _) => Reach::Nothing,
        (true, false) => Reach::Part,
        (true, true) => Reach::Whole,
    }
}

/// Whether there may be a package that both mean.
fn overlap(a: &PackageUrl, b: &PackageUrl) -> bool {
    let agree = |a: &str, b: &str| a.is_empty() || b.is_empty() || a.eq_ignore_ascii_case(b);
    let mut stated = a.qualifiers.iter().filter(|(key, _)| !is_place(key));
    a.kind == b.kind
        && a.name.eq_ignore_ascii_case(&b.name)
        && agree(&a.namespace, &b.namespace)
        && (a.version.is_empty() || b.version.is_empty() || a.version == b.version)
        && stated.all(|(key, value)| b.qualifier(key).is_none_or(|other| other == value))
}

/// Whether two URLs may mean one image, and whether `later` means every image that `earlier` does.
fn same_image(later: &PackageUrl, earlier: &PackageUrl) -> (bool, bool) {
    let is_digest = |url: &PackageUrl| url.version.starts_with("sha256:");
    let is_called_so = later.name.eq_ignore_ascii_case(&earlier.name);
    let is_same = later.version == earlier.version;
    match (is_digest(later), is_digest(earlier)) {
        // A digest says which image it is, whatever it is called.
        (true, true) => (is_same, is_same),
        (false, false) => {
            let is_open = later.version.is_empty();
            let may_be = is_same || is_open || earlier.version.is_empty();
            (is_called_so && may_be, is_called_so && (is_same || is_open))
        }
        // Which tag an image had is not known.
        _ => (is_called_so, is_called_so && later.version.is_empty()),
    }
}

/// The statements, the earliest first. One without a time is of the document's; where that has
/// none either, one that takes back comes after those with a time.
fn in_order(document: &OpenVex) -> Vec<&OpenStatement> {
    let read = |text: &str| text.parse::<Timestamp>().ok();
    let of_document = document.timestamp.as_str().and_then(read);
    let time = |one: &OpenStatement| one.timestamp.as_deref().and_then(read).or(of_document);
    let is_dated = document.statements.iter().any(|one| time(one).is_some());
    let last = Timestamp::from_nanos(u64::MAX);
    let mut all: Vec<&OpenStatement> = document.statements.iter().collect();
    all.sort_by_cached_key(|one| time(one).or((is_dated && !one.sets_aside()).then_some(last)));
    all
}

pub(super) fn read(value: Value) -> Result<Document, ReadVexError> {
    let document: OpenVex = shape(value, "OpenVEX")?;
    let (mut found, mut claims, mut names) =
        (Document::default(), Claims::default(), Names::default());
    document.statements.iter().for_each(|statement| names.join(&statement.names()));
    for statement in in_order(&document) {
        let vulnerability = names.vulnerability(&statement.names());
        if statement.sets_aside() {
            set_aside(statement, vulnerability, &mut claims, &mut found);
        } else {
            take_back(statement, vulnerability, &mut claims, &mut found)?;
        }
    }
    // The first of several that hold gives the reason.
    for claim in claims.all.into_iter().rev().flatten() {
        for name in claim.names.iter() {
            found.statements.push(entry(name, claim.reason.clone(), vec![claim.product.clone()]));
        }
    }
    Ok(found)
}

fn set_aside(
    statement: &OpenStatement,
    vulnerability: Option<usize>,
    claims: &mut Claims,
    found: &mut Document,
) {
    let said = [statement.justification.as_deref(), statement.impact_statement.as_deref()];
    let names: Arc<[String]> = statement.names().into_iter().map(String::from).collect();
    if vulnerability.is_none() {
        found.miss(NO_ID);
    }
    if statement.products.is_empty() {
        found.miss(NO_PRODUCT);
    }
    for stated in &statement.products {
        let parts = match parts(stated) {
            Parts::Read(parts) => parts,
            Parts::Some(parts, n_unread) => {
                (0..n_unread).for_each(|_| found.miss(NO_PART));
                // Without those that can be read the statement would be about all.
                if parts.is_empty() {
                    continue;
                }
                parts
            }
        };
        let ids = ids(stated);
        let Some(product) = ids.first().and_then(|text| Product::of(text, parts)) else {
            found.miss(NO_URL);
            continue;
        };
        let Some(vulnerability) = vulnerability else { continue };
        let ids = ids.into_iter().map(String::from).collect();
        let reason = reason(&statement.status, &said);
        claims.make(vulnerability, Claim { names: Arc::clone(&names), ids, product, reason });
    }
}

/// What sets nothing aside is no loss where it is not understood, unless it may take back what
/// was said before.
fn take_back(
    statement: &OpenStatement,
    vulnerability: Option<usize>,
    claims: &mut Claims,
    found: &mut Document,
) -> Result<(), ReadVexError> {
    // What was said before does not hold if another thing was said since, whatever it means.
    let is_known = matches!(statement.status.as_str(), "affected" | "under_investigation");
    let mut ignored = Document::default();
    let found = if is_known {
        found
    } else {
        found.miss_status(&statement.status);
        &mut ignored
    };
    let Some(vulnerability) = vulnerability else {
        if claims.all.iter().any(Option::is_some) {
            found.miss(NO_ID);
        }
        return Ok(());
    };
    if statement.products.is_empty() && claims.take_back(vulnerability, &Back::All)? {
        found.miss(NO_PRODUCT);
    }
    for stated in &statement.products {
        let (parts, is_read) = match parts(stated) {
            Parts::Read(parts) => (parts, true),
            // About which it is besides is not known: about all.
            Parts::Some(..) => (Vec::new(), false),
        };
        let ids = ids(stated);
        let Some(product) = ids.first().and_then(|text| Product::of(text, parts)) else {
            if claims.has_any(vulnerability) {
                found.miss(NO_URL);
            }
            let ids = ids.into_iter().map(String::from).collect();
            claims.take_back(vulnerability, &Back::Called(ids))?;
            continue;
        };
        let is_any = claims.take_back(vulnerability, &Back::Product(Arc::new(product)))?;
        if is_any && !is_read {
            found.miss(NO_PART);
        }
    }
    Ok(())
}
