//! Outputs of rules: text with fields in it.
//!
//! A field that the event lacks is written `<NA>` and is null among the typed values.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::extract::{Extraction, Scratch};
use crate::fields::{FieldArgument, FieldId, Fields, NumberFormat, Schema, Value, Values};
use crate::operand::{OperandId, Operands};
use crate::parser::parse_operand;

/// What stands for a field that the event lacks.
pub const NOT_AVAILABLE: &str = "<NA>";

/// Bytes of one output format; the largest published one has 600.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Characters in which the end of a field's name is looked for.
const FIELD_CHARS_MAX: usize = 256;

/// A compiled output.
#[derive(Debug)]
pub struct OutputFormat {
    operands: Operands,
    pieces: Vec<Piece>,
    fields: Vec<NamedField>,
}

#[derive(Debug)]
struct NamedField {
    name: String,
    /// What the typed value is read from.
    typed: OperandId,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Value { operand: OperandId, width: usize },
}

/// An output that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OutputError {
    /// What is wrong.
    pub message: String,
    /// Byte offset in the output.
    pub position: usize,
    /// Whether a field does not exist, which `skip-if-unknown-filter` forgives.
    pub is_unknown: bool,
    /// What to do about it.
    pub help: Option<String>,
}

impl palisade_base::Explain for OutputError {
    fn hint(&self) -> Option<String> {
        self.help.clone().or_else(|| Some("write fields as `%field` or `%field[argument]`".into()))
    }
}

/// The value of a field of an output, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// Text; what is not UTF-8 is replaced.
    Text(String),
    /// The values of a list.
    List(Vec<FieldValue>),
}

impl From<&FieldValue> for serde_json::Value {
    fn from(value: &FieldValue) -> Self {
        match value {
            FieldValue::Int(n) => (*n).into(),
            FieldValue::Uint(n) => (*n).into(),
            FieldValue::Double(n) => (*n).into(),
            FieldValue::Bool(b) => (*b).into(),
            FieldValue::Text(text) => text.as_str().into(),
            FieldValue::List(values) => Self::Array(values.iter().map(Self::from).collect()),
        }
    }
}

impl OutputFormat {
    /// Compiles `format` for events of `schema`.
    pub fn compile(format: &str, schema: &dyn Schema) -> Result<Self, OutputError> {
        let bad = |message: &str, position: usize| OutputError {
            message: message.to_owned(),
            position,
            is_unknown: false,
            help: None,
        };
        if format.is_empty() {
            return Err(bad("empty formatting token", 0));
        }
        if format.len() > OUTPUT_BYTES_MAX {
            return Err(bad(&format!("output is larger than {OUTPUT_BYTES_MAX} bytes"), 0));
        }
        // A star asks to print even if fields are missing, which is always done.
        let mut at = usize::from(format.starts_with('*'));
        let mut this =
            Self { operands: Operands::default(), pieces: Vec::new(), fields: Vec::new() };
        while at < format.len() {
            let rest = &format[at..];
            let Some(text_length) = rest.find('%') else {
                this.pieces.push(Piece::Text(rest.to_owned()));
                break;
            };
            if text_length > 0 {
                this.pieces.push(Piece::Text(rest[..text_length].to_owned()));
            }
            at += text_length + 1;
            let rest = &format[at..];
            if rest.is_empty() {
                let message = "invalid formatting syntax: formatting cannot end with a %";
                return Err(bad(message, at));
            }
            let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if n_digits == rest.len() {
                let message = "invalid formatting syntax: formatting cannot end with a number";
                return Err(bad(message, at));
            }
            // A width larger than any output pads no further.
            let width = rest[..n_digits].parse().unwrap_or(0).min(OUTPUT_BYTES_MAX);
            at += n_digits;
            let (operand, length) = this.add_longest(&format[at..], at, schema)?;
            this.pieces.push(Piece::Value { operand, width });
            at += length;
        }
        this.operands.freeze();
        Ok(this)
    }

    /// Compiles the longest start of `rest` that is a field or a transformer: text may
    /// follow a field without a gap.
    fn add_longest(
        &mut self,
        rest: &str,
        position: usize,
        schema: &dyn Schema,
    ) -> Result<(OperandId, usize), OutputError> {
        let mut first_error = None;
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take(FIELD_CHARS_MAX);
        let ends: Vec<usize> = ends.collect();
        for end in std::iter::once(rest.len()).chain(ends.into_iter().rev()) {
            let error = match parse_operand(&rest[..end]) {
                Ok((operand, length)) => match self.operands.add(schema, &operand) {
                    Ok(id) => {
                        self.add_fields(&operand, schema);
                        return Ok((id, length));
                    }
                    Err(error) => (error.message, error.help),
                },
                Err(error) => (error.message, None),
            };
            first_error.get_or_insert(error);
        }
        let (message, help) = first_error.unwrap_or_default();
        Err(OutputError {
            message: format!("unknown filter: {message}"),
            position,
            is_unknown: true,
            help,
        })
    }

