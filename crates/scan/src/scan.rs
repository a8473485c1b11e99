//! One walk over an image: inventory, secrets, dangerous files, configuration; then matching.

use std::collections::HashSet;
use std::io::Read;

use palisade_base::{Explain, Timestamp};
use palisade_image::{
    FileEntry, FileKind, Image, OpenImageError, OpenOptions, ReadImageError, Visit, Walked,
};
use palisade_model::finding::{Coverage, Malware, Misconfiguration, ScanReport, Secret};
use palisade_model::package::Gap;
use palisade_model::{Finding, Inventory, Severity, Target};
use palisade_packages::Collector;

use crate::configuration::{self, Facts};
use crate::db::{Database, ReadDatabaseError};
use crate::files::{self, Inspector, normal_path};
use crate::ignore::{self, Ignore};
use crate::licences::{self, LicencePolicy};
use crate::malware::{self, Detection};
use crate::matching;
use crate::secrets::{self, BuildSearcherError, Searcher};

/// Secrets of one image beyond this number are dropped and counted.
pub const SECRETS_MAX: usize = 10_000;
/// Files known as malware beyond this number are dropped and counted.
pub const MALWARE_MAX: usize = 10_000;
/// Landmarks of one image beyond this number are not kept; checks name the first.
const LANDMARKS_MAX: usize = 1_000;
/// `etc/passwd` and `etc/shadow` beyond this many bytes are a gap.
const ACCOUNTS_BYTES_MAX: u64 = 8 << 20;
/// Hostile entries named one by one.
const HOSTILE_MAX: usize = 100;

/// How to scan.
#[derive(Debug, Clone, Copy)]
pub struct ScanOptions<'a> {
    /// The present: ages and expiries are counted from it.
    pub now: Timestamp,
    /// The advisories; without them vulnerabilities are not looked for, and the report says so.
    pub database: Option<&'a Database>,
    /// Findings that somebody decided to live with.
    pub ignores: &'a [Ignore],
    /// Whether to search files for secrets, which is most of the time of a scan.
    pub secrets: bool,
    /// What is looked for besides, and how.
    pub look: Look<'a>,
}

/// What a scan looks for beyond what it always does. Nothing of it is the plain scan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look<'a> {
    /// Secret detectors of the user's; the built-in ones without.
    pub searcher: Option<&'a Searcher>,
    /// Malware; not looked for without.
    pub malware: Option<&'a Detection>,
    /// What the policy says of licences; not judged without.
    pub licences: Option<&'a LicencePolicy>,
}

/// Why a scan could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The image could not be opened.
    #[error("open `{target}`")]
    Open {
        /// The target as the user named it.
        target: String,
        /// Why.
        #[source]
        source: Box<OpenImageError>,
    },
    /// A layer could not be read, or lies.
    #[error("read `{target}`")]
    Read {
        /// The target as the user named it.
        target: String,
        /// Why.
        #[source]
        source: Box<ReadImageError>,
    },
    /// The advisory database could not be read.
    #[error("match packages with the advisory database")]
    Database(#[from] ReadDatabaseError),
    /// The secret detectors could not be built.
    #[error("prepare the search for secrets")]
    Secrets(#[from] BuildSearcherError),
}

impl Explain for ScanError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { source, .. } => source.hint(),
            Self::Read { source, .. } => source.hint(),
            Self::Database(source) => source.hint(),
            Self::Secrets(source) => source.hint(),
        }
    }
}

/// Opens `target` and scans it.
pub fn scan_target(
    target: &Target,
    open: &OpenOptions,
    options: &ScanOptions<'_>,
) -> Result<ScanReport, ScanError> {
    let image = Image::open(target, open).map_err(|source| ScanError::Open {
        target: target.to_string(),
        source: Box::new(source),
    })?;
    scan_image(&image, options)
}

