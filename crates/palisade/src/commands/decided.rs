//! Decisions about signatures, remembered: what a policy says of an image is found out once.
//!
//! `run`, `promote` and the runtime of engines believe what was found out; `verify` finds out
//! anew, and tells the others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_base::{Digest, Timestamp};
use palisade_policy::decisions::{
    Answer, Decision, Decisions, FETCHED_ROOT, FOLDER, Flight, Moment, Question, materials,
};
use palisade_policy::{Images, Policy};
use palisade_trust::tuf;

use super::Context;
use super::trusted::{Judged, end_of_second};

/// How long somebody who finds out the same is waited for: longer than a registry's answer
/// takes, short enough for whoever starts a container.
const WAIT: Duration = Duration::from_secs(30);

/// What was decided about the image of one name under one policy.
pub(super) struct Decided<'p> {
    decisions: Decisions,
    images: &'p Images,
    root: Option<PathBuf>,
    /// The folder of what was fetched by TUF, where a rule rests on the trusted root from there.
    fetched: Option<PathBuf>,
    question: Question,
}

/// When a fetched root has to be confirmed by newer metadata; `None` where that time is past
/// already: the root then stays in use until somebody reaches the repository again, and what is
/// decided meanwhile ends by its lifetime.
fn root_end(folder: &Path) -> Option<Timestamp> {
    // Metadata has expired when the time is reached.
    let end = end_of_second(tuf::expires(folder)? - 1);
    (end > Timestamp::now()).then_some(end)
}

impl<'p> Decided<'p> {
    /// Decisions about the image `name`; `None` where nothing can be remembered, because
    /// something that they would rest on cannot be read: what is wrong with it is said when it
    /// is used.
    pub(super) fn new(
        context: &Context<'_>,
        policy: &'p Policy,
        name: &str,
        root: Option<PathBuf>,
    ) -> Option<Self> {
        let images = &policy.images;
        let folder = context.global.data_dir.join(FOLDER);
        let question = Question {
            digest: policy.digest,
            name: name.to_string(),
            policy: policy.digest,
            materials: materials(images, root.as_deref()).ok()?,
        };
        let decisions = Decisions::new(&folder, images.remember());
        let fetched = context.global.data_dir.join(FETCHED_ROOT);
        let fetched = (images.needs_root() && root.as_ref() == Some(&fetched))
            .then(|| fetched.parent().map(Path::to_path_buf));
        Some(Self { decisions, images, root, fetched: fetched.flatten(), question })
    }

    fn about(&self, digest: Digest) -> Question {
        Question { digest, ..self.question.clone() }
    }

    /// What is remembered of the image.
    pub(super) fn recall(&self, digest: Digest) -> Option<Decision> {
        self.decisions.allowed(&self.about(digest), &Moment::now())
    }

    /// Waits for whoever finds out the same; gives what they found.
    pub(super) fn wait(&self, digest: Digest) -> (Flight, Option<Decision>) {
        let question = self.about(digest);
        let flight = self.decisions.flight(&question, WAIT);
        let found = self.decisions.found_meanwhile(&question, &flight);
        (flight, found)
    }

    /// Remembers what was found out: an acceptance for everything that the signature covers, a
    /// refusal for whoever waits for `asked`. Where that is not possible it is found out again
    /// next time.
    pub(super) fn keep(&self, asked: Digest, judged: &Judged) {
        let (answer, digests): (_, Vec<Digest>) =
            match (&judged.verified, judged.decision.allowed_by()) {
                (Some(verified), Some(rule)) => {
                    let answer = Answer::Allowed {
                        rule: rule.to_string(),
                        signer: verified.signer.to_string(),
                    };
                    let digests = verified.manifests.iter().chain(&verified.configs).copied();
                    (answer, digests.collect())
                }
                (verified, _) => {
                    let reason = match (verified, &judged.refusal) {
                        (None, Some(error)) => error.to_string(),
                        _ => judged.decision.reasons().join("; "),
                    };
                    (Answer::Refused { reason }, vec![asked])
                }
            };
        let Some(first) = digests.first() else { return };
        // Keys that were exchanged meanwhile: nobody knows which of them it rests on.
        let same = materials(self.images, self.root.as_deref());
        if !same.is_ok_and(|found| found == self.question.materials) {
            return;
        }
        let root_end = self.fetched.as_deref().and_then(root_end);
        let until = judged.decision.until.into_iter().chain(root_end).min();
        if let Err(error) = self.decisions.keep(&self.about(*first), &digests, &answer, until) {
            tracing::debug!("remember what was decided about {first}: {error}");
        }
    }
}
