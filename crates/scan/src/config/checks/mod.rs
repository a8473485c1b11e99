//! Every check, as data: what is wrong, why it matters, what to do, and the function that
//! judges.
//!
//! A function judges a [`Container`] whatever it was read from, or a Kubernetes object. It
//! says where and what; severity and controls are those of the catalogue's row. It does not
//! judge what is not known: a setting that is [`Unset`](super::settings::Setting::Unset) is
//! no finding.

mod base_image;
mod build;
mod cluster;
mod confinement;
mod files;
mod objects;
mod rbac;
mod resources;
mod secrets;

use palisade_base::Timestamp;
use palisade_base::yaml::Place;
use palisade_model::Severity;

use super::catalogue::{self, Row};
use super::kubernetes::Object;
use super::settings::Container;
use crate::secrets::Searcher;

pub use objects::Cluster;
pub use secrets::is_secret_name;

/// One check.
#[derive(Debug)]
pub struct Check {
    /// Stable name: `privileged`. No two checks have the same.
    pub name: &'static str,
    /// Row of the catalogue: `RUN-001`.
    pub id: &'static str,
    /// What is wrong where it is violated.
    pub title: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Pages that say more.
    pub references: &'static [&'static str],
    /// The judge.
    pub judge: Judge,
}

impl Check {
    /// Its row of the catalogue. Every check has one; a test sees to that.
    pub fn row(&self) -> &'static Row {
        catalogue::row(self.id).unwrap_or(&catalogue::ROWS[0])
    }

    /// Whether `word` is its name or its number.
    pub fn is_called(&self, word: &str) -> bool {
        self.name.eq_ignore_ascii_case(word) || self.id.eq_ignore_ascii_case(word)
    }
}

/// What a check looks at.
#[derive(Debug)]
pub enum Judge {
    /// Containers, from every input.
    Container(fn(&Container, &Facts<'_>, &mut Sink)),
    /// Objects of Kubernetes.
    Object(fn(&Object<'_>, &Facts<'_>, &mut Sink)),
}

/// What checks know besides what they judge.
pub struct Facts<'a> {
    /// The secret detectors.
    pub searcher: &'a Searcher,
    /// Registries or their parts from which images may come; empty: from everywhere.
    pub registries: &'a [String],
    /// What the Kubernetes objects of all inputs say of each other.
    pub cluster: &'a Cluster<'a>,
    /// What is known of a built image beyond its configuration.
    pub image: Option<&'a ImageFacts<'a>>,
}

/// What is known of a built image beyond its configuration.
#[derive(Debug, Clone, Copy)]
pub struct ImageFacts<'a> {
    /// Paths in the image that matter to a check, without leading slash.
    pub landmarks: &'a [String],
    /// Whether `/etc/shadow` has an account without a password.
    pub empty_password: bool,
    /// When it was built, as written.
    pub created: Option<&'a str>,
    /// The present.
    pub now: Timestamp,
}

impl Facts<'_> {
    /// Whether a detector of real secrets finds one in `text`.
    pub fn holds_secret(&self, text: &str) -> bool {
        let found = self.searcher.search(text.as_bytes());
        found.hits.iter().any(|hit| hit.severity > Severity::Low)
    }
}

/// A violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Where.
    pub place: Place,
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// Severity, where it is not that of the row.
    pub severity: Option<Severity>,
}

/// Violations of one check by one container or object; those beyond are not noted.
const HITS_MAX: usize = 100;

/// Takes violations.
#[derive(Debug, Default)]
pub struct Sink {
    /// What was found.
    pub hits: Vec<Hit>,
}

impl Sink {
    /// Notes a violation.
    pub fn add(&mut self, place: Place, message: impl Into<String>) {
        self.note(place, message.into(), None);
    }

    /// Notes a violation that is worse or less bad than the row says.
    pub fn add_as(&mut self, severity: Severity, place: Place, message: impl Into<String>) {
        self.note(place, message.into(), Some(severity));
    }

    fn note(&mut self, place: Place, message: String, severity: Option<Severity>) {
        if self.hits.len() < HITS_MAX {
            self.hits.push(Hit { place, message, severity });
        }
    }
}

/// All checks, by the catalogue's order within each group.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [
        base_image::CHECKS,
        files::CHECKS,
        secrets::CHECKS,
        build::CHECKS,
        confinement::CHECKS,
        resources::CHECKS,
        objects::CHECKS,
        rbac::CHECKS,
        cluster::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Whether `word` is the name or number of a built-in check.
pub fn is_known_name(word: &str) -> bool {
    all().any(|check| check.is_called(word))
}

/// What Docker and containerd give every container without being asked.
pub fn default_capabilities() -> &'static [&'static str] {
    &confinement::DEFAULT_CAPABILITIES
}

/// A text in a message: on one line, of bearable length.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= CHARS_MAX {
        return line;
    }
    line.chars().take(CHARS_MAX - 1).chain(['…']).collect()
}

const DOCKERFILE_DOCS: &str = "https://docs.docker.com/build/building/best-practices/";
const POD_SECURITY: &str = "https://kubernetes.io/docs/concepts/security/pod-security-standards/";
const SECURITY_CONTEXT: &str =
    "https://kubernetes.io/docs/tasks/configure-pod-container/security-context/";
const DOCKER_SECURITY: &str = "https://docs.docker.com/engine/security/";
const RBAC_GOOD_PRACTICES: &str =
    "https://kubernetes.io/docs/concepts/security/rbac-good-practices/";
