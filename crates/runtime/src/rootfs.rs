//! The root file system of a container: id-mapped layers under an overlay of its own.

use std::path::{Path, PathBuf};

use palisade_base::Root;
use palisade_harden::{IdRange, ResolveUserError, User, resolve_user};
use palisade_sys::idmap::{self, IdMapping};
use palisade_sys::mount::{self, MountError, Overlay};
use rustix::fs::{Gid, Uid};
use serde_json::Value;

use crate::RunError;
use crate::layers::same;
use crate::paths::make_folder;

/// Bytes of `/etc/passwd` and `/etc/group` that are read.
const ACCOUNTS_BYTES_MAX: u64 = 4 << 20;

/// What a root file system is made of.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The container's bundle.
    pub(crate) bundle: &'a Path,
    /// Where its writes go.
    pub(crate) written: &'a Path,
    /// Folders of the layers, top first.
    pub(crate) layers: &'a [PathBuf],
    /// The folder that was judged and that the one layer is, if it is one.
    pub(crate) folder: Option<&'a Root>,
    /// Its own range of host ids.
    pub(crate) ids: Option<IdRange>,
    /// Whether setuid bits have no effect.
    pub(crate) nosuid: bool,
    /// What the layers' files belong to already: without root they cannot be shown otherwise.
    /// The value is what the container's root is called here, and where the root file system is
    /// put together: the user's own folders are closed to it.
    pub(crate) rootless: Option<(u32, &'a Path)>,
    /// SELinux's label of its files.
    pub(crate) label: Option<&'a str>,
}

/// Bytes of the file system that holds the mount point and a few files.
pub(crate) const STAGE_BYTES: u64 = 1 << 20;

impl Plan<'_> {
    /// Mounts the root file system in the calling thread's namespace and returns its path.
    ///
    /// Must run inside [`palisade_sys::namespace::in_private_mounts`]: it changes the
    /// working folder and mounts without unmounting.
    pub(crate) fn assemble(&self) -> Result<PathBuf, RunError> {
        let rootfs = match self.rootless {
            Some((_, stage)) => {
                mount::mount_tmpfs(stage, STAGE_BYTES, 0o711)?;
                stage.join("rootfs")
            }
            None => self.bundle.join("rootfs"),
        };
        let (upper, work) = (self.written.join("upper"), self.written.join("work"));
        make_folder(&rootfs, 0o755)?;
        make_folder(&upper, 0o755)?;
        make_folder(&work, 0o700)?;
        if let Some((root, _)) = self.rootless {
            rustix::fs::chown(&upper, Some(Uid::from_raw(root)), Some(Gid::from_raw(root)))
                .map_err(|errno| RunError::io("give to the container", &upper)(errno.into()))?;
        } else if let Some(ids) = self.ids {
            let owner = (Some(Uid::from_raw(ids.first)), Some(Gid::from_raw(ids.first)));
            rustix::fs::chown(&upper, owner.0, owner.1)
                .map_err(|errno| RunError::io("give to the container", &upper)(errno.into()))?;
            // The container's root, an ordinary id here, has to reach its root file system,
            // and nobody else.
            let group = Some(Gid::from_raw(ids.first));
            rustix::fs::chown(self.bundle, None, group)
                .and_then(|()| {
                    rustix::fs::chmod(self.bundle, rustix::fs::Mode::from_raw_mode(0o710))
                })
                .map_err(|errno| {
                    RunError::io("give to the container", self.bundle)(errno.into())
                })?;
        }
        let lowers = self.lowers()?;
        // Short relative paths leave room for many layers in one page of mount options.
        std::env::set_current_dir(self.bundle).map_err(RunError::io("enter", self.bundle))?;
        let overlay = Overlay {
            lowers: &lowers,
            upper: &upper,
            work: &work,
            nosuid: self.nosuid,
            user_xattrs: self.rootless.is_some(),
            label: self.label,
        };
        mount::mount_overlay(&overlay, &rootfs)?;
        Ok(rootfs)
    }

    /// Shows each layer below the bundle, with ids mapped if the container has its own.
    fn lowers(&self) -> Result<Vec<PathBuf>, RunError> {
        let mapping = match self.ids {
            Some(ids) if self.rootless.is_none() => Some(
                IdMapping::new(ids.first, ids.count)
                    .map_err(RunError::io("make a user namespace for", self.bundle))?,
            ),
            _ => None,
        };
        let mut lowers = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let relative = PathBuf::from(format!("l/{i}"));
            let target = self.bundle.join(&relative);
            make_folder(&target, 0o700)?;
            // A folder of somebody's can be exchanged at any time; layers of ours cannot.
            let held = self.folder.map(|judged| same(layer, judged)).transpose()?;
            let source = held.as_ref().map_or_else(|| layer.clone(), Root::handle);
            if let Some(mapping) = &mapping {
                mapping.bind(&source, &target).map_err(|error| explain_idmap(error, layer))?;
            } else {
                mount::bind(&source, &target)?;
            }
            lowers.push(relative);
        }
        Ok(lowers)
    }
}

/// Tells a file system that cannot map ids from other failures.
fn explain_idmap(error: MountError, layer: &Path) -> RunError {
    if matches!(idmap::probe(layer), Ok(false)) {
        return RunError::NoIdMapping(layer.to_path_buf());
    }
    error.into()
}

/// Gives mount points of temporary file systems that the image has the mode that the spec
/// asks for.
///
/// runC gives a temporary file system the mode of the folder below it and forgets the
/// spec's, so `/tmp` of a careless image would be writable for root alone.
pub(crate) fn prepare_mount_points(rootfs: &Path, spec: &Value) -> Result<(), RunError> {
    let root = Root::open(rootfs).map_err(RunError::io("open", rootfs))?;
    let mounts = spec.pointer("/mounts").and_then(Value::as_array);
    for mount in mounts.into_iter().flatten() {
        let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or("");
        let destination = text("destination");
        if text("type") != "tmpfs" || destination.starts_with("/dev") {
            continue;
        }
        let options = mount.get("options").and_then(Value::as_array);
        let Some(mode) = options
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find_map(|option| u32::from_str_radix(option.strip_prefix("mode=")?, 8).ok())
        else {
            continue;
        };
        // One that is absent is made by the runtime, with the mode of the spec.
        let Ok(folder) = root.open_folder(Path::new(destination)) else {
            continue;
        };
        rustix::fs::fchmod(&folder, rustix::fs::Mode::from_raw_mode(mode))
            .map_err(|errno| RunError::io("prepare", &rootfs.join(destination))(errno.into()))?;
    }
    Ok(())
}

/// Resolves the image's user in the image's own files, following no link out of it.
pub(crate) fn user_of(rootfs: &Path, user: &str) -> Result<User, RunError> {
    let root = Root::open(rootfs).map_err(RunError::io("open", rootfs))?;
    let read = |path: &str| -> Result<String, RunError> {
        match root.read(Path::new(path), ACCOUNTS_BYTES_MAX) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            // An image without accounts has numeric users only; a link to nowhere is the same.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(String::new())
            }
            Err(error) => Err(RunError::io("read", &rootfs.join(path))(error)),
        }
    };
    let (passwd, group) = (read("etc/passwd")?, read("etc/group")?);
    resolve_user(user, &passwd, &group).map_err(|error: ResolveUserError| error.into())
}
