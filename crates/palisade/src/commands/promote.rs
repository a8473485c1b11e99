//! `palisade promote` and `palisade copy`: copy an image to another registry, if the policy
//! lets it pass, or as it is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use palisade_base::Digest;
use palisade_image::{Descriptor, Image, Layout, OpenOptions, Platform};
use palisade_model::{Reference, Target};
use palisade_policy::Admission;
use palisade_registry::{Client, Copied, CopySource, Found, Place};
use serde::Deserialize;

use super::Context;
use super::admission::Admitter;
use super::image::{client, open_target_with};
use super::look::Looks;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest manifest or index.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The parts of a document that are looked at here.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    subject: Option<Descriptor>,
}

/// Where the image is.
enum Source {
    Registry(Place),
    Layout(Layout),
}

/// Judges an image, every platform of it, and copies it with what refers to it.
pub(crate) fn promote(context: &Context<'_>, args: &cli::Promote) -> Result<Exit, Failure> {
    let mut policy = context.load_policy(&args.policy)?.policy;
    policy.images.keys.extend(args.key.iter().cloned());
    let to: Reference = args.destination.parse().or_exit(Exit::Usage)?;
    if to.digest().is_some() {
        return Err(Failure::message(Exit::Usage, format!("`{to}` names a digest"))
            .with_hint("name the destination as HOST/REPOSITORY:TAG"));
    }
    let target: Target = args.target.parse().or_exit(Exit::Usage)?;
    let client = client(context, &args.source)?;
    let (source, root) = find(&client, &target)?;
    if !policy.images.gate.is_active() {
        let name = &policy.name;
        context.terminal.error(&format!("warning: the policy `{name}` has no gate\n"));
    }
    let database = super::db::open_for_gate(context, &policy, args.db.as_ref())?;
    let looks = Looks::for_admission(context, &policy, &args.source)?;
    let ignores = super::scan::exceptions_of(context, &policy.images.gate)?;
    let pinned = pin(&target, root.descriptor.digest);
    for platform in platforms(&root) {
        let shown = platform.as_ref().map_or_else(String::new, |p| format!(" for {p}"));
        context.terminal.progress(&format!("judging {target}{shown}"));
        let options = OpenOptions { platform, ..OpenOptions::default() };
        let image = open_target_with(context, &pinned, &args.source, &options)?;
        let look = looks.as_ref().map(Looks::look).unwrap_or_default();
        let admitter = Admitter::new(&policy, database.as_ref(), look)
            .with_name(&target)
            .with_standing(&context.global.data_dir)
            .with_exceptions(ignores.clone())
            .with_registry(context, &args.source);
        if let Err(refusal) = admitter.judge(&image) {
            return Err(refused(context, &admitter, &refusal, &shown));
        }
        if let Some(Admission::Admitted { warnings }) = admitter.verdict() {
            for warning in warnings {
                context.terminal.error(&format!("warning: {warning}\n"));
            }
        }
    }
    transfer(context, &client, &source, &root, &to)
}

/// Copies an image as it is, with what refers to it.
pub(crate) fn copy(context: &Context<'_>, args: &cli::Copy) -> Result<Exit, Failure> {
    let to: Reference = args.destination.parse().or_exit(Exit::Usage)?;
    if to.digest().is_some() {
        return Err(Failure::message(Exit::Usage, format!("`{to}` names a digest"))
            .with_hint("name the destination as HOST/REPOSITORY:TAG"));
    }
    let target: Target = args.target.parse().or_exit(Exit::Usage)?;
    let client = client(context, &args.source)?;
    let (source, root) = find(&client, &target)?;
    transfer(context, &client, &source, &root, &to)
}

/// The image that is to be copied, and where it is.
fn find(client: &Client, target: &Target) -> Result<(Source, Found), Failure> {
    match target {
        Target::Registry(reference) | Target::Anywhere(reference) => {
            let (place, found) =
                client.find(reference, MANIFEST_BYTES_MAX, None).or_exit(Exit::Incomplete)?;
            Ok((Source::Registry(place), found))
        }
        Target::Layout { folder, .. } => layout_root(folder, target),
        other => Err(Failure::message(Exit::Usage, format!("`{other}` cannot be copied"))
            .with_hint("copy an image of a registry or a layout: NAME, oci:DIR[:TAG]")),
    }
}

