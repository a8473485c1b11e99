//! A repository that is made here, served whole, old, mixed up and changed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

use palisade_base::Digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::canonical::canonical;
use super::*;

mod delegated;

const NOW: i64 = 1_800_000_000;
const LATE: &str = "2030-01-01T00:00:00Z";
const EARLY: &str = "2026-01-01T00:00:00Z";
const NAME: &str = "trusted_root.json";

/// Somebody who signs.
enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl Signer {
    fn ed25519(seed: u8) -> Self {
        Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn p256() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.public_key().as_ref().to_vec(),
            Self::P256(key) => key.public_key().as_ref().to_vec(),
        }
    }

    fn id(&self) -> String {
        Digest::of(&self.public()).hex()
    }

    /// The key as a root names it; points are written in two ways.
    fn document(&self, as_pem: bool) -> Value {
        let hex = hex::encode(self.public());
        let (kind, scheme, public) = match self {
            Self::Ed25519(_) => ("ed25519", "ed25519", hex),
            Self::P256(_) if as_pem => {
                let prefix = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200");
                let der = [prefix.unwrap(), self.public()].concat();
                ("ecdsa", "ecdsa-sha2-nistp256", crate::pem::encode("PUBLIC KEY", &der).to_string())
            }
            Self::P256(_) => ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", hex),
        };
        json!({"keytype": kind, "scheme": scheme, "keyval": {"public": public}, "x-owner": "@me"})
    }

    fn sign(&self, message: &[u8]) -> String {
        match self {
            Self::Ed25519(key) => hex::encode(key.sign(message).as_ref()),
            Self::P256(key) => hex::encode(key.sign(&SystemRandom::new(), message).unwrap()),
        }
    }
}

fn envelope(signed: &Value, signers: &[&Signer]) -> Vec<u8> {
    let message = canonical(signed).unwrap();
    let mut signatures: Vec<Value> = signers
        .iter()
        .map(|signer| json!({"keyid": signer.id(), "sig": signer.sign(&message)}))
        .collect();
    // Somebody who has not signed yet, and somebody whom nobody knows.
    signatures.push(json!({"keyid": "00", "sig": ""}));
    json!({"signed": signed, "signatures": signatures}).to_string().into_bytes()
}

/// What a repository serves.
struct Site {
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    n_asked: Cell<usize>,
    is_down: Cell<bool>,
}

impl Repository for Site {
    fn get(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        self.n_asked.set(self.n_asked.get() + 1);
        if self.is_down.get() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let found = self.files.borrow().get(path).cloned();
        if found.as_ref().is_some_and(|bytes| bytes.len() as u64 > limit) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(found)
    }
}

/// A repository with three keys of the root, of which two must sign, and one for the rest.
struct Bench {
    site: Site,
    folder: tempfile::TempDir,
    keys: [Signer; 3],
    online: Signer,
}

impl Bench {
    fn new() -> Self {
        let site =
            Site { files: RefCell::default(), n_asked: Cell::new(0), is_down: Cell::new(false) };
        let keys = [Signer::ed25519(1), Signer::p256(), Signer::p256()];
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { site, folder, keys, online: Signer::ed25519(9) };
        bench.put("1.root.json", bench.root(1, LATE, &bench.online, &bench.two()));
        bench.publish(1, b"one", LATE);
        begin(bench.folder.path(), &bench.file("1.root.json"), false).unwrap();
        bench
    }

    fn two(&self) -> [&Signer; 2] {
        [&self.keys[0], &self.keys[1]]
    }

    fn file(&self, path: &str) -> Vec<u8> {
        self.site.files.borrow()[path].clone()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) {
        self.site.files.borrow_mut().insert(path.into(), bytes);
    }

    fn root_document(&self, version: u64, expires: &str, online: &Signer) -> Value {
        let mut keys = serde_json::Map::new();
        for (i, key) in self.keys.iter().enumerate() {
            keys.insert(key.id(), key.document(i == 1));
        }
        keys.insert(online.id(), online.document(false));
        let root: Vec<String> = self.keys.iter().map(Signer::id).collect();
        let role = json!({"keyids": [online.id()], "threshold": 1});
        json!({
            "_type": "root", "spec_version": "1.0.31", "version": version, "expires": expires,
            "consistent_snapshot": true, "keys": keys,
            "roles": {"root": {"keyids": root, "threshold": 2}, "timestamp": role,
                      "snapshot": role, "targets": role},
        })
    }

