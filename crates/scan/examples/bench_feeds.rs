//! Times the advisory database and the stored inventories on real feeds, for `make bench`.
//! usage: `bench_feeds FEEDS_DIR` -> rows `| what | measured |`
//!
//! CPU time is that of the process, so that a busy machine does not change it much.

#![expect(clippy::print_stdout, reason = "an example for people")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade_base::{Digest, Timestamp};
use palisade_model::package::{Inventory, Subject};
use palisade_model::{Distribution, Package, PackageKind};
use palisade_scan::db::{Advisory, Database, DatabaseBuilder, Range, RangeEnd};
use palisade_scan::feeds::{alpine, kev, osv};
use palisade_scan::matching::find_vulnerabilities;
use palisade_scan::stored::{Evaluation, LookOptions, Store};

const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);
/// Inventories that are stored, and packages of each.
const INVENTORIES: usize = 10_000;
const PACKAGES: usize = 500;
/// Advisories by which a newer database differs.
const DELTA: usize = 100;
/// One stored image of so many has a package that only the first newer database speaks of.
const RARE: usize = 20;

type AnyError = Box<dyn std::error::Error>;
/// A package of which the database has an advisory.
type Known = (PackageKind, String);

fn main() -> Result<(), AnyError> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [feeds] = &args[..] else {
        let [part, feeds, folder] = &args[..] else {
            return Err("usage: bench_feeds FEEDS_DIR".into());
        };
        return match part.to_str() {
            Some("compile") => compiled(feeds, folder),
            Some("match") => matched(folder),
            _ => looked(folder),
        };
    };
    // A process for each part, so that the memory of one is not counted for another.
    let folder = tempfile::tempdir()?;
    for part in ["compile", "match", "look"] {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        if !command.arg(part).arg(feeds).arg(folder.path()).status()?.success() {
            return Err(part.into());
        }
    }
    Ok(())
}

/// Compiles the feeds, and twice with some advisories more.
fn compiled(feeds: &Path, folder: &Path) -> Result<(), AnyError> {
    let older = folder.join("older.db");
    let started = cpu()?;
    let mut builder = compile(feeds)?;
    let n_bytes = builder.write(&older, NOW)?;
    let what = format!("all feeds compiled, {} records: CPU, size", builder.n_records());
    let mib = n_bytes as f64 / f64::from(1 << 20);
    row(&what, &format!("{:.1} s, {mib:.1} MiB", cpu()?.saturating_sub(started).as_secs_f64()));
    row("its peak memory", &format!("{} MiB", peak_mib()?));

    let known = known(&older, folder)?;
    let (common, rare) = known.split_at(known.len() - DELTA);
    let (rarely, everywhere) = (folder.join("rarely.db"), folder.join("everywhere.db"));
    for (path, of, year) in [(&rarely, rare, 2026), (&everywhere, common, 2027)] {
        for index in 0..DELTA {
            let (kind, name) = &of[index * of.len() / DELTA];
            let ranges = vec![Range { introduced: None, end: RangeEnd::Fixed("99999".into()) }];
            let id = format!("CVE-{year}-{:06}", 990_000 + index);
            let advisory = Advisory { id, ranges, feed: "delta".into(), ..Advisory::default() };
            builder.add(ecosystem(*kind), name, advisory)?;
        }
        builder.write(path, NOW)?;
    }
    Ok(())
}

/// Opens the database, and matches one huge inventory.
fn matched(folder: &Path) -> Result<(), AnyError> {
    let older = folder.join("older.db");
    let opened = median(101, || Database::open(&older).map(drop))?;
    row("database opened, median of 101", &format!("{:.2} ms", opened.as_secs_f64() * 1e3));
    let database = Database::open(&older)?;
    let known = known(&older, folder)?;
    let many = inventory("many", known.iter().cycle().take(10_000), 20);
    let mut n = 0;
    let matched = median(5, || {
        find_vulnerabilities(&many, &database).map(|found| n = found.vulnerabilities.len())
    })?;
    let what = format!("10,000 packages matched ({n} findings), median of 5");
    row(&what, &format!("{:.0} ms", matched.as_secs_f64() * 1e3));
    row("its peak memory", &format!("{} MiB", peak_mib()?));
    Ok(())
}

/// Looks at stored inventories.
fn looked(folder: &Path) -> Result<(), AnyError> {
    let open = |name: &str| Database::open(&folder.join(name));
    let known = known(&folder.join("older.db"), folder)?;
    let newer =
        [("one image of twenty", open("rarely.db")?), ("every image", open("everywhere.db")?)];
    stored(folder, known.split_at(known.len() - DELTA), &open("older.db")?, &newer)
}

