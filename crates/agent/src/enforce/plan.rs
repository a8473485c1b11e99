//! From what a rule asks and what a host can do to how the rule stands. Pure.

use palisade_bpf::enforce::Effect;
use palisade_model::{EnforcementAction, Means};

use super::orders::Order;
use super::standing::{Ruling, Standing};

/// What this host, or one container on it, offers: for each means nothing but the reason
/// when it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Security hooks of the kernel.
    pub lsm: Result<(), String>,
    /// Programs on the container's control group.
    pub cgroup: Result<(), String>,
    /// Questions before programs.
    pub fanotify: Result<(), String>,
    /// Kills in the probe.
    pub kernel_kill: Result<(), String>,
    /// Kills by the agent.
    pub user_kill: Result<(), String>,
}

impl Host {
    /// A host that offers nothing, for one reason.
    pub fn without(reason: &str) -> Self {
        let no = || Err(reason.to_string());
        Self { lsm: no(), cgroup: no(), fanotify: no(), kernel_kill: no(), user_kill: no() }
    }

    fn offers(&self, means: Means) -> Result<(), &str> {
        let offer = match means {
            Means::Lsm => &self.lsm,
            Means::Cgroup => &self.cgroup,
            Means::Fanotify => &self.fanotify,
            Means::KernelKill => &self.kernel_kill,
            Means::UserKill => &self.user_kill,
        };
        offer.as_ref().copied().map_err(String::as_str)
    }
}

/// Which means serves which event of a rule.
pub type Choices = Vec<(String, Means)>;

/// What the agent's own kill cannot do: it comes after the event.
const AFTER_THE_EVENT: &str = "the agent kills when it has read the event, about a millisecond \
                               after it happened";

/// Programs that the gate does not see, whatever the rule says.
const GATE_LIMITS: [&str; 2] =
    ["programs in memory (memfd)", "programs on mounts made since the container's last program"];

/// How the rule of `order` stands on `host`.
pub fn plan(order: &Order, host: &Host) -> Standing {
    choose(order, host).0
}

/// As [`plan`], with the means for each event; none for a rule that cannot.
pub fn choose(order: &Order, host: &Host) -> (Standing, Choices) {
    let mut passed_over = Vec::new();
    let standing = |ruling, passed_over| Standing {
        rule: order.name.clone(),
        container: None,
        wishes: order.wishes.clone(),
        ruling,
        passed_over,
    };
    if let Some(reason) = &order.refused {
        return (standing(Ruling::Cannot { why: reason.clone() }, passed_over), Vec::new());
    }
    for wish in &order.wishes {
        match serve(*wish, order, host, &mut passed_over) {
            Ok((ruling, choices)) => return (standing(ruling, passed_over), choices),
            Err(why) => passed_over.push(format!("{wish}: {why}")),
        }
    }
    let mut why = passed_over.join("; ");
    let only_deny = order.wishes == [EnforcementAction::Deny];
    if only_deny && serve(EnforcementAction::Kill, order, host, &mut Vec::new()).is_ok() {
        why.push_str("; the process could be killed: say `action: [deny, kill]`");
    }
    (standing(Ruling::Cannot { why }, Vec::new()), Vec::new())
}

/// Finds the best means for each event of the rule; why there is none for one of them.
fn serve(
    wish: EnforcementAction,
    order: &Order,
    host: &Host,
    passed_over: &mut Vec<String>,
) -> Result<(Ruling, Choices), String> {
    let mut chosen: Vec<Means> = Vec::new();
    let mut choices = Choices::new();
    let mut limits: Vec<String> = Vec::new();
    let mut late: Option<&str> = None;
    let mut worse: Vec<String> = Vec::new();
    for event in &order.events {
        let mut reasons: Vec<String> = Vec::new();
        let candidates = Means::ALL.into_iter().filter(|means| means.action() == wish);
        let mut found = None;
        for means in candidates {
            match offer(means, event, order, host) {
                Ok(effect) => {
                    found = Some((means, effect));
                    break;
                }
                Err(why) => reasons.push(format!("{means}: {why}")),
            }
        }
        let Some((means, effect)) = found else {
            return Err(format!("{event}: {}", reasons.join(", ")));
        };
        for reason in reasons {
            if !worse.contains(&reason) {
                worse.push(reason);
            }
        }
        if !chosen.contains(&means) {
            chosen.push(means);
        }
        choices.push((event.clone(), means));
        match effect {
            Effect::Prevents => {}
            Effect::Partly(but) => limits.push(format!("{event}: {but}")),
            Effect::Reacts(why) => {
                late.get_or_insert(why);
            }
        }
    }
    passed_over.append(&mut worse);
    chosen.sort_unstable();
    if chosen.contains(&Means::Fanotify) {
        limits.extend(GATE_LIMITS.map(str::to_string));
    }
    let ruling = match late {
        Some(why) => Ruling::Reacts { action: wish, means: chosen, why: why.into() },
        None => Ruling::Prevents { action: wish, means: chosen, limits },
    };
    Ok((ruling, choices))
}

