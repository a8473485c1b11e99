use palisade_base::Timestamp;
use palisade_model::Severity;

use super::{Gate, Report};
use crate::breakage::{Crash, Request};
use crate::escape::{Tried, Verdict};
use crate::finding::{CRASH_SIGNAL, Finding, Place, TLS_10};
use crate::listen::Transport;
use crate::protocol::Protocol;
use crate::session::{Port, Probe};
use crate::subject::Event;

fn probe() -> Probe {
    let place = Place { transport: "tcp", port: 8080, protocol: "http".into() };
    let event = Event {
        time: Timestamp::from_nanos(1_000),
        kind: "procexit".into(),
        process: "srv".into(),
        pid: 7,
        detail: "status=11 ret=0 sig=11(SIGSEGV)".into(),
    };
    Probe {
        ports: vec![Port {
            transport: Transport::Tcp,
            port: 8080,
            addresses: vec!["0.0.0.0".parse().unwrap()],
            is_loopback: false,
            protocol: Protocol::Http,
            tls: vec!["TLS 1.0"],
            banner: "<b>srv</b>".into(),
            n_requests: 9,
        }],
        findings: vec![
            Finding::new(&CRASH_SIGNAL, "x: SIGSEGV ended srv[7]")
                .at(&place)
                .with("request: GET /<script>"),
            Finding::new(&TLS_10, "it agrees to TLS 1.0").at(&place),
        ],
        crashes: vec![Crash {
            kind: "crash-signal",
            time: event.time,
            place,
            detail: "SIGSEGV ended srv[7]".into(),
            request: Request {
                name: "x".into(),
                class: "random mutation",
                shown: "GET /<script>".into(),
                base64: "R0VU".into(),
                n_bytes: 3,
            },
            before: vec!["a & b".into()],
            is_reproduced: Some(true),
            events: vec![event],
            log: "bye".into(),
        }],
        attempts: vec![
            Tried { attempt: "mount", title: "m", technique: "T1611", verdict: Verdict::Through },
            Tried { attempt: "disk", title: "d", technique: "T1006", verdict: Verdict::Skipped },
        ],
        gaps: vec!["port 53 of UDP".into()],
        ..Probe::default()
    }
}

fn report(probe: &Probe) -> Report<'_> {
    Report {
        target: "oci:a&b",
        policy: Some("restricted"),
        started: Timestamp::from_nanos(0),
        ended: Timestamp::from_nanos(1),
        seed: u64::MAX,
        gate: Some(Severity::High),
        probe,
    }
}

#[test]
fn every_form_says_what_led_to_the_crash_and_escapes() {
    let probe = probe();
    let report = report(&probe);
    let text = report.text();
    for part in [
        "8080 tcp",
        "WHAT LED TO crash-signal",
        "sig=11(SIGSEGV)",
        "1 high, 1 medium",
        "gate: refused",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let html = report.html();
    assert!(
        html.contains("GET /&lt;script&gt;")
            && !html.contains("<script")
            && !html.contains("<b>srv"),
        "{html}"
    );
    let junit = report.junit();
    assert!(junit.contains("failures=\"3\" skipped=\"1\""), "{junit}");
    assert!(junit.contains("palisade probe oci:a&amp;b"));
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["schema"], super::SCHEMA);
    assert_eq!(json["seed"], "18446744073709551615");
    assert_eq!(json["findings"][0]["check"], "crash-signal");
    assert_eq!(json["crashes"][0]["events"][0]["kind"], "procexit");
    assert_eq!(json["gate"], "refused");
}

#[test]
fn a_gate_is_not_passed_by_what_nobody_could_speak_to() {
    let empty = Probe::default();
    let mut report = report(&empty);
    assert_eq!(report.gate(), Some(Gate::NotEvaluated));
    report.gate = None;
    assert_eq!(report.gate(), None);
    let mut probe = probe();
    probe.findings.remove(0);
    let report = self::report(&probe);
    assert_eq!(report.gate(), Some(Gate::Passed));
}
