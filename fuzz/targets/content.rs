//! What a scan finds in files besides packages: Git objects, archives and lists of hashes for
//! malware, names of licences, what starts by itself.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use palisade_base::Timestamp;
use palisade_fuzz::Input;
use palisade_image::{FileEntry, FileKind};
use palisade_model::{Package, PackageKind};
use palisade_scan::files::Inspector;
use palisade_scan::licences::{LicencePolicy, judge, names};
use palisade_scan::malware::{Detection, HashLists, MATCHES_PER_FILE_MAX};
use palisade_scan::secrets::git::{self, GitFile, OBJECT_BYTES_MAX, OBJECTS_MAX};

const PATHS: [&str; 8] = [
    "etc/ld.so.preload",
    "root/.ssh/authorized_keys",
    "etc/sudoers",
    "etc/doas.conf",
    "etc/cron.d/x",
    "var/spool/cron/x",
    "etc/systemd/system/x.service",
    "tmp/.x",
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.form(5) {
        choice @ (0 | 1) => {
            let kind = if choice == 0 { GitFile::Loose } else { GitFile::Pack };
            let mut n = 0_u64;
            let found = git::objects(kind, input.0, &mut |object| {
                assert!(object.len() <= OBJECT_BYTES_MAX);
                n += 1;
            });
            assert!(found.n_seen == n && n <= u64::from(OBJECTS_MAX), "{found:?}");
        }
        2 => {
            static DETECTION: OnceLock<Detection> = OnceLock::new();
            let detection = DETECTION.get_or_init(Detection::built_in);
            let found = detection.examiner().examine("srv/x", input.0);
            assert!(found.matches.len() <= MATCHES_PER_FILE_MAX);
            let mut lists = HashLists::default();
            if lists.add(input.0, "list").is_ok() {
                // The shortest is an MD5 in hexadecimal.
                assert!(!lists.is_empty() && lists.len() <= input.0.len() / 32);
            }
        }
        3 => {
            let text = String::from_utf8_lossy(input.0).into_owned();
            names::expression(&text);
            let mut package = Package::new(PackageKind::Dpkg, "p", "1", "/x");
            package.licences = vec![text];
            let policy = LicencePolicy { deny: vec!["GPL-*".into()], ..LicencePolicy::default() };
            let judged = judge(&[package], &policy, Timestamp::from_nanos(0));
            assert!(judged.n_judged + judged.n_unknown == 1 && judged.findings.len() <= 1);
        }
        _ => {
            let path = PATHS[usize::from(input.byte()) % PATHS.len()];
            let entry = FileEntry {
                path: path.into(),
                kind: FileKind::Regular,
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: input.0.len() as u64,
                mtime: 0,
                link: None,
                xattrs: vec![],
                layer: None,
            };
            let mut inspector = Inspector::new();
            inspector.see_head(&entry, input.0);
            inspector.see_text(&entry, input.0);
            inspector.see_passwords("/etc/shadow", input.0);
            for found in inspector.finish(&[]).0 {
                assert!(found.detail.chars().count() <= 300, "{found:?}");
            }
        }
    }
});
