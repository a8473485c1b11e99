//! Streams made by hand, where a lie can be told, and one of a real encoder.

use super::*;

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

fn with_crc(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc(bytes)].concat()
}

fn number(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A stream whose blocks have a dictionary code and stored data, checked by CRC-32.
pub(crate) fn stored(blocks: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = b"\xfd7zXZ\0".to_vec();
    out.extend(with_crc(&[0, 1]));
    let mut index = [vec![0], number(blocks.len())].concat();
    for (code, data) in blocks {
        let header = with_crc(&[2, 0, 0x21, 1, *code, 0, 0, 0]);
        let mut body = Vec::new();
        for (i, chunk) in data.chunks(1 << 16).enumerate() {
            body.push(if i == 0 { 1 } else { 2 });
            body.extend(u16::try_from(chunk.len() - 1).unwrap().to_be_bytes());
            body.extend(chunk);
        }
        body.push(0);
        index.extend(number(header.len() + body.len() + 4));
        index.extend(number(data.len()));
        body.resize(body.len().next_multiple_of(4), 0);
        out.extend([header, body, crc(data).to_vec()].concat());
    }
    index.resize(index.len().next_multiple_of(4), 0);
    let index = with_crc(&index);
    let backward = u32::try_from(index.len() / 4 - 1).unwrap().to_le_bytes();
    let footer = [&backward[..], &[0, 1]].concat();
    out.extend([&index[..], &crc(&footer), &footer, b"YZ"].concat());
    out
}

/// A source of one byte a read.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(1);
        self.0.read(&mut buffer[..n])
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<u8>, XzError> {
    let mut out = Vec::new();
    let result = XzStream::new(bytes).read_to_end(&mut out);
    let mut by_drops = Vec::new();
    let again = XzStream::new(Drops(bytes)).read_to_end(&mut by_drops);
    assert_eq!((result.is_ok(), &out), (again.is_ok(), &by_drops));
    match result {
        Ok(_) => Ok(out),
        Err(error) => {
            Err(XzError::find(&error).cloned().unwrap_or(XzError::Damaged("the decoder says so")))
        }
    }
}

#[test]
fn data_is_whole_whatever_its_blocks() {
    let long: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    for blocks in [
        &[][..],
        &[&b""[..]],
        &[b"a"],
        &[b"ab", b"", b"cde", b"fghi"],
        &[&long, b"x", &long[..65_536], &long[..65_537]],
    ] {
        let stream: Vec<(u8, &[u8])> = blocks.iter().map(|data| (16, *data)).collect();
        assert_eq!(decode(&stored(&stream)), Ok(blocks.concat()), "{} blocks", blocks.len());
    }
}

/// What `xz --block-size=300` makes of 1,000 bytes: blocks with sizes in their headers and
/// compressed chunks, checked by CRC-64.
#[test]
fn a_real_encoders_stream_is_decoded() {
    let data: Vec<u8> = b"palisade, ".repeat(100);
    assert_eq!(
        decode(include_bytes!("../../../../testdata/deb/blocks.xz")).as_deref(),
        Ok(&data[..])
    );
}

#[test]
fn a_dictionary_is_refused_before_it_exists() {
    let too_large = |bytes| Err(XzError::DictionaryTooLarge { bytes, limit: 64 << 20 });
    assert_eq!(decode(&stored(&[(28, b"a")])), Ok(b"a".to_vec()));
    assert_eq!(decode(&stored(&[(29, b"a")])), too_large(96 << 20));
    assert_eq!(decode(&stored(&[(40, b"a")])), too_large(u64::from(u32::MAX)));
    // In every block, not only the first.
    assert_eq!(decode(&stored(&[(16, b"a"), (16, b"b"), (39, b"c")])), too_large(3 << 30));
    assert_eq!(decode(&stored(&[(41, b"a")])), Err(XzError::Filters));
}

#[test]
fn dictionaries_are_in_proportion_to_the_data() {
    let blocks = |n: usize| stored(&vec![(28_u8, &b"a"[..]); n]);
    let n_spare = (DICTIONARIES_BYTES_SPARE / DICTIONARY_BYTES_MAX) as usize;
    let judge = |bytes: &[u8]| io::copy(&mut Guard::new(bytes), &mut io::sink());
    judge(&blocks(n_spare)).unwrap();
    let error = judge(&blocks(n_spare + 1)).unwrap_err();
    let bytes = (n_spare as u64 + 1) * DICTIONARY_BYTES_MAX;
    assert_eq!(XzError::find(&error), Some(&XzError::Dictionaries { bytes }));
}

#[test]
fn what_dpkg_never_writes_is_refused() {
    let good = stored(&[(16, b"abc"), (16, b"d")]);
    assert_eq!(decode(&[&good[..], b"\0"].concat()), Err(XzError::Trailing));
    assert_eq!(decode(&[&good[..], &good].concat()), Err(XzError::Trailing));
    // Thousands of empty streams made the decoder call itself as often.
    assert_eq!(decode(&stored(&[]).repeat(10_000)), Err(XzError::Trailing));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        decode(&bytes)
    };
    assert_eq!(changed(13, 1), Err(XzError::Filters), "two filters");
    assert_eq!(changed(14, 3), Err(XzError::Filters), "delta");
    assert_eq!(changed(7, 16), Err(XzError::Damaged("unknown flags")));
    assert_eq!(changed(24, 3), Err(XzError::Damaged("an unknown kind of chunk")));
    assert_eq!(changed(0, 0), Err(XzError::Damaged("it does not begin as an xz stream")));
    let index = good.len() - 12 - 12;
    assert_eq!(good[index..index + 2], [0, 2]);
    assert_eq!(changed(index + 1, 3), Err(XzError::Damaged("its index is not that of its blocks")));
    for end in 0..good.len() {
        assert!(decode(&good[..end]).is_err(), "cut at {end}");
    }
}
