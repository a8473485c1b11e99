//! One listener: how it is reached, what is spoken there, and what is weak.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use palisade_model::Severity;

use crate::finding::{Finding, Place, cut, shown};
use crate::http::Response;
use crate::listen::Listener;
use crate::protocol::{Protocol, QUESTIONS, recognise, recognise_answer};
use crate::services::{self, Server};
use crate::session::{Port, Probe, Settings};
use crate::subject::Subject;
use crate::tls;
use crate::wire::{Endpoint, Wire, ask, asks_for_certificate};

/// How long a server may take to say something by itself.
const BANNER_PATIENCE: Duration = Duration::from_millis(400);
/// How long a server may take to answer a question that may not be its own.
const QUESTION_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of a banner that are read.
const BANNER_BYTES_MAX: usize = 4096;
/// Bytes of a banner that are shown.
const BANNER_SHOWN_MAX: usize = 120;

/// A listener that was not looked at yet.
pub(crate) fn port(listener: &Listener, protocol: Protocol) -> Port {
    Port {
        transport: listener.transport,
        port: listener.port,
        addresses: listener.addresses.clone(),
        is_loopback: listener.is_loopback(),
        protocol,
        tls: Vec::new(),
        banner: String::new(),
        n_requests: 0,
    }
}

/// Where a listener is reached: as others would, or else through loopback.
fn reach(subject: &dyn Subject, listener: &Listener) -> SocketAddr {
    let own = subject.address().filter(|address| listener.takes(*address));
    let loopback: IpAddr = if listener.takes(Ipv4Addr::LOCALHOST.into()) {
        Ipv4Addr::LOCALHOST.into()
    } else if listener.takes(Ipv6Addr::LOCALHOST.into()) {
        Ipv6Addr::LOCALHOST.into()
    } else {
        listener.addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into())
    };
    SocketAddr::new(own.unwrap_or(loopback), listener.port)
}

/// Looks at one listener; where it can be spoken to, and its place in the list of ports.
pub(crate) fn look(
    subject: &dyn Subject,
    settings: &Settings,
    listener: &Listener,
    probe: &mut Probe,
) -> Option<(Endpoint, usize)> {
    let mut endpoint = Endpoint { to: reach(subject, listener), is_tls: false };
    let mut told = port(listener, Protocol::Unknown);
    let index = probe.ports.len();
    match identify(subject, endpoint, settings.deadline) {
        Ok(found) => (told.protocol, told.banner) = found,
        Err(error) => {
            probe.gap(&format!("port {}: {error}", listener.port));
            probe.ports.push(told);
            return None;
        }
    }
    if told.protocol == Protocol::Tls {
        endpoint.is_tls = look_into_tls(subject, settings, endpoint, &mut told, probe);
    }
    let place = place(&told, endpoint.is_tls);
    let server = Server { dial: subject, endpoint, place: &place, deadline: settings.deadline };
    // What is within a TLS that lets nobody in was said already.
    let is_closed = endpoint.is_tls && matches!(told.protocol, Protocol::Unknown | Protocol::Tls);
    if !is_closed {
        let outcome = services::examine(told.protocol, &server);
        add(outcome.findings, &told, probe);
        for gap in outcome.gaps {
            probe.gap(&format!("port {}: {gap}", listener.port));
        }
    }
    probe.ports.push(told);
    Some((endpoint, index))
}

/// Examines the TLS at `endpoint` and finds out what is spoken within; whether there is any.
fn look_into_tls(
    subject: &dyn Subject,
    settings: &Settings,
    endpoint: Endpoint,
    told: &mut Port,
    probe: &mut Probe,
) -> bool {
    let report = match tls::examine(subject, endpoint, settings.deadline, settings.now) {
        Ok(Some(report)) => report,
        Ok(None) => {
            probe.gap(&format!("port {}: its TLS agrees to nothing that was asked", told.port));
            return false;
        }
        Err(error) => {
            probe.gap(&format!("port {}: its TLS was not examined: {error}", told.port));
            return false;
        }
    };
    told.tls = report.versions;
    let endpoint = Endpoint { is_tls: true, ..endpoint };
    let mut why = "too old to be spoken to";
    if report.is_usable {
        let inner = identify(subject, endpoint, settings.deadline);
        (told.protocol, told.banner) = inner.unwrap_or((Protocol::Unknown, String::new()));
        why = if asks_for_certificate(subject, endpoint, settings.deadline) {
            "for those alone who show a certificate"
        } else {
            "not known"
        };
    }
    if matches!(told.protocol, Protocol::Tls | Protocol::Unknown) {
        probe.gap(&format!("port {}: what is within its TLS is {why}", told.port));
    }
    let place = place(told, true);
    add(report.findings.into_iter().map(|finding| finding.at(&place)), told, probe);
    true
}

