//! The checks themselves: each reads facts and judges them, and changes nothing.

use std::path::Path;

use palisade_sys::{Hierarchies, Layout, facts, namespace};

use super::{Check, Status};

/// All checks, in the order of the report.
pub(super) fn all() -> Vec<Check> {
    let kernel = facts::kernel();
    let mut checks = kernel_checks(&kernel);
    checks.extend(ebpf_checks());
    checks.extend(sensor_checks());
    checks.extend(cgroup_checks());
    checks.extend(namespace_checks());
    checks.extend(module_checks(&kernel));
    checks.extend(runtime_checks());
    checks.extend(engine_checks());
    checks
}

fn kernel_checks(kernel: &facts::KernelFacts) -> Vec<Check> {
    vec![
        Check::required("kernel", "release", kernel.release.at_least(5, 8))
            .detail(format!("{} ({})", kernel.release.text, kernel.machine))
            .remedy("the sensor needs Linux 5.8 or later (ring buffer)"),
        Check::required("kernel", "type information (BTF)", kernel.btf)
            .detail("/sys/kernel/btf/vmlinux")
            .remedy("use a distribution's kernel: CONFIG_DEBUG_INFO_BTF=y"),
        Check::required("kernel", "id-mapped layers", kernel.release.at_least(5, 19))
            .detail("a container's root with owners of its own, without a copy")
            .remedy("`run` as root needs Linux 5.19 or later, and 6.3 for layers on a tmpfs; as an ordinary user 5.11; the other commands do not"),
        Check::required("kernel", "overlay file system", kernel.overlay)
            .remedy("load it: modprobe overlay"),
        Check::required("kernel", "seccomp filters", !kernel.seccomp_actions.is_empty())
            .detail(kernel.seccomp_actions.join(" "))
            .remedy("use a kernel with CONFIG_SECCOMP_FILTER=y"),
        Check::optional(
            "kernel",
            "io_uring closed to containers",
            kernel.io_uring_disabled.is_some_and(|level| level > 0),
        )
        .detail(match kernel.io_uring_disabled {
            Some(level) => format!("kernel.io_uring_disabled = {level}"),
            None => "the kernel has no such switch".to_string(),
        })
        .remedy("Palisade's seccomp profiles refuse io_uring; sysctl kernel.io_uring_disabled=2 closes it for the rest"),
        Check::required("kernel", "privilege of this process", facts::is_privileged())
            .detail("root with CAP_SYS_ADMIN")
            .remedy("run as root: running containers, sensing and responding need it; scan, sbom, sign and verify do not"),
    ]
}

fn ebpf_checks() -> Vec<Check> {
    palisade_bpf::probe::features()
        .into_iter()
        .map(|feature| {
            use palisade_bpf::probe::{Role, Support};
            let name = feature.name;
            let (works, detail) = match feature.support {
                Support::Supported => (true, "loads".to_string()),
                Support::Refused { errno } => {
                    (false, format!("refused: {}", std::io::Error::from_raw_os_error(errno)))
                }
                Support::Absent => (false, "not in this kernel".to_string()),
            };
            if feature.role == Role::Unused {
                // Worth knowing for those who compare machines; no fault of this one.
                let detail = format!("{detail}; not used ({})", feature.purpose);
                return Check::new("ebpf", name, Status::Ok).detail(detail);
            }
            let detail = if works {
                format!("{detail}: {}", feature.purpose)
            } else {
                format!("{detail}: without it {}", feature.role.without())
            };
            if feature.role == Role::Enforcement {
                // Most kernels are started without; rules say how they stand.
                return Check::new("ebpf", name, Status::Ok).detail(detail);
            }
            Check::required("ebpf", name, works).detail(detail).remedy(feature.remedy)
        })
        .collect()
}

/// The sensor's own programs, which the kernel's verifier judges one by one, and what the answer
/// means.
fn sensor_checks() -> Vec<Check> {
    use palisade_base::Explain as _;
    let hooks = match palisade_bpf::probe::hooks() {
        Ok(hooks) => hooks,
        Err(error) => {
            let detail = format!("nothing is detected or answered: {error}");
            let check = Check::new("sensor", "probes", Status::Missing).detail(detail);
            return vec![check.remedy(error.hint().unwrap_or_default())];
        }
    };
    let mut checks: Vec<Check> = hooks.iter().map(hook_check).collect();
    if checks.iter().all(|check| check.status != Status::Missing) {
        let detail = "detects and answers after the call (freeze, isolate, kill); what `run` \
            forbids is denied before it happens, other calls are not";
        checks.push(Check::new("sensor", "enforcement", Status::Ok).detail(detail));
    }
    checks
}

