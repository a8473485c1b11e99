//! What a condition may ask of an event, without knowing what an event is.
//!
//! A [`Schema`] lists the fields and event types that exist; an event answers through
//! [`Fields`]. One language so serves system calls, audit logs and captures alike.

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

/// Identifies a field of a [`Schema`]; the value is the schema's own, usually an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u16);

/// The type of a field's values, as Falco's field list names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// `INT8` to `INT64`.
    Int,
    /// `UINT8` to `UINT64`, flags and identifiers.
    Uint,
    /// `DOUBLE`.
    Double,
    /// `BOOL`.
    Bool,
    /// `CHARBUF`: text.
    Text,
    /// `FSPATH`: text that is a path; `pmatch` treats it by components.
    Path,
    /// `BYTEBUF`: raw bytes; only `contains`, `startswith` and their binary forms apply.
    Bytes,
    /// `IPADDR`: a v4 or v6 address.
    Ip,
    /// `IPNET`: an address compared with networks.
    Net,
    /// `PORT`.
    Port,
    /// `RELTIME`: nanoseconds.
    RelativeTime,
    /// `ABSTIME`: nanoseconds since the epoch.
    AbsoluteTime,
    /// What no operator reads (socket tuples, descriptor lists, ids as such): only
    /// `exists` applies.
    Opaque,
}

impl ValueType {
    /// The type's name in Falco's lists and messages, without a width.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "INT64",
            Self::Uint => "UINT64",
            Self::Double => "DOUBLE",
            Self::Bool => "BOOL",
            Self::Text => "CHARBUF",
            Self::Path => "FSPATH",
            Self::Bytes => "BYTEBUF",
            Self::Ip => "IPADDR",
            Self::Net => "IPNET",
            Self::Port => "PORT",
            Self::RelativeTime => "RELTIME",
            Self::AbsoluteTime => "ABSTIME",
            Self::Opaque => "DYNAMIC",
        }
    }
}

/// Whether a field takes an argument in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgumentRule {
    /// `proc.name`.
    None,
    /// `proc.aname` or `proc.aname[2]`.
    Optional(ArgumentKind),
    /// `evt.arg[name]`.
    Required(ArgumentKind),
}

/// What a field's argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgumentKind {
    /// A number only: `proc.aname[2]`.
    Index,
    /// Text only: `proc.env[HOME]`.
    Key,
    /// Either: `evt.arg[0]`, `evt.arg[path]`.
    Either,
}

/// The argument of one use of a field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldArgument {
    /// No argument was written.
    None,
    /// `[2]`.
    Index(u32),
    /// `[name]` or `["name"]`.
    Key(Box<str>),
}

/// One field of a schema.
#[derive(Debug, Clone)]
pub struct FieldDefinition {
    /// The name in conditions: `proc.name`.
    pub name: &'static str,
    /// Type of its values.
    pub value_type: ValueType,
    /// Whether it is a list to the language (`EPF_IS_LIST`): only `exists`, `in` (all of
    /// its values are in the set) and `intersects` (any is) apply.
    ///
    /// A field that is not a list may still answer several values (`proc.aname`, `fd.ip`):
    /// then a comparison holds if any value satisfies it, and `!=` over addresses,
    /// networks and ports if all do.
    pub is_list: bool,
    /// Whether it takes an argument.
    pub argument: ArgumentRule,
    /// Whether it may appear in conditions (`EPF_PRINT_ONLY` fields may not).
    pub filterable: bool,
    /// What it means, one sentence.
    pub description: &'static str,
}

/// One value of a field, borrowed from the event or from its scratch memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'e> {
    /// A signed number.
    Int(i64),
    /// An unsigned number, port or time.
    Uint(u64),
    /// A floating number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// Text or a path; not necessarily UTF-8, because the kernel's is not.
    Text(&'e [u8]),
    /// Raw bytes.
    Bytes(&'e [u8]),
    /// An address.
    Ip(IpAddr),
    /// A network.
    Net(IpNet),
}

/// The values of one field of one event. Empty: the event does not have the field, and
/// every comparison with it is false.
///
/// The inline room lets a whole line of ancestors be answered without an allocation.
pub type Values<'e> = SmallVec<[Value<'e>; 16]>;

