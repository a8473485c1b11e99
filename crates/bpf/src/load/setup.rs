//! The steps of a load: settings, programs, tables, hooks.
//!
//! The layouts of the settings and tables are those of the C sources; a comment names each.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _};

use libbpf_rs::{Link, MapCore as _, MapFlags, MapType, Object, OpenObject, Program};

use super::{CGROUPS_MAX, CgroupFilter, LoadError, Options, map, opens};
use crate::interest::{CALLS, GENERIC_CALLS, Interest, class_of};
use crate::ring::{Promise, Ring};

/// Slots of the tables of handlers (`CALLS_MAX` in `probes/call.h`).
pub(crate) const CALLS_MAX: usize = 1024;
const RING_BYTES_MAX: u32 = 1 << 30;
/// The programs that judge records for enforcement, and the tables by which they are reached.
pub(super) const JUDGES: [(&str, &str); 2] =
    [("enforce_after_call", "judge_call"), ("enforce_after_exec", "judge_exec")];

pub(super) fn check(options: &Options) -> Result<(), LoadError> {
    for bytes in [options.bulk_ring_bytes, options.priority_ring_bytes] {
        if !bytes.is_power_of_two() || !(4096..=RING_BYTES_MAX).contains(&bytes) {
            return Err(LoadError::RingSize { bytes });
        }
    }
    if let CgroupFilter::AllBut(ids) | CgroupFilter::Only(ids) = &options.cgroups
        && ids.len() > CGROUPS_MAX
    {
        return Err(LoadError::TooManyCgroups { n: ids.len() });
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if kernel_version(&release).is_some_and(|version| version < (5, 8)) {
        return Err(LoadError::KernelTooOld { release: release.trim().into() });
    }
    if !options.btf.exists() {
        return Err(LoadError::NoBtf { path: options.btf.clone() });
    }
    Ok(())
}

/// Major and minor number of a kernel release: `6.18.44-fc` is (6, 18).
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Puts what libbpf printed into the error, and tells a refusal from a bug.
pub(super) fn classify(error: LoadError, log: String) -> LoadError {
    match error {
        LoadError::Verifier { source, .. }
            if source.kind() == libbpf_rs::ErrorKind::PermissionDenied =>
        {
            // The verifier's own "no" to a program is EACCES as well, but then it has written a
            // log. Of a long one only the end is kept, so that either of its two frames counts.
            if log.contains("PROG LOAD LOG --") {
                LoadError::Verifier { log, source }
            } else {
                LoadError::NoPermission(source)
            }
        }
        LoadError::Verifier { source, .. } => LoadError::Verifier { log, source },
        other => other,
    }
}

/// `struct settings` of `probes/record.h`: seven words.
pub(super) fn settings(options: &Options) -> [u32; 7] {
    use std::os::unix::fs::MetadataExt as _;
    // Who names the cgroups to watch has said who is a container's: for the filter of opens all are.
    let all_contained =
        matches!(options.cgroups, CgroupFilter::Only(_)) && !options.only_containers;
    let inode = |path: &str| {
        if all_contained {
            return 0;
        }
        std::fs::metadata(path).map_or(0, |found| found.ino() as u32)
    };
    [
        if options.exclude_self { std::process::id() } else { 0 },
        options.only_containers.into(),
        inode("/proc/1/ns/mnt"),
        inode("/proc/self/ns/mnt"),
        match options.cgroups {
            CgroupFilter::All => 0,
            CgroupFilter::AllBut(_) => 1,
            CgroupFilter::Only(_) => 2,
        },
        window_ns(options),
        if options.enforcement.is_some() { std::process::id() } else { 0 },
    ]
}

/// The window of wake-ups in nanoseconds, as the probes count it.
pub(super) fn window_ns(options: &Options) -> u32 {
    u32::try_from(options.wake_after.as_nanos()).unwrap_or(u32::MAX)
}

/// The programs that `interest` needs, with the events that each serves.
pub(crate) fn programs(interest: &Interest) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut programs: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    for call in CALLS.iter().filter(|call| interest.contains(call.name)) {
        programs.entry(call.program).or_default().push(call.name);
    }
    for call in GENERIC_CALLS.iter().filter(|call| interest.contains(call.name)) {
        programs.entry("call_generic").or_default().push(call.name);
    }
    if !programs.is_empty() {
        let events = programs.values().flatten().copied().collect();
        programs.insert("dispatch", events);
    }
    for (program, event) in [("on_exec", "execve"), ("on_fork", "clone"), ("on_exit", "procexit")] {
        if interest.contains(event) {
            programs.insert(program, vec![event]);
        }
    }
    programs
}

