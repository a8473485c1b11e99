use super::*;
use crate::playbook::Act;

const GOOD: &str = "\
playbook: contain
owner: security@example
on:
  priority: error
  tags: [T1059.004]
  images: ['registry.example/*']
  labels: {tier: front}
  score: 40
caps: {containers_per_hour: 2}
steps:
  - freeze:
    for: 15m
    on_failure: {goto: cut}
  - evidence:
    on_failure: continue
  - id: cut
    isolate: [10.0.0.5]
  - wait: 30s
  - approve: Kill the container?
    within: 1h
    on_failure: undo
  - kill-process: {pid: 12}
  - block-destination: 203.0.113.0/24
    for: ever
  - hook: [/usr/local/bin/page, now]
  - kill:
";

#[test]
fn a_whole_playbook_is_read() {
    let loaded = parse(GOOD, "p.yaml").unwrap();
    let playbook = loaded.playbook;
    assert!(loaded.warnings.0.is_empty(), "{}", loaded.warnings);
    assert_eq!((playbook.name.as_str(), playbook.on.score), ("contain", 40));
    assert_eq!(playbook.caps, Caps { containers_per_hour: 2, runs_per_hour: 20 });
    assert_eq!(playbook.steps.len(), 9);
    let first = StepKind::Act { act: Act::Freeze, deadline_ms: 500, hold_ms: Some(900_000) };
    assert_eq!(playbook.steps[0].what, first);
    assert_eq!(playbook.steps[0].on_failure, OnFailure::Goto("cut".into()));
    let cut = Act::Isolate { allow: vec!["10.0.0.5".parse().unwrap()] };
    assert!(matches!(&playbook.steps[2].what, StepKind::Act { act, .. } if *act == cut));
    assert_eq!(playbook.steps[4].on_failure, OnFailure::Undo);
    // Plans are stored and read back.
    let json = serde_json::to_string(&playbook.steps).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Step>>(&json).unwrap(), playbook.steps);
}

/// Every problem of `text`, as `line:column code`.
fn problems(text: &str) -> Vec<String> {
    match parse(text, "p.yaml") {
        Ok(loaded) => loaded.warnings.0,
        Err(LoadPlaybookError::Invalid { diagnostics, .. }) => diagnostics.0,
        Err(error) => panic!("{error}"),
    }
    .iter()
    .map(|d| format!("{}:{} {}", d.location.line, d.location.column, d.code))
    .collect()
}

#[test]
fn every_problem_is_told_with_its_place() {
    for (text, expected) in [
        ("", vec!["1:1 missing-key"]),
        ("steps: [{freeze: }]", vec!["1:1 missing-key"]),
        ("playbook: p", vec!["1:1 missing-key"]),
        ("playbook: p\nsteps: []", vec!["2:8 too-large"]),
        ("playbook: p\nsteps: [freeze]", vec!["2:9 wrong-type"]),
        ("playbook: p\nsteps: [{frezze: }]", vec!["2:10 unknown-action"]),
        ("playbook: p\nsteps: [{freeze: , kill: }]", vec!["2:20 conflict"]),
        ("playbook: p q\nsteps: [{freeze: , fro: 1m}]", vec!["1:11 bad-value", "2:20 unknown-key"]),
        (
            "playbook: p\nsteps: [{kill: , for: 1m}]",
            vec!["2:18 unknown-key", "2:8 kill-without-freeze"],
        ),
        ("playbook: p\nsteps: [{freeze: , for: 99d}]", vec!["2:25 bad-value"]),
        ("playbook: p\nsteps: [{block-executable: abc}]", vec!["2:28 bad-value"]),
        ("playbook: p\nsteps: [{block-executable: }]", vec!["2:10 missing-key"]),
        ("playbook: p\nsteps: [{block-destination: example.com}]", vec!["2:29 bad-value"]),
        ("playbook: p\nsteps: [{block-destination: 10.0.0.0/0}]", vec!["2:29 bad-value"]),
        ("playbook: p\nsteps: [{hook: [date]}]", vec!["2:16 bad-value"]),
        ("playbook: p\nsteps: [{notify: mailto:a}]", vec!["2:18 bad-value"]),
        ("playbook: p\nsteps: [{wait: 10}]", vec!["2:16 bad-value"]),
        ("playbook: p\nsteps: [{isolate: [a]}]", vec!["2:19 bad-value"]),
        (
            "playbook: p\nsteps:\n- {id: a, freeze: }\n- {id: b, unfreeze: , on_failure: {goto: a}}",
            vec!["4:35 loop"],
        ),
        ("playbook: p\nsteps:\n- {id: a, freeze: , on_failure: {goto: a}}", vec!["3:33 loop"]),
        ("playbook: p\nsteps:\n- {freeze: , on_failure: {goto: x}}", vec!["3:26 bad-value"]),
        ("playbook: p\nsteps:\n- {id: a, freeze: }\n- {id: a, kill: }", vec!["4:3 conflict"]),
        (
            "playbook: p\non: {priority: high, score: 101}\nsteps: [{freeze: }]",
            vec!["2:16 bad-value", "2:29 bad-value"],
        ),
        ("playbook: p\ncaps: {runs_per_hour: 0}\nsteps: [{freeze: }]", vec!["2:23 bad-value"]),
        (
            "playbook: p\nsteps: [{kill: }, {evidence: }]",
            vec!["2:8 kill-without-freeze", "2:8 no-effect"],
        ),
    ] {
        let mut found = problems(text);
        found.sort();
        let mut expected: Vec<String> = expected.into_iter().map(String::from).collect();
        expected.sort();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn bounds_hold() {
    let many = "  - freeze:\n".repeat(STEPS_MAX + 1);
    assert_eq!(problems(&format!("playbook: p\nsteps:\n{many}")), ["3:3 too-large"]);
    let long = "x".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1);
    assert_eq!(problems(&long), ["1:1 too-large"]);
    let name = "n".repeat(NAME_BYTES_MAX + 1);
    assert_eq!(problems(&format!("playbook: {name}\nsteps: [{{freeze: }}]")), ["1:11 bad-value"]);
    let wrong = "  - frieze:\n".repeat(STEPS_MAX);
    let wrong = format!("playbook: p\nx: 1\nsteps:\n{wrong}");
    assert_eq!(problems(&wrong).len(), STEPS_MAX + 1);
}

#[test]
fn every_form_is_an_action_and_every_action_a_form() {
    for form in FORMS {
        let mut object = Map::new();
        object.insert("action".into(), json!(form.name));
        for parameter in form.parameters {
            let value = match parameter.kind {
                ParameterKind::Pid => json!(2),
                ParameterKind::Digest => json!(palisade_base::Digest::of(b"").to_string()),
                ParameterKind::Addresses => json!(["10.0.0.1"]),
                ParameterKind::Command => json!(["/bin/true"]),
                _ => json!("x"),
            };
            object.insert(parameter.name.into(), value);
        }
        let act: Act = serde_json::from_value(object.into()).unwrap();
        assert_eq!(act.name(), form.name);
        assert_eq!(holdable(form.name), act.inverse().is_some(), "{}", form.name);
        if let Some(inverse) = act.inverse() {
            assert!(super::form(inverse.name()).is_some(), "{}", inverse.name());
            assert!(inverse.inverse().is_none());
        }
    }
}
