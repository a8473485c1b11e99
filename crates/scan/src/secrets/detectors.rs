//! The detectors, as data.
//!
//! Order matters where two match the same text: specific ones stand first. Patterns are of
//! bytes, ASCII classes, and name the value `secret` where context surrounds it. Formats are
//! those that the issuers publish; each row has a positive and a negative sample in the
//! tests, put together at run time so that no scanner takes this repository for a leak.

use palisade_model::Severity::{self, Critical, High, Low, Medium};

use super::Check;

/// One kind of secret.
#[derive(Debug, Clone, Copy)]
pub struct Detector {
    /// Stable name: `github-token`.
    pub id: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// How bad a leak is.
    pub severity: Severity,
    /// Words of which one must occur (in any case) before the pattern is tried.
    pub keywords: &'static [&'static str],
    /// The pattern.
    pub pattern: &'static str,
    /// Bytes after a keyword that the pattern sees.
    pub window: usize,
    /// What the value must be besides.
    pub check: Check,
    /// Ends of the names of the files that have it (`.pgpass`, `etc/shadow`); empty for any.
    /// Without keywords the whole of such a file is searched.
    pub names: &'static [&'static str],
    /// Whether it is looked for in programs and other binary files too: shapes so particular
    /// that noise does not have them.
    pub in_binaries: bool,
}

/// Bytes that most values fit in.
const SHORT: usize = 256;
/// For tokens with payloads.
const LONG: usize = 4096;
/// For armoured keys.
const KEY: usize = 16 << 10;

const fn row(
    id: &'static str,
    title: &'static str,
    severity: Severity,
    keywords: &'static [&'static str],
    pattern: &'static str,
    check: Check,
) -> Detector {
    Detector {
        id,
        title,
        severity,
        keywords,
        pattern,
        window: SHORT,
        check,
        names: &[],
        in_binaries: false,
    }
}

/// A detector that looks only into files with such names.
const fn named(mut detector: Detector, names: &'static [&'static str]) -> Detector {
    detector.names = names;
    detector
}

/// A detector that looks into binary files too.
const fn binary(mut detector: Detector) -> Detector {
    detector.in_binaries = true;
    detector
}

/// The pattern of a value that is assigned to a name: `NAME=value`, `"name": "value"`.
macro_rules! assigned {
    ($name:literal, $value:literal) => {
        concat!(
            "(?i:",
            $name,
            r#")["']?\s{0,8}(?:=>|:=|[:=])\s{0,8}["']?(?P<secret>"#,
            $value,
            ")(?:[^A-Za-z0-9_-]|$)"
        )
    };
}

const fn wide(mut detector: Detector, window: usize) -> Detector {
    detector.window = window;
    detector
}

use Check::{
    AwsKeyId, Base58Check, Base64Bytes, Base64Of, Base64Text, BasicAuth, Bech32, Crc62, CryptHash,
    Entropy, Jwt, JwtWith, Key, None as Any, Password, Putty, Uuid4,
};

