//! Signatures and attestations into a registry, beside what they are about.
//!
//! A registry that knows referrers (it answers with `OCI-Subject`) lists them itself. For
//! others the list is an index under the tag `sha256-<hex>` (distribution-spec, "Referrers
//! Tag Schema"), which every signer reads, changes and writes. The specification has no way
//! to make that atomic; so the write is conditional where the registry gives an `ETag`, and
//! in any case the list is read again afterwards, for a while, and what got lost is added
//! again.

use std::time::Duration;

use palisade_base::Digest;
use palisade_image::Descriptor;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::auth::Access;
use crate::client::{Ask, Body, Client};
use crate::error::RegistryError;
use crate::hosts::Place;
use crate::push::Upload;
use crate::referrers::{REFERRERS_MAX, fallback_tag};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const INDEX_BYTES_MAX: u64 = 4 << 20;
/// Attempts to get an entry into a list that others write too.
const ATTEMPTS_MAX: u32 = 24;
/// Times that the list must show the entry, with a wait before each, before it counts.
const CONFIRMATIONS: u32 = 3;
/// First wait between two looks; later ones are longer, and no two signers' are alike.
const WAIT: Duration = Duration::from_millis(60);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A manifest that refers to another, with what it names.
#[derive(Debug, Clone)]
pub struct Referrer<'r> {
    /// The manifest.
    pub manifest: &'r [u8],
    /// What names it in a list: media type, digest, size, artifact type, annotations.
    pub descriptor: Value,
    /// What it names.
    pub blobs: &'r [(Digest, Vec<u8>)],
}

/// How an attachment is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// The registry lists it.
    ByRegistry,
    /// It stands in the index under the fallback tag.
    ByTag,
}

impl Client {
    /// Where pushes of a reference go: the registry itself, never a mirror.
    pub fn home(reference: &palisade_model::Reference) -> Place {
        Place {
            host: reference.registry().into(),
            repository: reference.repository().into(),
            insecure: false,
            is_mirror: false,
        }
    }

    /// Puts a manifest that refers to `subject` into the repository, with its blobs.
    pub fn attach(
        &self,
        place: &Place,
        subject: Digest,
        referrer: &Referrer<'_>,
    ) -> Result<Listed, RegistryError> {
        let access = Access::Push { from: Vec::new() };
        for (digest, bytes) in referrer.blobs {
            let open = || -> std::io::Result<Box<dyn std::io::Read>> {
                Ok(Box::new(std::io::Cursor::new(bytes.clone())))
            };
            let size = bytes.len() as u64;
            self.push_blob(
                place,
                &access,
                &Upload { digest: *digest, size, open: &open, from: None },
            )?;
        }
        let digest = Digest::of(referrer.manifest);
        let media_type = referrer.descriptor.get("mediaType").and_then(Value::as_str);
        let is_listed = self.push_manifest(
            place,
            &access,
            &digest.to_string(),
            media_type.unwrap_or_default(),
            referrer.manifest,
        )?;
        if is_listed {
            return Ok(Listed::ByRegistry);
        }
        self.add_to_list(place, &access, subject, &referrer.descriptor)?;
        Ok(Listed::ByTag)
    }

