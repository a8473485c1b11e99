//! Events on sockets: who talks to whom.

use std::net::IpAddr;

use palisade_base::text::Address;

use super::fd::{
    Ends, Fd, FdKind, Role, SocketName, Transport, decode_address, decode_tuple, format_unix,
};
use super::users::Interfaces;
use super::{State, Touched};
use crate::record::Record;
use crate::schema::number::{
    ACCEPT4_6_X, RECV_X, RECVFROM_X, RECVMMSG_X, RECVMSG_X, SEND_X, SENDMMSG_X, SENDMSG_X, SENDTO_X,
};

const EINPROGRESS: i64 = 115;

impl State {
    pub(crate) fn on_socket(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let Some(fd @ 0..) = record.result() else { return };
        let value = |index| record.param(index).u32().unwrap_or(0);
        let mut entry = new_socket(value(1), value(2), value(3));
        entry.open_flags = value(4);
        touched.fd = self.add_fd(record.tid, fd, entry);
    }

    pub(crate) fn on_socketpair(&mut self, record: &Record<'_>, touched: &mut Touched) {
        if record.result().is_none_or(|result| result < 0) {
            return;
        }
        let (Some(one), Some(other)) = (record.param(1).i64(), record.param(2).i64()) else {
            return;
        };
        if one == other {
            touched.fd = None; // the kernel could not read them
            return;
        }
        let mut entry = Fd::of(FdKind::UnixSocket);
        entry.unix_ends = (record.param(3).u64().unwrap_or(0), record.param(4).u64().unwrap_or(0));
        touched.fd = self.add_fd(record.tid, one, entry.clone());
        self.add_fd(record.tid, other, entry);
    }

    pub(crate) fn on_bind(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let (Some(0..), Some(fd)) = (record.result(), touched.fd) else { return };
        let Some(name) = decode_address(record.param(1).bytes) else { return };
        let Some(entry) = self.fds_mut(record.tid).and_then(|fds| fds.get_mut(fd)) else { return };
        let (kind, ends) = match name {
            SocketName::Ipv4(ends) => (FdKind::Ipv4Server, ends),
            SocketName::Ipv6(ends) => (FdKind::Ipv6Server, ends),
            _ => (entry.kind, Ends::default()),
        };
        if ends.dest_port > 0 {
            entry.kind = kind;
            entry.ends = ends;
            entry.role = Role::Server;
        }
        entry.set_name(&address_text(record.param(1).bytes));
    }

    pub(crate) fn on_connect(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let (Some(result), Some(fd)) = (record.result(), touched.fd) else { return };
        if result < 0 && result != -EINPROGRESS {
            return;
        }
        let enter = self.enter_of(record);
        let Some(entry) = self.fds_mut(record.tid).and_then(|fds| fds.get_mut(fd)) else { return };
        entry.connected = true;
        let tuple = record.param(1);
        if tuple.is_empty() {
            // No result yet: the address that was asked for is all there is.
            let enter = enter.as_deref().and_then(|bytes| Record::decode(bytes).ok());
            if let Some(enter) = enter {
                connect_to(entry, enter.param(1).bytes);
            }
            return;
        }
        let enter = enter.as_deref().and_then(|bytes| Record::decode(bytes).ok());
        let asked = enter.as_ref().and_then(|enter| decode_address(enter.param(1).bytes));
        let named = decode_address(record.param(3).bytes);
        match decode_tuple(tuple.bytes) {
            Some(SocketName::Ipv4(ends)) => {
                connect_ends(entry, FdKind::Ipv4Socket, &destination(ends, named, asked));
            }
            Some(SocketName::Ipv6(ends)) => {
                connect_ends(entry, FdKind::Ipv6Socket, &destination(ends, named, asked));
            }
            Some(SocketName::Unix { source, dest, path }) => {
                if entry.kind != FdKind::UnixSocket {
                    return;
                }
                entry.unix_ends = (source, dest);
                entry.set_name(&format_unix(source, dest, path));
            }
            _ => return,
        }
        if entry.role == Role::None {
            entry.role = Role::Client;
        }
    }

