//! Tests against the running kernel. They need root; without it they say so and return.
#![expect(unsafe_code, reason = "makes system calls that the standard library has no function for")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod event;
mod root;
