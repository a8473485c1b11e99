//! The bridge on which `palisade run` connects containers: to the world, by the host's address, and
//! neither to each other nor to the host.
//!
//! Three packet filters, each replaced as a whole: one for the bridge (`palisade_net`), one that
//! translates addresses (`palisade_nat`), and one for each container that publishes ports
//! (`palisade_ports_…`). What is refused here is also refused when another filter of the host would
//! allow it; what another refuses stays refused.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::lease::{Applicant, Lease, Leases, Protocol, Published};
use super::shared::{self, NetworkName};
use super::tools::{Link, Route, ip, ip_do, nft, nft_json, within};
use super::{Connection, INNER, NetworkError, Place, Subnet, connect_as};

/// The bridge's device.
pub const BRIDGE: &str = "palisade0";
/// Networks of which the first that the host does not use becomes the bridge's, each with the
/// address that the host takes in it.
const CANDIDATES: [&str; 4] =
    ["10.213.0.1/22", "10.214.0.1/22", "172.31.240.1/22", "192.168.252.1/22"];
/// Hex digits of a container's id in the name of its device, which may have 15 bytes.
const ID_DIGITS: usize = 12;
/// A queue of a shaped device holds what is sent in this time.
const SHAPE_LATENCY: &str = "50ms";
/// Bytes that may be sent at once by a shaped device.
const SHAPE_BURST: &str = "64kb";

/// What a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Ports of the host that lead to it.
    pub published: Vec<Published>,
    /// Bytes a second in each direction; `None`: as many as there are.
    pub bytes_per_second: Option<u64>,
    /// The network that it shares with others; without one it is alone.
    pub network: Option<NetworkName>,
}

/// Network of which the shared ones have a 256th each.
const SHARED: &str = "10.215.0.0/16";

/// A bridge, and how its packet filters are called.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bridge {
    device: String,
    suffix: String,
}

impl Bridge {
    fn of(network: Option<&NetworkName>) -> Self {
        match network {
            None => Self { device: BRIDGE.into(), suffix: String::new() },
            Some(name) => Self { device: name.device(), suffix: name.suffix() },
        }
    }
}

/// Takes an address and the ports for container `id`, and makes the bridge if it is not there.
///
/// # Errors
///
/// A port is in use, no address is free, or `ip` and `nft` refuse.
pub(crate) fn reserve(
    place: &Place,
    id: &str,
    name: &str,
    wanted: &Wanted,
) -> Result<Lease, NetworkError> {
    let leases = Leases::hold(place)?;
    for (id, lease) in leases.dead()? {
        take_away(&leases, &id, &lease)?;
    }
    shared::sweep(&leases)?;
    let network = wanted.network.as_ref();
    let bridge = Bridge::of(network);
    let gateway = match existing(&bridge.device)? {
        Some(gateway) => gateway,
        None if network.is_none() => free_network(&leases, &CANDIDATES)?,
        None => free_network(&leases, &shared_candidates())?,
    };
    let device = device_of(id);
    let published = &wanted.published;
    let lease = leases.grant(&Applicant { id, name, device, network, published }, gateway)?;
    // Looked at only now: what others of ours have was refused with a better reason.
    let taken = wanted.published.iter().find(|port| !is_free(port));
    let result = match taken {
        Some(port) => Err(NetworkError::PortTaken(*port)),
        None => set_up(&bridge, gateway, network.map(|_| &leases)),
    };
    if result.is_err() {
        leases.revoke(id)?;
        shared::sweep(&leases)?;
    }
    result.map(|()| lease)
}

/// The host's device of container `id`.
pub fn device_of(id: &str) -> String {
    format!("pal{}", id.get(..ID_DIGITS).unwrap_or(id))
}

