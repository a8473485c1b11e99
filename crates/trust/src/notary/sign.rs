//! Signatures of our own, which notation verifies.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use palisade_base::Digest;
use serde_json::json;

use super::cose;
use super::envelope::{CHAIN_MAX, EnvelopeKind, names};
use super::error::NotaryError as Error;
use super::jws::{RawEnvelope, RawUnsigned};
use super::verify::{Target, check_chain};
use crate::jose::to_base64url;
use crate::key::{PrivateKey, read_text};
use crate::pem;
use crate::pki::Certificate;

const AGENT: &str = concat!("palisade/", env!("CARGO_PKG_VERSION"));

/// Asks an authority of time for a token over a signature; `None`: there is none to ask.
pub type Stamp<'s> = dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, String> + 's;

/// The certificates from a signer's to its root.
#[derive(Debug, Clone)]
pub struct Chain(Vec<Certificate>);

impl Chain {
    /// Reads the blocks of a PEM text, the signer's certificate first.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let blocks = pem::decode_all(text, "CERTIFICATE")
            .ok_or_else(|| Error::Sign("the chain is no PEM".into()))?;
        if blocks.is_empty() || blocks.len() > CHAIN_MAX {
            return Err(Error::Sign(format!("the chain has not 1 to {CHAIN_MAX} certificates")));
        }
        let chain = blocks.iter().enumerate().map(|(index, raw)| {
            Certificate::parse(raw)
                .map_err(|error| Error::Certificate { index, problem: error.to_string() })
        });
        let chain: Vec<Certificate> = chain.collect::<Result<_, _>>()?;
        check_chain(&chain)?;
        Ok(Self(chain))
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = read_text(path).map_err(|error| Error::Sign(error.to_string()))?;
        Self::from_pem(&text)
    }

    /// The annotation of the manifest: SHA-256 of each certificate.
    pub fn thumbprints(&self) -> String {
        let all: Vec<String> = self.0.iter().map(|it| Digest::of(it.raw()).hex()).collect();
        json!(all).to_string()
    }
}

/// A key with its certificates.
#[derive(Debug)]
pub struct NotarySigner<'k> {
    key: &'k PrivateKey,
    chain: &'k Chain,
}

impl<'k> NotarySigner<'k> {
    /// Puts a key and its chain together, if the first certificate is that key's.
    pub fn new(key: &'k PrivateKey, chain: &'k Chain) -> Result<Self, Error> {
        let leaf = chain.0.first().map(|it| STANDARD.encode(Digest::of(it.key.spki()).as_bytes()));
        if leaf.as_deref() != Some(key.public().hint()) {
            return Err(Error::Sign("the first certificate is of another key".into()));
        }
        Ok(Self { key, chain })
    }

    /// Signs `target` at `now`, with an end if one is given; both in seconds since the Unix
    /// epoch. `stamp` is asked for a time stamp (a token of RFC 3161) of the signature.
    pub fn sign(
        &self,
        kind: EnvelopeKind,
        target: Target<'_>,
        now: i64,
        expiry: Option<i64>,
        stamp: &Stamp<'_>,
    ) -> Result<Vec<u8>, Error> {
        let valid = self.chain.0.iter().all(|it| it.is_valid_at(now));
        if !valid {
            return Err(Error::Sign("a certificate of the chain is not valid now".into()));
        }
        let payload = json!({"targetArtifact": {
            "mediaType": target.media_type,
            "digest": target.digest,
            "size": target.size,
        }})
        .to_string()
        .into_bytes();
        match kind {
            EnvelopeKind::Jws => self.jws(&payload, now, expiry, stamp),
            EnvelopeKind::Cose => self.cose(&payload, now, expiry, stamp),
        }
    }

    fn signature(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        self.key.sign_fixed(&Digest::of(message)).map_err(|error| Error::Sign(error.to_string()))
    }

    fn jws(
        &self,
        payload: &[u8],
        now: i64,
        expiry: Option<i64>,
        stamp: &Stamp<'_>,
    ) -> Result<Vec<u8>, Error> {
        let time = |seconds: i64| {
            Timestamp::from_second(seconds)
                .map(|time| time.to_string())
                .map_err(|_| Error::Sign("a time is out of range".into()))
        };
        let mut critical = vec![names::SCHEME];
        let mut header = json!({
            "alg": "ES256",
            "cty": super::PAYLOAD_TYPE,
            names::SCHEME: names::X509,
            names::SIGNING_TIME: time(now)?,
        });
        if let Some(expiry) = expiry {
            critical.push(names::EXPIRY);
            header[names::EXPIRY] = time(expiry)?.into();
        }
        header["crit"] = json!(critical);
        let protected = to_base64url(header.to_string().as_bytes());
        let payload = to_base64url(payload);
        let signature = self.signature(format!("{protected}.{payload}").as_bytes())?;
        let timestamp = stamp(&signature).map_err(Error::Sign)?.map(|token| STANDARD.encode(token));
        let envelope = RawEnvelope {
            payload,
            protected,
            header: RawUnsigned {
                x5c: self.chain.0.iter().map(|it| STANDARD.encode(it.raw())).collect(),
                timestamp,
                agent: Some(AGENT.into()),
            },
            signature: to_base64url(&signature),
        };
        serde_json::to_vec(&envelope).map_err(|error| Error::Sign(error.to_string()))
    }

    fn cose(
        &self,
        payload: &[u8],
        now: i64,
        expiry: Option<i64>,
        stamp: &Stamp<'_>,
    ) -> Result<Vec<u8>, Error> {
        let protected = cose::write_protected(now, expiry);
        let signature = self.signature(&cose::signed_structure(&protected, payload))?;
        let timestamp = stamp(&signature).map_err(Error::Sign)?;
        let chain: Vec<Vec<u8>> = self.chain.0.iter().map(|it| it.raw().to_vec()).collect();
        Ok(cose::write(&protected, &chain, timestamp.as_deref(), AGENT, payload, &signature))
    }
}
