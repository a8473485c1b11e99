//! Verify an image of a layout: its content, then its signatures.

use std::collections::BTreeSet;
use std::path::Path;

use palisade_base::{Digest, Explain};

use crate::attach;
use crate::bundle::{BUNDLE_BYTES_MAX, Bundle, BundleError};
use crate::content::{
    Blobs, Checked, Content, ContentError, DESCRIPTORS_MAX, Depth, Descriptor, Document,
    MEDIA_TYPE_MANIFEST, Walked,
};
use crate::dsse;
use crate::key::PublicKey;
use crate::others::{self, NamedSigner, OtherSigners};
use crate::sigstore::{
    Artifact, Attested, Bundle as AnyBundle, BundleKind, CertificateIdentity, IdentityMatch,
    Signer, SigstoreError, Verifier, legacy,
};
use crate::simple::{self, SimpleError};
use crate::statement::{PAYLOAD_TYPE, PREDICATE_TYPE, Statement};

/// Media type of an envelope under the tag `sha256-….att`.
const ENVELOPE_MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";
/// Media types of bundles begin like this, whatever their version.
const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// The form of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureFormat {
    /// A Sigstore bundle as OCI referrer (cosign 3).
    Bundle,
    /// A simple-signing payload under the tag `sha256-….sig` (cosign 1 and 2).
    Simple,
    /// A statement that was signed under an ID token, as OCI referrer.
    OpenPubkey,
    /// An envelope of the Notary Project, as OCI referrer.
    Notary,
}

/// A signature that was found and proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its form.
    pub format: SignatureFormat,
    /// Digest of the blob or manifest that holds it.
    pub digest: Digest,
    /// Why.
    pub reason: String,
    /// Whether it is well formed and merely by another key (or about changed content).
    pub wrong_key: bool,
}

/// Who signed an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSigner {
    /// The holder of a key: an element of the keys given.
    Key(PublicKey),
    /// Whom a certificate names.
    Certificate(CertificateIdentity),
    /// Whom an ID token, or a certificate of the Notary Project, names.
    Named(NamedSigner),
}

impl ImageSigner {
    /// Whether both are the same person or robot. Claims of a certificate differ from run to
    /// run; names and who vouches for them do not.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one), Self::Key(two)) => one == two,
            (Self::Certificate(one), Self::Certificate(two)) => {
                one.names == two.names && one.issuer == two.issuer
            }
            (Self::Named(one), Self::Named(two)) => {
                one.names == two.names && one.issuer == two.issuer
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for ImageSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key.hint()),
            Self::Certificate(identity) => write!(f, "{identity}"),
            Self::Named(signer) => write!(f, "{signer}"),
        }
    }
}

/// Something that one of the signers says about the image, besides having signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// What kind of thing it says.
    pub predicate_type: String,
    /// Who says it: one of the keys given, or one of the identities.
    pub signer: ImageSigner,
    /// The in-toto statement, as it was signed.
    pub statement: Vec<u8>,
    /// Digest of the blob that holds it.
    pub digest: Digest,
}

/// Who may have signed: any of them.
#[derive(Debug, Clone, Copy)]
pub struct Signers<'a> {
    /// Holders of keys.
    pub keys: &'a [PublicKey],
    /// Whom certificates may name, and what those are verified with.
    pub identities: Option<(&'a Verifier<'a>, &'a [IdentityMatch])>,
}

/// An image whose content matches its digests and that one of the signers signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What was signed: the image's manifest or index.
    pub digest: Digest,
    /// That and, of an index, the manifests in it: whoever runs one of them by this digest
    /// runs what was signed.
    pub manifests: BTreeSet<Digest>,
    /// The configurations that those manifests name: engines know images by them.
    pub configs: BTreeSet<Digest>,
    /// Who signed it first: one of the keys given, or one of the identities.
    pub signer: ImageSigner,
    /// The form of that signature.
    pub format: SignatureFormat,
    /// Digest of the blob that holds that signature.
    pub signature: Digest,
    /// Everybody who signed it and is one of those given, each once.
    pub signers: Vec<ImageSigner>,
    /// Content that was checked.
    pub content: Checked,
    /// Signatures that prove nothing; they do no harm beside one that does.
    pub rejections: Vec<Rejection>,
    /// What else the signers say about the image.
    pub attestations: Vec<Attestation>,
    /// What else is attached and is none of the signers' word.
    pub n_attestations: u64,
}

