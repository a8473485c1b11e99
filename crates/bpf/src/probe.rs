//! What this kernel allows of BPF, for `palisade doctor`.
//!
//! Each kind of program is tried with two instructions that do nothing. Kinds whose refusal shows
//! only at the hook are attached as well, to a hook that is rare or made for tests, and taken off
//! at once. Nothing is left behind, and no setting is touched.
#![expect(unsafe_code, reason = "loads programs of two instructions through libbpf's C interface")]

mod hooks;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

pub use crate::load::Refusal;
pub use hooks::{Hook, hooks};

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It works.
    Supported,
    /// The kernel knows it and says no.
    Refused {
        /// The error number.
        errno: i32,
    },
    /// The kernel does not have it.
    Absent,
}

impl Support {
    fn of(result: &io::Result<impl Sized>) -> Self {
        match result {
            Ok(_) => Self::Supported,
            Err(error) => match error.raw_os_error() {
                None | Some(libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP | libc::ENOSYS) => {
                    Self::Absent
                }
                Some(errno) => Self::Refused { errno },
            },
        }
    }
}

/// What a feature is to palisade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The sensor does not start without it: nothing is detected.
    Sensor,
    /// Containers are not cut off the network without it; everything else works.
    Isolation,
    /// Rules refuse less without it; everything else works.
    Enforcement,
    /// Palisade does not use it. Worth knowing for those who compare machines.
    Unused,
}

impl Role {
    /// What does not work when the feature is missing.
    pub const fn without(self) -> &'static str {
        match self {
            Self::Sensor => "`watch` does not start, so nothing is detected or answered",
            Self::Isolation => {
                "the response action `isolate` fails; detection, `freeze`, `evidence` and `kill` work"
            }
            Self::Enforcement => {
                "rules with `action: deny` refuse programs by path and connections by address alone"
            }
            Self::Unused => "nothing: palisade does not use it",
        }
    }
}

/// One feature and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// A short stable name: `tp_btf`, `cgroup_skb`, `ringbuf`.
    pub name: &'static str,
    /// What it does for palisade, or would.
    pub purpose: &'static str,
    /// What depends on it.
    pub role: Role,
    /// What an administrator can do when it is missing.
    pub remedy: &'static str,
    /// What came of the try.
    pub support: Support,
}

const REMEDY_BTF: &str = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y; those of current \
    distributions are";
const REMEDY_TRACING: &str = "run as root on Linux 5.8 or later with CONFIG_BPF_EVENTS=y; a \
    sandbox or a lockdown of level `confidentiality` refuses it";
const REMEDY_LSM: &str = "start the kernel with `bpf` added to its `lsm=` list; it needs \
    CONFIG_BPF_LSM=y";
const REMEDY_CGROUP: &str = "run as root on a kernel with CONFIG_CGROUP_BPF=y";

/// Tries everything. Takes a few milliseconds and the reading of the kernel's type information.
pub fn features() -> Vec<Feature> {
    features_with(Path::new(crate::load::BTF_PATH))
}

