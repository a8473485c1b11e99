//! JSON Web Signatures and keys (RFC 7515, 7517, 7518, 8037) as verification needs them.
//!
//! What is signed is the text as it stands: nothing is decoded and written anew. A key
//! verifies only with an algorithm that fits it, and a token never chooses its key's kind.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature as sig;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json::{self, JsonError};
use crate::key::KeyError;
use crate::pki::der;
use crate::pki::key::{self, Kind};
use crate::pki::{Hash, Key};

/// Largest set of keys, in bytes.
pub const JWKS_BYTES_MAX: u64 = 1 << 20;
/// Most keys of a set.
const KEYS_MAX: usize = 256;
/// Largest protected header, in bytes, decoded.
pub(crate) const HEADER_BYTES_MAX: u64 = 64 << 10;

/// The bytes of Base64 in the alphabet of URLs, without padding and without stray bits.
pub(crate) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The text of `bytes` in Base64 of that kind.
pub(crate) fn to_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// 32 random bytes as text, for states and secrets of flows.
pub fn random_text() -> Result<String, KeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::NoRandomness(error.to_string()))?;
    Ok(to_base64url(&bytes))
}

/// What shows a provider later that whoever has `secret` asked (RFC 7636, `S256`).
pub fn code_challenge(secret: &str) -> String {
    to_base64url(palisade_base::Digest::of(secret.as_bytes()).as_bytes())
}

/// A signature algorithm (RFC 7518, section 3.1, and RFC 8037). `none` and MACs are not
/// among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Es256,
    Es384,
    Es512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    EdDsa,
}

impl Algorithm {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    /// Whether a key of that kind makes such signatures.
    pub(crate) fn fits(self, kind: Kind) -> bool {
        kind == match self {
            Self::Es256 => Kind::P256,
            Self::Es384 => Kind::P384,
            Self::Es512 => Kind::P521,
            Self::EdDsa => Kind::Ed25519,
            _ => Kind::Rsa,
        }
    }

    /// Whether `signature` is `key`'s over `message`.
    pub(crate) fn verify(self, key: &Key, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(key.kind()) {
            return false;
        }
        let algorithm: &dyn sig::VerificationAlgorithm = match self {
            Self::Es256 => &sig::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &sig::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => {
                return p521::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                    key::verify_p521(key.bytes(), &Hash::Sha512.of(message), &signature)
                });
            }
            Self::Rs256 => &sig::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &sig::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &sig::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &sig::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &sig::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &sig::RSA_PSS_2048_8192_SHA512,
            Self::EdDsa => &sig::ED25519,
        };
        sig::UnparsedPublicKey::new(algorithm, key.bytes()).verify(message, signature).is_ok()
    }
}

/// One key of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jwk {
    pub(crate) id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) key: Key,
    thumbprint: [u8; 32],
}

#[derive(Deserialize)]
struct RawJwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
}

