//! What the machine calls the ids of the user's namespace (`user_namespaces(7)`).

use std::path::Path;

use palisade_base::Digest;
use palisade_harden::IdRange;

use super::RootlessError;

/// Bytes of a map that are read; the kernel's have at most 340 lines.
const MAP_BYTES_MAX: u64 = 64 << 10;
/// Hex digits of a digest that stand for a map.
const DIGITS: usize = 16;

/// Ids that follow each other inside and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    inner: u32,
    outer: u32,
    count: u32,
}

/// Both maps of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    users: Vec<Extent>,
    groups: Vec<Extent>,
}

impl IdMaps {
    /// Those of the namespace in which the caller is.
    pub(super) fn of_own() -> Result<Self, RootlessError> {
        let read = |path: &str| {
            let path = Path::new(path);
            std::fs::File::open(path)
                .and_then(|file| palisade_base::read_bounded(file, "map", MAP_BYTES_MAX))
                .map(|bytes| parse(&String::from_utf8_lossy(&bytes)))
                .map_err(RootlessError::io("read", path))
        };
        Ok(Self { users: read("/proc/self/uid_map")?, groups: read("/proc/self/gid_map")? })
    }

    /// What the machine calls user `id`.
    pub(crate) fn host_user(&self, id: u32) -> Option<u32> {
        part(&self.users, id, 1).first().map(|extent| extent.outer)
    }

    /// A name of those ids of the machine, users and groups, that `ids` are: another name for
    /// others. It is their first one's number where that says it all.
    pub(crate) fn name_of(&self, ids: IdRange) -> String {
        let users = part(&self.users, ids.first, ids.count);
        let groups = part(&self.groups, ids.first, ids.count);
        let first = users.first().map_or(0, |extent| extent.outer);
        if users == groups && users == [Extent { inner: 0, outer: first, count: ids.count }] {
            return first.to_string();
        }
        let text = |extents: &[Extent]| {
            let text = |it: &Extent| format!("{} {} {}\n", it.inner, it.outer, it.count);
            extents.iter().map(text).collect::<String>()
        };
        let digest = Digest::of(format!("{}\n{}", text(&users), text(&groups)).as_bytes()).hex();
        format!("{first}-{}", digest.get(..DIGITS).unwrap_or(&digest))
    }
}

fn parse(map: &str) -> Vec<Extent> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse);
        let mut next = || fields.next()?.ok();
        Some(Extent { inner: next()?, outer: next()?, count: next()? })
    };
    let mut extents: Vec<Extent> = map.lines().filter_map(line).collect();
    extents.sort_unstable_by_key(|extent| extent.inner);
    extents
}

/// The part of a map that concerns `count` ids from `first` on, which are numbered from 0 in it.
fn part(extents: &[Extent], first: u32, count: u32) -> Vec<Extent> {
    let end = first.saturating_add(count);
    let mut found: Vec<Extent> = Vec::new();
    for extent in extents {
        let from = extent.inner.max(first);
        let to = extent.inner.saturating_add(extent.count).min(end);
        let outer = extent.outer.saturating_add(from.saturating_sub(extent.inner));
        match found.last_mut() {
            _ if from >= to => {}
            Some(last)
                if last.inner.saturating_add(last.count) == from - first
                    && last.outer.saturating_add(last.count) == outer =>
            {
                last.count += to - from;
            }
            _ => found.push(Extent { inner: from - first, outer, count: to - from }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(users: &str, groups: &str) -> IdMaps {
        IdMaps { users: parse(users), groups: parse(groups) }
    }

    #[test]
    fn other_ids_of_the_machine_have_another_name() {
        let slot = |number: u32| IdRange { first: 1 + number * 65_536, count: 65_536 };
        let plain = maps("0 1000 1\n1 100000 131072\n", "1 100000 131072\n0 1000 1\n");
        assert_eq!(plain.name_of(slot(0)), "100000");
        assert_eq!(plain.name_of(slot(1)), "165536");
        assert_eq!(plain.host_user(0), Some(1000));
        assert_eq!(plain.host_user(65_538), Some(165_537));
        assert_eq!(plain.host_user(131_073), None);
        // The same ids from two lines that meet.
        let lines = "0 1000 1\n1 100000 10\n11 100010 131062\n";
        assert_eq!(maps(lines, lines).name_of(slot(0)), "100000");
        // The ranges of the file were changed: all others are other ids.
        let mut names = vec![plain.name_of(slot(0))];
        let own = "0 1000 1\n1 100000 131072\n";
        for (users, groups) in [
            ("0 1000 1\n1 300000 65536\n", "0 1000 1\n1 300000 65536\n"),
            (own, "0 1000 1\n1 300000 65536\n"),
            ("0 1000 1\n1 300000 65536\n", own),
            ("0 1000 1\n1 100000 40000\n40001 300000 40000\n", own),
            ("0 1000 1\n1 100000 40000\n40001 400000 40000\n", own),
            ("0 1000 1\n1 100000 65535\n", own),
            ("", ""),
        ] {
            names.push(maps(users, groups).name_of(slot(0)));
        }
        let n = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), n, "{names:?}");
        // With the user's own, which is another one for each user.
        let all = IdRange { first: 0, count: 131_073 };
        let other = maps("0 1001 1\n1 100000 131072\n", "0 1001 1\n1 100000 131072\n");
        assert_ne!(plain.name_of(all), other.name_of(all));
    }
}
