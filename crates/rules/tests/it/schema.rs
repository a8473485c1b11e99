//! A schema made of Falco's own lists of fields and events, and events made of values.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use palisade_rules::fields::{
    ArgumentKind, ArgumentRule, FieldArgument, FieldDefinition, FieldId, FieldLimits, Fields,
    Schema, Value, ValueType, Values,
};

/// The folder of conformance material, or nothing and a message if it is absent.
pub(crate) fn conformance_folder() -> Option<PathBuf> {
    let shared = std::env::vars().find(|(name, _)| name == "PALISADE_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        |(_, path)| PathBuf::from(path),
    );
    let path = shared.join("conformance/falco");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no conformance material at {}", path.display());
    None
}

/// A JSON file of the conformance material.
pub(crate) fn read_json(path: &str) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(conformance_folder()?.join(path)).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn value_type(name: &str) -> ValueType {
    match name {
        "INT8" | "INT16" | "INT32" | "INT64" | "PID" | "FD" | "ERRNO" => ValueType::Int,
        "DOUBLE" => ValueType::Double,
        "BOOL" => ValueType::Bool,
        "BYTEBUF" => ValueType::Bytes,
        "IPADDR" => ValueType::Ip,
        "IPNET" => ValueType::Net,
        "PORT" => ValueType::Port,
        "RELTIME" => ValueType::RelativeTime,
        "ABSTIME" => ValueType::AbsoluteTime,
        "FSPATH" | "FSRELPATH" => ValueType::Path,
        "CHARBUF" | "DYNAMIC" | "SOCKTUPLE" | "SOCKADDR" => ValueType::Text,
        _ => ValueType::Uint,
    }
}

/// Which arguments a field takes; Falco's list says it only for plugins' fields.
fn argument(name: &str, is_required: bool) -> ArgumentRule {
    match name {
        "evt.arg" => ArgumentRule::Required(ArgumentKind::Either),
        "evt.rawarg" | "thread.cgroup" | "evt.type.is" => ArgumentRule::Required(ArgumentKind::Key),
        "evt.around" => ArgumentRule::Required(ArgumentKind::Index),
        "proc.env" | "proc.aenv" | "evt.abspath" => ArgumentRule::Optional(ArgumentKind::Either),
        _ if is_required => ArgumentRule::Required(ArgumentKind::Either),
        _ => ArgumentRule::Optional(ArgumentKind::Index),
    }
}

/// Falco's fields and events, and some that only tests have.
#[derive(Debug)]
pub(crate) struct TestSchema {
    fields: Vec<FieldDefinition>,
    event_types: Vec<&'static str>,
    raw_arguments: HashMap<String, ValueType>,
    by_name: HashMap<&'static str, u16>,
}

fn field(
    name: &'static str,
    value_type: ValueType,
    is_list: bool,
    rule: ArgumentRule,
) -> FieldDefinition {
    FieldDefinition { name, value_type, is_list, argument: rule, filterable: true, description: "" }
}

impl TestSchema {
    fn new(mut fields: Vec<FieldDefinition>, event_types: Vec<&'static str>) -> Self {
        let none = ArgumentRule::None;
        for (name, value_type) in [
            ("c.true", ValueType::Text),
            ("c.false", ValueType::Text),
            ("c.buffer", ValueType::Bytes),
            ("c.doublequote", ValueType::Text),
            ("c.singlequote", ValueType::Text),
            ("sample.proc_name", ValueType::Text),
            ("sample.is_open", ValueType::Uint),
            ("sample.tick", ValueType::Text),
            ("evt.dir", ValueType::Text),
            ("evt.latency", ValueType::RelativeTime),
        ] {
            fields.push(field(name, value_type, false, none));
        }
        let by_name = fields
            .iter()
            .enumerate()
            .map(|(i, field)| (field.name, u16::try_from(i).unwrap()))
            .collect();
        Self { fields, event_types, raw_arguments: HashMap::new(), by_name }
    }

