//! Annotations that runtimes obey: they reach past everything else that a spec says.

use palisade_policy::Allowance;
use serde_json::Value;

use super::Confine;
use crate::Malformed;
use crate::controls::Work;

/// What the names begin with: crun's own (crun(1): another filter, a library that it loads, files
/// of the host that it writes, groups that it keeps), CRIU's (a configuration that names programs
/// to run), and properties of systemd's unit, by crun and runC (limits, devices, the slice).
const OBEYED: [&str; 6] =
    ["run.oci.", "org.criu.", "org.systemd.property.", "module.wasm.", "krun.", "dev.gvisor."];

/// Those that give nothing: they are stricter, or say how a unit is stopped and ordered. Podman
/// and CRI-O write the units' by themselves.
const HARMLESS: [&str; 6] = [
    "run.oci.seccomp_fail_unknown_syscall",
    "org.systemd.property.After",
    "org.systemd.property.CollectMode",
    "org.systemd.property.DefaultDependencies",
    "org.systemd.property.KillSignal",
    "org.systemd.property.TimeoutStopUSec",
];

/// Whether a runtime does something because of an annotation of this name that a container must
/// not have without being allowed it.
fn is_obeyed(name: &str) -> bool {
    OBEYED.iter().any(|prefix| name.starts_with(prefix)) && !HARMLESS.contains(&name)
}

impl Confine<'_> {
    /// Refuses or takes away what the policy does not allow. An image's manifest may carry them,
    /// too: Podman hands its annotations on.
    pub(super) fn annotations(&self, work: &mut Work) -> Result<(), Malformed> {
        let at = "/annotations";
        let map = match work.patch.get(at) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => return Err(Malformed(at.into())),
        };
        let mut kept = map.clone();
        for name in map.keys().filter(|name| is_obeyed(name)) {
            if self.may_have_annotation(name) {
                continue;
            }
            let shown: String = name.chars().take(80).collect();
            let what = format!("the runtime would obey the annotation `{shown}`");
            if self.asked(work, "annotations", what, &Allowance::Annotation(shown)) {
                kept.shift_remove(name);
            }
        }
        if kept != map {
            let why = "annotations by which a runtime goes past the policy";
            work.patch.set(at, Value::Object(kept), why)?;
        }
        Ok(())
    }

    pub(super) fn may_have_annotation(&self, name: &str) -> bool {
        self.allows_like(name, |allowance| match allowance {
            Allowance::Annotation(pattern) => Some(pattern),
            _ => None,
        })
    }
}
