//! Functions of a Rust program by its symbol table. Rust inlines without leaving a name, so that
//! a function is present or in doubt, never absent.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use object::{Object as _, ObjectSymbol as _, SymbolKind};
use palisade_model::PackageKind;
use palisade_model::symbols::Program;

use super::Hashes;

/// Symbols that are looked at.
const SYMBOLS_MAX: usize = 4 << 20;
/// Longer names are not looked at, in bytes; demangled ones neither.
const NAME_BYTES_MAX: usize = 4 << 10;

/// The functions of those of its `crates` that a program has.
pub(in crate::program) fn functions<'a>(
    path: &str,
    bytes: &[u8],
    crates: impl Iterator<Item = &'a str>,
) -> Program {
    let crates: HashSet<String> = crates.map(|name| name.replace('-', "_")).collect();
    let mut hashes = Hashes::default();
    let mut n_symbols = 0_u64;
    if let Ok(elf) = object::File::parse(bytes) {
        for symbol in elf.symbols().chain(elf.dynamic_symbols()).take(SYMBOLS_MAX) {
            if symbol.kind() != SymbolKind::Text || symbol.is_undefined() {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            let Some(name) = demangle(name) else { continue };
            n_symbols += 1;
            for path in paths(&name) {
                if let Some(of) = path.split("::").next().filter(|of| crates.contains(*of)) {
                    hashes.add(of, &path);
                }
            }
        }
    }
    let doubt = if n_symbols == 0 {
        "the program has no symbol table"
    } else {
        "no symbol has the name, but the compiler may have inlined the function"
    };
    hashes.into_program(path, PackageKind::Cargo, Some(doubt.to_string()))
}

/// Text up to a bound.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > NAME_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

fn demangle(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = rustc_demangle::try_demangle(name).ok()?;
    let mut text = Bounded(String::new());
    write!(text, "{name:#}").ok()?;
    Some(text.0)
}

/// The paths under which a function may be asked for: a method of a trait under the type and
/// under the trait.
fn paths(name: &str) -> Vec<String> {
    let found: Vec<String> = match implementation(name) {
        Some((types, rest)) => {
            types.iter().map(|of| format!("{}{}", plain(of), plain(rest))).collect()
        }
        None => vec![plain(name)],
    };
    found.into_iter().filter(|path| !path.is_empty()).collect()
}

/// `<T as Trait>::f`, `<T>::f` and `path::<impl Trait for T>::f`: what it is of, and the rest.
fn implementation(name: &str) -> Option<(Vec<&str>, &str)> {
    let is_impl = name.find("::<impl ").map(|at| at + 2);
    let open = is_impl.or_else(|| name.starts_with('<').then_some(0))?;
    let inner = name.get(open + 1..)?;
    let close = closing(inner)?;
    let (inner, rest) = (inner.get(..close)?, inner.get(close + 1..)?);
    let inner = inner.strip_prefix("impl ").unwrap_or(inner);
    let types = [" as ", " for "].iter().find_map(|word| {
        let at = top_level(inner, word)?;
        Some(vec![inner.get(..at)?, inner.get(at + word.len()..)?])
    });
    Some((types.unwrap_or_else(|| vec![inner]), rest))
}

/// The place of the bracket that closes one before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let mut last = b' ';
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            // An arrow closes nothing.
            b'>' if last != b'-' && last != b'=' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        last = byte;
    }
    None
}

/// The place of `word` outside all brackets.
fn top_level(text: &str, word: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = text.get(from..)?.find(word)? + from;
        match text.get(from..at)?.find('<') {
            Some(open) => {
                let inner = from + open + 1;
                from = inner + closing(text.get(inner..)?)? + 1;
            }
            None => return Some(at),
        }
    }
}

/// A path without generic arguments, references and what is in a closure.
pub(super) fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut depth = 0_usize;
    let mut last = ' ';
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            '>' if last != '-' && last != '=' => depth = depth.saturating_sub(1),
            c if depth == 0 => out.push(c),
            _ => {}
        }
        last = c;
    }
    let out = out.trim_start_matches(['&', '*', '[', '(']);
    let out = ["mut ", "const ", "dyn "].iter().fold(out, |out, word| out.trim_start_matches(word));
    let parts = out.split("::").take_while(|part| !part.starts_with('{'));
    let parts: Vec<&str> = parts.map(|part| part.trim_end_matches([']', ')'])).collect();
    // A method's rest begins with the separator, and a turbofish leaves an empty part.
    let lead = if out.starts_with("::") { "::" } else { "" };
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { String::new() } else { format!("{lead}{}", parts.join("::")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_functions() {
        let check = |name: &str, expected: &[&str]| assert_eq!(paths(name), expected, "{name}");
        check("a::b::c", &["a::b::c"]);
        check("a::V<T>::grow", &["a::V::grow"]);
        check("<a::V<[u8; 4]>>::grow", &["a::V::grow"]);
        check("<a::V<T> as b::Ext<fn() -> u8>>::run::<u8>", &["a::V::run", "b::Ext::run"]);
        check("a::m::<impl b::Tr for a::T>::f", &["b::Tr::f", "a::T::f"]);
        check("a::f::{{closure}}", &["a::f"]);
        check("a::f::{closure#0}::g", &["a::f"]);
        check("<&mut a::T as b::Tr>::f", &["a::T::f", "b::Tr::f"]);
        check("<<a::T as b::C>::X as d::Y>::f", &["::X::f", "d::Y::f"]);
        for odd in ["", "<", "<>", "<a", "::<impl ", ">", "a::<", "<a as ", "<a>>", "<-><"] {
            let _ = paths(odd);
        }
    }
}
