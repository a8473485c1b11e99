//! Bad input of every kind: the documented exit code, one error with a remedy, nothing on
//! stdout, nothing half-written.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use palisade_base::Digest;
use serde_json::{Value, json};

use crate::layout::{self, Layer, Layout};
use crate::support::{self, Ended, finish, listing, mounts_of, palisade, run};

fn config() -> Value {
    json!({ "Cmd": ["/bin/hello"], "User": "33" })
}

fn hello() -> Layer {
    Layer::new().folder("bin/", 0o755).file("bin/hello", 0o755, "#!/bin/sh\n")
}

/// Images that lie, by name, with a part of the error that a reader of their content gets.
fn lying_images(folder: &Path) -> Vec<(&'static str, String, &'static str)> {
    let at = |name: &str| folder.join(name);
    let change = |name: &str, change: fn(&mut Vec<u8>)| {
        let image = layout::plain(&at(name));
        let path = image.blob(&image.layers[0]);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        image.target()
    };
    let lie = |name: &str, lie: fn(&mut Value)| {
        Layout::write_with(&at(name), vec![hello()], &config(), lie).target()
    };
    let gone = layout::plain(&at("gone"));
    std::fs::remove_file(gone.blob(&gone.layers[0])).unwrap();
    let other_content = Layout::write_packed(
        &at("diff"),
        vec![(layout::gzip(&[0; 1024]), Digest::of(b"x"))],
        &config(),
        |_| {},
    );
    let bomb = Layout::write_packed(
        &at("bomb"),
        vec![(layout::bomb().to_vec(), Digest::of(b"x"))],
        &config(),
        |_| {},
    );
    vec![
        (
            "truncated layer",
            change("cut", |bytes| bytes.truncate(bytes.len() - 40)),
            " bytes where its descriptor says ",
        ),
        ("empty layer", change("none", Vec::clear), " bytes where its descriptor says "),
        (
            "layer with bytes after its end",
            change("long", |bytes| bytes.extend(b"more")),
            " bytes where its descriptor says ",
        ),
        // Inside gzip's header, where it changes no content.
        ("layer of another digest", change("flip", |bytes| bytes[4] ^= 1), " has the digest "),
        ("missing layer", gone.target(), " is missing"),
        (
            "layer of a smaller size",
            lie("small", |manifest| manifest["layers"][0]["size"] = json!(10)),
            " bytes where its descriptor says 10",
        ),
        (
            "layer of a larger size",
            lie("large", |manifest| manifest["layers"][0]["size"] = json!(1_000_000)),
            " bytes where its descriptor says 1000000",
        ),
        (
            "layer that unpacks to something else",
            other_content.target(),
            " where the configuration says ",
        ),
        ("decompression bomb", bomb.target(), " decompresses to more than 200 times its size"),
    ]
}

/// Everything in the state folders but what successful commands leave as well: the
/// skeleton of folders, the ledger of ids, locks, kept policies, and what runtimes said.
fn state(folder: &Path) -> Vec<String> {
    let mut lines = listing(&folder.join("data"));
    lines.extend(listing(&folder.join("run")));
    let usual = |line: &String| {
        let line = line.strip_prefix(&*folder.to_string_lossy()).unwrap_or(line);
        ["/data/policies/", "/data/ids/", "/run/lock", "/run/names.lock", "/run/runtimes/"]
            .iter()
            .any(|part| line.starts_with(part))
            || [
                "/data/layers/",
                "/data/containers/",
                "/run/bundles/",
                "/run/containers/",
                "/run/runc/",
            ]
            .contains(&line)
    };
    lines.retain(|line| !usual(line));
    lines
}

/// A folder whose `run` is reachable by the root of a container.
fn reachable() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

