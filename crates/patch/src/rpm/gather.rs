//! What the repositories of an image of RPM offer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};

use palisade_base::{Bounded, read_bounded};
use palisade_model::PackageKind;
use palisade_openpgp::OpenPgpError;

use super::imported_keys;
use super::modules::{MODULES_BYTES_MAX, Modules, read_modules};
use super::notices::{Build, read_notices};
use super::primary::read_primary;
use super::repomd::{REPOMD_BYTES_MAX, Repomd, RpmIndex, is_below, read_repomd};
use super::repos::{self, RpmSource};
use crate::installed::Installed;
use crate::repository::{Elsewhere, Gathering, SIGNATURE_BYTES_MAX, SKEW_MAX, sentence};
use crate::signature::Keyring;
use crate::{Available, Files, PatchError, Repository, Suite};

/// An index beyond this many bytes is refused, compressed (Fedora's primary: 20 MB).
const COMPRESSED_BYTES_MAX: u64 = 512 << 20;
/// The same, decompressed; it is not held.
const INDEX_BYTES_MAX: u64 = 4 << 30;

/// What is asked of the packages of an index that nobody signed.
const MUST_BE: &str = "each of its packages must be by a key of the image";

/// Folders with keys for images whose repositories name none.
const KEYS: [&str; 2] = ["etc/pki/rpm-gpg/", "usr/lib/rpm/gnupg/keys/"];

/// The keys of the image that may sign for a repository: those that it names, or all where it
/// names none, and those that rpm's own database holds.
pub(crate) fn keyring(files: &Files, source_keys: &[String]) -> Keyring {
    let mut ring = Keyring::default();
    for key in source_keys {
        let path = key.strip_prefix("file:").map(|path| path.trim_start_matches('/'));
        match path.and_then(|path| files.content(path)) {
            Some(bytes) => ring.add(bytes),
            // What is not in the image is not asked of the network: who answers would be trusted.
            None => ring.add_missing(),
        }
    }
    if source_keys.is_empty() {
        for (path, _) in KEYS.iter().flat_map(|folder| files.below(folder)) {
            if let Some(bytes) = files.content(path) {
                ring.add(bytes);
            }
        }
    }
    imported_keys(files, &mut ring);
    ring
}

/// What one repository has of the packages that are wanted.
struct Offered {
    packages: Vec<Available>,
    notices: BTreeMap<Build, BTreeSet<String>>,
}

/// Asks the repositories of an image.
pub(crate) fn gather(
    gathering: &Gathering<'_>,
    installed: &[Installed],
) -> Result<Repository, PatchError> {
    let own = gathering.mirrors.iter().filter(|mirror| !mirror.from.contains("://"));
    let own = own.map(|mirror| (mirror.from.clone(), mirror.to.clone())).collect();
    let (sources, problems) = repos::sources(gathering.files, installed, &own)?;
    let mut repository =
        Repository { problems, time: gathering.now, ..Repository::new(PackageKind::Rpm) };
    let (mut modules, mut all) = (Modules::default(), Vec::new());
    for (at, source) in sources.iter().enumerate() {
        let address = source.addresses.first().cloned();
        let listed = source.list.as_ref().map(|(_, address)| address.clone());
        let mut suite = Suite::new(address.or(listed).unwrap_or_default(), source.id.clone());
        match ask(gathering, source, &mut suite, &mut modules) {
            Ok(offered) => {
                for mut package in offered.packages {
                    let build = (
                        package.name.clone(),
                        package.version.clone(),
                        package.architecture.clone(),
                    );
                    package.notices =
                        offered.notices.get(&build).into_iter().flatten().cloned().collect();
                    all.push((at, package));
                }
            }
            Err(error) => suite.problem = Some(sentence(&error)),
        }
        repository.suites.push(suite);
    }
    let selection = Selection { installed, states: repos::module_states(gathering.files), modules };
    let mut best: BTreeMap<String, u32> = BTreeMap::new();
    let mut judged = Vec::with_capacity(all.len());
    for (at, mut package) in all {
        let Some(source) = sources.get(at) else { continue };
        let why = selection.hidden(source, &mut package);
        // What is not taken does not keep others from being taken.
        if why.is_none() {
            let entry = best.entry(package.name.clone()).or_insert(source.priority);
            *entry = source.priority.min(*entry);
        }
        judged.push((source.priority, package, why));
    }
    for (priority, package, why) in judged {
        let name = package.name.clone();
        let is_lower = || best.get(&name).is_some_and(|best| *best < priority);
        let lower = || is_lower().then(|| "of a repository of a lower priority".to_string());
        let why = why.or_else(lower);
        match why {
            None => repository.packages.entry(name).or_default().push(package),
            Some(why) => {
                let elsewhere = Elsewhere { version: package.version, why };
                repository.elsewhere.entry(name).or_default().push(elsewhere);
            }
        }
    }
    repository.sources = sources;
    repository.architecture = repos::architecture(installed);
    Ok(repository)
}

