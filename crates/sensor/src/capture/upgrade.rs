//! Old events made new.
//!
//! Captures of older versions have an enter and an exit event for each call, and fewer
//! parameters. Each such event is taken through the steps of `upgrade.txt` until it is
//! one that probes send today: what only the enter event knew moves into the exit event.

use std::sync::LazyLock;

use crate::record::{Cursor, HEADER_BYTES, Record, RecordBuilder};
use crate::schema::{EventInfo, ParamType, Traits, event};
use crate::state::fd::NumberMap;

/// Steps that one event may take; the longest chain in the table has nine.
const STEPS_MAX: usize = 50;

/// Threads whose enter event is kept.
pub const STORED_MAX: usize = 65_536;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgraded<'u> {
    /// It is as probes send it.
    Same,
    /// It was rewritten.
    Changed(&'u [u8]),
    /// It is only needed for a later one, or no longer exists.
    Dropped,
    /// No step leads from it to an event of today.
    Impossible,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Pass,
    Store,
    StoreAndPass,
    Add,
    Change(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Old(usize),
    Enter { index: usize, or_empty: bool },
    Default,
    Empty,
    Json,
}

#[derive(Debug)]
struct Step {
    action: Action,
    params: Vec<Source>,
}

/// The steps of each event type, by the number of its parameters.
static STEPS: LazyLock<Vec<Vec<Option<Step>>>> = LazyLock::new(|| {
    let mut steps = Vec::new();
    let lines = include_str!("upgrade.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((number, n_params, step)) = parse_step(line) else { continue };
        let number = usize::from(number);
        if steps.len() <= number {
            steps.resize_with(number + 1, Vec::new);
        }
        let of_type: &mut Vec<Option<Step>> = &mut steps[number];
        if of_type.len() <= n_params {
            of_type.resize_with(n_params + 1, || None);
        }
        of_type[n_params] = Some(step);
    }
    steps
});

fn step_of(number: u16, n_params: usize) -> Option<&'static Step> {
    STEPS.get(usize::from(number))?.get(n_params)?.as_ref()
}

fn parse_step(line: &str) -> Option<(u16, usize, Step)> {
    let mut words = line.split(' ');
    let (number, n_params) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let action = match words.next()? {
        "pass" => Action::Pass,
        "store" => Action::Store,
        "store+pass" => Action::StoreAndPass,
        "add" => Action::Add,
        "change" => Action::Change(words.next()?.parse().ok()?),
        _ => return None,
    };
    let params = words.map(parse_source).collect::<Option<_>>()?;
    Some((number, n_params, Step { action, params }))
}

fn parse_source(word: &str) -> Option<Source> {
    let number = |prefix| word.strip_prefix(prefix)?.parse::<usize>().ok();
    Some(match word {
        "0" => Source::Default,
        "-" => Source::Empty,
        "json" => Source::Json,
        _ => match (number('o'), number('e'), number('E')) {
            (Some(index), _, _) => Source::Old(index),
            (_, Some(index), _) => Source::Enter { index, or_empty: true },
            (_, _, Some(index)) => Source::Enter { index, or_empty: false },
            _ => return None,
        },
    })
}

enum Need {
    Nothing,
    Drop,
    Steps,
}

fn need(info: &EventInfo, n_params: usize) -> Option<Need> {
    let traits = info.traits;
    if traits.any(Traits::UNUSED) {
        return Some(Need::Drop);
    }
    if !traits.any(Traits::UPGRADED) {
        return match (traits.any(Traits::OLD), info.is_enter()) {
            (false, _) => Some(Need::Nothing),
            (true, true) => Some(Need::Drop),
            (true, false) => None,
        };
    }
    // More parameters are those of a later version.
    let is_current = !traits.any(Traits::OLD) && n_params >= info.params.len();
    if is_current && !info.is_enter() { Some(Need::Nothing) } else { Some(Need::Steps) }
}

/// Upgrades the events of one capture; it keeps the enter events that are still needed.
#[derive(Debug, Default)]
pub struct Upgrader {
    stored: Stored,
    current: Vec<u8>,
    next: Vec<u8>,
    builder: RecordBuilder,
}

impl Upgrader {
    /// An upgrader for one capture.
    pub fn new() -> Self {
        Self::default()
    }

