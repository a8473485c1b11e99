//! The COSE form (notaryproject/specifications, `signature-envelope-cose.md`; RFC 9052).

use super::cbor::{self, Cbor, ENTRIES_MAX, Item};
use super::envelope::{CHAIN_MAX, Header, Parts, names};
use crate::jose::Algorithm;

/// The tag of a COSE_Sign1.
const TAG_SIGN1: u64 = 18;
/// The tag of a time in seconds.
const TAG_EPOCH: u64 = 1;
/// Labels of headers.
const ALGORITHM: i64 = 1;
const CRITICAL: i64 = 2;
const CONTENT_TYPE: i64 = 3;
const X5CHAIN: i64 = 33;

/// A label: a number or a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label<'c> {
    Number(i64),
    Name(&'c str),
}

fn algorithm(number: i64) -> Option<Algorithm> {
    Some(match number {
        -7 => Algorithm::Es256,
        -35 => Algorithm::Es384,
        -36 => Algorithm::Es512,
        -37 => Algorithm::Ps256,
        -38 => Algorithm::Ps384,
        -39 => Algorithm::Ps512,
        _ => return None,
    })
}

/// Calls `read` for each entry of the map that stands next. A label that stands twice is an
/// error.
fn map<'c>(
    cbor: &mut Cbor<'c>,
    mut read: impl FnMut(Label<'c>, &mut Cbor<'c>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let Item::Map(n) = cbor.next()? else { return Err("a header is no map") };
    let mut seen: Vec<Label<'c>> = Vec::new();
    for _ in 0..n {
        let label = match cbor.next()? {
            Item::Integer(number) => Label::Number(number),
            Item::Text(name) => Label::Name(name),
            _ => return Err("a label is neither number nor text"),
        };
        if seen.contains(&label) {
            return Err("a label stands twice");
        }
        seen.push(label);
        read(label, cbor)?;
    }
    Ok(())
}

fn text<'c>(cbor: &mut Cbor<'c>) -> Result<&'c str, &'static str> {
    match cbor.next()? {
        Item::Text(text) => Ok(text),
        _ => Err("a member is no text"),
    }
}

fn bytes<'c>(cbor: &mut Cbor<'c>) -> Result<&'c [u8], &'static str> {
    match cbor.next()? {
        Item::Bytes(bytes) => Ok(bytes),
        _ => Err("a member is no byte string"),
    }
}

