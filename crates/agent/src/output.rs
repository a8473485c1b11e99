//! Alerts as text and JSON: Falco's forms, and our own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use palisade_base::Timestamp;
use palisade_model::wire::{Envelope, schema};
use palisade_model::{Alert, Verdict};
use serde::Serialize;

/// Most ancestors shown on a line.
const TREE_SHOWN_MAX: usize = 6;
/// Longest command line shown of one process, in characters.
const COMMAND_CHARS_MAX: usize = 60;

/// How Falco's forms write the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FalcoTime {
    /// `05:53:55.000000001`, in UTC.
    #[default]
    OfDay,
    /// `2026-11-22T05:53:55.000000001+0000`: Falco's `time_format_iso_8601`.
    Iso8601,
}

/// Falco's JSON object, keys in its order.
#[derive(Serialize)]
struct FalcoAlert<'a> {
    hostname: &'a str,
    output: String,
    output_fields: BTreeMap<&'a str, Cow<'a, serde_json::Value>>,
    priority: &'a str,
    rule: &'a str,
    source: &'a str,
    tags: Vec<&'a str>,
    time: String,
}

/// `HH:MM:SS.nnnnnnnnn` in UTC, as Falco prints with UTC time.
fn time_of_day(time: Timestamp) -> String {
    let text = time.rfc3339();
    text.split_once('T').map_or(text.clone(), |(_, rest)| rest.trim_end_matches('Z').to_string())
}

/// Falco's line: time, priority, output.
pub fn falco_text(alert: &Alert, time: FalcoTime) -> String {
    let clock = match time {
        FalcoTime::OfDay => time_of_day(alert.time),
        FalcoTime::Iso8601 => format!("{}+0000", alert.time.rfc3339().trim_end_matches('Z')),
    };
    format!("{clock}: {} {}", alert.priority, alert.output)
}

/// Falco's JSON object of an alert, on one line.
///
/// The time with which the output begins is one of its fields, as nanoseconds.
pub fn falco_json(alert: &Alert, time: FalcoTime) -> String {
    let mut tags: Vec<&str> = alert.tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    let mut output_fields: BTreeMap<&str, Cow<'_, serde_json::Value>> = alert
        .output_fields
        .iter()
        .map(|(name, value)| (name.as_str(), Cow::Borrowed(value)))
        .collect();
    let time_field = match time {
        FalcoTime::OfDay => "evt.time",
        FalcoTime::Iso8601 => "evt.time.iso8601",
    };
    output_fields.insert(time_field, Cow::Owned(alert.time.as_nanos().into()));
    let document = FalcoAlert {
        hostname: &alert.hostname,
        output: falco_text(alert, time),
        output_fields,
        priority: alert.priority.as_str(),
        rule: &alert.rule,
        source: &alert.source,
        tags,
        time: alert.time.rfc3339(),
    };
    serde_json::to_string(&document).unwrap_or_default()
}

/// Our own JSON document of an alert, on one line.
pub fn json(alert: &Alert) -> String {
    serde_json::to_string(&Envelope::new(schema::ALERT, alert)).unwrap_or_default()
}

/// Our own text: Falco's line, then verdict and latency, container and image, and the
/// process tree. Lines after the first are indented.
pub fn text(alert: &Alert) -> String {
    let latency_us = alert.latency().as_micros();
    text_with(alert, &format!(", seen after {}.{:03} ms", latency_us / 1000, latency_us % 1000))
}

/// As [`text`], of a recorded event: when it was seen means nothing.
pub fn text_of_the_past(alert: &Alert) -> String {
    text_with(alert, "")
}

fn text_with(alert: &Alert, latency: &str) -> String {
    let mut out = printable(&falco_text(alert, FalcoTime::OfDay));
    let verdict = match alert.verdict() {
        Verdict::Blocked => "blocked",
        Verdict::Detected => "detected",
    };
    let _ = write!(out, "\n    {verdict} by rule \"{}\"{latency}", printable(&alert.rule));
    if let Some(done) = &alert.enforcement {
        let _ = write!(out, "\n    {}", printable(&done.to_string()));
    }
    if let Some(container) = &alert.container {
        let _ = write!(
            out,
            "\n    container {} {}",
            printable(container.short_id()),
            printable(&container.name)
        );
        if let Some(image) = &container.image {
            let _ = write!(out, ", image {}", printable(&image.reference));
            if let Some(digest) = image.digest {
                let _ = write!(out, " (sha256:{})", digest.short());
            }
        }
    }
    if let Some(process) = &alert.process {
        out.push_str("\n    ");
        for ancestor in alert.ancestors.iter().take(TREE_SHOWN_MAX).rev() {
            let _ = write!(out, "{}[{}] > ", printable(&ancestor.name), ancestor.pid);
        }
        let command: String = process.cmdline.chars().take(COMMAND_CHARS_MAX).collect();
        let _ =
            write!(out, "{}[{}] {}", printable(&process.name), process.pid, printable(&command));
    }
    if let Some(recording) = &alert.recording {
        let _ = write!(out, "\n    recorded in {}", printable(recording));
    }
    out
}

/// `text` without characters that could steer a terminal.
fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_string();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alert, container};

    #[test]
    fn falco_forms() {
        let alert = alert("Shell", None);
        assert_eq!(falco_text(&alert, FalcoTime::OfDay), "05:53:55.000000001: Critical a | b=c");
        assert_eq!(
            falco_text(&alert, FalcoTime::Iso8601),
            "2026-11-22T05:53:55.000000001+0000: Critical a | b=c"
        );
        assert!(
            falco_json(&alert, FalcoTime::Iso8601)
                .contains("\"evt.time.iso8601\":1795326835000000001,")
        );
        assert_eq!(
            falco_json(&alert, FalcoTime::OfDay),
            "{\"hostname\":\"host\",\"output\":\"05:53:55.000000001: Critical a | b=c\",\
             \"output_fields\":{\"evt.time\":1795326835000000001,\"proc.name\":\"sh\"},\"priority\":\"Critical\",\"rule\":\"Shell\",\
             \"source\":\"syscall\",\"tags\":[\"T1059.004\",\"container\"],\
             \"time\":\"2026-11-22T05:53:55.000000001Z\"}"
        );
    }

    #[test]
    fn our_text_tells_container_and_tree_and_steers_no_terminal() {
        let mut alert = alert("Shell", Some(container("0123456789abcdef")));
        alert.output = "evil \u{1b}[2J".into();
        assert_eq!(
            text(&alert),
            "05:53:55.000000001: Critical evil \\u{1b}[2J\n    \
             detected by rule \"Shell\", seen after 0.400 ms\n    \
             container 0123456789ab name-0123456789abcdef\n    \
             p41[41] > p42[42] p42 -x"
        );
        alert.enforcement = Some(palisade_model::Enforcement {
            action: palisade_model::EnforcementAction::Kill,
            means: Some(palisade_model::Means::UserKill),
            outcome: palisade_model::EnforcementOutcome::Killed,
            detail: String::new(),
            latency_ns: 1_500_000,
        });
        let shown = text(&alert);
        assert!(shown.contains("0.400 ms\n    killed: kill by user-kill in 1.500 ms\n"), "{shown}");
        let read: Envelope<Alert> = serde_json::from_str(&json(&alert)).unwrap();
        assert_eq!(read.body, alert);
    }
}
