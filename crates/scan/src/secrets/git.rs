//! What a Git repository that was copied into an image still holds: loose objects and packs.
//!
//! A secret that a later commit removed is still in both. Objects are inflated one by one and
//! shown to a visitor; nothing is kept. Of deltas the visitor sees the delta itself, in which
//! added text stands in pieces of at most 127 bytes: long secrets in deltas can be missed.
//! (gitformat-pack(5), version 2 and 3; gitformat-loose is an object header and the content,
//! deflated.)

use flate2::{Decompress, FlushDecompress, Status};

/// Packs and objects beyond this many bytes are not read.
pub const PACK_BYTES_MAX: u64 = 64 << 20;
/// Objects that inflate to more than this are passed over.
pub const OBJECT_BYTES_MAX: usize = 4 << 20;
/// Bytes that one file may inflate to.
pub const INFLATED_BYTES_MAX: u64 = 512 << 20;
/// Objects of one pack beyond this number are not looked at.
pub const OBJECTS_MAX: u32 = 500_000;

/// What a file of a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitFile {
    /// One object.
    Loose,
    /// Many.
    Pack,
}

/// What reading a file of a repository gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Objects {
    /// Objects shown to the visitor.
    pub n_seen: u64,
    /// Objects that are too large, or that follow where the reading ended.
    pub n_skipped: u64,
    /// Why the reading ended early.
    pub problem: Option<&'static str>,
}

/// Whether `path` is that of a file of a repository with objects in it.
pub fn kind(path: &str) -> Option<GitFile> {
    let (before, name) = path.rsplit_once('/')?;
    let is_hex = |text: &str, n: &[usize]| {
        n.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if before.ends_with("objects/pack") && name.strip_suffix(".pack").is_some() {
        return Some(GitFile::Pack);
    }
    let (objects, fan) = before.rsplit_once('/')?;
    let is_objects = objects == "objects" || objects.ends_with("/objects");
    (is_objects && is_hex(fan, &[2]) && is_hex(name, &[38, 62])).then_some(GitFile::Loose)
}

/// Shows every object of the file to `visit`.
pub fn objects(kind: GitFile, bytes: &[u8], visit: &mut dyn FnMut(&[u8])) -> Objects {
    match kind {
        GitFile::Loose => loose(bytes, visit),
        GitFile::Pack => pack(bytes, visit),
    }
}

fn loose(bytes: &[u8], visit: &mut dyn FnMut(&[u8])) -> Objects {
    let mut content = Vec::new();
    match inflate(bytes, &mut content) {
        Ok(_) => {
            let start = content.iter().take(64).position(|b| *b == 0).map_or(0, |at| at + 1);
            // Trees hold names and hashes.
            if content.starts_with(b"blob ")
                || content.starts_with(b"commit ")
                || content.starts_with(b"tag ")
            {
                visit(content.get(start..).unwrap_or_default());
                return Objects { n_seen: 1, ..Objects::default() };
            }
            Objects::default()
        }
        Err(Inflate::TooLarge(_)) => Objects { n_skipped: 1, ..Objects::default() },
        Err(Inflate::Broken) => {
            Objects { n_skipped: 1, problem: Some("not a deflated object"), ..Objects::default() }
        }
    }
}

fn pack(bytes: &[u8], visit: &mut dyn FnMut(&[u8])) -> Objects {
    let mut found = Objects::default();
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let (Some(0x5041_434b), Some(2 | 3), Some(n)) = (number(0), number(4), number(8)) else {
        found.problem = Some("not a pack");
        return found;
    };
    let mut at = 12;
    let mut n_inflated = 0_u64;
    let mut content = Vec::new();
    for index in 0..n {
        let step = if index >= OBJECTS_MAX || n_inflated > INFLATED_BYTES_MAX {
            Err("more objects than the bound")
        } else {
            object(bytes, at, &mut content)
        };
        match step {
            Ok(Object { next, size, kind }) => {
                at = next;
                n_inflated += size;
                if size > content.len() as u64 {
                    found.n_skipped += 1;
                } else if kind != TREE {
                    visit(&content);
                    found.n_seen += 1;
                }
            }
            Err(problem) => {
                found.problem = Some(problem);
                found.n_skipped += u64::from(n - index);
                break;
            }
        }
    }
    found
}

const TREE: u8 = 2;
const OFFSET_DELTA: u8 = 6;
const NAME_DELTA: u8 = 7;

struct Object {
    /// Where the next one begins.
    next: usize,
    /// Its size inflated; the content is shorter when it was too large to keep.
    size: u64,
    kind: u8,
}

/// Reads the object at `at` into `content`.
fn object(bytes: &[u8], mut at: usize, content: &mut Vec<u8>) -> Result<Object, &'static str> {
    const SHORT: &str = "the pack ends within an object";
    let mut byte = || -> Result<u8, &'static str> {
        let value = bytes.get(at).copied().ok_or(SHORT)?;
        at += 1;
        Ok(value)
    };
    let first = byte()?;
    let kind = first >> 4 & 7;
    let mut more = first & 0x80 != 0;
    let mut n_size_bytes = 0;
    while more {
        more = byte()? & 0x80 != 0;
        n_size_bytes += 1;
        if n_size_bytes > 10 {
            return Err("an object's size is endless");
        }
    }
    match kind {
        1..=4 => {}
        OFFSET_DELTA => {
            let mut n_bytes = 0;
            while byte()? & 0x80 != 0 {
                n_bytes += 1;
                if n_bytes > 10 {
                    return Err("a delta's offset is endless");
                }
            }
        }
        // Names are of SHA-1; repositories of SHA-256 are told by the failure to inflate.
        NAME_DELTA => at += 20,
        _ => return Err("an object of no known kind"),
    }
    let data = bytes.get(at..).ok_or(SHORT)?;
    let (n_read, size) = match inflate(data, content) {
        Ok(n_read) => (n_read, content.len() as u64),
        Err(Inflate::TooLarge(n_read)) => {
            content.clear();
            (n_read, OBJECT_BYTES_MAX as u64 + 1)
        }
        Err(Inflate::Broken) => return Err("an object is not deflated"),
    };
    Ok(Object { next: at + n_read, size, kind })
}

