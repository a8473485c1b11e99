//! A recording played through the engine.
//!
//! [`Sections`] turns chunks into what happened, in order: a state is there, something was
//! learned, a record came. Replay and conversion both stand on it.

use std::io;
use std::sync::Arc;

use super::chunk::{CHUNK_RECORD_BYTES_MAX, FLAG_BEGINS, FLAG_COMPLETES, Header, Kind};
use super::error::RecordingError;
use super::reader::{Chunk, Recording};
use super::{event, tag};
use crate::capture::reader::CaptureError;
use crate::capture::replay::Replay;
use crate::capture::upgrade::{Upgraded, Upgrader};
use crate::codec::{Codec as _, Decoder};
use crate::engine::Engine;
use crate::event::EventView;
use crate::identity::Facts;
use crate::record::{Record, RecordError};
use crate::schema::number::{
    ASYNCEVENT_E, CONTAINER_JSON_2_E, GROUP_ADDED_E, GROUP_DELETED_E, USER_ADDED_E, USER_DELETED_E,
};
use crate::state::fd::NumberMap;
use crate::state::{self, Observation, Part, State};

/// Bytes of the entries of one state, uncompressed: as many as a process list of a `.scap`
/// file may have.
pub(crate) const STATE_BYTES_MAX: u64 = 256 << 20;

/// Containers that are kept: those of as many sections as a ring has, each with what it may
/// introduce.
const CONTAINERS_MAX: usize = 8 * super::writer::CONTAINERS_PER_SECTION_MAX;

/// What a section says, in order.
pub(super) enum Step<'s> {
    /// A section begins: with this state.
    Begin(Box<state::Header>, Box<State>),
    /// The state learned something that no record says.
    Learned(Observation),
    /// An account of a container became known.
    Account(Part),
    /// A record came. `is_live`: with trailer.
    Record { bytes: &'s [u8], cpu: u16, is_live: bool },
    /// Records that were not kept.
    Lost(u64),
}

/// What could not be used of a recording.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// The first problem.
    pub(super) problem: Option<RecordingError>,
    /// Chunks that were not used.
    pub(super) n_chunks_skipped: u64,
    /// Entries and chunks of unknown types.
    pub(super) n_unknown: u64,
}

/// The state that is being put together.
#[derive(Default)]
struct Building {
    header: Option<Box<state::Header>>,
    state: Box<State>,
    n_bytes: u64,
}

/// Reads sections.
pub(super) struct Sections<R> {
    recording: Recording<R>,
    building: Option<Building>,
    /// Whether events can be used: their state is there and nothing is missing since.
    is_usable: bool,
    next_number: Option<u32>,
    containers: NumberMap<u64, Arc<Facts>>,
    context: event::Context,
    record: Vec<u8>,
    pub(super) damage: Damage,
}

impl<R: io::Read> Sections<R> {
    pub(super) fn open(input: R) -> Result<Self, RecordingError> {
        Ok(Self {
            recording: Recording::open(input)?,
            building: None,
            is_usable: false,
            next_number: None,
            containers: NumberMap::default(),
            context: event::Context::default(),
            record: Vec::new(),
            damage: Damage::default(),
        })
    }

    /// Takes every step to the end, or to where the file cannot be read any more. The
    /// visitor may end it with an error of its own.
    pub(super) fn run<E>(
        &mut self,
        on_chunk: &mut dyn FnMut(&Header, u64),
        visit: &mut dyn FnMut(Step<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let chunk = match self.recording.next_chunk() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    let goes_on = error.is_local();
                    self.is_usable = false;
                    self.building = None;
                    self.damage.n_chunks_skipped += 1;
                    self.damage.problem.get_or_insert(error);
                    if goes_on {
                        continue;
                    }
                    break;
                }
            };
            on_chunk(&chunk.header, chunk.offset);
            let mut walk = Walk {
                building: &mut self.building,
                is_usable: &mut self.is_usable,
                next_number: &mut self.next_number,
                containers: &mut self.containers,
                context: &mut self.context,
                record: &mut self.record,
                n_unknown: &mut self.damage.n_unknown,
            };
            match walk.chunk(&chunk, visit) {
                Ok(()) => {}
                Err(Stop::Visitor(error)) => return Err(error),
                Err(Stop::Chunk(error)) => {
                    self.is_usable = false;
                    self.building = None;
                    self.damage.n_chunks_skipped += 1;
                    if let Some(error) = error {
                        self.damage.problem.get_or_insert(error);
                    }
                }
            }
        }
        if self.building.is_some() && self.damage.problem.is_none() {
            let offset = self.recording.offset();
            self.damage.problem = Some(RecordingError::Truncated { offset });
        }
        Ok(())
    }
}

