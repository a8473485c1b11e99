//! The bounds of everything that an image can make us read, hold or write.

/// Bounds on one image. The defaults admit every image that engines in the field pull;
/// callers lower them for tests or raise them for an unusual image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest index, manifest or archive table of contents, in bytes.
    pub manifest_bytes_max: u64,
    /// Largest image configuration, in bytes.
    pub config_bytes_max: u64,
    /// Indexes inside indexes.
    pub index_depth_max: usize,
    /// Manifests that one index lists.
    pub index_manifests_max: usize,
    /// Layers of one image. Overlay file systems stop at 500 lower layers.
    pub layers_max: usize,
    /// Compressed size of one blob, in bytes.
    pub blob_bytes_max: u64,
    /// Size of one layer after decompression, in bytes.
    pub layer_bytes_max: u64,
    /// Uncompressed bytes for each compressed one, beyond `ratio_floor_bytes`.
    pub ratio_max: u64,
    /// Uncompressed bytes that a layer may have whatever its ratio.
    pub ratio_floor_bytes: u64,
    /// Entries of all layers together, or files of a folder.
    pub entries_max: u64,
    /// Length of a path or of a link's target, in bytes (`PATH_MAX`).
    pub path_bytes_max: usize,
    /// Components of a path.
    pub path_depth_max: usize,
    /// Size of one PAX header or GNU long name, in bytes.
    pub pax_bytes_max: u64,
    /// Extended attributes of one entry, and their bytes together (`XATTR_SIZE_MAX`).
    pub xattr_bytes_max: usize,
    /// Entries of the outer archive (`archive:FILE`).
    pub archive_entries_max: usize,
    /// Gaps and hostile entries that are kept one by one; more are only counted.
    pub records_max: usize,
    /// Links followed to resolve one path (the kernel's `MAXSYMLINKS`).
    pub links_max: usize,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes_max: 4 * MIB,
            config_bytes_max: 8 * MIB,
            index_depth_max: 4,
            index_manifests_max: 4096,
            layers_max: 500,
            blob_bytes_max: 32 * GIB,
            layer_bytes_max: 64 * GIB,
            ratio_max: 200,
            ratio_floor_bytes: 256 * MIB,
            entries_max: 4_000_000,
            path_bytes_max: 4096,
            path_depth_max: 256,
            pax_bytes_max: MIB,
            xattr_bytes_max: 65536,
            archive_entries_max: 65536,
            records_max: 10_000,
            links_max: 40,
        }
    }
}
