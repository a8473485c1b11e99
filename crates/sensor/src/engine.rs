//! From records to events: the one way for live and replayed ones.

use std::path::Path;

use crate::event::{EventView, Scratch};
use crate::identity::{HostPaths, Resolver};
use crate::record::{Record, RecordError};
use crate::schema::{Origin, Traits};
use crate::state::proc_scan::{ScanReport, proc_scan};
use crate::state::resync::ResyncReport;
use crate::state::{Header, Live, Observation, Part, State};

/// Bytes of accounts that are read from the host.
const ACCOUNTS_BYTES_MAX: u64 = 16 << 20;

/// What went through an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// Records that became events.
    pub n_events: u64,
    /// Records that could not be decoded.
    pub n_malformed: u64,
}

/// Holds the state and turns each record into an event.
#[derive(Debug, Default)]
pub struct Engine {
    state: State,
    scratch: Scratch,
    counters: EngineCounters,
    first_ns: u64,
    last_ns: u64,
}

impl Engine {
    /// An engine for a capture, whose initial state the caller has put into `state`.
    pub fn new(state: State) -> Self {
        Self { state, ..Self::default() }
    }

    /// An engine for this machine: its processes are read from `/proc`, its containers
    /// from the engines' files.
    pub fn live(paths: HostPaths) -> std::io::Result<(Self, ScanReport)> {
        let mut state = State::new();
        let read = |path: &Path| {
            let file = std::fs::File::open(path)?;
            palisade_base::read_bounded(file, "account file", ACCOUNTS_BYTES_MAX)
        };
        state.accounts.read_passwd(b"", &read(&paths.passwd).unwrap_or_default());
        state.accounts.read_group(b"", &read(&paths.group).unwrap_or_default());
        let proc = paths.proc.clone();
        let resolver = Resolver::new(paths);
        state.live = Some(Live { resolver, lookups_left: 0, lookups_until_ns: 0 });
        let report = proc_scan(&mut state, &proc)?;
        Ok((Self::new(state), report))
    }

    /// An engine that goes on where a recording's section begins.
    pub(crate) fn restored(state: State, header: &Header) -> Self {
        let counters = EngineCounters { n_events: header.n_events, n_malformed: 0 };
        let (first_ns, last_ns) = (header.first_ns, header.last_ns);
        Self { state, counters, first_ns, last_ns, ..Self::default() }
    }

    /// What stands at the beginning of a section that begins here.
    pub(crate) fn header(&self) -> Header {
        Header {
            n_events: self.counters.n_events,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            ..self.state.header()
        }
    }

    /// Keeps what the state learns beside the records, for a recorder.
    pub(crate) fn begin_observing(&mut self) {
        if self.state.live.is_some() {
            self.state.note_observations();
        }
    }

    /// Appends what was learned since the last call to `kept`; false when some is missing.
    pub(crate) fn take_observations(&mut self, kept: &mut Vec<Observation>) -> bool {
        self.state.take_observations(kept)
    }

    /// Gives what a recording says was learned before its next record.
    pub(crate) fn learn(&mut self, observation: Observation) {
        self.state.give_observation(observation);
    }

    /// The same, of an account, or of the descriptors of a thread that was found.
    pub(crate) fn learn_account(&mut self, part: Part) {
        match part {
            Part::Fds { tid, fds } => self.state.give_descriptors(tid, fds),
            part => self.state.restore(part),
        }
    }

    /// Forgets what was given and not needed.
    pub(crate) fn forget_observations(&mut self) {
        self.state.forget_observations();
    }

    /// Begins to verify the process table against `/proc`, after events about processes were
    /// lost.
    pub fn begin_resync(&mut self) {
        self.state.begin_resync();
    }

    /// Verifies up to `n` more processes. `now_ns` is the time of now as records have it;
    /// `is_drained` says that no record waits. The report comes with the last portion.
    pub fn resync(&mut self, n: usize, now_ns: u64, is_drained: bool) -> Option<ResyncReport> {
        self.state.resync(n, now_ns, self.last_ns, is_drained)
    }

    /// The state, as it is after the last event.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What went through.
    pub fn counters(&self) -> EngineCounters {
        self.counters
    }

    /// Takes a live record (with trailer). `None`: the record changed the state and is no
    /// event by itself.
    pub fn feed<'e>(&'e mut self, bytes: &'e [u8]) -> Result<Option<EventView<'e>>, RecordError> {
        match Record::decode_live(bytes) {
            Ok(record) => Ok(self.take(record)),
            Err(error) => {
                self.counters.n_malformed += 1;
                Err(error)
            }
        }
    }

    /// Takes a record that has been decoded already, live or from a capture.
    pub fn take<'e>(&'e mut self, record: Record<'e>) -> Option<EventView<'e>> {
        self.scratch.bump.reset();
        self.counters.n_events += 1;
        let previous_ns = self.last_ns;
        self.last_ns = record.time_ns;
        if self.first_ns == 0 && record.info.origin != Origin::Meta {
            self.first_ns = record.time_ns;
        }
        let touched = self.state.apply(&record);
        if !is_event(&record) {
            return None;
        }
        Some(EventView {
            record,
            state: &self.state,
            scratch: &self.scratch.bump,
            buffers: &self.scratch,
            touched,
            number: self.counters.n_events,
            first_ns: self.first_ns,
            previous_ns,
        })
    }
}

/// Enter events only complete the exit events that follow them.
fn is_event(record: &Record<'_>) -> bool {
    let is_enter = record.info.is_enter() && record.info.origin == Origin::Syscall;
    !is_enter && !record.info.traits.any(Traits::UNUSED)
}
