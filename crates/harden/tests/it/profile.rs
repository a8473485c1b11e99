//! The seccomp profiles: complete, without contradictions, reasoned, and strict enough.

use std::collections::BTreeSet;

use palisade_harden::seccomp::{Profile, default_profile, from_document, strict_profile};
use serde_json::json;

/// The system calls of x86_64 up to Linux 6.17 (`arch/x86/entry/syscalls/syscall_64.tbl`).
const X86_64: &str = include_str!("x86_64.txt");

fn profiles() -> [Profile; 2] {
    [default_profile().unwrap(), strict_profile().unwrap()]
}

#[test]
fn every_entry_has_a_reason_and_stands_once() {
    for profile in profiles() {
        let mut seen = BTreeSet::new();
        let groups = profile.allow.iter().chain(&profile.deny).chain(&profile.unsupported);
        for group in groups {
            assert!(group.reason.ends_with('.') && group.reason.len() > 10, "{group:?}");
            for call in &group.calls {
                assert!(seen.insert(call.clone()), "{} has `{call}` twice", profile.name);
            }
        }
        for condition in profile.allow_when.iter().chain(&profile.deny_when) {
            assert!(condition.reason.ends_with('.'), "{condition:?}");
            assert!(!condition.args.is_empty(), "{condition:?}");
            assert!(
                !seen.contains(&condition.call),
                "{}: `{}` is decided without its arguments as well",
                profile.name,
                condition.call
            );
        }
        let mut conditions: Vec<_> = profile
            .allow_when
            .iter()
            .chain(&profile.deny_when)
            .map(|condition| (&condition.call, &condition.args))
            .collect();
        let n = conditions.len();
        conditions.sort();
        conditions.dedup();
        assert_eq!(conditions.len(), n, "{}", profile.name);
        let known = palisade_policy_capabilities();
        for entry in &profile.allow_with_capability {
            assert!(known.contains(&entry.capability.as_str()), "{}", entry.capability);
            let refused = profile.refused();
            let allowed = profile.allowed();
            for call in &entry.calls {
                assert!(
                    refused.contains(call.as_str()) || allowed.contains(call.as_str()),
                    "{}: `{call}` is brought by a capability but not decided without it",
                    profile.name
                );
            }
        }
    }
}

/// Capabilities that profiles mention.
fn palisade_policy_capabilities() -> [&'static str; 14] {
    [
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_TIME",
        "SYS_NICE",
        "SYSLOG",
        "SYS_BOOT",
        "SYS_MODULE",
        "BPF",
        "PERFMON",
        "DAC_READ_SEARCH",
        "SYS_RAWIO",
        "SYS_PACCT",
        "SYS_TTY_CONFIG",
        "SYS_ADMIN",
    ]
}

#[test]
fn no_call_of_the_kernel_is_undecided() {
    for profile in profiles() {
        let mut decided = profile.allowed();
        decided.extend(profile.conditional());
        decided.extend(profile.refused());
        let open: Vec<&str> =
            X86_64.split_whitespace().filter(|call| !decided.contains(call)).collect();
        assert_eq!(open, Vec::<&str>::new(), "{}", profile.name);
    }
}

#[test]
fn what_attacks_need_is_refused() {
    for profile in profiles() {
        let refused = profile.refused();
        for call in [
            "io_uring_setup",
            "io_uring_enter",
            "io_uring_register",
            "keyctl",
            "add_key",
            "request_key",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "unshare",
            "setns",
            "mount",
            "umount2",
            "pivot_root",
            "fsopen",
            "move_mount",
            "open_tree",
            "mount_setattr",
            "init_module",
            "finit_module",
            "delete_module",
            "kexec_load",
            "kexec_file_load",
            "open_by_handle_at",
            "name_to_handle_at",
            "process_vm_readv",
            "process_vm_writev",
            "pidfd_getfd",
            "kcmp",
            "reboot",
            "swapon",
            "syslog",
            "iopl",
            "ioperm",
            "clone3",
            "settimeofday",
            "quotactl",
            "socketcall",
            "modify_ldt",
            "chroot",
        ] {
            assert!(refused.contains(call), "{} allows {call}", profile.name);
        }
        assert!(!profile.allowed().contains("clone"), "clone must be filtered by its flags");
        assert!(!profile.allowed().contains("socket"), "socket must be filtered by its family");
    }
    let strict = strict_profile().unwrap();
    assert!(strict.refused().contains("ptrace"));
    for call in ["memfd_create", "chmod", "fchmod", "openat", "open", "execveat"] {
        assert!(strict.conditional().contains(call), "{call}");
    }
}

