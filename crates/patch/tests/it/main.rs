//! Plans against a repository that the test makes and signs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apk;
mod apk_layer;
mod mutations;
mod root;
mod rpm;
mod status_folder;

use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_base::{Digest, Timestamp};
use palisade_image::{Image, OpenOptions};
use palisade_model::Target;
use palisade_model::finding::Vulnerability;
use palisade_patch::{Fetch, FetchError, Files, Mirror, Plan, Repository};

/// Reads addresses of files.
struct FromFiles;

impl Fetch for FromFiles {
    fn fetch(&self, address: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        let path = address.strip_prefix("file://").ok_or_else(|| FetchError("no file".into()))?;
        let bytes = std::fs::read(path).map_err(|error| FetchError(error.to_string()))?;
        if bytes.len() as u64 > limit {
            return Err(FetchError("too large".into()));
        }
        Ok(bytes)
    }
}

/// A repository, an image that uses it, and the keys of its owner.
struct Fixture {
    folder: tempfile::TempDir,
}

const STATUS: &str = "\
Package: libshop1\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: amd64\nSource: shop\n\n\
Package: shop\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: amd64\nDepends: libshop1 (= 1.0-1)\n\n\
Package: held\nStatus: hold ok installed\nVersion: 1.0-1\nArchitecture: amd64\n\n\
Package: lonely\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: all\n\n";

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self { folder };
        std::fs::create_dir_all(fixture.path("gnupg")).unwrap();
        std::fs::create_dir_all(fixture.suite().join("main/binary-amd64")).unwrap();
        fixture.gpg(&["--passphrase", "", "--quick-gen-key", "owner@example.org", "ed25519"]);
        fixture.write("image/etc/apt/sources.list.d/shop.sources", &format!(
            "Types: deb\nURIs: http://shop.example/debian/\nSuites: stable\nComponents: main\nSigned-By: {}\n",
            "/usr/share/keyrings/shop.gpg"
        ));
        fixture.write("image/var/lib/dpkg/status", STATUS);
        std::fs::create_dir_all(fixture.path("image/usr/share/keyrings")).unwrap();
        let ring = fixture.path("image/usr/share/keyrings/shop.gpg");
        fixture.gpg(&["--output", ring.to_str().unwrap(), "--export", "owner@example.org"]);
        fixture.publish("Valid-Until: Sat, 01 Jan 2050 00:00:00 UTC\n", "");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn suite(&self) -> PathBuf {
        self.path("mirror/dists/stable")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn gpg(&self, arguments: &[&str]) {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.path("gnupg"));
        command.args(["--batch", "--yes", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes and signs the repository: `more` goes into its release, `packages` into its index.
    fn publish(&self, more: &str, packages: &str) {
        let entry = |name: &str, version: &str, rest: &str| {
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\n\
                 Size: 1000\nSHA256: {}\n{rest}\n",
                "0".repeat(64)
            )
        };
        let index = entry("libshop1", "1.0-2", "Source: shop\n")
            + &entry("shop", "1.0-2+b1", "Depends: libshop1 (= 1.0-2)\n")
            + &entry("held", "2", "")
            + packages;
        self.publish_index(more, &index);
    }

    /// The same with an index of one's own.
    fn publish_index(&self, more: &str, index: &str) {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, index.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let path = "main/binary-amd64/Packages.gz";
        std::fs::write(self.suite().join(path), &gzip).unwrap();
        let release = format!(
            "Suite: stable\nCodename: shop\nDate: Sat, 11 Jan 2025 10:23:31 UTC\n{more}SHA256:\n {} {} {path}\n",
            Digest::of(&gzip).hex(),
            gzip.len()
        );
        self.write("Release", &release);
        let (from, to) = (self.path("Release"), self.suite().join("InRelease"));
        self.gpg(&["--output", to.to_str().unwrap(), "--clearsign", from.to_str().unwrap()]);
    }

    fn files(&self) -> Files {
        let target = Target::Folder(self.path("image"));
        Files::read(&Image::open(&target, &OpenOptions::default()).unwrap()).unwrap()
    }

    fn gather(&self) -> Repository {
        self.gather_for(&self.files())
    }

    fn gather_for(&self, files: &Files) -> Repository {
        let mirror = self.path("mirror");
        let to = format!("file://{}", mirror.to_str().unwrap());
        let mirrors = [Mirror { from: "http://shop.example/debian".into(), to }];
        Repository::gather(files, &mirrors, &FromFiles, Timestamp::now()).unwrap()
    }

    /// Why the only suite is not used.
    fn problem(&self) -> String {
        let suites = self.gather().suites;
        assert_eq!(suites.len(), 1);
        suites[0]
            .problem
            .clone()
            .unwrap_or_default()
            .replace(self.folder.path().to_str().unwrap(), "")
    }
}

fn finding(package: &str, id: &str, fixed: Option<&str>) -> Vulnerability {
    Vulnerability {
        id: id.into(),
        package: package.into(),
        purl: format!("pkg:deb/debian/{package}@1.0-1"),
        installed: "1.0-1".into(),
        fixed: fixed.map(str::to_string),
        ..Vulnerability::default()
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from));
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn upgrades_that_fix_and_what_goes_with_them() {
    let fixture = Fixture::new();
    let repository = fixture.gather();
    assert_eq!(repository.suites[0].problem, None);
    assert_eq!(repository.suites[0].n_packages, 3);
    let found = [
        finding("libshop1", "CVE-2025-1", Some("1.0-2")),
        finding("libshop1", "CVE-2025-2", Some("1.0-3")),
        finding("libshop1", "CVE-2025-3", None),
        finding("held", "CVE-2025-4", Some("2")),
        finding("lonely", "CVE-2025-5", Some("2")),
    ];
    let plan = Plan::new(&fixture.files(), &found, &repository);
    let upgrades: Vec<(&str, &str, usize, Option<&str>)> = plan
        .upgrades
        .iter()
        .map(|u| (&*u.package, &*u.available, u.fixes.len(), u.needed_by.as_deref()))
        .collect();
    assert_eq!(
        upgrades,
        [("libshop1", "1.0-2", 1, None), ("shop", "1.0-2+b1", 0, Some("libshop1"))]
    );
    let why: Vec<(&str, &str)> = plan.remaining.iter().map(|r| (&*r.id, &*r.why)).collect();
    assert_eq!(
        why,
        [
            ("CVE-2025-4", "the package is on hold"),
            ("CVE-2025-2", "the repositories have 1.0-2, fixed is 1.0-3"),
            ("CVE-2025-3", "no fixed version is known (affected)"),
            ("CVE-2025-5", "no repository of the image that can be used has the package"),
        ]
    );
}

#[test]
fn an_upgrade_that_needs_what_is_not_installed_is_not_made() {
    let fixture = Fixture::new();
    let more = format!(
        "Package: libshop1\nVersion: 1.0-9\nArchitecture: amd64\nFilename: pool/x.deb\nSize: 1\n\
         SHA256: {}\nDepends: newcomer (>= 2)\n",
        "0".repeat(64)
    );
    fixture.publish("", &more);
    let found = [finding("libshop1", "CVE-2025-1", Some("1.0-2"))];
    let plan = Plan::new(&fixture.files(), &found, &fixture.gather());
    assert!(plan.upgrades.is_empty());
    assert_eq!(plan.remaining[0].why, "1.0-9 needs newcomer (>= 2), which is not installed");
}

#[test]
fn a_pinned_package_stays() {
    let fixture = Fixture::new();
    fixture.write(
        "image/etc/apt/preferences.d/shop",
        "Package: libshop1\nPin: version 1.0-1\nPin-Priority: 1001\n",
    );
    let found = [finding("libshop1", "CVE-2025-1", Some("1.0-2"))];
    let plan = Plan::new(&fixture.files(), &found, &fixture.gather());
    assert_eq!(plan.remaining[0].why, "`/etc/apt/preferences.d/shop` pins the package");
}

#[test]
fn what_is_not_signed_as_it_is_is_not_believed() {
    let fixture = Fixture::new();
    let check = |expected: &str| {
        let problem = fixture.problem();
        assert!(problem.contains(expected), "{problem}");
    };
    // An index that is not the one that was signed, of the same length.
    let index = fixture.suite().join("main/binary-amd64/Packages.gz");
    let mut bytes = std::fs::read(&index).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&index, bytes).unwrap();
    check("it is not what the signed release lists");
    // A release that was changed after it was signed.
    fixture.publish("", "");
    edit(&fixture.suite().join("InRelease"), "Codename: shop", "Codename: shap");
    check("the signature is false");
    // Text before and after what is signed.
    fixture.publish("", "");
    let path = fixture.suite().join("InRelease");
    let signed = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("Suite: stable\n{signed}")).unwrap();
    check("it is no text with a signature");
    std::fs::write(&path, format!("{signed}\nSuite: stable\n")).unwrap();
    check("it is no text with a signature");
    std::fs::write(&path, std::fs::read_to_string(fixture.path("Release")).unwrap()).unwrap();
    check("it is no text with a signature");
    fixture.publish("Date: Sat, 01 Jan 2050 00:00:00 UTC\n", "");
    check("it is of the future");
    // One that is too old, and one of another suite.
    fixture.publish("Valid-Until: Sat, 01 Feb 2025 00:00:00 UTC\n", "");
    check("it was valid until 2025-02-01");
    fixture.publish("", "");
    edit(
        &fixture.path("image/etc/apt/sources.list.d/shop.sources"),
        "Suites: stable",
        "Suites: other",
    );
    std::fs::rename(fixture.suite(), fixture.path("mirror/dists/other")).unwrap();
    check("it is the suite `stable` (`shop`)");
}

