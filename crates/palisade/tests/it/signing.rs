//! `palisade sign` and `attest` by everything but a plain key in a layout: registries, ID
//! tokens, the Notary Project, gpg; and `palisade copy`, which brings it all along.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::layout::{self, Layout};
use crate::support::{Reserved, finish, palisade, run};

const STATEMENT: &str = "https://sigstore.dev/cosign/sign/v1";

/// A registry of the distribution; ended with the test.
pub(crate) struct Registry {
    child: Child,
    _folder: tempfile::TempDir,
    pub(crate) host: String,
    _reserved: Reserved,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one; `None` where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.exists() {
            eprintln!("skipped: docker-registry is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let reserved = Reserved::new();
        let host = reserved.host.clone();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            folder.path().join("data").display()
        );
        let path = folder.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(program)
            .args([Path::new("serve"), &path])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = lines.by_ref().flatten().any(|line| line.contains("listening on"));
        std::thread::spawn(move || lines.for_each(drop));
        assert!(listens, "the registry starts");
        Some(Self { child, _folder: folder, host, _reserved: reserved })
    }

    /// The document under a tag or digest of a repository.
    fn manifest(&self, repository: &str, selector: &str) -> Option<Value> {
        let accept =
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let mut stream = std::net::TcpStream::connect(&self.host).unwrap();
        let request = format!(
            "GET /v2/{repository}/manifests/{selector} HTTP/1.1\r\nhost: {}\r\naccept: {accept}\r\nconnection: close\r\n\r\n",
            self.host
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).unwrap())
    }

    /// What refers to an image: the predicate types of the bundles in its list.
    fn predicates(&self, repository: &str, image: &str) -> Vec<String> {
        let tag = image.replace(':', "-");
        let Some(list) = self.manifest(repository, &tag) else { return Vec::new() };
        let mut found: Vec<String> = list["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let digest = one["digest"].as_str().unwrap();
                let manifest = self.manifest(repository, digest).unwrap();
                assert_eq!(manifest["subject"]["digest"], image);
                manifest["annotations"]["dev.sigstore.bundle.predicateType"]
                    .as_str()
                    .unwrap_or_default()
                    .to_string()
            })
            .collect();
        found.sort();
        found
    }
}

/// A folder with a key pair and an image.
fn prepared() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let image = layout::shop(&folder.path().join("shop"));
    run(folder.path(), &["sign", "--generate-key", "shop"]).expect(0);
    (folder, image)
}

