//! The archive of a layer out of its record (tar-split) and its unpacked files.
//!
//! A record is lines of JSON, compressed: segments of the archive as they were (headers,
//! padding), and between them files, whose bytes are taken from the folder
//! (vbatts/tar-split, `archive/tar/asm`). Whether all is as it was, the layer's digest tells.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use palisade_base::{Bounded, Root};
use serde::Deserialize;

/// Longest line of a record: a segment holds at most a few headers, in base64.
const LINE_BYTES_MAX: u64 = 32 << 20;

/// Where an unpacked layer and its record are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SplitLayer {
    pub(crate) record: PathBuf,
    pub(crate) folder: PathBuf,
}

impl SplitLayer {
    /// The archive.
    pub(crate) fn open(&self, bytes_max: u64) -> io::Result<Box<dyn Read + Send>> {
        let record = BufReader::new(File::open(&self.record)?);
        let record =
            Bounded::new(flate2::bufread::MultiGzDecoder::new(record), "record", bytes_max);
        Ok(Box::new(Assembled::new(BufReader::new(record), Root::open(&self.folder)?)))
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: u32,
    #[serde(default)]
    payload: Option<String>,
    #[serde(default)]
    name: Option<String>,
    /// A name that is not UTF-8, in base64.
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: u64,
}

const FILE: u32 = 1;
const SEGMENT: u32 = 2;

/// What is being delivered.
enum Current {
    Nothing,
    Segment(io::Cursor<Vec<u8>>),
    File { file: File, left: u64 },
}

/// Reads an archive that is put together.
struct Assembled<R> {
    record: R,
    root: Root,
    current: Current,
    line: Vec<u8>,
}

impl<R: BufRead> Assembled<R> {
    fn new(record: R, root: Root) -> Self {
        Self { record, root, current: Current::Nothing, line: Vec::new() }
    }

    /// Goes to the next part; `false` at the end of the record.
    fn next(&mut self) -> io::Result<bool> {
        self.line.clear();
        let n = (&mut self.record).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
        if n == 0 {
            return Ok(false);
        }
        if n as u64 == LINE_BYTES_MAX {
            return Err(bad("a line that is too long"));
        }
        if self.line.trim_ascii().is_empty() {
            return Ok(true);
        }
        let line: Line = serde_json::from_slice(&self.line).map_err(|_| bad("no record"))?;
        let decode = |text: &str| {
            let engine = base64::engine::general_purpose::STANDARD;
            engine.decode(text).map_err(|_| bad("a segment that is not base64"))
        };
        self.current = match line.kind {
            SEGMENT => {
                let bytes = decode(line.payload.as_deref().unwrap_or_default())?;
                Current::Segment(io::Cursor::new(bytes))
            }
            // Folders, links and empty files are their headers alone.
            FILE if line.size == 0 => Current::Nothing,
            FILE => {
                let name = match (&line.name_raw, &line.name) {
                    (Some(raw), _) => decode(raw)?,
                    (None, Some(name)) => name.as_bytes().to_vec(),
                    (None, None) => return Err(bad("a file without a name")),
                };
                let path: &Path =
                    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&name));
                let file = self.root.open_file(path).map_err(|error| {
                    let shown = palisade_base::text::printable(&name).into_owned();
                    io::Error::new(error.kind(), format!("file `{shown}` of the layer: {error}"))
                })?;
                Current::File { file, left: line.size }
            }
            _ => return Err(bad("an entry of an unknown kind")),
        };
        Ok(true)
    }
}

fn bad(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the record of the layer has {problem}"))
}

impl<R: BufRead> Read for Assembled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let n = match &mut self.current {
                Current::Nothing => 0,
                Current::Segment(bytes) => bytes.read(buffer)?,
                Current::File { file, left } => {
                    let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    let n = if wanted == 0 { 0 } else { file.read(&mut buffer[..wanted])? };
                    if n == 0 && *left > 0 {
                        return Err(bad("a file that is shorter than it was"));
                    }
                    *left -= n as u64;
                    n
                }
            };
            if n > 0 {
                return Ok(n);
            }
            if !self.next()? {
                return Ok(0);
            }
        }
    }
}

/// Reads a record to its end or first error; for fuzzing.
pub(super) fn read_all(record: &[u8], folder: &Path) {
    if let Ok(root) = Root::open(folder) {
        let mut archive = Assembled::new(record, root).take(64 << 20);
        let _ = io::copy(&mut archive, &mut io::sink());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(record: &str, folder: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Assembled::new(record.as_bytes(), Root::open(folder)?).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn segments_and_files_make_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "content").unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        let check = |record: &str, expected: Result<&str, &str>| match (
            assemble(record, folder.path()),
            expected,
        ) {
            (Ok(bytes), Ok(text)) => assert_eq!(bytes, text.as_bytes()),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, _) => panic!("{record}: {found:?}"),
        };
        check("", Ok(""));
        check(
            "{\"type\":2,\"payload\":\"YWJj\"}\n{\"type\":1,\"name\":\"./a\",\"size\":7}\n\n{\"type\":2,\"payload\":\"\"}",
            Ok("abccontent"),
        );
        check("{\"type\":1,\"name\":\"./gone\",\"payload\":null}", Ok(""));
        check("{\"type\":1,\"name_raw\":\"YQ==\",\"size\":3}", Ok("con"));
        check("{\"type\":1,\"name\":\"a\",\"size\":8}", Err("shorter than it was"));
        check("{\"type\":1,\"name\":\"gone\",\"size\":8}", Err("file `gone` of the layer"));
        check("{\"type\":1,\"name\":\"link\",\"size\":6}", Err("file `link` of the layer"));
        check("{\"type\":1,\"name\":\"../../../../etc/passwd\",\"size\":6}", Err("of the layer"));
        check("{\"type\":1,\"size\":6}", Err("without a name"));
        check("{\"type\":3}", Err("unknown kind"));
        check("{\"type\":2,\"payload\":\"!\"}", Err("not base64"));
        check("x", Err("no record"));
    }
}