/// Why an image is not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No key was given.
    #[error("no key to verify with")]
    NoKeys,
    /// The layout or the image in it is damaged or was changed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Nothing that could be a signature of the image.
    #[error("image `{digest}` is not signed")]
    NoSignature {
        /// What was looked for.
        digest: Digest,
    },
    /// It is signed, by other keys.
    #[error("image `{digest}` is signed, but by none of the given keys{}", named(rejections))]
    WrongKey {
        /// The image.
        digest: Digest,
        /// The signatures.
        rejections: Vec<Rejection>,
    },
    /// It has signatures, of which none is valid and at least one is malformed.
    #[error("image `{digest}` has no valid signature: {}", list(rejections))]
    Malformed {
        /// The image.
        digest: Digest,
        /// The signatures.
        rejections: Vec<Rejection>,
    },
}

/// Who signed instead, where certificates say it.
fn named(rejections: &[Rejection]) -> String {
    let named = rejections.iter().find(|it| it.reason.starts_with("it is signed by "));
    named.map(|it| format!(" and identities: {}", it.reason)).unwrap_or_default()
}

fn list(rejections: &[Rejection]) -> String {
    let shown: Vec<_> = rejections.iter().take(3).map(|r| r.reason.as_str()).collect();
    let more = rejections.len().saturating_sub(shown.len());
    let rest = if more > 0 { format!("; {more} more") } else { String::new() };
    format!("{}{rest}", shown.join("; "))
}

impl VerifyError {
    /// Whether the content does not match its digests: such an image must not run under
    /// any policy.
    pub fn is_tampered(&self) -> bool {
        matches!(self, Self::Content(ContentError::Tampered { .. }))
    }
}

impl Explain for VerifyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoKeys => Some("name the signer's public key: --key FILE".into()),
            Self::Content(error) => error.hint(),
            Self::NoSignature { .. } => Some("sign it with `palisade sign`".into()),
            Self::WrongKey { .. } => {
                Some("use the signer's public key, or have it signed with yours".into())
            }
            Self::Malformed { .. } => Some("have it signed again by its publisher".into()),
        }
    }
}

/// Verifies the image that `selector` (a tag or a digest) names in the layout `folder`:
/// recomputes the digest of every blob, then looks for a signature by one of `keys`.
pub fn verify_image(
    folder: &Path,
    selector: Option<&str>,
    keys: &[PublicKey],
) -> Result<Verified, VerifyError> {
    verify_image_by(folder, selector, Signers { keys, identities: None })
}

/// As [`verify_image`], by keys or by whom certificates name.
pub fn verify_image_by(
    folder: &Path,
    selector: Option<&str>,
    signers: Signers<'_>,
) -> Result<Verified, VerifyError> {
    signers.check()?;
    ImageSource::layout(folder)?.verify(selector, Depth::Everything, signers)
}

impl Signers<'_> {
    fn check(&self) -> Result<(), VerifyError> {
        if self.keys.is_empty() && self.identities.is_none_or(|(_, all)| all.is_empty()) {
            return Err(VerifyError::NoKeys);
        }
        Ok(())
    }
}

/// An image with what is attached to it, wherever they are.
pub struct ImageSource(Content);

impl ImageSource {
    /// The images of a layout on disk.
    pub fn layout(folder: &Path) -> Result<Self, VerifyError> {
        Ok(Self(Content::open(folder)?))
    }

    /// The images of a layout whose files `oci-layout` and `index.json` were read already, in
    /// an archive for one; `path` is for messages.
    pub fn files(
        path: &Path,
        blobs: Box<dyn Blobs>,
        marker: &[u8],
        index: &[u8],
    ) -> Result<Self, VerifyError> {
        Ok(Self(Content::of_layout(path, blobs, marker, index)?))
    }

