//! Cutting a container off the network by BPF programs on its control group.
//!
//! The programs are pinned, so that the cut outlives this process: a container isolated by
//! policy stays isolated when Palisade is killed. Where pinning is impossible the cut holds
//! as long as the process does, and its detail says so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use palisade_bpf::isolate::{self, Denied, Isolation};

use crate::containment::NetworkCut;
use crate::execute::chain;
use crate::target::Target;

/// The cut by BPF.
#[derive(Debug)]
pub struct BpfNetwork {
    root: PathBuf,
    /// Isolations that could not be pinned; dropping one would end it.
    held: Mutex<BTreeMap<String, Isolation>>,
}

impl BpfNetwork {
    /// Pins below `root`, a folder of a BPF file system.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), held: Mutex::new(BTreeMap::new()) }
    }

    /// Removes the pins of containers that are not alive any more, and returns their ids.
    pub fn sweep(&self, is_alive: &dyn Fn(&str) -> bool) -> Result<Vec<String>, String> {
        let pinned = isolate::list_pinned(&self.root).map_err(|error| chain(&error))?;
        let mut swept = Vec::new();
        for id in pinned.into_iter().filter(|id| !is_alive(id)) {
            isolate::release_pinned(&self.root, &id).map_err(|error| chain(&error))?;
            swept.push(id);
        }
        Ok(swept)
    }

    /// How often the cut of container `id` has refused traffic; `None` when it is not cut.
    pub fn denied(&self, id: &str) -> Result<Option<Denied>, String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(id) {
            Some(isolation) => Ok(Some(isolation.denied())),
            None => isolate::pinned(&self.root, id).map_err(|error| chain(&error)),
        }
    }
}

impl Default for BpfNetwork {
    fn default() -> Self {
        Self::new(Path::new(isolate::PIN_ROOT))
    }
}

/// The container's folder in the unified hierarchy; programs cannot be attached elsewhere.
fn folder(target: &Target) -> Result<&Path, String> {
    let folder = target.group().unified();
    folder.filter(|folder| folder.is_dir()).ok_or_else(|| {
        format!("control group {} has no folder in the unified hierarchy", target.group().path())
    })
}

impl NetworkCut for BpfNetwork {
    fn cut(&self, target: &Target) -> Result<String, String> {
        self.cut_but(target, &[])
    }

    fn cut_but(&self, target: &Target, allow: &[IpAddr]) -> Result<String, String> {
        let id = target.container().id.as_str();
        let mut isolation =
            Isolation::begin_but(folder(target)?, allow).map_err(|error| chain(&error))?;
        // Left by an earlier container of the same id, or by a cut that lost its programs.
        let stale = isolate::release_pinned(&self.root, id);
        match stale.and_then(|_| isolation.pin(&self.root, id)) {
            Ok(pinned) => {
                let mounted = if pinned.mounted_bpffs { ", bpffs mounted" } else { "" };
                let but = match allow.len() {
                    0 => String::new(),
                    n => format!(" but with {n} address(es)"),
                };
                Ok(format!("all traffic{but} is refused by the kernel, pinned{mounted}"))
            }
            Err(error) => {
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                held.insert(id.to_string(), isolation);
                Ok(format!(
                    "all traffic is refused as long as this process runs: not pinned: {}",
                    chain(&error)
                ))
            }
        }
    }

    fn restore(&self, target: &Target) -> Result<String, String> {
        let id = target.container().id.as_str();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let unpinned = held.map(Isolation::release).transpose();
        let pinned = isolate::release_pinned(&self.root, id).map_err(|error| chain(&error))?;
        let denied = unpinned.map_err(|error| chain(&error))?.or(pinned).unwrap_or_default();
        let n = [
            denied.n_ingress,
            denied.n_egress,
            denied.n_connect,
            denied.n_sendmsg,
            denied.n_socket,
        ]
        .iter()
        .sum::<u64>();
        Ok(format!("the network is back; {n} packets and calls were refused"))
    }

    fn is_cut(&self, target: &Target) -> Result<bool, String> {
        isolate::is_isolated(folder(target)?).map_err(|error| chain(&error))
    }
}
