//! What is in an image: `scan`, `sbom`.

use std::path::PathBuf;

use clap::Args;

use super::{
    GateOptions, ImageSource, LookOptions, MinimalityOptions, ReportOptions, TARGETS, sbom_format,
};

/// `palisade scan`.
#[derive(Debug, Args)]
#[command(after_help = format!("{TARGETS}\n\nExamples:\n  \
    palisade scan nginx:1.27                       # of this machine's stores, else the registry\n  \
    palisade scan --platform linux/arm64 registry:registry.example/team/shop\n  \
    palisade scan --format json --output report.json archive:shop.tar\n  \
    palisade scan --report sarif=scan.sarif --report html=scan.html oci:./shop\n  \
    palisade scan sbom:shop.cdx.json\n  \
    palisade scan --yara rules/ --hashes bad.sha256 dir:/mnt/root\n  \
    palisade scan --stored                         # what became vulnerable, without the images\n  \
    palisade scan --policy restricted oci:./shop   # exit code 1 when the gate refuses\n  \
    palisade scan --fail-on high --only-fixed --baseline last.json oci:./shop"))]
pub(crate) struct Scan {
    /// What to examine
    #[arg(required_unless_present = "stored", conflicts_with = "stored")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) stored: StoredOptions,
    /// Advisory database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// File of findings to ignore, each with a reason and an expiry
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore: Option<PathBuf>,
    /// VEX document (OpenVEX, CSAF, CycloneDX) that sets findings aside; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) vex: Vec<PathBuf>,
    /// What is looked for besides
    #[command(flatten)]
    pub(crate) look: LookOptions,
    /// Which reports are written
    #[command(flatten)]
    pub(crate) reports: ReportOptions,
    /// What must not be found
    #[command(flatten)]
    pub(crate) gate: GateOptions,
    /// What is more than needed
    #[command(flatten)]
    pub(crate) minimality: MinimalityOptions,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// Inventories of images that were scanned before.
#[derive(Debug, Args)]
#[command(next_help_heading = "Stored inventories")]
pub(crate) struct StoredOptions {
    /// Ask the database about every image that was scanned before, and say what became vulnerable
    #[arg(long)]
    pub(crate) stored: bool,
    /// List what is stored
    #[arg(long, requires = "stored", conflicts_with = "forget")]
    pub(crate) list: bool,
    /// Remove the inventory of one image
    #[arg(long, requires = "stored", value_name = "DIGEST")]
    pub(crate) forget: Option<palisade_base::Digest>,
    /// Do not store the inventory of this scan
    #[arg(long, conflicts_with = "stored")]
    pub(crate) no_store: bool,
}

/// `palisade sbom`.
#[derive(Debug, Args)]
#[command(after_help = format!("{TARGETS}\n\nExample:\n  \
    palisade sbom --format cyclonedx-json --output shop.cdx.json oci:./shop\n  \
    palisade sbom --format spdx-json sbom:shop.cdx.json   # another form"))]
pub(crate) struct Sbom {
    /// What to examine
    pub(crate) target: String,
    /// Form of the document
    #[arg(long, default_value = "cyclonedx-json", value_parser = sbom_format())]
    pub(crate) format: palisade_scan::sbom::Format,
    /// Write the document to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}
