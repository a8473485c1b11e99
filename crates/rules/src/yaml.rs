//! YAML as trees whose every node knows its place.
//!
//! Built from the parser's events without recursion, and bounded: a rule file is
//! somebody else's text. Scalars keep the characters that were written; what they mean
//! (a truth value, a number, nothing) is decided where they are read, as yaml-cpp does.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

/// Bytes of one rule file; the largest published one has 95,000.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Nesting of sequences and mappings; rule files need 6.
pub const YAML_DEPTH_MAX: usize = 32;
/// Nodes of one file after aliases are replaced by what they name.
pub const YAML_NODES_MAX: usize = 1_000_000;
/// Bytes of text of one file that aliases repeat, and of the copies kept for them, each.
const YAML_ALIAS_BYTES_MAX: usize = 1 << 20;

/// A place in one of the files being loaded: line and column from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// One node of a document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) content: Content,
    pub(crate) place: Place,
    /// Position of the first character in the file, in characters.
    pub(crate) index: u32,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Scalar { text: String, style: Style },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    Block,
}

/// Text that is not YAML, or too much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YamlError {
    pub(crate) message: String,
    pub(crate) place: Place,
}

impl Node {
    /// The text of a scalar.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether nothing was written: an empty value, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, style: Style::Plain }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    pub(crate) fn sequence(&self) -> Option<&[Self]> {
        match &self.content {
            Content::Sequence(elements) => Some(elements),
            _ => None,
        }
    }

    pub(crate) fn mapping(&self) -> Option<&[(Self, Self)]> {
        match &self.content {
            Content::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key`; the first, if the key is repeated.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let entry = self.mapping()?.iter().find(|(name, _)| name.scalar() == Some(key))?;
        Some(&entry.1)
    }

    /// The recursion is as deep as the bound on nesting allows.
    fn extent(&self) -> Extent {
        match &self.content {
            Content::Scalar { text, .. } => Extent { n_nodes: 1, text_bytes: text.len(), depth: 0 },
            Content::Sequence(elements) => {
                elements.iter().map(Self::extent).fold(Extent::EMPTY, Extent::with)
            }
            Content::Mapping(entries) => entries
                .iter()
                .flat_map(|(key, value)| [key.extent(), value.extent()])
                .fold(Extent::EMPTY, Extent::with),
        }
    }
}

/// What a node costs.
#[derive(Debug, Clone, Copy)]
struct Extent {
    n_nodes: usize,
    text_bytes: usize,
    /// Sequences and mappings within each other; a scalar has none.
    depth: usize,
}

impl Extent {
    /// A sequence or mapping without its elements.
    const EMPTY: Self = Self { n_nodes: 1, text_bytes: 0, depth: 1 };

    fn with(self, inner: Self) -> Self {
        Self {
            n_nodes: self.n_nodes + inner.n_nodes,
            text_bytes: self.text_bytes + inner.text_bytes,
            depth: self.depth.max(1 + inner.depth),
        }
    }
}

/// A collection whose end has not been seen.
struct Open {
    anchor: usize,
    place: Place,
    index: u32,
    /// The same, in the text with its pads.
    index_in_text: u32,
    is_mapping: bool,
    children: Vec<Node>,
}

struct Builder<'t> {
    file: u32,
    text: &'t str,
    pads: &'t [Pad],
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    n_nodes: usize,
    /// Bytes of text that stand in the documents by an alias.
    alias_bytes: usize,
    /// Bytes of text of the copies in `anchors`: an anchor within an anchor is copied twice.
    kept_bytes: usize,
}

/// Blanks put before a line.
#[derive(Debug, Clone, Copy)]
struct Pad {
    line: u32,
    /// Position of the line in the text as it is after this and all earlier pads.
    index: u32,
}

/// Blanks of one pad: more than any indentation that rule files have.
const PAD_CHARS: u32 = 64;

/// Lines of one file that may be indented too little.
const PADS_MAX: usize = 256;

/// Bytes of one file read again because of such lines.
const REREAD_BYTES_MAX: usize = 64 << 20;

/// Why a text was not read.
enum Stop {
    Error(YamlError),
    /// A line inside of brackets begins left of what the parser wants.
    Outdented(YamlError),
}

impl From<YamlError> for Stop {
    fn from(error: YamlError) -> Self {
        Self::Error(error)
    }
}

/// Reads all documents of `text`; empty documents are left out.
///
/// A closing bracket may stand as far left as the key of its list. YAML does not allow
/// it, but Falco's reader does and published files do it: such lines are indented and
/// the text is read again, with the places of what was written.
pub(crate) fn read_documents(file: u32, text: &str) -> Result<Vec<Node>, YamlError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(YamlError {
            message: format!("the file is larger than {FILE_BYTES_MAX} bytes"),
            place: Place { file, line: 1, column: 1 },
        });
    }
    let mut text = Cow::Borrowed(text);
    let mut pads: Vec<Pad> = Vec::new();
    loop {
        match read_once(file, &text, &pads) {
            Ok(documents) => return Ok(documents),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Outdented(error)) => {
                let line = error.place.line;
                let is_new = pads.last().is_none_or(|pad| pad.line < line);
                let n_reread = text.len().saturating_mul(pads.len() + 1);
                if !is_new || pads.len() >= PADS_MAX || n_reread > REREAD_BYTES_MAX {
                    return Err(error);
                }
                let lines = text.split_inclusive('\n').take(line as usize - 1);
                let at: usize = lines.map(str::len).sum();
                let index = to_u32(text[..at].chars().count());
                text.to_mut().insert_str(at, &" ".repeat(PAD_CHARS as usize));
                pads.push(Pad { line, index });
            }
        }
    }
}

fn read_once(file: u32, text: &str, pads: &[Pad]) -> Result<Vec<Node>, Stop> {
    let mut builder = Builder {
        file,
        text,
        pads,
        documents: vec![],
        open: vec![],
        anchors: HashMap::new(),
        n_nodes: 0,
        alias_bytes: 0,
        kept_bytes: 0,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| builder.stop(&error))?;
        builder.accept(event, span)?;
    }
    Ok(builder.documents)
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Builder<'_> {
    /// The place of a marker in the text as it was written.
    fn place(&self, marker: &Marker) -> Place {
        let line = to_u32(marker.line()).max(1);
        let is_padded = self.pads.iter().any(|pad| pad.line == line);
        let column = to_u32(marker.col()).saturating_add(1);
        let column = if is_padded { column.saturating_sub(PAD_CHARS).max(1) } else { column };
        Place { file: self.file, line, column }
    }

    fn stop(&self, error: &ScanError) -> Stop {
        let place = self.place(error.marker());
        let problem = YamlError { message: error.info().to_owned(), place };
        // Only blocks depend on indentation, so a change inside of brackets is harmless.
        let opened_at = self.open.last().map_or(usize::MAX, |open| open.index_in_text as usize);
        let in_brackets = matches!(self.text.chars().nth(opened_at), Some('[' | '{'));
        if in_brackets && error.info().starts_with("invalid indentation") {
            Stop::Outdented(problem)
        } else {
            Stop::Error(problem)
        }
    }

    fn accept(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let place = self.place(&span.start);
        let index_in_text = to_u32(span.start.index());
        let n_pads = self.pads.iter().filter(|pad| pad.index <= index_in_text).count();
        let index = index_in_text.saturating_sub(PAD_CHARS * to_u32(n_pads));
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let content = Content::Scalar { text: text.into_owned(), style };
                self.finish(Node { content, place, index }, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => {
                self.start(anchor, place, [index, index_in_text], false)
            }
            Event::MappingStart(anchor, _) => {
                self.start(anchor, place, [index, index_in_text], true)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(place),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                Ok(())
            }
        }
    }

    /// Bounds are checked before anything is copied.
    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), YamlError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(error("alias of an anchor that is not complete", place));
        };
        let Extent { n_nodes, text_bytes, depth } = node.extent();
        if self.open.len() + depth > YAML_DEPTH_MAX {
            return Err(too_deep(place));
        }
        self.alias_bytes = self.alias_bytes.saturating_add(text_bytes);
        if self.alias_bytes > YAML_ALIAS_BYTES_MAX {
            return Err(too_much_repeated(place));
        }
        if self.n_nodes.saturating_add(n_nodes) > YAML_NODES_MAX {
            return Err(too_many(place));
        }
        let node = node.clone();
        self.finish(node, 0, n_nodes)
    }

    /// Keeps a copy of `node` for the aliases of `anchor`; the copy counts as its node does.
    fn keep(&mut self, anchor: usize, node: &Node) -> Result<(), YamlError> {
        let Extent { n_nodes, text_bytes, .. } = node.extent();
        self.n_nodes = self.n_nodes.saturating_add(n_nodes);
        if self.n_nodes > YAML_NODES_MAX {
            return Err(too_many(node.place));
        }
        self.kept_bytes = self.kept_bytes.saturating_add(text_bytes);
        if self.kept_bytes > YAML_ALIAS_BYTES_MAX {
            return Err(too_much_repeated(node.place));
        }
        self.anchors.insert(anchor, node.clone());
        Ok(())
    }

    fn start(
        &mut self,
        anchor: usize,
        place: Place,
        [index, index_in_text]: [u32; 2],
        is_mapping: bool,
    ) -> Result<(), YamlError> {
        if self.open.len() >= YAML_DEPTH_MAX {
            return Err(too_deep(place));
        }
        self.open.push(Open { anchor, place, index, index_in_text, is_mapping, children: vec![] });
        Ok(())
    }

    fn end(&mut self, place: Place) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else {
            return Err(error("unbalanced end of a collection", place));
        };
        let content = if open.is_mapping {
            let mut entries = Vec::with_capacity(open.children.len() / 2);
            let mut children = open.children.into_iter();
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                entries.push((key, value));
            }
            Content::Mapping(entries)
        } else {
            Content::Sequence(open.children)
        };
        self.finish(Node { content, place: open.place, index: open.index }, open.anchor, 1)
    }

    /// Adds a complete node to what is open. `n_nodes` is what it adds to the count.
    fn finish(&mut self, node: Node, anchor: usize, n_nodes: usize) -> Result<(), YamlError> {
        self.n_nodes = self.n_nodes.saturating_add(n_nodes);
        if self.n_nodes > YAML_NODES_MAX {
            return Err(too_many(node.place));
        }
        if anchor != 0 {
            self.keep(anchor, &node)?;
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None if node.is_null() => {}
            None => self.documents.push(node),
        }
        Ok(())
    }
}

fn error(message: &str, place: Place) -> YamlError {
    YamlError { message: message.to_owned(), place }
}

fn too_deep(place: Place) -> YamlError {
    error(&format!("nested deeper than {YAML_DEPTH_MAX} levels"), place)
}

fn too_many(place: Place) -> YamlError {
    error(&format!("more than {YAML_NODES_MAX} nodes"), place)
}

fn too_much_repeated(place: Place) -> YamlError {
    let message = format!(
        "aliases repeat more than {YAML_ALIAS_BYTES_MAX} bytes; write the values out, or shorten them"
    );
    error(&message, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        read_documents(0, text).unwrap_err().message
    }

    #[test]
    fn nodes_know_their_places() {
        let documents = read_documents(3, "- rule: a\n  tags: [x, 'y']\n---\n- list: b\n").unwrap();
        assert_eq!(documents.len(), 2);
        let rule = &documents[0].sequence().unwrap()[0];
        assert_eq!(rule.get("rule").unwrap().scalar(), Some("a"));
        let tags = rule.get("tags").unwrap().sequence().unwrap();
        assert_eq!(tags[1].place, Place { file: 3, line: 2, column: 13 });
    }

    #[test]
    fn closing_brackets_may_stand_left() {
        let text = "- list: a\n  items: [\n    x,\n    \"y\"\n  ]\n- list: b\n  items: [\n    \"z\"\n  ]\n- rule: r\n";
        let documents = read_documents(0, text).unwrap();
        let items = documents[0].sequence().unwrap();
        assert_eq!(items[0].get("items").unwrap().sequence().unwrap().len(), 2);
        let rule = items[2].get("rule").unwrap();
        assert_eq!(rule.place, Place { file: 0, line: 10, column: 9 });
        assert_eq!(text.chars().nth(rule.index as usize), Some('r'));
        assert_eq!(read_documents(0, "- a: b\n c: d\n").unwrap_err().place.line, 2);
    }

    #[test]
    fn aliases_are_replaced_within_the_bound() {
        let documents = read_documents(0, "- &a [x]\n- *a\n").unwrap();
        let elements = documents[0].sequence().unwrap();
        assert_eq!(elements[1].sequence().unwrap()[0].scalar(), Some("x"));
        let mut bomb = String::from("- &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let names = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb += "- &a";
            bomb += &i.to_string();
            bomb += &[" [", &names, "]\n"].concat();
        }
        assert_eq!(message(&bomb), format!("more than {YAML_NODES_MAX} nodes"));
    }

    #[test]
    fn what_aliases_repeat_is_bounded_in_bytes() {
        let text = |n_bytes: usize, n: usize| {
            format!("- &x {}\n- [{}]\n", "y".repeat(n_bytes), "*x, ".repeat(n))
        };
        assert!(read_documents(0, &text(YAML_ALIAS_BYTES_MAX / 8, 8)).is_ok());
        let too_much = format!("aliases repeat more than {YAML_ALIAS_BYTES_MAX} bytes");
        // 100 KB thirty thousand times would be 3 GB; the eleventh alias is refused.
        let bomb = text(100_000, 30_000);
        let error = read_documents(0, &bomb).unwrap_err();
        assert!(error.message.starts_with(&too_much), "{}", error.message);
        assert_eq!(error.place, Place { file: 0, line: 2, column: 4 + 10 * 4 });
        // The copies for aliases that never come count too.
        assert!(message(&text(YAML_ALIAS_BYTES_MAX + 1, 0)).starts_with(&too_much));
        let anchors: String = ["&a [", "&b [", "&c [", "&d ["].concat();
        let scalar = "y".repeat(YAML_ALIAS_BYTES_MAX / 4 + 1);
        assert!(message(&format!("{anchors}{scalar}]]]]")).starts_with(&too_much));

        let options = crate::LoadOptions::default();
        let (_, diagnostics) = crate::RuleSet::load(&[("bomb.yaml", &bomb)], &[], &options);
        let found: Vec<_> =
            diagnostics.0.iter().map(|d| (d.code, d.location.line, d.location.column)).collect();
        assert_eq!(found, [("LOAD_ERR_YAML_PARSE", 2, 44)]);
    }

    #[test]
    fn aliases_do_not_deepen_beyond_the_bound() {
        // Each line nests the one before: without a bound, dropping the tree needs the stack.
        let (open, close) = ("[".repeat(20), "]".repeat(20));
        let mut text = format!("- &a0 {open}x{close}\n");
        assert!(read_documents(0, &format!("{text}- [*a0]\n")).is_ok());
        for i in 1..200 {
            text += &["- &a", &i.to_string(), " ", &open, "*a", &(i - 1).to_string(), &close, "\n"]
                .concat();
        }
        let error = read_documents(0, &text).unwrap_err();
        assert!(error.message.starts_with("nested deeper than"), "{}", error.message);
        assert_eq!(error.place.line, 2);
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(message(&deep).starts_with("nested deeper than"), "{}", message(&deep));
        assert!(message(&" ".repeat(FILE_BYTES_MAX + 1)).starts_with("the file is larger"));
    }
}
