//! `palisade rules`: check, list, explain, fields, events; and files that are wrong.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::capture::{HOST, Recording, WORKER};
use crate::support::{DEADLINE, Ended, Running, palisade, run};

const BASE: &str = r#"
- list: secrets
  items: [/etc/shadow, /etc/gshadow]
- macro: opened
  condition: (evt.type in (open, openat) and fd.num >= 0)
- rule: Secret opened
  desc: Somebody opened a secret.
  condition: opened and fd.name in (secrets) and not proc.aname in (sshd, login)
  output: opened %fd.name (process=%proc.name)
  priority: WARNING
  tags: [files, T1003.008]
- rule: Anything opened
  desc: d
  condition: opened and proc.name regex "w.*r|b.+"
  output: o
  priority: DEBUG
  tags: [files]
  enabled: false
"#;

const SITE: &str = r"
- rule: Secret opened
  condition: and not proc.name = bash
  tags: [site]
  override:
    condition: append
    tags: append
- list: secrets
  items: [/srv/key]
  override:
    items: append
";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("base.yaml", BASE);
    write("site.yaml", SITE);
    let mut recording = Recording::new();
    recording
        .open(WORKER, "/etc/shadow", &["O_RDONLY"], 5)
        .open(WORKER, "/etc/shadow", &["O_RDONLY"], -13)
        .open(WORKER, "/srv/key", &["O_RDONLY"], 5)
        .open(HOST, "/etc/shadow", &["O_RDONLY"], 5)
        .call("close", HOST, &[]);
    recording.save(&folder.path().join("a.scap"));
    folder
}

