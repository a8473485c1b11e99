//! What a scan finds.

use std::fmt;
use std::str::FromStr;

use palisade_base::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::judgement::{GateResult, Suppressed};
use crate::minimality::Minimality;
use crate::package::{Gap, Inventory};
use crate::symbols::{SymbolAnswer, SymbolCheck};

/// How bad a finding is; the order is by badness.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody rated it.
    #[default]
    Unknown,
    /// Practically harmless.
    Negligible,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// All severities, worst first.
    pub const ALL: [Self; 6] =
        [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Negligible, Self::Unknown];

    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Negligible => "negligible",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Text that is no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a severity (critical, high, medium, low, negligible, unknown)")]
pub struct ParseSeverityError(pub String);

impl FromStr for Severity {
    type Err = ParseSeverityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| ParseSeverityError(text.chars().take(32).collect()))
    }
}

/// One finding of a scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// A package with a known vulnerability.
    Vulnerability(Vulnerability),
    /// A secret left in the image.
    Secret(Secret),
    /// A file that gives privilege or is dangerous in itself.
    File(DangerousFile),
    /// A setting of the image's configuration.
    Configuration(Misconfiguration),
    /// A file that is, or looks like, malware or an attacker's tool.
    Malware(Malware),
    /// A package whose licence the policy does not simply allow.
    Licence(LicenceFinding),
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Vulnerability(v) => v.severity,
            Self::Secret(s) => s.severity,
            Self::File(f) => f.severity,
            Self::Configuration(c) => c.severity,
            Self::Malware(m) => m.severity,
            Self::Licence(l) => l.severity,
        }
    }
}

/// What a publisher says about a vulnerability in its package.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum VulnerabilityStatus {
    /// Affected; the fixed version, if there is one, has the fix.
    #[default]
    Affected,
    /// Nobody knows yet.
    UnderInvestigation,
    /// To be fixed with something else, some day (Debian's `postponed` and `no-dsa`).
    FixDeferred,
    /// The publisher will not fix it (Debian's `ignored`, Red Hat's `Will not fix`).
    WillNotFix,
    /// The release or the package gets no fixes any more.
    EndOfLife,
    /// The publisher says that its package does not have the problem.
    NotAffected,
}

impl VulnerabilityStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Affected,
        Self::UnderInvestigation,
        Self::FixDeferred,
        Self::WillNotFix,
        Self::EndOfLife,
        Self::NotAffected,
    ];

    /// For people: `will not be fixed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Affected => "affected",
            Self::UnderInvestigation => "under investigation",
            Self::FixDeferred => "fix deferred",
            Self::WillNotFix => "will not be fixed",
            Self::EndOfLife => "end of life",
            Self::NotAffected => "not affected",
        }
    }

    /// Whether it is the plain case.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if wants it")]
    pub fn is_affected(&self) -> bool {
        *self == Self::Affected
    }
}

/// What one feed says of a finding, where feeds disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStatement {
    /// The feed: `debian-tracker`.
    pub feed: String,
    /// Its rating.
    pub severity: Severity,
    /// What it says of the installed version.
    pub status: VulnerabilityStatus,
    /// The version with the fix, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
}

/// A known vulnerability of an installed package.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Vulnerability {
    /// `CVE-2024-6387`, or the advisory's own identifier where there is no CVE.
    pub id: String,
    /// Other identifiers of the same thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Name of the installed package.
    pub package: String,
    /// Its package URL.
    pub purl: String,
    /// Source package to which the advisory belongs, where the ecosystem has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Installed version.
    pub installed: String,
    /// Version that fixes it, if one exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// One line about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Feed that says so: `debian-changelogs`, `osv/PyPI`.
    pub feed: String,
    /// Whether CISA lists it as exploited.
    #[serde(default)]
    pub known_exploited: bool,
    /// Probability of exploitation within 30 days by FIRST's EPSS, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epss: Option<f64>,
    /// What the publisher intends.
    #[serde(default, skip_serializing_if = "VulnerabilityStatus::is_affected")]
    pub status: VulnerabilityStatus,
    /// The CVSS vector with the highest score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvss: Option<String>,
    /// Its base score, 0 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvss_score: Option<f64>,
    /// What each feed says, where they disagree; the first one decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<FeedStatement>,
    /// Whether the functions that the advisories name are in the program; `None` where they name
    /// none, or the package is in no program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<SymbolCheck>,
}

impl Vulnerability {
    /// Whether the vulnerable code is known not to be in the program.
    pub fn is_absent(&self) -> bool {
        self.symbols.as_ref().is_some_and(|check| check.answer == SymbolAnswer::Absent)
    }
}