    /// Upgrades one record.
    pub fn upgrade(&mut self, bytes: &[u8]) -> Upgraded<'_> {
        let Some((number, n_params, tid)) = head(bytes) else { return Upgraded::Impossible };
        let Some(info) = event(number) else { return Upgraded::Impossible };
        match need(info, n_params) {
            Some(Need::Nothing) => return Upgraded::Same,
            Some(Need::Drop) => return Upgraded::Dropped,
            Some(Need::Steps) => {}
            None => return Upgraded::Impossible,
        }
        let (mut number, mut n_params, mut is_first) = (number, n_params, true);
        for _ in 0..STEPS_MAX {
            let Some(step) = step_of(number, n_params) else { break };
            let current = if is_first { bytes } else { &self.current };
            match step.action {
                Action::Pass if is_first => return Upgraded::Same,
                Action::Pass => return Upgraded::Changed(&self.current),
                Action::Store | Action::StoreAndPass => {
                    self.stored.keep(tid, current);
                    return match step.action {
                        Action::Store => Upgraded::Dropped,
                        _ if is_first => Upgraded::Same,
                        _ => Upgraded::Changed(&self.current),
                    };
                }
                Action::Add | Action::Change(_) => {}
            }
            if take_step(step, current, tid, &mut self.stored, &mut self.builder, &mut self.next)
                .is_none()
            {
                break;
            }
            std::mem::swap(&mut self.current, &mut self.next);
            is_first = false;
            let Some((new_number, new_n_params, _)) = head(&self.current) else { break };
            (number, n_params) = (new_number, new_n_params);
            match event(number).and_then(|info| need(info, n_params)) {
                Some(Need::Nothing) => return Upgraded::Changed(&self.current),
                Some(Need::Drop) => return Upgraded::Dropped,
                Some(Need::Steps) => {}
                None => break,
            }
        }
        Upgraded::Impossible
    }

    /// Enter events that did not fit.
    pub fn n_refused(&self) -> u64 {
        self.stored.n_refused
    }
}

/// The enter events that wait for their exit events.
#[derive(Debug, Default)]
struct Stored {
    of_thread: NumberMap<i64, Vec<u8>>,
    n_refused: u64,
}

impl Stored {
    fn keep(&mut self, tid: i64, bytes: &[u8]) {
        if self.of_thread.len() >= STORED_MAX && !self.of_thread.contains_key(&tid) {
            self.n_refused += 1;
            return;
        }
        let kept = self.of_thread.entry(tid).or_default();
        kept.clear();
        kept.extend_from_slice(bytes);
    }

    fn get(&self, tid: i64) -> Option<&[u8]> {
        self.of_thread.get(&tid).map(Vec::as_slice).filter(|stored| !stored.is_empty())
    }

    fn forget(&mut self, tid: i64) {
        if let Some(stored) = self.of_thread.get_mut(&tid) {
            stored.clear();
        }
    }
}

/// Writes what a step makes of the record `current` into `next`.
fn take_step(
    step: &Step,
    current: &[u8],
    tid: i64,
    stored: &mut Stored,
    builder: &mut RecordBuilder,
    next: &mut Vec<u8>,
) -> Option<()> {
    let old = Record::decode(current).ok()?;
    builder.clear();
    let (target, n_kept) = if let Action::Change(target) = step.action {
        (target, 0)
    } else {
        builder.push_all(&old);
        (old.number(), old.n_params())
    };
    let info = event(target)?;
    let uses_enter = step.params.iter().any(|source| matches!(source, Source::Enter { .. }));
    let enter = match stored.get(tid).filter(|_| uses_enter) {
        Some(bytes) => Some(Record::decode(bytes).ok()?),
        None => None,
    };
    for (position, source) in step.params.iter().enumerate() {
        let kind = info.params.get(n_kept + position)?.kind;
        match *source {
            Source::Empty => {
                builder.push_empty();
            }
            Source::Default => push_default(builder, kind),
            Source::Old(index) if index < old.n_params() => {
                push_capped(builder, kind, old.param(index).bytes);
            }
            Source::Old(_) => return None,
            Source::Json => push_container_json(builder, &old),
            Source::Enter { index, or_empty } => match &enter {
                Some(enter) => {
                    if enter.number() + 1 != old.number() || index >= enter.n_params() {
                        return None;
                    }
                    push_capped(builder, kind, enter.param(index).bytes);
                }
                None if or_empty => {
                    builder.push_empty();
                }
                None => push_default(builder, kind),
            },
        }
    }
    builder.build(next, target, old.time_ns, tid).ok()?;
    if enter.is_some() {
        stored.forget(tid);
    }
    Some(())
}

