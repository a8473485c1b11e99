//! The values of operands for one event, each extracted once.
//!
//! The memory for values outlives the event: [`Scratch`] is lent to an [`Extraction`]
//! and taken back, so that after some events nothing is allocated any more.

use crate::ast::Transformer;
use crate::fields::{Fields, Value, Values};
use crate::operand::{OperandId, Operands, Source};
use crate::transform::{self, Getopt};

/// Where the values of an operand are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    /// The event for which the slot was filled.
    epoch: u32,
    kind: Kind,
    start: u32,
    n: u32,
}

impl Slot {
    /// The number of values.
    pub(crate) fn n_values(self) -> usize {
        self.n as usize
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// The event lacks it.
    #[default]
    Absent,
    /// In the values that the event answered.
    Raw,
    /// In the derived values.
    Derived,
}

/// A value that is not in the event.
#[derive(Debug, Clone, Copy)]
enum Derived {
    /// A range of the text memory.
    Text(u32, u32),
    /// A number.
    Uint(u64),
    /// A value that the event answered.
    Raw(u32),
}

/// Memory of extractions, kept between events.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    epoch: u32,
    slots: Vec<Slot>,
    values: Vec<Value<'static>>,
    derived: Vec<Derived>,
    text: Vec<u8>,
    output: Vec<u8>,
}

/// The extraction of one event's values.
pub(crate) struct Extraction<'x, 'e, F: Fields + ?Sized> {
    operands: &'x Operands,
    event: &'e F,
    scratch: &'x mut Scratch,
    values: Vec<Value<'e>>,
    answer: Values<'e>,
}

/// An empty vector with the memory of another one.
fn recycled<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    // Collecting in place keeps the allocation; nothing is left to convert.
    values.into_iter().map_while(|_| None).collect()
}

impl<'x, 'e, F: Fields + ?Sized> Extraction<'x, 'e, F> {
    pub(crate) fn new(operands: &'x Operands, event: &'e F, scratch: &'x mut Scratch) -> Self {
        if scratch.slots.len() < operands.len() {
            scratch.slots.resize(operands.len(), Slot::default());
        }
        scratch.epoch = scratch.epoch.wrapping_add(1);
        if scratch.epoch == 0 {
            scratch.slots.fill(Slot::default());
            scratch.epoch = 1;
        }
        scratch.derived.clear();
        scratch.text.clear();
        let values = recycled(std::mem::take(&mut scratch.values));
        Self { operands, event, scratch, values, answer: Values::new() }
    }

    /// Gives the memory back.
    pub(crate) fn finish(self) {
        self.scratch.values = recycled(self.values);
    }

    /// The operand's values, extracted if they are not yet; nothing if the event lacks it.
    pub(crate) fn slot(&mut self, id: OperandId) -> Option<Slot> {
        let slot = self.scratch.slots[id.0 as usize];
        let slot = if slot.epoch == self.scratch.epoch { slot } else { self.fill(id) };
        (slot.kind != Kind::Absent).then_some(slot)
    }

