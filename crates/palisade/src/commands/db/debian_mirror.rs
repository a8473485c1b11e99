//! Changelogs from a mirror of Debian: of each source package one `.deb`, proved by the signed
//! indices of the mirror.
//!
//! What is kept in `<data-dir>/changelogs` is the changelog of each version: what was fetched once
//! is not fetched again, and a run that is broken off goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_model::{PackageKind, Target};
use palisade_packages::version;
use palisade_patch::{Available, Files, Offered, fetch_package};
use palisade_scan::db::DatabaseBuilder;
use palisade_scan::db::update::UpdateLock;
use palisade_scan::feeds::{self, deb, debian_changelogs, debian_tracker};
use palisade_scan::{ecosystem, sbom, scan};

use super::super::patch::fetch::{Fetcher, Folders};
use super::{Context, release};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// A keyring beyond this many bytes is refused.
const KEYRING_BYTES_MAX: u64 = 16 << 20;
/// Packages of one run together, in bytes.
const FETCHED_BYTES_MAX: u64 = 64 << 30;
/// Packages of one source that are tried: some have a link to another's documentation.
const TRIES_MAX: usize = 3;
/// Packages in a row that do not come before a run ends.
const FAILURES_MAX: usize = 10;
/// Packages between two words about how far it is.
const PROGRESS_EVERY: usize = 20;

/// The sources whose changelogs are wanted.
#[derive(Default)]
struct Wanted {
    /// Source or binary packages.
    names: BTreeSet<String>,
    /// Binary packages that have a changelog of their own in an image.
    preferred: BTreeSet<String>,
}

/// Fetches changelogs and imports them.
pub(super) fn import(
    context: &Context<'_>,
    args: &cli::DbBuild,
    builder: &mut DatabaseBuilder,
) -> Result<Exit, Failure> {
    let ecosystem = release(args.release.as_deref())?;
    let codename = debian_tracker::codename(&ecosystem).ok_or_else(|| {
        Failure::message(Exit::Usage, format!("`{ecosystem}` is no release of Debian"))
            .with_hint("name one, for example --release debian:12")
    })?;
    let wanted = wanted(context, args)?;
    let folders = args.debian_mirror.iter().filter(|url| url.starts_with("file:"));
    let folders = Folders::Of(folders.map(|url| url.trim_end_matches('/').to_string()).collect());
    let fetcher = Fetcher::new(context, &folders);
    let files = sources(args, codename)?;
    context.terminal.progress("reading the indices of the mirror");
    let architectures = [architecture().to_string(), "all".to_string()].into_iter().collect();
    let offered = Offered::gather(&files, &architectures, &fetcher, Timestamp::now())
        .or_exit(Exit::Incomplete)?;
    let mut exit = say_problems(context, &offered)?;
    if let Some(wanted) = &wanted {
        say_unknown(context, &offered, wanted);
    }
    let chosen = choose(&offered, wanted.as_ref());
    if chosen.is_empty() {
        return Err(Failure::message(Exit::Incomplete, "the mirror has none of the packages")
            .with_hint("check --release and the names of the packages"));
    }
    let folder = context.global.data_dir.join("changelogs").join(codename);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("create folder `{}`", folder.display()))?;
    let _lock = UpdateLock::take(&folder).or_exit(Exit::Incomplete)?;
    let (paths, is_whole) = fetch_all(context, &fetcher, &chosen, &folder)?;
    if !is_whole {
        exit = Exit::Partial;
    }
    feeds::import_whole(builder, &folder, |builder| {
        debian_changelogs::import_files(builder, paths, &folder, &ecosystem)
    })
    .or_exit(Exit::Incomplete)?;
    Ok(exit)
}

