//! What a scan looks for, and what of it is acceptable: the section `scan`.

use std::path::PathBuf;

use palisade_model::Severity;

use crate::document::Policy;
use crate::key::{section, text};
use crate::table::{Choice, Default as Preset, ITEMS_MAX, Key, Kind, TextRule};

/// What a scan looks for beyond what is built in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// Secrets.
    pub secrets: ScanSecrets,
    /// Files or folders of YARA rules; relative to the policy file.
    pub malware_rules: Vec<PathBuf>,
    /// Files of hashes; relative to the policy file.
    pub malware_hashes: Vec<PathBuf>,
    /// Licences.
    pub licences: ScanLicences,
}

/// Secrets of one's own, and what is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanSecrets {
    /// Further detectors.
    pub detectors: Vec<SecretDetector>,
    /// What is no secret.
    pub allow: Vec<SecretAllow>,
}

/// A secret detector of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretDetector {
    /// Name.
    pub id: String,
    /// What it finds, for people.
    pub title: String,
    /// How bad a leak is.
    pub severity: Severity,
    /// Words of which one stands near the secret.
    pub keywords: Vec<String>,
    /// Regular expression.
    pub pattern: String,
    /// Bits of Shannon entropy a character that the value must have.
    pub entropy_min: u32,
    /// Ends of the names of the files that have it.
    pub files: Vec<String>,
}

/// Secrets that are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretAllow {
    /// Detector; empty for any.
    pub detector: String,
    /// Path with `*` and `**`; empty for any.
    pub path: String,
    /// Regular expression of the value; empty for any.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

/// What licences packages may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanLicences {
    /// Licences that are allowed; none but these where any are named.
    pub allow: Vec<String>,
    /// Licences that are denied.
    pub deny: Vec<String>,
    /// Licences that a person should look at.
    pub review: Vec<String>,
    /// What is said of packages whose licence is not known.
    pub unknown: UnknownLicence,
    /// Packages that may have them all the same.
    pub exceptions: Vec<LicenceException>,
}

impl ScanLicences {
    /// Whether anything is asked of licences.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty() && self.review.is_empty()
    }
}

/// What is said of packages whose licence is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnknownLicence {
    /// They are listed as unknown.
    #[default]
    Report,
    /// They are counted.
    Count,
    /// They are denied.
    Deny,
}

/// A package that may have a licence that others may not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LicenceException {
    /// Name of the package, with `*` for any text.
    pub package: String,
    /// Licence; empty for whichever it has.
    pub licence: String,
    /// Why.
    pub reason: String,
    /// Until when, as `2027-01-31`; empty for no end.
    pub expires: String,
}

/// Texts of one list.
const TEXTS_MAX: usize = 1_000;

fn detector(policy: &mut Policy, set: impl FnOnce(&mut SecretDetector)) {
    if let Some(item) = policy.scan.secrets.detectors.last_mut() {
        set(item);
    }
}

fn allow(policy: &mut Policy, set: impl FnOnce(&mut SecretAllow)) {
    if let Some(item) = policy.scan.secrets.allow.last_mut() {
        set(item);
    }
}

fn exception(policy: &mut Policy, set: impl FnOnce(&mut LicenceException)) {
    if let Some(item) = policy.scan.licences.exceptions.last_mut() {
        set(item);
    }
}

macro_rules! severity {
    ($name:literal, $severity:ident) => {
        Choice {
            name: $name,
            meaning: $name,
            set: |p| detector(p, |item| item.severity = Severity::$severity),
        }
    };
}

const SEVERITY: &[Choice] = &[
    severity!("critical", Critical),
    severity!("high", High),
    severity!("medium", Medium),
    severity!("low", Low),
];

