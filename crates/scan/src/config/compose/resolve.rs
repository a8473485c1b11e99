//! `${…}` and `extends` of Compose files.

use std::collections::HashMap;

use palisade_base::yaml::{Node, Place, Problem, ProblemKind, Value, cut};

use super::super::tree::{self, Look};
use super::SERVICES_MAX;

/// Services of which one extends the next.
pub const EXTENDS_MAX: usize = 16;
/// Nodes that `extends` may copy, in all.
pub const NODES_MAX: usize = 400_000;
/// Other files that are read for one file.
const FILES_MAX: usize = 32;
/// Bytes of a value with its variables replaced.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Variables by name, of a file `.env`.
pub type Variables = HashMap<String, String>;

/// Reads a file of the form of `.env`: `NAME=value`, with comments and quotes.
pub fn parse_variables(text: &str) -> Variables {
    /// Variables of one file.
    const VARIABLES_MAX: usize = 10_000;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .take(VARIABLES_MAX)
        .filter_map(|line| {
            let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
            let value = value.trim();
            let quoted = ['"', '\''].iter().find_map(|quote| {
                value.strip_prefix(*quote)?.split(*quote).next().map(str::to_string)
            });
            let plain = || value.split(" #").next().unwrap_or_default().trim().to_string();
            Some((name.trim().to_string(), quoted.unwrap_or_else(plain)))
        })
        .collect()
}

/// A text whose variables are replaced; those that are not known stay as written.
pub(super) fn interpolate(text: &str, variables: &Variables) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (inner, after) = match rest.strip_prefix('{') {
            Some(braced) => {
                let Some(end) = closing(braced) else {
                    out.push('$');
                    continue;
                };
                (&braced[..end], &braced[end + 1..])
            }
            None => rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len())),
        };
        let (name, operator) = inner.split_at(inner.find(|c| !is_name(c)).unwrap_or(inner.len()));
        let value = variables.get(name);
        let (operator, counts_empty) = match operator.strip_prefix(':') {
            Some(rest) => (rest, false),
            None => (operator, true),
        };
        let set = value.filter(|value| counts_empty || !value.is_empty());
        // A default may hold variables itself; they stay as written.
        match (operator.chars().next(), set) {
            (Some('+'), Some(_)) | (Some('-'), None) => out.push_str(&operator[1..]),
            (Some('+'), None) => {}
            (_, Some(value)) => out.push_str(value),
            _ if name.is_empty() => out.push('$'),
            _ => {
                out.push_str("${");
                out.push_str(inner);
                out.push('}');
            }
        }
        rest = after;
        if out.len() > VALUE_BYTES_MAX {
            return text.to_string();
        }
    }
    out.push_str(rest);
    out
}

/// Where the brace that was opened is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

pub(super) struct Resolver<'a> {
    variables: &'a Variables,
    load: &'a dyn Fn(&str) -> Result<String, String>,
    /// Other files by their names; `None` for those that could not be read.
    files: HashMap<String, Option<Node>>,
    n_nodes: usize,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        variables: &'a Variables,
        load: &'a dyn Fn(&str) -> Result<String, String>,
    ) -> Self {
        Self { variables, load, files: HashMap::new(), n_nodes: 0, problems: Vec::new() }
    }

    fn problem(&mut self, kind: ProblemKind, place: Place, message: String, help: &str) {
        let help = Some(help.to_string()).filter(|help| !help.is_empty());
        self.problems.push(Problem { kind, place, message, help });
    }

    /// The services with their names and places, `extends` and variables resolved.
    pub(super) fn services(&mut self, document: &Node) -> Vec<(String, Place, Node)> {
        let entries = document.get("services").entries();
        if entries.len() > SERVICES_MAX {
            let place = document.place;
            let message = format!("more than {SERVICES_MAX} services");
            self.problem(ProblemKind::TooLarge, place, message, "split the file");
        }
        let mut found = Vec::new();
        for (key, service) in entries.iter().take(SERVICES_MAX) {
            let mut node = match self.extended(document, service, EXTENDS_MAX) {
                Some(node) => node,
                None => service.clone(),
            };
            self.replace(&mut node);
            found.push((key.text.clone(), key.place, node));
        }
        found
    }

    /// `service` over what it extends; `None` where it extends nothing, or that failed.
    fn extended(&mut self, document: &Node, service: &Node, depth: usize) -> Option<Node> {
        let extends = service.get("extends")?;
        let place = extends.place;
        if depth == 0 {
            let message = format!("more than {EXTENDS_MAX} services extend each other");
            self.problem(
                ProblemKind::TooLarge,
                place,
                message,
                "do services extend each other in a circle?",
            );
            return None;
        }
        let name = extends.text().or(extends.text_of("service"))?;
        let name = interpolate(name, self.variables);
        let file = extends.text_of("file").map(|file| interpolate(file, self.variables));
        let base = match &file {
            None => {
                let base = document.get("services").get(&name);
                let whole = base.and_then(|base| self.extended(document, base, depth - 1));
                whole.or_else(|| base.cloned())
            }
            Some(file) => self.other(file, &name, place, depth),
        };
        let Some(base) = base else {
            if file.is_none() {
                let message = format!("there is no service `{}` to extend", cut(&name));
                self.problem(ProblemKind::Syntax, place, message, "");
            }
            return None;
        };
        self.n_nodes += size(&base) + size(service);
        if self.n_nodes > NODES_MAX {
            let message = format!("`extends` repeats more than {NODES_MAX} values");
            self.problem(ProblemKind::TooLarge, place, message, "write the services out");
            return None;
        }
        Some(overlay(base, service))
    }

    /// A service of another file; all of it stands where it is referred to.
    fn other(&mut self, file: &str, name: &str, place: Place, depth: usize) -> Option<Node> {
        if !self.files.contains_key(file) {
            let loaded = if self.files.len() < FILES_MAX {
                (self.load)(file)
            } else {
                Err(format!("more than {FILES_MAX} files are extended"))
            };
            let document = match loaded {
                Ok(text) => tree::parse(&text).0.into_iter().next(),
                Err(reason) => {
                    let message = format!("`{}` was not read: {reason}", cut(file));
                    self.problem(
                        ProblemKind::Unsupported,
                        place,
                        message,
                        "what the service takes from there is not judged",
                    );
                    None
                }
            };
            self.files.insert(file.to_string(), document);
        }
        let document = self.files.get(file).cloned().flatten()?;
        let Some(base) = document.get("services").get(name) else {
            let message = format!("`{}` has no service `{}`", cut(file), cut(name));
            self.problem(ProblemKind::Syntax, place, message, "");
            return None;
        };
        let mut whole = self.extended(&document, base, depth - 1).unwrap_or_else(|| base.clone());
        relocate(&mut whole, place);
        Some(whole)
    }

    fn replace(&self, node: &mut Node) {
        match &mut node.value {
            Value::Scalar { text, .. } if text.contains('$') => {
                *text = interpolate(text, self.variables);
            }
            Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| self.replace(item)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| self.replace(value)),
        }
    }
}

