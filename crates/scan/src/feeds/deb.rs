//! The changelog inside a `.deb`: `ar` archive, `data.tar` member, one file of it.
//!
//! Format: deb(5); `ar` as in 4.4BSD without long names, which dpkg never writes. Nothing
//! is unpacked; reading stops at the changelog. Every size is bounded, that of what a
//! decoder or a header asks for before there is data included.

pub(super) mod xz;

use std::io::{self, Read};

use palisade_base::Bounded;
use palisade_image::{FileKind, Limits, RawKind, TarError, TarReader};

pub use xz::{DICTIONARIES_BYTES_SPARE, DICTIONARY_BYTES_MAX, XzError};

/// The `data.tar` of a package beyond this many bytes, decompressed, is refused.
pub const DATA_BYTES_MAX: u64 = 8 << 30;
/// A changelog beyond this many bytes, decompressed, is refused (Linux: 12 MB).
pub const CHANGELOG_BYTES_MAX: u64 = 64 << 20;
/// Members of the outer archive beyond this number are refused; a package has three.
pub const MEMBERS_MAX: usize = 32;
/// Files of a package beyond this number are refused; headers of long names count.
pub const ENTRIES_MAX: usize = 1_000_000;

/// Why a `.deb` gave no changelog although it should be one.
#[derive(Debug, thiserror::Error)]
pub enum ReadDebError {
    /// Not an `ar` archive of dpkg, and why.
    #[error("not a Debian package: {0}")]
    NotAPackage(&'static str),
    /// A member is compressed in a way we do not read.
    #[error("member `{0}` has an unsupported compression")]
    Compression(String),
    /// More members or files than the bound.
    #[error("the package has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The archive of the files is damaged, or has a header beyond its bound.
    #[error(transparent)]
    Archive(TarError),
    /// The XZ data is damaged or asks for too much.
    #[error(transparent)]
    Xz(XzError),
    /// Reading or decompressing failed, or a bound was hit.
    #[error("read the package")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ReadDebError {
    /// Finds the typed error that came through readers.
    fn from(error: io::Error) -> Self {
        match (TarError::find(&error), XzError::find(&error)) {
            (Some(TarError::TooManyEntries { .. }), _) => {
                Self::TooMany { what: "files", limit: ENTRIES_MAX }
            }
            (Some(damage), _) => Self::Archive(damage.clone()),
            (None, Some(damage)) => Self::Xz(damage.clone()),
            (None, None) => Self::Io(error),
        }
    }
}

/// The text of the changelog of the `.deb` in `reader`, if it has one.
///
/// `usr/share/doc/*/changelog.Debian.gz` is preferred; native packages have
/// `changelog.gz` (Debian policy 12.7). Packages whose documentation folder is a link to
/// another package's have none.
pub fn changelog_of(mut reader: impl Read) -> Result<Option<Vec<u8>>, ReadDebError> {
    let mut magic = [0_u8; 8];
    reader.read_exact(&mut magic).map_err(short)?;
    if magic != *b"!<arch>\n" {
        return Err(ReadDebError::NotAPackage("it does not begin as an ar archive"));
    }
    for _ in 0..MEMBERS_MAX {
        let mut header = [0_u8; 60];
        if reader.read(&mut header[..1])? == 0 {
            return Err(ReadDebError::NotAPackage("it has no data member"));
        }
        reader.read_exact(&mut header[1..]).map_err(short)?;
        let (name, n_bytes) = member(&header)?;
        if name.starts_with("data.tar") {
            let mut body = reader.take(n_bytes);
            return changelog_of_data(&name, &mut body);
        }
        // Members are aligned to two bytes.
        let padded = n_bytes + n_bytes % 2;
        let skipped = io::copy(&mut reader.by_ref().take(padded), &mut io::sink())?;
        if skipped != padded {
            return Err(ReadDebError::NotAPackage("it ends within a member"));
        }
    }
    Err(ReadDebError::TooMany { what: "members", limit: MEMBERS_MAX })
}

fn short(error: io::Error) -> ReadDebError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadDebError::NotAPackage("it ends within a header"),
        _ => ReadDebError::Io(error),
    }
}

