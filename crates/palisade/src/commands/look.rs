//! What a scan looks for beyond what it always does: the section `scan` of a policy, and the
//! flags beside it.

use std::path::{Path, PathBuf};

use palisade_base::Timestamp;
use palisade_policy::Policy;
use palisade_policy::scan::{LicenceException, Scan, SecretAllow, SecretDetector, UnknownLicence};
use palisade_scan::Look;
use palisade_scan::licences::{Exception, LicencePolicy, Unknown};
use palisade_scan::malware::{Detection, MalwareOptions};
use palisade_scan::secrets::{Allow, CustomDetector, FingerprintKey, Searcher, SearcherOptions};

use super::Context;
use crate::cli::ImageSource;
use crate::exit::{Exit, Failure, OrExit as _};

/// A key of fingerprints beyond this size is refused.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// What is looked for, ready.
pub(crate) struct Looks {
    searcher: Searcher,
    detection: Option<Detection>,
    licences: Option<LicencePolicy>,
}

/// What is named beside a policy.
#[derive(Debug, Default)]
pub(crate) struct LookFlags<'a> {
    /// YARA rules.
    pub(crate) yara: &'a [PathBuf],
    /// Lists of hashes.
    pub(crate) hashes: &'a [PathBuf],
    /// Key of the fingerprints of secrets.
    pub(crate) fingerprint_key: Option<&'a Path>,
    /// Whether malware is looked for.
    pub(crate) malware: bool,
    /// Where compiled rules are kept; nowhere without.
    pub(crate) cache: Option<PathBuf>,
}

impl Looks {
    /// Reads and compiles what `scan` and `flags` name.
    pub(crate) fn load(
        context: &Context<'_>,
        scan: &Scan,
        flags: &LookFlags<'_>,
    ) -> Result<Self, Failure> {
        let key = match flags.fingerprint_key {
            Some(path) => read_key(path)?,
            None => FingerprintKey::default(),
        };
        let searcher = Searcher::with(&SearcherOptions {
            detectors: scan.secrets.detectors.iter().map(custom).collect(),
            allow: scan.secrets.allow.iter().map(allow).collect(),
            key,
        })
        .or_exit(Exit::Usage)?;
        let detection = if flags.malware {
            let options = MalwareOptions {
                rules: scan.malware_rules.iter().chain(flags.yara).cloned().collect(),
                hashes: scan.malware_hashes.iter().chain(flags.hashes).cloned().collect(),
                cache: flags.cache.clone(),
            };
            Some(Detection::load(&options).or_exit(Exit::Usage)?)
        } else {
            None
        };
        if let Some(detection) = &detection
            && detection.n_rules_ignored() > 0
        {
            context.terminal.error(&format!(
                "warning: {} YARA rules are left out: they use modules that this build lacks (pe, dotnet, macho, …)\n",
                detection.n_rules_ignored()
            ));
        }
        let licences = (!scan.licences.is_empty()).then(|| LicencePolicy {
            allow: scan.licences.allow.clone(),
            deny: scan.licences.deny.clone(),
            review: scan.licences.review.clone(),
            unknown: match scan.licences.unknown {
                UnknownLicence::Report => Unknown::Report,
                UnknownLicence::Count => Unknown::Count,
                UnknownLicence::Deny => Unknown::Deny,
            },
            exceptions: scan.licences.exceptions.iter().map(exception).collect(),
        });
        Ok(Self { searcher, detection, licences })
    }

    /// What the gate of `policy` needs before an image is admitted. Rules and lists that it does
    /// not ask about are not worth the time of a start.
    pub(crate) fn for_admission(
        context: &Context<'_>,
        policy: &Policy,
        source: &ImageSource,
    ) -> Result<Option<Self>, Failure> {
        let gate = &policy.images.gate;
        if !gate.is_active() {
            return Ok(None);
        }
        let malware = gate.malware || gate.other_severity.is_some();
        let flags = LookFlags { malware, cache: folder(context, source), ..LookFlags::default() };
        Self::load(context, &policy.scan, &flags).map(Some)
    }

    /// The secret detectors, with those of the policy.
    pub(crate) fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    /// What a scan is given.
    pub(crate) fn look(&self) -> Look<'_> {
        Look {
            searcher: Some(&self.searcher),
            malware: self.detection.as_ref(),
            licences: self.licences.as_ref(),
        }
    }
}

/// Where compiled rules are kept, beside what else is kept of scans.
pub(crate) fn folder(context: &Context<'_>, source: &ImageSource) -> Option<PathBuf> {
    Some(super::image::cache_folder(context, source)?.join("yara"))
}

fn read_key(path: &Path) -> Result<FingerprintKey, Failure> {
    use anyhow::Context as _;
    let shown = || format!("read `{}`", path.display());
    let file = std::fs::File::open(path).with_context(shown)?;
    let bytes = palisade_base::read_bounded(file, "key", KEY_BYTES_MAX).with_context(shown)?;
    FingerprintKey::new(&bytes).ok_or_else(|| {
        let message = format!("`{}` is shorter than 16 bytes: no key", path.display());
        Failure::message(Exit::Usage, message)
    })
}

fn custom(detector: &SecretDetector) -> CustomDetector {
    CustomDetector {
        id: detector.id.clone(),
        title: detector.title.clone(),
        severity: detector.severity,
        keywords: detector.keywords.clone(),
        pattern: detector.pattern.clone(),
        entropy_min: (detector.entropy_min > 0).then(|| f64::from(detector.entropy_min)),
        files: detector.files.clone(),
    }
}

fn allow(entry: &SecretAllow) -> Allow {
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    Allow {
        detector: given(&entry.detector),
        path: given(&entry.path),
        pattern: given(&entry.pattern),
    }
}

fn exception(entry: &LicenceException) -> Exception {
    // The policy's reader has checked the form of the date.
    let end: Option<Timestamp> = format!("{}T23:59:59Z", entry.expires).parse().ok();
    Exception {
        package: entry.package.clone(),
        licence: (!entry.licence.is_empty()).then(|| entry.licence.clone()),
        reason: entry.reason.clone(),
        expires: end.filter(|_| !entry.expires.is_empty()),
    }
}
