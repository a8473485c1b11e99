//! What a live state learns beside the records, so that a recording can repeat it.
//!
//! Records alone do not determine the state: it asks `/proc` for threads that it has not
//! seen begin, the engines' files for containers, and a container's own files for its
//! users. Each answer that changed something is an [`Observation`]. A recorder takes them
//! after each record; a replay gives them back before the record, and the state uses them
//! in the places where it would have asked.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Fd, State, Text, Thread};
use crate::identity::Facts;

/// Observations of one record that are kept; a record makes a handful.
pub const OBSERVATIONS_MAX: usize = 64;

/// An answer from outside.
#[derive(Debug, Clone)]
pub enum Observation {
    /// A thread was found to be in another container than before, or in none.
    Container {
        /// The thread.
        tid: i64,
        /// Its container.
        facts: Option<Arc<Facts>>,
    },
    /// A thread was found in `/proc`.
    Thread {
        /// What `/proc` said.
        thread: Box<Thread>,
        /// Its descriptors.
        fds: Vec<(i64, Fd)>,
    },
    /// The users and groups of a container were read; they are in the state's accounts.
    Accounts {
        /// The container.
        container: Text,
    },
}

/// What becomes of observations.
#[derive(Debug, Default)]
pub(crate) enum Outside {
    /// Nobody wants them.
    #[default]
    Unobserved,
    /// They are kept for a recorder.
    Noted {
        kept: Vec<Observation>,
        /// Whether one did not fit.
        is_incomplete: bool,
    },
    /// They come from a recording.
    Given(VecDeque<Observation>),
}

impl State {
    /// Begins to keep observations; those made before are part of the state by now.
    pub(crate) fn note_observations(&mut self) {
        self.outside = Outside::Noted { kept: Vec::new(), is_incomplete: false };
    }

    /// Takes the answers from outside out of a recording from here on.
    pub(crate) fn expect_observations(&mut self) {
        self.outside = Outside::Given(VecDeque::new());
    }

    /// Whether observations are waiting for [`Self::take_observations`].
    pub(crate) fn has_observations(&self) -> bool {
        matches!(&self.outside, Outside::Noted { kept, is_incomplete }
            if *is_incomplete || !kept.is_empty())
    }

    /// Appends the observations kept since the last call; false when some are missing.
    pub(crate) fn take_observations(&mut self, kept_out: &mut Vec<Observation>) -> bool {
        let Outside::Noted { kept, is_incomplete } = &mut self.outside else { return true };
        kept_out.append(kept);
        !std::mem::take(is_incomplete)
    }

    pub(crate) fn give_observation(&mut self, observation: Observation) {
        if let Outside::Given(given) = &mut self.outside
            && given.len() < OBSERVATIONS_MAX
        {
            given.push_back(observation);
        }
    }

    /// Adds descriptors to a thread that was given.
    pub(crate) fn give_descriptors(&mut self, tid: i64, more: Vec<(i64, Fd)>) {
        let Outside::Given(given) = &mut self.outside else { return };
        for one in given {
            if let Observation::Thread { thread, fds } = one
                && thread.tid == tid
                && fds.len() < super::fd::FDS_MAX
            {
                fds.extend(more);
                return;
            }
        }
    }

    /// Forgets what was given for the record at hand and not asked for.
    pub(crate) fn forget_observations(&mut self) {
        if let Outside::Given(given) = &mut self.outside {
            given.clear();
        }
    }

    pub(super) fn is_given(&self) -> bool {
        matches!(self.outside, Outside::Given(_))
    }

    pub(super) fn note(&mut self, observation: impl FnOnce() -> Observation) {
        if let Outside::Noted { kept, is_incomplete } = &mut self.outside {
            if kept.len() < OBSERVATIONS_MAX {
                kept.push(observation());
            } else {
                *is_incomplete = true;
            }
        }
    }

    /// The state has changed in a way that no observation tells.
    pub(super) fn note_gap(&mut self) {
        if let Outside::Noted { is_incomplete, .. } = &mut self.outside {
            *is_incomplete = true;
        }
    }

    /// Puts a thread into the container in which a recording says it was found, if it says
    /// anything.
    pub(super) fn find_given(&mut self, tid: i64) {
        if self.threads.contains_key(&tid)
            && let Some(Observation::Container { facts, .. }) = self.given_container(tid)
        {
            self.set_container(tid, facts);
        }
    }

    fn given_container(&mut self, tid: i64) -> Option<Observation> {
        let Outside::Given(given) = &mut self.outside else { return None };
        let index = given.iter().position(
            |one| matches!(one, Observation::Container { tid: observed, .. } if *observed == tid),
        )?;
        given.remove(index)
    }

    /// What a recording says `/proc` answered about a thread.
    pub(super) fn given_thread(&mut self, tid: i64) -> Option<(Thread, Vec<(i64, Fd)>)> {
        let Outside::Given(given) = &mut self.outside else { return None };
        let index = given.iter().position(
            |one| matches!(one, Observation::Thread { thread, .. } if thread.tid == tid),
        )?;
        match given.remove(index)? {
            Observation::Thread { thread, fds } => Some((*thread, fds)),
            _ => None,
        }
    }
}

/// Whether two answers say the same.
pub(super) fn is_same(one: Option<&Arc<Facts>>, other: Option<&Arc<Facts>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        _ => false,
    }
}
