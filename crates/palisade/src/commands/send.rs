//! Sends the requests of responses: signs, sends, and gives the answer back as it is.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_http::{ClientOptions, TlsOptions};
use palisade_respond::hands::{Answer, Request, Signed, sign_aws};
use ureq::http;

/// Bytes of a file with a secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

fn secret(path: &str) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("read `{path}`: {error}"))?;
    let bytes = palisade_base::read_bounded(file, "credentials", SECRET_BYTES_MAX)
        .map_err(|error| format!("read `{path}`: {error}"))?;
    String::from_utf8(bytes).map_err(|_| format!("read `{path}`: not text"))
}

/// The headers that sign `request`. Secrets are read for each request, because they are
/// exchanged while we run, and never leave by any other way.
fn signature(request: &Request) -> Result<Vec<(String, String)>, String> {
    match &request.signed {
        Signed::No => Ok(Vec::new()),
        Signed::Bearer(file) => {
            Ok(vec![("authorization".into(), format!("Bearer {}", secret(file)?.trim()))])
        }
        Signed::Aws { service, region, credentials_file } => {
            let keys = serde_json::from_str(&secret(credentials_file)?)
                .map_err(|error| format!("read `{credentials_file}`: {error}"))?;
            sign_aws(request, (service, region), &keys, Timestamp::now())
                .map_err(|error| error.to_string())
        }
    }
}

