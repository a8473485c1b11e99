//! What the kernel will do with a file that is to be executed.
//!
//! One execution opens several files, and asks about each: a script and its interpreter, a
//! program and its loader. Rules are about one of them, the program that the process
//! becomes, so the others must be told apart by what stands at the beginning of the file.

use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, Machine};
use object::read::elf::{FileHeader, ProgramHeader as _};

/// Bytes of a file that are looked at.
pub(super) const START_BYTES: usize = 4096;

/// What a file is to `execve(2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// The process becomes this file; a loader, if it has one, is opened next.
    Itself {
        /// The loader's path, as the file says.
        loader: Option<Vec<u8>>,
    },
    /// The process becomes another file, which is asked about next: a script, or a file
    /// that some registered interpreter runs.
    Another,
}

/// Machines whose programs this kernel runs itself.
const MACHINES: &[Machine] = {
    use object::elf::{EM_386, EM_AARCH64, EM_ARM, EM_X86_64};
    if cfg!(target_arch = "x86_64") {
        &[EM_X86_64, EM_386]
    } else if cfg!(target_arch = "aarch64") {
        &[EM_AARCH64, EM_ARM]
    } else {
        &[]
    }
};

/// Judges a file by its first [`START_BYTES`].
///
/// The kernel is less strict than any reader of such files: whatever begins as a program of
/// this machine is one, whether or not the rest makes sense.
pub(super) fn judge(start: &[u8]) -> Program {
    if !start.starts_with(b"\x7fELF") {
        return Program::Another;
    }
    let loader = match start.get(4) {
        Some(1) => loader_of::<FileHeader32<Endianness>>(start),
        _ => loader_of::<FileHeader64<Endianness>>(start),
    };
    // The machine stands at the same place in all classes, in the order of its bytes.
    let machine = start.get(18..20).and_then(|bytes| bytes.try_into().ok());
    let machine = machine.map(|bytes| Machine(u16::from_ne_bytes(bytes)));
    if !MACHINES.is_empty() && machine.is_some_and(|machine| !MACHINES.contains(&machine)) {
        return Program::Another;
    }
    Program::Itself { loader }
}

/// The loader that a file names. Headers behind what was read give none: the loader is then
/// asked about as a program.
fn loader_of<H: FileHeader<Endian = Endianness>>(start: &[u8]) -> Option<Vec<u8>> {
    let header = H::parse(start).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, start).ok()?;
    let loader = segments.iter().find_map(|segment| segment.interpreter(endian, start).ok()?)?;
    Some(loader.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_of(path: &str) -> Vec<u8> {
        let mut bytes = std::fs::read(path).unwrap();
        bytes.truncate(START_BYTES);
        bytes
    }

    #[test]
    fn programs_scripts_and_other_files() {
        let loader = match judge(&start_of("/bin/sh")) {
            Program::Itself { loader: Some(loader) } => String::from_utf8(loader).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(loader.starts_with("/lib"), "{loader}");
        let own = std::fs::canonicalize(&loader).unwrap();
        let own = judge(&start_of(own.to_str().unwrap()));
        assert_eq!(own, Program::Itself { loader: None }, "a loader has none");
        for other in [&b"#!/bin/sh\n"[..], b"", b"PK\x03\x04 a jar", &[0x7f; 4096]] {
            assert_eq!(judge(other), Program::Another, "{other:?}");
        }
        // The kernel does not look at the version; nor may this.
        let mut odd = start_of("/bin/sh");
        odd[6] = 9;
        assert_eq!(judge(&odd), Program::Itself { loader: None });
        assert_eq!(judge(b"\x7fELF"), Program::Itself { loader: None });
        // Another machine's program is run by an interpreter, as scripts are.
        let mut foreign = start_of("/bin/sh");
        foreign[18..20].copy_from_slice(&0x00f3_u16.to_le_bytes());
        assert_eq!(judge(&foreign), Program::Another);
    }

    #[test]
    fn no_damage_panics() {
        let whole = start_of("/bin/sh");
        for n in 0..whole.len().min(1024) {
            let _ = judge(&whole[..n]);
            let mut changed = whole.clone();
            changed[n] ^= 0xff;
            let _ = judge(&changed);
        }
    }
}
