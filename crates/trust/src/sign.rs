//! Sign an image of a layout, and store the signature beside it.
//!
//! The content is checked first: a signature over a damaged image would only make the
//! damage look genuine. What is stored is complete before `index.json` names it, and
//! `index.json` is replaced whole, under a lock, so that concurrent signers lose nothing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::fs::write_atomic;
use palisade_base::{Digest, Explain};
use serde_json::{Value, json};

use crate::attach::{Attachment, Documents, MEDIA_TYPE_EMPTY, Subject};
use crate::bundle;
use crate::content::{
    Checked, Content, ContentError, DESCRIPTORS_MAX, DOCUMENT_BYTES_MAX, Descriptor,
    MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST,
};
use crate::json::{self, JsonError};
use crate::key::{KeyError, PrivateKey};
use crate::{simple, statement};

/// How long a signer waits for another one to finish, unless told otherwise.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(20);
const MEDIA_TYPE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Which signatures are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOptions {
    /// Also write cosign's older form, for verifiers that know nothing else; the text is
    /// the reference by which the image is published: `registry.example/app`.
    pub simple_reference: Option<String>,
    /// How long to wait for another process that changes the layout.
    pub lock_wait_max: Duration,
}

impl Default for SignOptions {
    fn default() -> Self {
        Self { simple_reference: None, lock_wait_max: LOCK_WAIT_MAX }
    }
}

/// A signed image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What was signed: the image's manifest or index.
    pub digest: Digest,
    /// The manifest that refers to it and carries the bundle.
    pub referrer: Digest,
    /// Whether the layout held the very same signature before.
    pub already: bool,
    /// Content that was checked before signing.
    pub content: Checked,
}

/// Why an image was not signed. The layout is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The layout or the image in it is damaged.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file of the layout cannot be written.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process holds the layout.
    #[error("layout `{}` is locked by another process", path.display())]
    Locked {
        /// The layout.
        path: PathBuf,
    },
    /// The index has no room for another entry.
    #[error("the layout has {DESCRIPTORS_MAX} entries already")]
    Full,
}

impl Explain for SignError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Content(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Locked { .. } => Some("wait for the other process and try again".into()),
            Self::Write { .. } => Some("check that the folder may be written".into()),
            Self::Full => Some("remove signatures that nobody needs".into()),
        }
    }
}

/// The image that `selector` (a tag or a digest) names in the layout `folder`, after a check
/// of its whole content.
pub fn subject_in_layout(
    folder: &Path,
    selector: Option<&str>,
) -> Result<(Subject, Checked), SignError> {
    let content = Content::open(folder)?;
    let image = content.select(selector)?.clone();
    let (checked, _) = content.check_image(&image)?;
    let Descriptor { media_type, digest, size, .. } = image;
    Ok((Subject { media_type, digest, size }, checked))
}

/// What was attached to an image in a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The manifest that refers to the image.
    pub referrer: Digest,
    /// Whether the layout held the very same before.
    pub already: bool,
}

/// Stores an attachment of `subject` in the layout `folder`.
pub fn attach_to_layout(
    folder: &Path,
    subject: &Subject,
    attachment: &Attachment,
    lock_wait_max: Duration,
) -> Result<Attached, SignError> {
    let store = Store { folder };
    let _lock = store.lock(lock_wait_max)?;
    let mut index = store.read_index()?;
    let attached = store.attach(&mut index, subject, attachment)?;
    store.write_index(&index)?;
    Ok(attached)
}

/// Signs the image that `selector` (a tag or a digest) names in the layout `folder`.
///
/// Signing again with the same key changes nothing: signatures are deterministic.
pub fn sign_image(
    folder: &Path,
    selector: Option<&str>,
    key: &PrivateKey,
    options: &SignOptions,
) -> Result<Signed, SignError> {
    let (subject, content) = subject_in_layout(folder, selector)?;
    let payload = statement::image_signature(&subject.digest);
    let bundle = bundle::sign_envelope(key, statement::PAYLOAD_TYPE, &payload)?;
    let attachment = Attachment::bundle(bundle, statement::PREDICATE_TYPE);

    let store = Store { folder };
    let _lock = store.lock(options.lock_wait_max)?;
    let mut index = store.read_index()?;
    let attached = store.attach(&mut index, &subject, &attachment)?;
    if let Some(reference) = &options.simple_reference {
        store.add_simple(&mut index, &subject.digest, key, reference)?;
    }
    store.write_index(&index)?;
    let Attached { referrer, already } = attached;
    Ok(Signed { digest: subject.digest, referrer, already, content })
}