#[test]
fn registries_hold_signatures_and_copies_bring_them_along() {
    let Some(registry) = Registry::start() else { return };
    let (folder, image) = prepared();
    let (folder, digest) = (folder.path(), image.manifest.to_string());
    let name = format!("{}/team/shop:1", registry.host);
    // Signed in the layout first: the copy brings that along.
    run(folder, &["sign", "--key", "shop.key", "oci:shop"]).expect(0);
    let copied = run(folder, &["copy", "oci:shop", &name]).expect(0);
    assert!(copied.stdout.contains(&digest), "{}", copied.stdout);
    assert_eq!(registry.predicates("team/shop", &digest), [STATEMENT]);
    // The very same signature is there already, in the registry too.
    let again = run(folder, &["sign", "--key", "shop.key", &name]).expect(0);
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    std::fs::write(folder.join("vex.json"), r#"{"@id":"x"}"#).unwrap();
    let attest = ["attest", "--key", "shop.key", "--type", "openvex", "--predicate", "vex.json"];
    run(folder, &[&attest[..], &[&name]].concat()).expect(0);
    run(folder, &["sign", "--key", "shop.key", "--simple", &name]).expect(0);
    let both = ["https://openvex.dev/ns".to_string(), STATEMENT.to_string()];
    assert_eq!(registry.predicates("team/shop", &digest), both);

    let mirror = format!("{}/mirror/shop:2", registry.host);
    run(folder, &["copy", &name, &mirror]).expect(0);
    assert_eq!(registry.predicates("mirror/shop", &digest), both);
    let simple = format!("{}.sig", digest.replace(':', "-"));
    let simple = registry.manifest("mirror/shop", &simple).unwrap();
    assert_eq!(simple["layers"].as_array().unwrap().len(), 1);
    run(folder, &["copy", &name, &format!("{}/mirror/shop@{digest}", registry.host)])
        .expect_error(2, "names a digest");
}

#[test]
fn attestations_are_what_they_say() {
    let (folder, _) = prepared();
    let folder = folder.path();
    let attest = |kind: &str, predicate: &str| {
        std::fs::write(folder.join("p.json"), predicate).unwrap();
        run(
            folder,
            &["attest", "--key", "shop.key", "--type", kind, "--predicate", "p.json", "oci:shop"],
        )
    };
    attest("slsaprovenance1", r#"{"buildDefinition":{}}"#).expect(0);
    attest("https://x.example/v1", "{}").expect(0);
    attest("cyclonedx", "[]").expect_error(2, "a predicate is an object");
    attest("cyclonedx", r#"{"a":1,"a":2}"#).expect_error(2, "stands twice");
    attest("sbomish", "{}").expect_error(2, "no type of predicate");
    // An attestation is no signature of the image.
    run(folder, &["verify", "--key", "shop.pub", "oci:shop"]).expect_error(1, "is not signed");
    run(folder, &["sign", "--key", "shop.key", "oci:shop"]).expect(0);
    let json = run(folder, &["verify", "--format", "json", "--key", "shop.pub", "oci:shop"]);
    let json: Value = serde_json::from_str(&json.expect(0).stdout).unwrap();
    let types: Vec<&str> = json["attestations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["predicate_type"].as_str().unwrap())
        .collect();
    assert_eq!(types.len(), 2, "{types:?}");
    assert!(types.contains(&"https://x.example/v1"), "{types:?}");
    assert_eq!(json["attestations_not_examined"], 0);
    run(folder, &["attest", "--type", "vuln", "--predicate", "p.json", "oci:shop"])
        .expect_error(2, "no key given");
}

fn url_safe(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A provider of ID tokens that answers as a CI runner does; gives its address.
pub(crate) fn runner(key: p256::ecdsa::SigningKey, secret: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut head) = (String::new(), String::new());
            reader.read_line(&mut line).unwrap();
            while reader.read_line(&mut head).unwrap() > 2 {}
            let audience = line.split("audience=").nth(1).unwrap().split(' ').next().unwrap();
            let is_allowed = head.to_lowercase().contains(&format!("bearer {secret}"));
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let header = url_safe(json!({"alg": "ES256", "kid": "k", "typ": "JWT"}).to_string());
            let claims = json!({"iss": "https://ci.example", "sub": "repo:shop", "aud": audience,
                "iat": now - 1, "exp": now + 300,
                "job_workflow_ref": "shop/app/.ci/release.yml@refs/tags/v1"});
            let message = format!("{header}.{}", url_safe(claims.to_string()));
            let signature: p256::ecdsa::Signature =
                key.sign_prehash(&Sha256::digest(message.as_bytes())).unwrap();
            let token = format!("{message}.{}", url_safe(signature.to_bytes()));
            let (status, body) = if is_allowed {
                ("200 OK", json!({"value": token}).to_string())
            } else {
                ("401 Unauthorized", "who are you?".to_string())
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// The file of providers, with one key.
pub(crate) fn providers(folder: &Path, name: &str, key: &p256::ecdsa::SigningKey) {
    let point = key.verifying_key().to_sec1_point(false);
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256",
        "x": url_safe(point.x().unwrap()), "y": url_safe(point.y().unwrap())});
    let file = json!({"providers": [{"issuer": "https://ci.example", "commitment": "audience",
        "gqOnly": false, "jwks": {"keys": [jwk]}}]});
    std::fs::write(folder.join(name), file.to_string()).unwrap();
}

#[test]
fn a_token_of_a_runner_signs() {
    let (folder, _) = prepared();
    let folder = folder.path();
    let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    providers(folder, "ci.json", &key);
    providers(folder, "other.json", &p256::ecdsa::SigningKey::from_slice(&[6; 32]).unwrap());
    let address = runner(key, "s3cret");
    let sign = |secret: &str, file: &str| {
        let mut command = palisade(folder);
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("http://{address}/token?api=1"));
        command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret);
        command.args(["sign", "--openpubkey", file, "oci:shop"]);
        finish(command)
    };
    sign("wrong", "ci.json").expect_error(3, "status 401");
    sign("s3cret", "other.json").expect_error(1, "the signature of `https://ci.example` is false");
    let signed = sign("s3cret", "ci.json").expect(0);
    assert!(signed.stderr.contains("a token of https://ci.example"), "{}", signed.stderr);
    let verify = |file: &str, name: &str, issuer: &str| {
        run(
            folder,
            &[
                "verify",
                "--openpubkey",
                file,
                "--certificate-identity",
                name,
                "--certificate-oidc-issuer",
                issuer,
                "oci:shop",
            ],
        )
    };
    let (name, issuer) = ("shop/app/.ci/release.yml@refs/tags/v1", "https://ci.example");
    let verified = verify("ci.json", name, issuer).expect(0);
    assert!(verified.stdout.contains("(openpubkey)"), "{}", verified.stdout);
    for (file, name, issuer) in
        [("other.json", name, issuer), ("ci.json", "x", issuer), ("ci.json", name, "https://x")]
    {
        verify(file, name, issuer).expect_error_with_output(1, "no signature that counts");
    }
    run(folder, &["verify", "--openpubkey", "ci.json", "oci:shop"])
        .expect_error(2, "nobody is named");
    // Without the runner's variables there is nobody to ask.
    run(folder, &["sign", "--openpubkey", "ci.json", "oci:shop"]).expect_error(2, "no ID token");
}

#[test]
fn keyless_signatures_need_all_their_services() {
    let (folder, _) = prepared();
    let folder = folder.path();
    let keyless = |rest: &[&str]| run(folder, &[&["sign", "--keyless", "oci:shop"], rest].concat());
    keyless(&[]).expect_error(2, "the log of signatures is not named");
    let rekor = ["--rekor-url", "http://127.0.0.1:9"];
    keyless(&rekor).expect_error(2, "an authority of time is not named");
    keyless(&[&rekor[..], &["--rekor-version", "1"]].concat())
        .expect_error(2, "the certificate authority is not named");
    let all =
        [&rekor[..], &["--rekor-version", "1", "--fulcio-url", "http://127.0.0.1:9"]].concat();
    keyless(&all).expect_error(2, "there is no ID token");
    std::fs::write(folder.join("token"), "a.b.c").unwrap();
    let with_token = [&all[..], &["--identity-token", "token"]].concat();
    keyless(&with_token).expect_error(5, "ask the certificate authority");
    let far =
        ["--rekor-version", "1", "--fulcio-url", "http://ca.example", "--identity-token", "token"];
    // A token does not go without TLS to another machine.
    keyless(&[&rekor[..], &far].concat())
        .expect_error(2, "no address of the certificate authority");
    run(folder, &["verify", "--key", "shop.pub", "oci:shop"]).expect_error(1, "is not signed");
}

pub(crate) fn notary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../trust/testdata/notary").join(name)
}

#[test]
fn the_notary_projects_signatures_are_made_and_verified() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, image) = prepared();
    let folder = folder.path();
    for (from, to) in [
        ("p256.key", "n.key"),
        ("p256.chain.pem", "chain.pem"),
        ("root.pem", "truststore/x509/ca/shop/root.pem"),
        ("good.crl", "crl/root.crl"),
    ] {
        std::fs::create_dir_all(folder.join(to).parent().unwrap()).unwrap();
        std::fs::copy(notary(from), folder.join(to)).unwrap();
    }
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.join("n.key"), private).unwrap();
    let policy = |organization: &str| {
        let text = json!({"version": "1.0", "trustPolicies": [{
            "name": "shop", "registryScopes": ["registry.example/shop"],
            "signatureVerification": {"level": "strict"}, "trustStores": ["ca:shop"],
            "trustedIdentities": [format!("x509.subject: C=US, ST=WA, O={organization}")]}]});
        std::fs::write(folder.join("trustpolicy.json"), text.to_string()).unwrap();
    };
    let verify = |name: &str| {
        run(
            folder,
            &["verify", "--notary-policy", "trustpolicy.json", "--reference", name, "oci:shop"],
        )
    };
    policy("shop.example");
    verify("registry.example/shop:1").expect_error_with_output(1, "has no such signature");
    for format in ["jws", "cose"] {
        run(
            folder,
            &[
                "sign",
                "--key",
                "n.key",
                "--notary-chain",
                "chain.pem",
                "--notary-format",
                format,
                "--expires-in",
                "1",
                "oci:shop",
            ],
        )
        .expect(0);
    }
    let verified = verify("registry.example/shop:1").expect(0);
    assert!(verified.stdout.contains("O=shop.example"), "{}", verified.stdout);
    verify("registry.example/other").expect_error_with_output(1, "no statement");
    policy("other.example");
    verify("registry.example/shop").expect_error_with_output(1, "no signature that counts");
    policy("shop.example");
    std::fs::copy(notary("revoked.crl"), folder.join("crl/root.crl")).unwrap();
    verify("registry.example/shop").expect_error_with_output(1, "no signature that counts");
    std::fs::copy(notary("good.crl"), folder.join("crl/root.crl")).unwrap();
    // The key of another certificate.
    run(folder, &["sign", "--key", "shop.key", "--notary-chain", "chain.pem", "oci:shop"])
        .expect_error(2, "of another key");
    // A changed layer.
    let layer = image.blob(&image.manifest);
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes.push(b' ');
    std::fs::write(&layer, bytes).unwrap();
    assert_ne!(verify("registry.example/shop").code, 0);
}

