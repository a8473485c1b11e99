//! fnmatch(3) without flags, over bytes: `*` and `?` match a slash and a leading dot too.
//!
//! One pattern costs at most its length times the text's: there is one point of return,
//! the last star.

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    fold: bool,
}

#[derive(Debug, Clone)]
enum Token {
    Byte(u8),
    Any,
    Star,
    Class(Box<[bool; 256]>),
    /// A trailing backslash matches nothing.
    Nothing,
}

impl Glob {
    /// Compiles `pattern`; `fold` makes ASCII letters match either case.
    pub(crate) fn new(pattern: &[u8], fold: bool) -> Self {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut i = 0;
        while let Some(byte) = pattern.get(i).copied() {
            i += 1;
            match byte {
                b'*' => {
                    if !matches!(tokens.last(), Some(Token::Star)) {
                        tokens.push(Token::Star);
                    }
                }
                b'?' => tokens.push(Token::Any),
                b'\\' => match pattern.get(i).copied() {
                    Some(next) => {
                        tokens.push(Token::Byte(folded(next, fold)));
                        i += 1;
                    }
                    None => tokens.push(Token::Nothing),
                },
                b'[' => match class(&pattern[i..], fold) {
                    Some((set, length)) => {
                        tokens.push(Token::Class(set));
                        i += length;
                    }
                    // Without its end a bracket is itself.
                    None => tokens.push(Token::Byte(b'[')),
                },
                other => tokens.push(Token::Byte(folded(other, fold))),
            }
        }
        Self { tokens, fold }
    }

    /// Whether the whole of `text` matches.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut t, mut p) = (0, 0);
        // Where to go on after the last star takes one byte more.
        let mut back: Option<(usize, usize)> = None;
        loop {
            let ok = match (self.tokens.get(p), text.get(t)) {
                (None, None) => return true,
                (Some(Token::Star), _) => {
                    if p + 1 == self.tokens.len() {
                        return true;
                    }
                    back = Some((p + 1, t));
                    p += 1;
                    continue;
                }
                (Some(Token::Byte(want)), Some(have)) => folded(*have, self.fold) == *want,
                (Some(Token::Any), Some(_)) => true,
                (Some(Token::Class(set)), Some(have)) => set[usize::from(*have)],
                _ => false,
            };
            if ok {
                p += 1;
                t += 1;
                continue;
            }
            match back {
                Some((after_star, from)) if from < text.len() => {
                    back = Some((after_star, from + 1));
                    p = after_star;
                    t = from + 1;
                }
                _ => return false,
            }
        }
    }
}

fn folded(byte: u8, fold: bool) -> u8 {
    if fold { byte.to_ascii_lowercase() } else { byte }
}

/// Reads a bracket expression after its `[`; the bytes it matches and its length.
fn class(pattern: &[u8], fold: bool) -> Option<(Box<[bool; 256]>, usize)> {
    let mut set = Box::new([false; 256]);
    let mut i = 0;
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    if negated {
        i += 1;
    }
    let first = i;
    loop {
        let byte = *pattern.get(i)?;
        if byte == b']' && i > first {
            i += 1;
            break;
        }
        if byte == b'[' && pattern.get(i + 1) == Some(&b':') {
            let rest = &pattern[i + 2..];
            let length = rest.windows(2).position(|pair| pair == b":]")?;
            add_named(&mut set, &rest[..length])?;
            i += length + 4;
            continue;
        }
        let (low, next) = class_byte(pattern, i)?;
        i = next;
        let is_range = pattern.get(i) == Some(&b'-') && pattern.get(i + 1) != Some(&b']');
        if is_range {
            let (high, next) = class_byte(pattern, i + 1)?;
            i = next;
            for b in low..=high {
                set[usize::from(b)] = true;
            }
        } else {
            set[usize::from(low)] = true;
        }
    }
    if fold {
        for letter in b'a'..=b'z' {
            let upper = letter.to_ascii_uppercase();
            let either = set[usize::from(letter)] || set[usize::from(upper)];
            set[usize::from(letter)] = either;
            set[usize::from(upper)] = either;
        }
    }
    if negated {
        set.iter_mut().for_each(|member| *member = !*member);
    }
    Some((set, i))
}

fn class_byte(pattern: &[u8], i: usize) -> Option<(u8, usize)> {
    match *pattern.get(i)? {
        b'\\' => Some((*pattern.get(i + 1)?, i + 2)),
        byte => Some((byte, i + 1)),
    }
}

fn add_named(set: &mut [bool; 256], name: &[u8]) -> Option<()> {
    let holds: fn(u8) -> bool = match name {
        b"alpha" => |b| b.is_ascii_alphabetic(),
        b"digit" => |b| b.is_ascii_digit(),
        b"alnum" => |b| b.is_ascii_alphanumeric(),
        b"upper" => |b| b.is_ascii_uppercase(),
        b"lower" => |b| b.is_ascii_lowercase(),
        b"space" => |b| b.is_ascii_whitespace() || b == 0x0b,
        b"blank" => |b| b == b' ' || b == b'\t',
        b"punct" => |b| b.is_ascii_punctuation(),
        b"print" => |b| b.is_ascii_graphic() || b == b' ',
        b"graph" => |b| b.is_ascii_graphic(),
        b"cntrl" => |b| b.is_ascii_control(),
        b"xdigit" => |b| b.is_ascii_hexdigit(),
        _ => return None,
    };
    for byte in 0..=u8::MAX {
        set[usize::from(byte)] |= holds(byte);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(Glob::new(pattern.as_bytes(), false).matches(text.as_bytes()), expected);
    }

    #[test]
    fn matches_as_fnmatch_does() {
        check("*../*../*", "/a/../b/../c", true);
        check("/home/*/.ssh/*", "/home/u/.ssh/id_rsa", true);
        check("/home/*/.ssh/*", "/home/.ssh/id_rsa", false);
        check("*", "", true);
        check("?", "", false);
        check("a?c", "a/c", true);
        check("[a-c]x", "bx", true);
        check("[!a-c]x", "bx", false);
        check("[]]", "]", true);
        check("[[:digit:]]*", "7up", true);
        check("[abc", "[abc", true);
        check("a\\*", "a*", true);
        check("a\\*", "ab", false);
        check("a\\", "a\\", false);
        check("*a*b*c*", "xxaxxbxxcxx", true);
        assert!(Glob::new(b"MY*[E]", true).matches(b"myexe"));
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product() {
        let pattern = "*a".repeat(200);
        let text = "a".repeat(20_000) + "b";
        assert!(!Glob::new(pattern.as_bytes(), false).matches(text.as_bytes()));
    }
}
