//! Which ids a container has, and the layers that belong to them.

use std::path::{Path, PathBuf};

use palisade_harden::{IdRange, Machine, Rootless as Fit};
use palisade_image::{ExtractOptions, IdShift, Ownership};
use palisade_policy::{RootlessIds, UserNamespace};
use palisade_sys::facts;

use crate::error::RunError;
use crate::layers::LayerStore;
use crate::paths::make_folder;
use crate::rootless::delegation::{Delegation, Groups};
use crate::rootless::{NoRange, Rootless, Slot, SubIds};
use crate::{RunRequest, Runtime};

/// Folders over which the place is mounted where a root file system is put together for somebody
/// who may not walk through the user's own: one of them is there and holds nothing that is needed.
const STAGES: [&str; 6] = ["/mnt", "/media", "/srv", "/opt", "/tmp", "/var/tmp"];

/// A container's ids and layers.
#[derive(Debug)]
pub(crate) struct Share {
    /// Its own ids, as the runtime's namespace numbers them.
    pub(crate) ids: Option<IdRange>,
    /// What the machine calls the first of them.
    first_host_id: u32,
    /// Whether its root is the user who runs it.
    pub(crate) root_is_user: bool,
    /// Layers that belong to these ids.
    pub(crate) store: LayerStore,
    /// What is to be said.
    pub(crate) warnings: Vec<String>,
}

impl Share {
    /// What the runtime's namespace calls the container's id `id`.
    pub(crate) fn outer(&self, id: u32) -> u32 {
        outer(self.ids, self.root_is_user, id)
    }
}

/// What the runtime's namespace calls id `id` of a container.
pub(crate) fn outer(ids: Option<IdRange>, root_is_user: bool, id: u32) -> u32 {
    match ids {
        Some(_) if root_is_user && id == 0 => 0,
        Some(ids) => ids.first.saturating_add(id),
        None => id,
    }
}

impl Runtime {
    /// The ids and the layers of the container `id`; `keep` says whether it will be made.
    pub(crate) fn share(
        &self,
        request: &RunRequest<'_>,
        id: &str,
        keep: bool,
    ) -> Result<Share, RunError> {
        let is_private = request.policy.containers.user_namespace == UserNamespace::Private;
        let Some(rootless) = &self.rootless else {
            let ids = match (is_private, keep) {
                (true, true) => Some(self.ids.allocate(&self.paths.written(id))?),
                (true, false) => Some(self.ids.next()?),
                (false, _) => None,
            };
            return Ok(Share {
                ids,
                first_host_id: ids.map_or(0, |ids| ids.first),
                root_is_user: false,
                store: LayerStore::new(self.paths.layers()),
                warnings: Vec::new(),
            });
        };
        let root_is_user = request.image.folder().is_some();
        let mut warnings = Vec::new();
        let (ids, files) = if !is_private {
            warnings.push(
                "`containers.user_namespace: host` without root: the container's root is your own \
                 user, and may act on your files that are mounted and on your other containers"
                    .to_string(),
            );
            (None, IdRange { first: 0, count: rootless.n_ids.saturating_add(1) })
        } else if let Some(slot) = self.slot(rootless, id, keep)? {
            warnings.extend(sharing(slot, || SubIds::line_for_more(rootless.uid)));
            (Some(slot.ids()), slot.ids())
        } else if request.policy.containers.rootless.ids == RootlessIds::Single {
            let single = IdRange { first: 0, count: 1 };
            (Some(single), single)
        } else {
            return Err(RunError::NoRange(rootless.no_range.clone().unwrap_or(NoRange::Earlier)));
        };
        // By the machine's ids, not by ours: these mean others once root has changed the user's
        // range, and the files that are there belong to those of before.
        let (ownership, name) = if files.count == 1 {
            (Ownership::Ignore, "single".to_string())
        } else {
            let shift = IdShift { start: files.first, length: files.count };
            (Ownership::Shift(shift), rootless.maps.name_of(files))
        };
        let folder = self.paths.layers_of(&name);
        make_folder(&folder, 0o700)?;
        let options =
            ExtractOptions { ownership, user_overlay_xattrs: true, ..ExtractOptions::default() };
        let first_host_id = match ids {
            Some(IdRange { first: 0, .. }) | None => rootless.uid,
            Some(ids) => rootless.maps.host_user(ids.first).unwrap_or(rootless.uid),
        };
        let store = LayerStore::new(folder).with_options(options);
        Ok(Share { ids, first_host_id, root_is_user, store, warnings })
    }

