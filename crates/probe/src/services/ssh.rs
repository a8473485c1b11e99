//! SSH: the algorithms that a server offers (RFC 4253), and the logins that it takes (RFC 4252).
//!
//! Which logins there are is told within the encryption alone, so keys are exchanged with the
//! one pair that every server of the last ten years has: X25519 (RFC 8731) and
//! `chacha20-poly1305@openssh.com`. Whose the host key is does not matter here and is not
//! verified: what is told and tried is no secret.

use std::io;

use ring::aead::chacha20_poly1305_openssh::{OpeningKey, SealingKey, TAG_LEN};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest;
use ring::rand::SystemRandom;

use super::{Outcome, Server, credentials};
use crate::bytes::Reader;
use crate::finding::{Finding, SSH_PASSWORD, SSH_PROTOCOL_1, SSH_WEAK_ALGORITHMS, shown};
use crate::wire::Wire;

/// What nobody should agree to any more (RFC 9142, RFC 8758, RFC 8270; OpenSSH switched them off).
const WEAK: &[&str] = &[
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
/// What we say that we are.
const OWN_VERSION: &[u8] = b"SSH-2.0-palisadeprobe";
/// The two names of the same key exchange.
const KEY_EXCHANGES: [&str; 2] = ["curve25519-sha256", "curve25519-sha256@libssh.org"];
const CIPHER: &str = "chacha20-poly1305@openssh.com";
/// Bytes of one packet (RFC 4253 section 6.1 has all accept 35,000).
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Bytes before the server's version line is over (RFC 4253 section 4.2: other lines may precede).
const BANNER_BYTES_MAX: usize = 8 * 1024;
/// Packets that may come before the one that is waited for.
const PACKETS_SKIPPED_MAX: usize = 16;

// Numbers of messages (RFC 4250 section 4.1.2, RFC 8731).
const IGNORE: u8 = 2;
const DEBUG: u8 = 4;
const SERVICE_REQUEST: u8 = 5;
const SERVICE_ACCEPT: u8 = 6;
const EXT_INFO: u8 = 7;
const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const KEX_ECDH_INIT: u8 = 30;
const KEX_ECDH_REPLY: u8 = 31;
const USERAUTH_REQUEST: u8 = 50;
const USERAUTH_FAILURE: u8 = 51;
const USERAUTH_SUCCESS: u8 = 52;
const USERAUTH_BANNER: u8 = 53;

pub(super) fn ssh(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut connection = Connection::open(server)?;
    let version = shown(&connection.version, 120);
    // 1.99 means 2.0 with 1 besides (RFC 4253 section 5.1).
    if connection.version.starts_with(b"SSH-1.") {
        outcome.findings.push(Finding::new(&SSH_PROTOCOL_1, version.as_str()).at(server.place));
    }
    let Some(offer) = connection.offer() else {
        outcome.gaps.push("ssh: its offer of algorithms cannot be read".into());
        return Ok(());
    };
    let mut weak: Vec<&str> = Vec::new();
    for name in offer.lists.iter().flatten() {
        if let Some(known) = WEAK.iter().find(|known| **known == name.as_str())
            && !weak.contains(known)
        {
            weak.push(known);
        }
    }
    if !weak.is_empty() {
        let detail = format!("it offers {}", weak.join(", "));
        outcome
            .findings
            .push(Finding::new(&SSH_WEAK_ALGORITHMS, detail).at(server.place).with(&version));
    }
    logins(server, connection, &offer, &version, outcome);
    Ok(())
}

/// Finds out which logins the server takes, and tries well-known passwords where it takes any.
fn logins(
    server: &Server<'_>,
    connection: Connection<'_>,
    offer: &Offer,
    version: &str,
    outcome: &mut Outcome,
) {
    let mut unknown =
        |why: &str| outcome.gaps.push(format!("ssh: which logins it takes is not known: {why}"));
    let mut session = match connection.encrypt(offer) {
        Ok(session) => session,
        Err(why) => return unknown(why),
    };
    let methods = match session.login("root", None) {
        Some(Login::In) => {
            let detail = "user `root` is let in without a password or key (`none`)";
            outcome.findings.push(server.open_to_all(detail, version.as_bytes()));
            return;
        }
        Some(Login::Refused(methods)) => methods,
        None => return unknown("it breaks off"),
    };
    let takes = ["password", "keyboard-interactive"];
    if !methods.iter().any(|method| takes.contains(&method.as_str())) {
        return;
    }
    let detail = format!("it takes logins by {}", methods.join(", "));
    outcome.findings.push(Finding::new(&SSH_PASSWORD, detail).at(server.place).with(version));
    if !methods.iter().any(|method| method == "password") {
        outcome.gaps.push("ssh: well-known passwords are not tried by keyboard-interactive".into());
        return;
    }
    for credential in credentials::of("ssh") {
        // On a connection of its own: the user's name must not change (RFC 4252 section 5).
        let tried = Connection::open(server).ok().and_then(|mut connection| {
            let offer = connection.offer()?;
            let mut session = connection.encrypt(&offer).ok()?;
            session.login(credential.user, Some(credential.password))
        });
        match tried {
            Some(Login::In) => {
                outcome.findings.push(server.taken(credential));
                return;
            }
            Some(Login::Refused(_)) => {}
            None => {
                outcome
                    .gaps
                    .push("ssh: not all well-known passwords were tried: it breaks off".into());
                return;
            }
        }
    }
}

/// A server's KEXINIT.
struct Offer {
    payload: Vec<u8>,
    /// Key exchange, host keys, ciphers and MACs in both directions.
    lists: Vec<Vec<String>>,
}

impl Offer {
    fn has(&self, list: usize, name: &str) -> bool {
        self.lists.get(list).is_some_and(|list| list.iter().any(|known| known == name))
    }
}

/// A connection on which nothing is encrypted yet.
struct Connection<'a> {
    server: &'a Server<'a>,
    wire: Wire,
    /// What came and was not looked at.
    buffer: Vec<u8>,
    /// The server's line without its end.
    version: Vec<u8>,
}

