//! The probes' header and the event table say the same.

use palisade_sensor::schema::{self, ParamType};

const HEADER: &str = include_str!("../../../bpf/probes/events.h");

/// `#define NAME VALUE` lines.
fn define(name: &str) -> Option<u32> {
    HEADER.lines().find_map(|line| {
        let mut words = line.strip_prefix("#define ")?.split_ascii_whitespace();
        (words.next()? == name).then_some(())?;
        words.next()?.trim_end_matches('u').parse().ok()
    })
}

#[test]
fn every_event_of_the_probes_is_in_the_table() {
    let mut n_events = 0;
    for line in HEADER.lines() {
        let Some(rest) = line.strip_prefix("#define PLS_EVENT_") else { continue };
        let (name, number) = rest.split_once(' ').unwrap();
        let info = schema::event(number.trim().parse().unwrap()).unwrap();
        n_events += 1;
        let expected = define(&format!("PLS_NPARAMS_{name}")).unwrap();
        assert_eq!(info.params.len() as u32, expected, "{name}");
    }
    assert!(n_events > 60);
}

/// The comment before each event lists its parameters: ` *    0 fd: i64`.
#[test]
fn parameters_have_the_names_and_widths_of_the_table() {
    let mut pending: Vec<(usize, String, String)> = Vec::new();
    let mut n_checked = 0;
    for line in HEADER.lines() {
        if let Some(rest) = line.strip_prefix(" *   ") {
            let rest = rest.trim_start();
            let Some((index, rest)) = rest.split_once(' ') else { continue };
            let (Ok(index), Some((name, kind))) = (index.parse(), rest.split_once(": ")) else {
                continue;
            };
            pending.push((index, name.to_string(), kind.to_string()));
        } else if let Some(rest) = line.strip_prefix("#define PLS_EVENT_") {
            let number = rest.split_once(' ').unwrap().1.trim().parse().unwrap();
            let info = schema::event(number).unwrap();
            assert_eq!(pending.len(), info.params.len(), "{}", info.name);
            for (index, name, kind) in pending.drain(..) {
                let param = &info.params[index];
                assert_eq!(param.name, name, "{}", info.name);
                if let Some(width) = width_in_header(&kind) {
                    assert_eq!(width_of(param.kind), Some(width), "{} {name}", info.name);
                }
                n_checked += 1;
            }
        }
    }
    assert!(n_checked > 200);
}

fn width_in_header(kind: &str) -> Option<u8> {
    let word = kind.split(' ').next()?;
    let bits: u8 = word.strip_prefix(['u', 'i'])?.parse().ok()?;
    Some(bits / 8)
}

fn width_of(kind: ParamType) -> Option<u8> {
    Some(match kind {
        ParamType::Int(n)
        | ParamType::Uint(n)
        | ParamType::Flags(n)
        | ParamType::Enumeration(n) => n,
        ParamType::Signal => 1,
        ParamType::Syscall => 2,
        ParamType::Uid | ParamType::Gid | ParamType::Mode | ParamType::Bool => 4,
        ParamType::Errno
        | ParamType::Fd
        | ParamType::Pid
        | ParamType::AbsoluteTime
        | ParamType::RelativeTime => 8,
        _ => return None,
    })
}

#[test]
fn flags_have_the_tables_values() {
    let open = schema::event(3).unwrap();
    for (name, value) in open.params[2].names {
        assert_eq!(define(&format!("PLS_{name}")), Some(*value), "{name}");
    }
}
