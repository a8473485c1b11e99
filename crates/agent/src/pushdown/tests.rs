use std::fmt::Write as _;

use palisade_bpf::OpenVerdicts;
use palisade_rules::LoadOptions;

use super::*;
use crate::detector::load_rules;

fn filter(conditions: &[&str]) -> OpenFilter {
    let mut text = String::new();
    for (number, condition) in conditions.iter().enumerate() {
        writeln!(
            text,
            "- rule: r{number}\n  desc: a\n  condition: >\n    {condition}\n  output: a\n  priority: INFO"
        )
        .unwrap();
    }
    let (rules, diagnostics) = load_rules(&[("a.yaml", &text)], &LoadOptions::default());
    assert_eq!(rules.rules().len(), conditions.len(), "{diagnostics}");
    opens(&rules)
}

/// What one open is: access mode, whether it failed, whether a container's.
type Open<'a> = (u32, bool, bool, &'a str);

#[track_caller]
fn check(condition: &str, crossing: &[Open<'_>], held: &[Open<'_>]) {
    let verdicts = OpenVerdicts::of(&filter(&[condition]));
    let crosses = |(access, failed, contained, path): &Open<'_>| {
        let class = OpenClasses::of_open(*access, false, *failed, *contained);
        verdicts.crosses(class, (!failed).then_some(path.as_bytes()), path.as_bytes())
    };
    for open in crossing {
        assert!(crosses(open), "{condition}: {open:?} is held back");
    }
    for open in held {
        assert!(!crosses(open), "{condition}: {open:?} crosses");
    }
}

const HOST: bool = false;
const INSIDE: bool = true;
const DONE: bool = false;
const FAILED: bool = true;

#[test]
fn what_a_condition_can_match_crosses_and_little_else() {
    check(
        "evt.type in (open, openat) and evt.is_open_read=true and fd.name startswith /etc/ and fd.num>=0",
        &[(0, DONE, HOST, "/etc/passwd"), (2, DONE, INSIDE, "/etc/passwd")],
        &[
            (0, DONE, HOST, "/usr/etc/passwd"),
            (1, DONE, HOST, "/etc/passwd"),
            (0, FAILED, HOST, "/etc/passwd"),
            (0, FAILED, HOST, "etc/passwd"),
        ],
    );
    check(
        "evt.type = openat and container.id != host and (fd.name in (/a, /b) or proc.name = x)",
        &[(0, DONE, INSIDE, "/a"), (0, DONE, INSIDE, "/c")],
        &[(0, DONE, HOST, "/a"), (0, FAILED, HOST, "/c")],
    );
    check(
        "evt.type = openat and fd.name startswith /proc/ and fd.name endswith /environ",
        &[(0, DONE, HOST, "/proc/1/environ"), (0, FAILED, HOST, "//proc/1/environ")],
        &[(0, DONE, HOST, "/proc/1/status"), (0, FAILED, HOST, "/proc/1/status")],
    );
    check(
        "evt.type = creat and fd.filename = x",
        &[(1, DONE, HOST, "/a/x"), (1, DONE, INSIDE, "/x")],
        &[(0, DONE, HOST, "/a/x"), (1, DONE, HOST, "/a/yx")],
    );
    check(
        "evt.type in (open, openat) and fd.name glob '/home/*/.ssh/*' and evt.failed = true",
        &[(0, FAILED, HOST, "/home/a/.ssh/id"), (0, FAILED, HOST, "home/a/.ssh/id")],
        &[(0, DONE, HOST, "/home/a/.ssh/id"), (0, FAILED, HOST, "/home/a/ssh/id")],
    );
    check(
        "evt.type = openat and fd.name pmatch (/boot/, /lib/modules)",
        &[(0, DONE, HOST, "/boot"), (0, DONE, HOST, "/lib/modules/6.1/x")],
        &[(0, DONE, HOST, "/lib/mod")],
    );
    check(
        "evt.type = openat and (fd.directory = /usr/bin or fd.name icontains RANSOM)",
        &[(0, DONE, HOST, "/usr/bin/x"), (0, DONE, HOST, "/tmp/rAnsom.txt")],
        &[(0, DONE, HOST, "/usr/lib/x")],
    );
    check(
        "evt.type = openat and fd.nameraw contains ../ and fd.name startswith /etc/",
        &[(0, DONE, HOST, "/etc/x/../passwd"), (0, FAILED, HOST, "a/../etc/passwd")],
        &[(0, DONE, HOST, "/usr/passwd"), (0, FAILED, HOST, "/usr/passwd")],
    );
    check(
        "evt.type = connect and fd.name startswith 10.",
        &[],
        &[(0, DONE, HOST, "/etc/passwd"), (1, FAILED, INSIDE, "x")],
    );
}

