//! Sign and verify images and evidence.
