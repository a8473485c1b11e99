//! Simple signing with a key of gpg (containers/image, `containers-signature.5.md`): the
//! signature is a file in a lookaside folder, or in a folder of skopeo's.
//!
//! gpg makes the signature, because the key may be in its agent or on a card; the payload is
//! ours.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use palisade_base::Digest;
use palisade_model::{Reference, Target};
use palisade_trust::gpg_payload;

use super::super::Context;
use super::place::Image;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest manifest of a folder, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Largest signature, in bytes.
const SIGNATURE_BYTES_MAX: u64 = 4 << 20;
/// Most signatures of an image; containers/image looks at no more.
const SIGNATURES_MAX: usize = 128;

/// Signs an image.
pub(super) fn sign(context: &Context<'_>, args: &cli::Sign, target: &str) -> Result<Exit, Failure> {
    let id = args.gpg_key.as_deref().unwrap_or_default();
    let named = args.reference.as_deref().map(str::parse::<Reference>).transpose();
    let named = named.or_exit(Exit::Usage)?;
    let parsed = target.parse::<Target>().or_exit(Exit::Usage)?;
    let (digest, reference, folder) = if let Target::Folder(path) = parsed {
        let manifest = path.join("manifest.json");
        let digest = Digest::of(&super::read(&manifest, "manifest", MANIFEST_BYTES_MAX)?);
        (digest, named.ok_or_else(no_name)?, path)
    } else {
        let image = Image::open(context, target, &args.signer.plain_http)?;
        let reference = named.or_else(|| image.reference().cloned()).ok_or_else(no_name)?;
        let base = args.lookaside.clone().unwrap_or_else(|| default_lookaside(context));
        let folder = lookaside(&base, &reference, image.subject.digest);
        (image.subject.digest, reference, folder)
    };
    if reference.tag().is_none() {
        return Err(Failure::message(Exit::Usage, format!("`{reference}` has no tag"))
            .with_hint("the signature says under which tag the image may be used: NAME:TAG"));
    }
    let name = format!(
        "{}/{}:{}",
        reference.registry(),
        reference.repository(),
        reference.tag().unwrap_or_default()
    );
    let created = super::super::trust::now();
    let signature = gpg(id, &gpg_payload(&digest, &name, created))?;
    let path = store(&folder, &signature)?;
    context.terminal.progress(&format!("signed as {name} in {}", path.display()));
    context.terminal.result(&format!("{digest}\n"))?;
    Ok(Exit::Clean)
}

fn no_name() -> Failure {
    Failure::message(Exit::Usage, "the signature names the image, and it has no name")
        .with_hint("say what it is called in its registry: --reference HOST/REPOSITORY:TAG")
}

/// `BASE/REPOSITORY@sha256=HEX` (containers/image, `signature-protocols.md`): the host is no
/// part of it.
fn lookaside(base: &Path, reference: &Reference, digest: Digest) -> PathBuf {
    base.join(format!("{}@sha256={}", reference.repository(), digest.hex()))
}

fn default_lookaside(context: &Context<'_>) -> PathBuf {
    match &context.environment.home {
        Some(home) if !rustix::process::geteuid().is_root() => {
            home.join(".local/share/containers/sigstore")
        }
        _ => PathBuf::from("/var/lib/containers/sigstore"),
    }
}

/// Lets gpg sign: one attached, binary signature.
fn gpg(id: &str, payload: &[u8]) -> Result<Vec<u8>, Failure> {
    let failed = |problem: String| {
        Failure::message(Exit::Incomplete, format!("sign with gpg key `{id}`: {problem}"))
            .with_hint("check `gpg --list-secret-keys`; the passphrase must be known to its agent")
    };
    let mut child = Command::new("gpg")
        .args(["--batch", "--yes", "--no-armor", "--local-user"])
        .arg(id)
        .args(["--sign", "--output", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    // The payload is smaller than a pipe holds, so that nobody waits for nobody.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(payload).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() || output.stdout.len() as u64 > SIGNATURE_BYTES_MAX {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
        return Err(failed(said));
    }
    Ok(output.stdout)
}

/// Writes the signature under the first free number; several signers make several files.
fn store(folder: &Path, signature: &[u8]) -> Result<PathBuf, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::message(Exit::Incomplete, format!("write `{}`: {error}", path.display()))
            .with_hint("check that the folder may be written, or name another by --lookaside")
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    // Complete under a name of its own before it gets its number: readers see all or nothing.
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(folder, error))?;
    file.write_all(signature)
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| failed(folder, error))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(|error| failed(folder, error))?;
    for number in 1..=SIGNATURES_MAX {
        let path = folder.join(format!("signature-{number}"));
        match std::fs::hard_link(file.path(), &path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Err(Failure::message(Exit::Incomplete, format!("`{}` has 128 signatures", folder.display()))
        .with_hint("remove signatures that nobody needs; containers/image reads no more"))
}
