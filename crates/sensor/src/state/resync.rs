//! The process table, verified against `/proc` after events about processes were lost.
//!
//! What `/proc` says is of now; records of before may still wait to be read. A difference is
//! therefore only noted, and believed when every record from before it was seen has been read
//! and it still stands: an exit that was only late is no difference any more, and a process is
//! not forgotten while its own events are on their way.
//!
//! The work is done in small portions between records. Descriptors of a process that was found
//! changed are read again when it is next heard of.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;

use super::proc_scan::{self, PROCESSES_MAX, Seen};
use super::thread::Thread;
use super::{Fd, State};

/// `/proc` counts the start of a process in hundredths of a second since boot,
const BOOT_NS_SLACK: u64 = 20_000_000;
/// and the boot time that makes it a time of day is rounded to a second.
const START_NS_SLACK: u64 = 1_500_000_000;

/// What a verification found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResyncReport {
    /// Processes that were compared.
    pub n_checked: u64,
    /// Threads whose exit had been lost.
    pub n_removed: u64,
    /// Processes whose beginning had been lost.
    pub n_added: u64,
    /// Processes that run another program than was known.
    pub n_refreshed: u64,
}

impl ResyncReport {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.n_removed + self.n_added + self.n_refreshed == 0
    }
}

/// A difference, and when it was seen (nanoseconds since the epoch).
#[derive(Debug)]
struct Finding {
    at_ns: u64,
    what: Difference,
}

#[derive(Debug)]
enum Difference {
    /// `/proc` does not have the thread.
    Gone { tid: i64, start_boottime_ns: u64 },
    /// The process is not known, or is another one, or runs another program.
    Other { seen: Box<Seen>, thread: Box<Thread>, fds: Vec<(i64, Fd)> },
}

/// A verification under way.
#[derive(Debug)]
pub(crate) struct Resync {
    proc: PathBuf,
    /// Processes still to be compared.
    todo: Vec<i64>,
    found: VecDeque<Finding>,
    report: ResyncReport,
}

impl State {
    /// Begins to verify the table; does nothing in a capture or while it is being done.
    pub(crate) fn begin_resync(&mut self) {
        let Some(live) = &self.live else { return };
        if self.resync.is_some() {
            return;
        }
        let proc = live.resolver.paths().proc.clone();
        let mut todo: BTreeSet<i64> = std::fs::read_dir(&proc)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .take(PROCESSES_MAX)
            .collect();
        todo.extend(self.groups.keys());
        let todo = todo.into_iter().collect();
        self.resync =
            Some(Resync { proc, todo, found: VecDeque::new(), report: ResyncReport::default() });
    }

    /// Compares up to `n` more processes and believes what has been true for long enough.
    /// `now_ns` is the time of now, `read_ns` that of the last record that was read, and
    /// `is_drained` says that no record waits. The report comes with the last portion.
    pub(crate) fn resync(
        &mut self,
        n: usize,
        now_ns: u64,
        read_ns: u64,
        is_drained: bool,
    ) -> Option<ResyncReport> {
        let mut resync = self.resync.take()?;
        // What was seen in this portion is for the next.
        let is_old = |finding: &Finding| finding.at_ns <= read_ns || is_drained;
        while resync.found.front().is_some_and(is_old)
            && let Some(finding) = resync.found.pop_front()
        {
            self.believe(finding, now_ns, &mut resync.report);
        }
        if resync.todo.is_empty() && resync.found.is_empty() {
            return Some(resync.report);
        }
        for _ in 0..n {
            let Some(pid) = resync.todo.pop() else { break };
            resync.report.n_checked += 1;
            let proc = resync.proc.clone();
            self.compare(pid, &proc, now_ns, &mut resync.found);
        }
        self.resync = Some(resync);
        None
    }

    fn compare(&self, pid: i64, proc: &std::path::Path, at_ns: u64, found: &mut VecDeque<Finding>) {
        let known = self.threads.get(&pid).filter(|thread| !thread.is_dead());
        let gone = |tid: i64| Finding {
            at_ns,
            what: Difference::Gone {
                tid,
                start_boottime_ns: self
                    .threads
                    .get(&tid)
                    .map_or(0, |thread| thread.start_boottime_ns),
            },
        };
        let members = self.groups.get(&pid).map_or(&[][..], |group| &group.threads);
        let Some(seen) = proc_scan::look(proc, pid, &self.machine) else {
            found.extend(members.iter().map(|tid| gone(*tid)));
            return;
        };
        if known.is_some_and(|known| is_same(known, &seen)) {
            if members.len() > 1 {
                let tasks = proc_scan::tasks(proc, pid);
                found.extend(
                    members.iter().filter(|tid| !tasks.contains(tid)).map(|tid| gone(*tid)),
                );
            }
            return;
        }
        // Kernel threads do nothing that a rule asks about.
        if known.is_none() && seen.exe.is_empty() {
            return;
        }
        if let Some((thread, fds)) = proc_scan::scan_thread(proc, pid) {
            let what = Difference::Other { seen: Box::new(seen), thread: Box::new(thread), fds };
            found.push_back(Finding { at_ns, what });
        }
    }