    /// Remembers the fields of an operand, but not the transformers over them.
    fn add_fields(&mut self, operand: &crate::ast::Operand, schema: &dyn Schema) {
        let mut found = Vec::new();
        operand.visit_fields(&mut |field| found.push(field.clone()));
        for field in found {
            let name = field.to_string();
            if self.fields.iter().any(|known| known.name == name) {
                continue;
            }
            let mut typed = field;
            if let Some((id, _)) = schema.field(&typed.name)
                && let Some(twin) = schema.typed_as(id)
                && let Some(twin) = schema.fields().get(usize::from(twin.0))
            {
                typed.name = twin.name.into();
            }
            // It was added as a part of the operand, so it can be added by itself.
            if let Ok(typed) = self.operands.add(schema, &crate::ast::Operand::Field(typed)) {
                self.fields.push(NamedField { name, typed });
            }
        }
    }

    /// The names of the fields, in order.
    pub fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// The output's text for an event.
    pub fn render(&self, event: &dyn Fields) -> String {
        let mut scratch = Scratch::default();
        let shown = Shown(event);
        let mut extraction = Extraction::new(&self.operands, &shown, &mut scratch);
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value { operand, width: 0 } => {
                    self.render_value(*operand, &mut extraction, &mut out);
                }
                Piece::Value { operand, width } => {
                    let mut value = String::new();
                    self.render_value(*operand, &mut extraction, &mut value);
                    let cut = value.char_indices().nth(*width).map_or(value.len(), |(at, _)| at);
                    let _ = write!(out, "{:<width$}", &value[..cut]);
                }
            }
        }
        out
    }

    fn render_value(
        &self,
        operand: OperandId,
        extraction: &mut Extraction<'_, '_, Shown<'_>>,
        out: &mut String,
    ) {
        let Some(slot) = extraction.slot(operand) else {
            out.push_str(NOT_AVAILABLE);
            return;
        };
        let info = self.operands.info(operand);
        let n = slot.n_values();
        if !info.is_list {
            out.push_str(&shown_text(extraction.value(slot, 0), info.format));
            return;
        }
        out.push('(');
        for i in 0..n {
            if i > 0 {
                out.push(',');
            }
            out.push_str(&shown_text(extraction.value(slot, i), info.format));
        }
        out.push(')');
    }

    /// The fields of the output with their values for an event, in order.
    pub fn values(&self, event: &dyn Fields) -> Vec<(&str, Option<FieldValue>)> {
        let mut scratch = Scratch::default();
        let shown = Shown(event);
        let mut extraction = Extraction::new(&self.operands, &shown, &mut scratch);
        let mut out = Vec::with_capacity(self.fields.len());
        for NamedField { name, typed } in &self.fields {
            let info = self.operands.info(*typed);
            let value = extraction.slot(*typed).map(|slot| {
                let n = slot.n_values();
                let at = |i: usize| owned_value(extraction.value(slot, i), info.format);
                if info.is_list { FieldValue::List((0..n).map(at).collect()) } else { at(0) }
            });
            out.push((name.as_str(), value));
        }
        out
    }
}

/// An event of which outputs see what is meant to be shown.
struct Shown<'s>(&'s dyn Fields);

impl Fields for Shown<'_> {
    fn extract<'e>(&'e self, field: FieldId, argument: &FieldArgument, out: &mut Values<'e>) {
        self.0.display(field, argument, out);
    }

    fn event_type(&self) -> u16 {
        self.0.event_type()
    }
}

/// A value as outputs show it: without characters that could forge a line of output.
fn shown_text(value: Value<'_>, format: NumberFormat) -> Cow<'_, str> {
    match value {
        Value::Text(bytes) => palisade_base::text::printable(bytes),
        // What could not be read is named as a parameter would be.
        Value::Bytes(b"") => "NULL".into(),
        _ => value_text(value, format),
    }
}

/// A value as text, unchanged.
pub(crate) fn value_text(value: Value<'_>, format: NumberFormat) -> Cow<'_, str> {
    match value {
        Value::Text(bytes) => String::from_utf8_lossy(bytes),
        Value::Bytes(bytes) => printable(bytes).into(),
        Value::Bool(true) => "true".into(),
        Value::Bool(false) => "false".into(),
        Value::Double(n) => format!("{n:.1}").into(),
        Value::Int(n) => match format {
            NumberFormat::Decimal => n.to_string().into(),
            NumberFormat::Padded => format!("{n:09}").into(),
            NumberFormat::Octal => format!("{n:o}").into(),
            NumberFormat::Hexadecimal => format!("{n:X}").into(),
        },
        Value::Uint(n) => match format {
            NumberFormat::Decimal => n.to_string().into(),
            NumberFormat::Padded => format!("{n:09}").into(),
            NumberFormat::Octal => format!("{n:o}").into(),
            NumberFormat::Hexadecimal => format!("{n:X}").into(),
        },
        Value::Ip(address) => palisade_base::text::Address(address).to_string().into(),
        Value::Net(_) => "<IPNET>".into(),
    }
}

/// Bytes with a dot for each that cannot be printed.
fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
        .collect()
}

fn owned_value(value: Value<'_>, format: NumberFormat) -> FieldValue {
    match value {
        Value::Int(n) if format == NumberFormat::Decimal => FieldValue::Int(n),
        Value::Uint(n) if matches!(format, NumberFormat::Decimal | NumberFormat::Padded) => {
            FieldValue::Uint(n)
        }
        Value::Double(n) => FieldValue::Double(n),
        Value::Bool(b) => FieldValue::Bool(b),
        other => FieldValue::Text(shown_text(other, format).into_owned()),
    }
}
