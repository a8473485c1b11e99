//! Texts that are signed and stay readable (RFC 9580, section 7).

use crate::OpenPgpError;

/// Largest document, in bytes.
const BYTES_MAX: usize = 32 << 20;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

/// A document, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// What is signed: lines without blanks at their ends, and without the last line end.
    pub(crate) text: String,
    /// The signatures, in armour.
    pub(crate) signatures: String,
}

/// Takes a document apart. What stands before or after it is refused: a reader that takes the
/// document for the signed text would believe it.
pub(crate) fn parse(document: &str) -> Result<Parts, OpenPgpError> {
    let bad = OpenPgpError::NoSignedText;
    if document.len() > BYTES_MAX {
        return Err(OpenPgpError::TooLarge);
    }
    // `lines` takes one carriage return off; others are blanks at the end of a line.
    let mut lines = document.lines().map(|line| line.trim_end_matches([' ', '\t', '\r']));
    if lines.next() != Some(BEGIN) {
        return Err(bad("it does not begin as one"));
    }
    for line in &mut lines {
        if line.is_empty() {
            break;
        }
        if !line.starts_with("Hash: ") {
            return Err(bad("its head has more than the names of hashes"));
        }
    }
    let (mut text, mut is_closed) = (Vec::new(), false);
    for line in &mut lines {
        if line == BEGIN_SIGNATURE {
            is_closed = true;
            break;
        }
        match line.strip_prefix("- ") {
            Some(line) => text.push(line),
            None if line.starts_with('-') => return Err(bad("a line begins with a dash")),
            None => text.push(line),
        }
    }
    let (mut signatures, mut has_ended) = (format!("{BEGIN_SIGNATURE}\n"), false);
    for line in &mut lines {
        signatures.push_str(line);
        signatures.push('\n');
        if line == END_SIGNATURE {
            has_ended = true;
            break;
        }
    }
    if !is_closed || !has_ended {
        return Err(bad("it ends too early"));
    }
    if lines.any(|line| !line.is_empty()) {
        return Err(bad("something stands after it"));
    }
    Ok(Parts { text: text.join("\n"), signatures })
}

/// A text as it is hashed: every line end is a carriage return and a line feed.
pub(crate) fn with_line_ends(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    let mut last = 0;
    for &byte in text {
        if byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        last = byte;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_taken_apart() {
        let check = |document: &str, expected: Result<&str, &'static str>| {
            let found = parse(document).map(|parts| parts.text);
            let expected = expected.map(str::to_string).map_err(OpenPgpError::NoSignedText);
            assert_eq!(found, expected, "{document}");
        };
        let tail = format!("{BEGIN_SIGNATURE}\n\nAAAA\n{END_SIGNATURE}\n");
        let whole = |text: &str| format!("{BEGIN}\nHash: SHA512\n\n{text}\n{tail}");
        check(&whole("a: b \t\r\n- - c\n- -----BEGIN"), Ok("a: b\n- c\n-----BEGIN"));
        check(&whole(""), Ok(""));
        check(&format!("x\n{}", whole("a")), Err("it does not begin as one"));
        check("", Err("it does not begin as one"));
        check(&format!("{}x\n", whole("a")), Err("something stands after it"));
        check(&whole("-x"), Err("a line begins with a dash"));
        check(
            &format!("{BEGIN}\nSuite: x\n\na\n{tail}"),
            Err("its head has more than the names of hashes"),
        );
        check(&format!("{BEGIN}\n\na\n"), Err("it ends too early"));
        check(&format!("{BEGIN}\n\na\n{BEGIN_SIGNATURE}\n"), Err("it ends too early"));
        assert_eq!(parse(&"x".repeat(BYTES_MAX + 1)), Err(OpenPgpError::TooLarge));
    }

    #[test]
    fn line_ends_are_made_once() {
        assert_eq!(with_line_ends(b"a\nb\r\n\nc"), b"a\r\nb\r\n\r\nc");
    }
}