/// Scans an open image in one walk over its layers.
pub fn scan_image(image: &Image, options: &ScanOptions<'_>) -> Result<ScanReport, ScanError> {
    let built_in;
    let searcher = if let Some(searcher) = options.look.searcher {
        searcher
    } else {
        built_in = Searcher::new()?;
        &built_in
    };
    let mut walk = Walk::new(image, searcher, options.secrets);
    walk.examiner = options.look.malware.map(Detection::examiner);
    let walked = image.walk(&mut |entry, content| walk.see(entry, content)).map_err(|source| {
        ScanError::Read { target: image.target.to_string(), source: Box::new(source) }
    })?;
    let Walk {
        collector,
        inspector,
        secrets,
        malware,
        landmarks,
        empty_password,
        mut coverage,
        ..
    } = walk;
    let collected = collector.finish(image.subject(), walked.n_files, all_gaps(&walked));
    let inventory = collected.inventory;
    coverage.n_packages_folded = inventory.parts.len() as u64;
    coverage.n_packages_development = collected.n_development;
    coverage.n_packages_declared = collected.n_declared;

    let mut findings = Vec::new();
    if let Some(database) = options.database {
        let matches = matching::find_vulnerabilities(&inventory, database)?;
        coverage.n_packages_matched = matches.n_packages_matched;
        coverage.unmatched = matches.unmatched;
        coverage.n_harmless = matches.n_harmless;
        coverage.n_distribution_owned = matches.n_distribution_owned;
        coverage.n_incomparable = matches.n_incomparable;
        coverage.n_dropped += matches.n_dropped;
        findings.extend(matches.vulnerabilities.into_iter().map(Finding::Vulnerability));
    }
    findings.extend(unpublished(secrets, &inventory, &mut coverage).map(Finding::Secret));
    findings.extend(owned_malware(malware, &inventory).map(Finding::Malware));
    if let Some(policy) = options.look.licences {
        let judged = licences::judge(&inventory.packages, policy, options.now);
        coverage.n_licences_judged = judged.n_judged;
        coverage.n_licences_unknown = judged.n_unknown;
        findings.extend(judged.findings.into_iter().map(Finding::Licence));
    }
    let (files, n_dropped) = inspector.finish(&inventory.packages);
    coverage.n_dropped += n_dropped;
    findings.extend(files.into_iter().map(Finding::File));
    findings.extend(hostile(&walked).into_iter().map(Finding::Configuration));
    if !image.is_folder() {
        let facts = Facts {
            config: &image.config,
            tag: image.reference.as_deref(),
            landmarks: &landmarks,
            empty_password,
            now: options.now,
            secrets: searcher,
        };
        findings.extend(configuration::examine(&facts).into_iter().map(Finding::Configuration));
    }
    let applied = ignore::apply(&mut findings, options.ignores, options.now);
    coverage.n_ignores_expired = applied.n_expired;
    // Stable: within a severity the order of the parts above stays.
    findings.sort_by_key(|finding| {
        let exploited = matches!(finding, Finding::Vulnerability(v) if v.known_exploited);
        std::cmp::Reverse((exploited, finding.severity()))
    });
    tracing::debug!(
        findings = findings.len(),
        packages = inventory.packages.len(),
        files = walked.n_files,
        "image scanned"
    );
    Ok(ScanReport {
        time: options.now,
        inventory,
        database: options.database.map(Database::info),
        findings,
        n_ignored: applied.n_ignored,
        coverage,
    })
}

/// Reads the inventory alone, without looking for anything.
pub fn inventory_of(image: &Image) -> Result<Inventory, ScanError> {
    let mut collector = Collector::new();
    let walked = image
        .walk(&mut |entry, content| {
            let layer = diff_id(image, entry);
            if has_layer_of_its_own(entry) {
                collector.see(&entry.path, layer);
            }
            let limit = collector.wants(&entry.path);
            match (entry.kind, limit) {
                (FileKind::HardLink, Some(_)) => return Visit::Follow,
                (FileKind::Regular, Some(limit)) => match read_wanted(entry, content, limit) {
                    Ok(bytes) => collector.add(&entry.path, &bytes, layer),
                    Err(reason) => collector.gap(&entry.path, reason),
                },
                (FileKind::Regular, None) if collector.wants_program(&entry.path, entry.mode) => {
                    let mut head = Vec::with_capacity(Collector::PROGRAM_HEAD_BYTES);
                    let n_head = Collector::PROGRAM_HEAD_BYTES as u64;
                    match content.take(n_head).read_to_end(&mut head) {
                        Ok(_) => see_program(&mut collector, entry, layer, &head, content),
                        Err(error) => collector.gap(&entry.path, error.to_string()),
                    }
                }
                _ => {}
            }
            Visit::Continue
        })
        .map_err(|source| ScanError::Read {
            target: image.target.to_string(),
            source: Box::new(source),
        })?;
    Ok(collector.finish(image.subject(), walked.n_files, all_gaps(&walked)).inventory)
}

