//! A replay shows what was seen, wherever the recording begins, and damage is said.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use palisade_rules::fields::{FieldArgument, Fields as _, Value, Values};

use super::chunk::{CHUNK_BYTES_MAX, HEADER_BYTES, Header, Kind};
use super::writer::{Origin, Writer};
use super::{FILE_HEADER_BYTES, RecordingError, file_header, from_scap, info, to_scap};
use crate::capture::blocks;
use crate::capture::reader::{Block, Capture, CaptureError};
use crate::capture::replay::replay;
use crate::capture::upgrade::{Upgraded, Upgrader};
use crate::identity::HostPaths;
use crate::record::{Record, RecordBuilder, Trailer};
use crate::schema::Field;
use crate::schema::number::{EXECVE_19_X, OPENAT_2_X, PROCEXIT_1_E};
use crate::state::State;
use crate::{Engine, EventView};

const ORIGIN: Origin<'static> = Origin { writer: "test" };

/// Everything that an event answers, as one number.
fn digest(event: &EventView<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut values = Values::new();
    let name = FieldArgument::Key("name".into());
    for field in Field::ALL {
        for argument in [&FieldArgument::None, &FieldArgument::Index(1), &name] {
            values.clear();
            event.extract(field.id(), argument, &mut values);
            for value in &values {
                match value {
                    Value::Text(text) | Value::Bytes(text) => text.hash(&mut hasher),
                    other => format!("{other:?}").hash(&mut hasher),
                }
            }
            values.len().hash(&mut hasher);
        }
    }
    let known = (event.time(), event.process(), event.ancestors(), event.lineage());
    format!("{known:?} {:?} {:?}", event.container(), event.outcome()).hash(&mut hasher);
    (event.record().bytes(), event.record().cpu, event.record().trailer.map(|t| t.encode()))
        .hash(&mut hasher);
    hasher.finish()
}

/// The events of a capture, every `step`th looked at.
fn digests(bytes: &[u8], step: usize) -> (Vec<u64>, Option<String>) {
    let (mut found, mut n) = (Vec::new(), 0);
    let report = replay(bytes, |event| {
        n += 1;
        if n % step == 0 {
            found.push(digest(event));
        }
    })
    .unwrap();
    (found, report.problem.map(|problem| problem.to_string()))
}

