//! A capture played through the engine.

use std::io::{BufRead as _, BufReader, Read};

use super::reader::{Block, Capture, CaptureError};
use super::upgrade::{Upgraded, Upgrader};
use super::{blocks, compact};
use crate::engine::Engine;
use crate::event::EventView;
use crate::record::{Record, RecordError};
use crate::schema::number::{
    ASYNCEVENT_E, CONTAINER_JSON_2_E, GROUP_ADDED_E, GROUP_DELETED_E, USER_ADDED_E, USER_DELETED_E,
};
use crate::state::State;

/// What came out of a capture, and what did not.
#[derive(Debug, Default)]
pub struct Replay {
    /// Event blocks in the file.
    pub n_records: u64,
    /// Events that were handed out.
    pub n_events: u64,
    /// Old events that were rewritten.
    pub n_upgraded: u64,
    /// Old events that only served others.
    pub n_merged: u64,
    /// Event blocks that could not be decoded or upgraded.
    pub n_malformed: u64,
    /// What was wrong with the first of them.
    pub first_malformed: Option<RecordError>,
    /// Events with parameters of a later version, which were left out.
    pub n_newer: u64,
    /// Records that the recorder says it did not keep.
    pub n_not_recorded: u64,
    /// Blocks of unknown types that were skipped.
    pub n_unknown_blocks: u64,
    /// Why reading stopped before the end of the file.
    pub problem: Option<CaptureError>,
}

/// Plays a capture: calls `on_event` with each event, and says what could not be used.
/// Fails only when the file is no capture at all.
pub fn replay<R: Read>(
    input: R,
    mut on_event: impl FnMut(&EventView<'_>),
) -> Result<Replay, CaptureError> {
    let mut input = BufReader::new(input);
    let start = input.fill_buf().map_err(|source| CaptureError::Io { offset: 0, source })?;
    if start.starts_with(&compact::MAGIC) {
        return compact::replay(input, &mut on_event);
    }
    let mut capture = Capture::open(input)?;
    let mut player = Player::default();
    if let Err(problem) = player.run(&mut capture, &mut on_event) {
        player.report.problem = Some(problem);
    }
    Ok(player.report)
}

#[derive(Default)]
struct Player {
    initial: Option<State>,
    engine: Option<Engine>,
    upgrader: Upgrader,
    report: Replay,
    /// Whether an event has come that is not part of the initial state.
    begun: bool,
}

impl Player {
    fn run<R: Read>(
        &mut self,
        capture: &mut Capture<R>,
        on_event: &mut impl FnMut(&EventView<'_>),
    ) -> Result<(), CaptureError> {
        while let Some(block) = capture.next_block()? {
            match block {
                Block::Section => {
                    self.engine = None;
                    self.initial = None;
                    self.upgrader = Upgrader::new();
                    self.begun = false;
                }
                Block::State { kind, body, offset } => {
                    if self.engine.is_none() {
                        let state = self.initial.get_or_insert_with(State::new);
                        blocks::apply(state, kind, body, offset)?;
                    }
                }
                Block::Unknown(_) => self.report.n_unknown_blocks += 1,
                Block::BadEvent(error) => {
                    self.report.n_records += 1;
                    self.count_malformed(error);
                }
                Block::Event(event) => {
                    self.report.n_records += 1;
                    self.play(event.record, event.cpu, on_event);
                }
            }
        }
        Ok(())
    }

    fn count_malformed(&mut self, error: RecordError) {
        self.report.n_malformed += 1;
        self.report.first_malformed.get_or_insert(error);
    }

    fn play(&mut self, bytes: &[u8], cpu: u16, on_event: &mut impl FnMut(&EventView<'_>)) {
        let bytes = match self.upgrader.upgrade(bytes) {
            Upgraded::Same => bytes,
            Upgraded::Changed(bytes) => {
                self.report.n_upgraded += 1;
                bytes
            }
            Upgraded::Dropped => {
                self.report.n_merged += 1;
                return;
            }
            Upgraded::Impossible => {
                let error = Record::decode(bytes).err();
                let number = bytes.get(20..22).map_or(0, |n| u16::from_le_bytes([n[0], n[1]]));
                self.count_malformed(error.unwrap_or(RecordError::UnknownType { number }));
                return;
            }
        };
        let mut record = match Record::decode(bytes) {
            Ok(record) => record,
            Err(error) => {
                self.report.n_malformed += 1;
                self.report.first_malformed.get_or_insert(error);
                return;
            }
        };
        record.cpu = cpu;
        self.report.n_newer += u64::from(record.is_newer());
        let engine = self.engine.get_or_insert_with(|| {
            let mut state = self.initial.take().unwrap_or_default();
            state.finish_initial();
            Engine::new(state)
        });
        self.begun |= !matches!(
            record.number(),
            CONTAINER_JSON_2_E
                | USER_ADDED_E
                | USER_DELETED_E
                | GROUP_ADDED_E
                | GROUP_DELETED_E
                | ASYNCEVENT_E
        );
        if let Some(event) = engine.take(record).filter(|_| self.begun) {
            self.report.n_events += 1;
            on_event(&event);
        }
    }
}
