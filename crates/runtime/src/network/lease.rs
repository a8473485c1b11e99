//! Who has which address and which ports of the host: one file for each connected container.
//!
//! A lease is written before the container is connected and removed after it is gone, both under
//! one lock, so no address and no port is given twice, whatever is killed in between.
//!
//! Bridges, addresses and ports are the machine's, and so are the leases, whatever run folder a
//! container is of (`--run-dir`). Each names the container's bundle, and counts for nothing when
//! that is gone: nobody would look after the lease of a run folder that was removed. It counts in
//! the network namespace alone that it was given in, as bridges and ports do.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shared::NetworkName;
use super::tools::Namespace;
use super::{NetworkError, Place, Subnet};
use crate::lock::Lock;
use crate::paths::make_folder;

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

/// A lease on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    lease: Lease,
    /// The container's bundle.
    holder: PathBuf,
    /// The number of the network namespace.
    namespace: u64,
}

impl Entry {
    fn counts(&self, namespace: u64) -> bool {
        // What cannot be looked at may be there.
        self.namespace == namespace && self.holder.try_exists().unwrap_or(true)
    }
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
    place: Place,
    namespace: u64,
    _lock: Lock,
}

fn damaged(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> NetworkError {
    let path = path.to_path_buf();
    move |source| NetworkError::Lease { action, path, source }
}

impl Leases {
    /// Waits until nobody else is at work on the network, and holds it.
    pub(super) fn hold(place: &Place) -> Result<Self, NetworkError> {
        let folder = place.leases.as_path();
        let make = |folder: &Path, mode| {
            let failed = |error| damaged("make", folder)(std::io::Error::other(error));
            make_folder(folder, mode).map_err(failed)
        };
        // The folder above is the usual run folder, in which bundles must be reached.
        folder.parent().map_or(Ok(()), |above| make(above, 0o711))?;
        make(folder, 0o700)?;
        let path = folder.join("lock");
        let lock = Lock::exclusive(&path, LOCK_DEADLINE)
            .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::TimedOut.into()))
            .map_err(damaged("lock", &path))?;
        let namespace = Namespace::own_number()?;
        let leases = Self { place: place.clone(), namespace, _lock: lock };
        leases.sweep().map_err(damaged("clear", folder))?;
        Ok(leases)
    }

    /// Removes what processes left half written that were killed; who writes holds the lock.
    fn sweep(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.place.leases)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// What the bridges of shared networks bear that belong to this run folder.
    pub(super) fn mark(&self) -> String {
        // Aliases of devices are short.
        let bundles = self.place.bundles.as_os_str().as_encoded_bytes();
        format!("palisade:{}", &palisade_base::Digest::of(bundles).hex()[..32])
    }

    fn path(&self, id: &str) -> PathBuf {
        self.place.leases.join(format!("{id}.json"))
    }

    fn entries(&self) -> Result<Vec<(String, Entry)>, NetworkError> {
        let folder = &self.place.leases;
        let paths = paths(folder).map_err(damaged("read", folder))?;
        let read = |(id, path): (String, PathBuf)| match read(&path) {
            Ok(entry) => Ok((id, entry)),
            Err(error) => Err(damaged("read", &path)(error)),
        };
        paths.into_iter().map(read).collect()
    }

    /// The leases that count here, of all run folders, with the ids of their containers.
    pub(super) fn all(&self) -> Result<Vec<(String, Lease)>, NetworkError> {
        let all = self.entries()?.into_iter().filter(|(_, entry)| entry.counts(self.namespace));
        Ok(all.map(|(id, entry)| (id, entry.lease)).collect())
    }

    /// Those of them that are of this run folder's containers.
    pub(super) fn own(&self) -> Result<Vec<(String, Lease)>, NetworkError> {
        let all = self.entries()?.into_iter();
        let own = all.filter(|(_, it)| it.counts(self.namespace) && self.place.has(&it.holder));
        Ok(own.map(|(id, entry)| (id, entry.lease)).collect())
    }

    /// Leases given here whose container is gone, with the ids that it had: of run folders that
    /// were removed, and of processes that were killed. Those of other namespaces are removed at
    /// once: what they had went with their namespace, or nobody here can take it away.
    pub(super) fn dead(&self) -> Result<Vec<(String, Lease)>, NetworkError> {
        let mut dead = Vec::new();
        for (id, entry) in self.entries()? {
            if entry.counts(entry.namespace) {
                continue;
            }
            if entry.namespace == self.namespace {
                dead.push((id, entry.lease));
            } else {
                self.revoke(&id)?;
            }
        }
        Ok(dead)
    }

    /// The lease of container `id`, if it has one.
    pub(super) fn of(&self, id: &str) -> Result<Option<Lease>, NetworkError> {
        let path = self.path(id);
        match read(&path) {
            Ok(entry) => Ok(Some(entry.lease)),
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
        let holder = self.place.bundles.join(applicant.id);
        let entry = Entry { lease, holder, namespace: self.namespace };
        serde_json::to_vec(&entry)
            .map_err(std::io::Error::from)
            .and_then(|text| palisade_base::fs::write_atomic(&path, &text, 0o600))
            .map_err(damaged("write", &path))?;
        Ok(entry.lease)
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

/// The files of leases, with the ids in their names.
fn paths(folder: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let paths = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let leases = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let named = leases.filter_map(|path| {
        let id = path.file_stem()?.to_string_lossy().into_owned();
        Some((id, path))
    });
    Ok(named.collect())
}

fn read(path: &Path) -> std::io::Result<Entry> {
    let file = std::fs::File::open(path)?;
    let bytes = palisade_base::read_bounded(file, "lease", LEASE_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(std::io::Error::from)
}

/// Ids of this run folder's containers that have a lease, also of those that are gone otherwise.
pub(crate) fn ids(place: &Place) -> Vec<String> {
    let all = paths(&place.leases).unwrap_or_default().into_iter();
    let own = all.filter(|(_, path)| read(path).is_ok_and(|entry| place.has(&entry.holder)));
    own.map(|(id, _)| id).collect()
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

    /// The place of the run folder `run` of a machine.
    fn place(machine: &tempfile::TempDir, run: &str) -> Place {
        let bundles = machine.path().join(run).join("bundles");
        Place { leases: machine.path().join("network"), bundles }
    }

    fn grant(
        place: &Place,
        id: &str,
        ports: &[&str],
        gateway: &str,
    ) -> Result<String, NetworkError> {
        std::fs::create_dir_all(place.bundles.join(id)).unwrap();
        let ports: Vec<Published> = ports.iter().map(|port| port.parse().unwrap()).collect();
        let leases = Leases::hold(place).unwrap();
        let device = "d".to_string();
        let applicant = Applicant { id, name: id, device, network: None, published: &ports };
        let lease = leases.grant(&applicant, gateway.parse().unwrap())?;
        Ok(lease.address.to_string())
    }

    fn names(leases: Vec<(String, Lease)>) -> Vec<String> {
        let mut names: Vec<String> = leases.into_iter().map(|(id, _)| id).collect();
        names.sort();
        names
    }

    #[test]
    fn two_run_folders_never_have_one_address_or_port_at_a_time() {
        let machine = tempfile::tempdir().unwrap();
        let (one, other) = (place(&machine, "one"), place(&machine, "other"));
        let gateway = "10.9.0.1/29";
        assert_eq!(grant(&one, "a", &["8080:80"], gateway).unwrap(), "10.9.0.2");
        assert_eq!(grant(&other, "b", &["8081:80"], gateway).unwrap(), "10.9.0.3");
        let taken = grant(&other, "c", &["8080:80"], gateway);
        assert!(matches!(taken, Err(NetworkError::PortTaken(_))), "{taken:?}");
        let leases = Leases::hold(&other).unwrap();
        assert_eq!(names(leases.all().unwrap()), ["a", "b"]);
        assert_eq!(names(leases.own().unwrap()), ["b"]);
        assert_eq!(leases.dead().unwrap(), []);
        assert_eq!((ids(&one), ids(&other)), (vec!["a".to_string()], vec!["b".to_string()]));
        let mark = leases.mark();
        drop(leases);
        // What a run folder had that was removed as it is, nobody has.
        std::fs::remove_dir_all(machine.path().join("one")).unwrap();
        assert_eq!(grant(&other, "c", &["8080:80"], gateway).unwrap(), "10.9.0.2");
        let leases = Leases::hold(&one).unwrap();
        assert_ne!(leases.mark(), mark);
        assert_eq!(names(leases.all().unwrap()), ["b", "c"]);
        assert_eq!(names(leases.dead().unwrap()), ["a"]);
        assert_eq!(ids(&one), ["a"], "its run folder's collection still finds it");
    }

    #[test]
    fn another_network_namespace_has_addresses_of_its_own() {
        let machine = tempfile::tempdir().unwrap();
        let place = place(&machine, "run");
        let gateway = "10.9.0.1/29";
        assert_eq!(grant(&place, "a", &["8080:80"], gateway).unwrap(), "10.9.0.2");
        let path = place.leases.join("a.json");
        let mut entry = read(&path).unwrap();
        entry.namespace += 1;
        std::fs::write(&path, serde_json::to_vec(&entry).unwrap()).unwrap();
        assert_eq!(grant(&place, "b", &["8080:80"], gateway).unwrap(), "10.9.0.2");
        let leases = Leases::hold(&place).unwrap();
        assert_eq!(names(leases.all().unwrap()), ["b"]);
        assert_eq!(leases.dead().unwrap(), []);
        assert!(path.exists());
        std::fs::remove_dir_all(place.bundles.join("a")).unwrap();
        assert_eq!(leases.dead().unwrap(), []);
        assert!(!path.exists());
    }

    #[test]
    fn what_was_left_half_written_goes() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder, "run");
        drop(Leases::hold(&place).unwrap());
        std::fs::write(place.leases.join(".tmpAbCdEf"), "{").unwrap();
        std::fs::write(place.leases.join("a.json"), "{}").unwrap();
        drop(Leases::hold(&place).unwrap());
        let names = std::fs::read_dir(&place.leases).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.json", "lock"]);
    }

    #[test]
    fn no_address_and_no_port_is_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder, "run");
        let grant = |id: &str, ports: &[&str]| grant(&place, id, ports, "10.9.0.1/29");
        assert_eq!(grant("a", &["8080:80", "53:53/udp"]).unwrap(), "10.9.0.2");
        assert_eq!(grant("b", &["127.0.0.1:81:80", "53:53"]).unwrap(), "10.9.0.3");
        for ports in [&["8080:1"][..], &["10.0.0.1:8080:1"], &["81:1"], &["9:1", "9:2"]] {
            assert!(matches!(grant("c", ports), Err(NetworkError::PortTaken(_))), "{ports:?}");
        }
        assert_eq!(grant("c", &["10.0.0.1:81:1"]).unwrap(), "10.9.0.4");
        assert_eq!(grant("d", &[]).unwrap(), "10.9.0.5");
        assert_eq!(grant("e", &[]).unwrap(), "10.9.0.6");
        assert!(matches!(grant("f", &[]), Err(NetworkError::Exhausted(_))));
        let leases = Leases::hold(&place).unwrap();
        assert_eq!(leases.of("b").unwrap().unwrap().published.len(), 2);
        leases.revoke("b").unwrap();
        leases.revoke("b").unwrap();
        assert_eq!(leases.of("b").unwrap(), None);
        drop(leases);
        assert_eq!(grant("f", &["127.0.0.1:81:80"]).unwrap(), "10.9.0.3");
        std::fs::write(place.leases.join("g.json"), "{").unwrap();
        assert!(matches!(grant("h", &[]), Err(NetworkError::Lease { .. })));
    }
}
