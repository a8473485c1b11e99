//! Ruby: installed gems by their `*.gemspec` in `specifications/`, and `Gemfile.lock`.

use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;

/// The cataloger of Ruby's gems.
pub(super) struct Ruby;

impl Cataloger for Ruby {
    fn name(&self) -> &'static str {
        "ruby"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        // RubyGems writes one file for each installed gem; gems carry files of that name too.
        if path.name.ends_with(".gemspec") {
            return path.is_below("specifications");
        }
        matches!(path.name, "Gemfile.lock" | "gems.locked")
            && !path.is_in_package()
            && !path.is_below("vendor")
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        if file.path.ends_with(".gemspec") {
            gemspec(file, sink);
        } else {
            gemfile(file, sink);
        }
    }
}

/// Reads the assignments that RubyGems writes: `s.name = "rake".freeze`. Other specifications
/// are programs, and what they would say is not known.
fn gemspec(file: &CatalogFile<'_>, sink: &mut Sink) {
    let text = String::from_utf8_lossy(file.bytes);
    let (mut name, mut version, mut author) = (None, None, None);
    let mut licences = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once('=') else {
            continue;
        };
        let Some((_, attribute)) = left.trim().split_once('.') else {
            continue;
        };
        let right = right.trim();
        let mut values = quoted(right);
        match attribute {
            "name" if name.is_none() => name = values.next(),
            "version" if version.is_none() => version = values.next(),
            "license" | "licenses" => licences.extend(values.map(str::to_string)),
            "authors" | "author" if author.is_none() => author = values.next(),
            _ => {}
        }
    }
    let (Some(name), Some(version)) = (name, version) else {
        sink.gap(file.path, "a specification without a fixed name and version");
        return;
    };
    let mut package = file.package(PackageKind::Ruby, name, version);
    package.licences = licences;
    package.maintainer = author.map(str::to_string);
    package.files = vec![package.evidence.clone()];
    sink.add(package);
}

/// The texts in double or single quotes of `text`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(['"', '\''])?;
        let quote = rest.get(start..=start)?;
        let after = rest.get(start + 1..)?;
        let end = after.find(quote)?;
        rest = after.get(end + 1..)?;
        after.get(..end)
    })
}

/// The sections of a lock file with packages: each package has four blanks before it, what it
/// needs has six.
fn gemfile(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(text) = file.text(sink) else {
        return;
    };
    let mut in_specs = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            // Path gems are the project's own.
            in_specs = matches!(line.trim_end(), "GEM" | "GIT" | "PLUGIN SOURCE");
            continue;
        }
        let entry = line.strip_prefix("    ").filter(|entry| in_specs && !entry.starts_with(' '));
        let Some((name, rest)) = entry.and_then(|entry| entry.split_once(" (")) else {
            continue;
        };
        let version = rest.trim_end().trim_end_matches(')');
        // A platform follows: `1.13.0-x86_64-linux`. Gem versions have no hyphen.
        let version = version.split('-').next().unwrap_or_default();
        if !version.is_empty() {
            sink.add(file.declared(PackageKind::Ruby, name, version));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(quoted(text).collect::<Vec<_>>(), expected, "{text}");
        };
        check("\"rake\".freeze", &["rake"]);
        check("[\"MIT\".freeze, 'Ruby']", &["MIT", "Ruby"]);
        check("\"open", &[]);
        check("Gem::Version.new(\"1.0\")", &["1.0"]);
        check("", &[]);
    }
}
