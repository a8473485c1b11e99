//! Tokens of the reference implementation, and tokens of our own with one thing wrong.

use std::path::{Path, PathBuf};

use palisade_base::Digest;
use serde_json::{Value, json};

use super::*;
use crate::PrivateKey;
use crate::jose::{Jwk, Jwks, base64url, split_compact, to_base64url};

fn vectors() -> Option<Vec<Value>> {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
    let shared = std::env::var("PALISADE_SHARED").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let file = shared.join("conformance/trust/openpubkey/pk-tokens.json");
    let Ok(bytes) = std::fs::read(&file) else {
        eprintln!("skipped: {} is not there", file.display());
        return None;
    };
    Some(serde_json::from_slice(&bytes).unwrap())
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The provider of a vector, with what the vector's name says of its commitment.
fn provider_of(vector: &Value, name: &str) -> Value {
    let keys: Vec<Value> = vector["op_keys_n_b64url"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, n)| json!({"kty": "RSA", "kid": id, "alg": "RS256", "n": n, "e": "AQAB"}))
        .collect();
    let mut provider = json!({
        "issuer": "https://accounts.example.com",
        "jwks": {"keys": keys},
    });
    match name {
        "aud-gq" => provider["commitment"] = "audience".into(),
        "gq-bound" | "gq-commitment" => provider["commitment"] = "proof".into(),
        _ => provider["clientIds"] = json!(["test_client_id"]),
    }
    provider
}

fn providers(provider: &Value) -> Providers {
    let text = json!({"providers": [provider]}).to_string();
    Providers::parse(text.as_bytes(), None).unwrap()
}

/// Every vector in its compact and its JSON form, with its message; and each refused after a
/// day, by another key, with another message, and with a byte changed anywhere.
#[test]
fn agrees_with_the_reference() {
    let Some(vectors) = vectors() else { return };
    assert!(vectors.len() >= 3, "{}", vectors.len());
    for vector in &vectors {
        let name = text(vector, "name");
        let token = PkToken::parse(text(vector, "compact")).unwrap();
        let claims: Value =
            serde_json::from_slice(&base64url(&token.payload_text).unwrap()).unwrap();
        let now = claims["iat"].as_i64().unwrap() + 60;
        let provider = provider_of(vector, name);
        let trusted = providers(&provider);
        let verified = trusted.verify(&token, now).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(verified.subject, "me", "{name}");
        assert_eq!(verified.valid_until, Some(now - 60 + 24 * 3600));
        let message = verified.verify_message(text(vector, "osm")).unwrap();
        assert_eq!(message, b"hello", "{name}");

        let json = PkToken::parse(&vector["json"].to_string()).unwrap();
        assert!(trusted.verify(&json, now).is_ok(), "{name}");
        assert_eq!(json.to_compact(), text(vector, "compact"), "{name}");
        assert_eq!(PkToken::parse(&token.to_json()).unwrap().hash(), token.hash());

        let error = trusted.verify(&token, now + 24 * 3600).unwrap_err();
        assert!(matches!(error, OpenPubkeyError::Time { .. }), "{name}: {error}");
        let error = trusted.verify(&token, now - 3600).unwrap_err();
        assert!(matches!(error, OpenPubkeyError::Time { .. }), "{name}: {error}");
        let other = vectors.iter().find(|it| text(it, "name") != name).unwrap();
        let error = providers(&provider_of(other, name)).verify(&token, now).unwrap_err();
        assert!(matches!(error, OpenPubkeyError::ProviderSignature { .. }), "{name}: {error}");
        let error = verified.verify_message(text(other, "osm")).unwrap_err();
        assert!(matches!(error, OpenPubkeyError::Message(_)), "{name}: {error}");
    }
}

