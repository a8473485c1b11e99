//! Who listens, from `/proc/PID/net/{tcp,tcp6,udp,udp6}` (proc_pid_net(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

/// Listeners that are looked at; more are counted.
pub const LISTENERS_MAX: usize = 64;
/// Lines of one table that are read.
const LINES_MAX: usize = 100_000;
/// State `TCP_LISTEN` (include/net/tcp_states.h).
const TCP_LISTEN: u8 = 0x0A;
/// A UDP socket that is bound and not connected has the state `TCP_CLOSE`.
const UDP_BOUND: u8 = 0x07;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A socket that takes what others send.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Listener {
    /// TCP or UDP.
    pub transport: Transport,
    /// Its port.
    pub port: u16,
    /// The addresses at which it listens; unspecified ones mean all.
    pub addresses: Vec<IpAddr>,
}

impl Listener {
    /// Whether nobody outside of the container's network namespace can reach it.
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|address| to_v4(*address).is_loopback())
    }

    /// Whether it listens at `address`, by name or because it listens everywhere.
    pub fn takes(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| {
            let own = to_v4(*own);
            // A socket at `::` takes IPv4 too, unless it says otherwise; a connection tells.
            own == address || own.is_unspecified() && (own.is_ipv6() || address.is_ipv4())
        })
    }
}

/// An IPv4 address that is written as an IPv6 one, as IPv4.
fn to_v4(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The listeners of one table, without an order.
fn parse(text: &str, transport: Transport) -> Vec<(u16, IpAddr)> {
    let wanted = if transport == Transport::Tcp { TCP_LISTEN } else { UDP_BOUND };
    let line = |line: &str| -> Option<(u16, IpAddr)> {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == wanted && port != 0).then_some((port, self::address(address)?))
    };
    text.lines().skip(1).take(LINES_MAX).filter_map(line).collect()
}

/// Words of 32 bits in the machine's order, each of which is in network order.
fn address(text: &str) -> Option<IpAddr> {
    if !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (word, chunk) in text.as_bytes().chunks(8).enumerate() {
        let number = u32::from_str_radix(std::str::from_utf8(chunk).ok()?, 16).ok()?;
        bytes.get_mut(word * 4..word * 4 + 4)?.copy_from_slice(&number.to_ne_bytes());
    }
    match text.len() {
        8 => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        32 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// The listeners of all tables, one for each transport and port, in that order.
pub fn listeners(tables: &[(Transport, &str)]) -> Vec<Listener> {
    let mut all: Vec<Listener> = Vec::new();
    for (transport, text) in tables {
        for (port, address) in parse(text, *transport) {
            let is_full = all.len() >= LISTENERS_MAX * 4;
            match all.iter_mut().find(|l| l.transport == *transport && l.port == port) {
                Some(known) if !known.addresses.contains(&address) => known.addresses.push(address),
                None if !is_full => {
                    all.push(Listener { transport: *transport, port, addresses: vec![address] });
                }
                _ => {}
            }
        }
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 00000000:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 99 1 0\n   \
        1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 98 1 0\n   \
        2: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 97 1 0\n   \
        3: nonsense\n";
    const TCP6: &str = "head\n   \
        0: 00000000000000000000000000000000:18EB 00000000000000000000000000000000:0000 0A 0 0 0 0\n   \
        1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0 0 0 0\n   \
        2: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 0 0 0 0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn tables_of_the_kernel_are_read() {
        let found = listeners(&[
            (Transport::Tcp, TCP),
            (Transport::Tcp, TCP6),
            (
                Transport::Udp,
                "head\n 0: 00000000:0035 00000000:0000 07 0\n 1: 00000000:0036 01010101:0001 01 0\n",
            ),
        ]);
        let shown: Vec<String> = found
            .iter()
            .map(|l| {
                format!("{} {} {:?} {}", l.transport.as_str(), l.port, l.addresses, l.is_loopback())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "tcp 80 [::1] true",
                "tcp 81 [::ffff:127.0.0.1] true",
                "tcp 6379 [0.0.0.0, ::] false",
                "tcp 8080 [127.0.0.1] true",
                "udp 53 [0.0.0.0] false",
            ]
        );
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let other: IpAddr = "198.18.0.1".parse().unwrap();
        assert!(found[2].takes(other) && found[3].takes(local) && !found[3].takes(other));
        assert!(found[1].takes(local) && !found[0].takes(local));
    }

    #[test]
    fn a_table_of_nonsense_is_no_listener() {
        for text in [
            "",
            "x",
            "h\n:",
            "h\n0: :",
            "h\n0: ZZ:1 a 0A",
            "h\n0: é0000000:1 a 0A",
            "h\n0: 00:1 a 0A",
        ] {
            assert_eq!(listeners(&[(Transport::Tcp, text)]), []);
        }
    }
}
