//! Image reference to verified, bounded layers and one squashed view.
//!
//! [`Image::open`] reads a [`palisade_model::Target`]: an OCI layout, an archive of
//! `docker save` or of a layout, an App Container Image, a folder, or the machine itself. [`Image::walk`] presents
//! the files that a container made from the image would see, each once, reading every
//! layer as a stream; nothing is unpacked. [`extract_layer`] unpacks one layer below one
//! folder. [`Layout`] and [`write_layout`] write layouts. [`TarReader`] is the reader of their
//! archives, for others that have one of a stranger to read.
//!
//! Invariants:
//! - no byte of a blob is believed before the blob's digest and size are checked: a walk or
//!   an extraction that meets a lie returns an error, and what it delivered is void;
//! - nothing is read into memory, decompressed or counted beyond [`Limits`];
//! - no path or link of an image names anything outside the image.
//!
//! The crate opens no socket and starts no process: what is in a registry comes through a
//! [`BlobSource`] that the caller brings ([`Image::from_source`]).
#![forbid(unsafe_code)]

mod aci;
mod ahead;
mod amend;
mod archive;
mod blob;
mod decompress;
mod docker;
mod document;
mod entry;
mod error;
mod extract;
mod folder;
mod gzip;
mod layout;
mod limits;
mod links;
mod open;
mod pack;
mod read;
mod source;
mod squash;
mod stamp;
mod store;
mod tarball;
mod walk;
mod xattr;

pub use amend::Amendment;
pub use archive::ArchiveFiles;
pub use document::{HistoryStep, ImageConfig, Platform};
pub use entry::{FileEntry, FileKind, Hostile, HostileKind, Visit, Walked};
pub use error::{BlobError, ExtractError, LayoutError, OpenImageError, ReadImageError, TarError};
pub use extract::{
    CapabilityXattr, EXTRACT_PREFIX, ExtractOptions, ExtractReport, IdShift, Ownership,
    extract_layer, extract_layer_noting,
};
pub use layout::{Descriptor, Layout, NewImage, WrittenImage, write_layout};
pub use limits::Limits;
pub use open::{Image, Layer, OpenOptions, manifest_for};
pub use pack::{LayerSource, PackOptions};
pub use source::{BlobSource, SourceError};
#[doc(hidden)]
pub use store::fuzzing;
pub use store::{Stores, containerd_image_of};
pub use tarball::{RawEntry, RawKind, TarReader};
pub use walk::Visitor;
