//! The compact form of numbers, texts and what is made of them.
//!
//! Integers are varints (seven bits a byte, lowest first; signed ones zigzag), texts are
//! either written out or point back at one that was. One description of a value serves
//! writing and reading ([`Codec`]), so that the two cannot disagree.
//!
//! Reading is total and shares: a text that is referred to a thousand times exists once,
//! so that what is decoded takes no more memory than what was there to decode.

use std::sync::Arc;

use crate::identity::Facts;
use crate::state::Text;
use crate::state::fd::NumberMap;

/// Texts shorter than this are always written out, and are not referred to.
pub(crate) const REFERABLE_BYTES_MIN: usize = 3;

/// Places of the table by which a writer finds a text again.
const SLOTS: usize = 4096;

/// Appends `value` as a varint.
pub(crate) fn put_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` as a zigzag varint: small negative numbers stay short.
pub(crate) fn put_int(out: &mut Vec<u8>, value: i64) {
    put_uint(out, zigzag(value));
}

pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// A value that is written or read, as the implementation says.
pub(crate) trait Codec {
    fn uint(&mut self, value: &mut u64) -> Option<()>;
    fn int(&mut self, value: &mut i64) -> Option<()>;
    fn text(&mut self, value: &mut Text) -> Option<()>;
    /// A container by its number; absent ones are 0.
    fn container(&mut self, value: &mut Option<Arc<Facts>>) -> Option<()>;
    /// Whether values are read.
    fn is_reading(&self) -> bool;

    fn u32(&mut self, value: &mut u32) -> Option<()> {
        let mut wide = u64::from(*value);
        self.uint(&mut wide)?;
        *value = u32::try_from(wide).ok()?;
        Some(())
    }

    fn u8(&mut self, value: &mut u8) -> Option<()> {
        let mut wide = u64::from(*value);
        self.uint(&mut wide)?;
        *value = u8::try_from(wide).ok()?;
        Some(())
    }

    fn bool(&mut self, value: &mut bool) -> Option<()> {
        let mut number = u8::from(*value);
        self.u8(&mut number)?;
        *value = number != 0;
        Some(())
    }

    /// A text that may be absent.
    fn optional_text(&mut self, value: &mut Option<Text>) -> Option<()> {
        let mut is_there = value.is_some();
        self.bool(&mut is_there)?;
        if !is_there {
            *value = None;
            return Some(());
        }
        let mut text = value.take().unwrap_or_else(|| Arc::from(&[][..]));
        self.text(&mut text)?;
        *value = Some(text);
        Some(())
    }

    /// Text that is UTF-8; what is not is made so.
    fn string(&mut self, value: &mut String) -> Option<()> {
        let mut text: Text = value.as_bytes().into();
        self.text(&mut text)?;
        if self.is_reading() {
            *value = String::from_utf8_lossy(&text).into_owned();
        }
        Some(())
    }
}

/// The texts of a chunk that were written out, so that they can be referred to.
#[derive(Debug, Default)]
pub(crate) struct TextTable {
    /// Where each lies in the chunk.
    places: Vec<(u32, u32)>,
    /// Candidates by hash. A newer text takes an older one's place: a table that cannot
    /// grow and has no chains cannot be made slow by chosen texts.
    slots: Vec<u32>,
}

impl TextTable {
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.slots.fill(0);
    }

    /// Appends `text`, by reference where it was written before.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, text: &[u8]) {
        if text.len() < REFERABLE_BYTES_MIN {
            put_uint(out, (text.len() as u64) << 1);
            out.extend_from_slice(text);
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, 0);
        }
        let slot = hash(text) as usize % SLOTS;
        let known = self.slots[slot] as usize;
        if let Some((at, length)) = known.checked_sub(1).and_then(|index| self.places.get(index))
            && out.get(*at as usize..(*at + *length) as usize) == Some(text)
        {
            put_uint(out, ((self.places.len() - known) as u64) << 1 | 1);
            return;
        }
        put_uint(out, (text.len() as u64) << 1);
        self.places.push((out.len() as u32, text.len() as u32));
        self.slots[slot] = self.places.len() as u32;
        out.extend_from_slice(text);
    }
}

/// Eight bytes at a time; only speed depends on its quality.
fn hash(text: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut mixed = text.len() as u64;
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        mixed = (mixed ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        mixed ^= mixed >> 29;
    }
    for byte in rest {
        mixed = (mixed ^ u64::from(*byte)).wrapping_mul(FACTOR);
    }
    mixed ^ (mixed >> 32)
}

/// Writes values into a chunk.
pub(crate) struct Encoder<'e> {
    pub(crate) out: &'e mut Vec<u8>,
    pub(crate) texts: &'e mut TextTable,
    /// The number of a container, which was introduced before.
    pub(crate) number_of: &'e dyn Fn(&Arc<Facts>) -> u64,
}

impl Codec for Encoder<'_> {
    fn uint(&mut self, value: &mut u64) -> Option<()> {
        put_uint(self.out, *value);
        Some(())
    }

    fn int(&mut self, value: &mut i64) -> Option<()> {
        put_int(self.out, *value);
        Some(())
    }

    fn text(&mut self, value: &mut Text) -> Option<()> {
        self.texts.put(self.out, value);
        Some(())
    }

    fn container(&mut self, value: &mut Option<Arc<Facts>>) -> Option<()> {
        put_uint(self.out, value.as_ref().map_or(0, |facts| (self.number_of)(facts)));
        Some(())
    }

    fn is_reading(&self) -> bool {
        false
    }
}

/// Reads the values of one chunk.
#[derive(Debug)]
pub(crate) struct Decoder<'d> {
    bytes: &'d [u8],
    at: usize,
    texts: Vec<(u32, u32)>,
    shared: Vec<Option<Text>>,
    /// Containers that were introduced, by number.
    pub(crate) containers: NumberMap<u64, Arc<Facts>>,
}

impl<'d> Decoder<'d> {
    pub(crate) fn new(bytes: &'d [u8], containers: NumberMap<u64, Arc<Facts>>) -> Self {
        Self { bytes, at: 0, texts: Vec::new(), shared: Vec::new(), containers }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Goes on at `at`, which lies ahead.
    pub(crate) fn skip_to(&mut self, at: usize) {
        self.at = at.min(self.bytes.len());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn take(&mut self, n_bytes: usize) -> Option<&'d [u8]> {
        let end = self.at.checked_add(n_bytes)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(crate) fn get_uint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn get_int(&mut self) -> Option<i64> {
        self.get_uint().map(unzigzag)
    }

    /// The place of the next text: in the chunk, and among those that can be referred to.
    fn place(&mut self) -> Option<((u32, u32), Option<usize>)> {
        let head = self.get_uint()?;
        if head & 1 == 1 {
            let index = self.texts.len().checked_sub(1 + usize::try_from(head >> 1).ok()?)?;
            return Some((*self.texts.get(index)?, Some(index)));
        }
        let length = usize::try_from(head >> 1).ok()?;
        let place = (u32::try_from(self.at).ok()?, u32::try_from(length).ok()?);
        self.take(length)?;
        if length < REFERABLE_BYTES_MIN {
            return Some((place, None));
        }
        self.texts.push(place);
        Some((place, Some(self.texts.len() - 1)))
    }

    pub(crate) fn get_text(&mut self) -> Option<&'d [u8]> {
        let ((at, length), _) = self.place()?;
        self.bytes.get(at as usize..at as usize + length as usize)
    }
}

impl Codec for Decoder<'_> {
    fn uint(&mut self, value: &mut u64) -> Option<()> {
        *value = self.get_uint()?;
        Some(())
    }

    fn int(&mut self, value: &mut i64) -> Option<()> {
        *value = self.get_int()?;
        Some(())
    }

    fn text(&mut self, value: &mut Text) -> Option<()> {
        let ((at, length), index) = self.place()?;
        let bytes = self.bytes.get(at as usize..at as usize + length as usize)?;
        let Some(index) = index else {
            *value = bytes.into();
            return Some(());
        };
        if self.shared.len() <= index {
            self.shared.resize(index + 1, None);
        }
        *value = Arc::clone(self.shared.get_mut(index)?.get_or_insert_with(|| bytes.into()));
        Some(())
    }

    fn container(&mut self, value: &mut Option<Arc<Facts>>) -> Option<()> {
        let number = self.get_uint()?;
        *value = if number == 0 { None } else { Some(Arc::clone(self.containers.get(&number)?)) };
        Some(())
    }

    fn is_reading(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_comes_again_is_a_reference() {
        let (mut out, mut table) = (Vec::new(), TextTable::default());
        for text in [&b"/etc/passwd"[..], b"ab", b"/etc/passwd", b"/etc/shadow", b"/etc/passwd"] {
            table.put(&mut out, text);
        }
        assert_eq!(out.len(), 1 + 11 + 1 + 2 + 1 + 1 + 11 + 1);
        let mut decoder = Decoder::new(&out, NumberMap::default());
        for text in [&b"/etc/passwd"[..], b"ab", b"/etc/passwd", b"/etc/shadow", b"/etc/passwd"] {
            assert_eq!(decoder.get_text(), Some(text));
        }
        assert!(decoder.is_empty());
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let get = |bytes: &[u8]| Decoder::new(bytes, NumberMap::default()).get_uint();
        assert_eq!(get(&[0xff; 9]), None, "it ends");
        assert_eq!(get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
        assert_eq!(
            get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            Some(u64::MAX)
        );
        let text = |bytes: &'static [u8]| Decoder::new(bytes, NumberMap::default()).get_text();
        assert_eq!(text(&[1]), None, "nothing to refer to");
        assert_eq!(text(&[0xfe, 0xff, 0xff, 0xff, 0x0f, 1]), None, "longer than there is");
    }

    proptest! {
        #[test]
        fn values_come_back(numbers in prop::collection::vec(any::<i64>(), 0..20), texts in prop::collection::vec(prop::collection::vec(0_u8..3, 0..6), 0..40)) {
            let (mut out, mut table) = (Vec::new(), TextTable::default());
            for number in &numbers { put_int(&mut out, *number); }
            for text in &texts { table.put(&mut out, text); }
            let mut decoder = Decoder::new(&out, NumberMap::default());
            for number in &numbers { prop_assert_eq!(decoder.get_int(), Some(*number)); }
            for text in &texts { prop_assert_eq!(decoder.get_text(), Some(&text[..])); }
            prop_assert!(decoder.is_empty());
        }
    }
}