/// Connects the container whose first process is `pid` as its lease says.
///
/// # Errors
///
/// `ip` and `nft` refuse.
pub(crate) fn attach(
    place: &Place,
    id: &str,
    pid: u32,
    lease: &Lease,
    wanted: &Wanted,
) -> Result<(), NetworkError> {
    let leases = Leases::hold(place)?;
    let address = Subnet { address: lease.address.into(), prefix: lease.prefix };
    let bridge = Bridge::of(lease.network.as_ref()).device;
    let connection = Connection { bridge, address, gateway: lease.gateway.into() };
    connect_as(pid, &connection, &lease.device, lease.network.is_none())?;
    if let Some(network) = &lease.network {
        shared::tell_names(&leases, &place.bundles, network)?;
    }
    if let Some(rate) = wanted.bytes_per_second {
        shape(&lease.device, rate)?;
        within(pid, || shape(INNER, rate))??;
    }
    if lease.published.is_empty() { Ok(()) } else { nft(&ports_script(id, lease)) }
}

/// Takes away what container `id` had. Does no harm twice.
///
/// # Errors
///
/// `nft` refuses, or the lease cannot be removed.
pub(crate) fn detach(place: &Place, id: &str) -> Result<(), NetworkError> {
    if !place.leases.join(format!("{id}.json")).exists() {
        return Ok(());
    }
    let leases = Leases::hold(place)?;
    let Some(lease) = leases.of(id)? else { return Ok(()) };
    take_away(&leases, id, &lease)?;
    let Some(network) = &lease.network else { return Ok(()) };
    shared::sweep(&leases)?;
    shared::tell_names(&leases, &place.bundles, network)
}

/// What the container `id` had by its lease, and the lease.
fn take_away(leases: &Leases, id: &str, lease: &Lease) -> Result<(), NetworkError> {
    let (ports, guard) = (ports_table(id), super::guard::table_of(&lease.device));
    nft(&format!(
        "add table ip {ports}\ndelete table ip {ports}\n\
         add table netdev {guard}\ndelete table netdev {guard}\n"
    ))?;
    // The pair goes with the container's namespace, a little later than its last process.
    let _gone = ip_do(&["link", "delete", &lease.device]);
    leases.revoke(id)
}

/// Networks of which the first free one becomes a shared one's.
fn shared_candidates() -> Vec<String> {
    let prefix = SHARED.trim_end_matches("0.0/16");
    (0..shared::NETWORKS_MAX).map(|n| format!("{prefix}{n}.1/24")).collect()
}

/// The host's address on the bridge, when there is one.
fn existing(device: &str) -> Result<Option<Subnet>, NetworkError> {
    let links: Vec<Link> = ip(&["-json", "address", "show"])?;
    let bridge = links.iter().find(|link| link.ifname == device);
    Ok(bridge.and_then(|link| link.subnets().find(|subnet| subnet.address.is_ipv4())))
}

/// The first candidate that no address, no route and no lease of the host touches.
fn free_network<T: AsRef<str>>(leases: &Leases, candidates: &[T]) -> Result<Subnet, NetworkError> {
    let links: Vec<Link> = ip(&["-json", "address", "show"])?;
    let routes: Vec<Route> = ip(&["-json", "-4", "route", "show", "table", "all"])?;
    let routes = routes.iter().filter_map(Route::subnet);
    let leased = leases.all()?.into_iter();
    let leased =
        leased.map(|(_, lease)| Subnet { address: lease.gateway.into(), prefix: lease.prefix });
    let taken: Vec<Subnet> =
        links.iter().flat_map(Link::subnets).chain(routes).chain(leased).collect();
    let first = candidates.first().map(AsRef::as_ref).unwrap_or_default().to_string();
    let candidates = candidates.iter().filter_map(|text| text.as_ref().parse::<Subnet>().ok());
    let overlaps = |one: &Subnet, two: &Subnet| {
        let wider = if one.prefix < two.prefix { (one, two) } else { (two, one) };
        wider.0.contains(wider.1.address)
    };
    let mut free = candidates.filter(|one| !taken.iter().any(|other| overlaps(one, other)));
    free.next().ok_or_else(|| {
        NetworkError::Unusable(format!(
            "the host uses all networks that containers could have, from {first} on"
        ))
    })
}

/// Whether nobody on the host listens at the port.
fn is_free(port: &Published) -> bool {
    let at = SocketAddr::new(port.address.unwrap_or(Ipv4Addr::UNSPECIFIED).into(), port.host);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(at).map(drop).is_ok(),
        Protocol::Udp => UdpSocket::bind(at).map(drop).is_ok(),
    }
}

