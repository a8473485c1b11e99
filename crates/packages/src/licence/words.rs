//! The words of a licence's text that count, after SPDX's matching guidelines (SPDX 2.3,
//! annex C).

/// The hashes of the words of `text`, at most `n_max`.
pub(super) fn of(text: &str, n_max: usize) -> Vec<u32> {
    let mut found = Vec::new();
    for line in text.lines() {
        // Signs of comments, quotes, bullets and headings.
        let line = line.trim_start_matches(|c: char| !c.is_alphanumeric() && !"(©<[".contains(c));
        if is_notice(line) {
            continue;
        }
        let tokens = line.split_whitespace().enumerate();
        let tokens = tokens.filter(|(at, token)| !is_number(token, *at == 0)).map(|(_, t)| t);
        let parts =
            tokens.flat_map(|token| token.split(|c: char| !c.is_alphanumeric() && !is_joint(c)));
        for part in parts {
            let word: String =
                part.chars().filter(|c| !is_joint(*c)).flat_map(char::to_lowercase).collect();
            if word.is_empty() {
                continue;
            }
            if found.len() >= n_max {
                return found;
            }
            let bytes = usual(&word).bytes();
            found.push(bytes.fold(EMPTY, |hash, byte| mix(hash, u32::from(byte))));
        }
    }
    found
}

/// The hash of nothing (FNV-1a, 32 bits).
pub(super) const EMPTY: u32 = 0x811c_9dc5;

/// A step of FNV-1a.
pub(super) fn mix(hash: u32, value: u32) -> u32 {
    value
        .to_le_bytes()
        .iter()
        .take(if value < 256 { 1 } else { 4 })
        .fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// What stands within words: hyphens of all kinds and apostrophes (guideline 5).
fn is_joint(c: char) -> bool {
    matches!(c, '-' | '\u{2010}' | '\u{2011}' | '\'' | '\u{2019}')
}

/// Whether a line is a copyright notice (guideline 9), and not a sentence about copyright that
/// happens to break there.
fn is_notice(line: &str) -> bool {
    let lower = line.trim().to_lowercase();
    let rest = lower.strip_prefix("copyright").map(str::trim_start);
    let begins = |rest: &str| {
        rest.starts_with(['©', '[', '<', '{'])
            || rest.starts_with("(c)")
            || rest.starts_with(|c: char| c.is_ascii_digit())
    };
    // A name without a year; licences write of the `Copyright Holder`.
    let in_sentence = ["holder", "owner", "notice", "licen", "law", "act", "statement"];
    let is_name = |rest: &str| {
        line.starts_with("Copyright ")
            && !rest.is_empty()
            && !in_sentence.iter().any(|word| rest.starts_with(word))
    };
    rest.is_some_and(|rest| begins(rest) || is_name(rest))
        || lower.strip_prefix("(c)").is_some_and(|rest| begins(rest.trim_start()))
        || lower.starts_with('©')
        || lower.trim_end_matches('.') == "all rights reserved"
}

/// Whether a token is the number or letter before a paragraph (guideline 7): `1.`, `(a)`,
/// `iv)`; at the beginning of a line also `2.1`. In text that was filled anew they stand
/// within lines.
fn is_number(token: &str, begins_line: bool) -> bool {
    const BYTES_MAX: usize = 6;
    let inner = token.trim_start_matches(['(', '[']).trim_end_matches(['.', ')', ']', ':']);
    if inner.is_empty() || token.len() > BYTES_MAX {
        return false;
    }
    let is_marked = inner.len() < token.len() || (begins_line && inner.contains('.'));
    let is_digits = inner.chars().all(|c| c.is_ascii_digit() || (begins_line && c == '.'));
    let is_letter = inner.len() == 1 && inner.chars().all(|c| c.is_ascii_alphabetic());
    let is_roman = inner.chars().all(|c| "ivxIVX".contains(c));
    is_marked && (is_digits || is_letter || is_roman)
}

/// Words that are spelled in several ways, and the one that stands for all (guideline 8), as
/// they are without their hyphens.
fn usual(word: &str) -> &str {
    match word {
        "acknowledgement" => "acknowledgment",
        "analogue" => "analog",
        "analyse" => "analyze",
        "artefact" => "artifact",
        "authorisation" => "authorization",
        "authorised" => "authorized",
        "calibre" => "caliber",
        "cancelled" => "canceled",
        "capitalisations" => "capitalizations",
        "catalogue" => "catalog",
        "categorise" => "categorize",
        "centre" => "center",
        "emphasised" => "emphasized",
        "favour" => "favor",
        "favourite" => "favorite",
        "fulfil" => "fulfill",
        "fulfilment" => "fulfillment",
        "https" => "http",
        "initialise" => "initialize",
        "judgement" => "judgment",
        "labelling" => "labeling",
        "labour" => "labor",
        "licence" => "license",
        "licenced" => "licensed",
        "licences" => "licenses",
        "maximise" => "maximize",
        "modelled" => "modeled",
        "modelling" => "modeling",
        "offence" => "offense",
        "optimise" => "optimize",
        "organisation" => "organization",
        "organise" => "organize",
        "owner" => "holder",
        "owners" => "holders",
        "practise" => "practice",
        "programme" => "program",
        "realise" => "realize",
        "recognise" => "recognize",
        "signalling" => "signaling",
        "sublicence" => "sublicense",
        "utilisation" => "utilization",
        "whilst" => "while",
        "wilful" => "willful",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_difference() {
        let check = |one: &str, other: &str| {
            assert_eq!(of(one, 1_000), of(other, 1_000), "{one:?} {other:?}");
        };
        check("Permission is hereby granted", " * permission  IS\n# hereby, granted.");
        check("“AS IS”, without", "``as is'' WITHOUT");
        check("a non-exclusive sub-license", "a nonexclusive sublicence");
        check("1. Redistributions", "  * Redistributions");
        check("(a) You\niv) may\n2.1. not", "you may not");
        check("MIT\nCopyright (c) 2020 Somebody\nAll rights reserved.\nx", "mit\nx");
        check("© 2020 A\n(c) 2019 B\nCopyright Somebody and others\nx", "x");
        check("https://www.apache.org", "http://www.apache.org/");
        check("the copyright owner", "the copyright holder");
    }

    #[test]
    fn what_does() {
        let check = |one: &str, other: &str| {
            assert_ne!(of(one, 1_000), of(other, 1_000), "{one:?} {other:?}");
        };
        check("copyright notice, this list", "");
        check("COPYRIGHT HOLDERS BE LIABLE", "");
        check("is a must", "is must");
        check("with notice", "without notice");
    }

    #[test]
    fn words_are_bounded() {
        assert_eq!(of(&"word ".repeat(100), 7).len(), 7);
    }
}
