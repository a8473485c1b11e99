//! What conditions and outputs ask of an event: fields, and functions over them.
//!
//! Operands are checked against the schema and numbered; equal operands get one number,
//! so that the evaluator extracts each at most once per event.

use std::collections::HashMap;

use crate::ast::{FieldUse, Operand, TransformUse, Transformer};
use crate::fields::{
    ArgumentKind, ArgumentRule, FieldArgument, FieldId, FieldLimits, NumberFormat, Schema,
    ValueType,
};

/// Number of an operand in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OperandId(pub(crate) u32);

/// How an operand's values come about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The event answers.
    Field(FieldId, FieldArgument),
    /// A constant among arguments.
    Literal(Box<[u8]>),
    /// The values of all elements; missing if one is.
    List(Vec<OperandId>),
    /// The values of another operand as text.
    AsText(OperandId),
    /// A function.
    Transform(Transformer, Vec<OperandId>, Option<u8>),
}

/// An operand that was checked.
#[derive(Debug)]
pub(crate) struct OperandInfo {
    pub(crate) source: Source,
    pub(crate) value_type: ValueType,
    pub(crate) is_list: bool,
    pub(crate) limits: FieldLimits,
    pub(crate) format: NumberFormat,
    /// Name for messages: the field's, without transformers.
    pub(crate) name: String,
}

/// Why an operand cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperandError {
    pub(crate) message: String,
    pub(crate) position: u32,
    /// Whether the field does not exist, which `skip-if-unknown-filter` forgives.
    pub(crate) is_unknown: bool,
    pub(crate) help: Option<String>,
}

impl OperandError {
    fn new(message: impl Into<String>, position: u32) -> Self {
        Self { message: message.into(), position, is_unknown: false, help: None }
    }
}

/// Distinct operands of one source's rules; the published 93 rules have 87.
pub const OPERANDS_MAX: usize = 1 << 15;

/// All operands of the rules of one source.
#[derive(Debug, Default)]
pub(crate) struct Operands {
    infos: Vec<OperandInfo>,
    by_source: HashMap<Source, OperandId>,
}

/// A field name resolved against a schema.
pub(crate) struct ResolvedField {
    pub(crate) id: FieldId,
    pub(crate) argument: FieldArgument,
    pub(crate) value_type: ValueType,
    pub(crate) is_list: bool,
}

/// Finds the field that `name[argument]` or `name.argument` uses.
pub(crate) fn resolve_field(
    schema: &dyn Schema,
    name: &str,
    argument: Option<&str>,
    position: u32,
) -> Result<ResolvedField, OperandError> {
    find_field(schema, name, argument, position).map_err(|mut error| {
        // Comparing with all names takes long, and most callers only try.
        if error.is_unknown && error.help.is_none() {
            let names = schema.fields().iter().map(|field| field.name);
            error.help = palisade_base::suggest::nearest(name, names)
                .map(|near| format!("did you mean `{near}`?"));
        }
        error
    })
}

/// The same, without looking for what was meant.
pub(crate) fn find_field(
    schema: &dyn Schema,
    name: &str,
    argument: Option<&str>,
    position: u32,
) -> Result<ResolvedField, OperandError> {
    if let Some((id, definition)) = schema.field(name) {
        let argument = parse_argument(definition.argument, name, argument, position)?;
        let value_type =
            schema.argument_type(id, &argument).ok_or_else(|| no_argument(&argument, position))?;
        let is_list = definition.is_list;
        return Ok(ResolvedField { id, argument, value_type, is_list });
    }
    if argument.is_none() {
        // `evt.arg.path`: the longest field before a dot that takes a name.
        for (at, _) in name.rmatch_indices('.') {
            if let Some((id, definition)) = schema.field(&name[..at])
                && let ArgumentRule::Required(ArgumentKind::Key | ArgumentKind::Either)
                | ArgumentRule::Optional(ArgumentKind::Key) = definition.argument
            {
                let argument = FieldArgument::Key(name[at + 1..].into());
                let value_type = schema
                    .argument_type(id, &argument)
                    .ok_or_else(|| no_argument(&argument, position))?;
                let is_list = definition.is_list;
                return Ok(ResolvedField { id, argument, value_type, is_list });
            }
        }
    }
    Err(unknown_field(schema, name, argument, position))
}

fn no_argument(argument: &FieldArgument, position: u32) -> OperandError {
    let text = match argument {
        FieldArgument::None => String::new(),
        FieldArgument::Index(n) => n.to_string(),
        FieldArgument::Key(key) => key.to_string(),
    };
    OperandError::new(format!("unknown event argument {text}"), position)
}

