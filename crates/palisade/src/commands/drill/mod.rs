//! `palisade drill`: benign attacks on a container of the drill's own.
//!
//! The drill makes its container, runs scripts in it, reads the alerts about it, freezes it
//! to see how soon it could be contained, and removes it. It acts upon no other: every act
//! names the id that its own `palisade run` returned.

mod report;
mod scenarios;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use palisade_agent::journal::read_alerts;
use palisade_base::Timestamp;
use palisade_base::tree::remove_tree;
use palisade_model::incident::{ActionResult, TimelineEvent};
use palisade_model::{Alert, Container};
use palisade_respond::Target;
use palisade_respond::containment::freeze;
use palisade_sys::Hierarchies;

use self::report::{DrillReport, Row, SCHEMA, Verdict};
use self::scenarios::{PRELUDE, SCENARIOS, Scenario};
use super::Context;
use crate::cli::{self, DrillFormat, DrillRun, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// How long the drill's own watch may take to begin.
const WATCH_DEADLINE: Duration = Duration::from_mins(1);
/// How often alerts are looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long the freeze may take.
const FREEZE_DEADLINE: Duration = Duration::from_millis(500);
/// A script's way of saying that the image lacks what it takes.
const LACKS: i32 = 77;
/// Bytes of the last drill's report.
const REPORT_BYTES_MAX: u64 = 16 << 20;

/// Carries out a `palisade drill` command.
pub(crate) fn drill(context: &Context<'_>, command: &cli::Drill) -> Result<Exit, Failure> {
    match command {
        cli::Drill::List(args) => list(context, args),
        cli::Drill::Run(args) => run(context, args),
    }
}

fn list(context: &Context<'_>, args: &cli::Ps) -> Result<Exit, Failure> {
    let rows: Vec<Vec<String>> = SCENARIOS
        .iter()
        .map(|scenario| {
            vec![
                scenario.id.to_string(),
                scenario.technique.to_string(),
                if scenario.restricted_stops { "yes" } else { "-" }.to_string(),
                scenario.rules.join(" | "),
                scenario.title.to_string(),
            ]
        })
        .collect();
    let text = match args.format {
        ListFormat::Json => {
            let list: Vec<_> = SCENARIOS
                .iter()
                .map(|scenario| {
                    serde_json::json!({
                        "scenario": scenario.id, "title": scenario.title,
                        "technique": scenario.technique, "rules": scenario.rules,
                        "restricted_stops": scenario.restricted_stops,
                    })
                })
                .collect();
            format!(
                "{:#}\n",
                serde_json::json!({"schema": "palisade.dev/drill-scenarios/v1", "scenarios": list})
            )
        }
        ListFormat::Tsv => tsv(&rows),
        ListFormat::Table => {
            columns(&["SCENARIO", "TECHNIQUE", "RESTRICTED STOPS", "SEEN BY", "WHAT"], &rows)
        }
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// The scenarios that were asked for.
fn wanted(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            SCENARIOS.iter().find(|scenario| scenario.id == name).ok_or_else(|| {
                let ids = SCENARIOS.iter().map(|scenario| scenario.id);
                let hint = match palisade_base::suggest::nearest(name, ids) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`palisade drill list` names them".into(),
                };
                Failure::message(Exit::Usage, format!("no scenario `{name}`")).with_hint(hint)
            })
        })
        .collect()
}

fn run(context: &Context<'_>, args: &DrillRun) -> Result<Exit, Failure> {
    let wanted = wanted(&args.scenarios)?;
    let mut field = Field::new(context, args)?;
    let mut report = DrillReport {
        schema: SCHEMA.into(),
        started: Timestamp::now(),
        image: args.image.clone(),
        policy: args.policy.clone(),
        running: args.running,
        rows: Vec::new(),
        changes: Vec::new(),
    };
    for scenario in wanted {
        context.terminal.progress(&format!("{}: {}", scenario.id, scenario.title));
        report.rows.push(field.carry_out(scenario)?);
    }
    drop(field);
    let kept = context.global.data_dir.join("drills");
    if let Some(last) = last(&kept) {
        report.compare(&last);
    }
    keep(&kept, &report)?;
    let text = match args.format {
        DrillFormat::Text => report.text(),
        DrillFormat::Json => {
            serde_json::to_string_pretty(&report).context("write the report")? + "\n"
        }
        DrillFormat::Junit => report.junit(),
        DrillFormat::Html => report.html(),
    };
    context.terminal.result_to(args.output.as_deref(), &text)?;
    let is_bad = report.rows.iter().any(|row| row.verdict.is_bad());
    Ok(if is_bad { Exit::Refused } else { Exit::Clean })
}

