//! Conditions as text that people read, and that parses to the same tree again.
//!
//! The canonical text of [`crate::ast`] is Falco's and loses what it does not need (empty
//! text, quotes around parentheses). This one keeps it, and breaks lines by structure.

use std::fmt::Write as _;

use crate::ast::{Comparison, Expr, FieldUse, Operand, Quoted, Relation, Right};

/// Longest line that is not broken, in characters, where there is a choice.
const LINE_CHARS: usize = 88;

/// Blanks by which each level is indented.
const INDENT: usize = 2;

/// `expr` on one line.
pub fn one_line(expr: &Expr) -> String {
    let mut out = String::new();
    write_nested(expr, &mut out);
    // The outermost parentheses of `and` and `or` say nothing.
    if matches!(expr, Expr::And(..) | Expr::Or(..)) {
        out[1..out.len() - 1].to_owned()
    } else {
        out
    }
}

/// `expr` over several lines: one operand of `and` and `or` each, deeper ones indented,
/// long lists wrapped. The recursion is as deep as the tree, which whoever built it bounded.
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    match expr {
        Expr::And(children, _) => write_children(children, "and", 0, &mut out),
        Expr::Or(children, _) => write_children(children, "or", 0, &mut out),
        _ => write_pretty(expr, 0, 0, &mut out),
    }
    out
}

/// `expr` with `and` within `and`, and `or` within `or`, made one, as macros bring them in.
/// It means the same; its canonical text is another.
pub fn flattened(expr: &Expr) -> Expr {
    let all = |children: &[Expr], nested: fn(Expr) -> Result<Vec<Expr>, Expr>| {
        let mut out = Vec::with_capacity(children.len());
        for child in children {
            match nested(flattened(child)) {
                Ok(inner) => out.extend(inner),
                Err(child) => out.push(child),
            }
        }
        out
    };
    match expr {
        Expr::And(children, position) => {
            let nested = |child| match child {
                Expr::And(inner, _) => Ok(inner),
                other => Err(other),
            };
            Expr::And(all(children, nested), *position)
        }
        Expr::Or(children, position) => {
            let nested = |child| match child {
                Expr::Or(inner, _) => Ok(inner),
                other => Err(other),
            };
            Expr::Or(all(children, nested), *position)
        }
        Expr::Not(child, position) => Expr::Not(Box::new(flattened(child)), *position),
        Expr::Macro(..) | Expr::Exists(..) | Expr::Compare(..) => expr.clone(),
    }
}

fn write_children(children: &[Expr], word: &str, indent: usize, out: &mut String) {
    for (i, child) in children.iter().enumerate() {
        if i > 0 {
            let _ = write!(out, "\n{:indent$}{word} ", "");
        }
        let lead = if i > 0 { word.len() + 1 } else { 0 };
        write_pretty(child, indent, indent + lead, out);
    }
}

/// `column` is where the line stands, `indent` where the next ones begin.
fn write_pretty(expr: &Expr, indent: usize, column: usize, out: &mut String) {
    let mut line = String::new();
    write_nested(expr, &mut line);
    if column + line.chars().count() <= LINE_CHARS {
        out.push_str(&line);
        return;
    }
    match expr {
        Expr::And(children, _) => write_group(children, "and", indent, out),
        Expr::Or(children, _) => write_group(children, "or", indent, out),
        Expr::Not(child, _) => {
            out.push_str("not ");
            match &**child {
                Expr::Not(..) => {
                    out.push('(');
                    write_pretty(child, indent, column + 5, out);
                    out.push(')');
                }
                child => write_pretty(child, indent, column + 4, out),
            }
        }
        Expr::Compare(comparison, _) => write_long_comparison(comparison, indent, out),
        Expr::Macro(..) | Expr::Exists(..) => out.push_str(&line),
    }
}

fn write_group(children: &[Expr], word: &str, indent: usize, out: &mut String) {
    let inner = indent + INDENT;
    let _ = write!(out, "(\n{:inner$}", "");
    write_children(children, word, inner, out);
    let _ = write!(out, "\n{:indent$})", "");
}

/// A comparison with its list wrapped.
fn write_long_comparison(comparison: &Comparison, indent: usize, out: &mut String) {
    let Right::List(values, _) = &comparison.right else {
        return write_comparison(comparison, out);
    };
    write_operand(&comparison.left, out);
    let _ = write!(out, " {} (", comparison.operator);
    let inner = indent + 2 * INDENT;
    let mut column = usize::MAX;
    for (i, value) in values.iter().enumerate() {
        let mut text = quoted(value);
        if i + 1 < values.len() {
            text.push(',');
        }
        let n_chars = text.chars().count();
        if column.saturating_add(n_chars + 1) > LINE_CHARS {
            let _ = write!(out, "\n{:inner$}{text}", "");
            column = inner + n_chars;
        } else {
            let _ = write!(out, " {text}");
            column += n_chars + 1;
        }
    }
    let _ = write!(out, "\n{:indent$})", "");
}

fn write_nested(expr: &Expr, out: &mut String) {
    match expr {
        Expr::And(children, _) => write_joined(children, " and ", out),
        Expr::Or(children, _) => write_joined(children, " or ", out),
        Expr::Not(child, _) => {
            out.push_str("not ");
            // Repeated `not`s cancel each other in the grammar; parentheses keep them.
            let is_not = matches!(**child, Expr::Not(..));
            out.push_str(if is_not { "(" } else { "" });
            write_nested(child, out);
            out.push_str(if is_not { ")" } else { "" });
        }
        Expr::Macro(name, _) => out.push_str(name),
        Expr::Exists(operand, _) => {
            write_operand(operand, out);
            out.push_str(" exists");
        }
        Expr::Compare(comparison, _) => write_comparison(comparison, out),
    }
}

