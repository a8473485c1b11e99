//! Documents against a table of what the schema says, and against committed files.

use std::collections::BTreeMap;

use super::*;
use crate::testing::{alert, bare, enforced, golden, repeats, techniques};

const TABLE: &str = include_str!("../../testdata/ocsf-1.8.0.txt");

struct Attribute {
    kind: String,
    is_required: bool,
    values: Vec<u64>,
}

#[derive(Default)]
struct Object {
    attributes: BTreeMap<String, Attribute>,
    at_least_one: Vec<String>,
}

fn schema() -> BTreeMap<String, Object> {
    let mut objects: BTreeMap<String, Object> = BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let object = objects.entry(words[0].to_string()).or_default();
        if words[1] == "+" {
            object.at_least_one = words[2].split(',').map(str::to_string).collect();
            continue;
        }
        let values = words.get(4).map(|list| list.split(',').map(|n| n.parse().unwrap()).collect());
        let attribute = Attribute {
            kind: words[2].to_string(),
            is_required: words[3] == "required",
            values: values.unwrap_or_default(),
        };
        object.attributes.insert(words[1].to_string(), attribute);
    }
    objects
}

/// Everything in which `value` is not an `object` of the schema.
fn problems(
    schema: &BTreeMap<String, Object>,
    object: &str,
    value: &Value,
    at: &str,
    found: &mut Vec<String>,
) {
    let Value::Object(map) = value else {
        found.push(format!("{at} is no object"));
        return;
    };
    let known = &schema[object];
    for (name, attribute) in &known.attributes {
        if attribute.is_required && !map.contains_key(name) {
            found.push(format!("{at}.{name} is missing"));
        }
    }
    let has_one = known.at_least_one.iter().any(|name| map.contains_key(name));
    if !known.at_least_one.is_empty() && !has_one {
        found.push(format!("{at} has none of {:?}", known.at_least_one));
    }
    for (name, value) in map {
        let at = format!("{at}.{name}");
        let Some(attribute) = known.attributes.get(name) else {
            found.push(format!("{at} is not in the schema"));
            continue;
        };
        let inner = attribute.kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']'));
        match (inner, value) {
            (Some(kind), Value::Array(items)) => {
                for item in items {
                    check_value(schema, kind, attribute, item, &at, found);
                }
            }
            (Some(_), _) => found.push(format!("{at} is no list")),
            (None, value) => check_value(schema, &attribute.kind, attribute, value, &at, found),
        }
    }
}

fn check_value(
    schema: &BTreeMap<String, Object>,
    kind: &str,
    attribute: &Attribute,
    value: &Value,
    at: &str,
    found: &mut Vec<String>,
) {
    let is_right = match kind {
        "text" => value.is_string(),
        "uuid" => value.as_str().is_some_and(|text| text.len() == 36),
        "boolean" => value.is_boolean(),
        "integer" => value
            .as_u64()
            .is_some_and(|n| attribute.values.is_empty() || attribute.values.contains(&n)),
        "any" => true,
        object => {
            problems(schema, object, value, at, found);
            true
        }
    };
    if !is_right {
        found.push(format!("{at} is not {kind}: {value}"));
    }
}

#[track_caller]
fn check(document: &Value) {
    let mut found = Vec::new();
    problems(&schema(), "detection_finding", document, "$", &mut found);
    assert_eq!(found, [""; 0], "{document:#}");
}

fn about() -> About<'static> {
    About { version: "0.1.0", techniques }
}

fn documents() -> [Value; 3] {
    [
        document(Item::Alert(&alert()), about()),
        document(Item::Alert(&bare()), about()),
        document(Item::Repeats(&repeats()), about()),
    ]
}

#[test]
fn documents_are_what_the_schema_requires() {
    for document in documents() {
        check(&document);
        assert_eq!(
            document["type_uid"],
            json!(200_400 + document["activity_id"].as_u64().unwrap())
        );
    }
}

