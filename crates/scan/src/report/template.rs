//! The user's own form: a template in the language of Jinja (minijinja).
//!
//! A template sees `report` (the JSON document), `items` (every finding in the words that all
//! forms share), `suppressed`, `not_examined`, `summary` and `version`. It reads no file, starts
//! nothing and includes nothing. Steps, size and output have bounds; what a template builds in
//! memory by joining texts has not, so it is to be trusted like a script. Names that end in
//! `.html`, `.htm` or `.xml` (before an ending `.j2` or `.jinja`) are escaped for HTML; JSON is
//! escaped by the filter `tojson`.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use palisade_base::Explain;
use palisade_model::finding::ScanReport;
use serde::Serialize;

use super::item::{self, Item};
use super::table;

/// A template beyond this many bytes is refused.
pub const BYTES_MAX: usize = 1 << 20;
/// Output beyond this many bytes ends the rendering with an error.
pub const OUTPUT_BYTES_MAX: usize = 256 << 20;
/// Steps beyond this number end the rendering with an error.
pub const STEPS_MAX: u64 = 10_000_000;

/// What is wrong with a template, or with what it does.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is larger than the bound.
    #[error("template `{0}` is larger than 1 MiB")]
    TooLarge(String),
    /// It does not parse, or asks for what is not there.
    #[error("template `{name}`, line {line}: {message}")]
    Bad {
        /// The file as the user named it.
        name: String,
        /// Line, from 1; 0 where none is known.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It does not end, or writes without end.
    #[error("template `{name}` {what}")]
    Endless {
        /// The file as the user named it.
        name: String,
        /// Which bound it hit.
        what: &'static str,
    },
}

impl Explain for TemplateError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::TooLarge(_) => "split it, or render from the JSON report".into(),
            Self::Bad { .. } => {
                "the names are report, items, suppressed, not_examined, summary and version".into()
            }
            Self::Endless { .. } => "shorten its loops".into(),
        })
    }
}

/// A template that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    name: String,
    text: String,
}

#[derive(Serialize)]
struct ItemView {
    kind: &'static str,
    rule: String,
    severity: &'static str,
    title: String,
    message: String,
    help: String,
    path: String,
    line: Option<u64>,
    place: String,
    url: Option<String>,
}

impl From<Item> for ItemView {
    fn from(item: Item) -> Self {
        Self {
            place: item.place(),
            url: item.url,
            kind: item.kind,
            rule: item.rule,
            severity: item.severity.as_str(),
            title: item.title,
            message: item.message,
            help: item.help,
            path: item.path,
            line: item.line,
        }
    }
}

#[derive(Serialize)]
struct SuppressedView {
    item: ItemView,
    by: &'static str,
    reason: String,
    expires: Option<String>,
}

#[derive(Serialize)]
struct View<'a> {
    report: &'a ScanReport,
    items: Vec<ItemView>,
    suppressed: Vec<SuppressedView>,
    not_examined: Vec<String>,
    summary: String,
    version: &'a str,
}

impl Template {
    /// Reads a template; `name` is its file, for messages and for the way of escaping.
    ///
    /// # Errors
    ///
    /// A template that is too large or does not parse.
    pub fn parse(text: &str, name: &str) -> Result<Self, TemplateError> {
        if text.len() > BYTES_MAX {
            return Err(TemplateError::TooLarge(name.to_string()));
        }
        let template = Self { name: name.to_string(), text: text.to_string() };
        let environment = Self::environment();
        let checked = environment.template_from_named_str(name, text);
        checked.map_err(|error| template.error(&error))?;
        Ok(template)
    }

