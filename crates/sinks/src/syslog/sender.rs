//! Syslog messages on their way: local socket, datagrams, stream, TLS.
//!
//! Syslog has no acknowledgement. On a stream, messages count as sent when the receiver's
//! kernel has acknowledged them and the connection is still whole afterwards; those of the
//! last delivery are sent again when the connection turns out to have broken since. A
//! receiver that drops what its kernel took, and datagrams that a network loses, cannot be
//! seen from here.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_policy::endpoint::{Host, SyslogTransport};
use rustix::net::RecvFlags;

use crate::error::{OpenError, SendError};
use crate::item::Message;
use crate::transport::{Failed, Transport};

use super::{cut, frame, message};

/// Longest datagram to a network: what receivers take by default.
pub(crate) const UDP_BYTES_MAX: usize = 8192;
/// Longest datagram to the local socket.
pub(crate) const UNIX_BYTES_MAX: usize = 65_536;
/// How long the last delivery is kept, to be sent again if its connection broke.
const RESEND_WITHIN: Duration = Duration::from_mins(2);
/// How often the kernel is asked whether everything has been acknowledged.
const ACKNOWLEDGED_INTERVAL: Duration = Duration::from_millis(2);

/// Sends syslog messages.
pub(crate) struct SyslogSender {
    to: SyslogTransport,
    facility: u8,
    timeout: Duration,
    tls: Option<Arc<rustls::ClientConfig>>,
    socket: Option<Socket>,
    /// The frames of the last delivery over a stream, and when that was.
    last: Option<(Vec<u8>, Instant)>,
}

impl std::fmt::Debug for SyslogSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyslogSender").field("to", &self.to).finish_non_exhaustive()
    }
}

enum Socket {
    Datagram(UnixDatagram),
    /// The local socket of daemons that listen on a stream: lines.
    Lines(UnixStream),
    Udp(UdpSocket),
    Stream(Box<Stream>),
}

impl SyslogSender {
    pub(crate) fn open(
        to: SyslogTransport,
        facility: u8,
        ca: &[PathBuf],
        timeout: Duration,
    ) -> Result<Self, OpenError> {
        let tls = match &to {
            SyslogTransport::Tls(_) => Some(palisade_http::tls::client(ca)?),
            _ => None,
        };
        Ok(Self { to, facility, timeout, tls, socket: None, last: None })
    }

    fn connect(&self) -> Result<Socket, SendError> {
        let failed = |to: String| move |source| SendError::Connect { to, source };
        match &self.to {
            SyslogTransport::Unix(path) => {
                local(path, self.timeout).map_err(failed(path.display().to_string()))
            }
            SyslogTransport::Udp(host) => {
                udp(host, self.timeout).map(Socket::Udp).map_err(failed(host.to_string()))
            }
            SyslogTransport::Tcp(host) | SyslogTransport::Tls(host) => {
                let tcp = tcp(host, self.timeout).map_err(failed(host.to_string()))?;
                let tls = match &self.tls {
                    Some(config) => {
                        let name = rustls_pki_types::ServerName::try_from(host.name.clone())
                            .map_err(|_| {
                                SendError::Tls(rustls::Error::General(
                                    "the host is no name that a certificate could have".into(),
                                ))
                            })?;
                        let session = rustls::ClientConnection::new(Arc::clone(config), name)
                            .map_err(SendError::Tls)?;
                        Some(session)
                    }
                    None => None,
                };
                Ok(Socket::Stream(Box::new(Stream { tcp, tls, timeout: self.timeout })))
            }
        }
    }

    /// The socket, connected; what a broken stream may have lost is sent again first.
    fn socket(&mut self) -> Result<&mut Socket, SendError> {
        if let Some(Socket::Stream(stream)) = &mut self.socket
            && !stream.is_whole()
        {
            self.socket = None;
        }
        if self.socket.is_none() {
            let mut socket = self.connect()?;
            if let Socket::Stream(stream) = &mut socket
                && let Some((frames, sent)) = &self.last
                && sent.elapsed() < RESEND_WITHIN
            {
                stream.deliver(frames)?;
            }
            self.socket = Some(socket);
        }
        self.socket
            .as_mut()
            .ok_or(SendError::Io { action: "connect", source: io::ErrorKind::NotConnected.into() })
    }

