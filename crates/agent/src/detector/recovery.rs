//! When the process table is verified against `/proc`: after events about processes were lost.

use std::time::{Duration, Instant};

use palisade_sensor::Engine;
use palisade_sensor::state::resync::ResyncReport;

use crate::losses::{Loss, Side};
use crate::status::RecoveryStatus;

/// Events that are lost come in bursts: the table is verified once they have stopped.
const QUIET: Duration = Duration::from_millis(500);
/// A burst that does not stop does not keep it waiting for longer.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// Verifications do not follow each other sooner.
const INTERVAL: Duration = Duration::from_secs(10);
/// Processes that are compared between two reads of the rings; a look costs about 50 us.
const PORTION: usize = 32;
/// Classes of events without which the table is wrong.
const CLASSES: [&str; 3] = ["exec", "fork", "exit"];

/// Verifies the table when it has to be.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// When the first and the last loss came that is not dealt with.
    lost: Option<(Instant, Instant)>,
    is_running: bool,
    begun: Option<Instant>,
    status: RecoveryStatus,
}

impl Recovery {
    pub(super) fn heed(&mut self, fresh: &[Loss], now: Instant) {
        let concerns = |loss: &Loss| {
            loss.kind.side == Side::Kernel && CLASSES.contains(&loss.kind.class.as_str())
        };
        if fresh.iter().any(concerns) {
            self.lost = Some((self.lost.map_or(now, |(first, _)| first), now));
        }
    }

    /// Does a portion; the sentence to be said at the end of a verification.
    pub(super) fn step(
        &mut self,
        engine: &mut Engine,
        now_ns: u64,
        is_drained: bool,
    ) -> Option<String> {
        if !self.is_running {
            let (first, last) = self.lost?;
            let is_quiet = last.elapsed() >= QUIET || first.elapsed() >= QUIET_MAX;
            if !is_quiet || self.begun.is_some_and(|begun| begun.elapsed() < INTERVAL) {
                return None;
            }
            self.lost = None;
            (self.is_running, self.begun) = (true, Some(Instant::now()));
            engine.begin_resync();
        }
        let report = engine.resync(PORTION, now_ns, is_drained)?;
        self.is_running = false;
        let ResyncReport { n_checked, n_removed, n_added, n_refreshed } = report;
        self.status.n_verified += 1;
        self.status.n_checked += n_checked;
        self.status.n_removed += n_removed;
        self.status.n_added += n_added;
        self.status.n_refreshed += n_refreshed;
        Some(format!(
            "events about processes were lost: {n_checked} processes were compared with /proc; {n_removed} had ended, {n_added} were not known, {n_refreshed} run another program"
        ))
    }

    pub(super) fn status(&self, n_fd_tables_reread: u64) -> RecoveryStatus {
        RecoveryStatus { n_fd_tables_reread, ..self.status }
    }
}
