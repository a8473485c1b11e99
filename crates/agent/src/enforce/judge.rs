//! Decides, before a program starts, whether a rule refuses it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use palisade_base::Timestamp;
use palisade_policy::EnforceException;
use palisade_rules::{Evaluator, RuleId, RuleSet};
use palisade_sensor::state::ANCESTORS_MAX;
use palisade_sys::fanotify::{Layers, Origin, Request};

use super::attempt::{Ancestor, Attempt, seen_from};
use super::membership::is_member;
use super::program::{Program, START_BYTES, judge};
use super::warden::Guarded;

/// Processes whose loader is expected to be asked about next.
const EXPECTED_MAX: usize = 4096;
/// Mounts whose layers are kept open.
const LAYERED_MAX: usize = 512;

/// Whether the rule asks more of ancestors than the parent.
fn asks_ancestors(rules: &RuleSet, id: RuleId) -> bool {
    rules.rule(id).fields.iter().any(|field| {
        ["proc.aname", "proc.aexepath", "proc.apid"].iter().any(|name| field.starts_with(name))
    })
}

/// Whether any rule asks whether the program is the image's.
fn asks_layers<'a>(rules: &RuleSet, mut ids: impl Iterator<Item = &'a RuleId>) -> bool {
    ids.any(|id| rules.rule(*id).fields.iter().any(|field| field == "proc.is_exe_upper_layer"))
}

/// The rules by which programs are judged, as they stand.
pub(super) struct Rules {
    asks_layers: bool,
    evaluator: Evaluator,
    served: BTreeMap<RuleId, String>,
    exceptions: Vec<EnforceException>,
    n_ancestors: usize,
}

impl Rules {
    /// Of `rules`, those that are `served` before programs.
    pub(super) fn new(
        rules: &Arc<RuleSet>,
        served: BTreeMap<RuleId, String>,
        exceptions: Vec<EnforceException>,
    ) -> Self {
        let needs_ancestors = served.keys().any(|id| asks_ancestors(rules, *id));
        let n_ancestors = if needs_ancestors { ANCESTORS_MAX } else { 1 };
        let asks_layers = asks_layers(rules, served.keys());
        Self { asks_layers, evaluator: Evaluator::new(rules), served, exceptions, n_ancestors }
    }
}

/// Rules that can be exchanged between two questions: each is judged by the old or the new.
#[derive(Clone)]
pub(super) struct Current(Arc<Mutex<Rules>>);

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl Current {
    pub(super) fn new(rules: Rules) -> Self {
        Self(Arc::new(Mutex::new(rules)))
    }

    pub(super) fn exchange(&self, rules: Rules) {
        let old = {
            let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, rules)
        };
        // Nobody waits while it is taken apart.
        drop(old);
    }
}

/// Decides before programs.
pub(super) struct Judge {
    current: Current,
    guarded: Guarded,
    /// By process: the loader of the program that it was just allowed.
    expected: BTreeMap<u32, Vec<u8>>,
    matched: Vec<RuleId>,
    /// By the number of a root's mount: its layers, if they are known.
    layers: BTreeMap<u64, Option<Layers>>,
}

impl Judge {
    pub(super) fn new(current: Current, guarded: Guarded) -> Self {
        let (expected, layers) = (BTreeMap::new(), BTreeMap::new());
        Self { current, guarded, expected, matched: Vec::new(), layers }
    }

    /// Whether the program is another than the image's; `None` where its layers are not known, or
    /// it lies on no overlay.
    fn is_upper(&mut self, request: &Request, mount: u64) -> Option<bool> {
        if self.layers.len() >= LAYERED_MAX && !self.layers.contains_key(&mount) {
            self.layers.clear();
        }
        let pid = request.pid();
        let layers = self.layers.entry(mount).or_insert_with(|| {
            Layers::of_process(pid).ok().flatten().filter(|layers| layers.mount() == mount)
        });
        Some(layers.as_ref()?.origin(request).ok()? != Origin::Image)
    }

    /// The rules that refuse a request, and what they saw; nothing when it may pass.
    pub(super) fn decide(&mut self, request: &Request) -> Option<(Vec<String>, Attempt)> {
        let pid = request.pid();
        let mount = request.mount_id().ok()?;
        let facts = {
            let guarded = self.guarded.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(guarded.get(&mount)?)
        };
        // A process of the host that uses the container's mounts is not the container's.
        if pid <= 1 || pid == std::process::id() || !is_member(pid, &facts.container) {
            return None;
        }
        let mut start = [0; START_BYTES];
        let n = request.read_start(&mut start).unwrap_or(0);
        // What cannot be read is judged by its path alone.
        let program =
            if n == 0 { Program::Itself { loader: None } } else { judge(start.get(..n)?) };
        let expected = self.expected.remove(&pid);
        let loader = match program {
            Program::Another => return None,
            Program::Itself { loader } => loader,
        };
        if loader.is_none() && expected.is_some_and(|path| is_named(request, &path)) {
            return None;
        }
        let root = std::fs::read_link(format!("/proc/{pid}/root")).unwrap_or_else(|_| "/".into());
        let path = seen_from(&request.path().ok()?, &root);
        let caller = Ancestor::read(pid)?;
        let (n_ancestors, asks_layers) = {
            let rules = self.current.0.lock().unwrap_or_else(PoisonError::into_inner);
            (rules.n_ancestors, rules.asks_layers)
        };
        let is_upper = if asks_layers { self.is_upper(request, mount) } else { None };
        let ancestors = caller.above(n_ancestors);
        let uid = std::fs::metadata(format!("/proc/{pid}")).map_or(0, |entry| entry.uid());
        let attempt = Attempt { caller, uid, path, ancestors, facts, is_upper };
        let refusing = self.refusing(&attempt);
        if !refusing.is_empty() {
            return Some((refusing, attempt));
        }
        if let Some(loader) = loader {
            if self.expected.len() >= EXPECTED_MAX {
                self.expected.clear();
            }
            self.expected.insert(pid, loader);
        }
        None
    }

    fn refusing(&mut self, attempt: &Attempt) -> Vec<String> {
        self.matched.clear();
        let mut rules = self.current.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.evaluator.evaluate(attempt, &mut self.matched);
        let now = Timestamp::now();
        let container = &attempt.facts.container;
        let refusing = |id: &RuleId| {
            let name = rules.served.get(id)?;
            let is_excepted = rules.exceptions.iter().any(|e| e.covers(name, container, now));
            (!is_excepted).then(|| name.clone())
        };
        self.matched.iter().filter_map(refusing).collect()
    }
}

fn is_named(request: &Request, path: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
    request.is_named(path).unwrap_or(false)
}
