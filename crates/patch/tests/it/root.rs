//! Layers beside what dpkg does itself with the same packages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_base::{Digest, Timestamp};
use palisade_image::{
    Amendment, HistoryStep, Image, LayerSource, NewImage, OpenOptions, PackOptions, Visit,
    write_layout,
};
use palisade_model::Target;
use palisade_patch::{Built, Difference, Scripts, build};

use crate::{Fixture, FromFiles, finding};

/// The files of a package: path, mode, content. A content that begins with `->` is a link.
type Content<'a> = &'a [(&'a str, u32, &'a str)];

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

impl Fixture {
    /// Makes a package.
    pub(crate) fn package(
        &self,
        name: &str,
        version: &str,
        fields: &str,
        files: Content<'_>,
    ) -> PathBuf {
        let folder = self.path(&format!("packages/{name}-{version}"));
        for (path, mode, content) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("->") {
                Some(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
                None => std::fs::write(&path, content).unwrap(),
            }
            if !content.starts_with("->") {
                std::fs::set_permissions(&path, PermissionsExt::from_mode(*mode)).unwrap();
            }
        }
        std::fs::create_dir_all(folder.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@example.org>\n\
             {fields}Description: {name}\n A longer\n description.\n"
        );
        std::fs::write(folder.join("DEBIAN/control"), control).unwrap();
        let file = self.path(&format!("mirror/pool/{name}_{version}.deb"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut command = Command::new("dpkg-deb");
        run(command.args(["--root-owner-group", "-Zxz", "--build"]).arg(folder).arg(&file));
        file
    }

    fn dpkg(&self, root: &str, options: &[&str], packages: &[PathBuf]) {
        let root = self.path(root);
        std::fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
        std::fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
        let status = root.join("var/lib/dpkg/status");
        if !status.exists() {
            std::fs::write(status, "").unwrap();
        }
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", root.display()));
        command.args(["--force-confold", "--force-architecture", "--log=/dev/null"]);
        run(command.args(options).arg("-i").args(packages));
    }

    /// Publishes packages.
    pub(crate) fn offer(&self, packages: &[PathBuf]) {
        let mut index = String::new();
        for path in packages {
            let output = Command::new("dpkg-deb").arg("-f").arg(path).output().unwrap();
            let bytes = std::fs::read(path).unwrap();
            index += &String::from_utf8(output.stdout).unwrap();
            let _ = writeln!(
                index,
                "Filename: pool/{}\nSize: {}\nSHA256: {}\n",
                path.file_name().unwrap().to_str().unwrap(),
                bytes.len(),
                Digest::of(&bytes).hex()
            );
        }
        self.publish_index("", &index);
    }

    fn build(&self, scripts: Scripts) -> Built {
        let found = [
            finding("libshop1", "CVE-2025-1", Some("1.0-2")),
            finding("shop", "CVE-2025-2", Some("1.0-2")),
        ];
        let file = std::fs::File::create(self.path("layer.tar")).unwrap();
        let (files, repository) = (self.files(), self.gather());
        build(&files, &found, &repository, &FromFiles, scripts, 1_700_000_000, file).unwrap()
    }

    /// Puts the layer on a copy of the image.
    fn apply(&self, root: &str) {
        put_layer(&self.path("image"), &self.path("layer.tar"), &self.path(root));
    }
}

/// Layouts in a folder.
pub(crate) struct Images<'a>(pub(crate) &'a Path);

impl Images<'_> {
    /// Makes an image of a root.
    pub(crate) fn write(&self, root: &str, to: &str) {
        let new = NewImage {
            tag: None,
            platform: "linux/amd64".parse().unwrap(),
            created: Timestamp::from_nanos(0),
            config: serde_json::json!({}),
            history: Vec::new(),
            layers: vec![LayerSource::Folder {
                path: self.0.join(root),
                options: PackOptions::default(),
            }],
            annotations: BTreeMap::new(),
        };
        write_layout(&self.0.join(to), &new).unwrap();
    }

    pub(crate) fn open(&self, name: &str) -> Image {
        let target = Target::Layout { folder: self.0.join(name), selector: None };
        Image::open(&target, &OpenOptions::default()).unwrap()
    }

    pub(crate) fn amend(&self, from: &str, to: &str, layer: &str) {
        let (layer, step) = (self.0.join(layer), HistoryStep::default());
        let amendment = Amendment { tag: None, layer, step, annotations: Vec::new() };
        self.open(from).amend(&self.0.join(to), &amendment).unwrap();
    }
}