fn captures() -> Vec<PathBuf> {
    let shared = std::env::vars().find(|(name, _)| name == "PALISADE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        |(_, path)| path.into(),
    );
    let mut pending = vec![shared.join("conformance/falco/captures")];
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                pending.push(path);
            } else if [".scap", ".scap.gz"].iter().any(|suffix| name.ends_with(suffix)) {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        eprintln!("skipped: no captures in {}", shared.display());
    }
    found.sort();
    found
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut plain = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
    let _ = std::io::Read::read_to_end(&mut decoder, &mut plain);
    plain
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn captures_of_others_are_the_same_in_this_form() {
    let mut sizes = [0_usize; 3];
    for path in captures() {
        let scap = plain(&std::fs::read(&path).unwrap());
        let mut ours = Vec::new();
        from_scap(&scap[..], &mut ours, ORIGIN).unwrap();
        let step = 1 + scap.len() / (256 << 10);
        assert!(digests(&ours, step).0 == digests(&scap, step).0, "{}", path.display());
        assert_eq!(info(&ours[..]).unwrap().n_malformed, 0, "{}", path.display());
        // The records come back byte for byte.
        let records = |bytes: &[u8]| {
            let mut hasher = DefaultHasher::new();
            let mut capture = Capture::open(bytes).unwrap();
            while let Ok(Some(block)) = capture.next_block() {
                if let Block::Event(event) = block
                    && Record::decode(event.record).is_ok_and(|record| record.tid != -1)
                {
                    (event.cpu, event.record).hash(&mut hasher);
                }
            }
            hasher.finish()
        };
        let mut back = Vec::new();
        to_scap(&ours[..], &mut back).unwrap();
        assert_eq!(records(&back), records(&scap), "{}", path.display());
        for (sum, n) in sizes.iter_mut().zip([scap.len(), gzip(&scap).len(), ours.len()]) {
            *sum += n;
        }
    }
    let [scap, compressed, ours] = sizes;
    println!(".scap {scap} bytes, .scap.gz {compressed}, ours {ours}");
    assert!(ours <= compressed, "smaller than what it replaces");
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// The figures of `docs/formats/capture.md`. In a release build they mean something.
#[test]
fn figures() {
    let mut totals = [0.0_f64; 4];
    let (mut n, mut n_plain, mut n_entries, mut n_sealed) = (0_usize, 0, 0, 0);
    for path in captures() {
        let scap = plain(&std::fs::read(&path).unwrap());
        let mut capture = Capture::open(&scap[..]).unwrap();
        let (mut records, mut raws, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
        while let Ok(Some(block)) = capture.next_block() {
            if let Block::Event(event) = block {
                records.push((event.cpu, event.record.to_vec()));
            }
        }
        let mut writer = Writer::new();
        let started = cpu_seconds();
        for (cpu, bytes) in &records {
            writer.append_plain(bytes, *cpu, &mut |raw| raws.push(raw));
        }
        raws.extend(writer.cut());
        totals[0] += cpu_seconds() - started;
        let started = cpu_seconds();
        for raw in &raws {
            raw.seal(&mut sealed);
        }
        totals[1] += cpu_seconds() - started;
        // Reading needs a state before the events.
        let mut file = file_header().to_vec();
        let mut engine = Engine::new(State::new());
        Writer::new().begin(&mut engine, ORIGIN, &mut |raw| raw.seal(&mut file));
        file.extend_from_slice(&sealed);
        let started = cpu_seconds();
        let mut sections = super::player::Sections::open(&file[..]).unwrap();
        let mut n_read = 0;
        let end: Result<(), std::convert::Infallible> = sections.run(&mut |_, _| {}, &mut |step| {
            n_read += usize::from(matches!(step, super::player::Step::Record { .. }));
            Ok(())
        });
        assert!(end.is_ok() && n_read == records.len());
        totals[2] += cpu_seconds() - started;
        let compressed = gzip(&scap);
        let started = cpu_seconds();
        let mut capture = Capture::open(&compressed[..]).unwrap();
        while let Ok(Some(_)) = capture.next_block() {}
        totals[3] += cpu_seconds() - started;
        n += records.len();
        n_plain += records.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        n_entries += raws.iter().map(super::chunk::Raw::n_bytes).sum::<usize>();
        n_sealed += sealed.len();
    }
    let each = |total: f64| total / n.max(1) as f64;
    println!(
        "{n} records of {:.1} bytes: {:.1} as entries, {:.1} in the file",
        each(n_plain as f64),
        each(n_entries as f64),
        each(n_sealed as f64)
    );
    let [append, seal, read, gz] = totals.map(|total| each(total * 1e9));
    println!(
        "append {append:.0} ns, compress {seal:.0} ns, read {read:.0} ns a record; .scap.gz read {gz:.0} ns"
    );
    // The state of this machine, as a recorder writes it.
    let (mut engine, report) = Engine::live(HostPaths::default()).unwrap();
    let (mut raws, mut sealed) = (Vec::new(), Vec::new());
    let started = cpu_seconds();
    Writer::new().begin(&mut engine, ORIGIN, &mut |raw| raws.push(raw));
    let begin_us = (cpu_seconds() - started) * 1e6;
    for raw in &raws {
        raw.seal(&mut sealed);
    }
    println!(
        "state of {} threads, {} descriptors: {begin_us:.0} µs, {} bytes, {} compressed",
        engine.state().n_threads(),
        report.n_fds,
        raws.iter().map(super::chunk::Raw::n_bytes).sum::<usize>(),
        sealed.len()
    );
}

/// A recording that begins after `n_before` events of a capture, and what its events were.
fn recorded_from(scap: &[u8], n_before: usize, step: usize) -> (Vec<u8>, Vec<u64>) {
    let mut capture = Capture::open(scap).unwrap();
    let mut upgrader = Upgrader::new();
    let (mut state, mut engine) = (Some(State::new()), None);
    let (mut out, mut expected, mut n) = (file_header().to_vec(), Vec::new(), 0);
    let mut writer = Writer::new();
    while let Ok(Some(block)) = capture.next_block() {
        match block {
            Block::State { kind, body, offset } => {
                if let Some(state) = &mut state {
                    blocks::apply(state, kind, body, offset).unwrap();
                }
            }
            Block::Event(event) => {
                let bytes = match upgrader.upgrade(event.record) {
                    Upgraded::Same => event.record,
                    Upgraded::Changed(bytes) => bytes,
                    _ => continue,
                };
                let engine = engine.get_or_insert_with(|| {
                    let mut state = state.take().unwrap();
                    state.finish_initial();
                    Engine::new(state)
                });
                let mut record = Record::decode(bytes).unwrap();
                record.cpu = event.cpu;
                if n >= n_before {
                    if n == n_before {
                        writer.begin(engine, ORIGIN, &mut |raw| raw.seal(&mut out));
                    }
                    writer.append_plain(bytes, event.cpu, &mut |raw| raw.seal(&mut out));
                }
                if let Some(event) = engine.take(record)
                    && n >= n_before
                    && n % step == 0
                {
                    expected.push(digest(&event));
                }
                n += 1;
            }
            _ => {}
        }
    }
    if let Some(raw) = writer.cut() {
        raw.seal(&mut out);
    }
    (out, expected)
}

#[test]
fn a_recording_may_begin_anywhere() {
    for path in captures() {
        let scap = plain(&std::fs::read(&path).unwrap());
        let step = 1 + scap.len() / (128 << 10);
        for n_before in [1, 3_000] {
            let (ours, expected) = recorded_from(&scap, n_before, step);
            let (mut found, mut n) = (Vec::new(), n_before);
            if expected.is_empty() {
                continue;
            }
            let report = replay(&ours[..], |event| {
                // Events are counted as records are here, where some are no events.
                let at = usize::try_from(event.number()).unwrap() - 1;
                n = at;
                if at % step == 0 {
                    found.push(digest(event));
                }
            })
            .unwrap();
            assert!(report.problem.is_none(), "{:?}", report.problem);
            let differs = found.iter().zip(&expected).position(|(one, other)| one != other);
            assert_eq!((differs, found.len()), (None, expected.len()), "{}", path.display());
        }
    }
}

/// A machine whose files name one container, and whose processes are this machine's.
fn live_engine(host: &Path) -> Engine {
    let folder = host.join("run/palisade/containers");
    std::fs::create_dir_all(&folder).unwrap();
    let json = r#"{"id":"web-1","name":"web","engine":"palisade","image":{"reference":"demo:1"},
        "policy":"strict","init_pid":4100001}"#;
    std::fs::write(folder.join("web-1.json"), json).unwrap();
    let paths = HostPaths { proc: "/proc".into(), ..HostPaths::under(host) };
    Engine::live(paths).unwrap().0
}

fn live(builder: &RecordBuilder, number: u16, tid: u32, ppid: u32, time_ns: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.build(&mut bytes, number, time_ns, i64::from(tid)).unwrap();
    let trailer = Trailer {
        cgroup_id: if tid > 4_000_000 { 77 } else { 1 },
        tgid: tid,
        ppid,
        cpu: (time_ns % 3) as u16,
        flags: 2,
        uid: 1000,
        start_boottime_ns: u64::from(tid) * 1000,
    };
    bytes.extend(trailer.encode());
    bytes
}

/// What happens in a container, in order; the last of it after its first process is gone.
fn life(from: u32) -> Vec<Vec<u8>> {
    let (init, shell) = (from, from + 1);
    let exec = |path: &[u8], tid: u32, ppid: u32| {
        let id = |n: u32| i64::from(n);
        let mut builder = RecordBuilder::new();
        builder.push_i64(0).push_text(path).push(b"-c\0id\0");
        builder.push_i64(id(tid)).push_i64(id(tid)).push_i64(id(ppid)).push_text(b"/srv");
        builder.push_u64(1024).push_u64(0).push_u64(0).push_u32(0).push_u32(0).push_u32(0);
        builder.push_text(path).push(b"memory=/palisade/web-1\0").push(b"PATH=/bin\0");
        builder.push_u32(0).push_i64(id(tid)).push_u32(u32::MAX).push_u32(2);
        builder.push_u64(0).push_u64(0).push_u64(0).push_u64(9).push_u64(1).push_u64(1);
        builder.push_u32(1000).push_text(path).push_i64(id(tid)).push_u32(1000).push_text(path);
        builder
    };
    let open = |result: i64, path: &[u8]| {
        let mut builder = RecordBuilder::new();
        builder.push_i64(result).push_i64(-100).push_text(path).push_u32(1).push_u32(0);
        builder
    };
    let mut exit = RecordBuilder::new();
    exit.push_i64(0).push_i64(0).push(&[0]).push(&[0]).push_i64(1);
    // A thread of this machine that the engine has to look up.
    let own = std::process::id();
    let mut records = vec![
        live(&exec(b"/bin/init", init, 1), EXECVE_19_X, init, 1, 5_000_000_000),
        live(&exec(b"/bin/sh", shell, init), EXECVE_19_X, shell, init, 5_000_000_100),
        live(&exit, PROCEXIT_1_E, init, 1, 5_000_000_200),
        live(&open(-13, b"/etc/shadow"), OPENAT_2_X, shell, init, 5_000_000_150),
        live(&open(7, b"/etc/passwd"), OPENAT_2_X, own, 1, 5_000_000_400),
        b"no record at all".to_vec(),
    ];
    // With the path as it was written behind the trailer.
    let mut bytes = live(&open(3, b"/srv/a"), OPENAT_2_X, shell, init, 5_000_000_500);
    bytes.extend_from_slice(b"../srv/a\0");
    records.push(bytes);
    records
}

/// Records the life of containers: file and digests of what was seen.
fn recorded_live(n_before: usize) -> (Vec<u8>, Vec<u64>) {
    let host = tempfile::tempdir().unwrap();
    let mut engine = live_engine(host.path());
    let (mut out, mut expected) = (file_header().to_vec(), Vec::new());
    let mut writer = Writer::new();
    let records = [life(4_100_001), life(4_100_011)].concat();
    for (index, bytes) in records.iter().enumerate() {
        if index == n_before {
            writer.begin(&mut engine, ORIGIN, &mut |raw| raw.seal(&mut out));
        }
        if let Ok(Some(event)) = engine.feed(bytes)
            && index >= n_before
        {
            expected.push(digest(&event));
        }
        if index >= n_before {
            writer.append(bytes, &mut engine, &mut |raw| raw.seal(&mut out));
        }
    }
    writer.lost(3);
    writer.cut().unwrap().seal(&mut out);
    (out, expected)
}

#[test]
fn what_was_seen_live_is_seen_again() {
    for n_before in 0..12 {
        let (bytes, expected) = recorded_live(n_before);
        let mut found = Vec::new();
        let mut names = Vec::new();
        let report = replay(&bytes[..], |event| {
            found.push(digest(event));
            names.extend(event.container().map(|container| container.name.clone()));
        })
        .unwrap();
        assert_eq!(found, expected, "after {n_before}");
        assert!(names.iter().all(|name| name == "web"));
        assert!(report.problem.is_none(), "{:?}", report.problem);
        assert_eq!((report.n_not_recorded, report.n_unknown_blocks), (3, 0));
        assert_eq!(report.n_malformed, if n_before < 6 { 2 } else { 1 });
        // What was live is named as such, and can be read by others.
        let info = info(&bytes[..]).unwrap();
        assert!(info.sections[0].is_live && info.sections[0].n_threads > 0);
        assert_eq!(info.sections[0].n_records, expected.len() as u64);
        let mut scap = Vec::new();
        let converted = to_scap(&bytes[..], &mut scap).unwrap();
        assert_eq!(converted.n_trailers, expected.len() as u64);
        assert_eq!(converted.n_malformed, report.n_malformed);
        let report = replay(&scap[..], |_| {}).unwrap();
        assert!(report.problem.is_none() && report.n_malformed == 0, "{report:?}");
        assert!(report.n_events >= expected.len() as u64);
    }
}

/// Offsets of the chunks of a file, with their headers.
fn chunks(bytes: &[u8]) -> Vec<(usize, Header)> {
    let (mut found, mut at) = (Vec::new(), FILE_HEADER_BYTES);
    while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) {
        let header = Header::decode(header, at as u64).unwrap();
        found.push((at, header));
        at += HEADER_BYTES + header.n_stored as usize;
    }
    found
}

