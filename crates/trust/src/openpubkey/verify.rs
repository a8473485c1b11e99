//! Verification of PK tokens and of messages that are signed under them.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::config::{Commitment, Cosigner, Expiry, Provider, Providers};
use super::error::OpenPubkeyError as Error;
use super::gq;
use super::token::{Part, PkToken, sha3};
use crate::jose::{self, Algorithm, Jwk, base64url, canonical};

/// How far the clocks of a provider and of this machine may differ, in seconds.
const SKEW: i64 = 60;

/// A token that was verified: who signs, and with which key.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    /// The provider.
    pub issuer: String,
    /// The claim `sub`.
    pub subject: String,
    /// Every claim of the ID token.
    pub claims: Map<String, Value>,
    /// Last second at which the token, with its cosigner where there is one, vouches; `None`: no
    /// end.
    pub valid_until: Option<i64>,
    /// The second party that signed too.
    pub cosigner: Option<String>,
    key: Jwk,
    algorithm: Algorithm,
    hashes: Vec<String>,
}

impl Providers {
    /// Verifies a token as of `now`, in seconds since the Unix epoch.
    pub fn verify(&self, token: &PkToken, now: i64) -> Result<VerifiedToken, Error> {
        let (key, algorithm) = signer(token)?;
        let issuer = claim(&token.claims, "iss").unwrap_or_default();
        let provider = self
            .providers
            .iter()
            .find(|provider| provider.issuer == issuer)
            .ok_or_else(|| Error::UnknownIssuer { issuer: issuer.to_string() })?;
        check_provider(token, provider)?;
        check_audience(token, provider)?;
        check_commitment(token, provider, &key)?;
        let own_end = check_time(token, provider, now)?;
        let cosigner = self.check_cosigners(token, now)?;
        let cosigned_until = cosigner.as_ref().map(|(_, end)| *end);
        let valid_until = own_end.into_iter().chain(cosigned_until).min();
        Ok(VerifiedToken {
            issuer: issuer.to_string(),
            subject: claim(&token.claims, "sub")
                .filter(|subject| !subject.is_empty())
                .ok_or_else(|| Error::Malformed("it has no subject".into()))?
                .to_string(),
            claims: token.claims.clone(),
            valid_until,
            cosigner: cosigner.map(|(issuer, _)| issuer),
            key,
            algorithm,
            hashes: token.hashes.clone(),
        })
    }

    /// The cosigner, and the last second at which its signature counts.
    fn check_cosigners(&self, token: &PkToken, now: i64) -> Result<Option<(String, i64)>, Error> {
        let found = match &token.cosigner {
            Some(part) if !self.cosigners.is_empty() => {
                let issuer = part.text("iss").unwrap_or_default().to_string();
                let cosigner = self.cosigners.iter().find(|one| one.issuer == issuer);
                let cosigner = cosigner.ok_or_else(|| Error::Cosigner {
                    issuer: issuer.clone(),
                    problem: "it is not configured",
                })?;
                let end = check_cosigner(token, part, cosigner, now)
                    .map_err(|problem| Error::Cosigner { issuer: issuer.clone(), problem })?;
                Some((issuer, end))
            }
            // Nobody asked for cosigners: what one says adds nothing.
            _ => None,
        };
        let missing = self
            .cosigners
            .iter()
            .find(|one| one.required && found.as_ref().is_none_or(|(it, _)| *it != one.issuer));
        match missing {
            Some(one) => Err(Error::Cosigner {
                issuer: one.issuer.clone(),
                problem: "its signature is required, and is not there",
            }),
            None => Ok(found),
        }
    }
}

