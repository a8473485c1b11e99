//! The frame of the command line: help, exit codes, streams, settings.

use crate::support::{ended, palisade, run};

const COMMANDS: [&str; 20] = [
    "scan",
    "check",
    "sbom",
    "sign",
    "verify",
    "run",
    "ps",
    "exec",
    "stop",
    "watch",
    "respond",
    "evidence",
    "policy",
    "rules",
    "replay",
    "doctor",
    "db",
    "completions",
    "man",
    "version",
];

#[test]
fn every_command_has_help_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let top = run(folder.path(), &["--help"]);
    assert_eq!(top.code, 0);
    for command in COMMANDS {
        assert!(top.stdout.contains(&format!("  {command} ")), "{command} is not listed");
        let help = run(folder.path(), &[command, "--help"]);
        assert_eq!(help.code, 0, "{command}");
        assert!(help.stdout.contains("Usage: palisade"), "{command}");
        assert!(help.stderr.is_empty(), "{command}");
    }
}

#[test]
fn a_usage_error_is_2_with_a_suggestion_on_stderr() {
    let folder = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (&["scna", "x"][..], "scan"),
        (&["scan", "--fromat", "json", "x"][..], "--format"),
        (&["policy", "chekc"][..], "check"),
    ] {
        let ended = run(folder.path(), args);
        assert_eq!(ended.code, 2, "{args:?}");
        assert!(ended.stdout.is_empty(), "{args:?}");
        assert!(ended.stderr.contains(expected), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn flag_beats_environment_beats_project_beats_user() {
    let folder = tempfile::tempdir().unwrap();
    let version = |env: Option<&str>, args: &[&str]| {
        let mut command = palisade(folder.path());
        command.arg("version").args(args);
        if let Some(value) = env {
            command.env("PALISADE_VERSION_FORMAT", value);
        }
        ended(&command.output().unwrap()).stdout
    };
    let is_json = |text: &str| text.starts_with('{');
    let is_tsv = |text: &str| text.contains('\t');

    assert!(version(None, &[]).starts_with("palisade "));
    let user = folder.path().join(".config/palisade");
    std::fs::create_dir_all(&user).unwrap();
    std::fs::write(user.join("config.yaml"), "version:\n  format: json\n").unwrap();
    assert!(is_json(&version(None, &[])));
    std::fs::write(folder.path().join("palisade.yaml"), "version:\n  format: tsv\n").unwrap();
    assert!(is_tsv(&version(None, &[])));
    assert!(is_json(&version(Some("json"), &[])));
    assert!(is_tsv(&version(Some("json"), &["--format", "tsv"])));
}

#[test]
fn an_unknown_configuration_key_is_2_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("palisade.yaml"), "scan:\n  fromat: json\n").unwrap();
    let ended = run(folder.path(), &["version"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("palisade.yaml:2:3"), "{}", ended.stderr);
    assert!(ended.stderr.contains("did you mean `format`?"), "{}", ended.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_palisade");
    let output = std::process::Command::new("bash")
        .args(["-c", &format!("set -o pipefail; {program} completions bash | head -n 1")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let ended = ended(&output);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
}

#[test]
fn manual_pages_name_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    assert_eq!(run(folder.path(), &["man", pages.to_str().unwrap()]).code, 0);
    let page = std::fs::read_to_string(pages.join("palisade-scan.1")).unwrap();
    assert!(page.contains("PALISADE_SCAN_FORMAT"));
}

#[test]
fn built_in_policies_are_valid_and_a_bad_one_is_2_with_all_problems() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["audit", "baseline", "restricted"] {
        let shown = run(folder.path(), &["policy", "show", name]);
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, &shown.stdout).unwrap();
        let checked = run(folder.path(), &["policy", "check", file.to_str().unwrap()]);
        assert_eq!(checked.code, 0, "{name}: {}", checked.stderr);
    }
    let bad = folder.path().join("bad.yaml");
    std::fs::write(
        &bad,
        "version: 1\nname: bad\ncontainers:\n  secomp: strict\n  limits: { pids: many }\n",
    )
    .unwrap();
    let checked = run(folder.path(), &["policy", "check", "bad.yaml"]);
    assert_eq!(checked.code, 2);
    assert!(checked.stderr.contains("bad.yaml:4:3"), "{}", checked.stderr);
    assert!(checked.stderr.contains("did you mean `seccomp`?"), "{}", checked.stderr);
    assert!(checked.stderr.contains("bad.yaml:5:"), "{}", checked.stderr);
}

#[test]
fn doctor_ends_with_0_or_4_and_its_json_has_a_schema() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(folder.path(), &["doctor", "--format", "json"]);
    assert!(matches!(ended.code, 0 | 4), "{}", ended.stderr);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["schema"], "palisade.dev/doctor/v1");
    let checks = document["checks"].as_array().unwrap();
    assert!(checks.len() > 15);
    // Whatever is not well comes with a remedy.
    for check in checks.iter().filter(|check| check["status"] != "ok") {
        assert!(check["remedy"].is_string(), "{check}");
    }
}
