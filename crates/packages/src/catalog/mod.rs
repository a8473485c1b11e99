//! The catalogers: each knows the files of one tool.
//!
//! A cataloger is asked about a path alone and given the whole file, which the caller read
//! once and within [`Cataloger::bytes_max`]. Programs, which no path gives away, are
//! [`crate::program`]'s.

mod apk;
mod cargo;
mod composer;
mod conda;
mod dotnet;
mod dpkg;
mod dpkg_copyright;
mod form;
mod go;
mod gradle;
mod java;
mod jdk;
mod licence_file;
mod node;
mod npm_lock;
mod pacman;
mod pnpm_lock;
mod python;
mod python_lock;
pub mod rpm;
mod ruby;
mod yarn_lock;

use palisade_base::Digest;
use palisade_model::package::PackageState;
use palisade_model::{Package, PackageKind};

use crate::Sink;

/// Largest lock file or manifest that is read, in bytes. The largest known are below 10 MiB.
pub const LOCK_BYTES_MAX: u64 = 16 << 20;

/// Values of one lock file or manifest. Each costs up to 400 bytes of memory, whatever it took to
/// write it; a lock file of 10 MiB has some 300,000.
pub const VALUES_MAX: usize = 1_000_000;

/// Whether `text`, JSON or TOML, has more than [`VALUES_MAX`] values: what separates and opens
/// them is counted, before anything is kept.
pub(crate) fn has_too_many_values(text: &[u8]) -> bool {
    let marks = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b'='));
    marks.take(VALUES_MAX + 1).count() > VALUES_MAX
}

/// The path of a file, taken apart once for all catalogers.
#[derive(Debug, Clone, Copy)]
pub struct FilePath<'p> {
    /// From the root, without leading slash.
    pub whole: &'p str,
    /// What follows the last slash.
    pub name: &'p str,
}

impl<'p> FilePath<'p> {
    /// Takes `path`, without leading slash, apart.
    pub fn new(path: &'p str) -> Self {
        Self { whole: path, name: file_name(path) }
    }

    /// Whether one of its folders is named `name`.
    pub fn is_below(&self, name: &str) -> bool {
        let folders = self.whole.strip_suffix(self.name).unwrap_or_default();
        folders.split('/').any(|folder| folder == name)
    }

    /// Whether it lies in a package that was installed: lock files there are leftovers of the
    /// package's authors and say nothing about what is in the image.
    pub fn is_in_package(&self) -> bool {
        const FOLDERS: [&str; 6] =
            ["node_modules", "site-packages", "dist-packages", "gems", ".cargo", "nodejs"];
        FOLDERS.iter().any(|folder| self.is_below(folder)) || self.whole.contains("pkg/mod/")
    }
}

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

impl CatalogFile<'_> {
    /// An installed package for which this file is the evidence.
    pub fn package(
        &self,
        kind: PackageKind,
        name: impl Into<String>,
        version: impl Into<String>,
    ) -> Package {
        let mut package = Package::new(kind, name, version, absolute(self.path));
        package.layer = self.layer;
        package
    }

    /// A package that this lock file or manifest names.
    pub fn declared(
        &self,
        kind: PackageKind,
        name: impl Into<String>,
        version: impl Into<String>,
    ) -> Package {
        let mut package = self.package(kind, name, version);
        package.state = PackageState::Declared;
        package
    }

    /// Its content as text; a gap of `sink` and nothing where it is none.
    pub(crate) fn text(&self, sink: &mut Sink) -> Option<&str> {
        let Ok(text) = std::str::from_utf8(self.bytes) else {
            sink.gap(self.path, "not text in UTF-8");
            return None;
        };
        Some(text.strip_prefix('\u{feff}').unwrap_or(text))
    }

    /// Its content as JSON of the form `T`; a gap of `sink` and nothing where it is not.
    pub(crate) fn json<'f, T: serde::Deserialize<'f>>(&'f self, sink: &mut Sink) -> Option<T> {
        let bytes = self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.bytes);
        if has_too_many_values(bytes) {
            sink.gap(self.path, format!("more than {VALUES_MAX} values"));
            return None;
        }
        serde_json::from_slice(bytes)
            .map_err(|error| sink.gap(self.path, format!("not the JSON it should be: {error}")))
            .ok()
    }

    /// Its content as TOML of the form `T`; a gap of `sink` and nothing where it is not.
    pub(crate) fn toml<T: serde::de::DeserializeOwned>(&self, sink: &mut Sink) -> Option<T> {
        let text = self.text(sink)?;
        if has_too_many_values(text.as_bytes()) {
            sink.gap(self.path, format!("more than {VALUES_MAX} values"));
            return None;
        }
        toml::from_str(text)
            .map_err(|error: toml::de::Error| {
                sink.gap(self.path, format!("not the TOML it should be: {}", error.message()));
            })
            .ok()
    }
}

/// Finds packages in files of one kind.
pub trait Cataloger: Sync {
    /// Its name, for reports: `dpkg`.
    fn name(&self) -> &'static str;

    /// Whether it reads the file at `path`. Decides by path alone.
    fn wants(&self, path: &FilePath<'_>) -> bool;

    /// Largest file that it reads, in bytes; a larger one is a gap.
    fn bytes_max(&self) -> u64 {
        LOCK_BYTES_MAX
    }

    /// Reads a file that it wants. What it cannot make sense of becomes a gap of `sink`.
    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink);
}

/// All catalogers.
pub fn catalogers() -> &'static [&'static dyn Cataloger] {
    &[
        &dpkg::Dpkg,
        &dpkg_copyright::DpkgCopyright,
        &apk::Apk,
        &rpm::Rpm,
        &pacman::Pacman,
        &python::Python,
        &python_lock::PythonLock,
        &node::Node,
        &npm_lock::NpmLock,
        &yarn_lock::YarnLock,
        &pnpm_lock::PnpmLock,
        &ruby::Ruby,
        &composer::Composer,
        &java::Java,
        &jdk::Jdk,
        &gradle::Gradle,
        &go::GoMod,
        &cargo::CargoLock,
        &dotnet::Dotnet,
        &conda::Conda,
        &licence_file::LicenceFile,
    ]
}

/// Name of the file at `path`.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A path with its leading slash.
pub(crate) fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_string() } else { format!("/{path}") }
}
