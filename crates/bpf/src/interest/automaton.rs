//! An automaton that finds any of many texts in a path in one pass (A. Aho, M. Corasick, 1975), as
//! a table that the probes can walk: for each state, the next one by class of byte, and what has
//! been found on the way to it.
//!
//! The path's beginning and its end are classes of their own, so that a text can demand to stand at
//! one. Bytes that are rare in paths share a class and letters of either case are one: then more is
//! found than there is, never less.

use std::collections::{BTreeSet, VecDeque};

/// Classes of bytes in a state of the table (`PATH_CLASSES` in `probes/path.h`).
pub(crate) const PATH_CLASSES: usize = 60;
/// Bytes of a state: the next states, then the words of what was found and what can be.
pub(crate) const STATE_BYTES: usize = 2 * PATH_CLASSES + 8;
/// States of an automaton; a number has to fit 16 bits, and the table is kernel memory (2 MiB).
pub(crate) const STATES_MAX: usize = 16_384;
/// Bytes of a path that are looked at; a longer one counts as one in which everything is found
/// (`PATH_JUDGED_MAX` in `probes/path.h`).
pub(crate) const PATH_JUDGED_MAX: usize = 512;

/// The class of the NUL behind a path.
const END: u8 = 0;
/// The class of what stands before a path; no byte has it.
const START: u8 = 59;
/// The class that all bytes without one of their own share.
const OTHER: u8 = 1;

/// The class of a byte.
pub(crate) const fn class_of(byte: u8) -> u8 {
    match byte {
        0 => END,
        b'a'..=b'z' => 2 + (byte - b'a'),
        b'A'..=b'Z' => 2 + (byte - b'A'),
        b'0'..=b'9' => 28 + (byte - b'0'),
        b'/' => 38,
        b'.' => 39,
        b'_' => 40,
        b'-' => 41,
        b'+' => 42,
        b':' => 43,
        b'@' => 44,
        b' ' => 45,
        b'~' => 46,
        b'#' => 47,
        b'=' => 48,
        b'%' => 49,
        _ => OTHER,
    }
}

/// One state: where each class of bytes leads, the union of what the texts that end here are
/// looked for by, and the same of the texts that can end here or further on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    next: [u16; PATH_CLASSES],
    found: u32,
    reach: u32,
}

impl State {
    const fn new() -> Self {
        Self { next: [0; PATH_CLASSES], found: 0, reach: 0 }
    }
}

/// The table, with the state in which a path begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Automaton {
    states: Vec<State>,
    root: u16,
}

impl Automaton {
    /// An automaton for texts, each with whether it stands at the start, at the end, and its word.
    /// `None` if it would have too many states.
    pub(crate) fn build<'t>(
        texts: impl Iterator<Item = (&'t [u8], bool, bool, u32)>,
    ) -> Option<Self> {
        let mut states = vec![State::new()];
        for (text, at_start, at_end, word) in texts {
            let start = at_start.then_some(START);
            let end = at_end.then_some(END);
            let classes = start.into_iter().chain(text.iter().copied().map(class_of)).chain(end);
            let mut at = 0_usize;
            for class in classes {
                // 0 is the root, to which no text leads back.
                let next = states.get(at)?.next[usize::from(class)];
                at = usize::from(if next == 0 {
                    let new = u16::try_from(states.len()).ok()?;
                    if states.len() >= STATES_MAX {
                        return None;
                    }
                    states[at].next[usize::from(class)] = new;
                    states.push(State::new());
                    new
                } else {
                    next
                });
            }
            states.get_mut(at)?.found |= word;
        }
        complete(&mut states);
        look_ahead(&mut states);
        let root = states[0].next[usize::from(START)];
        Some(Self { states, root })
    }

    /// The state in which a path begins.
    pub(crate) fn root(&self) -> u16 {
        self.root
    }

    /// Number of states.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// The states as `struct path_state` has them.
    pub(crate) fn rows(&self) -> impl Iterator<Item = [u8; STATE_BYTES]> + '_ {
        self.states.iter().map(|state| {
            let mut row = [0; STATE_BYTES];
            for (bytes, next) in row.chunks_exact_mut(2).zip(state.next) {
                bytes.copy_from_slice(&next.to_ne_bytes());
            }
            let words = [state.found, state.reach].map(u32::to_ne_bytes);
            row[2 * PATH_CLASSES..].copy_from_slice(words.as_flattened());
            row
        })
    }

    /// Whether `path` has a text whose word has a bit of `words`, as `judge_bytes` of
    /// `probes/path.h` says it.
    pub(crate) fn finds(&self, path: &[u8], words: u32) -> bool {
        let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
        if end >= PATH_JUDGED_MAX {
            return true;
        }
        let mut at = usize::from(self.root);
        let is_hit = |at: usize| self.states.get(at).is_none_or(|state| state.found & words != 0);
        for class in path[..end].iter().copied().map(class_of).chain([END]) {
            if is_hit(at) {
                return true;
            }
            let Some(state) = self.states.get(at) else { return true };
            if state.reach & words == 0 {
                return false;
            }
            at = usize::from(state.next[usize::from(class)]);
        }
        is_hit(at)
    }
}

