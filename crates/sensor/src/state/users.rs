//! Users, groups and network interfaces.
//!
//! Those of the host come from a capture or from the host's files, those of a container
//! from events or from the container's own files, which are hostile and read bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

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
        self.read_passwd_mapped(container, text, &IdMap::default());
    }

    fn read_passwd_mapped(&mut self, container: &[u8], text: &[u8], map: &IdMap) {
        for line in text.split(|byte| *byte == b'\n') {
            let mut parts = line.split(|byte| *byte == b':');
            let (Some(name), Some(uid)) = (parts.next(), parts.nth(1).and_then(parse_id)) else {
                continue;
            };
            let Some(uid) = map.outside(uid) else { continue };
            let home = parts.nth(2).unwrap_or(b"");
            let shell = parts.next().unwrap_or(b"");
            if self.user(container, uid).is_none() {
                self.add_user(container, uid, name, home, shell);
            }
        }
    }

    /// Reads a `group(5)` file.
    pub fn read_group(&mut self, container: &[u8], text: &[u8]) {
        self.read_group_mapped(container, text, &IdMap::default());
    }

    fn read_group_mapped(&mut self, container: &[u8], text: &[u8], map: &IdMap) {
        for line in text.split(|byte| *byte == b'\n') {
            let mut parts = line.split(|byte| *byte == b':');
            let (Some(name), Some(gid)) = (parts.next(), parts.nth(1).and_then(parse_id)) else {
                continue;
            };
            let Some(gid) = map.outside(gid) else { continue };
            if self.group(container, gid).is_none() {
                self.add_group(container, gid, name);
            }
        }
    }
}

/// Bytes of an account file of a container.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of an id map; the kernel allows 340 lines.
const MAP_BYTES_MAX: u64 = 16 << 10;

/// The account files of a container and how its user namespace maps ids.
pub(super) struct ContainerAccounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
    uids: IdMap,
    gids: IdMap,
}

impl ContainerAccounts {
    /// As a process sees them; `None` when it has ended. The files are the container's own:
    /// they are opened inside its root and bounded.
    pub(super) fn read(proc: &Path, pid: i64) -> Option<Self> {
        let folder = proc.join(pid.to_string());
        let root = palisade_base::Root::open(&folder.join("root")).ok()?;
        // An image without the files has no names; that is remembered as well.
        let file = |name: &str| root.read(Path::new(name), FILE_BYTES_MAX).unwrap_or_default();
        let map = |name: &str| {
            let file = std::fs::File::open(folder.join(name)).ok()?;
            let text = palisade_base::read_bounded(file, "id map", MAP_BYTES_MAX).ok()?;
            Some(IdMap::parse(&text))
        };
        Some(Self {
            passwd: file("etc/passwd"),
            group: file("etc/group"),
            uids: map("uid_map")?,
            gids: map("gid_map")?,
        })
    }

    pub(super) fn add_to(&self, accounts: &mut Accounts, container: &[u8]) {
        accounts.add_user(container, self.uids.outside(0).unwrap_or(0), b"root", b"/root", b"");
        accounts.read_passwd_mapped(container, &self.passwd, &self.uids);
        accounts.read_group_mapped(container, &self.group, &self.gids);
    }
}

/// How a user namespace maps its ids to those of the host (`user_namespaces(7)`): events
/// have the host's. Without ranges an id is itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct IdMap(Vec<(u32, u32, u32)>);

impl IdMap {
    fn parse(text: &[u8]) -> Self {
        let line = |line: &[u8]| {
            let text = std::str::from_utf8(line).ok()?;
            let mut words = text.split_whitespace().map(|word| word.parse::<u32>().ok());
            Some((words.next()??, words.next()??, words.next()??))
        };
        Self(text.split(|byte| *byte == b'\n').filter_map(line).collect())
    }

    /// The host's id for one of the namespace; `None` where it has none.
    fn outside(&self, inside: u32) -> Option<u32> {
        if self.0.is_empty() {
            return Some(inside);
        }
        self.0.iter().find_map(|(first, outside, n)| {
            let offset = inside.checked_sub(*first).filter(|offset| offset < n)?;
            outside.checked_add(offset)
        })
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
    fn the_names_of_a_container_stand_under_the_ids_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("7/uid_map", "         0   16777216      65536\n"),
            ("7/gid_map", "0 4294967290 10\n"),
            (
                "7/root/etc/passwd",
                "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/:\nhigh:x:70000:0::/:\n",
            ),
            ("7/root/etc/group", "root:x:0:\nnear:x:5:\nbeyond:x:6:\n"),
        ];
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert!(ContainerAccounts::read(folder.path(), 8).is_none(), "it has ended");
        let mut accounts = Accounts::default();
        ContainerAccounts::read(folder.path(), 7).unwrap().add_to(&mut accounts, b"c");
        let name = |uid| accounts.user(b"c", uid).map(|user| &*user.name);
        assert_eq!(name(16_777_216), Some(&b"root"[..]));
        assert_eq!(name(16_777_249), Some(&b"www"[..]));
        assert_eq!((name(0), name(33), name(16_777_216 + 70_000)), (None, None, None));
        // An id beyond the last one is none.
        assert_eq!(accounts.group(b"c", u32::MAX), Some(&b"near"[..]));
        assert_eq!(accounts.groups_of(b"c").count(), 2);
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
