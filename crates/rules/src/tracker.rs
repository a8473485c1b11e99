//! What stateful rules remember between events.
//!
//! Each rule keeps one memory for each value of its `per` fields. All memories are bounded:
//! where there are too many, the one that was touched longest ago is forgotten, and counted.
//! Time comes from the events, so that a capture gives what the live system gave.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Events that a rule may wait for; its memory for one key has room for as many.
pub const COUNT_MAX: u32 = 1000;

/// Steps of one sequence.
pub const STEPS_MAX: usize = 8;

/// Keys that one rule remembers.
pub const KEYS_MAX: usize = 4096;

/// Events that one rule remembers, over all of its keys.
pub const REMEMBERED_MAX: usize = 1 << 17;

/// A value of the `per` fields, or of those that are to differ.
pub(crate) type Key = Box<str>;

/// What a rule waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// So many events, or so many different values, within the time.
    Count {
        /// How many.
        at_least: u32,
        /// Whether different values are counted, not events.
        distinct: bool,
    },
    /// An event for each step, in order.
    Sequence {
        /// How many steps.
        n_steps: usize,
    },
}

/// The memory of one rule.
#[derive(Debug)]
pub(crate) struct Tracker {
    awaited: Awaited,
    within_ns: u64,
    memories: HashMap<Key, Memory>,
    /// Keys by when they were touched, the oldest first.
    touched: BTreeMap<u64, Key>,
    n_touches: u64,
    n_remembered: usize,
    n_forgotten: u64,
}

#[derive(Debug, Default)]
struct Memory {
    touch: u64,
    /// Times of the events that count, and the value of each if they are to differ.
    events: VecDeque<(u64, Option<Key>)>,
    /// For each step when the sequence that came so far began; the latest one counts.
    begun: [Option<u64>; STEPS_MAX],
}

impl Tracker {
    pub(crate) fn new(awaited: Awaited, within_ns: u64) -> Self {
        Self {
            awaited,
            within_ns,
            memories: HashMap::new(),
            touched: BTreeMap::new(),
            n_touches: 0,
            n_remembered: 0,
            n_forgotten: 0,
        }
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.memories.is_empty()
    }

    /// Memories that were given up although they could still have mattered.
    pub(crate) fn n_forgotten(&self) -> u64 {
        self.n_forgotten
    }

    /// Takes an event at which the conditions `steps` hold (a count has only the step 0);
    /// true when what the rule waits for has come. Counting then begins anew.
    pub(crate) fn take(
        &mut self,
        key: &str,
        steps: &[usize],
        value: Option<Key>,
        time_ns: u64,
    ) -> bool {
        self.make_room(key, time_ns);
        self.n_touches += 1;
        let memory = self.memories.entry(key.into()).or_default();
        if memory.touch > 0 {
            self.touched.remove(&memory.touch);
        }
        memory.touch = self.n_touches;
        self.touched.insert(self.n_touches, key.into());
        let n_before = memory.events.len();
        let has_come = match self.awaited {
            Awaited::Count { at_least, .. } => {
                memory.count(value, time_ns, self.within_ns) >= at_least as usize
            }
            Awaited::Sequence { n_steps } => memory.step(steps, n_steps, time_ns, self.within_ns),
        };
        if has_come {
            self.n_remembered -= n_before;
            self.memories.remove(key);
            self.touched.remove(&self.n_touches);
        } else {
            self.n_remembered = self.n_remembered + memory.events.len() - n_before;
        }
        has_come
    }

    /// Forgets the memories that were touched longest ago until another event fits.
    fn make_room(&mut self, key: &str, time_ns: u64) {
        let is_full = |this: &Self| {
            (this.memories.len() >= KEYS_MAX && !this.memories.contains_key(key))
                || this.n_remembered >= REMEMBERED_MAX
        };
        while is_full(self) {
            let Some((_, oldest)) = self.touched.pop_first() else { return };
            let Some(memory) = self.memories.remove(&oldest) else { continue };
            self.n_remembered -= memory.events.len();
            // What is out of time anyway is no loss.
            if memory.latest().is_some_and(|at| time_ns.saturating_sub(at) <= self.within_ns) {
                self.n_forgotten += 1;
            }
        }
    }
}

impl Memory {
    fn latest(&self) -> Option<u64> {
        let event = self.events.back().map(|(at, _)| *at);
        event.max(self.begun.iter().flatten().max().copied())
    }

    /// Adds an event; how many are within the time.
    fn count(&mut self, value: Option<Key>, time_ns: u64, within_ns: u64) -> usize {
        // Events of several processors may come a little out of order.
        self.events.retain(|(at, known)| {
            time_ns.saturating_sub(*at) <= within_ns && (value.is_none() || *known != value)
        });
        self.events.push_back((time_ns, value));
        self.events.len()
    }

