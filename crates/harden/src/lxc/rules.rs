//! The rules, one function each: what is found, and what is written instead.

use std::fmt::Write as _;

use palisade_policy::Containers;

use super::{LxcFacts, LxcLevel, Work};
use crate::host_path_exposes;

/// Ids that a container needs: LXC's own `65536`.
const IDS: u32 = 65_536;

/// Devices that give nothing: null, zero, full, random, urandom, tty, console, ptmx, ptys.
const HARMLESS_DEVICES: [&str; 9] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// Mappings of ids that are looked at: the kernel takes no more (`user_namespaces(7)`).
const IDMAPS_MAX: usize = 2 * 340;

/// The ranges of `/etc/subuid` that are root's: first and count.
fn ranges_of_root(text: &str) -> impl Iterator<Item = (u32, u32)> {
    text.lines().filter_map(|line| {
        let mut parts = line.trim().splitn(3, ':');
        let who = parts.next()?;
        let (first, count) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        matches!(who, "root" | "0").then_some((first, count))
    })
}

impl Work {
    /// Root inside must be nobody outside.
    pub(super) fn ids(&mut self, facts: &LxcFacts) {
        let maps = self.of("lxc.idmap");
        let parsed = maps.iter().map(|(_, number, value)| {
            let mut words = value.split_whitespace();
            let kind = words.next().unwrap_or_default().to_string();
            let mut numbers = words.map(|word| word.parse::<u32>().unwrap_or(0));
            let mut next = || numbers.next().unwrap_or(0);
            (*number, kind, next(), next(), next())
        });
        let parsed: Vec<_> = parsed.collect();
        let root = parsed.iter().find(|(_, kind, _, host, n)| {
            *host == 0 && *n > 0 && matches!(kind.as_str(), "u" | "g" | "b")
        });
        let whole = |wanted: &str| {
            parsed.iter().any(|(_, kind, inside, host, n)| {
                (kind == wanted || kind == "b") && *inside == 0 && *host > 0 && *n >= IDS
            })
        };
        let (line, level, message) = match (root, maps.first()) {
            (Some((number, ..)), _) => {
                (*number, LxcLevel::High, "ids of the host, root among them, are the container's")
            }
            (None, None) => (0, LxcLevel::High, "root inside is root of the host"),
            (None, Some((_, number, _))) if !(whole("u") && whole("g")) => {
                (*number, LxcLevel::Medium, "fewer than 65,536 ids are mapped from 0")
            }
            _ => return,
        };
        let fix = format!(
            "ids {} to {} of the host, which nobody else may have; give the root file system to \
             them (lxc-usernsexec, or a mount with ids mapped)",
            facts.first_id,
            facts.first_id.saturating_add(IDS - 1)
        );
        self.find(line, "lxc.idmap", level, [message, &fix]);
        for (index, ..) in maps {
            self.remove(index);
        }
        for kind in ["u", "g"] {
            self.add("lxc.idmap", &format!("{kind} 0 {} {IDS}", facts.first_id));
        }
    }