const UNKNOWN: &[Choice] = &[
    Choice {
        name: "report",
        meaning: "they are listed as unknown",
        set: |p| p.scan.licences.unknown = UnknownLicence::Report,
    },
    Choice {
        name: "count",
        meaning: "they are counted and not listed",
        set: |p| p.scan.licences.unknown = UnknownLicence::Count,
    },
    Choice {
        name: "deny",
        meaning: "they are denied",
        set: |p| p.scan.licences.unknown = UnknownLicence::Deny,
    },
];

const fn texts(
    path: &'static str,
    rule: TextRule,
    set: fn(&mut Policy, Vec<String>),
    doc: &'static str,
    example: &'static str,
) -> Key {
    let kind = Kind::Texts { rule, n_max: TEXTS_MAX, set };
    Key { path, kind, default: Preset::Values(&[]), doc, example }
}

const fn items(
    path: &'static str,
    begin: fn(&mut Policy),
    doc: &'static str,
    example: &'static str,
) -> Key {
    Key {
        path,
        kind: Kind::Items { n_max: ITEMS_MAX, begin },
        default: Preset::Nothing,
        doc,
        example,
    }
}

fn paths(texts: Vec<String>) -> Vec<PathBuf> {
    texts.into_iter().map(PathBuf::from).collect()
}

