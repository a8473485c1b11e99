//! `palisade verify --containers-policy` of a registry's image: its signatures, from where
//! `registries.d` says that they are, and beside the image.
//!
//! As containers/image does it: of an index, the manifest for the platform is what must be
//! signed; the name that is asked for decides about requirements, and the place that gave the
//! image, a mirror perhaps, about where signatures are.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use palisade_base::Digest;
use palisade_image::{Platform, SourceError, manifest_for};
use palisade_model::Reference as Name;
use palisade_registry::{BlobOptions, Client, Found, Place, RegistryError};
use palisade_trust::containers::{
    ContainersPolicy, Image, LookasideBase, LookasideFile, Reference, RegistriesD, Requirement,
    SIGNATURES_MAX, StoredSignature,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::containers::{self, SIGNATURE_BYTES_MAX};
use super::{Context, image, verify};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest manifest or index, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Largest payload of a signature of cosign's, in bytes.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// The image with its signatures, and what was not looked at although it might have been.
pub(super) fn image(
    context: &Context<'_>,
    args: &cli::Verify,
    policy: &ContainersPolicy,
    name: &Name,
    named: Option<Reference>,
) -> Result<(Image, Vec<String>), Failure> {
    let logical = match named {
        Some(named) => named,
        None => reference(name.registry(), name.repository(), name)?,
    };
    let mut image = Image::docker(logical, None);
    let kinds: BTreeSet<_> = {
        let (_, list) = policy.requirements(&image.transport, &image.scopes);
        list.iter().map(Requirement::kind).collect()
    };
    // What is refused whatever it is needs no connection.
    if kinds.contains("reject") && kinds.len() == 1 {
        return Ok((image, Vec::new()));
    }
    let platform = args.source.platform.as_deref().map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|error| {
        Failure::message(Exit::Usage, error).with_hint("write it as OS/ARCH[/VARIANT]")
    })?;
    let client = image::client(context, &args.source)?;
    let (place, found) = client.find(name, MANIFEST_BYTES_MAX, None).map_err(failure)?;
    let digest = instance(&found, platform.as_ref())?;
    if digest != found.descriptor.digest {
        let index = found.descriptor.digest;
        context.terminal.progress(&format!("{digest} of the index {index} is what must be signed"));
    }
    image.digest = Some(digest);
    let remote = Remote {
        physical: reference(&place.host, &place.repository, name)?,
        registries: registries(context, args)?,
        client,
        place,
        digest,
    };
    let mut notes = Vec::new();
    if kinds.contains("signedBy") {
        image.signatures.extend(remote.lookaside(context, args, &mut notes)?);
    }
    if kinds.contains("sigstoreSigned") {
        if remote.registries.uses_attachments(&remote.physical) {
            image.signatures.extend(remote.cosign()?);
        } else {
            notes.push(format!(
                "signatures beside the image are not looked at: registries.d does not say \
                 `use-sigstore-attachments: true` of `{}`",
                remote.physical.name()
            ));
        }
    }
    Ok((image, notes))
}

/// A name in the form of containers/image: a digest counts instead of a tag.
fn reference(host: &str, repository: &str, name: &Name) -> Result<Reference, Failure> {
    let separator = if name.digest().is_some() { '@' } else { ':' };
    let text = format!("{host}/{repository}{separator}{}", name.selector());
    Reference::parse(&text).or_exit(Exit::Usage)
}

/// What must be signed: the manifest, or that of an index for the platform.
fn instance(found: &Found, platform: Option<&Platform>) -> Result<Digest, Failure> {
    let digest = found.descriptor.digest;
    let media_type = found.descriptor.media_type.as_str();
    if !matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json"
    ) {
        return Ok(digest);
    }
    let chosen = manifest_for(&found.bytes, &digest.to_string(), platform);
    chosen.map(|it| it.digest).or_exit(Exit::Incomplete)
}

/// What `registries.d` says; a folder of the user stands for that of the machine.
fn registries(context: &Context<'_>, args: &cli::Verify) -> Result<RegistriesD, Failure> {
    let folder = args.registries_d.clone().unwrap_or_else(|| {
        let home = context.environment.home.iter();
        let mut of_user = home.map(|home| home.join(".config/containers/registries.d"));
        let of_user = of_user.find(|folder| folder.is_dir());
        of_user.unwrap_or_else(|| PathBuf::from("/etc/containers/registries.d"))
    });
    let told = |problems: &[palisade_base::Diagnostic]| {
        for problem in problems {
            context.terminal.error(&problem.to_string());
        }
    };
    match RegistriesD::read(&folder) {
        Ok((registries, warnings)) => {
            told(&warnings);
            Ok(registries)
        }
        Err(problems) => {
            told(&problems);
            let what = format!("`{}` is not usable", folder.display());
            Err(Failure::message(Exit::Usage, what)
                .with_hint("correct it: until then it is not known where signatures are"))
        }
    }
}

