//! What is said at the control socket: one JSON object a line, in the versioned envelope.

use std::collections::BTreeMap;

use palisade_base::Timestamp;
use palisade_model::wire::Envelope;
use palisade_model::{Alert, Container, IncidentState};
use serde::{Deserialize, Serialize};

use crate::losses::LossStatus;
use crate::playbooks::OrderView;
use crate::reload::ReloadReport;
use crate::status::StatusReport;

/// Schema of a request.
pub const REQUEST_SCHEMA: &str = "palisade.dev/control-request/v1";
/// Schema of what is answered.
pub const RESPONSE_SCHEMA: &str = "palisade.dev/control-response/v1";

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// How is it going?
    Status,
    /// Read rules, policy and sinks again; answered when that is done.
    Reload,
    /// What happens, by container, and the processes of one of them.
    Top {
        /// The container's id; none for no processes, `host` for those of the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
    },
    /// Change an incident.
    Incident {
        /// Its id.
        incident: String,
        /// How.
        change: IncidentChange,
    },
    /// Which orders are there, and which of them ask something?
    Orders,
    /// Answer what an order asks.
    Answer {
        /// The order, or the beginning of its id.
        order: String,
        /// The step that asks; none for the one that asks now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// Who answers.
        by: String,
        /// Yes or no.
        granted: bool,
    },
    /// Send from now on what happens, until the connection ends.
    Subscribe {
        /// Every alert.
        #[serde(default)]
        alerts: bool,
        /// A sample of the events.
        #[serde(default)]
        events: bool,
    },
}

/// What a person does to an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum IncidentChange {
    /// It is over; later alerts open another one.
    Close {
        /// Why, and who says so: a line of its timeline.
        text: String,
    },
    /// Something to be remembered.
    Note {
        /// The line of its timeline.
        text: String,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "lowercase")]
pub enum Response {
    /// To `status`.
    Status {
        /// Everything.
        status: Box<StatusReport>,
    },
    /// To `reload`.
    Reload {
        /// What came of it.
        reload: Box<ReloadReport>,
    },
    /// To `top`.
    Top {
        /// What happens.
        top: Box<Top>,
    },
    /// To `incident`: the change is made.
    Incident {
        /// Its id.
        incident: String,
        /// How far it is.
        state: IncidentState,
    },
    /// To `orders`.
    Orders {
        /// Those that are remembered.
        orders: Vec<OrderView>,
    },
    /// To `answer`: it is written down.
    Answered {
        /// The order.
        order: String,
    },
    /// To `subscribe`; what is sent afterwards follows.
    Subscribed,
    /// An alert, to subscribers.
    Alert {
        /// The alert.
        alert: Box<Alert>,
        /// Its incident, if it belongs to one.
        incident: String,
    },
    /// An event, to subscribers.
    Event {
        /// The event.
        event: Sample,
    },
    /// Alerts or events that a subscriber was too slow for.
    Dropped {
        /// How many since the last of these.
        n_dropped: u64,
    },
    /// The request cannot be answered.
    Error {
        /// Why.
        message: String,
    },
}

/// One event out of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When it happened.
    pub time: Timestamp,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its number since the start.
    pub number: u64,
    /// Process id.
    pub pid: u32,
    /// `comm` of the process.
    pub process: String,
    /// Id of the container; empty for the host.
    pub container: String,
    /// What it is about: the descriptor's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
}

/// What happens on this machine. Counters are since somebody began to look; rates come from two
/// of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// When it was made.
    pub time: Timestamp,
    /// When the agent started.
    pub started: Timestamp,
    /// Events since the agent's start.
    pub n_events: u64,
    /// Alerts since the agent's start.
    pub n_alerts: u64,
    /// Processor time of the agent since its start, in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory of the agent in bytes.
    pub resident_bytes: Option<u64>,
    /// What was lost.
    pub losses: Vec<LossStatus>,
    /// Rules that are evaluated.
    pub n_rules: usize,
    /// Containers that something is known of, the host among them (its id is `host`).
    pub containers: Vec<TopContainer>,
    /// The container whose processes follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Its processes.
    pub processes: Vec<TopProcess>,
    /// Processes that are left out, because there are too many.
    pub n_processes_more: u64,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopContainer {
    /// Its id, or `host`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Events since somebody began to look.
    pub n_events: u64,
    /// Alerts since the agent's start.
    pub n_alerts: u64,
    /// Processes.
    pub n_processes: u64,
    /// The rule of the last alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_alert: Option<LastAlert>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopProcess {
    /// Process id in the host's namespace.
    pub pid: u32,
    /// The parent's.
    pub ppid: u32,
    /// Effective user id.
    pub uid: u32,
    /// `comm`.
    pub name: String,
    /// Arguments.
    pub cmdline: String,
    /// Processor time in nanoseconds, when `/proc` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ns: Option<u64>,
    /// The last alert about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_alert: Option<LastAlert>,
}

