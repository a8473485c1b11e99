//! `palisade verify`: every byte of an image that is at hand, and who signed it.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use palisade_image::{ArchiveFiles, BlobSource, Limits, SourceError};
use palisade_model::{Reference, Target};
use palisade_registry::{BlobOptions, Found, Place, RegistryError};
use palisade_trust::sigstore::Verifier;
use palisade_trust::{
    Blobs, ContentError, Depth, Descriptor, ImageSource, SignatureFormat, Signers, Verified,
    VerifyError, blob_path,
};

use super::decided::Decided;
use super::sign::read_keys;
use super::trusted::Trusted;
use super::{Context, attached, containers, image, trust};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest manifest or index, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
pub(super) const TRY_AGAIN: &str = "nothing was found out about the image: try again";

/// Verifies an image: its content, and who signed it.
pub(crate) fn verify(context: &Context<'_>, args: &cli::Verify) -> Result<Exit, Failure> {
    tell_offline(context, args.offline);
    if let Some(policy) = &args.containers_policy {
        return containers::verify(context, args, policy);
    }
    if args.openpubkey.is_some() || args.notary_policy.is_some() {
        return attached::verify(context, args);
    }
    if let Some(policy) = &args.policy {
        return by_policy(context, args, policy);
    }
    let paths = &args.key;
    let identities = trust::identities(
        args.certificate_identity.as_deref(),
        args.certificate_identity_regexp.as_deref(),
        args.certificate_oidc_issuer.as_deref(),
    )?;
    if paths.is_empty() && identities.is_empty() {
        return Err(Failure::message(Exit::Usage, "no public key and no identity given")
            .with_hint(
                "use --key FILE, --policy POLICY, or --certificate-identity \
             NAME with --certificate-oidc-issuer URL",
            ));
    }
    let keys = read_keys(paths)?;
    let root = if identities.is_empty() {
        None
    } else {
        Some(trust::root(context, args.trusted_root.as_deref(), Exit::Usage)?.ok_or_else(|| {
            Failure::message(Exit::Usage, "identities need a trusted root, and there is none")
                .with_hint("name it: --trusted-root trusted_root.json")
        })?)
    };
    let verifier = Verifier::new(root.as_ref(), trust::now());
    let identities = root.is_some().then_some((&verifier, identities.as_slice()));
    let signers = Signers { keys: &keys, identities };
    let opened = open(context, &args.target, &args.source, args.layers)?;
    let (source, selector) = (&opened.source, opened.selector.as_deref());
    let verified = source.verify(selector, opened.depth, signers).map_err(failure)?;
    context.terminal.result(&shown(&verified, opened.depth, args.format))?;
    Ok(Exit::Clean)
}

/// Says what is not looked up. It never is by these commands, but for lookaside folders on
/// servers; whoever says `--offline` is told so.
pub(super) fn tell_offline(context: &Context<'_>, is_offline: bool) {
    if is_offline {
        context.terminal.progress(
            "not looked up: keys of OpenID providers, lists of revoked certificates and OCSP, \
             authorities of time, logs, TUF repositories; what files say of them counts",
        );
    }
}

/// Verifies an image as the rules of a policy ask.
fn by_policy(context: &Context<'_>, args: &cli::Verify, policy: &str) -> Result<Exit, Failure> {
    let policy = context.load_policy(policy)?.policy;
    let target = args.target.parse::<Target>().or_exit(Exit::Usage)?;
    let name = match &args.reference {
        Some(name) => name.parse::<Reference>().or_exit(Exit::Usage)?.to_string(),
        None => name_of(&target),
    };
    let path = trust::root_path(context, args.trusted_root.as_deref(), Some(&policy.images));
    let root =
        || path.as_deref().map_or(Ok(None), |it| trust::root(context, Some(it), Exit::Usage));
    let trusted = Trusted::new(&policy.images, &name, root)?;
    if !trusted.names_anybody() && policy.images.trust.is_empty() {
        return Err(Failure::message(Exit::Usage, "the policy names nobody who may sign")
            .with_hint("list keys in `images.keys`, or rules in `images.trust`"));
    }
    if !trusted.names_anybody() {
        return Err(Failure::message(
            Exit::Refused,
            format!("`{name}` is not trusted: no rule of the policy is about this image"),
        )
        .with_hint("add a rule to `images.trust`, or mend the names in `images` of one"));
    }
    let opened = open(context, &args.target, &args.source, args.layers)?;
    let judged =
        trusted.judge(&opened.source, opened.selector.as_deref(), opened.depth).map_err(failure)?;
    if let (Some(decided), Some(verified)) =
        (Decided::new(context, &policy, &name, path.clone()), &judged.verified)
    {
        decided.keep(verified.digest, &judged);
    }
    let Some(verified) = judged.verified.filter(|_| judged.decision.allowed_by().is_some()) else {
        if let Some(error) = judged.refusal {
            return Err(failure(error));
        }
        let reasons = judged.decision.reasons().join("; ");
        return Err(Failure::message(Exit::Refused, format!("`{name}` is not trusted: {reasons}"))
            .with_hint("have it signed by those whom the policy names, or change the policy"));
    };
    let mut text = shown(&verified, opened.depth, args.format);
    if args.format == ListFormat::Table {
        let rule = judged.decision.allowed_by().unwrap_or_default();
        let _ = writeln!(text, "rule      {rule}");
    }
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// What rules call an image: by its whole name in a registry, else as the user names it.
pub(super) fn name_of(target: &Target) -> String {
    match target {
        Target::Registry(reference) | Target::Anywhere(reference) => reference.to_string(),
        other => other.to_string(),
    }
}

/// A form of signature, in results.
pub(super) fn format_name(format: SignatureFormat) -> &'static str {
    match format {
        SignatureFormat::Bundle => "sigstore bundle v0.3",
        SignatureFormat::Simple => "cosign simple signing",
        SignatureFormat::OpenPubkey => "openpubkey",
        SignatureFormat::Notary => "notary",
    }
}