impl VerifiedToken {
    /// Verifies a message that was signed with the token's key (a JWS with the type `osm`,
    /// whose `kid` is the hash of the token) and gives what was signed.
    pub fn verify_message(&self, message: &str) -> Result<Vec<u8>, Error> {
        let [head, payload, signature] =
            jose::split_compact(message.trim()).ok_or(Error::Message("it is no compact JWS"))?;
        let header = jose::header(head)
            .map_err(|source| Error::Json("header of the signed message", source))?;
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        if text("typ") != Some("osm") {
            return Err(Error::Message("its type is not `osm`"));
        }
        if header.contains_key("crit") {
            return Err(Error::Message("its header demands extensions that are not known"));
        }
        if text("alg").and_then(Algorithm::from_name) != Some(self.algorithm) {
            return Err(Error::Message("its algorithm is not that of the key"));
        }
        let kid = text("kid").unwrap_or_default();
        if !self.hashes.iter().any(|hash| hash == kid) {
            return Err(Error::Message("it names another token"));
        }
        let signed = format!("{head}.{payload}");
        let is_good = base64url(signature)
            .is_some_and(|it| self.algorithm.verify(&self.key.key, signed.as_bytes(), &it));
        if !is_good {
            return Err(Error::Message("its signature is false"));
        }
        base64url(payload).ok_or(Error::Message("its payload is not Base64 of URLs"))
    }

    /// Names by which the signer may be asked for: a mail address that the provider checked,
    /// the workflow of a CI token, the subject.
    pub fn names(&self) -> Vec<&str> {
        let checked = self
            .claims
            .get("email_verified")
            .is_some_and(|it| it.as_bool().unwrap_or_else(|| it.as_str() == Some("true")));
        let email = claim(&self.claims, "email").filter(|_| checked);
        let workflow = ["job_workflow_ref", "ci_config_ref_uri"]
            .into_iter()
            .filter_map(|name| claim(&self.claims, name));
        email.into_iter().chain(workflow).chain([self.subject.as_str()]).collect()
    }
}

fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

fn algorithm_of(part: &Part, whose: &'static str) -> Result<Algorithm, Error> {
    let name = part.text("alg").unwrap_or_default();
    Algorithm::from_name(name)
        .ok_or_else(|| Error::Algorithm { part: whose, algorithm: name.chars().take(20).collect() })
}

/// The key of the signer, whose signature is checked.
fn signer(token: &PkToken) -> Result<(Jwk, Algorithm), Error> {
    const WHOSE: &str = "the signer's part";
    let part = &token.signer;
    let algorithm = algorithm_of(part, WHOSE)?;
    if !matches!(algorithm, Algorithm::Es256 | Algorithm::Rs256 | Algorithm::EdDsa) {
        let algorithm = part.text("alg").unwrap_or_default().to_string();
        return Err(Error::Algorithm { part: WHOSE, algorithm });
    }
    if part.text("rz").is_none_or(str::is_empty) {
        return Err(Error::Malformed("the signer's part has no random value (rz)".into()));
    }
    let key = part
        .header
        .get("upk")
        .ok_or_else(|| Error::Malformed("the signer's part has no key (upk)".into()))
        .and_then(|value| {
            Jwk::from_value(value).map_err(|problem| {
                Error::Malformed(format!("the signer's key cannot be used: {problem}"))
            })
        })?;
    // The commitment covers the key with its algorithm, so both must say the same.
    if key.algorithm != Some(algorithm) {
        return Err(Error::Malformed("the signer's key is for another algorithm".into()));
    }
    if !key.verify(algorithm, &part.message(&token.payload_text), &part.signature) {
        return Err(Error::SignerSignature);
    }
    Ok((key, algorithm))
}

