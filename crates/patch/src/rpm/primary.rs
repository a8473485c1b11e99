//! `primary.xml`: the packages of a repository.

use std::io::{self, BufRead};

use palisade_base::Digest;
use palisade_packages::xml::{self, Attributes, EVENT_BYTES_MAX, Node};

use super::RELATIONS_MAX;
use super::repomd::is_below;
use super::sum::Sum;
use crate::index::{Available, PACKAGES_MAX};
use crate::relation::{Relation, rpm_choice};

/// Relations of all packages of an index that are kept.
const INDEX_RELATIONS_MAX: usize = 5_000_000;

/// A package while it is read.
#[derive(Default)]
struct Entry {
    name: String,
    architecture: String,
    version: String,
    checksum: Option<Sum>,
    algorithm: String,
    address: String,
    size: Option<u64>,
    depends: Vec<Relation>,
    breaks: Vec<Relation>,
    provides: Vec<Relation>,
    n_relations: usize,
}

/// `[EPOCH:]VERSION[-RELEASE]` of the attributes of an element.
pub(super) fn version(attributes: &Attributes, names: [&str; 3]) -> String {
    let [epoch, version, release] = names.map(|name| attributes.get(name));
    let prefix = if matches!(epoch, "" | "0") { String::new() } else { format!("{epoch}:") };
    let suffix = if release.is_empty() { String::new() } else { format!("-{release}") };
    format!("{prefix}{version}{suffix}")
}

impl Entry {
    fn relation(&mut self, list: &str, attributes: &Attributes) {
        self.n_relations += 1;
        let operator = match attributes.get("flags") {
            "LT" => "<",
            "LE" => "<=",
            "EQ" => "=",
            "GE" => ">=",
            "GT" => ">",
            _ => "",
        };
        let bound = version(attributes, ["epoch", "ver", "rel"]);
        let Some(choice) = rpm_choice(attributes.get("name"), operator, &bound) else { return };
        match list {
            "requires" => self.depends.push(vec![choice]),
            // What a package obsoletes would be removed with its upgrade.
            "conflicts" | "obsoletes" => self.breaks.push(vec![choice]),
            "provides" => self.provides.push(vec![choice]),
            _ => {}
        }
    }

    /// The package; nothing when it is none, or lies outside the repository.
    fn finish(self) -> Option<Available> {
        let checksum = self.checksum?;
        let digest = match checksum.algorithm.as_str() {
            "sha256" => Some(checksum.text().parse::<Digest>().ok()?),
            _ => None,
        };
        let is_whole =
            ![&self.name, &self.architecture, &self.version].iter().any(|it| it.is_empty());
        (is_whole && is_below(&self.address) && self.n_relations <= RELATIONS_MAX).then(|| {
            Available {
                name: self.name,
                // Advisories speak of each package that a source builds, in its own version.
                source_version: self.version.clone(),
                version: self.version,
                architecture: self.architecture,
                address: self.address,
                size: self.size.unwrap_or(0),
                digest,
                checksum: checksum.text(),
                depends: self.depends,
                breaks: self.breaks,
                provides: self.provides,
                ..Available::default()
            }
        })
    }
}

/// What an index has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Primary {
    /// The packages that are wanted.
    pub packages: Vec<Available>,
    /// All packages.
    pub n_packages: u64,
    /// Wanted ones that cannot be read, that lie elsewhere or whose checksum is too weak.
    pub n_bad: u64,
}

