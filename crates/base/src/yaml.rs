//! Text that people write as YAML → a small tree with the place of every key and value.
//!
//! One reader for policies, ignore files and configuration. Built from the parser's events
//! without recursion, and bounded in depth, in values and in what aliases repeat, so that no
//! text of a legal size costs more than a legal file. Duplicate keys are problems, never a
//! choice. Scalars keep the characters that were written: `1.10` stays `1.10`.
//!
//! The tree knows nothing of what it describes; tags, several documents and keys that are
//! not text have no meaning in any of these files and are refused (YAML 1.2.2, chapter 3).

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::{Diagnostic, Location, Severity};

/// Problems after which a text is not read further.
pub const PROBLEMS_MAX: usize = 1_000;
/// Bytes of text that aliases may repeat in one file, in all.
pub const ALIAS_BYTES_MAX: usize = 1 << 20;

/// What kind of file is read: its name in messages, and its bounds.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// The kind of file with its article: `a policy`.
    pub name: &'static str,
    /// What one document of it is: `policy`.
    pub document: &'static str,
    /// Mappings and lists within each other. The depth of every later walk of the tree.
    pub depth_max: usize,
    /// Nodes of the tree, keys and those that aliases repeat included.
    pub n_nodes_max: usize,
}

/// Line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl Place {
    /// The beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    fn of(span: Span) -> Self {
        Self { line: span.start.line().max(1), column: span.start.col() + 1 }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it holds.
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub enum Value {
    /// One value. Plain text may be a number, a truth value or nothing; quoted text is text.
    Scalar {
        /// The characters.
        text: String,
        /// Whether it stood without quotes and without a block mark (`|`, `>`).
        plain: bool,
    },
    /// Values in order.
    List(Vec<Node>),
    /// Keys and values in order. A key that stands twice is here twice, and is a problem.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone)]
pub struct Key {
    /// The characters.
    pub text: String,
    /// Where it begins.
    pub place: Place,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// It is no YAML.
    Syntax,
    /// YAML without a meaning here.
    Unsupported,
    /// The same key twice in one mapping.
    DuplicateKey,
    /// Deeper, more or longer than a bound.
    TooLarge,
}

impl ProblemKind {
    /// The code as diagnostics show it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Unsupported => "unsupported-yaml",
            Self::DuplicateKey => "duplicate-key",
            Self::TooLarge => "too-large",
        }
    }
}

/// A problem of the text itself.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What kind of problem.
    pub kind: ProblemKind,
    /// Where it is.
    pub place: Place,
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// The problem as one of `file`; each of them is an error.
    pub fn diagnostic(self, file: &str) -> Diagnostic {
        let Place { line, column } = self.place;
        Diagnostic {
            code: self.kind.code(),
            severity: Severity::Error,
            location: Location { file: file.to_string(), line, column },
            message: self.message,
            help: self.help,
        }
    }
}

impl Node {
    /// Whether this is nothing: an empty value, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, for messages.
    pub fn type_name(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar { plain: false, .. } => "text",
            Value::Scalar { text, .. } => match text.as_str() {
                "true" | "false" => "a truth value",
                _ if text.parse::<f64>().is_ok() => "a number",
                _ => "text",
            },
        }
    }

    /// Nodes, bytes of text and nesting. The recursion is as deep as the dialect allows.
    fn extent(&self) -> Extent {
        match &self.value {
            Value::Scalar { text, .. } => Extent::scalar(text),
            Value::List(items) => {
                items.iter().fold(Extent::EMPTY_LIST, |sum, item| sum.with(item.extent()))
            }
            Value::Map(entries) => entries.iter().fold(Extent::EMPTY_LIST, |sum, (key, node)| {
                sum.with(Extent::scalar(&key.text)).with(node.extent())
            }),
        }
    }
}

/// What a node costs.
#[derive(Debug, Clone, Copy)]
struct Extent {
    n_nodes: usize,
    text_bytes: usize,
    /// Mappings and lists within each other; a scalar has none.
    depth: usize,
}