/// The bridge with its filters, forwarding, and loopback of the host as a source.
/// That of a shared network is marked as one of `leases`.
fn set_up(bridge: &Bridge, gateway: Subnet, leases: Option<&Leases>) -> Result<(), NetworkError> {
    let device = bridge.device.as_str();
    if let Some(leases) = leases {
        shared::claim(leases, device, existing(device)?.is_some())?;
        if super::add_bridge(device)? {
            ip_do(&["link", "set", device, "alias", &leases.mark()])?;
        }
    }
    super::make_bridge(device, gateway)?;
    // A process that was killed while it made the bridge may have left it without an address, and
    // nobody would give it one later.
    if existing(device)?.is_none() {
        ip_do(&["address", "add", &gateway.to_string(), "dev", device])?;
    }
    ip_do(&["link", "set", device, "up"])?;
    nft(&bridge_script(bridge, gateway))?;
    for (setting, value) in [
        ("net/ipv4/ip_forward".to_string(), "1"),
        // For connections from the host to `localhost:PORT`; the filter lets nobody else use it.
        (format!("net/ipv4/conf/{device}/route_localnet"), "1"),
    ] {
        let path = format!("/proc/sys/{setting}");
        if std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == value) {
            continue;
        }
        std::fs::write(&path, value).map_err(|source| NetworkError::Setting { path, source })?;
    }
    Ok(())
}

/// What the user should know of the host: filters of others that keep containers from the world.
pub(crate) fn warnings() -> Vec<String> {
    let Ok(document) = nft_json(&["list", "chains"]) else { return Vec::new() };
    let entries = document.get("nftables").and_then(serde_json::Value::as_array);
    let is_closed =
        entries.into_iter().flatten().filter_map(|entry| entry.get("chain")).any(|it| {
            let text =
                |key: &str| it.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
            text("hook") == "forward" && text("policy") == "drop" && text("family") != "netdev"
        });
    if is_closed {
        vec![format!(
            "another packet filter of this host forwards nothing unless told to (Docker's does \
             so), which holds for containers too: iptables -I FORWARD -i {BRIDGE} -j ACCEPT; \
             iptables -I FORWARD -o {BRIDGE} -m conntrack --ctstate ESTABLISHED,RELATED,DNAT -j \
             ACCEPT"
        )]
    } else {
        Vec::new()
    }
}

/// The filters of the bridge, as one transaction that replaces those before.
fn bridge_script(bridge: &Bridge, gateway: Subnet) -> String {
    let Bridge { device, suffix } = bridge;
    // Members of a shared network meet on its bridge, whose frames come by here where the kernel
    // filters bridges as well (`br_netfilter`).
    let between = if suffix.is_empty() {
        "counter drop comment \"container to container\""
    } else {
        "accept comment \"member to member\""
    };
    format!(
        "add table inet palisade_net{suffix}\ndelete table inet palisade_net{suffix}\ntable inet palisade_net{suffix} {{
  chain forward {{
    type filter hook forward priority -5; policy accept;
    iifname \"{device}\" oifname \"{device}\" {between}
    iifname \"{device}\" ip daddr 169.254.0.0/16 counter drop comment \"metadata of the cloud\"
    oifname \"{device}\" ct state established,related accept
    oifname \"{device}\" ct status dnat accept
    oifname \"{device}\" counter drop comment \"what is not published\"
  }}
  chain input {{
    type filter hook input priority -5; policy accept;
    iifname \"{device}\" ct state established,related accept
    iifname \"{device}\" icmp type echo-request accept
    iifname \"{device}\" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    iifname \"{device}\" counter drop comment \"services of the host\"
  }}
}}
add table ip palisade_nat{suffix}\ndelete table ip palisade_nat{suffix}\ntable ip palisade_nat{suffix} {{
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {network} oifname != \"{device}\" masquerade
    ip saddr 127.0.0.0/8 oifname \"{device}\" masquerade
  }}
}}
",
        network = gateway.network(),
    )
}

fn ports_table(id: &str) -> String {
    format!("palisade_ports_{}", id.get(..ID_DIGITS).unwrap_or(id))
}

