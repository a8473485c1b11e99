//! One walk over an image: inventory, secrets, dangerous files, configuration; then matching.

use std::io::Read as _;

use palisade_base::{Explain, Timestamp};
use palisade_image::{FileKind, Image, OpenImageError, OpenOptions, ReadImageError, Visit, Walked};
use palisade_model::finding::{
    Coverage, Incomparable, Malware, Misconfiguration, ScanReport, Secret,
};
use palisade_model::package::Gap;
use palisade_model::{Finding, Inventory, Severity, Target};
use palisade_packages::Collector;
use palisade_policy::Checks;

use crate::cache::{ExaminationCache, Examined};
use crate::config::checks::ImageFacts;
use crate::config::examine_image;
use crate::db::{Database, ReadDatabaseError};
use crate::files::{self, normal_path};
use crate::ignore::{self, Ignore};
use crate::licences::{self, LicencePolicy};
use crate::malware::Detection;
use crate::matching::{self, Matches};
use crate::minimality::{self, Observer};
use crate::secrets::{BuildSearcherError, Searcher};
use crate::walk::{Walk, diff_id, has_layer_of_its_own, is_of_system, read_wanted, see_program};

pub use crate::walk::{MALWARE_MAX, SECRETS_MAX};

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
    /// What is looked for besides, and how.
    pub look: Look<'a>,
    /// How to say what is more than needed; `None` says nothing of it.
    pub minimality: Option<&'a minimality::Options>,
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

/// Judges the packages of a bill of materials: vulnerabilities and licences alone can be found in
/// it, and the report says so.
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
    let Matched { found: mut findings, applied: of_incomparable } =
        vulnerabilities(&inventory, options, &mut coverage)?;
    coverage.unmatched.extend(unmatched);
    let licences = licences(&inventory, options, &mut coverage);
    findings.extend(licences.findings.into_iter().map(Finding::Licence));
    let subject = &inventory.subject;
    let applied = ignore::apply(&mut findings, options.ignores, options.now, Some(subject));
    coverage.n_ignores_expired = applied.n_expired.max(of_incomparable.n_expired);
    let mut suppressed = applied.suppressed;
    suppressed.extend(of_incomparable.suppressed);
    suppressed.extend(licences.suppressed);
    suppressed.truncate(ignore::SUPPRESSED_MAX);
    let database = options.database.map(|database| database.info_of(&inventory));
    Ok(ScanReport {
        time: options.now,
        inventory,
        database,
        findings,
        n_ignored: applied.n_ignored + of_incomparable.n_ignored + licences.n_excepted,
        suppressed,
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
) -> Result<Matched, ScanError> {
    let Some(database) = options.database else { return Ok(Matched::default()) };
    let mut matches = matching::find_vulnerabilities(inventory, database)?;
    coverage.n_packages_matched = matches.n_packages_matched;
    coverage.unmatched = std::mem::take(&mut matches.unmatched);
    coverage.n_harmless = matches.n_harmless;
    coverage.n_distribution_owned = matches.n_distribution_owned;
    coverage.n_overruled = matches.n_overruled;
    coverage.n_dropped += matches.n_dropped;
    coverage.dropped.vulnerabilities = matches.n_dropped;
    let applied =
        note_incomparable(&mut matches, inventory, options.ignores, options.now, coverage);
    let found = matches.vulnerabilities.into_iter().map(Finding::Vulnerability).collect();
    Ok(Matched { found, applied })
}

/// Notes the advisories that could not be compared, without those that somebody set aside.
pub fn note_incomparable(
    matches: &mut Matches,
    inventory: &Inventory,
    ignores: &[Ignore],
    now: Timestamp,
    coverage: &mut Coverage,
) -> ignore::Applied {
    let all = std::mem::take(&mut matches.incomparable);
    let mut open: Vec<Finding> = all.into_iter().map(Finding::Vulnerability).collect();
    let applied = ignore::apply(&mut open, ignores, now, Some(&inventory.subject));
    coverage.n_incomparable = matches.n_incomparable.saturating_sub(applied.n_ignored);
    coverage.incomparable = open.into_iter().filter_map(incomparable).collect();
    applied
}

/// The vulnerabilities of an inventory, and what was set aside of those that may be some.
#[derive(Default)]
struct Matched {
    found: Vec<Finding>,
    applied: ignore::Applied,
}

fn incomparable(finding: Finding) -> Option<Incomparable> {
    let Finding::Vulnerability(v) = finding else { return None };
    Some(Incomparable {
        id: v.id,
        package: v.package,
        purl: v.purl,
        installed: v.installed,
        severity: v.severity,
        has_fix: v.fixed.is_some(),
        known_exploited: v.known_exploited,
        epss: v.epss,
    })
}

/// Judges the licences of the inventory's packages, if the policy says anything of them.
fn licences(
    inventory: &Inventory,
    options: &ScanOptions<'_>,
    coverage: &mut Coverage,
) -> licences::Judged {
    let Some(policy) = options.look.licences else { return licences::Judged::default() };
    let judged = licences::judge(&inventory.packages, policy, options.now);
    coverage.n_licences_judged = judged.n_judged;
    coverage.n_licences_unknown = judged.n_unknown;
    judged
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
    let built_in;
    let searcher = if let Some(searcher) = options.look.searcher {
        searcher
    } else {
        built_in = Searcher::new()?;
        &built_in
    };
    let reading = Reading { secrets: options.secrets, searcher, malware: options.look.malware };
    let kept = match options.minimality {
        // What is more than needed is seen while the image is read, and not kept.
        Some(_) => None,
        None => cache.and_then(|cache| cache.get(image, &reading)),
    };
    let (examined, observer) = if let Some(examined) = kept {
        (examined, None)
    } else {
        let observer = options.minimality.map(|_| Observer::new(&image.config));
        let (examined, observer) = examine(image, &reading, observer)?;
        if let Some(cache) = cache {
            cache.keep(image, &reading, &examined);
        }
        (examined, observer)
    };
    judge(image, options, searcher, examined, observer)
}

/// What decides what reading an image gives, besides the image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// Whether files are searched for secrets.
    pub(crate) secrets: bool,
    pub(crate) searcher: &'a Searcher,
    pub(crate) malware: Option<&'a Detection>,
}

