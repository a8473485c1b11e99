//! Fetches feeds: again only when they changed, from where it broke off, and not without end.
//!
//! What was fetched stays in `<data-dir>/feeds`: the file, and beside it what the server called
//! it (`ETag`, `Last-Modified`) and its digest: a file that is not what was fetched is fetched
//! anew. A transfer that breaks off goes on there (`Range` with `If-Range`); a server that is busy
//! is asked again, after the time that it names. One process at a time writes there.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use palisade_base::{Digest, DigestReader, Timestamp};
use palisade_http::{Backoff, ClientOptions, TlsOptions, retry_after};
use palisade_scan::db::update::UpdateLock;
use palisade_scan::feeds::catalogue::{Feed, Origin};
use palisade_scan::feeds::resolve::{
    self, LIST_BYTES_MAX, PAGE_BYTES_MAX, PAGES_MAX, ResolveError, Way,
};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::exit::{Exit, Failure, OrExit as _};

/// A feed beyond this many bytes, as it is sent, is refused.
const FEED_BYTES_MAX: u64 = 4 << 30;
/// Attempts for one address.
const ATTEMPTS_MAX: u32 = 5;
/// The longest wait between two attempts, and of all together.
const WAIT_MAX: Duration = Duration::from_secs(30);
const WAITS_MAX: Duration = Duration::from_mins(3);
/// The longest silence of a server.
const IDLE_MAX: Duration = Duration::from_mins(1);
const REDIRECTS_MAX: u32 = 5;
/// What was noted of a file beyond this many bytes is not read.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// A fetched feed.
pub(super) struct Fetched {
    /// The file.
    pub(super) file: PathBuf,
    /// When it was the newest that the server had.
    pub(super) time: Timestamp,
    /// It could not be fetched now and is that of an earlier time.
    pub(super) is_old: bool,
}

/// What is known of a file that was fetched.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    address: String,
    etag: Option<String>,
    last_modified: Option<String>,
    /// Nanoseconds since the epoch.
    fetched: u64,
    bytes: u64,
    digest: Digest,
}

/// What a server called what it sent.
struct Called {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// Fetches over HTTP.
pub(super) struct Fetcher<'c> {
    context: &'c Context<'c>,
    mirror: Option<String>,
    is_plain_allowed: bool,
    /// Servers that gave nothing in all attempts: they are asked once from then on.
    tired: RefCell<BTreeSet<String>>,
}

/// Why one attempt gave nothing.
enum Failed {
    /// Later it may.
    Passing(String, Option<Duration>),
    /// It never will.
    Final(String, &'static str),
}

impl<'c> Fetcher<'c> {
    pub(super) fn new(context: &'c Context<'c>, mirror: Option<&str>, plain: bool) -> Self {
        let mirror = mirror.map(|text| text.trim_end_matches('/').to_string());
        Self { context, mirror, is_plain_allowed: plain, tired: RefCell::default() }
    }

    /// Where a public address is fetched: below the mirror, if there is one.
    pub(super) fn shown(&self, address: &str) -> String {
        match (&self.mirror, address.split_once("://")) {
            (Some(mirror), Some((_, rest))) => format!("{mirror}/{rest}"),
            _ => address.to_string(),
        }
    }

    /// What it says of a feed's age that it was fetched at `time`.
    pub(super) fn origin(&self, feed: &Feed, address: &str, time: Timestamp) -> Origin {
        origin(self.mirror.as_deref(), feed, address, time)
    }

