//! A program that is about to start, as rules see it.
//!
//! The event of an execution comes when it has happened. What rules will see of it and is
//! known before is answered here: the program's path, the ancestors of the process that
//! becomes it, the container. Everything else is not known or may still change: the name by
//! which it is called, its arguments, environment and user. A rule that asks for that cannot
//! be served before the program starts.
//!
//! Names and paths of ancestors are those that the kernel has at that moment.

use std::path::Path;
use std::sync::Arc;

use palisade_rules::fields::{FieldArgument, FieldId, Fields, Schema as _, Value, Values};
use palisade_sensor::identity::Facts;
use palisade_sensor::state::ANCESTORS_MAX;
use palisade_sensor::{Field, SyscallSchema};

/// Events that can be asked about before they happen.
pub const EVENTS: [&str; 2] = ["execve", "execveat"];

/// Bytes of a `stat` file that are read.
const STAT_BYTES_MAX: u64 = 4096;

/// A process as `/proc` shows it: the one that executes, or one above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// Process id on the host.
    pub pid: u32,
    /// Its name.
    pub name: Vec<u8>,
    /// Path of its program.
    pub exe: Vec<u8>,
    /// Its parent's process id.
    pub ppid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// A program that is about to start.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The process that executes it, as it still is.
    pub caller: Ancestor,
    /// Its effective user on the host.
    pub uid: u32,
    /// Path of the program, as the process sees it.
    pub path: Vec<u8>,
    /// Ancestors of the process, the parent first.
    pub ancestors: Vec<Ancestor>,
    /// The container.
    pub facts: Arc<Facts>,
    /// Whether the program is another than the image's, where the layers tell and a rule asks.
    pub is_upper: Option<bool>,
}

/// Whether a field of a condition is known before a program starts.
pub fn knows(name: &str, argument: Option<&str>) -> bool {
    let Some(field) = SyscallSchema.field(name).and_then(|(id, _)| Field::from_id(id)) else {
        return false;
    };
    match field {
        // Of the ancestors the first is the process itself, whose name changes.
        Field::ProcAname | Field::ProcAexepath | Field::ProcApid => argument != Some("0"),
        Field::EvtType
        | Field::EvtDir
        | Field::EvtCategory
        | Field::EvtRes
        | Field::EvtRawres
        | Field::EvtFailed
        | Field::ProcExepath
        | Field::ProcIsExeUpperLayer
        | Field::ProcPid
        | Field::ProcPpid
        | Field::ProcPname
        | Field::ProcPexepath
        | Field::ContainerId
        | Field::ContainerFullId
        | Field::ContainerName
        | Field::ContainerType
        | Field::ContainerImage
        | Field::ContainerImageId
        | Field::ContainerImageRepository
        | Field::ContainerImageTag
        | Field::ContainerImageDigest
        | Field::ContainerPrivileged
        | Field::ContainerHostPid
        | Field::ContainerHostNetwork
        | Field::ContainerHostIpc
        | Field::K8sPodName
        | Field::K8sNsName
        | Field::K8sPodId
        | Field::K8sPodUid => true,
        _ => false,
    }
}

/// The type of the event that would follow, by number.
fn event_type() -> u16 {
    static NUMBER: std::sync::LazyLock<u16> = std::sync::LazyLock::new(|| {
        // Exit events have odd numbers; the last of that name is what probes write.
        let names = SyscallSchema.event_types();
        let found = names.iter().rposition(|name| *name == EVENTS[0]);
        found.and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    });
    *NUMBER
}

impl Attempt {
    fn ancestor(&self, n: usize) -> Option<&Ancestor> {
        self.ancestors.get(n.checked_sub(1)?)
    }

    fn ancestors<'v>(
        &'v self,
        argument: &FieldArgument,
        of: fn(&'v Ancestor) -> Value<'v>,
        out: &mut Values<'v>,
    ) {
        match argument {
            FieldArgument::Index(n) => out.extend(self.ancestor(*n as usize).map(of)),
            _ => out.extend(self.ancestors.iter().map(of)),
        }
    }
}

/// What a field says of a container.
pub(super) fn container_value(field: Field, facts: &Facts) -> Option<Value<'_>> {
    let pod = || facts.container.pod.as_ref();
    let text = match field {
        Field::ContainerId => &facts.id,
        Field::ContainerFullId => &facts.full_id,
        Field::ContainerName => &facts.container.name,
        Field::ContainerType => &facts.type_name,
        Field::ContainerImage => &facts.image,
        Field::ContainerImageId => &facts.image_id,
        Field::ContainerImageRepository => &facts.image_repository,
        Field::ContainerImageTag => &facts.image_tag,
        Field::ContainerImageDigest => &facts.image_digest,
        Field::K8sPodName => &pod()?.name,
        Field::K8sNsName => &pod()?.namespace,
        Field::K8sPodId | Field::K8sPodUid => &pod()?.uid,
        Field::ContainerPrivileged => return Some(Value::Bool(facts.privileged)),
        Field::ContainerHostPid => return Some(Value::Bool(facts.host_pid)),
        Field::ContainerHostNetwork => return Some(Value::Bool(facts.host_network)),
        Field::ContainerHostIpc => return Some(Value::Bool(facts.host_ipc)),
        _ => return None,
    };
    Some(Value::Text(text.as_bytes()))
}

