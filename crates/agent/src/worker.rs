//! Responses on a thread of their own, so that watching goes on meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_model::{Container, Incident};
use palisade_respond::age::Recipient;
use palisade_respond::bundle::{self, CaseFacts};
use palisade_respond::cgroup::Hierarchies;
use palisade_respond::evidence::{self, Attachment, EvidenceOptions, Request};
use palisade_respond::{
    ActionOutcome, Collected, KernelContainment, Means, NetworkCut, Plan, RespondError, Responder,
    Target,
};

/// Responses waiting for the worker.
pub const QUEUE_MAX: usize = 64;
/// Reports waiting for the agent.
pub const REPORTS_MAX: usize = 1024;

/// Signs an evidence manifest.
pub type SignEvidence =
    Box<dyn Fn(&[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> + Send>;

/// Has the Merkle root of a bundle stamped by an authority of time.
pub type StampEvidence =
    Box<dyn Fn(&[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> + Send>;

/// How a bundle is kept.
#[derive(Default)]
pub struct Sealing {
    /// To whom it is encrypted; nobody: it is in the clear.
    pub recipients: Vec<Recipient>,
    /// Stamps it.
    pub stamper: Option<StampEvidence>,
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealing").field("recipients", &self.recipients).finish_non_exhaustive()
    }
}

/// Says how a bundle is to be kept.
pub type AskSealing = Box<dyn Fn() -> Result<Sealing, String> + Send>;

/// Where files of a container lie on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerFiles {
    /// Its OCI configuration.
    pub config: Option<PathBuf>,
    /// The upper layer of its root file system.
    pub upper: Option<PathBuf>,
}

/// What responses need.
pub struct ResponseMeans {
    /// Folder for evidence bundles.
    pub evidence: PathBuf,
    /// How much evidence.
    pub options: EvidenceOptions,
    /// Cuts the network.
    pub network: Arc<dyn NetworkCut + Send + Sync>,
    /// Signs evidence; without it bundles are not signed.
    pub signer: Option<SignEvidence>,
    /// To whom evidence is encrypted and who stamps it, asked before each bundle: an error keeps
    /// a bundle from being written in the clear.
    pub sealing: Option<AskSealing>,
    /// Finds a container's files.
    pub locate: Box<dyn Fn(&Container) -> ContainerFiles + Send>,
}

impl std::fmt::Debug for ResponseMeans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseMeans").field("evidence", &self.evidence).finish_non_exhaustive()
    }
}

/// A response to carry out.
#[derive(Debug)]
pub struct Job {
    /// The plan.
    pub plan: Plan,
    /// Steps done already: freeze and isolation.
    pub already: Vec<ActionOutcome>,
    /// Documents for the evidence.
    pub attachments: Vec<Attachment>,
    /// The incident so far.
    pub incident: Option<Incident>,
}

/// What the worker says.
#[derive(Debug)]
pub enum Report {
    /// A step ended.
    Step {
        /// The plan.
        plan: Box<Plan>,
        /// How it went.
        outcome: ActionOutcome,
    },
    /// A plan ended.
    Finished {
        /// The plan.
        plan: Box<Plan>,
        /// All its outcomes.
        outcomes: Vec<ActionOutcome>,
    },
    /// A plan could not be carried out.
    Failed {
        /// The plan, unless recovery as a whole failed.
        plan: Option<Box<Plan>>,
        /// Why.
        reason: String,
    },
}

/// The responding thread.
#[derive(Debug)]
pub struct Worker {
    jobs: Option<SyncSender<Job>>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

/// Everything that the thread owns.
struct Bench {
    responder: Responder,
    means: ResponseMeans,
    hierarchies: Hierarchies,
    incidents: PathBuf,
    hostname: String,
    tool: String,
    reports: SyncSender<Report>,
}

impl Worker {
    /// Starts the thread; it first completes what an earlier run left unfinished.
    pub fn start(
        responder: Responder,
        means: ResponseMeans,
        hierarchies: Hierarchies,
        incidents: PathBuf,
        (hostname, tool): (String, String),
    ) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE_MAX);
        let (sender, reports) = sync_channel(REPORTS_MAX);
        let bench =
            Bench { responder, means, hierarchies, incidents, hostname, tool, reports: sender };
        let thread = std::thread::Builder::new()
            .name("palisade-respond".into())
            .spawn(move || bench.run(&queue))?;
        Ok(Self { jobs: Some(jobs), reports, thread: Some(thread) })
    }

    /// Hands a job over, or gives it back when the queue is full.
    pub fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        let Some(queue) = &self.jobs else {
            return Err(Box::new(job));
        };
        queue.try_send(job).map_err(|error| {
            let (TrySendError::Full(job) | TrySendError::Disconnected(job)) = error;
            Box::new(job)
        })
    }

    /// What was reported since the last call.
    pub fn reports(&self) -> impl Iterator<Item = Report> {
        self.reports.try_iter()
    }

    /// Lets the thread finish its queue, for at most `deadline`; what is unfinished then is
    /// in the action journal and is completed by the next run. The boolean says whether
    /// it finished.
    pub fn stop(&mut self, deadline: Duration) -> (Vec<Report>, bool) {
        self.jobs = None;
        let end = Instant::now() + deadline;
        let mut reports = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(left) {
                Ok(report) => reports.push(report),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return (reports, false),
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        (reports, true)
    }
}

