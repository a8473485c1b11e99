//! The real sensor over stages, and what it saw of one script.

use std::path::Path;
use std::time::{Duration, Instant};

use palisade_agent::detector::load_rules;
use palisade_agent::{Detection, Detector, Source as _};
use palisade_bpf::{CgroupFilter, Options};
use palisade_rules::{ExtraOutput, LoadOptions, RuleMatching, RuleSelection, Selector};
use palisade_sensor::identity::HostPaths;

use super::stage::{Kind, Stage, actor};

const DEADLINE: Duration = Duration::from_mins(2);

/// Opened after each script: when its event has come, so have all before it.
const MARKER: &str = "
- rule: Marker of the test
  desc: The script has ended
  condition: evt.type in (open, openat) and evt.arg.name startswith /marker-of-the-test/
  output: marker %evt.arg.name
  priority: DEBUG
";

pub(crate) struct Watcher {
    detector: Detector,
    stages: Vec<Stage>,
    n_scripts: u64,
    _folder: tempfile::TempDir,
}

/// How rules are loaded here.
#[derive(Default)]
pub(crate) struct Loading<'a> {
    /// Rules that their files turn off are on.
    pub(crate) all_enabled: bool,
    /// Further fields of each alert.
    pub(crate) fields: &'a [&'a str],
}

impl Watcher {
    /// Sets a stage of each kind and watches them with `rules`.
    pub(crate) fn start(kinds: &[Kind], rules: &[(&str, &str)], loading: &Loading<'_>) -> Self {
        let folder =
            tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
        let docker = folder.path().join("docker");
        std::fs::create_dir(&docker).unwrap();
        let actor = actor(folder.path());
        let stages: Vec<Stage> =
            kinds.iter().map(|kind| Stage::new(*kind, &actor, folder.path(), &docker)).collect();
        let detector = detector(rules, loading, &docker, &stages);
        Self { detector, stages, n_scripts: 0, _folder: folder }
    }

    pub(crate) fn stage(&self, kind: Kind) -> &Stage {
        self.stages.iter().find(|stage| stage.kind == kind).unwrap()
    }

    /// Events that the sensor has read.
    pub(crate) fn n_events(&self) -> u64 {
        self.detector.health().n_events
    }

    fn stage_mut(&mut self, kind: Kind) -> &mut Stage {
        self.stages.iter_mut().find(|stage| stage.kind == kind).unwrap()
    }

    /// Runs a script on a stage; what was detected meanwhile, and its exit status.
    #[track_caller]
    pub(crate) fn act(&mut self, kind: Kind, script: &str) -> (Vec<Detection>, i32) {
        let status = self.stage_mut(kind).run(script);
        (self.settle(kind), status)
    }

    /// What was detected up to now.
    #[track_caller]
    pub(crate) fn settle(&mut self, kind: Kind) -> Vec<Detection> {
        self.n_scripts += 1;
        let marker = format!("/marker-of-the-test/{}", self.n_scripts);
        // It does not exist, so the status of this is that of a failure.
        self.stage_mut(kind).run(&format!(": <{marker}"));
        let mut detections = Vec::new();
        let mut has_ended = false;
        let end = Instant::now() + DEADLINE;
        let wanted = format!("marker {marker}");
        while !has_ended {
            assert!(Instant::now() < end, "no `{wanted}`: {:?}", self.detector.health());
            self.detector
                .poll(Duration::from_millis(50), &mut |detection| {
                    if detection.rule.name == "Marker of the test" {
                        has_ended |= detection.output == wanted;
                    } else {
                        detections.push(detection);
                    }
                })
                .unwrap();
        }
        let health = self.detector.health();
        assert!(health.losses.is_empty() && health.n_malformed == 0, "{health:?}");
        detections
    }
}

fn detector(
    rules: &[(&str, &str)],
    loading: &Loading<'_>,
    docker: &Path,
    stages: &[Stage],
) -> Detector {
    let sources = [&[("marker", MARKER)], rules].concat();
    let enable = RuleSelection { enable: true, rules: Selector::Name("*".into()) };
    let fields = loading.fields.iter().map(|name| ((*name).to_string(), format!("%{name}")));
    let options = LoadOptions {
        matching: RuleMatching::All,
        selections: if loading.all_enabled { vec![enable] } else { Vec::new() },
        extra_outputs: vec![ExtraOutput { fields: fields.collect(), ..ExtraOutput::default() }],
        ..LoadOptions::default()
    };
    let (rules, diagnostics) = load_rules(&sources, &options);
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let paths = HostPaths { docker_containers: docker.into(), ..HostPaths::default() };
    let cgroups = CgroupFilter::Only(stages.iter().map(Stage::group_id).collect());
    let options = Options { cgroups, ..Options::default() };
    Detector::start(rules, &options, paths).unwrap().0
}

/// The detections in a line each.
pub(crate) fn shown(detections: &[Detection]) -> String {
    let line = |d: &Detection| {
        let process = d.process.as_ref().map_or("?", |process| process.name.as_str());
        format!("    {} by {process}: {}\n", d.rule.name, d.output)
    };
    detections.iter().map(line).collect()
}
