//! What is sealed is opened by its recipients alone, and no bit of it may change.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::{Command, Stdio};

use super::stream::CHUNK_BYTES;
use super::*;

/// A pair and a file that the program `age` 1.1.1 made.
const THEIR_IDENTITY: &str =
    "AGE-SECRET-KEY-16GYGAAHTKGSXW035C2SJ4ZQ3GUN5CMRAJ36D5QR7LYHM4QWTKKCSHA7UXZ";
const THEIR_RECIPIENT: &str = "age17x8lpzjslrdseu7vvnzjefcpm6zl7lp8q93gyrq0x7af8p6kr94qvslfz5";
const THEIR_HEADER: &str = "age-encryption.org/v1\n\
    -> X25519 wuB+O9kacOSDNEQ6Ry9xmfXio8FS9142tQk1JhWm3Bw\n\
    ZrKNcC23ztzj5XnFUF76x+iOsZZPbwNHVX4cBIxYCJg\n\
    --- hA8VV5R/Z0QxchGutHdiXHsu5guTlF5EBWP4Rq+YnQg\n";
const THEIR_PAYLOAD: &str = "799a72c59c80a0480850472ef9ca152b2c4f4f3d4e9527daf1436563bc2251a5\
    0a1fb52bb0553c7a23bb9ca334bc8b";

fn theirs() -> Vec<u8> {
    [THEIR_HEADER.as_bytes(), &hex::decode(THEIR_PAYLOAD).unwrap()].concat()
}

fn identity() -> Vec<Identity> {
    Identity::parse_file(&format!("# created: then\n\n{THEIR_IDENTITY}\n")).unwrap()
}

fn sealed(recipients: &[Recipient], write: impl FnOnce(&mut AgeWriter)) -> Vec<u8> {
    let mut writer = AgeWriter::new(tempfile::tempfile().unwrap(), recipients).unwrap();
    write(&mut writer);
    let mut file = writer.finish().unwrap();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn opened(bytes: &[u8], identities: &[Identity]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read = AgeReader::new(bytes, identities).and_then(|mut it| it.read_to_end(&mut text));
    read.map(|_| text).map_err(|error| error.to_string())
}

#[test]
fn what_the_program_wrote_is_read() {
    let identities = identity();
    assert_eq!(identities[0].recipient().to_string(), THEIR_RECIPIENT);
    assert_eq!(identities[0].to_line().as_str(), THEIR_IDENTITY);
    assert_eq!(THEIR_RECIPIENT.parse::<Recipient>().unwrap(), identities[0].recipient());
    assert_eq!(opened(&theirs(), &identities).unwrap(), b"what age wrote\n");
    assert_eq!(opened(&theirs(), &[]).unwrap_err(), AgeError::Encrypted.to_string());
    let others = [Identity::generate().unwrap()];
    assert_eq!(opened(&theirs(), &others).unwrap_err(), AgeError::OtherRecipients.to_string());
}

#[test]
fn no_bit_may_change_and_nothing_may_be_cut_off_or_added() {
    let (good, identities) = (theirs(), identity());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(opened(&bad, &identities).is_err(), "bit {bit}");
    }
    for n in 0..good.len() {
        assert!(opened(&good[..n], &identities).is_err(), "{n} bytes");
    }
    assert!(opened(&[&good[..], b"x"].concat(), &identities).is_err());
}

#[test]
fn chunks_are_sealed_at_every_length() {
    let [mine, other] = [Identity::generate().unwrap(), Identity::generate().unwrap()];
    let recipients = [other.recipient(), mine.recipient()];
    let n = CHUNK_BYTES;
    for length in [0, 1, n - 1, n, n + 1, 2 * n, 2 * n + 1] {
        let text: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let bytes = sealed(&recipients, |writer| {
            text.chunks(1000).for_each(|part| writer.write_all(part).unwrap());
        });
        for one in [&mine, &other] {
            assert_eq!(opened(&bytes, std::slice::from_ref(one)).unwrap(), text, "{length}");
        }
        // Without its last chunk, and with chunks exchanged.
        if length > n {
            let cut = bytes.len() - (length % n + TAG_BYTES) * usize::from(length % n > 0);
            if length % n > 0 {
                assert!(opened(&bytes[..cut], std::slice::from_ref(&mine)).is_err());
            }
            let start = bytes.len() - length - TAG_BYTES * length.div_ceil(n);
            if length == 2 * n {
                let (first, second) = bytes[start..].split_at(n + TAG_BYTES);
                let swapped = [&bytes[..start], second, first].concat();
                assert!(opened(&swapped, std::slice::from_ref(&mine)).is_err());
            }
        }
    }
}

