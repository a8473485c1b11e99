//! `palisade log`: a server that is talked to over its socket, and killed in its work.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::EncodePublicKey as _;
use palisade_tlog::tile::TileSource as _;
use palisade_tlog::{Checkpoint, Folder, Hash, LogEntry, Note, TileCoordinate, VerifierKey};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{DEADLINE, Running, palisade, run, wait_for};

const ORIGIN: &str = "log.example/test";

/// A running log.
struct Served {
    program: Running,
    /// `127.0.0.1:PORT`.
    address: String,
}

impl Served {
    fn start(folder: &Path) -> Self {
        Self::start_as(folder, &["serve", "--data", "kept", "--key", "log.key", "--origin", ORIGIN])
    }

    fn start_as(folder: &Path, args: &[&str]) -> Self {
        let ready = folder.join("ready");
        let _ = std::fs::remove_file(&ready);
        let mut command = palisade(folder);
        command.arg("log").args(args);
        command.args(["--listen", "127.0.0.1:0", "--rate", "0", "--ready-file", "ready"]);
        let mut program = Running::start(command, b"");
        let url = wait_for("ready file", DEADLINE, || {
            assert!(!program.has_ended(), "{}", program.stderr());
            std::fs::read_to_string(&ready).ok()
        });
        assert_eq!(program.stdout(), url);
        let address = url.trim().strip_prefix("http://").unwrap().to_string();
        Self { program, address }
    }

    /// Sends `request` as it stands; gives the status and the body. `None` when the server
    /// went away before it had answered.
    fn raw(&self, request: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // A server that refuses early need not read all of it.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
        let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
        Some((status, answer.split_off(end + 4)))
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let head = format!("GET {path} HTTP/1.1\r\nhost: log\r\nconnection: close\r\n\r\n");
        self.raw(head.as_bytes()).unwrap()
    }

