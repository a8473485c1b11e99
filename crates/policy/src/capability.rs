//! The kernel's capabilities (include/uapi/linux/capability.h, Linux 6.18) and what
//! this product thinks of them.

/// All capabilities, by number, without `CAP_`.
pub(crate) const ALL: &[&str] = &[
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

/// What is left when a policy says nothing: what engines leave, without raw sockets,
/// device nodes and records in the audit log.
pub(crate) const BASELINE: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// With one of these, in the host's user namespace, a container can take over the host.
pub(crate) const DANGEROUS: &[&str] = &[
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
];

/// The kernel's name without `CAP_` for any spelling of it.
pub(crate) fn canonical(text: &str) -> Option<&'static str> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.iter().find(|name| **name == bare).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_spelling() {
        assert_eq!(canonical("CAP_NET_RAW"), Some("NET_RAW"));
        assert_eq!(canonical("net_raw"), Some("NET_RAW"));
        assert_eq!(canonical("ALL"), None);
        assert_eq!(canonical(""), None);
    }

    #[test]
    fn lists_name_capabilities() {
        assert_eq!(ALL.len(), 41);
        assert!(BASELINE.iter().chain(DANGEROUS).all(|name| ALL.contains(name)));
        assert!(BASELINE.is_sorted() && DANGEROUS.is_sorted());
        assert!(!BASELINE.iter().any(|name| DANGEROUS.contains(name)));
    }
}