fn last(folder: &Path) -> Option<DrillReport> {
    let file = std::fs::File::open(folder.join("last.json")).ok()?;
    let bytes = palisade_base::read_bounded(file, "report", REPORT_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn keep(folder: &Path, report: &DrillReport) -> Result<(), Failure> {
    let bytes = serde_json::to_vec_pretty(report).context("write the report")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| palisade_base::fs::write_atomic(&folder.join("last.json"), &bytes, 0o600))
        .with_context(|| format!("keep the report in `{}`", folder.display()))?;
    Ok(())
}

/// The place of the drill: its container, and the watch that looks.
struct Field<'a> {
    args: &'a DrillRun,
    program: PathBuf,
    data: PathBuf,
    run: PathBuf,
    /// Folders of its own, which go with it.
    own: Option<(tempfile::TempDir, PathBuf)>,
    watch: Option<Child>,
    name: String,
    container: Option<Container>,
    hierarchies: Hierarchies,
}

impl<'a> Field<'a> {
    fn new(context: &Context<'_>, args: &'a DrillRun) -> Result<Self, Failure> {
        let program = std::env::current_exe().context("find this program")?;
        let hierarchies = Hierarchies::detect().or_exit(Exit::Incomplete)?;
        let name = format!("drill-{:x}", Timestamp::now().as_nanos());
        let mut field = Self {
            args,
            program,
            data: context.global.data_dir.clone(),
            run: context.global.run_dir.clone(),
            own: None,
            watch: None,
            name,
            container: None,
            hierarchies,
        };
        if !args.running {
            let folder = tempfile::Builder::new()
                .prefix("palisade-drill-")
                .tempdir_in("/var/tmp")
                .context("make the drill's folder")?;
            field.data = folder.path().join("data");
            field.run = Path::new("/run").join(format!("palisade-{}", field.name));
            field.own = Some((folder, field.run.clone()));
            std::fs::create_dir_all(&field.data).context("make the drill's folder")?;
            context.lend_database(&field.data).context("lend the advisory database")?;
            field.start_watch()?;
        }
        field.start_container()?;
        Ok(field)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--data-dir").arg(&self.data).arg("--run-dir").arg(&self.run);
        command.stdin(Stdio::null());
        command
    }