    /// One image of a registry. `attached` is what may be attached to it: referrers as they
    /// are listed, and the manifests under its tags `sha256-….sig` and `sha256-….att`, with
    /// their tags.
    pub fn image(blobs: Box<dyn Blobs>, image: Descriptor, attached: Vec<Descriptor>) -> Self {
        Self(Content::of_image(blobs, image, attached))
    }

    /// Verifies the image that `selector` (a tag or a digest) names, or the only one: its
    /// content as deep as is wanted, then its signatures.
    ///
    /// # Errors
    ///
    /// What could not be read, [`ContentError::Read`], is neither a refusal nor an acceptance:
    /// it is given whenever a signature that was not seen could have decided otherwise.
    pub fn verify(
        &self,
        selector: Option<&str>,
        depth: Depth,
        signers: Signers<'_>,
    ) -> Result<Verified, VerifyError> {
        let Examined { result, unread } = self.examine(selector, depth, signers, None)?;
        match (result, unread) {
            (Err(_), Some(unread)) => Err(unread.into()),
            (result, _) => result,
        }
    }

    /// As [`Self::verify`], with signatures of other families, and with what could not be read
    /// for those who need more than one signature.
    ///
    /// # Errors
    ///
    /// Content that was changed or could not be read, and that nobody is named who may sign.
    pub fn examine(
        &self,
        selector: Option<&str>,
        depth: Depth,
        signers: Signers<'_>,
        others: Option<&OtherSigners<'_>>,
    ) -> Result<Examined, VerifyError> {
        if others.is_none() {
            signers.check()?;
        }
        let content = &self.0;
        let image = content.select(selector)?;
        let Walked { checked, documents: manifests, configs } =
            content.check_image_to(image, depth)?;
        let mut search = Search {
            content,
            image,
            signers,
            others,
            found: Vec::new(),
            rejections: Vec::new(),
            attestations: Vec::new(),
            n_attestations: 0,
            unread: None,
        };
        search.all();
        let Search { found, rejections, attestations, n_attestations, unread, .. } = search;
        let digest = image.digest;
        let signers = found.iter().map(|(signer, ..)| signer.clone()).collect();
        let result = match found.into_iter().next() {
            Some((signer, format, signature)) => Ok(Verified {
                digest,
                manifests,
                configs,
                signer,
                format,
                signature,
                signers,
                content: checked,
                rejections,
                attestations,
                n_attestations,
            }),
            None if rejections.is_empty() => Err(VerifyError::NoSignature { digest }),
            None if rejections.iter().all(|rejection| rejection.wrong_key) => {
                Err(VerifyError::WrongKey { digest, rejections })
            }
            None => Err(VerifyError::Malformed { digest, rejections }),
        };
        Ok(Examined { result, unread })
    }
}

/// What was found out about an image whose content is what its digests say.
#[derive(Debug)]
pub struct Examined {
    /// Who signed it, or that nobody did whose signature counts.
    pub result: Result<Verified, VerifyError>,
    /// The first thing beside it that could not be read: had it been read, more signatures and
    /// attestations might be known.
    pub unread: Option<ContentError>,
}

/// Looks at everything in a layout that could be a signature of one image.
struct Search<'c> {
    content: &'c Content,
    image: &'c Descriptor,
    signers: Signers<'c>,
    others: Option<&'c OtherSigners<'c>>,
    /// One signature of each signer.
    found: Vec<(ImageSigner, SignatureFormat, Digest)>,
    rejections: Vec<Rejection>,
    attestations: Vec<Attestation>,
    n_attestations: u64,
    /// The first thing that could not be read.
    unread: Option<ContentError>,
}

