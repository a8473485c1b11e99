//! The keys of `containers.limits`: what a container, and each of its processes, may use up.
//!
//! Two limits of `setrlimit(2)` have no key, as Linux holds neither: `RLIMIT_RSS` and
//! `RLIMIT_LOCKS`.

use crate::key::{Default as Fallback, Key, Kind, section};
use crate::table::{KIB, MIB, TIB, narrow};

const GIB: u64 = 1 << 30;

/// Resource limits; `None` means not limited by Palisade.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// Memory in bytes; swap is not added.
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of one processor.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Open files of each process (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Core file size in bytes (`RLIMIT_CORE`).
    pub core_bytes: Option<u64>,
    /// Processes and threads of each user (`RLIMIT_NPROC`).
    pub nproc: Option<u64>,
    /// Locked memory in bytes (`RLIMIT_MEMLOCK`).
    pub memlock_bytes: Option<u64>,
    /// Stack of the first thread in bytes (`RLIMIT_STACK`).
    pub stack_bytes: Option<u64>,
    /// Size of a file in bytes (`RLIMIT_FSIZE`).
    pub fsize_bytes: Option<u64>,
    /// Address space in bytes (`RLIMIT_AS`).
    pub as_bytes: Option<u64>,
    /// Private writable memory in bytes (`RLIMIT_DATA`).
    pub data_bytes: Option<u64>,
    /// Processor time of each process in seconds (`RLIMIT_CPU`).
    pub cpu_seconds: Option<u64>,
    /// What a real-time process runs without waiting, in microseconds (`RLIMIT_RTTIME`).
    pub rttime_us: Option<u64>,
    /// 20 less the lowest nice value that a process may take (`RLIMIT_NICE`).
    pub nice: Option<u64>,
    /// Real-time priority that a process may take (`RLIMIT_RTPRIO`).
    pub rtprio: Option<u64>,
    /// Signals that wait for each user's processes (`RLIMIT_SIGPENDING`).
    pub sigpending: Option<u64>,
    /// POSIX message queues of each user in bytes (`RLIMIT_MSGQUEUE`).
    pub msgqueue_bytes: Option<u64>,
    /// What it reads of its disk in a second, and as much that it writes, in bytes.
    pub io_bytes_per_second: Option<u64>,
    /// What it sends over its bridge in a second, and as much that it receives, in bytes.
    pub network_bytes_per_second: Option<u64>,
}

impl Limits {
    /// Limits of each process as the kernel and OCI name them, with the most that the policy allows.
    pub fn rlimits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("RLIMIT_NOFILE", self.open_files),
            ("RLIMIT_CORE", self.core_bytes),
            ("RLIMIT_NPROC", self.nproc),
            ("RLIMIT_MEMLOCK", self.memlock_bytes),
            ("RLIMIT_STACK", self.stack_bytes),
            ("RLIMIT_FSIZE", self.fsize_bytes),
            ("RLIMIT_AS", self.as_bytes),
            ("RLIMIT_DATA", self.data_bytes),
            ("RLIMIT_CPU", self.cpu_seconds),
            ("RLIMIT_RTTIME", self.rttime_us),
            ("RLIMIT_NICE", self.nice),
            ("RLIMIT_RTPRIO", self.rtprio),
            ("RLIMIT_SIGPENDING", self.sigpending),
            ("RLIMIT_MSGQUEUE", self.msgqueue_bytes),
        ]
        .into_iter()
        .filter_map(|(name, most)| Some((name, most?)))
    }
}

