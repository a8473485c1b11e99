//! The ids that `/etc/subuid` and `/etc/subgid` give a user (`subuid(5)`).

use std::ops::Range;
use std::path::Path;

use super::NoRange;
use super::error::range_line;
use crate::ids::IDS_PER_CONTAINER;

/// Bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Ranges of one user that are used.
const RANGES_MAX: usize = 32;
/// Lowest id that a range may hold: those below are the system's.
const LOWEST: u32 = 1000;
/// The files.
const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";
/// Where the last range begins: of the one after it the last id is nobody's to give.
const LAST: u32 = u32::MAX - 2 * IDS_PER_CONTAINER + 1;
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
        let [passwd, subuid, subgid] = files();
        Self::read(&subuid, &subgid, &passwd, uid)
    }

    /// Those of user `uid` by the texts of both files and of the accounts.
    ///
    /// # Errors
    ///
    /// There are not enough for one container.
    pub fn read(subuid: &str, subgid: &str, passwd: &str, uid: u32) -> Result<Self, NoRange> {
        let user = name_of(passwd, uid);
        let (users, groups) = (of_user(subuid, &user, uid), of_user(subgid, &user, uid));
        let count = |found: &[Range<u32>]| -> u64 {
            found.iter().map(|it| u64::from(it.end - it.start)).sum()
        };
        let mut missing = vec![(SUBUID, count(&users)), (SUBGID, count(&groups))];
        missing.retain(|(_, count)| *count < IDS_PER_CONTAINER.into());
        if missing.is_empty() {
            return Ok(Self { users, groups });
        }
        Err(NoRange::Few { user, missing, free: free(&[subuid, subgid], passwd) })
    }

    /// The line for both files that gives user `uid` the ids of one container more.
    pub(crate) fn line_for_more(uid: u32) -> String {
        let [passwd, subuid, subgid] = files();
        range_line(&name_of(&passwd, uid), free(&[&subuid, &subgid], &passwd))
    }
}

/// The accounts and both files; what cannot be read says nothing.
fn files() -> [String; 3] {
    ["/etc/passwd", SUBUID, SUBGID].map(|path| {
        let bytes = std::fs::File::open(Path::new(path))
            .and_then(|file| palisade_base::read_bounded(file, "accounts", FILE_BYTES_MAX));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    })
}

/// The name of user `uid` in the text of `passwd(5)`, or the number, by which the files may call
/// those whose accounts are kept elsewhere.
fn name_of(passwd: &str, uid: u32) -> String {
    let name = passwd.lines().find_map(|line| {
        let (name, of) = account(line)?;
        (of == uid && !name.is_empty()).then(|| name.to_string())
    });
    name.unwrap_or_else(|| uid.to_string())
}

/// The name and the number of an account.
fn account(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    Some((name, fields.nth(1)?.parse().ok()?))
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

/// Where a range of one container would begin that the files give to nobody, and in which no
/// account is. Where there is no such place, it is the last one.
fn free(files: &[&str], passwd: &str) -> u32 {
    let given = files.iter().flat_map(|text| text.lines()).filter_map(line).map(|(_, it)| it);
    let accounts = passwd.lines().filter_map(account);
    let accounts = accounts.map(|(_, uid)| uid..uid.saturating_add(1));
    let mut taken: Vec<Range<u32>> = given.chain(accounts).collect();
    taken.sort_unstable_by_key(|range| range.start);
    let next = |id: u32| id.checked_next_multiple_of(IDS_PER_CONTAINER).unwrap_or(LAST);
    let mut first = next(FREE_FROM);
    for range in taken {
        if range.start >= first.saturating_add(IDS_PER_CONTAINER) {
            break;
        }
        if range.end > first {
            first = next(range.end);
        }
    }
    first.min(LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\nann:x:1000:1000:,:/home/ann:/bin/sh\nx:y\n";

    #[test]
    fn what_the_files_give_is_found_or_the_line_to_add_is_named() {
        let whole = "ann:100000:65536\n";
        let check = |subuid: &str, subgid: &str, expected: Result<usize, &str>| {
            let found = SubIds::read(subuid, subgid, PASSWD, 1000);
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
        // One line for both, which neither gives to somebody.
        check(
            "",
            "bob:131072:65536\n",
            Err("`/etc/subuid` gives user `ann` no ids, and `/etc/subgid` gives user `ann` no \
                 ids; have root add the line `ann:196608:65536` to /etc/subuid and to /etc/subgid"),
        );
        check("", whole, Err("`ann:196608:65536` to /etc/subuid; or"));
        check(whole, "", Err("to /etc/subgid; or"));
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
    fn a_free_range_is_nobodys() {
        let check = |files: &[&str], passwd: &str, expected: u32| {
            assert_eq!(free(files, passwd), expected, "{files:?} {passwd}");
        };
        check(&[], PASSWD, 131_072);
        check(&["a:100000:65536\n"], "", 196_608);
        check(&["a:100000:31072\n"], "", 131_072);
        check(&["a:131072:1\n", "b:262144:65536\n"], "", 196_608);
        // Between ranges that are far up, and not over an account of a large number.
        check(&["a:4000000000:65536\n"], "", 131_072);
        check(&[], "ann:x:131073:1::/:\n", 196_608);
        // No place is left.
        let all = "a:100000:4294867295\n";
        check(&[all], "", LAST);
    }

    #[test]
    fn names_come_from_the_accounts() {
        assert_eq!(name_of(PASSWD, 1000), "ann");
        assert_eq!(name_of(PASSWD, 7), "7");
        let own = SubIds::read("7:100000:65536\n", "7:100000:65536\n", PASSWD, 7).unwrap();
        assert_eq!((own.users.len(), own.groups.len()), (1, 1));
    }
}