/// As [`features`], with the kernel's type information looked for at `btf`.
fn features_with(btf: &Path) -> Vec<Feature> {
    let btf = Btf::vmlinux(btf);
    let feature =
        |name, purpose, role, remedy, support| Feature { name, purpose, role, remedy, support };
    let unused = |name, purpose, support| feature(name, purpose, Role::Unused, "", support);
    let typed = |kind: &Typed| btf.as_ref().map_or(Support::Absent, |btf| kind.probe(btf));
    let plain = |program_type, attach_type| Support::of(&load(program_type, attach_type, 0));
    let has_btf = if btf.is_some() { Support::Supported } else { Support::Absent };
    let isolation = |name, purpose, program_type, attach_type| {
        let support = plain(program_type, attach_type);
        feature(name, purpose, Role::Isolation, REMEDY_CGROUP, support)
    };
    vec![
        feature(
            "btf",
            "type information that fits the probes to this kernel",
            Role::Sensor,
            REMEDY_BTF,
            has_btf,
        ),
        feature(
            "ringbuf",
            "the buffer between kernel and sensor",
            Role::Sensor,
            "use Linux 5.8 or later, as root",
            ringbuf(),
        ),
        feature("tp_btf", "the sensor's probes", Role::Sensor, REMEDY_TRACING, typed(&TP_BTF)),
        isolation(
            "cgroup_skb",
            "network isolation: packets",
            libbpf_sys::BPF_PROG_TYPE_CGROUP_SKB,
            libbpf_sys::BPF_CGROUP_INET_EGRESS,
        ),
        isolation(
            "cgroup_connect4",
            "network isolation: connections",
            libbpf_sys::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
            libbpf_sys::BPF_CGROUP_INET4_CONNECT,
        ),
        isolation(
            "cgroup_sock_create",
            "network isolation: sockets",
            libbpf_sys::BPF_PROG_TYPE_CGROUP_SOCK,
            libbpf_sys::BPF_CGROUP_INET_SOCK_CREATE,
        ),
        feature(
            "lsm",
            "enforcement: refuses calls before they happen",
            Role::Enforcement,
            REMEDY_LSM,
            typed(&LSM),
        ),
        unused("fentry", "would see what is done without a system call", typed(&FENTRY)),
        unused("kprobe", "a place inside of any kernel function", kprobe()),
        unused(
            "raw_tp",
            "probes without type information",
            plain(libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
        ),
        unused(
            "tracepoint",
            "probes of single system calls",
            plain(libbpf_sys::BPF_PROG_TYPE_TRACEPOINT, 0),
        ),
        unused(
            "xdp",
            "packets at the network card",
            plain(libbpf_sys::BPF_PROG_TYPE_XDP, libbpf_sys::BPF_XDP),
        ),
        unused("tc", "packets of an interface", plain(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, 0)),
    ]
}

/// A kind of program that is tied to a type of the kernel.
struct Typed {
    program_type: u32,
    attach_type: u32,
    target: &'static CStr,
    target_kind: u32,
}

/// The exec tracepoint: the sensor's own hook.
const TP_BTF: Typed = Typed {
    program_type: libbpf_sys::BPF_PROG_TYPE_TRACING,
    attach_type: libbpf_sys::BPF_TRACE_RAW_TP,
    target: c"btf_trace_sched_process_exec",
    target_kind: libbpf_sys::BTF_KIND_TYPEDEF,
};
/// A function that the kernel has for tests of this very thing (`net/bpf/test_run.c`).
const FENTRY: Typed = Typed {
    program_type: libbpf_sys::BPF_PROG_TYPE_TRACING,
    attach_type: libbpf_sys::BPF_TRACE_FENTRY,
    target: c"bpf_fentry_test1",
    target_kind: libbpf_sys::BTF_KIND_FUNC,
};
/// Asked when someone sets the clock. The program says yes to it.
const LSM: Typed = Typed {
    program_type: libbpf_sys::BPF_PROG_TYPE_LSM,
    attach_type: libbpf_sys::BPF_LSM_MAC,
    target: c"bpf_lsm_settime",
    target_kind: libbpf_sys::BTF_KIND_FUNC,
};

impl Typed {
    fn probe(&self, btf: &Btf) -> Support {
        let Some(id) = btf.find(self.target, self.target_kind) else {
            return Support::Absent;
        };
        let attached = load(self.program_type, self.attach_type, id).and_then(|program| {
            // SAFETY: without a name the program's own target is taken; the descriptor is open.
            let fd = unsafe {
                libbpf_sys::bpf_raw_tracepoint_open(std::ptr::null(), program.as_raw_fd())
            };
            owned(fd)
        });
        Support::of(&attached)
    }
}

/// The kernel's type information, as libbpf holds it.
struct Btf(std::ptr::NonNull<libbpf_sys::btf>);

impl Btf {
    fn vmlinux(path: &Path) -> Option<Self> {
        // Without the file libbpf would search for an image of the kernel under /boot and
        // elsewhere.
        if !path.exists() {
            return None;
        }
        let load = || {
            // SAFETY: takes nothing and gives a pointer that `drop` frees, or null.
            unsafe { libbpf_sys::btf__load_vmlinux_btf() }
        };
        std::ptr::NonNull::new(crate::libbpf_log::capture(load).0).map(Self)
    }

    fn find(&self, name: &CStr, kind: u32) -> Option<u32> {
        // SAFETY: the pointer is to what `vmlinux` loaded, and the name ends in NUL.
        let id =
            unsafe { libbpf_sys::btf__find_by_name_kind(self.0.as_ptr(), name.as_ptr(), kind) };
        u32::try_from(id).ok()
    }
}

impl Drop for Btf {
    fn drop(&mut self) {
        // SAFETY: the pointer came from libbpf and is freed once.
        unsafe { libbpf_sys::btf__free(self.0.as_ptr()) };
    }
}

/// A descriptor from libbpf, or the error that a negative number means.
fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: libbpf has just opened it and keeps no copy.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads `return 1`, which lets pass whatever the hook asks about; for an LSM hook, `return 0`.
fn load(program_type: u32, attach_type: u32, attach_btf_id: u32) -> io::Result<OwnedFd> {
    // include/uapi/linux/bpf.h: BPF_ALU64 | BPF_MOV | BPF_K into r0, then BPF_JMP | BPF_EXIT.
    let allow = i32::from(!matches!(
        program_type,
        libbpf_sys::BPF_PROG_TYPE_LSM | libbpf_sys::BPF_PROG_TYPE_TRACING
    ));
    let mut instructions = [libbpf_sys::bpf_insn::default(); 2];
    instructions[0].code = 0xb7;
    instructions[0].imm = allow;
    instructions[1].code = 0x95;
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as libbpf_sys::size_t,
        expected_attach_type: attach_type,
        attach_btf_id,
        ..Default::default()
    };
    // SAFETY: the strings are constants, the instructions and the options are values of this frame,
    // and their counts and sizes are right.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            program_type,
            c"palisade_probe".as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as libbpf_sys::size_t,
            &raw mut options,
        )
    };
    owned(fd)
}

