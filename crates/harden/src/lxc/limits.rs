//! Limits of resources, for both versions of control groups: LXC passes over the keys of the
//! version that the machine does not have.
//!
//! A limit that its owner wrote holds, for the other version too. One that limits nothing (`max`,
//! and `-1` in version 1) counts as none.

use palisade_policy::Containers;

use super::{LxcLevel, Work};
use crate::controls::CPU_PERIOD_US;

/// From here on version 1 calls a limit of memory none: the last page of a signed number.
const MEMORY_UNLIMITED: u64 = 0x7fff_ffff_ffff_f000;

/// A limit as both versions call it.
struct Limit {
    newer: &'static str,
    older: &'static str,
    /// How the older version says that there is none.
    older_none: &'static str,
    /// The policy's.
    policy: Option<u64>,
    message: &'static str,
}

/// A number of bytes or processes with the kernel's suffixes (`memparse`).
fn number(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Whether the value is one that limits nothing.
fn is_none(text: &str) -> bool {
    text == "max" || text.starts_with('-') || number(text).is_some_and(|n| n >= MEMORY_UNLIMITED)
}

impl Work {
    pub(in crate::lxc) fn limits(&mut self, policy: &Containers) {
        let limits = &policy.limits;
        for limit in [
            Limit {
                newer: "lxc.cgroup2.memory.max",
                older: "lxc.cgroup.memory.limit_in_bytes",
                older_none: "-1",
                policy: limits.memory_bytes,
                message: "it can take all memory of the host",
            },
            Limit {
                newer: "lxc.cgroup2.pids.max",
                older: "lxc.cgroup.pids.max",
                older_none: "max",
                policy: limits.pids.map(u64::from),
                message: "a fork bomb takes the host along",
            },
        ] {
            self.limit(&limit);
        }
        self.limit_of_processors(policy);
    }

    fn limit(&mut self, limit: &Limit) {
        let keys = [(limit.newer, "max"), (limit.older, limit.older_none)];
        let own = keys.iter().find_map(|(key, _)| {
            self.last(key).map(|(_, _, value)| value).filter(|value| !is_none(value))
        });
        let is_own = own.is_some();
        let value = own.or_else(|| limit.policy.map(|most| most.to_string()));
        for (key, none) in keys {
            match (self.last(key), &value) {
                (None, Some(value)) => {
                    self.find(0, key, LxcLevel::Low, [limit.message, value]);
                    self.add(key, value);
                }
                (Some((index, line, known)), Some(value)) if is_none(&known) => {
                    self.find(line, key, LxcLevel::Low, [limit.message, value]);
                    self.replace(index, value);
                }
                // There is none, and the policy wants none: in the kernel's words.
                (Some((index, line, known)), None) if matches!(known.as_str(), "max" | "-1") => {
                    if known != none {
                        let message = format!("the kernel takes no `{known}` here");
                        self.find(line, key, LxcLevel::Low, [&message, none]);
                        self.replace(index, none);
                    }
                }
                (Some((_, line, known)), _) if is_own => {
                    let above =
                        limit.policy.filter(|most| number(&known).is_some_and(|n| n > *most));
                    self.above(line, key, above.map(|most| most.to_string()));
                }
                (_, _) => {}
            }
        }
    }

    /// Says that an owner's limit is above the policy's.
    fn above(&mut self, line: usize, key: &str, most: Option<String>) {
        if let Some(most) = most {
            let message = format!("its owner's limit is above the policy's {most}");
            let fix = "lower it if the system needs less";
            self.find(line, key, LxcLevel::Note, [&message, fix]);
        }
    }

    fn limit_of_processors(&mut self, policy: &Containers) {
        let (one, quota) = ("lxc.cgroup2.cpu.max", "lxc.cgroup.cpu.cfs_quota_us");
        let period = "lxc.cgroup.cpu.cfs_period_us";
        let (newer, older) = (self.last(one), self.last(quota));
        let most = policy.limits.cpu_millis.map(|millis| u64::from(millis) * CPU_PERIOD_US / 1000);
        // Microseconds and those of the period; none where there is no limit.
        let pair = |text: &str, period: Option<String>| {
            let mut words = text.split_whitespace();
            let micros: u64 = words.next()?.parse().ok()?;
            let period = words.next().map(str::to_string).or(period);
            let period = period.map_or(Some(CPU_PERIOD_US), |text| text.parse().ok())?;
            Some((micros, period))
        };
        let of_newer = newer.as_ref().and_then(|(_, _, text)| pair(text, None));
        let of_older = older
            .as_ref()
            .and_then(|(_, _, text)| pair(text, self.last(period).map(|(_, _, value)| value)));
        let of_policy = most.map(|micros| (micros, CPU_PERIOD_US));
        let Some((micros, of_period)) = of_newer.or(of_older).or(of_policy) else { return };
        let value = format!("{micros} {of_period}");
        let message = "it can take every processor of the host";
        if of_newer.is_none() {
            let line = newer.as_ref().map_or(0, |(_, line, _)| *line);
            self.find(line, one, LxcLevel::Low, [message, &value]);
            match newer {
                Some((index, ..)) => self.replace(index, &value),
                None => self.add(one, &value),
            }
        }
        if of_older.is_none() {
            let line = older.as_ref().map_or(0, |(_, line, _)| *line);
            self.find(line, quota, LxcLevel::Low, [message, &value]);
            if let Some((index, ..)) = older {
                self.remove(index);
            }
            // The period first: a quota is a part of it.
            self.add(period, &of_period.to_string());
            self.add(quota, &micros.to_string());
        }
        // Shares of a processor, compared without dividing.
        let is_above = |(micros, period): (u64, u64), most: u64| {
            u128::from(micros) * u128::from(CPU_PERIOD_US) > u128::from(most) * u128::from(period)
        };
        for (own, key) in [(of_newer, one), (of_older, quota)] {
            let above = most.filter(|most| own.is_some_and(|own| is_above(own, *most)));
            let line = self.last(key).map_or(0, |(_, line, _)| line);
            self.above(line, key, above.map(|most| format!("{most} {CPU_PERIOD_US}")));
        }
    }
}
