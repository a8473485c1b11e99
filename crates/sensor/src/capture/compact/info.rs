//! What a recording holds, without playing it.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _};

use palisade_base::Timestamp;

use super::chunk::{Header, Kind};
use super::player::{Sections, Step};
use crate::capture::blocks;
use crate::capture::reader::{Block, Capture, CaptureError};
use crate::record::Record;
use crate::state::State;

/// One section: a state and what happened since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Program that wrote it.
    pub writer: String,
    /// Host on which it happened.
    pub hostname: String,
    /// Whether it was recorded live; otherwise it comes from another's capture.
    pub is_live: bool,
    /// Threads at its beginning.
    pub n_threads: usize,
    /// Containers that it knew at its beginning.
    pub n_containers: usize,
    /// Events before it in that run.
    pub n_events_before: u64,
    /// Records.
    pub n_records: u64,
    /// Time of the first record.
    pub first: Option<Timestamp>,
    /// Time of the last record.
    pub last: Option<Timestamp>,
}

/// A recording or capture.
#[derive(Debug, Default)]
pub struct Info {
    /// Its sections.
    pub sections: Vec<Section>,
    /// Chunks, or blocks of a `.scap` file.
    pub n_chunks: u64,
    /// Bytes of chunks with a state: in the file, uncompressed. Of a `.scap` file only the
    /// latter is known.
    pub state_bytes: (u64, u64),
    /// Bytes of chunks with events: in the file, uncompressed.
    pub event_bytes: (u64, u64),
    /// Bytes of the records as they were.
    pub n_record_bytes: u64,
    /// Records by event type.
    pub n_by_type: BTreeMap<&'static str, u64>,
    /// Records that cannot be decoded.
    pub n_malformed: u64,
    /// Records that the recorder did not keep.
    pub n_not_recorded: u64,
    /// Entries and chunks of unknown types.
    pub n_unknown: u64,
    /// Chunks that could not be used.
    pub n_chunks_skipped: u64,
    /// The first thing that is wrong with the file.
    pub problem: Option<CaptureError>,
}

/// Sections that are listed; those after it are counted with the last.
const SECTIONS_MAX: usize = 4096;

/// Reads a recording or a `.scap` capture to its end.
pub fn info<R: io::Read>(input: R) -> Result<Info, CaptureError> {
    let mut input = io::BufReader::new(input);
    let start = input.fill_buf().map_err(|source| CaptureError::Io { offset: 0, source })?;
    if !start.starts_with(&super::MAGIC) {
        return info_of_scap(input);
    }
    let mut sections = Sections::open(input)?;
    let mut info = Info::default();
    let mut sizes = Sizes::default();
    let end: Result<(), std::convert::Infallible> =
        sections.run(&mut |header, _| sizes.add(header), &mut |step| {
            note(&mut info, step);
            Ok(())
        });
    let Ok(()) = end;
    info.n_chunks = sizes.n_chunks;
    info.state_bytes = sizes.state;
    info.event_bytes = sizes.events;
    info.n_unknown = sections.damage.n_unknown;
    info.n_chunks_skipped = sections.damage.n_chunks_skipped;
    info.problem = sections.damage.problem.take().map(CaptureError::from);
    Ok(info)
}

fn info_of_scap<R: io::Read>(input: R) -> Result<Info, CaptureError> {
    let mut capture = Capture::open(input)?;
    let (mut info, mut initial) = (Info::default(), Some(State::new()));
    loop {
        let block = match capture.next_block() {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(problem) => {
                info.problem = Some(problem);
                break;
            }
        };
        info.n_chunks += 1;
        match block {
            Block::Section => initial = Some(State::new()),
            Block::State { kind, body, offset } => {
                info.state_bytes.1 += body.len() as u64;
                if let Some(state) = &mut initial
                    && let Err(problem) = blocks::apply(state, kind, body, offset)
                {
                    info.problem = Some(problem);
                    break;
                }
            }
            Block::Event(event) => {
                if let Some(state) = initial.take() {
                    let header = Box::new(state.header());
                    note(&mut info, Step::Begin(header, Box::new(state)));
                }
                info.event_bytes.1 += event.record.len() as u64;
                let (bytes, cpu) = (event.record, event.cpu);
                note(&mut info, Step::Record { bytes, cpu, is_live: false });
            }
            Block::BadEvent(_) => info.n_malformed += 1,
            Block::Unknown(_) => info.n_unknown += 1,
        }
    }
    Ok(info)
}

#[derive(Default)]
struct Sizes {
    n_chunks: u64,
    state: (u64, u64),
    events: (u64, u64),
}

impl Sizes {
    fn add(&mut self, header: &Header) {
        self.n_chunks += 1;
        let sizes = match header.kind {
            Kind::State => &mut self.state,
            Kind::Events => &mut self.events,
            Kind::Unknown(_) => return,
        };
        sizes.0 += u64::from(header.n_stored) + super::chunk::HEADER_BYTES as u64;
        sizes.1 += u64::from(header.n_bytes);
    }
}

fn note(info: &mut Info, step: Step<'_>) {
    match step {
        Step::Begin(header, state) => {
            if info.sections.len() >= SECTIONS_MAX {
                return;
            }
            info.sections.push(Section {
                writer: header.writer,
                hostname: header.hostname,
                is_live: header.is_observed,
                n_threads: state.n_threads(),
                n_containers: state.known_containers().len(),
                n_events_before: header.n_events,
                n_records: 0,
                first: None,
                last: None,
            });
        }
        Step::Learned(_) | Step::Account(_) => {}
        Step::Lost(n) => info.n_not_recorded += n,
        Step::Record { bytes, is_live, .. } => {
            info.n_record_bytes += bytes.len() as u64;
            let record = if is_live { Record::decode_live(bytes) } else { Record::decode(bytes) };
            let Ok(record) = record else {
                info.n_malformed += 1;
                return;
            };
            *info.n_by_type.entry(record.info.name).or_default() += 1;
            if let Some(section) = info.sections.last_mut() {
                let time = Timestamp::from_nanos(record.time_ns);
                section.n_records += 1;
                section.first.get_or_insert(time);
                section.last = Some(time);
            }
        }
    }
}
