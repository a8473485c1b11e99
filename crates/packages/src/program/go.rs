//! What the Go linker records in a program (Go `debug/buildinfo`): the version of Go, and the
//! modules with their versions.

use memchr::memmem;
use object::{Object as _, ObjectSection as _, ObjectSegment as _};
use palisade_model::PackageKind;

use crate::Sink;
use crate::catalog::CatalogFile;

const MAGIC: &[u8] = b"\xff Go buildinf:";
const SECTION: &str = ".go.buildinfo";
const HEAD_BYTES: usize = 32;
/// The record's texts follow it; before Go 1.18 it pointed at them.
const FLAG_INLINE: u8 = 2;
const FLAG_BIG_ENDIAN: u8 = 1;
/// Longer versions and lists of modules are none, in bytes.
const VERSION_BYTES_MAX: usize = 1024;
const MODULES_BYTES_MAX: usize = 16 << 20;
/// Places that look like a record and are none.
const CANDIDATES_MAX: usize = 64;
/// The list of modules stands between two marks of this size.
const MARK_BYTES: usize = 16;

/// What a program was built from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BuildInfo {
    go_version: String,
    modules: String,
}

/// The record of a whole program.
pub(super) fn build_info(bytes: &[u8]) -> Option<BuildInfo> {
    let elf = object::File::parse(bytes).ok();
    let section = elf.as_ref().and_then(|elf| elf.section_by_name(SECTION));
    match section.and_then(|section| section.data().ok()) {
        // The texts may lie outside the section.
        Some(data) => {
            let start = (data.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
            let record = bytes.get(start..).filter(|record| record.starts_with(MAGIC))?;
            inline(record).or_else(|| pointed(record, elf.as_ref()?))
        }
        // A program without section names.
        None => inline_build_info(bytes),
    }
}

/// The first record with its texts behind it in a part of a program that begins at a multiple
/// of the alignment, or anywhere.
pub(super) fn inline_build_info(bytes: &[u8]) -> Option<BuildInfo> {
    memmem::find_iter(bytes, MAGIC).take(CANDIDATES_MAX).find_map(|at| inline(bytes.get(at..)?))
}

fn inline(record: &[u8]) -> Option<BuildInfo> {
    if record.get(15)? & FLAG_INLINE == 0 {
        return None;
    }
    let (go_version, rest) = text(record.get(HEAD_BYTES..)?, VERSION_BYTES_MAX)?;
    let modules = text(rest, MODULES_BYTES_MAX).map_or(&[][..], |(modules, _)| modules);
    BuildInfo::new(go_version, modules)
}

/// A text behind its length, which has seven bits a byte, the lowest first.
fn text(bytes: &[u8], limit: usize) -> Option<(&[u8], &[u8])> {
    let mut n = 0_usize;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        n |= usize::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            let rest = bytes.get(at + 1..)?;
            return rest.split_at_checked(n).filter(|_| n <= limit);
        }
    }
    None
}

/// The texts to which a record of before Go 1.18 points, each through a string's two words.
fn pointed(record: &[u8], elf: &object::File<'_>) -> Option<BuildInfo> {
    let word_bytes = usize::from(*record.get(14)?);
    let is_big_endian = record.get(15)? & FLAG_BIG_ENDIAN != 0;
    if !matches!(word_bytes, 4 | 8) {
        return None;
    }
    let word = |bytes: &[u8], index: usize| {
        let bytes = bytes.get(index * word_bytes..(index + 1) * word_bytes)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if is_big_endian {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    };
    let string = |index: usize, limit: usize| {
        let head = at_address(elf, word(record.get(16..HEAD_BYTES)?, index)?)?;
        let n = usize::try_from(word(head, 1)?).ok().filter(|n| *n <= limit)?;
        at_address(elf, word(head, 0)?)?.get(..n)
    };
    let modules = string(1, MODULES_BYTES_MAX).unwrap_or_default();
    BuildInfo::new(string(0, VERSION_BYTES_MAX)?, modules)
}

/// The bytes of the program from an address on, to the end of their segment.
fn at_address<'b>(elf: &object::File<'b>, address: u64) -> Option<&'b [u8]> {
    elf.segments().find_map(|segment| {
        let offset = address.checked_sub(segment.address())?;
        segment.data().ok()?.get(usize::try_from(offset).ok()?..)
    })
}

