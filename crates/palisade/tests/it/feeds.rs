//! `palisade db update` against a server that does what servers do, and databases that are not
//! as they should be: whatever happens, the database that was there is still used.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Ended, Running, palisade, run};

/// Path and headers, in lower case, of each request.
type Requests = Arc<Mutex<Vec<String>>>;

/// A server on this machine that answers the n-th request with what `answer` gives for it.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Requests,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Requests::default();
        let seen = Arc::clone(&requests);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().flatten().enumerate() {
                let Some(request) = read(&stream) else { continue };
                seen.lock().unwrap().push(request.clone());
                let _ = (&stream).write_all(&answer(index, &request));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if reader.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    Some(text.to_lowercase())
}

pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const RECORD: &str = r#"{"id": "CVE-2024-0001", "affected": [{"package": {"ecosystem": "PyPI", "name": "a"}, "versions": ["1"]}]}"#;

fn update(at: &Path, server: &Server, feed: &str) -> Ended {
    run(at, &["db", "update", "--feed", &format!("{feed}={}/a.json", server.address)])
}

/// The database has the record that [`RECORD`] is.
fn expect_usable(at: &Path) {
    let found = run(at, &["db", "search", "CVE-2024-0001"]).expect(0);
    assert!(found.stdout.contains("CVE-2024-0001"), "{}", found.stdout);
    run(at, &["db", "status"]).expect(0);
}

fn with_database() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), RECORD).unwrap();
    run(folder.path(), &["db", "build", "--osv", "a.json"]).expect(0);
    folder
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|index, _| match index {
        0 => answer("200 OK", "etag: \"one\"\r\n", RECORD.as_bytes()),
        _ => answer("304 Not Modified", "", b""),
    });
    update(folder.path(), &server, "osv/PyPI").expect(0);
    update(folder.path(), &server, "osv/PyPI").expect(0);
    expect_usable(folder.path());
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(!requests[0].contains("if-none-match"), "{requests:?}");
    assert!(requests[1].contains("if-none-match: \"one\""), "{requests:?}");
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let cut = RECORD.len() / 2;
    let server = Server::start(move |index, _| {
        if index == 0 {
            let whole = answer("200 OK", "etag: \"one\"\r\n", RECORD.as_bytes());
            return whole[..whole.len() - (RECORD.len() - cut)].to_vec();
        }
        let range = format!("content-range: bytes {cut}-{}/{}\r\n", RECORD.len() - 1, RECORD.len());
        answer("206 Partial Content", &range, &RECORD.as_bytes()[cut..])
    });
    update(folder.path(), &server, "osv/PyPI").expect(0);
    expect_usable(folder.path());
    let requests = server.requests();
    assert!(requests[1].contains(&format!("range: bytes={cut}-")), "{requests:?}");
    assert!(requests[1].contains("if-range: \"one\""), "{requests:?}");
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|index, _| match index {
        0 => answer("429 Too Many Requests", "retry-after: 2\r\n", b""),
        _ => answer("200 OK", "", RECORD.as_bytes()),
    });
    let started = Instant::now();
    let ended = update(folder.path(), &server, "osv/PyPI").expect(0);
    assert!(started.elapsed() >= Duration::from_secs(2), "{ended:?}");
    assert!(ended.stderr.contains("429"), "{}", ended.stderr);
    expect_usable(folder.path());
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, request| match request.split_whitespace().nth(1) {
        Some("/a.json") => answer("302 Found", "location: /there/b.json\r\n", b""),
        _ => answer("200 OK", "", RECORD.as_bytes()),
    });
    update(folder.path(), &server, "osv/PyPI").expect(0);
    expect_usable(folder.path());
    let server = Server::start(|_, _| answer("302 Found", "location: /a.json\r\n", b""));
    update(folder.path(), &server, "osv/PyPI").expect_error(3, "redirects more than");
    expect_usable(folder.path());
}

