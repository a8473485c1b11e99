//! Signatures of several families beside one image in a registry: under ID tokens, of the
//! Notary Project and by keys; what a policy says of them; which connections are opened; and
//! what a failing network means for each.

use std::path::Path;

use serde_json::{Value, json};

use crate::fake_registry::FakeRegistry;
use crate::layout::{self, Layout};
use crate::signing::{notary, providers, runner};
use crate::support::{Ended, finish, palisade, run};

const WORKFLOW: &str = "shop/app/.ci/release.yml@refs/tags/v1";
const ISSUER: &str = "https://ci.example";

/// A folder with an image that a key, a token and a certificate of the Notary Project signed,
/// and the registry that serves it.
struct Signed {
    folder: tempfile::TempDir,
    image: Layout,
    registry: FakeRegistry,
    name: String,
}

impl Signed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let image = layout::shop(&path.join("shop"));
        for name in ["shop", "other"] {
            run(path, &["sign", "--generate-key", name]).expect(0);
        }
        let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
        providers(path, "ci.json", &key);
        providers(path, "other.json", &p256::ecdsa::SigningKey::from_slice(&[6; 32]).unwrap());
        for (from, to) in [
            ("p256.key", "n.key"),
            ("p256.chain.pem", "chain.pem"),
            ("root.pem", "truststore/x509/ca/shop/root.pem"),
            ("good.crl", "crl/root.crl"),
        ] {
            std::fs::create_dir_all(path.join(to).parent().unwrap()).unwrap();
            std::fs::copy(notary(from), path.join(to)).unwrap();
        }
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path.join("n.key"), private).unwrap();
        let registry = FakeRegistry::start(&path.join("shop"));
        let name = format!("{}/team/shop:1", registry.host);
        let this = Self { folder, image, registry, name };
        this.trust_policy("strict", "shop.example");
        run(this.path(), &["sign", "--key", "shop.key", "oci:shop"]).expect(0);
        let chain = ["--notary-chain", "chain.pem", "oci:shop"];
        run(this.path(), &[&["sign", "--key", "n.key"], &chain[..]].concat()).expect(0);
        let address = runner(key, "s3cret");
        let mut command = palisade(this.path());
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("http://{address}/token?api=1"));
        command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cret");
        command.args(["sign", "--openpubkey", "ci.json", "oci:shop"]);
        finish(command).expect(0);
        this
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A trust policy of the Notary Project about the registry's repository.
    fn trust_policy(&self, level: &str, organization: &str) {
        let scope = format!("{}/team/shop", self.registry.host);
        let text = json!({"version": "1.0", "trustPolicies": [{
            "name": "shop", "registryScopes": [scope],
            "signatureVerification": {"level": level}, "trustStores": ["ca:shop"],
            "trustedIdentities": [format!("x509.subject: C=US, ST=WA, O={organization}")]}]});
        std::fs::write(self.path().join("trustpolicy.json"), text.to_string()).unwrap();
    }

    /// A policy with these rules.
    fn policy(&self, rules: &str) {
        let text = format!("version: 1\nname: p\nimages:\n  verify: required\n  trust:\n{rules}");
        std::fs::write(self.path().join("p.yaml"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Ended {
        run(self.path(), args)
    }

    fn by_token(&self, file: &str, who: &str, target: &str) -> Ended {
        let who = ["--certificate-identity", who, "--certificate-oidc-issuer", ISSUER];
        self.run(&[&["verify", "--openpubkey", file], &who[..], &[target]].concat())
    }

    fn by_notary(&self, target: &str) -> Ended {
        self.run(&["verify", "--notary-policy", "trustpolicy.json", target])
    }
}

const TOKEN: &str = "    - name: token\n      openpubkey: ci.json\n      \
                     subject: \"shop/app/*@refs/tags/*\"\n      issuer: https://ci.example\n";
const NOTARY: &str = "    - name: notary\n      notary: trustpolicy.json\n";

#[test]
fn a_registry_has_signatures_of_every_family() {
    let signed = Signed::new();
    let (name, digest) = (signed.name.as_str(), signed.image.manifest.to_string());
    let found = signed.by_token("ci.json", WORKFLOW, name).expect(0);
    assert!(
        found.stdout.contains(&digest) && found.stdout.contains("(openpubkey)"),
        "{}",
        found.stdout
    );
    let refused = |ended: Ended| ended.expect_error_with_output(1, "no signature that counts");
    refused(signed.by_token("other.json", WORKFLOW, name));
    refused(signed.by_token("ci.json", "shop/app/.ci/evil.yml@refs/tags/v1", name));
    let found = signed.by_notary(name).expect(0);
    assert!(found.stdout.contains("O=shop.example"), "{}", found.stdout);
    let elsewhere = format!("{}/other/shop:1", signed.registry.host);
    signed.by_notary(&elsewhere).expect_error_with_output(1, "no statement");
    signed.trust_policy("strict", "other.example");
    refused(signed.by_notary(name));
    // Layers of a registry's image are read when that is asked for.
    let all = ["verify", "--layers", "--format", "json", "--openpubkey", "ci.json"];
    let who = ["--certificate-identity", WORKFLOW, "--certificate-oidc-issuer", ISSUER, name];
    let json = signed.run(&[&all[..], &who].concat()).expect(0);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["blobs"], &json["layers_read"]), (&json!(4), &json!(true)));
    // An image that nobody signed, and one whose manifest is another.
    let plain = layout::plain(&signed.path().join("plain"));
    let registry = FakeRegistry::start(&signed.path().join("plain"));
    let stripped = format!("{}/team/shop:1", registry.host);
    signed.by_token("ci.json", WORKFLOW, &stripped).expect_error(1, "no such signature");
    let blob = std::fs::read(signed.image.blob(&signed.image.manifest)).unwrap();
    std::fs::write(plain.blob(&plain.manifest), blob).unwrap();
    assert_ne!(signed.by_token("ci.json", WORKFLOW, &stripped).code, 0);
}

