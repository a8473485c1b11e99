//! `palisade patch build` of an image of RPM, whose own rpm upgrades in a container, beside the
//! same rpm in a root of the same files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_base::{Digest, Timestamp};
use palisade_image::{
    FileKind, Image, LayerSource, NewImage, OpenOptions, PackOptions, Visit, write_layout,
};
use palisade_model::Target;
use serde_json::{Value, json};

use super::bed::Bed;
use crate::patch::gpg;
use crate::support::{Ended, run};

fn execute(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A root with this machine's rpm, what it needs, and a shell.
fn root(at: &Path) {
    for folder in ["bin", "usr/bin", "etc/rpm", "var/tmp", "var/lib/rpm", "srv", "tmp", "root"] {
        std::fs::create_dir_all(at.join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", at.join("bin/busybox")).unwrap();
    for name in ["cat", "chmod", "mkdir", "rm", "sh", "sleep", "touch"] {
        symlink("busybox", at.join("bin").join(name)).unwrap();
    }
    std::fs::copy("/usr/bin/rpm", at.join("usr/bin/rpm")).unwrap();
    let libraries = execute(Command::new("ldd").arg("/usr/bin/rpm"));
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = at.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(library, to).unwrap();
    }
    std::fs::create_dir_all(at.join("usr/lib/rpm")).unwrap();
    for name in ["macros", "rpmrc", "rpmpopt-4.18.0", "platform"] {
        execute(
            Command::new("cp")
                .arg("-r")
                .arg(format!("/usr/lib/rpm/{name}"))
                .arg(at.join("usr/lib/rpm")),
        );
    }
    for (path, text) in [
        // Debian's is below the user's home.
        ("etc/rpm/macros", "%_dbpath /var/lib/rpm\n"),
        ("etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\nNAME=\"Shop\"\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/:/bin/sh\n"),
        ("etc/group", "root:x:0:\nwww:x:33:\n"),
        ("srv/mine", "mine"),
    ] {
        std::fs::write(at.join(path), text).unwrap();
    }
    let repo = "[shop]\nbaseurl=http://shop.example/$releasever/$basearch\ngpgcheck=1\n\
                gpgkey=file:///etc/pki/rpm-gpg/shop\n";
    std::fs::create_dir_all(at.join("etc/yum.repos.d")).unwrap();
    std::fs::write(at.join("etc/yum.repos.d/shop.repo"), repo).unwrap();
    std::fs::create_dir_all(at.join("etc/pki/rpm-gpg")).unwrap();
}

/// Makes a package of files (path, mode, content, attributes in the spec file).
fn package(
    folder: &Path,
    name: &str,
    version: &str,
    scripts: &str,
    files: &[(&str, u32, &str, &str)],
) -> PathBuf {
    let (mut install, mut list) = (String::new(), String::new());
    for (path, mode, content, attributes) in files {
        let _ = writeln!(install, "mkdir -p $(dirname %{{buildroot}}{path})");
        if let Some(target) = content.strip_prefix("->") {
            let _ = writeln!(install, "ln -s {target} %{{buildroot}}{path}");
        } else if let Some(target) = content.strip_prefix("=>") {
            let _ = writeln!(install, "ln %{{buildroot}}{target} %{{buildroot}}{path}");
        } else {
            let _ = writeln!(install, "echo '{content}' >%{{buildroot}}{path}");
            let _ = writeln!(install, "chmod {mode:o} %{{buildroot}}{path}");
        }
        let _ = writeln!(list, "{attributes} {path}");
    }
    // What the scripts' interpreter is of.
    let provides = if name == "other" { "Provides: /bin/sh\n" } else { "" };
    let (number, release) = version.split_once('-').unwrap();
    let spec = format!(
        "Name: {name}\nVersion: {number}\nRelease: {release}\nSummary: {name}\nLicense: MIT\n\
         AutoReqProv: no\n{provides}%description\n{name}\n%install\n{install}\n{scripts}\n%files\n{list}\n"
    );
    std::fs::write(folder.join("spec"), spec).unwrap();
    let mut command = Command::new("rpmbuild");
    command.args(["--quiet", "-bb", "--target", "x86_64"]);
    for (key, value) in [
        ("_topdir", folder.join("build").to_str().unwrap()),
        ("_rpmdir", folder.join("packages").to_str().unwrap()),
        ("_rpmfilename", "%{NAME}-%{VERSION}-%{RELEASE}.rpm"),
        ("_build_id_links", "none"),
        ("debug_package", "%{nil}"),
        ("__os_install_post", "%{nil}"),
    ] {
        command.args(["--define", &format!("{key} {value}")]);
    }
    execute(command.arg(folder.join("spec")));
    folder.join(format!("packages/{name}-{version}.rpm"))
}

/// Signs packages, and offers them and nothing else.
fn offer(folder: &Path, packages: &[&PathBuf]) {
    let mut command = Command::new("rpmsign");
    command.env("GNUPGHOME", folder.join("gnupg"));
    command.args(["--define", "_gpg_name owner@example.org", "--define", "__gpg /usr/bin/gpg"]);
    execute(command.arg("--addsign").args(packages));
    let place = folder.join("mirror/2023/x86_64");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).unwrap();
    for package in packages {
        std::fs::copy(package, place.join(package.file_name().unwrap())).unwrap();
    }
    execute(Command::new("createrepo_c").arg("--quiet").arg(&place));
}

fn rpm(root: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("chroot");
    execute(command.arg(root).arg("/usr/bin/rpm").args(arguments).env("HOME", "/root"))
}

fn write_image(root: &Path, to: &Path) {
    let new = NewImage {
        tag: Some("latest".into()),
        platform: "linux/amd64".parse().unwrap(),
        created: Timestamp::from_nanos(0),
        config: json!({ "Cmd": ["/bin/sh"], "Env": ["PATH=/bin:/usr/bin"], "User": "33" }),
        history: Vec::new(),
        layers: vec![LayerSource::Folder {
            path: root.to_path_buf(),
            options: PackOptions::default(),
        }],
        annotations: BTreeMap::new(),
    };
    write_layout(to, &new).unwrap();
}

/// What is at each path, without rpm's database, whose entries have times and numbers of their
/// own.
fn tree(target: &Target) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let image = Image::open(target, &OpenOptions::default()).unwrap();
    image
        .walk(&mut |entry, content| {
            if entry.kind == FileKind::HardLink {
                return Visit::Follow;
            }
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).unwrap();
            let is_file = entry.kind == FileKind::Regular;
            let time = if is_file { entry.mtime } else { 0 };
            let line = format!(
                "{:?} {:o} {}:{} {time} {:?} {}",
                entry.kind,
                entry.mode,
                entry.uid,
                entry.gid,
                entry.link,
                Digest::of(&bytes).hex()
            );
            if !entry.path.starts_with("var/lib/rpm/") {
                all.insert(entry.path.clone(), line);
            }
            Visit::Continue
        })
        .unwrap();
    all
}

