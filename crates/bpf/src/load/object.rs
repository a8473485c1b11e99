//! The object file on its way into the kernel, as a whole or in parts.
//!
//! It is loaded in two parts that share their maps: the programs that sit at hooks, once; and
//! the handlers of calls, again whenever other calls are asked for. A program that the kernel
//! refuses is left out, and said.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};

use libbpf_rs::{MapCore as _, Object, ObjectBuilder, OpenObject};

use super::{BTF_PATH, LoadError, Options, setup};
use crate::interest::Interest;
use crate::libbpf_log;

/// The compiled probes, aligned as libbpf's reader of ELF files wants them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/sensor.bpf.o")));

/// Maps of which each set of handlers has its own, beside the read-only ones: what they filter
/// by must be theirs, so that old and new ones can stand side by side.
const OWN_MAPS: [&str; 2] = ["path_states", ".data.open_filter"];

/// Whether handlers share the map `name` with the programs at the hooks.
pub(super) fn is_shared(name: &str) -> bool {
    !name.contains(".rodata") && !OWN_MAPS.contains(&name)
}

/// A program that this kernel refuses.
#[derive(Debug)]
pub struct Refusal {
    /// The program: `call_openat`.
    pub program: &'static str,
    /// The events that are not seen without it.
    pub events: Vec<&'static str>,
    /// Why.
    pub error: LoadError,
}

impl Refusal {
    /// The reason in one line: the verifier's verdict where there is one.
    pub fn reason(&self) -> String {
        match (&self.error, self.error.verdict()) {
            (_, Some(verdict)) => format!("the kernel's verifier refuses it: {verdict}"),
            (LoadError::Verifier { source, .. }, None) => {
                format!("the kernel refuses it: {source}")
            }
            (LoadError::Attach { source, .. }, None) => format!("its hook is refused: {source}"),
            (other, None) => other.to_string(),
        }
    }
}

/// Maps that are in the kernel already, by name.
pub(super) type Maps = BTreeMap<String, OwnedFd>;

/// Duplicates of the descriptors of the maps that handlers share.
pub(super) fn shared_maps(object: &Object) -> Result<Maps, LoadError> {
    let mut maps = Maps::new();
    for map in object.maps() {
        let name = map.name().to_string_lossy().into_owned();
        if is_shared(&name) {
            let fd = map
                .as_fd()
                .try_clone_to_owned()
                .map_err(|source| LoadError::Map { map: "shared maps", source: source.into() })?;
            maps.insert(name, fd);
        }
    }
    Ok(maps)
}

/// Loads the programs of `wanted` (each with the events that it serves), those apart that the
/// kernel refuses. `maps` are taken instead of new ones.
///
/// An error is one that concerns them all.
pub(super) fn load(
    interest: &Interest,
    options: &Options,
    wanted: &BTreeMap<&'static str, Vec<&'static str>>,
    maps: &Maps,
) -> Result<(Object, Vec<Refusal>), LoadError> {
    let mut names: BTreeSet<&'static str> = wanted.keys().copied().collect();
    let mut refusals = Vec::new();
    loop {
        let (result, log) = libbpf_log::capture(|| load_once(interest, options, &names, maps));
        let error = match result {
            Ok(object) => return Ok((object, refusals)),
            Err(error) => setup::classify(error, log),
        };
        // Each round leaves out one more, so there is an end to it.
        let culprit = match &error {
            LoadError::Verifier { log, .. } => named_last(log, &names),
            _ => None,
        };
        let Some(program) = culprit else { return Err(error) };
        names.remove(program);
        let events = wanted.get(program).cloned().unwrap_or_default();
        refusals.push(Refusal { program, events, error });
    }
}

fn load_once(
    interest: &Interest,
    options: &Options,
    names: &BTreeSet<&'static str>,
    maps: &Maps,
) -> Result<Object, LoadError> {
    let refused = |source| LoadError::Verifier { log: String::new(), source };
    let mut object = open(options).map_err(refused)?;
    // Settings first: those of a map that exists cannot be changed.
    setup::configure(&mut object, interest, options, names)?;
    for mut map in object.maps_mut() {
        if let Some(fd) = map.name().to_str().and_then(|name| maps.get(name)) {
            map.reuse_fd(fd.as_fd())
                .map_err(|source| LoadError::Map { map: "shared maps", source })?;
        }
    }
    object.load().map_err(refused)
}

fn open(options: &Options) -> libbpf_rs::Result<OpenObject> {
    let mut builder = ObjectBuilder::default();
    let mut builder = builder.name("palisade")?;
    if options.btf.as_os_str() != BTF_PATH {
        // Otherwise libbpf looks there by itself, and keeps what it has read.
        builder = builder.btf_custom_path(&options.btf)?;
    }
    builder.open_memory(&OBJECT.0)
}

/// The program of `names` that libbpf spoke of last (`libbpf: prog 'NAME': …`): the one at which
/// it gave up.
fn named_last(log: &str, names: &BTreeSet<&'static str>) -> Option<&'static str> {
    let mut named = log.rmatch_indices("prog '").filter_map(|(at, mark)| {
        let rest = &log[at + mark.len()..];
        rest.split_once('\'').and_then(|(name, _)| names.get(name).copied())
    });
    named.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_program_is_read_from_the_log() {
        let names = BTreeSet::from(["call_openat", "call_connect"]);
        let check = |log: &str, expected| assert_eq!(named_last(log, &names), expected, "{log}");
        check(
            "libbpf: prog 'call_connect': BPF program load failed: -EINVAL\n\
             libbpf: prog 'call_openat': -- BEGIN PROG LOAD LOG --\n0: R1=ctx()\n\
             -- END PROG LOAD LOG --\nlibbpf: prog 'call_openat': failed to load: -22\n\
             libbpf: failed to load object 'palisade'\n",
            Some("call_openat"),
        );
        // Not one that was to be loaded; not a name at all.
        check("libbpf: prog 'call_connect': x\nlibbpf: prog 'other': failed", Some("call_connect"));
        check("libbpf: prog 'call_conn", None);
        check("", None);
    }

    #[test]
    fn filters_are_each_sets_own_and_state_is_everybodys() {
        for (name, expected) in [
            ("ring_bulk", true),
            ("counters", true),
            ("handlers", true),
            (".data.asked_for", true),
            ("palisade.bss", true),
            ("path_states", false),
            (".data.open_filter", false),
            (".data.environment", true),
            (".data.reader", true),
            (".rodata.settings", false),
            ("palisade.rodata", false),
        ] {
            assert_eq!(is_shared(name), expected, "{name}");
        }
    }
}
