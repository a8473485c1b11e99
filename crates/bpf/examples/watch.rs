//! Loads the probes named as arguments (all of them by default) and counts what comes, until standard input ends.
#![expect(clippy::print_stdout, reason = "an example for people")]

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_base::{Explain as _, render_chain};
use palisade_bpf::{Interest, OpenClasses, OpenFilter, OpenTexts, Options, PathText, Sensor};

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut interest = if names.is_empty() { Interest::all() } else { Interest::default() };
    for name in &names {
        if name == "writes" {
            let mut texts = OpenTexts::default();
            texts.add_always(!OpenClasses::READ);
            texts.add_text(PathText::start("/etc/shadow"), OpenClasses::READ);
            interest.opens = OpenFilter::Only(texts);
        } else if let Err(error) = interest.add(name) {
            print!("{}", render_chain(&error, None));
            return;
        }
    }
    let start = Instant::now();
    let mut sensor = match Sensor::load(&interest, &Options::default()) {
        Ok(sensor) => sensor,
        Err(error) => return print!("{}", render_chain(&error, error.hint().as_deref())),
    };
    println!(
        "loaded in {:?}, kernel memory {} KiB",
        start.elapsed(),
        sensor.kernel_memory_bytes() / 1024
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Whatever arrives is thrown away; only the end matters, and an error is an end.
            let _ended = std::io::stdin().read_to_end(&mut Vec::new());
            done.store(true, Ordering::Relaxed);
        });
        let (mut n, mut bytes) = (0_u64, 0_u64);
        while !done.load(Ordering::Relaxed) {
            let result = sensor.poll(Duration::from_millis(100), &mut |record| {
                n += 1;
                bytes += record.bytes().len() as u64;
            });
            if let Err(error) = result {
                return print!("{}", render_chain(&error, None));
            }
        }
        println!("{n} records, {} bytes each", bytes.checked_div(n).unwrap_or(0));
        for (class, counts) in sensor.losses().iter() {
            println!("{:<12} {counts:?}", class.name());
        }
    });
}
