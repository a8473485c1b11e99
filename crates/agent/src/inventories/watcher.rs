//! The thread that looks.

use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use palisade_base::Timestamp;

use super::news::News;
use super::{Answer, Inventories, InventoryStatus, LookStatus, Looked, Report};

/// How often it is asked whether the database is another.
const INTERVAL: Duration = Duration::from_secs(1);
/// After how long a look that failed is tried again, while the database is the same.
const RETRY: Duration = Duration::from_mins(5);
/// The lowest share of the processor that a thread can be given.
const NICE: i32 = 19;

/// What tells one file of a database from another, without reading it. A database is replaced by
/// renaming another onto its name. The time of the last change of the inode is none of it: a look
/// links the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    n_bytes: u64,
    modified: (i64, i64),
}

impl Mark {
    /// `None` without a file.
    fn of(path: &Path) -> Option<Self> {
        let status = std::fs::metadata(path).ok()?;
        Some(Self {
            device: status.dev(),
            inode: status.ino(),
            n_bytes: status.len(),
            modified: (status.mtime(), status.mtime_nsec()),
        })
    }
}

/// Why a look is not told to the end.
enum Stop {
    /// It failed.
    Failed(String),
    /// The agent has ended.
    Over,
}

pub(super) struct Watcher {
    inventories: Box<dyn Inventories>,
    database: PathBuf,
    reports: SyncSender<Report>,
    answers: Receiver<Answer>,
    status: InventoryStatus,
    /// The problem that was said last.
    said: Option<String>,
    /// A look that was told, and of which that is not noted yet.
    unnoted: Option<Timestamp>,
}

impl Watcher {
    pub(super) fn new(
        inventories: Box<dyn Inventories>,
        database: &Path,
        reports: SyncSender<Report>,
        answers: Receiver<Answer>,
    ) -> Self {
        Self {
            inventories,
            database: database.to_path_buf(),
            reports,
            answers,
            status: InventoryStatus::default(),
            said: None,
            unnoted: None,
        }
    }

    pub(super) fn run(mut self) {
        // Nice is a thread's own in Linux, and its children's. Refused, it looks all the same.
        let _refused = rustix::process::setpriority_process(None, NICE);
        let (mut before, mut looked) = (Mark::of(&self.database), None);
        let mut retry: Option<Instant> = None;
        loop {
            let now = Mark::of(&self.database);
            // One that is being copied into its place is not whole yet.
            let is_still = now == before;
            before = now;
            let is_due = now != looked || retry.is_some_and(|at| Instant::now() >= at);
            if now.is_some() && is_still && is_due {
                looked = now;
                let outcome = self.look();
                retry = outcome.is_err().then(|| Instant::now() + RETRY);
                match outcome {
                    Err(Stop::Over) => return,
                    Err(Stop::Failed(problem)) => self.note_problem(Some(problem)),
                    Ok(problem) => self.note_problem(problem),
                }
                self.status.is_looking = false;
                if self.tell(Report::Status(self.status.clone())).is_err() {
                    return;
                }
            }
            let waited = self.answers.recv_timeout(INTERVAL);
            if matches!(waited, Err(RecvTimeoutError::Disconnected)) {
                return;
            }
        }
    }

    /// Looks, and has it told; the result is what is wrong all the same.
    fn look(&mut self) -> Result<Option<String>, Stop> {
        if let Some(time) = self.unnoted {
            self.acknowledge(time)?;
        }
        self.status.is_looking = true;
        self.tell(Report::Status(self.status.clone()))?;
        let begun = Instant::now();
        let mut news = News::default();
        let inventories = &mut self.inventories;
        let looked = catch_unwind(AssertUnwindSafe(|| {
            inventories.look(&mut |subject, new| news.add(subject, new))
        }));
        let looked =
            looked.unwrap_or_else(|_| Err("a look at the stored inventories panicked".into()));
        let looked = looked.map_err(Stop::Failed)?;
        let (n_images, n_new) = (news.n_images, news.n_new);
        let drafts = news.drafts(looked.database);
        self.status.n_looks += 1;
        self.status.last = Some(LookStatus {
            time: Timestamp::now(),
            duration_ns: u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
            database: looked.database,
            n_inventories: looked.n_inventories,
            n_unreadable: looked.n_unreadable,
            n_images,
            n_new,
            n_alerts: drafts.len() as u64,
            is_noted: false,
        });
        if !drafts.is_empty() {
            for draft in drafts {
                self.tell(Report::Alert(Box::new(draft)))?;
            }
            self.tell(Report::End)?;
            self.wait_for_journal()?;
        }
        if looked.n_inventories > 0 {
            self.acknowledge(looked.time)?;
        }
        if let Some(last) = &mut self.status.last {
            last.is_noted = true;
        }
        Ok(unreadable(&looked))
    }

    /// Returns when the alerts of the look are on the disk.
    fn wait_for_journal(&self) -> Result<(), Stop> {
        let again = "what the stored inventories say is told again by the next look";
        match self.answers.recv() {
            Err(_) => Err(Stop::Over),
            Ok(Answer::Lost) => Err(Stop::Failed(format!("alerts left the journal; {again}"))),
            Ok(Answer::Journalled(journal)) => journal.sync_data().map_err(|error| {
                Stop::Failed(format!("put the alert journal on the disk: {error}; {again}"))
            }),
        }
    }

    fn acknowledge(&mut self, time: Timestamp) -> Result<(), Stop> {
        let noted = self.inventories.acknowledge(time);
        self.unnoted = noted.is_err().then_some(time);
        noted.map_err(Stop::Failed)
    }

    /// Says what is wrong once, and remembers it for those who ask.
    fn note_problem(&mut self, problem: Option<String>) {
        if let Some(text) = problem.clone().filter(|_| problem != self.said) {
            // Over: then nobody is there who could be told.
            let _over = self.tell(Report::Problem(text));
        }
        self.said.clone_from(&problem);
        self.status.problem = problem;
    }

    fn tell(&self, report: Report) -> Result<(), Stop> {
        self.reports.send(report).map_err(|_| Stop::Over)
    }
}

fn unreadable(looked: &Looked) -> Option<String> {
    let n = looked.n_unreadable;
    let first = looked.unreadable.as_deref().unwrap_or_default();
    (n > 0).then(|| {
        format!(
            "{n} stored inventories could not be looked at, the first is {first} \
             (`palisade scan --stored` names the others; scan again those that are damaged)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_another_when_its_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert_eq!(Mark::of(&path("db")), None);
        std::fs::write(path("db"), "one").unwrap();
        let first = Mark::of(&path("db"));
        // As a look does.
        std::fs::hard_link(path("db"), path("last.db")).unwrap();
        assert!(first.is_some() && Mark::of(&path("db")) == first);
        std::fs::write(path("new"), "two").unwrap();
        std::fs::rename(path("new"), path("db")).unwrap();
        assert_ne!(Mark::of(&path("db")), first);
    }
}