/// Where a port's findings are, with what is spoken there.
fn place(told: &Port, is_tls: bool) -> Place {
    let inner = told.protocol.as_str();
    let protocol = match (is_tls, told.protocol) {
        (true, Protocol::Http) => "https".to_string(),
        (true, Protocol::Tls | Protocol::Unknown) => "tls".to_string(),
        (true, _) => format!("{inner} within tls"),
        (false, _) => inner.to_string(),
    };
    Place { transport: told.transport.as_str(), port: told.port, protocol }
}

/// Adds a port's findings. Whoever is not in the container does not reach what listens on
/// loopback alone.
fn add(findings: impl IntoIterator<Item = Finding>, told: &Port, probe: &mut Probe) {
    for mut finding in findings {
        if told.is_loopback && finding.severity > Severity::Low {
            finding = finding.with("it listens on loopback alone");
            finding.severity = Severity::Low;
        }
        probe.add(finding);
    }
}

/// Which protocol is spoken at `endpoint`, and what the server says of itself.
fn identify(
    subject: &dyn Subject,
    endpoint: Endpoint,
    deadline: Duration,
) -> io::Result<(Protocol, String)> {
    let mut wire = Wire::open(subject, endpoint, deadline)?;
    let said = wire.receive(BANNER_BYTES_MAX, BANNER_PATIENCE, |bytes| recognise(bytes).is_some());
    if let Some(protocol) = recognise(&said.bytes) {
        return Ok((protocol, banner(protocol, &said.bytes)));
    }
    drop(wire);
    let port = endpoint.to.port();
    let (first, then): (Vec<_>, Vec<_>) =
        QUESTIONS.iter().partition(|question| question.ports.contains(&port));
    let patience = deadline.min(QUESTION_PATIENCE);
    for question in first.into_iter().chain(then) {
        if question.of == Protocol::Tls {
            if !endpoint.is_tls && speaks_tls(subject, endpoint, patience) {
                return Ok((Protocol::Tls, String::new()));
            }
            continue;
        }
        let is_known = |bytes: &[u8]| recognise_answer(question.of, bytes).is_some();
        let Ok(answer) = ask(subject, endpoint, patience, question.bytes, is_known) else {
            continue;
        };
        if let Some(protocol) = recognise_answer(question.of, &answer.bytes) {
            return Ok((protocol, banner(protocol, &answer.bytes)));
        }
    }
    Ok((Protocol::Unknown, banner(Protocol::Unknown, &said.bytes)))
}

/// Whether a ClientHello is answered by TLS.
fn speaks_tls(subject: &dyn Subject, endpoint: Endpoint, patience: Duration) -> bool {
    let hello = tls::hello::client_hello(tls::hello::Version::TLS12, tls::hello::SUITES, false);
    let answer = ask(subject, endpoint, patience, &hello, tls::hello::is_whole);
    // An alert may also answer what is no TLS; a hello of version 1.2 never does.
    answer.is_ok_and(|answer| tls::hello::parse(&answer.bytes) != tls::hello::Reply::Other)
}

/// What the first answer says of the server, where it is made of words.
fn banner(protocol: Protocol, bytes: &[u8]) -> String {
    match protocol {
        Protocol::Http => {
            let response = Response::parse(bytes);
            if let Some(server) = response.as_ref().and_then(|response| response.header("server")) {
                return cut(server);
            }
        }
        Protocol::Mysql => return services::mysql_version(bytes).unwrap_or_default(),
        // Lengths, numbers and flags.
        Protocol::Tls
        | Protocol::Postgresql
        | Protocol::Mongodb
        | Protocol::Amqp
        | Protocol::Mqtt
        | Protocol::Epmd
        | Protocol::H2c
        | Protocol::Smb => return String::new(),
        _ => {}
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    shown(line.trim_ascii(), BANNER_SHOWN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_is_what_is_made_of_words() {
        let mysql =
            b"\x4a\0\0\0\x0a5.5.5-10.11.6-MariaDB\0rest of it that is long enough to be one";
        for (protocol, bytes, expected) in [
            (Protocol::Http, &b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n"[..], "nginx"),
            (Protocol::Http, b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 404 Not Found"),
            (Protocol::Mysql, mysql, "5.5.5-10.11.6-MariaDB"),
            (Protocol::Mysql, b"\x4a\0\0\0\x0a", ""),
            (Protocol::Mqtt, b"\x20\x02\0\x05", ""),
            (Protocol::Ssh, b"SSH-2.0-OpenSSH_9.2\r\nmore", "SSH-2.0-OpenSSH_9.2"),
            (Protocol::Unknown, b"", ""),
        ] {
            assert_eq!(banner(protocol, bytes), expected);
        }
    }
}