    fn root(&self, version: u64, expires: &str, online: &Signer, by: &[&Signer]) -> Vec<u8> {
        envelope(&self.root_document(version, expires, online), by)
    }

    fn head(kind: &str, version: u64, expires: &str) -> Value {
        json!({"_type": kind, "spec_version": "1.0", "version": version, "expires": expires})
    }

    /// Publishes a file in version `n` of everything.
    fn publish(&self, n: u64, file: &[u8], expires: &str) {
        self.publish_as(NAME, n, file, expires);
    }

    fn publish_as(&self, name: &str, n: u64, file: &[u8], expires: &str) {
        let (by, digest) = ([&self.online], Digest::of(file).hex());
        let mut targets = Self::head("targets", n, expires);
        targets["targets"] = json!({name: {"length": file.len(), "hashes": {"sha256": digest, "sha512": hex::encode(crate::pki::Hash::Sha512.of(file))}}});
        let targets = envelope(&targets, &by);
        let announced = |bytes: &[u8]| {
            json!({"version": n, "length": bytes.len(),
                   "hashes": {"sha256": Digest::of(bytes).hex()}})
        };
        let mut snapshot = Self::head("snapshot", n, expires);
        snapshot["meta"] =
            json!({"targets.json": announced(&targets), "other.json": {"version": n}});
        let snapshot = envelope(&snapshot, &by);
        let mut timestamp = Self::head("timestamp", n, expires);
        timestamp["meta"] = json!({"snapshot.json": announced(&snapshot)});
        self.put("timestamp.json", envelope(&timestamp, &by));
        self.put(&format!("{n}.snapshot.json"), snapshot);
        self.put(&format!("{n}.targets.json"), targets);
        self.put(&format!("targets/{digest}.{name}"), file.to_vec());
    }

    fn refresh(&self) -> Result<Refreshed, TufError> {
        refresh(self.folder.path(), &self.site, NAME, NOW)
    }

    #[track_caller]
    fn refused(&self, what: &str) {
        let error = self.refresh().expect_err(what);
        let shown = error.to_string();
        assert!(shown.contains(what), "`{what}` is not in {shown}");
        assert!(palisade_base::Explain::hint(&error).is_some());
    }
}

#[test]
fn the_newest_file_is_taken_over_and_what_is_known_is_not_fetched_again() {
    let bench = Bench::new();
    let first = bench.refresh().unwrap();
    assert_eq!((first.target.as_slice(), first.versions), (&b"one"[..], [1, 1, 1, 1]));
    assert_eq!(first.expires, LATE);
    bench.site.n_asked.set(0);
    assert_eq!(bench.refresh().unwrap(), first);
    // The next root, the timestamp, the file.
    assert_eq!(bench.site.n_asked.get(), 3);
    let late = LATE.parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(expires(bench.folder.path()), Some(late));
    bench.publish(2, b"two", "2029-01-01T00:00:00Z");
    assert_eq!(bench.refresh().unwrap().target, b"two");
    let first = "2029-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(expires(bench.folder.path()), Some(first));
    assert_eq!(expires(tempfile::tempdir().unwrap().path()), None);
    assert_eq!(held(bench.folder.path()).unwrap(), Some(1));
    assert!(matches!(
        begin(bench.folder.path(), &bench.file("1.root.json"), false),
        Err(TufError::RootExists { version: 1 })
    ));
    bench.site.is_down.set(true);
    let error = bench.refresh().unwrap_err();
    assert!(error.is_network() && !error.is_refusal(), "{error}");
}

