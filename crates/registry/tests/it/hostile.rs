//! Registries that lie: every answer is bounded, nothing is believed.

use std::sync::Arc;

use palisade_registry::RegistryError;

use crate::server::{Reply, Request, Server, reply};
use crate::support::{Sample, client, files, open, refused, sample, sample_files};

/// A registry that is honest but for the large layer.
fn with_layer(answer: impl Fn(&Sample, &Request) -> Reply + Send + Sync + 'static) -> Server {
    let sample = sample();
    let large = sample.layers[0].digest.to_string();
    Server::start(move |request| {
        if request.path.ends_with(&large) {
            answer(&sample, request)
        } else {
            sample.answer(request)
        }
    })
}

/// The large layer, read as it comes: neither unpacked nor looked into.
#[track_caller]
fn check_layer(server: &Server, expected: &str) {
    let (to, _) = crate::push::keeping(crate::push::Kept::default());
    let to = format!("{}/shop:1", to.host()).parse().unwrap();
    let from = crate::push::place(&server.host(), "shop");
    let client = client();
    let (_, root) =
        client.find(&format!("{}/shop", server.host()).parse().unwrap(), 1 << 20, None).unwrap();
    let copied = client.copy(&palisade_registry::CopySource::Registry(&from), &root, &to);
    let error = palisade_base::render_chain(&copied.unwrap_err(), None);
    assert!(error.contains(expected), "{error}");
    // An image of it cannot be examined either.
    let image = open(&client, &format!("{}/shop", server.host())).unwrap();
    assert!(image.walk(&mut |_, _| palisade_image::Visit::Continue).is_err());
}

#[test]
fn a_layer_that_is_another_is_found() {
    let server = with_layer(|sample, _| {
        let mut blob = sample.blob(sample.layers[0].digest).unwrap();
        blob[500_000] ^= 1;
        reply(200).body(blob)
    });
    check_layer(&server, "` sent `sha256:");
}

#[test]
fn sizes_that_lie_are_found() {
    let longer =
        |sample: &Sample| [sample.blob(sample.layers[0].digest).unwrap(), vec![0]].concat();
    check_layer(
        &with_layer(move |sample, _| reply(200).body(longer(sample))),
        "bytes where the manifest says",
    );
    check_layer(&with_layer(|_, _| reply(200).body("short")), "5 bytes where the manifest says");
    check_layer(&with_layer(|_, _| reply(200).endless()), "bytes that the manifest says");
    let absurd = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", u64::MAX);
    check_layer(
        &with_layer(move |_, _| Reply::raw(absurd.clone())),
        "bytes where the manifest says",
    );
}

#[test]
fn a_layer_that_never_comes_is_given_up() {
    check_layer(
        &with_layer(|sample, _| {
            let size = sample.layers[0].size;
            reply(200).header("content-length", size.to_string()).cut(0)
        }),
        "of which 0 of",
    );
    check_layer(&with_layer(|_, _| reply(404)), "has no blob sha256:");
    check_layer(
        &with_layer(|sample, request| match request.range() {
            None => sample.answer(request).cut(100_000),
            Some(_) => reply(206).header("content-range", "bytes 0-9/10").body("0123456789"),
        }),
        "another part than was asked for",
    );
}

#[test]
fn manifests_that_lie_are_refused() {
    let sample = Arc::new(sample());
    let check = |answer: Reply, expected: &str| {
        let sample = Arc::clone(&sample);
        let server = Server::start(move |request| {
            if request.path.contains("/manifests/") {
                answer.clone()
            } else {
                sample.answer(request)
            }
        });
        let error = refused(open(&client(), &format!("{}/shop", server.host())));
        assert!(error.contains(expected), "{error}");
    };
    let manifest = sample.blob(sample.manifest.digest).unwrap();
    let other = format!("sha256:{}", "a".repeat(64));
    check(reply(200).header("docker-content-digest", &other).body(manifest), "` sent `sha256:");
    check(reply(200).body("<html>"), "something that is no manifest");
    check(reply(200).body("{}"), "something that is no manifest");
    check(reply(200).endless(), "read manifest latest of shop from");
    check(reply(200).header("content-length", "99999999999"), "read manifest latest of shop from");
    check(
        reply(200)
            .header("content-type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
            .body(r#"{"schemaVersion":1,"fsLayers":[]}"#),
        "old schema 1",
    );
    let bomb = format!("HTTP/1.1 200 X\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    check(Reply::raw(bomb), "ask `127.0.0.1");
    let wide = format!("HTTP/1.1 200 X\r\na: {}\r\n\r\n", "b".repeat(1 << 20));
    check(Reply::raw(wide), "ask `127.0.0.1");
    check(Reply::raw("no HTTP at all\r\n\r\n"), "ask `127.0.0.1");
}

#[test]
fn redirects_lead_nowhere_they_must_not() {
    let check = |location: String, expected: &str| {
        let server = Server::start(move |_| reply(307).header("location", &location));
        let error = refused(open(&client(), &format!("{}/shop", server.host())));
        assert!(error.contains(expected), "{error}");
    };
    check("/again".into(), "more than five times");
    check("http://192.0.2.1/x".into(), "would be spoken to without TLS");
    check("file:///etc/passwd".into(), "more than five times");
    check(String::new(), "to no usable address");
    check("http://u:p@127.0.0.1/".into(), "to no usable address");
}

#[test]
fn a_redirect_takes_no_secret_along() {
    let sample = Arc::new(sample());
    let served = Arc::clone(&sample);
    let store = Server::start(move |request| served.answer(request));
    let place = store.host();
    let registry = Server::start(move |request| {
        if request.header("authorization") != Some("Basic YTpi") {
            return reply(401).header("www-authenticate", "Basic realm=\"x\"");
        }
        if request.path.contains("/blobs/") {
            return reply(307).header("location", format!("http://{place}{}", request.path));
        }
        sample.answer(request)
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    let auths = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"YTpi\"}}}}}}", registry.host());
    std::fs::write(&file, auths).unwrap();
    let client = crate::auth::client_with(&file);
    let image = open(&client, &format!("{}/shop", registry.host())).unwrap();
    assert_eq!(files(&image), sample_files());
    let asked = store.requests();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn another_machine_is_not_spoken_to_without_tls() {
    // TEST-NET-1 (RFC 5737): nobody answers there, and nobody is asked.
    let settings = palisade_registry::ClientSettings {
        timeout_idle: std::time::Duration::from_millis(200),
        patience: std::time::Duration::ZERO,
        ..crate::support::settings()
    };
    let mut hosts = palisade_registry::Hosts::default();
    let text = "[[registry]]\nprefix = \"registry.invalid\"\nlocation = \"registry.invalid\"\nblocked = true\n";
    hosts.add_registries(text, std::path::Path::new("r")).unwrap();
    let client = Arc::new(palisade_registry::Client::new(palisade_registry::ClientSettings {
        hosts,
        ..settings
    }));
    let error = refused(open(&client, "registry.invalid/shop"));
    assert_eq!(error, "`registry.invalid` is blocked by registries.conf");
    let plain = RegistryError::PlainHttp("registry.example".into());
    let hint = palisade_base::Explain::hint(&plain).unwrap();
    assert!(hint.contains("--plain-http registry.example"));
}
