//! The signing envelope of attestations (DSSE, protocol.md v1.0.2).

use palisade_base::Digest;

/// The bytes that are signed: `DSSEv1 SP len(type) SP type SP len(body) SP body`.
pub(crate) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Digest of the bytes that are signed.
pub(crate) fn signed_digest(payload_type: &str, payload: &[u8]) -> Digest {
    Digest::of(&pae(payload_type, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the DSSE specification.
    #[test]
    fn encodes_as_the_specification_does() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
