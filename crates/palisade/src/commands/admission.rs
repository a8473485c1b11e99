//! Whether an image may run: signature and gate, put together for the policy's verdict.
//!
//! `runtime` knows neither `trust` nor `scan`; this is the function that it is given.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use palisade_base::{Digest, Timestamp};
use palisade_harden::{Refusal, RefusalReason};
use palisade_image::Image;
use palisade_model::Target;
use palisade_policy::standing::{self, Standing};
use palisade_policy::{Admission, GateState, ImageVerification, Policy, SignatureState, admit};
use palisade_scan::Look;
use palisade_scan::db::Database;
use palisade_scan::gate::{GateDecision, evaluate};
use palisade_trust::{PublicKey, verify_image};

use super::scan::scan_image;

/// Judges images by one policy, and remembers the verdict for the exit code.
pub(crate) struct Admitter<'a> {
    policy: &'a Policy,
    database: Option<&'a Database>,
    look: Look<'a>,
    verdict: Mutex<Option<Admission>>,
    standing: Option<PathBuf>,
}

impl<'a> Admitter<'a> {
    pub(crate) fn new(policy: &'a Policy, database: Option<&'a Database>, look: Look<'a>) -> Self {
        Self { policy, database, look, verdict: Mutex::new(None), standing: None }
    }

    /// The verdict of the last image that was judged.
    pub(crate) fn verdict(&self) -> Option<Admission> {
        self.verdict.lock().ok().and_then(|verdict| verdict.clone())
    }

    /// Refuses images that a response has put into quarantine, by what `folder` holds.
    pub(crate) fn with_standing(mut self, folder: &Path) -> Self {
        self.standing = Some(folder.join(standing::FILE));
        self
    }

    /// Why the image is in quarantine, if it is. What cannot be read refuses as well.
    fn quarantine(&self, image: &Image) -> Option<String> {
        let orders = match Standing::read(self.standing.as_ref()?) {
            Ok(orders) => orders,
            Err(error) => return Some(with_cause(&error)),
        };
        let digests: Vec<Digest> = image
            .index_digests
            .iter()
            .copied()
            .chain(image.manifest_digest)
            .chain(image.config_digest)
            .collect();
        let entry = orders.image(&digests)?;
        Some(format!("image {} is in quarantine {}", entry.what, entry.why()))
    }

    /// Judges `image`; a refusal carries every reason.
    pub(crate) fn judge(&self, image: &Image) -> Result<(), Refusal> {
        if let Some(reason) = self.quarantine(image) {
            if let Ok(mut verdict) = self.verdict.lock() {
                *verdict = Some(Admission::Refused { reasons: vec![reason.clone()] });
            }
            let fix = "`palisade respond act 'release-image: DIGEST'` takes it back".to_string();
            let reasons = vec![RefusalReason { control: "quarantine", message: reason, fix }];
            return Err(Refusal { reasons });
        }
        let images = &self.policy.images;
        let signature = self.signature(image);
        let tampered = matches!(signature, SignatureState::Tampered { .. });
        // The content of a changed image is nobody's; it is not worth a scan.
        let gate =
            if images.gate.is_active() && !tampered { self.gate(image) } else { GateState::Passed };
        let admission = admit(images, &signature, &gate);
        let result = match &admission {
            Admission::Admitted { .. } => Ok(()),
            Admission::Refused { reasons } | Admission::Undecided { reasons } => Err(Refusal {
                reasons: reasons
                    .iter()
                    .map(|reason| RefusalReason {
                        control: "images",
                        message: reason.clone(),
                        fix: self.remedy(),
                    })
                    .collect(),
            }),
        };
        if let Ok(mut verdict) = self.verdict.lock() {
            *verdict = Some(admission);
        }
        result
    }

    /// What can be done about a refusal.
    fn remedy(&self) -> String {
        let images = &self.policy.images;
        if images.verify == ImageVerification::Required && images.keys.is_empty() {
            return "name the signer's public key: --key FILE".into();
        }
        format!("mend the image, or change the section `images` of policy `{}`", self.policy.name)
    }

    fn signature(&self, image: &Image) -> SignatureState {
        if self.policy.images.verify == ImageVerification::Off {
            return SignatureState::NotChecked { reason: "the policy does not ask".into() };
        }
        let not_checked = |reason: String| SignatureState::NotChecked { reason };
        let Target::Layout { folder, .. } = &image.target else {
            return not_checked(format!("`{}` cannot hold signatures", image.target));
        };
        // What was opened is what is verified, whatever the tag has come to mean meanwhile.
        let Some(digest) = image.index_digests.first().or(image.manifest_digest.as_ref()) else {
            return not_checked("the image has no digest".into());
        };
        let keys: Result<Vec<PublicKey>, _> =
            self.policy.images.keys.iter().map(|path| PublicKey::read(path)).collect();
        let keys = match keys {
            Ok(keys) if keys.is_empty() => {
                return not_checked("the policy names no key".into());
            }
            Ok(keys) => keys,
            Err(error) => return not_checked(error.to_string()),
        };
        match verify_image(folder, Some(&digest.to_string()), &keys) {
            // The signed index must lead to the very manifest that is going to run.
            Ok(verified)
                if image.manifest_digest.is_some_and(|d| verified.manifests.contains(&d)) =>
            {
                SignatureState::Valid { key: verified.signer.to_string() }
            }
            Ok(verified) => SignatureState::Invalid {
                reason: format!("{} is signed, but is not this image", verified.digest),
            },
            Err(error) if error.is_tampered() => {
                SignatureState::Tampered { reason: with_cause(&error) }
            }
            Err(error) => SignatureState::Invalid { reason: with_cause(&error) },
        }
    }

    fn gate(&self, image: &Image) -> GateState {
        let now = Timestamp::now();
        let report = match scan_image(image, self.database, &[], now, self.look) {
            Ok(report) => report,
            Err(error) => return GateState::NotEvaluated { reason: format!("{error:#}") },
        };
        match evaluate(&report, &self.policy.images.gate, now) {
            GateDecision::Pass => GateState::Passed,
            GateDecision::Refuse { reasons } => GateState::Refused { reasons },
            GateDecision::NotEvaluated { why } => {
                GateState::NotEvaluated { reason: why.join("; ") }
            }
        }
    }
}

/// An error and its immediate cause in one line.
fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
