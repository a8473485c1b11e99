//! Processes of a container that are held at their end, and before they become another program, so
//! that what they did can be looked up in their memory maps, however short they live.
//!
//! The filter of the container asks at a socket of ours (`listenerPath` of the OCI runtime
//! specification); each call is then made as it is. Who is killed asks nobody.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use palisade_sys::held::{Listener, Waiting, is_supported};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Filters of one container: its own, and one for each process that is started in it.
const FILTERS_MAX: usize = 1024;
/// How long the OCI runtime may take to hand a filter over once it has called.
const HANDOVER: Duration = Duration::from_secs(5);
/// Bytes of what it says about the container, which says nothing that we need.
const STATE_BYTES: usize = 64 << 10;

/// Where the OCI runtime hands filters over, and those that it has.
pub(super) struct Holder {
    socket: UnixListener,
    folder: tempfile::TempDir,
    filters: Vec<Listener>,
}

impl Holder {
    /// `None` where the kernel's filters ask nobody.
    pub(super) fn new() -> io::Result<Option<Self>> {
        if !is_supported() {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("palisade-hold-").tempdir()?;
        let socket = UnixListener::bind(folder.path().join("socket"))?;
        socket.set_nonblocking(true)?;
        Ok(Some(Self { socket, folder, filters: Vec::new() }))
    }

    /// Where the OCI runtime is to call.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What is readable when [`Holder::serve`] has something to do.
    pub(super) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let filters = self.filters.iter().map(Listener::as_fd);
        std::iter::once(self.socket.as_fd()).chain(filters).collect()
    }

    /// Takes filters, has `look` look at who waits, and lets them go on.
    pub(super) fn serve(&mut self, look: &mut dyn FnMut()) -> io::Result<()> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) if self.filters.len() < FILTERS_MAX => {
                    self.filters.extend(receive(&stream)?.map(Listener::new));
                }
                // Without its listener the filter answers that there is no such call.
                Ok(_) => return Err(io::Error::other("the container has too many filters")),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut waiting = Vec::new();
        let mut alive = Vec::with_capacity(self.filters.len());
        for filter in &self.filters {
            let state = filter.waiting()?;
            alive.push(state != Waiting::Never);
            if state == Waiting::Yes {
                waiting.extend(filter.receive()?.map(|held| (filter, held)));
            }
        }
        if !waiting.is_empty() {
            look();
        }
        for (filter, held) in &waiting {
            filter.proceed(held)?;
        }
        let mut alive = alive.into_iter();
        self.filters.retain(|_| alive.next().unwrap_or(true));
        Ok(())
    }
}

/// Takes the filter that the OCI runtime sends with what it says about the container.
fn receive(stream: &UnixStream) -> io::Result<Option<OwnedFd>> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(HANDOVER))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut state = vec![0_u8; STATE_BYTES];
    let mut into = [io::IoSliceMut::new(&mut state)];
    recvmsg(stream, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    Ok(ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}