#[test]
fn a_release_is_signed_beside_itself_too() {
    let fixture = Fixture::new();
    let (release, signature) =
        (fixture.suite().join("Release"), fixture.suite().join("Release.gpg"));
    std::fs::remove_file(fixture.suite().join("InRelease")).unwrap();
    assert!(fixture.problem().contains("dists/stable/InRelease"));
    std::fs::copy(fixture.path("Release"), &release).unwrap();
    assert!(fixture.problem().contains("Release.gpg"));
    for form in [&["--armor"][..], &[]] {
        let (from, to) = (release.to_str().unwrap(), signature.to_str().unwrap());
        fixture.gpg(&[form, &["--output", to, "--detach-sign", from]].concat());
        assert_eq!(fixture.problem(), "");
    }
    edit(&release, "Codename: shop", "Codename: shap");
    assert!(fixture.problem().contains("the signature is false"));
}

#[test]
fn an_index_is_got_by_its_hash_where_the_release_says_so() {
    let fixture = Fixture::new();
    fixture.publish("Acquire-By-Hash: yes\n", "");
    let folder = fixture.suite().join("main/binary-amd64");
    let by_hash = folder.join("by-hash/SHA256");
    std::fs::create_dir_all(&by_hash).unwrap();
    let bytes = std::fs::read(folder.join("Packages.gz")).unwrap();
    std::fs::write(by_hash.join(Digest::of(&bytes).hex()), &bytes).unwrap();
    // The mirror is being renewed: the name has the next index already.
    std::fs::write(folder.join("Packages.gz"), b"next").unwrap();
    assert_eq!(fixture.problem(), "");
    std::fs::write(by_hash.join(Digest::of(&bytes).hex()), b"x").unwrap();
    assert!(fixture.problem().contains("it is not what the signed release lists"));
}

#[test]
fn a_stranger_signs_for_nobody() {
    let fixture = Fixture::new();
    fixture.gpg(&["--passphrase", "", "--quick-gen-key", "stranger@example.org", "ed25519"]);
    let (from, to) = (fixture.path("Release"), fixture.suite().join("InRelease"));
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    fixture.gpg(&["--local-user", "stranger@example.org", "--output", to, "--clearsign", from]);
    assert!(fixture.problem().contains("none of its signatures"));
    // Signed by both it is believed.
    let owner = "owner@example.org";
    let both = ["--local-user", "stranger@example.org", "--local-user", owner];
    fixture.gpg(&[&both[..], &["--output", to, "--clearsign", from]].concat());
    assert_eq!(fixture.problem(), "");
    // Without the key nobody is.
    std::fs::remove_file(fixture.path("image/usr/share/keyrings/shop.gpg")).unwrap();
    assert!(fixture.problem().contains("the image holds no key for it"));
}
