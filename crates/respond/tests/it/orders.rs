//! Orders and their engine, with hands that only remember.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use palisade_base::{Digest, Timestamp};
use palisade_model::incident::ActionResult;
use palisade_policy::playbook::{Act, Step, StepKind, parse};
use palisade_respond::order::{Engine, Progress, RunState, Submitted, read_audit};
use palisade_respond::{Hands, Order, Performed};

use crate::support::{alert, container};

const ID: &str = "0123456789abcdef";

/// Remembers what was done, and fails what it is told to.
#[derive(Default)]
struct Memory {
    done: Vec<String>,
    failing: BTreeSet<&'static str>,
}

impl Hands for Memory {
    fn perform(&mut self, act: &Act, _: &Order, _: Duration) -> Performed {
        let fails = self.failing.contains(act.name());
        self.done.push(act.name().to_string());
        Performed {
            result: if fails { ActionResult::Failed } else { ActionResult::Done },
            detail: String::new(),
            file: None,
        }
    }
}

fn order_of(steps: &str) -> Order {
    let text =
        format!("playbook: p\ncaps: {{containers_per_hour: 2, runs_per_hour: 3}}\nsteps:\n{steps}");
    let playbook = parse(&text, "p.yaml").unwrap().playbook;
    let alert = alert(Some(container(ID, Some(format!("/palisade/{ID}")))));
    Order::of_playbook(&playbook, &alert, "INC-1").unwrap()
}

struct Bench {
    folder: tempfile::TempDir,
    now: Cell<Timestamp>,
    hands: Memory,
    told: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            now: Cell::new(Timestamp::from_nanos(1_000_000_000_000_000_000)),
            hands: Memory::default(),
            told: Vec::new(),
        }
    }

    fn pass(&self, seconds: u64) {
        self.now.set(self.now.get() + Duration::from_secs(seconds));
    }

    /// Opens the log anew, as every process does, and lets `act` work.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Engine, &dyn Fn() -> Timestamp, &mut Memory, &mut Vec<String>) -> T,
    ) -> T {
        let mut engine = Engine::open(self.folder.path()).unwrap();
        let now = || self.now.get();
        act(&mut engine, &now, &mut self.hands, &mut self.told)
    }

    fn run(&mut self, order: &Order) -> Progress {
        self.with(|engine, now, hands, told| {
            engine.submit(order, now()).unwrap();
            engine
                .advance(&order.id, now, hands, &mut |_, step, undo, outcome| {
                    told.push(format!("{step} {undo} {:?}", outcome.result));
                })
                .unwrap()
        })
    }

    fn tick(&mut self) -> Option<Timestamp> {
        self.with(|engine, now, hands, _| engine.tick(now, hands, &mut |_, _, _, _| {}).unwrap())
    }
}

#[test]
fn a_dry_run_says_everything() {
    let order = order_of(
        "- freeze:\n  for: 15m\n- wait: 30s\n- approve: Kill it?\n  within: 1h\n  on_failure: undo\n- kill:\n",
    );
    assert_eq!(
        order.to_string(),
        "order INC-1-p-0123456789ab (playbook p)\n  \
         owner playbook p; reason: alert 00000000000000010000000a: Reverse shell\n  \
         container 0123456789ab web, control group /palisade/0123456789abcdef\n  \
         1. 1-freeze: stop every process of the container where it stands (within 500ms, undone after 15m)\n  \
         2. 2-wait: wait 30s\n  \
         3. 3-approve: ask \"Kill it?\" (within 1h); on failure: undo everything\n  \
         4. 4-kill: end every process of the container (within 10s)\n"
    );
    let json = serde_json::to_string(&order).unwrap();
    assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order);
}

#[test]
fn what_the_incident_does_not_say_is_refused() {
    let of = |steps: &str, on_host: bool| {
        let playbook = parse(&format!("playbook: p\nsteps:\n{steps}"), "p").unwrap().playbook;
        let alert = alert((!on_host).then(|| container(ID, None)));
        Order::of_playbook(&playbook, &alert, "INC-1").map_err(|error| error.to_string())
    };
    for (steps, on_host, expected) in [
        ("- freeze:", true, "step `1-freeze` acts upon a container, and there is none"),
        (
            "- quarantine-image:",
            false,
            "step `1-quarantine-image` needs the image's digest (`digest`), which is not known",
        ),
        (
            "- kill-process:",
            false,
            "step `1-kill-process` needs the process (`pid`), which is not known",
        ),
        (
            "- revoke-service-account: web",
            false,
            "step `1-revoke-service-account` needs the pod's namespace (`namespace`), which is not known",
        ),
    ] {
        assert_eq!(of(steps, on_host).unwrap_err(), expected);
    }
    assert!(of("- cordon: node-1", true).is_ok(), "what is done elsewhere needs no container");
}

