//! The table of system calls that the probes know.
//!
//! Native numbers come from libc; the numbers of 32-bit x86 calls, which a 64-bit program can make
//! as well, from `arch/x86/entry/syscalls/syscall_32.tbl`. Each `program` is a function of the C
//! sources.

use super::Class;

/// The number of a call for the processor that this is compiled for, where it has the call.
pub(crate) type Native = Option<i64>;

/// A system call with an event type of its own.
pub(crate) struct Call {
    /// The event's name in rules.
    pub(crate) name: &'static str,
    /// The program that handles it.
    pub(crate) program: &'static str,
    pub(crate) class: Class,
    pub(crate) native: Native,
    /// The number under the x32 interface without its marker bit, where it differs.
    pub(crate) x32: Option<i64>,
    /// The numbers of the 32-bit interface.
    pub(crate) compat: &'static [u32],
}

/// A system call that is reported by its number alone.
pub(crate) struct GenericCall {
    /// The event's name in rules.
    pub(crate) name: &'static str,
    /// The call's code in the format (`PLS_SYSCALL_` of `probes/events.h`).
    pub(crate) code: u16,
    pub(crate) native: Native,
    pub(crate) compat: &'static [u32],
}

/// The number of a call that newer processors' interfaces left out.
macro_rules! legacy {
    ($name:ident) => {{
        #[cfg(target_arch = "x86_64")]
        let number = Some(libc::$name);
        #[cfg(not(target_arch = "x86_64"))]
        let number = None;
        number
    }};
}

const fn call(
    name: &'static str,
    program: &'static str,
    class: Class,
    native: Native,
    x32: Option<i64>,
    compat: &'static [u32],
) -> Call {
    Call { name, program, class, native, x32, compat }
}

const fn generic(
    name: &'static str,
    code: u16,
    native: Native,
    compat: &'static [u32],
) -> GenericCall {
    GenericCall { name, code, native, compat }
}

