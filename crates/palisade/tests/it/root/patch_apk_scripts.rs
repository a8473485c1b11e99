//! `palisade patch build --allow-scripts` of an image of Alpine. That the scripts, their order and
//! their arguments are apk's is shown where apk itself is at hand (crate `patch`).

use serde_json::{Value, json};

use super::bed::Bed;
use crate::layout::{Layer, Layout};
use crate::patch_apk::{INSTALLED, build_database, openssl, publish};

const SAY: &str = "#!/bin/sh\nset -e\n\
    new=no; [ -e /usr/bin/shop-more ] && new=yes\n\
    echo \"$APK_PACKAGE $APK_SCRIPT $* new=$new\" >>/srv/order\n";

/// The archive that apk keeps of the scripts of `other`, whose checksum is 20 bytes of 1.
fn scripts() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o755);
    header.set_size(SAY.len() as u64);
    let name = format!("other-1-r0.X1{}.trigger", "01".repeat(20));
    tar.append_data(&mut header, name, SAY.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn scripts_of_apk_are_executed_in_a_container() {
    let Some(bed) = Bed::new() else { return };
    let path = bed.path();
    let key = path.join("key").display().to_string();
    openssl(&["genrsa", "-out", &key, "2048"], b"");
    let public = openssl(&["rsa", "-in", &key, "-pubout"], b"");
    let network = format!("{SAY}grep -c : /proc/net/dev >/srv/devices\n");
    publish(path, &[(".pre-upgrade", SAY), (".post-upgrade", &network)]);
    build_database(path);
    let mut layer = Layer::new()
        .folder("bin/", 0o755)
        .file("bin/busybox", 0o755, std::fs::read("/bin/busybox").unwrap())
        .folder("etc/", 0o755)
        .file("etc/os-release", 0o644, "ID=alpine\nVERSION_ID=3.20.1\n")
        .file("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\n")
        .file("etc/apk/arch", 0o644, "x86_64\n")
        .file("etc/apk/repositories", 0o644, "https://alpine.example/v3.20/main\n")
        .file("etc/apk/keys/owner.rsa.pub", 0o644, &public)
        .file("lib/apk/db/installed", 0o644, INSTALLED)
        .file("lib/apk/db/scripts.tar", 0o644, scripts())
        .file("lib/apk/db/triggers", 0o644, "Q1AQEBAQEBAQEBAQEBAQEBAQEBAQE= /usr/*\n")
        .folder("srv/", 0o755)
        .folder("usr/", 0o755)
        .folder("usr/bin/", 0o755)
        .file("usr/bin/shop", 0o755, "old")
        .file("usr/bin/old", 0o755, "old");
    for name in ["cat", "chmod", "grep", "mkdir", "rm", "sh", "sleep"] {
        layer = layer.link(&format!("bin/{name}"), "busybox");
    }
    let config = json!({ "Cmd": ["/bin/sh"], "Env": ["PATH=/bin"] });
    Layout::write(&path.join("shop"), vec![layer], &config);
    let mirror = format!("https://alpine.example=file://{}/mirror", path.display());
    let build = |flags: &[&str], output: &str| {
        let first = ["patch", "build", "--format", "json", "-o", output];
        bed.run(&[&first[..], flags, &["--repository-mirror", &mirror, "oci:shop"]].concat())
    };
    let refused = build(&[], "no");
    refused.expect_error_with_output(1, "no upgrade can be made");
    let ended = build(&["--allow-scripts"], "out").expect(0);
    let built: Value = serde_json::from_str(&ended.stdout).unwrap();
    let proof = &built["proof"];
    assert_eq!(proof["holds"], true, "{built:#}");
    assert_eq!(proof["gone"], json!(["shop CVE-2026-20001"]));
    assert_eq!(proof["files"]["by_scripts"], json!(["srv/devices", "srv/order"]), "{built:#}");
    assert_eq!(
        built["upgraded"][0]["executed"],
        json!(["pre-upgrade", "post-upgrade", "the trigger of other"])
    );
    let line = "cat /srv/order /srv/devices; [ -e /.palisade-patch ] || echo clean";
    let said = bed.run(&["run", "oci:out", "--", "/bin/sh", "-c", line]).expect(0).stdout;
    assert_eq!(
        said,
        "shop pre-upgrade 1.0-r1 1.0-r0 new=no\nshop post-upgrade 1.0-r1 1.0-r0 new=yes\n\
         other trigger /usr/bin new=yes\n1\nclean\n"
    );
    publish(path, &[(".post-upgrade", "#!/bin/sh\necho no room >&2\nexit 7\n")]);
    let ended = build(&["--allow-scripts"], "no");
    ended.expect_error_with_output(1, "post-upgrade of shop ends with exit code 7");
    assert!(ended.stderr.contains("no room") && !path.join("no").exists(), "{}", ended.stderr);
}
