//! Two bundles of one container: what came, went and changed between them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Case, Change, Process, Socket};

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Processes that began.
    pub processes_begun: Vec<Process>,
    /// Processes that ended.
    pub processes_ended: Vec<Process>,
    /// Sockets that were opened.
    pub sockets_opened: Vec<Socket>,
    /// Sockets that were closed.
    pub sockets_closed: Vec<Socket>,
    /// Entries that were changed for the first time.
    pub files_added: Vec<Change>,
    /// Entries that were changed again: before and after.
    pub files_changed: Vec<(Change, Change)>,
    /// Entries that the container had changed and that are gone from its layer.
    pub files_gone: Vec<Change>,
    /// Programs without a name that were not there before, by digest.
    pub nameless_added: Vec<super::Nameless>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What differs between an earlier and a later bundle.
pub fn diff(before: &Case, after: &Case) -> Difference {
    // A number of a process is used again; together with its start it is not.
    let processes = |case: &Case| -> BTreeMap<(u32, u64), Process> {
        let key = |process: &Process| (process.pid, process.start_ticks);
        case.processes.iter().map(|process| (key(process), process.clone())).collect()
    };
    let sockets = |case: &Case| -> BTreeMap<(String, String, Option<String>), Socket> {
        let key = |s: &Socket| (s.protocol.clone(), s.local.clone(), s.remote.clone());
        case.sockets.iter().map(|socket| (key(socket), socket.clone())).collect()
    };
    let files = |case: &Case| -> BTreeMap<String, Change> {
        case.changes.iter().map(|change| (change.path.clone(), change.clone())).collect()
    };
    let (processes_ended, processes_begun) = apart(&processes(before), &processes(after));
    let (sockets_closed, sockets_opened) = apart(&sockets(before), &sockets(after));
    let (old, new) = (files(before), files(after));
    let (files_gone, files_added) = apart(&old, &new);
    let is_other = |(a, b): &(Change, Change)| {
        (&a.kind, &a.mode, a.size, &a.sha256, &a.link, a.changed_ns)
            != (&b.kind, &b.mode, b.size, &b.sha256, &b.link, b.changed_ns)
    };
    let both = old.iter().filter_map(|(path, a)| Some((a.clone(), new.get(path)?.clone())));
    let known = |digest| before.nameless.iter().any(|old| old.sha256 == digest);
    Difference {
        processes_begun,
        processes_ended,
        sockets_opened,
        sockets_closed,
        files_added,
        files_changed: both.filter(is_other).collect(),
        files_gone,
        nameless_added: after.nameless.iter().filter(|n| !known(n.sha256)).cloned().collect(),
    }
}

/// What only the first has, and what only the second has.
fn apart<K: Ord, V: Clone>(a: &BTreeMap<K, V>, b: &BTreeMap<K, V>) -> (Vec<V>, Vec<V>) {
    let only = |of: &BTreeMap<K, V>, other: &BTreeMap<K, V>| {
        let missing = of.iter().filter(|(key, _)| !other.contains_key(*key));
        missing.map(|(_, value)| value.clone()).collect()
    };
    (only(a, b), only(b, a))
}
