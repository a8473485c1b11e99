//! Redis, Memcached, MongoDB, PostgreSQL, MySQL.

use std::fmt::Write as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use ring::{digest, hmac, pbkdf2};

use super::{Outcome, Server, credentials, line};
use crate::bytes::{Reader, contains};
use crate::finding::shown;
use crate::wire::{Answer, Wire};
use palisade_model::Severity;

/// Bytes of a database's answer.
const BYTES_MAX: usize = 64 * 1024;
/// Rounds of PBKDF2 that a server may ask for: PostgreSQL asks for 4,096.
const ROUNDS_MAX: u32 = 100_000;

/// A command in RESP.
fn resp(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        let _infallible = write!(out, "${}\r\n{word}\r\n", word.len());
    }
    out.into_bytes()
}

pub(super) fn redis(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let pong = server.ask(&resp(&["PING"]), line)?;
    if pong.bytes.starts_with(b"+PONG") {
        let mut wire = server.open()?;
        wire.send(&resp(&["INFO", "server"]))?;
        let info = wire.receive(BYTES_MAX, server.deadline, |bytes| {
            contains(bytes, "tcp_port:") || bytes.starts_with(b"-")
        });
        let text = String::from_utf8_lossy(&info.bytes);
        let version =
            text.lines().find(|line| line.starts_with("redis_version:")).unwrap_or_default();
        let finding =
            server.open_to_all("PING and INFO are answered without a password", &pong.bytes);
        outcome.findings.push(if version.is_empty() { finding } else { finding.with(version) });
        return Ok(());
    }
    if pong.bytes.starts_with(b"-DENIED") {
        return Ok(());
    }
    for credential in credentials::of("redis") {
        if server.ask(&resp(&["AUTH", credential.password]), line)?.bytes.starts_with(b"+OK") {
            outcome.findings.push(server.taken(credential));
            break;
        }
    }
    Ok(())
}

pub(super) fn memcached(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let stats = server.ask(b"stats\r\n", |bytes| {
        bytes.ends_with(b"END\r\n") || bytes.starts_with(b"CLIENT_ERROR")
    })?;
    if stats.bytes.starts_with(b"STAT ") {
        let mut finding = server.open_to_all("`stats` is answered without a login", &stats.bytes);
        // Made for networks of friends: nothing is kept in it that cannot be lost.
        finding.severity = Severity::High;
        outcome.findings.push(finding);
    }
    Ok(())
}

/// OP_MSG with `{listDatabases: 1, nameOnly: true, $db: "admin"}`.
const LIST_DATABASES: &[u8] = b"\x47\0\0\0\x02\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\
    \x32\0\0\0\x10listDatabases\0\x01\0\0\0\x08nameOnly\0\x01\x02$db\0\x06\0\0\0admin\0\0";

pub(super) fn mongodb(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let is_whole = |bytes: &[u8]| Reader(bytes).u32_le().is_some_and(|n| bytes.len() >= n as usize);
    let answer = server.ask(LIST_DATABASES, is_whole)?;
    match mongo_ok(&answer.bytes) {
        Some(true) => {
            let detail = "`listDatabases` is answered without a login";
            outcome
                .findings
                .push(server.open_to_all(detail, answer.bytes.get(21..).unwrap_or_default()));
        }
        Some(false) => {
            outcome.gaps.push("mongodb: well-known passwords are not tried (SCRAM)".into());
        }
        None => outcome.gaps.push("mongodb: its answer cannot be understood".into()),
    }
    Ok(())
}

