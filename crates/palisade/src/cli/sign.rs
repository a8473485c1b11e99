//! `palisade sign` and `palisade attest`: what is signed, and by whom.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `palisade sign`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade sign --generate-key shop       # writes shop.key (keep it) and shop.pub\n  \
    palisade sign --key shop.key oci:./shop\n  \
    palisade sign --key shop.key registry.example/shop:1\n  \
    palisade sign --keyless --signing-config signing_config.json registry.example/shop:1\n  \
    palisade sign --keyless --fulcio-url https://fulcio.example --rekor-url https://log.example \\\n      \
    --timestamp-url https://time.example/api/v1/timestamp oci:./shop\n  \
    palisade sign --openpubkey providers.json --oidc-issuer https://accounts.example oci:./shop\n  \
    palisade sign --key shop.key --notary-chain chain.pem registry.example/shop:1\n  \
    palisade sign --gpg-key dev@shop.example --lookaside /srv/lookaside registry.example/shop:1\n\n\
    An encrypted key is opened with the password in PALISADE_KEY_PASSWORD (or COSIGN_PASSWORD).\n\
    An ID token comes from --identity-token, from SIGSTORE_ID_TOKEN, from GitHub's runner\n\
    (ACTIONS_ID_TOKEN_REQUEST_URL), or from the provider by --oidc-flow.")]
pub(crate) struct Sign {
    /// What to sign: oci:DIR[:TAG], or NAME in a registry; with --gpg-key also dir:FOLDER
    #[arg(required_unless_present = "generate_key")]
    pub(crate) target: Option<String>,
    /// Make a key pair instead: PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", conflicts_with = "key")]
    pub(crate) generate_key: Option<PathBuf>,
    /// Who signs.
    #[command(flatten)]
    pub(crate) signer: Signer,
    /// Also write cosign's older form (tag sha256-HEX.sig), which skopeo and Podman read
    #[arg(long, requires = "key")]
    pub(crate) simple: bool,
    /// Sign for the Notary Project, with these certificates: the key's first, the root last
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) notary_chain: Option<PathBuf>,
    /// Envelope of that signature
    #[arg(long, value_enum, default_value_t = NotaryFormat::Jws, requires = "notary_chain")]
    pub(crate) notary_format: NotaryFormat,
    /// Let that signature end after so many hours
    #[arg(long, value_name = "HOURS", requires = "notary_chain")]
    pub(crate) expires_in: Option<u32>,
    /// Sign with this key of gpg: simple signing, for policy.json of skopeo, Podman and CRI-O
    #[arg(long, value_name = "ID", conflicts_with_all = ["key", "keyless", "openpubkey"])]
    pub(crate) gpg_key: Option<String>,
    /// Folder for signatures by gpg [default: /var/lib/containers/sigstore, or
    /// ~/.local/share/containers/sigstore for others than root]
    #[arg(long, value_name = "DIR", requires = "gpg_key")]
    pub(crate) lookaside: Option<PathBuf>,
    /// What the image is called in a registry, where the target does not say it
    #[arg(long, value_name = "NAME")]
    pub(crate) reference: Option<String>,
}

/// `palisade attest`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade attest --key shop.key --type slsaprovenance1 --predicate provenance.json oci:./shop\n  \
    palisade sbom --format cyclonedx-json oci:./shop > bom.json\n  \
    palisade attest --key shop.key --type cyclonedx --predicate bom.json registry.example/shop:1\n  \
    palisade attest --keyless --signing-config signing_config.json --type openvex \\\n      \
    --predicate vex.json registry.example/shop:1")]
pub(crate) struct Attest {
    /// What it is about: oci:DIR[:TAG], or NAME in a registry
    pub(crate) target: String,
    /// What is attested: a JSON document
    #[arg(long, value_name = "FILE")]
    pub(crate) predicate: PathBuf,
    /// What kind of document it is: slsaprovenance, slsaprovenance1, spdx, spdxjson, cyclonedx,
    /// vuln, openvex, link, or a URI
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: String,
    /// Who signs.
    #[command(flatten)]
    pub(crate) signer: Signer,
}

/// Who signs.
#[derive(Debug, Args)]
pub(crate) struct Signer {
    /// Private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Sign with a certificate for an identity that a provider vouches for (Sigstore)
    #[arg(long, conflicts_with = "key")]
    pub(crate) keyless: bool,
    /// The services that sign: a signing_config.json (version 0.2)
    #[arg(long, value_name = "FILE", requires = "keyless", conflicts_with_all = ["fulcio_url", "rekor_url", "timestamp_url"])]
    pub(crate) signing_config: Option<PathBuf>,
    /// Certificate authority
    #[arg(long, value_name = "URL", requires = "keyless")]
    pub(crate) fulcio_url: Option<String>,
    /// Log of signatures
    #[arg(long, value_name = "URL", requires = "keyless")]
    pub(crate) rekor_url: Option<String>,
    /// Version of the log's interface
    #[arg(long, value_name = "1|2", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=2))]
    pub(crate) rekor_version: u32,
    /// Authority of time (RFC 3161), also for --notary-chain; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) timestamp_url: Vec<String>,
    /// Verify what was made against this trusted root before it is stored
    #[arg(long, value_name = "FILE", requires = "keyless")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Sign under an ID token that vouches for the key (OpenPubkey); the file names providers
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "keyless"])]
    pub(crate) openpubkey: Option<PathBuf>,
    /// File of the ID token; with --openpubkey it must be for this very signature, so that a
    /// provider has to be asked
    #[arg(long, value_name = "FILE", requires = "keyless")]
    pub(crate) identity_token: Option<PathBuf>,
    /// The provider of ID tokens
    #[arg(long, value_name = "URL")]
    pub(crate) oidc_issuer: Option<String>,
    /// What this program is called there
    #[arg(long, value_name = "ID", default_value = "sigstore")]
    pub(crate) oidc_client_id: String,
    /// How the provider is asked
    #[arg(long, value_enum, default_value_t = OidcFlow::Auto)]
    pub(crate) oidc_flow: OidcFlow,
    /// Speak plain HTTP with this registry (HOST[:PORT]); may be repeated
    #[arg(long, value_name = "HOST")]
    pub(crate) plain_http: Vec<String>,
}

/// Forms of a signature of the Notary Project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NotaryFormat {
    /// JSON Web Signature.
    Jws,
    /// COSE_Sign1.
    Cose,
}

/// Ways to an ID token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OidcFlow {
    /// A token that is there; else the runner's; else by browser on a terminal.
    Auto,
    /// The runner of GitHub Actions, or one that offers the same.
    Ci,
    /// A code to type in on another machine (RFC 8628).
    Device,
    /// A page in a browser of this machine, which comes back to it.
    Browser,
}
