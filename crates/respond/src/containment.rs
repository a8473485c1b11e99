//! What can be done to a container, as operations; [`KernelContainment`] does them.
//!
//! Every operation is idempotent and says whether it changed anything. The trait exists
//! because network isolation has more than one mechanism and because a response must be
//! shown to survive a failure of each step.

use std::net::IpAddr;
use std::time::Duration;

use palisade_sys::cgroup::CgroupError;

use crate::target::Target;

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Whether the state was another before.
    pub changed: bool,
    /// What was done or found, for the timeline.
    pub detail: String,
}

impl Effect {
    /// A change.
    pub fn changed(detail: impl Into<String>) -> Self {
        Self { changed: true, detail: detail.into() }
    }

    /// Nothing had to be changed.
    pub fn unchanged(detail: impl Into<String>) -> Self {
        Self { changed: false, detail: detail.into() }
    }
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ContainmentError {
    /// The control group did not obey.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The network could not be cut or restored.
    #[error("network isolation: {0}")]
    Network(String),
    /// The state after the operation is not the one asked for.
    #[error("{0} did not take effect")]
    NotEffective(&'static str),
}

/// What a response does to a container.
pub trait Containment {
    /// Stops every process where it stands.
    fn freeze(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError>;
    /// Lets every process go on.
    fn thaw(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError>;
    /// Denies all network traffic, so that it stays denied without this process.
    fn isolate(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError>;
    /// Denies all network traffic but that with the addresses in `allow`.
    fn isolate_but(
        &self,
        target: &Target,
        allow: &[IpAddr],
        deadline: Duration,
    ) -> Result<Effect, ContainmentError> {
        if allow.is_empty() {
            return self.isolate(target, deadline);
        }
        Err(ContainmentError::Network("no address can be let through by these means".into()))
    }
    /// Allows network traffic again.
    fn rejoin(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError>;
    /// Ends every process.
    fn kill(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError>;
}

/// Cuts and restores the network of one control group, and says whether it is cut.
///
/// The detail text of a successful cut may carry what was verified (hooks, counters).
pub trait NetworkCut: std::fmt::Debug {
    /// Cuts the network; returns a detail for the timeline.
    fn cut(&self, target: &Target) -> Result<String, String>;
    /// Cuts it but for the addresses in `allow`.
    fn cut_but(&self, target: &Target, allow: &[IpAddr]) -> Result<String, String> {
        if allow.is_empty() {
            return self.cut(target);
        }
        Err("no address can be let through by these means".into())
    }
    /// Makes ready, on another thread, what [`NetworkCut::cut_at_once`] needs.
    fn prepare(&self) {}
    /// Cuts the network within about a millisecond, pinned as [`NetworkCut::cut`] does, or does
    /// nothing and returns `None`: what it needs is not ready, or these means are too slow for a
    /// caller whom nothing may keep waiting.
    fn cut_at_once(&self, _target: &Target) -> Option<Result<String, String>> {
        None
    }
    /// Restores it.
    fn restore(&self, target: &Target) -> Result<String, String>;
    /// Whether it is cut now, asked of the kernel.
    fn is_cut(&self, target: &Target) -> Result<bool, String>;
}

/// The kernel's own means: control groups, and a way to cut the network.
pub struct KernelContainment<'n> {
    network: &'n (dyn NetworkCut + Sync),
}

impl std::fmt::Debug for KernelContainment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelContainment").finish_non_exhaustive()
    }
}

impl<'n> KernelContainment<'n> {
    /// Containment that cuts the network by `network`.
    pub fn new(network: &'n (dyn NetworkCut + Sync)) -> Self {
        Self { network }
    }
}

/// Freezes `target` at once: the step that the agent takes before anything else.
pub fn freeze(target: &Target, deadline: Duration) -> Result<Effect, ContainmentError> {
    let group = target.group();
    if group.is_frozen()? {
        return Ok(Effect::unchanged("already frozen"));
    }
    let took = group.freeze(deadline)?;
    if !group.is_frozen()? {
        return Err(ContainmentError::NotEffective("freeze"));
    }
    Ok(Effect::changed(format!("control group {} frozen in {} µs", group.path(), took.as_micros())))
}

/// Cuts `target` off the network at once, after the freeze and before anything else; `None` when
/// `network` cannot do so without delay.
pub fn isolate_at_once(
    network: &dyn NetworkCut,
    target: &Target,
) -> Option<Result<Effect, ContainmentError>> {
    let done = || -> Result<Option<Effect>, String> {
        if network.is_cut(target)? {
            return Ok(Some(Effect::unchanged("already isolated")));
        }
        network.cut_at_once(target).transpose().map(|detail| detail.map(Effect::changed))
    };
    match done() {
        Ok(None) => None,
        // What the kernel says afterwards counts, not that the call returned.
        Ok(Some(effect)) => Some(match network.is_cut(target) {
            Ok(true) => Ok(effect),
            Ok(false) => Err(ContainmentError::NotEffective("network isolation")),
            Err(error) => Err(ContainmentError::Network(error)),
        }),
        Err(error) => Some(Err(ContainmentError::Network(error))),
    }
}

impl Containment for KernelContainment<'_> {
    fn freeze(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError> {
        freeze(target, deadline)
    }

    fn thaw(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError> {
        if !target.group().is_frozen()? {
            return Ok(Effect::unchanged("not frozen"));
        }
        target.group().thaw(deadline)?;
        Ok(Effect::changed("thawed"))
    }

    fn isolate(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError> {
        self.isolate_but(target, &[], deadline)
    }

    fn isolate_but(
        &self,
        target: &Target,
        allow: &[IpAddr],
        _deadline: Duration,
    ) -> Result<Effect, ContainmentError> {
        if self.network.is_cut(target).map_err(ContainmentError::Network)? {
            return Ok(Effect::unchanged("already isolated"));
        }
        let detail = self.network.cut_but(target, allow).map_err(ContainmentError::Network)?;
        // What the kernel says afterwards counts, not that the call returned.
        if !self.network.is_cut(target).map_err(ContainmentError::Network)? {
            return Err(ContainmentError::NotEffective("network isolation"));
        }
        Ok(Effect::changed(detail))
    }

    fn rejoin(&self, target: &Target, _deadline: Duration) -> Result<Effect, ContainmentError> {
        if !self.network.is_cut(target).map_err(ContainmentError::Network)? {
            return Ok(Effect::unchanged("not isolated"));
        }
        let detail = self.network.restore(target).map_err(ContainmentError::Network)?;
        Ok(Effect::changed(detail))
    }

    fn kill(&self, target: &Target, deadline: Duration) -> Result<Effect, ContainmentError> {
        // For the timeline alone: what cannot be counted is killed all the same.
        let counted = target.group().members();
        let took = target.group().kill(deadline)?.as_micros();
        Ok(match counted {
            Ok(members) if members.beyond.is_some() => {
                let n = members.pids.len();
                Effect::changed(format!("more than {n} processes killed in {took} µs"))
            }
            Ok(members) if members.pids.is_empty() => Effect::unchanged("no process was left"),
            Ok(members) => {
                Effect::changed(format!("{} processes killed in {took} µs", members.pids.len()))
            }
            Err(error) => Effect::changed(format!(
                "an unknown number of processes killed in {took} µs (listing them: {error})"
            )),
        })
    }
}