/// The field `ok` of a reply in OP_MSG (BSON 1.1); looks at the outermost document alone.
pub(super) fn mongo_ok(bytes: &[u8]) -> Option<bool> {
    let mut reader = Reader(bytes);
    reader.take(12)?;
    if reader.u32_le()? != 2013 {
        return None;
    }
    // Flags and the kind of the section.
    reader.take(5)?;
    reader.u32_le()?;
    loop {
        let kind = reader.u8()?;
        if kind == 0 {
            return None;
        }
        let name = reader.until_zero()?;
        let number = match kind {
            0x01 => reader.f64_le()?,
            0x10 => f64::from(reader.u32_le()?),
            0x08 => f64::from(reader.u8()?),
            // Text has its length before it, documents and lists count the length itself.
            0x02..=0x04 => {
                let n = reader.u32_le()? as usize;
                reader.take(if kind == 0x02 { n } else { n.checked_sub(4)? })?;
                continue;
            }
            0x05 => {
                let n = reader.u32_le()? as usize;
                reader.take(n.checked_add(1)?)?;
                continue;
            }
            0x07 => reader.take(12).map(|_| 0.0)?,
            0x09 | 0x11 | 0x12 => reader.take(8).map(|_| 0.0)?,
            0x0a => continue,
            _ => return None,
        };
        if name == b"ok" {
            return Some(number > 0.0);
        }
    }
}

/// A message of PostgreSQL's protocol: its type and content.
type Message = (u8, Vec<u8>);

/// The messages that are whole.
pub(super) fn postgres_messages(bytes: &[u8]) -> Vec<Message> {
    let mut reader = Reader(bytes);
    let mut found = Vec::new();
    while let (Some(kind), Some(n)) = (reader.u8(), reader.u32()) {
        let Some(body) = (n as usize).checked_sub(4).and_then(|n| reader.take(n)) else { break };
        found.push((kind, body.to_vec()));
        if found.len() >= 64 {
            break;
        }
    }
    found
}

/// Waits for what decides: a question (R), an error (E), or readiness (Z).
fn postgres_answer(wire: &mut Wire, server: &Server<'_>) -> Vec<Message> {
    let decides = |bytes: &[u8]| {
        postgres_messages(bytes).iter().any(|(kind, _)| matches!(kind, b'E' | b'R' | b'Z'))
    };
    postgres_messages(&wire.receive(BYTES_MAX, server.deadline, decides).bytes)
}

fn postgres_send(wire: &mut Wire, kind: u8, body: &[u8]) -> io::Result<()> {
    let mut out = vec![kind];
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap_or(4).to_be_bytes());
    out.extend_from_slice(body);
    wire.send(&out)
}

/// What came of one try.
enum Login {
    /// Without a password at all.
    Open,
    Taken,
    Refused,
    /// In a way that is not known here, or not at all.
    Odd(String),
}

pub(super) fn postgresql(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    for credential in credentials::of("postgresql") {
        match postgres_login(server, credential.user, credential.password)? {
            Login::Open => {
                let detail =
                    format!("user `{}` is let in without a password (trust)", credential.user);
                outcome.findings.push(server.open_to_all(&detail, b"AuthenticationOk"));
                break;
            }
            Login::Taken => {
                outcome.findings.push(server.taken(credential));
                break;
            }
            Login::Refused => {}
            Login::Odd(why) => {
                outcome.gaps.push(format!("postgresql: {why}"));
                break;
            }
        }
    }
    Ok(())
}

fn postgres_login(server: &Server<'_>, user: &str, password: &str) -> io::Result<Login> {
    let mut wire = server.open()?;
    wire.send(b"\0\0\0\x08\x04\xd2\x16\x2f")?;
    if wire.receive(1, server.deadline, |bytes| !bytes.is_empty()).bytes == b"S" {
        wire = wire.into_tls()?;
    }
    let body = format!("\0\x03\0\0user\0{user}\0database\0postgres\0\0");
    let mut startup = u32::try_from(body.len() + 4).unwrap_or(4).to_be_bytes().to_vec();
    startup.extend_from_slice(body.as_bytes());
    wire.send(&startup)?;
    let messages = postgres_answer(&mut wire, server);
    let Some((kind, body)) = messages.first() else {
        return Ok(Login::Odd("it says nothing".into()));
    };
    if *kind != b'R' {
        return Ok(Login::Odd(shown(body, 120)));
    }
    let mut reader = Reader(body);
    let reply = match reader.u32() {
        Some(0) => return Ok(Login::Open),
        Some(3) => format!("{password}\0").into_bytes(),
        Some(5) => {
            let inner = hex(&Md5::digest(format!("{password}{user}")));
            let outer = [inner.as_bytes(), reader.take(4).unwrap_or_default()].concat();
            format!("md5{}\0", hex(&Md5::digest(outer))).into_bytes()
        }
        Some(10) if contains(reader.0, "SCRAM-SHA-256\0") => {
            return postgres_scram(wire, server, password);
        }
        other => return Ok(Login::Odd(format!("it wants authentication of kind {other:?}"))),
    };
    postgres_send(&mut wire, b'p', &reply)?;
    let is_ok = postgres_answer(&mut wire, server)
        .first()
        .is_some_and(|(kind, body)| *kind == b'R' && body.starts_with(&[0; 4]));
    Ok(if is_ok { Login::Taken } else { Login::Refused })
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        let _infallible = write!(out, "{byte:02x}");
    }
    out
}