#[test]
fn a_byte_changed_anywhere_is_noticed() {
    let Some(vectors) = vectors() else { return };
    for vector in vectors.iter().take(2) {
        let compact = text(vector, "compact");
        let token = PkToken::parse(compact).unwrap();
        let now = token.claims["iat"].as_i64().unwrap();
        let trusted = providers(&provider_of(vector, text(vector, "name")));
        for at in (0..compact.len()).step_by(compact.len() / 60) {
            let mut bad = compact.as_bytes().to_vec();
            // Four letters away, so that more than unused bits change.
            bad[at] = if bad[at] == b'A' { b'Q' } else { b'A' };
            let bad = String::from_utf8(bad).unwrap();
            if bad == compact {
                continue;
            }
            let verified = PkToken::parse(&bad).and_then(|token| trusted.verify(&token, now));
            assert!(verified.is_err(), "{at}");
        }
    }
}

/// A proof of our own, made from a signature of the reference's provider.
#[test]
fn proofs_that_are_made_verify() {
    let Some(vectors) = vectors() else { return };
    let vector = vectors.iter().find(|it| text(it, "name") == "nonce").unwrap();
    let token = PkToken::parse(text(vector, "compact")).unwrap();
    let provider = providers(&provider_of(vector, "nonce"));
    let key = &provider.providers[0].keys.find(Some("kid-0")).unwrap().key;
    let signed = token.provider.message(&token.payload_text);
    let proof = gq::prove(key, &token.provider.signature, b"message").unwrap();
    assert_eq!(proof.len(), 32 + 16 * 256);
    assert!(gq::verify(key, &signed, b"message", &proof));
    assert!(!gq::verify(key, &signed, b"other", &proof));
    assert!(!gq::verify(key, b"another token", b"message", &proof));
    for at in [0, 31, 32, 1000, proof.len() - 1] {
        let mut bad = proof.clone();
        bad[at] ^= 1;
        assert!(!gq::verify(key, &signed, b"message", &bad), "{at}");
    }
    assert!(!gq::verify(key, &signed, b"message", &proof[1..]));
    // A number that is the modulus or nothing is no answer.
    let (modulus, _) = key.rsa_numbers().unwrap();
    for number in [vec![0; 256], modulus.to_vec(), vec![0xff; 256]] {
        let mut bad = proof.clone();
        bad[32..288].copy_from_slice(&number);
        assert!(!gq::verify(key, &signed, b"message", &bad));
    }
    // Proofs never repeat: the numbers in them are random.
    assert_ne!(proof, gq::prove(key, &token.provider.signature, b"message").unwrap());
    let mut wrong = token.provider.signature.clone();
    wrong[9] ^= 1;
    let proof = gq::prove(key, &wrong, b"message").unwrap();
    assert!(!gq::verify(key, &signed, b"message", &proof));
}

/// A provider of our own, which signs by ES256.
struct Op {
    key: PrivateKey,
}

impl Op {
    fn new() -> Self {
        Self { key: PrivateKey::generate().unwrap() }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.key.public().coordinates().unwrap();
        json!({"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256",
               "x": to_base64url(&x), "y": to_base64url(&y)})
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let text = |value: &Value| to_base64url(value.to_string().as_bytes());
        let message = format!("{}.{}", text(header), text(claims));
        let signature = self.key.sign_fixed(&Digest::of(message.as_bytes())).unwrap();
        format!("{message}.{}", to_base64url(&signature))
    }

    fn provider(&self) -> Value {
        json!({"issuer": "https://op.example", "clientIds": ["shop"], "jwks": {"keys": [self.jwk()]}})
    }
}

const NOW: i64 = 1_800_000_000;

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": "JWT"})
}

fn claims(client: &ClientInstance) -> Value {
    json!({"iss": "https://op.example", "sub": "u1", "aud": "shop", "iat": NOW - 10,
           "exp": NOW + 600, "nonce": client.commitment(), "email": "dev@shop.example",
           "email_verified": true})
}

#[test]
fn what_is_signed_is_verified() {
    let (op, client) = (Op::new(), ClientInstance::generate().unwrap());
    let trusted = providers(&op.provider());
    let token = op.token(&header(), &claims(&client));
    let token = client.bind(&token, &trusted.providers[0]).unwrap();
    let image = Digest::of(b"image");
    let statement = crate::statement::image_signature(&image);
    let document = client.sign_statement(&token, &statement).unwrap();
    let document = SignedStatement::parse(&document.to_bytes()).unwrap();
    let (verified, predicate) = document.verify(&trusted, &image, NOW).unwrap();
    assert_eq!(verified.names(), ["dev@shop.example", "u1"]);
    assert_eq!(predicate, crate::statement::PREDICATE_TYPE);
    let error = document.verify(&trusted, &Digest::of(b"other"), NOW).unwrap_err();
    assert!(matches!(error, OpenPubkeyError::OtherContent), "{error}");
    let stranger = providers(&Op::new().provider());
    assert!(document.verify(&stranger, &image, NOW).is_err());
}

