//! Containers on a bridge, from a host and a world that are network namespaces of the test's own.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use super::bed::{Bed, SOON};
use crate::support::{Ended, Running, finish, wait_for};

/// A network namespace, which ends with this value.
pub(super) struct Namespace(Child);

impl Namespace {
    pub(super) fn new() -> Self {
        let args = ["--net", "sleep", "600"];
        let this = Self(Command::new("unshare").args(args).stdin(Stdio::null()).spawn().unwrap());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_for("a network namespace", SOON, || {
            let theirs = std::fs::read_link(format!("/proc/{}/ns/net", this.0.id()));
            theirs.is_ok_and(|theirs| theirs != own).then_some(())
        });
        this.run("ip link set lo up");
        this
    }

    /// `command` in this namespace.
    pub(super) fn within(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.arg(format!("--net=/proc/{}/ns/net", self.0.id()));
        entered.arg(command.get_program()).args(command.get_args());
        entered.current_dir(command.get_current_dir().unwrap_or("/".as_ref()));
        for (name, value) in command.get_envs() {
            entered.env(name, value.unwrap_or_default());
        }
        entered
    }

    /// Runs a script of the shell's here; its output.
    #[track_caller]
    pub(super) fn run(&self, script: &str) -> String {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]);
        finish(self.within(&shell)).expect(0).stdout
    }

    /// What is answered at `address`, from here; what went wrong otherwise.
    fn ask(&self, address: &str, port: u16, source: &str) -> String {
        let mut python = Command::new("python3");
        python.args(["-c", ASK, address, &port.to_string(), source]);
        finish(self.within(&python)).stdout.trim().to_string()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ASK: &str = "
import socket, sys
try:
    source = (sys.argv[3], 0) if sys.argv[3] else None
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2, source)
    print(s.recv(100).decode())
except OSError as error: print('no:', error)
";

/// Tells everybody at a port which address they come from.
const TELL: &str = "
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen()
while True:
    c, peer = s.accept()
    c.sendall(peer[0].encode())
    c.close()
";

pub(super) const HOST: &str = "198.51.100.2";
pub(super) const WORLD: &str = "198.51.100.1";

