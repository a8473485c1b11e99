//! Conditions against a schema: types are checked, constants read, checks numbered.

use crate::ast::{Comparison, Expr, FieldUse, Operand, Quantifier, Relation, Right, Transformer};
use crate::constant::Constant;
use crate::event_types::{EventTypes, is_event_type_field};
use crate::fields::{Schema, ValueType};
use crate::graph::{CheckKey, Graph, Node, NodeId, Over, RightKey, Test};
use crate::matcher::Matcher;
use crate::operand::{OperandError, OperandId, OperandInfo, Operands, Source, find_field};

/// A doubtful spot of a condition: position and message.
pub(crate) type Warning = (u32, String);

/// Compiles the conditions of one source's rules into one graph.
pub(crate) struct Compiler<'s> {
    pub(crate) schema: &'s dyn Schema,
    pub(crate) operands: Operands,
    pub(crate) graph: Graph,
}

/// Fewer alternatives than this are quicker one by one than as an automaton.
const ALTERNATIVES_MIN: usize = 4;

fn error(message: impl Into<String>, position: u32) -> OperandError {
    OperandError { message: message.into(), position, is_unknown: false, help: None }
}

impl<'s> Compiler<'s> {
    pub(crate) fn new(schema: &'s dyn Schema) -> Self {
        Self { schema, operands: Operands::default(), graph: Graph::new() }
    }

    /// Compiles a condition without macros.
    pub(crate) fn condition(
        &mut self,
        expr: &Expr,
        warnings: &mut Vec<Warning>,
    ) -> Result<NodeId, OperandError> {
        match expr {
            Expr::And(children, _) => {
                let ids = self.all(children, warnings)?;
                Ok(self.graph.and(ids))
            }
            Expr::Or(children, _) => {
                let ids = self.all(children, warnings)?;
                let ids = self.merged(ids);
                Ok(self.graph.or(ids))
            }
            Expr::Not(child, _) => {
                let id = self.condition(child, warnings)?;
                Ok(self.graph.not(id))
            }
            Expr::Macro(name, position) => {
                Err(error(format!("filter error: unexpected identifier '{name}'"), *position))
            }
            Expr::Exists(operand, _) => {
                let operand = self.asked_by_exists(operand)?;
                let key = CheckKey {
                    operand,
                    relation: Relation::Exists,
                    quantifier: None,
                    right: RightKey::Constants(vec![]),
                };
                self.graph.add_check(key, || Ok(Test::Exists))
            }
            Expr::Compare(comparison, position) => self.comparison(comparison, *position, warnings),
        }
    }

    /// Numbers the operand whose presence `exists` asks for.
    fn asked_by_exists(&mut self, operand: &Operand) -> Result<OperandId, OperandError> {
        let id = self.operand(operand)?;
        let twin = match &self.operands.info(id).source {
            Source::Field(field, argument) => self.schema.exists_as(*field, argument),
            _ => None,
        };
        let twin = twin.and_then(|twin| self.schema.fields().get(usize::from(twin.0)));
        match (twin, operand) {
            (Some(twin), Operand::Field(field)) => self.operand(&Operand::Field(FieldUse {
                name: twin.name.into(),
                argument: None,
                ..field.clone()
            })),
            _ => Ok(id),
        }
    }

    /// Numbers an operand of a condition.
    fn operand(&mut self, operand: &Operand) -> Result<OperandId, OperandError> {
        let mut print_only: Option<&FieldUse> = None;
        operand.visit_fields(&mut |field| {
            if self.schema.field(&field.name).is_some_and(|(_, known)| !known.filterable) {
                print_only = Some(field);
            }
        });
        if let Some(field) = print_only {
            let message = format!("field '{}' may stand in outputs only", field.name);
            return Err(error(message, field.position));
        }
        self.operands.add(self.schema, operand)
    }

