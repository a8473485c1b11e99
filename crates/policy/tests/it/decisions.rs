//! What a policy says about alerts and images.

use std::collections::BTreeMap;
use std::path::Path;

use palisade_base::Timestamp;
use palisade_model::{Alert, Outcome, Priority};
use palisade_policy::{Admission, GateState, Images, Policy, SignatureState, admit, parse};

fn alert(rule: &str, priority: Priority, tags: &[&str]) -> Alert {
    Alert {
        id: "0".into(),
        time: Timestamp::from_nanos(0),
        raised: Timestamp::from_nanos(0),
        rule: rule.into(),
        priority,
        source: "syscall".into(),
        output: String::new(),
        output_fields: BTreeMap::new(),
        tags: tags.iter().map(ToString::to_string).collect(),
        hostname: "host".into(),
        event_type: "execve".into(),
        outcome: Outcome::Unknown,
        process: None,
        ancestors: Vec::new(),
        container: None,
        recording: None,
        enforcement: None,
    }
}

#[test]
fn the_first_response_that_matches_decides() {
    let text = "
version: 1
name: demo
response:
  - {name: shell, priority: warning, rules: [Shell], actions: [evidence]}
  - {name: network, priority: error, tags: [c2, exfil], actions: [freeze, isolate]}
  - {name: rest, actions: [freeze, kill]}
";
    let policy = parse(text, "demo.yaml", Path::new("")).unwrap().policy;
    let check = |rule: &str, priority, tags: &[&str], expected: Option<&str>| {
        let alert = alert(rule, priority, tags);
        let found = palisade_policy::response_for(&policy, &alert).map(|r| r.name.as_str());
        assert_eq!(found, expected, "{rule} {priority} {tags:?}");
    };
    check("Shell", Priority::Warning, &[], Some("shell"));
    check("Shell", Priority::Notice, &[], None);
    check("Shell", Priority::Emergency, &["c2"], Some("shell"));
    check("Dial", Priority::Error, &["exfil"], Some("network"));
    check("Dial", Priority::Error, &["other"], None);
    check("Dial", Priority::Critical, &["other"], Some("rest"));
}

fn images(name: &str) -> Images {
    Policy::builtin(name).unwrap().policy.images
}

#[test]
fn what_is_not_known_never_admits() {
    let valid = || SignatureState::Valid { key: "release.pub".into() };
    let invalid = || SignatureState::Invalid { reason: "no signature".into() };
    let unknown = || SignatureState::NotChecked { reason: "no key".into() };
    let tampered = || SignatureState::Tampered { reason: "layer 1".into() };
    let refused = || GateState::Refused { reasons: vec!["CVE-1".into()] };
    let open = || GateState::NotEvaluated { reason: "no database".into() };
    let check = |name: &str, signature: SignatureState, gate: GateState, expected: &str| {
        let got = match admit(&images(name), &signature, &gate) {
            Admission::Admitted { warnings } => format!("admitted {}", warnings.join("; ")),
            Admission::Refused { reasons } => format!("refused {}", reasons.join("; ")),
            Admission::Undecided { reasons } => format!("undecided {}", reasons.join("; ")),
        };
        assert_eq!(got.trim_end(), expected, "{name} {signature:?} {gate:?}");
    };
    check("restricted", valid(), GateState::Passed, "admitted");
    check(
        "restricted",
        invalid(),
        GateState::Passed,
        "refused a signature is required: no signature",
    );
    check(
        "restricted",
        unknown(),
        GateState::Passed,
        "undecided a signature is required and was not checked: no key",
    );
    check("restricted", valid(), refused(), "refused CVE-1");
    check("restricted", valid(), open(), "undecided the gate was not evaluated: no database");
    check(
        "restricted",
        invalid(),
        open(),
        "refused a signature is required: no signature; the gate was not evaluated: no database",
    );
    check("audit", invalid(), refused(), "admitted no valid signature: no signature");
    check("baseline", unknown(), open(), "admitted the signature was not checked: no key");
    check("audit", tampered(), GateState::Passed, "refused the image was changed: layer 1");
    let off = Images { verify: palisade_policy::ImageVerification::Off, ..images("audit") };
    assert!(matches!(admit(&off, &tampered(), &open()), Admission::Refused { .. }));
    assert!(matches!(admit(&off, &invalid(), &open()), Admission::Admitted { .. }));
}