impl<'a> Connection<'a> {
    /// Connects and exchanges versions.
    fn open(server: &'a Server<'a>) -> io::Result<Self> {
        let wire = server.open()?;
        let mut connection = Self { server, wire, buffer: Vec::new(), version: Vec::new() };
        let start = |bytes: &[u8]| {
            let mut at = 0;
            bytes.split_inclusive(|byte| *byte == b'\n').find_map(|line| {
                at += line.len();
                (line.starts_with(b"SSH-") && line.ends_with(b"\n")).then_some((at, line.len()))
            })
        };
        let said = connection
            .wire
            .receive(BANNER_BYTES_MAX, server.deadline, |bytes| start(bytes).is_some())
            .bytes;
        if let Some((end, n)) = start(&said) {
            connection.version = said.get(end - n..end).unwrap_or_default().trim_ascii().to_vec();
            connection.buffer = said.get(end..).unwrap_or_default().to_vec();
        }
        connection.wire.send(&[OWN_VERSION, b"\r\n"].concat())?;
        Ok(connection)
    }

    /// The next `n` bytes.
    fn take(&mut self, n: usize) -> Option<Vec<u8>> {
        let n_missing = n.saturating_sub(self.buffer.len());
        if n_missing > 0 {
            let n_max = PACKET_BYTES_MAX.saturating_mul(2);
            let more =
                self.wire.receive(n_max, self.server.deadline, |more| more.len() >= n_missing);
            self.buffer.extend_from_slice(&more.bytes);
        }
        (self.buffer.len() >= n).then(|| self.buffer.drain(..n).collect())
    }

    /// The payload of the next packet in the clear (RFC 4253 section 6).
    fn packet(&mut self) -> Option<Vec<u8>> {
        let n = Reader(&self.take(4)?).u32()? as usize;
        let body = if n <= PACKET_BYTES_MAX { self.take(n)? } else { return None };
        payload(&body).map(<[u8]>::to_vec)
    }

    /// The server's offer.
    fn offer(&mut self) -> Option<Offer> {
        let payload = self.packet()?;
        Some(Offer { lists: kexinit(&payload)?, payload })
    }

