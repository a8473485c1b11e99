//! Facts about the kernel that decide what Palisade can do here; `palisade doctor` shows them.

use std::path::Path;

/// The kernel's release, `major.minor` as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRelease {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// The whole text: `6.1.0-18-amd64`.
    pub text: String,
}

impl KernelRelease {
    /// Reads the text of `uname -r`; unreadable numbers are zero.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        Self { major, minor, text: text.to_string() }
    }

    /// The running kernel's.
    pub fn running() -> Self {
        Self::parse(&rustix::system::uname().release().to_string_lossy())
    }

    /// Whether it is at least `major.minor`.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

/// What the kernel offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFacts {
    /// Its release.
    pub release: KernelRelease,
    /// Machine: `x86_64`.
    pub machine: String,
    /// Active security modules in order; `None` when securityfs is not mounted.
    pub security_modules: Option<Vec<String>>,
    /// Whether seccomp filters exist, and the actions they may return.
    pub seccomp_actions: Vec<String>,
    /// Whether the overlay file system is available.
    pub overlay: bool,
    /// Whether BTF type information is present.
    pub btf: bool,
    /// `kernel.io_uring_disabled`: 0 open, 1 group only, 2 closed.
    pub io_uring_disabled: Option<u8>,
    /// `kernel.unprivileged_bpf_disabled`: 0 open, 1 and 2 closed.
    pub unprivileged_bpf_disabled: Option<u8>,
}

/// Reads [`KernelFacts`]; what cannot be read is `None`, empty or `false`.
pub fn kernel() -> KernelFacts {
    let text = |path: &str| std::fs::read_to_string(path).ok();
    let small = |path: &str| text(path)?.trim().parse::<u8>().ok();
    let uname = rustix::system::uname();
    KernelFacts {
        release: KernelRelease::running(),
        machine: uname.machine().to_string_lossy().into_owned(),
        security_modules: text("/sys/kernel/security/lsm")
            .map(|list| list.trim().split(',').map(str::to_string).collect()),
        seccomp_actions: text("/proc/sys/kernel/seccomp/actions_avail")
            .map(|list| list.split_whitespace().map(str::to_string).collect())
            .unwrap_or_default(),
        overlay: text("/proc/filesystems").is_some_and(|list| {
            list.lines().any(|line| line.split_whitespace().last() == Some("overlay"))
        }),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        io_uring_disabled: small("/proc/sys/kernel/io_uring_disabled"),
        unprivileged_bpf_disabled: small("/proc/sys/kernel/unprivileged_bpf_disabled"),
    }
}

/// Whether the caller is root with `CAP_SYS_ADMIN`, which running containers needs.
pub fn is_privileged() -> bool {
    rustix::process::geteuid().is_root()
        && crate::capability::of_process(std::process::id())
            .is_ok_and(|privileges| privileges.effective.has("SYS_ADMIN"))
}

/// No limit (`RLIM_INFINITY`).
pub const RLIMIT_NONE: u64 = u64::MAX;

/// The caller's limits of processes, all that Linux has (`getrlimit(2)`): name, soft and hard.
/// Only `CAP_SYS_RESOURCE` can exceed the hard one.
pub fn rlimits() -> [(&'static str, u64, u64); 16] {
    use rustix::process::{Resource, getrlimit};
    [
        ("RLIMIT_AS", Resource::As),
        ("RLIMIT_CORE", Resource::Core),
        ("RLIMIT_CPU", Resource::Cpu),
        ("RLIMIT_DATA", Resource::Data),
        ("RLIMIT_FSIZE", Resource::Fsize),
        ("RLIMIT_LOCKS", Resource::Locks),
        ("RLIMIT_MEMLOCK", Resource::Memlock),
        ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
        ("RLIMIT_NICE", Resource::Nice),
        ("RLIMIT_NOFILE", Resource::Nofile),
        ("RLIMIT_NPROC", Resource::Nproc),
        ("RLIMIT_RSS", Resource::Rss),
        ("RLIMIT_RTPRIO", Resource::Rtprio),
        ("RLIMIT_RTTIME", Resource::Rttime),
        ("RLIMIT_SIGPENDING", Resource::Sigpending),
        ("RLIMIT_STACK", Resource::Stack),
    ]
    .map(|(name, resource)| {
        let limit = getrlimit(resource);
        let number = |limit: Option<u64>| limit.unwrap_or(RLIMIT_NONE);
        (name, number(limit.current), number(limit.maximum))
    })
}

/// Whether the caller may exceed its hard limits.
pub fn may_raise_rlimits() -> bool {
    crate::capability::of_process(std::process::id())
        .is_ok_and(|privileges| privileges.effective.has("SYS_RESOURCE"))
}

/// The numbers of the calling user and its group, effective ones.
pub fn user() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// The disk that holds `path`, as the kernel numbers it (major, minor): of a partition the disk that
/// it is part of, which is what limits of input and output are set for. `None` for what lies on no
/// single disk, such as tmpfs, overlay or btrfs.
pub fn disk_of(path: &std::path::Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let device = std::fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    if major == 0 {
        return None;
    }
    let folder = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    if !folder.join("partition").exists() {
        return Some((major, minor));
    }
    let text = std::fs::read_to_string(folder.parent()?.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        let debian = KernelRelease::parse("6.1.0-18-amd64");
        assert_eq!((debian.major, debian.minor), (6, 1));
        assert!(debian.at_least(5, 19) && debian.at_least(6, 1) && !debian.at_least(6, 10));
        assert_eq!(KernelRelease::parse("rubbish").major, 0);
    }

    #[test]
    fn the_running_kernel_is_described() {
        let facts = kernel();
        assert!(facts.release.at_least(4, 0));
        assert!(!facts.machine.is_empty());
    }
}
