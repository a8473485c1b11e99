//! What one port lets through, as packet filters. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use super::{ADDRESSES_MAX, NetworkError, Port, TABLE, check_device};

/// An address with the length of its network's prefix: `10.88.0.5/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// The address.
    pub address: IpAddr,
    /// Bits that are the network's.
    pub prefix: u8,
}

impl Subnet {
    /// Whether `other` is in the same network.
    pub fn contains(&self, other: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        let mask = if self.prefix == 0 { 0 } else { u128::MAX << (128 - u32::from(self.prefix)) };
        self.address.is_ipv4() == other.is_ipv4() && bits(self.address) & mask == bits(other) & mask
    }

    /// The network, without the bits that are the address's own.
    #[must_use]
    pub fn network(&self) -> Self {
        let own = |bits: u32| u128::MAX.checked_shr(bits).unwrap_or(0);
        let prefix = u32::from(self.prefix);
        let address = match self.address {
            IpAddr::V4(address) => {
                let own = u32::try_from(own(prefix + 96)).unwrap_or(u32::MAX);
                Ipv4Addr::from_bits(address.to_bits() & !own).into()
            }
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !own(prefix)).into(),
        };
        Self { address, prefix: self.prefix }
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address with a prefix, such as 10.88.0.5/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix <= longest { Ok(Self { address, prefix }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Name of the table of a device's guard. What a name of a device may hold and a table's may not is
/// spelt out.
pub(super) fn table_of(device: &str) -> String {
    let spelt = device.replace('_', "_u").replace('-', "_m").replace('.', "_d");
    format!("{TABLE}{spelt}")
}

/// How many frames of a port were refused, by what they claimed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Another MAC address as their source.
    pub mac: u64,
    /// Another's address in ARP.
    pub arp: u64,
    /// Another IP address as their source.
    pub address: u64,
    /// To be a DHCP server.
    pub dhcp: u64,
    /// To be a router: advertisements and redirects.
    pub router: u64,
    /// Another's address in neighbour advertisements.
    pub neighbour: u64,
    /// Anything else: other protocols, fragments of control messages.
    pub other: u64,
}

/// The guard of one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// The device on the host.
    pub device: String,
    /// The container's MAC address.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Guard {
    /// The guard of `device` for a container with these addresses. The link-local address that
    /// follows from its MAC address is its own besides.
    ///
    /// # Errors
    ///
    /// The device's name cannot be one, or there are too many addresses.
    pub fn new(device: &str, mac: [u8; 6], addresses: Vec<IpAddr>) -> Result<Self, NetworkError> {
        check_device(device)?;
        let mut addresses = addresses;
        addresses.push(IpAddr::V6(link_local(mac)));
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.len() > ADDRESSES_MAX {
            let text = format!("`{device}` has more than {ADDRESSES_MAX} addresses");
            return Err(NetworkError::Unusable(text));
        }
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        Ok(Self { device: device.to_string(), mac, addresses })
    }

    /// Name of its table.
    pub(super) fn table(&self) -> String {
        table_of(&self.device)
    }

    /// The filters, as one transaction that replaces those before.
    pub fn script(&self) -> String {
        let (table, device, mac) = (self.table(), &self.device, &self.mac);
        let of =
            |is_v4: bool| self.addresses.iter().filter(move |address| address.is_ipv4() == is_v4);
        let elements = |is_v4: bool| {
            let all: Vec<String> = of(is_v4).map(ToString::to_string).collect();
            match &all[..] {
                [] => String::new(),
                all => format!(" elements = {{ {} }}", all.join(", ")),
            }
        };
        // The target of an advertisement has no name in nft before 1.0.9: 16 bytes, 8 bytes into it.
        let targets: Vec<String> = of(false)
            .filter_map(|address| match address {
                IpAddr::V6(address) => Some(format!("0x{:032x}", address.to_bits())),
                IpAddr::V4(_) => None,
            })
            .collect();
        let targets = targets.join(", ");
        let counters = COUNTERS.map(|name| format!("  counter {name} {{ }}\n")).concat();
        let (own4, own6) = (elements(true), elements(false));
        format!(
            "add table netdev {table}\ndelete table netdev {table}\ntable netdev {table} {{
{counters}  set own4 {{ type ipv4_addr;{own4} }}
  set own6 {{ type ipv6_addr;{own6} }}
  chain from {{
    type filter hook ingress device \"{device}\" priority -400; policy drop;
    ether saddr != {mac} counter name \"n_mac\" drop
    ether type arp arp saddr ether != {mac} counter name \"n_arp\" drop
    ether type arp arp htype 1 arp ptype 0x0800 arp saddr ip @own4 accept
    ether type arp arp operation request arp saddr ip 0.0.0.0 accept
    ether type arp counter name \"n_arp\" drop
    ether type ip udp sport 67 counter name \"n_dhcp\" drop
    ether type ip ip saddr @own4 accept
    ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    ether type ip counter name \"n_address\" drop
    ether type ip6 frag nexthdr != {{ tcp, udp }} counter name \"n_other\" drop
    ether type ip6 udp sport 547 counter name \"n_dhcp\" drop
    ether type ip6 icmpv6 type {{ nd-router-advert, nd-redirect }} counter name \"n_router\" drop
    ether type ip6 icmpv6 type nd-neighbor-advert @th,64,128 != {{ {targets} }} counter name \"n_neighbour\" drop
    ether type ip6 ip6 saddr @own6 accept
    ether type ip6 ip6 saddr :: icmpv6 type {{ nd-neighbor-solicit, mld-listener-report, mld2-listener-report }} accept
    ether type ip6 counter name \"n_address\" drop
    counter name \"n_other\"
  }}
}}
"
        )
    }
}

