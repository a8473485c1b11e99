//! Names of licences as distributions and languages write them, as SPDX writes them.
//!
//! Debian's short names (DEP-5), Fedora's and SUSE's before they took SPDX's, Alpine's and
//! Arch's older ones, the classifiers of Python, and what people write into `package.json` and
//! `METADATA`. What is not known is left as it is, and fails to parse.

/// Nothing that states more names than this is read further.
const NAMES_MAX: usize = 400;

/// `statement` with every name that is known replaced by SPDX's, and the operators in its form.
pub fn expression(statement: &str) -> String {
    let statement = statement.trim();
    // A trove classifier: the last part is the name.
    let statement = match statement.strip_prefix("License ::") {
        Some(rest) => rest.rsplit("::").next().unwrap_or(rest).trim(),
        None => statement,
    };
    if let Some(known) = whole(statement) {
        return known.to_string();
    }
    let mut out = String::with_capacity(statement.len() + 16);
    for (index, token) in tokens(statement).into_iter().enumerate() {
        if index > NAMES_MAX {
            return statement.to_string();
        }
        match token {
            Token::Open => out.push('('),
            Token::Close => out.push(')'),
            Token::And => out.push_str(" AND "),
            Token::Or => out.push_str(" OR "),
            Token::Name(name) => out.push_str(&one(&name)),
        }
    }
    out
}

#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Name(String),
}

/// Names and operators: `and`, `or`, `&`, `|`, `/`, `,` and `;` in any case.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut name: Vec<&str> = Vec::new();
    let end = |name: &mut Vec<&str>, tokens: &mut Vec<Token>| {
        if !name.is_empty() {
            tokens.push(Token::Name(name.join(" ")));
            name.clear();
        }
    };
    // A name may have parentheses within: `BSD (3-clause)`. They are grouping where an
    // operator stands within them.
    let is_grouped = |text: &str| {
        let lower = text.to_ascii_lowercase();
        lower.contains(" or ") || lower.contains(" and ")
    };
    let spaced = if is_grouped(text) {
        text.replace('(', " ( ").replace(')', " ) ")
    } else {
        text.to_string()
    };
    let spaced = spaced.replace(", ", " , ").replace(';', " , ").replace('|', " or ");
    for word in spaced.split_whitespace() {
        let operator = match word.to_ascii_lowercase().as_str() {
            "(" => Some(Token::Open),
            ")" => Some(Token::Close),
            "and" | "&" | "," | "&&" => Some(Token::And),
            "or" | "/" | "and/or" => Some(Token::Or),
            _ => None,
        };
        match operator {
            Some(operator) => {
                end(&mut name, &mut tokens);
                // `a, and b` has one operator.
                let is_double = matches!(operator, Token::And | Token::Or)
                    && matches!(tokens.last(), Some(Token::And | Token::Or) | None);
                if is_double {
                    if matches!(operator, Token::Or)
                        && let Some(last) = tokens.last_mut()
                    {
                        *last = Token::Or;
                    }
                } else {
                    tokens.push(operator);
                }
            }
            None => name.push(word),
        }
    }
    end(&mut name, &mut tokens);
    while matches!(tokens.last(), Some(Token::And | Token::Or)) {
        tokens.pop();
    }
    tokens
}

/// One name, with its exception if it has one.
fn one(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let parted = lower.find(" with ").map(|at| (at, at + " with ".len()));
    if let Some((end, start)) = parted {
        let (base, exception) = (name.get(..end).unwrap_or(name), name.get(start..).unwrap_or(""));
        let exception = exception_of(exception);
        return match exception {
            Some(exception) => format!("{} WITH {exception}", one(base)),
            // An exception that SPDX does not list only permits more.
            None => one(base),
        };
    }
    if let Some(known) = whole(name) {
        return known.to_string();
    }
    if let Some(known) = gnu(&lower) {
        return known;
    }
    // A custom licence: `custom:name`, Debian's own short names.
    if let Some(rest) = lower.strip_prefix("custom:") {
        let rest: String =
            rest.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        if !rest.is_empty() {
            return format!("LicenseRef-{rest}");
        }
    }
    name.to_string()
}

