//! What waits for one receiver: numbers of journal records, in order.
//!
//! Pure: no clock, no disk, no network. Everything that is pushed is, in the end, done
//! with, dropped and counted, or still here.

use std::collections::VecDeque;
use std::sync::Arc;

use palisade_base::Timestamp;
use palisade_model::{Alert, Repeats};
use palisade_sinks::Item;

/// Documents of one queue that are in memory because the disk did not take them.
pub const HELD_MAX: usize = 1024;

/// One document that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which.
    pub what: What,
    /// When it happened.
    pub time: Timestamp,
}

/// Where a document is.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// In the journal, under this number.
    Logged(u64),
    /// In memory, because no disk took it.
    Held(Arc<Held>),
}

/// A document in memory.
#[derive(Debug, PartialEq)]
pub enum Held {
    /// An alert.
    Alert(Box<Alert>),
    /// Repeats.
    Repeats(Box<Repeats>),
}

impl Held {
    /// The document.
    pub fn item(&self) -> Item<'_> {
        match self {
            Self::Alert(alert) => Item::Alert(alert),
            Self::Repeats(repeats) => Item::Repeats(repeats),
        }
    }
}

/// The documents that wait, oldest first.
#[derive(Debug)]
pub struct Queue {
    entries: VecDeque<Entry>,
    max: usize,
    /// Entries at the front that are being sent.
    n_in_flight: usize,
    n_held: usize,
    /// Number of the first record that is not done with.
    position: u64,
    n_dropped: u64,
}

impl Queue {
    /// An empty queue of at most `max` entries (and those in flight).
    pub fn new(max: usize) -> Self {
        let entries = VecDeque::new();
        Self { entries, max: max.max(1), n_in_flight: 0, n_held: 0, position: 0, n_dropped: 0 }
    }

    /// Sets where the queue begins.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// Adds an entry at the end; when there are too many, the oldest that is not being sent
    /// is dropped. Returns how many were.
    pub fn push(&mut self, entry: Entry) -> u64 {
        if matches!(entry.what, What::Held(_)) {
            if self.n_held >= HELD_MAX {
                self.drop_oldest_held();
            }
            self.n_held += 1;
        }
        self.entries.push_back(entry);
        self.trim()
    }

    /// Puts entries before all others: what an earlier run left.
    pub fn restore(&mut self, older: Vec<Entry>) -> u64 {
        for entry in older.into_iter().rev() {
            self.n_held += usize::from(matches!(entry.what, What::Held(_)));
            self.entries.push_front(entry);
        }
        self.trim()
    }

    /// Notes a record that does not concern this queue, so that nobody looks at it again.
    pub fn pass(&mut self, number: u64) {
        if self.entries.is_empty() {
            self.position = self.position.max(number + 1);
        }
    }

    /// Takes out the entries that are in memory alone.
    pub fn take_held(&mut self) -> Vec<Entry> {
        let is_held = |entry: &Entry| matches!(entry.what, What::Held(_));
        let (held, logged) = self.entries.drain(..).partition(is_held);
        self.entries = logged;
        (self.n_in_flight, self.n_held) = (0, 0);
        held.into()
    }

    /// The oldest entries, up to `n`; they are not dropped until [`Queue::end`].
    pub fn begin(&mut self, n: usize) -> Vec<Entry> {
        self.n_in_flight = n.min(self.entries.len());
        self.entries.iter().take(n).cloned().collect()
    }

    /// Ends what [`Queue::begin`] began: the first `n_done` entries are done with. Returns
    /// how many were dropped because the queue had grown meanwhile.
    pub fn end(&mut self, n_done: usize) -> u64 {
        self.n_in_flight = 0;
        for _ in 0..n_done {
            self.pop();
        }
        self.trim()
    }