#[test]
fn steps_wait_ask_branch_and_undo() {
    let mut bench = Bench::new();
    let order = order_of(
        "- id: a\n  freeze:\n- wait: 30s\n- id: ask\n  approve: Go on?\n  within: 1h\n  on_failure: undo\n- kill:\n",
    );
    let until = bench.now.get() + Duration::from_secs(30);
    assert_eq!(bench.run(&order), Progress::Waiting(until));
    bench.pass(31);
    assert!(matches!(bench.run(&order), Progress::Asking { step, .. } if step == "ask"));
    // The answer of a person, in another process.
    let taken = bench.with(|engine, now, _, _| {
        engine.answer(&order.id, Some("ask"), ("me", false), now()).unwrap()
    });
    assert!(taken);
    assert_eq!(bench.run(&order), Progress::Ended(RunState::Undone));
    assert_eq!(bench.hands.done, ["freeze", "unfreeze"]);
    assert_eq!(
        bench.told,
        ["a false Done", "2-wait false Done", "ask false Failed", "a true Done"]
    );
    // Nothing of it is repeated, and nobody is asked any more.
    assert_eq!(bench.run(&order), Progress::Ended(RunState::Undone));
    assert!(
        !bench
            .with(|engine, now, _, _| engine.answer(&order.id, None, ("me", true), now()).unwrap())
    );
    assert_eq!(bench.hands.done.len(), 2);
}

#[test]
fn an_unanswered_question_ends_the_run_and_a_yes_goes_on() {
    for (answer, expected) in [(None, vec![]), (Some(true), vec!["kill"])] {
        let mut bench = Bench::new();
        let order = order_of("- approve: Go on?\n  within: 10s\n- kill:\n");
        assert!(matches!(bench.run(&order), Progress::Asking { .. }));
        if let Some(granted) = answer {
            bench.with(|e, now, _, _| e.answer(&order.id, None, ("me", granted), now()).unwrap());
        }
        bench.pass(11);
        assert!(matches!(bench.run(&order), Progress::Ended(_)));
        assert_eq!(bench.hands.done, expected);
    }
}

#[test]
fn a_failure_branches_forward() {
    let steps =
        "- id: f\n  freeze:\n  on_failure: {goto: cut}\n- evidence:\n- id: cut\n  isolate:\n";
    for (failing, expected) in
        [(None, vec!["freeze", "evidence", "isolate"]), (Some("freeze"), vec!["freeze", "isolate"])]
    {
        let mut bench = Bench::new();
        bench.hands.failing.extend(failing);
        assert_eq!(bench.run(&order_of(steps)), Progress::Ended(RunState::Done));
        assert_eq!(bench.hands.done, expected);
    }
    let mut bench = Bench::new();
    bench.hands.failing.insert("evidence");
    let stop = order_of("- freeze:\n- evidence:\n  on_failure: stop\n- kill:\n");
    assert_eq!(bench.run(&stop), Progress::Ended(RunState::Stopped));
    assert_eq!(bench.hands.done, ["freeze", "evidence"]);
}

#[test]
fn an_order_from_elsewhere_cannot_loop() {
    let mut order = order_of("- id: a\n  freeze:\n- id: b\n  isolate:\n");
    order.steps[1].on_failure = palisade_policy::playbook::OnFailure::Goto("a".into());
    let mut bench = Bench::new();
    bench.hands.failing.insert("isolate");
    assert_eq!(bench.run(&order), Progress::Ended(RunState::Stopped));
    assert_eq!(bench.hands.done, ["freeze", "isolate"]);
}

#[test]
fn a_hold_ends_by_itself_and_not_while_another_wants_it() {
    let mut bench = Bench::new();
    let first = order_of("- freeze:\n  for: 10m\n");
    let mut second = order_of("- freeze:\n  for: 20m\n");
    second.id = "INC-2-p".into();
    assert_eq!(bench.run(&first), Progress::Ended(RunState::Done));
    bench.run(&second);
    let due = bench.tick().unwrap();
    assert_eq!(due, bench.now.get() + Duration::from_mins(10));
    bench.pass(601);
    bench.tick();
    assert_eq!(bench.hands.done, ["freeze", "freeze"], "the second keeps it");
    bench.pass(600);
    assert_eq!(bench.tick(), None);
    assert_eq!(bench.hands.done, ["freeze", "freeze", "unfreeze"]);
    bench.pass(100_000);
    bench.tick();
    assert_eq!(bench.hands.done.len(), 3, "once");
}

#[test]
fn what_could_not_be_undone_is_tried_again() {
    let mut bench = Bench::new();
    bench.run(&order_of("- freeze:\n  for: 1m\n"));
    bench.hands.failing.insert("unfreeze");
    bench.pass(61);
    assert!(bench.tick().is_some());
    bench.hands.failing.clear();
    assert_eq!(bench.tick(), None);
    assert_eq!(bench.hands.done, ["freeze", "unfreeze", "unfreeze"]);
}

