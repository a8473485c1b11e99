//! Files of `registries.d`. What is read without an error names folders and servers alone, and
//! leaves no folder by the way up.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use palisade_base::{Digest, Severity};
use palisade_trust::containers::{LookasideFile, Reference, RegistriesD};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut all = RegistriesD::default();
    let problems = all.add(text, Path::new("a.yaml"));
    if problems.iter().any(|it| it.severity == Severity::Error) {
        return;
    }
    for name in ["h.example/team/app:1", "h.example:5000/a@sha256:0", "busybox"] {
        let Ok(image) = Reference::parse(name) else { continue };
        let _ = all.uses_attachments(&image);
        let Some(base) = all.lookaside(&image) else { continue };
        match base.signature(&image, &Digest::of(b""), 1) {
            LookasideFile::Path(path) => {
                assert!(path.is_absolute());
                assert!(path.components().all(|it| it.as_os_str() != ".."));
            }
            LookasideFile::Url(url) => {
                assert!(url.starts_with("http://") || url.starts_with("https://"));
            }
        }
    }
});
