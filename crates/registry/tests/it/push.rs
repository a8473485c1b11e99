//! Images into registries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use palisade_base::Digest;
use palisade_image::Descriptor;
use palisade_model::Reference;
use palisade_registry::{CopySource, Found, Place};
use serde_json::json;

use crate::server::{Reply, Request, Server, reply};
use crate::support::{Sample, client, files, open, partial, sample, sample_files};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry that keeps what it is given.
#[derive(Default)]
pub(crate) struct Kept {
    /// By `REPOSITORY/blobs/DIGEST` and `REPOSITORY/manifests/SELECTOR`.
    content: HashMap<String, (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    /// Breaks off the first upload after so many bytes.
    break_after: Option<usize>,
    knows_referrers: bool,
}

impl Kept {
    fn answer(&mut self, request: &Request) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path = path.trim_start_matches("/v2/").to_string();
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        match request.method.as_str() {
            "POST" => {
                if let (Some(digest), Some(from)) = (parameter("mount"), parameter("from"))
                    && let Some(found) =
                        self.content.get(&format!("{from}/blobs/{digest}")).cloned()
                {
                    let repository = path.trim_end_matches("/blobs/uploads/");
                    self.content.insert(format!("{repository}/blobs/{digest}"), found);
                    return reply(201);
                }
                self.uploads.insert(path.clone(), Vec::new());
                reply(202).header("location", format!("/v2/{path}?state=1"))
            }
            "PATCH" => {
                let upload = self.uploads.get_mut(&path).unwrap();
                if let Some(n) = self.break_after.take() {
                    upload.extend_from_slice(&request.body[..n]);
                    return Reply::raw("");
                }
                let from = request
                    .header("content-range")
                    .map_or(0, |range| range.split('-').next().unwrap().parse::<usize>().unwrap());
                assert_eq!(from, upload.len(), "an upload goes on where it was");
                upload.extend_from_slice(&request.body);
                reply(202).header("location", format!("/v2/{path}?state=2"))
            }
            "PUT" if path.contains("/blobs/uploads/") => {
                let digest = parameter("digest").unwrap();
                let bytes = self.uploads.remove(&path).unwrap();
                if Digest::of(&bytes).to_string() != digest {
                    return reply(400);
                }
                let name = path.replace("uploads/", digest);
                self.content.insert(name, (String::new(), bytes));
                reply(201)
            }
            "PUT" => {
                let kind = request.header("content-type").unwrap().to_string();
                let (repository, _) = path.split_once("/manifests/").unwrap();
                let digest = Digest::of(&request.body);
                let by_digest = format!("{repository}/manifests/{digest}");
                self.content.insert(by_digest, (kind.clone(), request.body.clone()));
                self.content.insert(path, (kind, request.body.clone()));
                let is_referrer = String::from_utf8_lossy(&request.body).contains("\"subject\"");
                let done = reply(201);
                if is_referrer && self.knows_referrers {
                    done.header("oci-subject", "x")
                } else {
                    done
                }
            }
            _ if path.contains("/blobs/uploads/") => {
                let n = self.uploads[&path].len();
                reply(204).header("range", format!("0-{}", n.max(1) - 1))
            }
            _ => match self.content.get(&path) {
                Some((kind, bytes)) => partial(bytes, None).header("content-type", kind),
                None => reply(404),
            },
        }
    }
}

pub(crate) fn keeping(kept: Kept) -> (Server, Arc<Mutex<Kept>>) {
    let kept = Arc::new(Mutex::new(kept));
    let shared = Arc::clone(&kept);
    (Server::start(move |request| shared.lock().unwrap().answer(request)), kept)
}

pub(crate) fn root(sample: &Sample) -> Found {
    let bytes = sample.blob(sample.manifest.digest).unwrap();
    Found { descriptor: sample.manifest.clone(), bytes }
}

