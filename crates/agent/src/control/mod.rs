//! The control socket of a running agent.
//!
//! A thread of its own speaks with clients: it accepts, reads requests, writes answers, and asks
//! the event thread for what only that one knows. The event thread answers between two events and
//! never waits: what it hands over goes into bounded channels, and what does not fit is counted.
//!
//! Only root, and the user that the agent runs as, is heard: the socket belongs to it alone
//! (0600), and the credentials of each peer are looked at besides.

pub mod client;
pub mod protocol;
mod server;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use palisade_model::Alert;

pub use client::{Client, ClientError};
pub use server::{
    ANSWER_BYTES_MAX, CLIENTS_MAX, ControlError, ControlServer, REQUEST_BYTES_MAX, SOCKET_FILE,
};

use self::protocol::{Request, Response, Sample};

/// Requests that wait for the event thread.
pub const ASKS_MAX: usize = 64;
/// Alerts and events on their way to subscribers.
pub const FEED_MAX: usize = 4096;

/// A request that the event thread is to answer.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) client: u64,
    pub(crate) request: Request,
}

/// What the event thread tells the control thread.
#[derive(Debug)]
pub(crate) enum News {
    /// An answer to one client.
    Answer { client: u64, response: Response },
    /// An alert, for all who want alerts.
    Alert { alert: Box<Alert>, incident: String },
    /// An event, for all who want events.
    Event(Sample),
}

/// What both threads look at.
#[derive(Debug)]
pub(crate) struct Shared {
    n_alert_subscribers: AtomicUsize,
    n_event_subscribers: AtomicUsize,
    /// Alerts and events that did not fit into the channel.
    n_dropped: AtomicU64,
    bell: OwnedFd,
}

/// The event thread's end.
#[derive(Debug)]
pub struct ControlDesk {
    asks: Receiver<Ask>,
    news: SyncSender<News>,
    shared: Arc<Shared>,
}

impl ControlDesk {
    /// A request, if one waits.
    pub(crate) fn take(&self) -> Option<Ask> {
        self.asks.try_recv().ok()
    }

    pub(crate) fn answer(&self, client: u64, response: Response) {
        self.send(News::Answer { client, response });
    }

    pub(crate) fn wants_events(&self) -> bool {
        self.shared.n_event_subscribers.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn offer_alert(&self, alert: &Alert, incident: &str) {
        if self.shared.n_alert_subscribers.load(Ordering::Relaxed) > 0 {
            let alert = Box::new(alert.clone());
            self.send(News::Alert { alert, incident: incident.to_string() });
        }
    }

    pub(crate) fn offer_event(&self, sample: Sample) {
        self.send(News::Event(sample));
    }

    fn send(&self, news: News) {
        match self.news.try_send(news) {
            Ok(()) => {}
            // A client that is not answered is told so by the end of its patience.
            Err(TrySendError::Full(_)) => {
                self.shared.n_dropped.fetch_add(1, Ordering::Relaxed);
            }
            Err(TrySendError::Disconnected(_)) => return,
        }
        let _ringing = rustix::io::write(&self.shared.bell, &1_u64.to_ne_bytes());
    }
}
