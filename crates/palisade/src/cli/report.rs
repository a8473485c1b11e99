//! Flags of `scan`, `sbom`, `convert` and `explain` about forms, gates and what is more than
//! needed.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use palisade_model::Severity;
use palisade_scan::{report, sbom};

/// The forms of a report, by name.
pub(crate) fn report_format() -> impl TypedValueParser<Value = report::Format> {
    let value = |f: report::Format| PossibleValue::new(f.as_str()).help(f.describe());
    PossibleValuesParser::new(report::Format::ALL.map(value))
        .try_map(|text| text.parse::<report::Format>())
}

/// The forms of a bill of materials, by name.
pub(crate) fn sbom_format() -> impl TypedValueParser<Value = sbom::Format> {
    let value = |f: sbom::Format| PossibleValue::new(f.as_str()).help(f.describe());
    let find = |text: String| sbom::Format::ALL.into_iter().find(|f| f.as_str() == text);
    PossibleValuesParser::new(sbom::Format::ALL.map(value))
        .try_map(move |text| find(text).ok_or("not a form"))
}

/// One more report, into a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportFile {
    /// Its form.
    pub(crate) format: report::Format,
    /// Where it goes.
    pub(crate) file: PathBuf,
}

fn report_file(text: &str) -> Result<ReportFile, String> {
    let (format, file) = text.split_once('=').ok_or("write FORMAT=FILE, like sarif=scan.sarif")?;
    if file.is_empty() {
        return Err("no file is named after `=`".into());
    }
    let format = format.parse::<report::Format>().map_err(|error| {
        let hint = palisade_base::Explain::hint(&error).unwrap_or_default();
        format!("{error}; {hint}")
    })?;
    Ok(ReportFile { format, file: file.into() })
}

fn severity(text: &str) -> Result<Severity, String> {
    text.parse::<Severity>().map_err(|error| error.to_string())
}

/// A probability as parts of a million.
fn probability(text: &str) -> Result<u32, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if value > 0.0 && value <= 1.0 {
        Ok((value * 1e6).round().max(1.0) as u32)
    } else {
        Err("not a probability above 0 and up to 1".into())
    }
}

/// Which reports are written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
pub(crate) struct ReportOptions {
    /// Form of the report
    #[arg(long, default_value = "table", value_parser = report_format())]
    pub(crate) format: report::Format,
    /// Write the report to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write one more report; may be repeated
    #[arg(long, value_name = "FORMAT=FILE", value_parser = report_file)]
    pub(crate) report: Vec<ReportFile>,
    /// Template of the form `template`, in the language of Jinja
    #[arg(long, value_name = "FILE")]
    pub(crate) template: Option<PathBuf>,
    /// Show every row of the table, and what was set aside
    #[arg(long)]
    pub(crate) all: bool,
    /// Show findings of this severity and above in the table; the rest is counted
    #[arg(long, value_name = "SEVERITY", value_parser = severity, default_value = "unknown")]
    pub(crate) severity: Severity,
}

/// What the scan must not find; each flag outweighs the policy's key.
#[derive(Debug, Args)]
#[command(next_help_heading = "Gate: exit code 1 when refused, 3 when it could not be evaluated")]
pub(crate) struct GateOptions {
    /// Apply the gate of this policy: a built-in name or a file
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// Refuse vulnerabilities of this severity and above
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) fail_on: Option<Severity>,
    /// Let --fail-on and --epss count only what has a fixed version
    #[arg(long)]
    pub(crate) only_fixed: bool,
    /// Refuse vulnerabilities that CISA lists as exploited
    #[arg(long)]
    pub(crate) kev: bool,
    /// Refuse vulnerabilities with this probability of exploitation (EPSS, 0 to 1) and above
    #[arg(long, value_name = "PROBABILITY", value_parser = probability)]
    pub(crate) epss: Option<u32>,
    /// Refuse secrets
    #[arg(long)]
    pub(crate) fail_on_secrets: bool,
    /// Refuse malware
    #[arg(long)]
    pub(crate) fail_on_malware: bool,
    /// Refuse packages under licences that the policy denies
    #[arg(long)]
    pub(crate) fail_on_licences: bool,
    /// Refuse other findings (dangerous files, malware, licences, weak settings) of this severity
    /// and above
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) fail_on_other: Option<Severity>,
    /// Refuse a distribution or run-time that gets no security fixes any more
    #[arg(long)]
    pub(crate) fail_on_end_of_life: bool,
    /// Refuse to decide on advisories older than this many days
    #[arg(long, value_name = "DAYS")]
    pub(crate) max_age_days: Option<u32>,
    /// Let the gate count only what is not in this earlier report (JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
}

