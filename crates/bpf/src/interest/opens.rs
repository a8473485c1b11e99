//! Which opens cross into user space.
//!
//! An open has one of sixteen classes, which the probe knows before it knows the path. A filter
//! says for each class whether its opens cross always, never, or where their path has one of a set
//! of texts; the texts become an automaton, which the probe runs over the path. A filter may let
//! cross what nobody needs, never hold back what somebody does: bytes are told apart by class only,
//! so letters of either case are one.

use std::collections::BTreeMap;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use super::automaton::Automaton;

/// A set of the classes of opens (`CLASS_BIT` in `probes/files.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OpenClasses(u16);

impl OpenClasses {
    /// No open.
    pub const NONE: Self = Self(0);
    /// Every open.
    pub const ALL: Self = Self(u16::MAX);
    /// Opens for reading alone.
    pub const READ: Self = Self(0x1111);
    /// Opens for writing alone, and `creat`.
    pub const WRITE: Self = Self(0x2222);
    /// Opens for both.
    pub const READ_WRITE: Self = Self(0x4444);
    /// Folders, to which other calls are relative, and what became descriptor 0, 1 or 2.
    pub const KEPT: Self = Self(0x8888);
    /// Opens that gave a descriptor.
    pub const DONE: Self = Self(0x0f0f);
    /// Opens that failed.
    pub const FAILED: Self = Self(0xf0f0);
    /// Opens of the host's processes.
    pub const HOST: Self = Self(0x00ff);
    /// Opens of containers' processes: in a nested pid namespace, or with mounts of their own.
    pub const CONTAINED: Self = Self(0xff00);

    /// The class of one open. `access` is what `open(2)` was asked for, its lowest two bits.
    pub const fn of_open(access: u32, kept: bool, failed: bool, contained: bool) -> Self {
        let kind = match (kept, access & 3) {
            (true, _) => 3,
            (false, 1) => 1,
            (false, 2) => 2,
            (false, _) => 0,
        };
        Self(1 << (kind | (failed as u16) << 2 | (contained as u16) << 3))
    }

    /// Whether no class is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bits, as the probes have them.
    pub(crate) const fn bits(self) -> u16 {
        self.0
    }
}

impl BitAnd for OpenClasses {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for OpenClasses {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for OpenClasses {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl Not for OpenClasses {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// A text in a path, where it has to stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathText {
    /// The text; not empty and without a NUL.
    pub text: String,
    /// It stands at the path's beginning.
    pub at_start: bool,
    /// It stands at the path's end.
    pub at_end: bool,
    /// It stands in the path as the caller wrote it, not in the one that the kernel found.
    pub as_written: bool,
}

impl PathText {
    /// The text anywhere in a path.
    pub fn anywhere(text: impl Into<String>) -> Self {
        Self { text: text.into(), at_start: false, at_end: false, as_written: false }
    }

    /// The text at the beginning.
    pub fn start(text: impl Into<String>) -> Self {
        Self { text: text.into(), at_start: true, at_end: false, as_written: false }
    }

    /// The text at the end.
    pub fn end(text: impl Into<String>) -> Self {
        Self { text: text.into(), at_start: false, at_end: true, as_written: false }
    }

    /// The same in the path as the caller wrote it.
    #[must_use]
    pub fn as_written(self) -> Self {
        Self { as_written: true, ..self }
    }

    /// The bits of `classes` for it.
    fn word(&self, classes: OpenClasses) -> u32 {
        u32::from(classes.bits()) << if self.as_written { AS_WRITTEN } else { 0 }
    }

    /// The text as the whole path.
    pub fn whole(text: impl Into<String>) -> Self {
        Self { text: text.into(), at_start: true, at_end: true, as_written: false }
    }
}

/// Which opens cross: some classes always, others where their path has a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenTexts {
    always: OpenClasses,
    texts: BTreeMap<PathText, OpenClasses>,
}

/// Shift of the bits of classes for texts in the path as it was written (`AS_WRITTEN` in
/// `probes/files.h`).
const AS_WRITTEN: u32 = 16;
/// Texts of a filter; with more of them, every open of their classes crosses.
pub const PATH_TEXTS_MAX: usize = 4096;

impl OpenTexts {
    /// Lets the opens of `classes` cross, whatever their path.
    pub fn add_always(&mut self, classes: OpenClasses) {
        self.always |= classes;
    }

    /// Lets the opens of `classes` cross whose path has `text`. A text that no automaton can look
    /// for (an empty one, one with a NUL, one too many) lets them cross always.
    pub fn add_text(&mut self, text: PathText, classes: OpenClasses) {
        if classes.is_empty() {
            return;
        }
        let is_full = self.texts.len() >= PATH_TEXTS_MAX && !self.texts.contains_key(&text);
        if text.text.is_empty() || text.text.contains('\0') || is_full {
            self.always |= classes;
        } else {
            *self.texts.entry(text).or_default() |= classes;
        }
    }

