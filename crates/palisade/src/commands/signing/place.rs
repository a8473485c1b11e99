//! Where an image is that is signed, and where what refers to it goes.

use std::path::PathBuf;
use std::sync::Arc;

use palisade_base::Digest;
use palisade_model::{Reference, Target};
use palisade_registry::{Client, Referrer};
use palisade_trust::attach::{
    Attached, Attachment, Documents, Subject, attach_to_layout, subject_in_layout,
};
use palisade_trust::{
    Checked, LOCK_WAIT_MAX, PrivateKey, SignOptions, sign_image, simple_documents,
};

use super::super::Context;
use super::super::image::client;
use crate::cli::ImageSource;
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest manifest or index.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// An image that is signed.
pub(super) struct Image {
    pub(super) subject: Subject,
    checked: Option<Checked>,
    place: Place,
}

enum Place {
    Layout { folder: PathBuf, selector: Option<String> },
    Registry { client: Arc<Client>, reference: Reference },
}

impl Image {
    /// Finds what `target` names. In a layout, its whole content is checked; in a registry,
    /// its manifest.
    pub(super) fn open(
        context: &Context<'_>,
        target: &str,
        plain_http: &[String],
    ) -> Result<Self, Failure> {
        match target.parse::<Target>().or_exit(Exit::Usage)? {
            Target::Layout { folder, selector } => {
                let (subject, checked) = subject_in_layout(&folder, selector.as_deref())
                    .or_exit(Exit::Incomplete)?;
                let place = Place::Layout { folder, selector };
                Ok(Self { subject, checked: Some(checked), place })
            }
            Target::Registry(reference) | Target::Anywhere(reference) => {
                let source =
                    ImageSource { plain_http: plain_http.to_vec(), ..ImageSource::default() };
                let client = client(context, &source)?;
                let (_, found) =
                    client.find(&reference, MANIFEST_BYTES_MAX, None).or_exit(Exit::Incomplete)?;
                let subject = Subject {
                    media_type: found.descriptor.media_type,
                    digest: found.descriptor.digest,
                    size: found.descriptor.size,
                };
                Ok(Self { subject, checked: None, place: Place::Registry { client, reference } })
            }
            other => Err(Failure::message(
                Exit::Usage,
                format!("`{other}` cannot hold signatures"),
            )
            .with_hint(
                "signatures lie beside the image in an OCI layout or a registry: oci:DIR[:TAG], NAME",
            )),
        }
    }

    /// What the image is called in its registry: `HOST/REPOSITORY`.
    pub(super) fn name(&self) -> Option<String> {
        match &self.place {
            Place::Layout { .. } => None,
            Place::Registry { reference, .. } => {
                Some(format!("{}/{}", reference.registry(), reference.repository()))
            }
        }
    }

    /// The reference under which it was named, with its tag.
    pub(super) fn reference(&self) -> Option<&Reference> {
        match &self.place {
            Place::Layout { .. } => None,
            Place::Registry { reference, .. } => Some(reference),
        }
    }

    /// What was read of it.
    pub(super) fn checked(&self) -> String {
        match self.checked {
            Some(checked) => {
                format!("{} blobs, {} bytes checked", checked.n_blobs, checked.n_bytes)
            }
            None => format!("manifest of {} bytes checked", self.subject.size),
        }
    }

    /// Attaches something to it.
    pub(super) fn attach(&self, attachment: &Attachment) -> Result<Attached, Failure> {
        match &self.place {
            Place::Layout { folder, .. } => {
                attach_to_layout(folder, &self.subject, attachment, LOCK_WAIT_MAX)
                    .or_exit(Exit::Incomplete)
            }
            Place::Registry { client, reference } => {
                let place = Client::home(reference);
                let documents = attachment.documents(&self.subject);
                let digest = Digest::of(&documents.manifest);
                let before = client
                    .referrers(&place, self.subject.digest, None)
                    .or_exit(Exit::Incomplete)?;
                let already = before.iter().any(|one| one.digest == digest);
                if !already {
                    client
                        .attach(&place, self.subject.digest, &referrer(&documents))
                        .or_exit(Exit::Incomplete)?;
                }
                Ok(Attached { referrer: digest, already })
            }
        }
    }

    /// Signs in cosign's older form as well.
    pub(super) fn attach_simple(
        &self,
        context: &Context<'_>,
        key: &PrivateKey,
        name: &str,
    ) -> Result<(), Failure> {
        match &self.place {
            Place::Layout { folder, selector } => {
                let options = SignOptions {
                    simple_reference: Some(name.to_string()),
                    ..SignOptions::default()
                };
                sign_image(folder, selector.as_deref(), key, &options)
                    .or_exit(Exit::Incomplete)
                    .map(|_| ())
            }
            Place::Registry { client, reference } => {
                let place = Client::home(reference);
                let tag = format!("sha256-{}.sig", self.subject.digest.hex());
                let before = client.tagged(&place, &tag).or_exit(Exit::Incomplete)?;
                let made = simple_documents(
                    &self.subject.digest,
                    key,
                    name,
                    before.as_ref().map(|found| found.bytes.as_slice()),
                )
                .or_exit(Exit::Incomplete)?;
                let Some(documents) = made else {
                    context.terminal.progress("the older form is there already");
                    return Ok(());
                };
                client.put_tagged(&place, &tag, &referrer(&documents)).or_exit(Exit::Incomplete)
            }
        }
    }
}

fn referrer(documents: &Documents) -> Referrer<'_> {
    Referrer {
        manifest: &documents.manifest,
        descriptor: documents.descriptor.clone(),
        blobs: &documents.blobs,
    }
}
