//! Logs that are cut off at every step, torn, and damaged.

use std::path::Path;

use super::*;
use crate::key::KeyKind;
use crate::merkle::{
    CompactRange, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};
use crate::tile::{TileKind, TileSource as _, TiledTree};

fn key() -> SigningKey {
    SigningKey::from_seed("log.example", &[3; 32], KeyKind::Ed25519).unwrap()
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// Opens the log and publishes, as a server does.
fn open(path: &Path) -> Writer {
    let mut writer = Writer::open(path, key()).unwrap();
    if writer.published().is_none() {
        writer.publish(&[]).unwrap();
    }
    writer
}

fn append(writer: &mut Writer, n: u64) {
    let first = writer.size();
    let entries: Vec<Vec<u8>> = (first..first + n).map(entry).collect();
    assert_eq!(writer.append(&entries).unwrap(), first);
    writer.publish(&[]).unwrap();
    writer.tidy();
}

/// The published checkpoint, after every tile and entry below it was held against an
/// independent computation of the tree.
fn check(path: &Path) -> Checkpoint {
    let folder = Folder::open(path).unwrap();
    let (checkpoint, _) = Checkpoint::open(&folder.checkpoint().unwrap(), key().public()).unwrap();
    let mut range = CompactRange::default();
    let mut index = 0;
    while let Some(tile) = TileCoordinate::at(TileKind::Entries, index, checkpoint.size) {
        let bytes = folder.tile(&tile).unwrap();
        for found in tile.entries(&bytes).unwrap() {
            assert_eq!(found, entry(range.size()));
            range.push(Hash::of_leaf(found));
        }
        index += 1;
    }
    assert_eq!((range.size(), range.root()), (checkpoint.size, checkpoint.root));
    let mut tree = TiledTree::new(&folder, checkpoint.size);
    assert_eq!(merkle_root(&mut tree, checkpoint.size), checkpoint.root);
    checkpoint
}

fn merkle_root(tree: &mut TiledTree<&Folder>, size: u64) -> Hash {
    crate::merkle::root_at(tree, size).unwrap()
}

#[test]
fn a_log_grows_by_batches_of_any_size_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut old: Option<Checkpoint> = None;
    for n in [0, 1, 3, 250, 2, 256, 1, 1000, 255, 1, 66_000 - 1769] {
        let mut writer = open(folder.path());
        append(&mut writer, n);
        drop(writer);
        let new = check(folder.path());
        let reader = Folder::open(folder.path()).unwrap();
        let mut tree = TiledTree::new(&reader, new.size);
        if let Some(old) = old.filter(|old| old.size > 0) {
            let proof = prove_consistency(&mut tree, old.size, new.size).unwrap().unwrap();
            verify_consistency(old.size, new.size, &proof, &old.root, &new.root).unwrap();
            for index in [0, old.size - 1, new.size - 1] {
                let proof = prove_inclusion(&mut tree, index, new.size).unwrap().unwrap();
                let leaf = Hash::of_leaf(&entry(index));
                verify_inclusion(leaf, index, new.size, &proof, &new.root).unwrap();
            }
        }
        old = Some(new);
    }
    assert_eq!(old.unwrap().size, 66_000);
}

#[test]
fn a_batch_that_is_cut_off_at_any_step_is_wholly_in_the_log_or_not_at_all() {
    // From 250 entries, 600 more make full and partial tiles on two levels.
    let steps: Vec<Step> = (0..8).map(Step::Tile).chain([Step::Synced, Step::Committed]).collect();
    for at in steps {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path());
        append(&mut writer, 250);
        writer.crash = Some(Box::new(move |step| step == at));
        let entries: Vec<Vec<u8>> = (250..850).map(entry).collect();
        assert!(writer.append(&entries).is_err(), "{at:?} was not reached");
        assert!(matches!(writer.append(&entries), Err(WriteError::Stopped)));
        drop(writer);
        if at != Step::Committed && at != Step::Synced {
            tear_uncommitted(folder.path());
        }
        // Readers see the old log meanwhile.
        assert_eq!(check(folder.path()).size, 250);
        let mut writer = open(folder.path());
        let expected = if at == Step::Committed { 850 } else { 250 };
        assert_eq!(writer.size(), expected);
        assert_eq!(check(folder.path()).size, expected);
        append(&mut writer, 700);
        assert_eq!(check(folder.path()).size, expected + 700);
    }
}