/// What of the repositories' packages dnf would take.
struct Selection<'a> {
    installed: &'a [Installed],
    states: BTreeMap<String, (String, String)>,
    modules: Modules,
}

impl Selection<'_> {
    /// Why a package is not taken; its stream is noted in it.
    fn hidden(&self, source: &RpmSource, package: &mut Available) -> Option<String> {
        let name = &package.name;
        let means =
            |patterns: &[String]| patterns.iter().any(|pattern| repos::is_match(pattern, name));
        if means(&source.excluded) || (!source.included.is_empty() && !means(&source.included)) {
            return Some("which the image's configuration excludes".to_string());
        }
        let stream = self.modules.stream(name, &package.version, &package.architecture);
        let stream = stream.map(str::to_string);
        package.module.clone_from(&stream);
        let of_name = || self.installed.iter().filter(|one| one.name == *name);
        match &stream {
            Some(stream) if !self.modules.is_active(stream, &self.states) => {
                return Some(format!("of the module stream {stream}, which is not enabled"));
            }
            Some(stream) if !of_name().any(|one| one.module.as_ref() == Some(stream)) => {
                return Some(format!("of the module stream {stream}, which the package is not of"));
            }
            Some(_) => {}
            None if source.has_hotfixes => {}
            None => {
                if let Some(stream) = self.modules.hiding(name, &self.states) {
                    return Some(format!("which the module stream {stream} hides"));
                }
                if let Some(stream) = of_name().find_map(|one| one.module.clone()) {
                    return Some(format!("of no module, where the package is of {stream}"));
                }
            }
        }
        None
    }
}

fn ask(
    gathering: &Gathering<'_>,
    source: &RpmSource,
    suite: &mut Suite,
    modules: &mut Modules,
) -> Result<Offered, PatchError> {
    if let Some((setting, address)) = &source.list {
        let why = format!(
            "its {setting} is not followed; name an address with --repository-mirror {}=ADDRESS",
            source.id
        );
        return Err(PatchError::document(address, why));
    }
    let (base, repomd) = index_of(gathering, source, suite)?;
    let wanted = |name: &str| gathering.wants(name);
    let read = |kind: &str| -> Result<Option<(String, Vec<u8>, u64)>, PatchError> {
        let Some(index) = repomd.indices.get(kind) else { return Ok(None) };
        let (address, bytes) = get(gathering, &base, index)?;
        Ok(Some((address, bytes, index.open_size.unwrap_or(INDEX_BYTES_MAX))))
    };
    let bad = |address: &str, error: &dyn std::fmt::Display| {
        PatchError::document(address, error.to_string())
    };
    let mut packages = Vec::new();
    if let Some((address, bytes, open_size)) = read("primary")? {
        let input = open(&address, &bytes, open_size)?;
        let primary = read_primary(input, &wanted).map_err(|error| bad(&address, &error))?;
        if primary.n_bad > 0 {
            let why = format!("{} packages cannot be read", primary.n_bad);
            return Err(PatchError::document(address, why));
        }
        suite.n_packages = primary.n_packages;
        packages = primary.packages;
    }
    if let Some((address, bytes, open_size)) = read("modules")? {
        let input = open(&address, &bytes, open_size)?;
        let text = read_bounded(input, "index", MODULES_BYTES_MAX);
        let text = text.map_err(|error| bad(&address, &error))?;
        let text = String::from_utf8(text).map_err(|_| bad(&address, &"it is not UTF-8"))?;
        modules.extend(read_modules(&text, &wanted).map_err(|why| bad(&address, &why))?);
    }
    let mut notices = BTreeMap::new();
    if let Some((address, bytes, open_size)) = read("updateinfo")? {
        let input = open(&address, &bytes, open_size)?;
        notices = read_notices(input, &wanted).map_err(|error| bad(&address, &error))?;
    }
    for package in &mut packages {
        package.address = gathering.shown(&format!("{base}/{}", package.address));
        package.suite.clone_from(&source.id);
    }
    Ok(Offered { packages, notices })
}

