//! The ids that `/etc/subuid` and `/etc/subgid` give a user (`subuid(5)`).

use std::ops::Range;
use std::path::Path;

use super::NoRange;
use crate::ids::IDS_PER_CONTAINER;

/// Bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Ranges of one user that are used.
const RANGES_MAX: usize = 32;
/// Lowest id that a range may hold: those below are the system's.
const LOWEST: u32 = 1000;
/// Where ranges of users begin, as distributions give them.
const FREE_FROM: u32 = 100_000;

/// A user's further ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubIds {
    /// Of users.
    pub users: Vec<Range<u32>>,
    /// Of groups.
    pub groups: Vec<Range<u32>>,
}

impl SubIds {
    /// Those of user `uid`.
    ///
    /// # Errors
    ///
    /// There are not enough for one container.
    pub fn of_user(uid: u32) -> Result<Self, NoRange> {
        let read = |path: &str| {
            let bytes = std::fs::File::open(Path::new(path))
                .and_then(|file| palisade_base::read_bounded(file, "accounts", FILE_BYTES_MAX));
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        let name = name_of(&read("/etc/passwd"), uid).ok_or(NoRange::NoName(uid))?;
        Self::read(&read("/etc/subuid"), &read("/etc/subgid"), &name, uid)
    }

    /// Those of user `name` by the texts of both files.
    ///
    /// # Errors
    ///
    /// There are not enough for one container.
    pub fn read(subuid: &str, subgid: &str, name: &str, uid: u32) -> Result<Self, NoRange> {
        let ranges = |text: &str, file: &'static str| {
            let found = of_user(text, name, uid);
            let count: u64 = found.iter().map(|it| u64::from(it.end - it.start)).sum();
            let user = name.to_string();
            if found.is_empty() {
                Err(NoRange::None { file, user, free: free(text) })
            } else if count < IDS_PER_CONTAINER.into() {
                Err(NoRange::Small { file, user, count, free: free(text) })
            } else {
                Ok(found)
            }
        };
        Ok(Self { users: ranges(subuid, "/etc/subuid")?, groups: ranges(subgid, "/etc/subgid")? })
    }
}

/// The name of user `uid` in the text of `passwd(5)`.
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_string())
    })
}

/// A line of the file: whose, and from where to where.
fn line(text: &str) -> Option<(&str, Range<u32>)> {
    let mut fields = text.trim().split(':');
    let (user, first, count) = (fields.next()?, fields.next()?, fields.next()?);
    let (first, count) = (first.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
    (count > 0).then_some((user, first..first.checked_add(count)?))
}

/// The ranges of a user that can be mapped together: no system's ids, not the user's own, none
/// twice.
fn of_user(text: &str, name: &str, uid: u32) -> Vec<Range<u32>> {
    let number = uid.to_string();
    let own = text.lines().filter_map(line).filter(|(user, _)| *user == name || *user == number);
    let mut found: Vec<Range<u32>> = Vec::new();
    for (_, range) in own {
        let overlaps = |it: &Range<u32>| it.start < range.end && range.start < it.end;
        let is_usable =
            range.start >= LOWEST && !range.contains(&uid) && !found.iter().any(overlaps);
        if is_usable && found.len() < RANGES_MAX {
            found.push(range);
        }
    }
    found
}

/// Where a range of one container would begin that the file gives to nobody.
fn free(text: &str) -> u32 {
    let end = text.lines().filter_map(line).map(|(_, range)| range.end).max().unwrap_or(0);
    end.max(FREE_FROM).checked_next_multiple_of(IDS_PER_CONTAINER).unwrap_or(FREE_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_files_give_is_found_or_the_line_to_add_is_named() {
        let whole = "ann:100000:65536\n";
        let check = |subuid: &str, subgid: &str, expected: Result<usize, &str>| {
            let found = SubIds::read(subuid, subgid, "ann", 1000);
            let found = found.map(|ids| ids.users.len()).map_err(|missing| {
                use palisade_base::Explain as _;
                format!("{missing}; {}", missing.hint().unwrap())
            });
            match (&found, expected) {
                (Ok(n), Ok(expected)) => assert_eq!(*n, expected, "{subuid:?}"),
                (Err(text), Err(expected)) => assert!(text.contains(expected), "{text}"),
                _ => panic!("{subuid:?} {subgid:?}: {found:?}"),
            }
        };
        check(whole, whole, Ok(1));
        // By number, in parts, with rubbish between.
        check("# x\n1000:100000:65536\n", whole, Ok(1));
        check("ann:200000:40000\nbob:1:2\nann:300000:40000\n", whole, Ok(2));
        check("ann:100000:65536\nann:100100:5\n", whole, Ok(1));
        check(
            "",
            whole,
            Err(
                "`/etc/subuid` gives user `ann` no ids; have root add the line `ann:131072:65536` to /etc/subuid",
            ),
        );
        check(whole, "", Err("/etc/subgid"));
        check(whole, "bob:131072:65536\n", Err("`ann:196608:65536` to /etc/subgid"));
        check("ann:100000:1000\n", whole, Err("gives user `ann` 1000 ids"));
        // The system's ids, the user's own, an end beyond all ids.
        check("ann:0:65536\n", whole, Err("no ids"));
        check("ann:999:65536\n", whole, Err("no ids"));
        check("ann:4294967295:65536\n", whole, Err("no ids"));
        check("ann:100000:0\n", whole, Err("no ids"));
        check("ann:x:65536\nann:1\nann\n\n", whole, Err("no ids"));
    }

    #[test]
    fn names_come_from_the_accounts() {
        let passwd = "root:x:0:0::/:/bin/sh\nann:x:1000:1000:,:/home/ann:/bin/sh\nx:y\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_of(passwd, 7), None);
    }
}