/// Puts a layer on a copy of an image.
pub(crate) fn put_layer(image: &Path, layer: &Path, root: &Path) {
    run(Command::new("cp").arg("-a").arg(image).arg(root));
    run(Command::new("tar").arg("-C").arg(root).arg("-xpf").arg(layer));
    for path in tree(root).into_keys() {
        if let Some((folder, name)) = path.rsplit_once(".wh.") {
            std::fs::remove_file(root.join(&path)).unwrap();
            let gone = root.join(format!("{folder}{name}"));
            assert!(gone.symlink_metadata().is_ok(), "a whiteout of nothing: {path}");
            if gone.is_dir() && !gone.is_symlink() {
                std::fs::remove_dir_all(gone).unwrap();
            } else {
                std::fs::remove_file(gone).unwrap();
            }
        }
    }
}

/// Paths with mode, owner and content; of dpkg's own files that differ by time alone, none.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    let (mut all, mut folders) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            let content = if meta.is_symlink() {
                format!("-> {}", path.read_link().unwrap().display())
            } else if meta.is_dir() {
                folders.push(path);
                String::new()
            } else {
                String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
            };
            let own = ["status-old", "lock", "lock-frontend", "updates"];
            let own = own.iter().any(|own| name == format!("var/lib/dpkg/{own}"));
            if !own && !name.starts_with("var/log") {
                let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
                all.insert(name, format!("{mode:o} {owner:?} {content}"));
            }
        }
    }
    all
}

/// An image with two packages at their old versions, and the packages that are offered.
fn shop() -> (Fixture, Vec<PathBuf>) {
    let fixture = Fixture::new();
    std::fs::remove_file(fixture.path("image/var/lib/dpkg/status")).unwrap();
    std::fs::create_dir_all(fixture.path("image/usr/lib")).unwrap();
    // A merged image: packages of old still say `lib`.
    std::os::unix::fs::symlink("usr/lib", fixture.path("image/lib")).unwrap();
    let conffiles = "/etc/shop/kept.conf\n/etc/shop/plain.conf\n/etc/shop/both.conf\n\
                     /etc/shop/removed.conf\n/etc/shop/old.conf\n";
    let library = |version: &str, name: &str| {
        let fields = "Multi-Arch: same\nSource: shop\nBreaks: a (<< 1)\nConflicts: b\nHomepage: https://shop.example\n";
        fixture.package(
            "libshop1",
            version,
            fields,
            &[
                ("lib/libshop.so.1", 0o777, &format!("->{name}")),
                (&format!("lib/{name}"), 0o644, version),
            ],
        )
    };
    let old = [
        library("1.0-1", "libshop.so.1.0"),
        fixture.package(
            "shop",
            "1.0-1",
            "Depends: libshop1\nRecommends: a\n",
            &[
                ("DEBIAN/conffiles", 0o644, conffiles),
                ("etc/shop/kept.conf", 0o644, "1"),
                ("etc/shop/plain.conf", 0o644, "1"),
                ("etc/shop/both.conf", 0o644, "1"),
                ("etc/shop/removed.conf", 0o644, "1"),
                ("etc/shop/old.conf", 0o644, "1"),
                ("usr/bin/shop", 0o4755, "1"),
                ("usr/share/shop/old/gone", 0o644, "1"),
                ("usr/share/shop/stays", 0o644, "1"),
                ("usr/share/doc/shop/copyright", 0o644, "1"),
            ],
        ),
    ];
    let new = vec![
        library("1.0-2", "libshop.so.1.0"),
        fixture.package(
            "shop",
            "1.0-2",
            "Depends: libshop1 (>= 1.0-2)\n",
            &[
                (
                    "DEBIAN/conffiles",
                    0o644,
                    &conffiles.replace("/etc/shop/old.conf\n", "/etc/shop/new.conf\n"),
                ),
                ("etc/shop/kept.conf", 0o644, "1"),
                ("etc/shop/plain.conf", 0o640, "2"),
                ("etc/shop/both.conf", 0o600, "2"),
                ("etc/shop/removed.conf", 0o644, "2"),
                ("etc/shop/new.conf", 0o644, "2"),
                ("usr/bin/shop", 0o4755, "2"),
                ("usr/bin/shop-more", 0o777, "->shop"),
                ("usr/share/shop/stays", 0o644, "2"),
                ("usr/share/shop/fresh/file", 0o600, "2"),
                ("usr/share/doc/shop/copyright", 0o644, "2"),
                ("usr/share/doc/shop/changelog", 0o644, "2"),
            ],
        ),
    ];
    fixture.dpkg("image", &[], &old);
    for (name, text) in [("kept", Some("mine")), ("both", Some("mine")), ("removed", None)] {
        let path = fixture.path(&format!("image/etc/shop/{name}.conf"));
        match text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
    }
    fixture.offer(&new);
    (fixture, new)
}

