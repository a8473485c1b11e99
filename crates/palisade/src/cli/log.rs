//! The command line of `palisade log`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `palisade log`.
#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// Make the key of a log, and print its verifier key
    Key(LogKey),
    /// Keep a log and answer for it over HTTP
    Serve(LogServe),
    /// Submit a signature to a log, and verify its answer
    Submit(LogSubmit),
    /// Verify that an entry is in a log, and that a log has only grown
    Verify(LogVerify),
}

/// `palisade log key`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  palisade log key --origin log.example --output log.key > log.vkey\n\n\
    The private key (Ed25519, PKCS #8) has the mode 0600 and never replaces a file."
)]
pub(crate) struct LogKey {
    /// The log's name, as its checkpoints show it: a host name, with a path if need be
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: String,
    /// File of the private key
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// `palisade log serve`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    palisade log serve --data /srv/log --key log.key --origin log.example --listen 127.0.0.1:3000\n\n\
    Entries are submitted to /api/v2/log/entries; /checkpoint and /tile/… are read. It speaks\n\
    plain HTTP: put a proxy with TLS before it.")]
pub(crate) struct LogServe {
    /// Folder of the log; made when it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Private key of the log
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The log's name
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: String,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
    /// Submissions of one address in a second, bursts may be twice as large; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) rate: u32,
    /// Most connections of one address
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) connections: usize,
    /// Write the address to this file when the server is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// `palisade log submit`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    palisade log submit --log https://log.example --key log.vkey request.json > entry.json\n\n\
    The request is a CreateEntryRequest of Rekor v2 in JSON. The answer is printed when its\n\
    proof holds, for `palisade log verify` and for bundles.")]
pub(crate) struct LogSubmit {
    /// URL of the log
    #[arg(long, value_name = "URL")]
    pub(crate) log: String,
    /// Verifier key of the log (NAME+HASH+KEY), or a file that holds it
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) key: String,
    /// What to submit
    #[arg(value_name = "FILE")]
    pub(crate) request: PathBuf,
    /// Write the answer to this file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `palisade log verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade log verify --key log.vkey entry.json                 # offline\n  \
    palisade log verify --key log.vkey --log https://log.example entry.json\n  \
    palisade log verify --key log.vkey --log /srv/log --keep checkpoint.txt\n\n\
    Exit code 1: what was given is no proof, or the log has not only grown.")]
pub(crate) struct LogVerify {
    /// Verifier key of the log (NAME+HASH+KEY), or a file that holds it
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) key: String,
    /// The log: the URL below which its checkpoint is, or its folder
    #[arg(long, value_name = "URL|DIR", required_unless_present = "entry")]
    pub(crate) log: Option<String>,
    /// Checkpoint of an earlier run; replaced by the log's when that has only grown since
    #[arg(long, value_name = "FILE", requires = "log")]
    pub(crate) keep: Option<PathBuf>,
    /// What the log answered (`TransparencyLogEntry`), or a Sigstore bundle
    #[arg(value_name = "FILE")]
    pub(crate) entry: Option<PathBuf>,
}
