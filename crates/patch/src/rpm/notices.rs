//! `updateinfo.xml`: the notices with which packages were published.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};

use palisade_packages::xml::{self, EVENT_BYTES_MAX, Node};

use super::primary::version;

/// Packages of all notices that are kept.
const ENTRIES_MAX: usize = 200_000;
/// Bytes of a notice's name, which is kept for each of its packages.
const ID_BYTES_MAX: usize = 1 << 10;

/// Name, version and architecture.
pub(crate) type Build = (String, String, String);

/// Reads the notices: for each build whose name is wanted, those that have it.
pub fn read_notices(
    input: impl BufRead,
    wanted: &dyn Fn(&str) -> bool,
) -> io::Result<BTreeMap<Build, BTreeSet<String>>> {
    let (mut found, mut n_entries): (BTreeMap<Build, BTreeSet<String>>, _) = (BTreeMap::new(), 0);
    let (mut id, mut text) = (String::new(), String::new());
    let (mut is_updates, mut in_packages) = (false, false);
    xml::each(input, |error| error, &mut |node| {
        match node {
            Node::Open(element, attributes) => {
                text.clear();
                match element {
                    "updates" => is_updates = true,
                    "update" => id.clear(),
                    "pkglist" => in_packages = true,
                    "package" if wanted(attributes.get("name")) => {
                        n_entries += 1;
                        if n_entries > ENTRIES_MAX {
                            let why = format!("it has more than {ENTRIES_MAX} packages");
                            return Err(io::Error::other(why));
                        }
                        let build = (
                            attributes.get("name").to_string(),
                            version(attributes, ["epoch", "version", "release"]),
                            attributes.get("arch").to_string(),
                        );
                        found.entry(build).or_default().insert(id.clone());
                    }
                    _ => {}
                }
            }
            Node::Text(more) if text.len() < EVENT_BYTES_MAX => text.push_str(more),
            Node::Close("id") if !in_packages && id.is_empty() => {
                if text.len() > ID_BYTES_MAX {
                    let why = format!("a notice's name has more than {ID_BYTES_MAX} bytes");
                    return Err(io::Error::other(why));
                }
                id = text.trim().to_string();
            }
            Node::Close("pkglist") => in_packages = false,
            Node::Text(_) | Node::Close(_) => {}
        }
        Ok(())
    })?;
    if !is_updates {
        return Err(io::Error::other("it has no notices"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_name_builds() {
        let package = "<package name='a' epoch='1' version='2' release='3' arch='x86_64'><filename>f</filename></package>";
        let text = format!(
            "<updates><update type='security'><id>RHSA-1</id><references><reference id='CVE-1'/></references>\
             <pkglist><collection><id>x</id>{package}<package name='b' version='1' release='1' arch='noarch'/>\
             </collection></pkglist></update><update><id>RHSA-2</id><pkglist>{package}</pkglist></update></updates>"
        );
        let found = read_notices(text.as_bytes(), &|name| name == "a").unwrap();
        assert_eq!(found.len(), 1);
        let build = ("a".to_string(), "1:2-3".to_string(), "x86_64".to_string());
        assert_eq!(found[&build].iter().collect::<Vec<_>>(), ["RHSA-1", "RHSA-2"]);
        assert!(read_notices(&b"<a/>"[..], &|_| true).is_err());
        let many = "<package name='a'/>".repeat(ENTRIES_MAX + 1);
        let many = format!("<updates><update>{many}</update></updates>");
        assert!(read_notices(many.as_bytes(), &|_| true).is_err());
        let long = "x".repeat(ID_BYTES_MAX + 1);
        let long = format!("<updates><update><id>{long}</id></update></updates>");
        assert!(read_notices(long.as_bytes(), &|_| true).is_err());
    }
}
