//! Which protocol a server speaks: told by what it says first, or by what it answers.
//!
//! All of it is pure: [`QUESTIONS`] are sent by the session, [`recognise`] looks at what came.

use serde::Serialize;

use crate::bytes::{Reader, contains};

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.
    Http,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113 section 3.3).
    H2c,
    /// TLS; what is within is told after a handshake.
    Tls,
    /// SSH (RFC 4253).
    Ssh,
    /// FTP (RFC 959).
    Ftp,
    /// SMTP (RFC 5321).
    Smtp,
    /// POP3 (RFC 1939).
    Pop3,
    /// IMAP (RFC 9051).
    Imap,
    /// Telnet (RFC 854).
    Telnet,
    /// Remote framebuffer: VNC (RFC 6143).
    Vnc,
    /// RESP: Redis, Valkey, KeyDB.
    Redis,
    /// Memcached's text protocol.
    Memcached,
    /// PostgreSQL, version 3 of its protocol.
    Postgresql,
    /// MySQL and MariaDB.
    Mysql,
    /// MongoDB.
    Mongodb,
    /// AMQP 0-9-1: RabbitMQ.
    Amqp,
    /// MQTT 3.1.1.
    Mqtt,
    /// ZooKeeper.
    Zookeeper,
    /// Erlang's port mapper, beside RabbitMQ and other programs in Erlang.
    Epmd,
    /// SMB; recognised and not tested.
    Smb,
    /// None of these.
    Unknown,
}

impl Protocol {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Tls => "tls",
            Self::Ssh => "ssh",
            Self::Ftp => "ftp",
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Imap => "imap",
            Self::Telnet => "telnet",
            Self::Vnc => "vnc",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
            Self::Postgresql => "postgresql",
            Self::Mysql => "mysql",
            Self::Mongodb => "mongodb",
            Self::Amqp => "amqp",
            Self::Mqtt => "mqtt",
            Self::Zookeeper => "zookeeper",
            Self::Epmd => "epmd",
            Self::Smb => "smb",
            Self::Unknown => "unknown",
        }
    }
}

/// What a server is asked that says nothing by itself.
#[derive(Debug)]
pub struct Question {
    /// The protocol that it is of.
    pub of: Protocol,
    /// Its bytes.
    pub bytes: &'static [u8],
    /// Ports where it is asked first: guesses that save time, no more.
    pub ports: &'static [u16],
}

/// HTTP/2's connection preface and an empty SETTINGS frame.
pub(crate) const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The questions, the likeliest first. None changes anything on any server.
pub const QUESTIONS: &[Question] = &[
    Question {
        of: Protocol::Http,
        bytes: b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: palisade-probe\r\nConnection: close\r\n\r\n",
        ports: &[80, 2375, 2379, 3000, 5000, 8000, 8080, 8888, 9090, 9200, 10255, 15672],
    },
    Question { of: Protocol::Tls, bytes: b"", ports: &[443, 465, 636, 993, 995, 2376, 6443, 8443, 10250] },
    Question { of: Protocol::Redis, bytes: b"*1\r\n$4\r\nPING\r\n", ports: &[6379] },
    Question { of: Protocol::Memcached, bytes: b"version\r\n", ports: &[11211] },
    // SSLRequest: length 8, code 1234.5679.
    Question { of: Protocol::Postgresql, bytes: b"\0\0\0\x08\x04\xd2\x16\x2f", ports: &[5432] },
    Question { of: Protocol::Mongodb, bytes: MONGO_HELLO, ports: &[27017] },
    Question { of: Protocol::Amqp, bytes: b"AMQP\0\0\x09\x01", ports: &[5672] },
    Question { of: Protocol::Mqtt, bytes: MQTT_CONNECT, ports: &[1883] },
    Question { of: Protocol::Zookeeper, bytes: b"ruok", ports: &[2181] },
    Question { of: Protocol::Epmd, bytes: EPMD_NAMES, ports: &[4369] },
    Question { of: Protocol::H2c, bytes: H2_PREFACE, ports: &[50051] },
    Question { of: Protocol::Smb, bytes: SMB_NEGOTIATE, ports: &[139, 445] },
];

/// CONNECT of MQTT 3.1.1: clean session, client `palisade`, no name and password.
pub(crate) const MQTT_CONNECT: &[u8] = b"\x10\x14\0\x04MQTT\x04\x02\0\x0a\0\x08palisade";

