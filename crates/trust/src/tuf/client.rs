//! The client's way (TUF specification, 5): root after root, then timestamp, snapshot, targets,
//! and the file.

use std::io;
use std::path::{Path, PathBuf};

use super::ROOT;
use super::error::TufError;
use super::metadata::{
    Announced, Document, METADATA_BYTES_MAX, Role, Root, Snapshot, Target, Targets, Timestamp,
};

/// Roots that are followed in one go.
const ROTATIONS_MAX: u64 = 256;
/// Largest root and timestamp, in bytes: nothing announces their length.
const ROOT_BYTES_MAX: u64 = 1 << 20;
const TIMESTAMP_BYTES_MAX: u64 = 64 << 10;
/// Largest file that is wanted, in bytes.
const TARGET_BYTES_MAX: u64 = 16 << 20;
const TIMESTAMP: &str = "timestamp.json";
const SNAPSHOT: &str = "snapshot.json";
const TARGETS: &str = "targets.json";

/// Where a repository's files are.
pub trait Repository {
    /// The file at `path` (with `/`) below the repository, of at most `limit` bytes; `None`
    /// where it has none.
    ///
    /// # Errors
    ///
    /// Nobody can tell, or the file is larger ([`io::ErrorKind::FileTooLarge`]).
    fn get(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;
}

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// Versions of root, timestamp, snapshot and targets.
    pub versions: [u64; 4],
    /// When the first of them expires: the repository has newer ones before.
    pub expires: String,
    /// The file that was wanted.
    pub target: Vec<u8>,
}

/// Begins to trust the root in `bytes`, which somebody brought, and forgets what was known of
/// the repository before, if that is wanted. Gives the root's version.
///
/// # Errors
///
/// It is no root, is not signed by its own keys, or there is one already.
pub fn begin(folder: &Path, bytes: &[u8], replace: bool) -> Result<u64, TufError> {
    let root = Document::<Root>::parse(bytes)?;
    root.verify_itself()?;
    if let Some(version) = held(folder)?
        && !replace
    {
        return Err(TufError::RootExists { version });
    }
    let local = Local { folder: folder.to_path_buf() };
    std::fs::create_dir_all(folder).map_err(local.failed("write", ""))?;
    for name in [TIMESTAMP, SNAPSHOT, TARGETS] {
        local.remove(name)?;
    }
    local.write(ROOT, bytes)?;
    Ok(root.version)
}

/// The version of the root that is trusted, if one is.
///
/// # Errors
///
/// What is kept here is damaged.
pub fn held(folder: &Path) -> Result<Option<u64>, TufError> {
    let local = Local { folder: folder.to_path_buf() };
    Ok(local.document::<Root>(ROOT)?.map(|(root, _)| root.version))
}

/// When the first of the documents that are kept in `folder` expires, in seconds since the epoch;
/// `None`: there are none, or one cannot be read.
pub fn expires(folder: &Path) -> Option<i64> {
    let local = Local { folder: folder.to_path_buf() };
    let root = local.document::<Root>(ROOT).ok()??.0.expires.1;
    let timestamp = local.document::<Timestamp>(TIMESTAMP).ok()??.0.expires.1;
    let snapshot = local.document::<Snapshot>(SNAPSHOT).ok()??.0.expires.1;
    let targets = local.document::<Targets>(TARGETS).ok()??.0.expires.1;
    [root, timestamp, snapshot, targets].into_iter().min()
}

/// Brings what is known of a repository up to date and gives its newest file `name`. `now` is in
/// seconds since the epoch.
///
/// # Errors
///
/// See [`TufError`]. What was verified before something was refused stays known.
pub fn refresh(
    folder: &Path,
    repository: &dyn Repository,
    name: &str,
    now: i64,
) -> Result<Refreshed, TufError> {
    let client = Client { local: Local { folder: folder.to_path_buf() }, repository, now };
    let root = client.root()?;
    let timestamp = client.timestamp(&root.body)?;
    let snapshot = client.snapshot(&root.body, timestamp.body.snapshot()?)?;
    let targets = client.targets(&root.body, snapshot.body.targets()?)?;
    let target =
        targets.body.file(name).ok_or_else(|| TufError::NoTarget { name: name.to_string() })?;
    let bytes = client.target(&root.body, name, target)?;
    let all = [&root.expires, &timestamp.expires, &snapshot.expires, &targets.expires];
    let first = all.into_iter().min_by_key(|(_, at)| *at);
    Ok(Refreshed {
        versions: [root.version, timestamp.version, snapshot.version, targets.version],
        expires: first.map(|(text, _)| text.clone()).unwrap_or_default(),
        target: bytes,
    })
}