#[test]
fn a_recording_cut_anywhere_is_used_as_far_as_it_goes() {
    let (whole, expected) = recorded_live(2);
    let starts: Vec<usize> = chunks(&whole).iter().map(|(at, _)| *at).collect();
    let events_at = *starts.last().unwrap();
    let mut n_cuts = 0;
    // Every byte of the headers and of the events; of the long state every 97th.
    for length in (0..whole.len())
        .filter(|at| at % 97 == 0 || *at > events_at || starts.iter().any(|s| at.abs_diff(*s) < 48))
    {
        n_cuts += 1;
        let mut n_events = 0;
        let result = replay(&whole[..length], |_| n_events += 1);
        if length < FILE_HEADER_BYTES {
            assert!(
                matches!(
                    result,
                    Err(CaptureError::NotACapture
                        | CaptureError::Recording(RecordingError::NotARecording))
                ),
                "{length}"
            );
            continue;
        }
        let report = result.unwrap();
        assert!(n_events == 0 || length >= whole.len(), "the events are one chunk");
        let is_between = starts.contains(&length);
        match report.problem {
            None => assert!(is_between && (length == FILE_HEADER_BYTES || length == events_at)),
            Some(CaptureError::Recording(RecordingError::Truncated { offset })) => {
                assert!(offset <= length as u64, "{length}");
            }
            Some(other) => panic!("{length}: {other}"),
        }
    }
    assert!(n_cuts > 200 && !expected.is_empty());
}