#[test]
fn roots_follow_each_other_by_the_keys_of_both() {
    let bench = Bench::new();
    bench.refresh().unwrap();
    // Two roots at once; the second names another key for the rest.
    let new = Signer::p256();
    bench.put("2.root.json", bench.root(2, EARLY, &bench.online, &bench.two()));
    bench.put("3.root.json", bench.root(3, LATE, &new, &[&bench.keys[0], &bench.keys[2]]));
    bench.refused("`timestamp` metadata has 0 of 1 signatures");
    // The root stays known.
    assert_eq!(held(bench.folder.path()).unwrap(), Some(3));
    let bench = Bench { online: new, ..bench };
    // Versions of the stolen key count for nothing: they may begin anew.
    bench.publish(1, b"new", LATE);
    assert_eq!(bench.refresh().unwrap().versions, [3, 1, 1, 1]);
    // The next one of everything that a root may lack.
    let bad: [(&str, Vec<u8>); 6] = [
        ("1 of 2 signatures by the keys that are trusted", {
            bench.root(4, LATE, &bench.online, &[&bench.keys[0]])
        }),
        ("1 of 2 signatures by the keys", {
            // The same key twice is one signer, under two names as well.
            let mut document = bench.root_document(4, LATE, &bench.online);
            let twin = bench.keys[0].document(false);
            document["keys"]["twin"] = twin;
            document["roles"]["root"]["keyids"] = json!([bench.keys[0].id(), "twin"]);
            let message = canonical(&document).unwrap();
            let sig = bench.keys[0].sign(&message);
            let signatures = [bench.keys[0].id(), bench.keys[0].id(), "twin".into()]
                .map(|id| json!({"keyid": id, "sig": sig}));
            json!({"signed": document, "signatures": signatures}).to_string().into_bytes()
        }),
        ("0 of 1 signatures by its own keys", {
            let mut document = bench.root_document(4, LATE, &bench.online);
            let other = Signer::ed25519(77);
            document["keys"][other.id()] = other.document(false);
            document["roles"]["root"] = json!({"keyids": [other.id()], "threshold": 1});
            envelope(&document, &bench.two())
        }),
        ("has version 5 where 4 is announced", bench.root(5, LATE, &bench.online, &bench.two())),
        ("nobody, or somebody twice", {
            let mut document = bench.root_document(4, LATE, &bench.online);
            document["roles"]["root"]["threshold"] = json!(0);
            envelope(&document, &bench.two())
        }),
        ("expired at 2026", bench.root(4, EARLY, &bench.online, &bench.two())),
    ];
    for (what, root) in bad {
        bench.put("4.root.json", root);
        bench.refused(what);
    }
    // The last one was signed well: what expired is known, and its successor helps.
    assert_eq!(held(bench.folder.path()).unwrap(), Some(4));
    bench.put("5.root.json", bench.root(5, LATE, &bench.online, &bench.two()));
    assert_eq!(bench.refresh().unwrap().versions[0], 5);
}

#[test]
fn old_mixed_and_standing_repositories_are_refused() {
    let bench = Bench::new();
    let old = bench.site.files.borrow().clone();
    bench.publish(2, b"two", LATE);
    bench.refresh().unwrap();
    let new = bench.site.files.borrow().clone();
    let check = |what: &str, change: &dyn Fn()| {
        *bench.site.files.borrow_mut() = new.clone();
        change();
        bench.refused(what);
        *bench.site.files.borrow_mut() = new.clone();
        bench.refresh().unwrap();
    };
    check("`timestamp` metadata went back from version 2 to 1", &|| {
        *bench.site.files.borrow_mut() = old.clone();
    });
    check("`timestamp` metadata expired at 2026", &|| bench.publish(3, b"x", EARLY));
    let reach = |n: u64, kind: &str, change: &dyn Fn(&mut Value)| {
        // A new timestamp that announces a changed document.
        bench.publish(n, b"x", LATE);
        let path = format!("{n}.{kind}.json");
        let mut document: Value = serde_json::from_slice(&bench.file(&path)).unwrap();
        change(&mut document["signed"]);
        let document = envelope(&document["signed"], &[&bench.online]);
        bench.put(&path, document.clone());
        let parent =
            if kind == "snapshot" { "timestamp.json".into() } else { format!("{n}.snapshot.json") };
        let mut list: Value = serde_json::from_slice(&bench.file(&parent)).unwrap();
        list["signed"]["meta"][format!("{kind}.json")] = json!({"version": n});
        let list = envelope(&list["signed"], &[&bench.online]);
        bench.put(&parent, list);
        if kind == "targets" {
            let mut list: Value = serde_json::from_slice(&bench.file("timestamp.json")).unwrap();
            list["signed"]["meta"]["snapshot.json"] = json!({"version": n});
            bench.put("timestamp.json", envelope(&list["signed"], &[&bench.online]));
        }
    };
    // Each leaves a higher timestamp behind, as an attacker with its key could.
    let fails = |n: u64, kind: &str, what: &str, change: &dyn Fn(&mut Value)| {
        reach(n, kind, change);
        bench.refused(what);
    };
    fails(10, "snapshot", "went back from version 2 to 1", &|it| {
        it["meta"]["other.json"]["version"] = json!(1);
    });
    fails(11, "snapshot", "went back from version 2 to 0", &|it| {
        it["meta"].as_object_mut().unwrap().remove("other.json");
    });
    fails(12, "snapshot", "version 11 where 12 is announced", &|it| it["version"] = json!(11));
    fails(13, "snapshot", "`snapshot` metadata expired", &|it| it["expires"] = json!(EARLY));
    fails(14, "targets", "`targets` metadata expired", &|it| it["expires"] = json!(EARLY));
    fails(15, "targets", "`targets` metadata is malformed: it is `snapshot`", &|it| {
        it["_type"] = json!("snapshot");
    });
    fails(16, "targets", "offers no `trusted_root.json`", &|it| it["targets"] = json!({}));
    fails(17, "targets", "another digest", &|it| {
        it["targets"][NAME]["hashes"]["sha512"] = json!("00");
    });
    fails(18, "targets", "another digest", &|it| it["targets"][NAME]["hashes"] = json!({}));
    fails(19, "targets", "larger than", &|it| it["targets"][NAME]["length"] = json!(0));
    fails(20, "targets", "another length", &|it| it["targets"][NAME]["length"] = json!(9));
    fails(21, "targets", "larger than", &|it| it["targets"][NAME]["length"] = json!(1_u64 << 40));
    bench.publish(22, b"good", LATE);
    assert_eq!(bench.refresh().unwrap().target, b"good");
}