/// Checks what the provider signed, or the proof of it.
fn check_provider(token: &PkToken, provider: &Provider) -> Result<(), Error> {
    let part = &token.provider;
    let issuer = || provider.issuer.clone();
    let find = |id: Option<&str>| {
        provider.keys.find(id).ok_or_else(|| Error::UnknownKey {
            issuer: issuer(),
            id: id.unwrap_or_default().chars().take(100).collect(),
        })
    };
    let message = part.message(&token.payload_text);
    if part.text("alg") == Some("GQ256") {
        // The name of the key is the header that the provider signed.
        let original = part.text("kid").unwrap_or_default();
        let header = jose::header(original)
            .map_err(|source| Error::Json("header that the provider signed", source))?;
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            let algorithm = header.get("alg").map(Value::to_string).unwrap_or_default();
            return Err(Error::Algorithm { part: "the provider's part", algorithm });
        }
        let key = find(header.get("kid").and_then(Value::as_str))?;
        let jkt = part.text("jkt").map(base64url);
        if jkt.is_some_and(|jkt| jkt.as_deref() != Some(&key.thumbprint()[..])) {
            return Err(Error::ProviderSignature { issuer: issuer() });
        }
        let signed = format!("{original}.{}", token.payload_text);
        let is_good = key.algorithm.is_none_or(|only| only == Algorithm::Rs256)
            && gq::verify(&key.key, signed.as_bytes(), &message, &part.signature);
        return if is_good { Ok(()) } else { Err(Error::ProviderSignature { issuer: issuer() }) };
    }
    if provider.gq_only {
        return Err(Error::NotProof { issuer: issuer() });
    }
    let algorithm = algorithm_of(part, "the provider's part")?;
    if find(part.text("kid"))?.verify(algorithm, &message, &part.signature) {
        Ok(())
    } else {
        Err(Error::ProviderSignature { issuer: issuer() })
    }
}

