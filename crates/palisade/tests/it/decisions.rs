//! What is remembered of images' signatures: who finds out, who believes, and for how long.

use std::path::{Path, PathBuf};

use crate::layout::{self, Layout};
use crate::support::{Ended, run};

const POLICY: &str = "version: 1\nname: p\nimages:\n  verify: required\n  keys: [shop.pub]\n";

/// A signed image, its policy, and a place to promote it to that nobody answers at.
fn signed() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let image = layout::shop(&folder.path().join("shop"));
    run(folder.path(), &["sign", "--generate-key", "shop"]).expect(0);
    run(folder.path(), &["sign", "--key", "shop.key", "oci:shop"]).expect(0);
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    (folder, image)
}

fn decisions(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("data/decisions")).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
}

/// What becomes of the image under the policy: 3 once it is admitted, for nobody takes it.
fn promote(folder: &Path) -> Ended {
    run(folder, &["promote", "--policy", "policy.yaml", "oci:shop", "127.0.0.1:1/shop:1"])
}

#[test]
fn what_verify_found_out_others_believe() {
    let (folder, image) = signed();
    let folder = folder.path();
    run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(0);
    // By its manifest and by its configuration, for engines that know it by that.
    assert_eq!(decisions(folder).len(), 2);
    // Whoever takes the signature away takes nothing from what was found out.
    let index = folder.join("shop/index.json");
    let whole = std::fs::read_to_string(&index).unwrap();
    let mut bare: serde_json::Value = serde_json::from_str(&whole).unwrap();
    bare["manifests"].as_array_mut().unwrap().truncate(1);
    std::fs::write(&index, bare.to_string()).unwrap();
    promote(folder).expect(3);
    // `verify` itself believes nobody.
    run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(1);
    // A change of the policy, of a key, and of the file ends it.
    for (name, text) in [("policy.yaml", format!("{POLICY}\n")), ("shop.pub", String::new())] {
        let path = folder.join(name);
        let before = std::fs::read_to_string(&path).unwrap();
        let changed = if text.is_empty() { format!("{before}\n") } else { text };
        std::fs::write(&path, changed).unwrap();
        promote(folder).expect(1);
        std::fs::write(&path, before).unwrap();
        promote(folder).expect(3);
    }
    for path in decisions(folder) {
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    promote(folder).expect(1);
    // The refusal is not remembered.
    std::fs::write(&index, whole).unwrap();
    promote(folder).expect(3);
    // What changed is refused in any case, decision or not.
    let layer = image.blob(&image.layers[0]);
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(1);
}

#[test]
fn a_policy_may_forbid_to_remember_and_rules_end_it() {
    let (folder, _) = signed();
    let folder = folder.path();
    let index = folder.join("shop/index.json");
    let whole = std::fs::read_to_string(&index).unwrap();
    let mut bare: serde_json::Value = serde_json::from_str(&whole).unwrap();
    bare["manifests"].as_array_mut().unwrap().truncate(1);
    std::fs::write(folder.join("policy.yaml"), format!("{POLICY}  remember_minutes: 0\n")).unwrap();
    promote(folder).expect(3);
    std::fs::write(&index, bare.to_string()).unwrap();
    promote(folder).expect(1);
    std::fs::write(&index, &whole).unwrap();
    // Today is the rule's last day.
    let today = palisade_base::Timestamp::now().rfc3339();
    let day = today.split('T').next().unwrap();
    let rule = format!(
        "version: 1\nname: p\nimages:\n  verify: required\n  trust:\n    \
         - {{name: r, keys: [shop.pub], until: \"{day}\"}}\n"
    );
    std::fs::write(folder.join("policy.yaml"), rule).unwrap();
    promote(folder).expect(3);
    let ends = decisions(folder).into_iter().any(|path| {
        std::fs::read_to_string(path).unwrap().contains(&format!("\"until\":\"{day}T23:59:59"))
    });
    assert!(ends, "{day} is not in {:?}", decisions(folder));
}

/// What the age of a scan leaves, and what is told of a file that a policy names, end it.
#[test]
fn a_scan_that_grows_old_ends_it() {
    let (folder, _) = signed();
    let folder = folder.path();
    let now = palisade_base::Timestamp::now().as_nanos();
    let finished = palisade_base::Timestamp::from_nanos(now - 3_000_000_000_000).rfc3339();
    let scan = serde_json::json!({
        "invocation": {"uri": "https://ci.example/1"},
        "scanner": {"uri": "pkg:github/aquasecurity/trivy", "version": "0.60",
            "result": {"SchemaVersion": 2, "ArtifactName": "shop", "Results": []}},
        "metadata": {"scanStartedOn": finished, "scanFinishedOn": finished},
    });
    std::fs::write(folder.join("scan.json"), scan.to_string()).unwrap();
    let attest = ["attest", "--key", "shop.key", "--predicate", "scan.json", "--type", "vuln"];
    run(folder, &[&attest[..], &["oci:shop"]].concat()).expect(0);
    let kind = "https://cosign.sigstore.dev/attestation/vuln/v1";
    let asked = |hours: u32| {
        let attestations =
            format!("  attestations:\n    - {{predicate: \"{kind}\", scan_hours_max: {hours}}}\n");
        std::fs::write(folder.join("policy.yaml"), format!("{POLICY}{attestations}")).unwrap();
    };
    asked(1);
    run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(0);
    let end = palisade_base::Timestamp::from_nanos(now + 601_000_000_000 - 1).rfc3339();
    let found = decisions(folder);
    assert_eq!(found.len(), 2);
    for path in found {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("\"until\":\"{}", &end[..19])), "{end}: {text}");
    }
    promote(folder).expect(3);
}

/// A name that an ID token or a trust policy makes known rests on more files than the policy.
#[test]
fn files_of_files_end_it() {
    let (folder, _) = signed();
    let folder = folder.path();
    // The key of RFC 7515, appendix A.3.
    let keys = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    std::fs::write(folder.join("op.jwks"), keys).unwrap();
    let providers = r#"{"providers": [{"issuer": "https://op.example", "clientIds": ["shop"],
        "jwksFile": "op.jwks"}]}"#;
    std::fs::write(folder.join("op.json"), providers).unwrap();
    let rules = "version: 1\nname: p\nimages:\n  verify: required\n  trust:\n    \
                 - {name: key, keys: [shop.pub]}\n    - {name: token, subject: dev, \
                 issuer: \"https://op.example\", openpubkey: op.json}\n";
    std::fs::write(folder.join("policy.yaml"), rules).unwrap();
    run(folder, &["verify", "--policy", "policy.yaml", "oci:shop"]).expect(0);
    let index = folder.join("shop/index.json");
    let whole = std::fs::read_to_string(&index).unwrap();
    let mut bare: serde_json::Value = serde_json::from_str(&whole).unwrap();
    bare["manifests"].as_array_mut().unwrap().truncate(1);
    std::fs::write(&index, bare.to_string()).unwrap();
    promote(folder).expect(3);
    std::fs::write(folder.join("op.jwks"), format!("{keys} ")).unwrap();
    promote(folder).expect(1);
}
