//! Dockerfile or Containerfile → build.
//!
//! Written after the Dockerfile reference of Docker and BuildKit's parser: parser directives,
//! continuation lines with comments between them, here-documents, the JSON form, flags,
//! build arguments and environment, stages, `ONBUILD`. A Dockerfile that BuildKit refuses is
//! reported where it stops making sense; what can be read is judged all the same.

use std::collections::HashMap;

use palisade_base::yaml::{Place, Problem, ProblemKind, cut};

use super::build::{Base, Build, Cursor, Heredoc, Instruction, Stage, Word};
use super::settings::Placed;

/// A Dockerfile beyond this many bytes is not read.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// Instructions of one file; what is beyond is not read, and that is a problem.
pub const INSTRUCTIONS_MAX: usize = 10_000;
/// Bytes of one value after expansion; longer ones stay as written.
const EXPANDED_BYTES_MAX: usize = 64 << 10;
/// Problems after which no more are listed.
const PROBLEMS_MAX: usize = 100;

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Whether a text without a telling name reads like a Dockerfile.
pub fn looks_like(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let first = lines.next().and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    let is_first = ["FROM", "ARG"].iter().any(|keyword| first.eq_ignore_ascii_case(keyword));
    // `from: x` and prose begin otherwise.
    is_first
        && text.lines().any(|line| {
            line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("from"))
        })
}

/// Reads a Dockerfile.
pub fn parse(text: &str) -> (Build, Vec<Problem>) {
    let mut reader = Reader::default();
    if text.len() > FILE_BYTES_MAX {
        let what = format!("larger than {FILE_BYTES_MAX} bytes");
        reader.problem(ProblemKind::TooLarge, Place::START, what, "split the build");
        return (Build::default(), reader.problems);
    }
    reader.read(text.strip_prefix('\u{feff}').unwrap_or(text));
    if reader.build.stages.is_empty() && reader.problems.is_empty() {
        reader.problem(
            ProblemKind::Syntax,
            Place::START,
            "no `FROM`".to_string(),
            "begin with `FROM` and the base image",
        );
    }
    (reader.build, reader.problems)
}

/// The instruction of one line of an image's history, if the builder left one.
pub fn parse_history_step(created_by: &str, number: usize) -> Option<Instruction> {
    let text = created_by.trim();
    let text = text.strip_suffix("# buildkit").unwrap_or(text).trim();
    let shell = "/bin/sh -c ";
    let line = if let Some(rest) = text.strip_prefix("/bin/sh -c #(nop)") {
        rest.trim().to_string()
    } else if let Some(at) = text.find(shell).filter(|_| text.starts_with(['|', '/', 'R'])) {
        // `|1 VERSION=2 /bin/sh -c make`: build arguments come first.
        format!("RUN {}", &text[at + shell.len()..])
    } else {
        text.to_string()
    };
    // The builders write the script on one line or several; all of it is one instruction.
    let mut parts = line.splitn(2, char::is_whitespace);
    let keyword = parts.next().unwrap_or_default().to_ascii_uppercase();
    if !KEYWORDS.contains(&keyword.as_str()) || keyword == "FROM" {
        return None;
    }
    let place = Place { line: number, column: 1 };
    let rest = parts.next().unwrap_or_default().trim();
    let logical = Logical { text: rest.to_string(), lines: vec![(0, place)] };
    let mut reader = Reader::default();
    Some(reader.instruction(&keyword, place, &logical, false))
}

/// Variables; `None` for one that is set when the build is started.
type Scope = HashMap<String, Option<String>>;

/// A line with its continuation lines.
struct Logical {
    text: String,
    lines: Vec<(usize, Place)>,
}

#[derive(Default)]
struct Reader {
    build: Build,
    problems: Vec<Problem>,
    /// Arguments before the first `FROM`.
    global: Scope,
    /// Arguments and environment of the stage; `None`: set when the build is started.
    scope: Scope,
    n_instructions: usize,
}

