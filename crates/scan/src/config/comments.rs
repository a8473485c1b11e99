//! Exceptions written beside what they excuse: `# palisade:ignore RUN-014 writes its cache`.
//!
//! A comment at the end of a line excuses what stands in that line. One on a line of its own
//! excuses what follows: an instruction of a Dockerfile with its continuation lines, or the
//! next line of YAML with all that is indented below it; before the first key of a document,
//! the whole document. `palisade:ignore-file` excuses the whole file. A reason is mandatory:
//! without one a comment excuses nothing, and is reported.

use palisade_base::yaml::cut;
use palisade_base::{Diagnostic, Location, Severity};

/// Comments of one file; those beyond excuse nothing, and that is reported.
pub const COMMENTS_MAX: usize = 1_000;

const MARK: &str = "palisade:ignore";

/// An exception in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Check, by name or number.
    pub check: String,
    /// Why.
    pub reason: String,
    /// Line of the comment.
    pub line: usize,
    /// First line that it excuses.
    pub first: usize,
    /// Last line that it excuses.
    pub last: usize,
}

impl Comment {
    /// Whether it excuses something at `line`.
    pub fn covers(&self, line: usize) -> bool {
        (self.first..=self.last).contains(&line)
    }
}

/// The comments of a file, and what is wrong with them.
/// `is_own` says which names the user's own checks have.
pub fn read(
    text: &str,
    file: &str,
    is_dockerfile: bool,
    is_own: &dyn Fn(&str) -> bool,
) -> (Vec<Comment>, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    if !text.contains(MARK) {
        return (found, problems);
    }
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let Some((before, after)) = split(line) else { continue };
        let mut problem = |code: &'static str, message: String, help: &str| {
            problems.push(Diagnostic {
                code,
                severity: Severity::Warning,
                location: Location {
                    file: file.to_string(),
                    line: index + 1,
                    column: before.chars().count() + 1,
                },
                message,
                help: Some(help.to_string()),
            });
        };
        let (is_file, rest) = match after.strip_prefix("-file") {
            Some(rest) => (true, rest),
            None => (false, after),
        };
        let mut words = rest.trim().splitn(2, char::is_whitespace);
        let check = words.next().unwrap_or_default().trim_end_matches(':');
        let reason = words.next().unwrap_or_default().trim();
        if check.is_empty() || !(super::is_check_name(check) || is_own(check)) {
            let near = palisade_base::suggest::nearest(check, super::check_names());
            let help = near.map_or_else(
                || "write `# palisade:ignore CHECK REASON`".to_string(),
                |near| format!("did you mean `{near}`?"),
            );
            problem("unknown-check", format!("there is no check `{}`", cut(check)), &help);
            continue;
        }
        if reason.is_empty() {
            let message = format!("`{}` is excused without a reason, and so it is not", cut(check));
            problem("ignore-without-reason", message, "say why after the name of the check");
            continue;
        }
        if found.len() >= COMMENTS_MAX {
            let message = format!("more than {COMMENTS_MAX} exceptions in one file");
            problem("too-large", message, "make them exceptions of the policy");
            break;
        }
        let (first, last) = if is_file {
            (1, usize::MAX)
        } else if !before.trim().is_empty() {
            (index + 1, index + 1)
        } else if is_dockerfile {
            instruction(&lines, index)
        } else {
            block(&lines, index)
        };
        found.push(Comment {
            check: check.to_string(),
            reason: reason.to_string(),
            line: index + 1,
            first,
            last,
        });
    }
    (found, problems)
}