    /// Renders `report`.
    ///
    /// # Errors
    ///
    /// A name that is not there, a filter that does not fit, a bound that was hit.
    pub fn render(&self, report: &ScanReport, version: &str) -> Result<String, TemplateError> {
        let view = View {
            report,
            items: report.findings.iter().map(|f| item::describe(f).into()).collect(),
            suppressed: report
                .suppressed
                .iter()
                .map(|s| SuppressedView {
                    item: item::describe(&s.finding).into(),
                    by: s.by.as_str(),
                    reason: s.reason.clone(),
                    expires: s.expires.map(palisade_base::Timestamp::rfc3339),
                })
                .collect(),
            not_examined: item::blind_spots(report),
            summary: table::summary(report, 0),
            version,
        };
        let environment = Self::environment();
        let parsed = environment.template_from_named_str(&self.name, &self.text);
        let parsed = parsed.map_err(|error| self.error(&error))?;
        let mut output = Output { bytes: Vec::new(), is_full: false };
        let context = Value::from(Serde(&view));
        if let Err(error) = parsed.render_captured_to(context, &mut output) {
            let what = if output.is_full {
                "writes more than 256 MiB"
            } else if error.kind() == ErrorKind::OutOfFuel {
                "takes more than 10 million steps"
            } else {
                return Err(self.error(&error));
            };
            return Err(TemplateError::Endless { name: self.name.clone(), what });
        }
        Ok(String::from_utf8_lossy(&output.bytes).into_owned())
    }

    fn environment() -> Environment<'static> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(STEPS_MAX));
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_recursion_limit(64);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build();
        // The builder refuses delimiters that clash; these are the usual ones.
        if let Ok(syntax) = syntax {
            environment.set_syntax(syntax);
        }
        environment.set_auto_escape_callback(|name| {
            let name = name.trim_end_matches(".j2").trim_end_matches(".jinja").to_lowercase();
            let is_markup = [".html", ".htm", ".xml"].iter().any(|end| name.ends_with(end));
            if is_markup { AutoEscape::Html } else { AutoEscape::None }
        });
        environment
    }

    fn error(&self, error: &minijinja::Error) -> TemplateError {
        let message = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        TemplateError::Bad { name: self.name.clone(), line: error.line().unwrap_or(0), message }
    }
}

struct Output {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Output {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buffer.len() > OUTPUT_BYTES_MAX {
            self.is_full = true;
            return Err(io::Error::other("too much output"));
        }
        self.bytes.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::full;

    #[track_caller]
    fn rendered(name: &str, text: &str) -> String {
        Template::parse(text, name).unwrap().render(&full(), "0.1.0").unwrap()
    }

    #[test]
    fn a_template_has_everything() {
        let text = "{% for item in items if item.severity == 'critical' %}\n\
            {{ item.kind }} {{ item.rule }} {{ item.place }}\n{% endfor %}\n\
            {{ report.inventory.distribution.id }} {{ suppressed|length }} {{ version }}\n";
        let out = rendered("t.txt", text);
        let expected = "vulnerability CVE-2024-0007 pkg:deb/debian/libssl3@3.0.11-1~deb12u1?arch=amd64\n\
            vulnerability CVE-2024-0007 pkg:deb/debian/openssl@3.0.11-1~deb12u1?arch=amd64\n\
            secret private-key /srv/key 1.pem:3\nmalware miner_xmrig /var/tmp/.x!/a|b.so\n\
            debian 3 0.1.0\n";
        assert_eq!(out, expected);
        let json = rendered("t.json", "{{ items|map(attribute='rule')|list|tojson }}");
        assert!(serde_json::from_str::<Vec<String>>(&json).unwrap().len() > 5);
    }

    #[test]
    fn markup_is_escaped_by_the_name() {
        for (name, expected) in [
            ("a.html", "&lt;b&gt;"),
            ("a.xml.j2", "&lt;b&gt;"),
            ("a.md", "<b>"),
            ("a.txt.jinja", "<b>"),
        ] {
            assert_eq!(rendered(name, "{{ '<b>' }}"), expected, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |text: &str, expected_line: usize| {
            let result = Template::parse(text, "t").and_then(|t| t.render(&full(), "0"));
            let Err(TemplateError::Bad { line, .. }) = result else { panic!("{text}: {result:?}") };
            assert_eq!(line, expected_line, "{text}");
        };
        check("a\n{{ ", 2);
        check("a\n\n{% nonsense %}", 3);
        check("{{ repotr.x }}", 1);
        check("\n{% include 'x' %}", 2);
        assert!(matches!(
            Template::parse(&"x".repeat(BYTES_MAX + 1), "t"),
            Err(TemplateError::TooLarge(_))
        ));
    }

    #[test]
    fn a_template_ends() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let result = Template::parse(loops, "t").unwrap().render(&full(), "0");
        assert!(matches!(result, Err(TemplateError::Endless { .. })), "{result:?}");
    }
}
