//! Images out of honest registries, over networks that are not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_image::{Descriptor, OpenOptions};
use palisade_registry::{BlobCache, BlobOptions, Client, ClientSettings, Hosts};
use serde_json::json;

use crate::server::{Reply, Server, reply};
use crate::support::{
    INDEX, Reserved, client, files, open, open_with, refused, sample, sample_files, sample_of,
    settings,
};

#[test]
fn an_image_streams_from_a_registry() {
    let sample = Arc::new(sample());
    let served = Arc::clone(&sample);
    let server = Server::start(move |request| served.answer(request));
    let image = open(&client(), &format!("{}/team/shop", server.host())).unwrap();
    assert_eq!(image.manifest_digest, Some(sample.manifest.digest));
    assert_eq!(image.config_digest, Some(sample.config.digest));
    assert_eq!(files(&image), sample_files());
    image.verify_blobs().unwrap();
    let n_blobs = server.asked().iter().filter(|path| path.contains("/blobs/")).count();
    // The configuration, and each layer; the small one is read twice, the large one kept.
    assert_eq!(n_blobs, 4, "{:?}", server.asked());
}

#[test]
fn a_digest_pins_the_image() {
    let sample = Arc::new(sample());
    let served = Arc::clone(&sample);
    let server = Server::start(move |request| served.answer(request));
    let pinned = format!("{}/shop@{}", server.host(), sample.manifest.digest);
    assert_eq!(files(&open(&client(), &pinned).unwrap()), sample_files());
    let other = format!("{}/shop@sha256:{}", server.host(), "0".repeat(64));
    let error = refused(open(&client(), &other));
    assert!(error.contains("has no manifest sha256:0000"), "{error}");
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    let amd64 = Arc::new(sample_of(1 << 20, 1, "linux/amd64"));
    let arm = Arc::new(sample_of(1 << 19, 2, "linux/arm/v7"));
    let entry = |descriptor: &Descriptor, platform: &str| Descriptor {
        platform: Some(platform.parse().unwrap()),
        ..descriptor.clone()
    };
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry(&amd64.manifest, "linux/amd64"), entry(&arm.manifest, "linux/arm/v7")],
    })
    .to_string();
    let (one, other) = (Arc::clone(&amd64), Arc::clone(&arm));
    let server = Server::start(move |request| {
        if request.path.ends_with("/manifests/multi") {
            return reply(200).header("content-type", INDEX).body(index.as_bytes());
        }
        let first = one.answer(request);
        if first.status == 404 { other.answer(request) } else { first }
    });
    let name = format!("{}/shop:multi", server.host());
    let options = |platform: &str| OpenOptions {
        platform: Some(platform.parse().unwrap()),
        ..OpenOptions::default()
    };
    let image =
        open_with(&client(), &name, &BlobOptions::default(), &options("linux/arm")).unwrap();
    assert_eq!(image.manifest_digest, Some(arm.manifest.digest));
    assert_eq!(image.index_digests.len(), 1);
    assert_eq!(files(&image)[1], ("usr/large".into(), 1 << 19));
    let image =
        open_with(&client(), &name, &BlobOptions::default(), &options("linux/amd64")).unwrap();
    assert_eq!(image.manifest_digest, Some(amd64.manifest.digest));
    let error = open_with(&client(), &name, &BlobOptions::default(), &options("linux/s390x"));
    assert!(error.unwrap_err().to_string().contains("linux/s390x"));
}

/// Cuts every answer with the large layer after `n_bytes`.
fn cutting(n_bytes: usize, knows_ranges: bool) -> (Server, Arc<AtomicUsize>) {
    let sample = sample();
    let large = sample.layers[0].digest.to_string();
    let n_asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&n_asked);
    let server = Server::start(move |request| {
        if !request.path.ends_with(&large) {
            return sample.answer(request);
        }
        count.fetch_add(1, Ordering::Relaxed);
        let blob = sample.blob(sample.layers[0].digest).unwrap();
        if !knows_ranges {
            let n = n_bytes * count.load(Ordering::Relaxed);
            let whole = reply(200).body(blob.clone());
            return if n < blob.len() { whole.cut(n) } else { whole };
        }
        let rest = blob.len() - request.range().unwrap_or(0);
        let whole = sample.answer(request);
        if n_bytes < rest { whole.cut(n_bytes) } else { whole }
    });
    (server, n_asked)
}