enum Stop<E> {
    /// The chunk cannot be used. Without an error: for a reason that was said before.
    Chunk(Option<RecordingError>),
    Visitor(E),
}

/// One chunk being read.
struct Walk<'w> {
    building: &'w mut Option<Building>,
    is_usable: &'w mut bool,
    next_number: &'w mut Option<u32>,
    containers: &'w mut NumberMap<u64, Arc<Facts>>,
    context: &'w mut event::Context,
    record: &'w mut Vec<u8>,
    n_unknown: &'w mut u64,
}

impl Walk<'_> {
    fn chunk<E>(
        &mut self,
        chunk: &Chunk<'_>,
        visit: &mut dyn FnMut(Step<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        match chunk.header.kind {
            Kind::State => self.state_chunk(chunk, visit),
            Kind::Events => self.event_chunk(chunk, visit),
            Kind::Unknown(_) => {
                *self.n_unknown += 1;
                Ok(())
            }
        }
    }

    fn state_chunk<E>(
        &mut self,
        chunk: &Chunk<'_>,
        visit: &mut dyn FnMut(Step<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let (header, offset) = (&chunk.header, chunk.offset);
        if header.has(FLAG_BEGINS) {
            *self.building = Some(Building::default());
            *self.is_usable = false;
            self.containers.clear();
        }
        let Some(building) = self.building.as_mut() else {
            return Err(Stop::Chunk(Some(RecordingError::NoState { offset })));
        };
        building.n_bytes += chunk.entries.len() as u64;
        if building.n_bytes > STATE_BYTES_MAX {
            let limit = usize::try_from(STATE_BYTES_MAX).unwrap_or(usize::MAX);
            return Err(Stop::Chunk(Some(RecordingError::TooLong { offset, limit })));
        }
        let mut decoder = Decoder::new(chunk.entries, std::mem::take(self.containers));
        let mut entry = 0;
        while !decoder.is_empty() {
            let wrong = Stop::Chunk(Some(RecordingError::Entry { offset, entry }));
            let Some(sized) = sized_entry(&mut decoder) else { return Err(wrong) };
            entry += 1;
            let Some(mut part) = Part::of_tag(sized.tag) else {
                *self.n_unknown += 1;
                decoder.skip_to(sized.end);
                continue;
            };
            if part.code(&mut decoder).is_none() || decoder.at() != sized.end {
                return Err(wrong);
            }
            if let Part::Header(header) = &part {
                building.header = Some(header.clone());
            }
            keep_container(&part, &mut decoder);
            building.state.restore(part);
        }
        *self.containers = decoder.containers;
        if header.has(FLAG_COMPLETES)
            && let Some(Building { header: found, state, .. }) = self.building.take()
        {
            let Some(found) = found else {
                return Err(Stop::Chunk(Some(RecordingError::NoState { offset })));
            };
            *self.is_usable = true;
            *self.next_number = Some(header.number);
            visit(Step::Begin(found, state)).map_err(Stop::Visitor)?;
        }
        Ok(())
    }

    fn event_chunk<E>(
        &mut self,
        chunk: &Chunk<'_>,
        visit: &mut dyn FnMut(Step<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let (header, offset) = (&chunk.header, chunk.offset);
        let Some(expected) = self.next_number.filter(|_| *self.is_usable) else {
            // What made it unusable was said; only a file without any state was not.
            let never = self.next_number.is_none();
            return Err(Stop::Chunk(never.then_some(RecordingError::NoState { offset })));
        };
        if header.number != expected {
            let n_missing = header.number.wrapping_sub(expected);
            return Err(Stop::Chunk(Some(RecordingError::Missing { offset, n_missing })));
        }
        *self.next_number = Some(expected.wrapping_add(1));
        self.context.begin(header.first_ns);
        let mut decoder = Decoder::new(chunk.entries, std::mem::take(self.containers));
        let (mut entry, mut n_record_bytes) = (0, 0);
        while !decoder.is_empty() {
            let Some(read) = self.entry(&mut decoder) else {
                return Err(Stop::Chunk(Some(RecordingError::Entry { offset, entry })));
            };
            entry += 1;
            let step = match read {
                Read::Nothing => continue,
                Read::Step(step) => step,
                Read::Record(event::Head { cpu, is_live }) => {
                    Step::Record { bytes: self.record, cpu, is_live }
                }
            };
            if let Step::Record { bytes, .. } = &step {
                n_record_bytes += bytes.len();
                if n_record_bytes > CHUNK_RECORD_BYTES_MAX {
                    let limit = CHUNK_RECORD_BYTES_MAX;
                    return Err(Stop::Chunk(Some(RecordingError::TooLong { offset, limit })));
                }
            }
            visit(step).map_err(Stop::Visitor)?;
        }
        *self.containers = decoder.containers;
        Ok(())
    }

    /// The next entry of a chunk of events; none when it makes no sense.
    fn entry<'c>(&mut self, decoder: &mut Decoder<'c>) -> Option<Read<'c>> {
        let flags = decoder.byte()?;
        if flags < tag::NO_EVENT {
            return event::decode(flags, decoder, self.context, self.record).map(Read::Record);
        }
        let sized = sized_body(flags, decoder)?;
        let step = match flags {
            tag::OPAQUE => {
                let head = decoder.get_uint()?;
                let (cpu, is_live) = (u16::try_from(head >> 1).ok()?, head & 1 == 1);
                let n_bytes = usize::try_from(decoder.get_uint()?).ok()?;
                Read::Step(Step::Record { bytes: decoder.take(n_bytes)?, cpu, is_live })
            }
            tag::LOST => Read::Step(Step::Lost(decoder.get_uint()?)),
            tag::FOUND_CONTAINER => {
                let (tid, mut facts) = (decoder.get_int()?, None);
                decoder.container(&mut facts)?;
                Read::Step(Step::Learned(Observation::Container { tid, facts }))
            }
            tag::FOUND_THREAD => {
                let mut thread = Box::default();
                state::code_thread(decoder, &mut thread)?;
                Read::Step(Step::Learned(Observation::Thread { thread, fds: Vec::new() }))
            }
            tag => {
                if let Some(mut part) = Part::of_tag(tag) {
                    part.code(decoder)?;
                    keep_container(&part, decoder);
                    match part {
                        Part::User { .. } | Part::Group { .. } | Part::Fds { .. } => {
                            Read::Step(Step::Account(part))
                        }
                        _ => Read::Nothing,
                    }
                } else {
                    *self.n_unknown += 1;
                    decoder.skip_to(sized.end);
                    Read::Nothing
                }
            }
        };
        (decoder.at() == sized.end).then_some(step)
    }
}