impl Extent {
    const EMPTY_LIST: Self = Self { n_nodes: 1, text_bytes: 0, depth: 1 };

    fn scalar(text: &str) -> Self {
        Self { n_nodes: 1, text_bytes: text.len(), depth: 0 }
    }

    fn with(self, inner: Self) -> Self {
        Self {
            n_nodes: self.n_nodes + inner.n_nodes,
            text_bytes: self.text_bytes + inner.text_bytes,
            depth: self.depth.max(1 + inner.depth),
        }
    }
}

/// A mapping or list that is not closed yet.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key>, seen: HashMap<String, Place> },
}

struct Builder {
    dialect: Dialect,
    open: Vec<Open>,
    /// Copies of what has an anchor, for the aliases that may follow.
    anchors: BTreeMap<usize, Node>,
    /// Nodes and bytes of those copies: an anchor within an anchor is copied twice.
    n_nodes_kept: usize,
    bytes_kept: usize,
    /// Nodes of the tree, and bytes of it that stand there by an alias.
    n_nodes: usize,
    alias_bytes: usize,
    n_documents: usize,
    root: Option<Node>,
    /// The documents that are whole, when several are read.
    stream: Option<Vec<Node>>,
    problems: Vec<Problem>,
}

/// Documents of one stream.
pub const DOCUMENTS_MAX: usize = 10_000;

/// Reads `text` as a stream of documents of `dialect`, as Kubernetes manifests are. Tags are
/// passed over: they say how a value is stored, not what it is. When a problem ends the
/// reading, what stands before it is still there, and the last problem says where it ended.
///
/// The caller bounds the size of `text`; the dialect's bounds are those of the whole stream.
pub fn parse_stream(text: &str, dialect: Dialect) -> (Vec<Node>, Vec<Problem>) {
    if let Some(problem) = lone_carriage_return(text) {
        return (Vec::new(), vec![problem]);
    }
    let mut builder = Builder::new(dialect);
    builder.stream = Some(Vec::new());
    builder.run(text);
    (builder.stream.unwrap_or_default(), builder.problems)
}

/// Reads `text` as one document of `dialect`. The tree is absent when the text is empty or
/// when a problem ended the reading, and then the last problem says which.
///
/// The caller bounds the size of `text`.
pub fn parse(text: &str, dialect: Dialect) -> (Option<Node>, Vec<Problem>) {
    if let Some(problem) = lone_carriage_return(text) {
        return (None, vec![problem]);
    }
    let mut builder = Builder::new(dialect);
    let whole = builder.run(text);
    (builder.root.filter(|_| whole), builder.problems)
}

/// YAML ends a line at a carriage return alone, and nothing else does: the lines of the
/// diagnostics would not be those that people see.
fn lone_carriage_return(text: &str) -> Option<Problem> {
    let (i, line) = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .enumerate()
        .find(|(_, line)| line.contains('\r'))?;
    let column = line.chars().take_while(|c| *c != '\r').count() + 1;
    Some(Problem {
        kind: ProblemKind::Syntax,
        place: Place { line: i + 1, column },
        message: "a carriage return that ends no line".to_string(),
        help: Some("save the file with line feeds (Unix line ends)".to_string()),
    })
}

