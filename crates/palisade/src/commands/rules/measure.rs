//! What a rule costs, measured over a capture.
//!
//! Each rule is compiled alone and timed on the events of its types, several times in a
//! row and with warm caches; how far events get in the condition is found by asking each
//! of its predicates by itself.

use std::io::Read;

use palisade_rules::ast::Expr;
use palisade_rules::fields::{Fields as _, Schema as _};
use palisade_rules::{
    Evaluator, EventTypes, LoadOptions, Rule, RuleId, RuleMatching, RuleSet, flattened, one_line,
    predicates,
};
use palisade_sensor::capture::{CaptureError, Replay, replay};
use palisade_sensor::{EventView, SyscallSchema};

/// Evaluations for each reading of the clock; a reading costs as much as several rules.
const REPEATS: u32 = 16;

/// What a capture showed.
#[derive(Debug)]
pub(super) struct Measured {
    /// What was read.
    pub(super) replay: Replay,
    /// Events of the rule's types.
    pub(super) n_reached: u64,
    /// Events that it matched.
    pub(super) n_matched: u64,
    /// Predicates that were evaluated, as written: left to right until the rule is decided.
    pub(super) n_predicates: u64,
    /// How many events each part that must hold let through, in the order as written.
    pub(super) steps: Vec<Step>,
    /// Processor time of one event that reached it, in nanoseconds, evaluated alone.
    pub(super) ns_per_reached: f64,
    /// The same of any event of the capture.
    pub(super) ns_per_event: f64,
    /// Place among the rules that are on and this one by time over the whole capture.
    pub(super) rank: usize,
    /// How many rules were timed.
    pub(super) n_ranked: usize,
    /// Rules that could not be compiled alone and are not ranked.
    pub(super) n_not_ranked: usize,
}

/// A part that must hold.
#[derive(Debug)]
pub(super) struct Step {
    /// The part.
    pub(super) text: String,
    /// Events left after it.
    pub(super) n_left: u64,
}

/// Why a rule was not measured.
#[derive(Debug)]
pub(super) enum Unmeasured {
    /// The capture cannot be read.
    Capture(CaptureError),
    /// The rule cannot be compiled by itself.
    Rule(String),
}

/// A rule alone, with its clock.
struct Timed {
    evaluator: Evaluator,
    types: EventTypes,
    nanoseconds: u64,
    n_readings: u64,
}

impl Timed {
    fn new(rule: &Rule) -> Result<Self, String> {
        let expr = rule.expression.as_ref().ok_or("its condition was not kept")?;
        let set = compile(&[one_line(expr)])?;
        Ok(Self {
            types: set.event_types(SyscallSchema.source()),
            evaluator: Evaluator::new(&set),
            nanoseconds: 0,
            n_readings: 0,
        })
    }

    fn time(&mut self, event: &EventView<'_>, matched: &mut Vec<RuleId>) {
        let begin = thread_ns();
        for _ in 0..REPEATS {
            matched.clear();
            self.evaluator.evaluate(event, matched);
        }
        self.nanoseconds += thread_ns().saturating_sub(begin);
        self.n_readings += 1;
    }

    /// Nanoseconds of one evaluation of each event, all together; `reading_ns` is what a
    /// reading of the clock costs.
    fn total_ns(&self, reading_ns: f64) -> f64 {
        let readings = self.n_readings as f64 * reading_ns;
        (self.nanoseconds as f64 - readings).max(0.0) / f64::from(REPEATS)
    }
}

/// Processor time of this thread, in nanoseconds: what others do on the machine in the
/// meantime does not count.
fn thread_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// What a reading of the clock adds to what is measured between two of them.
fn reading_ns() -> f64 {
    const N: u32 = 1_000;
    let begin = thread_ns();
    for _ in 1..N {
        thread_ns();
    }
    thread_ns().saturating_sub(begin) as f64 / f64::from(N)
}

/// Measures `rule` and times all rules that are on.
pub(super) fn measure(
    set: &RuleSet,
    rule: &Rule,
    capture: impl Read,
) -> Result<Measured, Unmeasured> {
    let expr =
        rule.expression.as_ref().ok_or(Unmeasured::Rule("its condition was not kept".into()))?;
    let mut funnel = Funnel::new(&flattened(expr)).map_err(Unmeasured::Rule)?;
    let mut own = Timed::new(rule).map_err(Unmeasured::Rule)?;
    let others = set.rules().iter().filter(|other| other.enabled && other.name != rule.name);
    let mut timed: Vec<Result<Timed, String>> = others.map(Timed::new).collect();
    let n_not_ranked = timed.iter().filter(|timed| timed.is_err()).count();
    let mut others: Vec<Timed> = timed.drain(..).flatten().collect();
    // For each event type the rules that look at it: the others cost nothing.
    let n_types = SyscallSchema.event_types().len();
    let of_type: Vec<Vec<usize>> = (0..n_types)
        .map(|number| {
            let sees = |i: &usize| {
                u16::try_from(number).is_ok_and(|number| others[*i].types.contains(number))
            };
            (0..others.len()).filter(sees).collect()
        })
        .collect();
    let (mut n_reached, mut n_matched, mut matched) = (0, 0, Vec::new());
    let replay = replay(capture, |event| {
        let number = event.event_type();
        if own.types.contains(number) {
            n_reached += 1;
            own.time(event, &mut matched);
            n_matched += u64::from(!matched.is_empty());
            funnel.pass(event);
        }
        for i in of_type.get(usize::from(number)).into_iter().flatten() {
            others[*i].time(event, &mut matched);
        }
    })
    .map_err(Unmeasured::Capture)?;
    let reading_ns = reading_ns();
    let total = own.total_ns(reading_ns);
    let share = |n: u64| if n == 0 { 0.0 } else { total / n as f64 };
    Ok(Measured {
        n_reached,
        n_matched,
        n_predicates: funnel.n_evaluated,
        ns_per_reached: share(n_reached),
        ns_per_event: share(replay.n_events),
        rank: 1 + others.iter().filter(|other| other.total_ns(reading_ns) > total).count(),
        n_ranked: 1 + others.len(),
        n_not_ranked,
        steps: funnel.steps,
        replay,
    })
}

