//! Fields of processes, threads, users and groups.

use palisade_rules::fields::{FieldArgument, Value, Values};

use super::EventView;
use crate::names::CAPABILITIES;
use crate::record::NOT_AVAILABLE;
use crate::schema::Field;
use crate::schema::number::PROCINFO_E;
use crate::state::thread::{Thread, cgroup_entries};
use crate::state::{NO_ID, State};
use crate::text::{push_fmt, push_joined};

impl<'e> EventView<'e> {
    pub(super) fn extract_process<'v>(
        &'v self,
        field: Field,
        argument: &FieldArgument,
        out: &mut Values<'v>,
    ) {
        match field {
            Field::ThreadTid => return out.push(Value::Int(self.record.tid)),
            Field::ThreadExectime => return out.push(Value::Uint(0)),
            _ => {}
        }
        let Some(thread) = self.thread() else { return };
        if self.extract_ancestors(field, argument, thread, out) {
            return;
        }
        let value = self
            .process_text(field, argument, thread)
            .map(Value::Text)
            .or_else(|| self.process_number(field, thread))
            .or_else(|| process_flag(field, thread).map(Value::Bool));
        out.extend(value);
    }

    fn process_text(
        &self,
        field: Field,
        argument: &FieldArgument,
        thread: &'e Thread,
    ) -> Option<&'e [u8]> {
        let state = self.state;
        let parent = || state.ancestor(thread, 1);
        Some(match field {
            Field::ProcExe => &thread.exe,
            Field::ProcExepath => &thread.exe_path,
            Field::ProcName => &thread.comm,
            Field::ProcCmdline => &thread.cmdline,
            Field::ProcPexe => &parent()?.exe,
            Field::ProcPexepath => &parent()?.exe_path,
            Field::ProcPname => &parent()?.comm,
            Field::ProcPcmdline => &parent()?.cmdline,
            Field::ProcArgs => self.arguments(argument, thread),
            Field::ProcExeline => self.build(|out| {
                out.extend_from_slice(&thread.exe);
                out.push(b' ');
                push_joined(&thread.args, out);
            }),
            Field::ProcEnv => self.environment(argument, state.env_of(thread)),
            Field::ProcAenv => self.ancestor_environment(argument, thread)?,
            Field::ProcCwd => state.cwd_of(thread),
            Field::ProcSname => &leader(state, thread, |t| t.sid, true).comm,
            Field::ProcSidExe => &leader(state, thread, |t| t.sid, true).exe,
            Field::ProcSidExepath => &leader(state, thread, |t| t.sid, true).exe_path,
            Field::ProcVpgidName => &leader(state, thread, |t| t.vpgid, true).comm,
            Field::ProcVpgidExe => &leader(state, thread, |t| t.vpgid, true).exe,
            Field::ProcVpgidExepath => &leader(state, thread, |t| t.vpgid, true).exe_path,
            Field::ProcPgidName => &leader(state, thread, |t| t.pgid, false).comm,
            Field::ProcPgidExe => &leader(state, thread, |t| t.pgid, false).exe,
            Field::ProcPgidExepath => &leader(state, thread, |t| t.pgid, false).exe_path,
            Field::ThreadCapPermitted => self.capabilities(thread.cap_permitted),
            Field::ThreadCapInheritable => self.capabilities(thread.cap_inheritable),
            Field::ThreadCapEffective => self.capabilities(thread.cap_effective),
            Field::ThreadCgroups => self.cgroups(thread)?,
            Field::ThreadCgroup => match argument {
                FieldArgument::Key(name) => thread.cgroup(name.as_bytes())?,
                _ => return None,
            },
            Field::ThreadNametid => self.build(|out| {
                out.extend_from_slice(&thread.comm);
                push_fmt(out, format_args!("{}", self.record.tid));
            }),
            Field::ProcStdinType => state.fds_of(thread)?.get(0)?.kind.name().as_bytes(),
            Field::ProcStdoutType => state.fds_of(thread)?.get(1)?.kind.name().as_bytes(),
            Field::ProcStderrType => state.fds_of(thread)?.get(2)?.kind.name().as_bytes(),
            Field::ProcStdinName => state.fds_of(thread)?.get(0)?.name(),
            Field::ProcStdoutName => state.fds_of(thread)?.get(1)?.name(),
            Field::ProcStderrName => state.fds_of(thread)?.get(2)?.name(),
            _ => return None,
        })
    }

    fn process_number(&self, field: Field, thread: &'e Thread) -> Option<Value<'e>> {
        let state = self.state;
        let main = || state.main_of(thread);
        let kib = |index: usize| Value::Uint(u64::from(thread.memory_kib[index]));
        let of_main = |index: usize| {
            let kib = if thread.is_main() { thread.memory_kib[index] } else { 0 };
            Value::Uint(u64::from(kib))
        };
        let in_bytes = |index: usize| {
            let kib = if thread.is_main() { thread.memory_kib[index] } else { 0 };
            Value::Uint(u64::from(kib) * 1024)
        };
        let known = |number: u64| (number != 0).then_some(Value::Uint(number));
        Some(match field {
            Field::ProcCmdnargs => Value::Uint(thread.n_args() as u64),
            Field::ProcCmdlenargs => {
                let n_separators = thread.n_args().saturating_sub(1);
                Value::Uint((thread.args.len() - n_separators) as u64)
            }
            Field::ProcLoginshellid => Value::Int(self.login_shell(thread)?),
            Field::ProcTty => Value::Uint(u64::from(thread.tty)),
            Field::ProcPid => Value::Int(thread.pid),
            Field::ProcPpid => Value::Int(state.ancestor(thread, 1)?.pid),
            Field::ProcVpid => Value::Int(Some(thread.vpid).filter(|id| *id != -1)?),
            Field::ProcPvpid => Value::Int(state.thread(thread.ptid)?.vpid),
            Field::ProcSid => Value::Int(thread.sid),
            Field::ProcVpgid => Value::Int(thread.vpgid),
            Field::ProcPgid => Value::Int(thread.pgid),
            Field::ProcDuration => self.since(thread.cloned_ns)?,
            Field::ProcPpidDuration => match state.ancestor(thread, 1)?.cloned_ns {
                // Falco falls through to the number of open descriptors.
                0 => Value::Uint(main()?.fds.len() as u64),
                cloned_ns => self.since(cloned_ns)?,
            },
            Field::ProcPidTs => known(thread.cloned_ns)?,
            Field::ProcPpidTs => Value::Uint(state.thread(thread.ptid)?.cloned_ns),
            Field::ProcExeIno => {
                Value::Int(Some(thread.exe_ino).filter(|inode| *inode != 0)?.cast_signed())
            }
            Field::ProcExeInoCtime => known(thread.exe_ctime_ns)?,
            Field::ProcExeInoMtime => known(thread.exe_mtime_ns)?,
            Field::ProcExeInoCtimeDurationProcStart => known(thread.exe_ctime_to_clone_ns)?,
            Field::ProcExeInoCtimeDurationPidnsStart => known(thread.exe_ctime_to_pidns_ns)?,
            Field::ProcPidnsInitStartTs => known(thread.pidns_start_ns)?,
            Field::ProcFdopencount => Value::Uint(main().map_or(0, |main| main.fds.len()) as u64),
            Field::ProcFdlimit => Value::Int(main().map_or(0, |main| main.fd_limit)),
            Field::ProcFdusage => {
                let (count, limit) = main().map_or((0, 0), |main| (main.fds.len(), main.fd_limit));
                let usage = if limit > 0 { count as f64 * 100.0 / limit as f64 } else { 0.0 };
                Value::Double(usage.min(100.0))
            }
            Field::ProcVmsize => kib(0),
            Field::ProcVmrss => kib(1),
            Field::ProcVmswap => kib(2),
            Field::ThreadVmsize => of_main(0),
            Field::ThreadVmrss => of_main(1),
            Field::ThreadPfmajor => Value::Uint(thread.faults[0]),
            Field::ThreadPfminor => Value::Uint(thread.faults[1]),
            Field::ThreadVtid => Value::Int(Some(thread.vtid).filter(|id| *id != -1)?),
            Field::ProcNthreads => Value::Uint(self.n_threads(thread)),
            Field::ProcNchilds => {
                let n_threads = self.n_threads(thread);
                let main_lives = main().is_some_and(|main| !main.is_dead());
                Value::Uint(n_threads.saturating_sub(u64::from(main_lives)))
            }
            Field::ThreadTotexectime => Value::Uint(0),
            Field::ThreadCpu => self.cpu_share(thread, 0..2)?,
            Field::ThreadCpuUser => self.cpu_share(thread, 0..1)?,
            Field::ThreadCpuSystem => self.cpu_share(thread, 1..2)?,
            Field::ThreadVmsizeB => in_bytes(0),
            Field::ThreadVmrssB => in_bytes(1),
            _ => return None,
        })
    }

    fn n_threads(&self, thread: &Thread) -> u64 {
        self.state.groups.get(&thread.pid).map_or(0, |group| group.n_alive)
    }

    fn since(&self, time_ns: u64) -> Option<Value<'e>> {
        let elapsed = self.record.time_ns.wrapping_sub(time_ns).cast_signed();
        (time_ns != 0).then_some(Value::Int(elapsed))
    }

    /// Processor time between the last two statistics of a thread, at most 100; nothing
    /// but statistics has it.
    fn cpu_share(&self, thread: &Thread, parts: std::ops::Range<usize>) -> Option<Value<'e>> {
        const SHARE_MAX: u64 = 100;
        if self.record.number() != PROCINFO_E {
            return None;
        }
        let sum = |times: [u64; 2]| {
            times
                .get(parts.clone())
                .into_iter()
                .flatten()
                .fold(0, |sum: u64, part| sum.wrapping_add(*part))
        };
        let times = thread.cpu_times.as_deref().copied().unwrap_or_default();
        let share = match sum(times.before) {
            0 => 0,
            before => sum(times.now).wrapping_sub(before).min(SHARE_MAX),
        };
        Some(Value::Double(share as f64))
    }

    fn login_shell(&self, thread: &Thread) -> Option<i64> {
        let main = self.state.main_of(thread)?;
        let lineage = std::iter::once(main).chain(self.state.parents(main));
        lineage.filter(|thread| thread.comm.ends_with(b"sh")).last().map(|shell| shell.pid)
    }

    fn arguments(&self, argument: &FieldArgument, thread: &'e Thread) -> &'e [u8] {
        if let FieldArgument::Index(index) = argument {
            let mut parts = thread.args.split(|byte| *byte == 0);
            return parts.nth(*index as usize).unwrap_or(b"");
        }
        self.joined(&thread.args)
    }

    /// Texts joined by blanks; a single one needs no copy.
    fn joined(&self, list: &'e [u8]) -> &'e [u8] {
        if list.contains(&0) { self.build(|out| push_joined(list, out)) } else { list }
    }

    fn environment(&self, argument: &FieldArgument, thread: &'e Thread) -> &'e [u8] {
        match argument {
            FieldArgument::Key(name) => thread.env_value(name.as_bytes()).unwrap_or(b""),
            _ => self.joined(&thread.env),
        }
    }

    fn ancestor_environment(
        &self,
        argument: &FieldArgument,
        thread: &'e Thread,
    ) -> Option<&'e [u8]> {
        const LEVELS_MAX: usize = 20;
        let state = self.state;
        match argument {
            FieldArgument::Key(name) => {
                let Some(main) = state.main_of(thread) else { return Some(b"") };
                let mut parents = state.parents(main).take(LEVELS_MAX);
                let value = parents.find_map(|parent| {
                    let value = state.env_of(parent).env_value(name.as_bytes());
                    value.filter(|value| !value.is_empty())
                });
                Some(value.unwrap_or(b""))
            }
            FieldArgument::Index(distance) if *distance > 0 => {
                let Some(main) = state.main_of(thread) else { return Some(b"") };
                let parent = state.parents(main).nth(*distance as usize - 1)?;
                Some(self.joined(&state.env_of(parent).env))
            }
            _ => Some(self.joined(&state.env_of(thread).env)),
        }
    }

    fn capabilities(&self, set: u64) -> &'e [u8] {
        if set == 0 {
            return b"";
        }
        self.build(|out| {
            for (bit, name) in CAPABILITIES.iter().enumerate() {
                if set & (1 << bit) != 0 {
                    if !out.is_empty() {
                        out.push(b' ');
                    }
                    out.extend_from_slice(name.as_bytes());
                }
            }
        })
    }

    fn cgroups(&self, thread: &Thread) -> Option<&'e [u8]> {
        let cgroups = self.build(|out| {
            for (name, path) in cgroup_entries(&thread.cgroups) {
                if !out.is_empty() {
                    out.push(b' ');
                }
                out.extend_from_slice(name);
                out.push(b'=');
                out.extend_from_slice(path);
            }
        });
        (!cgroups.is_empty()).then_some(cgroups)
    }

    /// `proc.aname` and the like: one ancestor by its distance, or all of them.
    fn extract_ancestors<'v>(
        &'v self,
        field: Field,
        argument: &FieldArgument,
        thread: &'e Thread,
        out: &mut Values<'v>,
    ) -> bool {
        if field == Field::ProcContainerAname {
            // Beyond the container come its runtime and whoever started that.
            let container = &thread.container_id;
            let parents = self.state.main_of(thread).map(|main| self.state.parents(main));
            let inside = parents.into_iter().flatten();
            let inside = inside.take_while(|parent| parent.container_id == *container);
            out.extend(inside.map(|parent| Value::Text(&parent.comm)));
            return true;
        }
        let Some(read) = of_ancestor(field) else { return false };
        if field == Field::ProcAenv && matches!(argument, FieldArgument::Key(_)) {
            return false;
        }
        match argument {
            // The environment of one ancestor is compared as that of all.
            FieldArgument::Index(distance) if field != Field::ProcAenv => {
                let ancestor = self.state.ancestor(thread, *distance as usize);
                out.extend(ancestor.map(|ancestor| read(ancestor, self)));
            }
            // The arguments of all ancestors are one text.
            _ if field == Field::ProcAargs => {
                out.extend(self.all_ancestors(read, thread).map(Value::Text));
            }
            _ => {
                if let Some(main) = self.state.main_of(thread) {
                    out.extend(self.state.parents(main).map(|parent| read(parent, self)));
                }
            }
        }
        true
    }

    /// What all ancestors answer, joined by blanks; nothing when that is empty.
    fn all_ancestors(&self, read: ReadAncestor<'e>, thread: &'e Thread) -> Option<&'e [u8]> {
        let main = self.state.main_of(thread)?;
        let values: Vec<_> = self.state.parents(main).map(|parent| read(parent, self)).collect();
        let joined = self.build(|out| {
            for value in values {
                if !out.is_empty() {
                    out.push(b' ');
                }
                if let Value::Text(text) = value {
                    out.extend_from_slice(text);
                }
            }
        });
        (!joined.is_empty()).then_some(joined)
    }

    /// What outputs show of a field that asks about ancestors; false for other fields.
    pub(super) fn display_ancestors<'v>(
        &'v self,
        field: Field,
        argument: &FieldArgument,
        out: &mut Values<'v>,
    ) -> bool {
        let (Some(read), Some(thread)) = (of_ancestor(field), self.thread()) else { return false };
        match (field, argument) {
            (Field::ProcApid, FieldArgument::None) => {
                out.extend(self.state.main_of(thread).map(|main| Value::Int(main.pid)));
            }
            (Field::ProcAenv, argument) => {
                out.extend(self.ancestor_environment(argument, thread).map(Value::Text));
            }
            (_, FieldArgument::None) => {
                out.extend(self.all_ancestors(read, thread).map(Value::Text));
            }
            _ => return false,
        }
        true
    }

    pub(super) fn extract_account<'v>(&'v self, field: Field, out: &mut Values<'v>) {
        let Some(thread) = self.thread() else { return };
        let accounts = &self.state.accounts;
        let container = &*thread.container_id;
        let user = || accounts.user(container, thread.uid);
        let or_root = |name: Option<&'e [u8]>, id: u32, root: &'static [u8]| {
            let known = if id == 0 { root } else { NOT_AVAILABLE };
            Value::Text(name.unwrap_or(known))
        };
        out.push(match field {
            Field::UserUid => Value::Uint(u64::from(thread.uid)),
            Field::UserName => or_root(user().map(|user| &*user.name), thread.uid, b"root"),
            Field::UserHomedir => or_root(user().map(|user| &*user.home), thread.uid, b"/root"),
            Field::UserShell => Value::Text(user().map_or(NOT_AVAILABLE, |user| &user.shell)),
            Field::UserLoginuid => Value::Int(match thread.loginuid {
                NO_ID => -1,
                uid => i64::from(uid),
            }),
            Field::UserLoginname => {
                let user = accounts.user(container, thread.loginuid);
                or_root(user.map(|user| &*user.name), thread.loginuid, b"root")
            }
            Field::GroupGid => Value::Uint(u64::from(thread.gid)),
            _ => or_root(accounts.group(container, thread.gid), thread.gid, b"root"),
        });
    }
}