#[test]
fn a_transfer_goes_on_where_it_broke_off() {
    for knows_ranges in [true, false] {
        let (server, n_asked) = cutting(300_000, knows_ranges);
        let image = open(&client(), &format!("{}/shop", server.host())).unwrap();
        assert_eq!(files(&image), sample_files(), "ranges: {knows_ranges}");
        assert_eq!(n_asked.load(Ordering::Relaxed), 4, "ranges: {knows_ranges}");
    }
}

#[test]
fn a_busy_registry_is_asked_again() {
    let sample = sample();
    let n_asked = AtomicUsize::new(0);
    let server = Server::start(move |request| match n_asked.fetch_add(1, Ordering::Relaxed) {
        0 => reply(429).header("retry-after", "0"),
        1 => reply(503),
        2 => Reply::raw(""),
        _ => sample.answer(request),
    });
    assert_eq!(
        files(&open(&client(), &format!("{}/shop", server.host())).unwrap()),
        sample_files()
    );
}

#[test]
fn a_wait_that_is_too_long_is_an_error() {
    let server = Server::start(|_| {
        reply(429)
            .header("retry-after", "500")
            .body(r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#)
    });
    let began = std::time::Instant::now();
    let result = open(&client(), &format!("{}/shop", server.host()));
    let hint = palisade_base::Explain::hint(result.as_ref().unwrap_err()).unwrap();
    assert!(hint.contains("try again in 500 s"), "{hint}");
    let error = refused(result);
    assert!(error.contains("answered 429"), "{error}");
    assert!(error.contains("TOOMANYREQUESTS: pull rate limit"), "{error}");
    assert_eq!(server.asked().len(), 1);
    assert!(began.elapsed().as_secs() < 100);
}

#[test]
fn a_missing_image_says_who_was_asked() {
    let sample = sample();
    let server = Server::start(move |request| sample.answer(request));
    let error = refused(open(&client(), &format!("{}/shop:1.0", server.host())));
    let expected = format!(
        "`{}` has no manifest 1.0 of shop: MANIFEST_UNKNOWN: manifest unknown",
        server.host()
    );
    assert_eq!(error, expected);
}

#[test]
fn nobody_there_is_an_error_that_names_the_host() {
    let nobody = Reserved::new();
    let host = &nobody.host;
    let error = refused(open(&client(), &format!("{host}/shop")));
    assert!(error.contains(&format!("ask `{host}` for manifest latest of shop")), "{error}");
}

#[test]
fn a_mirror_that_fails_is_passed_over() {
    let sample = Arc::new(sample());
    let broken = Server::start(|_| reply(500));
    let empty = Server::start(|_| reply(404));
    let served = Arc::clone(&sample);
    let good = Server::start(move |request| served.answer(request));
    let mut hosts = Hosts::default();
    let text = format!(
        "[[registry]]\nlocation = \"registry.invalid\"\n\
         [[registry.mirror]]\nlocation = \"{}/hub\"\n[[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}/deep\"\n",
        broken.host(),
        empty.host(),
        good.host()
    );
    hosts.add_registries(&text, Path::new("registries.conf")).unwrap();
    let client = Arc::new(Client::new(ClientSettings { hosts, ..settings() }));
    let image = open(&client, "registry.invalid/team/shop").unwrap();
    assert_eq!(files(&image), sample_files());
    assert_eq!(empty.asked(), ["GET /v2/team/shop/manifests/latest"]);
    assert!(broken.asked().len() > 1, "asked again");
    assert!(good.asked().iter().all(|path| path.contains(" /v2/deep/team/shop/")));
}

#[test]
fn a_cached_image_is_asked_for_and_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = BlobOptions { cache: Some(BlobCache::open(folder.path(), 1 << 30).unwrap()) };
    let sample = Arc::new(sample());
    let served = Arc::clone(&sample);
    let server = Server::start(move |request| served.answer(request));
    let name = format!("{}/shop", server.host());
    let pull = || files(&open_with(&client(), &name, &blobs, &OpenOptions::default()).unwrap());
    assert_eq!(pull(), sample_files());
    let n_first = server.asked().len();
    assert_eq!(pull(), sample_files());
    assert_eq!(server.asked()[n_first..], ["HEAD /v2/shop/manifests/latest"]);

    let large = sample.layers[0].digest;
    let path = folder.path().join(large.to_string().replace("sha256:", ""));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let n_second = server.asked().len();
    assert_eq!(pull(), sample_files());
    let expected =
        ["HEAD /v2/shop/manifests/latest".to_string(), format!("GET /v2/shop/blobs/{large}")];
    assert_eq!(server.asked()[n_second..], expected);
}