pub(super) fn shown(verified: &Verified, depth: Depth, form: ListFormat) -> String {
    let format = format_name(verified.format);
    let content = verified.content;
    match form {
        ListFormat::Json => format!(
            "{:#}\n",
            serde_json::json!({
                "schema": "palisade.dev/verification/v1",
                "digest": verified.digest,
                "key": verified.signer.to_string(),
                "format": format,
                "blobs": content.n_blobs,
                "bytes": content.n_bytes,
                "layers_read": depth == Depth::Everything,
                "rejected_signatures": verified.rejections.len(),
                "attestations": verified.attestations.iter().map(|it| serde_json::json!({
                    "predicate_type": it.predicate_type,
                    "key": it.signer.to_string(),
                    "digest": it.digest,
                })).collect::<Vec<_>>(),
                "attestations_not_examined": verified.n_attestations,
            })
        ),
        ListFormat::Tsv => format!("{}\t{}\t{format}\n", verified.digest, verified.signer),
        ListFormat::Table => {
            let (blobs, bytes) = (content.n_blobs, content.n_bytes);
            let note = match depth {
                Depth::Everything => "",
                Depth::Manifests => "; layers were not read (--layers reads them)",
            };
            let mut text = format!(
                "verified  {}\nsigned by {} ({format})\ncontent   {blobs} blobs, {bytes} bytes, \
                 each equal to its digest{note}\n",
                verified.digest, verified.signer
            );
            for it in &verified.attestations {
                let _ = writeln!(text, "attested  {} by {}", it.predicate_type, it.signer);
            }
            text
        }
    }
}

/// A signature that is missing, wrong or about other content is a refusal; what could not
/// be read is not, and least of all where the network is at fault.
pub(super) fn failure(error: VerifyError) -> Failure {
    let exit = match &error {
        VerifyError::NoKeys => Exit::Usage,
        VerifyError::Content(ContentError::Read { source, .. }) => {
            match SourceError::find(source).and_then(SourceError::downcast_ref::<RegistryError>) {
                Some(registry) => exit_of(registry),
                None => Exit::Incomplete,
            }
        }
        VerifyError::Content(_) if !error.is_tampered() => Exit::Incomplete,
        _ => Exit::Refused,
    };
    let failure = Failure::from_explained(error, exit);
    if exit == Exit::Network { failure.or_hint(TRY_AGAIN) } else { failure }
}

/// What a registry's error means for somebody who asks whether an image may be trusted.
pub(super) fn exit_of(error: &RegistryError) -> Exit {
    match error {
        error if error.is_network() => Exit::Network,
        RegistryError::WrongDigest { .. } => Exit::Refused,
        _ => Exit::Incomplete,
    }
}

/// An image with what is attached to it.
pub(super) struct Opened {
    pub(super) source: ImageSource,
    pub(super) selector: Option<String>,
    pub(super) depth: Depth,
}

