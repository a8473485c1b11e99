//! Descriptors: what a number of a process stands for.
//!
//! A table is shared with the parent after a fork and copied when either changes it, so
//! that a fork costs nothing. It is bounded; a descriptor that does not fit is counted.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::record::Cursor;
use palisade_base::text::Address;

use crate::text;

/// Text that several processes share.
pub type Text = Arc<[u8]>;

/// Descriptors of one process; the kernel's default hard limit is far below.
pub const FDS_MAX: usize = 65_536;

/// Type of a descriptor, numbered as in the scap format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum FdKind {
    #[default]
    Unknown,
    File,
    Directory,
    Ipv4Socket,
    Ipv6Socket,
    Ipv4Server,
    Ipv6Server,
    Pipe,
    UnixSocket,
    Event,
    Unsupported,
    Signal,
    EventPoll,
    Inotify,
    Timer,
    Netlink,
    Bpf,
    UserFault,
    IoUring,
    Memory,
    PidFd,
}

impl FdKind {
    /// The kind of that number in the scap format.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Unknown,
            1 | 16 => Self::File,
            2 => Self::Directory,
            3 => Self::Ipv4Socket,
            4 => Self::Ipv6Socket,
            5 => Self::Ipv4Server,
            6 => Self::Ipv6Server,
            7 => Self::Pipe,
            8 => Self::UnixSocket,
            9 => Self::Event,
            10 => Self::Unsupported,
            11 => Self::Signal,
            12 => Self::EventPoll,
            13 => Self::Inotify,
            14 => Self::Timer,
            15 => Self::Netlink,
            17 => Self::Bpf,
            18 => Self::UserFault,
            19 => Self::IoUring,
            20 => Self::Memory,
            21 => Self::PidFd,
            _ => return None,
        })
    }

    /// Its number in the scap format; files have the one that carries flags.
    pub const fn number(self) -> u8 {
        match self {
            Self::File => 16,
            Self::Bpf => 17,
            Self::UserFault => 18,
            Self::IoUring => 19,
            Self::Memory => 20,
            Self::PidFd => 21,
            // The others are declared in the order of the format.
            other => other as u8,
        }
    }

    /// `fd.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Ipv4Socket | Self::Ipv4Server => "ipv4",
            Self::Ipv6Socket | Self::Ipv6Server => "ipv6",
            Self::UnixSocket => "unix",
            Self::Pipe => "pipe",
            Self::Event => "event",
            Self::Signal => "signalfd",
            Self::EventPoll => "eventpoll",
            Self::Inotify => "inotify",
            Self::Timer => "timerfd",
            Self::Netlink => "netlink",
            Self::Bpf => "bpf",
            Self::UserFault => "userfaultfd",
            Self::IoUring => "io_uring",
            Self::Memory => "memfd",
            Self::PidFd => "pidfd",
            Self::Unknown | Self::Unsupported => "<NA>",
        }
    }

    /// `fd.typechar`.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::File => "f",
            Self::Directory => "d",
            Self::Ipv4Socket | Self::Ipv4Server => "4",
            Self::Ipv6Socket | Self::Ipv6Server => "6",
            Self::UnixSocket | Self::UserFault => "u",
            Self::Pipe => "p",
            Self::Event => "e",
            Self::Unknown => "o",
            Self::Unsupported => "X",
            Self::Signal => "s",
            Self::EventPoll => "l",
            Self::Inotify => "i",
            Self::Timer => "t",
            Self::Netlink => "n",
            Self::Bpf => "b",
            Self::IoUring => "r",
            Self::Memory => "m",
            Self::PidFd => "P",
        }
    }

    /// Whether it is one end of an IP connection.
    pub const fn is_ip_socket(self) -> bool {
        matches!(self, Self::Ipv4Socket | Self::Ipv6Socket)
    }

    /// Whether it is an IP socket of any kind.
    pub const fn is_ip(self) -> bool {
        matches!(self, Self::Ipv4Socket | Self::Ipv6Socket | Self::Ipv4Server | Self::Ipv6Server)
    }
}

/// Transport protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Transport {
    #[default]
    Unknown,
    NotASocket,
    Tcp,
    Udp,
    Icmp,
    Raw,
}

