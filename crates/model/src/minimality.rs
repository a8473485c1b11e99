//! How much of an image is more than its program needs.
//!
//! Everything here is an estimate and says on what it rests: a program may load by name what
//! no dependency shows.

use serde::{Deserialize, Serialize};

/// How sure a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// A guess by circumstances.
    Guess,
    /// Somebody wrote it into the image.
    Stated,
    /// Content was compared.
    Proven,
}

/// The image on which another was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    /// Name: `debian:12-slim`.
    pub name: String,
    /// How sure that is.
    pub certainty: Certainty,
    /// What shows it.
    pub evidence: String,
    /// Layers that come from it, lowest first, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_layers: Option<u64>,
}

/// Something in the image whose maintenance has an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// What: `Debian`, `Python`.
    pub product: String,
    /// Its release line: `12`, `3.11`.
    pub release: String,
    /// The day after which it gets no security fixes from everybody's sources (ISO 8601).
    pub end: String,
    /// Whether that day is past.
    pub is_over: bool,
    /// Days until then; negative when it is past.
    pub days_left: i64,
    /// A longer maintenance that has to be bought or switched on, and its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended: Option<String>,
}

/// One part of the attack surface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurfacePart {
    /// What is counted: `shells`.
    pub name: String,
    /// How many there are, or the size in mebibytes.
    pub n: u64,
    /// What it adds to the score.
    pub points: u32,
    /// The most that it can add.
    pub points_max: u32,
    /// The first few, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// A smaller base for the same program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseProposal {
    /// What to build on: `gcr.io/distroless/static-debian12`.
    pub base: String,
    /// Why it may do.
    pub why: String,
    /// What has to be checked, because it cannot be seen from outside.
    pub check: String,
    /// Packages that would go, as far as can be told.
    pub n_packages_less: u64,
    /// Known vulnerabilities that would go with them.
    pub n_vulnerabilities_less: u64,
    /// Points of the attack surface that would go.
    pub points_less: u32,
}

/// Which packages the image's program needs, as far as dependencies tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Need {
    /// Packages of the distribution that the program needs, directly or not.
    pub n_needed: u64,
    /// Packages of the distribution that nothing shown needs.
    pub n_unneeded: u64,
    /// Names of those, the first few, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unneeded: Vec<String>,
    /// What the search began with: programs and libraries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<String>,
    /// What stands against the answer; not empty when there is no answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

/// How much of an image is more than its program needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minimality {
    /// The base, when something shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseImage>,
    /// Distribution and runtimes with the end of their maintenance.
    pub lifecycles: Vec<Lifecycle>,
    /// The day on which the table of those ends was made (ISO 8601).
    pub lifecycles_as_of: String,
    /// Products in the image that the table does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifecycles_unknown: Vec<String>,
    /// Points of the attack surface, 0 (nothing) to 100.
    pub score: u32,
    /// The parts whose points make the score.
    pub parts: Vec<SurfacePart>,
    /// Which packages the program needs.
    pub need: Need,
    /// Smaller bases, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proposals: Vec<BaseProposal>,
}
