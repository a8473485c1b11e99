//! Reading the recorder's tables.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libbpf_rs::{MapCore as _, MapFlags};

use super::{CALLS_MAX, Recorder};

/// Bytes of a kept path, with its NUL; `PATH_KEPT_BYTES` of the C source.
const PATH_BYTES: usize = 256;
/// The same for a name below a folder.
const NAME_BYTES: usize = 128;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// What a path was noted for. The order is that of the C source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKind {
    /// Opened for writing.
    Written,
    /// Made, removed, renamed, or its mode, owner or times changed.
    Changed,
    /// Executed.
    Executed,
    /// A Unix socket's own address.
    Bound,
    /// The Unix socket that was connected to.
    Connected,
}

/// A path that was noted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotedPath {
    /// For what.
    pub kind: PathKind,
    /// The path, from the container's root.
    pub path: String,
    /// Whether it was longer than what is kept.
    pub is_cut: bool,
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressKind {
    /// A socket's own.
    Bound,
    /// The other end.
    Connected,
}

/// An address that was used. Families without internet addresses have neither address nor port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Which end.
    pub kind: AddressKind,
    /// `AF_INET` and so on (`include/linux/socket.h`).
    pub family: u16,
    /// The address.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// A capability that a task had when the kernel asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CapabilityUse {
    /// `include/uapi/linux/capability.h`.
    pub capability: u32,
    /// The call that asked.
    pub number: u32,
}

/// A call with the values of its watched arguments, and the place in the code that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The call.
    pub number: u32,
    /// Values of the watched arguments; 0 where none is watched.
    pub arguments: [u64; 2],
    /// The address behind the instruction; 0 unless places are noted.
    pub address: u64,
    /// How often.
    pub n: u64,
    /// The process that was seen there first.
    pub pid: u32,
    /// Its thread's name.
    pub comm: String,
    /// Words of its stack from the top on, return addresses among them; empty unless places are
    /// noted.
    pub stack: Vec<u64>,
}

/// What was seen of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether these are its tasks under a filter in a pid namespace of their own.
    pub is_filtered: bool,
    /// Calls that were admitted.
    pub calls: BTreeSet<u32>,
    /// Calls that were only ever answered with an error before they began.
    pub refused: BTreeSet<u32>,
    /// Calls by another interface than the machine's own, by that interface's numbers.
    pub compat: BTreeSet<u32>,
    /// Calls with watched arguments, or that were to be noted with their places.
    pub sites: Vec<Site>,
    /// Capabilities.
    pub capabilities: BTreeSet<CapabilityUse>,
    /// Addresses.
    pub addresses: BTreeSet<Address>,
    /// Paths.
    pub paths: BTreeSet<NotedPath>,
    /// Notes that did not fit into the tables: of all targets' containers, or of what is in none.
    pub n_lost: u64,
    /// Processes of all targets that could not be followed.
    pub n_unfollowed: u64,
}

impl Recorder {
    /// What was seen of `target` so far: of its tasks that are in a container, if there were any,
    /// else of all.
    pub fn read(&self, target: u32) -> Observed {
        let filtered = self.read_slot(target * 2 + 1);
        let mut seen =
            if filtered.calls.is_empty() { self.read_slot(target * 2) } else { filtered };
        seen.n_lost = self.counter(".data.n_lost", usize::from(seen.is_filtered));
        seen.n_unfollowed = self.counter(".data.n_unfollowed", 0);
        seen
    }

    /// The places of calls alone, of the target's tasks that are in a container: they are asked for
    /// often, and what is outside are the runtime's tools.
    pub fn sites(&self, target: u32) -> Vec<Site> {
        let mut out = Vec::new();
        let slot = target * 2 + 1;
        self.each("sites", slot, &mut |key, value| out.extend(site(key, value)));
        out
    }

    fn read_slot(&self, slot: u32) -> Observed {
        let mut out = Observed { is_filtered: slot % 2 == 1, ..Observed::default() };
        let value = self
            .map("slots")
            .and_then(|map| map.lookup(&slot.to_ne_bytes(), MapFlags::ANY).ok().flatten())
            .unwrap_or_default();
        let numbers = |part: usize| -> BTreeSet<u32> {
            let bytes = value.chunks(CALLS_MAX).nth(part).unwrap_or_default();
            (0..).zip(bytes).filter(|(_, seen)| **seen != 0).map(|(number, _)| number).collect()
        };
        out.calls = numbers(0);
        out.refused = numbers(1).difference(&out.calls).copied().collect();
        out.compat = numbers(2);
        self.each("sites", slot, &mut |key, value| out.sites.extend(site(key, value)));
        self.each("capabilities", slot, &mut |key, _| {
            let (Some(capability), Some(number)) = (u32_at(key, 4), u32_at(key, 8)) else { return };
            out.capabilities.insert(CapabilityUse { capability, number });
        });
        self.each("addresses", slot, &mut |key, _| out.addresses.extend(address(key)));
        self.each("paths", slot, &mut |key, _| out.paths.extend(path(key)));
        out.sites.sort_by_key(|site| (site.number, site.arguments, site.address));
        out
    }