/// Prepares the opened object: the programs `wanted` are loaded, and the settings set.
pub(super) fn configure(
    object: &mut OpenObject,
    interest: &Interest,
    options: &Options,
    wanted: &BTreeSet<&'static str>,
) -> Result<(), LoadError> {
    for mut program in object.progs_mut() {
        let load = program.name().to_str().is_some_and(|name| wanted.contains(name));
        program.set_autoload(load);
    }
    for mut map in object.maps_mut() {
        let (name, set) = match map.name().to_str().unwrap_or_default() {
            "ring_bulk" => ("ring_bulk", map.set_max_entries(options.bulk_ring_bytes)),
            "ring_priority" => ("ring_priority", map.set_max_entries(options.priority_ring_bytes)),
            ".rodata.settings" => {
                let bytes: Vec<u8> =
                    settings(options).into_iter().flat_map(u32::to_ne_bytes).collect();
                ("settings", map.set_initial_value(&bytes))
            }
            ".rodata.path_class" => {
                let classes: Vec<u8> = (0..=u8::MAX).map(class_of).collect();
                ("path_class", map.set_initial_value(&classes))
            }
            "path_states" => {
                // The programs at the hooks do not look into the table.
                let is_used = wanted.iter().any(|name| name.starts_with("call_"));
                let n = if is_used { opens::capacity(&interest.opens) } else { 1 };
                ("path_states", map.set_max_entries(n))
            }
            ".rodata.generic" => ("generic", map.set_initial_value(&generic_codes())),
            name if name.starts_with("enforce_") => (
                "enforcement",
                match &options.enforcement {
                    // A constant makes all that names the map dead code.
                    None => map.set_autocreate(false),
                    Some(tables) => tables.fd(name).map_or(Ok(()), |fd| map.reuse_fd(fd)),
                },
            ),
            _ => continue,
        };
        set.map_err(|source| LoadError::Map { map: name, source })?;
    }
    Ok(())
}

/// `generic_codes` of `probes/calls.h`: the codes of native calls by number, then those of 32-bit
/// calls.
pub(super) fn generic_codes() -> Vec<u8> {
    let mut codes = vec![0_u16; 2 * CALLS_MAX];
    for call in &GENERIC_CALLS {
        let native = call.native.and_then(|number| usize::try_from(number).ok());
        let compat = compat_numbers(call.compat).map(|number| number as usize + CALLS_MAX);
        for slot in native.into_iter().chain(compat) {
            if let Some(code) = codes.get_mut(slot) {
                *code = call.code;
            }
        }
    }
    codes.into_iter().flat_map(u16::to_ne_bytes).collect()
}

/// The table holds the numbers of 32-bit x86; those of 32-bit Arm differ.
pub(crate) fn compat_numbers(numbers: &'static [u32]) -> impl Iterator<Item = u32> {
    numbers.iter().copied().filter(|_| cfg!(target_arch = "x86_64"))
}

/// The programs of `interest`'s calls with their native and their 32-bit numbers.
pub(super) fn numbers(
    interest: &Interest,
) -> impl Iterator<Item = (&'static str, Vec<u32>, Vec<u32>)> + '_ {
    let calls = CALLS.iter().filter(|call| interest.contains(call.name));
    let generic = GENERIC_CALLS.iter().filter(|call| interest.contains(call.name));
    calls
        .map(|call| (call.program, [call.native, call.x32], call.compat))
        .chain(generic.map(|call| ("call_generic", [call.native, None], call.compat)))
        .map(|(program, native, compat)| {
            let native =
                native.into_iter().flatten().filter_map(|number| u32::try_from(number).ok());
            (program, native.collect(), compat_numbers(compat).collect())
        })
}

/// Whether `program` judges records for enforcement.
pub(super) fn is_judge(program: &str) -> bool {
    JUDGES.iter().any(|(_, judge)| *judge == program)
}

/// Puts the programs that judge records where the probes look for them.
pub(super) fn fill_judges(object: &Object, options: &Options) -> Result<(), LoadError> {
    if options.enforcement.is_none() {
        return Ok(());
    }
    for (map, name) in JUDGES {
        let fd = program(object, name)?.as_fd().as_raw_fd().to_ne_bytes();
        update(object, map, &0_u32.to_ne_bytes(), &fd)?;
    }
    Ok(())
}

/// Fills the tables that all handlers share: control groups.
pub(super) fn fill_shared(object: &Object, options: &Options) -> Result<(), LoadError> {
    if let CgroupFilter::AllBut(ids) | CgroupFilter::Only(ids) = &options.cgroups {
        for id in ids {
            update(object, "cgroups_listed", &id.to_ne_bytes(), &[1])?;
        }
    }
    Ok(())
}

pub(super) fn update(
    object: &Object,
    name: &'static str,
    key: &[u8],
    value: &[u8],
) -> Result<(), LoadError> {
    let map = map(object, name).ok_or(LoadError::Object { part: name })?;
    map.update(key, value, MapFlags::ANY).map_err(|source| LoadError::Map { map: name, source })
}

pub(super) fn program<'a>(
    object: &'a Object,
    name: &'static str,
) -> Result<Program<'a>, LoadError> {
    object
        .progs()
        .find(|program| program.name() == OsStr::new(name))
        .ok_or(LoadError::Object { part: name })
}

