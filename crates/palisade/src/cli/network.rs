//! The network of containers that are not trusted: `network`.

use clap::{Args, Subcommand};

use super::ListFormat;

/// `palisade network`.
#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Connect a container without a network to a bridge of untrusted containers, guarded
    Connect(NetworkConnect),
    /// Guard the ports of a running container of any engine
    Guard(NetworkContainer),
    /// Take the guards of a container away
    Unguard(NetworkContainer),
    /// List guarded ports, and what was refused at each
    List(NetworkList),
}

/// `palisade network connect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade network connect shop --address 10.88.0.5/24 --gateway 10.88.0.1\n\n\
    The bridge is made if it is not there; its ports reach the host and not each other. Nothing is\n\
    translated: what lies beyond the host is the host's routing. It all goes with the container.")]
pub(crate) struct NetworkConnect {
    /// The container: its name, or the beginning of its id
    pub(crate) container: String,
    /// Its address, with the length of the network's prefix
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub(crate) address: String,
    /// The host's address on the bridge
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: std::net::IpAddr,
    /// The bridge
    #[arg(long, default_value = "palisade0", value_name = "DEVICE")]
    pub(crate) bridge: String,
}

/// `palisade network guard` and `unguard`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade network guard shop\n  \
    palisade network list\n\n\
    A guard lets a container use its own MAC address and its own IP addresses, and be no DHCP\n\
    server and no router. Addresses that it gets later are not known: guard it again.")]
pub(crate) struct NetworkContainer {
    /// The container: its name, or the beginning of its id
    pub(crate) container: String,
}

/// `palisade network list`.
#[derive(Debug, Args)]
pub(crate) struct NetworkList {
    /// Form of the list
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}