/// Compiles conditions, each as a rule of its own.
fn compile(conditions: &[String]) -> Result<RuleSet, String> {
    let rules: Vec<serde_json::Value> = conditions
        .iter()
        .enumerate()
        .map(|(i, condition)| {
            serde_json::json!({
                "rule": format!("part {i}"),
                "desc": "a part of a condition",
                "condition": condition,
                "output": "o",
                "priority": "DEBUG",
                "warn_evttypes": false,
            })
        })
        .collect();
    // JSON is YAML, and needs no thought about quotes.
    let text = serde_json::Value::Array(rules).to_string();
    let options = LoadOptions { matching: RuleMatching::All, ..LoadOptions::default() };
    let (set, problems) = RuleSet::load(&[("parts", &text)], &[&SyscallSchema], &options);
    match problems.0.iter().find(|p| p.severity == palisade_base::Severity::Error) {
        Some(problem) => Err(problem.message.clone()),
        None => Ok(set),
    }
}

/// How far events get in a condition.
struct Funnel {
    condition: Tree,
    evaluator: Evaluator,
    /// Whether each predicate holds for the event at hand.
    holds: Vec<bool>,
    matched: Vec<RuleId>,
    n_evaluated: u64,
    steps: Vec<Step>,
}

/// A condition over numbered predicates.
enum Tree {
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
    Predicate(usize),
}

impl Funnel {
    fn new(expr: &Expr) -> Result<Self, String> {
        let texts: Vec<String> = predicates(expr).into_iter().map(|p| p.text).collect();
        let set = compile(&texts)?;
        let parts = match expr {
            Expr::And(children, _) => children.as_slice(),
            other => std::slice::from_ref(other),
        };
        let steps = parts.iter().map(|part| Step { text: one_line(part), n_left: 0 }).collect();
        let condition = Tree::And(parts.iter().map(|part| tree(part, &texts)).collect());
        Ok(Self {
            condition,
            evaluator: Evaluator::new(&set),
            holds: vec![false; texts.len()],
            matched: Vec::new(),
            n_evaluated: 0,
            steps,
        })
    }

    fn pass(&mut self, event: &EventView<'_>) {
        self.matched.clear();
        self.evaluator.evaluate(event, &mut self.matched);
        self.holds.fill(false);
        for id in &self.matched {
            if let Some(holds) = self.holds.get_mut(id.0 as usize) {
                *holds = true;
            }
        }
        let Tree::And(parts) = &self.condition else { return };
        for (part, step) in parts.iter().zip(&mut self.steps) {
            if !decide(part, &self.holds, &mut self.n_evaluated) {
                return;
            }
            step.n_left += 1;
        }
    }
}

/// Left to right, until it is decided; each evaluation is counted.
fn decide(tree: &Tree, holds: &[bool], n_evaluated: &mut u64) -> bool {
    match tree {
        Tree::And(parts) => parts.iter().all(|part| decide(part, holds, n_evaluated)),
        Tree::Or(parts) => parts.iter().any(|part| decide(part, holds, n_evaluated)),
        Tree::Not(part) => !decide(part, holds, n_evaluated),
        Tree::Predicate(at) => {
            *n_evaluated += 1;
            holds.get(*at).copied().unwrap_or(false)
        }
    }
}

fn tree(expr: &Expr, texts: &[String]) -> Tree {
    let all = |children: &[Expr]| children.iter().map(|child| tree(child, texts)).collect();
    match expr {
        Expr::And(children, _) => Tree::And(all(children)),
        Expr::Or(children, _) => Tree::Or(all(children)),
        Expr::Not(child, _) => Tree::Not(Box::new(tree(child, texts))),
        leaf => {
            let text = predicates(leaf).pop().map(|predicate| predicate.text);
            let at = text.and_then(|text| texts.iter().position(|known| *known == text));
            Tree::Predicate(at.unwrap_or(usize::MAX))
        }
    }
}
