//! `palisade verify --containers-policy`: a `policy.json` of containers/image decides.

use std::fs::File;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, read_bounded};
use palisade_model::Target;
use palisade_trust::containers::{ContainersPolicy, Image, Reference, StoredSignature};

use super::{Context, trust};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Largest signature, in bytes.
const SIGNATURE_BYTES_MAX: u64 = 4 << 20;
/// Most signatures of an image; containers/image stops there too.
const SIGNATURES_MAX: u32 = 128;

/// Verifies an image on disk as the policy asks.
pub(super) fn verify(
    context: &Context<'_>,
    args: &cli::Verify,
    policy: &Path,
) -> Result<Exit, Failure> {
    let policy = ContainersPolicy::read(policy).or_exit(Exit::Usage)?;
    let mut image = image(&args.target)?;
    if let Some(name) = &args.reference {
        let signatures = image.signatures;
        let reference = Reference::parse(name).or_exit(Exit::Usage)?;
        image = Image { signatures, ..Image::docker(reference, image.digest) };
    }
    let decision = policy.evaluate(&image, trust::now()).or_exit(Exit::Refused)?;
    let digest = image.digest.map(|it| it.to_string()).unwrap_or_default();
    let text = match args.format {
        ListFormat::Json => format!(
            "{:#}\n",
            serde_json::json!({
                "schema": "palisade.dev/containers-policy-decision/v1",
                "digest": digest,
                "rule": decision.scope,
                "requirements": decision.satisfied,
            })
        ),
        ListFormat::Tsv => {
            format!("{digest}\t{}\t{}\n", decision.scope, decision.satisfied.join("; "))
        }
        ListFormat::Table => format!(
            "allowed   {digest}\nrule      {}\nbecause   {}\n",
            decision.scope,
            decision.satisfied.join("\n          ")
        ),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// The image with its signatures. Its blobs are checked by whoever unpacks it.
fn image(target: &str) -> Result<Image, Failure> {
    match target.parse::<Target>().or_exit(Exit::Usage)? {
        Target::Folder(folder) => {
            let manifest = read(&folder.join("manifest.json"), MANIFEST_BYTES_MAX)?;
            let manifest = manifest.ok_or_else(|| {
                Failure::message(Exit::Incomplete, format!("`{target}` has no manifest.json"))
                    .with_hint("copy the image with `skopeo copy … dir:FOLDER`")
            })?;
            let digest = Some(Digest::of(&manifest));
            let path = absolute(&folder)?;
            let mut image = Image::folder("dir", &path, "", digest);
            for i in 1..=SIGNATURES_MAX {
                let file = folder.join(format!("signature-{i}"));
                let Some(bytes) = read(&file, SIGNATURE_BYTES_MAX)? else { break };
                image.signatures.push(StoredSignature::from_file(&bytes));
            }
            Ok(image)
        }
        other => Err(Failure::message(
            Exit::Usage,
            format!("`{other}` holds no signatures of this kind"),
        )
        .with_hint("copy the image with its signatures: `skopeo copy … dir:FOLDER`")),
    }
}

fn absolute(folder: &Path) -> Result<String, Failure> {
    let path: Result<PathBuf, _> = folder.canonicalize();
    let text = path.ok().and_then(|path| path.to_str().map(str::to_string));
    text.ok_or_else(|| {
        Failure::message(Exit::Incomplete, format!("`{}` cannot be read", folder.display()))
            .with_hint("check that the folder exists and that its name is UTF-8")
    })
}

/// The file's content; `None`: there is no such file.
fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    read_bounded(file, "file", limit).map(Some).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::message(Exit::Incomplete, format!("read `{}`: {error}", path.display()))
        .with_hint("check that the file is whole and may be read by this user")
}