#[test]
fn what_is_no_image_is_3_and_what_is_no_target_2() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::write(folder.path().join("file"), "hello").unwrap();
    std::fs::create_dir_all(folder.path().join("half")).unwrap();
    std::fs::write(folder.path().join("half/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .unwrap();
    layout::plain(&folder.path().join("image"));
    std::fs::create_dir_all(folder.path().join("json")).unwrap();
    for name in ["oci-layout", "index.json"] {
        std::fs::write(folder.path().join("json").join(name), "{\"schemaVersion\": [").unwrap();
    }
    let before = listing(folder.path());
    for (target, code, what) in [
        ("oci:nowhere", 3, "there is no `nowhere`"),
        ("archive:nowhere.tar", 3, "there is no `nowhere.tar`"),
        ("oci:empty", 3, "`empty` is not an OCI image layout"),
        ("oci:half", 3, "half"),
        ("oci:json", 3, "json"),
        ("oci:file", 3, "`file` is not an OCI image layout"),
        ("archive:file", 3, "read archive `file`"),
        ("archive:empty", 3, "empty"),
        ("oci:image:nosuchtag", 3, "nosuchtag"),
        ("./image", 2, "is a path; say what is there"),
        ("docker.io/library/Debian", 2, "is not the name of an image"),
        ("oci:", 2, "names nothing"),
    ] {
        for command in [&["scan"][..], &["sbom"], &["run"], &["run", "--explain"]] {
            let ended = run(folder.path(), &[command, &[target]].concat());
            eprintln!("{command:?} {target}");
            ended.expect_error(code, what);
        }
        assert_eq!(listing(folder.path()), before, "{target}");
    }
    run(folder.path(), &["scan", "dir:nowhere"]).expect_error(3, "nowhere");
    // A folder can be examined; it is no image to run.
    run(folder.path(), &["scan", "dir:empty"]).expect(0);
    run(folder.path(), &["run", "dir:empty"]).expect_error(2, "is no image");
}

#[test]
fn an_image_that_lies_is_not_read_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let images = lying_images(folder.path());
    let before = listing(folder.path());
    for (name, target, what) in images {
        for command in [&["scan", "--quiet"][..], &["sbom", "--output", "out.json"]] {
            eprintln!("{command:?} {name}");
            run(folder.path(), &[command, &[&target]].concat()).expect_error(3, what);
        }
        // A gate over it is not evaluated, so it is not passed either.
        let gate = ["scan", "--quiet", "--policy", "restricted", &target];
        run(folder.path(), &gate).expect_error(3, what);
        assert_eq!(listing(folder.path()), before, "{name}");
    }
}

#[test]
fn hostile_entries_are_found_and_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    for (name, layer, code, what) in [
        ("traversal", hello().file("../../evil", 0o644, "x"), 4, "path with `..`: ../../evil"),
        ("inner", hello().file("bin/../../evil", 0o644, "x"), 4, "path with `..`"),
        (
            "link",
            hello().link("out", "../../../../../tmp").file("out/evil", 0o644, "x"),
            4,
            "symbolic link that climbs above the root: out",
        ),
        ("hard", hello().hard_link("shadow", "../../etc/shadow"), 4, "shadow"),
        ("absolute", hello().file("/evil", 0o644, "x"), 0, "absolute path in a layer"),
    ] {
        let image = Layout::write(&folder.path().join(name), vec![layer], &config());
        let before = listing(folder.path());
        let ended = run(folder.path(), &["scan", &image.target()]).expect(code);
        assert!(ended.stdout.contains(what), "{name}: {}", ended.stdout);
        assert!(!ended.stdout.contains("root:x:"), "{name}: {}", ended.stdout);
        assert_eq!(listing(folder.path()), before, "{name}");
    }
    // A link out of the root is followed inside the image only.
    let layer = Layer::new()
        .link("etc/os-release", "../../../../../../etc/os-release")
        .link("var/lib/dpkg/status", "/../../../../../var/lib/dpkg/status");
    let image = Layout::write(&folder.path().join("release"), vec![layer], &config());
    let ended = run(folder.path(), &["scan", &image.target()]);
    assert!(ended.stdout.contains("no distribution recognised, 0 packages"), "{}", ended.stdout);
}

