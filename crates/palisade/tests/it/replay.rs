//! `palisade replay`: Falco's own output byte for byte, the choice of rules, and captures
//! that end early.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::capture::{HOST, Recording, WORKER};
use crate::support::{DEADLINE, Ended, Running, finish, palisade, run};

const RULES: &str = r"
- rule: Shadow opened
  desc: d
  condition: evt.type = openat and fd.name = /etc/shadow
  output: opened %fd.name by %proc.name
  priority: WARNING
  tags: [files, secret]
- rule: File opened
  desc: d
  condition: evt.type = openat
  output: opened %fd.name
  priority: NOTICE
  tags: [files]
- rule: Quiet
  desc: d
  condition: evt.type = openat
  output: quiet
  priority: DEBUG
  enabled: false
";

/// A folder with rules and a capture of three opens.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
    recording().save(&folder.path().join("a.scap"));
    folder
}

fn recording() -> Recording {
    let mut recording = Recording::new();
    recording
        .open(WORKER, "/etc/shadow", &["O_RDONLY"], 5)
        .open(WORKER, "/etc/hosts", &["O_RDONLY"], 5)
        .open(HOST, "/etc/shadow", &["O_RDONLY"], 5);
    recording
}

fn replay(folder: &Path, args: &[&str]) -> Ended {
    run(folder, &[&["replay", "--rules", "rules.yaml"], args].concat())
}

/// The rules of the alerts, in order.
fn fired(folder: &Path, args: &[&str]) -> Vec<String> {
    let args = [args, &["--format", "json", "a.scap"]].concat();
    let ended = replay(folder, &args).expect(0);
    let alerts = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    alerts.map(|alert| alert["rule"].as_str().unwrap().to_string()).collect()
}

#[test]
fn rules_are_chosen_as_falco_chooses_them() {
    let folder = folder();
    let check = |args: &[&str], expected: &[&str]| {
        assert_eq!(fired(folder.path(), args), expected, "{args:?}");
    };
    let (shadow, file, quiet) = ("Shadow opened", "File opened", "Quiet");
    check(&[], &[shadow, file, shadow]);
    check(&["--all-matches"], &[shadow, file, file, shadow, file]);
    check(&["--tag", "secret"], &[shadow, shadow]);
    check(&["--tag", "files", "--without-tag", "secret"], &[file, file, file]);
    check(&["--disable-rule", "Shadow*"], &[file, file, file]);
    check(&["--priority", "warning"], &[shadow, shadow]);
    check(&["--disable-rule", "*", "--enable-rule", quiet], &[quiet, quiet, quiet]);
}

#[test]
fn a_choice_that_leaves_nothing_is_an_error_and_a_slip_is_said() {
    let folder = folder();
    let ended = replay(folder.path(), &["--tag", "secrt", "a.scap"]);
    ended.expect_error(2, "none of the 3 rules is on");
    assert!(ended.stderr.contains("no rule has the tag `secrt`; did you mean `secret`?"));
    let ended = replay(folder.path(), &["--disable-rule", "File open", "a.scap"]).expect(0);
    assert!(ended.stderr.contains("no rule has the name `File open`"), "{}", ended.stderr);
    for (args, what) in [
        (&["--priority", "high"][..], "invalid value 'high'"),
        (&["--append-output", "%no.field"], "--append-output `%no.field`"),
        (&["--append-field", "proc.nam"], "did you mean `proc.name`?"),
    ] {
        let ended = replay(folder.path(), &[args, &["a.scap"]].concat()).expect(2);
        assert!(ended.stderr.contains(what), "{}", ended.stderr);
    }
}

#[test]
fn outputs_take_more_fields_and_another_host() {
    let folder = folder();
    let args = [
        "--priority",
        "warning",
        "--append-output",
        "pid=%proc.pid",
        "--suggested-output",
        "--append-field",
        "proc.ppid",
        "--append-field",
        "who=%proc.name/%user.name",
        "a.scap",
    ];
    let first = |more: &[&str]| -> Value {
        let ended = replay(folder.path(), &[&args[..], more].concat()).expect(0);
        serde_json::from_str(ended.stdout.lines().next().unwrap()).unwrap()
    };
    let alert = first(&["--format", "falco-json", "--hostname", "elsewhere"]);
    assert_eq!(
        alert["output"],
        "22:13:20.002000000: Warning opened /etc/shadow by worker pid=110 \
         container_id=0123456789ab container_name=shop \
         container_image_repository=registry.example/shop container_image_tag=1.2 \
         k8s_pod_name=<NA> k8s_ns_name=<NA>"
    );
    assert_eq!(alert["output_fields"]["proc.ppid"], 90);
    assert_eq!(alert["output_fields"]["who"], "worker/root");
    assert_eq!(alert["output_fields"]["evt.time"], 1_700_000_000_002_000_000_u64);
    assert_eq!(alert["hostname"], "elsewhere");
    assert_eq!(first(&["--format", "json"])["hostname"], "recorded-host");
    let mut command = palisade(folder.path());
    command.env("FALCO_HOSTNAME", "node-7");
    command.args(["replay", "--rules", "rules.yaml", "--format", "falco-json", "a.scap"]);
    assert!(finish(command).expect(0).stdout.starts_with("{\"hostname\":\"node-7\","));
}

