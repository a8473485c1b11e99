//! Alerts as OCSF Detection Findings (class 2004), schema 1.8.0, with the profiles
//! `container`, `host` and `security_control`.
//!
//! The schema is at <https://schema.ocsf.io/1.8.0/classes/detection_finding>; docs/formats/
//! has the mapping field by field. What an event lacks is left out: OCSF has no null.

use palisade_base::Timestamp;
use palisade_model::alert::Outcome;
use palisade_model::{Alert, Container, EnforcementOutcome, Priority, Process, Repeats, Verdict};
use serde_json::{Map, Value, json};

use crate::item::{About, Item, TechniqueNames, technique_ids};

/// Version of the schema.
pub const VERSION: &str = "1.8.0";
/// Class of the documents.
pub const CLASS_UID: u64 = 2004;
/// Ancestors that a document names.
const ANCESTORS_MAX: usize = 16;

/// Tactics of MITRE ATT&CK for Enterprise, with the tag by which Falco's rules name each.
const TACTICS: [(&str, &str, &str); 14] = [
    ("mitre_reconnaissance", "TA0043", "Reconnaissance"),
    ("mitre_resource_development", "TA0042", "Resource Development"),
    ("mitre_initial_access", "TA0001", "Initial Access"),
    ("mitre_execution", "TA0002", "Execution"),
    ("mitre_persistence", "TA0003", "Persistence"),
    ("mitre_privilege_escalation", "TA0004", "Privilege Escalation"),
    ("mitre_defense_evasion", "TA0005", "Defense Evasion"),
    ("mitre_credential_access", "TA0006", "Credential Access"),
    ("mitre_discovery", "TA0007", "Discovery"),
    ("mitre_lateral_movement", "TA0008", "Lateral Movement"),
    ("mitre_collection", "TA0009", "Collection"),
    ("mitre_command_and_control", "TA0011", "Command and Control"),
    ("mitre_exfiltration", "TA0010", "Exfiltration"),
    ("mitre_impact", "TA0040", "Impact"),
];

/// The item as an OCSF document.
pub fn document(item: Item<'_>, about: About<'_>) -> Value {
    match item {
        Item::Alert(alert) => of_alert(alert, about),
        Item::Repeats(repeats) => of_repeats(repeats, about),
    }
}

fn of_alert(alert: &Alert, about: About<'_>) -> Value {
    let mut out = head(Item::Alert(alert), Activity::Create, alert.raised, about);
    let (start, end) = (alert.time.as_millis(), alert.time.as_millis());
    out.extend(object(json!({
        "start_time": start,
        "end_time": end,
        "message": first_of(&alert.output, &alert.rule),
        "is_alert": true,
        "finding_info": finding(alert, about.techniques),
        "evidences": evidence(alert).into_iter().collect::<Vec<_>>(),
        "device": device(&alert.hostname),
        "observables": observables(alert),
        "unmapped": unmapped(alert),
    })));
    out.extend(verdict(alert));
    if let Some(container) = &alert.container {
        out.insert("resources".into(), json!([resource(container)]));
    }
    Value::Object(out)
}

fn of_repeats(repeats: &Repeats, about: About<'_>) -> Value {
    let mut out = head(Item::Repeats(repeats), Activity::Update, repeats.time, about);
    out.extend(object(json!({
        "start_time": repeats.since.as_millis(),
        "end_time": repeats.time.as_millis(),
        // The alert itself, and its repeats.
        "count": repeats.n_repeats.saturating_add(1),
        "message": format!("{}: repeated {} more times", repeats.rule, repeats.n_repeats),
        "is_alert": true,
        "finding_info": {
            "uid": repeats.alert,
            "title": repeats.rule,
            "analytic": analytic(&repeats.rule),
            "first_seen_time": repeats.since.as_millis(),
            "last_seen_time": repeats.time.as_millis(),
            "modified_time": repeats.time.as_millis(),
        },
        "device": device(&repeats.hostname),
    })));
    Value::Object(out)
}

#[derive(Clone, Copy)]
enum Activity {
    Create,
    Update,
}

impl Activity {
    fn id(self) -> (u64, &'static str) {
        match self {
            Self::Create => (1, "Create"),
            Self::Update => (2, "Update"),
        }
    }
}

/// What every finding has: its class, activity, severity and metadata.
fn head(
    item: Item<'_>,
    activity: Activity,
    time: Timestamp,
    about: About<'_>,
) -> Map<String, Value> {
    let (activity_id, activity_name) = activity.id();
    let (severity_id, severity) = severity(item.priority());
    object(json!({
        "metadata": {
            "version": VERSION,
            "product": { "name": "Palisade", "vendor_name": "Palisade", "version": about.version },
            "profiles": ["container", "host", "security_control"],
            "uid": item.id(),
            "log_name": "alerts",
            "event_code": item.rule(),
            "original_time": item.time().rfc3339(),
            "labels": labels(item),
        },
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "activity_id": activity_id,
        "activity_name": activity_name,
        "type_uid": CLASS_UID * 100 + activity_id,
        "type_name": format!("Detection Finding: {activity_name}"),
        "time": time.as_millis(),
        "timezone_offset": 0,
        "severity_id": severity_id,
        "severity": severity,
        "status_id": 1,
        "status": "New",
    }))
}

