//! FTP, SMTP, POP3, IMAP, Telnet, VNC.

use std::io;

use super::{Outcome, Server, credentials};
use crate::bytes::{Reader, contains};
use crate::finding::{ANONYMOUS_LOGIN, Finding, OPEN_RELAY, PLAINTEXT_LOGIN, shown};
use crate::wire::Wire;

/// Bytes of one reply.
const REPLY_BYTES_MAX: usize = 32 * 1024;

/// A plain reply: the code and a blank in its last line (RFC 959 section 4.2).
fn is_reply(bytes: &[u8]) -> bool {
    let last = bytes.strip_suffix(b"\n").unwrap_or(b"-").rsplit(|byte| *byte == b'\n').next();
    bytes.ends_with(b"\n") && last.is_some_and(|line| line.get(3) != Some(&b'-') && line.len() >= 3)
}

fn reply(wire: &mut Wire, server: &Server<'_>) -> Vec<u8> {
    wire.receive(REPLY_BYTES_MAX, server.deadline, is_reply).bytes
}

fn say(wire: &mut Wire, server: &Server<'_>, command: &str) -> io::Result<Vec<u8>> {
    wire.send(format!("{command}\r\n").as_bytes())?;
    Ok(reply(wire, server))
}

pub(super) fn ftp(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut wire = server.open()?;
    let banner = reply(&mut wire, server);
    if !server.endpoint.is_tls && !say(&mut wire, server, "AUTH TLS")?.starts_with(b"234") {
        let finding = Finding::new(&PLAINTEXT_LOGIN, "`AUTH TLS` is refused").at(server.place);
        outcome.findings.push(finding.with(&shown(banner.trim_ascii(), 120)));
    }
    let login = |user: &str, password: &str| -> io::Result<(bool, Vec<u8>)> {
        let mut wire = server.open()?;
        reply(&mut wire, server);
        let mut answer = say(&mut wire, server, &format!("USER {user}"))?;
        if answer.starts_with(b"331") {
            answer = say(&mut wire, server, &format!("PASS {password}"))?;
        }
        Ok((answer.starts_with(b"230"), answer))
    };
    let (is_in, answer) = login("anonymous", "probe@example.org")?;
    if is_in {
        let finding = Finding::new(&ANONYMOUS_LOGIN, "user `anonymous` is let in").at(server.place);
        outcome.findings.push(finding.with(&shown(answer.trim_ascii(), 120)));
    }
    for credential in credentials::of("ftp") {
        // `ftp` is another name of `anonymous` (RFC 1635 section 3.1).
        if is_in && credential.user == "ftp" {
            continue;
        }
        if login(credential.user, credential.password)?.0 {
            let is_any = login(credential.user, credentials::NOBODYS)?.0;
            outcome.findings.push(if is_any {
                server.takes_any(credential.user)
            } else {
                server.taken(credential)
            });
            break;
        }
    }
    Ok(())
}

pub(super) fn smtp(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut wire = server.open()?;
    let banner = reply(&mut wire, server);
    let offers = say(&mut wire, server, "EHLO probe.example.org")?;
    if !server.endpoint.is_tls && contains(&offers, "AUTH ") && !contains(&offers, "STARTTLS") {
        let finding = Finding::new(&PLAINTEXT_LOGIN, "`AUTH` is offered and `STARTTLS` is not")
            .at(server.place);
        outcome.findings.push(finding.with(&shown(banner.trim_ascii(), 120)));
    }
    // Both ends are somebody else's. No mail is sent: what follows RCPT is RSET.
    if say(&mut wire, server, "MAIL FROM:<probe@example.org>")?.starts_with(b"250") {
        let answer = say(&mut wire, server, "RCPT TO:<probe@example.net>")?;
        if answer.starts_with(b"25") {
            let finding =
                Finding::new(&OPEN_RELAY, "mail from example.org to example.net is taken")
                    .at(server.place);
            outcome.findings.push(finding.with(&shown(answer.trim_ascii(), 120)));
        }
        say(&mut wire, server, "RSET")?;
    }
    say(&mut wire, server, "QUIT")?;
    Ok(())
}

pub(super) fn pop3(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut wire = server.open()?;
    reply(&mut wire, server);
    wire.send(b"CAPA\r\n")?;
    let offers = wire
        .receive(REPLY_BYTES_MAX, server.deadline, |b| {
            b.ends_with(b".\r\n") || b.starts_with(b"-ERR")
        })
        .bytes;
    if !server.endpoint.is_tls && !contains(&offers, "STLS") && offers.starts_with(b"+OK") {
        outcome
            .findings
            .push(Finding::new(&PLAINTEXT_LOGIN, "`STLS` is not offered").at(server.place));
    }
    Ok(())
}

pub(super) fn imap(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut wire = server.open()?;
    let greeting = wire.receive(REPLY_BYTES_MAX, server.deadline, |b| b.ends_with(b"\n")).bytes;
    if greeting.starts_with(b"* PREAUTH") {
        outcome
            .findings
            .push(server.open_to_all("its greeting says that everybody is logged in", &greeting));
    }
    wire.send(b"a CAPABILITY\r\n")?;
    let offers = wire
        .receive(REPLY_BYTES_MAX, server.deadline, |b| contains(b, "a OK") || contains(b, "a BAD"))
        .bytes;
    let is_open = !contains(&offers, "STARTTLS") || !contains(&offers, "LOGINDISABLED");
    if !server.endpoint.is_tls && contains(&offers, "CAPABILITY") && is_open {
        let detail = "a login without TLS is not refused (`LOGINDISABLED` is missing)";
        outcome.findings.push(Finding::new(&PLAINTEXT_LOGIN, detail).at(server.place));
    }
    Ok(())
}

pub(super) fn telnet(server: &Server<'_>, outcome: &mut Outcome) {
    if !server.endpoint.is_tls {
        outcome
            .findings
            .push(Finding::new(&PLAINTEXT_LOGIN, "Telnet encrypts nothing").at(server.place));
    }
}

pub(super) fn vnc(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut wire = server.open()?;
    let version = wire.receive(12, server.deadline, |b| b.len() >= 12).bytes;
    wire.send(b"RFB 003.008\n")?;
    let types = wire
        .receive(256, server.deadline, |b| b.first().is_some_and(|n| b.len() > usize::from(*n)))
        .bytes;
    // Security type 1 is `None` (RFC 6143 section 7.1.2).
    if Reader(&types).block8().is_some_and(|types| types.contains(&1)) {
        outcome.findings.push(server.open_to_all("security type `None` is offered", &version));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_with_its_last_line() {
        for (bytes, expected) in [
            (&b"220 ready\r\n"[..], true),
            (b"220-one\r\n220 two\r\n", true),
            (b"220-one\r\n", false),
            (b"220 rea", false),
            (b"", false),
        ] {
            assert_eq!(is_reply(bytes), expected, "{bytes:?}");
        }
    }
}
