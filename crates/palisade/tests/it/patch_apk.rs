//! `palisade patch` on an image of Alpine and a repository that the test makes and signs.

use std::path::Path;
use std::process::{Command, Stdio};

use palisade_base::Digest;
use serde_json::{Value, json};

use crate::layout::{Layer, Layout, gzip};
use crate::support::run;

/// What openssl gives for these bytes.
pub(crate) fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}");
    output.stdout
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// An archive; all but the last of a file have no end.
fn archive(entries: &[(&str, u32, &str)], has_end: bool) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let mut bytes = tar.into_inner().unwrap();
    if !has_end {
        bytes.truncate(bytes.len() - 1024);
    }
    bytes
}

/// The repository in `mirror/`, with a package that has the fix, and these scripts.
pub(crate) fn publish(folder: &Path, scripts: &[(&str, &str)]) {
    let data = gzip(&archive(
        &[
            ("usr/", 0o755, ""),
            ("usr/bin/", 0o755, ""),
            ("usr/bin/shop", 0o755, "new"),
            ("usr/bin/shop-more", 0o755, "new"),
        ],
        true,
    ));
    let info = format!(
        "pkgname = shop\npkgver = 1.0-r1\narch = x86_64\ndatahash = {}\n",
        Digest::of(&data).hex()
    );
    let scripts = scripts.iter().map(|(name, text)| (*name, 0o755, *text));
    let members: Vec<_> =
        std::iter::once((".PKGINFO", 0o644, info.as_str())).chain(scripts).collect();
    let control = gzip(&archive(&members, false));
    let package = [control.clone(), data].concat();
    let place = folder.join("mirror/v3.20/main/x86_64");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("shop-1.0-r1.apk"), &package).unwrap();
    let index = format!(
        "C:Q1{}\nP:shop\nV:1.0-r1\nA:x86_64\nS:{}\nI:8\nT:a shop\nU:https://shop.example\nL:MIT\n\
         o:shop\nt:1700000000\n\n",
        base64(&openssl(&["dgst", "-sha1", "-binary"], &control)),
        package.len()
    );
    let signed = gzip(&archive(&[("APKINDEX", 0o644, &index)], true));
    let key = folder.join("key").display().to_string();
    let signature = openssl(&["dgst", "-sha256", "-sign", &key], &signed);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(signature.len() as u64);
    tar.append_data(&mut header, ".SIGN.RSA256.owner.rsa.pub", &signature[..]).unwrap();
    let mut head = tar.into_inner().unwrap();
    head.truncate(head.len() - 1024);
    std::fs::write(place.join("APKINDEX.tar.gz"), [gzip(&head), signed].concat()).unwrap();
}

pub(crate) const INSTALLED: &str = "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:shop\nV:1.0-r0\nA:x86_64\nS:9\nI:8\nT:a shop\n\
    U:https://shop.example\nL:MIT\no:shop\nF:usr\nF:usr/bin\nR:shop\na:0:0:755\nR:old\na:0:0:755\n\n\
    C:Q1AQEBAQEBAQEBAQEBAQEBAQEBAQE=\nP:other\nV:1-r0\nA:x86_64\nS:9\nI:8\nT:other\n\
    U:https://shop.example\nL:MIT\no:other\n\n";

/// The database that knows of the fix.
pub(crate) fn build_database(path: &Path) {
    let feed = json!({"distroversion": "v3.20", "reponame": "main", "archs": ["x86_64"],
        "packages": [{"pkg": {"name": "shop", "secfixes": {"1.0-r1": ["CVE-2026-20001"]}}}]});
    std::fs::write(path.join("main.json"), feed.to_string()).unwrap();
    run(path, &["db", "build", "--alpine-secdb", "main.json"]).expect(0);
}

#[test]
fn an_image_of_alpine_is_patched_and_proved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let key = path.join("key").display().to_string();
    openssl(&["genrsa", "-out", &key, "2048"], b"");
    let public = openssl(&["rsa", "-in", &key, "-pubout"], b"");
    publish(path, &[]);
    build_database(path);
    let layer = Layer::new()
        .folder("etc/", 0o755)
        .file("etc/os-release", 0o644, "ID=alpine\nVERSION_ID=3.20.1\n")
        .file("etc/apk/arch", 0o644, "x86_64\n")
        .file("etc/apk/repositories", 0o644, "https://alpine.example/v3.20/main\n")
        .file("etc/apk/keys/owner.rsa.pub", 0o644, &public)
        .file("lib/apk/db/installed", 0o644, INSTALLED)
        .file("lib/apk/db/triggers", 0o644, "")
        .folder("usr/", 0o755)
        .folder("usr/bin/", 0o755)
        .file("usr/bin/shop", 0o755, "old")
        .file("usr/bin/old", 0o755, "old");
    let image = Layout::write(&path.join("shop"), vec![layer], &json!({}));
    let mirror = format!("https://alpine.example=file://{}/mirror", path.display());
    let build = |output: &str| {
        let target = image.target();
        let flags = ["patch", "build", "--format", "json", "--repository-mirror", &mirror];
        run(path, &[&flags[..], &["-o", output, &target]].concat())
    };
    let ended = build("out").expect(0);
    let built: Value = serde_json::from_str(&ended.stdout).unwrap();
    let proof = &built["proof"];
    assert_eq!(proof["holds"], true, "{built:#}");
    assert_eq!(proof["gone"], json!(["shop CVE-2026-20001"]));
    assert_eq!(proof["files"]["n_unexpected"], 0);
    // The file that only the old version had, the one that only the new one has.
    assert_eq!((&proof["files"]["n_removed"], &proof["files"]["n_added"]), (&1.into(), &1.into()));
    let scan = run(path, &["scan", "--format", "json", "oci:out"]).expect(0);
    assert!(scan.stdout.contains("1.0-r1") && !scan.stdout.contains("CVE-2026-20001"));
    // One byte of the package, and nothing is built.
    let package = path.join("mirror/v3.20/main/x86_64/shop-1.0-r1.apk");
    let mut bytes = std::fs::read(&package).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&package, bytes).unwrap();
    build("no").expect_error(3, "its files are not what its record says");
    assert!(!path.join("no").exists());
}
