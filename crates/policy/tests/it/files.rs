//! Loading by name and from files.

use std::path::{Path, PathBuf};

use palisade_base::Explain as _;
use palisade_model::EnforcementAction;
use palisade_policy::load::{FILE_BYTES_MAX, PROBLEMS_MAX};
use palisade_policy::{
    Action, Allowance, Asked, Builds, Code, EnforceMode, EngineMode, ImageVerification,
    LoadPolicyError, Network, Policy, Seccomp, UserMode, UserNamespace, parse,
};

fn codes(error: LoadPolicyError) -> Vec<&'static str> {
    match error {
        LoadPolicyError::Invalid { diagnostics, .. } => {
            diagnostics.0.iter().map(|diagnostic| diagnostic.code).collect()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn built_in_policies_load_without_a_word() {
    for name in palisade_policy::builtin::NAMES {
        let loaded = Policy::load(name).unwrap();
        assert_eq!(loaded.policy.name, name);
        assert!(loaded.warnings.0.is_empty(), "{}", loaded.warnings);
    }
    assert!(Policy::builtin("other").is_none());
}

#[test]
fn baseline_says_what_a_missing_key_means() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let bare = parse("version: 1\nname: baseline\n", "bare", Path::new("")).unwrap().policy;
    assert_eq!(bare.images, baseline.images);
    assert_eq!(bare.containers, baseline.containers);
    assert_eq!(bare.runtime, baseline.runtime);
    assert!(bare.response.is_empty());
    assert_eq!(baseline.response[0].actions, [Action::Evidence]);
}

#[test]
fn restricted_leaves_nothing() {
    let policy = Policy::builtin("restricted").unwrap().policy;
    let containers = &policy.containers;
    assert_eq!(policy.images.verify, ImageVerification::Required);
    assert!(policy.images.gate.known_exploited && policy.images.gate.secrets);
    assert_eq!(containers.user, UserMode::Fallback(65_532));
    assert_eq!(containers.user_namespace, UserNamespace::Private);
    assert!(containers.capabilities.is_empty());
    assert!(containers.read_only_root && containers.no_new_privileges && containers.mask_paths);
    assert!(containers.tmpfs.iter().all(|tmpfs| !tmpfs.exec));
    assert_eq!(containers.seccomp, Seccomp::Strict);
    assert_eq!(containers.network, Network::None);
    assert_eq!(containers.limits.memory_bytes, Some(256 << 20));
    assert_eq!(containers.limits.cpu_millis, Some(500));
    assert_eq!(containers.limits.pids, Some(64));
    assert_eq!(policy.response[0].actions, Action::ALL);
}

#[test]
fn files_are_resolved_against_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let text = "version: 1\nname: demo\nimages:\n  keys: [a.pub, /b.pub]\n  gate: {ignore: [i.yaml], vex: [v.json, /w.json]}\nruntime:\n  rules: [r/x.yaml]\ncontainers:\n  seccomp: s.json\n";
    std::fs::write(&path, text).unwrap();
    let loaded = Policy::load(path.to_str().unwrap()).unwrap();
    assert_eq!(loaded.policy.images.keys, [folder.path().join("a.pub"), PathBuf::from("/b.pub")]);
    let gate = &loaded.policy.images.gate;
    assert_eq!(gate.ignore, [folder.path().join("i.yaml")]);
    assert_eq!(gate.vex, [folder.path().join("v.json"), PathBuf::from("/w.json")]);
    // What does not count is no demand.
    assert!(!gate.is_active());
    assert_eq!(loaded.policy.runtime.rules, [folder.path().join("r/x.yaml")]);
    assert_eq!(loaded.policy.containers.seccomp, Seccomp::File(folder.path().join("s.json")));
    assert_eq!(loaded.policy.digest, palisade_base::Digest::of(text.as_bytes()));
}

#[test]
fn a_name_that_is_nothing_gets_a_suggestion() {
    let error = Policy::load("baselin").unwrap_err();
    assert_eq!(error.to_string(), "`baselin` is neither a built-in policy nor a file");
    assert_eq!(error.hint().unwrap(), "did you mean the built-in policy `baseline`?");
    let error = Policy::load("/nowhere/policy.yaml").unwrap_err();
    assert_eq!(error.hint().unwrap(), "give a file, or one of audit, baseline, restricted");
}

#[test]
fn a_folder_is_a_read_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = Policy::load(folder.path().to_str().unwrap()).unwrap_err();
    assert!(matches!(error, LoadPolicyError::Read { .. }), "{error:?}");
}

