//! One object: its code, functions, symbols and relocations.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, ObjectSymbolTable as _,
    RelocationFlags, RelocationTarget, SymbolKind,
};

/// Functions of one object.
const FUNCTIONS_MAX: usize = 1 << 20;
/// Relocations of one object.
const RELOCATIONS_MAX: usize = 4 << 20;
/// Libraries that one object names.
const NEEDED_MAX: usize = 256;
/// Sections of code.
const SECTIONS_MAX: usize = 4096;

/// An object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not ELF, or damaged.
    #[error("not a valid ELF file: {0}")]
    Invalid(String),
    /// Code of another machine.
    #[error("code of another machine than x86-64")]
    Machine,
    /// Too many of something.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many may be.
        max: usize,
    },
}

/// A range of code.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) address: u64,
    pub(super) bytes: Vec<u8>,
}

/// A program or library.
#[derive(Debug)]
pub struct Object {
    /// Where it lies in the image.
    pub path: String,
    /// Names of the libraries that it asks for.
    pub(super) needed: Vec<String>,
    /// The dynamic loader that it asks for.
    pub(super) interpreter: Option<String>,
    run_path: Vec<String>,
    pub(super) entry: u64,
    pub(super) code: Vec<Code>,
    /// Beginnings of functions, as far as they are told.
    pub(super) starts: BTreeSet<u64>,
    /// Functions that others can call, by name.
    pub(super) exports: HashMap<String, u64>,
    /// Names of functions, for people.
    pub(super) names: BTreeMap<u64, String>,
    /// Names of imported symbols by the address of the slot that receives them.
    pub(super) imports: HashMap<u64, String>,
    /// Addresses in code to which data points.
    pub(super) pointers: BTreeSet<u64>,
}

impl Object {
    /// Reads an object.
    pub fn parse(path: &str, content: &[u8]) -> Result<Self, ElfError> {
        let invalid = |error: object::Error| ElfError::Invalid(error.to_string());
        let file = ElfFile64::<Endianness>::parse(content).map_err(invalid)?;
        if file.architecture() != object::Architecture::X86_64 {
            return Err(ElfError::Machine);
        }
        let mut out = Self {
            path: path.to_string(),
            needed: Vec::new(),
            interpreter: None,
            run_path: Vec::new(),
            entry: file.entry(),
            code: Vec::new(),
            starts: BTreeSet::new(),
            exports: HashMap::new(),
            names: BTreeMap::new(),
            imports: HashMap::new(),
            pointers: BTreeSet::new(),
        };
        out.read_dynamic(&file).map_err(invalid)?;
        out.read_code(&file, content)?;
        out.read_symbols(&file);
        out.read_frames(&file);
        out.read_relocations(&file)?;
        if out.starts.len() > FUNCTIONS_MAX {
            return Err(ElfError::TooMany { what: "functions", max: FUNCTIONS_MAX });
        }
        Ok(out)
    }