#[test]
fn standard_input_and_figures() {
    let folder = folder();
    let mut command = palisade(folder.path());
    command.args(["replay", "--rules", "rules.yaml", "--stats", "--format", "falco", "-"]);
    let ended = Running::start(command, &recording().bytes()).wait(DEADLINE).expect(0);
    assert_eq!(
        ended.stdout.lines().next(),
        Some("22:13:20.002000000: Warning opened /etc/shadow by worker")
    );
    for part in
        ["raw events  4 ", "events      3 ", "alerts      3", " per CPU second", "Shadow opened"]
    {
        assert!(ended.stderr.contains(part), "{part} is not in {}", ended.stderr);
    }
}

#[test]
fn a_damaged_capture_is_used_as_far_as_it_goes() {
    let folder = folder();
    let whole = recording().bytes();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("cut.scap", &whole[..whole.len() - 10]);
    write("text.scap", b"no capture");
    write("empty.scap", b"");
    let ended = replay(folder.path(), &["cut.scap"]).expect(4);
    assert_eq!(ended.stdout.matches("by rule").count(), 2, "{}", ended.stdout);
    let offset = format!("at offset {}", {
        // The last block begins where the one before it ends.
        let mut at = 0;
        while at + 8 < whole.len() {
            let length = u32::from_le_bytes(whole[at + 4..at + 8].try_into().unwrap()) as usize;
            if at + length >= whole.len() {
                break;
            }
            at += length;
        }
        at
    });
    assert!(ended.stderr.contains(&offset), "{offset} is not in {}", ended.stderr);
    assert!(ended.stderr.contains("2 events before it were used"), "{}", ended.stderr);
    replay(folder.path(), &["text.scap"]).expect_error(3, "read capture `text.scap`");
    replay(folder.path(), &["empty.scap"]).expect_error(3, "read capture `empty.scap`");
    replay(folder.path(), &["gone.scap"]).expect_error(3, "open capture `gone.scap`");
    // What can be played of several is played.
    let ended = replay(folder.path(), &["gone.scap", "cut.scap", "a.scap"]).expect(3);
    assert_eq!(ended.stdout.matches("by rule").count(), 5, "{}", ended.stdout);
}

/// The material of others that outputs are held against, if it is here.
fn material() -> Option<PathBuf> {
    let shared = std::env::vars().find(|(name, _)| name == "PALISADE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        |(_, path)| path.into(),
    );
    let folder = shared.join("conformance/falco");
    if folder.is_dir() {
        return Some(folder.canonicalize().unwrap());
    }
    eprintln!("skipped: no conformance material at {}", folder.display());
    None
}

/// Every alert that Falco 0.44.1 raised over the captures with its published rules.
#[test]
fn falcos_json_alerts_byte_for_byte() {
    let Some(material) = material() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut n_alerts = 0;
    let mut expected: Vec<PathBuf> =
        std::fs::read_dir(material.join("expected/falco-0.44.1/alerts"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
    expected.sort();
    for path in &expected {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (name, matching) = stem.rsplit_once('.').unwrap();
        let (group, name) = name.split_once('_').unwrap();
        let capture = material.join("captures").join(group).join(name);
        let mut command = palisade(folder.path());
        command.args(["replay", "--format", "falco-json", "--suggested-output"]);
        command.args(["--hostname", "golden"]);
        for file in ["falco_rules", "falco-incubating_rules", "falco-sandbox_rules"] {
            command.arg("--rules").arg(material.join(format!("rules/{file}.yaml")));
        }
        if matching == "all" {
            command.arg("--all-matches");
        }
        let ended = finish({
            command.arg(&capture);
            command
        })
        .expect(0);
        assert_eq!(ended.stdout, std::fs::read_to_string(path).unwrap(), "{stem}");
        n_alerts += ended.stdout.lines().count();
    }
    println!("{} captures and modes, {n_alerts} alerts, all equal", expected.len());
    assert!(n_alerts > 10);
}

/// One text and one JSON output of Falco's regression tests, with ISO time.
///
/// They are of an older Falco: JSON keys stand in another order, and each call is there
/// twice, when it was entered and when it returned. Falco 0.44 has returns only, which are
/// every second line.
#[test]
fn falcos_text_and_json_with_iso_time() {
    let Some(material) = material() else { return };
    let folder = tempfile::tempdir().unwrap();
    let tables = std::fs::read_to_string(material.join("tables/legacy_rules.json")).unwrap();
    let tables: Value = serde_json::from_str(&tables).unwrap();
    let rule = tables["SingleRule"]["yaml"].as_str().unwrap();
    let tagged = format!("{rule}  tags: [filesystem, process, testing]\n");
    std::fs::write(folder.path().join("rules.yaml"), tagged).unwrap();
    let capture = material.join("captures/falco/cat_write.scap");
    let shown = |format: &str| {
        let mut command = palisade(folder.path());
        command.env("FALCO_HOSTNAME", "test-falco-hostname");
        command.args(["replay", "--rules", "rules.yaml", "--iso-time", "--format", format]);
        command.arg(&capture);
        finish(command).expect(0).stdout
    };
    let expected = |name: &str| {
        std::fs::read_to_string(material.join("expected").join(name))
            .unwrap()
            .trim_end()
            .to_string()
    };
    let text = expected("single_rule_with_cat_write.txt");
    let returns: Vec<&str> = text.lines().skip(1).step_by(2).collect();
    assert_eq!(shown("falco").lines().collect::<Vec<_>>(), returns);
    let values = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let json = expected("single_rule_with_cat_write.json");
    let returns: Vec<Value> = values(&json).into_iter().skip(1).step_by(2).collect();
    assert_eq!(values(&shown("falco-json")), returns);
    assert_eq!(returns.len(), 4);
}
