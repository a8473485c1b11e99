//! A disk that fills while the advisory database is replaced.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::is_root;
use crate::feeds::{Server, answer};
use crate::support::run;

/// A small file system of its own, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={bytes},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        assert!(mount.status().unwrap().success());
        Self(at.to_path_buf())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Records of which a database of some hundred kilobytes comes.
fn records(n: usize) -> String {
    let mut lines = String::from("[");
    for index in 0..n {
        let noise = palisade_base::Digest::of(index.to_string().as_bytes());
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            lines,
            r#"{comma}{{"id": "CVE-2024-{index:05}", "summary": "{noise}", "affected": [{{"package": {{"ecosystem": "PyPI", "name": "p{index}"}}, "versions": ["1"]}}]}}"#
        );
    }
    lines + "]"
}

#[test]
fn a_full_disk_leaves_the_old_database_and_says_what_to_do() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let _disk = SmallDisk::mount(&at.join("data"), "256k");
    std::fs::create_dir(at.join("small")).unwrap();
    std::fs::create_dir(at.join("large")).unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_str(&records(8_000)).unwrap();
    for (index, record) in all.iter().enumerate() {
        let text = record.to_string();
        std::fs::write(at.join(format!("large/{index}.json")), &text).unwrap();
        if index < 10 {
            std::fs::write(at.join(format!("small/{index}.json")), &text).unwrap();
        }
    }
    run(at, &["db", "build", "--osv", "small"]).expect(0);
    run(at, &["db", "build", "--osv", "large", "--output", "large.db"]).expect(0);
    assert!(std::fs::metadata(at.join("large.db")).unwrap().len() > 300 << 10);
    let before = std::fs::read(at.join("data/advisories.db")).unwrap();
    let names_in = |folder: &str| {
        let names = std::fs::read_dir(at.join(folder)).unwrap().flatten();
        let mut names: Vec<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let usable = || {
        assert_eq!(before, std::fs::read(at.join("data/advisories.db")).unwrap());
        run(at, &["db", "status"]).expect(0);
        run(at, &["db", "search", "CVE-2024-00001"]).expect(0);
    };
    for arguments in [
        ["db", "import", "large.db"].as_slice(),
        &["db", "build", "--osv", "large"],
        &["db", "update", "--feed", "osv/PyPI=large"],
    ] {
        let ended = run(at, arguments);
        ended.expect_error(3, "write advisory database");
        assert!(ended.stderr.contains("free space"), "{}", ended.stderr);
        usable();
        // Nothing half written is left to take the room of the next attempt.
        assert_eq!(names_in("data"), ["advisories.db", "advisories.db.lock"]);
    }
    let feed = records(8_000);
    let server = Server::start(move |_, _| answer("200 OK", "", feed.as_bytes()));
    let feed = format!("osv/PyPI={}/a.json", server.address);
    let ended = run(at, &["db", "update", "--feed", &feed]);
    ended.expect_error(3, "No space left on device");
    assert!(ended.stderr.contains("a.json`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("free space"), "{}", ended.stderr);
    usable();
    assert_eq!(names_in("data/feeds"), [""; 0]);
}
