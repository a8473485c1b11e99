//! Every handler sends all parameters of its event: each call is made, with arguments that make it
//! fail.

use std::collections::BTreeMap;

use super::*;

/// The names and native numbers of calls.
macro_rules! calls {
    ($($name:ident: $number:ident),* $(,)?) => { [$((stringify!($name), libc::$number)),*] };
}

/// Parameters by event type, from the header that probes and decoder share.
fn parameters() -> BTreeMap<String, (u16, usize)> {
    let header = include_str!("../../../probes/events.h");
    let number = |prefix: &str, name: &str| {
        let start = format!("#define {prefix}{name} ");
        header
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .and_then(|rest| rest.trim().parse::<u16>().ok())
    };
    let names = header.lines().filter_map(|line| line.strip_prefix("#define PLS_EVENT_"));
    let names = names.filter_map(|rest| rest.split(' ').next());
    names
        .filter_map(|name| {
            let pair = (number("PLS_EVENT_", name)?, number("PLS_NPARAMS_", name)?.into());
            Some((name.to_lowercase(), pair))
        })
        .collect()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn every_handler_sends_all_parameters() {
    let Some(_alone) = root() else { return };
    let calls = calls![
        execve: SYS_execve, execveat: SYS_execveat, open: SYS_open, openat: SYS_openat, openat2: SYS_openat2,
        creat: SYS_creat, connect: SYS_connect, socket: SYS_socket, accept: SYS_accept, accept4: SYS_accept4,
        bind: SYS_bind, listen: SYS_listen, sendto: SYS_sendto, recvfrom: SYS_recvfrom, sendmsg: SYS_sendmsg, sendmmsg: SYS_sendmmsg,
        recvmsg: SYS_recvmsg, recvmmsg: SYS_recvmmsg, mprotect: SYS_mprotect, mknod: SYS_mknod, mknodat: SYS_mknodat, dup: SYS_dup, dup2: SYS_dup2,
        dup3: SYS_dup3, close: SYS_close, pipe: SYS_pipe, pipe2: SYS_pipe2, chdir: SYS_chdir, fchdir: SYS_fchdir,
        pidfd_getfd: SYS_pidfd_getfd, memfd_create: SYS_memfd_create, ptrace: SYS_ptrace,
        userfaultfd: SYS_userfaultfd, io_uring_setup: SYS_io_uring_setup, unshare: SYS_unshare, setns: SYS_setns, mount: SYS_mount, umount2: SYS_umount2,
        chroot: SYS_chroot, fsconfig: SYS_fsconfig, unlink: SYS_unlink, unlinkat: SYS_unlinkat, rename: SYS_rename,
        renameat: SYS_renameat, renameat2: SYS_renameat2, chmod: SYS_chmod, fchmod: SYS_fchmod,
        fchmodat: SYS_fchmodat, link: SYS_link, linkat: SYS_linkat, symlink: SYS_symlink, symlinkat: SYS_symlinkat,
        mkdir: SYS_mkdir, mkdirat: SYS_mkdirat, rmdir: SYS_rmdir, chown: SYS_chown, fchown: SYS_fchown,
        setuid: SYS_setuid, setgid: SYS_setgid, setreuid: SYS_setreuid, setregid: SYS_setregid,
        setresuid: SYS_setresuid, setresgid: SYS_setresgid, capset: SYS_capset, setsid: SYS_setsid,
        setpgid: SYS_setpgid, prctl: SYS_prctl, init_module: SYS_init_module, finit_module: SYS_finit_module,
        delete_module: SYS_delete_module, bpf: SYS_bpf, kill: SYS_kill, tkill: SYS_tkill, tgkill: SYS_tgkill,
        keyctl: SYS_keyctl, quotactl: SYS_quotactl,
    ];
    let known: Vec<&str> = Interest::known().collect();
    let mut sensor = Sensor::load(&with_close(), &seeing_itself()).unwrap();
    let parameters = parameters();
    let own = std::process::id();
    for (name, number) in calls {
        assert!(known.contains(&name) || name == "execveat", "{name}");
        // SAFETY: no argument is a descriptor, a process, a signal or an address that exists, so
        // the calls fail before they act; for user and group ids -1 means to change nothing, and
        // setsid touches no memory.
        unsafe { libc::syscall(number, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64) };
        let (kind, n_params) = parameters[name];
        let event = find(&mut sensor, |e| e.kind == kind && e.tgid == own);
        assert_eq!(event.params.len(), n_params, "{name}");
    }
    // Nobody adds a probe without a line above.
    let generic =
        ["move_mount", "fsopen", "fsmount", "open_tree", "process_vm_readv", "process_vm_writev"];
    let generic =
        [&generic[..], &["pidfd_open", "kexec_load", "name_to_handle_at", "open_by_handle_at"]]
            .concat();
    let generic =
        [&generic[..], &["swapon", "sethostname", "reboot", "clone", "procexit"]].concat();
    let generic = [&generic[..], &["utimensat", "utimes", "add_key", "request_key"]].concat();
    let generic = [&generic[..], &["perf_event_open", "pivot_root", "settimeofday"]].concat();
    let generic =
        [&generic[..], &["clock_settime", "kexec_file_load", "mount_setattr", "quotactl_fd"]]
            .concat();
    for name in known {
        assert!(
            generic.contains(&name) || calls.iter().any(|call| call.0 == name),
            "{name} is not tried"
        );
    }
}

fn with_close() -> Interest {
    let mut interest = Interest::all();
    interest.add("close").unwrap();
    interest
}