fn labels(item: Item<'_>) -> Option<Value> {
    match item {
        Item::Alert(alert) if !alert.tags.is_empty() => Some(json!(alert.tags)),
        _ => None,
    }
}

fn severity(priority: Priority) -> (u64, &'static str) {
    match priority {
        Priority::Debug | Priority::Informational => (1, "Informational"),
        Priority::Notice => (2, "Low"),
        Priority::Warning => (3, "Medium"),
        Priority::Error => (4, "High"),
        Priority::Critical | Priority::Alert => (5, "Critical"),
        Priority::Emergency => (6, "Fatal"),
    }
}

/// What became of it, in the terms of the profile `security_control`.
fn verdict(alert: &Alert) -> Map<String, Value> {
    let done = alert.enforcement.as_ref();
    match done.map(|done| (done.outcome, done.to_string())) {
        Some((EnforcementOutcome::Prevented, text)) => {
            return object(json!({
                "action_id": 2, "action": "Denied",
                "disposition_id": 2, "disposition": "Blocked",
                "status_detail": text,
            }));
        }
        Some((EnforcementOutcome::Killed, text)) => {
            return object(json!({
                "action_id": 4, "action": "Modified",
                "disposition_id": 7, "disposition": "Custom Action",
                "status_detail": text,
            }));
        }
        _ => {}
    }
    match (alert.verdict(), alert.outcome) {
        (Verdict::Blocked, Outcome::Failed { errno }) => object(json!({
            "action_id": 2, "action": "Denied",
            "disposition_id": 2, "disposition": "Blocked",
            "status_code": errno.to_string(),
            "status_detail": format!("the kernel refused it with error number {errno}"),
        })),
        _ => object(json!({
            "action_id": 3, "action": "Observed",
            "disposition_id": 15, "disposition": "Detected",
        })),
    }
}

fn finding(alert: &Alert, techniques: TechniqueNames) -> Value {
    compact(json!({
        "uid": alert.id,
        "title": alert.rule,
        "desc": alert.output,
        "analytic": analytic(&alert.rule),
        "attacks": attacks(&alert.tags, techniques),
        "created_time": alert.raised.as_millis(),
        "first_seen_time": alert.time.as_millis(),
        "last_seen_time": alert.time.as_millis(),
        "data_sources": [alert.source],
    }))
}

fn analytic(rule: &str) -> Value {
    json!({ "name": rule, "uid": rule, "type_id": 1, "type": "Rule" })
}

/// An entry for each technique, with its tactic; tactics that no technique brings stand alone.
fn attacks(tags: &[String], names: TechniqueNames) -> Vec<Value> {
    let mut said = Vec::new();
    let mut out: Vec<Value> = Vec::new();
    for id in technique_ids(tags) {
        let (main, sub) = match id.split_once('.') {
            Some((main, _)) => (main, Some(id)),
            None => (id, None),
        };
        let known = names(id).or_else(|| names(main));
        let tactic = known.and_then(|(_, tactic)| TACTICS.iter().find(|t| t.2 == tactic));
        said.extend(tactic.map(|(tag, ..)| *tag));
        let named = |id: &str| json!({ "uid": id, "name": names(id).map(|(name, _)| name) });
        out.push(compact(json!({
            "technique": named(main),
            "sub_technique": sub.map(named),
            "tactic": tactic.map(|(_, uid, name)| json!({ "uid": uid, "name": name })),
        })));
    }
    for (tag, uid, name) in TACTICS {
        if tags.iter().any(|t| t == tag) && !said.contains(&tag) {
            out.push(json!({ "tactic": { "uid": uid, "name": name } }));
        }
    }
    out
}

/// What the event showed; nothing when it showed nothing.
fn evidence(alert: &Alert) -> Option<Value> {
    let fields: Map<String, Value> = alert
        .output_fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if fields.is_empty() && alert.process.is_none() {
        return None;
    }
    Some(compact(json!({
        "name": alert.event_type,
        "data": fields,
        "process": alert.process.as_ref().map(|p| process(p, alert)),
        "container": alert.container.as_ref().map(container),
    })))
}

/// The acting process, with its container, its parent and its ancestors.
fn process(process: &Process, alert: &Alert) -> Value {
    let mut out = object(plain_process(process));
    let ancestry: Vec<Value> = alert
        .ancestors
        .iter()
        .take(ANCESTORS_MAX)
        .map(|ancestor| {
            compact(json!({
                "pid": ancestor.pid,
                "name": ancestor.name,
                "path": ancestor.exe,
                "cmd_line": ancestor.cmdline,
                "created_time": created(ancestor),
                "uid": unique(ancestor),
            }))
        })
        .collect();
    out.extend(object(json!({
        "namespace_pid": process.vpid,
        "container": alert.container.as_ref().map(container),
        "parent_process": alert.ancestors.first().map(plain_process),
        "ancestry": ancestry,
    })));
    compact(Value::Object(out))
}

