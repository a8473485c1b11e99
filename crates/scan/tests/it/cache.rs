//! What is kept of examined images: whatever changes the result has an entry of its own.

use std::collections::BTreeMap;
use std::path::Path;

use palisade_base::Timestamp;
use palisade_image::{Image, NewImage, OpenOptions, Platform, write_layout};
use palisade_model::{Severity, Target};
use palisade_policy::Checks;
use palisade_scan::ignore;
use palisade_scan::licences::LicencePolicy;
use palisade_scan::malware::{Detection, MalwareOptions};
use palisade_scan::secrets::{Allow, CustomDetector, FingerprintKey, Searcher, SearcherOptions};
use palisade_scan::{ExaminationCache, Look, ScanOptions, scan_cached};

use crate::image::{NOW, OS_RELEASE, file, layer};

fn write_image(folder: &Path, name: &str, labels: &BTreeMap<String, String>, content: &[u8]) {
    let layers = vec![layer(
        folder,
        "layer.tar",
        &[file("etc/os-release", 0o644, OS_RELEASE), file("srv/app.env", 0o644, content)],
    )];
    let image = NewImage {
        tag: Some("1".into()),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        created: NOW,
        config: serde_json::json!({ "User": "1", "Labels": labels }),
        history: vec![],
        layers,
        annotations: BTreeMap::new(),
    };
    let dest = folder.join(name);
    let _ = std::fs::remove_dir_all(&dest);
    write_layout(&dest, &image).unwrap();
}

fn open(folder: &Path, name: &str) -> Image {
    let target: Target = format!("oci:{}:1", folder.join(name).display()).parse().unwrap();
    let options = OpenOptions { platform: "linux/amd64".parse().ok(), ..OpenOptions::default() };
    Image::open(&target, &options).unwrap()
}

fn searcher(options: &SearcherOptions) -> Searcher {
    Searcher::with(options).unwrap()
}

fn detector(pattern: &str, severity: Severity) -> CustomDetector {
    CustomDetector {
        id: "shop-key".into(),
        title: "key of the shop".into(),
        severity,
        keywords: vec!["shop_".into()],
        pattern: pattern.into(),
        entropy_min: None,
        files: vec![],
    }
}

#[test]
fn each_thing_that_changes_the_result_changes_the_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_image(path, "image", &BTreeMap::new(), b"shop_key=1\n");
    let image = open(path, "image");
    let entries = path.join("cache");
    let cache = ExaminationCache::new(&entries, "program 1");
    let count = || std::fs::read_dir(&entries).map_or(0, Iterator::count);
    let checks = Checks::default();
    let plain = ScanOptions {
        now: NOW,
        database: None,
        ignores: &[],
        checks: &checks,
        secrets: true,
        look: Look::default(),
        minimality: None,
    };
    let mut n = 0;
    // Scans twice; the second time what was kept serves, and says the same.
    let mut check =
        |cache: &ExaminationCache, image: &Image, options: &ScanOptions<'_>, new, what| {
            let first = scan_cached(image, options, Some(cache)).unwrap();
            let second = scan_cached(image, options, Some(cache)).unwrap();
            assert_eq!(first, second, "{what}");
            n += usize::from(new);
            assert_eq!(count(), n, "{what}");
        };
    check(&cache, &image, &plain, true, "the first time");
    check(&ExaminationCache::new(&entries, "program 2"), &image, &plain, true, "another program");
    check(&cache, &image, &ScanOptions { secrets: false, ..plain }, true, "no secrets");

    let of = |detectors, allow, key| searcher(&SearcherOptions { detectors, allow, key });
    let key = FingerprintKey::default;
    let allow = |path: &str, pattern: Option<&str>| Allow {
        detector: None,
        path: Some(path.into()),
        pattern: pattern.map(str::to_string),
    };
    let searchers = [
        ("a detector", of(vec![detector("shop_a", Severity::High)], vec![], key())),
        ("its pattern", of(vec![detector("shop_b", Severity::High)], vec![], key())),
        ("its severity", of(vec![detector("shop_b", Severity::Low)], vec![], key())),
        ("what is allowed", of(vec![], vec![allow("srv/**", None)], key())),
        ("where", of(vec![], vec![allow("opt/**", None)], key())),
        ("which value", of(vec![], vec![allow("opt/**", Some("x"))], key())),
        ("the fingerprints' key", of(vec![], vec![], FingerprintKey::new(&[7; 32]).unwrap())),
        ("another key", of(vec![], vec![], FingerprintKey::new(&[8; 32]).unwrap())),
    ];
    for (what, searcher) in &searchers {
        let look = Look { searcher: Some(searcher), ..Look::default() };
        check(&cache, &image, &ScanOptions { look, ..plain }, true, what);
    }
    let same = of(vec![], vec![], key());
    let look = Look { searcher: Some(&same), ..Look::default() };
    check(&cache, &image, &ScanOptions { look, ..plain }, false, "the built-in detectors");

    let write = |name: &str, text: &str| {
        std::fs::write(path.join(name), text).unwrap();
        path.join(name)
    };
    let load =
        |rules, hashes| Detection::load(&MalwareOptions { rules, hashes, cache: None }).unwrap();
    let (one, two) = ("11".repeat(32), "22".repeat(32));
    let mut detections = vec![
        ("malware", Detection::built_in()),
        ("hashes", load(vec![], vec![write("a.sha256", &one)])),
        ("other hashes", load(vec![], vec![write("a.sha256", &two)])),
    ];
    #[cfg(feature = "yara")]
    for (what, rule) in [("rules", "false"), ("other rules", "filesize < 9000000")] {
        let rules = write("a.yar", &format!("rule a {{ condition: {rule} }}"));
        detections.push((what, load(vec![rules], vec![])));
    }
    for (what, detection) in &detections {
        let look = Look { malware: Some(detection), ..Look::default() };
        check(&cache, &image, &ScanOptions { look, ..plain }, true, what);
    }

    // What is judged anew each time has no entry of its own.
    let licences = LicencePolicy { deny: vec!["GPL-*".into()], ..LicencePolicy::default() };
    let look = Look { licences: Some(&licences), ..Look::default() };
    check(&cache, &image, &ScanOptions { look, ..plain }, false, "licences");
    let off = Checks { off: vec!["image-runs-as-root".into()], ..Checks::default() };
    check(&cache, &image, &ScanOptions { checks: &off, ..plain }, false, "checks");
    let ignores =
        ignore::parse("ignore: [{id: a, reason: x, expires: 2099-01-01}]\n", "a.yaml").unwrap();
    check(&cache, &image, &ScanOptions { ignores: &ignores, ..plain }, false, "ignored");
    let later = ScanOptions { now: Timestamp::from_nanos(NOW.as_nanos() + 9), ..plain };
    check(&cache, &image, &later, false, "later");

    // The image: its configuration, its layers, and the files that hold them.
    let labels = BTreeMap::from([("a".to_string(), "b".to_string())]);
    write_image(path, "labelled", &labels, b"shop_key=1\n");
    check(&cache, &open(path, "labelled"), &plain, true, "another configuration");
    write_image(path, "changed", &BTreeMap::new(), b"shop_key=2\n");
    check(&cache, &open(path, "changed"), &plain, true, "another layer");
    write_image(path, "image", &BTreeMap::new(), b"shop_key=1\n");
    check(&cache, &open(path, "image"), &plain, true, "the same image in new files");
}