#[test]
fn gpg_signs_what_containers_image_reads() {
    if Command::new("gpg").arg("--version").output().is_err() {
        eprintln!("skipped: gpg is not installed");
        return;
    }
    let (folder, _) = prepared();
    let folder = folder.path();
    let home = folder.join("gnupg");
    std::fs::create_dir(&home).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&home, private).unwrap();
    let gpg = |args: &[&str]| {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--passphrase", ""])
            .args(args)
            .env("GNUPGHOME", &home)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    gpg(&["--quick-gen-key", "dev@shop.example", "rsa2048", "sign", "never"]);
    std::fs::write(folder.join("dev.gpg"), gpg(&["--export", "dev@shop.example"])).unwrap();
    std::fs::create_dir(folder.join("image")).unwrap();
    std::fs::write(folder.join("image/manifest.json"), "{\"schemaVersion\":2}").unwrap();
    let sign = |reference: &str| {
        let mut command = palisade(folder);
        command.env("GNUPGHOME", &home);
        command.args([
            "sign",
            "--gpg-key",
            "dev@shop.example",
            "--reference",
            reference,
            "dir:image",
        ]);
        finish(command)
    };
    let pinned = format!("registry.example/shop@sha256:{}", "0".repeat(64));
    sign(&pinned).expect_error(2, "has no tag");
    sign("registry.example/shop:1").expect(0);
    sign("registry.example/shop:2").expect(0);
    assert!(folder.join("image/signature-2").is_file());
    let policy = json!({"default": [{"type": "signedBy", "keyType": "GPGKeys",
        "keyData": BASE64_STANDARD.encode(std::fs::read(folder.join("dev.gpg")).unwrap())}]});
    std::fs::write(folder.join("policy.json"), policy.to_string()).unwrap();
    let verify = |reference: &str| {
        run(
            folder,
            &[
                "verify",
                "--containers-policy",
                "policy.json",
                "--reference",
                reference,
                "dir:image",
            ],
        )
    };
    verify("registry.example/shop:1").expect(0);
    verify("registry.example/shop:2").expect(0);
    assert_eq!(verify("registry.example/shop:3").code, 1);
    let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &home).output();
}
