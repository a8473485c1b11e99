//! Where a container's output goes and its input comes from.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::Stdio as ProcessStdio;
use std::thread::JoinHandle;

use crate::console::{Console, PendingConsole};

/// Bytes copied at once.
const COPY_BYTES: usize = 64 << 10;

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
    threads: Vec<JoinHandle<u64>>,
    console: Option<Console>,
}

impl Pumps {
    /// Connects the terminal that the OCI runtime has made.
    pub(crate) fn connect(&mut self, console: Option<PendingConsole>) -> io::Result<()> {
        self.console = console.map(PendingConsole::connect).transpose()?;
        Ok(())
    }

    /// The caller's terminal has another size.
    pub(crate) fn resize(&self) {
        if let Some(console) = &self.console {
            console.resize();
        }
    }

    /// Waits until everything written has been carried; returns the bytes that their
    /// writer would not take.
    pub(crate) fn finish(self) -> u64 {
        let n_lost: u64 = self.threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum();
        n_lost + self.console.map_or(0, Console::finish)
    }
}

impl Output {
    /// Where a terminal's output is written.
    pub(crate) fn into_writer(self) -> Box<dyn Write + Send> {
        match self {
            Self::Null => Box::new(io::sink()),
            Self::File(file) => Box::new(file),
            Self::Writer(writer) => writer,
        }
    }
}

impl Stdio {
    /// Prepares a terminal of the program's own for input and both outputs, by a socket below
    /// `state`.
    pub(crate) fn wire_terminal(self, state: &Path) -> io::Result<Wired> {
        let console = PendingConsole::new(state, self.stdin, self.stdout)?;
        Ok(Wired {
            stdin: ProcessStdio::null(),
            stdout: ProcessStdio::null(),
            stderr: ProcessStdio::null(),
            pumps: Pumps::default(),
            console: Some(console),
        })
    }

    /// Makes the streams for a container whose user is host id `uid`, `gid`.
    pub(crate) fn wire(self, uid: u32, gid: u32) -> io::Result<Wired> {
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
                Output::Writer(writer) => {
                    let (reader, pipe) = io::pipe()?;
                    give(pipe.as_fd(), uid, gid)?;
                    let thread = std::thread::Builder::new().name("palisade-output".into());
                    pumps.threads.push(thread.spawn(move || carry(reader, writer))?);
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

/// Copies until the last writer has closed. A writer that fails must not stop the
/// container, so the rest is read and counted.
fn carry(mut reader: PipeReader, mut writer: Box<dyn Write + Send>) -> u64 {
    let mut buffer = vec![0_u8; COPY_BYTES];
    let mut n_lost = 0;
    let mut is_writable = true;
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => return n_lost,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return n_lost,
        };
        let chunk = buffer.get(..n).unwrap_or_default();
        n_lost += carry_chunk(&mut writer, chunk, &mut is_writable);
    }
}

/// Writes a chunk while the writer takes any; returns the bytes that it did not take.
pub(crate) fn carry_chunk(
    writer: &mut Box<dyn Write + Send>,
    chunk: &[u8],
    is_writable: &mut bool,
) -> u64 {
    if *is_writable && writer.write_all(chunk).and_then(|()| writer.flush()).is_err() {
        *is_writable = false;
    }
    if *is_writable { 0 } else { chunk.len() as u64 }
}
