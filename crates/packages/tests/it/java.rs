//! Java archives, built here entry by entry, and those that this machine has.

use std::io::Write as _;

use palisade_packages::{Collected, Collector};

use crate::subject;

/// An entry: name, content, and whether it is compressed.
type Entry<'e> = (&'e str, &'e [u8], bool);

/// An archive of `entries`, behind `prefix`.
fn zip(prefix: &[u8], entries: &[Entry<'_>]) -> Vec<u8> {
    let le16 = |n: usize| (n as u16).to_le_bytes();
    let le32 = |n: usize| (n as u32).to_le_bytes();
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content, compressed) in entries {
        let mut packed = content.to_vec();
        if *compressed {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            packed = encoder.finish().unwrap();
        }
        let method = if *compressed { 8 } else { 0 };
        let mut common = Vec::new();
        common.extend(le16(20));
        common.extend(le16(0));
        common.extend(le16(method));
        common.extend([0; 8]);
        common.extend(le32(packed.len()));
        common.extend(le32(content.len()));
        common.extend(le16(name.len()));
        common.extend(le16(0));
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(le32(out.len()));
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(packed);
    }
    let at = out.len();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(le16(entries.len()));
    out.extend(le16(entries.len()));
    out.extend(le32(directory.len()));
    out.extend(le32(at));
    out.extend(le16(0));
    [prefix, &out].concat()
}

fn pom(group: &str, artifact: &str, version: &str) -> String {
    format!("#Created by Maven\nversion={version}\ngroupId={group}\nartifactId={artifact}\n")
}

fn collect(path: &str, bytes: &[u8]) -> Collected {
    let mut collector = Collector::new();
    assert!(collector.wants(path).is_some(), "{path}");
    collector.add(path, bytes, None);
    collector.finish(subject(), 1, Vec::new())
}

#[track_caller]
fn check(path: &str, bytes: &[u8], expected: &[(&str, &str)]) {
    let found = collect(path, bytes).inventory;
    assert_eq!(found.gaps, []);
    let packages: Vec<(&str, &str)> =
        found.packages.iter().map(|one| (one.purl.as_str(), one.evidence.as_str())).collect();
    assert_eq!(packages, expected);
}

#[test]
fn a_jar_by_its_properties() {
    let jar = zip(
        b"",
        &[
            ("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\nImplementation-Version: 9\n", true),
            ("META-INF/maven/org.a/b/pom.properties", pom("org.a", "b", "1.0").as_bytes(), true),
            ("org/a/B.class", &[0; 5000], true),
        ],
    );
    check("srv/lib/b-1.0.jar", &jar, &[("pkg:maven/org.a/b@1.0", "/srv/lib/b-1.0.jar")]);
}

#[test]
fn a_shaded_jar_names_its_parts() {
    let manifest = b"Implementation-Version: 3.0\nImplementation-Vendor-Id: com.shop\nBundle-License: Apache-2.0;link=x\nImplementation-Vendor: Shop\n";
    let jar = zip(
        b"",
        &[
            ("META-INF/MANIFEST.MF", manifest, false),
            ("META-INF/maven/org.a/b/pom.properties", pom("org.a", "b", "1.0").as_bytes(), true),
            ("META-INF/maven/org.c/d/pom.properties", pom("org.c", "d", "2.0").as_bytes(), true),
        ],
    );
    let evidence = "/srv/shop-all-3.0.jar";
    check(
        "srv/shop-all-3.0.jar",
        &jar,
        &[
            ("pkg:maven/com.shop/shop-all@3.0", evidence),
            ("pkg:maven/org.a/b@1.0", evidence),
            ("pkg:maven/org.c/d@2.0", evidence),
        ],
    );
    let found = collect("srv/shop-all-3.0.jar", &jar).inventory;
    assert_eq!(found.packages[0].licences, ["Apache-2.0"]);
    assert_eq!(found.packages[0].maintainer.as_deref(), Some("Shop"));
    assert_eq!(found.packages[1].licences, [""; 0]);
}

#[test]
fn one_part_is_not_the_whole() {
    let jar = zip(
        b"",
        &[
            ("META-INF/MANIFEST.MF", b"Bundle-SymbolicName: com.google.inject\n", false),
            ("META-INF/maven/c/cglib/pom.properties", pom("c", "cglib", "3.2").as_bytes(), true),
        ],
    );
    let found = [
        ("pkg:maven/c/cglib@3.2", "/srv/guice-4.2.3.jar"),
        ("pkg:maven/com.google.inject/guice@4.2.3", "/srv/guice-4.2.3.jar"),
    ];
    check("srv/guice-4.2.3.jar", &jar, &found);
    check("srv/app.jar", &jar, &[("pkg:maven/c/cglib@3.2", "/srv/app.jar")]);
    check(
        "srv/cglib-shaded-3.2.jar",
        &jar,
        &[
            ("pkg:maven/c/cglib@3.2", "/srv/cglib-shaded-3.2.jar"),
            ("pkg:maven/com.google.inject/cglib-shaded@3.2", "/srv/cglib-shaded-3.2.jar"),
        ],
    );
}

