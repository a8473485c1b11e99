//! One walk over an image: inventory, secrets, dangerous files, configuration; then matching.

use std::collections::HashSet;
use std::io::Read;

use palisade_base::{Explain, Timestamp};
use palisade_image::{
    FileEntry, FileKind, Image, OpenImageError, OpenOptions, ReadImageError, Visit, Walked,
};
use palisade_model::finding::{Coverage, Misconfiguration, ScanReport, Secret};
use palisade_model::package::Gap;
use palisade_model::{Finding, Inventory, Severity, Target};
use palisade_packages::Collector;
use palisade_policy::Checks;

use crate::cache::{ExaminationCache, Examined};
use crate::config::checks::ImageFacts;
use crate::config::examine_image;
use crate::configuration;
use crate::db::{Database, ReadDatabaseError};
use crate::files::{Inspector, normal_path};
use crate::ignore::{self, Ignore};
use crate::matching;
use crate::minimality::{self, Observer};
use crate::secrets::{self, BuildSearcherError, Searcher};

/// Secrets of one image beyond this number are dropped and counted.
pub const SECRETS_MAX: usize = 10_000;
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
    /// What the policy says of checks of the image's configuration.
    pub checks: &'a Checks,
    /// Whether to search files for secrets, which is most of the time of a scan.
    pub secrets: bool,
    /// How to say what is more than needed; `None` says nothing of it.
    pub minimality: Option<&'a minimality::Options>,
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

/// Judges the packages of a bill of materials: vulnerabilities alone can be found in it, and the
/// report says so.
pub fn scan_document(
    document: crate::sbom::read::Document,
    options: &ScanOptions<'_>,
) -> Result<ScanReport, ScanError> {
    let crate::sbom::read::Document { inventory, unmatched, n_excluded, .. } = document;
    let mut coverage = Coverage {
        is_of_document: true,
        n_packages_folded: inventory.parts.len() as u64,
        n_packages_development: n_excluded,
        ..Coverage::default()
    };
    let mut findings = vulnerabilities(&inventory, options, &mut coverage)?;
    coverage.unmatched.extend(unmatched);
    let applied = ignore::apply(&mut findings, options.ignores, options.now);
    coverage.n_ignores_expired = applied.n_expired;
    Ok(ScanReport {
        time: options.now,
        inventory,
        database: options.database.map(Database::info),
        findings,
        n_ignored: applied.n_ignored,
        suppressed: applied.suppressed,
        gate: None,
        minimality: None,
        coverage,
    })
}

/// Matches the inventory with the advisory database, if there is one.
fn vulnerabilities(
    inventory: &Inventory,
    options: &ScanOptions<'_>,
    coverage: &mut Coverage,
) -> Result<Vec<Finding>, ScanError> {
    let Some(database) = options.database else { return Ok(Vec::new()) };
    let matches = matching::find_vulnerabilities(inventory, database)?;
    coverage.n_packages_matched = matches.n_packages_matched;
    coverage.unmatched = matches.unmatched;
    coverage.n_harmless = matches.n_harmless;
    coverage.n_distribution_owned = matches.n_distribution_owned;
    coverage.n_incomparable = matches.n_incomparable;
    coverage.n_dropped += matches.n_dropped;
    Ok(matches.vulnerabilities.into_iter().map(Finding::Vulnerability).collect())
}

/// Scans an open image in one walk over its layers.
pub fn scan_image(image: &Image, options: &ScanOptions<'_>) -> Result<ScanReport, ScanError> {
    scan_cached(image, options, None)
}

/// As [`scan_image`]; an image that was read before and did not change is not read again.
pub fn scan_cached(
    image: &Image,
    options: &ScanOptions<'_>,
    cache: Option<&ExaminationCache>,
) -> Result<ScanReport, ScanError> {
    let searcher = Searcher::new()?;
    let kept = match options.minimality {
        // What is more than needed is seen while the image is read, and not kept.
        Some(_) => None,
        None => cache.and_then(|cache| cache.get(image, options.secrets)),
    };
    let (examined, observer) = if let Some(examined) = kept {
        (examined, None)
    } else {
        let observer = options.minimality.map(|_| Observer::new(&image.config));
        let (examined, observer) = examine(image, options.secrets, observer, &searcher)?;
        if let Some(cache) = cache {
            cache.keep(image, options.secrets, &examined);
        }
        (examined, observer)
    };
    judge(image, options, &searcher, examined, observer)
}

