//! The transports behind one interface.

use std::fmt::Debug;
use std::time::Duration;

use palisade_policy::{Endpoint, Sink};

use crate::error::{OpenError, SendError};
use crate::file::FileSender;
use crate::item::Message;
use crate::syslog::SyslogSender;
use crate::webhook::Webhook;

/// Sends messages. A transport blocks its caller until its deadline at most.
pub trait Transport: Send + Debug {
    /// Sends `messages` in order. When it returns, those that count as sent have been taken
    /// by the receiver as far as the transport can know.
    fn send(&mut self, messages: &[Message]) -> Result<(), Failed>;
}

/// A delivery that did not complete.
#[derive(Debug)]
pub struct Failed {
    /// Messages, from the first, that the receiver has taken.
    pub n_sent: usize,
    /// What happened to the next one.
    pub error: SendError,
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self { n_sent: 0, error }
    }
}

/// Opens the transport of `sink`. The receiver is not contacted: that it is down now is no
/// reason not to start.
pub fn open(sink: &Sink, version: &str) -> Result<Box<dyn Transport>, OpenError> {
    let timeout = Duration::from_secs(u64::from(sink.timeout_seconds));
    Ok(match &sink.to {
        Endpoint::Webhook { url, is_tls } => {
            Box::new(Webhook::open(sink, url, *is_tls, timeout, version)?)
        }
        Endpoint::Syslog(to) => {
            Box::new(SyslogSender::open(to.clone(), sink.facility, &sink.ca, timeout)?)
        }
        Endpoint::File(path) => {
            Box::new(FileSender::new(path.clone(), sink.rotate_bytes, sink.n_kept))
        }
    })
}
