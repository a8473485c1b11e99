//! Who a certificate of Fulcio's says the signer is (sigstore/fulcio, docs/oid-info.md).

use crate::pki::certificate::{Certificate, Name};
use crate::pki::der::{self, Der};

/// Fulcio's arc, 1.3.6.1.4.1.57264.1.
const ARC: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01];
/// The name of a user who has neither an address nor a URI.
pub(crate) const OID_OTHER_NAME: &[u8] =
    &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x07];

/// What the extensions are called, by the last number of their object identifier.
const CLAIMS: &[(u8, &str)] = &[
    (8, "issuer"),
    (9, "build-signer-uri"),
    (10, "build-signer-digest"),
    (11, "runner-environment"),
    (12, "source-repository-uri"),
    (13, "source-repository-digest"),
    (14, "source-repository-ref"),
    (15, "source-repository-identifier"),
    (16, "source-repository-owner-uri"),
    (17, "source-repository-owner-identifier"),
    (18, "build-config-uri"),
    (19, "build-config-digest"),
    (20, "build-trigger"),
    (21, "run-invocation-uri"),
    (22, "source-repository-visibility"),
    (23, "deployment-environment"),
    (24, "token-subject"),
];

/// Who signed, as the certificate authority says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// The signer's names; Fulcio gives one.
    pub names: Vec<Name>,
    /// Who vouched for the signer: the OpenID provider.
    pub issuer: Option<String>,
    /// Further claims, by name.
    pub claims: Vec<(&'static str, String)>,
}

impl CertificateIdentity {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        let value = |number: u8| {
            let oid = [ARC, &[number]].concat();
            let bytes = certificate.extension(&oid)?;
            // From .8 on the value is DER; before, the bytes themselves are the text.
            let bytes = if number < 8 {
                bytes
            } else {
                let mut outer = Der::new(bytes);
                let text = outer.value(der::UTF8_STRING).ok()?;
                outer.end().ok()?;
                text
            };
            std::str::from_utf8(bytes).ok().map(str::to_string)
        };
        let issuer = match (value(8), value(1)) {
            // Two that differ are nobody's word.
            (Some(new), Some(old)) if new != old => None,
            (new, old) => new.or(old),
        };
        let claims =
            CLAIMS.iter().filter_map(|(number, name)| Some((*name, value(*number)?))).collect();
        Self { names: certificate.names.clone(), issuer, claims }
    }
}

impl std::fmt::Display for CertificateIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.names.iter().map(Name::text).collect();
        write!(f, "{}", names.join(", "))?;
        match &self.issuer {
            Some(issuer) => write!(f, " (vouched for by {issuer})"),
            None => Ok(()),
        }
    }
}

/// A text that must be there.
#[derive(Debug, Clone)]
pub enum TextMatch {
    /// Exactly this.
    Exact(String),
    /// A pattern in which `*` stands for any characters; the whole text must match.
    Pattern(String),
    /// A regular expression that must match the whole text.
    Regex(Box<regex::Regex>),
}

impl TextMatch {
    /// A regular expression that must match the whole of a text.
    pub fn regex(text: &str) -> Result<Self, regex::Error> {
        const PROGRAM_BYTES_MAX: usize = 1 << 20;
        regex::RegexBuilder::new(&format!("^(?:{text})$"))
            .size_limit(PROGRAM_BYTES_MAX)
            .build()
            .map(|it| Self::Regex(Box::new(it)))
    }

    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == text,
            Self::Pattern(pattern) => matches_pattern(pattern, text),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl std::fmt::Display for TextMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) | Self::Pattern(text) => f.write_str(text),
            Self::Regex(regex) => write!(f, "/{}/", regex.as_str()),
        }
    }
}

/// Each piece between the stars is found as early as it can be: linear in practice, and never
/// worse than the product of the lengths.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = text.split_once(piece) else {
            return false;
        };
        text = after;
    }
    text.ends_with(last)
}

/// Whom a signature must be by.
#[derive(Debug, Clone)]
pub struct IdentityMatch {
    /// One of the certificate's names.
    pub name: TextMatch,
    /// Who vouched for it.
    pub issuer: TextMatch,
    /// Further claims that must be there.
    pub claims: Vec<(String, TextMatch)>,
}

impl IdentityMatch {
    /// Whether that is whom it must be by.
    pub fn matches(&self, identity: &CertificateIdentity) -> bool {
        identity.names.iter().any(|name| self.name.matches(name.text()))
            && identity.issuer.as_deref().is_some_and(|issuer| self.issuer.matches(issuer))
            && self.claims.iter().all(|(wanted, value)| {
                identity.claims.iter().any(|(name, text)| name == wanted && value.matches(text))
            })
    }
}

impl std::fmt::Display for IdentityMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (vouched for by {})", self.name, self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything_and_ends_are_held() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} {text}");
        };
        check("abc", "abc", true);
        check("abc", "abcd", false);
        check("a*c", "abc", true);
        check("a*c", "ac", true);
        check("a*c", "acd", false);
        check("*", "", true);
        check("a*b*c", "a-b-b-c", true);
        check("a*bc*c", "abc", false);
        check("https://git.example/*@refs/tags/*", "https://git.example/x@refs/tags/v1", true);
        check("https://git.example/*@refs/tags/*", "https://git.example/x@refs/heads/v1", false);
        check("ab*ba", "aba", false);
    }

    #[test]
    fn regular_expressions_are_anchored() {
        let of = TextMatch::regex("a|bc").unwrap();
        assert!(of.matches("a") && of.matches("bc") && !of.matches("abc") && !of.matches("a\n"));
        assert!(TextMatch::regex("(").is_err());
        assert!(TextMatch::regex("(?:a{1000}){1000}").is_err());
    }
}
