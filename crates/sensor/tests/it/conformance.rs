//! Falco 0.44.1's own values of 92 fields for every event of the captures.
//!
//! The material is not part of the repository; without it the tests say so and pass.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use palisade_rules::fields::{FieldArgument, FieldId, Fields as _, Schema as _, Value, Values};
use palisade_rules::{Evaluator, LoadOptions, RuleMatching, RuleSet};
use palisade_sensor::capture::replay;
use palisade_sensor::state::Address;
use palisade_sensor::{EventView, SyscallSchema, text};
use serde_json::Value as Json;

pub(crate) fn material() -> Option<PathBuf> {
    let shared = std::env::vars().find(|(name, _)| name == "PALISADE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        |(_, path)| path.into(),
    );
    let folder = shared.join("conformance/falco");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no conformance material at {}", folder.display());
    None
}

/// A column of the material: `evt.arg.path`, `proc.aname[2]`.
fn column(name: &str) -> Option<(FieldId, FieldArgument)> {
    if let Some((field, rest)) = name.split_once('[') {
        let index = rest.trim_end_matches(']').parse().ok()?;
        return Some((SyscallSchema.field(field)?.0, FieldArgument::Index(index)));
    }
    if let Some(key) = name.strip_prefix("evt.arg.") {
        return Some((SyscallSchema.field("evt.arg")?.0, FieldArgument::Key(key.into())));
    }
    Some((SyscallSchema.field(name)?.0, FieldArgument::None))
}

fn value_text(value: &Value<'_>) -> String {
    match value {
        Value::Text(bytes) | Value::Bytes(bytes) => text::printable(bytes).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Ip(address) => Address(*address).to_string(),
        Value::Net(net) => net.to_string(),
    }
}

