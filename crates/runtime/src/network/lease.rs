//! Who has which address and which ports of the host: one file for each connected container.
//!
//! A lease is written before the container is connected and removed after it is gone, both under
//! one lock, so no address and no port is given twice, whatever is killed in between.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shared::NetworkName;
use super::{NetworkError, Subnet};
use crate::lock::Lock;

/// How long another process may be at work on the network.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a lease that are read.
const LEASE_BYTES_MAX: u64 = 64 << 10;
/// Most ports that one container publishes.
pub const PUBLISHED_MAX: usize = 256;

/// Protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads to one of the container: `[ADDRESS:]HOST:CONTAINER[/udp]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The host's address; without one, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The host's port.
    pub host: u16,
    /// The container's port.
    pub container: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl Published {
    /// Whether both could want the same packet.
    fn overlaps(&self, other: &Self) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        same_address && self.host == other.host && self.protocol == other.protocol
    }
}

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no published port, such as 8080:80 or 127.0.0.1:53:53/udp");
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(wrong()),
        };
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(wrong()),
        };
        let (rest, container) = ports.rsplit_once(':').ok_or_else(wrong)?;
        let (address, host) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, host)) => {
                let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
                ((!address.is_unspecified()).then_some(address), host)
            }
        };
        Ok(Self { address, host: port(host)?, container: port(container)?, protocol })
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address}:")?;
        }
        write!(f, "{}:{}/{}", self.host, self.container, self.protocol)
    }
}

/// The address and the ports of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of it that are the network's.
    pub prefix: u8,
    /// The host's address on the bridge.
    pub gateway: Ipv4Addr,
    /// Its device on the host.
    pub device: String,
    /// Its ports of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
    /// The shared network, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkName>,
    /// The container's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// What a container is given an address and ports for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applicant<'a> {
    /// Its id.
    pub(super) id: &'a str,
    /// Its name.
    pub(super) name: &'a str,
    /// Its device on the host.
    pub(super) device: String,
    /// The shared network.
    pub(super) network: Option<&'a NetworkName>,
    /// Its ports of the host.
    pub(super) published: &'a [Published],
}

/// The leases of this machine, held alone.
#[derive(Debug)]
pub(super) struct Leases {
    folder: PathBuf,
    _lock: Lock,
}