fn of_layout(folder: &Path) -> BTreeMap<String, String> {
    tree(&Target::Layout { folder: folder.to_path_buf(), selector: None })
}

const OLD: &[(&str, u32, &str, &str)] = &[
    ("/usr/bin/shop", 0o4755, "1", "%attr(4755,root,www)"),
    ("/usr/share/shop/old", 0o644, "1", ""),
    ("/usr/share/shop/stays", 0o644, "1", "%attr(640,www,www)"),
    ("/etc/shop/plain.conf", 0o644, "1", "%config"),
    ("/etc/shop/beside.conf", 0o644, "1", "%config(noreplace)"),
    ("/etc/shop/saved.conf", 0o644, "1", "%config"),
    ("/etc/shop/kept.conf", 0o644, "1", "%config(noreplace)"),
];
const NEW: &[(&str, u32, &str, &str)] = &[
    ("/usr/bin/shop", 0o4755, "2", "%attr(4755,root,www)"),
    ("/usr/bin/shop-more", 0, "->shop", ""),
    ("/usr/share/shop/stays", 0o644, "2", "%attr(640,www,www)"),
    ("/usr/share/shop/fresh/file", 0o600, "2", ""),
    ("/usr/share/shop/fresh/link", 0o600, "=>/usr/share/shop/fresh/file", ""),
    ("/etc/shop/plain.conf", 0o644, "2", "%config"),
    ("/etc/shop/beside.conf", 0o644, "2", "%config(noreplace)"),
    ("/etc/shop/saved.conf", 0o644, "2", "%config"),
    ("/etc/shop/kept.conf", 0o644, "1", "%config(noreplace)"),
];
const POST: &str = "%post\necho \"post $1\" >>/srv/executed\n";

struct Shop {
    bed: Bed,
}