/// One thing that is wrong in the provider's header or claims, and what is said of it.
#[test]
fn one_thing_wrong_is_a_refusal() {
    let (op, client) = (Op::new(), ClientInstance::generate().unwrap());
    let other = ClientInstance::generate().unwrap();
    let try_with = |change: &dyn Fn(&mut Value, &mut Value, &mut Value)| {
        let (mut head, mut body, mut provider) = (header(), claims(&client), op.provider());
        change(&mut head, &mut body, &mut provider);
        let trusted = providers(&provider);
        let bound = client.bind(&op.token(&head, &body), &trusted.providers[0])?;
        trusted.verify(&bound, NOW).map(|_| ())
    };
    assert!(try_with(&|_, _, _| ()).is_ok());
    let check = |expected: &str, change: &dyn Fn(&mut Value, &mut Value, &mut Value)| {
        let error = try_with(change).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} (expected: {expected})");
    };
    check("commits to another key", &|_, c, _| c["nonce"] = other.commitment().into());
    check("commits to nothing", &|_, c, _| {
        c.as_object_mut().unwrap().shift_remove("nonce");
    });
    check("no client", &|_, c, _| c["aud"] = "other".into());
    check("no client", &|_, c, _| c["aud"] = json!(["other"]));
    check("no client", &|_, c, _| c["azp"] = "other".into());
    check("no client", &|_, c, _| c["aud"] = Value::Null);
    check("not among the providers", &|_, c, _| c["iss"] = "https://evil.example".into());
    check("in the future", &|_, c, _| c["iat"] = (NOW + 3600).into());
    check("in the future", &|_, c, _| c["nbf"] = (NOW + 3600).into());
    check("expired", &|_, c, _| c["iat"] = (NOW - 25 * 3600).into());
    check("when it was issued", &|_, c, _| c["iat"] = 1.5.into());
    check("when it was issued", &|_, c, _| c["iat"] = (-5).into());
    check("expired", &|_, c, p| {
        c["exp"] = (NOW - 1).into();
        p["expiry"] = "exp".into();
    });
    check("when it ends", &|_, c, p| {
        c.as_object_mut().unwrap().shift_remove("exp");
        p["expiry"] = "exp".into();
    });
    check("no subject", &|_, c, _| c["sub"] = "".into());
    check("has no key `k2`", &|h, _, _| h["kid"] = "k2".into());
    check("algorithm `none`", &|h, _, _| h["alg"] = "none".into());
    check("algorithm `HS256`", &|h, _, _| h["alg"] = "HS256".into());
    check("signature of `https://op.example` is false", &|h, _, _| h["alg"] = "ES384".into());
    check("demands extensions", &|h, _, _| h["crit"] = json!(["x"]));
    check("unknown type", &|h, _, _| h["typ"] = "x".into());
    check("another kind of commitment", &|h, _, _| h["typ"] = "dpop+id_token".into());
    check("is false", &|_, _, p| p["gqOnly"] = true.into());
    assert!(try_with(&|h, _, _| h["typ"] = "at+JWT".into()).is_ok());
    assert!(try_with(&|_, c, _| c["aud"] = json!(["other", "shop"])).is_ok());
    assert!(
        try_with(&|_, c, p| {
            c["iat"] = (NOW - 10_000_000).into();
            p["expiry"] = "never".into();
        })
        .is_ok()
    );
}