fn write_joined(children: &[Expr], word: &str, out: &mut String) {
    out.push('(');
    for (i, child) in children.iter().enumerate() {
        out.push_str(if i > 0 { word } else { "" });
        write_nested(child, out);
    }
    out.push(')');
}

fn write_comparison(comparison: &Comparison, out: &mut String) {
    use Relation as R;
    write_operand(&comparison.left, out);
    let _ = write!(out, " {} ", comparison.operator);
    match &comparison.right {
        // The grammar takes bare numbers only after these.
        Right::Value(value, _)
            if matches!(
                comparison.operator.relation,
                R::Less | R::LessOrEqual | R::Greater | R::GreaterOrEqual
            ) =>
        {
            out.push_str(value);
        }
        Right::Value(value, _) => out.push_str(&quoted(value)),
        Right::Operand(operand) => write_operand(operand, out),
        Right::List(values, _) => {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            let _ = write!(out, "({})", values.join(", "));
        }
    }
}

fn write_operand(operand: &Operand, out: &mut String) {
    match operand {
        Operand::Field(FieldUse { name, argument, .. }) => {
            out.push_str(name);
            write_argument(argument.as_deref(), out);
        }
        Operand::Literal(text, _) => write_quoted(text, out),
        Operand::List(elements, _) => write_operands(elements, out),
        Operand::Transform(transform) => {
            out.push_str(transform.transformer.name());
            write_operands(&transform.arguments, out);
            write_argument(transform.selector.as_deref(), out);
        }
    }
}

fn write_operands(operands: &[Operand], out: &mut String) {
    out.push('(');
    for (i, operand) in operands.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write_operand(operand, out);
    }
    out.push(')');
}

fn write_argument(argument: Option<&str>, out: &mut String) {
    let Some(text) = argument else { return };
    out.push('[');
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if !text.is_empty() && text.chars().all(is_word) {
        out.push_str(text);
    } else {
        write_quoted(text, out);
    }
    out.push(']');
}

/// A value, in quotes if it would not be read as itself without.
fn quoted(text: &str) -> String {
    // A backslash is itself outside of quotes only.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:*+%@<>~^?!#&;|[]{}$\\".contains(c);
    let is_keyword = ["and", "or", "not"].iter().any(|word| {
        text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    });
    if !text.is_empty() && !is_keyword && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut out = String::new();
    write_quoted(text, &mut out);
    out
}

fn write_quoted(text: &str, out: &mut String) {
    let mut escaped = Quoted(text).to_string();
    if escaped.ends_with("\\\\\"") {
        // A backslash before the closing quote hides it, escaped or not; one before a blank
        // is a backslash.
        escaped.truncate(escaped.len() - 2);
        escaped.push_str(" \"");
    }
    if escaped.starts_with('"') && text != escaped {
        out.push_str(&escaped);
    } else {
        let _ = write!(out, "\"{text}\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse_condition;

    #[track_caller]
    fn check(condition: &str, expected: &str) {
        let expr = parse_condition(condition).unwrap();
        assert_eq!(pretty(&expr), expected);
        for text in [pretty(&expr), one_line(&expr)] {
            let again = parse_condition(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(again.to_string(), expr.to_string(), "{text}");
        }
    }

    #[test]
    fn short_conditions_stay_on_their_lines() {
        check("evt.type=open", "evt.type = open");
        check("not evt.type exists", "not evt.type exists");
        check("a.b in (c,'d e',\"\")", "a.b in (c, \"d e\", \"\")");
        check("a.b = '' and c.d = 'x)'", "a.b = \"\"\nand c.d = \"x)\"");
        check("a.b[c] = 1 or d.e[\"[x]\"] > 0x1F", "a.b[c] = 1\nor d.e[\"[x]\"] > 0x1F");
        check("join('-',(a.b,c.d)) = x", "join(\"-\", (a.b, c.d)) = x");
        check("a.b = val(c.d) and not(not (e.f=1))", "a.b = val(c.d)\nand not (not e.f = 1)");
        check("a.b endswith \\ and c.d = \"x \\ \"", "a.b endswith \\\nand c.d = \"x \\ \"");
        check("a.b in (\"and\", 'or x')", "a.b in (\"and\", \"or x\")");
        check("spawned and (a or b)", "spawned\nand (a or b)");
    }

    #[test]
    fn nested_groups_are_flattened() {
        let expr = parse_condition(
            "(a.b = 1 and (c.d = 2 and e.f = 3)) and not ((g.h = 4 or i.j = 5) or k.l = 6)",
        );
        let flat = flattened(&expr.unwrap());
        assert_eq!(
            one_line(&flat),
            "a.b = 1 and c.d = 2 and e.f = 3 and not (g.h = 4 or i.j = 5 or k.l = 6)"
        );
    }

    #[test]
    fn long_groups_and_lists_are_broken() {
        check(
            "evt.type in (open, openat) and not (proc.name in (aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbb, \
             cccccccccccccccc, dddddddddddddddd, eeeeeeeeeeeeeeee) or fd.name startswith /etc/x)",
            "evt.type in (open, openat)\nand not (\n  proc.name in (\n      aaaaaaaaaaaaaaaa, \
             bbbbbbbbbbbbbbbb, cccccccccccccccc, dddddddddddddddd,\n      eeeeeeeeeeeeeeee\n  )\n  \
             or fd.name startswith /etc/x\n)",
        );
    }
}
