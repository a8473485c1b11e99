//! The keys of `evidence`: to whom bundles are encrypted, and who stamps their time.

use crate::document::Evidence;
use crate::table::{Default, Key, Kind, TextRule, section};

/// Recipients of one policy.
const RECIPIENTS_MAX: usize = 32;

/// The keys.
pub(crate) const KEYS: &[Key] = &[
    section("evidence", "How bundles of evidence are kept, whoever asks for them."),
    Key {
        path: "evidence.recipients",
        kind: Kind::Texts {
            rule: TextRule::Recipient,
            n_max: RECIPIENTS_MAX,
            set: |p, texts| p.evidence.recipients = texts,
        },
        default: Default::Values(&[]),
        doc: "To whom bundles are encrypted while they are collected, in the format of age: its \
              recipients of X25519, `age1…`. Without any, bundles are in the clear.",
        example: "[age17x8lpzjslrdseu7vvnzjefcpm6zl7lp8q93gyrq0x7af8p6kr94qvslfz5]",
    },
    Key {
        path: "evidence.timestamp",
        kind: Kind::Text(TextRule::Url, |p, text| {
            p.evidence.timestamp = Some(text).filter(|text| !text.is_empty());
        }),
        default: Default::Value(""),
        doc: "The authority of time (RFC 3161) that stamps each bundle. Where it does not answer, \
              the bundle says so.",
        example: "https://time.example/tsr",
    },
];

impl Evidence {
    /// Whether it asks for anything.
    pub fn is_plain(&self) -> bool {
        self.recipients.is_empty() && self.timestamp.is_none()
    }
}