#[rustfmt::skip] // a table
pub(crate) const CALLS: [Call; 76] = [
    call("execve", "call_execve", Class::Exec, Some(libc::SYS_execve), Some(520), &[11]),
    call("execveat", "call_execveat", Class::Exec, Some(libc::SYS_execveat), Some(545), &[358]),
    call("open", "call_open", Class::Open, legacy!(SYS_open), None, &[5]),
    call("openat", "call_openat", Class::Open, Some(libc::SYS_openat), None, &[295]),
    call("openat2", "call_openat2", Class::Open, Some(libc::SYS_openat2), None, &[437]),
    call("creat", "call_creat", Class::Open, legacy!(SYS_creat), None, &[8]),
    call("connect", "call_connect", Class::Network, Some(libc::SYS_connect), None, &[362]),
    call("socket", "call_socket", Class::Network, Some(libc::SYS_socket), None, &[359]),
    call("accept", "call_accept", Class::Network, Some(libc::SYS_accept), None, &[]),
    call("accept4", "call_accept4", Class::Network, Some(libc::SYS_accept4), None, &[364]),
    call("bind", "call_bind", Class::Network, Some(libc::SYS_bind), None, &[361]),
    call("listen", "call_listen", Class::Network, Some(libc::SYS_listen), None, &[363]),
    call("sendto", "call_sendto", Class::Network, Some(libc::SYS_sendto), None, &[369]),
    call("recvfrom", "call_recvfrom", Class::Network, Some(libc::SYS_recvfrom), Some(517), &[371]),
    call("sendmsg", "call_sendmsg", Class::Network, Some(libc::SYS_sendmsg), Some(518), &[370]),
    call("sendmmsg", "call_sendmmsg", Class::Network, Some(libc::SYS_sendmmsg), Some(538), &[345]),
    call("recvmsg", "call_recvmsg", Class::Network, Some(libc::SYS_recvmsg), Some(519), &[372]),
    call("recvmmsg", "call_recvmmsg", Class::Network, Some(libc::SYS_recvmmsg), Some(537), &[337, 417]),
    call("dup", "call_dup", Class::Descriptor, Some(libc::SYS_dup), None, &[41]),
    call("dup2", "call_dup2", Class::Descriptor, legacy!(SYS_dup2), None, &[63]),
    call("dup3", "call_dup3", Class::Descriptor, Some(libc::SYS_dup3), None, &[330]),
    call("close", "call_close", Class::Descriptor, Some(libc::SYS_close), None, &[6]),
    call("pipe", "call_pipe", Class::Descriptor, legacy!(SYS_pipe), None, &[42]),
    call("pipe2", "call_pipe2", Class::Descriptor, Some(libc::SYS_pipe2), None, &[331]),
    call("chdir", "call_chdir", Class::Descriptor, Some(libc::SYS_chdir), None, &[12]),
    call("fchdir", "call_fchdir", Class::Descriptor, Some(libc::SYS_fchdir), None, &[133]),
    call("pidfd_getfd", "call_pidfd_getfd", Class::Descriptor, Some(libc::SYS_pidfd_getfd), None, &[438]),
    call("memfd_create", "call_memfd_create", Class::Memory, Some(libc::SYS_memfd_create), None, &[356]),
    call("mprotect", "call_mprotect", Class::Memory, Some(libc::SYS_mprotect), None, &[125]),
    call("ptrace", "call_ptrace", Class::Memory, Some(libc::SYS_ptrace), Some(521), &[26]),
    call("userfaultfd", "call_userfaultfd", Class::Memory, Some(libc::SYS_userfaultfd), None, &[374]),
    call("io_uring_setup", "call_io_uring_setup", Class::Memory, Some(libc::SYS_io_uring_setup), None, &[425]),
    call("unshare", "call_unshare", Class::Namespace, Some(libc::SYS_unshare), None, &[310]),
    call("setns", "call_setns", Class::Namespace, Some(libc::SYS_setns), None, &[346]),
    call("mount", "call_mount", Class::Namespace, Some(libc::SYS_mount), None, &[21]),
    call("umount2", "call_umount2", Class::Namespace, Some(libc::SYS_umount2), None, &[52]),
    call("chroot", "call_chroot", Class::Namespace, Some(libc::SYS_chroot), None, &[61]),
    call("fsconfig", "call_fsconfig", Class::Namespace, Some(libc::SYS_fsconfig), None, &[431]),
    call("unlink", "call_unlink", Class::File, legacy!(SYS_unlink), None, &[10]),
    call("unlinkat", "call_unlinkat", Class::File, Some(libc::SYS_unlinkat), None, &[301]),
    call("rename", "call_rename", Class::File, legacy!(SYS_rename), None, &[38]),
    call("renameat", "call_renameat", Class::File, Some(libc::SYS_renameat), None, &[302]),
    call("renameat2", "call_renameat2", Class::File, Some(libc::SYS_renameat2), None, &[353]),
    call("chmod", "call_chmod", Class::File, legacy!(SYS_chmod), None, &[15]),
    call("fchmod", "call_fchmod", Class::File, Some(libc::SYS_fchmod), None, &[94]),
    call("fchmodat", "call_fchmodat", Class::File, Some(libc::SYS_fchmodat), None, &[306]),
    call("link", "call_link", Class::File, legacy!(SYS_link), None, &[9]),
    call("linkat", "call_linkat", Class::File, Some(libc::SYS_linkat), None, &[303]),
    call("symlink", "call_symlink", Class::File, legacy!(SYS_symlink), None, &[83]),
    call("symlinkat", "call_symlinkat", Class::File, Some(libc::SYS_symlinkat), None, &[304]),
    call("mkdir", "call_mkdir", Class::File, legacy!(SYS_mkdir), None, &[39]),
    call("mkdirat", "call_mkdirat", Class::File, Some(libc::SYS_mkdirat), None, &[296]),
    call("rmdir", "call_rmdir", Class::File, legacy!(SYS_rmdir), None, &[40]),
    call("mknod", "call_mknod", Class::File, legacy!(SYS_mknod), None, &[14]),
    call("mknodat", "call_mknodat", Class::File, Some(libc::SYS_mknodat), None, &[297]),
    call("chown", "call_chown", Class::File, legacy!(SYS_chown), None, &[182, 212]),
    call("fchown", "call_fchown", Class::File, Some(libc::SYS_fchown), None, &[95, 207]),
    call("setuid", "call_setuid", Class::Credential, Some(libc::SYS_setuid), None, &[23, 213]),
    call("setgid", "call_setgid", Class::Credential, Some(libc::SYS_setgid), None, &[46, 214]),
    call("setreuid", "call_setreuid", Class::Credential, Some(libc::SYS_setreuid), None, &[70, 203]),
    call("setregid", "call_setregid", Class::Credential, Some(libc::SYS_setregid), None, &[71, 204]),
    call("setresuid", "call_setresuid", Class::Credential, Some(libc::SYS_setresuid), None, &[164, 208]),
    call("setresgid", "call_setresgid", Class::Credential, Some(libc::SYS_setresgid), None, &[170, 210]),
    call("capset", "call_capset", Class::Credential, Some(libc::SYS_capset), None, &[185]),
    call("setsid", "call_setsid", Class::Credential, Some(libc::SYS_setsid), None, &[66]),
    call("setpgid", "call_setpgid", Class::Credential, Some(libc::SYS_setpgid), None, &[57]),
    call("prctl", "call_prctl", Class::Credential, Some(libc::SYS_prctl), None, &[172]),
    call("init_module", "call_init_module", Class::Kernel, Some(libc::SYS_init_module), None, &[128]),
    call("finit_module", "call_finit_module", Class::Kernel, Some(libc::SYS_finit_module), None, &[350]),
    call("delete_module", "call_delete_module", Class::Kernel, Some(libc::SYS_delete_module), None, &[129]),
    call("bpf", "call_bpf", Class::Kernel, Some(libc::SYS_bpf), None, &[357]),
    call("keyctl", "call_keyctl", Class::Kernel, Some(libc::SYS_keyctl), None, &[288]),
    call("quotactl", "call_quotactl", Class::Kernel, Some(libc::SYS_quotactl), None, &[131]),
    call("kill", "call_kill", Class::Signal, Some(libc::SYS_kill), None, &[37]),
    call("tkill", "call_tkill", Class::Signal, Some(libc::SYS_tkill), None, &[238]),
    call("tgkill", "call_tgkill", Class::Signal, Some(libc::SYS_tgkill), None, &[270]),
];