    pub(crate) fn on_accept(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let Some(fd @ 0..) = record.result() else { return };
        if let Some(thread) = self.threads.get_mut(&record.tid) {
            thread.last_fd = fd;
        }
        let mut entry = match decode_tuple(record.param(1).bytes) {
            Some(SocketName::Ipv4(ends)) => {
                Fd { ends, transport: Transport::Tcp, ..Fd::of(FdKind::Ipv4Socket) }
            }
            Some(SocketName::Ipv6(ends)) => {
                Fd { ends, transport: Transport::Tcp, ..Fd::of(FdKind::Ipv6Socket) }
            }
            Some(SocketName::Unix { source, dest, .. }) => {
                Fd { unix_ends: (source, dest), ..Fd::of(FdKind::UnixSocket) }
            }
            _ => return,
        };
        entry.set_name(&tuple_text(record.param(1).bytes));
        if record.number() == ACCEPT4_6_X {
            entry.open_flags = record.param(5).u32().unwrap_or(0) & super::fd::O_CLOEXEC;
        }
        entry.role = Role::Server;
        entry.connected = true;
        touched.fd = self.add_fd(record.tid, fd, entry);
    }

    pub(crate) fn on_read(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let tuple = match record.number() {
            RECVFROM_X => Some(2),
            RECVMSG_X => Some(3),
            RECVMMSG_X | RECV_X => Some(4),
            _ => None,
        };
        self.on_transfer(record, touched, tuple, true);
    }

    pub(crate) fn on_write(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let sends = matches!(record.number(), SEND_X | SENDTO_X | SENDMSG_X | SENDMMSG_X);
        if sends && touched.fd.is_none() && record.number() != SENDMMSG_X {
            self.infer_socket(record, touched);
        }
        self.on_transfer(record, touched, sends.then_some(4), false);
    }

    /// A send on a socket that nobody saw made: it is taken for UDP.
    fn infer_socket(&mut self, record: &Record<'_>, touched: &mut Touched) {
        const SOCK_DGRAM: u32 = 2;
        const IPPROTO_UDP: u32 = 17;
        if record.result().is_none_or(|result| result < 0)
            || !self.threads.contains_key(&record.tid)
        {
            return;
        }
        let Some(fd) = record.param(2).i64() else { return };
        if let Some(family @ (2 | 10)) = record.param(4).bytes.first() {
            let entry = new_socket(u32::from(*family), SOCK_DGRAM, IPPROTO_UDP);
            touched.fd = self.add_fd(record.tid, fd, entry);
        }
    }

    fn on_transfer(
        &mut self,
        record: &Record<'_>,
        touched: &mut Touched,
        tuple: Option<usize>,
        incoming: bool,
    ) {
        let (Some(0..), Some(fd)) = (record.result(), touched.fd) else { return };
        let Some(entry) = self.fd(record.tid, fd) else { return };
        let is_tcp = entry.kind == FdKind::Ipv4Socket && entry.transport == Transport::Tcp;
        let renames = entry.name.is_none() || !is_tcp;
        if entry.kind.is_ip_socket()
            && !entry.connected
            && let Some(entry) = self.fds_mut(record.tid).and_then(|fds| fds.get_mut(fd))
        {
            entry.connected = true;
        }
        let Some(tuple) = tuple.filter(|_| renames) else { return };
        let Some(mut entry) = self.fd(record.tid, fd).cloned() else { return };
        let bytes = record.param(tuple).bytes;
        if !update(&self.interfaces, &mut entry, bytes) {
            return;
        }
        if entry.kind.is_ip_socket() {
            if entry.role == Role::None {
                entry.role = guess_role(&entry, incoming);
            }
            let swaps = if incoming { Role::Client } else { Role::Server };
            if entry.role == swaps {
                entry.ends.swap();
            }
            entry.name_connection();
        } else {
            entry.set_name(&tuple_text(bytes));
        }
        if let Some(fds) = self.fds_mut(record.tid) {
            fds.insert(fd, entry);
        }
    }
}

