//! `palisade verify` of a registry's image: signatures of every family, `policy.json` with its
//! lookaside folders, what `--offline` leaves alone, and what a failing network means.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::fake_registry::FakeRegistry;
use crate::layout::{self, Layout};
use crate::support::{Ended, finish, palisade, run};

/// A folder with key pairs `shop` and `other`, and an image in a layout.
fn prepared() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let image = layout::shop(&folder.path().join("shop"));
    for name in ["shop", "other"] {
        run(folder.path(), &["sign", "--generate-key", name]).expect(0);
    }
    (folder, image)
}

fn write(folder: &Path, name: &str, value: &Value) {
    std::fs::write(folder.join(name), value.to_string()).unwrap();
}

/// gpg with a home of its own, and two keys.
struct Gpg(PathBuf);

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &self.0).output();
    }
}

impl Gpg {
    fn new(folder: &Path) -> Option<Self> {
        if Command::new("gpg").arg("--version").output().is_err() {
            eprintln!("skipped: gpg is not installed");
            return None;
        }
        let home = folder.join("gnupg");
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, PermissionsExt::from_mode(0o700)).unwrap();
        let this = Self(home);
        for who in ["dev", "evil"] {
            let address = format!("{who}@shop.example");
            this.run(&["--quick-gen-key", &address, "rsa2048", "sign", "never"]);
            let key = this.run(&["--export", &address]);
            std::fs::write(folder.join(format!("{who}.gpg")), key).unwrap();
        }
        Some(this)
    }

    fn run(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--passphrase", ""])
            .args(args)
            .env("GNUPGHOME", &self.0)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Signs the image as `name` into the lookaside folder `lookaside`.
    fn sign(&self, folder: &Path, name: &str) {
        let mut command = palisade(folder);
        command.env("GNUPGHOME", &self.0);
        let who = ["sign", "--gpg-key", "dev@shop.example", "--lookaside", "lookaside"];
        command.args(who).args(["--reference", name, "oci:shop"]);
        finish(command).expect(0);
    }
}

fn signed_by(folder: &Path, key: &str) -> Value {
    let key = BASE64_STANDARD.encode(std::fs::read(folder.join(key)).unwrap());
    json!([{"type": "signedBy", "keyType": "GPGKeys", "keyData": key}])
}

/// `policy.json` that refuses everything but what it says of the registry.
fn policy(folder: &Path, scopes: &Value) {
    let text = json!({"default": [{"type": "reject"}], "transports": {"docker": scopes}});
    write(folder, "policy.json", &text);
}

fn obey(folder: &Path, args: &[&str]) -> Ended {
    let policy = ["verify", "--containers-policy", "policy.json", "--registries-d", "registries.d"];
    run(folder, &[&policy[..], args].concat())
}

fn registries_d(folder: &Path, text: &str) {
    std::fs::create_dir_all(folder.join("registries.d")).unwrap();
    std::fs::write(folder.join("registries.d/a.yaml"), text).unwrap();
}