    /// `newuidmap`, where it is installed, gives root no ids either but those of `/etc/subuid`:
    /// the ranges that are missing there, as its lines.
    pub(super) fn delegation(&mut self, facts: &LxcFacts) -> String {
        let mut missing = std::collections::BTreeSet::new();
        let added = self.added.iter().filter_map(|line| line.strip_prefix("lxc.idmap = "));
        let maps = self.of("lxc.idmap").into_iter().map(|(_, _, value)| value);
        for value in maps.chain(added.map(str::to_string)).take(IDMAPS_MAX) {
            let words: Vec<&str> = value.split_whitespace().collect();
            let [kind, _, host, n] = words.as_slice() else { continue };
            let (Ok(host), Ok(n)) = (host.parse::<u32>(), n.parse::<u32>()) else { continue };
            let kinds = [("u", &facts.subuid), ("g", &facts.subgid)];
            for (_, file) in kinds.iter().filter(|(name, _)| name == kind || *kind == "b") {
                let is_given = |text: &String| {
                    ranges_of_root(text).any(|(first, count)| {
                        first <= host
                            && u64::from(host) + u64::from(n) <= u64::from(first) + u64::from(count)
                    })
                };
                if n > 0 && file.as_ref().is_some_and(|text| !is_given(text)) {
                    missing.insert((host, n));
                }
            }
        }
        let mut lines = String::new();
        for (host, n) in &missing {
            let _ = writeln!(lines, "root:{host}:{n}");
        }
        if !missing.is_empty() {
            let message = "newuidmap gives root these ids only by /etc/subuid and /etc/subgid: \
                           without that the container does not start";
            let fix = format!("add to both: {}", lines.trim_end().replace('\n', ", "));
            self.find(0, "lxc.idmap", LxcLevel::Note, [message, &fix]);
        }
        lines
    }

    /// The policy's capabilities at most; LXC takes a list to keep or one to drop, not both.
    pub(super) fn capabilities(&mut self, policy: &Containers) {
        let allowed: Vec<String> =
            policy.capabilities.iter().map(|name| name.to_ascii_lowercase()).collect();
        let kept = self.of("lxc.cap.keep");
        let wanted: Vec<&str> =
            kept.iter().flat_map(|(_, _, value)| value.split_whitespace()).collect();
        let wanted: Vec<&str> = wanted.into_iter().filter(|name| *name != "none").collect();
        let more: Vec<&str> = wanted
            .iter()
            .copied()
            .filter(|name| !allowed.iter().any(|known| known == name))
            .collect();
        if !kept.is_empty() && more.is_empty() {
            return;
        }
        let message = if kept.is_empty() {
            "every capability that is not dropped is kept".to_string()
        } else {
            format!("the policy does not allow {}", more.join(", "))
        };
        let left: Vec<&str> = allowed
            .iter()
            .map(String::as_str)
            .filter(|name| kept.is_empty() || wanted.contains(name))
            .collect();
        let left = if left.is_empty() { "none".to_string() } else { left.join(" ") };
        let line = kept.first().map_or(0, |(_, number, _)| *number);
        let fix = format!("only {left}");
        self.find(line, "lxc.cap.keep", LxcLevel::Medium, [&message, &fix]);
        for (index, ..) in kept.into_iter().chain(self.of("lxc.cap.drop")) {
            self.remove(index);
        }
        self.add("lxc.cap.keep", &left);
    }

    pub(super) fn security_module(&mut self) {
        let selinux = self.last("lxc.selinux.context").is_some();
        match self.last("lxc.apparmor.profile") {
            Some((index, number, value)) if value == "unconfined" => {
                let fix = "a profile that LXC generates";
                self.find(number, "lxc.apparmor.profile", LxcLevel::High, ["AppArmor is off", fix]);
                self.replace(index, "generated");
            }
            Some(_) => {}
            None if selinux => {}
            None => {
                let fix = "a profile that LXC generates, where the kernel has AppArmor";
                let message = "no profile is named";
                self.find(0, "lxc.apparmor.profile", LxcLevel::Low, [message, fix]);
                self.add("lxc.apparmor.profile", "generated");
            }
        }
        for (key, message) in [
            ("lxc.apparmor.allow_incomplete", "the container starts where AppArmor lacks a part"),
            ("lxc.apparmor.allow_nesting", "mounts of proc and sys without masks are allowed"),
        ] {
            for (index, number, value) in self.of(key) {
                if value != "0" {
                    self.find(number, key, LxcLevel::Medium, [message, "0"]);
                    self.replace(index, "0");
                }
            }
        }
    }