    /// A few fields, for tests that run without the conformance material.
    pub(crate) fn small() -> &'static Self {
        static SCHEMA: OnceLock<TestSchema> = OnceLock::new();
        SCHEMA.get_or_init(|| {
            let none = ArgumentRule::None;
            let fields = vec![
                field("evt.type", ValueType::Text, false, none),
                field("proc.name", ValueType::Text, false, none),
                field(
                    "proc.aname",
                    ValueType::Text,
                    false,
                    ArgumentRule::Optional(ArgumentKind::Index),
                ),
                field("proc.pid", ValueType::Int, false, none),
                field("fd.name", ValueType::Text, false, none),
                field("fd.num", ValueType::Int, false, none),
                field("fd.ip", ValueType::Ip, false, none),
                field("fd.snet", ValueType::Net, false, none),
                field("fd.sport", ValueType::Port, false, none),
                field("fd.types", ValueType::Text, true, none),
                field("user.uid", ValueType::Uint, false, none),
                field("evt.is_open_read", ValueType::Bool, false, none),
                field("evt.buffer", ValueType::Bytes, false, none),
                field("thread.cpu", ValueType::Double, false, none),
                field(
                    "evt.arg",
                    ValueType::Text,
                    false,
                    ArgumentRule::Required(ArgumentKind::Either),
                ),
            ];
            let types =
                vec!["", "open", "openat", "execve", "connect", "close", "open", "asyncevent"];
            Self::new(fields, types)
        })
    }

    /// The fields that a kernel can answer, and one that it cannot.
    pub(crate) fn kernel() -> &'static Self {
        static SCHEMA: OnceLock<TestSchema> = OnceLock::new();
        SCHEMA.get_or_init(|| {
            let none = ArgumentRule::None;
            let mut fields: Vec<FieldDefinition> = [
                ("evt.type", ValueType::Text),
                ("evt.rawres", ValueType::Int),
                ("evt.failed", ValueType::Bool),
                ("evt.res", ValueType::Text),
                ("container.id", ValueType::Text),
                ("proc.name", ValueType::Text),
                ("proc.pname", ValueType::Text),
                ("proc.exepath", ValueType::Text),
                ("proc.cmdline", ValueType::Text),
                ("proc.tty", ValueType::Uint),
                ("container.image.repository", ValueType::Text),
                ("container.privileged", ValueType::Bool),
                ("proc.is_exe_upper_layer", ValueType::Bool),
                ("user.uid", ValueType::Uint),
                ("evt.is_open_read", ValueType::Bool),
                ("evt.is_open_write", ValueType::Bool),
                ("evt.is_open_create", ValueType::Bool),
                ("fd.name", ValueType::Path),
                ("fd.directory", ValueType::Path),
                ("fd.filename", ValueType::Text),
                ("fd.num", ValueType::Int),
                ("fd.typechar", ValueType::Text),
                ("fd.type", ValueType::Text),
                ("fd.is_upper_layer", ValueType::Bool),
                ("fd.sip", ValueType::Ip),
                ("fd.snet", ValueType::Net),
                ("fd.sport", ValueType::Port),
                ("evt.addr.ip", ValueType::Ip),
                ("evt.addr.port", ValueType::Port),
            ]
            .into_iter()
            .map(|(name, value_type)| field(name, value_type, false, none))
            .collect();
            let key = ArgumentRule::Required(ArgumentKind::Key);
            fields.push(field("evt.rawarg", ValueType::Uint, false, key));
            let types = vec!["", "open", "openat", "creat", "execve", "connect", "kill", "unlink"];
            let mut schema = Self::new(fields, types);
            schema.raw_arguments.insert("sig".to_owned(), ValueType::Uint);
            schema
        })
    }

    /// Falco's own, or nothing without the conformance material.
    pub(crate) fn falco() -> Option<&'static Self> {
        static SCHEMA: OnceLock<Option<TestSchema>> = OnceLock::new();
        SCHEMA.get_or_init(Self::read).as_ref()
    }

    fn read() -> Option<Self> {
        let lists = read_json("expected/falco-0.44.1/fields_list.json")?;
        let mut fields = Vec::new();
        for class in lists["fieldclasses"].as_array().unwrap() {
            for entry in class["fields"].as_array().unwrap() {
                let name = leak(entry["name"].as_str().unwrap());
                let rule = match &entry["argument"] {
                    serde_json::Value::Null => ArgumentRule::None,
                    given => argument(name, given["required"].as_bool().unwrap()),
                };
                let is_list = entry["is_list"].as_bool().unwrap_or(false);
                let value_type = value_type(entry["type"].as_str().unwrap());
                fields.push(field(name, value_type, is_list, rule));
            }
        }
        let events = read_json("expected/falco-0.44.1/events_list.json")?;
        let mut event_types = vec![""];
        let mut raw_arguments = HashMap::new();
        for group in events.as_object().unwrap().values() {
            for event in group.as_array().into_iter().flatten() {
                event_types.push(leak(event["name"].as_str().unwrap()));
                for parameter in event["params"].as_array().into_iter().flatten() {
                    let name = parameter["name"].as_str().unwrap().to_owned();
                    let value_type = value_type(parameter["type"].as_str().unwrap());
                    raw_arguments.entry(name).or_insert(value_type);
                }
            }
        }
        let mut schema = Self::new(fields, event_types);
        schema.raw_arguments = raw_arguments;
        Some(schema)
    }

    pub(crate) fn event_number(&self, name: &str) -> u16 {
        u16::try_from(self.event_types.iter().position(|known| *known == name).unwrap()).unwrap()
    }
}

