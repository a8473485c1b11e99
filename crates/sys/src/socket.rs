//! What the kernel knows of a stream socket and no safe interface tells.

#![expect(unsafe_code, reason = "SIOCOUTQ has no safe interface")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Bytes written to a TCP socket that the other end's kernel has not acknowledged yet
/// (`SIOCOUTQ`, tcp(7)).
pub fn unacknowledged_bytes(socket: impl AsFd) -> io::Result<u32> {
    let mut n_bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the number of SIOCOUTQ) writes one int through the pointer, which
    // lives on this stack; the descriptor is borrowed and therefore open.
    let result = unsafe {
        libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, (&raw mut n_bytes).cast::<u8>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(n_bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_not_read_by_anybody_is_counted_until_the_kernel_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged_bytes(&sender).unwrap(), 0);
        sender.set_nonblocking(true).unwrap();
        let mut n_written = 0;
        while let Ok(n) = sender.write(&[0; 16_384]) {
            n_written += n;
        }
        assert!(unacknowledged_bytes(&sender).unwrap() > 0, "both buffers are full");
        let mut read = vec![0; n_written];
        receiver.read_exact(&mut read).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while unacknowledged_bytes(&sender).unwrap() > 0 {
            assert!(Instant::now() < end);
        }
    }
}
