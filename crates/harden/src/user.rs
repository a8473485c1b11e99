//! Who the program runs as: the image's `User` resolved in the image's own files.

use std::fmt;

use palisade_base::Explain;
use serde::{Deserialize, Serialize};

/// Lines of `/etc/passwd` and `/etc/group` that are read.
const LINES_MAX: usize = 65_536;
/// Additional groups that a user gets; the kernel's own limit is 65,536.
const GROUPS_MAX: usize = 1024;

/// A range of host ids that a container has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdRange {
    /// Host id of the container's id 0.
    pub first: u32,
    /// How many ids.
    pub count: u32,
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.first.saturating_add(self.count.saturating_sub(1)))
    }
}

/// A user inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Home folder, when the image's files name one.
    pub home: Option<String>,
}

/// A user that the image names but does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveUserError {
    /// No such user.
    #[error("user `{0}` is not in the image's /etc/passwd")]
    UnknownUser(String),
    /// No such group.
    #[error("group `{0}` is not in the image's /etc/group")]
    UnknownGroup(String),
}

impl Explain for ResolveUserError {
    fn hint(&self) -> Option<String> {
        Some("add it to the image, or name a numeric id: USER 1000:1000".into())
    }
}

/// Resolves `text` (`user`, `uid`, `user:group`, …, or nothing for root) as engines do:
/// names through `passwd(5)` and `group(5)`, numbers as they are.
///
/// Lines that are not of those formats are skipped, as the C library skips them.
pub fn resolve_user(text: &str, passwd: &str, group: &str) -> Result<User, ResolveUserError> {
    let (user_text, group_text) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user_text = if user_text.is_empty() { "0" } else { user_text };
    let number: Option<u32> = user_text.parse().ok();
    let entry = passwd.lines().take(LINES_MAX).find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) = (*fields.first()?, fields.get(2)?, fields.get(3)?);
        let (uid, gid): (u32, u32) = (uid.parse().ok()?, gid.parse().ok()?);
        (name == user_text || Some(uid) == number)
            .then(|| (name, uid, gid, fields.get(5).map(|home| (*home).to_string())))
    });
    let (name, mut user) = match (entry, number) {
        (Some((name, uid, gid, home)), _) => {
            (Some(name), User { uid, gid, additional_gids: Vec::new(), home })
        }
        (None, Some(uid)) => (None, User { uid, ..User::default() }),
        (None, None) => return Err(ResolveUserError::UnknownUser(quoted(user_text))),
    };
    let groups = || {
        group.lines().take(LINES_MAX).filter_map(|line| {
            let mut fields = line.split(':');
            let (name, gid) = (fields.next()?, fields.nth(1)?.parse::<u32>().ok()?);
            Some((name, gid, fields.next().unwrap_or("")))
        })
    };
    if let Some(wanted) = group_text {
        let number: Option<u32> = wanted.parse().ok();
        user.gid = number
            .or_else(|| groups().find(|(name, ..)| *name == wanted).map(|(_, gid, _)| gid))
            .ok_or_else(|| ResolveUserError::UnknownGroup(quoted(wanted)))?;
    } else if let Some(name) = name {
        // An explicit group replaces the user's groups; otherwise it has all of them.
        user.additional_gids = groups()
            .filter(|(_, gid, members)| {
                *gid != user.gid && members.split(',').any(|member| member == name)
            })
            .map(|(_, gid, _)| gid)
            .take(GROUPS_MAX)
            .collect();
        user.additional_gids.sort_unstable();
        user.additional_gids.dedup();
    }
    Ok(user)
}

fn quoted(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n#rubbish\nweb:x:33:34::/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nssl:x:101:web,other\nadm:x:4:other\n";

    fn check(text: &str, uid: u32, gid: u32, more: &[u32]) {
        let user = resolve_user(text, PASSWD, GROUP).unwrap();
        assert_eq!(
            (user.uid, user.gid, user.additional_gids.as_slice()),
            (uid, gid, more),
            "{text}"
        );
    }

    #[test]
    fn resolves_as_engines_do() {
        check("", 0, 0, &[]);
        check("web", 33, 34, &[101]);
        check("33", 33, 34, &[101]);
        check("web:adm", 33, 4, &[]);
        check("web:7", 33, 7, &[]);
        check("1000", 1000, 0, &[]);
        check("1000:1000", 1000, 1000, &[]);
        check(":ssl", 0, 101, &[]);
    }

    #[test]
    fn unknown_names_are_errors() {
        assert_eq!(
            resolve_user("nobody", PASSWD, GROUP),
            Err(ResolveUserError::UnknownUser("nobody".into()))
        );
        assert_eq!(
            resolve_user("web:none", PASSWD, GROUP),
            Err(ResolveUserError::UnknownGroup("none".into()))
        );
        assert!(resolve_user("-1", "", "").is_err());
        assert!(resolve_user("4294967296", "", "").is_err());
    }
}
