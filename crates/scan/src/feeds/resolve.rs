//! Feeds whose files have no address that stays: what says where the newest lies.
//!
//! What a list names is taken only from the server that has the list.

use std::io;

use palisade_base::Explain;
use palisade_packages::xml::{self, Node};
use serde::Deserialize;
use serde_json::Value;

use super::catalogue::Form;

/// A list beyond this many bytes is refused.
pub const LIST_BYTES_MAX: u64 = 4 << 20;
/// A page beyond this many bytes is refused; a hundred notices of Rocky Linux have some two
/// megabytes.
pub const PAGE_BYTES_MAX: u64 = 64 << 20;
/// Pages of one feed; Rocky Linux has some hundred.
pub const PAGES_MAX: usize = 5_000;

/// What is at an address of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The feed itself.
    File,
    /// A text that names the newest archive beside it (`archive_latest.txt`).
    Latest,
    /// A list of mirrors of a repository (`mirror.list`).
    Mirrors,
    /// The list of what a repository of RPM has (`repomd.xml`).
    Repository,
    /// The first of several pages, each of which names the next.
    Pages,
}

/// What is at `address` of a feed of that form.
pub fn way(form: Form, address: &str) -> Way {
    let path = path_of(address);
    match form {
        Form::RedHatVex if path.ends_with("/archive_latest.txt") => Way::Latest,
        Form::Updateinfo if path.ends_with("/mirror.list") => Way::Mirrors,
        Form::Updateinfo if path.ends_with("/repomd.xml") => Way::Repository,
        Form::RockyErrata if path.trim_end_matches('/').ends_with("/advisories") => Way::Pages,
        _ => Way::File,
    }
}

/// Why a list leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It is something else.
    #[error("`{address}` is not {expected}")]
    Malformed {
        /// The list.
        address: String,
        /// What it should be.
        expected: &'static str,
    },
    /// It names another server, or no address.
    #[error("`{address}` names `{place}`, which is not on its server")]
    Elsewhere {
        /// The list.
        address: String,
        /// What it names.
        place: String,
    },
    /// There are more pages than the bound, or they go round in circles.
    #[error("`{0}` has pages without end")]
    Endless(String),
}

impl Explain for ResolveError {
    fn hint(&self) -> Option<String> {
        Some("check the address, or name the feed's file: --feed NAME=ADDRESS".into())
    }
}

/// The archive that `text`, from `address`, names.
pub fn latest(address: &str, text: &[u8]) -> Result<String, ResolveError> {
    let expected = "the name of an archive";
    let bad = || ResolveError::Malformed { address: address.to_string(), expected };
    let name = std::str::from_utf8(text).map_err(|_| bad())?.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let is_name = !name.is_empty() && name.len() <= 200 && name.chars().all(is_plain);
    if !is_name || name.starts_with('.') || !name.contains(".tar") {
        return Err(bad());
    }
    within(address, name)
}

/// The list of the first repository that `text`, the list of mirrors at `address`, has on the
/// same server.
pub fn mirror(address: &str, text: &[u8]) -> Result<String, ResolveError> {
    let bad =
        || ResolveError::Malformed { address: address.to_string(), expected: "a list of mirrors" };
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut failure = None;
    for line in lines.filter(|line| !line.starts_with('#')) {
        // Notices of both architectures are the same.
        let base = line.replace("$basearch", "x86_64");
        match within(address, &format!("{}/repodata/repomd.xml", base.trim_end_matches('/'))) {
            Ok(found) => return Ok(found),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(bad))
}

/// The notices of the repository whose list, at `address`, is `text`.
pub fn updateinfo(address: &str, text: &[u8]) -> Result<String, ResolveError> {
    let bad = || ResolveError::Malformed {
        address: address.to_string(),
        expected: "a repomd.xml that names an updateinfo",
    };
    let (mut is_wanted, mut found) = (false, None);
    let mut visit = |node: Node<'_>| {
        if let Node::Open(name, attributes) = node {
            match name {
                "data" => is_wanted = attributes.get("type") == "updateinfo",
                "location" if is_wanted && found.is_none() => {
                    found = Some(attributes.get("href").to_string());
                }
                _ => {}
            }
        }
        Ok::<(), io::Error>(())
    };
    xml::each(text, |error| error, &mut visit).map_err(|_| bad())?;
    // The folder of the list lies in that of the repository.
    let folder = path_of(address).strip_suffix("/repodata/repomd.xml").ok_or_else(bad)?;
    let place = found.filter(|place| !place.is_empty()).ok_or_else(bad)?;
    within(&format!("{folder}/"), &place)
}

/// A page of notices.
#[derive(Debug)]
pub struct Page {
    /// Its notices.
    pub notices: Vec<Value>,
    /// The next page.
    pub next: Option<String>,
}

/// The page at `address`.
pub fn page(address: &str, text: &[u8]) -> Result<Page, ResolveError> {
    #[derive(Deserialize)]
    struct Raw {
        advisories: Vec<Value>,
        #[serde(default)]
        links: Links,
    }
    #[derive(Deserialize, Default)]
    struct Links {
        #[serde(default)]
        next: Option<String>,
    }
    let raw: Raw = serde_json::from_slice(text).map_err(|_| ResolveError::Malformed {
        address: address.to_string(),
        expected: "a page of notices",
    })?;
    let next = raw.links.next.filter(|_| !raw.advisories.is_empty());
    let next = next.map(|place| within(address, &place)).transpose()?;
    Ok(Page { notices: raw.advisories, next })
}

fn path_of(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or_default()
}

