//! What an image has installed, whatever its package manager.

use palisade_model::PackageKind;

use crate::relation::Relation;
use crate::{Files, PatchError, apk, build, control, rpm, status_folder};

/// An installed package.
#[derive(Debug, Clone, Default)]
pub(crate) struct Installed {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    pub(crate) is_held: bool,
    /// Stream of the module (`NAME:STREAM`) that it is a build of.
    pub(crate) module: Option<String>,
    pub(crate) depends: Vec<Relation>,
    pub(crate) breaks: Vec<Relation>,
    pub(crate) provides: Vec<Relation>,
}

/// The kind of packages that an image has, and those that are installed; nothing without a
/// database that is known. Where there are several, that of the manager that makes most images
/// counts: rpm is a package of Debian too.
pub(crate) fn installed_of(
    files: &Files,
) -> Result<Option<(PackageKind, Vec<Installed>)>, PatchError> {
    if let Some(status) = files.content(build::STATUS) {
        return Ok(Some((PackageKind::Dpkg, control::installed(status))));
    }
    if status_folder::is_used(files) {
        return Ok(Some((PackageKind::Dpkg, status_folder::installed(files))));
    }
    if let Some(bytes) = apk::database(files) {
        return Ok(Some((PackageKind::Apk, apk::installed(bytes))));
    }
    if rpm::database(files).is_some() {
        return Ok(Some((PackageKind::Rpm, rpm::installed(files)?)));
    }
    Ok(None)
}
