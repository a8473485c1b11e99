//! The network of containers that are not trusted: a bridge of their own, and a guard on each port.
//!
//! A guard is a packet filter where the container's frames enter the host (nftables, family
//! `netdev`, hook `ingress`), before any bridge or route sees them. It lets through what the
//! container may say of itself and nothing else: its own MAC address, its own IP addresses in ARP,
//! in neighbour advertisements and as source; no answers of a DHCP server, no router
//! advertisements and redirects, no other protocols. It is outside of the container: no capability
//! within its namespaces takes it away. It goes with the device; the counters that the kernel leaves
//! are taken away when the next guard is made.
//!
//! Within the container's namespace, and on the bridge, router advertisements are not accepted
//! (`accept_ra`): a guest must not give the host a default route, nor another guest.
//!
//! Containers of `palisade run` get an address and published ports besides, see [`bridge`]. One that
//! is connected by hand reaches the host's end of the bridge; what lies beyond is the host's routing.
//! There is no DHCP server.

pub(crate) mod bridge;
mod guard;
mod keep;
pub(crate) mod lease;
mod netlink;
pub(crate) mod shared;
mod tools;
pub(crate) mod usermode;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use palisade_base::Explain;
use serde::Serialize;

use self::tools::{Link, Namespace, ip, nft, within};

pub use bridge::{BRIDGE, Wanted, device_of};
pub use guard::{Guard, Refused, Subnet};
pub use keep::{Keeper, Kept};
pub use lease::{Lease, PUBLISHED_MAX, Protocol, Published};
pub use shared::{Member, NETWORKS_MAX, NetworkName, SharedNetwork};

/// Longest name of a device (`IFNAMSIZ` less the NUL).
const DEVICE_BYTES_MAX: usize = 15;
/// Addresses of one container that a guard knows.
pub const ADDRESSES_MAX: usize = 64;
/// Prefix of the guards' tables.
const TABLE: &str = "palisade_guard_";
/// Name of the device within the container.
const INNER: &str = "eth0";

/// The network of a container could not be made, guarded or looked at.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A program is missing or was refused.
    #[error("{program}: {reason}")]
    Program {
        /// `ip`, `nft` or `tc`.
        program: &'static str,
        /// What it said.
        reason: String,
    },
    /// A program did not connect an ordinary user's container.
    #[error("{program} did not connect the container: {reason}")]
    UserMode {
        /// `pasta`, `slirp4netns`, or what they need besides.
        program: &'static str,
        /// What it said last.
        reason: String,
        /// What helps.
        hint: String,
    },
    /// The container's namespace cannot be entered.
    #[error("enter the network namespace of process {pid}")]
    Enter {
        /// The process.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
    /// The container shares the host's network.
    #[error("process {0} has the host's network: there is no port to guard")]
    HostNetwork(u32),
    /// No device of the container has its other end on the host.
    #[error("process {0} has no device whose other end is on this host")]
    NoPort(u32),
    /// A name or an address cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// A port of the host is in use already.
    #[error("port {0} of the host is in use")]
    PortTaken(Published),
    /// A port that only root may take.
    #[error("port {0} of the host is root's to give")]
    LowPort(Published),
    /// Nothing is installed that connects an ordinary user's container.
    #[error(
        "neither `pasta` nor `slirp4netns` is installed, which connect containers without root"
    )]
    NoUserMode,
    /// The device by which such programs work is closed.
    #[error("open `{path}`")]
    Tun {
        /// The device.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Every address of the bridge's network is in use.
    #[error("no address of {} is free", .0.network())]
    Exhausted(Subnet),
    /// Who has which address is not known, or cannot be written down.
    #[error("{action} `{}`", .path.display())]
    Lease {
        /// `read`, `write`, `lock`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A setting of the kernel cannot be written.
    #[error("write `{path}`")]
    Setting {
        /// The setting.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Explain for NetworkError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Program { .. } => {
                "install iproute2 and nftables (apt install iproute2 nftables), and run as root"
                    .into()
            }
            Self::UserMode { hint, .. } => hint.clone(),
            Self::Enter { .. } => "the container must be running; run as root".into(),
            Self::HostNetwork(_) => "give the container a network of its own".into(),
            Self::NoPort(_) => "connect it first: palisade network connect CONTAINER".into(),
            Self::PortTaken(_) => "choose another (`palisade ps --format json` shows ours)".into(),
            Self::LowPort(_) => {
                "choose one from 1024 on (or have root set net.ipv4.ip_unprivileged_port_start)"
                    .into()
            }
            Self::NoUserMode => {
                "apt install passt (or slirp4netns), or take `--network none`".into()
            }
            Self::Tun { path, .. } => format!(
                "have root open it to users, as udev does by default: modprobe tun; chmod 666 {path}"
            ),
            Self::Exhausted(_) => "stop containers that are connected".into(),
            Self::Lease { .. } => "stop all containers that are connected, then remove it".into(),
            Self::Unusable(_) | Self::Setting { .. } => return None,
        })
    }
}