/// Stores the inventories, judges them by the older database, and asks the newer ones about them,
/// each of which says something new about packages in some images.
fn stored(
    folder: &Path,
    (common, rare): (&[Known], &[Known]),
    older: &Database,
    newer: &[(&str, Database)],
) -> Result<(), AnyError> {
    let store = Store::new(&folder.join("inventories"));
    let options = LookOptions {
        now: NOW,
        program: "bench",
        details: false,
        full: false,
        n_threads_max: 4,
        watch: None,
    };
    for index in 0..INVENTORIES {
        let usual = common.iter().cycle().skip(index * 37 % common.len()).take(PACKAGES - 1);
        let last = if index % RARE == 0 { &rare[index / RARE % rare.len()] } else { &common[0] };
        let inventory = inventory(&format!("image-{index}"), usual.chain([last]), 200);
        store.put(&inventory, &Evaluation::default(), None, ("bench", NOW))?;
    }
    let (started, mut n_found) = (Instant::now(), 0);
    let summary = store.look(older, &options, &mut |seen| n_found += seen.new.len())?;
    store.acknowledge(summary.time)?;
    let what = format!(
        "{INVENTORIES} stored inventories of {PACKAGES} packages and {} findings, all matched",
        n_found / INVENTORIES
    );
    row(&what, &format!("{:.1} s", started.elapsed().as_secs_f64()));
    for (what, database) in newer {
        // The peak of what came before does not count.
        std::fs::write("/proc/self/clear_refs", "5")?;
        let (started, from) = (Instant::now(), cpu()?);
        let mut n_new = 0;
        let summary = store.look(database, &options, &mut |seen| n_new += seen.new.len())?;
        let (took, used) = (started.elapsed(), cpu()?.saturating_sub(from));
        store.acknowledge(summary.time)?;
        if !summary.is_delta {
            return Err("everything was matched anew instead of what changed".into());
        }
        let n_matched = summary.n_matched;
        let what = format!(
            "after {DELTA} new advisories, {what} concerned ({n_matched} matched, {n_new} new): \
             wall, CPU, peak memory"
        );
        let (took, used) = (took.as_secs_f64(), used.as_secs_f64());
        row(&what, &format!("{took:.2} s, {used:.2} s, {} MiB", peak_mib()?));
    }
    Ok(())
}

fn compile(feeds: &Path) -> Result<DatabaseBuilder, AnyError> {
    let mut builder = DatabaseBuilder::new();
    for name in ["Go", "PyPI", "crates.io", "AlmaLinux"] {
        osv::import(&mut builder, &feeds.join("osv").join(name).join("all.zip"))?;
    }
    alpine::import(&mut builder, &feeds.join("alpine-secdb"))?;
    kev::import(&mut builder, &feeds.join("known_exploited_vulnerabilities.json"))?;
    Ok(builder)
}

fn ecosystem(kind: PackageKind) -> &'static str {
    match kind {
        PackageKind::Python => "PyPI",
        PackageKind::Go => "Go",
        PackageKind::Cargo => "crates.io",
        _ => "AlmaLinux:9",
    }
}

/// Every package of which the database at `path` has an advisory and that an inventory can have.
fn known(path: &Path, folder: &Path) -> Result<Vec<Known>, AnyError> {
    let mut none = DatabaseBuilder::new();
    none.add("none", "none", Advisory::default())?;
    none.write(&folder.join("none.db"), NOW)?;
    let none = Database::open(&folder.join("none.db"))?;
    let all = Database::open(path)?.changed_since(&none)?.packages;
    let kinds = [PackageKind::Python, PackageKind::Go, PackageKind::Cargo, PackageKind::Rpm];
    let kind = |of: &str| kinds.into_iter().find(|kind| ecosystem(*kind) == of);
    Ok(all.into_iter().filter_map(|(of, name)| Some((kind(&of)?, name))).collect())
}

/// The packages, every `n_old`th of them old enough to have whatever there is.
fn inventory<'a>(name: &str, packages: impl Iterator<Item = &'a Known>, n_old: usize) -> Inventory {
    let package = |(index, (kind, name)): (usize, &Known)| {
        let version = if index.is_multiple_of(n_old) { "0.0.1" } else { "9999.0.0" };
        let mut package = Package::new(*kind, name.as_str(), version, "/x");
        package.purl = format!("pkg:{}/{name}@{version}", ecosystem(*kind));
        package
    };
    let subject =
        Subject { name: name.into(), digest: Some(Digest::of(name.as_bytes())), platform: None };
    let distribution = Distribution {
        id: "almalinux".into(),
        version_id: "9.4".into(),
        codename: String::new(),
        name: String::new(),
    };
    Inventory {
        subject,
        distribution: Some(distribution),
        packages: packages.enumerate().map(package).collect(),
        parts: vec![],
        programs: vec![],
        n_files: 0,
        gaps: vec![],
    }
}

fn median<E>(rounds: usize, mut what: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let started = Instant::now();
        what()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[rounds / 2])
}

/// CPU time of this process, all threads.
fn cpu() -> Result<Duration, AnyError> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    let n = ticks(11).ok_or("no utime")? + ticks(12).ok_or("no stime")?;
    // USER_HZ has been 100 on every Linux for decades.
    Ok(Duration::from_millis(n * 10))
}

fn peak_mib() -> Result<u64, AnyError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().next().ok_or("no VmHWM")?.parse::<u64>()? / 1024)
}

fn row(what: &str, measured: &str) {
    println!("| {what} | {measured} |");
}
