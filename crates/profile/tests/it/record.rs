//! Records: read, bounded, merged, compared.

use palisade_profile::syscalls::Machine;
use palisade_profile::{
    Capability, Endpoint, Floor, RECORD_BYTES_MAX, Record, RecordError, Source, difference,
};
use proptest::prelude::*;

pub(crate) fn sample() -> Record {
    let mut record = Record::new("web", Machine::X86_64);
    for call in ["read", "write", "socket", "bind", "openat", "clone3", "mount", "ioctl"] {
        record.add_call(call, Source::Recorded);
    }
    let families = record.arguments.entry("socket".into()).or_default();
    families.insert(0, [1, 2].into());
    families.insert(1, [0x80001].into());
    let requests = record.arguments.entry("ioctl".into()).or_default();
    requests.insert(1, [0x5401, 0xffff_ffff_8004_5430].into());
    record.refused.insert("keyctl".into());
    record.capabilities_known = true;
    record
        .capabilities
        .insert(Capability { name: "NET_BIND_SERVICE".into(), calls: ["bind".to_string()].into() });
    record
        .files
        .written
        .extend(["/var/log/web/a.log", "/var/log/web/old/b.log", "/run/web.pid"].map(String::from));
    record.files.changed.insert("/dev/shm/x".into());
    record.files.executed.insert("/usr/sbin/web".into());
    record.network.bound.insert(Endpoint {
        family: "inet".into(),
        address: Some("0.0.0.0".into()),
        port: 80,
    });
    record
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let record = sample();
    assert_eq!(Record::parse(record.to_json().as_bytes()).unwrap(), record);
}

/// The form of version 1, as released: it must be read for ever.
#[test]
fn the_first_version_stays_readable() {
    let text = include_str!("../../testdata/record.v1.json");
    let record = Record::parse(text.as_bytes()).unwrap();
    assert_eq!(record, sample());
    assert_eq!(record.to_json(), text);
}

#[test]
fn what_is_no_record_is_refused_by_name() {
    let check = |text: &str, expected: &str| {
        let error = Record::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("{", "not valid");
    check(r#"{"schema": "palisade.dev/profile-record/v9"}"#, "v9` is not a record");
    let json = sample().to_json();
    check(&json.replace("\"openat\"", "\"opennat\""), "does not exist: `opennat`");
    check(&json.replace("x86_64", "mips"), "machine `mips`");
    check(&json.replace("\"n_merged\"", "\"n_mixed\""), "n_mixed");
    let long = vec![b' '; RECORD_BYTES_MAX + 1];
    assert_eq!(Record::parse(&long), Err(RecordError::TooLarge(RECORD_BYTES_MAX + 1)));
    let mut many = sample();
    many.files.written = (0..65_537).map(|n| format!("/tmp/{n}")).collect();
    assert!(matches!(
        Record::parse(many.to_json().as_bytes()),
        Err(RecordError::TooMany { what: "files", .. })
    ));
}

#[test]
fn replicas_add_up() {
    let mut merged = sample();
    let mut other = sample();
    other.floor = Floor::Seen;
    other.add_call("keyctl", Source::Static);
    other.arguments.entry("socket".into()).or_default().insert(0, [10].into());
    other.capabilities =
        [Capability { name: "NET_BIND_SERVICE".into(), calls: ["listen".to_string()].into() }]
            .into();
    merged.merge(&other).unwrap();
    assert_eq!((merged.n_merged, merged.floor), (2, Floor::Seen));
    assert!(merged.refused.is_empty(), "what another could do is not refused");
    assert_eq!(merged.arguments["socket"][&0], [1, 2, 10].into());
    assert_eq!(merged.capabilities.len(), 1);
    assert_eq!(merged.capabilities.first().unwrap().calls.len(), 2);
    let arm = Record::new("web", Machine::Aarch64);
    assert!(matches!(merged.merge(&arm), Err(RecordError::Mixed(..))));
}

#[test]
fn differences_are_named() {
    let (old, mut new) = (sample(), sample());
    assert_eq!(difference(&old, &new), []);
    new.calls.remove("mount");
    new.add_call("mkdir", Source::Recorded);
    new.files.written.insert("/tmp/x".into());
    let parts = difference(&old, &new);
    let shown: Vec<_> = parts.iter().map(|p| (p.what, p.removed.len(), p.added.len())).collect();
    assert_eq!(shown, [("calls", 1, 1), ("files written", 0, 1)]);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Record::parse(&bytes);
    }

    /// The order in which replicas are merged does not matter to what is allowed.
    #[test]
    fn merging_is_commutative(a in proptest::collection::btree_set(0_u32..300, 0..40),
                              b in proptest::collection::btree_set(0_u32..300, 0..40)) {
        let of = |numbers: &std::collections::BTreeSet<u32>| {
            let mut record = Record::new("x", Machine::X86_64);
            for number in numbers {
                record.add_call(Machine::X86_64.name_of(*number), Source::Recorded);
            }
            record
        };
        let (mut left, mut right) = (of(&a), of(&b));
        let (l, r) = (left.clone(), right.clone());
        left.merge(&r).unwrap();
        right.merge(&l).unwrap();
        prop_assert_eq!(&left.calls, &right.calls);
        let names = a.union(&b).count();
        prop_assert_eq!(left.calls.len(), names);
    }
}