/// OP_MSG with `{hello: 1, $db: "admin"}`.
pub(crate) const MONGO_HELLO: &[u8] = b"\x34\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\
    \x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";

/// NAMES_REQ with its length (Erlang, distribution protocol).
pub(crate) const EPMD_NAMES: &[u8] = b"\0\x01n";

/// SMB1's negotiation that offers `SMB 2.002` (MS-SMB2 section 3.2.4.2.2.1).
const SMB_NEGOTIATE: &[u8] =
    b"\0\0\0\x2e\xffSMBr\0\0\0\0\x08\x01\xc8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\x0b\0\x02SMB 2.002\0";

/// What `bytes`, said first or as an answer, show their speaker to be.
pub fn recognise(bytes: &[u8]) -> Option<Protocol> {
    type Test = fn(&[u8]) -> bool;
    let tests: [(Protocol, Test); 18] = [
        // An HTTPS server that was spoken to without TLS says so in HTTP.
        (Protocol::Tls, says_https),
        (Protocol::Http, |b| b.starts_with(b"HTTP/1.") || b.starts_with(b"HTTP/0.")),
        (Protocol::Ssh, |b| b.starts_with(b"SSH-")),
        (Protocol::Tls, is_tls),
        (Protocol::Vnc, |b| b.starts_with(b"RFB ") && b.len() >= 12),
        (Protocol::Imap, |b| b.starts_with(b"* OK") || b.starts_with(b"* PREAUTH")),
        (Protocol::Memcached, is_memcached),
        (Protocol::Redis, is_redis),
        (Protocol::Pop3, |b| b.starts_with(b"+OK ") || b == b"+OK\r\n"),
        (Protocol::Smtp, is_smtp),
        (Protocol::Ftp, |b| b.starts_with(b"220") && matches!(b.get(3), Some(b' ' | b'-'))),
        (Protocol::Amqp, |b| b.starts_with(b"AMQP") || is_amqp_start(b)),
        (Protocol::Mysql, is_mysql),
        (Protocol::Mongodb, is_mongodb),
        (Protocol::H2c, is_h2_settings),
        (Protocol::Smb, |b| matches!(b.get(4..8), Some(b"\xffSMB" | b"\xfeSMB"))),
        (Protocol::Telnet, |b| matches!(b, [0xff, 0xfb..=0xfe, _, ..])),
        (Protocol::Zookeeper, |b| b.starts_with(b"imok") || b.starts_with(b"ruok is not executed")),
    ];
    tests.into_iter().find(|(_, test)| test(bytes)).map(|(protocol, _)| protocol)
}

/// What an answer to one question means that means nothing by itself.
pub fn recognise_answer(of: Protocol, bytes: &[u8]) -> Option<Protocol> {
    let is_it = match of {
        // One byte: SSL or not; or an ErrorResponse.
        Protocol::Postgresql => {
            matches!(bytes, b"S" | b"N") || bytes.starts_with(b"E") && contains(bytes, "SFATAL")
        }
        // The port mapper's own port, then lines.
        Protocol::Epmd => {
            let mut reader = Reader(bytes);
            reader.u32() == Some(4369) && (reader.0.is_empty() || reader.0.starts_with(b"name "))
        }
        // CONNACK with a return code that there is.
        Protocol::Mqtt => matches!(bytes, [0x20, 2, 0 | 1, 0..=5, ..]),
        _ => false,
    };
    if is_it { Some(of) } else { recognise(bytes) }
}

fn says_https(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.")
        && (contains(bytes, "HTTP request to an HTTPS server")
            || contains(bytes, "plain HTTP request was sent to HTTPS port")
            || contains(bytes, "speaking plain HTTP to an SSL-enabled server"))
}

/// A record of TLS: a handshake or an alert, of a version that there is.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 3, 0..=4, _, _, ..])
}

fn is_redis(bytes: &[u8]) -> bool {
    let errors = [
        "-NOAUTH",
        "-DENIED",
        "-ERR unknown command",
        "-ERR wrong number of",
        "-NOPERM",
        "-LOADING",
    ];
    bytes.starts_with(b"+PONG") || errors.iter().any(|error| bytes.starts_with(error.as_bytes()))
}

fn is_memcached(bytes: &[u8]) -> bool {
    bytes.starts_with(b"VERSION ")
        || bytes.starts_with(b"ERROR\r\n")
        || bytes.starts_with(b"CLIENT_ERROR ")
}

fn is_smtp(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    bytes.starts_with(b"220") && (contains(first, "smtp") || contains(first, "mail"))
}

