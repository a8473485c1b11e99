//! `palisade trust add`, `rotate` and `root`: rules of a policy's file, and a trusted root from a
//! repository that is made here.

use std::collections::BTreeMap;
use std::path::Path;

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use palisade_base::Digest;
use serde_json::{Value, json};

use crate::layout;
use crate::support::{Ended, run};

const POLICY: &str = "version: 1\nname: shop # ours\nimages:\n  verify: required\n";

fn list(folder: &Path) -> Value {
    let ended =
        run(folder, &["trust", "list", "--policy", "policy.yaml", "--format", "json"]).expect(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn rules_are_added_and_keys_exchanged_without_touching_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    layout::shop(&folder.join("shop"));
    std::fs::create_dir(folder.join("etc")).unwrap();
    std::fs::write(folder.join("etc/policy.yaml"), POLICY).unwrap();
    std::os::unix::fs::symlink("etc/policy.yaml", folder.join("policy.yaml")).unwrap();
    for key in ["etc/old", "new"] {
        run(folder, &["sign", "--generate-key", key]).expect(0);
    }
    run(folder, &["sign", "--key", "etc/old.key", "oci:shop"]).expect(0);
    let add = ["trust", "add", "--policy", "policy.yaml", "--name", "release"];
    let shown = run(folder, &[&add[..], &["--key", "etc/old.pub", "--dry-run"]].concat()).expect(0);
    assert!(shown.stdout.contains("+    - name: release\n"), "{}", shown.stdout);
    assert_eq!(std::fs::read_to_string(folder.join("etc/policy.yaml")).unwrap(), POLICY);
    run(folder, &[&add[..], &["--key", "etc/old.pub"]].concat()).expect(0);
    let text = std::fs::read_to_string(folder.join("etc/policy.yaml")).unwrap();
    // Keys are named from the folder in which the policy is used, and the link still is one.
    let rule = "  trust:\n    - name: release\n      keys: [\"etc/old.pub\"]\n";
    assert_eq!(text, format!("{POLICY}{rule}"));
    assert!(folder.join("policy.yaml").is_symlink());
    run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(0);
    run(folder, &[&add[..], &["--key", "etc/old.pub"]].concat())
        .expect_error_with_output(2, "could not be used");
    run(folder, &[&add[..], &["--key", "shop/index.json"]].concat()).expect_error(2, "");

    let rotate = ["trust", "rotate", "--policy", "policy.yaml", "--rule", "release", "--new"];
    let days = ["--from", "2099-01-01", "--until", "2098-01-01"];
    run(folder, &[&rotate[..], &["new.pub"], &days].concat()).expect_error(2, "before the new one");
    run(folder, &[&rotate[..], &["new.pub"]].concat()).expect(0);
    let rules = list(folder)["rules"].as_array().unwrap().clone();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(rules.iter().all(|rule| rule["state"] == "holds"), "{rules:?}");
    // Both count today.
    run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(0);
    layout::plain(&folder.join("plain"));
    run(folder, &["sign", "--key", "new.key", "oci:plain"]).expect(0);
    let rule = run(folder, &["verify", "--policy", "policy.yaml", "oci:plain"]).expect(0).stdout;
    assert!(rule.contains("images.trust[release-20"), "{rule}");
    run(folder, &[&rotate[..], &["new.pub"]].concat()).expect_error(2, "already");
    let none = ["trust", "rotate", "--policy", "policy.yaml", "--rule", "x", "--new", "new.pub"];
    run(folder, &none).expect_error(2, "no rule `x`");
    let identity = ["--subject", "https://git.example/*", "--issuer", "https://token.example"];
    let add =
        ["trust", "add", "--policy", "policy.yaml", "--name", "robot", "--images", "r.example/*"];
    run(folder, &[&add[..], &identity].concat()).expect(0);
    assert_eq!(list(folder)["rules"][2]["images"], "r.example/*");
}

/// A repository in a folder, signed by one key.
struct Repository<'f> {
    folder: &'f Path,
    key: SigningKey,
}

