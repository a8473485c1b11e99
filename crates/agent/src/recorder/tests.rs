//! The recorder as a whole, with files: what is kept, what is not, and that it is said.

use std::path::Path;

use palisade_sensor::capture::{Replay, replay};
use palisade_sensor::record::{RecordBuilder, Trailer};
use palisade_sensor::state::State;

use super::*;
use crate::detection::RuleInfo;
use crate::testing::alert;

/// A read of bytes that do not compress, as a live record; its time is its number.
fn record(n: u64) -> Vec<u8> {
    const READ_EXIT: u16 = 7;
    let noise: Vec<u8> = (0..200_u64)
        .map(|at| {
            ((n * 1_000_003 + at * at * 7919).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8
        })
        .collect();
    let mut bytes = Vec::new();
    let mut builder = RecordBuilder::new();
    builder.push_i64(200).push(&noise);
    builder.build(&mut bytes, READ_EXIT, 1_000_000 * (n + 1), 7).unwrap();
    bytes.extend(Trailer { tgid: 7, ppid: 1, ..Trailer::default() }.encode());
    bytes
}

fn engine() -> Engine {
    Engine::new(State::new())
}

fn on_alert(folder: &Path) -> OnAlert {
    OnAlert {
        folder: folder.to_path_buf(),
        before: Duration::from_secs(30),
        after: Duration::from_millis(100),
        ring_bytes: 32 << 20,
        files_bytes: 64 << 20,
        files_max: 3,
        choice: Choice::All,
    }
}

fn start(recording: Recording) -> (Recorder, Option<Desk>, Engine) {
    let (mut recorder, desk) = Recorder::start(recording).unwrap();
    let mut engine = engine();
    recorder.tick(&mut engine);
    (recorder, desk, engine)
}

/// Records `n` events, with the clock of the recorder running.
fn run(recorder: &mut Recorder, engine: &mut Engine, n: std::ops::Range<u64>) {
    for n in n {
        let bytes = record(n);
        let _ = engine.feed(&bytes);
        recorder.append(&bytes, engine);
        if n % 64 == 0 {
            recorder.tick(engine);
        }
    }
    recorder.tick(engine);
}

fn end(mut recorder: Recorder) -> (RecorderHealth, Vec<String>) {
    let mut problems = Vec::new();
    recorder.finish(&mut |problem| problems.push(problem));
    (recorder.health(), problems)
}

/// Times of the events of a file in milliseconds, which count them.
fn played(path: &Path) -> (Vec<u64>, Replay) {
    let mut found = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    let report = replay(file, |event| found.push(event.time().as_nanos() / 1_000_000 - 1)).unwrap();
    assert!(report.problem.is_none(), "{:?}", report.problem);
    (found, report)
}

fn rule() -> RuleInfo {
    RuleInfo {
        name: "r".into(),
        priority: palisade_model::Priority::Critical,
        tags: Vec::new(),
        source: "syscall".into(),
        capture: false,
        capture_duration: None,
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[test]
fn what_was_before_and_after_an_alert_is_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than a busy machine needs for two hundred records.
    let after = Duration::from_secs(3);
    let settings = OnAlert { after, ..on_alert(folder.path()) };
    let recording = Recording { on_alert: Some(settings), ..Recording::default() };
    let (mut recorder, desk, mut engine) = start(recording);
    run(&mut recorder, &mut engine, 0..500);
    let path = desk.unwrap().request(&alert("Shell", None), &rule()).unwrap();
    run(&mut recorder, &mut engine, 500..700);
    std::thread::sleep(after + Duration::from_millis(50));
    recorder.tick(&mut engine);
    // Too late to be part of it.
    run(&mut recorder, &mut engine, 700..900);
    let (health, problems) = end(recorder);
    assert_eq!(problems, [""; 0]);
    assert_eq!((health.n_records, health.n_not_recorded, health.n_files), (900, 0, 1));
    assert_eq!(list(folder.path()), std::slice::from_ref(&path));
    assert_eq!(played(&path).0, (0..700).collect::<Vec<_>>());
}

#[test]
fn an_alert_of_the_last_moment_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording { on_alert: Some(on_alert(folder.path())), ..Recording::default() };
    let (mut recorder, desk, mut engine) = start(recording);
    run(&mut recorder, &mut engine, 0..10);
    let path = desk.unwrap().request(&alert("Shell", None), &rule()).unwrap();
    end(recorder);
    assert_eq!(played(&path).0, (0..10).collect::<Vec<_>>());
}

#[test]
fn the_ring_is_bounded_and_what_it_drops_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = OnAlert { ring_bytes: RING_BYTES_MIN, ..on_alert(folder.path()) };
    let recording = Recording { on_alert: Some(settings), ..Recording::default() };
    let (mut recorder, desk, mut engine) = start(recording);
    // Ten times what the ring holds; the keeper gets time to ask for sections.
    for part in 0..100 {
        run(&mut recorder, &mut engine, part * 1000..(part + 1) * 1000);
        std::thread::sleep(Duration::from_millis(20));
        assert!(recorder.health().ring_bytes <= RING_BYTES_MIN as u64);
    }
    let path = desk.unwrap().request(&alert("Shell", None), &rule()).unwrap();
    let (health, problems) = end(recorder);
    assert_eq!(problems, [""; 0]);
    let (found, report) = played(&path);
    assert!(!found.is_empty() && report.n_malformed == 0);
    assert_eq!(*found.last().unwrap(), 99_999);
    assert!(found.is_sorted_by(|one, other| one + 1 == *other), "nothing is missing inside");
    assert_eq!(health.n_records, 100_000);
    assert!(health.n_evicted_early > 10_000, "{health:?}");
    assert!(health.n_states > 4, "{health:?}");
    assert!(std::fs::metadata(&path).unwrap().len() < 5 << 20);
}