#[test]
fn a_policy_with_unknown_keys_is_2_with_every_place() {
    let folder = tempfile::tempdir().unwrap();
    layout::plain(&folder.path().join("image"));
    let policy =
        "version: 1\nname: bad\nimages:\n  verfiy: required\ncontainers:\n  capabilites: []\n";
    std::fs::write(folder.path().join("bad.yaml"), policy).unwrap();
    let before = listing(folder.path());
    for args in [
        &["scan", "--policy", "bad.yaml", "oci:image"][..],
        &["run", "--policy", "bad.yaml", "oci:image"],
        &["run", "--explain", "--policy", "bad.yaml", "oci:image"],
        &["verify", "--policy", "bad.yaml", "oci:image"],
        &["watch", "--policy", "bad.yaml", "--duration", "1"],
        &["policy", "check", "bad.yaml"],
    ] {
        let ended = run(folder.path(), args);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{args:?}: {}", ended.stderr);
        for expected in ["bad.yaml:4:3", "`verify`", "bad.yaml:6:3", "`capabilities`"] {
            assert!(ended.stderr.contains(expected), "{args:?}: {}", ended.stderr);
        }
    }
    run(folder.path(), &["scan", "--policy", "no.yaml", "oci:image"]).expect_error(2, "no.yaml");
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn a_bad_rule_file_is_2_and_watches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bad.yaml"),
        "- rule: Bad\n  desc: x\n  condition: evt.type = execve and nosuch.field = 1\n  output: x\n  priority: NOTICE\n",
    )
    .unwrap();
    let before = listing(folder.path());
    let ended = run(folder.path(), &["watch", "--rules", "bad.yaml", "--duration", "1"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("nosuch.field"), "{}", ended.stderr);
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn a_corrupt_advisory_database_is_3_and_never_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    layout::plain(&folder.path().join("image"));
    crate::scan_sbom::build_database(folder.path()).expect(0);
    let path = folder.path().join("data/advisories.db");
    let whole = std::fs::read(&path).unwrap();
    let cut = whole[..whole.len() / 2].to_vec();
    let mut header = whole.clone();
    header[0] ^= 0xff;
    let mut middle = whole.clone();
    let at = middle.len() / 2;
    middle[at] ^= 0xff;
    for (name, bytes) in [
        ("cut", cut),
        ("header", header),
        ("middle", middle),
        ("empty", Vec::new()),
        ("text", b"hello".to_vec()),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let before = listing(folder.path());
        eprintln!("{name}");
        run(folder.path(), &["db", "status"]).expect_error(3, "advisories.db");
        run(folder.path(), &["scan", "--quiet", "oci:image"]).expect_error(3, "advisories.db");
        let gate = ["scan", "--quiet", "--policy", "restricted", "oci:image"];
        run(folder.path(), &gate).expect_error(3, "advisories.db");
        assert_eq!(listing(folder.path()), before, "{name}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_2() {
    let folder = tempfile::tempdir().unwrap();
    layout::plain(&folder.path().join("image"));
    run(folder.path(), &["sign", "--generate-key", "k"]).expect(0);
    let key = std::fs::read(folder.path().join("k.key")).unwrap();
    let write = |name: &str, bytes: &[u8], mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("exposed.key", &key, 0o644);
    write("text.key", b"hello", 0o600);
    write("cut.key", &key[..key.len() / 2], 0o600);
    write("text.pub", b"hello", 0o644);
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let before = listing(folder.path());
    for (key, what) in [
        ("no.key", "no.key"),
        ("exposed.key", "mode 0644"),
        ("text.key", ""),
        ("cut.key", ""),
        ("folder", "folder"),
        ("k.pub", ""),
    ] {
        eprintln!("{key}");
        run(folder.path(), &["sign", "--key", key, "oci:image"]).expect_error(2, what);
    }
    for (key, what) in [("no.pub", "no.pub"), ("text.pub", ""), ("folder", "folder"), ("k.key", "")]
    {
        eprintln!("{key}");
        run(folder.path(), &["verify", "--key", key, "oci:image"]).expect_error(2, what);
    }
    run(folder.path(), &["sign", "oci:image"]).expect_error(2, "no key given");
    run(folder.path(), &["verify", "oci:image"])
        .expect_error(2, "no public key and no identity given");
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn what_is_no_evidence_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["sign", "--generate-key", "k"]).expect(0);
    std::fs::write(folder.path().join("text"), "hello ".repeat(500)).unwrap();
    std::fs::write(folder.path().join("empty"), "").unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name(folder.path().join("text"), "../../text").unwrap_err();
    tar.append_path_with_name(folder.path().join("text"), "text").unwrap();
    std::fs::write(folder.path().join("other.tar"), tar.into_inner().unwrap()).unwrap();
    let before = listing(folder.path());
    for (bundle, code) in
        [("text", 1), ("empty", 1), ("other.tar", 1), ("folder", 3), ("nowhere", 3)]
    {
        for args in [
            &["evidence", "verify", "--key", "k.pub", bundle][..],
            &["evidence", "list", "--key", "k.pub", bundle],
            &["evidence", "extract", "--key", "k.pub", bundle, "out"],
        ] {
            eprintln!("{args:?}");
            run(folder.path(), args).expect_error(code, "");
        }
    }
    assert_eq!(listing(folder.path()), before);
    // Without a key nobody can say whether it is genuine.
    run(folder.path(), &["evidence", "verify", "other.tar"]).expect_error(2, "evidence.pub");
}

#[test]
fn a_container_or_incident_that_is_not_there_is_3() {
    let folder = reachable();
    let path = folder.path();
    run(path, &["respond", "show"]).expect_error(3, "there is no incident");
    run(path, &["respond", "close", "nosuch"]).expect_error(3, "nosuch");
    run(path, &["respond", "report", "--html", "r.html"]).expect_error(3, "there is no incident");
    for action in ["freeze", "isolate", "release", "kill"] {
        run(path, &["respond", action, "nosuch"]).expect_error(3, "no container `nosuch`");
    }
    run(path, &["respond", "collect", "--output", "e.tar", "nosuch"]).expect_error(3, "nosuch");
    assert_eq!(run(path, &["respond", "list", "--format", "tsv"]).expect(0).stdout, "");
    assert_eq!(run(path, &["respond", "alerts", "--format", "tsv"]).expect(0).stdout, "");
    assert!(!path.join("r.html").exists() && !path.join("e.tar").exists());
}

#[test]
fn without_root_nothing_is_begun_that_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    layout::plain(&folder.path().join("image"));
    // The build folder may be one that others cannot enter.
    let program = folder.path().join("palisade");
    std::fs::copy(env!("CARGO_BIN_EXE_palisade"), &program).unwrap();
    let as_nobody = |args: &[&str]| -> Ended {
        let mut command = support::program(&program, folder.path());
        command.args(args);
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        finish(command)
    };
    let before = listing(folder.path());
    for args in
        [&["watch", "--duration", "1"][..], &["watch", "--respond", "on", "--duration", "1"]]
    {
        eprintln!("{args:?}");
        as_nobody(args).expect_error(3, "root");
        assert_eq!(listing(folder.path()), before, "{args:?}");
    }
    // Who has no range of ids is told which line is missing.
    for args in [&["run", "oci:image"][..], &["run", "--detach", "oci:image"]] {
        as_nobody(args).expect_error(3, "/etc/subuid");
    }
    as_nobody(&["exec", "x", "--", "id"]).expect_error(3, "no container");
    // What needs no root works without.
    as_nobody(&["ps"]).expect(0);
    as_nobody(&["stop", "--all"]).expect(0);
    as_nobody(&["scan", "oci:image"]).expect(0);
    as_nobody(&["sbom", "oci:image"]).expect(0);
    as_nobody(&["sign", "--generate-key", "k"]).expect(0);
    as_nobody(&["sign", "--key", "k.key", "oci:image"]);
    let code = as_nobody(&["doctor"]).code;
    assert!(matches!(code, 0 | 4), "{code}");
}

