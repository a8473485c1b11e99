//! A scan's result for people and for other programs.
//!
//! Every form is deterministic: the same report gives the same bytes. Text that comes from
//! the image (paths, titles, versions) is cleaned of control characters before it meets a
//! terminal, and escaped by the rules of each form. Every form has what was set aside and what
//! was not examined, or at least their number.

pub mod checks;
pub mod gitlab;
pub mod html;
pub mod item;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod openvex;
pub mod sarif;
pub mod table;
pub mod template;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use palisade_base::Explain;
use palisade_model::finding::ScanReport;

use crate::sbom::{self, DocumentInfo};

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// For a terminal.
    Table,
    /// Versioned JSON.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// Bill of materials with vulnerabilities.
    Sbom(sbom::Format),
    /// GitLab's report of container scanning.
    Gitlab,
    /// JUnit's XML.
    Junit,
    /// One HTML file.
    Html,
    /// Markdown for a comment on a change.
    Markdown,
    /// What is said of each vulnerability, as OpenVEX.
    OpenVex,
    /// The user's own template.
    Template,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 13] = [
        Self::Table,
        Self::Json,
        Self::Sarif,
        Self::Sbom(sbom::Format::Cyclonedx16),
        Self::Sbom(sbom::Format::Cyclonedx17),
        Self::Sbom(sbom::Format::Spdx23),
        Self::Sbom(sbom::Format::Spdx30),
        Self::Gitlab,
        Self::Junit,
        Self::Html,
        Self::Markdown,
        Self::OpenVex,
        Self::Template,
    ];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Sarif => "sarif",
            Self::Sbom(format) => format.as_str(),
            Self::Gitlab => "gitlab",
            Self::Junit => "junit",
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::OpenVex => "openvex",
            Self::Template => "template",
        }
    }

    /// What it is, for help.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Table => "For people",
            Self::Json => "Versioned JSON",
            Self::Sarif => "SARIF 2.1.0, for code hosting services",
            Self::Sbom(format) => format.describe(),
            Self::Gitlab => "GitLab's report of container scanning (15.2)",
            Self::Junit => "JUnit's XML, for build servers",
            Self::Html => "One HTML file, without anything from elsewhere",
            Self::Markdown => "Markdown, short enough for a comment on a change",
            Self::OpenVex => "OpenVEX 0.2: what is said of each vulnerability, for other scanners",
            Self::Template => "Your own template: see --template",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Text that names no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a form of a report")]
pub struct ParseFormatError(String);

impl Explain for ParseFormatError {
    fn hint(&self) -> Option<String> {
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
        Some(match palisade_base::suggest::nearest(&self.0, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", names.join(", ")),
        })
    }
}

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| ParseFormatError(text.chars().take(64).collect()))
    }
}

/// How a report is rendered.
#[derive(Debug, Clone, Copy)]
pub struct RenderOptions<'a> {
    /// The product's version.
    pub version: &'a str,
    /// How the table is made.
    pub table: table::TableOptions,
    /// The user's template.
    pub template: Option<&'a template::Template>,
}

/// Why a report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The form is `template`, and there is none.
    #[error("the form `template` needs a template")]
    NoTemplate,
    /// The template asks for what it cannot have.
    #[error(transparent)]
    Template(#[from] template::TemplateError),
    /// The document could not be written; not seen in practice.
    #[error("write the document")]
    Json(#[from] serde_json::Error),
    /// The page could not be written; not seen in practice.
    #[error("write the page")]
    Page(#[from] askama::Error),
}

impl Explain for RenderError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoTemplate => Some("name its file with --template".into()),
            Self::Template(error) => error.hint(),
            Self::Json(_) | Self::Page(_) => None,
        }
    }
}

/// Renders `report` as `format`.
///
/// # Errors
///
/// Those of templates; the others do not fail in practice.
pub fn render(
    report: &ScanReport,
    format: Format,
    options: &RenderOptions<'_>,
) -> Result<String, RenderError> {
    Ok(match format {
        Format::Table => table::render(report, options.table),
        Format::Json => json::render(report)?,
        Format::Sarif => sarif::render(report, options.version)?,
        Format::Sbom(format) => sbom::render_report(report, format, &info(report, options))?,
        Format::OpenVex => openvex::render(report, &info(report, options))?,
        Format::Gitlab => gitlab::render(report, options.version)?,
        Format::Junit => junit::render(report),
        Format::Html => html::render(report, options.version)?,
        Format::Markdown => markdown::render(report),
        Format::Template => {
            options.template.ok_or(RenderError::NoTemplate)?.render(report, options.version)?
        }
    })
}

/// The document that a report becomes.
fn info(report: &ScanReport, options: &RenderOptions<'_>) -> DocumentInfo {
    let seed = format!("{}{}", report.inventory.subject.name, report.time);
    DocumentInfo::derived(seed.as_bytes(), report.time, options.version)
}

/// `text` without control characters, which could move a terminal's cursor or worse.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Bidirectional overrides make a path read as another one.
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(harmful) {
        Cow::Owned(text.replace(harmful, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
pub(crate) mod tests;
