//! The in-toto statement by which cosign 3 signs an image.

use palisade_base::Digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::json::{self, JsonError};

/// DSSE payload type of a statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Predicate type of a plain image signature.
pub const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";
const TYPE_V1: &str = "https://in-toto.io/Statement/v1";
const TYPE_V0_1: &str = "https://in-toto.io/Statement/v0.1";
const STATEMENT_BYTES_MAX: u64 = 16 << 20;
const SUBJECTS_MAX: usize = 1024;

/// A statement (in-toto/attestation, spec/v1/statement.md). Readers ignore fields that
/// they do not know, as the specification demands: they are signed with the rest.
#[derive(Debug, Deserialize)]
pub(crate) struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    digest: Map<String, Value>,
}

impl Statement {
    /// Reads the payload of an envelope.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let statement: Self = json::parse(bytes, STATEMENT_BYTES_MAX)?;
        if !matches!(statement.kind.as_str(), TYPE_V1 | TYPE_V0_1) {
            return Err(JsonError::Malformed("not an in-toto statement".into()));
        }
        if statement.subject.is_empty() || statement.subject.len() > SUBJECTS_MAX {
            return Err(JsonError::Malformed(format!(
                "a statement has 1 to {SUBJECTS_MAX} subjects, not {}",
                statement.subject.len()
            )));
        }
        Ok(statement)
    }

    /// Whether a subject has a digest of that kind.
    pub(crate) fn names_algorithm(&self, algorithm: &str) -> bool {
        self.subject.iter().any(|subject| subject.digest.contains_key(algorithm))
    }

    /// Whether one of its subjects has that digest of that kind.
    pub(crate) fn is_about_digest(&self, algorithm: &str, digest: &[u8]) -> bool {
        let hex = hex::encode(digest);
        self.subject.iter().any(|it| it.digest.get(algorithm).and_then(Value::as_str) == Some(&hex))
    }

    /// Whether one of its subjects is the content with that digest.
    pub(crate) fn is_about(&self, digest: &Digest) -> bool {
        let hex = digest.hex();
        self.subject
            .iter()
            .any(|subject| subject.digest.get("sha256").and_then(Value::as_str) == Some(&hex))
    }
}

/// The statement that signs an image, as bytes to be signed.
pub fn image_signature(digest: &Digest) -> Vec<u8> {
    json!({
        "_type": TYPE_V1,
        "subject": [{"digest": {"sha256": digest.hex()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {},
    })
    .to_string()
    .into_bytes()
}

/// Largest predicate, in bytes.
pub const PREDICATE_BYTES_MAX: u64 = 12 << 20;

/// A statement with `predicate` (a JSON text) about the image with that digest, as bytes to
/// be signed. `name` is what the image is called; it decides nothing.
pub fn attestation(
    digest: &Digest,
    name: Option<&str>,
    predicate_type: &str,
    predicate: &[u8],
) -> Result<Vec<u8>, JsonError> {
    let predicate: Value = json::parse(predicate, PREDICATE_BYTES_MAX)?;
    if !predicate.is_object() {
        return Err(JsonError::Malformed("a predicate is an object".into()));
    }
    let mut subject = json!({"digest": {"sha256": digest.hex()}});
    if let Some(name) = name {
        subject["name"] = name.into();
    }
    let statement = json!({
        "_type": TYPE_V1,
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": predicate,
    });
    Ok(statement.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_carry_their_predicate() {
        let digest = Digest::of(b"image");
        let bytes = attestation(&digest, Some("shop"), "https://x.example/v1", br#"{"a":[1]}"#);
        let bytes = bytes.unwrap();
        let statement = Statement::parse(&bytes).unwrap();
        assert!(statement.is_about(&digest));
        assert_eq!(statement.predicate_type, "https://x.example/v1");
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["predicate"], json!({"a": [1]}));
        for bad in ["", "[]", "{\"a\":1,\"a\":2}", "{} x"] {
            assert!(attestation(&digest, None, "x", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let digest = Digest::of(b"image");
        let statement = Statement::parse(&image_signature(&digest)).unwrap();
        assert!(statement.is_about(&digest) && !statement.is_about(&Digest::of(b"other")));
        assert_eq!(statement.predicate_type, PREDICATE_TYPE);
    }

    #[test]
    fn subjects_are_bounded() {
        let with = |n: usize| {
            let subject = vec![json!({"digest": {"sha256": "00"}}); n];
            json!({"_type": TYPE_V1, "subject": subject, "predicateType": "x"}).to_string()
        };
        assert!(Statement::parse(with(SUBJECTS_MAX).as_bytes()).is_ok());
        assert!(Statement::parse(with(SUBJECTS_MAX + 1).as_bytes()).is_err());
        assert!(Statement::parse(with(0).as_bytes()).is_err());
    }

    #[test]
    fn malformed_statements_are_refused() {
        let good = String::from_utf8(image_signature(&Digest::of(b""))).unwrap();
        for (from, to) in [
            ("Statement/v1", "Statement/v2"),
            ("\"subject\":[{", "\"subject\":[],\"x\":[{"),
            ("\"subject\"", "\"object\""),
            ("\"predicateType\"", "\"predicate\""),
            ("\"digest\":{", "\"digest\":3,\"x\":{"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert!(Statement::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
