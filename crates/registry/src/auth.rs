//! What is shown to a registry: a name and a password, or a token of its service
//! (distribution, "Token Authentication"; OAuth 2's refresh grant).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Deserialize;
use ureq::http::Method;

use crate::challenge::{Challenge, parse_challenges};
use crate::client::{Ask, Body, Client};
use crate::credentials::Secret;
use crate::error::RegistryError;
use crate::hosts::Place;
use crate::url::{Origin, escape, with_parameter};

/// Largest answer of a token service.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Longest token.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// How long a token is good that states nothing.
const LIFETIME: Duration = Duration::from_mins(1);
/// The longest that we believe in one.
const LIFETIME_MAX: Duration = Duration::from_hours(1);
/// A token is not used in its last moments.
const MARGIN: Duration = Duration::from_secs(10);
/// Tokens that are kept.
const TOKENS_MAX: usize = 256;

/// What is wanted of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// To read it.
    Pull,
    /// To write it, and to read others of the same registry from which blobs are mounted.
    Push {
        /// Their repositories.
        from: Vec<String>,
    },
}

impl Access {
    fn scopes(&self, repository: &str) -> Vec<String> {
        match self {
            Self::Pull => vec![format!("repository:{repository}:pull")],
            Self::Push { from } => {
                let mut scopes = vec![format!("repository:{repository}:pull,push")];
                scopes.extend(from.iter().map(|other| format!("repository:{other}:pull")));
                scopes
            }
        }
    }
}

/// A value of `Authorization`, and until when it is good.
struct Known {
    header: String,
    until: Option<Instant>,
}

