//! Folders as images.

use palisade_image::{FileKind, Image, Limits, OpenImageError, OpenOptions, ReadImageError, Visit};
use palisade_model::Target;

fn open(path: &std::path::Path, limits: Limits) -> Image {
    let options = OpenOptions { limits, ..OpenOptions::default() };
    Image::open(&Target::Folder(path.to_path_buf()), &options).unwrap()
}

#[test]
fn a_folder_is_walked_in_order_and_never_left() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("host"), "host").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir_all(path.join("b/c")).unwrap();
    std::fs::write(path.join("b/c/file"), "content").unwrap();
    std::fs::write(path.join("a"), "1").unwrap();
    std::os::unix::fs::symlink(outside.path(), path.join("out")).unwrap();
    std::os::unix::fs::symlink("../../..", path.join("up")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let image = open(path, Limits::default());
    let mut seen = Vec::new();
    let walked = image
        .walk(&mut |entry, content| {
            let mut text = String::new();
            content.read_to_string(&mut text).unwrap();
            assert!(entry.kind == FileKind::Regular || text.is_empty());
            seen.push(format!("{}={text}", entry.path));
            Visit::Continue
        })
        .unwrap();
    assert_eq!(seen, ["a=1", "b=", "b/c=", "b/c/file=content", "out=", "pipe=", "up="]);
    assert_eq!((walked.n_entries, walked.n_files, walked.n_bytes), (7, 2, 8));
    assert_eq!(walked.hostile.len(), 1);
    let gaps: Vec<String> =
        walked.gaps.iter().map(|g| format!("{}: {}", g.path, g.reason)).collect();
    assert_eq!(gaps, ["up: symbolic link that climbs above the root"]);
    assert_eq!(image.read_files(&["a", "out/host", "pipe"], 10).unwrap().len(), 1);
}

mod root {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

    use super::*;

    #[test]
    fn a_device_where_no_honest_tree_has_one_is_named() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making device nodes needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir_all(path.join("srv/dev")).unwrap();
        std::fs::create_dir(path.join("dev")).unwrap();
        let make = |name: &str, kind, major, minor| {
            mknodat(CWD, path.join(name), kind, Mode::RUSR, makedev(major, minor)).unwrap();
        };
        let (character, block) = (FileType::CharacterDevice, FileType::BlockDevice);
        // Memory's null, and a disk that no machine has.
        make("dev/null", character, 1, 3);
        make("dev/disk", block, 240, 7);
        make("srv/dev/null", character, 1, 3);
        make("srv/dev/zero", block, 240, 7);
        make("srv/null", character, 1, 3);
        // As an overlay file system says that a name is gone.
        make("srv/gone", character, 0, 0);
        let image = open(path, Limits::default());
        let walked = image.walk(&mut |_, _| Visit::Continue).unwrap();
        let gaps: Vec<&str> = walked.gaps.iter().map(|gap| gap.path.as_str()).collect();
        assert_eq!(gaps, ["srv/dev/zero", "srv/null"]);
    }
}

#[test]
fn limits_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut deep = folder.path().to_path_buf();
    for _ in 0..6 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    let image = open(folder.path(), Limits { path_depth_max: 3, ..Limits::default() });
    let walked = image.walk(&mut |_, _| Visit::Continue).unwrap();
    assert_eq!(walked.gaps.len(), 1);
    let image = open(folder.path(), Limits { entries_max: 2, ..Limits::default() });
    let error = image.walk(&mut |_, _| Visit::Continue).unwrap_err();
    assert!(matches!(error, ReadImageError::Folder { .. }));
    let missing = Target::Folder("/nonexistent".into());
    let error = Image::open(&missing, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, OpenImageError::NotFound { .. }));
}

#[test]
fn a_file_that_cannot_be_read_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "x".repeat(100)).unwrap();
    let image = open(folder.path(), Limits::default());
    let walked = image
        .walk(&mut |_, content| {
            // Replaced between the look and the read.
            std::fs::remove_file(folder.path().join("a")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a")).unwrap();
            assert!(content.read(&mut [0; 8]).is_err());
            Visit::Continue
        })
        .unwrap();
    assert_eq!(walked.gaps.len(), 1);
}

#[test]
fn pseudo_file_systems_of_the_host_are_passed_over() {
    let image = Image::open(&Target::Host, &OpenOptions::default()).unwrap();
    let mut n_inside = 0;
    let walked = image
        .walk(&mut |entry, _| {
            let top = entry.path.split('/').next().unwrap_or_default();
            n_inside += usize::from(matches!(top, "proc" | "sys") && entry.path.contains('/'));
            // Names from `proc` on are enough.
            if top > "sys" { Visit::Stop } else { Visit::Continue }
        })
        .unwrap();
    assert_eq!(n_inside, 0);
    assert!(walked.n_pseudo >= 1);
}
