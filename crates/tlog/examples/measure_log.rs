//! Measures the log: durable appends in a second, and proofs in a large tree.
//! usage: measure_log FOLDER [ENTRIES]: the folder is made, filled and left.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;
use std::time::Instant;

use palisade_tlog::merkle::{prove_inclusion, verify_inclusion};
use palisade_tlog::tile::TiledTree;
use palisade_tlog::{Folder, Hash, KeyKind, Log, LogOptions, SigningKey, Writer};

const CLIENTS: usize = 64;
const APPENDS: usize = 200;

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let n: u64 = args.next().map_or(10_000_000, |text| text.parse().unwrap());
    let key = || SigningKey::from_seed("log.example", &[7; 32], KeyKind::Ed25519).unwrap();

    // Every append waits until it is on the disk, with its checkpoint.
    let writer = Writer::open(&folder.join("appends"), key()).unwrap();
    let log = Log::start(writer, LogOptions::default(), None).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let log = &log;
            scope.spawn(move || {
                for i in 0..APPENDS {
                    log.append(format!("{client} {i} {}", "x".repeat(600)).into_bytes()).unwrap();
                }
            });
        }
    });
    let rate = (CLIENTS * APPENDS) as f64 / start.elapsed().as_secs_f64();
    log.stop();
    println!("durable appends, {CLIENTS} clients: {rate:.0} a second");

    let path = folder.join("large");
    let mut writer = Writer::open(&path, key()).unwrap();
    writer.without_sync();
    while writer.size() < n {
        let first = writer.size();
        let last = n.min(first + 8192);
        let entries: Vec<Vec<u8>> = (first..last).map(|i| i.to_le_bytes().to_vec()).collect();
        writer.append(&entries).unwrap();
    }
    writer.publish(&[]).unwrap();
    let tree = Folder::open(&path).unwrap();
    let root = palisade_tlog::merkle::root_at(&mut TiledTree::new(&tree, n), n).unwrap();
    let mut times = Vec::new();
    for i in 0..1000_u64 {
        let index = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % n;
        let start = Instant::now();
        let proof = prove_inclusion(&mut TiledTree::new(&tree, n), index, n).unwrap().unwrap();
        times.push(start.elapsed());
        verify_inclusion(Hash::of_leaf(&index.to_le_bytes()), index, n, &proof, &root).unwrap();
    }
    times.sort();
    println!("proof in {n} entries: median {:?}, 99th of 100 {:?}", times[500], times[990]);
}