/// An image in the place that gave it.
struct Remote {
    client: Arc<Client>,
    place: Place,
    /// What it is called there.
    physical: Reference,
    registries: RegistriesD,
    digest: Digest,
}

impl Remote {
    /// Signatures of GPG: in a folder beside the registry.
    fn lookaside(
        &self,
        context: &Context<'_>,
        args: &cli::Verify,
        notes: &mut Vec<String>,
    ) -> Result<Vec<StoredSignature>, Failure> {
        let base = match self.registries.lookaside(&self.physical) {
            Some(base) => base.clone(),
            None => LookasideBase::Folder(usual_folder(context)),
        };
        if args.offline && !self.is_own(&base) {
            notes.push(format!("`{base}` was not looked up, because of --offline"));
            return Ok(Vec::new());
        }
        let found =
            containers::numbered(|n| match base.signature(&self.physical, &self.digest, n) {
                LookasideFile::Path(path) => containers::read(&path, SIGNATURE_BYTES_MAX),
                LookasideFile::Url(url) => {
                    let what = format!("signature {n} of {}", self.digest);
                    self.client.public_file(&url, &what, SIGNATURE_BYTES_MAX).map_err(failure)
                }
            })?;
        if found.is_empty() {
            notes.push(format!("there is none in `{base}`, by registries.d or as usual"));
        }
        Ok(found)
    }

    /// Whether no host but the registry's is asked.
    fn is_own(&self, base: &LookasideBase) -> bool {
        match base {
            LookasideBase::Folder(_) => true,
            LookasideBase::Url(url) => {
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                rest.split('/').next().is_some_and(|it| it.eq_ignore_ascii_case(&self.place.host))
            }
        }
    }

    /// Signatures of cosign's, under the tag that names the image.
    fn cosign(&self) -> Result<Vec<StoredSignature>, Failure> {
        #[derive(Deserialize)]
        struct Manifest {
            #[serde(default)]
            layers: Vec<Layer>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Layer {
            media_type: String,
            digest: Digest,
            size: u64,
            #[serde(default)]
            annotations: Map<String, Value>,
        }
        let tag = format!("sha256-{}.sig", self.digest.hex());
        let Some(found) = self.client.tagged(&self.place, &tag).map_err(failure)? else {
            return Ok(Vec::new());
        };
        let manifest: Manifest = serde_json::from_slice(&found.bytes).map_err(|error| {
            Failure::message(
                Exit::Refused,
                format!("the manifest under `{tag}` is malformed: {error}"),
            )
            .with_hint("have the image signed again")
        })?;
        let blobs = self.client.blobs(self.place.clone(), &BlobOptions::default());
        let mut all = Vec::new();
        for layer in manifest.layers.iter().take(SIGNATURES_MAX) {
            if layer.size > PAYLOAD_BYTES_MAX {
                continue;
            }
            let mut payload = Vec::new();
            let read = blobs.open_blob(layer.digest, Some(layer.size)).map_err(io::Error::from);
            let read = read
                .and_then(|(reader, _)| reader.take(PAYLOAD_BYTES_MAX).read_to_end(&mut payload));
            if let Err(error) = read {
                let registry =
                    SourceError::find(&error).and_then(SourceError::downcast_ref::<RegistryError>);
                // What is not there says nothing, and another signature may.
                if registry.is_some_and(RegistryError::is_not_found) {
                    continue;
                }
                let exit = registry.map_or(Exit::Network, verify::exit_of);
                let what = format!("read signature `{}`: {error}", layer.digest);
                return Err(Failure::message(exit, what).with_hint(verify::TRY_AGAIN));
            }
            if Digest::of(&payload) == layer.digest {
                let Layer { media_type, annotations, .. } = layer;
                all.push(StoredSignature::from_layer(media_type, &payload, annotations));
            }
        }
        Ok(all)
    }
}

/// Where containers/image looks where nothing is said.
fn usual_folder(context: &Context<'_>) -> PathBuf {
    match &context.environment.home {
        Some(home) if !rustix::process::geteuid().is_root() => {
            home.join(".local/share/containers/sigstore")
        }
        _ => PathBuf::from("/var/lib/containers/sigstore"),
    }
}

fn failure(error: RegistryError) -> Failure {
    let exit = verify::exit_of(&error);
    let failure = Failure::from_explained(error, exit);
    if exit == Exit::Network { failure.or_hint(verify::TRY_AGAIN) } else { failure }
}