/// The packages that are named, or those of images; nothing without either.
fn wanted(context: &Context<'_>, args: &cli::DbBuild) -> Result<Option<Wanted>, Failure> {
    if args.debian_package.is_empty() && args.debian_packages_of.is_empty() {
        if args.debian_mirror.iter().any(|url| is_security(url)) {
            return Ok(None);
        }
        return Err(Failure::message(Exit::Usage, "no package is named, and no security mirror")
            .with_hint(
                "name packages (--debian-package, --debian-packages-of), or the security mirror \
                 (…/debian-security), whose packages are all taken",
            ));
    }
    let mut wanted = Wanted::default();
    wanted.names.extend(args.debian_package.iter().cloned());
    for text in &args.debian_packages_of {
        let target: Target = text.parse().or_exit(Exit::Usage)?;
        let inventory = if let Target::Sbom(file) = &target {
            sbom::read::read_file(file).or_exit(Exit::Incomplete)?.inventory
        } else {
            context.terminal.progress(&format!("examining {text}"));
            let image = super::super::image::open_target(context, &target, &args.source)?;
            scan::inventory_of(&image).or_exit(Exit::Incomplete)?
        };
        for package in debian_changelogs::representatives(&inventory) {
            let (source, _) = ecosystem::advisory_name(package);
            wanted.names.insert(source.to_string());
            wanted.preferred.insert(package.name.clone());
        }
    }
    Ok(Some(wanted))
}

/// A file of sources with the suites of the release, and the keyring.
fn sources(args: &cli::DbBuild, codename: &str) -> Result<Files, Failure> {
    const KEYRING: &str = "/keyring";
    let mut text = String::new();
    for url in &args.debian_mirror {
        let is_address = url.contains("://") && !url.contains(char::is_whitespace);
        if !is_address || url.contains(['[', ']', '#']) {
            return Err(Failure::message(
                Exit::Usage,
                format!("`{url}` is no address of a mirror"),
            )
            .with_hint("for example --debian-mirror http://deb.debian.org/debian-security"));
        }
        let suites = if is_security(url) { &["-security"][..] } else { &["", "-updates"] };
        for suite in suites {
            let _ = writeln!(text, "deb [signed-by={KEYRING}] {url} {codename}{suite} main");
        }
    }
    let path = &args.debian_keyring;
    let keys = std::fs::File::open(path)
        .and_then(|file| palisade_base::read_bounded(file, "keyring", KEYRING_BYTES_MAX))
        .with_context(|| format!("read `{}`", path.display()))
        .map_err(|error| {
            Failure::from(error).with_hint(
                "name the keys of the mirror with --debian-keyring; Debian's come with the \
                 package debian-archive-keyring",
            )
        })?;
    Ok(Files::default().with_sources("mirror.list", text.as_bytes(), &|_| Some(keys.clone())))
}

fn is_security(url: &str) -> bool {
    url.trim_end_matches('/').rsplit('/').next().is_some_and(|last| last.contains("security"))
}

/// Debian's name of this machine's architecture; changelogs are the same in all.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

/// Names the suites that could not be used; none at all is an error.
fn say_problems(context: &Context<'_>, offered: &Offered) -> Result<Exit, Failure> {
    let mut exit = Exit::Clean;
    for suite in &offered.suites {
        let Some(problem) = &suite.problem else { continue };
        let text = format!("{} {}: {problem}", suite.address, suite.suite);
        if offered.packages.is_empty() {
            return Err(Failure::message(Exit::Incomplete, text)
                .with_hint("check the address, the release and the keyring (--debian-keyring)"));
        }
        context.terminal.error(&format!("warning: not used: {text}\n"));
        exit = Exit::Partial;
    }
    Ok(exit)
}

/// Names what is wanted and the mirror does not have.
fn say_unknown(context: &Context<'_>, offered: &Offered, wanted: &Wanted) {
    let names = |package: &'_ Available| [package.source.clone(), package.name.clone()];
    let known: BTreeSet<String> = offered.packages.iter().flat_map(names).collect();
    let unknown: Vec<&str> = wanted.names.difference(&known).map(String::as_str).collect();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        context.terminal.progress(&format!("the mirror does not have: {names}"));
    }
}