impl Transport {
    /// The protocol of that number in the scap format.
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::NotASocket,
            2 => Self::Tcp,
            3 => Self::Udp,
            4 => Self::Icmp,
            5 => Self::Raw,
            _ => Self::Unknown,
        }
    }

    /// Its number in the scap format.
    pub const fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::NotASocket => 1,
            Self::Tcp => 2,
            Self::Udp => 3,
            Self::Icmp => 4,
            Self::Raw => 5,
        }
    }

    /// `fd.l4proto`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Raw => "raw",
            Self::Unknown | Self::NotASocket => "<NA>",
        }
    }

    /// The letter that follows the type's in `evt.args`.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Tcp => "t",
            Self::Udp => "u",
            Self::Icmp => "i",
            Self::Raw => "r",
            Self::Unknown | Self::NotASocket => "",
        }
    }
}

/// Which end of its connection a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// Not known, or no connection.
    #[default]
    None,
    /// It connected.
    Client,
    /// It accepted.
    Server,
}

/// Addresses of a socket. The client is the source; a listening socket has only a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Address of the client.
    pub source: IpAddr,
    /// Port of the client.
    pub source_port: u16,
    /// Address of the server.
    pub dest: IpAddr,
    /// Port of the server.
    pub dest_port: u16,
}

impl Default for Ends {
    fn default() -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { source: nowhere, source_port: 0, dest: nowhere, dest_port: 0 }
    }
}

impl Ends {
    /// Exchanges client and server.
    pub fn swap(&mut self) {
        std::mem::swap(&mut self.source, &mut self.dest);
        std::mem::swap(&mut self.source_port, &mut self.dest_port);
    }

    /// The same connection seen from the other side.
    #[must_use]
    pub fn swapped(mut self) -> Self {
        self.swap();
        self
    }
}

/// What a descriptor stands for.
#[derive(Debug, Clone, Default)]
pub struct Fd {
    /// Its type.
    pub kind: FdKind,
    /// Path, or both ends of a connection as text.
    pub name: Option<Text>,
    /// The path as the program gave it.
    pub raw_name: Option<Text>,
    /// Open flags, numbered as in the scap format.
    pub open_flags: u32,
    /// Device of a file.
    pub dev: u32,
    /// Inode of a file or pipe.
    pub ino: u64,
    /// The process that a pidfd stands for.
    pub pid: i64,
    /// Addresses of an IP socket.
    pub ends: Ends,
    /// Kernel addresses of the ends of a unix socket.
    pub unix_ends: (u64, u64),
    /// Transport protocol.
    pub transport: Transport,
    /// Which end the process is.
    pub role: Role,
    /// Whether it is connected.
    pub connected: bool,
    /// Lies in the upper layer of an overlay.
    pub upper_layer: bool,
    /// Lies in a lower layer of an overlay.
    pub lower_layer: bool,
}

/// `O_CLOEXEC` in the scap format's numbering.
pub(crate) const O_CLOEXEC: u32 = 1 << 12;

impl Fd {
    /// A descriptor of that kind without a name.
    pub fn of(kind: FdKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Its name; empty when it has none.
    pub fn name(&self) -> &[u8] {
        self.name.as_deref().unwrap_or(b"")
    }

    /// Replaces its name.
    pub fn set_name(&mut self, name: &[u8]) {
        self.name = (!name.is_empty()).then(|| name.into());
    }

    /// Whether an exec closes it. The close-on-exec bits of `epoll_create1` and
    /// `memfd_create` are translated by whoever makes the descriptor.
    pub fn closes_on_exec(&self) -> bool {
        self.open_flags & O_CLOEXEC != 0
            || (matches!(self.kind, FdKind::Memory | FdKind::EventPoll) && self.open_flags & 1 != 0)
    }

    /// Forgets that an exec closes it: a duplicate begins without the flag.
    pub fn keep_on_exec(&mut self) {
        self.open_flags &= !(O_CLOEXEC | 1);
    }

    /// The transport protocol as `fd.l4proto` sees it: unknown before the role is.
    pub fn l4proto(&self) -> Transport {
        match self.kind {
            FdKind::Ipv4Server | FdKind::Ipv6Server => self.transport,
            FdKind::Ipv4Socket | FdKind::Ipv6Socket => {
                if self.transport == Transport::Raw || self.role != Role::None {
                    self.transport
                } else {
                    Transport::NotASocket
                }
            }
            _ => Transport::NotASocket,
        }
    }

    /// Writes the name of an IP connection from its ends and transport.
    pub fn name_connection(&mut self) {
        let mut name = String::new();
        let ends = &self.ends;
        match self.transport {
            Transport::Tcp | Transport::Udp => {
                let _ = write_ends(&mut name, ends);
            }
            Transport::Icmp => {
                let _ = write!(name, "{}->{}", ends.source, ends.dest);
            }
            Transport::Raw if self.kind == FdKind::Ipv4Socket => {
                let _ = write!(name, "{}->{}", ends.source, ends.dest);
            }
            _ => name.push_str("<unknown>"),
        }
        self.set_name(name.as_bytes());
    }
}

fn write_ends(out: &mut String, ends: &Ends) -> std::fmt::Result {
    write!(
        out,
        "{}:{}->{}:{}",
        Address(ends.source),
        ends.source_port,
        Address(ends.dest),
        ends.dest_port
    )
}

/// Both ends of a connection as text: `10.0.0.1:80->10.0.0.2:5000`.
pub fn format_ends(ends: &Ends) -> String {
    let mut out = String::new();
    let _ = write_ends(&mut out, ends);
    out
}

/// A socket address or pair of them in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketName<'a> {
    /// Both ends, IPv4 (also when written as mapped IPv6).
    Ipv4(Ends),
    /// Both ends, IPv6.
    Ipv6(Ends),
    /// Kernel addresses and path of a unix socket.
    Unix {
        /// Kernel address of the source.
        source: u64,
        /// Kernel address of the destination.
        dest: u64,
        /// Path, possibly empty.
        path: &'a [u8],
    },
    /// Another family.
    Other(u8),
}

