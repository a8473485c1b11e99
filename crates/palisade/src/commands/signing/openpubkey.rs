//! Signatures under ID tokens (OpenPubkey).

use std::path::Path;

use palisade_trust::openpubkey::{ClientInstance, Commitment, Provider, Providers};

use super::super::{Context, trust};
use super::oidc;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Signs a statement; gives the document and who signed.
pub(super) fn sign(
    context: &Context<'_>,
    args: &cli::Signer,
    file: &Path,
    statement: &[u8],
) -> Result<(Vec<u8>, String), Failure> {
    let providers = Providers::read(file).or_exit(Exit::Usage)?;
    let provider = choose(&providers, args.oidc_issuer.as_deref())?;
    let client = ClientInstance::generate().or_exit(Exit::Incomplete)?;
    let id = provider.client_ids.first().map_or(args.oidc_client_id.as_str(), String::as_str);
    // A token's audience is the commitment itself, or the program for which it is.
    let (audience, nonce) = match &provider.commitment {
        Commitment::Audience => (client.commitment().to_string(), None),
        Commitment::Proof { audience_prefix } => (format!("{audience_prefix}palisade"), None),
        Commitment::Nonce => (id.to_string(), Some(client.commitment())),
        Commitment::KeyBound => {
            return Err(Failure::message(
                Exit::Usage,
                "tokens that are bound to a key (`cnf`) can be verified and not asked for",
            )
            .with_hint("use a provider that commits by `nonce`, `audience` or `proof`"));
        }
    };
    let flags = oidc::Asked { issuer: &provider.issuer, client_id: id, audience: &audience, nonce };
    let token = oidc::ask(context, args, &flags)?;
    let token = client.bind(&token, provider).or_exit(Exit::Refused)?;
    // What would not verify is not stored.
    let verified = providers
        .verify(&token, trust::now())
        .or_exit(Exit::Refused)
        .map_err(|failure| failure.during("verify the token that the provider gave".into()))?;
    let document = client.sign_statement(&token, statement).or_exit(Exit::Incomplete)?;
    let name = verified.names().first().copied().unwrap_or_default().to_string();
    Ok((document.to_bytes(), format!("a token of {} for {name}", verified.issuer)))
}

fn choose<'p>(providers: &'p Providers, issuer: Option<&str>) -> Result<&'p Provider, Failure> {
    let known = || {
        let all: Vec<&str> = providers.providers.iter().map(|it| it.issuer.as_str()).collect();
        format!("the file has {}", all.join(", "))
    };
    match (issuer, providers.providers.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::message(Exit::Usage, "which provider is to vouch is not said")
            .with_hint(format!("use --oidc-issuer; {}", known()))),
        (Some(issuer), all) => all.iter().find(|it| it.issuer == issuer).ok_or_else(|| {
            Failure::message(Exit::Usage, format!("`{issuer}` is not in the file of providers"))
                .with_hint(known())
        }),
    }
}
