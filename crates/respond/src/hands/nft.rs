//! Packet filters in a container's own network namespace, by the program `nft`.
//!
//! They cut the network where the kernel refuses BPF programs on control groups, and they
//! block single destinations. The namespace is entered by a thread of its own; a container
//! that shares the host's network is refused, because the rules would be the host's. A
//! container with `CAP_NET_ADMIN` in its namespace can take them away: such a one is frozen.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Performed;
use crate::containment::NetworkCut;
use crate::network::BpfNetwork;
use crate::target::Target;

/// The table that cuts the network.
const CUT: &str = "palisade_cut";
/// The table that blocks destinations.
const BLOCK: &str = "palisade_block";
/// How long one call of `nft` may take.
const NFT_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of what `nft` says against it that are passed on.
const COMPLAINT_CHARS_MAX: usize = 300;

/// Runs `nft` with `arguments` in the container's network namespace; its text goes to the
/// program's standard input. Whether it ended well, and what it said against it.
fn nft(
    target: &Target,
    arguments: &[&str],
    script: &str,
    deadline: Duration,
) -> Result<(bool, String), String> {
    let pids = target.group().processes().map_err(|error| error.to_string())?;
    let inode = |path: &str| std::fs::metadata(path).map(|entry| (entry.dev(), entry.ino()));
    let ours = inode("/proc/self/ns/net").map_err(|error| error.to_string())?;
    let namespace = pids.iter().find_map(|pid| {
        let path = format!("/proc/{pid}/ns/net");
        Some((std::fs::File::open(&path).ok()?, inode(&path).ok()?))
    });
    let Some((namespace, theirs)) = namespace else {
        return Err("no process of the container has a network namespace any more".into());
    };
    if ours == theirs || inode("/proc/1/ns/net").is_ok_and(|host| host == theirs) {
        return Err("the container has the host's network: its rules would be the host's".into());
    }
    std::thread::scope(|scope| {
        let call = scope.spawn(move || {
            use std::os::fd::AsFd as _;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| format!("enter the network namespace: {error}"))?;
            run(arguments, script, deadline)
        });
        call.join().unwrap_or_else(|_| Err("calling nft panicked".into()))
    })
}

