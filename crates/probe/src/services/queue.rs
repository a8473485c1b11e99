//! RabbitMQ (AMQP 0-9-1) and the port mapper of Erlang beside it, MQTT, ZooKeeper.

use std::io;

use palisade_model::Severity;

use super::{Outcome, Server, credentials};
use crate::bytes::{Reader, contains};
use crate::finding::{Finding, OPEN_INFORMATION, shown};
use crate::protocol::{EPMD_NAMES, MQTT_CONNECT};
use crate::wire::Wire;

/// Bytes of one answer.
const BYTES_MAX: usize = 64 * 1024;

/// Class and method of a frame of kind 1 (AMQP 0-9-1 section 4.2.3).
pub(super) fn amqp_method(frame: &[u8]) -> Option<(u16, u16)> {
    let mut reader = Reader(frame);
    if reader.u8()? != 1 {
        return None;
    }
    let _channel = reader.u16()?;
    let n = reader.u32()? as usize;
    let mut body = Reader(reader.take(n)?);
    Some((body.u16()?, body.u16()?))
}

fn amqp_frame(wire: &mut Wire, server: &Server<'_>) -> Vec<u8> {
    let is_whole = |bytes: &[u8]| {
        let n = bytes.get(3..).and_then(|rest| Reader(rest).u32());
        n.is_some_and(|n| bytes.len() >= n as usize + 8)
    };
    wire.receive(BYTES_MAX, server.deadline, is_whole).bytes
}

pub(super) fn amqp(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    for credential in credentials::of("amqp") {
        let mut wire = server.open()?;
        wire.send(b"AMQP\0\0\x09\x01")?;
        if amqp_method(&amqp_frame(&mut wire, server)) != Some((10, 10)) {
            outcome.gaps.push("amqp: it speaks another version".into());
            return Ok(());
        }
        // Connection.Start-Ok: no properties, PLAIN, its response, a locale.
        let response = format!("\0{}\0{}", credential.user, credential.password);
        let mut body = vec![0, 10, 0, 11, 0, 0, 0, 0, 5];
        body.extend_from_slice(b"PLAIN");
        body.extend_from_slice(&u32::try_from(response.len()).unwrap_or(0).to_be_bytes());
        body.extend_from_slice(response.as_bytes());
        body.extend_from_slice(b"\x05en_US");
        let mut frame = vec![1, 0, 0];
        frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
        frame.extend_from_slice(&body);
        frame.push(0xce);
        wire.send(&frame)?;
        // Connection.Tune: it is in.
        if amqp_method(&amqp_frame(&mut wire, server)) == Some((10, 30)) {
            outcome.findings.push(server.taken(credential));
            break;
        }
    }
    Ok(())
}

pub(super) fn mqtt(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut wire = server.open()?;
    wire.send(MQTT_CONNECT)?;
    let answer = wire.receive(BYTES_MAX, server.deadline, |bytes| bytes.len() >= 4).bytes;
    if answer.starts_with(&[0x20, 2]) && answer.get(3) == Some(&0) {
        let mut finding =
            server.open_to_all("a client without a name and password is let in", &answer);
        finding.severity = Severity::High;
        outcome.findings.push(finding);
        wire.send(b"\xe0\0")?;
    }
    Ok(())
}

pub(super) fn zookeeper(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let told =
        server.ask(b"srvr", |bytes| contains(bytes, "Node count")).map(|answer| answer.bytes);
    if let Ok(told) = told
        && contains(&told, "Zookeeper version")
    {
        let finding =
            Finding::new(&OPEN_INFORMATION, "the command `srvr` is answered").at(server.place);
        outcome.findings.push(finding.with(&shown(&told, 120)));
    }
    // ConnectRequest: no session yet, 10 seconds.
    let mut wire = server.open()?;
    let mut connect = 44_u32.to_be_bytes().to_vec();
    connect.extend_from_slice(&[0; 12]);
    connect.extend_from_slice(&10_000_u32.to_be_bytes());
    connect.extend_from_slice(&[0; 8]);
    connect.extend_from_slice(&16_u32.to_be_bytes());
    connect.extend_from_slice(&[0; 16]);
    wire.send(&connect)?;
    let is_whole =
        |bytes: &[u8]| Reader(bytes).u32().is_some_and(|n| bytes.len() >= n as usize + 4);
    wire.receive(BYTES_MAX, server.deadline, is_whole);
    // getChildren of `/`.
    wire.send(b"\0\0\0\x0e\0\0\0\x01\0\0\0\x08\0\0\0\x01/\0")?;
    let answer = wire.receive(BYTES_MAX, server.deadline, is_whole).bytes;
    // Length, request, transaction, then the error: none.
    if answer.get(16..20) == Some(&[0; 4]) {
        let mut finding =
            server.open_to_all("the children of `/` are listed without a login", &answer);
        finding.severity = Severity::High;
        outcome.findings.push(finding);
    }
    // closeSession.
    wire.send(b"\0\0\0\x08\0\0\0\x02\xff\xff\xff\xf5")?;
    Ok(())
}

/// The port mapper tells every node's name and port (Erlang, distribution protocol: NAMES_REQ).
pub(super) fn epmd(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    // It closes the connection after its answer.
    let told = server.ask(EPMD_NAMES, |_| false)?.bytes;
    let nodes = shown(told.get(4..).unwrap_or_default().trim_ascii(), 160);
    let detail = "Erlang's port mapper names its nodes; who knows their cookie commands them";
    outcome.findings.push(Finding::new(&OPEN_INFORMATION, detail).at(server.place).with(&nodes));
    Ok(())
}
