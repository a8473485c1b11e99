//! Control group paths of containers.
//!
//! The shapes are those that Docker, Podman, containerd, CRI-O, `ctr`, LXC, runC and
//! Palisade make, with the systemd and the cgroupfs driver, on version 1 and 2.

use palisade_model::Engine;

/// Length of an engine's full id.
const FULL_ID_CHARS: usize = 64;

/// A container named by a control group's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMatch {
    /// The id as the path has it.
    pub id: String,
    /// The engine that the shape speaks for; several share one shape.
    pub engine: Engine,
    /// Whether the shape alone proves a container. Other shapes (`/<namespace>/<id>`,
    /// `/<id>`) are a container's only if an engine's file says so.
    pub certain: bool,
}

impl CgroupMatch {
    /// The id that rules see.
    pub fn short_id(&self) -> &str {
        self.id.get(..super::SHORT_ID_CHARS).unwrap_or(&self.id)
    }
}

/// Prefix and suffix around a 64-digit id, and the engine. The order decides.
const SHAPES: &[(&str, &str, Engine)] = &[
    ("/libpod-", ".scope", Engine::Podman),
    ("/libpod-", ".scope/container", Engine::Podman),
    ("/libpod-", "", Engine::Podman),
    ("/libpod-payload-", ".scope", Engine::Podman),
    ("/libpod-payload-", ".scope/container", Engine::Podman),
    ("/libpod-payload-", "", Engine::Podman),
    ("/docker-", ".scope", Engine::Docker),
    ("/crio-", "", Engine::Crio),
    ("/cri-containerd-", ".scope", Engine::Cri),
    ("/crio-", ".scope", Engine::Crio),
    (":cri-containerd:", "", Engine::Cri),
    ("/nerdctl-", ".scope", Engine::Containerd),
    ("/", "", Engine::Docker),
];

const LXC: &[&str] = &["/lxc/", "/lxc.payload/", "/lxc.payload."];

/// The container that a control group belongs to; `None` on the host.
pub fn match_cgroup(path: &str) -> Option<CgroupMatch> {
    if let Some(found) = match_palisade(path) {
        return Some(found);
    }
    let shapes = if has_full_id(path) { SHAPES } else { &[] };
    for (prefix, suffix, engine) in shapes {
        if let Some(id) = between(path, prefix, suffix).filter(|id| is_full_id(id)) {
            let engine = if *prefix == "/" { engine_of_parent(path) } else { *engine };
            return Some(CgroupMatch { id: id.to_string(), engine, certain: true });
        }
    }
    match_lxc(path).or_else(|| match_ctr(path))
}

fn between<'p>(path: &'p str, prefix: &str, suffix: &str) -> Option<&'p str> {
    let start = path.rfind(prefix)? + prefix.len();
    let end = if suffix.is_empty() { path.len() } else { path.rfind(suffix)? };
    path.get(start..end)
}

/// Whether the path has as many hexadecimal digits in a row as an id. Most paths have not,
/// and need not be held against the shapes.
fn has_full_id(path: &str) -> bool {
    let mut n_digits = 0;
    path.bytes().any(|byte| {
        n_digits = if byte.is_ascii_hexdigit() { n_digits + 1 } else { 0 };
        n_digits == FULL_ID_CHARS
    })
}

fn is_full_id(text: &str) -> bool {
    text.len() == FULL_ID_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `/docker/<id>` and `/kubepods/…/<id>` differ by the folder alone.
fn engine_of_parent(path: &str) -> Engine {
    if path.contains("/kubepods") {
        Engine::Cri
    } else if path.contains("/libpod_parent") {
        Engine::Podman
    } else {
        Engine::Docker
    }
}

/// `palisade run` puts its containers under a folder of that name.
fn match_palisade(path: &str) -> Option<CgroupMatch> {
    let at = path.find("/palisade/")? + "/palisade/".len();
    let id = path[at..].split('/').next().filter(|id| is_name(id))?;
    Some(CgroupMatch { id: id.to_string(), engine: Engine::Palisade, certain: true })
}

/// `ctr` makes `/<namespace>/<id>` and bare runC `/<id>`, with ids of any form.
fn match_ctr(path: &str) -> Option<CgroupMatch> {
    let is_host = [".service", ".slice", ".scope"].iter().any(|suffix| path.ends_with(suffix));
    if is_host {
        return None;
    }
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let (id, engine) = match (parts.next()?, parts.next(), parts.next()) {
        (id, None, _) => (id, Engine::Runc),
        (namespace, Some(id), None) if is_name(namespace) => (id, Engine::Containerd),
        _ => return None,
    };
    let plausible = is_name(id) && id.len() <= FULL_ID_CHARS;
    plausible.then(|| CgroupMatch { id: id.to_string(), engine, certain: false })
}

fn match_lxc(path: &str) -> Option<CgroupMatch> {
    // One look instead of three for the many paths without.
    let _ = path.find("/lxc")?;
    let (at, prefix) = LXC.iter().find_map(|prefix| Some((path.find(prefix)?, prefix)))?;
    let id = path[at + prefix.len()..].split('/').next().filter(|id| !id.is_empty())?;
    Some(CgroupMatch { id: id.to_string(), engine: Engine::Lxc, certain: true })
}

/// An id as engines accept it: no slash, no leading dot.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_names_its_container() {
        let id = "0123456789abcdef".repeat(4);
        let check = |path: String, expected: &str, engine: Engine| {
            let found = match_cgroup(&path);
            let certain =
                !matches!(engine, Engine::Containerd | Engine::Runc) || path.contains("nerdctl");
            let expected = CgroupMatch { id: expected.to_string(), engine, certain };
            assert_eq!(found, Some(expected), "{path}");
        };
        check(format!("/docker/{id}"), &id, Engine::Docker);
        check(format!("/system.slice/docker-{id}.scope"), &id, Engine::Docker);
        check(format!("/machine.slice/libpod-{id}.scope"), &id, Engine::Podman);
        check(format!("/machine.slice/libpod-{id}.scope/container"), &id, Engine::Podman);
        check(format!("/libpod_parent/libpod-{id}"), &id, Engine::Podman);
        check(format!("/libpod-payload-{id}"), &id, Engine::Podman);
        check(
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            &id,
            Engine::Cri,
        );
        check(format!("/kubepods.slice/x.slice/crio-{id}.scope"), &id, Engine::Crio);
        check(format!("/kubepods/besteffort/pod7/{id}"), &id, Engine::Cri);
        check(format!("/system.slice:cri-containerd:{id}"), &id, Engine::Cri);
        check(format!("/system.slice/nerdctl-{id}.scope"), &id, Engine::Containerd);
        check("/palisade/web-1".into(), "web-1", Engine::Palisade);
        check("/user.slice/palisade/web-1/init".into(), "web-1", Engine::Palisade);
        check("/default/redis1".into(), "redis1", Engine::Containerd);
        check("/box".into(), "box", Engine::Runc);
        check("/lxc/box/init.scope".into(), "box", Engine::Lxc);
        check("/lxc.payload.box".into(), "box", Engine::Lxc);
    }

    #[test]
    fn the_host_is_no_container() {
        for path in [
            "/",
            "",
            "/init.scope",
            "/system.slice/ssh.service",
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope",
            "/palisade/../x",
        ] {
            assert_eq!(match_cgroup(path), None, "{path}");
        }
    }
}