#[test]
fn a_full_queue_costs_a_gap_that_is_counted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.palcap");
    let continuous = Some(Continuous { file: file.clone(), files_bytes: 64 << 20 });
    let (mut recorder, _, mut engine) = start(Recording { continuous, ..Recording::default() });
    run(&mut recorder, &mut engine, 0..100);
    recorder.cut(Instant::now());
    // As if the disk were slow.
    recorder.shared.queued.fetch_add(QUEUE_BYTES_MAX, Ordering::Relaxed);
    run(&mut recorder, &mut engine, 100..4000);
    recorder.cut(Instant::now());
    assert!(recorder.has_gap);
    run(&mut recorder, &mut engine, 4000..4100);
    recorder.shared.queued.fetch_sub(QUEUE_BYTES_MAX, Ordering::Relaxed);
    // The next state waits for its share of the time.
    while recorder.has_gap {
        std::thread::sleep(Duration::from_millis(5));
        recorder.tick(&mut engine);
    }
    run(&mut recorder, &mut engine, 4100..4200);
    let (health, problems) = end(recorder);
    assert_eq!(problems, [""; 0]);
    let (found, report) = played(&file);
    assert!(found.into_iter().eq((0..100).chain(4100..4200)));
    assert_eq!(health.n_not_recorded, 4000);
    assert!(report.n_not_recorded > 0, "the file says so as well");
}

#[test]
fn a_continuous_recording_is_rotated_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.palcap");
    let continuous = Continuous { file: file.clone(), files_bytes: FILES_BYTES_MIN };
    let recording = Recording { continuous: Some(continuous.clone()), ..Recording::default() };
    let (mut recorder, _, mut engine) = start(recording.clone());
    for part in 0..90 {
        run(&mut recorder, &mut engine, part * 1000..(part + 1) * 1000);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (health, problems) = end(recorder);
    assert_eq!(problems, [""; 0]);
    let found = list(folder.path());
    let n_bytes: u64 = found.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(found.len() as u64, ROTATION_FILES, "{found:?}");
    assert!(n_bytes <= FILES_BYTES_MIN, "{n_bytes}");
    // From the oldest to the newest, they are one recording.
    let mut all = Vec::new();
    for path in (1..ROTATION_FILES).rev().map(|n| files::rotated(&file, n)).chain([file.clone()]) {
        all.extend(played(&path).0);
    }
    assert_eq!(*all.last().unwrap(), 89_999);
    assert!(all.len() > 40_000 && all.is_sorted_by(|one, other| one + 1 == *other));
    assert_eq!(health.n_not_recorded, 0);
    // Another run does not touch them.
    let error = Recorder::start(recording).unwrap_err();
    assert!(error.hint().unwrap().contains("never replace"), "{error}");
}

#[test]
fn a_folder_keeps_so_many_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording { on_alert: Some(on_alert(folder.path())), ..Recording::default() };
    let (mut recorder, desk, mut engine) = start(recording);
    let desk = desk.unwrap();
    let mut paths = Vec::new();
    for n in 0..5 {
        let mut alert = alert("Shell", None);
        alert.time = palisade_base::Timestamp::from_nanos(alert.time.as_nanos() + n);
        paths.push(desk.request(&alert, &rule()).unwrap());
        run(&mut recorder, &mut engine, n * 10..n * 10 + 10);
        std::thread::sleep(Duration::from_millis(120));
        recorder.tick(&mut engine);
    }
    let (health, problems) = end(recorder);
    assert_eq!(list(folder.path()), paths[2..]);
    assert_eq!((health.n_files, health.n_files_removed), (5, 2));
    assert!(problems[0].starts_with("removed to make room: recording"), "{problems:?}");
}

mod root {
    use super::*;

    /// A file system of its own, of 256 KiB.
    struct Small(tempfile::TempDir);

    impl Small {
        fn new() -> Option<Self> {
            if !rustix::process::geteuid().is_root() {
                eprintln!("skipped: mounting needs root");
                return None;
            }
            let folder = tempfile::tempdir().unwrap();
            let mounted = std::process::Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=256k", "palisade-test"])
                .arg(folder.path())
                .status();
            assert!(mounted.unwrap().success());
            Some(Self(folder))
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(self.0.path()).status();
        }
    }

    #[test]
    fn a_full_disk_is_said_and_what_fits_is_usable() {
        let Some(small) = Small::new() else { return };
        let folder = small.0.path();
        let recording = Recording {
            on_alert: Some(on_alert(folder)),
            continuous: Some(Continuous { file: folder.join("all"), files_bytes: 64 << 20 }),
            ..Recording::default()
        };
        let (mut recorder, desk, mut engine) = start(recording);
        run(&mut recorder, &mut engine, 0..20_000);
        let desk = desk.unwrap();
        let path = desk.request(&alert("Shell", None), &rule()).unwrap();
        run(&mut recorder, &mut engine, 20_000..21_000);
        let (health, problems) = end(recorder);
        assert!(health.n_failures >= 2 && health.n_not_recorded > 0, "{health:?}");
        let is_said = |name: &Path| {
            let name = format!("`{}`: No space left on device", name.display());
            problems.iter().any(|problem| problem.contains(&name))
        };
        assert!(is_said(&folder.join("all")), "{problems:?}");
        assert!(is_said(&path), "{problems:?}");
        let file = std::fs::File::open(folder.join("all")).unwrap();
        let mut n_events = 0;
        let report = replay(file, |_| n_events += 1).unwrap();
        assert!(n_events > 0 || report.problem.is_some());
    }
}
