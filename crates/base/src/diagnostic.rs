//! Problems in text that people write: policies, rules, configuration.
//!
//! Unlike an error, a diagnostic does not end the work: all of a file's are
//! collected and shown at once, each with a stable code, a place and a help.

use std::fmt;

use serde::Serialize;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the file is used as it is.
    Warning,
    /// The file is refused.
    Error,
}

/// A place in a text. Lines and columns count from 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable kebab-case or upstream code: `unknown-key`, `LOAD_ERR_COMPILE_CONDITION`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub location: Location,
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// Renders the problem with the line of `source` that it points into.
    pub fn render(&self, source: Option<&str>) -> String {
        use fmt::Write as _;
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let mut out = format!("{word}[{}]: {}\n", self.code, self.message);
        let gutter = self.location.line.to_string().len();
        let _ = writeln!(out, "{:gutter$}--> {}", "", self.location);
        let text = source.and_then(|s| s.lines().nth(self.location.line.saturating_sub(1)));
        if let Some(text) = text {
            let shown: String = text.chars().take(LINE_CHARS_MAX).collect();
            let _ = writeln!(out, "{:gutter$} |", "");
            let _ = writeln!(out, "{} | {shown}", self.location.line);
            let indent = self.location.column.saturating_sub(1).min(LINE_CHARS_MAX);
            let _ = writeln!(out, "{:gutter$} | {:indent$}^", "", "");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{:gutter$} = help: {help}", "");
        }
        out
    }
}

/// A quoted source line is cut here.
const LINE_CHARS_MAX: usize = 160;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(None))
    }
}

/// All problems of one reading, in the order found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// The number of errors, then of warnings.
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.0.iter().filter(|d| d.severity == Severity::Error).count();
        (errors, self.0.len() - errors)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|d| fmt::Display::fmt(d, f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_column() {
        let diagnostic = Diagnostic {
            code: "unknown-key",
            severity: Severity::Error,
            location: Location { file: "p.yaml".into(), line: 2, column: 3 },
            message: "unknown key `secomp`".into(),
            help: Some("did you mean `seccomp`?".into()),
        };
        assert_eq!(
            diagnostic.render(Some("containers:\n  secomp: strict\n")),
            "error[unknown-key]: unknown key `secomp`\n --> p.yaml:2:3\n  |\n2 |   secomp: strict\n  |   ^\n  = help: did you mean `seccomp`?\n"
        );
    }
}