#[test]
fn behind_damage_the_next_section_is_used() {
    let (one, first) = recorded_live(0);
    let (two, second) = recorded_live(3);
    let both = [&one[..], &two[FILE_HEADER_BYTES..]].concat();
    let run = |bytes: &[u8]| {
        let mut found = Vec::new();
        let report = replay(bytes, |event| found.push(digest(event))).unwrap();
        (found, report.problem.map(|problem| problem.to_string()).unwrap_or_default())
    };
    assert_eq!(run(&both), ([&first[..], &second].concat(), String::new()));
    let places = chunks(&one);
    let (at, _) = *places.iter().find(|(_, header)| header.kind == Kind::Events).unwrap();
    let mut damaged = both.clone();
    damaged[at + HEADER_BYTES + 9] ^= 0x10;
    let message = format!("chunk at offset {at} is damaged: its checksum is wrong");
    assert_eq!(run(&damaged), (second.clone(), message));
    // A damaged state makes its events useless; they are not played on another one.
    let mut damaged = both.clone();
    damaged[places[0].0 + HEADER_BYTES + 9] ^= 0x10;
    let (found, problem) = run(&damaged);
    assert!(found == second && problem.ends_with("its checksum is wrong"), "{problem}");
    // A chunk that is missing is noticed by the number of the next.
    let mut twice = one.clone();
    let mut header = one[at..].to_vec();
    header[20..24].copy_from_slice(&5_u32.to_le_bytes());
    let check = super::chunk::checksum(&header[..36]);
    header[36..40].copy_from_slice(&check.to_le_bytes());
    twice.extend(header);
    let message = format!("4 chunks are missing before the one at offset {}", one.len());
    assert_eq!(run(&twice), (first.clone(), message));
    // Without any state, nothing can be said about events.
    let alone = [&one[..FILE_HEADER_BYTES], &one[at..]].concat();
    assert_eq!(run(&alone).1, "the chunk at offset 16 has no state before it");
    // A header that lies stops everything: where the next chunk is, is unknown.
    let mut damaged = both;
    damaged[at + 8] ^= 1;
    assert_eq!(run(&damaged), (Vec::new(), format!("chunk at offset {at} has a damaged header")));
}

