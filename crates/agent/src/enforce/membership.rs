//! Whether a process is in a container now, by its control groups.

use std::path::Path;

use palisade_model::Container;

/// Bytes of a `cgroup` file that are read.
const CGROUP_BYTES_MAX: u64 = 64 << 10;
/// Characters of an id that a path must show when the container's group is not known.
const ID_CHARS_MIN: usize = 12;

/// Whether `pid` is in `container`; what cannot be read is not.
pub(super) fn is_member(pid: u32, container: &Container) -> bool {
    let path = Path::new("/proc").join(pid.to_string()).join("cgroup");
    let Ok(file) = std::fs::File::open(path) else { return false };
    let text = palisade_base::read_bounded(file, "cgroup list", CGROUP_BYTES_MAX);
    text.is_ok_and(|text| lists(&String::from_utf8_lossy(&text), container))
}

/// Whether one of the paths (`hierarchy:controllers:path`, cgroups(7)) is the container's
/// group or below it.
fn lists(text: &str, container: &Container) -> bool {
    let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    if let Some(group) = container.cgroup.as_deref().filter(|group| group.len() > 1) {
        return paths.any(|path| {
            let rest = path.strip_prefix(group);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    }
    let id = container.id.get(..ID_CHARS_MIN);
    id.is_some_and(|id| paths.any(|path| path.split('/').any(|part| part.contains(id))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::container;

    #[test]
    fn groups_and_what_is_below_them() {
        let mut own = container("0123456789abcdef");
        own.cgroup = Some("/palisade/0123456789abcdef".into());
        let check = |text: &str, container: &Container, expected| {
            assert_eq!(lists(text, container), expected, "{text}");
        };
        check("0::/palisade/0123456789abcdef\n", &own, true);
        check("3:pids:/palisade/0123456789abcdef/init\n0::/\n", &own, true);
        check("0::/palisade/0123456789abcdef0\n", &own, false);
        check("0::/\n", &own, false);
        let mut bare = own.clone();
        bare.cgroup = None;
        check("0::/docker-0123456789abcdef.scope\n", &bare, true);
        check("0::/docker-1123456789abcdef.scope\n", &bare, false);
        bare.id = "web".into();
        check("0::/web\n", &bare, false);
        bare.cgroup = Some("/".into());
        check("0::/\n", &bare, false);
        assert!(!is_member(std::process::id(), &own));
        assert!(!is_member(0, &own));
    }
}
