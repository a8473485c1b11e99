//! The thread that speaks with clients.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_base::Explain;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::protocol::{Request, Response, TopProcess, parse_request, response_line};
use super::{ASKS_MAX, Ask, ControlDesk, FEED_MAX, News, Shared};
use crate::reload::{Cause, Handle, ReloadReport};

/// Name of the socket in the run folder.
pub const SOCKET_FILE: &str = "watch.sock";
/// Clients at a time; one more is told so and sent away.
pub const CLIENTS_MAX: usize = 16;
/// Bytes of one request.
pub const REQUEST_BYTES_MAX: usize = 4096;
/// Bytes that wait for one client; what a subscriber is too slow for beyond that is dropped and
/// counted, and a client that does not take its answer is sent away.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Bytes for subscribers that wait for one client.
const FEED_BYTES_MAX: usize = 1 << 20;
/// Requests of one client that are not answered yet.
const PENDING_MAX: u32 = 4;
/// A client that says nothing and wants nothing for so long is sent away.
const IDLE_MAX: Duration = Duration::from_mins(2);
/// How long one wait lasts at most.
const TICK: Duration = Duration::from_millis(500);
/// How long a reload may be waited for.
const RELOAD_TICK: Duration = Duration::from_millis(20);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another agent listens there.
    #[error("another `watch` listens at `{}`", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// What is there is no socket.
    #[error("`{}` is there and no socket", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("make control socket `{}`", path.display())]
    Make {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Explain for ControlError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InUse { .. } => "stop it, or choose another --run-dir".into(),
            Self::NoSocket { .. } => "remove it, or choose another --run-dir".into(),
            Self::Make { .. } => "choose a --run-dir that may be written".into(),
        })
    }
}

/// The control socket; it goes with this value.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Listens at [`SOCKET_FILE`] in `folder`. Reloads are asked of `reloads`, where there are
    /// any. A socket that nobody listens at any more is replaced.
    pub fn start(
        folder: &Path,
        reloads: Option<Handle>,
    ) -> Result<(Self, ControlDesk), ControlError> {
        let path = folder.join(SOCKET_FILE);
        let make = |source: io::Error| ControlError::Make { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(folder).map_err(make)?;
        clear(&path)?;
        let listener = bind(&path).map_err(make)?;
        listener.set_nonblocking(true).map_err(make)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| make(error.into()))?;
        let (asks, taken) = sync_channel(ASKS_MAX);
        let (news, told) = sync_channel(FEED_MAX);
        let shared = Arc::new(Shared {
            n_alert_subscribers: AtomicUsize::new(0),
            n_event_subscribers: AtomicUsize::new(0),
            n_dropped: AtomicU64::new(0),
            bell,
        });
        let stop = Arc::new(AtomicBool::new(false));
        let server = Server {
            listener,
            asks,
            told,
            shared: Arc::clone(&shared),
            reloads,
            stop: Arc::clone(&stop),
            clients: BTreeMap::new(),
            n_clients: 0,
            reports: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || server.run())
            .map_err(make)?;
        let desk = ControlDesk { asks: taken, news, shared: Arc::clone(&shared) };
        Ok((Self { path, stop, shared, thread: Some(thread) }, desk))
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ringing = rustix::io::write(&self.shared.bell, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// Makes the socket under another name first, so that it never stands open to others.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let _left = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Makes way: a socket that nobody listens at is of no use.
fn clear(path: &Path) -> Result<(), ControlError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ControlError::NoSocket { path: path.to_path_buf() });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ControlError::InUse { path: path.to_path_buf() }),
        Err(_) => Ok(()),
    }
}

struct Server {
    listener: UnixListener,
    asks: SyncSender<Ask>,
    told: Receiver<News>,
    shared: Arc<Shared>,
    reloads: Option<Handle>,
    stop: Arc<AtomicBool>,
    clients: BTreeMap<u64, Peer>,
    n_clients: u64,
    /// Reloads that clients wait for.
    reports: Vec<(u64, Receiver<ReloadReport>)>,
}

struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
    alerts: bool,
    events: bool,
    n_pending: u32,
    n_dropped: u64,
    heard: Instant,
    is_over: bool,
}

