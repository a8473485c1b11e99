//! What an ordinary user's container lacks or has otherwise. Pure.
//!
//! The container is hardened as root's is; then what needs root is taken out of its spec again,
//! each with its reason, and a limit that is lost on the way is said, or refused.

use palisade_policy::RootlessLimits;
use serde_json::{Value, json};

use crate::IdRange;
use crate::controls::{Hardened, Refusal, RefusalReason, is_rlimit};
use crate::patch::{Change, Patch};

/// What an ordinary user has on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootless {
    /// Controllers of control groups that were delegated to the user; `None` without a group of
    /// the user's own.
    pub controllers: Option<Vec<String>>,
    /// What becomes of a limit that nothing holds.
    pub limits: RootlessLimits,
    /// The container's ids, as the user's own namespace numbers them, where they are its own.
    pub ids: Option<IdRange>,
    /// What the machine calls the first of them.
    pub first_host_id: u32,
    /// Whether the container's root is the user, and the rest of its ids those of `ids`: of a
    /// root file system that is a folder of the user's.
    pub root_is_user: bool,
}

/// A limit: where it stands in the spec, what it limits, and by which controller.
const LIMITS: [(&str, &str, &str); 4] = [
    ("memory", "memory", "memory"),
    ("cpu", "processor time", "cpu"),
    ("pids", "processes", "pids"),
    ("blockIO", "reading and writing", "io"),
];

/// How a user gets control groups.
const DELEGATION: &str = "start it in a scope of one's own (systemd-run --user --scope -p \
                          Delegate=yes palisade run …; on a machine with control groups of \
                          version 2 alone)";

impl Rootless {
    /// Fits the hardened spec to what the user may do.
    ///
    /// # Errors
    ///
    /// A limit is lost that the policy requires, or the spec is malformed.
    pub fn fit(&self, hardened: Hardened) -> Result<Hardened, Refusal> {
        let Hardened { spec, mut changes, mut warnings } = hardened;
        let mut patch = Patch::new(spec)?;
        let pids = patch.get("/linux/resources/pids/limit").and_then(Value::as_u64);
        let mut lost = self.resources(&mut patch)?;
        if !lost.is_empty() && self.limits == RootlessLimits::Require {
            let reason = |(limit, controller): &(&str, &str)| RefusalReason {
                control: "limits",
                message: format!(
                    "the policy limits {limit}, and the controller `{controller}` was not \
                     delegated to this user"
                ),
                fix: format!("{DELEGATION}, or set `containers.rootless.limits: warn`"),
            };
            return Err(Refusal { reasons: lost.iter().map(reason).collect() });
        }
        Self::nproc(&mut patch, pids, &mut lost, &mut warnings)?;
        if !lost.is_empty() {
            let what = |(limit, controller): &(&str, &str)| format!("{limit} (`{controller}`)");
            let all: Vec<String> = lost.iter().map(what).collect();
            warnings.push(format!(
                "not limited, as no controller was delegated to this user: {}; {DELEGATION}",
                all.join(", ")
            ));
        }
        let (mut spec, more) = patch.finish();
        changes.extend(more);
        self.map_ids(&mut spec, &mut changes);
        Ok(Hardened { spec, changes, warnings })
    }

    /// Where no group counts processes, the kernel does for each user of the container: in a user
    /// namespace of its own it counts those of the container alone (Linux 5.14).
    fn nproc(
        patch: &mut Patch,
        pids: Option<u64>,
        lost: &mut Vec<(&'static str, &'static str)>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        let Some(at) = lost.iter().position(|(_, controller)| *controller == "pids") else {
            return Ok(());
        };
        let Some(pids) = pids else { return Ok(()) };
        lost.remove(at);
        let mut list = patch.list("/process/rlimits")?;
        let own = list.iter().position(|entry| is_rlimit(entry, "RLIMIT_NPROC"));
        let own = own.map(|at| list.remove(at));
        let number = |key: &str| own.as_ref()?.get(key).and_then(Value::as_u64);
        let hard = number("hard").unwrap_or(pids).min(pids);
        let soft = number("soft").unwrap_or(pids).min(hard);
        list.push(json!({"type": "RLIMIT_NPROC", "hard": hard, "soft": soft}));
        let why = "without root: each user of the container has as many processes as a control \
                   group would have let all have together";
        patch.set("/process/rlimits", Value::Array(list), why)?;
        warnings.push(format!(
            "processes are counted for each user of the container, as the controller `pids` was \
             not delegated to this user: {DELEGATION}"
        ));
        Ok(())
    }