    /// Exchanges keys and asks for the service of logins; or says what stands in the way.
    fn encrypt(mut self, offer: &Offer) -> Result<Session<'a>, &'static str> {
        const BREAKS_OFF: &str = "it breaks the key exchange off";
        let exchange = KEY_EXCHANGES
            .into_iter()
            .find(|name| offer.has(0, name))
            .ok_or("it does not offer curve25519-sha256")?;
        if !offer.has(2, CIPHER) || !offer.has(3, CIPHER) {
            return Err("it does not offer chacha20-poly1305@openssh.com");
        }
        let own = own_offer(exchange, offer);
        let random = SystemRandom::new();
        let private = EphemeralPrivateKey::generate(&X25519, &random).map_err(|_| BREAKS_OFF)?;
        let public = private.compute_public_key().map_err(|_| BREAKS_OFF)?;
        let mut init = vec![KEX_ECDH_INIT];
        string(&mut init, public.as_ref());
        let sent =
            self.wire.send(&packet(&own, 4)).and_then(|()| self.wire.send(&packet(&init, 4)));
        sent.map_err(|_| BREAKS_OFF)?;
        // Guesses of another key exchange are no reply to ours, and there are none: both of us
        // name one alone.
        let reply = self.packet().ok_or(BREAKS_OFF)?;
        let mut reader = Reader(&reply);
        let fields = (reader.u8(), reader.block32(), reader.block32());
        let (Some(KEX_ECDH_REPLY), Some(host_key), Some(theirs)) = fields else {
            return Err(BREAKS_OFF);
        };
        let secret = agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, theirs), mpint)
            .map_err(|_| "its public key is none")?;
        let mut transcript = Vec::new();
        for part in
            [OWN_VERSION, &self.version, &own, &offer.payload, host_key, public.as_ref(), theirs]
        {
            string(&mut transcript, part);
        }
        transcript.extend_from_slice(&secret);
        let hash = digest::digest(&digest::SHA256, &transcript);
        if self.packet().ok_or(BREAKS_OFF)? != [NEWKEYS] {
            return Err(BREAKS_OFF);
        }
        self.wire.send(&packet(&[NEWKEYS], 4)).map_err(|_| BREAKS_OFF)?;
        let key = |letter| derive(&secret, hash.as_ref(), letter);
        let mut session = Session {
            sealing: SealingKey::new(&key(b'C')),
            opening: OpeningKey::new(&key(b'D')),
            connection: self,
            // Three packets went each way in the clear; the numbers go on (RFC 4253 section 6.4).
            n_sent: 3,
            n_received: 3,
        };
        let mut request = vec![SERVICE_REQUEST];
        string(&mut request, b"ssh-userauth");
        session.send(&request).map_err(|_| BREAKS_OFF)?;
        match session.next() {
            Some(answer) if answer.first() == Some(&SERVICE_ACCEPT) => Ok(session),
            _ => Err("its key exchange leads to nothing"),
        }
    }
}

/// What came of a login.
#[derive(Debug)]
enum Login {
    In,
    /// With the methods that can go on.
    Refused(Vec<String>),
}

/// A connection that is encrypted.
struct Session<'a> {
    connection: Connection<'a>,
    sealing: SealingKey,
    opening: OpeningKey,
    n_sent: u32,
    n_received: u32,
}

impl Session<'_> {
    fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        // The length is not part of what is padded.
        let mut bytes = packet(payload, 0);
        let mut tag = [0; TAG_LEN];
        self.sealing.seal_in_place(self.n_sent, &mut bytes, &mut tag);
        self.n_sent = self.n_sent.wrapping_add(1);
        bytes.extend_from_slice(&tag);
        self.connection.wire.send(&bytes)
    }

    /// The next packet that says something.
    fn next(&mut self) -> Option<Vec<u8>> {
        for _ in 0..PACKETS_SKIPPED_MAX {
            let payload = self.receive()?;
            if !matches!(payload.first(), Some(&(IGNORE | DEBUG | EXT_INFO | USERAUTH_BANNER))) {
                return Some(payload);
            }
        }
        None
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let head: [u8; 4] = self.connection.take(4)?.try_into().ok()?;
        let n = Reader(&self.opening.decrypt_packet_length(self.n_received, head)).u32()? as usize;
        if n > PACKET_BYTES_MAX {
            return None;
        }
        let mut bytes = [head.to_vec(), self.connection.take(n)?].concat();
        let tag: [u8; TAG_LEN] = self.connection.take(TAG_LEN)?.try_into().ok()?;
        let body = self.opening.open_in_place(self.n_received, &mut bytes, &tag).ok()?;
        self.n_received = self.n_received.wrapping_add(1);
        payload(body).map(<[u8]>::to_vec)
    }

    /// Asks to be let in as `user`, by `password` or by nothing. `None`: it breaks off.
    fn login(&mut self, user: &str, password: Option<&str>) -> Option<Login> {
        let mut request = vec![USERAUTH_REQUEST];
        string(&mut request, user.as_bytes());
        string(&mut request, b"ssh-connection");
        match password {
            None => string(&mut request, b"none"),
            Some(password) => {
                string(&mut request, b"password");
                request.push(0);
                string(&mut request, password.as_bytes());
            }
        }
        self.send(&request).ok()?;
        let answer = self.next()?;
        let mut reader = Reader(&answer);
        match reader.u8()? {
            USERAUTH_SUCCESS => Some(Login::In),
            USERAUTH_FAILURE => Some(Login::Refused(names(reader.block32()?))),
            _ => None,
        }
    }
}

