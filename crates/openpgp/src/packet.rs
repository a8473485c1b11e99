//! Packets of OpenPGP (RFC 9580, section 4; RFC 4880 for their old form).

use std::io::Read as _;

use crate::OpenPgpError;

/// Largest message or keyring, in bytes, before and after decompression.
pub(crate) const BYTES_MAX: usize = 4 << 20;
/// Most packets of a message or keyring.
const PACKETS_MAX: usize = 10_000;

pub(crate) const SIGNATURE: u8 = 2;
pub(crate) const ONE_PASS: u8 = 4;
pub(crate) const PUBLIC_KEY: u8 = 6;
pub(crate) const COMPRESSED: u8 = 8;
pub(crate) const MARKER: u8 = 10;
pub(crate) const LITERAL: u8 = 11;
pub(crate) const USER_ID: u8 = 13;
pub(crate) const SUBKEY: u8 = 14;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

fn malformed() -> OpenPgpError {
    OpenPgpError::Malformed("a packet ends too early")
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], OpenPgpError> {
    let (head, rest) = bytes.split_at_checked(n).ok_or_else(malformed)?;
    *bytes = rest;
    Ok(head)
}

fn number(bytes: &mut &[u8], n: usize) -> Result<usize, OpenPgpError> {
    Ok(take(bytes, n)?.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
}

/// The length of a new packet or subpacket; a partial one says `true`.
pub(crate) fn new_length(bytes: &mut &[u8]) -> Result<(usize, bool), OpenPgpError> {
    Ok(match number(bytes, 1)? {
        first @ 0..=191 => (first, false),
        first @ 192..=223 => (((first - 192) << 8) + number(bytes, 1)? + 192, false),
        first @ 224..=254 => (1 << (first & 0x1f), true),
        _ => (number(bytes, 4)?, false),
    })
}

/// Takes `bytes` apart.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Vec<Packet>, OpenPgpError> {
    if bytes.len() > BYTES_MAX {
        return Err(OpenPgpError::TooLarge);
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        if out.len() == PACKETS_MAX {
            return Err(OpenPgpError::TooLarge);
        }
        let first = number(&mut bytes, 1)? as u8;
        if first & 0x80 == 0 {
            return Err(OpenPgpError::Malformed("this is no OpenPGP"));
        }
        let (tag, body) = if first & 0x40 != 0 {
            let mut body = Vec::new();
            loop {
                let (length, is_partial) = new_length(&mut bytes)?;
                body.extend_from_slice(take(&mut bytes, length)?);
                if !is_partial {
                    break;
                }
            }
            (first & 0x3f, body)
        } else {
            let length = match first & 3 {
                0 => number(&mut bytes, 1)?,
                1 => number(&mut bytes, 2)?,
                2 => number(&mut bytes, 4)?,
                _ => bytes.len(),
            };
            (first >> 2 & 0x0f, take(&mut bytes, length)?.to_vec())
        };
        out.push(Packet { tag, body });
    }
    Ok(out)
}

/// What a compressed packet holds.
pub(crate) fn decompress(body: &[u8]) -> Result<Vec<u8>, OpenPgpError> {
    let (algorithm, data) = body.split_first().ok_or_else(malformed)?;
    let mut out = Vec::new();
    let limit = BYTES_MAX as u64 + 1;
    let read = match algorithm {
        0 => return Ok(data.to_vec()),
        1 => flate2::read::DeflateDecoder::new(data).take(limit).read_to_end(&mut out),
        2 => flate2::read::ZlibDecoder::new(data).take(limit).read_to_end(&mut out),
        _ => return Err(OpenPgpError::Unsupported("its compression")),
    };
    read.map_err(|_| OpenPgpError::Malformed("compressed data is broken"))?;
    if out.len() > BYTES_MAX { Err(OpenPgpError::TooLarge) } else { Ok(out) }
}

/// Takes the armour off, if there is one.
pub(crate) fn dearmor(bytes: &[u8]) -> Result<Vec<u8>, OpenPgpError> {
    use base64::Engine as _;
    let Some(text) =
        std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with("-----BEGIN"))
    else {
        return Ok(bytes.to_vec());
    };
    let bad = || OpenPgpError::Malformed("its armour is broken");
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (label, after) = rest
            .strip_prefix("-----BEGIN PGP ")
            .and_then(|rest| rest.split_once("-----"))
            .ok_or_else(bad)?;
        let (block, after) =
            after.split_once(&format!("-----END PGP {label}-----")).ok_or_else(bad)?;
        // Headers end with an empty line.
        let block = block.replace('\r', "");
        let body = block.split_once("\n\n").map_or(block.as_str(), |(_, body)| body);
        // The checksum says nothing that a signature does not.
        let lines = body.lines().map(str::trim).filter(|line| !line.starts_with('='));
        let decoded = base64::engine::general_purpose::STANDARD.decode(lines.collect::<String>());
        out.extend(decoded.map_err(|_| bad())?);
        rest = after.trim_start();
    }
    Ok(out)
}