fn time(cbor: &mut Cbor<'_>) -> Result<i64, &'static str> {
    match (cbor.next()?, cbor.next()?) {
        (Item::Tag(TAG_EPOCH), Item::Integer(seconds)) => Ok(seconds),
        _ => Err("a time is no number of whole seconds"),
    }
}

fn chain(cbor: &mut Cbor<'_>) -> Result<RawChain, &'static str> {
    match cbor.next()? {
        Item::Bytes(one) => Ok(vec![one.to_vec()]),
        Item::Array(n) if n <= CHAIN_MAX => {
            (0..n).map(|_| bytes(cbor).map(<[u8]>::to_vec)).collect()
        }
        _ => Err("its chain is none of 1 to 8 certificates"),
    }
}

pub(super) fn parse(all: &[u8]) -> Result<Parts, String> {
    Ok(parse_envelope(all)?)
}

fn parse_envelope(all: &[u8]) -> Result<Parts, &'static str> {
    let mut cbor = Cbor::new(all);
    if cbor.next()? != Item::Tag(TAG_SIGN1) || cbor.next()? != Item::Array(4) {
        return Err("it is no tagged COSE_Sign1");
    }
    let protected = bytes(&mut cbor)?;
    let mut signed = Cbor::new(protected);
    let (header, mut certificates) = protected_header(&mut signed)?;
    signed.end()?;
    let mut timestamp = None;
    map(&mut cbor, |label, cbor| {
        match label {
            Label::Number(X5CHAIN) if certificates.is_some() => return Err("it has two chains"),
            Label::Number(X5CHAIN) => certificates = Some(chain(cbor)?),
            Label::Number(ALGORITHM | CRITICAL | CONTENT_TYPE) => {
                return Err("what must be signed stands in the unsigned header");
            }
            Label::Name(names::TIMESTAMP) => timestamp = Some(bytes(cbor)?.to_vec()),
            _ => cbor.skip()?,
        }
        Ok(())
    })?;
    let payload = bytes(&mut cbor)?;
    let signature = bytes(&mut cbor)?;
    cbor.end()?;
    Ok(Parts {
        header,
        chain: certificates.ok_or("it has no chain")?,
        message: signed_structure(protected, payload),
        signature: signature.to_vec(),
        payload: payload.to_vec(),
        timestamp: timestamp.filter(|it: &Vec<u8>| !it.is_empty()),
    })
}

/// Certificates in DER.
type RawChain = Vec<Vec<u8>>;

fn protected_header(cbor: &mut Cbor<'_>) -> Result<(Header, Option<RawChain>), &'static str> {
    let mut header = Header::default();
    let (mut certificates, mut names_there) = (None, Vec::new());
    map(cbor, |label, cbor| {
        match label {
            Label::Number(ALGORITHM) => match cbor.next()? {
                Item::Integer(number) => header.algorithm = algorithm(number),
                _ => return Err("its algorithm is no number"),
            },
            Label::Number(CRITICAL) => {
                let Item::Array(n @ 1..=ENTRIES_MAX) = cbor.next()? else {
                    return Err("its list of critical members is none");
                };
                for _ in 0..n {
                    header.critical.push(text(cbor)?.to_string());
                }
            }
            Label::Number(CONTENT_TYPE) => header.content_type = Some(text(cbor)?.to_string()),
            Label::Number(X5CHAIN) => certificates = Some(chain(cbor)?),
            Label::Number(_) => cbor.skip()?,
            Label::Name(name) => {
                names_there.push(name.to_string());
                match name {
                    names::SCHEME => header.scheme = Some(text(cbor)?.to_string()),
                    names::SIGNING_TIME => header.signing_time = Some(time(cbor)?),
                    names::AUTHENTIC_TIME => header.authentic_time = Some(time(cbor)?),
                    names::EXPIRY => header.expiry = Some(time(cbor)?),
                    names::PLUGIN => header.plugin = Some(text(cbor)?.to_string()),
                    _ => cbor.skip()?,
                }
            }
        }
        Ok(())
    })?;
    if header.critical.iter().any(|name| !names_there.contains(name)) {
        return Err("a critical member is not there");
    }
    Ok((header, certificates))
}

/// What is signed (RFC 9052, section 4.4).
pub(super) fn signed_structure(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(protected.len() + payload.len() + 64);
    cbor::head(&mut out, 4, 4);
    cbor::text(&mut out, "Signature1");
    cbor::bytes(&mut out, protected);
    cbor::bytes(&mut out, &[]);
    cbor::bytes(&mut out, payload);
    out
}

/// The signed header of an envelope of our own.
pub(super) fn write_protected(signing_time: i64, expiry: Option<i64>) -> Vec<u8> {
    let mut out = Vec::new();
    cbor::head(&mut out, 5, 5 + u64::from(expiry.is_some()));
    cbor::integer(&mut out, ALGORITHM);
    cbor::integer(&mut out, -7);
    cbor::integer(&mut out, CRITICAL);
    cbor::head(&mut out, 4, 1 + u64::from(expiry.is_some()));
    cbor::text(&mut out, names::SCHEME);
    if expiry.is_some() {
        cbor::text(&mut out, names::EXPIRY);
    }
    cbor::integer(&mut out, CONTENT_TYPE);
    cbor::text(&mut out, super::PAYLOAD_TYPE);
    let time = |out: &mut Vec<u8>, name: &str, seconds: i64| {
        cbor::text(out, name);
        cbor::head(out, 6, TAG_EPOCH);
        cbor::integer(out, seconds);
    };
    // Keys in the order of their bytes, lengths first: the deterministic form.
    if let Some(expiry) = expiry {
        time(&mut out, names::EXPIRY, expiry);
    }
    time(&mut out, names::SIGNING_TIME, signing_time);
    cbor::text(&mut out, names::SCHEME);
    cbor::text(&mut out, names::X509);
    out
}

/// A whole envelope of our own.
pub(super) fn write(
    protected: &[u8],
    chain: &[Vec<u8>],
    timestamp: Option<&[u8]>,
    agent: &str,
    payload: &[u8],
    signature: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    cbor::head(&mut out, 6, TAG_SIGN1);
    cbor::head(&mut out, 4, 4);
    cbor::bytes(&mut out, protected);
    cbor::head(&mut out, 5, 2 + u64::from(timestamp.is_some()));
    cbor::integer(&mut out, X5CHAIN);
    cbor::head(&mut out, 4, chain.len() as u64);
    for certificate in chain {
        cbor::bytes(&mut out, certificate);
    }
    cbor::text(&mut out, names::AGENT);
    cbor::text(&mut out, agent);
    if let Some(timestamp) = timestamp {
        cbor::text(&mut out, names::TIMESTAMP);
        cbor::bytes(&mut out, timestamp);
    }
    cbor::bytes(&mut out, payload);
    cbor::bytes(&mut out, signature);
    out
}
