//! The tree of a condition, and its canonical text.
//!
//! A tree says what was written and where; it knows no field types. Positions are byte
//! offsets into the text that was parsed. Depth and size are bounded by whoever builds
//! the tree (the parser, macro expansion), so the recursive walks here are bounded too.

use std::fmt;

/// A boolean expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// All children hold.
    And(Vec<Expr>, u32),
    /// Any child holds.
    Or(Vec<Expr>, u32),
    /// The child does not hold.
    Not(Box<Expr>, u32),
    /// The name of a macro.
    Macro(String, u32),
    /// `field exists`.
    Exists(Operand, u32),
    /// `field operator value`.
    Compare(Box<Comparison>, u32),
}

/// A comparison of an operand with a constant, a list or another operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What is compared.
    pub left: Operand,
    /// How.
    pub operator: Operator,
    /// With what.
    pub right: Right,
}

/// Something that an event gives a value for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// `proc.aname[2]`.
    Field(FieldUse),
    /// `tolower(proc.name)`.
    Transform(TransformUse),
    /// A constant among the arguments of a transformer.
    Literal(String, u32),
    /// A list among the arguments of a transformer: `("-", (a.b, c.d))`.
    List(Vec<Operand>, u32),
}

/// One use of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldUse {
    /// The name without argument.
    pub name: String,
    /// What stands in brackets; may be empty if it was quoted.
    pub argument: Option<String>,
    /// Byte offset of the name.
    pub position: u32,
}

/// One use of a transformer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransformUse {
    /// Which transformer.
    pub transformer: Transformer,
    /// What it is applied to.
    pub arguments: Vec<Operand>,
    /// What stands in brackets after it: `getopt(…)[t]`.
    pub selector: Option<String>,
    /// Byte offset of the name.
    pub position: u32,
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// One constant.
    Value(String, u32),
    /// Constants in parentheses.
    List(Vec<String>, u32),
    /// Another operand: `val(proc.pname)` or a transformer.
    Operand(Operand),
}

/// A function over the values of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transformer {
    /// `val`: the identity; marks a field on the right side.
    Val,
    /// `tolower`, ASCII only.
    ToLower,
    /// `toupper`, ASCII only.
    ToUpper,
    /// `b64`: decodes base64.
    Base64,
    /// `basename`: what follows the last slash.
    Basename,
    /// `len`: bytes of text, number of values of a list.
    Len,
    /// `join(separator, list)`.
    Join,
    /// `concat(a, b, …)`.
    Concat,
    /// `getopt(list, optstring)`.
    Getopt,
}

impl Transformer {
    /// All transformers but `val`, in the order in which the language tries them.
    pub const ALL: [Self; 8] = [
        Self::ToLower,
        Self::ToUpper,
        Self::Base64,
        Self::Basename,
        Self::Len,
        Self::Join,
        Self::Concat,
        Self::Getopt,
    ];

    /// The name in conditions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Val => "val",
            Self::ToLower => "tolower",
            Self::ToUpper => "toupper",
            Self::Base64 => "b64",
            Self::Basename => "basename",
            Self::Len => "len",
            Self::Join => "join",
            Self::Concat => "concat",
            Self::Getopt => "getopt",
        }
    }
}

/// What a comparison asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relation {
    /// `=`, `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
    /// `contains`.
    Contains,
    /// `icontains`: ASCII letters of either case.
    IContains,
    /// `bcontains`: bytes in hexadecimal.
    BContains,
    /// `startswith`.
    StartsWith,
    /// `bstartswith`: bytes in hexadecimal.
    BStartsWith,
    /// `endswith`.
    EndsWith,
    /// `glob`, as fnmatch(3) without flags.
    Glob,
    /// `iglob`: the same, ASCII letters of either case.
    IGlob,
    /// `regex`: matches the whole value.
    Regex,
    /// `in`.
    In,
    /// `intersects`.
    Intersects,
    /// `pmatch`: one of the paths is the value or one of its parents.
    PMatch,
    /// `exists`; only as an operator of exceptions, conditions use [`Expr::Exists`].
    Exists,
}

impl Relation {
    /// The name in conditions; `=` for [`Relation::Equal`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Contains => "contains",
            Self::IContains => "icontains",
            Self::BContains => "bcontains",
            Self::StartsWith => "startswith",
            Self::BStartsWith => "bstartswith",
            Self::EndsWith => "endswith",
            Self::Glob => "glob",
            Self::IGlob => "iglob",
            Self::Regex => "regex",
            Self::In => "in",
            Self::Intersects => "intersects",
            Self::PMatch => "pmatch",
            Self::Exists => "exists",
        }
    }

    /// Whether its right side is a list: `in`, `intersects`, `pmatch`.
    pub fn takes_list(self) -> bool {
        matches!(self, Self::In | Self::Intersects | Self::PMatch)
    }

    /// Whether `oneof`, `anyof` and `allof` may follow it.
    pub fn takes_modifier(self) -> bool {
        !self.takes_list()
            && !matches!(
                self,
                Self::Less
                    | Self::LessOrEqual
                    | Self::Greater
                    | Self::GreaterOrEqual
                    | Self::Exists
            )
    }
}

/// How many elements of a list must satisfy the relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantifier {
    /// `oneof`: exactly one.
    One,
    /// `anyof`: at least one.
    Any,
    /// `allof`: every one.
    All,
}

