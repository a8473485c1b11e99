//! How a policy confines, in words for a report.

use palisade_agent::report::HardeningFact;
use palisade_policy::{Network, Policy, Seccomp, SecurityModule, Selinux, UserMode, UserNamespace};

/// One fact for each control of the section `containers`.
pub(crate) fn facts(policy: &Policy) -> Vec<HardeningFact> {
    let containers = &policy.containers;
    let fact = |name: &str, value: String, confines: bool| HardeningFact {
        name: name.to_string(),
        value,
        confines,
    };
    let limits = &containers.limits;
    let limit = |value: Option<u64>, unit: &str| match value {
        Some(value) => format!("{value} {unit}"),
        None => "none".to_string(),
    };
    let (user, non_root) = match containers.user {
        UserMode::Image => ("as the image says".to_string(), false),
        UserMode::RequireNonRoot => ("the image's, never root".to_string(), true),
        UserMode::Fallback(id) => (format!("the image's, {id} instead of root"), true),
    };
    let own_ids = containers.user_namespace == UserNamespace::Private;
    let none = |list: &[String]| if list.is_empty() { "none".into() } else { list.join(" ") };
    let seccomp = match &containers.seccomp {
        Seccomp::Default => "default profile".to_string(),
        Seccomp::Strict => "strict profile".to_string(),
        Seccomp::File(path) => path.display().to_string(),
        Seccomp::Unconfined => "none".to_string(),
    };
    let yes = |value: bool| if value { "yes" } else { "no" }.to_string();
    vec![
        fact("user", user, non_root),
        fact("user ids", if own_ids { "65,536 of its own" } else { "the host's" }.into(), own_ids),
        fact("capabilities", none(&containers.capabilities), containers.capabilities.is_empty()),
        fact("read-only root", yes(containers.read_only_root), containers.read_only_root),
        fact("no new privileges", yes(containers.no_new_privileges), containers.no_new_privileges),
        fact("system calls", seccomp, containers.seccomp != Seccomp::Unconfined),
        fact(
            "network",
            match containers.network {
                Network::None => "loopback only",
                Network::Bridge => "a bridge of containers, guarded",
                Network::Host => "the host's",
            }
            .into(),
            containers.network != Network::Host,
        ),
        fact("memory", limit(limits.memory_bytes, "bytes"), limits.memory_bytes.is_some()),
        fact("processes", limit(limits.pids.map(u64::from), ""), limits.pids.is_some()),
        fact(
            "processor",
            limit(limits.cpu_millis.map(u64::from), "thousandths"),
            limits.cpu_millis.is_some(),
        ),
        fact(
            "AppArmor profile",
            match containers.security_module {
                SecurityModule::Auto => "where the kernel has it",
                SecurityModule::Required => "required",
                SecurityModule::Off => "none",
            }
            .into(),
            containers.security_module != SecurityModule::Off,
        ),
        fact(
            "SELinux label",
            match &containers.selinux {
                Selinux::Auto => "container_t, where the machine knows it".into(),
                Selinux::None => "none".into(),
                Selinux::Label(label) => label.clone(),
            },
            containers.selinux != Selinux::None,
        ),
        fact("masked kernel files", yes(containers.mask_paths), containers.mask_paths),
    ]
}
