//! The header of an RPM package (RPM documentation, "Package format"): an index of tags and
//! a store of their data, here without the magic that files on disk have.

use super::be32;

/// Name of the package.
pub const NAME: u32 = 1000;
pub(super) const VERSION: u32 = 1001;
pub(super) const RELEASE: u32 = 1002;
pub(super) const EPOCH: u32 = 1003;
pub(super) const VENDOR: u32 = 1011;
pub(super) const LICENSE: u32 = 1014;
pub(super) const PACKAGER: u32 = 1015;
/// Architecture.
pub const ARCH: u32 = 1022;
const OLDFILENAMES: u32 = 1027;
pub(super) const SOURCERPM: u32 = 1044;
const DIRINDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRNAMES: u32 = 1118;
/// `NAME:STREAM:VERSION:CONTEXT` of a build in a module.
pub const MODULARITYLABEL: u32 = 5096;

const INT16: u32 = 3;
const INT32: u32 = 4;
const STRING: u32 = 6;
const BIN: u32 = 7;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// Tags of one header; RPM's own limit is 65,535 (`hdrchkTags`).
const TAGS_MAX: u32 = 0xffff;
/// Bytes of the paths of one package: names of folders repeat for each file in them.
const PATHS_BYTES_MAX: usize = 64 << 20;
/// What a path takes besides its text.
const PATH_BYTES: usize = 24;

/// A header, whose data is looked up when asked for.
#[derive(Debug, Clone, Copy)]
pub struct Header<'b> {
    index: &'b [u8],
    store: &'b [u8],
}

struct Entry<'b> {
    kind: u32,
    data: &'b [u8],
    n: usize,
}

impl<'b> Header<'b> {
    /// Takes a blob apart; nothing when its lengths are not its own.
    pub fn parse(blob: &'b [u8]) -> Option<Self> {
        Some(Self::parse_prefix(blob)?.0)
    }

    /// The same for what a blob begins with; gives its length in bytes as well.
    pub fn parse_prefix(blob: &'b [u8]) -> Option<(Self, usize)> {
        let n_tags = be32(blob, 0)?;
        if n_tags == 0 || n_tags > TAGS_MAX {
            return None;
        }
        let store_bytes = usize::try_from(be32(blob, 4)?).ok()?;
        let index_bytes = usize::try_from(n_tags).ok()? * 16;
        let index = blob.get(8..8 + index_bytes)?;
        let store = blob.get(8 + index_bytes..)?.get(..store_bytes)?;
        Some((Self { index, store }, 8 + index_bytes + store_bytes))
    }

