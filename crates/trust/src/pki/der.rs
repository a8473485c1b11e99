//! A reader of DER (X.690) that borrows: the bytes that were signed stay as they were.
//!
//! Only definite, minimal lengths and tags below 31 are read. Depth is that of the code:
//! nothing here recurses.

/// Bytes that are not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed DER: {0}")]
pub struct DerError(pub(crate) &'static str);

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;

/// The tag of a constructed, context-specific element.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    /// What is in it.
    pub(crate) value: &'a [u8],
    /// Tag, length and value.
    pub(crate) raw: &'a [u8],
}

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, DerError> {
        let short = DerError("it ends too early");
        let all = self.0;
        let (&tag, rest) = all.split_first().ok_or(short)?;
        if tag & 0x1f == 0x1f {
            return Err(DerError("a tag has more than one byte"));
        }
        let (&first, rest) = rest.split_first().ok_or(short)?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) =
                    rest.split_at_checked(usize::from(first & 0x7f)).ok_or(short)?;
                let length = digits.iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
                if length < 0x80 || digits.first() == Some(&0) {
                    return Err(DerError("a length is not minimal"));
                }
                (usize::try_from(length).map_err(|_| short)?, rest)
            }
            _ => return Err(DerError("a length is indefinite or longer than four bytes")),
        };
        let (value, after) = rest.split_at_checked(length).ok_or(short)?;
        let raw = all.get(..all.len() - after.len()).ok_or(short)?;
        self.0 = after;
        Ok(Element { tag, value, raw })
    }

    /// The next element, which must have that tag.
    pub(crate) fn element(&mut self, tag: u8) -> Result<Element<'a>, DerError> {
        match self.peek() {
            Some(found) if found == tag => self.any(),
            Some(_) => Err(DerError("an element has another type than it must have")),
            None => Err(DerError("an element is missing")),
        }
    }

    /// What is in the next element, which must have that tag.
    pub(crate) fn value(&mut self, tag: u8) -> Result<&'a [u8], DerError> {
        self.element(tag).map(|element| element.value)
    }

    /// A reader of what is in the next element, which must have that tag.
    pub(crate) fn enter(&mut self, tag: u8) -> Result<Der<'a>, DerError> {
        self.value(tag).map(Der)
    }

    pub(crate) fn sequence(&mut self) -> Result<Der<'a>, DerError> {
        self.enter(SEQUENCE)
    }

    /// The next element, if it has that tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.peek() == Some(tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// A BOOLEAN with a default of false, which DER never writes.
    pub(crate) fn flag(&mut self) -> Result<bool, DerError> {
        match self.optional(BOOLEAN)?.map(|element| element.value) {
            None => Ok(false),
            Some([0xff]) => Ok(true),
            Some(_) => Err(DerError("a boolean is not TRUE")),
        }
    }

    /// A BIT STRING of whole bytes.
    pub(crate) fn bits(&mut self) -> Result<&'a [u8], DerError> {
        match self.value(BIT_STRING)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(DerError("a bit string has no whole bytes")),
        }
    }

    /// An INTEGER that is not negative and fits.
    pub(crate) fn unsigned(&mut self) -> Result<u64, DerError> {
        let bytes = integer(self.value(INTEGER)?)?;
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(DerError("a number is negative"));
        }
        let digits = bytes.strip_prefix(&[0]).unwrap_or(bytes);
        if digits.len() > 8 {
            return Err(DerError("a number has more than 64 bits"));
        }
        Ok(digits.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// That nothing is left.
    pub(crate) fn end(&self) -> Result<(), DerError> {
        if self.is_empty() { Ok(()) } else { Err(DerError("something follows the last element")) }
    }

    /// A UTCTime or a GeneralizedTime, in seconds since the Unix epoch.
    pub(crate) fn time(&mut self) -> Result<i64, DerError> {
        let element = self.any()?;
        match element.tag {
            UTC_TIME => seconds(element.value, 2),
            GENERALIZED_TIME => seconds(element.value, 4),
            _ => Err(DerError("an element is no time")),
        }
    }
}

/// Checks that an INTEGER's bytes are minimal.
pub(crate) fn integer(bytes: &[u8]) -> Result<&[u8], DerError> {
    match bytes {
        [] => Err(DerError("a number is empty")),
        [0, next, ..] if next & 0x80 == 0 => Err(DerError("a number is not minimal")),
        [0xff, next, ..] if next & 0x80 != 0 => Err(DerError("a number is not minimal")),
        _ => Ok(bytes),
    }
}

