//! Problems of rule files, with Falco's codes and places that an editor can jump to.
//!
//! A condition is parsed after lists were pasted into it and other files appended to
//! it. [`SourcedText`] remembers for each byte where it was written, so that a problem
//! at byte 312 of the final text is shown in its file, line and column.

use std::rc::Rc;

use palisade_base::{Diagnostic, Diagnostics, Location, Severity};

use crate::yaml::{Content, Node, Place, Style};

/// Falco's codes; the text of the code is part of its interface.
pub mod code {
    /// Not YAML.
    pub const YAML_PARSE: &str = "LOAD_ERR_YAML_PARSE";
    /// An item has the wrong shape.
    pub const YAML_VALIDATE: &str = "LOAD_ERR_YAML_VALIDATE";
    /// A condition cannot be compiled.
    pub const COMPILE_CONDITION: &str = "LOAD_ERR_COMPILE_CONDITION";
    /// An output cannot be compiled.
    pub const COMPILE_OUTPUT: &str = "LOAD_ERR_COMPILE_OUTPUT";
    /// An item contradicts others.
    pub const VALIDATE: &str = "LOAD_ERR_VALIDATE";
    /// The rule's source is not known; it is left out.
    pub const UNKNOWN_SOURCE: &str = "LOAD_UNKNOWN_SOURCE";
    /// A comparison with `<NA>`.
    pub const UNSAFE_NA_CHECK: &str = "LOAD_UNSAFE_NA_CHECK";
    /// The rule looks at nearly every event.
    pub const NO_EVTTYPE: &str = "LOAD_NO_EVTTYPE";
    /// An unknown field in a rule that may be skipped.
    pub const UNKNOWN_FILTER: &str = "LOAD_UNKNOWN_FILTER";
    /// Nothing uses the macro.
    pub const UNUSED_MACRO: &str = "LOAD_UNUSED_MACRO";
    /// Nothing uses the list.
    pub const UNUSED_LIST: &str = "LOAD_UNUSED_LIST";
    /// An item that is no rule, macro, list or requirement.
    pub const UNKNOWN_ITEM: &str = "LOAD_UNKNOWN_ITEM";
    /// Something that will go away.
    pub const DEPRECATED_ITEM: &str = "LOAD_DEPRECATED_ITEM";
    /// An appended exception without values.
    pub const APPEND_NO_VALUES: &str = "LOAD_APPEND_NO_VALUES";
    /// Two exceptions of one name.
    pub const EXCEPTION_NAME_NOT_UNIQUE: &str = "LOAD_EXCEPTION_NAME_NOT_UNIQUE";
    /// A macro name that conditions cannot refer to.
    pub const INVALID_MACRO_NAME: &str = "LOAD_INVALID_MACRO_NAME";
    /// A list name that conditions cannot refer to.
    pub const INVALID_LIST_NAME: &str = "LOAD_INVALID_LIST_NAME";
    /// Something doubtful in a condition.
    pub const COMPILE_CONDITION_WARNING: &str = "LOAD_COMPILE_CONDITION";
    /// A key that the item does not have.
    pub const UNKNOWN_KEY: &str = "LOAD_UNKNOWN_KEY";
}

/// A problem before its file's name is filled in.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) severity: Severity,
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(crate) fn error(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, severity: Severity::Error, place, message, help: None }
    }

    pub(crate) fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, severity: Severity::Warning, place, message, help: None }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Problems kept of one load; a file of garbage does not fill the memory with them.
pub const PROBLEMS_MAX: usize = 1_000;

/// Collects problems and knows the files that they are in.
pub(crate) struct Report<'s> {
    sources: &'s [(&'s str, &'s str)],
    problems: Vec<Problem>,
    n_omitted: usize,
    /// The worst of the problems that were not kept.
    omitted: Severity,
}