    /// Whether `address` is in code.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.code.iter().any(|code| {
            address.checked_sub(code.address).is_some_and(|at| at < code.bytes.len() as u64)
        })
    }

    /// The folders in which its libraries are looked for (ld.so(8)); `ld.so.cache` is not read.
    pub(super) fn search_paths(&self) -> Vec<String> {
        let origin = self.path.rsplit_once('/').map_or("/", |(folder, _)| folder);
        let mut out: Vec<String> = self
            .run_path
            .iter()
            .map(|folder| folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))
            .collect();
        out.extend(
            [
                "/lib/x86_64-linux-gnu",
                "/usr/lib/x86_64-linux-gnu",
                "/lib64",
                "/usr/lib64",
                "/lib",
                "/usr/lib",
                "/usr/local/lib",
                "/usr/local/lib64",
            ]
            .map(String::from),
        );
        out.push(origin.to_string());
        out
    }

    fn read_dynamic(&mut self, file: &ElfFile64<'_, Endianness>) -> object::Result<()> {
        let (endian, data) = (file.endian(), file.data());
        let header: &FileHeader64<Endianness> = file.elf_header();
        for segment in header.program_headers(endian, data)? {
            if let Ok(Some(path)) = segment.interpreter(endian, data) {
                self.interpreter = Some(String::from_utf8_lossy(path).into_owned());
            }
        }
        let sections = header.sections(endian, data)?;
        let Some((entries, strings)) = sections.dynamic(endian, data)? else { return Ok(()) };
        let strings = sections.strings(endian, data, strings)?;
        for entry in entries {
            let text = || entry.string(endian, strings).ok().map(String::from_utf8_lossy);
            match entry.d_tag(endian) {
                elf::DT_NEEDED if self.needed.len() < NEEDED_MAX => {
                    self.needed.extend(text().map(std::borrow::Cow::into_owned));
                }
                elf::DT_RPATH | elf::DT_RUNPATH => {
                    if let Some(text) = text() {
                        let folders = text.split(':').filter(|folder| !folder.is_empty());
                        self.run_path.extend(folders.take(NEEDED_MAX).map(str::to_string));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_code(
        &mut self,
        file: &ElfFile64<'_, Endianness>,
        content: &[u8],
    ) -> Result<(), ElfError> {
        let (endian, header) = (file.endian(), file.elf_header());
        for section in file.sections() {
            let object::SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            if !sh_flags.contains(elf::SHF_EXECINSTR) {
                continue;
            }
            if self.code.len() >= SECTIONS_MAX {
                return Err(ElfError::TooMany { what: "sections of code", max: SECTIONS_MAX });
            }
            if let Ok(bytes) = section.data()
                && !bytes.is_empty()
            {
                self.starts.insert(section.address());
                self.code.push(Code { address: section.address(), bytes: bytes.to_vec() });
            }
        }
        if self.code.is_empty() {
            // Without sections, segments say what is executed.
            let segments = header
                .program_headers(endian, content)
                .map_err(|error| ElfError::Invalid(error.to_string()))?;
            for segment in segments {
                if segment.p_flags(endian).contains(elf::PF_X)
                    && let Ok(bytes) = segment.data(endian, content)
                    && self.code.len() < SECTIONS_MAX
                    && !bytes.is_empty()
                {
                    let address = segment.p_vaddr(endian);
                    self.starts.insert(address);
                    self.code.push(Code { address, bytes: bytes.to_vec() });
                }
            }
        }
        // Sections that overlap are a lie, and would make the work more than the file.
        let total: usize = self.code.iter().map(|code| code.bytes.len()).sum();
        if total > content.len() {
            return Err(ElfError::Invalid("its sections of code are larger than the file".into()));
        }
        self.code.sort_by_key(|code| code.address);
        Ok(())
    }

    fn read_symbols(&mut self, file: &ElfFile64<'_, Endianness>) {
        for symbol in file.symbols().chain(file.dynamic_symbols()).take(FUNCTIONS_MAX) {
            let is_function = matches!(symbol.kind(), SymbolKind::Text)
                // IFUNC: its code chooses the function.
                || matches!(symbol.flags(), object::SymbolFlags::Elf { st_info, .. } if st_info.0 & 15 == elf::STT_GNU_IFUNC.0);
            if !is_function || symbol.is_undefined() || !self.is_code(symbol.address()) {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            let name: String = name.split('@').next().unwrap_or(name).chars().take(256).collect();
            self.starts.insert(symbol.address());
            self.names.entry(symbol.address()).or_insert_with(|| name.clone());
            if symbol.is_global() || symbol.is_weak() {
                self.exports.entry(name).or_insert(symbol.address());
            }
        }
    }

    /// Beginnings of functions from the search table of `.eh_frame_hdr` (Linux Standard Base, 10.6.2),
    /// which stripped objects have as well.
    fn read_frames(&mut self, file: &ElfFile64<'_, Endianness>) {
        let Some(section) = file.section_by_name(".eh_frame_hdr") else { return };
        let Ok(bytes) = section.data() else { return };
        // Version 1, any encoding of the pointer of 4 bytes, count of 4 bytes, table relative to
        // the section in signed 4 bytes: what every linker writes.
        let Some([1, _, 0x03, 0x3b]) = bytes.first_chunk::<4>() else { return };
        let word = |at: usize| {
            bytes
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .map(|word| i32::from_le_bytes(*word))
        };
        let n = usize::try_from(word(8).unwrap_or(0)).unwrap_or(0).min(FUNCTIONS_MAX);
        for at in 0..n {
            let Some(offset) = word(12 + at * 8) else { return };
            let start = section.address().wrapping_add_signed(i64::from(offset));
            if self.is_code(start) {
                self.starts.insert(start);
            }
        }
    }

    fn read_relocations(&mut self, file: &ElfFile64<'_, Endianness>) -> Result<(), ElfError> {
        let Some(relocations) = file.dynamic_relocations() else { return Ok(()) };
        let symbols = file.dynamic_symbol_table();
        for (n, (slot, relocation)) in relocations.enumerate() {
            if n >= RELOCATIONS_MAX {
                return Err(ElfError::TooMany { what: "relocations", max: RELOCATIONS_MAX });
            }
            let target = relocation.addend() as u64;
            if let RelocationFlags::Elf {
                r_type: elf::R_X86_64_RELATIVE | elf::R_X86_64_IRELATIVE,
            } = relocation.flags()
            {
                if self.is_code(target) {
                    self.pointers.insert(target);
                    self.starts.insert(target);
                }
                continue;
            }
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let symbol = symbols.as_ref().and_then(|table| table.symbol_by_index(index).ok());
            let Some(name) = symbol.as_ref().and_then(|symbol| symbol.name().ok()) else {
                continue;
            };
            let name: String = name.split('@').next().unwrap_or(name).chars().take(256).collect();
            self.imports.insert(slot, name);
        }
        Ok(())
    }
}
