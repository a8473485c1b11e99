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
mod names;
pub mod network;
pub mod oci;
mod output;
mod paths;
mod record;
mod rootfs;
pub mod rootless;
mod run;
mod runc;
pub mod selinux;
mod share;
mod start;

pub use apparmor::AppArmorError;
pub use cleanup::{Collected, Garbage};
pub use drift::{DriftDenial, DriftError, DriftReport};
pub use error::{IdsError, LayerError, ManageError, RunError, RuncError};
pub use exec::ExecRequest;
pub use ids::{IDS_PER_CONTAINER, IdLedger, IdSpace};
pub use io::{Input, Output, Stdio};
pub use layers::{LayerStore, Prepared};
pub use manage::{Found, Status};
pub use output::KEPT_BYTES_MAX;
pub use paths::RuntimePaths;
pub use record::{LogFile, Record, RunState};
pub use rootless::{NoRange, Rootless, RootlessError};
pub use run::{Outcome, RunRequest};
pub use runc::{Runc, RuncVersion};
pub use selinux::SelinuxError;
pub use start::StartFault;

/// Everything needed to run containers: where state is kept, and the OCI runtime.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) paths: RuntimePaths,
    pub(crate) runc: Runc,
    pub(crate) ids: IdLedger,
    pub(crate) hierarchies: palisade_sys::Hierarchies,
    /// The ordinary user who runs them, if it is one.
    pub(crate) rootless: Option<Rootless>,
    /// The user's control groups.
    pub(crate) delegation: Option<rootless::delegation::Delegation>,
}

impl Runtime {
    /// Finds the OCI runtime and makes the state folders.
    ///
    /// Needs root; [`Runtime::open_rootless`] is for others.
    pub fn open(paths: RuntimePaths, runc: Runc, space: IdSpace) -> Result<Self, RunError> {
        if !palisade_sys::facts::is_privileged() {
            return Err(RunError::NotRoot);
        }
        paths.prepare()?;
        let hierarchies = palisade_sys::Hierarchies::detect()?;
        let ids = IdLedger::new(paths.ledger(), space);
        Ok(Self { paths, runc, ids, hierarchies, rootless: None, delegation: None })
    }

    /// The same for an ordinary user, whose namespace this process has entered
    /// ([`Rootless::enter`]).
    ///
    /// # Errors
    ///
    /// A folder cannot be made, or nothing is known of control groups.
    pub fn open_rootless(
        mut paths: RuntimePaths,
        runc: Runc,
        rootless: Rootless,
    ) -> Result<Self, RunError> {
        paths.make()?;
        let hierarchies = palisade_sys::Hierarchies::detect()?;
        let delegation = rootless::delegation::Delegation::find(&hierarchies)
            .map_err(RunError::io("read", rootless::delegation::OWN.as_ref()))?;
        if let Some(delegation) = &delegation {
            paths.cgroup_parent = delegation.parent();
        }
        let nothing = IdSpace { ids: 0..0, lists: Vec::new(), register: None };
        let ids = IdLedger::new(paths.ledger(), nothing);
        Ok(Self { paths, runc, ids, hierarchies, rootless: Some(rootless), delegation })
    }

    /// The control group of a container: that of its record, as an ordinary user's are not all
    /// below one.
    pub(crate) fn group_path(&self, id: &str) -> String {
        let of_record =
            self.rootless.as_ref().and_then(|_| Record::read(&self.paths.record(id)).ok());
        of_record
            .and_then(|record| record.container.cgroup)
            .unwrap_or_else(|| self.paths.cgroup(id))
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
