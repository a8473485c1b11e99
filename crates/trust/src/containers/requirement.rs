//! What a policy asks for.

use std::path::PathBuf;

use super::reference::Reference;

/// One requirement; all of a list must hold.
#[derive(Debug, Clone)]
pub enum Requirement {
    /// Anything is accepted.
    InsecureAcceptAnything,
    /// Nothing is.
    Reject,
    /// A simple signing signature by a GPG key.
    SignedBy {
        /// `GPGKeys`, or one of the kinds that are read and not implemented anywhere.
        key_type: String,
        /// The keyrings.
        keys: KeySource,
        /// What the signature must say that the image is called.
        identity: Identity,
    },
    /// Read, and implemented nowhere: nothing satisfies it.
    SignedBaseLayer,
    /// A signature of cosign's.
    SigstoreSigned {
        /// What it must be signed with.
        trust: SigstoreTrust,
        /// Keys of logs, of which one must have promised to log the signature.
        rekor: Option<KeySource>,
        /// What the signature must say that the image is called.
        identity: Identity,
    },
}

impl Requirement {
    /// The type, as the policy writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InsecureAcceptAnything => "insecureAcceptAnything",
            Self::Reject => "reject",
            Self::SignedBy { .. } => "signedBy",
            Self::SignedBaseLayer => "signedBaseLayer",
            Self::SigstoreSigned { .. } => "sigstoreSigned",
        }
    }
}

/// What a Sigstore signature must be made with.
#[derive(Debug, Clone)]
pub enum SigstoreTrust {
    /// One of these keys.
    Keys(KeySource),
    /// A certificate of a Fulcio, for this person.
    Fulcio {
        /// The authority's certificates.
        ca: KeySource,
        /// Who must have vouched.
        oidc_issuer: String,
        /// The signer's mail address.
        subject_email: String,
    },
    /// A certificate of one's own authority.
    Pki {
        /// The authority's certificates.
        roots: KeySource,
        /// Certificates between them and the signer's.
        intermediates: Option<KeySource>,
        /// The signer's mail address.
        subject_email: Option<String>,
        /// The signer's host.
        subject_hostname: Option<String>,
    },
}

/// Where keys or certificates are.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In files, any of them.
    Paths(Vec<PathBuf>),
    /// In the policy.
    Data(Vec<Vec<u8>>),
}

/// What a signature must call the image.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Just what the image is called.
    MatchExact,
    /// That, or for an image by digest the same repository.
    MatchRepoDigestOrExact,
    /// The same repository.
    MatchRepository,
    /// This.
    ExactReference(Reference),
    /// This repository.
    ExactRepository(Reference),
    /// As the second, after one prefix of the image's name was replaced by another.
    RemapIdentity {
        /// What the image's name begins with here.
        prefix: String,
        /// What it begins with in signatures.
        signed_prefix: String,
    },
}

impl Identity {
    /// Whether an image called `image` may be signed as `signed`.
    pub fn allows(&self, image: Option<&Reference>, signed: &str) -> bool {
        let Ok(signed) = Reference::parse(signed) else { return false };
        match self {
            Self::ExactReference(wanted) => signed == *wanted,
            Self::ExactRepository(wanted) => signed.name() == wanted.name(),
            Self::MatchExact => image.is_some_and(|image| {
                (image.tag().is_some() || image.digest().is_some()) && *image == signed
            }),
            Self::MatchRepository => image.is_some_and(|image| image.name() == signed.name()),
            Self::MatchRepoDigestOrExact => {
                image.is_some_and(|image| repo_digest_or_exact(image, &signed))
            }
            Self::RemapIdentity { prefix, signed_prefix } => image
                .and_then(|image| remap(image, prefix, signed_prefix))
                .is_some_and(|image| repo_digest_or_exact(&image, &signed)),
        }
    }
}

fn repo_digest_or_exact(image: &Reference, signed: &Reference) -> bool {
    if image.tag().is_some() {
        image == signed
    } else {
        image.digest().is_some() && image.name() == signed.name()
    }
}

/// The name with the prefix replaced; itself when it has not that prefix.
fn remap(image: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let text = image.to_string();
    match text.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', ':', '@']) => {
            // A whole host may stand there: `host:5000` is no prefix of `host:5000/…`'s port.
            Reference::parse(&format!("{signed_prefix}{rest}")).ok()
        }
        _ => Some(image.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_those_of_the_manual() {
        let digest = format!("@sha256:{}", "0".repeat(64));
        let check = |identity: &Identity, image: &str, signed: &str, expected: bool| {
            let image = Reference::parse(image).ok();
            let found = identity.allows(image.as_ref(), signed);
            assert_eq!(found, expected, "{identity:?} {image:?} {signed}");
        };
        let by_digest = format!("h.example/a{digest}");
        let exact = Identity::MatchExact;
        check(&exact, "h.example/a:1", "h.example/a:1", true);
        check(&exact, "h.example/a:1", "h.example/a:2", false);
        check(&exact, "h.example/a", "h.example/a", false);
        check(&exact, &by_digest, "h.example/a:1", false);
        check(&exact, "busybox:1", "docker.io/library/busybox:1", true);
        let usual = Identity::MatchRepoDigestOrExact;
        check(&usual, "h.example/a:1", "h.example/a:1", true);
        check(&usual, "h.example/a:1", "h.example/a:2", false);
        check(&usual, &by_digest, "h.example/a:2", true);
        check(&usual, &by_digest, "h.example/b:2", false);
        check(&usual, "h.example/a", "h.example/a", false);
        check(&usual, "", "h.example/a", false);
        let repository = Identity::MatchRepository;
        check(&repository, "h.example/a:1", "h.example/a:2", true);
        check(&repository, "h.example/a:1", "h.example/b:1", false);
        check(&repository, "h.example/a:1", "not a name", false);
        let one = Identity::ExactReference(Reference::parse("h.example/a:1").unwrap());
        check(&one, "", "h.example/a:1", true);
        check(&one, "", "h.example/a:2", false);
        let all = Identity::ExactRepository(Reference::parse("h.example/a").unwrap());
        check(&all, "", "h.example/a:2", true);
        check(&all, "", "h.example/ab:2", false);
        let remap = Identity::RemapIdentity {
            prefix: "mirror.example:5000/v".into(),
            signed_prefix: "vendor.example".into(),
        };
        check(&remap, "mirror.example:5000/v/a:1", "vendor.example/a:1", true);
        check(&remap, "mirror.example:5000/v/a:1", "vendor.example/b:1", false);
        check(&remap, "mirror.example:5000/vv/a:1", "vendor.example/a:1", false);
        check(&remap, "other.example/a:1", "other.example/a:1", true);
    }
}
