//! Feeds of many documents: a file, a folder, a zip or a tar of JSON, compressed or not.
//!
//! One document is in memory at a time. What cannot be read as a container is an error; what a
//! document holds is the caller's to judge.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;

use super::{ImportFeedError, malformed, read_error};

/// Documents of one feed beyond this number are refused; npm has some 200,000 in OSV.
pub const DOCUMENTS_MAX: u64 = 2_000_000;
/// One document beyond this many bytes is left out and counted.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// All documents of a feed together, decompressed, beyond this many bytes are refused.
pub const FEED_BYTES_MAX: u64 = 64 << 30;
/// Folders within folders.
const DEPTH_MAX: u8 = 6;

/// What is done with a document: its name and its bytes, or `None` where it is too large.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&str, Option<&[u8]>) -> Result<(), ImportFeedError>;

/// Calls `visit` for every JSON document at `path`, in the order of names where it has a choice.
pub(crate) fn each(path: &Path, visit: Visit<'_>) -> Result<(), ImportFeedError> {
    let mut reading = Reading { path, n_documents: 0, room: FEED_BYTES_MAX, visit };
    if path.is_dir() { reading.folder(path, DEPTH_MAX) } else { reading.file(path) }
}

struct Reading<'a> {
    path: &'a Path,
    n_documents: u64,
    room: u64,
    visit: Visit<'a>,
}

