//! The JWS form (notaryproject/specifications, `signature-envelope-jws.md`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::envelope::{ENVELOPE_BYTES_MAX, Header, Parts, names};
use crate::jose::{self, Algorithm, base64url};
use crate::json;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEnvelope {
    pub(super) payload: String,
    pub(super) protected: String,
    pub(super) header: RawUnsigned,
    pub(super) signature: String,
}

/// What nothing signs. Members that are not known mean nothing.
#[derive(Serialize, Deserialize)]
pub(super) struct RawUnsigned {
    pub(super) x5c: Vec<String>,
    #[serde(
        default,
        rename = "io.cncf.notary.timestampSignature",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) timestamp: Option<String>,
    #[serde(
        default,
        rename = "io.cncf.notary.signingAgent",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) agent: Option<String>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parts, String> {
    let raw: RawEnvelope =
        json::parse(bytes, ENVELOPE_BYTES_MAX).map_err(|error| error.to_string())?;
    let protected = jose::header(&raw.protected).map_err(|error| error.to_string())?;
    let url = |text: &str, what: &str| {
        base64url(text).ok_or_else(|| format!("{what} is not Base64 of URLs"))
    };
    let standard =
        |text: &str, what: &str| STANDARD.decode(text).map_err(|_| format!("{what} is not Base64"));
    Ok(Parts {
        header: header(&protected)?,
        chain: raw
            .header
            .x5c
            .iter()
            .map(|text| standard(text, "a certificate"))
            .collect::<Result<_, _>>()?,
        message: format!("{}.{}", raw.protected, raw.payload).into_bytes(),
        signature: url(&raw.signature, "its signature")?,
        payload: url(&raw.payload, "its payload")?,
        timestamp: raw
            .header
            .timestamp
            .filter(|text| !text.is_empty())
            .map(|text| standard(&text, "its time stamp"))
            .transpose()?,
    })
}

fn header(members: &Map<String, Value>) -> Result<Header, String> {
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{name}` is no text")),
    };
    let time = |name: &str| {
        text(name)?
            .map(|text| {
                text.parse::<Timestamp>()
                    .map(Timestamp::as_second)
                    .map_err(|_| format!("`{name}` is no time of RFC 3339"))
            })
            .transpose()
    };
    let critical = match members.get("crit") {
        Some(Value::Array(all)) => all
            .iter()
            .map(|one| one.as_str().map(str::to_string))
            .collect::<Option<Vec<_>>>()
            .ok_or("`crit` has something that is no text")?,
        _ => return Err("`crit` is missing".into()),
    };
    if let Some(absent) = critical.iter().find(|name| !members.contains_key(name.as_str())) {
        let absent: String = absent.chars().take(100).collect();
        return Err(format!("`crit` names `{absent}`, which is not there"));
    }
    Ok(Header {
        algorithm: text("alg")?.as_deref().and_then(Algorithm::from_name),
        content_type: text("cty")?,
        scheme: text(names::SCHEME)?,
        signing_time: time(names::SIGNING_TIME)?,
        authentic_time: time(names::AUTHENTIC_TIME)?,
        expiry: time(names::EXPIRY)?,
        plugin: text(names::PLUGIN)?,
        critical,
    })
}
