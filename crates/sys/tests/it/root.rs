//! Tests against the real kernel, in groups and folders that they create themselves.

mod gate;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use palisade_sys::cgroup::{CgroupError, Group, Hierarchies};
use palisade_sys::idmap::IdMapping;
use palisade_sys::mount::{Overlay, mount_overlay, mounts_below};
use palisade_sys::namespace::in_private_mounts;

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A group of the test's own, removed at the end.
struct TestGroup(Group);

impl TestGroup {
    fn new(name: &str) -> Self {
        let path = format!("/palisade-test-{}-{name}", std::process::id());
        let group = Hierarchies::detect().unwrap().group(&path).unwrap();
        group.create().unwrap();
        Self(group)
    }
}

impl Drop for TestGroup {
    fn drop(&mut self) {
        let _ = self.0.thaw(DEADLINE);
        let _ = self.0.kill(DEADLINE);
        let _ = self.0.remove(DEADLINE);
    }
}

/// Starts a busy loop inside `folders`: the shell enters them itself, then counts.
fn busy(folders: &[&std::path::Path]) -> Child {
    let mut script = String::new();
    for folder in folders {
        use std::fmt::Write as _;
        let folder = folder.display();
        write!(script, "echo 0 2>/dev/null > {folder}/cgroup.procs; ").unwrap();
    }
    script.push_str("echo entered; while :; do :; done");
    let mut shell = Command::new("sh");
    let mut child = shell.arg("-c").arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "entered\n");
    child
}