impl Reading<'_> {
    fn folder(&mut self, folder: &Path, levels: u8) -> Result<(), ImportFeedError> {
        let read = std::fs::read_dir(folder).map_err(read_error(folder))?;
        let mut entries = Vec::new();
        for entry in read {
            let entry = entry.map_err(read_error(folder))?;
            // Links are not followed: a feed has no business outside its folder.
            let kind = entry.file_type().map_err(read_error(folder))?;
            entries.push((entry.path(), kind));
            if entries.len() as u64 > DOCUMENTS_MAX {
                return Err(self.too_many("files", DOCUMENTS_MAX));
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (entry, kind) in entries {
            let name = entry.to_string_lossy();
            if kind.is_dir() && levels > 0 {
                self.folder(&entry, levels - 1)?;
            } else if kind.is_file() && (name.ends_with(".json") || name.ends_with(".json.gz")) {
                self.file(&entry)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &Path) -> Result<(), ImportFeedError> {
        let mut opened = File::open(file).map_err(read_error(file))?;
        let mut head = [0; 6];
        let n = read_up_to(&mut opened, &mut head).map_err(read_error(file))?;
        opened.rewind().map_err(read_error(file))?;
        let is = |magic: &[u8]| head.get(..n).is_some_and(|head| head.starts_with(magic));
        let name = file.to_string_lossy().into_owned();
        let input = BufReader::with_capacity(1 << 16, opened);
        if is(b"PK\x03\x04") || is(b"PK\x05\x06") {
            return self.zip(input);
        }
        if is(&[0x1f, 0x8b]) {
            return self.unpacked(&name, flate2::read::MultiGzDecoder::new(input));
        }
        if is(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let reader = ruzstd::decoding::StreamingDecoder::new(input)
                .map_err(|error| malformed(file, "a Zstandard archive", error))?;
            return self.unpacked(&name, reader);
        }
        if is(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            return self.unpacked(&name, super::deb::xz::XzStream::new(input));
        }
        if is(b"BZh") {
            return self.unpacked(&name, super::bz2::Bz2Stream::new(input));
        }
        self.unpacked(&name, input)
    }

    /// A stream that is a tar or one document.
    fn unpacked(&mut self, name: &str, reader: impl Read) -> Result<(), ImportFeedError> {
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let mut head = vec![0; 512];
        let n = read_up_to(&mut reader, &mut head).map_err(read_error(self.path))?;
        head.truncate(n);
        let is_tar = head.get(257..262) == Some(b"ustar");
        let whole = io::Cursor::new(head).chain(reader);
        if is_tar { self.tar(whole) } else { self.document(name, whole) }
    }

    fn tar(&mut self, reader: impl Read) -> Result<(), ImportFeedError> {
        let mut archive = tar::Archive::new(reader);
        let path = self.path;
        let entries = archive.entries().map_err(read_error(path))?;
        for entry in entries {
            let entry = entry.map_err(read_error(path))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let is_json = Path::new(&name).extension().is_some_and(|end| end == "json");
            if entry.header().entry_type().is_file() && is_json {
                self.document(&name, entry)?;
            }
        }
        Ok(())
    }

    fn zip(&mut self, input: BufReader<File>) -> Result<(), ImportFeedError> {
        let path = self.path;
        let bad = |error: zip::result::ZipError| malformed(path, "a zip of JSON records", error);
        let mut archive = zip::ZipArchive::new(input).map_err(bad)?;
        if archive.len() as u64 > DOCUMENTS_MAX {
            return Err(self.too_many("records", DOCUMENTS_MAX));
        }
        for index in 0..archive.len() {
            let entry = archive.by_index(index).map_err(bad)?;
            if entry.is_file() && entry.name_raw().ends_with(b".json") {
                let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
                self.document(&name, entry)?;
            }
        }
        Ok(())
    }

    fn document(&mut self, name: &str, reader: impl Read) -> Result<(), ImportFeedError> {
        self.n_documents += 1;
        if self.n_documents > DOCUMENTS_MAX {
            return Err(self.too_many("records", DOCUMENTS_MAX));
        }
        let mut bytes = Vec::new();
        // A size in a directory is a claim; what counts is what comes out.
        let limit = DOCUMENT_BYTES_MAX + 1;
        reader.take(limit).read_to_end(&mut bytes).map_err(read_error(self.path))?;
        let n = bytes.len() as u64;
        self.room =
            self.room.checked_sub(n).ok_or_else(|| self.too_many("bytes", FEED_BYTES_MAX))?;
        let fits = n <= DOCUMENT_BYTES_MAX;
        (self.visit)(name, fits.then_some(&bytes[..]))
    }

    fn too_many(&self, what: &'static str, limit: u64) -> ImportFeedError {
        ImportFeedError::TooMany { path: self.path.to_path_buf(), what, limit }
    }
}

/// Reads until `buffer` is full or the input ends.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match reader.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}

/// Opens a file that may be gzip'ed, to be read as a stream of at most `limit` bytes.
pub(crate) fn open_stream(
    path: &Path,
    what: &'static str,
    limit: u64,
) -> Result<Box<dyn io::BufRead>, ImportFeedError> {
    let mut file = File::open(path).map_err(read_error(path))?;
    let mut head = [0; 2];
    let n = read_up_to(&mut file, &mut head).map_err(read_error(path))?;
    file.rewind().map_err(read_error(path))?;
    let file = BufReader::with_capacity(1 << 16, file);
    Ok(if n == 2 && head == [0x1f, 0x8b] {
        let unpacked = flate2::read::MultiGzDecoder::new(file);
        let bounded = palisade_base::Bounded::new(unpacked, what, limit);
        Box::new(BufReader::with_capacity(1 << 16, bounded))
    } else {
        let bounded = palisade_base::Bounded::new(file, what, limit);
        Box::new(BufReader::with_capacity(1 << 16, bounded))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn names(path: &Path) -> Result<Vec<(String, usize)>, ImportFeedError> {
        let mut seen = Vec::new();
        each(path, &mut |name, bytes| {
            let name = name.rsplit('/').next().unwrap_or(name);
            seen.push((name.to_string(), bytes.map_or(0, <[u8]>::len)));
            Ok(())
        })?;
        Ok(seen)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn every_container_gives_its_documents() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in [("2024/a.json", "{}"), ("README", "x"), ("2024/b.json", "[]")] {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let both = [("a.json".to_string(), 2), ("b.json".to_string(), 2)];
        assert_eq!(names(&write("x.tar", &tar)).unwrap(), both);
        assert_eq!(names(&write("x.tar.gz", &gzip(&tar))).unwrap(), both);
        let zstd = ruzstd::encoding::compress_to_vec(
            &tar[..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        assert_eq!(names(&write("x.tar.zst", &zstd)).unwrap(), both);
        write("d/1/a.json", b"{}");
        write("d/b.json.gz", &gzip(b"[]"));
        write("d/c.txt", b"x");
        let seen = names(&folder.path().join("d")).unwrap();
        assert_eq!(seen, [("a.json".to_string(), 2), ("b.json.gz".to_string(), 2)]);
        assert_eq!(names(&write("one.json", b"{}")).unwrap(), [("one.json".to_string(), 2)]);
        assert!(names(&write("cut.tar.gz", &gzip(&tar)[..60])).is_err());
        assert!(names(&folder.path().join("absent")).is_err());
    }
}
