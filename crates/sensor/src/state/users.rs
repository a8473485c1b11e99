//! Users, groups and network interfaces.
//!
//! Those of the host come from a capture or from the host's files, those of a container
//! from events or from the container's own files, which are hostile and read bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fd::{NumberMap, Text};

/// Users and groups of one container; an image with more has the rest ignored and counted.
pub const ACCOUNTS_MAX: usize = 16_384;

/// Containers whose accounts are kept.
pub const ACCOUNT_LISTS_MAX: usize = 4096;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: Text,
    /// Its home folder.
    pub home: Text,
    /// Its login shell.
    pub shell: Text,
}

/// Users and groups by container; the host's under the empty id.
#[derive(Debug, Default)]
pub struct Accounts {
    users: HashMap<Text, NumberMap<u32, User>>,
    groups: HashMap<Text, NumberMap<u32, Text>>,
    /// Accounts that did not fit.
    pub n_refused: u64,
}

impl Accounts {
    /// A user of a container, or of the host.
    pub fn user(&self, container: &[u8], uid: u32) -> Option<&User> {
        self.users.get(container)?.get(&uid)
    }

    /// The name of a group of a container, or of the host.
    pub fn group(&self, container: &[u8], gid: u32) -> Option<&[u8]> {
        self.groups.get(container)?.get(&gid).map(|name| &**name)
    }

    /// Whether anything is known of a container's accounts.
    pub fn knows(&self, container: &[u8]) -> bool {
        self.users.contains_key(container)
    }

    /// The users of a container, or of the host.
    pub fn users_of(&self, container: &[u8]) -> impl Iterator<Item = (u32, &User)> {
        self.users.get(container).into_iter().flatten().map(|(uid, user)| (*uid, user))
    }

    /// The groups of a container, or of the host.
    pub fn groups_of(&self, container: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
        self.groups.get(container).into_iter().flatten().map(|(gid, name)| (*gid, &**name))
    }

    /// All users, with the containers that they belong to.
    pub fn users(&self) -> impl Iterator<Item = (&Text, u32, &User)> {
        let lists = self.users.iter();
        lists.flat_map(|(container, list)| {
            list.iter().map(move |(uid, user)| (container, *uid, user))
        })
    }

    /// All groups, with the containers that they belong to.
    pub fn groups(&self) -> impl Iterator<Item = (&Text, u32, &Text)> {
        let lists = self.groups.iter();
        lists.flat_map(|(container, list)| {
            list.iter().map(move |(gid, name)| (container, *gid, name))
        })
    }

    /// The containers whose users are known.
    pub fn containers(&self) -> impl Iterator<Item = Text> {
        self.users.keys().filter(|id| !id.is_empty()).cloned()
    }

    /// Adds or replaces a user. Names with a leading sign are directives of the name
    /// service, not users.
    pub fn add_user(&mut self, container: &[u8], uid: u32, name: &[u8], home: &[u8], shell: &[u8]) {
        if matches!(name.first(), Some(b'+' | b'-')) {
            return;
        }
        let Some(list) = list(&mut self.users, container, uid, &mut self.n_refused) else { return };
        list.insert(uid, User { name: name.into(), home: home.into(), shell: shell.into() });
    }

    /// Adds or replaces a group.
    pub fn add_group(&mut self, container: &[u8], gid: u32, name: &[u8]) {
        if matches!(name.first(), Some(b'+' | b'-')) {
            return;
        }
        let Some(list) = list(&mut self.groups, container, gid, &mut self.n_refused) else {
            return;
        };
        list.insert(gid, name.into());
    }

    /// Forgets a user.
    pub fn remove_user(&mut self, container: &[u8], uid: u32) {
        if let Some(list) = self.users.get_mut(container) {
            list.remove(&uid);
        }
    }

    /// Forgets a group.
    pub fn remove_group(&mut self, container: &[u8], gid: u32) {
        if let Some(list) = self.groups.get_mut(container) {
            list.remove(&gid);
        }
    }

    /// Forgets a container's accounts.
    pub fn remove_container(&mut self, container: &[u8]) {
        self.users.remove(container);
        self.groups.remove(container);
    }

    /// Reads a `passwd(5)` file.
    pub fn read_passwd(&mut self, container: &[u8], text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n') {
            let mut parts = line.split(|byte| *byte == b':');
            let (Some(name), Some(uid)) = (parts.next(), parts.nth(1).and_then(parse_id)) else {
                continue;
            };
            let home = parts.nth(2).unwrap_or(b"");
            let shell = parts.next().unwrap_or(b"");
            if self.user(container, uid).is_none() {
                self.add_user(container, uid, name, home, shell);
            }
        }
    }

    /// Reads a `group(5)` file.
    pub fn read_group(&mut self, container: &[u8], text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n') {
            let mut parts = line.split(|byte| *byte == b':');
            let (Some(name), Some(gid)) = (parts.next(), parts.nth(1).and_then(parse_id)) else {
                continue;
            };
            if self.group(container, gid).is_none() {
                self.add_group(container, gid, name);
            }
        }
    }
}