#[test]
fn what_cannot_be_decided_below_counts_as_true() {
    let all = [(0, DONE, HOST, "/x"), (1, FAILED, INSIDE, "/y"), (2, DONE, INSIDE, "z")];
    for condition in [
        "evt.type = openat and not fd.name startswith /etc/",
        "evt.type = openat and fd.name regex '/etc/.*'",
        "evt.type = openat and fd.name != /etc/passwd",
        "evt.type = openat and proc.name = x",
        "evt.type = openat and not (evt.is_open_read = true and fd.name = /x)",
        "evt.type = openat and evt.arg.flags contains O_CREAT",
        "evt.type = openat and tolower(fd.name) = /etc",
        "evt.type = openat and fd.name contains ''",
        "evt.type = openat and not container.id != host",
        "evt.type = openat and fd.filename contains a/b",
        "not evt.type in (connect, creat)",
    ] {
        check(condition, &all, &[]);
    }
}

#[test]
fn names_asked_for_elsewhere_let_everything_cross() {
    let is_all = |conditions: &[&str]| filter(conditions) == OpenFilter::All;
    let harmless = "evt.type = openat and fd.name = /etc/shadow";
    assert!(!is_all(&[harmless]));
    assert!(!is_all(&[harmless, "evt.type = close"]));
    assert!(is_all(&[harmless, "evt.type = close and fd.name = /etc/shadow"]));
    assert!(!is_all(&[harmless, "evt.type in (dup, fchmod) and fd.name = /etc/shadow"]));
    assert!(!is_all(&[harmless, "evt.type = connect and fd.sip = 1.2.3.4"]));
}

#[test]
fn folders_and_standard_streams_cross_for_those_who_are_watched() {
    let kept = |contained| OpenClasses::of_open(0, true, false, contained);
    let verdicts = OpenVerdicts::of(&filter(&["evt.type = unlinkat and container.id != host"]));
    assert!(
        verdicts.crosses(kept(INSIDE), Some(b"/x"), b"/x")
            && !verdicts.crosses(kept(HOST), Some(b"/x"), b"/x")
    );
    let verdicts = OpenVerdicts::of(&filter(&["evt.type = unlinkat"]));
    assert!(
        verdicts.crosses(kept(INSIDE), Some(b"/x"), b"/x")
            && verdicts.crosses(kept(HOST), Some(b"/x"), b"/x")
    );
}

#[test]
fn the_built_in_rules_leave_the_host_and_most_files_alone() {
    let (rules, _) = load_rules(&crate::BUILTIN_RULES, &LoadOptions::default());
    let filter = opens(&rules);
    let verdicts = OpenVerdicts::of(&filter);
    let crosses = |access, failed, contained, path: &str| {
        let class = OpenClasses::of_open(access, false, failed, contained);
        verdicts.crosses(class, (!failed).then_some(path.as_bytes()), path.as_bytes())
    };
    for path in ["/etc/hostname", "/usr/share/zoneinfo/UTC", "/usr/lib/locale/C.utf8/LC_ALL"] {
        assert!(!crosses(0, DONE, INSIDE, path), "{path}");
        assert!(!crosses(0, FAILED, INSIDE, path), "{path}");
    }
    assert!(!crosses(1, DONE, INSIDE, "/tmp/output"));
    assert!(crosses(0, DONE, INSIDE, "/etc/shadow") && !crosses(0, DONE, HOST, "/etc/shadow"));
    assert!(crosses(1, FAILED, INSIDE, "/etc/sudoers.d/x"));
    let OpenFilter::Only(texts) = filter else { panic!("{filter:?}") };
    assert!(texts.texts().count() > 100);
}

