//! A terminal of the container's own, connected to the caller's streams.
//!
//! The OCI runtime makes a pseudo terminal in the container's own `devpts` and hands its master
//! end over through a socket (`--console-socket`, runC's `docs/terminals.md`). The container so
//! never holds the caller's own terminal, into which it could type.

use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{self, OptionalActions, Termios};

use crate::io::Input;
use crate::lock::Lock;
use crate::output::Sink;
use crate::paths::RuntimePaths;

/// Bytes copied at once.
const COPY_BYTES: usize = 16 << 10;
/// How long the OCI runtime, which has returned already, may take to hand the terminal over.
const HANDOVER: Duration = Duration::from_secs(5);
/// How long a collection in another process may hold a new terminal up, or a new terminal a
/// collection.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// Prefix of the names of the sockets' folders.
const PREFIX: &str = "tty-";
/// What a person types to end the input of a program.
const END_OF_INPUT: u8 = 4;

/// Where the OCI runtime hands a new terminal over.
///
/// Not in the container's bundle: the path of a socket has at most 107 bytes, of which an id alone
/// has 64.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    folder: tempfile::TempDir,
    /// Says to others that this process waits at the socket.
    _owner: Lock,
}

/// Removes the sockets' folders of processes that were killed; how many there were.
pub(crate) fn sweep(paths: &RuntimePaths) -> usize {
    let folders = || {
        let entries = std::fs::read_dir(&paths.state).into_iter().flatten().flatten();
        let is_one = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        };
        entries.map(|entry| entry.path()).filter(is_one)
    };
    if folders().next().is_none() {
        return 0;
    }
    // Nobody is between a new folder and its lock while this is held.
    let Ok(Some(_alone)) = Lock::exclusive(&paths.lock(), Duration::ZERO) else { return 0 };
    let is_left =
        |path: &PathBuf| matches!(Lock::exclusive(&owner_of(path), Duration::ZERO), Ok(Some(_)));
    folders().filter(is_left).filter(|path| std::fs::remove_dir_all(path).is_ok()).count()
}

fn owner_of(folder: &Path) -> PathBuf {
    folder.join("owner.lock")
}

impl ConsoleSocket {
    /// Listens in a folder of its own below the state's that nobody else can enter.
    pub(crate) fn bind(paths: &RuntimePaths) -> io::Result<Self> {
        let _shared = Lock::shared(&paths.lock(), LOCK_DEADLINE)?.ok_or(io::ErrorKind::TimedOut)?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&paths.state)?;
        let owner = Lock::exclusive(&owner_of(folder.path()), Duration::ZERO)?;
        let owner = owner.ok_or(io::ErrorKind::ResourceBusy)?;
        let listener = UnixListener::bind(folder.path().join("socket"))?;
        Ok(Self { listener, folder, _owner: owner })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Takes the terminal that has been sent.
    fn receive(&self) -> io::Result<OwnedFd> {
        await_input(self.listener.as_fd())?;
        let (socket, _) = self.listener.accept()?;
        await_input(socket.as_fd())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        // Beside the descriptor comes its name, which says nothing that we need.
        let mut name = [0_u8; 4096];
        let mut into = [io::IoSliceMut::new(&mut name)];
        recvmsg(&socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let sent = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        sent.filter(|fd| termios::isatty(fd)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the OCI runtime handed no terminal over")
        })
    }
}

