//! The other end of the control socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_base::Explain;

use super::protocol::{Request, Response, parse_response, request_line};
use super::{ANSWER_BYTES_MAX, SOCKET_FILE};

/// How long an answer is waited for, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a running agent could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent runs.
    #[error("no `watch` is running with the run folder `{}`", folder.display())]
    NotRunning {
        /// The run folder.
        folder: PathBuf,
    },
    /// It may not be spoken to.
    #[error("connect to `{}`", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It does not answer.
    #[error("speak with the running `watch`")]
    Speak(#[source] io::Error),
    /// What it says cannot be understood.
    #[error("the running `watch` says something that cannot be understood: {0}")]
    Answer(String),
    /// It refuses.
    #[error("the running `watch` refuses: {0}")]
    Refused(String),
}

impl Explain for ClientError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning { .. } => Some("start `palisade watch`, or name its --run-dir".into()),
            Self::Connect { .. } => Some("only root may; run this as root".into()),
            Self::Speak(error) if is_late(error) => {
                Some("it is busy or hangs; see what it does, and try again".into())
            }
            Self::Answer(_) => Some("use the version of palisade that runs".into()),
            Self::Speak(_) | Self::Refused(_) => None,
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A connection to a running agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Client {
    /// Connects to the agent whose run folder is `folder`.
    pub fn connect(folder: &Path) -> Result<Self, ClientError> {
        let path = folder.join(SOCKET_FILE);
        let stream = UnixStream::connect(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { folder: folder.to_path_buf() }
            }
            _ => ClientError::Connect { path, source },
        })?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(ClientError::Speak)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(ClientError::Speak)?;
        Ok(Self { stream: BufReader::new(stream), line: Vec::new() })
    }

    /// How long an answer is waited for.
    pub fn set_patience(&self, patience: Duration) -> Result<(), ClientError> {
        self.stream.get_ref().set_read_timeout(Some(patience)).map_err(ClientError::Speak)
    }

    /// Sends a request without waiting for its answer.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        self.stream.get_mut().write_all(&request_line(request)).map_err(ClientError::Speak)
    }

    /// The next answer; `None` when none came within the patience and `may_wait` says that this
    /// is no failure. What has come of a line so far is kept.
    pub fn next(&mut self, may_wait: bool) -> Result<Option<Response>, ClientError> {
        let left = (ANSWER_BYTES_MAX + 1).saturating_sub(self.line.len());
        match (&mut self.stream).take(left as u64).read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.last() == Some(&b'\n') => {}
            Ok(_) if self.line.len() > ANSWER_BYTES_MAX => {
                return Err(ClientError::Answer("a line without end".into()));
            }
            Ok(_) => return Err(ClientError::Speak(io::ErrorKind::UnexpectedEof.into())),
            Err(error) if may_wait && is_late(&error) => return Ok(None),
            Err(error) => return Err(ClientError::Speak(error)),
        }
        let line = std::mem::take(&mut self.line);
        match parse_response(&line).map_err(ClientError::Answer)? {
            Response::Error { message } => Err(ClientError::Refused(message)),
            response => Ok(Some(response)),
        }
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.send(request)?;
        self.next(false)?.ok_or_else(|| ClientError::Speak(io::ErrorKind::UnexpectedEof.into()))
    }
}
