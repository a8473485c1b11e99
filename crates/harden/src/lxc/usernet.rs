//! `/etc/lxc/lxc-usernet`: which users may put interfaces on which bridges (`lxc-usernet(5)`).

use super::{LxcFinding, LxcLevel};

/// Interfaces that one user may have without a word about it.
const COUNT_MAX: u32 = 100;
/// Lines that are looked at.
const LINES_MAX: usize = 10_000;

/// What the table allows that it should not.
pub fn audit_usernet(text: &str) -> Vec<LxcFinding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, level, message: String, fix: &str| {
        let (key, fix) = ("lxc-usernet".to_string(), fix.to_string());
        findings.push(LxcFinding { line, key, level, message, fix });
    };
    for (i, raw) in text.lines().take(LINES_MAX).enumerate() {
        let (number, line) = (i + 1, raw.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[who, kind, bridge, count] = words.as_slice() else {
            let message = "it is no `USER veth BRIDGE COUNT`, and is passed over".to_string();
            find(number, LxcLevel::Low, message, "mend or remove it");
            continue;
        };
        if kind != "veth" {
            let message = format!("`{kind}` is no kind of interface that LXC knows here");
            find(number, LxcLevel::Low, message, "write veth");
        }
        match count.parse::<u32>() {
            Ok(count) if count > COUNT_MAX => {
                let message = format!("`{who}` may have {count} interfaces on `{bridge}`");
                find(number, LxcLevel::Medium, message, "allow as many as are needed");
            }
            Ok(_) => {}
            Err(_) => {
                let message = format!("`{count}` is no number");
                find(number, LxcLevel::Low, message, "write how many interfaces are allowed");
            }
        }
        if who.starts_with('@') {
            let message = format!("everybody in the group `{who}` may have {count} interfaces");
            find(number, LxcLevel::Note, message, "name users, if not all of it is meant");
        }
        if who == "root" {
            let message = "root needs no line".to_string();
            find(number, LxcLevel::Note, message, "remove it");
        }
    }
    findings
}