/// What stands before the comment and after its mark, if the line has one.
fn split(line: &str) -> Option<(&str, &str)> {
    let at = line.find(MARK)?;
    let hash = line[..at].rfind('#')?;
    // `# palisade:ignore`, with nothing in between.
    let is_mark = line[hash + 1..at].trim().is_empty();
    is_mark.then(|| (&line[..hash], &line[at + MARK.len()..]))
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The instruction after line `index`, as numbers of lines.
fn instruction(lines: &[&str], index: usize) -> (usize, usize) {
    let Some(first) = (index + 1..lines.len()).find(|i| !is_blank(lines[*i])) else {
        return (index + 1, index + 1);
    };
    let mut last = first;
    while let Some(line) = lines.get(last) {
        let continues = is_blank(line) || line.trim_end().ends_with(['\\', '`']);
        if !continues || last + 1 >= lines.len() {
            break;
        }
        last += 1;
    }
    (first + 1, last + 1)
}

/// The block of YAML after line `index`, as numbers of lines.
fn block(lines: &[&str], index: usize) -> (usize, usize) {
    let is_mark = |line: &str| line.starts_with("---") || line.starts_with("...");
    let Some(first) = (index + 1..lines.len()).find(|i| !is_blank(lines[*i])) else {
        return (index + 1, index + 1);
    };
    let before = (0..index).rev().map(|i| lines[i]).find(|line| !is_blank(line));
    let begins_document =
        before.is_none_or(|line| is_mark(line) || line.starts_with('%')) || is_mark(lines[first]);
    if begins_document {
        let start = if is_mark(lines[first]) { first + 1 } else { first };
        let end = (start..lines.len()).find(|i| is_mark(lines[*i])).unwrap_or(lines.len());
        return (first + 1, end);
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    let depth = indent(lines[first]);
    // The items of a list may stand as deep as the key that they belong to.
    let is_key = !lines[first].trim_start().starts_with("- ");
    let mut last = first;
    for (i, line) in lines.iter().enumerate().skip(first + 1) {
        if is_blank(line) {
            continue;
        }
        let is_item_below = is_key && indent(line) == depth && line.trim_start().starts_with("- ");
        if is_mark(line) || (indent(line) <= depth && !is_item_below) {
            break;
        }
        last = i;
    }
    (first + 1, last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, is_dockerfile: bool, expected: &[(usize, usize)]) {
        let (found, problems) = read(text, "f", is_dockerfile, &|_| false);
        assert!(problems.is_empty(), "{problems:?}");
        let ranges: Vec<(usize, usize)> = found.iter().map(|c| (c.first, c.last)).collect();
        assert_eq!(ranges, expected, "{text}");
    }

    #[test]
    fn comments_excuse_what_follows() {
        check("a: 1\nb: 2 # palisade:ignore RUN-001 why\n", false, &[(2, 2)]);
        check(
            "a:\n  # palisade:ignore RUN-001 why\n  b:\n    c: 1\n    d: 2\n  e: 3\n",
            false,
            &[(3, 5)],
        );
        check("a:\n# palisade:ignore RUN-001 why\nb:\n- c: 1\n- d: 2\ne: 3\n", false, &[(3, 5)]);
        check(
            "a:\n  # palisade:ignore privileged why\n  - b: 1\n    c: 2\n  - d: 3\n",
            false,
            &[(3, 4)],
        );
        check("# palisade:ignore RUN-001 why\nkind: x\nb: 1\n---\nc: 1\n", false, &[(2, 3)]);
        check("a: 1\n---\n# palisade:ignore RUN-001 why\nb: 1\nc: 2\n", false, &[(4, 5)]);
        check("a: 1\n# palisade:ignore-file RUN-001 why\n", false, &[(1, usize::MAX)]);
        check(
            "FROM a\n# palisade:ignore IMG-010 why\n# more\nRUN a \\\n # x\n  b\nUSER c\n",
            true,
            &[(4, 6)],
        );
        check("a: 1\n# palisade:ignore RUN-001 why", false, &[(2, 2)]);
    }

    #[test]
    fn an_excuse_has_a_check_and_a_reason() {
        let codes = |text: &str| {
            let (found, problems) = read(text, "f", false, &|_| false);
            assert!(found.is_empty());
            problems.iter().map(|p| p.code).collect::<Vec<_>>()
        };
        assert_eq!(codes("# palisade:ignore RUN-001\n"), ["ignore-without-reason"]);
        assert_eq!(codes("# palisade:ignore RUN-9 x\n"), ["unknown-check"]);
        assert_eq!(codes("# palisade:ignore\n"), ["unknown-check"]);
        assert!(codes("a: palisade:ignore RUN-001 x\n").is_empty());
        let many = "a: 1 # palisade:ignore RUN-001 x\n".repeat(COMMENTS_MAX + 5);
        let (found, problems) = read(&many, "f", false, &|_| false);
        assert_eq!((found.len(), problems.len()), (COMMENTS_MAX, 1));
    }
}