#[test]
fn archives_within_archives_behind_a_script() {
    let inner = zip(
        b"",
        &[("META-INF/maven/g/inner/pom.properties", pom("g", "inner", "1.1").as_bytes(), true)],
    );
    let named = zip(b"", &[("a", b"", false)]);
    for compressed in [false, true] {
        let war = zip(
            b"",
            &[
                ("WEB-INF/lib/inner-1.1.jar", &inner, compressed),
                ("WEB-INF/lib/log4j-1.2.17.jar", &named, compressed),
            ],
        );
        // Spring Boot's archives can begin with a script that starts them.
        let ear = zip(b"#!/bin/bash\nexec java -jar $0\n", &[("shop.war", &war, compressed)]);
        check(
            "srv/shop.ear",
            &ear,
            &[
                ("pkg:maven/g/inner@1.1", "/srv/shop.ear!/shop.war!/WEB-INF/lib/inner-1.1.jar"),
                (
                    "pkg:maven/log4j/log4j@1.2.17",
                    "/srv/shop.ear!/shop.war!/WEB-INF/lib/log4j-1.2.17.jar",
                ),
            ],
        );
    }
}

#[test]
fn hostile_archives_are_gaps() {
    let gap = |bytes: &[u8]| {
        let found = collect("a.jar", bytes).inventory;
        assert_eq!(found.gaps.len(), 1, "{:?}", found.gaps);
        format!("{} {}", found.gaps[0].path, found.gaps[0].reason)
    };
    assert_eq!(gap(b"not an archive"), "/a.jar not a ZIP archive");
    // Deeper than any application.
    let mut deep = zip(b"", &[("x", b"", false)]);
    for _ in 0..8 {
        deep = zip(b"", &[("i.jar", &deep, true)]);
    }
    assert!(gap(&deep).contains("within each other"), "{}", gap(&deep));
    // A manifest that inflates without end.
    let bomb = zip(b"", &[("META-INF/MANIFEST.MF", &vec![b' '; 8 << 20], true)]);
    assert!(bomb.len() < 100_000);
    assert!(gap(&bomb).contains("larger than the limit"));
    // Every entry is the same content: together more than is inflated for one file.
    let inner = zip(b"", &[("a", &vec![0; 120 << 20], false)]);
    let names: Vec<String> = (0..3).map(|n| format!("{n}.jar")).collect();
    let entries: Vec<Entry<'_>> =
        names.iter().map(|name| (name.as_str(), inner.as_slice(), true)).collect();
    let found = collect("a.jar", &zip(b"", &entries)).inventory;
    assert_eq!(found.gaps.len(), 1, "{:?}", found.gaps);
    assert!(found.gaps[0].path.starts_with("/a.jar!/2.jar"), "{:?}", found.gaps);
    // One archive that is in another many times, with many entries of its own.
    let names: Vec<String> = (0..50_000).map(|n| format!("{n:05}")).collect();
    let entries: Vec<Entry<'_>> =
        names.iter().map(|name| (name.as_str(), &b""[..], false)).collect();
    let inner = zip(b"", &entries);
    let mut outer = zip(b"", &[("i.jar", &inner, false)]);
    let end = outer.split_off(outer.len() - 22);
    let entry = outer.split_off(outer.len() - 46 - "i.jar".len());
    let at = outer.len() as u32;
    outer.extend(entry.repeat(100));
    let size = (entry.len() * 100) as u32;
    outer.extend(&end[..12]);
    outer.extend(size.to_le_bytes());
    outer.extend(at.to_le_bytes());
    outer.extend([0; 2]);
    let found = collect("a.jar", &outer).inventory;
    assert!(found.gaps[0].reason.contains("more entries"), "{:?}", found.gaps);
    // Cut anywhere, changed anywhere: no panic.
    let whole = zip(b"", &[("META-INF/MANIFEST.MF", b"Bundle-Version: 1\n", true)]);
    for cut in 0..whole.len() {
        let _ = collect("a.jar", &whole[..cut]);
        let mut changed = whole.clone();
        changed[cut] ^= 0xff;
        let _ = collect("a.jar", &changed);
    }
}

#[test]
fn an_egg_is_an_archive() {
    let egg = zip(b"", &[("EGG-INFO/PKG-INFO", b"Name: Foo\nVersion: 1.0\n", true)]);
    let path = "usr/lib/python2.7/site-packages/Foo-1.0-py2.7.egg";
    check(path, &egg, &[("pkg:pypi/foo@1.0", &format!("/{path}"))]);
    let found = collect(path, &zip(b"", &[("x", b"", false)])).inventory;
    assert_eq!(found.gaps[0].reason, "an egg without metadata");
}

#[test]
fn run_times() {
    let release = b"IMPLEMENTOR=\"Eclipse Adoptium\"\nJAVA_VERSION=\"17.0.9\"\nJAVA_RUNTIME_VERSION=\"17.0.9+9\"\n";
    let path = "opt/java/openjdk/release";
    check(path, release, &[("pkg:generic/openjdk@17.0.9%2B9", "/opt/java/openjdk/release")]);
    check("opt/java/release", b"a=b\n", &[]);
    assert_eq!(Collector::new().wants("etc/release"), None);
}

/// Debian's packages of Maven libraries carry the properties of what they were built from.
#[test]
fn the_machines_own_jars_have_versions() {
    let Ok(folder) = std::fs::read_dir("/usr/share/java") else {
        eprintln!("skipped: this machine has no Java libraries");
        return;
    };
    let (mut n_jars, mut n_named) = (0, 0);
    for path in folder.map(|entry| entry.unwrap().path()) {
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if !is_file || path.extension().is_none_or(|extension| extension != "jar") {
            continue;
        }
        let name = path.strip_prefix("/").unwrap().to_str().unwrap();
        let found = collect(name, &std::fs::read(&path).unwrap()).inventory;
        assert_eq!(found.gaps, [], "{name}");
        n_jars += 1;
        n_named += usize::from(!found.packages.is_empty());
    }
    println!("java: {n_named} of {n_jars} jars of this machine are named");
    assert!(n_named * 10 >= n_jars * 8, "{n_named} of {n_jars}");
}