impl Repository<'_> {
    fn signed(&self, signed: &Value) -> Vec<u8> {
        let message = canonical(signed);
        let signature: p256::ecdsa::DerSignature = self.key.sign(message.as_bytes());
        let signature = json!({"keyid": "k", "sig": hex(signature.as_bytes())});
        json!({"signed": signed, "signatures": [signature]}).to_string().into_bytes()
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn publish(&self, version: u64, file: &[u8], expires: &str) {
        let point = self.key.verifying_key().to_sec1_point(false);
        let key = json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256",
                         "keyval": {"public": hex(point.as_bytes())}});
        let role = json!({"keyids": ["k"], "threshold": 1});
        let head = |kind: &str, more: Value| {
            let mut out = json!({"_type": kind, "expires": expires, "spec_version": "1.0.0",
                                 "version": version});
            out.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            self.signed(&out)
        };
        let root = json!({"consistent_snapshot": true, "keys": {"k": key},
            "roles": {"root": role, "snapshot": role, "targets": role, "timestamp": role}});
        self.write(&format!("{version}.root.json"), &head("root", root));
        let digest = Digest::of(file).hex();
        let target = json!({"hashes": {"sha256": digest}, "length": file.len()});
        let targets = json!({"targets": {"trusted_root.json": target}});
        self.write(&format!("{version}.targets.json"), &head("targets", targets));
        let meta = json!({"meta": {"targets.json": {"version": version}}});
        self.write(&format!("{version}.snapshot.json"), &head("snapshot", meta));
        let meta = json!({"meta": {"snapshot.json": {"version": version}}});
        self.write("timestamp.json", &head("timestamp", meta));
        self.write(&format!("targets/{digest}.trusted_root.json"), file);
    }
}

