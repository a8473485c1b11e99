//! Records and state into chunks.
//!
//! The writer keeps no file: it hands out chunks ([`Raw`]), which somebody compresses and
//! keeps. Appending costs one pass over the record and allocates only when a chunk is full.

use std::collections::HashMap;
use std::sync::Arc;

use super::chunk::{FLAG_BEGINS, FLAG_COMPLETES, Kind, Raw};
use super::{event, tag};
use crate::Engine;
use crate::codec::{Codec as _, Encoder, TextTable, put_uint};
use crate::identity::Facts;
use crate::record::Record;
use crate::state::{Fd, Observation, Part};

/// A chunk is closed when its entries have this many bytes.
pub const CHUNK_BYTES: usize = 256 << 10;

/// A chunk is closed when its records, as they were, have this many bytes.
const CHUNK_RECORD_BYTES: usize = 8 << 20;

/// Descriptors in one entry, so that no entry is larger than a chunk may be.
const FDS_PER_ENTRY: usize = 256;

/// Containers that one section introduces. A recorder begins a new section then.
pub const CONTAINERS_PER_SECTION_MAX: usize = 65_536;

/// Takes chunks.
pub type OnChunk<'c> = &'c mut dyn FnMut(Raw);

/// Writes sections.
#[derive(Debug, Default)]
pub struct Writer {
    entries: Vec<u8>,
    texts: TextTable,
    context: event::Context,
    /// Numbers of the containers of this section by address; held, so that an address
    /// stays theirs.
    containers: HashMap<usize, (u64, Arc<Facts>)>,
    /// Those of the section before. A container keeps its number, so that a section can
    /// follow another without its state.
    known: HashMap<usize, (u64, Arc<Facts>)>,
    n_containers: u64,
    observations: Vec<Observation>,
    is_incomplete: bool,
    n_entries: u32,
    n_records: u64,
    n_record_bytes: usize,
    /// Whether there is a record in the chunk to which times are relative.
    has_times: bool,
    first_ns: u64,
    last_ns: u64,
    number: u32,
    /// Flags of the next chunk of the state.
    flags: u16,
}

/// What a section is to say about itself.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'o> {
    /// Name and version of the program.
    pub writer: &'o str,
}

impl Writer {
    /// A writer without a section.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a new section has to begin: this one has introduced as many containers as
    /// it may, or does not say everything that the state learned.
    pub fn needs_section(&self) -> bool {
        self.is_incomplete || self.containers.len() >= CONTAINERS_PER_SECTION_MAX
    }

    /// Bytes of entries that are not handed out yet.
    pub fn n_pending_bytes(&self) -> usize {
        self.entries.len()
    }

    /// Time of the oldest record that is not handed out yet.
    pub fn pending_since_ns(&self) -> Option<u64> {
        self.has_times.then_some(self.first_ns)
    }

    /// Begins a section with the state of `engine` as it is, and has the engine keep what
    /// it learns beside the records from here on.
    pub fn begin(&mut self, engine: &mut Engine, origin: Origin<'_>, on_chunk: OnChunk<'_>) {
        if let Some(raw) = self.cut() {
            on_chunk(raw);
        }
        self.known = std::mem::take(&mut self.containers);
        self.is_incomplete = false;
        engine.begin_observing();
        let mut header = engine.header();
        header.writer = origin.writer.to_string();
        self.flags = FLAG_BEGINS;
        self.part(Part::Header(Box::new(header)));
        let state = engine.state();
        state.each_part(&mut |part| {
            if self.entries.len() >= CHUNK_BYTES {
                on_chunk(self.cut_state(0));
            }
            self.any_part(part, on_chunk);
        });
        on_chunk(self.cut_state(FLAG_COMPLETES));
        self.known.clear();
    }

