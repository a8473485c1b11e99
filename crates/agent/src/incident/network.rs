//! The addresses and connections of a network namespace, as `/proc/PID/net` shows them.
//!
//! No namespace is entered for it: the files of a process show its own namespace to the host's
//! root. Formats: Documentation/networking/proc_net_tcp.rst, net/ipv4/fib_trie.c,
//! net/ipv6/addrconf.c of the kernel.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use palisade_model::incident::Connection;

/// Bytes of each file that are read; the rest is counted as a gap.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Connections that are kept.
pub const CONNECTIONS_MAX: usize = 1024;
/// `TCP_LISTEN` of include/net/tcp_states.h.
const LISTEN: u8 = 0x0a;

/// What a network namespace is connected with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetView {
    /// Its addresses, without loopback and link-local ones.
    pub addresses: BTreeSet<IpAddr>,
    /// On-link IPv4 networks: address and prefix length.
    pub networks: BTreeSet<(Ipv4Addr, u8)>,
    /// TCP connections, also those that have just ended, in the order of their addresses.
    pub connections: BTreeSet<Connection>,
    /// Whether there was more than is kept.
    pub is_cut: bool,
}

impl NetView {
    /// Looks at the namespace of process `pid`; `proc` is `/proc`.
    pub fn of_process(proc: &Path, pid: u32) -> io::Result<Self> {
        let folder = proc.join(pid.to_string()).join("net");
        let mut view = Self::default();
        let mut text = |name: &str| -> io::Result<String> {
            let mut bytes = Vec::new();
            let file = match File::open(folder.join(name)) {
                Ok(file) => file,
                // A kernel without IPv6 has no such file.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {
                    return Ok(String::new());
                }
                Err(error) => return Err(error),
            };
            file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            view.is_cut |= bytes.len() as u64 == FILE_BYTES_MAX;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (trie, v6, route) = (text("fib_trie")?, text("if_inet6")?, text("route")?);
        let (tcp, tcp6) = (text("tcp")?, text("tcp6")?);
        view.addresses = parse_fib_trie(&trie).chain(parse_if_inet6(&v6)).collect();
        view.networks = parse_route(&route).collect();
        let (connections, is_cut) = parse_tcp(&[&tcp, &tcp6]);
        view.connections = connections;
        view.is_cut |= is_cut;
        Ok(view)
    }

    /// The first connection of this namespace with an address of `other`.
    pub fn connection_with(&self, other: &Self) -> Option<&Connection> {
        self.connections.iter().find(|connection| other.addresses.contains(&connection.remote.ip()))
    }

    /// A network that both are directly on.
    pub fn shared_network(&self, other: &Self) -> Option<(Ipv4Addr, u8)> {
        self.networks.intersection(&other.networks).next().copied()
    }
}

/// Whether process `pid` has the network namespace of the machine's first process, or ours where
/// that process is kept from us.
pub fn shares_host_network(proc: &Path, pid: u32) -> io::Result<bool> {
    let namespace = |process: &str| std::fs::read_link(proc.join(process).join("ns/net"));
    let host = namespace("1").or_else(|_| namespace("self"))?;
    Ok(namespace(&pid.to_string())? == host)
}

/// Whether two machines cannot confuse the address: neither loopback nor link-local.
fn is_distinct(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => {
            !v6.is_loopback() && !v6.is_unspecified() && (v6.segments()[0] & 0xffc0) != 0xfe80
        }
    }
}

/// Local addresses: the line `/32 host LOCAL` speaks of the address on the line before it.
fn parse_fib_trie(text: &str) -> impl Iterator<Item = IpAddr> {
    let mut last: Option<Ipv4Addr> = None;
    text.lines().filter_map(move |line| {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
            return None;
        }
        let is_local = line.trim_end().ends_with("/32 host LOCAL");
        last.filter(|_| is_local).map(IpAddr::V4).filter(is_distinct)
    })
}

fn parse_if_inet6(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next().filter(|digits| digits.len() == 32)?;
        let address = u128::from_str_radix(digits, 16).ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(address))).filter(is_distinct)
    })
}

/// Routes without a gateway, of every interface but loopback.
fn parse_route(text: &str) -> impl Iterator<Item = (Ipv4Addr, u8)> {
    text.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let interface = words.next()?;
        let mut number = || u32::from_str_radix(words.next()?, 16).ok();
        let (network, gateway) = (number()?, number()?);
        // Flags, references, uses, metric; then the mask. All but the flags are decimal.
        let mask = u32::from_str_radix(words.nth(4)?, 16).ok()?;
        if interface == "lo" || gateway != 0 || mask == 0 {
            return None;
        }
        let network = Ipv4Addr::from(network.to_ne_bytes());
        u8::try_from(mask.count_ones()).ok().map(|prefix| (network, prefix))
    })
}

