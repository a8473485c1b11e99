//! `palisade trust conformance verify-bundle`, over every case of the Sigstore project's
//! suite.

use std::path::{Path, PathBuf};

use crate::support::run;

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn suite() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests, not of the product")]
    let shared = std::env::var("PALISADE_SHARED").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("conformance/trust/sigstore-bundles");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return None;
    }
    folder.canonicalize().ok()
}

/// The command line that the suite's protocol gives for a case.
fn arguments(case: &Path, artifact: &str) -> Vec<String> {
    let suite = case.parent().unwrap();
    let own = |name: &str| Some(case.join(name)).filter(|path| path.exists());
    let text = |name: &str, other: &str| {
        own(name).map_or(other.to_string(), |path| {
            std::fs::read_to_string(path).unwrap().trim().to_string()
        })
    };
    let path = |path: PathBuf| path.to_str().unwrap().to_string();
    let mut args: Vec<String> =
        ["trust", "conformance", "verify-bundle", "--bundle"].map(str::to_string).to_vec();
    args.push(path(case.join("bundle.sigstore.json")));
    if let Some(key) = own("key.pub") {
        args.extend(["--key".to_string(), path(key)]);
    } else {
        args.extend(["--certificate-identity".to_string(), text("identity", IDENTITY)]);
        args.extend(["--certificate-oidc-issuer".to_string(), text("issuer", ISSUER)]);
    }
    let root = own("trusted_root.json");
    let root = root.unwrap_or_else(|| suite.join("public-good-trusted_root.json"));
    args.extend(["--trusted-root".to_string(), path(root), artifact.to_string()]);
    args
}

#[test]
fn every_case_of_the_suite_ends_as_it_must() {
    let Some(suite) = suite() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut n_cases = 0;
    for entry in std::fs::read_dir(&suite).unwrap() {
        let case = entry.unwrap().path();
        if !case.is_dir() {
            continue;
        }
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let own = case.join("artifact");
        let artifact = if own.exists() { own } else { suite.join("a.txt") };
        let digest = palisade_base::Digest::of(&std::fs::read(&artifact).unwrap()).to_string();
        for artifact in [artifact.to_str().unwrap(), &digest] {
            let args = arguments(&case, artifact);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let ended = run(folder.path(), &args);
            let expected = i32::from(name.ends_with("_fail"));
            assert_eq!(ended.code, expected, "{name} {artifact}: {}", ended.stderr);
            if expected == 1 {
                ended.expect_error(1, "");
            }
        }
        n_cases += 1;
    }
    eprintln!("sigstore-bundles: {n_cases} cases, by file and by digest");
    assert!(n_cases >= 47);
}

#[test]
fn what_cannot_be_verified_is_refused_with_what_would_help() {
    let Some(suite) = suite() else { return };
    let folder = tempfile::tempdir().unwrap();
    let case = suite.join("happy-path-v0.3");
    let good = arguments(&case, suite.join("a.txt").to_str().unwrap());
    let check = |edit: &dyn Fn(&mut Vec<String>), code: i32, what: &str| {
        let mut args = good.clone();
        edit(&mut args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run(folder.path(), &args).expect_error(code, what);
    };
    let at = |args: &[String], flag: &str| args.iter().position(|it| it == flag).unwrap() + 1;
    let set = |flag: &'static str, value: &'static str| {
        move |args: &mut Vec<String>| {
            let i = at(args, flag);
            args[i] = value.to_string();
        }
    };
    check(&set("--certificate-identity", "https://other.example"), 1, "not by https://other");
    check(&set("--certificate-oidc-issuer", "https://other.example"), 1, "is signed by");
    check(&set("--bundle", "missing.json"), 1, "missing.json");
    check(&set("--trusted-root", "missing.json"), 1, "missing.json");
    check(&|args| *args.last_mut().unwrap() = "sha256:00".into(), 1, "is no digest");
    check(&|args| *args.last_mut().unwrap() = format!("sha256:{}", "0".repeat(64)), 1, "artifact");
    check(&|args| drop(args.drain(4 + 1..=4 + 4)), 2, "nobody is named");
    check(&|args| drop(args.drain(9..=10)), 1, "no trusted root");
    let bundle = std::fs::read_to_string(case.join("bundle.sigstore.json")).unwrap();
    for (from, to, what) in [
        ("\"mediaType\"", "\"mediaType\": 1, \"mediaType\"", "malformed"),
        ("\"mediaType\"", "\"more\": 1, \"mediaType\"", "malformed"),
        ("\"tlogEntries\": [", "\"tlogEntries\": [7, ", "malformed"),
        ("\"logIndex\": \"79571823\"", "\"logIndex\": \"-1\"", "malformed"),
        ("\"logIndex\": \"79571823\"", "\"logIndex\": \"79571824\"", "timestamp is false"),
        ("\"integratedTime\": \"1710869186\"", "\"integratedTime\": \"1710869187\"", "is false"),
        ("\"treeSize\": \"75408393\"", "\"treeSize\": \"75408394\"", "another tree"),
    ] {
        let changed = bundle.replacen(from, to, 1);
        assert_ne!(changed, bundle, "{from}");
        std::fs::write(folder.path().join("changed.json"), changed).unwrap();
        check(&set("--bundle", "changed.json"), 1, what);
    }
}

/// The images of containers/image in folders, decided by policies of its form.
#[test]
fn a_policy_of_containers_image_is_obeyed() {
    let Some(suite) = suite() else { return };
    let fixtures = suite.join("../containers-image");
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::create_dir(&image).unwrap();
    std::fs::copy(fixtures.join("image.manifest.json"), image.join("manifest.json")).unwrap();
    let signature = fixtures.join("dir-img-valid/signature-1");
    std::fs::copy(signature, image.join("signature-1")).unwrap();
    let policy = serde_json::json!({
        "default": [{"type": "reject"}],
        "transports": {"docker": {"docker.io/testing": [{
            "type": "signedBy", "keyType": "GPGKeys", "keyPath": fixtures.join("public-key.gpg"),
        }]}},
    });
    std::fs::write(folder.path().join("policy.json"), policy.to_string()).unwrap();
    let run = |reference: &[&str]| {
        let args = ["verify", "--containers-policy", "policy.json", "dir:image"];
        run(folder.path(), &[&args[..], reference].concat())
    };
    let ended = run(&["--reference", "testing/manifest:latest"]).expect(0);
    assert!(ended.stdout.contains("transports.docker.\"docker.io/testing\""), "{}", ended.stdout);
    assert!(ended.stdout.contains("GPG key 08CD26E446E2E95249B7A405E932F44B23E8DD43"));
    run(&["--reference", "testing/manifest:other"]).expect_error(1, "signed as");
    run(&["--reference", "other/manifest:latest"]).expect_error(1, "every image is refused");
    run(&[]).expect_error(1, "`default`");
    std::fs::write(image.join("manifest.json"), "{}").unwrap();
    run(&["--reference", "testing/manifest:latest"]).expect_error(1, "another manifest");
    std::fs::remove_file(image.join("signature-1")).unwrap();
    run(&["--reference", "testing/manifest:latest"]).expect_error(1, "no signature of this kind");
    std::fs::write(folder.path().join("policy.json"), "{}").unwrap();
    run(&[]).expect_error(2, "`default`");
}
