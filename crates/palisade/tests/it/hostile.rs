//! Hostile images, one after the other, through the real program: what is refused ends with 3,
//! what is left out is named and ends with 4, and nothing of it is ever called clean.

use std::io::Write as _;
use std::path::Path;

use palisade_base::Digest;
use serde_json::json;

use crate::layout::{self, DPKG_STATUS, Layer, Layout, OS_RELEASE};
use crate::support::{listing, run};

/// What a scan and a bill of materials end with.
const REFUSED: i32 = 3;
const PARTLY: i32 = 4;

/// An image that would be without findings, but for what a case adds to it.
fn honest() -> Layer {
    Layer::new().file("etc/os-release", 0o644, OS_RELEASE).file(
        "var/lib/dpkg/status",
        0o644,
        DPKG_STATUS,
    )
}

fn write(folder: &Path, layer: Layer) -> String {
    Layout::write(folder, vec![layer], &json!({"User": "33", "Cmd": ["/bin/a"]})).target()
}

/// A ZIP archive of one entry, stored or deflated.
fn zip(name: &str, bytes: &[u8], deflated: bool) -> Vec<u8> {
    let packed = if deflated {
        let level = flate2::Compression::best();
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    } else {
        bytes.to_vec()
    };
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let u16 = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let u32 = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let method = u16(if deflated { 8 } else { 0 });
    let common = [
        &u16(0)[..],
        &method,
        &u32(0),
        &crc.sum().to_le_bytes(),
        &u32(packed.len()),
        &u32(bytes.len()),
        &u16(name.len()),
        &u16(0),
    ]
    .concat();
    let local = [b"PK\x03\x04\x14\0", &common[..], name.as_bytes(), &packed].concat();
    let rest = [&u16(0)[..], &u16(0), &u16(0), &u32(0), &u32(0)].concat();
    let central = [b"PK\x01\x02\x14\0\x14\0", &common[..], &rest, name.as_bytes()].concat();
    let end =
        [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &u32(central.len())[..], &u32(local.len()), &u16(0)]
            .concat();
    [local, central, end].concat()
}

/// Archives within each other.
fn nested_jars(n: usize) -> Vec<u8> {
    let manifest = b"Implementation-Title: a\nImplementation-Version: 1\n";
    let start = zip("META-INF/MANIFEST.MF", manifest, false);
    (0..n).fold(start, |inner, _| zip("lib/inner.jar", &inner, false))
}

/// Layers that are what they say to be, with hostile entries: what is added, how the scan
/// ends, and a part of what it says.
fn entries() -> Vec<(&'static str, Layer, i32, &'static str)> {
    let deep = "d/".repeat(120);
    let deep = format!("{deep}{deep}{deep}f");
    let long = "n".repeat(5000);
    let endless = "n".repeat(2 << 20);
    let sparse = |layer: Layer| {
        // The map says a terabyte; the archive holds a block.
        layer.raw(b'S', "var/lib/sparse", 512, &[0; 512])
    };
    vec![
        ("path out of the root", honest().file("../../evil", 0o644, "x"), PARTLY, "../../evil"),
        ("hard link out of the root", honest().hard_link("a", "../../etc/shadow"), PARTLY, "/a"),
        ("hard link to itself", honest().hard_link("a", "a"), PARTLY, "/a"),
        (
            "link above the root",
            honest().link("srv/out", "../../../../etc/shadow"),
            PARTLY,
            "srv/out: symbolic link that climbs above the root",
        ),
        (
            "links in a circle",
            honest().link("srv/a", "b").link("srv/b", "/srv/./a"),
            PARTLY,
            "srv/b: symbolic link in a circle",
        ),
        ("link below itself", honest().link("c", "c/c"), PARTLY, "c: symbolic link in a circle"),
        ("device node", honest().device("srv/mem"), PARTLY, "srv/mem: device node"),
        (
            "hard link to nothing",
            honest().hard_link("var/lib/dpkg/status.d/a", "gone"),
            PARTLY,
            "status.d/a",
        ),
        ("sparse file", sparse(honest()), PARTLY, "sparse file of GNU tar"),
        (
            "sparse file by PAX",
            honest().pax("GNU.sparse.realsize", "1099511627776").file("s", 0o644, "x"),
            PARTLY,
            "sparse file of GNU tar",
        ),
        ("unknown type of entry", honest().raw(b'Q', "q", 0, b""), PARTLY, "unknown type 0x51"),
        (
            "name longer than any path",
            honest().pax("path", &long).file("x", 0o644, "x"),
            PARTLY,
            "beyond the length limit",
        ),
        ("endless name", honest().pax("path", &endless).file("x", 0o644, "x"), REFUSED, "header"),
        (
            "endless name of GNU tar",
            honest().raw(b'L', "l", endless.len() as u64, endless.as_bytes()).file("x", 0o644, "x"),
            REFUSED,
            "header",
        ),
        (
            "folders without end",
            honest().pax("path", &deep).file("x", 0o644, "x"),
            PARTLY,
            "beyond the length limit",
        ),
        (
            "attributes without end",
            honest().pax("SCHILY.xattr.user.a", &"x".repeat(100_000)).file("x", 0o644, "x"),
            PARTLY,
            "extended attributes beyond the limit",
        ),
        (
            "database that is a link",
            Layer::new()
                .file("etc/os-release", 0o644, OS_RELEASE)
                .file("srv/status", 0o644, DPKG_STATUS)
                .link("var/lib/dpkg/status", "/srv/status"),
            PARTLY,
            "/var/lib/dpkg/status",
        ),
        (
            "database in a circle of links",
            Layer::new()
                .file("etc/os-release", 0o644, OS_RELEASE)
                .link("var/lib/dpkg", "../lib2/dpkg")
                .link("var/lib2", "lib"),
            PARTLY,
            "/var/lib/dpkg",
        ),
        (
            "size beyond the archive",
            honest().raw(b'0', "big", 1 << 40, b"x"),
            REFUSED,
            "ends within",
        ),
        (
            "archives within archives",
            honest().file("srv/a.jar", 0o644, nested_jars(40)),
            PARTLY,
            "/srv/a.jar",
        ),
        (
            "archive that unpacks to far more",
            honest().file(
                "srv/a.jar",
                0o644,
                zip("META-INF/MANIFEST.MF", &vec![0; 128 << 20], true),
            ),
            PARTLY,
            "/srv/a.jar",
        ),
    ]
}