impl Jwk {
    /// Reads a public key. The error says what is wrong with it.
    pub(crate) fn from_value(value: &Value) -> Result<Self, String> {
        let raw: RawJwk = serde_json::from_value(value.clone())
            .map_err(|_| "a key has no type, or a member that is no text".to_string())?;
        let part = |field: &Option<String>, name: &str| {
            let text = field.as_deref().ok_or_else(|| format!("a key has no `{name}`"))?;
            base64url(text).ok_or_else(|| format!("`{name}` of a key is not Base64 of URLs"))
        };
        let (key, thumbprint) = match (raw.kty.as_str(), raw.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (part(&raw.n, "n")?, part(&raw.e, "e")?);
                let number = |bytes: &[u8]| {
                    let digits: Vec<u8> =
                        bytes.iter().copied().skip_while(|&byte| byte == 0).collect();
                    let is_high = digits.first().is_some_and(|first| first & 0x80 != 0);
                    let sign: &[u8] = if is_high || digits.is_empty() { &[0] } else { &[] };
                    der::wrap(der::INTEGER, &[sign, &digits].concat())
                };
                let pkcs1 = der::wrap(der::SEQUENCE, &[number(&n), number(&e)].concat());
                let key = Key::from_pkcs1(&pkcs1).map_err(|error| error.to_string())?;
                let text = format!(
                    r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                    to_base64url(&e),
                    to_base64url(&n)
                );
                (key, text)
            }
            ("EC", Some(curve @ ("P-256" | "P-384" | "P-521"))) => {
                let (oid, n_bytes) = match curve {
                    "P-256" => (key::OID_P256, 32),
                    "P-384" => (key::OID_P384, 48),
                    _ => (key::OID_P521, 66),
                };
                let (x, y) = (part(&raw.x, "x")?, part(&raw.y, "y")?);
                if x.len() != n_bytes || y.len() != n_bytes {
                    return Err(format!("a key on {curve} has not {n_bytes} bytes in `x`, `y`"));
                }
                let text = format!(
                    r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#,
                    to_base64url(&x),
                    to_base64url(&y)
                );
                let algorithm = [der::wrap(der::OID, key::OID_EC), der::wrap(der::OID, oid)];
                (spki(&algorithm.concat(), &[&[4], &x[..], &y[..]].concat())?, text)
            }
            ("OKP", Some("Ed25519")) => {
                let x = part(&raw.x, "x")?;
                let text = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, to_base64url(&x));
                (spki(&der::wrap(der::OID, key::OID_ED25519), &x)?, text)
            }
            _ => return Err("a key is of a type that signs nothing here".into()),
        };
        if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("a key is not for signatures".into());
        }
        let algorithm = match raw.alg.as_deref() {
            None => None,
            Some(name) => Some(
                Algorithm::from_name(name)
                    .filter(|algorithm| algorithm.fits(key.kind()))
                    .ok_or("a key is for an algorithm that does not fit it")?,
            ),
        };
        let thumbprint = *palisade_base::Digest::of(thumbprint.as_bytes()).as_bytes();
        Ok(Self { id: raw.kid, algorithm, key, thumbprint })
    }

    /// SHA-256 of what is necessary of the key (RFC 7638).
    pub(crate) fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// Whether `signature` is this key's over `message`, by that algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm.is_none_or(|only| only == algorithm)
            && algorithm.verify(&self.key, message, signature)
    }
}

fn spki(algorithm: &[u8], point: &[u8]) -> Result<Key, String> {
    let algorithm = der::wrap(der::SEQUENCE, algorithm);
    let bits = der::wrap(der::BIT_STRING, &[&[0], point].concat());
    let spki = der::wrap(der::SEQUENCE, &[algorithm, bits].concat());
    Key::from_spki(&spki).map_err(|error| error.to_string())
}

/// The keys of an issuer (RFC 7517, section 5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jwks {
    keys: Vec<Jwk>,
    unused: Vec<String>,
}

#[derive(Deserialize)]
struct RawJwks {
    keys: Vec<Value>,
}

impl Jwks {
    /// Reads a set. Keys of kinds that sign nothing here are left out and named by
    /// [`Self::unused`], as the RFC demands; a set without a usable key is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let raw: RawJwks = json::parse(bytes, JWKS_BYTES_MAX)?;
        Self::from_values(&raw.keys)
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, JsonError> {
        let raw: RawJwks = serde_json::from_value(value.clone())
            .map_err(|error| JsonError::Malformed(error.to_string()))?;
        Self::from_values(&raw.keys)
    }

    fn from_values(values: &[Value]) -> Result<Self, JsonError> {
        if values.len() > KEYS_MAX {
            return Err(JsonError::Malformed(format!("a set has at most {KEYS_MAX} keys")));
        }
        let mut this = Self::default();
        for (index, value) in values.iter().enumerate() {
            match Jwk::from_value(value) {
                Ok(key) => this.keys.push(key),
                Err(problem) => this.unused.push(format!("key {index}: {problem}")),
            }
        }
        if this.keys.is_empty() {
            let first = this.unused.first().map_or("it is empty", String::as_str);
            return Err(JsonError::Malformed(format!("the set has no usable key: {first}")));
        }
        Ok(this)
    }

