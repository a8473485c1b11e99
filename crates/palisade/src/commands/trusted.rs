//! What a policy says of who signed an image: signatures are verified by `trust`, rules are
//! applied by `policy`, and neither knows the other.

use std::collections::BTreeSet;
use std::path::PathBuf;

use palisade_base::Timestamp;
use palisade_model::Target;
use palisade_policy::trust::{FoundAttestation, FoundSigner, TrustDecision, decide};
use palisade_policy::{Images, TrustRule};
use palisade_trust::attach::Found;
use palisade_trust::sigstore::{IdentityMatch, TextMatch, TrustedRoot, Verifier};
use palisade_trust::{
    Attestation, Depth, Examined, ImageSigner, ImageSource, OtherSigners, PublicKey, Signers,
    Verified, VerifyError,
};

use super::others::{self, Acceptor};
use super::sign::read_key;
use super::trust;
use crate::exit::{Exit, Failure};

/// Whom the section `images` of a policy trusts with the image of one name.
pub(super) struct Trusted<'p> {
    images: &'p Images,
    name: &'p str,
    keys: Vec<(PathBuf, PublicKey)>,
    identities: Vec<IdentityMatch>,
    root: Option<TrustedRoot>,
    /// Files of providers, and trust policies of the Notary Project.
    others: Vec<Acceptor>,
}

/// What was found, and what it means.
pub(super) struct Judged {
    /// What was verified; none where nobody whom the policy names has signed.
    pub(super) verified: Option<Verified>,
    /// Why not, in the latter case.
    pub(super) refusal: Option<VerifyError>,
    /// What the rules say.
    pub(super) decision: TrustDecision,
}

impl<'p> Trusted<'p> {
    /// Reads the keys and prepares the names of all rules about the image `name`. The root is
    /// read only where a rule names whom a certificate must name.
    pub(super) fn new(
        images: &'p Images,
        name: &'p str,
        root: impl FnOnce() -> Result<Option<TrustedRoot>, Failure>,
    ) -> Result<Self, Failure> {
        let rules: Vec<_> = images.trust.iter().filter(|rule| rule.is_about(name)).collect();
        let paths = images.keys.iter().chain(rules.iter().flat_map(|rule| &rule.keys));
        let keys = paths.map(|path| Ok((path.clone(), read_key(path)?)));
        let keys = keys.collect::<Result<Vec<_>, Failure>>()?;
        let others = acceptors(&rules, name)?;
        let named = rules
            .iter()
            .filter(|rule| !rule.subject.is_empty() && rule.openpubkey.as_os_str().is_empty());
        let identities: Vec<_> = named
            .map(|rule| IdentityMatch {
                name: TextMatch::Pattern(rule.subject.clone()),
                issuer: TextMatch::Exact(rule.issuer.clone()),
                claims: Vec::new(),
            })
            .collect();
        let root = if identities.is_empty() { None } else { root()? };
        if root.is_none() && !identities.is_empty() {
            return Err(Failure::message(
                Exit::Usage,
                "a rule of the policy names whom certificates must name, and there is no trusted root",
            )
            .with_hint("put it at /etc/palisade/trusted_root.json"));
        }
        Ok(Self { images, name, keys, identities, root, others })
    }

    /// Whether the policy names anybody who could have signed the image.
    pub(super) fn names_anybody(&self) -> bool {
        !self.keys.is_empty() || !self.identities.is_empty() || !self.others.is_empty()
    }

    /// Verifies the image and applies the rules.
    ///
    /// # Errors
    ///
    /// Content that was changed or could not be read; that nobody trusted has signed is a
    /// decision.
    pub(super) fn judge(
        &self,
        source: &ImageSource,
        selector: Option<&str>,
        depth: Depth,
    ) -> Result<Judged, VerifyError> {
        let keys: Vec<PublicKey> = self.keys.iter().map(|(_, key)| key.clone()).collect();
        let verifier = Verifier::new(self.root.as_ref(), trust::now());
        let identities = self.root.is_some().then_some((&verifier, self.identities.as_slice()));
        let decide = |signers: &[FoundSigner], said: &[FoundAttestation]| {
            decide(self.images, self.name, signers, said, Timestamp::now())
        };
        let now = trust::now();
        let other = |found: &Found| others::judge(&self.others, found, now);
        let other: Option<&OtherSigners<'_>> =
            if self.others.is_empty() { None } else { Some(&other) };
        let Examined { result, unread } =
            source.examine(selector, depth, Signers { keys: &keys, identities }, other)?;
        let judged = match result {
            Ok(verified) => {
                let signers: Vec<_> = verified.signers.iter().map(|it| self.signer(it)).collect();
                let said: Vec<_> =
                    verified.attestations.iter().filter_map(|it| self.said(it)).collect();
                let decision = decide(&signers, &said);
                Judged { verified: Some(verified), refusal: None, decision }
            }
            Err(error) => {
                Judged { verified: None, refusal: Some(error), decision: decide(&[], &[]) }
            }
        };
        match unread {
            // What was not seen could have been what is lacking.
            Some(unread) if judged.decision.allowed_by().is_none() => Err(unread.into()),
            _ => Ok(judged),
        }
    }

    fn signer(&self, signer: &ImageSigner) -> FoundSigner {
        match signer {
            ImageSigner::Key(key) => {
                let same = self.keys.iter().filter(|(_, other)| other == key);
                let keys = same.map(|(path, _)| path.clone()).collect();
                FoundSigner { keys, ..FoundSigner::default() }
            }
            ImageSigner::Certificate(identity) => FoundSigner {
                keys: Vec::new(),
                subjects: identity.names.iter().map(|name| name.text().to_string()).collect(),
                issuer: identity.issuer.clone(),
                ..FoundSigner::default()
            },
            ImageSigner::Named(signer) => FoundSigner {
                keys: Vec::new(),
                subjects: signer.names.clone(),
                issuer: signer.issuer.clone(),
                accepted_by: signer.accepted_by.clone(),
                until: signer.until.map(end_of_second),
            },
        }
    }

    /// A statement that cannot be read says nothing.
    fn said(&self, attestation: &Attestation) -> Option<FoundAttestation> {
        let statement: serde_json::Value = serde_json::from_slice(&attestation.statement).ok()?;
        Some(FoundAttestation {
            predicate_type: attestation.predicate_type.clone(),
            signer: self.signer(&attestation.signer),
            predicate: statement.get("predicate")?.clone(),
        })
    }
}

/// The last moment of that second since the Unix epoch.
pub(super) fn end_of_second(second: i64) -> Timestamp {
    let nanos = i128::from(second).saturating_add(1).saturating_mul(1_000_000_000) - 1;
    Timestamp::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// The files that the rules name, each once.
fn acceptors(rules: &[&TrustRule], name: &str) -> Result<Vec<Acceptor>, Failure> {
    let repository = match name.parse::<Target>() {
        Ok(Target::Registry(reference) | Target::Anywhere(reference)) => Some(reference.name()),
        _ => None,
    };
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for rule in rules {
        if !rule.openpubkey.as_os_str().is_empty() && seen.insert(&rule.openpubkey) {
            all.push(Acceptor::openpubkey(&rule.openpubkey)?);
        }
        if !rule.notary.as_os_str().is_empty() && seen.insert(&rule.notary) {
            all.push(Acceptor::notary(&rule.notary, repository.clone(), false)?);
        }
    }
    Ok(all)
}
