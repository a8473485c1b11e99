//! Which providers vouch for signers, and how: a file.
//!
//! ```json
//! {"providers": [{
//!     "issuer": "https://accounts.example", "clientIds": ["shop"], "commitment": "nonce",
//!     "jwksFile": "accounts.jwks.json", "expiry": "24h"}],
//!  "cosigners": [{"issuer": "https://cosigner.example", "jwksFile": "cosigner.jwks.json"}]}
//! ```

use std::path::Path;

use palisade_base::read_bounded;
use serde::Deserialize;
use serde_json::Value;

use super::error::OpenPubkeyError as Error;
use crate::jose::{JWKS_BYTES_MAX, Jwks};
use crate::json;

/// Largest configuration, in bytes.
const CONFIGURATION_BYTES_MAX: u64 = 4 << 20;
/// Most providers, or cosigners.
const PROVIDERS_MAX: usize = 256;
/// What the audience of a token begins with whose GQ proof carries the commitment.
const GQ_AUDIENCE_PREFIX: &str = "OPENPUBKEY-PKTOKEN:";
const HOUR: i64 = 3600;

/// Where a provider's part of the token commits to the signer's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commitment {
    /// In the claim `nonce`.
    Nonce,
    /// In the claim `aud`, as for GitHub's tokens, which have no nonce.
    Audience,
    /// In the header of the GQ proof; the audience must begin with that text, by which who
    /// asked for the token agreed to it.
    Proof {
        /// `OPENPUBKEY-PKTOKEN:` unless the configuration says otherwise.
        audience_prefix: String,
    },
    /// In the claim `cnf`, which holds the key itself (RFC 7800).
    KeyBound,
}

/// How long a token vouches for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Until the claim `exp`.
    Claim,
    /// Until `exp`, or that of the refreshed ID token beside it.
    Refreshed,
    /// So many seconds after the claim `iat`.
    MaxAge(i64),
    /// As long as the provider's key is in the file.
    Never,
}

/// An OpenID provider that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The claim `iss` of its tokens.
    pub issuer: String,
    /// Programs for which its tokens may have been issued.
    pub client_ids: Vec<String>,
    /// Where it commits.
    pub commitment: Commitment,
    /// Its keys.
    pub keys: Jwks,
    /// How long its tokens vouch.
    pub expiry: Expiry,
    /// Whether only GQ proofs are accepted, never its signatures.
    pub gq_only: bool,
}

/// A second party that saw the signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigner {
    /// The member `iss` of its header.
    pub issuer: String,
    /// Its keys.
    pub keys: Jwks,
    /// Whether every token must have its signature.
    pub required: bool,
}

