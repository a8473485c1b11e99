//! What is new stays new until its listener was told, whoever scans or looks in between.

use super::*;

struct Case {
    folder: tempfile::TempDir,
    store: Store,
}

impl Case {
    /// With the image `a`, of which nothing was found.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("store"));
        let case = Self { folder, store };
        let first = case.database(&[]);
        case.scan(&first, "1");
        case
    }

    fn database(&self, hit: &[usize]) -> Database {
        let name = hit.iter().map(ToString::to_string).collect::<Vec<_>>().join("-");
        database(&self.folder.path().join(format!("{name}.db")), hit.iter().copied())
    }

    /// As `palisade scan IMAGE` by `database`.
    fn scan(&self, database: &Database, program: &str) {
        self.scan_image(&inventory("a", 0..9), database, program);
    }

    fn scan_image(&self, image: &Inventory, database: &Database, program: &str) {
        let found = crate::matching::find_vulnerabilities(image, database).unwrap();
        let digest = Some(database.digest());
        self.store.put(image, &found.into(), digest, (program, NOW)).unwrap();
    }

    /// What is new and gone to the watch, or to readers.
    fn look(&self, database: &Database, by_watch: bool, is_told: bool) -> [Vec<String>; 2] {
        let options = LookOptions {
            now: NOW,
            program: "1",
            details: false,
            full: false,
            n_threads_max: 1,
            watch: by_watch.then_some(LARGE),
        };
        let mut said = [Vec::new(), Vec::new()];
        let mut each = |seen: Seen| {
            said[0].extend(ids(&seen.new).into_iter().map(String::from));
            said[1].extend(ids(&seen.gone).into_iter().map(String::from));
        };
        let summary = self.store.look(database, &options, &mut each).unwrap();
        match (is_told, by_watch) {
            (true, true) => self.store.acknowledge_watch(summary.time).unwrap(),
            (true, false) => self.store.acknowledge(summary.time).unwrap(),
            _ => {}
        }
        said
    }
}

const NOTHING: [Vec<String>; 2] = [Vec::new(), Vec::new()];

fn new(numbers: &[usize]) -> [Vec<String>; 2] {
    [numbers.iter().map(|i| format!("CVE-2026-{i:05}")).collect(), Vec::new()]
}

#[test]
fn what_a_scan_finds_first_is_news_until_it_is_told() {
    let case = Case::new();
    assert_eq!(case.look(&case.database(&[]), true, true), NOTHING);
    // The database is replaced, and the image is scanned before anybody looks.
    let second = case.database(&[1]);
    case.scan(&second, "1");
    assert_eq!(case.look(&second, true, false), new(&[1]));
    // Nobody was told, and it is scanned again; then by a newer database.
    case.scan(&second, "1");
    assert_eq!(case.look(&second, true, false), new(&[1]));
    let third = case.database(&[1, 2]);
    case.scan(&third, "1");
    assert_eq!(case.look(&third, true, true), new(&[1, 2]));
    case.scan(&third, "1");
    assert_eq!(case.look(&third, true, true), NOTHING);
    // Told by the watch is told.
    assert_eq!(case.look(&third, false, true), NOTHING);
    // What a look noted beside the inventory is not lost either, nor what went.
    let fourth = case.database(&[2, 3]);
    let said = [vec!["CVE-2026-00003".to_string()], vec!["CVE-2026-00001".to_string()]];
    assert_eq!(case.look(&fourth, true, false), said);
    case.scan(&fourth, "1");
    assert_eq!(case.look(&fourth, true, false), said);
    assert_eq!(case.look(&fourth, false, true), said);
    assert_eq!(case.look(&fourth, true, true), said);
}