    /// Takes the steps that an event makes; whether the last one was made.
    fn step(&mut self, steps: &[usize], n_steps: usize, time_ns: u64, within_ns: u64) -> bool {
        // From the last step to the first, so that one event makes one step of a sequence.
        for step in (0..n_steps.min(STEPS_MAX)).rev().filter(|step| steps.contains(step)) {
            let begun = match step.checked_sub(1) {
                None => Some(time_ns),
                Some(before) => {
                    self.begun[before].filter(|begun| time_ns.saturating_sub(*begun) <= within_ns)
                }
            };
            if begun.is_some() && step + 1 == n_steps {
                return true;
            }
            self.begun[step] = self.begun[step].max(begun);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn count(at_least: u32, distinct: bool) -> Tracker {
        Tracker::new(Awaited::Count { at_least, distinct }, 10 * SECOND)
    }

    #[track_caller]
    fn check_count(tracker: &mut Tracker, events: &[(&str, &str, u64)], fired: &[usize]) {
        let at: Vec<usize> = events
            .iter()
            .enumerate()
            .filter(|(_, (key, value, seconds))| {
                let value = (!value.is_empty()).then(|| (*value).into());
                tracker.take(key, &[0], value, seconds * SECOND)
            })
            .map(|(i, _)| i)
            .collect();
        assert_eq!(at, fired);
    }

    #[test]
    fn counts_within_the_time_for_each_key() {
        let events = [
            ("a", "", 0),
            ("b", "", 1),
            ("a", "", 2),
            ("a", "", 10), // the third of `a`
            ("a", "", 11),
            ("a", "", 12),
            ("a", "", 22), // 11 is out of time by now
            ("a", "", 22), // 12, 22, 22
            ("b", "", 23),
        ];
        check_count(&mut count(3, false), &events, &[3, 7]);
    }

    #[test]
    fn counts_different_values() {
        let events = [
            ("a", "x", 0),
            ("a", "x", 1),
            ("a", "y", 2),
            ("a", "x", 9),  // seen again, so it counts from now
            ("a", "z", 13), // `y` is out of time
            ("a", "w", 14),
        ];
        check_count(&mut count(3, true), &events, &[5]);
    }

    #[test]
    fn late_events_do_not_upset_the_count() {
        check_count(&mut count(2, false), &[("a", "", 20), ("a", "", 15)], &[1]);
    }

    #[track_caller]
    fn check_sequence(events: &[(&str, &[usize], u64)], fired: &[usize]) {
        let mut tracker = Tracker::new(Awaited::Sequence { n_steps: 3 }, 10 * SECOND);
        let at: Vec<usize> = events
            .iter()
            .enumerate()
            .filter(|(_, (key, steps, seconds))| tracker.take(key, steps, None, seconds * SECOND))
            .map(|(i, _)| i)
            .collect();
        assert_eq!(at, fired);
    }

    #[test]
    fn sequences_are_in_order_and_in_time() {
        check_sequence(&[("a", &[0], 0), ("a", &[1], 1), ("a", &[2], 2), ("a", &[2], 3)], &[2]);
        check_sequence(&[("a", &[1], 0), ("a", &[0], 1), ("a", &[2], 2)], &[]);
        check_sequence(&[("a", &[0], 0), ("b", &[1], 1), ("a", &[2], 2)], &[]);
        check_sequence(&[("a", &[0], 0), ("a", &[1], 5), ("a", &[2], 11)], &[]);
        // The latest beginning counts.
        check_sequence(&[("a", &[0], 0), ("a", &[0], 8), ("a", &[1], 9), ("a", &[2], 15)], &[3]);
        // One event makes one step only.
        check_sequence(&[("a", &[0, 1, 2], 0), ("a", &[0, 1, 2], 1), ("a", &[0, 1, 2], 2)], &[2]);
    }

    #[test]
    fn memories_are_bounded_and_what_is_forgotten_is_counted() {
        let mut tracker = count(3, false);
        for i in 0..KEYS_MAX + 10 {
            tracker.take(&i.to_string(), &[0], None, SECOND);
        }
        assert_eq!((tracker.memories.len(), tracker.touched.len()), (KEYS_MAX, KEYS_MAX));
        assert_eq!(tracker.n_forgotten(), 10);
        // The first keys are gone; those that are out of time are no loss.
        tracker.take("0", &[0], None, 100 * SECOND);
        assert_eq!(tracker.n_forgotten(), 10);

        let mut tracker = count(COUNT_MAX, false);
        for i in 0..REMEMBERED_MAX + 1000 {
            tracker.take(&(i % 200).to_string(), &[0], None, SECOND);
        }
        assert!(tracker.n_remembered <= REMEMBERED_MAX);
        let n: usize = tracker.memories.values().map(|memory| memory.events.len()).sum();
        assert_eq!(n, tracker.n_remembered);
        assert!(tracker.n_forgotten() > 0);
    }
}
