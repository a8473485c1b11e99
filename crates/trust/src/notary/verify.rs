//! Verification of envelopes under a trust policy
//! (notaryproject/specifications, `trust-store-trust-policy.md`, "Signature Verification").

use jiff::Timestamp;
use palisade_base::Digest;

use super::envelope::{Envelope, Scheme, algorithm_of};
use super::error::NotaryError as Error;
use super::policy::{Action, Level, NotaryPolicy, Statement};
use super::revocation::{self, State};
use super::store::{StoreKind, TrustStore};
use super::subject;
use crate::pki::certificate::{ANY_USAGE, TIME_STAMPING};
use crate::pki::der::{self, Der};
use crate::pki::key::Kind;
use crate::pki::path::time_chains;
use crate::pki::timestamp::TimeStamp;
use crate::pki::{Certificate, DerError};

const OID_BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const OID_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// Extended key usages that a signer of images must not have: serverAuth, clientAuth,
/// emailProtection.
const OTHER_USAGES: [&[u8]; 3] = [
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04],
];

/// What must have been signed.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    /// Media type of the manifest.
    pub media_type: &'t str,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// What came of a verification that did not refuse.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The statement of the policy that decided.
    pub statement: String,
    /// Subject of the signer's certificate.
    pub subject: String,
    /// SHA-256 of the signer's certificate.
    pub thumbprint: Digest,
    /// Checks that failed and that the policy only logs.
    pub logged: Vec<String>,
    /// Annotations that were signed with the image.
    pub annotations: Vec<(String, String)>,
    /// The last second at which this certainly still holds: certificates that are judged at the
    /// present time, lists of revoked ones, and the signature itself end. `None`: nothing does.
    pub until: Option<i64>,
}

/// What holds, and until when.
type Until = Result<Option<i64>, Error>;

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

/// A policy with its trust stores, at a time.
#[derive(Debug)]
pub struct NotaryVerifier<'p> {
    policy: &'p NotaryPolicy,
    store: &'p TrustStore,
    now: i64,
}

impl<'p> NotaryVerifier<'p> {
    /// Verifies as of `now`, in seconds since the Unix epoch.
    pub fn new(policy: &'p NotaryPolicy, store: &'p TrustStore, now: i64) -> Self {
        Self { policy, store, now }
    }

    /// The policy's statement about a repository; `None` when it skips verification.
    pub fn statement(&self, repository: &str) -> Result<(&'p Statement, Option<Level>), Error> {
        let statement = self.policy.statement(repository)?;
        Ok((statement, statement.level))
    }

