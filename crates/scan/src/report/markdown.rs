//! Markdown for a comment on a change: the summary first, then what to do, then the rest as far
//! as a comment has room.
//!
//! Text of the image is escaped so that it cannot make a link, a mention, an image or a heading.

use std::fmt::Write as _;

use palisade_model::finding::ScanReport;
use palisade_model::judgement::GateVerdict;

use super::item;
use super::printable;
use super::table::{self, upgrades};

/// Comments on the largest hosting service end at 65,536 characters.
pub const BYTES_MAX: usize = 60_000;
/// A cell is cut here, in characters.
const CELL_CHARS_MAX: usize = 160;

/// Renders `report` in at most [`BYTES_MAX`] bytes; what has no room is counted.
pub fn render(report: &ScanReport) -> String {
    let mut page = Page { out: String::new(), n_left_out: 0 };
    let _ = writeln!(page.out, "### Scan of {}\n", escape(&report.inventory.subject.name));
    let _ = writeln!(page.out, "{}\n", escape_to(&table::summary(report, 0), usize::MAX));
    gate(report, &mut page.out);
    vulnerabilities(report, &mut page);
    let titles = [
        ("malware", "Malware"),
        ("secret", "Secrets"),
        ("file", "Dangerous files"),
        ("configuration", "Configuration"),
        ("licence", "Licences"),
        ("other", "Other"),
    ];
    for (kind, title) in titles {
        let items = report.findings.iter().map(item::describe);
        let known = |item: &item::Item| {
            item.kind == "vulnerability" || titles.iter().any(|(known, _)| *known == item.kind)
        };
        let rows = items
            .filter(|item| item.kind == kind || (kind == "other" && !known(item)))
            .map(|item| {
                [
                    item.severity.to_string(),
                    item.place(),
                    item.message.clone(),
                    if item.kind == "configuration" { String::new() } else { item.help.clone() },
                ]
            })
            .collect::<Vec<_>>();
        page.table(title, ["Severity", "Where", "What", "To do"], &rows);
    }
    suppressed(report, &mut page);
    let spots = item::blind_spots(report);
    let rows = spots.into_iter().map(|spot| [spot]).collect::<Vec<_>>();
    page.table("Not examined", ["What"], &rows);
    minimality(report, &mut page);
    if page.n_left_out > 0 {
        let n = page.n_left_out;
        let _ = writeln!(page.out, "_{n} more rows have no room here; see the whole report._");
    }
    page.out
}

struct Page {
    out: String,
    n_left_out: usize,
}

/// Room for the line that says what was left out.
const RESERVE_BYTES: usize = 200;

impl Page {
    /// A folded table; rows without room are left out and counted.
    fn table<const N: usize>(&mut self, title: &str, header: [&str; N], rows: &[[String; N]]) {
        if rows.is_empty() {
            return;
        }
        let n = rows.len();
        let mut head = format!("<details><summary><b>{title}</b> ({n})</summary>\n\n");
        let _ = writeln!(head, "| {} |", header.join(" | "));
        let _ = writeln!(head, "|{}", " --- |".repeat(N));
        let tail = "\n</details>\n\n";
        if self.out.len() + head.len() + tail.len() + RESERVE_BYTES > BYTES_MAX {
            self.n_left_out += n;
            return;
        }
        self.out.push_str(&head);
        for (index, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
            let line = format!("| {} |\n", cells.join(" | "));
            if self.out.len() + line.len() + tail.len() + RESERVE_BYTES > BYTES_MAX {
                self.n_left_out += n - index;
                break;
            }
            self.out.push_str(&line);
        }
        self.out.push_str(tail);
    }
}

fn gate(report: &ScanReport, out: &mut String) {
    let Some(gate) = &report.gate else { return };
    let mark = match gate.verdict {
        GateVerdict::Passed => "✅",
        GateVerdict::Refused => "❌",
        GateVerdict::NotEvaluated => "⚠️",
    };
    let _ = writeln!(out, "{mark} **Gate {}**\n", gate.verdict.as_str());
    for rule in gate.rules.iter().filter(|rule| rule.verdict != GateVerdict::Passed) {
        for reason in &rule.reasons {
            let _ = writeln!(out, "* `{}`: {}", rule.rule, escape(reason));
        }
    }
    for note in gate.notes() {
        let _ = writeln!(out, "* {}", escape(note));
    }
    if let Some(baseline) = &gate.baseline {
        let _ = writeln!(
            out,
            "* Against the report of {} on {}: {} new, {} known, {} gone",
            baseline.time.rfc3339().chars().take(10).collect::<String>(),
            escape(&baseline.subject),
            baseline.n_new,
            baseline.n_known,
            baseline.n_gone
        );
    }
    out.push('\n');
}