#[test]
fn a_feed_that_disappears_is_said_and_what_was_fetched_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|index, _| match index {
        0 => answer("200 OK", "", RECORD.as_bytes()),
        _ => answer("404 Not Found", "", b""),
    });
    update(folder.path(), &server, "osv/PyPI").expect(0);
    // Partly: the data are of the time at which they were fetched.
    let ended = update(folder.path(), &server, "osv/PyPI").expect(4);
    assert!(ended.stderr.contains("what was fetched"), "{}", ended.stderr);
    assert!(ended.stderr.contains("not there any more"), "{}", ended.stderr);
    expect_usable(folder.path());
    // One that never was there leaves the database as it is.
    update(folder.path(), &server, "kev").expect_error(3, "404");
    expect_usable(folder.path());
}

#[test]
fn what_is_no_feed_or_bursts_when_unpacked_is_refused() {
    let folder = with_database();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut std::io::repeat(b'0').take(300 << 20), &mut packer).unwrap();
    let bomb = packer.finish().unwrap();
    let server = Server::start(move |_, _| answer("200 OK", "", &bomb));
    update(folder.path(), &server, "epss").expect_error(3, "limit");
    expect_usable(folder.path());
    let server = Server::start(|_, _| answer("200 OK", "", b"<html>Please log in</html>"));
    update(folder.path(), &server, "osv/PyPI").expect_error(3, "OSV");
    expect_usable(folder.path());
}

#[test]
fn a_mirror_that_gives_other_bytes_changes_nothing() {
    let folder = with_database();
    let at = folder.path();
    std::fs::write(at.join("kev.json"), r#"{"vulnerabilities": [{"cveID": "CVE-2024-0001"}]}"#)
        .unwrap();
    let build = ["db", "build", "--osv", "a.json", "--kev", "kev.json", "--output", "newer.db"];
    run(at, &build).expect(0);
    run(at, &["db", "export", "--publish", "--db", "newer.db", "mirror"]).expect(0);
    let list = std::fs::read(at.join("mirror/advisories.json")).unwrap();
    let whole = std::fs::read(at.join("mirror/advisories.db")).unwrap();
    let mirror = |bytes: Vec<u8>| {
        let list = list.clone();
        Server::start(move |_, request| match request.split_whitespace().nth(1) {
            Some("/advisories.json") => answer("200 OK", "", &list),
            _ => answer("200 OK", "", &bytes),
        })
    };
    let from = |server: &Server| run(at, &["db", "update", "--from", &server.address]);
    let before = std::fs::read(at.join("data/advisories.db")).unwrap();
    for flipped in [20, whole.len() / 2, whole.len() - 100] {
        let mut bytes = whole.clone();
        bytes[flipped] ^= 1;
        from(&mirror(bytes)).expect_error(3, "the new database is not used");
    }
    let mut other_version = whole.clone();
    other_version[8] = 99;
    from(&mirror(other_version)).expect_error(3, "format version 99");
    from(&mirror(whole[..whole.len() - 7].to_vec())).expect_error(3, "damaged");
    assert_eq!(before, std::fs::read(at.join("data/advisories.db")).unwrap());
    expect_usable(at);
    from(&mirror(whole.clone())).expect(0);
    assert_eq!(whole, std::fs::read(at.join("data/advisories.db")).unwrap());
}

#[test]
fn a_second_update_is_told_who_is_at_work_and_readers_are_not_kept() {
    let folder = with_database();
    let at = folder.path();
    run(at, &["db", "export", "other.db"]).expect(0);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let server = Server::start(move |_, _| {
        let _ = held.lock().unwrap().recv();
        answer("404 Not Found", "", b"")
    });
    let mut command = palisade(at);
    command.args(["db", "update", "--from", &server.address]);
    let mut first = Running::start(command, b"");
    crate::support::wait_for("request", DEADLINE, || (!server.requests().is_empty()).then_some(()));
    let second = run(at, &["db", "import", "other.db"]);
    second.expect_error(3, "under way by process");
    run(at, &["db", "build", "--osv", "a.json"]).expect_error(3, "under way by process");
    expect_usable(at);
    assert!(!first.has_ended());
    release.send(()).unwrap();
    first.wait(DEADLINE).expect_error(3, "404");
    run(at, &["db", "import", "other.db"]).expect(0);
}

#[test]
fn a_second_update_from_feeds_is_told_who_is_at_work_and_spoils_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let server = Server::start(move |_, _| {
        let _ = held.lock().unwrap().recv();
        answer("200 OK", "etag: \"one\"\r\n", RECORD.as_bytes())
    });
    let feed = format!("osv/PyPI={}/a.json", server.address);
    let mut command = palisade(at);
    command.args(["db", "update", "--feed", &feed]);
    let first = Running::start(command, b"");
    crate::support::wait_for("request", DEADLINE, || (!server.requests().is_empty()).then_some(()));
    update(at, &server, "osv/PyPI").expect_error(3, "under way by process");
    // Another database of the same folder of feeds would write the same files.
    run(at, &["db", "update", "--feed", &feed, "--db", "other.db"])
        .expect_error(3, "under way by process");
    assert_eq!(server.requests().len(), 1);
    release.send(()).unwrap();
    first.wait(DEADLINE).expect(0);
    expect_usable(at);
}

