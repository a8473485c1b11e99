//! Integration tests of the sensor.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they compared"
)]

mod conformance;
mod header;
mod identity;
mod legacy;
mod live;
mod recording;
mod resync;
mod shown;
mod steady;
