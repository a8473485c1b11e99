//! What the targets share: taking input apart, building archives around it, and checks.
//!
//! Input is taken apart so that every input means something: lengths are cut to what is
//! there, choices are taken modulo, and an exhausted input yields zeros and nothing.
#![forbid(unsafe_code)]

mod checks;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use checks::check_configuration;
use palisade_base::{Diagnostics, Timestamp};
use palisade_image::{FileEntry, FileKind, Image, Visit, Walked};
use palisade_model::package::Subject;
use palisade_packages::Collector;
use palisade_packages::purl::PackageUrl;
use palisade_rules::fields::{
    ArgumentKind, ArgumentRule, FieldArgument, FieldId, Fields, Schema, Value, ValueType, Values,
};
use palisade_scan::sbom::{DocumentInfo, cyclonedx, spdx};

/// The present, as far as targets are concerned.
pub const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

/// Input that is taken apart from the front.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte, 0 at the end.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes as a number.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// At most `n` bytes.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes behind a length of one byte.
    pub fn chunk(&mut self) -> &'a [u8] {
        let n = self.byte();
        self.take(usize::from(n))
    }

    /// Bytes behind a length of two bytes.
    pub fn long_chunk(&mut self) -> &'a [u8] {
        let n = self.u16();
        self.take(usize::from(n))
    }

    /// Which of `n` forms the rest has, by a letter that counts from `a`; where
    /// `PALISADE_FUZZ_FORM` holds a letter, it has that one whatever the input says.
    pub fn form(&mut self, n: usize) -> usize {
        static FIXED: OnceLock<Option<u8>> = OnceLock::new();
        let fixed = FIXED.get_or_init(|| std::env::var("PALISADE_FUZZ_FORM").ok()?.bytes().next());
        let said = self.byte();
        usize::from(fixed.unwrap_or(said).wrapping_sub(b'a')) % n
    }

    /// Text behind a length of one byte.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.chunk()).into_owned()
    }

    /// One of `choices`.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// A folder of this process in the folder for temporary files; `scripts/fuzz.sh` removes it.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("palisade-fuzz-").tempdir();
        folder.expect("a folder for temporary files").keep()
    })
}

/// Writes `bytes` to the scratch file `name`.
pub fn scratch_file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, bytes).expect("write a scratch file");
    path
}

/// Diagnostics must be few, point into the text and be printable.
pub fn check_diagnostics(found: &Diagnostics, text: &str, n_max: usize) {
    assert!(found.0.len() <= n_max, "{} diagnostics", found.0.len());
    // YAML ends a line at a carriage return as well.
    let n_lines = text.split(['\n', '\r']).count();
    for diagnostic in &found.0 {
        let (line, column) = (diagnostic.location.line, diagnostic.location.column);
        assert!((1..=n_lines + 1).contains(&line), "line {line} of {n_lines}: {diagnostic}");
        assert!((1..=text.len() + 2).contains(&column), "column {column}: {diagnostic}");
        assert!(!diagnostic.message.is_empty() && !diagnostic.code.is_empty());
        diagnostic.render(Some(text));
    }
}

const BLOCK_BYTES: usize = 512;

/// One entry of an archive, as it is put into a header: nothing is checked.
#[derive(Debug, Clone, Copy)]
pub struct TarEntry<'a> {
    /// Type flag: `b'0'` for a file.
    pub kind: u8,
    /// Path; cut to 100 bytes.
    pub name: &'a [u8],
    /// Target of a link; cut to 100 bytes.
    pub link: &'a [u8],
    /// Mode bits.
    pub mode: u16,
    /// Content.
    pub content: &'a [u8],
}

impl<'a> TarEntry<'a> {
    /// A regular file.
    pub fn file(name: &'a str, content: &'a [u8]) -> Self {
        Self { kind: b'0', name: name.as_bytes(), link: b"", mode: 0o644, content }
    }
}