fn ringbuf() -> Support {
    // SAFETY: asks for the size of a page.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let bytes = u32::try_from(page).unwrap_or(4096);
    // SAFETY: the name is a constant; a ring has neither keys nor values; no options are given.
    let fd = unsafe {
        libbpf_sys::bpf_map_create(
            libbpf_sys::BPF_MAP_TYPE_RINGBUF,
            c"palisade_probe".as_ptr(),
            0,
            0,
            bytes,
            std::ptr::null(),
        )
    };
    Support::of(&owned(fd))
}

/// Programs of this type always load; without the kernel's kprobes there is nothing to attach them
/// to.
fn kprobe() -> Support {
    if !Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        return Support::Absent;
    }
    Support::of(&load(libbpf_sys::BPF_PROG_TYPE_KPROBE, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let check = |errno: i32, expected: Support| {
            let result: io::Result<()> = Err(io::Error::from_raw_os_error(errno));
            assert_eq!(Support::of(&result), expected, "{errno}");
        };
        check(libc::EPERM, Support::Refused { errno: libc::EPERM });
        check(libc::EACCES, Support::Refused { errno: libc::EACCES });
        check(libc::EINVAL, Support::Absent);
        assert_eq!(Support::of(&Ok(())), Support::Supported);
    }

    #[test]
    fn a_kernel_without_type_information_is_told_with_its_remedy() {
        let found = features_with(Path::new("/nonexistent/vmlinux"));
        let of = |name: &str| found.iter().find(|feature| feature.name == name).unwrap();
        for name in ["btf", "tp_btf", "lsm", "fentry"] {
            assert_eq!(of(name).support, Support::Absent, "{name}");
        }
        assert!(of("btf").remedy.contains("CONFIG_DEBUG_INFO_BTF"));
        assert!(of("btf").role.without().contains("nothing is detected"));
        for feature in &found {
            assert_eq!(feature.remedy.is_empty(), feature.role == Role::Unused, "{feature:?}");
        }
    }
}