/// Opens an image with what is attached to it; of a registry's image the layers are read only
/// when `layers` says so.
pub(super) fn open(
    context: &Context<'_>,
    target: &str,
    source: &cli::ImageSource,
    layers: bool,
) -> Result<Opened, Failure> {
    let depth = Depth::Everything;
    match target.parse::<Target>().or_exit(Exit::Usage)? {
        Target::Layout { folder, selector } => {
            let source = ImageSource::layout(&folder).map_err(failure)?;
            Ok(Opened { source, selector, depth })
        }
        Target::Archive { file, selector } => {
            Ok(Opened { source: open_archive(&file)?, selector, depth })
        }
        Target::Registry(reference) | Target::Anywhere(reference) => {
            let source = open_remote(context, &reference, source)?;
            let depth = if layers { depth } else { Depth::Manifests };
            Ok(Opened { source, selector: None, depth })
        }
        other => Err(Failure::message(Exit::Usage, format!("`{other}` cannot hold signatures"))
            .with_hint(
                "name an image of a registry (NAME[:TAG]), an OCI layout (oci:DIR[:TAG]) or an \
                 archive of one (archive:FILE)",
            )),
    }
}

/// The layout in an archive. The file is opened once: what is verified cannot be exchanged
/// half-way.
pub(super) fn open_archive(file: &Path) -> Result<ImageSource, Failure> {
    let files = ArchiveFiles::open(file, &Limits::default()).or_exit(Exit::Incomplete)?;
    let read = |name: &str| {
        files.read(name, MANIFEST_BYTES_MAX).map_err(|error| {
            let what = format!("read `{name}` in `{}`: {error}", file.display());
            Failure::message(Exit::Incomplete, what).with_hint(
                "signatures lie in archives of an OCI layout, as `skopeo copy … \
                 oci-archive:FILE` and `docker save` from version 25 on write them",
            )
        })
    };
    let (marker, index) = (read("oci-layout")?, read("index.json")?);
    ImageSource::files(file, Box::new(FileBlobs(files)), &marker, &index).map_err(failure)
}

/// The blobs of a layout in an archive.
struct FileBlobs(ArchiveFiles);

impl Blobs for FileBlobs {
    fn open(&self, named: &Descriptor) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.0.open_file(&blob_path(&named.digest))?))
    }
}

/// The image in its registry, or on a mirror, with what is attached to it there.
pub(super) fn open_remote(
    context: &Context<'_>,
    reference: &Reference,
    source: &cli::ImageSource,
) -> Result<ImageSource, Failure> {
    let client = image::client(context, source)?;
    let network = |error: RegistryError| {
        let exit = exit_of(&error);
        Failure::from_explained(error, exit).or_hint(TRY_AGAIN)
    };
    let (place, found): (Place, Found) =
        client.find(reference, MANIFEST_BYTES_MAX, None).map_err(network)?;
    let digest = found.descriptor.digest;
    let attached = client.attached(&place, digest).map_err(network)?;
    let of = |one: &palisade_image::Descriptor| {
        Descriptor::new(one.media_type.clone(), one.digest, one.size)
    };
    let mut all: Vec<Descriptor> =
        attached.tagged.iter().map(|(tag, one)| of(one).tagged(tag)).collect();
    all.extend(attached.referrers.iter().map(of));
    let image = of(&found.descriptor);
    let options = BlobOptions { cache: image::blob_cache(context, source) };
    let blobs = RemoteBlobs { source: client.blobs(place, &options), found };
    Ok(ImageSource::image(Box::new(blobs), image, all))
}

/// The blobs of a registry; the image's manifest was fetched already.
struct RemoteBlobs {
    source: Arc<dyn BlobSource>,
    found: Found,
}

impl Blobs for RemoteBlobs {
    fn open(&self, named: &Descriptor) -> io::Result<Box<dyn Read + '_>> {
        if named.digest == self.found.descriptor.digest {
            return Ok(Box::new(self.found.bytes.as_slice()));
        }
        if named.is_document() {
            let mut descriptor = palisade_image::Descriptor::of(&named.media_type, &[]);
            (descriptor.digest, descriptor.size) = (named.digest, named.size);
            let bytes = self.source.read_manifest(&descriptor, MANIFEST_BYTES_MAX);
            return Ok(Box::new(io::Cursor::new(bytes.map_err(missing_or_failed)?)));
        }
        let opened = self.source.open_blob(named.digest, Some(named.size));
        Ok(opened.map_err(missing_or_failed)?.0)
    }
}

/// A registry that says that something is not there has answered.
fn missing_or_failed(error: SourceError) -> io::Error {
    match error.downcast_ref::<RegistryError>() {
        Some(registry) if registry.is_not_found() => io::Error::new(io::ErrorKind::NotFound, error),
        _ => error.into(),
    }
}
