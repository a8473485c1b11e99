//! Whether a server asks who is there, and whether it takes a password that everybody knows.
//!
//! Only questions are asked that read, and whose answer is small; nothing is written or left
//! behind on the server but lines in its log.

pub(crate) mod credentials;
mod database;
mod login;
mod queue;
mod ssh;
pub(crate) mod web;

use std::io;
use std::time::Duration;

use crate::finding::{DEFAULT_CREDENTIALS, Finding, NO_AUTHENTICATION, Place, shown};
use crate::protocol::Protocol;
use crate::wire::{Answer, Dial, Endpoint, Wire};

use self::credentials::Credential;

/// Bytes of an answer that evidence shows.
const SHOWN_BYTES_MAX: usize = 160;

/// The server that is asked.
pub(crate) struct Server<'a> {
    pub(crate) dial: &'a dyn Dial,
    pub(crate) endpoint: Endpoint,
    pub(crate) place: &'a Place,
    /// How long one conversation may take.
    pub(crate) deadline: Duration,
}

/// What came of asking.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
    /// What could not be found out, and why.
    pub(crate) gaps: Vec<String>,
}

impl Server<'_> {
    fn open(&self) -> io::Result<Wire> {
        Wire::open(self.dial, self.endpoint, self.deadline)
    }

    /// One question on a new connection.
    fn ask(&self, question: &[u8], is_whole: impl FnMut(&[u8]) -> bool) -> io::Result<Answer> {
        crate::wire::ask(self.dial, self.endpoint, self.deadline, question, is_whole)
    }

    /// That anybody is let in, as `answer` proves.
    fn open_to_all(&self, detail: &str, answer: &[u8]) -> Finding {
        Finding::new(&NO_AUTHENTICATION, detail)
            .at(self.place)
            .with(&shown(answer, SHOWN_BYTES_MAX))
    }

    /// That `user` is let in whatever the password is.
    fn takes_any(&self, user: &str) -> Finding {
        let detail = format!("user `{user}` is let in with any password");
        Finding::new(&NO_AUTHENTICATION, detail).at(self.place)
    }

    /// That `credential` was taken.
    fn taken(&self, credential: &Credential) -> Finding {
        let (user, password) = (credential.user, credential.password);
        let who = if user.is_empty() { String::new() } else { format!("user `{user}`, ") };
        let what = if password.is_empty() {
            "no password".into()
        } else {
            format!("password `{password}`")
        };
        Finding::new(&DEFAULT_CREDENTIALS, format!("it takes {who}{what}"))
            .at(self.place)
            .with(&format!("known from: {}", credential.source))
    }
}

/// One line of an answer.
fn line(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n")
}

/// Asks the server what its protocol has to be asked.
pub(crate) fn examine(protocol: Protocol, server: &Server<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let result = match protocol {
        Protocol::Redis => database::redis(server, &mut outcome),
        Protocol::Memcached => database::memcached(server, &mut outcome),
        Protocol::Mongodb => database::mongodb(server, &mut outcome),
        Protocol::Postgresql => database::postgresql(server, &mut outcome),
        Protocol::Mysql => database::mysql(server, &mut outcome),
        Protocol::Amqp => queue::amqp(server, &mut outcome),
        Protocol::Mqtt => queue::mqtt(server, &mut outcome),
        Protocol::Zookeeper => queue::zookeeper(server, &mut outcome),
        Protocol::Ssh => ssh::ssh(server, &mut outcome),
        Protocol::Ftp => login::ftp(server, &mut outcome),
        Protocol::Smtp => login::smtp(server, &mut outcome),
        Protocol::Pop3 => login::pop3(server, &mut outcome),
        Protocol::Imap => login::imap(server, &mut outcome),
        Protocol::Telnet => {
            login::telnet(server, &mut outcome);
            Ok(())
        }
        Protocol::Vnc => login::vnc(server, &mut outcome),
        Protocol::Http => web::examine(server, &mut outcome),
        Protocol::Unknown => {
            outcome.gaps.push("what is spoken there is not known, so nothing was asked".into());
            Ok(())
        }
        Protocol::Epmd => queue::epmd(server, &mut outcome),
        Protocol::Smb | Protocol::H2c => {
            let name = protocol.as_str();
            outcome.gaps.push(format!("logins of `{name}` are not tested"));
            Ok(())
        }
        Protocol::Tls => Ok(()),
    };
    if let Err(error) = result {
        outcome.gaps.push(format!("{}: {error}", protocol.as_str()));
    }
    outcome
}

pub(crate) use database::mysql_version;

/// Parsers of what servers send, for fuzzing: never a panic, never more memory than the input
/// is worth.
#[doc(hidden)]
pub fn parse_everything(bytes: &[u8]) {
    let _all = (
        database::mysql_handshake(bytes),
        database::mongo_ok(bytes),
        database::scram_first(bytes),
        database::postgres_messages(bytes).len(),
        queue::amqp_method(bytes),
        ssh::kexinit(bytes),
        ssh::payload(bytes).and_then(ssh::kexinit),
        mysql_version(bytes),
    );
}
