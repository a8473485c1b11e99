//! The JSON documents of an image: index, manifest, configuration, `docker save`'s manifest.
//!
//! The input is one of them; the others are written to name it truly, so that it is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_fuzz::{Input, NOW, TarEntry, scratch_file, tar, walk_checked};
use palisade_image::{Image, OpenOptions};
use palisade_model::Target;
use palisade_scan::{ScanOptions, scan_image};
use serde_json::json;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn descriptor(media_type: &str, blob: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": Digest::of(blob), "size": blob.len() })
}

fn index_of(media_type: &str, blob: &[u8]) -> Vec<u8> {
    json!({ "schemaVersion": 2, "manifests": [descriptor(media_type, blob)] }).to_string().into()
}

/// An archive in which `document` stands at the place that `place` chooses.
fn archive(place: u8, document: &[u8]) -> Vec<u8> {
    let blob_path = |blob: &[u8]| format!("blobs/sha256/{}", Digest::of(blob).hex());
    let named = blob_path(document);
    let layout = TarEntry::file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    match place % 5 {
        0 => tar(&[layout, TarEntry::file("index.json", document)]),
        1 | 2 => {
            let media_type = if place % 5 == 1 { MANIFEST } else { INDEX };
            let index = index_of(media_type, document);
            tar(&[
                layout,
                TarEntry::file("index.json", &index),
                TarEntry::file(&named, document),
            ])
        }
        3 => {
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
                "config": descriptor(CONFIG, document),
            });
            let manifest = manifest.to_string().into_bytes();
            let (path, index) = (blob_path(&manifest), index_of(MANIFEST, &manifest));
            tar(&[
                layout,
                TarEntry::file("index.json", &index),
                TarEntry::file(&path, &manifest),
                TarEntry::file(&named, document),
            ])
        }
        _ => tar(&[
            TarEntry::file("manifest.json", document),
            TarEntry::file("c.json", br#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#),
        ]),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let place = input.byte();
    let file = scratch_file("image.tar", &archive(place, input.0));
    let target = Target::Archive { file, selector: None };
    let Ok(image) = Image::open(&target, &OpenOptions::default()) else { return };
    walk_checked(&image);
    let options = ScanOptions {
        now: NOW,
        database: None,
        ignores: &[],
        checks: &palisade_policy::Checks::default(),
        secrets: true,
        look: palisade_scan::Look::default(),
        minimality: None,
    };
    if let Ok(report) = scan_image(&image, &options) {
        palisade_scan::report::sarif::render(&report, "0").expect("a report is JSON");
        palisade_scan::report::json::render(&report).expect("a report is JSON");
    }
});