#[test]
fn a_kept_feed_that_is_not_what_was_fetched_is_fetched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, request| {
        if request.contains("if-none-match") {
            return answer("304 Not Modified", "", b"");
        }
        answer("200 OK", "etag: \"one\"\r\n", RECORD.as_bytes())
    });
    update(folder.path(), &server, "osv/PyPI").expect(0);
    let feeds = folder.path().join("data/feeds");
    let kept = || {
        let all = std::fs::read_dir(&feeds).unwrap().flatten().map(|entry| entry.path());
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    };
    let names = kept();
    assert_eq!(names.len(), 2, "{names:?}");
    let file = &names[0];
    for spoiled in [&RECORD[..RECORD.len() - 9], &RECORD.replace("0001", "0002")] {
        std::fs::write(file, spoiled).unwrap();
        // What a killed update left.
        std::fs::write(feeds.join("x.part"), b"half").unwrap();
        update(folder.path(), &server, "osv/PyPI").expect(0);
        assert_eq!(std::fs::read_to_string(file).unwrap(), RECORD);
        assert_eq!(kept(), names);
        expect_usable(folder.path());
    }
    assert!(server.requests().iter().all(|request| !request.contains("if-none-match")));
    update(folder.path(), &server, "osv/PyPI").expect(0);
    assert!(server.requests().last().unwrap().contains("if-none-match"));
}

