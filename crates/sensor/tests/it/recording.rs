//! What is recorded can be replayed, and a damaged file is used as far as it goes.

use palisade_rules::fields::{FieldArgument, Fields as _, Value, Values};
use palisade_sensor::capture::{CaptureError, CaptureWriter, replay};
use palisade_sensor::record::RecordBuilder;
use palisade_sensor::state::{Fd, FdKind, State, Thread};
use palisade_sensor::{Engine, EventView, Field, Record};

/// The text of a field.
pub(crate) fn text(event: &EventView<'_>, field: Field) -> String {
    let mut values = Values::new();
    event.extract(field.id(), &FieldArgument::None, &mut values);
    match values.first() {
        Some(Value::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

fn state() -> State {
    let mut state = State::new();
    let mut shell = Thread::default();
    (shell.tid, shell.pid, shell.ptid, shell.uid) = (7, 7, 1, 0);
    shell.comm = b"sh"[..].into();
    shell.exe = b"/bin/sh"[..].into();
    shell.cwd = b"/srv/"[..].into();
    shell.set_args(b"-c\0x");
    state.add_initial_thread(shell);
    let mut folder = Fd::of(FdKind::Directory);
    folder.set_name(b"/data");
    state.add_initial_fd(7, 4, folder);
    state.accounts.add_user(b"", 0, b"root", b"/root", b"/bin/sh");
    state.finish_initial();
    state
}

/// `openat(4, "../etc/passwd")` by the shell.
fn open_record() -> Vec<u8> {
    let mut bytes = Vec::new();
    RecordBuilder::new()
        .push_i64(5)
        .push_i64(4)
        .push_text(b"../etc/passwd")
        .push_u32(1)
        .push_u32(0)
        .push_u32(0)
        .push_u64(0)
        .build(&mut bytes, 307, 1_000, 7)
        .unwrap();
    bytes
}

fn recording(n_events: usize) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), &state()).unwrap();
    let bytes = open_record();
    let record = Record::decode(&bytes).unwrap();
    for _ in 0..n_events {
        writer.write(&record).unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn a_recording_shows_the_same_event() {
    let bytes = open_record();
    let check = |event: &EventView<'_>| {
        assert_eq!(text(event, Field::FdName), "/etc/passwd");
        assert_eq!(text(event, Field::FdNameraw), "../etc/passwd");
        assert_eq!(text(event, Field::ProcCmdline), "sh -c x");
        assert_eq!(text(event, Field::ProcCwd), "/srv/");
        assert_eq!(text(event, Field::UserName), "root");
        let args = "fd=5(<f>/etc/passwd) dirfd=4(<d>/data) name=../etc/passwd(/etc/passwd) \
                    flags=1(O_RDONLY) mode=0 dev=0 ino=0";
        assert_eq!(text(event, Field::EvtArgs), args);
    };
    let mut engine = Engine::new(state());
    check(&engine.take(Record::decode(&bytes).unwrap()).unwrap());
    let report = replay(&recording(3)[..], |event| check(event)).unwrap();
    assert_eq!((report.n_records, report.n_events, report.n_malformed), (3, 3, 0));
    assert!(report.problem.is_none());
}

#[test]
fn a_capture_cut_anywhere_is_used_as_far_as_it_goes() {
    let whole = recording(3);
    let first_event = replay(&recording(0)[..], |_| {}).unwrap();
    assert!(first_event.problem.is_none());
    for length in 28..whole.len() {
        let mut n_events = 0;
        let report = replay(&whole[..length], |_| n_events += 1).unwrap();
        assert_eq!(report.n_events, n_events);
        match report.problem {
            None => {}
            Some(CaptureError::Truncated { offset }) => assert!(offset < length as u64),
            Some(other) => panic!("{length}: {other}"),
        }
    }
}

#[test]
fn a_flipped_byte_is_no_panic() {
    let whole = recording(2);
    for at in 28..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = replay(&bytes[..], |event| {
            for field in Field::ALL {
                let mut values = Values::new();
                event.extract(field.id(), &FieldArgument::None, &mut values);
            }
        });
    }
}

#[test]
fn gzip_is_read() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&recording(2)).unwrap();
    let report = replay(&encoder.finish().unwrap()[..], |_| {}).unwrap();
    assert_eq!(report.n_events, 2);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(512))]
    /// Any parameters of any type, in any order of events: no panic in state or fields.
    #[test]
    fn no_record_makes_the_engine_panic(
        events in proptest::collection::vec(
            (0_u16..454, 0_i64..10, proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 0..32)),
            1..20,
        )
    ) {
        let mut engine = Engine::new(state());
        let mut bytes = Vec::new();
        for (number, tid, params) in events {
            let n_params = palisade_sensor::schema::event(number).unwrap().params.len();
            let mut builder = RecordBuilder::new();
            for param in params.iter().take(n_params) {
                // Half of them are small numbers, which state tables know.
                match param.first() {
                    Some(first) if first % 2 == 0 => builder.push_i64(i64::from(*first % 8)),
                    _ => builder.push(param),
                };
            }
            builder.build(&mut bytes, number, 1_000, tid).unwrap();
            if let Some(event) = engine.take(Record::decode(&bytes).unwrap()) {
                for field in Field::ALL {
                    for argument in [FieldArgument::None, FieldArgument::Index(1), FieldArgument::Key("name".into())] {
                        let mut values = Values::new();
                        event.extract(field.id(), &argument, &mut values);
                    }
                }
                let _ = (event.process(), event.ancestors(), event.outcome(), event.container());
            }
        }
    }
}
