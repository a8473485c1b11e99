//! `docs/reference/probe.md` is made from the tables.

use std::fmt::Write as _;
use std::path::Path;

use palisade_probe::{CHECKS, CREDENTIALS, escape};

fn page() -> String {
    let mut out = String::from(
        "# Checks of a probe\n\n<!-- Made from crates/probe by a test; `UPDATE_GOLDEN=1 cargo test -p palisade-probe` makes it anew. -->\n\n\
         What [`palisade probe`](../guide/probe.md) looks for.\n\n\
         ## Checks\n\n| check | severity | what is wrong | remedy | see |\n|---|---|---|---|---|\n",
    );
    for check in CHECKS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            check.id, check.severity, check.title, check.remedy, check.reference
        );
    }
    out.push_str("\n## Attempts from inside\n\n| attempt | severity | what is tried | ATT&CK |\n|---|---|---|---|\n");
    for attempt in escape::ATTEMPTS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            attempt.id, attempt.severity, attempt.title, attempt.technique
        );
    }
    out.push_str("\n## Well-known passwords\n\n| server | user | password | written down in |\n|---|---|---|---|\n");
    for known in CREDENTIALS {
        let shown =
            |text: &str| if text.is_empty() { "–".to_string() } else { format!("`{text}`") };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            known.service,
            shown(known.user),
            shown(known.password),
            known.source
        );
    }
    out
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/probe.md");
    if std::env::vars().any(|(name, _)| name == "UPDATE_GOLDEN") {
        std::fs::write(&path, page()).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == page(), "rewrite it with UPDATE_GOLDEN=1");
}
