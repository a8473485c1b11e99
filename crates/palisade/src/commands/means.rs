//! What responses are given: a way to cut the network, a key for evidence, and the places
//! of a container's files.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use palisade_agent::{ContainerFiles, ResponseMeans};
use palisade_base::Digest;
use palisade_model::{Container, Engine};
use palisade_respond::evidence::EvidenceOptions;
use palisade_respond::hands::BestNetwork;
use palisade_respond::network::BpfNetwork;
use palisade_trust::{PrivateKey, sign_blob};

use super::Context;
use super::sealing::Settings;
use super::sign::read_private_key;
use super::watch::evidence_folder;
use crate::exit::{Exit, Failure, OrExit as _};

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// Everything that the agent's responses need.
pub(crate) fn for_agent(
    context: &Context<'_>,
    key: Option<&Path>,
    memory_mib: u64,
) -> Result<ResponseMeans, Failure> {
    let key = evidence_key(context, key)?;
    let paths = super::run::paths(context);
    Ok(ResponseMeans {
        evidence: evidence_folder(&context.global.data_dir),
        options: evidence_options(memory_mib),
        network: Arc::new(network(context)),
        signer: Some(Box::new(move |manifest: &[u8]| {
            sign_blob(&key, &Digest::of(manifest)).map_err(Into::into)
        })),
        sealing: Some({
            let data_dir = context.global.data_dir.clone();
            Box::new(move || {
                let settings = Settings::read(&data_dir).and_then(|it| it.sealing());
                settings.map_err(|failure| failure.render())
            })
        }),
        locate: Box::new(move |container| locate(&paths, container)),
    })
}

/// What cuts the network: BPF, or else packet filters.
pub(crate) fn network(context: &Context<'_>) -> BestNetwork {
    BestNetwork::new(BpfNetwork::default(), &context.global.run_dir.join("nft"))
}

/// How much evidence is collected.
pub(crate) fn evidence_options(memory_mib: u64) -> EvidenceOptions {
    EvidenceOptions {
        memory: memory_mib > 0,
        memory_bytes_max: memory_mib.saturating_mul(MIB),
        ..EvidenceOptions::default()
    }
}

/// Where the files of one of our own containers are; of others, the mount table tells.
pub(crate) fn locate(
    paths: &palisade_runtime::RuntimePaths,
    container: &Container,
) -> ContainerFiles {
    if container.engine != Engine::Palisade {
        return ContainerFiles::default();
    }
    ContainerFiles {
        config: Some(paths.bundle(&container.id).join("config.json")),
        upper: Some(paths.written(&container.id).join("upper")),
    }
}

/// The key that signs evidence: the named one, or this machine's, made at first use.
pub(crate) fn evidence_key(
    context: &Context<'_>,
    named: Option<&Path>,
) -> Result<PrivateKey, Failure> {
    let password = context.environment.key_password.as_deref().map(str::as_bytes);
    if let Some(path) = named {
        return read_private_key(path, password, Exit::Usage);
    }
    let folder = &context.global.data_dir;
    let path = folder.join("evidence.key");
    if !path.exists() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("create folder `{}`", folder.display()))?;
        PrivateKey::generate()
            .and_then(|key| key.write_pair(&folder.join("evidence"), password))
            .or_exit(Exit::Incomplete)?;
        context.terminal.progress(&format!("made a key for evidence: {}", path.display()));
    }
    read_private_key(&path, password, Exit::Incomplete)
}
