//! The network of an ordinary user's container: one of its own, whose packets a program of the
//! distribution's turns into the user's own connections (`pasta`, or `slirp4netns`).
//!
//! What a bridge's filters do for root's containers, routes do here: into nothing lead those to the
//! host's other addresses and to link-local ones (a cloud's metadata); the program itself leads
//! nothing to the host's loopback. The container has no capability to change them. Addresses that
//! the host gets later are not known.
//!
//! The program stays as long as the container; whoever removes the container ends it, by the file
//! with its process id in the bundle.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_sys::ProcessHandle;

use super::bridge::{Wanted, shape};
use super::lease::{Lease, Protocol, Published};
use super::tools::{Link, ip, ip_do, within};
use super::{INNER, NetworkError};

/// Where the programs are looked for, the better one first.
const PROGRAMS: [(&str, Kind); 2] = [("pasta", Kind::Pasta), ("slirp4netns", Kind::Slirp)];
const PLACES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];
/// Device by which the programs make networks.
const TUN: &str = "/dev/net/tun";
/// File of the program's process id, in the bundle.
const PID_FILE: &str = "network.pid";
/// How long the program may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Host addresses that are closed.
const CLOSED_MAX: usize = 1024;
/// The container's address under `slirp4netns` (`slirp4netns(1)`), and its name server.
const SLIRP_GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
/// Name server that `slirp4netns` answers for.
pub(crate) const SLIRP_DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `pasta`, of passt.
    Pasta,
    /// `slirp4netns`.
    Slirp,
}

/// A program that connects containers without privilege.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserNetwork {
    program: PathBuf,
    pub(crate) kind: Kind,
}

impl UserNetwork {
    /// Finds one, and sees that it and the ports can work.
    ///
    /// # Errors
    ///
    /// None is installed, the device is closed to the user, or a port is in use.
    pub(crate) fn find(wanted: &Wanted) -> Result<Self, NetworkError> {
        let installed = |(name, kind): &(&str, Kind)| {
            let mut places = PLACES.iter().map(|folder| Path::new(folder).join(name));
            places.find(|path| path.is_file()).map(|program| Self { program, kind: *kind })
        };
        let found = PROGRAMS.iter().find_map(installed).ok_or(NetworkError::NoUserMode)?;
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(TUN)
            .map_err(|source| NetworkError::Tun { path: TUN, source })?;
        for port in &wanted.published {
            bind(port).map_err(|source| match source.kind() {
                std::io::ErrorKind::PermissionDenied => NetworkError::LowPort(*port),
                _ => NetworkError::PortTaken(*port),
            })?;
        }
        Ok(found)
    }

    /// Connects the container whose first process is `pid`.
    ///
    /// # Errors
    ///
    /// The program or `ip` refuses.
    pub(crate) fn attach(
        &self,
        bundle: &Path,
        pid: u32,
        wanted: &Wanted,
    ) -> Result<Lease, NetworkError> {
        match self.kind {
            Kind::Pasta => self.pasta(bundle, pid, wanted)?,
            Kind::Slirp => self.slirp(bundle, pid, wanted)?,
        }
        let address = address(pid)?.ok_or(NetworkError::NoPort(pid))?;
        let host: Vec<Link> = ip(&["-json", "-4", "address", "show"])?;
        let closed = closed(host.iter().flat_map(Link::addresses), address.0);
        within(pid, || {
            closed.iter().try_for_each(|to| ip_do(&["route", "add", "blackhole", to]))?;
            wanted.bytes_per_second.map_or(Ok(()), |rate| shape(INNER, rate))
        })??;
        Ok(Lease {
            address: address.0,
            prefix: address.1,
            gateway: address.0,
            device: match self.kind {
                Kind::Pasta => "pasta".into(),
                Kind::Slirp => "slirp4netns".into(),
            },
            published: wanted.published.clone(),
            network: None,
            name: String::new(),
        })
    }

