//! Signed notes, checkpoints, coordinates of tiles and entry bundles of a log: what is read is
//! written as it was, and nothing is verified that the key did not sign.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use palisade_tlog::tile::TileCoordinate;
use palisade_tlog::{Checkpoint, KeyKind, Note, SigningKey, VerifierKey};

fuzz_target!(|data: &[u8]| {
    static KEY: OnceLock<VerifierKey> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let key = SigningKey::from_seed("log.example", &[7; 32], KeyKind::Ed25519);
        key.expect("a key from a seed").public().clone()
    });
    assert!(Checkpoint::open(data, key).is_err());
    if let Ok(note) = Note::parse(data) {
        assert_eq!(
            Note::parse(note.to_text().as_bytes()).ok().map(|it| it.to_text()),
            Some(note.to_text())
        );
        if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
            let again = Checkpoint::parse(&checkpoint.to_string());
            assert!(again.is_ok_and(|again| again == checkpoint));
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = VerifierKey::parse(text);
        if let Some(tile) = TileCoordinate::parse(text) {
            assert_eq!(tile.path(), text);
            let _ = tile.hashes(data);
            let _ = tile.entries(data);
        }
    }
    let _ = palisade_tlog::LogEntry::parse_all(data);
});