/// Reads an index, and keeps the packages whose names are wanted.
pub fn read_primary(input: impl BufRead, wanted: &dyn Fn(&str) -> bool) -> io::Result<Primary> {
    let (mut found, mut entry, mut list) = (Primary::default(), None::<Entry>, String::new());
    let (mut text, mut is_primary, mut n_relations) = (String::new(), false, 0);
    xml::each(input, |error| error, &mut |node| {
        match node {
            Node::Open(element, attributes) => {
                text.clear();
                match (element, &mut entry) {
                    ("metadata", _) => is_primary = true,
                    ("package", None) => entry = Some(Entry::default()),
                    ("version", Some(entry)) => {
                        entry.version = version(attributes, ["epoch", "ver", "rel"]);
                    }
                    ("checksum", Some(entry)) => {
                        entry.algorithm = attributes.get("type").to_string();
                    }
                    ("size", Some(entry)) => entry.size = attributes.get("package").parse().ok(),
                    ("location", Some(entry)) => {
                        // Another repository's, of which nothing is known.
                        let is_own = attributes.get("base").is_empty();
                        entry.address = if is_own { attributes.get("href") } else { "" }.into();
                    }
                    ("requires" | "conflicts" | "obsoletes" | "provides", Some(_)) => {
                        list = element.to_string();
                    }
                    ("entry", Some(entry))
                        if entry.n_relations <= RELATIONS_MAX && wanted(&entry.name) =>
                    {
                        n_relations += 1;
                        if n_relations > INDEX_RELATIONS_MAX {
                            let why = format!("it has more than {INDEX_RELATIONS_MAX} relations");
                            return Err(io::Error::other(why));
                        }
                        entry.relation(&list, attributes);
                    }
                    _ => {}
                }
            }
            Node::Text(more) if text.len() < EVENT_BYTES_MAX => text.push_str(more),
            Node::Text(_) => {}
            Node::Close(element) => match (element, &mut entry) {
                ("name", Some(entry)) => entry.name = text.trim().to_string(),
                ("arch", Some(entry)) => entry.architecture = text.trim().to_string(),
                ("checksum", Some(entry)) => {
                    entry.checksum = Sum::new(&entry.algorithm, &text);
                }
                ("requires" | "conflicts" | "obsoletes" | "provides", Some(_)) => list.clear(),
                ("package", Some(_)) => {
                    found.n_packages += 1;
                    let Some(entry) = entry.take().filter(|entry| wanted(&entry.name)) else {
                        return Ok(());
                    };
                    match entry.finish() {
                        Some(one) if one.architecture == "src" => {}
                        Some(one) if found.packages.len() < PACKAGES_MAX => {
                            found.packages.push(one);
                        }
                        _ => found.n_bad += 1,
                    }
                }
                _ => {}
            },
        }
        Ok(())
    })?;
    if !is_primary {
        return Err(io::Error::other("it is no index of packages"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, more: &str) -> String {
        format!(
            "<package type='rpm'><name>{name}</name><arch>x86_64</arch><version epoch='1' ver='2.0' rel='3.el9'/>\
             <checksum type='sha256' pkgid='YES'>{}</checksum><size package='7' installed='9'/>\
             <location href='Packages/{name}.rpm'/><format><rpm:requires>{more}</rpm:requires>\
             <rpm:obsoletes><rpm:entry name='old' flags='LT' epoch='0' ver='2'/></rpm:obsoletes>\
             <rpm:provides><rpm:entry name='{name}' flags='EQ' epoch='1' ver='2.0' rel='3.el9'/></rpm:provides>\
             <file>/usr/bin/x</file></format></package>",
            "0".repeat(64)
        )
    }

    #[test]
    fn packages_are_read() {
        let needs = "<rpm:entry name='libc.so.6(GLIBC_2.34)(64bit)'/><rpm:entry name='/bin/sh'/>\
                     <rpm:entry name='(a if b)'/><rpm:entry name='c' flags='GE' epoch='0' ver='1' rel='2'/>";
        let whole = |inner: &str| {
            format!("<metadata xmlns='c' xmlns:rpm='r' packages='2'>{inner}</metadata>")
        };
        let text = whole(&(package("a", needs) + &package("b", "")));
        let found = read_primary(text.as_bytes(), &|name| name == "a").unwrap();
        assert_eq!((found.packages.len(), found.n_packages, found.n_bad), (1, 2, 0));
        let one = &found.packages[0];
        assert_eq!((&*one.version, &*one.address, one.size), ("1:2.0-3.el9", "Packages/a.rpm", 7));
        assert_eq!((one.depends.len(), one.breaks.len(), one.provides.len()), (2, 1, 1));
        assert_eq!(one.depends[1][0].bound, Some((">=".to_string(), "1-2".to_string())));
        let check = |from: &str, to: &str| {
            let found =
                read_primary(text.replace(from, to).as_bytes(), &|name| name == "a").unwrap();
            assert_eq!((found.packages.len(), found.n_bad), (0, 1), "{to}");
        };
        check("type='sha256'", "type='sha'");
        check("href='Packages/a.rpm'", "href='../a.rpm'");
        check("href='Packages/a.rpm'", "href='a.rpm' xml:base='https://x'");
        check("<arch>x86_64</arch>", "");
        for bad in ["", "<a/>", &text[..text.len() - 9]] {
            assert!(read_primary(bad.as_bytes(), &|_| true).is_err(), "{bad}");
        }
        let many = package("a", &"<rpm:entry name='x'/>".repeat(RELATIONS_MAX + 1));
        assert_eq!(read_primary(whole(&many).as_bytes(), &|_| true).unwrap().n_bad, 1);
    }
}
