//! What other checkers find in the same inputs: nothing that they rightly find is missed.

use super::{findings, run};

/// Numbers of rows that an input violates.
fn ids(name: &str, text: &str) -> Vec<String> {
    let report = run(name, text);
    let mut found: Vec<String> =
        findings(&report).iter().filter_map(|found| found.id.clone()).collect();
    found.sort();
    found.dedup();
    found
}

mod conformance {
    use super::ids;

    /// Rows under which we report what Trivy calls so.
    const TRIVY: [(&str, &str); 4] = [
        ("DS-0001", "IMG-002"),
        ("DS-0002", "IMG-001"),
        ("DS-0005", "IMG-009"),
        ("DS-0026", "IMG-020"),
    ];

    /// What Trivy reports of the Dockerfile in its fixtures is found.
    #[test]
    fn trivys_dockerfile() {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
        let shared = std::env::vars()
            .find(|(name, _)| name == "PALISADE_SHARED")
            .map_or_else(|| default.into(), |(_, value)| value);
        let folder = std::path::Path::new(&shared).join("conformance/scan/trivy");
        let Ok(golden) = std::fs::read_to_string(folder.join("dockerfile.json.golden")) else {
            return eprintln!("skipped: {} is absent; set PALISADE_SHARED", folder.display());
        };
        let text =
            std::fs::read_to_string(folder.join("fixtures/repo/dockerfile/Dockerfile")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&golden).unwrap();
        let theirs = report["Results"][0]["Misconfigurations"].as_array().unwrap();
        assert!(!theirs.is_empty());
        let ours = ids("Dockerfile", &text);
        for finding in theirs {
            let id = finding["ID"].as_str().unwrap();
            let row = TRIVY.iter().find(|(known, _)| *known == id).unwrap().1;
            assert!(ours.contains(&row.to_string()), "{id} is {row}, ours are {ours:?}");
        }
        // Theirs is content with any HEALTHCHECK; `NONE` is none. They ask for no digest.
        assert_eq!(ours, ["IMG-001", "IMG-003", "IMG-020"]);
    }
}

/// A pod that violates nothing but what Pod Security Standards leave open.
#[test]
fn a_restricted_pod_violates_nothing_of_the_standard() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec:\n  hostUsers: false\n  serviceAccountName: a\n  automountServiceAccountToken: false\n  securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, seccompProfile: {type: RuntimeDefault}}\n  containers:\n  - name: c\n    image: ghcr.io/a/b:1@sha256:00\n    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}\n    resources: {limits: {memory: 1Gi, cpu: 1}}\n    livenessProbe: {exec: {}}\n    readinessProbe: {exec: {}}\n";
    assert_eq!(ids("k.yaml", text), Vec::<String>::new());
}
