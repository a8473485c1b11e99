//! The thread of a sink: reads the journal, sends, waits after failures, keeps its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_model::{Alert, Priority, Repeats};
use palisade_policy::{Endpoint, Sink};
use palisade_respond::tail::{Found, Tail};
use palisade_sinks::{Failed, Item, Message, Transport};
use serde::Deserialize;

use super::DeliverySettings;
use super::backoff::Backoff;
use super::cursor::Cursor;
use super::queue::{Entry, What};
use super::render;
use super::shared::Shared;
use crate::journal::AlertRecord;

/// Documents that one delivery over a stream or into a file has at most.
const BATCH_MAX: usize = 64;
/// How often a receiver may refuse a document before it is given up.
const REJECTIONS_MAX: u32 = 3;
/// How often the place is kept, and drops are said, while a sink waits.
const KEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often drops are said at most.
const SAY_DROPS_INTERVAL: Duration = Duration::from_mins(1);
/// How often a failure that goes on is said again.
const SAY_FAILURE_INTERVAL: Duration = Duration::from_mins(10);

/// The thread of a sink.
#[derive(Debug)]
pub(crate) struct Worker {
    sink: Sink,
    shared: Arc<Shared>,
    transport: Box<dyn Transport>,
    cursor: Cursor,
    tail: Tail,
    journal: PathBuf,
    version: String,
    backoff: Backoff,
    next_number: u64,
    n_failures: u32,
    n_rejections: u32,
    /// Documents that are sent one by one, because a batch with them was refused.
    n_narrow: usize,
    failing_since: Option<Instant>,
    failure_said: Option<Instant>,
    drops_said: Option<Instant>,
    is_save_failing: bool,
}

