//! What the watcher of inventories finds becomes alerts, and is acknowledged when they are safe.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palisade_agent::agent::OnNotice;
use palisade_agent::inventories::{
    ADVISORIES_SOURCE, IMAGES_MAX, Inventories, Looked, MANY_VULNERABLE_RULE, OnImage,
    VULNERABLE_RULE, start,
};
use palisade_agent::journal::read_alerts;
use palisade_agent::{Detection, Notice, Source, SourceError, SourceHealth};
use palisade_base::{Digest, Timestamp};
use palisade_model::finding::{Vulnerability, VulnerabilityStatus};
use palisade_model::package::Subject;
use palisade_model::{Alert, Container, Engine, ImageIdentity, Priority, Severity};
use palisade_policy::Action;

use crate::support::{Remembered, open, policy};

const RUN_MAX: Duration = Duration::from_mins(1);

/// What a look is to give: new things in so many images, or a failure.
type Look = Result<u32, &'static str>;

/// What was asked of the inventories, and with which outcome.
type Asked = Arc<Mutex<Vec<String>>>;

struct Fake {
    looks: Vec<Look>,
    asked: Asked,
    state: PathBuf,
}

fn digest(n: u32) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn vulnerability(n: u32) -> Vulnerability {
    Vulnerability {
        id: format!("CVE-2026-{n}"),
        aliases: Vec::new(),
        package: "libx".into(),
        purl: "pkg:deb/debian/libx@1".into(),
        source: None,
        installed: "1".into(),
        fixed: Some("2".into()),
        severity: Severity::Critical,
        title: String::new(),
        feed: "osv/Debian".into(),
        known_exploited: false,
        epss: None,
        status: VulnerabilityStatus::Affected,
        cvss: None,
        cvss_score: None,
        statements: Vec::new(),
        symbols: None,
    }
}

impl Inventories for Fake {
    fn look(&mut self, on_image: OnImage<'_>) -> Result<Looked, String> {
        let look = if self.looks.is_empty() { Ok(0) } else { self.looks.remove(0) };
        self.asked.lock().unwrap().push(format!("look {look:?}"));
        let n_images = look.map_err(str::to_string)?;
        for n in 0..n_images {
            let subject =
                Subject { name: format!("shop-{n}"), digest: Some(digest(n)), platform: None };
            on_image(&subject, vec![vulnerability(n)]);
        }
        let time = Timestamp::from_nanos(7);
        Ok(Looked { time, n_inventories: 100, ..Looked::default() })
    }

    fn acknowledge(&mut self, time: Timestamp) -> Result<(), String> {
        assert_eq!(time, Timestamp::from_nanos(7));
        let (alerts, _) = read_alerts(&self.state).unwrap();
        self.asked.lock().unwrap().push(format!("acknowledged with {}", alerts.len()));
        Ok(())
    }
}

/// Has no events; replaces the database whenever another look has ended, and ends with the last.
struct Quiet {
    database: PathBuf,
    asked: Asked,
    n_looks: usize,
    n_replaced: usize,
    begun: Instant,
}

impl Source for Quiet {
    fn poll(
        &mut self,
        _timeout: Duration,
        _sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError> {
        assert!(self.begun.elapsed() < RUN_MAX, "{:?}", self.asked.lock().unwrap());
        std::thread::sleep(Duration::from_millis(2));
        let asked = self.asked.lock().unwrap();
        let is_settled =
            |entry: &String| entry.contains("Err") || entry.starts_with("acknowledged");
        let n_settled = asked.iter().filter(|entry| is_settled(entry)).count();
        if n_settled > self.n_replaced {
            self.n_replaced += 1;
            replace(&self.database, self.n_replaced);
        }
        if n_settled >= self.n_looks { Err(SourceError::Ended) } else { Ok(0) }
    }

    fn health(&self) -> SourceHealth {
        SourceHealth::default()
    }

    fn containers(&self) -> Vec<Arc<Container>> {
        let image = ImageIdentity { reference: "shop:1".into(), digest: Some(digest(1)) };
        vec![Arc::new(Container {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            engine: Engine::Docker,
            image: Some(image),
            policy: None,
            pod: None,
            cgroup: None,
            init_pid: None,
        })]
    }
}

fn replace(database: &Path, n: usize) {
    let new = database.with_extension("new");
    std::fs::write(&new, "x".repeat(n + 1)).unwrap();
    std::fs::rename(&new, database).unwrap();
}

/// Lets an agent run until all of `looks` have ended.
fn watch(state: &Path, looks: Vec<Look>, on_notice: OnNotice<'_>) -> Vec<String> {
    // A response to everything critical, and the highest of lowest priorities.
    let mut policy = policy(&[Action::Kill]);
    policy.runtime.priority_min = Priority::Emergency;
    let (mut agent, _) = open(state, policy, &Remembered::default());
    let (asked, database) = (Asked::default(), state.join("advisories.db"));
    replace(&database, 0);
    let n_looks = looks.len();
    let fake = Fake { looks, asked: Arc::clone(&asked), state: state.to_path_buf() };
    agent.watch_inventories(start(&database, Box::new(fake)).unwrap());
    let mut source = Quiet {
        database,
        asked: Arc::clone(&asked),
        n_looks,
        n_replaced: 0,
        begun: Instant::now(),
    };
    let status = agent.run(&mut source, &AtomicBool::new(false), on_notice).unwrap();
    assert_eq!((status.n_alerts_pending, status.n_incidents_open), (0, 0));
    assert_eq!((status.counts.n_responses, status.counts.n_responses_refused), (0, 0));
    let asked = asked.lock().unwrap();
    asked.iter().take_while(|entry| *entry != "look Ok(0)").cloned().collect()
}

#[test]
fn a_look_is_acknowledged_when_its_alerts_are_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (mut alerts, mut problems) = (Vec::<Alert>::new(), Vec::<String>::new());
    let many = IMAGES_MAX as u32 + 1;
    let looks = vec![Ok(6), Err("no rights"), Err("no rights"), Ok(many)];
    let asked = watch(folder.path(), looks, &mut |notice| match notice {
        Notice::Alert { alert, incident } => {
            assert_eq!(incident, "");
            alerts.push(alert.clone());
        }
        Notice::Problem(text) => problems.push(text),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        asked,
        [
            "look Ok(6)",
            "acknowledged with 6",
            "look Err(\"no rights\")",
            "look Err(\"no rights\")",
            "look Ok(51)",
            "acknowledged with 7",
        ]
    );
    assert_eq!(problems, ["no rights"], "said once");
    let rules: Vec<&str> = alerts.iter().map(|alert| alert.rule.as_str()).collect();
    assert_eq!(rules[..6], [VULNERABLE_RULE; 6]);
    assert_eq!(rules[6..], [MANY_VULNERABLE_RULE]);
    for alert in &alerts {
        assert_eq!(
            (alert.source.as_str(), alert.priority),
            (ADVISORIES_SOURCE, Priority::Critical)
        );
    }
    let web = "containers=web): CVE-2026-1 in libx 1 (fixed in 2, critical)";
    assert!(alerts[1].output.ends_with(web), "{}", alerts[1].output);
    assert!(alerts[2].output.contains("containers=none)"), "{}", alerts[2].output);
    assert!(alerts[6].output.starts_with("51 images became vulnerable (new=51 "));

    // A run that finds them in its journal has nothing left to do about them.
    let again = watch(folder.path(), vec![Ok(0)], &mut |notice| panic!("{notice:?}"));
    assert_eq!(again, [""; 0]);
}
