//! Layers of Alpine's images beside what apk itself does with the same packages.
//!
//! Packages are made here. Where there is a root of Alpine (`PALISADE_ALPINE_ROOT`, or
//! `palisade/alpine-root` in the user's cache), its own apk makes the image and the upgrade.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_model::finding::Vulnerability;
use palisade_patch::{Built, Difference, Files, Scripts, build, read_apk};
use sha1::{Digest as _, Sha1};

use crate::apk::{Alpine, gzip};
use crate::root::{Images, put_layer, run, tree};
use crate::{FromFiles, finding};

/// Path, mode, content; a folder ends with a slash, `->` begins a link, `=>` a hard link.
type Content<'a> = &'a [(&'a str, u32, &'a str)];

/// What a package is made of.
#[derive(Default)]
struct Recipe<'a> {
    name: &'a str,
    version: &'a str,
    info: &'a str,
    depends: &'a str,
    scripts: &'a [(&'a str, &'a str)],
    files: Content<'a>,
}

fn sum(bytes: &[u8]) -> Vec<u8> {
    Sha1::digest(bytes).to_vec()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The third member: folders and files with their sums.
fn data(files: Content<'_>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        // The number is that of the machine that made it; the name counts.
        let owner = if path.contains("web") { ("web", 1000) } else { ("root", 0) };
        header.set_username(owner.0).unwrap();
        header.set_groupname(owner.0).unwrap();
        header.set_uid(owner.1);
        header.set_gid(owner.1);
        header.set_size(0);
        let (kind, sum) = match (content.strip_prefix("->"), content.strip_prefix("=>")) {
            _ if path.ends_with('/') => (tar::EntryType::Directory, None),
            (Some(target), _) => (tar::EntryType::Symlink, Some(sum(target.as_bytes()))),
            (_, Some(_)) => (tar::EntryType::Link, None),
            _ => (tar::EntryType::Regular, Some(sum(content.as_bytes()))),
        };
        header.set_entry_type(kind);
        if let Some(sum) = sum {
            let record = format!("APK-TOOLS.checksum.SHA1={}\n", hex::encode(sum));
            // The length counts its own two digits and the space.
            let record = format!("{} {record}", record.len() + 3);
            let mut header = tar::Header::new_ustar();
            header.set_path("PaxHeaders/file").unwrap();
            header.set_entry_type(tar::EntryType::XHeader);
            header.set_size(record.len() as u64);
            header.set_cksum();
            archive.append(&header, record.as_bytes()).unwrap();
        }
        let link = content.strip_prefix("->").or(content.strip_prefix("=>"));
        match (kind, link) {
            (tar::EntryType::Regular, _) => {
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
            (_, Some(link)) => archive.append_link(&mut header, path, link).unwrap(),
            _ => archive.append_data(&mut header, path, std::io::empty()).unwrap(),
        }
    }
    gzip(&archive.into_inner().unwrap())
}

impl Alpine {
    /// Makes a package, and gives its entry of the index.
    fn package(&self, recipe: &Recipe<'_>) -> String {
        let Recipe { name, version, .. } = recipe;
        let data = data(recipe.files);
        let info = format!(
            "# made by hand\npkgname = {name}\npkgver = {version}\npkgdesc = {name} itself\n\
             url = https://{name}.example\nbuilddate = 1700000000\nsize = 4096\narch = x86_64\n\
             origin = shop\nlicense = MIT\n{}datahash = {}\n",
            recipe.info,
            palisade_base::Digest::of(&data).hex()
        );
        let mut archive = tar::Builder::new(Vec::new());
        let info = (".PKGINFO".to_string(), info.as_str());
        let scripts = recipe.scripts.iter().map(|(kind, text)| (format!(".{kind}"), *text));
        for (path, text) in std::iter::once(info).chain(scripts) {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(0o755);
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let mut control = archive.into_inner().unwrap();
        control.truncate(control.len() - 1024);
        let control = gzip(&control);
        self.write("control", &control);
        let head = self.signature("control", ".SIGN.RSA256.owner.rsa.pub", "-sha256", "owner");
        let package = [head, control.clone(), data].concat();
        self.write(&format!("mirror/v3.20/main/x86_64/{name}-{version}.apk"), &package);
        let mut entry = format!(
            "C:Q1{}\nP:{name}\nV:{version}\nA:x86_64\nS:{}\nI:4096\nT:{name} itself\n\
             U:https://{name}.example\nL:MIT\no:shop\nt:1700000000\n",
            base64(&sum(&control)),
            package.len()
        );
        if !recipe.depends.is_empty() {
            let _ = writeln!(entry, "D:{}", recipe.depends);
        }
        entry + "\n"
    }

    fn offer(&self, entries: &[String]) {
        self.publish_index(&entries.concat(), ".SIGN.RSA256.owner.rsa.pub", "-sha256", "owner");
    }

    fn layer(&self, scripts: Scripts) -> Built {
        let file = std::fs::File::create(self.path("layer.tar")).unwrap();
        let (files, repository) = (self.files(), self.gather());
        assert_eq!(repository.suites[0].problem, None);
        build(&files, &found(), &repository, &FromFiles, scripts, 1_700_000_000, file).unwrap()
    }
}

fn found() -> Vec<Vulnerability> {
    let one = |package: &str, id: &str| {
        let mut found = finding(package, id, Some("1.0-r1"));
        found.purl = format!("pkg:apk/alpine/{package}");
        found.installed = "1.0-r0".into();
        found
    };
    vec![one("libshop", "CVE-2025-1"), one("shop", "CVE-2025-2")]
}

/// apk of a root of Alpine, run here by that root's own loader.
struct Apk(PathBuf);

impl Apk {
    #[expect(clippy::disallowed_methods, reason = "where a test's tools are is no setting")]
    #[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
    fn find() -> Option<Self> {
        let cache = || {
            let home = PathBuf::from(std::env::var_os("HOME")?);
            Some(home.join(".cache/palisade/alpine-root"))
        };
        let root = std::env::var_os("PALISADE_ALPINE_ROOT").map(PathBuf::from).or_else(cache)?;
        let is_there = root.join("sbin/apk").exists() && rustix_is_root();
        if !is_there {
            eprintln!("skipped: no root of Alpine (benches/alpine-root.sh), or no root here");
        }
        is_there.then_some(Self(root))
    }

    fn run(&self, alpine: &Alpine, root: &str, args: &[&str]) {
        let loader = self.0.join("lib/ld-musl-x86_64.so.1");
        let libraries = format!("{0}/lib:{0}/usr/lib", self.0.display());
        let mut command = Command::new(loader);
        command.arg("--library-path").arg(libraries).arg(self.0.join("sbin/apk"));
        alpine.write("repositories", alpine.path("mirror/v3.20/main").to_str().unwrap().as_bytes());
        command.arg("--root").arg(alpine.path(root)).arg("--repositories-file");
        command.arg(alpine.path("repositories")).args(["--arch", "x86_64", "--no-cache"]);
        run(command.args(args));
    }
}

fn rustix_is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// The packages at their old versions, and at their new ones.
fn recipes() -> [Vec<Recipe<'static>>; 2] {
    let library = |version, files| Recipe { name: "libshop", version, files, ..Recipe::default() };
    let other = || Recipe {
        name: "other",
        version: "1-r0",
        info: "triggers = /usr/bin /nowhere/*\n",
        scripts: &[("trigger", "#!/bin/sh\nexit 0\n"), ("post-install", "#!/bin/sh\nexit 0\n")],
        files: &[("usr/", 0o755, ""), ("usr/other", 0o644, "other")],
        ..Recipe::default()
    };
    let old = vec![
        library(
            "1.0-r0",
            &[
                ("lib/", 0o755, ""),
                ("lib/libshop.so.1", 0o777, "->libshop.so.1.0"),
                ("lib/libshop.so.1.0", 0o755, "1"),
            ],
        ),
        other(),
        Recipe {
            name: "shop",
            version: "1.0-r0",
            info: "depend = libshop\n",
            depends: "libshop",
            scripts: &[("post-upgrade", "#!/bin/sh\nexit 0\n")],
            files: &[
                ("etc/", 0o755, ""),
                ("etc/shop/", 0o755, ""),
                ("etc/shop/both.conf", 0o644, "1"),
                ("etc/shop/kept.conf", 0o644, "1"),
                ("etc/shop/mine.conf", 0o644, "1"),
                ("etc/shop/old.conf", 0o644, "1"),
                ("etc/shop/plain.conf", 0o644, "1"),
                ("etc/shop/removed.conf", 0o644, "1"),
                ("usr/", 0o755, ""),
                ("usr/bin/", 0o755, ""),
                ("usr/bin/shop", 0o4755, "1"),
                ("usr/share/", 0o755, ""),
                ("usr/share/shop/", 0o755, ""),
                ("usr/share/shop/old/", 0o755, ""),
                ("usr/share/shop/old/gone", 0o644, "1"),
                ("usr/share/shop/stays", 0o644, "1"),
            ],
        },
    ];
    let new = vec![
        library(
            "1.0-r1",
            &[
                ("lib/", 0o755, ""),
                ("lib/libshop.so.1", 0o777, "->libshop.so.1.1"),
                ("lib/libshop.so.1.1", 0o755, "2"),
            ],
        ),
        other(),
        Recipe {
            name: "shop",
            version: "1.0-r1",
            info: "depend = libshop\nreplaces = old-shop\nreplaces_priority = 7\n\
                   triggers = /usr/share/*\n",
            depends: "libshop",
            scripts: &[
                ("post-upgrade", "#!/bin/sh\nexit 0\n# 2\n"),
                ("trigger", "#!/bin/sh\nexit 0\n"),
            ],
            files: &[
                ("etc/", 0o755, ""),
                ("etc/shop/", 0o755, ""),
                ("etc/shop/both.conf", 0o600, "2"),
                ("etc/shop/kept.conf", 0o644, "1"),
                ("etc/shop/mine.conf", 0o644, "mine"),
                ("etc/shop/new.conf", 0o644, "2"),
                ("etc/shop/plain.conf", 0o640, "2"),
                ("etc/shop/removed.conf", 0o644, "2"),
                ("usr/", 0o755, ""),
                ("usr/bin/", 0o755, ""),
                ("usr/bin/shop", 0o4755, "2"),
                ("usr/bin/shop-again", 0o4755, "=>usr/bin/shop"),
                ("usr/bin/shop-more", 0o777, "->shop"),
                ("usr/share/", 0o755, ""),
                ("usr/share/shop/", 0o750, ""),
                ("usr/share/shop/stays", 0o644, "2"),
                ("usr/share/shop/web/", 0o700, ""),
                ("usr/share/shop/web/file", 0o600, "2"),
            ],
        },
    ];
    [old, new]
}

/// An image that apk made, with what its user changed; the new versions are offered.
fn shop(apk: &Apk) -> Alpine {
    let alpine = Alpine::new();
    for name in ["lib", "etc/apk/world"] {
        let path = alpine.path("image").join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    alpine.write("image/etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n");
    alpine.write("image/etc/group", b"root:x:0:\nweb:x:34:\n");
    let [old, new] = recipes();
    let entries = |list: &[Recipe<'_>]| -> Vec<String> {
        list.iter().map(|recipe| alpine.package(recipe)).collect()
    };
    alpine.offer(&entries(&old));
    apk.run(&alpine, "image", &["--initdb", "--no-scripts", "add", "shop", "other"]);
    let etc = |name: &str| alpine.path(&format!("image/etc/shop/{name}.conf"));
    for name in ["both", "kept", "mine"] {
        std::fs::write(etc(name), "mine").unwrap();
    }
    std::fs::remove_file(etc("removed")).unwrap();
    alpine.offer(&entries(&new));
    alpine
}

/// Names, modes, owners, times and contents of apk's scripts.
fn scripts(root: &Path) -> String {
    let archive = root.join("lib/apk/db/scripts.tar.gz");
    let list = |how: &str| {
        let output = Command::new("tar").arg(how).arg(&archive).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    list("-tvzf") + &list("-xOzf")
}

#[test]
fn a_layer_makes_what_apk_makes() {
    let Some(apk) = Apk::find() else { return };
    let alpine = shop(&apk);
    let refused = alpine.layer(Scripts::Refuse);
    let made: Vec<&str> = refused.upgraded.iter().map(|one| one.package.as_str()).collect();
    assert_eq!(made, ["libshop"]);
    assert_eq!(
        refused.plan.remaining[0].why,
        "its upgrade executes post-upgrade, the trigger of other, its own trigger; \
         --allow-scripts executes that, --skip-scripts leaves it out"
    );
    let built = alpine.layer(Scripts::Skip);
    assert_eq!(built.upgraded.len(), 2, "{:?}", built.plan.remaining);
    let kept: Vec<(&str, Option<&str>)> =
        built.upgraded[1].kept.iter().map(|one| (&*one.path, one.new_form.as_deref())).collect();
    assert_eq!(
        kept,
        [
            ("/etc/shop/both.conf", Some("/etc/shop/both.conf.apk-new")),
            ("/etc/shop/kept.conf", Some("/etc/shop/kept.conf.apk-new")),
        ]
    );
    let skipped = ["post-upgrade", "the trigger of other", "its own trigger"];
    assert_eq!(built.upgraded[1].skipped, skipped);

    let [ours, theirs] = ["ours", "theirs"].map(|name| alpine.path(name));
    put_layer(&alpine.path("image"), &alpine.path("layer.tar"), &ours);
    run(Command::new("cp").arg("-a").arg(alpine.path("image")).arg(&theirs));
    apk.run(&alpine, "theirs", &["--no-scripts", "upgrade"]);
    assert_eq!(scripts(&ours), scripts(&theirs));
    let tree = |root: &Path| -> BTreeMap<String, String> {
        let own = ["lib/apk/db/scripts.tar.gz", "lib/apk/db/lock"];
        tree(root).into_iter().filter(|(path, _)| !own.contains(&path.as_str())).collect()
    };
    let (ours, theirs) = (tree(&ours), tree(&theirs));
    for (path, expected) in &theirs {
        assert_eq!(ours.get(path), Some(expected), "{path}");
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    // apk itself finds nothing to do any more, and nothing that is not as it records it.
    apk.run(&alpine, "ours", &["--no-scripts", "upgrade"]);
    let (before, after) = (alpine.path("layer.tar"), alpine.path("again.tar"));
    std::fs::rename(&before, &after).unwrap();
    alpine.layer(Scripts::Skip);
    assert!(std::fs::read(before).unwrap() == std::fs::read(after).unwrap());
}

#[test]
fn what_no_upgrade_of_apk_accounts_for_is_unexpected() {
    let Some(apk) = Apk::find() else { return };
    let alpine = shop(&apk);
    let built = alpine.layer(Scripts::Skip);
    let images = Images(&alpine.path(""));
    images.write("image", "old");
    images.amend("old", "new", "layer.tar");
    let honest = Difference::between(&images.open("old"), &images.open("new"), &built.plan);
    let honest = honest.unwrap();
    assert_eq!(honest.n_unexpected, 0, "{:?}", honest.unexpected);
    assert!(honest.n_changed > 0 && honest.n_added > 0 && honest.n_removed > 0);
    // Another layer with what nobody asked for, in the database and beside it.
    let files = Files::read(&images.open("new")).unwrap();
    let text = |name: &str| {
        let content = files.content(&format!("lib/apk/db/{name}")).unwrap();
        String::from_utf8(content.to_vec()).unwrap()
    };
    let installed = text("installed").replace("P:other\nV:1-r0", "P:other\nV:2-r0");
    let triggers = text("triggers").replace("/nowhere/*", "/etc");
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("lib/apk/db/installed", installed.as_str()),
        ("lib/apk/db/triggers", &triggers),
        ("usr/bin/shop", "other"),
        ("usr/bin/planted", "x"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    std::fs::write(alpine.path("more.tar"), tar.into_inner().unwrap()).unwrap();
    images.amend("new", "more", "more.tar");
    let found = Difference::between(&images.open("old"), &images.open("more"), &built.plan);
    let found = found.unwrap().unexpected;
    for expected in ["lib/apk/db/installed (other)", "lib/apk/db/triggers (Q1", "usr/bin/planted"] {
        assert!(found.iter().any(|one| one.starts_with(expected)), "{expected}: {found:?}");
    }
    assert!(!found.iter().any(|one| one == "usr/bin/shop"), "{found:?}");
}

#[test]
fn a_package_is_what_the_signed_index_says_to_its_last_byte() {
    let alpine = Alpine::new();
    let [_, new] = recipes();
    let entry = alpine.package(&new[2]);
    let checksum = entry.lines().next().unwrap().strip_prefix("C:").unwrap();
    let path = alpine.path("mirror/v3.20/main/x86_64/shop-1.0-r1.apk");
    let good = std::fs::read(path).unwrap();
    let apk = read_apk(&good, checksum, "p").unwrap();
    assert_eq!((apk.name.as_str(), apk.version.as_str()), ("shop", "1.0-r1"));
    assert_eq!(apk.replaces.as_deref(), Some("old-shop"));
    assert_eq!((apk.files.len(), apk.scripts.len()), (18, 2));
    assert_eq!(apk.files[11].file.link, "usr/bin/shop");
    let check = |bytes: &[u8], checksum: &str, expected: &str| {
        let error = read_apk(bytes, checksum, "p").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&good, "Q1AAAA", "it is not what the signed index lists");
    check(&good, "", "it is not what the signed index lists");
    let mut other = good.clone();
    *other.last_mut().unwrap() ^= 1;
    check(&other, checksum, "its files are not what its record says");
    check(&[&good[..], b"x"].concat(), checksum, "its files are not what its record says");
    // Wherever one byte is another, it is refused; the signatures are not what is believed.
    let start = good.windows(3).skip(1).position(|three| three == [0x1f, 0x8b, 8]).unwrap() + 1;
    for at in (start..good.len()).step_by(7) {
        let mut other = good.clone();
        other[at] ^= 0x10;
        assert!(read_apk(&other, checksum, "p").is_err(), "{at}");
    }
    for end in (0..good.len()).step_by(11) {
        assert!(read_apk(&good[..end], checksum, "p").is_err(), "{end}");
    }
}

/// Writes who is executed with what, and what of the new version is there by then.
const SAY: &str = "#!/bin/sh\n\
    there=; for one in /usr/share/shop/new /usr/lib/libshop.so.2; do [ -e $one ] && there=\"$there $one\"; done\n\
    words=$(for one in \"$@\"; do echo $one; done | sort | tr '\\n' ' ')\n\
    [ $APK_SCRIPT = trigger ] || words=\"$* \"\n\
    echo \"$APK_PACKAGE $APK_SCRIPT $words there:$there in $PWD path $PATH\" >>/srv/order\n";

/// Two packages with scripts, and two that only watch.
fn speaking() -> [Vec<Recipe<'static>>; 2] {
    const ALL: &[(&str, &str)] =
        &[("pre-upgrade", SAY), ("post-upgrade", SAY), ("post-install", SAY), ("trigger", SAY)];
    let library = |version, files| Recipe {
        name: "libshop",
        version,
        scripts: &[("pre-upgrade", SAY), ("post-upgrade", SAY)],
        files,
        ..Recipe::default()
    };
    let app = |version, files| Recipe {
        name: "app",
        version,
        info: "depend = libshop\ntriggers = /usr/share/* /usr/lib\n",
        depends: "libshop",
        scripts: ALL,
        files,
    };
    let watcher = |name, info| Recipe {
        name,
        version: "1-r0",
        info,
        scripts: &[("trigger", SAY)],
        files: &[("usr/", 0o755, ""), ("usr/share/", 0o755, ""), ("usr/share/watch/", 0o755, "")],
        ..Recipe::default()
    };
    let watchers = || {
        [
            watcher("watcher", "triggers = /usr/lib /usr/share /usr/share/* /nowhere\n"),
            watcher("quiet", "triggers = /etc /usr/share/watch\n"),
        ]
    };
    let old = [
        library(
            "1.0-r0",
            &[("usr/", 0o755, ""), ("usr/lib/", 0o755, ""), ("usr/lib/libshop.so.1", 0o644, "1")][..],
        ),
        app(
            "1.0-r0",
            &[
                ("usr/", 0o755, ""),
                ("usr/share/", 0o755, ""),
                ("usr/share/shop/", 0o755, ""),
                ("usr/share/shop/old", 0o644, "1"),
                ("usr/share/gone/", 0o755, ""),
                ("usr/share/gone/x", 0o644, "1"),
            ][..],
        ),
    ];
    let new = [
        library(
            "1.0-r1",
            &[("usr/", 0o755, ""), ("usr/lib/", 0o755, ""), ("usr/lib/libshop.so.2", 0o644, "2")][..],
        ),
        app(
            "1.0-r1",
            &[
                ("usr/", 0o755, ""),
                ("usr/share/", 0o755, ""),
                ("usr/share/shop/", 0o755, ""),
                ("usr/share/shop/new", 0o644, "2"),
            ][..],
        ),
    ];
    [old, new].map(|list| list.into_iter().chain(watchers()).collect())
}

#[test]
fn scripts_are_those_that_apk_executes() {
    let Some(apk) = Apk::find() else { return };
    let alpine = Alpine::new();
    std::fs::remove_dir_all(alpine.path("image/lib")).unwrap();
    std::fs::remove_file(alpine.path("image/etc/apk/world")).unwrap();
    alpine.write("image/etc/passwd", b"root:x:0:0::/:/bin/sh\n");
    for folder in ["image/bin", "image/srv"] {
        std::fs::create_dir_all(alpine.path(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", alpine.path("image/bin/busybox")).unwrap();
    for name in ["sh", "sort", "tr"] {
        std::os::unix::fs::symlink("busybox", alpine.path("image/bin").join(name)).unwrap();
    }
    let [old, new] = speaking();
    let entries = |list: &[Recipe<'_>]| -> Vec<String> {
        list.iter().map(|recipe| alpine.package(recipe)).collect()
    };
    alpine.offer(&entries(&old));
    let add = ["--initdb", "--no-scripts", "add", "app", "watcher", "quiet"];
    apk.run(&alpine, "image", &add);
    alpine.offer(&entries(&new));
    let found = {
        let [library, mut app] = [&found()[0], &found()[1]].map(Clone::clone);
        app.package = "app".into();
        app.purl = "pkg:apk/alpine/app".into();
        [library, app]
    };
    let file = std::fs::File::create(alpine.path("layer.tar")).unwrap();
    let (files, repository) = (alpine.files(), alpine.gather());
    let built =
        build(&files, &found, &repository, &FromFiles, Scripts::Run, 1_700_000_000, file).unwrap();
    assert_eq!(built.upgraded.len(), 2, "{:?}", built.plan.remaining);

    // By hand in a root, as the sandbox does it: before the files, and after them.
    let execute = |root: &str, steps: &[palisade_patch::Step]| {
        for step in steps {
            let at = alpine.path(root).join(step.folder);
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join(step.script), &step.content).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(at.join(step.script), mode).unwrap();
            let mut command = Command::new("chroot");
            command.arg(alpine.path(root)).arg(format!("/{}/{}", step.folder, step.script));
            command.args(&step.args).env_clear();
            command.envs(step.env.iter().filter_map(|one| one.split_once('=')));
            run(&mut command);
            std::fs::remove_dir_all(at).unwrap();
        }
    };
    run(Command::new("cp").arg("-a").arg(alpine.path("image")).arg(alpine.path("before")));
    execute("before", &built.steps.before);
    put_layer(&alpine.path("before"), &alpine.path("layer.tar"), &alpine.path("ours"));
    execute("ours", &built.steps.after);

    run(Command::new("cp").arg("-a").arg(alpine.path("image")).arg(alpine.path("theirs")));
    apk.run(&alpine, "theirs", &["upgrade"]);
    let [ours, theirs] = ["ours", "theirs"]
        .map(|name| std::fs::read_to_string(alpine.path(name).join("srv/order")).unwrap());
    // apk has each package's scripts around its own files; ours are around all files.
    let lines = |text: &str, kind: &str| -> Vec<String> {
        let all = text.lines().filter(|line| line.contains(kind));
        all.map(|line| {
            if kind == " trigger " {
                line.to_string()
            } else {
                line.split(" there:").next().unwrap().to_string()
            }
        })
        .collect()
    };
    for kind in ["pre-upgrade", "post-upgrade"] {
        assert_eq!(lines(&ours, kind), lines(&theirs, kind), "{kind}");
    }
    assert!(theirs.contains("app post-upgrade 1.0-r1 1.0-r0  there:"), "{theirs}");
    let watcher = "watcher trigger /usr/lib /usr/share /usr/share/gone /usr/share/shop  there:";
    assert!(theirs.contains(watcher), "{theirs}");
    // The order of triggers is that of apk's table.
    let sorted = |text: &str| {
        let mut all = lines(text, " trigger ");
        all.sort();
        all
    };
    assert_eq!(sorted(&ours), sorted(&theirs));
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{ours}\n{theirs}");
}