    /// Keys that are not used, each with the reason.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.unused.iter().map(String::as_str)
    }

    /// The key of that name; without a name, the only key.
    pub(crate) fn find(&self, id: Option<&str>) -> Option<&Jwk> {
        match (id, self.keys.as_slice()) {
            (Some(id), keys) => {
                let mut named = keys.iter().filter(|key| key.id.as_deref() == Some(id));
                // Two keys of one name would let the order of a file decide.
                named.next().filter(|_| named.next().is_none())
            }
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// The three parts of a compact serialisation, as text.
pub(crate) fn split_compact(text: &str) -> Option<[&str; 3]> {
    let mut parts = text.split('.');
    let all = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(all)
}

/// The members of a protected header.
pub(crate) fn header(text: &str) -> Result<Map<String, Value>, JsonError> {
    let bytes = base64url(text)
        .ok_or_else(|| JsonError::Malformed("a header is not Base64 of URLs".into()))?;
    json::parse(&bytes, HEADER_BYTES_MAX)
}

/// `value` as JSON without white space, keys in the order of their bytes: the form in which
/// others compute hashes over members.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            let parts: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), canonical(value)))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", parts.join(","))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7638, section 3.1.
    const RFC_KEY: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;

    #[test]
    fn thumbprints_are_those_of_the_rfc() {
        let key = Jwk::from_value(&serde_json::from_str(RFC_KEY).unwrap()).unwrap();
        assert_eq!(to_base64url(key.thumbprint()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let (modulus, exponent) = key.key.rsa_numbers().unwrap();
        assert_eq!((modulus.len(), exponent), (256, 65537));
    }

    /// RFC 7515, appendices A.3 and A.4, and RFC 8037, appendix A.4.
    #[test]
    fn signatures_of_the_rfcs_verify() {
        let check = |jwk: &str, token: &str| {
            let key = Jwk::from_value(&serde_json::from_str(jwk).unwrap()).unwrap();
            let [head, _, signature] = split_compact(token).unwrap();
            let header = header(head).unwrap();
            let algorithm =
                Algorithm::from_name(header.get("alg").unwrap().as_str().unwrap()).unwrap();
            let message = token.rsplit_once('.').unwrap().0.as_bytes();
            let mut signature = base64url(signature).unwrap();
            assert!(key.verify(algorithm, message, &signature), "{token}");
            assert!(!key.verify(algorithm, &message[1..], &signature));
            signature[5] ^= 1;
            assert!(!key.verify(algorithm, message, &signature));
            for other in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es384] {
                assert!(!key.verify(other, message, &signature));
            }
        };
        check(
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        );
        check(
            r#"{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}"#,
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        );
        check(
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        );
    }

    #[test]
    fn sets_name_what_they_do_not_use() {
        let set = |keys: &str| Jwks::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
        let found = set(&format!(r#"{RFC_KEY},{{"kty":"oct","k":"AA"}}"#)).unwrap();
        assert_eq!(found.unused().count(), 1);
        assert!(found.find(Some("2011-04-29")).is_some() && found.find(None).is_some());
        assert!(found.find(Some("other")).is_none());
        // Two keys of one name.
        let twice = set(&format!("{RFC_KEY},{RFC_KEY}")).unwrap();
        assert!(twice.find(Some("2011-04-29")).is_none() && twice.find(None).is_none());
        for bad in [
            "",
            r#"{"kty":"oct","k":"AA"}"#,
            &RFC_KEY.replace("RS256", "ES256"),
            &RFC_KEY.replace("\"e\"", "\"use\":\"enc\",\"e\""),
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#,
        ] {
            assert!(set(bad).is_err(), "{bad}");
        }
        let many = vec![RFC_KEY; KEYS_MAX + 1].join(",");
        assert!(set(&many).is_err());
        assert!(set(&vec![RFC_KEY; KEYS_MAX].join(",")).is_ok());
    }

    #[test]
    fn the_canonical_form_is_sorted_at_every_depth() {
        let value: Value =
            serde_json::from_str(r#"{"b":[{"z":1,"a":"\u00e4\n"}],"a":null}"#).unwrap();
        assert_eq!(canonical(&value), "{\"a\":null,\"b\":[{\"a\":\"ä\\n\",\"z\":1}]}");
    }
}
