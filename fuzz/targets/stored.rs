//! Stored inventories, what looks found since, and the state: files of any bytes, or of any parts
//! under right digests, are looked at or named as unreadable, and stop nothing.
#![no_main]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_fuzz::{Input, NOW, scratch};
use palisade_scan::db::{Advisory, Database, DatabaseBuilder, Range, RangeEnd};
use palisade_scan::stored::{LookOptions, Store};

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("write to memory");
    encoder.finish().expect("write to memory")
}

/// Two databases, of which the second says more about one package.
fn databases() -> &'static [Database; 2] {
    static DATABASES: OnceLock<[Database; 2]> = OnceLock::new();
    DATABASES.get_or_init(|| {
        [1, 2].map(|n| {
            let mut builder = DatabaseBuilder::new();
            for id in 0..n {
                let ranges = vec![Range { introduced: None, end: RangeEnd::Fixed("2".into()) }];
                let id = format!("CVE-2026-{id:04}");
                let advisory = Advisory { id, ranges, feed: "f".into(), ..Advisory::default() };
                builder.add("npm", "a", advisory).expect("add an advisory");
            }
            let path = scratch().join(format!("{n}.db"));
            builder.write(&path, NOW).expect("write a database");
            Database::open(&path).expect("open what was written")
        })
    })
}

/// The entry of an image whose digest is that of nothing, evaluated by the first database or not.
fn entry(shape: u8) -> Vec<u8> {
    let database = if shape & 1 == 0 { databases()[0].digest() } else { Digest::of(b"other") };
    format!(
        r#"{{"subject":{{"name":"a","digest":"{}","kind":"image"}},"stored":"{}",
            "database":"{database}","program":"1","n_packages":1,"n_vulnerabilities":1,
            "functions":true}}"#,
        Digest::of(b""),
        NOW.rfc3339()
    )
    .into_bytes()
}

/// A file whose digests are right and whose parts are anything.
fn inventory(input: &mut Input<'_>) -> Vec<u8> {
    let shape = input.byte();
    let entry = if shape & 2 == 0 { entry(shape) } else { input.long_chunk().to_vec() };
    let packed = |input: &mut Input<'_>| {
        let raw = input.long_chunk();
        if shape & 4 == 0 { deflate(raw) } else { raw.to_vec() }
    };
    let rest = packed(input);
    let n_groups = u32::from(input.byte() % 4);
    let mut index = Digest::of(&rest).as_bytes().to_vec();
    index.extend(n_groups.to_le_bytes());
    let mut bodies = Vec::new();
    for _ in 0..2 * n_groups {
        let part = packed(input);
        index.extend((part.len() as u32).to_le_bytes());
        index.extend(Digest::of(&part).as_bytes());
        bodies.extend(part);
    }
    // The key of the package that the databases say different things of, and any others.
    let key = Digest::of(b"npm\0a").as_bytes()[..8].to_vec();
    for group in 0..n_groups {
        index.extend_from_slice(if shape & 8 == 0 { &key } else { input.take(8) });
        index.extend(group.to_le_bytes());
    }
    let mut file = b"PALINV\0\x02".to_vec();
    for n in [entry.len(), index.len(), rest.len()] {
        file.extend((n as u32).to_le_bytes());
    }
    let digest = Digest::of(&[&file[..], &entry, &index].concat());
    [&file[..], digest.as_bytes(), &entry, &index, &rest, &bodies].concat()
}

/// What looks found since, which says of `file` whatever the input does.
fn answers(input: &mut Input<'_>, file: &[u8]) -> Vec<u8> {
    let digest: [u8; 32] =
        file.get(20..52).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    let digest = Digest::from_bytes(digest);
    let head = if input.byte() & 1 == 0 {
        let entry = String::from_utf8_lossy(&entry(0)).into_owned();
        format!(r#"{{"file":"{digest}","entry":{entry}}}"#).into_bytes()
    } else {
        input.long_chunk().to_vec()
    };
    let body = input.long_chunk();
    let mut bytes = b"PALANS\0\x01".to_vec();
    for part in [&head[..], body] {
        bytes.extend((part.len() as u32).to_le_bytes());
    }
    bytes.extend(head);
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(digest.as_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let folder: PathBuf = scratch().join("inventories");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let put = |name: String, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).expect("write a file");
    };
    let shape = input.byte();
    let file = if shape & 1 == 0 { inventory(&mut input) } else { input.long_chunk().to_vec() };
    put(format!("{}.inventory", Digest::of(b"").hex()), &file);
    let since = if shape & 2 == 0 {
        answers(&mut input, &file)
    } else {
        [b"PALANS\0\x01", input.long_chunk()].concat()
    };
    let name = Digest::of(&since);
    put(format!("{}.answers", name.hex()), &since);
    let state = if shape & 4 == 0 {
        let first = databases()[0].digest();
        format!(r#"{{"program":"1","chain":["{first}"],"answers":"{name}","n_evicted":0}}"#)
            .into_bytes()
    } else {
        input.0.to_vec()
    };
    put("state.json".into(), &state);
    std::fs::hard_link(scratch().join("1.db"), folder.join("last.db")).expect("link the database");

    let store = Store::new(&folder);
    let _ = store.list();
    let options = LookOptions {
        now: NOW,
        program: "1",
        details: shape & 8 == 0,
        full: false,
        n_threads_max: 1,
        watch: None,
    };
    let mut last = None;
    // Databases as they come, and the last of them once more, by which nothing is new.
    for database in [&databases()[0], &databases()[1], &databases()[1]] {
        let (mut n_seen, mut n_new) = (0, 0);
        let mut look = || {
            (n_seen, n_new) = (0, 0);
            store.look(database, &options, &mut |seen| {
                n_seen += 1;
                n_new += seen.new.len();
            })
        };
        let summary = look().unwrap_or_else(|_| {
            last = None;
            // Whatever stopped it does not stop the next one.
            look().expect("look once more")
        });
        assert_eq!(summary.n_inventories, n_seen);
        assert_eq!(summary.n_inventories + summary.n_unreadable, 1);
        if last == Some(database.digest()) {
            assert_eq!(n_new, 0, "what was told is new again");
        }
        store.acknowledge(summary.time).expect("acknowledge");
        last = Some(database.digest());
    }
});
