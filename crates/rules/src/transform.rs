//! The transformers, over bytes.

/// Appends `text` in lower case, ASCII letters only.
pub(crate) fn to_lower(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(u8::to_ascii_lowercase));
}

/// Appends `text` in upper case, ASCII letters only.
pub(crate) fn to_upper(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(u8::to_ascii_uppercase));
}

/// What follows the last slash.
pub(crate) fn basename(text: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', text).map_or(text, |at| &text[at + 1..])
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Appends the bytes that `text` stands for; whether it is base64, padded or not.
pub(crate) fn base64(text: &[u8], out: &mut Vec<u8>) -> bool {
    let n_padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let digits = &text[..text.len() - n_padding];
    let n_last = digits.len() % 4;
    if n_last == 1 || (n_padding > 0 && n_last + n_padding != 4) {
        return false;
    }
    for group in digits.chunks(4) {
        let mut word = 0_u32;
        for byte in group {
            let Some(value) = sextet(*byte) else {
                return false;
            };
            word = word << 6 | u32::from(value);
        }
        word <<= 6 * (4 - group.len());
        let [_, bytes @ ..] = word.to_be_bytes();
        let n_bytes = group.len() - 1;
        // Bits beyond the last byte must be zero.
        if bytes[n_bytes..].iter().any(|byte| *byte != 0) {
            return false;
        }
        out.extend_from_slice(&bytes[..n_bytes]);
    }
    true
}

/// Options and their values as getopt(3) finds them.
pub(crate) struct Getopt<'o> {
    optstring: &'o [u8],
    selector: Option<u8>,
}

impl<'o> Getopt<'o> {
    /// `selector` asks for the last value of one option only.
    pub(crate) fn new(optstring: &'o [u8], selector: Option<u8>) -> Self {
        Self { optstring: optstring.strip_prefix(b":").unwrap_or(optstring), selector }
    }

    /// Whether the option exists, and whether it takes a value.
    fn option(&self, option: u8) -> Option<bool> {
        if option == b':' {
            return None;
        }
        let at = memchr::memchr(option, self.optstring)?;
        // Of a repeated letter any may announce a value.
        let takes_value = self.optstring.windows(2).any(|pair| pair == [option, b':']);
        debug_assert!(at < self.optstring.len());
        Some(takes_value)
    }

    /// Calls `emit` with each result: options and values, `?` for unknown options; with a
    /// selector only its values, of which the last counts. `arguments(i)` is the i-th.
    pub(crate) fn run<'a>(
        &self,
        n_arguments: usize,
        arguments: impl Fn(usize) -> &'a [u8],
        mut emit: impl FnMut(&'a [u8]),
    ) {
        let mut i = 0;
        while i < n_arguments {
            let argument = arguments(i);
            i += 1;
            if argument == b"--" {
                return;
            }
            if argument.len() > 2 && argument.starts_with(b"--") {
                continue;
            }
            if argument.len() < 2 || argument[0] != b'-' {
                return;
            }
            for (at, option) in argument.iter().copied().enumerate().skip(1) {
                let name = &argument[at..=at];
                let wanted = self.selector.is_none_or(|selector| selector == option);
                match self.option(option) {
                    None => {
                        if self.selector.is_none() {
                            emit(b"?");
                        }
                    }
                    Some(false) => {
                        if wanted {
                            emit(name);
                        }
                    }
                    Some(true) => {
                        let mut value = Some(&argument[at + 1..]).filter(|v| !v.is_empty());
                        if value.is_none() && i < n_arguments {
                            value = Some(arguments(i));
                            i += 1;
                        }
                        if wanted {
                            match value {
                                Some(value) => {
                                    if self.selector.is_none() {
                                        emit(name);
                                    }
                                    emit(value);
                                }
                                None => emit(b""),
                            }
                        }
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_base64(text: &str, expected: Option<&str>) {
        let mut out = Vec::new();
        let decoded = base64(text.as_bytes(), &mut out).then_some(out);
        assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
    }

    #[test]
    fn decodes_base64_with_and_without_padding() {
        check_base64("YWFhYmJi", Some("aaabbb"));
        check_base64("YQ==", Some("a"));
        check_base64("YQ", Some("a"));
        check_base64("YWE=", Some("aa"));
        check_base64("", Some(""));
        check_base64("Y", None);
        check_base64("YR", None);
        check_base64("Y!==", None);
    }

    #[track_caller]
    fn check_getopt(optstring: &str, selector: Option<u8>, arguments: &[&str], expected: &[&str]) {
        let mut out = Vec::new();
        Getopt::new(optstring.as_bytes(), selector).run(
            arguments.len(),
            |i| arguments[i].as_bytes(),
            |result| out.push(String::from_utf8_lossy(result).into_owned()),
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn reads_options_as_getopt_does() {
        check_getopt("nt:", None, &["-n", "-t", "5", "file"], &["n", "t", "5"]);
        check_getopt("nt:", None, &["-nt5", "--exec", "-x"], &["n", "t", "5", "?"]);
        check_getopt("nt:", None, &["--", "-n"], &[]);
        check_getopt("nt:", None, &["-t"], &[""]);
        check_getopt("nt:", Some(b't'), &["-t1", "-n", "-t", "2"], &["1", "2"]);
    }
}