/// A layout that is written.
struct Store<'f> {
    folder: &'f Path,
}

impl Store<'_> {
    /// Holds the layout against other writers until the file is dropped.
    ///
    /// The lock is `flock(2)` on the folder, the same as that of crate `image`.
    fn lock(&self, wait_max: Duration) -> Result<File, SignError> {
        let path = self.folder.to_path_buf();
        let write = |source| SignError::Write { path: path.clone(), source };
        let file = File::open(&path).map_err(write)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::Error(source)) => return Err(write(source)),
                Err(std::fs::TryLockError::WouldBlock) if start.elapsed() > wait_max => {
                    return Err(SignError::Locked { path: self.folder.to_path_buf() });
                }
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
            }
        }
    }

    /// Stores a blob and gives its descriptor.
    fn blob(&self, bytes: &[u8], media_type: &str) -> Result<Value, SignError> {
        let digest = Digest::of(bytes);
        let path = self.folder.join("blobs/sha256").join(digest.hex());
        // What is there under the name may be damaged; it is cheaper to write than to ask.
        write_atomic(&path, bytes, 0o644).map_err(|source| SignError::Write { path, source })?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }

    fn document(&self, document: &Value, media_type: &str) -> Result<Value, SignError> {
        self.blob(document.to_string().as_bytes(), media_type)
    }

    /// Stores an attachment and names it in `index`.
    fn attach(
        &self,
        index: &mut Value,
        subject: &Subject,
        attachment: &Attachment,
    ) -> Result<Attached, SignError> {
        let documents = attachment.documents(subject);
        for (_, bytes) in &documents.blobs {
            self.blob(bytes, MEDIA_TYPE_EMPTY)?;
        }
        self.blob(&documents.manifest, MEDIA_TYPE_MANIFEST)?;
        let already = !add(index, &documents.descriptor)?;
        self.add_to_fallback(index, &subject.digest, &documents.descriptor)?;
        Ok(Attached { referrer: Digest::of(&documents.manifest), already })
    }

    /// The index as it is, with every field that this program does not know.
    fn read_index(&self) -> Result<Value, SignError> {
        // Opening checks it whole.
        Content::open(self.folder)?;
        let path = self.folder.join("index.json");
        let read = |source| ContentError::NotALayout { path: self.folder.to_path_buf(), source };
        let file = File::open(&path).map_err(read)?;
        let bytes = palisade_base::read_bounded(file, "index", DOCUMENT_BYTES_MAX).map_err(read)?;
        json::parse(&bytes, DOCUMENT_BYTES_MAX).map_err(|source| malformed("index.json", source))
    }

    fn write_index(&self, index: &Value) -> Result<(), SignError> {
        let path = self.folder.join("index.json");
        write_atomic(&path, index.to_string().as_bytes(), 0o644)
            .map_err(|source| SignError::Write { path, source })
    }

    /// The document under `tag`, if the layout has one.
    fn tagged(&self, index: &Value, tag: &str) -> Result<Option<Value>, SignError> {
        let Some(entry) = entries(index).iter().find(|entry| ref_name(entry) == Some(tag)) else {
            return Ok(None);
        };
        let named: Descriptor = serde_json::from_value(entry.clone())
            .map_err(|error| malformed(tag, JsonError::Malformed(error.to_string())))?;
        let bytes = Content::open(self.folder)?.blob(
            "manifest",
            &named,
            DOCUMENT_BYTES_MAX,
            &mut Checked::default(),
        )?;
        json::parse(&bytes, DOCUMENT_BYTES_MAX).map(Some).map_err(|source| malformed(tag, source))
    }

    /// Puts a document under `tag` in place of what stood there. The old blob stays: a
    /// reader may be at it, and a collector of garbage finds it.
    fn tag(
        &self,
        index: &mut Value,
        tag: &str,
        document: &Value,
        media_type: &str,
    ) -> Result<(), SignError> {
        let mut descriptor = self.document(document, media_type)?;
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        if let Some(Value::Array(all)) = index.get_mut("manifests") {
            all.retain(|entry| ref_name(entry) != Some(tag));
        }
        add(index, &descriptor).map(|_| ())
    }

    /// Adds to the index under the tag `sha256-<hex>`, which stands for the referrers
    /// interface where a registry has none (distribution-spec, "Referrers Tag Schema").
    fn add_to_fallback(
        &self,
        index: &mut Value,
        image: &Digest,
        referrer: &Value,
    ) -> Result<(), SignError> {
        let tag = format!("sha256-{}", image.hex());
        let mut fallback = self.tagged(index, &tag)?.unwrap_or_else(
            || json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": []}),
        );
        add(&mut fallback, referrer)?;
        self.tag(index, &tag, &fallback, MEDIA_TYPE_INDEX)
    }

    /// Adds a signature of cosign's older form.
    fn add_simple(
        &self,
        index: &mut Value,
        image: &Digest,
        key: &PrivateKey,
        reference: &str,
    ) -> Result<(), SignError> {
        let tag = simple::tag(image);
        let before = self.tagged(index, &tag)?.map(|document| document.to_string());
        let before = before.as_ref().map(String::as_bytes);
        let Some(documents) = simple_documents(image, key, reference, before)? else {
            return Ok(());
        };
        for (_, bytes) in &documents.blobs {
            self.blob(bytes, simple::MEDIA_TYPE)?;
        }
        let manifest: Value = json::parse(&documents.manifest, DOCUMENT_BYTES_MAX)
            .map_err(|source| malformed(&tag, source))?;
        self.tag(index, &tag, &manifest, MEDIA_TYPE_MANIFEST)
    }
}