/// The list of indices, from the first address that has it, and whether a key of the image signed
/// it.
fn index_of(
    gathering: &Gathering<'_>,
    source: &RpmSource,
    suite: &mut Suite,
) -> Result<(String, Repomd), PatchError> {
    let mut outcome = Err(PatchError::document(&source.file, "it has no address"));
    for base in &source.addresses {
        let address = format!("{base}/repodata/repomd.xml");
        outcome = gathering.get(&address, REPOMD_BYTES_MAX).map(|bytes| (base, address, bytes));
        if outcome.is_ok() {
            break;
        }
    }
    let (base, address, bytes) = outcome?;
    suite.address.clone_from(base);
    let signature = gathering.get(&format!("{address}.asc"), SIGNATURE_BYTES_MAX);
    match signature {
        Ok(signature) => {
            let ring = keyring(gathering.files, &source.keys);
            match ring.verify_bytes(&bytes, &signature, gathering.now) {
                Ok(key) => suite.signed_by = Some(key),
                // A signature that the image does not ask for, and cannot check.
                Err(OpenPgpError::UnknownKey) if !source.is_index_signed => {
                    suite.note = Some(format!("no key of the image signed its index; {MUST_BE}"));
                }
                Err(error) => {
                    let why = ring.explain::<()>(Err(error)).err().unwrap_or_default();
                    return Err(PatchError::untrusted(address, why));
                }
            }
        }
        Err(_) if source.is_index_signed => {
            let why = "it is not signed, and the image wants it signed (repo_gpgcheck)";
            return Err(PatchError::untrusted(address, why));
        }
        Err(_) => suite.note = Some(format!("its index is not signed; {MUST_BE}")),
    }
    let repomd = read_repomd(&bytes, &address)?;
    suite.date = repomd.date;
    if let Some(date) = repomd.date.filter(|date| date.since(gathering.now) > SKEW_MAX) {
        return Err(PatchError::untrusted(address, format!("it is of the future: {date}")));
    }
    Ok((base.clone(), repomd))
}

/// An index, proved by its checksum: its address and its bytes, compressed as they are.
fn get(
    gathering: &Gathering<'_>,
    base: &str,
    index: &RpmIndex,
) -> Result<(String, Vec<u8>), PatchError> {
    let address = format!("{base}/{}", index.location);
    if !is_below(&index.location) {
        return Err(PatchError::document(address, "an index lies outside the repository"));
    }
    let Some(sum) = &index.sum else {
        let why = "its checksum is broken or too weak; SHA-256 or longer is needed";
        return Err(PatchError::untrusted(address, why));
    };
    if index.size > COMPRESSED_BYTES_MAX {
        return Err(PatchError::document(address, "the index is too large"));
    }
    let bytes = gathering.get(&address, index.size)?;
    if bytes.len() as u64 != index.size || !sum.is_of(&bytes) {
        return Err(PatchError::untrusted(address, "it is not what repomd.xml lists"));
    }
    Ok((address, bytes))
}

/// The content of an index, which is read while it is decompressed.
fn open<'b>(
    address: &str,
    bytes: &'b [u8],
    open_size: u64,
) -> Result<Box<dyn BufRead + 'b>, PatchError> {
    let limit = open_size.min(INDEX_BYTES_MAX);
    let bad = |why: String| PatchError::document(address, why);
    Ok(match address.rsplit('.').next() {
        Some("xml" | "yaml") => Box::new(bytes),
        Some("gz") => {
            let plain = flate2::read::MultiGzDecoder::new(bytes);
            Box::new(BufReader::new(Bounded::new(plain, "index", limit)))
        }
        Some("xz") => {
            let plain = lzma_rust2::XzReader::new(bytes, true);
            Box::new(BufReader::new(Bounded::new(plain, "index", limit)))
        }
        Some("zst") => {
            let plain = ruzstd::decoding::StreamingDecoder::new(bytes);
            let plain = plain.map_err(|error| bad(error.to_string()))?;
            Box::new(BufReader::new(Bounded::new(plain, "index", limit)))
        }
        _ => return Err(bad("it has a compression that is not known".into())),
    })
}
