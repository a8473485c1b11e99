//! What the thread of a sink and the loop of the agent share: a lock that nobody holds
//! while waiting for anything.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_policy::Sink;

use super::cursor::Record;
use super::queue::{Entry, Queue};
use super::status::{SinkFailure, SinkState, SinkStatus};

/// Texts for the operator that are kept until the agent takes them.
const SAID_MAX: usize = 32;

/// Shared between the two threads.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    status: SinkStatus,
    said: VecDeque<String>,
    is_stopping: bool,
    /// Whether nothing more is to be begun.
    is_halted: bool,
    has_ended: bool,
    /// Documents dropped before this start.
    n_dropped_before: u64,
    /// Drops that were said.
    n_dropped_said: u64,
}

impl Shared {
    pub(crate) fn new(sink: &Sink) -> Self {
        let status = SinkStatus {
            name: sink.name.clone(),
            to: sink.to.shown(),
            format: sink.resolved_format().as_str().into(),
            state: SinkState::Recovering,
            n_queued: 0,
            queue_max: u64::from(sink.queue_max),
            oldest: None,
            n_sent: 0,
            n_retried: 0,
            n_dropped: 0,
            n_rejected: 0,
            last_sent: None,
            last_error: None,
        };
        let inner = Inner {
            queue: Queue::new(sink.queue_max as usize),
            status,
            said: VecDeque::new(),
            is_stopping: false,
            is_halted: false,
            has_ended: false,
            n_dropped_before: 0,
            n_dropped_said: 0,
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves numbers that are still numbers.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the place on the disk says.
    pub(crate) fn begin(&self, record: &Record) {
        let mut inner = self.lock();
        inner.queue.set_position(record.position);
        inner.status.n_sent = record.n_sent;
        inner.status.n_retried = record.n_retried;
        inner.status.n_rejected = record.n_rejected;
        inner.n_dropped_before = record.n_dropped;
    }

    pub(crate) fn push(&self, entry: Entry) {
        self.lock().queue.push(entry);
        self.changed.notify_all();
    }

    pub(crate) fn pass(&self, number: u64) {
        self.lock().queue.pass(number);
    }

    pub(crate) fn restore(&self, entries: Vec<Entry>) {
        self.lock().queue.restore(entries);
    }

    /// Hands what no disk took, and what is therefore in no journal, to the sink that comes
    /// after this one.
    pub(crate) fn pass_held_to(&self, next: &Self) {
        let held = self.lock().queue.take_held();
        if !held.is_empty() {
            next.restore(held);
            next.changed.notify_all();
        }
    }

    /// Tells the operator something.
    pub(crate) fn say(&self, text: &str) {
        let mut inner = self.lock();
        let text = format!("sink `{}`: {text}", inner.status.name);
        if inner.said.len() >= SAID_MAX {
            inner.said.pop_front();
        }
        inner.said.push_back(text);
    }

    pub(crate) fn take_said(&self) -> Vec<String> {
        self.lock().said.drain(..).collect()
    }

    /// Waits for something to send, and begins it; `None` when the sink is to end.
    pub(crate) fn take(&self, n: usize) -> Option<Vec<Entry>> {
        let mut inner = self.lock();
        loop {
            if inner.is_halted {
                return None;
            }
            if !inner.queue.is_empty() {
                inner.status.state = SinkState::Sending;
                return Some(inner.queue.begin(n));
            }
            inner.status.state = SinkState::Idle;
            if inner.is_stopping {
                return None;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends what [`Shared::take`] began: `n_done` entries are done with, of which `n_sent`
    /// were sent, `n_rejected` refused for good and `n_lost` no longer to be had.
    pub(crate) fn end(&self, n_done: usize, n_sent: u64, n_rejected: u64, n_lost: u64) {
        let mut inner = self.lock();
        inner.queue.end(n_done);
        inner.status.n_sent += n_sent;
        inner.status.n_rejected += n_rejected;
        inner.n_dropped_before += n_lost;
        if n_sent > 0 {
            inner.status.last_sent = Some(Timestamp::now());
        }
    }

    /// Notes a failed delivery.
    pub(crate) fn note_failure(&self, text: &str) {
        let mut inner = self.lock();
        inner.status.n_retried += 1;
        inner.status.last_error =
            Some(SinkFailure { time: Timestamp::now(), text: text.to_string() });
        inner.status.state = SinkState::Waiting;
    }

    /// Waits for `duration`; less when the sink is to stop. Whether it is.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration;
        let mut inner = self.lock();
        while !inner.is_stopping {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = match self.changed.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    /// As [`Shared::stop`], without sending what waits.
    pub(crate) fn halt(&self) {
        let mut inner = self.lock();
        (inner.is_stopping, inner.is_halted) = (true, true);
        drop(inner);
        self.changed.notify_all();
    }

    pub(crate) fn note_end(&self) {
        let mut inner = self.lock();
        inner.has_ended = true;
        inner.status.state = SinkState::Ended;
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits for the thread's end, up to `duration`. Whether it came.
    pub(crate) fn wait_until_ended(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration;
        let mut inner = self.lock();
        while !inner.has_ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = match self.changed.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// What is to be kept on the disk.
    pub(crate) fn record(&self) -> Record {
        let inner = self.lock();
        Record {
            generation: 0,
            position: inner.queue.position(),
            n_sent: inner.status.n_sent,
            n_retried: inner.status.n_retried,
            n_dropped: inner.n_dropped(),
            n_rejected: inner.status.n_rejected,
        }
    }

    /// Documents dropped that the operator was not told of, and the queue's bound.
    pub(crate) fn take_unsaid_drops(&self) -> (u64, u64) {
        let mut inner = self.lock();
        let n_dropped = inner.queue.n_dropped();
        let n_new = n_dropped - inner.n_dropped_said;
        inner.n_dropped_said = n_dropped;
        (n_new, inner.status.queue_max)
    }

    pub(crate) fn status(&self) -> SinkStatus {
        let inner = self.lock();
        SinkStatus {
            n_queued: inner.queue.len() as u64,
            oldest: inner.queue.oldest(),
            n_dropped: inner.n_dropped(),
            ..inner.status.clone()
        }
    }
}

impl Inner {
    fn n_dropped(&self) -> u64 {
        self.n_dropped_before + self.queue.n_dropped()
    }
}