    /// A part, in several entries where it is large.
    fn any_part(&mut self, part: Part, on_chunk: OnChunk<'_>) {
        let Part::Fds { tid, mut fds } = part else { return self.part(part) };
        while fds.len() > FDS_PER_ENTRY {
            let rest = fds.split_off(FDS_PER_ENTRY);
            self.part(Part::Fds { tid, fds: std::mem::replace(&mut fds, rest) });
            if self.entries.len() >= CHUNK_BYTES {
                on_chunk(self.cut_state(0));
            }
        }
        self.part(Part::Fds { tid, fds });
    }

    /// Appends a record: `bytes` as the engine has just been fed with them (event, trailer,
    /// raw path), and before it what the engine learned through it.
    pub fn append(&mut self, bytes: &[u8], engine: &mut Engine, on_chunk: OnChunk<'_>) {
        if engine.state().has_observations() {
            self.observations(engine, on_chunk);
        }
        self.make_room(bytes.len(), on_chunk);
        let Ok(record) = Record::decode_live(bytes) else {
            self.opaque(bytes, 0, true);
            return;
        };
        let behind = bytes.get(record.bytes().len()..).unwrap_or(&[]);
        self.record(&record, behind, bytes);
    }

    /// Appends a record of a capture, which has no trailer.
    pub fn append_plain(&mut self, bytes: &[u8], cpu: u16, on_chunk: OnChunk<'_>) {
        self.make_room(bytes.len(), on_chunk);
        match Record::decode(bytes) {
            Ok(mut record) => {
                record.cpu = cpu;
                self.record(&record, &[], bytes);
            }
            Err(_) => self.opaque(bytes, cpu, false),
        }
    }

    /// Notes that records were not kept here.
    pub fn lost(&mut self, n_records: u64) {
        let start = self.open_entry(tag::LOST);
        put_uint(&mut self.entries, n_records);
        self.close_entry(start);
    }

    fn record(&mut self, record: &Record<'_>, behind: &[u8], whole: &[u8]) {
        self.begin_times(record.time_ns);
        let Self { entries, texts, context, .. } = self;
        if !event::encode(entries, texts, context, record, behind) {
            self.opaque(whole, record.cpu, record.trailer.is_some());
            return;
        }
        self.last_ns = record.time_ns;
        self.n_entries += 1;
        self.n_records += 1;
        self.n_record_bytes += whole.len();
    }

    /// Keeps bytes as they came.
    fn opaque(&mut self, bytes: &[u8], cpu: u16, is_live: bool) {
        let start = self.open_entry(tag::OPAQUE);
        put_uint(&mut self.entries, u64::from(cpu) << 1 | u64::from(is_live));
        put_uint(&mut self.entries, bytes.len() as u64);
        self.entries.extend_from_slice(bytes);
        self.close_entry(start);
        self.n_records += 1;
        self.n_record_bytes += bytes.len();
    }

    fn begin_times(&mut self, time_ns: u64) {
        // The first record of a chunk is the origin of its times.
        if !self.has_times {
            self.has_times = true;
            self.first_ns = time_ns;
            self.context.begin(time_ns);
        }
    }

    fn make_room(&mut self, n_bytes: usize, on_chunk: OnChunk<'_>) {
        let is_full =
            self.entries.len() >= CHUNK_BYTES || self.n_record_bytes + n_bytes > CHUNK_RECORD_BYTES;
        if is_full && let Some(raw) = self.cut() {
            on_chunk(raw);
        }
    }

    fn observations(&mut self, engine: &mut Engine, on_chunk: OnChunk<'_>) {
        let mut observations = std::mem::take(&mut self.observations);
        self.is_incomplete |= !engine.take_observations(&mut observations);
        for observation in observations.drain(..) {
            self.make_room(0, on_chunk);
            match observation {
                Observation::Container { tid, facts } => {
                    self.introduce(facts.as_ref());
                    self.entry(tag::FOUND_CONTAINER, &mut |encoder| {
                        encoder.int(&mut tid.clone())?;
                        encoder.container(&mut facts.clone())
                    });
                }
                Observation::Thread { thread, fds } => {
                    self.introduce(thread.container.as_ref());
                    self.found_thread(Part::Thread(thread), &fds, on_chunk);
                }
                Observation::Accounts { container } => {
                    let accounts = &engine.state().accounts;
                    for (uid, user) in accounts.users_of(&container) {
                        let (container, user) = (Arc::clone(&container), user.clone());
                        self.part(Part::User { container, uid, user });
                        self.make_room(0, on_chunk);
                    }
                    for (gid, name) in accounts.groups_of(&container) {
                        let container = Arc::clone(&container);
                        self.part(Part::Group { container, gid, name: name.into() });
                        self.make_room(0, on_chunk);
                    }
                }
            }
        }
        self.observations = observations;
    }