/// A secret found in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Secret {
    /// Detector: `aws-access-key`.
    pub detector: String,
    /// What it is, for people.
    pub title: String,
    /// File within the image.
    pub path: String,
    /// Line, from 1.
    pub line: u64,
    /// The secret with its middle hidden; the value itself never leaves the scanner.
    pub redacted: String,
    /// How bad it is.
    pub severity: Severity,
    /// Layer that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// Sixteen hexadecimal digits that are the same wherever the same value lies, and tell
    /// nothing of it. An ignore entry can name them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Further places in the same file that hold the same value.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_more: u64,
    /// Package that installed the file, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if wants it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A file that a rule or a list of hashes knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Malware {
    /// Rule or list entry: `miner_xmrig`.
    pub rule: String,
    /// What knows it.
    pub engine: MalwareEngine,
    /// What it is, for people.
    pub title: String,
    /// File within the image; inside an archive, the path within it follows `!/`.
    pub path: String,
    /// What in the file says so: names of patterns, or the hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// SHA-256 of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Where the rule or the hash comes from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
    /// Package that installed the file, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// Layer that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
}

/// What knows a file as malware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MalwareEngine {
    /// A YARA rule.
    Yara,
    /// A list of hashes.
    Hash,
}

/// What the policy says of a licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LicenceVerdict {
    /// The policy denies it, or allows others only.
    Denied,
    /// The policy wants a person to look at it.
    Review,
    /// Nobody knows what the licence is.
    Unknown,
}

/// A package whose licence the policy does not simply allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenceFinding {
    /// Package.
    pub package: String,
    /// Its package URL.
    pub purl: String,
    /// Its version.
    pub version: String,
    /// The licence as an SPDX expression where it is one, else as the package states it; empty
    /// when it states none.
    pub licence: String,
    /// What the policy says.
    pub verdict: LicenceVerdict,
    /// Why, in a sentence.
    pub reason: String,
    /// How bad it is.
    pub severity: Severity,
}

/// Why a file is dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileDanger {
    /// Runs with its owner's rights.
    Setuid,
    /// Runs with its group's rights.
    Setgid,
    /// Carries file capabilities.
    Capabilities,
    /// Everybody may write it.
    WorldWritable,
    /// A private key.
    PrivateKey,
    /// A second user with id 0.
    DuplicateRoot,
    /// A device node.
    Device,
    /// An account that needs no password.
    EmptyPassword,
    /// A program where no package puts one: hidden, or in a folder for temporary files.
    HiddenProgram,
    /// A library that the loader puts into every program (`/etc/ld.so.preload`).
    Preload,
    /// A timed job or a service that runs what a package did not install.
    Persistence,
    /// Keys that may log in.
    AuthorizedKeys,
    /// Rights that are given without a password.
    Sudoers,
}

/// A dangerous file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DangerousFile {
    /// Why.
    pub danger: FileDanger,
    /// File within the image.
    pub path: String,
    /// Mode, owner or what else makes it so.
    pub detail: String,
    /// Package that installed it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// How bad it is.
    pub severity: Severity,
}

/// A setting that weakens the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Misconfiguration {
    /// Check: `image-runs-as-root`.
    pub check: String,
    /// What is wrong.
    pub title: String,
    /// What to do.
    pub fix: String,
    /// How bad it is.
    pub severity: Severity,
    /// Number in the check catalogue: `IMG-001`. Several checks may share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What has the setting: `Deployment/shop, container web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Where it is written, or where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<SourceLocation>,
    /// Why it matters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Pages that say more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// Controls of published frameworks, mapped by the project.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Control>,
}

/// A place in a file that people wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceLocation {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

/// A control of a published framework. The pairing with a check is the project's own, not an
/// auditor's view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Framework: `CIS Kubernetes 1.12`.
    pub framework: String,
    /// Identifier within it: `5.2.2`.
    pub id: String,
}

/// How old a feed of the advisory database is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedTime {
    /// Name: `debian-changelogs`, `osv/PyPI`, `kev`.
    pub name: String,
    /// As of when it speaks: when it was fetched from its publisher; else the time of its newest
    /// data, or of its copy where it states none; absent where nothing of this is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Whether it was fetched from its publisher, so that fetching again makes it younger.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_publisher: bool,
}

/// The state of the advisory database that a scan used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// Feeds compiled into it.
    pub feeds: Vec<String>,
    /// Time of the newest data in it.
    pub built: Timestamp,
    /// Records.
    pub n_records: u64,
    /// Ecosystems of which it knows some packages only: those whose changelogs were read, or those of
    /// the files of a feed that could be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<String>,
    /// Each feed with its time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<FeedTime>,
    /// The oldest of the feeds that speak of what is in the inventory; one of unknown time comes
    /// before all others. Absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<FeedTime>,
    /// When the key was made whose signature proved it; absent where no signature was asked for,
    /// or the key's file states no date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_created: Option<Timestamp>,
}

impl DatabaseInfo {
    /// As of when it speaks of what is in the inventory; `None` where that is not known.
    pub fn as_of(&self) -> Option<Timestamp> {
        match &self.oldest {
            Some(feed) => feed.time,
            None => Some(self.built),
        }
    }