fn hook_check(hook: &palisade_bpf::probe::Hook) -> Check {
    let seen = match hook.events.as_slice() {
        [event] => (*event).to_string(),
        events => format!("{} events", events.len()),
    };
    let Some(refusal) = hook.refusals.first() else {
        return Check::new("sensor", hook.hook, Status::Ok).detail(format!("loads: {seen}"));
    };
    let reason = refusal.error.verdict().map_or_else(|| refusal.error.to_string(), str::to_string);
    let lost: Vec<&str> = if hook.is_lost() {
        hook.events.clone()
    } else {
        hook.refusals.iter().flat_map(|refusal| refusal.events.clone()).collect()
    };
    let detail =
        format!("`{}` is refused ({reason}); not seen: {}", refusal.program, lost.join(" "));
    // The sensor loads all that its rules need or nothing.
    Check::new("sensor", hook.hook, Status::Missing).detail(detail).remedy(
        "`watch` does not start with rules about these events, so leave them out; report the \
         kernel's version with this line, for it is a bug in the probes",
    )
}

fn cgroup_checks() -> Vec<Check> {
    let hierarchies = match Hierarchies::detect() {
        Ok(hierarchies) => hierarchies,
        Err(error) => {
            return vec![
                Check::new("cgroups", "hierarchies", Status::Missing)
                    .detail(error.to_string())
                    .remedy("mount cgroup2 at /sys/fs/cgroup"),
            ];
        }
    };
    let layout = match hierarchies.layout() {
        Layout::V2 => "version 2",
        Layout::V1 => "version 1",
        Layout::Hybrid => "hybrid: version 1 controllers, version 2 for identity",
    };
    let controllers = hierarchies.controllers().unwrap_or_default();
    let missing: Vec<&str> = ["memory", "cpu", "pids", "freezer"]
        .into_iter()
        // Version 2 freezes without a controller.
        .filter(|name| *name != "freezer" || hierarchies.layout() != Layout::V2)
        .filter(|name| !controllers.iter().any(|controller| controller == name))
        .collect();
    vec![
        Check::new("cgroups", "hierarchies", Status::Ok).detail(layout),
        Check::required("cgroups", "controllers for limits and freezing", missing.is_empty())
            .detail(controllers.join(" "))
            .remedy(format!("enable {} on the kernel command line", missing.join(", "))),
        Check::optional(
            "cgroups",
            "version 2 for network isolation",
            hierarchies.unified().is_some(),
        )
        .detail(hierarchies.unified().map_or(String::new(), |path| path.display().to_string()))
        .remedy("mount cgroup2: isolation of a container's network attaches there"),
        Check::optional("cgroups", "swap limit", hierarchies.can_limit_swap())
            .remedy("boot with swapaccount=1, or run without swap"),
    ]
}

fn namespace_checks() -> Vec<Check> {
    let facts = namespace::user_namespace_facts();
    let works = facts.supported && facts.n_max != Some(0);
    vec![
        Check::required("namespaces", "user namespaces", works)
            .detail(facts.n_max.map_or(String::new(), |n| format!("at most {n}")))
            .remedy("sysctl user.max_user_namespaces=65536"),
    ]
}

/// Whether containers get a profile of their own.
fn apparmor_check() -> Check {
    use palisade_runtime::apparmor;
    let name = "AppArmor profiles of containers";
    if !apparmor::is_active() {
        let detail = "none: the kernel does not run AppArmor";
        return Check::new("security modules", name, Status::Ok).detail(detail);
    }
    let parser = apparmor::parser();
    let detail = match &parser {
        Some(parser) => format!("{}; {} loaded", parser.display(), apparmor::loaded().len()),
        None => "there is no apparmor_parser: containers run without".into(),
    };
    Check::optional("security modules", name, parser.is_some())
        .detail(detail)
        .remedy("apt install apparmor")
}

/// Whether SELinux holds a policy, and what it does with it.
fn selinux_check() -> Check {
    let check = Check::new("security modules", "SELinux", Status::Ok);
    let Ok(text) = std::fs::read_to_string("/sys/fs/selinux/enforce") else {
        return check.detail("none: the kernel does not run SELinux, or selinuxfs is not mounted");
    };
    // The kernel's own label until a policy is loaded (`security/selinux/ss/services.c`).
    let label = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let label = label.trim_end_matches(['\0', '\n']);
    if label == "kernel" {
        return check.detail("no policy is loaded");
    }
    if text.trim() == "1" {
        return check.detail(format!("enforcing; this process is {label}"));
    }
    let check = Check::optional("security modules", "SELinux", false);
    check
        .detail(format!("permissive: it refuses nothing; this process is {label}"))
        .remedy("setenforce 1")
}

