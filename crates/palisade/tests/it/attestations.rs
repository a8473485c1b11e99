//! `palisade attest`, then `verify --policy`: every kind of predicate, what is asked of it in
//! words of its kind and by conditions over its content, and what does not count.

use std::path::Path;

use serde_json::{Value, json};

use crate::layout;
use crate::support::{Ended, run};

struct Case {
    /// The name for `--type`.
    kind: &'static str,
    predicate_type: &'static str,
    predicate: Value,
    /// What holds.
    good: &'static str,
    /// What does not, and why.
    bad: &'static str,
    why: &'static str,
}

fn cases() -> Vec<Case> {
    let now = palisade_base::Timestamp::now().rfc3339();
    let scan = json!({
        "invocation": {"uri": "https://ci.example/1"},
        "scanner": {"uri": "pkg:github/aquasecurity/trivy", "version": "0.60", "result": {
            "SchemaVersion": 2, "ArtifactName": "shop", "Results": [{"Target": "t",
                "Vulnerabilities": [{"VulnerabilityID": "CVE-2026-1", "Severity": "MEDIUM"}]}]}},
        "metadata": {"scanStartedOn": now, "scanFinishedOn": now},
    });
    let case = |kind, predicate_type, predicate, good, bad, why| Case {
        kind,
        predicate_type,
        predicate,
        good,
        bad,
        why,
    };
    vec![
        // First: nothing else that a pattern could cover was said yet.
        case(
            "https://shop.example/review/v1",
            "https://shop.example/review/v1",
            json!({"reviewer": "ann", "level": 3}),
            "conditions: ['level >= 3']",
            "builder: \"*\"",
            "does not say it",
        ),
        case(
            "slsaprovenance",
            "https://slsa.dev/provenance/v0.2",
            json!({"builder": {"id": "https://ci.example/b"}, "buildType": "https://ci.example/v0",
                "invocation": {"configSource": {"uri": "git+https://git.example/shop"}},
                "materials": [{"uri": "git+https://git.example/shop", "digest": {"sha1": "ab"}}]}),
            "builder: \"https://ci.example/*\", source: \"git+https://git.example/*\", \
             materials: [\"git+https://git.example/*\"]",
            "builder: \"https://evil.example\"",
            "`builder`: it is `https://ci.example/b`",
        ),
        case(
            "slsaprovenance1",
            "https://slsa.dev/provenance/v1",
            json!({"buildDefinition": {"buildType": "https://ci.example/v1",
                    "externalParameters": {"source": "git+https://git.example/shop"},
                    "resolvedDependencies": [{"uri": "pkg:a", "digest": {"sha256": "ab"}}]},
                "runDetails": {"builder": {"id": "https://ci.example/b"}}}),
            "builder: \"https://ci.example/b\", build_type: \"https://ci.example/v1\", \
             source: \"git+https://git.example/*\"",
            "materials: [\"git+*\"]",
            "`pkg:a` is one of them",
        ),
        case(
            "cyclonedx",
            "https://cyclonedx.org/bom",
            json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"name": "a"}]}),
            "sbom: [\"cyclonedx-1.*\"], conditions: ['components[*].name != \"evil\"']",
            "sbom: [spdx-2.3]",
            "it is `cyclonedx-1.5`",
        ),
        case(
            "spdxjson",
            "https://spdx.dev/Document",
            json!({"spdxVersion": "SPDX-2.3", "packages": []}),
            "sbom: [spdx-2.3]",
            "conditions: ['packages[*].name != \"evil\"']",
            "there is no such value",
        ),
        case(
            "openvex",
            "https://openvex.dev/ns",
            json!({"@id": "x", "statements": [
                {"vulnerability": {"name": "CVE-2026-1"}, "status": "not_affected"}]}),
            "vex_statuses: [not_affected, fixed]",
            "vex_statuses: [fixed]",
            "`CVE-2026-1` is not_affected",
        ),
        case(
            "vuln",
            "https://cosign.sigstore.dev/attestation/vuln/v1",
            scan,
            "scan_hours_max: 1, severity_max: medium",
            "severity_max: low",
            "`CVE-2026-1` is medium",
        ),
    ]
}

fn verify(folder: &Path, predicate: &str, asked: &str) -> Ended {
    let text = format!(
        "version: 1\nname: p\nimages:\n  verify: required\n  keys: [shop.pub]\n  attestations:\n    \
         - {{predicate: \"{predicate}\", {asked}}}\n"
    );
    std::fs::write(folder.join("p.yaml"), text).unwrap();
    run(folder, &["verify", "--policy", "p.yaml", "oci:shop"])
}

#[test]
fn what_is_attested_is_verified_by_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    layout::shop(&folder.join("shop"));
    for name in ["shop", "other"] {
        run(folder, &["sign", "--generate-key", name]).expect(0);
    }
    run(folder, &["sign", "--key", "shop.key", "oci:shop"]).expect(0);
    let attest = |key: &str, kind: &str, predicate: &Value| {
        std::fs::write(folder.join("p.json"), predicate.to_string()).unwrap();
        let args = ["attest", "--key", key, "--type", kind, "--predicate", "p.json", "oci:shop"];
        run(folder, &args).expect(0);
    };
    for case in cases() {
        let Case { kind, predicate_type, predicate, good, bad, why } = case;
        // The pattern is one that any kind could be asked through.
        let pattern = format!("{}*", predicate_type.split_at(8).0);
        // Nobody has said it yet; what a stranger says does not count.
        let nobody = "nobody whom the policy trusts says it";
        verify(folder, predicate_type, good).expect_error(1, nobody);
        attest("other.key", kind, &predicate);
        verify(folder, predicate_type, good).expect_error(1, nobody);
        attest("shop.key", kind, &predicate);
        verify(folder, predicate_type, good).expect(0);
        let asked = if bad.starts_with("builder: \"*\"") { &pattern } else { predicate_type };
        let refused = verify(folder, asked, bad);
        refused.expect_error(1, why);
        let explained = run(folder, &["trust", "explain", "--policy", "p.yaml", "oci:shop"]);
        assert_eq!(explained.code, 1, "{}", explained.stdout);
        assert!(explained.stdout.contains(why), "{why}: {}", explained.stdout);
    }
}
