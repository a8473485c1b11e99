//! `policy.json` of containers/image: a policy that is read decides every image, and one
//! that allows an unsigned image says so in so many words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_trust::containers::{ContainersPolicy, Image, Reference, StoredSignature};

fuzz_target!(|data: &[u8]| {
    let name = std::str::from_utf8(data).ok().and_then(|text| Reference::parse(text).ok());
    if let Some(name) = &name {
        assert_eq!(Reference::parse(&name.to_string()).as_ref(), Ok(name));
    }
    let Ok(policy) = ContainersPolicy::parse(data) else { return };
    let text = String::from_utf8_lossy(data);
    let name = Reference::parse("registry.example/app:1").expect("a name");
    for mut image in [
        Image::docker(name, Some(Digest::of(b"manifest"))),
        Image::folder("dir", "/images/app", "", Some(Digest::of(b"manifest"))),
        Image::folder("oci", "/images/app", "1", None),
    ] {
        image.signatures.push(StoredSignature::from_file(data));
        if policy.evaluate(&image, 1_800_000_000).is_ok() {
            // Escapes may hide the word from this look, not from the reader.
            assert!(text.contains("insecureAcceptAnything") || text.contains("\\u"));
        }
    }
});
