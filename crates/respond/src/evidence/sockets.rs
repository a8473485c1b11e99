//! Sockets of a network namespace, with the processes that hold them.
//!
//! From `/proc/PID/net/{tcp,tcp6,udp,udp6,unix}` (kernel
//! `Documentation/networking/proc_net_tcp.rst`): every process shows its own namespace.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

/// Most sockets listed of one table.
pub(super) const SOCKETS_MAX: usize = 65_536;

/// Processes and descriptors by socket inode.
pub(super) type Owners = BTreeMap<u64, Vec<Owner>>;

/// A descriptor that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Owner {
    pub(super) pid: u32,
    pub(super) fd: u32,
}

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Socket {
    protocol: &'static str,
    local: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    state: String,
    inode: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    owners: Vec<Owner>,
}

impl Socket {
    pub(super) fn has_owner(&self) -> bool {
        !self.owners.is_empty()
    }
}

/// Parses one table named `protocol`.
pub(super) fn parse(protocol: &'static str, text: &str, owners: &Owners) -> Vec<Socket> {
    let parse_line = |line: &str| match protocol {
        "unix" => parse_unix(line, owners),
        _ => parse_inet(protocol, line, owners),
    };
    text.lines().skip(1).filter_map(parse_line).take(SOCKETS_MAX).collect()
}

fn parse_inet(protocol: &'static str, line: &str, owners: &Owners) -> Option<Socket> {
    let mut parts = line.split_whitespace().skip(1);
    let local = address(parts.next()?)?;
    let remote = address(parts.next()?)?;
    let state = u8::from_str_radix(parts.next()?, 16).ok()?;
    let mut parts = parts.skip(3);
    let uid = parts.next()?.parse().ok();
    let inode = parts.nth(1)?.parse().ok()?;
    let connected = remote.port() != 0 || !remote.ip().is_unspecified();
    Some(Socket {
        protocol,
        local: local.to_string(),
        remote: connected.then(|| remote.to_string()),
        state: state_name(state).to_string(),
        inode,
        uid,
        owners: owners.get(&inode).cloned().unwrap_or_default(),
    })
}

fn parse_unix(line: &str, owners: &Owners) -> Option<Socket> {
    let mut parts = line.split_whitespace();
    let kind = parts.nth(4)?;
    let state = parts.next()?;
    let inode = parts.next()?.parse().ok()?;
    let name = parts.next().unwrap_or("").to_string();
    let kind = match kind {
        "0001" => "stream",
        "0002" => "datagram",
        "0005" => "seqpacket",
        other => other,
    };
    Some(Socket {
        protocol: "unix",
        local: name,
        remote: None,
        state: format!("{kind} {}", if state == "03" { "connected" } else { "unconnected" }),
        inode,
        uid: None,
        owners: owners.get(&inode).cloned().unwrap_or_default(),
    })
}

/// `0100007F:1F90`: words in the machine's byte order, port in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |hex: &str| u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes);
    let ip = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(host)?)),
        32 => {
            let mut bytes = [0_u8; 16];
            for (i, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(host.get(i * 8..i * 8 + 8)?)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Names of `include/net/tcp_states.h`.
fn state_name(state: u8) -> &'static str {
    const NAMES: [&str; 13] = [
        "unknown",
        "established",
        "syn-sent",
        "syn-recv",
        "fin-wait-1",
        "fin-wait-2",
        "time-wait",
        "close",
        "close-wait",
        "last-ack",
        "listen",
        "closing",
        "new-syn-recv",
    ];
    NAMES.get(usize::from(state)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let owners = Owners::from([(77, vec![Owner { pid: 9, fd: 3 }])]);
        let tcp = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 77 1 0 100 0
   1: 0100007F:1F90 FEA9FEA9:0050 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0 100 0
garbage
";
        let sockets = parse("tcp", tcp, &owners);
        assert_eq!(sockets.len(), 2);
        assert_eq!(sockets[0].local, "127.0.0.1:8080");
        assert_eq!((sockets[0].state.as_str(), sockets[0].uid), ("listen", Some(1000)));
        assert!(sockets[0].remote.is_none() && sockets[0].has_owner());
        assert_eq!(sockets[1].remote.as_deref(), Some("169.254.169.254:80"));
        let tcp6 = "x\n 0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 5 1";
        assert_eq!(parse("tcp6", tcp6, &owners)[0].local, "[::1]:22");
        let unix = "Num RefCount\n0000: 00000002 00000000 00010000 0001 01 77 /run/x.sock\n";
        assert_eq!(parse("unix", unix, &owners)[0].local, "/run/x.sock");
    }
}
