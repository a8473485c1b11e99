//! Runs a container from an image with the least privilege that works, without an
//! engine: the distribution's runC does the system calls, this crate decides what it
//! is told and leaves nothing behind.
//!
//! [`Runtime::run`] is the whole way: admission, layers, an id range of the container's
//! own, an overlay whose files belong to that range, a spec that [`palisade_harden`]
//! confined, the record that the sensor reads, the process, its signals and its exit.
//!
//! Invariants:
//! - nothing is mounted where the host can see it: mounts live in a namespace that ends
//!   with the threads and processes in it, however they end;
//! - a container's record is on disk before its first process starts;
//! - an id range is never handed out twice;
//! - [`Runtime::collect_garbage`] removes whatever a killed `palisade` left, by the same
//!   code that cleans up after a normal end.
//!
//! [`oci`] is the same for containers that another engine makes: it stands between the engine
//! and runC.
//!
//! The crate does not judge images: the caller passes that judgement in.
#![forbid(unsafe_code)]

pub mod apparmor;
pub mod authz;
mod cleanup;
mod console;
mod create;
mod drift;
mod error;
mod exec;
mod ids;
pub mod inspect;
pub mod install;
mod io;
mod layers;
mod lock;
mod manage;
pub mod network;
pub mod oci;
mod paths;
mod record;
mod rootfs;
mod run;
mod runc;

pub use apparmor::AppArmorError;
pub use cleanup::{Collected, Garbage};
pub use drift::{DriftDenial, DriftError, DriftReport};
pub use error::{IdsError, LayerError, ManageError, RunError, RuncError};
pub use exec::ExecRequest;
pub use ids::{IDS_PER_CONTAINER, IdLedger, IdSpace};
pub use io::{Input, Output, Stdio};
pub use layers::{LayerStore, Prepared};
pub use manage::{Found, Status};
pub use paths::RuntimePaths;
pub use record::{LogFile, Record, RunState};
pub use run::{Outcome, RunRequest};
pub use runc::{Runc, RuncVersion};

/// Everything needed to run containers: where state is kept, and the OCI runtime.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) paths: RuntimePaths,
    pub(crate) runc: Runc,
    pub(crate) ids: IdLedger,
    pub(crate) hierarchies: palisade_sys::Hierarchies,
}

impl Runtime {
    /// Finds the OCI runtime and makes the state folders.
    ///
    /// Needs root: rootless containers are not supported yet.
    pub fn open(paths: RuntimePaths, runc: Runc, space: IdSpace) -> Result<Self, RunError> {
        if !palisade_sys::facts::is_privileged() {
            return Err(RunError::NotRoot);
        }
        paths.prepare()?;
        let hierarchies = palisade_sys::Hierarchies::detect()?;
        let ids = IdLedger::new(paths.ledger(), space);
        Ok(Self { paths, runc, ids, hierarchies })
    }

    /// Where state is kept.
    pub fn paths(&self) -> &RuntimePaths {
        &self.paths
    }

    /// The OCI runtime in use.
    pub fn runc(&self) -> &Runc {
        &self.runc
    }
}