/// Nonce, salt and rounds of a server's first message (RFC 5802 section 7).
pub(super) fn scram_first(bytes: &[u8]) -> Option<(String, Vec<u8>, u32)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let field = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name));
    let rounds: u32 = field("i=")?.parse().ok()?;
    let salt = STANDARD.decode(field("s=")?).ok()?;
    (1..=ROUNDS_MAX).contains(&rounds).then_some((field("r=")?.to_string(), salt, rounds))
}

/// SCRAM-SHA-256 (RFC 7677) as PostgreSQL speaks it, without channel binding.
fn postgres_scram(mut wire: Wire, server: &Server<'_>, password: &str) -> io::Result<Login> {
    // A server that has seen this nonce before learns nothing that matters here.
    let first = "n=,r=palisadeprobenonce000";
    let mut body = b"SCRAM-SHA-256\0".to_vec();
    body.extend_from_slice(&u32::try_from(first.len() + 3).unwrap_or(0).to_be_bytes());
    body.extend_from_slice(format!("n,,{first}").as_bytes());
    postgres_send(&mut wire, b'p', &body)?;
    let messages = postgres_answer(&mut wire, server);
    let Some(said) =
        messages.first().filter(|(kind, _)| *kind == b'R').and_then(|(_, body)| body.get(4..))
    else {
        return Ok(Login::Odd("it breaks SCRAM off".into()));
    };
    let Some((nonce, salt, rounds)) = scram_first(said) else {
        return Ok(Login::Odd("its SCRAM cannot be understood".into()));
    };
    let mut salted = [0; 32];
    let rounds = std::num::NonZeroU32::new(rounds).unwrap_or(std::num::NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let key = |key: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, key);
    let client_key = hmac::sign(&key(&salted), b"Client Key");
    let stored = digest::digest(&digest::SHA256, client_key.as_ref());
    let last = format!("c=biws,r={nonce}");
    let message = format!("{first},{},{last}", String::from_utf8_lossy(said));
    let signature = hmac::sign(&key(stored.as_ref()), message.as_bytes());
    let proof: Vec<u8> =
        client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    postgres_send(&mut wire, b'p', format!("{last},p={}", STANDARD.encode(proof)).as_bytes())?;
    let answer = postgres_answer(&mut wire, server);
    let is_ok = answer
        .first()
        .is_some_and(|(kind, body)| *kind == b'R' && body.starts_with(&[0, 0, 0, 12]));
    Ok(if is_ok { Login::Taken } else { Login::Refused })
}

/// What of a MySQL server's first packet matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MysqlHandshake {
    version: String,
    salt: Vec<u8>,
    plugin: String,
}

pub(super) fn mysql_handshake(packet: &[u8]) -> Option<MysqlHandshake> {
    let mut reader = Reader(packet);
    reader.take(4)?;
    if reader.u8()? != 10 {
        return None;
    }
    let version = String::from_utf8_lossy(reader.until_zero()?).into_owned();
    reader.take(4)?;
    let mut salt = reader.take(8)?.to_vec();
    // Filler, capabilities, character set, status, capabilities.
    reader.take(1 + 2 + 1 + 2 + 2)?;
    let n = usize::from(reader.u8()?);
    reader.take(10)?;
    let rest = reader.take(n.saturating_sub(8).max(13))?;
    salt.extend_from_slice(rest.get(..12)?);
    let plugin = reader.until_zero().unwrap_or(b"mysql_native_password");
    Some(MysqlHandshake { version, salt, plugin: String::from_utf8_lossy(plugin).into_owned() })
}

