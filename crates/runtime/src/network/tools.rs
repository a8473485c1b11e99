//! `ip` and `nft`, called without a shell, here and in a container's network namespace.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{NetworkError, Subnet, netlink};

/// Characters of what a program says against it that are passed on.
const COMPLAINT_CHARS_MAX: usize = 300;

/// A device, as `ip -json` shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    #[serde(default)]
    pub(super) ifname: String,
    /// The other end, when that is in another namespace.
    #[serde(default, rename = "link_index")]
    pub(super) peer: Option<u32>,
    /// What the namespace of this end calls that of the other.
    #[serde(default, rename = "link_netnsid")]
    pub(super) peer_namespace: Option<i32>,
    #[serde(default)]
    pub(super) ifalias: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    #[serde(default)]
    local: String,
    #[serde(default)]
    prefixlen: u8,
}

/// A route, as `ip -json` shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Route {
    #[serde(default)]
    dst: String,
}

impl Route {
    /// Where it leads; `None` for the default route, which touches no network in particular.
    pub(super) fn subnet(&self) -> Option<Subnet> {
        match self.dst.parse() {
            Ok(subnet) => Some(subnet),
            Err(_) => self.dst.parse().ok().map(|address| Subnet { address, prefix: 32 }),
        }
    }
}

impl Link {
    /// Its MAC address.
    pub(super) fn mac(&self) -> Option<[u8; 6]> {
        let mut bytes = self.address.split(':').map(|part| u8::from_str_radix(part, 16));
        let mut mac = [0; 6];
        for byte in &mut mac {
            *byte = bytes.next()?.ok()?;
        }
        bytes.next().is_none().then_some(mac)
    }

    /// Its addresses.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.subnets().map(|subnet| subnet.address).collect()
    }

    /// Its addresses with their networks.
    pub(super) fn subnets(&self) -> impl Iterator<Item = Subnet> + '_ {
        let subnet = |it: &Address| {
            it.local.parse().ok().map(|address| Subnet { address, prefix: it.prefixlen })
        };
        self.addr_info.iter().filter_map(subnet)
    }
}

/// The network namespace of a process, held open: it stays the same when the process is gone.
#[derive(Debug)]
pub(super) struct Namespace {
    pid: u32,
    file: File,
}

impl Namespace {
    /// That of `pid`, which must not be ours.
    pub(super) fn of(pid: u32) -> Result<Self, NetworkError> {
        let failed = |source| NetworkError::Enter { pid, source };
        let file = File::open(format!("/proc/{pid}/ns/net")).map_err(failed)?;
        let own = std::fs::metadata("/proc/thread-self/ns/net").map_err(failed)?;
        let theirs = file.metadata().map_err(failed)?;
        if (own.dev(), own.ino()) == (theirs.dev(), theirs.ino()) {
            return Err(NetworkError::HostNetwork(pid));
        }
        Ok(Self { pid, file })
    }

    /// The number by which the kernel tells the caller's from others, as long as it is there.
    pub(super) fn own_number() -> Result<u64, NetworkError> {
        let failed = |source| NetworkError::Enter { pid: std::process::id(), source };
        Ok(std::fs::metadata("/proc/thread-self/ns/net").map_err(failed)?.ino())
    }

    /// What ours calls it, if any device has one end here and one there.
    pub(super) fn id(&self) -> Result<Option<i32>, NetworkError> {
        let failed = |source| NetworkError::Enter { pid: self.pid, source };
        netlink::namespace_id(self.file.as_fd()).map_err(failed)
    }

    /// Does `work` in it, on a thread of its own.
    pub(super) fn enter<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, NetworkError> {
        let failed = |source| NetworkError::Enter { pid: self.pid, source };
        std::thread::scope(|scope| {
            let call = scope.spawn(move || {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(std::io::Error::from)?;
                Ok(work())
            });
            match call.join() {
                Ok(result) => result.map_err(failed),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Does `work` in the network namespace of `pid`, on a thread of its own.
pub(super) fn within<T: Send>(
    pid: u32,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetworkError> {
    Namespace::of(pid)?.enter(work)
}

fn run(program: &'static str, args: &[&str], input: &str) -> Result<Vec<u8>, NetworkError> {
    let failed = |error: std::io::Error| NetworkError::Program {
        program,
        reason: format!("start it: {error}"),
    };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A few kilobytes, which fit into the pipe.
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = reason.chars().take(COMPLAINT_CHARS_MAX).collect();
    Err(NetworkError::Program { program, reason })
}

/// Asks `ip`.
pub(super) fn ip<T: DeserializeOwned>(args: &[&str]) -> Result<Vec<T>, NetworkError> {
    let bytes = run("ip", args, "")?;
    serde_json::from_slice(&bytes).map_err(|error| NetworkError::Program {
        program: "ip",
        reason: format!("its answer cannot be understood: {error}"),
    })
}

/// Has `ip` do something.
pub(super) fn ip_do(args: &[&str]) -> Result<(), NetworkError> {
    run("ip", args, "").map(drop)
}

/// Has `tc` do something.
pub(super) fn tc_do(args: &[&str]) -> Result<(), NetworkError> {
    run("tc", args, "").map(drop)
}

/// Has `nft` put a script in force, all of it or nothing.
pub(super) fn nft(script: &str) -> Result<(), NetworkError> {
    run("nft", &["-f", "-"], script).map(drop)
}

/// Asks `nft`.
pub(super) fn nft_json(args: &[&str]) -> Result<Value, NetworkError> {
    let bytes = run("nft", &[&["--json"][..], args].concat(), "")?;
    serde_json::from_slice(&bytes).map_err(|error| NetworkError::Program {
        program: "nft",
        reason: format!("its answer cannot be understood: {error}"),
    })
}
