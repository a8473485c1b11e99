//! Conversations with a server that may be hostile: every byte is counted, every wait ends.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Bytes of one answer that are read.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Who makes connections. The command connects within the container's network namespace.
pub trait Dial {
    /// Connects, or gives up after `deadline`.
    fn dial(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream>;
}

/// Connects from where this process is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Here;

impl Dial for Here {
    fn dial(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&to, deadline)
    }
}

/// Where a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and port.
    pub to: SocketAddr,
    /// Whether it is spoken to within TLS.
    pub is_tls: bool,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was whole.
    Whole,
    /// The server closed the connection.
    Closed,
    /// The connection was reset, or broke off.
    Reset,
    /// Nothing more came in time.
    Deadline,
    /// There was more than is read.
    Full,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: End,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection with an end in time.
pub struct Wire {
    stream: Stream,
    to: SocketAddr,
    end: Instant,
}

impl Wire {
    /// Connects to `endpoint`; everything on the connection ends after `deadline`.
    pub fn open(dial: &dyn Dial, endpoint: Endpoint, deadline: Duration) -> io::Result<Self> {
        let end = Instant::now() + deadline;
        let stream = dial.dial(endpoint.to, deadline)?;
        stream.set_nodelay(true)?;
        let wire = Self { stream: Stream::Plain(stream), to: endpoint.to, end };
        if endpoint.is_tls { wire.into_tls() } else { Ok(wire) }
    }

    /// Goes on within TLS. Who the server is does not matter here: it is told apart elsewhere.
    pub(crate) fn into_tls(self) -> io::Result<Self> {
        self.into_tls_with(config(Arc::default())?)
    }

    fn into_tls_with(self, config: Arc<ClientConfig>) -> io::Result<Self> {
        let Stream::Plain(stream) = self.stream else { return Ok(self) };
        let mut connection = ClientConnection::new(config, ServerName::from(self.to.ip()))
            .map_err(io::Error::other)?;
        let mut stream = stream;
        while connection.is_handshaking() {
            limit(&stream, self.end)?;
            if connection.complete_io(&mut stream)? == (0, 0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let stream = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(Self { stream, to: self.to, end: self.end })
    }

    /// The certificates that the server showed, its own first.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => Vec::new(),
            Stream::Tls(stream) => stream
                .conn
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// Sends all of `bytes`. A server may answer and close before it has read them: that is
    /// its right, so what it said is worth reading even after an error.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(16 * 1024) {
            limit(self.socket(), self.end)?;
            match &mut self.stream {
                Stream::Plain(stream) => stream.write_all(part)?,
                Stream::Tls(stream) => stream.write_all(part).and_then(|()| stream.flush())?,
            }
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        if let Stream::Plain(stream) = &self.stream {
            let _closed = stream.shutdown(Shutdown::Write);
        }
    }

    /// Reads until `is_whole`, the connection's end, or the earlier of `patience` and the
    /// connection's deadline; at most `n_max` bytes.
    pub fn receive(
        &mut self,
        n_max: usize,
        patience: Duration,
        mut is_whole: impl FnMut(&[u8]) -> bool,
    ) -> Answer {
        let end = self.end.min(Instant::now() + patience);
        let mut bytes = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            if bytes.len() >= n_max {
                bytes.truncate(n_max);
                return Answer { bytes, end: End::Full };
            }
            if limit(self.socket(), end).is_err() {
                return Answer { bytes, end: End::Deadline };
            }
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut buffer),
                Stream::Tls(stream) => stream.read(&mut buffer),
            };
            let end = match read {
                Ok(0) => End::Closed,
                Ok(n) => {
                    bytes.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    if !is_whole(&bytes) {
                        continue;
                    }
                    End::Whole
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => End::Deadline,
                    // TLS peers often close without saying so.
                    io::ErrorKind::UnexpectedEof => End::Closed,
                    _ => End::Reset,
                },
            };
            return Answer { bytes, end };
        }
    }
}

/// Lets the next read and write wait until `end` at the longest.
fn limit(socket: &TcpStream, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.set_read_timeout(Some(left))?;
    socket.set_write_timeout(Some(left))
}

/// One question and its answer, on a connection of their own.
pub fn ask(
    dial: &dyn Dial,
    endpoint: Endpoint,
    deadline: Duration,
    question: &[u8],
    is_whole: impl FnMut(&[u8]) -> bool,
) -> io::Result<Answer> {
    let mut wire = Wire::open(dial, endpoint, deadline)?;
    let sent = wire.send(question);
    let answer = wire.receive(ANSWER_BYTES_MAX, deadline, is_whole);
    match sent {
        Err(error) if answer.bytes.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// Whether a server of TLS wants to see a client's certificate. `false` also where no handshake
/// comes about.
pub(crate) fn asks_for_certificate(
    dial: &dyn Dial,
    endpoint: Endpoint,
    deadline: Duration,
) -> bool {
    let asked = Arc::new(Asked::default());
    let plain = Endpoint { is_tls: false, ..endpoint };
    // TLS 1.2 refuses who shows none within the handshake, TLS 1.3 after it.
    let _whatever_becomes_of_it = Wire::open(dial, plain, deadline)
        .and_then(|wire| wire.into_tls_with(config(Arc::clone(&asked))?));
    asked.0.load(Ordering::Relaxed)
}

/// Has no certificate, and notes that one was asked for.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        // Without any, the question is not passed on.
        true
    }
}

fn config(asked: Arc<Asked>) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Anybody(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(asked);
    Ok(Arc::new(config))
}

/// Takes every certificate: what is wrong with it is a finding, and no reason to go away.
/// Nothing secret is ever sent to the server.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
