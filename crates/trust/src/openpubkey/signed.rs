//! A statement about an image, signed under a PK token: what lies beside the image.
//!
//! OpenPubkey defines tokens and signed messages, and no place for them in a registry. Here
//! a referrer's layer is a JSON document with both: `pkt`, the token in its compact form,
//! and `osm`, the signed message, whose payload is the in-toto statement that cosign uses.

use palisade_base::Digest;
use serde::{Deserialize, Serialize};

use super::config::Providers;
use super::error::OpenPubkeyError as Error;
use super::token::PkToken;
use super::verify::VerifiedToken;
use crate::json;
use crate::statement::Statement;

/// Media type of the document, artifact type of the referrer that carries it.
pub const SIGNATURE_MEDIA_TYPE: &str = "application/vnd.palisade.openpubkey.v1+json";
/// Largest document, in bytes.
pub const SIGNATURE_BYTES_MAX: u64 = 24 << 20;

/// The document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedStatement {
    pkt: String,
    osm: String,
}

impl SignedStatement {
    /// Puts a token and a message together.
    pub(crate) fn new(token: &PkToken, osm: String) -> Self {
        Self { pkt: token.to_compact(), osm }
    }

    /// Reads a document.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        json::parse(bytes, SIGNATURE_BYTES_MAX)
            .map_err(|source| Error::Json("OpenPubkey signature", source))
    }

    /// The document as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Two strings: this serialisation cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Verifies it as of `now`: the token, the message, and that it is about `image`. Gives
    /// who signed, and the statement's predicate type.
    pub fn verify(
        &self,
        providers: &Providers,
        image: &Digest,
        now: i64,
    ) -> Result<(VerifiedToken, String), Error> {
        self.statement(providers, image, now).map(|(token, kind, _)| (token, kind))
    }

    /// As [`Self::verify`], with the statement itself.
    pub fn statement(
        &self,
        providers: &Providers,
        image: &Digest,
        now: i64,
    ) -> Result<(VerifiedToken, String, Vec<u8>), Error> {
        let token = PkToken::parse(&self.pkt)?;
        let verified = providers.verify(&token, now)?;
        let payload = verified.verify_message(&self.osm)?;
        let statement =
            Statement::parse(&payload).map_err(|source| Error::Json("signed statement", source))?;
        if !statement.is_about(image) {
            return Err(Error::OtherContent);
        }
        Ok((verified, statement.predicate_type, payload))
    }
}