    /// Verifies an envelope that is about `target` in `repository`.
    pub fn verify(
        &self,
        envelope: &Envelope,
        repository: &str,
        target: Target<'_>,
    ) -> Result<Outcome, Error> {
        let (statement, level) = self.statement(repository)?;
        let Some(level) = level else {
            return Err(Error::Policy(format!(
                "statement `{}` skips verification: there is nothing to verify",
                statement.name
            )));
        };
        // Integrity is always enforced.
        check_chain(&envelope.chain)?;
        if !envelope.is_signed() {
            return Err(Error::BadSignature);
        }
        let named = &envelope.payload.target;
        if named.digest != target.digest.to_string()
            || named.size != target.size
            || named.media_type != target.media_type
        {
            return Err(Error::OtherContent);
        }
        let leaf = envelope.chain.first().ok_or(Error::BadSignature)?;
        let mut logged = Vec::new();
        let mut until = None;
        let mut apply = |action: Action, result: Until| match (action, result) {
            (Action::Skip, _) => Ok(()),
            (_, Ok(end)) => {
                until = earlier(until, end);
                Ok(())
            }
            (Action::Enforce, Err(error)) => Err(error),
            (Action::Log, Err(error)) => {
                logged.push(error.to_string());
                Ok(())
            }
        };
        if let Some(plugin) = &envelope.plugin {
            // The signer says that a program of theirs has to agree; there is none here.
            let plugin: String = plugin.chars().take(100).collect();
            let error = Error::Policy(format!("the signature wants the plugin `{plugin}`"));
            apply(Action::Enforce, Err(error))?;
        }
        apply(level.authenticity, self.authenticity(envelope, statement).map(|()| None))?;
        apply(level.expiry, self.expiry(envelope))?;
        apply(level.authentic_timestamp, self.time(envelope, statement))?;
        if level.revocation != Action::Skip {
            apply(level.revocation, self.revocation(&envelope.chain))?;
        }
        let annotations = named
            .annotations
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string())))
            .collect();
        Ok(Outcome {
            statement: statement.name.clone(),
            subject: subject::show(leaf),
            thumbprint: Digest::of(leaf.raw()),
            logged,
            annotations,
            until,
        })
    }

    /// That the chain ends in a store of the statement, and that the signer is one of its
    /// identities.
    fn authenticity(&self, envelope: &Envelope, statement: &Statement) -> Result<(), Error> {
        let leaf = envelope.chain.first().ok_or(Error::BadSignature)?;
        let kind = match envelope.scheme {
            Scheme::X509 => StoreKind::Authority,
            Scheme::SigningAuthority(_) => StoreKind::SigningAuthority,
        };
        let stores: Vec<&str> = statement
            .stores
            .iter()
            .filter(|(of, _)| *of == kind)
            .map(|(_, name)| name.as_str())
            .collect();
        let is_trusted = stores.iter().any(|name| {
            self.store.get(kind, name).iter().any(|root| envelope.chain.contains(root))
        });
        if !is_trusted {
            return Err(Error::NotTrusted {
                subject: subject::show(leaf),
                stores: match stores.as_slice() {
                    [] => format!("the kind {}, of which the statement names none", kind.name()),
                    names => format!("the stores {}:{}", kind.name(), names.join(", ")),
                },
            });
        }
        let Some(wanted) = &statement.identities else { return Ok(()) };
        let is_named = subject::of(leaf)
            .is_some_and(|name| wanted.iter().any(|one| subject::contains(&name, one)));
        if is_named { Ok(()) } else { Err(Error::Identity { subject: subject::show(leaf) }) }
    }

    fn expiry(&self, envelope: &Envelope) -> Until {
        match envelope.expiry {
            Some(end) if end <= self.now => Err(Error::Expired(show(end))),
            end => Ok(end.map(|end| end - 1)),
        }
    }

    /// That every certificate was valid at the time of the signature, as far as it is known.
    fn time(&self, envelope: &Envelope, statement: &Statement) -> Until {
        let all_valid = |low: i64, high: i64, what: &str| {
            let bad =
                envelope.chain.iter().find(|it| !it.is_valid_at(low) || !it.is_valid_at(high));
            match bad {
                None => Ok(()),
                Some(it) => Err(Error::Time(format!(
                    "`{}` is valid from {} to {}, and {what} {}",
                    subject::show(it),
                    show(it.not_before),
                    show(it.not_after),
                    show(low)
                ))),
            }
        };
        if let Scheme::SigningAuthority(time) = envelope.scheme {
            all_valid(time, time, "its authority says that it was signed at")?;
            return Ok(None);
        }
        let authorities: Vec<&str> = statement
            .stores
            .iter()
            .filter(|(kind, _)| *kind == StoreKind::TimeStamps)
            .map(|(_, name)| name.as_str())
            .collect();
        let has_expired = envelope.chain.iter().any(|it| it.not_after < self.now);
        if authorities.is_empty() || statement.after_expiry && !has_expired {
            all_valid(self.now, self.now, "it is")?;
            return Ok(envelope.chain.iter().map(|it| it.not_after).min());
        }
        let (low, high, until) = self.timestamp(envelope, &authorities)?;
        all_valid(low, high, "its time stamp says that it was signed at")?;
        Ok(until)
    }

    /// The time that the time stamp proves, as the seconds between which it lies; and until when
    /// that is known.
    fn timestamp(
        &self,
        envelope: &Envelope,
        stores: &[&str],
    ) -> Result<(i64, i64, Option<i64>), Error> {
        let bad = |problem: String| Error::Time(format!("its time stamp: {problem}"));
        let raw = envelope.timestamp.as_ref().ok_or_else(|| {
            Error::Time("the policy wants a time stamp, and there is none".into())
        })?;
        let stamp = TimeStamp::parse_token(raw).map_err(|error| bad(error.to_string()))?;
        if !stamp.names_certificate() {
            return Err(bad("it does not say by which certificate it is signed".into()));
        }
        let embedded = stamp.certificates();
        let roots = stores.iter().flat_map(|name| self.store.get(StoreKind::TimeStamps, name));
        let mut problem = "no trusted authority made it".to_string();
        for root in roots {
            for chain in time_chains(&embedded, root) {
                match stamp.verify(&envelope.signature, None, &chain) {
                    Ok(time) => {
                        let path: Vec<Certificate> = chain.certificates().to_vec();
                        let until = self.revocation(&path)?;
                        let accuracy = stamp.accuracy_seconds();
                        return Ok((time - accuracy, time.saturating_add(accuracy), until));
                    }
                    Err(error) => problem = error.to_string(),
                }
            }
        }
        Err(bad(problem))
    }

    /// That no certificate but the root's own was revoked.
    fn revocation(&self, chain: &[Certificate]) -> Until {
        let mut until = None;
        for pair in chain.windows(2) {
            let [certificate, issuer] = pair else { continue };
            let problem = match revocation::state(certificate, issuer, &self.store.lists, self.now)
            {
                State::Good(end) | State::NoSource(end) => {
                    until = earlier(until, end);
                    continue;
                }
                State::Revoked => "it was revoked",
                State::Unknown => {
                    "whether it was revoked is not known: no valid list of its issuer is here"
                }
            };
            let subject = subject::show(certificate);
            return Err(Error::Revocation { subject, problem: problem.into() });
        }
        Ok(until)
    }
}