#[test]
fn a_search_finds_identifiers_in_any_case_and_every_fixed_version() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let ranges = r#"[{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"}, {"fixed": "2.3"}]}]"#;
    for (id, aliases, package) in [
        ("GHSA-22gh-3r9q-xf38", r#"["CVE-2024-0001"]"#, "a"),
        ("GHSA-aaaa-bbbb-cccc", "[]", "d"),
        ("openSUSE-SU-2024:0001-1", r#"["CVE-2024-0101"]"#, "b"),
        ("RLSA-2024:0001", r#"["CVE-2024-0102"]"#, "c"),
        ("CVE-2024-0009", "[]", "usn-tools"),
    ] {
        let record = format!(
            r#"{{"id": "{id}", "aliases": {aliases}, "summary": "about {package}", "affected": [{{"package": {{"ecosystem": "PyPI", "name": "{package}"}}, "ranges": {ranges}}}]}}"#
        );
        std::fs::create_dir_all(at.join("osv")).unwrap();
        std::fs::write(at.join(format!("osv/{package}.json")), record).unwrap();
    }
    run(at, &["db", "build", "--osv", "osv"]).expect(0);
    let check = |query: &str, expected: &str| {
        let found = run(at, &["db", "search", query, "--format", "tsv"]).expect(0);
        assert_eq!(found.stdout.trim_end(), expected, "{query}");
    };
    // A record with a CVE has that for its name, and its own for an alias.
    let cve = "PyPI\ta\tCVE-2024-0001\tunknown\t1.2, 2.3\tabout a";
    check("GHSA-22gh-3r9q-xf38", cve);
    check("ghsa-22GH-3r9q-xf38", cve);
    check("cve-2024-0001", cve);
    check("a", cve);
    let ghsa = "PyPI\td\tGHSA-aaaa-bbbb-cccc\tunknown\t1.2, 2.3\tabout d";
    check("ghsa-AAAA-bbbb-cccc", ghsa);
    check(
        "OPENSUSE-su-2024:0001-1",
        "PyPI\tb\topenSUSE-SU-2024:0001-1\tunknown\t1.2, 2.3\tabout b CVE-2024-0101",
    );
    check("rlsa-2024:0001", "PyPI\tc\tRLSA-2024:0001\tunknown\t1.2, 2.3\tabout c CVE-2024-0102");
    // A package whose name begins as an identifier does.
    check("usn-tools", "PyPI\tusn-tools\tCVE-2024-0009\tunknown\t1.2, 2.3\tabout usn-tools");
    check("CVE-2024-9999", "");
    let found = run(at, &["db", "search", "CVE-2024-0001", "--format", "json"]).expect(0);
    let document: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(document["schema"], "palisade.dev/advisory-search/v1");
    let hit = &document["advisories"][0];
    assert_eq!(hit["aliases"], serde_json::json!(["GHSA-22gh-3r9q-xf38"]));
    assert_eq!(hit["fixed"], serde_json::json!(["1.2", "2.3"]));
    assert_eq!((&hit["status"], &hit["feed"]), (&"affected".into(), &"osv/PyPI".into()));
}

#[test]
fn a_feed_that_never_was_there_is_left_out_and_named_but_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let server = Server::start(|index, request| match request.split_whitespace().nth(1) {
        Some("/a.json") => answer("200 OK", "", RECORD.as_bytes()),
        Some("/kev.json") if index > 4 => {
            answer("200 OK", "", br#"{"vulnerabilities": [{"cveID": "CVE-2024-0001"}]}"#)
        }
        _ => answer("404 Not Found", "", b""),
    });
    let osv = format!("osv/PyPI={}/a.json", server.address);
    let kev = format!("kev={}/kev.json", server.address);
    let ask = |more: &[&str]| {
        run(at, &[&["db", "update", "--feed", &osv, "--feed", &kev], more].concat())
    };
    let ended = ask(&[]).expect(4);
    assert!(ended.stderr.contains("warning: kev is left out: fetch http"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--without kev"), "{}", ended.stderr);
    expect_usable(at);
    // Said once more, until it is not asked for.
    ask(&[]).expect(4);
    ask(&["--without", "KEV"]).expect(0);
    ask(&["--without", "kev,osv/PyPI"]).expect_error(2, "every feed is left out");
    ask(&["--without", "kef"]).expect_error(2, "no feed is called `kef`");
    ask(&[]).expect(0);
    let with_kev = std::fs::read(at.join("data/advisories.db")).unwrap();
    // What it had is not thrown away with the copies.
    std::fs::remove_dir_all(at.join("data/feeds")).unwrap();
    let gone = format!("kev={}/gone.json", server.address);
    let arguments = ["db", "update", "--feed", &osv, "--feed", &gone];
    run(at, &arguments).expect_error(3, "the database that is there stays: it has kev");
    assert_eq!(with_kev, std::fs::read(at.join("data/advisories.db")).unwrap());
    run(at, &[&arguments[..], &["--without", "kev"]].concat()).expect(0);
}

/// A release of Alpine is in two files. One of them alone knows nothing of what is in the other.
#[test]
fn half_of_a_release_is_not_taken_for_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let document = |release: &str, package: &str, id: &str| {
        format!(
            r#"{{"distroversion": "{release}", "packages": [{{"pkg": {{"name": "{package}", "secfixes": {{"1-r0": ["{id}"]}}}}}}]}}"#
        )
    };
    let is_there = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let says = Arc::clone(&is_there);
    let server = Server::start(move |_, request| {
        let path = request.split_whitespace().nth(1).unwrap_or_default();
        let body = match path {
            "/v3.20/main.json" if says.load(std::sync::atomic::Ordering::SeqCst) => {
                document("v3.20", "openssl", "CVE-2024-0001")
            }
            "/v3.20/community.json" => document("v3.20", "vlc", "CVE-2024-0002"),
            "/v3.21/main.json" => document("v3.21", "openssl", "CVE-2024-0001"),
            _ => return answer("404 Not Found", "", b""),
        };
        answer("200 OK", "", body.as_bytes())
    });
    let feeds: Vec<String> = ["v3.20/main", "v3.20/community", "v3.21/main"]
        .iter()
        .map(|file| format!("--feed=alpine={}/{file}.json", server.address))
        .collect();
    let ask = || {
        let feeds: Vec<&str> = feeds.iter().map(String::as_str).collect();
        run(at, &[&["db", "update"], &feeds[..]].concat())
    };
    let partial = || {
        let status = run(at, &["db", "status", "--format", "json"]).expect(0);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        assert_eq!(status["partial"], status["halved"]);
        status["partial"].clone()
    };
    let ended = ask().expect(4);
    assert!(ended.stderr.contains("warning: a file of alpine is left out"), "{}", ended.stderr);
    assert!(ended.stderr.contains("Alpine:v3.20 is partial: a file of a feed"), "{}", ended.stderr);
    assert_eq!(partial(), serde_json::json!(["Alpine:v3.20"]));
    let status = run(at, &["db", "status"]).expect(0);
    assert!(status.stdout.contains("partial    Alpine:v3.20: a file"), "{}", status.stdout);
    // Nothing better is lost, so what can be had is brought up to date.
    ask().expect(4);
    // Of openssl nothing is known: that is not the same as nothing known against it.
    let root = at.join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::create_dir_all(root.join("lib/apk/db")).unwrap();
    std::fs::write(root.join("etc/os-release"), "ID=alpine\nVERSION_ID=3.20.1\n").unwrap();
    std::fs::write(root.join("lib/apk/db/installed"), "P:openssl\nV:0-r0\nA:x86_64\no:openssl\n\n")
        .unwrap();
    let gate = || run(at, &["scan", "--fail-on", "unknown", "dir:root"]);
    let ended = gate();
    assert_eq!(ended.code, 3, "{}\n{}", ended.stdout, ended.stderr);
    is_there.store(true, std::sync::atomic::Ordering::SeqCst);
    ask().expect(0);
    assert_eq!(partial(), serde_json::json!([]));
    assert_eq!(gate().code, 1);
    // The whole is not exchanged for half of it.
    let whole = std::fs::read(at.join("data/advisories.db")).unwrap();
    std::fs::remove_dir_all(at.join("data/feeds")).unwrap();
    is_there.store(false, std::sync::atomic::Ordering::SeqCst);
    ask().expect_error(3, "the database that is there stays: it has all of Alpine:v3.20");
    assert_eq!(whole, std::fs::read(at.join("data/advisories.db")).unwrap());
}

#[test]
fn an_import_names_the_file_that_was_given() {
    let folder = with_database();
    let at = folder.path();
    run(at, &["db", "export", "good.db"]).expect(0);
    let good = std::fs::read(at.join("good.db")).unwrap();
    let check = |bytes: &[u8], expected: &str, hint: &str| {
        std::fs::write(at.join("bad.db"), bytes).unwrap();
        let ended = run(at, &["db", "import", "bad.db"]);
        ended.expect_error(3, expected);
        assert!(ended.stderr.contains(hint), "{}", ended.stderr);
        assert!(!ended.stderr.contains(".tmp"), "{}", ended.stderr);
    };
    let again = "get the file again";
    check(b"nonsense", "`bad.db` is not an advisory database", again);
    check(&good[..good.len() - 7], "`bad.db` is damaged", again);
    let mut other = good.clone();
    other[good.len() / 2] ^= 1;
    check(&other, "`bad.db` is damaged", again);
    let mut other = good;
    other[8] = 99;
    check(&other, "`bad.db` has format version 99", "update Palisade");
    expect_usable(at);
}

#[test]
fn what_is_left_out_is_said_and_a_feed_that_shrinks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("osv")).unwrap();
    for index in 0..20 {
        let record = RECORD.replace("0001", &format!("{index:04}"));
        std::fs::write(at.join(format!("osv/{index}.json")), record).unwrap();
    }
    let spoil = |n: usize| {
        for index in 0..n {
            std::fs::write(at.join(format!("osv/bad-{index}.json")), b"{\"id\": ").unwrap();
        }
    };
    let withdrawn = RECORD.replacen('{', r#"{"withdrawn": "2024-01-01T00:00:00Z", "#, 1);
    std::fs::write(at.join("osv/withdrawn.json"), withdrawn).unwrap();
    spoil(1);
    let update = || run(at, &["db", "update", "--feed", "osv/PyPI=osv"]);
    let ended = update().expect(0);
    let warning = "warning: osv: 0 records, left out: 1 malformed record";
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("osv/PyPI: 20 records, left out: 1 withdrawn"),
        "{}",
        ended.stderr
    );
    spoil(3);
    let error = "feed `osv` is damaged: 3 of 23 records cannot be read";
    run(at, &["db", "build", "--osv", "osv"]).expect_error(3, error);
    update().expect_error(3, error);
    for index in 0..11 {
        std::fs::remove_file(at.join(format!("osv/{index}.json"))).unwrap();
    }
    for index in 0..3 {
        std::fs::remove_file(at.join(format!("osv/bad-{index}.json"))).unwrap();
    }
    let ended = update().expect(4);
    let warning = "warning: osv/PyPI has 9 records, and had 20";
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    update().expect(0);
}

/// What a request asks for.
fn path(request: &str) -> &str {
    request.split_whitespace().nth(1).unwrap_or_default()
}

#[test]
fn lists_lead_to_the_newest_file_on_their_own_server() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let notices = r#"<updates><update type="security"><id>ALAS2023-2023-001</id><title>openssl</title>
        <references><reference id="CVE-2024-0001" type="cve"/></references><pkglist><collection>
        <package name="openssl" epoch="1" version="3.0.5" release="4.amzn2023" arch="x86_64"/>
        </collection></pkglist></update></updates>"#;
    let list =
        r#"<repomd><data type="updateinfo"><location href="repodata/u.xml"/></data></repomd>"#;
    let server = Server::start(move |_, request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        match path(request) {
            "/latest/mirror.list" => {
                let text =
                    format!("https://elsewhere.example/1\nhttp://{host}/guids/7/$basearch/\n");
                answer("200 OK", "", text.as_bytes())
            }
            "/evil/mirror.list" => answer("200 OK", "", b"http://elsewhere.example/1\n"),
            "/guids/7/x86_64/repodata/repomd.xml" => answer("200 OK", "", list.as_bytes()),
            "/guids/7/x86_64/repodata/u.xml" if request.contains("if-none-match") => {
                answer("304 Not Modified", "", b"")
            }
            "/guids/7/x86_64/repodata/u.xml" => {
                answer("200 OK", "etag: \"u\"\r\n", notices.as_bytes())
            }
            _ => answer("404 Not Found", "", b""),
        }
    });
    let update = |feed: &str, path: &str| {
        run(at, &["db", "update", "--feed", &format!("{feed}={}{path}", server.address)])
    };
    update("amazon", "/latest/mirror.list").expect(0);
    update("amazon", "/latest/mirror.list").expect(0);
    assert!(server.requests().last().unwrap().contains("if-none-match"));
    let found = run(at, &["db", "search", "CVE-2024-0001", "--format", "tsv"]).expect(0);
    assert!(found.stdout.starts_with("Amazon Linux:2023\topenssl\tALAS2023"), "{}", found.stdout);
    update("updateinfo", "/guids/7/x86_64/repodata/repomd.xml").expect(0);
    update("amazon", "/evil/mirror.list").expect_error(3, "which is not on its server");
    update("updateinfo", "/guids/7/x86_64/repodata/none.xml").expect_error(3, "404");
    run(at, &["db", "update", "--feed", "updateinfo"]).expect_error(2, "no address of its own");
}

