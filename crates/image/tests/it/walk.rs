//! What a walk presents of honest and hostile layers.

use palisade_image::{FileKind, HostileKind, Image, Limits, OpenOptions, Visit, Walked};

use crate::build::*;

/// Presented entries as `path=content`, links as `path->target`, others as `path`.
fn walk_with(layers: &[Blob], limits: &Limits, follow: bool) -> (Vec<String>, Walked) {
    let folder = tempfile::tempdir().unwrap();
    let target = layout(folder.path(), layers);
    let options = OpenOptions { limits: limits.clone(), ..OpenOptions::default() };
    let image = Image::open(&target, &options).unwrap();
    let mut seen = Vec::new();
    let walked = image
        .walk(&mut |entry, content| {
            let mut text = String::new();
            content.read_to_string(&mut text).unwrap();
            seen.push(match (entry.kind, &entry.link) {
                (FileKind::Regular, _) => format!("{}={text}", entry.path),
                (FileKind::Folder, _) => format!("{}/", entry.path),
                (_, Some(link)) => format!("{}->{link}", entry.path),
                _ => entry.path.clone(),
            });
            if follow { Visit::Follow } else { Visit::Continue }
        })
        .unwrap();
    (seen, walked)
}

#[track_caller]
fn check(layers: &[&[Entry]], expected: &[&str]) -> Walked {
    let layers: Vec<Blob> = layers.iter().map(|entries| layer(entries)).collect();
    let (seen, walked) = walk_with(&layers, &Limits::default(), false);
    assert_eq!(seen, expected);
    walked
}

fn hostile(walked: &Walked) -> Vec<(&str, HostileKind)> {
    walked.hostile.iter().map(|one| (one.path.as_str(), one.kind)).collect()
}

#[test]
fn one_layer() {
    let walked = check(
        &[&[folder("./"), folder("./etc/"), file("./etc/a", "1"), symlink("b", "etc/a")]],
        &["etc/", "etc/a=1", "b->etc/a"],
    );
    assert_eq!((walked.n_entries, walked.n_files, walked.n_bytes), (3, 1, 1));
    assert!(walked.gaps.is_empty() && walked.hostile.is_empty());
}

#[test]
fn upper_layers_win() {
    let walked = check(
        &[
            &[
                file("a", "old"),
                file("gone", "x"),
                folder("d"),
                file("d/x", "x"),
                file("keep", "k"),
            ],
            &[
                file("a", "new"),
                file(".wh.gone", ""),
                folder("d"),
                file("d/.wh..wh..opq", ""),
                file("d/y", "y"),
            ],
        ],
        &["a=new", "d/", "d/y=y", "keep=k"],
    );
    assert_eq!(walked.n_hidden, 4);
    assert!(walked.gaps.is_empty() && walked.hostile.is_empty());
}

#[test]
fn content_behind_a_hard_link_is_not_lost() {
    // The upper layer hides the file, not its other name.
    check(
        &[&[file("a", "secret"), hard_link("b", "a"), hard_link("c", "b")], &[file(".wh.a", "")]],
        &["b->a", "c->a", "b=secret", "c=secret"],
    );
    // Presented under its own name only when asked for.
    check(&[&[file("a", "1"), hard_link("b", "a")]], &["a=1", "b->a"]);
    let (seen, _) =
        walk_with(&[layer(&[file("a", "1"), hard_link("b", "a")])], &Limits::default(), true);
    assert_eq!(seen, ["a=1", "b->a", "b=1"]);
    // More names than passes: the rest are gaps, not silence.
    let mut many = vec![file("a", "1")];
    many.extend((0..12).map(|n| hard_link(&format!("l{n}"), "a")));
    let (seen, walked) = walk_with(&[layer(&many)], &Limits::default(), true);
    assert_eq!(seen.iter().filter(|one| one.ends_with("=1")).count(), 9);
    assert_eq!(walked.gaps.len(), 4);
}