/// Files of package managers that are none.
fn databases() -> Vec<(&'static str, Vec<u8>)> {
    let garbage: Vec<u8> =
        (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sqlite = [b"SQLite format 3\0".to_vec(), garbage.clone()].concat();
    let nested = [b"{\"packages\":".to_vec(), b"[".repeat(200_000)].concat();
    let aliases = |n: usize| {
        let line = |i: usize| format!("a{i}: &a{i} [{}]", format!("*a{}, ", i - 1).repeat(9));
        let lines: Vec<String> = (1..n).map(line).collect();
        format!("lockfileVersion: '9.0'\na0: &a0 [l]\n{}\n", lines.join("\n")).into_bytes()
    };
    vec![
        ("var/lib/dpkg/status", b"Package: a\nno colon here\nVersion\n\n".to_vec()),
        ("var/lib/dpkg/status.d/a", garbage.clone()),
        ("lib/apk/db/installed", b"P:a\nno colon here\n\nV:1\n".to_vec()),
        ("var/lib/rpm/rpmdb.sqlite", sqlite),
        ("var/lib/rpm/rpmdb.sqlite", garbage.clone()),
        ("var/lib/rpm/Packages.db", garbage.clone()),
        ("var/lib/rpm/Packages", garbage.clone()),
        ("var/lib/pacman/local/a-1/desc", garbage.clone()),
        ("usr/lib/python3/a-1.dist-info/METADATA", b"no colon\n".to_vec()),
        ("srv/node_modules/a/package.json", b"{\"name\": \"a\", \"version\"".to_vec()),
        ("srv/package-lock.json", nested),
        ("srv/pnpm-lock.yaml", aliases(20)),
        ("srv/Cargo.lock", b"[[package]]\nname = \"a\nversion".to_vec()),
        ("srv/a.jar", [b"PK\x03\x04".to_vec(), garbage].concat()),
    ]
}

#[test]
fn hostile_entries_are_refused_or_named_and_never_clean() {
    let folder = tempfile::tempdir().unwrap();
    for (name, layer, code, what) in entries() {
        let at = folder.path().join(name.replace(' ', "-"));
        let target = write(&at, layer);
        let before = listing(folder.path());
        eprintln!("{name}");
        for command in ["scan", "sbom"] {
            let ended = run(folder.path(), &[command, &target]).expect(code);
            let told = format!("{}{}", ended.stdout, ended.stderr);
            assert!(told.contains(what), "{command} {name}: {told}");
            assert!(!told.contains("root:x:"), "{command} {name}: {told}");
        }
        // A gate that asks for little is not passed over it.
        let gate = ["scan", "--quiet", "--fail-on-malware", &target];
        let ended = run(folder.path(), &gate);
        assert!(matches!(ended.code, 3 | 4), "{name}: {ended:?}");
        assert_eq!(listing(folder.path()), before, "{name}");
        std::fs::remove_dir_all(&at).unwrap();
    }
}

#[test]
fn corrupt_package_databases_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (index, (path, content)) in databases().into_iter().enumerate() {
        let layer =
            Layer::new().file("etc/os-release", 0o644, OS_RELEASE).file(path, 0o644, content);
        let target = write(&folder.path().join(index.to_string()), layer);
        eprintln!("{index} {path}");
        let scan = run(folder.path(), &["scan", &target]).expect(PARTLY);
        assert!(scan.stdout.contains("Not examined"), "{path}: {}", scan.stdout);
        assert!(scan.stdout.contains(&format!("/{path}")), "{path}: {}", scan.stdout);
        let sbom = run(folder.path(), &["sbom", &target]).expect(PARTLY);
        assert!(sbom.stderr.contains(&format!("not examined: /{path}")), "{}", sbom.stderr);
    }
}

