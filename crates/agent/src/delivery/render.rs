//! Documents for sinks: one form, one item, one text.

use palisade_base::Timestamp;
use palisade_model::wire::{Envelope, schema};
use palisade_model::{Alert, Repeats};
use palisade_policy::SinkFormat;
use palisade_sinks::{About, Item, Message, cef, ocsf};
use serde_json::json;

use crate::output;
use crate::report;

/// The item in that form, ready to be sent. `version` is the program's.
pub fn message(format: SinkFormat, item: Item<'_>, version: &str) -> Message {
    Message::new(item, document(format, item, version))
}

/// The item in that form; on one line, but for control characters in Falco's line.
pub fn document(format: SinkFormat, item: Item<'_>, version: &str) -> String {
    let about = About { version, techniques: report::technique };
    match (format, item) {
        (SinkFormat::Ocsf, item) => ocsf::document(item, about).to_string(),
        (SinkFormat::Cef, item) => cef::document(item, about),
        (SinkFormat::Falco, Item::Alert(alert)) => falco_text(alert),
        (SinkFormat::Falco, Item::Repeats(repeats)) => {
            as_alert(repeats).map_or_else(String::new, |alert| falco_text(&alert))
        }
        (SinkFormat::FalcoJson, Item::Alert(alert)) => falco_json(alert),
        (SinkFormat::FalcoJson, Item::Repeats(repeats)) => {
            as_alert(repeats).map_or_else(String::new, |alert| falco_json(&alert))
        }
        (SinkFormat::Json | SinkFormat::Auto, Item::Alert(alert)) => output::json(alert),
        (SinkFormat::Json | SinkFormat::Auto, Item::Repeats(repeats)) => {
            serde_json::to_string(&Envelope::new(schema::ALERT_REPEATS, repeats))
                .unwrap_or_default()
        }
    }
}

fn falco_text(alert: &Alert) -> String {
    output::falco_text(alert, output::FalcoTime::OfDay)
}

fn falco_json(alert: &Alert) -> String {
    output::falco_json(alert, output::FalcoTime::OfDay)
}

/// Repeats in the only shape that Falco's forms have: an alert of the same rule, whose
/// output says what it is.
fn as_alert(repeats: &Repeats) -> Option<Alert> {
    let text = format!("{}: repeated {} more times", repeats.rule, repeats.n_repeats);
    serde_json::from_value(json!({
        "id": repeats.alert,
        "time": repeats.time,
        "raised": repeats.time,
        "rule": repeats.rule,
        "priority": repeats.priority,
        "source": "syscall",
        "output": format!("{text} (alert={})", repeats.alert),
        "output_fields": {
            "palisade.alert": repeats.alert,
            "palisade.n_repeats": repeats.n_repeats,
        },
        "tags": [],
        "hostname": repeats.hostname,
        "event_type": "",
        "outcome": "unknown",
    }))
    .ok()
}

/// An alert that says of itself that it is a test.
pub fn test_alert(hostname: &str, now: Timestamp) -> Option<Alert> {
    serde_json::from_value(json!({
        "id": format!("{:016x}{:08x}", now.as_nanos(), 0),
        "time": now,
        "raised": now,
        "rule": "Test of a sink",
        "priority": "Notice",
        "source": "syscall",
        "output": "this is a test: nothing happened",
        "output_fields": { "palisade.test": true },
        "tags": ["palisade_test"],
        "hostname": hostname,
        "event_type": "test",
        "outcome": "unknown",
    }))
    .ok()
}

#[cfg(test)]
mod tests {
    use palisade_model::Priority;

    use super::*;
    use crate::testing::{alert, container};

    fn repeats() -> Repeats {
        Repeats {
            alert: "Shell-host".into(),
            rule: "Shell".into(),
            priority: Priority::Critical,
            hostname: "host".into(),
            since: Timestamp::from_nanos(1_795_326_835_000_000_001),
            time: Timestamp::from_nanos(1_795_326_845_000_000_001),
            n_repeats: 3,
        }
    }

    #[test]
    fn every_form_of_every_item_is_a_line_that_names_the_rule() {
        let mut alert = alert("Shell", Some(container("0123456789abcdef")));
        alert.output = "one\ntwo".into();
        let repeats = repeats();
        for format in SinkFormat::ALL {
            for item in [Item::Alert(&alert), Item::Repeats(&repeats)] {
                let message = message(format, item, "0.1.0");
                assert!(!message.body.contains('\n'), "{format:?} {}", message.body);
                let is_named = message.body.contains("Shell")
                    || (format == SinkFormat::Falco && item.kind() == "alert");
                assert!(is_named, "{format:?} {}", message.body);
                if format.is_json() {
                    let value: serde_json::Value = serde_json::from_str(&message.body).unwrap();
                    assert!(value.is_object());
                }
            }
        }
    }

    #[test]
    fn repeats_tell_what_was_repeated() {
        let check = |format, expected: &str| {
            assert_eq!(document(format, Item::Repeats(&repeats()), "0.1.0"), expected);
        };
        check(
            SinkFormat::Json,
            "{\"schema\":\"palisade.dev/alert-repeats/v1\",\"alert\":\"Shell-host\",\
             \"rule\":\"Shell\",\"priority\":\"Critical\",\"hostname\":\"host\",\
             \"since\":\"2026-11-22T05:53:55.000000001Z\",\
             \"time\":\"2026-11-22T05:54:05.000000001Z\",\"n_repeats\":3}",
        );
        check(
            SinkFormat::Falco,
            "05:54:05.000000001: Critical Shell: repeated 3 more times (alert=Shell-host)",
        );
    }

    #[test]
    fn the_test_alert_is_one() {
        let alert = test_alert("host", Timestamp::from_nanos(5)).unwrap();
        assert_eq!(
            (alert.id.as_str(), alert.hostname.as_str()),
            ("000000000000000500000000", "host")
        );
    }
}
