//! Packages of Debian, read whole (`deb(5)`; `ar` as in 4.4BSD without long names).
//!
//! What is read was proved by the digest of a signed index before. It is bounded all the same,
//! and nothing of it is executed.

use std::collections::BTreeMap;
use std::io::{self, Read};

use palisade_base::{Bounded, read_bounded};
use palisade_image::{FileKind, Limits, RawKind, TarReader};

use crate::PatchError;

/// A package beyond this many bytes is refused.
pub const DEB_BYTES_MAX: u64 = 1 << 30;
/// Files of one package beyond this many bytes, decompressed, are refused.
const DATA_BYTES_MAX: u64 = 4 << 30;
/// Control files of one package beyond this many bytes are refused.
const CONTROL_BYTES_MAX: u64 = 64 << 20;
/// Files of one package.
const ENTRIES_MAX: u64 = 1_000_000;
/// Members of the outer archive; a package has three.
const MEMBERS_MAX: usize = 32;

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebFile {
    /// Path without a leading slash; the root is empty.
    pub path: String,
    /// What it is: a file, a folder or a link.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change, in seconds since 1970.
    pub mtime: i64,
    /// Target of a link; that of a hard link is a path of the package.
    pub link: String,
    /// Content of a file.
    pub content: Vec<u8>,
}

/// A package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deb {
    /// What dpkg keeps of it, by name: `control`, `md5sums`, `postinst`.
    pub control: BTreeMap<String, ControlFile>,
    /// Its files in their order.
    pub files: Vec<DebFile>,
}

/// A file of `control.tar`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: Vec<u8>,
}

/// Reads a package. `name` is what errors call it.
pub fn read_deb(bytes: &[u8], name: &str) -> Result<Deb, PatchError> {
    let bad = |why: String| PatchError::document(name, why);
    let mut rest = bytes
        .strip_prefix(b"!<arch>\n")
        .ok_or_else(|| bad("it does not begin as a package of Debian".into()))?;
    let (mut control, mut files) = (None, None);
    for n in 0.. {
        if rest.is_empty() {
            break;
        }
        if n >= MEMBERS_MAX {
            return Err(bad(format!("it has more than {MEMBERS_MAX} members")));
        }
        let (member, body, after) =
            member(rest).ok_or_else(|| bad("it ends within a member".into()))?;
        rest = after;
        let read = |limit: u64| entries(&member, body, limit).map_err(|why| bad(why.clone()));
        match member.split('.').next() {
            Some("control") if control.is_none() => control = Some(read(CONTROL_BYTES_MAX)?),
            Some("data") if files.is_none() => files = Some(read(DATA_BYTES_MAX)?),
            Some("control" | "data") => return Err(bad(format!("it has two members `{member}`"))),
            _ => {}
        }
    }
    let (Some(control), Some(files)) = (control, files) else {
        return Err(bad("it has no control or no data member".into()));
    };
    let control = control.into_iter().filter(|file| file.kind == FileKind::Regular);
    let control: BTreeMap<String, ControlFile> = control
        .map(|file| (file.path, ControlFile { mode: file.mode, content: file.content }))
        .collect();
    if !control.contains_key("control") {
        return Err(bad("it has no file `control`".into()));
    }
    if let Some(path) = control.keys().find(|path| !is_control_name(path)) {
        return Err(bad(format!("`{path}` is no name of a control file")));
    }
    Ok(Deb { control, files })
}

/// Names that dpkg accepts below `info`; a slash would leave it.
fn is_control_name(path: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !path.is_empty() && path.len() <= 50 && path != "list" && path.chars().all(is_plain)
}

/// The first member of `rest`: name, body, what follows.
fn member(rest: &[u8]) -> Option<(String, &[u8], &[u8])> {
    let (header, rest) = rest.split_at_checked(60)?;
    let text = |range: std::ops::Range<usize>| {
        header.get(range).map(|bytes| String::from_utf8_lossy(bytes).trim().to_string())
    };
    let name = text(0..16)?.trim_end_matches('/').to_string();
    let size: usize = text(48..58)?.parse().ok()?;
    if header.get(58..) != Some(b"`\n") {
        return None;
    }
    let (body, rest) = rest.split_at_checked(size)?;
    // Members are aligned to two bytes.
    Some((name, body, rest.get(size % 2..).unwrap_or_default()))
}

