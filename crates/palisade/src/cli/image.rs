//! What names an image, and how it is got.

use std::path::PathBuf;

use clap::Args;

/// Targets, for the help of the commands that take one.
pub(crate) const TARGETS: &str = "Targets:\n  \
    NAME[:TAG|@DIGEST]           an image of this machine's stores, else of its registry\n  \
    registry:NAME                an image in a registry\n  \
    docker:NAME, podman:NAME     an image in an engine's store, by name or id\n  \
    containerd:NAME[@NAMESPACE]\n  \
    oci:DIR[:TAG|@DIGEST]        an OCI layout\n  \
    archive:FILE[:TAG]           an archive of `docker save` or of a layout; - is stdin\n  \
    container:ID                 the files of a running container of any engine\n  \
    sbom:FILE                    a bill of materials instead of an image; - is stdin\n  \
    dir:PATH, host, aci:FILE     a root file system, this machine, an App Container Image";

/// How images of registries are got.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Image options")]
pub(crate) struct ImageSource {
    /// Which image of several platforms, like linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Speak plain HTTP with this registry (HOST[:PORT]); may be repeated
    #[arg(long, value_name = "HOST")]
    pub(crate) plain_http: Vec<String>,
    /// Folder for fetched layers and inventories [default: <data-dir>/cache, or
    /// ~/.cache/palisade for others than root]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Most MiB that fetched layers take in the cache
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    pub(crate) cache_size: u64,
    /// Folder of an engine's store instead of its usual place, like docker=/srv/docker; may be
    /// repeated
    #[arg(long, value_name = "ENGINE=DIR")]
    pub(crate) store: Vec<String>,
    /// Keep nothing and use nothing of what was kept
    #[arg(long)]
    pub(crate) no_cache: bool,
}

/// `palisade copy`.
#[derive(Debug, Args)]
#[command(after_help = "Nothing is judged: `palisade promote` copies what a policy lets pass.\n\
    Every platform comes along, and what refers to any of them: signatures, attestations, bills\n\
    of materials, by the registry's list, by its tag, and by cosign's tags.\n\n\
    Examples:\n  \
    palisade copy registry.example/shop:1 mirror.example/shop:1\n  \
    palisade copy oci:./shop registry.example/team/shop:1.0")]
pub(crate) struct Copy {
    /// What to copy: NAME, registry:NAME, oci:DIR[:TAG]
    pub(crate) target: String,
    /// Where to: HOST/REPOSITORY:TAG
    pub(crate) destination: String,
    /// How images of registries are got.
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// `palisade promote`.
#[derive(Debug, Args)]
#[command(
    after_help = "Every platform of the image is judged, and nothing is copied unless all pass.\n\
    What refers to the image comes along: signatures, attestations, bills of materials.\n\n\
    Examples:\n  \
    palisade promote --policy shop.yaml docker.io/library/nginx:1.27 registry.example/base/nginx:1.27\n  \
    palisade promote --policy restricted oci:./shop registry.example/team/shop:1.0"
)]
pub(crate) struct Promote {
    /// What to copy: NAME, registry:NAME, oci:DIR[:TAG]
    pub(crate) target: String,
    /// Where to: HOST/REPOSITORY:TAG
    pub(crate) destination: String,
    /// The policy whose gate and signatures decide: a built-in name or a file
    #[arg(long, default_value = "baseline", value_name = "POLICY")]
    pub(crate) policy: String,
    /// Public key that must have signed the image, besides those of the policy
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Advisory database for the policy's gate [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}
