//! Credentials where Docker and Podman keep them.
//!
//! Files: `$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers/auth.json`,
//! `/run/containers/UID/auth.json`, `~/.config/containers/auth.json`,
//! `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`
//! (containers-auth.json(5); docker/cli, `cli/config`). The first with something for the
//! registry decides. Nothing is written, and no error repeats a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use palisade_base::Explain;
use serde::Deserialize;

use crate::helper::{self, HelperError};

/// Largest file of credentials.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Docker's name for its own registry.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// What is shown to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A name and a password.
    Password {
        /// The name.
        name: String,
        /// The password, or a token that is used as one.
        password: String,
    },
    /// A token to be exchanged for another (OAuth 2's refresh token).
    Identity(String),
    /// A token to be shown as it is.
    Token(String),
}

/// Secrets are not shown.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Identity(_) => "Identity",
            Self::Token(_) => "Token",
        })
    }
}

/// Why credentials cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what Docker and Podman write.
    #[error("`{}`, line {line}, column {column}: {problem}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong; never a value.
        problem: String,
    },
    /// A program that keeps credentials failed.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

impl Explain for CredentialsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("check the file's owner and permissions".into()),
            Self::Bad { .. } => Some("log in again; `docker login` rewrites the file".into()),
            Self::Helper(error) => error.hint(),
        }
    }
}

/// A file of credentials.
#[derive(Default, PartialEq, Eq)]
pub struct AuthFile {
    entries: BTreeMap<String, Secret>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFile")
            .field("entries", &self.entries.keys())
            .field("helpers", &self.helpers)
            .field("store", &self.store)
            .finish()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    #[serde(default)]
    auths: Option<BTreeMap<String, RawEntry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl RawEntry {
    /// `Ok(None)` for an entry without a secret, as Docker writes for those of a helper.
    fn secret(self) -> Result<Option<Secret>, &'static str> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = given(self.registrytoken) {
            return Ok(Some(Secret::Token(token)));
        }
        if let Some(token) = given(self.identitytoken) {
            return Ok(Some(Secret::Identity(token)));
        }
        if let Some(auth) = given(self.auth) {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(auth.trim())
                .map_err(|_| "`auth` is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "`auth` is not text")?;
            let (name, password) = text.split_once(':').ok_or("`auth` has no colon")?;
            // Docker pads with NUL bytes.
            let password = password.trim_end_matches('\0').to_string();
            return Ok(Some(Secret::Password { name: name.to_string(), password }));
        }
        Ok(match (given(self.username), given(self.password)) {
            (Some(name), Some(password)) => Some(Secret::Password { name, password }),
            _ => None,
        })
    }
}

impl AuthFile {
    /// Reads the text of a `config.json` or `auth.json`; `path` is for errors.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, CredentialsError> {
        let bad = |line, column, problem| CredentialsError::Bad {
            path: path.to_path_buf(),
            line,
            column,
            problem,
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let raw: RawFile = serde_json::from_slice(bytes).map_err(|error| {
            // The parser's own words may quote a value.
            let problem = match error.classify() {
                serde_json::error::Category::Data => "a value of another type is expected here",
                _ => "not JSON",
            };
            bad(error.line().max(1), error.column().max(1), problem.to_string())
        })?;
        let mut file = Self {
            helpers: raw.cred_helpers.unwrap_or_default(),
            store: raw.creds_store.filter(|name| !name.is_empty()),
            ..Self::default()
        };
        for (key, entry) in raw.auths.unwrap_or_default() {
            let shown: String = key.chars().filter(|c| !c.is_control()).take(100).collect();
            let secret = entry.secret().map_err(|problem| {
                let line = line_of(bytes, &key);
                bad(line, 1, format!("the entry `{shown}`: {problem}"))
            })?;
            if let Some(secret) = secret {
                file.entries.insert(normal_key(&key), secret);
            }
        }
        Ok(file)
    }

    /// What the file itself has for a repository: the longest key that the name begins with.
    pub fn entry(&self, registry: &str, repository: &str) -> Option<&Secret> {
        let mut key = format!("{registry}/{repository}");
        loop {
            if let Some(secret) = self.entries.get(&key) {
                return Some(secret);
            }
            key.truncate(key.rfind('/')?);
        }
    }

    /// The program that keeps the credentials of a registry, and what the registry is called
    /// there.
    pub fn helper(&self, registry: &str) -> Option<(&str, String)> {
        let is_docker = registry == "docker.io";
        let keys = if is_docker {
            vec![DOCKER_KEY, "index.docker.io", "docker.io"]
        } else {
            vec![registry]
        };
        for key in &keys {
            if let Some(name) = self.helpers.get(*key) {
                return Some((name, (*key).to_string()));
            }
        }
        let key = if is_docker { DOCKER_KEY } else { registry };
        self.store.as_deref().map(|name| (name, key.to_string()))
    }
}

/// The line where a key stands, near enough for people.
fn line_of(bytes: &[u8], key: &str) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let at = text.find(key).unwrap_or(0);
    1 + text[..at].matches('\n').count()
}