    fn believe(&mut self, finding: Finding, now_ns: u64, report: &mut ResyncReport) {
        match finding.what {
            Difference::Gone { tid, start_boottime_ns } => {
                let Some(thread) = self.threads.get(&tid) else { return };
                // Another one by that number has come since.
                if thread.start_boottime_ns != start_boottime_ns || self.pending_exit == Some(tid) {
                    return;
                }
                let ptid = thread.ptid;
                self.mark_dead(tid);
                self.remember_exit(tid, ptid, now_ns);
                self.bury(tid, now_ns);
                self.remove_thread(tid);
                report.n_removed += 1;
            }
            Difference::Other { seen, thread, fds } => {
                let tid = thread.tid;
                match self.threads.get_mut(&tid) {
                    Some(known) if is_same(known, &seen) => return,
                    Some(known) if has_same_start(known, &seen) && known.is_main() => {
                        refresh(known, &thread);
                        self.fds_unknown.insert(tid);
                        report.n_refreshed += 1;
                    }
                    Some(_) | None => {
                        if self.exited_recently(tid, thread.ptid, now_ns) {
                            return;
                        }
                        if self.threads.contains_key(&tid) {
                            self.mark_dead(tid);
                            self.bury(tid, now_ns);
                            self.remove_thread(tid);
                            report.n_removed += 1;
                        }
                        if !self.add_thread(*thread, true) {
                            return;
                        }
                        for (number, fd) in fds {
                            self.add_initial_fd(tid, number, fd);
                        }
                        report.n_added += 1;
                    }
                }
                self.identify(tid, now_ns);
            }
        }
        // A recording cannot be told of this by records: it begins anew, with the whole state.
        self.note_gap();
    }

    /// Reads the descriptors of a process again of which it is not known any more which it has.
    pub(super) fn reread_fds(&mut self, tid: i64, now_ns: u64) {
        let Some(main) = self.main_tid(tid).filter(|main| self.fds_unknown.contains(main)) else {
            return;
        };
        let Some(proc) = self.allow_lookup(now_ns) else { return };
        self.fds_unknown.remove(&main);
        let fds = proc_scan::read_fds_of(&proc, main);
        if let Some(thread) = self.threads.get_mut(&main) {
            thread.fds.retain(|_, _| false);
        }
        for (number, fd) in fds {
            self.add_initial_fd(main, number, fd);
        }
        self.counters.n_fd_tables_reread += 1;
        self.note_gap();
    }
}

/// Whether `/proc` shows what is known: the same process with the same program.
fn is_same(known: &Thread, seen: &Seen) -> bool {
    !known.is_invalid()
        && has_same_start(known, seen)
        && (*known.comm == *seen.comm)
        // What a mount namespace shows of a path may differ; of the name it does not.
        && (seen.exe.is_empty() || known.exe_path.is_empty() || name(&known.exe_path) == name(&seen.exe))
}

fn has_same_start(known: &Thread, seen: &Seen) -> bool {
    if known.start_boottime_ns != 0 {
        return known.start_boottime_ns.abs_diff(seen.start_boottime_ns) < BOOT_NS_SLACK;
    }
    let start = if known.started_ns != 0 { known.started_ns } else { known.cloned_ns };
    start == 0 || start.abs_diff(seen.started_ns) < START_NS_SLACK
}

fn name(path: &[u8]) -> &[u8] {
    let path = super::thread::strip_deleted(path);
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// What an exec changes.
fn refresh(known: &mut Thread, now: &Thread) {
    known.comm = now.comm.clone();
    known.exe = now.exe.clone();
    known.set_exe_path(&now.exe_path);
    known.set_args(&now.args);
    known.env = now.env.clone();
    known.cwd = now.cwd.clone();
    known.root = now.root.clone();
    known.cgroups = now.cgroups.clone();
    (known.uid, known.gid) = (now.uid, now.gid);
    known.cap_effective = now.cap_effective;
    known.cap_permitted = now.cap_permitted;
    known.cap_inheritable = now.cap_inheritable;
    known.exe_from_memfd = now.exe_from_memfd;
    known.exe_ino = now.exe_ino;
    known.exe_ctime_ns = now.exe_ctime_ns;
    known.exe_mtime_ns = now.exe_mtime_ns;
}