/// Name and size in an `ar` header.
fn member(header: &[u8; 60]) -> Result<(String, u64), ReadDebError> {
    if header[58..] != *b"`\n" {
        return Err(ReadDebError::NotAPackage("a member header has no end mark"));
    }
    let text = |range: std::ops::Range<usize>| {
        String::from_utf8_lossy(&header[range]).trim_end_matches(['/', ' ']).to_string()
    };
    let n_bytes = text(48..58)
        .trim()
        .parse()
        .map_err(|_| ReadDebError::NotAPackage("a member header has no size"))?;
    Ok((text(0..16), n_bytes))
}

fn changelog_of_data(name: &str, body: &mut dyn Read) -> Result<Option<Vec<u8>>, ReadDebError> {
    let plain: Box<dyn Read + '_> = match name {
        "data.tar" => Box::new(body),
        "data.tar.gz" => Box::new(flate2::read::MultiGzDecoder::new(body)),
        "data.tar.xz" => Box::new(xz::XzStream::new(io::BufReader::new(body))),
        "data.tar.zst" => {
            Box::new(ruzstd::decoding::StreamingDecoder::new(body).map_err(io::Error::other)?)
        }
        _ => return Err(ReadDebError::Compression(name.to_string())),
    };
    let limits = Limits::default();
    let plain = Bounded::new(plain, "data.tar", DATA_BYTES_MAX);
    let mut archive = TarReader::new(plain, &limits, ENTRIES_MAX as u64);
    let mut native = None;
    while let Some(entry) = archive.next_entry()? {
        if entry.kind != RawKind::File(FileKind::Regular) {
            continue;
        }
        let Some(kind) = changelog_kind(&entry.path) else {
            continue;
        };
        let text = if kind.compressed {
            let inflated = flate2::read::MultiGzDecoder::new(&mut archive);
            palisade_base::read_bounded(inflated, "changelog", CHANGELOG_BYTES_MAX)?
        } else {
            palisade_base::read_bounded(&mut archive, "changelog", CHANGELOG_BYTES_MAX)?
        };
        if kind.debian {
            return Ok(Some(text));
        }
        native = Some(text);
    }
    Ok(native)
}

struct ChangelogKind {
    /// `changelog.Debian`, not upstream's or a native package's `changelog`.
    debian: bool,
    compressed: bool,
}

