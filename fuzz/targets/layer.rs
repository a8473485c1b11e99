//! Layers: any bytes, or any entries. A walk presents paths inside the image only; an
//! extraction writes inside its folder only, whole or not at all.
#![no_main]

use std::io::Write as _;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_fuzz::{Input, NOW, TarEntry, layers, scratch, scratch_file, tar, walk_checked};
use palisade_image::{
    CapabilityXattr, ExtractOptions, Image, Limits, OpenOptions, Ownership, extract_layer,
};
use palisade_model::Target;
use palisade_policy::Checks;
use palisade_scan::{Look, ScanOptions, inventory_of, scan_image};
use serde_json::json;

/// An archive of `docker save` of these layers.
fn archive(plain: &[Vec<u8>], compress: bool) -> Vec<u8> {
    let names: Vec<String> = (0..plain.len()).map(|n| format!("{n}.tar")).collect();
    let stored: Vec<Vec<u8>> = plain.iter().map(|layer| store(layer, compress)).collect();
    let diff_ids: Vec<Digest> = plain.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["x:1"], "Layers": names }]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let mut entries = vec![
        TarEntry::file("manifest.json", manifest.as_bytes()),
        TarEntry::file("c.json", config.as_bytes()),
    ];
    entries.extend(names.iter().zip(&stored).map(|(name, layer)| TarEntry::file(name, layer)));
    tar(&entries)
}

fn store(layer: &[u8], compress: bool) -> Vec<u8> {
    if !compress {
        return layer.to_vec();
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(layer).expect("write to memory");
    encoder.finish().expect("write to memory")
}

fn extract(image: &Image, index: usize, options: &ExtractOptions) {
    let place = scratch().join("place");
    let folder = place.join("layers");
    std::fs::create_dir_all(&folder).expect("make a scratch folder");
    let canary = place.join("canary");
    std::fs::write(&canary, b"canary").expect("write a scratch file");
    let dest = folder.join("layer");
    let extracted = extract_layer(image, index, &dest, options);
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("list a scratch folder");
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&place), ["canary", "layers"]);
    assert_eq!(std::fs::read(&canary).expect("read the canary"), b"canary");
    match extracted {
        Ok(_) => {
            assert_eq!(names(&folder), ["layer"]);
            let open = OpenOptions::default();
            let unpacked = Image::open(&Target::Folder(dest.clone()), &open);
            walk_checked(&unpacked.expect("open what was unpacked"));
        }
        Err(_) => assert!(names(&folder).is_empty(), "{:?}", names(&folder)),
    }
    std::fs::remove_dir_all(&place).expect("remove a scratch folder");
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let shape = input.byte();
    let plain = if shape & 1 == 0 { vec![input.0.to_vec()] } else { layers(input) };
    let file = scratch_file("image.tar", &archive(&plain, shape & 2 != 0));
    let target = Target::Archive { file, selector: None };
    let limits =
        Limits { ratio_floor_bytes: 16 << 20, layer_bytes_max: 64 << 20, ..Limits::default() };
    let image = Image::open(&target, &OpenOptions { limits, ..OpenOptions::default() });
    let image = image.expect("open an archive that is right but for its layers");
    assert_eq!(walk_checked(&image), walk_checked(&image));
    for index in 0..image.layers.len() {
        let options = ExtractOptions {
            ownership: Ownership::Ignore,
            capabilities: CapabilityXattr::Drop,
            keep_setuid: shape & 4 != 0,
            user_overlay_xattrs: shape & 8 != 0,
            sync: false,
        };
        extract(&image, index, &options);
    }
    let _ = inventory_of(&image);
    // Scans prepare some hundred expressions, which costs more than all of the above.
    if shape & 32 == 0 {
        return;
    }
    let options = ScanOptions {
        now: NOW,
        database: None,
        ignores: &[],
        checks: &Checks::default(),
        secrets: shape & 16 != 0,
        look: Look::default(),
        minimality: None,
    };
    if let Ok(report) = scan_image(&image, &options) {
        palisade_scan::report::sarif::render(&report, "0").expect("a report is JSON");
        palisade_scan::report::table::summary(&report, 0);
    }
});
