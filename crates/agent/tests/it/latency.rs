//! How long a response takes from the system call on. Measurements, not tests:
//! `scripts/bench-respond.sh` runs them.

mod root {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use palisade_agent::detector::load_rules;
    use palisade_agent::{
        Agent, BUILTIN_RULES, ContainerFiles, Detector, Notice, ResponseMeans, Settings,
    };
    use palisade_base::Timestamp;
    use palisade_bpf::{CgroupFilter, Options};
    use palisade_policy::Action;
    use palisade_respond::BpfNetwork;
    use palisade_respond::evidence::EvidenceOptions;
    use palisade_rules::LoadOptions;
    use palisade_sensor::identity::HostPaths;
    use palisade_sys::schedule;

    use crate::support::{Sandbox, is_root, policy};

    /// Containers that are attacked, one after the other.
    const N_RUNS: usize = 500;

    fn shown(name: &str, mut times: Vec<Duration>) {
        times.sort();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
        eprintln!(
            "measured: {name}: p50 {:.3} ms, p99 {:.3} ms, most {:.3} ms over {} runs",
            at(50).as_secs_f64() * 1e3,
            at(99).as_secs_f64() * 1e3,
            at(100).as_secs_f64() * 1e3,
            times.len()
        );
    }

    #[test]
    #[ignore = "a measurement: scripts/bench-respond.sh"]
    fn from_the_call_to_the_frozen_container_without_network() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("containers");
        std::fs::create_dir(&records).unwrap();
        let mut sandboxes: Vec<Sandbox> =
            (0..N_RUNS).map(|_| Sandbox::recorded(&records)).collect();
        let ids: Vec<String> = sandboxes.iter().map(|s| s.container.id.clone()).collect();
        let (rules, diagnostics) = load_rules(&BUILTIN_RULES, &LoadOptions::default());
        assert!(!diagnostics.has_errors(), "{diagnostics}");
        let paths = HostPaths { palisade_containers: records, ..HostPaths::default() };
        let cgroups = sandboxes.iter().map(|s| s.group.id().unwrap()).collect();
        let options = Options { cgroups: CgroupFilter::Only(cgroups), ..Options::default() };
        let (mut source, _) = Detector::start(rules, &options, paths).unwrap();
        let means = ResponseMeans {
            evidence: folder.path().join("evidence"),
            options: EvidenceOptions::default(),
            network: Arc::new(BpfNetwork::default()),
            signer: None,
            sealing: None,
            locate: Box::new(|_| ContainerFiles::default()),
        };
        let actions = policy(&[Action::Freeze, Action::Isolate]);
        let settings = Settings::new(folder.path(), "host", "palisade test");
        let agent = Agent::open(settings, actions, means).unwrap().0;
        let stop = Arc::new(AtomicBool::new(false));
        let (isolated, next) = channel::<()>();
        let stopper = Arc::clone(&stop);
        let target = folder.path().join("release_agent");
        let attacker = std::thread::spawn(move || {
            for sandbox in &mut sandboxes {
                sandbox.run_bash(&format!("sleep 0.02; : >{}\n", target.display()));
                // One that is late is left out of the figures, and counted.
                let _late = next.recv_timeout(Duration::from_secs(5));
                let _ = sandbox.group.kill(Duration::from_secs(5));
            }
            stopper.store(true, Ordering::Relaxed);
            sandboxes
        });
        // As `watch` does, unless told otherwise.
        let _refused = schedule::set(schedule::Class::RealTime);
        let mut seen: BTreeMap<String, Timestamp> = BTreeMap::new();
        let (mut frozen, mut cut, mut alerted) = (Vec::new(), Vec::new(), Vec::new());
        let mut current = None;
        agent
            .run(&mut source, &stop, &mut |notice| match notice {
                Notice::Alert { alert, incident } if alert.rule.contains("kernel helper") => {
                    seen.insert(incident.to_string(), alert.time);
                    alerted.push(alert.latency());
                    current = Some(incident.to_string());
                }
                Notice::Action { incident, outcome } => {
                    let Some(time) = seen.get(incident) else { return };
                    let ended = outcome.started + Duration::from_nanos(outcome.duration_ns);
                    assert!(outcome.is_done(), "{outcome:?}");
                    match outcome.action {
                        Action::Freeze if current.as_deref() == Some(incident) => {
                            frozen.push(ended.since(*time));
                            current = None;
                        }
                        Action::Isolate => {
                            cut.push(ended.since(*time));
                            seen.remove(incident);
                            let _ = isolated.send(());
                        }
                        _ => {}
                    }
                }
                _ => {}
            })
            .unwrap();
        let sandboxes = attacker.join().unwrap();
        drop(sandboxes);
        BpfNetwork::default().sweep(&|id| !ids.iter().any(|own| own == id)).unwrap();
        assert!(frozen.len() >= N_RUNS * 99 / 100, "{} of {N_RUNS} runs", frozen.len());
        shown("from the system call to the alert", alerted);
        shown("from the system call to the frozen container", frozen);
        shown("from the system call to the cut network", cut);
    }
}
