//! Small files and values of an image: `os-release`, `passwd`, `shadow`, capabilities.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::Input;
use palisade_packages::{deb822, os_release};
use palisade_scan::configuration::has_empty_password;
use palisade_scan::files::{Inspector, decode_capabilities};
use palisade_sensor::state::users::Accounts;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.form(5) {
        0 => {
            if let Some(found) = os_release::parse(input.0) {
                assert!(!found.id.is_empty() && !found.name.is_empty(), "{found:?}");
                assert!(!found.id.contains(|c: char| c.is_ascii_uppercase()), "{found:?}");
                for value in [&found.id, &found.name, &found.version_id, &found.codename] {
                    assert!(value.chars().count() <= 256 && !value.contains('\n'), "{found:?}");
                }
            }
        }
        1 => {
            let mut inspector = Inspector::new();
            inspector.see_passwd(input.0);
            inspector.finish(&[]);
            let mut accounts = Accounts::default();
            accounts.read_passwd(b"", input.0);
            accounts.read_group(b"", input.0);
            // The shortest line is `::5`.
            assert!(accounts.users_of(b"").count() <= input.0.len().div_ceil(4));
        }
        2 => {
            has_empty_password(input.0);
        }
        3 => {
            if let Some(names) = decode_capabilities(input.0) {
                assert!(names.len() <= 64 && input.0.len() >= 12, "{names:?}");
            }
        }
        _ => {
            let n_lines = input.0.split(|byte| *byte == b'\n').count();
            let all: Vec<_> = deb822::paragraphs(input.0).collect();
            assert!(all.len() <= n_lines && all.iter().all(|paragraph| !paragraph.is_empty()));
        }
    }
});