/// The version that a server's first packet names.
pub(crate) fn mysql_version(packet: &[u8]) -> Option<String> {
    let mut reader = Reader(packet.get(4..)?);
    let is_known = reader.u8()? == 10;
    is_known.then(|| reader.until_zero()).flatten().map(|version| shown(version, 120))
}

/// The answer to a salt; `None` where the way is not known.
fn mysql_scramble(plugin: &str, password: &str, salt: &[u8]) -> Option<Vec<u8>> {
    if password.is_empty() {
        return Some(Vec::new());
    }
    let xor = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a ^ b).collect();
    match plugin {
        "mysql_native_password" => {
            let hash = |bytes: &[u8]| digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
            let one = hash(password.as_bytes());
            let salted = hash(&[salt, hash(one.as_ref()).as_ref()].concat());
            Some(xor(one.as_ref(), salted.as_ref()))
        }
        "caching_sha2_password" => {
            let hash = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes);
            let one = hash(password.as_bytes());
            let salted = hash(&[hash(hash(one.as_ref()).as_ref()).as_ref(), salt].concat());
            Some(xor(one.as_ref(), salted.as_ref()))
        }
        _ => None,
    }
}

fn mysql_packet(wire: &mut Wire, server: &Server<'_>) -> Answer {
    let is_whole =
        |bytes: &[u8]| Reader(bytes).u24_le().is_some_and(|n| bytes.len() >= n as usize + 4);
    wire.receive(BYTES_MAX, server.deadline, is_whole)
}

fn mysql_send(wire: &mut Wire, sequence: u8, body: &[u8]) -> io::Result<()> {
    let n = u32::try_from(body.len()).unwrap_or(0).to_le_bytes();
    let mut out = vec![n[0], n[1], n[2], sequence];
    out.extend_from_slice(body);
    wire.send(&out)
}

pub(super) fn mysql(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    for credential in credentials::of("mysql") {
        match mysql_login(server, credential.user, credential.password)? {
            Login::Taken | Login::Open => {
                outcome.findings.push(server.taken(credential));
                break;
            }
            Login::Refused => {}
            Login::Odd(why) => {
                outcome.gaps.push(format!("mysql: {why}"));
                break;
            }
        }
    }
    Ok(())
}

