//! Guards for the ports of whole bridges: each port that comes to one of them is guarded.
//!
//! Each look asks the kernel whether any device has changed since the last one (one read of a
//! socket), and looks at the devices only then: names alone would not tell that a container was
//! restarted whose port has the name of the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;

use serde::Deserialize;

use super::guard::Guard;
use super::netlink::{Listener, News};
use super::tools::{Namespace, ip, nft};
use super::{NetworkError, list, ports_in, refuse_advertisements, sweep};

/// Devices that are remembered and looked for.
const PORTS_MAX: usize = 16_384;
/// Namespaces that one look enters.
const NAMESPACES_MAX: usize = 4096;
/// Processes that one look considers.
const PROCESSES_MAX: usize = 131_072;
/// Looks after which a port is guarded with the addresses that it has, be they none.
const LOOKS_FOR_ADDRESSES: u32 = 5;
/// Looks after which a port is given up whose container is not found.
const LOOKS_MAX: u32 = 60;

/// A device of this host that may be a port of a bridge.
#[derive(Debug, Deserialize)]
struct HostLink {
    ifindex: u32,
    #[serde(default)]
    ifname: String,
    /// The bridge, of a port of one.
    #[serde(default)]
    master: Option<String>,
    /// What the host calls the namespace of its other end.
    #[serde(default, rename = "link_netnsid")]
    peer_namespace: Option<i32>,
}

impl HostLink {
    /// What a guard is for: a device of this name as a port of this bridge.
    fn port(&self) -> Option<(String, String)> {
        Some((self.ifname.clone(), self.master.clone()?))
    }
}

/// What came of a port.
#[derive(Debug)]
pub enum Kept {
    /// It is guarded from now on.
    Guarded {
        /// Its bridge.
        bridge: String,
        /// How.
        guard: Guard,
    },
    /// It is not.
    Failed {
        /// Its bridge.
        bridge: String,
        /// The device on the host.
        device: String,
        /// Why not.
        why: String,
    },
}

/// The ports of bridges, and which of them are guarded.
#[derive(Debug, Default)]
pub struct Keeper {
    /// Who hears of changes; `None` before the first look, and where nobody can.
    listener: Option<Listener>,
    /// Whether the last look was a whole one, after which only what is heard of is new.
    is_settled: bool,
    /// Whether something was not heard.
    is_unsure: bool,
    /// Ports that need no look any more, by index, with their names and bridges: each of the three
    /// can be another's by now.
    done: BTreeMap<u32, (String, String)>,
    /// Ports that are to be guarded, with the number of looks.
    waiting: BTreeMap<u32, u32>,
}

