//! Plans for images of Alpine, against an index that the test makes and signs.

use std::path::PathBuf;
use std::process::Command;

use palisade_base::Timestamp;
use palisade_image::{Image, OpenOptions};
use palisade_model::Target;
use palisade_patch::{Files, Mirror, Plan, Repository};

use crate::{FromFiles, finding};

const INSTALLED: &str = "\
P:libshop\nV:1.0-r0\nA:x86_64\no:shop\np:so:libshop.so.1=1.0\nD:so:libc.so.1\n\n\
P:shop\nV:1.0-r0\nA:x86_64\no:shop\nD:libshop=1.0-r0 so:libshop.so.1\n\n\
P:musl\nV:1.2-r0\nA:x86_64\np:so:libc.so.1=1\n\n\
P:pinned\nV:1-r0\nA:x86_64\n\n";

const INDEX: &str = "\
P:libshop\nV:1.0-r2\nA:x86_64\nS:10\np:so:libshop.so.1=1.0\nD:so:libc.so.1\n\n\
P:shop\nV:1.0-r2\nA:x86_64\nS:10\nD:libshop=1.0-r2 so:libshop.so.1\n\n\
P:musl\nV:1.2-r9\nA:x86_64\nS:10\nD:newcomer\np:so:libc.so.1=1\n\n\
P:pinned\nV:3-r0\nA:x86_64\nS:10\n\n";

pub(crate) struct Alpine {
    folder: tempfile::TempDir,
}

pub(crate) fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, bytes).unwrap();
    gzip.finish().unwrap()
}

fn tar(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, name, bytes).unwrap();
    tar.into_inner().unwrap()
}

impl Alpine {
    pub(crate) fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        this.write("image/lib/apk/db/installed", INSTALLED.as_bytes());
        this.write("image/etc/apk/arch", b"x86_64\n");
        let repositories =
            b"# c\nhttps://alpine.example/v3.20/main\n@edge https://alpine.example/edge/main\n";
        this.write("image/etc/apk/repositories", repositories);
        this.write("image/etc/apk/world", b"shop musl pinned<2\n");
        this.key("owner");
        let key = std::fs::read(this.path("owner.pub")).unwrap();
        this.write("image/etc/apk/keys/owner.rsa.pub", &key);
        this.publish(".SIGN.RSA256.owner.rsa.pub", "-sha256", "owner");
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn key(&self, name: &str) {
        let (private, public) = (self.path(name), self.path(&format!("{name}.pub")));
        let (private, public) = (private.to_str().unwrap(), public.to_str().unwrap());
        openssl(&["genrsa", "-out", private, "2048"]);
        openssl(&["rsa", "-in", private, "-pubout", "-out", public]);
    }

    /// Signs the index with a key, by the name and the hash that are given.
    fn publish(&self, name: &str, hash: &str, key: &str) {
        self.publish_index(INDEX, name, hash, key);
    }

    /// The same with an index of one's own.
    pub(crate) fn publish_index(&self, index: &str, name: &str, hash: &str, key: &str) {
        let signed = gzip(&tar("APKINDEX", index.as_bytes()));
        self.write("signed", &signed);
        let head = self.signature("signed", name, hash, key);
        self.write("mirror/v3.20/main/x86_64/APKINDEX.tar.gz", &[head, signed].concat());
    }

    /// The gzip member with the signature of a file.
    pub(crate) fn signature(&self, from: &str, name: &str, hash: &str, key: &str) -> Vec<u8> {
        let (key, to, from) = (self.path(key), self.path("signature"), self.path(from));
        let paths = [key.to_str().unwrap(), to.to_str().unwrap(), from.to_str().unwrap()];
        openssl(&["dgst", hash, "-sign", paths[0], "-out", paths[1], paths[2]]);
        let mut head = tar(name, &std::fs::read(to).unwrap());
        // Alpine cuts the end of the first archive off.
        head.truncate(head.len() - 1024);
        gzip(&head)
    }

    pub(crate) fn files(&self) -> Files {
        let target = Target::Folder(self.path("image"));
        Files::read(&Image::open(&target, &OpenOptions::default()).unwrap()).unwrap()
    }

    pub(crate) fn gather(&self) -> Repository {
        let to = format!("file://{}", self.path("mirror").to_str().unwrap());
        let mirrors = [Mirror { from: "https://alpine.example".into(), to }];
        Repository::gather(&self.files(), &mirrors, &FromFiles, Timestamp::now()).unwrap()
    }

    fn problem(&self) -> String {
        self.gather().suites[0].problem.clone().unwrap_or_default()
    }
}