/// Whether the layer makes what dpkg makes.
fn agrees(fixture: &Fixture, options: &[&str], new: &[PathBuf]) {
    fixture.apply("ours");
    run(Command::new("cp").arg("-a").arg(fixture.path("image")).arg(fixture.path("theirs")));
    fixture.dpkg("theirs", options, new);
    let (ours, theirs) = (tree(&fixture.path("ours")), tree(&fixture.path("theirs")));
    for (path, expected) in &theirs {
        assert_eq!(ours.get(path), Some(expected), "{path}");
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
}

#[test]
fn a_layer_makes_what_dpkg_makes() {
    let (fixture, new) = shop();
    let built = fixture.build(Scripts::Refuse);
    assert_eq!(built.upgraded.len(), 2, "{:?}", built.plan.remaining);
    let kept: Vec<(&str, Option<&str>)> =
        built.upgraded[1].kept.iter().map(|one| (&*one.path, one.new_form.as_deref())).collect();
    assert_eq!(
        kept,
        [
            ("/etc/shop/both.conf", Some("/etc/shop/both.conf.dpkg-dist")),
            ("/etc/shop/kept.conf", None),
            ("/etc/shop/removed.conf", Some("/etc/shop/removed.conf.dpkg-dist")),
        ]
    );
    agrees(&fixture, &[], &new);
    // The same inputs give the same bytes.
    let first = std::fs::read(fixture.path("layer.tar")).unwrap();
    fixture.build(Scripts::Refuse);
    assert!(first == std::fs::read(fixture.path("layer.tar")).unwrap());
}

#[test]
fn what_the_image_leaves_out_and_diverts_stays_so() {
    let (fixture, new) = shop();
    fixture.write(
        "image/etc/dpkg/dpkg.cfg.d/slim",
        "path-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n\
         path-exclude /usr/share/shop/fresh/*\n",
    );
    std::fs::remove_dir_all(fixture.path("image/usr/share/doc")).unwrap();
    fixture.write("image/var/lib/dpkg/diversions", "/usr/bin/shop\n/usr/bin/shop.real\n:\n");
    let (from, to) = (fixture.path("image/usr/bin/shop"), fixture.path("image/usr/bin/shop.real"));
    std::fs::rename(&from, to).unwrap();
    std::fs::write(from, "mine").unwrap();
    let built = fixture.build(Scripts::Refuse);
    assert_eq!(built.upgraded.len(), 2, "{:?}", built.plan.remaining);
    let options = [
        "--path-exclude=/usr/share/doc/*",
        "--path-include=/usr/share/doc/*/copyright",
        "--path-exclude=/usr/share/shop/fresh/*",
    ];
    agrees(&fixture, &options, &new);
    let ours = fixture.path("ours");
    let read = |path: &str| std::fs::read_to_string(ours.join(path)).ok();
    assert_eq!(read("usr/bin/shop").as_deref(), Some("mine"));
    assert_eq!(read("usr/bin/shop.real").as_deref(), Some("2"));
    assert_eq!(read("usr/share/doc/shop/copyright").as_deref(), Some("2"));
    assert_eq!(read("usr/share/doc/shop/changelog"), None);
    assert!(!ours.join("usr/share/shop/fresh/file").exists());
    let list = read("var/lib/dpkg/info/shop.list").unwrap();
    assert!(list.contains("/usr/share/doc/shop/changelog\n"));
}

#[test]
fn what_would_be_executed_is_refused_or_named() {
    let (fixture, _) = shop();
    let canary = fixture.path("executed");
    let script = format!("#!/bin/sh\ntouch {}\n", canary.display());
    let new = [
        fixture.package(
            "libshop1",
            "1.0-3",
            "",
            &[
                ("DEBIAN/triggers", 0o644, "activate-noawait ldconfig\n"),
                ("lib/libshop.so.2", 0o644, "3"),
            ],
        ),
        fixture.package(
            "shop",
            "1.0-3",
            "Depends: libshop1\n",
            &[
                ("DEBIAN/postinst", 0o755, &script),
                ("DEBIAN/preinst", 0o755, &script),
                ("usr/bin/shop", 0o755, "3"),
            ],
        ),
    ];
    fixture.write("image/var/lib/dpkg/triggers/ldconfig", "libc-bin/noawait\n");
    fixture.offer(&new);
    let built = fixture.build(Scripts::Refuse);
    assert!(built.upgraded.is_empty());
    let why: Vec<&str> = built.plan.remaining.iter().map(|one| one.why.as_str()).collect();
    assert_eq!(
        why,
        [
            "its upgrade executes the trigger ldconfig of libc-bin; --allow-scripts executes that, --skip-scripts leaves it out",
            "its upgrade executes preinst, postinst; --allow-scripts executes that, --skip-scripts leaves it out",
        ]
    );
    let built = fixture.build(Scripts::Skip);
    let skipped: Vec<&[String]> = built.upgraded.iter().map(|one| &one.skipped[..]).collect();
    assert_eq!(
        skipped,
        [
            &["the trigger ldconfig of libc-bin".to_string()][..],
            &["preinst".into(), "postinst".into()]
        ]
    );
    assert!(!canary.exists());
    // A library of an old name goes.
    fixture.apply("ours");
    assert!(!fixture.path("ours/usr/lib/libshop.so.1").is_symlink());
    assert!(fixture.path("ours/usr/lib/libshop.so.2").exists());
}

#[test]
fn what_is_another_package_or_anothers_file_is_refused() {
    let (fixture, new) = shop();
    let check = |change: &dyn Fn(&Fixture), expected: &str| {
        change(&fixture);
        let found = [finding("shop", "CVE-2025-2", Some("1.0-2"))];
        let (files, repository) = (fixture.files(), fixture.gather());
        let built = build(&files, &found, &repository, &FromFiles, Scripts::Skip, 0, Vec::new());
        let text = match built {
            Ok(built) => built.plan.remaining.iter().map(|one| one.why.clone()).collect(),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expected), "{text}");
    };
    let list = "image/var/lib/dpkg/info/other.list";
    let claim = |fixture: &Fixture| fixture.write(list, "/.\n/usr/bin/shop\n");
    check(&claim, "/usr/bin/shop is a file of other as well");
    std::fs::remove_file(fixture.path(list)).unwrap();
    let own = |fixture: &Fixture| {
        fixture.write("image/var/lib/dpkg/statoverride", "root root 755 /usr/bin/shop\n");
    };
    check(&own, "/usr/bin/shop has a mode or owner of the image's own");
    std::fs::remove_file(fixture.path("image/var/lib/dpkg/statoverride")).unwrap();
    let replace = |fixture: &Fixture| {
        let path = fixture.path("image/usr/bin/shop");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(path).unwrap();
    };
    check(&replace, "/usr/bin/shop is a folder in the image and none in the new version");
    let tamper = |_: &Fixture| {
        let mut bytes = std::fs::read(&new[1]).unwrap();
        bytes[200] ^= 1;
        std::fs::write(&new[1], bytes).unwrap();
    };
    check(&tamper, "it is not what the signed index lists");
    // Signed, but another package than the index says.
    let lie = |fixture: &Fixture| {
        std::fs::copy(&new[0], &new[1]).unwrap();
        let bytes = std::fs::read(&new[1]).unwrap();
        let text = format!(
            "Package: shop\nVersion: 1.0-2\nArchitecture: amd64\nFilename: pool/{}\nSize: {}\nSHA256: {}\n",
            new[1].file_name().unwrap().to_str().unwrap(),
            bytes.len(),
            Digest::of(&bytes).hex()
        );
        fixture.publish_index("", &text);
    };
    check(&lie, "it is another package than the index says");
}

