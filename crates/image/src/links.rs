//! Symbolic links of an image that lead in a circle.
//!
//! A container that opens such a link gets `ELOOP`, and nobody can say what was to be found behind
//! it. Links are followed as the kernel follows them (path_resolution(7)), but within the image: an
//! absolute target begins at its root, and `..` does not leave it. Pure: nothing is opened.

use std::collections::HashMap;

/// Most that the links of one image take in memory together, in bytes.
pub(crate) const LINK_BYTES_MAX: usize = 48 << 20;
/// What a link takes beside its path and its target, in bytes.
const OVERHEAD_BYTES: usize = 96;
/// Bytes of paths that are compared to follow all links of one image.
pub(crate) const FOLLOWED_BYTES_MAX: u64 = 1 << 30;

/// Where a link leads, as it is written, and its layer.
type Target = (Box<[u8]>, Option<usize>);

/// The symbolic links that a container sees.
#[derive(Debug)]
pub(crate) struct Links {
    /// By path.
    targets: HashMap<Box<[u8]>, Target>,
    bytes_left: usize,
    followed_max: u64,
    /// Links for which there was no room.
    n_more: u64,
}

/// What following all links showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Path and layer of each link that does not end, sorted.
    pub(crate) circles: Vec<(Vec<u8>, Option<usize>)>,
    /// Links that were not followed to their end.
    pub(crate) n_unfollowed: u64,
}

impl Default for Links {
    fn default() -> Self {
        Self::bounded(LINK_BYTES_MAX, FOLLOWED_BYTES_MAX)
    }
}

impl Links {
    fn bounded(bytes_max: usize, followed_max: u64) -> Self {
        Self { targets: HashMap::new(), bytes_left: bytes_max, followed_max, n_more: 0 }
    }

    /// Notes the link at `path`, which has no slash in front.
    pub(crate) fn add(&mut self, path: &[u8], target: &[u8], layer: Option<usize>) {
        let n_bytes = path.len() + target.len() + OVERHEAD_BYTES;
        if let Some(left) = self.bytes_left.checked_sub(n_bytes) {
            self.bytes_left = left;
            self.targets.insert(path.into(), (target.into(), layer));
        } else {
            self.n_more += 1;
        }
    }

    /// Follows every link through at most `hops_max` others.
    pub(crate) fn follow(&self, hops_max: usize) -> Followed {
        let mut followed = Followed { n_unfollowed: self.n_more, ..Followed::default() };
        let mut left = self.followed_max;
        for (path, (_, layer)) in &self.targets {
            match self.ends(path, hops_max, &mut left) {
                Some(true) => {}
                Some(false) => followed.circles.push((path.to_vec(), *layer)),
                None => followed.n_unfollowed += 1,
            }
        }
        followed.circles.sort();
        followed
    }

    /// Whether following the link at `path` ends; `None` when `left` was used up before.
    fn ends(&self, path: &[u8], hops_max: usize, left: &mut u64) -> Option<bool> {
        let mut todo: Vec<&[u8]> = parts(path).collect();
        let mut at: Vec<u8> = Vec::new();
        let mut n_hops = 0;
        while let Some(part) = todo.pop() {
            match part {
                b"" | b"." => continue,
                b".." => {
                    at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let folder = at.len();
            if folder > 0 {
                at.push(b'/');
            }
            at.extend_from_slice(part);
            *left = left.checked_sub(at.len() as u64)?;
            let Some((target, _)) = self.targets.get(&at[..]) else { continue };
            n_hops += 1;
            if n_hops > hops_max {
                return Some(false);
            }
            at.truncate(if target.starts_with(b"/") { 0 } else { folder });
            todo.extend(parts(target));
        }
        Some(true)
    }
}

/// The components of a path, the last one first.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.rsplit(|byte| *byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(all: &[(&str, &str)]) -> Links {
        let mut links = Links::default();
        for (path, target) in all {
            links.add(path.as_bytes(), target.as_bytes(), Some(0));
        }
        links
    }

    #[test]
    fn only_what_does_not_end_is_a_circle() {
        let check = |all: &[(&str, &str)], expected: &[&str]| {
            let followed = links(all).follow(40);
            let found: Vec<String> = followed
                .circles
                .iter()
                .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
                .collect();
            assert_eq!(found, expected, "{all:?}");
            assert_eq!(followed.n_unfollowed, 0);
        };
        check(&[("a", "b"), ("b", "a"), ("c", "/etc/passwd")], &["a", "b"]);
        check(&[("a", "a")], &["a"]);
        check(&[("a", "/a")], &["a"]);
        check(&[("c", "c/c")], &["c"]);
        check(&[("a", "../../../a")], &["a"]);
        // What leads into one does not end either.
        check(&[("x/a", "b"), ("x/b", "../x/a"), ("y", "x/a/z")], &["x/a", "x/b", "y"]);
        // By way of folders that are links.
        check(&[("lib/d", "../lib2/d"), ("lib2", "lib")], &["lib/d"]);
        // A folder in itself, as distributions have it, is none: every path to it ends.
        check(&[("usr/bin/X11", "."), ("usr/lib/a", "../lib"), ("bin", "usr/bin")], &[]);
        check(&[("dangling", "nowhere"), ("out", "../../x"), ("root", "/")], &[]);
        check(&[], &[]);
    }

    #[test]
    fn a_chain_is_followed_as_far_as_the_kernel_does() {
        let chain = |n: usize| -> Vec<(String, String)> {
            (0..n).map(|i| (format!("l{i}"), format!("l{}", i + 1))).collect()
        };
        for (n, n_circles) in [(40, 0), (41, 1)] {
            let mut links = Links::default();
            for (path, target) in chain(n) {
                links.add(path.as_bytes(), target.as_bytes(), None);
            }
            assert_eq!(links.follow(40).circles.len(), n_circles, "{n}");
        }
    }

    #[test]
    fn room_and_work_are_bounded_and_what_is_left_out_is_counted() {
        let mut few = Links::bounded(2 * (OVERHEAD_BYTES + 2), FOLLOWED_BYTES_MAX);
        for path in ["a", "b", "c"] {
            few.add(path.as_bytes(), b"x", None);
        }
        assert_eq!(few.follow(40), Followed { circles: Vec::new(), n_unfollowed: 1 });
        // Each step of this one doubles what is still to be done.
        let mut hard = Links::bounded(LINK_BYTES_MAX, 1000);
        hard.add(b"a", &b"a/".repeat(2000), None);
        assert_eq!(hard.follow(usize::MAX).n_unfollowed, 1);
        assert_eq!(links(&[("a", "a/a/a/a")]).follow(40).circles.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_links_are_following_them_ends(
            all in proptest::collection::vec(("[ab/.]{1,6}", "[ab/.]{0,8}"), 0..12),
        ) {
            let mut links = Links::default();
            for (path, target) in &all {
                links.add(path.as_bytes(), target.as_bytes(), None);
            }
            let followed = links.follow(40);
            proptest::prop_assert!(followed.circles.len() <= all.len());
        }
    }
}
