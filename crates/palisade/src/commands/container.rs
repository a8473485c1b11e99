//! Running containers of any engine as targets: found by the control groups of their
//! processes and by what engines keep of them, seen through a process's own root.

use std::collections::{BTreeMap, HashMap};

use palisade_image::{Image, OpenOptions, Stores};
use palisade_model::Target;
use palisade_sensor::identity::{Facts, HostPaths, Resolver};

use super::Context;
use crate::exit::{Exit, Failure, OrExit as _};

/// Processes that are looked at.
const PROCESSES_MAX: usize = 1 << 20;
/// Longest `/proc/PID/cgroup`.
const CGROUP_BYTES_MAX: u64 = 64 << 10;
/// Containers named in an error.
const NAMED_MAX: usize = 12;

/// Opens the files of the container that `name` names: its name, its id, or the beginning of
/// that.
pub(crate) fn open(
    context: &Context<'_>,
    name: &str,
    target: &Target,
    options: &OpenOptions,
) -> Result<Image, Failure> {
    let (facts, pid) = find(context, name, &options.stores)?;
    let root = Target::Folder(format!("/proc/{pid}/root").into());
    let mut image = Image::open(&root, options).or_exit(Exit::Incomplete)?;
    image.target = target.clone();
    image.reference = Some(facts.image).filter(|image| !image.is_empty());
    Ok(image)
}

/// The running container that `name` names, and its first process.
pub(crate) fn find(
    context: &Context<'_>,
    name: &str,
    stores: &Stores,
) -> Result<(Facts, u32), Failure> {
    let containers = running(context, stores);
    let exact = containers.iter().filter(|(_, (facts, _))| {
        facts.full_id == name || facts.container.name == name || facts.id == name
    });
    let mut found: Vec<_> = exact.collect();
    if found.is_empty() && name.len() >= 2 {
        found = containers.iter().filter(|(id, _)| id.starts_with(name)).collect();
    }
    let known = |list: &mut dyn Iterator<Item = &(Facts, u32)>| {
        let shown = |facts: &Facts| match facts.container.name.as_str() {
            "" => facts.id.clone(),
            name => format!("{name} ({})", facts.id),
        };
        list.take(NAMED_MAX).map(|(facts, _)| shown(facts)).collect::<Vec<_>>().join(", ")
    };
    match found[..] {
        [(_, found)] => Ok(found.clone()),
        [] => {
            let hint = match known(&mut containers.values()) {
                running if running.is_empty() => {
                    "no container runs here that this user can see; run as root".to_string()
                }
                running => format!("running: {running}"),
            };
            Err(Failure::message(Exit::Incomplete, format!("no container `{name}` is running"))
                .with_hint(hint))
        }
        _ => {
            let several = known(&mut found.iter().map(|(_, one)| *one));
            Err(Failure::message(Exit::Usage, format!("`{name}` names several containers"))
                .with_hint(format!("name one of: {several}")))
        }
    }
}

/// The process that stands for a container: the one that its record calls the first, if that is
/// one of its processes, otherwise the one that has run the longest. Numbers say nothing of age:
/// they begin anew when all were given.
pub(super) fn first_of(recorded: Option<u32>, processes: &[(u32, u64)]) -> Option<u32> {
    let is_recorded = |(pid, _): &&(u32, u64)| Some(*pid) == recorded;
    let oldest = || processes.iter().min_by_key(|(pid, ticks)| (ticks, pid));
    processes.iter().find(is_recorded).or_else(oldest).map(|(pid, _)| *pid)
}

/// The running containers by their ids, each with its first process, or the oldest that we see.
pub(super) fn running(context: &Context<'_>, stores: &Stores) -> BTreeMap<String, (Facts, u32)> {
    let palisade_containers = context.global.run_dir.join("containers");
    let mut paths = HostPaths { palisade_containers, ..HostPaths::default() };
    if let Some(root) = stores.docker.first() {
        paths.docker_containers = root.join("containers");
    }
    if let Some(root) = stores.podman.first() {
        paths.podman_lists = HostPaths::podman_lists_of(root);
    }
    let pids: Vec<u32> = std::fs::read_dir(&paths.proc)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .take(PROCESSES_MAX)
        .collect();
    // Processes of one group are of one container.
    let mut groups: HashMap<Vec<u8>, Option<String>> = HashMap::new();
    let mut containers: BTreeMap<String, (Facts, Vec<(u32, u64)>)> = BTreeMap::new();
    for pid in pids {
        let group = std::fs::File::open(paths.proc.join(format!("{pid}/cgroup")))
            .and_then(|file| palisade_base::read_bounded(file, "control groups", CGROUP_BYTES_MAX));
        let Ok(group) = group else { continue };
        let id = groups.entry(group).or_insert_with(|| {
            // A resolver remembers by ids of groups, which we do not know here.
            let mut resolver = Resolver::new(paths.clone());
            let facts = resolver.resolve(0, &[], i64::from(pid), 0)?;
            if facts.is_host() {
                return None;
            }
            let id = facts.full_id.clone();
            containers.entry(id.clone()).or_insert_with(|| ((*facts).clone(), Vec::new()));
            Some(id)
        });
        let known = id.as_ref().and_then(|id| containers.get_mut(id));
        // One that has ended meanwhile stands for nothing.
        if let (Some((_, processes)), Some(ticks)) =
            (known, palisade_sys::process::start_ticks(pid))
        {
            processes.push((pid, ticks));
        }
    }
    let first = |(id, (facts, processes)): (String, (Facts, Vec<(u32, u64)>))| {
        let pid = first_of(facts.container.init_pid, &processes)?;
        Some((id, (facts, pid)))
    };
    containers.into_iter().filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_is_the_recorded_or_the_oldest() {
        let check = |recorded: Option<u32>, processes: &[(u32, u64)], expected: Option<u32>| {
            assert_eq!(first_of(recorded, processes), expected, "{recorded:?} {processes:?}");
        };
        check(None, &[], None);
        check(Some(7), &[], None);
        check(None, &[(40, 900), (41, 901)], Some(40));
        // The numbers were given out, and began anew.
        check(None, &[(300, 950), (4_194_000, 900), (12, 990)], Some(4_194_000));
        check(None, &[(9, 900), (8, 900)], Some(8));
        check(Some(41), &[(40, 900), (41, 901)], Some(41));
        // A record of what is gone, whose number nobody has, or another's process.
        check(Some(7), &[(41, 901), (40, 900)], Some(40));
    }
}
