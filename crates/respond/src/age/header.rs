//! The header: the file key for each recipient, and a code over all of it.

use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use curve25519_dalek::MontgomeryPoint;
use ring::hmac;
use zeroize::Zeroizing;

use super::{
    AgeError, FILE_KEY_BYTES, Identity, MAGIC, RECIPIENTS_MAX, Recipient, TAG_BYTES, WRAP_LABEL,
    agree, cipher, derive, open, random, seal,
};

/// A header beyond this is refused.
const HEADER_BYTES_MAX: u64 = 256 << 10;
/// Recipients of all kinds beyond this are refused.
const STANZAS_MAX: usize = 1024;
const COLUMNS: usize = 64;
const KIND: &str = "X25519";

pub(super) type FileKey = Zeroizing<[u8; FILE_KEY_BYTES]>;

/// The key that the header's code is made with.
fn code_key(file_key: &FileKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, derive(file_key.as_slice(), b"", b"header").as_slice())
}

/// The key under which a recipient's copy of the file key is sealed.
fn wrap_key(shared: &[u8; 32], share: &[u8; 32], recipient: &Recipient) -> Zeroizing<[u8; 32]> {
    derive(shared, &[&share[..], &recipient.0].concat(), WRAP_LABEL)
}

/// A header that gives `file_key` to each of `recipients`.
pub(super) fn encode(file_key: &FileKey, recipients: &[Recipient]) -> Result<Vec<u8>, AgeError> {
    if recipients.len() > RECIPIENTS_MAX {
        return Err(AgeError::TooMany(RECIPIENTS_MAX, "recipients"));
    }
    let mut out = MAGIC.to_vec();
    for recipient in recipients {
        let secret = Zeroizing::new(random::<32>()?);
        let share = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        let shared = agree(&recipient.0, &secret)
            .ok_or_else(|| AgeError::Recipient(recipient.to_string()))?;
        let mut body = file_key.to_vec();
        seal(&cipher(&wrap_key(&shared, &share, recipient))?, [0; 12], &mut body)?;
        let (share, body) = (STANDARD_NO_PAD.encode(share), STANDARD_NO_PAD.encode(body));
        out.extend(format!("-> {KIND} {share}\n{body}\n").into_bytes());
    }
    out.extend(b"---");
    let code = hmac::sign(&code_key(file_key), &out);
    out.extend(format!(" {}\n", STANDARD_NO_PAD.encode(code)).into_bytes());
    Ok(out)
}

/// Reads a header and gives the file key, if one of `identities` has it.
pub(super) fn decode(reader: &mut impl BufRead, identities: &[Identity]) -> io::Result<FileKey> {
    let mut lines = Lines { reader, n_left: HEADER_BYTES_MAX, all: Vec::new() };
    if lines.next()?.as_bytes() != MAGIC.strip_suffix(b"\n").unwrap_or_default() {
        return Err(AgeError::Header("it is no header of version 1").into());
    }
    let mut found = None;
    let mut line = lines.next()?;
    for n in 0.. {
        let Some(arguments) = line.strip_prefix("-> ") else { break };
        if n == STANZAS_MAX {
            return Err(AgeError::TooMany(STANZAS_MAX, "recipients").into());
        }
        let body = lines.body()?;
        if found.is_none() {
            found = unwrap(arguments, &body, identities)?;
        }
        line = lines.next()?;
    }
    let code = line.strip_prefix("--- ").ok_or(AgeError::Header("a line makes no sense"))?;
    let code = base64(code)?;
    let file_key = found.ok_or(match identities {
        [] => AgeError::Encrypted,
        _ => AgeError::OtherRecipients,
    })?;
    let n = lines.all.len() - line.len() - 1 + b"---".len();
    let signed = lines.all.get(..n).unwrap_or_default();
    hmac::verify(&code_key(&file_key), signed, &code)
        .map_err(|_| AgeError::Header("its code is another"))?;
    Ok(file_key)
}

/// The file key, if the stanza is for one of `identities`.
fn unwrap(
    arguments: &str,
    body: &[u8],
    identities: &[Identity],
) -> Result<Option<FileKey>, AgeError> {
    let Some(share) = arguments.strip_prefix(KIND) else { return Ok(None) };
    let share = match share.strip_prefix(' ') {
        Some(share) => base64(share)?,
        // Another kind, whose name begins so.
        None if !share.is_empty() => return Ok(None),
        None => return Err(AgeError::Header("a recipient has no share")),
    };
    let share: [u8; 32] =
        share.try_into().map_err(|_| AgeError::Header("a share has another length"))?;
    if body.len() != FILE_KEY_BYTES + TAG_BYTES {
        return Err(AgeError::Header("a file key has another length"));
    }
    for identity in identities {
        let shared =
            agree(&share, &identity.0).ok_or(AgeError::Header("a share is of low order"))?;
        let key = cipher(&wrap_key(&shared, &share, &identity.recipient()))?;
        let mut text = body.to_vec();
        if open(&key, [0; 12], &mut text).is_some() {
            let text = Zeroizing::new(text);
            let mut file_key = Zeroizing::new([0; FILE_KEY_BYTES]);
            file_key.copy_from_slice(text.get(..FILE_KEY_BYTES).unwrap_or(&[0; FILE_KEY_BYTES]));
            return Ok(Some(file_key));
        }
    }
    Ok(None)
}

/// Base64 in the one form that the format allows.
fn base64(text: &str) -> Result<Vec<u8>, AgeError> {
    STANDARD_NO_PAD.decode(text).map_err(|_| AgeError::Header("it has wrong base64"))
}

struct Lines<'a, R> {
    reader: &'a mut R,
    n_left: u64,
    all: Vec<u8>,
}

impl<R: BufRead> Lines<'_, R> {
    /// The next line, without its end.
    fn next(&mut self) -> io::Result<String> {
        let from = self.all.len();
        let n = self.reader.by_ref().take(self.n_left).read_until(b'\n', &mut self.all)?;
        self.n_left -= n as u64;
        let line = self.all.get(from..).and_then(|line| line.strip_suffix(b"\n"));
        let line = line.ok_or(AgeError::Header("it is cut or too long"))?;
        let is_plain = line.iter().all(|byte| (0x20..0x7f).contains(byte));
        let text = is_plain.then(|| String::from_utf8_lossy(line).into_owned());
        Ok(text.ok_or(AgeError::Header("it has bytes that do not belong there"))?)
    }

    /// The body of a stanza: lines of 64 characters, and a shorter one.
    fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut text = String::new();
        loop {
            let line = self.next()?;
            text.push_str(&line);
            match line.len() {
                COLUMNS => {}
                0..COLUMNS => return Ok(base64(&text)?),
                _ => return Err(AgeError::Header("a line is too long").into()),
            }
        }
    }
}
