//! What cargo-auditable records in a Rust program: the crates that it is made of, as
//! compressed JSON in the section `.dep-v0` (cargo-auditable `PARSING.md`).

use std::io::Read as _;

use object::{Object as _, ObjectSection as _};
use palisade_model::PackageKind;
use serde::Deserialize;

use crate::Sink;
use crate::catalog::CatalogFile;

const SECTION: &str = ".dep-v0";
/// Largest record, inflated, in bytes. One of a thousand crates has 200 KiB.
const RECORD_BYTES_MAX: u64 = 16 << 20;
/// Crates of one program.
const CRATES_MAX: usize = 100_000;

#[derive(Deserialize)]
struct Record {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    /// `build` for what only ran while building; `runtime` is the default.
    #[serde(default)]
    kind: Option<String>,
}

/// Adds the crates of a program that has such a record.
pub(super) fn audit(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Ok(elf) = object::File::parse(file.bytes) else {
        return;
    };
    let Some(data) = elf.section_by_name(SECTION).and_then(|section| section.data().ok()) else {
        return;
    };
    let mut json = Vec::new();
    let inflater = flate2::bufread::ZlibDecoder::new(data);
    let read = inflater.take(RECORD_BYTES_MAX + 1).read_to_end(&mut json);
    if read.is_err() || json.len() as u64 > RECORD_BYTES_MAX {
        return sink.gap(file.path, "its record of crates is damaged or too large");
    }
    let record: Record = match serde_json::from_slice(&json) {
        Ok(record) => record,
        Err(error) => {
            return sink.gap(file.path, format!("its record of crates is not JSON: {error}"));
        }
    };
    if record.packages.len() > CRATES_MAX {
        sink.gap(file.path, "more crates in one program than are kept");
    }
    let names = record.packages.iter().take(CRATES_MAX).map(|found| found.name.as_str());
    sink.program(super::symbols::of_rust(file.path, file.bytes, names));
    for found in record.packages.into_iter().take(CRATES_MAX) {
        if found.kind.as_deref() == Some("build") {
            continue;
        }
        let mut package = file.package(PackageKind::Cargo, found.name, found.version);
        package.files = vec![package.evidence.clone()];
        sink.add(package);
    }
}
