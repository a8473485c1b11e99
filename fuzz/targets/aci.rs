//! App Container Images: any bytes, or a manifest of any bytes in an otherwise sound file.
//!
//! What opens has a walk that obeys its own promises, twice the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{TarEntry, scratch_file, tar, walk_checked};
use palisade_image::{Image, OpenOptions};
use palisade_model::Target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let file = if choice.is_multiple_of(2) {
        scratch_file("image.aci", rest)
    } else {
        let file = TarEntry::file("rootfs/etc/hostname", b"x");
        scratch_file("image.aci", &tar(&[TarEntry::file("manifest", rest), file]))
    };
    let Ok(image) = Image::open(&Target::Aci(file), &OpenOptions::default()) else { return };
    image.verify_blobs().expect("the digest is of what was opened");
    assert_eq!(walk_checked(&image), walk_checked(&image));
});