    /// `pasta(1)` returns when the network is there, and goes on in the background.
    fn pasta(&self, bundle: &Path, pid: u32, wanted: &Wanted) -> Result<(), NetworkError> {
        let mut command = self.command();
        command.args(["--config-net", "--ipv4-only", "--no-map-gw", "--quiet"]);
        command.args(["--ns-ifname", INNER, "--tcp-ns", "none", "--udp-ns", "none"]);
        for (flag, protocol) in [("--tcp-ports", Protocol::Tcp), ("--udp-ports", Protocol::Udp)] {
            let mut ports = wanted.published.iter().filter(|it| it.protocol == protocol).peekable();
            if ports.peek().is_none() {
                command.args([flag, "none"]);
            }
            for port in ports {
                let address = port.address.map(|it| format!("{it}/")).unwrap_or_default();
                command.arg(flag).arg(format!("{address}{}:{}", port.host, port.container));
            }
        }
        command.arg("--pid").arg(bundle.join(PID_FILE));
        // It gives up the right to look at other users' processes before it looks at the
        // container's, so it gets both namespaces open, in the place of two streams.
        let open = |kind: &str| {
            std::fs::File::open(format!("/proc/{pid}/ns/{kind}"))
                .map_err(|source| NetworkError::Enter { pid, source })
        };
        command.args(["--userns", "/proc/self/fd/0", "--netns", "/proc/self/fd/1"]);
        command.arg("--no-netns-quit").stdin(open("user")?).stdout(open("net")?);
        command.stderr(Stdio::piped());
        let output = command
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .map_err(|error| self.failed(&error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.failed(&String::from_utf8_lossy(&output.stderr)))
    }

    /// `slirp4netns(1)` stays in the foreground; ports are published by its socket.
    fn slirp(&self, bundle: &Path, pid: u32, wanted: &Wanted) -> Result<(), NetworkError> {
        let socket = bundle.join("slirp.sock");
        let log = bundle.join("slirp.log");
        let failed = |error: std::io::Error| self.failed(&error.to_string());
        let file = std::fs::File::create(&log).map_err(failed)?;
        let mut command = self.command();
        command.args(["--configure", "--disable-host-loopback", "--mtu", "65520"]);
        // It reads the container's packets with all that the user has.
        command.args(["--enable-sandbox", "--enable-seccomp"]);
        command.arg("--api-socket").arg(&socket).arg(pid.to_string()).arg(INNER);
        command.stdout(Stdio::null()).stderr(file).process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        palisade_base::fs::write_atomic(
            &bundle.join(PID_FILE),
            child.id().to_string().as_bytes(),
            0o600,
        )
        .map_err(failed)?;
        let end = Instant::now() + DEADLINE;
        while address(pid)?.is_none() || !socket.exists() {
            if child.try_wait().map_err(failed)?.is_some() || Instant::now() > end {
                let _ = child.kill();
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(self.failed(&said));
            }
            std::thread::sleep(LOOK);
        }
        for port in &wanted.published {
            self.publish(&socket, port)?;
        }
        Ok(())
    }

    fn publish(&self, socket: &Path, port: &Published) -> Result<(), NetworkError> {
        let failed = |error: std::io::Error| self.failed(&error.to_string());
        let mut stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(failed)?;
        let request = serde_json::json!({"execute": "add_hostfwd", "arguments": {
            "proto": port.protocol.to_string(),
            "host_addr": port.address.unwrap_or(Ipv4Addr::UNSPECIFIED),
            "host_port": port.host,
            "guest_addr": SLIRP_GUEST,
            "guest_port": port.container,
        }});
        stream.write_all(request.to_string().as_bytes()).map_err(failed)?;
        stream.shutdown(std::net::Shutdown::Write).map_err(failed)?;
        let mut answer = String::new();
        let mut reader = BufReader::new(std::io::Read::take(stream, 64 << 10));
        reader.read_line(&mut answer).map_err(failed)?;
        if answer.contains("\"error\"") { Err(self.failed(&answer)) } else { Ok(()) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    }

    fn failed(&self, said: &str) -> NetworkError {
        let reason = said.split_whitespace().collect::<Vec<_>>().join(" ");
        // The last words say what went wrong; before them it says what it did.
        let skipped = reason.chars().count().saturating_sub(300);
        let program = match self.kind {
            Kind::Pasta => "pasta",
            Kind::Slirp => "slirp4netns",
        };
        NetworkError::Program { program, reason: reason.chars().skip(skipped).collect() }
    }
}

/// Ends the program of the container `id` with this bundle. Does no harm twice.
pub(crate) fn detach(bundle: &Path, id: &str) {
    let text = std::fs::read_to_string(bundle.join(PID_FILE)).unwrap_or_default();
    let Ok(pid) = text.trim().parse::<u32>() else { return };
    // The number may be another process's by now; ours was started with the container's id.
    let Ok(process) = ProcessHandle::open(pid) else { return };
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if String::from_utf8_lossy(&arguments).contains(id) {
        let _ = process.signal(rustix::process::Signal::KILL.as_raw());
        let _ = process.wait_ended(DEADLINE);
    }
}

/// Takes the port for a moment.
fn bind(port: &Published) -> std::io::Result<()> {
    let at = SocketAddr::new(port.address.unwrap_or(Ipv4Addr::UNSPECIFIED).into(), port.host);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(at).map(drop),
        Protocol::Udp => UdpSocket::bind(at).map(drop),
    }
}

/// The container's address, once it has one.
fn address(pid: u32) -> Result<Option<(Ipv4Addr, u8)>, NetworkError> {
    let links: Vec<Link> = within(pid, || ip(&["-json", "-4", "address", "show"]))??;
    let device = links.iter().find(|link| link.ifname == INNER);
    Ok(device.and_then(|link| {
        link.subnets().find_map(|subnet| match subnet.address {
            IpAddr::V4(address) => Some((address, subnet.prefix)),
            IpAddr::V6(_) => None,
        })
    }))
}

/// Where no packet of the container's goes: link-local addresses, and the host's own but the one
/// that the container has too.
fn closed(host: impl Iterator<Item = IpAddr>, own: Ipv4Addr) -> Vec<String> {
    let host = host.filter(|it| it.is_ipv4() && !it.is_loopback() && *it != IpAddr::from(own));
    let mut closed = vec!["169.254.0.0/16".to_string()];
    closed.extend(host.take(CLOSED_MAX).map(|address| format!("{address}/32")));
    closed.sort_unstable();
    closed.dedup();
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_addresses_lead_nowhere() {
        let host = ["127.0.0.1", "192.0.2.2", "10.88.0.1", "10.88.0.1", "::1"];
        let host = host.iter().map(|it| it.parse().unwrap());
        let expected = ["10.88.0.1/32", "169.254.0.0/16"];
        assert_eq!(closed(host, Ipv4Addr::new(192, 0, 2, 2)), expected);
    }

    #[test]
    fn a_process_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let id = "0".repeat(64);
        let start = |argument: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "read line", argument]).stdin(Stdio::piped());
            let child = command.spawn().unwrap();
            // Its arguments are there a moment after its program.
            let arguments = format!("/proc/{}/cmdline", child.id());
            while std::fs::read(&arguments).unwrap().is_empty() {
                std::thread::sleep(LOOK);
            }
            std::fs::write(folder.path().join(PID_FILE), child.id().to_string()).unwrap();
            child
        };
        let mut other = start("other");
        detach(folder.path(), &id);
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        let mut ours = start(&id);
        detach(folder.path(), &id);
        assert!(ours.try_wait().unwrap().is_some());
        detach(folder.path(), &id);
        std::fs::write(folder.path().join(PID_FILE), "rubbish").unwrap();
        detach(folder.path(), &id);
    }
}