/// What was shown to whom.
#[derive(Default)]
pub(crate) struct Tokens {
    known: Mutex<HashMap<(String, String, Access), Known>>,
    /// Hosts for which credentials were found.
    with_credentials: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

fn key(place: &Place, access: &Access) -> (String, String, Access) {
    (place.host.clone(), place.repository.clone(), access.clone())
}

impl Tokens {
    pub(crate) fn known(&self, place: &Place, access: &Access) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&key(place, access))?;
        let good = found.until.is_none_or(|until| Instant::now() < until);
        good.then(|| found.header.clone())
    }

    pub(crate) fn forget(&self, place: &Place, access: &Access) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(place, access));
    }

    pub(crate) fn has_credentials(&self, place: &Place) -> bool {
        let hosts = self.with_credentials.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.contains(&place.host)
    }

    fn remember(&self, place: &Place, access: &Access, header: &str, lifetime: Option<Duration>) {
        let until = lifetime.map(|lifetime| Instant::now() + lifetime.saturating_sub(MARGIN));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOKENS_MAX {
            known.clear();
        }
        known.insert(key(place, access), Known { header: header.to_string(), until });
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Client {
    /// Answers the challenges of a registry; `None` when nothing can be answered. `url` is
    /// what asked for it.
    pub(crate) fn authenticate(
        &self,
        place: &Place,
        access: &Access,
        challenges: &[String],
        url: &str,
    ) -> Result<Option<String>, RegistryError> {
        let challenges: Vec<Challenge> =
            challenges.iter().flat_map(|text| parse_challenges(text)).collect();
        let secret =
            self.settings.credentials.find(&place.host, &place.repository).map_err(|source| {
                RegistryError::Credentials { host: place.host.clone(), source }
            })?;
        if secret.is_some() {
            let mut hosts =
                self.tokens.with_credentials.lock().unwrap_or_else(PoisonError::into_inner);
            if !hosts.contains(&place.host) {
                hosts.push(place.host.clone());
            }
        }
        if let Some(Secret::Token(token)) = &secret {
            return Ok(Some(self.keep(place, access, format!("Bearer {token}"), None)));
        }
        for challenge in &challenges {
            match (challenge.scheme.as_str(), &secret) {
                ("bearer", secret) if challenge.get("realm").is_some() => {
                    let (token, lifetime) =
                        self.token(place, access, challenge, secret.as_ref(), url)?;
                    let header = format!("Bearer {token}");
                    return Ok(Some(self.keep(place, access, header, Some(lifetime))));
                }
                ("basic", Some(Secret::Password { name, password })) => {
                    return Ok(Some(self.keep(place, access, basic(name, password), None)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn keep(
        &self,
        place: &Place,
        access: &Access,
        header: String,
        lifetime: Option<Duration>,
    ) -> String {
        self.tokens.remember(place, access, &header, lifetime);
        header
    }

    /// Gets a token for a repository.
    fn token(
        &self,
        place: &Place,
        access: &Access,
        challenge: &Challenge,
        secret: Option<&Secret>,
        url: &str,
    ) -> Result<(String, Duration), RegistryError> {
        let realm = challenge.get("realm").unwrap_or_default();
        let shown: String = realm.chars().filter(|c| !c.is_control()).take(200).collect();
        let failed = |source| RegistryError::Token {
            host: place.host.clone(),
            realm: shown.clone(),
            source: Box::new(source),
        };
        let bad = |problem: &str| {
            failed(RegistryError::BadAnswer {
                host: place.host.clone(),
                what: "a token".into(),
                problem: problem.into(),
            })
        };
        let origin = Origin::of(realm).ok_or_else(|| bad("a realm that is no address"))?;
        let registry = Origin::of(url).ok_or_else(|| bad("a realm that is no address"))?;
        // A password goes where the registry says, but never in the clear unless the registry
        // itself is spoken to like that, and never from elsewhere to this machine.
        if !origin.is_https && (registry.is_https || origin.is_loopback() != registry.is_loopback())
        {
            return Err(failed(RegistryError::PlainHttp(origin.host_port())));
        }
        if origin.is_loopback() && !registry.is_loopback() {
            return Err(bad("a realm on this machine"));
        }
        let mut scopes = access.scopes(&place.repository);
        if let Some(scope) = challenge.get("scope") {
            let ours = format!("repository:{}:", place.repository);
            scopes.extend(
                scope.split(' ').take(4).filter(|s| s.starts_with(&ours)).map(str::to_string),
            );
        }
        scopes.dedup();
        let service = challenge.get("service").unwrap_or_default();
        let form;
        let (ask, authorization) = match secret {
            Some(Secret::Identity(token)) => {
                form = format!(
                    "grant_type=refresh_token&service={}&client_id=palisade&scope={}&refresh_token={}",
                    escape(service),
                    escape(&scopes.join(" ")),
                    escape(token)
                );
                let ask = Ask::new(Method::POST, realm, "a token")
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(Body::Bytes(form.as_bytes()));
                (ask, None)
            }
            other => {
                let mut address = realm.to_string();
                if !service.is_empty() {
                    address = with_parameter(&address, "service", service);
                }
                for scope in &scopes {
                    address = with_parameter(&address, "scope", scope);
                }
                let header = match other {
                    Some(Secret::Password { name, password }) => {
                        address = with_parameter(&address, "account", name);
                        Some(basic(name, password))
                    }
                    _ => None,
                };
                (Ask::get(address, "a token"), header)
            }
        };
        let address = ask.path.clone();
        let insecure = !registry.is_https && place.insecure;
        let answer = self
            .follow(&origin, address, &ask, authorization.as_deref(), insecure)
            .map_err(failed)?;
        if !answer.is_success() {
            return Err(failed(answer.into_error("a token", secret.is_some())));
        }
        let bytes = answer.read("a token", ANSWER_BYTES_MAX).map_err(failed)?;
        let answer: TokenAnswer =
            serde_json::from_slice(&bytes).map_err(|_| bad("something that is no token"))?;
        let token = answer.token.or(answer.access_token).unwrap_or_default();
        let is_token = |b: u8| b.is_ascii_graphic();
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(is_token) {
            return Err(bad("something that is no token"));
        }
        let lifetime = answer.expires_in.map_or(LIFETIME, Duration::from_secs).min(LIFETIME_MAX);
        Ok((token, lifetime))
    }
}

fn basic(name: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    format!("Basic {encoded}")
}
