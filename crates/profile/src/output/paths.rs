//! From files that were written to the folders that must be writable.

use std::collections::BTreeSet;

use crate::record::Record;

/// Folders that the runtime provides, writable or on purpose not.
const PROVIDED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The folders below which the container wrote, none within another.
pub fn writable_folders(record: &Record) -> BTreeSet<String> {
    let files = record.files.written.iter().chain(&record.files.changed);
    let folders: BTreeSet<&str> = files
        .chain(record.network.unix_bound.iter())
        .filter(|path| path.starts_with('/'))
        .filter(|path| !PROVIDED.iter().any(|folder| is_within(path, folder)))
        .filter_map(|path| path.trim_end_matches('/').rsplit_once('/'))
        .map(|(folder, _)| if folder.is_empty() { "/" } else { folder })
        .collect();
    // A file right in the root would make everything writable: it is named by no folder.
    let folders: BTreeSet<&str> = folders.into_iter().filter(|folder| *folder != "/").collect();
    folders
        .iter()
        .filter(|folder| !folders.iter().any(|other| other != *folder && is_within(folder, other)))
        .map(|folder| (*folder).to_string())
        .collect()
}

/// Whether `path` is `folder` or below it.
pub(super) fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
