//! Asks witnesses to sign.

use std::time::Duration;

use palisade_http::{ClientOptions, TlsError};

use super::AddCheckpoint;
use crate::checkpoint::Checkpoint;
use crate::folder::Folder;
use crate::key::{KeyError, KeyKind, VerifierKey};
use crate::log::Cosigner;
use crate::merkle::prove_consistency;
use crate::note::{Note, NoteSignature};
use crate::tile::TiledTree;

/// How long a witness may take. A log waits so long before it publishes.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// A witness that did not sign.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// `URL=KEY` has not this form.
    #[error("`{0}` is not `URL=KEY`")]
    Address(String),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is one of a log.
    #[error("`{0}` is no key of a witness: its type is not 4")]
    NotWitness(String),
    /// The client cannot be made.
    #[error("make a client")]
    Client(#[from] TlsError),
    /// The witness did not answer.
    #[error("ask `{0}`")]
    Http(String, #[source] Box<ureq::Error>),
    /// The witness does not sign.
    #[error("`{url}` answered {status}: {text}")]
    Refused {
        /// The witness.
        url: String,
        /// Its answer's status.
        status: u16,
        /// What it says.
        text: String,
    },
    /// The tiles for the proof.
    #[error("prove that the checkpoint contains the last one")]
    Tile(#[from] crate::tile::TileError),
    /// The signature is false or missing.
    #[error("`{0}` did not answer with its signature")]
    BadAnswer(String),
}

impl palisade_base::Explain for WitnessError {}

/// Where a witness is, and who it is.
#[derive(Debug, Clone)]
pub struct WitnessAddress {
    /// The prefix of its API.
    pub url: String,
    /// Its key.
    pub key: VerifierKey,
}

impl std::str::FromStr for WitnessAddress {
    type Err = WitnessError;

    /// Reads `URL=KEY`.
    fn from_str(text: &str) -> Result<Self, WitnessError> {
        // The key's base64 may end in `=` and the URL may have a query; the key's name has
        // neither `=` in practice nor may it hold a `+`.
        let (url, key) = text
            .split_once('=')
            .filter(|(url, _)| url.starts_with("http://") || url.starts_with("https://"))
            .ok_or_else(|| WitnessError::Address(text.chars().take(200).collect()))?;
        let key = VerifierKey::parse(key)?;
        if key.kind() != KeyKind::Cosignature {
            return Err(WitnessError::NotWitness(key.name().to_string()));
        }
        Ok(Self { url: url.trim_end_matches('/').to_string(), key })
    }
}

struct Peer {
    address: WitnessAddress,
    /// The size that it signed last, as far as is known.
    last: u64,
}

/// Asks several witnesses at once.
pub struct WitnessClient {
    agent: ureq::Agent,
    peers: Vec<Peer>,
}

impl WitnessClient {
    /// A client for `witnesses`.
    pub fn new(
        witnesses: Vec<WitnessAddress>,
        options: &ClientOptions<'_>,
    ) -> Result<Self, WitnessError> {
        let agent = crate::source::client(options, TIMEOUT)?;
        let peers = witnesses.into_iter().map(|address| Peer { address, last: 0 }).collect();
        Ok(Self { agent, peers })
    }
}

impl Cosigner for WitnessClient {
    fn cosign(
        &mut self,
        note: &Note,
        checkpoint: &Checkpoint,
        tree: &Folder,
    ) -> Vec<NoteSignature> {
        let agent = &self.agent;
        let asked: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = self
                .peers
                .iter_mut()
                .map(|peer| scope.spawn(move || ask(agent, peer, note, checkpoint, tree)))
                .collect();
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let mut signatures = Vec::new();
        for answer in asked {
            match answer {
                Ok(signature) => signatures.push(signature),
                Err(error) => {
                    let error = palisade_base::render_chain(&error, None);
                    tracing::warn!(error = error.trim_end(), "a witness did not sign");
                }
            }
        }
        signatures
    }
}

fn ask(
    agent: &ureq::Agent,
    peer: &mut Peer,
    note: &Note,
    checkpoint: &Checkpoint,
    tree: &Folder,
) -> Result<NoteSignature, WitnessError> {
    // The first answer may say that the witness remembers another size.
    for _ in 0..2 {
        let mut tiles = TiledTree::new(tree, checkpoint.size);
        let proof = prove_consistency(&mut tiles, peer.last, checkpoint.size)?.unwrap_or_default();
        let request = AddCheckpoint { old: peer.last, proof, note: note.to_text().into_bytes() };
        let url = format!("{}/add-checkpoint", peer.address.url);
        let http = |error| WitnessError::Http(url.clone(), Box::new(error));
        let mut answer = agent.post(&url).send(&request.to_body()[..]).map_err(http)?;
        let status = answer.status().as_u16();
        let limited = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = limited.read_to_string().map_err(http)?;
        match status {
            200 => {
                let signature = text
                    .lines()
                    .filter_map(|line| NoteSignature::parse(line).ok())
                    .find(|it| it.hint == peer.address.key.hint())
                    .ok_or_else(|| WitnessError::BadAnswer(url.clone()))?;
                let mut signed = note.clone();
                signed.add(signature.clone());
                signed.verify(&peer.address.key).map_err(|_| WitnessError::BadAnswer(url))?;
                peer.last = checkpoint.size;
                return Ok(signature);
            }
            409 => match text.trim().parse::<u64>() {
                Ok(size) if size <= checkpoint.size && size != peer.last => peer.last = size,
                _ => return Err(WitnessError::Refused { url, status, text: shorten(&text) }),
            },
            _ => return Err(WitnessError::Refused { url, status, text: shorten(&text) }),
        }
    }
    Err(WitnessError::BadAnswer(peer.address.url.clone()))
}

fn shorten(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}
