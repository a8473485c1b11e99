//! Guards of a bridge's ports, against an attacking neighbour. Everything happens in network
//! namespaces of the test's own: the "host" is one of them.

use std::process::{Child, Command, Stdio};

use palisade_runtime::network::{self, Connection, Refused};

/// A network namespace, which ends with this value.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let sleep = ["--net", "sleep", "300"];
        let this = Self(Command::new("unshare").args(sleep).stdin(Stdio::null()).spawn().unwrap());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_secs(30) {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let theirs = std::fs::read_link(format!("/proc/{}/ns/net", this.pid()));
            if theirs.is_ok_and(|theirs| theirs != own) {
                return this;
            }
        }
        panic!("no namespace came about");
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs a program in it; its standard output.
    fn run(&self, program: &str, args: &[&str]) -> String {
        let target = format!("--net=/proc/{}/ns/net", self.pid());
        let mut command = Command::new("nsenter");
        let output = command.arg(target).arg(program).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn can_attack() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let missing = ["python3", "nft", "ip", "nsenter", "unshare"]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_err());
    match (is_root, missing) {
        (false, _) => eprintln!("skipped: needs root"),
        (true, Some(program)) => eprintln!("skipped: there is no {program}"),
        (true, None) => return true,
    }
    false
}

/// What the attacker sends, each frame three times.
const ATTACK: &str = r#"
import socket, struct, sys, time
own, gateway_ip, victim_ip = sys.argv[1], sys.argv[2], sys.argv[3]
mac = bytes.fromhex(own.replace(":", ""))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
ip4 = socket.inet_aton
everybody = b"\xff" * 6
def checksum(data):
    if len(data) % 2: data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def eth(source, kind, rest, to=everybody): return to + source + struct.pack("!H", kind) + rest
def arp(source, sender_mac, sender_ip, target):
    return eth(source, 0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + sender_mac + ip4(sender_ip) + everybody + ip4(target))
def udp4(source_ip, to_ip, sport, dport, load=b"x" * 300):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(load), 1, 0, 64, 17, 0, ip4(source_ip), ip4(to_ip))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return eth(mac, 0x0800, head + struct.pack("!HHHH", sport, dport, 8 + len(load), 0) + load)
def icmp6(source, to, load, to_mac):
    s6, d6 = socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, to)
    sum_ = checksum(s6 + d6 + struct.pack("!II", len(load), 58) + load)
    load = load[:2] + struct.pack("!H", sum_) + load[4:]
    return eth(mac, 0x86dd, struct.pack("!IHBB", 0x60000000, len(load), 58, 255) + s6 + d6 + load, to_mac)
link = "fe80::" + ("%02x%02x:%02xff:fe%02x:%02x%02x" % (mac[0] ^ 2, *mac[1:]))
prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
advert = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
neighbour = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + socket.inet_pton(socket.AF_INET6, "fe80::dead") + b"\x02\x01" + mac
for _ in range(3):
    s.send(arp(mac, mac, gateway_ip, victim_ip))                      # I am the gateway
    s.send(eth(b"\x02\xba\xad\0\0\1", 0x0800, b"\x45" + b"\0" * 60))  # another MAC address
    s.send(udp4("198.51.100.7", victim_ip, 1234, 9999))               # another address
    s.send(udp4(sys.argv[4], "255.255.255.255", 67, 68))              # a DHCP server
    s.send(icmp6(link, "ff02::1", advert, b"\x33\x33\0\0\0\1"))       # a router
    s.send(icmp6(link, "ff02::1", neighbour, b"\x33\x33\0\0\0\1"))    # another neighbour
    s.send(eth(mac, 0x8863, b"\x11\x09\0\0\0\0"))                     # PPPoE discovery
    time.sleep(0.05)
time.sleep(0.3)
"#;

/// Whether `to` answers `from`: by refusing a connection, as nobody listens there.
fn reaches(from: &Namespace, to: &str) -> bool {
    const CONNECT: &str = "
import socket, sys
s = socket.socket()
s.settimeout(2)
try: s.connect((sys.argv[1], 9))
except ConnectionRefusedError: print('refused')
except OSError as error: print(error)
";
    from.run("python3", &["-c", CONNECT, to]).contains("refused")
}

/// Runs `work` in the namespace of `host`, as Palisade runs in the host's.
fn in_namespace<T: Send>(host: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    use std::os::fd::AsFd as _;
    let file = std::fs::File::open(format!("/proc/{}/ns/net", host.pid())).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind)).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// A bridge with a victim and an attacker, as an engine would make it: no guard, no isolation.
fn plain_bridge(host: &Namespace, guests: [&Namespace; 2]) {
    host.run("ip", &["link", "add", "br0", "type", "bridge"]);
    host.run("ip", &["address", "add", "10.99.0.1/24", "dev", "br0"]);
    host.run("ip", &["link", "set", "br0", "up"]);
    for (n, guest) in guests.into_iter().enumerate() {
        let (device, pid) = (format!("port{n}"), guest.pid().to_string());
        let address = format!("10.99.0.{}/24", n + 2);
        let add = ["link", "add", &device, "type", "veth", "peer", "name", "eth0", "netns", &pid];
        host.run("ip", &add);
        host.run("ip", &["link", "set", &device, "master", "br0", "up"]);
        guest.run("ip", &["address", "add", &address, "dev", "eth0"]);
        guest.run("ip", &["link", "set", "eth0", "up"]);
    }
    std::thread::sleep(std::time::Duration::from_secs(3)); // its addresses are tried first
}