impl Builder {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            n_nodes_kept: 0,
            bytes_kept: 0,
            n_nodes: 0,
            alias_bytes: 0,
            n_documents: 0,
            root: None,
            stream: None,
            problems: Vec::new(),
        }
    }

    /// Takes every event of `text`; whether none of them ended the reading.
    fn run(&mut self, text: &str) -> bool {
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            let step = match next {
                Ok((event, span)) => self.event(event, Place::of(span)),
                Err(error) => Err(Problem {
                    kind: ProblemKind::Syntax,
                    place: Place {
                        line: error.marker().line().max(1),
                        column: error.marker().col() + 1,
                    },
                    message: format!("not YAML: {}", error.info()),
                    help: None,
                }),
            };
            if let Err(problem) = step {
                self.problems.push(problem);
                return false;
            }
            if self.problems.len() >= PROBLEMS_MAX {
                return false;
            }
        }
        true
    }

    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
            Event::DocumentEnd => {
                self.end_document();
                Ok(())
            }
            Event::DocumentStart(_) => {
                self.n_documents += 1;
                if self.stream.is_some() && self.n_documents > DOCUMENTS_MAX {
                    let message = format!("more than {DOCUMENTS_MAX} documents");
                    let help = Some("split the file".to_string());
                    return Err(Problem { kind: ProblemKind::TooLarge, place, message, help });
                }
                if self.n_documents == 1 || self.stream.is_some() {
                    return Ok(());
                }
                let help = format!("keep one {} to a file", self.dialect.document);
                Err(self.unsupported(place, "a second document", &help))
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                self.begin(place, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let content = Content::Map { entries: Vec::new(), key: None, seen: HashMap::new() };
                self.begin(place, anchor, content)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let plain = style == ScalarStyle::Plain;
                let value = Value::Scalar { text: text.into_owned(), plain };
                self.finish(Node { place, value }, anchor)
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { place, anchor, content }) => {
                    let value = match content {
                        Content::List(items) => Value::List(items),
                        Content::Map { entries, .. } => Value::Map(entries),
                    };
                    self.finish(Node { place, value }, anchor)
                }
                None => {
                    Err(self.unsupported(place, "an end without a beginning", "check the nesting"))
                }
            },
        }
    }

    /// Of a stream: what an alias may name ends with its document.
    fn end_document(&mut self) {
        let Some(documents) = &mut self.stream else { return };
        documents.extend(self.root.take());
        self.anchors.clear();
        self.n_nodes_kept = 0;
        self.bytes_kept = 0;
    }

    fn refuse_tag(&mut self, tagged: bool, place: Place) {
        if tagged && self.stream.is_none() {
            let problem = self.unsupported(place, "a tag", "remove the `!` word");
            self.problems.push(problem);
        }
    }

    fn begin(&mut self, place: Place, anchor: usize, content: Content) -> Result<(), Problem> {
        if let Some(Open { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(self.unsupported(
                place,
                "a key that is not text",
                "use a plain word as key",
            ));
        }
        if self.open.len() >= self.dialect.depth_max {
            return Err(self.too_deep(place));
        }
        self.open.push(Open { place, anchor, content });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Problem> {
        let Some(node) = self.anchors.get(&anchor) else {
            // An alias inside its own anchor would be an endless tree.
            return Err(self.unsupported(
                place,
                "an alias of what contains it",
                "write the value out",
            ));
        };
        let extent = node.extent();
        if self.open.len() + extent.depth > self.dialect.depth_max {
            return Err(self.too_deep(place));
        }
        self.alias_bytes += extent.text_bytes;
        if self.alias_bytes > ALIAS_BYTES_MAX {
            return Err(Self::too_much_repeated(place));
        }
        // `finish` counts the node itself.
        self.n_nodes += extent.n_nodes - 1;
        let node = Node { place, value: node.value.clone() };
        self.finish(node, 0)
    }

    /// Keeps a copy of `node` for the aliases of `anchor`.
    fn keep(&mut self, anchor: usize, node: &Node) -> Result<(), Problem> {
        let extent = node.extent();
        self.n_nodes_kept += extent.n_nodes;
        self.bytes_kept += extent.text_bytes;
        if self.n_nodes_kept > self.dialect.n_nodes_max {
            return Err(self.too_many(node.place));
        }
        if self.bytes_kept > ALIAS_BYTES_MAX {
            return Err(Self::too_much_repeated(node.place));
        }
        self.anchors.insert(anchor, node.clone());
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.n_nodes += 1;
        if self.n_nodes > self.dialect.n_nodes_max {
            return Err(self.too_many(node.place));
        }
        if anchor != 0 {
            self.keep(anchor, &node)?;
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key, seen }) => {
                if let Some(known) = key.take() {
                    entries.push((known, node));
                    return Ok(());
                }
                let Value::Scalar { text, .. } = node.value else {
                    let help = "use a plain word as key";
                    return Err(self.unsupported(node.place, "a key that is not text", help));
                };
                if let Some(first) = seen.get(&text) {
                    self.problems.push(Problem {
                        kind: ProblemKind::DuplicateKey,
                        place: node.place,
                        message: format!("key `{}` stands here twice", cut(&text)),
                        help: Some(format!("the first is in line {}", first.line)),
                    });
                }
                seen.entry(text.clone()).or_insert(node.place);
                *key = Some(Key { text, place: node.place });
            }
        }
        Ok(())
    }

    fn unsupported(&self, place: Place, what: &str, help: &str) -> Problem {
        Problem {
            kind: ProblemKind::Unsupported,
            place,
            message: format!("{what} has no meaning in {}", self.dialect.name),
            help: Some(help.into()),
        }
    }

    fn too_deep(&self, place: Place) -> Problem {
        let message = format!("nested deeper than {}", self.dialect.depth_max);
        Problem { kind: ProblemKind::TooLarge, place, message, help: None }
    }

    fn too_many(&self, place: Place) -> Problem {
        Problem {
            kind: ProblemKind::TooLarge,
            place,
            message: format!("more than {} values", self.dialect.n_nodes_max),
            help: Some("aliases count as often as they are used".into()),
        }
    }

    fn too_much_repeated(place: Place) -> Problem {
        Problem {
            kind: ProblemKind::TooLarge,
            place,
            message: format!("aliases repeat more than {ALIAS_BYTES_MAX} bytes"),
            help: Some("write the values out, or shorten them".into()),
        }
    }
}