/// Reads an image.
fn examine(
    image: &Image,
    with_secrets: bool,
    observer: Option<Observer>,
    searcher: &Searcher,
) -> Result<(Examined, Option<Observer>), ScanError> {
    let mut walk = Walk::new(image, searcher, with_secrets);
    walk.observer = observer;
    let walked = image.walk(&mut |entry, content| walk.see(entry, content)).map_err(|source| {
        ScanError::Read { target: image.target.to_string(), source: Box::new(source) }
    })?;
    let Walk { collector, inspector, secrets, landmarks, empty_password, observer, .. } = walk;
    let mut coverage = walk.coverage;
    let collected = collector.finish(image.subject(), walked.n_files, all_gaps(&walked));
    let inventory = collected.inventory;
    coverage.n_packages_folded = inventory.parts.len() as u64;
    coverage.n_packages_development = collected.n_development;
    coverage.n_packages_declared = collected.n_declared;
    let secrets = unpublished(secrets, &inventory, &mut coverage).collect();
    let (files, n_dropped) = inspector.finish(&inventory.packages);
    coverage.n_dropped += n_dropped;
    tracing::debug!(files = walked.n_files, "image examined");
    let hostile = hostile(&walked);
    let examined =
        Examined { inventory, secrets, files, hostile, landmarks, empty_password, coverage };
    Ok((examined, observer))
}