    fn found_thread(&mut self, mut thread: Part, fds: &[(i64, Fd)], on_chunk: OnChunk<'_>) {
        let Part::Thread(own) = &thread else { return };
        let tid = own.tid;
        self.entry(tag::FOUND_THREAD, &mut |encoder| thread.code(encoder));
        for some in fds.chunks(FDS_PER_ENTRY) {
            self.make_room(0, on_chunk);
            self.part(Part::Fds { tid, fds: some.to_vec() });
        }
    }

    /// Writes a container before the first entry that refers to it.
    fn introduce(&mut self, facts: Option<&Arc<Facts>>) {
        if let Some(facts) = facts
            && !self.containers.contains_key(&address(facts))
        {
            self.part(Part::Container { number: 0, facts: Arc::clone(facts), is_described: false });
        }
    }

    fn part(&mut self, mut part: Part) {
        if let Part::Container { number, facts, .. } = &mut part {
            let address = address(facts);
            let known = self.known.get(&address).map(|(number, _)| *number);
            *number = known.unwrap_or_else(|| {
                self.n_containers += 1;
                self.n_containers
            });
            self.containers.insert(address, (*number, Arc::clone(facts)));
        }
        self.entry(part.tag(), &mut |encoder| part.code(encoder));
    }

    fn entry(&mut self, tag: u8, write: &mut dyn FnMut(&mut Encoder<'_>) -> Option<()>) {
        let start = self.open_entry(tag);
        let Self { entries, texts, containers, .. } = self;
        let number_of =
            |facts: &Arc<Facts>| containers.get(&address(facts)).map_or(0, |(number, _)| *number);
        // Writing into memory cannot fail.
        let _ = write(&mut Encoder { out: entries, texts, number_of: &number_of });
        self.close_entry(start);
    }

    /// Entries that are no event carry their length, so that readers can pass over what
    /// they do not know.
    fn open_entry(&mut self, tag: u8) -> usize {
        self.entries.push(tag);
        self.entries.extend([0; 4]);
        self.entries.len()
    }

    fn close_entry(&mut self, start: usize) {
        let length = ((self.entries.len() - start) as u32).to_le_bytes();
        self.entries[start - 4..start].copy_from_slice(&length);
        self.n_entries += 1;
    }

    fn cut_state(&mut self, flags: u16) -> Raw {
        let flags = std::mem::take(&mut self.flags) | flags;
        self.raw(Kind::State, flags)
    }

    /// The chunk so far, when there is something in it.
    pub fn cut(&mut self) -> Option<Raw> {
        if self.n_entries == 0 {
            return None;
        }
        let raw = self.raw(Kind::Events, 0);
        self.number = self.number.wrapping_add(1);
        Some(raw)
    }

    fn raw(&mut self, kind: Kind, flags: u16) -> Raw {
        self.texts.clear();
        let raw = Raw {
            kind,
            flags,
            entries: std::mem::take(&mut self.entries),
            n_entries: self.n_entries,
            number: self.number,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            n_records: self.n_records,
        };
        self.entries.reserve(raw.entries.len());
        (self.n_entries, self.n_records, self.n_record_bytes) = (0, 0, 0);
        (self.has_times, self.first_ns, self.last_ns) = (false, 0, 0);
        raw
    }
}

fn address(facts: &Arc<Facts>) -> usize {
    Arc::as_ptr(facts).addr()
}
