//! Names, passwords and tokens.

use std::path::Path;
use std::sync::Arc;

use palisade_registry::{Client, ClientSettings, Credentials};

use crate::server::{Request, Server, reply};
use crate::support::{client, files, open, refused, sample, sample_files, settings};

pub(crate) fn client_with(file: &Path) -> Arc<Client> {
    let credentials = Credentials { files: vec![file.to_path_buf()] };
    Arc::new(Client::new(ClientSettings { credentials, ..settings() }))
}

/// A client that knows `entry` for `host`.
fn knowing(host: &str, entry: &str) -> (tempfile::TempDir, Arc<Client>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, format!("{{\"auths\":{{\"{host}\":{entry}}}}}")).unwrap();
    let client = client_with(&file);
    (folder, client)
}

/// A service of tokens that knows `user:secret` and strangers, and the refresh token `refresh`.
fn token_service() -> Server {
    Server::start(|request| {
        let token = |who: &str| {
            reply(200).body(format!("{{\"token\":\"token-of-{who}\",\"expires_in\":300}}"))
        };
        if request.method == "POST" {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let good = body.contains("grant_type=refresh_token")
                && body.contains("refresh_token=refresh")
                && body.contains("scope=repository:shop:pull");
            return if good { token("refresh") } else { reply(401) };
        }
        match request.header("authorization") {
            None => token("nobody"),
            Some("Basic dXNlcjpzZWNyZXQ=") => token("user"),
            Some(_) => reply(401).body(r#"{"details":"incorrect username or password"}"#),
        }
    })
}

/// A registry that wants a token of the service, for `who`.
fn private(service: &Server, who: &'static str) -> Server {
    let sample = sample();
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"test\",scope=\"repository:shop:pull\"",
        service.host()
    );
    Server::start(move |request: &Request| {
        if request.header("authorization") == Some(&format!("Bearer token-of-{who}")) {
            return sample.answer(request);
        }
        reply(401)
            .header("www-authenticate", &challenge)
            .body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
    })
}

#[test]
fn tokens_are_fetched_once_and_shown() {
    let service = token_service();
    let registry = private(&service, "nobody");
    let image = open(&client(), &format!("{}/shop", registry.host())).unwrap();
    assert_eq!(files(&image), sample_files());
    assert_eq!(service.asked(), ["GET /token?service=test&scope=repository:shop:pull"]);
}

#[test]
fn passwords_and_refresh_tokens_are_exchanged() {
    let check = |who: &'static str, entry: &str| {
        let service = token_service();
        let registry = private(&service, who);
        let (_folder, client) = knowing(&registry.host(), entry);
        let image = open(&client, &format!("{}/shop", registry.host())).unwrap();
        assert_eq!(files(&image), sample_files());
        assert_eq!(service.asked().len(), 1);
    };
    check("user", r#"{"auth":"dXNlcjpzZWNyZXQ="}"#);
    check("user", r#"{"username":"user","password":"secret"}"#);
    check("refresh", r#"{"identitytoken":"refresh"}"#);
}

#[test]
fn wrong_credentials_are_told_from_none() {
    let service = token_service();
    let registry = private(&service, "user");
    let name = format!("{}/shop", registry.host());
    let result = open(&client(), &name);
    let hint = palisade_base::Explain::hint(result.as_ref().unwrap_err()).unwrap();
    assert!(hint.contains(&format!("docker login {}", registry.host())), "{hint}");
    let error = refused(result);
    assert!(
        error.contains("without credentials: UNAUTHORIZED: authentication required"),
        "{error}"
    );

    let (_folder, client) = knowing(&registry.host(), r#"{"auth":"dXNlcjp3cm9uZw=="}"#);
    let error = open(&client, &name).unwrap_err();
    let chain = palisade_base::render_chain(&error, None);
    assert!(chain.contains("get a token for"), "{chain}");
    assert!(chain.contains("to these credentials: incorrect username or password"), "{chain}");
    assert!(!chain.contains("wrong\n") && !chain.contains("dXNlcjp3cm9uZw"), "{chain}");
}

#[test]
fn basic_is_answered_with_name_and_password() {
    let sample = sample();
    let registry = Server::start(move |request| match request.header("authorization") {
        Some("Basic YTpi") => sample.answer(request),
        _ => reply(401).header("www-authenticate", "Basic realm=\"here\""),
    });
    let name = format!("{}/shop", registry.host());
    let (_folder, client) = knowing(&registry.host(), r#"{"auth":"YTpi"}"#);
    assert_eq!(files(&open(&client, &name).unwrap()), sample_files());
    let (_folder, client) = knowing("other.example", r#"{"auth":"YTpi"}"#);
    assert!(refused(open(&client, &name)).contains("without credentials"));
}

#[test]
fn a_token_service_that_lies_is_refused() {
    let check = |realm: String, expected: &str| {
        let registry = Server::start(move |_| {
            reply(401).header("www-authenticate", format!("Bearer realm=\"{realm}\""))
        });
        let (_folder, client) = knowing(&registry.host(), r#"{"auth":"YTpi"}"#);
        let error = open(&client, &format!("{}/shop", registry.host())).unwrap_err();
        let chain = palisade_base::render_chain(&error, None);
        assert!(chain.contains(expected), "{chain}");
    };
    // Nothing is sent in the clear to another machine.
    check("http://192.0.2.1/token".into(), "would be spoken to without TLS");
    check("ftp://192.0.2.1/token".into(), "a realm that is no address");
    check(String::new(), "a realm that is no address");
    for body in ["", "{}", "{\"token\":\"\"}", "{\"token\":\"a\\nb: c\"}", "[]"] {
        let service = Server::start(move |_| reply(200).body(body));
        check(format!("http://{}/token", service.host()), "something that is no token");
    }
    let endless = Server::start(|_| reply(200).endless());
    check(format!("http://{}/token", endless.host()), "read a token from");
}
