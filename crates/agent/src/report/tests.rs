use std::time::Duration;

use palisade_base::{Digest, Timestamp};
use palisade_model::alert::Outcome;
use palisade_model::incident::{ActionResult, TimelineEntry, TimelineEvent};
use palisade_model::{ImageIdentity, Incident, IncidentState, Priority};
use palisade_respond::bundle::{CaseFacts, Gap, Item};
use serde_json::json;

use super::*;
use crate::incident::IncidentBook;
use crate::testing::{alert, container, process};

const START: u64 = 1_795_326_835_000_000_000;

/// One alert of the sample: rule, priority, outcome, process, tag, milliseconds.
type Sample = (&'static str, Priority, Outcome, u32, &'static str, f64);

const REFUSED: Outcome = Outcome::Failed { errno: 1 };

const SAMPLES: [Sample; 9] = [
    ("Shell started by a server", Priority::Error, Outcome::Succeeded, 4310, "T1059.004", 0.0),
    ("Sensitive file read attempted", Priority::Warning, REFUSED, 4312, "T1003.008", 38.2),
    ("Dropped program execution attempted", Priority::Warning, REFUSED, 4313, "T1105", 61.7),
    ("File in memory created", Priority::Notice, Outcome::Succeeded, 4314, "T1620", 74.9),
    ("Cloud metadata contacted", Priority::Warning, REFUSED, 4315, "T1552.005", 96.3),
    ("Escape through a kernel helper attempted", Priority::Warning, REFUSED, 4310, "T1611", 118.8),
    ("Environment of another process read", Priority::Warning, REFUSED, 4316, "T1003.007", 131.0),
    ("Mount in a container", Priority::Warning, REFUSED, 4317, "T1611", 150.4),
    ("Reverse shell", Priority::Critical, Outcome::Succeeded, 4318, "T1095", 187.5),
];

fn at(ms: f64) -> Timestamp {
    Timestamp::from_nanos(START) + Duration::from_secs_f64(ms / 1000.0)
}

pub(crate) fn sample() -> Incident {
    let mut web = container("4f2a9c7be01d66aa4f2a9c7be01d66aa");
    web.name = "shop-web".into();
    web.policy = Some("restricted".into());
    web.image = Some(ImageIdentity {
        reference: "localhost/shop/web:1.4".into(),
        digest: Some(Digest::of(b"image")),
    });
    let mut nginx = process(4201, 4190);
    (nginx.name, nginx.cmdline) = ("nginx".into(), "nginx -g daemon off;".into());
    let mut shell = process(4310, 4201);
    (shell.name, shell.cmdline) = ("sh".into(), "sh -c id; uname -a".into());
    let names = ["cat", "x", "python3", "curl", "cat", "mount", "bash"];
    let mut book = IncidentBook::default();
    for (i, (rule, priority, outcome, pid, tag, ms)) in SAMPLES.into_iter().enumerate() {
        let mut alert = alert(rule, Some(web.clone()));
        alert.id = format!("{i:024x}");
        (alert.priority, alert.outcome) = (priority, outcome);
        (alert.time, alert.raised) = (at(ms), at(ms + 0.31 + i as f64 * 0.02));
        alert.tags = vec![tag.into()];
        alert.output =
            format!("{rule} (file=/etc/shadow result=EACCES process=sh command=cat /etc/shadow)");
        if pid == 4310 {
            alert.process = Some(shell.clone());
            alert.ancestors = vec![nginx.clone()];
        } else {
            let mut child = process(pid, 4310);
            child.name = names[(pid - 4312) as usize].into();
            child.cmdline = format!("{} --some --arguments", child.name);
            alert.process = Some(child);
            alert.ancestors = vec![shell.clone(), nginx.clone()];
        }
        book.join(&alert);
    }
    let id = book.iter().next().unwrap().id.clone();
    book.advance(&id, IncidentState::Responding, at(188.4));
    let actions = [
        ("freeze", 189.0, 0.62, "control group /palisade/4f2a9c7be01d frozen in 410 µs"),
        ("isolate", 194.1, 3.9, "6 programs attached, 0 packets denied so far"),
        ("evidence", 402.7, 206.0, "214 items of 9 processes, 3871 KiB, 7 gaps listed"),
        ("kill", 409.9, 5.8, "9 processes killed in 5214 µs"),
    ];
    for (action, ms, took, detail) in actions {
        let what = TimelineEvent::Action {
            action: action.into(),
            result: ActionResult::Done,
            detail: detail.into(),
            duration_ns: (took * 1e6) as u64,
        };
        book.record(&id, TimelineEntry { time: at(ms), what });
    }
    book.advance(&id, IncidentState::Contained, at(410.6));
    book.get(&id).unwrap().clone()
}