/// Input quoted in a message, cut to a readable length.
pub fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return text.to_string();
    }
    text.chars().take(CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect =
        Dialect { name: "a test", document: "test", depth_max: 16, n_nodes_max: 20_000 };

    fn codes(text: &str) -> Vec<&'static str> {
        parse(text, DIALECT).1.iter().map(|problem| problem.kind.code()).collect()
    }

    #[test]
    fn places_count_from_one() {
        let (root, problems) = parse("a: 1\nbc:\n  d: [x, y]\n", DIALECT);
        assert!(problems.is_empty());
        let Value::Map(entries) = root.unwrap().value else { panic!("no mapping") };
        assert_eq!(entries[1].0.place, Place { line: 2, column: 1 });
        let Value::Map(inner) = &entries[1].1.value else { panic!("no mapping") };
        assert_eq!(inner[0].0.place, Place { line: 3, column: 3 });
        let Value::List(items) = &inner[0].1.value else { panic!("no list") };
        assert_eq!(items[1].place, Place { line: 3, column: 10 });
    }

    #[test]
    fn depth_and_nodes_are_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(codes(&nested(DIALECT.depth_max)).is_empty());
        assert_eq!(codes(&nested(DIALECT.depth_max + 1)), ["too-large"]);
        let flat = |n: usize| format!("[{}]", "1,".repeat(n));
        assert!(codes(&flat(DIALECT.n_nodes_max - 1)).is_empty());
        assert_eq!(codes(&flat(DIALECT.n_nodes_max)), ["too-large"]);
    }

    #[test]
    fn aliases_cost_what_they_repeat() {
        use std::fmt::Write as _;
        let mut laughs = String::from("a0: &a0 [l, o, l]\n");
        for i in 1..12 {
            let line = format!("*a{}, ", i - 1).repeat(9);
            let _ = writeln!(laughs, "a{i}: &a{i} [{line}]");
        }
        assert_eq!(codes(&laughs), ["too-large"]);
        assert!(codes("a: &x [1]\nb: *x\n").is_empty());
        assert_eq!(codes("a: &x [*x]\n"), ["unsupported-yaml"]);
    }

    #[test]
    fn names_what_has_no_meaning() {
        assert_eq!(codes("a: 1\na: 2\n"), ["duplicate-key"]);
        assert_eq!(codes("a: 1\n---\nb: 2\n"), ["unsupported-yaml"]);
        assert_eq!(codes("a: !x 1\n"), ["unsupported-yaml"]);
        assert_eq!(codes("[a]: 1\n"), ["unsupported-yaml"]);
        assert_eq!(codes("a: 'b\n"), ["syntax"]);
        assert_eq!(codes("a: 1\rb: 2\n"), ["syntax"]);
        assert!(codes("a: 1\r\nb: 2\r\n").is_empty());
        assert!(codes("").is_empty());
    }

    #[test]
    fn a_stream_has_documents_with_anchors_of_their_own() {
        let (documents, problems) =
            parse_stream("a: &x !y 1\nb: *x\n---\nc: 2\n---\n# nothing\n---\nd: 3\n", DIALECT);
        assert!(problems.is_empty(), "{problems:?}");
        let places: Vec<usize> = documents.iter().map(|node| node.place.line).collect();
        assert_eq!(places.len(), 4);
        assert_eq!((places[0], places[1], places[3]), (1, 4, 8));
        // What stands before a problem is kept.
        let (documents, problems) = parse_stream("a: 1\n---\nb: [\n", DIALECT);
        assert_eq!((documents.len(), problems.len()), (1, 1));
        let (_, problems) = parse_stream("a: &x 1\n---\nb: *x\n", DIALECT);
        assert_eq!(problems.len(), 1);
        let many = "---\na\n".repeat(DOCUMENTS_MAX + 1);
        let wide = Dialect { n_nodes_max: 1 << 20, ..DIALECT };
        let (documents, problems) = parse_stream(&many, wide);
        assert_eq!((documents.len(), problems.len()), (DOCUMENTS_MAX, 1));
    }

    #[test]
    fn nesting_without_brackets_is_bounded() {
        // None of these costs more of the stack than its events: the tree is built upwards.
        for nest in ["? ", ": ", "? - ", "- ", "? ? - ", "[? ", "{? "] {
            let text = format!("{}a", nest.repeat(30_000));
            assert_eq!(codes(&text).len(), 1, "{nest}");
        }
    }

    #[test]
    fn what_aliases_repeat_is_bounded_in_bytes() {
        let text = |n_bytes: usize, n: usize| {
            format!("a: &x {}\nb: [{}]\n", "y".repeat(n_bytes), "*x, ".repeat(n))
        };
        assert!(codes(&text(ALIAS_BYTES_MAX / 8, 8)).is_empty());
        assert_eq!(codes(&text(ALIAS_BYTES_MAX / 8, 9)), ["too-large"]);
        // The copies for aliases that never come count too.
        assert_eq!(codes(&text(ALIAS_BYTES_MAX + 1, 0)), ["too-large"]);
        let inner = "1,".repeat(4_000);
        let anchors: Vec<String> = (0..8).map(|i| format!("&a{i} [")).collect();
        let anchors = anchors.concat();
        assert_eq!(codes(&format!("{anchors}{inner}{}", "]".repeat(8))), ["too-large"]);
    }

    #[test]
    fn an_alias_may_stand_wherever_its_value_may() {
        let deepest = |value: &str| {
            let n = DIALECT.depth_max - 1;
            format!("a: &x 1\nb: {}{value}{}\n", "[".repeat(n), "]".repeat(n))
        };
        assert!(codes(&deepest("1")).is_empty());
        assert!(codes(&deepest("*x")).is_empty());
        assert_eq!(codes(&deepest("[1]")), ["too-large"]);
    }

    #[test]
    fn keys_count_where_aliases_repeat_them() {
        let keys: Vec<String> = (0..999).map(|i| format!("k{i}: 1,")).collect();
        let keys = keys.concat();
        let text = |n: usize| format!("a: &x {{{keys}}}\nb: [{}]\n", "*x,".repeat(n));
        assert!(codes(&text(9)).is_empty());
        assert_eq!(codes(&text(10)), ["too-large"]);
    }

    #[test]
    fn problems_are_bounded() {
        let text = "a: 1\n".repeat(PROBLEMS_MAX * 2);
        let (root, problems) = parse(&text, DIALECT);
        assert!(root.is_none());
        assert_eq!(problems.len(), PROBLEMS_MAX);
    }
}
