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

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_sys::{ProcessHandle, process};

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
/// File of what the program says, in the bundle.
const LOG_FILE: &str = "network.log";
/// Bytes of it that are read.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Characters of what the program said last that are passed on.
const SAID_CHARS_MAX: usize = 300;
/// Socket of `slirp4netns`, in the bundle.
const SOCKET: &str = "slirp.sock";
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

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp => "slirp4netns",
        }
    }
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
        let address = close(pid, wanted).map_err(without_root)?;
        Ok(Lease {
            address: address.0,
            prefix: address.1,
            gateway: address.0,
            device: self.kind.name().into(),
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
        self.start(command, &bundle.join(LOG_FILE), DEADLINE)
    }

    /// Waits for a program that goes on in the background when it is ready, at most `deadline`.
    fn start(
        &self,
        mut command: Command,
        log: &Path,
        deadline: Duration,
    ) -> Result<(), NetworkError> {
        let failed = |error: std::io::Error| self.failed(&error.to_string());
        // A pipe would be waited for as long as anybody has its other end.
        command.stderr(File::create(log).map_err(failed)?).process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let handle = ProcessHandle::open(child.id()).map_err(failed)?;
        if handle.wait_ended(deadline).map_err(failed)? {
            let is_ready = child.wait().map_err(failed)?.success();
            return if is_ready { Ok(()) } else { Err(self.failed(&said(log))) };
        }
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = child.wait();
        let said = said(log);
        let late = format!("it was not ready within {} s", deadline.as_secs());
        Err(self.failed(&if said.is_empty() { late } else { format!("{late}: {said}") }))
    }

    /// `slirp4netns(1)` stays in the foreground; ports are published by its socket.
    fn slirp(&self, bundle: &Path, pid: u32, wanted: &Wanted) -> Result<(), NetworkError> {
        let (socket, log) = (bundle.join(SOCKET), bundle.join(LOG_FILE));
        let failed = |error: std::io::Error| self.failed(&error.to_string());
        let file = File::create(&log).map_err(failed)?;
        let folder = File::open(bundle).map_err(failed)?;
        let mut command = self.command();
        command.args(["--configure", "--disable-host-loopback", "--mtu", "65520"]);
        // It reads the container's packets with all that the user has.
        command.args(["--enable-sandbox", "--enable-seccomp"]);
        // A socket's path has 107 bytes, and the bundle's may have more.
        command.arg("--api-socket").arg(Path::new("/proc/self/fd/0").join(SOCKET));
        command.arg(pid.to_string()).arg(INNER);
        command.stdin(folder.try_clone().map_err(failed)?);
        command.stdout(Stdio::null()).stderr(file).process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        // Its arguments do not tell whose it is; nobody else's of this number began at that time.
        let ticks = process::start_ticks(child.id()).unwrap_or(0);
        let whose = format!("{} {ticks}", child.id());
        palisade_base::fs::write_atomic(&bundle.join(PID_FILE), whose.as_bytes(), 0o600)
            .map_err(failed)?;
        let end = Instant::now() + DEADLINE;
        while address(pid).map_err(without_root)?.is_none() || !socket.exists() {
            if child.try_wait().map_err(failed)?.is_some() || Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                return Err(self.failed(&said(&log)));
            }
            std::thread::sleep(LOOK);
        }
        for port in &wanted.published {
            self.publish(&folder, port)?;
        }
        Ok(())
    }

    fn publish(&self, bundle: &File, port: &Published) -> Result<(), NetworkError> {
        let socket = format!("/proc/self/fd/{}/{SOCKET}", bundle.as_raw_fd());
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
        match refusal(&answer) {
            Some(why) => Err(self.failed(&format!("publish {port}: {why}"))),
            None => Ok(()),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    }

    fn failed(&self, said: &str) -> NetworkError {
        let reason = last_words(said);
        let hint = remedy(self.kind, &reason);
        NetworkError::UserMode { program: self.kind.name(), reason, hint }
    }
}

