//! .NET: `*.deps.json` beside a published program, `packages.lock.json`, and the two kinds of
//! XML that fix versions: `packages.config` and `Directory.Packages.props`.

use palisade_model::PackageKind;
use serde::Deserialize;

use super::{CatalogFile, Cataloger, FilePath, form};
use crate::Sink;

/// The cataloger of NuGet's packages.
pub(super) struct Dotnet;

#[derive(Deserialize)]
struct Deps {
    #[serde(default, deserialize_with = "form::pairs")]
    libraries: Vec<(String, Library)>,
}

#[derive(Deserialize)]
struct Library {
    #[serde(default, rename = "type", deserialize_with = "form::text")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default, deserialize_with = "form::pairs")]
    dependencies: Vec<(String, Framework)>,
}

#[derive(Deserialize)]
struct Framework(#[serde(deserialize_with = "form::pairs")] Vec<(String, Locked)>);

#[derive(Deserialize)]
struct Locked {
    #[serde(default, rename = "type", deserialize_with = "form::text")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "form::text")]
    resolved: Option<String>,
}

impl Cataloger for Dotnet {
    fn name(&self) -> &'static str {
        "dotnet"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        path.name.ends_with(".deps.json")
            || matches!(
                path.name,
                "packages.lock.json" | "packages.config" | "Directory.Packages.props"
            ) && !path.is_in_package()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        match super::file_name(file.path) {
            "packages.lock.json" => lock(file, sink),
            "packages.config" => elements(file, sink, "package", "id", "version"),
            "Directory.Packages.props" => {
                elements(file, sink, "PackageVersion", "Include", "Version");
            }
            _ => deps(file, sink),
        }
    }
}

/// The libraries that a published program was built with; projects are its own parts.
fn deps(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(deps) = file.json::<Deps>(sink) else {
        return;
    };
    for (id, library) in deps.libraries {
        if library.kind.as_deref() != Some("package") {
            continue;
        }
        match id.rsplit_once('/') {
            Some((name, version)) => sink.add(file.package(PackageKind::Nuget, name, version)),
            None => sink.gap(file.path, format!("`{id}` has no version")),
        }
    }
}

fn lock(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(lock) = file.json::<Lock>(sink) else {
        return;
    };
    for (name, locked) in lock.dependencies.into_iter().flat_map(|(_, framework)| framework.0) {
        if let (Some(version), false) = (locked.resolved, locked.kind.as_deref() == Some("Project"))
        {
            sink.add(file.declared(PackageKind::Nuget, name, version));
        }
    }
}

/// The elements `element` of an XML file, each a package by two of its attributes.
fn elements(file: &CatalogFile<'_>, sink: &mut Sink, element: &str, name: &str, version: &str) {
    let Some(text) = file.text(sink) else {
        return;
    };
    for tag in tags(text) {
        let Some(attributes) =
            tag.strip_prefix(element).filter(|a| a.starts_with(char::is_whitespace))
        else {
            continue;
        };
        if attribute(attributes, "developmentDependency") == Some("true") {
            sink.development(1);
            continue;
        }
        let found = attribute(attributes, name).zip(attribute(attributes, version));
        // Variables and ranges fix nothing.
        if let Some((name, version)) = found.filter(|(_, v)| !v.contains(['$', '[', '(', '*', ',']))
        {
            sink.add(file.declared(PackageKind::Nuget, name, version));
        }
    }
}

/// What stands between `<` and `>` outside comments.
fn tags(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('<')?;
            if let Some(comment) = after.strip_prefix("!--") {
                rest = comment.split_once("-->")?.1;
                continue;
            }
            let (tag, after) = after.split_once('>')?;
            rest = after;
            return Some(tag);
        }
    })
}

/// The value of the attribute `name` of a tag.
fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    let mut rest = tag;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = after.get(1..)?.split_once(quote)?;
        if key.trim() == name {
            return Some(value.trim()).filter(|value| !value.is_empty());
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes() {
        let tag = " Include=\"A.B\" Version = '1.0' />";
        assert_eq!(attribute(tag, "Include"), Some("A.B"));
        assert_eq!(attribute(tag, "Version"), Some("1.0"));
        assert_eq!(attribute(tag, "Other"), None);
        assert_eq!(attribute(" a=b", "a"), None);
        let found: Vec<&str> = tags("<a x='1'/> <!-- <b> --> <c>text</c> <open").collect();
        assert_eq!(found, ["a x='1'/", "c", "/c"]);
    }
}