#[test]
fn patterns_give_their_longest_plain_part() {
    let part = |pattern: &str, text: &str, at_start, at_end| {
        let expected = PathText { text: text.into(), at_start, at_end, as_written: false };
        assert_eq!(longest_part(pattern), expected, "{pattern}");
    };
    part("/a/b", "/a/b", true, true);
    part("/home/*", "/home/", true, false);
    part("*/id_?sa", "/id_", false, false);
    part("/a*/bcd", "/bcd", false, true);
    part("/a*/bcd[0-9]/efghij", "/bcd", false, false);
    part("/a\\*bcdef", "/a", true, false);
    part("*", "", false, true);
}

#[test]
fn more_texts_than_fit_let_everything_cross() {
    let list = |n: usize| (0..n).map(|number| format!("/f{number}")).collect::<Vec<_>>().join(", ");
    let condition = |n| format!("evt.type = openat and fd.name in ({})", list(n));
    check(&condition(TEXTS_MAX), &[(0, DONE, HOST, "/f0")], &[(0, DONE, HOST, "/g")]);
    check(&condition(TEXTS_MAX + 1), &[(0, DONE, HOST, "/g")], &[]);
}

#[test]
fn rules_for_containers_are_told_from_others() {
    let check = |condition: &str, expected: bool| {
        let text = format!(
            "- rule: a\n  desc: a\n  condition: {condition}\n  output: a\n  priority: INFO\n"
        );
        let (rules, _) = load_rules(&[("a.yaml", &text)], &LoadOptions::default());
        assert_eq!(rules.rules().len(), 1, "{condition}");
        assert_eq!(concerns_containers_only(&rules), expected, "{condition}");
    };
    check("evt.type = open and container.id != host", true);
    check("evt.type = open and (container.id != host and proc.name = a)", true);
    check("evt.type = open and (container.id != host or proc.name = a)", false);
    check("evt.type = open and not container.id != host", false);
    check("evt.type = open and container.id = host", false);
    let (rules, _) = load_rules(&crate::BUILTIN_RULES, &LoadOptions::default());
    assert!(concerns_containers_only(&rules));
    assert!(!concerns_containers_only(&RuleSet::default()));
}

#[test]
fn environments_are_sent_to_whom_asks() {
    let check = |condition: &str, output: &str, expected| {
        let text = format!(
            "- rule: a\n  desc: a\n  condition: >\n    {condition}\n  output: {output}\n  priority: INFO\n"
        );
        let (rules, diagnostics) = load_rules(&[("a.yaml", &text)], &LoadOptions::default());
        assert_eq!(rules.rules().len(), 1, "{condition}: {diagnostics}");
        assert_eq!(environment(&rules), expected, "{condition} {output}");
    };
    check("evt.type = execve", "a", Environment::None);
    check("evt.type = execve and proc.env contains PATH", "a", Environment::All);
    check(
        "evt.type = execve and container.id != host and proc.env[X] = a",
        "a",
        Environment::Contained,
    );
    check("evt.type = execve and container.id != host and proc.aenv[X] = a", "a", Environment::All);
    check("evt.type = execve", "a (%proc.env)", Environment::All);
    check(
        "evt.type = execve and container.id != host",
        "\"%proc.env[PATH]\"",
        Environment::Contained,
    );
}

/// Falco's published rules, where the conformance material is there.
fn published(names: &[&str]) -> Option<RuleSet> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/conformance/falco/rules");
    let texts: Option<Vec<_>> = names
        .iter()
        .map(|name| Some((*name, std::fs::read_to_string(folder.join(name)).ok()?)))
        .collect();
    let texts = texts?;
    let sources: Vec<(&str, &str)> =
        texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let options = LoadOptions { keep_expressions: true, ..LoadOptions::default() };
    Some(load_rules(&sources, &options).0)
}

#[test]
fn falcos_rules_leave_most_files_alone() {
    let Some(stable) = published(&["falco_rules.yaml"]) else { return };
    let verdicts = OpenVerdicts::of(&opens(&stable));
    let crosses = |access, path: &str| {
        let class = OpenClasses::of_open(access, false, false, false);
        verdicts.crosses(class, Some(path.as_bytes()), path.as_bytes())
    };
    assert!(crosses(0, "/etc/shadow") && crosses(0, "/srv/../root/.ssh/id_rsa"));
    for path in ["/etc/hostname", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/proc/self/maps"] {
        assert!(!crosses(0, path), "{path}");
    }
}
