//! Requests to services elsewhere: Kubernetes, AWS, Google Cloud, a webhook.
//!
//! A request is data ([`requests`] is pure): what is sent can be read, and tests compare it.
//! The caller sends it. What was so already is success: a label that is there, a policy that
//! is gone.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_policy::playbook::Act;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Performed, Send};
use crate::order::Order;

/// The name of the policy that denies a role's sessions; AWS's own console uses it as well.
const AWS_REVOKE_POLICY: &str = "AWSRevokeOlderSessions";
/// Bytes of an answer that go into the log.
const ANSWER_CHARS_MAX: usize = 200;

/// Services elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remotes {
    /// The API server of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Cloud>,
    /// AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
    /// Google Cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp: Option<Cloud>,
    /// Certificates to trust besides the system's: the authority of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Bearer token for messages, if the receiver wants one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify_token_file: Option<String>,
}

/// A service that takes bearer tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// `https://HOST:PORT`; for Google Cloud empty, and then its own names.
    #[serde(default)]
    pub server: String,
    /// File with a token, read for each request: tokens are exchanged while we run.
    pub token_file: String,
}

/// AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// The region of instances.
    pub region: String,
    /// File with `access_key_id`, `secret_access_key` and perhaps `session_token` as JSON.
    pub credentials_file: String,
    /// In place of AWS's own names, for tests and for clouds of the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// Keys of AWS.
#[derive(Clone, Deserialize)]
pub(crate) struct AwsKeys {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: Option<String>,
}

/// How a request is signed before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// Not at all.
    No,
    /// With the bearer token in this file.
    Bearer(String),
    /// With AWS's signature, version 4, for this service in this region.
    Aws {
        /// `iam`, `ec2`.
        service: &'static str,
        /// The region.
        region: String,
        /// File with the keys.
        credentials_file: String,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The URL.
    pub url: String,
    /// Headers besides those of signature and length.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// How it is signed.
    pub signed: Signed,
    /// Statuses besides 2xx that mean that it was so already.
    pub unchanged: Vec<u16>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The service is not configured.
    #[error("no {0} is configured (see --remotes)")]
    NotConfigured(&'static str),
    /// A name would change the address.
    #[error("`{0}` is no name")]
    BadName(String),
    /// A file with a secret cannot be used.
    #[error("read `{path}`: {reason}")]
    Secret {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// A name as one part of a path: nothing in it leads elsewhere.
fn part(text: &str) -> Result<&str, RequestError> {
    let fits = !text.is_empty()
        && text.len() <= 253
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._@".contains(&b));
    fits.then_some(text).ok_or_else(|| RequestError::BadName(text.chars().take(64).collect()))
}

/// The requests that `act` comes to, in order; each must succeed before the next is sent.
///
/// # Errors
///
/// The service is not configured, or a name is none.
pub fn requests(remotes: &Remotes, act: &Act, order: &Order) -> Result<Vec<Request>, RequestError> {
    let kubernetes =
        || remotes.kubernetes.as_ref().ok_or(RequestError::NotConfigured("kubernetes"));
    let node = |node: &str, patch: &Value| -> Result<Vec<Request>, RequestError> {
        let path = format!("/api/v1/nodes/{}", part(node)?);
        Ok(vec![kubernetes_request(kubernetes()?, "PATCH", &path, Some(patch), &[])])
    };
    match act {
        Act::Cordon { node: name } => node(name, &json!({"spec": {"unschedulable": true}})),
        // A merge patch takes a key away by null (RFC 7386).
        Act::Uncordon { node: name } => node(name, &json!({"spec": {"unschedulable": null}})),
        Act::LabelNode { node: name, key, value } => {
            node(name, &json!({"metadata": {"labels": {key: value}}}))
        }
        Act::UnlabelNode { node: name, key } => {
            node(name, &json!({"metadata": {"labels": {key: null}}}))
        }
        Act::RevokeServiceAccount { namespace, account } => {
            let namespace = part(namespace.as_deref().unwrap_or_default())?;
            let (service, account) = (kubernetes()?, part(account)?);
            let all = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            // Tokens are bound to the account's uid: one of the same name has another.
            let fresh = json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {
                    "name": account,
                    "annotations": {"palisade.dev/revoked-by": order.id},
                },
            });
            Ok(vec![
                kubernetes_request(service, "DELETE", &format!("{all}/{account}"), None, &[404]),
                kubernetes_request(service, "POST", &all, Some(&fresh), &[409]),
            ])
        }
        Act::RevokeAwsSessions { role, before } => {
            // In whole seconds, as AWS writes times itself.
            let before = before.map(Timestamp::rfc3339).unwrap_or_default();
            let before = format!("{}Z", before.get(..19).unwrap_or_default());
            let document = json!({
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Deny",
                    "Action": ["*"],
                    "Resource": ["*"],
                    "Condition": {"DateLessThan": {"aws:TokenIssueTime": before}},
                }],
            });
            iam(
                remotes,
                &[
                    ("Action", "PutRolePolicy"),
                    ("PolicyDocument", &document.to_string()),
                    ("PolicyName", AWS_REVOKE_POLICY),
                    ("RoleName", part(role)?),
                ],
                &[],
            )
        }
        Act::AllowAwsSessions { role } => iam(
            remotes,
            &[
                ("Action", "DeleteRolePolicy"),
                ("PolicyName", AWS_REVOKE_POLICY),
                ("RoleName", part(role)?),
            ],
            &[404],
        ),
        Act::ProtectAwsInstance { instance } => ec2(remotes, instance, "true"),
        Act::UnprotectAwsInstance { instance } => ec2(remotes, instance, "false"),
        Act::DisableGcpKey { account, key } => gcp_key(remotes, account, key, "disable"),
        Act::EnableGcpKey { account, key } => gcp_key(remotes, account, key, "enable"),
        Act::ProtectGcpInstance { project, zone, instance } => {
            gcp_instance(remotes, (project, zone, instance), true)
        }
        Act::UnprotectGcpInstance { project, zone, instance } => {
            gcp_instance(remotes, (project, zone, instance), false)
        }
        Act::Notify { url, text } => Ok(vec![notify(remotes, url, text, order)]),
        other => Err(RequestError::BadName(other.name().to_string())),
    }
}

