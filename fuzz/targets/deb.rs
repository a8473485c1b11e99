//! The changelog in a `.deb`: any bytes, or any `data.tar` in a package that is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Input, layers};
use palisade_scan::feeds::deb::{CHANGELOG_BYTES_MAX, changelog_of};

fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let header =
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len());
    let padding: &[u8] = if content.len() % 2 == 0 { b"" } else { b"\n" };
    [header.as_bytes(), content, padding].concat()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let shape = input.byte();
    let name =
        ["data.tar", "data.tar.gz", "data.tar.xz", "data.tar.zst"][usize::from(shape >> 2) % 4];
    let package = |content: &[u8]| {
        let members = [member("debian-binary", b"2.0\n"), member(name, content)].concat();
        [b"!<arch>\n", &members[..]].concat()
    };
    let bytes = match shape & 3 {
        0 => input.0.to_vec(),
        1 => package(input.0),
        _ => [b"!<arch>\n", &member("data.tar", &layers(input)[0])[..]].concat(),
    };
    if let Ok(Some(changelog)) = changelog_of(&bytes[..]) {
        assert!(changelog.len() as u64 <= CHANGELOG_BYTES_MAX);
    }
});