/// A chunk with these entries, after a good state.
fn with_entries(entries: &[u8]) -> Vec<u8> {
    let (whole, _) = recorded_live(0);
    let (at, header) = *chunks(&whole).last().unwrap();
    let mut out = whole[..at].to_vec();
    super::chunk::Raw {
        kind: Kind::Events,
        flags: 0,
        entries: entries.to_vec(),
        n_entries: 1,
        number: header.number,
        first_ns: 1,
        last_ns: 1,
        n_records: 1,
    }
    .seal(&mut out);
    out
}

#[test]
fn entries_that_lie_are_errors() {
    let check = |entries: &[u8], expected: &str| {
        let report = replay(&with_entries(entries)[..], |_| {}).unwrap();
        let problem = report.problem.map(|problem| problem.to_string()).unwrap_or_default();
        assert!(problem.contains(expected), "{problem} instead of {expected}");
    };
    check(&[0x91, 1, 0, 0, 0, 5], "");
    check(&[0x91, 1, 0, 0, 0], "entry 0 of the chunk");
    check(&[0x91, 255, 255, 255, 255, 5], "entry 0 of the chunk");
    check(&[0x91, 2, 0, 0, 0, 5, 5], "entry 0 of the chunk");
    check(&[0x91, 1, 0, 0, 0, 5, 0x05], "entry 1 of the chunk");
    check(&[0x92, 2, 0, 0, 0, 2, 99], "entry 0 of the chunk");
    // An unknown entry is passed over.
    let report = replay(&with_entries(&[0xf0, 2, 0, 0, 0, 9, 9])[..], |_| {}).unwrap();
    assert!(report.problem.is_none() && report.n_unknown_blocks == 1);
    // Short references to one long text make large records, up to a limit.
    let mut long = Vec::new();
    for _ in 0..40 {
        // An asynchronous event with 4-byte lengths: id, name, data.
        let index = long.len();
        long.push(0x10 | 0x20);
        long.extend([0, 0, 0]); // time, processor, actor
        crate::codec::put_uint(&mut long, 402);
        long.extend([0, 0]);
        if index == 0 {
            crate::codec::put_uint(&mut long, (3 << 20) << 1);
            long.resize(long.len() + (3 << 20), b'x');
        } else {
            long.push(1);
        }
    }
    check(&long, "are larger than 67108864 bytes");
    assert!(long.len() < CHUNK_BYTES_MAX as usize);
}

