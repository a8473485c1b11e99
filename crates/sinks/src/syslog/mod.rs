//! Syslog messages of RFC 5424, and the framing of RFC 6587 and RFC 5425.
//!
//! The header carries time, host and identifier; the document is the message. Its text is
//! UTF-8 without a byte order mark, which RFC 5424 leaves to the sender (`MSG-ANY`) and
//! which receivers show as garbage.

mod sender;

pub(crate) use sender::SyslogSender;

use palisade_model::Priority;

use crate::item::Message;

/// `SD-ID` of our structured data. 32473 is the enterprise number that RFC 5612 sets aside
/// for documentation; this project has none of its own.
const STRUCTURED_DATA: &str = "palisade@32473";
/// Longest `HOSTNAME` (RFC 5424, section 6).
const HOSTNAME_BYTES_MAX: usize = 255;
/// Longest value of structured data that is written, in characters.
const VALUE_CHARS_MAX: usize = 256;

/// The severity of RFC 5424, section 6.2.1.
fn severity(priority: Priority) -> u8 {
    match priority {
        Priority::Emergency => 0,
        Priority::Alert => 1,
        Priority::Critical => 2,
        Priority::Error => 3,
        Priority::Warning => 4,
        Priority::Notice => 5,
        Priority::Informational => 6,
        Priority::Debug => 7,
    }
}

/// The message as RFC 5424 has it. `process` is our process id.
pub fn message(message: &Message, facility: u8, process: u32) -> String {
    let priority = u16::from(facility) * 8 + u16::from(severity(message.priority));
    format!(
        "<{priority}>1 {} {} palisade {process} {} \
         [{STRUCTURED_DATA} id=\"{}\" rule=\"{}\" priority=\"{}\"] {}",
        message.time.rfc3339_micros(),
        hostname(&message.hostname),
        message.kind,
        value(&message.id),
        value(&message.rule),
        message.priority,
        message.body,
    )
}

/// A host name of printable ASCII, or `-`.
fn hostname(name: &str) -> String {
    let name: String =
        name.chars().filter(char::is_ascii_graphic).take(HOSTNAME_BYTES_MAX).collect();
    if name.is_empty() { "-".into() } else { name }
}

/// A `PARAM-VALUE`: `"`, `\` and `]` are escaped (RFC 5424, section 6.3.3), control
/// characters left out.
fn value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control()).take(VALUE_CHARS_MAX) {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Appends `message` with octet counting (RFC 6587, section 3.4.1): its length in bytes, a
/// blank, the message.
pub fn frame(message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(message.len().to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(message.as_bytes());
}

/// The beginning of `text` that fits in `bytes_max` bytes, with a mark where it was cut.
fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::testing::{alert, bare, golden, repeats};

    /// Reads a stream of frames as RFC 6587 says, on its own.
    fn unframe(mut bytes: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|b| *b == b' ').unwrap();
            let length: usize = std::str::from_utf8(&bytes[..blank]).unwrap().parse().unwrap();
            let (message, rest) = bytes[blank + 1..].split_at(length);
            out.push(String::from_utf8(message.to_vec()).unwrap());
            bytes = rest;
        }
        out
    }

    #[test]
    fn messages_and_framing() {
        let (full, bare, repeats) = (alert(), bare(), repeats());
        let items = [Item::Alert(&full), Item::Alert(&bare), Item::Repeats(&repeats)];
        let mut framed = Vec::new();
        let mut plain = Vec::new();
        for (facility, item) in [10, 16, 0].into_iter().zip(items) {
            let text = message(&Message::new(item, "größer\nnext".into()), facility, 4711);
            frame(&text, &mut framed);
            plain.push(text);
        }
        golden("syslog-5424.txt", (plain.join("\n") + "\n").as_bytes());
        golden("syslog-6587.bin", &framed);
        assert_eq!(unframe(&framed), plain);
    }

    #[test]
    fn priorities_are_facility_times_eight_plus_severity() {
        let mut message_of = Message::new(Item::Alert(&alert()), "x".into());
        for (i, priority) in Priority::ALL.into_iter().rev().enumerate() {
            message_of.priority = priority;
            let text = message(&message_of, 23, 1);
            assert!(text.starts_with(&format!("<{}>1 ", 23 * 8 + i)), "{text}");
        }
    }

    #[test]
    fn header_fields_keep_to_their_alphabet_and_length() {
        assert_eq!(hostname("nöde 1\n"), "nde1");
        assert_eq!(hostname("\u{7f}é"), "-");
        assert_eq!(hostname(&"a".repeat(300)).len(), HOSTNAME_BYTES_MAX);
        assert_eq!(value("a\"b\\c]d\n"), "a\\\"b\\\\c\\]d");
        assert_eq!(value(&"ü".repeat(300)).chars().count(), VALUE_CHARS_MAX);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aüb", 9), "aüb");
        assert_eq!(cut("aüb", 3), "aü");
        assert_eq!(cut("aüb", 2), "a");
        assert_eq!(cut("ü", 1), "");
    }

    proptest::proptest! {
        #[test]
        fn any_rule_and_body_stay_one_message(rule in ".*", host in ".*", body in ".*") {
            let mut about = Message::new(Item::Alert(&alert()), body);
            about.rule = rule;
            about.hostname = host;
            let text = message(&about, 10, 1);
            // The header has six fields before the structured data, which ends at the first
            // bracket that is not escaped.
            let fields: Vec<&str> = text.splitn(7, ' ').collect();
            proptest::prop_assert_eq!(fields.len(), 7);
            proptest::prop_assert!(fields[..6].iter().all(|f| f.bytes().all(|b| b.is_ascii_graphic())));
            let mut escaped = false;
            let end = fields[6].char_indices().find(|(_, c)| {
                let is_end = *c == ']' && !escaped;
                escaped = *c == '\\' && !escaped;
                is_end
            });
            let rest = &fields[6][end.unwrap().0 + 1..];
            let expected = format!(" {}", about.body);
            proptest::prop_assert_eq!(rest, expected.as_str());
            let mut framed = Vec::new();
            frame(&text, &mut framed);
            frame(&text, &mut framed);
            proptest::prop_assert_eq!(unframe(&framed), vec![text.clone(), text]);
        }
    }
}
