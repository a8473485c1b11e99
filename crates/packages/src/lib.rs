//! Catalogers: file to packages, and the version order of each ecosystem.
//!
//! Pure: files come in as path and bytes, packages go out. Who reads the files, and how, is
//! the caller's: [`Collector::wants`] says which, [`Collector::add`] takes them,
//! [`Collector::finish`] gives the [`palisade_model::Inventory`]. A file that is not what it
//! claims to be becomes a gap, never silence.
//!
//! Adding an ecosystem: a file in `catalog/` that implements [`Cataloger`], a line in
//! [`catalogers`], a version order in `version/`.
#![forbid(unsafe_code)]

pub mod catalog;
mod collect;
pub mod deb822;
mod layers;
pub mod licence;
pub mod os_release;
pub mod program;
pub mod purl;
pub mod version;
pub mod xml;
mod zip;

pub use catalog::rpm;
pub use catalog::{CatalogFile, Cataloger, FilePath, VALUES_MAX, catalogers};
pub use collect::{
    Collected, Collector, GAPS_MAX, NAME_BYTES_MAX, OWNED_FILES_MAX, PACKAGES_MAX, Sink,
};