    fn all(
        &mut self,
        children: &[Expr],
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<NodeId>, OperandError> {
        children.iter().map(|child| self.condition(child, warnings)).collect()
    }

    /// The alternatives of an `or` with those over one text made into one check.
    fn merged(&mut self, ids: Vec<NodeId>) -> Vec<NodeId> {
        let mut groups: Vec<(OperandId, Relation, Vec<String>, Vec<NodeId>)> = Vec::new();
        for id in &ids {
            let Some((operand, relation, constants)) = self.alternative(*id) else {
                continue;
            };
            match groups.iter_mut().find(|(o, r, ..)| *o == operand && *r == relation) {
                Some((.., texts, members)) => {
                    texts.extend(constants);
                    members.push(*id);
                }
                None => groups.push((operand, relation, constants, vec![*id])),
            }
        }
        let mut ids = ids;
        for (operand, relation, mut texts, members) in groups {
            let worth = if relation == Relation::Equal { 2 } else { ALTERNATIVES_MIN };
            if members.len() < worth {
                continue;
            }
            texts.sort();
            texts.dedup();
            let bytes: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            let Some(matcher) = Matcher::any_of(relation, &bytes) else {
                continue;
            };
            let right = RightKey::Constants(texts.clone());
            let key = CheckKey { operand, relation, quantifier: Some(Quantifier::Any), right };
            let test = || Ok::<_, OperandError>(Test::Match(Over::Any, matcher));
            if let Ok(check) = self.graph.add_check(key, test) {
                ids.retain(|id| !members.contains(id));
                ids.push(check);
            }
        }
        ids
    }

    /// The parts of a check of one text against constants that may be merged with others.
    fn alternative(&self, id: NodeId) -> Option<(OperandId, Relation, Vec<String>)> {
        let Node::Check(check) = self.graph.node(id) else {
            return None;
        };
        let key = &self.graph.check(*check).key;
        let RightKey::Constants(constants) = &key.right else {
            return None;
        };
        let info = self.operands.info(key.operand);
        let is_text = matches!(info.value_type, ValueType::Text | ValueType::Path);
        let relation = match (key.relation, key.quantifier) {
            (Relation::In | Relation::Equal, None) => Relation::Equal,
            (Relation::StartsWith | Relation::EndsWith | Relation::Contains, None) => key.relation,
            _ => return None,
        };
        (is_text && !info.is_list).then(|| (key.operand, relation, constants.clone()))
    }

    fn comparison(
        &mut self,
        comparison: &Comparison,
        position: u32,
        warnings: &mut Vec<Warning>,
    ) -> Result<NodeId, OperandError> {
        let left = self.operand(&comparison.left)?;
        let info = self.operands.info(left);
        let relation = comparison.operator.relation;
        check_comparable(relation, info.value_type, info.is_list)
            .map_err(|message| error(format!("filter error: {message}"), position))?;
        match &comparison.right {
            Right::Operand(operand) => self.with_operand(left, comparison, operand),
            Right::Value(value, at) => {
                self.with_constants(left, comparison, std::slice::from_ref(value), *at, warnings)
            }
            Right::List(values, at) => self.with_constants(left, comparison, values, *at, warnings),
        }
    }

    fn with_operand(
        &mut self,
        left: OperandId,
        comparison: &Comparison,
        operand: &Operand,
    ) -> Result<NodeId, OperandError> {
        let position = operand.position();
        let relation = comparison.operator.relation;
        let right = self.operand(operand)?;
        let (left_info, right_info) = (self.operands.info(left), self.operands.info(right));
        check_operands(relation, left_info, right_info)
            .map_err(|message| error(message, position))?;
        let key = CheckKey {
            operand: left,
            relation,
            quantifier: comparison.operator.quantifier,
            right: RightKey::Operand(right),
        };
        self.graph.add_check(key, || Ok(Test::Operand(relation, right)))
    }

    fn with_constants(
        &mut self,
        left: OperandId,
        comparison: &Comparison,
        values: &[String],
        position: u32,
        warnings: &mut Vec<Warning>,
    ) -> Result<NodeId, OperandError> {
        let mut relation = comparison.operator.relation;
        let quantifier = comparison.operator.quantifier;
        let mut values = values;
        for value in values {
            self.warn_value(relation, value, position, warnings);
        }
        // Falco reads the constants as event types under transformers, too.
        if under_transformers(&comparison.left).is_some_and(|field| field.name == "evt.type") {
            self.check_event_types(values, position)?;
        }
        let info = self.operands.info(left);
        let mut windows = None;
        if let Source::Field(field, _) = &info.source
            && self.schema.is_window(*field)
        {
            if relation != Relation::Equal || quantifier.is_some() {
                let message = format!("{} supports only '=' comparison operator", info.name);
                return Err(error(message, position));
            }
            let windows = windows.insert(window(values).map_err(|m| error(m, position))?);
            (relation, values) = (Relation::LessOrEqual, windows.as_slice());
        }
        let constants = values
            .iter()
            .map(|value| read_constant(relation, value, info.value_type))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|message| error(message, position))?;
        let mut names = values.to_vec();
        if relation.takes_list() || quantifier.is_some() {
            // Exactly one of them: a repeated value counts twice.
            names.sort();
        }
        let right = RightKey::Constants(names);
        let key = CheckKey { operand: left, relation, quantifier, right };
        let over = match (info.is_list, relation, info.value_type) {
            (true, Relation::In, _) => Over::AllOrNone,
            (false, Relation::NotEqual, ValueType::Ip | ValueType::Net | ValueType::Port) => {
                Over::All
            }
            _ => Over::Any,
        };
        self.graph.add_check(key, || {
            Matcher::new(relation, quantifier, &constants)
                .map(|matcher| Test::Match(over, matcher))
                .map_err(|message| error(message, position))
        })
    }

