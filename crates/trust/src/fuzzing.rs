//! For fuzzing: parsers that no caller reaches alone. Whatever the bytes are, these end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pki::path::Chain;
use crate::pki::timestamp::TimeStamp;
use crate::pki::{Certificate, DerError};
use crate::sigstore::legacy;

/// Certificates, one after the other as DER: each is read, and all but the first are a chain of
/// authorities.
pub fn certificates(bytes: &[u8]) {
    let mut rest = bytes;
    let mut read = Vec::new();
    while let Some(length) = length(rest).filter(|_| read.len() < 10) {
        let (one, more) = rest.split_at(length);
        rest = more;
        let Ok(certificate) = Certificate::parse(one) else { break };
        // What is signed is a part of what was read, and is never longer without its SCTs.
        let tbs = certificate.tbs_without_scts();
        assert!(tbs.map_or(true, |tbs: Vec<u8>| tbs.len() <= one.len() + 8));
        assert_eq!(certificate.raw(), one);
        read.push(certificate);
    }
    let Some(leaf) = read.first().cloned() else { return };
    if let Ok(chain) = Chain::new(read.split_off(1)) {
        let is_issued = chain.issued(&leaf);
        // An authority that does not call itself as the issuer issues nothing.
        assert!(
            !is_issued || chain.certificates().first().is_some_and(|it| it.subject == leaf.issuer)
        );
        chain.holds_at(0, &[0x2b]);
    }
}

/// Bytes of the DER element that `bytes` begin with.
fn length(bytes: &[u8]) -> Option<usize> {
    let (first, n_header) = (usize::from(*bytes.get(1)?), 2);
    let length = if first < 0x80 {
        n_header + first
    } else {
        let n = first & 0x7f;
        let digits = bytes.get(2..2 + n).filter(|_| n <= 4)?;
        let value = digits.iter().fold(0_usize, |value, byte| (value << 8) | usize::from(*byte));
        value.checked_add(n_header + n)?
    };
    (length <= bytes.len()).then_some(length)
}

/// An answer or a token of an authority of time (RFC 3161).
pub fn time_stamp(bytes: &[u8]) {
    let parsed: [Result<TimeStamp<'_>, DerError>; 2] =
        [TimeStamp::parse(bytes), TimeStamp::parse_token(bytes)];
    for stamp in parsed.into_iter().flatten() {
        stamp.accuracy_seconds();
        stamp.certificates();
        // Nobody is trusted, so that nothing is proved by whatever certificate is in it.
        assert!(!stamp.is_of(b"another message, of which no digest is in the corpus"));
    }
}

/// An envelope (DSSE) as it lies under the tag of an image's attestations.
pub fn envelope(bytes: &[u8]) {
    let Ok(bundle) = legacy::attestation(bytes, &serde_json::Map::new()) else { return };
    let Some((kind, payload)) = bundle.envelope() else { return };
    let signed = crate::dsse::pae(kind, payload);
    // Two different envelopes are never the same message.
    assert!(signed.starts_with(b"DSSEv1 ") && signed.ends_with(payload));
    let again = STANDARD.encode(payload);
    assert!(STANDARD.decode(again).is_ok_and(|it| it == payload));
}
