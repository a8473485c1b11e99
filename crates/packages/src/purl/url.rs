//! Package URLs as text (ECMA-427): parsed, checked by the rules of their type, written in the
//! canonical form.

use std::fmt::{self, Write as _};

use super::rules;

/// Longer texts are no package URLs, in bytes.
pub const URL_BYTES_MAX: usize = 16 << 10;
/// Qualifiers of one package URL.
pub const QUALIFIERS_MAX: usize = 64;

/// A package URL. Its parts are decoded and, once made by [`PackageUrl::new`] or
/// [`PackageUrl::parse`], canonical.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageUrl {
    /// Type: `deb`.
    pub kind: String,
    /// Namespace, its segments joined by `/`; may be empty.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version; may be empty.
    pub version: String,
    /// Qualifiers, sorted by key.
    pub qualifiers: Vec<(String, String)>,
    /// Path within the package; may be empty.
    pub subpath: String,
}

/// Why a text or its parts are no package URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageUrlError {
    /// It does not begin with `pkg:`.
    #[error("a package URL begins with `pkg:`")]
    Scheme,
    /// The type is missing or has other characters than letters, digits, `.`, `+` and `-`.
    #[error("`{0}` is no type of package")]
    Type(String),
    /// The name is missing.
    #[error("the name is missing")]
    Name,
    /// A qualifier's key has other characters than letters, digits, `.`, `-` and `_`, stands
    /// twice, or has no `=`.
    #[error("`{0}` is no qualifier")]
    Qualifier(String),
    /// The type asks for something else.
    #[error("packages of type `{kind}` {rule}")]
    Rule {
        /// Type.
        kind: String,
        /// What it asks for.
        rule: &'static str,
    },
    /// It is longer than a bound.
    #[error("longer than {URL_BYTES_MAX} bytes or more than {QUALIFIERS_MAX} qualifiers")]
    TooLarge,
    /// An escape is no text.
    #[error("`{0}` does not decode to text")]
    Escape(String),
}

impl palisade_base::Explain for PackageUrlError {
    fn hint(&self) -> Option<String> {
        Some("write pkg:TYPE/NAMESPACE/NAME@VERSION, for example pkg:npm/%40scope/name@1.0".into())
    }
}

impl PackageUrl {
    /// Makes the parts canonical and checks them.
    ///
    /// # Errors
    ///
    /// See [`PackageUrlError`].
    pub fn new(mut self) -> Result<Self, PackageUrlError> {
        self.kind.make_ascii_lowercase();
        let is_type = self.kind.starts_with(|c: char| c.is_ascii_lowercase())
            && self.kind.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-".contains(&b));
        if !is_type {
            return Err(PackageUrlError::Type(self.kind));
        }
        self.namespace = segments(&self.namespace, false);
        self.name = self.name.trim_matches('/').to_string();
        self.subpath = segments(&self.subpath, true);
        self.qualifiers.retain(|(_, value)| !value.is_empty());
        if self.qualifiers.len() > QUALIFIERS_MAX {
            return Err(PackageUrlError::TooLarge);
        }
        for (key, _) in &mut self.qualifiers {
            key.make_ascii_lowercase();
            if !is_key(key) {
                return Err(PackageUrlError::Qualifier(std::mem::take(key)));
            }
        }
        self.qualifiers.sort();
        if let Some(pair) = self.qualifiers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(PackageUrlError::Qualifier(pair[0].0.clone()));
        }
        rules::apply(&mut self)?;
        if self.name.is_empty() {
            return Err(PackageUrlError::Name);
        }
        Ok(self)
    }

    /// Reads a package URL; the case of its scheme, type and qualifiers' keys does not count.
    ///
    /// # Errors
    ///
    /// See [`PackageUrlError`].
    pub fn parse(text: &str) -> Result<Self, PackageUrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(PackageUrlError::TooLarge);
        }
        let (rest, subpath) = text.rsplit_once('#').unwrap_or((text, ""));
        let (rest, qualifiers) = rest.rsplit_once('?').unwrap_or((rest, ""));
        let (scheme, rest) = rest.split_once(':').ok_or(PackageUrlError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("pkg") {
            return Err(PackageUrlError::Scheme);
        }
        let rest = rest.trim_start_matches('/');
        let (kind, rest) =
            rest.split_once('/').ok_or_else(|| PackageUrlError::Type(rest.to_string()))?;
        let kind = kind.to_ascii_lowercase();
        // Only the last segment has a version: npm's scopes have an `@` of their own.
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        let version_at = rest.get(last..).and_then(|name| name.rfind('@')).map(|at| last + at);
        let (path, version) = match version_at {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, ""),
        };
        let path = path.trim_start_matches('/');
        // A slash at the end says nothing, but before a version it says that the name is empty.
        let path = if version.is_empty() { path.trim_end_matches('/') } else { path };
        let cut = if rules::name_has_slashes(&kind) { path.find('/') } else { path.rfind('/') };
        let (namespace, name) = cut.map_or(("", path), |at| (&path[..at], &path[at + 1..]));
        let mut pairs = Vec::new();
        for pair in qualifiers.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| PackageUrlError::Qualifier(pair.to_string()))?;
            if pairs.len() >= QUALIFIERS_MAX {
                return Err(PackageUrlError::TooLarge);
            }
            pairs.push((key.to_string(), decode(value)?));
        }
        let decode_each = |path: &str| -> Result<String, PackageUrlError> {
            let parts: Result<Vec<String>, _> = path.split('/').map(decode).collect();
            Ok(parts?.join("/"))
        };
        Self {
            kind,
            namespace: decode_each(namespace)?,
            name: decode(name)?,
            version: decode(version)?,
            qualifiers: pairs,
            subpath: decode_each(subpath)?,
        }
        .new()
    }

    /// The value of a qualifier.
    pub fn qualifier(&self, key: &str) -> Option<&str> {
        let found = self.qualifiers.iter().find(|(candidate, _)| candidate == key)?;
        Some(&found.1)
    }
}

impl fmt::Display for PackageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}", self.kind)?;
        for segment in self.namespace.split('/').filter(|segment| !segment.is_empty()) {
            f.write_char('/')?;
            encode(segment, f)?;
        }
        f.write_char('/')?;
        if rules::name_has_slashes(&self.kind) {
            encode_path(&self.name, f)?;
        } else {
            encode(&self.name, f)?;
        }
        if !self.version.is_empty() {
            f.write_char('@')?;
            encode(&self.version, f)?;
        }
        for (at, (key, value)) in self.qualifiers.iter().enumerate() {
            write!(f, "{}{key}=", if at == 0 { '?' } else { '&' })?;
            encode(value, f)?;
        }
        if !self.subpath.is_empty() {
            f.write_char('#')?;
            encode_path(&self.subpath, f)?;
        }
        Ok(())
    }
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// The segments that count, joined again.
fn segments(path: &str, is_subpath: bool) -> String {
    let counts = |part: &&str| !(part.is_empty() || is_subpath && matches!(*part, "." | ".."));
    path.split('/').filter(counts).collect::<Vec<_>>().join("/")
}

fn encode_path(path: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            f.write_char('/')?;
        }
        encode(segment, f)?;
    }
    Ok(())
}

/// Percent-encodes all but unreserved characters (RFC 3986) and the colon.
fn encode(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            f.write_char(char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, PackageUrlError> {
    if !text.contains('%') {
        return Ok(text.to_string());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    while let Some(byte) = bytes.get(at) {
        let digits = digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2)));
        if let Some((high, low)) = digits.filter(|_| *byte == b'%') {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(out).map_err(|_| PackageUrlError::Escape(text.to_string()))
}
