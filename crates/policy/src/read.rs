//! The walk of a policy's tree along the table of keys.

use std::path::Path;

use palisade_base::{Diagnostic, Diagnostics, Digest, Location, Severity};
use palisade_model::Priority;

use crate::code::Code;
use crate::document::{
    Checks, Containers, Enforce, Gate, ImageVerification, Images, Network, Policy, Rootless,
    RootlessIds, RootlessLimits, Runtime, Seccomp, SecurityModule, Selinux, UserMode,
    UserNamespace,
};
use crate::limits::Limits;
use crate::load::{LoadPolicyError, LoadedPolicy, Origin, PROBLEMS_MAX, Setting};
use crate::table::{self, Default, Key, Kind, TextRule, VERSION};
use crate::value::{self, Refusal};
use crate::yaml::{self, Node, Place, Value, cut};

/// Collects problems and settings while the tree is walked.
pub(crate) struct Reader {
    file: String,
    pub(crate) found: Vec<Diagnostic>,
    pub(crate) policy: Policy,
    pub(crate) settings: Vec<Setting>,
    places: Vec<(String, Place)>,
    n_unlisted: usize,
}

impl Reader {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_string(),
            found: Vec::new(),
            policy: blank(),
            settings: Vec::new(),
            places: Vec::new(),
            n_unlisted: 0,
        }
    }

    /// Notes a problem.
    pub(crate) fn problem(
        &mut self,
        code: Code,
        severity: Severity,
        place: Place,
        message: String,
        help: Option<String>,
    ) {
        if self.found.len() >= PROBLEMS_MAX {
            self.n_unlisted += 1;
            return;
        }
        let location = Location { file: self.file.clone(), line: place.line, column: place.column };
        self.found.push(Diagnostic { code: code.as_str(), severity, location, message, help });
    }

    fn error(&mut self, code: Code, place: Place, message: String, help: Option<String>) {
        self.problem(code, Severity::Error, place, message, help);
    }

    /// Where the file says the key at `path`, if it does.
    pub(crate) fn place(&self, path: &str) -> Option<Place> {
        self.places.iter().find(|(known, _)| known == path).map(|(_, place)| *place)
    }

    /// Whether the key at `path` was read and has this value.
    pub(crate) fn says(&self, path: &str, value: &str) -> bool {
        self.settings.iter().any(|setting| setting.path == path && setting.value == value)
    }

    /// Reads a mapping whose keys stand in the table under `parent`; `shown` is the same
    /// with list items numbered.
    pub(crate) fn mapping(&mut self, parent: &str, shown: &str, node: &Node) {
        let no_entries = Vec::new();
        let entries = match &node.value {
            Value::Map(entries) => entries,
            _ if node.is_null() => &no_entries,
            _ => {
                let what = if shown.is_empty() { "the policy" } else { shown };
                let message = format!("`{what}` must be a mapping, not {}", node.type_name());
                self.error(Code::WrongType, node.place, message, None);
                return;
            }
        };
        for (i, (key, _)) in entries.iter().enumerate() {
            let repeated = entries[..i.min(table::N_KEYS)].iter().any(|(k, _)| k.text == key.text);
            if !repeated && !table::children(parent).any(|known| known.name() == key.text) {
                self.unknown_key(parent, key);
            }
        }
        for key in table::children(parent) {
            let path = if shown.is_empty() {
                key.name().to_string()
            } else {
                format!("{shown}.{}", key.name())
            };
            match entries.iter().find(|(entry, _)| entry.text == key.name()) {
                Some((entry, value)) => {
                    self.places.push((path.clone(), entry.place));
                    self.given(key, &path, value);
                }
                None => self.absent(key, &path, node.place),
            }
        }
    }

    fn unknown_key(&mut self, parent: &str, key: &yaml::Key) {
        let siblings: Vec<_> = table::children(parent).map(Key::name).collect();
        let help = if let Some(near) =
            palisade_base::suggest::nearest(&key.text, siblings.iter().copied())
        {
            format!("did you mean `{near}`?")
        } else if let Some(elsewhere) = table::keys().find(|known| known.name() == key.text) {
            format!("the key `{}` stands elsewhere", elsewhere.path)
        } else {
            format!("known here are {}", siblings.join(", "))
        };
        let message = format!("unknown key `{}`", cut(&key.text));
        self.error(Code::UnknownKey, key.place, message, Some(help));
    }

    fn absent(&mut self, key: &'static Key, path: &str, place: Place) {
        let scalar = |text: &str| Node {
            place,
            value: Value::Scalar { text: text.to_string(), plain: !text.is_empty() },
        };
        match (&key.default, &key.kind) {
            (Default::Required, _) => {
                let help = Some(format!("add it, for example `{}: {}`", key.name(), key.example));
                self.error(Code::MissingKey, place, format!("`{path}` is missing"), help);
            }
            (Default::Nothing, Kind::Section) => {
                let empty = Node { place, value: Value::Map(Vec::new()) };
                self.mapping(key.path, path, &empty);
            }
            (Default::Nothing, _) => self.setting(key, path, "[]".into(), None, Origin::Default),
            (Default::Value(text), _) => self.value(key, path, &scalar(text), Origin::Default),
            (Default::Values(texts), _) => {
                let items = texts.iter().map(|text| scalar(text)).collect();
                let list = Node { place, value: Value::List(items) };
                self.value(key, path, &list, Origin::Default);
            }
        }
    }

    fn given(&mut self, key: &'static Key, path: &str, node: &Node) {
        match key.kind {
            Kind::Section => self.mapping(key.path, path, node),
            Kind::Items { n_max, begin } => self.items(key, path, node, n_max, begin),
            _ => self.value(key, path, node, Origin::Line(node.place.line)),
        }
    }

    fn items(
        &mut self,
        key: &'static Key,
        path: &str,
        node: &Node,
        n_max: usize,
        begin: fn(&mut Policy),
    ) {
        let Some(items) = self.list(path, node, n_max) else {
            return;
        };
        if items.is_empty() {
            self.setting(key, path, "[]".into(), None, Origin::Line(node.place.line));
        }
        for (i, item) in items.iter().enumerate() {
            let shown = format!("{path}[{i}]");
            self.places.push((shown.clone(), item.place));
            if item.is_null() {
                let message = format!("`{shown}` is empty");
                self.error(Code::WrongType, item.place, message, None);
                continue;
            }
            begin(&mut self.policy);
            self.mapping(&format!("{}[]", key.path), &shown, item);
        }
    }

    /// The items of a list; nothing written after the colon is an empty list.
    fn list<'n>(&mut self, path: &str, node: &'n Node, n_max: usize) -> Option<&'n [Node]> {
        let items: &[Node] = match &node.value {
            Value::List(items) => items,
            _ if node.is_null() => &[],
            _ => {
                let message = format!("`{path}` must be a list, not {}", node.type_name());
                let help = Some("write `- ` before each item, or put it in `[ ]`".to_string());
                self.error(Code::WrongType, node.place, message, help);
                return None;
            }
        };
        if items.len() > n_max {
            let message =
                format!("`{path}` has {} items, at most {n_max} are allowed", items.len());
            self.error(Code::TooLarge, node.place, message, None);
            return None;
        }
        Some(items)
    }

    fn setting(
        &mut self,
        key: &'static Key,
        path: &str,
        value: String,
        meaning: Option<&'static str>,
        origin: Origin,
    ) {
        self.settings.push(Setting {
            path: path.to_string(),
            value,
            origin,
            doc: key.doc,
            meaning,
        });
    }

    /// Reads a key that holds a value, stores it and notes it.
    fn value(&mut self, key: &'static Key, path: &str, node: &Node, origin: Origin) {
        if let Kind::Texts { ref rule, n_max, set } = key.kind {
            let Some(items) = self.list(path, node, n_max) else {
                return;
            };
            let texts = self.texts(path, items, rule);
            let shown = texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ");
            set(&mut self.policy, texts);
            return self.setting(key, path, format!("[{shown}]"), None, origin);
        }
        let Value::Scalar { text, plain } = &node.value else {
            let message = format!("`{path}` must be {}, not {}", expected(key), node.type_name());
            return self.error(Code::WrongType, node.place, message, None);
        };
        if node.is_null() || (*plain && is_other_type(key, text)) {
            let message = format!("`{path}` must be {}, not {}", expected(key), node.type_name());
            let help = Some(type_help(key, text));
            return self.error(Code::WrongType, node.place, message, help);
        }
        match self.scalar(key, text, *plain) {
            Ok((shown, meaning)) => self.setting(key, path, shown, meaning, origin),
            Err((code, Refusal { message, help })) => {
                self.error(code, node.place, format!("`{path}`: {message}"), help);
            }
        }
    }

    /// Stores a single value; returns how it is shown and what it means.
    fn scalar(
        &mut self,
        key: &'static Key,
        text: &str,
        plain: bool,
    ) -> Result<(String, Option<&'static str>), (Code, Refusal)> {
        let bad = |refusal: Refusal| (Code::BadValue, refusal);
        let policy = &mut self.policy;
        match &key.kind {
            Kind::Section | Kind::Items { .. } | Kind::Texts { .. } => {}
            Kind::Version => check_version(text, plain)?,
            Kind::Bool(set) => set(policy, truth(text, plain)?),
            Kind::Choice(choices) => {
                let choice = value::choice(text, choices).map_err(bad)?;
                (choice.set)(policy);
                return Ok((text.to_string(), Some(choice.meaning)));
            }
            Kind::ChoiceOrFile(choices, set) => {
                if Path::new(text).extension().is_some_and(|end| end == "json") {
                    let path = value::text(text, &TextRule::File).map_err(bad)?;
                    set(policy, path.into());
                    return Ok((quote(text), Some("what this file says")));
                }
                let choice = value::choice(text, choices).map_err(bad)?;
                (choice.set)(policy);
                return Ok((text.to_string(), Some(choice.meaning)));
            }
            Kind::Integer { optional: true, set, .. } | Kind::Size { optional: true, set, .. }
                if text == "none" =>
            {
                set(policy, None);
                return Ok((text.to_string(), Some("not limited by this policy")));
            }
            Kind::Integer { min, max, set, .. } => {
                set(policy, Some(value::integer(text, *min, *max).map_err(bad)?));
            }
            Kind::Size { min, max, set, .. } => {
                let bytes = value::size(text).map_err(bad)?;
                if !(*min..=*max).contains(&bytes) {
                    let message = format!("`{}` is out of range", cut(text));
                    let (min, max) = (value::size_text(*min), value::size_text(*max));
                    let help = Some(format!("write a size from {min} to {max}"));
                    return Err((Code::BadValue, Refusal { message, help }));
                }
                set(policy, Some(bytes));
                return Ok((value::size_text(bytes), None));
            }
            Kind::Cpu(set) if text == "none" => {
                set(policy, None);
                return Ok((text.to_string(), Some("not limited by this policy")));
            }
            Kind::Cpu(set) => set(policy, Some(value::cpu(text).map_err(bad)?)),
            Kind::Text(rule, set) => {
                let text = value::text(text, rule).map_err(text_code)?;
                set(policy, text.clone());
                return Ok((quote(&text), None));
            }
        }
        Ok((text.to_string(), None))
    }

    /// Reads the texts of a list; each once, capabilities sorted.
    fn texts(&mut self, path: &str, items: &[Node], rule: &TextRule) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let shown = format!("{path}[{i}]");
            self.places.push((shown.clone(), item.place));
            let text = match &item.value {
                Value::Scalar { text, plain } if !(item.is_null() || *plain && not_text(text)) => {
                    text
                }
                _ => {
                    let message = format!("`{shown}` must be text, not {}", item.type_name());
                    let help = Some("put it in quotes if it is meant as text".to_string());
                    self.error(Code::WrongType, item.place, message, help);
                    continue;
                }
            };
            match value::text(text, rule).map_err(text_code) {
                Ok(text) if texts.contains(&text) => {
                    let message = format!("`{shown}`: `{}` stands in the list already", cut(&text));
                    let help = Some("remove one of the two".to_string());
                    self.error(Code::BadValue, item.place, message, help);
                }
                Ok(text) => texts.push(text),
                Err((code, Refusal { message, help })) => {
                    self.error(code, item.place, format!("`{shown}`: {message}"), help);
                }
            }
        }
        if matches!(rule, TextRule::Capability) {
            texts.sort_unstable();
        }
        texts
    }

    pub(crate) fn finish(
        mut self,
        text: &str,
        folder: &Path,
    ) -> Result<LoadedPolicy, LoadPolicyError> {
        self.found.sort_by(|a, b| a.location.cmp(&b.location));
        if self.n_unlisted > 0 {
            let place = self.found.last().map_or(Place::START, |last| Place {
                line: last.location.line,
                column: last.location.column,
            });
            let message = format!("{} more problems are not listed", self.n_unlisted);
            let location =
                Location { file: self.file.clone(), line: place.line, column: place.column };
            self.found.push(Diagnostic {
                code: Code::TooManyProblems.as_str(),
                severity: Severity::Error,
                location,
                message,
                help: Some("mend these first".into()),
            });
        }
        let diagnostics = Diagnostics(self.found);
        if diagnostics.has_errors() {
            return Err(LoadPolicyError::Invalid {
                file: self.file,
                text: text.to_string(),
                diagnostics,
            });
        }
        resolve_files(&mut self.policy, folder);
        Ok(LoadedPolicy {
            policy: self.policy,
            source: self.file,
            text: text.to_string(),
            warnings: diagnostics,
            settings: self.settings,
        })
    }
}

