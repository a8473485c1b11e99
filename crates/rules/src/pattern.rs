//! `regex`: RE2 in POSIX syntax, on the engine at hand.
//!
//! RE2's POSIX mode knows no Perl classes and no groups with options, reads a lone
//! brace or an inner bracket as itself, and lets `^` and `$` match at line breaks. A
//! pattern is checked for the former and rewritten for the latter. A value must match as
//! a whole.

use regex::bytes::{Regex, RegexBuilder};

/// Bytes of one compiled pattern.
pub const REGEX_BYTES_MAX: usize = 4 << 20;
/// Repetitions that a pattern may ask for, as in RE2.
const REPEAT_MAX: u32 = 1000;

/// Compiles `pattern` so that it matches whole values.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let rewritten = rewrite(pattern)?;
    RegexBuilder::new(&format!("\\A(?:{rewritten})\\z"))
        .multi_line(true)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| {
            // The engine's own message shows the rewritten pattern on several lines.
            let text = error.to_string();
            text.lines().last().unwrap_or("invalid").trim_start_matches("error: ").to_owned()
        })
}

fn rewrite(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next().map(|(_, c)| c);
                push_escape(&mut out, escaped)?;
            }
            '[' => {
                let length = rewrite_class(&pattern[at..], &mut out)?;
                while chars.next_if(|(next, _)| *next < at + length).is_some() {}
            }
            '(' if matches!(chars.peek(), Some((_, '?'))) => {
                return Err("missing argument to repetition operator: ?".to_owned());
            }
            '{' => {
                if !is_repetition(&pattern[at..])? {
                    out.push('\\');
                }
                out.push('{');
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Whether `{n}`, `{n,}` or `{n,m}` stands at the start of `text`.
fn is_repetition(text: &str) -> Result<bool, String> {
    let Some((inside, _)) = text[1..].split_once('}') else {
        return Ok(false);
    };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if low.is_empty() || !digits(low) || !digits(high) {
        return Ok(false);
    }
    let too_many = |part: &str| part.parse::<u32>().map_or(!part.is_empty(), |n| n > REPEAT_MAX);
    if too_many(low) || too_many(high) {
        return Err(format!("invalid repetition size: {{{inside}}}"));
    }
    Ok(true)
}

fn push_escape(out: &mut String, escaped: Option<char>) -> Result<(), String> {
    match escaped {
        None => return Err("trailing \\ at end of regexp".to_owned()),
        // The engine reads these two as word boundaries.
        Some(c @ ('<' | '>')) => out.push(c),
        Some(c @ ('a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x')) => {
            out.push('\\');
            out.push(c);
        }
        Some(c) if c.is_ascii_alphanumeric() => {
            return Err(format!("invalid escape sequence: \\{c}"));
        }
        Some(c) if c.is_ascii() => {
            out.push('\\');
            out.push(c);
        }
        Some(c) => out.push(c),
    }
    Ok(())
}

/// Rewrites the bracket expression at the start of `text`; returns its length in bytes.
fn rewrite_class(text: &str, out: &mut String) -> Result<usize, String> {
    let missing = || "missing ]: ".to_owned() + text;
    let mut chars = text.char_indices().peekable();
    chars.next();
    out.push('[');
    if chars.next_if(|(_, c)| *c == '^').is_some() {
        out.push('^');
    }
    let mut is_first = true;
    loop {
        let (at, c) = chars.next().ok_or_else(missing)?;
        match c {
            ']' if !is_first => {
                out.push(']');
                return Ok(at + 1);
            }
            '[' if text[at..].starts_with("[:") => {
                let length = text[at..].find(":]").ok_or_else(missing)? + 2;
                out.push_str(&text[at..at + length]);
                while chars.next_if(|(next, _)| *next < at + length).is_some() {}
            }
            '\\' => push_escape(out, chars.next().map(|(_, c)| c))?,
            // A range keeps its dash; a dash at either end is itself.
            '-' if !is_first && !matches!(chars.peek(), Some((_, ']'))) => out.push('-'),
            '[' | ']' | '&' | '~' | '-' => {
                out.push('\\');
                out.push(c);
            }
            other => out.push(other),
        }
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(compile(pattern).unwrap().is_match(text.as_bytes()), expected, "{pattern}");
    }

    #[test]
    fn matches_whole_values_in_posix_syntax() {
        check("my.*", "myexe", true);
        check("y.*", "myexe", false);
        check("a|ab", "ab", true);
        check("[[:alpha:]]+[0-9]{2,3}", "abc123", true);
        check("[]a]+", "]a", true);
        check("[[a]", "[", true);
        check("a{b", "a{b", true);
        check("\\/home\\-x", "/home-x", true);
        check(".", "\n", false);
        check("research[0-9]+", "research7", true);
    }

    #[test]
    fn refuses_what_posix_does_not_have() {
        for pattern in ["\\d+", "(?i)a", "[a", "a\\", "*a", "a{1001}", "(a", "\\bx"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
        assert!(compile(&"(a{1000}){1000}".repeat(3)).is_err());
    }
}
