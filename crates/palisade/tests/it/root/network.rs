//! `palisade network` with real containers: connected, guarded, and attacked from within.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::bed::{Bed, SOON};
use super::docker::{Docker, Setup, can_start};
use super::watch::IDLE;
use crate::support::{finish, wait_for};

/// What was refused at the only port, or at that of `device`.
fn refused(list: &str, device: &str) -> Value {
    let document: Value = serde_json::from_str(list).unwrap();
    let ports = document["ports"].as_array().unwrap().clone();
    let mut ports = ports.into_iter().filter(|port| port["device"] == device);
    ports.next().unwrap_or_else(|| panic!("{device}: {list}"))["refused"].clone()
}

/// The device of a line of `connect` and `guard`.
fn device(line: &str) -> String {
    let (device, rest) = line.split_once(" guarded: ").unwrap_or_else(|| panic!("{line}"));
    assert!(rest.contains(", "), "{line}");
    device.to_string()
}

/// A bridge of the test's own; gone when dropped.
struct Bridge(String);

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.0]).output();
    }
}

#[test]
fn containers_of_ours_reach_the_host_and_neither_each_other_nor_anothers_address() {
    let Some(bed) = Bed::new() else { return };
    for program in ["ip", "nft", "nsenter"] {
        if !Command::new(program).arg("-V").output().is_ok_and(|o| o.status.success()) {
            eprintln!("skipped: no {program}");
            return;
        }
    }
    // A network of documentation (RFC 5737), whose third quarter nobody routes here.
    let n = std::process::id();
    let bridge = Bridge(format!("pt{n}"));
    let ids: Vec<String> = ["one", "two"].iter().map(|name| bed.detach(name, &[], IDLE)).collect();
    let connect = |name: &str, address: &str| {
        let flags = ["--address", address, "--gateway", "192.0.2.129", "--bridge", &bridge.0];
        device(&bed.run(&[&["network", "connect", name][..], &flags].concat()).expect(0).stdout)
    };
    let one = connect("one", "192.0.2.130/26");
    let two = connect("two", "192.0.2.131/26");
    assert_ne!(one, two);

    let listener = TcpListener::bind("192.0.2.129:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hello = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        (text, from.ip().to_string())
    });
    let say = format!("echo hello | nc 192.0.2.129 {port}");
    bed.run(&["exec", "one", "--", "/bin/sh", "-c", &say]).expect(0);
    assert_eq!(hello.join().unwrap(), ("hello\n".into(), "192.0.2.130".into()));

    // The neighbour's server is there, and is not reached.
    let pid = bed.ps("two").unwrap()[3].clone();
    let mut server = Command::new("nsenter")
        .args(["--target", &pid, "--net", "busybox", "nc", "-l", "-p", "7000"])
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let call = "echo hello | nc -w 2 192.0.2.131 7000";
    assert_ne!(bed.run(&["exec", "one", "--", "/bin/sh", "-c", call]).code, 0);
    server.kill().unwrap();
    server.wait().unwrap();

    // With every right over its own network, it claims the gateway's address.
    let pid = bed.ps("one").unwrap()[3].clone();
    let within = |args: &[&str]| {
        Command::new("nsenter").args(["--target", &pid, "--net"]).args(args).output().unwrap()
    };
    let taken = within(&["ip", "address", "add", "192.0.2.129/32", "dev", "eth0"]);
    assert!(taken.status.success(), "{taken:?}");
    within(&["busybox", "arping", "-U", "-c", "2", "-w", "5", "-I", "eth0", "192.0.2.129"]);
    let list = || bed.run(&["network", "list", "--format", "json"]).expect(0).stdout;
    assert!(refused(&list(), &one)["arp"].as_u64().unwrap() >= 1, "{}", list());
    assert_eq!(refused(&list(), &two)["arp"], 0);

    // It all goes with the container.
    bed.run(&["stop", "--grace", "0", "one", "two"]).expect(0);
    wait_for("end of the guards", SOON, || (!list().contains(&one)).then_some(()));
    assert!(!list().contains(&two));
    for id in ids {
        bed.expect_nothing_left(&id);
    }
    // What the kernel leaves of a guard goes when the next one is made.
    let id = bed.detach("three", &[], IDLE);
    let three = connect("three", "192.0.2.132/26");
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap().stdout;
    let tables = String::from_utf8_lossy(&tables).into_owned();
    assert!(
        tables.contains(&three) && !tables.contains(&one) && !tables.contains(&two),
        "{tables}"
    );
    bed.run(&["network", "unguard", "three"]).expect(0);
    bed.run(&["stop", "--grace", "0", "three"]).expect(0);
    bed.expect_nothing_left(&id);
}

#[test]
fn a_container_of_docker_is_guarded_and_serves_on() {
    if !can_start() {
        return;
    }
    if !Path::new("/var/lib/docker").is_dir() {
        eprintln!("skipped: no /var/lib/docker to bind the engine's data over");
        return;
    }
    let docker = Docker::start(Setup::Plain);
    let serve = "echo page >/srv/index.html; exec /bin/httpd -f -p 8080 -h /srv";
    let flags = ["--detach", "--name", "web", "--cap-add", "NET_ADMIN"];
    docker.container(&flags, &["/bin/sh", "-c", serve]).expect(0);
    let ours = |args: &[&str]| finish(docker.ours(args));
    let port = device(&ours(&["network", "guard", "web"]).expect(0).stdout);
    let format = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}";
    let addresses = docker.run(&["inspect", "--format", format, "web"]).expect(0).stdout;
    let (own, gateway) = addresses.trim().split_once(' ').unwrap();
    let page = docker.beside(&format!("wget -q -O - http://{own}:8080/"));
    assert_eq!(page.expect(0).stdout, "page\n", "its own traffic passes");
    let list = || ours(&["network", "list", "--format", "json"]).expect(0).stdout;
    assert_eq!(refused(&list(), &port)["arp"], 0);
    // It claims the gateway's address.
    let claim = format!(
        "/bin/busybox ip address add {gateway}/32 dev eth0 && \
         /bin/busybox arping -U -c 2 -w 5 -I eth0 {gateway}"
    );
    docker.run(&["exec", "web", "/bin/sh", "-c", &claim]);
    let list = list();
    assert!(refused(&list, &port)["arp"].as_u64().unwrap() >= 1, "{list}");
    assert_eq!(refused(&list, &port)["mac"], 0);
    assert_eq!(ours(&["network", "unguard", "web"]).expect(0).stdout, "1 guard(s) taken away\n");
    let list = ours(&["network", "list", "--format", "json"]).expect(0).stdout;
    assert!(!list.contains(&port), "{list}");
}