#[test]
fn a_release_undoes_what_every_order_holds() {
    let mut bench = Bench::new();
    let first = order_of("- freeze:\n- isolate:\n");
    let mut second = order_of("- freeze:\n");
    second.id = "INC-2-p".into();
    bench.run(&first);
    bench.run(&second);
    let ids = bench.with(|engine, now, hands, _| {
        engine.release(ID, "me", now, hands, &mut |_, _, _, _| {}).unwrap()
    });
    assert_eq!(ids.len(), 2);
    assert_eq!(bench.hands.done[3..], ["unisolate", "unfreeze", "unfreeze"]);
    assert_eq!(bench.tick(), None);
}

#[test]
fn caps_hold_for_an_hour() {
    let mut bench = Bench::new();
    let in_container = |n: u32, incident: u32| {
        let mut order = order_of("- evidence:\n");
        order.id = format!("INC-{incident}-p-{n}");
        order.container.as_mut().unwrap().id = format!("{n:016x}");
        order
    };
    let submit = |bench: &mut Bench, order: &Order| {
        bench.pass(1);
        bench.with(|engine, now, _, _| engine.submit(order, now()).unwrap())
    };
    assert_eq!(submit(&mut bench, &in_container(1, 1)), Submitted::New);
    assert_eq!(submit(&mut bench, &in_container(1, 1)), Submitted::Known);
    assert_eq!(submit(&mut bench, &in_container(2, 1)), Submitted::New);
    let third = submit(&mut bench, &in_container(3, 1));
    assert!(
        matches!(&third, Submitted::Refused(why) if why.contains("2 other containers")),
        "{third:?}"
    );
    assert_eq!(submit(&mut bench, &in_container(1, 2)), Submitted::New, "it was touched already");
    let fourth = submit(&mut bench, &in_container(1, 3));
    assert!(
        matches!(&fourth, Submitted::Refused(why) if why.contains("ran 3 times")),
        "{fourth:?}"
    );
    bench.pass(3601);
    assert_eq!(submit(&mut bench, &in_container(3, 4)), Submitted::New);
    let (records, recovery) = read_audit(bench.folder.path()).unwrap();
    assert_eq!(records.len(), 6, "refusals are in the log as well");
    assert_eq!(recovery.n_chain_breaks, 0);
}

#[test]
fn the_log_cut_at_any_line_is_completed_or_undone() {
    let steps = "- freeze:\n- evidence:\n- isolate:\n- quarantine-image: ";
    let steps = format!("{steps}{}\n- kill:\n", Digest::of(b"image"));
    let order = order_of(&steps);
    let mut bench = Bench::new();
    bench.run(&order);
    let whole = std::fs::read_to_string(bench.folder.path().join("audit.jsonl")).unwrap();
    let n_lines = whole.lines().count();
    assert_eq!(n_lines, 1 + 2 * 5 + 1);
    for n in 1..=n_lines {
        let mut bench = Bench::new();
        let text: String = whole.split_inclusive('\n').take(n).collect();
        std::fs::write(bench.folder.path().join("audit.jsonl"), text).unwrap();
        bench.tick();
        let n_ended =
            whole.lines().take(n).filter(|line| line.contains("\"kind\":\"end\"")).count();
        assert_eq!(bench.hands.done.len(), 5 - n_ended, "cut after line {n}");
        let state = bench.with(|engine, _, _, _| engine.run(&order.id).unwrap().state);
        assert_eq!(state, RunState::Done, "cut after line {n}");
        let done = bench.with(|engine, now, hands, _| {
            engine.undo(&order.id, "me", now, hands, &mut |_, _, _, _| {}).unwrap()
        });
        assert!(done);
        assert!(bench.hands.done.ends_with(&[
            "release-image".to_string(),
            "unisolate".into(),
            "unfreeze".into()
        ]));
    }
}

#[test]
fn a_begun_step_whose_time_is_over_is_undone_and_not_done_again() {
    let order = order_of("- freeze:\n  for: 10m\n");
    let mut bench = Bench::new();
    bench.run(&order);
    let path = bench.folder.path().join("audit.jsonl");
    let text: String =
        std::fs::read_to_string(&path).unwrap().split_inclusive('\n').take(2).collect();
    std::fs::write(&path, text).unwrap();
    bench.hands.done.clear();
    bench.pass(3600);
    bench.tick();
    bench.pass(3600);
    bench.tick();
    assert_eq!(bench.hands.done, ["unfreeze"]);
}

#[test]
fn by_hand_an_order_is_one_step() {
    let now = Timestamp::from_nanos(5);
    let step = Step::of("freeze", Act::Freeze);
    let container = container(ID, Some("/x".into()));
    let order = Order::by_hand(step, Some(container), ("root", "looks odd"), now).unwrap();
    assert_eq!((order.owner.as_str(), order.reason.as_str()), ("root", "looks odd"));
    let hold = StepKind::Act { act: Act::Freeze, deadline_ms: 500, hold_ms: Some(3_600_000) };
    assert_eq!(order.steps[0].what, hold, "an hour unless told otherwise");
    assert!(Order::by_hand(Step::of("f", Act::Freeze), None, ("a", "b"), now).is_err());
}