/// A host, a world beyond it with a server, and one server on the host.
pub(super) struct Stage {
    pub(super) host: Namespace,
    pub(super) world: Namespace,
    servers: Vec<Child>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let (host, world) = (Namespace::new(), Namespace::new());
        host.run(&format!(
            "ip link add out type veth peer name in netns {} && ip address add {HOST}/24 dev out && \
             ip link set out up && ip route add default via {WORLD}",
            world.0.id()
        ));
        world.run(&format!("ip address add {WORLD}/24 dev in && ip link set in up"));
        let servers = [(&world, WORLD), (&host, "0.0.0.0")].map(|(at, address)| {
            let mut python = Command::new("python3");
            python.args(["-c", TELL, address, "7000"]);
            at.within(&python).stdin(Stdio::null()).spawn().unwrap()
        });
        let stage = Self { host, world, servers: servers.into() };
        wait_for("the servers", SOON, || {
            let both = [WORLD, HOST].map(|address| stage.host.ask(address, 7000, ""));
            both.iter().all(|answer| !answer.starts_with("no:")).then_some(())
        });
        stage
    }

    /// The program, on this host.
    fn palisade(&self, bed: &Bed, args: &[&str]) -> Ended {
        finish(self.host.within(&bed.command(args)))
    }

    /// Starts a server in a container that says its name at port 80.
    #[track_caller]
    fn serve(&self, bed: &Bed, name: &str, flags: &[&str]) -> String {
        let script = format!("exec nc -ll -p 80 -e /bin/echo {name}");
        let flags = [&["run", "-d", "--policy", "net.yaml", "--name", name][..], flags].concat();
        let rest = ["oci:box", "--", "/bin/sh", "-c", &script];
        let id = self.palisade(bed, &[&flags[..], &rest].concat()).expect(0).stdout;
        wait_for("the server in the container", SOON, || {
            let look = ["exec", name, "--", "/bin/cat", "/proc/net/tcp", "/proc/net/tcp6"];
            let said = self.palisade(bed, &look).stdout;
            // The state of a listener is 0A.
            let mut lines = said.lines();
            lines.any(|line| line.contains(":0050 ") && line.contains(" 0A ")).then_some(())
        });
        id.trim().to_string()
    }

    /// What a container is told at an address and a port.
    fn told(&self, bed: &Bed, name: &str, address: &str, port: u16) -> String {
        let script = format!("nc -w 2 {address} {port} </dev/null || echo no");
        self.palisade(bed, &["exec", name, "--", "/bin/sh", "-c", &script]).stdout.trim().into()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Waits until a server answers with `name`: a busy one may need longer than one is asked.
#[track_caller]
fn answers(from: &Namespace, address: &str, port: u16, name: &str) {
    wait_for(&format!("{name} at {address}:{port}"), SOON, || {
        (from.ask(address, port, "") == name).then_some(())
    });
}

/// Writes `net.yaml`: the baseline with a bridge, and with `limits` of its own.
fn policy(bed: &Bed, limits: &[(&str, &str)]) {
    let mut text = bed.run(&["policy", "show", "baseline"]).expect(0).stdout;
    text = text.replace("network: none ", "network: bridge ");
    for (name, value) in limits {
        text = text.replace("  limits:\n", &format!("  limits:\n    {name}: {value}\n"));
    }
    assert!(text.contains("network: bridge"));
    std::fs::write(bed.path().join("net.yaml"), text).unwrap();
}

fn address_of(bed: &Bed, name: &str) -> Ipv4Addr {
    let json = bed.run(&["ps", "--format", "json"]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let all = json["containers"].as_array().unwrap();
    let found = all.iter().find(|it| it["container"]["name"] == name).unwrap();
    found["network"]["address"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_bridge_leads_to_the_world_and_to_nobody_else() {
    let Some(bed) = Bed::new() else { return };
    policy(&bed, &[]);
    let stage = Stage::new();
    // What somebody who was killed while making the bridge leaves.
    stage.host.run("ip link add palisade0 type bridge");
    let web = stage.serve(&bed, "web", &["-p", "8080:80", "-p", "127.0.0.1:8081:80"]);
    let other = stage.serve(&bed, "other", &[]);
    let (web_at, other_at) = (address_of(&bed, "web"), address_of(&bed, "other"));
    assert_ne!(web_at, other_at);

    // What is published is reached: from the world, from the host, and by its own name.
    answers(&stage.world, HOST, 8080, "web");
    for (address, port) in [(HOST, 8080), ("127.0.0.1", 8080), ("127.0.0.1", 8081)] {
        answers(&stage.host, address, port, "web");
    }
    assert!(stage.world.ask(HOST, 8081, "").starts_with("no:"), "published for the host alone");
    stage.world.run(&format!("ip route add 10.213.0.0/22 via {HOST}"));
    assert!(stage.world.ask(&web_at.to_string(), 80, "").starts_with("no:"), "not by its address");

    // Out by the host's address; neither to the host's servers, nor to the neighbour, by any way.
    wait_for("the host's address", SOON, || {
        (stage.told(&bed, "web", WORLD, 7000) == HOST).then_some(())
    });
    for (address, port) in [
        (HOST.to_string(), 7000),
        ("10.213.0.1".to_string(), 7000),
        (web_at.to_string(), 80),
        (HOST.to_string(), 8080),
    ] {
        assert_eq!(stage.told(&bed, "other", &address, port), "no", "{address}:{port}");
    }
    for (name, address) in [("web", web_at), ("other", other_at)] {
        // To itself.
        wait_for(name, SOON, || {
            (stage.told(&bed, name, &address.to_string(), 80) == name).then_some(())
        });
    }

    // A port is given once, also when a program of the host has it.
    for (port, who) in [("8080:1", "ours"), ("7000:1", "the host's")] {
        let args = ["run", "--policy", "net.yaml", "-p", port, "oci:box", "--", "/bin/true"];
        let ended = stage.palisade(&bed, &args);
        ended.expect_error_with_output(3, "is in use");
        assert!(!ended.stderr.contains("panicked"), "{who}");
    }

    // Nothing is left of what has ended.
    stage.palisade(&bed, &["stop", "--grace", "0", "web", "other"]).expect(0);
    for id in [&web, &other] {
        bed.expect_nothing_left(id);
    }
    let rules = stage.host.run("nft list ruleset");
    assert!(!rules.contains("palisade_ports_") && !rules.contains("palisade_guard_"), "{rules}");
    wait_for("the end of the devices", SOON, || {
        (!stage.host.run("ip -o link show type veth").contains("pal")).then_some(())
    });
    // And its address is free again.
    stage.serve(&bed, "again", &["-p", "8080:80"]);
    assert_eq!(address_of(&bed, "again"), web_at);
}

/// A second run folder, which ends with this value.
struct OtherRun<'a> {
    bed: &'a Bed,
    stage: &'a Stage,
    run: String,
}

impl OtherRun<'_> {
    fn palisade(&self, args: &[&str]) -> Ended {
        let folders = ["--run-dir", &self.run, "--data-dir", "other-data"];
        self.stage.palisade(self.bed, &[&folders[..], args].concat())
    }
}

impl Drop for OtherRun<'_> {
    fn drop(&mut self) {
        self.palisade(&["stop", "--all", "--grace", "0"]);
        let _ = std::fs::remove_dir_all(&self.run);
    }
}

#[test]
fn two_run_folders_share_a_bridge_and_no_address_or_port() {
    let Some(bed) = Bed::new() else { return };
    policy(&bed, &[]);
    let stage = Stage::new();
    let run = format!("{}-other", bed.run_dir.display());
    let other = OtherRun { bed: &bed, stage: &stage, run };
    let first = stage.serve(&bed, "web", &["-p", "8080:80"]);
    let start = |name: &str, port: &str| {
        let flags = ["run", "-d", "--policy", "net.yaml", "--name", name, "-p", port];
        let script = ["oci:box", "--", "/bin/sh", "-c", "exec nc -ll -p 80 -e /bin/echo second"];
        other.palisade(&[&flags[..], &script].concat())
    };
    // The host's own sockets do not show a port that is given to a container.
    start("taken", "8080:80").expect_error_with_output(3, "is in use");
    // The name is another run folder's, and free here.
    let second = start("web", "8081:80").expect(0).stdout.trim().to_string();
    let json = other.palisade(&["ps", "--format", "json"]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let at: Ipv4Addr =
        json["containers"][0]["network"]["address"].as_str().unwrap().parse().unwrap();
    assert_ne!(at, address_of(&bed, "web"));
    answers(&stage.world, HOST, 8080, "web");
    answers(&stage.world, HOST, 8081, "second");
    // Neither collection takes the other's away.
    other.palisade(&["ps"]).expect(0);
    stage.palisade(&bed, &["ps"]).expect(0);
    answers(&stage.world, HOST, 8080, "web");
    answers(&stage.world, HOST, 8081, "second");
    other.palisade(&["stop", "--grace", "0", "web"]).expect(0);
    stage.palisade(&bed, &["stop", "--grace", "0", "web"]).expect(0);
    for id in [&first, &second] {
        bed.expect_nothing_left(id);
    }
}

#[test]
fn a_network_is_at_most_the_policys() {
    let Some(bed) = Bed::new() else { return };
    policy(&bed, &[]);
    let run = |flags: &[&str]| {
        let args = [&["run"][..], flags, &["oci:box", "--", "/bin/true"]].concat();
        bed.run(&args)
    };
    run(&["--network", "bridge"]).expect_error(1, "allows no such network");
    run(&["--policy", "net.yaml", "--network", "host"]).expect_error(1, "allows no such network");
    run(&["-p", "80:80"]).expect_error(1, "only a container on the bridge");
    run(&["--policy", "net.yaml", "-p", "80"]).expect(2);
    run(&["--policy", "net.yaml", "--network", "none"]).expect(0);
}

#[test]
fn containers_of_one_network_reach_each_other_and_no_others() {
    let Some(bed) = Bed::new() else { return };
    policy(&bed, &[]);
    let path = bed.path().join("net.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("containers:\n", "containers:\n  shared_networks: [back, front]\n");
    std::fs::write(&path, text).unwrap();
    let stage = Stage::new();
    // A bridge of somebody else, who likes the same names.
    stage.host.run("ip link add pal-other type bridge");
    let (back, front) = (&["--network", "bridge:back"][..], &["--network", "bridge:front"][..]);
    let db = stage.serve(&bed, "db", back);
    // What somebody of ours who was killed leaves.
    let mark = stage.host.run("ip link show pal-back | sed -n 's/.*alias //p'");
    stage.host.run(&format!("ip link add pal-old type bridge && ip link set pal-old alias {mark}"));
    let web = stage.serve(&bed, "web", &[back, &["-p", "8080:80"]].concat());
    let shop = stage.serve(&bed, "shop", front);
    let alone = stage.serve(&bed, "alone", &[]);
    let links = |kind: &str| stage.host.run(&format!("ip -o link show type {kind}"));
    let bridges = links("bridge");
    for (name, is_there) in
        [("pal-back", true), ("pal-front", true), ("pal-old", false), ("pal-other", true)]
    {
        assert_eq!(bridges.contains(name), is_there, "{name}: {bridges}");
    }
    let at = |name: &str| address_of(&bed, name).to_string();
    assert!(at("db").starts_with("10.215.0.") && at("web").starts_with("10.215.0."));
    assert!(at("shop").starts_with("10.215.1."));

    // By name, by address and by the beginning of the id; also who came first knows the other.
    for (from, to, name) in [
        ("web", "db".to_string(), "db"),
        ("db", "web".to_string(), "web"),
        ("db", at("web"), "web"),
        ("web", db[..12].to_string(), "db"),
    ] {
        wait_for(&format!("{from} to {to}"), SOON, || {
            (stage.told(&bed, from, &to, 80) == name).then_some(())
        });
    }
    // No other network, no host, no way around; by its published port as everybody.
    for (from, to, port) in [
        ("web", at("shop"), 80),
        ("shop", at("db"), 80),
        ("alone", at("db"), 80),
        ("web", at("alone"), 80),
        ("web", HOST.to_string(), 7000),
        ("web", "10.215.0.1".to_string(), 7000),
        ("shop", "db".to_string(), 80),
    ] {
        assert_eq!(stage.told(&bed, from, &to, port), "no", "{from} to {to}");
    }
    answers(&stage.world, HOST, 8080, "web");
    wait_for("the world", SOON, || (stage.told(&bed, "db", WORLD, 7000) == HOST).then_some(()));

    let list = stage.palisade(&bed, &["network", "list", "--format", "json"]).expect(0).stdout;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let networks = list["networks"].as_array().unwrap();
    let members = |n: usize| networks[n]["members"].as_array().unwrap().len();
    assert_eq!((networks.len(), members(0), members(1)), (2, 2, 1), "{list}");
    let rows = stage.palisade(&bed, &["network", "list", "--format", "tsv"]).expect(0).stdout;
    let of = |id: &str| rows.lines().find(|line| line.contains(&id[..12])).unwrap().to_string();
    for (id, network) in [(&db, "back"), (&web, "back"), (&shop, "front"), (&alone, "-")] {
        assert!(of(id).ends_with(&format!("\t{network}")), "{rows}");
    }

    // One goes, and its name with it; the last takes the network away.
    stage.palisade(&bed, &["stop", "--grace", "0", "db"]).expect(0);
    let hosts = stage.palisade(&bed, &["exec", "web", "--", "/bin/cat", "/etc/hosts"]).stdout;
    assert!(hosts.contains("web") && !hosts.contains("db"), "{hosts}");
    assert!(links("bridge").contains("pal-back"));
    stage.palisade(&bed, &["stop", "--grace", "0", "web", "shop", "alone"]).expect(0);
    let bridges = links("bridge");
    assert!(
        !bridges.replace("pal-other", "").contains("pal-") && bridges.contains("palisade0"),
        "{bridges}"
    );
    let rules = stage.host.run("nft list ruleset");
    assert!(!rules.contains("_back") && !rules.contains("_front"), "{rules}");
    for id in [&db, &web, &shop, &alone] {
        bed.expect_nothing_left(id);
    }

    // What the policy does not name, and what is no name.
    let run = |network: &str| {
        let args = ["run", "--policy", "net.yaml", "--network", network, "oci:box"];
        stage.palisade(&bed, &args)
    };
    run("bridge:other").expect_error(1, "allows no shared network `other`");
    for wrong in ["bridge:", "bridge:A", "bridge:a/b", "bridge:twelve-chars", "bridges", "user:a"] {
        run(wrong).expect(2);
    }
    run("user").expect_error(2, "no such network");
}

#[test]
fn bandwidth_and_input_are_limited() {
    let Some(bed) = Bed::new() else { return };
    policy(&bed, &[("network", "1Mi"), ("io", "20Mi")]);
    let stage = Stage::new();
    let id = stage.serve(&bed, "web", &[]);
    let shaped = "qdisc tbf";
    let device = format!("pal{}", &id[..12]);
    let outside = stage.host.run(&format!("tc qdisc show dev {device}"));
    assert!(outside.contains(shaped) && outside.contains("rate 8388Kbit"), "{outside}");
    let pid = bed.ps("web").unwrap()[3].clone();
    let inside = stage.host.run(&format!("nsenter -t {pid} -n tc qdisc show dev eth0"));
    assert!(inside.contains(shaped), "{inside}");
    // Version 1 or 2 of control groups, whichever has the controller.
    let limits: Vec<String> = [
        format!("/sys/fs/cgroup/blkio/palisade/{id}/blkio.throttle.read_bps_device"),
        format!("/sys/fs/cgroup/blkio/palisade/{id}/blkio.throttle.write_bps_device"),
        format!("/sys/fs/cgroup/palisade/{id}/io.max"),
    ]
    .iter()
    .filter_map(|path| std::fs::read_to_string(path).ok())
    .collect();
    let all = limits.concat();
    assert_eq!(all.matches("20971520").count(), 2, "{limits:?}");
}

/// The guarded ports in `host`, and the frames with another MAC address that were refused there.
fn guarded(bed: &Bed, host: &Namespace) -> Vec<(String, u64)> {
    let list = bed.command(&["network", "list", "--format", "tsv"]);
    let text = finish(host.within(&list)).expect(0).stdout;
    let row = |line: &str| {
        let mut fields = line.split('\t');
        (fields.next().unwrap().to_string(), fields.next().unwrap().parse().unwrap())
    };
    text.lines().map(row).collect()
}

/// A guest on `bridge` of `host`, whose port there is `device`.
fn guest(host: &Namespace, bridge: &str, device: &str, address: &str) -> Namespace {
    let guest = Namespace::new();
    host.run(&format!(
        "ip link add {device} type veth peer name eth0 netns {} && \
         ip link set {device} master {bridge} up",
        guest.0.id()
    ));
    guest.run(&format!("ip address add {address}/24 dev eth0 && ip link set eth0 up"));
    guest
}

/// Writes a policy with this section `network` that looks for nothing in particular besides.
fn guards(bed: &Bed, network: &str) {
    let text = format!(
        "version: 1\nname: guards\nruntime:\n  rules: [rules.yaml]\n  builtin_rules: false\n\
         network:\n  {network}\n"
    );
    std::fs::write(bed.path().join("policy.yaml"), text).unwrap();
    let rule = "- rule: Nothing\n  desc: Nobody asks for it.\n  condition: >\n    \
        evt.type=open and fd.name=/tmp/canary-of-guards\n  output: x\n  priority: NOTICE\n";
    std::fs::write(bed.path().join("rules.yaml"), rule).unwrap();
}

/// Watches in `host` by that policy.
fn watch(bed: &Bed, host: &Namespace) -> Running {
    let flags = ["watch", "--policy", "policy.yaml", "--respond", "on", "--ready-file", "ready"];
    Running::start(host.within(&bed.command(&flags)), b"")
}

#[test]
fn ports_of_the_bridges_that_the_policy_names_are_guarded_as_they_come() {
    let Some(bed) = Bed::new() else { return };
    let host = Namespace::new();
    for bridge in ["br-a", "br-b"] {
        host.run(&format!("ip link add {bridge} type bridge && ip link set {bridge} up"));
    }
    host.run("ip address add 10.99.0.1/24 dev br-a");
    guards(&bed, "{bridges: [\"br-a*\"], ports: [\"va*\"]}");
    let _first = guest(&host, "br-a", "va1", "10.99.0.2");
    let mut watch = watch(&bed, &host);
    let ports = || guarded(&bed, &host).into_iter().map(|(port, _)| port).collect::<Vec<_>>();
    wait_for("the guard of a port that was there", SOON, || {
        assert!(!watch.has_ended(), "{}", watch.stderr());
        ports().contains(&"va1".into()).then_some(())
    });
    let second = guest(&host, "br-a", "va2", "10.99.0.3");
    let _other_device = guest(&host, "br-a", "tap1", "10.99.0.4");
    let _other_bridge = guest(&host, "br-b", "va3", "10.99.0.5");
    wait_for("the guard of a port that came", SOON, || {
        ports().contains(&"va2".into()).then_some(())
    });
    assert!(watch.stderr().contains("port va2 of br-a guarded: "), "{}", watch.stderr());
    let reaches = "busybox ping -c 1 -W 2 10.99.0.1 >/dev/null && echo yes || echo no";
    assert_eq!(second.run(reaches), "yes\n");
    second.run("ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99 up");
    assert_eq!(second.run(reaches), "no\n");
    assert!(guarded(&bed, &host).iter().any(|(port, n_mac)| port == "va2" && *n_mac > 0));
    assert_eq!(ports().len(), 2, "{:?}", ports());
    // Another choice holds after a reload; guards that there are stay.
    guards(&bed, "{bridges: [br-b]}");
    watch.signal(rustix::process::Signal::HUP);
    wait_for("the guard of the other bridge", SOON, || {
        ports().contains(&"va3".into()).then_some(())
    });
    assert_eq!(ports().len(), 3, "{:?}", ports());
    watch.signal(rustix::process::Signal::TERM);
    watch.wait(SOON).expect(0);
}

#[test]
fn a_port_that_gets_the_name_or_the_bridge_of_another_is_guarded_anew() {
    let Some(bed) = Bed::new() else { return };
    let host = Namespace::new();
    for bridge in ["br-a", "br-b"] {
        host.run(&format!("ip link add {bridge} type bridge && ip link set {bridge} up"));
    }
    host.run("ip address add 10.99.0.1/24 dev br-a");
    guards(&bed, "{bridges: [br-a]}");
    let inside = guest(&host, "br-a", "va1", "10.99.0.2");
    let _moves = guest(&host, "br-b", "vb1", "10.99.0.3");
    let mut watch = watch(&bed, &host);
    let said = |watch: &Running, port: &str| {
        watch.stderr().matches(&format!("port {port} of br-a guarded: ")).count()
    };
    wait_for("the guard of a port that was there", SOON, || {
        assert!(!watch.has_ended(), "{}", watch.stderr());
        (said(&watch, "va1") == 1).then_some(())
    });
    let reaches = "busybox ping -c 1 -W 2 10.99.0.1 >/dev/null && echo yes || echo no";
    assert_eq!(inside.run(reaches), "yes\n");
    // A container that is restarted gets a new pair of devices, of new addresses and with the
    // name of the one before, between two looks.
    host.run(&format!(
        "ip link delete va1 && ip link add va1 type veth peer name eth0 netns {} && \
         ip link set va1 master br-a up",
        inside.0.id()
    ));
    inside.run("ip address add 10.99.0.2/24 dev eth0 && ip link set eth0 up");
    wait_for("the guard of the port that replaced it", SOON, || {
        (said(&watch, "va1") == 2).then_some(())
    });
    let mac = inside.run("ip -o link show eth0");
    let mac = mac.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    let last = watch.stderr();
    let last = last.lines().rfind(|line| line.starts_with("port va1 ")).unwrap().to_string();
    assert!(last.contains(mac), "{last}, and it is {mac}");
    assert_eq!(inside.run(reaches), "yes\n");
    // One that was there already comes to a bridge that is looked after.
    host.run("ip link set vb1 master br-a");
    wait_for("the guard of the port that came from another bridge", SOON, || {
        (said(&watch, "vb1") == 1).then_some(())
    });
    // And one that takes another's number.
    let index = host.run("ip -o link show vb1 | cut -d: -f1").trim().to_string();
    host.run(&format!(
        "ip link delete vb1 && ip link add vb1 index {index} type veth peer name eth1 netns {} && \
         ip link set vb1 master br-a up",
        inside.0.id()
    ));
    inside.run("ip address add 10.99.0.4/24 dev eth1 && ip link set eth1 up");
    wait_for("the guard of the port with the other's number", SOON, || {
        (said(&watch, "vb1") == 2).then_some(())
    });
    watch.signal(rustix::process::Signal::TERM);
    watch.wait(SOON).expect(0);
}

#[test]
fn a_namespace_that_claims_another_s_port_does_not_keep_the_guard_from_it() {
    let Some(bed) = Bed::new() else { return };
    let host = Namespace::new();
    host.run("ip link add br-a type bridge && ip link set br-a up");
    let inside = guest(&host, "br-a", "va1", "10.99.0.2");
    let index = host.run("ip -o link show va1 | cut -d: -f1").trim().to_string();
    // Whoever rules over a namespace chooses where its devices seem to lead: one end here says that
    // the other has the number of the host's port, and is in a namespace of the same one's making.
    let (claims, made) = (Namespace::new(), Namespace::new());
    claims.run(&format!(
        "ip link add eth0 index 777 address 02:00:00:00:00:66 type veth peer name x index {index} netns {} && \
         ip address add 10.99.0.66/24 dev eth0 && ip link set eth0 up",
        made.0.id()
    ));
    assert!(claims.run("ip -o link show eth0").contains(&format!("eth0@if{index}:")));
    let mac = inside.run("ip -o link show eth0");
    let mac = mac.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_string();
    guards(&bed, "{bridges: [br-a]}");
    let mut watch = watch(&bed, &host);
    wait_for("the guard", SOON, || {
        assert!(!watch.has_ended(), "{}", watch.stderr());
        watch.stderr().contains("port va1 of br-a").then_some(())
    });
    let said = watch.stderr();
    assert!(said.contains(&format!("port va1 of br-a guarded: {mac}, 10.99.0.2")), "{said}");
    watch.signal(rustix::process::Signal::TERM);
    watch.wait(SOON).expect(0);
}
