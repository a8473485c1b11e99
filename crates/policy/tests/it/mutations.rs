//! Damaged policies: read without a panic, and never taken for another policy.

use std::path::Path;

use palisade_policy::{LoadPolicyError, parse};
use proptest::prelude::*;

const WHOLE: &str = include_str!("../../testdata/whole.yaml");

/// Reads `text`; every problem must point into it.
fn read(text: &str) {
    let found = match parse(text, "p.yaml", Path::new("")) {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            loaded.warnings
        }
        Err(LoadPolicyError::Invalid { diagnostics, .. }) => {
            assert!(diagnostics.has_errors());
            diagnostics
        }
        Err(other) => panic!("{other}"),
    };
    for diagnostic in found.0 {
        let lines = text.lines().count() + 1;
        assert!((1..=lines).contains(&diagnostic.location.line), "{diagnostic}");
        assert!(diagnostic.location.column >= 1);
        let _ = diagnostic.render(Some(text));
    }
}

fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(WHOLE),
        Just(palisade_policy::builtin::text("restricted").unwrap_or("")),
        Just(palisade_policy::builtin::text("audit").unwrap_or("")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn characters_changed(text in text(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0..3_u8), 1..8)) {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, char, kind) in edits {
            let at = at.index(chars.len());
            match kind {
                0 => chars[at] = char,
                1 => chars.insert(at, char),
                _ => { chars.remove(at); }
            }
        }
        read(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn lines_moved(text in text(), moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_usize), 1..6)) {
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        for (from, to, indent) in moves {
            let line = lines.remove(from.index(lines.len()));
            let to = to.index(lines.len());
            lines.insert(to, format!("{}{}", " ".repeat(indent), line.trim_start()));
        }
        read(&lines.join("\n"));
    }

    #[test]
    fn values_replaced(text in text(), at in any::<prop::sample::Index>(), value in "[-0-9a-zA-Z.:\\[\\]{}&*!|>'\"%@` ~]{0,12}") {
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        let at = at.index(lines.len());
        if let Some((key, _)) = lines[at].clone().split_once(':') {
            lines[at] = format!("{key}: {value}");
        }
        read(&lines.join("\n"));
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        read(&text);
    }
}
