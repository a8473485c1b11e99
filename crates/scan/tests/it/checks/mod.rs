//! Every check with what it must find and what it must not.

mod build_pairs;
mod container_pairs;
mod controls;
mod inputs;
mod object_pairs;
mod peers;

use std::collections::BTreeSet;

use palisade_base::Timestamp;
use palisade_model::Finding;
use palisade_model::finding::Misconfiguration;
use palisade_policy::Checks;
use palisade_scan::config::{
    CheckReport, Kind, Options, Source, catalogue, checks, custom, detect, examine,
};
use palisade_scan::secrets::Searcher;

/// A check, what violates it and where, and what does not.
pub(crate) struct Pair {
    pub(crate) check: &'static str,
    pub(crate) name: &'static str,
    pub(crate) bad: &'static str,
    /// Line and column of each finding.
    pub(crate) at: &'static [(u64, u64)],
    pub(crate) good: &'static str,
}

pub(crate) fn pair(
    check: &'static str,
    name: &'static str,
    bad: &'static str,
    at: &'static [(u64, u64)],
    good: &'static str,
) -> Pair {
    Pair { check, name, bad, at, good }
}

pub(crate) fn run_with(files: &[(&str, &str)], policy: &Checks) -> CheckReport {
    with_options(files, policy, examine)
}

/// What `run` makes of `files` with the options that the tests use.
pub(crate) fn with_options<T>(
    files: &[(&str, &str)],
    policy: &Checks,
    run: impl FnOnce(&[Source], &Options<'_>) -> T,
) -> T {
    let sources: Vec<Source> = files
        .iter()
        .map(|(name, text)| Source {
            name: (*name).to_string(),
            text: (*text).to_string(),
            kind: None,
            is_named: true,
        })
        .collect();
    let searcher = Searcher::new().unwrap();
    let custom = custom::compile(&policy.custom).unwrap();
    let options = Options {
        now: "2026-11-22T00:00:00Z".parse::<Timestamp>().unwrap(),
        policy,
        custom: &custom,
        ignores: &[],
        searcher: &searcher,
        load: &|_, _| Err("there are no other files".to_string()),
    };
    run(&sources, &options)
}

pub(crate) fn run(name: &str, text: &str) -> CheckReport {
    run_with(&[(name, text)], &Checks::default())
}

pub(crate) fn findings(report: &CheckReport) -> Vec<&Misconfiguration> {
    report
        .findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Configuration(found) => Some(found),
            _ => None,
        })
        .collect()
}

/// Where `check` was violated.
pub(crate) fn places(report: &CheckReport, check: &str) -> Vec<(u64, u64)> {
    findings(report)
        .iter()
        .filter(|found| found.check == check)
        .filter_map(|found| found.location.as_ref().map(|at| (at.line, at.column)))
        .collect()
}

fn pairs() -> Vec<Pair> {
    let mut all = build_pairs::pairs();
    all.extend(container_pairs::pairs());
    all.extend(object_pairs::pairs());
    all
}

/// Rules that need a policy: registries.
fn policy() -> Checks {
    Checks { registries: vec!["ghcr.io/ours".into()], ..Checks::default() }
}

