//! How much of an image is more than its program needs: images whose programs, packages and
//! bases are known.

use std::collections::BTreeMap;
use std::path::Path;

use palisade_image::{Image, NewImage, OpenOptions, Platform, write_layout};
use palisade_model::minimality::Certainty;
use palisade_model::{Minimality, Target};
use palisade_scan::minimality::{KnownBase, Lifecycles, Options};
use palisade_scan::{ExaminationCache, ScanOptions, scan_cached, scan_target};

use crate::image::{File, NOW, OS_RELEASE, file, layer};

/// An ELF file without segments: linked with nothing.
fn static_program() -> Vec<u8> {
    let mut elf = vec![0_u8; 64];
    elf[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    elf[16] = 2;
    elf[18] = 62;
    elf[20] = 1;
    elf[52] = 64;
    elf[54] = 56;
    elf[58] = 64;
    elf
}

/// An ELF file that loads `needed` through glibc's loader.
fn linked_program(needed: &[&str]) -> Vec<u8> {
    let mut elf = static_program();
    let mut strings = vec![0_u8];
    let offsets: Vec<u64> = needed
        .iter()
        .map(|name| {
            let at = strings.len() as u64;
            strings.extend(name.as_bytes());
            strings.push(0);
            at
        })
        .collect();
    let interpreter = b"/lib64/ld-linux-x86-64.so.2\0";
    let header_end = 64 + 3 * 56_u64;
    let strings_at = header_end;
    let interpreter_at = strings_at + strings.len() as u64;
    let dynamic_at = (interpreter_at + interpreter.len() as u64).next_multiple_of(8);
    let mut dynamic: Vec<(u64, u64)> = offsets.iter().map(|offset| (1, *offset)).collect();
    dynamic.extend([(5, strings_at), (10, strings.len() as u64), (0, 0)]);
    let end = dynamic_at + dynamic.len() as u64 * 16;
    // p_type, offset and size of LOAD, DYNAMIC and INTERP.
    let segments = [
        (1_u32, 0, end),
        (2, dynamic_at, dynamic.len() as u64 * 16),
        (3, interpreter_at, interpreter.len() as u64),
    ];
    elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
    elf[56..58].copy_from_slice(&3_u16.to_le_bytes());
    for (kind, offset, size) in segments {
        elf.extend(kind.to_le_bytes());
        elf.extend(4_u32.to_le_bytes());
        for value in [offset, offset, offset, size, size, 8] {
            elf.extend(value.to_le_bytes());
        }
    }
    elf.extend(&strings);
    elf.extend(interpreter);
    elf.resize(usize::try_from(dynamic_at).unwrap(), 0);
    for (tag, value) in dynamic {
        elf.extend(tag.to_le_bytes());
        elf.extend(value.to_le_bytes());
    }
    elf
}

const PACKAGES: [(&str, &str, &[&str]); 15] = [
    ("base-files", "", &["/etc/debian_version"]),
    ("bash", "libc6, libtinfo6", &["/usr/bin/bash"]),
    ("dash", "libc6", &["/usr/bin/dash"]),
    ("apt", "libc6, libstdc++6", &["/usr/bin/apt"]),
    ("curl", "libcurl4 (= 7.88), libc6", &["/usr/bin/curl"]),
    ("libcurl4", "libc6, libssl3", &["/usr/lib/x86_64-linux-gnu/libcurl.so.4"]),
    ("gcc-12", "libc6, binutils", &["/usr/bin/gcc-12"]),
    ("binutils", "libc6", &["/usr/bin/ld"]),
    ("libc6", "libgcc-s1", &["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]),
    ("libgcc-s1", "libc6", &["/lib/x86_64-linux-gnu/libgcc_s.so.1"]),
    ("libssl3", "libc6", &["/usr/lib/x86_64-linux-gnu/libssl.so.3"]),
    ("libtinfo6", "libc6", &["/lib/x86_64-linux-gnu/libtinfo.so.6"]),
    ("libstdc++6", "libc6", &["/usr/lib/x86_64-linux-gnu/libstdc++.so.6"]),
    ("python3.11-minimal", "libc6", &["/usr/bin/python3.11"]),
    ("git", "libcurl3-gnutls | libcurl4, perl", &["/usr/bin/git"]),
];

/// An image of those packages with a layer of its own above, and what is said of it.
fn assess(
    folder: &Path,
    top: &[File<'_>],
    config: serde_json::Value,
    bases: &[KnownBase],
) -> Minimality {
    let status: Vec<String> = PACKAGES
        .iter()
        .map(|(name, depends, _)| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDepends: {depends}\n\n"
            )
        })
        .collect();
    let status = status.concat();
    let lists: Vec<(String, String)> = PACKAGES
        .iter()
        .map(|(name, _, files)| {
            (format!("var/lib/dpkg/info/{name}.list"), format!("/.\n{}\n", files.join("\n")))
        })
        .collect();
    let mut files = vec![
        file("etc/os-release", 0o644, OS_RELEASE),
        file("var/lib/dpkg/status", 0o644, status.as_bytes()),
    ];
    files.extend(lists.iter().map(|(path, text)| file(path, 0o644, text.as_bytes())));
    for (.., owned) in &PACKAGES {
        files.extend(owned.iter().map(|path| file(path.trim_start_matches('/'), 0o755, b"x")));
    }
    files.push(file("usr/bin/sudo", 0o4755, b"x"));
    let layers = vec![layer(folder, "base.tar", &files), layer(folder, "top.tar", top)];
    let dest = folder.join("layout");
    let image = NewImage {
        tag: Some("latest".into()),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        created: NOW,
        config,
        history: vec![],
        layers,
        annotations: BTreeMap::new(),
    };
    write_layout(&dest, &image).unwrap();
    let target: Target = format!("oci:{}:latest", dest.display()).parse().unwrap();
    let minimality = Options { bases: bases.to_vec(), lifecycles: Lifecycles::builtin().clone() };
    let options = ScanOptions {
        now: NOW,
        database: None,
        ignores: &[],
        checks: &palisade_policy::Checks::default(),
        secrets: false,
        look: palisade_scan::Look::default(),
        minimality: Some(&minimality),
    };
    let open = OpenOptions { platform: "linux/amd64".parse().ok(), ..OpenOptions::default() };
    let opened = Image::open(&target, &open).unwrap();
    // What a scan without minimality kept must not be taken for all that there is.
    let cache = ExaminationCache::new(&folder.join("cache"), "test");
    let without = ScanOptions { minimality: None, ..options };
    let first = scan_cached(&opened, &without, Some(&cache)).unwrap();
    assert_eq!(std::fs::read_dir(folder.join("cache")).unwrap().count(), 1);
    let whole = scan_cached(&opened, &options, Some(&cache)).unwrap();
    assert_eq!(whole.inventory, first.inventory);
    assert_eq!(scan_cached(&opened, &without, Some(&cache)).unwrap(), first);
    let plain = scan_target(&target, &open, &options).unwrap().minimality;
    assert_eq!(whole.minimality, plain);
    plain.unwrap()
}

fn names(minimality: &Minimality) -> Vec<&str> {
    minimality.need.unneeded.iter().map(String::as_str).collect()
}

#[test]
fn a_static_program_needs_no_package() {
    let folder = tempfile::tempdir().unwrap();
    let program = static_program();
    let config = serde_json::json!({ "Entrypoint": ["/app/server"], "User": "65532" });
    let m = assess(folder.path(), &[file("app/server", 0o755, &program)], config, &[]);
    // What is kept are files of data.
    assert_eq!(m.need.n_needed, 1, "{:?}", m.need);
    assert_eq!(m.need.n_unneeded, 14);
    assert!(m.need.doubts.is_empty(), "{:?}", m.need.doubts);
    let best = &m.proposals[0];
    assert_eq!(best.base, "gcr.io/distroless/static-debian12");
    assert_eq!(best.n_packages_less, 15);
    assert!(best.points_less > 20, "{best:?}");
    assert!(m.proposals.iter().all(|proposal| !proposal.check.is_empty()));
}

#[test]
fn a_linked_program_needs_what_it_loads_and_what_that_needs() {
    let folder = tempfile::tempdir().unwrap();
    let program = linked_program(&["libssl.so.3", "libc.so.6", "libmissing.so.1"]);
    let config = serde_json::json!({ "Cmd": ["server"], "Env": ["PATH=/usr/bin:/app"] });
    let m = assess(folder.path(), &[file("app/server", 0o755, &program)], config, &[]);
    assert_eq!(
        names(&m),
        [
            "apt",
            "bash",
            "binutils",
            "curl",
            "dash",
            "gcc-12",
            "git",
            "libcurl4",
            "libstdc++6",
            "libtinfo6",
            "python3.11-minimal"
        ]
    );
    assert!(m.need.roots.contains(&"libssl.so.3".to_string()), "{:?}", m.need.roots);
    assert_eq!(m.need.doubts, ["no package has the library libmissing.so.1"]);
    // A library that no base has: only Debian's own smaller variant remains.
    assert_eq!(m.proposals.iter().map(|p| p.base.as_str()).collect::<Vec<_>>(), ["debian:12-slim"]);
}

#[test]
fn a_script_needs_its_interpreter_and_raises_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let top = [file("app/run", 0o755, b"#!/usr/bin/env python3.11\n")];
    let config = serde_json::json!({ "Entrypoint": ["/app/run"] });
    let m = assess(folder.path(), &top, config, &[]);
    assert!(!names(&m).contains(&"python3.11-minimal"), "{:?}", m.need);
    assert_eq!(m.need.doubts, ["the image starts a script, which may start other programs"]);
    assert!(m.proposals.iter().any(|p| p.base == "gcr.io/distroless/python3-debian12"));
    assert!(m.proposals.iter().any(|p| p.base.starts_with("alpine:3.")));
}

#[test]
fn an_image_that_starts_nothing_known_gets_no_proposal() {
    for (config, doubt) in [
        (serde_json::json!({}), "the image says no program to start"),
        (serde_json::json!({ "Cmd": ["/gone"] }), "the program `/gone` that the image starts"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let m = assess(folder.path(), &[file("app/x", 0o644, b"x")], config, &[]);
        assert!(m.proposals.is_empty());
        assert!(m.need.doubts.iter().any(|text| text.starts_with(doubt)), "{:?}", m.need.doubts);
    }
}

#[test]
fn the_surface_is_counted_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({ "Cmd": ["bash"], "ExposedPorts": { "80/tcp": {} } });
    let m = assess(folder.path(), &[file("app/x", 0o644, b"x")], config, &[]);
    let part = |name: &str| {
        let part = m.parts.iter().find(|part| part.name == name).unwrap();
        (part.n, part.points)
    };
    assert_eq!(part("packages"), (15, 2));
    assert_eq!(part("shells"), (2, 8));
    assert_eq!(part("package managers"), (1, 6));
    assert_eq!(part("compilers and debuggers"), (2, 7));
    assert_eq!(part("network tools"), (2, 5));
    assert_eq!(part("files with privilege"), (1, 3));
    assert_eq!(part("program run as root"), (1, 10));
    assert_eq!(part("ports"), (1, 1));
    assert_eq!(m.score, m.parts.iter().map(|part| part.points).sum::<u32>());
    assert_eq!(m.parts.iter().map(|part| part.points_max).sum::<u32>(), 100);
    assert!(m.need.doubts.iter().any(|doubt| doubt.contains("shell")), "{:?}", m.need.doubts);
    let shown: Vec<String> = m
        .lifecycles
        .iter()
        .map(|one| format!("{} {} {}", one.product, one.release, one.end))
        .collect();
    assert_eq!(shown, ["Debian 12 2028-06-30"]);
}

#[test]
fn the_base_is_known_by_layers_before_labels_before_guesses() {
    let base = |config: serde_json::Value, with_layers: bool| {
        let folder = tempfile::tempdir().unwrap();
        let bases = if with_layers {
            // The first run tells the digest of the lowest layer, which is the same in the second.
            let other = tempfile::tempdir().unwrap();
            let top = [file("app/x", 0o644, b"x")];
            assess(other.path(), &top, config.clone(), &[]);
            let bytes = std::fs::read(other.path().join("base.tar")).unwrap();
            vec![KnownBase {
                name: "oci:our-base".into(),
                diff_ids: vec![palisade_base::Digest::of(&bytes)],
            }]
        } else {
            vec![KnownBase {
                name: "oci:other".into(),
                diff_ids: vec![palisade_base::Digest::of(b"other")],
            }]
        };
        let m = assess(folder.path(), &[file("app/x", 0o644, b"x")], config, &bases);
        let base = m.base.unwrap();
        (base.name, base.certainty, base.n_layers)
    };
    let labels = serde_json::json!({ "Labels": {
        "org.opencontainers.image.base.name": "docker.io/library/debian:12",
        "org.opencontainers.image.base.digest": "sha256:abc",
    }});
    let stated = ("docker.io/library/debian:12@sha256:abc".to_string(), Certainty::Stated, None);
    assert_eq!(base(labels.clone(), false), stated);
    assert_eq!(base(labels, true), ("oci:our-base".into(), Certainty::Proven, Some(1)));
    let variables = serde_json::json!({ "Env": ["PYTHON_VERSION=3.11.4"] });
    assert_eq!(
        base(variables, false),
        ("python:3.11.4 on Debian 12".into(), Certainty::Guess, None)
    );
    assert_eq!(base(serde_json::json!({}), false), ("debian:12".into(), Certainty::Guess, None));
}