/// What `place` in a text from `address` means, on the same server.
fn within(address: &str, place: &str) -> Result<String, ResolveError> {
    let elsewhere = || ResolveError::Elsewhere {
        address: address.to_string(),
        place: place.chars().take(200).collect(),
    };
    let path = path_of(address);
    let after_scheme = path.find("://").map(|at| at + 3).ok_or_else(elsewhere)?;
    let root = path[after_scheme..].find('/').map_or(path.len(), |at| after_scheme + at);
    let server = &path[..root];
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    if place.is_empty() || place.chars().any(is_odd) {
        return Err(elsewhere());
    }
    let (place, query) = match place.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (place, None),
    };
    let below = if let Some(rest) = place.strip_prefix(server) {
        if !rest.starts_with('/') {
            return Err(elsewhere());
        }
        rest.to_string()
    } else if place.contains("://") || place.starts_with("//") {
        return Err(elsewhere());
    } else if place.is_empty() || place.starts_with('/') {
        let own = if place.is_empty() { &path[root..] } else { place };
        own.to_string()
    } else {
        let folder = path.rfind('/').filter(|at| *at >= root).unwrap_or(path.len());
        format!("{}/{place}", &path[root..folder])
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in below.split('/').skip(1) {
        match part {
            "." => {}
            ".." => {
                parts.pop().ok_or_else(elsewhere)?;
            }
            part => parts.push(part),
        }
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{server}/{}{query}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_names_is_on_its_server() {
        let check = |address: &str, place: &str, expected: Option<&str>| {
            let found = within(address, place).ok();
            assert_eq!(found.as_deref(), expected, "{address} {place}");
        };
        check("https://a/b/c", "d", Some("https://a/b/d"));
        check("https://a/b/c?x=/1", "?y=2", Some("https://a/b/c?y=2"));
        check("https://a/b/c", "/d/./e?f=g", Some("https://a/d/e?f=g"));
        check("https://a/b/c/", "../d", Some("https://a/b/d"));
        check("https://a/b", "../../d", None);
        check("https://a/b", "https://a/d", Some("https://a/d"));
        check("https://a/b", "https://a.evil/d", None);
        check("https://a/b", "http://a/d", None);
        check("https://a/b", "//evil/d", None);
        check("https://a/b", "https://a:8443/d", None);
        check("https://a/b", "https://a@evil/d", None);
        check("https://a/b", "x y", None);
        check("https://a/b", "", None);
        check("a/b", "c", None);
    }

    #[test]
    fn lists_lead_to_files() {
        let at = "https://s/data/csaf/v2/vex/archive_latest.txt";
        assert_eq!(way(Form::RedHatVex, at), Way::Latest);
        let found = latest(at, b"csaf_vex_2026-11-20.tar.zst\n").unwrap();
        assert_eq!(found, "https://s/data/csaf/v2/vex/csaf_vex_2026-11-20.tar.zst");
        for bad in [&b"<html>"[..], b"", b"../x.tar.zst", b"https://e/x.tar.zst", b"\xff.tar", b"x"]
        {
            assert!(latest(at, bad).is_err());
        }
        let at = "https://cdn/al2023/core/mirrors/latest/x86_64/mirror.list";
        assert_eq!(way(Form::Updateinfo, at), Way::Mirrors);
        let list = b"http://other/1/\nhttps://cdn/al2023/core/guids/1/$basearch/\n";
        let repository = mirror(at, list).unwrap();
        assert_eq!(repository, "https://cdn/al2023/core/guids/1/x86_64/repodata/repomd.xml");
        let error = mirror(at, b"https://other/1").unwrap_err().to_string();
        assert!(error.ends_with("which is not on its server"), "{error}");
        assert!(mirror(at, b"\n# x\n").is_err());
        assert_eq!(way(Form::Updateinfo, &repository), Way::Repository);
        let text = br#"<repomd><data type="primary"><location href="repodata/p.xml.gz"/></data>
            <data type="updateinfo"><checksum type="sha256">0</checksum><location href="repodata/u.xml.gz"/></data></repomd>"#;
        let found = updateinfo(&repository, text).unwrap();
        assert_eq!(found, "https://cdn/al2023/core/guids/1/x86_64/repodata/u.xml.gz");
        for bad in [&b"<repomd/>"[..], b"", b"<a", b"<repomd><data type=\"updateinfo\"/></repomd>"]
        {
            assert!(updateinfo(&repository, bad).is_err());
        }
        assert!(updateinfo("https://cdn/repomd.xml", text).is_err());
    }

    #[test]
    fn pages_name_the_next() {
        let at = "https://apollo/api/v3/advisories/?page=1&size=100";
        assert_eq!(way(Form::RockyErrata, at), Way::Pages);
        assert_eq!(way(Form::RockyErrata, "https://a/errata.json"), Way::File);
        let text = br#"{"advisories": [{"name": "RLSA-1"}], "total": 2, "links": {"next": "/api/v3/advisories/?page=2&size=100"}}"#;
        let found = page(at, text).unwrap();
        assert_eq!(found.notices.len(), 1);
        let next = "https://apollo/api/v3/advisories/?page=2&size=100";
        assert_eq!(found.next.as_deref(), Some(next));
        let check = |text: &[u8], is_last: bool| {
            assert_eq!(page(at, text).ok().map(|page| page.next), is_last.then_some(None));
        };
        check(br#"{"advisories": [{}], "links": {"next": null}}"#, true);
        check(br#"{"advisories": [], "links": {"next": "?page=3"}}"#, true);
        check(br#"{"advisories": [{}]}"#, true);
        check(br#"{"advisories": [{}], "links": {"next": "https://evil/"}}"#, false);
        check(b"{}", false);
        check(b"<html>", false);
    }
}
