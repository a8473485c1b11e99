//! Containers: `run`, `ps`, `logs`, `exec`, `stop`, `rm`.

use std::path::PathBuf;

use clap::Args;
use palisade_runtime::network::{NetworkName, Published};

use super::{ImageSource, ListFormat};

/// `palisade run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade run --policy restricted oci:./shop\n  \
    palisade run --detach --name shop --policy shop.yaml oci:./shop\n  \
    palisade run oci:./shop -- /bin/sh -c id\n  \
    palisade run --policy web.yaml --publish 8080:80 oci:./shop\n  \
    palisade run --interactive --tty oci:./shop -- /bin/sh\n  \
    palisade run --rootfs ./root -- /bin/sh -c id\n  \
    palisade run --deny-drift oci:./shop    # only the image's own programs start\n  \
    palisade run --explain --policy restricted oci:./shop   # show every change, run nothing")]
pub(crate) struct Run {
    /// The image: NAME, registry:NAME, docker:NAME, oci:DIR[:TAG], archive:FILE, …
    #[arg(required_unless_present = "rootfs", conflicts_with = "rootfs")]
    pub(crate) target: Option<String>,
    /// A folder that is the root file system, instead of an image
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Arguments instead of the image's command
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
    /// Program instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Set a variable in the container; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Policy: a built-in name (audit, baseline, restricted) or a file
    #[arg(long, default_value = "baseline", value_name = "POLICY")]
    pub(crate) policy: String,
    /// Seccomp profile instead of the policy's: a file in Docker's form or the OCI runtime
    /// specification's
    #[arg(long, value_name = "FILE")]
    pub(crate) seccomp: Option<PathBuf>,
    /// Name of the container [default: made from the image and the id]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its network, as narrow as the policy's or narrower: none, bridge, bridge:NAME (shared with
    /// the other containers of that name), user (without root), host [default: the policy's]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<ContainerNetwork>,
    /// Have a port of the host lead to one of the container on the bridge; may be repeated
    #[arg(long, short, value_name = "[ADDRESS:]HOST:CONTAINER[/udp]")]
    pub(crate) publish: Vec<Published>,
    /// Public key that must have signed the image, besides those of the policy
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Pass our standard input on to the program
    #[arg(long, short, conflicts_with = "detach")]
    pub(crate) interactive: bool,
    /// Give the program a terminal of its own, connected to ours
    #[arg(long, short, conflicts_with = "detach")]
    pub(crate) tty: bool,
    /// Return when the container has started; its output goes to a log
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Refuse programs that are not the image's: added or changed since, or on another file system
    #[arg(long)]
    pub(crate) deny_drift: bool,
    /// Show what the policy changes and why, and run nothing
    #[arg(long)]
    pub(crate) explain: bool,
    /// Advisory database for the policy's gate [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// OCI runtime to hand over to [default: runc, then crun, of the system]
    #[arg(long, value_name = "FILE")]
    pub(crate) runtime: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// Network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContainerNetwork {
    /// Loopback only.
    None,
    /// One of its own: on a bridge of containers, and without root by `pasta` or `slirp4netns`.
    Bridge,
    /// One that it shares with others.
    Shared(NetworkName),
    /// One of its own by `pasta` or `slirp4netns`, without root.
    User,
    /// The host's.
    Host,
}

impl std::str::FromStr for ContainerNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "none" => Self::None,
            "bridge" => Self::Bridge,
            "user" => Self::User,
            "host" => Self::Host,
            other => match other.strip_prefix("bridge:") {
                Some(name) => Self::Shared(name.parse()?),
                None => return Err("it is none, bridge, bridge:NAME, user or host".into()),
            },
        })
    }
}

/// `palisade ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Form of the list
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade exec`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade exec shop -- cat /proc/self/status\n  \
    palisade exec --interactive --tty shop -- /bin/sh")]
pub(crate) struct Exec {
    /// Name or id (or its beginning)
    pub(crate) container: String,
    /// Pass our standard input on to the program
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// Give the program a terminal of its own, connected to ours
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Set a variable for the program; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Folder to start in [default: the container's]
    #[arg(long, short, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Command and arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// `palisade stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Names or ids (or their beginnings)
    #[arg(required_unless_present = "all")]
    pub(crate) containers: Vec<String>,
    /// Stop every container
    #[arg(long)]
    pub(crate) all: bool,
    /// Seconds between SIGTERM and SIGKILL
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    pub(crate) grace: u64,
    /// Stop a container that a response has protected as well
    #[arg(long)]
    pub(crate) unprotect: bool,
}

/// `palisade logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade logs shop\n  \
    palisade logs --follow --tail 20 shop")]
pub(crate) struct Logs {
    /// Name or id (or its beginning) of a container that was started with --detach; by its
    /// name also after it is gone
    pub(crate) container: String,
    /// Go on until the container ends
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only so many of the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub(crate) tail: Option<usize>,
}

/// `palisade rm`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade rm shop\n  \
    palisade rm --force --logs shop   # kills it first, and its output goes too")]
pub(crate) struct Rm {
    /// Names or ids (or their beginnings)
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
    /// Kill one that runs
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Remove the file of its output as well
    #[arg(long)]
    pub(crate) logs: bool,
    /// Remove a container that a response has protected as well
    #[arg(long)]
    pub(crate) unprotect: bool,
}
