//! Manifests and indexes: found by tag or digest, on mirrors first.

use palisade_base::Digest;
use palisade_image::Descriptor;
use palisade_model::Reference;
use ureq::http::Method;

use crate::auth::Access;
use crate::cache::BlobCache;
use crate::client::{Answer, Ask, Client};
use crate::error::RegistryError;
use crate::hosts::Place;

/// What we understand, best first (distribution-spec, "Pulling manifests").
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest or an index as a registry sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The media type of a document: as it says itself, else as the header says, else by what it
/// has. `None`: neither a manifest nor an index.
pub fn media_type(bytes: &[u8], header: Option<&str>) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let own = json.get("mediaType").and_then(|value| value.as_str());
    let header = header
        .map(|text| text.split(';').next().unwrap_or_default().trim())
        .filter(|text| text.starts_with("application/vnd."));
    let found = match own.or(header) {
        Some(stated) => stated.to_string(),
        None if json.get("manifests").is_some() => INDEX.to_string(),
        None if json.get("layers").is_some() && json.get("config").is_some() => {
            MANIFEST.to_string()
        }
        None => return None,
    };
    Some(found).filter(|text| text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()))
}

impl Client {
    /// The manifest that a name means: on the first mirror that has it, else in the registry
    /// itself. What the registry says of an error counts, not what a mirror said.
    pub fn find(
        &self,
        reference: &Reference,
        limit: u64,
        cache: Option<&BlobCache>,
    ) -> Result<(Place, Found), RegistryError> {
        let places = self.settings.hosts.places(reference).map_err(RegistryError::Blocked)?;
        let mut last = None;
        for place in places {
            if let Some(error) = last.take() {
                self.settings.observer.passed_over(&place.host, &error);
            }
            let found = self.find_at(&place, reference, limit, cache);
            match found {
                Ok(found) => return Ok((place, found)),
                Err(error) if error.may_be_elsewhere() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| RegistryError::Blocked(reference.name())))
    }

    fn find_at(
        &self,
        place: &Place,
        reference: &Reference,
        limit: u64,
        cache: Option<&BlobCache>,
    ) -> Result<Found, RegistryError> {
        let selector = reference.selector();
        if let Some(cache) = cache {
            // Asking which digest a tag has costs nothing where pulls are counted.
            let digest = match reference.digest() {
                Some(digest) => Some(digest),
                None => self.digest_of(place, &selector)?,
            };
            if let Some(digest) = digest
                && let Some(bytes) = cache.read(digest, limit)
                && let Some(media_type) = media_type(&bytes, None)
            {
                return Ok(Found { descriptor: Descriptor::of(&media_type, &bytes), bytes });
            }
        }
        self.manifest(place, &selector, reference.digest(), limit)
    }

    /// The digest of a tag, where the registry tells it without sending the manifest.
    pub(crate) fn digest_of(
        &self,
        place: &Place,
        selector: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        let what = format!("manifest {selector} of {}", place.repository);
        let ask =
            Ask::new(Method::HEAD, format!("manifests/{selector}"), &what).header("accept", ACCEPT);
        match self.send(place, &Access::Pull, &ask) {
            Ok(answer) => Ok(stated_digest(&answer)),
            // Some answer this question with an error and the next one well; and what is wrong
            // is said in an answer with a body alone.
            Err(
                RegistryError::Status { status: 400 | 405 | 501, .. }
                | RegistryError::Unauthorized { .. }
                | RegistryError::NotFound { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fetches a manifest or an index of at most `limit` bytes, and proves its digest where
    /// one is `expected` or stated.
    pub(crate) fn manifest(
        &self,
        place: &Place,
        selector: &str,
        expected: Option<Digest>,
        limit: u64,
    ) -> Result<Found, RegistryError> {
        let what = format!("manifest {selector} of {}", place.repository);
        let ask = Ask::get(format!("manifests/{selector}"), &what).header("accept", ACCEPT);
        let answer = self.send(place, &Access::Pull, &ask)?;
        let stated = stated_digest(&answer);
        let header = answer.header("content-type").map(str::to_string);
        let host = answer.host.clone();
        let bytes = answer.read(&what, limit)?;
        let found = Digest::of(&bytes);
        if let Some(expected) = expected.or(stated)
            && expected != found
        {
            return Err(RegistryError::WrongDigest { host, expected, found });
        }
        let bad = |problem: &str| RegistryError::BadAnswer {
            host: host.clone(),
            what: what.clone(),
            problem: problem.into(),
        };
        let media_type = media_type(&bytes, header.as_deref())
            .ok_or_else(|| bad("something that is no manifest"))?;
        if media_type.starts_with("application/vnd.docker.distribution.manifest.v1") {
            return Err(bad(
                "a manifest of Docker's old schema 1, which proves no layer; push the image again",
            ));
        }
        Ok(Found { descriptor: Descriptor::of(&media_type, &bytes), bytes })
    }
}

/// What the registry says the digest is.
fn stated_digest(answer: &Answer) -> Option<Digest> {
    answer.header("docker-content-digest")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_itself_says_what_it_is() {
        let check = |text: &str, header: Option<&str>, expected: Option<&str>| {
            assert_eq!(media_type(text.as_bytes(), header).as_deref(), expected, "{text}");
        };
        check(r#"{"mediaType":"application/vnd.x"}"#, Some(INDEX), Some("application/vnd.x"));
        check("{}", Some("application/vnd.oci.image.index.v1+json; charset=utf-8"), Some(INDEX));
        check(r#"{"manifests":[]}"#, Some("application/json"), Some(INDEX));
        check(r#"{"layers":[],"config":{}}"#, None, Some(MANIFEST));
        check("{}", None, None);
        check("[", Some(INDEX), None);
        check(r#"{"mediaType":"a b"}"#, None, None);
    }
}
