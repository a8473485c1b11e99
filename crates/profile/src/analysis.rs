//! Which system calls programs and their libraries can make, from their code.
//!
//! [`analyse`] begins at a program's entry point, opens the libraries that it names, and follows
//! calls, jumps, addresses that are taken and relocations from function to function, across
//! objects. Each `syscall` instruction that is reached gives the number that the code before it puts
//! into `eax`, each call of libc's `syscall` the one in `edi`. What is found is more than what can
//! happen (a function whose address is taken counts as called), but for what the result names as
//! unknown: code that is loaded later, made at run time, or whose number is computed.

mod elf;
mod reach;
mod scan;
mod symbols;

use std::collections::{BTreeMap, BTreeSet};

pub use elf::{ElfError, Object};
pub use symbols::{CALL_BYTES, SYMBOLS_MAX, Symbols, follows_call};

use crate::record::{Record, Source};
use crate::syscalls::Machine;

/// Objects of one program: itself and its libraries.
pub const OBJECTS_MAX: usize = 512;
/// Bytes of one object.
pub const OBJECT_BYTES_MAX: u64 = 256 << 20;
/// Places of unknown numbers that are named.
const UNKNOWN_MAX: usize = 64;

/// Where libraries are found: an image, a folder.
pub trait Files {
    /// The content of the regular file at `path`, links followed within the image. `None` if there
    /// is none, or if it is larger than [`OBJECT_BYTES_MAX`].
    fn read(&mut self, path: &str) -> Option<Vec<u8>>;
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Analysis {
    /// Objects that were examined, by path.
    pub objects: Vec<String>,
    /// Calls, each with the objects that make it.
    pub calls: BTreeMap<String, BTreeSet<String>>,
    /// What cannot be known, in sentences.
    pub unknown: BTreeSet<String>,
}

impl Analysis {
    /// Adds what another program can do.
    pub fn merge(&mut self, other: Self) {
        for path in other.objects {
            if !self.objects.contains(&path) {
                self.objects.push(path);
            }
        }
        for (call, objects) in other.calls {
            self.calls.entry(call).or_default().extend(objects);
        }
        self.unknown.extend(other.unknown);
    }

    /// The analysis as a record.
    pub fn to_record(&self, name: &str, machine: Machine) -> Record {
        let mut record = Record::new(name, machine);
        for call in self.calls.keys() {
            record.add_call(call.as_str(), Source::Static);
        }
        record.gaps = self.unknown.iter().map(|what| format!("analysis: {what}")).collect();
        record
    }
}

/// A program that cannot be analysed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// There is no such file.
    #[error("`{0}` is not in the image, or larger than {OBJECT_BYTES_MAX} bytes")]
    NotFound(String),
    /// It is no program that can be read.
    #[error("read program `{path}`")]
    Elf {
        /// Its path.
        path: String,
        /// The reason.
        source: ElfError,
    },
    /// Scripts that name scripts.
    #[error("`{0}` names an interpreter that names an interpreter, and so on")]
    Interpreters(String),
}

impl palisade_base::Explain for AnalysisError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NotFound(_) => "name a file of the image by its absolute path",
                Self::Elf { .. } => {
                    "analysis reads x86-64 programs in ELF, and scripts that name one"
                }
                Self::Interpreters(_) => "name the program that runs in the end",
            }
            .into(),
        )
    }
}

/// Analyses the program at `path`, or, if it is a script, the one that runs it.
pub fn analyse(path: &str, files: &mut dyn Files) -> Result<Analysis, AnalysisError> {
    let mut unknown = BTreeSet::new();
    let mut path = path.to_string();
    let mut content = read(&path, files)?;
    for _ in 0..4 {
        let Some(interpreter) = interpreter(&content) else { break };
        unknown.insert(format!("`{path}` is a script: what it starts was not examined"));
        path = interpreter;
        content = read(&path, files)?;
    }
    if content.starts_with(b"#!") {
        return Err(AnalysisError::Interpreters(path));
    }
    let mut objects = Vec::new();
    let mut names = BTreeSet::new();
    let main = Object::parse(&path, &content)
        .map_err(|source| AnalysisError::Elf { path: path.clone(), source })?;
    names.insert(base_name(&path).to_string());
    objects.push(main);
    let mut at = 0;
    while let Some(object) = objects.get(at) {
        at += 1;
        let wanted: Vec<String> =
            object.needed.iter().chain(&object.interpreter).cloned().collect();
        let search = object.search_paths();
        for name in wanted {
            if !names.insert(base_name(&name).to_string()) {
                continue;
            }
            if objects.len() >= OBJECTS_MAX {
                unknown.insert(format!(
                    "more than {OBJECTS_MAX} libraries: the rest was not examined"
                ));
                break;
            }
            match load(&name, &search, files) {
                Some(Ok(library)) => objects.push(library),
                Some(Err(error)) => {
                    unknown.insert(format!("library `{name}` cannot be read: {error}"));
                }
                None => {
                    unknown.insert(format!("library `{name}` is not in the image"));
                }
            }
        }
    }
    let mut analysis = reach::reach(&objects);
    analysis.unknown.extend(unknown);
    Ok(analysis)
}

fn read(path: &str, files: &mut dyn Files) -> Result<Vec<u8>, AnalysisError> {
    files.read(path).ok_or_else(|| AnalysisError::NotFound(path.chars().take(256).collect()))
}

/// The program that a script names in its first line; `env` is looked through.
fn interpreter(content: &[u8]) -> Option<String> {
    let line = content.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line.get(..line.len().min(256))?).ok()?;
    let mut words = line.split_whitespace();
    let program = words.next()?;
    match words.find(|word| !word.starts_with('-') && !word.contains('=')) {
        Some(name) if base_name(program) == "env" => Some(format!("/usr/bin/{name}")),
        _ => Some(program.to_string()),
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn load(name: &str, search: &[String], files: &mut dyn Files) -> Option<Result<Object, ElfError>> {
    let paths: Vec<String> = if name.contains('/') {
        vec![name.to_string()]
    } else {
        search.iter().map(|folder| format!("{}/{name}", folder.trim_end_matches('/'))).collect()
    };
    paths.into_iter().find_map(|path| {
        let content = files.read(&path)?;
        Some(Object::parse(&path, &content))
    })
}

fn limited(unknown: &mut BTreeSet<String>, what: String) {
    if unknown.len() < UNKNOWN_MAX {
        unknown.insert(what);
    } else if unknown.len() == UNKNOWN_MAX {
        unknown.insert("and more places".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_of_scripts_name_programs() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(interpreter(text.as_bytes()).as_deref(), expected, "{text}");
        };
        check("#!/bin/sh -e\nx", Some("/bin/sh"));
        check("#! /usr/bin/env -S A=1 node --x\n", Some("/usr/bin/node"));
        check("#!/usr/bin/python3", Some("/usr/bin/python3"));
        check("\x7fELF", None);
        check("#!\n", None);
    }
}