/// Guesses which end of its connection a process is: the direction decides. Falco's
/// libraries look at the ports of the process's other descriptors as well, but count this
/// one among them, and compare the ports of IPv4 alone, so that IPv6 is always a client.
fn guess_role(entry: &Fd, incoming: bool) -> Role {
    if incoming && entry.kind == FdKind::Ipv4Socket { Role::Server } else { Role::Client }
}

fn new_socket(domain: u32, kind: u32, protocol: u32) -> Fd {
    const RAW: u32 = 3;
    let transport = || match (protocol, kind & 0xff) {
        (6 | 17 | 1, _) if kind == RAW => Transport::Raw,
        (6, _) | (0, 1) => Transport::Tcp,
        (17, _) | (0, 2) => Transport::Udp,
        (1, _) => Transport::Icmp,
        (255, _) => Transport::Raw,
        _ => Transport::Unknown,
    };
    match domain {
        1 => Fd::of(FdKind::UnixSocket),
        2 => Fd { transport: transport(), ..Fd::of(FdKind::Ipv4Socket) },
        10 => Fd { transport: transport(), ..Fd::of(FdKind::Ipv6Socket) },
        16 => Fd::of(FdKind::Netlink),
        _ => Fd::of(FdKind::Unknown),
    }
}

fn connect_to(entry: &mut Fd, address: &[u8]) {
    match decode_address(address) {
        Some(SocketName::Ipv4(ends)) => {
            entry.kind = FdKind::Ipv4Socket;
            (entry.ends.dest, entry.ends.dest_port) = (ends.dest, ends.dest_port);
        }
        Some(SocketName::Ipv6(ends)) => {
            entry.kind = FdKind::Ipv6Socket;
            (entry.ends.dest, entry.ends.dest_port) = (ends.dest, ends.dest_port);
        }
        Some(_) => entry.set_name(&address_text(address)),
        None => {}
    }
}

/// Where a connection leads: what the program named on return can have been changed while
/// the call was under way, so if the connection's end was read from there, the address that
/// was named on entry counts.
fn destination(
    mut ends: Ends,
    named: Option<SocketName<'_>>,
    asked: Option<SocketName<'_>>,
) -> Ends {
    if let (
        Some(SocketName::Ipv4(named) | SocketName::Ipv6(named)),
        Some(SocketName::Ipv4(asked) | SocketName::Ipv6(asked)),
    ) = (named, asked)
        && (named.dest, named.dest_port) == (ends.dest, ends.dest_port)
    {
        (ends.dest, ends.dest_port) = (asked.dest, asked.dest_port);
    }
    ends
}

fn connect_ends(entry: &mut Fd, kind: FdKind, ends: &Ends) {
    entry.kind = kind;
    let changed = set_ends(entry, ends);
    let is_udp_server = entry.role == Role::Server
        && kind == FdKind::Ipv4Socket
        && entry.transport == Transport::Udp;
    if changed && is_udp_server {
        entry.ends.swap();
    }
    entry.name_connection();
}

/// Takes new ends over; whether anything changed. The same connection seen from its other
/// side is no change.
fn set_ends(entry: &mut Fd, new: &Ends) -> bool {
    if entry.kind.is_ip_socket() && (entry.ends == *new || entry.ends == new.swapped()) {
        return false;
    }
    let changed = entry.ends != *new;
    entry.ends = *new;
    changed
}

fn is_nowhere(address: IpAddr) -> bool {
    address.is_unspecified()
}