impl Shop {
    /// An image with a package at its old version, and a database that knows of the new one.
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let folder = bed.path();
        std::fs::create_dir_all(folder.join("gnupg")).unwrap();
        gpg(folder, &["--passphrase", "", "--quick-gen-key", "owner@example.org", "rsa2048"]);
        let image = folder.join("image");
        root(&image);
        let key = gpg(folder, &["--armor", "--export", "owner@example.org"]);
        std::fs::write(image.join("etc/pki/rpm-gpg/shop"), key).unwrap();
        let old = package(folder, "shop", "1-1", POST, OLD);
        let other = package(folder, "other", "1-1", "", &[("/usr/share/other", 0o644, "1", "")]);
        for package in [other, old] {
            let name = package.file_name().unwrap().to_str().unwrap();
            std::fs::copy(&package, image.join("tmp").join(name)).unwrap();
            rpm(&image, &["-U", "--noscripts", "--nosignature", &format!("/tmp/{name}")]);
            std::fs::remove_file(image.join("tmp").join(name)).unwrap();
        }
        for name in ["beside", "saved", "kept"] {
            std::fs::write(image.join(format!("etc/shop/{name}.conf")), "mine\n").unwrap();
        }
        write_image(&image, &folder.join("shop"));
        let today = execute(Command::new("date").args(["-u", "+%F"]));
        let notice = format!(
            "<updates><update type=\"security\"><id>ALAS2023-2026-001</id><title>shop</title>\
             <issued date=\"{} 00:00\"/><severity>important</severity><references>\
             <reference id=\"CVE-2026-10001\" type=\"cve\"/></references><pkglist><collection>\
             <package name=\"shop\" epoch=\"0\" version=\"1\" release=\"2\" arch=\"x86_64\"/>\
             </collection></pkglist></update></updates>",
            today.trim()
        );
        std::fs::write(folder.join("updateinfo.xml"), notice).unwrap();
        run(folder, &["db", "build", "--feed", "updateinfo=updateinfo.xml"]).expect(0);
        Some(Self { bed })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bed.path().join(name)
    }

    fn build(&self, flags: &[&str], output: &str) -> Ended {
        let mirror = format!("http://shop.example=file://{}", self.path("mirror").display());
        let first = ["patch", "build", "--format", "json", "-o", output];
        self.bed.run(&[&first[..], flags, &["--repository-mirror", &mirror, "oci:shop"]].concat())
    }

    /// What the image's own rpm makes of a copy of its root.
    fn by_rpm(&self, package: &Path, flags: &[&str]) -> PathBuf {
        let theirs = self.path("theirs");
        let _ = std::fs::remove_dir_all(&theirs);
        execute(Command::new("cp").arg("-a").arg(self.path("image")).arg(&theirs));
        std::fs::copy(package, theirs.join("tmp/new.rpm")).unwrap();
        let rest = ["-U", "--nosignature", "/tmp/new.rpm"];
        rpm(&theirs, &[flags, &rest].concat());
        std::fs::remove_file(theirs.join("tmp/new.rpm")).unwrap();
        theirs
    }
}

