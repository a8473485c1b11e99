//! Texts of licences → the names of the licences.
//!
//! A text is compared in runs of three words, by their hashes: what of a licence's runs it
//! has, and what it has besides. Words are those that are left by the SPDX matching
//! guidelines (SPDX 2.3, annex C; [`words`]): case, punctuation, bullets, copyright notices
//! and ways of spelling make no difference. Names that are put into a text are a few words
//! that differ; a sentence more or less is another licence, and then nothing is said.
//!
//! The hashes of the known licences are made from SPDX's texts by a test (`fingerprints.bin`);
//! no text is in the program.

mod words;

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

/// Texts with more words are not looked at; the longest known licence has 6,000.
pub const WORDS_MAX: usize = 60_000;
/// Texts with fewer words are names, not texts.
const WORDS_MIN: usize = 20;
/// Words of a run.
const RUN: usize = 3;
/// How many of a hundred of a licence's runs a text must have.
const PART_PERCENT: usize = 88;
/// Words in a row that a text may have besides: a title, the name of a holder.
const OTHER_WORDS_MAX: usize = 7;
/// How many words of a licence may be others altogether.
const CHANGED_WORDS_MAX: usize = 24;

/// The licences that are known, in the order of `fingerprints.bin`. A text does not say
/// whether later versions are meant too, so the name is that of the version alone. Those that
/// few packages have are there because they are nearly the text of another.
pub const KNOWN: [&str; 28] = [
    "0BSD",
    "AGPL-3.0-only",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause-Clear",
    "BSD-4-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "EPL-2.0",
    "GPL-2.0-only",
    "GPL-3.0-only",
    "ISC",
    "JSON",
    "LGPL-2.1-only",
    "LGPL-3.0-only",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "WTFPL",
    "X11",
    "Zlib",
];

/// For every known licence the number of its hashes and the hashes, of 32 bits each, least byte
/// first.
static FINGERPRINTS: &[u8] = include_bytes!("fingerprints.bin");

struct Table {
    /// Hash of a run to the licences that have it, a bit for each.
    runs: HashMap<u32, u32>,
    /// Runs of each licence.
    n_runs: [usize; KNOWN.len()],
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut numbers = FINGERPRINTS.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
        let mut table = Table {
            runs: HashMap::with_capacity(FINGERPRINTS.len() / 4),
            n_runs: [0; KNOWN.len()],
        };
        for (index, n_runs) in table.n_runs.iter_mut().enumerate() {
            *n_runs = numbers.next().unwrap_or_default() as usize;
            for hash in numbers.by_ref().take(*n_runs) {
                *table.runs.entry(hash).or_default() |= 1 << index;
            }
        }
        table
    })
}

/// The hashes of the runs of `words`, in order.
fn runs(words: &[u32]) -> impl Iterator<Item = u32> {
    words
        .windows(RUN)
        .map(|run| run.iter().fold(words::EMPTY, |hash, word| words::mix(hash, *word)))
}

/// The licences whose texts `text` consists of; none where there is anything else in it, or
/// nothing that is known.
pub fn recognise(text: &str) -> Vec<&'static str> {
    let words = words::of(text, WORDS_MAX + 1);
    if words.len() < WORDS_MIN || words.len() > WORDS_MAX {
        return Vec::new();
    }
    let table = table();
    let masks: Vec<u32> =
        runs(&words).map(|run| table.runs.get(&run).copied().unwrap_or_default()).collect();
    let mut candidates = candidates(&words, table);
    let mut covered = vec![false; words.len()];
    let mut found = Vec::new();
    while !candidates.is_empty() {
        let news: Vec<usize> =
            candidates.iter().map(|index| n_new(*index, &masks, &covered)).collect();
        let Some((at, n_new)) = news.into_iter().enumerate().max_by_key(|(_, n)| *n) else { break };
        let index = candidates.swap_remove(at);
        // What is left of a licence that is within another is no licence.
        if n_new * 2 > table.n_runs[index] {
            cover(index, &masks, &mut covered);
            found.push(KNOWN[index]);
        }
    }
    if has_other_words(&covered, found.len()) {
        return Vec::new();
    }
    // The Lesser licence adds to the text of the other, which is often delivered along.
    if found.contains(&"LGPL-3.0-only") {
        found.retain(|name| *name != "GPL-3.0-only");
    }
    found.sort_unstable();
    found
}

/// The licences of which `words` have most runs, by index.
fn candidates(words: &[u32], table: &Table) -> Vec<usize> {
    let mut n_found = [0_usize; KNOWN.len()];
    let distinct: HashSet<u32> = runs(words).collect();
    for mask in distinct.iter().filter_map(|run| table.runs.get(run)) {
        for (index, n) in n_found.iter_mut().enumerate() {
            *n += usize::from(mask & (1 << index) != 0);
        }
    }
    let has_most = |index: &usize| {
        let n_runs = table.n_runs[*index];
        n_runs > 0 && n_found[*index] * 100 >= n_runs * PART_PERCENT
    };
    let mut found: Vec<usize> = (0..KNOWN.len()).filter(has_most).collect();
    // Of two that cover as much, the one of which more is there comes last and wins.
    found.sort_by_key(|index| n_found[*index] * 1_000 / table.n_runs[*index].max(1));
    found
}

/// Words that licence `index` has and that are not covered yet.
fn n_new(index: usize, masks: &[u32], covered: &[bool]) -> usize {
    let mut own = covered.to_vec();
    cover(index, masks, &mut own);
    own.iter().zip(covered).filter(|(own, before)| **own && !**before).count()
}

fn cover(index: usize, masks: &[u32], covered: &mut [bool]) {
    for (at, _) in masks.iter().enumerate().filter(|(_, mask)| **mask & (1 << index) != 0) {
        covered[at..at + RUN].fill(true);
    }
}

/// Whether more is there than titles and names in `n_licences` texts.
fn has_other_words(covered: &[bool], n_licences: usize) -> bool {
    let longest = covered.split(|is_covered| *is_covered).map(<[bool]>::len).max();
    let n_other = covered.iter().filter(|is_covered| !**is_covered).count();
    longest.unwrap_or_default() > OTHER_WORDS_MAX || n_other > CHANGED_WORDS_MAX * n_licences
}

#[cfg(test)]
mod tests;
