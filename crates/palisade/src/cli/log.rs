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
    /// Follow a log: hold it to what it said, and tell who signs in it
    Monitor(LogMonitor),
    /// Be a witness: sign logs' checkpoints as long as each contains the last
    Witness(LogWitness),
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
    /// Make the key of a witness instead
    #[arg(long)]
    pub(crate) witness: bool,
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
    /// A witness that is asked to sign each checkpoint; may be repeated
    #[arg(long, value_name = "URL=KEY")]
    pub(crate) witness: Vec<String>,
    /// How many of them must have signed before readers see a checkpoint
    #[arg(long, value_name = "N", default_value_t = 0, requires = "witness")]
    pub(crate) quorum: usize,
    /// Write the address to this file when the server is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// `palisade log monitor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade log monitor --key log.vkey --log https://log.example --data /var/lib/monitor --once\n  \
    palisade log monitor --key log.vkey --log https://log.example --data /var/lib/monitor \\\n      \
    --identity dev@shop.example --other https://mirror.example\n\n\
    Every entry is read and hashed, so that what is told is what the log holds. Exit code 1: the\n\
    log contradicts itself (the proof is kept in --data), shows less than before, or, with\n\
    --expect-none, somebody signed whom --identity or --key-sha256 names.")]
pub(crate) struct LogMonitor {
    /// Verifier key of the log (NAME+HASH+KEY), or a file that holds it
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) key: String,
    /// The log: the URL below which its checkpoint is, or its folder
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) log: String,
    /// Folder for what is remembered of the log
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Another place where the log's checkpoint is seen: it must agree; may be repeated
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) other: Vec<String>,
    /// Tell entries of this identity in a certificate; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Vec<String>,
    /// Tell entries of identities that a regular expression matches as a whole
    #[arg(long, value_name = "REGEX")]
    pub(crate) identity_regexp: Option<String>,
    /// Only those for which this issuer vouched
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,
    /// Tell entries of the key with this SHA-256 of its SubjectPublicKeyInfo; may be repeated
    #[arg(long, value_name = "HEX")]
    pub(crate) key_sha256: Vec<String>,
    /// Whoever is told is an alarm: exit code 1
    #[arg(long)]
    pub(crate) expect_none: bool,
    /// Begin with the log as it is now, instead of with its first entry
    #[arg(long)]
    pub(crate) from_now: bool,
    /// Look once, instead of until a signal
    #[arg(long)]
    pub(crate) once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) interval: u64,
}

/// `palisade log witness`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade log key --witness --origin witness.example --output witness.key > witness.vkey\n  \
    palisade log witness --data /srv/witness --key witness.key --name witness.example \\\n      \
    --log log.vkey --listen 127.0.0.1:3001\n  \
    palisade log serve … --witness \"http://127.0.0.1:3001=$(cat witness.vkey)\" --quorum 1\n\n\
    Logs ask at /add-checkpoint (C2SP tlog-witness). It speaks plain HTTP: put a proxy with TLS\n\
    before it.")]
pub(crate) struct LogWitness {
    /// Folder for what was signed; without it a witness would sign a fork
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Private key of the witness
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The witness's name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Verifier key of a log, or a file that holds it; may be repeated
    #[arg(long, value_name = "KEY|FILE", required = true)]
    pub(crate) log: Vec<String>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3001")]
    pub(crate) listen: SocketAddr,
    /// Requests of one address in a second; 0 for no limit
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
