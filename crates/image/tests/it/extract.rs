//! Layers unpacked, and layers that must not be.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use palisade_image::{
    CapabilityXattr, ExtractError, ExtractOptions, ExtractReport, HostileKind, IdShift, Image,
    OpenOptions, Ownership, ReadImageError, extract_layer,
};

use crate::build::*;

/// Options that work without privilege.
fn plain() -> ExtractOptions {
    ExtractOptions { ownership: Ownership::Ignore, sync: false, ..ExtractOptions::default() }
}

/// Extracts the layer to `dest` below `folder`.
fn extract(
    folder: &Path,
    layer: Blob,
    options: &ExtractOptions,
) -> Result<ExtractReport, ExtractError> {
    let layout_folder = tempfile::tempdir().unwrap();
    let target = layout(layout_folder.path(), &[layer]);
    let image = Image::open(&target, &OpenOptions::default()).unwrap();
    extract_layer(&image, 0, &folder.join("dest"), options)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_honest_layer() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [
        folder_entry("./", 0o755),
        folder_entry("bin", 0o555),
        file("bin/su", "su").mode(0o4755),
        hard_link("bin/su2", "bin/su"),
        symlink("sh", "/bin/sh"),
        file("implicit/deep/file", "x"),
        fifo("pipe"),
        file("twice", "first"),
        file("twice", "second"),
    ];
    let report = extract(folder.path(), layer(&entries), &plain()).unwrap();
    assert_eq!(report.n_entries, 8);
    assert!(report.gaps.is_empty());
    assert_eq!(names(folder.path()), ["dest"], "nothing temporary is left");
    let dest = folder.path().join("dest");
    assert_eq!(names(&dest), ["bin", "implicit", "pipe", "sh", "twice"]);
    let su = dest.join("bin/su").metadata().unwrap();
    assert_eq!((su.mode() & 0o7777, su.nlink(), su.mtime()), (0o4755, 2, 1_700_000_000));
    assert_eq!(dest.join("bin").metadata().unwrap().mode() & 0o7777, 0o555);
    assert_eq!(dest.join("bin").metadata().unwrap().mtime(), 1_700_000_000);
    assert_eq!(std::fs::read_link(dest.join("sh")).unwrap(), Path::new("/bin/sh"));
    assert_eq!(std::fs::read(dest.join("implicit/deep/file")).unwrap(), b"x");
    assert_eq!(std::fs::read(dest.join("twice")).unwrap(), b"second");
    assert!(dest.join("pipe").symlink_metadata().unwrap().file_type().is_fifo());
    // Again is refused, and harms nothing.
    let again = extract(folder.path(), layer(&entries), &plain());
    assert!(matches!(again, Err(ExtractError::Exists(_))));
    assert_eq!(names(folder.path()), ["dest"]);
}

fn folder_entry(path: &str, mode: u32) -> Entry {
    folder(path).mode(mode)
}

#[test]
fn setuid_can_be_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let options = ExtractOptions { keep_setuid: false, ..plain() };
    let report = extract(folder.path(), layer(&[file("su", "").mode(0o6755)]), &options).unwrap();
    assert_eq!(report.n_setuid_dropped, 1);
    assert_eq!(folder.path().join("dest/su").metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn hostile_layers_leave_nothing() {
    // A file that every escape below tries to change.
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    let out = outside.path().to_str().unwrap();
    let up = "../".repeat(12);
    let cases: Vec<(Vec<Entry>, Option<HostileKind>)> = vec![
        (vec![file("../victim", "x")], Some(HostileKind::ParentPath)),
        (vec![file("a/../../victim", "x")], Some(HostileKind::ParentPath)),
        (vec![symlink("out", out), file("out/victim", "x")], Some(HostileKind::BelowNonFolder)),
        (
            vec![symlink("out", &format!("{up}{out}")), file("out/victim", "x")],
            Some(HostileKind::BelowNonFolder),
        ),
        (vec![symlink("in", "."), file("in/x", "x")], Some(HostileKind::BelowNonFolder)),
        (
            vec![symlink("a", out), symlink("b", "a"), folder("b/new")],
            Some(HostileKind::BelowNonFolder),
        ),
        (vec![hard_link("hard", &format!("{up}{out}/victim"))], Some(HostileKind::BadHardLink)),
        (vec![hard_link("hard", &format!("{out}/victim"))], Some(HostileKind::BadHardLink)),
        (
            vec![symlink("out", out), hard_link("hard", "out/victim")],
            Some(HostileKind::BadHardLink),
        ),
        (vec![hard_link("self", "self")], Some(HostileKind::BadHardLink)),
        (vec![folder("d"), hard_link("e", "d")], Some(HostileKind::BadHardLink)),
        (vec![folder("d"), file("d/x", ""), symlink("d", out)], Some(HostileKind::BelowNonFolder)),
        (vec![file("f", ""), file("f/x", "")], Some(HostileKind::BelowNonFolder)),
        (vec![file("d/.wh...", "")], Some(HostileKind::UnusablePath)),
        (vec![symlink("out", out), file("out/.wh.victim", "")], Some(HostileKind::BelowNonFolder)),
        (
            vec![symlink("out", out), file("out/.wh..wh..opq", "")],
            Some(HostileKind::BelowNonFolder),
        ),
        (vec![sparse("s")], None),
    ];
    for (entries, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let error = extract(folder.path(), layer(&entries), &plain()).unwrap_err();
        match (&error, expected) {
            (ExtractError::Hostile { kind, .. }, Some(expected)) => {
                assert_eq!(*kind, expected, "{entries:?}");
            }
            (ExtractError::Unsupported { .. }, None) => {}
            other => panic!("{other:?} {entries:?}"),
        }
        assert!(names(folder.path()).is_empty(), "{entries:?}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched", "{entries:?}");
        assert_eq!(names(outside.path()), ["victim"], "{entries:?}");
        assert_eq!(victim.metadata().unwrap().nlink(), 1, "{entries:?}");
    }
}

#[test]
fn a_file_replaces_a_link_and_is_not_written_through_it() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let entries = [symlink("x", outside.path().to_str().unwrap()), file("x", "evil")];
    extract(folder.path(), layer(&entries), &plain()).unwrap();
    assert_eq!(std::fs::read(outside.path()).unwrap(), b"");
    assert_eq!(std::fs::read(folder.path().join("dest/x")).unwrap(), b"evil");
}

