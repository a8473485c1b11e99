//! Times the reading of an index of an RPM repository.
//! usage: `bench_primary [primary.xml.gz]` -> rows `| what | measured |`
//!
//! Without a file it makes one of 70,000 packages (100 MB), as large as those of Fedora.

#![expect(clippy::print_stdout, reason = "an example for people")]

use std::io::{BufReader, Read as _, Write as _};
use std::time::Instant;

use palisade_patch::read_primary;

const PACKAGES: usize = 70_000;
/// Relations of one package.
const RELATIONS: usize = 10;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let bytes = match std::env::args().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => made()?,
    };
    let mut plain = flate2::read::MultiGzDecoder::new(bytes.as_slice());
    let n_bytes = std::io::copy(&mut plain, &mut std::io::sink())?;
    let before = peak_mib()?;
    let started = Instant::now();
    let input = BufReader::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()));
    // An image has some hundred packages.
    let found = read_primary(input, &|name| name.ends_with("00"))?;
    let time = started.elapsed();
    println!(
        "| {} packages, {:.0} MB in {:.0} MB, {} of them kept | {:.2} s |",
        found.n_packages,
        n_bytes as f64 / 1e6,
        bytes.len() as f64 / 1e6,
        found.packages.len(),
        time.as_secs_f64()
    );
    println!("| resident memory, peak before and after | {before} MiB, {} MiB |", peak_mib()?);
    Ok(())
}

fn made() -> Result<Vec<u8>, AnyError> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writeln!(gzip, "<metadata xmlns:rpm=\"r\" packages=\"{PACKAGES}\">")?;
    for n in 0..PACKAGES {
        writeln!(
            gzip,
            "<package type=\"rpm\"><name>package-{n}</name><arch>x86_64</arch>\
             <version epoch=\"0\" ver=\"1.{n}\" rel=\"1.fc40\"/>\
             <checksum type=\"sha256\" pkgid=\"YES\">{n:064x}</checksum>\
             <summary>What package {n} is for, in one line of a usual length</summary>\
             <description>{}</description><size package=\"{n}\" installed=\"9\"/>\
             <location href=\"Packages/p/package-{n}.rpm\"/><format><rpm:requires>",
            "A line of the description that nobody needs here. ".repeat(6)
        )?;
        for at in 0..RELATIONS {
            writeln!(
                gzip,
                "<rpm:entry name=\"libpackage-{}.so.1()(64bit)\" flags=\"GE\" epoch=\"0\" ver=\"1\"/>",
                n + at
            )?;
        }
        writeln!(gzip, "</rpm:requires></format></package>")?;
    }
    writeln!(gzip, "</metadata>")?;
    Ok(gzip.finish()?)
}

/// `proc_pid_status(5)`.
fn peak_mib() -> Result<u64, AnyError> {
    let mut status = String::new();
    std::fs::File::open("/proc/self/status")?.read_to_string(&mut status)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024)
}