/// Families in the scap format.
const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

fn ipv4(cursor: &mut Cursor<'_>) -> Option<IpAddr> {
    // The address is in network order, which is how its bytes are read.
    cursor.array::<4>().map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)))
}

fn ipv6(cursor: &mut Cursor<'_>) -> Option<Ipv6Addr> {
    cursor.array::<16>().map(Ipv6Addr::from)
}

/// The IPv4 address inside a mapped IPv6 one; `::` counts as mapped.
pub(crate) fn mapped(address: Ipv6Addr) -> Option<IpAddr> {
    if address.is_unspecified() {
        return Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    address.to_ipv4_mapped().map(IpAddr::V4)
}

/// Decodes a `socktuple` parameter; `None` when it is absent or malformed.
pub fn decode_tuple(bytes: &[u8]) -> Option<SocketName<'_>> {
    let mut cursor = Cursor(bytes);
    match cursor.u8()? {
        AF_INET => {
            let source = ipv4(&mut cursor)?;
            let source_port = cursor.u16()?;
            let dest = ipv4(&mut cursor)?;
            let dest_port = cursor.u16()?;
            Some(SocketName::Ipv4(Ends { source, source_port, dest, dest_port }))
        }
        AF_INET6 => {
            let source = ipv6(&mut cursor)?;
            let source_port = cursor.u16()?;
            let dest = ipv6(&mut cursor)?;
            let dest_port = cursor.u16()?;
            if let (Some(source), Some(dest)) = (mapped(source), mapped(dest)) {
                return Some(SocketName::Ipv4(Ends { source, source_port, dest, dest_port }));
            }
            let (source, dest) = (IpAddr::V6(source), IpAddr::V6(dest));
            Some(SocketName::Ipv6(Ends { source, source_port, dest, dest_port }))
        }
        AF_UNIX => {
            let source = cursor.u64()?;
            let dest = cursor.u64()?;
            let path = cursor.0.strip_suffix(b"\0")?;
            Some(SocketName::Unix { source, dest, path: crate::record::until_nul(path) })
        }
        family => Some(SocketName::Other(family)),
    }
}

/// Decodes a `sockaddr` parameter; the address is the destination.
pub fn decode_address(bytes: &[u8]) -> Option<SocketName<'_>> {
    let mut cursor = Cursor(bytes);
    match cursor.u8()? {
        AF_INET => {
            let dest = ipv4(&mut cursor)?;
            let dest_port = cursor.u16()?;
            Some(SocketName::Ipv4(Ends { dest, dest_port, ..Ends::default() }))
        }
        AF_INET6 => {
            let address = ipv6(&mut cursor)?;
            let dest_port = cursor.u16()?;
            let ends = |dest| Ends { dest, dest_port, ..Ends::default() };
            Some(match mapped(address) {
                Some(dest) => SocketName::Ipv4(ends(dest)),
                None => SocketName::Ipv6(ends(IpAddr::V6(address))),
            })
        }
        AF_UNIX => {
            let path = cursor.0.strip_suffix(b"\0")?;
            let path = crate::record::until_nul(path);
            Some(SocketName::Unix { source: 0, dest: 0, path })
        }
        family => Some(SocketName::Other(family)),
    }
}