fn expected_text(json: &Json) -> Option<String> {
    match json {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn actual_text(event: &EventView<'_>, field: FieldId, argument: &FieldArgument) -> Option<String> {
    let mut values = Values::new();
    // The material is what Falco printed.
    event.display(field, argument, &mut values);
    if values.is_empty() {
        return None;
    }
    Some(values.iter().map(value_text).collect::<Vec<_>>().join(" "))
}

/// A difference that stays: which values are known to differ, and how often they do.
struct Known {
    capture: &'static str,
    field: &'static str,
    /// Falco's value and ours; any other pair is a difference that nobody knows.
    falco: fn(Option<&str>) -> bool,
    ours: fn(Option<&str>) -> bool,
    /// How many there are in the capture; nothing when that depends on the run of Falco.
    count: Option<u64>,
    reason: &'static str,
}

const ALPINE: &str = "sysflow_alpine_alpine.scap";
const NAMES: &str = "Falco asks the machine on which it replays for names that a capture lacks";
const PODMAN: &str = "the run of Falco did not look for Podman's containers";

const fn name_of_elsewhere(field: &'static str, count: u64) -> Known {
    Known {
        capture: ALPINE,
        field,
        falco: |name| name.is_some_and(|name| name != "<NA>"),
        ours: |name| name == Some("<NA>"),
        count: Some(count),
        reason: NAMES,
    }
}

const fn podman(field: &'static str, falco: fn(Option<&str>) -> bool) -> Known {
    let ours: fn(Option<&str>) -> bool = |value| value.is_none();
    Known { capture: ALPINE, field, falco, ours, count: Some(112), reason: PODMAN }
}

/// Differences that stay, and why.
const KNOWN: &[Known] = &[
    Known {
        capture: "",
        field: "proc.exe_ino.ctime_duration_proc_start",
        falco: |value| value.is_some(),
        ours: |value| value.is_none(),
        count: None,
        reason: "Falco prints memory that it never set for processes of the initial list",
    },
    name_of_elsewhere("user.name", 476),
    name_of_elsewhere("user.loginname", 560),
    name_of_elsewhere("group.name", 392),
    Known {
        capture: ALPINE,
        field: "container.id",
        falco: |id| id == Some("host"),
        ours: |id| id == Some("c3e80ebdd8a6"),
        count: Some(112),
        reason: PODMAN,
    },
    podman("container.image", |image| image == Some("")),
    podman("container.image.repository", |image| image == Some("")),
    podman("container.mounts", |mounts| mounts == Some("")),
    podman("container.privileged", |flag| flag == Some("false")),
];

#[derive(Default)]
struct Tally {
    n_equal: u64,
    /// Differences of each field, with the first one.
    fields: BTreeMap<String, (u64, String)>,
    /// Known differences, by their number in the list.
    known: BTreeMap<usize, u64>,
}

fn known(capture: &str, field: &str, falco: Option<&str>, ours: Option<&str>) -> Option<usize> {
    KNOWN.iter().position(|known| {
        capture.starts_with(known.capture)
            && known.field == field
            && (known.falco)(falco)
            && (known.ours)(ours)
    })
}

fn compare(name: &str, capture: &Path, expected: &Path) -> Tally {
    let reader = BufReader::new(flate2::read::GzDecoder::new(File::open(expected).unwrap()));
    let mut rows = BTreeMap::new();
    for line in reader.lines() {
        let row: Json = serde_json::from_str(&line.unwrap()).unwrap();
        let number = row["output_fields"]["evt.num"].as_u64().unwrap();
        rows.insert(number, row);
    }
    let mut tally = Tally::default();
    let mut differ = |field: &str, note: String| {
        tally.fields.entry(field.to_string()).or_insert((0, note)).0 += 1;
    };
    let (mut n_equal, mut n_known) = (0, BTreeMap::new());
    let report = replay(File::open(capture).unwrap(), |event| {
        let Some(row) = rows.remove(&event.number()) else {
            differ("(event that Falco lacks)", format!("{} {}", event.number(), event.type_name()));
            return;
        };
        for (column_name, expected) in row["output_fields"].as_object().unwrap() {
            if column_name == "evt.time" {
                let time = event.time().as_nanos();
                if expected.as_u64() == Some(time) {
                    n_equal += 1;
                } else {
                    differ(column_name, format!("#{} {expected} {time}", event.number()));
                }
                continue;
            }
            let (field, argument) = column(column_name).unwrap();
            let actual = actual_text(event, field, &argument);
            let expected = expected_text(expected);
            if actual == expected {
                n_equal += 1;
            } else if let Some(at) =
                known(name, column_name, expected.as_deref(), actual.as_deref())
            {
                *n_known.entry(at).or_insert(0) += 1;
            } else {
                let (number, kind) = (event.number(), event.type_name());
                let note = format!("#{number} {kind} falco {expected:?} ours {actual:?}");
                differ(column_name, note);
            }
        }
    })
    .unwrap();
    for (number, row) in rows {
        differ("(event that we lack)", format!("{number} {}", row["output_fields"]["evt.type"]));
    }
    (tally.n_equal, tally.known) = (n_equal, n_known);
    assert!(report.problem.is_none(), "{:?}", report.problem);
    if report.n_malformed > 0 {
        println!("  {} malformed, first: {:?}", report.n_malformed, report.first_malformed);
    }
    tally
}

#[test]
fn fields_are_those_that_falco_extracts() {
    let Some(folder) = material() else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder.join("expected/falco-0.44.1/fields"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (mut n_equal, mut n_known, mut unknown) = (0, 0, Vec::new());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().trim_end_matches(".jsonl.gz");
        let (set, capture) = name.split_once('_').unwrap();
        let capture = folder.join("captures").join(set).join(capture);
        let tally = compare(name, &capture, &file);
        let n_here: u64 = tally.known.values().sum();
        println!("{name}: {} equal, {n_here} known differences", tally.n_equal);
        n_equal += tally.n_equal;
        n_known += n_here;
        for (field, (count, first)) in &tally.fields {
            unknown.push(format!("{name} {field}: {count}, first {first}"));
        }
        for (at, known) in KNOWN.iter().enumerate() {
            let count = tally.known.get(&at).copied().unwrap_or(0);
            let expected = known.count.filter(|_| name == known.capture);
            if expected.is_some_and(|expected| expected != count) {
                unknown.push(format!("{name} {}: {count} known ones: {expected:?}", known.field));
            }
        }
    }
    println!(
        "conformance fields: {n_equal} passed, {} failed, {n_known} known differences",
        unknown.len()
    );
    for known in KNOWN {
        println!("  known: {} {}: {}", known.capture, known.field, known.reason);
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

fn alerts_of(capture: &Path, rules: &RuleSet) -> Vec<(u64, String)> {
    let mut evaluator = Evaluator::new(rules);
    let mut matched = Vec::new();
    let mut alerts = Vec::new();
    let report = replay(File::open(capture).unwrap(), |event| {
        matched.clear();
        evaluator.evaluate(event, &mut matched);
        for id in &matched {
            alerts.push((event.time().as_nanos(), rules.rule(*id).name.clone()));
        }
    });
    assert!(report.unwrap().problem.is_none());
    alerts.sort();
    alerts
}

#[test]
fn alerts_are_those_that_falco_raises() {
    let Some(folder) = material() else { return };
    let names = ["falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml"];
    let texts = names.map(|name| std::fs::read_to_string(folder.join("rules").join(name)).unwrap());
    let sources: Vec<_> = names.iter().copied().zip(texts.iter().map(String::as_str)).collect();
    let options = LoadOptions { matching: RuleMatching::All, ..LoadOptions::default() };
    let (rules, diagnostics) = RuleSet::load(&sources, &[&SyscallSchema], &options);
    assert_eq!(diagnostics.counts(), (0, 0), "{diagnostics}");
    let mut n_alerts = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder.join("expected/falco-0.44.1/alerts")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_string();
        let Some(name) = name.strip_suffix(".all.jsonl") else { continue };
        let (set, capture) = name.split_once('_').unwrap();
        let mut expected: Vec<_> = std::fs::read_to_string(&file)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Json>(line).unwrap())
            .map(|row| {
                let time = row["output_fields"]["evt.time"].as_u64().unwrap();
                (time, row["rule"].as_str().unwrap().to_string())
            })
            .collect();
        expected.sort();
        let actual = alerts_of(&folder.join("captures").join(set).join(capture), &rules);
        n_alerts += expected.len();
        if actual != expected {
            wrong.push(format!("{name}: falco {expected:?} ours {actual:?}"));
        }
    }
    println!(
        "conformance alerts: {n_alerts} passed, {} failed (captures that differ)",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}