/// Connections of `/proc/net/tcp` and `tcp6`; the boolean says whether some were left out.
fn parse_tcp(texts: &[&str]) -> (BTreeSet<Connection>, bool) {
    let sockets = || texts.iter().flat_map(|text| text.lines().skip(1)).filter_map(parse_socket);
    let listening: BTreeSet<u16> = sockets()
        .filter(|(_, _, state)| *state == LISTEN)
        .map(|(local, ..)| local.port())
        .collect();
    let mut connections = BTreeSet::new();
    for (local, remote, state) in sockets() {
        if state == LISTEN || remote.port() == 0 || !is_distinct(&remote.ip()) {
            continue;
        }
        if connections.len() >= CONNECTIONS_MAX {
            return (connections, true);
        }
        let inbound = listening.contains(&local.port());
        connections.insert(Connection { local, remote, inbound, peer: None });
    }
    (connections, false)
}

fn parse_socket(line: &str) -> Option<(SocketAddr, SocketAddr, u8)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (parse_end(words.next()?)?, parse_end(words.next()?)?);
    Some((local, remote, u8::from_str_radix(words.next()?, 16).ok()?))
}

/// `0100007F:1F90`: the address as 32-bit words of the machine's own order, and the port.
fn parse_end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (i, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i)?);
            }
            // A version 4 peer of a version 6 socket is the same peer.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 1 1
   1: 0300A8C0:1538 0200A8C0:D431 01 00000000:00000000 00:00000000 00000000   101        0 2 1
   2: 0300A8C0:9C40 08080808:01BB 06 00000000:00000000 03:00001770 00000000     0        0 0 3
   3: 0100007F:9C41 0100007F:1538 01 00000000:00000000 00:00000000 00000000     0        0 0 3
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF00000300A8C0:1538 0000000000000000FFFF00000400A8C0:D432 01 0 0
   1: garbage
";
    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.168.0.0/24 2 0 2
        |-- 192.168.0.0
           /24 link UNICAST
        |-- 192.168.0.3
           /32 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
";
    const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn connections_are_read_with_their_direction() {
        let (connections, is_cut) = parse_tcp(&[TCP, TCP6]);
        let connection = |local, remote, inbound| Connection {
            local: end(local),
            remote: end(remote),
            inbound,
            peer: None,
        };
        let expected = BTreeSet::from([
            connection("192.168.0.3:5432", "192.168.0.2:54321", true),
            connection("192.168.0.3:5432", "192.168.0.4:54322", true),
            connection("192.168.0.3:40000", "8.8.8.8:443", false),
        ]);
        assert_eq!((connections, is_cut), (expected, false));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_and_networks_are_read() {
        let addresses: Vec<IpAddr> = parse_fib_trie(TRIE).collect();
        assert_eq!(addresses, ["192.168.0.3".parse::<IpAddr>().unwrap()]);
        let networks: Vec<_> = parse_route(ROUTE).collect();
        assert_eq!(networks, [(Ipv4Addr::new(192, 168, 0, 0), 24)]);
        let text = "00000000000000000000000000000001 01 80 10 80 lo\n\
                    fd00000000000000000000000000002a 02 40 00 80 eth0\n\
                    fe800000000000000000000000000001 02 40 20 80 eth0\n";
        let addresses: Vec<IpAddr> = parse_if_inet6(text).collect();
        assert_eq!(addresses, ["fd00::2a".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn too_many_connections_are_said_to_be_cut() {
        let line = |i: usize| format!("{i}: 0300A8C0:{:04X} 08080808:01BB 01\n", i + 1);
        let lines: Vec<String> = (0..=CONNECTIONS_MAX).map(line).collect();
        let text = format!("header\n{}", lines.concat());
        let (connections, is_cut) = parse_tcp(&[&text]);
        assert_eq!((connections.len(), is_cut), (CONNECTIONS_MAX, true));
    }

    #[test]
    fn nonsense_is_passed_over() {
        for text in ["", "x", "a\nb: c d e", "h\n0: 0:0 0:0 1", "h\n0: 0100007F:1F90", "h\n: : :"] {
            assert!(parse_tcp(&[text]).0.is_empty());
            assert_eq!(parse_fib_trie(text).count(), 0);
            assert_eq!(parse_if_inet6(text).count(), 0);
            assert_eq!(parse_route(text).count(), 0);
        }
    }

    #[test]
    fn our_own_namespace_can_be_looked_at() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let view = NetView::of_process(Path::new("/proc"), std::process::id()).unwrap();
        // Loopback is nobody's alone.
        let port = listener.local_addr().unwrap().port();
        assert!(view.connections.iter().all(|connection| connection.local.port() != port));
        assert!(view.addresses.iter().all(is_distinct));
    }
}
