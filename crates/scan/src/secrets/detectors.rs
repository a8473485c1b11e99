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
    Detector { id, title, severity, keywords, pattern, window: SHORT, check }
}

const fn wide(mut detector: Detector, window: usize) -> Detector {
    detector.window = window;
    detector
}

use Check::{AwsKeyId, Base64Of, BasicAuth, Crc62, Entropy, Jwt, None as Any, Pem};

/// All detectors.
#[rustfmt::skip]
pub const DETECTORS: &[Detector] = &[
    // Keys.
    wide(row("private-key", "private key", Critical, &["PRIVATE KEY-----", "PRIVATE KEY BLOCK-----"], r"(?P<secret>-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----[^\x00]+?-----END)", Pem), KEY),
    row("age-secret-key", "age secret key", Critical, &["AGE-SECRET-KEY-1"], r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b", Any),
    wide(row("kubeconfig-client-key", "client key of a kubeconfig", Critical, &["client-key-data"], r"client-key-data:\s*(?P<secret>[A-Za-z0-9+/]{100,}={0,2})", Base64Of("PRIVATE KEY")), KEY),
    // Clouds.
    row("aws-access-key-id", "AWS access key id", High, &["AKIA", "ASIA", "ABIA", "ACCA"], r"\b(?P<secret>(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b", AwsKeyId),
    row("aws-secret-access-key", "AWS secret access key", Critical, &["secret_access_key", "secretaccesskey", "aws_secret"], r#"(?i)(?:secret_?access_?key|aws_secret(?:_key)?)["']?\s{0,8}(?:=>|[:=])\s{0,8}["']?(?P<secret>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#, Entropy(4.1)),
    wide(row("aws-session-token", "AWS session token", High, &["aws_session_token", "sessiontoken"], r#"(?i)(?:aws_session_token|sessiontoken)["']?\s{0,8}[:=]\s{0,8}["']?(?P<secret>[A-Za-z0-9/+=]{100,})"#, Entropy(4.5)), LONG),
    row("google-api-key", "Google API key", High, &["AIza"], r"\b(?P<secret>AIza[0-9A-Za-z_-]{35})(?:[^0-9A-Za-z_-]|$)", Entropy(3.5)),
    row("google-oauth-client-secret", "Google OAuth client secret", High, &["GOCSPX-"], r"\bGOCSPX-[0-9A-Za-z_-]{28}", Entropy(3.5)),
    row("google-oauth-token", "Google OAuth access token", High, &["ya29."], r"\bya29\.[0-9A-Za-z_-]{30,200}", Entropy(3.5)),
    row("azure-storage-key", "Azure storage account key", Critical, &["AccountKey="], r"(?i)AccountKey=(?P<secret>[A-Za-z0-9+/]{86}==)", Entropy(4.5)),
    row("azure-client-secret", "Azure application secret", Critical, &["Q~"], r"(?:^|[^A-Za-z0-9_~.-])(?P<secret>[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|$)", Entropy(3.5)),
    row("digitalocean-token", "DigitalOcean token", Critical, &["dop_v1_", "doo_v1_", "dor_v1_"], r"\b(?P<secret>do[opr]_v1_[a-f0-9]{64})\b", Any),
    row("alibaba-access-key-id", "Alibaba access key id", High, &["LTAI"], r"\b(?P<secret>LTAI[A-Za-z0-9]{17,21})\b", Entropy(3.5)),
    row("heroku-token", "Heroku API token", High, &["HRKU-AA"], r"\bHRKU-AA[0-9A-Za-z_-]{58}", Entropy(3.5)),
    row("fly-token", "Fly.io token", High, &["fm2_"], r"\bfm2_[A-Za-z0-9+/]{100,220}={0,3}", Entropy(4.0)),
    row("databricks-token", "Databricks token", High, &["dapi"], r"\b(?P<secret>dapi[a-f0-9]{32})(?:-\d)?\b", Entropy(3.0)),
    row("cloudflare-origin-key", "Cloudflare origin CA key", High, &["v1.0-"], r"\bv1\.0-[a-f0-9]{24}-[a-f0-9]{146}\b", Any),
    row("supabase-token", "Supabase token", High, &["sbp_"], r"\bsbp_[a-f0-9]{40}\b", Entropy(3.0)),
    row("planetscale-token", "PlanetScale token", High, &["pscale_"], r"\bpscale_(?:tkn|oauth|pw)_[0-9A-Za-z=._-]{32,64}", Entropy(3.5)),
    row("scaleway-secret-key", "Scaleway secret key", High, &["scw_secret_key"], r#"(?i)scw_secret_key["']?\s{0,8}[:=]\s{0,8}["']?(?P<secret>[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12})"#, Entropy(2.8)),
    // Code hosting and continuous integration.
    row("github-token", "GitHub token", Critical, &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"\b(?P<secret>gh[pousr]_[A-Za-z0-9]{36})\b", Crc62),
    row("github-fine-grained-token", "GitHub fine-grained token", Critical, &["github_pat_"], r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b", Entropy(4.0)),
    row("gitlab-token", "GitLab token", Critical, &["glpat-", "gldt-", "glrt-", "glptt-", "glsoat-", "glcbt-"], r"\b(?P<secret>gl(?:pat|dt|rt|ptt|soat|cbt)-[0-9A-Za-z_.-]{20,300})", Entropy(3.3)),
    row("bitbucket-app-password", "Bitbucket app password", High, &["ATBB"], r"\bATBB[A-Za-z0-9]{24,32}[A-F0-9]{8}\b", Entropy(3.5)),
    wide(row("atlassian-token", "Atlassian API token", High, &["ATATT3"], r"\bATATT3[A-Za-z0-9_=-]{180,220}", Entropy(4.0)), 512),
    row("circleci-token", "CircleCI token", High, &["CCIPAT_"], r"\bCCIPAT_[A-Za-z0-9]{22}_[a-f0-9]{40}\b", Any),
    row("buildkite-token", "Buildkite token", High, &["bkua_"], r"\bbkua_[a-f0-9]{40}\b", Entropy(3.0)),
    row("sourcegraph-token", "Sourcegraph token", Medium, &["sgp_"], r"\bsgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}\b", Entropy(3.0)),
    row("sentry-token", "Sentry token", Medium, &["sntryu_", "sntrys_"], r"\b(?:sntryu_[a-f0-9]{64}\b|sntrys_eyJ[A-Za-z0-9+/=_]{80,400})", Entropy(3.0)),
    // Packages and images.
    row("npm-token", "npm token", Critical, &["npm_"], r"\b(?P<secret>npm_[A-Za-z0-9]{36})\b", Crc62),
    row("npmrc-auth", "credentials in an .npmrc", High, &["_authToken", "_auth=", "_auth ="], r#"(?m)^\s*(?://[^\s=]{1,100}:)?_auth(?:Token)?\s?=\s?["']?(?P<secret>[A-Za-z0-9+/_.=-]{16,200})"#, Entropy(3.0)),
    row("pypi-token", "PyPI token", Critical, &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"], r"\bpypi-Ag(?:EIcHlwaS5vcmc|ENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,200}", Any),
    row("rubygems-token", "RubyGems key", Critical, &["rubygems_"], r"\brubygems_[a-f0-9]{48}\b", Entropy(3.0)),
    row("crates-io-token", "crates.io token", Critical, &["cio"], r"\b(?P<secret>cio[A-Za-z0-9]{32})\b", Entropy(4.0)),
    row("nuget-key", "NuGet key", High, &["oy2"], r"\b(?P<secret>oy2[a-z0-9]{43})\b", Entropy(3.8)),
    row("docker-hub-token", "Docker Hub token", Critical, &["dckr_pat_", "dckr_oat_"], r"\bdckr_[po]at_[A-Za-z0-9_-]{27,32}", Entropy(3.5)),
    row("docker-config-auth", "registry credentials in a Docker configuration", High, &["\"auth\""], r#""auth"\s*:\s*"(?P<secret>[A-Za-z0-9+/]{8,400}={0,2})""#, BasicAuth),
    row("artifactory-token", "Artifactory key", High, &["AKCp"], r"\bAKCp[A-Za-z0-9]{69}\b", Entropy(4.0)),
    // Infrastructure.
    row("vault-token", "HashiCorp Vault token", Critical, &["hvs.", "hvb."], r"\b(?P<secret>hv[sb]\.[A-Za-z0-9_-]{24,300})", Entropy(3.8)),
    row("terraform-cloud-token", "Terraform Cloud token", Critical, &[".atlasv1."], r"\b(?P<secret>[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70})", Entropy(4.0)),
    row("pulumi-token", "Pulumi token", High, &["pul-"], r"\bpul-[a-f0-9]{40}\b", Entropy(3.0)),
    row("doppler-token", "Doppler token", High, &["dp.pt.", "dp.st.", "dp.ct."], r"\bdp\.(?:pt|ct|st(?:\.[a-z0-9_-]{2,35})?)\.[A-Za-z0-9]{40,44}\b", Entropy(3.8)),
    wide(row("onepassword-token", "1Password service account token", Critical, &["ops_eyJ"], r"\bops_eyJ[A-Za-z0-9+/_-]{200,}={0,3}", Entropy(4.0)), LONG),
    row("tailscale-key", "Tailscale key", High, &["tskey-"], r"\btskey-(?:auth|api|client|scim|webhook)-[A-Za-z0-9]{10,24}(?:CNTRL)?-[A-Za-z0-9]{20,40}\b", Entropy(3.5)),
    row("grafana-token", "Grafana token", High, &["glsa_", "glc_"], r"\b(?:glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}\b|glc_[A-Za-z0-9+/]{40,180}={0,2})", Entropy(3.8)),
    row("new-relic-key", "New Relic user key", Medium, &["NRAK-"], r"\bNRAK-[A-Z0-9]{27}\b", Entropy(3.0)),
    row("datadog-key", "Datadog key", Medium, &["dd_api_key", "dd_app_key", "datadog_api_key"], r#"(?i)(?:dd|datadog)_(?:api|app)_key["']?\s{0,8}[:=]\s{0,8}["']?(?P<secret>[a-f0-9]{32}(?:[a-f0-9]{8})?)\b"#, Entropy(3.0)),
    row("dynatrace-token", "Dynatrace token", High, &["dt0c01.", "dt0s16."], r"\bdt0[cs](?:01|16)\.[A-Z0-9]{24}\.[A-Z0-9]{64}\b", Any),
    // Artificial intelligence.
    row("anthropic-key", "Anthropic key", High, &["sk-ant-"], r"\bsk-ant-(?:api|admin)\d{2}-[A-Za-z0-9_-]{80,110}", Entropy(4.0)),
    row("openai-key", "OpenAI key", High, &["T3BlbkFJ"], r"\b(?P<secret>sk-(?:(?:proj|svcacct|admin)-)?[A-Za-z0-9_-]{20,80}T3BlbkFJ[A-Za-z0-9_-]{20,80})", Entropy(4.0)),
    row("hugging-face-token", "Hugging Face token", High, &["hf_", "api_org_"], r"\b(?P<secret>(?:hf|api_org)_[A-Za-z]{34})\b", Entropy(3.8)),
    row("groq-key", "Groq key", Medium, &["gsk_"], r"\bgsk_[A-Za-z0-9]{52}\b", Entropy(4.0)),
    row("replicate-token", "Replicate token", Medium, &["r8_"], r"\b(?P<secret>r8_[A-Za-z0-9]{37})\b", Entropy(4.0)),
    row("perplexity-key", "Perplexity key", Medium, &["pplx-"], r"\bpplx-[A-Za-z0-9]{48}\b", Entropy(4.0)),
    // Payment.
    row("stripe-live-key", "Stripe live key", Critical, &["sk_live_", "rk_live_"], r"\b(?P<secret>[sr]k_live_[A-Za-z0-9]{16,247})\b", Entropy(3.3)),
    row("stripe-test-key", "Stripe test key", Low, &["sk_test_", "rk_test_"], r"\b(?P<secret>[sr]k_test_[A-Za-z0-9]{16,247})\b", Entropy(3.3)),
    row("stripe-webhook-secret", "Stripe webhook secret", Medium, &["whsec_"], r"\bwhsec_[A-Za-z0-9+/]{32,64}", Entropy(3.8)),
    row("square-token", "Square token", High, &["sq0atp-", "sq0csp-"], r"\bsq0(?:atp-[0-9A-Za-z_-]{22}|csp-[0-9A-Za-z_-]{43})", Entropy(3.5)),
    row("shopify-token", "Shopify token", High, &["shpat_", "shpca_", "shppa_", "shpss_"], r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b", Entropy(3.0)),
    row("easypost-key", "EasyPost key", Medium, &["EZAK"], r"\bEZAK[A-Za-z0-9]{54}\b", Entropy(4.0)),
    // Messages.
    row("slack-token", "Slack token", High, &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-"], r"\b(?P<secret>xox[abeprs]-(?:\d-)?[0-9A-Za-z-]{20,250}|xapp-\d-[A-Z0-9]{8,20}-\d{8,20}-[a-f0-9]{32,64})", Entropy(2.8)),
    row("slack-webhook", "Slack webhook", Medium, &["hooks.slack.com/"], r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Z0-9]{8,12}/[A-Z0-9]{8,14}/[A-Za-z0-9]{20,56})", Entropy(3.0)),
    row("discord-webhook", "Discord webhook", Medium, &["/api/webhooks/"], r"discord(?:app)?\.com/api/webhooks/\d{17,20}/(?P<secret>[A-Za-z0-9_-]{60,80})", Entropy(4.0)),
    row("discord-token", "Discord bot token", High, &["discord"], r"\b(?P<secret>[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38})\b", Entropy(4.0)),
    row("telegram-token", "Telegram bot token", High, &[":AA"], r"\b(?P<secret>\d{8,10}:AA[A-Za-z0-9_-]{33})(?:[^A-Za-z0-9_-]|$)", Entropy(3.8)),
    row("sendgrid-key", "SendGrid key", High, &["SG."], r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", Entropy(4.0)),
    row("mailgun-key", "Mailgun key", Medium, &["mailgun"], r"\b(?P<secret>key-[a-f0-9]{32})\b", Entropy(3.2)),
    row("mailchimp-key", "Mailchimp key", Medium, &["mailchimp"], r"\b(?P<secret>[a-f0-9]{32}-us\d{1,2})\b", Entropy(3.2)),
    row("twilio-key", "Twilio key", High, &["twilio"], r"\b(?P<secret>SK[a-f0-9]{32})\b", Entropy(3.2)),
    // Documents and tools.
    row("notion-token", "Notion token", Medium, &["ntn_"], r"\bntn_\d{11}[A-Za-z0-9]{35}\b", Entropy(3.5)),
    row("linear-key", "Linear key", Medium, &["lin_api_"], r"\blin_api_[A-Za-z0-9]{40}\b", Entropy(4.0)),
    row("airtable-token", "Airtable token", Medium, &["airtable"], r"\b(?P<secret>pat[A-Za-z0-9]{14}\.[a-f0-9]{64})\b", Any),
    row("figma-token", "Figma token", Medium, &["figd_"], r"\bfigd_[A-Za-z0-9_-]{40}", Entropy(4.0)),
    row("contentful-token", "Contentful token", Medium, &["CFPAT-"], r"\bCFPAT-[A-Za-z0-9_-]{43}", Entropy(4.0)),
    row("postman-key", "Postman key", Medium, &["PMAK-"], r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}\b", Any),
    // Forms rather than issuers; these stand last.
    wide(row("jwt", "JSON Web Token", Medium, &["eyJ"], r"\b(?P<secret>eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,3000}\.[A-Za-z0-9_-]{16,1000})", Jwt), LONG),
    row("password-hash", "password hash", Medium, &[":$6$", ":$5$", ":$y$", ":$2", ":$1$", ":$argon2"], r"(?m)^[A-Za-z0-9_.-]{1,32}:(?P<secret>\$(?:1|2[abxy]|5|6|y|argon2id?)\$[^:\s]{20,200})(?::|\s|$)", Any),
    row("netrc", "password in a .netrc", High, &["machine "], r"\bmachine\s{1,8}\S{1,200}\s{1,20}login\s{1,8}\S{1,100}\s{1,20}password\s{1,8}(?P<secret>\S{6,200})", Entropy(2.3)),
    row("url-credentials", "password in a URL", High, &["://"], r#"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s:/@"'<>{}$%]{0,64}:(?P<secret>[^\s:/@"'<>{}$%*]{6,100})@[A-Za-z0-9.-]{2,}"#, Entropy(2.6)),
    row("generic-secret", "value of a secret", Medium, &["password", "passwd", "secret", "token", "api_key", "apikey", "api-key", "private_key"], r#"(?im)(?:^|[^a-z0-9])[a-z0-9_.-]{0,40}(?:password|passwd|secret|token|api[_-]?key|private_key)[a-z0-9_]{0,20}(?:["']?\s{0,4}(?:=>|:=|[:=])\s{0,4}["'](?P<secret>[A-Za-z0-9+/=_.!@#%^&*~-]{12,120})["'])"#, Entropy(3.6)),
    row("secret-variable", "secret in an environment file", Medium, &["PASSWORD=", "PASSWD=", "SECRET=", "TOKEN=", "API_KEY=", "SECRET_KEY="], r"(?m)^(?:export\s{1,4})?[A-Z][A-Z0-9_]{0,60}(?:PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|SECRET_KEY)=(?P<secret>[A-Za-z0-9+/=_.!@#%^&*~-]{10,120})\s*$", Entropy(3.0)),
];
