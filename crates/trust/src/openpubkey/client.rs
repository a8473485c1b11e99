//! The signer's side: a key for the occasion, the commitment that an ID token must carry,
//! the PK token that follows, and messages that are signed under it.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::config::{Commitment, Provider};
use super::error::OpenPubkeyError as Error;
use super::gq;
use super::signed::SignedStatement;
use super::token::{PkToken, sha3};
use crate::jose::{self, Algorithm, base64url, canonical, to_base64url};
use crate::key::{KeyError, PrivateKey};

/// A key that lives as long as one signer's session, and what it is committed to by.
#[derive(Debug)]
pub struct ClientInstance {
    key: PrivateKey,
    /// The signer's header as it is signed, in Base64 of URLs.
    header_text: String,
    commitment: String,
}

impl ClientInstance {
    /// A new key, with a random value that makes its commitment unguessable.
    pub fn generate() -> Result<Self, KeyError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| KeyError::NoRandomness(error.to_string()))?;
        Self::new(PrivateKey::generate()?, &random)
    }

    fn new(key: PrivateKey, random: &[u8; 32]) -> Result<Self, KeyError> {
        let (x, y) = key.public().coordinates().ok_or(KeyError::NotP256)?;
        let header = json!({
            "alg": "ES256",
            "rz": hex::encode(random),
            "typ": "CIC",
            "upk": {
                "alg": "ES256", "crv": "P-256", "kty": "EC",
                "x": to_base64url(&x), "y": to_base64url(&y),
            },
        });
        let header = canonical(&header);
        Ok(Self {
            key,
            header_text: to_base64url(header.as_bytes()),
            commitment: sha3(header.as_bytes()),
        })
    }

    /// What the ID token must carry: as nonce or as audience, as the provider has it.
    pub fn commitment(&self) -> &str {
        &self.commitment
    }

    /// Makes a PK token of the ID token that `provider` gave. Where only proofs are accepted
    /// from it, one stands in place of its signature, so that the ID token stays secret.
    pub fn bind(&self, id_token: &str, provider: &Provider) -> Result<PkToken, Error> {
        let malformed = || Error::Malformed("the provider's answer is no ID token".into());
        let [head, payload, signature] =
            jose::split_compact(id_token.trim()).ok_or_else(malformed)?;
        let signature = Zeroizing::new(signature.to_string());
        let (head, signature) = if provider.gq_only {
            self.prove(head, payload, &signature, provider)?
        } else {
            (head.to_string(), signature)
        };
        let own = self.sign_text(&self.header_text, payload)?;
        let compact = format!("{payload}:{head}:{}:{}:{own}", signature.as_str(), self.header_text);
        PkToken::parse(&compact)
    }

    fn prove(
        &self,
        head: &str,
        payload: &str,
        signature: &str,
        provider: &Provider,
    ) -> Result<(String, Zeroizing<String>), Error> {
        let header = jose::header(head).map_err(|source| Error::Json("ID token", source))?;
        let id = header.get("kid").and_then(Value::as_str);
        let key = provider.keys.find(id).ok_or_else(|| Error::UnknownKey {
            issuer: provider.issuer.clone(),
            id: id.unwrap_or_default().chars().take(100).collect(),
        })?;
        let false_signature = || Error::ProviderSignature { issuer: provider.issuer.clone() };
        let bytes = Zeroizing::new(base64url(signature).ok_or_else(false_signature)?);
        let message = format!("{head}.{payload}");
        // A proof from a false signature would convince nobody, later and elsewhere.
        if !key.verify(Algorithm::Rs256, message.as_bytes(), &bytes) {
            return Err(false_signature());
        }
        let mut new = Map::new();
        new.insert("alg".into(), "GQ256".into());
        if matches!(provider.commitment, Commitment::Proof { .. }) {
            new.insert("cic".into(), self.commitment.clone().into());
        }
        new.insert("jkt".into(), to_base64url(key.thumbprint()).into());
        new.insert("kid".into(), head.into());
        new.insert("typ".into(), "JWT".into());
        let new = to_base64url(canonical(&Value::Object(new)).as_bytes());
        let message = format!("{new}.{payload}");
        let proof = gq::prove(&key.key, &bytes, message.as_bytes()).ok_or_else(false_signature)?;
        Ok((new, Zeroizing::new(to_base64url(&proof))))
    }

    /// Signs a message under `token`: a JWS of the type `osm`.
    pub fn sign(&self, token: &PkToken, message: &[u8]) -> Result<String, Error> {
        let header = json!({"alg": "ES256", "kid": token.hash(), "typ": "osm"});
        let head = to_base64url(canonical(&header).as_bytes());
        let payload = to_base64url(message);
        let signature = self.sign_text(&head, &payload)?;
        Ok(format!("{head}.{payload}.{signature}"))
    }

    /// Signs an in-toto statement under `token`.
    pub fn sign_statement(
        &self,
        token: &PkToken,
        statement: &[u8],
    ) -> Result<SignedStatement, Error> {
        Ok(SignedStatement::new(token, self.sign(token, statement)?))
    }

    fn sign_text(&self, head: &str, payload: &str) -> Result<String, Error> {
        let digest = palisade_base::Digest::of(format!("{head}.{payload}").as_bytes());
        self.key
            .sign_fixed(&digest)
            .map(|signature| to_base64url(&signature))
            .map_err(|_| Error::SignerSignature)
    }
}
