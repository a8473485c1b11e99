//! Capabilities: what the policy leaves, of what the engine gives.

use palisade_policy::Allowance;
use serde_json::{Value, json};

use super::Confine;
use crate::Malformed;
use crate::controls::Work;

/// What engines leave to every container without being asked (moby's `caps.DefaultCapabilities`;
/// Podman's are among them).
pub const ENGINE_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

const SETS: [&str; 5] = ["bounding", "effective", "permitted", "inheritable", "ambient"];

impl Confine<'_> {
    /// Takes capabilities from the process at `at`. `quiet`: what was asked for is not said.
    pub(super) fn capabilities(
        &self,
        work: &mut Work,
        at: &str,
        quiet: bool,
    ) -> Result<(), Malformed> {
        let may_have = |name: &str| {
            let Some(short) = name.strip_prefix("CAP_") else { return false };
            self.containers.capabilities.iter().any(|known| known == short)
                || self.allows(&Allowance::Capability(short.to_string()))
        };
        let mut more: Vec<String> = Vec::new();
        for set in SETS {
            for entry in work.patch.list(&format!("{at}/capabilities/{set}"))? {
                let bad = || Malformed(format!("{at}/capabilities/{set}"));
                let name = entry.as_str().ok_or_else(bad)?;
                if !may_have(name)
                    && !ENGINE_CAPABILITIES.contains(&name)
                    && !more.iter().any(|known| known == name)
                {
                    more.push(name.to_string());
                }
            }
        }
        if !quiet {
            for name in more {
                let short: String =
                    name.strip_prefix("CAP_").unwrap_or(&name).chars().take(40).collect();
                let what = format!("the capability {short} was asked for");
                self.asked(work, "capabilities", what, &Allowance::Capability(short));
            }
        }
        let why = "the program has only the capabilities that the policy names";
        keep(work, at, why, may_have)
    }
}

/// Keeps what `wanted` says of every set of the process at `at`.
pub(super) fn keep(
    work: &mut Work,
    at: &str,
    why: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), Malformed> {
    let object = format!("{at}/capabilities");
    match work.patch.get(&object) {
        // Without the object runtimes give none.
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(_)) => {}
        Some(_) => return Err(Malformed(object)),
    }
    let ambient = work.patch.list(&format!("{at}/capabilities/ambient"))?;
    for set in SETS {
        let path = format!("{at}/capabilities/{set}");
        let old = work.patch.list(&path)?;
        let mut new: Vec<Value> =
            old.iter().filter(|name| name.as_str().is_some_and(&wanted)).cloned().collect();
        if set == "inheritable" {
            // Inherited by files that carry it (CVE-2022-24769); ambient ones need it.
            new.retain(|name| ambient.contains(name));
        }
        if new != old {
            work.patch.set(&path, json!(new), why)?;
        }
    }
    Ok(())
}