impl Search<'_> {
    fn all(&mut self) {
        let content = self.content;
        let fallback = format!("sha256-{}", self.image.digest.hex());
        let simple = simple::tag(&self.image.digest);
        let attestations = format!("{fallback}.att");
        let mut candidates: Vec<&Descriptor> = Vec::new();
        let mut indexes = Vec::new();
        for named in &content.index.manifests {
            match named.ref_name() {
                Some(tag) if tag == simple => self.simple(named),
                Some(tag) if tag == attestations => self.envelopes(named),
                Some(tag) if tag == fallback => {
                    match content.document(named, &mut Checked::default()) {
                        Ok(index) => indexes.push(index),
                        Err(error) => self.not_read(SignatureFormat::Bundle, named.digest, error),
                    }
                }
                _ => candidates.push(named),
            }
        }
        // Descriptors are not trusted to say what they name (cosign writes another
        // artifact type there than into the manifest): each manifest is opened.
        candidates.extend(indexes.iter().flat_map(|index| &index.manifests));
        candidates.truncate(2 * DESCRIPTORS_MAX);
        let mut seen = BTreeSet::new();
        for named in candidates {
            if named.digest != self.image.digest
                && named.media_type == MEDIA_TYPE_MANIFEST
                && seen.insert(named.digest)
            {
                self.referrer(named);
            }
        }
    }

    fn reject(
        &mut self,
        format: SignatureFormat,
        digest: Digest,
        error: &(dyn std::error::Error + 'static),
        wrong_key: bool,
    ) {
        let mut reason = error.to_string();
        if let Some(source) = error.source() {
            reason = format!("{reason}: {source}");
        }
        self.rejections.push(Rejection { format, digest, reason, wrong_key });
    }

    /// What is missing or damaged proves nothing; what could not be read might have.
    fn not_read(&mut self, format: SignatureFormat, digest: Digest, error: ContentError) {
        match error {
            ContentError::Read { .. } => {
                self.unread.get_or_insert(error);
            }
            error => self.reject(format, digest, &error, false),
        }
    }

    fn accept(&mut self, signer: ImageSigner, format: SignatureFormat, digest: Digest) {
        // Whoever signs twice is one signer still.
        if !self.found.iter().any(|(other, ..)| other.is_same(&signer)) {
            self.found.push((signer, format, digest));
        }
    }

    /// Looks at a manifest that may refer to the image.
    fn referrer(&mut self, named: &Descriptor) {
        let says_bundle =
            named.artifact_type.as_deref().is_some_and(|kind| kind.starts_with(BUNDLE_PREFIX));
        let document = match self.content.document(named, &mut Checked::default()) {
            Ok(document) => document,
            Err(error) if says_bundle => {
                return self.not_read(SignatureFormat::Bundle, named.digest, error);
            }
            Err(error @ ContentError::Read { .. }) => {
                self.unread.get_or_insert(error);
                return;
            }
            // Another image of the layout, or an attachment of one: not ours to judge.
            Err(_) => return,
        };
        if document.subject.as_ref().is_none_or(|subject| subject.digest != self.image.digest) {
            return;
        }
        if !is_bundle_manifest(&document) {
            return self.other(named, &document);
        }
        for layer in &document.layers {
            self.bundle(layer);
        }
    }

    /// Looks at something attached that is no bundle.
    fn other(&mut self, named: &Descriptor, document: &Document) {
        let Some(others) = self.others else {
            self.n_attestations += 1;
            return;
        };
        let found = match attach::read_found(self.content, named, document, self.image) {
            Ok(found) => found,
            Err(error @ ContentError::Read { .. }) => {
                self.unread.get_or_insert(error);
                return;
            }
            Err(_) => None,
        };
        let verdict = found.as_ref().and_then(others);
        let Some(verdict) = verdict else {
            self.n_attestations += 1;
            return;
        };
        match verdict.result {
            Ok(said) => {
                let signer = ImageSigner::Named(said.signer);
                match said.attested {
                    None => self.accept(signer, verdict.format, named.digest),
                    Some((kind, statement)) => {
                        self.attested(kind, signer, statement, named.digest);
                    }
                }
            }
            Err(reason) => {
                self.rejections.push(others::rejection(verdict.format, named.digest, reason));
            }
        }
    }

    fn bundle(&mut self, layer: &Descriptor) {
        let format = SignatureFormat::Bundle;
        let content = self.content;
        let bytes =
            match content.blob("signature", layer, BUNDLE_BYTES_MAX, &mut Checked::default()) {
                Ok(bytes) => bytes,
                Err(error) => return self.not_read(format, layer.digest, error),
            };
        if let Some((verifier, wanted)) = self.signers.identities
            && let Ok(bundle) = AnyBundle::parse(&bytes)
            && bundle.kind() == BundleKind::Certificate
        {
            return self.keyless(layer.digest, &bundle, verifier, wanted);
        }
        let verified = Bundle::parse(&bytes).and_then(|bundle| {
            let (payload, key) = bundle.verify_envelope(PAYLOAD_TYPE, self.signers.keys)?;
            let statement = Statement::parse(payload).map_err(BundleError::Malformed)?;
            if !statement.is_about(&self.image.digest) {
                let found = "the signature of another image";
                return Err(BundleError::OtherContent { found, wanted: "that of this image" });
            }
            Ok((statement, key, payload.to_vec()))
        });
        match verified {
            Ok((statement, key, _)) if statement.predicate_type == PREDICATE_TYPE => {
                self.accept(ImageSigner::Key(key.clone()), format, layer.digest);
            }
            // A signed statement about the image that is no signature of it: an SBOM.
            Ok((statement, key, payload)) => {
                let signer = ImageSigner::Key(key.clone());
                self.attested(statement.predicate_type, signer, payload, layer.digest);
            }
            Err(error) => {
                let wrong_key = matches!(error, BundleError::WrongKey { .. });
                self.reject(format, layer.digest, &error, wrong_key);
            }
        }
    }

    /// Looks at a bundle that rests on a certificate.
    fn keyless(
        &mut self,
        digest: Digest,
        bundle: &AnyBundle,
        verifier: &Verifier<'_>,
        wanted: &[IdentityMatch],
    ) {
        let format = SignatureFormat::Bundle;
        match by_identity(bundle, &image_artifact(&self.image.digest), verifier, wanted) {
            Ok((identity, Some(it))) if it.predicate_type == PREDICATE_TYPE => {
                self.accept(ImageSigner::Certificate(identity), format, digest);
            }
            Ok((identity, Some(it))) => {
                let signer = ImageSigner::Certificate(identity);
                self.attested(it.predicate_type, signer, it.payload, digest);
            }
            Ok((_, None)) => {
                let found = "the signature of a file";
                let error = BundleError::OtherContent { found, wanted: "an envelope" };
                self.reject(format, digest, &error, false);
            }
            Err(error) => self.reject(format, digest, &error, error.is_other_signer()),
        }
    }

    fn attested(
        &mut self,
        predicate_type: String,
        signer: ImageSigner,
        statement: Vec<u8>,
        digest: Digest,
    ) {
        self.attestations.push(Attestation { predicate_type, signer, statement, digest });
    }

    /// Looks at cosign's older attestations. They never count as a signature of the image:
    /// only as what their signer says of it.
    fn envelopes(&mut self, named: &Descriptor) {
        let content = self.content;
        let document = match content.document(named, &mut Checked::default()) {
            Ok(document) => document,
            Err(error) => return self.not_read(SignatureFormat::Simple, named.digest, error),
        };
        for layer in document.layers.iter().filter(|l| l.media_type == ENVELOPE_MEDIA_TYPE) {
            let bytes =
                content.blob("attestation", layer, BUNDLE_BYTES_MAX, &mut Checked::default());
            let bytes = match bytes {
                Ok(bytes) => Some(bytes),
                Err(error @ ContentError::Read { .. }) => {
                    self.unread.get_or_insert(error);
                    continue;
                }
                Err(_) => None,
            };
            match bytes.and_then(|bytes| self.envelope(layer, &bytes)) {
                Some((signer, it)) => {
                    self.attested(it.predicate_type, signer, it.payload, layer.digest);
                }
                None => self.n_attestations += 1,
            }
        }
    }

    /// What an older attestation says, if one of the signers says it.
    fn envelope(&self, layer: &Descriptor, bytes: &[u8]) -> Option<(ImageSigner, Attested)> {
        let bundle = legacy::attestation(bytes, &layer.annotations).ok()?;
        if bundle.kind() == BundleKind::Certificate {
            let (verifier, wanted) = self.signers.identities?;
            let artifact = image_artifact(&self.image.digest);
            let (identity, it) = by_identity(&bundle, &artifact, verifier, wanted).ok()?;
            return Some((ImageSigner::Certificate(identity), it?));
        }
        let (payload_type, payload) = bundle.envelope()?;
        let signed = dsse::signed_digest(payload_type, payload);
        let key = self.signers.keys.iter().find(|key| key.verify(&signed, bundle.signature()))?;
        let statement = Statement::parse(payload).ok().filter(|_| payload_type == PAYLOAD_TYPE)?;
        let predicate_type =
            statement.is_about(&self.image.digest).then_some(statement.predicate_type)?;
        let attested = Attested { predicate_type, payload: payload.to_vec() };
        Some((ImageSigner::Key(key.clone()), attested))
    }

    /// Looks at cosign's older signatures.
    fn simple(&mut self, named: &Descriptor) {
        let format = SignatureFormat::Simple;
        let content = self.content;
        let document = match content.document(named, &mut Checked::default()) {
            Ok(document) => document,
            Err(error) => return self.not_read(format, named.digest, error),
        };
        for layer in document.layers.iter().filter(|l| l.media_type == simple::MEDIA_TYPE) {
            let limit = simple::PAYLOAD_BYTES_MAX;
            let payload = match content.blob("signature", layer, limit, &mut Checked::default()) {
                Ok(payload) => payload,
                Err(error) => {
                    self.not_read(format, layer.digest, error);
                    continue;
                }
            };
            if let Some((verifier, wanted)) = self.signers.identities
                && let Ok(bundle) = legacy::signature(&layer.annotations)
                && bundle.kind() == BundleKind::Certificate
            {
                match keyless_simple(&bundle, &payload, &self.image.digest, verifier, wanted) {
                    Ok(it) => self.accept(ImageSigner::Certificate(it), format, layer.digest),
                    Err(error) => {
                        let is_other = error.is_other_signer();
                        self.reject(format, layer.digest, &error, is_other);
                    }
                }
                continue;
            }
            match simple::verify(
                &payload,
                &layer.annotations,
                &self.image.digest,
                self.signers.keys,
            ) {
                Ok(key) => self.accept(ImageSigner::Key(key.clone()), format, layer.digest),
                Err(error) => {
                    let wrong_key = matches!(error, SimpleError::WrongKey);
                    self.reject(format, layer.digest, &error, wrong_key);
                }
            }
        }
    }
}

