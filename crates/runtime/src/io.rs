//! Where a container's output goes and its input comes from.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio as ProcessStdio;
use std::sync::Arc;
use std::thread::JoinHandle;

use palisade_sys::process::has_executed;

use crate::console::{Console, PendingConsole};
use crate::output::{Kept, Sink};
use crate::paths::RuntimePaths;

/// Bytes copied at once.
const COPY_BYTES: usize = 64 << 10;
/// Bytes that are held back until the program runs.
const HELD_BYTES_MAX: usize = 64 << 10;

/// Where standard input comes from.
#[derive(Debug, Default)]
pub enum Input {
    /// Nothing.
    #[default]
    Null,
    /// The caller's own.
    Inherit,
    /// This file.
    File(File),
}

/// Where an output stream goes.
#[derive(Default)]
pub enum Output {
    /// Nowhere.
    #[default]
    Null,
    /// Into this file, directly. It gets the container's user as owner, so that
    /// `/dev/stdout` can be opened inside, who can therefore also truncate it: where the
    /// output is evidence, use a writer.
    File(File),
    /// Through a pipe and a thread to this writer.
    Writer(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::File(_) => "File",
            Self::Writer(_) => "Writer",
        })
    }
}

/// The three streams.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input.
    pub stdin: Input,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
}

/// Streams ready for a child, and the threads that carry what it writes.
#[derive(Debug)]
pub(crate) struct Wired {
    pub(crate) stdin: ProcessStdio,
    pub(crate) stdout: ProcessStdio,
    pub(crate) stderr: ProcessStdio,
    pub(crate) pumps: Pumps,
    /// The program's own terminal, to be connected when the OCI runtime has made it.
    pub(crate) console: Option<PendingConsole>,
}

/// What carries output.
#[derive(Debug, Default)]
pub(crate) struct Pumps {
    waiting: Vec<Carrier>,
    threads: Vec<JoinHandle<Carried>>,
    console: Option<Console>,
}

/// What was carried.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// Bytes that the writers would not take.
    pub(crate) bytes_lost: u64,
    /// What the OCI runtime said instead of executing the program.
    pub(crate) said: String,
}

/// One stream on its way.
#[derive(Debug)]
struct Carrier {
    from: PipeReader,
    to: Sink,
}

impl Pumps {
    /// Connects the terminal that the OCI runtime has made.
    pub(crate) fn connect(&mut self, console: Option<PendingConsole>) -> io::Result<()> {
        self.console = console.map(PendingConsole::connect).transpose()?;
        Ok(())
    }

    /// Carries output from now on: that of the process `pid`, which is the OCI runtime's until it
    /// executes the program. What was written before, and what is written until then, is about the
    /// start, and is told by whoever knows how that went.
    pub(crate) fn begin(&mut self, pid: u32) -> io::Result<()> {
        for carrier in self.waiting.drain(..) {
            let thread = std::thread::Builder::new().name("palisade-output".into());
            self.threads.push(thread.spawn(move || carrier.carry(pid))?);
        }
        Ok(())
    }

    /// The caller's terminal has another size.
    pub(crate) fn resize(&self) {
        if let Some(console) = &self.console {
            console.resize();
        }
    }

    /// Waits until everything written has been carried. The process must not have been collected.
    pub(crate) fn finish(self) -> Carried {
        let mut all = Carried::default();
        for thread in self.threads {
            let one = thread.join().unwrap_or_default();
            all.bytes_lost += one.bytes_lost;
            all.said.push_str(&one.said);
        }
        all.bytes_lost += self.console.map_or(0, Console::finish);
        all
    }
}

impl Output {
    /// What takes a terminal's output.
    pub(crate) fn into_sink(self, kept: Option<Arc<Kept>>) -> Sink {
        match self {
            Self::Null => Sink::new(Box::new(io::sink()), kept),
            Self::File(file) => Sink::new(Box::new(file), kept),
            Self::Writer(writer) => Sink::new(writer, kept),
        }
    }
}

impl Stdio {
    /// Prepares a terminal of the program's own for input and both outputs, by a socket below
    /// the state's folder.
    pub(crate) fn wire_terminal(
        self,
        paths: &RuntimePaths,
        kept: Option<Arc<Kept>>,
    ) -> io::Result<Wired> {
        let console = PendingConsole::new(paths, self.stdin, self.stdout.into_sink(kept))?;
        Ok(Wired {
            stdin: ProcessStdio::null(),
            stdout: ProcessStdio::null(),
            stderr: ProcessStdio::null(),
            pumps: Pumps::default(),
            console: Some(console),
        })
    }

    /// Makes the streams for a container whose user is host id `uid`, `gid`. What goes through
    /// pipes is kept besides.
    pub(crate) fn wire(self, uid: u32, gid: u32, kept: Option<&Arc<Kept>>) -> io::Result<Wired> {
        let mut pumps = Pumps::default();
        let stdin = match self.stdin {
            Input::Null => ProcessStdio::null(),
            Input::Inherit => ProcessStdio::inherit(),
            Input::File(file) => file.into(),
        };
        let mut output = |output: Output| -> io::Result<ProcessStdio> {
            Ok(match output {
                Output::Null => ProcessStdio::null(),
                Output::File(file) => {
                    give(file.as_fd(), uid, gid)?;
                    file.into()
                }
                Output::Writer(to) => {
                    let (from, pipe) = io::pipe()?;
                    give(pipe.as_fd(), uid, gid)?;
                    let to = Sink::new(to, kept.map(Arc::clone));
                    pumps.waiting.push(Carrier { from, to });
                    OwnedFd::from(pipe).into()
                }
            })
        };
        let (stdout, stderr) = (output(self.stdout)?, output(self.stderr)?);
        Ok(Wired { stdin, stdout, stderr, pumps, console: None })
    }
}

/// Programs open `/dev/stdout` by name, which asks for the owner's rights on the stream.
fn give(fd: std::os::fd::BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    Ok(rustix::fs::fchown(fd, Some(uid), Some(gid))?)
}

impl Carrier {
    /// Copies until the last writer has closed. A writer that fails must not stop the
    /// container, so the rest is read and counted.
    fn carry(mut self, pid: u32) -> Carried {
        let mut buffer = vec![0_u8; COPY_BYTES];
        let mut out = Carried::default();
        // What was written before the program was seen to run.
        let mut held = Some(Vec::new());
        loop {
            let n = match self.from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let chunk = buffer.get(..n).unwrap_or_default();
            if let Some(before) = &mut held {
                if before.len() + n <= HELD_BYTES_MAX && has_executed(pid) == Some(false) {
                    before.extend_from_slice(chunk);
                    continue;
                }
                let before = held.take().unwrap_or_default();
                self.to.take(&before);
            }
            self.to.take(chunk);
        }
        match held {
            Some(before) if has_executed(pid) == Some(false) => {
                out.said = String::from_utf8_lossy(&before).into_owned();
            }
            Some(before) => self.to.take(&before),
            None => {}
        }
        out.bytes_lost = self.to.n_lost();
        out
    }
}
