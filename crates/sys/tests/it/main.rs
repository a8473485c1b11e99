//! Integration tests of `palisade-sys`; those in `root` need root and a real kernel.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![expect(
    clippy::print_stderr,
    reason = "skips and figures are for the reader of the test's output"
)]

mod root;

/// Whether root tests can run; says on stderr why not.
fn is_root() -> bool {
    let root = palisade_sys::facts::is_privileged();
    if !root {
        eprintln!("skipped: needs root with CAP_SYS_ADMIN");
    }
    root
}
