//! Alerts of a real container in real sinks, across a SIGKILL of `palisade watch`.

use rustix::process::Signal;

use super::bed::{Bed, SOON};
use super::watch::{ANSWER, IDLE};
use crate::support::wait_for;

#[test]
fn alerts_reach_their_sinks_across_a_kill() {
    let Some(bed) = Bed::new() else { return };
    let file = bed.path().join("out/alerts.jsonl");
    let policy = format!(
        "{}sinks:\n  - {{name: log, to: \"file:{}\"}}\n",
        ANSWER.split("response:").next().unwrap(),
        file.display()
    );
    std::fs::write(bed.path().join("sinks.yaml"), policy).unwrap();
    bed.detach("victim", &["--policy", "sinks.yaml"], IDLE);
    let miner = ["exec", "victim", "--", "/bin/busybox", "true", "stratum+tcp://pool"];
    let socket = std::os::unix::net::UnixDatagram::bind(bed.path().join("log")).unwrap();
    let to = format!("syslog:{}", bed.path().join("log").display());
    let flags = ["--policy", "sinks.yaml", "--sink", to.as_str(), "--format", "json"];

    // The folder of the file is missing: its sink waits, the other delivers.
    let watch = bed.watch(&flags);
    bed.run(&miner).expect(0);
    socket.set_read_timeout(Some(SOON)).unwrap();
    // Others on this machine may be alarming as well.
    let text = wait_for("alert of the miner", SOON, || {
        let mut bytes = [0; 4096];
        let n = socket.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
        text.contains("rule=\"Crypto miner").then_some(text)
    });
    assert!(text.starts_with('<'), "{text}");
    wait_for("failed delivery", SOON, || {
        watch.stderr().contains("sink `log`: cannot deliver, alerts wait: open").then_some(())
    });
    let shown = wait_for("shown alert", SOON, || {
        let shown = watch.stdout();
        shown.contains("Crypto miner").then_some(shown)
    });
    watch.signal(Signal::KILL);
    assert_eq!(watch.wait(SOON).code, -9);

    std::fs::create_dir(file.parent().unwrap()).unwrap();
    let watch = bed.watch(&flags);
    // A line that is being written has no end yet.
    let lines = wait_for("the file", SOON, || {
        std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(lines.lines().any(|line| shown.contains(line)), "{lines}\n{shown}");
    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);
    let list = bed.run(&["sink", "list", "--format", "tsv"]).expect(0).stdout;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0][..3], ["log", "ended", "0"], "{list}");
    assert_eq!((rows[0][6], rows[0][7]), ("0", "0"), "{list}");
    assert!(rows[1][0].starts_with("syslog-"), "{list}");
    let n_alerts = bed.alerts().len();
    let n_lines = std::fs::read_to_string(&file).unwrap().lines().count();
    assert!(n_lines >= n_alerts, "{n_lines} lines of {n_alerts} alerts");
}