fn exception_of(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    if let Some(id) = spdx::exception_id(text.trim()) {
        return Some(id.name);
    }
    let known = [
        ("classpath", "Classpath-exception-2.0"),
        ("gcc", "GCC-exception-3.1"),
        ("autoconf", "Autoconf-exception-3.0"),
        ("bison", "Bison-exception-2.2"),
        ("libtool", "Libtool-exception"),
        ("font", "Font-exception-2.0"),
        ("openssl", "openvpn-openssl-exception"),
        ("llvm", "LLVM-exception"),
        ("linux-syscall", "Linux-syscall-note"),
        ("qt", "Qt-GPL-exception-1.0"),
    ];
    known.iter().find(|(word, _)| lower.contains(word)).map(|(_, id)| *id)
}

/// GNU's licences in the many forms: `GPL-2+`, `GPLv2+`, `LGPLv2.1`, `GPL 3`, `GPL2`.
fn gnu(lower: &str) -> Option<String> {
    let text: String = lower.replace("version", "").replace("gnu ", "").replace([' ', '_'], "");
    let families = [("agpl", "AGPL"), ("lgpl", "LGPL"), ("gfdl", "GFDL"), ("gpl", "GPL")];
    let (family, rest) =
        families.iter().find_map(|(word, name)| Some((*name, text.strip_prefix(word)?)))?;
    let rest = rest.trim_start_matches(['-', 'v', ',']);
    let (rest, niv) = match rest.strip_prefix("niv-") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let number = number.trim_end_matches('.');
    let number = match (family, number) {
        // Without a number any version may be chosen, and the first is the least.
        (_, "") => "",
        (_, n) if n.contains('.') => n,
        (_, n) => &format!("{n}.0"),
    };
    let later = matches!(suffix, "+" | "orlater" | "-or-later" | "-orlater" | "ornewer" | ".0+");
    if !(later || suffix.is_empty() || suffix == "only" || suffix == "-only") {
        return None;
    }
    if number.is_empty() {
        let first = match family {
            "AGPL" => "AGPL-1.0-or-later",
            "LGPL" => "LGPL-2.0-or-later",
            "GFDL" => "GFDL-1.1-or-later",
            _ => "GPL-1.0-or-later",
        };
        return Some(first.to_string());
    }
    let invariants = if niv { "-no-invariants" } else { "" };
    let end = if later { "or-later" } else { "only" };
    let id = format!("{family}-{number}{invariants}-{end}");
    spdx::license_id(&id).map(|id| id.name.to_string())
}

