//! What was sent and what was lost, per class of events.
//!
//! The counters live in the kernel, one set per processor; nothing that a probe decides not to send
//! goes uncounted.

use crate::interest::Class;

/// Counters of one class since the sensor was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that went into a ring.
    pub n_sent: u64,
    /// Lost because the ring was full: the reader was too slow for the rate of events.
    pub n_lost_full: u64,
    /// Lost because another probe held the buffer of its processor.
    pub n_lost_busy: u64,
    /// Lost because the record outgrew its bound.
    pub n_lost_large: u64,
    /// Sent with a parameter cut at its bound.
    pub n_truncated: u64,
    /// Not sent because the filter said so: not losses.
    pub n_filtered: u64,
    /// Bytes of the records that were sent.
    pub n_bytes: u64,
}

impl Counts {
    /// Number of the counters, and their order in the kernel's map (`struct counters` of
    /// `probes/record.h`).
    const FIELDS: usize = 7;

    /// Records lost for whatever reason.
    pub fn n_lost(&self) -> u64 {
        self.n_lost_full + self.n_lost_busy + self.n_lost_large
    }

    /// Adds one processor's counters, as the kernel stores them; other lengths are ignored.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        let mut values = [0_u64; Self::FIELDS];
        for (value, chunk) in values.iter_mut().zip(bytes.chunks_exact(8)) {
            *value = chunk.try_into().map_or(0, u64::from_ne_bytes);
        }
        let [sent, full, busy, large, truncated, filtered, bytes] = values;
        self.n_sent += sent;
        self.n_lost_full += full;
        self.n_lost_busy += busy;
        self.n_lost_large += large;
        self.n_truncated += truncated;
        self.n_filtered += filtered;
        self.n_bytes += bytes;
    }
}

/// Counters of every class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts {
    pub(crate) classes: [Counts; Class::ALL.len()],
    /// Records that the reader refused because their frame was wrong. Always zero unless kernel and
    /// loader disagree.
    pub n_malformed: u64,
}

impl ClassCounts {
    /// The counters of `class`.
    pub fn of(&self, class: Class) -> Counts {
        self.classes[class as usize]
    }

    /// Every class with its counters.
    pub fn iter(&self) -> impl Iterator<Item = (Class, Counts)> + '_ {
        Class::ALL.into_iter().zip(self.classes)
    }

    /// The sum over the classes.
    pub fn total(&self) -> Counts {
        self.classes.iter().fold(Counts::default(), |sum, counts| Counts {
            n_sent: sum.n_sent + counts.n_sent,
            n_lost_full: sum.n_lost_full + counts.n_lost_full,
            n_lost_busy: sum.n_lost_busy + counts.n_lost_busy,
            n_lost_large: sum.n_lost_large + counts.n_lost_large,
            n_truncated: sum.n_truncated + counts.n_truncated,
            n_filtered: sum.n_filtered + counts.n_filtered,
            n_bytes: sum.n_bytes + counts.n_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_summed() {
        let mut counts = Counts::default();
        let bytes: Vec<u8> = (1..=6_u64).flat_map(u64::to_ne_bytes).collect();
        counts.add_bytes(&bytes);
        counts.add_bytes(&bytes);
        assert_eq!(counts.n_sent, 2);
        assert_eq!(counts.n_lost(), 4 + 6 + 8);
        assert_eq!((counts.n_truncated, counts.n_filtered), (10, 12));
    }

    #[test]
    fn short_bytes_do_not_panic() {
        let mut counts = Counts::default();
        counts.add_bytes(&[1, 2, 3]);
        assert_eq!(counts, Counts::default());
    }
}
