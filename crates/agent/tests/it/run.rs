use std::sync::atomic::AtomicBool;

use palisade_model::alert::Outcome;
use palisade_model::{Container, Engine, IncidentState, Priority};

use crate::support::{Remembered, Script, detection, line, open, policy};

fn container(id: &str) -> Container {
    Container {
        id: id.into(),
        name: "web".into(),
        engine: Engine::Docker,
        image: None,
        policy: None,
        pod: None,
        cgroup: None,
        init_pid: None,
    }
}

#[test]
fn alerts_are_journalled_before_they_are_shown_and_kept_as_incidents() {
    let folder = tempfile::tempdir().unwrap();
    let network = Remembered::default();
    let (agent, resumed) = open(folder.path(), policy(&[]), &network);
    assert_eq!(resumed, palisade_agent::Resumed::default());
    let (web, db) = (container("web-0000000001"), container("db-00000000002"));
    let mut refused = detection("Shell", Priority::Warning, Some(&web));
    refused.outcome = Outcome::Failed { errno: 1 };
    let batches = vec![
        vec![detection("Shell", Priority::Warning, Some(&web)), refused],
        vec![detection("Chatter", Priority::Debug, Some(&web))],
        vec![detection("Shell", Priority::Warning, Some(&web))],
        vec![detection("Read", Priority::Error, Some(&web))],
        vec![detection("Shell", Priority::Warning, Some(&db))],
    ];
    let mut lines = Vec::new();
    let journal = folder.path().join("alerts.jsonl");
    let status = agent
        .run(&mut Script { batches }, &AtomicBool::new(false), &mut |notice| {
            if let palisade_agent::Notice::Alert { alert, .. } = &notice {
                let text = std::fs::read_to_string(&journal).unwrap();
                assert!(text.contains(&alert.id), "journalled before shown");
            }
            lines.push(line(&notice));
        })
        .unwrap();
    assert_eq!(
        lines,
        ["alert Shell", "alert Shell", "alert Read", "alert Shell", "folded Shell x1"]
    );
    let counts = status.counts;
    assert_eq!(counts.n_detections, 6);
    assert_eq!((counts.n_alerts, counts.n_folded, counts.n_below_priority), (4, 1, 1));
    assert_eq!(status.n_alerts_pending, 0, "all incidents are on the disk");
    assert_eq!(status.source.n_events, 7);
    assert!(status.memory_bytes.unwrap() > 0);
    assert!(folder.path().join("status.json").exists());

    let (agent, resumed) = open(folder.path(), policy(&[]), &network);
    assert_eq!((resumed.n_incidents, resumed.n_alerts), (2, 0));
    let first = agent.incidents().next().unwrap();
    assert_eq!(first.state, IncidentState::Open);
    assert_eq!(first.priority, Priority::Error);
    assert_eq!(first.timeline.len(), 3);
    assert_eq!(first.techniques, ["T1059.004"]);
}

#[test]
fn a_response_without_a_container_is_refused_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let all = policy(&palisade_policy::Action::ALL);
    let (agent, _) = open(folder.path(), all, &Remembered::default());
    let batches = vec![vec![detection("Shell", Priority::Critical, None)]];
    let mut lines = Vec::new();
    let status = agent
        .run(&mut Script { batches }, &AtomicBool::new(false), &mut |n| lines.push(line(&n)))
        .unwrap();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("is not about a container"));
    assert_eq!((status.counts.n_responses, status.counts.n_responses_refused), (0, 1));
    assert_eq!(status.n_alerts_pending, 0);
}

#[test]
fn a_second_agent_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let network = Remembered::default();
    let first = open(folder.path(), policy(&[]), &network);
    let opened = std::panic::catch_unwind(|| open(folder.path(), policy(&[]), &network));
    assert!(opened.is_err());
    drop(first);
}

