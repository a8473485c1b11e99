//! The table by which Go's run-time names functions in traces (`runtime.pclntab`). Stripped
//! programs have it as well.
//!
//! Its forms are told by their magic (Go `debug/gosym`): of Go 1.2, 1.16, 1.18 and 1.20. From
//! 1.16 on the names stand together, one after the other, and the linker puts the names of
//! functions that were inlined among them (`cmd/link/internal/ld`, `generateFuncnametab`), so
//! that a name which is not there is not in the program, with one exception: a closure that a
//! function returns takes the name of the function into which that one was inlined. Since Go 1.22
//! both names are in it (`cmd/compile/internal/ir`, `closureName`); before, only its source file
//! tells where it comes from. Before 1.16, inlined ones are only in the
//! inline tree of each function, whose form differs from release to release: a name that is not
//! found is in doubt then.

use std::collections::HashSet;

use memchr::memmem;
use object::{Object as _, ObjectSection as _};
use palisade_model::PackageKind;
use palisade_model::symbols::{FOLDER, FUNCTIONS_MAX, LOOSE, Program};

use super::Hashes;

const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
const MAGIC_1_2: u32 = 0xffff_fffb;
const MAGIC_1_16: u32 = 0xffff_fffa;
const MAGIC_1_18: u32 = 0xffff_fff0;
const MAGIC_1_20: u32 = 0xffff_fff1;
/// Places that look like a table and are none.
const CANDIDATES_MAX: usize = 256;
/// Longer names are nobody's, in bytes.
const NAME_BYTES_MAX: usize = 16 << 10;
/// Functions that every program has; a table without them is another library's.
const ALWAYS: [&str; 2] = ["runtime.goexit", "runtime.main"];

/// What the build record says of the names in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::program) struct Origin {
    /// Import path of the package that the table calls `main`.
    pub(in crate::program) main: String,
    /// Modules that stand in for others, whose import paths the names have.
    pub(in crate::program) replaced: Vec<(String, String)>,
    /// `GOOS`.
    pub(in crate::program) os: Option<String>,
    /// `GOARCH`.
    pub(in crate::program) architecture: Option<String>,
    /// The release of Go: 22 for 1.22.
    pub(in crate::program) minor: Option<u32>,
    /// The program's own module, whose folder may have any name.
    pub(in crate::program) module: String,
}

/// The release that began to keep the name of an inlined function in those of its closures.
const MINOR_WITH_CLOSURES: u32 = 22;

/// The functions of a whole program of Go.
pub(in crate::program) fn functions(path: &str, bytes: &[u8], origin: &Origin) -> Program {
    let mut program = match find(bytes) {
        Some(table) => table.program(path, origin),
        None => super::unknown(path, PackageKind::Go, "its table of functions was not found"),
    };
    program.os.clone_from(&origin.os);
    program.architecture.clone_from(&origin.architecture);
    program
}

/// The table of functions.
struct Table<'a> {
    /// Names, each behind the other with a zero byte after it; in the form of Go 1.2 those of
    /// the functions that were not inlined.
    names: Vec<&'a [u8]>,
    /// Whether inlined functions are among them.
    is_whole: bool,
    /// Source files; none in the form of Go 1.2.
    files: Vec<&'a [u8]>,
}

impl Table<'_> {
    fn program(&self, path: &str, origin: &Origin) -> Program {
        let mut hashes = Hashes::default();
        let mut n_always = 0;
        let mut packages: HashSet<String> = HashSet::new();
        for name in &self.names {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            n_always += usize::from(ALWAYS.contains(&name));
            if name.len() > NAME_BYTES_MAX {
                continue;
            }
            let Some((package, rest)) = split(name) else { continue };
            let paths = import_paths(package, origin);
            for package in &paths {
                if !packages.contains(package) {
                    packages.insert(package.clone());
                    hashes.add(package, "");
                }
                let parts = segments(rest);
                if let Some(first) = parts.first() {
                    // What has the name of a type answers for the type as well.
                    hashes.add(package, first);
                }
                if let [first, second, ..] = parts.as_slice() {
                    hashes.add(package, &format!("{first}.{second}"));
                }
            }
            for name in inlined_names(rest) {
                hashes.add(LOOSE, name);
            }
        }
        let folders: HashSet<&str> = self.files.iter().filter_map(|file| folder(file)).collect();
        let own = (!origin.module.is_empty()).then(|| last_element(&origin.module));
        for folder in folders.into_iter().chain(own) {
            hashes.add(FOLDER, folder);
            // Where Bazel keeps `github.com/a/b`: `com_github_a_b`.
            if let Some((_, last)) = folder.rsplit_once('_') {
                hashes.add(FOLDER, last);
            }
        }
        let doubt = if n_always < ALWAYS.len() {
            Some("its table of functions has no run-time in it: the rest is elsewhere, or renamed")
        } else if !self.is_whole {
            Some("built by Go before 1.16, which may have inlined the function without a trace")
        } else if origin.minor.is_none_or(|minor| minor < MINOR_WITH_CLOSURES) {
            Some("built by Go before 1.22, whose inlined closures do not say where they come from")
        } else {
            None
        };
        let mut program = hashes.into_program(path, PackageKind::Go, doubt.map(str::to_string));
        program.has_folders = self.is_whole && n_always == ALWAYS.len();
        program
    }
}

