//! The advisory database: a file of any bytes, or of any blocks under right checksums, gives
//! answers or errors; what is built is read back.
#![no_main]

use std::io::Write as _;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_fuzz::{Input, NOW, scratch_file};
use palisade_model::Severity;
use palisade_scan::db::{
    Advisory, Database, DatabaseBuilder, Range, RangeEnd, Status, VulnerableSymbols, delta,
};

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("write to memory");
    encoder.finish().expect("write to memory")
}

/// A file whose digests are right and whose blocks are anything.
fn file(mut input: Input<'_>) -> Vec<u8> {
    let shape = input.byte();
    let metadata = if shape & 1 == 0 {
        format!(
            r#"{{"feeds":[{{"name":"f","n_records":1}}],"ecosystems":{{"e":1}},"compiled":"{}"}}"#,
            NOW.rfc3339()
        )
        .into_bytes()
    } else {
        input.long_chunk().to_vec()
    };
    let (mut blocks, mut entries, mut keys, mut n_blocks) =
        (vec![0; 128], Vec::new(), Vec::new(), 0_u32);
    let mut directory = Vec::new();
    if shape & 2 == 0 {
        while !input.is_empty() {
            let (key, raw) = (input.chunk(), input.long_chunk());
            let lie = u32::from(input.byte() & 3);
            let packed = deflate(raw);
            keys.extend_from_slice(key);
            entries.extend_from_slice(&(keys.len() as u32).to_le_bytes());
            entries.extend_from_slice(&(blocks.len() as u64).to_le_bytes());
            entries.extend_from_slice(&(packed.len() as u32).to_le_bytes());
            entries.extend_from_slice(&(raw.len() as u32 + lie).to_le_bytes());
            entries.extend_from_slice(Digest::of(&packed).as_bytes());
            blocks.extend(packed);
            n_blocks += 1;
        }
        directory.extend_from_slice(&n_blocks.to_le_bytes());
        directory.extend(entries);
        directory.extend(keys);
    } else {
        directory.extend_from_slice(input.0);
    }
    let mut header = [0; 128];
    header[..8].copy_from_slice(b"PALADVDB");
    header[8] = 2;
    let lengths = [blocks.len(), directory.len(), metadata.len()];
    for (index, number) in
        [NOW.as_nanos(), 1].into_iter().chain(lengths.map(|n| n as u64)).enumerate()
    {
        header[16 + 8 * index..24 + 8 * index].copy_from_slice(&number.to_le_bytes());
    }
    header[64..96].copy_from_slice(Digest::of(&directory).as_bytes());
    header[96..].copy_from_slice(Digest::of(&metadata).as_bytes());
    blocks[..128].copy_from_slice(&header);
    let mut out = [blocks, directory, metadata].concat();
    out.extend_from_slice(Digest::of(&header).as_bytes());
    out.extend_from_slice(&[0; 96]);
    out
}

fn advisory(input: &mut Input<'_>) -> Advisory {
    let texts = |input: &mut Input<'_>| (0..input.byte() % 4).map(|_| input.text()).collect();
    let mut ranges = Vec::new();
    for _ in 0..input.byte() % 4 {
        let introduced = (input.byte() & 1 == 0).then(|| input.text());
        let end = match input.byte() % 3 {
            0 => RangeEnd::Open,
            1 => RangeEnd::Fixed(input.text()),
            _ => RangeEnd::LastAffected(input.text()),
        };
        ranges.push(Range { introduced, end });
    }
    Advisory {
        id: input.text(),
        aliases: texts(input),
        title: input.text(),
        severity: input.choose(&Severity::ALL),
        feed: input.text(),
        ranges,
        versions: texts(input),
        status: input.choose(&Status::ALL),
        module: (input.byte() & 1 == 0).then(|| input.text()),
        cvss: (input.byte() & 1 == 0).then(|| input.text()),
        fixes: texts(input),
        symbols: (0..input.byte() % 3)
            .map(|_| VulnerableSymbols {
                path: input.text(),
                names: texts(input),
                goos: texts(input),
                goarch: texts(input),
            })
            .collect(),
    }
}

/// What is put in must come out.
fn round_trip(mut input: Input<'_>) {
    let mut builder = DatabaseBuilder::new();
    let mut expected = Vec::new();
    while !input.is_empty() && expected.len() < 64 {
        let (ecosystem, package) = (input.text(), input.text());
        let one = advisory(&mut input);
        builder.add(&ecosystem, &package, one.clone()).expect("few records");
        expected.push((ecosystem, package, one));
    }
    let Ok(bytes) = builder.build(NOW) else { return };
    let database = Database::open(&scratch_file("built.db", &bytes)).expect("open what was built");
    database.verify().expect("verify what was built");
    let mut other = DatabaseBuilder::new();
    other.add("e", "p", Advisory::default()).expect("one record");
    let other = other.build(NOW).expect("build one record");
    let other = Database::open(&scratch_file("other.db", &other)).expect("open what was built");
    let difference = delta::between(&other, &database).expect("a delta of whole files");
    let made = delta::apply(&other, &difference, Path::new("d")).expect("apply what was made");
    assert_eq!(made, bytes);
    let changes = database.changed_since(&other).expect("compare whole files");
    assert!(!changes.packages.is_empty() || expected.is_empty());
    for (ecosystem, package, one) in &expected {
        // A NUL in a name would make keys ambiguous; such are left out.
        if format!("{ecosystem}{package}").contains('\0') {
            continue;
        }
        let found = database.advisories(ecosystem, package).expect("read what was built");
        assert!(found.contains(one), "{ecosystem:?} {package:?} {one:?}: {found:?}");
        let pairs = database.packages_of(&one.id).expect("read what was built");
        assert!(pairs.iter().any(|(e, p)| e == ecosystem && p == package), "{pairs:?}");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let bytes = match input.byte() % 3 {
        0 => input.0.to_vec(),
        1 => file(input),
        _ => return round_trip(input),
    };
    let Ok(database) = Database::open(&scratch_file("any.db", &bytes)) else { return };
    let _ = delta::apply(&database, &bytes, Path::new("d"));
    let _ = database.ids_from("", 10);
    let _ = (database.verify(), database.info(), database.has_ecosystem("e"));
    for package in ["p", "", "q"] {
        let _ = database.advisories("e", package);
        let _ = database.packages_of(package);
        let _ = database.is_exploited(package);
    }
});
