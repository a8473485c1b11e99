//! Playbooks that alerts start: what is handed over, and what comes back onto the timeline.

use palisade_base::Timestamp;
use palisade_model::incident::{TimelineEntry, TimelineEvent};
use palisade_model::{Alert, IncidentState};

use super::{Agent, Notice, OnNotice};
use crate::control::protocol::{Request, Response};
use crate::playbooks::{Answer, PlaybookDesk, PlaybookReport, Word};

impl Agent {
    /// Has alerts start the playbooks of `desk`'s runner.
    pub fn start_playbooks(&mut self, desk: PlaybookDesk) {
        self.playbooks = Some(desk);
    }

    /// Hands an alert to the runner; whether its answer is to be waited for.
    pub(super) fn offer_to_playbooks(
        &mut self,
        alert: &Alert,
        incident: &str,
        on_notice: OnNotice<'_>,
    ) -> bool {
        if !self.playbooks.as_ref().is_some_and(|desk| desk.wants(alert)) {
            return false;
        }
        let score = self.book.scored(incident).map_or(0, |incident| incident.score.value);
        let Some(desk) = &mut self.playbooks else { return false };
        let is_taken = desk.offer(alert, incident, score);
        if !is_taken {
            let text = format!("too many alerts wait for playbooks: none runs for {}", alert.id);
            on_notice(Notice::Problem(text));
        }
        is_taken
    }

    /// The blast radius of an incident was seen: its score may be one that a playbook waits for.
    pub(super) fn offer_score(&mut self, incident: &str) {
        if self.playbooks.as_ref().is_some_and(PlaybookDesk::asks_score)
            && let Some(score) = self.book.scored(incident).map(|incident| incident.score.value)
            && let Some(desk) = &mut self.playbooks
        {
            desk.offer_again(incident, score);
        }
    }

    /// Puts what the runner did into incidents.
    pub(super) fn take_playbook_reports(&mut self, on_notice: OnNotice<'_>) {
        let reports = self.playbooks.as_ref().map(PlaybookDesk::take).unwrap_or_default();
        for report in reports {
            match report {
                PlaybookReport::Considered { alert } => self.answered(&alert, on_notice),
                PlaybookReport::Note { incident, time, text } => {
                    self.note_order(&incident, time, &text, on_notice);
                }
                PlaybookReport::Planned { incident, text } => {
                    on_notice(Notice::Order { incident: &incident, text: &text });
                }
                PlaybookReport::Step { incident, playbook, step, undone, outcome } => {
                    self.advance(&incident, IncidentState::Responding, outcome.ended, on_notice);
                    let undone = if undone { " undone" } else { "" };
                    let what = TimelineEvent::Action {
                        action: format!("{playbook}: {step}{undone}"),
                        result: outcome.result,
                        detail: outcome.detail.clone(),
                        duration_ns: outcome.duration_ns,
                    };
                    let entry = TimelineEntry { time: outcome.ended, what };
                    let text = format!(
                        "{playbook}: {step}{undone}: {:?}: {}",
                        outcome.result, outcome.detail
                    );
                    self.put_once(&incident, entry, &text, on_notice);
                }
                PlaybookReport::Ended { incident, container, is_contained } => {
                    if let Some(container) = container {
                        let state = self.book.note_response(&incident, &container, is_contained);
                        self.advance(&incident, state, Timestamp::now(), on_notice);
                    }
                }
                PlaybookReport::Orders { client, orders } => {
                    self.answer(client, Response::Orders { orders });
                }
                PlaybookReport::Answered { client, result } => {
                    let response = match result {
                        Ok(order) => Response::Answered { order },
                        Err(message) => Response::Error { message },
                    };
                    self.answer(client, response);
                }
                PlaybookReport::Problem(text) => on_notice(Notice::Problem(text)),
            }
        }
    }

    fn note_order(&mut self, incident: &str, time: Timestamp, text: &str, on_notice: OnNotice<'_>) {
        let entry = TimelineEntry { time, what: TimelineEvent::Note { text: text.into() } };
        self.put_once(incident, entry, text, on_notice);
    }

    /// On the timeline once, however often it is told.
    fn put_once(
        &mut self,
        incident: &str,
        entry: TimelineEntry,
        text: &str,
        on_notice: OnNotice<'_>,
    ) {
        let known = self.book.get(incident).is_some_and(|known| known.timeline.contains(&entry));
        if !known {
            self.book.record(incident, entry);
            on_notice(Notice::Order { incident, text });
        }
    }

    /// Passes on what a client asks of orders; `None` when the runner will answer.
    pub(super) fn ask_playbooks(&mut self, client: u64, request: Request) -> Option<Response> {
        let error = |message: &str| Some(Response::Error { message: message.into() });
        let Some(desk) = &mut self.playbooks else {
            return error("no playbooks are run here: see `watch --playbooks`");
        };
        let word = match request {
            Request::Orders => Word::Orders { client },
            Request::Answer { order, step, by, granted } => {
                Word::Answer { client, answer: Answer { order, step, by, granted } }
            }
            _ => return error("that is nothing to ask of playbooks"),
        };
        if desk.say(word) { None } else { error("too much waits for the playbooks; try again") }
    }
}