/// For whom a token was issued: a text, or a list of texts.
fn audiences(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn check_audience(token: &PkToken, provider: &Provider) -> Result<(), Error> {
    let audiences = audiences(&token.claims);
    let is_client = |name: &str| provider.client_ids.iter().any(|id| id == name);
    let is_good = match &provider.commitment {
        // The audience is the commitment, which is compared whole.
        Commitment::Audience => audiences.len() == 1,
        Commitment::Proof { audience_prefix } => {
            matches!(audiences.as_slice(), [one] if one.starts_with(audience_prefix.as_str()))
        }
        Commitment::Nonce | Commitment::KeyBound => {
            audiences.iter().copied().any(is_client)
                && claim(&token.claims, "azp").is_none_or(is_client)
        }
    };
    if is_good {
        return Ok(());
    }
    Err(Error::Audience { audience: audiences.join(", ").chars().take(200).collect() })
}

/// Checks that the provider's part vouches for the signer's header.
fn check_commitment(token: &PkToken, provider: &Provider, key: &Jwk) -> Result<(), Error> {
    let is_bound = provider.commitment == Commitment::KeyBound;
    if token.is_key_bound != is_bound {
        return Err(Error::Commitment("the type of the token is for another kind of commitment"));
    }
    let found = match &provider.commitment {
        Commitment::Nonce => claim(&token.claims, "nonce"),
        Commitment::Audience => audiences(&token.claims).first().copied(),
        Commitment::Proof { .. } => token.provider.text("cic"),
        Commitment::KeyBound => {
            let named = token.claims.get("cnf").and_then(|cnf| cnf.get("jwk"));
            let named = named.and_then(|jwk| Jwk::from_value(jwk).ok());
            return match named {
                Some(named) if named.thumbprint() == key.thumbprint() => Ok(()),
                Some(_) => Err(Error::Commitment("it is bound to another key")),
                None => Err(Error::Commitment("it is bound to no key")),
            };
        }
    };
    let found = found.ok_or(Error::Commitment("it commits to nothing"))?;
    // Clients hash the header as they write it; the reference's verifier writes it anew with
    // its members sorted. Both are the same members.
    let part = &token.signer;
    let own = base64url(&part.header_text).unwrap_or_default();
    let sorted = canonical(&Value::Object(part.header.clone()));
    if found == sha3(&own) || found == sha3(sorted.as_bytes()) {
        Ok(())
    } else {
        Err(Error::Commitment("it commits to another key"))
    }
}

/// Checks the token's time and gives its last second.
fn check_time(token: &PkToken, provider: &Provider, now: i64) -> Result<Option<i64>, Error> {
    let wrong = |problem| Error::Time { at: show(now), problem };
    let issued =
        time(&token.claims, "iat").ok_or_else(|| wrong("it does not say when it was issued"))?;
    if issued > now.saturating_add(SKEW)
        || time(&token.claims, "nbf").is_some_and(|start| start > now.saturating_add(SKEW))
    {
        return Err(wrong("it was issued in the future"));
    }
    let expires =
        || time(&token.claims, "exp").ok_or_else(|| wrong("it does not say when it ends"));
    let end = match provider.expiry {
        Expiry::Never => None,
        Expiry::Claim => Some(expires()?),
        Expiry::MaxAge(seconds) => Some(issued.saturating_add(seconds)),
        Expiry::Refreshed => {
            let end = expires()?;
            match &token.refreshed {
                Some(refreshed) if end < now => {
                    Some(check_refreshed(token, provider, refreshed, now)?)
                }
                _ => Some(end),
            }
        }
    };
    match end {
        Some(end) if end < now => Err(wrong("it has expired")),
        end => Ok(end),
    }
}

/// Checks a later ID token of the same person and gives its end.
fn check_refreshed(
    token: &PkToken,
    provider: &Provider,
    refreshed: &str,
    now: i64,
) -> Result<i64, Error> {
    let bad = || Error::Malformed("its refreshed ID token is none of the same signer".into());
    let [head, payload, signature] = jose::split_compact(refreshed).ok_or_else(bad)?;
    let header = jose::header(head)
        .map_err(|source| Error::Json("header of the refreshed ID token", source))?;
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let algorithm = text("alg").and_then(Algorithm::from_name).ok_or_else(bad)?;
    let key = provider.keys.find(text("kid")).ok_or_else(|| Error::UnknownKey {
        issuer: provider.issuer.clone(),
        id: text("kid").unwrap_or_default().chars().take(100).collect(),
    })?;
    let signature = base64url(signature).ok_or_else(bad)?;
    if !key.verify(algorithm, format!("{head}.{payload}").as_bytes(), &signature) {
        return Err(Error::ProviderSignature { issuer: provider.issuer.clone() });
    }
    let claims: Map<String, Value> = base64url(payload).ok_or_else(bad).and_then(|bytes| {
        crate::json::parse(&bytes, super::PK_TOKEN_BYTES_MAX as u64)
            .map_err(|source| Error::Json("refreshed ID token", source))
    })?;
    let same = |name: &str| {
        claim(&claims, name).is_some() && claim(&claims, name) == claim(&token.claims, name)
    };
    let issued = time(&claims, "iat").ok_or_else(bad)?;
    let is_later = time(&token.claims, "iat").is_some_and(|first| first <= issued);
    if !same("iss")
        || !same("sub")
        || audiences(&claims) != audiences(&token.claims)
        || !is_later
        || issued > now.saturating_add(SKEW)
    {
        return Err(bad());
    }
    time(&claims, "exp").ok_or_else(bad)
}

fn check_cosigner(
    token: &PkToken,
    part: &Part,
    cosigner: &Cosigner,
    now: i64,
) -> Result<i64, &'static str> {
    let has_all = ["iss", "kid", "alg", "eid", "ruri", "nonce"]
        .into_iter()
        .all(|name| part.text(name).is_some_and(|text| !text.is_empty()))
        && ["auth_time", "iat", "exp"].into_iter().all(|name| time(&part.header, name).is_some());
    if !has_all {
        return Err("its header lacks a member");
    }
    let algorithm =
        part.text("alg").and_then(Algorithm::from_name).ok_or("its algorithm is unknown")?;
    let key =
        cosigner.keys.find(part.text("kid")).ok_or("its key is not in the file of its keys")?;
    // The reference demands that the key itself names its algorithm.
    if key.algorithm != Some(algorithm) {
        return Err("its key is for another algorithm");
    }
    if !key.verify(algorithm, &part.message(&token.payload_text), &part.signature) {
        return Err("its signature is false");
    }
    let end = time(&part.header, "exp").filter(|end| *end >= now);
    let end = end.ok_or("its signature has expired")?;
    if time(&part.header, "iat").is_none_or(|start| start > now.saturating_add(SKEW)) {
        return Err("its signature is of the future");
    }
    Ok(end)
}

/// A time in seconds; negative times and fractions are none.
fn time(members: &Map<String, Value>, name: &str) -> Option<i64> {
    members.get(name).and_then(Value::as_i64).filter(|time| *time > 0)
}

fn show(time: i64) -> String {
    Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}