/// What is looked for beyond what is built in; adds to the policy's section `scan`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Malware and secrets")]
pub(crate) struct LookOptions {
    /// YARA rules besides the built-in ones: a file or a folder of .yar and .yara files
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) yara: Vec<PathBuf>,
    /// List of hashes of malware (MD5, SHA-1, SHA-256; plain, CSV, ClamAV, MISP)
    #[arg(long, value_name = "FILE")]
    pub(crate) hashes: Vec<PathBuf>,
    /// Key of the fingerprints of secrets: a file of at least 16 bytes that others lack
    #[arg(long, value_name = "FILE")]
    pub(crate) fingerprint_key: Option<PathBuf>,
}

/// What is more than needed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Minimality")]
pub(crate) struct MinimalityOptions {
    /// Say how much of the image is more than its program needs: base, end of maintenance,
    /// attack surface, a smaller base
    #[arg(long)]
    pub(crate) minimality: bool,
    /// An image that may be the base; its layers are compared. May be repeated
    #[arg(long, value_name = "TARGET", requires = "minimality")]
    pub(crate) base: Vec<String>,
}

/// `palisade convert`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade convert --format html --output scan.html scan.json\n  \
    palisade convert --report sarif=scan.sarif --report junit=scan.xml scan.json\n  \
    palisade convert --format spdx-json shop.cdx.json")]
pub(crate) struct Convert {
    /// A scan report in JSON, or a bill of materials (CycloneDX, SPDX); `-` is stdin
    pub(crate) file: PathBuf,
    /// Which forms are written
    #[command(flatten)]
    pub(crate) reports: ReportOptions,
}

/// `palisade explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade explain CVE-2026-10001\n  \
    palisade explain image-runs-as-root\n  \
    palisade explain T1059.004\n  \
    palisade explain --report scan.json GHSA-r9hj-j2rw-4q3m\n\n\
    Exit code 3: nothing of that name is known; near names are shown.")]
pub(crate) struct Explain {
    /// A CVE or advisory, a check, a secret detector, a kind of dangerous file, a rule, an ATT&CK
    /// technique
    pub(crate) id: String,
    /// Advisory database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// Earlier reports (JSON): say which images have it. May be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Vec<PathBuf>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = super::ListFormat::Table)]
    pub(crate) format: super::ListFormat,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_name_a_form_and_a_file() {
        let parsed = report_file("html=a=b.html").unwrap();
        assert_eq!(parsed.format, report::Format::Html);
        assert_eq!(parsed.file, PathBuf::from("a=b.html"));
        for bad in ["html", "html=", "htm=x", "=x"] {
            assert!(report_file(bad).is_err(), "{bad}");
        }
        assert!(report_file("htm=x").unwrap_err().contains("did you mean `html`?"));
    }

    #[test]
    fn probabilities_are_between_nothing_and_certainty() {
        assert_eq!(probability("0.5"), Ok(500_000));
        assert_eq!(probability("1"), Ok(1_000_000));
        for bad in ["0", "1.1", "-1", "x", "NaN", "50%"] {
            assert!(probability(bad).is_err(), "{bad}");
        }
    }
}