    fn post(&self, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let head = format!(
            "POST /api/v2/log/entries HTTP/1.1\r\nhost: log\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat())
    }

    fn submit(&self, artifact: &str) -> (LogEntry, Vec<u8>) {
        let (status, body) = self.post(submission(artifact).to_string().as_bytes()).unwrap();
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        (LogEntry::parse_all(&body).unwrap().remove(0), body)
    }

    fn stop(self) {
        self.program.signal(Signal::TERM);
        let ended = self.program.wait(DEADLINE).expect(0);
        assert_eq!(ended.stderr, "");
    }
}

/// A folder with the key of a log, and its verifier key.
fn prepared() -> (tempfile::TempDir, VerifierKey) {
    let folder = tempfile::tempdir().unwrap();
    let made =
        run(folder.path(), &["log", "key", "--origin", ORIGIN, "--output", "log.key"]).expect(0);
    std::fs::write(folder.path().join("log.vkey"), &made.stdout).unwrap();
    (folder, VerifierKey::parse(made.stdout.trim()).unwrap())
}

/// A signed hashedrekord of `artifact`, as a client of Rekor v2 submits it.
fn submission(artifact: &str) -> Value {
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let digest = Sha256::digest(artifact.as_bytes());
    let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
    let spki = key.verifying_key().to_public_key_der().unwrap();
    json!({"hashedRekordRequestV002": {
        "digest": BASE64_STANDARD.encode(digest),
        "signature": {
            "content": BASE64_STANDARD.encode(signature.to_der()),
            "verifier": {
                "publicKey": {"rawBytes": BASE64_STANDARD.encode(spki)},
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    }})
}

#[test]
fn an_entry_is_answered_with_its_proof_and_read_from_the_tiles() {
    let (folder, key) = prepared();
    let served = Served::start(folder.path());
    for index in 0..3 {
        let (entry, answer) = served.submit(&format!("artifact {index}"));
        assert_eq!((entry.index, entry.size), (index, index + 1));
        entry.verify(&key, &[], 0).unwrap();
        std::fs::write(folder.path().join(format!("{index}.json")), answer).unwrap();
    }
    // The same once more: the same place, and the log does not grow.
    let (again, _) = served.submit("artifact 1");
    assert_eq!((again.index, again.size), (1, 3));
    again.verify(&key, &[], 0).unwrap();

    let (status, note) = served.get("/checkpoint");
    assert_eq!(status, 200);
    assert_eq!(Checkpoint::open(&note, &key).unwrap().0.size, 3);
    let (status, tile) = served.get("/tile/0/000.p/3");
    assert_eq!((status, tile.len()), (200, 96));
    assert_eq!(tile[32..64], Hash::of_leaf(&again.body).0);
    let (status, bundle) = served.get("/tile/entries/000.p/3");
    let at = TileCoordinate::parse("tile/entries/000.p/3").unwrap();
    assert_eq!(status, 200);
    assert_eq!(at.entries(&bundle).unwrap()[1], again.body);
    assert_eq!(served.get("/tile/0/000.p/4").0, 404);
    assert_eq!(served.get("/healthz"), (200, b"ok\n".to_vec()));

    let url = format!("http://{}", served.address);
    let verify = ["log", "verify", "--key", "log.vkey"];
    let offline = run(folder.path(), &[&verify[..], &["0.json"]].concat()).expect(0);
    assert_eq!(offline.stdout, "entry 0 is in the log, among 1 entries\n");
    let online = [&verify[..], &["--log", &url, "--keep", "kept.txt", "0.json"]].concat();
    let first = run(folder.path(), &online).expect(0).stdout;
    assert!(first.ends_with("the log has only grown, from 1 to 3 entries\n"), "{first}");
    served.submit("artifact 3");
    let local = [&verify[..], &["--log", "kept", "--keep", "kept.txt"]].concat();
    let second = run(folder.path(), &local).expect(0).stdout;
    assert_eq!(second, "the log has only grown, from 3 to 4 entries\n");
    served.stop();
}

#[test]
fn what_proves_nothing_is_refused() {
    let (folder, _) = prepared();
    let served = Served::start(folder.path());
    served.submit("one");
    let (_, answer) = served.submit("two");
    served.stop();
    let mut entry: Value = serde_json::from_slice(&answer).unwrap();
    std::fs::write(folder.path().join("good.json"), entry.to_string()).unwrap();
    entry["canonicalizedBody"] = json!(BASE64_STANDARD.encode("another"));
    std::fs::write(folder.path().join("bad.json"), entry.to_string()).unwrap();
    let verify = ["log", "verify", "--key", "log.vkey"];
    let bad = run(folder.path(), &[&verify[..], &["bad.json"]].concat());
    bad.expect_error(1, "not proved to be in the log");
    // The key of another log proves nothing either; what is no key is the caller's mistake.
    let made = run(folder.path(), &["log", "key", "--origin", ORIGIN, "--output", "2.key"]);
    let other = made.expect(0).stdout;
    run(folder.path(), &["log", "verify", "--key", other.trim(), "good.json"])
        .expect_error(1, "the log");
    run(folder.path(), &["log", "verify", "--key", "absent.vkey", "good.json"])
        .expect_error(2, "absent.vkey");
    run(folder.path(), &["log", "verify", "--key", "log.vkey", "log.vkey"])
        .expect_error(2, "no log entry");

    // Another tree under the same key: the first log's checkpoint is not in it.
    let keep = [&verify[..], &["--log", "kept", "--keep", "seen.txt"]].concat();
    run(folder.path(), &keep).expect(0);
    std::fs::remove_dir_all(folder.path().join("kept")).unwrap();
    let other = Served::start(folder.path());
    other.submit("uno");
    let shrunk = run(folder.path(), &keep);
    shrunk.expect_error(1, "has 1 entries and had 2");
    other.submit("due");
    other.submit("tre");
    let seen = std::fs::read(folder.path().join("seen.txt")).unwrap();
    let forked = run(folder.path(), &keep);
    forked.expect_error(1, "does not hold the 2 entries");
    assert_eq!(std::fs::read(folder.path().join("seen.txt")).unwrap(), seen);
    other.stop();
}

#[test]
fn what_is_malformed_is_refused_and_the_server_lives_on() {
    let (folder, _) = prepared();
    let served = Served::start(folder.path());
    let mut forged = submission("one");
    forged["hashedRekordRequestV002"]["digest"] = json!(BASE64_STANDARD.encode([1; 32]));
    for body in ["", "{", "{}", "[]", "null", &forged.to_string()] {
        let (status, answer) = served.post(body.as_bytes()).unwrap();
        assert_eq!(status, 400, "{body}: {}", String::from_utf8_lossy(&answer));
    }
    let huge = "POST /api/v2/log/entries HTTP/1.1\r\nhost: log\r\ncontent-length: 99999999\r\n\r\n";
    let long = format!("GET /{} HTTP/1.1\r\nhost: log\r\n\r\n", "x".repeat(100_000));
    let put =
        "PUT /checkpoint HTTP/1.1\r\nhost: log\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for (request, expected) in [
        (huge, &[413][..]),
        (&long, &[400, 414, 431]),
        (put, &[400, 405, 501]),
        ("nonsense\r\n\r\n", &[400]),
        ("GET /../etc/passwd HTTP/1.1\r\nhost: log\r\nconnection: close\r\n\r\n", &[400, 404]),
        ("GET /tile/0/%2e%2e HTTP/1.1\r\nhost: log\r\nconnection: close\r\n\r\n", &[400, 404]),
    ] {
        let (status, _) = served.raw(request.as_bytes()).unwrap();
        assert!(expected.contains(&status), "{status} for {}", &request[..request.len().min(80)]);
    }
    let (entry, _) = served.submit("one");
    assert_eq!((entry.index, entry.size), (0, 1));
    served.stop();
}

/// How often the log is killed: three times, or as often as the figures of the guide want.
fn kills() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
    let asked = std::env::var("PALISADE_KILLS").ok();
    asked.map_or(3, |text| text.parse().unwrap())
}

#[test]
fn whatever_was_acknowledged_outlives_a_kill() {
    let (folder, key) = prepared();
    let mut acknowledged: Vec<LogEntry> = Vec::new();
    for round in 0..kills() {
        let served = Served::start(folder.path());
        let n_answers = AtomicUsize::new(0);
        let answers = std::thread::scope(|scope| {
            let (served, n_answers) = (&served, &n_answers);
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    scope.spawn(move || {
                        let mut answers = Vec::new();
                        for n in 0.. {
                            let request = submission(&format!("{round} {client} {n}"));
                            match served.post(request.to_string().as_bytes()) {
                                Some((201, body)) => {
                                    answers.extend(LogEntry::parse_all(&body));
                                    n_answers.fetch_add(1, Ordering::Relaxed);
                                }
                                // An answer that was cut off acknowledges nothing.
                                _ => break,
                            }
                        }
                        answers.into_iter().flatten().collect::<Vec<_>>()
                    })
                })
                .collect();
            // Once something was acknowledged, at a moment that nobody chose.
            wait_for("an acknowledged entry", DEADLINE, || {
                n_answers.load(Ordering::Relaxed).gt(&0).then_some(())
            });
            std::thread::sleep(Duration::from_millis(u64::from(round % 50) * 5));
            served.program.signal(Signal::KILL);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(!answers.is_empty(), "nothing was acknowledged in round {round}");
        acknowledged.extend(answers);
        assert_eq!(served.program.wait(DEADLINE).code, -9);
    }
    let served = Served::start(folder.path());
    let (size, bodies) = everything(&folder.path().join("kept"), &key);
    for entry in &acknowledged {
        entry.verify(&key, &[], 0).unwrap();
        assert!(entry.index < size);
        assert_eq!(bodies[usize::try_from(entry.index).unwrap()], entry.body);
    }
    let (entry, _) = served.submit("after");
    assert_eq!(entry.index, size);
    entry.verify(&key, &[], 0).unwrap();
    served.stop();
}

/// Size and entries of the log in `folder`.
fn everything(folder: &Path, key: &VerifierKey) -> (u64, Vec<Vec<u8>>) {
    use palisade_tlog::tile::TileKind;
    let folder = Folder::open(folder).unwrap();
    let size = Checkpoint::open(&folder.checkpoint().unwrap(), key).unwrap().0.size;
    let tiles = (0..).map_while(|index| TileCoordinate::at(TileKind::Entries, index, size));
    let bodies = tiles.flat_map(|tile| {
        let bytes = folder.tile(&tile).unwrap();
        tile.entries(&bytes).unwrap().into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
    });
    (size, bodies.collect())
}

#[test]
fn a_log_has_one_writer_and_one_key() {
    let (folder, _) = prepared();
    run(folder.path(), &["log", "key", "--origin", ORIGIN, "--output", "log.key"])
        .expect_error(2, "log.key");
    run(folder.path(), &["log", "key", "--origin", ORIGIN, "--output", "2.key"]).expect(0);
    let serve = |key| {
        let args = ["log", "serve", "--data", "kept", "--origin", ORIGIN];
        run(folder.path(), &[&args[..], &["--listen", "127.0.0.1:0", "--key", key]].concat())
    };
    let served = Served::start(folder.path());
    served.submit("one");
    serve("log.key").expect_error(3, "another process");
    served.stop();
    serve("2.key").expect_error(3, "checkpoint");
    serve("log.vkey").expect_error(2, "log.vkey");
    Served::start(folder.path()).stop();
}

#[test]
fn a_submission_gives_an_entry_that_verifies_or_says_why_not() {
    let (folder, _) = prepared();
    let served = Served::start(folder.path());
    let url = format!("http://{}", served.address);
    let submit = |key: &str, request: &Value| {
        std::fs::write(folder.path().join("request.json"), request.to_string()).unwrap();
        run(folder.path(), &["log", "submit", "--log", &url, "--key", key, "request.json"])
    };
    served.submit("zero");
    let answer = submit("log.vkey", &submission("one")).expect(0).stdout;
    std::fs::write(folder.path().join("entry.json"), answer).unwrap();
    let verified = run(folder.path(), &["log", "verify", "--key", "log.vkey", "entry.json"]);
    assert_eq!(verified.expect(0).stdout, "entry 1 is in the log, among 2 entries\n");
    let mut forged = submission("two");
    forged["hashedRekordRequestV002"]["digest"] = json!(BASE64_STANDARD.encode([1; 32]));
    submit("log.vkey", &forged).expect_error(1, "the log refuses the entry");
    let made = run(folder.path(), &["log", "key", "--origin", ORIGIN, "--output", "2.key"]);
    submit(made.expect(0).stdout.trim(), &submission("three")).expect_error(1, "the log");
    served.stop();
    submit("log.vkey", &submission("four")).expect_error(3, "submit to");
}

#[test]
fn a_witness_signs_and_a_monitor_tells_and_proves() {
    let (folder, key) = prepared();
    let folder = folder.path();
    let made = ["log", "key", "--witness", "--origin", "witness.example", "--output", "w.key"];
    let witness_key = run(folder, &made).expect(0).stdout;
    let witness = Served::start_as(
        folder,
        &[
            "witness",
            "--data",
            "w",
            "--key",
            "w.key",
            "--name",
            "witness.example",
            "--log",
            "log.vkey",
        ],
    );
    let address = format!("http://{}={}", witness.address, witness_key.trim());
    let serve = ["serve", "--key", "log.key", "--origin", ORIGIN];
    run(
        folder,
        &[
            "log",
            "serve",
            "--data",
            "x",
            "--key",
            "log.key",
            "--origin",
            ORIGIN,
            "--witness",
            &address,
            "--quorum",
            "2",
        ],
    )
    .expect_error(2, "the quorum is larger");
    let log = [&serve[..], &["--data", "kept", "--witness", &address, "--quorum", "1"]].concat();
    let served = Served::start_as(folder, &log);
    for artifact in ["one", "two", "three"] {
        served.submit(artifact);
    }
    let note = Note::parse(&served.get("/checkpoint").1).unwrap();
    note.verify(&VerifierKey::parse(witness_key.trim()).unwrap()).unwrap();
    assert_eq!(Checkpoint::open(note.to_text().as_bytes(), &key).unwrap().0.size, 3);

    let url = format!("http://{}", served.address);
    let signer = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let spki = signer.verifying_key().to_public_key_der().unwrap();
    let hex = Sha256::digest(spki).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let monitor = |place: &str, rest: &[&str]| {
        let base = ["log", "monitor", "--key", "log.vkey", "--log", place, "--data", "m", "--once"];
        run(folder, &[&base[..], rest].concat())
    };
    let told = monitor(&url, &["--key-sha256", &hex, "--other", "kept"]).expect(0);
    let lines: Vec<Value> =
        told.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{}", told.stdout);
    assert_eq!((&lines[2]["index"], &lines[2]["keySha256"]), (&json!(2), &json!(hex)));
    assert!(told.stderr.contains("3 entries, 3 of them new"), "{}", told.stderr);
    served.submit("four");
    // Nobody else signed; and whoever did was not expected.
    let none = monitor(&url, &["--identity", "dev@shop.example", "--expect-none"]).expect(0);
    assert_eq!(none.stdout, "");
    served.submit("five");
    monitor(&url, &["--key-sha256", &hex, "--expect-none"])
        .expect_error_with_output(1, "1 entries were not expected");
    served.stop();
    witness.stop();

    // Another log of the same key: what both signed is the proof.
    let other = [&serve[..], &["--data", "forked"]].concat();
    let forked = Served::start_as(folder, &other);
    for n in 0..7 {
        forked.submit(&format!("forged {n}"));
    }
    forked.stop();
    monitor("forked", &[]).expect_error(1, "the log contradicts itself");
    let proofs: Vec<_> = std::fs::read_dir(folder.join("m"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("fork-"))
        .collect();
    assert_eq!(proofs.len(), 1);
    let proof = palisade_tlog::Fork::parse(&std::fs::read(proofs[0].path()).unwrap()).unwrap();
    proof.verify(&key).unwrap();
    // The memory is that of the first log still.
    monitor("kept", &[]).expect(0);
    monitor("nowhere", &[]).expect_error(3, "nowhere");
}