fn run(arguments: &[&str], script: &str, deadline: Duration) -> Result<(bool, String), String> {
    let end = Instant::now() + deadline.min(NFT_DEADLINE);
    let mut child = Command::new("nft")
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("start `nft` (apt install nftables): {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A few lines: they fit into the pipe.
        stdin.write_all(script.as_bytes()).map_err(|error| format!("write to nft: {error}"))?;
    }
    loop {
        match child.try_wait().map_err(|error| format!("wait for nft: {error}"))? {
            Some(_) => {
                let output = child.wait_with_output().map_err(|error| error.to_string())?;
                let said: String = String::from_utf8_lossy(&output.stderr)
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .chars()
                    .take(COMPLAINT_CHARS_MAX)
                    .collect();
                return Ok((output.status.success(), said));
            }
            None if Instant::now() >= end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("nft was ended at its deadline".into());
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn apply(target: &Target, script: &str, deadline: Duration) -> Result<(), String> {
    match nft(target, &["-f", "-"], script, deadline)? {
        (true, _) => Ok(()),
        (false, said) => Err(format!("nft refused: {said}")),
    }
}

fn has_table(target: &Target, table: &str) -> Result<bool, String> {
    let (found, said) = nft(target, &["list", "table", "inet", table], "", NFT_DEADLINE)?;
    if found || said.contains("No such file") {
        Ok(found)
    } else {
        Err(format!("nft refused: {said}"))
    }
}

/// The cut by packet filters.
#[derive(Debug, Default)]
pub struct NftNetwork;

impl NetworkCut for NftNetwork {
    fn cut(&self, target: &Target) -> Result<String, String> {
        self.cut_but(target, &[])
    }

    fn cut_but(&self, target: &Target, allow: &[IpAddr]) -> Result<String, String> {
        apply(target, &cut_script(allow), NFT_DEADLINE)?;
        Ok("all traffic is dropped by packet filters in the container's network namespace".into())
    }

    fn restore(&self, target: &Target) -> Result<String, String> {
        apply(target, &format!("delete table inet {CUT}\n"), NFT_DEADLINE)?;
        Ok("the packet filters are gone".into())
    }

    fn is_cut(&self, target: &Target) -> Result<bool, String> {
        has_table(target, CUT)
    }
}

/// One transaction: the old table away, the new one in its place.
fn cut_script(allow: &[IpAddr]) -> String {
    let rules = |field: &str| -> String {
        let rule = |address: &IpAddr| {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            format!("    {family} {field} {address} accept\n")
        };
        allow.iter().map(rule).collect::<Vec<_>>().concat()
    };
    // Neighbour discovery, without which an IPv6 responder is not found.
    let ndp = if allow.iter().any(IpAddr::is_ipv6) {
        "    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n"
    } else {
        ""
    };
    let (from, to) = (rules("saddr"), rules("daddr"));
    format!(
        "add table inet {CUT}\ndelete table inet {CUT}\ntable inet {CUT} {{\n  chain in {{\n    \
         type filter hook input priority -300; policy drop;\n{from}{ndp}  }}\n  chain out {{\n    \
         type filter hook output priority -300; policy drop;\n{to}{ndp}  }}\n  chain through {{\n    \
         type filter hook forward priority -300; policy drop;\n  }}\n}}\n"
    )
}

/// The set of a destination's family.
fn set_of(to: &str) -> &'static str {
    if to.contains(':') { "to6" } else { "to4" }
}

fn is_blocked(target: &Target, to: &str, deadline: Duration) -> Result<bool, String> {
    let element = format!("{{ {to} }}");
    let set = set_of(to);
    Ok(nft(target, &["get", "element", "inet", BLOCK, set, &element], "", deadline)?.0)
}

/// Drops the container's traffic with `to`.
pub(super) fn block(target: &Target, to: &str, deadline: Duration) -> Performed {
    let tried = || -> Result<bool, String> {
        if is_blocked(target, to, deadline)? {
            return Ok(false);
        }
        let script = format!(
            "table inet {BLOCK} {{\n  set to4 {{ type ipv4_addr; flags interval; }}\n  set to6 {{ \
             type ipv6_addr; flags interval; }}\n}}\n\
             add chain inet {BLOCK} out {{ type filter hook output priority -290; }}\n\
             add chain inet {BLOCK} in {{ type filter hook input priority -290; }}\n\
             flush chain inet {BLOCK} out\nflush chain inet {BLOCK} in\n\
             add rule inet {BLOCK} out ip daddr @to4 drop\n\
             add rule inet {BLOCK} out ip6 daddr @to6 drop\n\
             add rule inet {BLOCK} in ip saddr @to4 drop\n\
             add rule inet {BLOCK} in ip6 saddr @to6 drop\n\
             add element inet {BLOCK} {} {{ {to} }}\n",
            set_of(to)
        );
        apply(target, &script, deadline)?;
        Ok(true)
    };
    match tried() {
        Ok(true) => Performed::done("dropped by packet filters in the container's namespace"),
        Ok(false) => Performed::unchanged("it was blocked already"),
        Err(reason) => Performed::failed(reason),
    }
}

/// Lets the container's traffic with `to` through again.
pub(super) fn unblock(target: &Target, to: &str, deadline: Duration) -> Performed {
    let tried = || -> Result<bool, String> {
        if !is_blocked(target, to, deadline)? {
            return Ok(false);
        }
        let script = format!("delete element inet {BLOCK} {} {{ {to} }}\n", set_of(to));
        apply(target, &script, deadline)?;
        Ok(true)
    };
    match tried() {
        Ok(true) => Performed::done("let through again"),
        Ok(false) => Performed::unchanged("it was not blocked"),
        Err(reason) => Performed::failed(reason),
    }
}

/// BPF on the control group; where that is refused, packet filters.
#[derive(Debug)]
pub struct BestNetwork {
    bpf: BpfNetwork,
    nft: NftNetwork,
    /// A file for each container that packet filters cut off. Asking the filters costs a
    /// process, so they are asked only where there is one.
    marks: PathBuf,
}

impl BestNetwork {
    /// Cuts by `bpf`, or else by packet filters, which are remembered in the folder `marks`.
    pub fn new(bpf: BpfNetwork, marks: &Path) -> Self {
        Self { bpf, nft: NftNetwork, marks: marks.to_path_buf() }
    }

    fn mark(&self, target: &Target) -> PathBuf {
        self.marks.join(crate::plan::file_safe(&target.container().id))
    }
}

impl NetworkCut for BestNetwork {
    fn cut(&self, target: &Target) -> Result<String, String> {
        self.cut_but(target, &[])
    }

    fn cut_but(&self, target: &Target, allow: &[IpAddr]) -> Result<String, String> {
        self.bpf.cut_but(target, allow).or_else(|refused| {
            // Marked first: should we die in between, the filters are found all the same.
            std::fs::create_dir_all(&self.marks)
                .and_then(|()| std::fs::write(self.mark(target), b""))
                .map_err(|error| format!("by BPF: {refused}; remember the filters: {error}"))?;
            self.nft
                .cut_but(target, allow)
                .map(|detail| format!("{detail}; BPF was refused: {refused}"))
                .map_err(|too| format!("by BPF: {refused}; by packet filters: {too}"))
        })
    }

    fn prepare(&self) {
        self.bpf.prepare();
    }

    fn cut_at_once(&self, target: &Target) -> Option<Result<String, String>> {
        // Packet filters cost a process, and are left to those who can wait.
        self.bpf.cut_at_once(target)
    }

    fn restore(&self, target: &Target) -> Result<String, String> {
        let bpf = match self.bpf.is_cut(target) {
            Ok(true) => Some(self.bpf.restore(target)?),
            _ => None,
        };
        let mark = self.mark(target);
        let mut nft = None;
        if mark.exists() {
            if self.nft.is_cut(target)? {
                nft = Some(self.nft.restore(target)?);
            }
            std::fs::remove_file(&mark).map_err(|error| format!("forget the filters: {error}"))?;
        }
        bpf.or(nft).ok_or_else(|| "it is not cut".to_string())
    }

    fn is_cut(&self, target: &Target) -> Result<bool, String> {
        let by_nft =
            || if self.mark(target).exists() { self.nft.is_cut(target) } else { Ok(false) };
        match self.bpf.is_cut(target) {
            Ok(true) => Ok(true),
            Ok(false) => by_nft(),
            // Where BPF cannot even be asked, it has cut nothing.
            Err(_refused) => by_nft(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_lets_responders_through_and_nobody_else() {
        let script = cut_script(&["10.0.0.5".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        for line in [
            "ip saddr 10.0.0.5 accept",
            "ip6 daddr 2001:db8::1 accept",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
        ] {
            assert!(script.contains(line), "{script}");
        }
        assert_eq!(script.matches("policy drop").count(), 3);
        let closed = cut_script(&[]);
        assert!(!closed.contains("accept"), "{closed}");
        assert_eq!((set_of("10.0.0.0/8"), set_of("2001:db8::/32")), ("to4", "to6"));
    }
}