    pub(super) fn seccomp(&mut self, facts: &LxcFacts) {
        let key = "lxc.seccomp.profile";
        match self.last(key) {
            Some((_, number, value)) if !value.is_empty() => {
                let message = format!("the profile `{value}` is used as it is");
                let fix = "compare it with the list that is written beside this one";
                self.find(number, key, LxcLevel::Note, [&message, fix]);
            }
            _ => {
                let message = "no system call is closed but by capabilities";
                let fix = "a list of calls that reach the host's kernel";
                self.find(0, key, LxcLevel::Medium, [message, fix]);
                self.add(key, &facts.seccomp_path);
            }
        }
    }

    pub(super) fn privileges(&mut self, policy: &Containers) {
        let key = "lxc.no_new_privs";
        if !policy.no_new_privileges || self.last(key).is_some_and(|(_, _, value)| value == "1") {
            return;
        }
        let message = "setuid files and file capabilities give more than the program has";
        let fix = "1: sudo and ping without ids of their own stop working inside";
        let line = self.last(key).map_or(0, |(_, number, _)| number);
        self.find(line, key, LxcLevel::Low, [message, fix]);
        for (index, ..) in self.of(key) {
            self.remove(index);
        }
        self.add(key, "1");
    }

    /// What LXC mounts by itself: the kernel's own files only as far as they are the container's.
    pub(super) fn automatic_mounts(&mut self) {
        for (index, number, value) in self.of("lxc.mount.auto") {
            let mut changed = Vec::new();
            let words = value.split_whitespace().map(|word| {
                let better = match word {
                    "proc:rw" => "proc:mixed",
                    "sys:rw" | "sys" | "sys:mixed" => "sys:ro",
                    "cgroup:rw" | "cgroup-full" | "cgroup-full:rw" | "cgroup-full:mixed" => {
                        "cgroup:mixed"
                    }
                    other => return other.to_string(),
                };
                changed.push(format!("{word} is {better}"));
                better.to_string()
            });
            let words: Vec<String> = words.collect();
            if !changed.is_empty() {
                let message = "settings of the host's kernel can be written from inside";
                let fix = changed.join(", ");
                self.find(number, "lxc.mount.auto", LxcLevel::High, [message, &fix]);
                self.replace(index, &words.join(" "));
            }
        }
    }

    /// Folders of the host: none that gives it away, and no setuid files or devices on the others.
    pub(super) fn mounts(&mut self) {
        let key = "lxc.mount.entry";
        for (index, number, value) in self.of(key) {
            let mut words: Vec<String> = value.split_whitespace().map(str::to_string).collect();
            let (Some(source), Some(options)) = (words.first().cloned(), words.get(3).cloned())
            else {
                let fix = "write SOURCE TARGET TYPE OPTIONS 0 0";
                self.find(number, key, LxcLevel::Note, ["it is no line of fstab(5)", fix]);
                continue;
            };
            let list: Vec<&str> = options.split(',').collect();
            let is_bind = list.iter().any(|option| matches!(*option, "bind" | "rbind"));
            let writable = !list.contains(&"ro");
            if is_bind && let Some(why) = host_path_exposes(&source, writable) {
                let message = format!("`{source}` of the host: {why}");
                self.find(number, key, LxcLevel::High, [&message, "it is not mounted"]);
                self.remove(index);
                continue;
            }
            let missing: Vec<&str> =
                ["nosuid", "nodev"].into_iter().filter(|option| !list.contains(option)).collect();
            if is_bind && !missing.is_empty() {
                let fix = missing.join(", ");
                let message = "setuid files and devices in it work";
                self.find(number, key, LxcLevel::Low, [message, &fix]);
                let mut all: Vec<&str> =
                    list.iter().copied().filter(|o| !matches!(*o, "suid" | "dev")).collect();
                all.extend(missing);
                let all = all.join(",");
                if let Some(word) = words.get_mut(3) {
                    *word = all;
                }
                self.replace(index, &words.join(" "));
            }
        }
    }

