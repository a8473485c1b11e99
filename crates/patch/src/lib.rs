//! Upgrades of an image's packages: what its own repositories offer now, and what that fixes.
//!
//! [`Files`] is what an image says of its repositories and its dpkg database. [`Repository`]
//! gathers what the repositories offer, and [`Plan`] says which upgrades fix which findings, which
//! go together, and what stays and why.
//!
//! Invariants: nothing of a repository is believed before its signature is proved with a key of
//! the image, its age is within its own bound, and its digest is that of the signed index.
//! Nothing of a package is executed.
//!
//! The crate opens no socket: [`Fetch`] brings what is at an address.
#![forbid(unsafe_code)]

mod apk;
mod build;
mod control;
mod deb;
mod error;
mod fetched;
mod files;
mod filter;
mod index;
mod installed;
mod layer;
mod maintainer;
mod merge;
mod placing;
mod plan;
mod prove;
mod relation;
mod release;
mod repository;
mod rpm;
mod signature;
mod sources;
mod status;
mod status_folder;
mod triggers;
mod upgrade;

pub use apk::package::{Apk, ApkFile, read_apk, read_apk_members};
pub use apk::{read_apk_index, rewrite_apk_installed, rewrite_apk_scripts};
pub use build::{Built, KeptConffile, Scripts, Upgraded, build};
pub use deb::{ControlFile, DEB_BYTES_MAX, Deb, DebFile, read_deb};
pub use error::{FetchError, PatchError};
pub use files::{Files, Node};
pub use index::{Available, PACKAGES_MAX, read_packages};
pub use maintainer::{Step, Steps};
pub use merge::merge_layers;
pub use plan::{Plan, Remaining, Upgrade};
pub use prove::Difference;
pub use release::{Release, read_release};
pub use repository::{Fetch, Mirror, Offered, Repository, Suite, fetch_package};
pub use rpm::{
    Rpm, RpmSource, Transaction, read_modules, read_notices, read_primary, read_repomd, read_repos,
    read_rpm,
};
pub use sources::{AptSource, read_sources, read_sources_list};