#[test]
fn a_key_in_the_token_itself_is_a_commitment() {
    let (op, client) = (Op::new(), ClientInstance::generate().unwrap());
    let trusted = |commitment: &str| {
        let mut provider = op.provider();
        provider["commitment"] = commitment.into();
        providers(&provider)
    };
    let upk = |client: &ClientInstance| {
        let token = client
            .bind(&op.token(&header(), &claims(client)), &trusted("nonce").providers[0])
            .unwrap();
        token.signer.header["upk"].clone()
    };
    let try_key = |key: Value| {
        let (mut head, mut body) = (header(), claims(&client));
        head["typ"] = "dpop+id_token".into();
        body["cnf"] = json!({"jwk": key});
        let trusted = trusted("cnf");
        let token = client.bind(&op.token(&head, &body), &trusted.providers[0]).unwrap();
        trusted.verify(&token, NOW).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(try_key(upk(&client)), Ok(()));
    let error = try_key(upk(&ClientInstance::generate().unwrap())).unwrap_err();
    assert!(error.contains("bound to another key"), "{error}");
    assert!(try_key(json!(1)).unwrap_err().contains("bound to no key"));
}

#[test]
fn a_refreshed_token_prolongs_and_must_be_the_same_persons() {
    let (op, client) = (Op::new(), ClientInstance::generate().unwrap());
    let mut provider = op.provider();
    provider["expiry"] = "refreshed".into();
    let trusted = providers(&provider);
    let later = NOW + 3600;
    let bound = client.bind(&op.token(&header(), &claims(&client)), &trusted.providers[0]).unwrap();
    let error = trusted.verify(&bound, later).unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = claims(&client);
        body["iat"] = (later - 5).into();
        body["exp"] = (later + 5).into();
        body.as_object_mut().unwrap().shift_remove("nonce");
        change(&mut body);
        let refreshed = op.token(&header(), &body);
        let token = PkToken::parse(&format!("{}.{refreshed}", bound.to_compact())).unwrap();
        trusted.verify(&token, later).map(|it| it.valid_until)
    };
    assert_eq!(with(&|_| ()).unwrap(), Some(later + 5));
    assert!(with(&|c| c["sub"] = "u2".into()).is_err());
    assert!(with(&|c| c["iss"] = "https://evil.example".into()).is_err());
    assert!(with(&|c| c["aud"] = "other".into()).is_err());
    assert!(with(&|c| c["iat"] = (NOW - 100).into()).is_err());
    assert!(with(&|c| c["exp"] = (later - 1).into()).is_err());
    assert!(with(&|c| c["iat"] = (later + 900).into()).is_err());
}

