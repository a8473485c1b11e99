//! Images that became vulnerable: what the watcher of inventories found becomes alerts.

use palisade_base::Timestamp;
use palisade_model::Alert;
use palisade_model::alert::Outcome;

use super::{Agent, Notice, OnNotice};
use crate::detection::Source;
use crate::inventories::{ADVISORIES_SOURCE, Answer, Draft, InventoryDesk, Report};

/// Alerts that are raised between two looks at the events.
const ALERTS_A_TURN: usize = 4;

impl Agent {
    /// Raises alerts about what the watcher of `desk` finds.
    pub fn watch_inventories(&mut self, desk: InventoryDesk) {
        self.inventories = Some(desk);
    }

    /// Takes what the watcher of inventories has to say, a little at a time.
    pub(super) fn take_news(&mut self, source: &dyn Source, on_notice: OnNotice<'_>) {
        let Some(mut desk) = self.inventories.take() else { return };
        for _ in 0..ALERTS_A_TURN {
            match desk.take() {
                Some(Report::Alert(draft)) => {
                    self.raise_news(&draft, &mut desk, source, on_notice);
                }
                Some(Report::End) => desk.is_ended = true,
                Some(Report::Status(status)) => desk.status = status,
                Some(Report::Problem(text)) => on_notice(Notice::Problem(text)),
                None => break,
            }
        }
        if desk.is_ended {
            self.answer_news(&mut desk);
        }
        self.inventories = Some(desk);
    }

    /// Raises an alert about an image. It is none of a rule's, so that the policy's lowest
    /// priority does not keep it back, and nothing responds to it: nobody attacks yet, and what
    /// runs is needed.
    fn raise_news(
        &mut self,
        draft: &Draft,
        desk: &mut InventoryDesk,
        source: &dyn Source,
        on_notice: OnNotice<'_>,
    ) {
        if desk.waiting.is_empty() {
            desk.n_forgotten = self.journal.n_forgotten();
        }
        let running = desk.containers.get_or_insert_with(|| source.containers());
        let (output, output_fields) = draft.finish(running);
        let time = Timestamp::now();
        self.n_ids = self.n_ids.wrapping_add(1);
        let alert = Alert {
            id: format!("{:016x}{:08x}", time.as_nanos(), self.n_ids),
            time,
            raised: time,
            rule: draft.rule.into(),
            priority: draft.priority,
            source: ADVISORIES_SOURCE.into(),
            output,
            output_fields,
            tags: draft.tags.clone(),
            hostname: self.settings.hostname.clone(),
            event_type: "advisory".into(),
            outcome: Outcome::Unknown,
            process: None,
            ancestors: Vec::new(),
            container: None,
            recording: None,
            enforcement: None,
        };
        self.raise_alone(&alert, on_notice);
        desk.waiting.push(alert.id);
    }

    /// Answers the watcher once all alerts of its look are in the journal.
    fn answer_news(&self, desk: &mut InventoryDesk) {
        if self.journal.n_forgotten() != desk.n_forgotten {
            // One of them may be among those that were let go.
            desk.answer(Answer::Lost);
        } else if desk.waiting.iter().all(|id| self.journal.is_written(id))
            // Without a free descriptor it is tried again.
            && let Some(journal) = self.journal.disk_handle()
        {
            desk.answer(Answer::Journalled(journal));
        }
    }
}