impl Keeper {
    /// Forgets what is guarded, for another choice of bridges.
    pub fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// Guards the ports for which `is_wanted` says so of their bridge and device. Others are
    /// guarded by nobody here, and guards that there are stay.
    ///
    /// # Errors
    ///
    /// The devices of this host cannot be listed.
    pub fn look(
        &mut self,
        is_wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Vec<Kept>, NetworkError> {
        let news = self.news();
        self.is_unsure |= news.is_incomplete;
        for index in &news.gone {
            self.done.remove(index);
            self.waiting.remove(index);
        }
        if self.is_settled && !news.any && self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        // What fails now is done at the next look.
        self.is_settled = false;
        if self.is_unsure {
            // A guard that stands is not made again: by now the container may have taken addresses
            // that it was not given.
            let ports = list()?;
            let guarded: BTreeSet<&str> = ports.iter().map(|port| port.device.as_str()).collect();
            self.done.retain(|_, (device, _)| guarded.contains(device.as_str()));
            self.is_unsure = false;
        }
        let links: Vec<HostLink> = ip(&["-json", "link", "show", "type", "veth"])?;
        let is_new = |link: &&HostLink| self.done.get(&link.ifindex) != link.port().as_ref();
        let is_ours = |link: &&HostLink| {
            link.master.as_ref().is_some_and(|bridge| is_wanted(bridge, &link.ifname))
        };
        let new: Vec<&HostLink> =
            links.iter().filter(is_new).filter(is_ours).take(PORTS_MAX).collect();
        let kept = if new.is_empty() { Vec::new() } else { self.guard(&new)? };
        self.done.retain(|index, _| links.iter().any(|link| link.ifindex == *index));
        self.waiting.retain(|index, _| new.iter().any(|link| link.ifindex == *index));
        self.is_settled = self.listener.is_some();
        Ok(kept)
    }

    /// What has changed since the last look. Without a listener nobody knows.
    fn news(&mut self) -> News {
        let unknown = || News { is_incomplete: true, any: true, ..News::default() };
        let Some(listener) = &self.listener else {
            // From now on, before the devices are looked at for the first time.
            self.listener = Listener::new().ok();
            return News { any: true, ..News::default() };
        };
        listener.take().unwrap_or_else(|_| unknown())
    }

    fn guard(&mut self, new: &[&HostLink]) -> Result<Vec<Kept>, NetworkError> {
        sweep()?;
        let found = owners(new);
        let mut kept = Vec::new();
        for link in new {
            let bridge = link.master.clone().unwrap_or_default();
            let n_looks = self.waiting.entry(link.ifindex).or_default();
            *n_looks += 1;
            let claim = found.iter().find(|(_, _, guard)| guard.device == link.ifname);
            let result = match claim {
                // An engine gives the address after the device.
                Some((_, _, guard)) if !has_address(guard) && *n_looks < LOOKS_FOR_ADDRESSES => {
                    continue;
                }
                Some((pid, inner, guard)) => nft(&guard.script())
                    .and_then(|()| refuse_advertisements(Some(*pid), inner))
                    .map(|()| Kept::Guarded { bridge: bridge.clone(), guard: guard.clone() })
                    .map_err(|error| palisade_base::render_chain(&error, None)),
                None if *n_looks < LOOKS_MAX => continue,
                None => Err("no container has its other end".to_string()),
            };
            self.waiting.remove(&link.ifindex);
            self.done.extend(link.port().map(|port| (link.ifindex, port)));
            let device = link.ifname.clone();
            kept.push(result.unwrap_or_else(|why| Kept::Failed { bridge, device, why }));
        }
        Ok(kept)
    }
}

/// Whether a guard knows an address that was given, and does not follow from the device's own.
fn has_address(guard: &Guard) -> bool {
    guard.addresses.iter().any(|address| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    })
}

/// The processes in whose namespaces the other ends of `links` are, with the device there and its
/// guard.
fn owners(links: &[&HostLink]) -> Vec<(u32, String, Guard)> {
    let inode = |path: String| std::fs::metadata(path).ok().map(|entry| entry.ino());
    let own = inode("/proc/thread-self/ns/net".into());
    let mut seen: BTreeSet<u64> = own.into_iter().collect();
    let mut found: Vec<(u32, String, Guard)> = Vec::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return found };
    for process in processes.take(PROCESSES_MAX).flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Some(namespace) = inode(format!("/proc/{pid}/ns/net")) else { continue };
        if !seen.insert(namespace) {
            continue;
        }
        // One that has just ended, or whose devices have no other end here, is nobody's.
        let Ok(namespace) = Namespace::of(pid) else { continue };
        let Ok(Some(id)) = namespace.id() else { continue };
        if !links.iter().any(|link| link.peer_namespace == Some(id)) {
            continue;
        }
        let of_it = ports_in(&namespace).unwrap_or_default().into_iter();
        let is_ours = |guard: &Guard| links.iter().any(|link| link.ifname == guard.device);
        found.extend(
            of_it.filter(|(_, guard)| is_ours(guard)).map(|(inner, guard)| (pid, inner, guard)),
        );
        if seen.len() > NAMESPACES_MAX {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_was_given() {
        let mac = [2, 0x42, 0xac, 0x11, 0, 2];
        let own = Guard::new("veth1", mac, Vec::new()).unwrap();
        assert!(!has_address(&own));
        let given = Guard::new("veth1", mac, vec!["172.17.0.2".parse().unwrap()]).unwrap();
        assert!(has_address(&given));
    }
}
