//! Recordings from `.scap` captures, and `.scap` captures from recordings.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::chunk::Raw;
use super::error::RecordingError;
use super::file_header;
use super::player::{Sections, Step};
use super::writer::{Origin, Writer};
use crate::capture::blocks;
use crate::capture::reader::{Block, Capture, CaptureError};
use crate::capture::writer::CaptureWriter;
use crate::engine::Engine;
use crate::identity::Facts;
use crate::record::Record;
use crate::state::{Observation, State};

/// Why a file could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The input is not what it should be.
    #[error("read the capture")]
    Capture(#[from] CaptureError),
    /// The input is not what it should be.
    #[error("read the recording")]
    Recording(#[from] RecordingError),
    /// The output could not be written.
    #[error("write the converted capture")]
    Write(#[source] io::Error),
}

impl palisade_base::Explain for ConvertError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Capture(error) => error.hint(),
            Self::Recording(error) => error.hint(),
            Self::Write(_) => None,
        }
    }
}

/// What was converted, and what has no place in the other form.
#[derive(Debug, Default)]
pub struct Converted {
    /// Records that were written.
    pub n_records: u64,
    /// Records that were left out because they cannot be decoded.
    pub n_malformed: u64,
    /// Live trailers that were left out: a `.scap` file has no place for control group,
    /// parent and start time beside the event.
    pub n_trailers: u64,
    /// Threads found in `/proc` in the middle, which a `.scap` file cannot introduce.
    pub n_threads: u64,
    /// Records that the recorder had not kept.
    pub n_not_recorded: u64,
    /// Blocks or entries of unknown types.
    pub n_unknown: u64,
    /// Why reading stopped before the end, or what could not be used.
    pub problem: Option<CaptureError>,
}

/// Writes a `.scap` capture as a recording. Events stay as they are; old ones are upgraded
/// when they are replayed.
pub fn from_scap<R: Read, W: Write>(
    input: R,
    mut output: W,
    origin: Origin<'_>,
) -> Result<Converted, ConvertError> {
    let mut capture = Capture::open(input)?;
    output.write_all(&file_header()).map_err(ConvertError::Write)?;
    let mut filed = Filed { output, sealed: Vec::new(), problem: None };
    let mut writer = Writer::new();
    let mut converted = Converted::default();
    let mut initial = Some(State::new());
    loop {
        let block = match capture.next_block() {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(problem) => {
                converted.problem = Some(problem);
                break;
            }
        };
        match block {
            Block::Section => initial = Some(State::new()),
            Block::State { kind, body, offset } => {
                if let Some(state) = &mut initial
                    && let Err(problem) = blocks::apply(state, kind, body, offset)
                {
                    converted.problem = Some(problem);
                    break;
                }
            }
            Block::Event(event) => {
                if let Some(mut state) = initial.take() {
                    state.finish_initial();
                    let mut engine = Engine::new(state);
                    writer.begin(&mut engine, origin, &mut |raw| filed.take(&raw));
                }
                converted.n_records += 1;
                writer.append_plain(event.record, event.cpu, &mut |raw| filed.take(&raw));
            }
            Block::BadEvent(_) => converted.n_malformed += 1,
            Block::Unknown(_) => converted.n_unknown += 1,
        }
        filed.check()?;
    }
    if let Some(mut state) = initial.take().filter(|_| converted.n_records == 0) {
        // A capture without events is a state.
        state.finish_initial();
        writer.begin(&mut Engine::new(state), origin, &mut |raw| filed.take(&raw));
    }
    if let Some(raw) = writer.cut() {
        filed.take(&raw);
    }
    filed.check()?;
    filed.output.flush().map_err(ConvertError::Write)?;
    Ok(converted)
}

struct Filed<W> {
    output: W,
    sealed: Vec<u8>,
    problem: Option<io::Error>,
}

impl<W: Write> Filed<W> {
    fn take(&mut self, raw: &Raw) {
        self.sealed.clear();
        raw.seal(&mut self.sealed);
        if let Err(error) = self.output.write_all(&self.sealed) {
            self.problem.get_or_insert(error);
        }
    }

    fn check(&mut self) -> Result<(), ConvertError> {
        self.problem.take().map_or(Ok(()), |error| Err(ConvertError::Write(error)))
    }
}

/// Writes a recording as a `.scap` capture, so that Falco and sysdig can read it.
pub fn to_scap<R: Read, W: Write>(input: R, output: W) -> Result<Converted, ConvertError> {
    let mut sections = Sections::open(input)?;
    let mut target = Target {
        idle: Some(output),
        writer: None,
        described: HashMap::new(),
        last_ns: 0,
        converted: Converted::default(),
    };
    sections.run(&mut |_, _| {}, &mut |step| target.step(step).map_err(ConvertError::Write))?;
    let mut converted = target.converted;
    if let Some(writer) = target.writer {
        writer.into_inner().map_err(ConvertError::Write)?;
    }
    converted.n_unknown = sections.damage.n_unknown;
    converted.problem = sections.damage.problem.take().map(CaptureError::from);
    Ok(converted)
}

struct Target<W: Write> {
    /// The output, until the first section is there.
    idle: Option<W>,
    writer: Option<CaptureWriter<W>>,
    /// Containers as they were last described, by id.
    described: HashMap<String, Arc<Facts>>,
    last_ns: u64,
    converted: Converted,
}

impl<W: Write> Target<W> {
    fn step(&mut self, step: Step<'_>) -> io::Result<()> {
        if let Step::Begin(_, state) = &step {
            let known = state.known_containers().into_iter();
            self.described = known.map(|facts| (facts.id.clone(), facts)).collect();
            let output = match self.writer.take() {
                Some(writer) => Some(writer.into_inner()?),
                None => self.idle.take(),
            };
            self.writer = output.map(|output| CaptureWriter::new(output, state)).transpose()?;
            return Ok(());
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        match step {
            Step::Learned(Observation::Container { facts: Some(facts), .. }) => {
                if self.described.get(&facts.id) != Some(&facts) {
                    writer.write_container(&facts, self.last_ns)?;
                    self.described.insert(facts.id.clone(), facts);
                }
            }
            Step::Learned(Observation::Thread { .. }) => self.converted.n_threads += 1,
            Step::Begin(..) | Step::Account(_) | Step::Learned(_) => {}
            Step::Lost(n) => self.converted.n_not_recorded += n,
            Step::Record { bytes, cpu, is_live } => {
                let record =
                    if is_live { Record::decode_live(bytes) } else { Record::decode(bytes) };
                let Ok(mut record) = record else {
                    self.converted.n_malformed += 1;
                    return Ok(());
                };
                record.cpu = cpu;
                self.last_ns = record.time_ns;
                self.converted.n_records += 1;
                self.converted.n_trailers += u64::from(is_live);
                writer.write(&record)?;
            }
        }
        Ok(())
    }
}