/// Stores a signature of the sample in its layout.
fn sign(sample: &Sample) -> Descriptor {
    let layout = sample.layout();
    let config = layout.add_blob("application/vnd.oci.empty.v1+json", b"{}").unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "test/signature",
        "config": config, "layers": [config], "subject": sample.manifest,
    })
    .to_string();
    let mut entry = Descriptor::of(MANIFEST, manifest.as_bytes());
    entry.artifact_type = Some("test/signature".into());
    layout.add_manifest(None, entry.clone(), manifest.as_bytes()).unwrap();
    entry
}

pub(crate) fn place(host: &str, repository: &str) -> Place {
    Place { host: host.into(), repository: repository.into(), insecure: false, is_mirror: false }
}

#[test]
fn an_image_is_copied_with_what_refers_to_it() {
    for knows_referrers in [true, false] {
        let sample = sample();
        let signature = sign(&sample);
        let (server, _) = keeping(Kept { knows_referrers, ..Kept::default() });
        let to: Reference = format!("{}/team/shop:1.0", server.host()).parse().unwrap();
        let layout = sample.layout();
        let from = CopySource::Blobs { source: &layout, referrers: vec![signature.clone()] };
        let client = client();
        let copied = client.copy(&from, &root(&sample), &to).unwrap();
        assert_eq!((copied.n_documents, copied.n_referrers, copied.n_blobs), (2, 1, 4));
        assert_eq!(files(&open(&client, &to.to_string()).unwrap()), sample_files());
        let last = server.asked().into_iter().rfind(|asked| asked.starts_with("PUT")).unwrap();
        assert_eq!(last, "PUT /v2/team/shop/manifests/1.0");
        if !knows_referrers {
            let place = place(&server.host(), "team/shop");
            let found = client.referrers(&place, sample.manifest.digest, None).unwrap();
            assert_eq!(found, std::slice::from_ref(&signature));
            let other = client.referrers(&place, sample.manifest.digest, Some("x")).unwrap();
            assert!(other.is_empty());
        }
        // Again: nothing is sent a second time.
        let again = client.copy(&from, &root(&sample), &to).unwrap();
        assert_eq!((again.n_blobs, again.n_bytes), (0, 0));
    }
}

#[test]
fn within_a_registry_blobs_are_mounted() {
    let sample = sample();
    let (server, _) = keeping(Kept::default());
    let client = client();
    let name = |name: &str| format!("{}/{name}", server.host()).parse::<Reference>().unwrap();
    let layout = sample.layout();
    let from = CopySource::Blobs { source: &layout, referrers: Vec::new() };
    client.copy(&from, &root(&sample), &name("staging/shop:1")).unwrap();
    let n_before = server.asked().len();
    let from = place(&server.host(), "staging/shop");
    let copied =
        client.copy(&CopySource::Registry(&from), &root(&sample), &name("prod/shop:1")).unwrap();
    assert_eq!(copied.n_blobs, 0);
    let asked = server.asked();
    assert!(!asked[n_before..].iter().any(|asked| asked.starts_with("PATCH")));
    assert_eq!(files(&open(&client, &name("prod/shop:1").to_string()).unwrap()), sample_files());
}

#[test]
fn a_broken_upload_goes_on_where_it_was() {
    let sample = sample();
    let (server, kept) = keeping(Kept::default());
    let layout = sample.layout();
    let from = CopySource::Blobs { source: &layout, referrers: Vec::new() };
    let to: Reference = format!("{}/shop:1", server.host()).parse().unwrap();
    // The configuration, which is sent first, has more than ten bytes.
    kept.lock().unwrap().break_after = Some(10);
    let client = client();
    let copied = client.copy(&from, &root(&sample), &to).unwrap();
    assert_eq!(copied.n_blobs, 3);
    let resumed = server.requests().iter().any(|request| {
        request.header("content-range").is_some_and(|range| range.starts_with("10-"))
    });
    assert!(resumed);
    assert_eq!(files(&open(&client, &to.to_string()).unwrap()), sample_files());
}
