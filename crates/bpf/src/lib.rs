//! eBPF probes in C, their loader, ring reader and loss counters (unsafe island 2).
//!
//! Six parts, each usable alone:
//!
//! - [`Sensor`]: loads the probes that an [`Interest`] names, hands out [`Record`]s, counts every loss;
//! - [`probe`]: what this kernel allows, for `palisade doctor`;
//! - [`isolate`]: cuts a cgroup off the network;
//! - [`enforce`]: acts on processes of containers by what rules say, in the kernel;
//! - [`recorder`]: notes what containers do, for profiles made from it;
//! - the C sources in `probes/`, whose records are described in `README.md`.
//!
//! Nothing here knows what an event means: records leave as bytes, and crate `sensor` decodes them.
//! The crate never writes a kernel setting, never mounts anything but a missing bpffs (and says
//! so), and attaches nothing that was not asked for.

pub mod enforce;
pub mod interest;
pub mod isolate;
mod libbpf_log;
pub mod load;
pub mod loss;
pub mod probe;
pub mod record;
pub mod recorder;
mod ring;

pub use interest::{
    Class, Environment, Interest, OpenClasses, OpenFilter, OpenTexts, OpenVerdicts, PathText,
    UnknownProbe,
};
pub use load::{
    CgroupFilter, HandlerLoader, Handlers, HookInfo, LoadError, Options, PollError, Refusal,
    RingDepth, Sensor,
};
pub use loss::{ClassCounts, Counts};
pub use record::{Malformed, Record};
