//! Documents in XML, plain or gzip'ed, event by event.

use std::path::Path;

pub(crate) use palisade_packages::xml::{Attributes, EVENT_BYTES_MAX, Node};

use super::{ImportFeedError, documents, malformed};

/// A document beyond this many bytes, unpacked, is refused; SUSE's OVAL has some 500 MB.
pub const BYTES_MAX: u64 = 8 << 30;

/// Reads the document at `path`, plain or gzip'ed.
pub(crate) fn each(
    path: &Path,
    expected: &'static str,
    visit: &mut dyn FnMut(Node<'_>) -> Result<(), ImportFeedError>,
) -> Result<(), ImportFeedError> {
    let inner = documents::open_stream(path, expected, BYTES_MAX)?;
    palisade_packages::xml::each(inner, |error| malformed(path, expected, error), visit)
}
