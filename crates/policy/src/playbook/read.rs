//! Text → playbook, with every problem at once. Total: any text gives a playbook or problems.
#![expect(clippy::single_match_else, reason = "the two sides are a value and its problem")]

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use palisade_base::yaml::{self, Dialect, Key, Node, Place, Value, cut};
use palisade_base::{Diagnostic, Diagnostics, Explain, Location, Severity, suggest};
use palisade_model::Priority;
use serde_json::{Map, json};

use super::forms::{FORMS, Form, Parameter, ParameterKind, form};
use super::{Caps, DURATION_MS, OnFailure, Playbook, Step, StepKind, Trigger};

/// Largest playbook file, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 10;
/// Most steps of a playbook.
pub const STEPS_MAX: usize = 64;
/// Longest name of a playbook or a step, in bytes.
pub const NAME_BYTES_MAX: usize = 40;
/// Longest text, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Most entries of a list of rules, tags, images, arguments.
pub const TEXTS_MAX: usize = 256;
/// Problems that are listed.
const PROBLEMS_MAX: usize = 100;
/// How long an approval is waited for unless the step says otherwise: 15 minutes.
const APPROVAL_MS: u64 = 15 * 60_000;

const DIALECT: Dialect =
    Dialect { name: "a playbook", document: "playbook", depth_max: 8, n_nodes_max: 10_000 };

/// A playbook without errors, and what its author should hear.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedPlaybook {
    /// The playbook.
    pub playbook: Playbook,
    /// Where it was read from.
    pub source: String,
    /// Warnings, never errors.
    pub warnings: Diagnostics,
    /// Its text, to quote lines from.
    pub text: String,
}

/// A playbook that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadPlaybookError {
    /// The file cannot be read.
    #[error("read playbook `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file has errors.
    #[error("playbook `{file}` has {} error(s) and cannot be used", diagnostics.counts().0)]
    Invalid {
        /// The file as it was named.
        file: String,
        /// Its text, to quote lines from.
        text: String,
        /// All problems.
        diagnostics: Diagnostics,
    },
}

impl Explain for LoadPlaybookError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "name a file, or a folder with playbooks (*.yaml)".into(),
            Self::Invalid { .. } => {
                "docs/guide/playbooks.md lists every key and every action".into()
            }
        })
    }
}

/// Loads the playbook at `path`.
pub fn load_file(path: &Path) -> Result<LoadedPlaybook, LoadPlaybookError> {
    let read = |source| LoadPlaybookError::Read { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(read)?;
    let bytes = palisade_base::read_bounded(file, "playbook", FILE_BYTES_MAX).map_err(read)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        read(io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8 text"))
    })?;
    parse(&text, &path.display().to_string())
}

/// Reads a playbook from `text`; `file` names it in diagnostics.
pub fn parse(text: &str, file: &str) -> Result<LoadedPlaybook, LoadPlaybookError> {
    let mut reader = Reader { file, found: Vec::new(), n_unlisted: 0 };
    let mut playbook = None;
    if text.len() as u64 > FILE_BYTES_MAX {
        let what = format!("a playbook is at most {FILE_BYTES_MAX} bytes");
        reader.error("too-large", Place::START, what, None);
    } else {
        let (root, problems) = yaml::parse(text, DIALECT);
        let whole = problems.is_empty();
        for problem in problems {
            reader.found.push(problem.diagnostic(file));
        }
        match root {
            Some(root) if whole => playbook = Some(reader.playbook(&root)),
            _ if whole => reader.error("missing-key", Place::START, "the file is empty", None),
            _ => {}
        }
    }
    let Reader { mut found, n_unlisted, .. } = reader;
    found.sort_by_key(|d| (d.location.line, d.location.column));
    if n_unlisted > 0 {
        found.push(Diagnostic {
            code: "too-many-problems",
            severity: Severity::Error,
            location: Location { file: file.into(), line: 1, column: 1 },
            message: format!("{n_unlisted} further problem(s) are not listed"),
            help: None,
        });
    }
    let diagnostics = Diagnostics(found);
    match playbook {
        Some(playbook) if !diagnostics.has_errors() => Ok(LoadedPlaybook {
            playbook,
            source: file.to_string(),
            warnings: diagnostics,
            text: text.to_string(),
        }),
        _ => Err(LoadPlaybookError::Invalid {
            file: file.to_string(),
            text: text.to_string(),
            diagnostics,
        }),
    }
}

