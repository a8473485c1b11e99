//! What is too large for the watch is named, and stops nothing.

use super::*;

const TIGHT: Bounds = Bounds { packages_max: 40, vulnerabilities_max: 4, bytes_max: 64 << 10 };

fn watched(store: &Store, database: &Database, now: Timestamp) -> (Vec<Seen>, Summary) {
    let watch = Some(TIGHT);
    let options =
        LookOptions { now, program: "1", details: false, full: false, n_threads_max: 1, watch };
    let mut seen = Vec::new();
    let summary = store.look(database, &options, &mut |one| seen.push(one)).unwrap();
    (seen, summary)
}

/// Looks at a small image and at `large`, of which `first` and then `second` finds something.
fn check(large: &Inventory, hit: [&[usize]; 2], why: &str) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    let base = |name: &str, hit: &[usize]| database(&folder.path().join(name), hit.iter().copied());
    let small = inventory("small", 0..3);
    for image in [&small, large] {
        store.put(image, &Evaluation::default(), None, ("1", NOW)).unwrap();
    }
    let first = base("1", hit[0]);
    look(&store, &first);
    let second = base("2", hit[1]);
    let (seen, summary) = watched(&store, &second, NOW);
    let names: Vec<&str> = seen.iter().map(|seen| seen.entry.subject.name.as_str()).collect();
    assert_eq!((names, summary.n_unreadable), (vec!["small"], 1), "{why}");
    let reason = &summary.unreadable[0].reason;
    assert!(
        reason.starts_with("it is too large for the watch (") && reason.contains(why),
        "{reason}"
    );
    assert!(reason.ends_with("`palisade scan --stored` judges it"), "{reason}");
    store.acknowledge_watch(summary.time).unwrap();
    // Others judge it, and miss nothing.
    let (seen, summary) = look(&store, &second);
    assert_eq!((seen.len(), summary.n_unreadable), (2, 0), "{why}");
    let of_large = seen.iter().find(|seen| seen.entry.subject.name != "small").unwrap();
    let n_new = hit[1].iter().filter(|i| !hit[0].contains(i)).count();
    assert_eq!(of_large.new.len(), n_new, "{why}");
}

#[test]
fn an_inventory_that_is_too_large_for_the_watch_is_left_to_others() {
    let many: Vec<usize> = (10..20).collect();
    check(&inventory("packages", 10..60), [&[], &[10]], "50 packages, at most 40");
    // As the head says, and as is found now: in what changed, and in all of it.
    check(&inventory("found", 10..30), [&many, &many], "10 vulnerabilities, at most 4");
    check(&inventory("finds", 10..30), [&[], &many], "so much is found in it");
    check(&inventory("more", 10..30), [&many[..3], &many], "so much is found in it");
    // Few are found, with long texts: 32 KiB are read, and twice as much is found.
    let mut long = inventory("long", 10..12);
    for package in &mut long.packages {
        package.version = "0.1".into();
        package.purl.push_str(&"x".repeat(16 << 10));
    }
    check(&long, [&[], &[10, 11]], "so much is found in it");
    for package in &mut long.packages {
        package.purl.push_str(&"x".repeat(40 << 10));
    }
    check(&long, [&[], &[10]], "in bytes");
}

#[test]
fn what_everything_is_matched_for_is_bounded_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store"));
    // No database was asked yet: all packages are matched.
    store.put(&inventory("a", 0..30), &Evaluation::default(), None, ("1", NOW)).unwrap();
    let database = database(&folder.path().join("1"), 0..10);
    let (seen, summary) = watched(&store, &database, NOW);
    assert_eq!((seen.len(), summary.n_unreadable), (0, 1));
    let reason = &summary.unreadable[0].reason;
    assert!(reason.contains("so much is found in it"), "{reason}");
    assert_eq!(look(&store, &database).0[0].new.len(), 10);
}