/// The packages to try for each source, the most promising first, of its newest version.
fn choose<'o>(
    offered: &'o Offered,
    wanted: Option<&Wanted>,
) -> BTreeMap<&'o str, Vec<&'o Available>> {
    let is_security = |package: &Available| package.suite.ends_with("-security");
    let sources: BTreeSet<&str> = match wanted {
        None => {
            let all = offered.packages.iter().filter(|package| is_security(package));
            all.map(|package| package.source.as_str()).collect()
        }
        Some(wanted) => {
            let is_wanted = |package: &&Available| {
                wanted.names.contains(&package.source) || wanted.names.contains(&package.name)
            };
            let all = offered.packages.iter().filter(is_wanted);
            all.map(|package| package.source.as_str()).collect()
        }
    };
    let mut chosen: BTreeMap<&str, Vec<&Available>> = BTreeMap::new();
    for package in offered.packages.iter().filter(|one| sources.contains(one.source.as_str())) {
        chosen.entry(&package.source).or_default().push(package);
    }
    for (source, packages) in &mut chosen {
        let order = |a: &str, b: &str| version::compare(PackageKind::Dpkg, a, b);
        let newest = packages
            .iter()
            .map(|package| package.source_version.as_str())
            .reduce(|a, b| if order(a, b) == Some(std::cmp::Ordering::Less) { b } else { a })
            .unwrap_or_default();
        packages.retain(|package| package.source_version == newest);
        let preferred = |package: &Available| {
            wanted.is_some_and(|wanted| wanted.preferred.contains(&package.name))
        };
        packages.sort_by_key(|one| (!preferred(one), one.size, one.name.clone()));
        packages.dedup_by(|a, b| a.name == b.name);
        // Small ones cost little; the one of the source's name is the most likely to have it.
        let namesake = packages.iter().copied().find(|package| package.name == **source);
        packages.truncate(TRIES_MAX);
        if let Some(namesake) = namesake.filter(|one| !packages.iter().any(|it| it == one)) {
            packages.push(namesake);
        }
    }
    chosen
}

/// The files of all changelogs, and whether none is missing.
fn fetch_all(
    context: &Context<'_>,
    fetcher: &Fetcher<'_>,
    chosen: &BTreeMap<&str, Vec<&Available>>,
    folder: &Path,
) -> Result<(Vec<PathBuf>, bool), Failure> {
    let (mut paths, mut missing) = (Vec::new(), Vec::new());
    let (mut n_bytes, mut n_fetched, mut n_failed) = (0_u64, 0_usize, 0_usize);
    let is_kept = |packages: &[&Available]| {
        packages.first().is_some_and(|one| folder.join(file_name(one)).is_file())
    };
    let n_kept = chosen.values().filter(|packages| is_kept(packages)).count();
    let n_wanted = chosen.len() - n_kept;
    context.terminal.progress(&format!(
        "{} source packages, {n_kept} of them kept, {n_wanted} to fetch",
        chosen.len()
    ));
    for (source, packages) in chosen {
        let Some(first) = packages.first() else { continue };
        let path = folder.join(file_name(first));
        if path.is_file() {
            paths.push(path);
            continue;
        }
        if n_fetched > 0 && n_fetched % PROGRESS_EVERY == 0 {
            let mib = n_bytes >> 20;
            context.terminal.progress(&format!("{n_fetched} of {n_wanted}, {mib} MiB"));
        }
        n_fetched += 1;
        let mut why = "no package of it has a changelog".to_string();
        for package in packages {
            n_bytes += package.size;
            if n_bytes > FETCHED_BYTES_MAX {
                return Err(Failure::message(Exit::Incomplete, "the packages are beyond 64 GiB")
                    .with_hint("what was fetched is kept: the same again goes on from here"));
            }
            let bytes = match fetch_package(fetcher, package) {
                Ok(bytes) => bytes,
                Err(error) => {
                    n_failed += 1;
                    if n_failed >= FAILURES_MAX {
                        return Err(Failure::from_explained(error, Exit::Incomplete)
                            .during(format!("{n_failed} packages in a row did not come"))
                            .or_hint(
                                "what was fetched is kept: the same again goes on from here",
                            ));
                    }
                    let cause = std::error::Error::source(&error).map(|it| format!(": {it}"));
                    why = format!("{error}{}", cause.unwrap_or_default());
                    continue;
                }
            };
            n_failed = 0;
            match deb::changelog_of(bytes.as_slice()) {
                Ok(Some(text)) if is_of(&text, source) => {
                    keep(folder, source, &path, &text)?;
                    why.clear();
                    break;
                }
                // None, or what the authors of the program write.
                Ok(_) => {}
                Err(error) => why = format!("{}: {error}", package.address),
            }
        }
        if why.is_empty() {
            paths.push(path);
        } else {
            missing.push(format!("{source} ({why})"));
        }
    }
    for one in &missing {
        context.terminal.error(&format!("warning: no changelog of {one}\n"));
    }
    Ok((paths, missing.is_empty()))
}

