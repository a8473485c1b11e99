//! ID tokens: those that are there, those of a CI runner, and those that a person gets from
//! a provider by device code (RFC 8628) or in a browser (authorization code with PKCE,
//! RFC 7636, back to a port of this machine, RFC 8252).

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use palisade_trust::random_text;
use serde::Deserialize;

use super::super::Context;
use super::http::{Answer, Services};
use crate::cli::{self, OidcFlow};
use crate::exit::{Exit, Failure, OrExit as _};

/// Largest answer of a provider, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Largest ID token, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// How long a person may take.
const PERSON_WAIT: Duration = Duration::from_mins(10);
/// First lines of a browser's request, in bytes.
const REQUEST_BYTES_MAX: u64 = 16 << 10;
/// Connections to the port that the browser comes back to; others than it may come.
const CONNECTIONS_MAX: usize = 64;
/// How long one of them may take to say what it wants.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);

/// What a token must say.
pub(super) struct Asked<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// For whom a runner's token is to be.
    pub(super) audience: &'a str,
    /// What it is to carry.
    pub(super) nonce: Option<&'a str>,
}

/// A token that is there, or one that is asked for.
pub(super) fn token(
    context: &Context<'_>,
    args: &cli::Signer,
    provider: Option<&str>,
    audience: &str,
    nonce: Option<&str>,
) -> Result<String, Failure> {
    if let Some(path) = &args.identity_token {
        let bytes = super::read(path, "ID token", TOKEN_BYTES_MAX)?;
        return clean(&String::from_utf8_lossy(&bytes));
    }
    if args.oidc_flow == OidcFlow::Auto
        && let Some(token) = &context.environment.id_token
    {
        return clean(token);
    }
    let issuer = args.oidc_issuer.as_deref().or(provider).unwrap_or_default();
    ask(context, args, &Asked { issuer, client_id: &args.oidc_client_id, audience, nonce })
}

/// Asks for a token.
pub(super) fn ask(
    context: &Context<'_>,
    args: &cli::Signer,
    asked: &Asked<'_>,
) -> Result<String, Failure> {
    let has_runner = context.environment.id_token_request.is_some();
    match args.oidc_flow {
        OidcFlow::Ci => runner(context, asked),
        OidcFlow::Auto if has_runner => runner(context, asked),
        OidcFlow::Device => device(context, asked),
        OidcFlow::Browser => browser(context, asked),
        OidcFlow::Auto if std::io::stderr().is_terminal() && !asked.issuer.is_empty() => {
            browser(context, asked)
        }
        OidcFlow::Auto => Err(Failure::message(Exit::Usage, "there is no ID token").with_hint(
            "give --identity-token FILE or SIGSTORE_ID_TOKEN, or ask the provider of \
             --oidc-issuer by --oidc-flow device or browser",
        )),
    }
}

fn clean(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if text.split('.').count() == 3 && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_string());
    }
    Err(Failure::message(Exit::Usage, "the ID token is none: it has not three parts")
        .with_hint("an ID token is what the provider calls `id_token`"))
}

fn wrong(what: &str, problem: &str) -> Failure {
    Failure::message(Exit::Incomplete, format!("{what}: {problem}"))
        .with_hint("check --oidc-issuer and --oidc-client-id; nothing was signed")
}

fn json<T: serde::de::DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| wrong(what, "its answer is not what it must be"))
}

/// The runner of GitHub Actions, and others that offer the same two variables.
fn runner(context: &Context<'_>, asked: &Asked<'_>) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Token {
        value: String,
    }
    let what = "the runner";
    let Some((url, secret)) = &context.environment.id_token_request else {
        return Err(Failure::message(Exit::Usage, "this is no runner that gives ID tokens")
            .with_hint("on GitHub, the job needs `permissions: id-token: write`"));
    };
    let joint = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{joint}audience={}", encode(asked.audience));
    let headers = [("authorization", format!("Bearer {secret}"))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let answer = Services::new(context).get(what, &url, &headers, ANSWER_BYTES_MAX)?.expect(
        what,
        &url,
        &[200],
    )?;
    clean(&json::<Token>(what, &answer)?.value)
}