/// Whether `means` serves `event` for this rule.
fn offer(means: Means, event: &str, order: &Order, host: &Host) -> Result<Effect, String> {
    host.offers(means)?;
    match means {
        Means::Lsm => order.lsm(event),
        Means::Cgroup => order.cgroup(event).map(|()| Effect::Prevents),
        Means::Fanotify => order.gate(event).map(|()| Effect::Prevents),
        Means::KernelKill => order.kernel_kill(event),
        Means::UserKill => Ok(Effect::Reacts(AFTER_THE_EVENT)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use palisade_policy::{Enforce, EnforceRule};
    use palisade_rules::LoadOptions;

    use super::super::orders::{Kernel, assign, orders};
    use super::*;
    use crate::detector::load_rules;

    const EXEC_BY_PATH: &str = "evt.type in (execve, execveat) and proc.exepath = /bin/nc";
    const EXEC_BY_NAME: &str = "evt.type = execve and proc.name = nc";
    const CONNECT: &str = "evt.type = connect and fd.sport = 4444";
    const MOUNT: &str = "evt.type = mount";
    const EXEC_AND_CONNECT: &str = "evt.type in (execve, connect) and proc.exepath = /bin/nc";

    fn order(condition: &str, action: &str, kernel: &Kernel) -> Order {
        let text = format!(
            "- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n  action: {action}\n"
        );
        let (rules, diagnostics) = load_rules(&[("r", &text)], &LoadOptions::default());
        assert!(!diagnostics.has_errors(), "{diagnostics}");
        let mut orders = orders(&rules);
        assert_eq!(orders.len(), 1);
        Order { kernel: kernel.clone(), ..orders.remove(0) }
    }

    /// A host that offers the means of `names`.
    fn host(names: &str) -> Host {
        let offer = |means: Means| {
            if names.split(' ').any(|name| name == means.as_str()) {
                Ok(())
            } else {
                Err("not here".to_string())
            }
        };
        Host {
            lsm: offer(Means::Lsm),
            cgroup: offer(Means::Cgroup),
            fanotify: offer(Means::Fanotify),
            kernel_kill: offer(Means::KernelKill),
            user_kill: offer(Means::UserKill),
        }
    }

    /// What a kernel that decides everything does.
    fn able() -> Kernel {
        let deny = |events: &[&str]| -> BTreeMap<String, Result<(), String>> {
            events.iter().map(|event| ((*event).to_string(), Ok(()))).collect()
        };
        Kernel {
            unlowered: None,
            lsm: deny(&["execve", "execveat", "connect"]),
            cgroup: deny(&["connect"]),
            kill: BTreeMap::from([
                ("execve".into(), Effect::Prevents),
                ("execveat".into(), Effect::Prevents),
                ("connect".into(), Effect::Reacts("the connection is begun")),
                ("mount".into(), Effect::Reacts("the mount is made")),
                ("openat".into(), Effect::Partly("a file that is created")),
            ]),
            ..Kernel::default()
        }
    }

    fn blind() -> Kernel {
        Kernel { unlowered: Some("`x` is not known in the kernel".into()), ..able() }
    }

    #[track_caller]
    fn check(condition: &str, action: &str, kernel: &Kernel, offers: &str, expected: &str) {
        let standing = plan(&order(condition, action, kernel), &host(offers));
        assert_eq!(standing.ruling.to_string(), expected, "{condition} {action} {offers}");
    }

    const ALL: &str = "lsm cgroup fanotify kernel-kill user-kill";
    const GATE: &str = "prevents: deny by fanotify, but not programs in memory (memfd), programs \
                        on mounts made since the container's last program";

    #[test]
    fn the_best_means_of_the_host_serves() {
        check(EXEC_BY_PATH, "deny", &able(), ALL, "prevents: deny by lsm");
        check(EXEC_BY_PATH, "deny", &able(), "fanotify user-kill", GATE);
        check(EXEC_BY_PATH, "deny", &blind(), ALL, GATE);
        check(EXEC_BY_NAME, "deny", &able(), "lsm", "prevents: deny by lsm");
        check(CONNECT, "deny", &able(), "cgroup fanotify", "prevents: deny by cgroup");
        check(EXEC_BY_PATH, "kill", &able(), ALL, "prevents: kill by kernel-kill");
        check(MOUNT, "kill", &able(), ALL, "reacts: kill by kernel-kill: the mount is made");
        let after = format!("reacts: kill by user-kill: {AFTER_THE_EVENT}");
        check(EXEC_BY_PATH, "kill", &blind(), ALL, &after);
        check(MOUNT, "kill", &able(), "user-kill", &after);
        check(
            "evt.type = openat",
            "kill",
            &able(),
            ALL,
            "prevents: kill by kernel-kill, but not openat: a file that is created",
        );
        // What hooks see of calls, as it is.
        let real = |condition: &str| {
            let text = format!(
                "- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n  action: deny\n"
            );
            let (rules, _) = load_rules(&[("r", &text)], &LoadOptions::default());
            orders(&rules).remove(0).kernel
        };
        let by_hooks = |condition: &str, expected: &str| {
            check(condition, "deny", &real(condition), "lsm", expected);
        };
        by_hooks(MOUNT, "prevents: deny by lsm");
        by_hooks(
            "evt.type in (unlink, unlinkat, rename) and proc.name = sh",
            "prevents: deny by lsm",
        );
        by_hooks("evt.type = ptrace and evt.rawarg.request in (11, 20)", "prevents: deny by lsm");
        by_hooks(
            "evt.type = ptrace",
            "prevents: deny by lsm, but not ptrace: requests to a process that is traced already",
        );
        by_hooks("evt.type in (bpf, init_module, finit_module)", "prevents: deny by lsm");
        // One event each: both must be served, and the weaker counts.
        check(
            EXEC_AND_CONNECT,
            "deny",
            &able(),
            "cgroup fanotify",
            &GATE.replace("fanotify", "cgroup, fanotify"),
        );
        check(
            EXEC_AND_CONNECT,
            "kill",
            &able(),
            ALL,
            "reacts: kill by kernel-kill: the connection is begun",
        );
    }

    #[test]
    fn a_wish_that_cannot_be_met_is_never_met_by_something_else() {
        check(
            EXEC_BY_NAME,
            "deny",
            &able(),
            "fanotify user-kill",
            "cannot: deny: execve: lsm: not here, cgroup: not here, fanotify: `proc.name` is not \
             known before the program starts; the process could be killed: say `action: [deny, kill]`",
        );
        check(
            MOUNT,
            "deny",
            &able(),
            "lsm cgroup fanotify",
            "cannot: deny: mount: lsm: no hook for mount, cgroup: it refuses addresses alone, \
             fanotify: it refuses programs alone",
        );
        check(
            MOUNT,
            "kill",
            &able(),
            "lsm",
            "cannot: kill: mount: kernel-kill: not here, user-kill: not here",
        );
        check(
            EXEC_AND_CONNECT,
            "deny",
            &able(),
            "fanotify",
            "cannot: deny: connect: lsm: not here, cgroup: not here, fanotify: it refuses programs alone",
        );
        let standing = plan(&order(MOUNT, "[deny, kill]", &able()), &host("fanotify user-kill"));
        assert_eq!(standing.ruling.word(), "reacts");
        assert!(standing.passed_over[0].starts_with("deny: mount: "), "{:?}", standing.passed_over);
        assert!(
            plan(&order(MOUNT, "kill", &able()), &Host::without("why"))
                .ruling
                .to_string()
                .contains("why")
        );
    }

    #[test]
    fn the_policy_gives_and_takes_actions() {
        let text = "- rule: a\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: INFO\n  tags: [t]\n\
                    - rule: b\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: INFO\n  action: kill\n\
                    - rule: c\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: INFO\n  enabled: false\n  action: kill\n";
        let check = |entries: &[(&str, &str, &[EnforcementAction])], expected: &[(&str, usize)]| {
            let (mut rules, _) = load_rules(&[("r", text)], &LoadOptions::default());
            let list = |name: &str| if name.is_empty() { vec![] } else { vec![name.to_string()] };
            let rules_of = entries.iter().map(|(rule, tag, actions)| EnforceRule {
                rules: list(rule),
                tags: list(tag),
                actions: actions.to_vec(),
            });
            let policy = Enforce { rules: rules_of.collect(), ..Enforce::default() };
            assign(&mut rules, &policy);
            let found = orders(&rules);
            let found: Vec<_> =
                found.iter().map(|order| (order.name.as_str(), order.wishes.len())).collect();
            assert_eq!(found, expected);
        };
        check(&[], &[("b", 1)]);
        check(&[("", "t", &EnforcementAction::ALL)], &[("a", 2), ("b", 1)]);
        check(&[("b", "", &[]), ("b", "", &EnforcementAction::ALL)], &[]);
    }
}