#[test]
fn a_policy_of_containers_image_decides_about_a_registry() {
    let (folder, image) = prepared();
    let folder = folder.path();
    let Some(gpg) = Gpg::new(folder) else { return };
    let registry = FakeRegistry::start(&folder.join("shop"));
    let host = registry.host.clone();
    let name = format!("{host}/team/shop:1");
    let lookaside = format!("file://{}/lookaside", folder.display());
    registries_d(folder, &format!("docker:\n  {host}:\n    lookaside: {lookaside}\n"));
    let accept = json!([{"type": "insecureAcceptAnything"}]);
    let reject = json!([{"type": "reject"}]);

    // Nobody has signed.
    policy(folder, &json!({&host: signed_by(folder, "dev.gpg")}));
    obey(folder, &[&name]).expect_error(1, "no signature of this kind");
    let none = obey(folder, &[&name]);
    assert!(none.stderr.contains(&format!("there is none in `{lookaside}`")), "{}", none.stderr);

    gpg.sign(folder, &name);
    let allowed = obey(folder, &[&name]).expect(0);
    assert!(allowed.stdout.contains(&image.manifest.to_string()), "{}", allowed.stdout);
    assert!(allowed.stdout.contains(&format!("transports.docker.\"{host}\"")));
    let json = obey(folder, &["--format", "json", &name]).expect(0);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["digest"], image.manifest.to_string());
    // By digest the repository counts; by another tag the signature is of another name.
    obey(folder, &[&format!("{host}/team/shop@{}", image.manifest)]).expect(0);
    obey(folder, &[&format!("{host}/team/shop:2")]).expect_error(1, "it is signed as");
    obey(folder, &[&format!("{host}/other/shop:1")]).expect_error(1, "no signature of this kind");

    // The most specific scope decides, and every requirement must hold.
    let scoped = |scopes: &Value, expected: Result<(), &str>| {
        policy(folder, scopes);
        match (obey(folder, &[&name]), expected) {
            (ended, Ok(())) => drop(ended.expect(0)),
            (ended, Err(what)) => ended.expect_error(1, what),
        }
    };
    let (dev, evil) = (signed_by(folder, "dev.gpg"), signed_by(folder, "evil.gpg"));
    let all = |lists: &[&Value]| -> Value {
        lists.iter().flat_map(|it| it.as_array().unwrap().clone()).collect()
    };
    let repository = format!("{host}/team/shop");
    let team = format!("{host}/team");
    scoped(&json!({&host: evil}), Err("by none of the given keys"));
    scoped(&json!({&host: evil, &team: dev}), Ok(()));
    scoped(&json!({&team: dev, &repository: evil}), Err("by none of the given keys"));
    scoped(&json!({&repository: evil, &name: accept}), Ok(()));
    scoped(&json!({&host: accept, &name: reject}), Err("every image is refused"));
    scoped(&json!({&host: all(&[&dev, &dev])}), Ok(()));
    scoped(&json!({&host: all(&[&dev, &evil])}), Err("signedBy"));
    scoped(&json!({"": accept, &host: evil}), Err("signedBy"));
    scoped(&json!({"": dev}), Ok(()));
    scoped(&json!({"*.0.0.1": dev}), Err("every image is refused"));
    // What a policy accepts or refuses as it is needs no signature; a refusal no connection.
    scoped(&json!({&host: accept}), Ok(()));
    registry.breaks("/");
    scoped(&json!({&host: reject}), Err("every image is refused"));
    assert!(registry.asked().is_empty());
    registry.breaks("");

    // Identities.
    let identity = |identity: &Value| {
        let mut list = dev.clone();
        list[0]["signedIdentity"] = identity.clone();
        json!({&host: list})
    };
    let vendor = |kind: &str, key: &str, name: &str| json!({"type": kind, key: name});
    scoped(&identity(&json!({"type": "matchExact"})), Ok(()));
    scoped(&identity(&json!({"type": "matchRepository"})), Ok(()));
    scoped(&identity(&vendor("exactReference", "dockerReference", &name)), Ok(()));
    scoped(
        &identity(&vendor("exactReference", "dockerReference", "vendor.example/shop:1")),
        Err("it is signed as"),
    );
    scoped(&identity(&vendor("exactRepository", "dockerRepository", &repository)), Ok(()));
    let remap = |prefix: &str, signed: &str| json!({"type": "remapIdentity", "prefix": prefix, "signedPrefix": signed});
    scoped(&identity(&remap(&team, &team)), Ok(()));
    scoped(&identity(&remap(&team, "vendor.example")), Err("it is signed as"));
    gpg.sign(folder, "vendor.example/shop:1");
    // The signature as the vendor's lies in a folder of another path.
    let digest = image.manifest.hex();
    std::fs::copy(
        folder.join(format!("lookaside/shop@sha256={digest}/signature-1")),
        folder.join(format!("lookaside/team/shop@sha256={digest}/signature-2")),
    )
    .unwrap();
    scoped(&identity(&remap(&team, "vendor.example")), Ok(()));

    // What is not usable is told with its place, and nothing is decided.
    registries_d(folder, "docker:\n  a.example:\n    lookaside: /not/a/url\n");
    let broken = obey(folder, &[&name]);
    broken.expect_error(2, "`registries.d` is not usable");
    assert!(broken.stderr.contains("a.yaml:3:16"), "{}", broken.stderr);
    registries_d(folder, "docker:\n  a.example:\n    lookasid: file:///x\n");
    let warned = obey(folder, &[&name]);
    assert!(warned.stderr.contains("`lookaside` is"), "{}", warned.stderr);
}

#[test]
fn lookaside_folders_are_on_servers_too_and_offline_leaves_others_alone() {
    let (folder, image) = prepared();
    let folder = folder.path();
    let Some(gpg) = Gpg::new(folder) else { return };
    let registry = FakeRegistry::start(&folder.join("shop"));
    let server = FakeRegistry::start(&folder.join("nothing"));
    let name = format!("{}/team/shop:1", registry.host);
    gpg.sign(folder, &name);
    let path = format!("team/shop@sha256={}/signature-1", image.manifest.hex());
    let signature = std::fs::read(folder.join("lookaside").join(&path)).unwrap();
    policy(folder, &json!({&registry.host: signed_by(folder, "dev.gpg")}));
    let at = |host: &str| {
        let text = format!("docker:\n  {}:\n    lookaside: http://{host}/sig\n", registry.host);
        registries_d(folder, &text);
    };
    at(&server.host);
    obey(folder, &[&name]).expect_error(1, "no signature of this kind");
    server.put(&format!("/sig/{path}"), signature.clone());
    obey(folder, &[&name]).expect(0);
    // A server that cannot be asked says nothing, in neither direction.
    server.breaks("/sig");
    obey(folder, &[&name]).expect_error(5, "signature 1");
    at("127.0.0.1:1");
    obey(folder, &[&name]).expect_error(5, "signature 1");

    at(&server.host);
    server.breaks("");
    let offline = obey(folder, &["--offline", &name]);
    offline.expect_error(1, "no signature of this kind");
    assert!(offline.stderr.contains("because of --offline"), "{}", offline.stderr);
    assert!(server.asked().is_empty());
    // The registry's own host may be asked.
    at(&registry.host);
    registry.put(&format!("/sig/{path}"), signature);
    obey(folder, &["--offline", &name]).expect(0);
}

