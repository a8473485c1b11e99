//! Who made an image: `verify`, `trust`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ImageSource, ListFormat, TrustAdd, TrustRoot, TrustRotate};

/// `palisade verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade verify --key shop.pub oci:./shop\n  \
    palisade verify --policy shop.yaml oci:./shop\n  \
    palisade verify --key shop.pub registry.example/team/shop:1.0\n  \
    palisade verify --key shop.pub archive:shop.tar\n  \
    palisade verify --trusted-root trusted_root.json --certificate-identity dev@shop.example \\\n      \
    --certificate-oidc-issuer https://accounts.example oci:./shop\n  \
    palisade verify --containers-policy policy.json --offline registry.example/shop:1\n  \
    palisade verify --containers-policy /etc/containers/policy.json \\\n      \
    --reference registry.example/shop:1 dir:./shop\n  \
    palisade verify --openpubkey providers.json --certificate-identity dev@shop.example \\\n      \
    --certificate-oidc-issuer https://accounts.example oci:./shop\n  \
    palisade verify --notary-policy trustpolicy.json --reference registry.example/shop oci:./shop")]
pub(crate) struct Verify {
    /// What to verify: an image of a registry (NAME), an OCI layout (oci:), an archive of one
    /// (archive:), with --containers-policy a folder of skopeo's (dir:)
    pub(crate) target: String,
    /// Public key that must have signed; several: any of them
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Take the keys from this policy
    #[arg(long, value_name = "POLICY", conflicts_with = "key")]
    pub(crate) policy: Option<String>,
    /// Name that the signer's certificate must give
    #[arg(long, value_name = "NAME", requires = "certificate_oidc_issuer")]
    pub(crate) certificate_identity: Option<String>,
    /// Regular expression that must match the whole of that name
    #[arg(
        long,
        value_name = "REGEX",
        requires = "certificate_oidc_issuer",
        conflicts_with = "certificate_identity"
    )]
    pub(crate) certificate_identity_regexp: Option<String>,
    /// The OpenID provider that must have vouched for the signer
    #[arg(long, value_name = "URL")]
    pub(crate) certificate_oidc_issuer: Option<String>,
    /// The logs and authorities that are trusted
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Obey this policy.json of containers/image
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "policy", "certificate_oidc_issuer"])]
    pub(crate) containers_policy: Option<PathBuf>,
    /// Where a registry's signatures by GPG lie, for --containers-policy [default:
    /// ~/.config/containers/registries.d, else /etc/containers/registries.d]
    #[arg(long, value_name = "DIR", requires = "containers_policy")]
    pub(crate) registries_d: Option<PathBuf>,
    /// Open no connection but to the image's own registry; what is not looked up therefore is
    /// named
    #[arg(long)]
    pub(crate) offline: bool,
    /// Read the layers of a registry's image as well, not its manifests alone
    #[arg(long)]
    pub(crate) layers: bool,
    /// What the image is called in a registry: decide as if it came from there
    #[arg(long, value_name = "NAME")]
    pub(crate) reference: Option<String>,
    /// Accept signatures under ID tokens of the providers of this file (OpenPubkey), by
    /// --certificate-identity if it is given
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "policy", "containers_policy"])]
    pub(crate) openpubkey: Option<PathBuf>,
    /// Obey this trust policy of the Notary Project; its trust store is beside it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "policy", "containers_policy", "openpubkey"])]
    pub(crate) notary_policy: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// `palisade trust`.
#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Say which rule of a policy decides about an image, and what each signature lacks
    Explain(TrustExplain),
    /// List whom a policy trusts with which images, and what holds today
    List(TrustList),
    /// Add a rule to a policy: who must have signed which images
    Add(TrustAdd),
    /// Replace a key of a rule, with days on which both count
    Rotate(TrustRotate),
    /// The logs and authorities that are trusted, kept up to date from a repository (TUF)
    #[command(subcommand)]
    Root(TrustRoot),
    /// The protocols of conformance suites of others
    #[command(subcommand)]
    Conformance(TrustConformance),
}

/// `palisade trust explain`.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 0: the image is trusted; 1: it is not.\n\n\
    Examples:\n  \
    palisade trust explain --policy shop.yaml registry.example/team/shop:1.0\n  \
    palisade trust explain --policy shop.yaml --format json oci:./shop")]
pub(crate) struct TrustExplain {
    /// The image: NAME, registry:NAME, oci:DIR[:TAG], archive:FILE
    pub(crate) target: String,
    /// The policy: a built-in name or a file
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: String,
    /// Public key that counts besides those of the policy
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// The logs and authorities that are trusted
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Open no connection but to the image's own registry
    #[arg(long)]
    pub(crate) offline: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// `palisade trust list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade trust list --policy shop.yaml")]
pub(crate) struct TrustList {
    /// The policy: a built-in name or a file
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade trust conformance`.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustConformance {
    /// Verify a Sigstore bundle of a file, offline: exit code 0 or 1
    VerifyBundle(VerifyBundle),
}

/// `palisade trust conformance verify-bundle`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade trust conformance verify-bundle --bundle a.sigstore.json --key shop.pub a.tar\n  \
    palisade trust conformance verify-bundle --bundle a.sigstore.json --trusted-root trusted_root.json \\\n      \
    --certificate-identity dev@shop.example --certificate-oidc-issuer https://accounts.example a.tar\n\n\
    Without --trusted-root, the file is /etc/palisade/trusted_root.json; no root is fetched.")]
pub(crate) struct VerifyBundle {
    /// The bundle, of version 0.1, 0.2 or 0.3
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// Public key that must have signed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate_identity", "certificate_oidc_issuer"])]
    pub(crate) key: Option<PathBuf>,
    /// Name of the signer, as the certificate gives it
    #[arg(long, value_name = "NAME", requires = "certificate_oidc_issuer")]
    pub(crate) certificate_identity: Option<String>,
    /// The OpenID provider that vouched for the signer
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    pub(crate) certificate_oidc_issuer: Option<String>,
    /// The logs and authorities that are trusted
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// The file, or its digest as `sha256:HEX`, `sha384:HEX` or `sha512:HEX`
    pub(crate) artifact: String,
}