mod root {
    use std::io::{BufRead as _, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use palisade_agent::{Notice, Source};
    use palisade_model::{Container, IncidentState, Priority};
    use palisade_policy::Action;
    use palisade_respond::bundle::verify;

    use crate::support::{Remembered, Sandbox, Script, detection, is_root, line, open, policy};

    fn bundles(state: &Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(state.join("evidence")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_critical_alert_is_answered_while_watching_goes_on() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut sandbox = Sandbox::sleeping();
        let network = Remembered::default();
        let (agent, _) = open(folder.path(), policy(&Action::ALL), &network);
        let container = &sandbox.container;
        let batches = vec![
            vec![detection("Read", Priority::Warning, Some(container))],
            vec![detection("Reverse shell", Priority::Critical, Some(container))],
            vec![detection("Another", Priority::Critical, Some(container))],
        ];
        let mut lines = Vec::new();
        let mut freeze_ns = 0;
        let status = agent
            .run(&mut Script { batches }, &AtomicBool::new(false), &mut |notice| {
                if let Notice::Action { outcome, .. } = &notice
                    && outcome.action == Action::Freeze
                {
                    freeze_ns = outcome.duration_ns;
                    // Frozen before the alert is shown.
                    assert!(sandbox.group.is_frozen().unwrap());
                }
                lines.push(line(&notice));
            })
            .unwrap();
        let position = |text: &str| {
            lines.iter().position(|l| l == text).unwrap_or_else(|| panic!("{text}: {lines:#?}"))
        };
        assert!(position("alert Reverse shell") < position("response stop"));
        assert!(position("response stop") < position("action freeze Done"));
        assert!(position("action isolate Done") < position("action evidence Done"));
        assert!(position("action evidence Done") < position("action kill Done"));
        assert!(position("action kill Done") < position("incident Contained"));
        position("alert Another");
        assert_eq!(status.counts.n_responses, 1, "the second critical alert needs no other");
        assert!(sandbox.is_dead());
        eprintln!("freeze on the fast path: {} µs", freeze_ns / 1000);
        let bundle = &bundles(folder.path())[0];
        let check = |bytes: &[u8], signature: &[u8]| {
            if bytes[..8] == *signature { Ok(()) } else { Err("wrong".into()) }
        };
        let verified = verify(bundle, Some(&check)).unwrap();
        assert!(verified.manifest.case.frozen);
        assert!(verified.manifest.items.iter().any(|i| i.path == "context/000-alert.json"));
        let (agent, resumed) = open(folder.path(), policy(&Action::ALL), &network);
        assert_eq!((resumed.n_alerts, resumed.n_plans), (0, 0));
        assert_eq!(agent.incidents().next().unwrap().state, IncidentState::Contained);
    }

    /// Raises an alert every two milliseconds, of which the third is critical.
    struct Endless(Container, u64);
    impl Source for Endless {
        fn poll(
            &mut self,
            _: Duration,
            sink: &mut dyn FnMut(palisade_agent::Detection),
        ) -> Result<usize, palisade_agent::SourceError> {
            self.1 += 1;
            let priority = if self.1 == 3 { Priority::Critical } else { Priority::Warning };
            sink(detection(&format!("rule {}", self.1), priority, Some(&self.0)));
            std::thread::sleep(Duration::from_millis(2));
            Ok(1)
        }
        fn health(&self) -> palisade_agent::SourceHealth {
            palisade_agent::SourceHealth::default()
        }
    }

    /// Raises alerts as fast as it can about the container described in its folder, until
    /// it is killed. Only started by the test below.
    #[test]
    #[ignore = "started by killed_mid_attack"]
    fn victim() {
        let state = std::env::current_dir().unwrap();
        let Ok(text) = std::fs::read(state.join("container.json")) else {
            return;
        };
        let container: Container = serde_json::from_slice(&text).unwrap();
        let (agent, _) = open(&state, policy(&Action::ALL), &Remembered::default());
        let never = AtomicBool::new(false);
        agent
            .run(&mut Endless(container, 0), &never, &mut |notice| {
                if let Notice::Alert { alert, .. } = &notice {
                    // At once: what is killed within a line must not leave half of one.
                    let line = format!("shown {}\n", alert.id);
                    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
                }
            })
            .unwrap();
    }

    #[test]
    fn killed_mid_attack_no_alert_is_lost_and_the_policy_is_carried_out() {
        if !is_root() {
            return;
        }
        for delay_ms in [0, 2, 5, 10, 20, 50, 150] {
            let folder = tempfile::tempdir().unwrap();
            let mut sandbox = Sandbox::sleeping();
            let text = serde_json::to_vec(&sandbox.container).unwrap();
            std::fs::write(folder.path().join("container.json"), text).unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "run::root::victim", "--ignored", "--nocapture"])
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            let mut shown = Vec::new();
            // The third alert is the critical one; the kill strikes somewhere after it.
            while shown.len() < 3 {
                let line = lines.next().unwrap().unwrap();
                shown.extend(line.strip_prefix("shown ").map(str::to_string));
            }
            std::thread::sleep(Duration::from_millis(delay_ms));
            child.kill().unwrap();
            child.wait().unwrap();
            for line in lines.map_while(Result::ok) {
                shown.extend(line.strip_prefix("shown ").map(str::to_string));
            }

            let network = Remembered::default();
            let (agent, resumed) = open(folder.path(), policy(&Action::ALL), &network);
            eprintln!("killed after {delay_ms} ms: {} shown, {resumed:?}", shown.len());
            let ends = Instant::now() + Duration::from_mins(1);
            let mut problems = Vec::new();
            let batches = vec![Vec::new(); 20];
            agent
                .run(&mut Script { batches }, &AtomicBool::new(false), &mut |notice| {
                    if let Notice::Problem(text) = &notice {
                        problems.push(text.clone());
                    }
                })
                .unwrap();
            assert!(Instant::now() < ends);
            assert_eq!(problems, [""; 0], "killed after {delay_ms} ms");
            assert!(sandbox.is_dead(), "killed after {delay_ms} ms");
            let (agent, resumed) = open(folder.path(), policy(&[]), &network);
            assert_eq!((resumed.n_alerts, resumed.n_plans), (0, 0));
            let incidents: Vec<_> = agent.incidents().collect();
            assert_eq!(incidents.len(), 1);
            assert_eq!(incidents[0].state, IncidentState::Contained);
            let timeline = serde_json::to_string(&incidents[0].timeline).unwrap();
            for id in &shown {
                assert!(timeline.contains(id), "alert {id} was shown and is lost");
            }
            for action in ["freeze", "isolate", "evidence", "kill"] {
                assert!(timeline.contains(&format!("\"action\":\"{action}\"")), "{action}");
            }
            verify(&bundles(folder.path())[0], None).unwrap();
        }
    }
}
