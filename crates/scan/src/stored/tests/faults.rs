//! What goes wrong with one inventory stops no look, and what is interrupted leaves nothing.

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn stored(images: &[(&str, std::ops::Range<usize>)]) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    for (name, packages) in images {
        let image = inventory(name, packages.clone());
        store.put(&image, &Evaluation::default(), None, ("1", NOW)).unwrap();
    }
    (folder, store)
}

#[test]
fn an_inventory_that_would_grow_too_large_is_named() {
    let (folder, store) = stored(&[("large", 0..60), ("small", 60..63)]);
    let length =
        |name: &str| std::fs::metadata(store.path(Digest::of(name.as_bytes()))).unwrap().len();
    // Room for what there is, but not for what is found.
    let tight = Store { file_max: length("large") + 200, ..store.clone() };
    let database = database(&folder.path().join("1"), 0..63);
    for _ in 0..2 {
        let (seen, summary) = look(&tight, &database);
        assert_eq!((seen.len(), summary.n_inventories, summary.n_unreadable), (1, 1, 1));
        assert_eq!(summary.unreadable[0].reason, "it would be too large to be read again");
    }
    assert_eq!(look(&store, &database).1.n_unreadable, 0);
}

#[test]
fn an_answer_that_makes_no_sense_is_none() {
    let (folder, store) = stored(&[("a", 0..9), ("b", 20..29)]);
    let base = |name: &str, hit: &[usize]| database(&folder.path().join(name), hit.iter().copied());
    look(&store, &base("1", &[1]));
    let second = base("2", &[1, 2]);
    look(&store, &second);
    // As another release would write it, under its right digest.
    let mut state = store.state();
    let of = |digest: Digest| store.folder.join(format!("{}.answers", digest.hex()));
    let mut bytes = std::fs::read(of(state.answers.unwrap())).unwrap();
    let body = br#"{"cells":{"#;
    let at = bytes.windows(body.len()).rposition(|part| part == body).unwrap();
    bytes[at] = b'[';
    state.answers = Some(Digest::of(&bytes));
    std::fs::write(of(Digest::of(&bytes)), &bytes).unwrap();
    store.write_state(&state).unwrap();
    let (seen, summary) = look(&store, &second);
    assert_eq!((summary.n_matched, summary.n_unreadable), (1, 0));
    // What it alone said is told once more.
    let new: Vec<&str> = seen.iter().flat_map(|seen| ids(&seen.new)).collect();
    assert_eq!(new, ["CVE-2026-00002"]);
    let (seen, summary) = look(&store, &second);
    assert_eq!((summary.n_matched, seen[0].new.len() + seen[1].new.len()), (0, 0));
}

#[test]
fn what_a_killed_writer_left_is_removed() {
    let (folder, store) = stored(&[("a", 0..3)]);
    let leave = || {
        for name in [".tmpAb3xYz", ".tmp000000"] {
            std::fs::write(store.folder.join(name), "part").unwrap();
        }
    };
    let others = [".tmp", ".tmpAb3xYz.inventory", ".tmpAb/", "mine", ".tmpAb3x-z"];
    for name in others {
        let path = store.folder.join(name.trim_end_matches('/'));
        let made =
            if name.ends_with('/') { std::fs::create_dir(path) } else { std::fs::write(path, "") };
        made.unwrap();
    }
    std::fs::create_dir(store.folder.join(".tmpfolder")).unwrap();
    let names = || -> Vec<String> {
        let names = std::fs::read_dir(&store.folder).unwrap();
        names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let check = |what: &str| {
        let names = names();
        assert!(!names.iter().any(|name| name == ".tmpAb3xYz" || name == ".tmp000000"), "{what}");
        assert!(others.iter().all(|one| names.iter().any(|n| n == one.trim_end_matches('/'))));
        assert!(names.iter().any(|name| name == ".tmpfolder"));
    };
    leave();
    store.put(&inventory("b", 0..3), &Evaluation::default(), None, ("1", NOW)).unwrap();
    check("put");
    leave();
    // The name of another image's inventory among them is named, as ever.
    let (_, summary) = look(&store, &database(&folder.path().join("1"), 0..1));
    assert_eq!(summary.n_unreadable, 1);
    check("look");
}

#[test]
fn who_waits_says_so_and_gives_up() {
    let (folder, store) = stored(&[("a", 0..3)]);
    let held = store.lock().unwrap();
    let n_said = Arc::new(AtomicUsize::new(0));
    let say = {
        let n_said = Arc::clone(&n_said);
        move || {
            n_said.fetch_add(1, Ordering::SeqCst);
        }
    };
    let hasty = store.clone().waiting(Some(Duration::from_millis(120)), say.clone());
    let begun = Instant::now();
    let none = Evaluation::default();
    let error = hasty.put(&inventory("b", 0..3), &none, None, ("1", NOW)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(hasty.list().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() >= Duration::from_millis(240));
    assert_eq!(n_said.load(Ordering::SeqCst), 2);
    // A look waits as long as it takes.
    let database = database(&folder.path().join("1"), 0..1);
    std::thread::scope(|scope| {
        let patient = store.clone().waiting(None, say);
        let looks = scope.spawn(move || look_untold(&patient, &database, NOW).1.n_inventories);
        while n_said.load(Ordering::SeqCst) < 3 {
            std::thread::yield_now();
        }
        drop(held);
        assert_eq!(looks.join().unwrap(), 1);
    });
    // Where nobody has it nothing is said.
    assert_eq!(hasty.list().unwrap().entries.len(), 1);
    assert_eq!(n_said.load(Ordering::SeqCst), 3);
}

#[test]
fn what_did_not_change_is_not_written() {
    let (folder, store) = stored(&[("a", 0..9), ("b", 20..29)]);
    let base = |name: &str, hit: &[usize]| database(&folder.path().join(name), hit.iter().copied());
    let inode =
        |name: &str| std::fs::metadata(store.path(Digest::of(name.as_bytes()))).unwrap().ino();
    let full = |database: &Database| {
        let watch = None;
        let options = LookOptions {
            now: NOW,
            program: "1",
            details: false,
            full: true,
            n_threads_max: 4,
            watch,
        };
        store.look(database, &options, &mut |_| {}).unwrap().n_matched
    };
    look(&store, &base("0", &[]));
    let before = [inode("a"), inode("b")];
    // Everything is matched, and something else is found in one of them.
    let first = base("1", &[1]);
    assert_eq!(full(&first), 2);
    let after = [inode("a"), inode("b")];
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1], after[1]);
    assert!(store.list().unwrap().entries.iter().all(|e| e.database == Some(first.digest())));
    // What is noted beside it counts.
    let (_, summary) = look(&store, &first);
    assert_eq!((summary.n_matched, summary.is_delta), (0, true));
    assert_eq!(full(&first), 2);
    assert_eq!(after, [inode("a"), inode("b")]);
}