/// Whether the kernel measures what is executed.
fn measurement_check() -> Check {
    let check = Check::new("security modules", "integrity measurement (IMA)", Status::Ok);
    let count = std::fs::read_to_string("/sys/kernel/security/ima/runtime_measurements_count");
    match count.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        None => check.detail("none: the kernel has no IMA, or securityfs is not mounted"),
        // The boot aggregate alone.
        Some(0 | 1) => check.detail("nothing is measured: no policy is loaded"),
        Some(n) => check.detail(format!("{n} measurements")),
    }
}

fn module_checks(kernel: &facts::KernelFacts) -> Vec<Check> {
    let modules = kernel.security_modules.clone().unwrap_or_default();
    let shown = if kernel.security_modules.is_some() {
        modules.join(" ")
    } else {
        "unknown: securityfs is not mounted".to_string()
    };
    let mandatory = modules.iter().any(|name| name == "apparmor" || name == "selinux");
    vec![
        Check::optional("security modules", "AppArmor or SELinux", mandatory)
            .detail(shown)
            .remedy("`run` makes an AppArmor profile for each container where the kernel runs it: boot with security=apparmor"),
        apparmor_check(),
        selinux_check(),
        measurement_check(),
        Check::new("security modules", "BPF LSM", Status::Ok).detail(
            if modules.iter().any(|name| name == "bpf") {
                "active; not used"
            } else {
                "not active; not used"
            },
        ),
    ]
}

/// Finds `name` in the usual folders of administrators' programs.
fn find_program(name: &str) -> Option<String> {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| Path::new(path).exists())
}

fn runtime_checks() -> Vec<Check> {
    let found: Vec<String> = ["runc", "crun"].into_iter().filter_map(find_program).collect();
    vec![
        Check::required("runtimes", "runc or crun", !found.is_empty())
            .detail(found.join(" "))
            .remedy("apt-get install runc"),
    ]
}

fn engine_checks() -> Vec<Check> {
    // An engine that is not there is no fault; the line says what Palisade would see.
    [
        ("Docker", "/run/docker.sock", "/var/lib/docker/containers"),
        ("Podman", "/run/podman/podman.sock", "/var/lib/containers/storage/overlay-containers"),
        (
            "containerd",
            "/run/containerd/containerd.sock",
            "/run/containerd/io.containerd.runtime.v2.task",
        ),
        ("CRI-O", "/run/crio/crio.sock", "/run/crio"),
        ("bare runc", "/run/runc", "/run/runc"),
    ]
    .into_iter()
    .map(|(name, socket, state)| {
        let has = |path: &str| Path::new(path).exists();
        let detail = match (has(socket), has(state)) {
            (true, _) => format!("{socket} is there; its containers are recognised"),
            (false, true) => format!("stopped; {state} is read"),
            (false, false) => "not on this machine".to_string(),
        };
        Check::new("engines", name, Status::Ok).detail(detail)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_needs_no_remedy() {
        let check = Check::required("kernel", "x", true).remedy("do this");
        assert_eq!(check.remedy, None);
        let check = Check::required("kernel", "x", false).remedy("do this");
        assert_eq!(check.remedy.as_deref(), Some("do this"));
    }

    #[test]
    fn a_refused_hook_says_what_is_not_seen() {
        use palisade_bpf::LoadError;
        use palisade_bpf::probe::{Hook, Refusal};
        let hook = |refused: Option<(&'static str, &'static str)>| Hook {
            hook: "tp_btf/sys_exit",
            events: vec!["openat", "connect"],
            refusals: refused
                .map(|(program, event)| Refusal {
                    program,
                    events: vec![event],
                    error: LoadError::KernelTooOld { release: "4.19".into() },
                })
                .into_iter()
                .collect(),
        };
        let check = |refused, status, expected: &str| {
            let check = hook_check(&hook(refused));
            assert_eq!(check.status, status);
            assert!(check.detail.ends_with(expected), "{}", check.detail);
            assert_eq!(check.remedy.is_some(), status != Status::Ok);
        };
        check(None, Status::Ok, "loads: 2 events");
        check(Some(("call_openat", "openat")), Status::Missing, "not seen: openat");
        check(Some(("dispatch", "openat")), Status::Missing, "not seen: openat connect");
    }
}
