//! Records, filters and the forms of profiles, from outside.

mod analysis;
mod filter;
mod output;
mod record;
mod tailor;