fn await_input(fd: BorrowedFd<'_>) -> io::Result<()> {
    match palisade_sys::signals::wait_readable(&[fd], Some(HANDOVER))? {
        Some(_) => Ok(()),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A terminal that waits for its container, and what it will be connected to.
#[derive(Debug)]
pub(crate) struct PendingConsole {
    socket: ConsoleSocket,
    stdin: Input,
    stdout: Sink,
}

impl PendingConsole {
    pub(crate) fn new(paths: &RuntimePaths, stdin: Input, stdout: Sink) -> io::Result<Self> {
        Ok(Self { socket: ConsoleSocket::bind(paths)?, stdin, stdout })
    }

    /// What `--console-socket` takes.
    pub(crate) fn path(&self) -> PathBuf {
        self.socket.path()
    }

    /// Connects the terminal that the OCI runtime has made.
    pub(crate) fn connect(self) -> io::Result<Console> {
        Console::connect(self.socket.receive()?, self.stdin, self.stdout)
    }
}

/// A connected terminal.
#[derive(Debug)]
pub(crate) struct Console {
    master: Arc<OwnedFd>,
    /// Its end tells the threads that the program has ended.
    stop: PipeWriter,
    input: Option<JoinHandle<()>>,
    output: JoinHandle<u64>,
    /// Dropped last: the caller's terminal is itself again after the last byte.
    _raw: Option<RawMode>,
}

impl Console {
    fn connect(master: OwnedFd, stdin: Input, stdout: Sink) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
        let raw = match &stdin {
            Input::Inherit => RawMode::of_stdin()?,
            Input::Null | Input::File(_) => None,
        };
        let master = Arc::new(master);
        copy_size(&master);
        let (stopped, stop) = io::pipe()?;
        let stopped = Arc::new(stopped);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let input = match stdin {
            Input::Null => None,
            other => {
                let (to, until) = (Arc::clone(&master), Arc::clone(&stopped));
                Some(thread("palisade-input").spawn(move || carry_input(&other, &to, &until))?)
            }
        };
        let from = Arc::clone(&master);
        let output =
            thread("palisade-output").spawn(move || carry_output(&from, stdout, &stopped))?;
        Ok(Self { master, stop, input, output, _raw: raw })
    }

    /// Gives it the size of the caller's terminal.
    pub(crate) fn resize(&self) {
        copy_size(&self.master);
    }

    /// Carries what the ended program has written; returns the bytes that the writer would not
    /// take.
    pub(crate) fn finish(self) -> u64 {
        let Self { stop, input, output, master, _raw } = self;
        drop(stop);
        let n_lost = output.join().unwrap_or(0);
        if let Some(input) = input {
            // It ends at the same sign.
            let _ = input.join();
        }
        drop(master);
        n_lost
    }
}

/// Without a terminal of the caller's the size stays the kernel's default, 0 by 0.
fn copy_size(master: &OwnedFd) {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    for ours in [stdin.as_fd(), stdout.as_fd()] {
        if let Ok(size) = termios::tcgetwinsize(ours) {
            // A terminal that is gone has no size.
            let _ = termios::tcsetwinsize(master, size);
            return;
        }
    }
}

/// The caller's terminal while every key goes to the container; itself again when dropped.
#[derive(Debug)]
struct RawMode(Termios);

impl RawMode {
    /// `None` where standard input is no terminal.
    fn of_stdin() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !termios::isatty(&stdin) {
            return Ok(None);
        }
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that was closed meanwhile needs no restoring.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Yes,
    Stopped,
}

/// Waits until `fd` is ready for `what`, or the program has ended.
fn ready(fd: BorrowedFd<'_>, what: PollFlags, stopped: &PipeReader) -> io::Result<Ready> {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, what), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(Ready::Yes),
            Ok(_) => return Ok(Ready::Stopped),
        }
    }
}

/// Carries keys to the terminal until there are no more, or the program has ended.
fn carry_input(from: &Input, to: &OwnedFd, stopped: &PipeReader) {
    let stdin = io::stdin();
    let from = match from {
        Input::Null => return,
        // Read without the standard library's buffer, which would keep what comes behind.
        Input::Inherit => stdin.as_fd(),
        Input::File(file) => file.as_fd(),
    };
    let mut buffer = vec![0_u8; COPY_BYTES];
    while matches!(ready(from, PollFlags::IN, stopped), Ok(Ready::Yes)) {
        let n = match rustix::io::read(from, buffer.as_mut_slice()) {
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(_) => return,
            Ok(n) => n,
        };
        let chunk = if n == 0 { &[END_OF_INPUT][..] } else { buffer.get(..n).unwrap_or_default() };
        if write_all(to, chunk, stopped).is_err() || n == 0 {
            return;
        }
    }
}

