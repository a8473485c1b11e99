//! Layers read ahead: threads decompress and prove them, the walk takes what they made.
//!
//! A few layers at a time, top first, each through a short queue: a thread that is ahead
//! waits, so that memory does not grow with the image. The order is the walk's, so that the
//! layer that is waited for is always being read.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use crate::open::Image;

/// Threads, and layers that are read at the same time.
const THREADS_MAX: usize = 4;
/// Layers that may be finished before the walk comes to them, beside those being read.
const LAYERS_AHEAD: usize = 4;
/// Decoders copy their window of 32 KiB at the end of every piece; what a core's cache holds is
/// the bound on the other side.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks between a thread and the walk: a MiB a layer, with the one that is being filled.
const CHUNKS_MAX: usize = 3;

/// A part of a layer; an empty one says that all of it was proved.
type Chunk = io::Result<Vec<u8>>;

/// A layer for a thread, and the chunks that the walk has done with.
type Job = (usize, SyncSender<Chunk>, Receiver<Vec<u8>>);

/// Layers on their way.
pub(crate) struct Ahead {
    jobs: Sender<Job>,
    /// The layers that threads have, in order.
    ready: std::collections::VecDeque<(usize, Layer)>,
    /// The next layer to give out, counted from the top.
    next: usize,
    n_layers: usize,
}

/// The archive of one layer, as a thread makes it.
pub(crate) struct Layer {
    chunks: Receiver<Chunk>,
    /// Takes chunks back, so that their memory is used again.
    spent: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
    ended: bool,
}

impl Ahead {
    /// Starts to read the layers of `image`.
    pub(crate) fn start<'s>(scope: &'s Scope<'s, '_>, image: &'s Image) -> Self {
        let n_layers = image.layers.len();
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (jobs, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..THREADS_MAX.min(n_cores).min(n_layers) {
            let receiver = Arc::clone(&receiver);
            scope.spawn(move || {
                loop {
                    let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((index, sender, spent)) = job else { return };
                    let end = image.send_layer(index, &sender, &spent);
                    // Whoever left does not want to know.
                    let _ = sender.send(end.map(|()| Vec::new()));
                }
            });
        }
        let mut this = Self { jobs, ready: std::collections::VecDeque::new(), next: 0, n_layers };
        for _ in 0..THREADS_MAX + LAYERS_AHEAD {
            this.give_out();
        }
        this
    }

    fn give_out(&mut self) {
        if self.next >= self.n_layers {
            return;
        }
        let index = self.n_layers - 1 - self.next;
        self.next += 1;
        let (sender, chunks) = sync_channel(CHUNKS_MAX);
        let (spent, returned) = channel();
        if self.jobs.send((index, sender, returned)).is_ok() {
            let layer = Layer { chunks, spent, chunk: Vec::new(), position: 0, ended: false };
            self.ready.push_back((index, layer));
        }
    }

    /// The next layer from the top, with its index.
    pub(crate) fn layer(&mut self) -> Option<(usize, Layer)> {
        let layer = self.ready.pop_front();
        self.give_out();
        layer
    }
}

impl Layer {
    /// What can be had without waiting once more; empty at the layer's end.
    fn fill(&mut self) -> io::Result<&[u8]> {
        while self.position == self.chunk.len() && !self.ended {
            let next = match self.chunks.recv() {
                Ok(chunk) => chunk?,
                Err(_) => return Err(io::Error::other("a thread that read a layer ended early")),
            };
            // A thread that is done does not want it back.
            let _ = self.spent.send(std::mem::replace(&mut self.chunk, next));
            self.position = 0;
            self.ended = self.chunk.is_empty();
        }
        Ok(self.chunk.get(self.position..).unwrap_or_default())
    }

    /// Passes over at most `n` bytes; 0 at the layer's end.
    pub(crate) fn pass(&mut self, n: u64) -> io::Result<u64> {
        let n = self.fill()?.len().min(usize::try_from(n).unwrap_or(usize::MAX));
        self.position += n;
        Ok(n as u64)
    }
}

impl Read for Layer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let rest = self.fill()?;
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.position += n;
        Ok(n)
    }
}

impl Image {
    /// Sends a layer's archive in chunks; returns when all of it was sent and proved, or
    /// nobody wants more.
    fn send_layer(
        &self,
        index: usize,
        sender: &SyncSender<Chunk>,
        spent: &Receiver<Vec<u8>>,
    ) -> io::Result<()> {
        self.prove_layer(index, |stream| {
            loop {
                let mut chunk = spent.try_recv().unwrap_or_default();
                chunk.resize(CHUNK_BYTES, 0);
                let mut n = 0;
                while n < CHUNK_BYTES {
                    match stream.read(&mut chunk[n..]) {
                        Ok(0) => break,
                        Ok(read) => n += read,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                chunk.truncate(n);
                if n == 0 || sender.send(Ok(chunk)).is_err() {
                    return Ok(n == 0);
                }
            }
        })
    }
}
