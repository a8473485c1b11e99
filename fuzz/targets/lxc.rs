//! Configurations of LXC and tables of users: never a panic, hardening again changes nothing and
//! finds nothing bad, and what somebody wrote never becomes a rule of the filter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_harden::lxc::{LxcFacts, LxcLevel, harden_lxc, harden_usernet};
use palisade_policy::Policy;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    // The table, and the lists of ids, are what follows a zero.
    let (config, table) = text.split_once('\0').unwrap_or((&text, ""));
    if let Ok(first) = harden_usernet(table) {
        let again = harden_usernet(&first.text).expect("it is not longer than the first");
        assert_eq!(again.text, first.text);
        let lowest = LxcLevel::Note;
        assert!(again.findings.iter().all(|finding| finding.level == lowest), "{again:?}");
    }
    let policy = Policy::load("restricted").expect("it is built in").policy;
    let facts = LxcFacts {
        name: "web".into(),
        first_id: 16_777_216,
        seccomp_path: "/var/lib/lxc/web/config.seccomp".into(),
        subuid: Some(table.to_string()),
        subgid: None,
        accept_ra: [("lxcbr0".to_string(), 1)].into(),
    };
    let Ok(first) = harden_lxc(config, &policy.containers, &facts) else { return };
    for line in first.filter.lines().skip(1) {
        let word = line.split_whitespace().next().unwrap_or_default();
        let known = ["table", "delete", "chain", "type", "iifname", "}"];
        assert!(known.contains(&word), "{line}");
        assert!(!line.contains("accept") || word == "type", "{line}");
    }
    // What was added may make it too long to be read once more.
    let Ok(again) = harden_lxc(&first.config, &policy.containers, &facts) else { return };
    assert_eq!(again.config, first.config);
    for finding in &again.findings {
        // Of what cannot be written into the configuration.
        let elsewhere = finding.message.contains("accept_ra");
        assert!(finding.level == LxcLevel::Note || elsewhere, "{finding:?}");
    }
});
