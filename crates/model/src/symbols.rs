//! Which functions a program holds, kept so small that an inventory can carry it, and what that
//! says of a vulnerability whose advisory names functions (ADR 0022).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use palisade_base::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::package::PackageKind;

/// Functions of one program beyond this number are not kept; the program is then not whole.
pub const FUNCTIONS_MAX: usize = 1 << 21;
/// Names of functions that one finding tells.
pub const NAMED_MAX: usize = 20;
/// In place of a package: a name that only a closure has kept, of whichever package.
pub const LOOSE: &str = "?";
/// In place of a package: the last part of the path of a folder with source files.
pub const FOLDER: &str = "/";
/// Bytes of a hash: 40 bits. A function that is not there is taken for present once in some
/// millions of questions, and one that is there is never taken for absent.
const HASH_BYTES: usize = 5;

/// The functions of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its file within the image, with the leading slash: the evidence of its packages.
    pub path: String,
    /// [`PackageKind::Go`] or [`PackageKind::Cargo`].
    pub kind: PackageKind,
    /// `GOOS`, where the program says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// `GOARCH`, where the program says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// What is in it: functions, packages as a whole, and with [`LOOSE`] and [`FOLDER`] what
    /// casts doubt on absence.
    pub functions: FunctionSet,
    /// Whether the folders of its source files are among them: a package of which there is
    /// neither a function nor a file is not in it, whatever the doubt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_folders: bool,
    /// Why a function that is not among them may be there all the same; `None` means that it is
    /// not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// The hash by which a function is known: of the package (Go) or the crate (Rust), and the name
/// in it. An empty name stands for the package as a whole.
pub fn function_hash(package: &str, name: &str) -> u64 {
    let digest = Digest::of(format!("{package}\0{name}").as_bytes());
    let bytes = digest.as_bytes().iter().take(HASH_BYTES);
    bytes.fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// A set of hashes: sorted, each as its distance from the one before in LEB128. Four bytes a
/// function.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FunctionSet(Vec<u8>);

impl FunctionSet {
    /// Packs hashes in any order, of which [`FUNCTIONS_MAX`] at most are kept.
    pub fn new(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        hashes.truncate(FUNCTIONS_MAX);
        let mut packed = Vec::with_capacity(hashes.len() * 4);
        let mut last = 0;
        for hash in hashes {
            let mut distance = hash - last;
            while distance >= 0x80 {
                packed.push(distance as u8 | 0x80);
                distance >>= 7;
            }
            packed.push(distance as u8);
            last = hash;
        }
        Self(packed)
    }

    /// The hashes, sorted. Bytes that make no sense end them.
    pub fn hashes(&self) -> Vec<u64> {
        let mut hashes = Vec::with_capacity(self.0.len() / 4);
        let (mut last, mut distance, mut shift) = (0_u64, 0_u64, 0_u32);
        for byte in &self.0 {
            let Some(part) = u64::from(byte & 0x7f).checked_shl(shift) else { break };
            distance |= part;
            shift += 7;
            if *byte < 0x80 {
                let Some(hash) = last.checked_add(distance) else { break };
                hashes.push(hash);
                (last, distance, shift) = (hash, 0, 0);
            }
        }
        hashes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that it takes.
    pub fn n_bytes(&self) -> usize {
        self.0.len()
    }
}

impl Serialize for FunctionSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for FunctionSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD_NO_PAD.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Whether the functions that an advisory names are in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SymbolAnswer {
    /// At least one of them is.
    Present,
    /// None of them is: the linker left them out, or their package was never used.
    Absent,
    /// It could not be told.
    Unknown,
}

impl SymbolAnswer {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found of the functions that an advisory names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolCheck {
    /// The answer.
    pub answer: SymbolAnswer,
    /// The program that was asked, within the image.
    pub program: String,
    /// Functions that the advisories name; packages of which they name none count as one.
    pub n_named: u64,
    /// Those that are in the program, the first [`NAMED_MAX`]: `net/http.Client.Do`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub present: Vec<String>,
    /// Why it could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SymbolCheck {
    /// In one sentence for people, without a full stop.
    pub fn sentence(&self) -> String {
        match self.answer {
            SymbolAnswer::Present => {
                let named: Vec<&str> = self.present.iter().take(3).map(String::as_str).collect();
                let n_more = self.present.len() - named.len();
                let more = if n_more > 0 { format!(" and {n_more} more") } else { String::new() };
                format!("vulnerable code present: {}{more}", named.join(", "))
            }
            SymbolAnswer::Absent => "vulnerable code absent from the program".to_string(),
            SymbolAnswer::Unknown => format!(
                "vulnerable code not looked for: {}",
                self.reason.as_deref().unwrap_or("unknown")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_what_was_put_in() {
        let check = |hashes: &[u64]| {
            let set = FunctionSet::new(hashes.to_vec());
            let mut expected = hashes.to_vec();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(set.hashes(), expected);
            let text = serde_json::to_string(&set).unwrap();
            assert_eq!(serde_json::from_str::<FunctionSet>(&text).unwrap(), set);
        };
        check(&[]);
        check(&[0]);
        check(&[5, 1, 5, 0x7f, 0x80, (1 << 40) - 1]);
        check(&(0..1000_u64).map(|n| function_hash("a", &n.to_string())).collect::<Vec<_>>());
        assert!(function_hash("a", "b") < 1 << 40);
        // Damage is no panic.
        for bytes in [vec![0x80; 40], vec![0xff; 9], [[0xff; 8].to_vec(), vec![0x7f; 30]].concat()]
        {
            let _ = FunctionSet(bytes).hashes();
        }
        assert!(serde_json::from_str::<FunctionSet>("\"*\"").is_err());
    }

    #[test]
    fn a_set_is_bounded() {
        let set = FunctionSet::new((0..FUNCTIONS_MAX as u64 + 5).collect());
        assert_eq!(set.hashes().len(), FUNCTIONS_MAX);
    }
}
