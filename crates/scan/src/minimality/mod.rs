//! How much of an image is more than its program needs: its base, when its parts stop getting
//! fixes, the attack surface in points, and a smaller base.
//!
//! Everything here is an estimate, and the report says on what it rests and what stands against
//! it. Nothing is executed; what a program loads by name or starts at run time is not seen.

mod base;
mod elf;
mod graph;
pub mod lifecycle;
mod need;
mod observe;
mod propose;
mod surface;

use palisade_base::{Digest, Timestamp};
use palisade_image::Image;
use palisade_model::{Finding, Inventory, Minimality};

pub use base::newer_tags;
pub use elf::{Linkage, linkage};
pub use graph::Graph;
pub use lifecycle::Lifecycles;
pub(crate) use observe::Observer;

/// An image that may be the base of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBase {
    /// Its name, as the user gave it.
    pub name: String,
    /// Its layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// What an assessment is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Images whose layers are compared.
    pub bases: Vec<KnownBase>,
    /// When products stop getting fixes.
    pub lifecycles: Lifecycles,
}

/// Assesses an image whose every file `observer` has seen.
pub(crate) fn assess(
    image: &Image,
    inventory: &Inventory,
    findings: &[Finding],
    observer: &Observer,
    options: &Options,
    now: Timestamp,
) -> Minimality {
    let lifecycles = options.lifecycles.of_inventory(inventory, now);
    let surface = surface::Surface::of(image, inventory, observer);
    let needs = need::Needs::of(image, inventory, observer);
    let parts = surface.parts();
    let proposals = propose::proposals(&propose::Facts {
        inventory,
        findings,
        observer,
        surface: &surface,
        needs: &needs,
        lifecycles: &options.lifecycles,
        now,
    });
    Minimality {
        base: base::recognise(image, inventory, &options.bases),
        lifecycles: lifecycles.known,
        lifecycles_as_of: options.lifecycles.as_of().to_string(),
        lifecycles_unknown: lifecycles.unknown,
        score: surface::score(&parts),
        parts,
        need: needs.shown(inventory),
        proposals,
    }
}