/// Looks for packages in a file that begins with `head`, if it is a program.
fn see_program(
    collector: &mut Collector,
    entry: &FileEntry,
    layer: Option<palisade_base::Digest>,
    head: &[u8],
    rest: &mut dyn Read,
) {
    if !Collector::is_program(head) {
        return;
    }
    if let Err(error) = collector.add_program(&entry.path, layer, entry.size, head, rest) {
        collector.gap(&entry.path, error.to_string());
    }
}

fn diff_id(image: &Image, entry: &FileEntry) -> Option<palisade_base::Digest> {
    Some(image.layers.get(entry.layer?)?.diff_id)
}

/// Folders are shared between packages and layers.
fn has_layer_of_its_own(entry: &FileEntry) -> bool {
    matches!(entry.kind, FileKind::Regular | FileKind::HardLink | FileKind::Symlink)
}

fn read_wanted(entry: &FileEntry, content: &mut dyn Read, limit: u64) -> Result<Vec<u8>, String> {
    if entry.size > limit {
        return Err(format!("larger than the limit of {limit} bytes"));
    }
    palisade_base::read_bounded(content, "file", limit).map_err(|error| error.to_string())
}

/// What the visitor of the walk gathers.
struct Walk<'a> {
    image: &'a Image,
    searcher: &'a Searcher,
    wants_secrets: bool,
    collector: Collector,
    inspector: Inspector,
    examiner: Option<malware::Examiner<'a>>,
    secrets: Vec<Secret>,
    malware: Vec<Malware>,
    landmarks: Vec<String>,
    empty_password: bool,
    coverage: Coverage,
    /// Reused for every file that is searched.
    buffer: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(image: &'a Image, searcher: &'a Searcher, wants_secrets: bool) -> Self {
        Self {
            image,
            searcher,
            wants_secrets,
            collector: Collector::new(),
            inspector: Inspector::new(),
            examiner: None,
            secrets: Vec::new(),
            malware: Vec::new(),
            landmarks: Vec::new(),
            empty_password: false,
            coverage: Coverage::default(),
            buffer: Vec::new(),
        }
    }

    fn see(&mut self, entry: &FileEntry, content: &mut dyn Read) -> Visit {
        if configuration::is_landmark(&entry.path) && self.landmarks.len() < LANDMARKS_MAX {
            self.landmarks.push(entry.path.clone());
        }
        if has_layer_of_its_own(entry) {
            self.collector.see(&entry.path, diff_id(self.image, entry));
        }
        let limit = self.collector.wants(&entry.path);
        match entry.kind {
            // Presented again as a regular file, and examined then.
            FileKind::HardLink if limit.is_some() || is_account_file(&entry.path) => {
                return Visit::Follow;
            }
            FileKind::Regular => self.see_content(entry, content, limit),
            _ => {}
        }
        self.inspector.see(entry);
        Visit::Continue
    }

    fn see_content(&mut self, entry: &FileEntry, content: &mut dyn Read, limit: Option<u64>) {
        if let Some(limit) = limit {
            match read_wanted(entry, content, limit) {
                Ok(bytes) => {
                    self.collector.add(&entry.path, &bytes, diff_id(self.image, entry));
                    self.search(entry, &bytes);
                    self.examine(entry, &bytes);
                }
                Err(reason) => self.collector.gap(&entry.path, reason),
            }
        } else if is_account_file(&entry.path) {
            match palisade_base::read_bounded(content, "account file", ACCOUNTS_BYTES_MAX) {
                Ok(bytes) => {
                    if entry.path == "etc/passwd" {
                        self.inspector.see_passwd(&bytes);
                        self.inspector.see_passwords("/etc/passwd", &bytes);
                    } else if self.image.is_folder() {
                        // An image's configuration has a check for it.
                        self.inspector.see_passwords("/etc/shadow", &bytes);
                    } else {
                        self.empty_password |= configuration::has_empty_password(&bytes);
                    }
                    self.search(entry, &bytes);
                }
                Err(error) => self.collector.gap(&entry.path, error.to_string()),
            }
        } else if self.wants_secrets
            || self.examiner.is_some()
            || self.collector.wants_program(&entry.path, entry.mode)
        {
            self.read_and_search(entry, content);
        }
    }

    /// Reads the beginning of a file and, when something wants it, the rest.
    fn read_and_search(&mut self, entry: &FileEntry, content: &mut dyn Read) {
        let may_be_program = self.collector.wants_program(&entry.path, entry.mode);
        if is_excluded(&entry.path) && !may_be_program && self.examiner.is_none() {
            self.coverage.n_files_excluded += 1;
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        if let Err(error) = self.read_rest(entry, content, may_be_program, &mut buffer) {
            self.collector.gap(&entry.path, error.to_string());
        }
        self.buffer = buffer;
    }

    fn read_rest(
        &mut self,
        entry: &FileEntry,
        content: &mut dyn Read,
        may_be_program: bool,
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let layer = diff_id(self.image, entry);
        content.take(SNIFF_BYTES).read_to_end(buffer)?;
        self.inspector.see_head(entry, buffer);
        let kind = self.kind_of_search(entry, buffer);
        let is_examined = self.examiner.is_some() && entry.size <= malware::FILE_BYTES_MAX;
        let bytes_max = kind.map_or(0, SearchKind::bytes_max);
        let bytes_max = if is_examined { bytes_max.max(entry.size) } else { bytes_max };
        if bytes_max == 0 {
            if may_be_program {
                see_program(&mut self.collector, entry, layer, buffer, content);
            }
        } else {
            let n_head = buffer.len();
            content.take(bytes_max).read_to_end(buffer)?;
            if may_be_program {
                let (head, mut rest) = buffer.split_at(n_head);
                see_program(&mut self.collector, entry, layer, head, &mut rest);
            }
            if let Some(kind) = kind {
                self.search_as(kind, entry, buffer);
            }
        }
        if is_examined {
            self.examine(entry, buffer);
        } else if self.examiner.is_some() {
            self.coverage.n_files_malware_skipped += 1;
        }
        Ok(())
    }

    /// Looks for malware in the whole content of a file.
    fn examine(&mut self, entry: &FileEntry, bytes: &[u8]) {
        let Some(examiner) = &mut self.examiner else { return };
        if bytes.len() as u64 > malware::FILE_BYTES_MAX {
            self.coverage.n_files_malware_skipped += 1;
            return;
        }
        self.coverage.n_files_malware += 1;
        let found = examiner.examine(&entry.path, bytes);
        self.coverage.n_files_malware_skipped += found.n_skipped;
        for m in found.matches {
            if self.malware.len() >= MALWARE_MAX {
                self.coverage.n_dropped += 1;
                continue;
            }
            self.malware.push(Malware {
                rule: m.rule,
                engine: m.engine,
                title: m.title,
                path: format!("{}{}", entry.absolute(), m.within),
                detail: m.detail,
                sha256: Some(m.sha256),
                reference: m.reference,
                package: None,
                severity: m.severity,
                layer: diff_id(self.image, entry),
            });
        }
    }

    /// How a file that begins with `head` is searched for secrets; counts it if it is not.
    fn kind_of_search(&mut self, entry: &FileEntry, head: &[u8]) -> Option<SearchKind> {
        if !self.wants_secrets {
            return None;
        }
        let path = entry.path.as_str();
        let kind = if let Some(kind) = secrets::git::kind(path) {
            SearchKind::Git(kind)
        } else if secrets::is_text(head) {
            SearchKind::Text
        } else {
            SearchKind::Binary
        };
        let n = if is_excluded(path) {
            &mut self.coverage.n_files_excluded
        } else if kind == SearchKind::Binary && is_of_system(path) {
            // What a distribution ships there everybody has.
            &mut self.coverage.n_files_binary
        } else if entry.size > kind.bytes_max() {
            &mut self.coverage.n_files_large
        } else {
            return Some(kind);
        };
        *n += 1;
        None
    }

    /// Searches the whole content of a file.
    fn search(&mut self, entry: &FileEntry, bytes: &[u8]) {
        if let Some(kind) = self.kind_of_search(entry, bytes) {
            self.search_as(kind, entry, bytes);
        }
    }

    fn search_as(&mut self, kind: SearchKind, entry: &FileEntry, bytes: &[u8]) {
        self.coverage.n_files_searched += 1;
        self.coverage.n_bytes_searched += bytes.len() as u64;
        match kind {
            SearchKind::Text => {
                self.inspector.see_text(entry, bytes);
                let found = self.searcher.search_file(&entry.path, bytes);
                self.keep(entry, found);
            }
            SearchKind::Binary => {
                let found = self.searcher.search_binary(&entry.path, bytes);
                self.keep(entry, found);
            }
            SearchKind::Git(kind) => self.search_objects(kind, entry, bytes),
        }
    }

    /// Searches the objects of a Git repository; what several revisions hold counts once.
    fn search_objects(&mut self, kind: secrets::git::GitFile, entry: &FileEntry, bytes: &[u8]) {
        let mut found = secrets::Hits::default();
        let mut seen = HashSet::new();
        let searcher = self.searcher;
        let objects = secrets::git::objects(kind, bytes, &mut |object| {
            let in_object = searcher.search_file(&entry.path, object);
            found.n_dropped += in_object.n_dropped;
            found.n_allowed += in_object.n_allowed;
            for mut hit in in_object.hits {
                if !seen.insert(hit.fingerprint.clone()) {
                    continue;
                }
                if found.hits.len() >= secrets::HITS_PER_FILE_MAX {
                    found.n_dropped += 1;
                    continue;
                }
                hit.line = 1;
                hit.title.push_str(" (in the history of a Git repository)");
                found.hits.push(hit);
            }
        });
        if let Some(problem) = objects.problem {
            self.collector.gap(&entry.path, problem.to_string());
        }
        found.n_dropped += objects.n_skipped;
        self.keep(entry, found);
    }

    fn keep(&mut self, entry: &FileEntry, found: secrets::Hits) {
        self.coverage.n_dropped += found.n_dropped;
        self.coverage.n_secrets_allowed += found.n_allowed;
        let doubt = secrets::doubtful_place(&entry.path);
        for hit in found.hits {
            if self.secrets.len() >= SECRETS_MAX {
                self.coverage.n_dropped += 1;
                continue;
            }
            let severity = match doubt {
                Some(_) => hit.severity.min(Severity::Low),
                None => hit.severity,
            };
            self.secrets.push(Secret {
                detector: hit.detector,
                title: format!("{}{}", hit.title, doubt.unwrap_or_default()),
                path: entry.absolute(),
                line: hit.line,
                redacted: hit.redacted,
                severity,
                layer: diff_id(self.image, entry),
                fingerprint: hit.fingerprint,
                n_more: hit.n_more,
                package: None,
            });
        }
    }
}