/// `payload` as a packet without a MAC, of which `n_counted` bytes of the length are part of
/// what is padded to whole blocks of 8 (RFC 4253 section 6).
fn packet(payload: &[u8], n_counted: usize) -> Vec<u8> {
    let mut n_padding = 8 - (n_counted + 1 + payload.len()) % 8;
    if n_padding < 4 {
        n_padding += 8;
    }
    let n = u32::try_from(1 + payload.len() + n_padding).unwrap_or(u32::MAX);
    let mut out = n.to_be_bytes().to_vec();
    out.push(u8::try_from(n_padding).unwrap_or(4));
    out.extend_from_slice(payload);
    out.resize(out.len() + n_padding, 0);
    out
}

/// What is in a packet's body besides its padding.
pub(super) fn payload(body: &[u8]) -> Option<&[u8]> {
    let (n_padding, rest) = body.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*n_padding))?)
}

/// The lists of algorithms of SSH_MSG_KEXINIT (RFC 4253 section 7.1) but those of compression
/// and languages, where `none` and nothing are right.
pub(super) fn kexinit(payload: &[u8]) -> Option<Vec<Vec<String>>> {
    let mut reader = Reader(payload);
    if reader.u8()? != KEXINIT {
        return None;
    }
    reader.take(16)?;
    (0..6).map(|_| reader.block32().map(names)).collect()
}

fn names(list: &[u8]) -> Vec<String> {
    let names = list.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Our KEXINIT: one key exchange and one cipher, and of host keys and MACs what the server has.
fn own_offer(exchange: &str, theirs: &Offer) -> Vec<u8> {
    let list = |at: usize| theirs.lists.get(at).map(|list| list.join(",")).unwrap_or_default();
    let mut out = vec![KEXINIT];
    out.extend_from_slice(b"palisade-cookie-");
    let own = [exchange, &list(1), CIPHER, CIPHER, &list(4), &list(5), "none", "none", "", ""];
    for names in own {
        string(&mut out, names.as_bytes());
    }
    // No guess follows; reserved.
    out.extend_from_slice(&[0; 5]);
    out
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// An unsigned number as `mpint` (RFC 4251 section 5).
fn mpint(number: &[u8]) -> Vec<u8> {
    let n_zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut bytes = number.get(n_zeros..).unwrap_or_default().to_vec();
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    let mut out = Vec::new();
    string(&mut out, &bytes);
    out
}

/// 64 bytes of key material (RFC 4253 section 7.2). The hash is the session's id too.
fn derive(secret: &[u8], hash: &[u8], letter: u8) -> [u8; 64] {
    let sha256 = |parts: &[&[u8]]| digest::digest(&digest::SHA256, &parts.concat());
    let first = sha256(&[secret, hash, &[letter], hash]);
    let second = sha256(&[secret, hash, first.as_ref()]);
    let mut key = [0; 64];
    for (to, from) in key.iter_mut().zip(first.as_ref().iter().chain(second.as_ref())) {
        *to = *from;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_read() {
        let mut offer = vec![KEXINIT];
        offer.extend_from_slice(&[0; 16]);
        for list in [
            "curve25519-sha256,diffie-hellman-group1-sha1",
            "ssh-ed25519",
            "aes128-ctr",
            "aes128-ctr",
            "hmac-md5",
            "",
        ] {
            string(&mut offer, list.as_bytes());
        }
        let lists = kexinit(&offer).unwrap();
        assert_eq!(lists[0][1], "diffie-hellman-group1-sha1");
        assert_eq!(lists[4], ["hmac-md5"]);
        assert_eq!(lists[5], [""; 0]);
        for n in 0..offer.len() {
            assert_eq!(kexinit(&offer[..n]), None);
        }
        let read = Offer { payload: offer.clone(), lists };
        let own = kexinit(&own_offer("curve25519-sha256", &read)).unwrap();
        assert_eq!(own[2], [CIPHER]);
        assert_eq!(own[4], ["hmac-md5"]);
    }

    #[test]
    fn packets_are_whole_blocks_and_come_back() {
        for n in 0..40 {
            let said = vec![7; n];
            for n_counted in [0, 4] {
                let packet = packet(&said, n_counted);
                assert_eq!((packet.len() - 4 + n_counted) % 8, 0);
                assert!(packet[4] >= 4);
                assert_eq!(payload(&packet[4..]), Some(&said[..]));
            }
        }
        for body in [&b""[..], b"\x01", b"\xffabc"] {
            assert_eq!(payload(body), None);
        }
    }

    /// The examples of RFC 4251 section 5.
    #[test]
    fn numbers_are_written_as_mpint() {
        for (number, expected) in [
            (&b""[..], &b"\0\0\0\0"[..]),
            (b"\0\0\x80", b"\0\0\0\x02\0\x80"),
            (b"\x09\xa3\x78\xf9\xb2\xe3\x32\xa7", b"\0\0\0\x08\x09\xa3\x78\xf9\xb2\xe3\x32\xa7"),
        ] {
            assert_eq!(mpint(number), expected);
        }
    }
}