/// The published ports of a container: for what comes from outside, and from the host itself.
fn ports_script(id: &str, lease: &Lease) -> String {
    let mut rules = String::new();
    for port in &lease.published {
        let address = port.address.map(|it| format!(" ip daddr {it}")).unwrap_or_default();
        let Published { host, container, protocol, .. } = port;
        let to = IpAddr::from(lease.address);
        let _infallible = writeln!(
            rules,
            "    fib daddr type local{address} {protocol} dport {host} dnat to {to}:{container}"
        );
    }
    let table = ports_table(id);
    format!(
        "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
{rules}  }}
  chain output {{
    type nat hook output priority -100; policy accept;
{rules}  }}
}}
"
    )
}

/// Limits what `device` sends.
pub(super) fn shape(device: &str, bytes_per_second: u64) -> Result<(), NetworkError> {
    let rate = format!("{bytes_per_second}bps");
    super::tools::tc_do(&[
        "qdisc",
        "replace",
        "dev",
        device,
        "root",
        "tbf",
        "rate",
        &rate,
        "burst",
        SHAPE_BURST,
        "latency",
        SHAPE_LATENCY,
    ])
}

/// The host's name servers as a container can reach them: those on the host's own loopback are
/// left out, as the container has another. `full` is what systemd-resolved hands over to.
pub(crate) fn resolv_conf(host: &str, full: Option<&str>) -> Option<String> {
    let usable = |text: &str| {
        let is_loopback = |line: &str| {
            let mut words = line.split_whitespace();
            words.next() == Some("nameserver")
                && words.next().and_then(|it| it.parse::<IpAddr>().ok()).is_none_or(|address| {
                    // The bridge has no IPv6.
                    address.is_loopback() || address.is_ipv6()
                })
        };
        let kept: Vec<&str> = text.lines().filter(|line| !is_loopback(line)).collect();
        let has_server = kept.iter().any(|line| line.trim_start().starts_with("nameserver"));
        has_server.then(|| kept.join("\n") + "\n")
    };
    usable(host).or_else(|| full.and_then(usable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_publishes_its_ports_and_no_more() {
        let published = ["8080:80", "127.0.0.1:53:5353/udp"];
        let lease = Lease {
            address: Ipv4Addr::new(10, 213, 0, 2),
            prefix: 22,
            gateway: Ipv4Addr::new(10, 213, 0, 1),
            device: "pal0".into(),
            published: published.iter().map(|port| port.parse().unwrap()).collect(),
            network: None,
            name: "shop".into(),
        };
        let script = ports_script("0123456789abcdef", &lease);
        assert_eq!(script.matches("table ip palisade_ports_0123456789ab").count(), 3);
        for rule in [
            "fib daddr type local tcp dport 8080 dnat to 10.213.0.2:80\n",
            "fib daddr type local ip daddr 127.0.0.1 udp dport 53 dnat to 10.213.0.2:5353\n",
        ] {
            assert_eq!(script.matches(rule).count(), 2, "{script}");
        }
        let script = |network: Option<&str>| {
            let name: Option<NetworkName> = network.map(|it| it.parse().unwrap());
            bridge_script(&Bridge::of(name.as_ref()), "10.213.0.1/22".parse().unwrap())
        };
        assert!(script(None).contains("saddr 10.213.0.0/22"));
        assert!(script(Some("back")).contains("oifname \"pal-back\" counter drop"));
        assert!(!script(Some("back")).contains(BRIDGE));
    }

    #[test]
    fn name_servers_of_the_hosts_loopback_are_none_of_the_containers() {
        let check = |host: &str, full: Option<&str>, expected: Option<&str>| {
            assert_eq!(resolv_conf(host, full).as_deref(), expected, "{host}");
        };
        check("nameserver 192.0.2.1\n", None, Some("nameserver 192.0.2.1\n"));
        check(
            "search a\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n",
            None,
            Some("search a\nnameserver 192.0.2.1\n"),
        );
        check("nameserver 127.0.0.53\n", None, None);
        check("nameserver ::1\nnameserver x\n", None, None);
        check(
            "nameserver 127.0.0.53\n",
            Some("nameserver 192.0.2.9\n"),
            Some("nameserver 192.0.2.9\n"),
        );
    }
}
