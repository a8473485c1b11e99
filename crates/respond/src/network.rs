//! Cutting a container off the network by BPF programs on its control group.
//!
//! The programs are pinned, so that the cut outlives this process: a container isolated by
//! policy stays isolated when Palisade is killed. Where pinning is impossible the cut holds
//! as long as the process does, and its detail says so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use palisade_bpf::isolate::{self, Denied, Isolation, Prepared};

use crate::containment::NetworkCut;
use crate::execute::chain;
use crate::target::Target;

/// Cuts whose programs are loaded before they are needed. Each has maps of its own in the kernel,
/// a few pages.
pub const SPARES_MAX: usize = 4;

/// Loaded programs that wait for a container to cut off.
#[derive(Debug, Default)]
struct Spares {
    ready: Mutex<Vec<Prepared>>,
    is_filling: AtomicBool,
}

impl Spares {
    fn take(&self) -> Option<Prepared> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Loads until there are [`SPARES_MAX`]. One that the kernel refuses ends it: the cut by the
    /// slow way says why.
    fn fill(&self) {
        let has_room =
            || self.ready.lock().unwrap_or_else(PoisonError::into_inner).len() < SPARES_MAX;
        while has_room() {
            let Ok(prepared) = Prepared::load() else { return };
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(prepared);
        }
    }
}

/// The cut by BPF.
#[derive(Debug)]
pub struct BpfNetwork {
    root: PathBuf,
    spares: Arc<Spares>,
    /// Held while a cut is made or ended: two threads must not take one for the other's leavings.
    working: Mutex<()>,
    /// Isolations that could not be pinned; dropping one would end it.
    held: Mutex<BTreeMap<String, Isolation>>,
}

impl BpfNetwork {
    /// Pins below `root`, a folder of a BPF file system.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            spares: Arc::default(),
            working: Mutex::new(()),
            held: Mutex::new(BTreeMap::new()),
        }
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

    /// Pins a cut, or holds it as long as this process lives.
    fn keep(&self, target: &Target, mut isolation: Isolation, n_allowed: usize) -> String {
        let id = target.container().id.as_str();
        // Left by an earlier container of the same id, or by a cut that lost its programs.
        let stale = isolate::release_pinned(&self.root, id);
        match stale.and_then(|_| isolation.pin(&self.root, id)) {
            Ok(pinned) => {
                let mounted = if pinned.mounted_bpffs { ", bpffs mounted" } else { "" };
                let but = match n_allowed {
                    0 => String::new(),
                    n => format!(" but with {n} address(es)"),
                };
                format!("all traffic{but} is refused by the kernel, pinned{mounted}")
            }
            Err(error) => {
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                held.insert(id.to_string(), isolation);
                format!(
                    "all traffic is refused as long as this process runs: not pinned: {}",
                    chain(&error)
                )
            }
        }
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
        let _working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        let isolation =
            Isolation::begin_but(folder(target)?, allow).map_err(|error| chain(&error))?;
        Ok(self.keep(target, isolation, allow.len()))
    }

    fn prepare(&self) {
        if self.spares.is_filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let spares = Arc::clone(&self.spares);
        let filling = std::thread::Builder::new().name("palisade-spares".into()).spawn(move || {
            spares.fill();
            spares.is_filling.store(false, Ordering::Release);
        });
        if filling.is_err() {
            // Without a thread there are no spares, and cuts go the slow way.
            self.spares.is_filling.store(false, Ordering::Release);
        }
    }

    fn cut_at_once(&self, target: &Target) -> Option<Result<String, String>> {
        let _working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = self.spares.take()?;
        let cut = folder(target).and_then(|folder| {
            Isolation::begin_with(spare, folder, &[]).map_err(|error| chain(&error))
        });
        let kept = cut.map(|isolation| self.keep(target, isolation, 0));
        self.prepare();
        Some(kept)
    }
    fn restore(&self, target: &Target) -> Result<String, String> {
        let _working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
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