    /// Takes the folder of what was fetched for this process, and clears away the parts of
    /// transfers that a killed one left.
    pub(super) fn lock(&self) -> Result<UpdateLock, Failure> {
        let folder = self.folder()?;
        let lock = UpdateLock::take(&folder).or_exit(Exit::Incomplete)?;
        let shown = || format!("read folder `{}`", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(shown)? {
            let path = entry.with_context(shown)?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(lock)
    }

    fn folder(&self) -> Result<PathBuf, Failure> {
        let folder = self.context.global.data_dir.join("feeds");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("create folder `{}`", folder.display()))?;
        Ok(folder)
    }

    /// The feed at a public address: what is there, or what it leads to.
    pub(super) fn feed(&self, feed: &Feed, address: &str) -> Result<Fetched, Failure> {
        let name = feed.name;
        let folder = self.folder()?;
        let digest = Digest::of(self.shown(address).as_bytes()).hex();
        let last = address.rsplit('/').next().unwrap_or_default();
        let safe: String = format!("{name}-{}-{last}", &digest[..8])
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
            .collect();
        let file = folder.join(&safe);
        let note_path = folder.join(format!("{safe}.note"));
        let note = read_note(&note_path).filter(|note| note.is_of(&file));
        let fetched = match resolve::way(feed.form, address) {
            Way::Pages => self.pages(address, &file).map(Some),
            way => self.located(way, address).and_then(|address| {
                let url = self.shown(&address);
                let known = note.as_ref().filter(|note| note.address == url);
                self.to_file(&url, &file, known)
            }),
        };
        match fetched {
            Ok(fresh) => {
                // Not changed: it is what it was, and the newest that the server has.
                let now = Timestamp::now().as_nanos();
                let unchanged = || note.map(|note| Note { fetched: now, ..note });
                let Some(note) = fresh.or_else(unchanged) else {
                    let why = format!("fetch {address}: the server sent nothing where nothing was");
                    return Err(Failure::message(Exit::Incomplete, why)
                        .with_hint("check the address, or name a mirror with --mirror"));
                };
                Self::keep_note(&note_path, &note)?;
                Ok(Fetched { file, time: Timestamp::from_nanos(note.fetched), is_old: false })
            }
            Err(failure) => match note {
                Some(note) => {
                    let time = Timestamp::from_nanos(note.fetched);
                    self.context.terminal.error(&format!(
                        "warning: {name} could not be fetched, what was fetched {time} is used\n{}",
                        failure.render()
                    ));
                    Ok(Fetched { file, time, is_old: true })
                }
                None => Err(failure),
            },
        }
    }

    /// Where the file lies to which what is at `address` leads.
    fn located(&self, way: Way, address: &str) -> Result<String, Failure> {
        let list = |address: &str| self.bytes(&self.shown(address), LIST_BYTES_MAX);
        let found = match way {
            Way::File | Way::Pages => return Ok(address.to_string()),
            Way::Latest => resolve::latest(address, &list(address)?),
            Way::Repository => resolve::updateinfo(address, &list(address)?),
            Way::Mirrors => {
                let repository = resolve::mirror(address, &list(address)?);
                let repository = repository.or_exit(Exit::Incomplete)?;
                resolve::updateinfo(&repository, &list(&repository)?)
            }
        };
        let found = found.or_exit(Exit::Incomplete)?;
        self.context.terminal.progress(&format!("fetching {}", self.shown(&found)));
        Ok(found)
    }

    /// Fetches page after page into one list of notices.
    fn pages(&self, address: &str, file: &Path) -> Result<Note, Failure> {
        let part = self.part()?;
        let shown = || format!("write `{}`", file.display());
        let mut out = io::BufWriter::new(part.as_file());
        let (mut n_pages, mut n_bytes, mut n_notices) = (0, 0_u64, 0_u64);
        let mut next = Some(address.to_string());
        while let Some(at) = next {
            n_pages += 1;
            if n_pages > PAGES_MAX || n_bytes > FEED_BYTES_MAX {
                return Err(ResolveError::Endless(address.to_string())).or_exit(Exit::Incomplete);
            }
            let bytes = self.bytes(&self.shown(&at), PAGE_BYTES_MAX)?;
            n_bytes += bytes.len() as u64;
            let page = resolve::page(&at, &bytes).or_exit(Exit::Incomplete)?;
            for notice in &page.notices {
                out.write_all(if n_notices == 0 { b"[" } else { b"," })
                    .and_then(|()| Ok(serde_json::to_writer(&mut out, notice)?))
                    .with_context(shown)?;
                n_notices += 1;
            }
            next = page.next.filter(|next| *next != at);
            if n_pages % 20 == 0 {
                let text = format!("{n_notices} notices on {n_pages} pages so far");
                self.context.terminal.progress(&text);
            }
        }
        let end: &[u8] = if n_notices == 0 { b"[]" } else { b"]" };
        out.write_all(end).and_then(|()| out.flush()).with_context(shown)?;
        drop(out);
        let called = Called { etag: None, last_modified: None };
        settle(part, file, address, called)
    }

    /// The file of a transfer, gone when dropped: what broke off for good takes no room.
    fn part(&self) -> Result<tempfile::NamedTempFile, Failure> {
        let folder = self.folder()?;
        Ok(tempfile::Builder::new()
            .suffix(".part")
            .tempfile_in(&folder)
            .with_context(|| format!("write into `{}`", folder.display()))?)
    }

    fn keep_note(path: &Path, note: &Note) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(note).context("write a note")?;
        Ok(palisade_base::fs::write_atomic(path, &bytes, 0o644)
            .with_context(|| format!("write `{}`", path.display()))?)
    }