impl Fields for Attempt {
    fn extract<'v>(&'v self, field: FieldId, argument: &FieldArgument, out: &mut Values<'v>) {
        let Some(field) = Field::from_id(field) else { return };
        let parent = || self.ancestors.first();
        let value = match field {
            Field::EvtType => Some(Value::Text(EVENTS[0].as_bytes())),
            Field::EvtDir => Some(Value::Text(b"<")),
            Field::EvtCategory => Some(Value::Text(b"process")),
            Field::EvtRes => Some(Value::Text(b"SUCCESS")),
            Field::EvtRawres => Some(Value::Int(0)),
            Field::EvtFailed => Some(Value::Bool(false)),
            Field::ProcExepath => Some(Value::Text(&self.path)),
            Field::ProcIsExeUpperLayer => self.is_upper.map(Value::Bool),
            Field::ProcPid => Some(Value::Int(i64::from(self.caller.pid))),
            Field::ProcPpid => parent().map(|parent| Value::Int(i64::from(parent.pid))),
            Field::ProcPname => parent().map(|parent| Value::Text(&parent.name)),
            Field::ProcPexepath => parent().map(|parent| Value::Text(&parent.exe)),
            Field::ProcAname => {
                return self.ancestors(argument, |ancestor| Value::Text(&ancestor.name), out);
            }
            Field::ProcAexepath => {
                return self.ancestors(argument, |ancestor| Value::Text(&ancestor.exe), out);
            }
            Field::ProcApid => {
                let pid = |ancestor: &Ancestor| Value::Int(i64::from(ancestor.pid));
                return self.ancestors(argument, pid, out);
            }
            _ => container_value(field, &self.facts),
        };
        out.extend(value);
    }

    fn event_type(&self) -> u16 {
        event_type()
    }
}

impl Ancestor {
    /// Reads what `/proc` says of a process.
    ///
    /// Reads files that wait for nothing: no memory of another process.
    pub fn read(pid: u32) -> Option<Self> {
        let file = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?;
        let bytes = palisade_base::read_bounded(file, "process", STAT_BYTES_MAX).ok()?;
        let (name, ppid, start_ticks) = parse_stat(&bytes)?;
        let exe = link(&format!("/proc/{pid}/exe")).unwrap_or_default();
        Some(Self { pid, name, exe, ppid, start_ticks })
    }

    /// Its ancestors, the parent first, at most `n_max`.
    pub fn above(&self, n_max: usize) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let mut next = self.ppid;
        while next != 0 && found.len() < n_max.min(ANCESTORS_MAX) {
            let Some(ancestor) = Self::read(next) else { break };
            next = ancestor.ppid;
            found.push(ancestor);
        }
        found
    }
}

/// Name, parent and start of a process (`proc_pid_stat(5)`, fields 2, 4 and 22).
fn parse_stat(bytes: &[u8]) -> Option<(Vec<u8>, u32, u64)> {
    // The name stands in parentheses and may itself contain any byte.
    let begin = bytes.iter().position(|byte| *byte == b'(')?;
    let end = bytes.iter().rposition(|byte| *byte == b')')?;
    let name = bytes.get(begin + 1..end)?.to_vec();
    let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some((name, fields.nth(1)?.parse().ok()?, fields.nth(17)?.parse().ok()?))
}

fn link(path: &str) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = std::fs::read_link(path).ok()?.into_os_string().into_vec();
    Some(bytes.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(bytes))
}