    /// The classes whose opens cross always.
    pub fn always(&self) -> OpenClasses {
        self.always
    }

    /// The texts with the classes that each is looked for in.
    pub fn texts(&self) -> impl Iterator<Item = (&PathText, OpenClasses)> {
        self.texts.iter().map(|(text, classes)| (text, *classes))
    }

    /// The classes whose paths have to be looked at.
    pub(crate) fn maybe(&self) -> u32 {
        self.texts.iter().fold(0, |all, (text, classes)| all | text.word(*classes))
    }

    /// The texts that are looked for: for some class nothing else lets its opens cross.
    fn sought(&self) -> impl Iterator<Item = (&PathText, OpenClasses)> {
        self.texts().filter(|(_, classes)| !(*classes & !self.always).is_empty())
    }

    /// Two pairs of bytes, of which each text for paths as they were written has one, so that a
    /// path without them needs no closer look. Letters are in none, for their case does not matter.
    /// `None` where two are not enough, or there is no such text.
    pub(crate) fn written_pairs(&self) -> Option<[[u8; 2]; 2]> {
        let is_pair = |pair: &&[u8; 2]| !pair.iter().any(u8::is_ascii_alphabetic);
        let mut pairs: Vec<[u8; 2]> = Vec::new();
        for (text, _) in self.sought().filter(|(text, _)| text.as_written) {
            let mut of_text = text.text.as_bytes().array_windows::<2>().filter(is_pair).peekable();
            let first = **of_text.peek()?;
            if !of_text.any(|pair| pairs.contains(pair)) {
                pairs.push(first);
            }
        }
        match *pairs {
            [pair] => Some([pair, pair]),
            [first, second] => Some([first, second]),
            _ => None,
        }
    }

    /// The texts as an automaton. `None` if it would have too many states.
    pub(crate) fn automaton(&self) -> Option<Automaton> {
        let texts = self.sought();
        Automaton::build(texts.map(|(text, classes)| {
            (text.text.as_bytes(), text.at_start, text.at_end, text.word(classes))
        }))
    }
}

/// Which opens cross into user space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OpenFilter {
    /// All of them.
    #[default]
    All,
    /// Those of some classes, and of others those whose path has one of a set of texts.
    ///
    /// The path is the kernel's, with links resolved, as the task's root shows it; for a failed
    /// open it is the caller's text. An open whose path the kernel side cannot judge (relative and
    /// failed, cut, longer than 511 bytes, no path at all) crosses if a text is looked for in its
    /// class.
    Only(OpenTexts),
}

/// A filter as the kernel side has it, for those who want to know its verdicts beforehand.
#[derive(Debug, Clone)]
pub struct OpenVerdicts(Option<(OpenTexts, Automaton)>);

impl OpenVerdicts {
    /// The verdicts of `filter`.
    pub fn of(filter: &OpenFilter) -> Self {
        Self(match filter {
            OpenFilter::All => None,
            OpenFilter::Only(texts) => {
                texts.automaton().map(|automaton| (texts.clone(), automaton))
            }
        })
    }