/// The keys.
pub(crate) const KEYS: &[Key] = &[
    section(
        "containers.limits",
        "Resource limits; `none` leaves a resource to the engine. Limits of processes \
         (`setrlimit(2)`) are soft and hard at once; those of `none` are the caller's, which is \
         written down too.",
    ),
    Key {
        path: "containers.limits.memory",
        kind: Kind::Size {
            min: 4 * MIB,
            max: 64 * TIB,
            optional: true,
            set: |p, n| p.containers.limits.memory_bytes = n,
        },
        default: Fallback::Value("none"),
        doc: "Memory; swap is not added.",
        example: "256Mi",
    },
    Key {
        path: "containers.limits.cpu",
        kind: Kind::Cpu(|p, millis| p.containers.limits.cpu_millis = millis),
        default: Fallback::Value("none"),
        doc: "Processor time: `0.5` or `500m` is half of one processor.",
        example: "0.5",
    },
    Key {
        path: "containers.limits.pids",
        kind: Kind::Integer {
            min: 1,
            max: 4_194_304,
            optional: true,
            set: |p, n| p.containers.limits.pids = narrow(n),
        },
        default: Fallback::Value("1024"),
        doc: "Processes and threads together.",
        example: "64",
    },
    Key {
        path: "containers.limits.open_files",
        kind: Kind::Integer {
            min: 8,
            max: 1_048_576,
            optional: true,
            set: |p, n| p.containers.limits.open_files = n,
        },
        default: Fallback::Value("none"),
        doc: "Open files of each process (`RLIMIT_NOFILE`).",
        example: "1024",
    },
    Key {
        path: "containers.limits.core",
        kind: Kind::Size {
            min: 0,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.core_bytes = n,
        },
        default: Fallback::Value("0"),
        doc: "Size of a core file (`RLIMIT_CORE`). A core file holds the secrets that the program \
              had in memory.",
        example: "0",
    },
    Key {
        path: "containers.limits.nproc",
        kind: Kind::Integer {
            min: 1,
            max: 4_194_304,
            optional: true,
            set: |p, n| p.containers.limits.nproc = n,
        },
        default: Fallback::Value("none"),
        doc: "Processes and threads of each user of the container (`RLIMIT_NPROC`). With ids of its \
              own they are counted within the container (Linux 5.14).",
        example: "64",
    },
    Key {
        path: "containers.limits.memlock",
        kind: Kind::Size {
            min: 0,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.memlock_bytes = n,
        },
        default: Fallback::Value("none"),
        doc: "Memory that a process may lock (`RLIMIT_MEMLOCK`).",
        example: "64Ki",
    },
    Key {
        path: "containers.limits.stack",
        kind: Kind::Size {
            min: 128 * KIB,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.stack_bytes = n,
        },
        default: Fallback::Value("none"),
        doc: "Stack of a process's first thread (`RLIMIT_STACK`).",
        example: "8Mi",
    },
    Key {
        path: "containers.limits.fsize",
        kind: Kind::Size {
            min: 0,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.fsize_bytes = n,
        },
        default: Fallback::Value("none"),
        doc: "Size of a file that a process writes (`RLIMIT_FSIZE`).",
        example: "1Gi",
    },
    Key {
        path: "containers.limits.as",
        kind: Kind::Size {
            // runC needs more than 1 GiB of it to start (Go reserves it), and 96 MiB of data.
            min: 2 * GIB,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.as_bytes = n,
        },
        default: Fallback::Value("none"),
        doc: "Address space of each process (`RLIMIT_AS`).",
        example: "4Gi",
    },
    Key {
        path: "containers.limits.data",
        kind: Kind::Size {
            min: 256 * MIB,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.data_bytes = n,
        },
        default: Fallback::Value("none"),
        doc: "Private writable memory of each process (`RLIMIT_DATA`).",
        example: "512Mi",
    },
    Key {
        path: "containers.limits.cpu_time",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000_000,
            optional: true,
            set: |p, n| p.containers.limits.cpu_seconds = n,
        },
        default: Fallback::Value("none"),
        doc: "Processor time of each process in seconds (`RLIMIT_CPU`).",
        example: "3600",
    },
    Key {
        path: "containers.limits.rttime",
        kind: Kind::Integer {
            min: 1_000,
            max: 1_000_000_000,
            optional: true,
            set: |p, n| p.containers.limits.rttime_us = n,
        },
        default: Fallback::Value("none"),
        doc: "Microseconds that a process with a real-time priority runs without waiting (`RLIMIT_RTTIME`).",
        example: "200000",
    },
    Key {
        path: "containers.limits.nice",
        kind: Kind::Integer {
            min: 0,
            max: 40,
            optional: true,
            set: |p, n| p.containers.limits.nice = n,
        },
        default: Fallback::Value("0"),
        doc: "How far a process may raise its own priority without `SYS_NICE`: to the nice value 20 less this (`RLIMIT_NICE`).",
        example: "0",
    },
    Key {
        path: "containers.limits.rtprio",
        kind: Kind::Integer {
            min: 0,
            max: 99,
            optional: true,
            set: |p, n| p.containers.limits.rtprio = n,
        },
        default: Fallback::Value("0"),
        doc: "The real-time priority that a process may take without `SYS_NICE` (`RLIMIT_RTPRIO`).",
        example: "0",
    },
    Key {
        path: "containers.limits.sigpending",
        kind: Kind::Integer {
            min: 1,
            max: 4_194_304,
            optional: true,
            set: |p, n| p.containers.limits.sigpending = n,
        },
        default: Fallback::Value("none"),
        doc: "Signals that wait for the processes of each user (`RLIMIT_SIGPENDING`).",
        example: "1024",
    },
    Key {
        path: "containers.limits.msgqueue",
        kind: Kind::Size {
            min: 0,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.msgqueue_bytes = n,
        },
        default: Fallback::Value("none"),
        doc: "Bytes of POSIX message queues of each user (`RLIMIT_MSGQUEUE`).",
        example: "800Ki",
    },
    Key {
        path: "containers.limits.io",
        kind: Kind::Size {
            min: MIB,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.io_bytes_per_second = n,
        },
        default: Fallback::Value("none"),
        doc: "What a container of `palisade run` reads of its disk in a second, and as much that it \
              writes.",
        example: "50Mi",
    },
    Key {
        path: "containers.limits.network",
        kind: Kind::Size {
            min: 16 * KIB,
            max: TIB,
            optional: true,
            set: |p, n| p.containers.limits.network_bytes_per_second = n,
        },
        default: Fallback::Value("none"),
        doc: "What a container of `palisade run` sends over its bridge in a second, and as much that \
              it receives.",
        example: "10Mi",
    },
];
