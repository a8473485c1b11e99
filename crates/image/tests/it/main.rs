//! Integration tests: whole images, honest and hostile.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why it was skipped"
)]

mod aci;
mod archives;
mod build;
mod extract;
mod folders;
mod layouts;
mod lies;
mod stores;
mod walk;
