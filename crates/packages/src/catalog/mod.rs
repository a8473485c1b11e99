//! The catalogers: each knows one kind of file.

mod apk;
mod dpkg;
mod node;
mod python;

use palisade_base::Digest;

use crate::Sink;

/// A file that a cataloger wants.
#[derive(Debug, Clone, Copy)]
pub struct CatalogFile<'f> {
    /// Path from the root, without leading slash.
    pub path: &'f str,
    /// Its whole content.
    pub bytes: &'f [u8],
    /// Layer (diff id) that brought it.
    pub layer: Option<Digest>,
}

/// Finds packages in files of one kind.
pub trait Cataloger: Sync {
    /// Its name, for reports: `dpkg`.
    fn name(&self) -> &'static str;

    /// Whether it reads the file at `path` (without leading slash). Decides by path alone.
    fn wants(&self, path: &str) -> bool;

    /// Reads a file that it wants. What it cannot make sense of becomes a gap of `sink`.
    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink);
}

/// All catalogers.
pub fn catalogers() -> &'static [&'static dyn Cataloger] {
    &[&dpkg::Dpkg, &apk::Apk, &python::Python, &node::Node]
}

/// Name of the file at `path`.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
