//! Fixes of Dockerfiles.

use palisade_base::yaml::Place;

use super::super::build::{Instruction, Stage};
use super::super::detect::Kind;
use super::super::dockerfile;
use super::Fixer;
use super::edit::{Edit, View};

const fn row(check: &'static str, propose: fn(&View<'_>, Place) -> Option<Vec<Edit>>) -> Fixer {
    Fixer { check, kind: Kind::Dockerfile, propose }
}

pub(super) const FIXERS: &[Fixer] = &[
    row("add-instead-of-copy", |view, at| {
        let old = view.from(at)?.get(..3)?;
        let new = if old == "add" { "copy" } else { "COPY" };
        old.eq_ignore_ascii_case("add").then(|| view.replace(at, old, new))?.map(|edit| vec![edit])
    }),
    row("tls-verification-off", |view, at| {
        let words = remove_words(view, at, &["--insecure", "--no-check-certificate", "-k"]);
        let letters = remove_letter(view, at, "curl", 'k');
        let edits = [words.unwrap_or_default(), letters.unwrap_or_default()].concat();
        (!edits.is_empty()).then_some(edits)
    }),
    row("signature-check-off", |view, at| {
        let options = [
            "--allow-unauthenticated",
            "--force-yes",
            "--nogpgcheck",
            "--nosignature",
            "--allow-untrusted",
            "--no-gpg-checks",
        ];
        remove_words(view, at, &options)
    }),
    row("recommended-packages", |view, at| {
        let words = words(view, at)?;
        let program = words.iter().find_map(|word| match word.text {
            "apt" | "apt-get" => Some("--no-install-recommends"),
            "dnf" | "microdnf" => Some("--setopt=install_weak_deps=False"),
            "zypper" => Some("--no-recommends"),
            _ => None,
        })?;
        add_after(&words, &["install"], program)
    }),
    row("package-cache-left", |view, at| {
        let words = words(view, at)?;
        let has = |name: &str| words.iter().any(|word| word.text == name);
        let clean = match words.iter().find(|word| !word.text.contains('='))?.text {
            "apk" => return add_after(&words, &["add"], "--no-cache"),
            "pip" | "pip3" => return add_after(&words, &["install"], "--no-cache-dir"),
            "apt" | "apt-get" => "rm -rf /var/lib/apt/lists/*",
            "dnf" => "dnf clean all",
            "microdnf" => "microdnf clean all && rm -rf /var/cache/dnf",
            "yum" => "yum clean all",
            "tdnf" => "tdnf clean all",
            "zypper" => "zypper clean --all",
            _ => return None,
        };
        if has("|") { None } else { append_command(view, at, clean) }
    }),
    row("repeated-instruction", remove_earlier),
    row("shell-form", json_form),
];

/// A word of a command in the text.
struct Word<'t> {
    text: &'t str,
    start: usize,
    end: usize,
}

/// The words of the command at a place, as they are written, up to what ends it. A line that
/// continues goes on; comments between are passed over.
fn words<'t>(view: &View<'t>, at: Place) -> Option<Vec<Word<'t>>> {
    let mut found = Vec::new();
    let mut line = at.line;
    let mut start = view.offset(at)?;
    loop {
        let whole = view.line(line)?;
        let line_start = view.line_start(line)?;
        let text = whole.get(start - line_start..)?;
        let continues = text.trim_end().ends_with('\\');
        let is_comment = line != at.line && whole.trim_start().starts_with('#');
        if !is_comment {
            let text = text.trim_end();
            let text = text.strip_suffix('\\').unwrap_or(text);
            for part in text.split_whitespace() {
                let within = part.as_ptr() as usize - text.as_ptr() as usize;
                let plain = part.trim_end_matches(';');
                if matches!(part, "&&" | "||" | "|" | "&" | ";") {
                    return Some(found);
                }
                let begin = start + within;
                found.push(Word { text: plain, start: begin, end: begin + plain.len() });
                if plain.len() < part.len() {
                    return Some(found);
                }
            }
        }
        if !continues && !is_comment {
            return Some(found);
        }
        line += 1;
        start = view.line_start(line)?;
        view.line(line)?;
    }
}

/// Removes every word of the command at a place that is among `unwanted`.
fn remove_words(view: &View<'_>, at: Place, unwanted: &[&str]) -> Option<Vec<Edit>> {
    let words = words(view, at)?;
    let found: Vec<Edit> = words
        .iter()
        .filter(|word| unwanted.contains(&word.text))
        .filter_map(|word| without(view, word))
        .collect();
    (!found.is_empty()).then_some(found)
}

/// Removes a word with the blanks before it, or its line where nothing else is on that.
fn without(view: &View<'_>, word: &Word<'_>) -> Option<Edit> {
    let before = view.text.get(..word.start)?;
    let after = view.text.get(word.end..)?;
    let blanks = before.len() - before.trim_end_matches([' ', '\t']).len();
    let starts_line = before.trim_end_matches([' ', '\t']).ends_with('\n');
    if !starts_line {
        return Some(Edit { start: word.start - blanks, end: word.end, text: String::new() });
    }
    let line_end = after.find('\n').map_or(after.len(), |at| at + 1);
    let rest = after.get(..line_end)?;
    if rest.trim() == "\\" {
        return Some(Edit {
            start: word.start - blanks,
            end: word.end + line_end,
            text: String::new(),
        });
    }
    let gap = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    Some(Edit { start: word.start, end: word.end + gap, text: String::new() })
}