/// Fills in where a byte leads that continues no text, from the longest end of what was read that
/// begins one; and adds what has been found by then.
fn complete(states: &mut [State]) {
    let mut fallback = vec![0_u16; states.len()];
    let mut queue: VecDeque<u16> =
        states[0].next.iter().copied().filter(|next| *next != 0).collect();
    while let Some(number) = queue.pop_front() {
        let at = usize::from(number);
        let back = usize::from(fallback[at]);
        states[at].found |= states[back].found;
        for class in 0..PATH_CLASSES {
            let (next, other) = (states[at].next[class], states[back].next[class]);
            if next == 0 {
                states[at].next[class] = other;
            } else {
                fallback[usize::from(next)] = other;
                queue.push_back(next);
            }
        }
    }
}

/// Fills in what can be found from each state on: what is found there, and what can be from where a
/// byte of a path leads.
fn look_ahead(states: &mut [State]) {
    let mut sources = vec![Vec::new(); states.len()];
    for (from, state) in (0_u16..).zip(&*states) {
        let leads_to: BTreeSet<u16> = (0..PATH_CLASSES)
            .filter(|class| *class != usize::from(START))
            .map(|class| state.next[class])
            .collect();
        for to in leads_to {
            sources[usize::from(to)].push(from);
        }
    }
    let mut queue: Vec<u16> = Vec::new();
    for (number, state) in (0_u16..).zip(states.iter_mut()) {
        state.reach = state.found;
        if state.found != 0 {
            queue.push(number);
        }
    }
    while let Some(number) = queue.pop() {
        let reach = states[usize::from(number)].reach;
        for source in &sources[usize::from(number)] {
            let state = &mut states[usize::from(*source)];
            if state.reach | reach != state.reach {
                state.reach |= reach;
                queue.push(*source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by looking for each text in turn.
    fn plainly(texts: &[(&str, bool, bool, u32)], path: &str, words: u32) -> bool {
        let path = path.to_ascii_lowercase();
        texts.iter().any(|(text, at_start, at_end, word)| {
            let text = text.to_ascii_lowercase();
            let stands = match (at_start, at_end) {
                (true, true) => path == text,
                (true, false) => path.starts_with(&text),
                (false, true) => path.ends_with(&text),
                (false, false) => path.contains(&text),
            };
            word & words != 0 && stands
        })
    }

    #[test]
    fn finds_what_a_plain_search_finds() {
        let texts = [
            ("/etc/", true, false, 1),
            ("/etc/shadow", true, true, 2),
            ("shadow", false, false, 4),
            ("/id_rsa", false, true, 1),
            (".so", false, true, 8),
            (".so.", false, false, 8),
            ("ow", false, true, 16),
            ("/", true, true, 32),
        ];
        let automaton = Automaton::build(
            texts.iter().map(|(text, start, end, word)| (text.as_bytes(), *start, *end, *word)),
        )
        .unwrap();
        // Every path of up to four of these parts.
        let parts = ["/", "etc", "shadow", "id_rsa", "lib.so", ".1", "SHADOW", "ow", "/etc/sha"];
        let mut paths = vec![String::new()];
        for _ in 0..4 {
            let longer: Vec<String> = paths
                .iter()
                .flat_map(|path| parts.iter().map(move |part| format!("{path}{part}")))
                .collect();
            paths.extend(longer);
            paths.sort();
            paths.dedup();
        }
        let mut n_found = 0;
        for path in &paths {
            for bit in 0..6 {
                let expected = plainly(&texts, path, 1 << bit);
                assert_eq!(automaton.finds(path.as_bytes(), 1 << bit), expected, "{path} {bit}");
                n_found += usize::from(expected);
            }
        }
        assert!(n_found > 1000 && n_found < paths.len() * 6 - 1000, "{n_found} of {}", paths.len());
    }

    #[test]
    fn no_texts_find_nothing_and_long_paths_everything() {
        let automaton = Automaton::build(std::iter::empty()).unwrap();
        assert!(!automaton.finds(b"/etc/shadow", u32::MAX));
        assert!(!automaton.finds(&[b'a'; PATH_JUDGED_MAX - 1], u32::MAX));
        assert!(automaton.finds(&[b'a'; PATH_JUDGED_MAX], u32::MAX));
    }

    #[test]
    fn more_states_than_fit_are_refused() {
        let long = vec![b'a'; STATES_MAX - 1];
        let build = |text: &[u8]| Automaton::build([(text, false, false, 1)].into_iter());
        assert_eq!(build(&long).unwrap().len(), STATES_MAX);
        assert_eq!(build(&[&long[..], b"a"].concat()), None);
    }

    #[test]
    fn the_table_is_the_one_of_the_header() {
        let header = include_str!("../../probes/path.h");
        assert!(header.contains(&format!("#define PATH_CLASSES {PATH_CLASSES}\n")));
        assert!(header.contains(&format!("#define PATH_JUDGED_MAX {PATH_JUDGED_MAX}\n")));
        assert!((0..=u8::MAX).all(|byte| usize::from(class_of(byte)) < PATH_CLASSES));
        assert!((0..=u8::MAX).all(|byte| class_of(byte) != START));
        let automaton = Automaton::build([(&b"ab"[..], true, false, 7)].into_iter()).unwrap();
        let rows: Vec<_> = automaton.rows().collect();
        assert_eq!(rows.len(), 4);
        // Both letters lead to it, and nothing leads on.
        let words = |row: usize| rows[row][2 * PATH_CLASSES..].to_vec();
        assert_eq!(words(3), [7_u32, 7].map(u32::to_ne_bytes).concat());
        assert_eq!(words(2), [0_u32, 7].map(u32::to_ne_bytes).concat());
        assert_eq!(words(0), [0; 8]);
    }
}
