//! Signed notes (C2SP signed-note) and cosignatures (C2SP tlog-cosignature).
//!
//! A note is text, an empty line, and lines `— NAME BASE64`. A signature whose key is not known
//! says nothing; one whose key is known and which is false makes the note false.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::key::{KeyKind, SigningKey, VerifierKey, is_name};

/// Largest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// Most signatures of a note.
pub const SIGNATURES_MAX: usize = 100;

/// A text that is no note, or a note that is not signed by whom it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The note is too large.
    #[error("the note has more than {NOTE_BYTES_MAX} bytes")]
    TooLarge,
    /// The form is not that of a note.
    #[error("this is no signed note: {0}")]
    Malformed(&'static str),
    /// A known key's signature is false.
    #[error("the signature by `{0}` is false")]
    BadSignature(String),
    /// No known key signed.
    #[error("`{0}` did not sign this")]
    Unsigned(String),
}

impl palisade_base::Explain for NoteError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unsigned(_) => {
                Some("check that the verifier key is that of this log, name included".into())
            }
            _ => None,
        }
    }
}

/// One signature of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The first four bytes of the key's hash.
    pub hint: u32,
    /// The signature; a cosignature begins with eight bytes of time.
    pub signature: Vec<u8>,
}

impl NoteSignature {
    /// Reads `— NAME BASE64`, without an end of line.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let rest = line
            .strip_prefix("\u{2014} ")
            .ok_or(NoteError::Malformed("a signature line does not begin with a dash"))?;
        let (name, value) = rest
            .split_once(' ')
            .ok_or(NoteError::Malformed("a signature line has no signature"))?;
        if !is_name(name) {
            return Err(NoteError::Malformed("a signature line has no name"));
        }
        let bytes = BASE64_STANDARD
            .decode(value)
            .map_err(|_| NoteError::Malformed("a signature is not base64"))?;
        let (hint, signature) = bytes
            .split_first_chunk::<4>()
            .filter(|(_, rest)| !rest.is_empty())
            .ok_or(NoteError::Malformed("a signature is shorter than five bytes"))?;
        Ok(Self {
            name: name.to_string(),
            hint: u32::from_be_bytes(*hint),
            signature: signature.to_vec(),
        })
    }

    /// The line, with its end.
    pub fn to_line(&self) -> String {
        let bytes = [&self.hint.to_be_bytes()[..], &self.signature].concat();
        format!("\u{2014} {} {}\n", self.name, BASE64_STANDARD.encode(bytes))
    }

    /// The time of a cosignature, in seconds since the Unix epoch.
    fn time(&self) -> Option<u64> {
        self.signature.first_chunk::<8>().map(|time| u64::from_be_bytes(*time))
    }

    fn is_by(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.hint == key.hint()
    }

    /// Checks the signature over `text`. The answer is the time of a cosignature, 0 for others.
    fn verify(&self, text: &str, key: &VerifierKey) -> Option<u64> {
        match key.kind() {
            KeyKind::Cosignature => {
                let time = self.time()?;
                let message = cosigned(text, time);
                key.verify(message.as_bytes(), self.signature.get(8..)?).then_some(time)
            }
            KeyKind::Ed25519 | KeyKind::EcdsaP256 => {
                key.verify(text.as_bytes(), &self.signature).then_some(0)
            }
        }
    }
}

