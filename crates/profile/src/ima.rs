//! What the kernel's Integrity Measurement Architecture measured, compared with an image.
//!
//! [`policy`] is a policy for a host of containers; [`parse`] reads the kernel's list
//! (`Documentation/ABI/testing/ima_policy`, `Documentation/security/IMA-templates.rst`) and
//! [`compare`] holds it against the digests of an image's files.
//!
//! The list is of the whole host, its paths are those of whoever executed, and it does not say in
//! which container that was: a path that the image has as well may be another container's or the
//! host's. What is the image's is therefore certain, what differs has to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use palisade_base::Digest;

/// Bytes of a list.
pub const LIST_BYTES_MAX: u64 = 256 << 20;
/// Entries of a list.
pub const ENTRIES_MAX: usize = 2_000_000;
/// Bytes of a line: a path, and a signature in hexadecimal.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// A policy for a host of containers, as `/sys/kernel/security/ima/policy` takes it.
///
/// Everything that is executed, mapped as code or loaded by the kernel is measured, on temporary
/// file systems as well: what an intruder brings lies there. File systems that hold no programs
/// are left out, by the numbers of `include/uapi/linux/magic.h`.
pub fn policy() -> String {
    let mut out = String::from(
        "# What containers execute, for the kernel's Integrity Measurement Architecture.\n\
         # Load it once after each boot:  cp FILE /sys/kernel/security/ima/policy\n",
    );
    for (magic, name) in [
        (0x9fa0_u32, "proc"),
        (0x6265_6572, "sysfs"),
        (0x6462_6720, "debugfs"),
        (0x7472_6163, "tracefs"),
        (0x1cd1, "devpts"),
        (0x4249_4e4d, "binfmt_misc"),
        (0x7363_6673, "securityfs"),
        (0xf97c_ff8c, "selinuxfs"),
        (0x4341_5d53, "smackfs"),
        (0x0027_e0eb, "cgroup"),
        (0x6367_7270, "cgroup2"),
        (0x6e73_6673, "nsfs"),
        (0xde5e_81e4, "efivarfs"),
    ] {
        // The kernel takes comments on lines of their own alone.
        let _ = writeln!(out, "# {name}\ndont_measure fsmagic={magic:#x}");
    }
    for rule in [
        "measure func=BPRM_CHECK mask=MAY_EXEC",
        "measure func=FILE_MMAP mask=MAY_EXEC",
        "measure func=MODULE_CHECK",
        "measure func=FIRMWARE_CHECK",
        "measure func=KEXEC_KERNEL_CHECK",
    ] {
        out.push_str(rule);
        out.push('\n');
    }
    out
}

/// A file that was measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measurement {
    /// Its path, as whoever executed it saw it, spaces as `_`: the kernel writes them so.
    pub path: String,
    /// Digest algorithm: `sha256`.
    pub algorithm: String,
    /// Digest in hexadecimal; only zeros where it was written while it was measured or read.
    pub digest: String,
}

impl Measurement {
    /// Whether the kernel noted that the file was open for writing.
    pub fn is_violation(&self) -> bool {
        self.digest.bytes().all(|byte| byte == b'0')
    }
}

/// What a list says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measurements {
    /// Files, in the order of their measurement.
    pub files: Vec<Measurement>,
    /// Entries about something else than a file: a buffer, a key, a boot aggregate.
    pub n_others: usize,
}

/// A list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImaError {
    /// A line that is none of the list's.
    #[error("line {line} is no measurement: {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// Too many lines.
    #[error("the list has more than {ENTRIES_MAX} entries")]
    TooMany,
}

impl palisade_base::Explain for ImaError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Line { .. } => {
                "name a copy of /sys/kernel/security/ima/ascii_runtime_measurements".into()
            }
            Self::TooMany => "restart the host, or compare its parts".into(),
        })
    }
}

/// Reads `ascii_runtime_measurements`: register, digest of the entry, template, its fields.
pub fn parse(text: &str) -> Result<Measurements, ImaError> {
    let mut out = Measurements::default();
    for (at, line) in text.lines().enumerate() {
        let wrong = |problem| ImaError::Line { line: at + 1, problem };
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        if out.files.len() + out.n_others >= ENTRIES_MAX {
            return Err(ImaError::TooMany);
        }
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let register = words.next().ok_or_else(|| wrong("it is empty"))?;
        if register.parse::<u8>().is_err() {
            return Err(wrong("it does not begin with the number of a register"));
        }
        let entry = words.next().ok_or_else(|| wrong("it has no digest"))?;
        if !is_hex(entry) {
            return Err(wrong("its digest is not hexadecimal"));
        }
        let template = words.next().ok_or_else(|| wrong("it names no template"))?;
        // `ima` has a digest without its algorithm.
        let prefix = match template {
            "ima" => Some("sha1:"),
            "ima-ng" | "ima-ngv2" | "ima-sig" | "ima-sigv2" | "ima-modsig" | "evm-sig" => Some(""),
            _ => None,
        };
        let (Some(prefix), Some(digest), Some(path)) = (prefix, words.next(), words.next()) else {
            out.n_others += 1;
            continue;
        };
        let digest = format!("{prefix}{digest}");
        // Version 2 says of what it is the digest: `ima:sha256:…`, or `verity:…`.
        let (rest, digest) =
            digest.rsplit_once(':').ok_or_else(|| wrong("it has no digest of a file"))?;
        let (kind, algorithm) = rest.split_once(':').unwrap_or(("ima", rest));
        if !is_hex(digest) {
            return Err(wrong("the digest of its file is not hexadecimal"));
        }
        if kind != "ima" || !path.starts_with('/') {
            out.n_others += 1;
            continue;
        }
        out.files.push(Measurement {
            path: path.to_string(),
            algorithm: algorithm.to_string(),
            digest: digest.to_ascii_lowercase(),
        });
    }
    Ok(out)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// How the kernel writes a path.
pub fn written(path: &str) -> String {
    path.replace(' ', "_")
}

/// A measured file of which the image has another content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Differing {
    /// Its path.
    pub path: String,
    /// SHA-256 that was measured.
    pub measured: String,
    /// SHA-256 of the image's file.
    pub image: String,
}