struct Reader<'f> {
    file: &'f str,
    found: Vec<Diagnostic>,
    n_unlisted: usize,
}

/// Entries of a mapping.
type Entries = [(Key, Node)];

fn get<'n>(entries: &'n Entries, name: &str) -> Option<&'n Node> {
    entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
}

impl Reader<'_> {
    fn note(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        if self.found.len() >= PROBLEMS_MAX {
            self.n_unlisted += 1;
            return;
        }
        let location =
            Location { file: self.file.to_string(), line: place.line, column: place.column };
        let message = message.into();
        self.found.push(Diagnostic { code, severity, location, message, help });
    }

    fn error(
        &mut self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.note(Severity::Error, code, place, message, help);
    }

    /// The entries of a mapping whose keys are all `known`.
    fn mapping<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> &'n Entries {
        let Value::Map(entries) = &node.value else {
            let message = format!("{what} must be a mapping, not {}", node.type_name());
            self.error("wrong-type", node.place, message, None);
            return &[];
        };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            self.unknown(key, known);
        }
        entries
    }

    fn unknown(&mut self, key: &Key, known: &[&str]) {
        let help = match suggest::nearest(&key.text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here are {}", known.join(", ")),
        };
        self.error(
            "unknown-key",
            key.place,
            format!("unknown key `{}`", cut(&key.text)),
            Some(help),
        );
    }

    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let Value::Scalar { text, .. } = &node.value else {
            let message = format!("{what} must be text, not {}", node.type_name());
            self.error("wrong-type", node.place, message, None);
            return None;
        };
        if node.is_null() || text.is_empty() {
            self.error("wrong-type", node.place, format!("{what} is empty"), None);
            return None;
        }
        if text.len() > TEXT_BYTES_MAX || text.chars().any(|c| c.is_control() && c != '\n') {
            let message =
                format!("{what} is longer than {TEXT_BYTES_MAX} bytes, or not plain text");
            self.error("bad-value", node.place, message, None);
            return None;
        }
        Some(text.clone())
    }

    /// A name: letters, digits, `-` and `_`.
    fn name(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        let fits = text.len() <= NAME_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !fits {
            let message = format!("{what} `{}` is no name", cut(&text));
            let help = format!("use up to {NAME_BYTES_MAX} letters, digits, - and _");
            self.error("bad-value", node.place, message, Some(help));
            return None;
        }
        Some(text)
    }

    /// One text, or a list of them.
    fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        match &node.value {
            Value::List(items) if items.len() > TEXTS_MAX => {
                let message = format!("{what} has more than {TEXTS_MAX} entries");
                self.error("too-large", node.place, message, None);
                Vec::new()
            }
            Value::List(items) => items.iter().filter_map(|item| self.text(item, what)).collect(),
            _ => self.text(node, what).into_iter().collect(),
        }
    }

    fn number(&mut self, node: &Node, what: &str, min: u32, max: u32) -> Option<u32> {
        let text = self.text(node, what)?;
        match text.parse::<u32>() {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            _ => {
                let message = format!("{what} `{}` is no number", cut(&text));
                let help = format!("write a whole number from {min} to {max}");
                self.error("bad-value", node.place, message, Some(help));
                None
            }
        }
    }

    /// A time as `500ms`, `30s`, `10m`, `2h`, `7d`; milliseconds.
    fn duration(&mut self, node: &Node, what: &str, min_ms: u64) -> Option<u64> {
        let text = self.text(node, what)?;
        let ms = duration_ms(&text);
        match ms {
            Some(ms) if (min_ms..=*DURATION_MS.end()).contains(&ms) => Some(ms),
            _ => {
                let message = format!("{what} `{}` is no time that fits here", cut(&text));
                let help = "write a number with ms, s, m, h or d, up to 30d: 10m".to_string();
                self.error("bad-value", node.place, message, Some(help));
                None
            }
        }
    }

    fn playbook(&mut self, root: &Node) -> Playbook {
        const KNOWN: &[&str] = &["playbook", "description", "owner", "on", "caps", "steps"];
        let entries = self.mapping(root, "a playbook", KNOWN);
        let name = get(entries, "playbook").and_then(|node| self.name(node, "`playbook`"));
        if get(entries, "playbook").is_none() {
            let help = Some("add it, for example `playbook: contain-intruder`".into());
            self.error("missing-key", root.place, "`playbook`, its name, is missing", help);
        }
        let optional = |reader: &mut Self, key: &str| {
            get(entries, key).and_then(|node| reader.text(node, key)).unwrap_or_default()
        };
        let description = optional(self, "description");
        let owner = optional(self, "owner");
        let on = self.trigger(get(entries, "on"));
        let caps = get(entries, "caps").map_or_else(Caps::default, |node| self.caps(node));
        let steps = match get(entries, "steps") {
            Some(node) => self.steps(node),
            None => {
                let help = Some("add `steps:` with at least one action".into());
                self.error("missing-key", root.place, "`steps` is missing", help);
                Vec::new()
            }
        };
        Playbook { name: name.unwrap_or_default(), description, owner, on, caps, steps }
    }

    fn trigger(&mut self, node: Option<&Node>) -> Trigger {
        const KNOWN: &[&str] =
            &["priority", "rules", "tags", "images", "containers", "labels", "score"];
        let mut trigger = Trigger {
            priority: Priority::Critical,
            rules: Vec::new(),
            tags: Vec::new(),
            images: Vec::new(),
            containers: Vec::new(),
            labels: Vec::new(),
            score: 0,
        };
        let Some(node) = node else { return trigger };
        let entries = self.mapping(node, "`on`", KNOWN);
        if let Some(node) = get(entries, "priority")
            && let Some(text) = self.text(node, "`priority`")
        {
            match text.parse() {
                Ok(priority) => trigger.priority = priority,
                Err(_) => {
                    let names: Vec<String> =
                        Priority::ALL.iter().map(|p| p.as_str().to_ascii_lowercase()).collect();
                    let message = format!("`{}` is no priority", cut(&text));
                    let help = Some(format!("allowed are {}", names.join(", ")));
                    self.error("bad-value", node.place, message, help);
                }
            }
        }
        let list = |reader: &mut Self, key: &str| {
            get(entries, key).map(|node| reader.texts(node, key)).unwrap_or_default()
        };
        trigger.rules = list(self, "rules");
        trigger.tags = list(self, "tags");
        trigger.images = list(self, "images");
        trigger.containers = list(self, "containers");
        if let Some(node) = get(entries, "labels") {
            match &node.value {
                Value::Map(labels) => {
                    for (key, value) in labels.iter().take(TEXTS_MAX) {
                        if let Some(value) = self.text(value, "a label") {
                            trigger.labels.push((key.text.clone(), value));
                        }
                    }
                }
                _ => {
                    let message = format!("`labels` must be a mapping, not {}", node.type_name());
                    self.error("wrong-type", node.place, message, None);
                }
            }
        }
        if let Some(node) = get(entries, "score")
            && let Some(score) = self.number(node, "`score`", 0, 100)
        {
            trigger.score = u8::try_from(score).unwrap_or(100);
        }
        trigger
    }

    fn caps(&mut self, node: &Node) -> Caps {
        let mut caps = Caps::default();
        let entries = self.mapping(node, "`caps`", &["containers_per_hour", "runs_per_hour"]);
        let cap = |reader: &mut Self, key: &str, to: &mut u32| {
            if let Some(node) = get(entries, key)
                && let Some(n) = reader.number(node, key, 1, 10_000)
            {
                *to = n;
            }
        };
        cap(self, "containers_per_hour", &mut caps.containers_per_hour);
        cap(self, "runs_per_hour", &mut caps.runs_per_hour);
        caps
    }

    fn steps(&mut self, node: &Node) -> Vec<Step> {
        let Value::List(items) = &node.value else {
            let message = format!("`steps` must be a list, not {}", node.type_name());
            self.error("wrong-type", node.place, message, None);
            return Vec::new();
        };
        if items.is_empty() || items.len() > STEPS_MAX {
            let message = format!("a playbook has 1 to {STEPS_MAX} steps");
            self.error("too-large", node.place, message, None);
            return Vec::new();
        }
        let mut steps: Vec<Step> = Vec::new();
        let mut jumps: Vec<(usize, Place, String)> = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let Some((step, jump)) = self.step(item, i) else { continue };
            if steps.iter().any(|other| other.id == step.id) {
                let message = format!("two steps are called `{}`", step.id);
                let help = Some("give one of them an `id` of its own".into());
                self.error("conflict", item.place, message, help);
            }
            if let (OnFailure::Goto(to), Some(place)) = (&step.on_failure, jump) {
                jumps.push((steps.len(), place, to.clone()));
            }
            steps.push(step);
        }
        for (from, place, to) in jumps {
            match steps.iter().position(|step| step.id == to) {
                Some(at) if at > from => {}
                Some(_) => {
                    let message = format!("step `{to}` does not stand further down");
                    let help = Some("a step leads forward only, so that every run ends".into());
                    self.error("loop", place, message, help);
                }
                None => {
                    let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
                    let help = match suggest::nearest(&to, ids.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("the steps are {}", ids.join(", ")),
                    };
                    self.error("bad-value", place, format!("no step `{}`", cut(&to)), Some(help));
                }
            }
        }
        self.advise(node.place, &steps);
        steps
    }

    /// What is allowed and rarely meant.
    fn advise(&mut self, place: Place, steps: &[Step]) {
        let at = |wanted: &str| {
            steps.iter().position(
                |step| matches!(&step.what, StepKind::Act { act, .. } if act.name() == wanted),
            )
        };
        let Some(kill) = at("kill") else { return };
        if at("freeze").is_none_or(|freeze| freeze > kill) {
            let help = "put `freeze` first, so that no process can act or erase traces meanwhile";
            let what = "the container is killed without being frozen first";
            self.note(Severity::Warning, "kill-without-freeze", place, what, Some(help.into()));
        }
        if at("evidence").is_some_and(|evidence| evidence > kill) {
            let what =
                "evidence is collected after the kill, when nothing is left of the processes";
            self.note(Severity::Warning, "no-effect", place, what, None);
        }
    }

    fn step(&mut self, node: &Node, i: usize) -> Option<(Step, Option<Place>)> {
        let Value::Map(entries) = &node.value else {
            let message = format!("a step must be a mapping, not {}", node.type_name());
            let help = Some("write `- freeze:`, with a colon".into());
            self.error("wrong-type", node.place, message, help);
            return None;
        };
        let is_what = |key: &&(Key, Node)| {
            let name = key.0.text.as_str();
            name == "wait" || name == "approve" || form(name).is_some()
        };
        let mut whats = entries.iter().filter(is_what);
        let Some((what, value)) = whats.next() else {
            self.no_action(node.place, entries);
            return None;
        };
        if let Some((second, _)) = whats.next() {
            let message =
                format!("a step does one thing, not `{}` and `{}`", what.text, second.text);
            self.error("conflict", second.place, message, Some("make two steps of it".into()));
        }
        let modifiers: &[&str] = match what.text.as_str() {
            "wait" => &["id", "on_failure"],
            "approve" => &["id", "on_failure", "within"],
            name if holdable(name) => &["id", "on_failure", "within", "for"],
            _ => &["id", "on_failure", "within"],
        };
        for (key, _) in entries {
            let known = key.text == what.text || modifiers.contains(&key.text.as_str());
            let is_action =
                form(&key.text).is_some() || key.text == "wait" || key.text == "approve";
            if !known && !is_action {
                self.unknown(key, modifiers);
            }
        }
        let id = match get(entries, "id") {
            Some(node) => self.name(node, "`id`")?,
            None => format!("{}-{}", i + 1, what.text),
        };
        let within = get(entries, "within").map(|node| (node, self.duration(node, "`within`", 1)));
        let within = match within {
            Some((_, None)) => return None,
            Some((_, ms)) => ms,
            None => None,
        };
        let (on_failure, jump) = self.on_failure(entries);
        let kind = match what.text.as_str() {
            "wait" => StepKind::Wait { ms: self.duration(value, "`wait`", *DURATION_MS.start())? },
            "approve" => StepKind::Approve {
                question: self.text(value, "`approve`")?,
                within_ms: within.unwrap_or(APPROVAL_MS),
            },
            name => self.act(form(name)?, what.place, value, entries, within)?,
        };
        // What nobody approved is not done.
        let is_approval = matches!(kind, StepKind::Approve { .. });
        let on_failure =
            on_failure.unwrap_or(if is_approval { OnFailure::Stop } else { OnFailure::Continue });
        Some((Step { id, what: kind, on_failure }, jump))
    }

    fn no_action(&mut self, place: Place, entries: &Entries) {
        let names = || FORMS.iter().map(|form| form.name).chain(["wait", "approve"]);
        let near = entries.iter().find_map(|(key, _)| {
            suggest::nearest(&key.text, names()).map(|near| (key.place, near.to_string()))
        });
        let (place, help) = match near {
            Some((place, near)) => (place, format!("did you mean `{near}`?")),
            None => (place, format!("actions are {}", names().collect::<Vec<_>>().join(", "))),
        };
        self.error("unknown-action", place, "the step has no action", Some(help));
    }

    fn on_failure(&mut self, entries: &Entries) -> (Option<OnFailure>, Option<Place>) {
        let Some(node) = get(entries, "on_failure") else { return (None, None) };
        if let Value::Map(inner) = &node.value {
            let inner_entries = self.mapping(node, "`on_failure`", &["goto"]);
            let to = get(inner_entries, "goto").and_then(|to| self.name(to, "`goto`"));
            if inner.is_empty() {
                self.error("missing-key", node.place, "`goto` is missing", None);
            }
            return (to.map(OnFailure::Goto), Some(node.place));
        }
        let Some(text) = self.text(node, "`on_failure`") else { return (None, None) };
        let parsed = match text.as_str() {
            "continue" => OnFailure::Continue,
            "stop" => OnFailure::Stop,
            "undo" => OnFailure::Undo,
            _ => {
                let help = "allowed are continue, stop, undo, and {goto: STEP}".to_string();
                let message = format!("`{}` is nothing to do on failure", cut(&text));
                self.error("bad-value", node.place, message, Some(help));
                return (None, None);
            }
        };
        (Some(parsed), None)
    }

    fn act(
        &mut self,
        form: &'static Form,
        place: Place,
        value: &Node,
        entries: &Entries,
        within: Option<u64>,
    ) -> Option<StepKind> {
        let mut object = Map::new();
        object.insert("action".into(), json!(form.name));
        let n_before = self.found.len() + self.n_unlisted;
        match (&value.value, form.short) {
            (Value::Map(given), _) => {
                let known: Vec<&str> = form.parameters.iter().map(|p| p.name).collect();
                self.mapping(value, form.name, &known);
                for parameter in form.parameters {
                    if let Some(node) = get(given, parameter.name)
                        && let Some(json) = self.parameter(parameter, node)
                    {
                        object.insert(parameter.name.into(), json);
                    }
                }
            }
            _ if value.is_null() => {}
            (_, Some(short)) => {
                let parameter = form.parameters.iter().find(|p| p.name == short)?;
                if let Some(json) = self.parameter(parameter, value) {
                    object.insert(short.into(), json);
                }
            }
            (_, None) => {
                let message = format!("`{}` takes no value, but {}", form.name, value.type_name());
                self.error("wrong-type", value.place, message, None);
            }
        }
        let is_new = self.found.len() + self.n_unlisted > n_before;
        for parameter in form.parameters.iter().filter(|p| p.required) {
            if !object.contains_key(parameter.name) && !is_new {
                let message = format!("`{}` needs `{}`", form.name, parameter.name);
                self.error("missing-key", place, message, None);
                return None;
            }
        }
        if is_new {
            return None;
        }
        let act: super::Act = match serde_json::from_value(object.into()) {
            Ok(act) => act,
            Err(error) => {
                self.error("bad-value", place, format!("`{}`: {error}", form.name), None);
                return None;
            }
        };
        let mut hold_ms = act.hold_ms();
        if let Some(node) = get(entries, "for")
            && holdable(form.name)
        {
            hold_ms = match &node.value {
                Value::Scalar { text, .. } if text == "ever" => None,
                _ => Some(self.duration(node, "`for`", *DURATION_MS.start())?),
            };
        }
        let deadline_ms = within.unwrap_or_else(|| act.deadline_ms());
        Some(StepKind::Act { act, deadline_ms, hold_ms })
    }

    fn parameter(&mut self, parameter: &Parameter, node: &Node) -> Option<serde_json::Value> {
        let what = format!("`{}`", parameter.name);
        match parameter.kind {
            ParameterKind::Text => self.text(node, &what).map(|text| json!(text)),
            ParameterKind::Pid => {
                self.number(node, &what, 2, 1 << 22).map(|n| json!(n)) // PID_MAX_LIMIT
            }
            ParameterKind::Addresses => {
                let mut addresses = Vec::new();
                for text in self.texts(node, &what) {
                    match text.parse::<IpAddr>() {
                        Ok(address) => addresses.push(json!(address)),
                        Err(_) => {
                            let message = format!("`{}` is no address", cut(&text));
                            let help = Some("write an IPv4 or IPv6 address, no name".into());
                            self.error("bad-value", node.place, message, help);
                        }
                    }
                }
                Some(addresses.into())
            }
            ParameterKind::Command => {
                let words = self.texts(node, &what);
                if words.first().is_none_or(|program| !program.starts_with('/')) {
                    let help = Some("write [\"/usr/local/bin/hook\", \"argument\"]".into());
                    self.error("bad-value", node.place, "the program is no absolute path", help);
                    return None;
                }
                Some(json!(words))
            }
            ParameterKind::Digest | ParameterKind::Network | ParameterKind::Url => {
                let text = self.text(node, &what)?;
                match check_text(parameter.kind, &text) {
                    Ok(canonical) => Some(json!(canonical)),
                    Err(help) => {
                        let message = format!("`{}` is not what {what} takes", cut(&text));
                        self.error("bad-value", node.place, message, Some(help.into()));
                        None
                    }
                }
            }
        }
    }
}

