//! Where in which file a call was made, and who called there: from the memory map of the process,
//! the files that it maps, their symbols, and return addresses on its stack.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use palisade_bpf::recorder::Site;
use palisade_profile::analysis::{CALL_BYTES, OBJECT_BYTES_MAX, Symbols, follows_call};
use palisade_profile::syscalls::Machine;

/// Bytes of `/proc/PID/maps`.
const MAPS_BYTES_MAX: u64 = 16 << 20;
/// Objects whose symbols are kept.
const OBJECTS_MAX: usize = 256;
/// Places that are looked up.
const PLACES_MAX: usize = 16_384;

/// A place in the code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// `libc.so.6 mkdir+0x7`.
    pub(super) at: String,
    /// The same of who called there, as the stack lets one think.
    pub(super) caller: Option<String>,
}

/// Places that were looked up while their processes lived.
pub(super) struct Places {
    machine: Machine,
    found: BTreeMap<(u32, u64), Option<Place>>,
    /// By device and inode.
    objects: HashMap<(u64, u64), Object>,
}

/// A mapped file.
struct Object {
    file: File,
    symbols: Symbols,
}

/// A line of `/proc/PID/maps`.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    from: u64,
    to: u64,
    offset: u64,
    is_code: bool,
    path: &'a str,
}

/// An address in a mapped file.
struct Located {
    key: (u64, u64),
    offset: u64,
    file_name: String,
    function: Option<(String, u64)>,
}

impl Located {
    fn text(&self) -> String {
        match &self.function {
            Some((name, at)) => format!("{} {name}+{at:#x}", self.file_name),
            None => format!("{}+{:#x}", self.file_name, self.offset),
        }
    }
}

impl Places {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, found: BTreeMap::new(), objects: HashMap::new() }
    }

    /// Looks up what is new.
    pub(super) fn look(&mut self, sites: &[Site]) {
        for site in sites.iter().filter(|site| site.address != 0) {
            let key = (site.pid, site.address);
            if !self.found.contains_key(&key) && self.found.len() < PLACES_MAX {
                let place = self.place(site);
                self.found.insert(key, place);
            }
        }
    }

    /// How many were looked up.
    pub(super) fn n_looked_at(&self) -> usize {
        self.found.len()
    }

    /// The place of a call.
    pub(super) fn of(&self, site: &Site) -> Place {
        self.found.get(&(site.pid, site.address)).cloned().flatten().unwrap_or_else(|| {
            let at = format!(
                "{:#x} of process {}, whose memory map cannot be read",
                site.address, site.pid
            );
            Place { at, caller: None }
        })
    }

    fn place(&mut self, site: &Site) -> Option<Place> {
        let file = File::open(format!("/proc/{}/maps", site.pid)).ok()?;
        let text = palisade_base::read_bounded(file, "memory map", MAPS_BYTES_MAX).ok()?;
        let text = String::from_utf8_lossy(&text);
        let mappings: Vec<Mapping<'_>> = text.lines().filter_map(mapping).collect();
        let covering = |address: u64| {
            let next = mappings.partition_point(|mapping| mapping.from <= address);
            let mapping = mappings.get(next.checked_sub(1)?)?;
            (address < mapping.to).then_some(mapping)
        };
        let own = covering(site.address)?;
        let Some(at) = self.locate(site.pid, own, site.address) else {
            let path = if own.path.is_empty() { "memory without a file" } else { own.path };
            let at = format!("{path}+{:#x}", site.address - own.from);
            return Some(Place { at, caller: None });
        };
        let mut within = None;
        let mut from_outside = None;
        for word in &site.stack {
            let Some(mapping) = covering(*word).filter(|mapping| mapping.is_code) else { continue };
            let Some(located) = self.locate(site.pid, mapping, *word) else { continue };
            if !self.is_return_address(&located) {
                continue;
            }
            if located.key != at.key {
                from_outside = Some(located.text());
                break;
            }
            // A program without libraries calls itself, and one without symbols has no function
            // that could be told apart.
            let name = |located: &Located| located.function.as_ref().map(|(name, _)| name.clone());
            if within.is_none() && (at.function.is_none() || name(&located) != name(&at)) {
                within = Some(located.text());
            }
        }
        Some(Place { at: at.text(), caller: from_outside.or(within) })
    }

    fn locate(&mut self, pid: u32, mapping: &Mapping<'_>, address: u64) -> Option<Located> {
        let offset = address.checked_sub(mapping.from)?.checked_add(mapping.offset)?;
        // The kernel's own link to what is mapped: no path of the container is followed.
        let link = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.from, mapping.to);
        let found = std::fs::metadata(&link).ok().filter(std::fs::Metadata::is_file)?;
        let key = (found.dev(), found.ino());
        if !self.objects.contains_key(&key) {
            if self.objects.len() >= OBJECTS_MAX {
                self.objects.clear();
            }
            let file = File::open(&link).ok()?;
            let content = palisade_base::read_bounded(&file, "program", OBJECT_BYTES_MAX).ok();
            let symbols = content.and_then(|content| Symbols::parse(&content).ok());
            self.objects.insert(key, Object { file, symbols: symbols.unwrap_or_default() });
        }
        let function = self.objects.get(&key)?.symbols.function_at(offset);
        let function = function.map(|(name, at)| (name.to_string(), at));
        let file_name = mapping.path.rsplit('/').next().unwrap_or(mapping.path).to_string();
        Some(Located { key, offset, file_name, function })
    }

    fn is_return_address(&self, located: &Located) -> bool {
        let Some(object) = self.objects.get(&located.key) else { return false };
        let mut before = [0; CALL_BYTES];
        let n = located.offset.min(CALL_BYTES as u64);
        let Some(before) = usize::try_from(n).ok().and_then(|n| before.get_mut(..n)) else {
            return false;
        };
        object.file.read_exact_at(before, located.offset - n).is_ok()
            && follows_call(before, self.machine)
    }
}

