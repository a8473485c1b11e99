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
    event.extract(field, argument, &mut values);
    if values.is_empty() {
        return None;
    }
    Some(values.iter().map(value_text).collect::<Vec<_>>().join(" "))
}

#[derive(Default)]
struct Tally {
    n_equal: u64,
    n_different: u64,
    fields: BTreeMap<String, (u64, String)>,
}

fn compare(capture: &Path, expected: &Path) -> Tally {
    let reader = BufReader::new(flate2::read::GzDecoder::new(File::open(expected).unwrap()));
    let mut rows = BTreeMap::new();
    for line in reader.lines() {
        let row: Json = serde_json::from_str(&line.unwrap()).unwrap();
        let number = row["output_fields"]["evt.num"].as_u64().unwrap();
        rows.insert(number, row);
    }
    let mut tally = Tally::default();
    let mut differ = |field: &str, note: String| {
        tally.n_different += 1;
        let entry = tally.fields.entry(field.to_string()).or_insert((0, note));
        entry.0 += 1;
    };
    let mut n_equal = 0;
    let report = replay(File::open(capture).unwrap(), |event| {
        let Some(row) = rows.remove(&event.number()) else {
            differ("(event that Falco lacks)", format!("{} {}", event.number(), event.type_name()));
            return;
        };
        for (name, expected) in row["output_fields"].as_object().unwrap() {
            if name == "evt.time" {
                let time = event.time().as_nanos();
                if expected.as_u64() == Some(time) {
                    n_equal += 1;
                } else {
                    differ(name, format!("#{} {expected} {time}", event.number()));
                }
                continue;
            }
            let (field, argument) = column(name).unwrap();
            let actual = actual_text(event, field, &argument);
            let expected = expected_text(expected);
            if actual == expected {
                n_equal += 1;
            } else {
                differ(
                    name,
                    format!(
                        "#{} {} falco {expected:?} ours {actual:?}",
                        event.number(),
                        event.type_name()
                    ),
                );
            }
        }
    })
    .unwrap();
    for (number, row) in rows {
        differ("(event that we lack)", format!("{number} {}", row["output_fields"]["evt.type"]));
    }
    tally.n_equal = n_equal;
    assert!(report.problem.is_none(), "{:?}", report.problem);
    if report.n_malformed > 0 {
        println!("  {} malformed, first: {:?}", report.n_malformed, report.first_malformed);
    }
    tally
}

/// Differences that stay, and why.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "",
        "proc.exe_ino.ctime_duration_proc_start",
        "Falco prints memory that it never set for processes of the initial list",
    ),
    ("", "user.name", "Falco asks the machine on which it replays for names that a capture lacks"),
    ("", "user.loginname", "as user.name"),
    ("", "group.name", "as user.name"),
    (
        "sysflow_alpine_alpine.scap",
        "container.",
        "the run of Falco did not look for Podman's containers",
    ),
];

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
        let tally = compare(&capture, &file);
        println!("{name}: {} equal, {} different", tally.n_equal, tally.n_different);
        n_equal += tally.n_equal;
        for (field, (count, first)) in &tally.fields {
            println!("  {field}: {count}, first {first}");
            let is_known = |(capture, prefix, _): &&(&str, &str, &str)| {
                name.starts_with(capture) && field.starts_with(prefix)
            };
            if KNOWN.iter().any(|known| is_known(&known)) {
                n_known += count;
            } else {
                unknown.push(format!("{name} {field}: {count}, first {first}"));
            }
        }
    }
    println!("fields: {n_equal} passed, {} failed, {n_known} known differences", unknown.len());
    for (_, field, reason) in KNOWN {
        println!("  known: {field}*: {reason}");
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
    println!("alerts: {n_alerts} expected, {} captures differ", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