    /// A file of its own that is gone when dropped.
    pub(super) fn scratch(&self, bytes: &[u8]) -> Result<tempfile::NamedTempFile, Failure> {
        let folder = self.folder()?;
        let make = || {
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            file.write_all(bytes)?;
            Ok::<_, io::Error>(file)
        };
        Ok(make().with_context(|| format!("write into `{}`", folder.display()))?)
    }

    /// The bytes at an address, at most `limit`.
    pub(super) fn bytes(&self, url: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut got = Vec::new();
        self.attempts(url, || {
            got.clear();
            let response = self.ask(url, &[])?;
            let status = response.status().as_u16();
            if status != 200 {
                return Err(unexpected(status, &response));
            }
            let body = response.into_body().into_reader();
            got = palisade_base::read_bounded(body, "answer", limit).map_err(|error| {
                match palisade_base::LimitExceeded::find(&error) {
                    Some(_) => Failed::Final(error.to_string(), "check the address"),
                    None => Failed::Passing(error.to_string(), None),
                }
            })?;
            Ok(())
        })?;
        Ok(got)
    }

    /// Fetches into `file`; none when it is still what the server has.
    fn to_file(
        &self,
        url: &str,
        file: &Path,
        note: Option<&Note>,
    ) -> Result<Option<Note>, Failure> {
        let part = self.part()?;
        let mut begun: Option<String> = None;
        let mut result = None;
        self.attempts(url, || {
            let n_have = part.as_file().metadata().map_or(0, |status| status.len());
            let mut headers: Vec<(&str, String)> = Vec::new();
            match (&begun, note) {
                (Some(tag), _) if n_have > 0 => {
                    headers.push(("range", format!("bytes={n_have}-")));
                    headers.push(("if-range", tag.clone()));
                }
                (_, Some(note)) => {
                    headers.extend(note.etag.iter().map(|tag| ("if-none-match", tag.clone())));
                    let since = note.last_modified.iter();
                    headers.extend(since.map(|time| ("if-modified-since", time.clone())));
                }
                _ => {}
            }
            let response = self.ask(url, &headers)?;
            let header = |name: &str| {
                let value = response.headers().get(name)?.to_str().ok()?;
                Some(value.to_string())
            };
            let status = response.status().as_u16();
            let is_rest = status == 206 && n_have > 0 && starts_at(header("content-range"), n_have);
            match status {
                304 => {
                    result = None;
                    return Ok(());
                }
                200 => {}
                206 if is_rest => {}
                _ => return Err(unexpected(status, &response)),
            }
            let called = Called { etag: header("etag"), last_modified: header("last-modified") };
            // A weak validator does not promise the same bytes.
            let strong = called.etag.clone().filter(|tag| !tag.starts_with("W/"));
            begun = strong.or_else(|| called.last_modified.clone());
            let length = header("content-length").and_then(|text| text.parse::<u64>().ok());
            let start = if is_rest { n_have } else { 0 };
            let body = response.into_body().into_reader();
            store(body, (part.as_file(), file), start, length)?;
            result = Some(called);
            Ok(())
        })?;
        result.map(|called| settle(part, file, url, called)).transpose()
    }

    /// Tries until it works, it cannot work, or enough time has passed.
    fn attempts(
        &self,
        url: &str,
        mut attempt: impl FnMut() -> Result<(), Failed>,
    ) -> Result<(), Failure> {
        let seed = Timestamp::now().as_nanos();
        let mut backoff = Backoff::new(Duration::from_secs(1), WAIT_MAX, seed);
        let mut waited = Duration::ZERO;
        let failure = |why: &str, hint: &str| {
            Failure::message(Exit::Incomplete, format!("fetch {url}: {why}"))
                .with_hint(hint.to_string())
        };
        let server = url.split('/').nth(2).unwrap_or_default();
        let is_tired = self.tired.borrow().contains(server);
        let n_attempts = if is_tired { 1 } else { ATTEMPTS_MAX };
        for n in 1..=n_attempts {
            let (why, wait) = match attempt() {
                Ok(()) => return Ok(()),
                Err(Failed::Final(why, hint)) => return Err(failure(&why, hint)),
                Err(Failed::Passing(why, wait)) => (why, wait),
            };
            let wait = wait.unwrap_or_else(|| backoff.wait());
            if n == n_attempts || waited + wait > WAITS_MAX {
                self.tired.borrow_mut().insert(server.to_string());
                let hint = "try again later, or name a mirror (--mirror) or a file; the database \
                            that is there is still used";
                return Err(failure(&why, hint));
            }
            self.context.terminal.progress(&format!("{why}; once more in {} s", wait.as_secs()));
            std::thread::sleep(wait);
            waited += wait;
        }
        Ok(())
    }

