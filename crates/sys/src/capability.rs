//! Capabilities by name, and the sets of a running process.

use std::io;

/// Kernel names without `CAP_`, at their numbers (`linux/capability.h`).
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities: bit `n` is capability number `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// Names in it, by number; numbers without a name are left out.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().enumerate().filter(move |(i, _)| self.0 & (1 << i) != 0).map(|(_, n)| n)
    }

    /// Whether the capability of that name (without `CAP_`) is in it.
    pub fn has(self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What `/proc/PID/status` says about a process's privileges (`proc_pid_status(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessPrivileges {
    /// Real, effective, saved and file system user id, in the reader's namespace.
    pub uids: [u32; 4],
    /// `CapInh`.
    pub inheritable: CapabilitySet,
    /// `CapPrm`.
    pub permitted: CapabilitySet,
    /// `CapEff`.
    pub effective: CapabilitySet,
    /// `CapBnd`.
    pub bounding: CapabilitySet,
    /// `CapAmb`.
    pub ambient: CapabilitySet,
    /// `NoNewPrivs`.
    pub no_new_privileges: bool,
    /// `Seccomp`: 0 none, 1 strict, 2 filter.
    pub seccomp_mode: u8,
    /// `Seccomp_filters`; zero on kernels before 5.9.
    pub n_seccomp_filters: u32,
}

/// Reads the privileges of process `pid`.
pub fn of_process(pid: u32) -> io::Result<ProcessPrivileges> {
    Ok(parse_status(&std::fs::read_to_string(format!("/proc/{pid}/status"))?))
}

/// Reads the text of `/proc/PID/status`; absent lines leave their field at zero.
pub fn parse_status(text: &str) -> ProcessPrivileges {
    let mut out = ProcessPrivileges::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        let set = || CapabilitySet(u64::from_str_radix(value, 16).unwrap_or(0));
        match key {
            "Uid" => {
                for (slot, id) in out.uids.iter_mut().zip(value.split_whitespace()) {
                    *slot = id.parse().unwrap_or(u32::MAX);
                }
            }
            "CapInh" => out.inheritable = set(),
            "CapPrm" => out.permitted = set(),
            "CapEff" => out.effective = set(),
            "CapBnd" => out.bounding = set(),
            "CapAmb" => out.ambient = set(),
            "NoNewPrivs" => out.no_new_privileges = value == "1",
            "Seccomp" => out.seccomp_mode = value.parse().unwrap_or(0),
            "Seccomp_filters" => out.n_seccomp_filters = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status() {
        let text = "Name:\tsh\nUid:\t0\t1\t2\t3\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\n\
                    Seccomp:\t2\nSeccomp_filters:\t1\n";
        let privileges = parse_status(text);
        assert_eq!(privileges.uids, [0, 1, 2, 3]);
        assert_eq!(privileges.effective.names().count(), 14);
        assert!(privileges.effective.has("NET_RAW") && !privileges.effective.has("SYS_ADMIN"));
        assert!(privileges.permitted.is_empty());
        assert!(privileges.no_new_privileges);
        assert_eq!((privileges.seccomp_mode, privileges.n_seccomp_filters), (2, 1));
    }

    #[test]
    fn this_process_can_be_read() {
        assert_eq!(of_process(std::process::id()).unwrap().seccomp_mode, 0);
    }
}
