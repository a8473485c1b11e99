//! The log's promise as cosign's older signatures carry it.

use serde::Deserialize;

use super::bundle::{LogEntry, base64};
use super::entry::{Signed, What};
use crate::json;
use crate::pki::Hash;
use crate::spki::VerificationKey;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: RawPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPayload {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// A promise to log a `hashedrekord`.
pub(crate) struct Promise(LogEntry);

impl Promise {
    /// Reads the annotation `dev.sigstore.cosign/bundle`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let raw: Raw = json::parse(bytes, 1 << 20).map_err(|error| error.to_string())?;
        let text = |error: super::SigstoreError| error.to_string();
        let log_id = super::entry::unhex(&raw.payload.log_id).ok_or("a log's id is no number")?;
        let body = base64(&raw.payload.body, "an entry's body is not Base64").map_err(text)?;
        let promise = base64(&raw.promise, "a promise is not Base64").map_err(text)?;
        Ok(Self(LogEntry {
            index: raw.payload.log_index,
            log_id,
            kind: "hashedrekord".into(),
            version: "0.0.1".into(),
            integrated_time: raw.payload.integrated_time,
            promise: Some(promise),
            proof: None,
            body,
        }))
    }

    /// Checks that one of `keys` promised to log this signature over `message`; gives when.
    pub(crate) fn verify(
        &self,
        keys: &[VerificationKey],
        verifier: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<i64, String> {
        let promised = self.0.promised_text();
        let promise = self.0.promise.as_deref().unwrap_or_default();
        if !keys.iter().any(|key| key.verify(promised.as_bytes(), promise)) {
            return Err("none of the logs promised to take it".into());
        }
        let digest = |hash: Hash| Some(hash.of(message));
        let signed = Signed { verifier, signature, what: What::Message(&digest) };
        self.0.check_is_of(&signed).map_err(|error| error.to_string())?;
        Ok(self.0.integrated_time)
    }
}
