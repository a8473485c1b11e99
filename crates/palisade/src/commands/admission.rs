//! Whether an image may run: signature and gate, put together for the policy's verdict.
//!
//! `runtime` knows neither `trust` nor `scan`; this is the function that it is given.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use palisade_base::{Digest, Timestamp};
use palisade_harden::{Refusal, RefusalReason};
use palisade_image::Image;
use palisade_model::Target;
use palisade_policy::decisions::{Answer, Decision};
use palisade_policy::standing::{self, Standing};
use palisade_policy::{Admission, GateState, ImageVerification, Policy, SignatureState, admit};
use palisade_scan::Look;
use palisade_scan::db::Database;
use palisade_scan::gate::{GateDecision, evaluate};
use palisade_scan::ignore::Ignore;
use palisade_trust::{Depth, ImageSource};

use super::decided::Decided;
use super::scan::scan_image;
use super::trusted::{Judged, Trusted};
use super::verify::{name_of, open_archive, open_remote};
use super::{Context, trust};
use crate::cli;
use crate::exit::Exit;

/// Whether what was found out about signatures before is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Asked,
    PassedOver,
}

/// Judges images by one policy, and remembers the verdict for the exit code.
pub(crate) struct Admitter<'a> {
    policy: &'a Policy,
    database: Option<&'a Database>,
    look: Look<'a>,
    verdict: Mutex<Option<Admission>>,
    standing: Option<PathBuf>,
    name: Option<String>,
    registry: Option<(&'a Context<'a>, &'a cli::ImageSource)>,
    ignores: Vec<Ignore>,
}