fn unknown_field(
    schema: &dyn Schema,
    name: &str,
    argument: Option<&str>,
    position: u32,
) -> OperandError {
    let shown = argument.map_or_else(|| name.to_owned(), |text| format!("{name}[{text}]"));
    let help = schema.field(name).map(|_| format!("`{name}` does not take this argument"));
    OperandError {
        message: format!("filter_check called with nonexistent field {shown}"),
        position,
        is_unknown: true,
        help,
    }
}

fn parse_argument(
    rule: ArgumentRule,
    name: &str,
    argument: Option<&str>,
    position: u32,
) -> Result<FieldArgument, OperandError> {
    let unknown = |text: &str| OperandError {
        message: format!("filter_check called with nonexistent field {name}[{text}]"),
        position,
        is_unknown: true,
        help: Some(match rule {
            ArgumentRule::None => format!("`{name}` takes no argument"),
            _ => format!("the argument of `{name}` is a number"),
        }),
    };
    let (kind, text) = match (rule, argument) {
        (ArgumentRule::None | ArgumentRule::Optional(_), None) => return Ok(FieldArgument::None),
        (ArgumentRule::Required(_), None) => {
            return Err(OperandError::new(
                format!("filter syntax error: field '{name}' requires an argument"),
                position,
            ));
        }
        (ArgumentRule::None, Some(text)) => return Err(unknown(text)),
        (ArgumentRule::Optional(kind) | ArgumentRule::Required(kind), Some(text)) => (kind, text),
    };
    match (kind, text.parse::<u32>()) {
        (ArgumentKind::Index | ArgumentKind::Either, Ok(index)) => Ok(FieldArgument::Index(index)),
        (ArgumentKind::Index, Err(_)) => Err(unknown(text)),
        (ArgumentKind::Key | ArgumentKind::Either, _) => Ok(FieldArgument::Key(text.into())),
    }
}