enum Inflate {
    Broken,
    /// It ended, after this many bytes of input, and was too large to keep.
    TooLarge(usize),
}

/// Inflates one zlib stream into `content`; how many bytes of `data` it took.
fn inflate(data: &[u8], content: &mut Vec<u8>) -> Result<usize, Inflate> {
    let mut stream = Decompress::new(true);
    let mut chunk = vec![0_u8; 64 << 10];
    let mut is_too_large = false;
    content.clear();
    loop {
        let (n_in, n_out) = (stream.total_in() as usize, stream.total_out());
        let input = data.get(n_in..).unwrap_or_default();
        let status = stream
            .decompress(input, &mut chunk, FlushDecompress::None)
            .map_err(|_| Inflate::Broken)?;
        let n_new = (stream.total_out() - n_out) as usize;
        if content.len() + n_new > OBJECT_BYTES_MAX {
            is_too_large = true;
        } else if !is_too_large {
            content.extend_from_slice(chunk.get(..n_new).unwrap_or_default());
        }
        if stream.total_out() > INFLATED_BYTES_MAX {
            return Err(Inflate::Broken);
        }
        let n_in_new = stream.total_in() as usize;
        match status {
            Status::StreamEnd if is_too_large => return Err(Inflate::TooLarge(n_in_new)),
            Status::StreamEnd => return Ok(n_in_new),
            // No progress: the stream is cut off.
            _ if n_in_new == n_in && n_new == 0 => return Err(Inflate::Broken),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn header(kind: u8, mut size: usize) -> Vec<u8> {
        let mut out = vec![kind << 4 | (size & 15) as u8];
        size >>= 4;
        while size > 0 {
            *out.last_mut().unwrap() |= 0x80;
            out.push((size & 0x7f) as u8);
            size >>= 7;
        }
        out
    }

    fn pack_of(objects: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = b"PACK\0\0\0\x02".to_vec();
        out.extend((objects.len() as u32).to_be_bytes());
        for (kind, content) in objects {
            out.extend(header(*kind, content.len()));
            match *kind {
                OFFSET_DELTA => out.extend([0x81, 0x05]),
                NAME_DELTA => out.extend([9; 20]),
                _ => {}
            }
            out.extend(deflate(content));
        }
        out
    }

    fn seen(kind: GitFile, bytes: &[u8]) -> (Vec<Vec<u8>>, Objects) {
        let mut all = Vec::new();
        let found = objects(kind, bytes, &mut |content| all.push(content.to_vec()));
        (all, found)
    }

    #[test]
    fn names_tell_objects_from_others() {
        let name = "a".repeat(38);
        for (path, expected) in [
            (format!("srv/.git/objects/0f/{name}"), Some(GitFile::Loose)),
            (format!("repo.git/objects/0f/{name}"), Some(GitFile::Loose)),
            (format!("srv/.git/objects/zz/{name}"), None),
            ("srv/.git/objects/pack/pack-1.pack".into(), Some(GitFile::Pack)),
            ("srv/.git/objects/pack/pack-1.idx".into(), None),
            ("srv/.git/config".into(), None),
            ("x".into(), None),
        ] {
            assert_eq!(kind(&path), expected, "{path}");
        }
    }

    #[test]
    fn a_loose_object_is_its_content() {
        let (all, found) = seen(GitFile::Loose, &deflate(b"blob 5\0hello"));
        assert_eq!((all, found.n_seen), (vec![b"hello".to_vec()], 1));
        let (all, _) = seen(GitFile::Loose, &deflate(b"tree 5\0hello"));
        assert!(all.is_empty());
        let (_, found) = seen(GitFile::Loose, b"no object");
        assert_eq!(found.problem, Some("not a deflated object"));
    }

    #[test]
    fn every_object_of_a_pack_is_seen_but_trees() {
        let long = b"secret in a removed file\n".repeat(900);
        let pack = pack_of(&[
            (3, &long),
            (TREE, b"names"),
            (OFFSET_DELTA, b"delta"),
            (NAME_DELTA, b"other delta"),
            (1, b"commit"),
        ]);
        let (all, found) = seen(GitFile::Pack, &pack);
        let expected: [&[u8]; 4] = [&long, b"delta", b"other delta", b"commit"];
        assert_eq!(all, expected);
        assert_eq!(found, Objects { n_seen: 4, n_skipped: 0, problem: None });
        // Cut off: what comes before is seen, the rest is counted.
        let (all, found) = seen(GitFile::Pack, &pack[..pack.len() - 4]);
        assert_eq!((all.len(), found.n_skipped), (3, 1));
        assert!(found.problem.is_some());
        assert_eq!(seen(GitFile::Pack, b"PACK").1.problem, Some("not a pack"));
    }

    #[test]
    fn an_object_larger_than_the_bound_is_passed_over_and_the_next_is_seen() {
        let large = vec![b'a'; OBJECT_BYTES_MAX + 1];
        let (all, found) = seen(GitFile::Pack, &pack_of(&[(3, &large), (3, b"next")]));
        assert_eq!((all, found.n_skipped), (vec![b"next".to_vec()], 1));
        // A pack that claims more objects than there are ends.
        let mut lying = pack_of(&[(3, b"x")]);
        lying[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        let (all, found) = seen(GitFile::Pack, &lying);
        assert_eq!((all.len(), found.n_skipped), (1, u64::from(u32::MAX) - 1));
    }
}