#[test]
fn an_image_is_upgraded_by_its_own_rpm() {
    let Some(shop) = Shop::new() else { return };
    let new = package(shop.bed.path(), "shop", "1-2", POST, NEW);
    offer(shop.bed.path(), &[&new]);
    // Its script is not executed unless that is asked for.
    let refused = shop.build(&[], "no");
    refused.expect_error_with_output(1, "no upgrade can be made");
    assert!(refused.stdout.contains("its upgrade executes post;"), "{}", refused.stdout);

    let ended = shop.build(&["--skip-scripts"], "out").expect(0);
    assert!(ended.stderr.contains("its index is not signed"), "{}", ended.stderr);
    let built: Value = serde_json::from_str(&ended.stdout).unwrap();
    let proof = &built["proof"];
    assert_eq!(proof["holds"], true, "{built:#}");
    assert_eq!(proof["gone"], json!(["shop CVE-2026-10001"]));
    assert_eq!((&proof["new"], &proof["other_packages"]), (&json!([]), &json!([])));
    assert_eq!(proof["files"]["n_unexpected"], 0);
    let upgraded = &built["upgraded"][0];
    assert_eq!((&upgraded["skipped"], &upgraded["n_files"]), (&json!(["post"]), &json!(9)));
    assert_eq!(
        upgraded["kept"],
        json!([
            { "path": "/etc/shop/beside.conf", "new_form": "/etc/shop/beside.conf.rpmnew" },
            { "path": "/etc/shop/saved.conf", "old_form": "/etc/shop/saved.conf.rpmsave" },
        ])
    );
    let theirs = shop.by_rpm(&new, &["--noscripts", "--notriggers"]);
    let (ours, theirs_tree) = (of_layout(&shop.path("out")), tree(&Target::Folder(theirs.clone())));
    for (path, expected) in &theirs_tree {
        assert_eq!(ours.get(path), Some(expected), "{path}");
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs_tree.keys().collect::<Vec<_>>());
    // The database is rpm's: with it in place of theirs rpm says the same of the same files.
    let ask = || {
        let line = "rpm -qa; rpm -V shop other; rpm -qlc shop; rpm -q --scripts shop; true";
        let mut command = Command::new("chroot");
        let mut lines: Vec<String> =
            execute(command.arg(&theirs).args(["/bin/sh", "-c", line]).env("HOME", "/root"))
                .lines()
                .map(str::to_string)
                .collect();
        lines.sort();
        lines
    };
    let expected = ask();
    assert!(expected.contains(&"shop-1-2.x86_64".to_string()), "{expected:?}");
    let database = theirs.join("var/lib/rpm");
    std::fs::remove_dir_all(&database).unwrap();
    std::fs::create_dir(&database).unwrap();
    let target = Target::Layout { folder: shop.path("out"), selector: None };
    let image = Image::open(&target, &OpenOptions::default()).unwrap();
    image
        .walk(&mut |entry, content| {
            if entry.path.starts_with("var/lib/rpm/") {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).unwrap();
                std::fs::write(theirs.join(&entry.path), bytes).unwrap();
            }
            Visit::Continue
        })
        .unwrap();
    assert_eq!(ask(), expected);
}

#[test]
fn scripts_of_rpm_are_executed_when_asked_for() {
    let Some(shop) = Shop::new() else { return };
    let new = package(shop.bed.path(), "shop", "1-2", POST, NEW);
    offer(shop.bed.path(), &[&new]);
    let ended = shop.build(&["--allow-scripts"], "out").expect(0);
    let built: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(built["proof"]["holds"], true, "{built:#}");
    assert_eq!(built["proof"]["files"]["by_scripts"], json!(["srv/executed"]));
    assert_eq!(built["upgraded"][0]["executed"], json!(["post"]));
    let theirs = tree(&Target::Folder(shop.by_rpm(&new, &[])));
    let ours = of_layout(&shop.path("out"));
    let timeless = |line: &String| {
        line.split(' ')
            .enumerate()
            .filter(|(n, _)| *n != 3)
            .map(|(_, it)| it.to_string())
            .collect::<Vec<_>>()
    };
    for (path, expected) in &theirs {
        let found = ours.get(path).map(timeless);
        assert_eq!(found, Some(timeless(expected)), "{path}");
    }
    assert_eq!(ours.len(), theirs.len());

    // What fails refuses the build, and the last words are rpm's.
    let fails = "%post\necho the disk is too small >&2\nexit 3\n";
    let new = package(shop.bed.path(), "shop", "1-2", fails, NEW);
    offer(shop.bed.path(), &[&new]);
    let ended = shop.build(&["--allow-scripts"], "no");
    ended.expect_error_with_output(1, "the image's rpm has a script that fails");
    assert!(ended.stderr.contains("the disk is too small"), "{}", ended.stderr);
    assert!(!shop.path("no").exists());
}

#[test]
fn what_rpm_refuses_and_who_has_no_rpm() {
    let Some(shop) = Shop::new() else { return };
    // A file of another package.
    let taken = [NEW, &[("/usr/share/other", 0o644, "2", "")]].concat();
    let new = package(shop.bed.path(), "shop", "1-2", "", &taken);
    offer(shop.bed.path(), &[&new]);
    let ended = shop.build(&[], "no");
    ended.expect_error_with_output(1, "the image's rpm ends with exit code");
    assert!(ended.stderr.contains("conflicts with file from package other"), "{}", ended.stderr);
    assert!(!shop.path("no").exists());
    std::fs::remove_file(shop.path("image/usr/bin/rpm")).unwrap();
    std::fs::remove_dir_all(shop.path("shop")).unwrap();
    write_image(&shop.path("image"), &shop.path("shop"));
    shop.build(&[], "no").expect_error(3, "the image has no `rpm`");
    let left = std::fs::read_dir(shop.bed.path()).unwrap().flatten();
    let left = left.filter(|it| it.file_name().to_string_lossy().starts_with(".palisade"));
    assert_eq!(left.count(), 0);
}
