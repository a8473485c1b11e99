use std::io::Read as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use palisade_policy::Sink;
use palisade_sinks::{Transport, open, syslog};

use crate::webhook::{Nobody, message};

fn sender(to: &str) -> Box<dyn Transport> {
    let mut sink = Sink::new("siem", to.parse().unwrap());
    sink.timeout_seconds = 10;
    open(&sink, "0.1.0").unwrap()
}

fn text(n: usize) -> String {
    syslog::message(&message(n), 10, std::process::id())
}

fn frames(numbers: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    for n in numbers {
        syslog::frame(&text(*n), &mut out);
    }
    out
}

fn read(stream: &mut TcpStream, n_bytes: usize) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = vec![0; n_bytes];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn datagrams_to_a_network() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sender = sender(&format!("syslog+udp://{}", receiver.local_addr().unwrap()));
    let mut long = message(2);
    long.body = "ü".repeat(10_000);
    sender.send(&[message(1), long]).unwrap();
    let mut bytes = [0; 16_384];
    let n = receiver.recv(&mut bytes).unwrap();
    assert_eq!(bytes[..n], *text(1).as_bytes());
    let n = receiver.recv(&mut bytes).unwrap();
    assert!((8190..=8192).contains(&n), "cut to what receivers take: {n}");
    assert!(std::str::from_utf8(&bytes[..n]).is_ok());
    drop(receiver);
    // The refusal arrives after the first datagram to nobody.
    let failed = (0..50).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        sender.send(&[message(3)]).err()
    });
    assert!(failed.unwrap().error.chain().contains("refused"));
}

#[test]
fn the_local_socket_of_either_kind_survives_a_restart_of_its_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut sender = sender(&format!("syslog:{}", path.display()));
    assert!(sender.send(&[message(1)]).unwrap_err().error.chain().contains("connect to"));
    let receiver = UnixDatagram::bind(&path).unwrap();
    sender.send(&[message(1)]).unwrap();
    let mut bytes = [0; 4096];
    let n = receiver.recv(&mut bytes).unwrap();
    assert_eq!(bytes[..n], *text(1).as_bytes());
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    assert!(sender.send(&[message(2)]).is_err());
    let listener = UnixListener::bind(&path).unwrap();
    sender.send(&[message(2), message(3)]).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let expected = format!("{}\n{}\n", text(2), text(3));
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn a_stream_is_octet_counted_and_what_a_broken_one_lost_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = sender(&format!("syslog+tcp://{}", listener.local_addr().unwrap()));
    let accepted = std::thread::spawn(move || (listener.accept().unwrap().0, listener));
    sender.send(&[message(1), message(2)]).unwrap();
    let (mut stream, listener) = accepted.join().unwrap();
    assert_eq!(read(&mut stream, frames(&[1, 2]).len()), frames(&[1, 2]));
    // The kernel takes it, the receiver dies without having read it.
    sender.send(&[message(3)]).unwrap();
    drop(stream);
    sender.send(&[message(4)]).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    assert_eq!(read(&mut stream, frames(&[3, 4]).len()), frames(&[3, 4]));
}

#[test]
fn a_receiver_that_hangs_up_or_stops_reading_has_taken_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("syslog+tcp://{}", listener.local_addr().unwrap());
    let (hung_up, has_hung_up) = std::sync::mpsc::channel();
    let rude = std::thread::spawn(move || {
        // Hangs up at once, then never reads.
        drop(listener.accept().unwrap());
        hung_up.send(()).unwrap();
        (listener.accept().unwrap(), listener)
    });
    let mut sender = sender(&to);
    // The first delivery may be over before the receiver has hung up; the next is not.
    let first = sender.send(&[message(1)]);
    has_hung_up.recv().unwrap();
    if first.is_ok() {
        // Noticed, connected again, and repeated.
        sender.send(&[message(2)]).unwrap();
        let ((mut stream, _), _listener) = rude.join().unwrap();
        assert_eq!(read(&mut stream, frames(&[1, 2]).len()), frames(&[1, 2]));
        // It stops reading: more than both kernels hold is not taken.
        let mut huge = message(3);
        huge.body = "x".repeat(32 << 20);
        let failed = sender.send(&[huge]).unwrap_err();
        assert_eq!(failed.n_sent, 0);
    }
}

#[test]
fn nobody_listens() {
    let nobody = Nobody::new();
    let to = format!("syslog+tcp://{}", nobody.address);
    let failed = sender(&to).send(&[message(1)]).unwrap_err();
    assert!(failed.error.chain().contains("refused"));
}