impl Quantifier {
    /// All quantifiers with their names.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::One, "oneof"), (Self::Any, "anyof"), (Self::All, "allof")];

    /// The name in conditions.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "oneof",
            Self::Any => "anyof",
            Self::All => "allof",
        }
    }
}

/// A relation as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// What is asked.
    pub relation: Relation,
    /// Over how many elements, when the right side is a list of a single-value relation.
    pub quantifier: Option<Quantifier>,
    /// Whether [`Relation::Equal`] was written `==`; kept for printing only.
    pub doubled: bool,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.doubled { "==" } else { self.relation.name() })?;
        match self.quantifier {
            Some(quantifier) => write!(f, " {}", quantifier.name()),
            None => Ok(()),
        }
    }
}

impl Expr {
    /// Byte offset of the expression in its text.
    pub fn position(&self) -> u32 {
        match self {
            Self::And(_, position)
            | Self::Or(_, position)
            | Self::Not(_, position)
            | Self::Macro(_, position)
            | Self::Exists(_, position)
            | Self::Compare(_, position) => *position,
        }
    }

    /// Number of nodes and nesting depth of the boolean part of the tree.
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::And(children, _) | Self::Or(children, _) => {
                let (mut n_nodes, mut depth) = (1_usize, 0);
                for child in children {
                    let (n, d) = child.size();
                    n_nodes = n_nodes.saturating_add(n);
                    depth = depth.max(d);
                }
                (n_nodes, depth + 1)
            }
            Self::Not(child, _) => {
                let (n, d) = child.size();
                (n.saturating_add(1), d + 1)
            }
            Self::Macro(..) | Self::Exists(..) | Self::Compare(..) => (1, 1),
        }
    }

    /// Calls `visit` with every leaf: macro names, existence checks and comparisons.
    pub fn visit_leaves<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match self {
            Self::And(children, _) | Self::Or(children, _) => {
                for child in children {
                    child.visit_leaves(visit);
                }
            }
            Self::Not(child, _) => child.visit_leaves(visit),
            Self::Macro(..) | Self::Exists(..) | Self::Compare(..) => visit(self),
        }
    }
}

impl Operand {
    /// Byte offset of the operand in its text.
    pub fn position(&self) -> u32 {
        match self {
            Self::Field(field) => field.position,
            Self::Transform(transform) => transform.position,
            Self::Literal(_, position) | Self::List(_, position) => *position,
        }
    }

    /// Calls `visit` with every field below the operand.
    pub fn visit_fields<'a>(&'a self, visit: &mut dyn FnMut(&'a FieldUse)) {
        match self {
            Self::Field(field) => visit(field),
            Self::Transform(transform) => {
                transform.arguments.iter().for_each(|argument| argument.visit_fields(visit));
            }
            Self::List(elements, _) => elements.iter().for_each(|e| e.visit_fields(visit)),
            Self::Literal(..) => {}
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |f: &mut fmt::Formatter<'_>, word: &str, children: &[Self]| {
            f.write_str("(")?;
            for (i, child) in children.iter().enumerate() {
                if i > 0 {
                    write!(f, " {word} ")?;
                }
                write!(f, "{child}")?;
            }
            f.write_str(")")
        };
        match self {
            Self::And(children, _) => all(f, "and", children),
            Self::Or(children, _) => all(f, "or", children),
            Self::Not(child, _) => write!(f, "not {child}"),
            Self::Macro(name, _) => f.write_str(name),
            Self::Exists(operand, _) => write!(f, "{operand} exists"),
            Self::Compare(comparison, _) => {
                write!(f, "{} {} {}", comparison.left, comparison.operator, comparison.right)
            }
        }
    }
}

impl fmt::Display for FieldUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        write_argument(f, self.argument.as_deref())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, elements: &[Self]| {
            f.write_str("(")?;
            for (i, element) in elements.iter().enumerate() {
                if i > 0 {
                    f.write_str(",")?;
                }
                write!(f, "{element}")?;
            }
            f.write_str(")")
        };
        match self {
            Self::Field(field) => write!(f, "{field}"),
            Self::Literal(text, _) => write!(f, "{}", Quoted(text)),
            Self::List(elements, _) => list(f, elements),
            Self::Transform(transform) => {
                f.write_str(transform.transformer.name())?;
                list(f, &transform.arguments)?;
                write_argument(f, transform.selector.as_deref())
            }
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text, _) => write!(f, "{}", Quoted(text)),
            Self::Operand(operand) => write!(f, "{operand}"),
            Self::List(values, _) => {
                f.write_str("(")?;
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{}", Quoted(value))?;
                }
                f.write_str(")")
            }
        }
    }
}

fn write_argument(f: &mut fmt::Formatter<'_>, argument: Option<&str>) -> fmt::Result {
    match argument {
        None => Ok(()),
        Some("") => f.write_str("[\"\"]"),
        Some(text) => write!(f, "[{}]", Quoted(text)),
    }
}

/// Text as a condition writes it: in double quotes if it holds a character that needs them.
///
/// Empty text is written as nothing, as in Falco's descriptions of rules; such a
/// condition does not parse again.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let special = |c: char| {
            matches!(
                c,
                '\u{8}' | '\u{b}' | '\u{c}' | '\n' | '\r' | '\t' | ' ' | '=' | '\\' | '"' | '\''
            )
        };
        if !self.0.contains(special) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                other => f.write_char(other)?,
            }
        }
        f.write_str("\"")
    }
}