/// Sends `request` within `deadline`; `ca` is trusted besides the system's roots.
pub(crate) fn send(
    request: &Request,
    deadline: Duration,
    ca: Option<&Path>,
) -> Result<Answer, String> {
    let tls = request.url.starts_with("https:").then(|| TlsOptions {
        besides: ca.map(Path::to_path_buf).into_iter().collect(),
        ..TlsOptions::default()
    });
    let client = palisade_http::client(&ClientOptions {
        user_agent: concat!("palisade/", env!("CARGO_PKG_VERSION")).into(),
        tls,
        timeout_total: Some(deadline),
        ..ClientOptions::default()
    })
    .map_err(|error| error.to_string())?;
    let mut builder = http::Request::builder().method(request.method).uri(&request.url);
    for (name, value) in request.headers.iter().cloned().chain(signature(request)?) {
        builder = builder.header(name, value);
    }
    let message = builder.body(request.body.clone()).map_err(|error| error.to_string())?;
    let mut response = client.run(message).map_err(|error| error.to_string())?;
    let mut body = Vec::new();
    let reader = response.body_mut().as_reader();
    reader.take(ANSWER_BYTES_MAX).read_to_end(&mut body).map_err(|error| error.to_string())?;
    Ok(Answer { status: response.status().as_u16(), body })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use palisade_model::{Container, Engine};
    use palisade_policy::playbook::{Act, Step};
    use palisade_respond::Order;
    use palisade_respond::hands::{Aws, Cloud, Remotes, requests};

    use super::*;

    /// What a server was sent: the request's line, its headers in lower case, its body.
    type Received = (String, Vec<String>, String);

    /// A server that answers with the statuses in order, and what it was sent.
    fn server(statuses: &'static [u16]) -> (String, std::thread::JoinHandle<Vec<Received>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            for status in statuses {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let mut headers = Vec::new();
                loop {
                    let mut header = String::new();
                    reader.read_line(&mut header).unwrap();
                    if header.trim().is_empty() {
                        break;
                    }
                    let (name, value) = header.trim().split_once(':').unwrap();
                    headers.push(format!("{}:{value}", name.to_ascii_lowercase()));
                }
                let length = headers.iter().find_map(|h| h.strip_prefix("content-length:"));
                let length = length.map_or(0, |text| text.trim().parse().unwrap());
                let mut body = vec![0; length];
                std::io::Read::read_exact(&mut reader, &mut body).unwrap();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
                );
                stream.write_all(answer.as_bytes()).unwrap();
                all.push((line.trim().to_string(), headers, String::from_utf8(body).unwrap()));
            }
            all
        });
        (format!("http://{address}"), thread)
    }

    fn order() -> Order {
        let container = Container {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            engine: Engine::Docker,
            image: None,
            policy: None,
            pod: None,
            cgroup: None,
            init_pid: None,
        };
        let now = Timestamp::from_nanos(1);
        Order::by_hand(Step::of("s", Act::Freeze), Some(container), ("me", "why"), now).unwrap()
    }

    /// Sends what `act` comes to, to a server that answers with `statuses`.
    fn sent(act: &Act, statuses: &'static [u16]) -> Vec<Received> {
        let (url, thread) = server(statuses);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let token = file("token", "secret-token\n");
        let keys = r#"{"access_key_id": "AKID", "secret_access_key": "s", "session_token": "st"}"#;
        let cloud = Cloud { server: url.clone(), token_file: token };
        let remotes = Remotes {
            kubernetes: Some(cloud.clone()),
            aws: Some(Aws {
                region: "eu-central-1".into(),
                credentials_file: file("keys", keys),
                endpoint: Some(url.clone()),
            }),
            gcp: Some(cloud),
            ..Remotes::default()
        };
        let mut act = act.clone();
        if let Act::Notify { url: to, .. } = &mut act {
            *to = format!("{url}{to}");
        }
        for request in requests(&remotes, &act, &order()).unwrap() {
            let answer = send(&request, Duration::from_secs(10), None).unwrap();
            let fits =
                (200..300).contains(&answer.status) || request.unchanged.contains(&answer.status);
            assert!(fits, "{answer:?}");
        }
        thread.join().unwrap()
    }

    fn has(received: &Received, header: &str) -> bool {
        received.1.iter().any(|known| known.replace(": ", ":").starts_with(header))
    }

    #[test]
    fn kubernetes_is_asked_as_its_api_says() {
        let node = "/api/v1/nodes/node-1 HTTP/1.1";
        let (node_name, key) = ("node-1".to_string(), "quarantine".to_string());
        for (act, body) in [
            (Act::Cordon { node: node_name.clone() }, r#"{"spec":{"unschedulable":true}}"#),
            (Act::Uncordon { node: node_name.clone() }, r#"{"spec":{"unschedulable":null}}"#),
            (
                Act::LabelNode { node: node_name.clone(), key: key.clone(), value: "yes".into() },
                r#"{"metadata":{"labels":{"quarantine":"yes"}}}"#,
            ),
            (
                Act::UnlabelNode { node: node_name, key },
                r#"{"metadata":{"labels":{"quarantine":null}}}"#,
            ),
        ] {
            let received = sent(&act, &[200]);
            assert_eq!(received[0].0, format!("PATCH {node}"));
            assert_eq!(received[0].2, body);
            assert!(has(&received[0], "authorization:Bearer secret-token"), "{received:?}");
            assert!(has(&received[0], "content-type:application/merge-patch+json"));
        }
        let revoke =
            Act::RevokeServiceAccount { namespace: Some("shop".into()), account: "web".into() };
        // The account is gone already; it is made anew all the same.
        let received = sent(&revoke, &[404, 201]);
        let all = "/api/v1/namespaces/shop/serviceaccounts";
        assert_eq!(received[0].0, format!("DELETE {all}/web HTTP/1.1"));
        assert_eq!(received[1].0, format!("POST {all} HTTP/1.1"));
        assert!(received[1].2.contains(r#""kind":"ServiceAccount""#), "{}", received[1].2);
        assert!(received[1].2.contains(r#""name":"web""#));
    }

    #[test]
    fn aws_is_asked_with_a_signature() {
        let revoke = Act::RevokeAwsSessions {
            role: "web-role".into(),
            before: Some("2026-11-28T00:00:00Z".parse().unwrap()),
        };
        let received = sent(&revoke, &[200]);
        assert_eq!(received[0].0, "POST / HTTP/1.1");
        let body = &received[0].2;
        assert!(body.starts_with("Action=PutRolePolicy&PolicyDocument=%7B"), "{body}");
        assert!(body.contains("aws%3ATokenIssueTime%22%3A%222026-11-28T00%3A00%3A00"), "{body}");
        assert!(body.contains("&RoleName=web-role&Version=2010-05-08"), "{body}");
        assert!(has(&received[0], "authorization:AWS4-HMAC-SHA256 Credential=AKID/"));
        assert!(has(&received[0], "x-amz-security-token:st"));
        let allow = sent(&Act::AllowAwsSessions { role: "web-role".into() }, &[404]);
        assert!(
            allow[0].2.starts_with("Action=DeleteRolePolicy&PolicyName=AWSRevokeOlderSessions")
        );
        for (act, value) in [
            (Act::ProtectAwsInstance { instance: "i-1".into() }, "true"),
            (Act::UnprotectAwsInstance { instance: "i-1".into() }, "false"),
        ] {
            let body = sent(&act, &[200])[0].2.clone();
            let wanted = format!(
                "Action=ModifyInstanceAttribute&DisableApiTermination.Value={value}&InstanceId=i-1&Version=2016-11-15"
            );
            assert_eq!(body, wanted);
        }
    }

    #[test]
    fn google_cloud_and_webhooks_are_asked_as_they_say() {
        let (account, key) = ("sa@p.iam.gserviceaccount.com".to_string(), "k1".to_string());
        for (act, verb) in [
            (Act::DisableGcpKey { account: account.clone(), key: key.clone() }, "disable"),
            (Act::EnableGcpKey { account: account.clone(), key }, "enable"),
        ] {
            let line = sent(&act, &[200])[0].0.clone();
            let path = format!("/v1/projects/-/serviceAccounts/{account}/keys/k1:{verb}");
            assert_eq!(line, format!("POST {path} HTTP/1.1"));
        }
        let act = Act::ProtectGcpInstance {
            project: "p".into(),
            zone: "z".into(),
            instance: "vm".into(),
        };
        assert_eq!(
            sent(&act, &[200])[0].0,
            "POST /compute/v1/projects/p/zones/z/instances/vm/setDeletionProtection?deletionProtection=true HTTP/1.1"
        );
        let act = Act::Notify { url: "/hook".into(), text: "{container} is frozen".into() };
        let received = sent(&act, &[204]);
        assert_eq!(received[0].0, "POST /hook HTTP/1.1");
        assert!(received[0].2.contains(r#""text":"web is frozen""#), "{}", received[0].2);
    }
}
