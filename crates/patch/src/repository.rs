//! What the repositories of an image offer now.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use palisade_base::{Digest, Timestamp, read_bounded};
use palisade_model::PackageKind;
use palisade_packages::version;
use serde::Serialize;

use crate::deb::DEB_BYTES_MAX;
use crate::index::{INDEX_BYTES_MAX, PACKAGES_MAX, read_packages};
use crate::installed::installed_of;
use crate::release::{RELEASE_BYTES_MAX, Release, read_release};
use crate::rpm::RpmSource;
use crate::signature::Keyring;
use crate::sources::{AptSource, SignedBy, read_sources};
use crate::{Available, FetchError, Files, PatchError, apk, rpm};

/// Signatures beside a release beyond this many bytes are refused.
pub(crate) const SIGNATURE_BYTES_MAX: u64 = 1 << 20;
/// How far the clock of a repository may be ahead.
pub(crate) const SKEW_MAX: std::time::Duration = std::time::Duration::from_mins(10);

/// Brings what is at an address.
pub trait Fetch {
    /// The bytes at `address`, of which there may be `limit` at most.
    fn fetch(&self, address: &str, limit: u64) -> Result<Vec<u8>, FetchError>;
}

/// Addresses that begin with one text are fetched at another. Where that text is no address but
/// the id of a repository of RPM, the repository is asked there, whatever the image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// What the image names.
    pub from: String,
    /// What is asked instead.
    pub to: String,
}

/// One suite that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suite {
    /// Address of the repository, as the image names it.
    pub address: String,
    /// `bookworm-security`.
    pub suite: String,
    /// When the repository was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// Fingerprint of the key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Packages that it offers.
    pub n_packages: u64,
    /// What is to be known of it where it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Suite {
    /// One of which nothing is known yet.
    pub(crate) fn new(address: String, suite: String) -> Self {
        Self {
            address,
            suite,
            date: None,
            signed_by: None,
            n_packages: 0,
            note: None,
            problem: None,
        }
    }
}

/// A version that a repository has and that is not taken.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    pub(crate) version: String,
    /// What it is, that it is not taken: `of the module stream nodejs:20, which is not enabled`.
    pub(crate) why: String,
}

/// What the repositories of an image offer of the packages that are installed.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) kind: PackageKind,
    /// The suites that were asked.
    pub suites: Vec<Suite>,
    /// Lines of the image's configuration that cannot be read.
    pub problems: Vec<String>,
    pub(crate) packages: BTreeMap<String, Vec<Available>>,
    pub(crate) elsewhere: BTreeMap<String, Vec<Elsewhere>>,
    /// Of RPM, what the image says of each repository.
    pub(crate) sources: Vec<RpmSource>,
    /// Of RPM, the architecture of the image.
    pub(crate) architecture: String,
    /// When it was gathered: signatures of packages are judged by that time.
    pub(crate) time: Timestamp,
}

/// What gathering needs besides the image.
pub(crate) struct Gathering<'a> {
    pub(crate) files: &'a Files,
    pub(crate) mirrors: &'a [Mirror],
    pub(crate) fetch: &'a dyn Fetch,
    pub(crate) now: Timestamp,
    /// Names of packages; all without.
    pub(crate) wanted: Option<BTreeSet<String>>,
}

/// What the suites of a file of sources offer, of every package.
#[derive(Debug, Clone, Default)]
pub struct Offered {
    /// The suites that were asked.
    pub suites: Vec<Suite>,
    /// Their packages.
    pub packages: Vec<Available>,
}

impl Offered {
    /// Asks every suite that `files`, which hold sources of apt and their keyrings, name for
    /// packages of these architectures. One that cannot be used is named with its reason.
    pub fn gather(
        files: &Files,
        architectures: &BTreeSet<String>,
        fetch: &dyn Fetch,
        now: Timestamp,
    ) -> Result<Self, PatchError> {
        let gathering = Gathering { files, mirrors: &[], fetch, now, wanted: None };
        let (sources, _) = read_sources(files)?;
        let mut offered = Self::default();
        for source in &sources {
            let mut suite = Suite::new(source.address.clone(), source.suite.clone());
            match gathering.suite(source, architectures, &mut suite) {
                Ok(_) if offered.packages.len() > PACKAGES_MAX => {
                    let (what, limit) = ("packages in its suites", PACKAGES_MAX as u64);
                    return Err(PatchError::TooMuch { what, limit });
                }
                Ok(packages) => offered.packages.extend(packages),
                Err(error) => suite.problem = Some(sentence(&error)),
            }
            offered.suites.push(suite);
        }
        Ok(offered)
    }
}