/// `path`, which begins at the root of its mount namespace, as a process sees it whose own
/// root is `root`; a path outside that root stays as it is.
pub fn seen_from(path: &Path, root: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    match path.strip_prefix(root) {
        Ok(rest) => [b"/", rest.as_os_str().as_bytes()].concat(),
        Err(_) => path.as_os_str().as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use palisade_rules::{Evaluator, LoadOptions, RuleId};

    use super::*;
    use crate::detector::load_rules;

    fn attempt() -> Attempt {
        let ancestor = |pid, name: &str, exe: &str| Ancestor {
            pid,
            name: name.into(),
            exe: exe.into(),
            ppid: pid - 1,
            start_ticks: 7,
        };
        let mut container = crate::testing::container("0123456789abcdef");
        container.name = "shop".into();
        Attempt {
            caller: ancestor(42, "sh", "/bin/dash"),
            uid: 0,
            path: b"/usr/bin/curl".to_vec(),
            ancestors: vec![
                ancestor(41, "sh", "/bin/dash"),
                ancestor(40, "nginx", "/usr/sbin/nginx"),
            ],
            facts: Arc::new(Facts::of(container)),
            is_upper: Some(true),
        }
    }

    #[track_caller]
    fn check(condition: &str, expected: bool) {
        let text = format!(
            "- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n"
        );
        let (rules, diagnostics) = load_rules(&[("r", &text)], &LoadOptions::default());
        assert!(!diagnostics.has_errors(), "{diagnostics}");
        let mut matched = Vec::new();
        Evaluator::new(&rules).evaluate(&attempt(), &mut matched);
        let expected: &[RuleId] = if expected { &[RuleId(0)] } else { &[] };
        assert_eq!(matched, expected, "{condition}");
    }

    #[test]
    fn conditions_see_the_program_its_ancestors_and_the_container() {
        check("evt.type = execve and proc.exepath = /usr/bin/curl", true);
        check("evt.type in (execve, execveat) and evt.dir = <", true);
        check("evt.type = execveat", false);
        check("evt.type = open", false);
        check("evt.type = execve and evt.res = SUCCESS and evt.failed = false", true);
        check("evt.type = execve and evt.rawres < 0", false);
        check("evt.type = execve and proc.pname = sh and proc.pexepath endswith /dash", true);
        check("evt.type = execve and proc.aname = nginx", true);
        check("evt.type = execve and proc.aname[2] = nginx", true);
        check("evt.type = execve and proc.aname[1] = nginx", false);
        check("evt.type = execve and proc.aname[3] exists", false);
        check("evt.type = execve and proc.apid[1] = 41 and proc.ppid = 41", true);
        check("evt.type = execve and proc.is_exe_upper_layer = true", true);
        check("evt.type = execve and proc.is_exe_upper_layer = false", false);
        check("evt.type = execve and container.id = 0123456789ab", true);
        check("evt.type = execve and container.id != host and container.name = shop", true);
        check("evt.type = execve and not proc.exepath in (/usr/bin/curl, /bin/true)", false);
    }

    #[test]
    fn what_changes_with_the_program_is_not_known() {
        for (name, argument, expected) in [
            ("proc.exepath", None, true),
            ("proc.aname", None, true),
            ("proc.aname", Some("2"), true),
            ("proc.aname", Some("0"), false),
            ("proc.name", None, false),
            ("proc.cmdline", None, false),
            ("proc.args", None, false),
            ("user.uid", None, false),
            ("evt.arg", Some("exe"), false),
            ("fd.name", None, false),
            ("no.such", None, false),
        ] {
            assert_eq!(knows(name, argument), expected, "{name} {argument:?}");
        }
    }

    #[test]
    fn what_is_said_to_be_known_is_answered() {
        let attempt = attempt();
        for field in Field::ALL.iter().filter(|field| knows(field.name(), None)) {
            // A container without a pod or an image has no fields of those.
            let may_lack = field.name().starts_with("k8s.") || field.name().contains("image");
            let mut out = Values::new();
            attempt.extract(field.id(), &FieldArgument::None, &mut out);
            assert!(may_lack || !out.is_empty(), "{}", field.name());
        }
    }

    #[test]
    fn our_own_ancestors_are_read() {
        let own = Ancestor::read(std::process::id()).unwrap();
        let parents = own.above(ANCESTORS_MAX);
        assert_eq!(parents[0].pid, std::os::unix::process::parent_id());
        assert_eq!(own.above(1).len(), 1);
        assert_eq!(Some(own.start_ticks), palisade_sys::process::start_ticks(own.pid));
        let line = b"7 (a) b) S 5 7 7 0 7 4194560 10 0 3 0 1 1 0 0 20 0 1 0 250 1 1";
        assert_eq!(parse_stat(line), Some((b"a) b".to_vec(), 5, 250)));
        for broken in [&b""[..], b"7", b"7 (a", b"7 a) S 1", b"7 (a) S 1", b"7 )( S 1"] {
            assert_eq!(parse_stat(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn paths_are_those_that_the_process_sees() {
        let check = |path: &str, root: &str, expected: &str| {
            assert_eq!(seen_from(Path::new(path), Path::new(root)), expected.as_bytes());
        };
        check("/usr/bin/curl", "/", "/usr/bin/curl");
        check("/jail/bin/sh", "/jail", "/bin/sh");
        check("/jails/bin/sh", "/jail", "/jails/bin/sh");
    }
}