/// Import path and name within the package.
fn split(name: &str) -> Option<(&str, &str)> {
    // Arguments of generics and receivers may hold paths of their own.
    let end = name.find(['[', '(']).unwrap_or(name.len());
    let slash = name.get(..end)?.rfind('/').map_or(0, |at| at + 1);
    let dot = slash + name.get(slash..)?.find('.')?;
    let package = name.get(..dot)?;
    // What the compiler makes for types, and the linker for itself, is in no package.
    let is_made = package.is_empty() || package.contains(':') || matches!(package, "type" | "go");
    (!is_made).then_some((package, name.get(dot + 1..)?))
}

/// The parts of a name that can be asked for: `T`, `Do` of `(*T[...]).Do.func1`; of a closure
/// the function that it is in.
pub(super) fn segments(name: &str) -> Vec<String> {
    let mut plain = String::with_capacity(name.len());
    let mut depth = 0_usize;
    for c in name.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '(' | ')' | '*' => {}
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let is_made = |part: &str| {
        let made = ["func", "gowrap", "deferwrap"];
        let number = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit());
        number(part) || made.iter().any(|word| part.strip_prefix(word).is_some_and(number))
    };
    let mut parts = Vec::new();
    for (index, part) in plain.split('.').take(2).enumerate() {
        // `-fm` is a method as a value, `-range1` the body of a loop over a function.
        let part = part.split('-').next().unwrap_or_default();
        // Closures are named after the function that they are in.
        if part.is_empty() || (index > 0 && is_made(part)) {
            break;
        }
        parts.push(part.to_string());
    }
    parts
}

/// Names of functions that may have been inlined with the closure `name`: `F` in `main.F.func1`.
fn inlined_names(name: &str) -> impl Iterator<Item = &str> {
    let is_closure = [".func", ".gowrap", ".deferwrap", "-range"].iter().any(|w| name.contains(w));
    let parts = name.split(['.', '(', ')', '*', '-']).filter(|part| !part.is_empty()).skip(1);
    parts.filter(move |part| is_closure && !part.bytes().all(|b| b.is_ascii_digit()))
}

/// The last part of the path of the folder with a file, without the version of a module.
fn folder(file: &[u8]) -> Option<&str> {
    let (folder, _) = std::str::from_utf8(file).ok()?.rsplit_once(['/', '\\'])?;
    Some(last_element(folder))
}

/// The last part of a path, of `a/b/v2` and `a/b@v1.2.3` it is `b`.
pub(in crate::program) fn last_element(path: &str) -> &str {
    let mut parts = path.rsplit(['/', '\\']);
    let last = parts.next().unwrap_or_default();
    let last = last.split('@').next().unwrap_or_default();
    let number = last.strip_prefix('v').unwrap_or_default();
    let is_major = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match parts.next() {
        Some(before) if is_major => before,
        _ => last,
    }
}

/// The import paths that a package of the table has in advisories.
fn import_paths(package: &str, origin: &Origin) -> Vec<String> {
    if package == "main" {
        let mut paths = vec!["main".to_string()];
        paths.extend((!origin.main.is_empty()).then(|| origin.main.clone()));
        return paths;
    }
    let path = unescape(package);
    let path = match path.rsplit_once("/vendor/") {
        Some((_, vendored)) => vendored.to_string(),
        None => path.strip_prefix("vendor/").map(str::to_string).unwrap_or(path),
    };
    let mut paths = Vec::new();
    for (module, stand_in) in &origin.replaced {
        if let Some(rest) = path.strip_prefix(module.as_str())
            && (rest.is_empty() || rest.starts_with('/'))
        {
            paths.push(format!("{stand_in}{rest}"));
        }
    }
    paths.push(path);
    paths
}