fn rules(folder: &Path, args: &[&str]) -> Ended {
    run(folder, &[&["rules"], args].concat())
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

#[test]
fn check_shows_every_problem_with_its_line_and_ends_as_documented() {
    let folder = folder();
    let bad = "- rule: a\n  desc: d\n  condition: evt.type = opne and proc.nam = x\n  output: '%no.such'\n  \
               priority: HIGH\n- rule: b\n  desc: d\n  condition: evt.type = open and fd.num contains 1\n  \
               output: o\n  priority: INFO\n- macro: unused\n  condition: evt.type = open\n";
    std::fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let ended = rules(folder.path(), &["check", "base.yaml", "bad.yaml", "site.yaml"]).expect(2);
    assert_eq!(
        ended.stdout,
        "base.yaml: ok\nbad.yaml: invalid, 2 errors, 1 warning\nsite.yaml: ok\n\
         2 rules (1 off), 2 errors, 1 warning\n"
    );
    for part in [
        "error[LOAD_ERR_YAML_VALIDATE]: Invalid priority\n --> bad.yaml:5:13\n",
        "error[LOAD_ERR_COMPILE_CONDITION]",
        "bad.yaml:8:",
        "warning[LOAD_UNUSED_MACRO]",
        "help: one of EMERGENCY",
    ] {
        assert!(ended.stderr.contains(part), "{part} is not in {}", ended.stderr);
    }
    rules(folder.path(), &["check", "base.yaml", "site.yaml"]).expect(0);
    rules(folder.path(), &["check"]).expect(0);
    // A warning is a failure only where that was asked for.
    let doubtful = "- macro: unused\n  condition: evt.type = open\n";
    std::fs::write(folder.path().join("doubtful.yaml"), doubtful).unwrap();
    rules(folder.path(), &["check", "doubtful.yaml"]).expect(0);
    rules(folder.path(), &["check", "--strict", "doubtful.yaml"]).expect(2);
    // The schema of rule files says more than loading does.
    let loose = format!("{BASE}  surplus: 1\n").replace("priority: DEBUG", "priority: debug");
    std::fs::write(folder.path().join("loose.yaml"), loose).unwrap();
    let ended = rules(folder.path(), &["check", "loose.yaml"]).expect(0);
    assert!(ended.stderr.contains("warning[rule-schema]: `priority` is not one of"));
    assert!(ended.stderr.contains("warning[LOAD_UNKNOWN_KEY]"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("warning[rule-schema]: unknown key"), "{}", ended.stderr);
    let ended = rules(folder.path(), &["check", "--no-schema", "loose.yaml"]).expect(0);
    assert!(!ended.stderr.contains("rule-schema"), "{}", ended.stderr);
}

#[test]
fn check_tells_pipelines_what_falco_tells_them() {
    let folder = folder();
    let bad =
        "- rule: a b\n  desc: d\n  condition: evt.type = opne\n  output: o\n  priority: INFO\n";
    std::fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let ended =
        rules(folder.path(), &["check", "--format", "json", "base.yaml", "bad.yaml"]).expect(2);
    assert_eq!(ended.stderr, "");
    let document = json(&ended);
    assert_eq!(document["schema"], "palisade.dev/rules-check/v1");
    assert_eq!(document["successful"], false);
    let results = &document["falco_load_results"];
    assert_eq!(
        (&results[0]["name"], &results[0]["successful"]),
        (&"base.yaml".into(), &true.into())
    );
    let error = &results[1]["errors"][0];
    assert_eq!(error["code"], "LOAD_ERR_COMPILE_CONDITION");
    assert_eq!(error["help"], "did you mean `open`?");
    assert_eq!(error["location"], serde_json::json!({"file": "bad.yaml", "line": 3, "column": 25}));
    let places = error["context"]["locations"].as_array().unwrap();
    assert_eq!((&places[1]["item_type"], &places[1]["item_name"]), (&"rule".into(), &"a b".into()));
    assert_eq!(
        places[2]["position"],
        serde_json::json!({"name": "bad.yaml", "line": 2, "column": 24, "offset": 46})
    );
    assert_eq!(bad.chars().skip(46).take(4).collect::<String>(), "opne");
    assert!(error["context"]["snippet"].as_str().unwrap().ends_with("^\n"));
    let ended = rules(folder.path(), &["check", "--format", "json", "gone.yaml"]).expect(3);
    assert_eq!(json(&ended)["falco_load_results"][0]["errors"][0]["code"], "LOAD_ERR_FILE_READ");
}

#[test]
fn check_reads_standard_input_and_says_what_cannot_be_read() {
    let folder = folder();
    let mut command = palisade(folder.path());
    command.args(["rules", "check", "-"]);
    let ended = Running::start(command, BASE.as_bytes()).wait(DEADLINE).expect(0);
    assert_eq!(ended.stdout, "2 rules (1 off), 0 errors, 0 warnings\n");
    let ended = rules(folder.path(), &["check", "gone.yaml", "base.yaml"]).expect(3);
    assert!(ended.stderr.contains("read rules `gone.yaml`"), "{}", ended.stderr);
    assert!(ended.stdout.contains("gone.yaml: could not be read\n"), "{}", ended.stdout);
    std::fs::write(folder.path().join("latin.yaml"), b"- rule: caf\xe9\n").unwrap();
    let ended = rules(folder.path(), &["check", "latin.yaml"]).expect(2);
    assert!(
        ended.stderr.contains("not UTF-8 at byte 11\n --> latin.yaml:1:12"),
        "{}",
        ended.stderr
    );
    let ended = rules(folder.path(), &["check", "."]).expect(3);
    assert!(ended.stderr.contains("it is a folder"), "{}", ended.stderr);
}

/// Files that are malformed, cyclic, enormous or deep: a diagnostic, in bounded time and
/// memory, and never a panic.
#[test]
fn hostile_rule_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |condition: &str| {
        format!("- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")
    };
    let mut nested = String::from("- macro: m0\n  condition: evt.type = open\n");
    for i in 1..200 {
        let _ = writeln!(nested, "- macro: m{i}\n  condition: (m{} or m{})", i - 1, i - 1);
    }
    let mut anchors = String::from("- &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let _ = writeln!(anchors, "- &a{i} [{}]", vec![format!("*a{}", i - 1); 10].join(", "));
    }
    let cases = [
        ("no list", "rule: a\n".to_string(), "LOAD_ERR_YAML_VALIDATE"),
        ("half", "- rule: [".to_string(), "LOAD_ERR_YAML_PARSE"),
        ("binary", "\u{0}\u{1}\u{2}".to_string(), "LOAD_ERR_YAML"),
        (
            "cyclic macros",
            "- macro: a\n  condition: b\n- macro: b\n  condition: a\n".to_string() + &rule("a"),
            "Undefined macro",
        ),
        ("doubling macros", nested + &rule("m199 and evt.type = open"), "LOAD_ERR_VALIDATE"),
        ("alias bomb", anchors, "LOAD_ERR_YAML_PARSE"),
        ("deep YAML", "[".repeat(100_000), "LOAD_ERR_YAML_PARSE"),
        (
            "deep condition",
            rule(&format!("{}evt.type = open{}", "(".repeat(5_000), ")".repeat(5_000))),
            "max depth",
        ),
        ("long condition", rule(&"evt.type = open or ".repeat(100_000)), "larger than"),
        (
            "bad pattern",
            rule("evt.type = open and proc.name regex '(((('"),
            "LOAD_ERR_COMPILE_CONDITION",
        ),
    ];
    for (name, text, what) in cases {
        let path = folder.path().join("r.yaml");
        std::fs::write(&path, &text).unwrap();
        for command in [&["check"][..], &["list"], &["explain", "r"]] {
            let ended = rules(folder.path(), &[command, &["r.yaml"]].concat()).expect(2);
            assert!(ended.stderr.contains(what), "{name}: {}", ended.stderr);
            assert!(!ended.stderr.contains("panicked"), "{name}: {}", ended.stderr);
        }
    }
    let huge = folder.path().join("huge.yaml");
    std::fs::File::create(&huge).unwrap().set_len(17 << 20).unwrap();
    let ended = rules(folder.path(), &["check", "huge.yaml"]).expect(3);
    assert!(ended.stderr.contains("huge.yaml"), "{}", ended.stderr);
}

#[test]
fn list_filters_rules_and_lists_macros() {
    let folder = folder();
    let names = |args: &[&str]| -> Vec<String> {
        let args = [&["list", "--format", "tsv"], args, &["base.yaml", "site.yaml"]].concat();
        let ended = rules(folder.path(), &args).expect(0);
        ended.stdout.lines().map(|line| line.split('\t').next().unwrap().to_string()).collect()
    };
    assert_eq!(names(&[]), ["Secret opened", "Anything opened"]);
    assert_eq!(names(&["--tag", "site"]), ["Secret opened"]);
    assert_eq!(names(&["--tag", "site", "--tag", "nothing"]), [""; 0]);
    assert_eq!(names(&["--disabled"]), ["Anything opened"]);
    assert_eq!(names(&["--enabled"]), ["Secret opened"]);
    assert_eq!(names(&["--priority", "notice"]), ["Secret opened"]);
    assert_eq!(names(&["--source", "k8s_audit"]), [""; 0]);
    let table = rules(folder.path(), &["list", "base.yaml"]).expect(0).stdout;
    assert_eq!(
        table,
        "RULE             PRIORITY  STATE  SOURCE   TAGS\n\
         Secret opened    Warning   on     syscall  T1003.008 files\n\
         Anything opened  Debug     off    syscall  files\n"
    );
    let document =
        json(&rules(folder.path(), &["list", "--format", "json", "base.yaml"]).expect(0));
    assert_eq!(document["rules"][1]["enabled"], false);
    assert_eq!(document["rules"][0]["macros"], serde_json::json!(["opened"]));
    let macros = rules(folder.path(), &["list", "--macros", "base.yaml"]).expect(0).stdout;
    assert_eq!(
        macros,
        "MACRO   RULES  DEFINED AT     CONDITION\n\
         opened  2      base.yaml:4:3  (evt.type in (open, openat) and fd.num >= 0)\n"
    );
    let lists = ["list", "--lists", "--format", "json", "base.yaml", "site.yaml"];
    let document = json(&rules(folder.path(), &lists).expect(0));
    assert_eq!(
        document["lists"][0],
        serde_json::json!({
            "name": "secrets",
            "locations": ["base.yaml:2:3", "site.yaml:8:3"],
            "rules": ["Secret opened"],
            "items": ["/etc/shadow", "/etc/gshadow", "/srv/key"],
        })
    );
}

#[test]
fn explain_shows_what_a_rule_asks_and_costs() {
    let folder = folder();
    let args = ["explain", "Secret opened", "base.yaml", "site.yaml", "--capture", "a.scap"];
    let text = rules(folder.path(), &args).expect(0).stdout;
    for part in [
        "Secret opened\n  Somebody opened a secret.\n",
        "techniques T1003.008 /etc/passwd and /etc/shadow (Credential Access)\n",
        "defined    base.yaml:6:3\n           site.yaml:2:3  appended: condition, tags\n",
        "macros     opened  base.yaml:4:3\n",
        "lists      secrets  base.yaml:2:3, site.yaml:8:3  appended: items\n",
        "events     open openat\n",
        "fd.name     text: Path of a file",
        "  evt.type in (open, openat)\n  and fd.num >= 0\n  and fd.name in (/etc/shadow, /etc/gshadow, \
         /srv/key)\n  and not proc.aname in (sshd, login)\n  and not proc.name = bash\n",
        "predicates   5 distinct, written 5 times\n",
        "costly       1 × walk over the ancestors\n",
        "rank 1 of 1 rules",
        "events       5; 4 (80.00 %) are of its types and reach it, 2 match\n",
        "             4  (reached it)\n",
        "             4  evt.type in (open, openat)\n             3  fd.num >= 0\n",
        "             2  not proc.name = bash\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let document =
        json(&rules(folder.path(), &[&args[..], &["--format", "json"]].concat()).expect(0));
    assert_eq!(document["schema"], "palisade.dev/rule-explanation/v1");
    assert_eq!(document["events"], serde_json::json!(["open", "openat"]));
    assert_eq!(document["definitions"][1]["appended"], serde_json::json!(["condition", "tags"]));
    assert_eq!(document["measured"]["n_reached"], 4);
    assert_eq!(document["measured"]["n_matched"], 2);
    // Type and descriptor are asked of all four; one ends there. The list is asked of
    // three, the rest of three and of three.
    assert_eq!(document["measured"]["n_predicates_evaluated"], 4 + 4 + 3 + 3 + 3);
    assert!(document["measured"]["cpu_ns_per_reached_event"].as_f64().unwrap() > 0.0);
    // A rule that is off is explained as it would be.
    let off =
        ["explain", "Anything opened", "base.yaml", "--capture", "a.scap", "--format", "json"];
    let document = json(&rules(folder.path(), &off).expect(0));
    assert_eq!(
        (&document["enabled"], &document["measured"]["n_matched"]),
        (&false.into(), &3.into())
    );
    assert_eq!(document["cost"]["costly"]["regular expression"][0], "proc.name regex w.*r|b.+");
    assert_eq!(document["cost"]["shared"].as_array().unwrap().len(), 2);
    rules(folder.path(), &["explain", "Secret opend", "base.yaml"])
        .expect_error(2, "did you mean `Secret opened`?");
    let gone = ["explain", "Secret opened", "base.yaml", "--capture", "gone.scap"];
    rules(folder.path(), &gone).expect_error(3, "gone.scap");
}

#[test]
fn every_builtin_rule_can_be_explained_and_measured() {
    let folder = folder();
    let names = rules(folder.path(), &["list", "--format", "tsv"]).expect(0).stdout;
    for name in names.lines().filter_map(|line| line.split('\t').next()).step_by(6) {
        let args = ["explain", name, "--capture", "a.scap", "--format", "json"];
        let document = json(&rules(folder.path(), &args).expect(0));
        assert_eq!(document["measured"]["n_not_ranked"], 0, "{name}");
        assert_eq!(document["measured"]["n_ranked"], names.lines().count(), "{name}");
        assert!(document["cost"]["n_predicates"].as_u64().unwrap() > 1, "{name}");
    }
}

#[test]
fn fields_and_events_are_listed_by_class_and_part() {
    let folder = folder();
    let names = |args: &[&str]| -> Vec<String> {
        let args = [args, &["--format", "tsv"]].concat();
        let ended = rules(folder.path(), &args).expect(0);
        ended.stdout.lines().map(|line| line.split('\t').next().unwrap().to_string()).collect()
    };
    let all = names(&["fields"]);
    assert!(all.len() > 200);
    let of_fd = names(&["fields", "fd"]);
    assert!(of_fd.iter().all(|name| name.starts_with("fd.")) && of_fd.len() > 40);
    assert_eq!(names(&["fields", "cmdline"]), ["proc.cmdline", "proc.pcmdline", "proc.acmdline"]);
    let ip = json(&rules(folder.path(), &["fields", "fd.ip", "--format", "json"]).expect(0));
    let ip = &ip["fields"][0];
    assert_eq!((&ip["filter_only"], &ip["type"]), (&true.into(), &"IPADDR".into()));
    assert_eq!(ip["sources"], serde_json::json!(["syscall"]));
    rules(folder.path(), &["fields", "proc.nmae"]).expect_error(2, "did you mean `proc.name`?");
    let openat = rules(folder.path(), &["events", "openat2"]).expect(0).stdout;
    assert!(
        openat.contains(
            "openat2  file   fd: descriptor, dirfd: descriptor, name: path, flags: flags"
        )
    );
    assert_eq!(openat.lines().count(), 2, "{openat}");
    assert!(names(&["events", "--all"]).len() > 400);
    rules(folder.path(), &["events", "opnat"]).expect_error(2, "did you mean `openat`?");
}

#[test]
fn the_reference_page_is_what_the_program_prints() {
    let folder = folder();
    let page = rules(folder.path(), &["fields", "--format", "markdown"]).expect(0).stdout;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/fields.md");
    if std::env::vars().any(|(name, value)| name == "UPDATE_GOLDEN" && value == "1") {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/reference/fields.md differs; run with UPDATE_GOLDEN=1");
}

#[test]
fn memories_that_stateful_rules_give_up_are_said() {
    let folder = tempfile::tempdir().unwrap();
    // Every event is counted by itself, so that there are more memories than there is room.
    let rule = "- stateful_rule: same number twice\n  desc: d\n  condition: evt.type = openat\n  \
                count: 2\n  within: 1h\n  per: [evt.num]\n  output: o\n  priority: INFO\n";
    std::fs::write(folder.path().join("rule.yaml"), rule).unwrap();
    let n_memories = palisade_rules::KEYS_MAX;
    for (n_events, code, said) in [(n_memories, 0, false), (n_memories + 5, 4, true)] {
        let mut recording = Recording::new();
        for _ in 0..n_events {
            recording.open(WORKER, "/etc/hostname", &["O_RDONLY"], 5);
        }
        recording.save(&folder.path().join("many.scap"));
        let ended = run(folder.path(), &["replay", "--rules", "rule.yaml", "many.scap"]);
        let ended = ended.expect(code);
        assert_eq!(ended.stderr.contains("gave up 5 memories"), said, "{}", ended.stderr);
    }
}