#[test]
fn size_is_bounded_in_files_and_texts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.yaml");
    let size = usize::try_from(FILE_BYTES_MAX).unwrap();
    let head = "version: 1\nname: demo\n#";
    let text = format!("{head}{}", "x".repeat(size - head.len()));
    std::fs::write(&path, &text).unwrap();
    assert!(Policy::load_file(&path).is_ok());
    std::fs::write(&path, format!("{text}x")).unwrap();
    assert_eq!(codes(Policy::load_file(&path).unwrap_err()), ["too-large"]);
    let error = parse(&format!("{text}x"), "large.yaml", Path::new("")).unwrap_err();
    assert_eq!(codes(error), ["too-large"]);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("binary.yaml");
    std::fs::write(&path, b"version: 1\nname: \xff\n").unwrap();
    assert_eq!(codes(Policy::load_file(&path).unwrap_err()), ["syntax"]);
}

#[test]
fn lists_are_bounded() {
    use std::fmt::Write as _;
    let policy = |n: usize| {
        let mut text = String::from("version: 1\nname: demo\nresponse:\n");
        for i in 0..n {
            let _ = writeln!(text, "  - {{name: r{i}, rules: [r{i}], actions: [evidence]}}");
        }
        parse(&text, "demo.yaml", Path::new(""))
    };
    assert!(policy(256).is_ok());
    assert_eq!(codes(policy(257).unwrap_err()), ["too-large"]);
}

#[test]
fn problems_are_bounded() {
    let text = (0..5_000).map(|i| format!("k{i}: 1")).collect::<Vec<_>>().join("\n");
    let codes = codes(parse(&text, "demo.yaml", Path::new("")).unwrap_err());
    assert_eq!(codes.len(), PROBLEMS_MAX + 1);
    assert_eq!(codes.last(), Some(&Code::TooManyProblems.as_str()));
}

#[test]
fn whole_policy_is_read_to_the_last_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/whole.yaml");
    let loaded = Policy::load_file(&path).unwrap();
    // No sink has all keys: each transport has some of its own. Every key is given once.
    let key = |path: &str| path.replace(|c: char| c.is_ascii_digit(), "");
    let (defaults, given): (Vec<_>, Vec<_>) = loaded
        .settings
        .iter()
        .partition(|setting| setting.origin == palisade_policy::Origin::Default);
    let given: Vec<_> = given.iter().map(|setting| key(&setting.path)).collect();
    let never: Vec<_> =
        defaults.iter().map(|s| key(&s.path)).filter(|path| !given.contains(path)).collect();
    assert!(never.is_empty(), "{never:?}");
    assert_eq!(loaded.warnings.0, []);
    let policy = loaded.policy;
    assert_eq!(policy.containers.capabilities, ["CHOWN", "NET_BIND_SERVICE"]);
    assert_eq!(policy.containers.user, UserMode::Fallback(10_001));
    assert_eq!(policy.containers.limits.cpu_millis, Some(1500));
    assert_eq!(policy.containers.limits.core_bytes, Some(1 << 20));
    assert_eq!(policy.containers.network, Network::Host);
    assert_eq!(policy.images.gate.database_age_days_max, Some(7));
    assert_eq!(policy.images.gate.database_age_days_warn, Some(3));
    assert_eq!(policy.images.gate.database_key_age_days_max, Some(365));
    assert!(!policy.runtime.builtin_rules);
    assert_eq!(policy.response[0].tags, ["mitre_execution"]);
    let engines = &policy.engines;
    assert_eq!((engines.mode, engines.asked), (EngineMode::Report, Asked::Remove));
    assert_eq!(engines.builds, Builds::Refuse);
    let allowed = [Allowance::HostNamespace("pid"), Allowance::Capability("SYS_PTRACE".into())];
    assert_eq!(engines.exceptions[0].allow, allowed);
    let enforce = &policy.enforce;
    assert_eq!(enforce.mode, EnforceMode::DryRun);
    assert_eq!(enforce.rules[0].actions, EnforcementAction::ALL);
    assert_eq!(enforce.exceptions[0].expires.rfc3339(), "2027-06-30T23:59:59.999999999Z");
    let scan = &policy.scan;
    assert_eq!(scan.malware_rules, [path.with_file_name("rules/yara")]);
    assert_eq!(scan.malware_hashes, [path.with_file_name("bad.sha256")]);
    assert_eq!(scan.secrets.detectors[0].severity, palisade_model::Severity::Critical);
    assert_eq!(scan.secrets.detectors[0].entropy_min, 3);
    assert_eq!(scan.secrets.allow[0].path, "srv/samples/**");
    assert_eq!(scan.licences.deny, ["AGPL-*"]);
    assert_eq!(scan.licences.exceptions[0].expires, "2027-06-30");
    let sinks = &policy.sinks;
    assert_eq!(sinks[0].headers, [path.with_file_name("hook.headers")]);
    assert_eq!(
        (sinks[0].queue_max, sinks[0].batch_max, sinks[0].timeout_seconds),
        (50_000, 50, 30)
    );
    assert_eq!(sinks[1].to.to_string(), "syslog+tcp://siem.example:1601");
    assert_eq!(sinks[1].facility, 16);
    assert_eq!((sinks[2].rotate_bytes, sinks[2].n_kept), (10 << 20, 9));
}