/// Matches what was found in an image with what is known, and puts it in order.
fn judge(
    image: &Image,
    options: &ScanOptions<'_>,
    searcher: &Searcher,
    examined: Examined,
    observer: Option<Observer>,
) -> Result<ScanReport, ScanError> {
    let Examined { inventory, secrets, files, hostile, landmarks, empty_password, coverage } =
        examined;
    let mut coverage = coverage;
    let mut findings = vulnerabilities(&inventory, options, &mut coverage)?;
    findings.extend(secrets.into_iter().map(Finding::Secret));
    findings.extend(files.into_iter().map(Finding::File));
    findings.extend(hostile.into_iter().map(Finding::Configuration));
    let mut excused = Vec::new();
    if !image.is_folder() {
        let facts = ImageFacts {
            landmarks: &landmarks,
            empty_password,
            created: image.config.created.as_deref(),
            now: options.now,
        };
        let tag = image.reference.as_deref();
        let found = examine_image(&image.config, tag, &facts, searcher, options.checks);
        excused = found.excused;
        findings.extend(found.found.into_iter().map(Finding::Configuration));
    }
    let minimality = options.minimality.zip(observer).map(|(options_of, observer)| {
        minimality::assess(image, &inventory, &findings, &observer, options_of, options.now)
    });
    let applied = ignore::apply(&mut findings, options.ignores, options.now);
    coverage.n_ignores_expired = applied.n_expired;
    let n_excused = excused.len() as u64;
    let mut suppressed = applied.suppressed;
    suppressed.extend(excused);
    suppressed.truncate(ignore::SUPPRESSED_MAX);
    // Stable: within a severity the order of the parts above stays.
    findings.sort_by_key(|finding| {
        let exploited = matches!(finding, Finding::Vulnerability(v) if v.known_exploited);
        std::cmp::Reverse((exploited, finding.severity()))
    });
    tracing::debug!(
        findings = findings.len(),
        packages = inventory.packages.len(),
        files = inventory.n_files,
        "image scanned"
    );
    Ok(ScanReport {
        time: options.now,
        inventory,
        database: options.database.map(Database::info),
        findings,
        n_ignored: applied.n_ignored + n_excused,
        suppressed,
        gate: None,
        minimality,
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
    secrets: Vec<Secret>,
    landmarks: Vec<String>,
    empty_password: bool,
    coverage: Coverage,
    /// Reused for every file that is searched.
    buffer: Vec<u8>,
    /// Sees every entry, where somebody wants to know what is more than needed.
    observer: Option<Observer>,
}

impl<'a> Walk<'a> {
    fn new(image: &'a Image, searcher: &'a Searcher, wants_secrets: bool) -> Self {
        Self {
            image,
            searcher,
            wants_secrets,
            collector: Collector::new(),
            inspector: Inspector::new(),
            secrets: Vec::new(),
            landmarks: Vec::new(),
            empty_password: false,
            coverage: Coverage::default(),
            buffer: Vec::new(),
            observer: None,
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
            FileKind::Regular => self.see_regular(entry, content, limit),
            _ => {}
        }
        if let Some(observer) = &mut self.observer {
            observer.see(entry);
        }
        self.inspector.see(entry);
        Visit::Continue
    }

    /// Programs outside packages are read whole for what they load, and then by the others.
    fn see_regular(&mut self, entry: &FileEntry, content: &mut dyn Read, limit: Option<u64>) {
        match &mut self.observer {
            Some(observer) if observer.wants(entry) => match observer.read(entry, content) {
                Ok(bytes) => self.see_content(entry, &mut bytes.as_slice().chain(content), limit),
                Err(error) => self.collector.gap(&entry.path, error.to_string()),
            },
            _ => self.see_content(entry, content, limit),
        }
    }

    fn see_content(&mut self, entry: &FileEntry, content: &mut dyn Read, limit: Option<u64>) {
        if let Some(limit) = limit {
            match read_wanted(entry, content, limit) {
                Ok(bytes) => {
                    self.collector.add(&entry.path, &bytes, diff_id(self.image, entry));
                    self.search(entry, &bytes);
                }
                Err(reason) => self.collector.gap(&entry.path, reason),
            }
        } else if is_account_file(&entry.path) {
            match palisade_base::read_bounded(content, "account file", ACCOUNTS_BYTES_MAX) {
                Ok(bytes) => {
                    if entry.path == "etc/passwd" {
                        self.inspector.see_passwd(&bytes);
                    } else {
                        self.empty_password |= configuration::has_empty_password(&bytes);
                    }
                    self.search(entry, &bytes);
                }
                Err(error) => self.collector.gap(&entry.path, error.to_string()),
            }
        } else if self.wants_secrets || self.collector.wants_program(&entry.path, entry.mode) {
            self.read_and_search(entry, content);
        }
    }

    /// Reads the beginning of a file and, when it is a program or text of a bearable size, the
    /// rest.
    fn read_and_search(&mut self, entry: &FileEntry, content: &mut dyn Read) {
        let may_be_program = self.collector.wants_program(&entry.path, entry.mode);
        if is_excluded(&entry.path) && !may_be_program {
            self.coverage.n_files_excluded += 1;
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let result = content.take(SNIFF_BYTES).read_to_end(&mut buffer).and_then(|_| {
            if may_be_program {
                let layer = diff_id(self.image, entry);
                see_program(&mut self.collector, entry, layer, &buffer, content);
            }
            self.is_searched(entry, &buffer)
                .then(|| content.take(secrets::FILE_BYTES_MAX).read_to_end(&mut buffer))
                .transpose()
        });
        match result {
            Ok(Some(_)) => self.search(entry, &buffer),
            Ok(None) => {}
            Err(error) => self.collector.gap(&entry.path, error.to_string()),
        }
        self.buffer = buffer;
    }

    /// Whether a file that begins with `head` is searched for secrets; counts it if not.
    fn is_searched(&mut self, entry: &FileEntry, head: &[u8]) -> bool {
        if !self.wants_secrets {
            return false;
        }
        let n = if is_excluded(&entry.path) {
            &mut self.coverage.n_files_excluded
        } else if !secrets::is_text(head) {
            &mut self.coverage.n_files_binary
        } else if entry.size > secrets::FILE_BYTES_MAX {
            &mut self.coverage.n_files_large
        } else {
            return true;
        };
        *n += 1;
        false
    }

    fn search(&mut self, entry: &FileEntry, bytes: &[u8]) {
        if !self.wants_secrets {
            return;
        }
        if is_excluded(&entry.path) {
            self.coverage.n_files_excluded += 1;
            return;
        }
        if !secrets::is_text(bytes) {
            self.coverage.n_files_binary += 1;
            return;
        }
        if bytes.len() as u64 > secrets::FILE_BYTES_MAX {
            self.coverage.n_files_large += 1;
            return;
        }
        self.coverage.n_files_searched += 1;
        self.coverage.n_bytes_searched += bytes.len() as u64;
        let found = self.searcher.search(bytes);
        self.coverage.n_dropped += found.n_dropped;
        let doubt = secrets::doubtful_place(&entry.path);
        for hit in found.hits {
            if self.secrets.len() >= SECRETS_MAX {
                self.coverage.n_dropped += 1;
                continue;
            }
            self.secrets.push(Secret {
                detector: hit.detector.to_string(),
                title: format!("{}{}", hit.title, doubt.unwrap_or_default()),
                path: entry.absolute(),
                line: hit.line,
                redacted: hit.redacted,
                severity: if doubt.is_some() {
                    hit.severity.min(Severity::Low)
                } else {
                    hit.severity
                },
                layer: diff_id(self.image, entry),
            });
        }
    }
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
    let public = |path: &str| {
        let system = ["/usr/", "/lib/", "/bin/", "/sbin/"];
        system.iter().any(|folder| path.starts_with(folder)) && !path.starts_with("/usr/local/")
    };
    let wanted: HashSet<String> = secrets
        .iter()
        .filter(|secret| public(&secret.path))
        .map(|secret| normal_path(&secret.path).to_string())
        .collect();
    let owned: HashSet<String> = inventory
        .packages
        .iter()
        .flat_map(|package| &package.files)
        .map(|path| normal_path(path))
        .filter(|path| wanted.contains(*path))
        .map(str::to_string)
        .collect();
    let before = secrets.len();
    let kept: Vec<Secret> = secrets
        .into_iter()
        .filter(|s| !(public(&s.path) && owned.contains(normal_path(&s.path))))
        .collect();
    coverage.n_secrets_packaged = (before - kept.len()) as u64;
    kept.into_iter()
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
            ..Misconfiguration::default()
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
