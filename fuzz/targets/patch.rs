//! What repositories of packages bring. The first byte chooses the form of the rest.
//!
//! A package's paths stay below the root, and an index gives what the text has at most. What is
//! written of apk's database is read the same again. Archives within a package of apk come
//! without their compression: which is not what is to be tried here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_patch::{
    read_apk, read_apk_index, read_apk_members, read_deb, read_modules, read_notices,
    read_packages, read_primary, read_release, read_repomd, read_repos, read_rpm,
    read_sources_list, rewrite_apk_installed, rewrite_apk_scripts,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    let _ = std::io::Write::write_all(&mut gzip, bytes);
    gzip.finish().unwrap_or_default()
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 15 {
        0 => {
            let Ok(deb) = read_deb(rest, "package") else { return };
            assert!(deb.control.contains_key("control"));
            for file in &deb.files {
                assert!(!file.path.starts_with('/') && file.path.split('/').all(|it| it != ".."));
            }
            assert!(deb.control.keys().all(|name| !name.contains('/')));
        }
        5 => {
            assert!(read_apk(rest, "Q1", "package").is_err());
            let at = rest.windows(8).position(|it| it == b"\0\0DATA\0\0").unwrap_or(rest.len());
            let (control, data) = rest.split_at(at);
            let data = gzip(data.get(8..).unwrap_or_default());
            let Ok(apk) = read_apk_members(&gzip(control), &data, "package") else { return };
            for one in &apk.files {
                let mut parts = one.file.path.split('/');
                assert!(parts.all(|it| !matches!(it, "" | "." | "..")), "{}", one.file.path);
            }
        }
        6 => {
            let text = String::from_utf8_lossy(rest);
            let (n_records, once) = rewrite_apk_installed(&text);
            assert!(n_records <= text.len());
            let (_, twice) = rewrite_apk_installed(&once);
            // Of a record without folders an empty line is written, which is no record.
            let lines = |text: &str| {
                text.split('\n').map(str::to_string).filter(|it| !it.is_empty()).collect::<Vec<_>>()
            };
            assert_eq!(lines(&once), lines(&twice));
        }
        7 => {
            let Ok(once) = rewrite_apk_scripts(rest) else { return };
            assert_eq!(rewrite_apk_scripts(&once).ok(), Some(once));
        }
        8 => {
            let _ = read_apk(rest, "Q1", "package");
        }
        9 => {
            let Ok(repomd) = read_repomd(rest, "repomd.xml") else { return };
            assert!(repomd.indices.contains_key("primary"));
        }
        10 => {
            let Ok(primary) = read_primary(rest, &|_| true) else { return };
            assert!(primary.packages.len() as u64 + primary.n_bad <= primary.n_packages);
            for one in &primary.packages {
                assert!(!one.name.is_empty() && !one.address.starts_with('/'));
                assert!(one.address.split('/').all(|it| it != ".."), "{}", one.address);
            }
        }
        11 => {
            let _ = read_modules(&String::from_utf8_lossy(rest), &|_| true);
        }
        12 => {
            let Ok(notices) = read_notices(rest, &|name| !name.is_empty()) else { return };
            assert!(notices.keys().all(|(name, _, _)| !name.is_empty()));
        }
        13 => {
            let Ok(rpm) = read_rpm(rest, "package") else { return };
            assert!(!rpm.name.is_empty() && rpm.version.contains('-'));
        }
        14 => {
            let (repos, _) = read_repos(&String::from_utf8_lossy(rest));
            assert!(repos.iter().all(|it| it.list.is_some() || !it.addresses.is_empty()));
        }
        1 => {
            let (packages, n_bad) = read_packages(rest);
            assert!(packages.len() as u64 + n_bad <= rest.len() as u64 + 1);
        }
        4 => {
            let (packages, n_bad) = read_apk_index(rest);
            assert!(packages.len() as u64 + n_bad <= rest.len() as u64 + 1);
        }
        2 => {
            let text = String::from_utf8_lossy(rest);
            let release = read_release(&text, "Release");
            assert!(release.is_err() || !release.unwrap_or_default().files.is_empty());
        }
        _ => {
            let text = String::from_utf8_lossy(rest);
            let (mut sources, mut problems) = (Vec::new(), Vec::new());
            read_sources_list(&text, "sources.list", &mut sources, &mut problems);
            assert!(sources.iter().all(|source| !source.address.is_empty()));
        }
    }
});