    /// Hands out the entries of a table whose key begins with `slot`.
    fn each(&self, name: &str, slot: u32, f: &mut dyn FnMut(&[u8], &[u8])) {
        let Some(map) = self.map(name) else { return };
        for key in map.keys().filter(|key| u32_at(key, 0) == Some(slot)) {
            if let Ok(Some(value)) = map.lookup(&key, MapFlags::ANY) {
                f(&key, &value);
            }
        }
    }

    fn counter(&self, name: &str, place: usize) -> u64 {
        self.map(name)
            .and_then(|map| map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).ok().flatten())
            .and_then(|value| u64_at(&value, place * 8))
            .unwrap_or(0)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The text before the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// `struct site` and `struct who`.
fn site(key: &[u8], value: &[u8]) -> Option<Site> {
    Some(Site {
        number: u32_at(key, 4)?,
        arguments: [u64_at(key, 8)?, u64_at(key, 16)?],
        address: u64_at(key, 24)?,
        n: u64_at(value, 0)?,
        pid: u32_at(value, 8)?,
        comm: text(value.get(16..32)?),
        stack: words(value.get(32..).unwrap_or_default()),
    })
}

/// The words without the zeros at the end.
fn words(bytes: &[u8]) -> Vec<u64> {
    let mut words: Vec<u64> = bytes.chunks_exact(8).filter_map(|word| u64_at(word, 0)).collect();
    let n = words.iter().rposition(|word| *word != 0).map_or(0, |at| at + 1);
    words.truncate(n);
    words
}

/// `struct address`.
fn address(key: &[u8]) -> Option<Address> {
    let kind = match u16_at(key, 4)? {
        5 => AddressKind::Bound,
        6 => AddressKind::Connected,
        _ => return None,
    };
    let family = u16_at(key, 6)?;
    let bytes: [u8; 16] = *key.get(12..)?.first_chunk()?;
    let address = match family {
        AF_INET => Some(IpAddr::V4(Ipv4Addr::from_octets(*bytes.first_chunk()?))),
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from_octets(bytes))),
        _ => None,
    };
    Some(Address { kind, family, address, port: u32_at(key, 8)?.try_into().ok()? })
}

/// `struct noted`.
fn path(key: &[u8]) -> Option<NotedPath> {
    let kind = match u32_at(key, 4)? {
        0 => PathKind::Written,
        1 => PathKind::Changed,
        2 => PathKind::Executed,
        3 => PathKind::Bound,
        4 => PathKind::Connected,
        _ => return None,
    };
    let folder = text(key.get(8..8 + PATH_BYTES)?);
    let name = text(key.get(8 + PATH_BYTES..8 + PATH_BYTES + NAME_BYTES)?);
    let is_cut = folder.len() + 1 >= PATH_BYTES || name.len() + 1 >= NAME_BYTES;
    let path = match name.as_str() {
        "" => folder,
        name => format!("{}/{name}", folder.trim_end_matches('/')),
    };
    Some(NotedPath { kind, path, is_cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_the_programs_write_them() {
        let mut key = [0; 32];
        key[4..6].copy_from_slice(&5_u16.to_ne_bytes());
        key[6..8].copy_from_slice(&AF_INET.to_ne_bytes());
        key[8..12].copy_from_slice(&8080_u32.to_ne_bytes());
        key[12..16].copy_from_slice(&[127, 0, 0, 1]);
        let expected = Address {
            kind: AddressKind::Bound,
            family: AF_INET,
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: 8080,
        };
        assert_eq!(address(&key[..28]), Some(expected));
        assert_eq!(address(&key[..20]), None);

        let mut who = vec![0; 32 + 4 * 8];
        who[0] = 3;
        who[16..20].copy_from_slice(b"init");
        who[40..48].copy_from_slice(&77_u64.to_ne_bytes());
        let read = site(&[0; 32], &who).unwrap();
        assert_eq!((read.n, read.comm.as_str(), read.stack), (3, "init", vec![0, 77]));
        assert_eq!(site(&[0; 32], &who[..20]), None);

        let mut key = vec![0; 8 + PATH_BYTES + NAME_BYTES];
        key[4] = 1;
        key[8..12].copy_from_slice(b"/var");
        key[8 + PATH_BYTES..8 + PATH_BYTES + 3].copy_from_slice(b"log");
        let noted = path(&key).unwrap();
        assert_eq!(
            (noted.kind, noted.path.as_str(), noted.is_cut),
            (PathKind::Changed, "/var/log", false)
        );
        key[8..8 + PATH_BYTES - 1].fill(b'x');
        assert!(path(&key).unwrap().is_cut);
        assert_eq!(path(&key[..100]), None);
    }
}