/// Fetches a package, and proves its size, and its digest where the signed index has one.
pub fn fetch_package(fetch: &dyn Fetch, package: &Available) -> Result<Vec<u8>, PatchError> {
    if package.size > DEB_BYTES_MAX {
        let (what, limit) = ("bytes in one package", DEB_BYTES_MAX);
        return Err(PatchError::TooMuch { what, limit });
    }
    fetch_proved(fetch, &package.address, package.size, package.digest)
}

/// Fetches what has this size and digest.
pub(crate) fn fetch_proved(
    fetch: &dyn Fetch,
    address: &str,
    size: u64,
    digest: Option<Digest>,
) -> Result<Vec<u8>, PatchError> {
    let got = fetch.fetch(address, size);
    let bytes = got.map_err(|source| PatchError::Fetch { address: address.into(), source })?;
    let is_other = digest.is_some_and(|digest| Digest::of(&bytes) != digest);
    if bytes.len() as u64 != size || is_other {
        return Err(PatchError::untrusted(address, "it is not what the signed index lists"));
    }
    Ok(bytes)
}

impl Repository {
    /// One that nothing was asked of yet.
    pub(crate) fn new(kind: PackageKind) -> Self {
        Self {
            kind,
            suites: Vec::new(),
            problems: Vec::new(),
            packages: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            sources: Vec::new(),
            architecture: String::new(),
            time: Timestamp::from_nanos(0),
        }
    }

    /// Asks every suite that the image names. One that cannot be used is named with its reason.
    pub fn gather(
        files: &Files,
        mirrors: &[Mirror],
        fetch: &dyn Fetch,
        now: Timestamp,
    ) -> Result<Self, PatchError> {
        let (kind, installed) = installed_of(files)?.ok_or_else(|| {
            PatchError::document("the image", "it has no database of dpkg, apk or rpm")
        })?;
        let architectures: BTreeSet<String> =
            installed.iter().map(|package| package.architecture.clone()).collect();
        let wanted = Some(installed.iter().map(|package| package.name.clone()).collect());
        let gathering = Gathering { files, mirrors, fetch, now, wanted };
        match kind {
            PackageKind::Apk => return Ok(gathering.apk()),
            PackageKind::Rpm => return rpm::gather(&gathering, &installed),
            _ => {}
        }
        let (sources, problems) = read_sources(files)?;
        let mut repository = Self { problems, ..Self::new(kind) };
        for source in &sources {
            let mut suite = Suite::new(source.address.clone(), source.suite.clone());
            match gathering.suite(source, &architectures, &mut suite) {
                Ok(packages) => {
                    for package in packages {
                        let name = package.name.clone();
                        repository.packages.entry(name).or_default().push(package);
                    }
                }
                Err(error) => suite.problem = Some(sentence(&error)),
            }
            repository.suites.push(suite);
        }
        Ok(repository)
    }

    /// The highest version of a package that may replace one of this architecture.
    pub(crate) fn newest(&self, name: &str, architecture: &str) -> Option<&Available> {
        let all = self.packages.get(name)?.iter();
        let fits = |one: &&Available| match self.kind {
            // An image of apk has one architecture, and its indices are of that.
            PackageKind::Apk => true,
            // A package may become one of the image's architecture, or of none.
            PackageKind::Rpm => {
                one.architecture == architecture
                    || one.architecture == "noarch"
                    || (architecture == "noarch" && one.architecture == self.architecture)
            }
            _ => one.architecture == architecture || one.architecture == "all",
        };
        all.filter(fits).max_by(|a, b| {
            let order = version::compare(self.kind, &a.version, &b.version);
            order.unwrap_or(std::cmp::Ordering::Equal)
        })
    }
}