impl<'s> Report<'s> {
    pub(crate) fn new(sources: &'s [(&'s str, &'s str)]) -> Self {
        Self { sources, problems: vec![], n_omitted: 0, omitted: Severity::Warning }
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.n_omitted += 1;
            self.omitted = self.omitted.max(problem.severity);
        }
    }

    /// Adds a problem unless its cause has been reported.
    pub(crate) fn extend(&mut self, problem: Option<Problem>) {
        if let Some(problem) = problem {
            self.push(problem);
        }
    }

    /// The file's text, for places inside scalars.
    pub(crate) fn text(&self, file: u32) -> &'s str {
        self.sources.get(file as usize).map_or("", |(_, text)| *text)
    }

    /// The place of byte `position` of `condition`.
    pub(crate) fn place_in(&self, condition: &SourcedText, position: usize) -> Place {
        condition.place(position, |file| self.text(file))
    }

    pub(crate) fn finish(self) -> Diagnostics {
        let name = |file: u32| {
            self.sources.get(file as usize).map_or_else(String::new, |(name, _)| (*name).into())
        };
        let mut out: Vec<Diagnostic> = self
            .problems
            .into_iter()
            .map(|problem| Diagnostic {
                code: problem.code,
                severity: problem.severity,
                location: Location {
                    file: name(problem.place.file),
                    line: problem.place.line.max(1) as usize,
                    column: problem.place.column.max(1) as usize,
                },
                message: problem.message,
                help: problem.help,
            })
            .collect();
        if self.n_omitted > 0 {
            out.push(Diagnostic {
                code: code::VALIDATE,
                severity: self.omitted,
                location: Location { file: name(0), line: 1, column: 1 },
                message: format!("{} more problems are not shown", self.n_omitted),
                help: Some("correct the first ones and check again".into()),
            });
        }
        Diagnostics(out)
    }
}

/// A scalar that a piece of text was taken from.
#[derive(Debug)]
pub(crate) struct ScalarSource {
    place: Place,
    index: u32,
    style: Option<Style>,
    value: String,
}

/// Text put together from scalars, each byte with its origin.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourcedText {
    pub(crate) text: String,
    /// For each byte of `text`: which scalar and which byte of its value.
    origins: Vec<(u32, u32)>,
    scalars: Vec<Rc<ScalarSource>>,
}

impl SourcedText {
    /// The value of a scalar node.
    pub(crate) fn from_node(node: &Node) -> Self {
        let (value, style) = match &node.content {
            Content::Scalar { text, style } => (text.clone(), Some(*style)),
            _ => (String::new(), None),
        };
        let origins = (0..value.len()).map(|i| (0, to_u32(i))).collect();
        let text = value.clone();
        let source = ScalarSource { place: node.place, index: node.index, style, value };
        Self { text, origins, scalars: vec![Rc::new(source)] }
    }

    /// Adds text that stands for what is at `place`.
    pub(crate) fn push_generated(&mut self, text: &str, place: Place) {
        let source = ScalarSource { place, index: 0, style: None, value: String::new() };
        let scalar = to_u32(self.scalars.len());
        self.scalars.push(Rc::new(source));
        self.text.push_str(text);
        self.origins.extend(std::iter::repeat_n((scalar, 0), text.len()));
    }

    /// Puts generated text before what is there; its origin is the first byte's.
    pub(crate) fn prefix(&mut self, text: &str) {
        let origin = self.origins.first().copied().unwrap_or((0, 0));
        self.text.insert_str(0, text);
        self.origins.splice(0..0, std::iter::repeat_n(origin, text.len()));
    }

    /// Adds a blank and `other`.
    pub(crate) fn append(&mut self, other: &Self) {
        let shift = to_u32(self.scalars.len());
        self.text.push(' ');
        self.origins.push((shift, 0));
        self.text.push_str(&other.text);
        self.origins.extend(other.origins.iter().map(|(scalar, byte)| (scalar + shift, *byte)));
        self.scalars.extend(other.scalars.iter().cloned());
    }

    /// Replaces `range` by `text`, whose origin becomes the byte at `origin_at`.
    pub(crate) fn replace(&mut self, range: std::ops::Range<usize>, text: &str, origin_at: usize) {
        let origin = self.origins.get(origin_at).copied().unwrap_or((0, 0));
        self.text.replace_range(range.clone(), text);
        self.origins.splice(range, std::iter::repeat_n(origin, text.len()));
    }

