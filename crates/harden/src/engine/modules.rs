//! AppArmor and SELinux: how an engine has a container confined stays as it is; what would not
//! confine it was asked for and is refused. It can be taken away where a profile of an engine's
//! is loaded; which label and which files' labels SELinux would want, nobody here knows.

use palisade_policy::{Allowance, Asked};
use serde_json::{Value, json};

use super::Confine;
use crate::Malformed;
use crate::controls::Work;

/// SELinux's types of containers (Pod Security Standards, baseline), and the first by its older
/// name. Others begin alike: `container_runtime_t` is the engine's own.
const TYPES: [&str; 5] =
    ["container_t", "container_init_t", "container_kvm_t", "container_engine_t", "svirt_lxc_net_t"];
/// Types of their files.
const FILE_TYPES: [&str; 5] = [
    "container_file_t",
    "container_ro_file_t",
    "container_share_t",
    "svirt_sandbox_file_t",
    "svirt_lxc_file_t",
];
/// SELinux's users as whom engines start containers.
const USERS: [&str; 2] = ["system_u", "unconfined_u"];
/// AppArmor's modes in which a profile keeps a program from something.
const KEEPING: [&str; 2] = ["enforce", "kill"];

/// Whether AppArmor may take the name of a profile for another than it is by its text: it drops
/// white space around it, looks up what follows a colon in another namespace, and puts profiles
/// upon each other (`unconfined//&unconfined` confines nothing).
pub fn is_ambiguous_profile(name: &str) -> bool {
    name.trim_matches(|c: char| c.is_whitespace() || c.is_control()) != name
        || name.contains("//&")
        || name.starts_with([':', '&'])
}

/// Whether `label` (`user:role:type:level`) is one of `types`, and its categories are not those
/// of all containers: a range of them reaches what others of this type have.
fn is_of(label: &str, role: &str, types: &[&str]) -> bool {
    let mut parts = label.splitn(4, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (user, its_role, kind, level) = (next(), next(), next(), next());
    USERS.contains(&user)
        && its_role == role
        && types.contains(&kind)
        && !level.contains(['-', '.'])
}

impl Confine<'_> {
    /// Of the process at `at`. `first`: it is the container's first one.
    pub(super) fn modules(&self, work: &mut Work, at: &str, first: bool) -> Result<(), Malformed> {
        // Privileged mode asks for this, too, and was refused as a whole.
        let is_said = work.reasons.iter().any(|reason| reason.control == "privileged");
        if is_said || self.allows(&Allowance::SecurityModule) {
            return Ok(());
        }
        let text = |work: &Work, path: &str| -> String {
            work.patch.get(path).and_then(Value::as_str).unwrap_or_default().to_string()
        };
        let profile = text(work, &format!("{at}/apparmorProfile"));
        let label = text(work, &format!("{at}/selinuxLabel"));
        let mode = self.engine.apparmor_mode.as_deref().filter(|_| first);
        // The kernel knows by what name a profile is loaded; one that it does not list is none.
        let keeps = match mode {
            Some(mode) => KEEPING.contains(&mode),
            None => !first || profile.is_empty(),
        };
        let unconfined = self.engine.apparmor
            && (profile == "unconfined" || is_ambiguous_profile(&profile) || !keeps);
        let free = !label.is_empty() && !is_of(&label, "system_r", &TYPES);
        let disabled = self.engine.selinux && label.is_empty() && self.engine.label_disabled;
        let what = "AppArmor or SELinux would not confine the container";
        if free || disabled {
            self.not_confined(work, what);
        } else if unconfined {
            match &self.engine.apparmor_default {
                Some(default) if self.policy.engines.asked == Asked::Remove => {
                    work.warnings.push(format!("{what}: taken away"));
                    let why = "as an engine confines its containers";
                    work.patch.set(&format!("{at}/apparmorProfile"), json!(default), why)?;
                }
                _ => self.not_confined(work, what),
            }
        } else if first && label.is_empty() && self.engine.selinux {
            work.warnings.push(
                "SELinux does not confine the container: its engine gives it no label (Docker: \
                 `selinux-enabled`, containerd: `enable_selinux`)"
                    .into(),
            );
        } else if first && label.is_empty() && profile.is_empty() && self.engine.apparmor {
            work.warnings.push(
                "AppArmor does not confine the container: its engine gives it no profile".into(),
            );
        }
        Ok(())
    }

    /// The label of what is mounted in the container.
    pub(super) fn mount_label(&self, work: &mut Work) -> Result<(), Malformed> {
        let at = "/linux/mountLabel";
        let label = match work.patch.get(at) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(label)) => label,
            Some(_) => return Err(Malformed(at.into())),
        };
        if !label.is_empty()
            && !is_of(label, "object_r", &FILE_TYPES)
            && !self.allows(&Allowance::SecurityModule)
        {
            self.not_confined(work, "SELinux would take the container's files for others");
        }
        Ok(())
    }

    fn not_confined(&self, work: &mut Work, what: &str) {
        let fix = self.fix(&Allowance::SecurityModule);
        work.refuse("security_module", what.into(), &fix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_apparmor_takes_for_others_are_known() {
        for name in [
            "unconfined ",
            " unconfined",
            "unconfined\n",
            "\tdocker-default",
            "unconfined\0",
            "unconfined//&unconfined",
            "docker-default//&unconfined",
            "&unconfined",
            ":root:unconfined",
            ":ns://unconfined",
        ] {
            assert!(is_ambiguous_profile(name), "{name:?}");
        }
        for name in ["", "docker-default", "/usr/bin/man (a)", "a//b", "a&b", "a:b"] {
            assert!(!is_ambiguous_profile(name), "{name:?}");
        }
    }

    #[test]
    fn labels_of_containers_are_known_whole() {
        let check = |label: &str, expected: bool| {
            assert_eq!(is_of(label, "system_r", &TYPES), expected, "{label}");
        };
        check("system_u:system_r:container_t:s0:c1,c2", true);
        check("unconfined_u:system_r:container_t:s0:c1,c2", true);
        check("system_u:system_r:container_init_t:s0:c1,c2", true);
        check("system_u:system_r:container_kvm_t:s0", true);
        check("system_u:system_r:svirt_lxc_net_t:s0", true);
        check("system_u:system_r:container_t", true);
        for label in [
            "system_u:system_r:container_runtime_t:s0",
            "system_u:system_r:container_t:s0-s0:c0.c1023",
            "system_u:system_r:container_t:s0:c0.c1023",
            "system_u:system_r:container_auth_t:s0",
            "system_u:system_r:svirt_t:s0",
            "system_u:system_r:spc_t:s0",
            "sysadm_u:system_r:container_t:s0",
            "system_u:sysadm_r:container_t:s0",
            "container_t",
            ":::",
            "",
        ] {
            check(label, false);
        }
        assert!(is_of("system_u:object_r:container_file_t:s0:c1,c2", "object_r", &FILE_TYPES));
        assert!(!is_of("system_u:object_r:etc_t:s0", "object_r", &FILE_TYPES));
    }
}
