//! One advisory about one package, and its bytes in the database file.
//!
//! The encoding is our own because it is read in the hot path and from a file that may
//! be damaged: lengths are varints, text is UTF-8, and decoding is total. It never
//! panics and never allocates more than the bytes it was given can justify.

use palisade_model::Severity;
pub use palisade_model::finding::VulnerabilityStatus as Status;

/// What an advisory says about one package of one ecosystem. Matching reads it with borrowed
/// text (`S = &str`): of thousands of advisories it keeps what few findings need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advisory<S = String> {
    /// The CVE where there is one, otherwise the advisory's own identifier.
    pub id: S,
    /// Every other identifier of the same thing.
    pub aliases: Vec<S>,
    /// One line about it.
    pub title: S,
    /// How bad it is; `Unknown` where the feed does not say.
    pub severity: Severity,
    /// Feed that says so: `debian-changelogs`, `osv/PyPI`.
    pub feed: S,
    /// Ranges of affected versions.
    pub ranges: Vec<Range<S>>,
    /// Versions affected although no range holds them.
    pub versions: Vec<S>,
    /// What the publisher intends to do, or why nothing is wrong.
    pub status: Status,
    /// The module (`NAME:STREAM`) whose packages alone are meant; RPM's modularity.
    pub module: Option<S>,
    /// The CVSS vector of the worst score; for CVSS 2 without its parentheses.
    pub cvss: Option<S>,
    /// The vulnerabilities that this notice fixes. Each is a finding of its own, and the notice's
    /// identifier is no name of any: two notices about one CVE would make one thing of all that
    /// they fix.
    pub fixes: Vec<S>,
    /// The parts of the package that are vulnerable, where the feed names them.
    pub symbols: Vec<VulnerableSymbols<S>>,
}

/// The vulnerable functions of one part of a package.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VulnerableSymbols<S = String> {
    /// Import path in Go (`net/http`); the crate's name in Rust.
    pub path: S,
    /// `Client.Do` in Go, `regex::Regex::new` in Rust; empty when all of the part is meant.
    pub names: Vec<S>,
    /// Operating systems (`GOOS`) to which it is confined; empty for all.
    pub goos: Vec<S>,
    /// Architectures (`GOARCH`) to which it is confined; empty for all.
    pub goarch: Vec<S>,
}

/// A range of affected versions: from `introduced` on, up to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range<S = String> {
    /// First affected version; `None` means from the beginning.
    pub introduced: Option<S>,
    /// Where the range ends.
    pub end: RangeEnd<S>,
}

/// Where a range of affected versions ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeEnd<S = String> {
    /// It does not: no fixed version is known.
    Open,
    /// Before this version, which has the fix.
    Fixed(S),
    /// With this version, which is still affected.
    LastAffected(S),
}

/// Bytes that are not an advisory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("advisory record is damaged")]
pub struct DecodeRecordError;

/// More items than this in one list are damage, not data.
const LIST_ITEMS_MAX: u64 = 1 << 20;

/// Appends `value` in LEB128.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the length and the bytes of `text`.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A cursor over bytes that may be anything.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeRecordError> {
        let (&first, rest) = self.0.split_first().ok_or(DecodeRecordError)?;
        self.0 = rest;
        Ok(first)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeRecordError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeRecordError)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeRecordError> {
        let n = usize::try_from(self.varint()?).map_err(|_| DecodeRecordError)?;
        let (taken, rest) = self.0.split_at_checked(n).ok_or(DecodeRecordError)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeRecordError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeRecordError)
    }

    pub(crate) fn count(&mut self) -> Result<u64, DecodeRecordError> {
        let n = self.varint()?;
        // Every item takes a byte at least, so a count beyond the bytes left is a lie.
        if n > LIST_ITEMS_MAX || n > self.0.len() as u64 { Err(DecodeRecordError) } else { Ok(n) }
    }

    fn texts<S: From<&'a str>>(&mut self) -> Result<Vec<S>, DecodeRecordError> {
        let n = self.count()?;
        (0..n).map(|_| self.text().map(S::from)).collect()
    }
}