#[test]
fn what_no_upgrade_accounts_for_is_unexpected() {
    let (fixture, _) = shop();
    let built = fixture.build(Scripts::Refuse);
    let images = Images(&fixture.path(""));
    images.write("image", "old");
    let (open, amend) = (
        |name: &str| images.open(name),
        |from: &str, to: &str, layer: &str| {
            images.amend(from, to, layer);
        },
    );
    amend("old", "new", "layer.tar");
    let honest = Difference::between(&open("old"), &open("new"), &built.plan).unwrap();
    assert_eq!(honest.n_unexpected, 0, "{:?}", honest.unexpected);
    assert!(honest.n_changed > 0 && honest.n_added > 0 && honest.n_removed > 0);
    // Another layer with what nobody asked for, and a file of an upgraded package.
    let mut status = Vec::new();
    open("new")
        .walk(&mut |entry, content| {
            if entry.path == "var/lib/dpkg/status" {
                content.read_to_end(&mut status).unwrap();
            }
            Visit::Continue
        })
        .unwrap();
    status.extend(b"Package: planted\nVersion: 1\n");
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        tar.append_data(&mut header, path, content).unwrap();
    };
    put("etc/", 0o777, b"");
    put("etc/planted", 0o644, b"x");
    put("usr/share/keyrings/.wh.shop.gpg", 0o644, b"");
    put("usr/lib/libshop.so.1.0", 0o644, b"other");
    put("var/lib/dpkg/status", 0o644, &status);
    std::fs::write(fixture.path("more.tar"), tar.into_inner().unwrap()).unwrap();
    amend("new", "more", "more.tar");
    let found = Difference::between(&open("old"), &open("more"), &built.plan).unwrap();
    // Folders that a layer only implies get the modes that engines give.
    let expected = [
        "var/lib/dpkg/status (planted)",
        "etc",
        "usr/lib",
        "usr/share/keyrings/shop.gpg",
        "var",
        "var/lib",
        "var/lib/dpkg",
        "etc/planted",
    ];
    assert_eq!(found.unexpected, expected);
}
