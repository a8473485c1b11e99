//! Whether a container's image is one that the policy trusts (`images.keys`, `images.trust`).
//!
//! Signatures are not verified here: what was found out about the image is looked up, which
//! costs microseconds. Where nothing was, the whole program is asked to find out, once for all
//! who ask at the same time, and nothing is believed but what it then remembers.

use std::ffi::OsStr;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_harden::{ContainerKind, EngineFacts};
use palisade_policy::decisions::{
    Answer, Decisions, Flight, Moment, Question, machine_root, materials,
};
use palisade_policy::{Allowance, Builds, ImageVerification, Policy, UnknownImages};

use super::origin::Origin;
use super::{Settings, why};

/// How long the whole program may take, and somebody who finds out the same is waited for.
const VERIFIER_WAIT: Duration = Duration::from_secs(30);
/// How often is looked whether it has ended.
const VERIFIER_LOOK: Duration = Duration::from_millis(5);
/// Its exit code when an image is refused.
const EXIT_REFUSED: i32 = 1;
/// Bytes of what it says that are shown.
const SAID_BYTES_MAX: u64 = 1500;

/// What is to be done about a container because of its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Trusted,
    /// It is started, and this is written down.
    Noted(String),
    /// It is not started, for this reason.
    Refused(String),
}

/// Judges the image of a container that is about to be made. `own` is this program.
pub(super) fn judge(
    policy: &Policy,
    engine: &EngineFacts,
    origin: impl FnOnce() -> Origin,
    settings: &Settings,
    own: &Path,
) -> Verdict {
    let images = &policy.images;
    if images.verify == ImageVerification::Off || !images.names_signers() {
        return Verdict::Trusted;
    }
    let about = policy.engines.exceptions.iter().filter(|it| it.is_about(engine.subject()));
    let mut excepted = about.filter(|it| it.allow.contains(&Allowance::UnsignedImage));
    if let Some(exception) = excepted.find(|it| engine.now <= it.expires) {
        return Verdict::Noted(format!("its image is not verified: {}", exception.reason));
    }
    // In a build an image is made, and judged when something is started from it.
    if engine.kind == ContainerKind::Build && policy.engines.builds != Builds::Policy {
        return Verdict::Trusted;
    }
    let origin = origin();
    let reason = if origin.digests.is_empty() {
        let what = "nobody here knows the digest of its image".to_string();
        if policy.engines.unknown_images == UnknownImages::Allow {
            return Verdict::Noted(what);
        }
        format!("{what} (engines.unknown_images)")
    } else {
        match decide(policy, &origin, settings, own) {
            Ok(()) => return Verdict::Trusted,
            Err(reason) => reason,
        }
    };
    if images.verify == ImageVerification::Warn {
        return Verdict::Noted(format!("its image is not trusted: {reason}"));
    }
    Verdict::Refused(format!(
        "palisade: policy `{}` refuses this container: its image is not trusted: {reason} \
         (have it signed, or let engines.exceptions allow `unsigned-image`)",
        policy.name
    ))
}

/// Why the whole program did not vouch for an image.
enum Unverified {
    /// It is not one that the policy trusts.
    Refused(String),
    /// It could not be found out.
    Unknown(String),
}

/// Where decisions about one image are, and where they are made.
struct Desk<'a> {
    decisions: Decisions,
    questions: Vec<Question>,
    settings: &'a Settings,
    data: PathBuf,
}

