//! The thread that reads, checks and loads.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_base::{Timestamp, render_chain};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::files::FileWatch;
use super::{Cause, PROBLEMS_MAX, Prepared, Read, Ready, ReloadReport};
use crate::detector::{DetectorLoader, RuleChange};

/// Files that are written one after the other are read once they have been still for so long.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// Files that never rest are read after so long all the same.
const DEBOUNCE_MAX: Duration = Duration::from_secs(2);
/// Requests that wait for the thread; more of them are one with those.
const TRIGGERS_MAX: usize = 64;

/// Asks for reloads, from any thread.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Mailbox>);

#[derive(Debug)]
struct Mailbox {
    inner: Mutex<Mail>,
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct Mail {
    causes: Vec<Cause>,
    waiting: Vec<SyncSender<ReloadReport>>,
    is_over: bool,
}

impl Handle {
    /// Asks for a reload; `waiting` is sent what came of it.
    pub fn ask(&self, cause: Cause, waiting: Option<SyncSender<ReloadReport>>) {
        {
            let mut mail = self.0.inner.lock().unwrap_or_else(PoisonError::into_inner);
            if mail.causes.len() < TRIGGERS_MAX && !mail.causes.contains(&cause) {
                mail.causes.push(cause);
            }
            // One who is dropped sees the other end of its channel close.
            if mail.waiting.len() < TRIGGERS_MAX {
                mail.waiting.extend(waiting);
            }
        }
        self.ring();
    }

    fn ring(&self) {
        // Full means that it rings already.
        let _ringing = rustix::io::write(&self.0.bell, &1_u64.to_ne_bytes());
    }
}

/// The thread, as the event thread sees it.
#[derive(Debug)]
pub struct Reloader {
    handle: Handle,
    prepared: Receiver<Prepared>,
    thread: Option<JoinHandle<()>>,
}

impl Reloader {
    /// Starts the thread. `read` reads everything anew; `loader` loads handlers for the rules,
    /// where there are probes; `watch` tells when files change.
    pub fn start(
        read: Read,
        loader: Option<DetectorLoader>,
        version: &str,
        watch: Option<FileWatch>,
    ) -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let handle = Handle(Arc::new(Mailbox { inner: Mutex::default(), bell }));
        // One is enough: while it waits, further causes are collected.
        let (sender, prepared) = sync_channel(1);
        let work = Work {
            mailbox: Arc::clone(&handle.0),
            read,
            loader,
            version: version.to_string(),
            watch,
            sender,
        };
        let thread = std::thread::Builder::new().name("reload".into()).spawn(|| work.run())?;
        Ok(Self { handle, prepared, thread: Some(thread) })
    }

    /// What asks for reloads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What is ready to be exchanged, without waiting.
    pub(crate) fn take(&self) -> Option<Prepared> {
        self.prepared.try_recv().ok()
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.handle.0.inner.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.handle.ring();
        // A reload that is being prepared is of no use any more, and its thread ends with it.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ended = thread.join();
        }
    }
}

struct Work {
    mailbox: Arc<Mailbox>,
    read: Read,
    loader: Option<DetectorLoader>,
    version: String,
    watch: Option<FileWatch>,
    sender: SyncSender<Prepared>,
}

impl Work {
    fn run(mut self) {
        loop {
            let changed = self.wait();
            let mail = {
                let mut mail = self.mailbox.inner.lock().unwrap_or_else(PoisonError::into_inner);
                if mail.is_over {
                    return;
                }
                std::mem::take(&mut *mail)
            };
            let mut causes = mail.causes;
            if !changed.is_empty() {
                causes.push(Cause::Files { files: changed });
            }
            if causes.is_empty() {
                continue;
            }
            let begun = Timestamp::now();
            let prepared =
                Prepared { causes, begun, outcome: self.prepare(), waiting: mail.waiting };
            if !self.hand_over(prepared) {
                return;
            }
        }
    }

    /// Waits for a request or for files that have changed and come to rest; returns the files.
    fn wait(&mut self) -> Vec<std::path::PathBuf> {
        // Since when files change, and when they did last.
        let mut restless: Option<(Instant, Instant)> = None;
        loop {
            let timeout = restless.map(|(first, last)| {
                (last + DEBOUNCE)
                    .min(first + DEBOUNCE_MAX)
                    .saturating_duration_since(Instant::now())
            });
            let (is_asked, is_changed) = self.poll(timeout);
            if is_changed && self.watch.as_mut().is_some_and(FileWatch::take_events) {
                let now = Instant::now();
                restless = Some((restless.map_or(now, |(first, _)| first), now));
            }
            if is_asked {
                // What is asked for reads the files as well.
                return Vec::new();
            }
            let is_over = restless.is_some_and(|(first, last)| {
                last.elapsed() >= DEBOUNCE || first.elapsed() >= DEBOUNCE_MAX
            });
            if is_over {
                restless = None;
                let changed = self.watch.as_ref().map(FileWatch::changed).unwrap_or_default();
                if !changed.is_empty() {
                    return changed;
                }
            }
        }
    }

    fn poll(&self, timeout: Option<Duration>) -> (bool, bool) {
        let mut fds = vec![PollFd::new(&self.mailbox.bell, PollFlags::IN)];
        if let Some(watch) = &self.watch {
            fds.push(PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN));
        }
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return (false, false);
        }
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (is_asked, is_changed) = (is_ready(0), is_ready(1));
        if is_asked {
            let _number = rustix::io::read(&self.mailbox.bell, &mut [0_u8; 8]);
        }
        (is_asked, is_changed)
    }

    fn prepare(&mut self) -> Result<Box<Ready>, Vec<String>> {
        // Before reading: what changes afterwards is a change.
        if let Some(watch) = &mut self.watch {
            watch.remember();
        }
        let loaded = (self.read)().map_err(|mut problems| {
            if problems.len() > PROBLEMS_MAX {
                let n_more = problems.len() - PROBLEMS_MAX + 1;
                problems.truncate(PROBLEMS_MAX - 1);
                problems.push(format!("{n_more} more problems"));
            }
            problems
        })?;
        let chain = |error: &(dyn std::error::Error + 'static)| {
            render_chain(error, None).trim().trim_start_matches("error: ").replace('\n', "; ")
        };
        let mut problems = Vec::new();
        let mut sinks = Vec::new();
        for sink in loaded.sinks {
            match palisade_sinks::open(&sink, &self.version) {
                Ok(transport) => sinks.push((sink, transport)),
                Err(error) => problems.push(format!("sink `{}`: {}", sink.name, chain(&error))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let change = match &self.loader {
            Some(loader) => loader.prepare(loaded.rules).map_err(|error| vec![chain(&error)])?,
            None => RuleChange::of_rules(loaded.rules),
        };
        let change = change.with_enforce(loaded.policy.enforce.clone());
        // What is named now is watched; what was named before is of no concern any more.
        if let Some(watch) = &mut self.watch {
            watch.follow(&loaded.files);
        }
        let (policy, playbooks) = (loaded.policy, loaded.playbooks);
        Ok(Box::new(Ready { change, policy, sinks, playbooks }))
    }

    /// Waits for the event thread to take it; false when that has ended.
    fn hand_over(&self, mut prepared: Prepared) -> bool {
        loop {
            match self.sender.try_send(prepared) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => prepared = back,
            }
            if self.mailbox.inner.lock().unwrap_or_else(PoisonError::into_inner).is_over {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
