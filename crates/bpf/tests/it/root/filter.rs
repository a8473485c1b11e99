//! What is not asked for does not cross; what might be does.

use palisade_bpf::{CgroupFilter, Class, OpenFilter};

use super::*;

#[test]
fn the_sensor_does_not_see_its_own_process() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["openat"], &Options::default());
    drop(std::fs::File::open("/etc/hostname").unwrap());
    std::process::Command::new("cat").arg("/etc/hostname").output().unwrap();
    let events = collect(&mut sensor, |e| e.text(2) == "/etc/hostname");
    assert!(events.iter().all(|e| e.tgid != std::process::id()));
}

#[test]
fn reads_outside_the_prefixes_stay_below() {
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let file = |name: &str| root.join(name);
    for name in ["secret", "secretly", "public"] {
        std::fs::write(file(name), "").unwrap();
    }
    std::os::unix::fs::symlink("secret", file("innocent")).unwrap();
    let mut interest = interest(&["openat"]);
    interest.opens = OpenFilter::WritesAndPrefixes(vec![file("secret").to_str().unwrap().into()]);
    let mut sensor = Sensor::load(&interest, &seeing_itself()).unwrap();

    drop(std::fs::File::open(file("public")).unwrap());
    drop(std::fs::File::open(file("innocent")).unwrap());
    drop(std::fs::File::open(file("secretly")).unwrap());
    std::fs::File::open(file("secret-missing")).unwrap_err();
    std::fs::File::open(file("public-missing")).unwrap_err();
    drop(std::fs::OpenOptions::new().append(true).open(file("public")).unwrap());
    let written = |e: &Event| e.text(2) == file("public").to_str().unwrap();
    let events = collect(&mut sensor, written);
    let names: Vec<String> = events
        .iter()
        .filter_map(|e| e.text(2).strip_prefix(&format!("{}/", root.display())).map(str::to_owned))
        .collect();
    assert_eq!(names, ["secret", "secretly", "secret-missing", "public"]);
    assert_ne!(events.iter().find(|e| written(e)).unwrap().int(3) & 2, 0, "the one that writes");
    assert!(sensor.losses().of(Class::Open).n_filtered >= 2);
}

#[test]
fn cgroups_are_filtered_both_ways() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("filter");
    let check = |filter: CgroupFilter, inside: bool| {
        let options = Options { cgroups: filter, ..Options::default() };
        let mut sensor = load(&["execve"], &options);
        assert!(cgroup.run("exec /bin/true inside"));
        assert!(std::process::Command::new("/bin/true").arg("outside").status().unwrap().success());
        if inside {
            let exec = find(&mut sensor, |e| e.text(2) == "inside");
            assert_eq!(exec.cgroup_id, cgroup.id());
            let name = cgroup.0.file_name().unwrap().to_str().unwrap();
            assert!(exec.text(14).contains(&format!("unified=/{name}")), "{}", exec.text(14));
        } else {
            let events = collect(&mut sensor, |e| e.text(2) == "outside");
            assert!(events.iter().all(|e| e.text(2) != "inside"));
        }
    };
    check(CgroupFilter::Only(vec![cgroup.id()]), true);
    check(CgroupFilter::AllBut(vec![cgroup.id()]), false);
    check(CgroupFilter::All, true);

    let sensor = load(
        &["execve"],
        &Options { cgroups: CgroupFilter::Only(Vec::new()), ..Options::default() },
    );
    sensor.list_cgroup(cgroup.id()).unwrap();
    assert!(cgroup.run("exec /bin/true listed"));
    sensor.unlist_cgroup(cgroup.id());
    assert!(cgroup.run("exec /bin/true unlisted"));
    let mut sensor = sensor;
    let events = collect(&mut sensor, |e| e.text(2) == "listed");
    assert!(events.iter().all(|e| e.text(2) != "unlisted"));
}

#[test]
fn only_containers_leaves_the_host_out() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["execve"], &Options { only_containers: true, ..Options::default() });
    assert!(std::process::Command::new("/bin/true").arg("on-the-host").status().unwrap().success());
    let inside = std::process::Command::new("unshare")
        .args(["-mpf", "/bin/true", "in-a-container"])
        .status();
    assert!(inside.unwrap().success());
    let events = collect(&mut sensor, |e| e.text(2) == "in-a-container");
    assert!(events.iter().all(|e| e.text(2) != "on-the-host"));
    let exec = events.iter().find(|e| e.text(2) == "in-a-container").unwrap();
    assert_ne!(exec.flags & palisade_bpf::record::FLAG_NESTED_PIDNS, 0);
    assert_eq!(exec.int(17), 0, "the process group has no number in the new namespace");
}
