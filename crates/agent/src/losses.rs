//! What was lost, by where and why, over all of the time and over the last minute.
//!
//! Every loss has a counter somewhere: in the kernel, in the state, in a sink's queue. The
//! ledger reads them all several times a second and knows what came since; from it come the
//! alerts about losses, the figures of `palisade status`, and the wish to look at `/proc` again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Kinds of losses that are told apart; more are not told apart and stay with their counters.
pub const KINDS_MAX: usize = 256;
/// How far "lately" reaches back.
pub const LATELY: Duration = Duration::from_mins(1);
/// How often an alert about one kind may be raised.
pub const ALERT_INTERVAL: Duration = Duration::from_secs(10);
/// The finest time that lately is cut into.
const SLICE: Duration = Duration::from_secs(1);

/// Where something was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// In the kernel, before it could be read.
    Kernel,
    /// In the agent.
    User,
}

impl Side {
    /// The name in tables and fields.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// A kind of loss.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kind {
    /// Where.
    pub side: Side,
    /// What: a class of events (`exec`, `open`), `record`, a table, `sink NAME`.
    pub class: String,
    /// Why: `ring full`, `buffer busy`, `too large`, `malformed`, `evicted`, `refused`,
    /// `queue full`, `not journalled`.
    pub cause: String,
}

impl Kind {
    /// A kind.
    pub fn new(side: Side, class: impl Into<String>, cause: &str) -> Self {
        Self { side, class: class.into(), cause: cause.into() }
    }
}

/// A counter of losses, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What it counts.
    pub kind: Kind,
    /// How many, since the counter began.
    pub total: u64,
}

/// What the ledger knows of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossStatus {
    /// Which.
    #[serde(flatten)]
    pub kind: Kind,
    /// Lost since the start.
    pub total: u64,
    /// Lost in the last minute.
    pub last_minute: u64,
}

/// An alert that is due about one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub kind: Kind,
    /// Lost since the alert before.
    pub lost: u64,
    /// Lost since the start.
    pub total: u64,
    /// The time in which `lost` were lost, at most.
    pub window: Duration,
}

/// Knows what was lost.
#[derive(Debug)]
pub struct Ledger {
    kinds: BTreeMap<Kind, Account>,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Account {
    /// The counter when it was seen last.
    seen: u64,
    /// Everything since the start, whatever becomes of the counter.
    total: u64,
    /// What came when, in slices, the oldest first.
    lately: VecDeque<(Instant, u64)>,
    unsaid: u64,
    said: Option<Instant>,
}

impl Ledger {
    /// An empty one.
    pub fn new(now: Instant) -> Self {
        Self { kinds: BTreeMap::new(), begun: now }
    }

    /// Takes the counters as they stand. One that is `old` counted before the agent started:
    /// what it holds when it is seen first is not news. Returns what came since the last call.
    pub fn take(&mut self, losses: &[Loss], old: bool, now: Instant) -> Vec<Loss> {
        let mut fresh = Vec::new();
        for loss in losses {
            let known = self.kinds.contains_key(&loss.kind);
            if loss.total == 0 && !old && !known {
                continue;
            }
            if !known && self.kinds.len() >= KINDS_MAX {
                continue;
            }
            let account = self.kinds.entry(loss.kind.clone()).or_default();
            if !known && old {
                account.seen = loss.total;
            }
            // A counter that begins again has lost nothing by that.
            let n = loss.total.saturating_sub(account.seen);
            account.seen = loss.total;
            if n == 0 {
                continue;
            }
            account.total += n;
            account.unsaid += n;
            match account.lately.back_mut() {
                Some((since, sum)) if now.duration_since(*since) < SLICE => *sum += n,
                _ => account.lately.push_back((now, n)),
            }
            fresh.push(Loss { kind: loss.kind.clone(), total: n });
        }
        let is_old = |at: &Instant| now.duration_since(*at) > LATELY;
        for account in self.kinds.values_mut() {
            while account.lately.front().is_some_and(|(at, _)| is_old(at)) {
                account.lately.pop_front();
            }
        }
        fresh
    }