/// What the specification demands of the certificates, whatever is trusted.
pub(super) fn check_chain(chain: &[Certificate]) -> Result<(), Error> {
    let wrong =
        |index: usize, problem: &str| Error::Certificate { index, problem: problem.to_string() };
    let last = chain.len().saturating_sub(1);
    for (index, certificate) in chain.iter().enumerate() {
        let check = if index == 0 { check_leaf } else { check_authority };
        check(certificate).map_err(|problem| wrong(index, problem))?;
    }
    for (index, certificate) in chain.iter().enumerate() {
        let issuer = chain.get(index + 1).unwrap_or(certificate);
        if certificate.issuer != issuer.subject || !certificate.is_signed_by(&issuer.key) {
            let problem = if index == last {
                "it is the last of the chain, and not signed by itself"
            } else {
                "it was not issued by the next"
            };
            return Err(wrong(index, problem));
        }
        // So many authorities stand between this one and the signer.
        let between = index.saturating_sub(1) as u64;
        if index > 0 && certificate.path_length.is_some_and(|limit| limit < between) {
            return Err(wrong(index, "the chain is longer than it allows"));
        }
    }
    Ok(())
}

fn check_leaf(certificate: &Certificate) -> Result<(), &'static str> {
    if algorithm_of(certificate).is_none() {
        return Err("its key is of no kind or size that may sign");
    }
    if certificate.is_authority {
        return Err("it is an authority's, and signs an image");
    }
    let bits = key_usage(certificate).map_err(|_| "its key usage cannot be read")?;
    let bits = bits.ok_or("its key usage is missing, or not critical")?;
    // Digital signatures and non-repudiation, and nothing else.
    if bits & 0x8000 == 0 || bits & 0x3fff != 0 {
        return Err("its key is not for digital signatures alone");
    }
    let forbidden = OTHER_USAGES.into_iter().chain([ANY_USAGE, TIME_STAMPING]);
    for usage in forbidden {
        if certificate.names_usage(usage) {
            return Err("its extended key usage is for something else");
        }
    }
    Ok(())
}

fn check_authority(certificate: &Certificate) -> Result<(), &'static str> {
    if !certificate.is_authority || !certificate.is_critical(OID_BASIC_CONSTRAINTS) {
        return Err("it is no authority's: its basic constraints do not say so, or not critically");
    }
    let bits = key_usage(certificate).map_err(|_| "its key usage cannot be read")?;
    if bits.is_none_or(|bits| bits & 0x0400 == 0) {
        return Err("its key is not for signing certificates, or its key usage is not critical");
    }
    match certificate.key.kind() {
        Kind::Ed25519 => Err("its key is of no kind that may sign"),
        _ => Ok(()),
    }
}

/// The bits of a critical key usage, most significant first.
fn key_usage(certificate: &Certificate) -> Result<Option<u16>, DerError> {
    if !certificate.is_critical(OID_KEY_USAGE) {
        return Ok(None);
    }
    let Some(value) = certificate.extension(OID_KEY_USAGE) else { return Ok(None) };
    let bits = Der::new(value).value(der::BIT_STRING)?;
    Ok(match bits {
        [_, first] => Some(u16::from(*first) << 8),
        [_, first, second, ..] => Some(u16::from(*first) << 8 | u16::from(*second)),
        _ => None,
    })
}

fn show(time: i64) -> String {
    Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}