/// What a journal record must have to be sent.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Glimpse {
    Raised {
        alert: Outline,
        #[serde(default)]
        carried: bool,
    },
    Repeated {
        #[serde(default)]
        repeats: Option<Outline>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Outline {
    priority: Priority,
    time: Timestamp,
}

/// A record of the journal as a document.
enum Loaded {
    Alert(Box<Alert>),
    Repeats(Box<Repeats>),
}

impl Worker {
    pub(crate) fn new(
        sink: &Sink,
        settings: &DeliverySettings,
        shared: Arc<Shared>,
        transport: Box<dyn Transport>,
        cursor: Cursor,
    ) -> Self {
        let journal = settings.state.join(settings.journal);
        Self {
            sink: sink.clone(),
            shared,
            transport,
            cursor,
            tail: Tail::new(&journal),
            journal,
            version: settings.version.clone(),
            backoff: settings.backoff,
            next_number: settings.next_number,
            n_failures: 0,
            n_rejections: 0,
            n_narrow: 0,
            failing_since: None,
            failure_said: None,
            drops_said: None,
            is_save_failing: false,
        }
    }

    pub(crate) fn run(mut self) {
        self.recover();
        while let Some(batch) = self.shared.take(self.batch_max()) {
            // A panic costs a wait, and nothing of the queue.
            let delivered = catch_unwind(AssertUnwindSafe(|| self.deliver(&batch)));
            let goes_on = delivered.unwrap_or_else(|_| {
                self.shared.end(0, 0, 0, 0);
                self.fail("the delivery panicked", None)
            });
            self.keep();
            if !goes_on {
                break;
            }
        }
        self.keep();
        self.shared.note_end();
    }

    fn batch_max(&self) -> usize {
        match &self.sink.to {
            Endpoint::Webhook { .. } if self.n_narrow > 0 => 1,
            Endpoint::Webhook { .. } => self.sink.batch_max as usize,
            Endpoint::Syslog(_) | Endpoint::File(_) => BATCH_MAX,
        }
    }

    /// Queues what an earlier run left: everything after the place on the disk.
    fn recover(&mut self) {
        let from = self.cursor.record().position;
        if from >= self.next_number {
            return;
        }
        let mut left = Vec::new();
        let mut carried = Vec::new();
        let least = self.sink.priority;
        let scanned = self.tail.scan(from, self.next_number, &mut |number, glimpse: Glimpse| {
            let (outline, is_carried) = match glimpse {
                Glimpse::Raised { alert, carried } => (alert, carried),
                Glimpse::Repeated { repeats: Some(repeats) } => (repeats, false),
                Glimpse::Repeated { repeats: None } | Glimpse::Other => return,
            };
            if outline.priority >= least {
                let entry = Entry { what: What::Logged(number), time: outline.time };
                if is_carried { carried.push((number, entry)) } else { left.push((number, entry)) }
            }
        });
        match scanned {
            Ok(scan) => {
                if scan.n_unreadable > 0 {
                    self.shared.say(&format!(
                        "{} lines of the journal cannot be read; alerts in them are not sent",
                        scan.n_unreadable
                    ));
                }
                if let Some(first) = scan.first.filter(|first| *first > from) {
                    self.shared.say(&format!(
                        "the journal no longer has its records {from} to {}; alerts among them are not sent",
                        first - 1
                    ));
                    // Those that a later file repeats are not lost.
                    left.append(&mut carried);
                    left.sort_by_key(|(number, _)| *number);
                }
            }
            Err(error) => self.shared.say(&format!("what was left cannot be read: {error}")),
        }
        if !left.is_empty() {
            self.shared.restore(left.into_iter().map(|(_, entry)| entry).collect());
        }
    }

    /// Sends a batch; whether the sink goes on.
    fn deliver(&mut self, batch: &[Entry]) -> bool {
        let (messages, lost) = self.load(batch);
        let texts: Vec<Message> = messages.iter().map(|(_, message)| message.clone()).collect();
        let sent = if texts.is_empty() { Ok(()) } else { self.transport.send(&texts) };
        let lost_before = |end: usize| lost.iter().filter(|at| **at < end).count() as u64;
        match sent {
            Ok(()) => {
                self.shared.end(batch.len(), texts.len() as u64, 0, lost_before(batch.len()));
                self.succeed(texts.len());
                true
            }
            Err(Failed { n_sent, error }) => {
                let n_done = messages.get(n_sent).map_or(batch.len(), |(at, _)| *at);
                if error.is_rejection() {
                    return self.reject(&messages, n_sent, &lost, &error.chain());
                }
                self.shared.end(n_done, n_sent as u64, 0, lost_before(n_done));
                self.n_failures = if n_sent > 0 { 0 } else { self.n_failures };
                self.fail(&error.chain(), error.retry_after())
            }
        }
    }

    /// The documents of a batch with their places in it, and the places of those that are
    /// no longer to be had.
    fn load(&mut self, batch: &[Entry]) -> (Vec<(usize, Message)>, Vec<usize>) {
        let (mut messages, mut lost) = (Vec::new(), Vec::new());
        for (at, entry) in batch.iter().enumerate() {
            match &entry.what {
                What::Held(held) => messages.push((at, self.render(held.item()))),
                What::Logged(number) => match self.fetch(*number) {
                    Ok(Loaded::Alert(alert)) => {
                        messages.push((at, self.render(Item::Alert(&alert))));
                    }
                    Ok(Loaded::Repeats(repeats)) => {
                        messages.push((at, self.render(Item::Repeats(&repeats))));
                    }
                    Err(reason) => {
                        lost.push(at);
                        self.shared.say(&format!("record {number} is not sent: {reason}"));
                    }
                },
            }
        }
        (messages, lost)
    }

    fn fetch(&mut self, number: u64) -> Result<Loaded, String> {
        match self.tail.fetch::<AlertRecord>(number) {
            Ok(Found::Record(AlertRecord::Raised { alert, .. })) => Ok(Loaded::Alert(alert)),
            Ok(Found::Record(AlertRecord::Repeated { repeats: Some(repeats), .. })) => {
                Ok(Loaded::Repeats(repeats))
            }
            Ok(Found::Record(_)) => Err("it is no alert".into()),
            Ok(Found::Gone) => Err("the journal no longer has it".into()),
            Ok(Found::Damaged) => {
                Err(format!("its line in `{}` is damaged", self.journal.display()))
            }
            Err(error) => Err(palisade_base::render_chain(&error, None).trim().replace('\n', "; ")),
        }
    }

    fn render(&self, item: Item<'_>) -> Message {
        render::message(self.sink.resolved_format(), item, &self.version)
    }

    fn succeed(&mut self, n_sent: usize) {
        self.n_narrow = self.n_narrow.saturating_sub(n_sent);
        (self.n_failures, self.n_rejections) = (0, 0);
        if let Some(since) = self.failing_since.take()
            && self.failure_said.take().is_some()
        {
            let n_waiting = self.shared.status().n_queued;
            self.shared.say(&format!(
                "delivers again after {} s; {n_waiting} more wait",
                since.elapsed().as_secs()
            ));
        }
    }

    /// The receiver understood and refused. A batch is sent again one by one, to find the
    /// document that it means; that one is given up after some attempts.
    fn reject(
        &mut self,
        messages: &[(usize, Message)],
        n_sent: usize,
        lost: &[usize],
        reason: &str,
    ) -> bool {
        let lost_before = |end: usize| lost.iter().filter(|at| **at < end).count() as u64;
        let Some((at, message)) = messages.get(n_sent) else {
            self.shared.end(0, 0, 0, 0);
            return self.fail(reason, None);
        };
        let is_batch = self.sink.batch_max > 1 && messages.len() > 1 && self.n_narrow == 0;
        if is_batch {
            self.n_narrow = messages.len();
            self.shared.end(0, 0, 0, 0);
            return !self.shared.is_stopping();
        }
        self.n_rejections += 1;
        if self.n_rejections < REJECTIONS_MAX {
            self.shared.end(*at, n_sent as u64, 0, lost_before(*at));
            return self.fail(reason, None);
        }
        self.shared.say(&format!("{} is given up: {reason}", message.id));
        self.shared.end(at + 1, n_sent as u64, 1, lost_before(*at));
        self.succeed(1);
        true
    }

    /// Waits after a failure; whether the sink goes on.
    fn fail(&mut self, reason: &str, asked: Option<Duration>) -> bool {
        self.n_failures = self.n_failures.saturating_add(1);
        self.shared.note_failure(reason);
        self.failing_since.get_or_insert_with(Instant::now);
        if self.failure_said.is_none_or(|said| said.elapsed() >= SAY_FAILURE_INTERVAL) {
            self.failure_said = Some(Instant::now());
            self.shared.say(&format!("cannot deliver, alerts wait: {reason}"));
        }
        let random = getrandom::u32().unwrap_or(0);
        let end = Instant::now() + self.backoff.wait(self.n_failures, random, asked);
        loop {
            self.keep();
            let left = end.saturating_duration_since(Instant::now());
            if self.shared.wait(left.min(KEEP_INTERVAL)) {
                return false;
            }
            if left <= KEEP_INTERVAL {
                return true;
            }
        }
    }

    /// Writes the place, and says what was dropped.
    fn keep(&mut self) {
        match self.cursor.save(self.shared.record()) {
            Ok(()) => self.is_save_failing = false,
            Err(error) if !self.is_save_failing => {
                self.is_save_failing = true;
                self.shared.say(&format!(
                    "its place in the journal cannot be kept: {error}; after a restart alerts may be sent twice"
                ));
            }
            Err(_) => {}
        }
        if self.drops_said.is_none_or(|said| said.elapsed() >= SAY_DROPS_INTERVAL)
            || self.shared.is_stopping()
        {
            let (n_dropped, max) = self.shared.take_unsaid_drops();
            if n_dropped > 0 {
                self.drops_said = Some(Instant::now());
                self.shared.say(&format!(
                    "{n_dropped} alerts were dropped, the oldest first: its queue of {max} is full"
                ));
            }
        }
    }
}