const COUNTERS: [&str; 7] =
    ["n_mac", "n_arp", "n_address", "n_dhcp", "n_router", "n_neighbour", "n_other"];

/// The link-local address of a MAC address (RFC 4291, appendix A).
fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let bits = mac.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte)) ^ (2 << 40);
    let tail = ((bits >> 24) << 40) | (0xfffe << 24) | (bits & 0x00ff_ffff);
    Ipv6Addr::from_bits((0xfe80_u128 << 112) | u128::from(tail))
}

/// The devices that are guarded by what `nft --json list chains` says. Kernels before 6.16 take the
/// chain away with its device and leave the table, and another device can have got the name.
pub(super) fn read_guarded(document: &Value) -> Result<BTreeSet<String>, NetworkError> {
    let chains = entries(document, "chains")?.filter_map(|entry| entry.get("chain"));
    Ok(chains.filter_map(guarded_device).collect())
}

/// The ports of which there are counters in what `nft --json list counters` says.
pub(super) fn read_ports(document: &Value) -> Result<Vec<Port>, NetworkError> {
    let mut ports: Vec<Port> = Vec::new();
    for counter in entries(document, "counters")?.filter_map(|entry| entry.get("counter")) {
        let text = |key: &str| counter.get(key).and_then(Value::as_str).unwrap_or_default();
        let Some(device) = guarded_device(counter) else { continue };
        let at = ports.iter().position(|port| port.device == device).unwrap_or_else(|| {
            ports.push(Port { device, refused: Refused::default() });
            ports.len() - 1
        });
        let n = counter.get("packets").and_then(Value::as_u64).unwrap_or(0);
        let Some(Port { refused, .. }) = ports.get_mut(at) else { continue };
        match text("name") {
            "n_mac" => refused.mac = n,
            "n_arp" => refused.arp = n,
            "n_address" => refused.address = n,
            "n_dhcp" => refused.dhcp = n,
            "n_router" => refused.router = n,
            "n_neighbour" => refused.neighbour = n,
            "n_other" => refused.other = n,
            _ => {}
        }
    }
    Ok(ports)
}

/// What a list of `nft --json` holds.
fn entries<'a>(
    document: &'a Value,
    what: &str,
) -> Result<impl Iterator<Item = &'a Value>, NetworkError> {
    let unknown = || NetworkError::Program {
        program: "nft",
        reason: format!("its list of {what} cannot be understood"),
    };
    let entries = document.get("nftables").and_then(Value::as_array).ok_or_else(unknown)?;
    Ok(entries.iter())
}

