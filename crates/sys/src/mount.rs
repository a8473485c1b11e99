//! Mounts: overlay, bind, private propagation, detaching.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use palisade_base::Explain;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Lower layers that one overlay takes here; the kernel's own limit is 500.
pub const OVERLAY_LOWERS_MAX: usize = 256;

/// Bytes of mount options: the kernel copies at most one page.
const MOUNT_DATA_BYTES_MAX: usize = 4095;

/// A mount that was refused.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The kernel refused.
    #[error("{action} `{}`", .path.display())]
    Io {
        /// `mount overlay on`, `bind`, `unmount`, …
        action: &'static str,
        /// The mount point or source.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An overlay needs between 1 and [`OVERLAY_LOWERS_MAX`] lower layers.
    #[error("an overlay of {0} lower layers is not possible, the limit is {OVERLAY_LOWERS_MAX}")]
    Lowers(usize),
    /// The options are longer than the kernel reads, or a path holds `:`, `,` or `\`.
    #[error("the paths of the overlay at `{}` are too long or hold `:`, `,` or `\\`", .0.display())]
    Options(PathBuf),
}

impl Explain for MountError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Io { source, .. } => match source.raw_os_error() {
                    Some(libc::EPERM | libc::EACCES) => "run as root",
                    Some(libc::ENODEV) => "load the file system: modprobe overlay",
                    _ => return None,
                },
                Self::Lowers(_) => "squash the image's layers",
                Self::Options(_) => "use a data folder with a shorter and plain path",
            }
            .into(),
        )
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> MountError {
    let path = path.to_path_buf();
    move |errno| MountError::Io { action, path, source: errno.into() }
}

/// The parts of an overlay file system.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Read-only layers, top first; relative paths resolve from the caller's folder,
    /// which keeps many layers within the kernel's limit on option text.
    pub lowers: &'a [PathBuf],
    /// Folder that takes the writes.
    pub upper: &'a Path,
    /// Empty folder on the file system of `upper`.
    pub work: &'a Path,
    /// Whether setuid bits have no effect on it.
    pub nosuid: bool,
    /// Whether its own attributes are `user.overlay.…`: those of a namespace that is not the
    /// machine's (`userxattr`, Linux 5.11).
    pub user_xattrs: bool,
    /// The label that SELinux takes all of its files for, if not their own.
    pub label: Option<&'a str>,
}

/// Mounts an overlay at `target`; device nodes in it never work.
pub fn mount_overlay(overlay: &Overlay<'_>, target: &Path) -> Result<(), MountError> {
    let n = overlay.lowers.len();
    if n == 0 || n > OVERLAY_LOWERS_MAX {
        return Err(MountError::Lowers(n));
    }
    let mut data: Vec<u8> = b"lowerdir=".to_vec();
    let bad = |path: &Path| {
        path.as_os_str().as_bytes().iter().any(|b| matches!(b, b':' | b',' | b'\\' | 0))
    };
    for (i, lower) in overlay.lowers.iter().enumerate() {
        if bad(lower) {
            return Err(MountError::Options(lower.clone()));
        }
        if i > 0 {
            data.push(b':');
        }
        data.extend_from_slice(lower.as_os_str().as_bytes());
    }
    for (key, path) in [(",upperdir=", overlay.upper), (",workdir=", overlay.work)] {
        if bad(path) {
            return Err(MountError::Options(path.to_path_buf()));
        }
        data.extend_from_slice(key.as_bytes());
        data.extend_from_slice(path.as_os_str().as_bytes());
    }
    if overlay.user_xattrs {
        data.extend_from_slice(b",userxattr");
    }
    if let Some(label) = overlay.label {
        // Quoted, as the categories of a label are parted by commas.
        if label.bytes().any(|b| matches!(b, b'"' | b'\\' | 0)) {
            return Err(MountError::Options(target.to_path_buf()));
        }
        data.extend_from_slice(format!(",context=\"{label}\"").as_bytes());
    }
    if data.len() > MOUNT_DATA_BYTES_MAX {
        return Err(MountError::Options(target.to_path_buf()));
    }
    let data = CString::new(data).map_err(|_| MountError::Options(target.to_path_buf()))?;
    let mut flags = MountFlags::NODEV;
    if overlay.nosuid {
        flags |= MountFlags::NOSUID;
    }
    rustix::mount::mount("overlay", target, "overlay", flags, data.as_c_str())
        .map_err(failed("mount overlay on", target))
}

/// Shows `source` at `target` as well, without mounts below it.
pub fn bind(source: &Path, target: &Path) -> Result<(), MountError> {
    rustix::mount::mount_bind(source, target).map_err(failed("bind", source))
}

/// Mounts an empty temporary file system of `size_bytes` at `target`.
pub fn mount_tmpfs(target: &Path, size_bytes: u64, mode: u32) -> Result<(), MountError> {
    let data = CString::new(format!("size={size_bytes},mode={mode:o}")).unwrap_or_default();
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("palisade", target, "tmpfs", flags, data.as_c_str())
        .map_err(failed("mount tmpfs on", target))
}

/// Stops mounts below `target` from spreading to other namespaces, and theirs to here.
pub fn make_private(target: &Path) -> Result<(), MountError> {
    rustix::mount::mount_change(target, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(failed("make private", target))
}

/// Detaches what is mounted at `target`; users of it keep it until they close it.
pub fn detach(target: &Path) -> Result<(), MountError> {
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(failed("unmount", target))
}

/// Mount points of the calling thread's namespace at or below `folder`, deepest last.
pub fn mounts_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(crate::cgroup::unescape_octal(point)))
        .filter(|point| point.starts_with(folder))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_overlays_are_refused_before_the_kernel_sees_them() {
        let path = Path::new("/nowhere");
        let mount = |lowers: &[PathBuf], label: Option<&str>| {
            mount_overlay(
                &Overlay {
                    lowers,
                    upper: path,
                    work: path,
                    nosuid: true,
                    user_xattrs: false,
                    label,
                },
                path,
            )
        };
        let overlay = |lowers: &[PathBuf]| mount(lowers, None);
        assert!(matches!(overlay(&[]), Err(MountError::Lowers(0))));
        let many = vec![PathBuf::from("a"); OVERLAY_LOWERS_MAX + 1];
        assert!(matches!(overlay(&many), Err(MountError::Lowers(_))));
        for name in ["a:b", "a,upperdir=/etc", "a\\b"] {
            let lowers = [PathBuf::from(name)];
            assert!(matches!(overlay(&lowers), Err(MountError::Options(_))), "{name}");
        }
        let long = [PathBuf::from("a".repeat(MOUNT_DATA_BYTES_MAX))];
        assert!(matches!(overlay(&long), Err(MountError::Options(_))));
        let one = [PathBuf::from("a")];
        for label in ["u:r:t\",upperdir=/etc", "u:r\\:t"] {
            assert!(matches!(mount(&one, Some(label)), Err(MountError::Options(_))), "{label}");
        }
    }
}