fn kubernetes_request(
    service: &Cloud,
    method: &'static str,
    path: &str,
    body: Option<&Value>,
    unchanged: &[u16],
) -> Request {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let mut headers = vec![("accept".to_string(), "application/json".to_string())];
    if body.is_some() {
        headers.push(("content-type".into(), kind.into()));
    }
    Request {
        method,
        url: format!("{}{path}", service.server.trim_end_matches('/')),
        headers,
        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        signed: Signed::Bearer(service.token_file.clone()),
        unchanged: unchanged.to_vec(),
    }
}

fn aws(
    remotes: &Remotes,
    (service, version): (&'static str, &str),
    fields: &[(&str, &str)],
    unchanged: &[u16],
) -> Result<Vec<Request>, RequestError> {
    let aws = remotes.aws.as_ref().ok_or(RequestError::NotConfigured("aws"))?;
    // IAM is one for all regions and signs for this one.
    let region = if service == "iam" { "us-east-1" } else { part(&aws.region)? };
    let own = if service == "iam" {
        "https://iam.amazonaws.com".to_string()
    } else {
        format!("https://{service}.{region}.amazonaws.com")
    };
    let server = aws.endpoint.clone().unwrap_or(own);
    let mut all: Vec<(&str, &str)> = fields.to_vec();
    all.push(("Version", version));
    all.sort_unstable();
    let body: Vec<String> =
        all.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    Ok(vec![Request {
        method: "POST",
        url: format!("{}/", server.trim_end_matches('/')),
        headers: vec![(
            "content-type".into(),
            "application/x-www-form-urlencoded; charset=utf-8".into(),
        )],
        body: body.join("&").into_bytes(),
        signed: Signed::Aws {
            service,
            region: region.to_string(),
            credentials_file: aws.credentials_file.clone(),
        },
        unchanged: unchanged.to_vec(),
    }])
}

fn iam(
    remotes: &Remotes,
    fields: &[(&str, &str)],
    unchanged: &[u16],
) -> Result<Vec<Request>, RequestError> {
    aws(remotes, ("iam", "2010-05-08"), fields, unchanged)
}

fn ec2(remotes: &Remotes, instance: &str, value: &str) -> Result<Vec<Request>, RequestError> {
    aws(
        remotes,
        ("ec2", "2016-11-15"),
        &[
            ("Action", "ModifyInstanceAttribute"),
            ("DisableApiTermination.Value", value),
            ("InstanceId", part(instance)?),
        ],
        &[],
    )
}

fn gcp(
    remotes: &Remotes,
    own: &str,
    path: &str,
    body: &Value,
) -> Result<Vec<Request>, RequestError> {
    let gcp = remotes.gcp.as_ref().ok_or(RequestError::NotConfigured("gcp"))?;
    let server = if gcp.server.is_empty() { own } else { gcp.server.trim_end_matches('/') };
    Ok(vec![Request {
        method: "POST",
        url: format!("{server}{path}"),
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.to_string().into_bytes(),
        signed: Signed::Bearer(gcp.token_file.clone()),
        unchanged: Vec::new(),
    }])
}

fn gcp_key(
    remotes: &Remotes,
    account: &str,
    key: &str,
    verb: &str,
) -> Result<Vec<Request>, RequestError> {
    let path =
        format!("/v1/projects/-/serviceAccounts/{}/keys/{}:{verb}", part(account)?, part(key)?);
    gcp(remotes, "https://iam.googleapis.com", &path, &json!({}))
}

fn gcp_instance(
    remotes: &Remotes,
    (project, zone, instance): (&str, &str, &str),
    protected: bool,
) -> Result<Vec<Request>, RequestError> {
    let path = format!(
        "/compute/v1/projects/{}/zones/{}/instances/{}/setDeletionProtection?deletionProtection={protected}",
        part(project)?,
        part(zone)?,
        part(instance)?
    );
    gcp(remotes, "https://compute.googleapis.com", &path, &json!({}))
}

fn notify(remotes: &Remotes, url: &str, text: &str, order: &Order) -> Request {
    let container = order.container.as_ref();
    let place = container.map_or("the host", |container| container.name.as_str());
    let said = if text.is_empty() {
        format!("{} in {place}", order.reason)
    } else {
        text.replace("{container}", place).replace("{incident}", &order.incident)
    };
    let body = json!({
        "schema": "palisade.dev/notification/v1",
        // The key that chat services show.
        "text": said,
        "incident": order.incident,
        "order": order.id,
        "owner": order.owner,
        "reason": order.reason,
        "container": container.map(|c| json!({"id": c.id, "name": c.name})),
    });
    Request {
        method: "POST",
        url: url.to_string(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.to_string().into_bytes(),
        signed: remotes.notify_token_file.clone().map_or(Signed::No, Signed::Bearer),
        unchanged: Vec::new(),
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3), as AWS wants it.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The headers of AWS's signature, version 4, of a request at `now`.
pub fn sign_aws(
    request: &Request,
    (service, region): (&str, &str),
    keys: &Value,
    now: Timestamp,
) -> Result<Vec<(String, String)>, RequestError> {
    let keys: AwsKeys = serde_json::from_value(keys.clone()).map_err(|error| {
        RequestError::Secret { path: "credentials".into(), reason: error.to_string() }
    })?;
    let compact: String =
        now.rfc3339().chars().filter(|c| !matches!(c, '-' | ':')).take(15).collect();
    let time = format!("{compact}Z");
    let date = time.get(..8).unwrap_or_default();
    let rest = request.url.split_once("://").map_or("", |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut headers: Vec<(String, String)> = request.headers.clone();
    headers.push(("host".into(), host.to_string()));
    headers.push(("x-amz-date".into(), time.clone()));
    if let Some(token) = &keys.session_token {
        headers.push(("x-amz-security-token".into(), token.clone()));
    }
    headers.sort();
    let lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = lines.concat();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let hash = |bytes: &[u8]| palisade_base::Digest::of(bytes).hex();
    let canonical = format!(
        "{}\n/{path}\n{query}\n{canonical}\n{names}\n{}",
        request.method,
        hash(&request.body)
    );
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(canonical.as_bytes()));
    let mut key = format!("AWS4{}", keys.secret_access_key).into_bytes();
    for step in [date, region, service, "aws4_request"] {
        key = hmac_sha256(&key, step.as_bytes()).to_vec();
    }
    let signature = palisade_base::Digest::from_bytes(hmac_sha256(&key, to_sign.as_bytes())).hex();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        keys.access_key_id
    );
    let mut added: Vec<(String, String)> =
        headers.into_iter().filter(|(name, _)| name.starts_with("x-amz-")).collect();
    added.push(("authorization".into(), authorization));
    Ok(added)
}

/// HMAC with SHA-256 (RFC 2104), over the workspace's one SHA-256.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let hash = |parts: [&[u8]; 2]| *palisade_base::Digest::of(&parts.concat()).as_bytes();
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(palisade_base::Digest::of(key).as_bytes());
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = hash([&block.map(|byte| byte ^ 0x36), message]);
    hash([&block.map(|byte| byte ^ 0x5c), &inner])
}

/// Sends what `act` comes to.
pub(super) fn perform(
    remotes: &Remotes,
    send: Send<'_>,
    act: &Act,
    order: &Order,
    deadline: Duration,
) -> Performed {
    let end = Instant::now() + deadline;
    let requests = match requests(remotes, act, order) {
        Ok(requests) => requests,
        Err(error) => return Performed::failed(error.to_string()),
    };
    let mut n_changed = 0;
    let mut last = String::new();
    for request in &requests {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Performed::failed(format!("the deadline passed before {}", request.url));
        }
        match send(request, left) {
            Ok(answer) if (200..300).contains(&answer.status) => {
                n_changed += 1;
                last = format!("{} {}: {}", request.method, request.url, answer.status);
            }
            Ok(answer) if request.unchanged.contains(&answer.status) => {
                last = format!("{} {}: {}", request.method, request.url, answer.status);
            }
            Ok(answer) => {
                let said: String = String::from_utf8_lossy(&answer.body)
                    .escape_debug()
                    .take(ANSWER_CHARS_MAX)
                    .collect();
                return Performed::failed(format!(
                    "{} {}: {} {said}",
                    request.method, request.url, answer.status
                ));
            }
            Err(reason) => {
                return Performed::failed(format!("{} {}: {reason}", request.method, request.url));
            }
        }
    }
    if n_changed > 0 { Performed::done(last) } else { Performed::unchanged(last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_the_standard() {
        // RFC 4231, test cases 2 and 6 (a key longer than a block).
        let hex = |bytes: [u8; 32]| palisade_base::Digest::from_bytes(bytes).hex();
        assert_eq!(
            hex(hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(hmac_sha256(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            )),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn the_signature_is_that_of_awss_own_example() {
        // "Signature Version 4 signing process", AWS General Reference: ListUsers.
        let request = Request {
            method: "GET",
            url: "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08".into(),
            headers: vec![(
                "content-type".into(),
                "application/x-www-form-urlencoded; charset=utf-8".into(),
            )],
            body: Vec::new(),
            signed: Signed::No,
            unchanged: Vec::new(),
        };
        let keys = json!({
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        });
        let now = "2015-08-30T12:36:00Z".parse().unwrap();
        let headers = sign_aws(&request, ("iam", "us-east-1"), &keys, now).unwrap();
        let authorization = &headers.iter().find(|(name, _)| name == "authorization").unwrap().1;
        assert_eq!(
            authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn no_name_leads_elsewhere() {
        for bad in ["", "..", "a/b", "a?b", "a b", "a#b", "é"] {
            assert!(part(bad).is_err(), "{bad}");
        }
        assert!(part("sa@project.iam.gserviceaccount.com").is_ok());
        assert_eq!(encode("a b/é~"), "a%20b%2F%C3%A9~");
    }
}