fn damaged(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> NetworkError {
    let path = path.to_path_buf();
    move |source| NetworkError::Lease { action, path, source }
}

impl Leases {
    /// Waits until nobody else is at work on the network, and holds it.
    pub(super) fn hold(folder: &Path) -> Result<Self, NetworkError> {
        std::fs::create_dir_all(folder).map_err(damaged("make", folder))?;
        let path = folder.join("lock");
        let lock = Lock::exclusive(&path, LOCK_DEADLINE)
            .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::TimedOut.into()))
            .map_err(damaged("lock", &path))?;
        let leases = Self { folder: folder.to_path_buf(), _lock: lock };
        leases.sweep().map_err(damaged("clear", folder))?;
        Ok(leases)
    }

    /// Removes what processes left half written that were killed; who writes holds the lock.
    fn sweep(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// What the bridges of shared networks bear that belong to these leases.
    pub(super) fn mark(&self) -> String {
        // Aliases of devices are short.
        let folder = palisade_base::Digest::of(self.folder.as_os_str().as_encoded_bytes());
        format!("palisade:{}", &folder.hex()[..32])
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// All leases, with the ids of their containers.
    pub(super) fn all(&self) -> Result<Vec<(String, Lease)>, NetworkError> {
        let entries = std::fs::read_dir(&self.folder).map_err(damaged("read", &self.folder))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let leases = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
        let id = |path: &Path| path.file_stem().map(|it| it.to_string_lossy().into_owned());
        leases
            .map(|path| {
                let lease = read(&path).map_err(damaged("read", &path))?;
                Ok((id(&path).unwrap_or_default(), lease))
            })
            .collect()
    }

    /// The lease of container `id`, if it has one.
    pub(super) fn of(&self, id: &str) -> Result<Option<Lease>, NetworkError> {
        let path = self.path(id);
        match read(&path) {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(damaged("read", &path)(error)),
        }
    }

    /// Gives a container the first free address behind `gateway`, and its ports.
    pub(super) fn grant(
        &self,
        applicant: &Applicant<'_>,
        gateway: Subnet,
    ) -> Result<Lease, NetworkError> {
        let published = applicant.published;
        let others = self.all()?;
        let taken = others.iter().flat_map(|(_, lease)| &lease.published);
        for (n, port) in published.iter().enumerate() {
            let before = published.iter().take(n);
            if taken.clone().chain(before).any(|other| other.overlaps(port)) {
                return Err(NetworkError::PortTaken(*port));
            }
        }
        let (gateway, prefix) = match gateway.address {
            std::net::IpAddr::V4(address) => (address, gateway.prefix),
            std::net::IpAddr::V6(_) => {
                return Err(NetworkError::Unusable("the bridge has no IPv4 address".into()));
            }
        };
        let address = hosts(gateway, prefix)
            .find(|address| {
                *address != gateway && others.iter().all(|(_, it)| it.address != *address)
            })
            .ok_or_else(|| NetworkError::Exhausted(Subnet { address: gateway.into(), prefix }))?;
        let lease = Lease {
            address,
            prefix,
            gateway,
            device: applicant.device.clone(),
            published: published.to_vec(),
            network: applicant.network.cloned(),
            name: applicant.name.to_string(),
        };
        let path = self.path(applicant.id);
        serde_json::to_vec(&lease)
            .map_err(std::io::Error::from)
            .and_then(|text| palisade_base::fs::write_atomic(&path, &text, 0o600))
            .map_err(damaged("write", &path))?;
        Ok(lease)
    }

    /// Takes the lease of container `id` back.
    pub(super) fn revoke(&self, id: &str) -> Result<(), NetworkError> {
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(damaged("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> std::io::Result<Lease> {
    let file = std::fs::File::open(path)?;
    let bytes = palisade_base::read_bounded(file, "lease", LEASE_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(std::io::Error::from)
}

/// The addresses of a network, without its own and that of everybody.
fn hosts(of: Ipv4Addr, prefix: u8) -> impl Iterator<Item = Ipv4Addr> {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    let (first, last) = (of.to_bits() & mask, of.to_bits() | !mask);
    (first.saturating_add(1)..last).map(Ipv4Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_users_write_them() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<Published>().ok().map(|port| port.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("8080:80", Some("8080:80/tcp"));
        check("8080:80/tcp", Some("8080:80/tcp"));
        check("0.0.0.0:53:5353/udp", Some("53:5353/udp"));
        check("127.0.0.1:8080:80", Some("127.0.0.1:8080:80/tcp"));
        for wrong in ["80", "0:80", "80:0", "80:65536", "::1:80:80", "80:80/sctp", "a:80", "80:80/"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn what_was_left_half_written_goes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".tmpAbCdEf"), "{").unwrap();
        std::fs::write(folder.path().join("a.json"), "{}").unwrap();
        drop(Leases::hold(folder.path()).unwrap());
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.json", "lock"]);
    }

    #[test]
    fn no_address_and_no_port_is_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let gateway: Subnet = "10.9.0.1/29".parse().unwrap();
        let grant = |id: &str, ports: &[&str]| {
            let ports: Vec<Published> = ports.iter().map(|port| port.parse().unwrap()).collect();
            let leases = Leases::hold(folder.path()).unwrap();
            let device = "d".to_string();
            let applicant = Applicant { id, name: id, device, network: None, published: &ports };
            leases.grant(&applicant, gateway).map(|lease| lease.address.to_string())
        };
        assert_eq!(grant("a", &["8080:80", "53:53/udp"]).unwrap(), "10.9.0.2");
        assert_eq!(grant("b", &["127.0.0.1:81:80", "53:53"]).unwrap(), "10.9.0.3");
        for ports in [&["8080:1"][..], &["10.0.0.1:8080:1"], &["81:1"], &["9:1", "9:2"]] {
            assert!(matches!(grant("c", ports), Err(NetworkError::PortTaken(_))), "{ports:?}");
        }
        assert_eq!(grant("c", &["10.0.0.1:81:1"]).unwrap(), "10.9.0.4");
        assert_eq!(grant("d", &[]).unwrap(), "10.9.0.5");
        assert_eq!(grant("e", &[]).unwrap(), "10.9.0.6");
        assert!(matches!(grant("f", &[]), Err(NetworkError::Exhausted(_))));
        let leases = Leases::hold(folder.path()).unwrap();
        assert_eq!(leases.of("b").unwrap().unwrap().published.len(), 2);
        leases.revoke("b").unwrap();
        leases.revoke("b").unwrap();
        assert_eq!(leases.of("b").unwrap(), None);
        drop(leases);
        assert_eq!(grant("f", &["127.0.0.1:81:80"]).unwrap(), "10.9.0.3");
        std::fs::write(folder.path().join("g.json"), "{").unwrap();
        assert!(matches!(grant("h", &[]), Err(NetworkError::Lease { .. })));
    }
}
