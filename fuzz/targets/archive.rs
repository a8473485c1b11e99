//! Archives of images: any bytes, or a document of the archive replaced by any bytes.
//!
//! What opens has a walk that obeys its own promises, twice the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{scratch_file, walk_checked};
use palisade_image::{Image, OpenOptions};
use palisade_model::Target;

fuzz_target!(|data: &[u8]| {
    let file = scratch_file("image.tar", data);
    let target = Target::Archive { file, selector: None };
    let Ok(image) = Image::open(&target, &OpenOptions::default()) else { return };
    let verified = image.verify_blobs();
    let walked = walk_checked(&image);
    assert!(verified.is_ok() || image.layers.is_empty() || walked.is_none());
    assert_eq!(walked, walk_checked(&image));
});
