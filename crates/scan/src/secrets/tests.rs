//! Every detector finds its sample and leaves the near miss alone. Samples are put together
//! here at run time: the file holds no string that is a secret by its shape.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;

use super::*;

fn searcher() -> &'static Searcher {
    static SEARCHER: OnceLock<Searcher> = OnceLock::new();
    SEARCHER.get_or_init(|| Searcher::new().unwrap())
}

/// `n` characters of `alphabet`, the same on every run, without a readable word.
fn noise(alphabet: &str, n: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ n as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        alphabet[(state >> 33) as usize % alphabet.len()]
    };
    (0..n).map(|_| next()).collect()
}

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const ALPHA: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &str = "0123456789abcdef";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BECH32: &str = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";

fn b64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn url64(text: &str) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

fn with_sum(prefix: &str) -> String {
    let random = noise(ALNUM, 30);
    let sum = check::crc62_of(random.as_bytes());
    format!("{prefix}{random}{}", String::from_utf8_lossy(&sum))
}

fn armour(label: &str, bytes: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", b64(bytes))
}

/// The DER of a private key as SEC1 writes it: version 1, the number.
fn der() -> Vec<u8> {
    [&[0x30, 53, 2, 1, 1, 4, 48][..], noise(ALNUM, 48).as_bytes()].concat()
}

/// OpenSSH's form of a key without a passphrase, as far as it is looked at.
fn openssh() -> Vec<u8> {
    let none = b"\0\0\0\x04none";
    [&b"openssh-key-v1\0"[..], none, none, &der()].concat()
}

/// A text with Bech32's checksum.
fn bech32_of(prefix: &str, n: usize) -> String {
    const ALPHABET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let data = noise(ALPHABET, n);
    // The last six symbols are tried one by one: each fixes five bits of a linear code.
    let polymod = |values: &[u8]| {
        let mut sum = 1_u32;
        for value in values {
            let top = sum >> 25;
            sum = (sum & 0x1ff_ffff) << 5 ^ u32::from(*value);
            for (bit, term) in
                [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3].iter().enumerate()
            {
                if top >> bit & 1 == 1 {
                    sum ^= term;
                }
            }
        }
        sum
    };
    let mut values: Vec<u8> = prefix.bytes().map(|b| b >> 5).collect();
    values.push(0);
    values.extend(prefix.bytes().map(|b| b & 31));
    values.extend(data.chars().map(|c| ALPHABET.find(c).unwrap() as u8));
    values.extend([0; 6]);
    let sum = polymod(&values) ^ 1;
    let tail: String = (0..6)
        .map(|place| {
            let index = (sum >> (5 * (5 - place)) & 31) as usize;
            char::from(ALPHABET.as_bytes()[index])
        })
        .collect();
    format!("{prefix}1{data}{tail}")
}

/// Base58 of `bytes` and their checksum.
fn base58_of(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let sum = Sha256::digest(Sha256::digest(bytes));
    let mut number = [bytes, &sum[..4]].concat();
    let mut out = Vec::new();
    while number.iter().any(|b| *b > 0) {
        let mut rest = 0_u32;
        for byte in &mut number {
            rest = rest << 8 | u32::from(*byte);
            *byte = (rest / 58) as u8;
            rest %= 58;
        }
        out.push(char::from(ALPHABET[rest as usize]));
    }
    out.iter().rev().collect()
}

/// A random UUID.
fn uuid4() -> String {
    let mut text = uuid().into_bytes();
    text[14] = b'4';
    text[19] = b'a';
    String::from_utf8(text).unwrap()
}