fn truth(text: &str, plain: bool) -> Result<bool, (Code, Refusal)> {
    match text {
        "true" | "false" if plain => Ok(text == "true"),
        _ => {
            let message = format!("must be a truth value, not `{}`", cut(text));
            let help = Some("write `true` or `false`, without quotes".to_string());
            Err((Code::WrongType, Refusal { message, help }))
        }
    }
}

fn text_code(refusal: Refusal) -> (Code, Refusal) {
    let too_long = refusal.message.starts_with("text is longer");
    (if too_long { Code::TooLarge } else { Code::BadValue }, refusal)
}

fn check_version(text: &str, plain: bool) -> Result<(), (Code, Refusal)> {
    if plain && text == VERSION.to_string() {
        return Ok(());
    }
    if !plain {
        let message = "must be a whole number, not text".to_string();
        let help = Some(format!("write `version: {VERSION}`, without quotes"));
        return Err((Code::WrongType, Refusal { message, help }));
    }
    let message = format!("version `{}` is not supported", cut(text));
    let help = Some(format!("this release reads `version: {VERSION}`"));
    Err((Code::UnsupportedVersion, Refusal { message, help }))
}

/// Whether plain `text` is a number or a truth value in YAML.
fn not_text(text: &str) -> bool {
    matches!(text, "true" | "false") || text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Whether plain `text` has a type that the key does not take.
fn is_other_type(key: &Key, text: &str) -> bool {
    match key.kind {
        Kind::Text(..) => not_text(text),
        Kind::Bool(_) => !matches!(text, "true" | "false"),
        _ => false,
    }
}

/// What the key takes, for messages.
fn expected(key: &Key) -> &'static str {
    match key.kind {
        Kind::Section => "a mapping",
        Kind::Items { .. } | Kind::Texts { .. } => "a list",
        Kind::Version | Kind::Integer { .. } => "a whole number",
        Kind::Bool(_) => "a truth value",
        Kind::Choice(_) => "one of its words",
        Kind::ChoiceOrFile(..) => "one of its words or a file",
        Kind::Size { .. } => "a size",
        Kind::Cpu(_) => "a number of processors",
        Kind::Text(..) => "text",
    }
}

