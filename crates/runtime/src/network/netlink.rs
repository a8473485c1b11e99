//! What the kernel itself says of devices and network namespaces (`rtnetlink(7)`): that a device
//! has changed, and the number by which one namespace calls another.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Bytes of one answer; the kernel sends at most 32 KiB at once.
const ANSWER_BYTES: usize = 32 << 10;
/// Answers that one look takes; more are as good as lost.
const ANSWERS_MAX: usize = 4096;
/// Group of those who want to hear of devices (`RTMGRP_LINK`).
const GROUP_LINK: u32 = 1;
/// Lengths of the headers of a message and of an attribute.
const MESSAGE_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// Kinds of messages (`linux/netlink.h`, `linux/rtnetlink.h`).
const ERROR: u16 = 2;
const LINK_GONE: u16 = 17;
const NAMESPACE: u16 = 88;
const ASK_NAMESPACE: u16 = 90;
/// Attributes of a namespace (`linux/net_namespace.h`).
const NAMESPACE_ID: u16 = 1;
const NAMESPACE_FD: u16 = 3;

/// What was heard of devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Whether anything changed.
    pub(super) any: bool,
    /// Indices of devices that are gone; another may have one of them by now.
    pub(super) gone: Vec<u32>,
    /// Whether more was said than could be kept.
    pub(super) is_incomplete: bool,
}

/// Hears of every change of the devices of a network namespace.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

impl Listener {
    /// Listens from now on in the namespace of the calling thread.
    pub(super) fn new() -> io::Result<Self> {
        let socket = socket()?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUP_LINK))?;
        Ok(Self(socket))
    }

    /// What has changed since the last call.
    pub(super) fn take(&self) -> io::Result<News> {
        let mut news = News::default();
        let mut buffer = vec![0; ANSWER_BYTES];
        for _ in 0..ANSWERS_MAX {
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((n, _)) => {
                    news.any = true;
                    let gone = messages(buffer.get(..n).unwrap_or_default()).filter_map(gone);
                    news.gone.extend(gone);
                }
                Err(Errno::AGAIN) => return Ok(news),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => (news.any, news.is_incomplete) = (true, true),
                Err(error) => return Err(error.into()),
            }
        }
        news.is_incomplete = true;
        Ok(news)
    }
}

/// The number by which the namespace of the calling thread calls `namespace`; `None` if it has
/// none, because no device of the one has its other end in the other.
pub(super) fn namespace_id(namespace: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let socket = socket()?;
    let fd = u32::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?;
    // The family is any: one byte, padded to four.
    let mut body = vec![0; 4];
    body.extend(attribute_of(NAMESPACE_FD, fd.to_ne_bytes()));
    let request = message_of(ASK_NAMESPACE, REQUEST, &body);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; ANSWER_BYTES];
    let (n, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
    let unknown = || io::Error::new(io::ErrorKind::InvalidData, "netlink: no answer");
    let (kind, body) = messages(buffer.get(..n).unwrap_or_default()).next().ok_or_else(unknown)?;
    match kind {
        NAMESPACE => {
            let mut id = attributes(body.get(4..).unwrap_or_default())
                .filter_map(|(kind, value)| (kind == NAMESPACE_ID).then(|| number(value, 0))?);
            Ok(id.next().map(u32::cast_signed).filter(|id| *id >= 0))
        }
        ERROR => {
            let code = number(body, 0).map_or(0, u32::cast_signed);
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        _ => Err(unknown()),
    }
}

fn socket() -> io::Result<OwnedFd> {
    // Without a protocol it is the one of routes and devices.
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    Ok(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?)
}

fn message_of(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(MESSAGE_HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn attribute_of(kind: u16, value: [u8; 4]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
    let mut attribute = length.to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute
}

/// The messages of an answer: their kinds and bodies.
fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    pieces(bytes, MESSAGE_HEADER, |bytes| {
        Some((usize::try_from(number(bytes, 0)?).ok()?, half(bytes, 4)?))
    })
}

/// The attributes of a message: their kinds and values.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    pieces(bytes, ATTRIBUTE_HEADER, |bytes| Some((half(bytes, 0)?.into(), half(bytes, 2)?)))
}

/// Pieces that begin with a header, in which is their length and their kind, each padded to four
/// bytes. A length that cannot be ends them.
fn pieces(
    bytes: &[u8],
    header: usize,
    read: impl Fn(&[u8]) -> Option<(usize, u16)>,
) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (length, kind) = read(rest)?;
        let body = rest.get(header..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The index of the device that a message says is gone. Of a bridge's port that has left it only
/// the bridge says so, in another family.
fn gone((kind, body): (u16, &[u8])) -> Option<u32> {
    (kind == LINK_GONE && body.first() == Some(&0)).then(|| number(body, 4))?
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn answers_are_taken_apart_and_broken_ones_end() {
        let device = |family: u8, index: u32| {
            let mut body = vec![family, 0, 0, 0];
            body.extend(index.to_ne_bytes());
            body
        };
        let mut answer = message_of(LINK_GONE, 0, &device(0, 7));
        answer.extend(message_of(16, 0, &device(0, 8)));
        // Seven is the family of bridges.
        answer.extend(message_of(LINK_GONE, 0, &device(7, 9)));
        answer.extend(message_of(LINK_GONE, 0, &[0]));
        let gone: Vec<u32> = messages(&answer).filter_map(gone).collect();
        assert_eq!((gone, messages(&answer).count()), (vec![7], 4));
        for n in 0..answer.len() {
            assert!(messages(&answer[..n]).count() < 4, "{n}");
        }
        for length in [0_u32, 3, 15, u32::MAX] {
            let mut broken = answer.clone();
            broken[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&broken).count(), 0, "{length}");
        }
        let body = attribute_of(NAMESPACE_ID, (-1_i32).to_ne_bytes());
        let found: Vec<_> = attributes(&body).collect();
        assert_eq!(found, [(NAMESPACE_ID, &[255; 4][..])]);
    }

    #[test]
    fn the_own_namespace_has_a_number_or_none() {
        let own = std::fs::File::open("/proc/self/ns/net").unwrap();
        namespace_id(own.as_fd()).unwrap();
        let other = std::fs::File::open("/dev/null").unwrap();
        assert!(namespace_id(other.as_fd()).is_err());
        assert!(Listener::new().unwrap().take().unwrap().gone.is_empty());
    }
}
