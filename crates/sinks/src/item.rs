//! What is sent: an alert, or how often it was repeated.

use palisade_base::Timestamp;
use palisade_model::{Alert, Priority, Repeats};

/// Name and tactic of a MITRE ATT&CK technique by its identifier.
pub type TechniqueNames = fn(&str) -> Option<(&'static str, &'static str)>;

/// What a document says of its sender.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// Names of techniques.
    pub techniques: TechniqueNames,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// An alert.
    Alert(&'a Alert),
    /// Repeats of an alert that was sent before.
    Repeats(&'a Repeats),
}

impl Item<'_> {
    /// An identifier that does not change when the item is sent again, by which a receiver
    /// drops what it has already.
    pub fn id(&self) -> String {
        match self {
            Self::Alert(alert) => alert.id.clone(),
            Self::Repeats(repeats) => {
                format!("{}-{:x}", repeats.alert, repeats.time.as_millis())
            }
        }
    }

    /// `alert` or `repeats`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Alert(_) => "alert",
            Self::Repeats(_) => "repeats",
        }
    }

    /// Its rule.
    pub fn rule(&self) -> &str {
        match self {
            Self::Alert(alert) => &alert.rule,
            Self::Repeats(repeats) => &repeats.rule,
        }
    }

    /// The rule's priority.
    pub fn priority(&self) -> Priority {
        match self {
            Self::Alert(alert) => alert.priority,
            Self::Repeats(repeats) => repeats.priority,
        }
    }

    /// When it happened.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Alert(alert) => alert.time,
            Self::Repeats(repeats) => repeats.time,
        }
    }

    /// Host on which it happened.
    pub fn hostname(&self) -> &str {
        match self {
            Self::Alert(alert) => &alert.hostname,
            Self::Repeats(repeats) => &repeats.hostname,
        }
    }
}

/// An item as it goes over a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// [`Item::id`].
    pub id: String,
    /// [`Item::kind`].
    pub kind: &'static str,
    /// When it happened.
    pub time: Timestamp,
    /// The rule's priority.
    pub priority: Priority,
    /// The rule.
    pub rule: String,
    /// Host on which it happened.
    pub hostname: String,
    /// The document, on one line, without a line end.
    pub body: String,
}

impl Message {
    /// A message of `item` whose document is `body`; line ends in it are escaped, so that a
    /// document is one line whatever a process was called.
    pub fn new(item: Item<'_>, body: String) -> Self {
        Self {
            id: item.id(),
            kind: item.kind(),
            time: item.time(),
            priority: item.priority(),
            rule: item.rule().to_string(),
            hostname: item.hostname().to_string(),
            body: one_line(body),
        }
    }
}

/// `text` with its control characters escaped.
fn one_line(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// MITRE ATT&CK technique identifiers among tags, in their order: `T1059` or `T1059.004`.
pub(crate) fn technique_ids(tags: &[String]) -> Vec<&str> {
    tags.iter().map(String::as_str).filter(|tag| is_technique(tag)).collect()
}

fn is_technique(tag: &str) -> bool {
    let digits = |text: &str, n| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let Some(rest) = tag.strip_prefix('T') else { return false };
    match rest.split_once('.') {
        Some((main, sub)) => digits(main, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alert;

    #[test]
    fn a_message_is_one_line() {
        let alert = alert();
        let message = Message::new(Item::Alert(&alert), "a\nb\u{1b}[2J\u{85}ü".into());
        assert_eq!(message.body, "a\\nb\\u{1b}[2J\\u{85}ü");
        assert_eq!((message.id, message.kind), (alert.id, "alert"));
    }

    #[test]
    fn techniques_are_told_from_other_tags() {
        let tags: Vec<String> = [
            "container",
            "T1059",
            "T1059.004",
            "T105",
            "T1059.04",
            "Txxxx",
            "T",
            "mitre_execution",
        ]
        .map(str::to_string)
        .into();
        assert_eq!(technique_ids(&tags), ["T1059", "T1059.004"]);
    }
}
