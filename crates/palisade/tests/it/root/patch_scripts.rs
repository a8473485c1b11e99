//! `palisade patch build --allow-scripts`: maintainer scripts in a container of the image.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::bed::Bed;
use crate::layout::{DPKG_STATUS, Layer, Layout, OS_RELEASE};
use crate::patch::{DEB, gpg, publish};
use crate::scan_sbom::build_database;
use crate::support::Ended;

/// Says who is executed with what, and whether the new file is there.
const SAY: &str = "#!/bin/sh\nset -e\n\
    new=no; [ -e /usr/share/doc/libpalisadetest1/new ] && new=yes\n\
    echo \"$DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_NAME $* new=$new\" >>/srv/order\n";

/// Makes the package again, with scripts.
fn package(folder: &Path, postinst: &str) {
    let root = folder.join("deb");
    std::fs::write(root.join("usr/share/doc/libpalisadetest1/new"), "new").unwrap();
    for (name, more) in [("preinst", ""), ("postinst", postinst)] {
        let path = root.join("DEBIAN").join(name);
        std::fs::write(&path, format!("{SAY}{more}")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-b", "deb"])
        .arg(format!("debs/{DEB}"))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    publish(folder, "Sat, 01 Jan 2050 00:00:00 UTC");
}

fn image(folder: &Path) -> Layout {
    let key = gpg(folder, &["--export", "owner@example.org"]);
    let info = "var/lib/dpkg/info/libpalisadetest1";
    let mut layer = Layer::new()
        .folder("bin/", 0o755)
        .file("bin/busybox", 0o755, std::fs::read("/bin/busybox").unwrap())
        .folder("etc/", 0o755)
        .file("etc/os-release", 0o644, OS_RELEASE)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\nwww:x:33:33:www:/:/bin/sh\n")
        .file(
            "etc/apt/sources.list",
            0o644,
            "deb [signed-by=/usr/share/keyrings/owner.gpg] http://shop.example/debian bookworm-security main\n",
        )
        .file("usr/share/keyrings/owner.gpg", 0o644, key)
        .file("var/lib/dpkg/status", 0o644, DPKG_STATUS)
        .file(&format!("{info}.list"), 0o644, "/.\n/usr\n/usr/share/doc/libpalisadetest1/old\n")
        .file(&format!("{info}.prerm"), 0o755, SAY)
        .file(&format!("{info}.postrm"), 0o755, SAY)
        .file("var/lib/dpkg/info/base-files.postinst", 0o755, SAY)
        .file(
            "var/lib/dpkg/triggers/File",
            0o644,
            "/usr/share/doc/libpalisadetest1 base-files/noawait\n",
        )
        .folder("usr/share/doc/libpalisadetest1/", 0o755)
        .file("usr/share/doc/libpalisadetest1/old", 0o644, "old")
        .folder("srv/", 0o755)
        .file("srv/goes", 0o644, "goes");
    for name in ["cat", "chmod", "chown", "grep", "mkdir", "rm", "sh", "sleep"] {
        layer = layer.link(&format!("bin/{name}"), "busybox");
    }
    // Its own user and volumes do not matter for scripts.
    let config = json!({ "Cmd": ["/bin/sh"], "User": "33", "Env": ["PATH=/bin"],
                         "Volumes": { "/srv": {} } });
    Layout::write(&folder.join("shop"), vec![layer], &config)
}

fn build(bed: &Bed, image: &Layout, output: &str) -> Ended {
    let mirror = format!("http://shop.example/debian=file://{}/mirror", bed.path().display());
    let target = image.target();
    let flags = ["patch", "build", "--allow-scripts", "--format", "json", "-o", output];
    bed.run(&[&flags[..], &["--repository-mirror", &mirror, &target]].concat())
}

#[test]
fn scripts_are_executed_in_dpkgs_order_without_a_network() {
    let Some(bed) = Bed::new() else { return };
    let folder = bed.path();
    build_database(folder).expect(0);
    std::fs::create_dir_all(folder.join("gnupg")).unwrap();
    gpg(folder, &["--passphrase", "", "--quick-gen-key", "owner@example.org", "ed25519"]);
    let more = "grep -c : /proc/net/dev >/srv/devices\n\
                grep CapEff /proc/self/status >/srv/capabilities\n\
                rm /srv/goes; mkdir /srv/made; echo x >/srv/made/file\n\
                chown 33:33 /srv/made/file; chmod 640 /srv/made/file\n";
    package(folder, more);
    let image = image(folder);
    let ended = build(&bed, &image, "out").expect(0);
    let built: Value = serde_json::from_str(&ended.stdout).unwrap();
    let proof = &built["proof"];
    assert_eq!(proof["holds"], true, "{built:#}");
    assert_eq!(proof["gone"].as_array().unwrap().len(), 2);
    let by_scripts = json!([
        "srv/goes",
        "srv/capabilities",
        "srv/devices",
        "srv/made",
        "srv/made/file",
        "srv/order"
    ]);
    assert_eq!(proof["files"]["by_scripts"], by_scripts, "{built:#}");
    assert_eq!(proof["files"]["n_unexpected"], 0);
    let executed = json!([
        "prerm",
        "preinst",
        "postrm",
        "postinst",
        "the trigger /usr/share/doc/libpalisadetest1 of base-files"
    ]);
    assert_eq!(built["upgraded"][0]["executed"], executed);
    // One layer.
    let index = std::fs::read(folder.join("out/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    let manifest = std::fs::read(folder.join("out/blobs/sha256").join(digest)).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);

    let line = "cat /srv/order /srv/devices /srv/capabilities; [ -e /srv/goes ] || echo gone; \
                cat /usr/share/doc/libpalisadetest1/new; echo; \
                [ -e /var/lib/dpkg/tmp.ci ] || echo clean; cat /srv/made/file";
    let tags = bed.run(&["run", "oci:out", "--", "/bin/sh", "-c", line]);
    let expected = "libpalisadetest1 prerm upgrade 1.2.3-3 new=no\n\
        libpalisadetest1 preinst upgrade 1.2.3-1 1.2.3-3 new=no\n\
        libpalisadetest1 postrm upgrade 1.2.3-3 new=yes\n\
        libpalisadetest1 postinst configure 1.2.3-1 new=yes\n\
        base-files postinst triggered /usr/share/doc/libpalisadetest1 new=yes\n\
        1\nCapEff:\t00000000800000db\ngone\nnew\nclean\nx\n";
    assert_eq!(tags.expect(0).stdout, expected);

    // A script that fails refuses the build.
    package(folder, "echo first; echo the disk is too small >&2; exit 3\n");
    let ended = build(&bed, &image, "no");
    ended.expect_error_with_output(1, "postinst of libpalisadetest1 ends with exit code 3");
    assert!(ended.stderr.contains("the disk is too small"), "{}", ended.stderr);
    assert!(!folder.join("no").exists());
    package(folder, "kill -9 $$\n");
    build(&bed, &image, "no").expect_error_with_output(1, "postinst of libpalisadetest1 ");
    // What a script leaves to the next dpkg is not left.
    package(folder, "echo 'x libpalisadetest1' >/var/lib/dpkg/triggers/Unincorp\n");
    build(&bed, &image, "no").expect_error_with_output(1, "a script activates triggers: x");
    assert!(!folder.join("no").exists());
    let left = std::fs::read_dir(folder).unwrap().flatten();
    let left = left.filter(|it| it.file_name().to_string_lossy().starts_with(".palisade"));
    assert_eq!(left.count(), 0);
    assert_eq!(bed.run(&["ps", "--format", "tsv"]).expect(0).stdout, "");
}