#[test]
fn a_policy_counts_signers_of_every_family() {
    let signed = Signed::new();
    let name = signed.name.as_str();
    let verify = || signed.run(&["verify", "--policy", "p.yaml", name]);
    let explain = |form: &str| {
        signed.run(&["trust", "explain", "--policy", "p.yaml", "--format", form, name])
    };
    let decides = |rules: &str, expected: Result<&str, &str>| match expected {
        Ok(rule) => {
            signed.policy(rules);
            let ended = verify().expect(0);
            assert!(ended.stdout.contains(&format!("images.trust[{rule}]")), "{}", ended.stdout);
            explain("table").expect(0);
        }
        Err(what) => {
            signed.policy(rules);
            verify().expect_error(1, what);
            assert_eq!(explain("table").code, 1);
        }
    };
    decides(TOKEN, Ok("token"));
    let table = explain("table").expect(0);
    assert!(
        table.stdout.contains(WORKFLOW) && table.stdout.contains("of https://ci.example"),
        "{}",
        table.stdout
    );
    decides(NOTARY, Ok("notary"));
    let json: Value = serde_json::from_str(&explain("json").expect(0).stdout).unwrap();
    assert!(json["signers"].to_string().contains("O=shop.example"), "{json}");
    let all = format!("{NOTARY}      keys: [shop.pub]\n      signers_min: 2\n");
    decides(&all, Ok("notary"));
    decides(&all.replace("signers_min: 2", "signers_min: 3"), Err("2 of 3 signers"));
    decides(&all.replace("shop.pub", "other.pub"), Err("1 of 2 signers"));
    decides(&TOKEN.replace("ci.json", "other.json"), Err("is false"));
    decides(&TOKEN.replace("refs/tags", "refs/heads"), Err("0 of 1 signers"));
    decides(&TOKEN.replace("https://ci.example", "https://evil.example"), Err("0 of 1 signers"));
    // Only what enforces who signed is trust.
    signed.trust_policy("audit", "shop.example");
    decides(NOTARY, Err("does not enforce who signed"));
    signed.trust_policy("strict", "evil.example");
    decides(NOTARY, Err("no valid signature"));
    signed.trust_policy("strict", "shop.example");
    // A layout has no repository that a trust policy could be about.
    signed.policy(NOTARY);
    signed
        .run(&["verify", "--policy", "p.yaml", "oci:shop"])
        .expect_error(1, "the image has no name of a repository");
    let bad = |rules: &str, what: &str| {
        signed.policy(rules);
        let ended = verify();
        assert_eq!(ended.code, 2, "{} {}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(what), "{what}: {}", ended.stderr);
    };
    bad(
        "    - name: token\n      openpubkey: ci.json\n      keys: [shop.pub]\n",
        "nobody is named",
    );
    bad(&TOKEN.replace("ci.json", "missing.json"), "missing.json");
    bad(&NOTARY.replace("trustpolicy.json", "ci.json"), "trust policy");
}

/// Who is connected to, by family and address, as the kernel was asked.
fn connections(folder: &Path, args: &[&str]) -> Option<(i32, Vec<String>)> {
    if !Path::new("/usr/bin/strace").exists() {
        eprintln!("skipped: strace is not installed");
        return None;
    }
    let palisade = palisade(folder);
    let mut command = std::process::Command::new("/usr/bin/strace");
    command.args(["-f", "-qq", "-e", "trace=connect,sendto", "-o", "trace"]);
    command.arg(palisade.get_program()).args(args).current_dir(folder).env_clear();
    command.envs(palisade.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = finish(command);
    let trace = std::fs::read_to_string(folder.join("trace")).unwrap();
    let to = |line: &str| {
        let line = line.split_once("connect(")?.1;
        let port = line.split("htons(").nth(1)?.split(')').next()?;
        Some(port.to_string())
    };
    Some((ended.code, trace.lines().filter_map(to).collect()))
}

#[test]
fn offline_opens_no_connection_but_to_the_registry() {
    let signed = Signed::new();
    let path = signed.path();
    let port = signed.registry.host.rsplit(':').next().unwrap().to_string();
    let token =
        ["verify", "--offline", "--openpubkey", "ci.json", "--certificate-identity", WORKFLOW];
    let token = [&token[..], &["--certificate-oidc-issuer", ISSUER]].concat();
    signed.policy(&format!("{TOKEN}{NOTARY}    - name: key\n      keys: [shop.pub]\n"));
    let key = vec!["verify", "--offline", "--key", "shop.pub"];
    let policy = vec!["verify", "--offline", "--policy", "p.yaml"];
    let explain = vec!["trust", "explain", "--offline", "--policy", "p.yaml"];
    let notary = vec!["verify", "--offline", "--notary-policy", "trustpolicy.json"];
    for args in [key, policy, explain, token, notary] {
        let is_notary = args.contains(&"--notary-policy");
        let rest: &[&str] = if is_notary { &["--reference", &signed.name] } else { &[] };
        let of = |target| [&args[..], rest, &[target]].concat();
        let Some((code, to)) = connections(path, &of("oci:shop")) else { return };
        assert_eq!((code, to.len()), (0, 0), "{args:?}: {to:?}");
        let Some((code, to)) = connections(path, &of(&signed.name)) else { return };
        assert_eq!(code, 0, "{args:?}");
        assert!(!to.is_empty() && to.iter().all(|it| *it == port), "{args:?}: {to:?} not {port}");
    }
}

#[test]
fn a_failing_network_is_neither_yes_nor_no() {
    let signed = Signed::new();
    let name = signed.name.as_str();
    let hex = signed.image.manifest.hex();
    signed.policy(&format!("{TOKEN}{NOTARY}    - name: key\n      keys: [shop.pub]\n"));
    let token = ["verify", "--openpubkey", "ci.json", "--certificate-identity", WORKFLOW];
    let token = [&token[..], &["--certificate-oidc-issuer", ISSUER, name]].concat();
    let commands = [
        vec!["verify", "--key", "shop.pub", name],
        vec!["verify", "--policy", "p.yaml", name],
        vec!["trust", "explain", "--policy", "p.yaml", name],
        vec!["verify", "--notary-policy", "trustpolicy.json", name],
        token,
    ];
    let list = format!("/manifests/sha256-{hex}");
    let image = format!("/manifests/sha256:{hex}");
    // A cache would have what was read before.
    let commands = commands.map(|args| [&args[..], &["--no-cache"]].concat());
    for args in &commands {
        for part in
            ["/manifests/1", "/referrers/", &list, ".sig", ".att", "/manifests/sha256:", "/blobs/"]
        {
            signed.registry.breaks(part);
            let ended = signed.run(args);
            assert_eq!(ended.code, 5, "{part} {args:?}: {} {}", ended.stdout, ended.stderr);
            assert!(ended.stdout.is_empty(), "{part}: {}", ended.stdout);
            assert!(ended.stderr.contains("hint: "), "{part}: {}", ended.stderr);
        }
        // The image itself was read under its tag.
        signed.registry.breaks(&image);
        assert_eq!(signed.run(args).code, 0, "{args:?}");
        signed.registry.breaks("");
        assert_eq!(signed.run(args).code, 0, "{args:?}");
    }
    // One signature that can be read is no two.
    signed.policy("    - name: two\n      keys: [shop.pub, other.pub]\n      signers_min: 2\n");
    signed
        .run(&["verify", "--no-cache", "--policy", "p.yaml", name])
        .expect_error(1, "1 of 2 signers");
    signed.run(&["sign", "--key", "other.key", "oci:shop"]).expect(0);
    signed.run(&["verify", "--no-cache", "--policy", "p.yaml", name]).expect(0);
    let second = last_bundle(&signed.path().join("shop"), &hex);
    signed.registry.breaks(&format!("/manifests/{second}"));
    signed.run(&["verify", "--no-cache", "--policy", "p.yaml", name]).expect_error(5, "");
    signed.run(&["verify", "--no-cache", "--key", "shop.pub", name]).expect(0);
}

/// The manifest that was attached last.
fn last_bundle(layout: &Path, hex: &str) -> String {
    let read =
        |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let index = read(&layout.join("index.json"));
    let tag = format!("sha256-{hex}");
    let list = index["manifests"].as_array().unwrap().iter();
    let list =
        list.clone().find(|it| it["annotations"]["org.opencontainers.image.ref.name"] == tag);
    let digest = list.unwrap()["digest"].as_str().unwrap().replace("sha256:", "");
    let list = read(&layout.join("blobs/sha256").join(digest));
    list["manifests"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap().to_string()
}
