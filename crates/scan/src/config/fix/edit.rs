//! Changes of a text by places in it.

use palisade_base::yaml::{Node, Place};

use super::super::detect::Kind;
use super::super::tree;

/// A part of a text and what takes its place; offsets in bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

impl Edit {
    pub(super) fn insert(at: usize, text: impl Into<String>) -> Self {
        Self { start: at, end: at, text: text.into() }
    }
}

/// A text as fixers look at it.
pub(super) struct View<'t> {
    pub(super) text: &'t str,
    /// Offset of every line.
    lines: Vec<usize>,
    /// The tree of its documents; none of a Dockerfile.
    pub(super) documents: Vec<Node>,
    /// How its lines end.
    pub(super) line_end: &'static str,
}

impl<'t> View<'t> {
    pub(super) fn new(text: &'t str, kind: Kind) -> Self {
        let documents = if kind == Kind::Dockerfile { Vec::new() } else { tree::parse(text).0 };
        let starts = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Self { text, lines, documents, line_end }
    }

    /// Where line `line`, counted from 1, begins; the text's end for the one after the last.
    pub(super) fn line_start(&self, line: usize) -> Option<usize> {
        match line.checked_sub(1).and_then(|index| self.lines.get(index)) {
            Some(start) => Some(*start),
            None if line == self.lines.len() + 1 => Some(self.text.len()),
            None => None,
        }
    }

    /// The line without its end.
    pub(super) fn line(&self, line: usize) -> Option<&'t str> {
        let start = *self.lines.get(line.checked_sub(1)?)?;
        self.text.get(start..)?.lines().next()
    }

    /// The byte at a place.
    pub(super) fn offset(&self, place: Place) -> Option<usize> {
        let start = *self.lines.get(place.line.checked_sub(1)?)?;
        let rest = self.text.get(start..)?;
        let column = place.column.checked_sub(1)?;
        let within = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
        Some(start + within)
    }

    /// The text from a place on.
    pub(super) fn from(&self, place: Place) -> Option<&'t str> {
        self.text.get(self.offset(place)?..)
    }

    /// Lines of their own before line `line`, each with its indentation.
    pub(super) fn insert_lines(&self, line: usize, new: &[String]) -> Option<Edit> {
        let at = self.line_start(line)?;
        let text = new.join(self.line_end);
        // A last line without an end stays one.
        let at_open_end = at == self.text.len() && !self.text.ends_with('\n');
        let text = if at_open_end {
            format!("{}{text}", self.line_end)
        } else {
            format!("{text}{}", self.line_end)
        };
        Some(Edit::insert(at, text))
    }

    /// Removes the lines from `first` to `last`.
    pub(super) fn remove_lines(&self, first: usize, last: usize) -> Option<Edit> {
        let (start, end) = (self.line_start(first)?, self.line_start(last + 1)?);
        Some(Edit { start, end, text: String::new() })
    }

    /// Replaces `old`, which must stand at `place`, by `new`.
    pub(super) fn replace(&self, place: Place, old: &str, new: &str) -> Option<Edit> {
        let start = self.offset(place)?;
        let is_there = self.text.get(start..)?.starts_with(old);
        is_there.then(|| Edit { start, end: start + old.len(), text: new.to_string() })
    }
}

/// The text with all changes; nothing where two of them are about the same part. The same
/// change twice is one.
pub(super) fn apply(text: &str, edits: &[Edit]) -> Option<String> {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort();
    edits.dedup();
    let mut out = String::with_capacity(text.len() + 64 * edits.len());
    let mut done = 0;
    for edit in edits {
        if edit.start < done {
            return None;
        }
        out.push_str(text.get(done..edit.start)?);
        out.push_str(&edit.text);
        done = edit.end;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_do_not_overlap() {
        let edit = |start, end, text: &str| Edit { start, end, text: text.into() };
        let check = |edits: &[Edit], expected: Option<&str>| {
            assert_eq!(apply("abcdef", edits).as_deref(), expected, "{edits:?}");
        };
        check(&[], Some("abcdef"));
        check(&[edit(4, 5, "X"), edit(0, 1, "")], Some("bcdXf"));
        check(&[edit(1, 1, "-"), edit(1, 1, "-")], Some("a-bcdef"));
        check(&[edit(1, 1, "-"), edit(1, 3, "")], Some("a-def"));
        check(&[edit(0, 3, "x"), edit(2, 4, "y")], None);
        check(&[edit(4, 9, "")], None);
    }

    #[test]
    fn places_are_characters() {
        let view = View::new("ä: ü\nb: c", Kind::Compose);
        assert_eq!(view.offset(Place { line: 1, column: 4 }), Some(4));
        assert_eq!(view.from(Place { line: 2, column: 4 }), Some("c"));
        assert_eq!(view.offset(Place { line: 3, column: 1 }), None);
        let edit = view.insert_lines(3, &["d: e".into()]).unwrap();
        assert_eq!(apply(view.text, &[edit]).unwrap(), "ä: ü\nb: c\nd: e");
    }
}