#[test]
fn a_lie_found_at_the_end_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut lie = layer(&[file("a", "1")]);
    lie.diff_id = palisade_base::Digest::of(b"other");
    let error = extract(folder.path(), lie, &plain()).unwrap_err();
    assert!(matches!(error, ExtractError::Read(ReadImageError::Blob(_))), "{error:?}");
    assert!(names(folder.path()).is_empty());
}

mod root {
    //! Tests that need privilege.

    use super::*;

    fn is_root() -> bool {
        let is_root = rustix::process::geteuid().is_root();
        if !is_root {
            eprintln!("skipped: needs root");
        }
        is_root
    }

    fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0_u8; 256];
        let n = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
        value.truncate(n);
        Some(value)
    }

    const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn owners_are_kept_or_shifted() {
        if !is_root() {
            return;
        }
        let entries = [
            folder("d").owner(5),
            file("d/f", "").owner(1000).mode(0o4755).xattr("security.capability", CAPABILITY),
            symlink("l", "d").owner(7),
            file("implicit/x", ""),
        ];
        for (ownership, base) in [
            (Ownership::Keep, 0),
            (Ownership::Shift(IdShift { start: 200_000, length: 65_536 }), 200_000),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let options = ExtractOptions { ownership, ..plain() };
            extract(folder.path(), layer(&entries), &options).unwrap();
            let dest = folder.path().join("dest");
            let owner = |path: &str| {
                let meta = dest.join(path).symlink_metadata().unwrap();
                (meta.uid() - base, meta.gid() - base)
            };
            assert_eq!(owner(""), (0, 0));
            assert_eq!(owner("d"), (5, 5));
            assert_eq!(owner("d/f"), (1000, 1000));
            assert_eq!(owner("l"), (7, 7));
            assert_eq!(owner("implicit"), (0, 0));
            assert_eq!(dest.join("d/f").metadata().unwrap().mode() & 0o7777, 0o4755);
            let capability = xattr(&dest.join("d/f"), "security.capability").unwrap();
            if base == 0 {
                assert_eq!(capability, CAPABILITY);
            } else {
                assert_eq!(capability.len(), 24);
                assert_eq!(capability[3], 3, "revision");
                assert_eq!(capability[20..], 200_000_u32.to_le_bytes());
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let ownership = Ownership::Shift(IdShift { start: 200_000, length: 1000 });
        let options = ExtractOptions { ownership, ..plain() };
        let error = extract(folder.path(), layer(&entries), &options).unwrap_err();
        assert!(matches!(error, ExtractError::IdOutOfRange { id: 1000, length: 1000, .. }));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn whiteouts_become_overlays() {
        if !is_root() {
            return;
        }
        let folder_path = tempfile::tempdir().unwrap();
        let entries = [
            folder("d"),
            file("d/.wh..wh..opq", ""),
            file("d/.wh.gone", ""),
            file(".wh.replaced", ""),
            file("replaced/x", ""),
            folder("later"),
            file(".wh.later", ""),
            file("file", "new"),
            file(".wh.file", ""),
        ];
        let report = extract(folder_path.path(), layer(&entries), &plain()).unwrap();
        assert_eq!(report.n_whiteouts, 5);
        let dest = folder_path.path().join("dest");
        let gone = dest.join("d/gone").symlink_metadata().unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        for opaque in ["d", "replaced", "later"] {
            assert_eq!(
                xattr(&dest.join(opaque), "trusted.overlay.opaque").unwrap(),
                b"y",
                "{opaque}"
            );
        }
        assert_eq!(std::fs::read(dest.join("file")).unwrap(), b"new");
        assert_eq!(names(&dest), ["d", "file", "later", "replaced"]);
    }

    #[test]
    fn devices_and_overlay_attributes_are_refused() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let entries = [
            device("null"),
            file("f", "")
                .xattr("trusted.overlay.redirect", b"/etc")
                .xattr("user.overlay.metacopy", b"")
                .xattr("user.kept", b"1")
                .xattr("security.capability", CAPABILITY),
        ];
        let options = ExtractOptions { capabilities: CapabilityXattr::Drop, ..plain() };
        let report = extract(folder.path(), layer(&entries), &options).unwrap();
        assert_eq!((report.n_devices_refused, report.n_xattrs_dropped), (1, 3));
        assert_eq!(report.gaps.len(), 1);
        let dest = folder.path().join("dest");
        assert_eq!(names(&dest), ["f"]);
        assert_eq!(xattr(&dest.join("f"), "user.kept").unwrap(), b"1");
        assert_eq!(xattr(&dest.join("f"), "trusted.overlay.redirect"), None);
        assert_eq!(xattr(&dest.join("f"), "security.capability"), None);
    }
}