#[test]
fn a_cosigner_is_required_and_checked() {
    let (op, client, cosigner) = (Op::new(), ClientInstance::generate().unwrap(), Op::new());
    let configuration = |required: bool| {
        let text = json!({
            "providers": [op.provider()],
            "cosigners": [{"issuer": "https://cos.example", "required": required,
                           "jwks": {"keys": [cosigner.jwk()]}}],
        });
        Providers::parse(text.to_string().as_bytes(), None).unwrap()
    };
    let trusted = configuration(true);
    let bound = client.bind(&op.token(&header(), &claims(&client)), &trusted.providers[0]).unwrap();
    let error = trusted.verify(&bound, NOW).unwrap_err();
    assert!(error.to_string().contains("required"), "{error}");
    assert!(configuration(false).verify(&bound, NOW).is_ok());
    let with = |change: &dyn Fn(&mut Value)| {
        let mut head = json!({"iss": "https://cos.example", "kid": "k1", "alg": "ES256",
            "typ": "COS", "eid": "e", "auth_time": NOW - 5, "iat": NOW - 5, "exp": NOW + 5,
            "ruri": "http://localhost", "nonce": "n"});
        change(&mut head);
        let body: Value = serde_json::from_slice(&base64url(&bound.payload_text).unwrap()).unwrap();
        let signed = cosigner.token(&head, &body);
        let [head, payload, signature] = split_compact(&signed).unwrap();
        assert_eq!(payload, bound.payload_text);
        let token = format!("{}:{head}:{signature}", bound.to_compact());
        trusted.verify(&PkToken::parse(&token)?, NOW).map(|it| (it.cosigner, it.valid_until))
    };
    // The first end is that of both.
    let by = || Some("https://cos.example".to_string());
    assert_eq!(with(&|_| ()).unwrap(), (by(), Some(NOW + 5)));
    let token_end = NOW - 10 + 24 * 3600;
    let long = with(&|h| h["exp"] = (token_end + 9).into()).unwrap();
    assert_eq!(long, (by(), Some(token_end)));
    let changes: [&dyn Fn(&mut Value); 6] = [
        &|h| h["exp"] = (NOW - 1).into(),
        &|h| h["iss"] = "https://evil.example".into(),
        &|h| h["kid"] = "k2".into(),
        &|h| h["alg"] = "RS256".into(),
        &|h| h["nonce"] = "".into(),
        &|h| h["typ"] = "CIC".into(),
    ];
    for change in changes {
        assert!(with(change).is_err());
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let (op, client) = (Op::new(), ClientInstance::generate().unwrap());
    let trusted = providers(&op.provider());
    let good = client
        .bind(&op.token(&header(), &claims(&client)), &trusted.providers[0])
        .unwrap()
        .to_compact();
    let parts: Vec<&str> = good.split(':').collect();
    let bad = [
        String::new(),
        "{}".into(),
        parts[..3].join(":"),
        parts[..4].join(":"),
        format!("{good}:{}:{}", parts[1], parts[2]),
        format!("{good}.x"),
        format!("{good}:"),
        good.replacen(parts[0], "e30=", 1),
        format!("{{\"payload\":\"{}\",\"signatures\":[],\"x\":1}}", parts[0]),
        format!("{{\"payload\":\"{}\",\"payload\":\"e30\",\"signatures\":[]}}", parts[0]),
        "A".repeat(PK_TOKEN_BYTES_MAX + 1),
    ];
    for bad in bad {
        assert!(PkToken::parse(&bad).is_err(), "{}", bad.chars().take(90).collect::<String>());
    }
}

#[test]
fn configurations_that_would_trust_anybody_are_refused() {
    let op = Op::new();
    let check = |expected: &str, change: &dyn Fn(&mut Value)| {
        let mut text = json!({"providers": [op.provider()]});
        change(&mut text);
        let error = Providers::parse(text.to_string().as_bytes(), None).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let error = format!("{error} {}", source.unwrap_or_default());
        assert!(error.contains(expected), "{error} (expected: {expected})");
    };
    check("`clientIds` is missing", &|c| c["providers"][0]["clientIds"] = json!([]));
    check("none of nonce", &|c| c["providers"][0]["commitment"] = "x".into());
    check("none of exp", &|c| c["providers"][0]["expiry"] = "24".into());
    check("none of exp", &|c| c["providers"][0]["expiry"] = "0h".into());
    check("none of exp", &|c| c["providers"][0]["expiry"] = "".into());
    check("exactly one of", &|c| c["providers"][0]["jwksFile"] = "x".into());
    check("unknown field", &|c| c["providers"][0]["x"] = 1.into());
    check("no usable key", &|c| c["providers"][0]["jwks"] = json!({"keys": []}));
    check("is empty", &|c| {
        c["providers"][0]["commitment"] = "proof".into();
        c["providers"][0]["clientIds"] = json!([]);
        c["providers"][0]["gqAudiencePrefix"] = "".into();
    });
    check("stands twice", &|c| {
        let one = c["providers"][0].clone();
        c["providers"].as_array_mut().unwrap().push(one);
    });
    check("more than 256", &|c| {
        let one = c["providers"][0].clone();
        c["providers"] = json!(vec![one; 257]);
    });
    let folder = tempfile::tempdir().unwrap();
    let jwks = json!({"keys": [op.jwk()]}).to_string();
    std::fs::write(folder.path().join("keys.json"), &jwks).unwrap();
    let mut provider = op.provider();
    provider.as_object_mut().unwrap().shift_remove("jwks");
    provider["jwksFile"] = "keys.json".into();
    let file = folder.path().join("openpubkey.json");
    std::fs::write(&file, json!({"providers": [provider]}).to_string()).unwrap();
    let read = Providers::read(&file).unwrap();
    assert_eq!(read.providers[0].keys, Jwks::parse(jwks.as_bytes()).unwrap());
    assert!(Jwk::from_value(&op.jwk()).is_ok());
}
