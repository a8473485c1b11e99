//! Ending one process of a container, or it and all that it started.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_sys::process::{ProcessHandle, start_ticks};

use super::Performed;
use crate::target::Target;

/// How far the start times of kernel and alert may lie apart: clocks are set meanwhile.
const START_TOLERANCE: Duration = Duration::from_secs(2);
/// Clock ticks of `/proc` in a second (`USER_HZ`), on every architecture of today.
const TICKS_PER_SECOND: u64 = 100;
const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;
/// Most processes of a tree; a fork bomb is ended by `kill`, which asks the kernel.
const TREE_MAX: usize = 100_000;

/// Ends `pid` of the container, and with `tree` everything below it.
pub(super) fn kill(
    target: &Target,
    pid: Option<u32>,
    started: Option<Timestamp>,
    tree: bool,
    deadline: Duration,
) -> Performed {
    let end = Instant::now() + deadline;
    let Some(pid) = pid else { return Performed::failed("no process is named") };
    if pid <= 1 || pid == std::process::id() {
        return Performed::failed(format!("process {pid} is never ended"));
    }
    let handle = match ProcessHandle::open(pid) {
        Ok(handle) => handle,
        Err(error) if error.raw_os_error() == Some(3) => {
            return Performed::unchanged(format!("process {pid} has ended already"));
        }
        Err(error) => return Performed::failed(format!("open process {pid}: {error}")),
    };
    // What is checked from here on is true of the process that the handle stands for.
    if let Some(started) = started
        && !is_it(pid, started)
    {
        return Performed::unchanged(format!("process {pid} has ended; its number is another's"));
    }
    if handle.wait_ended(Duration::ZERO).unwrap_or(false) {
        return Performed::unchanged(format!("process {pid} has ended already"));
    }
    match target.group().holds(pid) {
        Ok(true) => {}
        Ok(false) => return Performed::failed(format!("process {pid} is not in the container")),
        Err(error) => return Performed::failed(error.to_string()),
    }
    let mut handles = vec![handle];
    if tree && let Err(reason) = stop_tree(target, &mut handles, end) {
        // Whatever was stopped is ended all the same.
        let n = end_all(&handles, end);
        return Performed::failed(format!("{reason}; {n} processes were ended"));
    }
    let n = end_all(&handles, end);
    if n == handles.len() {
        Performed::done(format!("{n} process(es) ended"))
    } else {
        Performed::failed(format!("{n} of {} processes ended in time", handles.len()))
    }
}

/// Whether `pid` started at about `started`.
fn is_it(pid: u32, started: Timestamp) -> bool {
    let Some(ticks) = start_ticks(pid) else { return false };
    let Ok(uptime) = std::fs::read_to_string("/proc/uptime") else { return false };
    let Some(uptime) = uptime.split(' ').next().and_then(|text| text.parse::<f64>().ok()) else {
        return false;
    };
    let age = uptime - ticks as f64 / TICKS_PER_SECOND as f64;
    let now = Timestamp::now();
    let claimed = now.since(started).as_secs_f64();
    (age - claimed).abs() <= START_TOLERANCE.as_secs_f64()
}

/// Stops the tree below `handles[0]`, parents before children, until no new child appears, so
/// that none forks while it is taken down.
fn stop_tree(
    target: &Target,
    handles: &mut Vec<ProcessHandle>,
    end: Instant,
) -> Result<(), String> {
    let mut seen: BTreeSet<u32> = handles.iter().map(ProcessHandle::pid).collect();
    let mut n_stopped = 0;
    loop {
        for handle in &handles[n_stopped..] {
            let _gone = handle.signal(SIGSTOP);
        }
        n_stopped = handles.len();
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in target.group().processes().map_err(|error| error.to_string())? {
            if let Some(parent) = parent_of(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut queue: Vec<u32> = seen.iter().copied().collect();
        while let Some(pid) = queue.pop() {
            for child in children.get(&pid).into_iter().flatten() {
                if seen.insert(*child) {
                    queue.push(*child);
                    if let Ok(handle) = ProcessHandle::open(*child) {
                        handles.push(handle);
                    }
                }
            }
        }
        if handles.len() == n_stopped {
            return Ok(());
        }
        if handles.len() > TREE_MAX || Instant::now() >= end {
            return Err(format!("the tree has {} processes and grows", handles.len()));
        }
    }
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any.
    stat.get(stat.rfind(')')? + 2..)?.split(' ').nth(1)?.parse().ok()
}

/// Ends all, and says how many were gone in time.
fn end_all(handles: &[ProcessHandle], end: Instant) -> usize {
    for handle in handles {
        let _gone = handle.signal(SIGKILL);
    }
    handles
        .iter()
        .filter(|handle| {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            handle.wait_ended(left).unwrap_or(false)
        })
        .count()
}
