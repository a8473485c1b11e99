//! What a person does to an incident: notes on it, and its end.
//!
//! A running `watch` holds its incidents in memory, so it is asked to make the change; without
//! one the incident's file is changed.

use anyhow::Context as _;
use palisade_agent::control::protocol::{IncidentChange, Request, Response};
use palisade_agent::control::{Client, ClientError};
use palisade_agent::incident::{close as close_incident, note as note_incident};
use palisade_agent::keeper;
use palisade_base::{Timestamp, read_bounded};
use palisade_model::IncidentState;

use super::{Context, find, state_name};
use crate::cli::{CloseArgs, NoteArgs};
use crate::exit::{Exit, Failure, OrExit as _};

/// Bytes of `passwd(5)` that are read for a name.
const PASSWD_BYTES_MAX: u64 = 1 << 20;

/// Puts a note on an incident's timeline.
pub(super) fn note(context: &Context<'_>, args: &NoteArgs) -> Result<Exit, Failure> {
    let text = args.text.trim();
    if text.is_empty() {
        return Err(Failure::message(Exit::Usage, "the note is empty")
            .with_hint("write what is to be remembered, in quotes"));
    }
    let text = format!("{}: {text}", who());
    change(context, &args.incident, &IncidentChange::Note { text })
}

/// Closes an incident.
pub(super) fn close(context: &Context<'_>, args: &CloseArgs) -> Result<Exit, Failure> {
    let text = match &args.reason {
        Some(reason) => format!("closed by {}: {}", who(), reason.trim()),
        None => format!("closed by {}", who()),
    };
    change(context, &args.incident, &IncidentChange::Close { text })
}

fn change(context: &Context<'_>, id: &str, change: &IncidentChange) -> Result<Exit, Failure> {
    let mut incident = find(context, id)?;
    let state = if let Some(state) = ask(context, &incident.id, change)? {
        state
    } else {
        let now = Timestamp::now();
        match change {
            IncidentChange::Note { text } => note_incident(&mut incident, now, text),
            IncidentChange::Close { text } => {
                close_incident(&mut incident, now, text).or_exit(Exit::Incomplete)?;
            }
        }
        let folder = context.global.data_dir.join("incidents");
        keeper::write(&folder, &incident)
            .with_context(|| format!("write incident `{}`", incident.id))?;
        incident.state
    };
    context.terminal.result(&format!("{} is {}\n", incident.id, state_name(state)))?;
    Ok(Exit::Clean)
}

/// Has the running `watch` make the change; `None` when none runs, or it does not know the
/// incident: it watches for another data folder, or the incident is too old for its memory.
fn ask(
    context: &Context<'_>,
    incident: &str,
    change: &IncidentChange,
) -> Result<Option<IncidentState>, Failure> {
    let mut client = match Client::connect(&context.global.run_dir) {
        Ok(client) => client,
        Err(ClientError::NotRunning { .. }) => return Ok(None),
        Err(error) => return Err(error).or_exit(Exit::Incomplete),
    };
    let request = Request::Incident { incident: incident.to_string(), change: change.clone() };
    match client.ask(&request) {
        Ok(Response::Incident { state, .. }) => Ok(Some(state)),
        Ok(_) => {
            Err(Failure::message(Exit::Incomplete, "the running watch answers something else"))
        }
        Err(ClientError::Refused(message)) if message.starts_with("no incident") => Ok(None),
        Err(error) => Err(error).or_exit(Exit::Incomplete),
    }
}

/// The person at the terminal: the login user, who stays the same through `su` and `sudo`, or
/// the user of this process.
fn who() -> String {
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login = login.and_then(|text| text.trim().parse::<u32>().ok()).filter(|id| *id != u32::MAX);
    let uid = login.unwrap_or_else(|| rustix::process::getuid().as_raw());
    let passwd = std::fs::File::open("/etc/passwd").ok();
    let passwd = passwd.and_then(|file| read_bounded(file, "passwd", PASSWD_BYTES_MAX).ok());
    let passwd = passwd.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let name = passwd.as_deref().and_then(|text| {
        text.lines().find_map(|line| {
            let mut parts = line.split(':');
            let name = parts.next()?;
            (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
        })
    });
    name.unwrap_or_else(|| format!("user id {uid}"))
}
