//! Signatures of images: whatever a layout holds beside an image, the image is verified only
//! by a statement or payload that is truly signed and names the image's digest.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_fuzz::{Input, scratch};
use palisade_trust::{BUNDLE_MEDIA_TYPE, PrivateKey, VerifyError, verify_image};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

struct Layout<'f>(&'f Path);

impl Layout<'_> {
    fn put(&self, media_type: &str, blob: &[u8]) -> Value {
        let digest = Digest::of(blob);
        let path = self.0.join("blobs/sha256").join(digest.hex());
        std::fs::write(path, blob).expect("write a scratch file");
        json!({ "mediaType": media_type, "digest": digest, "size": blob.len() })
    }
}

/// A DSSE bundle over `payload`, truly signed.
fn bundle(key: &PrivateKey, payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    let digest = Digest::of(&[head.as_bytes(), payload].concat());
    let signature = STANDARD.encode(key.sign(&digest).expect("a key signs"));
    let document = json!({
        "mediaType": BUNDLE_MEDIA_TYPE,
        "verificationMaterial": { "publicKey": { "hint": key.public().hint() } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload), "payloadType": payload_type,
            "signatures": [{ "sig": signature }],
        },
    });
    document.to_string().into_bytes()
}

fuzz_target!(|data: &[u8]| {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    let key = KEY.get_or_init(|| PrivateKey::generate().expect("the kernel has randomness"));
    let folder = scratch().join("layout");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("blobs/sha256")).expect("make a scratch folder");
    std::fs::write(folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("write a scratch file");
    let layout = Layout(&folder);
    let config = layout.put("application/vnd.oci.image.config.v1+json", b"{}");
    let image =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [] });
    let image = layout.put(MANIFEST, image.to_string().as_bytes());
    let digest = image["digest"].as_str().unwrap_or_default().to_string();

    let mut input = Input(data);
    let place = input.byte().wrapping_sub(b'a') % 5;
    let text = String::from_utf8_lossy(input.0);
    let hex = digest.trim_start_matches("sha256:");
    let text = text.replace("@IMAGE@", &digest).replace("@HEX@", hex);
    let mut named = image.clone();
    named["annotations"] = json!({ "org.opencontainers.image.ref.name": "1" });
    let mut manifests = vec![named];
    let referrer = |blob: Value| {
        let empty = layout.put(EMPTY, b"{}");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE_MEDIA_TYPE,
            "config": empty, "layers": [blob], "subject": image,
        });
        layout.put(MANIFEST, manifest.to_string().as_bytes())
    };
    match place {
        0 => manifests.push(referrer(layout.put(BUNDLE_MEDIA_TYPE, text.as_bytes()))),
        1 => {
            let bytes = bundle(key, "application/vnd.in-toto+json", text.as_bytes());
            manifests.push(referrer(layout.put(BUNDLE_MEDIA_TYPE, &bytes)));
        }
        2 => {
            let media_type = "application/vnd.dev.cosign.simplesigning.v1+json";
            let mut payload = layout.put(media_type, text.as_bytes());
            let signature = key.sign(&Digest::of(text.as_bytes())).expect("a key signs");
            payload["annotations"] =
                json!({ "dev.cosignproject.cosign/signature": STANDARD.encode(signature) });
            let empty = layout.put(EMPTY, b"{}");
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [payload],
            });
            let mut signed = layout.put(MANIFEST, manifest.to_string().as_bytes());
            signed["annotations"] =
                json!({ "org.opencontainers.image.ref.name": format!("sha256-{hex}.sig") });
            manifests.push(signed);
        }
        3 => manifests.push(layout.put(MANIFEST, text.as_bytes())),
        _ => {}
    }
    let index = match place {
        4 => text.clone(),
        _ => json!({ "schemaVersion": 2, "manifests": manifests }).to_string(),
    };
    std::fs::write(folder.join("index.json"), index).expect("write a scratch file");
    match verify_image(&folder, Some("1"), &[key.public().clone()]) {
        Ok(_) => {
            // Only what was signed above can be accepted, and only if it names the image.
            assert!(matches!(place, 1 | 2), "place {place}: {text}");
            assert!(text.contains(hex), "{text} does not name {digest}");
        }
        Err(VerifyError::Content(error)) => assert_eq!(place, 4, "{error}"),
        Err(_) => {}
    }
});