/// How the content of a file is searched for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SearchKind {
    Text,
    Binary,
    Git(secrets::git::GitFile),
}

impl SearchKind {
    fn bytes_max(self) -> u64 {
        match self {
            Self::Text => secrets::FILE_BYTES_MAX,
            Self::Binary => secrets::BINARY_BYTES_MAX,
            Self::Git(_) => secrets::git::PACK_BYTES_MAX,
        }
    }
}

/// Whether `path` (without leading slash) is in a folder that distributions fill.
pub(crate) fn is_of_system(path: &str) -> bool {
    let system = ["usr/", "lib/", "lib64/", "bin/", "sbin/"];
    system.iter().any(|folder| path.starts_with(folder)) && !path.starts_with("usr/local/")
}

/// Bytes that decide whether the rest is read.
const SNIFF_BYTES: u64 = 8_192;

fn is_account_file(path: &str) -> bool {
    matches!(path, "etc/passwd" | "etc/shadow")
}

/// Folders of manuals, translations and package databases: published text without secrets,
/// and a third of a distribution's bytes.
fn is_excluded(path: &str) -> bool {
    let folders = [
        "usr/share/doc/",
        "usr/share/man/",
        "usr/share/info/",
        "usr/share/locale/",
        "usr/share/zoneinfo/",
        "usr/share/i18n/",
        "usr/share/common-licenses/",
        "usr/share/perl/",
        "usr/share/mime/",
        "usr/share/icons/",
        "var/lib/dpkg/info/",
        "var/lib/dpkg/status",
        "var/lib/apt/lists/",
        "lib/apk/db/",
        "usr/lib/apk/db/",
    ];
    folders.iter().any(|folder| path.starts_with(folder))
}

