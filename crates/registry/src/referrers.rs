//! What refers to an image: signatures, attestations, bills of materials
//! (distribution-spec, "Listing Referrers").

use palisade_base::Digest;
use palisade_image::Descriptor;
use serde::Deserialize;

use crate::auth::Access;
use crate::client::{Ask, Client};
use crate::error::RegistryError;
use crate::hosts::Place;
use crate::url;

/// Largest page of a list.
const PAGE_BYTES_MAX: u64 = 4 << 20;
/// Pages of a list.
const PAGES_MAX: usize = 64;
/// Referrers of one image.
pub(crate) const REFERRERS_MAX: usize = 4096;

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// The tag under which registries without the interface list referrers.
pub(crate) fn fallback_tag(digest: Digest) -> String {
    format!("sha256-{}", digest.hex())
}

impl Client {
    /// What refers to `digest` in a place, of all kinds or of one. Registries that do not
    /// know the question are asked for the tag that stands for the list.
    pub fn referrers(
        &self,
        place: &Place,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        Ok(self.referrers_and_whence(place, digest, artifact_type)?.0)
    }

    /// As [`Self::referrers`]; the second part says whether the registry itself lists them.
    pub(crate) fn referrers_and_whence(
        &self,
        place: &Place,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> Result<(Vec<Descriptor>, bool), RegistryError> {
        let what = format!("what refers to {digest} in {}", place.repository);
        let mut path = format!("referrers/{digest}");
        if let Some(kind) = artifact_type {
            path = url::with_parameter(&path, "artifactType", kind);
        }
        let mut all = Vec::new();
        for _ in 0..PAGES_MAX {
            let ask =
                Ask::get(path, &what).header("accept", "application/vnd.oci.image.index.v1+json");
            let answer = match self.send(place, &Access::Pull, &ask) {
                Ok(answer) => answer,
                Err(
                    RegistryError::NotFound { .. }
                    | RegistryError::Status { status: 400 | 405, .. },
                ) if all.is_empty() => {
                    let all = self.tagged_referrers(place, digest, artifact_type, &what)?;
                    return Ok((all, false));
                }
                Err(error) => return Err(error),
            };
            let next = answer.header("link").and_then(|link| next_page(&answer.url, link));
            let host = answer.host.clone();
            let bytes = answer.read(&what, PAGE_BYTES_MAX)?;
            all.extend(parse(&bytes, &host, &what)?);
            match next {
                Some(next) if all.len() < REFERRERS_MAX => path = next,
                _ => break,
            }
        }
        Ok((filtered(all, artifact_type), true))
    }

    pub(crate) fn tagged_referrers(
        &self,
        place: &Place,
        digest: Digest,
        artifact_type: Option<&str>,
        what: &str,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        match self.manifest(place, &fallback_tag(digest), None, PAGE_BYTES_MAX) {
            Ok(found) => Ok(filtered(parse(&found.bytes, &place.host, what)?, artifact_type)),
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn parse(bytes: &[u8], host: &str, what: &str) -> Result<Vec<Descriptor>, RegistryError> {
    let list: List = serde_json::from_slice(bytes).map_err(|_| RegistryError::BadAnswer {
        host: host.into(),
        what: what.into(),
        problem: "something that is no list".into(),
    })?;
    Ok(list.manifests)
}

/// Registries may leave the selection to us.
fn filtered(mut all: Vec<Descriptor>, artifact_type: Option<&str>) -> Vec<Descriptor> {
    if let Some(kind) = artifact_type {
        all.retain(|one| one.artifact_type.as_deref() == Some(kind));
    }
    all.truncate(REFERRERS_MAX);
    all
}

/// The next page of a list (RFC 8288): `<…>; rel="next"`, on the same registry.
fn next_page(url: &str, link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = rest.split(';').any(|part| {
        let part = part.trim().to_ascii_lowercase();
        part == "rel=next" || part == "rel=\"next\""
    });
    let next = url::join(url, target)?;
    let same = url::Origin::of(&next)? == url::Origin::of(url)?;
    (is_next && same).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_on_the_same_registry() {
        let check = |link: &str, expected: Option<&str>| {
            assert_eq!(next_page("https://a.example/v2/x", link).as_deref(), expected, "{link}");
        };
        check("</v2/x?last=1>; rel=\"next\"", Some("https://a.example/v2/x?last=1"));
        check("<?n=1>; title=x; rel=next", Some("https://a.example/v2/x?n=1"));
        check("</v2/x>; rel=\"prev\"", None);
        check("<https://b.example/v2/x>; rel=\"next\"", None);
        check("/v2/x; rel=next", None);
        check("", None);
    }
}
