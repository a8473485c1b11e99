//! The grammar of conditions.
//!
//! A recursive-descent parser for the language that `libsinsp/filter/parser.h` defines,
//! including what it does not say: where blanks are needed, and that a word such as
//! `oneof` is an ordinary value unless a list follows it. Nesting is bounded, so the
//! recursion is.

use crate::ast::{
    Comparison, Expr, FieldUse, Operand, Operator, Quantifier, Relation, Right, TransformUse,
    Transformer,
};
use crate::lexer::Cursor;

/// Nesting of parentheses and transformers in one condition; published rules use 5.
pub const NESTING_MAX: usize = 100;

/// Bytes of one condition, lists pasted in; the largest published one has 9,000.
pub const CONDITION_BYTES_MAX: usize = 1 << 20;

/// A condition that does not follow the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What was expected or is wrong.
    pub message: String,
    /// Byte offset in the text.
    pub position: usize,
}

impl palisade_base::Explain for ParseError {
    fn hint(&self) -> Option<String> {
        Some("write `field operator value`, joined by `and`, `or`, `not` and parentheses".into())
    }
}

/// Parses a whole condition.
pub fn parse_condition(text: &str) -> Result<Expr, ParseError> {
    parse_condition_at(text, 0)
}

/// Parses a whole condition whose first byte has the position `base` in the tree; the
/// position of an error does not include it.
pub(crate) fn parse_condition_at(text: &str, base: u32) -> Result<Expr, ParseError> {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0, base };
    if text.is_empty() {
        return Err(parser.error("filter input string is empty"));
    }
    if text.len() > CONDITION_BYTES_MAX {
        return Err(parser.error(format!("condition is larger than {CONDITION_BYTES_MAX} bytes")));
    }
    let expr = parser.or()?;
    if parser.cursor.at_end() {
        return Ok(expr);
    }
    let last = parser.cursor.last();
    Err(parser.error(format!("unexpected token after '{last}', expecting 'or', 'and'")))
}

