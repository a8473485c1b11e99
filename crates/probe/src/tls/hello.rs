//! ClientHellos by hand, and what a server answers in the clear.
//!
//! A library refuses to ask for what nobody should use; here it is asked for. Nothing is ever
//! computed with the answer: a server that agrees has said what is to be known (RFC 5246
//! section 7.4, RFC 8446 section 4.1).

use crate::bytes::Reader;

/// Messages and certificates of one answer that are looked at.
const MESSAGES_MAX: usize = 64;
/// Certificates of one chain that are looked at.
pub const CERTIFICATES_MAX: usize = 16;
/// Bytes of an answer's handshake messages.
const HANDSHAKE_BYTES_MAX: usize = 256 * 1024;

/// A version of TLS as it is written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    /// SSL 3.0.
    pub const SSL3: Self = Self(0x0300);
    /// TLS 1.0.
    pub const TLS10: Self = Self(0x0301);
    /// TLS 1.1.
    pub const TLS11: Self = Self(0x0302);
    /// TLS 1.2.
    pub const TLS12: Self = Self(0x0303);
    /// TLS 1.3.
    pub const TLS13: Self = Self(0x0304);
    /// All of them, the oldest first.
    pub const ALL: [Self; 5] = [Self::SSL3, Self::TLS10, Self::TLS11, Self::TLS12, Self::TLS13];

    /// How people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SSL3 => "SSL 3.0",
            Self::TLS10 => "TLS 1.0",
            Self::TLS11 => "TLS 1.1",
            Self::TLS12 => "TLS 1.2",
            Self::TLS13 => "TLS 1.3",
            _ => "TLS of no known version",
        }
    }
}

/// Suites of TLS 1.3.
const SUITES_13: &[u16] = &[0x1301, 0x1302, 0x1303];
/// What servers of any age agree to: ECDHE, DHE and RSA with AES, ChaCha20 and 3DES, RC4 last.
pub const SUITES: &[u16] = &[
    0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc023, 0xc027, 0xc009, 0xc013, 0xc00a, 0xc014,
    0x009e, 0x009f, 0xccaa, 0x0067, 0x006b, 0x0033, 0x0039, 0x0032, 0x0038, 0x009c, 0x009d, 0x003c,
    0x003d, 0x002f, 0x0035, 0x0041, 0x0084, 0xc012, 0xc008, 0x0016, 0x000a, 0x0005, 0x0004,
];
/// RSA key exchange without forward secrecy.
pub const STATIC_RSA: &[u16] =
    &[0x009c, 0x009d, 0x003c, 0x003d, 0x002f, 0x0035, 0x0041, 0x0084, 0x000a, 0x0005, 0x0004];
/// No encryption.
pub const NULL: &[u16] =
    &[0x0001, 0x0002, 0x003b, 0x002c, 0x002d, 0x002e, 0xc006, 0xc010, 0xc001, 0xc00b];
/// No certificate.
pub const ANONYMOUS: &[u16] = &[
    0x0034, 0x003a, 0x006c, 0x006d, 0x00a6, 0x00a7, 0x0018, 0x001b, 0xc018, 0xc019, 0xc017, 0xc016,
];
/// Keys of 40 and 56 bits.
pub const EXPORT: &[u16] =
    &[0x0003, 0x0006, 0x0008, 0x0014, 0x0011, 0x000b, 0x000e, 0x0062, 0x0064];
/// RC4.
pub const RC4: &[u16] = &[0x0005, 0x0004, 0xc011, 0xc007, 0x008a, 0xc033];
/// DES and 3DES.
pub const DES: &[u16] = &[0x000a, 0x0016, 0x0013, 0xc012, 0xc008, 0x0009, 0x0015, 0x0012];