impl Bench {
    fn run(mut self, queue: &Receiver<Job>) {
        self.recover();
        for job in queue {
            self.respond(&job);
        }
    }

    /// Sends a report; when nobody listens any more the journal still has it.
    fn report(reports: &SyncSender<Report>, report: Report) {
        let _ = reports.send(report);
    }

    fn recover(&mut self) {
        let plans: Vec<Plan> = self.responder.unfinished().cloned().collect();
        let reports = self.reports.clone();
        let result = self.with_means(&[], None, |responder, means| {
            responder.recover(means, &mut |plan, outcome| {
                let (plan, outcome) = (Box::new(plan.clone()), outcome.clone());
                Self::report(&reports, Report::Step { plan, outcome });
            })
        });
        if let Err(error) = result {
            Self::report(&reports, Report::Failed { plan: None, reason: chain(&error) });
            return;
        }
        for plan in plans {
            let outcomes = self.responder.outcomes(&plan.id).to_vec();
            Self::report(&reports, Report::Finished { plan: Box::new(plan), outcomes });
        }
    }

    fn respond(&mut self, job: &Job) {
        let reports = self.reports.clone();
        let plan = Box::new(job.plan.clone());
        // A panic within one response must not end all later ones.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.with_means(&job.attachments, job.incident.as_ref(), |responder, means| {
                responder.execute(&job.plan, &job.already, means, &mut |outcome| {
                    let (plan, outcome) = (plan.clone(), outcome.clone());
                    Self::report(&reports, Report::Step { plan, outcome });
                })
            })
        }));
        let report = match result {
            Ok(Ok(outcomes)) => Report::Finished { plan, outcomes },
            Ok(Err(error)) => Report::Failed { plan: Some(plan), reason: chain(&error) },
            Err(_) => Report::Failed { plan: Some(plan), reason: "a step panicked".into() },
        };
        Self::report(&self.reports, report);
    }

    fn with_means<T>(
        &mut self,
        attachments: &[Attachment],
        incident: Option<&Incident>,
        act: impl FnOnce(&mut Responder, &mut Means<'_>) -> Result<T, RespondError>,
    ) -> Result<T, RespondError> {
        let Self { responder, means, hierarchies, incidents, hostname, tool, .. } = self;
        let containment = KernelContainment::new(means.network.as_ref());
        let (evidence_folder, options) = (means.evidence.clone(), means.options);
        let (signer, locate, ask) = (&means.signer, &means.locate, &means.sealing);
        let mut collect = |plan: &Plan, target: &Target, frozen: bool, deadline: Duration| {
            let path = evidence_folder.join(format!("{}.tar", plan.id));
            if let Some(collected) = collected_before(&path) {
                return Ok(collected);
            }
            let read;
            let incident = if incident.is_some() {
                incident
            } else {
                read = crate::keeper::read(&incidents.join(format!("{}.json", plan.incident))).ok();
                read.as_ref()
            };
            let files = locate(target.container());
            let sealing = ask.as_ref().map(|ask| ask()).transpose()?.unwrap_or_default();
            let request = Request {
                target,
                case: CaseFacts {
                    incident: Some(plan.incident.clone()),
                    container: target.container().clone(),
                    hostname: hostname.clone(),
                    tool: tool.clone(),
                    frozen,
                    started: Timestamp::now(),
                },
                incident,
                config: files.config.as_deref(),
                upper: files.upper.as_deref(),
                attachments,
                options,
                deadline,
                recipients: &sealing.recipients,
                stamper: sealing
                    .stamper
                    .as_ref()
                    .map(|stamp| stamp.as_ref() as bundle::Stamper<'_>),
            };
            let sign = signer.as_ref().map(|sign| sign.as_ref() as bundle::Signer<'_>);
            evidence::collect(&path, &request, sign)
                .map(|summary| collected(&summary))
                .map_err(|error| chain(&error))
        };
        let mut means = Means { hierarchies, containment: &containment, collect: &mut collect };
        act(responder, &mut means)
    }
}

/// What the timeline says of a bundle.
pub fn collected(summary: &evidence::Summary) -> Collected {
    let manifest = &summary.manifest;
    let n_gaps = manifest.gaps.len() as u64 + manifest.n_gaps_unlisted;
    Collected {
        file: summary.path.display().to_string(),
        detail: format!(
            "{} items of {} processes, {} KiB, {n_gaps} gaps listed: {}",
            manifest.items.len(),
            summary.n_processes,
            summary.n_bytes.div_ceil(1024),
            summary.path.display()
        ),
        partial: manifest.gaps.iter().any(|gap| gap.source == "collection"),
    }
}

/// A whole bundle of the same plan, left by a run that was killed after writing it.
pub fn collected_before(path: &Path) -> Option<Collected> {
    if !path.exists() {
        return None;
    }
    // One that is encrypted cannot be looked into here; it has its name because it is whole.
    if bundle::is_encrypted(path).ok()? {
        return Some(Collected {
            file: path.display().to_string(),
            detail: format!("collected before, encrypted: {}", path.display()),
            partial: false,
        });
    }
    let verified = bundle::verify(path, bundle::Opening::default()).ok()?;
    Some(Collected {
        file: path.display().to_string(),
        detail: format!(
            "{} items, collected before: {}",
            verified.manifest.items.len(),
            path.display()
        ),
        partial: false,
    })
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut link = error.source();
    while let Some(cause) = link.filter(|_| text.len() < 2000) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        link = cause.source();
    }
    text
}