/// Copies, and tells what was copied and its name with its digest.
fn transfer(
    context: &Context<'_>,
    client: &Arc<Client>,
    source: &Source,
    root: &Found,
    to: &Reference,
) -> Result<Exit, Failure> {
    let copied = match source {
        Source::Registry(place) => client.copy(&CopySource::Registry(place), root, to),
        Source::Layout(layout) => {
            let referrers = referrers(layout, root.descriptor.digest)?;
            client.copy(&CopySource::Blobs { source: layout, referrers }, root, to)
        }
    };
    let Copied { n_documents, n_blobs, n_bytes, n_referrers } = copied.or_exit(Exit::Incomplete)?;
    context.terminal.progress(&format!(
        "{n_documents} manifests, {n_referrers} of them signatures and the like; \
         {n_blobs} blobs, {n_bytes} bytes sent"
    ));
    let pinned = to.with_digest(root.descriptor.digest);
    context.terminal.result(&format!("{pinned}\n"))?;
    Ok(Exit::Clean)
}

/// A refused image is 1; one that could not be judged is 3.
fn refused(
    context: &Context<'_>,
    admitter: &Admitter<'_>,
    refusal: &palisade_harden::Refusal,
    platform: &str,
) -> Failure {
    for reason in &refusal.reasons {
        context.terminal.error(&format!("  - {}\n", reason.message));
    }
    let (exit, verb) = match admitter.verdict() {
        Some(Admission::Undecided { .. }) => (Exit::Incomplete, "could not be judged"),
        _ => (Exit::Refused, "is refused"),
    };
    let failure = Failure::message(exit, format!("the image{platform} {verb}; nothing was copied"));
    match refusal.reasons.first() {
        Some(reason) => failure.with_hint(reason.fix.clone()),
        None => failure,
    }
}

/// The same image by its digest, so that what is judged is what is copied.
fn pin(target: &Target, digest: Digest) -> Target {
    match target {
        Target::Registry(name) | Target::Anywhere(name) => {
            Target::Registry(name.with_digest(digest))
        }
        Target::Layout { folder, .. } => {
            Target::Layout { folder: folder.clone(), selector: Some(digest.to_string()) }
        }
        other => other.clone(),
    }
}

/// The platforms of an index; of a single image, whatever it is for.
fn platforms(root: &Found) -> Vec<Option<Platform>> {
    let document: Option<Document> = serde_json::from_slice(&root.bytes).ok();
    let manifests = document.map(|document| document.manifests).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let found: Vec<Option<Platform>> = manifests
        .into_iter()
        .filter_map(|one| one.platform)
        // Attestations of BuildKit call their platform unknown.
        .filter(|platform| platform.os != "unknown" && seen.insert(platform.to_string()))
        .map(Some)
        .collect();
    if found.is_empty() { vec![None] } else { found }
}

fn layout_root(folder: &Path, target: &Target) -> Result<(Source, Found), Failure> {
    let image = Image::open(target, &OpenOptions::default()).or_exit(Exit::Incomplete)?;
    let layout = Layout::open(folder).or_exit(Exit::Incomplete)?;
    let digest = image.index_digests.first().copied().or(image.manifest_digest);
    let digest = digest
        .ok_or_else(|| Failure::message(Exit::Incomplete, format!("`{target}` has no digest")))?;
    let bytes = layout.read_blob(digest, None, MANIFEST_BYTES_MAX).or_exit(Exit::Incomplete)?;
    let media_type = palisade_registry::media_type(&bytes, None).ok_or_else(|| {
        Failure::message(Exit::Incomplete, format!("`{digest}` does not say what it is"))
    })?;
    let found = Found { descriptor: Descriptor::of(&media_type, &bytes), bytes };
    Ok((Source::Layout(layout), found))
}

/// What refers to an image in its layout.
fn referrers(layout: &Layout, subject: Digest) -> Result<Vec<Descriptor>, Failure> {
    let mut found = Vec::new();
    for entry in layout.manifests().or_exit(Exit::Incomplete)? {
        let bytes = layout
            .read_blob(entry.digest, Some(entry.size), MANIFEST_BYTES_MAX)
            .or_exit(Exit::Incomplete)?;
        let document: Option<Document> = serde_json::from_slice(&bytes).ok();
        let of = document.and_then(|document| document.subject);
        if of.is_some_and(|of| of.digest == subject) {
            found.push(entry);
        }
    }
    Ok(found)
}