/// What a provider says of itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    token_endpoint: String,
    #[serde(default)]
    authorization_endpoint: Option<String>,
    #[serde(default)]
    device_authorization_endpoint: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    id_token: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

fn discover(services: &Services<'_>, issuer: &str) -> Result<Discovery, Failure> {
    let what = "the provider of ID tokens";
    if issuer.is_empty() {
        return Err(Failure::message(Exit::Usage, "no provider of ID tokens is named")
            .with_hint("use --oidc-issuer URL"));
    }
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let answer = services.get(what, &url, &[], ANSWER_BYTES_MAX)?.expect(what, &url, &[200])?;
    let found: Discovery = json(what, &answer)?;
    if found.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
        return Err(wrong(what, "it calls itself otherwise than it was named"));
    }
    Ok(found)
}

fn form(services: &Services<'_>, url: &str, fields: &[(&str, &str)]) -> Result<Answer, Failure> {
    let body: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let headers =
        [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")];
    let what = "the provider of ID tokens";
    services.post(what, url, &headers, body.join("&").as_bytes(), ANSWER_BYTES_MAX)
}

/// A code that the person types in elsewhere.
fn device(context: &Context<'_>, asked: &Asked<'_>) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Started {
        device_code: String,
        user_code: String,
        verification_uri: String,
        #[serde(default)]
        verification_uri_complete: Option<String>,
        #[serde(default)]
        interval: Option<u64>,
        #[serde(default)]
        expires_in: Option<u64>,
    }
    let what = "the provider of ID tokens";
    let services = Services::new(context);
    let provider = discover(&services, asked.issuer)?;
    let url = provider
        .device_authorization_endpoint
        .ok_or_else(|| wrong(what, "it has no device flow; use --oidc-flow browser"))?;
    let secret = random_text().or_exit(Exit::Incomplete)?;
    let challenge = palisade_trust::code_challenge(&secret);
    let mut fields = vec![
        ("client_id", asked.client_id),
        ("scope", "openid email"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    fields.extend(asked.nonce.map(|nonce| ("nonce", nonce)));
    let started: Started =
        json(what, &form(&services, &url, &fields)?.expect(what, &url, &[200])?)?;
    let page = started.verification_uri_complete.as_ref().unwrap_or(&started.verification_uri);
    let (page, code) = (printable(page), printable(&started.user_code));
    context.terminal.progress(&format!("open {page} and enter the code {code}"));
    let mut interval = Duration::from_secs(started.interval.unwrap_or(5).clamp(1, 60));
    let patience = Duration::from_secs(started.expires_in.unwrap_or(600)).min(PERSON_WAIT);
    let start = Instant::now();
    while start.elapsed() < patience {
        std::thread::sleep(interval);
        let fields = [
            ("client_id", asked.client_id),
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", &started.device_code),
            ("code_verifier", &secret),
        ];
        let answer = form(&services, &provider.token_endpoint, &fields)?;
        let answer: TokenAnswer = json(what, &answer.body)?;
        match (answer.id_token, answer.error.as_deref()) {
            (Some(token), _) => return clean(&token),
            (None, Some("authorization_pending")) => {}
            (None, Some("slow_down")) => interval += Duration::from_secs(5),
            (None, Some(error)) => return Err(wrong(what, &printable(error))),
            (None, None) => return Err(wrong(what, "it gave no ID token")),
        }
    }
    Err(wrong(what, "nobody entered the code in time"))
}

/// A page in a browser, which leads back to a port of this machine.
fn browser(context: &Context<'_>, asked: &Asked<'_>) -> Result<String, Failure> {
    let what = "the provider of ID tokens";
    let services = Services::new(context);
    let provider = discover(&services, asked.issuer)?;
    let page = provider
        .authorization_endpoint
        .ok_or_else(|| wrong(what, "it has no page for browsers; use --oidc-flow device"))?;
    let listener = TcpListener::bind("127.0.0.1:0")
        .map_err(|error| wrong("a port for the browser to come back to", &error.to_string()))?;
    let port = listener.local_addr().map(|it| it.port()).unwrap_or_default();
    let back = format!("http://localhost:{port}/auth/callback");
    let (secret, state) =
        (random_text().or_exit(Exit::Incomplete)?, random_text().or_exit(Exit::Incomplete)?);
    let challenge = palisade_trust::code_challenge(&secret);
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", asked.client_id),
        ("redirect_uri", &back),
        ("scope", "openid email"),
        ("state", &state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    fields.extend(asked.nonce.map(|nonce| ("nonce", nonce)));
    let query: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let joint = if page.contains('?') { '&' } else { '?' };
    let page = printable(&format!("{page}{joint}{}", query.join("&")));
    context.terminal.progress(&format!("open this page in a browser of this machine:\n{page}"));
    let code = wait_for_browser(&listener, &state)?;
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", asked.client_id),
        ("code", &code),
        ("redirect_uri", &back),
        ("code_verifier", &secret),
    ];
    let url = &provider.token_endpoint;
    let answer = form(&services, url, &fields)?.expect(what, url, &[200])?;
    let token = json::<TokenAnswer>(what, &answer)?.id_token;
    clean(&token.ok_or_else(|| wrong(what, "it gave no ID token"))?)
}

/// The code that the browser brings, with the state that it was sent away with.
fn wait_for_browser(listener: &TcpListener, state: &str) -> Result<String, Failure> {
    let what = "the browser";
    listener.set_nonblocking(true).map_err(|error| wrong(what, &error.to_string()))?;
    let start = Instant::now();
    let mut n_connections = 0;
    while start.elapsed() < PERSON_WAIT && n_connections < CONNECTIONS_MAX {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            Err(error) => return Err(wrong(what, &error.to_string())),
        };
        n_connections += 1;
        let Some(query) = read_query(&stream) else {
            reply(stream, "404 Not Found", "There is nothing here.");
            continue;
        };
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(decode))
        };
        // Another page could send a code of its own.
        if parameter("state").as_deref() != Some(state) {
            reply(stream, "400 Bad Request", "This is the answer to another question.");
            continue;
        }
        if let Some(error) = parameter("error") {
            reply(stream, "200 OK", "Nothing was signed. You may close this page.");
            return Err(wrong("the provider of ID tokens", &printable(&error)));
        }
        if let Some(code) = parameter("code") {
            reply(stream, "200 OK", "You may close this page.");
            return Ok(code);
        }
        reply(stream, "400 Bad Request", "There is no code.");
    }
    Err(wrong(what, "it did not come back in time"))
}