    /// The age of that at `now`.
    pub fn age_days(&self, now: Timestamp) -> Option<u64> {
        self.as_of().map(|time| now.since(time).as_secs() / 86_400)
    }
}

/// The whole result of a scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanReport {
    /// When the scan ended.
    pub time: Timestamp,
    /// What the image holds.
    pub inventory: Inventory,
    /// The database used; `None` means that vulnerabilities were not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseInfo>,
    /// What was found, worst first.
    pub findings: Vec<Finding>,
    /// Findings hidden by an ignore entry.
    pub n_ignored: u64,
    /// Those findings, as far as the bound on their number allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<Suppressed>,
    /// What the gate made of the findings; `None` means that no gate was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateResult>,
    /// What is more than needed; `None` means that nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimality: Option<Minimality>,
    /// What was looked at and what was left out, and why.
    #[serde(default)]
    pub coverage: Coverage,
}

/// What a scan looked at: "nothing found" and "nothing looked at" are different answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Files searched for secrets.
    pub n_files_searched: u64,
    /// Bytes searched for secrets.
    pub n_bytes_searched: u64,
    /// Files not searched because they are binary.
    pub n_files_binary: u64,
    /// Files not searched because they are larger than the bound.
    pub n_files_large: u64,
    /// Files not searched because of where they lie (manuals, translations).
    pub n_files_excluded: u64,
    /// Secrets in files that a distribution's package published, and so not secret.
    pub n_secrets_packaged: u64,
    /// Secrets that the policy's allow-list names.
    #[serde(default)]
    pub n_secrets_allowed: u64,
    /// Files examined for malware.
    #[serde(default)]
    pub n_files_malware: u64,
    /// Files that were to be examined for malware and are larger than the bound, or took too
    /// long.
    #[serde(default)]
    pub n_files_malware_skipped: u64,
    /// Packages whose licence the policy judged.
    #[serde(default)]
    pub n_licences_judged: u64,
    /// Packages that state no licence, or none that could be read.
    #[serde(default)]
    pub n_licences_unknown: u64,
    /// Packages that the advisory database could judge.
    pub n_packages_matched: u64,
    /// Packages that it could not judge, by ecosystem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<Unmatched>,
    /// Vulnerabilities of a source package that its harmless binaries (kernel headers,
    /// documentation) do not have.
    pub n_harmless: u64,
    /// Vulnerabilities of language packages that a distribution's package owns and maintains.
    pub n_distribution_owned: u64,
    /// Vulnerabilities that one feed claims and the distribution's own feed denies.
    #[serde(default)]
    pub n_overruled: u64,
    /// Language packages that are parts of a distribution's packages and are judged as those.
    #[serde(default)]
    pub n_packages_folded: u64,
    /// Packages that lock files name for development alone; they are not in the inventory.
    #[serde(default)]
    pub n_packages_development: u64,
    /// Entries of lock files whose packages are in the inventory as installed.
    #[serde(default)]
    pub n_packages_declared: u64,
    /// Advisories whose versions could not be compared with the installed one.
    #[serde(default)]
    pub n_incomparable: u64,
    /// Those advisories, as far as the bound on their number allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomparable: Vec<Incomparable>,
    /// Ignore entries that have expired and therefore hid nothing.
    pub n_ignores_expired: u64,
    /// Findings beyond the bound of one kind, dropped.
    pub n_dropped: u64,
    /// Those of the kinds for which a gate asks.
    #[serde(default, skip_serializing_if = "Dropped::is_none")]
    pub dropped: Dropped,
    /// Whether a bill of materials was read instead of files: secrets, dangerous files and
    /// settings were not looked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_of_document: bool,
}

/// Findings beyond the bound of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Vulnerabilities.
    pub vulnerabilities: u64,
    /// Secrets.
    pub secrets: u64,
    /// Signs of malware.
    pub malware: u64,
    /// Dangerous files.
    pub files: u64,
}

impl Dropped {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// An advisory about an installed package that may or may not mean its version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Incomparable {
    /// The advisory's identifier.
    pub id: String,
    /// The installed package.
    pub package: String,
    /// Its package URL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purl: String,
    /// Its version; empty where the package states none.
    pub installed: String,
    /// How bad the vulnerability would be, by the advisories of it.
    #[serde(default)]
    pub severity: Severity,
    /// Whether an advisory names a fixed version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_fix: bool,
    /// Whether CISA lists it as exploited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known_exploited: bool,
    /// The probability that it is exploited within 30 days by FIRST's EPSS, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epss: Option<f64>,
}

/// Packages for which the advisory database has no data or no version order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// Ecosystem as OSV names it: `Debian:12`, `npm`.
    pub ecosystem: String,
    /// Packages of it in the image.
    pub n_packages: u64,
    /// Why they could not be judged.
    pub reason: String,
}

impl ScanReport {
    /// What could not be examined.
    pub fn gaps(&self) -> &[Gap] {
        &self.inventory.gaps
    }
}