#[test]
fn every_check_finds_the_bad_and_not_the_good() {
    let policy = policy();
    let mut wrong = Vec::new();
    for pair in pairs() {
        let bad = run_with(&[(pair.name, pair.bad)], &policy);
        assert!(bad.gaps.is_empty(), "{}: {:?}\n{}", pair.check, bad.gaps, pair.bad);
        let found = places(&bad, pair.check);
        if found != pair.at {
            wrong
                .push(format!("{}: bad at {found:?}, not {:?}\n{}", pair.check, pair.at, pair.bad));
        }
        let good = run_with(&[(pair.name, pair.good)], &policy);
        assert!(good.gaps.is_empty(), "{}: {:?}\n{}", pair.check, good.gaps, pair.good);
        let found = places(&good, pair.check);
        if !found.is_empty() {
            wrong.push(format!("{}: good at {found:?}\n{}", pair.check, pair.good));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

/// Judged of built images alone, by the tests of `scan`.
const OF_IMAGES: [&str; 2] = ["empty-password", "image-old"];

#[test]
fn every_check_has_a_pair() {
    let paired: BTreeSet<&str> = pairs().iter().map(|pair| pair.check).collect();
    let known: BTreeSet<&str> = checks::all().map(|check| check.name).collect();
    let missing: Vec<&&str> =
        known.difference(&paired).filter(|name| !OF_IMAGES.contains(name)).collect();
    assert!(missing.is_empty(), "checks without a pair: {missing:?}");
    assert!(paired.is_subset(&known), "pairs without a check: {:?}", paired.difference(&known));
}

#[test]
fn every_row_of_the_catalogue_is_judged_or_said_not_to_be() {
    let judged: BTreeSet<&str> = checks::all().map(|check| check.id).collect();
    for row in catalogue::ROWS {
        let is_judged = judged.contains(row.id);
        assert_ne!(is_judged, !row.elsewhere.is_empty(), "{}", row.id);
        assert!(!row.controls().is_empty(), "{}", row.id);
    }
    let rows: BTreeSet<&str> = catalogue::ROWS.iter().map(|row| row.id).collect();
    assert_eq!(rows.len(), catalogue::ROWS.len());
    assert!(judged.is_subset(&rows));
}

#[test]
fn checks_are_named_once_and_say_what_to_do() {
    let names: BTreeSet<&str> = checks::all().map(|check| check.name).collect();
    assert_eq!(names.len(), checks::all().count());
    for check in checks::all() {
        let texts = [check.title, check.why, check.fix];
        assert!(texts.iter().all(|text| !text.is_empty()), "{}", check.name);
        assert!(!check.title.ends_with('.') && check.why.ends_with('.'), "{}", check.name);
        assert!(check.references.iter().all(|r| r.starts_with("https://")), "{}", check.name);
        let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(check.name.chars().all(is_kebab), "{}", check.name);
    }
}

#[test]
fn kinds_are_those_of_the_pairs() {
    let kinds: BTreeSet<Kind> = pairs()
        .iter()
        .filter_map(|pair| {
            let documents = palisade_scan::config::tree::parse(pair.bad).0;
            detect(pair.name, pair.bad, &documents)
        })
        .collect();
    assert_eq!(kinds.len(), Kind::ALL.len(), "{kinds:?}");
}

#[test]
fn reference_page_is_the_committed_one() {
    let page = palisade_scan::config::page::markdown();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/checks.md");
    if std::env::vars().any(|(name, value)| name == "UPDATE_GOLDEN" && value == "1") {
        std::fs::write(path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == page, "docs/reference/checks.md differs; run with UPDATE_GOLDEN=1");
}

#[test]
fn long_lines_cost_what_they_are_long() {
    // Each of these was quadratic in some step of a reader that counts from the beginning.
    let inputs = [
        ("Dockerfile", format!("FROM a\nENV {}\n", "A=b ".repeat(200_000))),
        ("Dockerfile", format!("FROM a\nRUN {}\n", "a;".repeat(400_000))),
        ("Dockerfile", format!("FROM a\nRUN <<E\n{}E\n", "a;\n".repeat(200_000))),
        ("Dockerfile", format!("FROM a\nRUN {}\n", "\\\n".repeat(200_000))),
    ];
    for (name, text) in inputs {
        let begun = std::time::Instant::now();
        run(name, &text);
        let took = begun.elapsed();
        assert!(took.as_secs() < 20, "{name} {}: {took:?}", &text[..20]);
    }
}

/// Every text of the pairs, cut and with bytes exchanged, is examined without a panic, and
/// what is found has a place in it.
#[test]
fn mutilated_inputs_are_examined() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n.max(1) as u64) as usize
    };
    let bytes = b" \n\t:-{}[],\"'#&*!|>$\\<%@`0aA~";
    let searcher = Searcher::new().unwrap();
    let policy = policy();
    for (index, pair) in pairs().into_iter().enumerate() {
        for _ in 0..8 {
            let mut text: Vec<u8> = pair.bad.bytes().collect();
            for _ in 0..=random(3) {
                let at = random(text.len());
                match random(3) {
                    0 => text.truncate(at.max(1)),
                    1 => text.insert(at, bytes[random(bytes.len())]),
                    _ => text[at] = bytes[random(bytes.len())],
                }
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let n_lines = text.split('\n').count() as u64;
            let kind = (index % 2 == 0).then(|| Kind::ALL[random(Kind::ALL.len())]);
            let name = pair.name.to_string();
            let sources = [Source { name, text, kind, is_named: true }];
            let options = Options {
                now: Timestamp::from_nanos(0),
                policy: &policy,
                custom: &[],
                ignores: &[],
                searcher: &searcher,
                load: &|_, _| Ok(sources[0].text.clone()),
            };
            let report = examine(&sources, &options);
            for found in findings(&report) {
                let line = found.location.as_ref().unwrap().line;
                assert!((1..=n_lines).contains(&line), "{found:?}\n{}", sources[0].text);
            }
        }
    }
}
