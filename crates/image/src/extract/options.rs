//! What unpacking a layer is asked to do, and what it says it did.

use palisade_model::package::Gap;

/// A range of user and group ids to which a layer's are shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdShift {
    /// What the image's id 0 becomes.
    pub start: u32,
    /// Number of ids; an id of the image beyond it is an error.
    pub length: u32,
}

/// Who owns the unpacked files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The ids that the layer states.
    Keep,
    /// Those, shifted into a container's range.
    Shift(IdShift),
    /// Whoever unpacks; for callers without privilege.
    Ignore,
}

/// What happens to `security.capability` of a layer's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapabilityXattr {
    /// Kept. With [`Ownership::Shift`] it becomes one that holds in the container's user
    /// namespace only (`VFS_CAP_REVISION_3`).
    Keep,
    /// Dropped and counted.
    Drop,
}

/// How a layer is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Who owns the files.
    pub ownership: Ownership,
    /// What happens to file capabilities.
    pub capabilities: CapabilityXattr,
    /// Whether setuid and setgid bits are kept.
    pub keep_setuid: bool,
    /// Write overlay's attributes as `user.overlay.…`, for mounts with `userxattr`.
    pub user_overlay_xattrs: bool,
    /// Wait for the disk before the folder gets its name, so that a crash cannot leave a
    /// layer with empty files.
    pub sync: bool,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            ownership: Ownership::Keep,
            capabilities: CapabilityXattr::Keep,
            keep_setuid: true,
            user_overlay_xattrs: false,
            sync: true,
        }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtractReport {
    /// Entries of the layer that were written.
    pub n_entries: u64,
    /// Bytes of regular files.
    pub n_bytes: u64,
    /// Whiteouts and opaque folders.
    pub n_whiteouts: u64,
    /// Device nodes that were refused.
    pub n_devices_refused: u64,
    /// Extended attributes that were not kept: overlay's own, security labels, ACLs,
    /// capabilities when they are dropped.
    pub n_xattrs_dropped: u64,
    /// Files that lost setuid or setgid bits.
    pub n_setuid_dropped: u64,
    /// What of the layer is not in the folder, and why (at most 1,000 of them).
    pub gaps: Vec<Gap>,
}

/// A file capability that holds only where `root_id` is the namespace's root
/// (`linux/capability.h`, `struct vfs_ns_cap_data`). `None` for a value that is not of
/// revision 2.
pub(super) fn namespaced_capability(value: &[u8], root_id: u32) -> Option<Vec<u8>> {
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;
    const EFFECTIVE: u32 = 1;
    let magic = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
    if value.len() != 20 || magic & !EFFECTIVE != REVISION_2 {
        return None;
    }
    let mut out = (REVISION_3 | (magic & EFFECTIVE)).to_le_bytes().to_vec();
    out.extend_from_slice(value.get(4..20)?);
    out.extend_from_slice(&root_id.to_le_bytes());
    Some(out)
}