/// Whether `for` makes sense: what it does can be undone.
fn holdable(name: &str) -> bool {
    const HOLDABLE: &[&str] = &[
        "freeze",
        "isolate",
        "quarantine-image",
        "block-executable",
        "block-destination",
        "protect",
        "cordon",
        "label-node",
        "revoke-aws-sessions",
        "disable-gcp-key",
        "protect-aws-instance",
        "protect-gcp-instance",
    ];
    HOLDABLE.contains(&name)
}

/// The canonical form of a digest, a network or a URL, or what it should have been.
fn check_text(kind: ParameterKind, text: &str) -> Result<String, &'static str> {
    match kind {
        ParameterKind::Digest => {
            let whole =
                if text.contains(':') { text.to_string() } else { format!("sha256:{text}") };
            whole
                .parse::<palisade_base::Digest>()
                .map(|digest| digest.to_string())
                .map_err(|_| "write sha256: and 64 hexadecimal digits")
        }
        ParameterKind::Network => network(text),
        _ => {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            match rest {
                Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.to_string()),
                _ => Err("write https://HOST/PATH"),
            }
        }
    }
}

/// An address or a network, in canonical form.
pub(crate) fn network(text: &str) -> Result<String, &'static str> {
    const HELP: &str = "write an address or a network: 203.0.113.7, 10.0.0.0/8, 2001:db8::/32";
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| HELP)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match bits {
        None => Ok(address.to_string()),
        Some(bits) => match bits.parse::<u8>() {
            Ok(bits) if (1..=most).contains(&bits) => Ok(format!("{address}/{bits}")),
            _ => Err(HELP),
        },
    }
}

/// `500ms`, `30s`, `10m`, `2h`, `7d` in milliseconds.
pub fn duration_ms(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests;