/// Names that stand for themselves, in lower case.
#[rustfmt::skip]
const NAMES: &[(&str, &str)] = &[
    ("expat", "MIT"), ("mit license", "MIT"), ("the mit license", "MIT"), ("mit licence", "MIT"),
    ("mit/x11", "MIT"), ("mit/expat", "MIT"), ("mit-style", "MIT"), ("mit/x11 license", "MIT"), ("the mit license (mit)", "MIT"), ("mit license (mit)", "MIT"), ("mit no attribution license (mit-0)", "MIT-0"),
    ("apache", "Apache-2.0"), ("apache 2", "Apache-2.0"), ("apache 2.0", "Apache-2.0"), ("apache2", "Apache-2.0"), ("apache-2", "Apache-2.0"), ("apache2.0", "Apache-2.0"), ("asl 2.0", "Apache-2.0"), ("asl-2.0", "Apache-2.0"), ("asl 1.1", "Apache-1.1"),
    ("apache license 2.0", "Apache-2.0"), ("apache license, version 2.0", "Apache-2.0"), ("apache license version 2.0", "Apache-2.0"), ("apache software license", "Apache-2.0"), ("apache software license 2.0", "Apache-2.0"), ("apache license", "Apache-2.0"), ("the apache license, version 2.0", "Apache-2.0"), ("the apache software license, version 2.0", "Apache-2.0"),
    ("bsd", "BSD-3-Clause"), ("bsd license", "BSD-3-Clause"), ("new bsd", "BSD-3-Clause"), ("new bsd license", "BSD-3-Clause"), ("modified bsd", "BSD-3-Clause"), ("bsd 3-clause", "BSD-3-Clause"), ("bsd (3-clause)", "BSD-3-Clause"), ("bsd-3", "BSD-3-Clause"), ("bsd3", "BSD-3-Clause"), ("3-clause bsd", "BSD-3-Clause"), ("3-clause bsd license", "BSD-3-Clause"), ("bsd 3-clause license", "BSD-3-Clause"), ("bsd-3-clause license", "BSD-3-Clause"), ("bsd-3clause", "BSD-3-Clause"),
    ("simplified bsd", "BSD-2-Clause"), ("bsd 2-clause", "BSD-2-Clause"), ("bsd-2", "BSD-2-Clause"), ("bsd2", "BSD-2-Clause"), ("freebsd", "BSD-2-Clause"), ("2-clause bsd", "BSD-2-Clause"), ("bsd 2-clause license", "BSD-2-Clause"), ("bsd-2clause", "BSD-2-Clause"),
    ("bsd with advertising", "BSD-4-Clause"), ("bsd-4", "BSD-4-Clause"), ("bsd-4clause", "BSD-4-Clause"), ("0bsd license", "0BSD"),
    ("isc license", "ISC"), ("isc license (iscl)", "ISC"), ("zlib/libpng license", "Zlib"), ("zlib license", "Zlib"), ("boost", "BSL-1.0"), ("bsl", "BSL-1.0"), ("boost-1.0", "BSL-1.0"), ("boost software license 1.0 (bsl-1.0)", "BSL-1.0"), ("boost software license - version 1.0", "BSL-1.0"),
    ("gpl", "GPL-1.0-or-later"), ("gnu general public license (gpl)", "GPL-1.0-or-later"), ("gnu general public license v2 (gplv2)", "GPL-2.0-only"), ("gnu general public license v2 or later (gplv2+)", "GPL-2.0-or-later"), ("gnu general public license v3 (gplv3)", "GPL-3.0-only"), ("gnu general public license v3 or later (gplv3+)", "GPL-3.0-or-later"),
    ("gnu lesser general public license v2 (lgplv2)", "LGPL-2.0-only"), ("gnu lesser general public license v2 or later (lgplv2+)", "LGPL-2.0-or-later"), ("gnu lesser general public license v3 (lgplv3)", "LGPL-3.0-only"), ("gnu lesser general public license v3 or later (lgplv3+)", "LGPL-3.0-or-later"), ("gnu library or lesser general public license (lgpl)", "LGPL-2.0-or-later"),
    ("gnu affero general public license v3", "AGPL-3.0-only"), ("gnu affero general public license v3 or later (agplv3+)", "AGPL-3.0-or-later"),
    ("mozilla public license 1.1 (mpl 1.1)", "MPL-1.1"), ("mozilla public license 2.0 (mpl 2.0)", "MPL-2.0"), ("mozilla public license 2.0", "MPL-2.0"), ("mpl 2.0", "MPL-2.0"), ("mpl2.0", "MPL-2.0"), ("mplv2.0", "MPL-2.0"), ("mplv1.1", "MPL-1.1"), ("mpl-2", "MPL-2.0"),
    ("python software foundation license", "PSF-2.0"), ("psf", "PSF-2.0"), ("psf-2", "PSF-2.0"), ("psfl", "PSF-2.0"), ("python", "Python-2.0"), ("python-2", "Python-2.0"), ("zpl", "ZPL-2.1"), ("zope public license", "ZPL-2.1"), ("zpl 2.1", "ZPL-2.1"),
    ("artistic", "Artistic-1.0-Perl"), ("artistic-1", "Artistic-1.0-Perl"), ("artistic-2", "Artistic-2.0"), ("artistic 2.0", "Artistic-2.0"), ("artistic license", "Artistic-1.0-Perl"), ("perl", "Artistic-1.0-Perl OR GPL-1.0-or-later"), ("perl_5", "Artistic-1.0-Perl OR GPL-1.0-or-later"), ("gpl+ or artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl"),
    ("cc0", "CC0-1.0"), ("cc0 1.0 universal (cc0 1.0) public domain dedication", "CC0-1.0"), ("unlicense", "Unlicense"), ("the unlicense (unlicense)", "Unlicense"), ("wtfpl", "WTFPL"), ("ofl", "OFL-1.1"), ("ofl-1.1", "OFL-1.1"), ("sil open font license 1.1 (ofl-1.1)", "OFL-1.1"), ("eclipse public license 1.0", "EPL-1.0"), ("eclipse public license v2.0", "EPL-2.0"), ("eclipse public license - v 1.0", "EPL-1.0"), ("eclipse public license - v 2.0", "EPL-2.0"), ("cddl", "CDDL-1.0"), ("openssl", "OpenSSL"), ("vim", "Vim"), ("ruby", "Ruby"), ("php", "PHP-3.01"), ("php-3", "PHP-3.0"), ("bzip2", "bzip2-1.0.6"), ("libpng", "Libpng"), ("ijg", "IJG"), ("ftl", "FTL"), ("curl", "curl"), ("icu", "ICU"), ("unicode", "Unicode-TOU"), ("tcl", "TCL"), ("beerware", "Beerware"), ("sleepycat", "Sleepycat"), ("w3c", "W3C"), ("x11", "X11"), ("hpnd", "HPND"), ("ntp", "NTP"),
    ("public domain", "LicenseRef-public-domain"), ("public-domain", "LicenseRef-public-domain"), ("pd", "LicenseRef-public-domain"), ("publicdomain", "LicenseRef-public-domain"),
    ("proprietary", "LicenseRef-proprietary"), ("other/proprietary license", "LicenseRef-proprietary"), ("unlicensed", "LicenseRef-proprietary"), ("commercial", "LicenseRef-proprietary"), ("redistributable", "LicenseRef-redistributable"),
    ("unknown", "LicenseRef-unknown"), ("custom", "LicenseRef-unknown"), ("none", "LicenseRef-unknown"), ("noassertion", "LicenseRef-unknown"), ("other", "LicenseRef-unknown"), ("osi approved", "LicenseRef-unknown"),
];