/// A list held against an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Measured with the image's content.
    pub same: BTreeSet<String>,
    /// Measured with another content at a path of the image.
    pub differing: BTreeSet<Differing>,
    /// Paths of the image that were written while they were measured or executed.
    pub violations: BTreeSet<String>,
    /// Paths that the image does not have.
    pub elsewhere: BTreeSet<String>,
    /// Paths of the image that were measured with another algorithm than SHA-256.
    pub unknown: BTreeSet<String>,
}

/// Compares with the image's files, by path as [`written`] has it.
pub fn compare(measured: &Measurements, image: &BTreeMap<String, Digest>) -> Comparison {
    let mut out = Comparison::default();
    for file in &measured.files {
        let path = || file.path.clone();
        let Some(digest) = image.get(&file.path) else {
            out.elsewhere.insert(path());
            continue;
        };
        if file.is_violation() {
            out.violations.insert(path());
        } else if file.algorithm != "sha256" {
            out.unknown.insert(path());
        } else if file.digest == digest.hex() {
            out.same.insert(path());
        } else {
            let (measured, image) = (file.digest.clone(), digest.hex());
            out.differing.insert(Differing { path: path(), measured, image });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
10 91f34b5c671d73504b274a919661cf80dab1e127 ima-sig sha256:54c7376990ab21a60a3af3e1bc4dc4b0e48a4a3c8cd4d16b8d23bb5be0a8ed64 boot_aggregate
10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-ng sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 /bin/hello
10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-sig sha256:0000000000000000000000000000000000000000000000000000000000000000 /bin/written 0302
10 0adefe762c149c7cec19da62f0da1297fcfbffff ima 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c /bin/old
10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-ngv2 ima:sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 /opt/a_b
10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-ngv2 verity:sha256:2cf24d /opt/verity
10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-buf sha256:2cf2 kexec-cmdline 726f
";

    #[test]
    fn lines_of_every_template() {
        let found = parse(LIST).unwrap();
        let files: Vec<_> = found
            .files
            .iter()
            .map(|f| (f.path.as_str(), f.algorithm.as_str(), f.is_violation()))
            .collect();
        assert_eq!(
            files,
            [
                ("/bin/hello", "sha256", false),
                ("/bin/written", "sha256", true),
                ("/bin/old", "sha1", false),
                ("/opt/a_b", "sha256", false),
            ]
        );
        assert_eq!(found.n_others, 3);
        assert_eq!(parse("").unwrap(), Measurements::default());
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_line() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        };
        check(
            "no list",
            "line 1 is no measurement: it does not begin with the number of a register",
        );
        check("10", "line 1 is no measurement: it has no digest");
        check("10 xyz", "line 1 is no measurement: its digest is not hexadecimal");
        check("10 ab", "line 1 is no measurement: it names no template");
        check("10 ab ima-ng abc /x", "line 1 is no measurement: it has no digest of a file");
        check(
            "10 ab ima-ng sha256:q /x",
            "line 1 is no measurement: the digest of its file is not hexadecimal",
        );
        check("\n", "line 1 is no measurement: it is empty");
        let long = format!("10 ab ima-ng sha256:ab /{}", "x".repeat(LINE_BYTES_MAX));
        check(&long, "line 1 is no measurement: it is too long");
        let many = "10 a x\n".repeat(ENTRIES_MAX + 1);
        assert_eq!(parse(&many), Err(ImaError::TooMany));
    }

    #[test]
    fn a_list_is_held_against_an_image() {
        let image: BTreeMap<String, Digest> = [
            ("/bin/hello", Digest::of(b"hello")),
            ("/opt/a b", Digest::of(b"other")),
            ("/bin/written", Digest::of(b"x")),
            ("/bin/never", Digest::of(b"x")),
        ]
        .into_iter()
        .map(|(path, digest)| (written(path), digest))
        .collect();
        let found = compare(&parse(LIST).unwrap(), &image);
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        assert_eq!(list(&found.same), ["/bin/hello"]);
        assert_eq!(list(&found.violations), ["/bin/written"]);
        assert_eq!(list(&found.elsewhere), ["/bin/old"]);
        let differing: Vec<_> = found.differing.iter().map(|d| d.path.as_str()).collect();
        assert_eq!(differing, ["/opt/a_b"]);
        let sha1 = [(String::from("/bin/old"), Digest::of(b"hello"))].into();
        assert_eq!(list(&compare(&parse(LIST).unwrap(), &sha1).unknown), ["/bin/old"]);
    }

    #[test]
    fn the_policy_has_rules_on_lines_of_their_own() {
        let text = policy();
        for line in text.lines() {
            let is_rule = line.starts_with("measure ") || line.starts_with("dont_measure ");
            assert!(is_rule && !line.contains('#') || line.starts_with("# "), "{line}");
        }
        assert!(text.contains("\nmeasure func=BPRM_CHECK mask=MAY_EXEC\n"));
        assert!(!text.contains("0x1021994"), "temporary file systems are measured");
    }
}