/// The device whose guard has this part.
fn guarded_device(part: &Value) -> Option<String> {
    let text = |key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default();
    let spelt = text("table").strip_prefix(TABLE)?;
    (text("family") == "netdev")
        .then(|| spelt.replace("_d", ".").replace("_m", "-").replace("_u", "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_compared() {
        let check = |text: &str, other: &str, expected: bool| {
            let subnet: Subnet = text.parse().unwrap();
            assert_eq!(subnet.to_string(), text);
            assert_eq!(subnet.contains(other.parse().unwrap()), expected, "{text} {other}");
        };
        for (text, network) in [
            ("10.88.3.5/22", "10.88.0.0/22"),
            ("10.88.3.5/32", "10.88.3.5/32"),
            ("10.88.3.5/0", "0.0.0.0/0"),
            ("fd00::1:5/64", "fd00::/64"),
        ] {
            assert_eq!(text.parse::<Subnet>().unwrap().network().to_string(), network);
        }
        check("10.88.0.5/24", "10.88.0.1", true);
        check("10.88.0.5/24", "10.88.1.1", false);
        check("10.88.0.5/0", "1.2.3.4", true);
        check("fd00::5/64", "fd00::1", true);
        check("fd00::5/64", "fd00:0:0:1::1", false);
        check("0.0.0.0/0", "::1", false);
        for wrong in ["10.0.0.1", "10.0.0.1/33", "x/24", "10.0.0.1/", "fd00::/129"] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_script_says_whose_the_port_is_and_nothing_can_be_smuggled_into_it() {
        let mac = [2, 0, 0, 0, 0, 5];
        let own = vec!["10.88.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        let guard = Guard::new("ve-th_0.1", mac, own).unwrap();
        assert_eq!(guard.table(), "palisade_guard_ve_mth_u0_d1");
        let script = guard.script();
        for expected in [
            "device \"ve-th_0.1\"",
            "ether saddr != 02:00:00:00:00:05",
            "elements = { 10.88.0.5 }",
            "elements = { fd00::5, fe80::ff:fe00:5 }",
            "0xfd000000000000000000000000000005, 0xfe80000000000000000000fffe000005",
            "policy drop",
        ] {
            assert!(script.contains(expected), "{expected}: {script}");
        }
        for wrong in ["", "a\"; flush ruleset", "-x", "a b", "0123456789abcdef"] {
            assert!(Guard::new(wrong, mac, Vec::new()).is_err(), "{wrong}");
        }
        let many = (0..=64_u8).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert!(Guard::new("veth0", mac, many).is_err());
    }

    #[test]
    fn counters_are_read_by_port() {
        let document = serde_json::json!({"nftables": [
            {"metainfo": {}},
            {"counter": {"family": "netdev", "name": "n_arp", "table": "palisade_guard_ve_mth_u0_d1", "packets": 7}},
            {"counter": {"family": "inet", "name": "n_arp", "table": "palisade_guard_x", "packets": 7}},
            {"counter": {"family": "netdev", "name": "n_mac", "table": "another", "packets": 7}},
        ]});
        let ports = read_ports(&document).unwrap();
        assert_eq!(ports.len(), 1);
        assert_eq!((ports[0].device.as_str(), ports[0].refused.arp), ("ve-th_0.1", 7));
        assert!(read_ports(&serde_json::json!([])).is_err());
        // What a guard has left whose device is gone has no chain.
        let document = serde_json::json!({"nftables": [
            {"chain": {"family": "netdev", "name": "from", "table": "palisade_guard_ve_mth1"}},
            {"chain": {"family": "inet", "name": "from", "table": "palisade_guard_x"}},
            {"chain": {"family": "netdev", "name": "from", "table": "another"}},
        ]});
        assert_eq!(read_guarded(&document).unwrap(), BTreeSet::from(["ve-th1".to_string()]));
        assert!(read_guarded(&serde_json::json!([])).is_err());
    }
}
