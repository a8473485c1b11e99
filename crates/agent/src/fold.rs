//! The same alert again and again, counted instead of repeated.
//!
//! Alerts are the same when rule, container, executable and verdict are: an attempt that
//! is refused a hundred times is one alert and a count, but the one that then succeeds
//! is an alert of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_model::{Alert, Priority, Verdict};

/// How long after an alert the same one is only counted.
pub const FOLD_WINDOW: Duration = Duration::from_secs(10);
/// Most alerts remembered at once; the oldest is forgotten first.
pub const FOLDS_MAX: usize = 8192;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rule: String,
    container: String,
    exe: String,
    is_blocked: bool,
}

impl Key {
    fn of(alert: &Alert) -> Self {
        Self {
            rule: alert.rule.clone(),
            container: alert.container.as_ref().map_or_else(String::new, |c| c.id.clone()),
            exe: alert.process.as_ref().map_or_else(String::new, |p| p.exe.clone()),
            is_blocked: alert.verdict() == Verdict::Blocked,
        }
    }
}

#[derive(Debug)]
struct Open {
    alert: String,
    priority: Priority,
    since: Timestamp,
    until: Timestamp,
    n_repeats: u64,
}

/// Repeats of one alert within its window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The alert that was raised.
    pub alert: String,
    /// Its rule.
    pub rule: String,
    /// The rule's priority.
    pub priority: Priority,
    /// When the window began: the time of the alert.
    pub since: Timestamp,
    /// When it ended.
    pub until: Timestamp,
    /// How often it would have been raised again.
    pub n_repeats: u64,
}

/// Decides whether an alert is new.
#[derive(Debug)]
pub struct Folder {
    window: Duration,
    open: BTreeMap<Key, Open>,
    order: VecDeque<Key>,
    closed: Vec<Folded>,
    n_folded: u64,
}

impl Folder {
    /// A folder whose window is `window`; one of zero folds nothing.
    pub fn new(window: Duration) -> Self {
        let (open, order) = (BTreeMap::new(), VecDeque::new());
        Self { window, open, order, closed: Vec::new(), n_folded: 0 }
    }

    /// Alerts whose repeats are being counted.
    pub fn n_open(&self) -> usize {
        self.open.len()
    }

    /// Whether `alert` is to be raised; a repeat is counted and is not.
    pub fn admit(&mut self, alert: &Alert) -> bool {
        if self.window.is_zero() {
            return true; // alerts do not all come in the order of their time
        }
        self.expire(alert.time);
        let key = Key::of(alert);
        if let Some(open) = self.open.get_mut(&key) {
            open.n_repeats += 1;
            self.n_folded += 1;
            return false;
        }
        if self.open.len() >= FOLDS_MAX {
            self.close_oldest();
        }
        let until = alert.time + self.window;
        self.order.push_back(key.clone());
        let (priority, since) = (alert.priority, alert.time);
        self.open
            .insert(key, Open { alert: alert.id.clone(), priority, since, until, n_repeats: 0 });
        true
    }

    /// Repeats whose window has ended by `now`.
    pub fn take_closed(&mut self, now: Timestamp) -> Vec<Folded> {
        self.expire(now);
        std::mem::take(&mut self.closed)
    }

    /// Ends all windows, at shutdown.
    pub fn close_all(&mut self) -> Vec<Folded> {
        while !self.order.is_empty() {
            self.close_oldest();
        }
        std::mem::take(&mut self.closed)
    }

    /// Alerts counted instead of raised, since the start.
    pub fn n_folded(&self) -> u64 {
        self.n_folded
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some(key) = self.order.front() {
            if self.open.get(key).is_some_and(|open| open.until > now) {
                return;
            }
            self.close_oldest();
        }
    }

    fn close_oldest(&mut self) {
        let Some(key) = self.order.pop_front() else {
            return;
        };
        let Some(open) = self.open.remove(&key) else {
            return;
        };
        if open.n_repeats > 0 {
            let Open { alert, priority, since, until, n_repeats } = open;
            let rule = key.rule;
            self.closed.push(Folded { alert, rule, priority, since, until, n_repeats });
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_model::alert::Outcome;

    use super::*;
    use crate::testing::alert;

    fn at(seconds: u64, outcome: Outcome) -> Alert {
        let mut alert = alert("Shell", None);
        alert.id = format!("{seconds}");
        alert.time = Timestamp::from_nanos(seconds * 1_000_000_000);
        alert.outcome = outcome;
        alert
    }

    #[test]
    fn repeats_are_counted_and_a_success_is_not_hidden_by_failures() {
        let mut folder = Folder::new(FOLD_WINDOW);
        let refused = Outcome::Failed { errno: 13 };
        let mut never = Folder::new(Duration::ZERO);
        assert!([3, 2, 2].into_iter().all(|second| never.admit(&at(second, refused))));
        assert!(folder.admit(&at(1, refused)));
        assert!(!folder.admit(&at(2, refused)));
        assert!(!folder.admit(&at(3, refused)));
        assert!(folder.admit(&at(4, Outcome::Succeeded)));
        assert!(folder.admit(&at(11, refused)), "the window has ended");
        let closed = folder.take_closed(Timestamp::from_nanos(11_000_000_000));
        let second = |n: u64| Timestamp::from_nanos(n * 1_000_000_000);
        let expected = Folded {
            alert: "1".into(),
            rule: "Shell".into(),
            priority: Priority::Critical,
            since: second(1),
            until: second(11),
            n_repeats: 2,
        };
        assert_eq!(closed, [expected]);
        assert_eq!(folder.n_folded(), 2);
        assert_eq!(folder.close_all(), []);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut folder = Folder::new(FOLD_WINDOW);
        for i in 0..FOLDS_MAX + 10 {
            let mut alert = at(1, Outcome::Succeeded);
            alert.rule = format!("rule {i}");
            assert!(folder.admit(&alert));
        }
        assert_eq!((folder.open.len(), folder.order.len()), (FOLDS_MAX, FOLDS_MAX));
    }
}
