//! The advisory database: `db`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `palisade db`.
#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Build the database from feeds on disk
    Build(DbBuild),
    /// Say what the database holds and how old it is
    Status(DbArgs),
    /// List the advisories of a package or of a CVE
    Search(DbSearch),
}

/// `palisade db build`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade db build --debian-changelogs ./debs   # *.deb: what newer versions fixed\n  \
    palisade db build --osv PyPI/all.zip --kev known_exploited_vulnerabilities.json")]
pub(crate) struct DbBuild {
    /// Folder of .deb files whose changelogs name the CVEs that each upload fixed
    #[arg(long, value_name = "DIR")]
    pub(crate) debian_changelogs: Vec<PathBuf>,
    /// Release that the .deb files belong to [default: this machine's]
    #[arg(long, value_name = "ID:VERSION")]
    pub(crate) release: Option<String>,
    /// OSV bulk export (all.zip)
    #[arg(long, value_name = "FILE")]
    pub(crate) osv: Vec<PathBuf>,
    /// Alpine secdb: a file or a folder
    #[arg(long, value_name = "PATH")]
    pub(crate) alpine_secdb: Vec<PathBuf>,
    /// CISA's list of known exploited vulnerabilities (JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) kev: Option<PathBuf>,
    /// FIRST's EPSS scores (CSV, gzip or plain)
    #[arg(long, value_name = "FILE")]
    pub(crate) epss: Option<PathBuf>,
    /// A newer table of when distributions and run-times stop getting fixes
    #[arg(long, value_name = "FILE")]
    pub(crate) lifecycles: Option<PathBuf>,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The database.
#[derive(Debug, Args)]
pub(crate) struct DbArgs {
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}

/// `palisade db search`.
#[derive(Debug, Args)]
pub(crate) struct DbSearch {
    /// Package name (of the source package, for Debian)
    pub(crate) package: String,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}
