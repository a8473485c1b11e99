//! Images in a registry: one on loopback that serves a layout to those who know the password.

use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::layout;
use crate::support::{Reserved, finish, palisade, run, write_script};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Serves `layout` under every name and tag; gives its host and port.
pub(crate) fn registry(layout: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let layout = layout.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut writer = stream;
                while let Some((is_head, path, authorization)) = request(&mut reader) {
                    let (status, body) = answer(&layout, &path, authorization.as_deref());
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: {MANIFEST}\r\n\
                         www-authenticate: Basic realm=\"test\"\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    let body = if is_head { &[][..] } else { &body };
                    if writer.write_all(&[head.as_bytes(), body].concat()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    host
}

fn request(reader: &mut impl std::io::BufRead) -> Option<(bool, String, Option<String>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut authorization = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.to_string());
            }
            Some(_) => {}
            None => break,
        }
    }
    Some((method == "HEAD", path, authorization))
}

fn answer(layout: &Path, path: &str, authorization: Option<&str>) -> (u16, Vec<u8>) {
    // `user:secret`.
    if authorization != Some("Basic dXNlcjpzZWNyZXQ=") {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        return (401, body.into());
    }
    let last = path.rsplit('/').next().unwrap();
    let blob = |digest: &str| {
        std::fs::read(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))).ok()
    };
    let found = if last == "1.0" {
        let index = std::fs::read(layout.join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        blob(index["manifests"][0]["digest"].as_str().unwrap())
    } else {
        blob(last)
    };
    found.map_or((404, b"{}".to_vec()), |bytes| (200, bytes))
}

/// A helper that knows the password of one registry.
pub(crate) fn helper(folder: &Path, host: &str) {
    let path = folder.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread -r host\nif [ \"$1 $host\" = \"get {host}\" ]; then\n\
         echo '{{\"ServerURL\":\"{host}\",\"Username\":\"user\",\"Secret\":\"secret\"}}'\nelse\n\
         echo 'credentials not found in native keychain'; exit 1\nfi\n"
    );
    write_script(&path, &script);
    std::fs::create_dir_all(folder.join(".docker")).unwrap();
    std::fs::write(folder.join(".docker/config.json"), r#"{"credsStore":"test"}"#).unwrap();
}

#[test]
fn an_image_of_a_private_registry_is_examined() {
    let folder = tempfile::tempdir().unwrap();
    layout::plain(&folder.path().join("image"));
    let host = registry(folder.path().join("image"));
    let name = format!("registry:{host}/team/shop:1.0");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let command = |args: &[&str]| {
        let mut command = palisade(folder.path());
        command.args(args).env("PATH", &path);
        finish(command)
    };

    let refused = command(&["scan", &name]);
    refused.expect_error(3, "without credentials: UNAUTHORIZED: authentication required");
    assert!(refused.stderr.contains(&format!("docker login {host}")), "{}", refused.stderr);

    helper(folder.path(), &host);
    let files = |ended: &crate::support::Ended| -> serde_json::Value {
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        report["inventory"]["n_files"].clone()
    };
    let remote = command(&["scan", "--format", "json", &name]).expect(0);
    let local = run(folder.path(), &["scan", "--format", "json", "oci:image"]).expect(0);
    assert_eq!(files(&remote), files(&local));
    assert!(files(&local).as_u64().is_some_and(|n| n > 0), "{}", local.stdout);
    assert!(remote.stderr.contains(&format!("from {host}")), "{}", remote.stderr);

    // What was fetched is there the next time.
    let again = command(&["scan", "--format", "json", &name]).expect(0);
    assert!(!again.stderr.contains("fetching"), "{}", again.stderr);
    let fresh = command(&["scan", "--no-cache", "--format", "json", &name]).expect(0);
    assert!(fresh.stderr.contains("fetching"), "{}", fresh.stderr);

    command(&["scan", &format!("registry:{host}/team/shop:2.0")])
        .expect_error(3, "has no manifest 2.0 of team/shop");
    command(&["scan", "--platform", "linux", &name]).expect_error(2, "is not a platform");
    command(&["scan", "--platform", "linux/s390x", &name]).expect_error(3, "linux/s390x");
}

#[test]
fn configuration_that_is_not_usable_is_2_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("registries.conf");
    std::fs::write(&conf, "[[registry]]\nlocation = 5\n").unwrap();
    let mut command = palisade(folder.path());
    command.args(["scan", "registry:localhost:1/shop"]).env("CONTAINERS_REGISTRIES_CONF", &conf);
    let ended = finish(command);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("registries.conf:2:12"), "{}", ended.stderr);
}