/// Nothing is left out of a flood; it takes neither much memory nor a long time.
#[test]
fn a_flood_of_tiny_files_is_read_whole() {
    const N: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let mut layer = honest();
    for n in 0..N {
        layer = layer.file(&format!("t/{n}"), 0o644, b"");
    }
    let target = write(&folder.path().join("flood"), layer);
    let mut command = crate::support::palisade(folder.path());
    command.args(["scan", "--format", "json", &target]);
    let ended = crate::support::finish(command).expect(0);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let text = report.to_string();
    assert!(text.contains(&format!("\"n_files\":{}", N + 2)), "{}", &text[..2000.min(text.len())]);
}

/// What lies about its size or digest, cannot be unpacked or unpacks to too much.
#[test]
fn layers_that_lie_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"User": "33"});
    let packed = |name: &str, blob: Vec<u8>, diff_id: Digest| {
        Layout::write_packed(&folder.path().join(name), vec![(blob, diff_id)], &config, |_| {})
            .target()
    };
    let archive = honest().finish();
    let diff_id = Digest::of(&archive);
    let whole = layout::gzip(&archive);
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 0x55;
    let twice = layout::gzip(layout::bomb());
    for (name, target, what) in [
        ("bomb", packed("bomb", layout::bomb().to_vec(), diff_id), "times its size"),
        ("bomb in gzip twice", packed("twice", twice, diff_id), "layer"),
        ("changed within", packed("changed", changed, diff_id), "layer"),
        ("cut off", packed("cut", whole[..whole.len() - 9].to_vec(), diff_id), "layer"),
        ("followed by more", packed("more", [&whole[..], b"more"].concat(), diff_id), "layer"),
        ("another content", packed("other", layout::gzip(&[0; 1024]), diff_id), "unpacks to"),
        ("no archive", packed("none", b"hello".to_vec(), Digest::of(b"hello")), "layer"),
    ] {
        eprintln!("{name}");
        for command in ["scan", "sbom"] {
            run(folder.path(), &[command, &target]).expect_error(REFUSED, what);
        }
    }
}

/// What can be examined whole and is hostile all the same is a finding, which a gate refuses.
#[test]
fn what_no_honest_layer_has_is_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    for (name, layer, what) in [
        ("device", honest().device("dev/mem"), "/dev/mem"),
        (
            "below",
            honest().file("a", 0o644, "x").file("a/b", 0o644, "x"),
            "path below a link or file of the same layer: a/b",
        ),
    ] {
        let target = write(&folder.path().join(name), layer);
        let ended = run(folder.path(), &["scan", &target]).expect(0);
        assert!(ended.stdout.contains(what), "{name}: {}", ended.stdout);
        run(folder.path(), &["scan", "--fail-on-other", "medium", &target]).expect(1);
    }
    // One that a container does not see is none.
    let lower = honest().link("out", "../../tmp").link("a", "a").device("srv/mem");
    let upper =
        Layer::new().file(".wh.out", 0o644, "").file("a", 0o644, "").file(".wh.srv", 0o644, "");
    let config = json!({"User": "33", "Cmd": ["/bin/a"]});
    let target = Layout::write(&folder.path().join("hidden"), vec![lower, upper], &config).target();
    run(folder.path(), &["scan", &target]).expect(0);
}

/// What was not examined is named in every form that has room for words.
#[test]
fn every_form_names_what_was_not_examined() {
    let folder = tempfile::tempdir().unwrap();
    let layer = honest()
        .link("srv/out", "../../../../etc/shadow")
        .link("srv/round", "round")
        .hard_link("srv/hard", "../../etc/shadow")
        .device("srv/mem");
    let target = write(&folder.path().join("image"), layer);
    for form in [
        "table",
        "json",
        "sarif",
        "cyclonedx-json",
        "cyclonedx-1.7-json",
        "spdx-json",
        "spdx-3.0-json",
        "gitlab",
        "junit",
        "html",
        "markdown",
        "openvex",
    ] {
        let ended = run(folder.path(), &["scan", "--format", form, &target]).expect(PARTLY);
        for name in ["srv/out", "srv/round", "srv/hard", "srv/mem"] {
            assert!(ended.stdout.contains(name), "{form} {name}: {}", ended.stdout);
        }
    }
    std::fs::write(folder.path().join("t"), "{{ not_examined }}").unwrap();
    let template = ["scan", "--format", "template", "--template", "t", &target];
    let ended = run(folder.path(), &template).expect(PARTLY);
    assert!(ended.stdout.contains("srv/mem"), "{}", ended.stdout);
    // The same as a folder, where it is on the disk; making a device takes root.
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("srv")).unwrap();
    for (path, target) in [("srv/out", "../../../../etc/shadow"), ("srv/round", "round")] {
        std::os::unix::fs::symlink(target, tree.join(path)).unwrap();
    }
    let ended = run(folder.path(), &["scan", "dir:tree"]).expect(PARTLY);
    for name in ["srv/out", "srv/round"] {
        assert!(ended.stdout.contains(name), "{name}: {}", ended.stdout);
    }
}