    /// Where byte `position` was written; the end of the text counts as its last byte.
    fn place<'f>(&self, position: usize, file_text: impl Fn(u32) -> &'f str) -> Place {
        let position = position.min(self.origins.len().saturating_sub(1));
        let Some((scalar, byte)) = self.origins.get(position).copied() else {
            return self.scalars.first().map_or_else(Place::default, |s| s.place);
        };
        let Some(source) = self.scalars.get(scalar as usize) else {
            return Place::default();
        };
        source.place_of(byte as usize, file_text(source.place.file))
    }
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl ScalarSource {
    /// The place of byte `byte` of the value.
    ///
    /// Folding, indentation and line ends change white space only, so the n-th other
    /// character of the value is the n-th of the file's text. Where an escape sequence
    /// breaks that, the last place that agreed is used.
    fn place_of(&self, byte: usize, file: &str) -> Place {
        let Some(style) = self.style else {
            return self.place;
        };
        let byte = (0..=byte.min(self.value.len()))
            .rev()
            .find(|i| self.value.is_char_boundary(*i))
            .unwrap_or(0);
        let wanted = self.value[..byte].chars().filter(|c| !c.is_whitespace()).count();
        let Some((start, _)) = file.char_indices().nth(self.index as usize) else {
            return self.place;
        };
        let mut place = self.place;
        let mut best = place;
        let mut value = self.value.chars().filter(|c| !c.is_whitespace());
        let mut n_matched = 0;
        let mut chars = file[start..].chars().peekable();
        // A block's indicator and a quote are not part of the value.
        match chars.peek() {
            Some('|' | '>') if style == Style::Block => {
                for c in chars.by_ref() {
                    step(&mut place, c);
                    if c == '\n' {
                        break;
                    }
                }
            }
            Some(quote @ ('"' | '\'')) if style == Style::Quoted => {
                let quote = *quote;
                chars.next();
                step(&mut place, quote);
            }
            _ => {}
        }
        for c in chars {
            if !c.is_whitespace() {
                if value.next() != Some(c) {
                    return best;
                }
                best = place;
                if n_matched == wanted {
                    return place;
                }
                n_matched += 1;
            }
            step(&mut place, c);
        }
        best
    }
}

fn step(place: &mut Place, c: char) {
    if c == '\n' {
        place.line += 1;
        place.column = 1;
    } else {
        place.column += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read_documents;

    /// Where the word `needle` of the scalar `condition` of `file` is reported.
    fn place_of(file: &str, needle: &str) -> (u32, u32) {
        let documents = read_documents(0, file).unwrap();
        let text = SourcedText::from_node(documents[0].get("condition").unwrap());
        let place = text.place(text.text.find(needle).unwrap(), |_| file);
        (place.line, place.column)
    }

    #[test]
    fn places_survive_folding() {
        assert_eq!(place_of("condition: a and bad", "bad"), (1, 18));
        assert_eq!(place_of("condition: >\n  a and\n  b and\n  bad\n", "bad"), (4, 3));
        assert_eq!(place_of("condition: |-\n\n    a\n    and bad\n", "bad"), (4, 9));
        assert_eq!(place_of("condition: a and\n  b or bad\n", "bad"), (2, 8));
        assert_eq!(place_of("condition: 'a and bad'", "bad"), (1, 19));
    }

    #[test]
    fn pasted_text_is_where_the_name_was() {
        let file = "condition: a in (list) and bad";
        let documents = read_documents(0, file).unwrap();
        let mut text = SourcedText::from_node(documents[0].get("condition").unwrap());
        text.replace(6..10, "one, two, three", 6);
        assert_eq!(text.text, "a in (one, two, three) and bad");
        let at = |needle: &str| text.place(text.text.find(needle).unwrap(), |_| file).column;
        assert_eq!(at("three"), 18);
        assert_eq!(at("bad"), 28);
    }
}