/// Symbols have `%2e` for dots in the last element of an import path, and so on.
fn unescape(path: &str) -> String {
    if !path.contains('%') {
        return path.to_string();
    }
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%');
        let code = digits.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        out.push(code.unwrap_or(first));
        rest = after.get(if code.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The table of a program, by its section or, where sections have no names, by its magic.
fn find(bytes: &[u8]) -> Option<Table<'_>> {
    let elf = object::File::parse(bytes).ok();
    let is_little = elf.as_ref().is_none_or(object::Object::is_little_endian);
    let sections = elf.iter().flat_map(|elf| SECTIONS.iter().map(|name| elf.section_by_name(name)));
    let mut data = sections.flatten().filter_map(|section| section.data().ok());
    if let Some(table) = data.find_map(|data| Header::read(data, is_little)?.table()) {
        return Some(table);
    }
    [MAGIC_1_20, MAGIC_1_18, MAGIC_1_16, MAGIC_1_2].into_iter().find_map(|magic| {
        let pattern = if is_little { magic.to_le_bytes() } else { magic.to_be_bytes() };
        let headers = memmem::find_iter(bytes, &pattern)
            .filter_map(|at| Header::read(bytes.get(at..)?, is_little));
        headers.take(CANDIDATES_MAX).find_map(|header| header.table())
    })
}

/// The head of a table, and the bytes from it on.
struct Header<'a> {
    bytes: &'a [u8],
    magic: u32,
    word_bytes: usize,
    is_little: bool,
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8], is_little: bool) -> Option<Self> {
        let magic = number(bytes, 0, 4, is_little)? as u32;
        let known = [MAGIC_1_2, MAGIC_1_16, MAGIC_1_18, MAGIC_1_20].contains(&magic);
        let &[0, 0, quantum, word] = bytes.get(4..8)? else { return None };
        let is_sane = known && matches!(quantum, 1 | 2 | 4) && matches!(word, 4 | 8);
        is_sane.then_some(Self { bytes, magic, word_bytes: usize::from(word), is_little })
    }

    /// The word at `index` after the first eight bytes.
    fn word(&self, index: usize) -> Option<usize> {
        let at = 8 + index * self.word_bytes;
        usize::try_from(number(self.bytes, at, self.word_bytes, self.is_little)?).ok()
    }

    fn half(&self, bytes: &[u8], at: usize) -> Option<usize> {
        Some(number(bytes, at, 4, self.is_little)? as usize)
    }

    fn table(&self) -> Option<Table<'a>> {
        let n_functions = self.word(0).filter(|n| (1..=FUNCTIONS_MAX).contains(n))?;
        if self.magic == MAGIC_1_2 {
            return self.table_1_2(n_functions);
        }
        // Since 1.18 the start of the code stands among the offsets.
        let first = if self.magic == MAGIC_1_16 { 2 } else { 3 };
        let (from, to) = (self.word(first)?, self.word(first + 1)?);
        let names = self.bytes.get(from..to)?;
        let functions = self.bytes.get(self.word(first + 4)?..)?;
        // Every function must lead to the beginning of a name: then this is what it seems.
        for index in 0..n_functions {
            let at = self.name_of(functions, index)?;
            let is_start = at == 0 || names.get(at.checked_sub(1)?) == Some(&0);
            if !is_start || at >= names.len() {
                return None;
            }
        }
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        let files = self.bytes.get(self.word(first + 2)?..self.word(first + 3)?)?;
        let files = files.split(|byte| *byte == 0).filter(|file| !file.is_empty()).collect();
        Some(Table { names, is_whole: true, files })
    }

    /// Where the name of a function stands.
    fn name_of(&self, functions: &[u8], index: usize) -> Option<usize> {
        let is_wide = matches!(self.magic, MAGIC_1_2 | MAGIC_1_16);
        let entry = if is_wide { self.word_bytes } else { 4 };
        let at = index.checked_mul(2 * entry)?.checked_add(entry)?;
        let place = usize::try_from(number(functions, at, entry, self.is_little)?).ok()?;
        self.half(functions, place.checked_add(entry)?)
    }

    /// In the form of Go 1.2 offsets count from the beginning of the table.
    fn table_1_2(&self, n_functions: usize) -> Option<Table<'a>> {
        let index_from = 8 + self.word_bytes;
        let mut names = Vec::new();
        for index in 0..n_functions {
            let at = index_from + index * 2 * self.word_bytes + self.word_bytes;
            let place = number(self.bytes, at, self.word_bytes, self.is_little)?;
            let place = usize::try_from(place).ok()?.checked_add(self.word_bytes)?;
            let name = self.bytes.get(self.half(self.bytes, place)?..)?;
            let name = name.get(..name.len().min(NAME_BYTES_MAX))?;
            names.push(name.get(..memchr::memchr(0, name)?)?);
        }
        Some(Table { names, is_whole: false, files: Vec::new() })
    }
}

/// A number of `n` bytes.
fn number(bytes: &[u8], at: usize, n: usize, is_little: bool) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(n)?)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
}

#[cfg(test)]
mod tests;