fn uuid() -> String {
    let h = noise(HEX, 32);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// Detector, a text that it must find, a text that it must not.
#[rustfmt::skip]
fn samples() -> Vec<(&'static str, String, String)> {
    let a = |n| noise(ALNUM, n);
    let h = |n| noise(HEX, n);
    let mut rows: Vec<(&'static str, String, String)> = Vec::new();
    let mut add = |id, yes: String, no: String| rows.push((id, yes, no));
    let key_label = ["PRIVATE", "KEY"].join(" ");
    add("private-key", armour(&key_label, &der()), armour("PUBLIC KEY", &der()));
    add("age-secret-key", bech32_of("age-secret-key-", 52).to_uppercase(), format!("AGE-SECRET-{}-1{}", "KEY", noise(BECH32, 20)));
    add("kubeconfig-client-key", format!("client-key-data: {}", b64(armour(&key_label, &der()).as_bytes())), format!("client-key-data: {}", b64(a(120).as_bytes())));
    add("aws-access-key-id", format!("id = AKIA{}", noise(BASE32, 16)), "id = AKIAIOSFODNN7EXAMPLE".into());
    add("aws-secret-access-key", format!("aws_secret_access_key = {}", a(40)), format!("aws_secret_access_key = {}", h(40)));
    add("aws-session-token", format!("aws_session_token={}", a(200)), "aws_session_token=short".into());
    add("google-api-key", format!("key: AIza{}", a(35)), format!("key: AIza{}", a(30)));
    add("google-oauth-client-secret", format!("GOCSPX-{}", a(28)), format!("GOCSPX-{}", a(8)));
    add("google-oauth-token", format!("ya29.{}", a(60)), "ya29.x".into());
    add("azure-storage-key", format!("AccountKey={}==", a(86)), format!("AccountKey={}", a(20)));
    add("azure-client-secret", format!("x={}8Q~{}", a(3), a(31)), format!("x={}8Q~{}", a(3), a(10)));
    add("digitalocean-token", format!("dop_v1_{}", h(64)), format!("dop_v1_{}", h(60)));
    add("alibaba-access-key-id", format!("LTAI{}", a(20)), format!("LTAI{}", a(5)));
    add("heroku-token", format!("HRKU-AA{}", a(58)), format!("HRKU-AA{}", a(8)));
    add("fly-token", format!("fm2_{}", a(150)), format!("fm2_{}", a(15)));
    add("databricks-token", format!("dapi{}", h(32)), format!("dapi{}", h(12)));
    add("cloudflare-origin-key", format!("v1.0-{}-{}", h(24), h(146)), "v1.0-rc1".into());
    add("supabase-token", format!("sbp_{}", h(40)), format!("sbp_{}", h(10)));
    add("planetscale-token", format!("pscale_tkn_{}", a(43)), "pscale_tkn_x".into());
    add("scaleway-secret-key", format!("SCW_SECRET_KEY={}", uuid()), "SCW_SECRET_KEY=none".into());
    add("github-token", with_sum("ghp_"), format!("ghp_{}", a(20)));
    add("github-fine-grained-token", format!("github_pat_{}_{}", a(22), a(59)), format!("github_pat_{}", a(22)));
    add("gitlab-token", format!("glpat-{}", a(20)), "glpat-short".into());
    add("bitbucket-app-password", format!("ATBB{}{}", a(24), noise("0123456789ABCDEF", 8)), "ATBBx".into());
    add("atlassian-token", format!("ATATT3{}", a(186)), format!("ATATT3{}", a(50)));
    add("circleci-token", format!("CCIPAT_{}_{}", a(22), h(40)), "CCIPAT_x".into());
    add("buildkite-token", format!("bkua_{}", h(40)), format!("bkua_{}", h(20)));
    add("sourcegraph-token", format!("sgp_{}", h(40)), format!("sgp_{}", h(20)));
    add("sentry-token", format!("sntryu_{}", h(64)), format!("sntryu_{}", h(30)));
    add("npm-token", with_sum("npm_"), format!("npm_{}", a(10)));
    add("npmrc-auth", format!("//r.test/:_authToken={}", uuid()), "//r.test/:_authToken=${NPM_TOKEN}".into());
    add("pypi-token", format!("pypi-AgEIcHlwaS5vcmc{}", a(100)), format!("pypi-AgEI{}", a(100)));
    add("rubygems-token", format!("rubygems_{}", h(48)), format!("rubygems_{}", h(40)));
    add("crates-io-token", format!("cio{}", a(32)), format!("precision{}", a(32)));
    add("nuget-key", format!("oy2{}", noise(LOWER, 43)), format!("oy2{}", noise(LOWER, 23)));
    add("docker-hub-token", format!("dckr_pat_{}", a(27)), format!("dckr_pat_{}", a(7)));
    add("docker-config-auth", format!(r#"{{"auth": "{}"}}"#, b64(b"robot:q8Zr4Tn1Wk")), format!(r#"{{"auth": "{}"}}"#, b64(b"robotwithoutcolon")));
    add("artifactory-token", format!("AKCp{}", a(69)), format!("AKCp{}", a(9)));
    add("vault-token", format!("hvs.{}", a(95)), "hvs.service".into());
    add("terraform-cloud-token", format!("{}.atlasv1.{}", a(14), a(67)), "x.atlasv1.y".into());
    add("pulumi-token", format!("pul-{}", h(40)), "pul-12".into());
    add("doppler-token", format!("dp.pt.{}", a(43)), "dp.pt.x".into());
    add("onepassword-token", format!("ops_eyJ{}", a(300)), "ops_eyJx".into());
    add("tailscale-key", format!("tskey-auth-{}CNTRL-{}", a(11), a(32)), "tskey-auth-x".into());
    add("grafana-token", format!("glsa_{}_{}", a(32), h(8)), format!("glsa_{}", a(12)));
    add("new-relic-key", format!("NRAK-{}", noise(UPPER, 27)), "NRAK-X".into());
    add("datadog-key", format!("DD_API_KEY={}", h(32)), "DD_API_KEY=none".into());
    add("dynatrace-token", format!("dt0c01.{}.{}", noise(UPPER, 24), noise(UPPER, 64)), "dt0c01.X.Y".into());
    add("anthropic-key", format!("sk-ant-api03-{}", a(95)), "sk-ant-api03-x".into());
    add("openai-key", format!("sk-proj-{}T3Blbk{}{}", a(40), "FJ", a(40)), format!("sk-{}", a(10)));
    add("hugging-face-token", format!("hf_{}", noise(ALPHA, 34)), format!("hf_{}", noise(ALPHA, 10)));
    add("groq-key", format!("gsk_{}", a(52)), format!("gsk_{}", a(12)));
    add("replicate-token", format!("r8_{}", a(37)), format!("r8_{}", a(12)));
    add("perplexity-key", format!("pplx-{}", a(48)), format!("pplx-{}", a(12)));
    add("stripe-live-key", format!("sk_live_{}", a(24)), "sk_live_key".into());
    add("stripe-test-key", format!("sk_test_{}", a(24)), "sk_test_key".into());
    add("stripe-webhook-secret", format!("whsec_{}", a(32)), "whsec_x".into());
    add("square-token", format!("sq0atp-{}", a(22)), "sq0atp-x".into());
    add("shopify-token", format!("shpat_{}", h(32)), format!("shpat_{}", h(12)));
    add("easypost-key", format!("EZAK{}", a(54)), format!("EZAK{}", a(14)));
    add("slack-token", format!("xoxb-{}-{}-{}", noise("0123456789", 12), noise("0123456789", 12), a(24)), "xoxb-token".into());
    add("slack-webhook", format!("https://hooks.slack.com/services/T{}/B{}/{}", noise(UPPER, 8), noise(UPPER, 9), a(24)), "https://hooks.slack.com/services/".into());
    add("discord-webhook", format!("https://discord.com/api/webhooks/{}/{}", noise("0123456789", 18), a(68)), "https://discord.com/api/webhooks/1/x".into());
    add("discord-token", format!("discord: M{}.{}.{}", a(23), a(6), a(27)), "discord: Main.module.name".into());
    add("telegram-token", format!("{}:AA{}", noise("0123456789", 9), a(33)), "12:AAx".into());
    add("sendgrid-key", format!("SG.{}.{}", a(22), a(43)), "SG.x.y".into());
    add("mailgun-key", format!("mailgun key-{}", h(32)), "mailgun key-x".into());
    add("mailchimp-key", format!("mailchimp {}-us12", h(32)), "mailchimp abc-us12".into());
    add("twilio-key", format!("twilio SK{}", h(32)), "twilio SKx".into());
    add("notion-token", format!("ntn_{}{}", noise("0123456789", 11), a(35)), "ntn_1".into());
    add("linear-key", format!("lin_api_{}", a(40)), "lin_api_x".into());
    add("airtable-token", format!("airtable: pat{}.{}", a(14), h(64)), "pattern.x".into());
    add("figma-token", format!("figd_{}", a(40)), "figd_x".into());
    add("contentful-token", format!("CFPAT-{}", a(43)), "CFPAT-x".into());
    add("postman-key", format!("PMAK-{}-{}", h(24), h(34)), "PMAK-1-2".into());
    add("jwt", format!("{}.{}.{}", url64(r#"{"alg":"HS256","typ":"JWT"}"#), url64(r#"{"sub":"someone"}"#), a(43)), format!("{}.{}.{}", url64(r#"{"typ":"JWT","no":1}"#), url64(r#"{"sub":"x"}"#), a(43)));
    add("password-hash", format!("root:$6${}${}:19000:0:99999:7:::", a(8), a(86)), "root:*:19000:0:99999:7:::".into());
    add("netrc", "machine host.test login me password q8Zr4Tn1Wk".into(), "machine host.test login me".into());
    add("url-credentials", "postgres://app:q8Zr4Tn1Wk@db.test/x".into(), "postgres://app:${DB_PASS}@db.test/x".into());
    add("generic-secret", format!(r#"db_password: "{}""#, a(20)), r#"db_password: "correct horse""#.into());
    add("secret-variable", format!("DB_PASSWORD={}", a(14)), "DB_PASSWORD=".into());
    // Keys.
    add("gcp-service-account", format!(r#"{{"type": "service_account", "project_id": "p", "private_key": "{}"}}"#, armour(&key_label, &[&[0x30, 0x82, 1, 0, 2, 1, 0, 2, 0x81, 0xfa][..], &noise(ALNUM, 250).into_bytes()].concat()).replace('\n', "\\n")), r#"{"type": "service_account", "project_id": "p"}"#.into());
    add("putty-private-key", format!("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\n{}\nPrivate-MAC: {}", a(44), h(64)), "PuTTY-User-Key-File-3: ssh-ed25519\n".into());
    add("gnupg-private-key", format!("(11:private-key(3:rsa(1:n257:{}", a(60)), "(10:public-key(3:rsa(1:n257:".into());
    add("jwk-private-key", format!(r#"{{"kty": "EC", "crv": "P-256", "d": "{}"}}"#, a(43)), format!(r#"{{"kty": "EC", "crv": "P-256", "x": "{}"}}"#, a(43)));
    add("wireguard-private-key", format!("[Interface]\nPrivateKey = {}\n", b64(a(32).as_bytes())), format!("[Peer]\nPublicKey = {}\n", b64(a(32).as_bytes())));
    add("openvpn-static-key", format!("-----BEGIN OpenVPN Static key V1-----\n{}\n-----END OpenVPN Static key V1-----", h(512)), "-----BEGIN OpenVPN Static key V1-----\n".into());
    add("minisign-secret-key", format!("untrusted comment: minisign secret key\n{}\n", a(212)), format!("untrusted comment: minisign public key\n{}\n", a(56)));
    add("extended-private-key", base58_of(&[&[0x04, 0x88, 0xad, 0xe4, 0][..], &noise(ALNUM, 73).into_bytes()].concat()), "xprv9".into());
    add("nostr-secret-key", bech32_of("nsec", 52), "nsec1x".into());
    add("otp-seed", format!("otpauth://totp/Shop:me?secret={}&issuer=Shop", noise(BASE32, 32)), "otpauth://totp/Shop:me?issuer=Shop".into());
    add("kubernetes-secret", format!("apiVersion: v1\nkind: Secret\ndata:\n  db_password: {}\n", b64(b"q8Zr4Tn1Wk")), format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  db_password: {}\n", b64(b"q8Zr4Tn1Wk")));
    add("kubeadm-token", format!("kubeadm join 10.0.0.1:6443 --token {}.{}", noise(LOWER, 6), noise(LOWER, 16)), "kubeadm join 10.0.0.1:6443 --token <token>".into());
    add("kubeconfig-credential", format!("@root/.kube/config\nusers:\n- user:\n    token: {}\n", a(40)), "@root/.kube/config\nusers:\n- user:\n    username: me\n".into());
    // Clouds.
    add("aws-mws-token", format!("amzn.mws.{}", uuid()), "amzn.mws.x".into());
    add("aws-bedrock-key", format!("ABSKQmVkcm9ja{}", a(110)), "ABSKQmVkcm9jax".into());
    add("azure-devops-token", format!("{}AZDO{}", a(76), a(4)), format!("{}AZDO{}", a(40), a(4)));
    add("azure-key-64", format!("{}ACDb{}A==", a(76), a(5)), format!("{}ACDb{}A==", a(70), a(5)));
    add("azure-key-32", format!("{}+ASbA{}=", a(33), a(5)), format!("{}+ASbZ{}=", a(33), a(5)));
    add("azure-search-key", format!("{}AzSeA{}", a(42), a(5)), format!("{}AzSeA{}", a(30), a(5)));
    add("azure-registry-key", format!("{}+ACRA{}", a(42), a(5)), format!("{}+ACRA{}", a(30), a(5)));
    add("azure-function-key", format!("{}AzFu{}A==", a(44), a(5)), format!("{}AzFu{}A==", a(20), a(5)));
    add("azure-app-configuration", format!("Endpoint=https://shop.azconfig.io;Id=x:y;Secret={}=", a(43)), "Endpoint=https://shop.azconfig.io;Id=x:y".into());
    add("azure-shared-access-key", format!("SharedAccessKeyName=x;SharedAccessKey={}", b64(a(32).as_bytes())), format!("SharedAccessKey={}", a(30)));
    add("azure-sas", format!("https://x.test/y?sv=2024-11-04&ss=b&sig={}%3D", a(43)), "https://x.test/y?sv=2024-11-04&ss=b&sig=x".into());
    add("azure-openai-key", format!("AZURE_OPENAI_API_KEY={}", h(32)), "AZURE_OPENAI_API_KEY=none".into());
    add("ibm-cloud-key", format!("IBMCLOUD_API_KEY={}", a(44)), format!("IBMCLOUD_API_KEY={}", a(20)));
    add("tencent-secret-id", format!("AKID{}", a(32)), format!("AKID{}", a(10)));
    add("yandex-cloud-key", format!("AQVN{}", a(36)), format!("AQVN{}", a(10)));
    add("cloudflare-token", format!("CLOUDFLARE_API_TOKEN={}", a(40)), "CLOUDFLARE_API_TOKEN=$TOKEN".into());
    add("cloudflare-global-key", format!("CF_API_KEY: {}", h(37)), format!("CF_API_KEY: {}", h(20)));
    add("vercel-token", format!("VERCEL_TOKEN={}", a(24)), "VERCEL_TOKEN=short".into());
    add("netlify-token", format!("nfp_{}", a(36)), format!("nfp_{}", a(10)));
    add("linode-token", format!("LINODE_TOKEN={}", h(64)), format!("LINODE_TOKEN={}", h(20)));
    add("hetzner-token", format!("HCLOUD_TOKEN={}", a(64)), format!("HCLOUD_TOKEN={}", a(20)));
    add("vultr-key", format!("VULTR_API_KEY={}", noise(UPPER, 36)), "VULTR_API_KEY=X".into());
    add("render-key", format!("rnd_{}", a(32)), format!("rnd_{}", a(10)));
    add("neon-key", format!("napi_{}", noise(LOWER, 64)), "napi_schedule".into());
    add("aiven-password", format!("AVNS_{}", a(19)), "AVNS_x".into());
    add("mongodb-atlas-secret", format!("mdb_sa_sk_{}", a(40)), "mdb_sa_sk_x".into());
    add("clickhouse-cloud-key", format!("4b1d{}", a(38)), format!("4b1d{}", h(38)));
    add("infracost-key", format!("ico-{}", a(32)), "ico-x".into());
    add("prefect-key", format!("pnu_{}", a(36)), "pnu_x".into());
    add("openshift-token", format!("sha256~{}", a(43)), "sha256~x".into());
    add("defined-networking-key", format!("dnkey-{}-{}", a(26), a(52)), "dnkey-x".into());
    // Code.
    add("gitlab-runner-registration", format!("GR1348941{}", a(20)), "GR1348941x".into());
    add("atlassian-access-token", format!("ATCTT3{}", a(180)), format!("ATCTT3{}", a(20)));
    add("jetbrains-token", format!("perm:{}.{}.{}", a(12), a(12), a(40)), "perm:a.b.c".into());
    add("sonar-token", format!("sqp_{}", h(40)), "sqp_x".into());
    add("snyk-token", format!("SNYK_TOKEN={}", uuid4()), format!("SNYK_TOKEN={}", uuid4().replacen("-4", "-1", 1)));
    add("codecov-token", format!("CODECOV_TOKEN={}", uuid4()), "CODECOV_TOKEN=x".into());
    add("harness-token", format!("pat.{}.{}.{}", a(22), h(24), a(20)), "pat.x.y.z".into());
    add("launchdarkly-key", format!("LAUNCHDARKLY_KEY=sdk-{}", uuid()), "LAUNCHDARKLY_KEY=sdk-x".into());
    add("octopus-deploy-key", format!("octopus --apiKey API-{}", noise(UPPER, 26)), "octopus --apiKey API-X".into());
    // Packages.
    add("jfrog-reference-token", format!("cmVmdGtu{}", a(56)), "cmVmdGtux".into());
    add("clojars-token", format!("CLOJARS_{}", noise(LOWER, 60)), "CLOJARS_x".into());
    add("packagist-token", format!("packagist_uut_{}", h(68)), "packagist_uut_x".into());
    add("docker-identity-token", format!(r#"{{"identitytoken": "{}"}}"#, a(40)), r#"{"identitytoken": ""}"#.into());
    add("pypirc-password", "@root/.pypirc\n[pypi]\npassword = q8Zr4Tn1Wk\n".into(), "@root/.pypirc\n[pypi]\nusername = me\n".into());
    add("maven-password", "@root/.m2/settings.xml\n<server><password>q8Zr4Tn1Wk</password></server>".into(), "@root/.m2/settings.xml\n<server><password>${env.X}</password></server>".into());
    add("nuget-password", r#"@srv/nuget.config
<add key="ClearTextPassword" value="q8Zr4Tn1Wk" />"#.into(), r#"@srv/nuget.config
<add key="ClearTextPassword" value="%PASS%" />"#.into());
    add("composer-auth", format!("@root/.composer/auth.json\n{{\"github-oauth\": {{\"github.com\": \"{}\"}}}}", a(30)), "@root/.composer/auth.json\n{}".into());
    add("gradle-password", "@root/.gradle/gradle.properties\nrepoPassword=q8Zr4Tn1Wk\n".into(), "@root/.gradle/gradle.properties\nrepoUser=me\n".into());
    // Infrastructure.
    add("vault-legacy-token", format!("VAULT_TOKEN=s.{}", a(24)), "VAULT_TOKEN=s.x".into());
    add("consul-or-nomad-token", format!("NOMAD_TOKEN={}", uuid()), "NOMAD_TOKEN=x".into());
    add("terraform-state", format!("@srv/x.tfstate\n{{\"master_password\": \"{}\"}}", a(14)), "@srv/x.tfstate\n{\"master_password\": null}".into());
    add("terraform-credentials", format!("@root/.terraform.d/credentials.tfrc.json\n{{\"token\": \"{}\"}}", a(40)), "@root/.terraform.d/credentials.tfrc.json\n{}".into());
    add("splunk-hec-token", format!("Authorization: Splunk {}", uuid()), "Authorization: Splunk x".into());
    add("honeycomb-key", format!("hcaik_{}", noise(LOWER, 58)), "hcaik_x".into());
    add("new-relic-licence", format!("{}NRAL", h(36)), "NRAL".into());
    add("new-relic-insert-key", format!("NRII-{}", a(32)), "NRII-x".into());
    add("posthog-key", format!("phx_{}", a(43)), format!("phc_{}", a(43)));
    // Artificial intelligence.
    add("openrouter-key", format!("sk-or-v1-{}", h(64)), "sk-or-v1-x".into());
    add("xai-key", format!("xai-{}", a(80)), "xai-x".into());
    add("deepseek-key", format!("DEEPSEEK_API_KEY=sk-{}", h(32)), "DEEPSEEK_API_KEY=sk-x".into());
    add("elevenlabs-key", format!("ELEVEN_API_KEY=sk_{}", h(48)), "ELEVEN_API_KEY=sk_x".into());
    add("langsmith-key", format!("lsv2_pt_{}_{}", h(32), h(10)), "lsv2_pt_x".into());
    add("langfuse-key", format!("sk-lf-{}", uuid()), format!("pk-lf-{}", uuid()));
    add("wandb-key", format!("WANDB_API_KEY={}", h(40)), "WANDB_API_KEY=x".into());
    add("pinecone-key", format!("pcsk_{}_{}", a(6), a(63)), "pcsk_x".into());
    add("nvidia-key", format!("nvapi-{}", a(64)), "nvapi-x".into());
    add("tavily-key", format!("tvly-{}", a(32)), "tvly-x".into());
    add("e2b-key", format!("e2b_{}", h(40)), "e2b_x".into());
    // Payment.
    add("square-access-token", format!("EAAA{}", a(60)), format!("EAAA{}", a(20)));
    add("braintree-token", format!("access_token$production${}${}", noise(LOWER, 16), h(32)), "access_token$production$x".into());
    add("plaid-token", format!("access-sandbox-{}", uuid()), "access-sandbox-x".into());
    add("flutterwave-key", format!("FLWSECK-{}-X", h(32)), format!("FLWPUBK-{}-X", h(32)));
    add("gocardless-token", format!("gocardless: live_{}", a(40)), "gocardless: live_x".into());
    add("shippo-token", format!("shippo_live_{}", h(40)), "shippo_live_x".into());
    add("duffel-token", format!("duffel_live_{}", a(43)), "duffel_live_x".into());
    // Messages.
    add("teams-webhook", format!("https://x.webhook.office.com/webhookb2/{0}@{0}/IncomingWebhook/{1}/{0}", uuid(), h(32)), "https://x.webhook.office.com/webhookb2/".into());
    add("twilio-auth-token", format!("TWILIO_AUTH_TOKEN={}", h(32)), "TWILIO_AUTH_TOKEN=x".into());
    add("brevo-key", format!("xkeysib-{}-{}", h(64), a(16)), "xkeysib-x".into());
    add("postmark-token", format!("POSTMARK_SERVER_TOKEN={}", uuid()), "POSTMARK_SERVER_TOKEN=x".into());
    add("resend-key", format!("RESEND_API_KEY=re_{}_{}", a(8), a(24)), "RESEND_API_KEY=re_x".into());
    add("facebook-token", format!("EAAC{}", a(180)), format!("EAAC{}", a(20)));
    add("hubspot-token", format!("pat-na1-{}", uuid()), "pat-na1-x".into());
    // Documents and tools.
    add("dropbox-token", format!("x=sl.B{}", a(140)), "ssl.Bio".into());
    add("asana-token", format!("asana 1/{}:{}", noise("0123456789", 16), h(32)), "asana 1/2".into());
    add("adobe-client-secret", format!("p8e-{}", a(32)), "p8e-x".into());
    add("mapbox-token", format!("sk.eyJ{}.{}", a(60), a(22)), format!("pk.eyJ{}.{}", a(60), a(22)));
    add("okta-token", format!("okta_token=00{}", a(40)), "okta_token=00x".into());
    add("algolia-admin-key", format!("ALGOLIA_ADMIN_KEY={}", h(32)), "ALGOLIA_ADMIN_KEY=x".into());
    add("typeform-token", format!("tfp_{}_{}", a(44), a(14)), "tfp_x".into());
    add("readme-key", format!("rdme_{}", noise(LOWER, 70)), "rdme_x".into());
    add("frame-io-token", format!("fio-u-{}", a(64)), "fio-u-x".into());
    add("ngrok-token", format!("authtoken: 2{}_{}", a(26), a(21)), "authtoken: x".into());
    // Files of programs.
    let sha512 = format!("$6${}${}", a(8), a(86));
    add("shadow-hash", format!("@etc/shadow\nroot:{sha512}:19000:0:99999:7:::"), format!("@etc/shadow\nroot:!{sha512}:19000:0:99999:7:::"));
    add("htpasswd-hash", format!("@srv/.htpasswd\nme:$apr1${}${}\n", a(8), a(22)), "@srv/.htpasswd\nme:plain\n".into());
    add("pgpass", "@root/.pgpass\ndb.test:5432:shop:app:q8Zr4Tn1Wk\n".into(), "@root/.pgpass\n#host:port:database:user:password\n".into());
    add("git-credentials", "@root/.git-credentials\nhttps://me:q8Zr4Tn1Wk@git.test\n".into(), "@root/.git-credentials\nhttps://git.test\n".into());
    add("mysql-option-file", "@root/.my.cnf\n[client]\npassword=q8Zr4Tn1Wk\n".into(), "@root/.my.cnf\n[client]\nuser=me\n".into());
    add("s3cfg", format!("@root/.s3cfg\nsecret_key = {}\n", a(40)), "@root/.s3cfg\nsecret_key = \n".into());
    add("rclone-remote", format!("@root/.config/rclone/rclone.conf\n[r]\npass = {}\n", a(24)), "@root/.config/rclone/rclone.conf\n[r]\nuser = me\n".into());
    add("wordpress-config", "@srv/wp-config.php\ndefine('DB_PASSWORD', 'q8Zr4Tn1Wk');".into(), "@srv/wp-config.php\ndefine('DB_NAME', 'q8Zr4Tn1Wk');".into());
    add("rails-master-key", format!("@app/config/master.key\n{}", h(32)), format!("@app/config/other.key\n{}", h(32)));
    add("redis-password", "@etc/redis/redis.conf\nrequirepass q8Zr4Tn1Wk\n".into(), "@etc/redis/redis.conf\n# requirepass q8Zr4Tn1Wk\n".into());
    add("ldap-bind-password", "@etc/ldap.conf\nbindpw q8Zr4Tn1Wk\n".into(), "@etc/ldap.conf\nbinddn cn=x\n".into());
    add("wifi-passphrase", "@etc/wpa_supplicant/wpa_supplicant.conf\n psk=\"q8Zr4Tn1Wk\"\n".into(), "@etc/wpa_supplicant/wpa_supplicant.conf\n ssid=\"q8Zr4Tn1Wk\"\n".into());
    add("mail-password", "@root/.msmtprc\npassword q8Zr4Tn1Wk\n".into(), "@root/.msmtprc\nuser q8Zr4Tn1Wk\n".into());
    add("sasl-password", "@etc/postfix/sasl_passwd\nmail.test:587 me:q8Zr4Tn1Wk\n".into(), "@etc/postfix/sasl_passwd\n# mail.test me:q8Zr4Tn1Wk\n".into());
    add("filezilla-password", "@root/.config/filezilla/sitemanager.xml\n<Pass encoding=\"base64\">cThacjRUbjFXaw==</Pass>".into(), "@root/.config/filezilla/sitemanager.xml\n<User>me</User>".into());
    add("deployment-password", "@srv/sftp-config.json\n{\"password\": \"q8Zr4Tn1Wk\"}".into(), "@srv/sftp-config.json\n{\"user\": \"q8Zr4Tn1Wk\"}".into());
    // Frameworks and commands.
    add("laravel-app-key", format!("APP_KEY=base64:{}", b64(a(32).as_bytes())), "APP_KEY=base64:".into());
    add("django-secret-key", format!("SECRET_KEY = '{}'", a(50)), "SECRET_KEY = os.environ['SECRET_KEY']".into());
    add("spring-password", "spring.datasource.password=q8Zr4Tn1Wk\n".into(), "spring.datasource.password=${DB}\n".into());
    add("jdbc-password", "jdbc:postgresql://db.test/x?user=me&password=q8Zr4Tn1Wk".into(), "jdbc:postgresql://db.test/x?user=me&password=${P}".into());
    add("connection-string", "Server=db.test;Database=x;User Id=me;Password=q8Zr4Tn1Wk;".into(), "Server=db.test;Database=x;Integrated Security=true;".into());
    let token = |payload: &str, n: usize| format!("{}.{}.{}", url64(r#"{"alg":"HS256","typ":"JWT"}"#), url64(payload), a(n));
    add("supabase-service-key", token(r#"{"iss":"supabase","role":"service_role"}"#, 43), token(r#"{"iss":"supabase","role":"anon"}"#, 43));
    add("kubernetes-service-account-token", token(r#"{"sub":"system:serviceaccount:default:app"}"#, 342), token(r#"{"sub":"someone"}"#, 342));
    add("basic-auth-header", format!("Authorization: Basic {}", b64(b"me:q8Zr4Tn1Wk")), "Authorization: Basic realm".into());
    add("bearer-header", format!("Authorization: Bearer {}", a(40)), "Authorization: Bearer $TOKEN".into());
    add("curl-user", "curl -s -u me:q8Zr4Tn1Wk https://x.test".into(), "curl -s -u me:$PASS https://x.test".into());
    add("sshpass", "sshpass -p q8Zr4Tn1Wk ssh x.test".into(), "sshpass -e ssh x.test".into());
    add("chpasswd", "echo root:q8Zr4Tn1Wk | chpasswd".into(), "echo \"$USER:$PASS\" | chpasswd".into());
    add("mysql-command", "mysql -uroot -pq8Zr4Tn1Wk shop".into(), "mysql -uroot -p shop".into());
    rows
}

/// Searches a sample; `@PATH` and a line end say in which file it lies.
fn search(sample: &str) -> Hits {
    match sample.strip_prefix('@').and_then(|rest| rest.split_once('\n')) {
        Some((path, text)) => searcher().search_file(path, text.as_bytes()),
        None => searcher().search(sample.as_bytes()),
    }
}

#[test]
fn every_detector_finds_its_sample_and_no_near_miss() {
    let mut covered = BTreeSet::new();
    for (id, yes, no) in samples() {
        covered.insert(id);
        let found = search(&yes);
        assert!(found.hits.iter().any(|hit| hit.detector == id), "{id} misses {yes}: {found:?}");
        let found = search(&no);
        assert!(found.hits.iter().all(|hit| hit.detector != id), "{id} takes {no}");
    }
    let all: BTreeSet<&str> = DETECTORS.iter().map(|d| d.id).collect();
    assert_eq!(covered, all);
    assert!(all.len() >= 150 && all.len() == DETECTORS.len());
}

#[test]
fn no_secret_leaves_the_module() {
    for (id, yes, _) in samples() {
        for hit in search(&yes).hits {
            let shown = hit.redacted.split('…').next().unwrap();
            let is_label = shown.starts_with("-----BEGIN") && shown.len() <= 48;
            assert!(shown.len() <= 4 || is_label, "{id}: {}", hit.redacted);
        }
    }
}

#[test]
fn all_expressions_compile() {
    for detector in DETECTORS {
        let compiled = compile(detector.pattern);
        assert!(compiled.is_ok(), "{}: {compiled:?}", detector.id);
        let reachable = !detector.keywords.is_empty() || !detector.names.is_empty();
        assert!(reachable && !(detector.in_binaries && detector.keywords.is_empty()));
        assert!(detector.keywords.iter().all(|k| k.len() >= 2), "{}", detector.id);
    }
}

#[test]
fn a_sample_among_other_text_has_its_line_and_is_found_once() {
    let token = with_sum("ghp_");
    let text = format!("{}token = \"{token}\"\n{}", "line\n".repeat(41), "tail ".repeat(5000));
    let found = searcher().search(text.as_bytes());
    assert_eq!(found.hits.len(), 1, "{found:?}");
    let hit = &found.hits[0];
    assert_eq!(
        (hit.detector.as_str(), hit.line, hit.severity),
        ("github-token", 42, Severity::Critical)
    );
    assert_eq!(hit.redacted, "ghp_…(40 characters)");
}

#[test]
fn a_wrong_checksum_is_doubtful_not_silent() {
    let mut token = with_sum("ghp_").into_bytes();
    token[10] = if token[10] == b'x' { b'y' } else { b'x' };
    let found = searcher().search(&token);
    assert_eq!(found.hits.len(), 1);
    assert_eq!(found.hits[0].severity, Severity::Low);
    assert!(found.hits[0].title.contains("checksum"));
}

#[test]
fn keys_in_other_clothes() {
    let label = ["PRIVATE", "KEY"].join(" ");
    let pem = armour(&label, &der());
    let check = |text: String, expected: usize| {
        let hits = searcher().search(text.as_bytes()).hits;
        let n = hits.iter().filter(|hit| hit.detector == "private-key").count();
        assert_eq!(n, expected, "{text}");
    };
    check(format!("{{\"key\": \"{}\"}}", pem.replace('\n', "\\n")), 1);
    check(pem.replace('\n', "\r\n"), 1);
    // The same value twice is one finding, two values are two.
    check(format!("{pem}{pem}"), 1);
    let mut other = der();
    other[20] ^= 1;
    check(format!("{pem}{}", armour(&label, &other)), 2);
    check(armour(&format!("OPENSSH {label}"), &openssh()), 1);
    // On one line with its label the body is not shown either.
    let one_line = format!("k: {}", pem.replace('\n', "\\n"));
    let redacted = &searcher().search(one_line.as_bytes()).hits[0].redacted;
    assert_eq!(*redacted, format!("-----BEGIN {label}-----…"));
    // A mention of the label and a body that is no key are not keys.
    check(format!("if line.startswith('-----BEGIN {label}-----'): ... '-----END'"), 0);
    check(armour(&label, b"short"), 0);
}

#[test]
fn binary_is_told_from_text() {
    assert!(is_text(b"plain") && is_text(b"") && is_text("é".as_bytes()) && is_text(b"\xe9"));
    assert!(!is_text(b"\x7fELF\x02\x01\x01\0"));
}

#[test]
fn a_file_of_nothing_but_secrets_is_bounded() {
    let line = |n: usize| format!("ntn_{:011}{}\n", n * 7_919 + 41_213_141, noise(ALNUM, 35));
    let text: String = (0..HITS_PER_FILE_MAX * 3).map(line).collect();
    let found = searcher().search(text.as_bytes());
    assert_eq!(found.hits.len(), HITS_PER_FILE_MAX);
    assert_eq!(found.n_dropped, HITS_PER_FILE_MAX as u64 * 2);
}

#[test]
fn a_file_of_nothing_but_keywords_ends() {
    let keywords: String = DETECTORS.iter().flat_map(|d| d.keywords).copied().collect();
    let text = keywords.repeat((1 << 20) / keywords.len());
    let started = std::time::Instant::now();
    let _ = searcher().search(text.as_bytes());
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn hits_do_not_overlap() {
    let mut by_place: BTreeMap<u64, usize> = BTreeMap::new();
    let text = format!("aws_secret_access_key = \"{}\"\n", noise(ALNUM, 40));
    for hit in searcher().search(text.as_bytes()).hits {
        *by_place.entry(hit.line).or_default() += 1;
    }
    assert_eq!(by_place, BTreeMap::from([(1, 1)]));
}

#[test]
fn places_are_judged() {
    let check = |path: &str, doubtful: bool| {
        assert_eq!(doubtful_place(path).is_some(), doubtful, "{path}");
    };
    check("srv/app/config.py", false);
    check("srv/app/tests/key.pem", true);
    check("srv/app/test", false);
    check("srv/latest/key.pem", false);
    check("srv/node_modules/x/key.pem", true);
    check("root/.cargo/registry/src/x/lib.rs", true);
}

#[test]
fn equal_values_are_one_finding_with_one_fingerprint() {
    let token = with_sum("ghp_");
    let found = searcher().search(format!("{token}\n{token}\n{token}\n").as_bytes());
    assert_eq!((found.hits.len(), found.hits[0].n_more), (1, 2));
    let elsewhere = searcher().search_file("srv/x", format!("t={token}").as_bytes());
    assert_eq!(found.hits[0].fingerprint, elsewhere.hits[0].fingerprint);
    assert_eq!(found.hits[0].fingerprint.len(), 16);
    // The fingerprint has none of the value.
    assert!(!token.contains(&found.hits[0].fingerprint));
}

#[test]
fn binary_files_are_searched_for_what_noise_does_not_have() {
    let token = with_sum("ghp_");
    let bytes =
        [&b"\x7fELF\0\0"[..], token.as_bytes(), b"\0password=\"q8Zr4Tn1WkV0pLx9\"\0"].concat();
    let found = searcher().search_binary("opt/app", &bytes);
    let names: Vec<&str> = found.hits.iter().map(|hit| hit.detector.as_str()).collect();
    assert_eq!(names, ["github-token"]);
}

#[test]
fn the_users_detectors_and_allow_list_count() {
    let custom = CustomDetector {
        id: "shop-key".into(),
        title: "key of the shop".into(),
        severity: Severity::High,
        keywords: vec!["shop_".into()],
        pattern: r"\bshop_(?P<secret>[a-z0-9]{20})\b".into(),
        entropy_min: Some(3.0),
        files: vec![],
    };
    let text = format!("shop_{} ghp: {}", noise(LOWER, 20), with_sum("ghp_"));
    let with = |detectors: Vec<CustomDetector>, allow: Vec<Allow>| {
        Searcher::with(&SearcherOptions { detectors, allow, ..SearcherOptions::default() })
    };
    let names = |found: &Hits| -> Vec<String> {
        found.hits.iter().map(|hit| hit.detector.clone()).collect()
    };
    let found = with(vec![custom.clone()], vec![]).unwrap().search_file("srv/a", text.as_bytes());
    assert_eq!(names(&found), ["shop-key", "github-token"]);
    let allow = Allow { path: Some("srv/*".into()), ..Allow::default() };
    let searcher = with(vec![custom.clone()], vec![allow]).unwrap();
    let found = searcher.search_file("srv/a", text.as_bytes());
    assert_eq!((found.hits.len(), found.n_allowed), (0, 2));
    assert_eq!(searcher.search_file("opt/a", text.as_bytes()).hits.len(), 2);
    let allow = Allow {
        detector: Some("github-token".into()),
        pattern: Some("^ghp_".into()),
        ..Allow::default()
    };
    let found = with(vec![custom.clone()], vec![allow]).unwrap().search(text.as_bytes());
    assert_eq!(names(&found), ["shop-key"]);
    // What cannot be used says why.
    let bad = CustomDetector { pattern: "(".into(), ..custom.clone() };
    assert!(matches!(with(vec![bad], vec![]), Err(BuildSearcherError::Pattern { .. })));
    let bad = CustomDetector { keywords: vec![], ..custom.clone() };
    assert!(matches!(with(vec![bad], vec![]), Err(BuildSearcherError::Unreachable(_))));
    let bad = CustomDetector { id: "jwt".into(), ..custom };
    assert!(matches!(with(vec![bad], vec![]), Err(BuildSearcherError::Duplicate(_))));
}