fn entries(member: &str, body: &[u8], limit: u64) -> Result<Vec<DebFile>, String> {
    let plain: Box<dyn Read + '_> = match member.rsplit('.').next() {
        Some("tar") => Box::new(body),
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Some("xz") => Box::new(lzma_rust2::XzReader::new(body, true)),
        Some("zst") => Box::new(
            ruzstd::decoding::StreamingDecoder::new(body)
                .map_err(|error| format!("member `{member}`: {error}"))?,
        ),
        _ => return Err(format!("member `{member}` has a compression that is not known")),
    };
    read_entries(plain, limit).map_err(|error| format!("member `{member}`: {error}"))
}

fn read_entries(plain: impl Read, limit: u64) -> io::Result<Vec<DebFile>> {
    let limits = Limits::default();
    let plain = Bounded::new(plain, "files of the package", limit);
    let mut archive = TarReader::new(plain, &limits, ENTRIES_MAX);
    let mut files = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let odd = |what: &str| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            io::Error::other(format!("`{path}` {what}"))
        };
        let RawKind::File(kind) = entry.kind else { return Err(odd("is of an unknown kind")) };
        let path = clean(&entry.path).ok_or_else(|| odd("is no path of a package"))?;
        let link = match kind {
            FileKind::HardLink => {
                clean(&entry.link).ok_or_else(|| odd("links out of the package"))?
            }
            FileKind::Symlink => {
                String::from_utf8(entry.link.clone()).map_err(|_| odd("has no readable target"))?
            }
            FileKind::Regular | FileKind::Folder => String::new(),
            _ => return Err(odd("is a device or a pipe")),
        };
        let id = |id: u64| u32::try_from(id).map_err(|_| odd("has an owner out of range"));
        let (uid, gid) = (id(entry.uid)?, id(entry.gid)?);
        let content = match kind {
            FileKind::Regular => read_bounded(&mut archive, "file", limit)?,
            _ => Vec::new(),
        };
        let (mode, mtime) = (entry.mode & 0o7777, entry.mtime);
        files.push(DebFile { path, kind, mode, uid, gid, mtime, link, content });
    }
    Ok(files)
}

/// The path below the root; nothing for one that leaves it or that no list of dpkg can hold.
fn clean(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            // A whiteout would hide another package's file.
            part if part.starts_with(".wh.") || part.contains(['\n', '\0']) => return None,
            part => parts.push(part),
        }
    }
    (!path.starts_with('/')).then(|| parts.join("/"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// An `ar` archive.
    pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = b"!<arch>\n".to_vec();
        for (name, bytes) in members {
            let mut header = String::new();
            let size = bytes.len();
            writeln!(header, "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 0, 100_644)
                .unwrap();
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(bytes);
            if size % 2 == 1 {
                out.push(b'\n');
            }
        }
        out
    }

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            // Written as it is: `tar` refuses paths that leave the archive.
            let name = &mut header.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn reads_a_package_and_refuses_what_is_none() {
        let control = tar(&[("./control", b"Package: a\n"), ("./postinst", b"#!")]);
        let data = tar(&[("./usr/bin/a", b"x")]);
        let deb =
            ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &data)]);
        let found = read_deb(&deb, "d").unwrap();
        assert_eq!(found.control["postinst"].content, b"#!");
        assert_eq!(found.files[0].path, "usr/bin/a");
        let check = |members: &[(&str, &[u8])], expected: &str| {
            let error = read_deb(&ar(members), "d").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let good = ("control.tar", control.as_slice());
        check(&[], "d: it has no control or no data member");
        check(&[good, good], "two members");
        check(&[good, ("data.tar.lzo", b"")], "a compression that is not known");
        check(&[good, ("data.tar", &tar(&[("../a", b"")]))], "`../a` is no path of a package");
        check(&[good, ("data.tar", &tar(&[("/a", b"")]))], "`/a` is no path of a package");
        check(&[good, ("data.tar", &tar(&[("./.wh.a", b"")]))], "is no path of a package");
        check(
            &[("control.tar", &tar(&[("./x/y", b"")])), ("data.tar", &data)],
            "no file `control`",
        );
        let odd = tar(&[("./control", b""), ("./x/y", b"")]);
        check(&[("control.tar", &odd), ("data.tar", &data)], "`x/y` is no name of a control file");
        check(&vec![("x", &b""[..]); MEMBERS_MAX + 1], "more than 32 members");
        assert!(read_deb(&deb[..deb.len() - 600], "d").is_err());
        assert!(read_deb(b"", "d").is_err());
    }
}