/// A key without the scheme and the API's version, which old ones have.
fn normal_key(key: &str) -> String {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key.strip_prefix("index.docker.io") {
        Some("") => "docker.io".to_string(),
        Some(rest) if rest.starts_with('/') => format!("docker.io{rest}"),
        _ => key.to_string(),
    }
}

/// Where to look for credentials.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Files, the first that knows the registry decides. One that is missing says nothing.
    pub files: Vec<PathBuf>,
}

impl Credentials {
    /// What is known for a repository. `None`: nothing; the registry may answer strangers.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Secret>, CredentialsError> {
        for path in &self.files {
            let Some(file) = read(path)? else { continue };
            let helper = file.helper(registry);
            // A helper of this registry comes before an entry, a store for all after it.
            let of_registry = helper.as_ref().is_some_and(|(name, _)| {
                file.helpers.values().any(|one| one == name) && file.store.as_deref() != Some(name)
            });
            if !of_registry && let Some(secret) = file.entry(registry, repository) {
                return Ok(Some(secret.clone()));
            }
            if let Some((name, key)) = helper
                && let Some(secret) = helper::get(name, &key)?
            {
                return Ok(Some(secret));
            }
            if let Some(secret) = file.entry(registry, repository) {
                return Ok(Some(secret.clone()));
            }
        }
        Ok(None)
    }
}

fn read(path: &Path) -> Result<Option<AuthFile>, CredentialsError> {
    let failed = |source| CredentialsError::Read { path: path.to_path_buf(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let bytes = palisade_base::read_bounded(file, "credentials", FILE_BYTES_MAX)
        .map_err(|error| failed(io::Error::other(error)))?;
    AuthFile::parse(&bytes, path).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AuthFile, CredentialsError> {
        AuthFile::parse(text.as_bytes(), Path::new("config.json"))
    }

    fn password(name: &str, password: &str) -> Secret {
        Secret::Password { name: name.into(), password: password.into() }
    }

    #[test]
    fn the_longest_key_decides() {
        let file = parse(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "YTpi"},
                "registry.example:5000": {"auth": "Yzpk"},
                "registry.example:5000/team": {"username": "e", "password": "f"},
                "registry.example:5000/team/shop": {"identitytoken": "g"},
                "https://old.example/v2/": {"registrytoken": "h", "auth": "YTpi"},
                "empty.example": {}
            }}"#,
        )
        .unwrap();
        let check = |registry: &str, repository: &str, expected: Option<Secret>| {
            assert_eq!(
                file.entry(registry, repository),
                expected.as_ref(),
                "{registry}/{repository}"
            );
        };
        check("docker.io", "library/nginx", Some(password("a", "b")));
        check("registry.example:5000", "other/x", Some(password("c", "d")));
        check("registry.example:5000", "team/x", Some(password("e", "f")));
        check("registry.example:5000", "teams/x", Some(password("c", "d")));
        check("registry.example:5000", "team/shop", Some(Secret::Identity("g".into())));
        check("old.example", "x", Some(Secret::Token("h".into())));
        check("empty.example", "x", None);
        check("registry.example", "x", None);
    }

    #[test]
    fn a_helper_of_a_registry_comes_before_the_store() {
        let file = parse(
            r#"{"credsStore": "desktop", "credHelpers": {"gcr.io": "gcloud", "docker.io": "x"}}"#,
        )
        .unwrap();
        assert_eq!(file.helper("gcr.io"), Some(("gcloud", "gcr.io".into())));
        assert_eq!(file.helper("quay.io"), Some(("desktop", "quay.io".into())));
        assert_eq!(file.helper("docker.io"), Some(("x", "docker.io".into())));
        let file = parse(r#"{"credsStore": "desktop"}"#).unwrap();
        assert_eq!(file.helper("docker.io"), Some(("desktop", DOCKER_KEY.into())));
        assert_eq!(parse("{}").unwrap().helper("docker.io"), None);
    }

    #[test]
    fn errors_say_where_and_repeat_no_secret() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        };
        check(
            "{\n \"auths\": {\"a\": {\"auth\": secret",
            "`config.json`, line 2, column 26: not JSON",
        );
        check(
            "{\"auths\": {\"a\": {\"auth\": 5}}}",
            "`config.json`, line 1, column 26: a value of another type is expected here",
        );
        check(
            "{\"auths\": {\n\"a.b\": {\"auth\": \"secret!\"}}}",
            "`config.json`, line 2, column 1: the entry `a.b`: `auth` is not base64",
        );
        check(
            "{\"auths\": {\"a.b\": {\"auth\": \"YWJj\"}}}",
            "`config.json`, line 1, column 1: the entry `a.b`: `auth` has no colon",
        );
        assert!(parse("").unwrap().entries.is_empty());
        let file = parse(r#"{"auths": {"a": {"auth": "YTpzZWNyZXQ="}}}"#).unwrap();
        assert!(!format!("{file:?}").contains("secret"));
    }
}