#[test]
fn the_newest_archive_replaces_the_one_that_it_follows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let document = |id: &str| {
        format!(
            r#"{{"document": {{"title": "t", "tracking": {{"id": "{id}"}}}}, "product_tree": {{
            "branches": [{{"product": {{"product_id": "p", "product_identification_helper": {{"cpe": "cpe:/o:redhat:enterprise_linux:9"}}}}}},
              {{"product": {{"product_id": "c", "product_identification_helper": {{"purl": "pkg:rpm/redhat/openssl@3.0.7-18.el9?arch=x86_64&epoch=1"}}}}}}],
            "relationships": [{{"product_reference": "c", "relates_to_product_reference": "p", "full_product_name": {{"product_id": "p:c", "name": "x"}}}}]}},
            "vulnerabilities": [{{"cve": "{id}", "product_status": {{"fixed": ["p:c"]}}}}]}}"#
        )
    };
    let server = Server::start(move |index, request| match path(request) {
        "/vex/archive_latest.txt" if index < 2 => answer("200 OK", "", b"csaf_vex_1.tar\n"),
        "/vex/archive_latest.txt" if index < 4 => answer("200 OK", "", b"csaf_vex_2.tar\n"),
        "/vex/csaf_vex_1.tar" => answer("200 OK", "", &archive(&document("CVE-2024-0001"))),
        "/vex/csaf_vex_2.tar" => answer("200 OK", "", &archive(&document("CVE-2024-0002"))),
        _ => answer("404 Not Found", "", b""),
    });
    let feed = format!("rhel={}/vex/archive_latest.txt", server.address);
    let update = || run(at, &["db", "update", "--feed", &feed]);
    let search = |id: &str| {
        let found = run(at, &["db", "search", id, "--format", "tsv"]).expect(0);
        found.stdout.starts_with("Red Hat:9\topenssl")
    };
    update().expect(0);
    assert!(search("CVE-2024-0001"));
    update().expect(0);
    assert!(search("CVE-2024-0002") && !search("CVE-2024-0001"));
    // One copy is kept, and used when the list is gone.
    assert_eq!(std::fs::read_dir(at.join("data/feeds")).unwrap().count(), 2);
    let ended = update().expect(4);
    assert!(ended.stderr.contains("what was fetched"), "{}", ended.stderr);
    assert!(search("CVE-2024-0002"));
}

