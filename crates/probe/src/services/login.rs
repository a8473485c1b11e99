//! SSH, FTP, SMTP, POP3, IMAP, Telnet, VNC.

use std::io;

use super::{Outcome, Server, credentials};
use crate::bytes::{Reader, contains};
use crate::finding::{
    ANONYMOUS_LOGIN, Finding, OPEN_RELAY, PLAINTEXT_LOGIN, SSH_PROTOCOL_1, SSH_WEAK_ALGORITHMS,
    shown,
};
use crate::wire::Wire;

/// Bytes of one reply.
const REPLY_BYTES_MAX: usize = 32 * 1024;

/// What nobody should agree to any more (RFC 9142, RFC 8758, RFC 8270; OpenSSH switched them off).
const SSH_WEAK: &[&str] = &[
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group-exchange-sha1",
    "rsa1024-sha1",
    "ssh-dss",
    "arcfour",
    "arcfour128",
    "arcfour256",
    "des-cbc",
    "3des-cbc",
    "blowfish-cbc",
    "cast128-cbc",
    "none",
    "hmac-md5",
    "hmac-md5-96",
    "hmac-sha1-96",
];

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

pub(super) fn ssh(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut wire = server.open()?;
    let banner =
        wire.receive(REPLY_BYTES_MAX, server.deadline, |bytes| bytes.contains(&b'\n')).bytes;
    let at = banner.iter().position(|byte| *byte == b'\n').map_or(banner.len(), |at| at + 1);
    let (line, early) = banner.split_at_checked(at).unwrap_or_default();
    // 1.99 means 2.0 with 1 besides (RFC 4253 section 5.1).
    if line.starts_with(b"SSH-1.") {
        outcome
            .findings
            .push(Finding::new(&SSH_PROTOCOL_1, shown(line.trim_ascii(), 120)).at(server.place));
    }
    wire.send(b"SSH-2.0-palisadeprobe\r\n")?;
    let mut packet = early.to_vec();
    let is_whole = |early: &[u8], more: &[u8]| {
        let all = [early, more].concat();
        Reader(&all).u32().is_some_and(|n| all.len() >= n as usize + 4)
    };
    if !is_whole(early, b"") {
        let more = wire.receive(REPLY_BYTES_MAX, server.deadline, |more| is_whole(early, more));
        packet.extend_from_slice(&more.bytes);
    }
    let Some(lists) = ssh_kexinit(&packet) else {
        outcome.gaps.push("ssh: its offer of algorithms cannot be read".into());
        return Ok(());
    };
    let mut weak: Vec<&str> = Vec::new();
    for name in lists.iter().flatten() {
        if let Some(known) = SSH_WEAK.iter().find(|known| **known == name.as_str())
            && !weak.contains(known)
        {
            weak.push(known);
        }
    }
    if !weak.is_empty() {
        let detail = format!("it offers {}", weak.join(", "));
        outcome.findings.push(
            Finding::new(&SSH_WEAK_ALGORITHMS, detail)
                .at(server.place)
                .with(&shown(line.trim_ascii(), 120)),
        );
    }
    Ok(())
}

/// The lists of algorithms of SSH_MSG_KEXINIT (RFC 4253 section 7.1) but those of compression
/// and languages, where `none` and nothing are right.
pub(super) fn ssh_kexinit(packet: &[u8]) -> Option<Vec<Vec<String>>> {
    let mut reader = Reader(packet);
    let n = reader.u32()? as usize;
    let mut body = Reader(reader.take(n)?);
    let _padding = body.u8()?;
    if body.u8()? != 20 {
        return None;
    }
    body.take(16)?;
    let mut lists = Vec::new();
    for _ in 0..6 {
        let n = body.u32()? as usize;
        let text = String::from_utf8_lossy(body.take(n)?).into_owned();
        lists.push(text.split(',').map(str::to_string).collect());
    }
    Some(lists)
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
        if login(credential.user, credential.password)?.0 {
            outcome.findings.push(server.taken(credential));
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
    fn an_offer_of_ssh_is_read() {
        let mut body = vec![4, 20];
        body.extend_from_slice(&[0; 16]);
        for list in [
            "curve25519-sha256,diffie-hellman-group1-sha1",
            "ssh-ed25519",
            "aes128-ctr",
            "aes128-ctr",
            "hmac-md5",
            "hmac-sha2-256",
        ] {
            body.extend_from_slice(&u32::try_from(list.len()).unwrap().to_be_bytes());
            body.extend_from_slice(list.as_bytes());
        }
        let packet = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
        let lists = ssh_kexinit(&packet).unwrap();
        assert_eq!(lists[0][1], "diffie-hellman-group1-sha1");
        assert_eq!(lists[4], ["hmac-md5"]);
        for n in 0..packet.len() {
            assert_eq!(ssh_kexinit(&packet[..n]), None);
        }
    }

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