/// Connection.Start on channel 0 (AMQP 0-9-1 section 1.4.2.1).
fn is_amqp_start(bytes: &[u8]) -> bool {
    bytes.starts_with(&[1, 0, 0]) && bytes.get(7..11) == Some(&[0, 10, 0, 10])
}

/// The first packet of protocol 10, or an error in its place.
fn is_mysql(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    let (Some(n), Some(sequence)) = (reader.u24_le(), reader.u8()) else { return false };
    let Some(first) = reader.u8() else { return false };
    sequence == 0
        && match first {
            10 => n >= 30 && reader.until_zero().is_some_and(|v| !v.is_empty() && v.is_ascii()),
            // ERR: a code, then words; servers refuse hosts this way.
            0xff => n as usize + 4 == bytes.len() && contains(bytes, "host"),
            _ => false,
        }
}

/// A reply in OP_MSG or OP_REPLY.
fn is_mongodb(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    let Some(n) = reader.u32_le() else { return false };
    let _ids = reader.take(8);
    (16..=48 << 20).contains(&n) && matches!(reader.u32_le(), Some(2013 | 1))
}

fn is_h2_settings(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    let (Some(n), Some(kind), Some(_), Some(stream)) =
        (reader.u24(), reader.u8(), reader.u8(), reader.u32())
    else {
        return false;
    };
    kind == 4 && stream == 0 && n % 6 == 0 && n <= 600
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_by_what_they_say() {
        let mysql =
            b"\x4a\0\0\0\x0a5.5.5-10.11.6-MariaDB\0rest of it that is long enough to be one";
        for (bytes, expected) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Some(Protocol::Http)),
            (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", Some(Protocol::Tls)),
            (b"SSH-2.0-OpenSSH_9.2p1\r\n", Some(Protocol::Ssh)),
            (b"\x15\x03\x01\0\x02\x02\x46", Some(Protocol::Tls)),
            (b"220 mail.example ESMTP Postfix\r\n", Some(Protocol::Smtp)),
            (b"220 (vsFTPd 3.0.3)\r\n", Some(Protocol::Ftp)),
            (b"220-Welcome\r\n220 x\r\n", Some(Protocol::Ftp)),
            (b"2201 x\r\n", None),
            (b"+PONG\r\n", Some(Protocol::Redis)),
            (b"-NOAUTH Authentication required.\r\n", Some(Protocol::Redis)),
            (b"-DENIED Redis is running in protected mode", Some(Protocol::Redis)),
            (b"+OK POP3 ready\r\n", Some(Protocol::Pop3)),
            (b"* OK IMAP4rev1\r\n", Some(Protocol::Imap)),
            (b"VERSION 1.6.18\r\n", Some(Protocol::Memcached)),
            (b"ERROR\r\n", Some(Protocol::Memcached)),
            (mysql, Some(Protocol::Mysql)),
            (b"\0\0\0\x04\0\0\0\0\0", Some(Protocol::H2c)),
            (b"\xff\xfd\x18", Some(Protocol::Telnet)),
            (b"imok", Some(Protocol::Zookeeper)),
            (b"AMQP\0\0\x09\x01", Some(Protocol::Amqp)),
            (b"\x01\0\0\0\0\0\x08\0\x0a\0\x0a\0\x09", Some(Protocol::Amqp)),
            (b"", None),
            (b"hello", None),
            (b"\x4a\0\0\0\x0a", None),
        ] {
            assert_eq!(recognise(bytes), expected, "{}", crate::finding::shown(bytes, 80));
        }
    }

    #[test]
    fn one_byte_means_something_only_after_its_question() {
        assert_eq!(recognise(b"N"), None);
        assert_eq!(recognise_answer(Protocol::Postgresql, b"N"), Some(Protocol::Postgresql));
        assert_eq!(recognise_answer(Protocol::Mqtt, b"\x20\x02\0\x05"), Some(Protocol::Mqtt));
        assert_eq!(recognise_answer(Protocol::Mqtt, b"N"), None);
    }

    #[test]
    fn questions_have_the_lengths_that_they_say() {
        assert_eq!(MONGO_HELLO.len(), 0x34);
        assert_eq!(MQTT_CONNECT.len(), 2 + usize::from(MQTT_CONNECT[1]));
        assert_eq!(SMB_NEGOTIATE.len(), 4 + usize::from(SMB_NEGOTIATE[3]));
    }
}
