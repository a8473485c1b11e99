//! The forms of engines and security modules.

use palisade_policy::{Network, Seccomp};
use palisade_profile::output::{self, plain_name};
use palisade_profile::tailor::{Options, tailor, with_floor};

use crate::record::sample;

/// Compares a text with its golden file.
#[track_caller]
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    #[expect(clippy::disallowed_methods, reason = "how golden files are rewritten")]
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn every_form_is_as_its_golden_file() {
    let record = with_floor(&sample());
    let tailored = tailor(&record, Options::default()).unwrap();
    golden("web.pod.yaml", &output::kubernetes(&record));
    golden("web.oci.json", &format!("{:#}\n", output::oci(&record, &tailored)));
    golden("web.apparmor", &output::apparmor(&record));
    golden("web.cil", &output::selinux(&record));
    golden("web.policy.yaml", &output::policy(&record, "web.seccomp.json"));
}

#[test]
fn the_policy_is_one_that_is_read_without_a_complaint() {
    let text = output::policy(&with_floor(&sample()), "web.seccomp.json");
    let folder = std::path::Path::new("/profiles");
    let loaded = palisade_policy::parse(&text, "web.policy.yaml", folder).unwrap();
    assert_eq!(loaded.warnings.counts(), (0, 0), "{:?}", loaded.warnings);
    let containers = loaded.policy.containers;
    assert_eq!(containers.seccomp, Seccomp::File("/profiles/web.seccomp.json".into()));
    assert_eq!(containers.capabilities, ["NET_BIND_SERVICE"]);
    assert_eq!(containers.network, Network::Host);
    let folders: Vec<&str> = containers.tmpfs.iter().map(|t| t.path.as_str()).collect();
    assert_eq!(folders, ["/run", "/var/log/web"]);
}

#[test]
fn hostile_paths_stay_within_their_rule() {
    let mut record = sample();
    record.files.executed =
        ["/a\"\n  capability sys_admin,\n", "/b{c,d}*"].map(String::from).into();
    let text = output::apparmor(&record);
    assert!(!text.lines().any(|line| line.trim() == "capability sys_admin,"), "{text}");
    assert!(text.contains(r#""/b\{c\,d\}\*" ix,"#), "{text}");
}

#[test]
fn names_fit_every_form() {
    let check = |name: &str, expected: &str| assert_eq!(plain_name(name), expected);
    check("Shop_1.2", "shop-1-2");
    check("--", "workload");
    check("", "workload");
    check("ä/b", "b");
    assert_eq!(plain_name(&"x".repeat(100)).len(), 63);
}