    /// A watch that only looks: whatever it sees elsewhere on this host, it does nothing.
    fn start_watch(&mut self) -> Result<(), Failure> {
        let ready = self.data.join("ready");
        let child = self
            .command()
            .args(["watch", "--policy", "audit", "--respond", "off", "--enforce", "off"])
            .args(["--fold-seconds", "0", "--no-auto-reload", "--ready-file"])
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the drill's watch")?;
        self.watch = Some(child);
        let end = Instant::now() + WATCH_DEADLINE;
        while !ready.exists() {
            let ended =
                self.watch.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || Instant::now() >= end {
                return Err(Failure::message(Exit::Incomplete, "the drill's watch does not begin")
                    .with_hint("`palisade watch --duration 1` says why"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn start_container(&mut self) -> Result<(), Failure> {
        let mut command = self.command();
        command.args(["run", "--detach", "--name", &self.name, "--policy", &self.args.policy]);
        for key in &self.args.key {
            command.arg("--key").arg(key);
        }
        command.args([&self.args.image, "--", "/bin/sh", "-c", "while :; do sleep 3600; done"]);
        let output = command.output().context("start the drill's container")?;
        let id = String::from_utf8_lossy(&output.stdout).trim().to_string();
        if !output.status.success() || id.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            let message = format!("the drill's container does not start: {said}");
            return Err(Failure::message(Exit::Incomplete, message)
                .with_hint("the image needs /bin/sh, and the policy has to admit it"));
        }
        let path = self.run.join("containers").join(format!("{id}.json"));
        let text = std::fs::read(&path)
            .with_context(|| format!("read the container's record `{}`", path.display()))?;
        let record: serde_json::Value = serde_json::from_slice(&text).context("read the record")?;
        let inner = record.get("container").unwrap_or(&record).clone();
        let container: Container = serde_json::from_value(inner).context("read the record")?;
        // What is acted upon later is what we made, and nothing else.
        if container.id != id {
            return Err(Failure::message(Exit::Incomplete, "the record is of another container"));
        }
        self.container = Some(container);
        Ok(())
    }

    fn execute(&self, script: &str) -> Result<Output, Failure> {
        let whole = format!("{PRELUDE}{script}");
        let mut command = self.command();
        command.args(["exec", &self.name, "--", "/bin/sh", "-c", &whole]);
        Ok(command.output().context("run a script in the drill's container")?)
    }

    fn carry_out(&mut self, scenario: &Scenario) -> Result<Row, Failure> {
        // A watch that runs may have answered the one before by ending the container.
        let lives = self.container.as_ref().is_some_and(|container| {
            Target::resolve(container, &self.hierarchies)
                .is_ok_and(|target| !target.group().is_frozen().unwrap_or(true))
        });
        if !lives {
            self.remove_container();
            self.name = format!("drill-{:x}", Timestamp::now().as_nanos());
            self.start_container()?;
        }
        let container = self.container.clone();
        let id = container.as_ref().map(|container| container.id.clone()).unwrap_or_default();
        let started = Timestamp::now();
        let (sender, result) = std::sync::mpsc::channel();
        let mut frozen = None;
        let (alert, output) = std::thread::scope(|scope| {
            let field = &*self;
            scope.spawn(move || sender.send(field.execute(scenario.script)));
            let mut output = None;
            let mut end = None;
            let alert = loop {
                if let Some(alert) = field.alert(scenario, &id, started) {
                    break Some(alert);
                }
                if output.is_none()
                    && let Ok(ended) = result.try_recv()
                {
                    let lacks = ended.as_ref().is_ok_and(|o| o.status.code() == Some(LACKS));
                    output = Some(ended);
                    let patience = Duration::from_millis(field.args.patience);
                    end = Some(Instant::now() + if lacks { Duration::ZERO } else { patience });
                }
                if end.is_some_and(|end| Instant::now() >= end) {
                    break None;
                }
                std::thread::sleep(POLL_INTERVAL);
            };
            if let (Some(_), Some(container)) = (&alert, &container)
                && !field.args.running
            {
                frozen = field.freeze(container);
            }
            // `recv` waits for the script, which goes on once the container is thawed.
            let output = output.or_else(|| result.recv().ok());
            (alert, output)
        });
        let output = output.context("the script's thread ended")??;
        let contained = match (&alert, frozen) {
            (Some(_), Some(at)) => Some((at, "drill")),
            (Some(alert), None) => self.contained(alert, &id).map(|at| (at, "watch")),
            _ => None,
        };
        let verdict = self.verdict(scenario, alert.is_some(), &output);
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Ok(Row {
            scenario: scenario.id.into(),
            title: scenario.title.into(),
            technique: scenario.technique.into(),
            rules: scenario.rules.iter().map(ToString::to_string).collect(),
            verdict,
            seen_by: alert.as_ref().map(|alert| alert.rule.clone()),
            detect_ns: alert.as_ref().map(|alert| ns(alert.latency())),
            contain_ns: contained.zip(alert.as_ref()).map(|((at, _), a)| ns(at.since(a.time))),
            contained_by: contained.map(|(_, by)| by.to_string()),
        })
    }

    fn verdict(&self, scenario: &Scenario, is_seen: bool, output: &Output) -> Verdict {
        let came_through = output.status.success();
        match (came_through, is_seen) {
            _ if output.status.code() == Some(LACKS) => Verdict::Skipped,
            (true, _) if scenario.restricted_stops && self.args.policy == "restricted" => {
                Verdict::Unstopped
            }
            (true, true) => Verdict::Seen,
            (true, false) => Verdict::Missed,
            (false, true) => Verdict::Stopped,
            (false, false) => Verdict::Refused,
        }
    }

    /// The first alert about the drill's container since `started` by one of the rules.
    fn alert(&self, scenario: &Scenario, id: &str, started: Timestamp) -> Option<Alert> {
        let (stored, _) = read_alerts(&self.data).ok()?;
        stored.into_iter().map(|stored| stored.alert).find(|alert| {
            alert.time >= started
                && scenario.rules.contains(&alert.rule.as_str())
                && alert.container.as_ref().is_some_and(|container| container.id == id)
        })
    }

    /// Freezes the drill's container, and lets it go on at once; when it stood still.
    fn freeze(&self, container: &Container) -> Option<Timestamp> {
        let target = Target::resolve(container, &self.hierarchies).ok()?;
        let effect = freeze(&target, FREEZE_DEADLINE);
        let at = Timestamp::now();
        let _thawed = target.group().thaw(FREEZE_DEADLINE);
        effect.is_ok().then_some(at)
    }

    /// When the watch that runs froze or killed the container, if it did.
    fn contained(&self, alert: &Alert, id: &str) -> Option<Timestamp> {
        let end = Instant::now() + Duration::from_millis(self.args.patience);
        loop {
            let (incidents, _) =
                palisade_agent::keeper::read_all(&self.data.join("incidents")).ok()?;
            let found = incidents
                .iter()
                .filter(|incident| incident.containers().any(|container| container.id == id))
                .flat_map(|incident| &incident.timeline)
                .find(|entry| {
                    entry.time >= alert.time
                        && matches!(&entry.what, TimelineEvent::Action { action, result, .. }
                            if (action == "freeze" || action == "kill")
                                && *result == ActionResult::Done)
                });
            match found {
                Some(entry) => return Some(entry.time),
                None if !self.args.running || Instant::now() >= end => return None,
                None => std::thread::sleep(POLL_INTERVAL * 10),
            }
        }
    }

    fn remove_container(&mut self) {
        if self.container.take().is_some() {
            let mut command = self.command();
            let _gone = command.args(["stop", "--grace", "0", &self.name]).output();
        }
    }
}

impl Drop for Field<'_> {
    fn drop(&mut self) {
        self.remove_container();
        if let Some(mut watch) = self.watch.take() {
            let pid = i32::try_from(watch.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ended = watch.wait();
        }
        if let Some((_, run)) = &self.own {
            let _left = remove_tree(run);
        }
    }
}
