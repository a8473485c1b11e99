//! Package URLs: what can be read is written in a form that is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_packages::purl::PackageUrl;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(url) = PackageUrl::parse(&text) {
        let written = url.to_string();
        assert_eq!(PackageUrl::parse(&written), Ok(url), "{text:?} as {written:?}");
    }
});
