//! What a probe can find: the table of checks, and a finding of one of them.

use std::fmt::Write as _;

use palisade_model::Severity;
use serde::{Serialize, Serializer};

/// Characters of a finding's detail and of each line of evidence.
pub const TEXT_CHARS_MAX: usize = 600;
/// Lines of evidence of a finding.
pub const EVIDENCE_MAX: usize = 12;
/// Findings of one probe; more are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// A weakness that a probe looks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, as reports and gates know it.
    pub id: &'static str,
    /// What is wrong, for people.
    pub title: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What closes it.
    pub remedy: &'static str,
    /// Where that stands.
    pub reference: &'static str,
}

macro_rules! checks {
    ($($name:ident $id:literal $severity:ident $title:literal $remedy:literal $reference:literal)*) => {
        $(#[doc = $title] pub const $name: Check = Check {
            id: $id, title: $title, severity: Severity::$severity, remedy: $remedy, reference: $reference,
        };)*
        /// Every check.
        pub const CHECKS: &[&Check] = &[$(&$name),*];
    };
}

checks! {
    NO_AUTHENTICATION "no-authentication" Critical
        "A server lets anybody in"
        "switch its authentication on, or let it listen where only those who may use it can connect"
        "CWE-306"
    DEFAULT_CREDENTIALS "default-credentials" Critical
        "A server lets in whoever knows its well-known password"
        "set a password of its own before the container is used"
        "CWE-1392"
    ANONYMOUS_LOGIN "anonymous-login" Medium
        "A server lets in whoever gives no name"
        "switch anonymous logins off, unless what is served is for everybody"
        "CWE-306"
    PLAINTEXT_LOGIN "plaintext-login" Medium
        "A password would cross the network as it is"
        "offer logins within TLS alone"
        "CWE-319"
    OPEN_RELAY "open-relay" High
        "A mail server takes mail from anybody to anybody"
        "let it relay for those who have logged in, or from named networks"
        "RFC 2505"
    OPEN_INFORMATION "open-information" Low
        "A server tells anybody how it is set up"
        "switch the command or the page off, or ask for a login"
        "CWE-497"
    SENSITIVE_PAGE "sensitive-page" High
        "A page that is not for everybody is there for everybody"
        "take the file out of what is served, or ask for a login"
        "CWE-552"
    SSH_PROTOCOL_1 "ssh-protocol-1" High
        "An SSH server still speaks version 1 of the protocol"
        "allow version 2 alone"
        "RFC 4253 section 5.1"
    SSH_WEAK_ALGORITHMS "ssh-weak-algorithms" Medium
        "An SSH server offers broken key exchange, keys or ciphers"
        "take them out of KexAlgorithms, HostKeyAlgorithms, Ciphers and MACs"
        "RFC 9142, RFC 8758"
    SSH_PASSWORD "ssh-password-login" Medium
        "An SSH server takes passwords, which can be guessed"
        "PasswordAuthentication no, KbdInteractiveAuthentication no: let keys alone in"
        "CWE-308"
    TLS_SSL3 "tls-ssl-3.0" High
        "A server speaks SSL 3.0"
        "allow TLS 1.2 and 1.3 alone"
        "RFC 7568"
    TLS_10 "tls-1.0" Medium
        "A server speaks TLS 1.0"
        "allow TLS 1.2 and 1.3 alone"
        "RFC 8996"
    TLS_11 "tls-1.1" Medium
        "A server speaks TLS 1.1"
        "allow TLS 1.2 and 1.3 alone"
        "RFC 8996"
    TLS_NULL "tls-null-cipher" High
        "A server agrees to TLS without encryption"
        "take suites with NULL out of the list"
        "RFC 9325 section 4.1"
    TLS_ANONYMOUS "tls-anonymous" High
        "A server agrees to TLS without proving who it is"
        "take anonymous suites (aNULL, ADH, AECDH) out of the list"
        "RFC 9325 section 4.1"
    TLS_EXPORT "tls-export-cipher" High
        "A server agrees to export ciphers, which are broken in minutes"
        "take suites with EXPORT out of the list"
        "RFC 9325 section 4.1"
    TLS_RC4 "tls-rc4" Medium
        "A server agrees to RC4"
        "take suites with RC4 out of the list"
        "RFC 7465"
    TLS_DES "tls-des" Medium
        "A server agrees to DES or 3DES, whose blocks are too small"
        "take suites with DES out of the list"
        "CVE-2016-2183"
    TLS_STATIC_RSA "tls-no-forward-secrecy" Low
        "A server agrees to key exchange that a key stolen later opens"
        "allow suites with ECDHE or DHE alone"
        "RFC 9325 section 4.1"
    TLS_COMPRESSION "tls-compression" Medium
        "A server compresses within TLS, which tells what is in it"
        "switch TLS compression off"
        "CVE-2012-4929"
    CERTIFICATE_EXPIRED "tls-certificate-expired" High
        "A certificate is past its last day"
        "renew it, and see to it that it is renewed by itself"
        "RFC 5280 section 4.1.2.5"
    CERTIFICATE_EARLY "tls-certificate-not-yet-valid" Medium
        "A certificate's first day is still to come"
        "check the clock of who issued it"
        "RFC 5280 section 4.1.2.5"
    CERTIFICATE_SELF_SIGNED "tls-certificate-self-signed" Medium
        "A certificate is signed by its own key: who connects cannot tell it from an impostor's"
        "have it issued by an authority that clients know"
        "CWE-295"
    CERTIFICATE_WEAK_KEY "tls-certificate-weak-key" High
        "A certificate's key is too short"
        "use RSA of 2048 bits at least, or P-256"
        "NIST SP 800-131A"
    CERTIFICATE_WEAK_SIGNATURE "tls-certificate-weak-signature" Medium
        "A certificate is signed with MD5 or SHA-1"
        "have it issued anew with SHA-256"
        "RFC 9155"
    HTTP_TRAVERSAL "http-path-traversal" Critical
        "A path with dots leads out of what is served"
        "resolve the path, then check that it is still below the root"
        "CWE-22"
    HTTP_SMUGGLING "http-ambiguous-request" Medium
        "A request that proxies read in another way is answered instead of refused: behind one, requests can be smuggled"
        "refuse it with 400 and close the connection"
        "RFC 9112 section 6.3"
    HTTP_INJECTION "http-header-injection" Medium
        "What a request says becomes a header of the response"
        "refuse line ends in whatever becomes a header"
        "CWE-113"
    HTTP_TRACE "http-trace" Low
        "The method TRACE sends a request's headers back"
        "switch TRACE off"
        "RFC 9110 section 9.3.8"
    HTTP_DETAILS "http-error-details" Low
        "An error page shows the program's insides"
        "show errors in the log alone"
        "CWE-209"
    HTTP_ERROR "http-server-error" Medium
        "Malformed input ends in an error of the server (5xx), not in a refusal (4xx)"
        "check the input before it is used; the log says where it failed"
        "RFC 9110 section 15.6.1"
    API_ERROR "openapi-server-error" Medium
        "A call of the described API ends in an error of the server"
        "check the input before it is used; the log says where it failed"
        "RFC 9110 section 15.6.1"
    API_UNDESCRIBED "openapi-undescribed-status" Low
        "A call of the described API is answered with a status that the description does not have"
        "describe it, or mend the answer"
        "OpenAPI 3.1 section 4.8.16"
    API_ACCEPTED "openapi-invalid-accepted" Low
        "The described API takes what its own description forbids"
        "check the input against the description"
        "CWE-20"
    CRASH_EXIT "crash-exit" High
        "The container's program ends because of a request"
        "catch the error where the request is handled"
        "CWE-248"
    CRASH_SIGNAL "crash-signal" High
        "A process of the container is ended by a signal because of a request"
        "mend the memory error; the request is in the report"
        "CWE-119"
    CRASH_MEMORY "crash-memory" High
        "A request makes the container reach its memory limit"
        "bound what a request may make the program keep"
        "CWE-770"
    CRASH_HANG "crash-hang" High
        "After a request the server answers nobody any more"
        "give each request a deadline, and handle more than one at a time"
        "CWE-400"
    CRASH_ERRORS "crash-error-burst" High
        "After a request the server answers everybody with an error"
        "keep what one request breaks from the others"
        "CWE-755"
    ESCAPE "escape" Critical
        "A benign attempt to get out of the container, or over its limits, came through"
        "confine the container: palisade run --policy restricted"
        "ATT&CK T1611"
}