/// An entry that was read.
enum Read<'c> {
    /// There is nothing to do about it.
    Nothing,
    Step(Step<'c>),
    /// A record, whose bytes lie in the walk's buffer.
    Record(event::Head),
}

fn keep_container(part: &Part, decoder: &mut Decoder<'_>) {
    if let Part::Container { number, facts, .. } = part
        && decoder.containers.len() < CONTAINERS_MAX
    {
        decoder.containers.insert(*number, Arc::clone(facts));
    }
}

struct Sized {
    tag: u8,
    end: usize,
}

fn sized_entry(decoder: &mut Decoder<'_>) -> Option<Sized> {
    let tag = decoder.byte()?;
    sized_body(tag, decoder)
}

fn sized_body(tag: u8, decoder: &mut Decoder<'_>) -> Option<Sized> {
    let length = u32::from_le_bytes(decoder.take(4)?.try_into().ok()?);
    let end = decoder.at().checked_add(usize::try_from(length).ok()?)?;
    Some(Sized { tag, end })
}

/// Plays a recording: calls `on_event` with each event, and says what could not be used.
pub(crate) fn replay<R: io::Read>(
    input: R,
    on_event: &mut dyn FnMut(&EventView<'_>),
) -> Result<Replay, CaptureError> {
    let mut sections = Sections::open(input)?;
    let mut player = Player::default();
    let end: Result<(), std::convert::Infallible> = sections.run(&mut |_, _| {}, &mut |step| {
        player.step(step, on_event);
        Ok(())
    });
    let Ok(()) = end;
    let mut report = player.report;
    report.n_unknown_blocks = sections.damage.n_unknown;
    report.problem = sections.damage.problem.take().map(CaptureError::from);
    Ok(report)
}

#[derive(Default)]
struct Player {
    engine: Option<Engine>,
    upgrader: Upgrader,
    report: Replay,
    /// Whether an event has come that is not part of the initial state; of a recording
    /// made live every event is one.
    begun: bool,
}

impl Player {
    fn step(&mut self, step: Step<'_>, on_event: &mut dyn FnMut(&EventView<'_>)) {
        match step {
            Step::Begin(header, state) => {
                self.begun = header.is_observed || header.n_events > 0;
                self.upgrader = Upgrader::new();
                self.engine = Some(Engine::restored(*state, &header));
            }
            Step::Learned(observation) => {
                if let Some(engine) = &mut self.engine {
                    engine.learn(observation);
                }
            }
            Step::Account(part) => {
                if let Some(engine) = &mut self.engine {
                    engine.learn_account(part);
                }
            }
            Step::Lost(n) => self.report.n_not_recorded += n,
            Step::Record { bytes, cpu, is_live } => {
                self.report.n_records += 1;
                if is_live {
                    self.play_live(bytes, on_event);
                } else {
                    self.play_plain(bytes, cpu, on_event);
                }
            }
        }
    }

    fn play_live(&mut self, bytes: &[u8], on_event: &mut dyn FnMut(&EventView<'_>)) {
        let Some(engine) = &mut self.engine else { return };
        match engine.feed(bytes) {
            Ok(Some(event)) => {
                self.report.n_events += 1;
                on_event(&event);
            }
            Ok(None) => {}
            Err(error) => count_malformed(&mut self.report, error),
        }
        engine.forget_observations();
    }

    fn play_plain(&mut self, bytes: &[u8], cpu: u16, on_event: &mut dyn FnMut(&EventView<'_>)) {
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
                let number = bytes.get(20..22).map_or(0, |n| u16::from_le_bytes([n[0], n[1]]));
                let unknown = RecordError::UnknownType { number };
                let error = Record::decode(bytes).err().unwrap_or(unknown);
                return count_malformed(&mut self.report, error);
            }
        };
        let mut record = match Record::decode(bytes) {
            Ok(record) => record,
            Err(error) => return count_malformed(&mut self.report, error),
        };
        record.cpu = cpu;
        self.begun |= !matches!(
            record.number(),
            CONTAINER_JSON_2_E
                | USER_ADDED_E
                | USER_DELETED_E
                | GROUP_ADDED_E
                | GROUP_DELETED_E
                | ASYNCEVENT_E
        );
        let Some(engine) = &mut self.engine else { return };
        if let Some(event) = engine.take(record).filter(|_| self.begun) {
            self.report.n_events += 1;
            on_event(&event);
        }
    }
}

fn count_malformed(report: &mut Replay, error: RecordError) {
    report.n_malformed += 1;
    report.first_malformed.get_or_insert(error);
}