    /// One request, with its redirects.
    fn ask(
        &self,
        url: &str,
        headers: &[(&str, String)],
    ) -> Result<ureq::http::Response<ureq::Body>, Failed> {
        let mut url = url.to_string();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client(&url)?.get(&url);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let response = request.call().map_err(|error| match error {
                ureq::Error::BadUri(_) | ureq::Error::Tls(_) | ureq::Error::HostNotFound => {
                    Failed::Final(error.to_string(), "check the address and the network")
                }
                other => Failed::Passing(other.to_string(), None),
            })?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let place = response.headers().get("location").and_then(|value| value.to_str().ok());
            let next = join(&url, place.unwrap_or_default());
            let is_safe = next.starts_with("https://") || !url.starts_with("https://");
            if !is_safe {
                let why = "the server redirects to an address without TLS".to_string();
                return Err(Failed::Final(why, "check the address"));
            }
            url = next;
        }
        Err(Failed::Final("the server redirects more than five times".into(), "check the address"))
    }

    fn client(&self, url: &str) -> Result<ureq::Agent, Failed> {
        let bad = |why: String| Failed::Final(why, "give an https address, a file or a folder");
        let uri: ureq::http::Uri =
            url.parse().map_err(|_| bad(format!("`{url}` is no address")))?;
        let host = uri.host().unwrap_or_default();
        let is_https = uri.scheme_str() == Some("https");
        let is_own = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if !is_https && !(uri.scheme_str() == Some("http") && (is_own || self.is_plain_allowed)) {
            let why = format!("`{url}` is no https address");
            return Err(Failed::Final(why, "use https, or allow others with --plain-http"));
        }
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let options = ClientOptions {
            user_agent: format!("palisade/{}", env!("CARGO_PKG_VERSION")),
            tls: is_https.then(TlsOptions::default),
            proxy: self.context.environment.proxies.of(is_https, host, port),
            timeout_total: None,
            timeout_idle: Some(IDLE_MAX),
        };
        palisade_http::client(&options).map_err(|error| bad(error.to_string()))
    }
}

/// Only at its publisher's own address nothing newer was to be had.
fn origin(mirror: Option<&str>, feed: &Feed, address: &str, time: Timestamp) -> Origin {
    if mirror.is_none() && feed.addresses.contains(&address) {
        Origin::Publisher(time)
    } else {
        Origin::Copy(Some(time))
    }
}

/// Puts what was fetched in its place.
fn settle(
    part: tempfile::NamedTempFile,
    file: &Path,
    url: &str,
    called: Called,
) -> Result<Note, Failure> {
    let Called { etag, last_modified } = called;
    let fetched = Timestamp::now().as_nanos();
    let put = || {
        part.as_file().sync_all()?;
        let (digest, bytes) = digest_of(part.path())?;
        part.persist(file).map_err(|failed| failed.error)?;
        let address = url.to_string();
        Ok::<_, io::Error>(Note { address, etag, last_modified, fetched, bytes, digest })
    };
    Ok(put().with_context(|| format!("write `{}`", file.display()))?)
}

/// Appends a body to the part of what becomes the file `shown`, after its first `start` bytes.
fn store(
    body: impl io::Read,
    (mut file, shown): (&File, &Path),
    start: u64,
    length: Option<u64>,
) -> Result<(), Failed> {
    let disk = |error: &io::Error| {
        Failed::Final(
            format!("write `{}`: {error}", shown.display()),
            "free space; the database that is there is still used",
        )
    };
    file.set_len(start).map_err(|error| disk(&error))?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(start)).map_err(|error| disk(&error))?;
    let mut body = body.take(FEED_BYTES_MAX - start.min(FEED_BYTES_MAX) + 1);
    let (mut buffer, mut n_body) = (vec![0; 64 << 10], 0_u64);
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) => return Err(Failed::Passing(error.to_string(), None)),
        };
        file.write_all(&buffer[..n]).map_err(|error| disk(&error))?;
        n_body += n as u64;
    }
    if start + n_body > FEED_BYTES_MAX {
        return Err(Failed::Final("the feed is larger than 4 GiB".into(), "check the address"));
    }
    match length {
        Some(length) if length != n_body => {
            Err(Failed::Passing(format!("{n_body} of {length} bytes came"), None))
        }
        _ => Ok(()),
    }
}

