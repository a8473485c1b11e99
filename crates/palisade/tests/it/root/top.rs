//! `palisade top`, on a terminal and without one.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::bed::{Bed, SOON};
use super::terminal::{Terminal, set_size};
use crate::support::wait_for;

/// Waits for the end, which leaves the page that was before.
#[track_caller]
fn expect_end(mut terminal: Terminal) {
    terminal.expect_end(0);
    wait_for("the page before", SOON, || {
        terminal.text().ends_with("\u{1b}[?25h\u{1b}[?1049l").then_some(())
    });
}

/// The rows of the last whole screen.
fn screen(text: &str) -> Vec<String> {
    let last = text.rsplit("\u{1b}[J").find(|part| part.contains("palisade top")).unwrap();
    let rows = last.rsplit("\u{1b}[H").next().unwrap().split("\r\n");
    let plain = |row: &str| -> String {
        let mut parts = row.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_string();
        parts.fold(first, |all, part| {
            let at = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
            all + &part[at..]
        })
    };
    rows.map(|row| plain(row.trim_end_matches('\r'))).collect()
}

#[test]
fn it_shows_containers_processes_and_losses_and_leaves_the_terminal_as_it_was() {
    let Some(bed) = Bed::new() else { return };
    let watch = bed.watch(&["--fold-seconds", "0"]);
    bed.detach("shop", &[], "while :; do /bin/true; /bin/sleep 0.05; done");
    bed.run(&["exec", "shop", "--", "/bin/busybox", "true", "stratum+tcp://pool"]).expect(0);
    wait_for("alert", SOON, || watch.stdout().contains("Crypto miner").then_some(()));

    // Without a terminal it prints once.
    let text = bed.run(&["top", "--interval", "0.5"]).expect(0).stdout;
    for expected in ["palisade top", "nothing lost", "shop", "PROCESSES OF shop", "Crypto miner"] {
        assert!(text.contains(expected), "`{expected}` is not in {text}");
    }
    let json = bed.run(&["top", "--format", "json", "--container", "shop"]).expect(0).stdout;
    let document: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(document["schema"], "palisade.dev/top/v1");
    let containers = document["containers"].as_array().unwrap();
    let shop = containers.iter().find(|one| one["name"] == "shop").unwrap();
    assert!(shop["events_per_second"].as_f64().unwrap() > 1.0, "{shop}");
    assert!(shop["n_alerts"].as_u64().unwrap() >= 1, "{shop}");
    assert_eq!(document["container"], shop["id"]);
    let processes = document["processes"].as_array().unwrap();
    assert!(processes.iter().any(|one| one["name"] == "sh"), "{processes:?}");
    assert!(processes.iter().any(|one| one["cpu_percent"].is_number()), "{processes:?}");
    bed.run(&["top", "--once", "--container", "nothing"]).expect_error(3, "no container `nothing`");
    bed.run(&["top", "--interval", "0"]).expect_error(2, "an interval of 0 seconds");

    let mut terminal = Terminal::start(&bed, &["top", "--interval", "0.3"]);
    terminal.shows("PROCESSES OF shop");
    let rows = screen(&terminal.text());
    assert_eq!(rows.len(), 24, "{rows:#?}");
    assert!(rows.iter().all(|row| row.chars().count() <= 80), "{rows:#?}");
    assert!(rows[23].contains("q quit"), "{rows:#?}");
    // Another size.
    set_size(&terminal.main, 120, 40);
    wait_for("the larger screen", SOON, || (screen(&terminal.text()).len() == 40).then_some(()));
    // The host stands beside the container; so may containers of others.
    let mut keys =
        [b"j".as_slice(), b"\x1b[B", b"k", b"\x1b[A"].into_iter().flat_map(|key| [key; 8]);
    wait_for("the host", SOON, || {
        terminal.types(keys.next().unwrap_or(b"j"));
        std::thread::sleep(Duration::from_millis(300));
        terminal.text().contains("PROCESSES OF host").then_some(())
    });
    terminal.types(b"p");
    terminal.shows("[paused]");
    terminal.types(b"q");
    expect_end(terminal);

    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let terminal = Terminal::start(&bed, &["top"]);
        terminal.shows("PROCESSES OF");
        kill_process(Pid::from_child(&terminal.child), signal).unwrap();
        expect_end(terminal);
    }
    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);
    bed.run(&["top"]).expect_error(3, "no `watch` is running");
}
