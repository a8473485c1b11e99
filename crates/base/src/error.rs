//! How an error is shown: one line for each link of the chain, and a hint.
//!
//! `Display` of an error in this workspace never repeats its source; this module
//! walks the chain, so that the terminal shows
//!
//! ```text
//! error: read image `demo.tar`
//! caused by: layer `sha256:…` is larger than the limit of 4294967296 bytes
//! hint: raise the limit with `--layer-bytes-max`
//! ```

use std::error::Error;
use std::fmt::Write as _;

/// An error that knows what its reader can do about it.
pub trait Explain: Error {
    /// One sentence in the imperative, without a full stop, or nothing.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// The links below which a chain is cut: deeper ones are a loop, not an explanation.
const CHAIN_LINKS_MAX: usize = 16;

/// Renders `error`, its sources and `hint` as the terminal shows them, with a final newline.
pub fn render_chain(error: &(dyn Error + 'static), hint: Option<&str>) -> String {
    let mut out = String::new();
    let mut last = error.to_string();
    let _ = writeln!(out, "error: {last}");
    let mut link = error.source();
    for _ in 0..CHAIN_LINKS_MAX {
        let Some(cause) = link else { break };
        let text = cause.to_string();
        // A transparent wrapper would show the same sentence twice.
        if text != last {
            let _ = writeln!(out, "caused by: {text}");
        }
        last = text;
        link = cause.source();
    }
    if let Some(hint) = hint {
        let _ = writeln!(out, "hint: {hint}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read image `demo`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn shows_each_link_once_and_the_hint() {
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(
            render_chain(&error, Some("use another disk")),
            "error: read image `demo`\ncaused by: disk on fire\nhint: use another disk\n"
        );
    }
}
