//! Sigstore bundles and trusted roots: whatever the bytes are, nothing is verified that no
//! trusted key signed.
//!
//! The input is a trusted root and a bundle, parted by a zero byte; without one it is both.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_trust::sigstore::{Artifact, Bundle, TrustedRoot, Verifier};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let first = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or(first);
    let root = TrustedRoot::parse(first).ok();
    let Ok(bundle) = Bundle::parse(second) else { return };
    let mut verifier = Verifier::new(root.as_ref(), i64::MAX - 1000);
    for needs in [true, false] {
        verifier.needs_log = needs;
        verifier.needs_certificate_log = needs;
        let by_bytes = verifier.verify(&bundle, &Artifact::Bytes(b"content"), &[]);
        let by_digest = verifier.verify(&bundle, &Artifact::Digest(vec![0; 32]), &[]);
        // A key that nobody gave signs nothing; a digest of zeros is nothing's.
        assert!(by_digest.is_err());
        assert!(by_bytes.is_err() || root.is_some());
    }
});
