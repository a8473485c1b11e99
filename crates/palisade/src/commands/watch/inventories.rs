//! The stored inventories, for the watch: which of the scanned images became vulnerable.

use std::path::PathBuf;

use palisade_agent::inventories::{self, Inventories, InventoryDesk, Looked, OnImage};
use palisade_base::Timestamp;
use palisade_scan::db::ReadDatabaseError;
use palisade_scan::stored::{Bounds, LookOptions, Store};

use super::super::{Context, db, stored};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// What a look takes of one inventory, which a hostile image may have made as large as it can, so
/// that nobody's image has the service killed (`MemoryHigh=256M`, `MemoryMax=512M`, of which events
/// have 34 MiB and more).
///
/// A package and a vulnerability take some 0.5 KiB besides their texts, which `bytes_max` bounds
/// twice: of what is read, and of what is found now. At once in memory are all packages with what
/// was found last (24 MiB and 40,000 × 0.5 KiB), what is found now (24 MiB), the document that was
/// inflated last (24 MiB), identifiers of what is new (24 MiB, and again while they are written)
/// and what is new in the inventory before it (24 MiB): 170 MiB, if everything is as hostile as
/// can be. An image of 1,500 packages with 5,000 vulnerabilities, which is a large one, takes 20.
const BOUNDS: Bounds =
    Bounds { packages_max: 20_000, vulnerabilities_max: 20_000, bytes_max: 24 << 20 };

/// Starts the thread that looks at them; none when nobody wants it.
pub(super) fn begin(
    context: &Context<'_>,
    args: &cli::Watch,
) -> Result<Option<InventoryDesk>, Failure> {
    if args.no_vulnerability_alerts {
        return Ok(None);
    }
    let database = context.database(None);
    let key = context.global.db_key.clone();
    let inventories = Stored { store: stored::store(context), database: database.clone(), key };
    let desk = inventories::start(&database, Box::new(inventories));
    desk.map(Some).map_err(|error| {
        Failure::message(Exit::Incomplete, format!("start the thread that looks: {error}"))
    })
}

/// The store, and the database that is asked.
struct Stored {
    store: Store,
    database: PathBuf,
    /// The key that must have signed it.
    key: Option<PathBuf>,
}

impl Stored {
    fn ask(&self, on_image: OnImage<'_>) -> Result<Looked, Failure> {
        let database = db::open_signed(&self.database, self.key.as_deref())?.database();
        let missing = || ReadDatabaseError::Missing(self.database.clone());
        let database = database.ok_or_else(missing).or_exit(Exit::Incomplete)?;
        let options = LookOptions {
            now: Timestamp::now(),
            program: stored::PROGRAM,
            details: false,
            full: false,
            // What the service may take is bounded, and events come first.
            n_threads_max: 1,
            watch: Some(BOUNDS),
        };
        let mut each = |seen: palisade_scan::stored::Seen| {
            if !seen.new.is_empty() {
                on_image(&seen.entry.subject, seen.new);
            }
        };
        let summary = self.store.look(&database, &options, &mut each).or_exit(Exit::Incomplete)?;
        let first = summary.unreadable.first();
        Ok(Looked {
            time: summary.time,
            database: database.info().built,
            n_inventories: summary.n_inventories,
            n_unreadable: summary.n_unreadable,
            unreadable: first.map(|file| format!("{}: {}", file.file, file.reason)),
        })
    }
}

impl Inventories for Stored {
    fn look(&mut self, on_image: OnImage<'_>) -> Result<Looked, String> {
        self.ask(on_image).map_err(|failure| {
            let text = failure.render();
            let text = text.trim().trim_start_matches("error: ").replace('\n', "; ");
            format!("what became vulnerable is not known: {text}")
        })
    }

    fn acknowledge(&mut self, time: Timestamp) -> Result<(), String> {
        self.store.acknowledge_watch(time).map_err(|error| {
            format!(
                "that the stored inventories were looked at cannot be noted in `{}`: {error}; \
                 what was told is told again after a restart",
                self.store.folder().display()
            )
        })
    }
}