fn image_artifact(image: &Digest) -> Artifact<'static> {
    Artifact::Digest(image.as_bytes().to_vec())
}

/// Verifies a bundle that rests on a certificate; gives whom that names, if that is one of
/// those wanted, and what was said about the artifact.
fn by_identity(
    bundle: &AnyBundle,
    artifact: &Artifact<'_>,
    verifier: &Verifier<'_>,
    wanted: &[IdentityMatch],
) -> Result<(CertificateIdentity, Option<Attested>), SigstoreError> {
    let verified = verifier.verify(bundle, artifact, &[])?;
    let Signer::Certificate(identity) = verified.signer else {
        return Err(SigstoreError::NoRoot);
    };
    if wanted.iter().any(|it| it.matches(&identity)) {
        return Ok((identity, verified.attested));
    }
    let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
    let (found, wanted) = (identity.to_string(), wanted.join(" or "));
    Err(SigstoreError::OtherIdentity { found, wanted })
}

/// Verifies an older signature by a certificate: who signed the payload, and that the payload
/// is about the image.
fn keyless_simple(
    bundle: &AnyBundle,
    payload: &[u8],
    image: &Digest,
    verifier: &Verifier<'_>,
    wanted: &[IdentityMatch],
) -> Result<CertificateIdentity, SigstoreError> {
    let (identity, _) = by_identity(bundle, &Artifact::Bytes(payload), verifier, wanted)?;
    let (_, digest) = simple::read(payload, simple::TYPE_COSIGN)
        .map_err(|error| SigstoreError::NoStatement(error.to_string()))?;
    if digest == image.to_string() { Ok(identity) } else { Err(SigstoreError::OtherSubject) }
}

fn is_bundle_manifest(document: &Document) -> bool {
    let is_bundle = |kind: &str| kind.starts_with(BUNDLE_PREFIX);
    document.artifact_type.as_deref().is_some_and(is_bundle)
        || document.layers.iter().any(|layer| layer.media_type.starts_with(BUNDLE_PREFIX))
}