#[test]
fn hostile_entries_are_told() {
    let walked = check(
        &[&[
            file("../up", "x"),
            file("a/../../b", "x"),
            file("/etc/absolute", "1"),
            symlink("climb", "../../etc/passwd"),
            symlink("fine", "/etc/passwd"),
            symlink("round", "and/../round"),
            hard_link("hard", "../../etc/shadow"),
            hard_link("hard2", "nothing"),
            device("null"),
            device("dev/null"),
            file("twice", "1"),
            file("twice", "2"),
            symlink("link", "etc"),
            file("link/inside", "1"),
            file("etc/.wh.", ""),
            sparse("sparse"),
        ]],
        &[
            "etc/absolute=1",
            "climb->../../etc/passwd",
            "fine->/etc/passwd",
            "round->and/../round",
            "null",
            "dev/null",
            "twice=1",
            "twice=2",
            "link->etc",
            "link/inside=1",
        ],
    );
    assert_eq!(
        hostile(&walked),
        [
            ("../up", HostileKind::ParentPath),
            ("a/../../b", HostileKind::ParentPath),
            ("/etc/absolute", HostileKind::AbsolutePath),
            ("climb", HostileKind::LinkAboveRoot),
            ("hard", HostileKind::BadHardLink),
            ("hard2", HostileKind::BadHardLink),
            ("null", HostileKind::Device),
            ("dev/null", HostileKind::Device),
            ("twice", HostileKind::Duplicate),
            ("link/inside", HostileKind::BelowNonFolder),
            ("etc/.wh.", HostileKind::UnusablePath),
            ("round", HostileKind::LinkCircle),
        ]
    );
    let gaps: Vec<&str> = walked.gaps.iter().map(|gap| gap.path.as_str()).collect();
    assert_eq!(
        gaps,
        ["../up", "a/../../b", "climb", "hard", "hard2", "null", "etc/.wh.", "sparse", "round"]
    );
}

#[test]
fn an_implicit_folder_over_a_link_is_told() {
    let walked = check(&[&[symlink("lib", "usr/lib")], &[file("lib/x", "1")]], &["lib/x=1"]);
    assert_eq!(hostile(&walked), [("lib", HostileKind::ImplicitFolderOverLink)]);
}

#[test]
fn records_are_bounded() {
    let limits = Limits { records_max: 2, ..Limits::default() };
    let layers = [layer(&[file("../a", ""), file("../b", ""), file("../c", "")])];
    let (_, walked) = walk_with(&layers, &limits, false);
    assert_eq!((walked.hostile.len(), walked.n_more_hostile), (2, 1));
    assert_eq!((walked.gaps.len(), walked.n_more_gaps), (2, 1));
}

#[test]
fn stop_ends_the_walk() {
    let folder = tempfile::tempdir().unwrap();
    let target = layout(folder.path(), &[layer(&[file("a", "1"), file("b", "2")])]);
    let image = Image::open(&target, &OpenOptions::default()).unwrap();
    let mut n = 0;
    let walked = image
        .walk(&mut |_, _| {
            n += 1;
            Visit::Stop
        })
        .unwrap();
    assert!(walked.stopped);
    assert_eq!(n, 1);
}

#[test]
fn files_are_read_through_links() {
    let folder = tempfile::tempdir().unwrap();
    let target = layout(
        folder.path(),
        &[
            layer(&[
                symlink("etc/os-release", "../usr/lib/os-release"),
                file("usr/lib/os-release", "ID=x"),
                symlink("bin", "usr/bin"),
                file("etc/passwd", "old"),
            ]),
            layer(&[
                file("usr/bin/sh", "#!"),
                file("etc/passwd", "new"),
                hard_link("etc/copy", "etc/passwd"),
            ]),
        ],
    );
    let image = Image::open(&target, &OpenOptions::default()).unwrap();
    let paths = ["etc/os-release", "bin/sh", "etc/passwd", "etc/copy", "etc/nothing"];
    let found = image.read_files(&paths, 64).unwrap();
    let text =
        |path: &str| found.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(text("etc/os-release").unwrap(), "ID=x");
    assert_eq!(text("bin/sh").unwrap(), "#!");
    assert_eq!(text("etc/passwd").unwrap(), "new");
    assert_eq!(text("etc/copy").unwrap(), "new");
    assert_eq!(text("etc/nothing"), None);
    assert!(image.read_files(&["etc/passwd"], 2).is_err());
}