/// What a witness signs: the text with a time.
fn cosigned(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// A text and its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// An unsigned note of `text`, which must end in an end of line.
    pub fn new(text: String) -> Result<Self, NoteError> {
        check_text(&text)?;
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a note; checks its form, no signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        let at = whole.rfind("\n\n").ok_or(NoteError::Malformed("no empty line"))?;
        let (text, block) = (&whole[..=at], &whole[at + 2..]);
        check_text(text)?;
        let lines = block
            .strip_suffix('\n')
            .ok_or(NoteError::Malformed("the last line is not ended, or nobody signed"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err(NoteError::Malformed("more than 100 signatures"));
            }
            signatures.push(NoteSignature::parse(line)?);
        }
        Ok(Self { text: text.to_string(), signatures })
    }

    /// The text, with its last end of line.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, known or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds the signature by `key`: for a log's key `time` is not used, for a witness's it is
    /// the time in seconds since the Unix epoch.
    pub fn sign(&mut self, key: &SigningKey, time: u64) {
        let signature = match key.public().kind() {
            KeyKind::Cosignature => {
                let signature = key.sign(cosigned(&self.text, time).as_bytes());
                [&time.to_be_bytes()[..], &signature].concat()
            }
            KeyKind::Ed25519 | KeyKind::EcdsaP256 => key.sign(self.text.as_bytes()).to_vec(),
        };
        let public = key.public();
        self.add(NoteSignature { name: public.name().to_string(), hint: public.hint(), signature });
    }

    /// Adds a signature that was made elsewhere, in the place of one by the same key.
    pub fn add(&mut self, signature: NoteSignature) {
        self.signatures
            .retain(|other| (&other.name, other.hint) != (&signature.name, signature.hint));
        self.signatures.push(signature);
    }

    /// Checks that `key` signed. The answer is the latest time of its cosignatures, 0 for a
    /// log's signature.
    pub fn verify(&self, key: &VerifierKey) -> Result<u64, NoteError> {
        let mut latest = None;
        for signature in self.signatures.iter().filter(|signature| signature.is_by(key)) {
            let time = signature
                .verify(&self.text, key)
                .ok_or_else(|| NoteError::BadSignature(key.name().to_string()))?;
            latest = latest.max(Some(time));
        }
        latest.ok_or_else(|| NoteError::Unsigned(key.name().to_string()))
    }

    /// The note as bytes.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n", self.text);
        for signature in &self.signatures {
            let _ = out.write_str(&signature.to_line());
        }
        out
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') || text == "\n" {
        return Err(NoteError::Malformed("the text is empty or its last line is not ended"));
    }
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("the text has a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str, kind: KeyKind) -> SigningKey {
        SigningKey::from_seed(name, &[7; 32], kind).unwrap()
    }

    #[test]
    fn the_note_of_the_specification_verifies() {
        // C2SP signed-note, "Example".
        let key = VerifierKey::parse(
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        )
        .unwrap();
        let note = Note::parse(
            "If you think cryptography is the answer to your problem,\n\
             then you don't know what your problem is.\n\n\
             \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(note.verify(&key), Ok(0));
    }

    #[test]
    fn signatures_hold_for_their_key_text_and_time() {
        let (log, witness) =
            (key("log.example", KeyKind::Ed25519), key("witness.example", KeyKind::Cosignature));
        let mut note = Note::new("log.example\n3\nroot\n".into()).unwrap();
        note.sign(&log, 0);
        note.sign(&witness, 1_700_000_000);
        note.sign(&witness, 1_800_000_000);
        assert_eq!(note.signatures().len(), 2);
        let read = Note::parse(note.to_text().as_bytes()).unwrap();
        assert_eq!(read, note);
        assert_eq!(read.verify(log.public()), Ok(0));
        assert_eq!(read.verify(witness.public()), Ok(1_800_000_000));
        let other = key("other.example", KeyKind::Ed25519);
        assert_eq!(read.verify(other.public()), Err(NoteError::Unsigned("other.example".into())));

        let changed = note.to_text().replacen('3', "4", 1);
        let changed = Note::parse(changed.as_bytes()).unwrap();
        for signer in [&log, &witness] {
            let name = signer.public().name().to_string();
            assert_eq!(changed.verify(signer.public()), Err(NoteError::BadSignature(name)));
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let signature = "\u{2014} a AAAAAAA=\n";
        assert!(Note::parse(format!("text\n\n{signature}").as_bytes()).is_ok());
        let cases = [
            String::new(),
            "text\n".to_string(),
            "text\n\n".to_string(),
            format!("text\n{signature}"),
            format!("\n\n{signature}"),
            format!("te\u{1}xt\n\n{signature}"),
            format!("text\r\n\r\n{signature}"),
            format!("text\n\n{}", signature.trim_end()),
            format!("text\n\n{signature}\n"),
            "text\n\n\u{2014} a AAAAAA==\n".to_string(),
            "text\n\n\u{2014}  AAAAAAA=\n".to_string(),
            "text\n\n\u{2014} a+b AAAAAAA=\n".to_string(),
            "text\n\n- a AAAAAAA=\n".to_string(),
            format!("text\n\n{}", signature.repeat(SIGNATURES_MAX + 1)),
        ];
        for case in cases {
            assert!(Note::parse(case.as_bytes()).is_err(), "{case:?}");
        }
        let large = format!("{}\n\n{signature}", "a".repeat(NOTE_BYTES_MAX));
        assert_eq!(Note::parse(large.as_bytes()), Err(NoteError::TooLarge));
        assert!(Note::parse(b"\xff\n\n").is_err());
    }

    proptest! {
        #[test]
        fn reading_is_total_and_writing_gives_back_what_was_read(text in "[a\\PC\n\u{2014} +=A]{0,80}") {
            if let Ok(note) = Note::parse(text.as_bytes()) {
                prop_assert_eq!(Note::parse(note.to_text().as_bytes()), Ok(note));
            }
        }
    }
}
