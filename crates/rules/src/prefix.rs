//! `pmatch`: whether one of some paths is a path or one of its parents.
//!
//! Paths are compared by components; empty components do not count, and a component of
//! a search path may be a glob.

use std::collections::HashMap;

use crate::glob::Glob;

/// A set of search paths.
#[derive(Debug, Default)]
pub(crate) struct PathSet {
    /// Whether `/` is one of them, which is a parent of everything.
    everything: bool,
    top: Level,
}

/// The components that may stand at one depth.
#[derive(Debug, Default)]
struct Level {
    literal: HashMap<Box<[u8]>, Branch>,
    globs: Vec<(Box<[u8]>, Glob, Branch)>,
}

/// What follows a component; nothing if a search path ends there.
type Branch = Option<Box<Level>>;

/// Components of one search path; deeper paths are cut, which matches more, never less.
const COMPONENTS_MAX: usize = 256;

impl PathSet {
    /// The set of `paths`.
    pub(crate) fn new<'p>(paths: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut set = Self::default();
        for path in paths {
            let components: Vec<&[u8]> = split(path).take(COMPONENTS_MAX).collect();
            if components.is_empty() {
                set.everything = true;
            } else {
                set.top.insert(&components);
            }
        }
        set
    }

    /// Whether one of the search paths is `path` or a parent of it.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.everything || self.top.matches(path)
    }
}

impl Level {
    fn insert(&mut self, components: &[&[u8]]) {
        let Some((first, rest)) = components.split_first() else {
            return;
        };
        let is_glob = first.iter().any(|b| matches!(b, b'?' | b'*' | b'['));
        let branch = if is_glob {
            let Some(i) = self.globs.iter().position(|(text, ..)| **text == **first) else {
                self.globs.push(((*first).into(), Glob::new(first, false), new_branch(rest)));
                return;
            };
            &mut self.globs[i].2
        } else {
            let Some(branch) = self.literal.get_mut(*first) else {
                self.literal.insert((*first).into(), new_branch(rest));
                return;
            };
            branch
        };
        if rest.is_empty() {
            // A shorter path makes the longer ones below it superfluous.
            *branch = None;
        } else if let Some(subtree) = branch {
            subtree.insert(rest);
        }
    }

    /// Whether a search path of this level is a parent of what `path` begins with.
    fn matches(&self, path: &[u8]) -> bool {
        let Some(start) = path.iter().position(|b| *b != b'/') else {
            return false;
        };
        let path = &path[start..];
        let end = memchr::memchr(b'/', path).unwrap_or(path.len());
        let (component, rest) = path.split_at(end);
        let below = |branch: &Branch| branch.as_ref().is_none_or(|level| level.matches(rest));
        self.literal.get(component).is_some_and(below)
            || self.globs.iter().any(|(_, glob, branch)| glob.matches(component) && below(branch))
    }
}

fn new_branch(rest: &[&[u8]]) -> Branch {
    if rest.is_empty() {
        return None;
    }
    let mut level = Level::default();
    level.insert(rest);
    Some(Box::new(level))
}

fn split(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|component| !component.is_empty())
}

#[cfg(test)]
mod tests {
    use super::PathSet;

    #[track_caller]
    fn check(paths: &[&str], path: &str, expected: bool) {
        let set = PathSet::new(paths.iter().map(|p| p.as_bytes()));
        assert_eq!(set.matches(path.as_bytes()), expected, "{path} among {paths:?}");
    }

    #[test]
    fn finds_parents_by_component() {
        let paths = ["/var/run", "/etc", "/lib", "/usr/lib", "/usr"];
        check(&paths, "/var/run/docker", true);
        check(&paths, "/var/runner", false);
        check(&paths, "/boot", false);
        check(&paths, "/var/lib/messages", false);
        check(&paths, "/var", false);
        check(&paths, "/usr/lib", true);
        check(&paths, "/usr/share", true);
        check(&paths, "//etc//passwd", true);
        check(&["/"], "/anything", true);
        check(&[], "/anything", false);
        check(&["/home/*/.ssh"], "/home/u/.ssh/id_rsa", true);
        check(&["/home/*/.ssh"], "/home/u/ssh", false);
    }
}