/// Type, number of parameters and thread of a record.
fn head(bytes: &[u8]) -> Option<(u16, usize, i64)> {
    let mut cursor = Cursor(bytes.get(8..HEADER_BYTES)?);
    let tid = cursor.i64()?;
    cursor.u32()?;
    Some((cursor.u16()?, cursor.u32()? as usize, tid))
}

/// Bytes of a parameter whose width is fixed.
fn width(kind: ParamType) -> Option<usize> {
    Some(match kind {
        ParamType::Int(bytes)
        | ParamType::Uint(bytes)
        | ParamType::Flags(bytes)
        | ParamType::Enumeration(bytes) => usize::from(bytes),
        ParamType::Signal => 1,
        ParamType::Syscall => 2,
        ParamType::Uid | ParamType::Gid | ParamType::Mode | ParamType::SignalSet => 4,
        ParamType::RelativeTime
        | ParamType::AbsoluteTime
        | ParamType::Errno
        | ParamType::Fd
        | ParamType::Pid => 8,
        _ => return None,
    })
}

fn push_default(builder: &mut RecordBuilder, kind: ParamType) {
    let byte = if matches!(kind, ParamType::Uid | ParamType::Gid) { 0xff } else { 0 };
    builder.push(&[byte; 8][..width(kind).unwrap_or(0)]);
}

/// A parameter that became narrower keeps its low bytes.
fn push_capped(builder: &mut RecordBuilder, kind: ParamType, bytes: &[u8]) {
    let limit = width(kind).unwrap_or(usize::MAX);
    builder.push(&bytes[..bytes.len().min(limit)]);
}