fn read_query(stream: &TcpStream) -> Option<String> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(CONNECTION_WAIT)).ok()?;
    let mut reader = BufReader::new(stream.take(REQUEST_BYTES_MAX));
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    // The rest of the head is read, so that closing does not reset the connection.
    let mut rest = String::new();
    while reader.read_line(&mut rest).ok()? > 0 && !rest.trim().is_empty() {
        rest.clear();
    }
    let path = line.strip_prefix("GET ")?.split(' ').next()?;
    path.strip_prefix("/auth/callback?").map(str::to_string)
}

fn reply(mut stream: TcpStream, status: &str, text: &str) {
    // Whether the page is seen changes nothing.
    let _ = stream.write_all(
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        )
        .as_bytes(),
    );
}

/// What a provider says, for a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(4000).collect()
}

/// Percent-encoding of everything but unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%'].into_iter().chain(format!("{byte:02X}").chars()));
        }
    }
    out
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'x'), bytes.next().unwrap_or(b'x')];
                let value = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                out.extend(value);
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_urls() {
        for text in ["", "a b&c=d", "ü/%+", "https://x.example/a?b#c"] {
            assert_eq!(decode(&encode(text)), text);
        }
        assert_eq!(encode("a b:c"), "a%20b%3Ac");
        assert_eq!(decode("%"), "");
        assert_eq!(decode("a+b%2Bc%zz"), "a b+c");
    }
}
