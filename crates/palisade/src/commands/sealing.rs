//! To whom evidence is encrypted, and who stamps its time.
//!
//! `<data-dir>/evidence.json` says it for this machine, so that a bundle is kept alike whoever
//! asks for it: the watch, a playbook, an order by hand, a guard that completes what was
//! interrupted. A watch whose policy has a section `evidence` writes the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use palisade_agent::{Sealing, StampEvidence};
use palisade_policy::Evidence;
use palisade_respond::age::{Identity, Recipient};
use palisade_respond::hands::{Request, Signed};
use palisade_trust::sigstore::{timestamp_request, timestamp_token};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure, OrExit as _};

/// How long an authority of time may take.
const STAMP_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of the file.
const SETTINGS_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a file of identities.
const IDENTITIES_BYTES_MAX: u64 = 1 << 20;

/// What `evidence.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Recipients of age: `age1…`.
    #[serde(default)]
    recipients: Vec<String>,
    /// The address of an authority of time (RFC 3161).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("evidence.json")
}

impl Settings {
    /// What is set for this machine; a file that cannot be read is an error, because what it says
    /// of secrecy is not known.
    pub(crate) fn read(data_dir: &Path) -> Result<Self, Failure> {
        let path = path(data_dir);
        let shown = || format!("read `{}`", path.display());
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            file => file.with_context(shown)?,
        };
        let bytes = palisade_base::read_bounded(file, "evidence settings", SETTINGS_BYTES_MAX)
            .with_context(shown)?;
        Ok(serde_json::from_slice(&bytes).with_context(shown)?)
    }

    /// Writes what a policy says, if it says anything.
    pub(crate) fn keep(data_dir: &Path, policy: &Evidence) -> Result<(), Failure> {
        if policy.is_plain() {
            return Ok(());
        }
        let settings =
            Self { recipients: policy.recipients.clone(), timestamp: policy.timestamp.clone() };
        let path = path(data_dir);
        let write = || -> anyhow::Result<()> {
            std::fs::create_dir_all(data_dir)?;
            let bytes = serde_json::to_vec_pretty(&settings)?;
            Ok(palisade_base::fs::write_atomic(&path, &bytes, 0o600)?)
        };
        Ok(write().with_context(|| format!("write `{}`", path.display()))?)
    }

    /// With what the command line says instead.
    pub(crate) fn with(mut self, recipients: &[String], timestamp: Option<&String>) -> Self {
        if !recipients.is_empty() {
            self.recipients = recipients.to_vec();
        }
        self.timestamp = timestamp.cloned().or(self.timestamp);
        self
    }

    /// The recipients, and a way to the authority.
    pub(crate) fn sealing(&self) -> Result<Sealing, Failure> {
        let recipients = self.recipients.iter().map(|text| text.parse::<Recipient>());
        let recipients = recipients.collect::<Result<Vec<_>, _>>().or_exit(Exit::Usage)?;
        let stamper = self.timestamp.clone().map(|url| -> StampEvidence {
            Box::new(move |root: &[u8]| stamp(&url, root).map_err(Into::into))
        });
        Ok(Sealing { recipients, stamper })
    }
}

/// The token of the authority at `url` over `message`.
fn stamp(url: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    let request = Request {
        method: "POST",
        url: url.to_string(),
        headers: vec![("content-type".into(), "application/timestamp-query".into())],
        body: timestamp_request(message).map_err(|error| error.to_string())?,
        signed: Signed::No,
        unchanged: Vec::new(),
    };
    let answer = super::send::send(&request, STAMP_DEADLINE, None)?;
    if answer.status != 200 {
        return Err(format!("the authority of time answers with status {}", answer.status));
    }
    timestamp_token(&answer.body, message).map_err(|error| error.to_string())
}

/// The identities in the files at `paths`.
pub(crate) fn identities(paths: &[PathBuf]) -> Result<Vec<Identity>, Failure> {
    let mut all = Vec::new();
    for path in paths {
        let bytes = super::scan::read_bytes(path, "identities", IDENTITIES_BYTES_MAX)?;
        let text = zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        let found = Identity::parse_file(&text)
            .or_exit(Exit::Usage)
            .map_err(|failure| failure.during(format!("read identities `{}`", path.display())))?;
        all.extend(found);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPIENT: &str = "age17x8lpzjslrdseu7vvnzjefcpm6zl7lp8q93gyrq0x7af8p6kr94qvslfz5";

    fn good<T>(result: Result<T, Failure>) -> T {
        result.unwrap_or_else(|failure| panic!("{}", failure.render()))
    }

    #[test]
    fn what_a_policy_says_is_kept_for_all_who_collect() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("data");
        assert_eq!(good(Settings::read(&at)), Settings::default());
        good(Settings::keep(&at, &Evidence::default()));
        assert!(!path(&at).exists(), "a policy that says nothing writes nothing");
        let policy = Evidence {
            recipients: vec![RECIPIENT.into()],
            timestamp: Some("http://127.0.0.1:1/tsr".into()),
        };
        good(Settings::keep(&at, &policy));
        good(Settings::keep(&at, &Evidence::default()));
        let sealing = good(good(Settings::read(&at)).sealing());
        assert_eq!(sealing.recipients, [RECIPIENT.parse().unwrap()]);
        // Nobody answers there, which is an error and nothing else.
        assert!(sealing.stamper.unwrap()(b"root").is_err());
        // The command line comes first.
        let mine = Identity::generate().unwrap().recipient();
        let named = good(Settings::read(&at)).with(&[mine.to_string()], None);
        assert_eq!(good(named.sealing()).recipients, [mine]);
    }

    #[test]
    fn what_cannot_be_read_is_no_reason_to_write_in_the_clear() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str| {
            std::fs::write(path(folder.path()), text).unwrap();
            let read = Settings::read(folder.path()).and_then(|settings| settings.sealing());
            assert!(read.is_err(), "{text}");
        };
        for text in ["", "{", "[1]", r#"{"recipient": []}"#, r#"{"recipients": ["age1x"]}"#] {
            check(text);
        }
        let file = folder.path().join("identities");
        std::fs::write(&file, "AGE-SECRET-KEY-1\n").unwrap();
        let error = identities(&[file]).unwrap_err().render();
        assert!(error.contains("line 1 is no identity") && !error.contains("SECRET-KEY-1\n"));
        assert!(good(identities(&[])).is_empty());
    }
}