fn parse_id(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn list<'m, T>(
    lists: &'m mut HashMap<Text, NumberMap<u32, T>>,
    container: &[u8],
    id: u32,
    n_refused: &mut u64,
) -> Option<&'m mut NumberMap<u32, T>> {
    if !lists.contains_key(container) {
        if lists.len() >= ACCOUNT_LISTS_MAX {
            *n_refused += 1;
            return None;
        }
        lists.insert(container.into(), NumberMap::default());
    }
    let list = lists.get_mut(container)?;
    if list.len() >= ACCOUNTS_MAX && !list.contains_key(&id) {
        *n_refused += 1;
        return None;
    }
    Some(list)
}

/// Addresses of the machine.
#[derive(Debug, Clone, Default)]
pub struct Interfaces {
    /// IPv4 addresses and netmasks.
    pub ipv4: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
}

/// Interfaces of a machine that are kept.
pub const INTERFACES_MAX: usize = 4096;

impl Interfaces {
    /// Whether an address is one of the machine's (for IPv6, of one of its /64 networks).
    pub fn holds(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.iter().any(|(own, _)| *own == address),
            IpAddr::V6(address) => self.ipv6.iter().any(|own| same_network(*own, address)),
        }
    }

    /// The machine's address that a connection with `other` would use.
    pub fn local_for(&self, other: IpAddr) -> IpAddr {
        match other {
            IpAddr::V4(other) => IpAddr::V4(self.local_ipv4(other)),
            IpAddr::V6(other) => IpAddr::V6(self.local_ipv6(other)),
        }
    }

    fn local_ipv4(&self, other: Ipv4Addr) -> Ipv4Addr {
        let masked = |address: Ipv4Addr, mask: Ipv4Addr| address.to_bits() & mask.to_bits();
        let own = self.ipv4.iter().find(|(own, _)| *own == other);
        let near =
            || self.ipv4.iter().find(|(own, mask)| masked(*own, *mask) == masked(other, *mask));
        let any = || self.ipv4.iter().find(|(own, _)| *own != Ipv4Addr::LOCALHOST);
        own.or_else(near).or_else(any).map_or(Ipv4Addr::UNSPECIFIED, |(own, _)| *own)
    }

    fn local_ipv6(&self, other: Ipv6Addr) -> Ipv6Addr {
        let own = self.ipv6.iter().find(|own| **own == other);
        let near = || self.ipv6.iter().find(|own| same_network(**own, other));
        let any = || self.ipv6.iter().find(|own| **own != Ipv6Addr::LOCALHOST);
        own.or_else(near).or_else(any).copied().unwrap_or(Ipv6Addr::UNSPECIFIED)
    }
}

fn same_network(one: Ipv6Addr, other: Ipv6Addr) -> bool {
    one.octets()[..8] == other.octets()[..8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_files_are_read() {
        let mut accounts = Accounts::default();
        accounts.read_passwd(
            b"",
            b"root:x:0:0:root:/root:/bin/bash\n+nis::1::::\nbad\nwww:x:33:33::/srv:/bin/sh",
        );
        accounts.read_group(b"", b"root:x:0:\nwww:x:33:\n");
        assert_eq!(&*accounts.user(b"", 0).unwrap().shell, b"/bin/bash");
        assert_eq!(&*accounts.user(b"", 33).unwrap().name, b"www");
        assert!(accounts.user(b"", 1).is_none());
        assert_eq!(accounts.group(b"", 33), Some(&b"www"[..]));
        assert!(accounts.user(b"other", 0).is_none());
    }

    #[test]
    fn a_hostile_passwd_file_is_bounded() {
        let mut accounts = Accounts::default();
        for uid in 0..=ACCOUNTS_MAX as u32 {
            accounts.add_user(b"c", uid, b"u", b"", b"");
        }
        assert_eq!(accounts.n_refused, 1);
    }

    #[test]
    fn the_local_address_is_the_one_of_the_same_network() {
        let interfaces = Interfaces {
            ipv4: vec![
                ("127.0.0.1".parse().unwrap(), "255.0.0.0".parse().unwrap()),
                ("10.0.2.15".parse().unwrap(), "255.255.255.0".parse().unwrap()),
            ],
            ipv6: vec![],
        };
        let check = |other: &str, own: &str| {
            assert_eq!(
                interfaces.local_for(other.parse().unwrap()),
                own.parse::<IpAddr>().unwrap()
            );
        };
        check("127.0.0.1", "127.0.0.1");
        check("127.9.9.9", "127.0.0.1");
        check("10.0.2.2", "10.0.2.15");
        check("8.8.8.8", "10.0.2.15");
        check("2001:db8::1", "::");
    }
}
