//! `palisade db import`, `export` and `generate-key`: databases and deltas as files.

use std::path::Path;

use anyhow::Context as _;
use palisade_base::Digest;
use palisade_scan::db::update::UpdateLock;
use palisade_scan::db::{DATABASE_BYTES_MAX, Database, ReadDatabaseError, Signature, delta};
use palisade_trust::{Ed25519PrivateKey, Ed25519PublicKey};
use serde::{Deserialize, Serialize};

use super::{Context, open, open_trusted, trusted_key, vouches};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// The list of what a folder of `db export --publish` has.
pub(super) const INDEX: &str = "advisories.json";
/// The whole database in such a folder.
pub(super) const WHOLE: &str = "advisories.db";
/// Deltas that such a folder keeps.
const DELTAS_MAX: usize = 30;
/// The list beyond this many bytes is refused.
pub(super) const INDEX_BYTES_MAX: u64 = 1 << 20;

/// What a folder of `db export --publish` has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    /// `palisade.dev/advisory-mirror/v1`.
    pub(super) schema: String,
    /// Digest of the database.
    pub(super) digest: Digest,
    /// Its bytes.
    pub(super) bytes: u64,
    /// Steps from older databases, oldest first.
    #[serde(default)]
    pub(super) deltas: Vec<Step>,
}

/// A delta in such a folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Step {
    /// The database to which it applies.
    pub(super) from: Digest,
    /// What comes of it.
    pub(super) to: Digest,
    /// Its file.
    pub(super) file: String,
    /// Its bytes.
    pub(super) bytes: u64,
}

pub(super) const SCHEMA: &str = "palisade.dev/advisory-mirror/v1";

/// Takes a database or a delta from a file.
pub(super) fn import(context: &Context<'_>, args: &cli::DbImport) -> Result<Exit, Failure> {
    let bytes = super::super::scan::read_bytes(&args.file, "database", DATABASE_BYTES_MAX)?;
    let path = context.database(args.db.as_ref());
    let key = trusted_key(context)?;
    let lock = prepare(&path)?;
    let whole = if delta::is_delta(&bytes) {
        let older = Database::open(&path).or_exit(Exit::Incomplete).map_err(|failure| {
            failure.during("a delta needs the database to which it applies".into())
        })?;
        delta::apply(&older, &bytes, &args.file).or_exit(Exit::Incomplete)?
    } else {
        bytes
    };
    install(context, &lock, (&whole, &args.file), key.as_ref(), args.force)
        .map_err(|failure| failure.during(format!("import `{}`", args.file.display())))?;
    Ok(Exit::Clean)
}

/// Makes the folder of the database and takes its lock.
pub(super) fn prepare(path: &Path) -> Result<UpdateLock, Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("create folder `{}`", folder.display()))?;
    }
    UpdateLock::take(path).or_exit(Exit::Incomplete)
}

/// Puts a whole database, which comes from a file or an address, in its place, and says what came.
pub(super) fn install(
    context: &Context<'_>,
    lock: &UpdateLock,
    (bytes, origin): (&[u8], &Path),
    key: Option<&Ed25519PublicKey>,
    force: bool,
) -> Result<(), Failure> {
    let trusts = key
        .map(|key| move |signature: &Signature, message: &[u8]| vouches(key, signature, message));
    let trusts = trusts.as_ref().map(|f| f as &dyn Fn(&Signature, &[u8]) -> bool);
    let database = lock.replace(bytes, origin, trusts, force).or_exit(Exit::Incomplete)?;
    if key.is_none() {
        context.terminal.progress(
            "warning: who made the database was not verified; name its key with --db-key",
        );
    }
    let info = database.info();
    context.terminal.progress(&format!(
        "{} advisories, newest {}, in {}",
        info.n_records,
        info.built,
        database.path().display()
    ));
    Ok(())
}

/// Writes the database, a delta, or both for a folder of a mirror.
pub(super) fn export(context: &Context<'_>, args: &cli::DbExport) -> Result<Exit, Failure> {
    let database = open(context, args.db.as_ref())?;
    database.verify().or_exit(Exit::Incomplete)?;
    if args.publish {
        return publish(context, &database, &args.output);
    }
    let bytes = match &args.since {
        None => whole(&database)?,
        Some(path) => {
            let Some(older) = open_trusted(context, path)?.database() else {
                return Err(ReadDatabaseError::Missing(path.clone())).or_exit(Exit::Incomplete);
            };
            delta::between(&older, &database).or_exit(Exit::Incomplete)?
        }
    };
    write(&args.output, &bytes)?;
    let kib = bytes.len() / 1024;
    context.terminal.progress(&format!("wrote {kib} KiB to {}", args.output.display()));
    Ok(Exit::Clean)
}

fn whole(database: &Database) -> Result<Vec<u8>, Failure> {
    let path = database.path();
    let file = std::fs::File::open(path).with_context(|| format!("read `{}`", path.display()))?;
    Ok(palisade_base::read_bounded(file, "database", DATABASE_BYTES_MAX)
        .with_context(|| format!("read `{}`", path.display()))?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    Ok(palisade_base::fs::write_atomic(path, bytes, 0o644)
        .with_context(|| format!("write `{}`", path.display()))?)
}

/// Fills `folder`: deltas first, then the database, then the list that names them.
fn publish(context: &Context<'_>, database: &Database, folder: &Path) -> Result<Exit, Failure> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("create folder `{}`", folder.display()))?;
    let mut steps = match std::fs::read(folder.join(INDEX)) {
        Ok(bytes) => serde_json::from_slice::<Index>(&bytes).map(|i| i.deltas).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    if let Ok(older) = Database::open(&folder.join(WHOLE))
        && older.digest() != database.digest()
    {
        let bytes = delta::between(&older, database).or_exit(Exit::Incomplete)?;
        let file = format!("{}.delta", older.digest().hex().get(..16).unwrap_or_default());
        write(&folder.join(&file), &bytes)?;
        let (from, to) = (older.digest(), database.digest());
        steps.push(Step { from, to, file, bytes: bytes.len() as u64 });
    }
    while steps.len() > DELTAS_MAX {
        let gone = steps.remove(0);
        let _ = std::fs::remove_file(folder.join(gone.file));
    }
    let bytes = whole(database)?;
    write(&folder.join(WHOLE), &bytes)?;
    let index = Index {
        schema: SCHEMA.to_string(),
        digest: database.digest(),
        bytes: bytes.len() as u64,
        deltas: steps,
    };
    let text = serde_json::to_vec_pretty(&index).context("write the list")?;
    write(&folder.join(INDEX), &text)?;
    let n_deltas = index.deltas.len();
    let shown = folder.display();
    context
        .terminal
        .progress(&format!("published {} with {n_deltas} deltas in {shown}", index.digest));
    Ok(Exit::Clean)
}

/// Makes a key pair.
pub(super) fn generate_key(
    context: &Context<'_>,
    args: &cli::DbGenerateKey,
) -> Result<Exit, Failure> {
    let pair = Ed25519PrivateKey::generate()
        .and_then(|key| key.write_pair(&args.prefix))
        .or_exit(Exit::Incomplete)?;
    let lines = format!("{}\n{}\n", pair.private.display(), pair.public.display());
    context.terminal.result(&lines)?;
    Ok(Exit::Clean)
}
