//! Extended attributes of open files, bounded.

use std::io;
use std::os::fd::AsFd;

/// `security.capability`, the file capabilities of `capabilities(7)`.
pub(crate) const CAPABILITY: &str = "security.capability";

/// Reads one attribute of at most `bytes_max` bytes; `None` where the file or its file
/// system has none.
pub(crate) fn get(fd: impl AsFd, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; 256.min(bytes_max)];
    loop {
        match rustix::fs::fgetxattr(&fd, name, &mut value) {
            Ok(n) => {
                value.truncate(n);
                return Ok(Some(value));
            }
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => return Ok(None),
            Err(rustix::io::Errno::RANGE) if value.len() < bytes_max => {
                value.resize(bytes_max, 0);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads all attributes, sorted by name, of at most `bytes_max` bytes each.
pub(crate) fn all(fd: impl AsFd, bytes_max: usize) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0_u8; bytes_max];
    let n = match rustix::fs::flistxattr(&fd, &mut names) {
        Ok(n) => n,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    names.truncate(n);
    let mut all = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        if name.is_empty() {
            continue;
        }
        if let Some(value) = get(&fd, name, bytes_max)? {
            all.push((name.to_string(), value));
        }
    }
    all.sort();
    Ok(all)
}