/// Debian's registry on loopback; ended when dropped.
struct Writable {
    child: std::process::Child,
    host: String,
    _reserved: Reserved,
}

impl Drop for Writable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn writable(folder: &Path) -> Option<Writable> {
    let program = Path::new("/usr/bin/docker-registry");
    if !program.exists() {
        eprintln!("skipped: docker-registry is not installed");
        return None;
    }
    let reserved = Reserved::new();
    let host = reserved.host.clone();
    let config = folder.join("registry.yml");
    let data = folder.join("registry");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
        data.display()
    );
    std::fs::write(&config, text).unwrap();
    let child = std::process::Command::new(program)
        .args([Path::new("serve"), &config])
        .env_clear()
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let registry = Writable { child, host, _reserved: reserved };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::net::TcpStream::connect(&registry.host).is_err() {
        assert!(std::time::Instant::now() < deadline, "the registry does not start");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Some(registry)
}

#[test]
fn only_what_passes_is_promoted_and_its_signature_comes_along() {
    let folder = tempfile::tempdir().unwrap();
    let Some(registry) = writable(folder.path()) else { return };
    let image = layout::plain(&folder.path().join("image"));
    run(folder.path(), &["sign", "--generate-key", "key"]).expect(0);
    run(folder.path(), &["sign", "--key", "key.key", "oci:image"]).expect(0);
    let name = |name: &str| format!("{}/{name}", registry.host);

    // The gate of this policy needs the database, which is not there.
    let to = name("prod/shop:1.0");
    let refused = run(folder.path(), &["promote", "--policy", "restricted", "oci:image", &to]);
    assert!(matches!(refused.code, 1 | 3), "{}", refused.stderr);
    assert!(refused.stderr.contains("nothing was copied"), "{}", refused.stderr);
    run(folder.path(), &["scan", &format!("registry:{to}")]).expect_error(3, "has no manifest");

    let done = run(folder.path(), &["promote", "--policy", "audit", "oci:image", &to]).expect(0);
    assert_eq!(done.stdout, format!("{to}@{}\n", image.manifest));
    assert!(done.stderr.contains("1 of them signatures"), "{}", done.stderr);
    run(folder.path(), &["scan", &format!("registry:{to}")]).expect(0);

    // From one repository to another of the same registry nothing is sent.
    let next = name("edge/shop:1.0");
    let done = run(folder.path(), &["promote", "--policy", "audit", &to, &next]).expect(0);
    assert!(done.stderr.contains("0 blobs, 0 bytes sent"), "{}", done.stderr);
    assert!(done.stderr.contains("1 of them signatures"), "{}", done.stderr);
    run(folder.path(), &["promote", "dir:image", &to]).expect_error(2, "cannot be copied");
}

