//! Signatures for the Notary Project.

use std::path::Path;

use palisade_trust::attach::Attachment;
use palisade_trust::notary::{Chain, EnvelopeKind, NotarySigner, Target};
use palisade_trust::sigstore::{ANSWER_BYTES_MAX, timestamp_request, timestamp_token};

use super::super::{Context, trust};
use super::http::Services;
use super::place::Image;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Signs an image.
pub(super) fn sign(
    context: &Context<'_>,
    args: &cli::Sign,
    chain: &Path,
    target: &str,
) -> Result<Exit, Failure> {
    let Some(key) = &args.signer.key else {
        return Err(Failure::message(Exit::Usage, "no key given").with_hint("use --key FILE"));
    };
    let key = super::private_key(context, key)?;
    let chain = Chain::read(chain).or_exit(Exit::Usage)?;
    let signer = NotarySigner::new(&key, &chain).or_exit(Exit::Usage)?;
    let image = Image::open(context, target, &args.signer.plain_http)?;
    let kind = match args.notary_format {
        cli::NotaryFormat::Jws => EnvelopeKind::Jws,
        cli::NotaryFormat::Cose => EnvelopeKind::Cose,
    };
    let now = trust::now();
    let expiry = args.expires_in.map(|hours| now.saturating_add(i64::from(hours) * 3600));
    let what = Target {
        media_type: &image.subject.media_type,
        digest: image.subject.digest,
        size: image.subject.size,
    };
    let stamp = |signature: &[u8]| match args.signer.timestamp_url.as_slice() {
        [] => Ok(None),
        [url, ..] => timestamp(context, url, signature).map(Some).map_err(|it| it.render()),
    };
    let envelope = signer.sign(kind, what, now, expiry, &stamp).or_exit(Exit::Incomplete)?;
    let attachment = Attachment::notary(kind, envelope, &chain.thumbprints());
    image.attach(&attachment)?;
    context.terminal.progress(&format!(
        "{}; signed for the Notary Project with key {}",
        image.checked(),
        key.public().hint()
    ));
    context.terminal.result(&format!("{}\n", image.subject.digest))?;
    Ok(Exit::Clean)
}

fn timestamp(context: &Context<'_>, url: &str, signature: &[u8]) -> Result<Vec<u8>, Failure> {
    let what = "the authority of time";
    let request = timestamp_request(signature).or_exit(Exit::Incomplete)?;
    let headers = [("content-type", "application/timestamp-query")];
    let answer = Services::new(context)
        .post(what, url, &headers, &request, ANSWER_BYTES_MAX)?
        .expect(what, url, &[200, 201])?;
    timestamp_token(&answer, signature).or_exit(Exit::Incomplete)
}