/// The name of a suite in the lists above, where it matters which one it was.
pub fn suite_name(suite: u16) -> String {
    let name = match suite {
        0x0001 => "TLS_RSA_WITH_NULL_MD5",
        0x0002 => "TLS_RSA_WITH_NULL_SHA",
        0x003b => "TLS_RSA_WITH_NULL_SHA256",
        0xc006 => "TLS_ECDHE_ECDSA_WITH_NULL_SHA",
        0xc010 => "TLS_ECDHE_RSA_WITH_NULL_SHA",
        0x0034 => "TLS_DH_anon_WITH_AES_128_CBC_SHA",
        0x003a => "TLS_DH_anon_WITH_AES_256_CBC_SHA",
        0x00a6 => "TLS_DH_anon_WITH_AES_128_GCM_SHA256",
        0x00a7 => "TLS_DH_anon_WITH_AES_256_GCM_SHA384",
        0xc018 => "TLS_ECDH_anon_WITH_AES_128_CBC_SHA",
        0xc019 => "TLS_ECDH_anon_WITH_AES_256_CBC_SHA",
        0x0003 => "TLS_RSA_EXPORT_WITH_RC4_40_MD5",
        0x0008 => "TLS_RSA_EXPORT_WITH_DES40_CBC_SHA",
        0x0004 => "TLS_RSA_WITH_RC4_128_MD5",
        0x0005 => "TLS_RSA_WITH_RC4_128_SHA",
        0xc007 => "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
        0xc011 => "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
        0x0009 => "TLS_RSA_WITH_DES_CBC_SHA",
        0x000a => "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        0x0016 => "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA",
        0xc008 => "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
        0xc012 => "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        0x002f => "TLS_RSA_WITH_AES_128_CBC_SHA",
        0x0035 => "TLS_RSA_WITH_AES_256_CBC_SHA",
        0x003c => "TLS_RSA_WITH_AES_128_CBC_SHA256",
        0x003d => "TLS_RSA_WITH_AES_256_CBC_SHA256",
        0x009c => "TLS_RSA_WITH_AES_128_GCM_SHA256",
        0x009d => "TLS_RSA_WITH_AES_256_GCM_SHA384",
        _ => return format!("suite 0x{suite:04x}"),
    };
    name.to_string()
}

/// A ClientHello in one record, which offers `version` and no later one.
pub fn client_hello(version: Version, suites: &[u16], compression: bool) -> Vec<u8> {
    let is_13 = version == Version::TLS13;
    let legacy = if is_13 { Version::TLS12 } else { version };
    let mut body = legacy.0.to_be_bytes().to_vec();
    // What is random elsewhere is not here: the same question gets the same answer.
    body.extend_from_slice(b"palisade-probe: no random at all");
    body.push(0);
    let suites: Vec<u8> = if is_13 { SUITES_13 } else { suites }
        .iter()
        // TLS_EMPTY_RENEGOTIATION_INFO_SCSV, which some servers insist on (RFC 5746).
        .chain(&[0x00ff])
        .flat_map(|suite| suite.to_be_bytes())
        .collect();
    push16(&mut body, &suites);
    body.extend_from_slice(if compression { &[2, 1, 0] } else { &[1, 0] });
    // SSL 3.0 has no extensions.
    if version > Version::SSL3 {
        let mut extensions = Vec::new();
        extension(&mut extensions, 10, &list16(&[0x001d, 0x0017, 0x0018, 0x0019]));
        extension(&mut extensions, 11, &[1, 0]);
        if version >= Version::TLS12 {
            let schemes = [
                0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0807,
                0x0203, 0x0201,
            ];
            extension(&mut extensions, 13, &list16(&schemes));
        }
        if is_13 {
            extension(&mut extensions, 43, &[2, 3, 4]);
            // The base point as our public key: a valid one whose private key is 1.
            let mut share = vec![0, 36, 0, 0x1d, 0, 32, 9];
            share.resize(38, 0);
            extension(&mut extensions, 51, &share);
        }
        push16(&mut body, &extensions);
    }
    let mut message = vec![1];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes()[1..]);
    message.extend_from_slice(&body);
    let record_version = version.min(Version::TLS10).0.to_be_bytes();
    let mut record = vec![22, record_version[0], record_version[1]];
    push16(&mut record, &message);
    record
}

fn push16(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn list16(values: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
    let mut out = Vec::new();
    push16(&mut out, &bytes);
    out
}

fn extension(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    push16(out, body);
}

/// What a server agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello {
    /// The version, of the extension where there is one.
    pub version: Version,
    /// The suite.
    pub suite: u16,
    /// Whether it compresses.
    pub compresses: bool,
    /// Its certificates, its own first; none in TLS 1.3, where they are encrypted.
    pub certificates: Vec<Vec<u8>>,
}

/// What came after a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It agreed.
    Hello(ServerHello),
    /// It refused with this alert (RFC 8446 section 6).
    Alert(u8),
    /// Nothing that is TLS.
    Other,
}

/// Whether an answer holds all that is looked at: an alert, the end of the server's messages,
/// or the beginning of encryption.
pub fn is_whole(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    while let (Some(kind), Some(_)) = (reader.u8(), reader.u16()) {
        if reader.block16().is_none() {
            return false;
        }
        if matches!(kind, 20 | 21 | 23) {
            return true;
        }
    }
    messages(bytes).is_some_and(|messages| messages.iter().any(|(kind, _)| *kind == 14))
}