/// What an event answers.
pub trait Fields {
    /// Appends the values of `field` to `out`, or nothing when the event lacks it.
    ///
    /// `argument` has been checked against the field's [`ArgumentRule`] by the compiler.
    fn extract<'e>(&'e self, field: FieldId, argument: &FieldArgument, out: &mut Values<'e>);

    /// Appends what outputs show of `field`, or nothing when that is `<NA>`.
    ///
    /// Most fields show what they compare; those whose comparison is one of its own
    /// (a line of ancestors, both ends of a connection) show something else.
    fn display<'e>(&'e self, field: FieldId, argument: &FieldArgument, out: &mut Values<'e>) {
        self.extract(field, argument, out);
    }

    /// The event's type, an index into [`Schema::event_types`].
    fn event_type(&self) -> u16;
}

/// What the language must not do with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldLimits {
    /// It is meant for conditions (`EPF_FILTER_ONLY`); an output that names it is
    /// accepted, and shows what [`Fields::display`] says.
    pub filter_only: bool,
    /// It may not be compared with another field, on either side (`EPF_NO_RHS`).
    pub no_right_side: bool,
    /// It may not be transformed (`EPF_NO_TRANSFORMER`).
    pub no_transformer: bool,
}

/// How outputs write a field's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NumberFormat {
    /// `PF_DEC`, `PF_ID`.
    #[default]
    Decimal,
    /// `PF_10_PADDED_DEC`: nine digits at least; a plain number in JSON.
    Padded,
    /// `PF_OCT`; text in JSON.
    Octal,
    /// `PF_HEX`: capital letters, no prefix; text in JSON.
    Hexadecimal,
}

/// The fields and event types of one event source.
pub trait Schema {
    /// The source's name in rules: `syscall`, `k8s_audit`.
    fn source(&self) -> &str;

    /// All fields; [`FieldId`] is the index.
    fn fields(&self) -> &[FieldDefinition];

    /// Names of the event types, by number: what `evt.type` compares with. Several
    /// numbers may share a name (old and new forms of one call). An empty name is unused.
    fn event_types(&self) -> &[&'static str];

    /// Looks a field up by its name.
    fn field(&self, name: &str) -> Option<(FieldId, &FieldDefinition)> {
        // Schemas with hundreds of fields override this with an index.
        let index = self.fields().iter().position(|field| field.name == name)?;
        Some((FieldId(u16::try_from(index).ok()?), &self.fields()[index]))
    }

    /// What the language must not do with a field.
    fn limits(&self, _field: FieldId) -> FieldLimits {
        FieldLimits::default()
    }

    /// How outputs write the numbers of a field.
    fn number_format(&self, _field: FieldId) -> NumberFormat {
        NumberFormat::Decimal
    }

    /// The field whose number stands for `field` among the typed values of an output:
    /// times of day, which are nanoseconds in JSON.
    fn typed_as(&self, _field: FieldId) -> Option<FieldId> {
        None
    }

    /// The field whose presence `exists` asks for instead of `field`'s own: there are
    /// fields that exist before they have a value to compare.
    fn exists_as(&self, _field: FieldId, _argument: &FieldArgument) -> Option<FieldId> {
        None
    }

    /// Whether `field = n` asks if the field's value, in nanoseconds, is at most n
    /// milliseconds; no other operator applies then.
    fn is_window(&self, _field: FieldId) -> bool {
        false
    }

    /// The type of a field's values when it depends on the argument (`evt.rawarg.flags`),
    /// or nothing if the field has no such argument.
    fn argument_type(&self, field: FieldId, _argument: &FieldArgument) -> Option<ValueType> {
        self.fields().get(usize::from(field.0)).map(|field| field.value_type)
    }

    /// Appends the numbers of the events whose `evt.type` may be `name`.
    ///
    /// A schema in which one number stands for many calls (Falco's generic event) adds
    /// that number for their names.
    fn event_numbers(&self, name: &str, out: &mut Vec<u16>) {
        for (number, candidate) in self.event_types().iter().enumerate() {
            if *candidate == name
                && !name.is_empty()
                && let Ok(number) = u16::try_from(number)
            {
                out.push(number);
            }
        }
    }

    /// Whether events of this number answer `evt.type` themselves, instead of by
    /// [`Schema::event_types`]: generic and asynchronous events.
    fn event_names_itself(&self, _number: u16) -> bool {
        false
    }
}
