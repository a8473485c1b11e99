//! What came into an inventory and went from it since somebody was told: apart for who reads
//! `palisade scan --stored`, and for the watch, whose sinks are told by nobody else (ADR 36).
//!
//! Invariant: what somebody was told, with what is new and without what is gone, is what is found
//! now; so whatever changes next is merged by [`News::after`], and what came and went in between
//! is nobody's news.

use std::collections::HashSet;

use palisade_model::finding::Vulnerability;
use serde::{Deserialize, Serialize};

use super::State;
use super::file::Entry;

/// Who is told what looks find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// Who reads the report of `palisade scan --stored`.
    Reader,
    /// The watch, for its journal and its sinks.
    Watch,
}

/// Identifier and package URL: what is the same vulnerability of an inventory.
pub(super) type Id = (String, String);

pub(super) fn ids(one: &Vulnerability) -> (&str, &str) {
    (&one.id, &one.purl)
}

pub(super) fn id(one: &Vulnerability) -> Id {
    (one.id.clone(), one.purl.clone())
}

/// What came and went since one of them was told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct News {
    /// Identifier and package URL of what was not found then and is now.
    #[serde(default, skip_serializing_if = "HashSet::is_empty")]
    pub new: HashSet<(String, String)>,
    /// What was found then and is not now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Vulnerability>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty()
    }

    /// What it is once these `came` and those `went`.
    fn after(mut self, came: &[&Vulnerability], went: &[&Vulnerability]) -> Self {
        // What nobody was told is not missed, and what comes back was not gone.
        let lost: Vec<Vulnerability> =
            went.iter().filter(|v| !self.new.contains(&id(v))).map(|v| (*v).clone()).collect();
        for one in went {
            self.new.remove(&id(one));
        }
        let back: HashSet<(&str, &str)> = came.iter().map(|v| ids(v)).collect();
        let missed: HashSet<Id> =
            self.gone.iter().filter(|v| back.contains(&ids(v))).map(id).collect();
        self.new.extend(came.iter().map(|v| id(v)).filter(|id| !missed.contains(id)));
        self.gone.retain(|v| !back.contains(&ids(v)));
        self.gone.extend(lost);
        crate::matching::sort_by_weight(&mut self.gone);
        self
    }
}

/// What is noted of an inventory for both.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Untold {
    reader: News,
    /// None where it is the same.
    watch: Option<News>,
}

impl Untold {
    pub(super) fn new(reader: News, watch: Option<News>) -> Self {
        let watch = watch.filter(|watch| *watch != reader);
        Self { reader, watch }
    }

    /// What is noted for `listener`.
    pub(super) fn to(&self, listener: Listener) -> &News {
        match (listener, &self.watch) {
            (Listener::Watch, Some(watch)) => watch,
            _ => &self.reader,
        }
    }

    /// The two parts, as they are written.
    pub(super) fn parts(self) -> (News, Option<News>) {
        (self.reader, self.watch)
    }

    /// Without what was told since it was noted with `entry`.
    pub(super) fn still(&self, entry: &Entry, state: &State) -> Self {
        let of = |listener| {
            let is_untold = state.is_untold(entry, listener);
            if is_untold { self.to(listener).clone() } else { News::default() }
        };
        Self::new(of(Listener::Reader), Some(of(Listener::Watch)))
    }

    /// What it is once these `came` and those `went`.
    pub(super) fn after(self, came: &[&Vulnerability], went: &[&Vulnerability]) -> Self {
        let watch = self.watch.map(|watch| watch.after(came, went));
        Self::new(self.reader.after(came, went), watch)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reader.is_empty() && self.watch.as_ref().is_none_or(News::is_empty)
    }
}

/// What is in `now` and not in `before`, and what is in `before` and not in `now`.
pub(super) fn difference<'a>(
    before: &'a [Vulnerability],
    now: &'a [Vulnerability],
) -> (Vec<&'a Vulnerability>, Vec<&'a Vulnerability>) {
    let without = |list: &'a [Vulnerability], other: &[Vulnerability]| -> Vec<&'a Vulnerability> {
        let known: HashSet<(&str, &str)> = other.iter().map(ids).collect();
        list.iter().filter(|one| !known.contains(&ids(one))).collect()
    };
    (without(now, before), without(before, now))
}