type ReadAncestor<'e> = fn(&'e Thread, &EventView<'e>) -> Value<'e>;

/// How a field that asks about ancestors reads one of them.
fn of_ancestor<'e>(field: Field) -> Option<ReadAncestor<'e>> {
    Some(match field {
        Field::ProcAname => |thread, _| Value::Text(&thread.comm),
        Field::ProcAexe => |thread, _| Value::Text(&thread.exe),
        Field::ProcAexepath => |thread, _| Value::Text(&thread.exe_path),
        Field::ProcAcmdline => |thread, _| Value::Text(&thread.cmdline),
        Field::ProcAargs => |thread, view| Value::Text(view.joined(&thread.args)),
        Field::ProcAenv => |thread, view| Value::Text(view.joined(&view.state.env_of(thread).env)),
        Field::ProcApid => |thread, _| Value::Int(thread.pid),
        _ => return None,
    })
}

fn process_flag(field: Field, thread: &Thread) -> Option<bool> {
    Some(match field {
        Field::ProcIsExeWritable => thread.exe_writable,
        Field::ProcIsExeUpperLayer => thread.exe_upper_layer,
        Field::ProcIsExeLowerLayer => thread.exe_lower_layer,
        Field::ProcIsExeFromMemfd => thread.exe_from_memfd,
        Field::ProcIsSidLeader => thread.sid == thread.vpid,
        Field::ProcIsVpgidLeader => thread.vpgid == thread.vpid,
        Field::ProcIsPgidLeader => thread.pgid == thread.pid,
        Field::ThreadIsmain => thread.is_main(),
        _ => return None,
    })
}

/// The leader of a session or group: the thread of that number, or, in a process
/// namespace where the number is another's, the oldest ancestor with the same number.
/// Without one the value is empty text, not absent.
fn leader<'e>(
    state: &'e State,
    thread: &'e Thread,
    number: fn(&Thread) -> i64,
    is_virtual: bool,
) -> &'e Thread {
    let own = number(thread);
    if own == -1 {
        return nobody();
    }
    if (!is_virtual || !thread.is_in_pidns())
        && let Some(leader) = state.thread(own)
    {
        return leader;
    }
    let with_number = state.parents(thread).take_while(|parent| number(parent) == own);
    with_number.last().unwrap_or(nobody())
}

fn nobody() -> &'static Thread {
    static NOBODY: std::sync::LazyLock<Thread> = std::sync::LazyLock::new(Thread::default);
    &NOBODY
}