pub(super) fn open_ring(
    object: &Object,
    name: &'static str,
    bytes: u32,
) -> Result<Ring, LoadError> {
    let map = map(object, name).ok_or(LoadError::Object { part: name })?;
    debug_assert_eq!(map.map_type(), MapType::RingBuf);
    Ring::open(map.as_fd(), bytes as usize).map_err(|source| LoadError::Ring { map: name, source })
}

pub(super) fn open_promise(object: &Object) -> Result<Promise, LoadError> {
    let name = ".data.reader";
    let map = map(object, name).ok_or(LoadError::Object { part: name })?;
    Promise::open(map.as_fd()).map_err(|source| LoadError::Ring { map: name, source })
}

/// Attaches the program `name`, which sits at a hook itself.
pub(super) fn attach(object: &Object, name: &'static str) -> Result<(Link, String), LoadError> {
    let hook = program(object, name)?.section().to_string_lossy().into_owned();
    let link = object
        .progs_mut()
        .find(|program| program.name() == OsStr::new(name))
        .ok_or(LoadError::Object { part: name })?
        .attach_trace()
        .map_err(|source| LoadError::Attach { program: name, source })?;
    Ok((link, hook))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sensor;
    use palisade_base::Explain as _;

    #[test]
    fn versions_are_compared_as_numbers() {
        let check =
            |release: &str, expected| assert_eq!(kernel_version(release), expected, "{release}");
        check("6.18.44-fc-v595", Some((6, 18)));
        check("5.10.0-33-amd64", Some((5, 10)));
        check("5.8-rc1", Some((5, 8)));
        check("", None);
        check("linux", None);
        assert!(kernel_version("5.10").unwrap() > (5, 8));
    }

    #[test]
    fn sizes_that_are_no_ring_are_refused() {
        let check = |bytes| {
            let options = Options { bulk_ring_bytes: bytes, ..Options::default() };
            let error = Sensor::load(&Interest::processes(), &options).unwrap_err();
            assert!(matches!(error, LoadError::RingSize { .. }), "{bytes}: {error}");
            assert!(error.hint().is_some());
        };
        [0, 1, 4095, 2048, 12_288, 1 << 31].into_iter().for_each(check);
    }

    #[test]
    fn a_kernel_without_type_information_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { btf: folder.path().join("vmlinux"), ..Options::default() };
        let error = Sensor::load(&Interest::processes(), &options).unwrap_err();
        assert!(matches!(&error, LoadError::NoBtf { path } if *path == options.btf), "{error}");
        assert!(error.to_string().contains("vmlinux"), "{error}");
        assert!(error.hint().unwrap().contains("CONFIG_DEBUG_INFO_BTF=y"));
    }

    #[test]
    fn a_refusal_of_the_verifier_is_no_lack_of_permission() {
        let denied = || LoadError::Verifier {
            log: String::new(),
            source: libbpf_rs::Error::from_raw_os_error(libc::EACCES),
        };
        let check = |log: &str, is_verifier: bool, verdict: Option<&str>| {
            let error = classify(denied(), log.into());
            assert_eq!(matches!(error, LoadError::Verifier { .. }), is_verifier, "{log}");
            assert_eq!(error.verdict(), verdict, "{log}");
        };
        check("", false, None);
        check("libbpf: cannot raise the limit\n", false, None);
        let end = "R2 invalid mem access 'scalar'\nprocessed 5 insns (limit 1000000)\n\
            -- END PROG LOAD LOG --\nlibbpf: failed to load object\n";
        let verdict = Some("R2 invalid mem access 'scalar'");
        check(&format!("-- BEGIN PROG LOAD LOG --\n0: R1=ctx()\n{end}"), true, verdict);
        // The beginning of a long log has been cut.
        check(end, true, verdict);
    }

    #[test]
    fn only_what_is_asked_for_is_loaded() {
        let mut interest = Interest::default();
        interest.add("procexit").unwrap();
        assert_eq!(programs(&interest).into_keys().collect::<Vec<_>>(), ["on_exit"]);
        interest.add("connect").unwrap();
        assert_eq!(
            programs(&interest).into_keys().collect::<Vec<_>>(),
            ["call_connect", "dispatch", "on_exit"]
        );
    }

    #[test]
    fn every_program_of_the_table_exists() {
        let source = concat!(
            include_str!("../../probes/files.h"),
            include_str!("../../probes/process.h"),
            include_str!("../../probes/network.h"),
            include_str!("../../probes/calls.h"),
        );
        for call in &CALLS {
            let name = call.program.strip_prefix("call_").unwrap();
            let frames = [format!("CALL({name})"), format!("CALL({name},")];
            assert!(frames.iter().any(|frame| source.contains(frame)), "{name}");
        }
    }
}