fn mysql_login(server: &Server<'_>, user: &str, password: &str) -> io::Result<Login> {
    let mut wire = server.open()?;
    let first = mysql_packet(&mut wire, server);
    let Some(handshake) = mysql_handshake(&first.bytes) else {
        return Ok(Login::Odd(shown(first.bytes.get(7..).unwrap_or_default(), 120)));
    };
    let plugin = match handshake.plugin.as_str() {
        // MariaDB names what root has; a password is asked for by a switch afterwards.
        known @ ("mysql_native_password" | "caching_sha2_password") => known,
        _ => "mysql_native_password",
    };
    let scramble = mysql_scramble(plugin, password, &handshake.salt).unwrap_or_default();
    // Long passwords, protocol 4.1, secure connection, plug-ins.
    let mut body = 0x0008_8201_u32.to_le_bytes().to_vec();
    body.extend_from_slice(&0x0100_0000_u32.to_le_bytes());
    body.push(45);
    body.extend_from_slice(&[0; 23]);
    body.extend_from_slice(user.as_bytes());
    body.push(0);
    body.push(u8::try_from(scramble.len()).unwrap_or(0));
    body.extend_from_slice(&scramble);
    body.extend_from_slice(plugin.as_bytes());
    body.push(0);
    mysql_send(&mut wire, 1, &body)?;
    // A switch, then a word more: never more than four packets.
    for sequence in [3, 5, 7, 9] {
        let packet = mysql_packet(&mut wire, server).bytes;
        let rest = packet.get(5..).unwrap_or_default();
        match packet.get(4) {
            Some(0) => return Ok(Login::Taken),
            Some(0xff) if contains(rest, "denied") => return Ok(Login::Refused),
            Some(0xff) => return Ok(Login::Odd(shown(rest.get(2..).unwrap_or_default(), 120))),
            Some(0xfe) => {
                let mut reader = Reader(rest);
                let name =
                    String::from_utf8_lossy(reader.until_zero().unwrap_or_default()).into_owned();
                let salt = reader.0.get(..20).unwrap_or(reader.0);
                let Some(scramble) = mysql_scramble(&name, password, salt) else {
                    return Ok(Login::Odd(format!("logins by `{name}` are not known")));
                };
                mysql_send(&mut wire, sequence, &scramble)?;
            }
            Some(1) if rest.first() == Some(&4) => {
                return Ok(Login::Odd(format!(
                    "{} takes passwords within TLS or by RSA alone; well-known ones were not tried",
                    handshake.version
                )));
            }
            Some(1) if rest.first() == Some(&3) => return Ok(Login::Taken),
            Some(1) => {}
            _ => return Ok(Login::Odd("it breaks the login off".into())),
        }
    }
    Ok(Login::Odd("its login does not end".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_mongodb_is_read_to_its_ok() {
        assert_eq!(LIST_DATABASES.len(), 0x47);
        let reply = |tail: &[u8]| {
            let document =
                [&b"\x04databases\0\x05\0\0\0\0\x02s\0\x02\0\0\0x\0"[..], tail, b"\0"].concat();
            let mut out = vec![0; 12];
            out.extend_from_slice(&2013_u32.to_le_bytes());
            out.extend_from_slice(&[0; 5]);
            out.extend_from_slice(&u32::try_from(document.len() + 4).unwrap().to_le_bytes());
            out.extend_from_slice(&document);
            out
        };
        assert_eq!(mongo_ok(&reply(b"\x01ok\0\0\0\0\0\0\0\xf0\x3f")), Some(true));
        assert_eq!(mongo_ok(&reply(b"\x01ok\0\0\0\0\0\0\0\0\0")), Some(false));
        assert_eq!(mongo_ok(&reply(b"")), None);
        let whole = reply(b"\x01ok\0\0\0\0\0\0\0\xf0\x3f");
        for n in 0..whole.len() {
            let _total = mongo_ok(&whole[..n]);
        }
    }

    /// MariaDB's documented example and the scramble of the empty password.
    #[test]
    fn a_first_packet_of_mysql_is_read() {
        let mut packet = vec![0, 0, 0, 0, 10];
        packet.extend_from_slice(b"8.0.33\0\x01\0\0\0ABCDEFGH\0\xff\xff\x2d\x02\0\xff\xdf\x15");
        packet.extend_from_slice(&[0; 10]);
        packet.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
        let read = mysql_handshake(&packet).unwrap();
        assert_eq!(read.salt, b"ABCDEFGHijklmnopqrst");
        assert_eq!(
            (read.version.as_str(), read.plugin.as_str()),
            ("8.0.33", "caching_sha2_password")
        );
        assert_eq!(mysql_scramble("mysql_native_password", "", b"x"), Some(vec![]));
        assert_eq!(mysql_scramble("other", "x", b"x"), None);
        for n in 0..packet.len() - 23 {
            let _total = mysql_handshake(&packet[..n]);
        }
    }

    #[test]
    fn rounds_and_lengths_of_a_hostile_server_are_bounded() {
        assert!(scram_first(b"r=abc,s=QSXCR+Q6sek8bf92,i=4096").is_some());
        assert_eq!(scram_first(b"r=abc,s=QSXCR+Q6sek8bf92,i=100001"), None);
        assert_eq!(scram_first(b"r=abc,s=QSXCR+Q6sek8bf92,i=0"), None);
        assert_eq!(postgres_messages(b"R\0\0\0\x08\0\0\0\0E\0\0\0\0"), [(b'R', vec![0; 4])]);
        assert_eq!(postgres_messages(&b"Z\0\0\0\x04".repeat(100)).len(), 64);
    }
}