/// Read from JSON, as the report of another program run is.
fn scan_report() -> ScanReport {
    let vulnerability = |id: &str, severity: &str, exploited: bool| {
        json!({
            "kind": "vulnerability", "id": id, "package": "openssl",
            "purl": "pkg:deb/debian/openssl@3.0.11", "installed": "3.0.11-1~deb12u2",
            "fixed": "3.0.15-1~deb12u1", "severity": severity, "feed": "debian",
            "known_exploited": exploited,
        })
    };
    serde_json::from_value(json!({
        "time": at(0.0),
        "inventory": {
            "subject": { "name": "oci:shop-web:1.4", "digest": Digest::of(b"image") },
            "packages": [], "n_files": 10, "gaps": [],
        },
        "database": { "feeds": [], "built": at(0.0), "n_records": 9 },
        "findings": [
            vulnerability("CVE-2024-6387", "critical", true),
            vulnerability("CVE-2024-5535", "high", false),
            vulnerability("CVE-2024-4741", "high", false),
            vulnerability("CVE-2024-2511", "medium", false),
            {
                "kind": "secret", "detector": "aws-access-key", "title": "AWS access key",
                "path": "/srv/app/.env", "line": 3, "redacted": "AKIA…7Q", "severity": "high",
            },
        ],
        "n_ignored": 0,
    }))
    .unwrap()
}

fn manifest(incident: &Incident) -> Manifest {
    let item = |path: &str, size: u64| Item {
        path: path.into(),
        size,
        sha256: Digest::of(path.as_bytes()),
        source: "/proc/4310/maps".into(),
        time: at(200.0),
        note: None,
    };
    Manifest {
        schema: String::new(),
        case: CaseFacts {
            incident: Some(incident.id.clone()),
            container: incident.container.clone().unwrap(),
            hostname: "node-7".into(),
            tool: "palisade 0.1.0".into(),
            frozen: true,
            started: at(196.0),
        },
        ended: at(402.0),
        items: vec![
            item("processes/tree.json", 5210),
            item("processes/4310/maps", 18_204),
            item("nameless/0000", 912_000),
            item("network/0-sockets.json", 1200),
            item("upper/index.json", 4400),
            item("host/proc-modules", 9100),
        ],
        gaps: vec![
            Gap { source: "process memory".into(), reason: "not asked for".into(), errno: None },
            Gap { source: "/proc/4310/io".into(), reason: "denied".into(), errno: Some(13) },
        ],
        n_gaps_unlisted: 0,
        chain: Digest::of(b"chain"),
        merkle_root: Digest::of(b"root"),
        timestamp: None,
    }
}

fn hardening() -> Vec<HardeningFact> {
    let fact = |name: &str, value: &str, confines| HardeningFact {
        name: name.into(),
        value: value.into(),
        confines,
    };
    vec![
        fact("User namespace", "own range of 65,536 ids", true),
        fact("Capabilities", "none", true),
        fact("Root file system", "read only", true),
        fact("Seccomp", "strict", true),
        fact("No new privileges", "set", true),
        fact("Network", "the host's", false),
    ]
}

fn render(incident: &Incident) -> String {
    let (scan, manifest, hardening) = (scan_report(), manifest(incident), hardening());
    html(&ReportInput {
        incident,
        scan: Some(&scan),
        hardening: &hardening,
        evidence: Some(EvidenceInfo {
            file: "/var/lib/palisade/evidence/case.tar",
            manifest: &manifest,
            seal: Seal::Signed,
        }),
        hostname: "node-7",
        tool: "palisade 0.1.0",
        time: at(1000.0),
    })
    .unwrap()
}

#[test]
fn the_report_tells_what_happened_and_loads_nothing() {
    let text = render(&sample());
    for needle in [
        "Contained",
        "Reverse shell",
        "+187.5",
        "blocked",
        "T1611",
        "Escape to Host",
        "CVE-2024-6387",
        "exploited in the wild",
        "No new privileges",
        "nameless/0000",
        "process memory",
        "(errno 13)",
        "nginx",
    ] {
        assert!(text.contains(needle), "{needle}");
    }
    // 1.5 ms from the critical event to the frozen container.
    assert!(text.contains("stood still 1.50 ms after"));
    for forbidden in ["<script", "src=", "@import", "url("] {
        assert!(!text.contains(forbidden), "{forbidden}");
    }
    // For looking at it: `PALISADE` never writes here.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tmp");
    let _ = std::fs::create_dir_all(folder);
    let _ = std::fs::write(format!("{folder}/incident-sample.html"), &text);
}