fn mac_of(guest: &Namespace) -> String {
    let shown = guest.run("ip", &["-o", "link", "show", "eth0"]);
    shown.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_string()
}

fn attack(attacker: &Namespace, own: &str) {
    let mac = mac_of(attacker);
    // An entry of a neighbour that was just made is not changed (`locktime` of arp(7)).
    std::thread::sleep(std::time::Duration::from_millis(1300));
    attacker.run("python3", &["-c", ATTACK, &mac, "10.99.0.1", "10.99.0.2", own]);
}

/// Whether the victim believes the attacker.
fn believes(victim: &Namespace, attacker: &Namespace) -> (bool, bool) {
    let neighbours = victim.run("ip", &["neigh", "show", "10.99.0.1"]);
    let routes = victim.run("ip", &["-6", "route", "show", "default"]);
    let router = routes.contains("proto ra");
    (neighbours.contains(&mac_of(attacker)), router)
}

/// What the victim believes of an attack that nothing refuses. The gateway itself may answer just
/// after the attacker, so it is tried some times.
fn believes_in_the_end(victim: &Namespace, attacker: &Namespace, own: &str) -> (bool, bool) {
    let mut believed = (false, false);
    for _ in 0..5 {
        attack(attacker, own);
        let (neighbour, router) = believes(victim, attacker);
        believed = (neighbour, believed.1 || router);
        if neighbour {
            break;
        }
    }
    believed
}

#[test]
fn an_attacking_neighbour_is_believed_without_guards_and_not_with_them() {
    if !can_attack() {
        return;
    }
    let (host, victim, attacker) = (Namespace::new(), Namespace::new(), Namespace::new());
    plain_bridge(&host, [&victim, &attacker]);
    assert!(reaches(&victim, "10.99.0.1"));
    let believed = believes_in_the_end(&victim, &attacker, "10.99.0.3");
    assert_eq!(believed, (true, true), "the attack is none");

    victim.run("ip", &["neigh", "flush", "all"]);
    victim.run("ip", &["-6", "route", "flush", "root", "default"]);
    for guest in [&victim, &attacker] {
        let guards = in_namespace(&host, || network::guard(guest.pid())).unwrap();
        assert_eq!(guards.len(), 1);
    }
    assert!(reaches(&victim, "10.99.0.1"));
    attack(&attacker, "10.99.0.3");
    assert_eq!(believes(&victim, &attacker), (false, false));
    let ports = in_namespace(&host, network::list).unwrap();
    let refused = |device: &str| ports.iter().find(|port| port.device == device).unwrap().refused;
    let expected =
        Refused { mac: 3, arp: 3, address: 3, dhcp: 3, router: 3, neighbour: 3, other: 3 };
    assert_eq!(refused("port1"), expected);
    assert_eq!(refused("port0"), Refused::default(), "who is honest is not refused");
    // What both may say goes on, and what a guard no longer refuses is believed again.
    assert!(reaches(&attacker, "10.99.0.2"));
    assert_eq!(in_namespace(&host, || network::unguard(attacker.pid())).unwrap(), 1);
    let believed = believes_in_the_end(&victim, &attacker, "10.99.0.3");
    assert_eq!(believed, (true, false), "no advertisement is accepted");
}

#[test]
fn a_container_that_is_connected_reaches_the_host_and_not_its_neighbours() {
    if !can_attack() {
        return;
    }
    let (host, one, two) = (Namespace::new(), Namespace::new(), Namespace::new());
    let connect = |guest: &Namespace, address: &str| {
        let connection = Connection {
            bridge: "palisade0".into(),
            address: address.parse().unwrap(),
            gateway: "10.99.0.1".parse().unwrap(),
        };
        in_namespace(&host, || network::connect(guest.pid(), &connection))
    };
    connect(&one, "10.99.0.2/24").unwrap();
    let guard = connect(&two, "10.99.0.3/24").unwrap();
    assert!(guard.addresses.contains(&"10.99.0.3".parse().unwrap()), "{guard:?}");
    for guest in [&one, &two] {
        assert!(reaches(guest, "10.99.0.1"));
        assert!(guest.run("ip", &["route"]).contains("default via 10.99.0.1"));
    }
    assert!(!reaches(&two, "10.99.0.2"), "ports are isolated from each other");
    assert_eq!(in_namespace(&host, network::list).unwrap().len(), 2);
    // A second time, and with another network's gateway, nothing is made.
    connect(&one, "10.99.0.2/24").unwrap_err();
    let other = Connection {
        bridge: "palisade0".into(),
        address: "10.98.0.2/24".parse().unwrap(),
        gateway: "10.99.0.1".parse().unwrap(),
    };
    let refused = in_namespace(&host, || network::connect(one.pid(), &other)).unwrap_err();
    assert!(refused.to_string().contains("not in the network"), "{refused}");
    // The host's own namespace is nobody's port.
    let own = in_namespace(&host, || network::guard(host.pid())).unwrap_err();
    assert!(own.to_string().contains("host's network"), "{own}");
}