fn plain_process(process: &Process) -> Value {
    compact(json!({
        "pid": process.pid,
        "uid": unique(process),
        "name": process.name,
        "cmd_line": process.cmdline,
        "path": process.exe,
        "file": file(&process.exe),
        "created_time": created(process),
        "working_directory": process.cwd,
        "user": { "uid": process.uid.to_string() },
    }))
}

/// Process ids are used again; with the time of its start it names one process of a host.
fn unique(process: &Process) -> String {
    format!("{}-{}", process.pid, process.start.as_nanos())
}

fn created(process: &Process) -> Option<u64> {
    Some(process.start.as_millis()).filter(|millis| *millis > 0)
}

fn file(path: &str) -> Option<Value> {
    let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    Some(json!({ "name": name, "path": path, "type_id": 1, "type": "Regular File" }))
}

fn container(container: &Container) -> Value {
    let image = container.image.as_ref().map(|image| {
        let (name, tag) = split_tag(&image.reference);
        compact(json!({
            "uid": image.digest.map_or_else(|| image.reference.clone(), |d| d.to_string()),
            "name": name,
            "tags": tag.map(|tag| json!([{ "name": "tag", "value": tag }])),
        }))
    });
    let pod = container.pod.as_ref();
    compact(json!({
        "uid": container.id,
        "name": container.name,
        "runtime": container.engine.as_str(),
        "image": image,
        "orchestrator": pod.map(|_| "kubernetes"),
        "pod_uuid": pod.map(|pod| pod.uid.as_str()).filter(|uid| is_uuid(uid)),
    }))
}

/// `docker.io/library/nginx:1.27` as name and tag; a port of a registry is no tag.
fn split_tag(reference: &str) -> (&str, Option<&str>) {
    // A layout or an archive of `palisade run` has no tag that its reference would tell.
    if reference.starts_with("oci:") || reference.starts_with("archive:") {
        return (reference, None);
    }
    let bare = reference.split_once('@').map_or(reference, |(bare, _)| bare);
    match bare.rsplit_once(':') {
        Some((name, tag)) if !name.is_empty() && !tag.contains('/') => (name, Some(tag)),
        _ => (bare, None),
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn resource(container: &Container) -> Value {
    compact(json!({
        "type": "container",
        "uid": container.id,
        "name": container.name,
        "namespace": container.pod.as_ref().map(|pod| pod.namespace.as_str()),
        "role_id": 3,
        "role": "Affected",
    }))
}

/// The host; OCSF has none without a name.
fn device(hostname: &str) -> Option<Value> {
    (!hostname.is_empty()).then(|| {
        json!({
            "hostname": hostname,
            "type_id": 0,
            "type": "Unknown",
            "os": { "name": "Linux", "type_id": 200, "type": "Linux" },
        })
    })
}

fn observables(alert: &Alert) -> Vec<Value> {
    let mut out = Vec::new();
    let mut add = |name: &str, type_id: u64, kind: &str, value: &str| {
        if !value.is_empty() {
            out.push(json!({ "name": name, "type_id": type_id, "type": kind, "value": value }));
        }
    };
    add("device.hostname", 1, "Hostname", &alert.hostname);
    if let Some(process) = &alert.process {
        add("evidences.process.name", 9, "Process Name", &process.name);
        add("evidences.process.file.path", 45, "File Path", &process.exe);
        add("evidences.process.cmd_line", 13, "Command Line", &process.cmdline);
    }
    if let Some(container) = &alert.container {
        add("resources.uid", 10, "Resource UID", &container.id);
    }
    out
}

/// What OCSF has no field for.
fn unmapped(alert: &Alert) -> Value {
    let container = alert.container.as_ref();
    compact(json!({
        "priority": alert.priority.as_str(),
        "event_type": alert.event_type,
        "outcome": alert.outcome,
        "enforcement": alert.enforcement,
        "latency_ns": u64::try_from(alert.latency().as_nanos()).unwrap_or(u64::MAX),
        "policy": container.and_then(|c| c.policy.as_deref()),
        "pod_name": container.and_then(|c| c.pod.as_ref()).map(|pod| pod.name.as_str()),
    }))
}

fn first_of<'t>(text: &'t str, otherwise: &'t str) -> &'t str {
    if text.is_empty() { otherwise } else { text }
}

fn object(value: Value) -> Map<String, Value> {
    match compact(value) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// `value` without nulls, empty texts, empty lists and empty objects, at every depth.
fn compact(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, compact(value)))
            .filter(|(_, value)| !is_empty(value))
            .collect(),
        Value::Array(items) => {
            items.into_iter().map(compact).filter(|value| !is_empty(value)).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