/// Whether `path` is `usr/share/doc/PACKAGE/changelog[.Debian][.gz]`.
fn changelog_kind(path: &[u8]) -> Option<ChangelogKind> {
    let path = std::str::from_utf8(path).ok()?;
    let rest = path.trim_start_matches("./").strip_prefix("usr/share/doc/")?;
    let (_, name) = rest.split_once('/')?;
    let (debian, compressed) = match name {
        "changelog.Debian.gz" => (true, true),
        "changelog.Debian" => (true, false),
        "changelog.gz" => (false, true),
        "changelog" => (false, false),
        _ => return None,
    };
    Some(ChangelogKind { debian, compressed })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write as _;

    /// A package with `files`, its data member uncompressed, gzip or as `name` says.
    pub(crate) fn package(files: &[(&str, &[u8])], data_name: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *bytes).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let data = if data_name == "data.tar.gz" { gzip(&tar) } else { tar };
        let mut out = b"!<arch>\n".to_vec();
        for (name, bytes) in
            [("debian-binary", &b"2.0\n"[..]), ("control.tar", b"odd"), (data_name, &data)]
        {
            let size = bytes.len();
            writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 0, 100_644).unwrap();
            out.extend_from_slice(bytes);
            if size % 2 == 1 {
                out.push(b'\n');
            }
        }
        out
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn prefers_the_distributions_changelog() {
        let debian = gzip(b"debian");
        let files: &[(&str, &[u8])] = &[
            ("./usr/bin/x", b"elf"),
            ("./usr/share/doc/x/changelog.gz", &gzip(b"upstream")),
            ("./usr/share/doc/x/changelog.Debian.gz", &debian),
        ];
        for data_name in ["data.tar", "data.tar.gz"] {
            let found = changelog_of(&package(files, data_name)[..]).unwrap();
            assert_eq!(found.as_deref(), Some(&b"debian"[..]), "{data_name}");
            let found = changelog_of(&package(&files[..2], data_name)[..]).unwrap();
            assert_eq!(found.as_deref(), Some(&b"upstream"[..]));
            assert_eq!(changelog_of(&package(&files[..1], data_name)[..]).unwrap(), None);
        }
    }

    #[test]
    fn refuses_what_is_no_package() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(changelog_of(bytes).unwrap_err().to_string(), expected);
        };
        check(b"", "not a Debian package: it ends within a header");
        check(&[b'x'; 100], "not a Debian package: it does not begin as an ar archive");
        check(b"!<arch>\n", "not a Debian package: it has no data member");
        let good = package(&[("./a", b"b")], "data.tar.lzo");
        check(&good, "member `data.tar.lzo` has an unsupported compression");
        check(&good[..90], "not a Debian package: it ends within a header");
        let mut bad = good.clone();
        bad[8 + 58] = b'x';
        check(&bad, "not a Debian package: a member header has no end mark");
    }

    /// A package of `data`, which is already compressed.
    fn package_of(data_name: &str, data: &[u8]) -> Vec<u8> {
        let size = data.len();
        let header = format!("{data_name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644);
        [b"!<arch>\n", header.as_bytes(), data].concat()
    }

    /// The `data.tar` of a package with one changelog behind a header of `kind` that states
    /// `size` bytes, as much as it has.
    fn with_long_name(kind: tar::EntryType, size: u64) -> impl Read {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        io::Cursor::new(header.as_bytes().to_vec()).chain(io::repeat(b'x').take(size))
    }

    #[test]
    fn names_are_bounded_before_they_are_read() {
        let size = 1_400 << 20;
        for kind in
            [tar::EntryType::GNULongName, tar::EntryType::GNULongLink, tar::EntryType::XHeader]
        {
            let mut data = with_long_name(kind, size);
            let error = changelog_of_data("data.tar", &mut data).unwrap_err();
            assert!(
                matches!(
                    error,
                    ReadDebError::Archive(TarError::ExtendedHeaderTooLarge { offset: 0, limit })
                        if limit == 1 << 20
                ),
                "{error}"
            );
            let mut rest = [0_u8; 64];
            data.read_exact(&mut rest).unwrap();
            assert_eq!(rest, [b'x'; 64], "nothing behind the header was read");
        }
    }

    #[test]
    fn a_changelog_with_a_long_name_is_found() {
        let folder = "x".repeat(120);
        let path = format!("./usr/share/doc/{folder}/changelog.Debian");
        let found = changelog_of(&package(&[(&path, b"text")], "data.tar")[..]).unwrap();
        assert_eq!(found.as_deref(), Some(&b"text"[..]));
    }

    #[test]
    fn xz_data_is_read_and_its_dictionary_bounded() {
        let path = "./usr/share/doc/x/changelog.Debian";
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        tar.append_data(&mut header, path, &b"text"[..]).unwrap();
        let tar = tar.into_inner().unwrap();
        let (one, two) = tar.split_at(514);
        let read = |codes: [u8; 2]| {
            let data = xz::tests::stored(&[(codes[0], one), (codes[1], two)]);
            changelog_of(&package_of("data.tar.xz", &data)[..])
        };
        assert_eq!(read([16, 16]).unwrap().as_deref(), Some(&b"text"[..]));
        for codes in [[40, 16], [16, 40]] {
            let error = read(codes).unwrap_err();
            assert!(
                matches!(error, ReadDebError::Xz(XzError::DictionaryTooLarge { .. })),
                "{error}"
            );
        }
    }

    /// What the fuzzer found: 4 GiB of memory for these 88 bytes.
    #[test]
    fn the_fuzzers_packages_are_refused() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/regressions/fuzz_deb");
        let input = std::fs::read(format!("{folder}/xz-dictionary-4g")).unwrap();
        // The first byte tells the target what the others are: here, a `data.tar.xz`.
        let error = changelog_of(&package_of("data.tar.xz", &input[1..])[..]).unwrap_err();
        assert!(
            matches!(
                error,
                ReadDebError::Xz(XzError::DictionaryTooLarge { bytes, .. })
                    if bytes == u64::from(u32::MAX)
            ),
            "{error}"
        );
    }

    #[test]
    fn an_endless_list_of_members_stops() {
        let mut out = b"!<arch>\n".to_vec();
        for _ in 0..=MEMBERS_MAX {
            writeln!(out, "{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", "x", 0, 0, 0, 0, 0).unwrap();
        }
        let error = changelog_of(&out[..]).unwrap_err();
        assert_eq!(error.to_string(), format!("the package has more than {MEMBERS_MAX} members"));
    }
}