/// Sorted and without spaces; no text here needs an escape.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let all: Vec<_> =
                sorted.iter().map(|(key, it)| format!("\"{key}\":{}", canonical(it))).collect();
            format!("{{{}}}", all.join(","))
        }
        Value::Array(all) => {
            format!("[{}]", all.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A trusted root without members.
fn trusted_root(note: usize) -> Vec<u8> {
    let media = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
    let text = json!({"mediaType": media, "tlogs": [], "certificateAuthorities": [], "ctlogs": [],
                      "timestampAuthorities": []});
    format!("{text}{}", " ".repeat(note)).into_bytes()
}

/// Serves a folder; gives its address.
fn serve(folder: &Path) -> String {
    use std::io::{BufRead as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let folder = folder.to_path_buf();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (status, body) = match std::fs::read(folder.join(path)) {
                Ok(bytes) => (200, bytes),
                Err(_) => (404, Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

#[test]
fn a_trusted_root_is_taken_from_a_repository_and_kept_up_to_date() {
    const LATE: &str = "2090-01-01T00:00:00Z";
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let repository = Repository { folder: &folder.join("tuf"), key };
    repository.publish(1, &trusted_root(1), LATE);
    let url = serve(&folder.join("tuf"));
    let kept = folder.join("data/trusted-root/trusted_root.json");
    let update = || run(folder, &["trust", "root", "update"]);
    update().expect_error(2, "no root is trusted yet");
    let import = |tuf: &str| -> Ended {
        run(folder, &["trust", "root", "import", "--tuf", tuf, "--root", "tuf/1.root.json"])
    };
    import("http://registry.example").expect_error(2, "no address");
    import("nowhere").expect_error(2, "open folder");
    import("http://127.0.0.1:1").expect_error(5, "fetch `2.root.json`");
    assert!(!kept.exists());
    let ended = import(&url).expect(0);
    assert!(
        ended.stdout.contains("changed") && ended.stdout.contains("root 1"),
        "{}",
        ended.stdout
    );
    assert_eq!(std::fs::read(&kept).unwrap(), trusted_root(1));
    assert!(update().expect(0).stdout.contains("unchanged"));
    import(&url).expect_error(2, "is trusted already");
    // The next version, by hand from a copy and from where it was imported.
    repository.publish(2, &trusted_root(2), LATE);
    let ended = run(folder, &["trust", "root", "update", "--tuf", "tuf", "--format", "json"]);
    let shown: Value = serde_json::from_str(&ended.expect(0).stdout).unwrap();
    assert_eq!((&shown["changed"], &shown["versions"]["root"]), (&json!(true), &json!(2)));
    assert_eq!(std::fs::read(&kept).unwrap(), trusted_root(2));
    assert!(update().expect(0).stdout.contains("(unchanged)"));
    // It is what signatures are verified with, where nothing else is named.
    std::fs::write(
        folder.join("policy.yaml"),
        "version: 1\nname: p\nimages:\n  verify: required\n  trust:\n    - {name: r, subject: a, issuer: \"https://i\"}\n",
    )
    .unwrap();
    layout::shop(&folder.join("shop"));
    if !Path::new("/etc/palisade/trusted_root.json").exists() {
        run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"])
            .expect_error(1, "not signed");
    }
    // What is old, stands still, is no trusted root or is somebody else's is not taken.
    repository.publish(3, b"{}", LATE);
    update().expect_error(1, "trusted root");
    repository.publish(4, &trusted_root(4), "2020-01-01T00:00:00Z");
    update().expect_error(1, "expired");
    let other = Repository {
        folder: &folder.join("other"),
        key: SigningKey::from_slice(&[8; 32]).unwrap(),
    };
    for version in 1..=5 {
        other.publish(version, &trusted_root(9), LATE);
    }
    let ended = run(folder, &["trust", "root", "update", "--tuf", "other"]);
    ended.expect_error(1, "signatures by the keys that are trusted");
    assert_eq!(std::fs::read(&kept).unwrap(), trusted_root(2));
    // A policy may name another one.
    std::fs::write(folder.join("root.json"), "{").unwrap();
    let text = std::fs::read_to_string(folder.join("policy.yaml")).unwrap();
    let text = text.replace("images:\n", "images:\n  trusted_root: root.json\n");
    std::fs::write(folder.join("policy.yaml"), text).unwrap();
    run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect_error(2, "trusted root");
    run(
        folder,
        &["trust", "root", "import", "--replace", "--tuf", "other", "--root", "other/2.root.json"],
    )
    .expect(0);
    assert_eq!(std::fs::read(&kept).unwrap(), trusted_root(9));
}

/// What rests on a fetched root ends when its metadata has to be confirmed.
#[test]
fn metadata_that_expires_ends_what_was_decided() {
    if Path::new("/etc/palisade/trusted_root.json").exists() {
        eprintln!("skipped: this machine has a trusted root of its own");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let repository = Repository { folder: &folder.join("tuf"), key };
    let soon = palisade_base::Timestamp::now().as_nanos() / 1_000_000_000 + 600;
    let at = |seconds: u64| palisade_base::Timestamp::from_nanos(seconds * 1_000_000_000).rfc3339();
    repository.publish(1, &trusted_root(1), &format!("{}Z", &at(soon)[..19]));
    run(folder, &["trust", "root", "import", "--tuf", "tuf", "--root", "tuf/1.root.json"])
        .expect(0);
    layout::shop(&folder.join("shop"));
    run(folder, &["sign", "--generate-key", "shop"]).expect(0);
    run(folder, &["sign", "--key", "shop.key", "oci:shop"]).expect(0);
    let until = |rules: &str| {
        let policy = format!(
            "version: 1\nname: p\nimages:\n  verify: required\n  trust:\n    \
             - {{name: key, keys: [shop.pub]}}\n{rules}"
        );
        std::fs::write(folder.join("policy.yaml"), policy).unwrap();
        let _ = std::fs::remove_dir_all(folder.join("data/decisions"));
        run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(0);
        let entries = std::fs::read_dir(folder.join("data/decisions")).unwrap().flatten();
        let mut paths = entries.map(|entry| entry.path());
        let path = paths.find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let body: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        body["until"].as_str().map(str::to_string)
    };
    let named = "    - {name: robot, subject: \"https://git.example/*\", \
                 issuer: \"https://token.example\"}\n";
    let end = until(named).unwrap();
    assert_eq!(end[..19], at(soon - 1)[..19], "{end}");
    // A key alone rests on no root.
    assert_eq!(until(""), None);
}
