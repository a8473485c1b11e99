//! A container's AppArmor profile: loaded, applied, and what keeps it in when nothing else does.

use palisade_policy::{Network, Policy, Seccomp, SecurityModule, UserMode, UserNamespace};
use palisade_runtime::{AppArmorError, ExecRequest, Output, RunError, Stdio, apparmor};

use super::super::bench::{Bench, Captured, can_run, restricted};

/// Whether the kernel of this machine runs AppArmor; says so if not.
fn is_active() -> bool {
    if !apparmor::is_active() {
        eprintln!("skipped: this kernel runs without AppArmor");
        return false;
    }
    can_run()
}

/// Root with the capability to mount, on the host's ids, without a filter and with no path masked:
/// whatever is denied now, AppArmor denies.
fn careless(security_module: SecurityModule) -> Policy {
    let mut policy = restricted();
    let containers = &mut policy.containers;
    containers.user = UserMode::Image;
    containers.user_namespace = UserNamespace::Host;
    containers.capabilities = vec!["SYS_ADMIN".into()];
    containers.seccomp = Seccomp::Unconfined;
    containers.network = Network::None;
    containers.mask_paths = false;
    containers.security_module = security_module;
    policy
}

/// Ways to the kernel, on canaries: nothing is written to what is opened.
const WAYS: &str = r#"
try() { name=$1; shift; if "$@" 2>/dev/null; then echo $name: works; else echo $name: denied; fi; }
opens() { ( : >>"$1" ); }
try label grep -q palisade- /proc/self/attr/current
try mount busybox mount -t tmpfs canary /data
try core_pattern opens /proc/sys/kernel/core_pattern
try modprobe opens /proc/sys/kernel/modprobe
try sysrq opens /proc/sysrq-trigger
try kcore busybox head -c 1 /proc/kcore
try own opens /proc/self/oom_score_adj
try tmp opens /tmp/canary
"#;

#[test]
fn the_profile_denies_what_nothing_else_does() {
    if !is_active() {
        return;
    }
    let bench = Bench::new();
    let run = |module| {
        let (outcome, output) = bench.run(&careless(module), WAYS).unwrap();
        (outcome, output)
    };
    let of = |output: &str, name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{name}: {output}")).to_string()
    };
    let (_, free) = run(SecurityModule::Off);
    let (outcome, confined) = run(SecurityModule::Required);
    for way in ["mount", "core_pattern", "modprobe", "sysrq"] {
        assert_eq!(of(&free, way), "works", "without a profile: {free}");
        assert_eq!(of(&confined, way), "denied", "{confined}");
    }
    assert_eq!(of(&confined, "kcore"), "denied", "{confined}");
    // What a program needs goes on working.
    for way in ["label", "own", "tmp"] {
        assert_eq!(of(&confined, way), "works", "{confined}");
    }
    assert_eq!(of(&free, "label"), "denied", "{free}");
    let change = outcome.changes.iter().find(|change| change.path == "/process/apparmorProfile");
    let name = change.and_then(|change| change.to.clone()).unwrap();
    assert!(apparmor::loaded().iter().any(|loaded| *loaded == name), "{name}");
}

#[test]
fn a_further_process_is_confined_too_and_restricted_works_under_its_profile() {
    if !is_active() {
        return;
    }
    let bench = Bench::new();
    let mut policy = restricted();
    policy.containers.security_module = SecurityModule::Required;
    let mut request = bench.request(&policy, &["/bin/sleep", "60"]);
    request.detach = true;
    request.name = Some("confined".into());
    bench.runtime.run(&request, Stdio::default()).unwrap();
    let output = Captured::default();
    let stdio = Stdio {
        stdout: Output::Writer(Box::new(output.clone())),
        stderr: Output::Writer(Box::new(output.clone())),
        ..Stdio::default()
    };
    let script = "cat /proc/self/attr/current; echo x >/tmp/x && cat /tmp/x; ls / | wc -l";
    let exec = ExecRequest {
        command: ["/bin/sh", "-c", script].map(str::to_string).to_vec(),
        ..ExecRequest::default()
    };
    let exit = bench.runtime.exec("confined", &exec, stdio).unwrap();
    let text = output.text();
    assert_eq!(exit.shell_code(), 0, "{text}");
    assert!(text.starts_with("palisade-restricted-") && text.contains("(enforce)\nx\n"), "{text}");
    bench.runtime.remove("confined", true).unwrap();
}

#[test]
fn a_policy_that_demands_it_is_refused_where_there_is_none() {
    if !can_run() {
        return;
    }
    if apparmor::is_active() {
        eprintln!("skipped: this kernel runs AppArmor");
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    let mut policy = restricted();
    policy.containers.security_module = SecurityModule::Required;
    let error = bench.run(&policy, "true").unwrap_err();
    assert!(matches!(error, RunError::AppArmor(AppArmorError::Inactive)), "{error}");
    assert_eq!(bench.traces(), before);
}