#[test]
fn documents_are_the_committed_ones() {
    let text: Vec<String> = documents().iter().map(|document| format!("{document:#}\n")).collect();
    golden("ocsf-alert.json", text[0].as_bytes());
    golden("ocsf-bare.json", text[1].as_bytes());
    golden("ocsf-repeats.json", text[2].as_bytes());
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let wrong = |change: fn(&mut Value), what: &str| {
        let [mut document, ..] = documents();
        change(&mut document);
        let mut found = Vec::new();
        problems(&schema(), "detection_finding", &document, "$", &mut found);
        assert_eq!(found, [what]);
    };
    wrong(|d| drop(d.as_object_mut().unwrap().remove("finding_info")), "$.finding_info is missing");
    wrong(|d| d["severity_id"] = json!(7), "$.severity_id is not integer: 7");
    wrong(|d| d["time"] = json!("now"), "$.time is not integer: \"now\"");
    wrong(|d| d["colour"] = json!(1), "$.colour is not in the schema");
    wrong(|d| d["evidences"] = json!({}), "$.evidences is no list");
    wrong(
        |d| d["evidences"][0]["process"]["file"] = json!({"name": "sh"}),
        "$.evidences.process.file.type_id is missing",
    );
}

#[test]
fn every_priority_and_outcome_is_valid() {
    for priority in Priority::ALL {
        for outcome in [Outcome::Succeeded, Outcome::Unknown, Outcome::Failed { errno: 1 }] {
            let mut alert = alert();
            (alert.priority, alert.outcome) = (priority, outcome);
            check(&document(Item::Alert(&alert), about()));
        }
    }
}

#[test]
fn what_enforcement_did_is_told() {
    let check_one = |outcome: EnforcementOutcome, action: u64, disposition: u64| {
        let mut alert = enforced(outcome);
        alert.outcome = Outcome::Succeeded;
        let document = document(Item::Alert(&alert), about());
        check(&document);
        let found = (&document["action_id"], &document["disposition_id"]);
        assert_eq!(found, (&json!(action), &json!(disposition)));
        assert_eq!(document["unmapped"]["enforcement"]["outcome"], json!(outcome.as_str()));
    };
    check_one(EnforcementOutcome::Prevented, 2, 2);
    check_one(EnforcementOutcome::Killed, 4, 7);
    check_one(EnforcementOutcome::WouldPrevent, 3, 15);
    check_one(EnforcementOutcome::Failed, 3, 15);
}

#[test]
fn techniques_bring_their_tactics() {
    let check = |tags: &[&str], expected: Value| {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        assert_eq!(Value::Array(attacks(&tags, techniques)), expected);
    };
    let execution = json!({"uid": "TA0002", "name": "Execution"});
    let interpreter = json!({"uid": "T1059", "name": "Command and Scripting Interpreter"});
    check(&["container", "web"], json!([]));
    check(&["T1059", "mitre_execution"], json!([{"technique": interpreter, "tactic": execution}]));
    check(
        &["T1059.004", "mitre_persistence"],
        json!([
            {
                "technique": interpreter,
                "sub_technique": {"uid": "T1059.004", "name": "Unix Shell"},
                "tactic": execution
            },
            {"tactic": {"uid": "TA0003", "name": "Persistence"}}
        ]),
    );
    // A number that the table of names lacks is still told.
    check(
        &["T9999.001"],
        json!([
            {"technique": {"uid": "T9999"}, "sub_technique": {"uid": "T9999.001"}}
        ]),
    );
}

#[test]
fn references_are_split_into_name_and_tag() {
    let check =
        |text: &str, name: &str, tag: Option<&str>| assert_eq!(split_tag(text), (name, tag));
    check("nginx", "nginx", None);
    check("docker.io/library/nginx:1.27", "docker.io/library/nginx", Some("1.27"));
    check("localhost:5000/nginx", "localhost:5000/nginx", None);
    check("localhost:5000/nginx:1@sha256:00", "localhost:5000/nginx", Some("1"));
    check("oci:shop", "oci:shop", None);
    check(":", ":", None);
}
