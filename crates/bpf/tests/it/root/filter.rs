//! What is not asked for does not cross; what might be does.

use std::os::unix::fs::PermissionsExt as _;

use palisade_bpf::{
    CgroupFilter, Class, OpenClasses, OpenFilter, OpenTexts, OpenVerdicts, PathText,
};

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
fn opens_cross_by_class_and_text() {
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let file = |name: &str| root.join(name);
    let text = |name: &str| file(name).to_str().unwrap().to_owned();
    for name in ["secret", "secretly", "public", "lib.so", "some.conf"] {
        std::fs::write(file(name), "").unwrap();
    }
    std::fs::create_dir(file("not")).unwrap();
    std::os::unix::fs::symlink("secret", file("innocent")).unwrap();
    let mut texts = OpenTexts::default();
    texts.add_always(OpenClasses::WRITE | OpenClasses::KEPT);
    texts.add_text(PathText::start(text("secret")), OpenClasses::READ);
    texts.add_text(PathText::end(".so"), OpenClasses::READ & OpenClasses::DONE);
    texts.add_text(PathText::anywhere("conf"), OpenClasses::CONTAINED);
    texts.add_text(PathText::anywhere("not/../").as_written(), OpenClasses::READ);
    let mut interest = interest(&["openat"]);
    interest.opens = OpenFilter::Only(texts);
    let mut sensor = Sensor::load(&interest, &seeing_itself()).unwrap();

    let open_all = || {
        for name in ["public", "innocent", "secretly", "lib.so", "some.conf", "", "not/../public"] {
            drop(std::fs::File::open(file(name)));
        }
        for name in ["secret-missing", "public-missing", "missing.so"] {
            std::fs::File::open(file(name)).unwrap_err();
        }
        drop(std::fs::OpenOptions::new().append(true).open(file("public")).unwrap());
    };
    let seen = |sensor: &mut Sensor| -> Vec<String> {
        let written = |e: &Event| e.text(2) == text("public") && e.int(3) & 2 != 0;
        let events = collect(sensor, written);
        let path = |e: &Event| {
            e.text(2)
                .strip_prefix(root.to_str().unwrap())
                .map(|name| name.trim_start_matches('/').to_owned())
        };
        events.iter().filter_map(path).collect()
    };
    open_all();
    let expected = ["secret", "secretly", "lib.so", "", "public", "secret-missing", "public"];
    assert_eq!(seen(&mut sensor), expected);
    assert!(sensor.losses().of(Class::Open).n_filtered >= 4);

    // Another filter while the probes run, and none.
    let mut others = OpenTexts::default();
    others.add_text(PathText::whole(text("public")), OpenClasses::ALL);
    assert!(sensor.filter_opens(&OpenFilter::Only(others)).unwrap());
    open_all();
    assert_eq!(seen(&mut sensor), ["public", "public", "public"]);
    assert!(sensor.filter_opens(&OpenFilter::All).unwrap());
    open_all();
    assert_eq!(seen(&mut sensor).len(), 11);
}

#[test]
fn while_opens_are_filtered_calls_say_what_their_descriptor_is() {
    use std::os::fd::AsRawFd as _;

    use palisade_bpf::record::{FLAG_FD_FOLDER, FLAG_FD_NO_SOCKET};
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let file = std::fs::File::create(root.join("file")).unwrap();
    let mut interest = interest(&["openat", "dup", "dup2", "dup3", "fchmod", "fchown", "fchdir"]);
    interest.opens = OpenFilter::Only(OpenTexts::default());
    let mut sensor = Sensor::load(&interest, &seeing_itself()).unwrap();
    let mut check = |fd: i32, path: Option<&std::path::Path>, flags: u16| {
        // SAFETY: a copy of a descriptor is made and closed; no memory is touched.
        unsafe { libc::close(libc::dup(fd)) };
        let event = find(&mut sensor, |e| e.kind == DUP && e.int(1) == i64::from(fd));
        assert_eq!(event.flags & (FLAG_FD_FOLDER | FLAG_FD_NO_SOCKET), flags);
        let text = event.fd_path.map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(text.as_deref(), path.map(|path| path.to_str().unwrap()));
        assert_eq!(event.raw_path, None);
    };
    let at = |fd: &dyn std::os::fd::AsFd| fd.as_fd().as_raw_fd();
    check(at(&file), Some(&root.join("file")), FLAG_FD_NO_SOCKET);
    let open_folder = std::fs::File::open(&root).unwrap();
    check(at(&open_folder), Some(&root), FLAG_FD_NO_SOCKET | FLAG_FD_FOLDER);
    let (reader, _writer) = std::io::pipe().unwrap();
    check(at(&reader), None, FLAG_FD_NO_SOCKET);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    check(at(&socket), None, 0);
    std::fs::File::open(root.join("file"))
        .unwrap()
        .set_permissions(std::fs::Permissions::from_mode(0o600))
        .unwrap();
    let changed = find(&mut sensor, |e| {
        e.fd_path.as_deref() == Some(root.join("file").as_os_str().as_encoded_bytes())
            && e.kind != DUP
    });
    assert_eq!(changed.int(2), 0o600);
}