/// Whether a text is the distribution's changelog of that source.
fn is_of(text: &[u8], source: &str) -> bool {
    let log = debian_changelogs::parse(&String::from_utf8_lossy(text));
    log.entries.first().is_some_and(|entry| entry.source == source)
}

/// Keeps a changelog, and no older one of its source.
fn keep(folder: &Path, source: &str, path: &Path, text: &[u8]) -> Result<(), Failure> {
    palisade_base::fs::write_atomic(path, text, 0o644)
        .with_context(|| format!("write `{}`", path.display()))?;
    let before = format!("{}_", plain(source));
    let shown = || format!("read folder `{}`", folder.display());
    for entry in std::fs::read_dir(folder).with_context(shown)? {
        let other = entry.with_context(shown)?.path();
        let name = other.file_name().unwrap_or_default().to_string_lossy();
        if other != path && name.starts_with(&before) {
            let _ = std::fs::remove_file(&other);
        }
    }
    Ok(())
}

/// `openssl_3.0.11-1~deb12u2.changelog`
fn file_name(package: &Available) -> String {
    format!("{}_{}.changelog", plain(&package.source), plain(&package.source_version))
}

/// The text as part of a file's name: one that an index has may hold anything.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~' | '-');
    let mut out = String::new();
    for c in text.chars().take(200) {
        match c {
            c if is_plain(c) => out.push(c),
            c => {
                let _ = write!(out, "%{:x}", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::field_reassign_with_default, reason = "some fields are its crate's own")]
    fn package(name: &str, source: &str, version: &str, size: u64, suite: &str) -> Available {
        let mut package = Available::default();
        package.name = name.into();
        package.source = source.into();
        package.source_version = version.into();
        package.size = size;
        package.suite = suite.into();
        package
    }

    #[test]
    fn the_newest_version_and_the_smallest_packages_are_tried() {
        let (main, security) = ("bookworm", "bookworm-security");
        let packages = vec![
            package("openssl", "openssl", "3.0.9-1", 10, main),
            package("openssl", "openssl", "3.0.11-1~deb12u2", 900, security),
            package("libssl3", "openssl", "3.0.11-1~deb12u2", 200, security),
            package("libssl-doc", "openssl", "3.0.11-1~deb12u2", 300, security),
            package("libssl-dev", "openssl", "3.0.11-1~deb12u2", 100, security),
            package("libssl-x", "openssl", "3.0.11-1~deb12u2", 400, security),
            package("bash", "bash", "5.2-1", 10, main),
        ];
        let offered = Offered { packages, ..Offered::default() };
        let names = |wanted: Option<&Wanted>, source: &str| {
            let chosen = choose(&offered, wanted);
            let all = chosen.get(source).into_iter().flatten();
            all.map(|package| package.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(None, "openssl"), ["libssl-dev", "libssl3", "libssl-doc", "openssl"]);
        assert_eq!(names(None, "bash"), [""; 0]);
        let mut wanted = Wanted::default();
        wanted.names.extend(["libssl3".to_string(), "bash".to_string()]);
        wanted.preferred.insert("libssl-x".to_string());
        let expected = ["libssl-x", "libssl-dev", "libssl3", "openssl"];
        assert_eq!(names(Some(&wanted), "openssl"), expected);
        assert_eq!(names(Some(&wanted), "bash"), ["bash"]);
    }

    #[test]
    fn changelogs_are_those_of_their_source() {
        let log = b"gcc-12 (12.2.0-14) unstable; urgency=medium\n\n  * x\n";
        assert!(is_of(log, "gcc-12"));
        assert!(!is_of(log, "gcc-13"));
        assert!(!is_of(b"2022-08-19  Release Manager\n\n\t* GCC 12.2.0 released.\n", "gcc-12"));
        assert!(!is_of(b"", "gcc-12"));
    }

    #[test]
    fn names_stay_in_their_folder() {
        let odd = package("a", "../a", "1:2_3/\u{e9}", 1, "s");
        assert_eq!(file_name(&odd), "..%2fa_1%3a2%5f3%2f%e9.changelog");
        assert!(is_security("http://deb.debian.org/debian-security/"));
        assert!(!is_security("http://security.debian.org/debian"));
    }
}