/// Reads an image.
fn examine(
    image: &Image,
    reading: &Reading<'_>,
    observer: Option<Observer>,
) -> Result<(Examined, Option<Observer>), ScanError> {
    let mut walk = Walk::new(image, reading.searcher, reading.secrets);
    walk.examiner = reading.malware.map(Detection::examiner);
    walk.observer = observer;
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
        observer,
        ..
    } = walk;
    let collected = collector.finish(image.subject(), walked.n_files, all_gaps(&walked));
    let inventory = collected.inventory;
    coverage.n_packages_folded = inventory.parts.len() as u64;
    coverage.n_packages_development = collected.n_development;
    coverage.n_packages_declared = collected.n_declared;
    let secrets = unpublished(secrets, &inventory, &mut coverage).collect();
    let malware = owned_malware(malware, &inventory).collect();
    let (files, n_dropped) = inspector.finish(&inventory.packages);
    coverage.n_dropped += n_dropped;
    coverage.dropped.files = n_dropped;
    tracing::debug!(files = walked.n_files, "image examined");
    let hostile = hostile(&walked);
    let examined = Examined {
        inventory,
        secrets,
        malware,
        files,
        hostile,
        landmarks,
        empty_password,
        coverage,
    };
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
    let Examined {
        inventory,
        secrets,
        malware,
        files,
        hostile,
        landmarks,
        empty_password,
        mut coverage,
    } = examined;
    let Matched { found: mut findings, applied: of_incomparable } =
        vulnerabilities(&inventory, options, &mut coverage)?;
    findings.extend(secrets.into_iter().map(Finding::Secret));
    findings.extend(malware.into_iter().map(Finding::Malware));
    let licences = licences(&inventory, options, &mut coverage);
    findings.extend(licences.findings.into_iter().map(Finding::Licence));
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
    let subject = &inventory.subject;
    let applied = ignore::apply(&mut findings, options.ignores, options.now, Some(subject));
    coverage.n_ignores_expired = applied.n_expired.max(of_incomparable.n_expired);
    let n_excused = excused.len() as u64;
    let mut suppressed = applied.suppressed;
    suppressed.extend(of_incomparable.suppressed);
    suppressed.extend(excused);
    suppressed.extend(licences.suppressed);
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
    let database = options.database.map(|database| database.info_of(&inventory));
    Ok(ScanReport {
        time: options.now,
        inventory,
        database,
        findings,
        n_ignored: applied.n_ignored + of_incomparable.n_ignored + n_excused + licences.n_excepted,
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
                (FileKind::Symlink, _) => collector.see_link(&entry.path),
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
    // Devices are dangerous files already; duplicates and circles come from careless builders too.
    use palisade_image::HostileKind as Kind;
    let is_telling = |kind| !matches!(kind, Kind::Device | Kind::Duplicate | Kind::LinkCircle);
    let telling = walked.hostile.iter().filter(|h| is_telling(h.kind));
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