/// Appends `entry` to `out`, with a right checksum.
pub fn push_tar(out: &mut Vec<u8>, entry: &TarEntry<'_>) {
    let mut header = [0_u8; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &entry.name[..entry.name.len().min(100)]);
    put(100, format!("{:07o}\0", entry.mode & 0o7777).as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", entry.content.len()).as_bytes());
    put(136, b"14523175000\0");
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, &entry.link[..entry.link.len().min(100)]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(entry.content);
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// An archive of `entries`.
pub fn tar(entries: &[TarEntry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| push_tar(&mut out, entry));
    out.resize(out.len() + 2 * BLOCK_BYTES, 0);
    out
}

/// Layers of entries that the input chooses; at most three.
pub fn layers(mut input: Input<'_>) -> Vec<Vec<u8>> {
    const KINDS: &[u8] = b"00000551223467xgLKS\0";
    let mut layers = vec![Vec::new()];
    while !input.is_empty() {
        let shape = input.byte();
        let kind = KINDS[usize::from(shape & 0x1f) % KINDS.len()];
        let (name, link) = (input.chunk(), input.chunk());
        let content = if shape & 0x20 == 0 { input.chunk() } else { input.long_chunk() };
        let mode = input.u16();
        let record;
        let content = if matches!(kind, b'x' | b'g') && shape & 0x40 == 0 {
            record = pax_record(name, content);
            &record[..]
        } else {
            content
        };
        if shape & 0x80 != 0 && layers.len() < 3 {
            layers.push(Vec::new());
        }
        if let Some(layer) = layers.last_mut() {
            push_tar(layer, &TarEntry { kind, name, link, mode, content });
        }
    }
    layers.iter_mut().for_each(|layer| layer.resize(layer.len() + 2 * BLOCK_BYTES, 0));
    layers
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let n_rest = key.len() + value.len() + 3;
    let mut n = n_rest + 1;
    while n_rest + n.to_string().len() != n {
        n += 1;
    }
    [n.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// An argument that `rule` accepts, where one is demanded.
pub fn argument(rule: ArgumentRule) -> FieldArgument {
    match rule {
        ArgumentRule::None | ArgumentRule::Optional(_) => FieldArgument::None,
        ArgumentRule::Required(ArgumentKind::Key) => FieldArgument::Key("name".into()),
        ArgumentRule::Required(_) => FieldArgument::Index(1),
    }
}

/// An event that answers every field of `schema` with a value of its type.
pub struct Constant<'s> {
    /// The schema.
    pub schema: &'s dyn Schema,
    /// What text fields answer.
    pub text: &'s [u8],
    /// The event's type.
    pub event_type: u16,
}

impl Fields for Constant<'_> {
    fn extract<'e>(&'e self, field: FieldId, _: &FieldArgument, out: &mut Values<'e>) {
        let Some(definition) = self.schema.fields().get(usize::from(field.0)) else { return };
        out.push(match definition.value_type {
            ValueType::Int => Value::Int(-1),
            ValueType::Double => Value::Double(0.5),
            ValueType::Bool => Value::Bool(true),
            ValueType::Text | ValueType::Path => Value::Text(self.text),
            ValueType::Bytes => Value::Bytes(self.text),
            ValueType::Ip | ValueType::Net => Value::Ip(std::net::Ipv4Addr::LOCALHOST.into()),
            _ => Value::Uint(7),
        });
    }

    fn event_type(&self) -> u16 {
        self.event_type
    }
}

/// Asks an event for everything that it can answer.
pub fn look_at(event: &palisade_sensor::EventView<'_>) {
    let schema = palisade_sensor::SyscallSchema;
    let mut values = Values::new();
    for (index, definition) in schema.fields().iter().enumerate() {
        let Ok(index) = u16::try_from(index) else { break };
        event.extract(FieldId(index), &argument(definition.argument), &mut values);
        if matches!(definition.argument, ArgumentRule::Optional(_)) {
            event.extract(FieldId(index), &FieldArgument::Index(1), &mut values);
        }
        values.clear();
    }
    let _ = (event.time(), event.outcome(), event.type_name(), event.container(), event.fd());
    let _ = (event.process(), event.ancestors(), event.lineage());
    assert!(event.lineage().len() <= palisade_sensor::state::ANCESTORS_MAX);
}

/// Walks `image` and checks each entry against what a walk promises; what was presented, or
/// nothing if the walk failed.
pub fn walk_checked(image: &Image) -> Option<(Walked, Vec<FileEntry>)> {
    let (mut entries, mut n_bytes, mut n_files) = (Vec::new(), 0, 0);
    let walked = image.walk(&mut |entry, content| {
        let path = entry.path.as_str();
        assert!(!path.split('/').any(|part| part.is_empty() || part == ".."), "path {path:?}");
        assert!(entry.mode & !0o7777 == 0, "mode {:o} of {path:?}", entry.mode);
        let n_read = std::io::copy(content, &mut std::io::sink());
        if entry.kind == FileKind::Regular {
            n_files += 1;
            n_bytes += entry.size;
            // A damaged layer fails the walk as well, after this.
            assert!(n_read.is_err() || n_read.is_ok_and(|n| n == entry.size), "size of {path:?}");
        } else {
            assert!(n_read.is_ok_and(|n| n == 0) && entry.size == 0, "content of {path:?}");
        }
        entries.push(entry.clone());
        if entry.kind == FileKind::HardLink { Visit::Follow } else { Visit::Continue }
    });
    let walked = walked.ok()?;
    assert_eq!((walked.n_files, walked.n_bytes), (n_files, n_bytes), "{walked:?}");
    Some((walked, entries))
}

/// Gives the files of `data` to a collector: parts between `\0\n`, each begun by a letter that
/// counts from `a` into `paths`.
pub fn collect(data: &[u8], paths: &[&str]) -> Collector {
    const SEPARATOR: &[u8] = b"\0\n";
    const FILES_MAX: usize = 8;
    let mut collector = Collector::new();
    let mut rest = Some(data);
    for _ in 0..FILES_MAX {
        let Some(data) = rest else { break };
        let end = data.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        let (part, after) = match end {
            Some(at) => (&data[..at], Some(&data[at + SEPARATOR.len()..])),
            None => (data, None),
        };
        rest = after;
        let mut input = Input(part);
        let path = paths[usize::from(input.byte().wrapping_sub(b'a')) % paths.len()];
        assert!(collector.wants(path).is_some(), "{path}");
        collector.add(path, input.0, None);
    }
    collector
}

/// What must hold for an inventory whatever was given to the catalogers: sorted, each package
/// once, with package URLs that can be read, and bills of materials that can be written.
pub fn check_inventory(collector: Collector) {
    let subject = Subject { name: "dir:x".into(), digest: None, platform: None };
    let inventory = collector.finish(subject, 1, Vec::new()).inventory;
    let key = |p: &palisade_model::Package| {
        let place = (p.architecture.clone(), p.evidence.clone(), p.state);
        (p.kind, p.name.clone(), p.version.clone(), place)
    };
    assert!(inventory.packages.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
    for package in inventory.packages.iter().chain(&inventory.parts) {
        assert!(!package.name.is_empty(), "{package:?}");
        assert!(!package.name.contains(char::is_control), "{package:?}");
        if !package.purl.is_empty() {
            let read = PackageUrl::parse(&package.purl);
            let written = read.map(|url| url.to_string());
            assert_eq!(written.as_deref(), Ok(package.purl.as_str()), "{package:?}");
        }
        let distribution = inventory.distribution.as_ref();
        let _ = palisade_scan::ecosystem::of_package(package, distribution);
    }
    let info = DocumentInfo::derived(b"seed", NOW, "0");
    for text in [cyclonedx::render(&inventory, &info), spdx::render(&inventory, &info)] {
        let text = text.expect("an inventory is JSON");
        serde_json::from_str::<serde_json::Value>(&text).expect("a bill of materials is JSON");
    }
}