/// The name in the table, or SPDX's own in its own case.
fn whole(name: &str) -> Option<&'static str> {
    let lower = name.trim().to_ascii_lowercase();
    if let Some((_, id)) = NAMES.iter().find(|(known, _)| *known == lower) {
        return Some(id);
    }
    if lower.ends_with('+') {
        return None;
    }
    // GNU's names without an ending are deprecated; `gnu` gives the one that they mean.
    let id = spdx::license_id(name.trim()).or_else(|| {
        spdx::identifiers::LICENSES
            .iter()
            .find(|l| l.name.eq_ignore_ascii_case(&lower))
            .and_then(|l| spdx::license_id(l.name))
    })?;
    (!id.is_gnu() || id.name.ends_with("-only") || id.name.ends_with("-or-later"))
        .then_some(id.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_become_names_of_spdx() {
        let check =
            |given: &str, expected: &str| assert_eq!(expression(given), expected, "{given}");
        // Debian.
        check("GPL-2+", "GPL-2.0-or-later");
        check("GPL-2", "GPL-2.0-only");
        check("LGPL-2.1+", "LGPL-2.1-or-later");
        check("GPL-3.0+", "GPL-3.0-or-later");
        check("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later");
        check("Expat and BSD-3-clause", "MIT AND BSD-3-Clause");
        check("GPL-2+ with OpenSSL exception", "GPL-2.0-or-later WITH openvpn-openssl-exception");
        check("public-domain", "LicenseRef-public-domain");
        // Fedora and SUSE.
        check("GPLv2+ and (LGPLv2+ or MIT)", "GPL-2.0-or-later AND (LGPL-2.0-or-later OR MIT)");
        check("ASL 2.0", "Apache-2.0");
        check("GPL+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl");
        check("BSD with advertising", "BSD-4-Clause");
        // Alpine and Arch.
        check("GPL-2.0-or-later AND MIT", "GPL-2.0-or-later AND MIT");
        check("GPL2", "GPL-2.0-only");
        check("custom:vim", "LicenseRef-vim");
        // Python, npm, Maven.
        check("License :: OSI Approved :: MIT License", "MIT");
        check(
            "License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)",
            "GPL-3.0-or-later",
        );
        check("Apache License, Version 2.0", "Apache-2.0");
        check("BSD (3-clause)", "BSD-3-Clause");
        check("(MIT OR CC0-1.0)", "(MIT OR CC0-1.0)");
        check("MIT, ISC", "MIT AND ISC");
        check("MIT, and ISC", "MIT AND ISC");
        check("mit OR apache-2.0", "MIT OR Apache-2.0");
    }

    #[test]
    fn every_name_of_the_table_parses() {
        for (known, id) in NAMES {
            assert_eq!(known.to_ascii_lowercase(), *known);
            assert!(spdx::Expression::parse(id).is_ok(), "{id}");
            let given = expression(known);
            assert!(spdx::Expression::parse(&given).is_ok(), "{known} -> {given}");
        }
    }

    #[test]
    fn anything_is_survived() {
        for text in [
            "",
            "and",
            "or or",
            "(",
            ")))",
            "GPL",
            "gpl-",
            "GPL-99",
            "with",
            " with ",
            "a with b",
            "License ::",
            "ü",
            "GPLv",
            "lgpl-2.1.1.1",
        ] {
            let _ = expression(text);
        }
        let long = "a and ".repeat(10_000);
        assert_eq!(expression(&long), long.trim());
    }
}