    fn slot(&self, rootless: &Rootless, id: &str, keep: bool) -> Result<Option<Slot>, RunError> {
        let slots = crate::rootless::Slots::new(self.paths.slots(), rootless.n_ids);
        let exists = |id: &str| self.paths.bundle(id).is_dir();
        Ok(if keep { slots.take(id, exists)? } else { slots.next(exists)? })
    }

    /// What the container gets of the user's control groups; `prepare` says whether they are made
    /// ready for it.
    pub(crate) fn groups(&self, prepare: bool) -> Groups {
        let delegation = self.delegation.as_ref();
        let found = if prepare {
            delegation.map(Delegation::prepare)
        } else {
            delegation.map(Delegation::look)
        };
        found.unwrap_or_default()
    }

    /// How the spec is fitted to what the user may do; `None` for root.
    pub(crate) fn fit(
        &self,
        request: &RunRequest<'_>,
        share: &Share,
        controllers: Option<Vec<String>>,
    ) -> Option<Fit> {
        self.rootless.as_ref()?;
        Some(Fit {
            controllers,
            limits: request.policy.containers.rootless.limits,
            ids: share.ids,
            first_host_id: share.first_host_id,
            root_is_user: share.root_is_user,
        })
    }

    /// Whether limits of processes may be above the caller's.
    pub(crate) fn may_raise_rlimits(&self) -> bool {
        self.rootless.is_none() && facts::may_raise_rlimits()
    }

    /// What hardening must know of the machine.
    pub(crate) fn machine(&self) -> Machine {
        let disk = facts::disk_of(&self.paths.data);
        Machine {
            architecture: facts::kernel().machine,
            rlimits: crate::oci::own_rlimits(),
            may_raise_rlimits: self.may_raise_rlimits(),
            can_limit_swap: self.hierarchies.can_limit_swap(),
            // Without the controller the limit is lost or refused wherever the files are.
            disk: if self.delegation.is_some() || self.rootless.is_none() {
                disk
            } else {
                disk.or(Some((0, 0)))
            },
        }
    }

    /// Where a root file system is put together; `None` for root, who does it in the bundle.
    pub(crate) fn stage(&self, layers: &[PathBuf]) -> Result<Option<PathBuf>, RunError> {
        if self.rootless.is_none() {
            return Ok(None);
        }
        let mut needed = vec![self.paths.state.as_path(), &self.paths.data, self.runc.path()];
        needed.extend(layers.iter().map(PathBuf::as_path));
        let is_free = |folder: &&&str| {
            Path::new(**folder).is_dir() && !needed.iter().any(|path| path.starts_with(**folder))
        };
        let stage = STAGES.iter().find(is_free).ok_or_else(|| {
            let what = format!("mount one of {} over", STAGES.join(", "));
            RunError::NeedsRoot { what: what.into(), hint: "keep the user's folders elsewhere" }
        })?;
        Ok(Some(PathBuf::from(stage)))
    }
}

/// Containers of the same ids are no strangers to each other.
fn sharing(slot: Slot, line: impl Fn() -> String) -> Option<String> {
    (slot.n_others > 0).then(|| {
        format!(
            "{} other container(s) of this user have the same ids, as there are no further ones: \
             to keep them apart by ids too, have root add the line `{}` to /etc/subuid and to \
             /etc/subgid, then stop them all",
            slot.n_others,
            line()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_runtimes_namespace() {
        let ids = Some(IdRange { first: 65_537, count: 65_536 });
        let check = |ids, root_is_user, id, expected| {
            assert_eq!(outer(ids, root_is_user, id), expected);
        };
        check(ids, false, 0, 65_537);
        check(ids, false, 33, 65_570);
        check(ids, true, 0, 0);
        check(ids, true, 33, 65_570);
        check(None, true, 33, 33);
    }

    #[test]
    fn shared_ids_are_said() {
        let sharing =
            |n_others| sharing(Slot { number: 0, n_others }, || "ann:196608:65536".to_string());
        assert_eq!(sharing(0), None);
        let said = sharing(2).unwrap();
        assert!(said.starts_with("2 other") && said.contains("`ann:196608:65536` to"), "{said}");
    }
}