const END_OPEN: u8 = 0;
const END_FIXED: u8 = 1;
const END_LAST: u8 = 2;
const HAS_INTRODUCED: u8 = 4;
/// Bits above the code of the status.
const HAS_FIXES: u8 = 0x10;
const HAS_MODULE: u8 = 0x20;
const HAS_CVSS: u8 = 0x40;
const HAS_SYMBOLS: u8 = 0x80;

impl Advisory {
    /// Appends the bytes of this advisory; `feed_index` stands for its feed's name.
    pub(crate) fn encode(&self, feed_index: u64, out: &mut Vec<u8>) {
        put_text(out, &self.id);
        put_varint(out, self.aliases.len() as u64);
        self.aliases.iter().for_each(|alias| put_text(out, alias));
        put_text(out, &self.title);
        out.push(severity_code(self.severity));
        put_varint(out, feed_index);
        put_varint(out, self.ranges.len() as u64);
        for range in &self.ranges {
            let (code, end) = match &range.end {
                RangeEnd::Open => (END_OPEN, None),
                RangeEnd::Fixed(version) => (END_FIXED, Some(version)),
                RangeEnd::LastAffected(version) => (END_LAST, Some(version)),
            };
            let flag = if range.introduced.is_some() { HAS_INTRODUCED } else { 0 };
            out.push(code | flag);
            range.introduced.iter().for_each(|version| put_text(out, version));
            if let Some(version) = end {
                put_text(out, version);
            }
        }
        put_varint(out, self.versions.len() as u64);
        self.versions.iter().for_each(|version| put_text(out, version));
        let has = |on: bool, bit: u8| if on { bit } else { 0 };
        out.push(
            status_code(self.status)
                | has(self.module.is_some(), HAS_MODULE)
                | has(self.cvss.is_some(), HAS_CVSS)
                | has(!self.fixes.is_empty(), HAS_FIXES)
                | has(!self.symbols.is_empty(), HAS_SYMBOLS),
        );
        [&self.module, &self.cvss].into_iter().flatten().for_each(|text| put_text(out, text));
        if !self.fixes.is_empty() {
            put_varint(out, self.fixes.len() as u64);
            self.fixes.iter().for_each(|id| put_text(out, id));
        }
        if !self.symbols.is_empty() {
            put_varint(out, self.symbols.len() as u64);
        }
        for part in &self.symbols {
            put_text(out, &part.path);
            for names in [&part.names, &part.goos, &part.goarch] {
                put_varint(out, names.len() as u64);
                for name in names {
                    put_text(out, name);
                }
            }
        }
    }
}

impl<'a, S: From<&'a str>> Advisory<S> {
    /// Reads one advisory; `feeds` gives the names behind the indexes.
    pub(crate) fn decode(
        cursor: &mut Cursor<'a>,
        feeds: &'a [String],
    ) -> Result<Self, DecodeRecordError> {
        let id = cursor.text()?.into();
        let aliases = cursor.texts()?;
        let title = cursor.text()?.into();
        let severity = severity_of(cursor.byte()?)?;
        let feed = usize::try_from(cursor.varint()?)
            .ok()
            .and_then(|index| feeds.get(index))
            .ok_or(DecodeRecordError)?
            .as_str()
            .into();
        let n_ranges = cursor.count()?;
        let ranges = (0..n_ranges).map(|_| decode_range(cursor)).collect::<Result<_, _>>()?;
        let versions = cursor.texts()?;
        let flags = cursor.byte()?;
        let mut text_if = |bit: u8| match flags & bit {
            0 => Ok(None),
            _ => cursor.text().map(|text| Some(text.into())),
        };
        let (module, cvss) = (text_if(HAS_MODULE)?, text_if(HAS_CVSS)?);
        let fixes = if flags & HAS_FIXES == 0 { Vec::new() } else { cursor.texts()? };
        let n_parts = if flags & HAS_SYMBOLS == 0 { 0 } else { cursor.count()? };
        let symbols = (0..n_parts).map(|_| decode_part(cursor)).collect::<Result<_, _>>()?;
        let status = usize::from(flags & !(HAS_FIXES | HAS_MODULE | HAS_CVSS | HAS_SYMBOLS));
        let status = *Status::ALL.get(status).ok_or(DecodeRecordError)?;
        Ok(Self {
            id,
            aliases,
            title,
            severity,
            feed,
            ranges,
            versions,
            status,
            module,
            cvss,
            fixes,
            symbols,
        })
    }
}