impl Operands {
    pub(crate) fn info(&self, id: OperandId) -> &OperandInfo {
        &self.infos[id.0 as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.infos.len()
    }

    /// Forgets what only adding needs.
    pub(crate) fn freeze(&mut self) {
        self.by_source = HashMap::new();
        self.infos.shrink_to_fit();
    }

    fn intern(&mut self, info: OperandInfo, position: u32) -> Result<OperandId, OperandError> {
        if let Some(id) = self.by_source.get(&info.source) {
            return Ok(*id);
        }
        if self.infos.len() >= OPERANDS_MAX {
            let message = format!("more than {OPERANDS_MAX} distinct fields");
            return Err(OperandError::new(message, position));
        }
        let id = OperandId(u32::try_from(self.infos.len()).unwrap_or(u32::MAX));
        self.by_source.insert(info.source.clone(), id);
        self.infos.push(info);
        Ok(id)
    }

    /// Checks `operand` against the schema and numbers it.
    pub(crate) fn add(
        &mut self,
        schema: &dyn Schema,
        operand: &Operand,
    ) -> Result<OperandId, OperandError> {
        match operand {
            Operand::Field(field) => self.add_field(schema, field),
            Operand::Transform(transform) => self.add_transform(schema, transform),
            Operand::Literal(text, position) => {
                let source = Source::Literal(text.as_bytes().into());
                self.intern(text_info(source, false), *position)
            }
            Operand::List(elements, position) => {
                let mut ids = Vec::with_capacity(elements.len());
                for element in elements {
                    let id = self.add(schema, element)?;
                    ids.push(self.as_text(id, element.position())?);
                }
                self.intern(text_info(Source::List(ids), true), *position)
            }
        }
    }

    /// Elements of a list are text; other values are written as outputs write them.
    fn as_text(&mut self, id: OperandId, position: u32) -> Result<OperandId, OperandError> {
        let info = self.info(id);
        if matches!(info.value_type, ValueType::Text | ValueType::Path | ValueType::Bytes) {
            return Ok(id);
        }
        let mut text = text_info(Source::AsText(id), info.is_list);
        text.name.clone_from(&info.name);
        self.intern(text, position)
    }

    fn add_field(
        &mut self,
        schema: &dyn Schema,
        field: &FieldUse,
    ) -> Result<OperandId, OperandError> {
        let resolved =
            resolve_field(schema, &field.name, field.argument.as_deref(), field.position)?;
        let info = OperandInfo {
            limits: schema.limits(resolved.id),
            format: schema.number_format(resolved.id),
            source: Source::Field(resolved.id, resolved.argument),
            value_type: resolved.value_type,
            is_list: resolved.is_list,
            name: field.name.clone(),
        };
        self.intern(info, field.position)
    }

    fn add_transform(
        &mut self,
        schema: &dyn Schema,
        transform: &TransformUse,
    ) -> Result<OperandId, OperandError> {
        let TransformUse { transformer, arguments, selector, position } = transform;
        let mut ids = Vec::with_capacity(arguments.len());
        for argument in arguments {
            ids.push(self.add(schema, argument)?);
        }
        if let [only] = ids[..] {
            if selector.is_some() {
                return Err(OperandError::new(
                    format!(
                        "filter error: transformer '{}' does not support field arguments",
                        transformer.name()
                    ),
                    *position,
                ));
            }
            if *transformer == Transformer::Val {
                return Ok(only);
            }
            return self.add_single(*transformer, only, *position);
        }
        let info = self.check_several(*transformer, ids, selector.as_deref(), *position)?;
        self.intern(info, *position)
    }

    fn add_single(
        &mut self,
        transformer: Transformer,
        id: OperandId,
        position: u32,
    ) -> Result<OperandId, OperandError> {
        let info = self.info(id);
        if info.limits.no_transformer {
            let message = format!("field '{}' does not support transformers", info.name);
            return Err(OperandError::new(message, position));
        }
        let is_text = matches!(info.value_type, ValueType::Text | ValueType::Path);
        let is_bytes = info.value_type == ValueType::Bytes;
        let (fits, value_type, is_list) = match transformer {
            Transformer::ToLower | Transformer::ToUpper | Transformer::Basename => {
                (is_text, info.value_type, info.is_list)
            }
            Transformer::Base64 => {
                (info.value_type == ValueType::Text || is_bytes, info.value_type, info.is_list)
            }
            Transformer::Len => (info.is_list || is_text || is_bytes, ValueType::Uint, false),
            Transformer::Val | Transformer::Join | Transformer::Concat | Transformer::Getopt => {
                (false, info.value_type, info.is_list)
            }
        };
        if !fits {
            let message = format!(
                "can't add field transformer: type '{}' is not supported by '{}' transformer \
                 applied on {}field '{}'",
                info.value_type.name(),
                transformer.name(),
                if info.is_list { "list " } else { "" },
                info.name
            );
            return Err(OperandError::new(message, position));
        }
        let info = OperandInfo {
            source: Source::Transform(transformer, vec![id], None),
            value_type,
            is_list,
            limits: info.limits,
            format: NumberFormat::Decimal,
            name: info.name.clone(),
        };
        self.intern(info, position)
    }

    fn check_several(
        &self,
        transformer: Transformer,
        ids: Vec<OperandId>,
        selector: Option<&str>,
        position: u32,
    ) -> Result<OperandInfo, OperandError> {
        let error = |message: &str| Err(OperandError::new(message, position));
        let is_list = |i: usize| self.info(ids[i]).is_list;
        let is_text =
            |i: usize| matches!(self.info(ids[i]).value_type, ValueType::Text | ValueType::Path);
        match transformer {
            Transformer::Join => {
                if ids.len() != 2 {
                    return error("join() requires exactly 2 arguments: separator and list");
                }
                if is_list(0) {
                    return error(
                        "join() first argument (separator) must be a single value, not a list",
                    );
                }
                if !is_list(1) {
                    return error("join() second argument must be a list");
                }
            }
            Transformer::Concat => {
                if (0..ids.len()).any(|i| is_list(i) || !is_text(i)) {
                    return error("concat() arguments must be strings");
                }
            }
            Transformer::Getopt => {
                if ids.len() != 2 {
                    return error("getopt() requires exactly 2 arguments: args list and optstring");
                }
                if !is_list(0) {
                    return error("getopt() first argument must be a list");
                }
                if is_list(1) {
                    return error("getopt() second argument (optstring) must be a single value");
                }
                if !is_text(0) || !is_text(1) {
                    return error("getopt() arguments must be strings");
                }
            }
            _ => return error("unknown multivalue transformer"),
        }
        let selector = match (transformer, selector.map(str::as_bytes)) {
            (_, None) => None,
            (Transformer::Getopt, Some([byte])) => Some(*byte),
            (Transformer::Getopt, Some(_)) => {
                return error("getopt() field argument must be a single option character");
            }
            (_, Some(_)) => {
                let name = transformer.name();
                return error(&format!("transformer '{name}' does not support field arguments"));
            }
        };
        let is_list = transformer == Transformer::Getopt && selector.is_none();
        Ok(text_info(Source::Transform(transformer, ids, selector), is_list))
    }
}

fn text_info(source: Source, is_list: bool) -> OperandInfo {
    OperandInfo {
        source,
        value_type: ValueType::Text,
        is_list,
        limits: FieldLimits::default(),
        format: NumberFormat::Decimal,
        name: "INTERNAL".to_owned(),
    }
}
