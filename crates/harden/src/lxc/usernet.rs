//! `/etc/lxc/lxc-usernet`: which users may put interfaces on which bridges (`lxc-usernet(5)`).

use std::fmt::Write as _;

use super::{CONFIG_BYTES_MAX, LINES_MAX, LxcError, LxcFinding, LxcLevel};

/// Interfaces that one user may have without a word about it.
const COUNT_MAX: u32 = 100;

/// The table, audited and written anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usernet {
    /// What it allows that it should not.
    pub findings: Vec<LxcFinding>,
    /// The table with what is wrong taken out, as comments, and counts bounded.
    pub text: String,
}

/// What is written in place of a line.
enum Instead {
    /// The line itself.
    Same,
    /// Nothing; it stays as a comment.
    Nothing,
    /// Another.
    Line(String),
}

/// Audits the table and writes what should stand there.
pub fn harden_usernet(text: &str) -> Result<Usernet, LxcError> {
    if text.len() > CONFIG_BYTES_MAX || text.lines().count() > LINES_MAX {
        return Err(LxcError::TooLarge);
    }
    let mut out = Usernet::default();
    for (i, raw) in text.lines().enumerate() {
        // At the end of a text without an end of line too, where `lines` leaves it.
        let raw = raw.trim_end_matches('\r');
        let line = raw.trim();
        let instead = if line.is_empty() || line.starts_with('#') {
            Instead::Same
        } else {
            judge(i + 1, line, &mut out.findings)
        };
        let _ = match instead {
            Instead::Same => writeln!(out.text, "{raw}"),
            Instead::Nothing => writeln!(out.text, "# Taken out by palisade harden: {line}"),
            Instead::Line(new) => writeln!(out.text, "{new}"),
        };
    }
    Ok(out)
}

fn judge(number: usize, line: &str, findings: &mut Vec<LxcFinding>) -> Instead {
    let mut find = |level, message: String, fix: &str| {
        let (key, fix) = ("lxc-usernet".to_string(), fix.to_string());
        findings.push(LxcFinding { line: number, key, level, message, fix });
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[who, kind, bridge, count] = words.as_slice() else {
        let message = "it is no `USER veth BRIDGE COUNT`, and is passed over".to_string();
        find(LxcLevel::Low, message, "mend or remove it");
        return Instead::Nothing;
    };
    if kind != "veth" {
        let message = format!("`{kind}` is no kind of interface that LXC knows here");
        find(LxcLevel::Low, message, "write veth");
        return Instead::Nothing;
    }
    let Ok(n) = count.parse::<u32>() else {
        find(
            LxcLevel::Low,
            format!("`{count}` is no number"),
            "write how many interfaces are allowed",
        );
        return Instead::Nothing;
    };
    if who == "root" {
        find(LxcLevel::Note, "root needs no line".to_string(), "remove it");
        return Instead::Nothing;
    }
    if who.starts_with('@') {
        let message = format!("everybody in the group `{who}` may have {count} interfaces");
        find(LxcLevel::Note, message, "name users, if not all of it is meant");
    }
    if n > COUNT_MAX {
        let message = format!("`{who}` may have {count} interfaces on `{bridge}`");
        find(LxcLevel::Medium, message, "allow as many as are needed");
        return Instead::Line(format!("{who} {kind} {bridge} {COUNT_MAX}"));
    }
    Instead::Same
}