/// Processor time used so far, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn freezes_thaws_and_kills(group: &Group, folders: &[&std::path::Path]) {
    let mut child = busy(folders);
    let pid = child.id();
    assert!(group.processes().unwrap().contains(&pid));
    let took = group.freeze(DEADLINE).unwrap();
    eprintln!("freeze took {} us", took.as_micros());
    assert!(group.is_frozen().unwrap());
    let frozen_at = ticks(pid);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ticks(pid), frozen_at, "a frozen process uses no processor");
    group.thaw(DEADLINE).unwrap();
    let end = Instant::now() + DEADLINE;
    while ticks(pid) == frozen_at {
        assert!(Instant::now() < end, "a thawed process goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Killing must work on a frozen group, or a stopped attacker could not be removed.
    group.freeze(DEADLINE).unwrap();
    group.kill(DEADLINE).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(group.processes().unwrap().is_empty());
}

#[test]
fn a_group_in_every_hierarchy_is_frozen_thawed_and_killed() {
    if !super::is_root() {
        return;
    }
    let group = TestGroup::new("all");
    freezes_thaws_and_kills(&group.0, &group.0.folders());
}

#[test]
fn a_group_whose_processes_are_only_in_version_1_is_frozen_too() {
    if !super::is_root() {
        return;
    }
    let group = TestGroup::new("v1");
    let Some(freezer) = group.0.controller("freezer") else {
        eprintln!("skipped: no version 1 freezer is mounted");
        return;
    };
    freezes_thaws_and_kills(&group.0, &[freezer]);
}

#[test]
fn children_below_are_killed_and_everything_is_removed() {
    if !super::is_root() {
        return;
    }
    let group = TestGroup::new("tree");
    let below = Hierarchies::detect().unwrap().group(&format!("{}/a/b", group.0.path())).unwrap();
    below.create().unwrap();
    let mut child = busy(&below.folders());
    group.0.kill(DEADLINE).unwrap();
    child.wait().unwrap();
    group.0.remove(DEADLINE).unwrap();
    assert!(!group.0.exists());
    // What is gone is an error that says so, not a success.
    assert!(matches!(group.0.freeze(DEADLINE), Err(CgroupError::Missing(_))));
    assert!(matches!(group.0.thaw(DEADLINE), Err(CgroupError::Missing(_))));
    group.0.remove(DEADLINE).unwrap();
}

/// Who may make groups below his own is not kept by their number from being frozen and killed.
#[test]
fn no_depth_and_no_number_of_groups_hides_from_freeze_and_kill() {
    if !super::is_root() {
        return;
    }
    let hierarchies = Hierarchies::detect().unwrap();
    let group = TestGroup::new("deep");
    let deep = hierarchies.group(&format!("{}{}", group.0.path(), "/d".repeat(40))).unwrap();
    deep.create().unwrap();
    // Only in one hierarchy, for each that there is, and in all.
    let mut cases = vec![deep.folders()];
    cases.extend(deep.controller("freezer").map(|folder| vec![folder]));
    cases.extend(deep.unified().map(|folder| vec![folder]));
    for folders in cases {
        freezes_thaws_and_kills(&group.0, &folders);
        // Or whoever enters next stands still at once.
        group.0.thaw(DEADLINE).unwrap();
    }
    let Some(unified) = group.0.unified() else {
        eprintln!("skipped: no unified hierarchy is mounted");
        return;
    };
    for i in 0..4_200 {
        std::fs::create_dir(unified.join(format!("wide-{i}"))).unwrap();
    }
    freezes_thaws_and_kills(&group.0, &[&unified.join("wide-4199")]);
    group.0.remove(DEADLINE).unwrap();
    assert!(!group.0.exists());
}

/// The list of a threaded group cannot be read; its domain has the processes.
#[test]
fn a_threaded_group_hides_nothing() {
    if !super::is_root() {
        return;
    }
    let group = TestGroup::new("threaded");
    let Some(unified) = group.0.unified() else {
        eprintln!("skipped: no unified hierarchy is mounted");
        return;
    };
    let threaded = unified.join("t");
    std::fs::create_dir(&threaded).unwrap();
    std::fs::write(threaded.join("cgroup.type"), "threaded").unwrap();
    freezes_thaws_and_kills(&group.0, &[unified]);
}

/// A container that froze a group of its own has processes that no thaw from above lets die.
#[test]
fn what_a_container_froze_itself_is_killed() {
    if !super::is_root() {
        return;
    }
    let group = TestGroup::new("self-frozen");
    let below = Hierarchies::detect().unwrap().group(&format!("{}/a", group.0.path())).unwrap();
    let Some(freezer) = below.controller("freezer") else {
        eprintln!("skipped: no version 1 freezer is mounted");
        return;
    };
    below.create().unwrap();
    let mut child = busy(&[freezer]);
    std::fs::write(freezer.join("freezer.state"), "FROZEN").unwrap();
    group.0.kill(DEADLINE).unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_group_tells_who_is_in_it() {
    if !super::is_root() {
        return;
    }
    let group = TestGroup::new("holds");
    let below = Hierarchies::detect().unwrap().group(&format!("{}/a", group.0.path())).unwrap();
    below.create().unwrap();
    let mut child = busy(&below.folders());
    assert!(group.0.holds(child.id()).unwrap() && below.holds(child.id()).unwrap());
    for pid in [1, std::process::id()] {
        assert!(!group.0.holds(pid).unwrap());
    }
    group.0.kill(DEADLINE).unwrap();
    child.wait().unwrap();
    assert!(!group.0.holds(child.id()).unwrap(), "one that is gone is nowhere");
}

#[test]
fn files_of_an_id_mapped_overlay_belong_to_the_range() {
    if !super::is_root() {
        return;
    }
    if !palisade_sys::facts::KernelRelease::running().at_least(5, 19) {
        eprintln!("skipped: overlay takes id-mapped layers since Linux 5.19");
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["layer", "lower", "upper", "work", "merged"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("layer").join("file"), "x").unwrap();
    std::os::unix::fs::chown(at("layer").join("file"), Some(33), Some(33)).unwrap();
    std::os::unix::fs::chown(at("upper"), Some(500_000_000), Some(500_000_000)).unwrap();
    let (root, file) = in_private_mounts(|| {
        let mapping = IdMapping::new(500_000_000, 65_536).unwrap();
        mapping.bind(&at("layer"), &at("lower")).unwrap();
        let overlay = Overlay {
            lowers: &[at("lower")],
            upper: &at("upper"),
            work: &at("work"),
            nosuid: true,
            user_xattrs: false,
            label: None,
        };
        mount_overlay(&overlay, &at("merged")).unwrap();
        assert_eq!(mounts_below(folder.path()).unwrap().len(), 2);
        let uid = |name: &str| std::fs::metadata(at("merged").join(name)).unwrap().uid();
        (uid("."), uid("file"))
    })
    .unwrap();
    assert_eq!((root, file), (500_000_000, 500_000_033));
    // Others mount things on this machine at the same time.
    assert!(mounts_below(folder.path()).unwrap().is_empty());
}