    pub(super) fn devices(&mut self) {
        for key in ["lxc.cgroup2.devices.allow", "lxc.cgroup.devices.allow"] {
            for (index, number, value) in self.of(key) {
                if value.split_whitespace().next() == Some("a") {
                    let message = "every device of the host can be used";
                    self.find(number, key, LxcLevel::High, [message, "only harmless ones"]);
                    self.remove(index);
                } else if !HARMLESS_DEVICES.contains(&value.as_str()) {
                    let message = format!("the device `{value}` of the host can be used");
                    self.find(
                        number,
                        key,
                        LxcLevel::Note,
                        [&message, "take it out if it is not needed"],
                    );
                }
            }
        }
        // LXC passes over what is written for the version of control groups that it does not
        // find, so both are written: a machine with either closes them.
        for (group, other) in [("lxc.cgroup2", "lxc.cgroup"), ("lxc.cgroup", "lxc.cgroup2")] {
            let (key, allow) = (format!("{group}.devices.deny"), format!("{group}.devices.allow"));
            if self.of(&key).iter().any(|(_, _, value)| value == "a") {
                continue;
            }
            let message = "devices are not closed";
            self.find(0, &key, LxcLevel::Medium, [message, "all but the harmless ones"]);
            let own = self.of(&allow);
            // They are applied in order: closed afterwards, the owner's devices would be, too.
            let at = own.first().map(|(index, ..)| self.since(&key).max(*index));
            let kept = own.iter().filter(|(index, ..)| at.is_some_and(|at| *index >= at));
            let mut given: Vec<String> = kept.map(|(.., value)| value.clone()).collect();
            match at {
                Some(at) => self.insert(at, &key, "a"),
                None => self.add(&key, "a"),
            }
            // What the owner gives for the other version is given here as well.
            let others = self.of(&format!("{other}.devices.allow"));
            let of_owner = own.into_iter().chain(others).map(|(.., value)| value);
            for device in HARMLESS_DEVICES.map(str::to_string).into_iter().chain(of_owner) {
                if !given.contains(&device) {
                    self.add(&allow, &device);
                    given.push(device);
                }
            }
        }
    }

    pub(super) fn namespaces(&mut self) {
        let keys: Vec<String> = self
            .lines
            .iter()
            .filter(|line| line.key.starts_with("lxc.namespace."))
            .map(|line| line.key.clone())
            .collect();
        for key in keys {
            // Several lines of one key are judged at once, and those that were taken back not.
            if self.of(&key).is_empty() {
                continue;
            }
            // The container's own are what `clone` names.
            if key == "lxc.namespace.clone" {
                let message = "namespaces that are not named are the host's";
                let number = self.last(&key).map_or(0, |(_, number, _)| number);
                self.find(number, &key, LxcLevel::High, [message, "all of its own"]);
                for (index, ..) in self.of(&key) {
                    self.remove(index);
                }
                continue;
            }
            for (index, number, value) in self.of(&key) {
                let message = format!("`{value}` is shared with the host or another container");
                self.find(number, &key, LxcLevel::High, [&message, "its own"]);
                self.remove(index);
            }
        }
    }

    /// What is elsewhere, and not judged here.
    pub(super) fn elsewhere(&mut self) {
        for (_, number, value) in self.of("lxc.include") {
            let message = format!("`{value}` was not read");
            let fix = "give it to `palisade harden lxc` too";
            self.find(number, "lxc.include", LxcLevel::Note, [&message, fix]);
        }
        let hooks: Vec<(usize, String, String)> = self
            .lines
            .iter()
            .filter(|line| line.key.starts_with("lxc.hook.") || line.key.contains(".script."))
            .map(|line| (line.number, line.key.clone(), line.value.clone()))
            .collect();
        for (number, key, value) in hooks {
            let message = format!("`{value}` runs on the host");
            self.find(number, &key, LxcLevel::Note, [&message, "see that only root can write it"]);
        }
    }
}
