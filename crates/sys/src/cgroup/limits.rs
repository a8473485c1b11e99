//! The limits that a group really has, read back from the kernel.

use std::time::Duration;

use super::{Group, read_text};

/// Limits as the kernel reports them; `None` means unlimited or not controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupLimits {
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, in bytes.
    pub memory_and_swap_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processor time in thousandths of one processor.
    pub cpu_millis: Option<u64>,
}

/// Version 1 writes "unlimited" memory as the largest multiple of the page size.
const V1_UNLIMITED_BYTES: u64 = 1 << 62;

impl Group {
    /// Reads the group's limits; controllers that are absent give `None`.
    pub fn limits(&self) -> GroupLimits {
        let v1 =
            |controller: &str, file: &str| read_text(&self.controller(controller)?.join(file)).ok();
        let v2 = |file: &str| read_text(&self.unified()?.join(file)).ok();
        let memory_v1 = v1("memory", "memory.limit_in_bytes").and_then(|t| number(&t));
        let memory_v2 = v2("memory.max").and_then(|text| number(&text));
        let both_v1 = v1("memory", "memory.memsw.limit_in_bytes").and_then(|t| number(&t));
        let both_v2 = memory_v2
            .and_then(|memory| Some(memory.saturating_add(number(&v2("memory.swap.max")?)?)));
        let cpu_v1 = v1("cpu", "cpu.cfs_quota_us")
            .and_then(|quota| millis(number(&quota)?, number(&v1("cpu", "cpu.cfs_period_us")?)?));
        let cpu_v2 = v2("cpu.max").and_then(|text| {
            let (quota, period) = text.trim().split_once(' ')?;
            millis(number(quota)?, number(period)?)
        });
        let limited = |bytes: &u64| *bytes < V1_UNLIMITED_BYTES;
        GroupLimits {
            memory_bytes: memory_v1.filter(limited).or(memory_v2),
            memory_and_swap_bytes: both_v1.filter(limited).or(both_v2),
            pids: v1("pids", "pids.max").or_else(|| v2("pids.max")).and_then(|t| number(&t)),
            cpu_millis: cpu_v1.or(cpu_v2),
        }
    }
}

impl Group {
    /// Processes of the group that the kernel killed for want of memory; `None` when no
    /// memory controller tells.
    pub fn n_oom_kills(&self) -> Option<u64> {
        let v1 = self.controller("memory").map(|folder| folder.join("memory.oom_control"));
        let v2 = self.unified().map(|folder| folder.join("memory.events"));
        v1.into_iter().chain(v2).find_map(|path| {
            read_text(&path).ok()?.lines().find_map(|line| number(line.strip_prefix("oom_kill ")?))
        })
    }

    /// How long the group's processes have computed so far, those that have ended included;
    /// `None` when no controller tells (cgroup-v1/cpuacct.rst; cgroup-v2.rst, `cpu.stat`).
    pub fn cpu_time(&self) -> Option<Duration> {
        let v1 = || {
            let path = self.controller("cpuacct")?.join("cpuacct.usage");
            Some(Duration::from_nanos(number(&read_text(&path).ok()?)?))
        };
        let v2 = || {
            let text = read_text(&self.unified()?.join("cpu.stat")).ok()?;
            let usage = text.lines().find_map(|line| number(line.strip_prefix("usage_usec ")?))?;
            Some(Duration::from_micros(usage))
        };
        v1().or_else(v2)
    }
}

/// A number; `max`, `-1` and anything else are no limit.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn millis(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1000)?.checked_div(period_us)
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchies;
    use super::*;

    #[test]
    fn reads_version_2_files() {
        let folder = tempfile::tempdir().unwrap();
        let group_folder = folder.path().join("a");
        std::fs::create_dir(&group_folder).unwrap();
        for (file, text) in [
            ("memory.max", "1048576\n"),
            ("memory.swap.max", "0\n"),
            ("pids.max", "max\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpu.stat", "nr_periods 3\nusage_usec 1500\nuser_usec 9\n"),
        ] {
            std::fs::write(group_folder.join(file), text).unwrap();
        }
        let line = format!("1 1 0:1 / {} rw - cgroup2 none rw\n", folder.path().display());
        let group = Hierarchies::from_mountinfo(&line).unwrap().group("/a").unwrap();
        assert_eq!(
            group.limits(),
            GroupLimits {
                memory_bytes: Some(1 << 20),
                memory_and_swap_bytes: Some(1 << 20),
                pids: None,
                cpu_millis: Some(500),
            }
        );
        assert_eq!(group.cpu_time(), Some(Duration::from_micros(1500)));
    }
}
