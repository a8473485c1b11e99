//! Where alerts ask for recordings.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_model::Alert;
use palisade_sensor::capture::compact::SUFFIX;

use super::OnAlert;
use crate::detection::RuleInfo;

/// Which alerts are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// All.
    #[default]
    All,
    /// Those of rules with `capture: true`.
    Marked,
}

/// A recording grows with the alerts that come while it is written, but not for ever.
pub const RECORDING_MAX: Duration = Duration::from_mins(15);

/// Characters of a rule's or a container's name in a file name.
const NAME_CHARS_MAX: usize = 48;

/// Takes wishes from whoever raises alerts, and holds them for the recorder.
#[derive(Debug, Clone)]
pub struct Desk {
    after: Duration,
    choice: Choice,
    folder: PathBuf,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    current: Option<Current>,
    begin: Option<PathBuf>,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    until: Instant,
    /// Not extended beyond this.
    end: Instant,
}

/// What the recorder is to do.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) begin: Option<PathBuf>,
    pub(super) has_ended: bool,
}

impl Wish {
    pub(super) fn is_idle(&self) -> bool {
        self.begin.is_none() && !self.has_ended
    }
}

impl Desk {
    pub(super) fn new(on_alert: &OnAlert) -> Self {
        Self {
            after: on_alert.after,
            choice: on_alert.choice,
            folder: on_alert.folder.clone(),
            book: Arc::default(),
        }
    }

    /// Asks for the recording of an alert; its file, when it is recorded. An alert that
    /// comes while a recording is written becomes part of that one.
    pub fn request(&self, alert: &Alert, rule: &RuleInfo) -> Option<PathBuf> {
        if self.choice == Choice::Marked && !rule.capture {
            return None;
        }
        let now = Instant::now();
        let after = rule.capture_duration.unwrap_or(self.after).min(RECORDING_MAX);
        let mut book = self.lock();
        if let Some(current) = book.current.as_mut().filter(|current| now < current.until) {
            current.until = current.until.max(now + after).min(current.end);
            return Some(current.path.clone());
        }
        let path = self.folder.join(file_name(alert));
        let current = Current { path: path.clone(), until: now + after, end: now + RECORDING_MAX };
        book.current = Some(current);
        book.begin = Some(path.clone());
        Some(path)
    }

    /// What is to be done by now.
    pub(super) fn take(&self, now: Instant) -> Wish {
        let mut book = self.lock();
        let has_ended = book.current.as_ref().is_some_and(|current| now >= current.until);
        if has_ended {
            book.current = None;
        }
        Wish { begin: book.begin.take(), has_ended }
    }

    /// Nothing more goes into `path`: the next alert begins a recording of its own.
    pub(super) fn give_up(&self, path: &Path) {
        let mut book = self.lock();
        if book.current.as_ref().is_some_and(|current| current.path == path) {
            book.current = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `20261127T230102.123456789Z-rule-name-container.palcap`: sorts by time, and has no
/// character that means anything to a shell.
fn file_name(alert: &Alert) -> String {
    let time: String = alert.time.rfc3339().chars().filter(|c| !"-:".contains(*c)).collect();
    let container = alert.container.as_ref().map_or("host", |container| container.short_id());
    format!("{time}-{}-{}.{SUFFIX}", plain(&alert.rule), plain(container))
}

fn plain(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if out.len() >= NAME_CHARS_MAX {
            break;
        }
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alert, container};

    fn desk(choice: Choice) -> Desk {
        Desk::new(&OnAlert {
            folder: "/r".into(),
            before: Duration::from_secs(10),
            after: Duration::from_millis(50),
            ring_bytes: 1 << 20,
            files_bytes: 1 << 20,
            files_max: 10,
            choice,
        })
    }

    fn rule(capture: bool, duration_ms: u64) -> RuleInfo {
        RuleInfo {
            name: "r".into(),
            priority: palisade_model::Priority::Critical,
            tags: Vec::new(),
            source: "syscall".into(),
            capture,
            capture_duration: (duration_ms > 0).then(|| Duration::from_millis(duration_ms)),
        }
    }

    #[test]
    fn names_sort_by_time_and_need_no_quotes() {
        let mut alert = alert("Shell \"x\"; rm -rf /../é", Some(container("0123456789abcdef")));
        assert_eq!(
            file_name(&alert),
            "20261122T055355.000000001Z-shell-x-rm-rf-0123456789ab.palcap"
        );
        alert.container = None;
        alert.rule = "long ".repeat(100);
        let name = file_name(&alert);
        assert!(name.ends_with("-host.palcap") && name.len() < 120, "{name}");
    }

    #[test]
    fn an_alert_while_one_is_recorded_extends_it() {
        let desk = desk(Choice::All);
        let path = desk.request(&alert("one", None), &rule(false, 0)).unwrap();
        let now = Instant::now();
        assert_eq!(desk.take(now).begin.as_ref(), Some(&path));
        assert!(desk.take(now).is_idle());
        // A rule may ask for longer.
        assert_eq!(desk.request(&alert("two", None), &rule(true, 400)), Some(path.clone()));
        assert!(desk.take(now + Duration::from_millis(300)).is_idle());
        assert!(desk.take(now + Duration::from_secs(1)).has_ended);
        assert_ne!(desk.request(&alert("three", None), &rule(false, 0)), Some(path.clone()));
        assert!(desk.take(now).begin.is_some_and(|begun| begun != path));
        // Not for ever: the next one has its own.
        desk.request(&alert("four", None), &rule(true, u64::MAX / 2));
        assert!(desk.take(Instant::now() + RECORDING_MAX).has_ended);
    }

    #[test]
    fn only_marked_rules_where_that_is_wanted() {
        let desk = desk(Choice::Marked);
        assert_eq!(desk.request(&alert("one", None), &rule(false, 0)), None);
        assert!(desk.request(&alert("one", None), &rule(true, 0)).is_some());
    }
}