/// The handshake messages of the records that are whole.
fn messages(bytes: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut reader = Reader(bytes);
    let mut handshake = Vec::new();
    while let (Some(kind), Some(_)) = (reader.u8(), reader.u16()) {
        let Some(body) = reader.block16() else { break };
        if kind != 22 || handshake.len() + body.len() > HANDSHAKE_BYTES_MAX {
            break;
        }
        handshake.extend_from_slice(body);
    }
    let mut reader = Reader(&handshake);
    let mut found = Vec::new();
    while let Some(kind) = reader.u8() {
        let Some(body) = reader.block24() else { break };
        found.push((kind, body.to_vec()));
        if found.len() >= MESSAGES_MAX {
            break;
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Reads a server's answer.
pub fn parse(bytes: &[u8]) -> Reply {
    let mut reader = Reader(bytes);
    if let (Some(21), Some(_), Some(body)) = (reader.u8(), reader.u16(), reader.block16()) {
        return body.get(1).map_or(Reply::Other, |alert| Reply::Alert(*alert));
    }
    let Some(messages) = messages(bytes) else { return Reply::Other };
    let Some(mut hello) =
        messages.first().filter(|(kind, _)| *kind == 2).and_then(|(_, b)| server_hello(b))
    else {
        return Reply::Other;
    };
    if let Some((_, body)) = messages.iter().find(|(kind, _)| *kind == 11)
        && let Some(list) = Reader(body).block24()
    {
        let mut list = Reader(list);
        while let Some(certificate) = list.block24() {
            if hello.certificates.len() >= CERTIFICATES_MAX {
                break;
            }
            hello.certificates.push(certificate.to_vec());
        }
    }
    Reply::Hello(hello)
}

fn server_hello(body: &[u8]) -> Option<ServerHello> {
    let mut reader = Reader(body);
    let mut version = Version(reader.u16()?);
    reader.take(32)?;
    reader.block8()?;
    let suite = reader.u16()?;
    let compresses = reader.u8()? != 0;
    if let Some(extensions) = reader.block16() {
        let mut extensions = Reader(extensions);
        while let (Some(kind), Some(value)) = (extensions.u16(), extensions.block16()) {
            if kind == 43 {
                version = Version(Reader(value).u16()?);
            }
        }
    }
    Some(ServerHello { version, suite, compresses, certificates: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_what_the_specification_says() {
        let hello = client_hello(Version::TLS10, &[0x002f], false);
        assert_eq!(&hello[..3], [22, 3, 1]);
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])) + 5, hello.len());
        assert_eq!(hello[5], 1);
        assert_eq!(&hello[9..11], [3, 1], "the version that is offered");
        assert_eq!(&hello[44..50], [0, 4, 0, 0x2f, 0, 0xff], "its suites");
        let ssl = client_hello(Version::SSL3, &[0x0005], true);
        assert_eq!(&ssl[1..3], [3, 0]);
        assert_eq!(&ssl[ssl.len() - 3..], [2, 1, 0], "nothing after the compressions");
        assert_eq!(&client_hello(Version::TLS13, &[], false)[9..11], [3, 3]);
    }

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 3, 3];
        push16(&mut out, body);
        out
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn answers_are_read_across_records() {
        let mut hello = vec![3, 1];
        hello.extend_from_slice(&[7; 32]);
        hello.extend_from_slice(&[0, 0, 0x2f, 1]);
        let certificate = message(11, &[0, 0, 6, 0, 0, 3, 1, 2, 3]);
        let all = [message(2, &hello), certificate, message(14, &[])].concat();
        let (one, two) = all.split_at(20);
        let bytes = [record(22, one), record(22, two)].concat();
        assert!(is_whole(&bytes) && !is_whole(&bytes[..bytes.len() - 1]));
        let Reply::Hello(hello) = parse(&bytes) else { panic!() };
        assert_eq!((hello.version, hello.suite, hello.compresses), (Version::TLS10, 0x2f, true));
        assert_eq!(hello.certificates, [vec![1, 2, 3]]);
        assert_eq!(parse(&record(21, &[2, 70])), Reply::Alert(70));
        assert!(is_whole(&record(21, &[2, 70])));
        for bytes in [&b""[..], b"HTTP/1.1 400", &record(22, &[]), &record(22, &[2, 0, 0, 1, 3])] {
            assert_eq!(parse(bytes), Reply::Other);
        }
        let mut shorter = bytes.clone();
        while shorter.pop().is_some() {
            let _total = (parse(&shorter), is_whole(&shorter));
        }
    }
}
