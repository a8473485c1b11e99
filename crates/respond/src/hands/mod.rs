//! What carries an act out: control groups, packet filters, files, programs, requests.
//!
//! Every act is idempotent: done twice it finds the second time that nothing is left to do.

mod hook;
mod nft;
mod process;
mod remote;
mod snapshot;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use palisade_model::incident::ActionResult;
use palisade_policy::playbook::Act;
use palisade_sys::cgroup::Hierarchies;

use crate::containment::{Containment, ContainmentError, Effect};
use crate::execute::{Collected, chain};
use crate::order::Order;
use crate::target::{Target, TargetError};

pub use nft::{BestNetwork, NftNetwork};
pub use remote::{Answer, Aws, Cloud, Remotes, Request, RequestError, Signed, requests, sign_aws};
pub use snapshot::{SnapshotError, SnapshotSummary, snapshot};
pub use store::Store;

/// What an act came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performed {
    /// How it went.
    pub result: ActionResult,
    /// What was done, or why not.
    pub detail: String,
    /// The file that it produced.
    pub file: Option<String>,
}

impl Performed {
    fn done(detail: impl Into<String>) -> Self {
        Self { result: ActionResult::Done, detail: detail.into(), file: None }
    }

    fn unchanged(detail: impl Into<String>) -> Self {
        Self { result: ActionResult::Unchanged, detail: detail.into(), file: None }
    }

    fn failed(detail: impl Into<String>) -> Self {
        Self { result: ActionResult::Failed, detail: detail.into(), file: None }
    }
}

/// Carries acts out.
pub trait Hands {
    /// Does `act` for `order`, or gives up at the deadline.
    fn perform(&mut self, act: &Act, order: &Order, deadline: Duration) -> Performed;
}

/// Collects the evidence of an order; the boolean says whether the container is frozen.
pub type CollectFor<'a> =
    &'a mut dyn FnMut(&Order, &Target, bool, Duration) -> Result<Collected, String>;

/// Sends a request and gives the answer, whatever its status, within the time.
pub type Send<'a> = &'a mut dyn FnMut(&Request, Duration) -> Result<Answer, String>;

/// The system's own means.
pub struct SystemHands<'a> {
    /// Where control groups are mounted.
    pub hierarchies: &'a Hierarchies,
    /// Freezes, isolates, kills.
    pub containment: &'a dyn Containment,
    /// Collects evidence.
    pub collect: CollectFor<'a>,
    /// What holds until it is taken back.
    pub store: Store,
    /// Folder of snapshots.
    pub snapshots: PathBuf,
    /// The upper layer of a container's root, where the caller knows it; else the mount table
    /// tells.
    pub upper: &'a dyn Fn(&palisade_model::Container) -> Option<PathBuf>,
    /// Services elsewhere, and how to speak with them.
    pub remotes: &'a Remotes,
    /// Sends requests.
    pub send: Send<'a>,
}

impl std::fmt::Debug for SystemHands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemHands").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Hands for SystemHands<'_> {
    fn perform(&mut self, act: &Act, order: &Order, deadline: Duration) -> Performed {
        if act.is_remote() {
            return remote::perform(self.remotes, self.send, act, order, deadline);
        }
        if let Act::Hook { command } = act {
            return hook::run(command, order, deadline);
        }
        if let Some(performed) = self.store.perform(act, order) {
            return performed;
        }
        let Some(container) = &order.container else {
            return Performed::failed("the order has no container");
        };
        match Target::resolve(container, self.hierarchies) {
            Ok(target) => self.on_target(act, order, &target, deadline),
            Err(error @ TargetError::Ended(_)) if matches!(act, Act::Evidence | Act::Snapshot) => {
                Performed::failed(error.to_string())
            }
            // Nothing is left to freeze, cut off, kill or let go.
            Err(error @ TargetError::Ended(_)) => Performed::unchanged(error.to_string()),
            Err(error) => Performed::failed(chain(&error)),
        }
    }
}

impl SystemHands<'_> {
    fn on_target(
        &mut self,
        act: &Act,
        order: &Order,
        target: &Target,
        deadline: Duration,
    ) -> Performed {
        let effect = match act {
            Act::Freeze => self.containment.freeze(target, deadline),
            Act::Unfreeze => self.containment.thaw(target, deadline),
            Act::Isolate { allow } => self.containment.isolate_but(target, allow, deadline),
            Act::Unisolate => self.containment.rejoin(target, deadline),
            Act::Kill => self.containment.kill(target, deadline),
            Act::KillProcess { pid, started } | Act::KillTree { pid, started } => {
                let tree = matches!(act, Act::KillTree { .. });
                return process::kill(target, *pid, *started, tree, deadline);
            }
            Act::BlockDestination { to } => return nft::block(target, to, deadline),
            Act::UnblockDestination { to } => return nft::unblock(target, to, deadline),
            Act::Evidence => {
                let frozen = target.group().is_frozen().unwrap_or(false);
                return match (self.collect)(order, target, frozen, deadline) {
                    Ok(collected) => Performed {
                        result: if collected.partial {
                            ActionResult::Partial
                        } else {
                            ActionResult::Done
                        },
                        detail: collected.detail,
                        file: Some(collected.file),
                    },
                    Err(reason) => Performed::failed(reason),
                };
            }
            Act::Snapshot => {
                let upper = (self.upper)(target.container());
                let path = self.snapshots.join(format!("{}.tar", order.id));
                return match snapshot(target, upper.as_deref(), &path, deadline) {
                    Ok(summary) => Performed {
                        result: if summary.n_skipped > 0 {
                            ActionResult::Partial
                        } else {
                            ActionResult::Done
                        },
                        detail: summary.to_string(),
                        file: Some(path.display().to_string()),
                    },
                    Err(error) => Performed::failed(chain(&error)),
                };
            }
            other => return Performed::failed(format!("`{}` is nothing to do here", other.name())),
        };
        effect.into()
    }
}

impl From<Result<Effect, ContainmentError>> for Performed {
    fn from(effect: Result<Effect, ContainmentError>) -> Self {
        match effect {
            Ok(Effect { changed: true, detail }) => Self::done(detail),
            Ok(Effect { changed: false, detail }) => Self::unchanged(detail),
            Err(error) => Self::failed(chain(&error)),
        }
    }
}