/// Nodes of a tree, which is as deep as its reader allows.
fn size(node: &Node) -> usize {
    1 + node.items().iter().map(size).sum::<usize>()
        + node.entries().iter().map(|(_, value)| 1 + size(value)).sum::<usize>()
}

fn relocate(node: &mut Node, place: Place) {
    node.place = place;
    match &mut node.value {
        Value::Scalar { .. } => {}
        Value::List(items) => items.iter_mut().for_each(|item| relocate(item, place)),
        Value::Map(entries) => {
            for (key, value) in entries {
                key.place = place;
                relocate(value, place);
            }
        }
    }
}

/// `own` over `base`: mappings are joined, lists follow each other, the rest is replaced.
fn overlay(base: Node, own: &Node) -> Node {
    let value = match (base.value, &own.value) {
        (Value::Map(mut entries), Value::Map(over)) => {
            for (key, value) in over {
                let known = entries.iter().position(|(known, _)| known.text == key.text);
                match known {
                    Some(index) => {
                        let (_, old) = entries.remove(index);
                        entries.insert(index, (key.clone(), overlay(old, value)));
                    }
                    None => entries.push((key.clone(), value.clone())),
                }
            }
            Value::Map(entries)
        }
        (Value::List(mut items), Value::List(over)) => {
            items.extend(over.iter().cloned());
            Value::List(items)
        }
        (_, own) => own.clone(),
    };
    Node { place: own.place, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_compose_does() {
        let variables = parse_variables("A=1\n# c\nexport B='two #' \nC=\nD=x # y\n");
        let check = |text: &str, expected: &str| {
            assert_eq!(interpolate(text, &variables), expected, "{text}");
        };
        check("$A-${B}", "1-two #");
        check("${C:-d}${C-e}${D}", "dx");
        check("${N:-d}${N-e}${N:+f}${A:+f}", "def");
        check("$$A ${N} $N ${N:?err}", "$A ${N} ${N} ${N:?err}");
        check("${N:-${A}} ${", "${A} ${");
        check("a$", "a$");
    }

    fn services(text: &str) -> (Vec<(String, Place, Node)>, Vec<String>) {
        let documents = tree::parse(text).0;
        let load = |file: &str| match file {
            "base.yaml" => {
                Ok("services:\n  base:\n    privileged: true\n    cap_add: [A]\n".into())
            }
            _ => Err("no such file".to_string()),
        };
        let variables = Variables::new();
        let mut resolver = Resolver::new(&variables, &load);
        let found = resolver.services(&documents[0]);
        (found, resolver.problems.into_iter().map(|p| p.message).collect())
    }

    #[test]
    fn services_extend_services() {
        let text = "services:\n  a:\n    extends: b\n    cap_add: [X]\n    user: '1'\n  b:\n    extends: {file: base.yaml, service: base}\n    cap_add: [B]\n    user: '2'\n";
        let (found, problems) = services(text);
        assert!(problems.is_empty(), "{problems:?}");
        let a = &found[0].2;
        let caps: Vec<&str> = a.get("cap_add").items().iter().filter_map(Look::text).collect();
        assert_eq!((caps, a.text_of("user")), (vec!["A", "B", "X"], Some("1")));
        let privileged = a.get("privileged").unwrap();
        assert_eq!((privileged.truth(), privileged.place.line), (Some(true), 7));
    }

    #[test]
    fn extending_is_bounded() {
        use std::fmt::Write as _;
        let (_, problems) = services("services:\n  a: {extends: b}\n  b: {extends: a}\n");
        assert!(problems.iter().all(|p| p.contains("extend each other")), "{problems:?}");
        let (_, problems) =
            services("services:\n  a: {extends: z}\n  b: {extends: {file: x, service: y}}\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
        // Each service holds what it extends twice over.
        let mut text = String::from("services:\n  s0: {a: [1, 2, 3, 4, 5, 6, 7, 8, 9]}\n");
        for i in 1..4_000 {
            let _ =
                writeln!(text, "  s{i}: {{extends: s{}, b{i}: [1, 2, 3, 4, 5, 6, 7, 8]}}", i - 1);
        }
        let (_, problems) = services(&text);
        assert!(problems.iter().any(|p| p.contains("extends") || p.contains("extend")));
    }
}
