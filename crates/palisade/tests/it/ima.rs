//! `palisade ima` over lists of measurements that a kernel would have made.

use serde_json::{Value, json};

use crate::layout::{Layer, Layout};
use crate::support::{Ended, run};

const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

struct Bed(tempfile::TempDir);

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layer = Layer::new()
            .folder("bin/", 0o755)
            .file("bin/hello", 0o755, "hello")
            .file("bin/with space", 0o755, "hello")
            .file("bin/other", 0o755, "other")
            .link("bin/link", "hello");
        Layout::write(&folder.path().join("box"), vec![layer], &json!({}));
        Self(folder)
    }

    fn verify(&self, lines: &[(&str, &str)], flags: &[&str]) -> Ended {
        let line = |(digest, path): &(&str, &str)| {
            format!("10 91f34b5c671d73504b274a919661cf80dab1e127 ima-sig {digest} {path}\n")
        };
        let text: String = lines.iter().map(line).collect();
        std::fs::write(self.0.path().join("list"), text).unwrap();
        let args = ["ima", "verify", "oci:box", "--measurements", "list"];
        run(self.0.path(), &[&args[..], flags].concat())
    }
}

#[test]
fn a_list_is_compared_with_the_image() {
    let bed = Bed::new();
    let hello = &format!("sha256:{HELLO}");
    let zeros = &format!("sha256:{}", "0".repeat(64));
    let same =
        [(hello.as_str(), "/bin/hello"), (hello, "/bin/with_space"), (hello, "/usr/bin/host")];
    let ended = bed.verify(&same, &["--format", "tsv"]).expect(0);
    assert_eq!(ended.stdout, "same\t/bin/hello\t-\t-\nsame\t/bin/with_space\t-\t-\n");
    assert!(ended.stderr.contains("1 not in the image"), "{}", ended.stderr);

    let all = [&same[..], &[(hello, "/bin/other"), (zeros, "/bin/hello")]].concat();
    let ended = bed.verify(&all, &["--format", "json"]).expect(1);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["schema"], "palisade.dev/ima-comparison/v1");
    assert_eq!(report["differing"][0]["path"], "/bin/other");
    assert_eq!(report["differing"][0]["measured"], HELLO);
    assert_eq!(report["violations"], json!(["/bin/hello"]));
    let shown = bed.verify(&all, &[]).expect(1).stdout;
    assert!(shown.starts_with("STATE") && shown.contains("differs  /bin/other"), "{shown}");
    bed.verify(&[("sha1:2cf2", "/bin/hello")], &[]).expect(4);
    // Links are never what is measured; nothing compared is not the same as nothing found.
    let nothing = bed.verify(&[(hello, "/bin/link")], &[]);
    nothing.expect_error(3, "nothing of the image was measured");
}

#[test]
fn a_list_that_is_none_is_refused() {
    let bed = Bed::new();
    bed.verify(&[("none", "/bin/hello")], &[]).expect_error(2, "line 1 is no measurement");
    let args = ["ima", "verify", "oci:box", "--measurements", "nosuch"];
    run(bed.0.path(), &args).expect_error(3, "nosuch");
    let policy = run(bed.0.path(), &["ima", "policy"]).expect(0).stdout;
    assert!(policy.contains("\nmeasure func=BPRM_CHECK mask=MAY_EXEC\n"), "{policy}");
}