/// What a program has said so far.
fn said(log: &Path) -> String {
    let bytes = File::open(log)
        .and_then(|file| palisade_base::read_bounded(file, "log", LOG_BYTES_MAX))
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last line that says what went wrong: before it the programs say what they do, and after it
/// some say that they end, or that nobody keeps their log.
fn last_words(said: &str) -> String {
    let is_noise =
        |line: &&str| line.starts_with("child failed(") || line.starts_with("Failed to send ");
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines().rfind(|line| !is_noise(line)).or_else(|| lines().next_back());
    last.unwrap_or("it gave no reason").chars().take(SAID_CHARS_MAX).collect()
}

/// Why `slirp4netns` publishes no port, by its answer.
fn refusal(answer: &str) -> Option<String> {
    let document: serde_json::Value = match serde_json::from_str(answer) {
        Ok(document) => document,
        Err(error) => return Some(format!("its answer cannot be understood: {error}")),
    };
    let error = document.get("error")?;
    let text = error.get("desc").and_then(serde_json::Value::as_str);
    Some(text.map_or_else(|| error.to_string(), str::to_string))
}

/// What helps against what the program said.
fn remedy(kind: Kind, said: &str) -> String {
    let said = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let (package, other) = match kind {
        Kind::Pasta => {
            ("passt", "slirp4netns in its place: apt install slirp4netns, apt remove passt")
        }
        Kind::Slirp => ("slirp4netns", "pasta in its place: apt install passt"),
    };
    if says(&["/dev/net/tun", "tuntap"]) {
        "have root open the device to users: modprobe tun; chmod 666 /dev/net/tun".into()
    } else if says(&["add_hostfwd", "bind port", "address already in use", "invalid port"]) {
        "publish another port, from 1024 on and in use by nobody".into()
    } else if says(&["routable interface", "external interface"]) {
        "this machine has no way out over IPv4: give it a default route, or take `--network none`"
            .into()
    } else if says(&["(os error"]) {
        format!("install it anew: apt install --reinstall {package}")
    } else if says(&["permission denied", "not permitted"]) {
        format!(
            "a security module may forbid it (journalctl -k): let its profile allow it, or have \
             {other}"
        )
    } else {
        format!("have {other}; or take `--network none`")
    }
}

/// Programs that connect root's containers as well fail for other reasons here: nobody is to run
/// this as root for them.
fn without_root(error: NetworkError) -> NetworkError {
    let NetworkError::Program { program, reason } = error else { return error };
    let hint = "install iproute2 (apt install iproute2), or take `--network none`".into();
    NetworkError::UserMode { program, reason, hint }
}

/// Closes what the container is not to reach, and limits what it sends; returns its address.
fn close(pid: u32, wanted: &Wanted) -> Result<(Ipv4Addr, u8), NetworkError> {
    let address = address(pid)?.ok_or(NetworkError::NoPort(pid))?;
    let host: Vec<Link> = ip(&["-json", "-4", "address", "show"])?;
    let closed = closed(host.iter().flat_map(Link::addresses), address.0);
    within(pid, || {
        closed.iter().try_for_each(|to| ip_do(&["route", "add", "blackhole", to]))?;
        wanted.bytes_per_second.map_or(Ok(()), |rate| shape(INNER, rate))
    })??;
    Ok(address)
}

/// Ends the program of the container `id` with this bundle. Does no harm twice.
pub(crate) fn detach(bundle: &Path, id: &str) {
    let text = std::fs::read_to_string(bundle.join(PID_FILE)).unwrap_or_default();
    let mut words = text.split_whitespace();
    let Some(pid) = words.next().and_then(|pid| pid.parse::<u32>().ok()) else { return };
    // The number may be another process's by now, which began at another time, or, where the
    // program wrote the file itself, was not started with the container's id.
    let Ok(process) = ProcessHandle::open(pid) else { return };
    let is_ours = if let Some(ticks) = words.next() {
        process::start_ticks(pid).is_some_and(|it| it.to_string() == ticks)
    } else {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(id)
    };
    if is_ours {
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
    fn what_failed_is_said_with_its_last_words_and_what_helps() {
        let check = |kind: Kind, said: &str, reason: &str, hint: &str| {
            let network = UserNetwork { program: "/x".into(), kind };
            let error = network.failed(said);
            let expected = format!("{} did not connect the container: {reason}", kind.name());
            assert_eq!(error.to_string(), expected);
            let found = palisade_base::Explain::hint(&error).unwrap();
            assert!(found.contains(hint), "{said}: {found}");
            assert!(!found.contains("nftables") && !found.contains("as root"), "{found}");
        };
        // As they say it.
        let said = "No routable interface for IPv4: IPv4 is disabled\n\
                    Failed to send 36 bytes to syslog\nExternal interface not usable\n\n";
        check(Kind::Pasta, said, "External interface not usable", "default route");
        let said = "WARNING: Support for seccomp is experimental\n\
                    cannot open /dev/net/tun: Permission denied\nchild failed(1)\n";
        check(Kind::Slirp, said, "cannot open /dev/net/tun: Permission denied", "chmod 666");
        let said = "Failed to bind port 8080 (Address already in use) for option '-t'";
        check(Kind::Pasta, said, said, "publish another port");
        let said = "setns(CLONE_NEWUSER): Operation not permitted";
        check(Kind::Slirp, said, said, "apt install passt");
        check(
            Kind::Pasta,
            "Permission denied (os error 13)",
            "Permission denied (os error 13)",
            "--reinstall passt",
        );
        check(Kind::Pasta, "child failed(1)", "child failed(1)", "slirp4netns");
        check(Kind::Slirp, " \n", "it gave no reason", "--network none");
        let long = "x".repeat(2 * SAID_CHARS_MAX);
        assert_eq!(last_words(&long).len(), SAID_CHARS_MAX);

        assert_eq!(refusal(r#"{"return":{"id":1}}"#), None);
        let answer = r#"{"error":{"desc":"bad request: add_hostfwd: slirp_add_hostfwd failed"}}"#;
        assert!(refusal(answer).unwrap().starts_with("bad request: add_hostfwd"));
        assert!(refusal("").is_some() && refusal(r#"{"error":1}"#).is_some());
    }

    #[test]
    fn a_program_that_never_gets_ready_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let script = format!("echo $$ >{}; echo waits >&2; sleep 60 & wait", at("pid").display());
        crate::runc::write_script(&at("pasta"), &script);
        let network = UserNetwork { program: at("pasta"), kind: Kind::Pasta };
        let begun = Instant::now();
        // Long enough for the shell to say so.
        let waited = Duration::from_secs(2);
        let error = network.start(network.command(), &at("log"), waited).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert!(error.to_string().ends_with("it was not ready within 2 s: waits"), "{error}");
        let group = std::fs::read_to_string(at("pid")).unwrap();
        let members = || {
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            all.filter(|entry| {
                let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                let fields = stat.rsplit(") ").next().unwrap_or_default();
                let mut fields = fields.split(' ');
                let is_dead = fields.next() == Some("Z");
                !is_dead && fields.nth(1) == Some(group.trim())
            })
            .count()
        };
        let end = Instant::now() + DEADLINE;
        while members() > 0 {
            assert!(Instant::now() < end, "its processes are left");
            std::thread::sleep(LOOK);
        }
        crate::runc::write_script(&at("pasta"), "echo no >&2; exit 3");
        let error = network.start(network.command(), &at("log"), DEADLINE).unwrap_err();
        assert!(error.to_string().ends_with(": no"), "{error}");
        crate::runc::write_script(&at("pasta"), "exit 0");
        network.start(network.command(), &at("log"), DEADLINE).unwrap();
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
        // By when it began, where its arguments do not tell.
        let mut other = start("other");
        let ticks = process::start_ticks(other.id()).unwrap();
        let pid_file = folder.path().join(PID_FILE);
        std::fs::write(&pid_file, format!("{} {}", other.id(), ticks + 1)).unwrap();
        detach(folder.path(), &id);
        assert!(other.try_wait().unwrap().is_none());
        std::fs::write(&pid_file, format!("{} {ticks}", other.id())).unwrap();
        detach(folder.path(), &id);
        assert!(other.try_wait().unwrap().is_some());
        detach(folder.path(), &id);
        std::fs::write(folder.path().join(PID_FILE), "rubbish").unwrap();
        detach(folder.path(), &id);
    }
}
