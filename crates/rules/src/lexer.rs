//! Tokens of conditions.
//!
//! Falco's grammar has no separate lexer: what a character means depends on what the
//! parser expects there (`=` may be an operator or, in a path, refused). [`Cursor`]
//! therefore offers one method per token, each of which either consumes the token and
//! returns it or leaves the position alone.

use crate::ast::{Quantifier, Relation, Transformer};

/// A text with a position in it.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'t> {
    text: &'t str,
    position: usize,
    /// The last consumed token, for messages.
    last: &'t str,
}

/// Why a quoted string cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EscapeError(pub(crate) String);

/// What `[[:space:]]` means in the tokens' definitions.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// What separates tokens; the backspace is Falco's.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x08 | b'\r' | b'\n')
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, position: 0, last: "" }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn last(&self) -> &'t str {
        self.last
    }

    pub(crate) fn at_end(&self) -> bool {
        self.position == self.text.len()
    }

    fn rest(&self) -> &'t [u8] {
        &self.text.as_bytes()[self.position..]
    }

    fn take(&mut self, n_bytes: usize) -> &'t str {
        // Callers end tokens at ASCII characters only, which are never inside another.
        let end = self.position + n_bytes;
        let token = self.text.get(self.position..end).unwrap_or_default();
        self.position = end;
        self.last = token;
        token
    }

    fn take_while(&mut self, mut holds: impl FnMut(u8) -> bool) -> Option<&'t str> {
        let n = self.rest().iter().position(|b| !holds(*b)).unwrap_or(self.rest().len());
        (n > 0).then(|| self.take(n))
    }

    /// Skips blanks; whether there were any.
    pub(crate) fn blank(&mut self) -> bool {
        let n = self.rest().iter().position(|b| !is_blank(*b)).unwrap_or(self.rest().len());
        self.position += n;
        n > 0
    }

    /// Consumes exactly `text`.
    pub(crate) fn literal(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text.as_bytes());
        if found {
            self.take(text.len());
        }
        found
    }

    /// `not` and at least one white space.
    pub(crate) fn not_blank(&mut self) -> bool {
        let rest = self.rest();
        if !rest.starts_with(b"not") {
            return false;
        }
        let n = rest[3..].iter().take_while(|b| is_space(**b)).count();
        if n == 0 {
            return false;
        }
        self.take(3 + n);
        true
    }

    fn identifier_len(bytes: &[u8]) -> usize {
        let letters = bytes.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if letters == 0 {
            return 0;
        }
        bytes.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
    }

    /// A macro or list name.
    pub(crate) fn identifier(&mut self) -> Option<&'t str> {
        let n = Self::identifier_len(self.rest());
        (n > 0).then(|| self.take(n))
    }

    /// Two or more identifiers joined by dots.
    pub(crate) fn field_name(&mut self) -> Option<&'t str> {
        let rest = self.rest();
        let mut n = Self::identifier_len(rest);
        if n == 0 {
            return None;
        }
        let mut n_parts = 1;
        while rest.get(n) == Some(&b'.') {
            let part = Self::identifier_len(&rest[n + 1..]);
            if part == 0 {
                break;
            }
            n += 1 + part;
            n_parts += 1;
        }
        (n_parts > 1).then(|| self.take(n))
    }

    /// What may stand in brackets without quotes.
    pub(crate) fn bare_argument(&mut self) -> Option<&'t str> {
        self.take_while(|b| !is_space(b) && !matches!(b, b']' | b'[' | b'"' | b'\''))
    }

    /// A string without quotes.
    pub(crate) fn bare_string(&mut self) -> Option<&'t str> {
        self.take_while(|b| !is_space(b) && !matches!(b, b'(' | b')' | b'"' | b'\'' | b'=' | b','))
    }

    /// A hexadecimal or decimal number.
    pub(crate) fn number(&mut self) -> Option<&'t str> {
        let rest = self.rest();
        if rest.len() > 2 && rest[0] == b'0' && matches!(rest[1], b'x' | b'X') {
            let n = rest[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
            if n > 0 {
                return Some(self.take(2 + n));
            }
        }
        let digits = |from: usize| {
            rest.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let sign = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
        let whole = digits(sign);
        if whole == 0 {
            return None;
        }
        let mut n = sign + whole;
        if rest.get(n) == Some(&b'.') {
            n += 1;
        }
        n += digits(n);
        if matches!(rest.get(n), Some(b'e' | b'E')) && matches!(rest.get(n + 1), Some(b'+' | b'-'))
        {
            let exponent = digits(n + 2);
            if exponent > 0 {
                n += 2 + exponent;
            }
        }
        Some(self.take(n))
    }

    /// A string in single or double quotes, unescaped; `None` if none starts or ends here.
    pub(crate) fn quoted(&mut self) -> Result<Option<String>, EscapeError> {
        let rest = self.rest();
        let Some(delimiter @ (b'"' | b'\'')) = rest.first().copied() else {
            return Ok(None);
        };
        // A quote ends the string unless the byte before it is a backslash, even an
        // escaped one: that is how Falco reads strings.
        let mut end = None;
        for i in 1..rest.len() {
            match rest[i] {
                0 => break,
                byte if byte == delimiter && (i == 1 || rest[i - 1] != b'\\') => {
                    end = Some(i);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end else { return Ok(None) };
        let token = self.take(end + 1);
        unescape(&token[1..end], char::from(delimiter)).map(Some)
    }

    /// `exists`.
    pub(crate) fn exists(&mut self) -> bool {
        self.literal("exists")
    }

    /// `<=`, `<`, `>=`, `>`.
    pub(crate) fn number_relation(&mut self) -> Option<Relation> {
        [Relation::LessOrEqual, Relation::Less, Relation::GreaterOrEqual, Relation::Greater]
            .into_iter()
            .find(|relation| self.literal(relation.name()))
    }

    /// A relation with one value; whether it was `==`, and whether it is a symbol.
    pub(crate) fn text_relation(&mut self) -> Option<(Relation, bool)> {
        for (text, relation) in
            [("==", Relation::Equal), ("=", Relation::Equal), ("!=", Relation::NotEqual)]
        {
            if self.literal(text) {
                return Some((relation, text == "=="));
            }
        }
        [
            Relation::Glob,
            Relation::IGlob,
            Relation::Contains,
            Relation::IContains,
            Relation::BContains,
            Relation::StartsWith,
            Relation::BStartsWith,
            Relation::EndsWith,
            Relation::Regex,
        ]
        .into_iter()
        .find(|relation| self.word(relation.name()))
        .map(|relation| (relation, false))
    }

    /// `oneof`, `anyof`, `allof`.
    pub(crate) fn quantifier(&mut self) -> Option<Quantifier> {
        Quantifier::ALL.into_iter().find(|(_, name)| self.word(name)).map(|(q, _)| q)
    }

    /// `intersects`, `in`, `pmatch`.
    pub(crate) fn list_relation(&mut self) -> Option<Relation> {
        [Relation::Intersects, Relation::In, Relation::PMatch]
            .into_iter()
            .find(|relation| self.literal(relation.name()))
    }

    /// The name of a transformer other than `val`, with its opening parenthesis.
    pub(crate) fn transformer(&mut self) -> Option<Transformer> {
        Transformer::ALL.into_iter().find(|transformer| self.call(transformer.name()))
    }

    /// `val(`.
    pub(crate) fn val(&mut self) -> bool {
        self.call(Transformer::Val.name())
    }

    fn call(&mut self, name: &str) -> bool {
        let rest = self.rest();
        let found = rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&b'(');
        if found {
            self.take(name.len() + 1);
        }
        found
    }

    /// Consumes `word` and the blanks that must follow it.
    fn word(&mut self, word: &str) -> bool {
        let saved = self.clone();
        if self.literal(word) && self.blank() {
            return true;
        }
        *self = saved;
        false
    }

    /// Whether a list or a name of one stands here.
    pub(crate) fn list_follows(&self) -> bool {
        self.rest().first() == Some(&b'(') || Self::identifier_len(self.rest()) > 0
    }

    /// Whether `and`, `or` or `not` stands here as a word.
    pub(crate) fn keyword_follows(&self) -> bool {
        [&b"and"[..], b"or", b"not"].into_iter().any(|word| {
            self.rest().starts_with(word)
                && self.rest().get(word.len()).is_none_or(|b| !b.is_ascii_alphanumeric())
        })
    }
}

/// Replaces the escape sequences of the inside of a quoted string.
fn unescape(inside: &str, delimiter: char) -> Result<String, EscapeError> {
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            // The closing quote is never escaped, so a backslash is never the last.
            None => {}
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            // `\ ` is a backslash: published rules rely on it.
            Some(' ' | '\\') => out.push('\\'),
            Some('/') => out.push('/'),
            Some(quote @ ('"' | '\'')) => {
                if quote != delimiter {
                    return Err(EscapeError(format!(
                        "invalid \\{quote} escape in {delimiter}-quoted string"
                    )));
                }
                out.push(quote);
            }
            Some(other) => {
                return Err(EscapeError(format!("unsupported string escape sequence: \\{other}")));
            }
        }
    }
    Ok(out)
}