/// Parses a field or a transformer at the start of `text`; returns it and its length in bytes.
pub fn parse_operand(text: &str) -> Result<(Operand, usize), ParseError> {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0, base: 0 };
    let position = parser.here();
    let operand = if let Some(name) = parser.cursor.field_name() {
        parser.field_rest(name, position)?
    } else if let Some(transformer) = parser.cursor.transformer() {
        parser.transform_rest(transformer, position)?
    } else {
        return Err(parser.error("expected a field or a transformer"));
    };
    Ok((operand, parser.cursor.position()))
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    depth: usize,
    base: u32,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { message: message.into(), position: self.cursor.position() }
    }

    fn here(&self) -> u32 {
        u32::try_from(self.cursor.position()).unwrap_or(u32::MAX).saturating_add(self.base)
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= NESTING_MAX {
            return Err(self.error(format!("exceeded max depth limit of {NESTING_MAX}")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn or(&mut self) -> Parsed<Expr> {
        let position = self.here();
        let mut children = vec![self.and()?];
        self.cursor.blank();
        while self.cursor.literal("or") {
            children.push(self.tail("or", Self::and)?);
            self.cursor.blank();
        }
        Ok(single_or(children, |children| Expr::Or(children, position)))
    }

    fn and(&mut self) -> Parsed<Expr> {
        let position = self.here();
        let mut children = vec![self.not()?];
        self.cursor.blank();
        while self.cursor.literal("and") {
            children.push(self.tail("and", Self::not)?);
            self.cursor.blank();
        }
        Ok(single_or(children, |children| Expr::And(children, position)))
    }

    /// What follows `and` or `or`: a blank and an operand, or parentheses at once.
    fn tail(&mut self, word: &str, parse: fn(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        if self.cursor.blank() {
            return parse(self);
        }
        if self.cursor.literal("(") {
            return self.nested(Self::parenthesised);
        }
        Err(self.error(format!("expected blank or '(' after '{word}'")))
    }

    fn not(&mut self) -> Parsed<Expr> {
        self.cursor.blank();
        let position = self.here();
        let mut negated = false;
        while self.cursor.not_blank() {
            negated = !negated;
        }
        let child = if self.cursor.literal("not(") {
            negated = !negated;
            self.nested(Self::parenthesised)?
        } else {
            self.check()?
        };
        Ok(if negated { Expr::Not(Box::new(child), position) } else { child })
    }

    /// The rest of an expression in parentheses, the opening one consumed.
    fn parenthesised(&mut self) -> Parsed<Expr> {
        let child = self.or()?;
        self.cursor.blank();
        if self.cursor.literal(")") { Ok(child) } else { Err(self.error("expected a ')' token")) }
    }

    fn check(&mut self) -> Parsed<Expr> {
        self.cursor.blank();
        let position = self.here();
        if self.cursor.literal("(") {
            return self.nested(Self::parenthesised);
        }
        if let Some(name) = self.cursor.field_name() {
            let left = self.field_rest(name, position)?;
            return self.condition(left, position);
        }
        if let Some(transformer) = self.cursor.transformer() {
            let left = self.transform_rest(transformer, position)?;
            return self.condition(left, position);
        }
        match self.cursor.identifier() {
            Some(name) => Ok(Expr::Macro(name.to_owned(), position)),
            None => Err(self.error("expected a '(' token, a field check, or an identifier")),
        }
    }

    fn field_rest(&mut self, name: &str, position: u32) -> Parsed<Operand> {
        let argument = self.optional_argument()?;
        Ok(Operand::Field(FieldUse { name: name.to_owned(), argument, position }))
    }

    fn optional_argument(&mut self) -> Parsed<Option<String>> {
        if !self.cursor.literal("[") {
            return Ok(None);
        }
        let argument = match self.quoted()? {
            Some(text) => text,
            None => match self.cursor.bare_argument() {
                Some(text) => text.to_owned(),
                None => {
                    return Err(self.error(
                        "expected a valid field argument: a quoted string or a bare string",
                    ));
                }
            },
        };
        if self.cursor.literal("]") {
            Ok(Some(argument))
        } else {
            Err(self.error("expected a ']' token"))
        }
    }

    fn quoted(&mut self) -> Parsed<Option<String>> {
        self.cursor.quoted().map_err(|error| self.error(error.0))
    }

    /// The arguments of a transformer, its name and parenthesis consumed.
    fn transform_rest(&mut self, transformer: Transformer, position: u32) -> Parsed<Operand> {
        self.nested(|parser| {
            let mut arguments = Vec::new();
            loop {
                arguments.push(parser.transform_argument()?);
                parser.cursor.blank();
                if !parser.cursor.literal(",") {
                    break;
                }
            }
            if !parser.cursor.literal(")") {
                return Err(parser.error("expected a ')' token closing the transformer"));
            }
            let selector = parser.optional_argument()?;
            Ok(Operand::Transform(TransformUse { transformer, arguments, selector, position }))
        })
    }

    fn transform_argument(&mut self) -> Parsed<Operand> {
        self.cursor.blank();
        let position = self.here();
        if self.cursor.literal("(") {
            return self.transform_list(position);
        }
        self.transform_element()?.ok_or_else(|| {
            self.error(
                "expected field transformer argument: field, transformer, quoted string, \
                 number, or transformer list",
            )
        })
    }

    fn transform_element(&mut self) -> Parsed<Option<Operand>> {
        let position = self.here();
        if let Some(number) = self.cursor.number() {
            return Ok(Some(Operand::Literal(number.to_owned(), position)));
        }
        if let Some(text) = self.quoted()? {
            return Ok(Some(Operand::Literal(text, position)));
        }
        if let Some(transformer) = self.cursor.transformer() {
            return self.transform_rest(transformer, position).map(Some);
        }
        match self.cursor.field_name() {
            Some(name) => self.field_rest(name, position).map(Some),
            None => Ok(None),
        }
    }

    /// The elements of a list among a transformer's arguments, the parenthesis consumed.
    fn transform_list(&mut self, position: u32) -> Parsed<Operand> {
        let mut elements = Vec::new();
        self.cursor.blank();
        if self.cursor.literal(")") {
            return Ok(Operand::List(elements, position));
        }
        loop {
            self.cursor.blank();
            let element = self.transform_element()?.ok_or_else(|| {
                self.error(
                    "expected transformer list argument: field, transformer, quoted string, \
                     or number",
                )
            })?;
            elements.push(element);
            self.cursor.blank();
            if !self.cursor.literal(",") {
                break;
            }
        }
        if self.cursor.literal(")") {
            Ok(Operand::List(elements, position))
        } else {
            Err(self.error("expected ')'"))
        }
    }

    fn condition(&mut self, left: Operand, position: u32) -> Parsed<Expr> {
        self.cursor.blank();
        if self.cursor.exists() {
            return Ok(Expr::Exists(left, position));
        }
        let (operator, right) = if let Some(relation) = self.cursor.number_relation() {
            (plain(relation), self.number_or_operand()?)
        } else if let Some((relation, doubled)) = self.cursor.text_relation() {
            self.text_right(relation, doubled)?
        } else if let Some(relation) = self.cursor.list_relation() {
            (plain(relation), self.list_or_operand()?)
        } else {
            return Err(self.error(
                "expected a valid check operator: one of exists, <=, <, >=, >, ==, =, !=, glob, \
                 iglob, contains, icontains, bcontains, startswith, bstartswith, endswith, \
                 regex, intersects, in, pmatch",
            ));
        };
        let comparison = Comparison { left, operator, right };
        Ok(Expr::Compare(Box::new(comparison), position))
    }

    fn text_right(&mut self, relation: Relation, doubled: bool) -> Parsed<(Operator, Right)> {
        // Words have consumed the blank that must follow them.
        let is_word = relation.name().starts_with(|c: char| c.is_ascii_alphabetic());
        let after_blank = self.cursor.blank() || is_word;
        let saved = self.cursor.clone();
        if after_blank
            && let Some(quantifier) = self.cursor.quantifier()
            && self.cursor.list_follows()
            && !self.cursor.keyword_follows()
        {
            return Ok((quantified(relation, doubled, quantifier), self.list()?));
        }
        self.cursor = saved;
        let operator = Operator { relation, quantifier: None, doubled };
        Ok((operator, self.text_or_operand()?))
    }

    fn number_or_operand(&mut self) -> Parsed<Right> {
        if let Some(right) = self.right_operand()? {
            return Ok(right);
        }
        let position = self.here();
        match self.cursor.number() {
            Some(number) => Ok(Right::Value(number.to_owned(), position)),
            None => Err(self.error("expected a number value or a field with a valid transformer")),
        }
    }

    fn text_or_operand(&mut self) -> Parsed<Right> {
        if let Some(right) = self.right_operand()? {
            return Ok(right);
        }
        let position = self.here();
        match self.text()? {
            Some(text) => Ok(Right::Value(text, position)),
            None => Err(self.error("expected a string value or a field with a valid transformer")),
        }
    }

    fn text(&mut self) -> Parsed<Option<String>> {
        if let Some(text) = self.quoted()? {
            return Ok(Some(text));
        }
        Ok(self.cursor.bare_string().map(str::to_owned))
    }

    fn list(&mut self) -> Parsed<Right> {
        self.cursor.blank();
        if let Some(list) = self.list_in_parentheses()? {
            return Ok(list);
        }
        self.list_name().ok_or_else(|| self.error("expected a list or an identifier"))
    }

    fn list_or_operand(&mut self) -> Parsed<Right> {
        self.cursor.blank();
        if let Some(list) = self.list_in_parentheses()? {
            return Ok(list);
        }
        if let Some(right) = self.right_operand()? {
            return Ok(right);
        }
        self.list_name().ok_or_else(|| {
            self.error("expected a list, an identifier, or a field with a valid transformer")
        })
    }

    fn list_name(&mut self) -> Option<Right> {
        let position = self.here();
        let name = self.cursor.identifier()?;
        Some(Right::Value(name.to_owned(), position))
    }

    fn list_in_parentheses(&mut self) -> Parsed<Option<Right>> {
        let position = self.here();
        if !self.cursor.literal("(") {
            return Ok(None);
        }
        self.cursor.blank();
        let mut values = Vec::new();
        if let Some(first) = self.text()? {
            values.push(first);
            self.cursor.blank();
            while self.cursor.literal(",") {
                self.cursor.blank();
                let value = self.text()?.ok_or_else(|| self.error("expected a string value"))?;
                values.push(value);
                self.cursor.blank();
            }
        }
        if self.cursor.literal(")") {
            Ok(Some(Right::List(values, position)))
        } else {
            Err(self.error("expected a ')' token"))
        }
    }

    /// `val(field)` or a transformer, if one stands here.
    fn right_operand(&mut self) -> Parsed<Option<Right>> {
        self.cursor.blank();
        let position = self.here();
        if self.cursor.val() {
            return self.val_rest(position).map(|operand| Some(Right::Operand(operand)));
        }
        match self.cursor.transformer() {
            Some(transformer) => {
                let operand = self.transform_rest(transformer, position)?;
                Ok(Some(Right::Operand(operand)))
            }
            None => Ok(None),
        }
    }

    fn val_rest(&mut self, position: u32) -> Parsed<Operand> {
        self.cursor.blank();
        let field_position = self.here();
        let Some(name) = self.cursor.field_name() else {
            return Err(self.error("expected a field within 'val' transformer"));
        };
        let field = self.field_rest(name, field_position)?;
        self.cursor.blank();
        if !self.cursor.literal(")") {
            return Err(self.error("expected a ')' token closing the transformer"));
        }
        let selector = self.optional_argument()?;
        Ok(Operand::Transform(TransformUse {
            transformer: Transformer::Val,
            arguments: vec![field],
            selector,
            position,
        }))
    }
}

fn plain(relation: Relation) -> Operator {
    Operator { relation, quantifier: None, doubled: false }
}

fn quantified(relation: Relation, doubled: bool, quantifier: Quantifier) -> Operator {
    Operator { relation, quantifier: Some(quantifier), doubled }
}

fn single_or(mut children: Vec<Expr>, join: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match children.pop() {
        Some(only) if children.is_empty() => only,
        Some(last) => {
            children.push(last);
            join(children)
        }
        None => join(children),
    }
}