/// Removes a letter from the bundles of short options of `program`.
fn remove_letter(view: &View<'_>, at: Place, program: &str, letter: char) -> Option<Vec<Edit>> {
    let words = words(view, at)?;
    words.iter().position(|word| word.text == program)?;
    let edits: Vec<Edit> = words
        .iter()
        .filter(|word| {
            let bundle = word.text.strip_prefix('-').unwrap_or_default();
            bundle.len() > 1 && bundle.chars().all(|c| c.is_ascii_alphabetic())
        })
        .filter_map(|word| {
            let start = word.start + word.text.find(letter)?;
            Some(Edit { start, end: start + letter.len_utf8(), text: String::new() })
        })
        .collect();
    (!edits.is_empty()).then_some(edits)
}

/// Adds an option after the first word among `verbs`.
fn add_after(words: &[Word<'_>], verbs: &[&str], option: &str) -> Option<Vec<Edit>> {
    let verb = words.iter().find(|word| verbs.contains(&word.text))?;
    Some(vec![Edit::insert(verb.end, format!(" {option}"))])
}

/// The line on which the instruction at `first` ends.
fn last_line(view: &View<'_>, first: usize) -> Option<usize> {
    let mut line = first;
    loop {
        let text = view.line(line)?;
        let is_between =
            line > first && (text.trim_start().starts_with('#') || text.trim().is_empty());
        if !is_between && !text.trim_end().ends_with('\\') {
            return Some(line);
        }
        line += 1;
    }
}

/// Runs one more command at the end of the instruction that a place is in.
fn append_command(view: &View<'_>, at: Place, command: &str) -> Option<Vec<Edit>> {
    let instruction = instruction_at(view, at.line)?.1;
    if instruction.exec.is_some() || !instruction.heredocs.is_empty() {
        return None;
    }
    let first = instruction.place.line;
    let last = last_line(view, first)?;
    let text = view.line(last)?;
    let end = view.line_start(last)? + text.trim_end().len();
    let added = if last == first {
        format!(" && {command}")
    } else {
        let indent: String = text.chars().take_while(|c| c.is_whitespace()).collect();
        let indent = if indent.is_empty() { "    " } else { &indent };
        format!(" \\{}{indent}&& {command}", view.line_end)
    };
    Some(vec![Edit::insert(end, added)])
}

/// The instruction whose lines have `line` among them, and its stage.
fn instruction_at(view: &View<'_>, line: usize) -> Option<(Stage, Instruction)> {
    let (build, _) = dockerfile::parse(view.text);
    for stage in build.stages {
        let before = stage.instructions.iter().rev().find(|one| one.place.line <= line);
        if let Some(found) = before.cloned()
            && last_line(view, found.place.line)? >= line
        {
            return Some((stage, found));
        }
    }
    None
}

/// Removes the instruction before the one at a place which that makes void.
fn remove_earlier(view: &View<'_>, at: Place) -> Option<Vec<Edit>> {
    let (stage, later) = instruction_at(view, at.line)?;
    let mut earlier = stage
        .instructions
        .iter()
        .filter(|one| one.keyword == later.keyword && !one.is_onbuild && one.place < later.place);
    let earlier = earlier.next_back()?;
    let first = earlier.place.line;
    Some(vec![view.remove_lines(first, last_line(view, first)?)?])
}

/// What only a shell knows: `CMD exec app` is no program's name.
const SHELL_WORDS: [&str; 12] =
    ["exec", "cd", "source", ".", "eval", "set", "export", "if", "for", "while", "until", "case"];

/// `CMD app --port 80` as `CMD ["app", "--port", "80"]`, where no shell is needed for it.
fn json_form(view: &View<'_>, at: Place) -> Option<Vec<Edit>> {
    let (stage, instruction) = instruction_at(view, at.line)?;
    let is_start = |one: &&Instruction| matches!(one.keyword.as_str(), "CMD" | "ENTRYPOINT");
    // A shell as the entry point takes no arguments; its JSON form takes those of `CMD`.
    if !is_start(&&instruction)
        || instruction.exec.is_some()
        || stage.instructions.iter().filter(is_start).count() != 1
        || last_line(view, at.line)? != at.line
    {
        return None;
    }
    let text = instruction.text.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " _-./:,@+=%".contains(c);
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let first = words.next()?;
    if !text.chars().all(is_plain) || first.contains('=') || SHELL_WORDS.contains(&first) {
        return None;
    }
    let all = std::iter::once(first).chain(words);
    let quoted: Vec<String> = all.map(|word| format!("\"{word}\"")).collect();
    let line = view.line(at.line)?;
    let start = view.line_start(at.line)? + line.rfind(text)?;
    Some(vec![Edit { start, end: start + text.len(), text: format!("[{}]", quoted.join(", ")) }])
}