#[test]
fn a_place_is_filled_later_and_each_chunk_is_sealed_once() {
    let mine = Identity::generate().unwrap();
    let n = CHUNK_BYTES;
    // Places at the beginning, in the middle and at the end of a chunk; what follows them.
    for before in [0, 512, n - 512, n, 3 * n - 512] {
        for after in [0, 1, n - 512, n, 3 * n] {
            let bytes = sealed(&[mine.recipient()], |writer| {
                writer.write_all(&vec![b'a'; before]).unwrap();
                writer.hold(512).unwrap();
                writer.write_all(&vec![b'b'; after]).unwrap();
                assert!(writer.hold(512).is_err());
                writer.fill(&[b'h'; 512]).unwrap();
                assert!(writer.fill(&[b'h'; 512]).is_err());
            });
            let wanted = [vec![b'a'; before], vec![b'h'; 512], vec![b'b'; after]].concat();
            let found = opened(&bytes, std::slice::from_ref(&mine)).unwrap();
            assert!(found == wanted, "{before} {after}");
        }
    }
    let mut writer = AgeWriter::new(tempfile::tempfile().unwrap(), &[mine.recipient()]).unwrap();
    writer.write_all(&vec![0; n - 511]).unwrap();
    assert!(writer.hold(512).is_err(), "across chunks");
    // What is held is not on the disk, what is full is.
    let mut writer = AgeWriter::new(tempfile::tempfile().unwrap(), &[mine.recipient()]).unwrap();
    let before = writer.file().metadata().unwrap().len();
    writer.hold(512).unwrap();
    writer.write_all(&vec![0; n - 512]).unwrap();
    assert_eq!(writer.file().metadata().unwrap().len(), before);
    writer.write_all(&vec![0; n + 1]).unwrap();
    let sealed = (n + TAG_BYTES) as u64;
    assert_eq!(writer.file().metadata().unwrap().len(), before + 2 * sealed);
    assert!(writer.finish().is_err(), "a place is held");
}

#[test]
fn keys_that_are_none_are_told_apart() {
    let check = |text: &str| {
        let error = text.parse::<Recipient>().unwrap_err();
        assert!(matches!(error, AgeError::Recipient(_)) && error.hint().is_some(), "{text}");
    };
    let wrong = THEIR_RECIPIENT.replace("fz5", "fz6");
    for text in ["", "age1", "age1qqqq", &wrong, THEIR_IDENTITY, "ssh-ed25519 AAAA"] {
        check(text);
    }
    // Letters of both cases, and a point of low order.
    check(&THEIR_RECIPIENT.replace("lfz5", "LFZ5"));
    check(&bech32::encode(RECIPIENT_NAME, &[0; 32]));
    let mixed = THEIR_RECIPIENT.to_ascii_uppercase();
    assert_eq!(mixed.parse::<Recipient>().unwrap().to_string(), THEIR_RECIPIENT);
    let file = |text: &str| Identity::parse_file(text).map(|all| all.len());
    assert_eq!(file("# nothing\n"), Err(AgeError::NoIdentity));
    assert_eq!(file(&format!("{THEIR_IDENTITY}\nx\n")), Err(AgeError::Identity(2)));
    let line = format!("{THEIR_IDENTITY}\n");
    assert_eq!(file(&line.repeat(IDENTITIES_MAX)), Ok(IDENTITIES_MAX));
    let error = file(&line.repeat(IDENTITIES_MAX + 1));
    assert_eq!(error, Err(AgeError::TooMany(IDENTITIES_MAX, "identities")));
    let many = vec![THEIR_RECIPIENT.parse().unwrap(); RECIPIENTS_MAX + 1];
    assert!(AgeWriter::new(tempfile::tempfile().unwrap(), &many).is_err());
    let file = sealed(&many[1..], |writer| writer.write_all(b"x").unwrap());
    assert_eq!(opened(&file, &identity()).unwrap(), b"x");
}

#[test]
fn other_kinds_of_recipients_are_passed_over_and_hostile_headers_are_errors() {
    let (good, identities) = (theirs(), identity());
    let after = |extra: &str| {
        let (first, rest) = THEIR_HEADER.split_at(MAGIC.len());
        let payload = &good[THEIR_HEADER.len()..];
        opened(
            &[first.as_bytes(), extra.as_bytes(), rest.as_bytes(), payload].concat(),
            &identities,
        )
    };
    // The code covers them, so that they cannot be put in; they are read all the same.
    let code = AgeError::Header("its code is another").to_string();
    assert_eq!(after("-> scrypt AAAA 18\nAAAA\n").unwrap_err(), code);
    assert_eq!(after(&format!("-> x-grease a\n{}\n\n", "A".repeat(64))).unwrap_err(), code);
    assert!(after("-> X25519\nAAAA\n").unwrap_err().contains("no share"));
    assert!(after("-> X25519 AAAA\nAAAA\n").unwrap_err().contains("another length"));
    let zero = "A".repeat(43);
    assert!(after(&format!("-> X25519 {zero}\n{zero}\n")).unwrap_err().contains("low order"));
    assert!(after(&"-> a\n\n".repeat(1025)).unwrap_err().contains("more than 1024"));
    assert!(after(&format!("-> a\n{}\n", "A".repeat(65))).unwrap_err().contains("too long"));
    assert!(after(&"x".repeat(1 << 20)).unwrap_err().contains("cut or too long"));
    assert!(after("-> \u{e9}\n\n").unwrap_err().contains("do not belong"));
    assert!(after("-> a\n*\n").unwrap_err().contains("base64"));
}

/// Runs `age` with `input`; nothing where it is not installed.
fn age(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let child =
        Command::new("age").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    Some(output.stdout)
}

#[test]
fn the_program_reads_what_is_written_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    let mine = Identity::generate().unwrap();
    std::fs::write(&path, mine.to_line().as_bytes()).unwrap();
    let text: Vec<u8> = (0..3 * CHUNK_BYTES + 77).map(|i| (i % 253) as u8).collect();
    let bytes = sealed(&[identity()[0].recipient(), mine.recipient()], |writer| {
        writer.write_all(&text).unwrap();
    });
    let Some(read) = age(&["--decrypt", "--identity", path.to_str().unwrap()], &bytes) else {
        eprintln!("skipped: the program `age` is not installed");
        return;
    };
    assert!(read == text);
    let written = age(&["--recipient", &mine.recipient().to_string()], &text).unwrap();
    assert!(opened(&written, &[mine]).unwrap() == text);
}