/// `YYMMDDhhmmss[.f…]Z` with a year of two or four digits. A fraction (RFC 3161, section
/// 2.4.2) is checked and cut off: certificates' validity has whole seconds.
fn seconds(text: &[u8], n_year: usize) -> Result<i64, DerError> {
    let bad = DerError("a time is not written as it must be");
    let text = text.strip_suffix(b"Z").ok_or(bad)?;
    let (whole, fraction) = text.split_at_checked(n_year + 10).ok_or(bad)?;
    match fraction {
        [] => {}
        [b'.', digits @ .., b'0'..=b'9'] if n_year == 4 && digits.len() < 9 => {
            if !digits.iter().all(u8::is_ascii_digit) || fraction.ends_with(b"0") {
                return Err(bad);
            }
        }
        _ => return Err(bad),
    }
    if !whole.iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    let number =
        |digits: &[u8]| digits.iter().fold(0_i64, |sum, &d| sum * 10 + i64::from(d - b'0'));
    let (year, rest) = whole.split_at(n_year);
    let mut year = number(year);
    if n_year == 2 {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let mut parts = rest.chunks(2).map(number);
    let mut next =
        |low: i64, high: i64| parts.next().filter(|part| (low..=high).contains(part)).ok_or(bad);
    let (month, day) = (next(1, 12)?, next(1, 31)?);
    let (hour, minute, second) = (next(0, 23)?, next(0, 59)?, next(0, 60)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        _ => 31,
    };
    if day > longest {
        return Err(bad);
    }
    // Days from civil, counting years from March so that a leap day is a year's last day.
    let shifted = year - i64::from(month <= 2);
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Ok(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Wraps `value` in an element.
pub(crate) fn wrap(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match value.len() {
        length @ 0..=0x7f => out.push(length as u8),
        length => {
            let bytes = length.to_be_bytes();
            let skip = bytes.iter().take_while(|&&byte| byte == 0).count();
            out.push(0x80 | (bytes.len() - skip) as u8);
            out.extend(bytes.iter().skip(skip));
        }
    }
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal_and_definite() {
        let check = |bytes: &[u8], ok: bool| {
            assert_eq!(Der::new(bytes).any().is_ok(), ok, "{bytes:02x?}");
        };
        check(&[4, 1, 9], true);
        check(&wrap(4, &[0; 200]), true);
        check(&wrap(4, &vec![0; 70_000]), true);
        check(&[4, 0x81, 1, 9], false);
        check(&[4, 0x82, 0, 1, 9], false);
        check(&[0x30, 0x80, 0, 0], false);
        check(&[0x1f, 1, 0], false);
        check(&[4, 2, 9], false);
        check(&[4, 0x85, 0, 0, 0, 0, 1, 9], false);
        check(&[4], false);
        check(&[], false);
    }

    #[test]
    fn times_are_seconds() {
        let check = |tag: u8, text: &str, expected: Option<i64>| {
            let bytes = wrap(tag, text.as_bytes());
            assert_eq!(Der::new(&bytes).time().ok(), expected, "{text}");
        };
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(UTC_TIME, "500101000000Z", Some(-631_152_000));
        check(GENERALIZED_TIME, "20250806190351Z", Some(1_754_507_031));
        check(GENERALIZED_TIME, "20250806190351.123Z", Some(1_754_507_031));
        check(GENERALIZED_TIME, "20240229000000Z", Some(1_709_164_800));
        check(GENERALIZED_TIME, "20000301000000Z", Some(951_868_800));
        for bad in [
            "20230229000000Z",
            "20250806190351",
            "20250806190351.Z",
            "20250806190351.120Z",
            "20250806190351.1x3Z",
            "20250806190351+0100",
            "20251306190351Z",
            "20250806240000Z",
            "2025080619035Z",
            "",
        ] {
            check(GENERALIZED_TIME, bad, None);
        }
        check(UTC_TIME, "700101000000.5Z", None);
    }

    #[test]
    fn numbers_are_minimal() {
        let check = |bytes: &[u8], expected: Option<u64>| {
            assert_eq!(Der::new(&wrap(INTEGER, bytes)).unsigned().ok(), expected, "{bytes:02x?}");
        };
        check(&[0], Some(0));
        check(&[0, 0x80], Some(128));
        check(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(u64::MAX));
        check(&[1, 0, 0, 0, 0, 0, 0, 0, 0], None);
        check(&[0, 1], None);
        check(&[0x80], None);
        check(&[], None);
    }
}
