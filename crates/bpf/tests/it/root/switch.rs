//! Handlers change while events go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_bpf::{OpenClasses, OpenFilter, OpenTexts, PathText};

use super::*;

/// How often handlers are exchanged.
const SWITCHES: usize = 50;

/// How many events may be on their way: far fewer than fit into the ring, on any machine.
const AHEAD_MAX: u64 = 8192;

/// Removes files that do not exist, each with a number of its own, until told to stop.
fn make_events(folder: &std::path::Path, stop: &AtomicBool, n_seen: &AtomicU64) -> u64 {
    let mut n = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        if n >= n_seen.load(Ordering::Relaxed) + AHEAD_MAX {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        std::fs::remove_file(folder.join(n.to_string())).unwrap_err();
        n += 1;
        // A steady stream, not a flood: what is to be found out is not the size of the rings.
        if n.is_multiple_of(64) {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    n
}

#[test]
fn no_event_is_lost_or_doubled_while_handlers_change() {
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = Options { bulk_ring_bytes: 1 << 25, ..seeing_itself() };
    let mut sensor = load(&["unlink"], &options);
    let loader = sensor.loader().unwrap();
    let mut other = interest(&["unlink", "memfd_create", "connect", "openat"]);
    // Another filter makes another program.
    let mut texts = OpenTexts::default();
    texts.add_always(OpenClasses::WRITE);
    texts.add_text(PathText::anywhere("/nonexistent/"), OpenClasses::READ);
    other.opens = OpenFilter::Only(texts);
    let interests = [interest(&["unlink", "dup"]), other];

    let (stop, n_seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    let prefix = format!("{}/", folder.path().display());
    let mut take = |sensor: &mut Sensor, timeout| {
        sensor
            .poll(Duration::from_millis(timeout), &mut |record| {
                let event = Event::new(&record);
                if event.kind == UNLINK
                    && let Some(number) = event.text(1).strip_prefix(&prefix)
                {
                    *seen.entry(number.parse().unwrap()).or_default() += 1;
                    n_seen.fetch_add(1, Ordering::Relaxed);
                }
            })
            .unwrap()
    };
    let n_made = std::thread::scope(|scope| {
        let maker = scope.spawn(|| make_events(folder.path(), &stop, &n_seen));
        // Loaded on a thread of its own, while this one reads, as a watch does it.
        let (sender, loaded) = std::sync::mpsc::sync_channel(1);
        scope.spawn(move || {
            for n in 0..SWITCHES {
                sender.send(loader.load(&interests[n % 2]).unwrap()).unwrap();
            }
        });
        let mut n_switched = 0;
        while n_switched < SWITCHES {
            if let Ok(handlers) = loaded.try_recv() {
                assert_eq!(handlers.refusals().len(), 0);
                drop(sensor.switch(handlers).unwrap());
                n_switched += 1;
            }
            take(&mut sensor, 5);
        }
        stop.store(true, Ordering::Relaxed);
        maker.join().unwrap()
    });
    while take(&mut sensor, 100) > 0 {}
    assert_eq!(sensor.losses().total().n_lost(), 0);
    assert!(n_made > 1000, "{n_made}");
    let wrong: Vec<_> = (0..n_made).filter(|n| seen.get(n) != Some(&1)).collect();
    assert_eq!(wrong, [0; 0], "of {n_made} events");
}

#[test]
fn calls_are_seen_from_the_switch_on_and_no_longer_after_the_next() {
    let Some(_alone) = root() else { return };
    let mut sensor = load(&["procexit"], &seeing_itself());
    let hooks =
        |sensor: &Sensor| sensor.attached().iter().map(|hook| hook.program).collect::<Vec<_>>();
    assert_eq!(hooks(&sensor), ["on_exit"]);
    let loader = sensor.loader().unwrap();
    let memory = sensor.kernel_memory_bytes();

    // Loaded on another thread, as a reload does.
    let wanted = interest(&["procexit", "memfd_create"]);
    let handlers =
        std::thread::scope(|scope| scope.spawn(|| loader.load(&wanted).unwrap()).join().unwrap());
    assert!(sensor.switch(handlers).unwrap().is_some());
    assert_eq!(hooks(&sensor), ["on_exit", "dispatch"]);
    assert_eq!(sensor.attached()[1].events, ["memfd_create"]);
    let make = |name: &std::ffi::CStr| {
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), 0) };
        assert!(fd >= 0);
        // SAFETY: it was just opened, and nobody else has it.
        unsafe { libc::close(fd) };
    };
    make(c"palisade-one");
    find(&mut sensor, |e| e.kind == MEMFD_CREATE && e.text(1) == "palisade-one");

    drop(sensor.switch(loader.load(&interest(&["procexit", "unlink"])).unwrap()).unwrap());
    make(c"palisade-two");
    let missing = format!("/nonexistent/palisade-{}", std::process::id());
    std::fs::remove_file(&missing).unwrap_err();
    let events = collect(&mut sensor, |e| e.kind == UNLINK && e.text(1) == missing);
    let is_two = |e: &Event| e.kind == MEMFD_CREATE && e.text(1) == "palisade-two";
    assert!(!events.iter().any(is_two), "nobody asks for it any more");
    // What was exchanged is gone from the kernel; the rings are what they were.
    let now = sensor.kernel_memory_bytes();
    assert!(now.abs_diff(memory) < 1 << 20, "{memory} {now}");
    assert!(sensor.rings().iter().all(|ring| ring.used_bytes <= ring.bytes));
}