    fn check_event_types(&self, values: &[String], position: u32) -> Result<(), OperandError> {
        let mut numbers = Vec::new();
        for value in values {
            numbers.clear();
            self.schema.event_numbers(value, &mut numbers);
            // Some types of Falco's table have no name, so no name is one of theirs.
            if numbers.is_empty() && !value.is_empty() {
                let names = self.schema.event_types().iter().copied();
                return Err(OperandError {
                    message: format!("unknown event type {value}"),
                    position,
                    is_unknown: true,
                    help: palisade_base::suggest::nearest(value, names)
                        .map(|near| format!("did you mean `{near}`?")),
                });
            }
        }
        Ok(())
    }

    /// Warns about constants that were probably meant otherwise.
    fn warn_value(
        &self,
        relation: Relation,
        value: &str,
        position: u32,
        warnings: &mut Vec<Warning>,
    ) {
        if relation == Relation::Regex && is_simple_pattern(value.as_bytes()) {
            let message = format!(
                "regex check with '{value}' may be optimized with simpler operators such as \
                 '=', 'contains', 'startswith', 'endswith'"
            );
            warnings.push((position, message));
        }
        let stripped: String = value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        if is_field(self.schema, &stripped) {
            let message = format!("'{value}' may be a valid field misused as a const string value");
            warnings.push((position, message));
        }
        let is_call = |name: &str| {
            stripped
                .strip_prefix(name)
                .is_some_and(|rest| rest.len() >= 2 && rest.starts_with('(') && rest.ends_with(')'))
        };
        let mut transformers = Transformer::ALL.iter().chain(&[Transformer::Val]);
        if transformers.any(|transformer| is_call(transformer.name())) {
            let message = format!(
                "'{value}' may be a valid field transformer misused as a const string value"
            );
            warnings.push((position, message));
        }
    }

    /// The event types for which the condition can hold, as Falco derives them.
    pub(crate) fn event_types(&self, expr: &Expr) -> EventTypes {
        EventTypes::of_condition(expr, self.schema)
    }

    /// Whether the operand is the event's type.
    pub(crate) fn is_event_type(&self, operand: OperandId) -> bool {
        let info = self.operands.info(operand);
        matches!(info.source, Source::Field(..)) && is_event_type_field(&info.name)
    }
}

/// Whether `text` names a field, with or without argument.
pub(crate) fn is_field(schema: &dyn Schema, text: &str) -> bool {
    let (name, argument) = match text.split_once('[') {
        Some((name, rest)) => match rest.strip_suffix(']') {
            Some(argument) => (name, Some(argument)),
            None => return false,
        },
        None => (text, None),
    };
    name.contains('.') && find_field(schema, name, argument, 0).is_ok()
}

/// Whether `field` may stand on the left: a field, or transformers over one.
pub(crate) fn is_left_side(schema: &dyn Schema, field: &str) -> bool {
    if !field.contains('(') {
        return is_field(schema, field);
    }
    crate::parser::parse_condition(&format!("{field} exists"))
        .is_ok_and(|expr| Compiler::new(schema).condition(&expr, &mut vec![]).is_ok())
}

