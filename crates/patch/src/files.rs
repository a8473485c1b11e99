//! What an image's file system looks like, and the content of the files that matter here.

use std::collections::BTreeMap;

use palisade_base::read_bounded;
use palisade_image::{FileKind, Image, Visit};
use palisade_packages::rpm;

use crate::PatchError;

/// Entries of an image that are held.
pub(crate) const ENTRIES_MAX: u64 = 2_000_000;
/// Content of one file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Content of all files that are held, in bytes.
const CONTENT_BYTES_MAX: u64 = 512 << 20;
/// Links that are followed for one path.
const LINKS_MAX: usize = 40;

/// Where the files lie whose content is held.
const WANTED: &[&str] = &[
    "etc/",
    "usr/share/keyrings/",
    "var/lib/dpkg/",
    "lib/apk/db/",
    "usr/lib/apk/db/",
    "var/lib/rpm/",
    "usr/lib/sysimage/rpm/",
    "usr/share/rpm/",
    "usr/lib/rpm/gnupg/keys/",
    "usr/lib/os-release",
];

/// Keys may lie anywhere (`Signed-By`); larger ones elsewhere are not held.
const KEY_BYTES_MAX: u64 = 1 << 20;

/// How large a file may be whose content is held.
fn bytes_max(path: &str) -> u64 {
    let is_database = rpm::FOLDERS.iter().any(|folder| path.starts_with(folder));
    if is_database { rpm::DATABASE_BYTES_MAX } else { FILE_BYTES_MAX }
}

fn is_key(path: &str) -> bool {
    let extension = std::path::Path::new(path).extension().and_then(|it| it.to_str());
    matches!(extension, Some("gpg" | "asc" | "pgp"))
}

/// One entry of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change, in seconds since 1970.
    pub mtime: i64,
    /// Target of a link.
    pub link: Option<String>,
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// The content, of files of repositories, dpkg and `etc`.
    pub content: Option<Vec<u8>>,
}

/// The entries of an image by path, without a leading slash.
#[derive(Debug, Clone, Default)]
pub struct Files {
    nodes: BTreeMap<String, Node>,
}

impl Files {
    /// Reads `image` in one walk.
    pub fn read(image: &Image) -> Result<Self, PatchError> {
        let (mut nodes, mut n_bytes, mut failure) = (BTreeMap::new(), 0_u64, None);
        image.walk(&mut |entry, content| {
            let is_wanted = WANTED.iter().any(|prefix| entry.path.starts_with(prefix))
                || (is_key(&entry.path) && entry.size <= KEY_BYTES_MAX);
            if nodes.len() as u64 >= ENTRIES_MAX {
                failure = Some(PatchError::TooMuch { what: "entries", limit: ENTRIES_MAX });
                return Visit::Stop;
            }
            let mut node = Node {
                kind: entry.kind,
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                mtime: entry.mtime,
                link: entry.link.clone(),
                xattrs: entry.xattrs.clone(),
                content: None,
            };
            if is_wanted && entry.kind == FileKind::HardLink {
                return Visit::Follow;
            }
            if is_wanted && entry.kind == FileKind::Regular && entry.size <= bytes_max(&entry.path)
            {
                n_bytes += entry.size;
                if n_bytes > CONTENT_BYTES_MAX {
                    let what = "bytes below etc and in databases of packages";
                    failure = Some(PatchError::TooMuch { what, limit: CONTENT_BYTES_MAX });
                    return Visit::Stop;
                }
                match read_bounded(content, "file", bytes_max(&entry.path)) {
                    Ok(bytes) => node.content = Some(bytes),
                    Err(error) => {
                        failure = Some(PatchError::document(&entry.path, error.to_string()));
                        return Visit::Stop;
                    }
                }
            }
            nodes.insert(entry.path.clone(), node);
            Visit::Continue
        })?;
        match failure {
            Some(error) => Err(error),
            None => Ok(Self { nodes }),
        }
    }

    /// Of nodes, for tests.
    pub fn of(nodes: impl IntoIterator<Item = (String, Node)>) -> Self {
        Self { nodes: nodes.into_iter().collect() }
    }

    /// Puts a file at `path`, through links of its folders, or takes away what is there.
    pub(crate) fn put(&mut self, path: &str, content: Option<Vec<u8>>) {
        let at = self.resolve(path).unwrap_or_else(|| path.to_string());
        self.nodes.remove(&at);
        if let Some(content) = content {
            let node = Node {
                kind: FileKind::Regular,
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: 0,
                link: None,
                xattrs: Vec::new(),
                content: Some(content),
            };
            self.nodes.insert(at, node);
        }
    }

    /// The entry at `path`, itself.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The content of the file at `path`, through links.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        let node = self.nodes.get(&self.resolve(path)?)?;
        node.content.as_deref()
    }

    /// Paths below a folder, which ends with a slash.
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let all = self.nodes.range(folder.to_string()..);
        all.take_while(move |(path, _)| path.starts_with(folder))
            .map(|(path, node)| (path.as_str(), node))
    }

    /// The path with every link followed, those of its last component included.
    pub fn resolve(&self, path: &str) -> Option<String> {
        self.follow(path, true)
    }

    /// The path with the links of its folders followed. What is not there is as it is written.
    pub fn resolve_parent(&self, path: &str) -> Option<String> {
        self.follow(path, false)
    }

    fn follow(&self, path: &str, last: bool) -> Option<String> {
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_string).collect();
        let mut done: Vec<String> = Vec::new();
        let mut n_links = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    done.pop();
                    continue;
                }
                _ => {}
            }
            done.push(part);
            if rest.is_empty() && !last {
                break;
            }
            let so_far = done.join("/");
            if let Some(Node { kind: FileKind::Symlink, link: Some(link), .. }) =
                self.nodes.get(&so_far)
            {
                n_links += 1;
                if n_links > LINKS_MAX {
                    return None;
                }
                done.pop();
                if link.starts_with('/') {
                    done.clear();
                }
                rest.extend(link.split('/').rev().map(str::to_string));
            }
        }
        Some(done.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(to: &str) -> Node {
        Node {
            kind: FileKind::Symlink,
            mode: 0o777,
            uid: 0,
            gid: 0,
            mtime: 0,
            link: Some(to.into()),
            xattrs: Vec::new(),
            content: None,
        }
    }

    #[test]
    fn links_stay_within_the_image() {
        let files = Files::of([
            ("lib".to_string(), link("usr/lib")),
            ("up".to_string(), link("../../../etc")),
            ("a".to_string(), link("b")),
            ("b".to_string(), link("a")),
            ("usr/lib/x.so".to_string(), link("x.so.1")),
        ]);
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(files.resolve(path).as_deref(), expected, "{path}");
        };
        check("lib/x", Some("usr/lib/x"));
        check("up/passwd", Some("etc/passwd"));
        check("a", None);
        check("lib/x.so", Some("usr/lib/x.so.1"));
        assert_eq!(files.resolve_parent("lib/x.so").as_deref(), Some("usr/lib/x.so"));
    }
}