    /// The i-th value of a filled slot.
    pub(crate) fn value(&self, slot: Slot, i: usize) -> Value<'_> {
        let at = slot.start as usize + i;
        match slot.kind {
            Kind::Raw => self.values[at],
            Kind::Derived => self.derived_value(self.scratch.derived[at]),
            Kind::Absent => Value::Text(b""),
        }
    }

    fn derived_value(&self, derived: Derived) -> Value<'_> {
        match derived {
            Derived::Text(start, end) => {
                Value::Text(&self.scratch.text[start as usize..end as usize])
            }
            Derived::Uint(n) => Value::Uint(n),
            Derived::Raw(at) => self.values[at as usize],
        }
    }

    fn fill(&mut self, id: OperandId) -> Slot {
        let operands = self.operands;
        let mut slot = match &operands.info(id).source {
            Source::Field(field, argument) => {
                let start = self.values.len();
                self.event.extract(*field, argument, &mut self.answer);
                self.values.extend(self.answer.drain(..));
                let n = self.values.len() - start;
                let kind = if n == 0 { Kind::Absent } else { Kind::Raw };
                Slot { epoch: 0, kind, start: to_u32(start), n: to_u32(n) }
            }
            source => self.derive(source).unwrap_or_default(),
        };
        slot.epoch = self.scratch.epoch;
        self.scratch.slots[id.0 as usize] = slot;
        slot
    }

    /// Values that are made from others. What they are made from is extracted first, so
    /// that the derived values of one operand stand together.
    fn derive(&mut self, source: &Source) -> Option<Slot> {
        match source {
            Source::Field(..) => None,
            Source::Literal(bytes) => {
                let start = self.begin();
                self.push_text(|out| out.extend_from_slice(bytes));
                Some(self.end(start))
            }
            Source::AsText(id) => {
                let slot = self.slot(*id)?;
                let start = self.begin();
                for i in 0..slot.n_values() {
                    let value = self.value(slot, i);
                    let info = self.operands.info(*id);
                    let text = crate::output::value_text(value, info.format).into_owned();
                    self.push_text(|out| out.extend_from_slice(text.as_bytes()));
                }
                Some(self.end(start))
            }
            Source::List(ids) => {
                for id in ids {
                    self.slot(*id)?;
                }
                let start = self.begin();
                for id in ids {
                    let slot = self.slot(*id)?;
                    for i in 0..slot.n {
                        let derived = match slot.kind {
                            Kind::Raw => Derived::Raw(slot.start + i),
                            _ => self.scratch.derived[(slot.start + i) as usize],
                        };
                        self.scratch.derived.push(derived);
                    }
                }
                Some(self.end(start))
            }
            Source::Transform(transformer, ids, selector) => {
                for id in ids {
                    self.slot(*id)?;
                }
                self.transform(*transformer, ids, *selector)
            }
        }
    }

    fn begin(&self) -> u32 {
        to_u32(self.scratch.derived.len())
    }

    fn end(&self, start: u32) -> Slot {
        let n = to_u32(self.scratch.derived.len()) - start;
        Slot { epoch: 0, kind: Kind::Derived, start, n }
    }

    fn push_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = to_u32(self.scratch.text.len());
        write(&mut self.scratch.text);
        let end = to_u32(self.scratch.text.len());
        self.scratch.derived.push(Derived::Text(start, end));
    }

    fn transform(
        &mut self,
        transformer: Transformer,
        ids: &[OperandId],
        selector: Option<u8>,
    ) -> Option<Slot> {
        let first = self.slot(*ids.first()?)?;
        match transformer {
            Transformer::Val => Some(first),
            Transformer::Len => {
                let is_list = ids.first().is_some_and(|id| self.operands.info(*id).is_list);
                let length = if is_list {
                    first.n_values() as u64
                } else {
                    bytes_of(self.value(first, 0)).len() as u64
                };
                let start = self.begin();
                self.scratch.derived.push(Derived::Uint(length));
                Some(self.end(start))
            }
            Transformer::ToLower => self.map(first, |text, out| {
                transform::to_lower(text, out);
                true
            }),
            Transformer::ToUpper => self.map(first, |text, out| {
                transform::to_upper(text, out);
                true
            }),
            Transformer::Basename => self.map(first, |text, out| {
                out.extend_from_slice(transform::basename(text));
                true
            }),
            Transformer::Base64 => self.map(first, transform::base64),
            Transformer::Join => {
                let second = self.slot(*ids.get(1)?)?;
                let start = self.begin();
                let from = to_u32(self.scratch.text.len());
                self.join(first, second);
                let end = to_u32(self.scratch.text.len());
                self.scratch.derived.push(Derived::Text(from, end));
                Some(self.end(start))
            }
            Transformer::Concat => {
                let from = self.scratch.text.len();
                for id in ids {
                    let slot = self.slot(*id)?;
                    self.copy_to_text(slot, 0);
                }
                let start = self.begin();
                let end = to_u32(self.scratch.text.len());
                self.scratch.derived.push(Derived::Text(to_u32(from), end));
                Some(self.end(start))
            }
            Transformer::Getopt => {
                let second = self.slot(*ids.get(1)?)?;
                self.getopt(first, second, selector)
            }
        }
    }

    fn join(&mut self, separator: Slot, list: Slot) {
        for i in 0..list.n_values() {
            if i > 0 {
                self.copy_to_text(separator, 0);
            }
            self.copy_to_text(list, i);
        }
    }

    /// Appends a value to the text memory.
    fn copy_to_text(&mut self, slot: Slot, i: usize) {
        let at = slot.start as usize + i;
        let derived = match slot.kind {
            Kind::Raw => Derived::Raw(to_u32(at)),
            Kind::Derived => self.scratch.derived[at],
            Kind::Absent => return,
        };
        match derived {
            Derived::Text(start, end) => {
                self.scratch.text.extend_from_within(start as usize..end as usize);
            }
            Derived::Raw(at) => {
                let bytes = bytes_of(self.values[at as usize]);
                self.scratch.text.extend_from_slice(bytes);
            }
            Derived::Uint(n) => {
                use std::io::Write as _;
                // Writing to memory cannot fail.
                let _ = write!(self.scratch.text, "{n}");
            }
        }
    }

    /// Applies a function to each value; missing if it fails for one.
    fn map(&mut self, slot: Slot, apply: impl Fn(&[u8], &mut Vec<u8>) -> bool) -> Option<Slot> {
        let start = self.begin();
        for i in 0..slot.n_values() {
            // The input may itself be in the text memory, so the output is made beside it.
            let mut output = std::mem::take(&mut self.scratch.output);
            output.clear();
            let ok = apply(bytes_of(self.value(slot, i)), &mut output);
            self.push_text(|text| text.extend_from_slice(&output));
            self.scratch.output = output;
            if !ok {
                return None;
            }
        }
        Some(self.end(start))
    }

    fn getopt(&mut self, arguments: Slot, optstring: Slot, selector: Option<u8>) -> Option<Slot> {
        // The results are parts of arguments or constants; copied, as they are rare.
        let mut results: Vec<Vec<u8>> = Vec::new();
        {
            let this = &*self;
            let optstring = bytes_of(this.value(optstring, 0));
            Getopt::new(optstring, selector).run(
                arguments.n_values(),
                |i| bytes_of(this.value(arguments, i)),
                |result| {
                    if selector.is_some() {
                        results.clear();
                    }
                    results.push(result.to_vec());
                },
            );
        }
        if selector.is_some() && results.is_empty() {
            return None;
        }
        let start = self.begin();
        for result in results {
            self.push_text(|out| out.extend_from_slice(&result));
        }
        Some(self.end(start))
    }
}

fn bytes_of(value: Value<'_>) -> &[u8] {
    match value {
        Value::Text(bytes) | Value::Bytes(bytes) => bytes,
        _ => b"",
    }
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recycling_keeps_the_allocation() {
        let mut values: Vec<Value<'static>> = Vec::with_capacity(100);
        values.push(Value::Uint(1));
        let (pointer, capacity) = (values.as_ptr().addr(), values.capacity());
        let values: Vec<Value<'_>> = recycled(values);
        assert_eq!((values.as_ptr().addr(), values.capacity()), (pointer, capacity));
        assert!(values.is_empty());
    }
}