#[test]
fn hostile_names_stay_text() {
    let mut incident = sample();
    incident.processes[0].cmdline =
        "<img src=x onerror=alert(1)> \u{202e}gnp.exe \u{1b}[31m".into();
    let text = render(&incident);
    assert!(!text.contains("<img"));
    assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
}

#[test]
fn loops_and_floods_are_bounded() {
    let mut incident = sample();
    let mut loopy = process(9001, 9002);
    loopy.ppid = 9002;
    let back = process(9002, 9001);
    incident.processes.extend([loopy, back]);
    for i in 0..2 * u32::try_from(PROCESSES_MAX).unwrap() {
        incident.processes.push(process(20_000 + i, 1));
    }
    let note = TimelineEvent::Note { text: "flood".into() };
    for _ in 0..2 * ROWS_MAX {
        incident.timeline.push(TimelineEntry { time: at(500.0), what: note.clone() });
    }
    let text = render(&incident);
    assert!(text.contains("further processes") && text.contains("further entries"));
    assert_eq!(text.matches("flood").count(), ROWS_MAX - SAMPLES.len() - 6);
}

#[test]
fn an_empty_incident_has_a_report() {
    let mut incident = sample();
    incident.timeline.clear();
    incident.processes.clear();
    incident.techniques.clear();
    incident.state = IncidentState::Open;
    let text = html(&ReportInput {
        incident: &incident,
        scan: None,
        hardening: &[],
        evidence: None,
        hostname: "h",
        tool: "t",
        time: at(0.0),
    })
    .unwrap();
    assert!(text.contains("Nothing was done about it yet"));
}

#[test]
fn the_report_of_a_bundle_shows_what_it_tells_and_steers_nothing() {
    use palisade_respond::bundle::BundleWriter;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.tar");
    let facts = CaseFacts {
        incident: Some("INC-1".into()),
        container: container("0123456789abcdef"),
        hostname: "host".into(),
        tool: "palisade".into(),
        frozen: true,
        started: Timestamp::from_nanos(1_795_326_835_000_000_001),
    };
    let mut writer = BundleWriter::create(&path, facts).unwrap();
    let mut add = |name: &str, text: &str| {
        writer.add(name, "/proc", None, text.as_bytes()).unwrap();
    };
    // Two processes that are each other's parents, one below another, a name that steers.
    add(
        "processes/tree.json",
        r#"[{"pid":7,"ppid":1,"name":"sh<script>","start_ticks":100,"command":["sh","-c","\u001b[2J"]},
            {"pid":8,"ppid":7,"name":"implant","exe":"/memfd:x (deleted)","command":["x"]},
            {"pid":20,"ppid":21,"name":"a"},{"pid":21,"ppid":20,"name":"b"}]"#,
    );
    add(
        "network/0-sockets.json",
        r#"[{"protocol":"tcp","local":"10.0.0.2:4000","remote":"203.0.113.9:443","state":"established","owners":[{"pid":8,"fd":3}]}]"#,
    );
    add(
        "upper/index.json",
        r#"[{"path":"/etc/passwd","kind":"file","mode":"0644","size":9,"modified_ns":1795326834000000000,"changed_ns":1795326834000000001}]"#,
    );
    add("host/proc-uptime", "10.50 20.00\n");
    writer.finish(None).unwrap();
    let case =
        palisade_respond::case::read(&path, palisade_respond::bundle::Opening::default()).unwrap();
    assert_eq!(case.unread, [""; 0]);
    let html = super::case_html(&case, Timestamp::from_nanos(0)).unwrap();
    for expected in [
        "sh&#60;script&#62;",
        "203.0.113.9:443",
        "/etc/passwd",
        "no file",
        "data-d=\"1\"",
        "it is not signed",
        "content of file /etc/passwd",
    ] {
        assert!(html.contains(expected), "`{expected}` is not in {html}");
    }
    assert!(!html.contains('\u{1b}') && !html.contains("<script"), "{html}");
}
