//! Servers that speak HTTP: what stands at well-known paths, and logins of HTTP itself.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Outcome, Server, credentials};
use crate::finding::{
    Check, Finding, HTTP_TRACE, NO_AUTHENTICATION, OPEN_INFORMATION, SENSITIVE_PAGE, shown,
};
use crate::http::{Response, is_whole, request};

/// A page that should not be there for everybody.
struct Page {
    /// Whose it is.
    of: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static [u8],
    /// Texts that its content shows, all of them.
    marks: &'static [&'static str],
    check: &'static Check,
    /// Where the maker says what to do about it.
    source: &'static str,
}

/// A page that is got, which shows `marks`.
const fn page(
    check: &'static Check,
    of: &'static str,
    path: &'static str,
    marks: &'static [&'static str],
    source: &'static str,
) -> Page {
    Page { of, method: "GET", path, body: b"", marks, check, source }
}

/// Whoever reads it commands the server.
const OPEN: &Check = &NO_AUTHENTICATION;
/// It holds secrets.
const SECRET: &Check = &SENSITIVE_PAGE;
/// It tells how the server is set up.
const TOLD: &Check = &OPEN_INFORMATION;

/// All of them. A mark is chosen so that an ordinary page does not have it.
#[rustfmt::skip] // a table
const PAGES: &[Page] = &[
    page(OPEN, "Elasticsearch", "/_cat/indices?format=json", &["\"health\"", "\"index\""], "Elasticsearch: Security settings"),
    page(OPEN, "Elasticsearch", "/", &["You Know, for Search"], "Elasticsearch: Security settings"),
    page(OPEN, "OpenSearch", "/", &["The OpenSearch Project"], "OpenSearch: Security"),
    Page { method: "POST", body: b"{\"key\":\"AA==\",\"range_end\":\"AA==\",\"limit\":\"1\",\"keys_only\":true}",
        ..page(OPEN, "etcd", "/v3/kv/range", &["\"header\"", "\"cluster_id\""], "etcd: Role-based access control") },
    page(OPEN, "etcd", "/v2/keys/", &["\"action\"", "\"node\""], "etcd: Role-based access control"),
    page(OPEN, "Docker Engine", "/containers/json?limit=1", &["[", "\"ImageID\""], "Docker: Protect the Docker daemon socket"),
    page(OPEN, "Docker Engine", "/version", &["\"ApiVersion\"", "\"MinAPIVersion\""], "Docker: Protect the Docker daemon socket"),
    page(OPEN, "kubelet", "/pods", &["\"PodList\""], "Kubernetes: Kubelet authentication/authorization"),
    page(OPEN, "kubelet", "/runningpods/", &["\"PodList\""], "Kubernetes: Kubelet authentication/authorization"),
    page(OPEN, "Kubernetes API", "/api/v1/namespaces/kube-system/secrets?limit=1", &["\"SecretList\""], "Kubernetes: Controlling access to the API"),
    page(OPEN, "Consul", "/v1/agent/self", &["\"Config\"", "\"Datacenter\""], "Consul: Access control"),
    page(OPEN, "Nomad", "/v1/nodes", &["\"SchedulingEligibility\""], "Nomad: Access control"),
    page(OPEN, "CouchDB", "/_all_dbs", &["[\"_replicator\""], "CouchDB: Security"),
    page(OPEN, "InfluxDB", "/query?q=SHOW+DATABASES", &["\"results\"", "\"databases\""], "InfluxDB: Authentication"),
    page(OPEN, "ClickHouse", "/?query=SELECT+version()%7C%7C%27-clickhouse%27", &["-clickhouse"], "ClickHouse: Access rights"),
    page(OPEN, "Solr", "/solr/admin/cores?wt=json", &["\"responseHeader\"", "\"status\""], "Solr: Authentication and authorization plug-ins"),
    page(OPEN, "Jupyter", "/api/kernels", &["\"execution_state\""], "Jupyter Server: Security"),
    page(OPEN, "Jenkins", "/script", &["Script Console"], "Jenkins: Access control"),
    page(OPEN, "Prometheus, its administration", "/api/v1/status/flags", &["\"web.enable-admin-api\":\"true\""], "Prometheus: Security model"),
    page(SECRET, "Git", "/.git/config", &["[core]", "repositoryformatversion"], "CWE-527"),
    page(SECRET, "environment file", "/.env", &["_KEY="], "CWE-538"),
    page(SECRET, "environment file", "/.env", &["PASSWORD="], "CWE-538"),
    page(SECRET, "Spring Boot", "/actuator/env", &["\"propertySources\""], "Spring Boot: Securing HTTP endpoints"),
    page(SECRET, "Spring Boot", "/actuator/heapdump", &["JAVA PROFILE"], "Spring Boot: Securing HTTP endpoints"),
    page(SECRET, "PHP", "/phpinfo.php", &["phpinfo()"], "CWE-200"),
    page(SECRET, "Go", "/debug/pprof/", &["/debug/pprof/", "goroutine"], "net/http/pprof"),
    page(SECRET, "Werkzeug", "/console", &["Werkzeug", "SECRET"], "Werkzeug: Debugging applications"),
    page(TOLD, "Apache", "/server-status", &["Apache Server Status"], "Apache: mod_status"),
    page(TOLD, "nginx", "/nginx_status", &["Active connections:"], "nginx: ngx_http_stub_status_module"),
    page(TOLD, "Elasticsearch-like", "/_nodes", &["\"cluster_name\"", "\"nodes\""], "Elasticsearch: Security settings"),
];