impl Reader {
    fn problem(&mut self, kind: ProblemKind, place: Place, message: String, help: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { kind, place, message, help: Some(help.to_string()) });
        }
    }

    fn read(&mut self, text: &str) {
        let lines: Vec<&str> =
            text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        let escape = escape_of(&lines);
        let mut next = 0;
        while let Some(line) = lines.get(next) {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                next += 1;
                continue;
            }
            let first = next;
            let logical = join(&lines, &mut next, escape);
            self.n_instructions += 1;
            if self.n_instructions > INSTRUCTIONS_MAX {
                let what = format!("more than {INSTRUCTIONS_MAX} instructions");
                let place = Place { line: first + 1, column: 1 };
                self.problem(ProblemKind::TooLarge, place, what, "split the build");
                return;
            }
            self.line(&logical, &lines, &mut next);
        }
    }

    /// Takes one logical line; its here-documents are taken from the lines after it.
    fn line(&mut self, logical: &Logical, lines: &[&str], next: &mut usize) {
        let place = logical.lines.first().map_or(Place::START, |(_, place)| *place);
        let (keyword, rest) = split_keyword(logical);
        if keyword == "ONBUILD" {
            let (inner, rest) = split_keyword(&rest);
            if !self.knows(&inner, place) {
                return;
            }
            let instruction = self.instruction(&inner, place, &rest, true);
            return self.add(instruction);
        }
        if !self.knows(&keyword, place) {
            return;
        }
        if keyword == "FROM" {
            return self.stage(place, &rest);
        }
        let mut instruction = self.instruction(&keyword, place, &rest, false);
        if matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") {
            self.heredocs(&mut instruction, lines, next);
        }
        self.add(instruction);
    }

    fn knows(&mut self, keyword: &str, place: Place) -> bool {
        let known = KEYWORDS.contains(&keyword);
        if !known {
            let near = palisade_base::suggest::nearest(keyword, KEYWORDS);
            let help = near.map_or_else(
                || "see the Dockerfile reference".to_string(),
                |near| format!("did you mean `{near}`?"),
            );
            let what = format!("unknown instruction `{}`", cut(keyword));
            self.problem(ProblemKind::Syntax, place, what, &help);
        }
        known
    }

    fn add(&mut self, instruction: Instruction) {
        if let Some(stage) = self.build.stages.last_mut() {
            stage.instructions.push(instruction);
        } else if instruction.keyword == "ARG" {
            self.global = std::mem::take(&mut self.scope);
            self.scope = self.global.clone();
        } else {
            let what = format!("`{}` before the first `FROM`", instruction.keyword);
            let help = "only `ARG` may stand there";
            self.problem(ProblemKind::Syntax, instruction.place, what, help);
        }
    }

    fn stage(&mut self, place: Place, rest: &Logical) {
        let (_, rest) = flags(rest);
        let scope = self.global.clone();
        let words = words(&rest, &scope);
        let name = match words.get(1) {
            Some(word) if word.text.eq_ignore_ascii_case("as") => {
                words.get(2).map(|word| word.text.to_ascii_lowercase())
            }
            _ => None,
        };
        let Some(base) = words.first() else {
            let help = "name the base image";
            return self.problem(ProblemKind::Syntax, place, "`FROM` of nothing".into(), help);
        };
        let lower = base.text.to_ascii_lowercase();
        let stage = self.build.stages.iter().rposition(|s| s.name.as_deref() == Some(&lower));
        let value = match stage {
            Some(index) => Base::Stage(index),
            None if !base.is_known => Base::Unknown(base.text.clone()),
            None if lower == "scratch" => Base::Scratch,
            None => Base::Image(base.text.clone()),
        };
        self.scope.clear();
        self.build.stages.push(Stage {
            name,
            base: Some(Placed::new(value, base.place)),
            instructions: Vec::new(),
            place,
        });
    }

    fn instruction(
        &mut self,
        keyword: &str,
        place: Place,
        rest: &Logical,
        is_onbuild: bool,
    ) -> Instruction {
        let has_flags = matches!(keyword, "RUN" | "COPY" | "ADD" | "HEALTHCHECK");
        let (flags, rest) = if has_flags {
            flags(rest)
        } else {
            (Vec::new(), Logical { text: rest.text.clone(), lines: rest.lines.clone() })
        };
        let takes_json = matches!(
            keyword,
            "RUN" | "COPY" | "ADD" | "CMD" | "ENTRYPOINT" | "SHELL" | "VOLUME" | "HEALTHCHECK"
        );
        let json = match keyword {
            "HEALTHCHECK" => rest.text.strip_prefix("CMD").unwrap_or_default(),
            _ => rest.text.as_str(),
        };
        let exec = takes_json.then(|| json_words(json)).flatten();
        let words = match &exec {
            Some(exec) => exec
                .iter()
                .map(|text| {
                    let (text, is_known) = expand(text, &self.scope);
                    let place = rest.lines.first().map_or(place, |(_, place)| *place);
                    Word { text, is_known, place }
                })
                .collect(),
            None if matches!(keyword, "RUN" | "CMD" | "ENTRYPOINT" | "MAINTAINER") => Vec::new(),
            None => words(&rest, &self.scope),
        };
        self.define(keyword, &words, is_onbuild);
        Instruction {
            keyword: keyword.to_string(),
            place,
            flags,
            text: rest.text,
            lines: rest.lines,
            exec,
            heredocs: Vec::new(),
            is_onbuild,
            words,
        }
    }

    /// Takes what `ARG` and `ENV` define into the scope.
    fn define(&mut self, keyword: &str, words: &[Word], is_onbuild: bool) {
        if is_onbuild {
            return;
        }
        match keyword {
            "ARG" => {
                for word in words {
                    let (name, value) = match word.text.split_once('=') {
                        Some((name, value)) => (name, word.is_known.then(|| value.to_string())),
                        None => {
                            (word.text.as_str(), self.global.get(&word.text).cloned().flatten())
                        }
                    };
                    self.scope.insert(name.to_string(), value);
                }
            }
            "ENV" => {
                for (name, value) in assignments(words) {
                    self.scope.insert(name, value.is_known.then_some(value.text));
                }
            }
            _ => {}
        }
    }

    fn heredocs(&mut self, instruction: &mut Instruction, lines: &[&str], next: &mut usize) {
        for (name, strips_tabs) in heredoc_names(&instruction.text) {
            let place = Place { line: *next + 1, column: 1 };
            let mut text = String::new();
            let mut is_closed = false;
            while let Some(line) = lines.get(*next) {
                *next += 1;
                let line = if strips_tabs { line.trim_start_matches('\t') } else { line };
                if line == name {
                    is_closed = true;
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            if !is_closed {
                let what = format!("the here-document `{}` has no end", cut(&name));
                let help = format!("end it with a line `{}`", cut(&name));
                self.problem(ProblemKind::Syntax, instruction.place, what, &help);
            }
            instruction.heredocs.push(Heredoc { text, place });
        }
        // What is left is the command itself.
        if !instruction.heredocs.is_empty() && instruction.text.trim_start().starts_with("<<") {
            instruction.text.clear();
        }
    }
}

/// The names and values of `ENV` and `LABEL`: `A=1 B=2`, or the old form `A 1 2`.
pub fn assignments(words: &[Word]) -> Vec<(String, Word)> {
    match words {
        [first, rest @ ..] if !first.text.contains('=') && !rest.is_empty() => {
            let text: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
            let is_known = rest.iter().all(|word| word.is_known);
            let place = rest.first().map_or(first.place, |word| word.place);
            vec![(first.text.clone(), Word { text: text.join(" "), is_known, place })]
        }
        _ => words
            .iter()
            .filter_map(|word| {
                let (name, value) = word.text.split_once('=')?;
                Some((name.to_string(), Word { text: value.to_string(), ..word.clone() }))
            })
            .collect(),
    }
}

/// The escape character, which a directive may change (`# escape=` and a backtick).
fn escape_of(lines: &[&str]) -> char {
    for line in lines {
        let Some(comment) = line.trim().strip_prefix('#') else { break };
        let Some((name, value)) = comment.split_once('=') else { break };
        let name = name.trim().to_ascii_lowercase();
        if name == "escape" {
            return if value.trim() == "`" { '`' } else { '\\' };
        }
        if name != "syntax" && name != "check" {
            break;
        }
    }
    '\\'
}

/// The logical line that begins at `next`, which is moved behind it.
fn join(lines: &[&str], next: &mut usize, escape: char) -> Logical {
    let mut out = Logical { text: String::new(), lines: Vec::new() };
    while let Some(line) = lines.get(*next) {
        let number = *next + 1;
        *next += 1;
        let is_continuation = !out.lines.is_empty();
        if is_continuation && (line.trim_start().starts_with('#') || line.trim().is_empty()) {
            continue;
        }
        let indent = if is_continuation { 0 } else { line.len() - line.trim_start().len() };
        let content = line.get(indent..).unwrap_or_default();
        out.lines.push((out.text.len(), Place { line: number, column: indent + 1 }));
        let trimmed = content.trim_end();
        // Docker joins the lines without a space; the words are those of the lines.
        let Some(rest) = trimmed.strip_suffix(escape) else {
            out.text.push_str(content);
            break;
        };
        out.text.push_str(rest);
    }
    out
}

/// What of `line` begins at `offset`.
fn tail(line: &Logical, offset: usize) -> Logical {
    let text = line.text.get(offset..).unwrap_or_default().to_string();
    let mut lines = Vec::new();
    for (start, place) in &line.lines {
        if *start >= offset {
            lines.push((start - offset, *place));
        } else {
            let skipped = line.text.get(*start..offset).map_or(0, |text| text.chars().count());
            lines.clear();
            lines.push((0, Place { line: place.line, column: place.column + skipped }));
        }
    }
    Logical { text, lines }
}

fn split_keyword(line: &Logical) -> (String, Logical) {
    let text = line.text.as_str();
    let start = text.len() - text.trim_start().len();
    let length = text[start..].find(char::is_whitespace).unwrap_or(text.len() - start);
    let keyword = text[start..start + length].to_ascii_uppercase();
    let rest = &text[start + length..];
    let offset = text.len() - rest.trim_start().len();
    (keyword, tail(line, offset))
}

/// The flags at the beginning, and what follows them.
fn flags(line: &Logical) -> (Vec<(String, String)>, Logical) {
    let mut found = Vec::new();
    let mut offset = 0;
    loop {
        let rest = &line.text[offset..];
        let trimmed = rest.trim_start();
        let Some(flag) = trimmed.strip_prefix("--") else {
            return (found, tail(line, line.text.len() - trimmed.len()));
        };
        let length = flag.find(char::is_whitespace).unwrap_or(flag.len());
        if length == 0 {
            return (found, tail(line, line.text.len() - trimmed.len()));
        }
        let (name, value) = flag[..length].split_once('=').unwrap_or((&flag[..length], ""));
        found.push((name.to_ascii_lowercase(), value.to_string()));
        offset = line.text.len() - flag.len() + length;
    }
}

fn json_words(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The words of a line without their quotes, expanded.
fn words(line: &Logical, scope: &Scope) -> Vec<Word> {
    let text = line.text.as_str();
    let mut cursor = Cursor::new(text, &line.lines);
    let mut found = Vec::new();
    let mut current = String::new();
    let (mut start, mut quote) = (None, None);
    let mut chars = text.char_indices().chain([(text.len(), ' ')]);
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if let Some(begun) = start.take() {
                    let (text, is_known) = expand(&current, scope);
                    let place = cursor.at(begun);
                    found.push(Word { text, is_known, place });
                    current.clear();
                }
            }
            (None, '"' | '\'') => {
                quote = Some(c);
                start.get_or_insert(at);
            }
            (Some(open), c) if c == open => quote = None,
            (_, '\\') if quote != Some('\'') => {
                start.get_or_insert(at);
                if let Some((_, escaped)) = chars.next() {
                    // `\$` stays, so that it is not expanded.
                    if escaped == '$' {
                        current.push('\\');
                    }
                    current.push(escaped);
                }
            }
            (_, c) => {
                start.get_or_insert(at);
                current.push(c);
            }
        }
    }
    // A quote that is not closed: the last word is what there is.
    if let Some(begun) = start {
        let (text, is_known) = expand(current.trim_end(), scope);
        found.push(Word { text, is_known, place: cursor.at(begun) });
    }
    found
}