    fn entry(&self, tag: u32) -> Option<Entry<'b>> {
        let entry = self.index.chunks_exact(16).find(|entry| be32(entry, 0) == Some(tag))?;
        let offset = usize::try_from(be32(entry, 8)?).ok()?;
        Some(Entry {
            kind: be32(entry, 4)?,
            data: self.store.get(offset..)?,
            n: usize::try_from(be32(entry, 12)?).ok()?,
        })
    }

    /// Whether the header has a tag, whatever its data.
    pub fn has(&self, tag: u32) -> bool {
        self.entry(tag).is_some()
    }

    /// Texts in their order, at most `n_max`. Those that the header does not hold whole are left out.
    pub fn texts(&self, tag: u32, n_max: usize) -> Vec<String> {
        let is_text = |entry: &Entry<'_>| matches!(entry.kind, STRING | STRING_ARRAY | I18N_STRING);
        let Some(entry) = self.entry(tag).filter(is_text) else { return Vec::new() };
        let all = texts(entry.data).take(entry.n.min(n_max));
        all.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    /// Numbers in their order, of two or four bytes.
    pub fn numbers(&self, tag: u32) -> Vec<u32> {
        let Some(entry) = self.entry(tag) else { return Vec::new() };
        match entry.kind {
            INT32 => {
                entry.data.chunks_exact(4).take(entry.n).filter_map(|it| be32(it, 0)).collect()
            }
            INT16 => {
                let pairs = entry.data.chunks_exact(2).take(entry.n);
                pairs
                    .filter_map(|it| Some(u16::from_be_bytes(it.try_into().ok()?).into()))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Bytes.
    pub fn bytes(&self, tag: u32) -> Option<&'b [u8]> {
        let entry = self.entry(tag).filter(|entry| entry.kind == BIN)?;
        entry.data.get(..entry.n)
    }

    /// `[EPOCH:]VERSION-RELEASE`; an epoch of 0 is left out.
    pub fn version(&self) -> Option<String> {
        let (version, release) = (self.text(VERSION)?, self.text(RELEASE)?);
        let epoch = self.number(EPOCH).filter(|epoch| *epoch > 0);
        let prefix = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
        Some(format!("{prefix}{version}-{release}"))
    }

    /// A text; the first of several. Not empty.
    pub fn text(&self, tag: u32) -> Option<String> {
        let entry = self.entry(tag)?;
        if !matches!(entry.kind, STRING | STRING_ARRAY | I18N_STRING) {
            return None;
        }
        let text = texts(entry.data).next()?;
        (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// A number.
    pub fn number(&self, tag: u32) -> Option<u32> {
        let entry = self.entry(tag).filter(|entry| entry.kind == INT32 && entry.n > 0)?;
        be32(entry.data, 0)
    }

    /// The package's files. A header that lies about them has none.
    pub fn files(&self) -> Vec<String> {
        self.split_files().or_else(|| self.whole_files()).unwrap_or_default()
    }

    /// Folders, and for each file its name and the number of its folder.
    fn split_files(&self) -> Option<Vec<String>> {
        let folders = self.entry(DIRNAMES).filter(|entry| entry.kind == STRING_ARRAY)?;
        let indexes = self.entry(DIRINDEXES).filter(|entry| entry.kind == INT32)?;
        let names = self.entry(BASENAMES).filter(|entry| entry.kind == STRING_ARRAY)?;
        let folders: Vec<&[u8]> =
            texts(folders.data).take(folders.n.min(PATHS_BYTES_MAX / PATH_BYTES)).collect();
        let mut bytes_left = PATHS_BYTES_MAX;
        let mut files = Vec::new();
        for (name, index) in texts(names.data).take(names.n).zip(indexes.data.chunks_exact(4)) {
            let folder = folders.get(usize::try_from(be32(index, 0)?).ok()?)?;
            // An empty name takes memory too.
            bytes_left = bytes_left.checked_sub(folder.len() + name.len() + PATH_BYTES)?;
            let folder = String::from_utf8_lossy(folder);
            files.push(format!("{folder}{}", String::from_utf8_lossy(name)));
        }
        Some(files)
    }

    /// Whole paths, as RPM 3 wrote them.
    fn whole_files(&self) -> Option<Vec<String>> {
        let names = self.entry(OLDFILENAMES).filter(|entry| entry.kind == STRING_ARRAY)?;
        let names = texts(names.data).take(names.n.min(PATHS_BYTES_MAX / PATH_BYTES));
        Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }
}

/// The texts of `data`, each ended by a zero byte. What no zero ends is none.
fn texts(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = data.iter().position(|byte| *byte == 0)?;
        let text = data.get(..end)?;
        data = data.get(end + 1..)?;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(tags: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut store) = (Vec::<u8>::new(), Vec::<u8>::new());
        for (tag, kind, n, data) in tags {
            for number in [*tag, *kind, store.len() as u32, *n] {
                index.extend(number.to_be_bytes());
            }
            store.extend(*data);
        }
        let mut blob = (tags.len() as u32).to_be_bytes().to_vec();
        blob.extend((store.len() as u32).to_be_bytes());
        blob.extend(index);
        blob.extend(store);
        blob
    }

    #[test]
    fn reads_tags() {
        let blob = header(&[
            (NAME, STRING, 1, b"bash\0"),
            (EPOCH, INT32, 1, &[0, 0, 0, 2]),
            (DIRINDEXES, INT32, 2, &[0, 0, 0, 0, 0, 0, 0, 1]),
            (BASENAMES, STRING_ARRAY, 2, b"bash\0profile\0"),
            (DIRNAMES, STRING_ARRAY, 2, b"/usr/bin/\0/etc/\0"),
        ]);
        let found = Header::parse(&blob).unwrap();
        assert_eq!(found.text(NAME).as_deref(), Some("bash"));
        assert_eq!(found.number(EPOCH), Some(2));
        assert_eq!(found.number(NAME), None);
        assert_eq!(found.text(VERSION), None);
        assert_eq!(found.files(), ["/usr/bin/bash", "/etc/profile"]);
        assert_eq!(found.texts(BASENAMES, 9), ["bash", "profile"]);
        assert_eq!(found.texts(BASENAMES, 1), ["bash"]);
        assert_eq!((found.numbers(DIRINDEXES), found.numbers(NAME)), (vec![0, 1], Vec::new()));
        assert!(found.has(EPOCH) && !found.has(ARCH) && found.bytes(NAME).is_none());
        assert_eq!(Header::parse_prefix(&[&blob[..], b"more"].concat()).unwrap().1, blob.len());
        // More texts, numbers and bytes than there are.
        let short = header(&[(ARCH, BIN, 10, b"1234"), (EPOCH, INT16, 9, &[0, 1, 0, 2, 3])]);
        let short = Header::parse(&short).unwrap();
        assert_eq!((short.bytes(ARCH), short.numbers(EPOCH)), (None, vec![1, 2]));
    }

    #[test]
    fn lies_are_refused() {
        let blob = header(&[(NAME, STRING, 1, b"bash\0")]);
        for cut in 0..blob.len() {
            assert!(Header::parse(&blob[..cut]).is_none(), "{cut}");
        }
        let mut many = blob.clone();
        many[..4].copy_from_slice(&(TAGS_MAX + 1).to_be_bytes());
        many.resize(8 + 16 * (TAGS_MAX as usize + 1) + 5, 0);
        assert!(Header::parse(&many).is_none());
        // A text without an end, an offset behind the end, a folder that is none.
        let open = header(&[(NAME, STRING, 1, b"bash")]);
        assert_eq!(Header::parse(&open).unwrap().text(NAME), None);
        let mut far = blob;
        far[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(Header::parse(&far).unwrap().text(NAME), None);
        let wrong = header(&[
            (DIRINDEXES, INT32, 1, &[0, 0, 0, 9]),
            (BASENAMES, STRING_ARRAY, 1, b"a\0"),
            (DIRNAMES, STRING_ARRAY, 1, b"/\0"),
        ]);
        assert!(Header::parse(&wrong).unwrap().files().is_empty());
    }

    #[test]
    fn paths_are_bounded() {
        let n = 1_000_u32;
        let mut folder = vec![b'a'; PATHS_BYTES_MAX / 999];
        folder.push(0);
        let (indexes, names) = (vec![0; 4 * n as usize], b"x\0".repeat(n as usize));
        let blob = header(&[
            (DIRINDEXES, INT32, n, &indexes),
            (BASENAMES, STRING_ARRAY, n, &names),
            (DIRNAMES, STRING_ARRAY, 1, &folder),
        ]);
        assert!(Header::parse(&blob).unwrap().files().is_empty());
    }
}
