use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// SPDX's text.
fn text(name: &str) -> &'static str {
    let found = spdx::text::LICENSE_TEXTS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no text of {name}")).1
}

/// The table is what the texts give; `UPDATE_GOLDEN=1` writes it.
#[test]
fn the_fingerprints_are_those_of_the_texts() {
    let mut made = Vec::new();
    for name in KNOWN {
        let hashes: BTreeSet<u32> = runs(&words::of(text(name), WORDS_MAX)).collect();
        made.extend(u32::try_from(hashes.len()).unwrap().to_le_bytes());
        made.extend(hashes.iter().flat_map(|hash| hash.to_le_bytes()));
    }
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the product")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/licence/fingerprints.bin");
        std::fs::write(path, &made).unwrap();
    } else {
        assert!(made == FINGERPRINTS, "UPDATE_GOLDEN=1 makes the table anew");
    }
}

#[test]
fn every_text_is_recognised() {
    for name in KNOWN {
        assert_eq!(recognise(text(name)), [name]);
        // In other lines, as a comment, in capitals.
        let fill = |paragraph: &str| -> String {
            let words: Vec<&str> = paragraph.split_whitespace().collect();
            let lines: Vec<String> = words.chunks(9).map(|line| line.join(" ")).collect();
            format!(" // {}\r\n", lines.join("\r\n // "))
        };
        let flowed: Vec<String> = text(name).split("\n\n").map(fill).collect();
        let flowed = flowed.join(" //\r\n").to_uppercase();
        assert_eq!(recognise(&flowed), [name], "flowed");
    }
}

/// What people put into the texts.
#[test]
fn names_make_no_difference() {
    let check = |name: &str, changes: &[(&str, &str)]| {
        let mut changed = text(name).to_string();
        for (from, to) in changes {
            assert!(changed.contains(from), "{name} has no {from}");
            changed = changed.replace(from, to);
        }
        assert_eq!(recognise(&changed), [name], "{changed}");
    };
    check("MIT", &[("<year> <copyright holders>", "2011-2026 Jane Roe <jane@example.org>")]);
    check(
        "BSD-3-Clause",
        &[
            ("the copyright holder nor", "Example Systems Incorporated nor"),
            ("COPYRIGHT HOLDERS AND CONTRIBUTORS", "REGENTS AND CONTRIBUTORS"),
            ("COPYRIGHT HOLDER OR", "REGENTS OR"),
        ],
    );
    check("ISC", &[("THE AUTHOR", "JANE ROE")]);
    let titled =
        format!("The MIT License (MIT)\n=====\n\nCopyright (c) 2020 A, B\n\n{}", text("MIT"));
    assert_eq!(recognise(&titled), ["MIT"]);
    let old = text("GPL-2.0-only")
        .replace("51 Franklin Street, Fifth Floor", "59 Temple Place, Suite 330");
    assert_eq!(recognise(&old), ["GPL-2.0-only"]);
}

#[test]
fn several_texts_are_several_licences() {
    let both = format!("{}\n\n-----\n\n{}", text("MIT"), text("Apache-2.0"));
    assert_eq!(recognise(&both), ["Apache-2.0", "MIT"]);
    let lesser = format!("{}\n\n{}", text("LGPL-3.0-only"), text("GPL-3.0-only"));
    assert_eq!(recognise(&lesser), ["LGPL-3.0-only"]);
}

/// Less, more or something else is not that licence.
#[test]
fn what_is_not_known_is_not_said() {
    let mit = text("MIT");
    let clause =
        "The Software may not be sold, hosted or offered as a service to third parties for a fee.";
    let cases = [
        String::new(),
        "MIT".into(),
        "See the file COPYING for what holds. ".repeat(20),
        format!("{mit}\n\n{clause}\n"),
        format!("{clause}\n\n{mit}\n"),
        mit.replace(
            "free of charge",
            "for a fee which is agreed upon with each licensee in writing",
        ),
        mit.split("THE SOFTWARE IS").next().unwrap_or_default().to_string(),
        text("Apache-2.0").split("4. Redistribution").next().unwrap_or_default().to_string(),
        text("GPL-3.0-only").replace("may", "must not ever"),
        "word ".repeat(WORDS_MAX + 1),
    ];
    for case in cases {
        assert_eq!(
            recognise(&case),
            Vec::<&str>::new(),
            "{}",
            case.chars().take(300).collect::<String>()
        );
    }
    // Nearly the same text under another name.
    assert_eq!(recognise(text("JSON")), ["JSON"]);
    assert_eq!(recognise(text("MIT-Modern-Variant")), Vec::<&str>::new());
    assert_eq!(recognise(text("GPL-1.0-only")), Vec::<&str>::new());
    assert_eq!(recognise(text("Apache-1.1")), Vec::<&str>::new());
}