    /// Takes out what control groups would hold and nobody does; says which limits those are.
    fn resources(&self, patch: &mut Patch) -> Result<Vec<(&'static str, &'static str)>, Refusal> {
        let is_held = |controller: &str| {
            self.controllers.as_ref().is_some_and(|held| held.iter().any(|it| it == controller))
        };
        let mut lost = Vec::new();
        for (key, limit, controller) in LIMITS {
            let path = format!("/linux/resources/{key}");
            let is_wanted =
                patch.get(&path).and_then(Value::as_object).is_some_and(|it| !it.is_empty());
            if is_wanted && !is_held(controller) {
                lost.push((limit, controller));
                patch
                    .remove(&path, "without root: this controller was not delegated to the user")?;
            }
        }
        let why = "without root: devices are refused by the user namespace, which makes none";
        patch.remove("/linux/resources/devices", why)?;
        if self.controllers.is_none() {
            let why = "without root: no control group was delegated to the user";
            patch.remove("/linux/resources", why)?;
            patch.remove("/linux/cgroupsPath", why)?;
            let mut mounts = patch.list("/mounts")?;
            mounts.retain(|mount| {
                let text = |key: &str| mount.get(key).and_then(Value::as_str);
                !text("type").is_some_and(|kind| kind.starts_with("cgroup"))
            });
            let why = "without root: the groups that it would show are not the container's";
            patch.set("/mounts", Value::Array(mounts), why)?;
        }
        Ok(lost)
    }

