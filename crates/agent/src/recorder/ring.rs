//! The last seconds, in memory: sections, oldest first.
//!
//! A section begins with a state, so whatever is left after the oldest was dropped can be
//! replayed. Dropping a section is all that ever happens to make room.

use std::collections::VecDeque;
use std::sync::Arc;

/// A chunk in the form of files.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) bytes: Arc<[u8]>,
    pub(super) is_state: bool,
    pub(super) last_ns: u64,
    pub(super) n_records: u64,
}

/// A state and what happened since.
#[derive(Debug, Default)]
struct Section {
    chunks: Vec<Sealed>,
    /// Records were dropped before it: what was before does not lead to its state.
    is_after_gap: bool,
    n_bytes: usize,
    /// Bytes of its state alone.
    n_state_bytes: usize,
    n_records: u64,
    last_ns: u64,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    sections: VecDeque<Section>,
    n_bytes: usize,
    bytes_max: usize,
    window_ns: u64,
    /// Records that were dropped although they were young enough.
    pub(super) n_evicted_early: u64,
}

impl Ring {
    pub(super) fn new(bytes_max: usize, window_ns: u64) -> Self {
        Self { sections: VecDeque::new(), n_bytes: 0, bytes_max, window_ns, n_evicted_early: 0 }
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Whether the newest section has its share of the memory, so that another ought to
    /// begin: a single one could only be dropped whole.
    pub(super) fn wants_section(&self) -> bool {
        self.sections.back().is_some_and(|section| {
            // Another state is worth its place only after as much has happened.
            let n_event_bytes = section.n_bytes - section.n_state_bytes;
            n_event_bytes > (self.bytes_max / 4).max(section.n_state_bytes)
        })
    }

    /// Adds a chunk. One that belongs to no section is dropped: there is nothing to replay
    /// it on.
    pub(super) fn push(&mut self, chunk: Sealed, begins: bool, is_after_gap: bool) {
        if begins {
            self.sections.push_back(Section { is_after_gap, ..Section::default() });
        }
        let Some(section) = self.sections.back_mut() else {
            self.n_evicted_early += chunk.n_records;
            return;
        };
        section.n_bytes += chunk.bytes.len();
        section.n_state_bytes += if chunk.is_state { chunk.bytes.len() } else { 0 };
        section.n_records += chunk.n_records;
        section.last_ns = section.last_ns.max(chunk.last_ns);
        self.n_bytes += chunk.bytes.len();
        let now_ns = section.last_ns;
        section.chunks.push(chunk);
        self.make_room(now_ns);
    }

    fn make_room(&mut self, now_ns: u64) {
        while let Some(oldest) = self.sections.front() {
            let is_over = self.n_bytes > self.bytes_max;
            let is_old = now_ns.saturating_sub(oldest.last_ns) > self.window_ns;
            let is_only = self.sections.len() == 1;
            if !is_over && (is_only || !is_old) {
                return;
            }
            self.n_evicted_early += if is_old { 0 } else { oldest.n_records };
            self.n_bytes -= oldest.n_bytes;
            self.sections.pop_front();
        }
    }

    /// What a file needs to hold all of it: states that follow from what is before them
    /// are left out.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Sealed> {
        self.sections.iter().enumerate().flat_map(|(index, section)| {
            let needs_state = index == 0 || section.is_after_gap;
            section.chunks.iter().filter(move |chunk| needs_state || !chunk.is_state)
        })
    }

    /// Whether there is a state to begin with.
    pub(super) fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(n_bytes: usize, is_state: bool, last_ns: u64) -> Sealed {
        let bytes = vec![u8::from(is_state); n_bytes].into();
        Sealed { bytes, is_state, last_ns, n_records: u64::from(!is_state) }
    }

    fn section(ring: &mut Ring, n_bytes: usize, last_ns: u64, is_after_gap: bool) {
        ring.push(chunk(10, true, 0), true, is_after_gap);
        ring.push(chunk(n_bytes, false, last_ns), false, false);
    }

    fn shape(ring: &Ring) -> String {
        ring.chunks().map(|chunk| if chunk.is_state { 's' } else { 'e' }).collect()
    }

    #[test]
    fn whole_sections_leave_when_they_are_old() {
        let mut ring = Ring::new(1000, 100);
        for time in [10, 50, 90] {
            section(&mut ring, 20, time, false);
        }
        assert_eq!((shape(&ring).as_str(), ring.n_bytes()), ("seee", 90));
        section(&mut ring, 20, 140, false);
        assert_eq!((shape(&ring).as_str(), ring.n_evicted_early), ("seee", 0));
        section(&mut ring, 20, 10_000, false);
        assert_eq!((shape(&ring).as_str(), ring.n_bytes()), ("se", 30));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut ring = Ring::new(100, 1_000_000);
        section(&mut ring, 40, 1, false);
        section(&mut ring, 30, 2, false);
        assert!(ring.wants_section());
        section(&mut ring, 30, 3, false);
        assert_eq!((shape(&ring).as_str(), ring.n_bytes(), ring.n_evicted_early), ("see", 80, 1));
        // One section larger than everything leaves nothing; what follows it has no state.
        section(&mut ring, 500, 4, false);
        assert!(ring.is_empty() && ring.n_bytes() == 0);
        ring.push(chunk(5, false, 5), false, false);
        assert_eq!((shape(&ring).as_str(), ring.n_evicted_early), ("", 5));
    }

    #[test]
    fn a_state_after_a_gap_is_needed() {
        let mut ring = Ring::new(1000, 1000);
        section(&mut ring, 20, 1, true);
        section(&mut ring, 20, 2, false);
        section(&mut ring, 20, 3, true);
        assert_eq!(shape(&ring), "seese");
    }
}