impl Server {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let ready = self.wait();
            if ready.contains(&None) {
                self.accept();
            }
            for client in ready.into_iter().flatten() {
                self.read(client);
            }
            self.take_news();
            self.take_reports();
            self.write();
            self.clear_away();
        }
    }

    /// Waits for clients (`None` is a new one) or the bell.
    fn wait(&mut self) -> Vec<Option<u64>> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.shared.bell.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
        ];
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        for peer in self.clients.values() {
            let mut flags = PollFlags::empty();
            if peer.n_pending < PENDING_MAX {
                flags |= PollFlags::IN;
            }
            if !peer.output.is_empty() {
                flags |= PollFlags::OUT;
            }
            fds.push(PollFd::from_borrowed_fd(peer.stream.as_fd(), flags));
        }
        let tick = if self.reports.is_empty() { TICK } else { RELOAD_TICK };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(tick.subsec_nanos()) };
        if poll(&mut fds, Some(&timeout)).is_err() {
            return Vec::new();
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) {
            let _number = rustix::io::read(&self.shared.bell, &mut [0_u8; 8]);
        }
        let mut found = Vec::new();
        if ready.next() == Some(true) {
            found.push(None);
        }
        found
            .extend(ids.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(id, _)| Some(id)));
        found
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut peer = Peer {
                stream,
                input: Vec::new(),
                output: VecDeque::new(),
                alerts: false,
                events: false,
                n_pending: 0,
                n_dropped: 0,
                heard: Instant::now(),
                is_over: false,
            };
            let refusal = if !peer.is_allowed() {
                Some("only root is heard here".to_string())
            } else if self.clients.len() >= CLIENTS_MAX {
                Some(format!("{CLIENTS_MAX} clients are connected already; try again later"))
            } else {
                None
            };
            if let Some(message) = refusal {
                // It fits into the socket's own buffer; who does not read it misses nothing.
                let _told = peer.stream.write(&response_line(&Response::Error { message }));
                continue;
            }
            self.n_clients += 1;
            self.clients.insert(self.n_clients, peer);
        }
    }

    fn read(&mut self, client: u64) {
        let Some(peer) = self.clients.get_mut(&client) else { return };
        let mut bytes = [0; 4096];
        match peer.stream.read(&mut bytes) {
            Ok(0) => peer.is_over = true,
            Ok(n) => {
                peer.heard = Instant::now();
                peer.input.extend_from_slice(bytes.get(..n).unwrap_or_default());
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => peer.is_over = true,
        }
        self.take_requests(client);
    }

    /// Takes whole requests out of what a client has said.
    fn take_requests(&mut self, client: u64) {
        loop {
            let Some(peer) = self.clients.get_mut(&client) else { return };
            if peer.n_pending >= PENDING_MAX {
                return;
            }
            let Some(end) = peer.input.iter().position(|byte| *byte == b'\n') else {
                if peer.input.len() > REQUEST_BYTES_MAX {
                    let message = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
                    peer.answer(&Response::Error { message });
                    peer.input.clear();
                    peer.is_over = true;
                }
                return;
            };
            let line: Vec<u8> = peer.input.drain(..=end).collect();
            let request = if line.len() > REQUEST_BYTES_MAX {
                Err(format!("a request has at most {REQUEST_BYTES_MAX} bytes"))
            } else {
                parse_request(&line)
            };
            match request {
                Ok(request) => self.ask(client, request),
                Err(message) => peer.answer(&Response::Error { message }),
            }
        }
    }

    fn ask(&mut self, client: u64, request: Request) {
        let Some(peer) = self.clients.get_mut(&client) else { return };
        match request {
            Request::Subscribe { alerts, events } => {
                (peer.alerts, peer.events) = (alerts, events);
                peer.answer(&Response::Subscribed);
                self.count_subscribers();
            }
            Request::Reload => {
                let Some(reloads) = &self.reloads else {
                    let message = "nothing can be reloaded here".into();
                    return peer.answer(&Response::Error { message });
                };
                let (sender, report) = sync_channel(1);
                reloads.ask(Cause::Request, Some(sender));
                peer.n_pending += 1;
                self.reports.push((client, report));
            }
            request @ (Request::Status
            | Request::Top { .. }
            | Request::Incident { .. }
            | Request::Orders
            | Request::Answer { .. }) => {
                peer.n_pending += 1;
                if self.asks.try_send(Ask { client, request }).is_err() {
                    peer.n_pending -= 1;
                    let message = "too many requests wait; try again later".into();
                    peer.answer(&Response::Error { message });
                }
            }
        }
    }

    fn count_subscribers(&self) {
        let count = |wants: fn(&Peer) -> bool| self.clients.values().filter(|p| wants(p)).count();
        let shared = &self.shared;
        shared.n_alert_subscribers.store(count(|peer| peer.alerts), Ordering::Relaxed);
        shared.n_event_subscribers.store(count(|peer| peer.events), Ordering::Relaxed);
    }

    fn take_news(&mut self) {
        let n_dropped = self.shared.n_dropped.swap(0, Ordering::Relaxed);
        for peer in self.clients.values_mut().filter(|peer| peer.alerts || peer.events) {
            peer.n_dropped += n_dropped;
        }
        // As many as the channel holds: more may come meanwhile, and clients are to be served.
        for _ in 0..FEED_MAX {
            let Ok(news) = self.told.try_recv() else { return };
            match news {
                News::Answer { client, mut response } => {
                    if let Response::Top { top } = &mut response {
                        read_cpu_times(&mut top.processes);
                    }
                    self.answer(client, &response);
                }
                News::Alert { alert, incident } => {
                    let response = Response::Alert { alert, incident };
                    self.tell(&response, |peer| peer.alerts);
                }
                News::Event(event) => self.tell(&Response::Event { event }, |peer| peer.events),
            }
        }
    }

    fn answer(&mut self, client: u64, response: &Response) {
        if let Some(peer) = self.clients.get_mut(&client) {
            peer.n_pending = peer.n_pending.saturating_sub(1);
            peer.answer(response);
            self.take_requests(client);
        }
    }

    fn tell(&mut self, response: &Response, wants: impl Fn(&Peer) -> bool) {
        let line = response_line(response);
        for peer in self.clients.values_mut().filter(|peer| wants(peer)) {
            if peer.output.len() + line.len() > FEED_BYTES_MAX {
                peer.n_dropped += 1;
                continue;
            }
            if peer.n_dropped > 0 {
                let n_dropped = std::mem::take(&mut peer.n_dropped);
                peer.answer(&Response::Dropped { n_dropped });
            }
            peer.output.extend(&line);
        }
    }

    fn take_reports(&mut self) {
        for (client, report) in std::mem::take(&mut self.reports) {
            use std::sync::mpsc::TryRecvError;
            match report.try_recv() {
                Ok(report) => self.answer(client, &Response::Reload { reload: Box::new(report) }),
                Err(TryRecvError::Empty) => self.reports.push((client, report)),
                Err(TryRecvError::Disconnected) => {
                    let message = "the reload was given up".into();
                    self.answer(client, &Response::Error { message });
                }
            }
        }
    }

    fn write(&mut self) {
        for peer in self.clients.values_mut() {
            peer.write();
        }
    }

    fn clear_away(&mut self) {
        let before = self.clients.len();
        self.clients.retain(|_, peer| {
            let is_idle = peer.n_pending == 0 && !peer.alerts && !peer.events;
            let is_silent = is_idle && peer.heard.elapsed() > IDLE_MAX;
            !(is_silent || peer.is_over && (peer.output.is_empty() || peer.is_broken()))
        });
        if self.clients.len() != before {
            let clients = &self.clients;
            self.reports.retain(|(client, _)| clients.contains_key(client));
            self.count_subscribers();
        }
    }
}

