//! Real containers and the real sensor: as root these tests always run; otherwise they say
//! why not.

mod apparmor;
mod bad_containers;
mod bed;
mod containerd;
mod crash;
mod cri;
mod crun;
mod docker;
mod docker_runtime;
mod drift;
mod enforce;
mod enforce_reload;
mod engine_runtime;
mod engine_trust;
mod engines;
mod escapes;
mod full_disk;
mod ima;
mod image;
mod incident;
mod inspect;
mod labels;
mod lxc;
mod network;
mod networks;
mod orders;
mod patch_apk_scripts;
mod patch_rpm;
mod patch_scripts;
mod playbooks;
mod probe;
mod probes;
mod profiles;
mod record;
mod refusal;
mod reload;
mod rootless;
mod rootless_network;
mod run;
mod selinux;
mod servers;
mod sinks;
mod stale;
mod terminal;
mod top;
mod vulnerable;
mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether this process may run containers. As root, what else is needed must be there.
pub(crate) fn is_root() -> bool {
    if !palisade_sys::facts::is_privileged() {
        eprintln!("skipped: needs root with CAP_SYS_ADMIN");
        return false;
    }
    true
}

/// Tests with containers run one after the other: they look at the whole machine to see
/// that nothing is left.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