#[test]
fn what_is_changed_missing_or_endless_is_refused() {
    let bench = Bench::new();
    let files = bench.site.files.borrow().clone();
    for (path, whole) in &files {
        if path == "1.root.json" {
            continue;
        }
        let fresh = || {
            let folder = tempfile::tempdir().unwrap();
            begin(folder.path(), &files["1.root.json"], false).unwrap();
            folder
        };
        let mut cases =
            vec![Vec::new(), whole[..whole.len() - 1].to_vec(), [whole.as_slice(), b" "].concat()];
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            cases.push(changed);
        }
        for changed in cases {
            // A space between two documents, or the name of somebody who did not sign, is
            // nobody's word.
            let same = |bytes: &[u8]| {
                let value: Value = serde_json::from_slice(bytes).ok()?;
                Some((value["signed"].clone(), value["signatures"][0].clone()))
            };
            let is_harmless = path == "timestamp.json"
                && same(&changed).is_some()
                && same(&changed) == same(whole);
            bench.put(path, changed.clone());
            let found = refresh(fresh().path(), &bench.site, NAME, NOW);
            let shown = String::from_utf8_lossy(&changed);
            assert!(found.is_err() || is_harmless, "{path}: {shown}");
        }
        bench.site.files.borrow_mut().remove(path);
        let error = refresh(fresh().path(), &bench.site, NAME, NOW).unwrap_err();
        assert!(matches!(error, TufError::Missing { .. }) && error.is_refusal(), "{error}");
        bench.put(path, vec![b' '; 20 << 20]);
        let error = refresh(fresh().path(), &bench.site, NAME, NOW).unwrap_err();
        assert!(matches!(error, TufError::TooLarge { .. }), "{error}");
        bench.put(path, whole.clone());
    }
    // What is kept here and damaged is not taken for nothing.
    bench.refresh().unwrap();
    std::fs::write(bench.folder.path().join("snapshot.json"), "{").unwrap();
    bench.publish(2, b"two", LATE);
    bench.refused("snapshot.json");
    std::fs::write(bench.folder.path().join("root.json"), "{").unwrap();
    bench.refused("root.json");
    let empty = tempfile::tempdir().unwrap();
    let error = refresh(empty.path(), &bench.site, NAME, NOW).unwrap_err();
    assert!(matches!(error, TufError::NoRoot), "{error}");
    assert!(begin(empty.path(), &bench.root(1, LATE, &bench.online, &[]), false).is_err());
}

#[test]
fn names_lead_nowhere_else() {
    let bench = Bench::new();
    for (n, name) in (2..).zip(["../root.json", "a//b", ".", "a/../b", ""]) {
        bench.publish_as(name, n, b"x", LATE);
        let found = refresh(bench.folder.path(), &bench.site, name, NOW);
        assert!(matches!(found, Err(TufError::NoTarget { .. })), "{name}");
    }
}

#[test]
fn any_document_is_read_or_refused() {
    let bench = Bench::new();
    for bytes in bench.site.files.borrow().values() {
        let is_document = bytes.starts_with(b"{");
        assert_eq!(check(bytes).is_ok(), is_document);
    }
    assert!(check(b"").is_err() && check(b"{}").is_err());
}