impl Peer {
    /// Whether the other end is root or who we are (`SO_PEERCRED`, unix(7)).
    fn is_allowed(&self) -> bool {
        rustix::net::sockopt::socket_peercred(&self.stream)
            .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
    }

    fn answer(&mut self, response: &Response) {
        let line = response_line(response);
        if self.output.len() + line.len() > ANSWER_BYTES_MAX {
            // It does not read what it asked for.
            self.output.clear();
            self.is_over = true;
            return;
        }
        self.output.extend(line);
    }

    fn write(&mut self) {
        while !self.output.is_empty() {
            let written = self.stream.write(self.output.as_slices().0);
            match written {
                Ok(0) => break,
                Ok(n) => {
                    self.heard = Instant::now();
                    drop(self.output.drain(..n));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.output.clear();
                    self.is_over = true;
                }
            }
        }
    }

    /// One that has said its last word and does not take the answer.
    fn is_broken(&self) -> bool {
        self.heard.elapsed() > IDLE_MAX
    }
}

/// Processor times of processes (`utime` and `stime` of proc_pid_stat(5)).
fn read_cpu_times(processes: &mut [TopProcess]) {
    /// `USER_HZ` is 100 on every architecture that Linux runs on today.
    const TICK_NS: u64 = 10_000_000;
    for process in processes {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok();
        process.cpu_ns = stat.and_then(|stat| {
            let (_, rest) = stat.rsplit_once(')')?;
            let mut fields = rest.split_ascii_whitespace().skip(11);
            let mut next = || fields.next()?.parse::<u64>().ok();
            Some((next()? + next()?) * TICK_NS)
        });
    }
}