/// Reads a line of `/proc/PID/maps`: `FROM-TO PERM OFFSET DEVICE INODE PATH`.
fn mapping(line: &str) -> Option<Mapping<'_>> {
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after.trim_start();
        word
    };
    let (range, permissions, offset, _device, _inode) = (word(), word(), word(), word(), word());
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (from, to) = range.split_once('-')?;
    let (from, to) = (number(from)?, number(to)?);
    let is_code = permissions.contains('x');
    (from < to).then_some(Mapping { from, to, offset: number(offset)?, is_code, path: rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_memory_map() {
        let check = |line: &str, expected: Option<(u64, u64, u64, bool, &str)>| {
            let found = mapping(line).map(|m| (m.from, m.to, m.offset, m.is_code, m.path));
            assert_eq!(found, expected, "{line}");
        };
        check(
            "7f10-7f30 r-xp 00000020 fe:00 1234                       /lib/a b.so (deleted)",
            Some((0x7f10, 0x7f30, 0x20, true, "/lib/a b.so (deleted)")),
        );
        check("7f10-7f30 rw-p 00000000 00:00 0", Some((0x7f10, 0x7f30, 0, false, "")));
        check("7f30-7f10 rw-p 00000000 00:00 0", None);
        check("x-y r", None);
        check("", None);
    }

    #[test]
    fn a_place_of_this_process_has_its_names() {
        let own = a_place_of_this_process_has_its_names as *const () as u64;
        let machine = Machine::parse(std::env::consts::ARCH).unwrap();
        let site = |pid, stack| Site {
            number: 0,
            arguments: [0; 2],
            address: own,
            n: 1,
            pid,
            comm: String::new(),
            stack,
        };
        let mut places = Places::new(machine);
        // The function's own beginning is no return address.
        let here = site(std::process::id(), vec![0, 1, own]);
        let gone = site(u32::MAX, vec![]);
        places.look(&[here.clone(), gone.clone()]);
        let place = places.of(&here);
        assert!(place.at.contains("a_place_of_this_process_has_its_names"), "{place:?}");
        assert_eq!(place.caller, None);
        assert!(places.of(&gone).at.ends_with("whose memory map cannot be read"));
    }
}
