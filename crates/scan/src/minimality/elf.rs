//! What an ELF file loads when it starts: its interpreter and libraries (`elf(5)`).

use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{FileKind, elf::FileHeader32, elf::FileHeader64};

/// Libraries of one file beyond this number are not kept.
const NEEDED_MAX: usize = 256;
/// Longer names are nobody's, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What a file is linked with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Linkage {
    /// `PT_INTERP`: `/lib64/ld-linux-x86-64.so.2`.
    pub interpreter: Option<String>,
    /// `DT_NEEDED`: `libc.so.6`.
    pub needed: Vec<String>,
}

impl Linkage {
    /// Whether it starts without anything else in the image.
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.needed.is_empty()
    }
}

/// Reads the linkage of an ELF file; `None` for anything else. What a damaged file does not
/// show is left out.
pub fn linkage(bytes: &[u8]) -> Option<Linkage> {
    match FileKind::parse(bytes).ok()? {
        FileKind::Elf64 => read::<FileHeader64<object::Endianness>>(bytes),
        FileKind::Elf32 => read::<FileHeader32<object::Endianness>>(bytes),
        _ => None,
    }
}

fn read<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Option<Linkage> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let mut linkage = Linkage::default();
    for segment in segments {
        if segment.p_type(endian) == elf::PT_INTERP
            && let Ok(data) = segment.data(endian, bytes)
        {
            linkage.interpreter = name(data);
        }
    }
    let Some(dynamic) = segments.iter().find_map(|s| s.dynamic(endian, bytes).ok().flatten())
    else {
        return Some(linkage);
    };
    let value = |tag: elf::DynamicTag| {
        let entry = dynamic.iter().find(|entry| entry.tag(endian) == tag)?;
        Some(entry.d_val(endian).into())
    };
    let address: Option<u64> = value(elf::DT_STRTAB);
    let size: Option<u64> = value(elf::DT_STRSZ);
    let (Some(address), Some(size)) = (address, size) else { return Some(linkage) };
    let strings = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
        .find_map(|segment| segment.data_range(endian, bytes, address, size).ok().flatten());
    let Some(strings) = strings else { return Some(linkage) };
    for entry in dynamic.iter().take_while(|entry| entry.tag(endian) != elf::DT_NULL) {
        if entry.tag(endian) != elf::DT_NEEDED {
            continue;
        }
        let offset: u64 = entry.d_val(endian).into();
        let found = usize::try_from(offset).ok().and_then(|at| strings.get(at..)).and_then(name);
        if linkage.needed.len() < NEEDED_MAX {
            linkage.needed.extend(found);
        }
    }
    Some(linkage)
}

/// A text up to its zero byte.
fn name(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(NAME_BYTES_MAX).position(|byte| *byte == 0)?;
    let text = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn our_own_test_program_is_linked_with_libc() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let linkage = linkage(&bytes).unwrap();
        assert!(linkage.needed.iter().any(|name| name.starts_with("libc.so")), "{linkage:?}");
        assert!(linkage.interpreter.as_deref().is_some_and(|path| path.contains("/ld")));
        assert!(!linkage.is_static());
    }

    #[test]
    fn other_files_have_none() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0; 100]] {
            assert_eq!(linkage(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn damage_is_no_crash(at in 0..4096_usize, byte: u8, n in 64..20_000_usize) {
            let mut bytes = std::fs::read("/proc/self/exe").unwrap_or_default();
            bytes.truncate(n);
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
            let _ = linkage(&bytes);
        }
    }
}
