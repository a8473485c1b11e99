//! Records, filters and the forms of profiles, from outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod analysis;
mod filter;
mod output;
mod record;
mod tailor;
