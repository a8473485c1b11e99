//! Stages of an intrusion: the tactics of ATT&CK that its alerts belong to.

use std::collections::BTreeSet;

use palisade_model::incident::Stage;
use palisade_model::{Alert, Verdict};

use crate::report::{TACTICS, technique};

/// ATT&CK technique identifiers among `tags`: `T1059` or `T1059.004`.
pub fn techniques(tags: &[String]) -> impl Iterator<Item = &str> {
    tags.iter().map(String::as_str).filter(|tag| is_technique(tag))
}

fn is_technique(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix('T') else {
        return false;
    };
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    match rest.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

/// Index in [`TACTICS`] of the tactic that a tag of Falco's names: `mitre_lateral_movement`.
fn tactic_of_tag(tag: &str) -> Option<usize> {
    let name = tag.strip_prefix("mitre_")?;
    TACTICS.iter().position(|tactic| {
        tactic.len() == name.len()
            && tactic
                .bytes()
                .zip(name.bytes())
                .all(|(a, b)| (a == b' ' && b == b'_') || a.eq_ignore_ascii_case(&b))
    })
}

fn tactic_of_technique(id: &str) -> Option<usize> {
    let (_, tactic) = technique(id)?;
    TACTICS.iter().position(|known| *known == tactic)
}

/// Adds `alert` to `stages`. A rule's own word on its tactics goes before what is usual for
/// its techniques.
pub(super) fn add(stages: &mut Vec<Stage>, alert: &Alert) {
    let mut tactics: BTreeSet<usize> =
        alert.tags.iter().filter_map(|tag| tactic_of_tag(tag)).collect();
    if tactics.is_empty() {
        tactics = techniques(&alert.tags).filter_map(tactic_of_technique).collect();
    }
    for tactic in tactics {
        let place = |stage: &Stage| TACTICS.iter().position(|known| *known == stage.tactic);
        let at = match stages.binary_search_by_key(&Some(tactic), place) {
            Ok(at) => at,
            Err(at) => {
                let stage = Stage {
                    tactic: TACTICS[tactic].to_string(),
                    first: alert.time,
                    n_alerts: 0,
                    n_blocked: 0,
                    techniques: Vec::new(),
                };
                stages.insert(at, stage);
                at
            }
        };
        let stage = &mut stages[at];
        stage.first = stage.first.min(alert.time);
        stage.n_alerts += 1;
        stage.n_blocked += u64::from(alert.verdict() == Verdict::Blocked);
        let own = |id: &&str| tactic_of_technique(id).is_none_or(|of| of == tactic);
        for id in techniques(&alert.tags).filter(own) {
            if let Err(at) = stage.techniques.binary_search_by(|known| known.as_str().cmp(id)) {
                stage.techniques.insert(at, id.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alert;

    #[test]
    fn techniques_are_told_from_other_tags() {
        let tags = ["T1059", "T1059.004", "t1059", "T105", "T1059.4", "TA0002", "network"];
        let tags: Vec<String> = tags.map(String::from).to_vec();
        assert_eq!(techniques(&tags).collect::<Vec<_>>(), ["T1059", "T1059.004"]);
    }

    #[test]
    fn stages_stand_in_the_order_of_a_kill_chain() {
        let mut stages = Vec::new();
        let mut check = |tags: &[&str], expected: &str| {
            let mut alert = alert("Rule", None);
            alert.tags = tags.iter().map(ToString::to_string).collect();
            add(&mut stages, &alert);
            let text: Vec<String> = stages
                .iter()
                .map(|s| format!("{} {} {}", s.tactic, s.n_alerts, s.techniques.join(" ")))
                .collect();
            assert_eq!(text.join(", "), expected, "{tags:?}");
        };
        check(&["mitre_exfiltration", "T1041"], "Exfiltration 1 T1041");
        check(&["T1059.004"], "Execution 1 T1059.004, Exfiltration 1 T1041");
        check(&["mitre_execution", "T1105"], "Execution 2 T1059.004, Exfiltration 1 T1041");
        check(&["mitre_nothing", "file"], "Execution 2 T1059.004, Exfiltration 1 T1041");
        check(
            &["mitre_command_and_control", "T1105", "T9999"],
            "Execution 2 T1059.004, Command and Control 1 T1105 T9999, Exfiltration 1 T1041",
        );
    }

    #[test]
    fn every_listed_technique_has_a_known_tactic() {
        for id in ["T1003", "T1059.004", "T1611", "T1486", "T1018", "T1190", "T1560.001"] {
            assert!(tactic_of_technique(id).is_some(), "{id}");
        }
    }
}