    fn deliver(&mut self, messages: &[Message]) -> Result<(), Failed> {
        let facility = self.facility;
        let texts = messages.iter().map(|m| message(m, facility, std::process::id()));
        match self.socket()? {
            Socket::Datagram(socket) => each(texts, "send to the local socket", |text| {
                socket.send(cut(text, UNIX_BYTES_MAX).as_bytes()).map(drop)
            }),
            Socket::Udp(socket) => each(texts, "send a datagram", |text| {
                socket.send(cut(text, UDP_BYTES_MAX).as_bytes()).map(drop)
            }),
            Socket::Lines(socket) => each(texts, "write to the local socket", |text| {
                socket.write_all(format!("{text}\n").as_bytes())
            }),
            Socket::Stream(stream) => {
                let mut frames = Vec::new();
                texts.for_each(|text| frame(&text, &mut frames));
                stream.deliver(&frames)?;
                self.last = Some((frames, Instant::now()));
                Ok(())
            }
        }
    }
}

impl Transport for SyslogSender {
    fn send(&mut self, messages: &[Message]) -> Result<(), Failed> {
        self.deliver(messages).inspect_err(|_| self.socket = None)
    }
}

fn each(
    texts: impl Iterator<Item = String>,
    action: &'static str,
    mut send: impl FnMut(&str) -> io::Result<()>,
) -> Result<(), Failed> {
    for (n_sent, text) in texts.enumerate() {
        send(&text).map_err(|source| Failed { n_sent, error: SendError::Io { action, source } })?;
    }
    Ok(())
}

fn local(path: &Path, timeout: Duration) -> io::Result<Socket> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(timeout))?;
    match socket.connect(path) {
        Ok(()) => Ok(Socket::Datagram(socket)),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
            let socket = UnixStream::connect(path)?;
            socket.set_write_timeout(Some(timeout))?;
            Ok(Socket::Lines(socket))
        }
        Err(error) => Err(error),
    }
}

fn addresses(host: &Host) -> io::Result<Vec<std::net::SocketAddr>> {
    let found: Vec<_> = (host.name.as_str(), host.port).to_socket_addrs()?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

fn udp(host: &Host, timeout: Duration) -> io::Result<UdpSocket> {
    let addresses = addresses(host)?;
    let any = if addresses[0].is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_write_timeout(Some(timeout))?;
    // Connected, so that a host that refuses is noticed at the next datagram.
    socket.connect(addresses[0])?;
    Ok(socket)
}

fn tcp(host: &Host, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses(host)? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_write_timeout(Some(timeout))?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A TCP connection, with or without TLS.
struct Stream {
    tcp: TcpStream,
    tls: Option<rustls::ClientConnection>,
    timeout: Duration,
}

/// What there is to read, without waiting.
enum Waiting {
    Nothing,
    Data,
    End,
}

impl Stream {
    /// Writes `bytes`, and returns when the receiver's kernel has acknowledged them.
    fn deliver(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let failed = |action| move |source| SendError::Io { action, source };
        let end = Instant::now() + self.timeout;
        match &mut self.tls {
            Some(session) => {
                let mut stream = rustls::Stream::new(session, &mut self.tcp);
                stream
                    .write_all(bytes)
                    .and_then(|()| stream.flush())
                    .map_err(|error| tls_error(error, "write over TLS"))?;
            }
            None => self.tcp.write_all(bytes).map_err(failed("write"))?,
        }
        loop {
            if !self.is_whole() {
                let source = io::ErrorKind::ConnectionReset.into();
                return Err(SendError::Io { action: "the receiver hung up", source });
            }
            let n_left = palisade_sys::socket::unacknowledged_bytes(&self.tcp)
                .map_err(failed("ask whether all has arrived"))?;
            if n_left == 0 {
                return Ok(());
            }
            if Instant::now() >= end {
                let source = io::ErrorKind::TimedOut.into();
                return Err(SendError::Io { action: "wait for the receiver", source });
            }
            std::thread::sleep(ACKNOWLEDGED_INTERVAL);
        }
    }

    /// Whether the receiver still holds its end of the connection.
    fn is_whole(&mut self) -> bool {
        match (self.waiting(), &mut self.tls) {
            (Waiting::Nothing, _) => true,
            (Waiting::End, _) => false,
            // What a receiver of syslog says means nothing; over TLS it may be its goodbye.
            (Waiting::Data, Some(session)) => match session.read_tls(&mut self.tcp) {
                Ok(n) => {
                    n > 0
                        && session.process_new_packets().is_ok_and(|state| !state.peer_has_closed())
                }
                Err(_) => false,
            },
            (Waiting::Data, None) => matches!(self.tcp.read(&mut [0; 512]), Ok(n) if n > 0),
        }
    }

    fn waiting(&self) -> Waiting {
        let mut byte = [0_u8; 1];
        match rustix::net::recv(&self.tcp, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Waiting::End,
            Ok(_) => Waiting::Data,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Waiting::Nothing,
            Err(_) => Waiting::End,
        }
    }
}

/// An error of rustls that arrived as one of the stream.
fn tls_error(error: io::Error, action: &'static str) -> SendError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => SendError::Tls(inner.clone()),
        None => SendError::Io { action, source: error },
    }
}