pub(super) fn get(server: &Server<'_>, bytes: &[u8]) -> io::Result<Option<Response>> {
    Ok(Response::parse(&server.ask(bytes, is_whole)?.bytes))
}

pub(super) fn examine(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    // A server that says yes to everything says yes to nothing in particular.
    let nonsense = get(server, &request("GET", "/palisade-probe-there-is-no-such-page", &[], b""))?;
    let mut found: Vec<&str> = Vec::new();
    for page in PAGES {
        if found.contains(&page.of) {
            continue;
        }
        let headers: &[(&str, &str)] =
            if page.body.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
        let Some(response) = get(server, &request(page.method, page.path, headers, page.body))?
        else {
            continue;
        };
        let shows = |response: &Response| page.marks.iter().all(|mark| response.says(mark));
        if response.status == 200 && shows(&response) && !nonsense.as_ref().is_some_and(shows) {
            let detail =
                format!("{}: `{} {}` is answered to anybody", page.of, page.method, page.path);
            let finding = Finding::new(page.check, detail).at(server.place);
            found.push(page.of);
            outcome.findings.push(
                finding
                    .with(&shown(&response.body, super::SHOWN_BYTES_MAX))
                    .with(&format!("see: {}", page.source)),
            );
        }
    }
    trace(server, outcome)?;
    for path in ["/", "/manager/html", "/api/whoami", "/admin", "/login"] {
        if basic(server, path, outcome)? {
            break;
        }
    }
    Ok(())
}

fn trace(server: &Server<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let sent = request("TRACE", "/", &[("X-Probe", "comes-back")], b"");
    if let Some(response) = get(server, &sent)?
        && response.status == 200
        && response.says("X-Probe: comes-back")
    {
        outcome
            .findings
            .push(Finding::new(&HTTP_TRACE, "`TRACE /` sends the request back").at(server.place));
    }
    Ok(())
}

/// Tries well-known passwords where HTTP's own authentication is asked for; whether one was taken.
fn basic(server: &Server<'_>, path: &str, outcome: &mut Outcome) -> io::Result<bool> {
    let asks = |response: &Response| {
        response.status == 401
            && response.headers.iter().any(|(name, value)| {
                name == "www-authenticate" && value.to_ascii_lowercase().starts_with("basic")
            })
    };
    if !get(server, &request("GET", path, &[], b""))?.as_ref().is_some_and(asks) {
        return Ok(false);
    }
    let login = |user: &str, password: &str| -> io::Result<Option<u16>> {
        let header = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let answer = get(server, &request("GET", path, &[("Authorization", &header)], b""))?;
        Ok(answer.map(|answer| answer.status).filter(|status| (200..400).contains(status)))
    };
    for credential in credentials::of("http") {
        if let Some(status) = login(credential.user, credential.password)? {
            let finding = if login(credential.user, credentials::NOBODYS)?.is_some() {
                server.takes_any(credential.user)
            } else {
                server.taken(credential)
            };
            outcome.findings.push(finding.with(&format!("GET {path} is answered with {status}")));
            return Ok(true);
        }
    }
    Ok(false)
}