fn type_help(key: &Key, text: &str) -> String {
    match key.kind {
        Kind::Bool(_) => "write `true` or `false`".to_string(),
        Kind::Text(..) if !text.is_empty() => format!("put it in quotes: \"{}\"", cut(text)),
        _ => format!("for example `{}: {}`", key.name(), key.example),
    }
}

/// A text as one would write it in the file.
pub(crate) fn quote(text: &str) -> String {
    let plain = !text.is_empty()
        && !not_text(text)
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-'));
    if plain { text.to_string() } else { format!("{text:?}") }
}

fn resolve_files(policy: &mut Policy, folder: &Path) {
    let sinks = policy.sinks.iter_mut();
    let sinks = sinks.flat_map(|sink| sink.headers.iter_mut().chain(&mut sink.ca));
    let scan = policy.scan.malware_rules.iter_mut().chain(&mut policy.scan.malware_hashes);
    let files = policy.images.keys.iter_mut().chain(&mut policy.runtime.rules);
    let trust = policy.images.trust.iter_mut().flat_map(|rule| rule.keys.iter_mut());
    let trust = trust.chain(&mut policy.images.trusted_root);
    let gate = &mut policy.images.gate;
    let exceptions = gate.ignore.iter_mut().chain(&mut gate.vex);
    let files = files.chain(sinks).chain(scan).chain(trust).chain(exceptions);
    for file in files {
        *file = folder.join(&*file);
    }
    // These may be absent, and a folder is no file.
    let trust = policy.images.trust.iter_mut();
    for file in trust.flat_map(|rule| [&mut rule.openpubkey, &mut rule.notary]) {
        if !file.as_os_str().is_empty() {
            *file = folder.join(&*file);
        }
    }
    if let Seccomp::File(file) = &mut policy.containers.seccomp {
        *file = folder.join(&*file);
    }
}

