//! Networks that several containers share: one bridge each, whose members reach each other, by
//! address and by name.
//!
//! A network is there as long as one of its members: the first makes it, and with the last it goes.
//! Who its members are is in the leases and nowhere else, so whatever is killed in between, the next
//! command that has to do with networks takes away what no lease names.
//!
//! Names are lines of each member's `/etc/hosts`, written anew when a member comes or goes: no
//! program of ours has to answer for them, and nobody outside of the network can ask.

use std::fmt::{self, Write as _};
use std::io::Seek as _;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::lease::{Lease, Leases};
use super::tools::{Link, ip, ip_do, nft};
use super::{NetworkError, Subnet};

/// Prefix of the bridges' names.
const PREFIX: &str = "pal-";
/// Characters of a name: with the prefix the longest name of a device.
const NAME_CHARS_MAX: usize = 11;
/// Shared networks at one time.
pub const NETWORKS_MAX: usize = 256;
/// Lines of names that are written into one member's file.
const NAMES_MAX: usize = 1024;

/// The name of a shared network: lower-case letters, digits and `-`, a letter or a digit first, at
/// most 11 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

impl FromStr for NetworkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-');
        if fits {
            return Ok(Self(text.to_string()));
        }
        let text: String = text.chars().take(40).collect();
        Err(format!(
            "`{text}` is no name of a network: lower-case letters, digits and `-`, at most \
             {NAME_CHARS_MAX} characters"
        ))
    }
}

impl TryFrom<String> for NetworkName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl NetworkName {
    /// Its bridge.
    pub fn device(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    /// Ending of the names of its packet filters, in which `-` has no place.
    pub(super) fn suffix(&self) -> String {
        format!("_{}", self.0.replace('-', "_d_"))
    }
}

/// A member of a shared network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The container's id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: std::net::Ipv4Addr,
}

/// A shared network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedNetwork {
    /// Its name.
    pub name: NetworkName,
    /// Its bridge.
    pub bridge: String,
    /// Its addresses: `10.215.0.0/24`.
    pub subnet: String,
    /// Its members, by their addresses.
    pub members: Vec<Member>,
}

/// The shared networks of these leases.
pub(super) fn networks(leases: &[(String, Lease)]) -> Vec<SharedNetwork> {
    let mut networks: Vec<SharedNetwork> = Vec::new();
    for (id, lease) in leases {
        let Some(name) = &lease.network else { continue };
        let member =
            Member { container: id.clone(), name: lease.name.clone(), address: lease.address };
        match networks.iter_mut().find(|network| network.name == *name) {
            Some(network) => network.members.push(member),
            None => networks.push(SharedNetwork {
                name: name.clone(),
                bridge: name.device(),
                subnet: Subnet { address: lease.gateway.into(), prefix: lease.prefix }
                    .network()
                    .to_string(),
                members: vec![member],
            }),
        }
    }
    for network in &mut networks {
        network.members.sort_by_key(|member| member.address);
    }
    networks.sort_by(|one, two| one.name.cmp(&two.name));
    networks
}

/// Marks the bridge of a shared network as that of these leases, where it is there.
///
/// # Errors
///
/// There is a bridge of that name which is somebody else's.
pub(super) fn claim(leases: &Leases, device: &str, has_address: bool) -> Result<(), NetworkError> {
    // Aliases are shown of links alone, not with addresses.
    let links: Vec<Link> = ip(&["-json", "link", "show"])?;
    let Some(link) = links.into_iter().find(|link| link.ifname == device) else { return Ok(()) };
    // A process that was killed while it made the bridge left it without a mark and an address.
    let is_half_made = link.ifalias.is_empty() && !has_address;
    match link.ifalias == leases.mark() {
        true => Ok(()),
        false if is_half_made => ip_do(&["link", "set", device, "alias", &leases.mark()]),
        false => Err(NetworkError::Unusable(format!(
            "the bridge `{device}` was not made by this palisade (`--run-dir`); \
             choose another name for the network"
        ))),
    }
}

