//! `palisade verify --containers-policy`: a `policy.json` of containers/image decides.

use std::fs::File;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, read_bounded};
use palisade_model::Target;
use palisade_trust::attach::subject_in_layout;
use palisade_trust::containers::{
    ContainersPolicy, Image, Reference, SIGNATURES_MAX, StoredSignature,
};

use super::{Context, containers_remote, trust};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Largest signature, in bytes.
pub(super) const SIGNATURE_BYTES_MAX: u64 = 4 << 20;

/// Verifies an image as the policy asks.
pub(super) fn verify(
    context: &Context<'_>,
    args: &cli::Verify,
    policy: &Path,
) -> Result<Exit, Failure> {
    let policy = ContainersPolicy::read(policy).or_exit(Exit::Usage)?;
    let named = args.reference.as_deref().map(Reference::parse).transpose();
    let named = named.or_exit(Exit::Usage)?;
    let (image, notes) = match args.target.parse::<Target>().or_exit(Exit::Usage)? {
        Target::Registry(reference) | Target::Anywhere(reference) => {
            containers_remote::image(context, args, &policy, &reference, named)?
        }
        target => {
            let mut image = image(&args.target, target)?;
            if let Some(reference) = named {
                let signatures = image.signatures;
                image = Image { signatures, ..Image::docker(reference, image.digest) };
            }
            (image, Vec::new())
        }
    };
    let decision = policy.evaluate(&image, trust::now()).or_exit(Exit::Refused);
    let decision = decision.map_err(|failure| match notes.as_slice() {
        [] => failure,
        notes => failure.with_hint(notes.join("; ")),
    })?;
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
fn image(name: &str, target: Target) -> Result<Image, Failure> {
    match target {
        Target::Folder(folder) => {
            let manifest = read(&folder.join("manifest.json"), MANIFEST_BYTES_MAX)?;
            let manifest = manifest.ok_or_else(|| {
                Failure::message(Exit::Incomplete, format!("`{name}` has no manifest.json"))
                    .with_hint("copy the image with `skopeo copy … dir:FOLDER`")
            })?;
            let digest = Some(Digest::of(&manifest));
            let path = absolute(&folder)?;
            let mut image = Image::folder("dir", &path, "", digest);
            image.signatures =
                numbered(|n| read(&folder.join(format!("signature-{n}")), SIGNATURE_BYTES_MAX))?;
            Ok(image)
        }
        // A layout has no place for signatures of this kind; a policy may accept it without.
        Target::Layout { folder, selector } => {
            let subject = subject_in_layout(&folder, selector.as_deref());
            let (subject, _) = subject.or_exit(Exit::Incomplete)?;
            let (path, tag) = (absolute(&folder)?, selector.unwrap_or_default());
            Ok(Image::folder("oci", &path, &tag, Some(subject.digest)))
        }
        other => Err(Failure::message(
            Exit::Usage,
            format!("`{other}` holds no signatures of this kind"),
        )
        .with_hint(
            "name an image of a registry (NAME[:TAG]), or copy the image with its signatures: \
             `skopeo copy … dir:FOLDER`",
        )),
    }
}

/// Signatures under the numbers from 1 to the first that is missing.
pub(super) fn numbered(
    mut read: impl FnMut(u32) -> Result<Option<Vec<u8>>, Failure>,
) -> Result<Vec<StoredSignature>, Failure> {
    let mut all = Vec::new();
    for n in (1..).take(SIGNATURES_MAX) {
        let Some(bytes) = read(n)? else { break };
        all.push(StoredSignature::from_file(&bytes));
    }
    Ok(all)
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
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
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
