//! Alerts in ArcSight's Common Event Format, version 0 (implementation standard,
//! revision 26): a header of seven fields, then `key=value` pairs.

use std::fmt::Write as _;

use palisade_model::alert::Outcome;
use palisade_model::{Alert, EnforcementOutcome, Priority, Repeats, Verdict};

use crate::item::{About, Item, technique_ids};

/// Longest value that is written, in characters: `msg` may have 1023 in the standard.
const VALUE_CHARS_MAX: usize = 1023;

/// The item as one line, without a line end.
pub fn document(item: Item<'_>, about: About<'_>) -> String {
    let mut out = format!(
        "CEF:0|Palisade|Palisade|{}|{}|{}|{}|",
        header(about.version),
        header(item.rule()),
        header(item.rule()),
        severity(item.priority())
    );
    let mut pairs = Pairs { out: &mut out, is_first: true };
    match item {
        Item::Alert(alert) => of_alert(&mut pairs, alert),
        Item::Repeats(repeats) => of_repeats(&mut pairs, repeats),
    }
    out
}

/// 0 to 3 is low, 4 to 6 medium, 7 to 8 high, 9 to 10 very high.
fn severity(priority: Priority) -> u8 {
    match priority {
        Priority::Debug => 0,
        Priority::Informational => 1,
        Priority::Notice => 3,
        Priority::Warning => 5,
        Priority::Error => 7,
        Priority::Critical => 9,
        Priority::Alert | Priority::Emergency => 10,
    }
}

fn of_alert(pairs: &mut Pairs<'_>, alert: &Alert) {
    pairs.add("externalId", &alert.id);
    pairs.add("rt", &alert.raised.as_millis().to_string());
    pairs.add("start", &alert.time.as_millis().to_string());
    pairs.add("dvchost", &alert.hostname);
    pairs.add("cat", &alert.event_type);
    let done = alert.enforcement.as_ref();
    let act = match alert.verdict() {
        Verdict::Blocked => "blocked",
        Verdict::Detected
            if done.is_some_and(|done| done.outcome == EnforcementOutcome::Killed) =>
        {
            "killed"
        }
        Verdict::Detected => "detected",
    };
    pairs.add("act", act);
    match alert.outcome {
        Outcome::Succeeded => pairs.add("outcome", "success"),
        Outcome::Failed { errno } => {
            pairs.add("outcome", "failure");
            if done.is_none() {
                pairs.add("reason", &format!("errno {errno}"));
            }
        }
        Outcome::Unknown => {}
    }
    if let Some(done) = done {
        pairs.add("reason", &done.to_string());
    }
    if let Some(process) = &alert.process {
        pairs.add("sproc", &process.name);
        pairs.add("spid", &process.pid.to_string());
        pairs.add("suid", &process.uid.to_string());
        pairs.add("filePath", &process.exe);
        pairs.labelled(4, "commandLine", &process.cmdline);
    }
    if let Some(container) = &alert.container {
        pairs.labelled(1, "containerId", &container.id);
        pairs.labelled(2, "containerName", &container.name);
        if let Some(image) = &container.image {
            pairs.labelled(3, "image", &image.reference);
        }
    }
    pairs.labelled(5, "mitreTechniques", &technique_ids(&alert.tags).join(","));
    pairs.labelled(6, "tags", &alert.tags.join(","));
    pairs.add("msg", &alert.output);
}

fn of_repeats(pairs: &mut Pairs<'_>, repeats: &Repeats) {
    pairs.add("externalId", &repeats.alert);
    pairs.add("rt", &repeats.time.as_millis().to_string());
    pairs.add("start", &repeats.since.as_millis().to_string());
    pairs.add("end", &repeats.time.as_millis().to_string());
    pairs.add("dvchost", &repeats.hostname);
    pairs.add("cnt", &repeats.n_repeats.to_string());
    pairs.add("msg", &format!("repeated {} more times", repeats.n_repeats));
}

struct Pairs<'o> {
    out: &'o mut String,
    is_first: bool,
}

impl Pairs<'_> {
    fn add(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let blank = if std::mem::take(&mut self.is_first) { "" } else { " " };
        let _ = write!(self.out, "{blank}{key}={}", extension(value));
    }

    /// A custom text, whose label says what it is.
    fn labelled(&mut self, number: u8, label: &str, value: &str) {
        if !value.is_empty() {
            self.add(&format!("cs{number}Label"), label);
            self.add(&format!("cs{number}"), value);
        }
    }
}

/// A field of the header: `|` and `\` are escaped, line ends become blanks.
fn header(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(VALUE_CHARS_MAX) {
        match c {
            '|' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A value of the extension: `=` and `\` are escaped, line ends are `\n` and `\r`.
fn extension(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(VALUE_CHARS_MAX) {
        match c {
            '=' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alert, bare, enforced, golden, repeats, techniques};

    #[test]
    fn documents() {
        let about = About { version: "0.1.0", techniques };
        let (full, bare, repeats) = (alert(), bare(), repeats());
        let items = [Item::Alert(&full), Item::Alert(&bare), Item::Repeats(&repeats)];
        let lines: Vec<String> = items.iter().map(|item| document(*item, about)).collect();
        golden("cef.txt", (lines.join("\n") + "\n").as_bytes());
    }

    #[test]
    fn what_enforcement_did_is_the_reason() {
        let about = About { version: "0.1.0", techniques };
        let check = |outcome, expected: &str| {
            let line = document(Item::Alert(&enforced(outcome)), about);
            assert!(line.contains(expected), "{line}");
        };
        check(EnforcementOutcome::Prevented, "act=blocked outcome=failure reason=prevented: deny");
        let mut killed = enforced(EnforcementOutcome::Killed);
        killed.outcome = Outcome::Succeeded;
        let line = document(Item::Alert(&killed), about);
        assert!(line.contains("act=killed outcome=success reason=killed: deny"), "{line}");
    }

    #[test]
    fn what_separates_is_escaped() {
        assert_eq!(header("a|b\\c\nd=e"), "a\\|b\\\\c d=e");
        assert_eq!(extension("a|b\\c\r\nd=e\u{1b}"), "a|b\\\\c\\r\\nd\\=e ");
    }
}