#[test]
fn a_mirror_gives_the_image_and_the_name_decides() {
    let (folder, _) = prepared();
    let folder = folder.path();
    let Some(gpg) = Gpg::new(folder) else { return };
    let registry = FakeRegistry::start(&folder.join("shop"));
    let conf = format!(
        "[[registry]]\nprefix = \"vendor.example\"\nlocation = \"vendor.example\"\n\
         [[registry.mirror]]\nlocation = \"{}/mirror\"\ninsecure = true\n",
        registry.host
    );
    std::fs::write(folder.join("registries.conf"), conf).unwrap();
    let lookaside = format!("file://{}/lookaside", folder.display());
    policy(folder, &json!({"vendor.example": signed_by(folder, "dev.gpg")}));
    let verify = || {
        let mut command = palisade(folder);
        command.env("CONTAINERS_REGISTRIES_CONF", folder.join("registries.conf"));
        command.args(["verify", "--containers-policy", "policy.json"]);
        command.args(["--registries-d", "registries.d", "vendor.example/team/shop:1"]);
        finish(command)
    };
    // The folder is that of the place, which has a path of its own before the repository.
    registries_d(
        folder,
        &format!("docker:\n  {}/mirror:\n    lookaside: {lookaside}/mirrored\n", registry.host),
    );
    verify().expect_error(1, "no signature of this kind");
    gpg.sign(folder, "vendor.example/team/shop:1");
    std::fs::create_dir_all(folder.join("lookaside/mirrored/mirror")).unwrap();
    std::fs::rename(folder.join("lookaside/team"), folder.join("lookaside/mirrored/mirror/team"))
        .unwrap();
    verify().expect(0);
    // Signed under the mirror's name, it is not what was asked for.
    policy(folder, &json!({&registry.host: [{"type": "insecureAcceptAnything"}]}));
    verify().expect_error(1, "every image is refused");
}

#[test]
fn signatures_of_cosigns_count_where_registries_d_says_so() {
    let (folder, _) = prepared();
    let folder = folder.path();
    let registry = FakeRegistry::start(&folder.join("shop"));
    let host = registry.host.clone();
    let repository = format!("{host}/team/shop");
    let sign = ["sign", "--key", "shop.key", "--simple", "--reference", &repository, "oci:shop"];
    run(folder, &sign).expect(0);
    let name = format!("{host}/team/shop:1");
    let requirement = |key: &str, identity: &Value| {
        json!({&host: [{"type": "sigstoreSigned", "keyPath": folder.join(key),
            "signedIdentity": identity}]})
    };
    let same = json!({"type": "matchRepository"});
    policy(folder, &requirement("shop.pub", &same));
    registries_d(folder, "docker: {}\n");
    let silent = obey(folder, &[&name]);
    silent.expect_error(1, "no signature of this kind");
    assert!(silent.stderr.contains("use-sigstore-attachments: true"), "{}", silent.stderr);
    registries_d(folder, "default-docker:\n  use-sigstore-attachments: true\n");
    obey(folder, &[&name]).expect(0);
    obey(folder, &[&format!("{host}/other/shop:1")]).expect_error(1, "signed as");
    policy(folder, &requirement("other.pub", &same));
    obey(folder, &[&name]).expect_error(1, "it is by none of the keys");
    let vendor = json!({"type": "exactRepository", "dockerRepository": "vendor.example/shop"});
    policy(folder, &requirement("shop.pub", &vendor));
    obey(folder, &[&name]).expect_error(1, "signed as");
    for part in ["/manifests/1", ".sig", "/blobs/"] {
        registry.breaks(part);
        obey(folder, &[&name]).expect_error(5, "");
    }
    registry.breaks(".sig");
    // What was not asked for is not needed.
    policy(folder, &json!({&host: [{"type": "insecureAcceptAnything"}]}));
    obey(folder, &[&name]).expect(0);
}