/// The policy before the table has been applied: the strictest value of each field, so
/// that a key that were forgotten could only refuse too much.
fn blank() -> Policy {
    Policy {
        name: String::new(),
        description: String::new(),
        digest: Digest::of(b""),
        images: Images {
            verify: ImageVerification::Required,
            keys: Vec::new(),
            trust: Vec::new(),
            attestations: Vec::new(),
            remember_minutes: 0,
            trusted_root: None,
            gate: Gate::default(),
        },
        containers: Containers {
            user: UserMode::RequireNonRoot,
            user_namespace: UserNamespace::Private,
            capabilities: Vec::new(),
            read_only_root: true,
            tmpfs: Vec::new(),
            no_new_privileges: true,
            seccomp: Seccomp::Strict,
            network: Network::None,
            shared_networks: Vec::new(),
            limits: Limits::default(),
            mask_paths: true,
            security_module: SecurityModule::Auto,
            selinux: Selinux::Auto,
            deny_drift: false,
            rootless: Rootless { ids: RootlessIds::Range, limits: RootlessLimits::Require },
        },
        runtime: Runtime { rules: Vec::new(), builtin_rules: true, priority_min: Priority::Debug },
        response: Vec::new(),
        enforce: Enforce::default(),
        engines: crate::engines::Engines::default(),
        sinks: Vec::new(),
        checks: Checks::default(),
        scan: crate::scan::Scan::default(),
        evidence: crate::document::Evidence::default(),
        network: crate::network::NetworkGuards::default(),
    }
}