#[test]
fn what_readers_were_told_the_watch_still_tells() {
    let case = Case::new();
    assert_eq!(case.look(&case.database(&[]), true, true), NOTHING);
    let second = case.database(&[1]);
    assert_eq!(case.look(&second, false, true), new(&[1]));
    assert_eq!(case.look(&second, false, true), NOTHING);
    let third = case.database(&[1, 2]);
    assert_eq!(case.look(&third, false, true), new(&[2]));
    assert_eq!(case.look(&third, true, true), new(&[1, 2]));
    for by_watch in [true, false] {
        assert_eq!(case.look(&third, by_watch, true), NOTHING);
    }
}

#[test]
fn a_watch_that_begins_tells_what_comes_from_then_on() {
    // Where it never looked, what readers were told is told.
    let case = Case::new();
    let second = case.database(&[1]);
    assert_eq!(case.look(&second, false, true), new(&[1]));
    assert_eq!(case.look(&second, true, false), NOTHING);
    let third = case.database(&[1, 2]);
    assert_eq!(case.look(&third, false, true), new(&[2]));
    assert_eq!(case.look(&third, true, true), new(&[2]));

    // It may begin before anything is stored.
    let folder = tempfile::tempdir().unwrap();
    let case = Case { store: Store::new(&folder.path().join("store")), folder };
    let first = case.database(&[]);
    assert_eq!(case.look(&first, false, false), NOTHING);
    assert!(!case.store.folder().exists());
    assert_eq!(case.look(&first, true, false), NOTHING);
    case.scan(&first, "1");
    let second = case.database(&[1]);
    assert_eq!(case.look(&second, false, true), new(&[1]));
    assert_eq!(case.look(&second, true, true), new(&[1]));
}

#[test]
fn the_state_of_an_earlier_release_has_no_mark_of_the_watch() {
    let state: State = serde_json::from_str(
        r#"{"program":"1","chain":[],"looked":"2026-11-29T00:00:00Z","begun":null,"n_evicted":0}"#,
    )
    .unwrap();
    assert!(state.looked.is_some() && state.watched.is_none());
    let written = serde_json::to_string(&state).unwrap();
    assert!(!written.contains("watched"), "{written}");
}

#[test]
fn what_another_release_or_a_scan_without_a_database_finds_is_compared_too() {
    let case = Case::new();
    let second = case.database(&[1, 7]);
    case.look(&second, true, true);
    // The other release sees two packages more, of which one is vulnerable.
    let third = case.database(&[1, 7, 10]);
    case.scan_image(&inventory("a", 0..11), &third, "2");
    assert_eq!(case.look(&third, true, true), new(&[10]));
    // Nobody asked a database: what was found is as it was.
    let none = Evaluation::default();
    case.store.put(&inventory("a", 0..11), &none, None, ("1", NOW)).unwrap();
    assert_eq!(case.store.list().unwrap().entries[0].n_vulnerabilities, 3);
    assert_eq!(case.look(&third, true, true), NOTHING);
}

#[test]
fn an_image_that_no_database_was_asked_about_is_stored_as_if_for_the_first_time() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case { store: Store::new(&folder.path().join("store")), folder };
    let none = Evaluation::default();
    case.store.put(&inventory("a", 0..9), &none, None, ("1", NOW)).unwrap();
    let first = case.database(&[1]);
    case.scan(&first, "1");
    assert_eq!(case.look(&first, true, true), NOTHING);
    assert_eq!(case.store.list().unwrap().entries[0].n_vulnerabilities, 1);
}

#[test]
fn an_image_that_is_scanned_after_a_look_is_not_stored_again() {
    let case = Case::new();
    let other = inventory("other", 100..109);
    case.scan_image(&other, &case.database(&[]), "1");
    case.look(&case.database(&[]), false, true);
    // What it says of one of the two changes; neither file does.
    let second = case.database(&[1]);
    case.look(&second, false, true);
    let image = inventory("a", 0..9);
    for image in [&image, &other] {
        assert!(case.store.is_kept(image, Some(second.digest()), "1"));
        assert!(!case.store.is_kept(image, Some(second.digest()), "2"));
        assert!(!case.store.is_kept(image, Some(Digest::of(b"another")), "1"));
    }
}
