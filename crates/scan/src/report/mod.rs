//! A scan's result for people and for other programs.
//!
//! Every form is deterministic: the same report gives the same bytes. Text that comes from
//! the image (paths, titles, versions) is cleaned of control characters before it meets a
//! terminal.

pub mod checks;
pub mod json;
pub mod sarif;
pub mod table;

use std::borrow::Cow;

/// `text` without control characters, which could move a terminal's cursor or worse.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Bidirectional overrides make a path read as another one.
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(harmful) {
        Cow::Owned(text.replace(harmful, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
pub(crate) mod tests;
