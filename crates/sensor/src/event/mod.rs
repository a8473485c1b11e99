//! An event as rules and alerts see it: a record, the state as it was when it happened,
//! and answers to the fields of the schema.

mod container;
mod descriptor;
mod general;
mod path;
mod process;
pub(crate) mod render;

use std::cell::Cell;
use std::sync::Arc;

use bumpalo::Bump;
use palisade_base::Timestamp;
use palisade_model::{Container, Outcome, Process};
use palisade_rules::fields::{FieldArgument, FieldId, Fields, Value, Values};

use crate::record::Record;
use crate::schema::number::{ASYNCEVENT_E, GENERIC_X};
use crate::schema::{Field, N_EVENTS, syscall_name, syscall_of_native};
use crate::state::thread::Thread;
use crate::state::{Fd, State, Touched};
use render::Rendered;

/// Memory for the values of one event; it is reset, never freed, between events.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) bump: Bump,
    pub(crate) buffer: Cell<Vec<u8>>,
    pub(crate) rendered: Cell<Rendered>,
    /// What `util.cnt` said last.
    pub(crate) count: Cell<u64>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// An event, with the state as it is after it.
pub struct EventView<'e> {
    pub(crate) record: Record<'e>,
    pub(crate) state: &'e State,
    pub(crate) scratch: &'e Bump,
    pub(crate) buffers: &'e Scratch,
    pub(crate) touched: Touched,
    pub(crate) number: u64,
    pub(crate) first_ns: u64,
    pub(crate) previous_ns: u64,
}

impl std::fmt::Debug for EventView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventView")
            .field("number", &self.number)
            .field("type", &self.type_name())
            .field("tid", &self.record.tid)
            .finish_non_exhaustive()
    }
}

impl<'e> EventView<'e> {
    /// When it happened in the kernel.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_nanos(self.record.time_ns)
    }

    /// Its number in this session or capture, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its type's name: `openat`. Calls without a type of their own have their call's.
    pub fn type_name(&self) -> &'e str {
        match self.record.number() {
            GENERIC_X => syscall_name(self.syscall_code()),
            ASYNCEVENT_E => std::str::from_utf8(self.record.param(1).text()).unwrap_or(""),
            _ => self.record.info.name,
        }
    }

    /// The call of a generic event; old captures know some only by the kernel's number.
    fn syscall_code(&self) -> u16 {
        match self.record.param(0).u16().unwrap_or(0) {
            0 => self.record.param(1).u16().map_or(0, syscall_of_native),
            code => code,
        }
    }

    /// The state as it is after the event.
    pub fn state(&self) -> &'e State {
        self.state
    }

    /// Its bytes, for a recording.
    pub fn record(&self) -> &Record<'e> {
        &self.record
    }

    /// What became of the action.
    pub fn outcome(&self) -> Outcome {
        match self.record.result() {
            None => Outcome::Unknown,
            Some(result) if result >= 0 => Outcome::Succeeded,
            Some(result) => {
                Outcome::Failed { errno: i32::try_from(result.unsigned_abs()).unwrap_or(i32::MAX) }
            }
        }
    }

    /// The acting process, if anything is known of it.
    pub fn process(&self) -> Option<Process> {
        self.thread().map(|thread| self.state.process_of(thread))
    }

    /// Its ancestors, parent first: those inside the same container, or, for a process of
    /// the host, all. A parent that has exited is shown for a while.
    pub fn ancestors(&self) -> Vec<Process> {
        let Some(thread) = self.thread() else { return Vec::new() };
        let own = thread.container.as_ref().map(|facts| &facts.full_id);
        let lineage = self.state.lineage(thread).into_iter();
        lineage
            .take_while(|(_, container)| {
                own.is_none() || container.as_ref().map(|facts| &facts.full_id) == own
            })
            .map(|(process, _)| process)
            .collect()
    }

    /// All ancestors, parent first, also those outside the container.
    pub fn lineage(&self) -> Vec<Process> {
        let Some(thread) = self.thread() else { return Vec::new() };
        self.state.lineage(thread).into_iter().map(|(process, _)| process).collect()
    }

    /// The container in which it happened.
    pub fn container(&self) -> Option<Arc<Container>> {
        let facts = self.state.facts_of(self.thread()?)?;
        (!facts.is_host()).then(|| Arc::clone(&facts.container))
    }

    /// The acting thread.
    pub fn thread(&self) -> Option<&'e Thread> {
        self.state.thread(self.record.tid)
    }

    /// The descriptor that the event is about, if it is known.
    pub fn fd(&self) -> Option<&'e Fd> {
        let thread = self.thread()?;
        let fds = self.state.fds_of(thread)?;
        let touched = self.touched.fd.and_then(|fd| fds.get(fd));
        touched.or_else(|| fds.get(thread.last_fd))
    }

    /// Writes text into a reused buffer and keeps a copy until the event is done with.
    fn build(&self, write: impl FnOnce(&mut Vec<u8>)) -> &'e [u8] {
        let mut buffer = self.buffers.buffer.take();
        buffer.clear();
        write(&mut buffer);
        let kept = self.scratch.alloc_slice_copy(&buffer);
        self.buffers.buffer.set(buffer);
        kept
    }

    /// Renders a parameter and keeps what `pick` makes of it.
    fn rendered(&self, index: usize, pick: impl FnOnce(&Rendered) -> &[u8]) -> &'e [u8] {
        let mut rendered = self.buffers.rendered.take();
        self.render(index, &mut rendered);
        let kept = self.scratch.alloc_slice_copy(pick(&rendered));
        self.buffers.rendered.set(rendered);
        kept
    }

    fn text(&self, write: impl FnOnce(&mut Vec<u8>)) -> Value<'e> {
        Value::Text(self.build(write))
    }
}

impl Fields for EventView<'_> {
    fn extract<'v>(&'v self, field: FieldId, argument: &FieldArgument, out: &mut Values<'v>) {
        let Some(field) = Field::from_id(field) else { return };
        let name = field.name();
        if name.starts_with("proc.is_container_") {
            return; // no longer extracted by anyone
        }
        match name.as_bytes() {
            [b'p' | b't', ..] => self.extract_process(field, argument, out),
            [b'u' | b'g', ..] => self.extract_account(field, out),
            [b'c' | b'k', ..] => self.extract_container(field, argument, out),
            [b'f', b's', ..] => self.extract_path(field, out),
            [b'f', ..] => self.extract_fd(field, argument, out),
            _ => self.extract_event(field, argument, out),
        }
    }

    fn display<'v>(&'v self, field: FieldId, argument: &FieldArgument, out: &mut Values<'v>) {
        let Some(known) = Field::from_id(field) else { return };
        match known {
            // They mean either end and are there to be compared, or are names that are not
            // looked up.
            Field::FdIp
            | Field::FdPort
            | Field::FdProto
            | Field::FdNet
            | Field::EvtAround
            | Field::FdCipName
            | Field::FdSipName
            | Field::FdLipName
            | Field::FdRipName => {}
            _ if self.display_ancestors(known, argument, out) => {}
            Field::FdCnet | Field::FdSnet | Field::FdLnet | Field::FdRnet => {
                self.extract(field, argument, out);
                for value in out {
                    if let Value::Ip(address) = *value {
                        *value = Value::Net(address.into());
                    }
                }
            }
            _ => self.extract(field, argument, out),
        }
    }

    fn event_type(&self) -> u16 {
        match self.record.number() {
            GENERIC_X => {
                // Both parts are far below the limit: 454 types and as many calls.
                N_EVENTS as u16 + self.syscall_code().min(1 << 14)
            }
            number => number,
        }
    }
}