#[test]
fn the_kernel_judges_paths_as_the_model_does() {
    let Some(_alone) = root() else { return };
    // One whose random name has none of the letters that the texts are made of.
    let folder = std::iter::repeat_with(|| tempfile::tempdir().unwrap())
        .find(|folder| {
            !folder.path().to_str().unwrap().to_lowercase().contains(['a', 'b', 'c', 'd'])
        })
        .unwrap();
    let root = folder.path().canonicalize().unwrap();
    let mut texts = OpenTexts::default();
    texts.add_text(PathText::anywhere("ab"), OpenClasses::READ);
    texts.add_text(PathText::anywhere("bcd"), OpenClasses::READ);
    texts.add_text(PathText::end("/a"), OpenClasses::READ);
    texts.add_text(PathText::end("cda"), OpenClasses::READ);
    texts.add_text(PathText::start(root.join("dd").to_str().unwrap()), OpenClasses::READ);
    texts.add_text(PathText::whole(root.join("c").to_str().unwrap()), OpenClasses::READ);
    let filter = OpenFilter::Only(texts);
    let verdicts = OpenVerdicts::of(&filter);
    let mut interest = interest(&["openat"]);
    interest.opens = filter;
    let mut sensor = Sensor::load(&interest, &seeing_itself()).unwrap();

    // Every name of one to five of these letters.
    let mut names = vec![String::new()];
    for _ in 0..5 {
        let longer: Vec<String> = names
            .iter()
            .flat_map(|name| ["a", "b", "c", "d"].map(|letter| format!("{name}{letter}")))
            .collect();
        names.extend(longer);
        names.sort();
        names.dedup();
    }
    names.retain(|name| !name.is_empty());
    let class = OpenClasses::of_open(0, false, false, false);
    let mut expected = Vec::new();
    for name in &names {
        let path = root.join(name);
        std::fs::write(&path, "").unwrap();
        drop(std::fs::File::open(&path).unwrap());
        if verdicts.crosses(class, Some(path.as_os_str().as_encoded_bytes()), b"") {
            expected.push(path.to_str().unwrap().to_owned());
        }
    }
    // The last of them, once more, as a sign for the end.
    let last = expected.last().unwrap().clone();
    drop(std::fs::File::open(&last).unwrap());
    let mut n_last = 0;
    let mut seen = Vec::new();
    while n_last < 2 {
        for event in collect(&mut sensor, |e| e.text(2) == last) {
            if event.text(2).starts_with(root.to_str().unwrap()) {
                n_last += usize::from(event.text(2) == last);
                seen.push(event.text(2));
            }
        }
    }
    assert_eq!(seen.pop().as_ref(), Some(&last));
    assert_eq!(seen, expected);
    assert!(expected.len() > 100 && expected.len() < names.len() - 100, "{}", expected.len());
}

#[test]
fn the_kernel_judges_written_paths_of_every_length() {
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let root = root.to_str().unwrap();
    let mut texts = OpenTexts::default();
    texts.add_text(PathText::anywhere("../").as_written(), OpenClasses::READ);
    texts.add_text(PathText::anywhere("//").as_written(), OpenClasses::READ);
    let mut interest = interest(&["openat"]);
    interest.opens = OpenFilter::Only(texts);
    let mut sensor = Sensor::load(&interest, &seeing_itself()).unwrap();
    let open = |path: String| {
        // What stands behind the NUL is no part of the path.
        let bytes = [path.as_bytes(), b"\0//../"].concat();
        // SAFETY: the path ends in a NUL; the descriptor is closed at once.
        unsafe {
            let fd = libc::openat(libc::AT_FDCWD, bytes.as_ptr().cast(), libc::O_RDONLY);
            assert!(fd >= 0, "{path}");
            libc::close(fd);
        }
        path
    };
    let mut expected = Vec::new();
    for n in 1..100 {
        let name = "x".repeat(n);
        std::fs::create_dir(format!("{root}/{name}")).unwrap();
        std::fs::write(format!("{root}/{name}/f"), "").unwrap();
        open(format!("{root}/{name}/f"));
        expected.push(open(format!("{root}/{name}//f")));
        open(format!("{root}/{name}/./f"));
        expected.push(open(format!("{root}/{name}/../{name}/f")));
    }
    let last = expected.last().unwrap().clone();
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        for event in collect(&mut sensor, |e| e.raw_path.as_deref() == Some(last.as_bytes())) {
            let written = event.raw_path.map(|path| String::from_utf8(path).unwrap());
            seen.extend(written.filter(|path| path.starts_with(root)));
        }
    }
    assert_eq!(seen, expected);
}

#[test]
fn who_leaves_a_container_for_the_host_stays_a_containers() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(
        &["execve", "clone", "setns"],
        &Options { only_containers: true, ..Options::default() },
    );
    let own = std::process::id();
    let mounts = format!("--mount=/proc/{own}/ns/mnt");
    let inside = std::process::Command::new("unshare")
        .args(["-m", "nsenter", &mounts, "bash", "-c"])
        .arg("/bin/true escaped; /bin/true again")
        .status();
    assert!(inside.unwrap().success());
    assert!(std::process::Command::new("/bin/true").arg("on-the-host").status().unwrap().success());
    assert!(
        std::process::Command::new("unshare")
            .args(["-m", "/bin/true", "the-end"])
            .status()
            .unwrap()
            .success()
    );
    let events = collect(&mut sensor, |e| e.text(2) == "the-end");
    let seen = |argument: &str| events.iter().any(|e| e.kind == EXECVE && e.text(2) == argument);
    assert!(seen("escaped") && seen("again"));
    assert!(!seen("on-the-host"));
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