/// Whether `bytes FROM-TO/ALL` begins where our part ends.
fn starts_at(range: Option<String>, start: u64) -> bool {
    let range = range.unwrap_or_default();
    let from = range.strip_prefix("bytes ").and_then(|rest| rest.split('-').next());
    from.and_then(|text| text.parse::<u64>().ok()) == Some(start)
}

fn unexpected(status: u16, response: &ureq::http::Response<ureq::Body>) -> Failed {
    let why = format!("the server answered {status}");
    match status {
        408 | 425 | 429 | 500 | 502 | 503 | 504 | 206 | 416 => {
            let header = response.headers().get("retry-after");
            let text = header.and_then(|value| value.to_str().ok());
            Failed::Passing(why, text.and_then(|text| retry_after(text, Timestamp::now())))
        }
        404 | 410 => Failed::Final(
            why,
            "the feed is not there any more: leave it out with --without NAME, or name all feeds \
             that you want with --feed, this one as NAME=ADDRESS",
        ),
        _ => Failed::Final(why, "check the address, or name a mirror with --mirror"),
    }
}

/// The address that a `Location` means.
pub(in crate::commands) fn join(url: &str, place: &str) -> String {
    if place.contains("://") {
        return place.to_string();
    }
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let root = url[after_scheme..].find('/').map_or(url.len(), |at| after_scheme + at);
    if place.starts_with('/') {
        return format!("{}{place}", &url[..root]);
    }
    let folder = url.rfind('/').filter(|at| *at >= root).unwrap_or(url.len());
    format!("{}/{place}", &url[..folder])
}

impl Note {
    /// Whether the file is what was fetched.
    fn is_of(&self, file: &Path) -> bool {
        let has_size = std::fs::metadata(file).is_ok_and(|status| status.len() == self.bytes);
        has_size && digest_of(file).is_ok_and(|(digest, _)| digest == self.digest)
    }
}

fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut reader = DigestReader::new(File::open(path)?);
    let mut buffer = vec![0; 64 << 10];
    while reader.read(&mut buffer)? > 0 {}
    Ok(reader.finish())
}

fn read_note(path: &Path) -> Option<Note> {
    let file = File::open(path).ok()?;
    let bytes = palisade_base::read_bounded(file, "note", NOTE_BYTES_MAX).ok()?;
    serde_json::from_slice::<Note>(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_publishers_own_address_makes_a_feed_as_young_as_the_fetch() {
        let now = Timestamp::from_nanos(7);
        let debian = palisade_scan::feeds::catalogue::find("debian").unwrap();
        let own = debian.addresses[0];
        assert_eq!(origin(None, debian, own, now), Origin::Publisher(now));
        let copy = Origin::Copy(Some(now));
        assert_eq!(origin(Some("https://mirror.example"), debian, own, now), copy);
        assert_eq!(origin(None, debian, "https://mirror.example/tracker.json", now), copy);
        let own_repository = palisade_scan::feeds::catalogue::find("updateinfo").unwrap();
        assert_eq!(origin(None, own_repository, "https://repo.example/repomd.xml", now), copy);
    }

    #[test]
    fn places_are_relative_to_their_address() {
        let check = |url: &str, place: &str, expected: &str| {
            assert_eq!(join(url, place), expected, "{url} {place}");
        };
        check("https://a/b/c", "https://x/y", "https://x/y");
        check("https://a/b/c", "/y", "https://a/y");
        check("https://a/b/c", "y", "https://a/b/y");
        check("https://a", "y", "https://a/y");
        check("https://a", "/y", "https://a/y");
    }

    #[test]
    fn a_rest_begins_where_the_part_ends() {
        assert!(starts_at(Some("bytes 5-9/10".into()), 5));
        assert!(!starts_at(Some("bytes 0-9/10".into()), 5));
        assert!(!starts_at(None, 5));
    }
}
