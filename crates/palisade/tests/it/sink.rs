//! `palisade sink`, and the sinks of `palisade watch`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use crate::support::run;

/// Answers one request, and gives its body.
fn receiver(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?token=secret", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (&stream).write_all(answer.as_bytes()).unwrap();
        String::from_utf8(body).unwrap()
    });
    (url, thread)
}

#[test]
fn a_test_alert_arrives_in_the_form_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (url, thread) = receiver("HTTP/1.1 204 OK\r\nConnection: close\r\n\r\n");
    let ended = run(folder.path(), &["sink", "test", "--format", "ocsf", "--show", &url]).expect(0);
    let body = thread.join().unwrap();
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["class_uid"], 2004);
    assert_eq!(document["metadata"]["version"], "1.8.0");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], body);
    assert!(lines[1].contains("took the test alert"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("secret"), "a query is not shown");

    let file = folder.path().join("alerts.jsonl");
    let policy = format!(
        "version: 1\nname: x\nsinks:\n  - {{name: log, to: \"file:{}\", format: cef}}\n",
        file.display()
    );
    std::fs::write(folder.path().join("p.yaml"), policy).unwrap();
    run(folder.path(), &["sink", "test", "--policy", "p.yaml", "log"]).expect(0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("CEF:0|Palisade|") && text.ends_with('\n'), "{text}");
}

#[test]
fn what_is_wrong_with_a_sink_is_said_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "version: 1\nname: x\nsinks:\n  - {name: siem, to: \"https://127.0.0.1:1/\", headers: [missing]}\n";
    std::fs::write(folder.path().join("p.yaml"), policy).unwrap();
    let check = |args: &[&str], code: i32, what: &str| {
        let mut all = vec!["sink", "test"];
        all.extend(args);
        run(folder.path(), &all).expect_error(code, what);
    };
    check(&["siem"], 2, "`siem` is a name, and no policy is named");
    check(&["--policy", "p.yaml", "sime"], 2, "did you mean `siem`?");
    check(&["--policy", "p.yaml", "siem"], 2, "read headers `");
    check(&["--policy", "audit", "siem"], 2, "policy `audit` has no sink `siem`");
    check(&["kafka://h"], 2, "`kafka` is not a scheme");
    check(&["http://127.0.0.1:1/"], 3, "refused");
    check(&["file:/nonexistent/alerts"], 3, "No such file");
    let (url, _thread) =
        receiver("HTTP/1.1 422 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nwhy");
    check(&[&url], 3, "the receiver answered 422: why");
    run(folder.path(), &["sink", "list"]).expect_error(3, "no `watch` has run");
    let bad = "version: 1\nname: x\nsinks:\n  - {name: a, to: \"htps://h\"}\n";
    std::fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let ended = run(folder.path(), &["policy", "check", "bad.yaml"]).expect(2);
    assert!(ended.stderr.contains("bad.yaml:4:19"), "{}", ended.stderr);
    assert!(ended.stderr.contains("did you mean `https`?"), "{}", ended.stderr);
}

#[test]
fn the_list_shows_what_the_status_file_has() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let status = serde_json::json!({
        "schema": "palisade.dev/agent-status/v1",
        "time": "2026-11-22T05:53:55.000000001Z",
        "sinks": [{
            "name": "siem", "to": "syslog+tcp://siem:601", "format": "falco", "state": "waiting",
            "n_queued": 3, "queue_max": 10000, "oldest": "2026-11-22T05:53:00.000000001Z",
            "n_sent": 40, "n_retried": 7, "n_dropped": 2, "n_rejected": 1,
            "last_error": {"time": "2026-11-22T05:53:54.000000001Z", "text": "connect: refused"}
        }]
    });
    std::fs::write(data.join("status.json"), status.to_string()).unwrap();
    let ended = run(folder.path(), &["sink", "list"]).expect(0);
    let words: Vec<&str> = ended.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..3], ["siem", "waiting", "3"]);
    assert_eq!(words[4..], ["40", "7", "2", "1", "syslog+tcp://siem:601", "connect:", "refused"]);
    assert!(ended.stderr.contains("no `watch` is running"), "{}", ended.stderr);
    let ended = run(folder.path(), &["sink", "list", "--format", "json"]).expect(0);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["schema"], "palisade.dev/sinks/v1");
    assert_eq!(document["sinks"][0]["n_queued"], 3);
    std::fs::write(data.join("status.json"), "{").unwrap();
    run(folder.path(), &["sink", "list"]).expect_error(3, "status.json");
}
