//! How grave an incident is: a sum whose every part is named.
//!
//! The score orders incidents for a person with little time. It is no probability; its weights
//! are this project's own, and stand in the manual.

use std::net::IpAddr;

use palisade_model::incident::{BlastRadius, Score, ScorePart, TimelineEvent};
use palisade_model::{Incident, Priority, Verdict};

/// Tactics that mean that the attacker has what they came for.
const LATE: [&str; 3] = ["Collection", "Exfiltration", "Impact"];

/// The score of `incident` as it stands.
pub(super) fn score(incident: &Incident) -> Score {
    let mut parts = Vec::new();
    let mut add = |points: i8, reason: String| {
        if points != 0 {
            parts.push(ScorePart { points, reason });
        }
    };
    let base = match incident.priority {
        Priority::Emergency | Priority::Alert => 35,
        Priority::Critical => 30,
        Priority::Error => 20,
        Priority::Warning => 12,
        Priority::Notice => 5,
        Priority::Informational | Priority::Debug => 1,
    };
    add(base, format!("highest priority: {}", incident.priority));
    let n = incident.stages.len();
    add(times(6, n.saturating_sub(1), 24), format!("{n} stages of an attack"));
    let (n_alerts, n_detected) = attempts(incident);
    if n_alerts > 0 && n_detected == 0 {
        add(-15, format!("every one of {n_alerts} attempts was refused"));
    } else {
        add(times(2, n_detected, 10), format!("{n_detected} of {n_alerts} attempts succeeded"));
    }
    let late: Vec<&str> = incident
        .stages
        .iter()
        .filter(|stage| stage.n_blocked < stage.n_alerts && LATE.contains(&stage.tactic.as_str()))
        .map(|stage| stage.tactic.as_str())
        .collect();
    add(times(8, late.len(), 16), format!("reached {}", late.join(" and ")));
    let n_reached = incident.reached.len();
    add(times(15, n_reached, 30), format!("spread to {n_reached} further container(s)"));
    let reaches_host =
        incident.container.is_some() && incident.links.iter().any(|l| l.to == "host");
    add(if reaches_host { 25 } else { 0 }, "reached the host".into());
    reach(&incident.blast, &mut add);
    let sum: i32 = parts.iter().map(|part: &ScorePart| i32::from(part.points)).sum();
    let value = u8::try_from(sum.clamp(0, 100)).unwrap_or(100);
    Score { value, parts }
}

/// What the blast radius adds.
fn reach(blast: &[BlastRadius], add: &mut impl FnMut(i8, String)) {
    let count = |of: fn(&BlastRadius) -> usize| blast.iter().map(of).sum::<usize>();
    let n = count(|b| b.credentials.len());
    add(times(2, n, 8), format!("{n} credential(s) within reach"));
    let n = count(|b| b.shared_mounts.iter().filter(|mount| mount.writable).count());
    add(times(3, n, 6), format!("{n} writable folder(s) shared with others"));
    let n = count(|b| b.same_network.len());
    add(times(1, n, 4), format!("{n} container(s) on its network"));
    let n = count(|b| b.same_image.len());
    add(times(1, n, 3), format!("{n} container(s) of its image"));
    let n = count(|b| usize::from(b.host_network));
    add(times(4, n, 4), "has the host's network".into());
    let is_public =
        |c: &&palisade_model::incident::Connection| !c.inbound && is_public(&c.remote.ip());
    let n = blast.iter().flat_map(|b| &b.connections).filter(is_public).count();
    add(times(2, n, 6), format!("{n} connection(s) to the internet"));
}

/// `each` points for each of `n`, at most `most`.
fn times(each: i8, n: usize, most: i8) -> i8 {
    let n = i8::try_from(n).unwrap_or(i8::MAX);
    each.saturating_mul(n).min(most)
}

/// Alerts of priority Warning and above, and those of them that succeeded; all, if there are
/// only lower ones.
fn attempts(incident: &Incident) -> (usize, usize) {
    let of = |least: Priority| {
        let verdicts = incident.timeline.iter().filter_map(move |entry| match &entry.what {
            TimelineEvent::Alert { verdict, priority, .. } if *priority >= least => Some(*verdict),
            _ => None,
        });
        verdicts.fold((0, 0), |(n, detected), verdict| {
            (n + 1, detected + usize::from(verdict == Verdict::Detected))
        })
    };
    match of(Priority::Warning) {
        (0, _) => of(Priority::Debug),
        found => found,
    }
}

/// Whether an address is one of the internet (RFC 6890 lists the others).
fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_documentation()
                || v4.is_broadcast()
                || (a == 100 && (64..128).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            // 2000::/3 is what is routed; 2001:db8::/32 is for documentation.
            first & 0xe000 == 0x2000 && v6.segments()[..2] != [0x2001, 0xdb8]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internet_is_what_is_routed() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_public(&text.parse().unwrap()), expected, "{text}");
        };
        check("8.8.8.8", true);
        check("10.0.0.1", false);
        check("100.64.0.1", false);
        check("100.128.0.1", true);
        check("169.254.169.254", false);
        check("203.0.113.5", false);
        check("2606:4700::1", true);
        check("2001:db8::1", false);
        check("fd00::1", false);
        check("fe80::1", false);
    }

    #[test]
    fn points_do_not_run_over() {
        assert_eq!(times(15, usize::MAX, 30), 30);
        assert_eq!(times(2, 0, 10), 0);
        assert_eq!(times(2, 3, 10), 6);
    }
}