pub(crate) fn sentence(error: &PatchError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

impl Gathering<'_> {
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.contains(name))
    }

    /// Asks the repositories of an image of Alpine.
    fn apk(&self) -> Repository {
        let (sources, architecture) = apk::sources(self.files);
        let mut repository = Repository::new(PackageKind::Apk);
        for source in sources {
            // `v3.20/main`
            let mut parts: Vec<&str> = source.address.rsplit('/').take(2).collect();
            parts.reverse();
            let mut suite = Suite::new(source.address.clone(), parts.join("/"));
            let found = match &source.tag {
                // Only what asks for it by `@` gets packages of it.
                Some(tag) => Err(PatchError::document(
                    format!("@{tag}"),
                    "packages of tagged repositories are not planned for",
                )),
                None => self.apk_index(&source.address, &architecture, &mut suite),
            };
            match found {
                Ok(packages) => {
                    for package in packages {
                        let name = package.name.clone();
                        repository.packages.entry(name).or_default().push(package);
                    }
                }
                Err(error) => suite.problem = Some(sentence(&error)),
            }
            repository.suites.push(suite);
        }
        repository
    }

    fn apk_index(
        &self,
        address: &str,
        architecture: &str,
        suite: &mut Suite,
    ) -> Result<Vec<Available>, PatchError> {
        let folder = format!("{address}/{architecture}");
        let address = format!("{folder}/APKINDEX.tar.gz");
        let bytes = self.get(&address, apk::COMPRESSED_BYTES_MAX)?;
        let index = apk::read_index(&bytes, self.files, &address)?;
        if index.n_bad > 0 {
            let why = format!("{} entries are no packages", index.n_bad);
            return Err(PatchError::document(address, why));
        }
        suite.date = index.date;
        suite.signed_by = Some(index.key);
        suite.n_packages = index.packages.len() as u64;
        let mut found: Vec<Available> =
            index.packages.into_iter().filter(|one| self.wants(&one.name)).collect();
        for package in &mut found {
            if package.address.contains('/') {
                return Err(PatchError::document(folder, "a package lies outside the repository"));
            }
            package.address = self.shown(&format!("{folder}/{}", package.address));
            package.suite.clone_from(&suite.suite);
        }
        Ok(found)
    }

    pub(crate) fn shown(&self, address: &str) -> String {
        let fits = self.mirrors.iter().filter(|mirror| mirror.from.contains("://"));
        let fits = fits.filter(|mirror| address.starts_with(&mirror.from));
        match fits.max_by_key(|mirror| mirror.from.len()) {
            Some(mirror) => format!("{}{}", mirror.to, &address[mirror.from.len()..]),
            None => address.to_string(),
        }
    }

    pub(crate) fn get(&self, address: &str, limit: u64) -> Result<Vec<u8>, PatchError> {
        let address = self.shown(address);
        let got = self.fetch.fetch(&address, limit);
        got.map_err(|source| PatchError::Fetch { address, source })
    }

    fn keyring(&self, source: &AptSource) -> Keyring {
        let mut ring = Keyring::default();
        let mut add = |path: &str| match self.files.content(path.trim_start_matches('/')) {
            Some(bytes) => ring.add(bytes),
            None => ring.add_missing(),
        };
        match &source.signed_by {
            Some(SignedBy::Files(paths)) => paths.iter().for_each(|path| add(path)),
            Some(SignedBy::Key(key)) => ring.add(key.as_bytes()),
            other => {
                let folder = self.files.below("etc/apt/trusted.gpg.d/");
                let is_key = |path: &str| {
                    let extension = std::path::Path::new(path).extension();
                    extension.is_some_and(|extension| extension == "gpg" || extension == "asc")
                };
                folder.map(|(path, _)| path).filter(|path| is_key(path)).for_each(&mut add);
                if self.files.get("etc/apt/trusted.gpg").is_some() {
                    add("etc/apt/trusted.gpg");
                }
                if let Some(SignedBy::Fingerprints(wanted)) = other {
                    ring.only(wanted);
                }
            }
        }
        ring
    }

    fn suite(
        &self,
        source: &AptSource,
        architectures: &BTreeSet<String>,
        suite: &mut Suite,
    ) -> Result<Vec<Available>, PatchError> {
        let is_flat = source.suite.ends_with('/');
        let folder = if is_flat {
            let path = source.suite.trim_start_matches("./").trim_matches('/');
            format!("{}/{path}", source.address).trim_end_matches('/').to_string()
        } else {
            format!("{}/dists/{}", source.address, source.suite)
        };
        let release = self.release(source, &folder, suite)?;
        if !is_flat {
            is_meant(&release, source, &folder)?;
        }
        let mut found = Vec::new();
        let used = |architecture: &String| {
            source.architectures.is_empty()
                || architecture == "all"
                || source.architectures.contains(architecture)
        };
        let architectures = architectures.iter().filter(|one| used(one));
        let architectures = architectures.filter(|one| *one != "all" || release.all_is_apart);
        let indices: Vec<String> = if is_flat {
            vec!["Packages".into()]
        } else {
            architectures
                .flat_map(|architecture| {
                    let index = move |c: &String| format!("{c}/binary-{architecture}/Packages");
                    source.components.iter().map(index)
                })
                .collect()
        };
        for index in indices {
            let Some(bytes) = self.index(&folder, &index, &release)? else { continue };
            let (packages, n_bad) = read_packages(&bytes);
            if n_bad > 0 {
                let why = format!("{n_bad} entries are no packages");
                return Err(PatchError::document(format!("{folder}/{index}"), why));
            }
            suite.n_packages += packages.len() as u64;
            found.extend(packages.into_iter().filter(|one| self.wants(&one.name)));
        }
        for package in &mut found {
            let base = if is_flat { &folder } else { &source.address };
            let path = package.address.trim_start_matches("./");
            if path.split('/').any(|part| part == "..") {
                return Err(PatchError::document(&folder, "a package lies outside the repository"));
            }
            package.address = self.shown(&format!("{base}/{path}"));
            package.suite.clone_from(&source.suite);
        }
        Ok(found)
    }

    /// The release, signed within itself or beside itself.
    fn release(
        &self,
        source: &AptSource,
        folder: &str,
        suite: &mut Suite,
    ) -> Result<Release, PatchError> {
        let ring = self.keyring(source);
        let mut address = format!("{folder}/InRelease");
        let verified = match self.get(&address, RELEASE_BYTES_MAX) {
            Ok(bytes) => ring.verify_text(&bytes, self.now),
            Err(missing @ PatchError::Fetch { .. }) => {
                let name = format!("{folder}/Release");
                let Ok(bytes) = self.get(&name, RELEASE_BYTES_MAX) else { return Err(missing) };
                address = name;
                let signature = self.get(&format!("{address}.gpg"), SIGNATURE_BYTES_MAX)?;
                ring.verify_apart(&bytes, &signature, self.now)
            }
            Err(error) => return Err(error),
        };
        let (text, key) = verified.map_err(|why| PatchError::untrusted(&address, why))?;
        let release = read_release(&text, &address)?;
        suite.date = release.date;
        suite.signed_by = Some(key);
        if let Some(date) = release.date.filter(|date| date.since(self.now) > SKEW_MAX) {
            return Err(PatchError::untrusted(address, format!("it is of the future: {date}")));
        }
        if let Some(end) = release.valid_until.filter(|end| *end < self.now) {
            return Err(PatchError::untrusted(address, format!("it was valid until {end}")));
        }
        Ok(release)
    }

    /// An index, proved by the digest that the release states; none when there is none.
    fn index(
        &self,
        folder: &str,
        index: &str,
        release: &Release,
    ) -> Result<Option<Vec<u8>>, PatchError> {
        let forms = [".xz", ".gz", ""].map(|suffix| (suffix, format!("{index}{suffix}")));
        let listed = forms.iter().find_map(|(suffix, path)| {
            release.files.get(path).map(|(digest, size)| (*suffix, path, *digest, *size))
        });
        let Some((suffix, path, digest, size)) = listed else { return Ok(None) };
        let address = format!("{folder}/{path}");
        if size > INDEX_BYTES_MAX {
            return Err(PatchError::document(address, "the index is too large"));
        }
        let is_right = |bytes: &Vec<u8>| bytes.len() as u64 == size && Digest::of(bytes) == digest;
        let by_hash = release.by_hash.then(|| {
            let place = address.rsplit_once('/').map_or(folder, |(place, _)| place);
            self.get(&format!("{place}/by-hash/SHA256/{}", digest.hex()), size).ok()
        });
        let bytes = match by_hash.flatten().filter(is_right) {
            Some(bytes) => bytes,
            None => self.get(&address, size)?,
        };
        if !is_right(&bytes) {
            return Err(PatchError::untrusted(address, "it is not what the signed release lists"));
        }
        // Only now: what is decompressed is what the repository's owner signed.
        let plain: Box<dyn Read + '_> = match suffix {
            ".xz" => Box::new(lzma_rust2::XzReader::new(bytes.as_slice(), true)),
            ".gz" => Box::new(flate2::read::MultiGzDecoder::new(bytes.as_slice())),
            _ => Box::new(bytes.as_slice()),
        };
        let plain = read_bounded(plain, "index", INDEX_BYTES_MAX);
        plain.map(Some).map_err(|error| PatchError::document(&address, error.to_string()))
    }
}

/// A mirror must not answer with another suite, though it be signed.
fn is_meant(release: &Release, source: &AptSource, address: &str) -> Result<(), PatchError> {
    let plain = source.suite.trim_end_matches("/updates");
    let names = [&release.suite, &release.codename];
    if names.iter().any(|name| **name == source.suite || **name == plain) {
        return Ok(());
    }
    let why = format!("it is the suite `{}` (`{}`)", release.suite, release.codename);
    Err(PatchError::untrusted(address, why))
}