    /// The alerts that are due: at once for the first loss of a kind, and then at most one for
    /// each [`ALERT_INTERVAL`], with everything that came since. At the end, everything.
    pub fn take_due(&mut self, now: Instant, is_end: bool) -> Vec<Due> {
        let mut due = Vec::new();
        for (kind, account) in &mut self.kinds {
            let may = account.said.is_none_or(|said| now.duration_since(said) >= ALERT_INTERVAL);
            if account.unsaid == 0 || !(may || is_end) {
                continue;
            }
            let since = account.said.unwrap_or(self.begun);
            due.push(Due {
                kind: kind.clone(),
                lost: std::mem::take(&mut account.unsaid),
                total: account.total,
                window: now.duration_since(since),
            });
            account.said = Some(now);
        }
        due
    }

    /// Every kind of which something was lost.
    pub fn status(&self) -> Vec<LossStatus> {
        let status = |(kind, account): (&Kind, &Account)| LossStatus {
            kind: kind.clone(),
            total: account.total,
            last_minute: account.lately.iter().map(|(_, n)| n).sum(),
        };
        self.kinds.iter().map(status).filter(|status| status.total > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(class: &str, total: u64) -> Loss {
        Loss { kind: Kind::new(Side::Kernel, class, "ring full"), total }
    }

    #[test]
    fn the_first_loss_is_said_at_once_and_more_of_it_every_ten_seconds() {
        let begun = Instant::now();
        let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
        let mut ledger = Ledger::new(begun);
        let mut check = |seconds: f64, total: u64, expected: Option<(u64, u64, u64)>| {
            ledger.take(&[loss("open", total)], false, at(seconds));
            let due = ledger.take_due(at(seconds), false);
            let found = due.first().map(|due| (due.lost, due.total, due.window.as_secs()));
            assert_eq!(
                (due.len(), found),
                (usize::from(expected.is_some()), expected),
                "{seconds}"
            );
        };
        check(1.0, 0, None);
        check(2.0, 5, Some((5, 5, 2)));
        check(2.5, 7, None);
        check(9.0, 9, None);
        check(12.0, 9, Some((4, 9, 10)));
        check(30.0, 9, None);
        check(31.0, 10, Some((1, 10, 19)));
        // Another kind does not wait for this one.
        ledger.take(&[loss("exec", 1)], false, at(31.5));
        assert_eq!(ledger.take_due(at(31.5), false).len(), 1);
        ledger.take(&[loss("open", 12)], false, at(32.0));
        assert_eq!(ledger.take_due(at(32.0), false), []);
        assert_eq!(ledger.take_due(at(32.0), true)[0].lost, 2, "the end says everything");
    }

    #[test]
    fn lately_forgets_and_the_total_does_not() {
        let begun = Instant::now();
        let mut ledger = Ledger::new(begun);
        let mut check = |seconds: u64, total: u64, expected: (u64, u64)| {
            ledger.take(&[loss("open", total)], false, begun + Duration::from_secs(seconds));
            let status = ledger.status();
            assert_eq!((status[0].total, status[0].last_minute), expected, "after {seconds} s");
        };
        check(1, 5, (5, 5));
        check(40, 9, (9, 9));
        check(62, 9, (9, 4));
        check(200, 9, (9, 0));
        // The counter began again.
        check(201, 0, (9, 0));
        check(202, 2, (11, 2));
    }

    #[test]
    fn what_was_lost_before_the_start_is_no_news() {
        let now = Instant::now();
        let mut ledger = Ledger::new(now);
        assert_eq!(ledger.take(&[loss("sink a", 70)], true, now), []);
        assert_eq!(ledger.status(), []);
        assert_eq!(ledger.take(&[loss("sink a", 73)], true, now), [loss("sink a", 3)]);
        assert_eq!(ledger.take_due(now, false)[0].total, 3);
        // One that had lost nothing when it was seen first.
        ledger.take(&[loss("sink b", 0)], true, now);
        assert_eq!(ledger.take(&[loss("sink b", 1)], true, now), [loss("sink b", 1)]);
    }

    #[test]
    fn kinds_are_bounded() {
        let now = Instant::now();
        let mut ledger = Ledger::new(now);
        for n in 0..KINDS_MAX + 5 {
            ledger.take(&[loss(&n.to_string(), 1)], false, now);
        }
        assert_eq!(ledger.status().len(), KINDS_MAX);
    }
}