#[rustfmt::skip] // a table
pub(crate) const GENERIC_CALLS: [GenericCall; 24] = [
    generic("move_mount", 340, Some(libc::SYS_move_mount), &[429]),
    generic("fsopen", 338, Some(libc::SYS_fsopen), &[430]),
    generic("fsmount", 337, Some(libc::SYS_fsmount), &[432]),
    generic("open_tree", 339, Some(libc::SYS_open_tree), &[428]),
    generic("process_vm_readv", 301, Some(libc::SYS_process_vm_readv), &[347]),
    generic("process_vm_writev", 302, Some(libc::SYS_process_vm_writev), &[348]),
    generic("pidfd_open", 347, Some(libc::SYS_pidfd_open), &[434]),
    generic("kexec_load", 187, Some(libc::SYS_kexec_load), &[283]),
    generic("name_to_handle_at", 376, Some(libc::SYS_name_to_handle_at), &[341]),
    generic("open_by_handle_at", 329, Some(libc::SYS_open_by_handle_at), &[342]),
    generic("swapon", 53, Some(libc::SYS_swapon), &[87]),
    generic("sethostname", 44, Some(libc::SYS_sethostname), &[74]),
    generic("reboot", 54, Some(libc::SYS_reboot), &[88]),
    generic("utimensat", 219, Some(libc::SYS_utimensat), &[320, 412]),
    generic("utimes", 180, legacy!(SYS_utimes), &[271]),
    generic("add_key", 189, Some(libc::SYS_add_key), &[286]),
    generic("request_key", 190, Some(libc::SYS_request_key), &[287]),
    generic("perf_event_open", 234, Some(libc::SYS_perf_event_open), &[336]),
    generic("pivot_root", 137, Some(libc::SYS_pivot_root), &[217]),
    generic("settimeofday", 48, Some(libc::SYS_settimeofday), &[79]),
    generic("clock_settime", 175, Some(libc::SYS_clock_settime), &[264, 404]),
    generic("kexec_file_load", 345, Some(libc::SYS_kexec_file_load), &[]),
    generic("quotactl_fd", 353, Some(libc::SYS_quotactl_fd), &[443]),
    generic("mount_setattr", 341, Some(libc::SYS_mount_setattr), &[442]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_number_is_used_twice() {
        let mut native = BTreeMap::new();
        let mut compat = BTreeMap::new();
        let rows = CALLS.iter().map(|c| (c.name, c.native, c.x32, c.compat));
        let generic = GENERIC_CALLS.iter().map(|c| (c.name, c.native, None, c.compat));
        for (name, number, x32, numbers) in rows.chain(generic) {
            for number in number.into_iter().chain(x32) {
                assert_eq!(native.insert(number, name), None, "{name} {number}");
            }
            for number in numbers {
                assert_eq!(compat.insert(*number, name), None, "{name} {number}");
            }
        }
    }

    #[test]
    fn generic_codes_are_those_of_the_header() {
        let header = include_str!("../../probes/events.h");
        for call in &GENERIC_CALLS {
            let line = format!("#define PLS_SYSCALL_{} {}", call.name.to_uppercase(), call.code);
            assert!(header.lines().any(|l| l.trim() == line), "{line}");
        }
    }
}