/// Where it is kept who has which address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Folder of the machine's leases.
    pub leases: PathBuf,
    /// Folder of the bundles of this run folder's containers, an absolute path.
    pub bundles: PathBuf,
}

impl Place {
    /// Whether a bundle is of this run folder.
    fn has(&self, bundle: &Path) -> bool {
        bundle.parent() == Some(self.bundles.as_path())
    }
}

/// A port that is guarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The device on the host.
    pub device: String,
    /// What was refused so far.
    pub refused: Refused,
}

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The bridge, made if it is not there.
    pub bridge: String,
    /// The container's address, with the length of the network's prefix.
    pub address: Subnet,
    /// The host's address on the bridge, which becomes the container's default route.
    pub gateway: IpAddr,
}

/// Guards every port of the container in which `pid` runs.
///
/// # Errors
///
/// It shares the host's network, has no port, or `ip` and `nft` refuse.
pub fn guard(pid: u32) -> Result<Vec<Guard>, NetworkError> {
    let ports = ports(pid)?;
    if ports.is_empty() {
        return Err(NetworkError::NoPort(pid));
    }
    sweep()?;
    for (inner, guard) in &ports {
        nft(&guard.script())?;
        refuse_advertisements(Some(pid), inner)?;
    }
    Ok(ports.into_iter().map(|(_, guard)| guard).collect())
}

/// The container's devices whose other end is on the host, with their guards.
///
/// The host's end says where the other one is. What the container's says is not asked: whoever
/// rules over a namespace chooses the numbers of its devices, and what they are connected to.
fn ports(pid: u32) -> Result<Vec<(String, Guard)>, NetworkError> {
    ports_in(&Namespace::of(pid)?)
}

fn ports_in(namespace: &Namespace) -> Result<Vec<(String, Guard)>, NetworkError> {
    let outside: Vec<Link> = ip(&["-json", "link", "show"])?;
    // Asked after the list, by which the kernel gives numbers to namespaces.
    let Some(id) = namespace.id()? else { return Ok(Vec::new()) };
    let inside: Vec<Link> = namespace.enter(|| ip(&["-json", "address", "show"]))??;
    let of = |link: &Link| {
        let is_peer =
            |host: &&Link| host.peer == Some(link.ifindex) && host.peer_namespace == Some(id);
        let peer = outside.iter().find(is_peer)?;
        Some((link.ifname.clone(), peer.ifname.clone(), link.mac()?, link.addresses()))
    };
    inside
        .iter()
        .filter_map(of)
        .map(|(inner, device, mac, addresses)| Ok((inner, Guard::new(&device, mac, addresses)?)))
        .collect()
}

/// Takes the guards of a container away; how many there were.
///
/// # Errors
///
/// `ip` or `nft` refuse.
pub fn unguard(pid: u32) -> Result<usize, NetworkError> {
    let guarded: Vec<String> = list()?.into_iter().map(|port| port.device).collect();
    let ports = ports(pid)?;
    let known = ports.iter().filter(|(_, guard)| guarded.contains(&guard.device));
    let mut n = 0;
    for (_, guard) in known {
        nft(&format!("delete table netdev {}\n", guard.table()))?;
        n += 1;
    }
    Ok(n)
}

/// The networks that containers of the run folder of `place` share.
///
/// # Errors
///
/// A lease cannot be read.
pub fn shared_networks(place: &Place) -> Result<Vec<SharedNetwork>, NetworkError> {
    if !place.leases.is_dir() {
        return Ok(Vec::new());
    }
    Ok(shared::networks(&lease::Leases::hold(place)?.own()?))
}

/// All guarded ports of this host, and what was refused at each.
///
/// # Errors
///
/// `nft` refuses.
pub fn list() -> Result<Vec<Port>, NetworkError> {
    Ok(tables()?.0)
}

/// Guarded ports, and the tables that guards of devices have left which are gone: with a device
/// the kernel takes the chain away, or leaves it for the next one of that name (since Linux 6.16),
/// and leaves the table with its counters.
fn tables() -> Result<(Vec<Port>, Vec<Port>), NetworkError> {
    let all = guard::read_ports(&tools::nft_json(&["list", "counters"])?)?;
    let guarded = guard::read_guarded(&tools::nft_json(&["list", "chains"])?)?;
    // Not from /sys, which may show another namespace's devices.
    let links: Vec<Link> = ip(&["-json", "link", "show"])?;
    let is_guarded = |port: &Port| {
        guarded.contains(&port.device) && links.iter().any(|link| link.ifname == port.device)
    };
    Ok(all.into_iter().partition(is_guarded))
}

