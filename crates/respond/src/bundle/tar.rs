//! The one form of tar entry that a bundle has.
//!
//! Every header is a function of an entry's name, size and time, so that a verifier can
//! rebuild it and compare bytes: nothing in a bundle is left unchecked, headers and
//! padding included. The form is POSIX ustar, which every tar reads.

/// Bytes of a header and the unit of padding.
pub(crate) const BLOCK: usize = 512;
/// Longest entry name; the ustar prefix is not used.
pub(crate) const NAME_BYTES_MAX: usize = 99;
/// Largest entry, the most that eleven octal digits hold.
pub(crate) const ENTRY_BYTES_MAX: u64 = 0o77_777_777_777;

/// Bytes that fill an entry of `size` up to the next block.
pub(crate) fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// The header of an entry; `name` and `size` must be within their bounds.
pub(crate) fn header(name: &str, size: u64, mtime_seconds: u64) -> [u8; BLOCK] {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(NAME_BYTES_MAX)]);
    put(100, b"0000400\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", size.min(ENTRY_BYTES_MAX)).as_bytes());
    put(136, format!("{:011o}\0", mtime_seconds.min(ENTRY_BYTES_MAX)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(265, b"root");
    put(297, b"root");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Name, size and time of a header, when it is one that [`header`] writes.
pub(crate) fn parse(block: &[u8; BLOCK]) -> Option<(String, u64, u64)> {
    let name_end = block[..=NAME_BYTES_MAX].iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&block[..name_end]).ok()?.to_string();
    let octal = |field: &[u8]| u64::from_str_radix(std::str::from_utf8(field).ok()?, 8).ok();
    let (size, mtime) = (octal(&block[124..135])?, octal(&block[136..147])?);
    (header(&name, size, mtime) == *block).then_some((name, size, mtime))
}

/// Whether `name` is a relative path of plain components, safe to create below a folder.
pub(crate) fn is_safe_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(&b))
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_no_other() {
        let block = header("processes/12/maps", 1234, 1_795_326_835);
        assert_eq!(parse(&block), Some(("processes/12/maps".into(), 1234, 1_795_326_835)));
        for bit in 0..BLOCK * 8 {
            let mut changed = block;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&changed), None, "bit {bit}");
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for (name, safe) in [
            ("manifest.json", true),
            ("files/sha256-ab", true),
            ("", false),
            ("/etc/passwd", false),
            ("a/../b", false),
            ("..", false),
            ("a//b", false),
            ("a\0b", false),
        ] {
            assert_eq!(is_safe_name(name), safe, "{name:?}");
        }
        assert!(!is_safe_name(&"a".repeat(100)));
    }
}