fn decode_part<'a, S: From<&'a str>>(
    cursor: &mut Cursor<'a>,
) -> Result<VulnerableSymbols<S>, DecodeRecordError> {
    Ok(VulnerableSymbols {
        path: cursor.text()?.into(),
        names: cursor.texts()?,
        goos: cursor.texts()?,
        goarch: cursor.texts()?,
    })
}

fn decode_range<'a, S: From<&'a str>>(
    cursor: &mut Cursor<'a>,
) -> Result<Range<S>, DecodeRecordError> {
    let code = cursor.byte()?;
    let introduced = match code & HAS_INTRODUCED {
        0 => None,
        _ => Some(cursor.text()?.into()),
    };
    let end = match code & !HAS_INTRODUCED {
        END_OPEN => RangeEnd::Open,
        END_FIXED => RangeEnd::Fixed(cursor.text()?.into()),
        END_LAST => RangeEnd::LastAffected(cursor.text()?.into()),
        _ => return Err(DecodeRecordError),
    };
    Ok(Range { introduced, end })
}

fn status_code(status: Status) -> u8 {
    Status::ALL.iter().position(|&s| s == status).map_or(0, |index| index as u8)
}

fn severity_code(severity: Severity) -> u8 {
    Severity::ALL.iter().position(|&s| s == severity).map_or(0, |index| index as u8)
}

fn severity_of(code: u8) -> Result<Severity, DecodeRecordError> {
    Severity::ALL.get(usize::from(code)).copied().ok_or(DecodeRecordError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn advisory() -> Advisory {
        Advisory {
            id: "CVE-2024-0001".into(),
            aliases: vec!["GHSA-xxxx-yyyy-zzzz".into()],
            title: "heap overflow".into(),
            severity: Severity::High,
            feed: "osv/PyPI".into(),
            ranges: vec![
                Range { introduced: None, end: RangeEnd::Fixed("1.2".into()) },
                Range { introduced: Some("2.0".into()), end: RangeEnd::Open },
                Range { introduced: Some("3".into()), end: RangeEnd::LastAffected("3.9".into()) },
            ],
            versions: vec!["9.9".into()],
            status: Status::WillNotFix,
            module: Some("nodejs:20".into()),
            cvss: Some("CVSS:3.1/AV:N".into()),
            fixes: vec!["CVE-2024-0002".into()],
            symbols: vec![VulnerableSymbols {
                path: "net/http".into(),
                names: vec!["Client.Do".into()],
                goos: vec!["windows".into()],
                goarch: vec![],
            }],
        }
    }

    #[test]
    fn round_trips() {
        let feeds = vec!["kev".to_string(), "osv/PyPI".to_string()];
        let mut bytes = Vec::new();
        advisory().encode(1, &mut bytes);
        let mut cursor = Cursor(&bytes);
        assert_eq!(Advisory::decode(&mut cursor, &feeds), Ok(advisory()));
        assert!(cursor.is_empty());
        for length in 0..bytes.len() {
            assert!(Advisory::<&str>::decode(&mut Cursor(&bytes[..length]), &feeds).is_err());
        }
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Advisory::<&str>::decode(&mut Cursor(&bytes), &["a".to_string()]);
        }

        #[test]
        fn varints_round_trip(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(Cursor(&bytes).varint(), Ok(value));
        }
    }
}