    /// The same ids under the numbers of the user's own namespace, in which the OCI runtime works.
    fn map_ids(&self, spec: &mut Value, changes: &mut [Change]) {
        let Some(ids) = self.ids else { return };
        let (map, why) = if self.root_is_user && ids.count > 1 {
            let map = json!([
                {"containerID": 0, "hostID": 0, "size": 1},
                {"containerID": 1, "hostID": ids.first.saturating_add(1), "size": ids.count - 1},
            ]);
            let why = "without root: the folder is the user's, so root inside is the user \
                       outside; the other ids are of the range that /etc/subuid gives";
            (map, why.to_string())
        } else {
            let map = json!([{"containerID": 0, "hostID": ids.first, "size": ids.count}]);
            let why = if ids.first == 0 {
                "without root: the user's own id is all that the container has".to_string()
            } else {
                format!(
                    "without root: {} of the user's own namespace is {} of the machine, an id of \
                     /etc/subuid that nobody is",
                    ids.first, self.first_host_id
                )
            };
            (map, why)
        };
        for path in ["/linux/uidMappings", "/linux/gidMappings"] {
            if let Some(known) = spec.pointer_mut(path) {
                *known = map.clone();
            }
            if let Some(change) = changes.iter_mut().find(|change| change.path == path) {
                change.to = Some(map.clone());
                change.reason.clone_from(&why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use RootlessLimits::{Require, Warn};

    use super::*;

    fn hardened() -> Hardened {
        Hardened {
            spec: json!({
                "mounts": [{"destination": "/proc", "type": "proc"},
                           {"destination": "/sys/fs/cgroup", "type": "cgroup"}],
                "linux": {
                    "cgroupsPath": "/palisade/x",
                    "uidMappings": [{"containerID": 0, "hostID": 1, "size": 65536}],
                    "gidMappings": [{"containerID": 0, "hostID": 1, "size": 65536}],
                    "resources": {"devices": [{"allow": false}], "memory": {"limit": 1},
                                  "pids": {"limit": 5}, "cpu": {}},
                },
            }),
            changes: vec![Change {
                path: "/linux/uidMappings".into(),
                from: None,
                to: None,
                reason: String::new(),
            }],
            warnings: Vec::new(),
        }
    }

    fn rootless(controllers: Option<&[&str]>, limits: RootlessLimits) -> Rootless {
        let strings = |list: &[&str]| list.iter().map(|it| (*it).to_string()).collect();
        Rootless {
            controllers: controllers.map(strings),
            limits,
            ids: Some(IdRange { first: 1, count: 65_536 }),
            first_host_id: 100_000,
            root_is_user: false,
        }
    }

    #[test]
    fn a_limit_is_held_said_or_refused() {
        let check = |controllers: Option<&[&str]>, limits, expected: Result<&str, &[&str]>| {
            let fitted = rootless(controllers, limits).fit(hardened());
            match (fitted, expected) {
                (Ok(fitted), Ok(said)) => {
                    assert!(fitted.warnings.join("\n").contains(said), "{fitted:?}");
                }
                (Err(refusal), Err(reasons)) => {
                    let text = refusal.to_string();
                    assert_eq!(refusal.reasons.len(), reasons.len(), "{text}");
                    for reason in reasons {
                        assert!(text.contains(reason), "{text}");
                    }
                }
                other => panic!("{other:?}"),
            }
        };
        check(None, Warn, Ok("(`memory`);"));
        check(None, Warn, Ok("processes are counted for each user"));
        check(None, Require, Err(&["limits memory", "limits processes"]));
        check(Some(&["pids"]), Warn, Ok("memory (`memory`);"));
        check(Some(&["pids"]), Require, Err(&["controller `memory`"]));
        check(Some(&["memory", "pids", "cpu"]), Require, Ok(""));
    }

    #[test]
    fn nothing_is_left_that_needs_a_group() {
        let fitted = rootless(None, RootlessLimits::Warn).fit(hardened()).unwrap();
        assert_eq!(fitted.spec.pointer("/linux/resources"), None);
        assert_eq!(fitted.spec.pointer("/linux/cgroupsPath"), None);
        let nproc = json!([{"type": "RLIMIT_NPROC", "hard": 5, "soft": 5}]);
        assert_eq!(fitted.spec["process"]["rlimits"], nproc);
        assert_eq!(fitted.spec["mounts"], json!([{"destination": "/proc", "type": "proc"}]));
        let why = fitted.changes.iter().find(|it| it.path == "/linux/uidMappings").unwrap();
        assert!(why.reason.contains("is 100000 of the machine"), "{why:?}");

        let fitted = rootless(Some(&["pids"]), RootlessLimits::Warn).fit(hardened()).unwrap();
        assert_eq!(fitted.spec["linux"]["resources"], json!({"pids": {"limit": 5}, "cpu": {}}));
        assert_eq!(fitted.spec["mounts"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn ids_are_the_ranges_or_the_users() {
        let check = |change: fn(&mut Rootless), expected: Value| {
            let mut rootless = rootless(None, RootlessLimits::Warn);
            change(&mut rootless);
            let fitted = rootless.fit(hardened()).unwrap();
            assert_eq!(fitted.spec["linux"]["uidMappings"], expected);
        };
        check(|_| (), json!([{"containerID": 0, "hostID": 1, "size": 65536}]));
        check(
            |it| it.root_is_user = true,
            json!([{"containerID": 0, "hostID": 0, "size": 1},
                   {"containerID": 1, "hostID": 2, "size": 65535}]),
        );
        check(
            |it| it.ids = Some(IdRange { first: 0, count: 1 }),
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
        );
    }
}