    /// The manifest or index under a tag; `None` where there is none.
    pub fn tagged(
        &self,
        place: &Place,
        tag: &str,
    ) -> Result<Option<crate::manifest::Found>, RegistryError> {
        match self.manifest(place, tag, None, INDEX_BYTES_MAX) {
            Ok(found) => Ok(Some(found)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a tagged manifest with its blobs into the repository, in place of what the tag
    /// meant.
    pub fn put_tagged(
        &self,
        place: &Place,
        tag: &str,
        referrer: &Referrer<'_>,
    ) -> Result<(), RegistryError> {
        let access = Access::Push { from: Vec::new() };
        for (digest, bytes) in referrer.blobs {
            let open = || -> std::io::Result<Box<dyn std::io::Read>> {
                Ok(Box::new(std::io::Cursor::new(bytes.clone())))
            };
            let size = bytes.len() as u64;
            self.push_blob(
                place,
                &access,
                &Upload { digest: *digest, size, open: &open, from: None },
            )?;
        }
        let media_type = referrer.descriptor.get("mediaType").and_then(Value::as_str);
        self.push_manifest(place, &access, tag, media_type.unwrap_or_default(), referrer.manifest)?;
        Ok(())
    }

    fn add_to_list(
        &self,
        place: &Place,
        access: &Access,
        subject: Digest,
        entry: &Value,
    ) -> Result<(), RegistryError> {
        let tag = fallback_tag(subject);
        let what = format!("the list of what refers to {subject} in {}", place.repository);
        // Whatever any look showed stays in: who wrote at the same time loses nothing by us.
        let mut known: Vec<Value> = vec![entry.clone()];
        let (mut confirmed, mut wait) = (0, WAIT);
        for _ in 0..ATTEMPTS_MAX {
            let (found, etag) = self.list(place, access, &tag, &what)?;
            let missing = known.iter().any(|one| !contains(&found, one));
            for one in found {
                if !contains(&known, &one) {
                    known.push(one);
                }
            }
            if missing {
                if known.len() > REFERRERS_MAX {
                    return Err(RegistryError::BadAnswer {
                        host: place.host.clone(),
                        what,
                        problem: format!("more than {REFERRERS_MAX} entries"),
                    });
                }
                confirmed = 0;
                self.write_list(place, access, &tag, &what, &known, etag.as_deref())?;
            } else {
                confirmed += 1;
                if confirmed > CONFIRMATIONS {
                    return Ok(());
                }
            }
            std::thread::sleep(uneven(wait));
            wait = (wait * 3 / 2).min(WAIT_MAX);
        }
        Err(RegistryError::BadAnswer {
            host: place.host.clone(),
            what,
            problem: "another list each time: others write it as well; try again".into(),
        })
    }

    /// The list as it is, with its `ETag`; nothing when there is none.
    fn list(
        &self,
        place: &Place,
        access: &Access,
        tag: &str,
        what: &str,
    ) -> Result<(Vec<Value>, Option<String>), RegistryError> {
        let ask = Ask::get(format!("manifests/{tag}"), what).header("accept", INDEX);
        let answer = match self.send(place, access, &ask) {
            Ok(answer) => answer,
            Err(RegistryError::NotFound { .. }) => return Ok((Vec::new(), None)),
            Err(error) => return Err(error),
        };
        let etag = answer.header("etag").map(str::to_string);
        let bytes = answer.read(what, INDEX_BYTES_MAX)?;
        let bad = || RegistryError::BadAnswer {
            host: place.host.clone(),
            what: what.into(),
            problem: "something that is no list".into(),
        };
        // Members that are not known are kept, but each entry must name something.
        let document: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let entries = document.get("manifests").and_then(Value::as_array).ok_or_else(bad)?;
        if entries.iter().any(|one| serde_json::from_value::<Descriptor>(one.clone()).is_err()) {
            return Err(bad());
        }
        Ok((entries.clone(), etag))
    }

    fn write_list(
        &self,
        place: &Place,
        access: &Access,
        tag: &str,
        what: &str,
        entries: &[Value],
        etag: Option<&str>,
    ) -> Result<(), RegistryError> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        let bytes = index.to_string().into_bytes();
        let mut ask = Ask::new(Method::PUT, format!("manifests/{tag}"), what)
            .header("content-type", INDEX)
            .body(Body::Bytes(&bytes));
        if let Some(etag) = etag {
            ask = ask.header("if-match", etag);
        }
        match self.send(place, access, &ask) {
            // Somebody was faster: the next look shows what they wrote.
            Ok(_) | Err(RegistryError::Status { status: 409 | 412, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn contains(list: &[Value], entry: &Value) -> bool {
    list.iter().any(|one| one.get("digest") == entry.get("digest"))
}

/// About that long: between half and one and a half times.
fn uneven(wait: Duration) -> Duration {
    // Each hasher has keys of its own, which is randomness enough for a wait.
    use std::hash::{BuildHasher as _, RandomState};
    let part = RandomState::new().hash_one(wait.as_nanos()) % 1000;
    wait / 2 + wait.mul_f64(part as f64 / 1000.0)
}