impl Desk<'_> {
    fn is_allowed(&self) -> bool {
        let now = Moment::now();
        self.questions.iter().any(|question| self.decisions.allowed(question, &now).is_some())
    }

    /// What was found out since `flight` began.
    fn found(&self, flight: &Flight) -> Option<Result<(), String>> {
        let found = |question| self.decisions.found_meanwhile(question, flight);
        let answers = self.questions.iter().filter_map(found).map(|it| match it.answer {
            Answer::Refused { reason } => Err(reason),
            Answer::Allowed { .. } => Ok(()),
        });
        // One acceptance is enough, by whichever of its digests and names.
        answers.reduce(Result::or)
    }

    /// Has the whole program find out about an image that its registry knows as `place` and
    /// rules as `name`. What it says if it does not trust the image, or could not tell.
    fn verify(&self, verifier: &Path, name: &str, place: &str) -> Result<(), Unverified> {
        let failed = |error: std::io::Error| {
            Unverified::Unknown(format!("ask `{}`: {error}", verifier.display()))
        };
        let mut said = tempfile::tempfile().map_err(failed)?;
        let mut command = Command::new(verifier);
        command
            .args([OsStr::new("--quiet"), OsStr::new("--data-dir"), self.data.as_os_str()])
            .args(["verify", "--policy", &self.settings.policy, "--reference", name, place])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.try_clone().map_err(failed)?);
        let mut child = command.spawn().map_err(failed)?;
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().map_err(failed)? {
                Some(status) => break status,
                None if begun.elapsed() >= VERIFIER_WAIT => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let seconds = VERIFIER_WAIT.as_secs();
                    let what = format!("it was not found out within {seconds} seconds");
                    return Err(Unverified::Unknown(what));
                }
                None => std::thread::sleep(VERIFIER_LOOK),
            }
        };
        if status.success() {
            return Ok(());
        }
        said.rewind().map_err(failed)?;
        let mut text = Vec::new();
        said.take(SAID_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> =
            text.lines().map(|line| line.trim_start_matches("error: ")).collect();
        let said = if lines.is_empty() { status.to_string() } else { lines.join("; ") };
        Err(match status.code() {
            Some(EXIT_REFUSED) => Unverified::Refused(said),
            _ => Unverified::Unknown(said),
        })
    }
}

/// Whether the image satisfies the policy; why not.
fn decide(policy: &Policy, origin: &Origin, settings: &Settings, own: &Path) -> Result<(), String> {
    let images = &policy.images;
    let data = settings.decisions.parent().unwrap_or(Path::new("/")).to_path_buf();
    let root = images.trusted_root.clone().or_else(|| machine_root(&data));
    let materials = materials(images, root.as_deref()).map_err(|error| why(&error))?;
    // An image without a name can satisfy rules about all images alone.
    let names: Vec<String> = if origin.names.is_empty() {
        origin.digests.first().map(ToString::to_string).into_iter().collect()
    } else {
        origin.names.clone()
    };
    let questions = names.iter().flat_map(|name| {
        origin.digests.iter().map(|digest| Question {
            digest: *digest,
            name: name.clone(),
            policy: policy.digest,
            materials,
        })
    });
    let questions: Vec<Question> = questions.collect();
    let decisions = Decisions::new(&settings.decisions, images.remember());
    let desk = Desk { decisions, questions, settings, data };
    if desk.is_allowed() {
        return Ok(());
    }
    let first = desk.questions.first().ok_or("its image has no digest")?;
    let flight = desk.decisions.flight(first, VERIFIER_WAIT);
    if let Some(found) = desk.found(&flight) {
        return found;
    }
    let beside = || Some(own.with_file_name("palisade")).filter(|path| path.is_file());
    let Some(verifier) = settings.verifier.clone().or_else(beside) else {
        return Err(format!(
            "nothing is decided about {}, and there is no program to verify it \
             (`palisade verify --policy {} IMAGE` decides)",
            names.join(", "),
            settings.policy
        ));
    };
    let mut reason = "it is not known where it is from".to_string();
    let mut is_known = true;
    for name in &origin.names {
        let places = origin.places.iter().chain(origin.places.is_empty().then_some(name));
        for place in places {
            match desk.verify(&verifier, name, place) {
                Ok(()) if desk.found(&flight) == Some(Ok(())) => return Ok(()),
                Ok(()) => reason = format!("`{place}` is another image"),
                Err(Unverified::Refused(said)) => reason = said,
                Err(Unverified::Unknown(said)) => (reason, is_known) = (said, false),
            }
        }
    }
    // Those who wait need not find out the same; what was not found out is no refusal.
    let answer = Answer::Refused { reason: reason.clone() };
    if is_known && let Err(error) = desk.decisions.keep(first, &[], &answer, None) {
        tracing::debug!("tell others that an image is not trusted: {error}");
    }
    Err(reason)
}

#[cfg(test)]
mod tests;