/// A document, and its bytes.
type Kept<T> = (Document<T>, Vec<u8>);

/// What is kept of a repository.
struct Local {
    folder: PathBuf,
}

impl Local {
    fn failed<'l>(
        &'l self,
        action: &'static str,
        name: &'l str,
    ) -> impl FnOnce(io::Error) -> TufError + 'l {
        move |source| TufError::Local { action, path: self.folder.join(name), source }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, TufError> {
        let file = match std::fs::File::open(self.folder.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", name)(error)),
        };
        palisade_base::read_bounded(file, "metadata", METADATA_BYTES_MAX)
            .map(Some)
            .map_err(self.failed("read", name))
    }

    /// A document that was verified when it was written, and its bytes.
    fn document<T: Role>(&self, name: &str) -> Result<Option<Kept<T>>, TufError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let document = Document::parse(&bytes).map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            self.failed("read", name)(source)
        })?;
        Ok(Some((document, bytes)))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TufError> {
        palisade_base::fs::write_atomic(&self.folder.join(name), bytes, 0o644)
            .map_err(self.failed("write", name))
    }

    fn remove(&self, name: &str) -> Result<(), TufError> {
        match std::fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("write", name)(error))
            }
            _ => Ok(()),
        }
    }
}

struct Client<'c> {
    local: Local,
    repository: &'c dyn Repository,
    now: i64,
}