/// The name of a unix connection: `ffff8800->ffff8801 /run/x.sock`.
pub fn format_unix(source: u64, dest: u64, path: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(path.len() + 36);
    text::push_fmt(&mut name, format_args!("{source:x}->{dest:x} "));
    text::push_printable(path, &mut name);
    name
}

/// Hashes small numbers by one multiplication: thread ids and descriptors are chosen by
/// the kernel, so the tables need no defence against crafted keys.
#[derive(Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }
}

/// A map from small numbers.
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// The descriptors of one process.
#[derive(Debug, Clone, Default)]
pub struct FdTable(Arc<NumberMap<i64, Fd>>);

impl FdTable {
    /// What `fd` stands for.
    pub fn get(&self, fd: i64) -> Option<&Fd> {
        if fd < 0 { None } else { self.0.get(&fd) }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, fd: i64) -> Option<&mut Fd> {
        self.get(fd)?;
        Arc::make_mut(&mut self.0).get_mut(&fd)
    }

    /// Puts `entry` at `fd`; false when the table is full.
    pub fn insert(&mut self, fd: i64, entry: Fd) -> bool {
        if self.0.len() >= FDS_MAX && !self.0.contains_key(&fd) {
            return false;
        }
        Arc::make_mut(&mut self.0).insert(fd, entry);
        true
    }

    /// Removes `fd`.
    pub fn remove(&mut self, fd: i64) {
        if self.get(fd).is_some() {
            Arc::make_mut(&mut self.0).remove(&fd);
        }
    }

    /// Keeps only what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(i64, &Fd) -> bool) {
        if self.0.iter().any(|(fd, entry)| !keep(*fd, entry)) {
            Arc::make_mut(&mut self.0).retain(|fd, entry| keep(*fd, entry));
        }
    }

    /// Changes every entry.
    pub fn for_each_mut(&mut self, mut change: impl FnMut(i64, &mut Fd)) {
        for (fd, entry) in Arc::make_mut(&mut self.0) {
            change(*fd, entry);
        }
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Fd)> {
        self.0.iter().map(|(fd, entry)| (*fd, entry))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_table_is_copied_when_changed() {
        let mut parent = FdTable::default();
        parent.insert(0, Fd::of(FdKind::File));
        let mut child = parent.clone();
        child.remove(0);
        child.remove(7);
        assert_eq!((parent.len(), child.len()), (1, 0));
        assert!(parent.get(-1).is_none());
    }

    #[test]
    fn kinds_have_the_formats_numbers() {
        for number in 0..=21 {
            let kind = FdKind::from_number(number).unwrap();
            assert_eq!(kind.number(), if number == 1 { 16 } else { number });
        }
        assert_eq!(FdKind::from_number(22), None);
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = FdTable::default();
        for fd in 0..FDS_MAX as i64 {
            assert!(table.insert(fd, Fd::default()));
        }
        assert!(!table.insert(FDS_MAX as i64, Fd::default()));
        assert!(table.insert(5, Fd::of(FdKind::Pipe)), "a known one is replaced");
    }

    #[test]
    fn tuples_are_decoded() {
        let mut bytes = vec![AF_INET, 10, 0, 0, 1];
        bytes.extend(80_u16.to_le_bytes());
        bytes.extend([10, 0, 0, 2]);
        bytes.extend(5000_u16.to_le_bytes());
        let Some(SocketName::Ipv4(ends)) = decode_tuple(&bytes) else { panic!() };
        assert_eq!(format_ends(&ends), "10.0.0.1:80->10.0.0.2:5000");
        for length in 0..bytes.len() {
            assert_eq!(decode_tuple(&bytes[..length]), None, "{length}");
        }
        assert_eq!(decode_tuple(&[77]), Some(SocketName::Other(77)));
        assert_eq!(
            decode_address(b"\x01/run/x.sock\0"),
            Some(SocketName::Unix { source: 0, dest: 0, path: b"/run/x.sock" })
        );
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mut bytes = vec![AF_INET6];
        bytes.extend("::ffff:1.2.3.4".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(1_u16.to_le_bytes());
        bytes.extend("::ffff:5.6.7.8".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(2_u16.to_le_bytes());
        let Some(SocketName::Ipv4(ends)) = decode_tuple(&bytes) else { panic!() };
        assert_eq!(format_ends(&ends), "1.2.3.4:1->5.6.7.8:2");
    }
}
