//! Forms whose readers publish no schema that lies beside: each is held against what its reader
//! demands, written down here, or against a program that knows the form.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::Value;

use crate::schema::Schema;

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// What schema 15.2.1 demands of the fields that are written, and that no other is written.
#[test]
fn gitlab_reports_have_the_structure_of_the_schema() {
    let text = golden("structures/gitlab-15.2.1.json");
    let schema = Schema::of(serde_json::from_str(&text).unwrap());
    for name in ["full.gitlab.json", "clean.gitlab.json"] {
        let mut document: Value = serde_json::from_str(&golden(name)).unwrap();
        assert_eq!(schema.problems(&document), Vec::<String>::new(), "{name}");
        // The structure can say no.
        document["scan"]["start_time"] = "2026-01-01T00:00:00Z".into();
        document["scan"]["type"] = "sast".into();
        document["vulnerabilities"] = serde_json::json!([{ "id": "1", "identifiers": [] }]);
        assert!(schema.problems(&document).len() >= 4, "{name}");
    }
}

/// An element of JUnit's form: what it may hold, what it must and may have.
struct Element {
    children: &'static [&'static str],
    required: &'static [&'static str],
    optional: &'static [&'static str],
    holds_text: bool,
}

/// As Jenkins and Surefire read it.
fn junit_element(name: &str) -> Option<Element> {
    let of = |children, required, optional, holds_text| {
        Some(Element { children, required, optional, holds_text })
    };
    match name {
        "testsuites" => {
            of(&["testsuite"], &[], &["name", "time", "tests", "failures", "errors"], false)
        }
        "testsuite" => of(
            &["properties", "testcase", "system-out", "system-err"],
            &["name", "tests"],
            &["failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package"],
            false,
        ),
        "testcase" => of(
            &["skipped", "error", "failure", "system-out", "system-err"],
            &["name", "classname"],
            &["time", "assertions", "status"],
            false,
        ),
        "properties" => of(&["property"], &[], &[], false),
        "property" => of(&[], &["name", "value"], &[], false),
        "failure" | "error" | "skipped" => of(&[], &[], &["type", "message"], true),
        _ => None,
    }
}

/// Counts of a suite, stated or found: tests, failures, errors, skipped.
type Counts = [u64; 4];

fn attributes(start: &BytesStart<'_>) -> BTreeMap<String, String> {
    start
        .attributes()
        .map(|attribute| {
            let attribute = attribute.unwrap();
            (attribute.key.as_ref().to_string(), attribute.value.to_string())
        })
        .collect()
}