/// The providers and cosigners that are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Providers {
    /// Providers, one for each issuer.
    pub providers: Vec<Provider>,
    /// Cosigners, one for each issuer.
    pub cosigners: Vec<Cosigner>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawProviders {
    providers: Vec<RawProvider>,
    #[serde(default)]
    cosigners: Vec<RawCosigner>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawProvider {
    issuer: String,
    #[serde(default)]
    client_ids: Vec<String>,
    #[serde(default)]
    commitment: Option<String>,
    #[serde(default)]
    gq_audience_prefix: Option<String>,
    #[serde(default)]
    jwks: Option<Value>,
    #[serde(default)]
    jwks_file: Option<String>,
    #[serde(default)]
    expiry: Option<String>,
    #[serde(default)]
    gq_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCosigner {
    issuer: String,
    #[serde(default)]
    jwks: Option<Value>,
    #[serde(default)]
    jwks_file: Option<String>,
    #[serde(default)]
    required: Option<bool>,
}

impl Expiry {
    /// `24h`, `7d`, `exp`, `refreshed`, `never`.
    pub fn parse(text: &str) -> Option<Self> {
        let age = |number: &str, unit: i64| {
            let number: i64 =
                number.parse().ok().filter(|number| (1..=100_000).contains(number))?;
            Some(Self::MaxAge(number * unit))
        };
        match text {
            "exp" => Some(Self::Claim),
            "refreshed" => Some(Self::Refreshed),
            "never" => Some(Self::Never),
            _ => match text.split_at_checked(text.len().checked_sub(1)?)? {
                (number, "h") => age(number, HOUR),
                (number, "d") => age(number, 24 * HOUR),
                _ => None,
            },
        }
    }
}

impl Providers {
    /// Reads the file at `path`; key files are relative to its folder.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read(path, CONFIGURATION_BYTES_MAX)?;
        Self::parse(&bytes, path.parent())
    }

    /// Reads a configuration. Without a `folder`, keys must stand in the text itself.
    pub fn parse(bytes: &[u8], folder: Option<&Path>) -> Result<Self, Error> {
        let raw: RawProviders = json::parse(bytes, CONFIGURATION_BYTES_MAX)
            .map_err(|source| Error::Json("configuration of providers", source))?;
        if raw.providers.len() > PROVIDERS_MAX || raw.cosigners.len() > PROVIDERS_MAX {
            let problem = format!("there are more than {PROVIDERS_MAX}");
            return Err(Error::Configuration { index: PROVIDERS_MAX, problem });
        }
        let mut this = Self::default();
        for (index, raw) in raw.providers.into_iter().enumerate() {
            let provider = raw.read(index, folder)?;
            if this.providers.iter().any(|other| other.issuer == provider.issuer) {
                let problem = format!("`{}` stands twice", provider.issuer);
                return Err(Error::Configuration { index, problem });
            }
            this.providers.push(provider);
        }
        for (index, raw) in raw.cosigners.into_iter().enumerate() {
            if this.cosigners.iter().any(|other| other.issuer == raw.issuer) {
                let problem = format!("cosigner `{}` stands twice", raw.issuer);
                return Err(Error::Configuration { index, problem });
            }
            this.cosigners.push(Cosigner {
                keys: keys(index, raw.jwks.as_ref(), raw.jwks_file.as_deref(), folder)?,
                issuer: raw.issuer,
                required: raw.required.unwrap_or(true),
            });
        }
        Ok(this)
    }
}

impl RawProvider {
    fn read(self, index: usize, folder: Option<&Path>) -> Result<Provider, Error> {
        let wrong = |problem: &str| Error::Configuration { index, problem: problem.to_string() };
        let commitment = match self.commitment.as_deref().unwrap_or("nonce") {
            "nonce" => Commitment::Nonce,
            "audience" => Commitment::Audience,
            "proof" => Commitment::Proof {
                audience_prefix: self
                    .gq_audience_prefix
                    .clone()
                    .unwrap_or_else(|| GQ_AUDIENCE_PREFIX.to_string()),
            },
            "cnf" => Commitment::KeyBound,
            _ => return Err(wrong("`commitment` is none of nonce, audience, proof, cnf")),
        };
        if matches!(&commitment, Commitment::Proof { audience_prefix } if audience_prefix.is_empty())
        {
            return Err(wrong("`gqAudiencePrefix` is empty: any token would do"));
        }
        let by_proof = matches!(commitment, Commitment::Proof { .. });
        if !by_proof && self.gq_audience_prefix.is_some() {
            return Err(wrong("`gqAudiencePrefix` is only for the commitment `proof`"));
        }
        if by_proof && self.gq_only == Some(false) {
            return Err(wrong(
                "the commitment `proof` is in a GQ proof, so `gqOnly` cannot be false",
            ));
        }
        let by_audience = matches!(commitment, Commitment::Nonce | Commitment::KeyBound);
        if by_audience && self.client_ids.is_empty() {
            return Err(wrong("`clientIds` is missing: tokens for any program would do"));
        }
        if !by_audience && !self.client_ids.is_empty() {
            return Err(wrong("`clientIds` says nothing where the audience is the commitment"));
        }
        let expiry = self.expiry.as_deref().unwrap_or("24h");
        let expiry = Expiry::parse(expiry).ok_or_else(|| {
            wrong("`expiry` is none of exp, refreshed, never, or a number of hours (24h) or days (7d)")
        })?;
        Ok(Provider {
            keys: keys(index, self.jwks.as_ref(), self.jwks_file.as_deref(), folder)?,
            issuer: self.issuer,
            client_ids: self.client_ids,
            // A token with the audience as commitment is the bearer's proof to its provider:
            // as the reference does, only the proof in its place is accepted.
            gq_only: self.gq_only.unwrap_or(!by_audience),
            commitment,
            expiry,
        })
    }
}

fn keys(
    index: usize,
    inline: Option<&Value>,
    file: Option<&str>,
    folder: Option<&Path>,
) -> Result<Jwks, Error> {
    let wrong = |problem: String| Error::Configuration { index, problem };
    match (inline, file, folder) {
        (Some(value), None, _) => Jwks::from_value(value),
        (None, Some(file), Some(folder)) => Jwks::parse(&read(&folder.join(file), JWKS_BYTES_MAX)?),
        (None, Some(_), None) => return Err(wrong("`jwksFile` has no folder here".into())),
        _ => return Err(wrong("exactly one of `jwks` and `jwksFile` must be there".into())),
    }
    .map_err(|error| wrong(error.to_string()))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    read_bounded(file, "file", limit).map_err(failed)
}