/// Halves every tile that the checkpoint of 250 leaves does not cover, as a crash of the
/// machine may.
fn tear_uncommitted(path: &Path) {
    for name in ["tile/0/000", "tile/0/001", "tile/0/002", "tile/entries/000", "tile/entries/001"] {
        let path = path.join(name);
        if let Ok(file) = File::options().write(true).open(&path) {
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }
    }
}

#[test]
fn one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    assert!(matches!(Writer::open(folder.path(), key()), Err(WriteError::Locked(_))));
}

#[test]
fn partial_tiles_go_when_they_are_full_and_readers_find_them_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path());
    (0..6).for_each(|_| append(&mut writer, 100));
    let old = folder.path().join("tile/0/000.p");
    assert!(!old.exists());
    let reader = Folder::open(folder.path()).unwrap();
    for kind in [TileKind::Level(0), TileKind::Entries] {
        let tile = TileCoordinate { kind, index: 0, width: 100 };
        let bytes = reader.tile(&tile).unwrap();
        match kind {
            TileKind::Entries => assert_eq!(tile.entries(&bytes).unwrap()[99], entry(99)),
            TileKind::Level(_) => assert_eq!(tile.hashes(&bytes).unwrap().len(), 100),
        }
    }
}

#[test]
fn damage_and_old_copies_are_refused() {
    let check = |damage: &dyn Fn(&Path), expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path());
        append(&mut writer, 10);
        std::fs::copy(folder.path().join("state/checkpoint"), folder.path().join("old")).unwrap();
        append(&mut writer, 10);
        drop(writer);
        damage(folder.path());
        let error = Writer::open(folder.path(), key()).unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    };
    let spoil = |name: &'static str| {
        move |path: &Path| {
            let path = path.join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    };
    check(&spoil("tile/0/000.p/20"), "Damaged");
    check(&spoil("tile/entries/000.p/20"), "EntriesDamaged");
    check(&spoil("state/checkpoint"), "Checkpoint");
    check(&|path| std::fs::remove_file(path.join("tile/0/000.p/20")).unwrap(), "Tile(Read");
    check(&|path| std::fs::remove_file(path.join("state/checkpoint")).unwrap(), "NoState");
    check(
        &|path| {
            std::fs::copy(path.join("old"), path.join("state/checkpoint")).unwrap();
        },
        "Contradiction",
    );
}

#[test]
fn a_torn_published_checkpoint_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path());
    append(&mut writer, 10);
    drop(writer);
    std::fs::write(folder.path().join(CHECKPOINT), b"").unwrap();
    drop(open(folder.path()));
    assert_eq!(check(folder.path()).size, 10);
}

#[test]
fn another_log_s_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let other = SigningKey::from_seed("other.example", &[3; 32], KeyKind::Ed25519).unwrap();
    assert!(matches!(Writer::open(folder.path(), other), Err(WriteError::Checkpoint { .. })));
}

#[test]
fn what_is_too_large_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path());
    let long = vec![0; ENTRY_BYTES_MAX + 1];
    assert!(matches!(writer.append(&[&long[..]]), Err(WriteError::TooLarge(65_536))));
    let many = vec![b""; BATCH_ENTRIES_MAX + 1];
    assert!(matches!(writer.append(&many), Err(WriteError::TooLarge(_))));
    append(&mut writer, 1);
    assert_eq!(check(folder.path()).size, 1);
}
