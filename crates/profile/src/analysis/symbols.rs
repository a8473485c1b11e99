//! Names of functions by places in a file, of any machine's objects.
//!
//! Symbol tables alone are read. A function without a name in them has none here: what begins before
//! a place and ends before it as well is another.

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};

use super::ElfError;

/// Functions of one object.
pub const SYMBOLS_MAX: usize = 1 << 20;
/// Loaded parts of one object.
const SEGMENTS_MAX: usize = 4096;
/// Bytes of a name that are kept.
const NAME_BYTES_MAX: usize = 512;
/// Bytes before a return address that [`follows_call`] looks at, at most.
pub const CALL_BYTES: usize = 7;

/// Names of an object's functions.
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    /// Loaded parts: offset in the file, bytes, address.
    segments: Vec<(u64, u64, u64)>,
    /// Address, bytes (0 if it is not told) and name, in order.
    functions: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// Reads the symbol tables of an ELF object.
    pub fn parse(content: &[u8]) -> Result<Self, ElfError> {
        let invalid = |error: object::Error| ElfError::Invalid(error.to_string());
        let file = object::File::parse(content).map_err(invalid)?;
        let segments = file.segments().take(SEGMENTS_MAX).map(|segment| {
            let (offset, bytes) = segment.file_range();
            (offset, bytes, segment.address())
        });
        let mut out = Self { segments: segments.collect(), functions: Vec::new() };
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            if symbol.kind() != SymbolKind::Text || symbol.address() == 0 {
                continue;
            }
            let Ok(name) = symbol.name_bytes() else { continue };
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                continue;
            }
            if out.functions.len() >= SYMBOLS_MAX {
                return Err(ElfError::TooMany { what: "symbols", max: SYMBOLS_MAX });
            }
            let name = String::from_utf8_lossy(name).into_owned();
            out.functions.push((symbol.address(), symbol.size(), name));
        }
        out.functions.sort();
        out.functions.dedup_by_key(|(address, ..)| *address);
        Ok(out)
    }

    /// The function at an offset in the file, and the offset in it.
    pub fn function_at(&self, file_offset: u64) -> Option<(&str, u64)> {
        let address = self.segments.iter().find_map(|(offset, bytes, address)| {
            let at = file_offset.checked_sub(*offset).filter(|at| at < bytes)?;
            address.checked_add(at)
        })?;
        let next = self.functions.partition_point(|(start, ..)| *start <= address);
        let (start, bytes, name) = self.functions.get(next.checked_sub(1)?)?;
        let at = address - start;
        // The address behind a call that never returns may be the first one behind its function.
        (*bytes == 0 || at <= *bytes).then_some((name.as_str(), at))
    }
}

/// Whether the instruction that ends where `before` ends is a call, so that the address behind it
/// may be a return address. x86-64: `E8` with an offset, `FF /2` in its lengths; aarch64: `BL`, `BLR`.
pub fn follows_call(before: &[u8], machine: crate::syscalls::Machine) -> bool {
    let back = |n: usize| before.len().checked_sub(n).and_then(|at| before.get(at).copied());
    match machine {
        crate::syscalls::Machine::X86_64 => {
            let is_indirect = |n: usize| {
                let modrm = back(n - 1).filter(|byte| byte >> 3 & 7 == 2);
                back(n) == Some(0xff) && modrm.is_some_and(|byte| indirect_bytes(byte).contains(&n))
            };
            back(5) == Some(0xe8) || [2, 3, 4, 6, 7].into_iter().any(is_indirect)
        }
        crate::syscalls::Machine::Aarch64 => {
            let word = before.last_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            word.is_some_and(|word| word >> 26 == 0b10_0101 || word & 0xffff_fc1f == 0xd63f_0000)
        }
    }
}

/// Lengths of `FF /2` with this byte of registers, prefixes not counted.
fn indirect_bytes(modrm: u8) -> &'static [usize] {
    match (modrm >> 6, modrm & 7) {
        (0, 4) => &[3, 7],
        (0, 5) => &[6],
        (0 | 3, _) => &[2],
        (1, 4) => &[4],
        (1, _) => &[3],
        (_, 4) => &[7],
        _ => &[6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls::Machine;

    #[test]
    fn calls_are_told_from_other_instructions() {
        let check = |bytes: &[u8], machine: Machine, expected: bool| {
            assert_eq!(follows_call(bytes, machine), expected, "{bytes:x?}");
        };
        for (bytes, expected) in [
            (&[0xe8, 1, 2, 3, 4][..], true),
            (&[0x90, 0xe8, 1, 2, 3, 4], true),
            (&[0xff, 0xd0], true),
            (&[0x41, 0xff, 0xd4], true),
            (&[0xff, 0x50, 0x18], true),
            (&[0xff, 0x15, 0, 1, 2, 3], true),
            (&[0xff, 0x54, 0x24, 0x18], true),
            (&[0xff, 0x94, 0x24, 0, 1, 0, 0], true),
            // A jump, a push, a call that is cut, one of another length.
            (&[0xe9, 1, 2, 3, 4], false),
            (&[0xff, 0xe0], false),
            (&[0xff, 0x35, 0, 1, 2, 3], false),
            (&[1, 2, 3, 4], false),
            (&[0xff, 0xd0, 0x90], false),
            (&[], false),
        ] {
            check(bytes, Machine::X86_64, expected);
        }
        for (word, expected) in [
            (0x9400_0123_u32, true),
            (0xd63f_0100, true),
            (0x1400_0123, false),
            (0xd61f_0100, false),
        ] {
            check(&word.to_le_bytes(), Machine::Aarch64, expected);
        }
        check(&[0x94], Machine::Aarch64, false);
    }

    #[test]
    fn what_is_no_object_has_no_functions() {
        assert!(Symbols::parse(b"").is_err());
        assert!(Symbols::parse(b"\x7fELF\x02\x01\x01").is_err());
        assert_eq!(Symbols::default().function_at(0), None);
    }
}