/// Takes over the addresses that a send or receive shows.
fn update(interfaces: &Interfaces, entry: &mut Fd, tuple: &[u8]) -> bool {
    match decode_tuple(tuple) {
        Some(SocketName::Ipv4(ends)) => {
            entry.kind = FdKind::Ipv4Socket;
            if !set_ends(entry, &ends) {
                return false;
            }
        }
        Some(SocketName::Ipv6(ends)) => {
            if !set_ends(entry, &ends) {
                return false;
            }
        }
        Some(SocketName::Unix { source, dest, .. }) => {
            entry.kind = FdKind::UnixSocket;
            entry.unix_ends = (source, dest);
            return true;
        }
        Some(SocketName::Other(_)) => {}
        None => return false,
    }
    if entry.kind.is_ip_socket() && entry.transport == Transport::Unknown {
        entry.transport = Transport::Udp;
    }
    infer_local(interfaces, entry);
    true
}

/// Fills an end that the kernel left open with the machine's own address.
pub(super) fn infer_local(interfaces: &Interfaces, entry: &mut Fd) {
    if !entry.kind.is_ip_socket() {
        return;
    }
    let ends = &mut entry.ends;
    let (open, other) = match (is_nowhere(ends.source), is_nowhere(ends.dest)) {
        (false, false) => return,
        (true, _) => (&mut ends.source, ends.dest),
        (false, true) => (&mut ends.dest, ends.source),
    };
    let local = interfaces.local_for(other);
    if local == other && ends.source_port == ends.dest_port {
        return;
    }
    *open = local;
}

/// The IP address and port of a `sockaddr` parameter.
pub(crate) fn ip_and_port(bytes: &[u8]) -> Option<(IpAddr, u16)> {
    match decode_address(bytes)? {
        SocketName::Ipv4(ends) | SocketName::Ipv6(ends) => Some((ends.dest, ends.dest_port)),
        _ => None,
    }
}

/// A `sockaddr` parameter as text: `10.0.0.1:80`, or the path of a unix socket.
pub(crate) fn address_text(bytes: &[u8]) -> Vec<u8> {
    let Some(family) = bytes.first() else { return Vec::new() };
    match (family, bytes.len()) {
        (2, 7) => ipv4_text(&bytes[1..]),
        (10, 19) => match decode_raw_ipv6(&bytes[1..]) {
            Some((address, port)) => format!("{}:{port}", Address(address)).into_bytes(),
            None => Vec::new(),
        },
        (2, _) => b"INVALID IPv4".to_vec(),
        (10, _) => b"INVALID IPv6".to_vec(),
        (1, _) => {
            let mut out = Vec::new();
            crate::text::push_printable(crate::record::until_nul(&bytes[1..]), &mut out);
            out
        }
        (family, _) => format!("family {family}").into_bytes(),
    }
}

fn ipv4_text(bytes: &[u8]) -> Vec<u8> {
    let [a, b, c, d, port @ ..] = bytes else { return Vec::new() };
    let port = port.try_into().map_or(0, u16::from_le_bytes);
    format!("{a}.{b}.{c}.{d}:{port}").into_bytes()
}

fn decode_raw_ipv6(bytes: &[u8]) -> Option<(IpAddr, u16)> {
    let (address, port) = bytes.split_first_chunk::<16>()?;
    Some((IpAddr::V6((*address).into()), port.try_into().map_or(0, u16::from_le_bytes)))
}

/// A `socktuple` parameter as text: `10.0.0.1:80->10.0.0.2:5000`.
pub(crate) fn tuple_text(bytes: &[u8]) -> Vec<u8> {
    let family = bytes.first().copied().unwrap_or(0);
    match decode_tuple(bytes) {
        Some(SocketName::Ipv4(ends) | SocketName::Ipv6(ends)) => {
            super::fd::format_ends(&ends).into_bytes()
        }
        Some(SocketName::Unix { source, dest, path }) => format_unix(source, dest, path),
        Some(SocketName::Other(family)) => format!("family {family}").into_bytes(),
        None if family == 2 => b"INVALID IPv4".to_vec(),
        None if family == 10 => b"INVALID IPv6".to_vec(),
        None => format!("family {family}").into_bytes(),
    }
}