/// Takes away networks that no lease names.
pub(super) fn sweep(leases: &Leases) -> Result<(), NetworkError> {
    let all = leases.own()?;
    let links: Vec<Link> = ip(&["-json", "link", "show", "type", "bridge"])?;
    for link in links {
        let Some(name) = link.ifname.strip_prefix(PREFIX) else { continue };
        let Ok(name) = name.parse::<NetworkName>() else { continue };
        // What another run folder, or somebody else, has made is not ours to take away.
        if link.ifalias == leases.mark()
            && !all.iter().any(|(_, lease)| lease.network.as_ref() == Some(&name))
        {
            let suffix = name.suffix();
            let (net, nat) = (format!("palisade_net{suffix}"), format!("palisade_nat{suffix}"));
            nft(&format!(
                "add table inet {net}\ndelete table inet {net}\n\
                 add table ip {nat}\ndelete table ip {nat}\n"
            ))?;
            ip_do(&["link", "delete", &name.device()])?;
        }
    }
    Ok(())
}

/// Tells the members of `network` each other's names.
pub(super) fn tell_names(
    leases: &Leases,
    bundles: &Path,
    network: &NetworkName,
) -> Result<(), NetworkError> {
    let all = leases.own()?;
    let of_it = || all.iter().filter(|(_, lease)| lease.network.as_ref() == Some(network));
    for (id, lease) in of_it() {
        let text = hosts(id, lease, of_it());
        let path = bundles.join(id).join("hosts");
        match rewrite(&path, &text) {
            // It is about to be made, or gone already.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(NetworkError::Lease { action: "write", path, source }),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The file in place: the container has this very file mounted.
fn rewrite(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.rewind()?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.set_len(text.len() as u64)
}

/// `/etc/hosts` of one member.
pub(crate) fn hosts<'a>(
    id: &str,
    own: &Lease,
    members: impl Iterator<Item = &'a (String, Lease)>,
) -> String {
    let short = |id: &str| id.get(..12).unwrap_or(id).to_string();
    let mut text = format!(
        "127.0.0.1 localhost\n::1 localhost ip6-localhost\n{} {} {}\n",
        own.address,
        short(id),
        own.name
    );
    for (other, lease) in members.filter(|(other, _)| other != id).take(NAMES_MAX) {
        let _infallible = writeln!(text, "{} {} {}", lease.address, lease.name, short(other));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, network: Option<&str>, address: &str) -> Lease {
        Lease {
            address: address.parse().unwrap(),
            prefix: 24,
            gateway: "10.215.0.1".parse().unwrap(),
            device: "pal0".into(),
            published: Vec::new(),
            network: network.map(|it| it.parse().unwrap()),
            name: name.into(),
        }
    }

    #[test]
    fn names_are_those_of_devices_too() {
        for name in ["a", "backend", "back-end-01", "1"] {
            let name: NetworkName = name.parse().unwrap();
            assert!(super::super::check_device(&name.device()).is_ok());
        }
        for wrong in ["", "-a", "Backend", "a_b", "a.b", "a/b", "twelve-chars", "\u{e4}", "a b"] {
            assert!(wrong.parse::<NetworkName>().is_err(), "{wrong}");
        }
        let suffix = |name: &str| name.parse::<NetworkName>().unwrap().suffix();
        assert_eq!(suffix("a-b"), "_a_d_b");
        assert!(serde_json::from_str::<NetworkName>("\"../x\"").is_err());
    }

    #[test]
    fn members_know_each_other_by_name() {
        let all = [
            ("b".repeat(64), lease("db", Some("back"), "10.215.0.3")),
            ("a".repeat(64), lease("web", Some("back"), "10.215.0.2")),
            ("c".repeat(64), lease("x", Some("other"), "10.215.1.2")),
            ("d".repeat(64), lease("y", None, "10.213.0.2")),
        ];
        let networks = networks(&all);
        assert_eq!(networks.len(), 2);
        let members: Vec<&str> = networks[0].members.iter().map(|it| it.name.as_str()).collect();
        assert_eq!((members, networks[0].subnet.as_str()), (vec!["web", "db"], "10.215.0.0/24"));
        let back = all.iter().filter(|(_, lease)| {
            lease.network.as_ref().is_some_and(|name| name.to_string() == "back")
        });
        let text = hosts(&all[1].0, &all[1].1, back);
        assert!(
            text.ends_with("10.215.0.2 aaaaaaaaaaaa web\n10.215.0.3 db bbbbbbbbbbbb\n"),
            "{text}"
        );
    }

    #[test]
    fn a_file_is_written_in_its_place() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "a long text of before\n").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        rewrite(&path, "short\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short\n");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        assert!(rewrite(&folder.path().join("none"), "").is_err());
    }
}