fn vulnerabilities(report: &ScanReport, page: &mut Page) {
    let rows = upgrades(table::vulnerabilities(report))
        .iter()
        .map(|upgrade| {
            let installed: Vec<&str> = upgrade.installed.iter().copied().collect();
            let named = upgrade.members.iter().take(5).map(|(id, v)| match item::code_mark(v) {
                "" => (*id).to_string(),
                code => format!("{id} ({code})"),
            });
            let named: Vec<String> = named.collect();
            let mut ids: Vec<&str> = named.iter().map(String::as_str).collect();
            let more = format!("and {} more", upgrade.members.len().saturating_sub(5));
            if upgrade.members.len() > 5 {
                ids.push(&more);
            }
            [
                upgrade.name.to_string(),
                installed.join(", "),
                upgrade.fixed.unwrap_or("no fix known").to_string(),
                table::counts(upgrade.members.values().copied()),
                ids.join(", "),
            ]
        })
        .collect::<Vec<_>>();
    let header = ["Package", "Installed", "Fixed in", "Vulnerabilities", "Which"];
    page.table("Upgrades", header, &rows);
}

fn suppressed(report: &ScanReport, page: &mut Page) {
    let rows = report
        .suppressed
        .iter()
        .map(|suppressed| {
            let item = item::describe(&suppressed.finding);
            let until = suppressed.expires.map(|time| time.rfc3339().chars().take(10).collect());
            [
                item.rule,
                item.path,
                suppressed.by.as_str().to_string(),
                suppressed.reason.clone(),
                until.unwrap_or_default(),
            ]
        })
        .collect::<Vec<_>>();
    page.table("Set aside", ["What", "Where", "By", "Why", "Until"], &rows);
}

fn minimality(report: &ScanReport, page: &mut Page) {
    let Some(minimality) = &report.minimality else { return };
    let rows = minimality
        .parts
        .iter()
        .map(|part| {
            let points = format!("{} of {}", part.points, part.points_max);
            [part.name.clone(), part.n.to_string(), points, part.examples.join(", ")]
        })
        .collect::<Vec<_>>();
    let title = format!("Attack surface: {} of 100", minimality.score);
    page.table(&title, ["Part", "Count", "Points", "Such as"], &rows);
    let rows = minimality
        .proposals
        .iter()
        .map(|p| {
            let gain = format!(
                "{} packages, {} vulnerabilities, {} points",
                p.n_packages_less, p.n_vulnerabilities_less, p.points_less
            );
            [p.base.clone(), gain, p.why.clone(), p.check.clone()]
        })
        .collect::<Vec<_>>();
    let header = ["Base", "Less, by estimate", "Why", "To check"];
    page.table("Smaller bases, perhaps", header, &rows);
}

/// `text` as text: nothing in it is markup, a link or a mention.
fn escape(text: &str) -> String {
    escape_to(text, CELL_CHARS_MAX)
}

fn escape_to(text: &str, n_chars_max: usize) -> String {
    let text = printable(text);
    let mut out = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        if index == n_chars_max {
            out.push('…');
            break;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A mention would call people, `#1` an issue.
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '+' | '!' | '|' | '~'
            | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // These make links without any brackets.
    out.replace("://", "&#58;//").replace("www.", "www&#46;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_image_is_text() {
        let check = |text: &str, expected: &str| assert_eq!(escape(text), expected);
        check("a|b", "a\\|b");
        check("[x](http://y) @all #1", "\\[x\\]\\(http&#58;//y\\) &#64;all &#35;1");
        check("<img src=x>", "&lt;img src=x&gt;");
        check("www.example.org", "www&#46;example.org");
        check("a\nb", "a\u{fffd}b");
        assert_eq!(escape(&"x".repeat(500)).chars().count(), CELL_CHARS_MAX + 1);
    }
}