/// Where something listens, as findings name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `tcp` or `udp`.
    pub transport: &'static str,
    /// The port.
    pub port: u16,
    /// What is spoken there.
    pub protocol: String,
}

/// A weakness that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    #[serde(serialize_with = "by_id")]
    pub check: &'static Check,
    /// How bad it is here.
    pub severity: Severity,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What was seen, in a sentence.
    pub detail: String,
    /// What proves it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn by_id<S: Serializer>(check: &&'static Check, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(check.id)
}

impl Finding {
    /// A finding of `check` without a place.
    pub fn new(check: &'static Check, detail: impl Into<String>) -> Self {
        let detail = cut(&detail.into());
        Self { check, severity: check.severity, place: None, detail, evidence: Vec::new() }
    }

    /// At `place`.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// With a line of evidence; lines beyond [`EVIDENCE_MAX`] are left out.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        if self.evidence.len() < EVIDENCE_MAX {
            self.evidence.push(cut(line));
        }
        self
    }
}

/// `text` with its controls made visible, at most [`TEXT_CHARS_MAX`] characters.
pub(crate) fn cut(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    if text.chars().count() <= TEXT_CHARS_MAX {
        return text.chars().map(clean).collect();
    }
    text.chars().take(TEXT_CHARS_MAX - 1).map(clean).chain(['…']).collect()
}

/// `bytes` on one line for people: printable ASCII as it is, the rest as in C.
pub(crate) fn shown(bytes: &[u8], n_max: usize) -> String {
    let mut out = String::new();
    for byte in bytes.iter().take(n_max) {
        out.extend(std::ascii::escape_default(*byte).map(char::from));
    }
    if bytes.len() > n_max {
        let _infallible = write!(out, "… ({} bytes)", bytes.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_texts_are_bounded() {
        let ids: std::collections::BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), CHECKS.len());
        for check in CHECKS {
            assert!(!check.title.ends_with('.') && !check.remedy.ends_with('.'), "{}", check.id);
        }
        let mut finding = Finding::new(&TLS_10, "x".repeat(TEXT_CHARS_MAX + 1));
        assert_eq!(finding.detail.chars().count(), TEXT_CHARS_MAX);
        for _ in 0..=EVIDENCE_MAX {
            finding = finding.with("a\u{1b}[31m");
        }
        assert_eq!(finding.evidence.len(), EVIDENCE_MAX);
        assert_eq!(finding.evidence[0], "a\u{fffd}[31m");
        assert_eq!(shown(b"a\r\n\xff", 3), "a\\r\\n… (4 bytes)");
    }
}
