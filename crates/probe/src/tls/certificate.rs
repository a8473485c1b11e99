//! What a certificate says of itself.

use palisade_base::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader};

/// Largest certificate that is read, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;

/// What matters of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is about.
    pub subject: String,
    /// Whether it names itself as issuer.
    pub is_self_issued: bool,
    /// Seconds since 1970 from which it is valid.
    pub not_before: i64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
    /// Bits of an RSA key or of an elliptic curve; `None` for what is not known.
    pub key_bits: Option<u32>,
    /// `RSA` or `EC`.
    pub key_kind: &'static str,
    /// `MD5` or `SHA-1`, where it is signed with one of them.
    pub weak_signature: Option<&'static str>,
}

impl Facts {
    /// Reads a certificate in DER; `None` when it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return None;
        }
        let certificate = Certificate::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let seconds =
            |time: &x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
        let key = body.subject_public_key_info();
        let curve = || {
            key.algorithm
                .parameters
                .as_ref()?
                .decode_as::<x509_cert::der::asn1::ObjectIdentifier>()
                .ok()
        };
        let (key_kind, key_bits) = match key.algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.1" => ("RSA", rsa_bits(key.subject_public_key.raw_bytes())),
            "1.2.840.10045.2.1" => ("EC", curve().and_then(|curve| curve_bits(&curve.to_string()))),
            "1.3.101.112" => ("Ed25519", Some(256)),
            _ => ("other", None),
        };
        Some(Self {
            subject: body.subject().to_string(),
            is_self_issued: body.subject().to_der().ok() == body.issuer().to_der().ok(),
            not_before: seconds(&body.validity().not_before)?,
            not_after: seconds(&body.validity().not_after)?,
            key_bits,
            key_kind,
            weak_signature: match certificate.signature_algorithm().oid.to_string().as_str() {
                "1.2.840.113549.1.1.4" => Some("MD5"),
                "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => Some("SHA-1"),
                _ => None,
            },
        })
    }

    /// Whether the key is too short for what is made today.
    pub fn is_weak_key(&self) -> bool {
        match (self.key_kind, self.key_bits) {
            ("RSA", Some(bits)) => bits < 2048,
            ("EC", Some(bits)) => bits < 224,
            _ => false,
        }
    }

    /// The last day, for people.
    pub fn until(&self) -> String {
        Timestamp::from_nanos(
            u64::try_from(self.not_after).unwrap_or(0).saturating_mul(1_000_000_000),
        )
        .rfc3339()
    }
}

/// Bits of the modulus: the first number of `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_bits(key: &[u8]) -> Option<u32> {
    let mut reader = SliceReader::new(key).ok()?;
    let modulus = reader
        .sequence(|inner| -> x509_cert::der::Result<Vec<u8>> {
            let modulus = x509_cert::der::asn1::UintRef::decode(inner)?.as_bytes().to_vec();
            let _exponent = x509_cert::der::asn1::UintRef::decode(inner)?;
            Ok(modulus)
        })
        .ok()?;
    let first = modulus.first()?;
    Some(u32::try_from(modulus.len()).ok()? * 8 - first.leading_zeros())
}

fn curve_bits(oid: &str) -> Option<u32> {
    Some(match oid {
        "1.2.840.10045.3.1.1" => 192,
        "1.3.132.0.33" => 224,
        "1.2.840.10045.3.1.7" | "1.3.132.0.10" => 256,
        "1.3.132.0.34" => 384,
        "1.3.132.0.35" => 521,
        _ => return None,
    })
}
