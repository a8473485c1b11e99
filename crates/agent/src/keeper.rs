//! Incidents on the disk, written by a thread of their own.
//!
//! A write that survives a power cut takes milliseconds; the loop that watches must not
//! wait for it. Each incident is one JSON file that is replaced whole.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use palisade_base::fs::write_atomic;
use palisade_model::Incident;
use palisade_model::wire::{Envelope, schema};

use crate::incident::INCIDENTS_MAX;

/// Incidents waiting to be written; when full the caller tries again later.
pub const QUEUE_MAX: usize = 64;
/// Largest incident file that is read back, in bytes.
pub const INCIDENT_BYTES_MAX: u64 = 64 << 20;
/// Most files looked at when incidents are read back.
const FILES_MAX: usize = 100_000;

/// An incident to write, and the alerts that are safe once it is written.
#[derive(Debug)]
pub struct Work {
    /// The journal that is to be on the disk first.
    pub journal: Option<File>,
    /// The incident.
    pub incident: Incident,
    /// Alerts in it that wait for the write.
    pub alerts: Vec<String>,
}

/// What became of a [`Work`].
#[derive(Debug)]
pub struct Kept {
    /// The alerts of the work.
    pub alerts: Vec<String>,
    /// Why it could not be written.
    pub error: Option<std::io::Error>,
}

/// The writing thread.
#[derive(Debug)]
pub struct Keeper {
    work: Option<SyncSender<Work>>,
    kept: Receiver<Kept>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts a thread that writes into `folder`, which must exist.
    pub fn start(folder: PathBuf) -> std::io::Result<Self> {
        let (work, queue) = sync_channel::<Work>(QUEUE_MAX);
        // Room for every answer, so that the thread never waits for its reader.
        let (answers, kept) = sync_channel(2 * QUEUE_MAX);
        let thread =
            std::thread::Builder::new().name("palisade-keeper".into()).spawn(move || {
                for work in queue {
                    let synced = work.journal.map_or(Ok(()), |journal| journal.sync_data());
                    let error = synced.and_then(|()| write(&folder, &work.incident)).err();
                    if answers.send(Kept { alerts: work.alerts, error }).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { work: Some(work), kept, thread: Some(thread) })
    }

    /// Hands work over; `false` when the queue is full.
    pub fn submit(&self, work: Work) -> bool {
        self.work.as_ref().is_some_and(|queue| queue.try_send(work).is_ok())
    }

    /// What has been written since the last call.
    pub fn finished(&self) -> impl Iterator<Item = Kept> {
        self.kept.try_iter()
    }

    /// Ends the thread once its queue is empty, and returns what it still wrote.
    pub fn stop(&mut self) -> Vec<Kept> {
        self.work = None;
        let kept = self.kept.iter().collect();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is seen in the alerts that stay pending.
            let _ = thread.join();
        }
        kept
    }
}

/// Writes `incident` into `folder` as `ID.json`.
pub fn write(folder: &Path, incident: &Incident) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(&Envelope::new(schema::INCIDENT, incident))?;
    bytes.push(b'\n');
    write_atomic(&folder.join(format!("{}.json", incident.id)), &bytes, 0o600)
}

/// Reads one incident file.
pub fn read(path: &Path) -> std::io::Result<Incident> {
    let file = File::open(path)?;
    let bytes = palisade_base::read_bounded(file, "incident", INCIDENT_BYTES_MAX)?;
    let envelope: Envelope<Incident> = serde_json::from_slice(&bytes)?;
    Ok(envelope.body)
}

/// The newest incidents in `folder`, oldest first, and how many files were unreadable.
pub fn read_all(folder: &Path) -> std::io::Result<(Vec<Incident>, u64)> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(FILES_MAX) {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or("");
        if name.starts_with("INC-") && path.extension().is_some_and(|end| end == "json") {
            paths.push(path);
        }
    }
    // The name is the time in hex of fixed width.
    paths.sort();
    let newest = paths.len().saturating_sub(INCIDENTS_MAX);
    let (mut incidents, mut n_unreadable) = (Vec::new(), 0);
    for path in &paths[newest..] {
        match read(path) {
            Ok(incident) => incidents.push(incident),
            Err(_) => n_unreadable += 1,
        }
    }
    Ok((incidents, n_unreadable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::IncidentBook;
    use crate::testing::{alert, container};

    #[test]
    fn incidents_are_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = IncidentBook::default();
        book.join(&alert("Rule", Some(container("aaaa"))));
        let incident = book.take_changed().remove(0);
        let mut keeper = Keeper::start(folder.path().to_path_buf()).unwrap();
        let alerts = vec!["a".to_string()];
        let work = Work { journal: None, incident: incident.clone(), alerts: alerts.clone() };
        assert!(keeper.submit(work));
        let kept = keeper.stop();
        assert_eq!(kept[0].alerts, alerts);
        assert!(kept[0].error.is_none());
        std::fs::write(folder.path().join("INC-0.json"), "{").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
        assert_eq!(read_all(folder.path()).unwrap(), (vec![incident], 1));
    }

    #[test]
    fn a_full_disk_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let mut keeper = Keeper::start(gone).unwrap();
        let mut book = IncidentBook::default();
        book.join(&alert("Rule", None));
        let incident = book.take_changed().remove(0);
        assert!(keeper.submit(Work { journal: None, incident, alerts: Vec::new() }));
        assert!(keeper.stop()[0].error.is_some());
    }
}