/// The oldest container events have four parameters; today's have one JSON document. Its
/// form is Falco's to the letter, because `evt.args` shows it.
fn push_container_json(builder: &mut RecordBuilder, old: &Record<'_>) {
    let kind = old.param(1).u32().unwrap_or(0);
    let mut json = b"{\"id\":\"".to_vec();
    json.extend_from_slice(old.param(0).text_or_empty());
    json.extend_from_slice(format!("\",\"type\":{kind},\"name\":\"").as_bytes());
    json.extend_from_slice(old.param(2).text_or_empty());
    json.extend_from_slice(b"\",\"image\":\"");
    json.extend_from_slice(old.param(3).text_or_empty());
    json.extend_from_slice(b"\"}");
    builder.push_text(&json);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::events;
    use crate::schema::number::{CLOSE_X, CONTAINER_E, EXECVE_19_X};

    #[test]
    fn every_old_event_has_a_way_to_a_new_one() {
        let lines = include_str!("upgrade.txt").lines().filter(|line| !line.starts_with('#'));
        let steps = || {
            STEPS.iter().enumerate().flat_map(|(number, of_type)| {
                of_type
                    .iter()
                    .enumerate()
                    .filter_map(move |(n, step)| Some((number, n, step.as_ref()?)))
            })
        };
        assert_eq!(steps().count(), lines.count(), "every line is understood");
        for (number, n_params, step) in steps() {
            let info = event(u16::try_from(number).unwrap()).unwrap();
            let target = match step.action {
                Action::Change(target) => event(target).unwrap(),
                Action::Add => info,
                _ => continue,
            };
            let n_kept = if step.action == Action::Add { n_params } else { 0 };
            assert!(n_kept + step.params.len() <= target.params.len(), "{number} {n_params}");
            for source in &step.params {
                match source {
                    Source::Old(index) => assert!(*index < n_params, "{number}"),
                    Source::Enter { index, .. } => {
                        assert!(*index < events()[number - 1].params.len(), "{number}");
                    }
                    _ => {}
                }
            }
        }
    }

    fn record(number: u16, params: &[&[u8]]) -> Vec<u8> {
        let mut builder = RecordBuilder::new();
        for param in params {
            builder.push(param);
        }
        let mut out = Vec::new();
        builder.build(&mut out, number, 1, 7).unwrap();
        out
    }

    /// A record of the first parameters of a type, each with bytes of its own.
    fn numbered(number: u16, n_params: usize, mark: u8) -> Vec<u8> {
        let info = event(number).unwrap();
        let params: Vec<Vec<u8>> = info.params[..n_params]
            .iter()
            .enumerate()
            .map(|(at, param)| {
                let byte = mark + u8::try_from(at).unwrap();
                width(param.kind).map_or_else(|| vec![byte, 0], |n_bytes| vec![byte; n_bytes])
            })
            .collect();
        let params: Vec<&[u8]> = params.iter().map(Vec::as_slice).collect();
        record(number, &params)
    }

    #[test]
    fn every_chain_of_steps_ends_at_an_event_of_today() {
        let mut n_chains = 0;
        for (number, of_type) in STEPS.iter().enumerate() {
            let number = u16::try_from(number).unwrap();
            let n_params = of_type.iter().enumerate().filter(|(_, step)| step.is_some());
            for (n_params, _) in n_params.filter(|_| number % 2 == 1) {
                for with_enter in [false, true] {
                    let mut upgrader = Upgrader::new();
                    let n_enter = events()[usize::from(number) - 1].params.len();
                    if with_enter && step_of(number - 1, n_enter).is_some() {
                        upgrader.upgrade(&numbered(number - 1, n_enter, 0x80));
                    }
                    let old = numbered(number, n_params, 1);
                    let end = upgrader.upgrade(&old);
                    let Upgraded::Changed(bytes) = end else {
                        panic!("{number} with {n_params} parameters: {end:?}")
                    };
                    let new = Record::decode(bytes).unwrap();
                    assert!(!new.info.traits.any(Traits::OLD), "{number}");
                    assert_eq!(new.n_params(), new.info.params.len(), "{number}");
                    let first = new.param(0);
                    if number == new.number() && !first.is_empty() && n_params > 0 {
                        assert_eq!(first.bytes, Record::decode(&old).unwrap().param(0).bytes);
                    }
                    n_chains += 1;
                }
            }
        }
        assert!(n_chains > 200, "{n_chains}");
    }

    #[test]
    fn a_close_learns_its_descriptor_from_the_enter_event() {
        let mut upgrader = Upgrader::new();
        let enter = record(4, &[&5_i64.to_le_bytes()]);
        assert_eq!(upgrader.upgrade(&enter), Upgraded::Dropped);
        let exit = record(CLOSE_X, &[&0_i64.to_le_bytes()]);
        let Upgraded::Changed(bytes) = upgrader.upgrade(&exit) else { panic!() };
        assert_eq!(Record::decode(bytes).unwrap().param(1).i64(), Some(5));
        // Without one, the descriptor is the default.
        let Upgraded::Changed(bytes) = upgrader.upgrade(&exit) else { panic!() };
        assert_eq!(Record::decode(bytes).unwrap().param(1).i64(), Some(0));
    }

    #[test]
    fn the_oldest_exec_becomes_todays() {
        let zero = 0_i64.to_le_bytes();
        let old = record(13, &[&zero, b"sh\0", b"-c\0", &zero, &zero, &zero, b"/\0", &zero]);
        let mut upgrader = Upgrader::new();
        let Upgraded::Changed(bytes) = upgrader.upgrade(&old) else { panic!() };
        let new = Record::decode(bytes).unwrap();
        assert_eq!(new.number(), EXECVE_19_X);
        assert_eq!((new.param(1).text(), new.param(2).list()), (&b"sh"[..], &b"-c"[..]));
        assert!(new.param(27).is_empty());
    }

    #[test]
    fn the_oldest_container_event_becomes_a_document() {
        let old = record(CONTAINER_E, &[b"a1b2c3\0", &1_u32.to_le_bytes(), b"web\0", b"nginx:1\0"]);
        let mut upgrader = Upgrader::new();
        let Upgraded::Changed(bytes) = upgrader.upgrade(&old) else { panic!() };
        let json = Record::decode(bytes).unwrap().param(0).text().to_vec();
        let expected = r#"{"id":"a1b2c3","type":1,"name":"web","image":"nginx:1"}"#;
        assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
        let facts = crate::identity::Facts::from_capture_json(&json).unwrap();
        assert_eq!((facts.id.as_str(), facts.container.name.as_str()), ("a1b2c3", "web"));
    }

    #[test]
    fn stored_enter_events_are_bounded() {
        let mut upgrader = Upgrader::new();
        for tid in 0..=STORED_MAX as i64 {
            let mut out = Vec::new();
            RecordBuilder::new().push_i64(1).build(&mut out, 4, 1, tid).unwrap();
            upgrader.upgrade(&out);
        }
        assert_eq!(upgrader.n_refused(), 1);
    }
}
