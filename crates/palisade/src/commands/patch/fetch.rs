//! Brings what is at an address of a repository: over HTTP, or from a folder.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use palisade_base::read_bounded;
use palisade_http::{ClientOptions, TlsOptions};
use palisade_patch::{Fetch, FetchError, Mirror};

use super::Context;

/// The longest silence of a server.
const IDLE_MAX: Duration = Duration::from_mins(1);
const REDIRECTS_MAX: u32 = 5;
/// Attempts for one address.
const ATTEMPTS_MAX: u32 = 3;

/// Fetches; keeps nothing. What comes is proved by signature and digest, so that plain HTTP,
/// which Debian's repositories use, is as good as TLS.
pub(in crate::commands) struct Fetcher<'c> {
    context: &'c Context<'c>,
    folders: &'c Folders,
}

/// Folders of this machine in which files are opened. An image says where its repositories are,
/// and `file:` there means a folder of the image; what is opened here is for the caller to say.
#[derive(Debug)]
pub(in crate::commands) enum Folders {
    All,
    /// Addresses of the caller, `file:` in front.
    Of(Vec<String>),
}

impl Folders {
    pub(super) fn of(mirrors: &[Mirror]) -> Self {
        let all = mirrors.iter().map(|mirror| mirror.to.clone());
        Self::Of(all.filter(|to| to.starts_with("file:")).collect())
    }

    /// Whether the file at `address` may be opened. What follows the caller's part is the image's.
    fn allow(&self, address: &str) -> bool {
        let Self::Of(all) = self else { return true };
        let rest = all.iter().find_map(|own| address.strip_prefix(own.as_str()));
        rest.is_some_and(|rest| rest.split('/').all(|part| part != ".."))
    }
}

enum Failed {
    Passing(String),
    Final(String),
}

impl<'c> Fetcher<'c> {
    pub(in crate::commands) fn new(context: &'c Context<'c>, folders: &'c Folders) -> Self {
        Self { context, folders }
    }

    fn client(&self, url: &str) -> Result<ureq::Agent, String> {
        let uri: ureq::http::Uri = url.parse().map_err(|_| "it is no address".to_string())?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("only http, https and file are known".to_string()),
        };
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let host = uri.host().unwrap_or_default();
        let options = ClientOptions {
            user_agent: format!("palisade/{}", env!("CARGO_PKG_VERSION")),
            tls: is_https.then(TlsOptions::default),
            proxy: self.context.environment.proxies.of(is_https, host, port),
            timeout_total: None,
            timeout_idle: Some(IDLE_MAX),
        };
        palisade_http::client(&options).map_err(|error| error.to_string())
    }

    fn once(&self, address: &str, limit: u64) -> Result<Vec<u8>, Failed> {
        let mut url = address.to_string();
        for _ in 0..=REDIRECTS_MAX {
            let agent = self.client(&url).map_err(Failed::Final)?;
            let response =
                agent.get(&url).call().map_err(|error| Failed::Passing(error.to_string()))?;
            let status = response.status().as_u16();
            match status {
                200 => {
                    let body = response.into_body().into_reader();
                    return read_bounded(body, "answer", limit).map_err(|error| {
                        match palisade_base::LimitExceeded::find(&error) {
                            Some(_) => Failed::Final(error.to_string()),
                            None => Failed::Passing(error.to_string()),
                        }
                    });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let place = response.headers().get("location");
                    let place = place.and_then(|value| value.to_str().ok()).unwrap_or_default();
                    let next = super::super::db::join(&url, place);
                    if url.starts_with("https://") && !next.starts_with("https://") {
                        let why = "the server redirects to an address without TLS";
                        return Err(Failed::Final(why.to_string()));
                    }
                    url = next;
                }
                408 | 425 | 429 | 500..=599 => {
                    return Err(Failed::Passing(format!("the server answered {status}")));
                }
                _ => return Err(Failed::Final(format!("the server answered {status}"))),
            }
        }
        Err(Failed::Final("the server redirects without end".to_string()))
    }
}

impl Fetch for Fetcher<'_> {
    fn fetch(&self, address: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        if let Some(path) = address.strip_prefix("file:") {
            if !self.folders.allow(address) {
                let why = "it is a folder of the image, and no file of this machine is opened for \
                           it; --repository-mirror FROM=file:///DIR names one";
                return Err(FetchError(why.to_string()));
            }
            let path = path.strip_prefix("//").unwrap_or(path);
            return open(path)
                .and_then(|file| read_bounded(file, "file", limit))
                .map_err(|error| FetchError(error.to_string()));
        }
        let mut last = String::new();
        for n in 1..=ATTEMPTS_MAX {
            match self.once(address, limit) {
                Ok(bytes) => return Ok(bytes),
                Err(Failed::Final(why)) => return Err(FetchError(why)),
                Err(Failed::Passing(why)) => last = why,
            }
            if n < ATTEMPTS_MAX {
                std::thread::sleep(Duration::from_secs(u64::from(n)));
            }
        }
        Err(FetchError(last))
    }
}

/// Opens a plain file, and waits for nobody: a pipe's writer may never come.
fn open(path: &str) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_opened_where_the_caller_says() {
        let mirror = |to: &str| Mirror { from: "http://a".into(), to: to.into() };
        let some = Folders::of(&[mirror("file:///srv/mirror"), mirror("https://b")]);
        let check = |address: &str, expected: bool| {
            assert_eq!(some.allow(address), expected, "{address}");
        };
        check("file:///srv/mirror/dists/x/InRelease", true);
        check("file:///srv/mirror/../../etc/shadow", false);
        check("file:///etc/shadow", false);
        check("file:/srv/mirror/x", false);
        assert!(!Folders::of(&[]).allow("file:///etc/shadow"));
        assert!(Folders::All.allow("file:///etc/shadow"));
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path().to_str().unwrap()).is_err());
    }
}