mod root {
    use super::*;
    use crate::root::{alone, is_root};

    #[test]
    fn an_image_that_lies_never_becomes_a_container() {
        if !is_root() {
            return;
        }
        let _alone = alone();
        let folder = reachable();
        let mut images = lying_images(folder.path());
        for (name, layer, what) in [
            ("traversal", hello().file("../../evil", 0o644, "x"), "hostile entry `../../evil`"),
            (
                "through a link",
                hello().link("out", "../../../../../tmp").file("out/evil", 0o644, "x"),
                "path below a link or file of the same layer",
            ),
            (
                "hard link",
                hello().hard_link("shadow", "../../etc/shadow"),
                "hostile entry `shadow`",
            ),
        ] {
            let image = Layout::write(&folder.path().join(name), vec![layer], &config());
            images.push((name, image.target(), what));
        }
        // The folders that every run makes.
        run(folder.path(), &["ps"]).expect(0);
        let before = state(folder.path());
        for (name, target, what) in &images {
            for args in
                [&["run", "--name", "liar", target.as_str()][..], &["run", "--explain", target]]
            {
                eprintln!("{name} {args:?}");
                run(folder.path(), args).expect_error(3, what);
                assert_eq!(state(folder.path()), before, "{name}");
                assert_eq!(mounts_of(folder.path()), Vec::<String>::new(), "{name}");
                assert_eq!(run(folder.path(), &["ps", "--format", "tsv"]).expect(0).stdout, "");
            }
        }
        assert!(!folder.path().join("evil").exists() && !Path::new("/tmp/evil").exists());
    }

    #[test]
    fn a_missing_or_foreign_runtime_is_3_before_anything_is_begun() {
        if !is_root() {
            return;
        }
        let folder = reachable();
        layout::plain(&folder.path().join("image"));
        crate::support::write_script(
            &folder.path().join("fake"),
            "#!/bin/sh\necho something 9.9\n",
        );
        let before = listing(folder.path());
        for (runtime, what) in [
            ("/nonexistent", "no OCI runtime found (/nonexistent)"),
            ("./fake", "does not say a version"),
        ] {
            for extra in [&[][..], &["--detach"], &["--explain"]] {
                let args = [&["run", "--runtime", runtime][..], extra, &["oci:image"]].concat();
                eprintln!("{args:?}");
                run(folder.path(), &args).expect_error(3, what);
                assert_eq!(listing(folder.path()), before, "{args:?}");
            }
        }
        // The caller's PATH is not where root's programs come from.
        std::fs::rename(folder.path().join("fake"), folder.path().join("runc")).unwrap();
        let mut command = palisade(folder.path());
        command.env("PATH", folder.path()).args(["ps"]);
        finish(command).expect(0);
    }

    #[test]
    fn state_that_a_container_cannot_reach_is_3() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder.path(), private).unwrap();
        layout::plain(&folder.path().join("image"));
        run(folder.path(), &["run", "oci:image"])
            .expect_error(3, "cannot be searched by other users");
        assert_eq!(mounts_of(folder.path()), Vec::<String>::new());
    }
}
