//! Fields of containers and pods.

use palisade_rules::fields::{FieldArgument, Value, Values};

use super::EventView;
use crate::identity::{Facts, Mount, SHORT_ID_CHARS};
use crate::schema::Field;
use crate::state::thread::Thread;

impl<'e> EventView<'e> {
    pub(super) fn extract_container<'v>(
        &'v self,
        field: Field,
        argument: &FieldArgument,
        out: &mut Values<'v>,
    ) {
        let thread = self.thread();
        // An event that describes a container is about that one, not about its thread's.
        let described = self.state.described.as_ref();
        let facts = described.or_else(|| self.state.facts_of(thread?));
        let value = match field {
            Field::ContainerId => facts
                .map(|facts| text(&facts.id))
                .or_else(|| thread.map(|thread| Value::Text(&thread.container_id))),
            Field::ContainerStartTs | Field::ContainerDuration => {
                thread.and_then(|thread| self.container_time(field, thread))
            }
            _ => facts.and_then(|facts| {
                self.container_text(field, argument, facts)
                    .or_else(|| container_flag(field, facts).map(Value::Bool))
            }),
        };
        out.extend(value);
    }

    fn container_time(&self, field: Field, thread: &Thread) -> Option<Value<'e>> {
        let start = Some(thread.pidns_start_ns).filter(|start| *start != 0)?;
        Some(Value::Uint(match field {
            Field::ContainerStartTs => start,
            _ => self.record.time_ns.wrapping_sub(start),
        }))
    }

    fn container_text(
        &self,
        field: Field,
        argument: &FieldArgument,
        facts: &'e Facts,
    ) -> Option<Value<'e>> {
        let pod = facts.container.pod.as_ref();
        Some(match field {
            Field::ContainerFullId => text(&facts.full_id),
            Field::ContainerName => text(&facts.container.name),
            Field::ContainerImage => text(&facts.image),
            Field::ContainerImageId => text(&facts.image_id),
            Field::ContainerType => text(&facts.type_name),
            Field::ContainerImageRepository => text(&facts.image_repository),
            Field::ContainerImageTag => text(&facts.image_tag),
            Field::ContainerImageDigest => text(&facts.image_digest),
            Field::ContainerIp => text(&facts.ip),
            Field::ContainerCniJson => text(&facts.cni_json),
            Field::ContainerMounts => self.text(|out| {
                for mount in &facts.mounts {
                    if !out.is_empty() {
                        out.push(b',');
                    }
                    out.extend_from_slice(mount.describe().as_bytes());
                }
            }),
            Field::ContainerMount
            | Field::ContainerMountSource
            | Field::ContainerMountDest
            | Field::ContainerMountMode
            | Field::ContainerMountRdwr
            | Field::ContainerMountPropagation => {
                let mount = find_mount(field, argument, facts)?;
                match field {
                    Field::ContainerMount => {
                        self.text(|out| out.extend_from_slice(mount.describe().as_bytes()))
                    }
                    Field::ContainerMountSource => text(&mount.source),
                    Field::ContainerMountDest => text(&mount.dest),
                    Field::ContainerMountMode => text(&mount.mode),
                    Field::ContainerMountRdwr => {
                        text(if mount.writable { "true" } else { "false" })
                    }
                    _ => text(&mount.propagation),
                }
            }
            Field::ContainerLabel => text(facts.label(key(argument)?)?),
            Field::ContainerLabels => self.text(|out| push_labels(&facts.labels, out)),
            Field::K8sPodName => text(&pod?.name),
            Field::K8sNsName => text(&pod?.namespace),
            Field::K8sPodId | Field::K8sPodUid => text(&pod?.uid),
            Field::K8sPodSandboxId => {
                let id = &facts.pod_sandbox_id;
                text(id.get(..SHORT_ID_CHARS).unwrap_or(id))
            }
            Field::K8sPodFullSandboxId => text(&facts.pod_sandbox_id),
            Field::K8sPodLabel => text(self.sandbox(facts).pod_label(key(argument)?)?),
            Field::K8sPodLabels => {
                self.text(|out| push_labels(&self.sandbox(facts).pod_labels, out))
            }
            Field::K8sPodIp => text(&self.sandbox(facts).ip),
            Field::K8sPodCniJson => text(&self.sandbox(facts).cni_json),
            _ => return None,
        })
    }

    /// The sandbox container of a pod, which holds what the pod's containers share.
    fn sandbox(&self, facts: &'e Facts) -> &'e Facts {
        if !facts.cni_json.is_empty() {
            return facts;
        }
        let id = facts.pod_sandbox_id.get(..SHORT_ID_CHARS).unwrap_or(&facts.pod_sandbox_id);
        self.state.containers.get(id.as_bytes()).map_or(facts, |sandbox| sandbox)
    }
}

fn text(value: &str) -> Value<'_> {
    Value::Text(value.as_bytes())
}

fn key(argument: &FieldArgument) -> Option<&str> {
    match argument {
        FieldArgument::Key(key) => Some(key),
        _ => None,
    }
}

fn container_flag(field: Field, facts: &Facts) -> Option<bool> {
    Some(match field {
        Field::ContainerPrivileged => facts.privileged,
        Field::ContainerHostPid => facts.host_pid,
        Field::ContainerHostNetwork => facts.host_network,
        Field::ContainerHostIpc => facts.host_ipc,
        _ => return None,
    })
}

/// The mount at an index, or the first whose source (for the source itself: target)
/// contains the key; `*` stands for anything.
fn find_mount<'f>(field: Field, argument: &FieldArgument, facts: &'f Facts) -> Option<&'f Mount> {
    match argument {
        FieldArgument::Index(index) => facts.mounts.get(*index as usize),
        FieldArgument::Key(key) => facts.mounts.iter().find(|mount| {
            let path =
                if field == Field::ContainerMountSource { &mount.dest } else { &mount.source };
            matches_glob(path, key)
        }),
        FieldArgument::None => None,
    }
}

fn matches_glob(path: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => path == pattern,
        Some((prefix, rest)) => {
            let Some(tail) = path.strip_prefix(prefix) else { return false };
            let rest = rest.trim_start_matches('*');
            rest.is_empty() || tail.char_indices().any(|(at, _)| matches_glob(&tail[at..], rest))
        }
    }
}

fn push_labels(labels: &[(String, String)], out: &mut Vec<u8>) {
    for (name, value) in labels {
        if !out.is_empty() {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::matches_glob;

    #[test]
    fn mounts_are_found_by_patterns() {
        assert!(matches_glob("/proc/1", "/proc*"));
        assert!(matches_glob("/etc", "/etc"));
        assert!(!matches_glob("/etc/x", "/etc"));
        assert!(matches_glob("/a/b/c", "/a*c"));
        assert!(!matches_glob("/a/b/d", "/a*c"));
    }
}
