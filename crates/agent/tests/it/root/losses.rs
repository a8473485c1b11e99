//! A ring that is far too small: what is lost is told, and what is known is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_agent::agent::{INTERNAL_SOURCE, LOSS_RULE};
use palisade_agent::detector::load_rules;
use palisade_agent::journal::read_alerts;
use palisade_agent::{Agent, ContainerFiles, Detector, Notice, ResponseMeans, Settings};
use palisade_bpf::{CgroupFilter, Options};
use palisade_model::{Alert, Priority};
use palisade_policy::{Endpoint, Sink};
use palisade_respond::BpfNetwork;
use palisade_respond::evidence::EvidenceOptions;
use palisade_rules::LoadOptions;
use palisade_sensor::identity::HostPaths;

use crate::support::{Sandbox, is_root, policy, stop_after};

/// What the script may take on an emulated processor.
const SCRIPT_MAX: Duration = Duration::from_secs(90);
/// How long the agent runs at most.
const RUN_MAX: Duration = Duration::from_mins(1);

const RULE: &str = "- rule: opens
  desc: d
  condition: evt.type in (open, openat) and fd.name = /nonexistent/never
  output: o
  priority: INFO
";

#[test]
fn losses_are_alerts_and_the_process_table_is_verified() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("containers");
    std::fs::create_dir(&records).unwrap();
    let mut sandbox = Sandbox::recorded(&records);
    let (rules, _) = load_rules(&[("r.yaml", RULE)], &LoadOptions::default());
    let options = Options {
        bulk_ring_bytes: 4096,
        priority_ring_bytes: 4096,
        cgroups: CgroupFilter::Only(vec![sandbox.group.id().unwrap()]),
        ..Options::default()
    };
    let paths = HostPaths { palisade_containers: records, ..HostPaths::default() };
    let (mut source, _) = Detector::start(rules, &options, paths).unwrap();
    let mut settings = Settings::new(folder.path(), "host", "palisade test");
    let file = folder.path().join("sink.jsonl");
    let to: Endpoint = format!("file:{}", file.display()).parse().unwrap();
    settings.sinks = vec![Sink::new("file", to)];
    // The policy's lowest priority is not about what the agent says of itself.
    let mut policy = policy(&[]);
    policy.runtime.priority_min = Priority::Emergency;
    let means = ResponseMeans {
        evidence: folder.path().join("evidence"),
        options: EvidenceOptions::default(),
        network: std::sync::Arc::new(BpfNetwork::default()),
        signer: None,
        locate: Box::new(|_| ContainerFiles::default()),
    };
    let (agent, _) = Agent::open(settings, policy, means).unwrap();

    // Hundreds of programs at once, each of some two thousand bytes in the ring. Nobody reads
    // until all is done: a reader that shares one slow processor with the script may keep up.
    let done = folder.path().join("done");
    sandbox.run_bash(&format!(
        "for i in {{1..300}}; do /bin/true & done; wait\n\
         for i in {{1..2000}}; do : <\"/nonexistent/$i\"; done 2>/dev/null\n\
         : >{}; sleep 60\n",
        done.display()
    ));
    let begun = Instant::now();
    while !done.exists() {
        assert!(begun.elapsed() < SCRIPT_MAX, "the script is not over after {SCRIPT_MAX:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_after(&stop, RUN_MAX);
    let mut alerts: Vec<(Instant, Alert)> = Vec::new();
    let mut verified = None;
    let status = agent
        .run(&mut source, &stop, &mut |notice| {
            match notice {
                Notice::Alert { alert, incident } => {
                    assert_eq!(incident, "", "it belongs to no incident");
                    alerts.push((Instant::now(), alert.clone()));
                }
                Notice::Problem(text) if text.contains("were compared with /proc") => {
                    verified = Some(text);
                }
                _ => {}
            }
            let is_done = verified.is_some()
                && alerts.iter().any(|(_, alert)| alert.output.contains("class=open"));
            if is_done {
                stop.store(true, Ordering::Relaxed);
            }
        })
        .unwrap();
    assert!(verified.is_some(), "{alerts:?}");

    assert!(!alerts.is_empty());
    let mut by_kind: std::collections::BTreeMap<String, Vec<&(Instant, Alert)>> =
        std::collections::BTreeMap::new();
    for entry in &alerts {
        let alert = &entry.1;
        assert_eq!((alert.rule.as_str(), alert.source.as_str()), (LOSS_RULE, INTERNAL_SOURCE));
        assert_eq!(alert.priority, Priority::Error, "{}", alert.output);
        assert_eq!(alert.output_fields["loss.side"], "kernel");
        assert!(alert.output_fields["loss.lost"].as_u64().unwrap() > 0);
        let key =
            format!("{} {}", alert.output_fields["loss.class"], alert.output_fields["loss.cause"]);
        by_kind.entry(key).or_default().push(entry);
    }
    // The counters of the kernel and those of the alerts agree, class by class.
    let lost = |class: &str| -> u64 {
        let of_class =
            alerts.iter().filter(|(_, alert)| alert.output_fields["loss.class"] == class);
        of_class.map(|(_, alert)| alert.output_fields["loss.lost"].as_u64().unwrap()).sum()
    };
    for (class, n) in &status.source.losses {
        assert_eq!(lost(class), *n, "{class}: {by_kind:?}");
    }
    assert!(
        status.source.losses.keys().any(|class| ["exec", "fork", "exit"].contains(&class.as_str()))
    );
    // One for each kind in ten seconds, but for the last word; and a busy machine may show one late.
    for (kind, of_it) in &by_kind {
        for pair in of_it.windows(2).take(of_it.len().saturating_sub(2)) {
            assert!(pair[1].0 - pair[0].0 > Duration::from_secs(5), "{kind}");
        }
    }

    let (stored, _) = read_alerts(folder.path()).unwrap();
    assert_eq!(stored.len(), alerts.len());
    let sent = std::fs::read_to_string(&file).unwrap();
    assert!(sent.matches(LOSS_RULE).count() >= alerts.len(), "{sent}");
    assert_eq!((status.n_alerts_pending, status.n_incidents_open), (0, 0));
}