/// All detectors.
#[rustfmt::skip]
pub const DETECTORS: &[Detector] = &[
    // Keys.
    wide(row("gcp-service-account", "key of a Google Cloud service account", Critical, &["\"service_account\""], r#""type"\s*:\s*"service_account"[^{}]*?"private_key"\s*:\s*"(?P<secret>-----BEGIN[^"]+?-----END)"#, Key), KEY),
    binary(wide(row("private-key", "private key", Critical, &["PRIVATE KEY-----", "PRIVATE KEY BLOCK-----"], r"(?P<secret>-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----[^\x00]+?-----END)", Key), KEY)),
    binary(row("age-secret-key", "age secret key", Critical, &["AGE-SECRET-KEY-1"], r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b", Bech32)),
    wide(row("kubeconfig-client-key", "client key of a kubeconfig", Critical, &["client-key-data"], r"client-key-data:\s*(?P<secret>[A-Za-z0-9+/]{100,}={0,2})", Base64Of("PRIVATE KEY")), KEY),
    wide(row("putty-private-key", "PuTTY private key", Critical, &["PuTTY-User-Key-File-"], r"(?P<secret>PuTTY-User-Key-File-[23]: [^\x00]+?Private-MAC: [0-9a-f]{40,64})", Putty), KEY),
    wide(binary(row("gnupg-private-key", "GnuPG private key", Critical, &["private-key(", "private-key ("], r"(?P<secret>\((?:11:|21:)?(?:protected-)?private-key\s?\((?:\d{1,2}:)?(?:rsa|dsa|elg|ecc|ecdsa|ecdh|eddsa)[\s\S]{16,400})", Any)), 512),
    wide(row("jwk-private-key", "private key as a JSON Web Key", Critical, &["\"kty\""], r#""kty"\s*:\s*"(?:RSA|EC|OKP)"[^{}]*?"d"\s*:\s*"(?P<secret>[A-Za-z0-9_-]{32,700})""#, Entropy(4.0)), KEY),
    row("wireguard-private-key", "WireGuard private key", Critical, &["PrivateKey"], r"(?m)^\s*PrivateKey\s*=\s*(?P<secret>[A-Za-z0-9+/]{43}=)", Base64Bytes(32)),
    wide(row("openvpn-static-key", "OpenVPN static key", High, &["OpenVPN Static key"], r"(?P<secret>-----BEGIN OpenVPN Static key V1-----\s+[0-9a-f\s]{500,700}-----END)", Any), LONG),
    row("minisign-secret-key", "minisign or signify secret key", Critical, &["secret key"], r"(?m)^untrusted comment: [^\n]{0,200}secret key[^\n]{0,100}\n(?P<secret>[A-Za-z0-9+/]{80,220}={0,2})", Entropy(4.0)),
    row("extended-private-key", "extended private key of a wallet", Critical, &["xprv", "yprv", "zprv"], r"\b(?P<secret>[xyz]prv[1-9A-HJ-NP-Za-km-z]{107,108})\b", Base58Check),
    row("nostr-secret-key", "Nostr secret key", High, &["nsec1"], r"\b(?P<secret>nsec1[02-9ac-hj-np-z]{58})\b", Bech32),
    row("otp-seed", "seed of one-time passwords", High, &["otpauth://"], r#"otpauth://(?:totp|hotp)/[^\s"']{0,200}?[?&]secret=(?P<secret>[A-Z2-7]{16,128})"#, Entropy(2.5)),
    wide(row("kubernetes-secret", "value of a Kubernetes Secret", High, &["kind: Secret"], r"(?m)^kind:\s*Secret\s*$[^\x00]*?^\s{2,8}[\w.-]*(?i:password|passwd|token|secret|key|credential)[\w.-]*:\s*[\x22']?(?P<secret>[A-Za-z0-9+/]{8,}={0,2})[\x22']?\s*$", Base64Text), LONG),
    row("kubeadm-token", "bootstrap token of a Kubernetes cluster", High, &["kubeadm"], r"kubeadm\s+join\b[^\n]{0,160}?--token[ =]\s*(?P<secret>[a-z0-9]{6}\.[a-z0-9]{16})\b", Entropy(2.8)),
    named(row("kubeconfig-credential", "token or password of a kubeconfig", Critical, &[], r"(?m)^\s+(?:token|password):\s*[\x22']?(?P<secret>[A-Za-z0-9_.~+/=-]{8,})", Entropy(2.5)), &[".kube/config", "kubeconfig", "kubeconfig.yaml", "kubeconfig.yml", "kubernetes/admin.conf", "k3s/k3s.yaml"]),
    // Clouds.
    binary(row("aws-access-key-id", "AWS access key id", High, &["AKIA", "ASIA", "ABIA", "ACCA"], r"\b(?P<secret>(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b", AwsKeyId)),
    row("aws-secret-access-key", "AWS secret access key", Critical, &["secret_access_key", "secretaccesskey", "aws_secret"], r#"(?i)(?:secret_?access_?key|aws_secret(?:_key)?)["']?\s{0,8}(?:=>|[:=])\s{0,8}["']?(?P<secret>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#, Entropy(4.1)),
    wide(row("aws-session-token", "AWS session token", High, &["aws_session_token", "sessiontoken"], r#"(?i)(?:aws_session_token|sessiontoken)["']?\s{0,8}[:=]\s{0,8}["']?(?P<secret>[A-Za-z0-9/+=]{100,})"#, Entropy(4.5)), LONG),
    binary(row("google-api-key", "Google API key", High, &["AIza"], r"\b(?P<secret>AIza[0-9A-Za-z_-]{35})(?:[^0-9A-Za-z_-]|$)", Entropy(3.5))),
    binary(row("google-oauth-client-secret", "Google OAuth client secret", High, &["GOCSPX-"], r"\bGOCSPX-[0-9A-Za-z_-]{28}", Entropy(3.5))),
    row("google-oauth-token", "Google OAuth access token", High, &["ya29."], r"\bya29\.[0-9A-Za-z_-]{30,200}", Entropy(3.5)),
    row("azure-storage-key", "Azure storage account key", Critical, &["AccountKey="], r"(?i)AccountKey=(?P<secret>[A-Za-z0-9+/]{86}==)", Base64Bytes(64)),
    binary(row("azure-client-secret", "Azure application secret", Critical, &["Q~"], r"(?:^|[^A-Za-z0-9_~.-])(?P<secret>[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|$)", Entropy(3.5))),
    binary(row("digitalocean-token", "DigitalOcean token", Critical, &["dop_v1_", "doo_v1_", "dor_v1_"], r"\b(?P<secret>do[opr]_v1_[a-f0-9]{64})\b", Any)),
    row("alibaba-access-key-id", "Alibaba access key id", High, &["LTAI"], r"\b(?P<secret>LTAI[A-Za-z0-9]{17,21})\b", Entropy(3.5)),
    row("heroku-token", "Heroku API token", High, &["HRKU-AA"], r"\bHRKU-AA[0-9A-Za-z_-]{58}", Entropy(3.5)),
    row("fly-token", "Fly.io token", High, &["fm2_"], r"\bfm2_[A-Za-z0-9+/]{100,220}={0,3}", Entropy(4.0)),
    row("databricks-token", "Databricks token", High, &["dapi"], r"\b(?P<secret>dapi[a-f0-9]{32})(?:-\d)?\b", Entropy(3.0)),
    row("cloudflare-origin-key", "Cloudflare origin CA key", High, &["v1.0-"], r"\bv1\.0-[a-f0-9]{24}-[a-f0-9]{146}\b", Any),
    row("supabase-token", "Supabase token", High, &["sbp_"], r"\bsbp_[a-f0-9]{40}\b", Entropy(3.0)),
    row("planetscale-token", "PlanetScale token", High, &["pscale_"], r"\bpscale_(?:tkn|oauth|pw)_[0-9A-Za-z=._-]{32,64}", Entropy(3.5)),
    row("scaleway-secret-key", "Scaleway secret key", High, &["scw_secret_key"], r#"(?i)scw_secret_key["']?\s{0,8}[:=]\s{0,8}["']?(?P<secret>[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})"#, Entropy(2.8)),
    row("aws-mws-token", "Amazon MWS token", High, &["amzn.mws."], r"\bamzn\.mws\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", Any),
    row("aws-bedrock-key", "Amazon Bedrock key", High, &["ABSKQmVkcm9ja"], r"\bABSKQmVkcm9ja[A-Za-z0-9+/]{90,260}={0,2}", Entropy(4.0)),
    row("azure-devops-token", "Azure DevOps token", Critical, &["AZDO"], r"\b(?P<secret>[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})\b", Entropy(4.5)),
    row("azure-key-64", "Azure Storage, Cosmos DB, Batch or API Management key", Critical, &["ACDb", "+ASt", "+ABa", "+AMC", "APIM"], r"(?:^|[^A-Za-z0-9+/])(?P<secret>[A-Za-z0-9+/]{76}(?:APIM|ACDb|\+(?:ABa|AMC|ASt))[A-Za-z0-9+/]{5}[AQgw]==)", Base64Bytes(64)),
    row("azure-key-32", "Azure Service Bus, Event Hubs, Relay or IoT Hub key", Critical, &["AIoT", "+ASb", "+AEh", "+ARm"], r"(?:^|[^A-Za-z0-9+/])(?P<secret>[A-Za-z0-9+/]{33}(?:AIoT|\+(?:ASb|AEh|ARm))[A-P][A-Za-z0-9+/]{5}=)", Base64Bytes(32)),
    row("azure-search-key", "Azure AI Search key", High, &["AzSe"], r"\b(?P<secret>[A-Za-z0-9]{42}AzSe[A-D][A-Za-z0-9]{5})\b", Entropy(4.0)),
    row("azure-registry-key", "Azure Container Registry password", Critical, &["+ACR"], r"(?:^|[^A-Za-z0-9+/])(?P<secret>[A-Za-z0-9+/]{42}\+ACR[A-D][A-Za-z0-9+/]{5})(?:[^A-Za-z0-9+/]|$)", Entropy(4.0)),
    row("azure-function-key", "Azure Functions key", High, &["AzFu"], r"(?:^|[^A-Za-z0-9_-])(?P<secret>[A-Za-z0-9_-]{44}AzFu[A-Za-z0-9_-]{5}[AQgw]==)", Entropy(4.0)),
    row("azure-app-configuration", "Azure App Configuration connection", High, &[".azconfig.io"], r"Endpoint=https://[a-z0-9-]{1,60}\.azconfig\.io;Id=[^;\s]{1,80};Secret=(?P<secret>[A-Za-z0-9+/]{42,90}={0,2})", Entropy(4.0)),
    row("azure-shared-access-key", "Azure shared access key", Critical, &["SharedAccessKey="], r"SharedAccessKey=(?P<secret>[A-Za-z0-9+/]{43}=)", Base64Bytes(32)),
    row("azure-sas", "Azure shared access signature", Medium, &["sig="], r#"[?&]sv=20\d\d-\d\d-\d\d&[^\s"'<>]{0,200}?\bsig=(?P<secret>[A-Za-z0-9%+/]{40,66}(?:%3D|=))"#, Entropy(4.0)),
    row("azure-openai-key", "Azure AI key", High, &["azure_openai", "azure_ai"], assigned!("azure_(?:openai|ai)_(?:api_)?key", "[a-f0-9]{32}|[A-Za-z0-9]{84}"), Entropy(3.0)),
    row("ibm-cloud-key", "IBM Cloud key", High, &["ibmcloud_api_key", "ibm_cloud_api_key", "ibm_api_key"], assigned!("ibm_?(?:cloud_)?api_key", "[A-Za-z0-9_-]{44}"), Entropy(4.0)),
    row("tencent-secret-id", "Tencent Cloud secret id", High, &["AKID"], r"\b(?P<secret>AKID[A-Za-z0-9]{32})\b", Entropy(4.0)),
    row("yandex-cloud-key", "Yandex Cloud key", High, &["AQVN", "YCAJE"], r"(?:^|[^A-Za-z0-9_-])(?P<secret>AQVN[A-Za-z0-9_-]{35,38}|YCAJE[A-Za-z0-9_-]{20,35})(?:[^A-Za-z0-9_-]|$)", Entropy(4.0)),
    row("cloudflare-token", "Cloudflare API token", High, &["cloudflare_api_token", "cf_api_token", "cloudflare_token"], assigned!("(?:cloudflare|cf)_(?:api_)?token", "[A-Za-z0-9_-]{40}"), Entropy(3.8)),
    row("cloudflare-global-key", "Cloudflare global key", Critical, &["cloudflare_api_key", "cf_api_key"], assigned!("(?:cloudflare|cf)_api_key", "[a-f0-9]{37}"), Entropy(3.0)),
    row("vercel-token", "Vercel token", High, &["vercel_token", "vercel_blob_rw_"], r#"(?:vercel_blob_rw_[A-Za-z0-9]{16}_[A-Za-z0-9]{30}|(?i:vercel_token)["']?\s{0,4}[:=]\s{0,4}["']?(?P<secret>[A-Za-z0-9]{24}))\b"#, Entropy(3.8)),
    row("netlify-token", "Netlify token", High, &["nfp_"], r"\b(?P<secret>nfp_[A-Za-z0-9]{36})\b", Entropy(4.0)),
    row("linode-token", "Linode token", High, &["linode_token", "linode_cli_token"], assigned!("linode_(?:cli_)?token", "[a-f0-9]{64}"), Entropy(3.0)),
    row("hetzner-token", "Hetzner Cloud token", High, &["hcloud_token"], assigned!("hcloud_token", "[A-Za-z0-9]{64}"), Entropy(4.0)),
    row("vultr-key", "Vultr key", High, &["vultr_api_key"], assigned!("vultr_api_key", "[A-Z0-9]{36}"), Entropy(3.5)),
    row("render-key", "Render key", High, &["rnd_"], r"\b(?P<secret>rnd_[A-Za-z0-9]{28,40})\b", Entropy(4.0)),
    row("neon-key", "Neon key", High, &["napi_"], r"\b(?P<secret>napi_[a-z0-9]{64})\b", Entropy(4.0)),
    row("aiven-password", "password of an Aiven service", High, &["AVNS_"], r"\b(?P<secret>AVNS_[A-Za-z0-9_-]{18,20})(?:[^A-Za-z0-9_-]|$)", Entropy(3.5)),
    row("mongodb-atlas-secret", "MongoDB Atlas service account secret", High, &["mdb_sa_sk_"], r"\b(?P<secret>mdb_sa_sk_[A-Za-z0-9_-]{40})", Entropy(4.0)),
    row("clickhouse-cloud-key", "ClickHouse Cloud key", High, &["4b1d"], r"\b(?P<secret>4b1d[A-Za-z0-9]{38})\b", Entropy(4.4)),
    row("infracost-key", "Infracost key", Low, &["ico-"], r"\b(?P<secret>ico-[A-Za-z0-9]{32})\b", Entropy(4.0)),
    row("prefect-key", "Prefect key", Medium, &["pnu_", "pnb_"], r"\b(?P<secret>pn[ub]_[A-Za-z0-9]{36})\b", Entropy(3.8)),
    row("openshift-token", "OpenShift token", Critical, &["sha256~"], r"\b(?P<secret>sha256~[A-Za-z0-9_-]{43})(?:[^A-Za-z0-9_-]|$)", Entropy(4.0)),
    row("defined-networking-key", "Defined Networking key", Medium, &["dnkey-"], r"\b(?P<secret>dnkey-[A-Za-z0-9=_-]{26}-[A-Za-z0-9=_-]{52})", Entropy(4.0)),
    // Code hosting and continuous integration.
    binary(row("github-token", "GitHub token", Critical, &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"\b(?P<secret>gh[pousr]_[A-Za-z0-9]{36})\b", Crc62)),
    binary(row("github-fine-grained-token", "GitHub fine-grained token", Critical, &["github_pat_"], r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b", Entropy(4.0))),
    binary(row("gitlab-token", "GitLab token", Critical, &["glpat-", "gldt-", "glrt-", "glptt-", "glsoat-", "glcbt-", "glagent-", "glft-", "glimt-", "gloas-"], r"\b(?P<secret>gl(?:pat|dt|rt|ptt|soat|cbt|agent|ft|imt|oas)-[0-9A-Za-z_.-]{20,300})", Entropy(3.3))),
    row("bitbucket-app-password", "Bitbucket app password", High, &["ATBB"], r"\bATBB[A-Za-z0-9]{24,32}[A-F0-9]{8}\b", Entropy(3.5)),
    wide(row("atlassian-token", "Atlassian API token", High, &["ATATT3"], r"\bATATT3[A-Za-z0-9_=-]{180,220}", Entropy(4.0)), 512),
    row("circleci-token", "CircleCI token", High, &["CCIPAT_"], r"\bCCIPAT_[A-Za-z0-9]{22}_[a-f0-9]{40}\b", Any),
    row("buildkite-token", "Buildkite token", High, &["bkua_"], r"\bbkua_[a-f0-9]{40}\b", Entropy(3.0)),
    row("sourcegraph-token", "Sourcegraph token", Medium, &["sgp_"], r"\bsgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}\b", Entropy(3.0)),
    row("sentry-token", "Sentry token", Medium, &["sntryu_", "sntrys_"], r"\b(?:sntryu_[a-f0-9]{64}\b|sntrys_eyJ[A-Za-z0-9+/=_]{80,400})", Entropy(3.0)),
    row("gitlab-runner-registration", "registration token of a GitLab runner", High, &["GR1348941"], r"\b(?P<secret>GR1348941[A-Za-z0-9_-]{20})(?:[^A-Za-z0-9_-]|$)", Entropy(3.3)),
    wide(row("atlassian-access-token", "access token of a Bitbucket or Jira project", High, &["ATCTT3"], r"\bATCTT3[A-Za-z0-9_=-]{150,220}", Entropy(4.0)), 512),
    row("jetbrains-token", "JetBrains Hub token", High, &["perm:", "perm-"], r"\b(?P<secret>perm[:-][A-Za-z0-9+/=]{4,100}\.[A-Za-z0-9+/=]{4,100}\.[A-Za-z0-9]{24,60})\b", Entropy(4.0)),
    row("sonar-token", "SonarQube token", Medium, &["sqp_", "squ_", "sqa_"], r"\b(?P<secret>sq[pua]_[a-f0-9]{40})\b", Entropy(3.0)),
    row("snyk-token", "Snyk token", High, &["snyk_token", "snyk_api"], assigned!("snyk_(?:token|api(?:_key)?)", "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"), Uuid4),
    row("codecov-token", "Codecov token", Low, &["codecov_token"], assigned!("codecov_token", "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"), Uuid4),
    row("harness-token", "Harness token", High, &["pat.", "sat."], r"\b(?P<secret>[ps]at\.[A-Za-z0-9_-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20})\b", Entropy(4.0)),
    row("launchdarkly-key", "LaunchDarkly key", Medium, &["launchdarkly", "ld_sdk_key"], r"(?i:launchdarkly|ld_sdk_key)[^\n]{0,60}?(?P<secret>(?:sdk|api|mob)-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})\b", Entropy(2.8)),
    row("octopus-deploy-key", "Octopus Deploy key", High, &["octopus"], r"(?i:octopus)[^\n]{0,80}?\b(?P<secret>API-[A-Z0-9]{25,34})\b", Entropy(3.5)),
    // Packages and images.
    binary(row("npm-token", "npm token", Critical, &["npm_"], r"\b(?P<secret>npm_[A-Za-z0-9]{36})\b", Crc62)),
    row("npmrc-auth", "credentials in an .npmrc", High, &["_authToken", "_auth=", "_auth ="], r#"(?m)^\s*(?://[^\s=]{1,100}:)?_auth(?:Token)?\s?=\s?["']?(?P<secret>[A-Za-z0-9+/_.=-]{16,200})"#, Entropy(3.0)),
    binary(row("pypi-token", "PyPI token", Critical, &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"], r"\bpypi-Ag(?:EIcHlwaS5vcmc|ENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,200}", Any)),
    binary(row("rubygems-token", "RubyGems key", Critical, &["rubygems_"], r"\brubygems_[a-f0-9]{48}\b", Entropy(3.0))),
    row("crates-io-token", "crates.io token", Critical, &["cio"], r"\b(?P<secret>cio[A-Za-z0-9]{32})\b", Entropy(4.0)),
    row("nuget-key", "NuGet key", High, &["oy2"], r"\b(?P<secret>oy2[a-z0-9]{43})\b", Entropy(3.8)),
    binary(row("docker-hub-token", "Docker Hub token", Critical, &["dckr_pat_", "dckr_oat_"], r"\bdckr_[po]at_[A-Za-z0-9_-]{27,32}", Entropy(3.5))),
    row("docker-config-auth", "registry credentials in a Docker configuration", High, &["\"auth\""], r#""auth"\s*:\s*"(?P<secret>[A-Za-z0-9+/]{8,400}={0,2})""#, BasicAuth),
    row("artifactory-token", "Artifactory key", High, &["AKCp"], r"\bAKCp[A-Za-z0-9]{69}\b", Entropy(4.0)),
    row("jfrog-reference-token", "JFrog reference token", High, &["cmVmdGtu"], r"\b(?P<secret>cmVmdGtu[A-Za-z0-9]{56})\b", Entropy(4.0)),
    row("clojars-token", "Clojars token", Critical, &["CLOJARS_"], r"\b(?P<secret>CLOJARS_[a-z0-9]{60})\b", Entropy(4.0)),
    row("packagist-token", "Private Packagist token", High, &["packagist_"], r"\b(?P<secret>packagist_[a-z]{3}_[a-f0-9]{68})\b", Entropy(3.0)),
    row("docker-identity-token", "identity token in a Docker configuration", High, &["\"identitytoken\""], r#""identitytoken"\s*:\s*"(?P<secret>[A-Za-z0-9_.+/=-]{20,200})""#, Entropy(3.0)),
    named(row("pypirc-password", "password in a .pypirc", High, &[], r"(?m)^\s*password\s*[:=]\s*(?P<secret>\S{6,250})\s*$", Password), &[".pypirc"]),
    named(row("maven-password", "password in Maven's settings", High, &[], r"<(?:password|passphrase)>\s*(?P<secret>[^<${\s]{4,200})\s*</", Password), &["settings.xml", "settings-security.xml"]),
    named(row("nuget-password", "password in a NuGet configuration", High, &["ClearTextPassword"], r#"(?i)key="ClearTextPassword"\s+value="(?P<secret>[^"%$]{4,200})""#, Password), &["nuget.config"]),
    named(row("composer-auth", "credentials of Composer", High, &[], r#""(?:password|github\.com|gitlab\.com|[a-z0-9.-]{3,80})"\s*:\s*"(?P<secret>[^"\s]{8,200})""#, Entropy(3.0)), &["composer/auth.json", ".composer/auth.json"]),
    named(row("gradle-password", "password in Gradle's properties", High, &[], r"(?mi)^\s*[\w.]*(?:password|secret|token)\s*=\s*(?P<secret>[^\s$]{6,200})\s*$", Password), &[".gradle/gradle.properties"]),
    // Infrastructure.
    binary(row("vault-token", "HashiCorp Vault token", Critical, &["hvs.", "hvb.", "hvr."], r"\b(?P<secret>hv[sbr]\.[A-Za-z0-9_-]{24,300})", Entropy(3.8))),
    row("terraform-cloud-token", "Terraform Cloud token", Critical, &[".atlasv1."], r"\b(?P<secret>[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70})", Entropy(4.0)),
    row("pulumi-token", "Pulumi token", High, &["pul-"], r"\bpul-[a-f0-9]{40}\b", Entropy(3.0)),
    row("doppler-token", "Doppler token", High, &["dp.pt.", "dp.st.", "dp.ct."], r"\bdp\.(?:pt|ct|st(?:\.[a-z0-9_-]{2,35})?)\.[A-Za-z0-9]{40,44}\b", Entropy(3.8)),
    wide(row("onepassword-token", "1Password service account token", Critical, &["ops_eyJ"], r"\bops_eyJ[A-Za-z0-9+/_-]{200,}={0,3}", Entropy(4.0)), LONG),
    row("tailscale-key", "Tailscale key", High, &["tskey-"], r"\btskey-(?:auth|api|client|scim|webhook)-[A-Za-z0-9]{10,24}(?:CNTRL)?-[A-Za-z0-9]{20,40}\b", Entropy(3.5)),
    row("grafana-token", "Grafana token", High, &["glsa_", "glc_"], r"\b(?:glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}\b|glc_[A-Za-z0-9+/]{40,180}={0,2})", Entropy(3.8)),
    row("new-relic-key", "New Relic user key", Medium, &["NRAK-"], r"\bNRAK-[A-Z0-9]{27}\b", Entropy(3.0)),
    row("datadog-key", "Datadog key", Medium, &["dd_api_key", "dd_app_key", "datadog_api_key"], r#"(?i)(?:dd|datadog)_(?:api|app)_key["']?\s{0,8}[:=]\s{0,8}["']?(?P<secret>[a-f0-9]{32}(?:[a-f0-9]{8})?)\b"#, Entropy(3.0)),
    row("dynatrace-token", "Dynatrace token", High, &["dt0c01.", "dt0s16."], r"\bdt0[cs](?:01|16)\.[A-Z0-9]{24}\.[A-Z0-9]{64}\b", Any),
    row("vault-legacy-token", "HashiCorp Vault token", Critical, &["vault_token"], assigned!("vault_token", "s\\.[A-Za-z0-9]{24}"), Entropy(3.5)),
    row("consul-or-nomad-token", "Consul or Nomad token", High, &["consul_http_token", "nomad_token"], assigned!("(?:consul_http|nomad)_token", "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"), Entropy(2.8)),
    named(row("terraform-state", "secret in a Terraform state", Critical, &["\"password", "\"secret", "_password\"", "_token\"", "_key\"", "connection_string", "\"token\""], r#""(?:[a-z0-9_]{0,40}(?:password|secret|token|private_key|access_key|secret_key|connection_string)(?:_pem|_openssh|_string)?)"\s*:\s*"(?P<secret>[^"\s]{8,})""#, Entropy(2.8)), &[".tfstate", ".tfstate.backup"]),
    named(row("terraform-credentials", "token of Terraform", Critical, &[], r#"(?m)"?token"?\s*[:=]\s*"(?P<secret>[A-Za-z0-9._-]{20,200})""#, Entropy(3.5)), &["credentials.tfrc.json", ".terraformrc"]),
    row("splunk-hec-token", "Splunk HEC token", Medium, &["Splunk "], r#"(?i:authorization)["']?\s{0,3}[:=]\s{0,3}["']?Splunk\s+(?P<secret>[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})"#, Entropy(2.8)),
    row("honeycomb-key", "Honeycomb key", Medium, &["hcaik_", "hcaic_", "hcxik_", "hcxlk_"], r"\b(?P<secret>hc[ax](?:ik|ic|lk)_[a-z0-9]{58})\b", Entropy(4.0)),
    row("new-relic-licence", "New Relic licence key", Medium, &["NRAL"], r"\b(?P<secret>[a-f0-9]{36}NRAL)\b", Entropy(3.0)),
    row("new-relic-insert-key", "New Relic insert key", Medium, &["NRII-"], r"\bNRII-[A-Za-z0-9_-]{32}", Entropy(3.8)),
    row("posthog-key", "PostHog personal key", Medium, &["phx_"], r"\b(?P<secret>phx_[A-Za-z0-9]{43,50})\b", Entropy(4.0)),
    // Artificial intelligence.
    binary(row("anthropic-key", "Anthropic key", High, &["sk-ant-"], r"\bsk-ant-(?:api|admin)\d{2}-[A-Za-z0-9_-]{80,110}", Entropy(4.0))),
    binary(row("openai-key", "OpenAI key", High, &["T3BlbkFJ"], r"\b(?P<secret>sk-(?:(?:proj|svcacct|admin)-)?[A-Za-z0-9_-]{20,80}T3BlbkFJ[A-Za-z0-9_-]{20,80})", Entropy(4.0))),
    row("hugging-face-token", "Hugging Face token", High, &["hf_", "api_org_"], r"\b(?P<secret>(?:hf|api_org)_[A-Za-z]{34})\b", Entropy(3.8)),
    row("groq-key", "Groq key", Medium, &["gsk_"], r"\bgsk_[A-Za-z0-9]{52}\b", Entropy(4.0)),
    row("replicate-token", "Replicate token", Medium, &["r8_"], r"\b(?P<secret>r8_[A-Za-z0-9]{37})\b", Entropy(4.0)),
    row("perplexity-key", "Perplexity key", Medium, &["pplx-"], r"\bpplx-[A-Za-z0-9]{48}\b", Entropy(4.0)),
    row("openrouter-key", "OpenRouter key", High, &["sk-or-v1-"], r"\b(?P<secret>sk-or-v1-[a-f0-9]{64})\b", Entropy(3.0)),
    row("xai-key", "xAI key", High, &["xai-"], r"\b(?P<secret>xai-[A-Za-z0-9]{70,90})\b", Entropy(4.3)),
    row("deepseek-key", "DeepSeek key", Medium, &["deepseek"], r"(?i:deepseek)[^\n]{0,60}?\b(?P<secret>sk-[a-f0-9]{32})\b", Entropy(3.2)),
    row("elevenlabs-key", "ElevenLabs key", Medium, &["elevenlabs", "eleven_api_key"], r"(?i:eleven_?labs|eleven_api_key)[^\n]{0,60}?\b(?P<secret>sk_[a-f0-9]{48})\b", Entropy(3.2)),
    row("langsmith-key", "LangSmith key", Medium, &["lsv2_"], r"\b(?P<secret>lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10})\b", Entropy(3.2)),
    row("langfuse-key", "Langfuse secret key", Medium, &["sk-lf-"], r"\b(?P<secret>sk-lf-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})\b", Entropy(2.8)),
    row("wandb-key", "Weights & Biases key", Medium, &["wandb_api_key"], assigned!("wandb_api_key", "[a-f0-9]{40}"), Entropy(3.2)),
    row("pinecone-key", "Pinecone key", Medium, &["pcsk_"], r"\b(?P<secret>pcsk_[A-Za-z0-9]{5,6}_[A-Za-z0-9]{60,70})\b", Entropy(4.3)),
    row("nvidia-key", "NVIDIA key", Medium, &["nvapi-"], r"\b(?P<secret>nvapi-[A-Za-z0-9_-]{60,70})", Entropy(4.3)),
    row("tavily-key", "Tavily key", Low, &["tvly-"], r"\b(?P<secret>tvly-(?:dev-|prod-)?[A-Za-z0-9]{32})\b", Entropy(4.0)),
    row("e2b-key", "E2B key", Medium, &["e2b_"], r"\b(?P<secret>e2b_[a-f0-9]{40})\b", Entropy(3.2)),
    // Payment.
    binary(row("stripe-live-key", "Stripe live key", Critical, &["sk_live_", "rk_live_"], r"\b(?P<secret>[sr]k_live_[A-Za-z0-9]{16,247})\b", Entropy(3.3))),
    row("stripe-test-key", "Stripe test key", Low, &["sk_test_", "rk_test_"], r"\b(?P<secret>[sr]k_test_[A-Za-z0-9]{16,247})\b", Entropy(3.3)),
    row("stripe-webhook-secret", "Stripe webhook secret", Medium, &["whsec_"], r"\bwhsec_[A-Za-z0-9+/]{32,64}", Entropy(3.8)),
    row("square-token", "Square token", High, &["sq0atp-", "sq0csp-"], r"\bsq0(?:atp-[0-9A-Za-z_-]{22}|csp-[0-9A-Za-z_-]{43})", Entropy(3.5)),
    binary(row("shopify-token", "Shopify token", High, &["shpat_", "shpca_", "shppa_", "shpss_"], r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b", Entropy(3.0))),
    row("easypost-key", "EasyPost key", Medium, &["EZAK"], r"\bEZAK[A-Za-z0-9]{54}\b", Entropy(4.0)),
    row("square-access-token", "Square access token", High, &["EAAA"], r"\b(?P<secret>EAAA[A-Za-z0-9_-]{60})(?:[^A-Za-z0-9_-]|$)", Entropy(4.3)),
    row("braintree-token", "Braintree access token", High, &["access_token$production$"], r"access_token\$production\$[a-z0-9]{16}\$[a-f0-9]{32}\b", Any),
    row("plaid-token", "Plaid access token", High, &["access-sandbox-", "access-development-", "access-production-"], r"\b(?P<secret>access-(?:sandbox|development|production)-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})\b", Entropy(3.0)),
    row("flutterwave-key", "Flutterwave secret key", High, &["FLWSECK"], r"\b(?P<secret>FLWSECK(?:_TEST)?-[A-Za-z0-9]{32}-X)\b", Entropy(3.2)),
    row("gocardless-token", "GoCardless token", High, &["gocardless"], r"(?i:gocardless)[^\n]{0,60}?(?P<secret>live_[A-Za-z0-9_=-]{40})(?:[^A-Za-z0-9_=-]|$)", Entropy(4.0)),
    row("shippo-token", "Shippo token", Medium, &["shippo_live_", "shippo_test_"], r"\b(?P<secret>shippo_(?:live|test)_[a-f0-9]{40})\b", Entropy(3.2)),
    row("duffel-token", "Duffel token", Medium, &["duffel_"], r"\b(?P<secret>duffel_(?:test|live)_[A-Za-z0-9_-]{43})", Entropy(4.0)),
    // Messages.
    binary(row("slack-token", "Slack token", High, &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-"], r"\b(?P<secret>xox[abeprs]-(?:\d-)?[0-9A-Za-z-]{20,250}|xapp-\d-[A-Z0-9]{8,20}-\d{8,20}-[a-f0-9]{32,64})", Entropy(2.8))),
    binary(row("slack-webhook", "Slack webhook", Medium, &["hooks.slack.com/"], r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Z0-9]{8,12}/[A-Z0-9]{8,14}/[A-Za-z0-9]{20,56})", Entropy(3.0))),
    row("discord-webhook", "Discord webhook", Medium, &["/api/webhooks/"], r"discord(?:app)?\.com/api/webhooks/\d{17,20}/(?P<secret>[A-Za-z0-9_-]{60,80})", Entropy(4.0)),
    row("discord-token", "Discord bot token", High, &["discord"], r"\b(?P<secret>[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38})\b", Entropy(4.0)),
    binary(row("telegram-token", "Telegram bot token", High, &[":AA"], r"\b(?P<secret>\d{8,10}:AA[A-Za-z0-9_-]{33})(?:[^A-Za-z0-9_-]|$)", Entropy(3.8))),
    binary(row("sendgrid-key", "SendGrid key", High, &["SG."], r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", Entropy(4.0))),
    row("mailgun-key", "Mailgun key", Medium, &["mailgun"], r"\b(?P<secret>key-[a-f0-9]{32})\b", Entropy(3.2)),
    row("mailchimp-key", "Mailchimp key", Medium, &["mailchimp"], r"\b(?P<secret>[a-f0-9]{32}-us\d{1,2})\b", Entropy(3.2)),
    row("twilio-key", "Twilio key", High, &["twilio"], r"\b(?P<secret>SK[a-f0-9]{32})\b", Entropy(3.2)),
    row("teams-webhook", "Microsoft Teams webhook", Medium, &[".webhook.office.com/"], r"\.webhook\.office\.com/webhookb2/[a-f0-9-]{36}@[a-f0-9-]{36}/IncomingWebhook/(?P<secret>[a-f0-9]{32}/[a-f0-9-]{36})", Entropy(3.0)),
    row("twilio-auth-token", "Twilio auth token", High, &["twilio_auth_token", "twilio_token"], assigned!("twilio_(?:auth_)?token", "[a-f0-9]{32}"), Entropy(3.2)),
    row("brevo-key", "Brevo key", High, &["xkeysib-", "xsmtpsib-"], r"\b(?P<secret>x(?:key|smtp)sib-[a-f0-9]{64}-[A-Za-z0-9]{16})\b", Entropy(3.5)),
    row("postmark-token", "Postmark token", Medium, &["postmark"], r#"(?i:postmark)(?i:[a-z_]{0,20}token)["']?\s{0,4}[:=]\s{0,4}["']?(?P<secret>[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})\b"#, Entropy(2.8)),
    row("resend-key", "Resend key", Medium, &["resend"], r"(?i:resend)[^\n]{0,60}?\b(?P<secret>re_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,26})\b", Entropy(3.8)),
    row("facebook-token", "Facebook access token", High, &["EAAC", "EAAM"], r"\b(?P<secret>EAA[CM][A-Za-z0-9]{100,250})\b", Entropy(4.3)),
    row("hubspot-token", "HubSpot token", High, &["pat-na", "pat-eu", "pat-ap"], r"\b(?P<secret>pat-(?:na|eu|ap)\d-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})\b", Entropy(2.8)),
    // Documents and tools.
    row("notion-token", "Notion token", Medium, &["ntn_"], r"\bntn_\d{11}[A-Za-z0-9]{35}\b", Entropy(3.5)),
    row("linear-key", "Linear key", Medium, &["lin_api_"], r"\blin_api_[A-Za-z0-9]{40}\b", Entropy(4.0)),
    row("airtable-token", "Airtable token", Medium, &["airtable"], r"\b(?P<secret>pat[A-Za-z0-9]{14}\.[a-f0-9]{64})\b", Any),
    row("figma-token", "Figma token", Medium, &["figd_"], r"\bfigd_[A-Za-z0-9_-]{40}", Entropy(4.0)),
    row("contentful-token", "Contentful token", Medium, &["CFPAT-"], r"\bCFPAT-[A-Za-z0-9_-]{43}", Entropy(4.0)),
    row("postman-key", "Postman key", Medium, &["PMAK-"], r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}\b", Any),
    row("dropbox-token", "Dropbox token", High, &["sl.A", "sl.B", "sl.u."], r"(?:^|[^A-Za-z0-9_.-])(?P<secret>sl\.(?:u\.)?[A-Za-z0-9_-]{130,})", Entropy(4.3)),
    row("asana-token", "Asana token", Medium, &["asana"], r"(?i:asana)[^\n]{0,60}?\b(?P<secret>[12]/\d{16}(?:/\d{16})?:[a-f0-9]{32})\b", Entropy(3.0)),
    row("adobe-client-secret", "Adobe client secret", Medium, &["p8e-"], r"\b(?P<secret>p8e-[A-Za-z0-9_-]{32})(?:[^A-Za-z0-9_-]|$)", Entropy(3.8)),
    row("mapbox-token", "Mapbox secret token", Medium, &["sk.eyJ"], r"\b(?P<secret>sk\.eyJ[A-Za-z0-9_-]{20,300}\.[A-Za-z0-9_-]{20,40})", Entropy(4.0)),
    row("okta-token", "Okta token", High, &["okta"], r"(?i:okta)[^\n]{0,60}?[\x22'\s=:](?P<secret>00[A-Za-z0-9_-]{40})(?:[^A-Za-z0-9_-]|$)", Entropy(4.0)),
    row("algolia-admin-key", "Algolia admin key", Medium, &["algolia"], assigned!("algolia_(?:admin_)?(?:api_)?key", "[a-f0-9]{32}"), Entropy(3.2)),
    row("typeform-token", "Typeform token", Medium, &["tfp_"], r"\b(?P<secret>tfp_[A-Za-z0-9]{30,60}_[A-Za-z0-9]{8,20})\b", Entropy(4.0)),
    row("readme-key", "ReadMe key", Low, &["rdme_"], r"\b(?P<secret>rdme_[a-z0-9]{70})\b", Entropy(4.0)),
    row("frame-io-token", "Frame.io token", Medium, &["fio-u-"], r"\b(?P<secret>fio-u-[A-Za-z0-9_=-]{64})", Entropy(4.3)),
    row("ngrok-token", "ngrok token", High, &["ngrok", "authtoken"], r#"(?i:ngrok_authtoken|authtoken)["']?\s{0,4}[:= ]\s{0,4}["']?(?P<secret>[12][A-Za-z0-9]{26}_[A-Za-z0-9]{21,22})\b"#, Entropy(4.3)),
    // Files of programs.
    named(row("shadow-hash", "password hash of an account that is not locked", Medium, &[], r"(?m)^[^:\s]{1,64}:(?P<secret>\$[^:\s!*]{12,250}):", CryptHash), &["etc/shadow", "etc/gshadow", "etc/shadow-", "etc/gshadow-"]),
    named(row("htpasswd-hash", "password hash of an htpasswd file", Medium, &[], r"(?m)^[^:\s#]{1,64}:(?P<secret>(?:\$(?:apr1|1|2[abxy]|5|6|y)\$|\{SHA\})[^:\s]{12,250})\s*$", CryptHash), &["htpasswd", "htpasswd.users"]),
    named(row("pgpass", "password in a .pgpass", High, &[], r"(?m)^[^#:\s][^:\n]{0,200}:[^:\n]{1,10}:[^:\n]{1,100}:[^:\n]{1,100}:(?P<secret>[^:\n]{4,200})$", Password), &[".pgpass", "pgpass.conf"]),
    named(row("git-credentials", "password of Git", Critical, &[], r"(?m)^https?://[^:\s/@]{1,100}:(?P<secret>[^@\s]{6,200})@", Password), &[".git-credentials", "git/credentials"]),
    named(row("mysql-option-file", "password in a MySQL option file", High, &[], r#"(?m)^\s*password\s*=\s*["']?(?P<secret>[^\s"'#]{4,100})"#, Password), &["my.cnf", ".mylogin.cnf", "mysql/debian.cnf"]),
    named(row("s3cfg", "secret key of s3cmd", Critical, &[], r"(?m)^\s*secret_key\s*=\s*(?P<secret>\S{20,100})\s*$", Entropy(3.5)), &[".s3cfg"]),
    named(row("rclone-remote", "credentials of an rclone remote", High, &[], r"(?m)^\s*(?:pass|password|secret_access_key|token|client_secret|service_account_credentials|key)\s*=\s*(?P<secret>\S{8,})\s*$", Entropy(2.8)), &["rclone.conf"]),
    named(row("wordpress-config", "password or salt of WordPress", High, &[], r#"define\(\s*['"](?:DB_PASSWORD|[A-Z_]{0,20}AUTH_KEY|LOGGED_IN_KEY|NONCE_KEY|[A-Z_]{1,20}SALT)['"]\s*,\s*['"](?P<secret>[^'"\n]{6,200})['"]"#, Password), &["wp-config.php"]),
    named(row("rails-master-key", "master key of Rails", Critical, &[], r"^(?P<secret>[a-f0-9]{32})\s*$", Entropy(3.0)), &["config/master.key", "credentials/production.key", "credentials/staging.key"]),
    named(row("redis-password", "password of Redis", High, &[], r#"(?m)^\s*(?:requirepass|masterauth)\s+["']?(?P<secret>[^\s"']{6,200})"#, Password), &["redis.conf", "valkey.conf", "sentinel.conf"]),
    named(row("ldap-bind-password", "bind password of a directory", High, &[], r"(?m)^\s*(?:bindpw|rootpw|rootbindpw|ldap_default_authtok)\s*[= ]\s*(?P<secret>\S{4,200})\s*$", Password), &["ldap.conf", "slapd.conf", "nslcd.conf", "pam_ldap.conf", "sssd.conf"]),
    named(row("wifi-passphrase", "passphrase of a wireless network", Medium, &[], r#"(?m)^\s*psk\s*=\s*["']?(?P<secret>[^"'\n]{8,64})["']?\s*$"#, Password), &["wpa_supplicant.conf", ".nmconnection"]),
    named(row("mail-password", "password of a mail account", High, &[], r#"(?m)(?:^|\s)(?:password|pass)\s+["']?(?P<secret>[^\s"']{6,100})"#, Password), &["msmtprc", ".fetchmailrc", ".mbsyncrc"]),
    named(row("sasl-password", "password of a mail relay", High, &[], r"(?m)^\s*[^#\s]\S{2,200}\s+[^:\s]{1,100}:(?P<secret>\S{4,200})\s*$", Password), &["sasl_passwd"]),
    named(row("filezilla-password", "password of FileZilla", High, &[], r#"<Pass(?:\s+encoding="base64")?>(?P<secret>[^<\s]{4,200})</Pass>"#, Password), &["sitemanager.xml", "recentservers.xml", "filezilla.xml"]),
    named(row("deployment-password", "password of an FTP or SFTP deployment", High, &["\"password\""], r#""password"\s*:\s*"(?P<secret>[^"\s]{6,200})""#, Password), &["sftp-config.json", ".vscode/sftp.json", ".ftpconfig"]),
    // Frameworks and commands.
    row("laravel-app-key", "application key of Laravel", High, &["APP_KEY=base64:"], r"APP_KEY=(?P<secret>base64:[A-Za-z0-9+/]{43}=)", Entropy(3.8)),
    row("django-secret-key", "secret key of Django or Flask", High, &["SECRET_KEY"], r#"(?m)^\s*(?:app\.)?SECRET_KEY\s*=\s*b?["'](?P<secret>[^"'\n]{24,200})["']"#, Entropy(3.6)),
    row("spring-password", "password in a Spring configuration", High, &["datasource.password"], r"(?m)^\s*spring\.(?:[a-z-]{1,20}\.)?datasource\.password\s*[=:]\s*(?P<secret>[^\s${]{4,100})\s*$", Password),
    row("jdbc-password", "password in a JDBC address", High, &["jdbc:"], r#"jdbc:[a-z0-9:]{2,40}(?://|@)[^\s"']{0,200}?[?;&](?i:password|pwd)=(?P<secret>[^\s"'&;${<]{4,100})"#, Password),
    row("connection-string", "password in a connection string", High, &["Data Source=", "Server="], r#"(?i)(?:Server|Data Source)=[^"'\n;]{1,200};[^"'\n]{0,200}?(?:Password|Pwd)=(?P<secret>[^;"'\s${%<]{4,100})"#, Password),
    wide(row("supabase-service-key", "Supabase service key", Critical, &["eyJ"], r"\b(?P<secret>eyJ[A-Za-z0-9_-]{10,400}\.eyJ[A-Za-z0-9_-]{20,800}\.[A-Za-z0-9_-]{16,200})", JwtWith("\"role\":\"service_role\"")), 1024),
    wide(row("kubernetes-service-account-token", "token of a Kubernetes service account", High, &["eyJ"], r"\b(?P<secret>eyJ[A-Za-z0-9_-]{10,400}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{80,1000})", JwtWith("system:serviceaccount:")), LONG),
    row("basic-auth-header", "credentials in an HTTP header", High, &["basic "], r#"(?i:authorization)["']?\s{0,3}[:=,]\s{0,3}["']?(?i:basic)\s{1,3}(?P<secret>[A-Za-z0-9+/]{8,300}={0,2})"#, BasicAuth),
    row("bearer-header", "bearer token in an HTTP header", High, &["bearer "], r#"(?i:authorization)["']?\s{0,3}[:=,]\s{0,3}["']?(?i:bearer)\s{1,3}(?P<secret>[A-Za-z0-9_.~+/-]{24,400})={0,2}"#, Entropy(3.8)),
    row("curl-user", "password in a curl command", Medium, &["curl "], r#"\bcurl\s[^\n|;]{0,200}?(?:\s|^)(?:-u|--user)[ =]["']?[^\s:"'$<]{1,64}:(?P<secret>[^\s"'${<]{6,100})"#, Entropy(2.6)),
    row("sshpass", "password in an sshpass command", High, &["sshpass"], r#"\bsshpass\s+-p\s*["']?(?P<secret>[^\s"'$]{4,100})"#, Password),
    row("chpasswd", "password set by a script", High, &["chpasswd"], r#"echo\s+(?:-[ne]{1,2}\s+)?["']?[a-z_][a-z0-9_-]{0,31}:(?P<secret>[^\s"'|${]{4,100})["']?\s*\|\s*(?:sudo\s+)?chpasswd"#, Password),
    row("mysql-command", "password in a MySQL command", Medium, &["mysql"], r#"\bmysql(?:dump|admin)?\s[^\n|;]{0,120}?(?:\s-p|--password=)["']?(?P<secret>[A-Za-z0-9!@#%^&*_+=.-]{6,64})(?:[\s"';]|$)"#, Entropy(2.8)),
    // Forms rather than issuers; these stand last.
    wide(row("jwt", "JSON Web Token", Medium, &["eyJ"], r"\b(?P<secret>eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,1000})", Jwt), LONG),
    row("password-hash", "password hash", Medium, &[":$6$", ":$5$", ":$y$", ":$2", ":$1$", ":$argon2"], r"(?m)^[A-Za-z0-9_.-]{1,32}:(?P<secret>\$(?:1|2[abxy]|5|6|y|argon2id?)\$[^:\s]{20,200})(?::|\s|$)", Any),
    row("netrc", "password in a .netrc", High, &["machine "], r"\bmachine\s{1,8}\S{1,200}\s{1,20}login\s{1,8}\S{1,100}\s{1,20}password\s{1,8}(?P<secret>\S{6,200})", Entropy(2.3)),
    row("url-credentials", "password in a URL", High, &["://"], r#"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s:/@"'<>{}$%]{0,64}:(?P<secret>[^\s:/@"'<>{}$%*]{6,100})@[A-Za-z0-9.-]{2,}"#, Entropy(2.6)),
    row("generic-secret", "value of a secret", Medium, &["password", "passwd", "secret", "token", "api_key", "apikey", "api-key", "private_key"], r#"(?im)(?:^|[^a-z0-9])[a-z0-9_.-]{0,40}(?:password|passwd|secret|token|api[_-]?key|private_key)[a-z0-9_]{0,20}(?:["']?\s{0,4}(?:=>|:=|[:=])\s{0,4}["'](?P<secret>[A-Za-z0-9+/=_.!@#%^&*~-]{12,120})["'])"#, Entropy(3.6)),
    row("secret-variable", "secret in an environment file", Medium, &["PASSWORD=", "PASSWD=", "SECRET=", "TOKEN=", "API_KEY=", "SECRET_KEY="], r"(?m)^(?:export\s{1,4})?[A-Z][A-Z0-9_]{0,60}(?:PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|SECRET_KEY)=(?P<secret>[A-Za-z0-9+/=_.!@#%^&*~-]{10,120})\s*$", Entropy(3.0)),
];