#[test]
fn a_section_may_follow_another_without_its_state() {
    let host = tempfile::tempdir().unwrap();
    let mut engine = live_engine(host.path());
    let (mut expected, mut raws) = (Vec::new(), Vec::new());
    let mut writer = Writer::new();
    for (index, bytes) in (0..6).flat_map(|n| life(4_100_001 + 10 * n)).enumerate() {
        if index % 9 == 0 {
            writer.begin(&mut engine, ORIGIN, &mut |raw| raws.push(raw));
        }
        if let Ok(Some(event)) = engine.feed(&bytes) {
            expected.push(digest(&event));
        }
        writer.append(&bytes, &mut engine, &mut |raw| raws.push(raw));
    }
    raws.extend(writer.cut());
    // From any section on, with its state alone.
    let begins: Vec<usize> =
        (0..raws.len()).filter(|index| raws[*index].begins_section()).collect();
    assert_eq!(begins.len(), 5);
    for begin in begins {
        let mut out = file_header().to_vec();
        let mut has_state = false;
        for raw in &raws[begin..] {
            if raw.kind == Kind::Events || !has_state {
                raw.seal(&mut out);
            }
            has_state |= raw.kind == Kind::Events;
        }
        let mut found = Vec::new();
        let report = replay(&out[..], |event| found.push(digest(event))).unwrap();
        assert!(report.problem.is_none(), "{:?}", report.problem);
        assert!(!found.is_empty());
        assert_eq!(found, expected[expected.len() - found.len()..]);
    }
}

