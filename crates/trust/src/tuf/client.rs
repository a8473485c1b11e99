//! The client's way (TUF specification, 5): root after root, then timestamp, snapshot, targets,
//! and the file.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::ROOT;
use super::delegation::file_name;
use super::error::TufError;
use super::metadata::{
    Announced, Document, METADATA_BYTES_MAX, Role, Root, Signers, Snapshot, Target, Targets,
    Timestamp,
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
/// The folder of what delegated roles signed, so that none of their names is one of ours.
const DELEGATED: &str = "delegated";
/// Delegated roles that are asked for one file.
pub const DELEGATED_MAX: usize = 32;

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
    local.keep_delegated(&BTreeSet::new())?;
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
    let mut first = [root, timestamp, snapshot, targets].into_iter().min()?;
    // What a process that was killed left half written has another ending.
    let is_whole = |name: &String| Path::new(name).extension().is_some_and(|it| it == "json");
    for name in local.delegated().ok()?.into_iter().filter(is_whole) {
        first = first.min(local.document::<Targets>(&name).ok()??.0.expires.1);
    }
    Some(first)
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
    let found = client.find(&root.body, &snapshot.body, name)?;
    let bytes = client.target(&root.body, name, &found.target)?;
    let all = [&root.expires, &timestamp.expires, &snapshot.expires, &found.expires];
    let first = all.into_iter().min_by_key(|(_, at)| *at);
    Ok(Refreshed {
        versions: [root.version, timestamp.version, snapshot.version, found.version],
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

    /// The files of what delegated roles signed.
    fn delegated(&self) -> Result<Vec<String>, TufError> {
        let entries = match std::fs::read_dir(self.folder.join(DELEGATED)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("read", DELEGATED)(error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.map(|name| format!("{DELEGATED}/{name}")).collect())
    }

    /// Removes what is kept of delegated roles but these files.
    fn keep_delegated(&self, kept: &BTreeSet<String>) -> Result<(), TufError> {
        let others = self.delegated()?.into_iter().filter(|name| !kept.contains(name));
        others.into_iter().try_for_each(|name| self.remove(&name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TufError> {
        if name.starts_with(DELEGATED) {
            std::fs::create_dir_all(self.folder.join(DELEGATED))
                .map_err(self.failed("write", DELEGATED))?;
        }
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

/// A file that is in the list of some role.
struct Found {
    target: Target,
    /// Version of the role `targets`.
    version: u64,
    /// When the first document expires that was read on the way.
    expires: (String, i64),
}

/// One role of the way to a file.
struct Step<'w> {
    name: &'w str,
    signers: Signers<'w>,
}

impl Root {
    fn step<'w>(&'w self, name: &'static str) -> Result<Step<'w>, TufError> {
        let signers = self.signers(name).ok_or_else(|| TufError::Malformed {
            role: Self::NAME.into(),
            problem: format!("it does not say who signs `{name}`"),
        })?;
        Ok(Step { name, signers })
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
                    role: Root::NAME.into(),
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

    /// The document of a role that another one announces: what is kept in the file `local`, if
    /// it is that, or a new one.
    fn announced<T: Role>(
        &self,
        root: &Root,
        role: &Step<'_>,
        local: &str,
        announced: &Announced,
    ) -> Result<(Document<T>, Option<Vec<u8>>), TufError> {
        let name = format!("{}.json", file_name(role.name));
        let known = self.local.document::<T>(local)?;
        if let Some((known, bytes)) = known
            && known.version == announced.version
            && announced.check(&name, &bytes).is_ok()
            && known.verify_by(Some(role.signers), true).is_ok()
        {
            known.check_expiry(self.now)?;
            return Ok((known, None));
        }
        let path =
            if root.consistent_snapshot { format!("{}.{name}", announced.version) } else { name };
        let bytes = self.needed(&path, announced.limit())?;
        announced.check(&path, &bytes)?;
        let new = Document::<T>::parse_of(role.name, &bytes)?;
        new.verify_by(Some(role.signers), true)?;
        if new.version != announced.version {
            return Err(TufError::WrongVersion {
                role: role.name.to_string(),
                expected: announced.version,
                found: new.version,
            });
        }
        new.check_expiry(self.now)?;
        Ok((new, Some(bytes)))
    }

    fn snapshot(&self, root: &Root, announced: &Announced) -> Result<Document<Snapshot>, TufError> {
        let role = root.step(Snapshot::NAME)?;
        let (new, bytes) = self.announced::<Snapshot>(root, &role, SNAPSHOT, announced)?;
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

    /// The list of a role that has files.
    fn targets(
        &self,
        root: &Root,
        role: &Step<'_>,
        local: &str,
        announced: &Announced,
    ) -> Result<Document<Targets>, TufError> {
        let (new, bytes) = self.announced::<Targets>(root, role, local, announced)?;
        if let Some(bytes) = bytes {
            self.local.write(local, &bytes)?;
        }
        Ok(new)
    }

    /// Looks for a file in the lists of `targets` and those to whom it delegates, one after the
    /// other, each before those to whom it delegates itself (specification, 5.6.7).
    fn find(&self, root: &Root, snapshot: &Snapshot, name: &str) -> Result<Found, TufError> {
        let none = || TufError::NoTarget { name: name.to_string() };
        let role = root.step(Targets::NAME)?;
        let top = self.targets(root, &role, TARGETS, snapshot.targets(Targets::NAME)?)?;
        let (version, mut expires) = (top.version, top.expires.clone());
        let mut kept = BTreeSet::new();
        let found = match top.body.file(name) {
            Some(target) => Some(target.clone()),
            None => self.descend(root, snapshot, name, top, &mut expires, &mut kept)?,
        };
        self.local.keep_delegated(&kept)?;
        Ok(Found { target: found.ok_or_else(none)?, version, expires })
    }

    /// The part of [`find`](Self::find) below `top`: a walk without recursion, over at most
    /// [`DELEGATED_MAX`] roles, each of them once.
    fn descend(
        &self,
        root: &Root,
        snapshot: &Snapshot,
        name: &str,
        top: Document<Targets>,
        expires: &mut (String, i64),
        kept: &mut BTreeSet<String>,
    ) -> Result<Option<Target>, TufError> {
        let mut parents = vec![top];
        // Roles that are still to be asked, the next one last, each with its parent.
        let mut open: Vec<(usize, String)> = Vec::new();
        Self::push_branches(&parents, name, &mut open);
        let mut seen = BTreeSet::new();
        while let Some((parent, role)) = open.pop() {
            if !seen.insert(role.clone()) {
                continue;
            }
            if seen.len() > DELEGATED_MAX {
                return Err(TufError::TooManyRoles { name: name.to_string() });
            }
            let delegations = parents.get(parent).and_then(|it| it.body.delegations.as_ref());
            let branches = delegations.map(|it| it.of(name)).unwrap_or_default();
            let Some(branch) = branches.into_iter().find(|it| it.name == role) else { continue };
            let step = Step { name: &role, signers: branch.signers };
            let local = format!("{DELEGATED}/{}.json", file_name(&role));
            let found = self.targets(root, &step, &local, snapshot.targets(&role)?)?;
            if found.expires.1 < expires.1 {
                expires.clone_from(&found.expires);
            }
            kept.insert(local);
            if let Some(target) = found.body.file(name) {
                return Ok(Some(target.clone()));
            }
            parents.push(found);
            Self::push_branches(&parents, name, &mut open);
        }
        Ok(None)
    }

    /// Adds the roles to which the last of `parents` delegates the file; one that ends the
    /// search takes all that were still open.
    fn push_branches(parents: &[Document<Targets>], name: &str, open: &mut Vec<(usize, String)>) {
        let Some((last, others)) = parents.split_last() else { return };
        let Some(delegations) = &last.body.delegations else { return };
        let branches = delegations.of(name);
        if branches.last().is_some_and(|branch| branch.is_terminating) {
            open.clear();
        }
        open.extend(branches.into_iter().rev().map(|branch| (others.len(), branch.name)));
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