/// A signature of cosign's older form, added to those in the manifest `before`, which stands
/// under the tag `sha256-<hex>.sig`. `None`: it has the very same already.
pub fn simple_documents(
    image: &Digest,
    key: &PrivateKey,
    reference: &str,
    before: Option<&[u8]>,
) -> Result<Option<Documents>, SignError> {
    let payload = simple::payload(image, reference);
    let signature = STANDARD.encode(key.sign(&Digest::of(&payload))?);
    let mut layer = describe(&payload, simple::MEDIA_TYPE);
    layer["annotations"] = json!({simple::ANNOTATION_SIGNATURE: signature});
    let mut layers = match before {
        None => Vec::new(),
        Some(bytes) => {
            let manifest: Value = json::parse(bytes, DOCUMENT_BYTES_MAX)
                .map_err(|source| malformed(&simple::tag(image), source))?;
            manifest["layers"].as_array().cloned().unwrap_or_default()
        }
    };
    if layers.contains(&layer) {
        return Ok(None);
    }
    if layers.len() >= DESCRIPTORS_MAX {
        return Err(SignError::Full);
    }
    layers.push(layer);
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let config = json!({
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE_MANIFEST,
        "config": describe(&config, MEDIA_TYPE_CONFIG),
        "layers": layers,
    })
    .to_string()
    .into_bytes();
    let descriptor = describe(&manifest, MEDIA_TYPE_MANIFEST);
    let blobs = vec![(Digest::of(&config), config), (Digest::of(&payload), payload)];
    Ok(Some(Documents { manifest, descriptor, blobs }))
}

fn describe(bytes: &[u8], media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

fn malformed(what: &str, source: JsonError) -> SignError {
    ContentError::Malformed { what: what.to_string(), source }.into()
}

fn entries(index: &Value) -> &[Value] {
    index.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get("org.opencontainers.image.ref.name")?.as_str()
}

/// Adds a descriptor to an index; says whether it was not there before.
fn add(index: &mut Value, descriptor: &Value) -> Result<bool, SignError> {
    let Some(Value::Array(all)) = index.get_mut("manifests") else {
        let why = JsonError::Malformed("it has no `manifests`".into());
        return Err(malformed("index", why));
    };
    let same = |entry: &Value| {
        entry.get("digest") == descriptor.get("digest") && ref_name(entry) == ref_name(descriptor)
    };
    if all.iter().any(same) {
        return Ok(false);
    }
    if all.len() >= DESCRIPTORS_MAX {
        return Err(SignError::Full);
    }
    all.push(descriptor.clone());
    Ok(true)
}
