//! The forms in which engines and security modules take profiles.

mod engines;
mod modules;
mod paths;

pub use engines::{kubernetes, oci, policy};
pub use modules::{apparmor, selinux};
pub use paths::writable_folders;

/// A name that every form takes: lower-case letters, digits and `-`.
pub fn plain_name(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().take(63) {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => out.push(c),
            _ if out.ends_with('-') || out.is_empty() => {}
            _ => out.push('-'),
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "workload".into() } else { out.into() }
}
