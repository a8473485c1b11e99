//! The orders of dpkg and rpm of this machine over random pairs of real versions.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Command;

use palisade_packages::version::{dpkg, rpm};

/// Pairs that are compared.
const PAIRS: usize = 10_000;

/// Pairs of versions; half of them are neighbours in the order of texts, which are alike.
fn pairs(versions: &BTreeSet<String>) -> Vec<(&str, &str)> {
    let all: Vec<&str> = versions.iter().map(String::as_str).collect();
    let mut seed = 20_261_128_u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    (0..PAIRS)
        .map(|index| {
            let first = random(all.len());
            let second = if index % 2 == 0 { random(all.len()) } else { (first + 1) % all.len() };
            (all[first], all[second])
        })
        .collect()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn debian_versions_are_ordered_as_dpkg_orders_them() {
    let listed = output("apt-cache", &["dumpavail"]).unwrap_or_default();
    let versions: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("Version: "))
        .map(str::to_string)
        .collect();
    if versions.len() < 1000 || output("dpkg", &["--version"]).is_none() {
        eprintln!("skipped: no dpkg, or apt knows too few packages (apt-get update)");
        return;
    }
    // One shell compares all pairs: a process of its own for each would take minutes.
    let mut script = String::new();
    let pairs = pairs(&versions);
    for (a, b) in &pairs {
        let word = match dpkg::compare(a, b).unwrap() {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        script += &["dpkg --compare-versions '", a, "' ", word, " '", b, "' || echo '"].concat();
        script += &[a, " not ", word, " ", b, "'\n"].concat();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let wrong = output("sh", &[file.path().to_str().unwrap()]).unwrap_or_default();
    assert_eq!(wrong, "");
    eprintln!("{} pairs of {} versions agree with dpkg", pairs.len(), versions.len());
}

/// Fixed versions of AlmaLinux's notices.
fn rpm_versions() -> Option<BTreeSet<String>> {
    let path = crate::feeds::feeds()?.join("osv/AlmaLinux/all.zip");
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).ok()?).ok()?;
    let mut versions = BTreeSet::new();
    for index in 0..archive.len() {
        let mut text = String::new();
        archive.by_index(index).ok()?.read_to_string(&mut text).ok()?;
        versions.extend(text.split("\"fixed\": \"").skip(1).filter_map(|rest| {
            let version = rest.split('"').next()?;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || ".+~^_:-".contains(c);
            version.chars().all(is_plain).then(|| version.to_string())
        }));
    }
    Some(versions)
}

#[test]
fn builds_of_rpm_are_ordered_as_rpm_orders_them() {
    let Some(versions) = rpm_versions() else { return };
    let works = output("rpm", &["--eval", "%{lua: print(rpm.vercmp('1', '2'))}"]);
    if works.as_deref().map(str::trim) != Some("-1") {
        eprintln!("skipped: no rpm with Lua (apt-get install rpm)");
        return;
    }
    assert!(versions.len() > 1000, "{}", versions.len());
    let pairs = pairs(&versions);
    for chunk in pairs.chunks(500) {
        let mut script = String::from("%{lua: ");
        for (a, b) in chunk {
            script += &["print(rpm.vercmp('", a, "','", b, "')..' ') "].concat();
        }
        script.push('}');
        let said = output("rpm", &["--eval", &script]).unwrap();
        let said: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(said.len(), chunk.len());
        for ((a, b), said) in chunk.iter().zip(said) {
            let ours = (rpm::compare(a, b).unwrap() as i8).to_string();
            assert_eq!(ours, said, "{a} {b}");
        }
    }
    eprintln!("{} pairs of {} builds agree with rpm", pairs.len(), versions.len());
}