/// Secrets without those in files below `/usr` that a distribution's package installed:
/// what everybody can download is no secret. `/etc` stays, since it is meant to be changed,
/// and so does `/usr/local`. A file that a later layer changed in place is taken for the
/// package's, which is why what is left out is counted.
fn unpublished(
    secrets: Vec<Secret>,
    inventory: &Inventory,
    coverage: &mut Coverage,
) -> impl Iterator<Item = Secret> {
    let public = |path: &str| is_of_system(path.trim_start_matches('/'));
    let owners = files::owners(secrets.iter().map(|secret| secret.path.as_str()), inventory);
    let before = secrets.len();
    let mut kept = secrets;
    kept.retain_mut(|secret| {
        secret.package = owners.get(normal_path(&secret.path)).cloned();
        !(public(&secret.path) && secret.package.is_some())
    });
    coverage.n_secrets_packaged = (before - kept.len()) as u64;
    kept.into_iter()
}

/// Malware with the packages that installed it. A tool that a distribution packages is there
/// because somebody chose it.
fn owned_malware(
    mut malware: Vec<Malware>,
    inventory: &Inventory,
) -> impl Iterator<Item = Malware> {
    let owners = files::owners(malware.iter().map(|m| m.path.as_str()), inventory);
    for found in &mut malware {
        found.package = owners.get(normal_path(&found.path)).cloned();
        let is_tool = found.rule.starts_with("tool_") || found.rule.starts_with("packed_");
        if found.package.is_some() && is_tool {
            found.severity = found.severity.min(Severity::Low);
        }
    }
    malware.into_iter()
}

/// Entries that no honest tool writes, as findings.
fn hostile(walked: &Walked) -> Vec<Misconfiguration> {
    // Devices are dangerous files already; duplicates come from careless builders too.
    use palisade_image::HostileKind as Kind;
    let telling =
        walked.hostile.iter().filter(|h| !matches!(h.kind, Kind::Device | Kind::Duplicate));
    telling
        .take(HOSTILE_MAX)
        .map(|entry| Misconfiguration {
            check: "hostile-layer-entry".into(),
            title: format!("{}: {}", entry.kind.describe(), entry.path),
            fix: "do not use this image; find out who made the layer".into(),
            severity: match entry.kind {
                Kind::AbsolutePath | Kind::ImplicitFolderOverLink => Severity::Medium,
                _ => Severity::High,
            },
        })
        .collect()
}

fn all_gaps(walked: &Walked) -> Vec<Gap> {
    let mut gaps = walked.gaps.clone();
    if walked.n_more_gaps > 0 {
        gaps.push(Gap { path: "/".into(), reason: format!("{} more gaps", walked.n_more_gaps) });
    }
    gaps
}