#[test]
fn a_newer_version_is_refused() {
    let (mut bytes, _) = recorded_live(0);
    bytes[8] = 2;
    let error = replay(&bytes[..], |_| {}).unwrap_err().to_string();
    assert_eq!(error, "recording has format version 2.0, which is newer than 1.x");
}

#[test]
fn a_flipped_bit_is_no_panic() {
    let (whole, _) = recorded_live(12);
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        let _ = replay(&bytes[..], |event| {
            digest(event);
        });
    }
}

/// A recording of an empty machine, with one record in each chunk.
fn small(records: &[Vec<u8>]) -> Vec<u8> {
    let mut engine = Engine::new(State::new());
    let mut out = file_header().to_vec();
    let mut writer = Writer::new();
    writer.begin(&mut engine, ORIGIN, &mut |raw| raw.seal(&mut out));
    for bytes in records {
        let _ = engine.feed(bytes);
        writer.append(bytes, &mut engine, &mut |raw| raw.seal(&mut out));
        writer.cut().unwrap().seal(&mut out);
    }
    out
}

/// The records of a recording as they came, and its problem.
fn records_of(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<RecordingError>) {
    let mut found = Vec::new();
    let mut sections = super::player::Sections::open(bytes).unwrap();
    let end: Result<(), std::convert::Infallible> = sections.run(&mut |_, _| {}, &mut |step| {
        if let super::player::Step::Record { bytes, .. } = step {
            found.push(bytes.to_vec());
        }
        Ok(())
    });
    assert!(end.is_ok());
    (found, sections.damage.problem)
}

#[test]
fn cut_at_every_byte() {
    let records = life(4_100_001);
    let whole = small(&records);
    let ends: Vec<usize> = chunks(&whole)
        .iter()
        .map(|(at, header)| at + HEADER_BYTES + header.n_stored as usize)
        .collect();
    assert_eq!(ends.len(), 1 + records.len());
    for length in FILE_HEADER_BYTES..=whole.len() {
        let (found, problem) = records_of(&whole[..length]);
        // The first chunk is the state.
        let n_whole = ends.iter().filter(|end| **end <= length).count();
        assert!(found.iter().eq(records.iter().take(n_whole.saturating_sub(1))), "{length}");
        let is_between = length == FILE_HEADER_BYTES || ends.contains(&length);
        match problem {
            None => assert!(is_between, "{length}"),
            Some(RecordingError::Truncated { offset }) => {
                assert!(!is_between && offset <= length as u64, "{length}");
            }
            Some(other) => panic!("{length}: {other}"),
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
    /// Whatever a record is, it comes back byte for byte.
    #[test]
    fn every_record_comes_back(
        records in proptest::collection::vec(
            (0_u16..460, 0_i64..4, proptest::prelude::any::<u64>(), proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..12), 0..8), proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20), proptest::prelude::any::<u8>()),
            1..20,
        )
    ) {
        let records: Vec<Vec<u8>> = records
            .into_iter()
            .map(|(number, tid, time_ns, params, behind, shape)| {
                let mut builder = RecordBuilder::new();
                let types = crate::schema::event(number).map_or(&[][..], |info| &info.params);
                for (param, _) in params.iter().zip(types) {
                    match shape % 3 {
                        0 => builder.push_i64(i64::from(shape) - 40),
                        1 => builder.push_u32(u32::from(shape) << 20),
                        _ => builder.push(param),
                    };
                }
                let mut bytes = Vec::new();
                // A type that does not exist is a record that cannot be decoded.
                if builder.build(&mut bytes, number, time_ns, tid - 1).is_err() {
                    return behind;
                }
                let cpu = u16::from(shape) % 3;
                bytes.extend(Trailer { tgid: 7, cpu, flags: cpu, ..Trailer::default() }.encode());
                bytes.extend(behind);
                if shape > 240 {
                    bytes.truncate(bytes.len() - 1);
                }
                bytes
            })
            .collect();
        let (found, problem) = records_of(&small(&records));
        proptest::prop_assert!(problem.is_none());
        proptest::prop_assert_eq!(found, records);
    }
}
