//! Integration tests of `palisade-runtime`.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![expect(
    clippy::print_stderr,
    reason = "skips and figures are for the reader of the test's output"
)]

mod bench;
mod inject;
mod killed;
mod root;