/// Takes away what guards have left whose device is gone.
fn sweep() -> Result<(), NetworkError> {
    for port in tables()?.1 {
        // Somebody else may be doing the same.
        let _gone = nft(&format!("delete table netdev {}\n", guard::table_of(&port.device)));
    }
    Ok(())
}

/// Connects the container in which `pid` runs to a bridge of untrusted containers: a pair of
/// devices, guarded before its first frame, isolated from the other ports of the bridge.
///
/// # Errors
///
/// The container has a device of that name already, shares the host's network, or `ip` and `nft`
/// refuse; what was made by then is taken away.
pub fn connect(pid: u32, connection: &Connection) -> Result<Guard, NetworkError> {
    connect_as(pid, connection, &format!("pali{pid}"), true)
}

/// As [`connect`]; `isolated` says whether the other ports of the bridge cannot be reached.
fn connect_as(
    pid: u32,
    connection: &Connection,
    device: &str,
    isolated: bool,
) -> Result<Guard, NetworkError> {
    let Connection { bridge, address, gateway } = connection;
    check_device(bridge)?;
    if address.address.is_ipv4() != gateway.is_ipv4() || !address.contains(*gateway) {
        let text = format!("the gateway {gateway} is not in the network of {address}");
        return Err(NetworkError::Unusable(text));
    }
    // The host's namespace must not be given away.
    within(pid, || ())?;
    sweep()?;
    make_bridge(bridge, Subnet { address: *gateway, prefix: address.prefix })?;
    tools::ip_do(&[
        "link",
        "add",
        device,
        "type",
        "veth",
        "peer",
        "name",
        INNER,
        "netns",
        &pid.to_string(),
    ])?;
    let made = finish(pid, connection, device, isolated);
    if made.is_err() {
        // The pair goes with its one end.
        let _gone = tools::ip_do(&["link", "delete", device]);
    }
    made
}

/// Adds a bridge that says nothing and has no address; false if there is one of that name.
fn add_bridge(bridge: &str) -> Result<bool, NetworkError> {
    let links: Vec<Link> = ip(&["-json", "link", "show"])?;
    if links.iter().any(|link| link.ifname == *bridge) {
        return Ok(false);
    }
    tools::ip_do(&["link", "add", bridge, "type", "bridge"])?;
    refuse_advertisements(None, bridge)?;
    Ok(true)
}

/// Makes a bridge with the host's address on it, unless it is there.
fn make_bridge(bridge: &str, host: Subnet) -> Result<(), NetworkError> {
    if !add_bridge(bridge)? {
        return Ok(());
    }
    tools::ip_do(&["address", "add", &host.to_string(), "dev", bridge])?;
    tools::ip_do(&["link", "set", bridge, "up"])
}

fn finish(
    pid: u32,
    connection: &Connection,
    device: &str,
    isolated: bool,
) -> Result<Guard, NetworkError> {
    let Connection { bridge, address, gateway } = connection;
    let gateway = gateway.to_string();
    refuse_advertisements(Some(pid), INNER)?;
    within(pid, || {
        tools::ip_do(&["address", "add", &address.to_string(), "dev", INNER])?;
        tools::ip_do(&["link", "set", "lo", "up"])?;
        tools::ip_do(&["link", "set", INNER, "up"])?;
        tools::ip_do(&["route", "add", "default", "via", &gateway, "dev", INNER])
    })??;
    let is_ours = |(_, guard): &(String, Guard)| guard.device == device;
    let guard = ports(pid)?.into_iter().find(is_ours).ok_or(NetworkError::NoPort(pid))?.1;
    nft(&guard.script())?;
    // Only now does the bridge hear of it.
    tools::ip_do(&["link", "set", device, "master", bridge])?;
    let isolated = if isolated { "on" } else { "off" };
    tools::ip_do(&["link", "set", device, "type", "bridge_slave", "isolated", isolated])?;
    tools::ip_do(&["link", "set", device, "up"])?;
    Ok(guard)
}

/// Router advertisements are not accepted on `device`, in the namespace of `pid` or in ours.
fn refuse_advertisements(pid: Option<u32>, device: &str) -> Result<(), NetworkError> {
    let write = |setting: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/{device}/{setting}");
        // A kernel without IPv6 accepts none.
        if !Path::new(&path).exists() {
            return Ok(());
        }
        std::fs::write(&path, "0").map_err(|source| NetworkError::Setting { path, source })
    };
    let both = || write("accept_ra").and_then(|()| write("accept_redirects"));
    match pid {
        Some(pid) => within(pid, both)?,
        None => both(),
    }
}

/// Whether a name can be that of a device, and cannot be taken for anything else by `ip` or `nft`.
fn check_device(name: &str) -> Result<(), NetworkError> {
    let fits = (1..=DEVICE_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && !name.starts_with(['-', '.']);
    if fits {
        Ok(())
    } else {
        Err(NetworkError::Unusable(format!("`{name}` is no name of a device")))
    }
}