impl BuildInfo {
    /// Checks that this is a record: the magic alone is also in programs that look for it.
    fn new(go_version: &[u8], modules: &[u8]) -> Option<Self> {
        let go_version = std::str::from_utf8(go_version).ok()?;
        if !go_version.starts_with("go") && !go_version.starts_with("devel") {
            return None;
        }
        let end = modules.len().checked_sub(MARK_BYTES);
        let inner = end.and_then(|end| modules.get(MARK_BYTES..end)).unwrap_or_default();
        let is_whole = inner.last() == Some(&b'\n');
        let modules =
            if is_whole { String::from_utf8_lossy(inner).into_owned() } else { String::new() };
        Some(Self { go_version: go_version.to_string(), modules })
    }

    /// The standard library, the program's own module and those that it is made of.
    pub(super) fn add(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let mut found: Vec<(&str, String)> = Vec::new();
        if let Some(version) = self.standard_library() {
            found.push(("stdlib", version.to_string()));
        }
        // Built without modules, as distributions do: the package's path is all that names it.
        if !self.modules.lines().any(|line| line.starts_with("mod\t"))
            && let Some(path) = self.modules.lines().find_map(|line| line.strip_prefix("path\t"))
            && path.contains('.')
        {
            found.push((path, self.main_version("(devel)")));
        }
        for line in self.modules.lines() {
            let mut fields = line.split('\t');
            let (key, name) = (fields.next().unwrap_or_default(), fields.next());
            let version = fields.next().unwrap_or_default();
            match (key, name) {
                ("mod", Some(name)) => found.push((name, self.main_version(version))),
                ("dep", Some(name)) => found.push((name, version.to_string())),
                // Replaces the module before it.
                ("=>", Some(name)) => {
                    found.pop();
                    // A folder is the project's own code.
                    if !name.starts_with(['.', '/']) {
                        found.push((name, version.to_string()));
                    }
                }
                _ => {}
            }
        }
        for (name, version) in found {
            let mut package = file.package(PackageKind::Go, name, version);
            package.files = vec![package.evidence.clone()];
            sink.add(package);
        }
    }

    /// What the names in the table of functions need to be those of advisories.
    pub(super) fn origin(&self) -> super::symbols::Origin {
        let setting = |key: &str| {
            let mut settings = self.modules.lines().filter_map(|line| line.strip_prefix("build\t"));
            let value = settings.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(value.trim().to_string())
        };
        let mut replaced = Vec::new();
        let mut before = None;
        for line in self.modules.lines() {
            let mut fields = line.split('\t');
            match (fields.next().unwrap_or_default(), fields.next()) {
                ("mod" | "dep", name) => before = name,
                ("=>", Some(name)) => {
                    let old = before.filter(|old| *old != name && !name.starts_with(['.', '/']));
                    replaced.extend(old.map(|old| (old.to_string(), name.to_string())));
                }
                _ => {}
            }
        }
        let main = self.modules.lines().find_map(|line| line.strip_prefix("path\t"));
        super::symbols::Origin {
            main: main.unwrap_or_default().trim().to_string(),
            replaced,
            os: setting("GOOS"),
            architecture: setting("GOARCH"),
            minor: self.standard_library().and_then(|version| {
                let minor = version.strip_prefix("1.")?;
                let end = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
                minor.get(..end)?.parse().ok()
            }),
            module: self
                .modules
                .lines()
                .find_map(|line| line.strip_prefix("mod\t")?.split('\t').next())
                .unwrap_or_default()
                .to_string(),
        }
    }

