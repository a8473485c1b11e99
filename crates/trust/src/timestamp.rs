//! Time stamps of RFC 3161 over anything: the check of what an authority of time gave.

use palisade_base::{Explain, Timestamp};

use crate::pem;
use crate::pki::Certificate;
use crate::pki::path::time_chains;
use crate::pki::timestamp::TimeStamp;

/// Why a time stamp proves no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// The file of trusted authorities has no certificate that can be read.
    #[error("there is no certificate of an authority of time")]
    NoAuthority,
    /// It cannot be read, is of something else, or nobody who is trusted made it.
    #[error("the time stamp proves nothing: {0}")]
    Proof(String),
}

impl Explain for TimestampError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoAuthority => "name a PEM file with the authority's root certificate".into(),
            Self::Proof(_) => "check whose time stamp it is, and the authority's root".into(),
        })
    }
}

/// What a time stamp proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampedTime {
    /// When the authority saw what was stamped.
    pub time: Timestamp,
    /// By how much that may be wrong, in whole seconds.
    pub accuracy_seconds: u64,
}

/// Certificates that are trusted to vouch for time.
#[derive(Debug, Clone)]
pub struct TimeAuthorities(Vec<Certificate>);

impl TimeAuthorities {
    /// Those of a PEM file: each is trusted as it is.
    pub fn from_pem(text: &str) -> Result<Self, TimestampError> {
        let blocks = pem::decode_all(text, "CERTIFICATE").ok_or(TimestampError::NoAuthority)?;
        let roots: Result<Vec<_>, _> = blocks.iter().map(|der| Certificate::parse(der)).collect();
        let roots = roots.map_err(|_| TimestampError::NoAuthority)?;
        if roots.is_empty() { Err(TimestampError::NoAuthority) } else { Ok(Self(roots)) }
    }

    /// Checks that `token` (a TimeStampToken) is of `message`, and that an authority which one of
    /// these is, or certified, made it while its certificates were valid.
    pub fn verify(&self, token: &[u8], message: &[u8]) -> Result<StampedTime, TimestampError> {
        let proof = |problem: String| TimestampError::Proof(problem);
        let stamp = TimeStamp::parse_token(token).map_err(|error| proof(error.to_string()))?;
        let embedded = stamp.certificates();
        let mut problem = "no trusted authority made it".to_string();
        for root in &self.0 {
            for chain in time_chains(&embedded, root) {
                match stamp.verify(message, None, &chain) {
                    Ok(seconds) => {
                        let seconds = u64::try_from(seconds)
                            .map_err(|_| proof("it is of before 1970".into()))?;
                        return Ok(StampedTime {
                            time: Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000)),
                            accuracy_seconds: u64::try_from(stamp.accuracy_seconds()).unwrap_or(0),
                        });
                    }
                    Err(error) => problem = error.to_string(),
                }
            }
        }
        Err(proof(problem))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::sigstore::{timestamp_request, timestamp_token};

    /// Runs `openssl`; false where it is not installed.
    fn openssl(folder: &Path, arguments: &str) -> bool {
        match Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output() {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                true
            }
            Err(_) => false,
        }
    }

    const CONFIG: &str = "[req]\ndistinguished_name = dn\n[dn]\n[ca]\nbasicConstraints = critical, CA:true\n\
        [tsa]\nextendedKeyUsage = critical, timeStamping\nkeyUsage = critical, digitalSignature\n\
        [stamp]\nserial = serial\nsigner_cert = tsa.pem\nsigner_key = tsa.key\ncerts = root.pem\n\
        signer_digest = sha256\ndefault_policy = 1.2.3.4\ndigests = sha256\naccuracy = secs:2\n";

    #[test]
    fn what_openssl_stamps_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("c"), CONFIG).unwrap();
        std::fs::write(at.join("serial"), "01\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config c";
        let root = |name: &str| {
            openssl(
                at,
                &format!(
                    "req -x509 {key} -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2 -extensions ca"
                ),
            )
        };
        if !root("root") {
            eprintln!("skipped: the program `openssl` is not installed");
            return;
        }
        root("other");
        openssl(at, &format!("req -new {key} -keyout tsa.key -out tsa.csr -subj /CN=tsa"));
        openssl(
            at,
            "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -set_serial 2 -days 1 -extfile c -extensions tsa -out tsa.pem",
        );
        let message = b"the root of the tree";
        std::fs::write(at.join("query"), timestamp_request(message).unwrap()).unwrap();
        openssl(at, "ts -reply -queryfile query -config c -section stamp -out answer");
        let answer = std::fs::read(at.join("answer")).unwrap();
        let token = timestamp_token(&answer, message).unwrap();
        let authorities = |name: &str| {
            let text = std::fs::read_to_string(at.join(name)).unwrap();
            TimeAuthorities::from_pem(&text).unwrap()
        };
        let stamped = authorities("root.pem").verify(&token, message).unwrap();
        assert!(Timestamp::now().since(stamped.time).as_secs() < 600, "{stamped:?}");
        assert_eq!(stamped.accuracy_seconds, 2);
        let refused = |name: &str, token: &[u8], message: &[u8], reason: &str| {
            let error = authorities(name).verify(token, message).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        refused("other.pem", &token, message, "no trusted authority");
        refused("root.pem", &token, b"something else", "of another signature");
        let mut bad = token.clone();
        *bad.last_mut().unwrap() ^= 1;
        refused("root.pem", &bad, message, "signature is false");
        for n in 0..token.len() {
            assert!(authorities("root.pem").verify(&token[..n], message).is_err(), "{n}");
        }
        assert!(timestamp_token(&answer, b"something else").is_err());
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(TimeAuthorities::from_pem(text).unwrap_err(), TimestampError::NoAuthority);
        }
    }
}