/// `text` with `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}` replaced, and whether
/// every variable was known. What is not known stays as it is written.
fn expand(text: &str, scope: &Scope) -> (String, bool) {
    let mut out = String::new();
    let mut is_known = true;
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("\\$") {
            out.push('$');
            rest = after;
            continue;
        }
        let variable = rest.strip_prefix('$').and_then(variable);
        let Some((name, operator, length)) = variable else {
            let c = rest.chars().next().unwrap_or_default();
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let value = scope.get(name);
        let (written, after) = rest.split_at((1 + length).min(rest.len()));
        match (value, operator) {
            (Some(Some(value)), None | Some(('-', _)))
                if !value.is_empty() || operator.is_none() =>
            {
                out.push_str(value);
            }
            (Some(_), Some(('+', word))) | (_, Some(('-', word))) => out.push_str(word),
            (None, Some(('+', _))) => {}
            _ => {
                is_known = false;
                out.push_str(written);
            }
        }
        rest = after;
        if out.len() > EXPANDED_BYTES_MAX {
            return (text.to_string(), false);
        }
    }
    out.push_str(rest);
    (out, is_known)
}

/// A reference to a variable.
type Reference<'t> = (&'t str, Option<(char, &'t str)>, usize);

/// The name after a dollar sign, its operator with the word, and how long all of it is.
fn variable(text: &str) -> Option<Reference<'_>> {
    let name_end = |text: &str| {
        text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
    };
    if let Some(braced) = text.strip_prefix('{') {
        let close = braced.find('}')?;
        let inner = &braced[..close];
        let (name, rest) = inner.split_at(name_end(inner));
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        let operator = rest.chars().next().map(|c| (c, &rest[c.len_utf8()..]));
        return (!name.is_empty()).then_some((name, operator, close + 2));
    }
    let end = name_end(text);
    (end > 0 && !text.starts_with(|c: char| c.is_ascii_digit())).then(|| (&text[..end], None, end))
}

/// The names of the here-documents that a line begins, and whether tabs are stripped.
fn heredoc_names(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("<<") {
        let begins_word =
            rest[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '<');
        rest = &rest[at + 2..];
        let (strips, name) = match rest.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, rest),
        };
        let quote = name.chars().next().filter(|c| matches!(c, '"' | '\''));
        let name = name.trim_start_matches(['"', '\'']);
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
        let is_quoted_well = quote.is_none_or(|quote| name[end..].starts_with(quote));
        if begins_word
            && end > 0
            && is_quoted_well
            && !name.starts_with(|c: char| c.is_ascii_digit())
        {
            found.push((name[..end].to_string(), strips));
        }
    }
    found
}

#[cfg(test)]
mod tests;