    /// Whether an open of the class `class` crosses, with the path that the kernel found (nothing
    /// where it failed) and the one that the caller wrote.
    pub fn crosses(&self, class: OpenClasses, found: Option<&[u8]>, written: &[u8]) -> bool {
        let Some((texts, automaton)) = &self.0 else { return true };
        if !(texts.always & class).is_empty() {
            return true;
        }
        let word = u32::from(class.bits());
        let path = found.unwrap_or(written);
        let maybe = texts.maybe();
        let by_path =
            maybe & word != 0 && (path.first() != Some(&b'/') || automaton.finds(path, word));
        let word = word << AS_WRITTEN;
        by_path || (maybe & word != 0 && automaton.finds(written, word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_match_the_header() {
        let header = include_str!("../../probes/files.h");
        assert!(header.contains(&format!("#define AS_WRITTEN {AS_WRITTEN} ")));
        assert!(header.contains("(1u << ((kind) | (failed) << 2 | (contained) << 3))"));
        let kinds =
            [OpenClasses::READ, OpenClasses::WRITE, OpenClasses::READ_WRITE, OpenClasses::KEPT];
        for (number, kind) in (0_u16..).zip(kinds) {
            let name = ["READ", "WRITE", "READ_WRITE", "KEPT"][usize::from(number)];
            assert!(header.contains(&format!("#define KIND_{name} {number}")), "{name}");
            for (failed, side) in [(false, OpenClasses::DONE), (true, OpenClasses::FAILED)] {
                for (contained, whose) in
                    [(false, OpenClasses::HOST), (true, OpenClasses::CONTAINED)]
                {
                    let class = OpenClasses::of_open(number.into(), number == 3, failed, contained);
                    assert_eq!(class, kind & side & whose, "{name} {failed} {contained}");
                }
            }
        }
        // O_ACCMODE itself asks for neither, and is shown as reading.
        assert_eq!(
            OpenClasses::of_open(3, false, false, false),
            OpenClasses::of_open(0, false, false, false)
        );
    }

    #[test]
    fn verdicts_follow_class_and_text() {
        let mut texts = OpenTexts::default();
        texts.add_always(OpenClasses::KEPT);
        texts.add_text(PathText::start("/etc/"), OpenClasses::WRITE);
        texts.add_text(PathText::whole("/etc/shadow"), OpenClasses::READ & OpenClasses::DONE);
        let verdicts = OpenVerdicts::of(&OpenFilter::Only(texts));
        let check = |access, kept, failed, path: &str, expected| {
            let class = OpenClasses::of_open(access, kept, failed, true);
            let found = (!failed).then_some(path.as_bytes());
            assert_eq!(
                verdicts.crosses(class, found, path.as_bytes()),
                expected,
                "{access} {path}"
            );
        };
        check(0, false, false, "/etc/shadow", true);
        check(0, false, false, "/etc/shadow-", false);
        check(0, false, true, "/etc/shadow", false);
        check(1, false, false, "/etc/hosts", true);
        check(1, false, false, "/tmp/etc/hosts", false);
        check(1, false, true, "etc/hosts", true);
        check(2, false, false, "/etc/shadow", false);
        check(0, true, false, "/tmp", true);
    }

    #[test]
    fn texts_as_written_are_looked_for_in_what_was_written() {
        let mut texts = OpenTexts::default();
        texts.add_text(PathText::whole("/proc/self/exe").as_written(), OpenClasses::WRITE);
        texts.add_text(PathText::anywhere("../").as_written(), OpenClasses::READ);
        let verdicts = OpenVerdicts::of(&OpenFilter::Only(texts));
        let check = |access, found: Option<&str>, written: &str, expected| {
            let class = OpenClasses::of_open(access, false, found.is_none(), true);
            let found = found.map(str::as_bytes);
            assert_eq!(verdicts.crosses(class, found, written.as_bytes()), expected, "{written}");
        };
        check(1, Some("/usr/bin/runc"), "/proc/self/exe", true);
        check(1, Some("/proc/self/exe"), "exe", false);
        check(1, None, "/proc/self/exe", true);
        check(0, Some("/etc/passwd"), "a/../../etc/passwd", true);
        check(0, Some("/etc/passwd"), "/etc/passwd", false);
        check(0, None, "etc/passwd", false);
    }

    #[test]
    fn pairs_stand_in_every_written_text() {
        let check = |written: &[&str], expected: Option<[&str; 2]>| {
            let mut texts = OpenTexts::default();
            texts.add_text(PathText::start("/etc/"), OpenClasses::READ);
            for text in written {
                texts.add_text(PathText::anywhere(*text).as_written(), OpenClasses::READ);
            }
            let expected =
                expected.map(|pairs| pairs.map(|pair| pair.as_bytes().try_into().unwrap()));
            assert_eq!(texts.written_pairs(), expected, "{written:?}");
        };
        check(&[], None);
        check(&["../"], Some(["..", ".."]));
        check(&["../", "//"], Some(["..", "//"]));
        check(&["../", "x/..", "//"], Some(["..", "//"]));
        check(&["../", "//", "1-"], None);
        check(&["../", "/proc/self/exe"], None);
        check(&["/"], None);
        check(&["abc"], None);
    }

    #[test]
    fn texts_that_cannot_be_looked_for_let_everything_cross() {
        let always = |text: &str| {
            let mut texts = OpenTexts::default();
            texts.add_text(PathText::anywhere(text), OpenClasses::READ);
            texts.always()
        };
        assert_eq!(always(""), OpenClasses::READ);
        assert_eq!(always("a\0b"), OpenClasses::READ);
        assert_eq!(always("a"), OpenClasses::NONE);
        let mut texts = OpenTexts::default();
        for number in 0..PATH_TEXTS_MAX {
            texts.add_text(PathText::anywhere(format!("{number}")), OpenClasses::READ);
        }
        assert_eq!(texts.always(), OpenClasses::NONE);
        texts.add_text(PathText::anywhere("1"), OpenClasses::WRITE);
        assert_eq!(texts.always(), OpenClasses::NONE);
        texts.add_text(PathText::anywhere("one too many"), OpenClasses::READ);
        assert_eq!(texts.always(), OpenClasses::READ);
    }
}
