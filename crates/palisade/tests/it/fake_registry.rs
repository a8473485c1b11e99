//! A registry on loopback that serves one layout, says what was asked, and breaks where a test
//! wants it to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use palisade_base::Digest;
use serde_json::Value;

/// Where nobody listens: connections are refused at once.
const NOBODY: &str = "http://127.0.0.1:1/";

/// What is served.
#[derive(Default)]
struct State {
    asked: Vec<String>,
    /// Paths with this text in them lead to where nobody listens.
    broken: Option<String>,
    /// Files besides the layout, by their paths.
    files: Vec<(String, Vec<u8>)>,
}

/// The registry; it serves until the test's process ends.
#[derive(Clone)]
pub(crate) struct FakeRegistry {
    pub(crate) host: String,
    state: Arc<Mutex<State>>,
}

impl FakeRegistry {
    /// Serves the layout in `folder` under every repository; its first image under every tag
    /// that the layout does not have.
    pub(crate) fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let this = Self { host, state: Arc::default() };
        let (server, folder) = (this.clone(), folder.to_path_buf());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, folder) = (server.clone(), folder.clone());
                std::thread::spawn(move || server.serve(&stream, &folder));
            }
        });
        this
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets paths with that text in them lead to where nobody listens; `""`: none.
    pub(crate) fn breaks(&self, text: &str) {
        let mut state = self.state();
        state.broken = Some(text.to_string()).filter(|it| !it.is_empty());
        state.asked.clear();
    }

    /// Serves a file at a path.
    pub(crate) fn put(&self, path: &str, bytes: Vec<u8>) {
        self.state().files.push((path.to_string(), bytes));
    }

    /// What was asked for since the last [`Self::breaks`].
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn serve(&self, stream: &TcpStream, folder: &Path) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let mut header = String::new();
            while reader.read_line(&mut header).unwrap_or(0) > 2 {
                header.clear();
            }
            // A client that tries TLS first is shown that this is none.
            if !path.starts_with('/') {
                return;
            }
            let answer = self.answer(path, folder);
            let (head, body) = match answer {
                Answer::Broken => (format!("307 X\r\nlocation: {NOBODY}\r\n"), Vec::new()),
                Answer::Missing => ("404 X\r\n".into(), b"{}".to_vec()),
                Answer::Found(kind, bytes) => {
                    let digest = Digest::of(&bytes);
                    let head = format!(
                        "200 X\r\ncontent-type: {kind}\r\ndocker-content-digest: {digest}\r\n"
                    );
                    (head, bytes)
                }
            };
            let head = format!("HTTP/1.1 {head}content-length: {}\r\n\r\n", body.len());
            let body = if method == "HEAD" { &[][..] } else { &body };
            if writer.write_all(&[head.as_bytes(), body].concat()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str, folder: &Path) -> Answer {
        let mut state = self.state();
        state.asked.push(path.to_string());
        if state.broken.as_deref().is_some_and(|text| path.contains(text)) {
            return Answer::Broken;
        }
        if let Some((_, bytes)) = state.files.iter().find(|(at, _)| at == path) {
            return Answer::Found("application/octet-stream".into(), bytes.clone());
        }
        drop(state);
        let last = path.rsplit('/').next().unwrap_or_default();
        let file = |digest: &str| -> Option<PathBuf> {
            Some(folder.join("blobs/sha256").join(digest.strip_prefix("sha256:")?))
        };
        let found = if path.contains("/manifests/") && !last.contains(':') {
            tagged(folder, last).and_then(|digest| file(&digest))
        } else if path.contains("/manifests/") || path.contains("/blobs/") {
            file(last)
        } else {
            None
        };
        let Some(bytes) = found.and_then(|file| std::fs::read(file).ok()) else {
            return Answer::Missing;
        };
        let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let kind = json["mediaType"].as_str().unwrap_or("application/octet-stream").to_string();
        Answer::Found(kind, bytes)
    }
}

enum Answer {
    Broken,
    Missing,
    Found(String, Vec<u8>),
}

/// The digest under a tag of the layout; the first image has every tag that names none.
fn tagged(folder: &Path, tag: &str) -> Option<String> {
    let index = std::fs::read(folder.join("index.json")).ok()?;
    let index: Value = serde_json::from_slice(&index).ok()?;
    let all = index["manifests"].as_array()?;
    let name = |one: &Value| {
        one["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_string)
    };
    let digest = |one: &Value| one["digest"].as_str().map(str::to_string);
    match all.iter().find(|one| name(one).as_deref() == Some(tag)) {
        Some(one) => digest(one),
        None if tag.starts_with("sha256-") => None,
        None => digest(all.first()?),
    }
}
