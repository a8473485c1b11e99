//! The distribution of an image, from `os-release(5)`.

use palisade_model::Distribution;

/// Longer values are cut, in characters.
const VALUE_CHARS_MAX: usize = 256;

/// Reads `os-release`; `None` when it has no `ID`.
pub fn parse(bytes: &[u8]) -> Option<Distribution> {
    let text = String::from_utf8_lossy(bytes);
    let value = |key: &str| {
        let line = text.lines().rev().find_map(|line| line.trim().strip_prefix(key));
        unquote(line.and_then(|rest| rest.strip_prefix('=')).unwrap_or_default())
    };
    let id = value("ID");
    if id.is_empty() {
        return None;
    }
    let pretty = value("PRETTY_NAME");
    let name = if pretty.is_empty() { value("NAME") } else { pretty };
    Some(Distribution {
        name: if name.is_empty() { id.clone() } else { name },
        id: id.to_ascii_lowercase(),
        version_id: value("VERSION_ID"),
        codename: value("VERSION_CODENAME"),
    })
}

/// A value without its shell quotes.
fn unquote(text: &str) -> String {
    let text = text.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)).map(|v| (quote, v))
    });
    let mut out = String::new();
    match quoted {
        Some(('"', inner)) => {
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                out.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
        }
        Some((_, inner)) => out.push_str(inner),
        None => out.push_str(text),
    }
    out.chars().take(VALUE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_distributions_write() {
        let check = |text: &str, expected: Option<(&str, &str, &str, &str)>| {
            let found = parse(text.as_bytes());
            let found = found.as_ref().map(|d| {
                (d.id.as_str(), d.version_id.as_str(), d.codename.as_str(), d.name.as_str())
            });
            assert_eq!(found, expected, "{text}");
        };
        check(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n",
            Some(("debian", "12", "bookworm", "Debian GNU/Linux 12 (bookworm)")),
        );
        check(
            "NAME='Alpine Linux'\nID=alpine\nVERSION_ID=3.20.1",
            Some(("alpine", "3.20.1", "", "Alpine Linux")),
        );
        check("ID_LIKE=debian\nNAME=x", None);
        check("ID=\"a\\\"b\"", Some(("a\"b", "", "", "a\"b")));
        check("ID=one\nID=two", Some(("two", "", "", "two")));
        check("", None);
    }
}