impl Schema for TestSchema {
    fn source(&self) -> &'static str {
        "syscall"
    }

    fn fields(&self) -> &[FieldDefinition] {
        &self.fields
    }

    fn event_types(&self) -> &[&'static str] {
        &self.event_types
    }

    fn field(&self, name: &str) -> Option<(FieldId, &FieldDefinition)> {
        let at = *self.by_name.get(name)?;
        Some((FieldId(at), &self.fields[usize::from(at)]))
    }

    fn limits(&self, field: FieldId) -> FieldLimits {
        let name = self.fields[usize::from(field.0)].name;
        FieldLimits {
            filter_only: matches!(name, "evt.around" | "fd.net" | "fd.ip"),
            no_right_side: matches!(name, "fd.ip" | "fd.net" | "fd.port" | "fd.proto"),
            no_transformer: false,
        }
    }

    fn argument_type(&self, field: FieldId, argument: &FieldArgument) -> Option<ValueType> {
        let definition = &self.fields[usize::from(field.0)];
        match (definition.name, argument) {
            ("evt.rawarg", FieldArgument::Key(key)) => self.raw_arguments.get(&**key).copied(),
            ("evt.arg", FieldArgument::Key(key)) if !self.raw_arguments.is_empty() => {
                self.raw_arguments.get(&**key).map(|_| ValueType::Text)
            }
            _ => Some(definition.value_type),
        }
    }

    fn event_numbers(&self, name: &str, out: &mut Vec<u16>) {
        let before = out.len();
        for (number, known) in self.event_types.iter().enumerate() {
            if *known == name && !name.is_empty() {
                out.push(u16::try_from(number).unwrap());
            }
        }
        // Asynchronous events may have any name.
        if out.len() > before
            && let Some(at) = self.event_types.iter().position(|known| *known == "asyncevent")
        {
            out.push(u16::try_from(at).unwrap());
        }
    }

    fn event_names_itself(&self, number: u16) -> bool {
        self.event_types[usize::from(number)] == "asyncevent"
    }
}

/// A value that an event of a test owns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Owned {
    Int(i64),
    Uint(u64),
    Double(f64),
    Bool(bool),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Ip(std::net::IpAddr),
}

impl Owned {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Int(n) => Value::Int(*n),
            Self::Uint(n) => Value::Uint(*n),
            Self::Double(n) => Value::Double(*n),
            Self::Bool(b) => Value::Bool(*b),
            Self::Text(bytes) => Value::Text(bytes),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Ip(address) => Value::Ip(*address),
        }
    }
}

/// Text of an event.
pub(crate) fn text(text: &str) -> Owned {
    Owned::Text(text.as_bytes().to_vec())
}

/// An event made of values; counts how often each is asked for.
#[derive(Debug)]
pub(crate) struct TestEvent {
    schema: &'static TestSchema,
    number: u16,
    values: HashMap<(FieldId, FieldArgument), Vec<Owned>>,
    pub(crate) asked: std::cell::RefCell<HashMap<(FieldId, FieldArgument), usize>>,
}

impl TestEvent {
    /// An event of this type.
    pub(crate) fn new(schema: &'static TestSchema, event_type: &str) -> Self {
        let number = schema.event_number(event_type);
        let event =
            Self { schema, number, values: HashMap::new(), asked: std::cell::RefCell::default() };
        event.with("evt.type", [text(event_type)])
    }

    /// The event with values of `name` or `name[argument]`.
    pub(crate) fn with(mut self, name: &str, values: impl IntoIterator<Item = Owned>) -> Self {
        let (name, argument) = match name.split_once('[') {
            None => (name, FieldArgument::None),
            Some((name, rest)) => {
                let rest = rest.trim_end_matches(']');
                let key = || FieldArgument::Key(rest.into());
                (name, rest.parse().map_or_else(|_| key(), FieldArgument::Index))
            }
        };
        if let Some((id, _)) = self.schema.field(name) {
            self.values.insert((id, argument), values.into_iter().collect());
        }
        self
    }
}

impl Fields for TestEvent {
    fn extract<'e>(&'e self, field: FieldId, argument: &FieldArgument, out: &mut Values<'e>) {
        let key = (field, argument.clone());
        *self.asked.borrow_mut().entry(key.clone()).or_default() += 1;
        out.extend(self.values.get(&key).into_iter().flatten().map(Owned::value));
    }

    fn event_type(&self) -> u16 {
        self.number
    }
}