/// Signatures are found where the image is; what the network hides is neither good nor bad.
#[test]
fn an_image_is_verified_in_its_registry_and_in_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let Some(registry) = writable(folder.path()) else { return };
    let image = layout::plain(&folder.path().join("image"));
    run(folder.path(), &["sign", "--generate-key", "key"]).expect(0);
    run(folder.path(), &["sign", "--generate-key", "other"]).expect(0);
    let name = |name: &str| format!("{}/{name}", registry.host);
    let (signed, bare) = (name("team/shop:1.0"), name("team/bare:1.0"));
    run(folder.path(), &["promote", "--policy", "audit", "oci:image", &bare]).expect(0);
    run(folder.path(), &["sign", "--key", "key.key", "oci:image"]).expect(0);
    run(folder.path(), &["promote", "--policy", "audit", "oci:image", &signed]).expect(0);
    let verify = |key: &str, target: &str| run(folder.path(), &["verify", "--key", key, target]);

    let good = verify("key.pub", &signed).expect(0);
    assert!(good.stdout.contains(&image.manifest.to_string()), "{}", good.stdout);
    assert!(good.stdout.contains("layers were not read"), "{}", good.stdout);
    let args = ["verify", "--layers", "--format", "json", "--key", "key.pub", &signed];
    let all: serde_json::Value =
        serde_json::from_str(&run(folder.path(), &args).expect(0).stdout).unwrap();
    assert_eq!((&all["layers_read"], &all["blobs"]), (&true.into(), &3.into()), "{all}");
    let by_digest = format!("{}@{}", name("team/shop"), image.manifest);
    verify("key.pub", &by_digest).expect(0);
    verify("other.pub", &signed).expect_error(1, "by none of the given keys");
    verify("key.pub", &bare).expect_error(1, "is not signed");
    verify("key.pub", &name("team/shop:2.0")).expect_error(3, "has no manifest");

    // The rules of a policy, by name and by number of signers; promoting obeys them as well.
    let policy = |n: u32| {
        let text = format!(
            "version: 1\nname: p\nimages:\n  verify: required\n  trust:\n    - name: team\n      \
             images: [\"{}/team/*\"]\n      keys: [key.pub, other.pub]\n      signers_min: {n}\n",
            registry.host
        );
        std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    };
    let by_policy = |target: &str| run(folder.path(), &["verify", "--policy", "p.yaml", target]);
    let promote = |from: &str, to: &str| {
        run(folder.path(), &["promote", "--policy", "p.yaml", from, &name(to)])
    };
    policy(1);
    let allowed = by_policy(&signed).expect(0);
    assert!(allowed.stdout.contains("rule      images.trust[team]"), "{}", allowed.stdout);
    by_policy(&bare).expect_error(1, "is not signed");
    by_policy("oci:image").expect_error(1, "no rule of the policy is about this image");
    promote(&signed, "prod/shop:1.0").expect(0);
    let refused = promote(&bare, "prod/bare:1.0");
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("a signature is required"), "{}", refused.stderr);
    let explain = |target: &str| {
        run(folder.path(), &["trust", "explain", "--policy", "p.yaml", "--format", "json", target])
    };
    let of = |ended: crate::support::Ended| -> serde_json::Value {
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let found = of(explain(&signed).expect(0));
    assert_eq!(found["allowed_by"], "images.trust[team]", "{found}");
    assert_eq!(found["signers"].as_array().unwrap().len(), 1, "{found}");
    let found = of(explain(&bare).expect(1));
    assert_eq!(found["rules"][0]["lacks"][0], "0 of 1 signers have signed", "{found}");
    let list = run(folder.path(), &["trust", "list", "--policy", "p.yaml"]).expect(0);
    assert!(list.stdout.contains("key.pub, ") && list.stdout.contains("holds"), "{}", list.stdout);
    policy(2);
    by_policy(&signed).expect_error(1, "1 of 2 signers have signed");
    assert_eq!(promote(&signed, "prod/shop:2.0").code, 1);

    let tar = |path: &str| {
        let args = ["-C", "image", "-cf", path, "oci-layout", "index.json", "blobs"];
        let done = std::process::Command::new("tar").args(args).current_dir(folder.path()).status();
        assert!(done.unwrap().success());
    };
    tar("shop.tar");
    verify("key.pub", "archive:shop.tar").expect(0);
    verify("other.pub", "archive:shop.tar").expect_error(1, "by none of the given keys");
    std::fs::write(image.blob(&image.layers[0]), b"something else").unwrap();
    tar("changed.tar");
    verify("key.pub", "archive:changed.tar").expect_error(1, "was changed");

    drop(registry);
    verify("key.pub", &signed).expect_error(5, "for manifest 1.0 of team/shop");
}