fn write_all(to: &OwnedFd, mut chunk: &[u8], stopped: &PipeReader) -> io::Result<()> {
    while !chunk.is_empty() {
        if ready(to.as_fd(), PollFlags::OUT, stopped)? == Ready::Stopped {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match rustix::io::write(to, chunk) {
            Ok(n) => chunk = chunk.get(n..).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Carries output until the last program that holds the terminal has closed it, or, once the
/// program has ended, until nothing is left. Returns what the writer would not take, in bytes.
fn carry_output(from: &OwnedFd, mut to: Sink, stopped: &PipeReader) -> u64 {
    let mut buffer = vec![0_u8; COPY_BYTES];
    let mut has_ended = false;
    loop {
        match rustix::io::read(from, buffer.as_mut_slice()) {
            Ok(0) => return to.n_lost(),
            Ok(n) => to.take(buffer.get(..n).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if has_ended => return to.n_lost(),
            Err(Errno::AGAIN) => match ready(from.as_fd(), PollFlags::IN, stopped) {
                Ok(Ready::Yes) => {}
                // What was written before the end is there by now.
                Ok(Ready::Stopped) => has_ended = true,
                Err(_) => return to.n_lost(),
            },
            // EIO: nobody holds the other end any more.
            Err(_) => return to.n_lost(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pair() -> (OwnedFd, std::fs::File) {
        let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let slave = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap());
        (master, slave.unwrap())
    }

    #[test]
    fn both_ways_are_carried_and_the_last_bytes_are_not_lost() {
        let (master, mut slave) = pair();
        let (typed, mut keyboard) = io::pipe().unwrap();
        let screen = Captured::default();
        let stdin = Input::File(std::fs::File::from(OwnedFd::from(typed)));
        let console =
            Console::connect(master, stdin, Sink::new(Box::new(screen.clone()), None)).unwrap();
        keyboard.write_all(b"hello\n").unwrap();
        let mut line = [0_u8; 64];
        let n = slave.read(&mut line).unwrap();
        assert_eq!(&line[..n], b"hello\n");
        // The end of the input is what a person would type.
        drop(keyboard);
        assert_eq!(slave.read(&mut line).unwrap(), 0);
        slave.write_all(&[b'x'; 3000]).unwrap();
        slave.write_all(b"\nlast").unwrap();
        // Another program still holds the terminal: that must not hold us.
        assert_eq!(console.finish(), 0);
        let text = screen.0.lock().unwrap().clone();
        assert!(text.ends_with(b"x\r\nlast"), "{}", String::from_utf8_lossy(&text));
        assert!(text.starts_with(b"hello\r\n"), "it echoes what is typed");
        drop(slave);
    }

    #[test]
    fn who_does_not_read_what_is_typed_holds_nobody() {
        let (master, slave) = pair();
        let (typed, mut keyboard) = io::pipe().unwrap();
        let stdin = Input::File(std::fs::File::from(OwnedFd::from(typed)));
        let console =
            Console::connect(master, stdin, Sink::new(Box::new(io::sink()), None)).unwrap();
        keyboard.write_all(&vec![b'y'; 30_000]).unwrap();
        console.finish();
        drop(slave);
    }

    #[test]
    fn what_is_no_terminal_is_refused() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let folder = tempfile::tempdir().unwrap();
        let paths = RuntimePaths { state: folder.path().into(), ..RuntimePaths::default() };
        // Of somebody who was killed, at work and just before.
        for left in ["tty-AbCdEf/owner.lock", "tty-AbCdEf/socket", "tty-GhIjKl"] {
            std::fs::create_dir_all(folder.path().join(left)).unwrap();
        }
        std::fs::remove_dir(folder.path().join("tty-AbCdEf/owner.lock")).unwrap();
        let socket = ConsoleSocket::bind(&paths).unwrap();
        assert_eq!(sweep(&paths), 2);
        assert!(socket.path().exists());
        assert_eq!(sweep(&paths), 0);
        let peer = std::os::unix::net::UnixStream::connect(socket.path()).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [null.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&peer, &[io::IoSlice::new(b"null")], &mut ancillary, SendFlags::empty()).unwrap();
        assert_eq!(socket.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
        let path = socket.path();
        drop(socket);
        assert!(!path.exists());
    }
}
