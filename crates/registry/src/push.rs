//! Blobs and manifests into a registry (distribution-spec, "Push").

use std::io::{self, Read};

use palisade_base::Digest;
use palisade_image::SourceError;
use ureq::http::Method;

use crate::auth::Access;
use crate::client::{Answer, Ask, Body, Client};
use crate::error::RegistryError;
use crate::hosts::Place;
use crate::url;

/// Times that an upload is taken up again.
const ATTEMPTS_MAX: u32 = 5;

/// A blob to push.
pub(crate) struct Upload<'u> {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Opens it from its beginning.
    pub(crate) open: &'u dyn Fn() -> io::Result<Box<dyn Read>>,
    /// A repository of the same registry that may have it already.
    pub(crate) from: Option<&'u str>,
}

impl Client {
    /// Whether a repository has a blob.
    pub(crate) fn has_blob(
        &self,
        place: &Place,
        access: &Access,
        digest: Digest,
    ) -> Result<bool, RegistryError> {
        let ask = Ask::new(Method::HEAD, format!("blobs/{digest}"), format!("blob {digest}"));
        match self.send(place, access, &ask) {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts a blob into a repository, unless it is there: mounted from another repository if
    /// that has it, else sent. `true` when bytes were sent.
    pub(crate) fn push_blob(
        &self,
        place: &Place,
        access: &Access,
        upload: &Upload<'_>,
    ) -> Result<bool, RegistryError> {
        let digest = upload.digest;
        if self.has_blob(place, access, digest)? {
            return Ok(false);
        }
        let what = format!("an upload of blob {digest} to {}", place.repository);
        let mut path = "blobs/uploads/".to_string();
        if let Some(from) = upload.from {
            path = url::with_parameter(&path, "mount", &digest.to_string());
            path = url::with_parameter(&path, "from", from);
        }
        let answer = self.send(place, access, &Ask::new(Method::POST, path, &what))?;
        if answer.status == 201 {
            return Ok(false);
        }
        let mut location = next(&answer, &what)?;
        let mut offset = 0;
        let mut n_attempts = 1;
        while offset < upload.size {
            match self.patch(place, access, upload, &location, offset) {
                Ok(answer) => {
                    location = next(&answer, &what)?;
                    offset = upload.size;
                }
                Err(error) if n_attempts < ATTEMPTS_MAX && is_broken(&error) => {
                    n_attempts += 1;
                    self.settings.observer.waiting(
                        &place.host,
                        self.settings.backoff,
                        &error.to_string(),
                    );
                    std::thread::sleep(self.settings.backoff);
                    (location, offset) = self.upload_state(place, access, &location, &what)?;
                }
                Err(error) => return Err(error),
            }
        }
        let end = url::with_parameter(&location, "digest", &digest.to_string());
        self.send(place, access, &Ask::new(Method::PUT, end, &what))?;
        Ok(true)
    }

    /// Sends a blob from `offset` on.
    fn patch(
        &self,
        place: &Place,
        access: &Access,
        upload: &Upload<'_>,
        location: &str,
        offset: u64,
    ) -> Result<Answer, RegistryError> {
        let open = || -> io::Result<Box<dyn Read>> {
            let mut reader = (upload.open)()?;
            io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
            Ok(reader)
        };
        let length = upload.size - offset;
        let what = format!("an upload of blob {}", upload.digest);
        let mut ask = Ask::new(Method::PATCH, location, what)
            .header("content-type", "application/octet-stream")
            .body(Body::Stream(&open, length));
        if offset > 0 {
            ask = ask.header("content-range", format!("{offset}-{}", upload.size - 1));
        }
        let answer = self.send(place, access, &ask)?;
        self.settings.observer.bytes(length);
        Ok(answer)
    }

    /// How much of an upload a registry has, and where it goes on.
    fn upload_state(
        &self,
        place: &Place,
        access: &Access,
        location: &str,
        what: &str,
    ) -> Result<(String, u64), RegistryError> {
        let answer = self.send(place, access, &Ask::get(location, what))?;
        // `0-99`, or `0-0` for nothing at all.
        let end = answer
            .header("range")
            .map(|text| text.trim_start_matches("bytes="))
            .and_then(|text| text.strip_prefix("0-"))
            .and_then(|text| text.trim().parse::<u64>().ok());
        let offset = match end {
            None | Some(0) => 0,
            Some(last) => last.saturating_add(1),
        };
        let location = match answer.header("location") {
            Some(_) => next(&answer, what)?,
            None => location.to_string(),
        };
        Ok((location, offset))
    }

    /// Puts a manifest or an index into a repository under a tag or its digest. `true` when
    /// the registry knows what it refers to (`OCI-Subject`).
    pub(crate) fn push_manifest(
        &self,
        place: &Place,
        access: &Access,
        selector: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<bool, RegistryError> {
        let what = format!("an upload of manifest {selector} to {}", place.repository);
        let ask = Ask::new(Method::PUT, format!("manifests/{selector}"), what)
            .header("content-type", media_type)
            .body(Body::Bytes(bytes));
        let answer = self.send(place, access, &ask)?;
        Ok(answer.header("oci-subject").is_some())
    }
}

/// Whether an upload can be taken up again after this error.
fn is_broken(error: &RegistryError) -> bool {
    match error {
        // What is to be sent cannot be read: the registry has no part in it.
        RegistryError::Unreachable { source, .. } => !matches!(
            &**source,
            ureq::Error::Io(io) if SourceError::find(io).is_some()
        ),
        RegistryError::Status { status, .. } => matches!(status, 408 | 416 | 429 | 500..=599),
        _ => false,
    }
}

/// Where an upload goes on.
fn next(answer: &Answer, what: &str) -> Result<String, RegistryError> {
    let location = answer.header("location").unwrap_or_default();
    url::join(&answer.url, location).ok_or_else(|| RegistryError::BadAnswer {
        host: answer.host.clone(),
        what: what.into(),
        problem: "no place to go on".into(),
    })
}
