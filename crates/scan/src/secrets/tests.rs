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

/// DER of nothing in particular: a sequence of sixty bytes.
fn der() -> Vec<u8> {
    [&[0x30, 58][..], noise(ALNUM, 58).as_bytes()].concat()
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
    add("age-secret-key", format!("AGE-SECRET-{}-1{}", "KEY", noise(BECH32, 58)), format!("AGE-SECRET-{}-1{}", "KEY", noise(BECH32, 20)));
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
    rows
}

#[test]
fn every_detector_finds_its_sample_and_no_near_miss() {
    let mut covered = BTreeSet::new();
    for (id, yes, no) in samples() {
        covered.insert(id);
        let found = searcher().search(yes.as_bytes());
        assert!(found.hits.iter().any(|hit| hit.detector == id), "{id} misses {yes}: {found:?}");
        let found = searcher().search(no.as_bytes());
        assert!(found.hits.iter().all(|hit| hit.detector != id), "{id} takes {no}");
    }
    let all: BTreeSet<&str> = DETECTORS.iter().map(|d| d.id).collect();
    assert_eq!(covered, all);
    assert!(all.len() >= 40 && all.len() == DETECTORS.len());
}

#[test]
fn no_secret_leaves_the_module() {
    for (id, yes, _) in samples() {
        for hit in searcher().search(yes.as_bytes()).hits {
            let shown = hit.redacted.split('…').next().unwrap();
            assert!(shown.len() <= 4 || shown.starts_with("-----BEGIN"), "{id}: {}", hit.redacted);
        }
    }
}

#[test]
fn all_expressions_compile() {
    for detector in DETECTORS {
        assert!(compile(detector.pattern).is_ok(), "{}", detector.id);
        assert!(!detector.keywords.is_empty(), "{}", detector.id);
    }
}

#[test]
fn a_sample_among_other_text_has_its_line_and_is_found_once() {
    let token = with_sum("ghp_");
    let text = format!("{}token = \"{token}\"\n{}", "line\n".repeat(41), "tail ".repeat(5000));
    let found = searcher().search(text.as_bytes());
    assert_eq!(found.hits.len(), 1, "{found:?}");
    let hit = &found.hits[0];
    assert_eq!((hit.detector, hit.line, hit.severity), ("github-token", 42, Severity::Critical));
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
    check(format!("{pem}{pem}"), 2);
    let openssh = [&b"openssh-key-v1\0"[..], &der()].concat();
    check(armour(&format!("OPENSSH {label}"), &openssh), 1);
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
    let text = format!("{}\n", with_sum("ghp_")).repeat(HITS_PER_FILE_MAX * 3);
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