#[test]
fn upgrades_of_alpine_that_fix() {
    let alpine = Alpine::new();
    let repository = alpine.gather();
    assert_eq!(repository.suites[0].problem, None);
    assert_eq!(repository.suites[0].signed_by.as_deref(), Some("owner.rsa.pub"));
    assert_eq!(repository.suites[0].suite, "v3.20/main");
    assert!(repository.suites[1].problem.as_ref().unwrap().contains("tagged"));
    let one = |package: &str, id: &str, fixed: Option<&str>| {
        let mut found = finding(package, id, fixed);
        found.purl = format!("pkg:apk/alpine/{package}");
        found.installed = match package {
            "musl" => "1.2-r0".into(),
            "pinned" => "1-r0".into(),
            _ => "1.0-r0".into(),
        };
        found
    };
    let found = [
        one("libshop", "CVE-2025-1", Some("1.0-r1")),
        one("libshop", "CVE-2025-2", Some("1.0-r3")),
        one("musl", "CVE-2025-3", Some("1.2-r1")),
        one("pinned", "CVE-2025-4", Some("2-r0")),
    ];
    let plan = Plan::new(&alpine.files(), &found, &repository);
    let upgrades: Vec<(&str, &str, Option<&str>)> = plan
        .upgrades
        .iter()
        .map(|u| (&*u.package, &*u.available, u.needed_by.as_deref()))
        .collect();
    assert_eq!(upgrades, [("libshop", "1.0-r2", None), ("shop", "1.0-r2", Some("libshop"))]);
    let why: Vec<(&str, &str)> = plan.remaining.iter().map(|r| (&*r.id, &*r.why)).collect();
    assert_eq!(
        why,
        [
            ("CVE-2025-2", "the repositories have 1.0-r2, fixed is 1.0-r3"),
            ("CVE-2025-3", "1.2-r9 needs newcomer, which is not installed"),
            ("CVE-2025-4", "`/etc/apk/world` has `pinned<2`"),
        ]
    );
}

#[test]
fn an_upgrade_does_not_take_away_what_others_need() {
    let alpine = Alpine::new();
    let installed = "P:libshop\nV:1.0-r0\nA:x86_64\np:so:libshop.so.1=1.0\n\n\
                     P:app\nV:1-r0\nA:x86_64\nD:so:libshop.so.1\n\n";
    alpine.write("image/lib/apk/db/installed", installed.as_bytes());
    alpine.write("image/etc/apk/world", b"app\n");
    let lib = "P:libshop\nV:1.0-r2\nA:x86_64\nS:10\np:so:libshop.so.2=2.0\n\n";
    let app = "P:app\nV:2-r0\nA:x86_64\nS:10\nD:so:libshop.so.2\n\n";
    let mut found = finding("libshop", "CVE-2025-1", Some("1.0-r1"));
    found.purl = "pkg:apk/alpine/libshop".into();
    found.installed = "1.0-r0".into();
    let plan = |index: &str| {
        alpine.publish_index(index, ".SIGN.RSA256.owner.rsa.pub", "-sha256", "owner");
        Plan::new(&alpine.files(), std::slice::from_ref(&found), &alpine.gather())
    };
    let alone = plan(lib);
    assert!(alone.upgrades.is_empty(), "{alone:?}");
    let why = &alone.remaining[0].why;
    assert_eq!(why, "app needs so:libshop.so.1 and cannot be upgraded with it");
    let both = plan(&format!("{lib}{app}"));
    let upgrades: Vec<&str> = both.upgrades.iter().map(|one| &*one.package).collect();
    assert_eq!((upgrades, both.remaining.len()), (vec!["app", "libshop"], 0));
}

#[test]
fn an_index_of_alpine_is_signed_by_a_key_of_the_image() {
    let alpine = Alpine::new();
    let check = |expected: &str| {
        let problem = alpine.problem();
        assert!(
            problem.contains(expected) && problem.is_empty() == expected.is_empty(),
            "{problem}"
        );
    };
    alpine.publish(".SIGN.RSA.owner.rsa.pub", "-sha1", "owner");
    check("");
    alpine.publish(".SIGN.RSA256.owner.rsa.pub", "-sha1", "owner");
    check("its signature is false");
    alpine.key("stranger");
    alpine.publish(".SIGN.RSA256.owner.rsa.pub", "-sha256", "stranger");
    check("its signature is false");
    alpine.publish(".SIGN.RSA256.stranger.rsa.pub", "-sha256", "stranger");
    check("none of its signatures is of a key that the image trusts");
    alpine.publish(".SIGN.RSA256.../world", "-sha256", "owner");
    check("it is not signed");
    alpine.publish("other", "-sha256", "owner");
    check("it is not signed");
    // What follows the signature is what is signed, to the last byte.
    alpine.publish(".SIGN.RSA256.owner.rsa.pub", "-sha256", "owner");
    check("");
    let path = alpine.path("mirror/v3.20/main/x86_64/APKINDEX.tar.gz");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    check("its signature is false");
    std::fs::write(&path, std::fs::read(alpine.path("signed")).unwrap()).unwrap();
    check("it is not signed");
    std::fs::write(&path, b"").unwrap();
    assert!(!alpine.problem().is_empty());
    std::fs::write(&path, &good[..40]).unwrap();
    assert!(!alpine.problem().is_empty());
}