impl Client<'_> {
    fn fetch(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
        let found = self.repository.get(path, limit).map_err(|source| match source.kind() {
            io::ErrorKind::FileTooLarge => TufError::TooLarge { path: path.into(), limit },
            _ => TufError::Fetch { path: path.into(), source },
        })?;
        if found.as_ref().is_some_and(|bytes| bytes.len() as u64 > limit) {
            return Err(TufError::TooLarge { path: path.into(), limit });
        }
        Ok(found)
    }

    fn needed(&self, path: &str, limit: u64) -> Result<Vec<u8>, TufError> {
        self.fetch(path, limit)?.ok_or_else(|| TufError::Missing { path: path.into() })
    }

    /// Follows the roots, each signed by the one before and by itself.
    fn root(&self) -> Result<Document<Root>, TufError> {
        let Some((mut root, _)) = self.local.document::<Root>(ROOT)? else {
            return Err(TufError::NoRoot);
        };
        root.verify_itself()?;
        let first = root.body.clone();
        for _ in 0..ROTATIONS_MAX {
            let expected = root.version.saturating_add(1);
            let Some(bytes) = self.fetch(&format!("{expected}.{ROOT}"), ROOT_BYTES_MAX)? else {
                break;
            };
            let next = Document::<Root>::parse(&bytes)?;
            next.verify(&root.body)?;
            next.verify_itself()?;
            if next.version != expected {
                return Err(TufError::WrongVersion {
                    role: Root::NAME,
                    expected,
                    found: next.version,
                });
            }
            // Keys that were exchanged may have been stolen, and have announced versions
            // that nobody reaches: what they signed is forgotten (specification, 5.3.11).
            let same = ["timestamp", "snapshot"].map(|role| first.signs_as(&next.body, role));
            if same.contains(&false) {
                self.local.remove(TIMESTAMP)?;
                self.local.remove(SNAPSHOT)?;
            }
            self.local.write(ROOT, &bytes)?;
            root = next;
        }
        root.check_expiry(self.now)?;
        Ok(root)
    }

    fn timestamp(&self, root: &Root) -> Result<Document<Timestamp>, TufError> {
        let bytes = self.needed(TIMESTAMP, TIMESTAMP_BYTES_MAX)?;
        let new = Document::<Timestamp>::parse(&bytes)?;
        new.verify(root)?;
        if let Some((known, _)) = self.local.document::<Timestamp>(TIMESTAMP)? {
            let back = |known: u64, found: u64, role: &str| {
                let role = role.to_string();
                if found < known { Err(TufError::Rollback { role, known, found }) } else { Ok(()) }
            };
            back(known.version, new.version, "timestamp")?;
            let versions = (known.body.snapshot()?.version, new.body.snapshot()?.version);
            back(versions.0, versions.1, "snapshot")?;
            if known.version == new.version {
                known.verify(root)?;
                known.check_expiry(self.now)?;
                return Ok(known);
            }
        }
        new.check_expiry(self.now)?;
        self.local.write(TIMESTAMP, &bytes)?;
        Ok(new)
    }

    /// A document that another one announces: what is here, if it is that, or a new one.
    fn announced<T: Role>(
        &self,
        root: &Root,
        name: &'static str,
        announced: &Announced,
    ) -> Result<(Document<T>, Option<Vec<u8>>), TufError> {
        let known = self.local.document::<T>(name)?;
        if let Some((known, bytes)) = known
            && known.version == announced.version
            && announced.check(name, &bytes).is_ok()
            && known.verify(root).is_ok()
        {
            known.check_expiry(self.now)?;
            return Ok((known, None));
        }
        let path = if root.consistent_snapshot {
            format!("{}.{name}", announced.version)
        } else {
            name.to_string()
        };
        let bytes = self.needed(&path, announced.limit())?;
        announced.check(&path, &bytes)?;
        let new = Document::<T>::parse(&bytes)?;
        new.verify(root)?;
        if new.version != announced.version {
            return Err(TufError::WrongVersion {
                role: T::NAME,
                expected: announced.version,
                found: new.version,
            });
        }
        new.check_expiry(self.now)?;
        Ok((new, Some(bytes)))
    }

    fn snapshot(&self, root: &Root, announced: &Announced) -> Result<Document<Snapshot>, TufError> {
        let (new, bytes) = self.announced::<Snapshot>(root, SNAPSHOT, announced)?;
        let Some(bytes) = bytes else { return Ok(new) };
        if let Some((known, _)) = self.local.document::<Snapshot>(SNAPSHOT)? {
            for (role, known) in &known.body.meta {
                let found = new.body.meta.get(role).map_or(0, |found| found.version);
                if found < known.version {
                    let (role, known) = (role.trim_end_matches(".json").into(), known.version);
                    return Err(TufError::Rollback { role, known, found });
                }
            }
        }
        self.local.write(SNAPSHOT, &bytes)?;
        Ok(new)
    }

    fn targets(&self, root: &Root, announced: &Announced) -> Result<Document<Targets>, TufError> {
        let (new, bytes) = self.announced::<Targets>(root, TARGETS, announced)?;
        if let Some(bytes) = bytes {
            self.local.write(TARGETS, &bytes)?;
        }
        Ok(new)
    }

    fn target(&self, root: &Root, name: &str, target: &Target) -> Result<Vec<u8>, TufError> {
        let is_plain = |part: &str| !part.is_empty() && !matches!(part, "." | "..");
        if !name.split('/').all(is_plain) {
            return Err(TufError::NoTarget { name: name.to_string() });
        }
        if target.length > TARGET_BYTES_MAX {
            return Err(TufError::TooLarge { path: name.into(), limit: TARGET_BYTES_MAX });
        }
        let (folder, file) =
            name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
        let slash = if folder.is_empty() { "" } else { "/" };
        let file = match target.digest() {
            Some(digest) if root.consistent_snapshot => format!("{digest}.{file}"),
            None if root.consistent_snapshot => {
                return Err(TufError::Mismatch { path: name.into(), what: "digest" });
            }
            _ => file.to_string(),
        };
        let path = format!("targets/{folder}{slash}{file}");
        let bytes = self.needed(&path, target.length)?;
        target.check(&path, &bytes)?;
        Ok(bytes)
    }
}