impl<'a> Admitter<'a> {
    pub(crate) fn new(policy: &'a Policy, database: Option<&'a Database>, look: Look<'a>) -> Self {
        let (verdict, standing, name) = (Mutex::new(None), None, None);
        let (registry, ignores) = (None, Vec::new());
        Self { policy, database, look, verdict, standing, name, registry, ignores }
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

    /// Leaves out what the policy's ignore file and VEX documents set aside.
    pub(crate) fn with_exceptions(mut self, ignores: Vec<Ignore>) -> Self {
        self.ignores = ignores;
        self
    }

    /// Looks for rules about the image that the user calls so, where it is opened by its digest.
    pub(crate) fn with_name(mut self, target: &Target) -> Self {
        self.name = Some(name_of(target));
        self
    }

    /// Looks for signatures of registries' images in the registry, and for the trusted root of
    /// this machine.
    pub(crate) fn with_registry(
        mut self,
        context: &'a Context<'a>,
        source: &'a cli::ImageSource,
    ) -> Self {
        self.registry = Some((context, source));
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
        let is_tampered = |state: &SignatureState| matches!(state, SignatureState::Tampered { .. });
        let mut signature = self.signature(image, Memory::Asked);
        // The content of a changed image is nobody's; it is not worth a scan.
        let mut gate = if images.gate.is_active() && !is_tampered(&signature) {
            self.gate(image)
        } else {
            GateState::Passed
        };
        if matches!(gate, GateState::NotEvaluated { .. }) {
            // What cannot be read may have been changed since its signature was verified.
            let anew = self.signature(image, Memory::PassedOver);
            if is_tampered(&anew) {
                (signature, gate) = (anew, GateState::Passed);
            }
        }
        let admission = admit(images, &signature, &gate);
        let result = match &admission {
            Admission::Admitted { .. } => Ok(()),
            Admission::Refused { reasons } | Admission::Undecided { reasons } => Err(Refusal {
                reasons: reasons
                    .iter()
                    .map(|reason| RefusalReason {
                        control: "images",
                        message: reason.clone(),
                        fix: self.remedy(image),
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
    fn remedy(&self, image: &Image) -> String {
        let images = &self.policy.images;
        if images.verify == ImageVerification::Required && matches!(image.target, Target::Folder(_))
        {
            return "a folder bears no signature: run an image that is signed, or a policy of your \
                    own with `images.verify: warn`"
                .into();
        }
        if images.verify == ImageVerification::Required
            && images.keys.is_empty()
            && images.trust.is_empty()
        {
            return "name the signer's public key: --key FILE".into();
        }
        format!("mend the image, or change the section `images` of policy `{}`", self.policy.name)
    }

    fn signature(&self, image: &Image, memory: Memory) -> SignatureState {
        if self.policy.images.verify == ImageVerification::Off {
            return SignatureState::NotChecked { reason: "the policy does not ask".into() };
        }
        let not_checked = |reason: String| SignatureState::NotChecked { reason };
        // What was opened is what is verified, whatever the tag has come to mean meanwhile.
        let Some(digest) = image.index_digests.first().or(image.manifest_digest.as_ref()) else {
            return not_checked("the image has no digest".into());
        };
        let images = &self.policy.images;
        let name = self.name.clone().unwrap_or_else(|| name_of(&image.target));
        let root =
            self.registry.and_then(|(context, _)| trust::root_path(context, None, Some(images)));
        let decided = self
            .registry
            .filter(|_| memory == Memory::Asked)
            .and_then(|(context, _)| Decided::new(context, self.policy, &name, root.clone()));
        // Of an index, what is going to run is one of its manifests.
        let asked = image.manifest_digest.unwrap_or(*digest);
        if let Some(found) = decided.as_ref().and_then(|it| it.recall(asked)) {
            return remembered(found);
        }
        let root = || match (self.registry, &root) {
            (Some((context, _)), Some(path)) => trust::root(context, Some(path), Exit::Usage),
            _ => Ok(None),
        };
        let trusted = match Trusted::new(images, &name, root) {
            Ok(trusted) if trusted.names_anybody() => trusted,
            Ok(_) if images.trust.is_empty() => {
                return not_checked("the policy names no key".into());
            }
            Ok(_) => {
                let reason = "no rule of the policy is about this image".into();
                return SignatureState::Invalid { reason };
            }
            Err(failure) => return not_checked(failure.brief()),
        };
        let waited = decided.as_ref().map(|it| it.wait(asked));
        let (_flight, found) = waited.map_or((None, None), |(flight, it)| (Some(flight), it));
        if let Some(found) = found {
            return remembered(found);
        }
        let opened = self.attached(image, digest).and_then(|(source, depth)| {
            trusted
                .judge(&source, Some(&digest.to_string()), depth)
                .map_err(|error| (error.is_tampered(), with_cause(&error)))
        });
        let judged = match opened {
            Ok(judged) => judged,
            Err((true, reason)) => return SignatureState::Tampered { reason },
            Err((false, reason)) => return not_checked(reason),
        };
        if let Some(decided) = &decided {
            decided.keep(asked, &judged);
        }
        Self::state(image, judged)
    }

    /// What was found out about the signatures of `image`.
    fn state(image: &Image, judged: Judged) -> SignatureState {
        match (judged.verified, judged.refusal) {
            (None, Some(error)) => SignatureState::Invalid { reason: with_cause(&error) },
            (None, None) => SignatureState::NotChecked { reason: "nothing was verified".into() },
            (Some(_), _) if judged.decision.allowed_by().is_none() => {
                SignatureState::Invalid { reason: judged.decision.reasons().join("; ") }
            }
            // The signed index must lead to the very manifest that is going to run.
            (Some(verified), _)
                if image.manifest_digest.is_some_and(|d| verified.manifests.contains(&d)) =>
            {
                SignatureState::Valid { key: verified.signer.to_string() }
            }
            (Some(verified), _) => SignatureState::Invalid {
                reason: format!("{} is signed, but is not this image", verified.digest),
            },
        }
    }

    /// The image with what is attached to it, from where it was opened. An error says as well
    /// whether the image was changed. The layers of a registry's image are proved by the
    /// manifest when they are unpacked.
    fn attached(
        &self,
        image: &Image,
        digest: &Digest,
    ) -> Result<(ImageSource, Depth), (bool, String)> {
        match (&image.target, self.registry) {
            (Target::Layout { folder, .. }, _) => {
                let source = ImageSource::layout(folder)
                    .map_err(|error| (error.is_tampered(), with_cause(&error)))?;
                Ok((source, Depth::Everything))
            }
            (Target::Archive { file, .. }, _) => {
                let source = open_archive(file).map_err(|failure| (false, failure.brief()))?;
                Ok((source, Depth::Everything))
            }
            (Target::Registry(reference), Some((context, source))) => {
                let pinned = reference.with_digest(*digest);
                let source = open_remote(context, &pinned, source)
                    .map_err(|failure| (false, failure.brief()))?;
                Ok((source, Depth::Manifests))
            }
            (other, _) => Err((false, format!("`{other}` cannot hold signatures"))),
        }
    }

    fn gate(&self, image: &Image) -> GateState {
        let now = Timestamp::now();
        let report = match scan_image(image, self.database, &self.ignores, now, self.look) {
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

/// What somebody found out before, or meanwhile.
fn remembered(decision: Decision) -> SignatureState {
    match decision.answer {
        Answer::Allowed { signer, .. } => SignatureState::Valid { key: signer },
        Answer::Refused { reason } => SignatureState::Invalid { reason },
    }
}

/// An error and its immediate cause in one line.
fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
