//! A reader of CBOR (RFC 8949) that borrows, as far as COSE_Sign1 needs it: integers, byte
//! and text strings, arrays, maps and tags of definite length. Skipping has a bounded depth.

/// Values in each other.
const DEPTH_MAX: usize = 16;
/// Entries of one array or map.
pub(super) const ENTRIES_MAX: usize = 256;

/// What stands next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item<'c> {
    Integer(i64),
    Bytes(&'c [u8]),
    Text(&'c str),
    Array(usize),
    Map(usize),
    Tag(u64),
    /// `null`: a payload that is not there.
    Null,
    /// Truth values, floating-point numbers and the like, which mean nothing here.
    Other,
}

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cbor<'c>(&'c [u8]);

type Result<T> = std::result::Result<T, &'static str>;

impl<'c> Cbor<'c> {
    pub(super) fn new(bytes: &'c [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, n: usize) -> Result<&'c [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads a head: major type and argument. Arguments must be as short as can be.
    fn head(&mut self) -> Result<(u8, u64, u8)> {
        let first = *self.take(1)?.first().ok_or("it ends too early")?;
        let (major, minor) = (first >> 5, first & 0x1f);
        let n_bytes = match minor {
            0..=23 => return Ok((major, u64::from(minor), minor)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err("a length is indefinite or reserved"),
        };
        let argument = self.take(n_bytes)?.iter().fold(0_u64, |sum, &b| sum << 8 | u64::from(b));
        // Floating-point numbers (major type 7) are no arguments.
        let shortest = match n_bytes {
            1 => 24,
            2 => 1 << 8,
            4 => 1 << 16,
            _ => 1 << 32,
        };
        if major != 7 && argument < shortest {
            return Err("a number is not written as short as can be");
        }
        Ok((major, argument, minor))
    }

    /// The next item; of arrays, maps and tags, only their head.
    pub(super) fn next(&mut self) -> Result<Item<'c>> {
        let (major, argument, minor) = self.head()?;
        let length = || usize::try_from(argument).map_err(|_| "a length is too large");
        let entries =
            || length().ok().filter(|n| *n <= ENTRIES_MAX).ok_or("it has too many entries");
        Ok(match major {
            0 => Item::Integer(i64::try_from(argument).map_err(|_| "a number is too large")?),
            1 => Item::Integer(-1 - i64::try_from(argument).map_err(|_| "a number is too large")?),
            2 => Item::Bytes(self.take(length()?)?),
            3 => Item::Text(
                std::str::from_utf8(self.take(length()?)?).map_err(|_| "a text is not UTF-8")?,
            ),
            4 => Item::Array(entries()?),
            5 => Item::Map(entries()?),
            6 => Item::Tag(argument),
            _ if minor == 22 => Item::Null,
            _ => Item::Other,
        })
    }

    /// Passes over the next item with all that is in it.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.skip_at(0)
    }

    fn skip_at(&mut self, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err("it is nested too deep");
        }
        let n = match self.next()? {
            Item::Array(n) => n,
            Item::Map(n) => 2 * n,
            Item::Tag(_) => 1,
            _ => 0,
        };
        (0..n).try_for_each(|_| self.skip_at(depth + 1))
    }

    /// That nothing is left.
    pub(super) fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err("something follows the last item") }
    }
}

/// Writes a head.
pub(super) fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    let (minor, skip) = match argument {
        0..=23 => return out.push(major | argument as u8),
        24..=0xff => (24, 7),
        0x100..=0xffff => (25, 6),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 0),
    };
    out.push(major | minor);
    out.extend(bytes.iter().skip(skip));
}

/// Writes a byte string.
pub(super) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    head(out, 2, value.len() as u64);
    out.extend_from_slice(value);
}

/// Writes a text string.
pub(super) fn text(out: &mut Vec<u8>, value: &str) {
    head(out, 3, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// Writes an integer.
pub(super) fn integer(out: &mut Vec<u8>, value: i64) {
    match u64::try_from(value) {
        Ok(value) => head(out, 0, value),
        Err(_) => head(out, 1, value.unsigned_abs() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8949, appendix A.
    #[test]
    fn reads_the_examples_of_the_rfc() {
        let check = |hex: &str, expected: Item<'_>| {
            let bytes = hex::decode(hex).unwrap();
            let mut cbor = Cbor::new(&bytes);
            assert_eq!(cbor.next(), Ok(expected), "{hex}");
            cbor.end().unwrap();
        };
        check("00", Item::Integer(0));
        check("17", Item::Integer(23));
        check("1818", Item::Integer(24));
        check("1903e8", Item::Integer(1000));
        check("1a000f4240", Item::Integer(1_000_000));
        check("1b000000e8d4a51000", Item::Integer(1_000_000_000_000));
        check("20", Item::Integer(-1));
        check("3903e7", Item::Integer(-1000));
        check("4401020304", Item::Bytes(&[1, 2, 3, 4]));
        check("6449455446", Item::Text("IETF"));
        check("80", Item::Array(0));
        check("a0", Item::Map(0));
        check("f6", Item::Null);
        check("f5", Item::Other);
        check("fb3ff199999999999a", Item::Other);
        check("c1", Item::Tag(1));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for bad in [
            "1817",
            "190017",
            "1a00000001",
            "1b0000000000000001",
            "5f",
            "9f",
            "bf",
            "1c",
            "44010203",
            "62c328",
            "1bffffffffffffffff",
            "9a00010000",
            "",
        ] {
            let bytes = hex::decode(bad).unwrap();
            assert!(Cbor::new(&bytes).next().is_err(), "{bad}");
        }
    }

    #[test]
    fn skipping_is_bounded() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0]].concat();
        assert!(Cbor::new(&nested(DEPTH_MAX)).skip().is_ok());
        assert!(Cbor::new(&nested(DEPTH_MAX + 1)).skip().is_err());
        let mut many = Vec::new();
        head(&mut many, 4, ENTRIES_MAX as u64);
        many.extend(vec![0; ENTRIES_MAX]);
        assert!(Cbor::new(&many).skip().is_ok());
        let mut more = Vec::new();
        head(&mut more, 4, ENTRIES_MAX as u64 + 1);
        more.extend(vec![0; ENTRIES_MAX + 1]);
        assert!(Cbor::new(&more).skip().is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        for value in [0, 23, 24, 255, 256, 65_535, 65_536, 1 << 40, -1, -24, -25, -257] {
            integer(&mut out, value);
            text(&mut out, "x");
            bytes(&mut out, &[7; 300]);
        }
        let mut cbor = Cbor::new(&out);
        for value in [0, 23, 24, 255, 256, 65_535, 65_536, 1 << 40, -1, -24, -25, -257] {
            assert_eq!(cbor.next(), Ok(Item::Integer(value)));
            assert_eq!(cbor.next(), Ok(Item::Text("x")));
            assert_eq!(cbor.next(), Ok(Item::Bytes(&[7; 300])));
        }
        cbor.end().unwrap();
    }
}
