//! What a log's follower reads in a certificate: the key and the names.
//!
//! Nothing is trusted here and no chain is checked: a log says what was signed with, and
//! whoever verifies decides whether that is enough.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_cert::der::asn1::{OctetString, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::EntryError;

/// Most names of a certificate that are read.
const NAMES_MAX: usize = 256;
/// The issuer of the identity token, as text in DER (Fulcio, `docs/oid-info.md`).
const FULCIO_ISSUER_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
/// The same, as bare text.
const FULCIO_ISSUER_V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// A certificate's key and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
    /// The subject's alternative names: addresses of mail, URIs, DNS names, IP addresses.
    pub identities: Vec<String>,
    /// Who vouched for the identity, by Fulcio's extension.
    pub issuer: Option<String>,
}

impl Certificate {
    /// Reads a certificate in DER.
    pub fn parse(der: &[u8]) -> Result<Self, EntryError> {
        let bad = |error: x509_cert::der::Error| EntryError::BadCertificate(error.to_string());
        let certificate = x509_cert::Certificate::from_der(der).map_err(bad)?;
        let tbs = certificate.tbs_certificate();
        let spki = tbs.subject_public_key_info().to_der().map_err(bad)?;
        let (mut identities, mut issuer) = (Vec::new(), None);
        for extension in tbs.extensions().into_iter().flatten() {
            let value = extension.extn_value.as_bytes();
            if extension.extn_id == SUBJECT_ALT_NAME {
                let names = SubjectAltName::from_der(value).map_err(bad)?;
                identities.extend(names.0.iter().take(NAMES_MAX).filter_map(identity));
            } else if extension.extn_id == FULCIO_ISSUER_V2 {
                issuer = Some(Utf8StringRef::from_der(value).map_err(bad)?.as_str().to_string());
            } else if extension.extn_id == FULCIO_ISSUER_V1 && issuer.is_none() {
                issuer = std::str::from_utf8(value).ok().map(str::to_string);
            }
        }
        Ok(Self { spki, identities, issuer })
    }
}

/// A name as people write it. Names of other types are those of machines.
fn identity(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::Rfc822Name(name)
        | GeneralName::DnsName(name)
        | GeneralName::UniformResourceIdentifier(name) => Some(name.as_str().to_string()),
        GeneralName::IpAddress(address) => ip(address),
        _ => None,
    }
}

fn ip(address: &OctetString) -> Option<String> {
    let bytes = address.as_bytes();
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string())
}