/// The keys, in the order in which they are written and explained.
pub(crate) const KEYS: &[Key] = &[
    section("scan", "What a scan looks for beyond what is built in, and what of it is acceptable."),
    section("scan.secrets", "Secrets of one's own, and what is no secret."),
    items(
        "scan.secrets.detectors",
        |p| p.scan.secrets.detectors.push(SecretDetector::default()),
        "Further secret detectors.",
        "[{id: shop-key, title: key of the shop, keywords: [shop_], pattern: 'shop_[a-z0-9]{20}'}]",
    ),
    text(
        "scan.secrets.detectors[].id",
        TextRule::Name,
        |p, text| detector(p, |item| item.id = text),
        Preset::Required,
        "Name of the detector. It must not be that of a built-in one.",
        "shop-key",
    ),
    text(
        "scan.secrets.detectors[].title",
        TextRule::Sentence,
        |p, text| detector(p, |item| item.title = text),
        Preset::Required,
        "What it finds, for people.",
        "key of the shop",
    ),
    Key {
        path: "scan.secrets.detectors[].severity",
        kind: Kind::Choice(SEVERITY),
        default: Preset::Value("high"),
        doc: "How bad a leak is.",
        example: "critical",
    },
    texts(
        "scan.secrets.detectors[].keywords",
        TextRule::Sentence,
        |p, texts| detector(p, |item| item.keywords = texts),
        "Words of which one must stand near the secret, in any case. Where there are none, `files` must name the files.",
        "[shop_]",
    ),
    text(
        "scan.secrets.detectors[].pattern",
        TextRule::Pattern,
        |p, text| detector(p, |item| item.pattern = text),
        Preset::Required,
        "Regular expression in the syntax of Rust's regex crate. A group `(?P<secret>…)` names the value where context surrounds it.",
        "'shop_[a-z0-9]{20}'",
    ),
    Key {
        path: "scan.secrets.detectors[].entropy",
        kind: Kind::Integer {
            min: 0,
            max: 8,
            optional: false,
            set: |p, n| detector(p, |item| item.entropy_min = n.unwrap_or(0) as u32),
        },
        default: Preset::Value("0"),
        doc: "Bits of Shannon entropy a character that the value must have at least.",
        example: "3",
    },
    texts(
        "scan.secrets.detectors[].files",
        TextRule::Sentence,
        |p, texts| detector(p, |item| item.files = texts),
        "Ends of the names of the files that have it, such as `.env` or `etc/shop.conf`; none for every file.",
        "[etc/shop.conf]",
    ),
    items(
        "scan.secrets.allow",
        |p| p.scan.secrets.allow.push(SecretAllow::default()),
        "What is no secret. All conditions of an entry must hold. What it hides is counted.",
        "[{path: \"srv/app/samples/**\", reason: samples of the manual}]",
    ),
    text(
        "scan.secrets.allow[].detector",
        TextRule::Sentence,
        |p, text| allow(p, |item| item.detector = text),
        Preset::Value(""),
        "Detector.",
        "jwt",
    ),
    text(
        "scan.secrets.allow[].path",
        TextRule::Sentence,
        |p, text| allow(p, |item| item.path = text),
        Preset::Value(""),
        "Path within the image. `*` stands for anything but `/`, `**` for anything.",
        "\"srv/app/samples/**\"",
    ),
    text(
        "scan.secrets.allow[].pattern",
        TextRule::Pattern,
        |p, text| allow(p, |item| item.pattern = text),
        Preset::Value(""),
        "Regular expression that the value matches.",
        "\"^test-\"",
    ),
    text(
        "scan.secrets.allow[].reason",
        TextRule::Sentence,
        |p, text| allow(p, |item| item.reason = text),
        Preset::Required,
        "Why it is no secret.",
        "samples of the manual",
    ),
    section("scan.malware", "Malware."),
    texts(
        "scan.malware.rules",
        TextRule::File,
        |p, texts| p.scan.malware_rules = paths(texts),
        "YARA rules besides the built-in ones: files, or folders of `.yar` and `.yara` files. They are run on every file.",
        "[rules/yara]",
    ),
    texts(
        "scan.malware.hashes",
        TextRule::File,
        |p, texts| p.scan.malware_hashes = paths(texts),
        "Lists of MD5, SHA-1 or SHA-256 hashes: plain, CSV, ClamAV's or MISP's.",
        "[bad.sha256]",
    ),
    section(
        "scan.licences",
        "What licences packages may have. Names are those of SPDX; `*` stands for any text. `deny` outweighs `review`, and that `allow`.",
    ),
    texts(
        "scan.licences.allow",
        TextRule::Sentence,
        |p, texts| p.scan.licences.allow = texts,
        "Licences that are allowed. Where any are named all others are denied.",
        "[MIT, \"BSD-*\", Apache-2.0]",
    ),
    texts(
        "scan.licences.deny",
        TextRule::Sentence,
        |p, texts| p.scan.licences.deny = texts,
        "Licences that are denied.",
        "[\"AGPL-*\"]",
    ),
    texts(
        "scan.licences.review",
        TextRule::Sentence,
        |p, texts| p.scan.licences.review = texts,
        "Licences that a person should look at.",
        "[\"GPL-3.0-*\"]",
    ),
    Key {
        path: "scan.licences.unknown",
        kind: Kind::Choice(UNKNOWN),
        default: Preset::Value("report"),
        doc: "What is said of packages whose licence is not known.",
        example: "deny",
    },
    items(
        "scan.licences.exceptions",
        |p| p.scan.licences.exceptions.push(LicenceException::default()),
        "Packages that may have a licence that others may not.",
        "[{package: ghostscript, reason: \"not linked, run as a program\", expires: \"2027-06-30\"}]",
    ),
    text(
        "scan.licences.exceptions[].package",
        TextRule::Sentence,
        |p, text| exception(p, |item| item.package = text),
        Preset::Required,
        "Name of the package; `*` stands for any text.",
        "ghostscript",
    ),
    text(
        "scan.licences.exceptions[].licence",
        TextRule::Sentence,
        |p, text| exception(p, |item| item.licence = text),
        Preset::Value(""),
        "The licence that it may have; without it whichever it has.",
        "AGPL-3.0-or-later",
    ),
    text(
        "scan.licences.exceptions[].reason",
        TextRule::Sentence,
        |p, text| exception(p, |item| item.reason = text),
        Preset::Required,
        "Why.",
        "not linked",
    ),
    text(
        "scan.licences.exceptions[].expires",
        TextRule::LastDay,
        |p, text| exception(p, |item| item.expires = text),
        Preset::Value(""),
        "The last day on which it holds; without it there is no end.",
        "\"2027-06-30\"",
    ),
];