    /// `1.21.5` of `go1.21.5 X:experiment` and of `devel go1.22-abcdef`.
    fn standard_library(&self) -> Option<&str> {
        let words = self.go_version.split_whitespace();
        words
            .filter_map(|word| word.strip_prefix("go"))
            .find(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// The version of the program's own module. Until Go 1.24 the linker knew none, and
    /// builders set a variable instead: `-ldflags "-X main.version=1.2.3"`.
    fn main_version(&self, stated: &str) -> String {
        if stated != "(devel)" {
            return stated.to_string();
        }
        let flags = self.modules.lines().find_map(|line| line.strip_prefix("build\t-ldflags="));
        let settings = flags.unwrap_or_default().split([' ', '"', '\'']).filter_map(|word| {
            let (variable, value) = word.split_once('=')?;
            let name = variable.rsplit('.').next()?.to_ascii_lowercase();
            let is_version = matches!(
                name.as_str(),
                "version" | "ver" | "appversion" | "buildversion" | "gitversion" | "cliversion"
            );
            let number = value.strip_prefix('v').unwrap_or(value);
            let is_number =
                number.starts_with(|c: char| c.is_ascii_digit()) && number.contains('.');
            (is_version && is_number).then(|| value.to_string())
        });
        let found: Vec<String> = settings.collect();
        // Two answers are none.
        match found.as_slice() {
            [version] => version.clone(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &str, modules: &str) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([8, FLAG_INLINE]);
        out.resize(HEAD_BYTES, 0);
        let mut text = |text: &[u8]| {
            out.extend([0x80 | (text.len() & 0x7f) as u8, (text.len() >> 7) as u8]);
            out.extend(text);
        };
        text(version.as_bytes());
        text(&[&[b'x'; MARK_BYTES], modules.as_bytes(), &[b'y'; MARK_BYTES]].concat());
        out
    }

    fn found(info: &BuildInfo) -> Vec<String> {
        let mut collector = crate::Collector::new();
        info.add(&CatalogFile { path: "bin/a", bytes: &[], layer: None }, collector.sink());
        let subject =
            palisade_model::package::Subject { name: String::new(), digest: None, platform: None };
        let found = collector.finish(subject, 1, Vec::new());
        found.inventory.packages.into_iter().map(|one| one.purl).collect()
    }

    #[test]
    fn modules() {
        let modules = "path\texample.com/a\nmod\texample.com/a\t(devel)\t\ndep\texample.com/b\tv1.0.0\th1:x\ndep\texample.com/c\tv1.0.0\n=>\texample.com/d\tv2.0.0\th1:y\ndep\texample.com/e\tv1.0.0\n=>\t./e\t(devel)\t\nbuild\t-ldflags=\"-s -X main.version=v1.2.3\"\n";
        let mut bytes = b"padding that holds \xff Go buildinf: itself".to_vec();
        bytes.extend(record("go1.21.5 X:loopvar", modules));
        let info = inline_build_info(&bytes).unwrap();
        assert_eq!(
            found(&info),
            [
                "pkg:golang/example.com/a@v1.2.3",
                "pkg:golang/example.com/b@v1.0.0",
                "pkg:golang/example.com/d@v2.0.0",
                "pkg:golang/stdlib@1.21.5",
            ]
        );
    }

    #[test]
    fn a_program_built_without_modules_has_its_path() {
        let check = |modules: &str, expected: &[&str]| {
            let info = BuildInfo { go_version: "go1.19.8".into(), modules: modules.into() };
            assert_eq!(found(&info), expected, "{modules}");
        };
        check(
            "path\tgithub.com/opencontainers/runc\nbuild\t-compiler=gc\n",
            &["pkg:golang/github.com/opencontainers/runc", "pkg:golang/stdlib@1.19.8"],
        );
        check(
            "path\texample.com/a\nbuild\t-ldflags=\"-X main.version=1.2.3\"\n",
            &["pkg:golang/example.com/a@1.2.3", "pkg:golang/stdlib@1.19.8"],
        );
        check("path\tcommand-line-arguments\n", &["pkg:golang/stdlib@1.19.8"]);
    }

    #[test]
    fn versions() {
        let check = |go_version: &str, expected: Option<&str>| {
            let info = BuildInfo { go_version: go_version.into(), modules: String::new() };
            assert_eq!(info.standard_library(), expected, "{go_version}");
        };
        check("go1.21.5", Some("1.21.5"));
        check("devel go1.22-abc Mon", Some("1.22-abc"));
        check("devel +abc", None);
        let check = |flags: &str, expected: &str| {
            let modules = format!("build\t-ldflags={flags}\n");
            let info = BuildInfo { go_version: "go1".into(), modules };
            assert_eq!(info.main_version("(devel)"), expected, "{flags}");
        };
        check("-X main.version=1.2.3", "1.2.3");
        check("-X 'a/b.GitVersion=v1.2' -X a.commit=1.2", "v1.2");
        check("-X a.version=1.2 -X b.version=1.3", "");
        check("-X a.version=unknown", "");
        check("", "");
    }

    #[test]
    fn what_is_no_record() {
        assert_eq!(inline_build_info(b""), None);
        assert_eq!(inline_build_info(MAGIC), None);
        let whole = record("go1.20", "mod\ta\tv1\n");
        for cut in 0..whole.len() {
            let _ = inline_build_info(&whole[..cut]);
        }
        assert_eq!(inline_build_info(&record("1.20", "")), None);
        let mut endless = record("go1.20", "");
        endless[HEAD_BYTES..HEAD_BYTES + 2].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(inline_build_info(&endless), None);
    }
}