fn read_constant(
    relation: Relation,
    value: &str,
    value_type: ValueType,
) -> Result<Constant, String> {
    if matches!(relation, Relation::BContains | Relation::BStartsWith) {
        return unhex(value).map(|bytes| Constant::Text(bytes.into())).ok_or_else(|| {
            "filter error: bcontains and bstartswith operator support hex strings only".to_owned()
        });
    }
    Constant::parse(value, value_type)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Whether a pattern does what a plain comparison could do.
fn is_simple_pattern(pattern: &[u8]) -> bool {
    let n = pattern.len();
    let mut i = 0;
    while i < n {
        let byte = pattern[i];
        let is_anchor = (i == 0 && byte == b'^') || (i + 1 == n && byte == b'$');
        if is_anchor {
            i += 1;
            continue;
        }
        let repeats = pattern.get(i + 1).is_some_and(|next| b"+*?".contains(next));
        if ((i == 0 && n > 1) || i + 2 == n) && byte == b'.' && repeats {
            i += 2;
            continue;
        }
        if b".+*?^$()[]{}|\\".contains(&byte) {
            return false;
        }
        i += 1;
    }
    true
}

fn check_comparable(
    relation: Relation,
    value_type: ValueType,
    is_list: bool,
) -> Result<(), String> {
    use Relation as R;
    if relation == R::Exists {
        return Ok(());
    }
    let refuse = |what: &str| Err(format!("'{}' operator not supported {what}", relation.name()));
    let is_set = matches!(relation, R::In | R::Intersects);
    let is_equality = is_set || matches!(relation, R::Equal | R::NotEqual);
    let is_order = matches!(relation, R::Less | R::LessOrEqual | R::Greater | R::GreaterOrEqual);
    if is_list {
        return match value_type {
            _ if !is_list_type(value_type) => {
                Err(format!("list filters are not supported for type '{}'", value_type.name()))
            }
            _ if is_set => Ok(()),
            _ => refuse("list filters"),
        };
    }
    match value_type {
        ValueType::Bool | ValueType::Ip | ValueType::Net if is_equality => Ok(()),
        ValueType::Int
        | ValueType::Uint
        | ValueType::Double
        | ValueType::Port
        | ValueType::RelativeTime
        | ValueType::AbsoluteTime
            if is_equality || is_order =>
        {
            Ok(())
        }
        ValueType::Text | ValueType::Path if !matches!(relation, R::BContains | R::BStartsWith) => {
            Ok(())
        }
        ValueType::Bytes
            if is_equality
                || matches!(
                    relation,
                    R::Contains | R::StartsWith | R::EndsWith | R::BContains | R::BStartsWith
                ) =>
        {
            Ok(())
        }
        ValueType::Ip | ValueType::Net => refuse("for ip address and network filters"),
        ValueType::Text | ValueType::Path => refuse("for string filters"),
        ValueType::Bytes => refuse("for buffer filters"),
        ValueType::Opaque => refuse(&format!("for type '{}'", value_type.name())),
        _ => refuse("for numeric filters"),
    }
}

fn is_list_type(value_type: ValueType) -> bool {
    matches!(
        value_type,
        ValueType::Text
            | ValueType::Uint
            | ValueType::RelativeTime
            | ValueType::AbsoluteTime
            | ValueType::Bool
            | ValueType::Ip
            | ValueType::Net
    )
}

/// Milliseconds as nanoseconds.
fn window(values: &[String]) -> Result<Vec<String>, String> {
    let nanoseconds = |text: &String| {
        let number = text.parse::<u64>().ok();
        let number = number.and_then(|number| number.checked_mul(1_000_000));
        number.map(|n| n.to_string()).ok_or_else(|| format!("{text} is not a valid number"))
    };
    values.iter().map(nanoseconds).collect()
}

/// The field under any number of transformers of one argument.
fn under_transformers(operand: &Operand) -> Option<&FieldUse> {
    match operand {
        Operand::Field(field) => Some(field),
        Operand::Transform(transform) => match transform.arguments.as_slice() {
            [argument] => under_transformers(argument),
            _ => None,
        },
        _ => None,
    }
}

fn check_operands(
    relation: Relation,
    left: &OperandInfo,
    right: &OperandInfo,
) -> Result<(), String> {
    if matches!(relation, Relation::PMatch | Relation::Regex) {
        return Err(format!(
            "operator '{}' doesn't support right-hand side fields",
            relation.name().to_ascii_uppercase()
        ));
    }
    if left.value_type == ValueType::Net {
        return Err("field type 'IPNET' doesn't support right-hand side fields".to_owned());
    }
    if left.limits.no_right_side {
        return Err(format!("field '{}' doesn't support right-hand side fields", left.name));
    }
    if right.limits.no_right_side {
        return Err(format!("field '{}' can't be used as a right-hand side field", right.name));
    }
    let kind = |info: &OperandInfo| (info.value_type, info.is_list);
    let is_text = |info: &OperandInfo| {
        matches!(info.value_type, ValueType::Text | ValueType::Path) && !info.is_list
    };
    if kind(left) == kind(right) || (is_text(left) && is_text(right)) {
        return Ok(());
    }
    let shown = |info: &OperandInfo| {
        format!("type '{}'{}", info.value_type.name(), if info.is_list { " (list)" } else { "" })
    };
    Err(format!(
        "field '{}' has {} while the right-hand side field '{}' has incompatible {}",
        left.name,
        shown(left),
        right.name,
        shown(right)
    ))
}