/// What is wrong with a report in JUnit's form.
fn junit_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut reader = Reader::from_str(text);
    let mut open: Vec<String> = Vec::new();
    let (mut stated, mut found): (Counts, Counts) = ([0; 4], [0; 4]);
    let (mut all_stated, mut all_found): (Counts, Counts) = ([0; 4], [0; 4]);
    let mut n_outcomes = 0;
    loop {
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => {
                problems.push(error.to_string());
                return problems;
            }
        };
        let (start, is_empty) = match &event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                let name = open.pop().unwrap_or_default();
                if name == "testsuite" && stated != found {
                    problems.push(format!("a suite states {stated:?} and has {found:?}"));
                }
                continue;
            }
            Event::Text(words) => {
                let is_blank = words.trim().is_empty();
                let holder = open.last().and_then(|name| junit_element(name));
                if !is_blank && holder.is_none_or(|element| !element.holds_text) {
                    problems.push(format!("text in {open:?}"));
                }
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        let name = start.name().as_ref().to_string();
        let allowed = match open.last() {
            None => name == "testsuites",
            Some(parent) => {
                junit_element(parent).is_some_and(|parent| parent.children.contains(&name.as_str()))
            }
        };
        if !allowed {
            problems.push(format!("{name} in {open:?}"));
        }
        let has = attributes(start);
        if let Some(element) = junit_element(&name) {
            let missing = element.required.iter().filter(|key| !has.contains_key(**key));
            problems.extend(missing.map(|key| format!("{name} without {key}")));
            let known =
                |key: &str| element.required.contains(&key) || element.optional.contains(&key);
            problems.extend(has.keys().filter(|k| !known(k)).map(|k| format!("{name} with {k}")));
        }
        let number = |key: &str| has.get(key).map_or(0, |text| text.parse().unwrap_or(u64::MAX));
        match name.as_str() {
            "testsuites" => all_stated = [number("tests"), number("failures"), number("errors"), 0],
            "testsuite" => {
                stated = ["tests", "failures", "errors", "skipped"].map(number);
                found = [0; 4];
                let time = has.get("timestamp").map_or("", String::as_str);
                if time.len() != 19
                    || format!("{time}Z").parse::<palisade_base::Timestamp>().is_err()
                {
                    problems.push(format!("timestamp {time:?}"));
                }
            }
            "testcase" => {
                found[0] += 1;
                all_found[0] += 1;
                n_outcomes = 0;
            }
            outcome @ ("failure" | "error" | "skipped") => {
                let at = match outcome {
                    "failure" => 1,
                    "error" => 2,
                    _ => 3,
                };
                found[at] += 1;
                all_found[at] += u64::from(at < 3);
                n_outcomes += 1;
                if n_outcomes > 1 {
                    problems.push("a test with two outcomes".into());
                }
            }
            _ => {}
        }
        if !is_empty {
            open.push(name);
        }
    }
    if all_stated != all_found {
        problems.push(format!("all suites state {all_stated:?} and have {all_found:?}"));
    }
    problems
}

#[test]
fn junit_reports_have_the_structure_that_build_servers_read() {
    for name in ["full.junit.xml", "clean.junit.xml"] {
        let text = golden(name);
        assert_eq!(junit_problems(&text), Vec::<String>::new(), "{name}");
        for (from, to) in [
            ("tests=\"", "tests=\"9"),
            (" name=\"coverage\"", " nom=\"coverage\""),
            ("<testcase ", "<case "),
            ("timestamp=\"2", "timestamp=\"x"),
            ("</testsuites>", "text</testsuites>"),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert!(damaged != text && !junit_problems(&damaged).is_empty(), "{name}: {to}");
        }
    }
}

#[test]
fn junit_reports_of_checks_have_it_too() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostPID: true\n  containers: [{name: \"<c&\", image: nginx}]\n";
    let policy = palisade_policy::Checks::default();
    let files = [
        ("a <&>.yaml", pod),
        ("b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"),
        ("c.yaml", "kind: ["),
    ];
    let report = crate::checks::run_with(&files, &policy);
    assert!(report.findings.len() > 3);
    let text = palisade_scan::report::checks::junit(&report, crate::image::NOW);
    assert_eq!(junit_problems(&text), Vec::<String>::new(), "{text}");
    assert!(text.contains("host-pid") && text.contains("no finding"), "{text}");
}

const HTML5: &str = "
import sys
try:
    import html5lib
except ImportError:
    sys.exit(77)
parser = html5lib.HTMLParser(strict=False)
parser.parse(sys.stdin.buffer.read(), transport_encoding='utf-8')
for place, code, data in parser.errors:
    print(place, code, data)
";

/// What a parser of HTML 5 finds wrong with a page; `None` where there is no such parser.
fn html_problems(page: &str) -> Option<String> {
    let mut child = Command::new("python3")
        .args(["-c", HTML5])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    std::io::Write::write_all(&mut child.stdin.take()?, page.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    (output.status.code() == Some(0)).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn pages_are_html_without_errors() {
    let Some(none) = html_problems("<!DOCTYPE html><title>x</title><p>y") else {
        eprintln!("skipped: python3 has no html5lib");
        return;
    };
    assert_eq!(none, "");
    for name in ["full.html", "clean.html"] {
        let page = golden(name);
        assert_eq!(html_problems(&page).unwrap(), "", "{name}");
        assert_ne!(html_problems(&page.replacen("</table>", "</div>", 1)).unwrap(), "", "{name}");
    }
}
