//! From the entry point to every function that can be reached, across objects.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::elf::Object;
use super::scan::{Scanned, scan};
use super::{Analysis, limited};
use crate::syscalls::Machine;

/// Functions that load further code or make it.
const LOADERS: [&str; 3] = ["dlopen", "dlmopen", "__libc_dlopen_mode"];
/// libc's own way to make a call by its number.
const GENERIC: &str = "syscall";

/// A function: its object and its beginning.
type Function = (usize, u64);

struct Reach<'a> {
    objects: &'a [Object],
    /// Who defines a symbol: the first object in the order of loading.
    symbols: HashMap<&'a str, Function>,
    seen: HashSet<Function>,
    queue: Vec<Function>,
    /// Objects whose data has been taken into account.
    used: HashSet<usize>,
    analysis: Analysis,
}

/// What the objects can do, of which the first is the program.
pub(super) fn reach(objects: &[Object]) -> Analysis {
    let mut symbols = HashMap::new();
    for (index, object) in objects.iter().enumerate() {
        for (name, address) in &object.exports {
            symbols.entry(name.as_str()).or_insert((index, *address));
        }
    }
    let mut reach = Reach {
        objects,
        symbols,
        seen: HashSet::new(),
        queue: Vec::new(),
        used: HashSet::new(),
        analysis: Analysis {
            objects: objects.iter().map(|object| object.path.clone()).collect(),
            ..Analysis::default()
        },
    };
    for (index, object) in objects.iter().enumerate() {
        // The program, and the loader, which runs first; libraries are entered by what they export.
        if index == 0 || objects.first().and_then(|o| o.interpreter.as_ref()) == Some(&object.path)
        {
            reach.push((index, object.entry));
        }
        // Constructors, destructors and tables of functions: data of every object that is loaded.
        reach.use_data(index);
    }
    while let Some(function) = reach.queue.pop() {
        reach.visit(function);
    }
    reach.analysis
}

impl Reach<'_> {
    /// Puts a function on the list, by any address in it.
    fn push(&mut self, (index, address): Function) {
        let Some(object) = self.objects.get(index) else { return };
        if !object.is_code(address) {
            return;
        }
        let start = object.starts.range(..=address).next_back().copied().unwrap_or(address);
        if self.seen.insert((index, start)) {
            self.queue.push((index, start));
        }
    }

    fn use_data(&mut self, index: usize) {
        let Some(object) = self.objects.get(index) else { return };
        if self.used.insert(index) {
            for address in &object.pointers {
                self.push((index, *address));
            }
            // Slots that are filled with addresses of functions, wherever they are read.
            for name in object.imports.values() {
                self.note_loader(index, name);
            }
        }
    }

    fn visit(&mut self, (index, start): Function) {
        let Some(object) = self.objects.get(index) else { return };
        let next = object.starts.range(start + 1..).next().copied().unwrap_or(u64::MAX);
        let found = scan(object, start, next);
        self.note_numbers(index, start, &found);
        for target in &found.edges {
            self.push((index, *target));
        }
        for (slot, first) in &found.slots {
            if let Some(name) = object.imports.get(slot) {
                self.enter(index, start, name, *first);
            }
        }
        for (target, first) in &found.calls {
            // A stub of the linkage table jumps through a slot; the constant is at its caller.
            let Some(name) = self.stub(index, *target) else { continue };
            if name == GENERIC {
                self.enter(index, start, &name, *first);
            }
        }
    }

    /// The imported symbol that the stub at `address` jumps to.
    fn stub(&self, index: usize, address: u64) -> Option<String> {
        let object = self.objects.get(index)?;
        let found = scan(object, address, address + 16);
        let (slot, _) = found.slots.first()?;
        object.imports.get(slot).cloned()
    }

    /// Follows an imported symbol into the object that defines it.
    fn enter(&mut self, index: usize, start: u64, name: &str, first: Option<u32>) {
        let Some(target) = self.symbols.get(name).copied() else { return };
        if name != GENERIC {
            self.push(target);
            return;
        }
        let Some(object) = self.objects.get(index) else { return };
        // A stub in the linkage table is no caller.
        let is_stub = object
            .code
            .iter()
            .any(|code| code.bytes.len() as u64 >= 16 && start == code.address && first.is_none());
        match first {
            Some(number) => self.note_call(index, number),
            None if is_stub => {}
            None => {
                self.note_unknown(index, start, "calls `syscall` with a number that is computed");
            }
        }
    }

    fn note_loader(&mut self, index: usize, name: &str) {
        if LOADERS.contains(&name)
            && let Some(object) = self.objects.get(index)
        {
            let what = format!("`{}` loads libraries while it runs ({name})", object.path);
            limited(&mut self.analysis.unknown, what);
        }
    }

    fn note_numbers(&mut self, index: usize, start: u64, found: &Scanned) {
        for number in &found.numbers {
            self.note_call(index, *number);
        }
        let is_generic = self.symbols.get(GENERIC) == Some(&(index, start));
        if !found.unknown.is_empty() && !is_generic {
            self.note_unknown(index, start, "makes a call whose number is computed");
        }
        if !found.compat.is_empty() {
            self.note_unknown(index, start, "makes calls by the 32-bit interface");
        }
    }

    fn note_call(&mut self, index: usize, number: u32) {
        let Some(object) = self.objects.get(index) else { return };
        // A constant that is no number of a call is data that was decoded as code.
        let Some(name) = Machine::X86_64.call(number) else { return };
        let objects = self.analysis.calls.entry(name.to_string()).or_default();
        objects.insert(object.path.clone());
    }

    fn note_unknown(&mut self, index: usize, start: u64, what: &str) {
        let Some(object) = self.objects.get(index) else { return };
        let names: &BTreeMap<u64, String> = &object.names;
        let place = match names.range(..=start).next_back() {
            Some((at, name)) if *at == start => format!("`{name}`"),
            _ => format!("the function at {start:#x}"),
        };
        limited(&mut self.analysis.unknown, format!("{place} of `{}` {what}", object.path));
    }
}