/// A tar of one document.
fn archive(document: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(document.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "2024/a.json", document.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn pages_are_fetched_until_there_is_no_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let notice = |n: usize| {
        format!(
            r#"{{"name": "RLSA-2024:{n}", "severity": "Moderate", "cves": [{{"cve": "CVE-2024-000{n}"}}],
            "packages": [{{"nevra": "openssl-1:1.1.1k-{n}.el9.x86_64", "product_name": "Rocky Linux 9 x86_64"}}]}}"#
        )
    };
    let page = move |n: usize, next: &str| {
        let text = format!(r#"{{"advisories": [{}], "links": {{"next": {next}}}}}"#, notice(n));
        answer("200 OK", "", text.as_bytes())
    };
    let server = Server::start(move |_, request| match path(request) {
        "/advisories/?page=1&size=1" => page(1, r#""/advisories/?page=2&size=1""#),
        "/advisories/?page=2&size=1" => page(2, r#""?page=3&size=1""#),
        "/advisories/?page=3&size=1" => page(3, "null"),
        "/other/advisories?page=1" => page(1, r#""https://elsewhere.example/advisories""#),
        _ => answer("404 Not Found", "", b""),
    });
    let feed = format!("rocky={}/advisories/?page=1&size=1", server.address);
    run(at, &["db", "update", "--feed", &feed]).expect(0);
    assert_eq!(server.requests().len(), 3);
    for n in 1..=3 {
        let found = run(at, &["db", "search", &format!("CVE-2024-000{n}")]).expect(0);
        assert!(found.stdout.contains("Rocky Linux:9"), "{}", found.stdout);
    }
    let feed = format!("rocky={}/other/advisories?page=1", server.address);
    run(at, &["db", "update", "--feed", &feed]).expect_error(
        3,
        "names `https://elsewhere.example/advisories`, which is not on its server",
    );
}