#[test]
fn what_ordinary_programs_need_is_allowed() {
    // Traced from nginx, redis, python and busybox with start, reload, work and stop.
    for profile in profiles() {
        let mut usable = profile.allowed();
        usable.extend(profile.conditional());
        for call in "accept accept4 access arch_prctl bind brk capget capset chdir chown clone \
            close connect dup dup2 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_wait \
            eventfd2 execve exit exit_group faccessat faccessat2 fadvise64 fcntl fdatasync fstat \
            fstatfs fsync ftruncate futex getcwd getdents64 getegid geteuid getgid getgroups \
            getpeername getpgrp getpid getppid getrandom getrusage getsockname getsockopt gettid \
            getuid io_setup ioctl kill listen lseek lstat madvise mkdir mmap mprotect mremap \
            munmap nanosleep newfstatat open openat pipe pipe2 poll ppoll prctl pread64 prlimit64 \
            pwrite64 pwritev read readlink readv recvfrom recvmsg rename rseq rt_sigaction \
            rt_sigprocmask rt_sigreturn rt_sigsuspend sched_getaffinity sched_yield select sendfile \
            sendmsg sendto set_robust_list set_tid_address setgid setgroups setitimer setsid \
            setsockopt setuid shutdown sigaltstack socket socketpair stat statx sysinfo tgkill \
            timerfd_create umask uname unlink utimensat vfork wait4 waitid write writev"
            .split_whitespace()
        {
            assert!(usable.contains(call), "{} refuses {call}", profile.name);
        }
    }
}

#[test]
fn capabilities_bring_their_calls() {
    let profile = default_profile().unwrap();
    let without = profile.compile("x86_64", &[]).unwrap();
    let with = profile.compile("x86_64", &["SYS_TIME".into()]).unwrap();
    let names = |value: &serde_json::Value, rule: usize| {
        value["syscalls"][rule]["names"].to_string().contains("\"settimeofday\"")
    };
    assert!(!names(&without, 0) && names(&with, 0));
    let last = without["syscalls"].as_array().unwrap().len() - 1;
    assert!(names(&without, last) && !names(&with, last));
    assert!(profile.compile("riscv64", &[]).is_err());
}

#[test]
fn docker_profiles_are_read() {
    let docker = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["execve"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "x"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arm_x"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"name": "write", "action": "SCMP_ACT_ALLOW"},
        ],
    });
    let oci = from_document(&docker, "x86_64", &[]).unwrap();
    let names: Vec<String> =
        oci["syscalls"].as_array().unwrap().iter().map(|rule| rule["names"].to_string()).collect();
    assert_eq!(names, [r#"["execve"]"#, r#"["clone"]"#, r#"["write"]"#]);
    assert_eq!(oci["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    assert_eq!(oci.get("archMap"), None);
    let with = from_document(&docker, "x86_64", &["SYS_ADMIN".into()]).unwrap();
    assert!(with.to_string().contains("mount") && !with.to_string().contains("clone"));
}

#[test]
fn a_profile_under_which_nothing_starts_is_refused_with_the_calls() {
    use palisade_harden::seccomp::{FLOOR, SeccompError, denied_of_floor};
    let check = |document: &serde_json::Value, expected: Option<&[&'static str]>| {
        let found = match from_document(document, "x86_64", &[]) {
            Err(SeccompError::NoStart(calls)) => Some(calls),
            Err(error) => panic!("{error}"),
            Ok(_) => None,
        };
        assert_eq!(found.as_deref(), expected, "{document}");
    };
    let rule = |name: &str, action: &str| json!({"names": [name], "action": action});
    let deny = "SCMP_ACT_ERRNO";
    // The one that decides comes first, the others with it.
    let mut all_but_close = FLOOR.to_vec();
    all_but_close.retain(|call| !["close", "execve"].contains(call));
    all_but_close.insert(0, "execve");
    check(
        &json!({"defaultAction": deny, "syscalls": [rule("close", "SCMP_ACT_ALLOW")]}),
        Some(&all_but_close),
    );
    check(
        &json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("execve", "SCMP_ACT_TRAP")]}),
        Some(&["execve"]),
    );
    check(&json!({"defaultAction": "SCMP_ACT_LOG"}), None);
    check(&json!({"defaultAction": deny, "syscalls": [rule("execve", "SCMP_ACT_LOG")]}), None);

    // What hangs on the runtime is no refusal, and can be asked for.
    let rare = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            rule("openat", deny),
            {"names": ["fcntl"], "action": "SCMP_ACT_KILL", "args": [{"index": 1, "value": 4, "op": "SCMP_CMP_EQ"}]},
            {"names": ["prctl"], "action": deny, "args": [{"index": 0, "value": 4, "op": "SCMP_CMP_EQ"}]},
            rule("prctl", "SCMP_ACT_ALLOW"),
        ],
    });
    check(&rare, None);
    assert_eq!(denied_of_floor(&rare), ["openat"]);
    assert_eq!(denied_of_floor(&json!({"defaultAction": "SCMP_ACT_ALLOW"})), [""; 0]);
}

#[test]
fn invalid_profiles_are_refused() {
    let many: Vec<_> = (0..=palisade_harden::seccomp::RULES_MAX)
        .map(|_| json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"}))
        .collect();
    for document in [
        json!([]),
        json!({}),
        json!({"defaultAction": "x", "syscalls": 1}),
        json!({"defaultAction": "x", "syscalls": [1]}),
        json!({"defaultAction": "x", "syscalls": [{"names": "read"}]}),
        json!({"defaultAction": "x", "syscalls": many}),
    ] {
        assert!(from_document(&document, "x86_64", &[]).is_err());
    }
}