    /// Entries that wait, those in flight included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the oldest entry happened.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.entries.front().map(|entry| entry.time)
    }

    /// Number of the first record of the journal that is not done with.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Entries dropped since the start.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped
    }

    fn trim(&mut self) -> u64 {
        let mut n_dropped = 0;
        while self.n_in_flight == 0 && self.entries.len() > self.max {
            self.pop();
            n_dropped += 1;
        }
        self.n_dropped += n_dropped;
        n_dropped
    }

    fn pop(&mut self) {
        match self.entries.pop_front().map(|entry| entry.what) {
            Some(What::Logged(number)) => self.position = self.position.max(number + 1),
            Some(What::Held(_)) => self.n_held = self.n_held.saturating_sub(1),
            None => {}
        }
    }

    fn drop_oldest_held(&mut self) {
        let waiting = self.entries.iter().enumerate().skip(self.n_in_flight);
        let mut held = waiting.filter(|(_, entry)| matches!(entry.what, What::Held(_)));
        if let Some(at) = held.next().map(|(at, _)| at) {
            self.entries.remove(at);
            self.n_held = self.n_held.saturating_sub(1);
            self.n_dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logged(number: u64) -> Entry {
        Entry { what: What::Logged(number), time: Timestamp::from_nanos(number) }
    }

    fn held(number: u64) -> Entry {
        let mut alert = crate::testing::alert("x", None);
        alert.id = number.to_string();
        let what = What::Held(Arc::new(Held::Alert(Box::new(alert))));
        Entry { what, time: Timestamp::from_nanos(number) }
    }

    #[test]
    fn the_oldest_that_is_not_in_flight_is_dropped_and_counted() {
        let mut queue = Queue::new(3);
        assert_eq!((0..3).map(|n| queue.push(logged(n))).sum::<u64>(), 0);
        assert_eq!(queue.begin(2), [logged(0), logged(1)]);
        assert_eq!(queue.push(logged(3)), 0, "what is being sent stays");
        assert_eq!((queue.end(1), queue.len(), queue.position()), (0, 3, 1));
        assert_eq!(queue.push(logged(4)), 1);
        assert_eq!((queue.begin(9), queue.position()), (vec![logged(2), logged(3), logged(4)], 2));
        assert_eq!((queue.end(0), queue.n_dropped()), (0, 1));
    }

    #[test]
    fn what_is_in_memory_has_a_bound_of_its_own() {
        let mut queue = Queue::new(1_000_000);
        queue.push(logged(0));
        for n in 1..=HELD_MAX as u64 + 2 {
            queue.push(held(n));
        }
        assert_eq!((queue.len(), queue.n_dropped()), (HELD_MAX + 1, 2));
        let first: Vec<u64> = queue.begin(2).iter().map(|entry| entry.time.as_nanos()).collect();
        assert_eq!(first, [0, 3]);
    }

    #[test]
    fn what_is_in_memory_goes_over_to_another_queue() {
        let (mut old, mut new) = (Queue::new(9), Queue::new(9));
        for entry in [logged(0), held(1), logged(2), held(3)] {
            old.push(entry);
        }
        new.push(logged(4));
        new.restore(old.take_held());
        let times = |queue: &mut Queue| -> Vec<u64> {
            queue.begin(9).iter().map(|entry| entry.time.as_nanos()).collect()
        };
        assert_eq!((times(&mut old), times(&mut new)), (vec![0, 2], vec![1, 3, 4]));
        assert_eq!((old.n_held, new.n_held), (0, 2));
    }

    #[test]
    fn records_of_others_move_an_empty_queue_on() {
        let mut queue = Queue::new(3);
        queue.pass(7);
        assert_eq!(queue.position(), 8);
        queue.push(logged(9));
        queue.pass(10);
        assert_eq!(queue.position(), 8);
        queue.begin(1);
        queue.end(1);
        assert_eq!(queue.position(), 10);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push { is_held: bool },
        Send { n: usize, n_done: usize, n_pushed: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let send = (1_usize..6, 0_usize..6, 0_usize..6)
            .prop_map(|(n, n_done, n_pushed)| Step::Send { n, n_done, n_pushed });
        let push = prop::bool::weighted(0.2).prop_map(|is_held| Step::Push { is_held });
        prop::collection::vec(prop_oneof![push, send], 0..200)
    }

    proptest! {
        /// Whatever fails and however full it is: what is sent is in order and sent once,
        /// and everything that was pushed was sent, is dropped and counted, or still waits.
        #[test]
        fn order_is_kept_and_nothing_is_unaccounted_for(max in 1_usize..8, steps in steps()) {
            let mut queue = Queue::new(max);
            let (mut next, mut sent) = (0_u64, Vec::new());
            for step in steps {
                match step {
                    Step::Push { is_held } => {
                        queue.push(if is_held { held(next) } else { logged(next) });
                        next += 1;
                    }
                    Step::Send { n, n_done, n_pushed } => {
                        let batch = queue.begin(n);
                        for _ in 0..n_pushed {
                            queue.push(logged(next));
                            next += 1;
                        }
                        let n_done = n_done.min(batch.len());
                        sent.extend(batch[..n_done].iter().map(|entry| entry.time.as_nanos()));
                        queue.end(n_done);
                        prop_assert!(queue.len() <= max);
                    }
                }
                prop_assert!(queue.position() <= next);
            }
            prop_assert!(sent.windows(2).all(|pair| pair[0] < pair[1]), "{sent:?}");
            let n_accounted = sent.len() as u64 + queue.n_dropped() + queue.len() as u64;
            prop_assert_eq!(n_accounted, next);
            // A restart from the position would find everything that still waits.
            for entry in queue.begin(usize::MAX) {
                if let What::Logged(number) = entry.what {
                    prop_assert!(number >= queue.position());
                }
            }
        }
    }
}
