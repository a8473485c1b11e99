//! The advisory database: `db`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `palisade db`.
#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Build the database from feeds on disk
    Build(Box<DbBuild>),
    /// Fetch feeds and build the database, or fetch a database that somebody built
    Update(DbUpdate),
    /// Take a database or a delta from a file
    Import(DbImport),
    /// Write the database, or what changed since an older one, for other machines
    Export(DbExport),
    /// Make a key pair with which databases are signed
    GenerateKey(DbGenerateKey),
    /// Say what the database holds and how old it is
    Status(DbStatus),
    /// List the advisories of a package or of a CVE
    Search(DbSearch),
}

/// `palisade db build`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade db build --debian-changelogs ./debs   # *.deb: what newer versions fixed\n  \
    palisade db build --debian-mirror http://deb.debian.org/debian-security --release debian:12\n  \
    palisade db build --debian-mirror http://deb.debian.org/debian \
    --debian-packages-of oci:./shop --release debian:12\n  \
    palisade db build --osv PyPI/all.zip --kev known_exploited_vulnerabilities.json")]
pub(crate) struct DbBuild {
    /// Folder of .deb files whose changelogs name the CVEs that each upload fixed
    #[arg(long, value_name = "DIR")]
    pub(crate) debian_changelogs: Vec<PathBuf>,
    /// Fetch the changelogs from a mirror of Debian, proved by its signed indices: of every source
    /// that a security mirror (…/debian-security) has, or of the packages that are named; may be
    /// repeated
    #[arg(long, value_name = "URL")]
    pub(crate) debian_mirror: Vec<String>,
    /// Source or binary packages whose changelogs are fetched
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "debian_mirror")]
    pub(crate) debian_package: Vec<String>,
    /// Fetch the changelogs of the packages of this image, folder or bill of materials
    #[arg(long, value_name = "TARGET", requires = "debian_mirror")]
    pub(crate) debian_packages_of: Vec<String>,
    /// Keys that sign the mirror's indices
    #[arg(
        long,
        value_name = "FILE",
        requires = "debian_mirror",
        default_value = "/usr/share/keyrings/debian-archive-keyring.gpg"
    )]
    pub(crate) debian_keyring: PathBuf,
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
    /// A feed of another kind from a file or a folder: debian=tracker.json, redhat=vex/,
    /// ubuntu-vex=vex.tar.xz, suse=oval.xml.gz, updateinfo=updateinfo.xml.gz, …
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) feed: Vec<String>,
    /// Sign the database with this Ed25519 private key
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
    /// A newer table of when distributions and run-times stop getting fixes
    #[arg(long, value_name = "FILE")]
    pub(crate) lifecycles: Option<PathBuf>,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// How images of registries are got
    #[command(flatten)]
    pub(crate) source: super::ImageSource,
}

/// `palisade db update`.
#[derive(Debug, Args)]
#[command(after_help = format!("Feeds: {}.\nA feed without an address of its own is given one: \
    redhat=csaf_vex_2026-11-20.tar.zst.\n\nExamples:\n  \
    palisade db update                               # the usual feeds from their publishers\n  \
    palisade db update --feed debian,kev --feed osv/PyPI=./PyPI/all.zip\n  \
    palisade db update --without kev,epss            # all of the usual ones but these\n  \
    palisade db update --mirror https://mirror.example/feeds\n  \
    palisade db update --from https://mirror.example/palisade --db-key feeds.pub", feed_names()))]
pub(crate) struct DbUpdate {
    /// Feeds, each NAME or NAME=ADDRESS, where the address is a URL, a file or a folder
    /// [default: those that have a public address and cost little]
    #[arg(long, value_name = "NAME[=ADDRESS]", value_delimiter = ',', conflicts_with = "from")]
    pub(crate) feed: Vec<String>,
    /// Feeds to leave out
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "from")]
    pub(crate) without: Vec<String>,
    /// Fetch public addresses below this one instead: https://HOST/PATH becomes MIRROR/HOST/PATH
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    pub(crate) mirror: Option<String>,
    /// Fetch a database from the folder that `db export --publish` filled, by delta where it has
    /// one
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// Allow addresses without TLS beyond this machine
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Take a database although it is older than the one that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Sign the database with this Ed25519 private key
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(crate) sign_key: Option<PathBuf>,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}

/// The names of feeds, for help.
fn feed_names() -> String {
    let names: Vec<&str> =
        palisade_scan::feeds::catalogue::FEEDS.iter().map(|feed| feed.name).collect();
    names.join(", ")
}

/// `palisade db import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade db import advisories.db --db-key feeds.pub\n  \
    palisade db import monday.delta")]
pub(crate) struct DbImport {
    /// A database, or a delta that applies to the one that is there
    pub(crate) file: PathBuf,
    /// Take a database although it is older than the one that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}

/// `palisade db export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade db export advisories.db                 # for a machine without a network\n  \
    palisade db export --since last-week.db monday.delta\n  \
    palisade db export --publish /srv/www/palisade   # for `db update --from`")]
pub(crate) struct DbExport {
    /// The file to write; with --publish the folder
    pub(crate) output: PathBuf,
    /// Write what changed since this older database
    #[arg(long, value_name = "FILE", conflicts_with = "publish")]
    pub(crate) since: Option<PathBuf>,
    /// Fill a folder from which other machines update themselves, with a delta from what it had
    #[arg(long)]
    pub(crate) publish: bool,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}

/// `palisade db generate-key`.
#[derive(Debug, Args)]
pub(crate) struct DbGenerateKey {
    /// Where to write PREFIX.key and PREFIX.pub
    pub(crate) prefix: PathBuf,
}

/// `palisade db status`.
#[derive(Debug, Args)]
pub(crate) struct DbStatus {
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = super::ListFormat::Table)]
    pub(crate) format: super::ListFormat,
}

/// `palisade db search`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade db search CVE-2024-3094\n  \
    palisade db search ghsa-22gh-3r9q-xf38 --format json\n  \
    palisade db search openssl")]
pub(crate) struct DbSearch {
    /// Identifier in any case (CVE, GHSA, RLSA, ALAS, USN, …), or package name (of the source
    /// package, for Debian)
    #[arg(value_name = "ID|PACKAGE")]
    pub(crate) package: String,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = super::ListFormat::Table)]
    pub(crate) format: super::ListFormat,
}