/// The last alert about something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAlert {
    /// When.
    pub time: Timestamp,
    /// Its rule.
    pub rule: String,
}

/// What a source has seen since somebody began to look.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// By the container's id, `host` for the host.
    pub containers: BTreeMap<String, (Option<Container>, TopContainer)>,
    /// Processes of the container that was asked for.
    pub processes: Vec<TopProcess>,
    /// Processes left out.
    pub n_processes_more: u64,
}

/// A request as a line.
pub fn request_line(request: &Request) -> Vec<u8> {
    line(REQUEST_SCHEMA, request)
}

/// A response as a line.
pub fn response_line(response: &Response) -> Vec<u8> {
    line(RESPONSE_SCHEMA, response)
}

fn line<T: Serialize>(schema: &str, body: &T) -> Vec<u8> {
    // The types hold nothing that JSON cannot.
    let mut bytes = serde_json::to_vec(&Envelope::new(schema, body)).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Reads a request. The error says what is wrong with it.
pub fn parse_request(line: &[u8]) -> Result<Request, String> {
    parse(line, REQUEST_SCHEMA, "request")
}

/// Reads a response.
pub fn parse_response(line: &[u8]) -> Result<Response, String> {
    parse(line, RESPONSE_SCHEMA, "response")
}

fn parse<T: serde::de::DeserializeOwned>(
    line: &[u8],
    expected: &str,
    what: &str,
) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Schema {
        schema: Option<String>,
    }
    let Schema { schema } = serde_json::from_slice(line)
        .map_err(|error| format!("the {what} is no JSON object: {error}"))?;
    // The version first: another one may mean anything by the rest.
    match schema.as_deref() {
        Some(schema) if schema == expected => {}
        Some(other) => {
            let other: String = other.chars().take(64).collect();
            return Err(format!(
                "the {what} has schema `{other}`, and `{expected}` is spoken here"
            ));
        }
        None => return Err(format!("the {what} names no schema; `{expected}` is spoken here")),
    }
    let envelope: Envelope<T> = serde_json::from_slice(line)
        .map_err(|error| format!("the {what} cannot be read: {error}"))?;
    Ok(envelope.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_there_and_back() {
        for request in [
            Request::Status,
            Request::Reload,
            Request::Top { container: None },
            Request::Top { container: Some("abc".into()) },
            Request::Subscribe { alerts: true, events: false },
            Request::Orders,
            Request::Answer { order: "o".into(), step: None, by: "me".into(), granted: true },
            Request::Incident {
                incident: "INC-1".into(),
                change: IncidentChange::Note { text: "n".into() },
            },
        ] {
            let line = request_line(&request);
            assert_eq!(line.last(), Some(&b'\n'));
            assert_eq!(parse_request(&line), Ok(request));
        }
    }

    #[test]
    fn what_is_no_request_is_told_why() {
        let check = |text: &str, expected: &str| {
            let error = parse_request(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("", "no JSON object");
        check("[1]", "no JSON object");
        check("{\"request\": \"status\"}", "names no schema");
        check(
            "{\"schema\": \"palisade.dev/control-request/v2\", \"request\": 7}",
            "request/v2`, and",
        );
        let v1 = |rest: &str| format!("{{\"schema\": \"{REQUEST_SCHEMA}\"{rest}}}");
        check(&v1(""), "cannot be read");
        check(&v1(", \"request\": \"halt\""), "unknown variant `halt`");
        check(&v1(", \"request\": \"top\", \"container\": 7"), "cannot be read");
        // A newer client may say more.
        assert_eq!(
            parse_request(v1(", \"request\": \"status\", \"more\": 1").as_bytes()),
            Ok(Request::Status)
        );
    }
}
