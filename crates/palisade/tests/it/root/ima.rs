//! What the kernel measures of containers, under the policy that we write, compared with images.

use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use super::bed::Bed;

const FOLDER: &str = "/sys/kernel/security/ima";
/// A container that may write over files of its image.
const POLICY: &str = "version: 1
name: open
images: { verify: off }
containers: { user: image, read_only_root: false }
";

/// Loads our policy; false, and said why, where the kernel does not take one.
fn load(bed: &Bed) -> bool {
    let file = Path::new(FOLDER).join("policy");
    let text = bed.run(&["ima", "policy"]).expect(0).stdout;
    // In one write: the kernel takes whole rules.
    let loaded = std::fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match loaded {
        Ok(()) => true,
        // A machine with another policy keeps it.
        Err(error) if !file.exists() || error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: {}: {error}", file.display());
            false
        }
        Err(error) => panic!("the kernel does not take the policy: {error}\n{text}"),
    }
}

#[test]
fn the_kernel_measures_what_containers_execute() {
    let Some(bed) = Bed::new() else { return };
    if !load(&bed) {
        return;
    }
    std::fs::write(bed.path().join("open.yaml"), POLICY).unwrap();
    let run = |script: &str| {
        let args = ["run", "--policy", "open.yaml", "oci:box", "--", "/bin/sh", "-c", script];
        bed.run(&args).expect(0)
    };
    let verify = |code: i32| -> Value {
        let ended = bed.run(&["ima", "verify", "oci:box", "--format", "json"]).expect(code);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    run("true");
    let report = verify(0);
    let same = report["same"].as_array().unwrap();
    assert!(same.iter().any(|path| path == "/bin/busybox"), "{report}");
    // Another program at the path of a file of the image.
    run("cp /bin/busybox /etc/os-release; echo x >>/etc/os-release; chmod 755 /etc/os-release; \
         /etc/os-release true; exit 0");
    let report = verify(1);
    let differing = report["differing"].as_array().unwrap();
    assert_eq!(differing.len(), 1, "{report}");
    assert_eq!(differing[0]["path"], "/etc/os-release", "{report}");
    assert_ne!(differing[0]["measured"], differing[0]["image"]);
}
